//! `ottla connections`: who is connected to a broker of this machine.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::connect::run_async;
use super::failure::{Failure, REFUSED};
use super::http::HttpArguments;
use super::output::{OutputArguments, Table};
use super::repeat::RepeatArguments;
use crate::env::Env;

/// Which broker, and how to print.
#[derive(Debug, Args)]
pub(super) struct ConnectionsArguments {
    #[command(flatten)]
    http: HttpArguments,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    repeat: RepeatArguments,
}

pub(super) fn run(arguments: &ConnectionsArguments) -> ExitCode {
    let is_json = arguments.output.is_json();
    let outcome = run_async(async |env| {
        arguments.repeat.run_in(&env, is_json, async || show(arguments, &env).await).await
    });
    outcome.unwrap_or_else(|failure| failure.report(is_json))
}

async fn show(arguments: &ConnectionsArguments, env: &Env) -> Result<ExitCode, Failure> {
    let body = arguments.http.get(env, "/api/v1/connections").await?;
    let connections: Vec<Value> = serde_json::from_str(&body).map_err(|error| {
        let message = format!("the answer is no list of connections: {error}");
        Failure::new("UNREADABLE_ANSWER", REFUSED, message)
    })?;
    arguments.output.print(&table(&connections), &json!({ "connections": connections }))?;
    Ok(ExitCode::SUCCESS)
}

fn table(connections: &[Value]) -> Table {
    let mut table = Table::new(&[
        "PEER",
        "CLIENT-ID",
        "SOFTWARE",
        "VERSION",
        "LAST-API",
        "PRINCIPAL",
        "LISTENER",
    ]);
    for connection in connections {
        let cell = |pointer: &str| {
            let text = connection.pointer(pointer).and_then(Value::as_str);
            text.unwrap_or("-").to_owned()
        };
        table.row([
            cell("/peer"),
            cell("/client_id"),
            cell("/software/name"),
            cell("/software/version"),
            cell("/last_api"),
            cell("/principal"),
            cell("/listener"),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_has_not_told_is_left_open() {
        let connections = [
            json!({
                "peer": "[::1]:5", "client_id": "app", "last_api": "Fetch", "listener": "L",
                "principal": "User:ANONYMOUS", "software": { "name": "librdkafka", "version": "2.1" },
            }),
            json!({ "peer": "[::1]:6", "client_id": null, "last_api": null, "software": null }),
        ];
        let text = table(&connections).to_string();
        let words =
            |line: usize| text.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>();
        let all = ["[::1]:5", "app", "librdkafka", "2.1", "Fetch", "User:ANONYMOUS", "L"];
        assert_eq!(words(1), all);
        assert_eq!(words(2), ["[::1]:6", "-", "-", "-", "-", "-", "-"]);
    }
}
