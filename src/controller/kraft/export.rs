//! What Ottla's metadata log says, as a snapshot that Apache Kafka starts from.
//!
//! The snapshot stands for a metadata log that was led once, in epoch 1. A broker of Apache Kafka that is started on the
//! directory as a single node loads it, registers, and finds every partition where it is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{FRAME_VERSION, kind, snapshot_name};
use crate::cluster::features::KRAFT_VERSION;
use crate::cluster::{ClusterImage, ConfigResource, PartitionImage, TopicImage};
use crate::controller::RaftLogError;
use crate::controller::local::read_image;
use crate::env::Env;
use crate::log::{DataDir, DataDirError, KRAFT_DIR, MetaProperties};
use crate::model::{BrokerId, LeaderEpoch, Offset, PartitionId, UnixMillis};
use crate::record::BatchBuilder;
use crate::wire::fields::FieldWriter;

/// The epoch of the quorum that the snapshot is of.
const EPOCH: i32 = 1;
/// How many records a batch has at most.
const BATCH_RECORDS: usize = 1000;
/// Types of the control records at the two ends of a snapshot (`ControlRecordType` of Apache Kafka).
const SNAPSHOT_HEADER: i16 = 3;
const SNAPSHOT_FOOTER: i16 = 4;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The snapshot.
    pub path: PathBuf,
    /// How many topics are in it.
    pub topics: usize,
    /// How many partitions they have.
    pub partitions: usize,
    /// Where a metadata log of Apache Kafka that was there is now.
    pub set_aside: Option<PathBuf>,
}

/// Why nothing was written. Each is one line for a person.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DataDirError),
    /// Its metadata cannot be read.
    #[error(transparent)]
    Metadata(#[from] RaftLogError),
    /// There is no metadata in it.
    #[error("{path} is no data directory of Ottla: there is no metadata log in it")]
    NotOurs {
        /// The directory.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("cannot write {path}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The disk's words.
        source: io::Error,
    },
}

/// Writes what Apache Kafka needs to know of the topics in a data directory, on which no broker may run. Blocks for the disk.
///
/// # Errors
/// As [`ExportError`] says.
pub fn export(env: &Env, data: &Path) -> Result<Exported, ExportError> {
    let meta = MetaProperties::read(&*env.disk, data)?;
    let node = meta.ok_or_else(|| ExportError::NotOurs { path: data.to_owned() })?.node_id;
    let directory = DataDir::open(Arc::clone(&env.disk), data, node, None, &env.rng)?;
    let exported = write(env, data, &directory);
    // Opening it took the mark of a clean stop, and nothing has changed since.
    if let Some(epoch) = directory.clean_epoch() {
        directory.mark_clean(epoch).map_err(io_error(data))?;
    }
    exported
}

fn write(env: &Env, data: &Path, directory: &DataDir) -> Result<Exported, ExportError> {
    let meta = directory.meta();
    let image = read_image(Arc::clone(&env.disk), data)?;
    let image = image.ok_or_else(|| ExportError::NotOurs { path: data.to_owned() })?;
    let kraft = data.join(KRAFT_DIR);
    let mut set_aside = None;
    if env.disk.exists(&kraft).map_err(io_error(&kraft))? {
        let to = data.join(format!("{KRAFT_DIR}.{}-stray", env.rng.uuid().simple()));
        env.disk.rename(&kraft, &to).map_err(io_error(&kraft))?;
        set_aside = Some(to);
    }
    env.disk.create_dir_all(&kraft).map_err(io_error(&kraft))?;
    let records = records(&image, meta.node_id, meta.directory_id);
    let (bytes, end) = snapshot(&records, env.clock.now());
    let path = kraft.join(snapshot_name(end, EPOCH));
    env.disk.replace_small(&path, &bytes).map_err(io_error(&path))?;
    env.disk.sync_dir(data).map_err(io_error(data))?;
    let partitions = image.topics().map(|topic| topic.partitions.len()).sum();
    Ok(Exported { path, topics: image.topic_count(), partitions, set_aside })
}

fn io_error(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.into();
    move |source| ExportError::Io { path, source }
}

