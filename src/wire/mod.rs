//! The bytes of the Kafka protocol: headers, messages, and which versions of them exist.
//!
//! Owns the registry of APIs (`registry.rs`), request and response headers (`header.rs`), the bounds gate (`shape.rs`
//! with the tables in `shapes/`), our own codecs for Produce and Fetch (record bytes are never copied), ListOffsets,
//! OffsetCommit, OffsetFetch, WriteTxnMarkers, DescribeLogDirs and AddRaftVoter, and the adaption of the message crate for all others (`messages.rs`). It does not read sockets, knows
//! no record batch from inside, and decides nothing: what a request means is the business of `api/`.
//!
//! The way in: a frame without its length goes to [`RequestHeader::decode`], what follows the header to
//! [`decode_request`]. The way out: [`encode_response`] gives a [`Frame`] for a vectored write.
//!
//! **Invariant:** this folder is the only home of the message crate, and no byte from outside reaches that crate before
//! the gate has seen it. **Invariant:** bytes from outside cause errors, never a panic, and never allocate more than
//! `reader.rs` grants a frame of their size.
#![deny(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

pub mod add_raft_voter;
mod codec;
pub mod describe_log_dirs;
mod error;
pub mod fetch;
pub(crate) mod fields;
mod header;
mod leader;
pub mod list_offsets;
pub mod messages;
pub mod offset_commit;
pub mod offset_fetch;
pub mod produce;
mod reader;
mod registry;
mod shape;
#[rustfmt::skip]
mod shapes;
#[cfg(test)]
mod tests;
mod writer;
pub mod write_txn_markers;

pub use add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
pub use codec::{
    Request, Response, decode_request, decode_response, encode_request, encode_response,
};
pub use describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
pub use error::{EncodeError, Problem, WireError};
pub use fetch::{FetchRequest, FetchResponse};
pub use header::RequestHeader;
/// UTF-8 text that shares its bytes with the frame it came from, so that cloning is cheap.
pub use kafka_protocol::protocol::StrBytes as Text;
pub use leader::{LeaderIdAndEpoch, NodeEndpoint};
pub use list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
pub use offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
pub use offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
pub use produce::{ProduceRequest, ProduceResponse};
pub use registry::{ApiEntry, ApiKey, VersionRange};
pub use shape::{check_request, check_response};
pub use write_txn_markers::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
pub use writer::{Frame, Writer};
