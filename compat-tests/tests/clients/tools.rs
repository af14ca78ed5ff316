//! The command line tools of Apache Kafka, as a person would use them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::java::{tool, tool_with_input};
use ottla_compat_tests::{Server, ServerKind};

use crate::page;

pub(crate) fn topics(kind: ServerKind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    let topics = |arguments: &str| run("TopicCommand", &server, arguments);
    let create = "--create --topic orders --partitions 2 --replication-factor 1 --config retention.ms=86400000";
    expect(&topics(create)?, &["Created topic orders."])?;
    ensure!(topics(create).is_err(), "created twice");
    topics(&format!("{create} --if-not-exists"))?;
    let described = topics("--describe --topic orders")?;
    expect(
        &described,
        &[
            "PartitionCount: 2\tReplicationFactor: 1",
            "retention.ms=86400000",
            "Partition: 1\tLeader: ",
        ],
    )?;
    topics("--alter --topic orders --partitions 3")?;
    expect(&topics("--describe --topic orders")?, &["PartitionCount: 3"])?;
    expect(&topics("--list")?, &["orders"])?;
    topics("--delete --topic orders")?;
    ensure!(!topics("--list")?.contains("orders"), "listed after its deletion");
    ensure!(topics("--describe --topic orders").is_err(), "described after its deletion");
    Ok(())
}

/// A consumer goes on where the one before it in its group has stopped, and Kafka's tool sees what was committed.
pub(crate) fn groups(kind: ServerKind) -> Result<()> {
    let server = Server::start(kind, &["offsets.topic.num.partitions=3"])?;
    run("TopicCommand", &server, "--create --topic shared --partitions 2")?;
    let lines: String = (0..20).map(|n| format!("key{n}:value {n}\n")).collect();
    let producer: Vec<_> = ["--bootstrap-server", server.bootstrap()]
        .into_iter()
        .chain(
            "--topic shared --reader-property parse.key=true --reader-property key.separator=:"
                .split(' '),
        )
        .collect();
    tool_with_input("ConsoleProducer", &producer, &lines)?;
    let consume = |count: &str| {
        let consumer = format!(
            "--topic shared --group readers --max-messages {count} --command-property auto.offset.reset=earliest"
        );
        run("ConsoleConsumer", &server, &consumer)
    };
    let (first, second) = (consume("12")?, consume("8")?);
    let mut read: Vec<_> = first.lines().chain(second.lines()).collect();
    let mut written: Vec<_> =
        lines.lines().filter_map(|line| Some(line.split_once(':')?.1)).collect();
    read.sort_unstable();
    written.sort_unstable();
    assert_eq!(read, written, "each record once, over two members one after the other");
    let groups = |arguments: &str| run("consumer.group.ConsumerGroupCommand", &server, arguments);
    expect(&groups("--list")?, &["readers"])?;
    let described = groups("--describe --group readers")?;
    let lags = described.lines().filter(|line| line.contains("shared"));
    let lags: Vec<_> = lags.filter_map(|line| line.split_whitespace().nth(5)).collect();
    assert_eq!(lags, ["0", "0"], "{described}");
    groups("--delete --group readers")?;
    ensure!(!groups("--list")?.contains("readers"), "listed after its deletion");
    Ok(())
}

pub(crate) fn records(kind: ServerKind) -> Result<()> {
    let server = Server::start(kind, &["num.partitions=2"])?;
    let separated =
        "--topic notes --reader-property parse.key=true --reader-property key.separator=:";
    let lines: String = (0..20).map(|n| format!("key{n}:value {n}\n")).collect();
    let producer: Vec<_> = ["--bootstrap-server", server.bootstrap()]
        .into_iter()
        .chain(separated.split(' '))
        .collect();
    tool_with_input("ConsoleProducer", &producer, &lines)?;
    let mut read = Vec::new();
    for (partition, end) in offsets(&server, "notes")? {
        let consumer = format!(
            "--topic notes --partition {partition} --offset earliest --max-messages {end} \
             --formatter-property print.key=true --formatter-property key.separator=:"
        );
        read.extend(run("ConsoleConsumer", &server, &consumer)?.lines().map(str::to_owned));
    }
    let mut written: Vec<_> = lines.lines().collect();
    written.sort_unstable();
    read.sort_unstable();
    assert_eq!(read, written);
    let load = "--topic load --num-records 5000 --record-size 300 --throughput -1 --command-property compression.type=lz4";
    expect(&run("ProducerPerformance", &server, load)?, &["5000 records sent"])?;
    assert_eq!(offsets(&server, "load")?.values().sum::<i64>(), 5000);
    delete_records(&server)
}

