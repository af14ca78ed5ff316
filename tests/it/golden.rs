//! Data directories of earlier versions: every later one opens them, and finds all that was in them.
//!
//! `tests/data/directory-<n>` was written once, by the version of its day, and never changes. It holds one broker's directory
//! twice: `killed`, as the end of the process left it, and `clean`, as a stop in good order left it some time later. What is
//! in the directories stands in the tests; what was drawn by chance when they were written stands in constants.
//!
//! When something new comes to be written, put it into [`write`], say in a new check what is to be found, and run
//! ```text
//! WRITE_GOLDEN=directory-3 cargo test --test it golden -- --nocapture
//! ```
//! That writes `tests/data/directory-3` and prints its constants. The older directories stay, with their tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla::cluster::{Command, ConfigResource};
use ottla::controller::{LocalQuorum, Quorum as _, Storage};
use ottla::env::{Env, RealDisk};
use ottla::model::{
    BrokerId, ErrorCode, Offset, ProducerEpoch, ProducerId, TopicId, UnixMillis, UuidText,
};
use ottla::record::{Batch, BatchBuilder, Compression, scan, visit_records};
use ottla::wire::messages::{
    DeleteRecordsRequest, MetadataRequest, OffsetForLeaderEpochRequest, delete_records_request,
    offset_for_leader_epoch_request,
};

use crate::configs::{BROKER, DELETE, GROUP, SET, TOPIC, alter, describe};
use crate::produce::producer_id;
use crate::rig::{Client, Rig, wire_name};
use crate::topics::{delete, grow};

/// When the directories were written, by the clock of their broker. They are opened an hour later: else their producers and
/// their records would be too old to be kept.
const WRITTEN_AT: UnixMillis = UnixMillis(1_795_500_000_000);
const HOUR_MS: i64 = 3_600_000;

/// What was drawn by chance when a directory was written.
#[derive(Clone, Debug)]
struct Ids<'a> {
    cluster: &'a str,
    orders: &'a str,
    payments: &'a str,
    /// Compacted; not in the first directory.
    stock: Option<&'a str>,
}

const DIRECTORY_1: Ids<'static> = Ids {
    cluster: "Vol9OVC9Sla7ELrJ5bMPbQ",
    orders: "o7I9FY5mQPawoiznQDOkOg",
    payments: "Sy42H371SIOxRM72WOuE0w",
    stock: None,
};

const DIRECTORY_2: Ids<'static> = Ids {
    cluster: "xb68RoIcTGSz84cJbX4XZQ",
    orders: "9min-ZlLRKihqdmjej6RVA",
    payments: "UpbLaIJwQiq8qLUxVKHQoQ",
    stock: Some("CZUC6jNnRpKYzUzHPy1oJQ"),
};

#[tokio::test]
async fn directory_1_opens_as_it_was_killed() {
    let killed = data_path("directory-1/killed");
    assert!(!killed.join(".kafka_cleanshutdown").exists());
    check_1(&killed, &DIRECTORY_1, 2).await;
}

#[tokio::test]
async fn directory_1_opens_as_it_was_stopped() {
    let stopped = data_path("directory-1/clean");
    assert!(controller_files(&stopped).keys().any(|name| name.ends_with(".snapshot")));
    assert!(stopped.join(".kafka_cleanshutdown").exists());
    check_1(&stopped, &DIRECTORY_1, 4).await;
}

#[tokio::test]
async fn directory_2_opens_as_it_was_killed() {
    check_2(&data_path("directory-2/killed"), &DIRECTORY_2, 2).await;
}

#[tokio::test]
async fn directory_2_opens_as_it_was_stopped() {
    check_2(&data_path("directory-2/clean"), &DIRECTORY_2, 4).await;
}

