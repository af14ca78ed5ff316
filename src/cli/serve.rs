//! `ottla serve`: one broker until a signal comes.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::log_lines::LogLines;
use super::manner::{errors_in_colour, has_spectators};
use super::signals::Signals;
use super::sources::{SourceArguments, environment};
use crate::api::AllowAll;
use crate::broker::{Broker, BrokerOptions};
use crate::config::{Effective, Listener, Loaded, Notice, Origin, Roles};
use crate::env::{Env, give_back_code, raise_descriptor_limit};
use crate::log::DataPaths;

/// How long the code of a start stays in memory: the first requests use some of it, too.
const START_CODE_FOR: Duration = Duration::from_secs(1);
/// Threads for work that may wait for a disk or takes long.
const BLOCKING_THREADS_MAX: usize = 16;
/// Where a memory broker keeps its files, on a disk that nobody sees.
const MEMORY_DATA: &str = "memory";
/// Where a broker keeps its files if nothing else is said.
const DEFAULT_DATA: &str = "ottla-data";

/// What a broker is started with.
#[derive(Debug, Default, Args)]
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
    /// In whose words stdout says that clients are served
    #[arg(skip)]
    words: Words,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// In whose words stdout says that clients are served: whoever starts a container of another broker waits for that broker's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Words {
    /// Ours.
    #[default]
    Ottla,
    /// One line with all that is waited for of Apache Kafka: of its start with ZooKeeper, of that with KRaft, and of its own
    /// image.
    ApacheKafka,
    /// Two lines.
    Redpanda,
}

/// Who starts Redpanda waits for either of these.
const REDPANDA_WORDS: &str = "Started Kafka API server\nSuccessfully started Redpanda!\n";

impl ServeArguments {
    /// All that is said is in the configuration.
    pub(super) fn of(sources: SourceArguments, words: Words) -> Self {
        Self { sources, words, ..Self::default() }
    }
}

pub(super) fn run(arguments: &ServeArguments) -> anyhow::Result<ExitCode> {
    start_logging(arguments.log_format);
    let loaded = load(arguments)?;
    warn_of(&loaded);
    raise_descriptor_limit();
    let runtime = start_runtime()?;
    let ended = runtime.block_on(serve(arguments, loaded));
    // After a second signal there may be work left: it is not waited for.
    runtime.shutdown_background();
    ended
}

/// Logs what is odd about the configuration.
pub(super) fn warn_of(loaded: &Loaded) {
    for notice in &loaded.notices {
        match notice {
            Notice::UnknownKey { .. } | Notice::NotYet { .. } | Notice::ZooKeeper { .. } => {
                tracing::warn!("{notice}")
            }
            Notice::Inert { .. } => tracing::info!("{notice}"),
        }
    }
}

/// The threads of brokers.
pub(super) fn start_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Log lines go to stderr, those of the level that `RUST_LOG` says, else `KAFKA_LOG4J_ROOT_LOGLEVEL`, else `info`.
pub(super) fn start_logging(format: LogFormat) {
    let variables = environment();
    let log4j = variables.iter().find(|(name, _)| name == "KAFKA_LOG4J_ROOT_LOGLEVEL");
    let level = log4j.and_then(|(_, level)| level_of_log4j(level)).unwrap_or("info");
    // What Raft has to say in its own words is for who looks for an error in it.
    let quiet = || EnvFilter::new(format!("{level},openraft=off"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| quiet());
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(LogLines).with_target(false);
    match format {
        LogFormat::Text => lines.with_ansi(errors_in_colour()).init(),
        LogFormat::Json => lines.json().init(),
    }
}

/// The level that Log4j calls so; none if it does not know it either.
fn level_of_log4j(level: &str) -> Option<&'static str> {
    match &*level.trim().to_ascii_uppercase() {
        "ALL" | "TRACE" => Some("trace"),
        "DEBUG" => Some("debug"),
        "INFO" => Some("info"),
        "WARN" => Some("warn"),
        "ERROR" | "FATAL" => Some("error"),
        "OFF" => Some("off"),
        _ => None,
    }
}

/// Reads the configuration from all its sources.
fn load(arguments: &ServeArguments) -> anyhow::Result<Loaded> {
    let listen = arguments.listen.as_ref().map(|listen| format!("listeners=PLAINTEXT://{listen}"));
    let http = arguments.http.as_ref().map(|http| format!("ottla.http.listener={http}"));
    // A comma would make two of it.
    let data = arguments.data.as_ref().map(|data| data.display().to_string());
    let data = data.filter(|data| !data.contains(',')).map(|data| format!("log.dirs={data}"));
    let more: Vec<String> = listen.into_iter().chain(http).chain(data).collect();
    arguments.sources.load(&more)
}

