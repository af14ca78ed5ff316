//! `ottla health`: whether the broker serves its clients, for containers without a shell.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::connect::run_async;
use super::failure::{Failure, NO_CONNECTION, REFUSED};
use super::http::{ANSWER_TIMEOUT, Answer, HttpArguments, WELL, ask};
use super::units;
use crate::env::Env;

/// How long to wait between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// Whom to ask, and for how long.
#[derive(Debug, Args)]
pub(super) struct HealthArguments {
    /// Ask again until it serves, for so long at most
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = units::duration)]
    wait: Duration,
    #[command(flatten)]
    http: HttpArguments,
}

pub(super) fn run(arguments: &HealthArguments) -> ExitCode {
    health(arguments).unwrap_or_else(|failure| failure.report(false))
}

fn health(arguments: &HealthArguments) -> Result<ExitCode, Failure> {
    let (host, port) = arguments.http.address()?;
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
