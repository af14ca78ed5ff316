//! A member of a consumer group: a process per member, of any library, that reads a topic and commits as it goes.
//!
//! A program gets its options as one JSON argument (`Options`) and prints JSON lines, each with the time `at` in
//! milliseconds since 1970 and one of
//!
//! | event | when |
//! |---|---|
//! | `owns` | a callback changed what it owns: all partitions that it owns now |
//! | `records` | it got records: `[partition, offset]` each |
//! | `committed` | the broker took a commit: `[partition, offset]` each |
//! | `failed` | something went wrong, most often a commit during a rebalance; it goes on |
//!
//! At the end of its input it leaves and ends. Those that can be slow stop between reading and committing at the line
//! `stall`, until the line `go`. kcat, which is no program of ours, says less: it commits by itself, and its words carry
//! no time.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use ottla_compat_tests::ClientKind;
use ottla_compat_tests::java::Library;
use ottla_compat_tests::program::Program;
use ottla_compat_tests::workspace::{built, native_node, rust_client, sources};
use serde::{Deserialize, Serialize};

/// A library, and what its members agree on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) name: &'static str,
    pub(crate) library: ClientKind,
    /// `classic` or `consumer`, as `group.protocol` has it.
    pub(crate) protocol: &'static str,
    /// Where the library lets one choose; else it takes its default.
    pub(crate) assignor: &'static str,
    /// Whether members have an instance id (KIP-345).
    pub(crate) is_static: bool,
}

const HEARTBEAT_MS: u32 = 300;

/// What a member is told at its start.
#[derive(Serialize)]
struct Options<'a> {
    bootstrap: &'a str,
    topic: &'a str,
    group: &'a str,
    protocol: &'a str,
    assignor: &'a str,
    instance: Option<&'a str>,
    session_ms: u32,
    heartbeat_ms: u32,
    max_poll_ms: u32,
}

/// Where and what a group reads.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) style: Style,
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
    pub(crate) group: String,
    /// The longest that a member may be silent, and the time that a dead one is missed for.
    pub(crate) session_ms: u32,
    /// `max.poll.interval.ms`.
    pub(crate) max_poll_ms: u32,
}

/// What a member tells.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    /// Milliseconds since 1970; none where the member does not tell.
    pub(crate) at: Option<u64>,
    #[serde(flatten)]
    pub(crate) news: News,
}

/// See the table of this module.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum News {
    Owns(Vec<i32>),
    Records(Vec<(i32, i64)>),
    Committed(Vec<(i32, i64)>),
    Failed(String),
}

/// A running member. Dropping it kills the process.
pub(crate) struct Member {
    pub(crate) name: &'static str,
    library: ClientKind,
    program: Program,
    /// For kcat, which tells what was added and what was taken.
    owned: Vec<i32>,
}

impl Member {
    pub(crate) fn start(name: &'static str, membership: &Membership) -> Result<Self> {
        let library = membership.style.library;
        let mut command = match library {
            ClientKind::Kcat => kcat(membership),
            ClientKind::Librdkafka => Command::new(env!("CARGO_BIN_EXE_librdkafka-member")),
            ClientKind::KafkaPython => python("kafka_python_member.py")?,
            ClientKind::ConfluentKafka => python("confluent_kafka_member.py")?,
            ClientKind::Aiokafka => python("aiokafka_member.py")?,
            ClientKind::FranzGo | ClientKind::KafkaGo | ClientKind::Sarama => {
                let mut command = Command::new(built()?.join("go/client"));
                command.arg("member").arg(library.name());
                command
            }
            ClientKind::Java | ClientKind::Java21 | ClientKind::Java28 | ClientKind::Java39 => {
                library.java().context("no Java library")?.class("GroupMember")?
            }
            ClientKind::SpringKafka => Library::SPRING.class("SpringMember")?,
            ClientKind::NodeRdkafka | ClientKind::KafkaJavascript => {
                native_node("member.js", library.package().context("no package")?)?
            }
            ClientKind::Krafka => {
                let mut command = Command::new(rust_client()?);
                command.arg("member");
                command
            }
            ClientKind::KafkaStreams | ClientKind::Platformatic | ClientKind::Rskafka => {
                bail!("{} has no program for members", library.name())
            }
            ClientKind::KafkaJs => {
                let mut command = Command::new("node");
                command
                    .env("NODE_PATH", built()?.join("node/node_modules"))
                    .arg(sources().join("node/member.js"));
                command
            }
        };
        if library != ClientKind::Kcat {
            command.arg(serde_json::to_string(&Options {
                bootstrap: &membership.bootstrap,
                topic: &membership.topic,
                group: &membership.group,
                protocol: membership.style.protocol,
                assignor: membership.style.assignor,
                instance: membership.style.is_static.then_some(name),
                session_ms: membership.session_ms,
                heartbeat_ms: HEARTBEAT_MS,
                max_poll_ms: membership.max_poll_ms,
            })?);
        }
        Ok(Self { name, library, program: Program::start(&mut command)?, owned: Vec::new() })
    }

