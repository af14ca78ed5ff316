//! Exactly once: records are read, changed and written with their offsets in transactions, while the broker is killed by
//! signal 9 again and again. At the end each record is there once and in order; and Apache Kafka's tools know what the
//! transactions left behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use ottla_compat_tests::client::ProduceOptions;
use ottla_compat_tests::java::tool;
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

/// `kafka-transactions` lists and describes a transaction, and ends one that hangs; `DumpLogSegments` reads the log.
pub(crate) fn administered(kind: ServerKind) -> Result<()> {
    let mut server = Server::start(kind, &["transaction.state.log.num.partitions=1"])?;
    create(&mut ClientKind::Librdkafka.connect(server.bootstrap())?, OUTPUT, 1, &[])?;
    let transactions = |arguments: &str| {
        let server = ["--bootstrap-server", server.bootstrap()];
        tool(
            "TransactionsCommand",
            &[&server[..], &arguments.split(' ').collect::<Vec<_>>()].concat(),
        )
    };
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
