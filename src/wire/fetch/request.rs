//! The Fetch request.

use bytes::Bytes;
use uuid::Uuid;

use super::{
    DIRECTORY_ID_SINCE, FLEXIBLE_SINCE, FetchResponse, HIGH_WATERMARK_SINCE, LEADER_EPOCH_SINCE,
    LOG_START_SINCE, RACKS_SINCE, REPLICA_STATE_SINCE, SESSIONS_SINCE, TOPIC_IDS_SINCE,
};
use crate::model::{BrokerId, LeaderEpoch, Offset, PartitionId, TopicId};
use crate::wire::Text;
use crate::wire::codec::Request;
use crate::wire::error::{EncodeError, WireError};
use crate::wire::reader::{Read, Reader};
use crate::wire::registry::ApiKey;
use crate::wire::writer::{TaggedFields, Writer};

/// A request for records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// The cluster that the sender belongs to, if it says so. From version 12 on.
    pub cluster_id: Option<Text>,
    /// Who asks. Up to version 14 the replica id alone.
    pub replica_state: ReplicaState,
    /// Longest wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// Bytes of records to wait for.
    pub min_bytes: i32,
    /// Bytes of records to send at most; the first batch is sent whole in any case.
    pub max_bytes: i32,
    /// 1 hides records of open and aborted transactions, 0 does not. Others are errors.
    pub isolation_level: i8,
    /// Session to continue, 0 for none. From version 7 on.
    pub session_id: i32,
    /// 0 begins a session, -1 ends it or goes without, others continue it. From version 7 on.
    pub session_epoch: i32,
    /// What to fetch; in a running session only what is new or changed.
    pub topics: Vec<FetchTopic>,
    /// What to drop from the session. From version 7 on.
    pub forgotten_topics: Vec<ForgottenTopic>,
    /// Rack of the consumer, empty if unknown. From version 11 on.
    pub rack_id: Text,
}

/// Which replica sends the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaState {
    /// The replica, -1 for consumers.
    pub replica_id: BrokerId,
    /// Its broker epoch, -1 if unknown. From version 15 on.
    pub replica_epoch: i64,
}

impl ReplicaState {
    /// What a consumer says.
    pub const CONSUMER: Self = Self { replica_id: BrokerId(-1), replica_epoch: -1 };
}

/// The partitions to fetch of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic {
    /// The topic's name; empty from version 13 on.
    pub topic: Text,
    /// The topic's id; zero up to version 12.
    pub topic_id: TopicId,
    /// The partitions.
    pub partitions: Vec<FetchPartition>,
}

/// What to fetch of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// The partition.
    pub partition: PartitionId,
    /// The leader epoch that the sender knows, -1 if none. From version 9 on.
    pub current_leader_epoch: LeaderEpoch,
    /// Where to begin.
    pub fetch_offset: Offset,
    /// Epoch of the sender's last record, -1 if none. From version 12 on.
    pub last_fetched_epoch: LeaderEpoch,
    /// First offset of a follower's log, -1 for consumers. From version 5 on.
    pub log_start_offset: Offset,
    /// Bytes of records to send at most; the first batch of the response is sent whole in any case.
    pub partition_max_bytes: i32,
    /// Directory of a follower's replica, zero for consumers. From version 17 on.
    pub replica_directory_id: Uuid,
    /// The high watermark that a follower knows; the largest offset if it says nothing. From version 18 on.
    pub high_watermark: Offset,
}

/// Partitions of one topic that leave the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgottenTopic {
    /// The topic's name; empty from version 13 on.
    pub topic: Text,
    /// The topic's id; zero up to version 12.
    pub topic_id: TopicId,
    /// The partitions.
    pub partitions: Vec<PartitionId>,
}