#[tokio::test]
async fn what_is_written_today_opens_too() {
    let dir = tempfile::tempdir().unwrap();
    let target = match std::env::var("WRITE_GOLDEN") {
        Ok(name) => data_path(&name),
        Err(_) => dir.path().join("directory"),
    };
    assert!(!target.exists(), "{} is there already, and never changes", target.display());
    let (cluster, topics) = write(&target).await;
    let [orders, payments, stock] = topics.map(|id| id.to_string());
    let (orders, payments, stock) = (&*orders, &*payments, Some(&*stock));
    let ids = Ids { cluster: &cluster, orders, payments, stock };
    println!("{}: {ids:?}", target.display());
    check_2(&target.join("killed"), &ids, 2).await;
    check_2(&target.join("clean"), &ids, 4).await;
}

/// Opens a copy of a directory and looks at all that should be in it.
async fn check_1(original: &Path, ids: &Ids<'_>, leader_epoch: i32) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    copy(original, &data);
    let rig = Rig::at(WRITTEN_AT.plus_millis(HOUR_MS), Arc::new(RealDisk::new()), &data).await;
    check_controller_files(original, &data);
    assert_eq!(rig.broker.cluster_id(), ids.cluster);
    let mut client = rig.client().await;
    check_cluster(&mut client, ids, leader_epoch).await;
    check_configs(&mut client).await;
    check_records(&mut client).await;
    check_producers(&mut client).await;
    drop(client);
    let names = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let aside: Vec<_> =
        names.filter(|name| name.ends_with("-delete") || name.ends_with("-stray")).collect();
    assert!(aside.is_empty(), "what is left of deleted topics: {aside:?}");
    // What this version has made of the directory, it opens as well.
    let rig = rig.restart().await;
    let mut client = rig.client().await;
    check_cluster(&mut client, ids, leader_epoch + 1).await;
    check_configs(&mut client).await;
    check_records(&mut client).await;
}

/// As [`check_1`], and the compacted topic.
async fn check_2(original: &Path, ids: &Ids<'_>, leader_epoch: i32) {
    check_1(original, ids, leader_epoch).await;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    copy(original, &data);
    let checkpoint = fs::read_to_string(data.join("cleaner-offset-checkpoint")).unwrap();
    assert!(checkpoint.starts_with("0\n1\nstock 0 "), "{checkpoint}");
    let rig = Rig::at(WRITTEN_AT.plus_millis(HOUR_MS), Arc::new(RealDisk::new()), &data).await;
    let mut client = rig.client().await;
    let left = check_stock(&mut client).await;
    assert!(left < 2 * STOCK_BATCHES, "what was compacted is still so");
    // What is new in it is compacted as well.
    while check_stock(&mut client).await >= STOCK_COMPACTED_MAX {
        rig.broker.env().clock.advance(Duration::from_secs(15));
        tokio::task::yield_now().await;
    }
    let rig = rig.restart().await;
    let mut client = rig.client().await;
    assert!(check_stock(&mut client).await < STOCK_COMPACTED_MAX);
}

/// The files of the controller are as they were, but for what the start has added at the end of the log.
fn check_controller_files(original: &Path, opened: &Path) {
    let (before, after) = (controller_files(original), controller_files(opened));
    assert!(before.keys().eq(after.keys()), "{:?} became {:?}", before.keys(), after.keys());
    for (name, bytes) in before {
        let now = &after[&name];
        if name.ends_with(".log") {
            assert!(now.starts_with(&bytes) && now.len() > bytes.len(), "{name} has changed");
        } else {
            assert_eq!(*now, bytes, "{name} has changed");
        }
    }
    let meta = |data: &Path| fs::read(data.join("meta.properties")).unwrap();
    assert_eq!(meta(original), meta(opened));
}

