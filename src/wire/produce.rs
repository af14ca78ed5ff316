//! Produce, versions 3 to 13: records travel from the frame into the log without a copy.
//!
//! | version | request | response |
//! |---|---|---|
//! | 3 | transactional id | |
//! | 5 | | log start offset |
//! | 8 | | record errors and message (KIP-467) |
//! | 9 | flexible | flexible |
//! | 10 | | current leader, node endpoints (KIP-951) |
//! | 13 | topic id instead of name (KIP-516) | likewise |
//!
//! Versions 0 to 2 are listed (`ApiEntry::listed`) but not served. Unknown tagged fields are not kept.
//! Source: the Produce schemas of Apache Kafka 4.3.1.

use bytes::Bytes;

use super::Text;
use super::codec::{Request, Response};
use super::error::{EncodeError, WireError};
use super::leader::{LeaderIdAndEpoch, NodeEndpoint};
use super::reader::{Read, Reader};
use super::registry::ApiKey;
use super::writer::Writer;
use crate::model::{ErrorCode, Offset, PartitionId, TopicId, UnixMillis};

/// A request to append records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequest {
    /// Set by transactional producers.
    pub transactional_id: Option<Text>,
    /// 0: no response; 1: when the leader has it; -1: when all in-sync replicas have it. Others are errors.
    pub acks: i16,
    /// How long to wait for replicas.
    pub timeout_ms: i32,
    /// What to append, by topic.
    pub topics: Vec<ProduceTopic>,
}

/// The records for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceTopic {
    /// The topic's name; empty from version 13 on.
    pub name: Text,
    /// The topic's id; zero up to version 12.
    pub topic_id: TopicId,
    /// What to append, by partition.
    pub partitions: Vec<ProducePartition>,
}

/// The records for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartition {
    /// The partition.
    pub index: PartitionId,
    /// Record batches as the client sent them, unchecked: a slice of the frame.
    pub records: Option<Bytes>,
}

/// What became of the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceResponse {
    /// The outcomes, by topic.
    pub topics: Vec<ProduceTopicResponse>,
    /// For how long the client's quota holds it back.
    pub throttle_time_ms: i32,
    /// Where the leaders named in the outcomes are. From version 10 on; empty if none is named.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// The outcomes for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceTopicResponse {
    /// The topic's name; not sent from version 13 on.
    pub name: Text,
    /// The topic's id; not sent up to version 12.
    pub topic_id: TopicId,
    /// The outcomes, by partition.
    pub partitions: Vec<ProducePartitionResponse>,
}

/// What became of the records for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartitionResponse {
    /// The partition.
    pub index: PartitionId,
    /// Success or the reason of refusal.
    pub error_code: ErrorCode,
    /// Offset given to the first record, -1 on errors.
    pub base_offset: Offset,
    /// The broker's time if it stamped the records, else none.
    pub log_append_time: UnixMillis,
    /// The first offset of the log, -1 on errors. From version 5 on.
    pub log_start_offset: Offset,
    /// The records that were at fault. From version 8 on.
    pub record_errors: Vec<RecordError>,
    /// What was wrong, in words. From version 8 on.
    pub error_message: Option<Text>,
    /// The leader to turn to, with `NOT_LEADER_OR_FOLLOWER`. From version 10 on.
    pub current_leader: Option<LeaderIdAndEpoch>,
}

/// A record that made its batch be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The record's index in its batch.
    pub batch_index: i32,
    /// What is wrong with it, in words.
    pub message: Option<Text>,
}

impl Request for ProduceRequest {
    const KEY: ApiKey = ApiKey::Produce;
    const NAME: &'static str = "ProduceRequest";
    type Response = ProduceResponse;

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_request::<Self>(&body, version);
        let request = Self {
            transactional_id: reader.nullable_text("transactional_id")?,
            acks: reader.i16("acks")?,
            timeout_ms: reader.i32("timeout_ms")?,
            topics: reader.array("topic_data", |reader| ProduceTopic::read(reader, version))?,
        };
        reader.skip_tagged_fields()?;
        Ok(request)
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writer.nullable_text(self.transactional_id.as_deref());
        writer.i16(self.acks);
        writer.i32(self.timeout_ms);
        writer.array(&self.topics, |writer, topic| topic.write(writer, version));
        writer.no_tagged_fields();
        Ok(())
    }
}

impl ProduceTopic {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let (name, topic_id) = reader.topic("name", version >= TOPIC_IDS_SINCE)?;
        let partitions = reader.array("partition_data", ProducePartition::read)?;
        reader.skip_tagged_fields()?;
        Ok(Self { name, topic_id, partitions })
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.topic(&self.name, self.topic_id, version >= TOPIC_IDS_SINCE);
        writer.array(&self.partitions, |writer, partition| {
            writer.i32(partition.index.0);
            writer.nullable_records(partition.records.as_ref());
            writer.no_tagged_fields();
        });
        writer.no_tagged_fields();
    }
}

