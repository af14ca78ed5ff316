//! What can be wrong with the bytes of a batch.

use std::io;

use super::compression::Compression;

/// Why bytes are not a batch, or not one that can be read.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// There are fewer bytes than the batch needs.
    #[error("a batch of {needed} bytes is cut off after {found}")]
    CutOff {
        /// Bytes of the batch, or of its header if even that is cut off.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The length field is below what the format needs.
    #[error("batch length {0} is too small")]
    Length(i32),
    /// The format is not version 2.
    #[error("record format version {0} is not supported")]
    Magic(i8),
    /// The codec is none that the format knows.
    #[error("unknown compression type {0}")]
    UnknownCompression(u8),
    /// The checksum does not fit.
    #[error("stored checksum {stored:#010x}, computed {computed:#010x}")]
    Checksum {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// A record is not well formed.
    #[error("record {index}: {problem}")]
    Record {
        /// Counted from 0 within the batch.
        index: i32,
        /// What is wrong.
        problem: RecordProblem,
    },
    /// Something follows a batch that should stand alone.
    #[error("{0} bytes follow the batch")]
    BytesAfterBatch(usize),
    /// Something follows the last record.
    #[error("bytes follow the last of {0} records")]
    BytesAfterRecords(i32),
    /// The compressed bytes cannot be read.
    #[error("bad {codec} data")]
    Decompress {
        /// The codec.
        codec: Compression,
        /// What its decoder says.
        #[source]
        source: io::Error,
    },
    /// The records take more space than a batch of this size may ask for.
    #[error("decompresses out of all proportion")]
    ExpandsTooFar,
}

/// What is wrong with a single record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    /// The bytes end within the record.
    #[error("cut off")]
    CutOff,
    /// A number has more bytes than its type can need.
    #[error("a variable-length number is too long")]
    LongNumber,
    /// The length of the record is negative.
    #[error("negative length")]
    NegativeLength,
    /// The number of headers is negative.
    #[error("negative number of headers")]
    NegativeHeaderCount,
    /// A header without key.
    #[error("a header has no key")]
    HeaderWithoutKey,
    /// The offset does not follow that of the record before.
    #[error("offset delta {0} is out of order")]
    OffsetDelta(i32),
    /// The fields do not fill the length that the record says it has.
    #[error("fields end before the record does")]
    LengthMismatch,
    /// It should be a control record, and is none.
    #[error("not a control record")]
    Control,
}
