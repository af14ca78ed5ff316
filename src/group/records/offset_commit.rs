//! Committed offsets.
//!
//! Key, types 0 and 1 (type 0 is of offsets that a broker before 0.9 kept; the value is the same):
//!
//! | field | type |
//! |---|---|
//! | group | string |
//! | topic | string |
//! | partition | i32 |
//!
//! Value, versions 0 to 4 (4 is flexible). Written is 4, or 1 if the client set when the offset expires:
//!
//! | field | type | versions |
//! |---|---|---|
//! | offset | i64 | |
//! | leader epoch | i32 | 3 on |
//! | metadata | string | |
//! | commit timestamp | i64 | |
//! | expire timestamp | i64 | 1 |
//! | topic id | uuid | tag 0 in 4 |

use std::sync::Arc;

use bytes::Bytes;

use crate::coordinator::CoordinatorRecord;
use crate::group::GroupId;
use crate::model::{Offset, PartitionId, TopicId, UnixMillis};
use crate::wire::fields::{FieldReader, FieldWriter, SchemaError};

const NAME: &str = "OffsetCommitValue";
const TYPE: i16 = 1;
const VERSION_MAX: i16 = 4;
const FLEXIBLE_FROM: i16 = 4;
const TOPIC_ID_TAG: u32 = 0;

/// Whose offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetKey {
    /// The group.
    pub group: GroupId,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionId,
}

/// An offset as it was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset to go on from.
    pub offset: Offset,
    /// The epoch of the last record that was read; -1 if not known.
    pub leader_epoch: i32,
    /// What the client wants to remember.
    pub metadata: Box<str>,
    /// When it was committed.
    pub committed_at: UnixMillis,
    /// When it expires, if the client set that.
    pub expires_at: Option<UnixMillis>,
    /// The topic's id; zero if it was not known.
    pub topic_id: TopicId,
}

impl OffsetKey {
    pub(super) fn read(key: &mut FieldReader<'_>) -> Result<Self, SchemaError> {
        Ok(Self {
            group: key.string("group")?.into(),
            topic: key.string("topic")?.into(),
            partition: PartitionId(key.i32("partition")?),
        })
    }

    fn encode(&self) -> Bytes {
        let mut writer = FieldWriter::key(TYPE);
        writer.string(self.group.as_str());
        writer.string(&self.topic);
        writer.i32(self.partition.0);
        writer.finish()
    }

    /// The record that this offset was committed.
    #[must_use]
    pub fn record(&self, value: &CommittedOffset) -> CoordinatorRecord {
        CoordinatorRecord { key: self.encode(), value: Some(value.encode()) }
    }

    /// The record that there is no offset any more.
    #[must_use]
    pub fn tombstone(&self) -> CoordinatorRecord {
        CoordinatorRecord { key: self.encode(), value: None }
    }
}

impl CommittedOffset {
    pub(super) fn decode(bytes: &Bytes) -> Result<Self, SchemaError> {
        let (version, mut reader) = FieldReader::of_value(NAME, bytes, VERSION_MAX, FLEXIBLE_FROM)?;
        let offset = Offset(reader.i64("offset")?);
        let leader_epoch = if version >= 3 { reader.i32("leader epoch")? } else { -1 };
        let metadata = reader.string("metadata")?.into();
        let committed_at = UnixMillis(reader.i64("commit timestamp")?);
        let expires_at = if version == 1 { reader.i64("expire timestamp")? } else { -1 };
        let mut topic_id = TopicId::ZERO;
        reader.tagged_fields(|reader, tag| {
            if tag == TOPIC_ID_TAG {
                topic_id = TopicId(reader.uuid("topic id")?);
            }
            Ok(tag == TOPIC_ID_TAG)
        })?;
        let expires_at = (expires_at != -1).then_some(UnixMillis(expires_at));
        Ok(Self { offset, leader_epoch, metadata, committed_at, expires_at, topic_id })
    }

    fn encode(&self) -> Bytes {
        match self.expires_at {
            Some(expires_at) => {
                let mut writer = FieldWriter::value(1, false);
                writer.i64(self.offset.0);
                writer.string(&self.metadata);
                writer.i64(self.committed_at.0);
                writer.i64(expires_at.0);
                writer.finish()
            }
            None => {
                let mut writer = FieldWriter::value(4, true);
                writer.i64(self.offset.0);
                writer.i32(self.leader_epoch);
                writer.string(&self.metadata);
                writer.i64(self.committed_at.0);
                self.encode_tags(&mut writer);
                writer.finish()
            }
        }
    }

    fn encode_tags(&self, writer: &mut FieldWriter) {
        if self.topic_id.is_zero() {
            writer.varint(0);
        } else {
            writer.varint(1);
            writer.varint(TOPIC_ID_TAG);
            writer.varint(16);
            writer.uuid(self.topic_id.0);
        }
    }
}
