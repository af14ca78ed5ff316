//! What the tools share that speak to brokers: how they are told where those are, and what they say when a broker refuses.

use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::options::{Known, Options, flag, valued};
use crate::cli::sources;
use crate::client::{Address, ClientError, Cluster, ClusterOptions};
use crate::env::Env;
use crate::model::WithCauses;

/// Options of every tool.
const COMMON: &[Known] = &[
    valued(&["bootstrap-server"]),
    valued(&["command-config"]),
    flag(&["help", "h"]),
    flag(&["version"]),
];

/// Why a tool ends early: its one line goes to stdout, as those of Apache Kafka's tools do.
#[derive(Debug)]
pub(super) struct Complaint(pub(super) String);

impl From<ClientError> for Complaint {
    fn from(error: ClientError) -> Self {
        // Their words are the broker's own, without what we know beside them.
        let own = error.refusal().and_then(|refusal| refusal.message.clone());
        Self(own.unwrap_or_else(|| WithCauses(&error).to_string()))
    }
}

impl From<crate::client::Refusal> for Complaint {
    fn from(refusal: crate::client::Refusal) -> Self {
        ClientError::from(refusal).into()
    }
}

/// Reads options: those of the tool and those of every tool. `None` if help or the version was asked for, and printed.
pub(super) fn read(
    about: &str,
    known: &[Known],
    arguments: &[String],
) -> anyhow::Result<Option<Options>> {
    let all = [COMMON, known].concat();
    let options = Options::read(&all, arguments)?;
    if options.has("version") {
        say!("{}", env!("CARGO_PKG_VERSION"));
        return Ok(None);
    }
    if options.has("help") || arguments.is_empty() {
        say!("{about}\n\nOptions:");
        for option in &all {
            say!("  --{}", option.names[0]);
        }
        return Ok(None);
    }
    Ok(Some(options))
}

/// Connects to the cluster and runs the tool.
///
/// # Errors
/// If the options do not say where, or nobody answers there.
pub(super) fn run(
    options: &Options,
    tool: impl AsyncFnOnce(Cluster) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let Some(bootstrap) = options.value("bootstrap-server")? else {
        bail!("--bootstrap-server must be specified");
    };
    let mut cluster = ClusterOptions::new(Address::parse_list(bootstrap)?);
    // Not all tools have this one.
    if let Some(millis) = options.value("timeout")? {
        let millis = millis.parse().with_context(|| format!("--timeout {millis}"))?;
        cluster.request_timeout = Duration::from_millis(millis);
        cluster.operation_timeout = cluster.request_timeout;
    }
    if let Some(path) = options.value("command-config")? {
        apply_file(&mut cluster, path)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let work = async { tool(Cluster::connect(Env::real(), cluster).await?).await };
    // In a box, so that the program holds the runtime's code once, not for each tool.
    let work: Pin<Box<dyn Future<Output = _>>> = Box::pin(work);
    runtime.block_on(work)
}

/// The settings of a client in a file.
pub(super) fn apply_file(options: &mut ClusterOptions, path: &str) -> anyhow::Result<()> {
    for property in sources::read_properties(Path::new(path))? {
        apply(options, &property.key, property.value)?;
    }
    Ok(())
}

/// A setting of a client. Those that concern neither us nor security are passed over.
pub(super) fn apply(options: &mut ClusterOptions, key: &str, value: String) -> anyhow::Result<()> {
    match key {
        "client.id" => options.client_id = value,
        "security.protocol" if value.eq_ignore_ascii_case("plaintext") => {}
        "security.protocol" => bail!("{key}={value}: TLS and SASL are not there yet"),
        _ => {}
    }
    Ok(())
}

/// What a tool makes of these words: for tests of its options.
#[cfg(test)]
pub(super) fn options_of(known: &[Known], line: &str) -> Options {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    Options::read(&[COMMON, known].concat(), &words).unwrap()
}
