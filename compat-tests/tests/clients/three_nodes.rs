//! Three nodes of Ottla as clients and tools that we did not write see them.
//!
//! The node that leads is killed by signal 9 again and again under an idempotent producer, while other clients write
//! too: what was acknowledged is there once and in order. Apache Kafka's tools move, elect and describe.

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::client::ProduceOptions;
use ottla_compat_tests::nodes::NODES;
use ottla_compat_tests::{Client, ClientKind, Nodes, Record, ServerKind, Voters, wait_until};
use serde_json::Value;

use crate::cli::Cli;
use crate::crash::{self, PARTITIONS, Start};
use crate::tools::{expect, run_at};

/// Written by the producer that never stops.
const STREAM: &str = "stream";
/// Written by the others, while a node is down.
const ROUNDS: &str = "rounds";
const KILLS: usize = 2;
/// What has to be acknowledged before a node is killed, and again while it is down.
const RECORDS: u64 = 500;
/// What each of the other clients writes to each partition while a node is down.
const BATCH: usize = 20;

pub(crate) fn librdkafka(_: ServerKind) -> Result<()> {
    survive(crash::librdkafka_stream, &[ClientKind::Sarama, ClientKind::ConfluentKafka])
}

pub(crate) fn java(_: ServerKind) -> Result<()> {
    survive(crash::java_stream, &[])
}

fn survive(start: Start, others: &[ClientKind]) -> Result<()> {
    let mut nodes = Nodes::start(&[])?;
    for topic in [STREAM, ROUNDS] {
        create(nodes.bootstrap(), topic, PARTITIONS)?;
    }
    let mut watcher = ClientKind::Librdkafka.connect(nodes.bootstrap())?;
    let mut writers: Vec<(ClientKind, Client)> = others
        .iter()
        .map(|kind| Ok((*kind, kind.connect(nodes.bootstrap())?)))
        .collect::<Result<_>>()?;
    let mut stream = start(nodes.bootstrap(), STREAM)?;
    let mut written = Vec::new();
    for kill in 0..KILLS {
        more(&mut *stream)?;
        let leader = leader(&mut watcher, STREAM)?;
        nodes.node(leader)?.kill()?;
        for (kind, writer) in &mut writers {
            let records = batch(*kind, kill);
            let idempotent = ProduceOptions { idempotent: true, ..ProduceOptions::default() };
            writer.produce(ROUNDS, &records, idempotent).context(kind.name())?;
            written.extend(records);
        }
        more(&mut *stream)?;
        nodes.node(leader)?.restart()?;
        in_sync(&mut watcher, STREAM)?;
        in_sync(&mut watcher, ROUNDS)?;
    }
    let total = stream.finish()?;
    println!("three_nodes: {KILLS} kills, {total} records");
    crash::check(nodes.bootstrap(), STREAM, total)?;
    for (kind, reader) in &mut writers {
        let read = reader.consume(ROUNDS, PARTITIONS, written.len()).context(kind.name())?;
        ensure!(values(&read) == values(&written), "{} has read something else", kind.name());
    }
    Ok(())
}

/// What a client writes while a node is down, in order in each partition.
fn batch(kind: ClientKind, kill: usize) -> Vec<Record> {
    let partitions = 0..PARTITIONS;
    let record =
        |partition, number| Record::new(partition, format!("{kill} {} {number:02}", kind.name()));
    partitions
        .flat_map(|partition| (0..BATCH).map(move |number| record(partition, number)))
        .collect()
}

/// The values of each partition, one after the other.
fn values(records: &[Record]) -> Vec<Vec<&[u8]>> {
    let of = |partition| {
        let records = records.iter().filter(move |record| record.partition == partition);
        records.filter_map(|record| Some(&record.value.as_ref()?.0[..])).collect()
    };
    (0..PARTITIONS).map(of).collect()
}

fn more(stream: &mut dyn crash::Stream) -> Result<()> {
    let target = stream.acked()? + RECORDS;
    wait_until("more records are acknowledged", || Ok((stream.acked()? >= target).then_some(())))
}

fn create(bootstrap: &str, topic: &str, partitions: i32) -> Result<()> {
    let create =
        format!("--create --topic {topic} --partitions {partitions} --replication-factor 3");
    run_at("TopicCommand", bootstrap, &create)?;
    in_sync(&mut ClientKind::Librdkafka.connect(bootstrap)?, topic)
}

/// Who leads the first partition of a topic.
fn leader(client: &mut Client, topic: &str) -> Result<i32> {
    wait_until("the topic is led", || {
        let partitions = client.describe_topic(topic)?;
        Ok(partitions.first().map(|partition| partition.leader).filter(|leader| *leader >= 0))
    })
}

/// Waits until all replicas of a topic are in sync.
fn in_sync(client: &mut Client, topic: &str) -> Result<()> {
    wait_until("all replicas are in sync", || {
        let partitions = client.describe_topic(topic).unwrap_or_default();
        let whole = partitions.iter().all(|partition| partition.isr.len() == NODES);
        Ok((whole && !partitions.is_empty()).then_some(()))
    })
}