impl Request for FetchRequest {
    const KEY: ApiKey = ApiKey::Fetch;
    const NAME: &'static str = "FetchRequest";
    type Response = FetchResponse;

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_request::<Self>(&body, version);
        let mut replica_state = ReplicaState::CONSUMER;
        if version < REPLICA_STATE_SINCE {
            replica_state.replica_id = BrokerId(reader.i32("replica_id")?);
        }
        let max_wait_ms = reader.i32("max_wait_ms")?;
        let min_bytes = reader.i32("min_bytes")?;
        let max_bytes = reader.i32("max_bytes")?;
        let isolation_level = reader.i8("isolation_level")?;
        let (session_id, session_epoch) = if version >= SESSIONS_SINCE {
            (reader.i32("session_id")?, reader.i32("session_epoch")?)
        } else {
            (0, -1)
        };
        let topics = reader.array("topics", |reader| FetchTopic::read(reader, version))?;
        let mut forgotten_topics = Vec::new();
        if version >= SESSIONS_SINCE {
            forgotten_topics = reader
                .array("forgotten_topics_data", |reader| ForgottenTopic::read(reader, version))?;
        }
        let mut rack_id = Text::new();
        if version >= RACKS_SINCE {
            rack_id = reader.text("rack_id")?;
        }
        let mut cluster_id = None;
        reader.tagged_fields(|reader, tag| {
            match tag {
                TAG_CLUSTER_ID => cluster_id = reader.nullable_text("cluster_id")?,
                TAG_REPLICA_STATE if version >= REPLICA_STATE_SINCE => {
                    replica_state = ReplicaState::read(reader)?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self {
            cluster_id,
            replica_state,
            max_wait_ms,
            min_bytes,
            max_bytes,
            isolation_level,
            session_id,
            session_epoch,
            topics,
            forgotten_topics,
            rack_id,
        })
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if version < REPLICA_STATE_SINCE {
            writer.i32(self.replica_state.replica_id.0);
        }
        writer.i32(self.max_wait_ms);
        writer.i32(self.min_bytes);
        writer.i32(self.max_bytes);
        writer.i8(self.isolation_level);
        if version >= SESSIONS_SINCE {
            writer.i32(self.session_id);
            writer.i32(self.session_epoch);
        }
        writer.array(&self.topics, |writer, topic| topic.write(writer, version));
        if version >= SESSIONS_SINCE {
            writer.array(&self.forgotten_topics, |writer, topic| {
                topic.write(writer, version);
            });
        }
        if version >= RACKS_SINCE {
            writer.text(&self.rack_id);
        }
        writer.tagged_fields(|tagged| self.write_tagged(tagged, version));
        Ok(())
    }
}

impl FetchRequest {
    fn write_tagged(&self, tagged: &mut TaggedFields<'_>, version: i16) {
        if let Some(cluster_id) = &self.cluster_id {
            tagged.add(TAG_CLUSTER_ID, |writer| writer.text(cluster_id));
        }
        if version >= REPLICA_STATE_SINCE && self.replica_state != ReplicaState::CONSUMER {
            tagged.add(TAG_REPLICA_STATE, |writer| self.replica_state.write(writer));
        }
    }
}

impl ReplicaState {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let state = Self {
            replica_id: BrokerId(reader.i32("replica_id")?),
            replica_epoch: reader.i64("replica_epoch")?,
        };
        reader.skip_tagged_fields()?;
        Ok(state)
    }

    fn write(self, writer: &mut Writer) {
        writer.i32(self.replica_id.0);
        writer.i64(self.replica_epoch);
        writer.no_tagged_fields();
    }
}

impl FetchTopic {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let (topic, topic_id) = reader.topic("topic", version >= TOPIC_IDS_SINCE)?;
        let partitions =
            reader.array("partitions", |reader| FetchPartition::read(reader, version))?;
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

impl FetchPartition {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let partition = PartitionId(reader.i32("partition")?);
        let mut current_leader_epoch = LeaderEpoch::UNKNOWN;
        if version >= LEADER_EPOCH_SINCE {
            current_leader_epoch = LeaderEpoch(reader.i32("current_leader_epoch")?);
        }
        let fetch_offset = Offset(reader.i64("fetch_offset")?);
        let mut last_fetched_epoch = LeaderEpoch::UNKNOWN;
        if version >= FLEXIBLE_SINCE {
            last_fetched_epoch = LeaderEpoch(reader.i32("last_fetched_epoch")?);
        }
        let mut log_start_offset = Offset(-1);
        if version >= LOG_START_SINCE {
            log_start_offset = Offset(reader.i64("log_start_offset")?);
        }
        let partition_max_bytes = reader.i32("partition_max_bytes")?;
        let mut replica_directory_id = Uuid::nil();
        let mut high_watermark = HIGH_WATERMARK_UNSAID;
        reader.tagged_fields(|reader, tag| {
            match tag {
                TAG_DIRECTORY_ID if version >= DIRECTORY_ID_SINCE => {
                    replica_directory_id = reader.uuid("replica_directory_id")?;
                }
                TAG_HIGH_WATERMARK if version >= HIGH_WATERMARK_SINCE => {
                    high_watermark = Offset(reader.i64("high_watermark")?);
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self {
            partition,
            current_leader_epoch,
            fetch_offset,
            last_fetched_epoch,
            log_start_offset,
            partition_max_bytes,
            replica_directory_id,
            high_watermark,
        })
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.i32(self.partition.0);
        if version >= LEADER_EPOCH_SINCE {
            writer.i32(self.current_leader_epoch.0);
        }
        writer.i64(self.fetch_offset.0);
        if version >= FLEXIBLE_SINCE {
            writer.i32(self.last_fetched_epoch.0);
        }
        if version >= LOG_START_SINCE {
            writer.i64(self.log_start_offset.0);
        }
        writer.i32(self.partition_max_bytes);
        writer.tagged_fields(|tagged| {
            if version >= DIRECTORY_ID_SINCE && !self.replica_directory_id.is_nil() {
                tagged.add(TAG_DIRECTORY_ID, |writer| {
                    writer.uuid(self.replica_directory_id);
                });
            }
            if version >= HIGH_WATERMARK_SINCE && self.high_watermark != HIGH_WATERMARK_UNSAID {
                tagged.add(TAG_HIGH_WATERMARK, |writer| {
                    writer.i64(self.high_watermark.0);
                });
            }
        });
    }
}

impl ForgottenTopic {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let (topic, topic_id) = reader.topic("topic", version >= TOPIC_IDS_SINCE)?;
        let partitions = reader.array("partitions", |reader| reader.i32("").map(PartitionId))?;
        reader.skip_tagged_fields()?;
        Ok(Self { topic, topic_id, partitions })
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.topic(&self.topic, self.topic_id, version >= TOPIC_IDS_SINCE);
        writer.array(&self.partitions, |writer, partition| writer.i32(partition.0));
        writer.no_tagged_fields();
    }
}

/// The high watermark of a sender that does not know this field.
const HIGH_WATERMARK_UNSAID: Offset = Offset(i64::MAX);

/// Tags in the request.
const TAG_CLUSTER_ID: u32 = 0;
const TAG_REPLICA_STATE: u32 = 1;
/// Tags in a partition.
const TAG_DIRECTORY_ID: u32 = 0;
const TAG_HIGH_WATERMARK: u32 = 1;