async fn check_cluster(client: &mut Client, ids: &Ids<'_>, leader_epoch: i32) {
    let mut request = MetadataRequest::default();
    request.topics = None;
    let metadata = client.call(13, &request).await;
    let mut topics = BTreeMap::new();
    for topic in &metadata.topics {
        let name = topic.name.as_ref().unwrap().0.to_string();
        topics.insert(name, (TopicId(topic.topic_id).to_string(), topic.partitions.len()));
        for partition in &topic.partitions {
            assert_eq!((partition.error_code, partition.leader_id.0), (0, 1), "{partition:?}");
            assert_eq!(partition.leader_epoch, leader_epoch, "{partition:?}");
        }
    }
    let stock = ids.stock.map(|id| ("stock", (id, 1)));
    let expected = [("orders", (ids.orders, 3)), ("payments", (ids.payments, 1))];
    let expected = expected.into_iter().chain(stock);
    let expected = expected.map(|(name, (id, count))| (name.to_owned(), (id.to_owned(), count)));
    assert_eq!(topics, expected.collect());
}

/// Keys and values.
type Configs<'a> = &'a [(&'a str, &'a str)];

/// Everything that was set, and nothing else. Each resource comes with the source that its own configs have.
async fn check_configs(client: &mut Client) {
    let all: [(i8, &str, i8, Configs<'_>); 5] = [
        (
            TOPIC,
            "orders",
            1,
            &[
                ("index.interval.bytes", "100"),
                ("internal.segment.bytes", "1000"),
                ("max.message.bytes", "2000000"),
            ],
        ),
        (TOPIC, "payments", 1, &[]),
        (BROKER, "1", 2, &[("message.max.bytes", "3000000")]),
        (BROKER, "", 3, &[("log.index.interval.bytes", "2048")]),
        (GROUP, "shop", 8, &[("consumer.session.timeout.ms", "50000")]),
    ];
    for (kind, name, source, expected) in all {
        let configs = describe(client, kind, name).await.unwrap();
        let mut found: Vec<_> = configs
            .iter()
            .filter(|config| config.config_source == source)
            // Set in clusters that began with eligible.leader.replicas.version, which those of older directories did not.
            .filter(|config| &*config.name != "min.insync.replicas")
            .map(|config| (&*config.name, config.value.as_deref().unwrap_or_default()))
            .collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }
}

async fn check_records(client: &mut Client) {
    // Records were deleted up to the second one of a batch, which is still sent whole.
    for (partition, start, from, end) in [(0, 25, 12, 30), (1, 0, 0, 5), (2, 0, 0, 0)] {
        let (mut batches, mut offset) = (from, start);
        loop {
            let fetched = client.fetch("orders", partition, offset).await;
            assert_eq!(fetched.error_code, ErrorCode::None);
            assert_eq!(fetched.log_start_offset, Offset(start));
            assert_eq!(fetched.high_watermark, Offset(2 * end));
            let found = fetched.records.concat();
            if found.is_empty() {
                break;
            }
            for batch in scan(&found).map(Result::unwrap) {
                check_orders(&batch, batches);
                batches += 1;
            }
            offset = 2 * batches;
        }
        assert_eq!(batches, end, "batches in partition {partition}");
    }
    let before = client.fetch("orders", 0, 24).await;
    assert_eq!(before.error_code, ErrorCode::OffsetOutOfRange);
    let payments = client.values("payments", 0).await;
    assert_eq!(
        payments[..10],
        [
            "0 0 0", "0 0 1", "0 0 2", "0 0 3", "0 0 4", "0 0 5", "0 0 6", "1000 0 0", "1000 0 1",
            "1000 1 0"
        ]
    );
    assert_eq!(epoch_end(client, "payments", 0).await, (0, 6));
    assert_eq!(epoch_end(client, "payments", 1).await.0, 1);
}

/// A batch is this one of a partition of `orders`.
fn check_orders(found: &Batch<'_>, batch: i64) {
    found.header.check_crc(found.bytes).unwrap();
    assert_eq!(found.header.base_offset, Offset(2 * batch));
    assert_eq!(found.header.compression(), codec(batch));
    assert_eq!(records_of(found), [order(2 * batch), order(2 * batch + 1)]);
}

/// What was sent before is known as such, what does not follow it is refused, what follows is appended.
async fn check_producers(client: &mut Client) {
    let duplicates = [(0, 0, 2, 2), (0, 0, 6, 6), (1000, 1, 0, 9)];
    let next = [(0, 0, 7, 10), (1000, 1, 1, 11)];
    for (producer, epoch, sequence, offset) in duplicates.into_iter().chain(next) {
        let batch = payment(producer, epoch, sequence);
        assert_eq!(client.append("payments", 0, batch).await, Offset(offset), "{sequence}");
    }
    for (refused, code) in [
        (payment(0, 0, 9), ErrorCode::OutOfOrderSequenceNumber),
        (payment(1000, 0, 2), ErrorCode::InvalidProducerEpoch),
    ] {
        assert_eq!(client.produce("payments", 0, refused).await.error_code, code);
    }
    let fresh = producer_id(client).await;
    assert!(fresh >= 2000, "producer id {fresh} was given before");
}

/// Writes a golden directory with all that this version knows to write; gives the cluster's id and those of the topics.
async fn write(target: &Path) -> (String, [TopicId; 3]) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let start = || Rig::at(WRITTEN_AT, Arc::new(RealDisk::new()), &data);
    let rig = start().await;
    let cluster = rig.broker.cluster_id();
    let [orders, payments] = write_first(&mut rig.client().await).await;
    let stock = write_stock(&rig).await;
    let rig = rig.restart().await;
    write_second(&mut rig.client().await).await;
    rig.broker.kill().await;
    copy(&data, &target.join("killed"));
    start().await.broker.stop().await.unwrap();
    force_snapshot(&data, &cluster).await;
    let rig = start().await;
    write_after_snapshot(&mut rig.client().await).await;
    rig.broker.stop().await.unwrap();
    copy(&data, &target.join("clean"));
    (cluster, [orders, payments, stock])
}

