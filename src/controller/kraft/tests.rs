//! Metadata logs as Apache Kafka writes them, read and written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::kind;
use super::take_over::take_over;
use super::{ExportError, export};
use crate::cluster::{ClusterImage, Command, ConfigResource, TopicImage};
use crate::controller::RaftLogError;
use crate::env::Disk;
use crate::log::{DataDir, KRAFT_DIR};
use crate::model::{BrokerId, TopicId};

use crate::controller::{LocalQuorum, Storage};
use crate::env::{Env, MemoryDisk, OpenMode};
use crate::model::{Offset, UnixMillis, UuidText};
use crate::record::BatchBuilder;
use crate::wire::fields::FieldWriter;

const DATA: &str = "data";

fn record(kind: u32, version: u32, fields: impl FnOnce(&mut FieldWriter)) -> Bytes {
    let mut writer = FieldWriter::compact();
    for number in [1, kind, version] {
        writer.varint(number);
    }
    fields(&mut writer);
    writer.finish()
}

fn id(topic: u128) -> Uuid {
    Uuid::from_u128(topic)
}

fn topic(name: &str, topic: u128) -> Bytes {
    record(kind::TOPIC, 0, |fields| {
        fields.string(name);
        fields.uuid(id(topic));
        fields.varint(0);
    })
}

fn partition(topic: u128, index: i32, replicas: &[i32]) -> Bytes {
    record(kind::PARTITION, 2, |fields| {
        fields.i32(index);
        fields.uuid(id(topic));
        for list in [replicas, replicas, &[], &[]] {
            fields.list(list.iter(), |fields, broker| fields.i32(*broker));
        }
        // Leader, leader epoch, partition epoch.
        for number in [1, 4, 6] {
            fields.i32(number);
        }
        fields.list([id(99)].into_iter(), FieldWriter::uuid);
        fields.varint(0);
    })
}

/// A change of the leader, which leaves nobody in sync.
fn election(topic: u128, index: i32, leader: i32) -> Bytes {
    record(kind::PARTITION_CHANGE, 2, |fields| {
        fields.i32(index);
        fields.uuid(id(topic));
        // Two tagged fields: tag 0 of 1 byte, an empty list; and tag 1 of 4 bytes.
        for number in [2, 0, 1, 1, 1, 4] {
            fields.varint(number);
        }
        fields.i32(leader);
    })
}

fn config(resource: i8, name: &str, key: &str, value: Option<&str>) -> Bytes {
    record(kind::CONFIG, 0, |fields| {
        fields.i8(resource);
        fields.string(name);
        fields.string(key);
        fields.nullable_string(value);
        fields.varint(0);
    })
}

fn removal(topic: u128) -> Bytes {
    record(kind::REMOVE_TOPIC, 0, |fields| {
        fields.uuid(id(topic));
        fields.varint(0);
    })
}

fn producer_ids(next: i64) -> Bytes {
    record(kind::PRODUCER_IDS, 0, |fields| {
        fields.i32(1);
        fields.i64(5);
        fields.i64(next);
        fields.varint(0);
    })
}

/// A record that only says what it is.
fn mark(kind: u32) -> Bytes {
    record(kind, 0, |fields| fields.varint(0))
}

/// Batches of one record each, from an offset on.
fn batches(from: i64, records: &[Bytes]) -> Vec<u8> {
    let offsets = (from..).map(Offset);
    let batch = |(offset, value): (Offset, &Bytes)| {
        let mut builder = BatchBuilder::new();
        builder.base_offset(offset).push(UnixMillis(1), None, Some(value));
        builder.build()
    };
    offsets.zip(records).flat_map(batch).collect()
}

fn write(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    let directory = Path::new(DATA).join(KRAFT_DIR);
    disk.create_dir_all(&directory).unwrap();
    let file = disk.open(&directory.join(name), OpenMode::Truncate).unwrap();
    file.write_at(0, &[bytes]).unwrap();
}

fn segment(disk: &MemoryDisk, from: i64, records: &[Bytes]) {
    write(disk, &format!("{from:020}.log"), &batches(from, records));
}

fn taken(disk: &MemoryDisk) -> Result<Option<Command>, RaftLogError> {
    take_over(disk, Path::new(DATA), BrokerId(1))
}

type Taken = (Vec<TopicImage>, BTreeMap<ConfigResource, BTreeMap<String, String>>, i64);

fn found(disk: &MemoryDisk) -> Taken {
    let Some(Command::TakeOver { topics, configs, next_producer_id, features: _ }) =
        taken(disk).unwrap()
    else {
        panic!("nothing is there");
    };
    (topics, configs, next_producer_id)
}

