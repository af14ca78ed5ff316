//! The records of a consumer group (KIP-848).
//!
//! Keys begin with the group (string); those of types 5, 7 and 8 name the member (string), that of type 16 the regular
//! expression (string). All values are of version 0, which is flexible.
//!
//! | type | value |
//! |---|---|
//! | 3 group | epoch (i32); tag 0: hash of the subscribed topics (i64) |
//! | 4 topics | written before 4.1 only; what it says is not needed any more, that it is there is |
//! | 5 member | instance, rack (nullable strings), client id, client host (strings), topics (list of strings), regular expression (nullable string), rebalance timeout (i32, ms), assignor (nullable string); tag 0: what a member of the classic protocol said: session timeout (i32, ms), protocols (list of name, bytes) |
//! | 6 target | epoch (i32); tag 0: when it was computed (i64, ms since 1970) |
//! | 7 target of a member | list of topic id and partitions (list of i32) |
//! | 8 assignment of a member | epoch, previous epoch (i32), state (i8), owned, to be revoked (lists of topic id and partitions; tag 0: the epoch in which each was assigned, list of i32, KIP-1251) |
//! | 16 regular expression | topics (list of strings), version of the metadata, when it was resolved (i64, ms since 1970) |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::coordinator::CoordinatorRecord;
use crate::group::{GroupId, InstanceId, MemberId};
use crate::model::{PartitionId, TopicId, UnixMillis};
use crate::wire::fields::{FieldReader, FieldWriter, SchemaError};

/// The versions of values.
const VERSION: i16 = 0;

/// Partitions of some topics. No topic is without partitions.
pub type Assignment = BTreeMap<TopicId, BTreeSet<PartitionId>>;

/// Partitions of some topics, with the epoch in which each was assigned. No topic is without partitions.
pub type Owned = BTreeMap<TopicId, BTreeMap<PartitionId, i32>>;

/// A record of a consumer group. No value stands for a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerRecord {
    /// The group reached an epoch, or is gone.
    Group(Option<GroupEpoch>),
    /// An older broker wrote down the group's topics, or they are gone.
    Topics(Option<()>),
    /// What a member said of itself.
    Member(MemberId, Option<MemberMetadata>),
    /// The epoch of the target assignment.
    TargetEpoch(Option<TargetEpoch>),
    /// What a member is to own.
    Target(MemberId, Option<Assignment>),
    /// What a member owns.
    Current(MemberId, Option<CurrentAssignment>),
    /// Which topics a regular expression stands for.
    Regex(Arc<str>, Option<ResolvedRegex>),
}

/// The epoch of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupEpoch {
    /// The epoch.
    pub epoch: i32,
    /// Hash of the topics that members subscribe to; 0 if there are none.
    pub metadata_hash: i64,
}

/// What a member said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    /// Its instance, if it is static.
    pub instance: Option<InstanceId>,
    /// Its rack.
    pub rack: Option<Arc<str>>,
    /// `client.id`.
    pub client_id: Arc<str>,
    /// Its address.
    pub client_host: Arc<str>,
    /// The topics it subscribes to by name.
    pub topics: BTreeSet<Arc<str>>,
    /// The regular expression it subscribes to. Empty and none both mean that there is none; which of them a client sent
    /// shows in descriptions.
    pub regex: Option<Arc<str>>,
    /// How long it may take to give partitions up, in milliseconds; -1 if it never said so.
    pub rebalance_timeout_ms: i32,
    /// The assignor it prefers.
    pub assignor: Option<Arc<str>>,
    /// Set for a member that speaks the classic protocol.
    pub classic: Option<Arc<ClassicMetadata>>,
}

/// What a member of the classic protocol said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMetadata {
    /// How long it may stay silent, in milliseconds.
    pub session_timeout_ms: i32,
    /// Its protocols and their metadata, the preferred one first.
    pub protocols: Vec<(Arc<str>, Bytes)>,
}

/// The epoch of a target assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetEpoch {
    /// The epoch of the group that it was computed for.
    pub epoch: i32,
    /// When it was computed; none if that was not written down.
    pub computed_at: Option<UnixMillis>,
}

/// What a member owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// Its epoch.
    pub epoch: i32,
    /// Its epoch before that.
    pub previous_epoch: i32,
    /// Where it stands.
    pub state: MemberState,
    /// What it owns.
    pub owned: Owned,
    /// What it has yet to give up.
    pub revoking: Owned,
}