async fn serve(arguments: &ServeArguments, loaded: Loaded) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let (env, data) = if arguments.memory {
        (Env::in_memory(), DataPaths::one(MEMORY_DATA))
    } else {
        (Env::real(), data_paths(arguments.data.as_deref(), &loaded)?)
    };
    let advertised = loaded.broker.advertised_listeners.clone().unwrap_or_default();
    let options = BrokerOptions {
        settings: Effective::new(loaded),
        data: data.clone(),
        durable: !arguments.memory,
        authorizer: Arc::new(AllowAll),
    };
    let broker = Broker::start(env, options).await?;
    announce(arguments, &broker, &data);
    let env = broker.env().clone();
    broker.env().tasks.spawn("look up advertised hosts", async move {
        tokio::select! {
            () = warn_of_unknown_hosts(&env, &advertised) => {}
            () = env.tasks.cancelled() => {}
        }
    });
    let env = broker.env().clone();
    broker.env().tasks.spawn("give back code", async move {
        tokio::select! {
            () = env.steady.sleep(START_CODE_FOR) => {}
            () = env.tasks.cancelled() => return,
        }
        if let Err(error) = give_back_code() {
            tracing::debug!(%error, "the code of the start stays in memory");
        }
    });
    let failed = tokio::select! {
        _ = signals.next() => false,
        () = broker.failure() => true,
    };
    if failed {
        // The reason was logged where it happened. Nothing is marked as clean.
        bail!("the broker cannot go on; see the log above");
    }
    tracing::info!("stopping; a second signal ends at once");
    tokio::select! {
        stopped = broker.stop() => stopped.context("cannot make the logs durable: the next start recovers them")?,
        _ = signals.next() => bail!("ended at once: the next start recovers the logs"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Warns of hosts that are no names here. Clients may know them all the same, so this stops nobody.
async fn warn_of_unknown_hosts(env: &Env, advertised: &[Listener]) {
    let hosts: BTreeSet<&str> =
        advertised.iter().filter_map(|listener| listener.host.as_deref()).collect();
    for host in hosts {
        let is_known = env.net.lookup(host).await.is_ok_and(|found| !found.is_empty());
        if !is_known {
            tracing::warn!(
                "`advertised.listeners` sends clients to `{host}`, which has no address here: unless they have one for it, \
                 name a host that they can resolve, or take the setting out"
            );
        }
    }
}

/// `--data`, else `log.dirs` if somebody has set it, else the default beside us. Clients are told where partitions are, so paths
/// are made absolute, as Apache Kafka does.
pub(super) fn data_paths(data: Option<&Path>, loaded: &Loaded) -> anyhow::Result<DataPaths> {
    let absolute = |path: &Path| {
        let absolute = std::path::absolute(path);
        absolute.with_context(|| format!("cannot make {} an absolute path", path.display()))
    };
    let is_set =
        |key: &str| loaded.config.get(key).is_some_and(|setting| setting.origin != Origin::Default);
    let logs = match data {
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

/// Prints the line that says that clients can be served, and for a person some more.
fn announce(arguments: &ServeArguments, broker: &Broker, data: &DataPaths) {
    let kafka = broker.addresses().first().copied().map_or_else(String::new, reachable);
    let http = broker.http_address().map_or_else(|| "off".to_owned(), reachable);
    let mut out = std::io::stdout().lock();
    // Whoever started the broker may have closed its output: that is no reason to stop.
    drop(match arguments.words {
        Words::Ottla if broker.roles() == Roles::Controller => {
            writeln!(out, "ottla ready controller={kafka} http={http}")
        }
        Words::Ottla => writeln!(out, "ottla ready kafka={kafka} http={http}"),
        Words::ApacheKafka => writeln!(
            out,
            "[KafkaServer id={}] started (Kafka Server started; Transitioning from RECOVERY to RUNNING)",
            broker.id().0,
        ),
        Words::Redpanda => write!(out, "{REDPANDA_WORDS}"),
    });
    drop(out.flush());
    tracing::info!(cluster = %broker.cluster_id(), "ready");
    if !has_spectators() || broker.roles() == Roles::Controller {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_log4j() {
        for (level, expected) in [
            ("WARN", Some("warn")),
            (" debug ", Some("debug")),
            ("FATAL", Some("error")),
            ("OFF", Some("off")),
            ("chatty", None),
        ] {
            assert_eq!(level_of_log4j(level), expected, "{level}");
        }
    }
}
