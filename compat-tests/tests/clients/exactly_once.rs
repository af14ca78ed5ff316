//! Exactly once: records are read, changed and written with their offsets in transactions, while the broker is killed by
//! signal 9 again and again. At the end each record is there once and in order; and Apache Kafka's tools know what the
//! transactions left behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use ottla_compat_tests::client::ProduceOptions;
use ottla_compat_tests::java::{java_class, output, tool};
use ottla_compat_tests::{ClientKind, Record, Server, ServerKind};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::transactions::{PATIENCE, committed_offset, committed_values, consumer, producer};
use crate::{create, wait_until};

const INPUT: &str = "input";
const OUTPUT: &str = "t";
const RECORDS: usize = 400;
const BATCH: usize = 10;
const KILLS: usize = 4;

/// Reads, changes and writes under kills.
pub(crate) fn under_kills(kind: ServerKind) -> Result<()> {
    let mut server = Server::start(kind, &[])?;
    let mut client = ClientKind::Librdkafka.connect(server.bootstrap())?;
    create(&mut client, INPUT, 1, &[])?;
    create(&mut client, OUTPUT, 1, &[])?;
    let records: Vec<_> = (0..RECORDS).map(|n| Record::new(0, n.to_string())).collect();
    client.produce(INPUT, &records, ProduceOptions::default())?;
    let (bootstrap, done) = (server.bootstrap().to_owned(), AtomicBool::new(false));
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let outcome = transform(&bootstrap);
            done.store(true, Ordering::Release);
            outcome
        });
        for _ in 0..KILLS {
            thread::sleep(Duration::from_millis(700));
            if done.load(Ordering::Acquire) {
                break;
            }
            server.kill()?;
            server.restart()?;
        }
        worker.join().map_err(|_| anyhow!("the worker panicked"))?
    })?;
    let values = committed_values(server.bootstrap(), RECORDS)?;
    let expected: Vec<_> = (0..RECORDS).map(|n| format!("changed {n}")).collect();
    ensure!(values == expected, "not each record once: {values:?}");
    Ok(())
}

