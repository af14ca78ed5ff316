//! Likeness of clusters: three nodes under a script of kills, stops, starts and requests give the states and the answers that
//! three nodes of Apache Kafka gave.
//!
//! The scripts are in `nodes/`: lines of commands, in steps that begin with `== what it shows`.
//!
//! ```text
//! kill NODE | stop NODE | start NODE
//! ask NODE REQUEST VERSION BODY    the answer is kept, with its texts
//! await TOPIC-PARTITION KEY=VALUE… the state of a partition is kept, once it is as told at every node that runs
//! fill TOPIC COUNT                 records of a kibibyte go to partition 0
//! file NAME TEXT                   a file, whose path stands for `{NAME}` from then on
//! tool CLASS ARGUMENTS             what a tool of Apache Kafka prints is kept; `fails` if it has to fail
//! ```
//!
//! A state is the line that `java/NodesProbe.java` makes of Metadata and DescribeTopicPartitions. Nothing depends on time: what
//! is kept is either an answer or a state that was waited for. What Apache Kafka gives is in `nodes/NAME.answers`, where Ottla
//! differs on purpose is in `nodes/NAME.differences` with the reason, as in `probe/differences.txt`. With
//! `OTTLA_COMPAT_SERVER=kafka` the answers on file are held against Apache Kafka, and with `UPDATE_ANSWERS` too they are written:
//!
//! `OTTLA_COMPAT_SERVER=kafka UPDATE_ANSWERS=1 cargo test -p ottla-compat-tests -- nodes_alike`

use std::collections::{BTreeMap, BTreeSet};
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use ottla_compat_tests::client::ProduceOptions;
use ottla_compat_tests::java::java_class;
use ottla_compat_tests::nodes::NODES;
use ottla_compat_tests::program::Program;
use ottla_compat_tests::workspace::{built, sources};
use ottla_compat_tests::{ClientKind, Nodes, Record, Server, ServerKind, wait_until};
use tempfile::NamedTempFile;

use crate::probe::{Answer, blocks, changes, difference, reviewed};
use crate::tools::run_at;

pub(crate) fn isr(kind: ServerKind) -> Result<()> {
    alike(kind, "isr")
}

pub(crate) fn elections(kind: ServerKind) -> Result<()> {
    alike(kind, "elections")
}

pub(crate) fn reassignments(kind: ServerKind) -> Result<()> {
    alike(kind, "reassignments")
}

pub(crate) fn throttle(kind: ServerKind) -> Result<()> {
    alike(kind, "throttle")
}

fn alike(kind: ServerKind, name: &str) -> Result<()> {
    let path = |kind: &str| sources().join(format!("nodes/{name}.{kind}"));
    let script = fs::read_to_string(path("script"))?;
    let found = run(kind, &script)?;
    if kind == ServerKind::ApacheKafka && env::var_os("UPDATE_ANSWERS").is_some() {
        return Ok(fs::write(path("answers"), text(&found))?);
    }
    let expected = blocks(&fs::read_to_string(path("answers"))?);
    ensure!(
        expected.iter().map(|(step, _)| step).eq(found.iter().map(|(step, _)| step)),
        "the script has other steps than {}",
        path("answers").display()
    );
    let pairs = expected.iter().zip(&found);
    let differences: String =
        pairs.filter_map(|(expected, found)| difference(expected, found)).collect();
    if kind == ServerKind::ApacheKafka {
        ensure!(differences.is_empty(), "Apache Kafka has answered otherwise:\n{differences}");
        return Ok(());
    }
    let file = built()?.join(format!("{name}.differences"));
    fs::write(&file, &differences)?;
    let changes = changes(&reviewed(&path("differences"))?, &blocks(&differences));
    ensure!(
        changes.is_empty(),
        "{} holds all differences; not as reviewed:\n{changes}",
        file.display()
    );
    Ok(())
}

fn text(answers: &[Answer]) -> String {
    let block = |(step, lines): &Answer| format!("{step}\n{}\n", lines.join("\n"));
    answers.iter().map(block).collect()
}

/// Has three nodes go through a script.
fn run(kind: ServerKind, script: &str) -> Result<Vec<Answer>> {
    let mut cluster = Cluster::start(kind)?;
    let steps: Vec<_> =
        script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let mut answers = Vec::new();
    for (step, commands) in blocks(&steps.join("\n")) {
        let mut lines = Vec::new();
        for command in commands {
            let said = cluster.command(&command).with_context(|| format!("{step}: {command}"))?;
            lines.extend(said);
        }
        answers.push((step, lines));
    }
    Ok(answers)
}

struct Cluster {
    nodes: Nodes,
    /// Those that run.
    alive: BTreeSet<i32>,
    probe: Program,
    asked: usize,
    files: BTreeMap<String, NamedTempFile>,
}

impl Cluster {
    fn start(kind: ServerKind) -> Result<Self> {
        // Leaders change when the script says so. Apache Kafka's tests of who lives, and for whom an unclean election is due,
        // are as fast as they may be on a busy machine.
        let mut configs = vec!["auto.leader.rebalance.enable=false"];
        if kind == ServerKind::ApacheKafka {
            configs.extend([
                "broker.session.timeout.ms=5000",
                "broker.heartbeat.interval.ms=500",
                "unclean.leader.election.interval.ms=1000",
            ]);
        }
        let nodes = Nodes::start_as(kind, &configs)?;
        let probe = Program::start(java_class("NodesProbe")?.arg(nodes.bootstrap()))?;
        let alive = (1..=i32::try_from(NODES)?).collect();
        let mut cluster = Self { nodes, alive, probe, asked: 0, files: BTreeMap::new() };
        cluster.wait("cluster", &["brokers=1,2,3"])?;
        Ok(cluster)
    }

