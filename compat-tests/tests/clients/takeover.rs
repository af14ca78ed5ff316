//! A data directory goes from one broker to the other, and everything in it is still there.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::client::{At, Change, ProduceOptions};
use ottla_compat_tests::java::{java_class, output, tool};
use ottla_compat_tests::workspace::ottla;
use ottla_compat_tests::{ClientKind, Codec, Record, Server, ServerKind};

use crate::create;
use crate::records::assert_same;

const TOPIC: &str = "kept";
const PARTITIONS: i32 = 2;

/// Ottla starts on a directory that Apache Kafka stopped using in good order.
pub(crate) fn of_apache_kafka(kind: ServerKind) -> Result<()> {
    from_apache_kafka(kind, Server::stop)
}

/// The same after a kill.
pub(crate) fn of_killed_apache_kafka(kind: ServerKind) -> Result<()> {
    from_apache_kafka(kind, Server::kill)
}

fn from_apache_kafka(kind: ServerKind, end: fn(&mut Server) -> Result<()>) -> Result<()> {
    let mut server = Server::start(ServerKind::ApacheKafka, &["offsets.topic.num.partitions=3"])?;
    let before = Contents::fill(&server)?;
    // Apache Kafka leads in a new epoch after each start.
    server.stop()?;
    server.restart()?;
    before.check(&server)?;
    end(&mut server)?;
    server.restart_as(kind)?;
    before.check(&server)?;
    let after = before.go_on(&server)?;
    server.stop()?;
    server.restart()?;
    after.check(&server)
}

/// Apache Kafka starts on a directory that Ottla used, once its metadata was exported; and Ottla on what it left.
pub(crate) fn by_apache_kafka(kind: ServerKind) -> Result<()> {
    let configs = ["offsets.topic.num.partitions=3"];
    let mut server = Server::start(kind, &configs)?;
    let before = Contents::fill(&server)?;
    server.stop()?;
    server.restart()?;
    server.stop()?;
    let data = server.data_dir();
    let printed = output(Command::new(ottla()?).args(["logs", "export-kraft"]).arg(&data))?;
    ensure!(printed.contains("__cluster_metadata-0"), "{printed}");
    server.restart_as(ServerKind::ApacheKafka)?;
    before.check(&server)?;
    before.go_on(&server)?.check(&server)
}

/// What is in a broker.
struct Contents {
    topic_id: String,
    records: Vec<Record>,
    ends: Vec<i64>,
}

impl Contents {
    /// Puts in some of everything.
    fn fill(server: &Server) -> Result<Self> {
        let mut client = ClientKind::Java.connect(server.bootstrap())?;
        create(
            &mut client,
            TOPIC,
            PARTITIONS,
            &[("segment.bytes", "1048576"), ("retention.ms", "-1")],
        )?;
        create(&mut client, "gone", 1, &[])?;
        create(&mut client, "shortened", 1, &[])?;
        let mut records = Vec::new();
        for (round, codec) in Codec::ALL.into_iter().enumerate() {
            let options =
                ProduceOptions { codec, idempotent: round % 2 == 0, ..Default::default() };
            let some: Vec<_> = (0..60)
                .map(|n| Record::new(n % PARTITIONS, format!("{} {n} ", codec.name()).repeat(2000)))
                .collect();
            client.produce(TOPIC, &some, options)?;
            records.extend(some);
        }
        let few: Vec<_> = (0..10).map(|n| Record::new(0, n.to_string())).collect();
        client.produce("shortened", &few, ProduceOptions::default())?;
        client.delete_records("shortened", 0, 7)?;
        client.delete_topic("gone")?;
        let changes = [Change::Set { name: "max.message.bytes", value: "2000000" }];
        client.alter_configs(TOPIC, &changes)?;
        consume_as_group(server, 20)?;
        let ends = client.offsets(TOPIC, PARTITIONS, At::Latest)?;
        Ok(Self { topic_id: topic_id(server)?, records, ends })
    }

