//! OffsetCommit, versions 2 to 10.
//!
//! | version | request | response |
//! |---|---|---|
//! | 3 | | throttle time |
//! | 5 | the retention time goes | |
//! | 6 | leader epochs (KIP-320) | |
//! | 7 | static members (KIP-345) | |
//! | 8 | flexible | flexible |
//! | 9 | the generation may be a member epoch (KIP-848) | |
//! | 10 | topic ids instead of names | topic ids instead of names |
//!
//! Ours at all versions, since the message crate ends at 9. Unknown tagged fields are not kept.
//! Source: the OffsetCommit schemas of Apache Kafka 4.3.1.

use bytes::Bytes;

use super::Text;
use super::codec::{Request, Response};
use super::error::{EncodeError, WireError};
use super::reader::{Read, Reader};
use super::registry::ApiKey;
use super::writer::Writer;
use crate::model::{ErrorCode, Offset, PartitionId, TopicId};

/// A request to remember how far a group has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequest {
    /// The group.
    pub group_id: Text,
    /// The generation of a classic group or the epoch of the member, -1 for nobody in particular.
    pub generation_id_or_member_epoch: i32,
    /// The member, empty for nobody in particular.
    pub member_id: Text,
    /// The instance of a static member. From version 7 on.
    pub group_instance_id: Option<Text>,
    /// For how long to keep the offsets, -1 for as long as the broker does. Up to version 4.
    pub retention_time_ms: i64,
    /// The offsets, by topic.
    pub topics: Vec<OffsetCommitRequestTopic>,
}

/// The offsets of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequestTopic {
    /// The topic's name, up to version 9; then empty.
    pub name: Text,
    /// The topic's id, from version 10 on; else zero.
    pub topic_id: TopicId,
    /// The offsets, by partition.
    pub partitions: Vec<OffsetCommitRequestPartition>,
}

/// The offset of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequestPartition {
    /// The partition.
    pub partition_index: PartitionId,
    /// The offset to go on from.
    pub committed_offset: Offset,
    /// Leader epoch of the last record that was read, -1 if not known. From version 6 on.
    pub committed_leader_epoch: i32,
    /// What the client wants to remember with it.
    pub committed_metadata: Option<Text>,
}

/// What became of the offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitResponse {
    /// For how long the client's quota holds it back. From version 3 on.
    pub throttle_time_ms: i32,
    /// The outcome, by topic.
    pub topics: Vec<OffsetCommitResponseTopic>,
}

/// What became of the offsets of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitResponseTopic {
    /// The topic's name, up to version 9; then empty.
    pub name: Text,
    /// The topic's id, from version 10 on; else zero.
    pub topic_id: TopicId,
    /// The outcome, by partition.
    pub partitions: Vec<OffsetCommitResponsePartition>,
}

/// What became of the offset of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetCommitResponsePartition {
    /// The partition.
    pub partition_index: PartitionId,
    /// Success, or why the offset was not committed.
    pub error_code: ErrorCode,
}

impl Request for OffsetCommitRequest {
    const KEY: ApiKey = ApiKey::OffsetCommit;
    const NAME: &'static str = "OffsetCommitRequest";
    type Response = OffsetCommitResponse;

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_request::<Self>(&body, version);
        let group_id = reader.text("group_id")?;
        let generation_id_or_member_epoch = reader.i32("generation_id_or_member_epoch")?;
        let member_id = reader.text("member_id")?;
        let mut group_instance_id = None;
        if version >= INSTANCE_SINCE {
            group_instance_id = reader.nullable_text("group_instance_id")?;
        }
        let mut retention_time_ms = -1;
        if version <= RETENTION_UNTIL {
            retention_time_ms = reader.i64("retention_time_ms")?;
        }
        let topics =
            reader.array("topics", |reader| OffsetCommitRequestTopic::read(reader, version))?;
        reader.skip_tagged_fields()?;
        Ok(Self {
            group_id,
            generation_id_or_member_epoch,
            member_id,
            group_instance_id,
            retention_time_ms,
            topics,
        })
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writer.text(&self.group_id);
        writer.i32(self.generation_id_or_member_epoch);
        writer.text(&self.member_id);
        if version >= INSTANCE_SINCE {
            writer.nullable_text(self.group_instance_id.as_deref());
        }
        if version <= RETENTION_UNTIL {
            writer.i64(self.retention_time_ms);
        }
        writer.array(&self.topics, |writer, topic| topic.write(writer, version));
        writer.no_tagged_fields();
        Ok(())
    }
}

