//! `ottla health`: whether the broker serves its clients, for containers without a shell.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::connect::run_async;
use super::failure::{Failure, NO_CONNECTION, REFUSED};
use super::http::{Answer, ask};
use super::sources::SourceArguments;
use super::units;
use crate::config::{HttpListener, Loaded};
use crate::env::Env;

/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait between two questions.
const PAUSE: Duration = Duration::from_millis(50);
/// The status of a broker that serves.
const WELL: u16 = 200;

/// Whom to ask, and for how long.
#[derive(Debug, Args)]
pub(super) struct HealthArguments {
    /// Where the broker serves HTTP [default: as configured, else localhost:8092]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Ask again until it serves, for so long at most
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = units::duration)]
    wait: Duration,
    #[command(flatten)]
    sources: SourceArguments,
}

pub(super) fn run(arguments: &HealthArguments) -> ExitCode {
    health(arguments).unwrap_or_else(|failure| failure.report(false))
}

fn health(arguments: &HealthArguments) -> Result<ExitCode, Failure> {
    let http = arguments.http.as_ref().map(|http| format!("ottla.http.listener={http}"));
    let loaded = arguments.sources.load(http.as_slice()).map_err(|error| {
        Failure::usage(format!("{error:#}"))
            .hint("--http HOST:PORT says where the broker serves HTTP")
    })?;
    let (host, port) = address(&loaded)?;
    run_async(async move |env| match ask_until(&env, &host, port, arguments.wait).await {
        Ok(Answer { status: WELL, body }) => {
            put!("{body}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Answer { status, body }) => {
            eprint!("{body}");
            let message = format!("http://{host}:{port}/readyz answered {status}");
            Err(Failure::new("NOT_READY", REFUSED, message)
                .hint("--wait TIME asks again until it serves; the broker's log says what it does"))
        }
        Err(error) => {
            let message = format!("nobody answers at http://{host}:{port}/readyz: {error:#}");
            Err(Failure::new("NO_ANSWER", NO_CONNECTION, message)
                .hint("is a broker running there? --http HOST:PORT says where to ask, --wait TIME asks again"))
        }
    })
}

/// Where a broker with this configuration serves HTTP.
fn address(loaded: &Loaded) -> Result<(String, u16), Failure> {
    let listeners = loaded.broker.listeners.iter().chain(&loaded.broker.controller_listeners);
    let first = listeners.take(1).find_map(|listener| listener.host.clone());
    let (host, port) = match &loaded.broker.http {
        HttpListener::Off => {
            let message = "HTTP is switched off, and with it health";
            return Err(Failure::new("NO_HTTP", REFUSED, message)
                .hint("ottla.http.listener says where a broker serves HTTP"));
        }
        HttpListener::Unset => (first, crate::broker::HTTP_PORT),
        HttpListener::At { host, port } => (host.clone(), *port),
    };
    let everywhere = |host: &String| host == "0.0.0.0" || host == "::";
    let host = host.filter(|host| !everywhere(host)).unwrap_or_else(|| "localhost".to_owned());
    Ok((host, port))
}

/// The first answer that says that all is well; the last one, or why there was none, when the time is up.
async fn ask_until(env: &Env, host: &str, port: u16, wait: Duration) -> anyhow::Result<Answer> {
    let deadline = env.steady.now().plus(wait);
    loop {
        let limit = env.steady.now().plus(ANSWER_TIMEOUT);
        let asked = env.steady.timeout_at(limit, ask(env, (host, port), "GET", "/readyz")).await;
        let answer = asked.map_err(Into::into).and_then(|answer| answer);
        let is_well = answer.as_ref().is_ok_and(|answer| answer.status == WELL);
        if is_well || env.steady.now() >= deadline {
            return answer;
        }
        env.steady.sleep(PAUSE).await;
    }
}