/// Where a member stands on its way to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MemberState {
    /// It owns what it can own at its epoch.
    #[default]
    Stable,
    /// It has to give partitions up before it goes on.
    Unrevoked,
    /// It waits for partitions that others have to give up.
    Unreleased,
    /// A state that this broker does not know.
    Unknown,
}

/// The topics that a regular expression stands for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ResolvedRegex {
    /// Their names.
    pub topics: BTreeSet<Arc<str>>,
    /// The version of the metadata that they were found in. This broker writes 0: it looks again after each start.
    pub version: i64,
    /// When they were found.
    pub at: UnixMillis,
}

impl ConsumerRecord {
    /// The record as it is in the log.
    #[must_use]
    pub fn record(&self, group: &GroupId) -> CoordinatorRecord {
        CoordinatorRecord { key: self.key(group), value: self.value() }
    }

    /// Whether it says that something is gone.
    #[must_use]
    pub const fn is_tombstone(&self) -> bool {
        match self {
            Self::Group(value) => value.is_none(),
            Self::Topics(value) => value.is_none(),
            Self::Member(_, value) => value.is_none(),
            Self::TargetEpoch(value) => value.is_none(),
            Self::Target(_, value) => value.is_none(),
            Self::Current(_, value) => value.is_none(),
            Self::Regex(_, value) => value.is_none(),
        }
    }

    /// Reads the rest of a key and the value.
    pub(super) fn decode(
        record_type: i16,
        key: &mut FieldReader<'_>,
        value: Option<&Bytes>,
    ) -> Result<(GroupId, Self), SchemaError> {
        if !matches!(record_type, 3..=8 | 16) {
            return Err(SchemaError::UnknownType(record_type));
        }
        let group = GroupId::from(key.string("group")?);
        let mut member = || key.string("member").map(MemberId::from);
        let record = match record_type {
            3 => Self::Group(value.map(GroupEpoch::decode).transpose()?),
            4 => Self::Topics(value.map(|_| ())),
            5 => Self::Member(member()?, value.map(MemberMetadata::decode).transpose()?),
            6 => Self::TargetEpoch(value.map(TargetEpoch::decode).transpose()?),
            7 => Self::Target(member()?, value.map(decode_target).transpose()?),
            8 => Self::Current(member()?, value.map(CurrentAssignment::decode).transpose()?),
            _ => {
                let regex = key.string("regular expression")?.into();
                Self::Regex(regex, value.map(ResolvedRegex::decode).transpose()?)
            }
        };
        Ok((group, record))
    }

    fn key(&self, group: &GroupId) -> Bytes {
        let (record_type, rest) = match self {
            Self::Group(_) => (3, None),
            Self::Topics(_) => (4, None),
            Self::Member(member, _) => (5, Some(member.as_str())),
            Self::TargetEpoch(_) => (6, None),
            Self::Target(member, _) => (7, Some(member.as_str())),
            Self::Current(member, _) => (8, Some(member.as_str())),
            Self::Regex(regex, _) => (16, Some(&**regex)),
        };
        let mut writer = FieldWriter::key(record_type);
        writer.string(group.as_str());
        if let Some(rest) = rest {
            writer.string(rest);
        }
        writer.finish()
    }

    fn value(&self) -> Option<Bytes> {
        let mut writer = FieldWriter::value(VERSION, true);
        match self {
            Self::Group(value) => value.as_ref()?.write(&mut writer),
            Self::Topics(value) => {
                // Never written by this broker: no topics at all.
                (*value)?;
                writer.list(std::iter::empty::<()>(), |_, ()| {});
                writer.varint(0);
            }
            Self::Member(_, value) => value.as_ref()?.write(&mut writer),
            Self::TargetEpoch(value) => value.as_ref()?.write(&mut writer),
            Self::Target(_, value) => write_target(value.as_ref()?, &mut writer),
            Self::Current(_, value) => value.as_ref()?.write(&mut writer),
            Self::Regex(_, value) => value.as_ref()?.write(&mut writer),
        }
        Some(writer.finish())
    }
}

fn reader<'a>(record: &'static str, bytes: &'a Bytes) -> Result<FieldReader<'a>, SchemaError> {
    FieldReader::of_value(record, bytes, VERSION, 0).map(|(_, reader)| reader)
}

