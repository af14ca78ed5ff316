//! What the metadata log of Apache Kafka says, as the first command of Ottla's.
//!
//! The log is read once, when a broker starts on such a directory for the first time, and stays as it is. Records of other
//! types are passed over, such as registrations of brokers, access rules and quotas.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::{kind, snapshot_end};
use crate::cluster::{Command, ConfigResource, PartitionImage, TopicImage};
use crate::controller::RaftLogError;
use crate::controller::raft_log::io_error;
use crate::env::Disk;
use crate::log::KRAFT_DIR;
use crate::model::{BrokerId, LeaderEpoch, PartitionId, TopicId, TopicName, TopicPartition};
use crate::record::{Batch, scan, visit_records};
use crate::wire::fields::{FieldReader, SchemaError};

/// The command that makes a new cluster what the one of Apache Kafka was; none if the directory was never Kafka's.
///
/// # Errors
/// [`RaftLogError`] if the log cannot be read, is damaged before its end, or tells of replicas on other brokers.
pub(in crate::controller) fn take_over(
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

/// What the records so far say.
#[derive(Debug, Default)]
struct State {
    topics: BTreeMap<TopicId, Topic>,
    configs: BTreeMap<ConfigResource, BTreeMap<String, String>>,
    next_producer_id: i64,
    features: BTreeMap<String, i16>,
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
            kind::FEATURE_LEVEL => newest("FeatureLevelRecord", 0).and_then(|()| {
                let name = fields.string("name")?.to_owned();
                self.features.insert(name, fields.i16("feature level")?);
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
        let partition = PartitionImage {
            isr,
            leader,
            leader_epoch,
            partition_epoch,
            ..PartitionImage::new(replicas)
        };
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
        let Self { configs, next_producer_id, mut features, .. } = self;
        features.retain(|_, level| *level > 0);
        Ok(Command::TakeOver { topics, configs, next_producer_id, features })
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
