//! How fast the broker is: it, a limit loop and Apache Kafka in turn in one run, under the same load.
//!
//! ```text
//! cargo bench --bench speed                       all but groups; Apache Kafka needs a JDK (compat-tests/kafka)
//! cargo bench --bench speed -- --no-kafka         without it
//! cargo bench --bench speed -- produce start      only scenarios whose name contains one of these words
//! cargo bench --bench speed -- groups             consumer groups instead; 10,000 connections need as many descriptors
//! cargo bench --bench speed -- transactions       transactions instead
//! cargo bench --bench speed -- cluster            three nodes instead
//! cargo bench --bench speed -- sustained          minutes of full load on Ottla instead: --minutes 10
//! cargo bench --bench speed -- --rounds 3 --megabytes 256
//! ```
//!
//! The limit loop (`limit.rs`) does no more than the same system calls: what is above it is the price of being a broker.
//! All three are processes of their own, loaded by the same client (`load.rs`) over loopback. Rounds are interleaved:
//! first round all three, second round all three, and so on. CPU time is the server's alone, user and system.
//! Figures are the least CPU time and the best throughput of all rounds, and the median of latencies and times.
//! Only the ratios mean anything on another machine.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a program that measures the real world, and ends with a panic when it cannot"
)]

mod clients;
mod cluster;
mod durable;
mod groups;
mod limit;
mod load;
mod members;
mod report;
mod scale;
mod scenarios;
mod servers;
mod sustained;
mod transactions;

use std::path::PathBuf;

/// What to measure, and how long.
struct Options {
    /// Words of which a scenario's name must contain one; all scenarios if there are none.
    words: Vec<String>,
    /// Whether to measure Apache Kafka.
    kafka: bool,
    /// Interleaved repetitions.
    rounds: usize,
    /// Bytes to move in each round of a throughput scenario, in MB.
    megabytes: u64,
    /// How long the sustained load is.
    minutes: u64,
    /// Where servers keep their data. A folder of its own is made there.
    folder: PathBuf,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "limit") {
        limit::serve(&arguments[1..]);
    }
    let (run, words): (fn(&Options), usize) = match arguments.first().map(String::as_str) {
        Some("groups") => (groups::run, 1),
        Some("sustained") => (sustained::run, 1),
        Some("cluster") => (cluster::run, 1),
        Some("transactions") => (transactions::run, 1),
        Some(_) | None => (scenarios::run, 0),
    };
    run(&parse(arguments.into_iter().skip(words).collect()));
}

fn parse(arguments: Vec<String>) -> Options {
    let mut options = Options {
        words: Vec::new(),
        kafka: true,
        rounds: 5,
        megabytes: 512,
        minutes: 10,
        folder: std::env::temp_dir(),
    };
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--no-kafka" => options.kafka = false,
            "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
            "--megabytes" => options.megabytes = value().parse().expect("a number of megabytes"),
            "--minutes" => options.minutes = value().parse().expect("a number of minutes"),
            "--folder" => options.folder = value().into(),
            // Cargo adds this to what the user wrote.
            "--bench" => {}
            word if word.starts_with('-') => panic!("unknown option {word}"),
            word => options.words.push(word.to_owned()),
        }
    }
    options
}
