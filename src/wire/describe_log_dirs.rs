//! DescribeLogDirs, versions 1 to 5.
//!
//! | version | request | response |
//! |---|---|---|
//! | 2 | flexible | flexible |
//! | 3 | | error code of the whole |
//! | 4 | | total and usable bytes (KIP-827) |
//! | 5 | | is cordoned (KIP-1066) |
//!
//! Ours at all versions, since the message crate ends at 4. Unknown tagged fields are not kept.
//! Source: the DescribeLogDirs schemas of Apache Kafka 4.3.1.

use bytes::Bytes;

use super::Text;
use super::codec::{Request, Response};
use super::error::{EncodeError, WireError};
use super::reader::{Read, Reader};
use super::registry::ApiKey;
use super::writer::Writer;
use crate::model::{ErrorCode, PartitionId};

/// A request for what the log directories hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeLogDirsRequest {
    /// The topics to tell about; `None` for all.
    pub topics: Option<Vec<DescribableLogDirTopic>>,
}

/// The partitions to tell about of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribableLogDirTopic {
    /// The topic's name.
    pub topic: Text,
    /// The partitions.
    pub partitions: Vec<PartitionId>,
}

/// What the log directories hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeLogDirsResponse {
    /// For how long the client's quota holds it back.
    pub throttle_time_ms: i32,
    /// Trouble with the request as a whole. From version 3 on.
    pub error_code: ErrorCode,
    /// The directories.
    pub results: Vec<LogDir>,
}

/// One log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    /// Success, or what is wrong with the directory.
    pub error_code: ErrorCode,
    /// Its absolute path.
    pub log_dir: Text,
    /// The topics in it.
    pub topics: Vec<LogDirTopic>,
    /// Size of its volume in bytes, -1 if unknown. From version 4 on.
    pub total_bytes: i64,
    /// Free bytes of its volume, -1 if unknown. From version 4 on.
    pub usable_bytes: i64,
    /// Whether no new replica may be placed in it. From version 5 on.
    pub is_cordoned: bool,
}

/// One topic in a log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirTopic {
    /// The topic's name.
    pub name: Text,
    /// Its partitions.
    pub partitions: Vec<LogDirPartition>,
}

/// One partition in a log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogDirPartition {
    /// The partition.
    pub partition_index: PartitionId,
    /// Size of its segments in bytes.
    pub partition_size: i64,
    /// Records by which its end is behind the high watermark, or behind the current replica if it is a future one.
    pub offset_lag: i64,
    /// Whether it is on its way into this directory and will replace the current replica.
    pub is_future_key: bool,
}

impl Request for DescribeLogDirsRequest {
    const KEY: ApiKey = ApiKey::DescribeLogDirs;
    const NAME: &'static str = "DescribeLogDirsRequest";
    type Response = DescribeLogDirsResponse;

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_request::<Self>(&body, version);
        let topics = reader.nullable_array("topics", DescribableLogDirTopic::read)?;
        reader.skip_tagged_fields()?;
        Ok(Self { topics })
    }

    fn write(&self, writer: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        writer.nullable_array(self.topics.as_deref(), |writer, topic| {
            writer.text(&topic.topic);
            writer.array(&topic.partitions, |writer, partition| writer.i32(partition.0));
            writer.no_tagged_fields();
        });
        writer.no_tagged_fields();
        Ok(())
    }
}

impl DescribableLogDirTopic {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let topic = Self {
            topic: reader.text("topic")?,
            partitions: reader.array("partitions", |reader| reader.i32("").map(PartitionId))?,
        };
        reader.skip_tagged_fields()?;
        Ok(topic)
    }
}

impl Response for DescribeLogDirsResponse {
    const KEY: ApiKey = ApiKey::DescribeLogDirs;
    const NAME: &'static str = "DescribeLogDirsResponse";

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_response::<Self>(&body, version);
        let throttle_time_ms = reader.i32("throttle_time_ms")?;
        let mut error_code = ErrorCode::None;
        if version >= ERROR_CODE_SINCE {
            error_code = reader.error_code("error_code")?;
        }
        let results = reader.array("results", |reader| LogDir::read(reader, version))?;
        reader.skip_tagged_fields()?;
        Ok(Self { throttle_time_ms, error_code, results })
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writer.i32(self.throttle_time_ms);
        if version >= ERROR_CODE_SINCE {
            writer.error_code(self.error_code);
        }
        writer.array(&self.results, |writer, log_dir| log_dir.write(writer, version));
        writer.no_tagged_fields();
        Ok(())
    }
}

impl LogDir {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let mut log_dir = Self {
            error_code: reader.error_code("error_code")?,
            log_dir: reader.text("log_dir")?,
            topics: reader.array("topics", LogDirTopic::read)?,
            total_bytes: -1,
            usable_bytes: -1,
            is_cordoned: false,
        };
        if version >= VOLUME_SINCE {
            log_dir.total_bytes = reader.i64("total_bytes")?;
            log_dir.usable_bytes = reader.i64("usable_bytes")?;
        }
        if version >= CORDONED_SINCE {
            log_dir.is_cordoned = reader.bool("is_cordoned")?;
        }
        reader.skip_tagged_fields()?;
        Ok(log_dir)
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.error_code(self.error_code);
        writer.text(&self.log_dir);
        writer.array(&self.topics, |writer, topic| {
            writer.text(&topic.name);
            writer.array(&topic.partitions, |writer, partition| {
                writer.i32(partition.partition_index.0);
                writer.i64(partition.partition_size);
                writer.i64(partition.offset_lag);
                writer.bool(partition.is_future_key);
                writer.no_tagged_fields();
            });
            writer.no_tagged_fields();
        });
        if version >= VOLUME_SINCE {
            writer.i64(self.total_bytes);
            writer.i64(self.usable_bytes);
        }
        if version >= CORDONED_SINCE {
            writer.bool(self.is_cordoned);
        }
        writer.no_tagged_fields();
    }
}

impl LogDirTopic {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let topic = Self {
            name: reader.text("name")?,
            partitions: reader.array("partitions", LogDirPartition::read)?,
        };
        reader.skip_tagged_fields()?;
        Ok(topic)
    }
}

impl LogDirPartition {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let partition = Self {
            partition_index: PartitionId(reader.i32("partition_index")?),
            partition_size: reader.i64("partition_size")?,
            offset_lag: reader.i64("offset_lag")?,
            is_future_key: reader.bool("is_future_key")?,
        };
        reader.skip_tagged_fields()?;
        Ok(partition)
    }
}

const ERROR_CODE_SINCE: i16 = 3;
const VOLUME_SINCE: i16 = 4;
const CORDONED_SINCE: i16 = 5;
