//! `ottla dev`: a cluster of several nodes in this process, and what is done to them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::failure::{Failure, NO_CONNECTION, NOT_FOUND, NOT_NOW, REFUSED};
use super::http::ask;
use super::manner::has_spectators;
use super::serve::{LogFormat, start_logging, start_runtime, warn_of};
use super::signals::Signals;
use super::sources::SourceArguments;
use crate::api::AllowAll;
use crate::broker::{BrokerOptions, HTTP_PORT};
use crate::config::{Effective, Loaded};
use crate::dev::{Nodes, Place, Seat, reserve, settings};
use crate::env::{Disk, Env, Listener, MemoryDisk, RealDisk, raise_descriptor_limit};
use crate::log::DataPaths;

/// How many connections may wait to be accepted by the control.
const BACKLOG: i32 = 64;
/// Each partition is on so many nodes, if nobody says.
const REPLICAS_MAX: u16 = 3;
/// How long an answer may take: a stop hands over first, and makes everything durable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How a cluster is started, or what is done to a node of one that runs.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct DevArguments {
    #[command(subcommand)]
    verb: Option<DevVerb>,
    #[command(flatten)]
    start: StartArguments,
}

#[derive(Debug, Args)]
struct StartArguments {
    /// How many nodes: 1, 3 or 5
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = count)]
    nodes: u16,
    /// Address of the first node: HOST:PORT. The others have the ports after it. Port 0 means any free ones
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    listen: String,
    /// Directory for all data, with a directory for each node [default: in memory, gone when this ends]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address for HTTP, by which nodes are killed, paused and so on
    #[arg(long, value_name = "HOST:PORT", default_value_t = format!("127.0.0.1:{HTTP_PORT}"))]
    http: String,
    #[command(flatten)]
    sources: SourceArguments,
    /// How log lines are written to stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// More than one node can only decide by majority, which an even number makes no better.
fn count(text: &str) -> Result<u16, String> {
    let count = text.parse().ok().filter(|count| [1, 3, 5].contains(count));
    count.ok_or_else(|| "a cluster has 1, 3 or 5 nodes".to_owned())
}

#[derive(Debug, Subcommand)]
enum DevVerb {
    /// Show the nodes of a cluster that runs
    Nodes(RunningArguments),
    /// End a node at once, as a crash would
    Kill(NodeArguments),
    /// End a node in good order
    Stop(NodeArguments),
    /// Start a node that has ended, with the data that it had
    Start(NodeArguments),
    /// Have a node stand still: nobody gets an answer from it
    Pause(NodeArguments),
    /// Have it go on
    Resume(NodeArguments),
    /// Cut a node off from clients and other nodes
    Cut(NodeArguments),
    /// Connect it again
    Heal(NodeArguments),
}

/// Which node, of which cluster.
#[derive(Debug, Args)]
struct NodeArguments {
    /// The node's id, from 1 on
    node: u16,
    #[command(flatten)]
    running: RunningArguments,
}

#[derive(Debug, Args)]
struct RunningArguments {
    /// Where `ottla dev` serves HTTP
    #[arg(long, value_name = "HOST:PORT", default_value_t = format!("127.0.0.1:{HTTP_PORT}"))]
    http: String,
}

pub(super) fn run(arguments: &DevArguments) -> anyhow::Result<ExitCode> {
    let Some(verb) = &arguments.verb else { return start(&arguments.start) };
    let (action, of) = match verb {
        DevVerb::Nodes(running) => return Ok(tell(&running.http, "GET", "/dev/nodes")),
        DevVerb::Kill(of) => ("kill", of),
        DevVerb::Stop(of) => ("stop", of),
        DevVerb::Start(of) => ("start", of),
        DevVerb::Pause(of) => ("pause", of),
        DevVerb::Resume(of) => ("resume", of),
        DevVerb::Cut(of) => ("cut", of),
        DevVerb::Heal(of) => ("heal", of),
    };
    Ok(tell(&of.running.http, "POST", &format!("/dev/nodes/{}/{action}", of.node)))
}

fn start(arguments: &StartArguments) -> anyhow::Result<ExitCode> {
    start_logging(arguments.log_format);
    raise_descriptor_limit();
    let runtime = start_runtime()?;
    let ended = runtime.block_on(serve(arguments));
    runtime.shutdown_background();
    ended
}

async fn serve(arguments: &StartArguments) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let env = Env::in_memory();
    let control = listen(&env, &arguments.http).await?;
    let http = control.local_address();
    let (host, port) = host_and_port(&arguments.listen, "--listen")?;
    let places = reserve(&env, host, port, arguments.nodes).await;
    let places = places.map_err(|(address, error)| {
        anyhow::Error::new(error)
            .context(format!("cannot listen on {address}; choose other ports with --listen"))
    })?;
    let seats = seats(arguments, places)?;
    let nodes = tokio::select! {
        started = Nodes::start(&env, seats) => started.map_err(anyhow::Error::msg)?,
        _ = signals.next() => bail!("ended before all nodes served"),
    };
    nodes.serve_control(control);
    announce(&nodes, &http.to_string());
    signals.next().await;
    tracing::info!("stopping; a second signal ends at once");
    tokio::select! {
        () = nodes.end(arguments.data_dir.is_some()) => Ok(ExitCode::SUCCESS),
        _ = signals.next() => bail!("ended at once: the next start recovers the logs"),
    }
}

async fn listen(env: &Env, address: &str) -> anyhow::Result<Listener> {
    let (host, port) = host_and_port(address, "--http")?;
    let listener = env.net.listen(host, port, BACKLOG).await;
    listener
        .with_context(|| format!("cannot listen on {address}; choose another address with --http"))
}