fn names(topics: &[TopicImage]) -> Vec<&str> {
    topics.iter().map(|topic| topic.name.as_str()).collect()
}

#[test]
fn a_directory_that_was_never_kafkas_gives_nothing() {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(DATA)).unwrap();
    assert_eq!(taken(&disk).unwrap(), None);
}

#[test]
fn topics_configs_and_producer_ids_are_found() {
    let disk = MemoryDisk::new();
    segment(
        &disk,
        0,
        &[
            // A type that Ottla has no use for.
            record(99, 9, |fields| fields.string("whatever")),
            topic("a", 1),
            partition(1, 0, &[1]),
            partition(1, 1, &[1]),
            config(2, "a", "retention.ms", Some("5")),
            config(2, "a", "segment.ms", Some("6")),
            config(2, "a", "segment.ms", None),
            config(4, "", "log.retention.ms", Some("7")),
            config(4, "1", "log.retention.ms", Some("8")),
            config(32, "g", "consumer.session.timeout.ms", Some("9")),
            config(16, "metrics", "interval.ms", Some("10")),
            topic("b", 2),
            partition(2, 0, &[1]),
            config(2, "b", "retention.ms", Some("5")),
            election(1, 1, -1),
            election(1, 1, 1),
            producer_ids(4000),
            removal(2),
        ],
    );
    let (topics, configs, next_producer_id) = found(&disk);
    assert_eq!(names(&topics), ["a"]);
    assert_eq!(topics[0].id, TopicId(id(1)));
    let epochs = topics[0].partitions.iter().map(|p| (p.leader_epoch.0, p.partition_epoch));
    assert_eq!(epochs.collect::<Vec<_>>(), [(4, 6), (6, 8)]);
    let own = BrokerId(1);
    assert!(topics[0].partitions.iter().all(|p| p.leader == Some(own) && p.isr == [own]));
    assert_eq!(next_producer_id, 4000);
    let resources: Vec<_> = configs.keys().cloned().map(String::from).collect();
    assert_eq!(resources, ["topic:a", "broker:1", "brokers", "group:g"]);
    assert_eq!(configs.values().map(BTreeMap::len).collect::<Vec<_>>(), [1; 4]);
}

#[test]
fn the_last_level_of_each_feature_counts() {
    let level = |name: &'static str, level: i16| {
        record(12, 0, |fields| {
            fields.string(name);
            fields.i16(level);
            fields.varint(0);
        })
    };
    let disk = MemoryDisk::new();
    let levels = [("a", 1), ("b", 2), ("a", 0), ("b", 1), ("metadata.version", 25)];
    segment(&disk, 0, &levels.map(|(name, number)| level(name, number)));
    let Some(Command::TakeOver { features, .. }) = taken(&disk).unwrap() else {
        panic!("nothing is there");
    };
    assert_eq!(features, [("b".to_owned(), 1), ("metadata.version".to_owned(), 25)].into());
}

#[test]
fn a_snapshot_stands_for_all_before_it() {
    let disk = MemoryDisk::new();
    let name = |end| super::snapshot_name(end, 3);
    write(&disk, &name(2), &batches(0, &[topic("old", 9), partition(9, 0, &[1])]));
    write(&disk, &name(4), &batches(0, &[topic("a", 1), partition(1, 0, &[1])]));
    // Offsets 3 and 4: the first is in the snapshot already, and would be an error here.
    segment(&disk, 3, &[record(kind::TOPIC, 7, |_| {}), topic("b", 2), partition(2, 0, &[1])]);
    assert_eq!(names(&found(&disk).0), ["a", "b"]);
    // A log that begins after the snapshot's end lacks something.
    let disk = MemoryDisk::new();
    write(&disk, &name(4), &batches(0, &[topic("a", 1), partition(1, 0, &[1])]));
    segment(&disk, 5, &[topic("b", 2)]);
    assert!(matches!(taken(&disk), Err(RaftLogError::Damaged { .. })));
}

#[test]
fn transactions_count_once_they_have_ended() {
    let disk = MemoryDisk::new();
    let (begin, end) = (mark(kind::BEGIN_TRANSACTION), mark(kind::END_TRANSACTION));
    let mut records = vec![begin.clone(), topic("a", 1), partition(1, 0, &[1]), end];
    records.extend([begin.clone(), topic("b", 2), mark(kind::ABORT_TRANSACTION)]);
    records.extend([begin, topic("c", 3)]);
    segment(&disk, 0, &records);
    assert_eq!(names(&found(&disk).0), ["a"]);
}

