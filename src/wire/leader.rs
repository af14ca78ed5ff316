//! Where a partition's leader is: tagged fields that produce and fetch responses share (KIP-951).

use super::Text;
use super::reader::{Read, Reader};
use super::writer::Writer;
use crate::model::{BrokerId, LeaderEpoch};

/// The leader that a client should turn to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    /// The leader, -1 if there is none.
    pub leader_id: BrokerId,
    /// Its epoch, -1 if unknown.
    pub leader_epoch: LeaderEpoch,
}

impl LeaderIdAndEpoch {
    pub(super) fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let leader = Self {
            leader_id: BrokerId(reader.i32("leader_id")?),
            leader_epoch: LeaderEpoch(reader.i32("leader_epoch")?),
        };
        reader.skip_tagged_fields()?;
        Ok(leader)
    }

    pub(super) fn write(self, writer: &mut Writer) {
        writer.i32(self.leader_id.0);
        writer.i32(self.leader_epoch.0);
        writer.no_tagged_fields();
    }
}

/// The address of a leader named in the same response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// The broker.
    pub node_id: BrokerId,
    /// Its host name or address.
    pub host: Text,
    /// Its port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<Text>,
}

impl NodeEndpoint {
    pub(super) fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let endpoint = Self {
            node_id: BrokerId(reader.i32("node_id")?),
            host: reader.text("host")?,
            port: reader.i32("port")?,
            rack: reader.nullable_text("rack")?,
        };
        reader.skip_tagged_fields()?;
        Ok(endpoint)
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.i32(self.node_id.0);
        writer.text(&self.host);
        writer.i32(self.port);
        writer.nullable_text(self.rack.as_deref());
        writer.no_tagged_fields();
    }
}