    /// What is kept of a command.
    fn command(&mut self, command: &str) -> Result<Vec<String>> {
        let words: Vec<&str> = command.split(' ').collect();
        match words[..] {
            ["kill", node] => self.end(node.parse()?, Server::kill)?,
            ["stop", node] => self.end(node.parse()?, Server::stop)?,
            ["start", node] => {
                let id = node.parse()?;
                self.nodes.node(id)?.restart()?;
                self.alive.insert(id);
            }
            ["await", what, ref conditions @ ..] => return Ok(vec![self.wait(what, conditions)?]),
            ["ask", _, request, ..] => {
                self.asked += 1;
                let place = format!("{} {request}", self.asked);
                let lines = self.ask(command)?;
                return Ok(lines.into_iter().map(|line| format!("{place}: {line}")).collect());
            }
            ["fill", topic, count] => self.fill(topic, count.parse()?)?,
            ["file", name, ..] => {
                let text = command.splitn(3, ' ').nth(2).unwrap_or_default();
                let file = NamedTempFile::new()?;
                fs::write(&file, text)?;
                self.files.insert(name.to_owned(), file);
            }
            ["tool" | "fails", class, ..] => return self.tool(class, command),
            _ => bail!("not a command"),
        }
        Ok(Vec::new())
    }

    fn fill(&mut self, topic: &str, count: usize) -> Result<()> {
        let records: Vec<_> = (0..count).map(|_| Record::new(0, "x".repeat(1 << 10))).collect();
        let mut client = ClientKind::Librdkafka.connect(self.nodes.bootstrap())?;
        client.produce(topic, &records, ProduceOptions::default())?;
        Ok(())
    }

    /// What a tool prints, of its error the first line; without the paths of directories.
    fn tool(&mut self, class: &str, command: &str) -> Result<Vec<String>> {
        let mut arguments = command.splitn(3, ' ').nth(2).unwrap_or_default().to_owned();
        for (name, file) in &self.files {
            let path = file.path().to_str().context("a path that is not text")?;
            arguments = arguments.replace(&format!("{{{name}}}"), path);
        }
        let printed =
            match (run_at(class, self.nodes.bootstrap(), &arguments), command.split(' ').next()) {
                (Ok(printed), Some("tool")) => printed,
                (Err(error), Some("fails")) => {
                    let text = format!("{error:#}");
                    let mut lines = text.lines().skip_while(|line| !line.contains("exit status"));
                    lines.nth(1).with_context(|| text.clone())?.to_owned()
                }
                (Ok(printed), _) => bail!("it does not fail:\n{printed}"),
                (Err(error), _) => return Err(error),
            };
        let mut printed = printed;
        for id in self.alive.clone() {
            let data = self.nodes.node(id)?.data_dir();
            printed = printed.replace(data.to_str().context("a path that is not text")?, "<data>");
        }
        self.asked += 1;
        let name = class.rsplit('.').next().unwrap_or_default();
        let place = format!("{} {name}", self.asked);
        let lines = printed.lines().filter(|line| !line.is_empty());
        Ok(lines.map(|line| format!("{place}: {}", line.trim_end())).collect())
    }

    fn end(&mut self, id: i32, how: fn(&mut Server) -> Result<()>) -> Result<()> {
        how(self.nodes.node(id)?)?;
        self.alive.remove(&id);
        self.ask(&format!("forget {id}"))?;
        Ok(())
    }

    /// Waits until every node that runs sees `what`, a partition or `cluster`, as the conditions say, and all see it alike.
    fn wait(&mut self, what: &str, conditions: &[&str]) -> Result<String> {
        let mut last = Vec::new();
        let seen = wait_until("the nodes see it so", || {
            last =
                self.alive.clone().iter().map(|id| self.state(*id, what)).collect::<Result<_>>()?;
            let first = last.first().context("no node runs")?;
            let words: Vec<_> = first.split(' ').collect();
            let holds = conditions.iter().all(|condition| words.contains(condition));
            Ok((holds && last.iter().all(|other| other == first)).then(|| first.clone()))
        });
        seen.with_context(|| format!("they see {last:?}"))
    }

    /// The line of a node about a partition or the cluster; empty if it has none.
    fn state(&mut self, id: i32, what: &str) -> Result<String> {
        let lines = match what.rsplit_once('-') {
            Some((topic, _)) => self.ask(&format!("state {id} {topic}"))?,
            None => self.ask(&format!("brokers {id}"))?,
        };
        let about = |line: &String| line.split(' ').next() == Some(what);
        Ok(lines.into_iter().find(about).unwrap_or_default())
    }

    fn ask(&mut self, question: &str) -> Result<Vec<String>> {
        self.probe.send(question)?;
        let mut lines = Vec::new();
        loop {
            let line = self.probe.next_line()?.with_context(|| self.probe.complaints())?;
            if line == "." {
                return Ok(lines);
            }
            lines.push(line);
        }
    }
}
