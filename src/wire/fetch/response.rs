//! The Fetch response.

use bytes::Bytes;

use super::{LOG_START_SINCE, NODE_ENDPOINTS_SINCE, RACKS_SINCE, SESSIONS_SINCE, TOPIC_IDS_SINCE};
use crate::model::{BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionId, ProducerId, TopicId};
use crate::wire::Text;
use crate::wire::codec::Response;
use crate::wire::error::{EncodeError, WireError};
use crate::wire::leader::{LeaderIdAndEpoch, NodeEndpoint};
use crate::wire::reader::{Read, Reader};
use crate::wire::registry::ApiKey;
use crate::wire::writer::{TaggedFields, Writer};

/// The fetched records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponse {
    /// For how long the client's quota holds it back.
    pub throttle_time_ms: i32,
    /// Trouble with the session. From version 7 on.
    pub error_code: ErrorCode,
    /// The session, 0 for none. From version 7 on.
    pub session_id: i32,
    /// What was fetched; in a running session only partitions with something to say.
    pub topics: Vec<FetchTopicResponse>,
    /// Where the leaders named in the partitions are. From version 16 on; empty if none is named.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// What was fetched from one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopicResponse {
    /// The topic's name; not sent from version 13 on.
    pub topic: Text,
    /// The topic's id; not sent up to version 12.
    pub topic_id: TopicId,
    /// The partitions.
    pub partitions: Vec<FetchPartitionResponse>,
}

/// What was fetched from one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartitionResponse {
    /// The partition.
    pub partition_index: PartitionId,
    /// Success, or why there are no records.
    pub error_code: ErrorCode,
    /// Records below this offset are committed.
    pub high_watermark: Offset,
    /// Transactions below this offset are decided. -1 if unknown.
    pub last_stable_offset: Offset,
    /// First offset of the log, -1 if unknown. From version 5 on.
    pub log_start_offset: Offset,
    /// Where a follower's log parts from the leader's. From version 12 on.
    pub diverging_epoch: Option<EpochEndOffset>,
    /// The leader to turn to. From version 12 on.
    pub current_leader: Option<LeaderIdAndEpoch>,
    /// The snapshot to begin with, for replicas of the metadata log. From version 12 on.
    pub snapshot_id: Option<SnapshotId>,
    /// Transactions to hide; `None` when all records are to be seen.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// The replica that a consumer should rather ask, -1 for none. From version 11 on.
    pub preferred_read_replica: BrokerId,
    /// Record batches in pieces, sent uncopied. No piece at all is sent as zero bytes, never as null: librdkafka takes
    /// null for a broken response. A null received reads as no piece.
    pub records: Vec<Bytes>,
}

/// The end of the last epoch that two logs have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEndOffset {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Its end.
    pub end_offset: Offset,
}

/// Names a snapshot of the metadata log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotId {
    /// The first offset that it does not contain.
    pub end_offset: Offset,
    /// Epoch of its last record.
    pub epoch: LeaderEpoch,
}

/// An aborted transaction among the fetched records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: ProducerId,
    /// Its first offset in this partition.
    pub first_offset: Offset,
}

impl Response for FetchResponse {
    const KEY: ApiKey = ApiKey::Fetch;
    const NAME: &'static str = "FetchResponse";

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_response::<Self>(&body, version);
        let mut response = Self {
            throttle_time_ms: reader.i32("throttle_time_ms")?,
            error_code: ErrorCode::None,
            session_id: 0,
            topics: Vec::new(),
            node_endpoints: Vec::new(),
        };
        if version >= SESSIONS_SINCE {
            response.error_code = reader.error_code("error_code")?;
            response.session_id = reader.i32("session_id")?;
        }
        response.topics =
            reader.array("responses", |reader| FetchTopicResponse::read(reader, version))?;
        reader.tagged_fields(|reader, tag| {
            let known = version >= NODE_ENDPOINTS_SINCE && tag == TAG_NODE_ENDPOINTS;
            if known {
                response.node_endpoints = reader.array("node_endpoints", NodeEndpoint::read)?;
            }
            Ok(known)
        })?;
        Ok(response)
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writer.i32(self.throttle_time_ms);
        if version >= SESSIONS_SINCE {
            writer.error_code(self.error_code);
            writer.i32(self.session_id);
        }
        writer.array(&self.topics, |writer, topic| topic.write(writer, version));
        writer.tagged_fields(|tagged| {
            if version >= NODE_ENDPOINTS_SINCE && !self.node_endpoints.is_empty() {
                tagged.add(TAG_NODE_ENDPOINTS, |writer| {
                    writer.array(&self.node_endpoints, |writer, node| node.write(writer));
                });
            }
        });
        Ok(())
    }
}

