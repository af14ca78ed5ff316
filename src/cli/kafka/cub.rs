//! `cub`: what scripts of Confluent's images wait with.
//!
//! `cub kafka-ready [-b HOST:PORT] BROKERS SECONDS` waits until so many brokers are there. The rest is about ZooKeeper or other
//! servers.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::admin;
use super::options::{Known, Options, valued};
use crate::client::{Address, Cluster, ClusterOptions};
use crate::env::Env;

/// How long to wait between two questions.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

const KAFKA_READY: &[Known] = &[
    valued(&["bootstrap-servers", "bootstrap_broker_list", "b"]),
    valued(&["zookeeper-connect", "z"]),
    valued(&["config", "c"]),
    valued(&["security-protocol", "s"]),
];

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    match arguments.split_first() {
        Some((command, rest)) if command == "kafka-ready" => {
            kafka_ready(&Options::read(KAFKA_READY, rest)?)
        }
        // There is none to wait for.
        Some((command, _)) if command == "zk-ready" => Ok(ExitCode::SUCCESS),
        Some((command, _)) => bail!("cub {command} is not there; cub kafka-ready is"),
        None => bail!("say what to wait for: cub kafka-ready -b HOST:PORT BROKERS SECONDS"),
    }
}

fn kafka_ready(options: &Options) -> anyhow::Result<ExitCode> {
    let number = |at: usize, name| {
        let text = options.rest.get(at).with_context(|| format!("{name} is missing"))?;
        text.parse::<u64>().with_context(|| format!("{name} is {text}, which is no number"))
    };
    let (brokers, seconds) =
        (number(0, "the number of brokers")?, number(1, "the time in seconds")?);
    let bootstrap = options.value("bootstrap-servers")?.unwrap_or("localhost:9092");
    // Some scripts give what stands in `advertised.listeners`.
    let addresses = bootstrap.split(',').map(|one| one.rsplit("://").next().unwrap_or(one));
    let addresses = addresses.collect::<Vec<_>>().join(",");
    let mut cluster = ClusterOptions::new(Address::parse_list(&addresses)?);
    cluster.request_timeout = ANSWER_TIMEOUT;
    if let Some(protocol) = options.value("security-protocol")? {
        admin::apply(&mut cluster, "security.protocol", protocol.to_owned())?;
    }
    if let Some(path) = options.value("config")? {
        admin::apply_file(&mut cluster, path)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    match runtime.block_on(wait(&cluster, brokers, Duration::from_secs(seconds))) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("ottla: not ready at {addresses} after {seconds} s: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Asks until there are enough brokers; why there were not, when the time is up.
async fn wait(options: &ClusterOptions, brokers: u64, limit: Duration) -> anyhow::Result<()> {
    let env = Env::real();
    let deadline = env.steady.now().plus(limit);
    loop {
        let answer = ask(&env, options, brokers).await;
        if answer.is_ok() || env.steady.now() >= deadline {
            return answer;
        }
        env.steady.sleep(PAUSE).await;
    }
}

async fn ask(env: &Env, options: &ClusterOptions, brokers: u64) -> anyhow::Result<()> {
    let cluster = Cluster::connect(env.clone(), options.clone()).await?;
    let there = cluster.known().brokers.len();
    if (there as u64) < brokers {
        bail!("{there} of {brokers} brokers are there");
    }
    Ok(())
}
