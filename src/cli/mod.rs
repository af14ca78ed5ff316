//! The command line.
//!
//! Owns the arguments, what is printed for people, the exit codes. Starts a [`Broker`](crate::broker::Broker) and knows
//! nothing of what it does.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what talks to people")]

/// Prints a line for whoever reads it: where nobody does any more, that is no failure, as it is none for Java's programs.
macro_rules! say {
    () => {
        put!("\n")
    };
    ($($words:tt)*) => {
        put!("{}\n", format_args!($($words)*))
    };
}

/// The same without the end of the line.
macro_rules! put {
    ($($words:tt)*) => {
        $crate::cli::output::put(format_args!($($words)*))
    };
}

/// Says on standard error what is good to know, unless only results and errors are wanted.
macro_rules! note {
    ($($words:tt)*) => {
        if !$crate::cli::manner::is_quiet() {
            eprintln!($($words)*);
        }
    };
}

mod before_verb;
mod bench;
mod cluster;
mod completions;
mod config;
mod configs;
mod connect;
mod connections;
mod consume;
mod context;
mod described_topics;
mod dev;
mod doctor;
mod failure;
mod filter;
mod group;
mod health;
mod http;
mod input;
mod json_record;
mod kafka;
mod log_dirs;
mod log_lines;
mod logs;
mod manner;
mod metrics;
mod output;
mod pace;
mod personality;
mod place;
mod produce;
mod progress;
mod reading;
mod record_table;
mod redpanda;
mod repeat;
mod rpk;
mod scope;
mod scratch;
mod security;
mod serve;
mod signals;
mod sources;
mod template;
mod topic;
mod transfer;
#[cfg(test)]
mod reference;
mod units;
mod yaml;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// A Kafka-wire-compatible broker in one binary.
#[derive(Debug, Parser)]
#[command(name = "ottla", version, about, args_conflicts_with_subcommands = true, after_help = help())]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    serve: serve::ServeArguments,
    #[command(flatten)]
    manner: manner::MannerArguments,
}

fn help() -> String {
    format!("{}\n\n{}", before_verb::HELP, kafka::HELP)
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start a broker. `ottla` alone does the same.
    Serve(serve::ServeArguments),
    /// Start a cluster of several nodes in one process, and kill, pause or cut off its nodes
    Dev(dev::DevArguments),
    /// See, create, change and delete topics of any cluster
    Topic(topic::TopicArguments),
    /// Write lines as records, to any cluster
    Produce(produce::ProduceArguments),
    /// Print records, of any cluster
    Consume(consume::ConsumeArguments),
    /// Write topics to a file, as JSON lines
    Export(transfer::ExportArguments),
    /// Write the records of such files into topics
    Import(transfer::ImportArguments),
    /// See, reset and delete consumer groups of any cluster
    Group(group::GroupArguments),
    /// See a cluster's brokers, health, settings and transactions
    Cluster(cluster::ClusterArguments),
    /// Give clusters names, and choose one
    Context(context::ContextArguments),
    /// Find out why a cluster cannot be used from here; 0 means that it can
    Doctor(doctor::DoctorArguments),
    /// Measure how fast a cluster writes, reads and passes on
    Bench(bench::BenchArguments),
    /// Print a script that makes a shell complete these verbs
    Completions(completions::CompletionsArguments),
    /// Explain and check the configuration
    Config(config::ConfigArguments),
    /// Ask a broker of this machine whether it serves its clients; 0 means yes
    Health(health::HealthArguments),
    /// Print the metrics of a broker of this machine
    Metrics(metrics::MetricsArguments),
    /// List the clients that are connected to a broker of this machine
    Connections(connections::ConnectionsArguments),
    /// Check log directories and print their files, Ottla's or Apache Kafka's
    Logs(logs::LogsArguments),
    /// Rights
    #[command(hide = true)]
    Acl(security::Anything),
    /// Users
    #[command(hide = true)]
    User(security::Anything),
    /// Quotas
    #[command(hide = true)]
    Quota(security::Anything),
}

/// Runs the program with the arguments and the environment of the process.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    if let Some((run, arguments)) = personality::of(&words) {
        return end(run(&arguments));
    }
    let words = match before_verb::put_behind(&words, &Arguments::command()) {
        Ok(words) => words,
        Err(failure) => return failure.report(output::wants_json(&words)),
    };
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() && output::wants_json(&words) => {
            return failure::of_usage(&error).report(true);
        }
        Err(error) => error.exit(),
    };
    arguments.manner.settle();
    if !matches!(arguments.verb, None | Some(Verb::Serve(_) | Verb::Dev(_))) {
        log_what_is_asked_for();
    }
    let outcome = match arguments.verb {
        None => serve::run(&arguments.serve),
        Some(Verb::Serve(arguments)) => serve::run(&arguments),
        Some(Verb::Dev(arguments)) => dev::run(&arguments),
        Some(Verb::Topic(arguments)) => Ok(topic::run(&arguments)),
        Some(Verb::Produce(arguments)) => Ok(produce::run(&arguments)),
        Some(Verb::Consume(arguments)) => Ok(consume::run(&arguments)),
        Some(Verb::Export(arguments)) => Ok(transfer::export(&arguments)),
        Some(Verb::Import(arguments)) => Ok(transfer::import(&arguments)),
        Some(Verb::Group(arguments)) => Ok(group::run(&arguments)),
        Some(Verb::Cluster(arguments)) => Ok(cluster::run(&arguments)),
        Some(Verb::Context(arguments)) => Ok(context::run(&arguments)),
        Some(Verb::Doctor(arguments)) => Ok(doctor::run(&arguments)),
        Some(Verb::Bench(arguments)) => Ok(bench::run(&arguments)),
        Some(Verb::Completions(arguments)) => Ok(completions::run::<Arguments>(&arguments)),
        Some(Verb::Config(arguments)) => config::run(&arguments),
        Some(Verb::Health(arguments)) => Ok(health::run(&arguments)),
        Some(Verb::Metrics(arguments)) => Ok(metrics::run(&arguments)),
        Some(Verb::Connections(arguments)) => Ok(connections::run(&arguments)),
        Some(Verb::Logs(arguments)) => logs::run(&arguments),
        Some(Verb::Acl(rest)) => Ok(security::refuse("acl", &rest).report(false)),
        Some(Verb::User(rest)) => Ok(security::refuse("user", &rest).report(false)),
        Some(Verb::Quota(rest)) => Ok(security::refuse("quota", &rest).report(false)),
    };
    end(outcome)
}

/// Verbs other than `serve` log nothing, unless `RUST_LOG` asks for it.
fn log_what_is_asked_for() {
    if let Ok(filter) = EnvFilter::try_from_default_env() {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(log_lines::LogLines)
            .with_ansi(manner::errors_in_colour())
            .init();
    }
}

fn end(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{} {error:#}", manner::error_lead());
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn the_arguments_fit_together() {
        Arguments::command().debug_assert();
    }
}