async fn write_first(client: &mut Client) -> [TopicId; 2] {
    let configs = [
        ("internal.segment.bytes", "1000"),
        ("index.interval.bytes", "100"),
        ("max.message.bytes", "1500000"),
        ("retention.bytes", "-1"),
    ];
    let orders = client.create("orders", 2, &configs).await;
    let payments = client.create("payments", 1, &[]).await;
    for batch in 0..20 {
        client.append("orders", 0, orders_batch(batch)).await;
    }
    delete_before(client, "orders", 0, 25).await;
    assert_eq!(producer_id(client).await, 0);
    for sequence in 0..6 {
        client.append("payments", 0, payment(0, 0, sequence)).await;
    }
    let changes = [("max.message.bytes", SET, Some("2000000")), ("retention.bytes", DELETE, None)];
    for (kind, name, changes) in [
        (TOPIC, "orders", &changes[..]),
        (BROKER, "1", &[("message.max.bytes", SET, Some("3000000"))]),
        (BROKER, "", &[("log.index.interval.bytes", SET, Some("2048"))]),
        (GROUP, "shop", &[("consumer.session.timeout.ms", SET, Some("50000"))]),
    ] {
        assert_eq!(alter(client, kind, name, changes).await, ErrorCode::None);
    }
    assert_eq!(grow(client, "orders", 3).await.0, 0);
    [orders, payments]
}

async fn write_second(client: &mut Client) {
    for batch in 20..30 {
        client.append("orders", 0, orders_batch(batch)).await;
    }
    for batch in 0..5 {
        client.append("orders", 1, orders_batch(batch)).await;
    }
    client.append("payments", 0, payment(0, 0, 6)).await;
    assert_eq!(producer_id(client).await, 1000);
    for (epoch, sequence) in [(0, 0), (0, 1), (1, 0)] {
        client.append("payments", 0, payment(1000, epoch, sequence)).await;
    }
    client.create("gone", 1, &[("retention.ms", "1000")]).await;
    client.append("gone", 0, orders_batch(0)).await;
    assert_eq!(delete(client, "gone").await, 0);
}