impl GroupEpoch {
    fn decode(bytes: &Bytes) -> Result<Self, SchemaError> {
        let mut reader = reader("ConsumerGroupMetadataValue", bytes)?;
        let mut value = Self { epoch: reader.i32("epoch")?, metadata_hash: 0 };
        reader.tagged_fields(|reader, tag| {
            if tag == 0 {
                value.metadata_hash = reader.i64("metadata hash")?;
            }
            Ok(tag == 0)
        })?;
        Ok(value)
    }

    fn write(self, writer: &mut FieldWriter) {
        writer.i32(self.epoch);
        let hash = (self.metadata_hash != 0).then_some(self.metadata_hash);
        writer.tagged_field(hash, |writer, hash| writer.i64(hash));
    }
}

impl MemberMetadata {
    fn decode(bytes: &Bytes) -> Result<Self, SchemaError> {
        let mut reader = reader("ConsumerGroupMemberMetadataValue", bytes)?;
        let mut value = Self {
            instance: reader.nullable_string("instance")?.map(InstanceId::from),
            rack: reader.nullable_string("rack")?.map(Arc::from),
            client_id: reader.string("client id")?.into(),
            client_host: reader.string("client host")?.into(),
            topics: read_names(&mut reader, "subscribed topics")?,
            regex: reader.nullable_string("regular expression")?.map(Arc::from),
            rebalance_timeout_ms: reader.i32("rebalance timeout")?,
            assignor: reader.nullable_string("assignor")?.map(Arc::from),
            classic: None,
        };
        reader.tagged_fields(|reader, tag| {
            // A structure that may be null begins with a byte that says whether it is.
            if tag == 0 && reader.i8("classic metadata")? >= 0 {
                value.classic = Some(Arc::new(ClassicMetadata::read(reader)?));
            }
            Ok(tag == 0)
        })?;
        Ok(value)
    }

    fn write(&self, writer: &mut FieldWriter) {
        writer.nullable_string(self.instance.as_ref().map(InstanceId::as_str));
        writer.nullable_string(self.rack.as_deref());
        writer.string(&self.client_id);
        writer.string(&self.client_host);
        writer.list(self.topics.iter(), |writer, topic| writer.string(topic));
        writer.nullable_string(self.regex.as_deref());
        writer.i32(self.rebalance_timeout_ms);
        writer.nullable_string(self.assignor.as_deref());
        writer.tagged_field(self.classic.as_deref(), |writer, classic| {
            writer.i8(1);
            classic.write(writer);
        });
    }
}

impl ClassicMetadata {
    fn read(reader: &mut FieldReader<'_>) -> Result<Self, SchemaError> {
        let value = Self {
            session_timeout_ms: reader.i32("session timeout")?,
            protocols: reader.list("protocols", |reader| {
                let protocol = (reader.string("name")?.into(), reader.bytes("metadata")?);
                reader.skip_tagged_fields()?;
                Ok(protocol)
            })?,
        };
        reader.skip_tagged_fields()?;
        Ok(value)
    }

    fn write(&self, writer: &mut FieldWriter) {
        writer.i32(self.session_timeout_ms);
        writer.list(self.protocols.iter(), |writer, (name, metadata)| {
            writer.string(name);
            writer.bytes(metadata);
            writer.varint(0);
        });
        writer.varint(0);
    }
}

impl TargetEpoch {
    fn decode(bytes: &Bytes) -> Result<Self, SchemaError> {
        let mut reader = reader("ConsumerGroupTargetAssignmentMetadataValue", bytes)?;
        let mut value = Self { epoch: reader.i32("assignment epoch")?, computed_at: None };
        reader.tagged_fields(|reader, tag| {
            if tag == 0 {
                let at = reader.i64("assignment timestamp")?;
                value.computed_at = (at != 0).then_some(UnixMillis(at));
            }
            Ok(tag == 0)
        })?;
        Ok(value)
    }

    fn write(self, writer: &mut FieldWriter) {
        writer.i32(self.epoch);
        writer.tagged_field(self.computed_at, |writer, at| writer.i64(at.0));
    }
}

impl CurrentAssignment {
    fn decode(bytes: &Bytes) -> Result<Self, SchemaError> {
        let mut reader = reader("ConsumerGroupCurrentMemberAssignmentValue", bytes)?;
        let epoch = reader.i32("member epoch")?;
        let value = Self {
            epoch,
            previous_epoch: reader.i32("previous member epoch")?,
            state: MemberState::from_code(reader.i8("state")?),
            owned: read_owned(&mut reader, "assigned partitions", epoch)?,
            revoking: read_owned(&mut reader, "partitions pending revocation", epoch)?,
        };
        reader.skip_tagged_fields()?;
        Ok(value)
    }