fn delete_records(server: &Server) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(
        &file,
        r#"{"version": 1, "partitions": [{"topic": "load", "partition": 1, "offset": 7}]}"#,
    )?;
    let path = file.path().to_str().context("a path that is not text")?;
    let deleted = run("DeleteRecordsCommand", server, &format!("--offset-json-file {path}"))?;
    expect(&deleted, &["partition: load-1\tlow_watermark: 7"])?;
    expect(
        &run("GetOffsetShell", server, "--topic-partitions load:1 --time earliest")?,
        &["load:1:7"],
    )
}

pub(crate) fn configs(kind: ServerKind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    run("TopicCommand", &server, "--create --topic orders")?;
    let configs =
        |entity: &str, action: &str| run("ConfigCommand", &server, &format!("{entity} {action}"));
    let topic = "--entity-type topics --entity-name orders";
    configs(topic, "--alter --add-config retention.ms=5000,cleanup.policy=[compact,delete]")?;
    expect(
        &configs(topic, "--describe")?,
        &[
            "retention.ms=5000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=5000",
            "cleanup.policy=compact,delete",
        ],
    )?;
    configs(topic, "--alter --delete-config retention.ms")?;
    ensure!(!configs(topic, "--describe")?.contains("retention.ms"), "still there");
    ensure!(configs(topic, "--alter --add-config retention.ms=soon").is_err(), "took a bad value");
    expect(
        &configs(topic, "--describe --all")?,
        &["segment.bytes=1073741824 sensitive=false synonyms={DEFAULT_CONFIG:"],
    )?;
    let brokers = "--entity-type brokers --entity-default";
    configs(brokers, "--alter --add-config log.retention.ms=7000")?;
    expect(&configs(brokers, "--describe")?, &["log.retention.ms=7000"])?;
    expect(&configs(topic, "--describe --all")?, &["retention.ms=7000"])
}

