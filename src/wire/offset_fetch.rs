//! OffsetFetch, versions 1 to 10.
//!
//! | version | request | response |
//! |---|---|---|
//! | 2 | null for all topics | error code of the whole |
//! | 3 | | throttle time |
//! | 5 | | leader epochs (KIP-320) |
//! | 6 | flexible | flexible |
//! | 7 | stable offsets only (KIP-447) | |
//! | 8 | many groups instead of one (KIP-709) | many groups instead of one |
//! | 9 | the member that asks (KIP-848) | |
//! | 10 | topic ids instead of names | topic ids instead of names |
//!
//! Ours at all versions, since the message crate ends at 9. Unknown tagged fields are not kept.
//! Source: the OffsetFetch schemas of Apache Kafka 4.3.1.

use bytes::Bytes;

use super::Text;
use super::codec::{Request, Response};
use super::error::{EncodeError, WireError};
use super::reader::{Read, Reader};
use super::registry::ApiKey;
use super::writer::Writer;
use crate::model::{ErrorCode, Offset, PartitionId, TopicId};

/// A request for how far groups have read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchRequest {
    /// The group, up to version 7; then empty.
    pub group_id: Text,
    /// The partitions asked about, up to version 7; `None` for all (from version 2 on).
    pub topics: Option<Vec<OffsetFetchRequestTopic>>,
    /// The groups, from version 8 on; else empty.
    pub groups: Vec<OffsetFetchRequestGroup>,
    /// Whether offsets that a transaction may change are refused. From version 7 on.
    pub require_stable: bool,
}

/// What is asked about one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchRequestGroup {
    /// The group.
    pub group_id: Text,
    /// The member that asks. From version 9 on.
    pub member_id: Option<Text>,
    /// Its epoch, -1 for nobody in particular. From version 9 on.
    pub member_epoch: i32,
    /// The partitions asked about; `None` for all.
    pub topics: Option<Vec<OffsetFetchRequestTopic>>,
}

/// The partitions asked about of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchRequestTopic {
    /// The topic's name, up to version 9; then empty.
    pub name: Text,
    /// The topic's id, from version 10 on; else zero.
    pub topic_id: TopicId,
    /// The partitions.
    pub partition_indexes: Vec<PartitionId>,
}

/// How far groups have read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchResponse {
    /// For how long the client's quota holds it back. From version 3 on.
    pub throttle_time_ms: i32,
    /// The offsets, up to version 7; then empty.
    pub topics: Vec<OffsetFetchResponseTopic>,
    /// Trouble with the group. From version 2 up to 7.
    pub error_code: ErrorCode,
    /// The groups, from version 8 on; else empty.
    pub groups: Vec<OffsetFetchResponseGroup>,
}

/// How far one group has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchResponseGroup {
    /// The group.
    pub group_id: Text,
    /// The offsets, by topic.
    pub topics: Vec<OffsetFetchResponseTopic>,
    /// Success, or trouble with the group.
    pub error_code: ErrorCode,
}

/// The offsets of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchResponseTopic {
    /// The topic's name, up to version 9; then empty.
    pub name: Text,
    /// The topic's id, from version 10 on; else zero.
    pub topic_id: TopicId,
    /// The offsets, by partition.
    pub partitions: Vec<OffsetFetchResponsePartition>,
}

/// The offset of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchResponsePartition {
    /// The partition.
    pub partition_index: PartitionId,
    /// The offset, -1 if there is none.
    pub committed_offset: Offset,
    /// Leader epoch of the last record that was read, -1 if not known. From version 5 on.
    pub committed_leader_epoch: i32,
    /// What the client wanted to remember with it.
    pub metadata: Option<Text>,
    /// Success, or why there is no offset.
    pub error_code: ErrorCode,
}

impl Request for OffsetFetchRequest {
    const KEY: ApiKey = ApiKey::OffsetFetch;
    const NAME: &'static str = "OffsetFetchRequest";
    type Response = OffsetFetchResponse;

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_request::<Self>(&body, version);
        let topic = |reader: &mut Reader<'_>| OffsetFetchRequestTopic::read(reader, version);
        let mut request = Self {
            group_id: Text::default(),
            topics: None,
            groups: Vec::new(),
            require_stable: false,
        };
        if version >= GROUPS_SINCE {
            request.groups =
                reader.array("groups", |reader| OffsetFetchRequestGroup::read(reader, version))?;
        } else {
            request.group_id = reader.text("group_id")?;
            request.topics = if version >= ALL_TOPICS_SINCE {
                reader.nullable_array("topics", topic)?
            } else {
                Some(reader.array("topics", topic)?)
            };
        }
        if version >= STABLE_SINCE {
            request.require_stable = reader.bool("require_stable")?;
        }
        reader.skip_tagged_fields()?;
        Ok(request)
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let topic =
            |writer: &mut Writer, topic: &OffsetFetchRequestTopic| topic.write(writer, version);
        if version >= GROUPS_SINCE {
            writer.array(&self.groups, |writer, group| group.write(writer, version));
        } else {
            writer.text(&self.group_id);
            if version >= ALL_TOPICS_SINCE {
                writer.nullable_array(self.topics.as_deref(), topic);
            } else {
                writer.array(self.topics.as_deref().unwrap_or_default(), topic);
            }
        }
        if version >= STABLE_SINCE {
            writer.bool(self.require_stable);
        }
        writer.no_tagged_fields();
        Ok(())
    }
}