impl OffsetCommitRequestTopic {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let (name, topic_id) = reader.topic("name", version >= TOPIC_IDS_SINCE)?;
        let partitions = reader
            .array("partitions", |reader| OffsetCommitRequestPartition::read(reader, version))?;
        reader.skip_tagged_fields()?;
        Ok(Self { name, topic_id, partitions })
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.topic(&self.name, self.topic_id, version >= TOPIC_IDS_SINCE);
        writer.array(&self.partitions, |writer, partition| {
            writer.i32(partition.partition_index.0);
            writer.i64(partition.committed_offset.0);
            if version >= LEADER_EPOCH_SINCE {
                writer.i32(partition.committed_leader_epoch);
            }
            writer.nullable_text(partition.committed_metadata.as_deref());
            writer.no_tagged_fields();
        });
        writer.no_tagged_fields();
    }
}

impl OffsetCommitRequestPartition {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let partition_index = PartitionId(reader.i32("partition_index")?);
        let committed_offset = Offset(reader.i64("committed_offset")?);
        let mut committed_leader_epoch = -1;
        if version >= LEADER_EPOCH_SINCE {
            committed_leader_epoch = reader.i32("committed_leader_epoch")?;
        }
        let committed_metadata = reader.nullable_text("committed_metadata")?;
        reader.skip_tagged_fields()?;
        Ok(Self { partition_index, committed_offset, committed_leader_epoch, committed_metadata })
    }
}

impl Response for OffsetCommitResponse {
    const KEY: ApiKey = ApiKey::OffsetCommit;
    const NAME: &'static str = "OffsetCommitResponse";

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_response::<Self>(&body, version);
        let mut throttle_time_ms = 0;
        if version >= THROTTLE_SINCE {
            throttle_time_ms = reader.i32("throttle_time_ms")?;
        }
        let topics =
            reader.array("topics", |reader| OffsetCommitResponseTopic::read(reader, version))?;
        reader.skip_tagged_fields()?;
        Ok(Self { throttle_time_ms, topics })
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if version >= THROTTLE_SINCE {
            writer.i32(self.throttle_time_ms);
        }
        writer.array(&self.topics, |writer, topic| topic.write(writer, version));
        writer.no_tagged_fields();
        Ok(())
    }
}

impl OffsetCommitResponseTopic {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let (name, topic_id) = reader.topic("name", version >= TOPIC_IDS_SINCE)?;
        let partitions = reader.array("partitions", OffsetCommitResponsePartition::read)?;
        reader.skip_tagged_fields()?;
        Ok(Self { name, topic_id, partitions })
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.topic(&self.name, self.topic_id, version >= TOPIC_IDS_SINCE);
        writer.array(&self.partitions, |writer, partition| {
            writer.i32(partition.partition_index.0);
            writer.error_code(partition.error_code);
            writer.no_tagged_fields();
        });
        writer.no_tagged_fields();
    }
}

impl OffsetCommitResponsePartition {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let partition = Self {
            partition_index: PartitionId(reader.i32("partition_index")?),
            error_code: reader.error_code("error_code")?,
        };
        reader.skip_tagged_fields()?;
        Ok(partition)
    }
}

const THROTTLE_SINCE: i16 = 3;
const RETENTION_UNTIL: i16 = 4;
const LEADER_EPOCH_SINCE: i16 = 6;
const INSTANCE_SINCE: i16 = 7;
const TOPIC_IDS_SINCE: i16 = 10;
