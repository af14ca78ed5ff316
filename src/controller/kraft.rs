//! The metadata log of Apache Kafka in KRaft mode, `__cluster_metadata-0` in a data directory: read once when a directory comes
//! from there (`take_over.rs`), written when one goes there (`export.rs`).
//!
//! Owns the names of its files and the records in them that say what Ottla has too: topics, their partitions, configs,
//! features, producer ids.
//!
//! A segment holds record batches like any other; a snapshot too, between two control batches. A value begins with three
//! varints, which are the version of this frame, the type of the record and its version, and goes on with the fields of that
//! version.
//!
//! Source: the schemas in `metadata/src/main/resources/common/metadata`, `MetadataBatchLoader`, `TopicDelta`,
//! `PartitionRegistration.merge`, `RecordsSnapshotWriter` and `KafkaMetadataLog` of Apache Kafka 4.3.

mod export;
mod take_over;
#[cfg(test)]
mod tests;

pub use export::{ExportError, Exported, export};
pub(super) use take_over::take_over;

/// The types of the records.
mod kind {
    pub(super) const TOPIC: u32 = 2;
    pub(super) const PARTITION: u32 = 3;
    pub(super) const CONFIG: u32 = 4;
    pub(super) const PARTITION_CHANGE: u32 = 5;
    pub(super) const REMOVE_TOPIC: u32 = 9;
    pub(super) const FEATURE_LEVEL: u32 = 12;
    pub(super) const PRODUCER_IDS: u32 = 15;
    pub(super) const BEGIN_TRANSACTION: u32 = 23;
    pub(super) const END_TRANSACTION: u32 = 24;
    pub(super) const ABORT_TRANSACTION: u32 = 25;
}

/// The version of the frame around each record.
const FRAME_VERSION: u32 = 1;

/// Name of the snapshot that ends before offset `end`, in the epoch of the quorum's leader.
fn snapshot_name(end: i64, epoch: i32) -> String {
    format!("{end:020}-{epoch:010}.checkpoint")
}

/// The offset in the name of a snapshot; none if it is of another file.
fn snapshot_end(name: &str) -> Option<i64> {
    let (end, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    epoch.parse::<i32>().ok()?;
    end.parse().ok()
}
