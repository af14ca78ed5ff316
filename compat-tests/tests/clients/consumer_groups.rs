//! `kafka-consumer-groups` prints the same, line by line, whether it administers Ottla or Apache Kafka.
//!
//! `java/ConsumerGroups.java` has the scenario: groups of both protocols, with and without members, are listed,
//! described, reset and deleted, in every way that the tool knows.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use ottla_compat_tests::java::{java_class, output};
use ottla_compat_tests::workspace::ottla;
use ottla_compat_tests::{Server, ServerKind};

use crate::probe::{blocks, difference};

pub(crate) fn printed_alike(kind: ServerKind) -> Result<()> {
    let oracle = thread::spawn(|| printed(ServerKind::ApacheKafka, None));
    let found = printed(kind, None)?;
    let expected = oracle.join().map_err(|_| anyhow!("the thread panicked"))??;
    compare(&expected, &found)
}

/// The tool and ours, each with a broker of its own.
pub(crate) fn tools_alike(kind: ServerKind) -> Result<()> {
    let original = thread::spawn(move || printed(kind, Some("-".to_owned())));
    let ours = printed(kind, Some(ottla()?.display().to_string()))?;
    let original = original.join().map_err(|_| anyhow!("the thread panicked"))??;
    compare(&original, &ours)
}

fn compare(expected: &str, found: &str) -> Result<()> {
    let (expected, found) = (blocks(expected), blocks(found));
    ensure!(expected.len() > 120, "only {} commands", expected.len());
    assert_eq!(expected.len(), found.len(), "commands");
    let differences: String = expected
        .iter()
        .zip(&found)
        .filter_map(|(expected, found)| difference(expected, found))
        .collect();
    ensure!(differences.is_empty(), "-: expected, +: found\n{differences}");
    Ok(())
}

/// What the tool, or the program in its place, prints in the scenario.
fn printed(kind: ServerKind, program: Option<String>) -> Result<String> {
    // Members of consumer groups hear of their part at once.
    let heartbeats = [
        "group.consumer.min.heartbeat.interval.ms=100",
        "group.consumer.heartbeat.interval.ms=100",
    ];
    let server = Server::start(kind, &heartbeats)?;
    let mut command = java_class("ConsumerGroups")?;
    output(command.arg(server.bootstrap()).args(program)).with_context(|| server.log())
}
