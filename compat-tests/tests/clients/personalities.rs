//! Apache Kafka's tools, and the binary under their names, print the same.
//!
//! A scenario is a list of command lines. The original runs it against one broker and ours against another, since most commands change
//! something; what describes is then asked of one broker by both. What is printed on standard output has to be the same, line by line,
//! and how the tools end.

use std::io::{Seek as _, Write as _};

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::java::{java_class, output};
use ottla_compat_tests::wait::bounded;
use ottla_compat_tests::workspace::ottla;
use ottla_compat_tests::{Server, ServerKind};
use regex::Regex;

/// A tool: its class, and the name of the program.
struct Tool {
    class: &'static str,
    name: &'static str,
}

const TOPICS: Tool = Tool { class: "org.apache.kafka.tools.TopicCommand", name: "kafka-topics" };

/// What is done with topics.
const TOPICS_CHANGED: &[&str] = &[
    "--list",
    "--describe",
    "--create --topic orders --partitions 3 --replication-factor 1 --config retention.ms=5000 --config cleanup.policy=compact",
    "--create --topic orders",
    "--create --topic orders --if-not-exists",
    "--create --topic with.dots_and_more",
    "--create --topic bad/name",
    "--create --topic none --partitions 0",
    "--create --topic none --replication-factor 0",
    "--create --topic none --replication-factor 3",
    "--create --topic none --config nonsense",
    "--create --topic none --config unknown.key=1",
    "--create --topic none --config retention.ms=soon",
    "--create --topic assigned --replica-assignment 1,1",
    "--create --topic none --replica-assignment 1:1",
    "--create --topic none --replica-assignment 1,2:3",
    "--create --topic none --replica-assignment 7",
    "--create --topic users --partitions 2 --config min.insync.replicas=1 --config segment.bytes=2000000 --config compression.type=lz4",
    "--list",
    "--list --topic ord.*",
    "--list --topic orders,users",
    "--list --topic none",
    "--list --exclude-internal",
    "--describe",
    "--describe --topic orders",
    "--describe --topic ord",
    "--describe --topic none",
    "--describe --topic none --if-exists",
    "--describe --topics-with-overrides",
    "--describe --under-replicated-partitions",
    "--describe --unavailable-partitions",
    "--describe --under-min-isr-partitions",
    "--describe --at-min-isr-partitions",
    "--describe --partition-size-limit-per-response 1",
    "--describe --topic-id AAAAAAAAAAAAAAAAAAAAAA --topic users",
    "--describe --topic-id bbbbbbbbbbbbbbbbbbbbbQ",
    "--describe --topic-id bbbbbbbbbbbbbbbbbbbbbQ --if-exists",
    "--alter --topic orders --partitions 5",
    "--alter --topic orders --partitions 5",
    "--alter --topic orders --partitions 2",
    "--alter --topic none --partitions 2",
    "--alter --topic none --partitions 2 --if-exists",
    "--alter --topic assigned --partitions 3 --replica-assignment 1,1,1",
    "--alter --topic orders",
    "--describe --topic orders",
    "--list --describe",
    "--list --partitions 2",
    "--describe --topics-with-overrides --unavailable-partitions",
    "--delete --topic none",
    "--delete --topic none --if-exists",
    "--delete --topic orders,users",
    "--delete",
    "--list",
];

/// What is asked of a broker by both.
const TOPICS_ASKED: &[&str] = &["--describe", "--list", "--describe --topic with.dots_and_more"];

pub(crate) fn topics(kind: ServerKind) -> Result<()> {
    alike(kind, &TOPICS, TOPICS_CHANGED, TOPICS_ASKED)
}

/// Runs a scenario twice, and what is asked by both.
fn alike(kind: ServerKind, tool: &Tool, changes: &[&str], asked: &[&str]) -> Result<()> {
    let (first, second) = (Server::start(kind, &[])?, Server::start(kind, &[])?);
    let expected = original(tool, changes, &first)?;
    let found = ours(tool, changes, &second)?;
    compare(&expected, &found)?;
    compare(&original(tool, asked, &first)?, &ours(tool, asked, &first)?)
}

/// Fails with all lines of a command that are not the same.
fn compare(expected: &[String], found: &[String]) -> Result<()> {
    assert_eq!(expected.len(), found.len(), "commands");
    let differences: String = expected
        .iter()
        .zip(found)
        .filter(|(expected, found)| expected != found)
        .map(|(expected, found)| format!("-{expected}\n+{found}\n"))
        .collect();
    ensure!(differences.is_empty(), "-: Apache Kafka's tool, +: ours\n{differences}");
    Ok(())
}

/// What Apache Kafka's tool prints for each command.
fn original(tool: &Tool, commands: &[&str], server: &Server) -> Result<Vec<String>> {
    let mut lines = tempfile::tempfile()?;
    for command in commands {
        let (options, input) =
            command.split_once(" << ").map_or((*command, String::new()), |(options, input)| {
                (options, format!(" << {input}"))
            });
        writeln!(
            lines,
            "{} --bootstrap-server {} {options}{input}",
            tool.class,
            server.bootstrap()
        )?;
    }
    lines.rewind()?;
    let printed = output(java_class("ToolLines")?.stdin(lines))?;
    let blocks = printed.split("== ").skip(1);
    let blocks = blocks.zip(commands).map(|(block, command)| {
        let printed = block.split_once('\n').map_or("", |(_, printed)| printed);
        without_chance(&format!("{command}\n{printed}"))
    });
    blocks.collect()
}

/// What ours prints.
fn ours(tool: &Tool, commands: &[&str], server: &Server) -> Result<Vec<String>> {
    let run = |command: &&str| {
        let (options, input) = command.split_once(" << ").unwrap_or((command, ""));
        let mut lines = tempfile::tempfile()?;
        if !input.is_empty() {
            writeln!(lines, "{}", input.replace("\\n", "\n"))?;
            lines.rewind()?;
        }
        let mut program = bounded(ottla()?);
        program
            .args([tool.name, "--bootstrap-server", server.bootstrap()])
            .args(options.split(' '));
        let result = program.stdin(lines).output().context("cannot run it")?;
        let printed = String::from_utf8_lossy(&result.stdout);
        let status = result.status.code().context("it was ended")?;
        without_chance(&format!("{command}\n{printed}exit {status}\n"))
    };
    commands.iter().map(run).collect()
}

/// Without what differs from broker to broker.
fn without_chance(text: &str) -> Result<String> {
    let ids = Regex::new("TopicId: [A-Za-z0-9_-]{22}")?;
    Ok(ids.replace_all(text, "TopicId: (an id)").into_owned())
}