/// The records of a snapshot, in an order in which none speaks of what comes later.
pub(super) fn records(image: &ClusterImage, broker: BrokerId, directory: uuid::Uuid) -> Vec<Bytes> {
    let mut records = Vec::new();
    // The version of the metadata decides how the rest is read.
    // (Whether voters change has a record of another kind, and is of no concern to a single node.)
    let features = image.features().iter().filter(|(name, _)| *name != KRAFT_VERSION);
    let (first, others): (Vec<_>, Vec<_>) =
        features.partition(|(name, _)| *name == "metadata.version");
    records.extend(first.into_iter().chain(others).map(|(name, level)| feature(name, *level)));
    for topic in image.topics() {
        records.push(record(kind::TOPIC, 0, |fields| {
            fields.string(topic.name.as_str());
            fields.uuid(topic.id.0);
        }));
        let partitions = topic.indexed_partitions();
        records.extend(
            partitions.map(|(index, state)| partition(topic, index, state, broker, directory)),
        );
    }
    for resource in image.config_resources() {
        for (key, value) in image.configs(resource).iter() {
            records.push(config(resource, key, value));
        }
    }
    records.push(record(kind::PRODUCER_IDS, 0, |fields| {
        fields.i32(broker.0);
        fields.i64(-1);
        fields.i64(image.next_producer_id());
    }));
    records
}

fn record(kind: u32, version: u32, fields: impl FnOnce(&mut FieldWriter)) -> Bytes {
    let mut writer = FieldWriter::compact();
    for number in [FRAME_VERSION, kind, version] {
        writer.varint(number);
    }
    fields(&mut writer);
    // No tagged fields.
    writer.varint(0);
    writer.finish()
}

fn feature(name: &str, level: i16) -> Bytes {
    record(kind::FEATURE_LEVEL, 0, |fields| {
        fields.string(name);
        fields.i16(level);
    })
}

fn partition(
    topic: &TopicImage,
    index: PartitionId,
    state: &PartitionImage,
    broker: BrokerId,
    directory: uuid::Uuid,
) -> Bytes {
    // Version 1 has the directory of each replica.
    record(kind::PARTITION, 1, |fields| {
        fields.i32(index.0);
        fields.uuid(topic.id.0);
        for brokers in [&state.replicas[..], &state.isr, &[], &[]] {
            fields.list(brokers.iter(), |fields, broker| fields.i32(broker.0));
        }
        fields.i32(state.leader.map_or(-1, |leader| leader.0));
        fields.i32(state.leader_epoch.0);
        fields.i32(state.partition_epoch);
        let directories = state
            .replicas
            .iter()
            .map(|replica| if *replica == broker { directory } else { uuid::Uuid::nil() });
        fields.list(directories, FieldWriter::uuid);
    })
}

fn config(resource: &ConfigResource, key: &str, value: &str) -> Bytes {
    let (kind_of_resource, name) = match resource {
        ConfigResource::Topic(name) => (2, name.to_string()),
        ConfigResource::Broker(id) => (4, id.to_string()),
        ConfigResource::AllBrokers => (4, String::new()),
        ConfigResource::Group(name) => (32, name.clone()),
    };
    record(kind::CONFIG, 0, |fields| {
        fields.i8(kind_of_resource);
        fields.string(&name);
        fields.string(key);
        fields.nullable_string(Some(value));
    })
}

/// The bytes of a snapshot file, and the offset after its last record.
pub(super) fn snapshot(records: &[Bytes], now: UnixMillis) -> (Vec<u8>, i64) {
    let mut bytes = Vec::new();
    let mut offset = Offset(0);
    let mut append = |batch: &mut BatchBuilder, count: usize| {
        batch.base_offset(offset).leader_epoch(LeaderEpoch(EPOCH));
        bytes.extend_from_slice(&batch.build());
        offset = Offset(offset.0 + i64::try_from(count).expect("memory holds fewer"));
    };
    append(&mut control(SNAPSHOT_HEADER, Some(now), now), 1);
    for chunk in records.chunks(BATCH_RECORDS) {
        let mut batch = BatchBuilder::new();
        for value in chunk {
            batch.push(now, None, Some(value));
        }
        append(&mut batch, chunk.len());
    }
    append(&mut control(SNAPSHOT_FOOTER, None, now), 1);
    (bytes, offset.0)
}

/// A control batch; the header says how old the newest record in the snapshot is.
fn control(kind: i16, newest: Option<UnixMillis>, now: UnixMillis) -> BatchBuilder {
    let mut key = FieldWriter::value(0, false);
    key.i16(kind);
    let mut value = FieldWriter::value(0, true);
    if let Some(newest) = newest {
        value.i64(newest.0);
    }
    value.varint(0);
    let mut batch = BatchBuilder::new();
    batch.control().push(now, Some(&key.finish()), Some(&value.finish()));
    batch
}
