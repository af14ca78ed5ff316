//! Request and response headers.
//!
//! | request header | type | |
//! |---|---|---|
//! | api key | int16 | |
//! | api version | int16 | |
//! | correlation id | int32 | comes back in the response |
//! | client id | nullable string | two-byte length in all versions |
//! | tagged fields | | version 2 only |
//!
//! A response header is the correlation id, in version 1 followed by tagged fields. Which version goes with which
//! message is in `registry.rs`. No tagged field of a header is known; they are skipped.

use bytes::Bytes;

use super::Text;
use super::error::WireError;
use super::reader::{Reader, Sender};
use super::registry::{ApiEntry, ApiKey};
use super::writer::Writer;

/// What stands in front of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API; not necessarily one that exists.
    pub api_key: i16,
    /// Version of the request; not necessarily one that exists.
    pub api_version: i16,
    /// Chosen by the client, comes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Text>,
}

impl RequestHeader {
    /// Reads the header of `frame`, which is a frame without its length. Returns the position of the body too.
    ///
    /// The header of an unknown API is read as version 1, so that its key can be named. A client id that is not UTF-8
    /// is repaired as Kafka does it, with replacement characters; a negative length of it other than -1 is an error.
    ///
    /// # Errors
    /// When the frame ends within the header, or its tagged fields are malformed.
    pub fn decode(frame: &Bytes) -> Result<(Self, usize), WireError> {
        let mut reader = Reader::new(Sender::Client, "RequestHeader", frame, false);
        let api_key = reader.i16("api_key")?;
        let api_version = reader.i16("api_version")?;
        let correlation_id = reader.i32("correlation_id")?;
        let client_id = reader.nullable_text_lossy("client_id")?;
        if header_version(api_key, api_version) == 2 {
            reader.set_flexible(true);
            reader.skip_tagged_fields()?;
        }
        let header = Self { api_key, api_version, correlation_id, client_id };
        Ok((header, reader.position()))
    }

    /// Writes the header in front of a request.
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.i16(self.api_key);
        writer.i16(self.api_version);
        writer.i32(self.correlation_id);
        writer.set_flexible(false);
        writer.nullable_text(self.client_id.as_deref());
        writer.set_flexible(header_version(self.api_key, self.api_version) == 2);
        writer.no_tagged_fields();
    }
}

fn header_version(api_key: i16, api_version: i16) -> i16 {
    ApiEntry::of(api_key).map_or(1, |entry| entry.request_header_version(api_version))
}

/// Reads the correlation id of `frame`, a response frame without its length, to a request of `key` and `version`.
/// Returns the position of the body too.
pub(super) fn read_response_header(
    key: ApiKey,
    version: i16,
    frame: &Bytes,
) -> Result<(i32, usize), WireError> {
    let flexible = key.entry().response_header_version(version) == 1;
    let mut reader = Reader::new(Sender::Broker, "ResponseHeader", frame, flexible);
    let correlation_id = reader.i32("correlation_id")?;
    reader.skip_tagged_fields()?;
    Ok((correlation_id, reader.position()))
}

/// Writes the header in front of a response to a request of `key` and `version`.
pub(super) fn write_response_header(
    writer: &mut Writer,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
) {
    writer.set_flexible(key.entry().response_header_version(version) == 1);
    writer.i32(correlation_id);
    writer.no_tagged_fields();
    writer.set_flexible(key.entry().is_flexible(version));
}
