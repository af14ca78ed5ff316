//! ListOffsets, versions 1 to 11.
//!
//! | version | request | response |
//! |---|---|---|
//! | 2 | isolation level | throttle time |
//! | 4 | current leader epoch (KIP-320) | leader epoch |
//! | 6 | flexible | flexible |
//! | 7, 8, 9, 11 | one more special timestamp each (KIP-734, 405, 1005, 1023) | |
//! | 10 | timeout (KIP-1075) | |
//!
//! Ours at all versions, since the message crate ends at 10. Unknown tagged fields are not kept.
//! Source: the ListOffsets schemas of Apache Kafka 4.3.1.

use bytes::Bytes;

use super::Text;
use super::codec::{Request, Response};
use super::error::{EncodeError, WireError};
use super::reader::{Read, Reader};
use super::registry::ApiKey;
use super::writer::Writer;
use crate::model::{BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionId};

/// A request for offsets by time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsRequest {
    /// Who asks, -1 for consumers.
    pub replica_id: BrokerId,
    /// 1 makes the latest offset the last stable one, 0 the high watermark. From version 2 on.
    pub isolation_level: i8,
    /// The partitions asked about, by topic.
    pub topics: Vec<ListOffsetsTopic>,
    /// How long to wait for remote storage. From version 10 on.
    pub timeout_ms: i32,
}

/// The partitions asked about of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsTopic {
    /// The topic's name.
    pub name: Text,
    /// The partitions.
    pub partitions: Vec<ListOffsetsPartition>,
}

/// What is asked about one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListOffsetsPartition {
    /// The partition.
    pub partition_index: PartitionId,
    /// The leader epoch that the sender knows, -1 if none. From version 4 on.
    pub current_leader_epoch: LeaderEpoch,
    /// Milliseconds since 1970, or a negative number that names a special offset.
    pub timestamp: i64,
}

/// The offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsResponse {
    /// For how long the client's quota holds it back. From version 2 on.
    pub throttle_time_ms: i32,
    /// The offsets, by topic.
    pub topics: Vec<ListOffsetsTopicResponse>,
}

/// The offsets of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsTopicResponse {
    /// The topic's name.
    pub name: Text,
    /// The offsets, by partition.
    pub partitions: Vec<ListOffsetsPartitionResponse>,
}

/// The offset found in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListOffsetsPartitionResponse {
    /// The partition.
    pub partition_index: PartitionId,
    /// Success, or why there is no offset.
    pub error_code: ErrorCode,
    /// Time of the record at the offset, -1 if none.
    pub timestamp: i64,
    /// The offset, -1 if none.
    pub offset: Offset,
    /// Leader epoch of the record at the offset, -1 if none. From version 4 on.
    pub leader_epoch: LeaderEpoch,
}

impl Request for ListOffsetsRequest {
    const KEY: ApiKey = ApiKey::ListOffsets;
    const NAME: &'static str = "ListOffsetsRequest";
    type Response = ListOffsetsResponse;

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_request::<Self>(&body, version);
        let replica_id = BrokerId(reader.i32("replica_id")?);
        let mut isolation_level = 0;
        if version >= ISOLATION_SINCE {
            isolation_level = reader.i8("isolation_level")?;
        }
        let topics = reader.array("topics", |reader| ListOffsetsTopic::read(reader, version))?;
        let mut timeout_ms = 0;
        if version >= TIMEOUT_SINCE {
            timeout_ms = reader.i32("timeout_ms")?;
        }
        reader.skip_tagged_fields()?;
        Ok(Self { replica_id, isolation_level, topics, timeout_ms })
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writer.i32(self.replica_id.0);
        if version >= ISOLATION_SINCE {
            writer.i8(self.isolation_level);
        }
        writer.array(&self.topics, |writer, topic| topic.write(writer, version));
        if version >= TIMEOUT_SINCE {
            writer.i32(self.timeout_ms);
        }
        writer.no_tagged_fields();
        Ok(())
    }
}

impl ListOffsetsTopic {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let topic = Self {
            name: reader.text("name")?,
            partitions: reader
                .array("partitions", |reader| ListOffsetsPartition::read(reader, version))?,
        };
        reader.skip_tagged_fields()?;
        Ok(topic)
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.text(&self.name);
        writer.array(&self.partitions, |writer, partition| {
            writer.i32(partition.partition_index.0);
            if version >= LEADER_EPOCH_SINCE {
                writer.i32(partition.current_leader_epoch.0);
            }
            writer.i64(partition.timestamp);
            writer.no_tagged_fields();
        });
        writer.no_tagged_fields();
    }
}

impl ListOffsetsPartition {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let partition_index = PartitionId(reader.i32("partition_index")?);
        let mut current_leader_epoch = LeaderEpoch::UNKNOWN;
        if version >= LEADER_EPOCH_SINCE {
            current_leader_epoch = LeaderEpoch(reader.i32("current_leader_epoch")?);
        }
        let timestamp = reader.i64("timestamp")?;
        reader.skip_tagged_fields()?;
        Ok(Self { partition_index, current_leader_epoch, timestamp })
    }
}

impl Response for ListOffsetsResponse {
    const KEY: ApiKey = ApiKey::ListOffsets;
    const NAME: &'static str = "ListOffsetsResponse";

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_response::<Self>(&body, version);
        let mut throttle_time_ms = 0;
        if version >= THROTTLE_SINCE {
            throttle_time_ms = reader.i32("throttle_time_ms")?;
        }
        let topics =
            reader.array("topics", |reader| ListOffsetsTopicResponse::read(reader, version))?;
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

impl ListOffsetsTopicResponse {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let topic = Self {
            name: reader.text("name")?,
            partitions: reader.array("partitions", |reader| {
                ListOffsetsPartitionResponse::read(reader, version)
            })?,
        };
        reader.skip_tagged_fields()?;
        Ok(topic)
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.text(&self.name);
        writer.array(&self.partitions, |writer, partition| {
            writer.i32(partition.partition_index.0);
            writer.error_code(partition.error_code);
            writer.i64(partition.timestamp);
            writer.i64(partition.offset.0);
            if version >= LEADER_EPOCH_SINCE {
                writer.i32(partition.leader_epoch.0);
            }
            writer.no_tagged_fields();
        });
        writer.no_tagged_fields();
    }
}

impl ListOffsetsPartitionResponse {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let mut partition = Self {
            partition_index: PartitionId(reader.i32("partition_index")?),
            error_code: reader.error_code("error_code")?,
            timestamp: reader.i64("timestamp")?,
            offset: Offset(reader.i64("offset")?),
            leader_epoch: LeaderEpoch::UNKNOWN,
        };
        if version >= LEADER_EPOCH_SINCE {
            partition.leader_epoch = LeaderEpoch(reader.i32("leader_epoch")?);
        }
        reader.skip_tagged_fields()?;
        Ok(partition)
    }
}

const ISOLATION_SINCE: i16 = 2;
const THROTTLE_SINCE: i16 = 2;
const LEADER_EPOCH_SINCE: i16 = 4;
const TIMEOUT_SINCE: i16 = 10;
