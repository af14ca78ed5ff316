//! The records of `__consumer_offsets`: keys and values as Apache Kafka writes them.
//!
//! Owns bytes and nothing else: one file per family of records, with its schemas as byte tables. Every version that
//! Apache Kafka 4.3.1 reads is read; written is the version that it writes. Source: the schemas in its group coordinator
//! (`GroupMetadataValue` and so on).
//!
//! A key begins with the type of the record, a value with the version of its schema, each in two bytes.
//!
//! **Invariants:** bytes that are no record give an error that names record, field and position, never a panic; what is
//! read shares no memory with the log it came from.

pub mod consumer;
pub mod group_metadata;
pub mod offset_commit;

use crate::coordinator::CoordinatorRecord;

pub use crate::wire::fields::SchemaError;
pub use consumer::ConsumerRecord;
pub use group_metadata::GroupMetadata;
pub use offset_commit::{CommittedOffset, OffsetKey};

use super::GroupId;
use crate::wire::fields::FieldReader;

/// What a record says. No value stands for a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord {
    /// An offset was committed, or is gone.
    OffsetCommit {
        /// Whose offset.
        key: OffsetKey,
        /// The offset.
        value: Option<CommittedOffset>,
    },
    /// A classic group reached a new generation, or is gone.
    GroupMetadata {
        /// The group.
        key: GroupId,
        /// Its members.
        value: Option<GroupMetadata>,
    },
    /// Something about a consumer group.
    Consumer(GroupId, ConsumerRecord),
}

/// Reads a record.
///
/// # Errors
/// If it is of no known type or version, or its bytes do not fit.
pub fn decode(record: &CoordinatorRecord) -> Result<GroupRecord, SchemaError> {
    let mut key = FieldReader::new("record key", &record.key);
    let value = record.value.as_ref();
    match key.i16("type")? {
        0 | 1 => Ok(GroupRecord::OffsetCommit {
            key: OffsetKey::read(&mut key)?,
            value: value.map(CommittedOffset::decode).transpose()?,
        }),
        2 => Ok(GroupRecord::GroupMetadata {
            key: group_metadata::read_key(&mut key)?,
            value: value.map(GroupMetadata::decode).transpose()?,
        }),
        record_type => ConsumerRecord::decode(record_type, &mut key, value)
            .map(|(group, record)| GroupRecord::Consumer(group, record)),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod consumer_tests;