#[test]
fn only_the_end_of_the_last_segment_may_be_torn() {
    let all = [topic("a", 1), partition(1, 0, &[1]), topic("b", 2)];
    let whole = batches(0, &all);
    let damages: [fn(&mut Vec<u8>); 2] =
        [|bytes| bytes.truncate(bytes.len() - 1), |bytes| *bytes.last_mut().unwrap() ^= 1];
    for damage in damages {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        let disk = MemoryDisk::new();
        write(&disk, "00000000000000000000.log", &bytes);
        assert_eq!(names(&found(&disk).0), ["a"]);
        segment(&disk, 3, &[]);
        let Err(RaftLogError::Damaged { position, .. }) = taken(&disk) else {
            panic!("damage in the middle is not told");
        };
        assert_eq!(position, batches(0, &all[..2]).len() as u64);
    }
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let disk = MemoryDisk::new();
    segment(&disk, 0, &[topic("a", 1), partition(1, 0, &[1, 2])]);
    let error = taken(&disk).unwrap_err();
    assert!(matches!(error, RaftLogError::OtherBrokers { .. }), "{error}");
    // A version of a later Kafka.
    segment(&disk, 0, &[record(kind::TOPIC, 1, |_| {})]);
    let error = taken(&disk).unwrap_err().to_string();
    assert!(error.contains("version 1 of TopicRecord is not known"), "{error}");
    // A partition without those before it.
    segment(&disk, 0, &[topic("a", 1), partition(1, 1, &[1])]);
    assert!(matches!(taken(&disk), Err(RaftLogError::Damaged { .. })));
}

#[tokio::test]
async fn a_cluster_is_taken_over_once() {
    let disk = MemoryDisk::new();
    segment(&disk, 0, &[topic("a", 1), partition(1, 0, &[1])]);
    let start = || {
        let env = Env::with_disk(Arc::new(disk.clone()));
        let storage = Storage::Directory { path: DATA.into(), id: UuidText(id(7)) };
        LocalQuorum::start(&env, storage, BrokerId(1), "cluster").unwrap()
    };
    let first = start();
    assert!(first.image.topic("a").is_some());
    segment(&disk, 0, &[topic("a", 1), partition(1, 0, &[1]), topic("b", 2)]);
    let second = start();
    assert_eq!((second.index, &second.image), (first.index, &first.image));
}

#[test]
fn what_is_exported_can_be_taken_over() {
    let (ours, theirs) = (MemoryDisk::new(), MemoryDisk::new());
    segment(
        &theirs,
        0,
        &[
            topic("a", 1),
            partition(1, 0, &[1]),
            partition(1, 1, &[1]),
            config(2, "a", "retention.ms", Some("5")),
            config(4, "", "log.retention.ms", Some("7")),
            config(4, "1", "log.retention.ms", Some("8")),
            config(32, "g", "consumer.session.timeout.ms", Some("9")),
            election(1, 1, 1),
            producer_ids(4000),
        ],
    );
    let there = found(&theirs);
    let image = image_of(&there);
    let records = export::records(&image, BrokerId(1), id(7));
    let (bytes, end) = export::snapshot(&records, UnixMillis(1));
    write(&ours, &super::snapshot_name(end, 1), &bytes);
    assert_eq!(found(&ours), there);
}

fn image_of((topics, configs, next_producer_id): &Taken) -> ClusterImage {
    let mut image = ClusterImage::default();
    let command = Command::TakeOver {
        topics: topics.clone(),
        configs: configs.clone(),
        next_producer_id: *next_producer_id,
        features: BTreeMap::new(),
    };
    image.apply(1, &command).0.unwrap();
    image
}

#[tokio::test]
async fn an_export_leaves_the_directory_as_it_was() {
    let disk = MemoryDisk::new();
    let env = Env::with_disk(Arc::new(disk.clone()));
    let data = Path::new(DATA);
    assert!(matches!(export(&env, data), Err(ExportError::NotOurs { .. })));
    let directory =
        DataDir::open(env.disk.clone(), data, BrokerId(1), Some("c"), &env.rng).unwrap();
    let storage = Storage::Directory { path: DATA.into(), id: UuidText(id(7)) };
    drop(LocalQuorum::start(&env, storage, BrokerId(1), "c").unwrap());
    directory.mark_clean(17).unwrap();
    assert!(matches!(export(&env, data), Err(ExportError::Directory(_))), "in use");
    drop(directory);
    let first = export(&env, data).unwrap();
    assert_eq!((first.topics, first.partitions, first.set_aside), (0, 0, None));
    let second = export(&env, data).unwrap();
    assert!(second.set_aside.is_some_and(|aside| disk.exists(&aside).unwrap()));
    let directory = DataDir::open(env.disk.clone(), data, BrokerId(1), None, &env.rng).unwrap();
    assert_eq!(directory.clean_epoch(), Some(17));
}
