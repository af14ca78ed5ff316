//! AddRaftVoter, versions 0 and 1: a controller is to vote (KIP-853).
//!
//! | version | request |
//! |---|---|
//! | 0 | |
//! | 1 | whether the answer is to wait until the voters have agreed (KIP-1186) |
//!
//! Ours at both versions, since the message crate ends at 0. Unknown tagged fields are not kept.
//! Source: the AddRaftVoter schemas of Apache Kafka 4.3.1.

use bytes::Bytes;
use uuid::Uuid;

use super::Text;
use super::codec::{Request, Response};
use super::error::{EncodeError, WireError};
use super::reader::{Read, Reader};
use super::registry::ApiKey;
use super::writer::Writer;
use crate::model::{BrokerId, ErrorCode};

/// First version that says what the answer waits for.
const ACK_SINCE: i16 = 1;

/// A request to have a controller vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddRaftVoterRequest {
    /// The cluster that is meant; none for whichever it is.
    pub cluster_id: Option<Text>,
    /// How long it may take, in milliseconds.
    pub timeout_ms: i32,
    /// The controller.
    pub voter_id: BrokerId,
    /// Its directory with the metadata log.
    pub voter_directory_id: Uuid,
    /// Where it is reached.
    pub listeners: Vec<AddRaftVoterListener>,
    /// Whether the answer waits until the voters have agreed, rather than until the leader has written it. True in version 0.
    pub ack_when_committed: bool,
}

/// Where a controller is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddRaftVoterListener {
    /// Name of the listener.
    pub name: Text,
    /// Its host.
    pub host: Text,
    /// Its port.
    pub port: u16,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddRaftVoterResponse {
    /// For how long the client is held back, in milliseconds.
    pub throttle_time_ms: i32,
    /// Success, or why it does not vote.
    pub error_code: ErrorCode,
    /// The same in words.
    pub error_message: Option<Text>,
}

impl Request for AddRaftVoterRequest {
    const KEY: ApiKey = ApiKey::AddRaftVoter;
    const NAME: &'static str = "AddRaftVoterRequest";
    type Response = AddRaftVoterResponse;

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_request::<Self>(&body, version);
        let cluster_id = reader.nullable_text("cluster_id")?;
        let timeout_ms = reader.i32("timeout_ms")?;
        let voter_id = BrokerId(reader.i32("voter_id")?);
        let voter_directory_id = reader.uuid("voter_directory_id")?;
        let listeners = reader.array("listeners", AddRaftVoterListener::read)?;
        let mut ack_when_committed = true;
        if version >= ACK_SINCE {
            ack_when_committed = reader.bool("ack_when_committed")?;
        }
        reader.skip_tagged_fields()?;
        Ok(Self {
            cluster_id,
            timeout_ms,
            voter_id,
            voter_directory_id,
            listeners,
            ack_when_committed,
        })
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writer.nullable_text(self.cluster_id.as_deref());
        writer.i32(self.timeout_ms);
        writer.i32(self.voter_id.0);
        writer.uuid(self.voter_directory_id);
        writer.array(&self.listeners, |writer, listener| listener.write(writer));
        if version >= ACK_SINCE {
            writer.bool(self.ack_when_committed);
        }
        writer.no_tagged_fields();
        Ok(())
    }
}

impl AddRaftVoterListener {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let name = reader.text("name")?;
        let host = reader.text("host")?;
        let port = reader.i16("port")?.cast_unsigned();
        reader.skip_tagged_fields()?;
        Ok(Self { name, host, port })
    }

    fn write(&self, writer: &mut Writer) {
        writer.text(&self.name);
        writer.text(&self.host);
        writer.i16(self.port.cast_signed());
        writer.no_tagged_fields();
    }
}

impl Response for AddRaftVoterResponse {
    const KEY: ApiKey = ApiKey::AddRaftVoter;
    const NAME: &'static str = "AddRaftVoterResponse";

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_response::<Self>(&body, version);
        let throttle_time_ms = reader.i32("throttle_time_ms")?;
        let error_code = reader.error_code("error_code")?;
        let error_message = reader.nullable_text("error_message")?;
        reader.skip_tagged_fields()?;
        Ok(Self { throttle_time_ms, error_code, error_message })
    }

    fn write(&self, writer: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        writer.i32(self.throttle_time_ms);
        writer.error_code(self.error_code);
        writer.nullable_text(self.error_message.as_deref());
        writer.no_tagged_fields();
        Ok(())
    }
}
