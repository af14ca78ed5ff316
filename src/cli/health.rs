//! `ottla health`: whether the broker serves its clients, for containers without a shell.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use super::http::{Answer, ask};
use super::sources::SourceArguments;
use crate::config::{HttpListener, Loaded};
use crate::env::Env;

/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait between two questions.
const PAUSE: Duration = Duration::from_millis(50);
/// The status of a broker that serves.
const WELL: u16 = 200;
/// The exit code that says that nobody has answered.
const NO_ANSWER: u8 = 3;

/// Whom to ask, and for how long.
#[derive(Debug, Args)]
pub(super) struct HealthArguments {
    /// Where the broker serves HTTP [default: as configured, else localhost:8092]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Ask again until it serves, for so many seconds at most
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    #[command(flatten)]
    sources: SourceArguments,
}

pub(super) fn run(arguments: &HealthArguments) -> anyhow::Result<ExitCode> {
    let http = arguments.http.as_ref().map(|http| format!("ottla.http.listener={http}"));
    let (host, port) = address(&arguments.sources.load(http.as_slice())?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let wait = Duration::from_secs(arguments.wait);
    match runtime.block_on(ask_until(&host, port, wait)) {
        Ok(Answer { status: WELL, body }) => {
            put!("{body}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Answer { body, .. }) => {
            eprint!("{body}");
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            eprintln!("ottla: nobody answers at http://{host}:{port}/readyz: {error:#}");
            Ok(ExitCode::from(NO_ANSWER))
        }
    }
}

/// Where a broker with this configuration serves HTTP.
fn address(loaded: &Loaded) -> anyhow::Result<(String, u16)> {
    let listeners = loaded.broker.listeners.iter().chain(&loaded.broker.controller_listeners);
    let first = listeners.take(1).find_map(|listener| listener.host.clone());
    let (host, port) = match &loaded.broker.http {
        HttpListener::Off => bail!("HTTP is switched off, and with it health"),
        HttpListener::Unset => (first, crate::broker::HTTP_PORT),
        HttpListener::At { host, port } => (host.clone(), *port),
    };
    let everywhere = |host: &String| host == "0.0.0.0" || host == "::";
    let host = host.filter(|host| !everywhere(host)).unwrap_or_else(|| "localhost".to_owned());
    Ok((host, port))
}

/// The first answer that says that all is well; the last one, or why there was none, when the time is up.
async fn ask_until(host: &str, port: u16, wait: Duration) -> anyhow::Result<Answer> {
    let env = Env::in_memory();
    let deadline = env.steady.now().plus(wait);
    loop {
        let limit = env.steady.now().plus(ANSWER_TIMEOUT);
        let asked = env.steady.timeout_at(limit, ask(&env, (host, port), "GET", "/readyz")).await;
        let answer = asked.map_err(Into::into).and_then(|answer| answer);
        let is_well = answer.as_ref().is_ok_and(|answer| answer.status == WELL);
        if is_well || env.steady.now() >= deadline {
            return answer;
        }
        env.steady.sleep(PAUSE).await;
    }
}