impl FetchTopicResponse {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let (topic, topic_id) = reader.topic("topic", version >= TOPIC_IDS_SINCE)?;
        let partitions =
            reader.array("partitions", |reader| FetchPartitionResponse::read(reader, version))?;
        reader.skip_tagged_fields()?;
        Ok(Self { topic, topic_id, partitions })
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.topic(&self.topic, self.topic_id, version >= TOPIC_IDS_SINCE);
        writer.array(&self.partitions, |writer, partition| {
            partition.write(writer, version);
        });
        writer.no_tagged_fields();
    }
}

impl FetchPartitionResponse {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let mut partition = Self {
            partition_index: PartitionId(reader.i32("partition_index")?),
            error_code: reader.error_code("error_code")?,
            high_watermark: Offset(reader.i64("high_watermark")?),
            last_stable_offset: Offset(reader.i64("last_stable_offset")?),
            log_start_offset: Offset(-1),
            diverging_epoch: None,
            current_leader: None,
            snapshot_id: None,
            aborted_transactions: None,
            preferred_read_replica: BrokerId(-1),
            records: Vec::new(),
        };
        if version >= LOG_START_SINCE {
            partition.log_start_offset = Offset(reader.i64("log_start_offset")?);
        }
        partition.aborted_transactions =
            reader.nullable_array("aborted_transactions", AbortedTransaction::read)?;
        if version >= RACKS_SINCE {
            partition.preferred_read_replica = BrokerId(reader.i32("preferred_read_replica")?);
        }
        if let Some(records) = reader.nullable_bytes("records")?
            && !records.is_empty()
        {
            reader.charge("records", size_of::<Bytes>())?;
            partition.records = vec![records];
        }
        reader.tagged_fields(|reader, tag| partition.read_tagged(reader, tag))?;
        Ok(partition)
    }

    fn read_tagged(&mut self, reader: &mut Reader<'_>, tag: u32) -> Read<bool> {
        match tag {
            TAG_DIVERGING_EPOCH => self.diverging_epoch = Some(EpochEndOffset::read(reader)?),
            TAG_CURRENT_LEADER => self.current_leader = Some(LeaderIdAndEpoch::read(reader)?),
            TAG_SNAPSHOT_ID => self.snapshot_id = Some(SnapshotId::read(reader)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.i32(self.partition_index.0);
        writer.error_code(self.error_code);
        writer.i64(self.high_watermark.0);
        writer.i64(self.last_stable_offset.0);
        if version >= LOG_START_SINCE {
            writer.i64(self.log_start_offset.0);
        }
        let aborted = self.aborted_transactions.as_deref();
        // There may be thousands, a few bytes each.
        writer.buffer().reserve(aborted.map_or(0, <[_]>::len) * ABORTED_BYTES);
        writer.nullable_array(aborted, |writer, aborted| {
            let fields = [aborted.producer_id.0, aborted.first_offset.0].map(i64::to_be_bytes);
            writer.buffer().extend_from_slice(fields.as_flattened());
            writer.no_tagged_fields();
        });
        if version >= RACKS_SINCE {
            writer.i32(self.preferred_read_replica.0);
        }
        writer.records(&self.records);
        writer.tagged_fields(|tagged| self.write_tagged(tagged));
    }

    fn write_tagged(&self, tagged: &mut TaggedFields<'_>) {
        if let Some(diverging) = self.diverging_epoch {
            tagged.add(TAG_DIVERGING_EPOCH, |writer| {
                writer.i32(diverging.epoch.0);
                writer.i64(diverging.end_offset.0);
                writer.no_tagged_fields();
            });
        }
        if let Some(leader) = self.current_leader {
            tagged.add(TAG_CURRENT_LEADER, |writer| leader.write(writer));
        }
        if let Some(snapshot) = self.snapshot_id {
            tagged.add(TAG_SNAPSHOT_ID, |writer| {
                writer.i64(snapshot.end_offset.0);
                writer.i32(snapshot.epoch.0);
                writer.no_tagged_fields();
            });
        }
    }
}

impl EpochEndOffset {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let diverging = Self {
            epoch: LeaderEpoch(reader.i32("epoch")?),
            end_offset: Offset(reader.i64("end_offset")?),
        };
        reader.skip_tagged_fields()?;
        Ok(diverging)
    }
}

impl SnapshotId {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let snapshot = Self {
            end_offset: Offset(reader.i64("end_offset")?),
            epoch: LeaderEpoch(reader.i32("epoch")?),
        };
        reader.skip_tagged_fields()?;
        Ok(snapshot)
    }
}

impl AbortedTransaction {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let aborted = Self {
            producer_id: ProducerId(reader.i64("producer_id")?),
            first_offset: Offset(reader.i64("first_offset")?),
        };
        reader.skip_tagged_fields()?;
        Ok(aborted)
    }
}

/// Bytes of an aborted transaction, its tagged fields included.
const ABORTED_BYTES: usize = 2 * size_of::<i64>() + 1;
/// Tag in the response.
const TAG_NODE_ENDPOINTS: u32 = 0;
/// Tags in a partition.
const TAG_DIVERGING_EPOCH: u32 = 0;
const TAG_CURRENT_LEADER: u32 = 1;
const TAG_SNAPSHOT_ID: u32 = 2;