    fn write(&self, writer: &mut FieldWriter) {
        writer.i32(self.epoch);
        writer.i32(self.previous_epoch);
        writer.i8(self.state.code());
        write_owned(&self.owned, writer);
        write_owned(&self.revoking, writer);
        writer.varint(0);
    }
}

impl MemberState {
    const fn from_code(code: i8) -> Self {
        match code {
            0 => Self::Stable,
            1 => Self::Unrevoked,
            2 => Self::Unreleased,
            _ => Self::Unknown,
        }
    }

    const fn code(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::Unrevoked => 1,
            Self::Unreleased => 2,
            Self::Unknown => 127,
        }
    }
}

impl ResolvedRegex {
    fn decode(bytes: &Bytes) -> Result<Self, SchemaError> {
        let mut reader = reader("ConsumerGroupRegularExpressionValue", bytes)?;
        let value = Self {
            topics: read_names(&mut reader, "topics")?,
            version: reader.i64("version")?,
            at: UnixMillis(reader.i64("timestamp")?),
        };
        reader.skip_tagged_fields()?;
        Ok(value)
    }

    fn write(&self, writer: &mut FieldWriter) {
        writer.list(self.topics.iter(), |writer, topic| writer.string(topic));
        writer.i64(self.version);
        writer.i64(self.at.0);
        writer.varint(0);
    }
}

fn read_names(
    reader: &mut FieldReader<'_>,
    field: &'static str,
) -> Result<BTreeSet<Arc<str>>, SchemaError> {
    let names = reader.list(field, |reader| reader.string("topic").map(Arc::from))?;
    Ok(names.into_iter().collect())
}

fn decode_target(bytes: &Bytes) -> Result<Assignment, SchemaError> {
    let mut reader = reader("ConsumerGroupTargetAssignmentMemberValue", bytes)?;
    let topics = reader.list("topic partitions", |reader| {
        let topic = TopicId(reader.uuid("topic id")?);
        let partitions = reader.list("partitions", |reader| reader.i32("partition"))?;
        reader.skip_tagged_fields()?;
        Ok((topic, partitions.into_iter().map(PartitionId).collect::<BTreeSet<_>>()))
    })?;
    reader.skip_tagged_fields()?;
    Ok(topics.into_iter().filter(|(_, partitions)| !partitions.is_empty()).collect())
}

fn write_target(target: &Assignment, writer: &mut FieldWriter) {
    writer.list(target.iter(), |writer, (topic, partitions)| {
        writer.uuid(topic.0);
        writer.list(partitions.iter(), |writer, partition| writer.i32(partition.0));
        writer.varint(0);
    });
    writer.varint(0);
}

/// Partitions without the epochs of their assignment have that of the member, as if assigned just then.
fn read_owned(
    reader: &mut FieldReader<'_>,
    field: &'static str,
    member_epoch: i32,
) -> Result<Owned, SchemaError> {
    let topics = reader.list(field, |reader| {
        let topic = TopicId(reader.uuid("topic id")?);
        let partitions = reader.list("partitions", |reader| reader.i32("partition"))?;
        let mut epochs = None;
        reader.tagged_fields(|reader, tag| {
            if tag == 0 {
                epochs = reader.nullable_list("assignment epochs", |reader| reader.i32("epoch"))?;
            }
            Ok(tag == 0)
        })?;
        let epochs = epochs
            .filter(|epochs| epochs.len() == partitions.len())
            .unwrap_or_else(|| vec![member_epoch.max(0); partitions.len()]);
        let owned: BTreeMap<_, _> = partitions.into_iter().map(PartitionId).zip(epochs).collect();
        Ok((topic, owned))
    })?;
    Ok(topics.into_iter().filter(|(_, partitions)| !partitions.is_empty()).collect())
}

fn write_owned(owned: &Owned, writer: &mut FieldWriter) {
    writer.list(owned.iter(), |writer, (topic, partitions)| {
        writer.uuid(topic.0);
        writer.list(partitions.keys(), |writer, partition| writer.i32(partition.0));
        writer.tagged_field(Some(partitions), |writer, partitions| {
            writer.list(partitions.values(), |writer, epoch| writer.i32(*epoch));
        });
    });
}
