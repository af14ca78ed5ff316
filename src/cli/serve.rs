//! `ottla serve`: one broker until a signal comes.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::sources::SourceArguments;
use crate::api::AllowAll;
use crate::broker::{Broker, BrokerOptions};
use crate::config::{Effective, Loaded, Notice, Origin};
use crate::env::{Env, raise_descriptor_limit};
use crate::log::DataPaths;

/// Threads for work that may wait for a disk or takes long.
const BLOCKING_THREADS_MAX: usize = 16;
/// Where a memory broker keeps its files, on a disk that nobody sees.
const MEMORY_DATA: &str = "memory";
/// Where a broker keeps its files if nothing else is said.
const DEFAULT_DATA: &str = "ottla-data";

/// What a broker is started with.
#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Address to serve clients on: HOST:PORT, or :PORT for every address. Port 0 means any free one [default: :9092]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Directory for all data [default: those of log.dirs if that is set, else ./ottla-data]
    #[arg(long, value_name = "DIR", conflicts_with = "memory")]
    data: Option<PathBuf>,
    /// Keep all data in memory: it is gone when the broker stops
    #[arg(long)]
    memory: bool,
    #[command(flatten)]
    sources: SourceArguments,
    /// Address for HTTP (metrics, health): HOST:PORT, or :PORT for every address, or off [default: port 8092]
    #[arg(long, value_name = "HOST:PORT|off")]
    http: Option<String>,
    /// How log lines are written to stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

pub(super) fn run(arguments: &ServeArguments) -> anyhow::Result<ExitCode> {
    start_logging(arguments.log_format);
    let loaded = load(arguments)?;
    for notice in &loaded.notices {
        match notice {
            Notice::UnknownKey { .. } | Notice::NotYet { .. } | Notice::ZooKeeper { .. } => {
                tracing::warn!("{notice}")
            }
            Notice::Inert { .. } => tracing::info!("{notice}"),
        }
    }
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(serve(arguments, loaded));
    // After a second signal there may be work left: it is not waited for.
    runtime.shutdown_background();
    ended
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().init(),
    }
}

/// Reads the configuration from all its sources.
fn load(arguments: &ServeArguments) -> anyhow::Result<Loaded> {
    let listen = arguments.listen.as_ref().map(|listen| format!("listeners=PLAINTEXT://{listen}"));
    let http = arguments.http.as_ref().map(|http| format!("ottla.http.listener={http}"));
    let more: Vec<String> = listen.into_iter().chain(http).collect();
    arguments.sources.load(&more)
}

async fn serve(arguments: &ServeArguments, loaded: Loaded) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let (env, data) = if arguments.memory {
        (Env::in_memory(), DataPaths::one(MEMORY_DATA))
    } else {
        (Env::real(), data_paths(arguments, &loaded)?)
    };
    let options = BrokerOptions {
        settings: Effective::new(loaded),
        data: data.clone(),
        durable: !arguments.memory,
        authorizer: Arc::new(AllowAll),
    };
    let broker = Broker::start(env, options).await?;
    announce(arguments, &broker, &data);
    let failed = tokio::select! {
        () = signals.next() => false,
        () = broker.failure() => true,
    };
    if failed {
        // The reason was logged where it happened. Nothing is marked as clean.
        bail!("the broker cannot go on; see the log above");
    }
    tracing::info!("stopping; a second signal ends at once");
    tokio::select! {
        stopped = broker.stop() => stopped.context("cannot make the logs durable: the next start recovers them")?,
        () = signals.next() => bail!("ended at once: the next start recovers the logs"),
    }
    Ok(ExitCode::SUCCESS)
}

/// `--data`, else `log.dirs` if somebody has set it, else the default beside us. Clients are told where partitions are, so paths
/// are made absolute, as Apache Kafka does.
fn data_paths(arguments: &ServeArguments, loaded: &Loaded) -> anyhow::Result<DataPaths> {
    let absolute = |path: &Path| {
        let absolute = std::path::absolute(path);
        absolute.with_context(|| format!("cannot make {} an absolute path", path.display()))
    };
    let is_set =
        |key: &str| loaded.config.get(key).is_some_and(|setting| setting.origin != Origin::Default);
    let logs = match &arguments.data {
        Some(data) => vec![absolute(data)?],
        None if !is_set("log.dirs") && !is_set("log.dir") => {
            vec![absolute(Path::new(DEFAULT_DATA))?]
        }
        None => {
            let dirs = loaded.broker.log_dirs.iter();
            dirs.map(|dir| absolute(dir)).collect::<anyhow::Result<_>>()?
        }
    };
    let metadata = loaded.broker.metadata_dir.as_deref().map(absolute).transpose()?;
    Ok(DataPaths { logs, metadata })
}

/// SIGTERM and SIGINT, which mean the same.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Prints the line that says that clients can be served, and for a person some more.
fn announce(arguments: &ServeArguments, broker: &Broker, data: &DataPaths) {
    let kafka = broker.addresses().first().copied().map_or_else(String::new, reachable);
    let http = broker.http_address().map_or_else(|| "off".to_owned(), reachable);
    let mut out = std::io::stdout().lock();
    // Whoever started the broker may have closed its output: that is no reason to stop.
    drop(writeln!(out, "ottla ready kafka={kafka} http={http}"));
    drop(out.flush());
    tracing::info!(cluster = %broker.cluster_id(), "ready");
    if !std::io::stderr().is_terminal() {
        return;
    }
    let kept = if arguments.memory {
        "in memory, gone when it stops".to_owned()
    } else {
        let dirs: Vec<_> = data.logs.iter().map(|dir| dir.display().to_string()).collect();
        dirs.join(", ")
    };
    eprintln!(
        "\n  Ottla {version}\n  Kafka   {kafka}\n  HTTP    {web}\n  data    {kept}\n\n  \
         Try it:\n    echo hello | kcat -b {kafka} -P -t greetings\n    kcat -b {kafka} -C -t greetings -e\n\n  \
         Ctrl-C stops it.\n",
        version = env!("CARGO_PKG_VERSION"),
        web = if http == "off" { http } else { format!("http://{http}/") },
    );
}

/// An address as a client on this machine would write it.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}
