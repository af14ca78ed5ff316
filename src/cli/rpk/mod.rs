//! `rpk topic`, `group` and `cluster`: Redpanda's tool, as far as it speaks the Kafka protocol.
//!
//! Owns its options and tables. What is printed has the form of Redpanda's `rpk`; what is about Redpanda alone is not there.
//! Source: the tool's sources and what it prints.

mod cluster;
mod group;
mod records;
mod topic;

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use super::connect::run_async;
use super::failure::{Failure, USAGE};
use super::security::{Anything, refuse};
use crate::client::{Address, Cluster, ClusterOptions};

pub(super) use records::write_object;

/// Redpanda's tool, as far as it is about topics, groups and the cluster.
#[derive(Debug, Parser)]
#[command(name = "rpk", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create, delete, show and list topics, produce to and consume from them
    #[command(subcommand)]
    Topic(topic::Verb),
    /// List, show and delete consumer groups
    #[command(subcommand)]
    Group(group::Verb),
    /// Show the brokers, and whether all is well
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Rights
    #[command(hide = true)]
    Acl(Anything),
    /// Users and rights
    #[command(hide = true)]
    Security(Anything),
}

/// Where the cluster is.
#[derive(Clone, Debug, Args)]
struct Connection {
    /// Brokers to begin with
    #[arg(
        long,
        env = "RPK_BROKERS",
        global = true,
        default_value = "127.0.0.1:9092",
        hide_default_value = true
    )]
    brokers: String,
    /// Settings such as brokers=HOST:PORT
    #[arg(short = 'X', value_name = "KEY=VALUE", global = true)]
    options: Vec<String>,
    /// Addresses of the other protocol, which is not needed
    #[arg(long = "api-urls", alias = "hosts", global = true, hide = true)]
    admin: Option<String>,
    /// Say more
    #[arg(short, long, global = true)]
    verbose: bool,
    #[command(flatten)]
    security: Security,
}

/// Options that mean TLS or SASL.
#[derive(Clone, Debug, Args)]
struct Security {
    #[arg(long, global = true, hide = true)]
    user: Option<String>,
    #[arg(long, global = true, hide = true)]
    password: Option<String>,
    #[arg(long, global = true, hide = true)]
    sasl_mechanism: Option<String>,
    #[arg(long, global = true, hide = true)]
    tls_enabled: bool,
    #[arg(long, global = true, hide = true)]
    tls_truststore: Option<String>,
    #[arg(long, global = true, hide = true)]
    tls_cert: Option<String>,
    #[arg(long, global = true, hide = true)]
    tls_key: Option<String>,
}

impl Connection {
    /// The brokers to begin with; those of the last `-X brokers=` win.
    fn bootstrap(&self) -> &str {
        let given = self.options.iter().rev().find_map(|option| option.strip_prefix("brokers="));
        given.unwrap_or(&self.brokers)
    }

    /// What is asked for of TLS and SASL is refused, by its name.
    fn check(&self) -> Result<(), Failure> {
        let Security { user, password, sasl_mechanism, tls_enabled, .. } = &self.security;
        let Security { tls_truststore, tls_cert, tls_key, .. } = &self.security;
        let flags = [
            ("--user", user.is_some()),
            ("--password", password.is_some()),
            ("--sasl-mechanism", sasl_mechanism.is_some()),
            ("--tls-enabled", *tls_enabled),
            ("--tls-truststore", tls_truststore.is_some()),
            ("--tls-cert", tls_cert.is_some()),
            ("--tls-key", tls_key.is_some()),
        ];
        let flag = flags.into_iter().find(|(_, given)| *given).map(|(name, _)| name.to_owned());
        let is_secure = |key: &str| {
            ["tls.", "sasl."].iter().any(|start| key.starts_with(start))
                || ["user", "pass"].contains(&key)
        };
        let pairs = self.options.iter().filter_map(|option| option.split_once('='));
        let mut secure = pairs.filter(|(key, value)| is_secure(key) && *value != "false");
        let option = flag.or_else(|| secure.next().map(|(key, _)| format!("-X {key}")));
        match option {
            None => Ok(()),
            Some(option) => Err(Failure::new(
                "NOT_YET",
                USAGE,
                format!("{option}: TLS and SASL are not there yet"),
            )
            .hint("use a PLAINTEXT listener of the broker")),
        }
    }

    fn run(
        &self,
        verb: impl AsyncFnOnce(Cluster) -> Result<ExitCode, Failure>,
    ) -> Result<ExitCode, Failure> {
        let bootstrap = Address::parse_list(self.bootstrap())
            .map_err(|error| Failure::usage(error.to_string()))?;
        let options =
            ClusterOptions { client_id: "rpk".to_owned(), ..ClusterOptions::new(bootstrap) };
        run_async(async move |env| verb(Cluster::connect(env, options).await?).await)
    }
}

pub(super) fn run(arguments: &[String]) -> ExitCode {
    let words = ["rpk".to_owned()].into_iter().chain(arguments.iter().cloned());
    let Arguments { verb, connection } = Arguments::parse_from(words);
    let outcome = connection.check().and_then(|()| match &verb {
        Verb::Topic(verb) => topic::run(verb, &connection),
        Verb::Group(verb) => group::run(verb, &connection),
        Verb::Cluster(verb) => cluster::run(verb, &connection),
        Verb::Acl(rest) => Err(refuse("acl", rest)),
        Verb::Security(rest) => Err(refuse("security", rest)),
    });
    outcome.unwrap_or_else(|failure| failure.report(false))
}

/// Rows in columns of six at least, two blanks between them (Go's `tabwriter` as rpk uses it).
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > column + 1);
        cells.map(|row| row[column].chars().count() + 2).max().unwrap_or(0).max(6)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths).take(row.len().saturating_sub(1)) {
            write!(text, "{cell:<width$}").expect("a string takes all");
        }
        text.push_str(row.last().map_or("", String::as_str));
        text.push('\n');
    }
    text
}

/// The head of a table, and its rows to come.
fn table<const N: usize>(head: [&str; N]) -> Vec<Vec<String>> {
    vec![head.map(str::to_owned).to_vec()]
}

/// A title, underlined.
fn section(title: &str) -> String {
    format!("{title}\n{}\n", "=".repeat(title.len()))
}

/// `[1 2 3]`.
fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Arguments::command().debug_assert();
        let read = |line: &str| Arguments::parse_from(line.split(' '));
        let given = read("rpk topic list -X brokers=a:1 --brokers b:2");
        assert_eq!(given.connection.bootstrap(), "a:1");
        assert_eq!(read("rpk cluster health --brokers b:2").connection.bootstrap(), "b:2");
    }

    #[test]
    fn columns_are_those_of_a_tabwriter() {
        let rows = [
            vec!["ID".to_owned(), "HOST".to_owned(), "PORT".to_owned()],
            vec!["1*".to_owned(), "127.0.0.1".to_owned(), "9092".to_owned()],
        ];
        assert_eq!(columns(&rows), "ID    HOST       PORT\n1*    127.0.0.1  9092\n");
        assert_eq!((list([1, 2]), list::<i32>([])), ("[1 2]".to_owned(), "[]".to_owned()));
    }
}