pub(crate) fn cluster(kind: ServerKind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    run("TopicCommand", &server, "--create --topic orders --partitions 2")?;
    expect(&run("ClusterTool cluster-id", &server, "")?, &["Cluster ID: "])?;
    expect(&run("ClusterTool list-endpoints", &server, "")?, &["127.0.0.1", "unfenced"])?;
    let dirs = run("LogDirsCommand", &server, "--describe --topic-list orders")?;
    expect(
        &dirs,
        &[r#""partition":"orders-0","size":0,"offsetLag":0,"isFuture":false"#, r#""error":null"#],
    )?;
    let printed = run("BrokerApiVersionsCommand", &server, "")?;
    let listed = served_apis(&printed);
    let served = page::served_apis()?;
    for (api, versions) in &served {
        ensure!(
            listed.get(api.as_str()) == Some(&versions.as_str()),
            "{api}: {:?}, docs/COMPATIBILITY.md says {versions}",
            listed.get(api.as_str())
        );
    }
    // Apache Kafka serves more.
    ensure!(
        kind == ServerKind::ApacheKafka || listed.len() == served.len(),
        "more is served: {listed:?}"
    );
    Ok(())
}

pub(crate) fn features(kind: ServerKind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    let features = |arguments: &str| run("FeatureCommand", &server, arguments);
    let finalized = |feature: &str| -> Result<Option<String>> {
        let described = features("describe")?;
        let line = described.lines().find(|line| line.contains(&format!("Feature: {feature} ")));
        let level = line.and_then(|line| line.split("FinalizedVersionLevel: ").nth(1));
        Ok(level.and_then(|level| level.split_whitespace().next()).map(str::to_owned))
    };
    let transactions = "--feature transaction.version";
    let refused = features(&format!("upgrade {transactions}=1")).err().context("not refused")?;
    expect(
        &format!("{refused:#}"),
        &[
            "Could not upgrade transaction.version to 1. The update failed for all features since the following \
             feature had an error: Invalid update version 1 for feature transaction.version. Can't downgrade the \
             version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
            "1 out of 1 operation(s) failed.",
        ],
    )?;
    let dry = features(&format!("downgrade {transactions}=1 --dry-run"))?;
    expect(&dry, &["transaction.version can be downgraded to 1."])?;
    ensure!(
        finalized("transaction.version")?.as_deref() == Some("2"),
        "a dry run changed something"
    );
    let safe = features(&format!("downgrade {transactions}=1"))?;
    expect(&safe, &["transaction.version was downgraded to 1."])?;
    let r#unsafe = features(&format!("downgrade {transactions}=0 --unsafe"))?;
    expect(&r#unsafe, &["transaction.version was downgraded to 0."])?;
    ensure!(finalized("transaction.version")?.as_deref() == Some("0"), "not downgraded");
    expect(&features("disable --feature group.version")?, &["group.version was disabled."])?;
    ensure!(finalized("group.version")?.as_deref() == Some("0"), "not disabled");
    let both = features(&format!("upgrade {transactions}=2 --feature group.version=1"))?;
    expect(&both, &["group.version was upgraded to 1.", "transaction.version was upgraded to 2."])?;
    ensure!(finalized("transaction.version")?.as_deref() == Some("2"), "not upgraded");
    for (arguments, reason) in [
        (format!("upgrade {transactions}=3"), "Local controller 1 only supports versions 0-2"),
        (
            "upgrade --feature nothing.version=1".to_owned(),
            "Local controller 1 does not support this feature.",
        ),
        (
            "downgrade --feature metadata.version=7".to_owned(),
            "Unsupported metadata.version downgrade from 30 to 7. Refusing to perform the requested downgrade \
             because it might delete metadata information.",
        ),
    ] {
        let refused = features(&arguments).err().context("not refused")?;
        expect(&format!("{refused:#}"), &[reason])?;
    }
    Ok(())
}

/// Where there is one broker, what moves replicas and elects leaders finds nothing to do, and says so.
pub(crate) fn replicas(kind: ServerKind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    run("TopicCommand", &server, "--create --topic orders --partitions 2")?;
    let quorum = |what: &str| run("MetadataQuorumCommand", &server, &format!("describe {what}"));
    expect(
        &quorum("--status")?,
        &["LeaderId:", "MaxFollowerLag:         0", "CurrentObservers:       []"],
    )?;
    expect(&quorum("--replication")?, &["LogEndOffset", "Leader"])?;
    let elect = "--election-type preferred";
    expect(
        &run("LeaderElectionCommand", &server, &format!("{elect} --topic orders --partition 1"))?,
        &["Valid replica already elected for partitions orders-1"],
    )?;
    run("LeaderElectionCommand", &server, &format!("{elect} --all-topic-partitions"))?;
    let unknown = format!("{elect} --topic orders --partition 7");
    ensure!(run("LeaderElectionCommand", &server, &unknown).is_err(), "elected for no partition");

    let described = run("TopicCommand", &server, "--describe --topic orders")?;
    let leader = described.split("Leader: ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let leader = leader.context("no leader")?;
    let dirs = run("LogDirsCommand", &server, "--describe --topic-list orders")?;
    let dir = dirs.split(r#""logDir":""#).nth(1).and_then(|rest| rest.split('"').next());
    let dir = dir.context("no log directory")?;
    let reassign = |action: &str, broker: &str, dir: &str| -> Result<String> {
        let file = tempfile::NamedTempFile::new()?;
        let plan = format!(
            r#"{{"version":1,"partitions":[{{"topic":"orders","partition":0,"replicas":[{broker}],"log_dirs":["{dir}"]}}]}}"#
        );
        std::fs::write(&file, plan)?;
        let path = file.path().to_str().context("a path that is not text")?;
        let arguments = format!("{action} --reassignment-json-file {path}");
        run("reassign.ReassignPartitionsCommand", &server, &arguments)
    };
    let started = reassign("--execute", leader, dir)?;
    expect(&started, &["Successfully started partition reassignment for orders-0"])?;
    expect(
        &reassign("--verify", leader, dir)?,
        &["Reassignment of partition orders-0 is completed."],
    )?;
    ensure!(reassign("--execute", "77", "any").is_err(), "moved to a broker that is not there");
    let list = run("reassign.ReassignPartitionsCommand", &server, "--list")?;
    expect(&list, &["No partition reassignments found."])
}

/// The APIs that the tool can use, from lines like `Fetch(1): 4 to 18 [usable: 18],`.
fn served_apis(printed: &str) -> BTreeMap<&str, &str> {
    let apis = printed.lines().filter_map(|line| line.trim().split_once(" [usable: "));
    apis.filter_map(|(api, _)| api.split_once(": ")).collect()
}

/// The end offset per partition.
fn offsets(server: &Server, topic: &str) -> Result<BTreeMap<i32, i64>> {
    let printed = run("GetOffsetShell", server, &format!("--topic {topic}"))?;
    printed
        .lines()
        .map(|line| {
            let (partition, end) = line
                .trim_start_matches(topic)
                .trim_start_matches(':')
                .split_once(':')
                .context("no colon")?;
            Ok((partition.parse()?, end.parse()?))
        })
        .collect()
}

/// Runs a tool (with a subcommand) against the server; arguments are separated by single blanks.
fn run(command: &str, server: &Server, arguments: &str) -> Result<String> {
    run_at(command, server.bootstrap(), arguments)
}

/// Runs a tool (its class, and a verb if it has them) with its arguments against the brokers at an address.
pub(crate) fn run_at(command: &str, bootstrap: &str, arguments: &str) -> Result<String> {
    let mut words = command.split(' ');
    let name = words.next().unwrap_or_default();
    let words: Vec<_> = words
        .chain(["--bootstrap-server", bootstrap])
        .chain(arguments.split(' ').filter(|word| !word.is_empty()))
        .collect();
    tool(name, &words)
}

/// Asserts that all of `wanted` was printed.
pub(crate) fn expect(printed: &str, wanted: &[&str]) -> Result<()> {
    for part in wanted {
        ensure!(printed.contains(part), "`{part}` is not in:\n{printed}");
    }
    Ok(())
}
