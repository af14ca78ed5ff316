//! From frames to messages and back, the same way for every API.
//!
//! Owns the two traits that all messages of `wire` implement and the four functions around them. Which bytes make up a
//! message is the business of `produce.rs`, `fetch/`, `list_offsets.rs`, `offset_commit.rs`, `offset_fetch.rs`, `describe_log_dirs.rs`,
//! `write_txn_markers.rs` and `messages.rs`.

use bytes::Bytes;

use super::error::{EncodeError, Problem, WireError};
use super::header::{RequestHeader, read_response_header, write_response_header};
use super::registry::ApiKey;
use super::writer::{Frame, Writer};

/// The request of one API.
pub trait Request: Sized {
    /// The API.
    const KEY: ApiKey;
    /// Name of the message in errors.
    const NAME: &'static str;
    /// What answers it.
    type Response: Response;

    /// Reads the body of a served version. Strings and records are slices of it.
    ///
    /// # Errors
    /// Names the first field that is not as it should be. Never allocates more than `reader.rs` grants a body of this size.
    fn read(body: Bytes, version: i16) -> Result<Self, WireError>;

    /// Writes the body in a served version.
    ///
    /// # Errors
    /// When the version cannot carry a field that is set.
    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// The response of one API.
pub trait Response: Sized {
    /// The API.
    const KEY: ApiKey;
    /// Name of the message in errors.
    const NAME: &'static str;

    /// Reads the body of a served version, as [`Request::read`] does.
    ///
    /// # Errors
    /// As [`Request::read`].
    fn read(body: Bytes, version: i16) -> Result<Self, WireError>;

    /// Writes the body in a served version.
    ///
    /// # Errors
    /// As [`Request::write`].
    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// Reads a request from `body`: what follows the header in its frame. Bytes after the last field are ignored, as Kafka
/// ignores them.
///
/// # Errors
/// When the version is not served, or the body is not such a request: the connection cannot go on. The one exception is
/// an ApiVersions request of an unknown version, which the caller answers without reading it.
pub fn decode_request<M: Request>(header: &RequestHeader, body: Bytes) -> Result<M, WireError> {
    assert_eq!(header.api_key, M::KEY.code(), "the header chose the type");
    let version = header.api_version;
    if !is_served(M::KEY, version) {
        return Err(unknown_version(M::NAME, version));
    }
    M::read(body, version)
}

/// Builds the frame of a request. The header's version chooses the layout.
///
/// # Errors
/// When the version is not served, or cannot carry the request.
pub fn encode_request<M: Request>(
    header: &RequestHeader,
    request: &M,
) -> Result<Frame, EncodeError> {
    assert_eq!(header.api_key, M::KEY.code(), "the type chose the header");
    let version = header.api_version;
    if !is_served(M::KEY, version) {
        let message = M::NAME;
        return Err(EncodeError::UnknownVersion { message, version });
    }
    let mut writer = Writer::new(M::NAME, M::KEY.entry().is_flexible(version));
    header.write(&mut writer);
    request.write(&mut writer, version)?;
    writer.finish()
}

/// Builds the frame of the response to the request `correlation_id` in `version`.
///
/// # Errors
/// When the version is not served, or cannot carry the response. Both are mistakes of the caller; see `messages.rs` for the
/// responses that need care.
pub fn encode_response<M: Response>(
    version: i16,
    correlation_id: i32,
    response: &M,
) -> Result<Frame, EncodeError> {
    if !is_served(M::KEY, version) {
        let message = M::NAME;
        return Err(EncodeError::UnknownVersion { message, version });
    }
    let mut writer = Writer::new(M::NAME, M::KEY.entry().is_flexible(version));
    write_response_header(&mut writer, M::KEY, version, correlation_id);
    response.write(&mut writer, version)?;
    writer.finish()
}

/// Reads the response to a request in `version` from `frame`, a frame without its length. Returns the correlation id too.
///
/// # Errors
/// When the version is not served, or the frame is not such a response.
pub fn decode_response<M: Response>(version: i16, frame: &Bytes) -> Result<(i32, M), WireError> {
    if !is_served(M::KEY, version) {
        return Err(unknown_version(M::NAME, version));
    }
    let (correlation_id, start) = read_response_header(M::KEY, version, frame)?;
    let response = M::read(frame.slice(start..), version)?;
    Ok((correlation_id, response))
}

fn is_served(key: ApiKey, version: i16) -> bool {
    key.entry().served.is_some_and(|served| served.contains(version))
}

fn unknown_version(message: &'static str, version: i16) -> WireError {
    WireError::new(message, "version", 0, Problem::UnknownVersion(version))
}
