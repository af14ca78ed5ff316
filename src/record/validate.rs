//! The rules by which a batch of a client is taken or refused.
//!
//! Owns which batches may be appended and with which error the others are refused: the codes of `ProduceRequest`,
//! `UnifiedLog` and `LogValidator` of Apache Kafka 4.3.1, asked in their order. Does not know producers' earlier
//! batches (that is `log/`) nor what a request as a whole may do.
//!
//! Apache Kafka gives new offsets to compressed records whose offsets are not 0, 1, 2, … and stores uncompressed ones as
//! they are; both are refused here, since no client sends them. So are records that decompress out of all proportion.
//! Where a client claims a time of the append, Apache Kafka checks and keeps that in place of the records' timestamps; here
//! their own count, as they do once the flag is gone.

use std::error::Error as _;

use bytes::Bytes;

use super::compression::{Compression, Compressor};
use super::decompress::Decompressed;
use super::error::{BatchError, RecordProblem};
use super::fields::Fields;
use super::header::{BatchHeader, TimestampType, peek_size};
use super::records::{own_timestamp, visit_shapes};
use super::valid::ValidBatch;
use crate::model::{ErrorCode, Offset, UnixMillis};

/// What a topic's configuration and the version of the request ask of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The largest batch, header and all (`max.message.bytes`).
    pub batch_bytes_max: u32,
    /// Whether every record needs a key (`cleanup.policy` has `compact`).
    pub is_compacted: bool,
    /// Who chooses the timestamps (`message.timestamp.type`).
    pub timestamp_type: TimestampType,
    /// How far a record's own timestamp may lie in the past (`message.timestamp.before.max.ms`).
    pub timestamp_before_max_ms: i64,
    /// How far a record's own timestamp may lie in the future (`message.timestamp.after.max.ms`).
    pub timestamp_after_max_ms: i64,
    /// Whether the request is new enough for Zstandard (Produce v7, KIP-110).
    pub allows_zstd: bool,
    /// How records are compressed in the log (`compression.type`); as the producer did it if none.
    pub recompression: Option<Recompression>,
}

/// How a topic wants its records compressed, whatever the producer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recompression {
    /// The codec. A batch that has it already stays as it is, at whatever level.
    pub codec: Compression,
    /// The level for gzip (-1, or 1 to 9), LZ4 (1 to 17) and Zstandard (-131,072 to 22); none for the default of the codec.
    pub level: Option<i32>,
}

/// A batch that is refused, in the terms of a Produce response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidBatch {
    /// The code of the partition.
    pub error: ErrorCode,
    /// What is wrong, for people.
    pub message: String,
    /// Whether the request is refused as such, before anything is asked of the partition's log
    /// (`ProduceRequest.validateRecords`).
    pub before_log: bool,
    /// The records that are at fault, if it is single ones (KIP-467); at most [`InvalidBatch::RECORD_ERRORS_MAX`].
    pub record_errors: Vec<RecordError>,
}

impl InvalidBatch {
    /// How many records at fault are named. The others are refused with the batch all the same.
    pub const RECORD_ERRORS_MAX: usize = 1_000;

    fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self { error, message: message.into(), before_log: false, record_errors: Vec::new() }
    }
}

/// Why a record is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The record, counted from 0 within the batch.
    pub index: i32,
    /// What is wrong, for people.
    pub message: String,
}

/// Checks what a client wants to have appended to a partition.
///
/// `bytes` must hold exactly one batch; a second one that is cut off is left out, as Apache Kafka does. The header of
/// the result has the true maximum of the timestamps, whatever the client wrote there.
///
/// Compressed records are decompressed on the way and thrown away; that takes about a second of CPU per gigabyte. If the
/// topic wants another codec, they are compressed anew, piece by piece.
///
/// # Errors
/// The code and texts that the client gets. Nothing of the batch may be appended then.
pub fn validate(bytes: &Bytes, rules: &Rules, now: UnixMillis) -> Result<ValidBatch, InvalidBatch> {
    let (header, batch) = single_batch(bytes, rules).map_err(|invalid| {
        // An unknown codec is the only thing here that Apache Kafka meets no earlier than for the log.
        let before_log = invalid.error != ErrorCode::UnknownServerError;
        InvalidBatch { before_log, ..invalid }
    })?;
    check_frame(&header, &batch, rules)?;
    check_header(&header)?;
    let payload = batch.slice(BatchHeader::BYTES..);
    let max_timestamp = check_records(&header, &payload, rules, now)?;
    let header = match rules.timestamp_type {
        TimestampType::CreateTime => {
            header.with_timestamps(TimestampType::CreateTime, max_timestamp, &payload)
        }
        // The maximum is the time of the append, which is not known yet.
        TimestampType::LogAppendTime => header,
    };
    match rules.recompression {
        Some(wanted) if wanted.codec != header.compression() => {
            recompress(&header, &payload, wanted, rules)
        }
        _ => Ok(ValidBatch::from_parts(header, payload)),
    }
}

