//! The metadata of a cluster of Apache Kafka, read from the log that its controllers left in the data directory.
//!
//! Owns the names of the files in `__cluster_metadata-0` and the records in them that say what Ottla needs: topics, their
//! partitions, configs, producer ids. All others are passed over, such as registrations of brokers, access rules and quotas.
//! The log is read once, when a broker starts on such a directory for the first time, and stays as it is.
//!
//! A segment holds record batches like any other; a snapshot too. A value begins with three varints, which are the version
//! of this frame, the type of the record and its version, and goes on with the fields of that version.
//!
//! Source: the schemas in `metadata/src/main/resources/common/metadata`, `MetadataBatchLoader`, `TopicDelta` and
//! `PartitionRegistration.merge` of Apache Kafka 4.3.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::RaftLogError;
use super::raft_log::io_error;
use crate::cluster::{Command, ConfigResource, PartitionImage, TopicImage};
use crate::env::Disk;
use crate::log::KRAFT_DIR;
use crate::model::{BrokerId, LeaderEpoch, PartitionId, TopicId, TopicName, TopicPartition};
use crate::record::{Batch, scan, visit_records};
use crate::wire::fields::{FieldReader, SchemaError};

/// The types of the records that are read.
mod kind {
    pub(super) const TOPIC: u32 = 2;
    pub(super) const PARTITION: u32 = 3;
    pub(super) const CONFIG: u32 = 4;
    pub(super) const PARTITION_CHANGE: u32 = 5;
    pub(super) const REMOVE_TOPIC: u32 = 9;
    pub(super) const PRODUCER_IDS: u32 = 15;
    pub(super) const BEGIN_TRANSACTION: u32 = 23;
    pub(super) const END_TRANSACTION: u32 = 24;
    pub(super) const ABORT_TRANSACTION: u32 = 25;
}

/// The command that makes a new cluster what the one of Apache Kafka was; none if the directory was never Kafka's.
///
/// # Errors
/// [`RaftLogError`] if the log cannot be read, is damaged before its end, or tells of replicas on other brokers.
pub(super) fn take_over(
    disk: &dyn Disk,
    data: &Path,
    broker: BrokerId,
) -> Result<Option<Command>, RaftLogError> {
    let directory = data.join(KRAFT_DIR);
    if !disk.exists(&directory).map_err(io_error(&directory))? {
        return Ok(None);
    }
    let files = Files::list(disk, &directory)?;
    let mut state = State::default();
    let mut from = 0;
    if let Some((end, name)) = &files.snapshot {
        state.replay_file(disk, &directory.join(name), 0, false)?;
        from = *end;
    }
    // The segment in which the snapshot ends, and all after it.
    let first = files.segments.range(..=from).next_back().map(|(base, _)| *base);
    if let (None, Some((base, name))) = (first, files.segments.first_key_value()) {
        let problem =
            format!("begins at offset {base}; what is before it, from {from} on, is missing");
        return Err(RaftLogError::Damaged { path: directory.join(name), position: 0, problem });
    }
    let last = files.segments.last_key_value().map(|(base, _)| *base);
    for (base, name) in files.segments.range(first.unwrap_or(from)..) {
        state.replay_file(disk, &directory.join(name), from, Some(*base) == last)?;
    }
    state.finish(&directory, broker).map(Some)
}

/// The files of the log by the offsets in their names.
#[derive(Debug, Default)]
struct Files {
    /// By base offset.
    segments: BTreeMap<i64, String>,
    /// The newest one, with the offset after its last record.
    snapshot: Option<(i64, String)>,
}

impl Files {
    fn list(disk: &dyn Disk, directory: &Path) -> Result<Self, RaftLogError> {
        let mut files = Self::default();
        for entry in disk.list(directory).map_err(io_error(directory))? {
            if let Some(base) = entry.name.strip_suffix(".log").and_then(|name| name.parse().ok()) {
                files.segments.insert(base, entry.name);
            } else if let Some(end) = snapshot_end(&entry.name)
                && files.snapshot.as_ref().is_none_or(|(newest, _)| *newest < end)
            {
                files.snapshot = Some((end, entry.name));
            }
        }
        Ok(files)
    }
}