impl ProducePartition {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let partition = Self {
            index: PartitionId(reader.i32("index")?),
            records: reader.nullable_bytes("records")?,
        };
        reader.skip_tagged_fields()?;
        Ok(partition)
    }
}

impl Response for ProduceResponse {
    const KEY: ApiKey = ApiKey::Produce;
    const NAME: &'static str = "ProduceResponse";

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_response::<Self>(&body, version);
        let topics =
            reader.array("responses", |reader| ProduceTopicResponse::read(reader, version))?;
        let throttle_time_ms = reader.i32("throttle_time_ms")?;
        let mut node_endpoints = Vec::new();
        reader.tagged_fields(|reader, tag| {
            let known = version >= LEADERS_SINCE && tag == TAG_NODE_ENDPOINTS;
            if known {
                node_endpoints = reader.array("node_endpoints", NodeEndpoint::read)?;
            }
            Ok(known)
        })?;
        Ok(Self { topics, throttle_time_ms, node_endpoints })
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writer.array(&self.topics, |writer, topic| topic.write(writer, version));
        writer.i32(self.throttle_time_ms);
        writer.tagged_fields(|tagged| {
            if version >= LEADERS_SINCE && !self.node_endpoints.is_empty() {
                tagged.add(TAG_NODE_ENDPOINTS, |writer| {
                    writer.array(&self.node_endpoints, |writer, node| node.write(writer));
                });
            }
        });
        Ok(())
    }
}

impl ProduceTopicResponse {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let (name, topic_id) = reader.topic("name", version >= TOPIC_IDS_SINCE)?;
        let partitions = reader.array("partition_responses", |reader| {
            ProducePartitionResponse::read(reader, version)
        })?;
        reader.skip_tagged_fields()?;
        Ok(Self { name, topic_id, partitions })
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.topic(&self.name, self.topic_id, version >= TOPIC_IDS_SINCE);
        writer.array(&self.partitions, |writer, partition| {
            partition.write(writer, version);
        });
        writer.no_tagged_fields();
    }
}

impl ProducePartitionResponse {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let mut partition = Self {
            index: PartitionId(reader.i32("index")?),
            error_code: reader.error_code("error_code")?,
            base_offset: Offset(reader.i64("base_offset")?),
            log_append_time: UnixMillis(reader.i64("log_append_time_ms")?),
            log_start_offset: Offset(-1),
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        };
        if version >= LOG_START_SINCE {
            partition.log_start_offset = Offset(reader.i64("log_start_offset")?);
        }
        if version >= RECORD_ERRORS_SINCE {
            partition.record_errors = reader.array("record_errors", RecordError::read)?;
            partition.error_message = reader.nullable_text("error_message")?;
        }
        reader.tagged_fields(|reader, tag| {
            let known = version >= LEADERS_SINCE && tag == TAG_CURRENT_LEADER;
            if known {
                partition.current_leader = Some(LeaderIdAndEpoch::read(reader)?);
            }
            Ok(known)
        })?;
        Ok(partition)
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.i32(self.index.0);
        writer.error_code(self.error_code);
        writer.i64(self.base_offset.0);
        writer.i64(self.log_append_time.0);
        if version >= LOG_START_SINCE {
            writer.i64(self.log_start_offset.0);
        }
        if version >= RECORD_ERRORS_SINCE {
            writer.array(&self.record_errors, |writer, error| {
                writer.i32(error.batch_index);
                writer.nullable_text(error.message.as_deref());
                writer.no_tagged_fields();
            });
            writer.nullable_text(self.error_message.as_deref());
        }
        writer.tagged_fields(|tagged| {
            if let Some(leader) = self.current_leader
                && version >= LEADERS_SINCE
            {
                tagged.add(TAG_CURRENT_LEADER, |writer| leader.write(writer));
            }
        });
    }
}

impl RecordError {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let error = Self {
            batch_index: reader.i32("batch_index")?,
            message: reader.nullable_text("batch_index_error_message")?,
        };
        reader.skip_tagged_fields()?;
        Ok(error)
    }
}

const LOG_START_SINCE: i16 = 5;
const RECORD_ERRORS_SINCE: i16 = 8;
const LEADERS_SINCE: i16 = 10;
const TOPIC_IDS_SINCE: i16 = 13;

/// Tag in a partition's response.
const TAG_CURRENT_LEADER: u32 = 0;
/// Tag in the response.
const TAG_NODE_ENDPOINTS: u32 = 0;