    /// What it told since the last call, without waiting.
    ///
    /// # Errors
    /// When it has ended, or says what cannot be understood.
    pub(crate) fn events(&mut self) -> Result<Vec<Event>> {
        let (lines, ended) = self.program.lines_so_far();
        let events = self.parse(&lines)?;
        ensure!(!ended, "{} ended: {}\n{lines:?}", self.name, self.program.complaints());
        Ok(events)
    }

    /// Sends it a line.
    pub(crate) fn order(&mut self, line: &str) -> Result<()> {
        self.program.send(line)
    }

    /// Has it leave; gives its last events.
    pub(crate) fn leave(mut self) -> Result<Vec<Event>> {
        if self.library == ClientKind::Kcat {
            self.program.terminate()?;
        } else {
            self.program.close_input();
        }
        let lines = self.program.finish().with_context(|| self.name)?;
        self.parse(&lines)
    }

    /// Kills it; gives its last events.
    pub(crate) fn kill(mut self) -> Result<Vec<Event>> {
        self.program.kill().with_context(|| self.name)?;
        let mut lines = Vec::new();
        while let Some(line) = self.program.next_line()? {
            lines.push(line);
        }
        // The last line may be half of one.
        if lines.last().is_some_and(|line| !line.ends_with('}')) {
            lines.pop();
        }
        self.parse(&lines)
    }

    fn parse(&mut self, lines: &[String]) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        for line in lines {
            if self.library == ClientKind::Kcat {
                events.extend(self.parse_kcat(line)?);
            } else {
                events.push(
                    serde_json::from_str(line)
                        .with_context(|| format!("{} said {line}", self.name))?,
                );
            }
        }
        Ok(events)
    }

    /// `{"partition":0,"offset":7,…}` for a record, `% Group g rebalanced (memberid m): assigned: t [0], t [1]`, and
    /// other lines with a percent sign that are for people.
    fn parse_kcat(&mut self, line: &str) -> Result<Option<Event>> {
        #[derive(Deserialize)]
        struct Record {
            partition: i32,
            offset: i64,
        }
        let news = if line.starts_with('{') {
            let record: Record = serde_json::from_str(line)?;
            News::Records(vec![(record.partition, record.offset)])
        } else if let Some((_, list)) = line.split_once("): assigned: ") {
            self.owned.extend(numbers_in_brackets(list)?);
            News::Owns(self.owned.clone())
        } else if let Some((_, list)) = line.split_once("): revoked: ") {
            let taken = numbers_in_brackets(list)?;
            self.owned.retain(|partition| !taken.contains(partition));
            News::Owns(self.owned.clone())
        } else {
            return Ok(None);
        };
        Ok(Some(Event { at: None, news }))
    }
}

fn python(script: &str) -> Result<Command> {
    let mut command = Command::new(built()?.join("python/bin/python"));
    command.arg(sources().join("python").join(script));
    Ok(command)
}

/// kcat, whose standard error goes where its output goes, so that records and rebalances come in order.
fn kcat(membership: &Membership) -> Command {
    let mut command = Command::new("sh");
    // Cargo's, which would give kcat the librdkafka that is built for crate rdkafka.
    command.env_remove("LD_LIBRARY_PATH").args(["-c", "exec kcat \"$@\" 2>&1", "kcat"]);
    command.args(["-b", &membership.bootstrap, "-G", &membership.group, "-J", "-u"]);
    // Goes on when all brokers are down.
    command.arg("-E");
    for (key, value) in [
        ("session.timeout.ms", membership.session_ms.to_string()),
        ("heartbeat.interval.ms", HEARTBEAT_MS.to_string()),
        ("partition.assignment.strategy", membership.style.assignor.to_owned()),
        ("reconnect.backoff.max.ms", "100".to_owned()),
        ("auto.commit.interval.ms", "50".to_owned()),
        ("auto.offset.reset", "earliest".to_owned()),
    ] {
        command.args(["-X", &format!("{key}={value}")]);
    }
    command.arg(&membership.topic);
    command
}

/// `t [0], t [1]`.
fn numbers_in_brackets(list: &str) -> Result<Vec<i32>> {
    list.split('[')
        .skip(1)
        .map(|part| Ok(part.split(']').next().unwrap_or_default().parse()?))
        .collect()
}