/// The batch with its records in another codec (`LogValidator` of Apache Kafka). It may be too large then.
fn recompress(
    header: &BatchHeader,
    payload: &[u8],
    wanted: Recompression,
    rules: &Rules,
) -> Result<ValidBatch, InvalidBatch> {
    let size_max = rules.batch_bytes_max as usize;
    let mut records = Decompressed::new(header.compression(), payload)?;
    let mut compressor = Compressor::new(wanted.codec, wanted.level, None);
    loop {
        let window = records.window()?;
        let bytes = window.len();
        if bytes == 0 {
            break;
        }
        compressor.write(window);
        records.consume(bytes)?;
        if BatchHeader::BYTES + compressor.written() > size_max {
            return Err(too_large("more than", size_max, rules));
        }
    }
    let payload = Bytes::from(compressor.finish());
    let size = BatchHeader::BYTES + payload.len();
    if size > size_max {
        return Err(too_large("", size, rules));
    }
    Ok(ValidBatch::from_parts(header.with_payload(wanted.codec, &payload), payload))
}

fn too_large(how: &str, size: usize, rules: &Rules) -> InvalidBatch {
    let max = rules.batch_bytes_max;
    let message =
        format!("compressed anew the batch has {how} {size} bytes, max.message.bytes allows {max}");
    InvalidBatch::new(ErrorCode::MessageTooLarge, message)
}

/// The one batch that `bytes` must hold.
fn single_batch(bytes: &Bytes, rules: &Rules) -> Result<(BatchHeader, Bytes), InvalidBatch> {
    let invalid = |message: &str| InvalidBatch::new(ErrorCode::InvalidRecord, message);
    let size = peek_size(bytes)?.filter(|size| *size <= bytes.len());
    let batch = bytes.slice(..size.ok_or_else(|| invalid("there is no whole batch"))?);
    let header = BatchHeader::parse(&batch).map_err(|error| {
        if let BatchError::Magic(magic) = error {
            return invalid(&format!("record format version {magic} is too old"));
        }
        error.into()
    })?;
    if header.compression() == Compression::Zstd && !rules.allows_zstd {
        let message = "zstd needs version 7 of Produce or later";
        return Err(InvalidBatch::new(ErrorCode::UnsupportedCompressionType, message));
    }
    let after = bytes.get(batch.len()..).unwrap_or_default();
    if peek_size(after)?.is_some_and(|size| size <= after.len()) {
        return Err(invalid("there is more than one batch"));
    }
    Ok((header, batch))
}

/// Checks that the batch is intact and not too large.
fn check_frame(header: &BatchHeader, batch: &[u8], rules: &Rules) -> Result<(), InvalidBatch> {
    if header.base_offset != Offset::ZERO {
        let message = format!("base offset must be 0, but is {}", header.base_offset);
        return Err(InvalidBatch::new(ErrorCode::InvalidRecord, message));
    }
    if header.size_bytes() > rules.batch_bytes_max {
        let (size, max) = (header.size_bytes(), rules.batch_bytes_max);
        let message = format!("the batch has {size} bytes, max.message.bytes allows {max}");
        return Err(InvalidBatch::new(ErrorCode::MessageTooLarge, message));
    }
    header.check_crc(batch)?;
    Ok(())
}

/// Checks what the header says about records and producer.
fn check_header(header: &BatchHeader) -> Result<(), InvalidBatch> {
    let count = header.record_count;
    let message = if count <= 0 {
        format!("record count must be positive, but is {count}")
    } else if header.last_offset_delta != count - 1 {
        format!("last offset delta {} does not fit {count} records", header.last_offset_delta)
    } else if header.is_control() {
        "clients may not write control records".to_owned()
    } else if header.has_producer() && header.base_sequence < 0 {
        format!("producer {} sends sequence number {}", header.producer_id, header.base_sequence)
    } else {
        return Ok(());
    };
    Err(InvalidBatch::new(ErrorCode::InvalidRecord, message))
}

