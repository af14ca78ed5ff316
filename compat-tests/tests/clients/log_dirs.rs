//! Partitions in two log directories.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::client::ProduceOptions;
use ottla_compat_tests::java::tool;
use ottla_compat_tests::wait::wait_until;
use ottla_compat_tests::{ClientKind, Record, Server, ServerKind};

use crate::create;
use crate::records::assert_same;

const TOPIC: &str = "spread";

/// Two directories beside each other.
struct Directories(tempfile::TempDir);

impl Directories {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix("ottla-compat-").tempdir()?))
    }

    fn paths(&self) -> [PathBuf; 2] {
        ["first", "second"].map(|name| self.0.path().join(name))
    }

    fn config(&self) -> String {
        let [first, second] = self.paths();
        format!("log.dirs={},{}", first.display(), second.display())
    }

    /// Which of them has a partition; there must be one.
    fn holding(&self, partition: i32) -> Result<PathBuf> {
        let name = format!("{TOPIC}-{partition}");
        let holding: Vec<_> =
            self.paths().into_iter().filter(|path| path.join(&name).exists()).collect();
        ensure!(holding.len() == 1, "{name} is in {holding:?}");
        Ok(holding[0].clone())
    }
}

/// The tools of Apache Kafka move a partition while a producer writes to it.
pub(crate) fn moved_by_the_tools(kind: ServerKind) -> Result<()> {
    let directories = Directories::new()?;
    let mut server = Server::start(kind, &[&directories.config()])?;
    let mut client = ClientKind::Java.connect(server.bootstrap())?;
    create(&mut client, TOPIC, 2, &[("segment.bytes", "1048576")])?;
    let options = ProduceOptions { idempotent: true, ..Default::default() };
    let batch = |round: usize| -> Vec<Record> {
        (0..50).map(|n| Record::new(n % 2, format!("{round} {n} ").repeat(300))).collect()
    };
    let mut records = Vec::new();
    for round in 0..40 {
        client.produce(TOPIC, &batch(round), options)?;
        records.extend(batch(round));
    }
    let from = directories.holding(0)?;
    ensure!(from != directories.holding(1)?, "both are in {from:?}");
    let to = directories.paths().into_iter().find(|path| *path != from).context("another one")?;
    let is_moved = AtomicBool::new(false);
    let written = std::thread::scope(|scope| -> Result<Vec<Record>> {
        let writer = scope.spawn(|| -> Result<Vec<Record>> {
            let mut client = ClientKind::Java.connect(server.bootstrap())?;
            let mut written = Vec::new();
            for round in 100.. {
                client.produce(TOPIC, &batch(round), options)?;
                written.extend(batch(round));
                if is_moved.load(Ordering::Acquire) {
                    break;
                }
            }
            Ok(written)
        });
        let moved = move_and_wait(&server, &to);
        is_moved.store(true, Ordering::Release);
        let written = writer.join().expect("the writer does not panic");
        moved.and(written)
    })?;
    records.extend(written);
    ensure!(directories.holding(0)? == to);
    let described = tool(
        "LogDirsCommand",
        &["--bootstrap-server", server.bootstrap(), "--describe", "--topic-list", TOPIC],
    )?;
    ensure!(!described.contains(r#""isFuture":true"#), "{described}");
    assert_same(&records, &client.consume(TOPIC, 2, records.len())?);
    server.kill()?;
    server.restart()?;
    let mut client = ClientKind::Java.connect(server.bootstrap())?;
    assert_same(&records, &client.consume(TOPIC, 2, records.len())?);
    Ok(())
}

fn move_and_wait(server: &Server, to: &Path) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    let plan = format!(
        r#"{{"version":1,"partitions":[{{"topic":"{TOPIC}","partition":0,"replicas":[1],"log_dirs":["{}"]}}]}}"#,
        to.display()
    );
    std::fs::write(&file, plan)?;
    let path = file.path().to_str().context("a path that is not text")?;
    let reassign = |action: &str| {
        let server = ["--bootstrap-server", server.bootstrap()];
        let plan = [action, "--reassignment-json-file", path];
        tool("reassign.ReassignPartitionsCommand", &[&server[..], &plan[..]].concat())
    };
    let started = reassign("--execute")?;
    ensure!(started.contains("Successfully started moving log directory"), "{started}");
    wait_until("the partition has moved", || {
        let moved = "Reassignment of replica spread-0-1 completed successfully.";
        Ok(reassign("--verify")?.contains(moved).then_some(()))
    })
}

/// Directories, and then the broker, are cordoned with the tools of Apache Kafka while it runs.
pub(crate) fn cordoned(kind: ServerKind) -> Result<()> {
    let directories = Directories::new()?;
    let server = Server::start(kind, &[&directories.config()])?;
    let mut client = ClientKind::Java.connect(server.bootstrap())?;
    let [first, second] = directories.paths();
    cordon(&server, &first.display().to_string())?;
    create(&mut client, TOPIC, 4, &[])?;
    let records: Vec<_> = (0..4).map(|partition| Record::new(partition, "x".to_owned())).collect();
    client.produce(TOPIC, &records, ProduceOptions::default())?;
    for partition in 0..4 {
        ensure!(directories.holding(partition)? == second);
    }
    let unknown = cordon(&server, "/nowhere").err().context("an entry that is none is taken")?;
    let words = "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : /nowhere";
    ensure!(format!("{unknown:#}").contains(words), "{unknown:#}");
    cordon(&server, "*")?;
    // The controller of Apache Kafka knows of it with the next heartbeat.
    let mut names = (0..).map(|number| format!("{TOPIC}-more-{number}"));
    let refusal = wait_until("no topic is made any more", || {
        let name = names.next().context("there is no end of names")?;
        Ok(client.create_topic(&name, 1, &[]).err())
    })?;
    let words = "All brokers are currently fenced, or have all their log directories cordoned.";
    ensure!(format!("{refusal:#}").contains(words), "{refusal:#}");
    Ok(())
}

fn cordon(server: &Server, value: &str) -> Result<String> {
    let config = format!("cordoned.log.dirs={value}");
    let broker = ["--bootstrap-server", server.bootstrap(), "--entity-type", "brokers"];
    let change = ["--entity-name", "1", "--alter", "--add-config", &config];
    tool("ConfigCommand", &[&broker[..], &change[..]].concat())
}

/// A broker starts on the two directories that Apache Kafka used.
pub(crate) fn taken_over(kind: ServerKind) -> Result<()> {
    let directories = Directories::new()?;
    let mut server = Server::start(ServerKind::ApacheKafka, &[&directories.config()])?;
    let mut client = ClientKind::Java.connect(server.bootstrap())?;
    create(&mut client, TOPIC, 4, &[])?;
    let records: Vec<_> = (0..100).map(|n| Record::new(n % 4, n.to_string())).collect();
    client.produce(TOPIC, &records, ProduceOptions::default())?;
    let places = (0..4).map(|partition| directories.holding(partition));
    let places = places.collect::<Result<Vec<_>>>()?;
    server.stop()?;
    server.restart_as(kind)?;
    let mut client = ClientKind::Java.connect(server.bootstrap())?;
    assert_same(&records, &client.consume(TOPIC, 4, records.len())?);
    for (partition, place) in (0..).zip(&places) {
        ensure!(directories.holding(partition)? == *place);
    }
    Ok(())
}