pub(crate) fn tools(_: ServerKind) -> Result<()> {
    let mut nodes = Nodes::start(&[])?;
    let bootstrap = nodes.bootstrap().to_owned();
    let run = |command: &str, arguments: &str| run_at(command, &bootstrap, arguments);
    create(&bootstrap, "orders", 3)?;
    expect(
        &run("TopicCommand", "--describe --topic orders")?,
        &["ReplicationFactor: 3", "min.insync.replicas=2", "Partition: 2\tLeader: "],
    )?;
    let quorum = |what: &str| run("MetadataQuorumCommand", &format!("describe {what}"));
    let status = quorum("--status")?;
    let voters = status.lines().find(|line| line.starts_with("CurrentVoters:"));
    let voters = voters.with_context(|| status.clone())?;
    ensure!((1..=3).all(|id| voters.contains(&format!("\"id\": {id}"))), "{status}");
    expect(&status, &["CurrentObservers:       []"])?;
    let replication = quorum("--replication")?;
    ensure!(replication.matches("Follower").count() == NODES - 1, "{replication}");

    move_to(&bootstrap, "orders", "3,1")?;
    let mut client = ClientKind::Librdkafka.connect(&bootstrap)?;
    ensure!(client.describe_topic("orders")?[0].replicas == [3, 1], "not moved");
    nodes.node(3)?.kill()?;
    wait_until("another leads", || Ok((leader(&mut client, "orders")? == 1).then_some(())))?;
    nodes.node(3)?.restart()?;
    wait_until("the replica is in sync", || {
        Ok((client.describe_topic("orders")?[0].isr.len() == 2).then_some(()))
    })?;
    let elect = "--election-type preferred --topic orders --partition 0";
    let elected = "Successfully completed leader election (PREFERRED) for partitions orders-0";
    expect(&run("LeaderElectionCommand", elect)?, &[elected])?;
    ensure!(leader(&mut client, "orders")? == 3, "the preferred replica does not lead");
    Ok(())
}

/// A fourth controller comes to vote, by our command line and by Apache Kafka's tool, and goes again.
pub(crate) fn voters(_: ServerKind) -> Result<()> {
    let mut nodes = Voters::start()?;
    let address = nodes.start_another()?;
    let bootstrap = nodes.first().bootstrap().to_owned();
    let nodes_told = voting(&nodes, &[1, 2, 3])?;
    let cli = Cli(nodes.first());
    let fourth = nodes_told.as_array().and_then(|all| all.iter().find(|node| node["id"] == 4));
    let directory = fourth.and_then(|node| node["directory"].as_str()).context("no directory")?;

    let unknown = cli.fails(&format!("cluster quorum add 5 {address}"), 4)?;
    ensure!(unknown.contains("no controller 5 reads along"), "{unknown}");
    let added = cli.run(&format!("cluster quorum add 4 {address}"), "")?;
    ensure!(added.starts_with("controller 4 votes; voters: "), "{added}");
    voting(&nodes, &[1, 2, 3, 4])?;
    let removed = cli.json(&format!("cluster quorum remove 4 --directory {directory} --json"))?;
    ensure!(removed["node"] == 4, "{removed}");
    voting(&nodes, &[1, 2, 3])?;
    ensure!(cli.fails("cluster quorum remove 4", 4)?.contains("no controller 4 votes"));

    let properties = tempfile::NamedTempFile::new()?;
    let data = nodes.last().data_dir();
    let lines = [
        "node.id=4".to_owned(),
        "process.roles=controller".to_owned(),
        format!("listeners=CONTROLLER://{address}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        "controller.quorum.bootstrap.servers=127.0.0.1:1".to_owned(),
        format!("log.dirs={}", data.display()),
    ];
    std::fs::write(&properties, lines.join("\n"))?;
    let path = properties.path().to_str().context("a path that is not text")?;
    let change = |change: &str| {
        run_at(&format!("MetadataQuorumCommand --command-config {path}"), &bootstrap, change)
    };
    expect(&change("add-controller")?, &["Added controller 4"])?;
    voting(&nodes, &[1, 2, 3, 4])?;
    let moved = nodes.move_last()?;
    wait_until("its new address", || {
        let status = run_at("MetadataQuorumCommand", &bootstrap, "describe --status")?;
        Ok(status.contains(&format!("CONTROLLER://{moved}")).then_some(()))
    })?;
    let remove =
        format!("remove-controller --controller-id 4 --controller-directory-id {directory}");
    expect(&change(&remove)?, &["KRaft controller 4 with directory id"])?;
    voting(&nodes, &[1, 2, 3])?;
    Ok(())
}

/// Waits until these of four nodes vote, and says what each is.
fn voting(nodes: &Voters, expected: &[i64]) -> Result<Value> {
    let cli = Cli(nodes.first());
    wait_until("the voters", || {
        let quorum = cli.json("cluster quorum --json")?;
        let nodes = quorum["nodes"].as_array().context("no nodes")?;
        let votes = nodes.iter().filter(|node| node["status"] != "observer");
        let mut ids: Vec<_> = votes.filter_map(|node| node["id"].as_i64()).collect();
        ids.sort_unstable();
        Ok((ids == expected && nodes.len() == 4).then_some(quorum["nodes"].clone()))
    })
}

/// Has the first partition of a topic moved by `kafka-reassign-partitions`, and waits until that says it is done.
fn move_to(bootstrap: &str, topic: &str, replicas: &str) -> Result<()> {
    let plan = tempfile::NamedTempFile::new()?;
    let moved = format!(r#"{{"topic":"{topic}","partition":0,"replicas":[{replicas}]}}"#);
    std::fs::write(&plan, format!(r#"{{"version":1,"partitions":[{moved}]}}"#))?;
    let path = plan.path().to_str().context("a path that is not text")?;
    let reassign = |action: &str| {
        let arguments = format!("{action} --reassignment-json-file {path}");
        run_at("reassign.ReassignPartitionsCommand", bootstrap, &arguments)
    };
    let started = format!("Successfully started partition reassignment for {topic}-0");
    expect(&reassign("--execute")?, &[&started])?;
    let done = format!("Reassignment of partition {topic}-0 is completed.");
    wait_until("the reassignment is verified", || {
        Ok(reassign("--verify")?.contains(&done).then_some(()))
    })
}