/// Checks every record; gives the largest timestamp.
fn check_records(
    header: &BatchHeader,
    payload: &[u8],
    rules: &Rules,
    now: UnixMillis,
) -> Result<UnixMillis, InvalidBatch> {
    let mut max_timestamp = UnixMillis::NONE;
    let mut refused = Refused::default();
    visit_shapes(header, payload, |index, record| {
        if record.offset_delta != index {
            return Err(RecordProblem::OffsetDelta(record.offset_delta));
        }
        // Also if the client claims a time of the append: that flag does not stay.
        let timestamp = own_timestamp(header, record.timestamp_delta);
        max_timestamp = max_timestamp.max(timestamp);
        if let Some(reason) = refusal(header, record, timestamp, rules, now) {
            refused.add(index, &reason);
        }
        Ok(())
    })?;
    refused.into_result().map(|()| max_timestamp)
}

/// Why a well-formed record is refused, if it is.
#[inline]
fn refusal(
    header: &BatchHeader,
    record: &Fields<()>,
    timestamp: UnixMillis,
    rules: &Rules,
    now: UnixMillis,
) -> Option<Refusal> {
    if rules.is_compacted && record.key.is_none() {
        return Some(Refusal::NoKey);
    }
    if rules.timestamp_type == TimestampType::CreateTime && timestamp != UnixMillis::NONE {
        // Wraps as in Kafka, where a timestamp at the far end of the past counts as one of the future.
        let age = now.0.wrapping_sub(timestamp.0);
        let is_off = age > rules.timestamp_before_max_ms
            || age.wrapping_neg() > rules.timestamp_after_max_ms;
        let earliest = UnixMillis(now.0.saturating_sub(rules.timestamp_before_max_ms));
        let latest = now.plus_millis(rules.timestamp_after_max_ms);
        return is_off.then_some(Refusal::Timestamp { timestamp, earliest, latest });
    }
    let appended = header.timestamp_type() == TimestampType::LogAppendTime;
    appended.then_some(Refusal::TimestampType)
}

/// Why a record is refused.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    NoKey,
    Timestamp { timestamp: UnixMillis, earliest: UnixMillis, latest: UnixMillis },
    TimestampType,
}

impl Refusal {
    fn message(self) -> String {
        match self {
            Self::NoKey => "a compacted topic takes no records without key".to_owned(),
            Self::Timestamp { timestamp, earliest, latest } => {
                format!("timestamp {timestamp} is not within {earliest} and {latest}")
            }
            Self::TimestampType => "a producer cannot set the time of the append".to_owned(),
        }
    }
}

/// The records that are refused so far.
#[derive(Debug, Default)]
struct Refused {
    count: usize,
    any_timestamp: bool,
    errors: Vec<RecordError>,
}

impl Refused {
    #[cold]
    fn add(&mut self, index: i32, reason: &Refusal) {
        self.count += 1;
        self.any_timestamp |= !matches!(reason, Refusal::NoKey);
        if self.errors.len() < InvalidBatch::RECORD_ERRORS_MAX {
            self.errors.push(RecordError { index, message: reason.message() });
        }
    }

    fn into_result(self) -> Result<(), InvalidBatch> {
        let Some(first) = self.errors.first() else {
            return Ok(());
        };
        let error =
            if self.any_timestamp { ErrorCode::InvalidTimestamp } else { ErrorCode::InvalidRecord };
        let message = format!(
            "{} records are refused; record {}: {}",
            self.count, first.index, first.message
        );
        Err(InvalidBatch { error, message, before_log: false, record_errors: self.errors })
    }
}

impl From<BatchError> for InvalidBatch {
    fn from(problem: BatchError) -> Self {
        let error = match &problem {
            BatchError::CutOff { .. }
            | BatchError::Length(_)
            | BatchError::Magic(_)
            | BatchError::Checksum { .. } => ErrorCode::CorruptMessage,
            BatchError::Record { .. }
            | BatchError::BytesAfterBatch(_)
            | BatchError::BytesAfterRecords(_) => ErrorCode::InvalidRecord,
            // Kafka's decoders throw what its API has no code for.
            BatchError::UnknownCompression(_) | BatchError::Decompress { .. } => {
                ErrorCode::UnknownServerError
            }
            BatchError::ExpandsTooFar => ErrorCode::MessageTooLarge,
        };
        let message = match problem.source() {
            Some(source) => format!("{problem}: {source}"),
            None => problem.to_string(),
        };
        Self::new(error, message)
    }
}

#[cfg(test)]
mod payload_tests;
#[cfg(test)]
mod recompression_tests;
#[cfg(test)]
mod tests;