/// A compacted topic, of which the first part is compacted when this returns.
async fn write_stock(rig: &Rig) -> TopicId {
    let mut client = rig.client().await;
    let configs = [
        ("cleanup.policy", "compact"),
        ("internal.segment.bytes", "1000"),
        ("index.interval.bytes", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    let id = client.create("stock", 1, &configs).await;
    for batch in 0..STOCK_BATCHES / 2 {
        client.append("stock", 0, stock_batch(batch)).await;
    }
    while check_stock(&mut client).await >= STOCK_COMPACTED_MAX {
        rig.broker.env().clock.advance(Duration::from_secs(15));
        tokio::task::yield_now().await;
    }
    let checkpoint = rig.data.join("cleaner-offset-checkpoint");
    while rig.disk.read_small(&checkpoint).unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    for batch in STOCK_BATCHES / 2..STOCK_BATCHES {
        client.append("stock", 0, stock_batch(batch)).await;
    }
    id
}

/// How many batches of two records are written to `stock`.
const STOCK_BATCHES: i64 = 80;
/// A compaction leaves fewer records than this.
const STOCK_COMPACTED_MAX: i64 = 40;

/// The key and the value of a record of `stock`: one of ten goods, every seventh time sold out.
fn stock_record(offset: i64) -> (String, Option<String>) {
    let amount = format!("{offset} pieces of something");
    (format!("good {}", offset % 10), (offset % 7 != 0).then_some(amount))
}

/// In each codec in turn, by an idempotent producer, whose last batch stays when its records go.
fn stock_batch(batch: i64) -> Bytes {
    let mut builder = BatchBuilder::new();
    let sequence = i32::try_from(2 * batch).unwrap();
    builder.compression(codec(batch)).producer(ProducerId(7), ProducerEpoch(0), sequence);
    for offset in [2 * batch, 2 * batch + 1] {
        let (key, value) = stock_record(offset);
        builder.push(WRITTEN_AT, Some(key.as_bytes()), value.as_ref().map(String::as_bytes));
    }
    builder.build()
}

/// Each record of `stock` is at its offset, and of each key the latest one is there, or its tombstone, or nothing after
/// that. Gives how many are left.
async fn check_stock(client: &mut Client) -> i64 {
    let (mut found, mut offset) = (BTreeMap::new(), Offset(0));
    let end = loop {
        let fetched = client.fetch("stock", 0, offset.0).await;
        assert_eq!(fetched.error_code, ErrorCode::None);
        let bytes = fetched.records.concat();
        if bytes.is_empty() {
            break fetched.high_watermark;
        }
        for batch in scan(&bytes).map(Result::unwrap) {
            batch.header.check_crc(batch.bytes).unwrap();
            visit_records(batch.bytes, |record| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let stored = (record.key.map(text).unwrap(), record.value.map(text));
                assert_eq!(stored, stock_record(record.offset.0), "at {}", record.offset);
                found.insert(record.offset.0, stored);
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
            offset = batch.header.next_offset();
        }
    };
    for last in end.0 - 10..end.0 {
        let has_value = stock_record(last).1.is_some();
        assert!(found.contains_key(&last) || !has_value, "the latest, at {last}, is missing");
    }
    i64::try_from(found.len()).unwrap()
}

/// Commands of every kind that is left, so that they stand in a log that follows a snapshot.
async fn write_after_snapshot(client: &mut Client) {
    client.create("later", 1, &[]).await;
    assert_eq!(grow(client, "later", 2).await.0, 0);
    let change = ("retention.ms", SET, Some("1000"));
    assert_eq!(alter(client, TOPIC, "later", &[change]).await, ErrorCode::None);
    assert_eq!(delete(client, "later").await, 0);
}

/// Makes the controller replace its log by a snapshot, as it does when the log has grown to 8 MiB. That much goes into one
/// config, which the same proposal takes away again.
async fn force_snapshot(data: &Path, cluster: &str) {
    let env = Env::real();
    // The directory's id is asked for only where a log begins.
    let storage = Storage::Directory { path: data.to_owned(), id: UuidText(uuid::Uuid::nil()) };
    let started = LocalQuorum::start(&env, storage, BrokerId(1), cluster).unwrap();
    let set = |value: Option<String>| Command::AlterConfigs {
        resource: ConfigResource::Group("filler".to_owned()),
        changes: BTreeMap::from([("filler".to_owned(), value)]),
    };
    started.quorum.propose(vec![set(Some("x".repeat(8 << 20))), set(None)]).await.unwrap();
    env.tasks.cancel();
    env.tasks.wait().await;
}

/// The codec of a batch of orders, each in its turn.
fn codec(batch: i64) -> Compression {
    let turn = usize::try_from(batch).unwrap() % Compression::ALL.len();
    Compression::ALL[turn]
}

/// A record with all that a record can have.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    timestamp: UnixMillis,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

/// The record at this offset of a partition of `orders`; now and then one without key, value or headers.
fn order(offset: i64) -> Order {
    let unless_every = |nth: i64, text: String| (offset % nth != 0).then_some(text);
    Order {
        timestamp: WRITTEN_AT.plus_millis(offset),
        key: unless_every(5, format!("key {offset}")),
        value: unless_every(7, format!("order {offset}, ").repeat(8)),
        headers: match offset % 3 {
            0 => Vec::new(),
            _ => vec![("trace".to_owned(), Some(offset.to_string())), ("empty".to_owned(), None)],
        },
    }
}

fn orders_batch(batch: i64) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.compression(codec(batch));
    for Order { timestamp, key, value, headers } in [order(2 * batch), order(2 * batch + 1)] {
        let headers: Vec<_> = headers
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref().map(str::as_bytes)))
            .collect();
        let (key, value) = (key.as_deref(), value.as_deref());
        builder.push_with_headers(
            timestamp,
            key.map(str::as_bytes),
            value.map(str::as_bytes),
            &headers,
        );
    }
    builder.build()
}

