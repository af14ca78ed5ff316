//! Transactional producers of every library: what they commit is seen, what they abort is not, offsets go with it, and a
//! producer that was replaced is fenced.
//!
//! A library commits `committed-0` and offset 3, aborts `aborted` and offset 9, and commits `committed-1`; while it writes
//! `lost`, another producer of its id begins, which fences it and commits `committed-2`. A library that takes an epoch for each
//! transaction (KIP-890) does the same where the broker knows nothing of that.

use std::collections::BTreeSet;
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use ottla_compat_tests::java::{output, tool};
use ottla_compat_tests::wait::bounded;
use ottla_compat_tests::workspace::{built, native_node, platformatic, rust_client, sources};
use ottla_compat_tests::{ClientKind, Server, ServerKind, Skill, wait_until};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::matrix::{self, Cell};
use crate::{create, matrix_trial, trial};

const TOPIC: &str = "t";
const ID: &str = "id";
/// Libraries that are known to take an epoch for each transaction.
const WITH_AN_EPOCH_EACH: [ClientKind; 2] = [ClientKind::FranzGo, ClientKind::Java];
pub(crate) const PATIENCE: Duration = Duration::from_secs(50);

/// A trial for each library that has transactions.
pub(crate) fn trials() -> Vec<Trial> {
    let kinds = matrix::chosen().filter(|kind| kind.can(Skill::Transactions));
    let mut trials = Vec::new();
    for kind in kinds {
        let name = kind.name();
        let cell = Cell::new(kind, matrix::TRANSACTIONS);
        trials.push(matrix_trial(format!("{name}::has_transactions"), cell, move || {
            let epochs = if WITH_AN_EPOCH_EACH.contains(&kind) { MANY } else { 0..i16::MAX };
            transactions(kind, epochs, |_| Ok(()))
        }));
        if WITH_AN_EPOCH_EACH.contains(&kind) {
            trials.push(trial(format!("{name}::has_transactions_of_one_epoch"), move || {
                transactions(kind, FEW, |server| {
                    let arguments = ["--bootstrap-server", server.bootstrap(), "downgrade"];
                    let level = ["--feature", "transaction.version=1"];
                    tool("FeatureCommand", &[&arguments[..], &level].concat())?;
                    Ok(())
                })
            }));
        }
    }
    trials
}

/// The epoch of four transactions and two producers, where each transaction has its own and where it has not.
const MANY: Range<i16> = 4..i16::MAX;
const FEW: Range<i16> = 0..4;

/// `epochs` holds the one that the transactional id comes to; `prepare` sees the broker first.
fn transactions(
    library: ClientKind,
    epochs: Range<i16>,
    prepare: impl FnOnce(&Server) -> Result<()>,
) -> Result<()> {
    let server = Server::start(ServerKind::from_environment()?, &[])?;
    prepare(&server)?;
    create(&mut ClientKind::Java.connect(server.bootstrap())?, TOPIC, 1, &[])?;
    let printed = if library == ClientKind::Librdkafka {
        librdkafka(server.bootstrap())?
    } else {
        output(program(library)?.args([server.bootstrap(), TOPIC, "g", ID]))
            .with_context(|| server.log())?
    };
    let said: Vec<_> = printed.lines().filter(|line| ["fenced", "done"].contains(line)).collect();
    ensure!(said == ["fenced", "done"], "{printed}");
    let values = committed_values(server.bootstrap(), 3)?;
    assert_eq!(values, ["committed-0", "committed-1", "committed-2"]);
    assert_eq!(committed_offset(server.bootstrap(), TOPIC)?, Some(3));
    let epoch = epoch(server.bootstrap())?;
    println!("transactions: {} comes to epoch {epoch}", library.name());
    ensure!(epochs.contains(&epoch), "the epoch at the end: {epoch}");
    Ok(())
}

/// The epoch that the transactional id has come to.
fn epoch(bootstrap: &str) -> Result<i16> {
    let arguments = ["--bootstrap-server", bootstrap, "describe", "--transactional-id", ID];
    let printed = tool("TransactionsCommand", &arguments)?;
    let mut lines = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let column = lines
        .next()
        .and_then(|names| names.iter().position(|name| *name == "ProducerEpoch"))
        .with_context(|| printed.clone())?;
    let row = lines.next().with_context(|| printed.clone())?;
    Ok(row[column].parse()?)
}

fn program(library: ClientKind) -> Result<Command> {
    let name = library.name();
    if let Some(java) = library.java() {
        let is_new = library == ClientKind::Java;
        return java.class(if is_new { "Transactions" } else { "OldTransactions" });
    }
    if [ClientKind::FranzGo, ClientKind::Sarama].contains(&library) {
        let mut command = bounded(built()?.join("go/client"));
        command.args(["transactions", name]);
        return Ok(command);
    }
    if library == ClientKind::Krafka {
        let mut command = bounded(rust_client()?);
        command.arg("transactions");
        return Ok(command);
    }
    if library == ClientKind::Platformatic {
        return platformatic("transactions.js");
    }
    if let Some(package) = library.package() {
        return native_node("transactions.js", package);
    }
    let mut command = bounded(built()?.join("python/bin/python"));
    command.arg(sources().join("python/transactions.py")).arg(name);
    Ok(command)
}