impl OffsetFetchRequestGroup {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let group_id = reader.text("group_id")?;
        let (mut member_id, mut member_epoch) = (None, -1);
        if version >= MEMBER_SINCE {
            member_id = reader.nullable_text("member_id")?;
            member_epoch = reader.i32("member_epoch")?;
        }
        let topics = reader
            .nullable_array("topics", |reader| OffsetFetchRequestTopic::read(reader, version))?;
        reader.skip_tagged_fields()?;
        Ok(Self { group_id, member_id, member_epoch, topics })
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.text(&self.group_id);
        if version >= MEMBER_SINCE {
            writer.nullable_text(self.member_id.as_deref());
            writer.i32(self.member_epoch);
        }
        writer.nullable_array(self.topics.as_deref(), |writer, topic| topic.write(writer, version));
        writer.no_tagged_fields();
    }
}

impl OffsetFetchRequestTopic {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let (name, topic_id) = reader.topic("name", version >= TOPIC_IDS_SINCE)?;
        let partition_indexes =
            reader.array("partition_indexes", |reader| reader.i32("").map(PartitionId))?;
        reader.skip_tagged_fields()?;
        Ok(Self { name, topic_id, partition_indexes })
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.topic(&self.name, self.topic_id, version >= TOPIC_IDS_SINCE);
        writer.array(&self.partition_indexes, |writer, partition| writer.i32(partition.0));
        writer.no_tagged_fields();
    }
}

impl Response for OffsetFetchResponse {
    const KEY: ApiKey = ApiKey::OffsetFetch;
    const NAME: &'static str = "OffsetFetchResponse";

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_response::<Self>(&body, version);
        let mut response = Self {
            throttle_time_ms: 0,
            topics: Vec::new(),
            error_code: ErrorCode::None,
            groups: Vec::new(),
        };
        if version >= THROTTLE_SINCE {
            response.throttle_time_ms = reader.i32("throttle_time_ms")?;
        }
        if version >= GROUPS_SINCE {
            response.groups =
                reader.array("groups", |reader| OffsetFetchResponseGroup::read(reader, version))?;
        } else {
            response.topics =
                reader.array("topics", |reader| OffsetFetchResponseTopic::read(reader, version))?;
            if version >= ERROR_CODE_SINCE {
                response.error_code = reader.error_code("error_code")?;
            }
        }
        reader.skip_tagged_fields()?;
        Ok(response)
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if version >= THROTTLE_SINCE {
            writer.i32(self.throttle_time_ms);
        }
        if version >= GROUPS_SINCE {
            writer.array(&self.groups, |writer, group| group.write(writer, version));
        } else {
            writer.array(&self.topics, |writer, topic| topic.write(writer, version));
            if version >= ERROR_CODE_SINCE {
                writer.error_code(self.error_code);
            }
        }
        writer.no_tagged_fields();
        Ok(())
    }
}

impl OffsetFetchResponseGroup {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let group = Self {
            group_id: reader.text("group_id")?,
            topics: reader
                .array("topics", |reader| OffsetFetchResponseTopic::read(reader, version))?,
            error_code: reader.error_code("error_code")?,
        };
        reader.skip_tagged_fields()?;
        Ok(group)
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.text(&self.group_id);
        writer.array(&self.topics, |writer, topic| topic.write(writer, version));
        writer.error_code(self.error_code);
        writer.no_tagged_fields();
    }
}

impl OffsetFetchResponseTopic {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let (name, topic_id) = reader.topic("name", version >= TOPIC_IDS_SINCE)?;
        let partitions = reader
            .array("partitions", |reader| OffsetFetchResponsePartition::read(reader, version))?;
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
            writer.nullable_text(partition.metadata.as_deref());
            writer.error_code(partition.error_code);
            writer.no_tagged_fields();
        });
        writer.no_tagged_fields();
    }
}

impl OffsetFetchResponsePartition {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let partition_index = PartitionId(reader.i32("partition_index")?);
        let committed_offset = Offset(reader.i64("committed_offset")?);
        let mut committed_leader_epoch = -1;
        if version >= LEADER_EPOCH_SINCE {
            committed_leader_epoch = reader.i32("committed_leader_epoch")?;
        }
        let metadata = reader.nullable_text("metadata")?;
        let error_code = reader.error_code("error_code")?;
        reader.skip_tagged_fields()?;
        Ok(Self { partition_index, committed_offset, committed_leader_epoch, metadata, error_code })
    }
}

const ALL_TOPICS_SINCE: i16 = 2;
const ERROR_CODE_SINCE: i16 = 2;
const THROTTLE_SINCE: i16 = 3;
const LEADER_EPOCH_SINCE: i16 = 5;
const STABLE_SINCE: i16 = 7;
const GROUPS_SINCE: i16 = 8;
const MEMBER_SINCE: i16 = 9;
const TOPIC_IDS_SINCE: i16 = 10;
