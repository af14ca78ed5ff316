//! The metadata of a classic group.
//!
//! Key, type 2: the group (string).
//!
//! Value, versions 0 to 4 (4 is flexible). Written is 3:
//!
//! | field | type | versions |
//! |---|---|---|
//! | protocol type | string | |
//! | generation | i32 | |
//! | protocol | nullable string | |
//! | leader | nullable string | |
//! | current state timestamp | i64 | 2 on |
//! | members | list of the following | |
//! | member id | string | |
//! | group instance id | nullable string | 3 on |
//! | client id | string | |
//! | client host | string | |
//! | rebalance timeout | i32, milliseconds | 1 on |
//! | session timeout | i32, milliseconds | |
//! | subscription | bytes | |
//! | assignment | bytes | |

use std::sync::Arc;

use bytes::Bytes;

use crate::coordinator::CoordinatorRecord;
use crate::group::{GroupId, InstanceId, MemberId};
use crate::model::UnixMillis;
use crate::wire::fields::{FieldReader, FieldWriter, SchemaError};

const NAME: &str = "GroupMetadataValue";
const TYPE: i16 = 2;
const VERSION_MAX: i16 = 4;
const FLEXIBLE_FROM: i16 = 4;
const VERSION_WRITTEN: i16 = 3;

/// A classic group at one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// `consumer` for consumers; none for a group that never had a member.
    pub protocol_type: Option<Arc<str>>,
    /// The generation.
    pub generation: i32,
    /// The protocol chosen for it; none if there are no members.
    pub protocol: Option<Arc<str>>,
    /// The member that made the assignment.
    pub leader: Option<MemberId>,
    /// When the group came into its state.
    pub state_since: Option<UnixMillis>,
    /// The members.
    pub members: Vec<MemberMetadata>,
}

/// A member of a classic group at one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    /// Its id.
    pub id: MemberId,
    /// Its instance, if it is static.
    pub instance: Option<InstanceId>,
    /// `client.id`.
    pub client_id: Arc<str>,
    /// Its address.
    pub client_host: Arc<str>,
    /// How long it may take to rejoin, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// How long it may stay silent, in milliseconds.
    pub session_timeout_ms: i32,
    /// What it said about the protocol.
    pub subscription: Bytes,
    /// What the leader gave it.
    pub assignment: Bytes,
}

pub(super) fn read_key(key: &mut FieldReader<'_>) -> Result<GroupId, SchemaError> {
    key.string("group").map(GroupId::from)
}

fn encode_key(group: &GroupId) -> Bytes {
    let mut writer = FieldWriter::key(TYPE);
    writer.string(group.as_str());
    writer.finish()
}

/// The record that a classic group is gone.
#[must_use]
pub fn tombstone(group: &GroupId) -> CoordinatorRecord {
    CoordinatorRecord { key: encode_key(group), value: None }
}

impl GroupMetadata {
    /// The record that the group is in this generation.
    #[must_use]
    pub fn record(&self, group: &GroupId) -> CoordinatorRecord {
        CoordinatorRecord { key: encode_key(group), value: Some(self.encode()) }
    }

    pub(super) fn decode(bytes: &Bytes) -> Result<Self, SchemaError> {
        let (version, mut reader) = FieldReader::of_value(NAME, bytes, VERSION_MAX, FLEXIBLE_FROM)?;
        let protocol_type = reader.string("protocol type")?;
        let value = Self {
            protocol_type: (!protocol_type.is_empty()).then(|| protocol_type.into()),
            generation: reader.i32("generation")?,
            protocol: reader.nullable_string("protocol")?.map(Arc::from),
            leader: reader.nullable_string("leader")?.map(MemberId::from),
            state_since: match version {
                0 | 1 => None,
                _ => Some(UnixMillis(reader.i64("current state timestamp")?))
                    .filter(|since| *since != UnixMillis::NONE),
            },
            members: reader.list("members", |reader| MemberMetadata::read(reader, version))?,
        };
        reader.skip_tagged_fields()?;
        Ok(value)
    }

    fn encode(&self) -> Bytes {
        let mut writer = FieldWriter::value(VERSION_WRITTEN, false);
        writer.string(self.protocol_type.as_deref().unwrap_or_default());
        writer.i32(self.generation);
        writer.nullable_string(self.protocol.as_deref());
        writer.nullable_string(self.leader.as_ref().map(MemberId::as_str));
        writer.i64(self.state_since.unwrap_or(UnixMillis::NONE).0);
        writer.list(self.members.iter(), |writer, member| member.write(writer));
        writer.finish()
    }
}

impl MemberMetadata {
    fn read(reader: &mut FieldReader<'_>, version: i16) -> Result<Self, SchemaError> {
        let id = reader.string("member id")?.into();
        let instance = match version {
            0..3 => None,
            _ => reader.nullable_string("group instance id")?.map(InstanceId::from),
        };
        let client_id = reader.string("client id")?.into();
        let client_host = reader.string("client host")?.into();
        let rebalance_timeout_ms = if version >= 1 { reader.i32("rebalance timeout")? } else { -1 };
        let session_timeout_ms = reader.i32("session timeout")?;
        let subscription = reader.bytes("subscription")?;
        let assignment = reader.bytes("assignment")?;
        reader.skip_tagged_fields()?;
        Ok(Self {
            id,
            instance,
            client_id,
            client_host,
            rebalance_timeout_ms: match rebalance_timeout_ms {
                -1 => session_timeout_ms,
                timeout => timeout,
            },
            session_timeout_ms,
            subscription,
            assignment,
        })
    }

    fn write(&self, writer: &mut FieldWriter) {
        writer.string(self.id.as_str());
        writer.nullable_string(self.instance.as_ref().map(InstanceId::as_str));
        writer.string(&self.client_id);
        writer.string(&self.client_host);
        writer.i32(self.rebalance_timeout_ms);
        writer.i32(self.session_timeout_ms);
        writer.bytes(&self.subscription);
        writer.bytes(&self.assignment);
    }
}