/// What a reader of committed records is given.
pub(crate) fn committed_values(bootstrap: &str, count: usize) -> Result<Vec<String>> {
    let consumer = consumer(bootstrap)?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(TOPIC, 0, Offset::Beginning)?;
    consumer.assign(&from)?;
    let mut values = Vec::new();
    wait_until("committed records come", || {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let value = message?.payload().unwrap_or_default().to_vec();
            values.push(String::from_utf8(value)?);
        }
        Ok((values.len() >= count).then_some(()))
    })?;
    Ok(values)
}

/// A reader of what is committed in all partitions of a topic.
pub(crate) struct CommittedReader {
    consumer: BaseConsumer,
    partitions: i32,
    /// What was read so far.
    pub(crate) records: Vec<Committed>,
}

/// A record of a committed transaction, in text.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) value: String,
}

impl CommittedReader {
    pub(crate) fn new(bootstrap: &str, topic: &str, partitions: i32) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("group.id", "reader");
        config.set("isolation.level", "read_committed").set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true").set("reconnect.backoff.max.ms", "100");
        let consumer: BaseConsumer = config.create()?;
        let mut from = TopicPartitionList::new();
        for partition in 0..partitions {
            from.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&from)?;
        Ok(Self { consumer, partitions, records: Vec::new() })
    }

    /// Reads some of what is there, and waits a moment if there is nothing.
    pub(crate) fn read_some(&mut self) -> Result<()> {
        for _ in 0..100 {
            if self.read_one()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Reads until each partition has come to its end since the call.
    pub(crate) fn read_to_the_end(&mut self) -> Result<()> {
        // What was told of ends before does not count: everything is read anew.
        let position = self.consumer.assignment()?;
        self.consumer.assign(&TopicPartitionList::new())?;
        let mut from = TopicPartitionList::new();
        for each in position.elements() {
            from.add_partition_offset(each.topic(), each.partition(), Offset::Beginning)?;
        }
        self.consumer.assign(&from)?;
        self.records.clear();
        let mut ended = BTreeSet::new();
        wait_until("the end is read", || {
            while let Some(end) = self.read_one()? {
                ended.extend(end);
            }
            Ok((ended.len() == usize::try_from(self.partitions)?).then_some(()))
        })
    }

    /// None if nothing comes; else, at the end of a partition, which one.
    fn read_one(&mut self) -> Result<Option<Option<i32>>> {
        let message = match self.consumer.poll(Duration::from_millis(100)) {
            None => return Ok(None),
            Some(Err(KafkaError::PartitionEOF(partition))) => return Ok(Some(Some(partition))),
            // The broker is away for a while.
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
            ))) => return Ok(None),
            Some(message) => message?,
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
        self.records.push(Committed {
            partition: message.partition(),
            key: message.key().map(text).transpose()?,
            value: text(message.payload().unwrap_or_default())?,
        });
        Ok(Some(None))
    }
}

/// What the group has committed.
pub(crate) fn committed_offset(bootstrap: &str, topic: &str) -> Result<Option<i64>> {
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition(topic, 0);
    let committed = consumer(bootstrap)?.committed_offsets(partitions, PATIENCE)?;
    let found = committed.find_partition(topic, 0).context("no partition")?;
    Ok(found.offset().to_raw().filter(|offset| *offset >= 0))
}

/// A consumer of committed records, of group `g`.
pub(crate) fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "g");
    config.set("isolation.level", "read_committed").set("enable.auto.commit", "false");
    Ok(config.create()?)
}

/// librdkafka, in this process.
fn librdkafka(bootstrap: &str) -> Result<String> {
    let group = consumer(bootstrap)?;
    let first = producer(bootstrap)?;
    transact(&first, "committed-0", Some((&group, 3)), true)?;
    transact(&first, "aborted", Some((&group, 9)), false)?;
    transact(&first, "committed-1", None, true)?;
    begin(&first, "lost")?;
    let second = producer(bootstrap)?;
    match first.commit_transaction(PATIENCE) {
        Err(KafkaError::Transaction(error)) if error.code() == RDKafkaErrorCode::Fenced => {}
        other => bail!("the first producer was not fenced: {other:?}"),
    }
    transact(&second, "committed-2", None, true)?;
    Ok("fenced\ndone".to_owned())
}

/// A producer of transactional id `id`, ready to begin.
pub(crate) fn producer(bootstrap: &str) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("transactional.id", ID);
    let producer: BaseProducer = config.create()?;
    producer.init_transactions(PATIENCE)?;
    Ok(producer)
}

fn begin(producer: &BaseProducer, value: &str) -> Result<()> {
    producer.begin_transaction()?;
    let record = BaseRecord::<(), str>::to(TOPIC).partition(0).payload(value);
    producer.send(record).map_err(|(error, _)| error)?;
    Ok(producer.flush(PATIENCE)?)
}

fn transact(
    producer: &BaseProducer,
    value: &str,
    group: Option<(&BaseConsumer, i64)>,
    commit: bool,
) -> Result<()> {
    begin(producer, value)?;
    if let Some((group, offset)) = group {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(TOPIC, 0, Offset::Offset(offset))?;
        let metadata = group.group_metadata().context("no group metadata")?;
        producer.send_offsets_to_transaction(&offsets, &metadata, PATIENCE)?;
    }
    if commit {
        producer.commit_transaction(PATIENCE)?;
    } else {
        producer.abort_transaction(PATIENCE)?;
    }
    Ok(())
}
