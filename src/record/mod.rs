//! The bytes of record batches.
//!
//! Owns version 2 of Kafka's record format (KIP-98): headers, checksums, records, compression, making batches, and the
//! rules by which a batch of a client is taken or refused. Does not know where batches are kept, nor topics or
//! requests: what a topic's configuration says comes in as [`Rules`].
//!
//! **Invariants:** bytes from outside never panic and never cause an allocation beyond what they can hold. Pure: no
//! clock, no files, no tasks. Records travel as the producer compressed them, unless
//! the topic wants another codec; else only the header of a batch changes.

#![deny(clippy::indexing_slicing, clippy::string_slice)]
#![warn(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod crc;
mod error;
mod header;
mod varint;
mod blocks;
mod snappy;
mod lz4;
mod compression;
mod decompress;
mod fields;
mod records;
mod scan;
mod builder;
mod thin;
mod valid;
mod control;
mod validate;

pub use builder::BatchBuilder;
pub use compression::Compression;
pub use control::{EndMarker, TransactionOutcome};
pub use crc::{Crc32c, crc32c};
pub use error::{BatchError, RecordProblem};
pub use fields::RecordHeaders;
pub use header::{Attributes, BatchHeader, TimestampType, peek_size};
pub use records::{Record, visit_records};
pub use scan::{Batch, Batches, scan};
pub use thin::{Horizon, Thinned, emptied, thin};
pub use valid::ValidBatch;
pub use validate::{InvalidBatch, Recompression, RecordError, Rules, validate};