fn records_of(batch: &Batch<'_>) -> Vec<Order> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut records = Vec::new();
    visit_records(batch.bytes, |record| {
        records.push(Order {
            timestamp: record.timestamp,
            key: record.key.map(text),
            value: record.value.map(text),
            headers: record.headers.map(|(key, value)| (text(key), value.map(text))).collect(),
        });
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    records
}

/// A batch of an idempotent producer; its one value says whose it is.
fn payment(producer: i64, epoch: i16, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.producer(ProducerId(producer), ProducerEpoch(epoch), sequence);
    let value = format!("{producer} {epoch} {sequence}");
    builder.push(WRITTEN_AT, None, Some(value.as_bytes()));
    builder.build()
}

async fn delete_before(client: &mut Client, topic: &str, index: i32, offset: i64) {
    let mut partition = delete_records_request::DeleteRecordsPartition::default();
    (partition.partition_index, partition.offset) = (index, offset);
    let mut records = delete_records_request::DeleteRecordsTopic::default();
    records.name = wire_name(topic);
    records.partitions = vec![partition];
    let mut request = DeleteRecordsRequest::default();
    request.topics = vec![records];
    let response = client.call(2, &request).await;
    assert_eq!(response.topics[0].partitions[0].low_watermark, offset);
}

/// Which epoch is known up to the one that is asked for, and where it ends.
async fn epoch_end(client: &mut Client, topic: &str, epoch: i32) -> (i32, i64) {
    let mut partition = offset_for_leader_epoch_request::OffsetForLeaderPartition::default();
    (partition.current_leader_epoch, partition.leader_epoch) = (-1, epoch);
    let mut asked = offset_for_leader_epoch_request::OffsetForLeaderTopic::default();
    asked.topic = wire_name(topic);
    asked.partitions = vec![partition];
    let mut request = OffsetForLeaderEpochRequest::default();
    request.topics = vec![asked];
    let response = client.call(4, &request).await;
    let end = &response.topics[0].partitions[0];
    assert_eq!(end.error_code, 0);
    (end.leader_epoch, end.end_offset)
}

fn data_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The controller's files in a directory, with their bytes.
fn controller_files(data: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(data).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    named
        .filter(|(name, _)| name.starts_with("ottla-raft-"))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}
