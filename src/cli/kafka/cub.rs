//! `cub`: what scripts of Confluent's images wait with.
//!
//! `cub kafka-ready [-b HOST:PORT] BROKERS SECONDS` waits until somebody answers there as a broker. The rest is about ZooKeeper or other servers.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::options::{Known, Options, valued};
use crate::env::Env;

/// How long to wait between two questions.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// An ApiVersions request of version 0, which every broker answers: size, key, version, correlation id, no client id.
const QUESTION: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

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
    if brokers > 1 {
        bail!("{brokers} brokers are expected: several nodes are not there yet");
    }
    let bootstrap = options.value("bootstrap-servers")?.unwrap_or("localhost:9092");
    let first = bootstrap.split(',').next().unwrap_or_default();
    let address = first.rsplit("://").next().unwrap_or(first);
    let (host, port) =
        address.rsplit_once(':').with_context(|| format!("{address} is not HOST:PORT"))?;
    let port = port.parse().with_context(|| format!("{address} is not HOST:PORT"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    match runtime.block_on(wait(host.trim_matches(['[', ']']), port, Duration::from_secs(seconds)))
    {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("ottla: no broker answers at {address} after {seconds} s: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Asks until there is an answer; why there was none, when the time is up.
async fn wait(host: &str, port: u16, limit: Duration) -> anyhow::Result<()> {
    let env = Env::in_memory();
    let deadline = env.steady.now().plus(limit);
    loop {
        let until = env.steady.now().plus(ANSWER_TIMEOUT);
        let asked = env.steady.timeout_at(until, ask(&env, host, port)).await;
        let answer = asked.map_err(Into::into).and_then(|answer| answer);
        if answer.is_ok() || env.steady.now() >= deadline {
            return answer;
        }
        env.steady.sleep(PAUSE).await;
    }
}

async fn ask(env: &Env, host: &str, port: u16) -> anyhow::Result<()> {
    let mut stream = env.net.connect(host, port).await?;
    stream.write_all(&QUESTION).await?;
    // Size, correlation id, error code.
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await?;
    if answer[4..] != [0, 0, 0, 7, 0, 0] {
        bail!("what answers is no broker");
    }
    Ok(())
}