/// Goes on until all records are changed, beginning anew after each error, where the group has committed.
fn transform(bootstrap: &str) -> Result<()> {
    let mut errors = Vec::new();
    for _ in 0..200 {
        match transform_from_committed(bootstrap) {
            Ok(()) => return Ok(()),
            Err(error) => errors.push(format!("{error:#}")),
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err(anyhow!("no end of errors: {errors:?}"))
}

fn transform_from_committed(bootstrap: &str) -> Result<()> {
    // A new producer first: it ends what an earlier one has left open, and the offsets are stable then.
    let producer = producer(bootstrap)?;
    let reader = consumer(bootstrap)?;
    let mut next = committed_offset(bootstrap, INPUT)?.unwrap_or(0);
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(INPUT, 0, Offset::Offset(next))?;
    reader.assign(&from)?;
    while usize::try_from(next)? < RECORDS {
        producer.begin_transaction()?;
        for value in read(&reader, BATCH)? {
            let changed = format!("changed {value}");
            let record = BaseRecord::<(), str>::to(OUTPUT).partition(0).payload(&changed);
            producer.send(record).map_err(|(error, _)| error)?;
            next += 1;
        }
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(INPUT, 0, Offset::Offset(next))?;
        let group = reader.group_metadata().context("no group metadata")?;
        producer.send_offsets_to_transaction(&offsets, &group, Duration::from_secs(5))?;
        producer.commit_transaction(Duration::from_secs(5))?;
    }
    Ok(())
}

fn read(reader: &BaseConsumer, count: usize) -> Result<Vec<String>> {
    let mut values = Vec::new();
    for _ in 0..100 {
        if let Some(message) = reader.poll(Duration::from_millis(100)) {
            values.push(String::from_utf8(message?.payload().unwrap_or_default().to_vec())?);
        }
        if values.len() == count {
            return Ok(values);
        }
    }
    Err(anyhow!("only {} records came", values.len()))
}

/// Runs `kafka-transactions`.
fn administer(server: &Server, arguments: &str) -> Result<String> {
    let server = ["--bootstrap-server", server.bootstrap()];
    tool("TransactionsCommand", &[&server[..], &arguments.split(' ').collect::<Vec<_>>()].concat())
}

/// What a client writes that takes no part in the protocol: no coordinator knows of it, and nobody will end it.
const HANGING: &str = "\
== a transaction of nobody
Produce 11
{transactionalId: 'nobody', acks: -1, timeoutMs: 5000, topicData: [{name: 't', partitionData: [{index: 0, records: [{producerId: 4242, producerEpoch: 0, sequence: 0, transactional: true, records: [{value: 'x'}]}]}]}]}
";

/// `kafka-transactions` finds a transaction that hangs, which is aborted then, and ends one of a producer that lives.
pub(crate) fn found_and_terminated(kind: ServerKind) -> Result<()> {
    let server = Server::start(kind, &["transaction.partition.verification.enable=false"])?;
    create(&mut ClientKind::Librdkafka.connect(server.bootstrap())?, OUTPUT, 1, &[])?;
    let find = || administer(&server, "find-hanging --topic t");
    ensure!(!find()?.contains("4242"), "nothing hangs yet");
    let script = tempfile::NamedTempFile::new()?;
    std::fs::write(script.path(), HANGING)?;
    let answer = output(java_class("Probe")?.arg(server.bootstrap()).arg(script.path()))?;
    ensure!(answer.contains("errorCode = 0 NONE"), "{answer}");
    let found = find()?;
    ensure!(found.contains("4242"), "{found}");
    administer(&server, "abort --topic t --partition 0 --start-offset 0")?;
    wait_until("nothing hangs", || Ok((!find()?.contains("4242")).then_some(())))?;

    let living = producer(server.bootstrap())?;
    living.begin_transaction()?;
    let record = BaseRecord::<(), str>::to(OUTPUT).partition(0).payload("terminated");
    living.send(record).map_err(|(error, _)| error)?;
    living.flush(PATIENCE)?;
    administer(&server, "forceTerminateTransaction --transactionalId id")?;
    wait_until("its transaction is over", || {
        let producers = administer(&server, "describe-producers --topic t --partition 0")?;
        let open = producers.lines().filter(|line| !line.trim_end().ends_with("None")).count();
        // The names of the columns.
        Ok((open == 1).then_some(()))
    })?;
    let listed = administer(&server, "list")?;
    ensure!(listed.contains("Empty"), "the id waits for a producer: {listed}");
    ensure!(living.commit_transaction(PATIENCE).is_err(), "it is fenced");
    Ok(())
}

/// `kafka-transactions` lists and describes a transaction, and aborts it in a partition; `DumpLogSegments` reads the log.
pub(crate) fn administered(kind: ServerKind) -> Result<()> {
    let mut server = Server::start(kind, &["transaction.state.log.num.partitions=1"])?;
    create(&mut ClientKind::Librdkafka.connect(server.bootstrap())?, OUTPUT, 1, &[])?;
    let transactions = |arguments: &str| administer(&server, arguments);
    let hanging = producer(server.bootstrap())?;
    hanging.begin_transaction()?;
    let record = BaseRecord::<(), str>::to(OUTPUT).partition(0).payload("hanging");
    hanging.send(record).map_err(|(error, _)| error)?;
    hanging.flush(PATIENCE)?;
    let listed = transactions("list")?;
    ensure!(listed.contains("Ongoing") && listed.contains("id"), "{listed}");
    let described = transactions("describe --transactional-id id")?;
    ensure!(described.contains("Ongoing") && described.contains("t-0"), "{described}");
    let producers = transactions("describe-producers --topic t --partition 0")?;
    ensure!(producers.contains("CurrentTransactionStartOffset"), "{producers}");
    transactions("abort --topic t --partition 0 --start-offset 0")?;
    wait_until("nothing hangs", || {
        let producers = transactions("describe-producers --topic t --partition 0")?;
        Ok(producers.lines().any(|line| line.trim_end().ends_with("None")).then_some(()))
    })?;
    drop(hanging);
    server.stop()?;
    let log = server.data_dir().join("__transaction_state-0/00000000000000000000.log");
    let log = log.to_str().context("a path that is not text")?;
    let printed = tool("DumpLogSegments", &["--transaction-log-decoder", "--files", log])?;
    let records: Vec<_> = printed.lines().filter(|line| line.starts_with("| offset: ")).collect();
    ensure!(!records.is_empty(), "no records: {printed}");
    let is_decoded =
        |record: &&&str| record.contains(r#"key: {"type":"0","data":{"transactionalId":"id"}}"#);
    ensure!(records.iter().filter(is_decoded).count() == records.len(), "not decoded: {printed}");
    Ok(())
}