    fn check(&self, server: &Server) -> Result<()> {
        let mut client = ClientKind::Java.connect(server.bootstrap())?;
        assert_same(&self.records, &client.consume(TOPIC, PARTITIONS, self.records.len())?);
        assert_eq!(client.offsets(TOPIC, PARTITIONS, At::Latest)?, self.ends);
        assert_eq!(topic_id(server)?, self.topic_id);
        assert_eq!(client.offsets("shortened", 1, At::Earliest)?, [7]);
        assert_eq!(client.offsets("shortened", 1, At::Latest)?, [10]);
        let topics = client.list_topics()?;
        ensure!(!topics.iter().any(|topic| topic == "gone"), "{topics:?}");
        let configs = client.describe_configs(TOPIC)?;
        assert_eq!(configs["retention.ms"].as_deref(), Some("-1"));
        assert_eq!(configs["max.message.bytes"].as_deref(), Some("2000000"));
        let arguments =
            ["--bootstrap-server", server.bootstrap(), "--describe", "--group", "readers"];
        let described = tool("consumer.group.ConsumerGroupCommand", &arguments)?;
        let committed: i64 = described
            .lines()
            .filter(|line| line.starts_with("readers"))
            .filter_map(|line| line.split_whitespace().nth(3)?.parse::<i64>().ok())
            .sum();
        ensure!(committed == 20, "{committed} are committed:\n{described}");
        Ok(())
    }

    /// Writes some more.
    fn go_on(mut self, server: &Server) -> Result<Self> {
        let mut client = ClientKind::Java.connect(server.bootstrap())?;
        let more: Vec<_> =
            (0..10).map(|n| Record::new(n % PARTITIONS, format!("more {n}"))).collect();
        let options = ProduceOptions { idempotent: true, ..Default::default() };
        client.produce(TOPIC, &more, options)?;
        self.records.extend(more);
        for end in &mut self.ends {
            *end += 5;
        }
        Ok(self)
    }
}

fn consume_as_group(server: &Server, count: usize) -> Result<()> {
    let count = count.to_string();
    let arguments =
        ["--bootstrap-server", server.bootstrap(), "--topic", TOPIC, "--group", "readers"]
            .into_iter()
            .chain(["--max-messages", &count, "--command-property", "auto.offset.reset=earliest"]);
    tool("ConsoleConsumer", &arguments.collect::<Vec<_>>()).map(drop)
}

fn topic_id(server: &Server) -> Result<String> {
    let arguments = ["--bootstrap-server", server.bootstrap(), "--describe", "--topic", TOPIC];
    let described = tool("TopicCommand", &arguments)?;
    let id = described.split("TopicId: ").nth(1).and_then(|rest| rest.split_whitespace().next());
    Ok(id.with_context(|| described.clone())?.to_owned())
}

/// Transactions that a Java producer made with Apache Kafka: committed, aborted and open ones look the same in what goes on
/// with its directory, after a stop and after a kill.
pub(crate) fn transactions(kind: ServerKind) -> Result<()> {
    let configs = [
        "offsets.topic.num.partitions=3",
        "transaction.state.log.num.partitions=3",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1",
    ];
    let mut server = Server::start(ServerKind::ApacheKafka, &configs)?;
    let mut client = ClientKind::Java.connect(server.bootstrap())?;
    // Several segments, so that some transactions reach over their borders.
    create(&mut client, TOPIC, PARTITIONS, &[("segment.bytes", "1048576")])?;
    run_transactions(&server, "write")?;
    let before = run_transactions(&server, "read")?;
    let seen = |what: &str| before.lines().filter(|line| line.contains(what)).count();
    ensure!(seen("read_uncommitted") > seen("read_committed") + 150, "{before}");
    ensure!(seen("= open") == 6 && seen("= after the open one") == 6, "{before}");
    server.kill()?;
    server.restart_as(kind)?;
    check_transactions(&server, &before)?;
    server.stop()?;
    server.restart()?;
    check_transactions(&server, &before)
}

fn check_transactions(server: &Server, before: &str) -> Result<()> {
    let found = run_transactions(server, "read")?;
    ensure!(found == before, "{found}\nnot\n{before}");
    Ok(())
}

fn run_transactions(server: &Server, act: &str) -> Result<String> {
    let mut command = java_class("TransactionHistory")?;
    output(command.args([server.bootstrap(), act, TOPIC, &PARTITIONS.to_string()]))
}