/// From `<end offset>-<epoch>.checkpoint`.
fn snapshot_end(name: &str) -> Option<i64> {
    let (end, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    epoch.parse::<i32>().ok()?;
    end.parse().ok()
}

/// What the records so far say.
#[derive(Debug, Default)]
struct State {
    topics: BTreeMap<TopicId, Topic>,
    configs: BTreeMap<ConfigResource, BTreeMap<String, String>>,
    next_producer_id: i64,
    /// Records of a transaction that has not ended: they count all together, or not at all (KIP-868).
    transaction: Option<Vec<Vec<u8>>>,
}

#[derive(Debug)]
struct Topic {
    name: TopicName,
    partitions: BTreeMap<PartitionId, PartitionImage>,
}

impl State {
    /// Takes in the records of a file from offset `from` on. The end of the last segment may be torn.
    fn replay_file(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        from: i64,
        is_last: bool,
    ) -> Result<(), RaftLogError> {
        let bytes = disk.read_small(path).map_err(io_error(path))?.unwrap_or_default();
        let mut batches = scan(&bytes);
        let mut position = 0;
        loop {
            let damaged = |problem: String| RaftLogError::Damaged {
                path: path.to_owned(),
                position,
                problem,
            };
            let torn = match batches.next() {
                None if batches.rest().is_empty() => return Ok(()),
                None => "a batch that is cut off".to_owned(),
                Some(Err(error)) => error.to_string(),
                Some(Ok(batch)) => match batch.header.check_crc(batch.bytes) {
                    Err(error) => error.to_string(),
                    Ok(()) => {
                        self.replay_batch(&batch, from).map_err(damaged)?;
                        position += batch.bytes.len() as u64;
                        continue;
                    }
                },
            };
            if !is_last {
                return Err(damaged(torn));
            }
            tracing::warn!(path = %path.display(), position, problem = %torn, "the metadata log of Apache Kafka ends here");
            return Ok(());
        }
    }

    fn replay_batch(&mut self, batch: &Batch<'_>, from: i64) -> Result<(), String> {
        if batch.header.is_control() || batch.header.last_offset().0 < from {
            return Ok(());
        }
        let mut refused = None;
        let visited = visit_records(batch.bytes, |record| {
            let value = record.value.filter(|_| record.offset.0 >= from);
            match value.map_or(Ok(()), |value| self.replay(value)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    refused = Some(format!("offset {}: {error}", record.offset));
                    ControlFlow::Break(())
                }
            }
        });
        visited.map_err(|error| error.to_string())?;
        refused.map_or(Ok(()), Err)
    }

    /// Takes in a record, or keeps it for the end of its transaction.
    fn replay(&mut self, value: &[u8]) -> Result<(), SchemaError> {
        let mut frame = FieldReader::compact("the frame of a metadata record", value);
        frame.varint("frame version")?;
        match frame.varint("type")? {
            kind::BEGIN_TRANSACTION => self.transaction = Some(Vec::new()),
            kind::ABORT_TRANSACTION => self.transaction = None,
            kind::END_TRANSACTION => {
                for value in self.transaction.take().unwrap_or_default() {
                    self.apply(&value)?;
                }
            }
            _ => match &mut self.transaction {
                Some(waiting) => waiting.push(value.to_vec()),
                None => self.apply(value)?,
            },
        }
        Ok(())
    }

    fn apply(&mut self, value: &[u8]) -> Result<(), SchemaError> {
        let mut fields = FieldReader::compact("a metadata record", value);
        fields.varint("frame version")?;
        let kind = fields.varint("type")?;
        let version = fields.varint("version")?;
        let newest = |record: &'static str, newest: u32| {
            let version = i16::try_from(version).unwrap_or(i16::MAX);
            let known = u32::try_from(version).is_ok_and(|version| version <= newest);
            if known { Ok(()) } else { Err(SchemaError::UnknownVersion { record, version }) }
        };
        match kind {
            kind::TOPIC => newest("TopicRecord", 0).and_then(|()| self.topic(&mut fields)),
            kind::PARTITION => {
                newest("PartitionRecord", 2).and_then(|()| self.partition(&mut fields))
            }
            kind::CONFIG => newest("ConfigRecord", 0).and_then(|()| self.config(&mut fields)),
            kind::PARTITION_CHANGE => {
                newest("PartitionChangeRecord", 2).and_then(|()| self.change(&mut fields))
            }
            kind::REMOVE_TOPIC => newest("RemoveTopicRecord", 0).and_then(|()| {
                let id = TopicId(fields.uuid("topic id")?);
                if let Some(topic) = self.topics.remove(&id) {
                    self.configs.remove(&ConfigResource::Topic(topic.name));
                }
                Ok(())
            }),
            kind::PRODUCER_IDS => newest("ProducerIdsRecord", 0).and_then(|()| {
                fields.i32("broker id")?;
                fields.i64("broker epoch")?;
                self.next_producer_id = fields.i64("next producer id")?;
                Ok(())
            }),
            _ => Ok(()),
        }
    }

    fn topic(&mut self, fields: &mut FieldReader<'_>) -> Result<(), SchemaError> {
        let name = topic_name(fields.string("name")?)?;
        let id = TopicId(fields.uuid("topic id")?);
        self.topics.insert(id, Topic { name, partitions: BTreeMap::new() });
        Ok(())
    }

    fn partition(&mut self, fields: &mut FieldReader<'_>) -> Result<(), SchemaError> {
        let index = PartitionId(fields.i32("partition id")?);
        let id = TopicId(fields.uuid("topic id")?);
        let replicas = brokers(fields, "replicas")?;
        let isr = brokers(fields, "isr")?;
        brokers(fields, "removing replicas")?;
        brokers(fields, "adding replicas")?;
        let leader = leader(fields.i32("leader")?);
        let leader_epoch = LeaderEpoch(fields.i32("leader epoch")?);
        let partition_epoch = fields.i32("partition epoch")?;
        let partition = PartitionImage { replicas, isr, leader, leader_epoch, partition_epoch };
        if let Some(topic) = self.topics.get_mut(&id) {
            topic.partitions.insert(index, partition);
        }
        Ok(())
    }

    fn change(&mut self, fields: &mut FieldReader<'_>) -> Result<(), SchemaError> {
        let index = PartitionId(fields.i32("partition id")?);
        let id = TopicId(fields.uuid("topic id")?);
        let (mut isr, mut new_leader, mut replicas) = (None, None, None);
        fields.tagged_fields(|fields, tag| {
            match tag {
                0 => isr = Some(brokers(fields, "isr")?),
                1 => new_leader = Some(fields.i32("leader")?),
                2 => replicas = Some(brokers(fields, "replicas")?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let topic = self.topics.get_mut(&id);
        let Some(partition) = topic.and_then(|topic| topic.partitions.get_mut(&index)) else {
            return Ok(());
        };
        partition.isr = isr.unwrap_or_else(|| std::mem::take(&mut partition.isr));
        partition.replicas = replicas.unwrap_or_else(|| std::mem::take(&mut partition.replicas));
        partition.partition_epoch += 1;
        if let Some(elected) = new_leader {
            partition.leader = leader(elected);
            partition.leader_epoch = LeaderEpoch(partition.leader_epoch.0 + 1);
        }
        Ok(())
    }

    fn config(&mut self, fields: &mut FieldReader<'_>) -> Result<(), SchemaError> {
        let resource_type = fields.i8("resource type")?;
        let resource_name = fields.string("resource name")?;
        let name = fields.string("name")?.to_owned();
        let value = fields.nullable_string("value")?;
        let Some(resource) = resource(resource_type, resource_name)? else {
            return Ok(());
        };
        let configs = self.configs.entry(resource.clone()).or_default();
        match value {
            Some(value) => configs.insert(name, value.to_owned()),
            None => configs.remove(&name),
        };
        if configs.is_empty() {
            self.configs.remove(&resource);
        }
        Ok(())
    }

    /// All of it as a command, if all partitions are this broker's alone.
    fn finish(self, directory: &Path, broker: BrokerId) -> Result<Command, RaftLogError> {
        let mut topics = Vec::new();
        for (id, topic) in self.topics {
            let damaged = |problem: String| RaftLogError::Damaged {
                path: PathBuf::from(directory),
                position: 0,
                problem,
            };
            let expected = (0..).map(PartitionId);
            let complete =
                topic.partitions.keys().zip(expected).all(|(found, index)| *found == index);
            if !complete || topic.partitions.is_empty() {
                return Err(damaged(format!("partitions of topic {} are missing", topic.name)));
            }
            for (index, partition) in &topic.partitions {
                if partition.replicas != [broker] {
                    return Err(RaftLogError::OtherBrokers {
                        path: PathBuf::from(directory),
                        partition: TopicPartition {
                            topic: topic.name.as_str().into(),
                            partition: *index,
                        },
                        replicas: partition.replicas.clone(),
                        broker,
                    });
                }
            }
            // Its broker has all there is, though a stop may have left neither leader nor in-sync replica (KIP-966).
            let lead =
                |partition| PartitionImage { leader: Some(broker), isr: vec![broker], ..partition };
            let partitions = topic.partitions.into_values().map(lead).collect();
            topics.push(TopicImage { name: topic.name, id, partitions });
        }
        let (configs, next_producer_id) = (self.configs, self.next_producer_id);
        Ok(Command::TakeOver { topics, configs, next_producer_id })
    }
}

fn topic_name(text: &str) -> Result<TopicName, SchemaError> {
    TopicName::new(text).map_err(|_| SchemaError::Malformed {
        record: "TopicRecord",
        field: "name",
        position: 0,
        problem: "is no legal name",
    })
}

fn brokers(
    fields: &mut FieldReader<'_>,
    field: &'static str,
) -> Result<Vec<BrokerId>, SchemaError> {
    fields.list(field, |fields| fields.i32(field).map(BrokerId))
}

/// Below 0 stands for nobody.
fn leader(id: i32) -> Option<BrokerId> {
    (id >= 0).then_some(BrokerId(id))
}

/// What configs are for; none for what Ottla keeps no configs of, the subscriptions to clients' metrics.
fn resource(kind: i8, name: &str) -> Result<Option<ConfigResource>, SchemaError> {
    Ok(match kind {
        2 => Some(ConfigResource::Topic(topic_name(name)?)),
        4 if name.is_empty() => Some(ConfigResource::AllBrokers),
        4 => name.parse().ok().map(|id| ConfigResource::Broker(BrokerId(id))),
        32 => Some(ConfigResource::Group(name.to_owned())),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
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
        let Some(Command::TakeOver { topics, configs, next_producer_id }) = taken(disk).unwrap()
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
                record(12, 9, |fields| fields.string("whatever")),
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
    fn a_snapshot_stands_for_all_before_it() {
        let disk = MemoryDisk::new();
        let name = |end: i64| format!("{end:020}-0000000003.checkpoint");
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
}