fn host_and_port<'a>(address: &'a str, option: &str) -> anyhow::Result<(&'a str, u16)> {
    let parts = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let parts = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts.with_context(|| format!("{option} must be HOST:PORT, not '{address}'"))
}

/// What each node is made of.
fn seats(arguments: &StartArguments, places: Vec<Place>) -> anyhow::Result<Vec<Seat>> {
    let mut parts = Vec::new();
    for id in 1..=places.len() {
        let loaded = load(arguments, &settings(&places, id))?;
        if id == 1 {
            warn_of(&loaded);
        }
        let (disk, data) = storage(arguments.data_dir.as_deref(), id)?;
        let settings = Effective::new(loaded);
        let authorizer = Arc::new(AllowAll);
        parts.push((disk, BrokerOptions { settings, data, durable: true, authorizer }));
    }
    let seat = |(place, (disk, options))| Seat { place, disk, options };
    Ok(places.into_iter().zip(parts).map(seat).collect())
}

/// The configuration of a node: what the user says, over what suits such a cluster, under what makes it this node.
fn load(arguments: &StartArguments, node: &[String]) -> anyhow::Result<Loaded> {
    let suiting = [
        ("default.replication.factor", arguments.nodes.min(REPLICAS_MAX)),
        ("group.initial.rebalance.delay.ms", 0),
    ];
    let loaded = arguments.sources.load(node)?;
    let is_unset = |key: &str| loaded.config.get(key).is_none();
    let suiting = suiting.iter().filter(|(key, _)| is_unset(key));
    let suiting = suiting.map(|(key, value)| format!("{key}={value}"));
    arguments.sources.load(&suiting.chain(node.iter().cloned()).collect::<Vec<_>>())
}

/// Where a node has its files.
fn storage(data: Option<&Path>, id: usize) -> anyhow::Result<(Arc<dyn Disk>, DataPaths)> {
    let name = format!("node-{id}");
    let Some(data) = data else { return Ok((Arc::new(MemoryDisk::new()), DataPaths::one(name))) };
    let data = std::path::absolute(data)
        .with_context(|| format!("cannot make {} an absolute path", data.display()))?;
    Ok((Arc::new(RealDisk::new()), DataPaths::one(data.join(name))))
}

/// Prints the line that says that clients can be served, and for a person some more.
fn announce(nodes: &Nodes, http: &str) {
    let addresses: Vec<_> = nodes.addresses().iter().map(ToString::to_string).collect();
    let kafka = addresses.join(",");
    let mut out = std::io::stdout().lock();
    // Whoever started the cluster may have closed its output: that is no reason to stop.
    drop(writeln!(out, "ottla ready kafka={kafka} http={http}"));
    drop(out.flush());
    if has_spectators() {
        eprintln!(
            "\n  Ottla {version}, {count} nodes\n  Kafka   {kafka}\n  HTTP    http://{http}/dev/nodes\n\n  \
             Try it:\n    ottla dev kill 1 --http {http}\n    ottla dev start 1 --http {http}\n\n  \
             Ctrl-C stops it.\n",
            version = env!("CARGO_PKG_VERSION"),
            count = addresses.len(),
        );
    }
}

/// Says something to a cluster that runs, and prints what comes back: nodes, one a line.
fn tell(http: &str, method: &str, path: &str) -> ExitCode {
    match asked(http, method, path) {
        Ok(nodes) => {
            nodes.iter().for_each(|node| say!("{node}"));
            ExitCode::SUCCESS
        }
        Err(failure) => failure.report(false),
    }
}

fn asked(http: &str, method: &str, path: &str) -> Result<Vec<String>, Failure> {
    let address =
        host_and_port(http, "--http").map_err(|error| Failure::usage(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let env = Env::in_memory();
        let deadline = env.steady.now().plus(ANSWER_TIMEOUT);
        let answer = env.steady.timeout_at(deadline, ask(&env, address, method, path)).await;
        answer.map_err(anyhow::Error::from).and_then(|answer| answer)
    });
    let answer = answer.map_err(|error| {
        Failure::new("CANNOT_CONNECT", NO_CONNECTION, format!("http://{http}{path}: {error:#}"))
            .hint("the first line of 'ottla dev' says where it serves HTTP; name that with --http")
    })?;
    let line = answer.body.trim_end();
    let nodes = format!("ottla dev nodes --http {http}");
    match answer.status {
        200 => lines(line).ok_or_else(|| {
            Failure::new("UNREADABLE_ANSWER", REFUSED, "what answers is not 'ottla dev'")
        }),
        404 => Err(Failure::new("NOT_FOUND", NOT_FOUND, line)
            .hint(format!("'{nodes}' shows the nodes, if it is 'ottla dev' that serves there"))),
        409 => Err(Failure::new("NOT_NOW", NOT_NOW, line)
            .hint(format!("'{nodes}' shows how the nodes are"))),
        _ => Err(Failure::new("REFUSED", REFUSED, line)),
    }
}

/// What a person reads of one node or of all.
fn lines(body: &str) -> Option<Vec<String>> {
    let told: Value = serde_json::from_str(body).ok()?;
    let one = [told.clone()];
    let nodes =
        told.get("nodes").map_or(Some(&one[..]), |all| all.as_array().map(Vec::as_slice))?;
    let line = |node: &Value| {
        let text = |field: &str| node.get(field)?.as_str();
        let reason = text("reason").map_or_else(String::new, |reason| format!(": {reason}"));
        Some(format!("{} {} {}{reason}", node.get("id")?, text("kafka")?, text("state")?))
    };
    nodes.iter().map(line).collect()
}
