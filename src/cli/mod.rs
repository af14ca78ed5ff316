//! The command line.
//!
//! Owns the arguments, what is printed for people, the exit codes. Starts a [`Broker`](crate::broker::Broker) and knows
//! nothing of what it does.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what talks to people")]

mod config;
mod health;
mod logs;
mod serve;
mod sources;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A Kafka-wire-compatible broker in one binary.
#[derive(Debug, Parser)]
#[command(name = "ottla", version, about, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    serve: serve::ServeArguments,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start a broker. `ottla` alone does the same.
    Serve(serve::ServeArguments),
    /// Explain and check the configuration
    Config(config::ConfigArguments),
    /// Ask a broker of this machine whether it serves its clients; 0 means yes
    Health(health::HealthArguments),
    /// Check log directories and print their files, Ottla's or Apache Kafka's
    Logs(logs::LogsArguments),
}

/// Runs the program with the arguments and the environment of the process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.verb {
        None => serve::run(&arguments.serve),
        Some(Verb::Serve(arguments)) => serve::run(&arguments),
        Some(Verb::Config(arguments)) => config::run(&arguments),
        Some(Verb::Health(arguments)) => health::run(&arguments),
        Some(Verb::Logs(arguments)) => logs::run(&arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ottla: {error:#}");
            ExitCode::FAILURE
        }
    }
}
