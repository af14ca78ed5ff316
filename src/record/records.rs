//! Going through the records of a batch, compressed or not.
//!
//! Owns the loop over the records and the rule that they fill their batch. Two ways: [`visit_records`] shows keys and
//! values and holds at most one record beside the decoder's window; [`visit_shapes`] skips them and holds nothing.

use std::ops::ControlFlow;

use super::compression::Compression;
use super::decompress::Decompressed;
use super::error::{BatchError, RecordProblem};
use super::fields::{Body, Fields, RecordHeaders, read_fields, read_length, read_record};
use super::header::{BatchHeader, TimestampType};
use crate::model::{Offset, UnixMillis};

/// A record of a batch.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Its place in the log.
    pub offset: Offset,
    /// When it was made or appended, as [`BatchHeader::timestamp_type`] says.
    pub timestamp: UnixMillis,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; a record without is a tombstone for its key.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: RecordHeaders<'a>,
}

/// Shows the records of the batch at the start of `batch` one by one, until `visit` breaks or all were shown.
///
/// The checksum is not looked at.
///
/// # Errors
/// As [`BatchHeader::parse`]; [`BatchError::CutOff`] if the batch is not all there; [`BatchError::Record`],
/// [`BatchError::Decompress`], [`BatchError::ExpandsTooFar`] or [`BatchError::BytesAfterRecords`] when it comes to that,
/// after the records before were shown.
pub fn visit_records(
    batch: &[u8],
    mut visit: impl FnMut(Record<'_>) -> ControlFlow<()>,
) -> Result<(), BatchError> {
    let header = BatchHeader::parse(batch)?;
    let needed = header.size_bytes() as usize;
    let payload = batch.get(BatchHeader::BYTES..needed);
    let payload = payload.ok_or(BatchError::CutOff { needed, found: batch.len() })?;
    let mut source = Source::open(&header, payload)?;
    let mut straddling = Vec::new();
    for index in 0..header.record_count {
        let mut show = |fields: Fields<&[u8]>| visit(record_of(&header, &fields));
        let flow = match &mut source {
            Source::Memory(rest) => read_record(rest).map(show).map_err(Trouble::Record),
            Source::Stream(stream) => stream.show_record(&mut straddling, &mut show),
        };
        if flow.map_err(|trouble| trouble.at(index))?.is_break() {
            return Ok(());
        }
    }
    source.expect_end(header.record_count)
}

/// Checks the form of all records of a batch and shows what they are like without their bytes.
///
/// # Errors
/// As [`visit_records`], and [`BatchError::Record`] with what `visit` returned.
pub(super) fn visit_shapes(
    header: &BatchHeader,
    payload: &[u8],
    mut visit: impl FnMut(i32, &Fields<()>) -> Result<(), RecordProblem>,
) -> Result<(), BatchError> {
    let mut source = Source::open(header, payload)?;
    for index in 0..header.record_count {
        let shape = match &mut source {
            Source::Memory(rest) => {
                read_record(rest).map(|fields| fields.shape()).map_err(Trouble::Record)
            }
            Source::Stream(stream) => stream.read_shape(),
        };
        let seen = shape.and_then(|shape| Ok(visit(index, &shape)?));
        seen.map_err(|trouble| trouble.at(index))?;
    }
    source.expect_end(header.record_count)
}

/// The timestamp that a record carries itself, `delta` after the base timestamp of its batch.
pub(super) const fn own_timestamp(header: &BatchHeader, delta: i64) -> UnixMillis {
    UnixMillis(header.base_timestamp.0.wrapping_add(delta))
}

/// The timestamp of a record: its own, or that of the append.
const fn timestamp_of(header: &BatchHeader, delta: i64) -> UnixMillis {
    match header.timestamp_type() {
        TimestampType::CreateTime => own_timestamp(header, delta),
        TimestampType::LogAppendTime => header.max_timestamp,
    }
}

fn record_of<'a>(header: &BatchHeader, fields: &Fields<&'a [u8]>) -> Record<'a> {
    Record {
        offset: header.base_offset.plus(i64::from(fields.offset_delta)),
        timestamp: timestamp_of(header, fields.timestamp_delta),
        key: fields.key,
        value: fields.value,
        headers: RecordHeaders::new(fields.headers),
    }
}

/// Where the records come from.
enum Source<'a> {
    Memory(&'a [u8]),
    Stream(Stream<'a>),
}

impl<'a> Source<'a> {
    fn open(header: &BatchHeader, payload: &'a [u8]) -> Result<Self, BatchError> {
        // Compaction leaves batches without records behind, whose payload is empty even if they name a codec.
        if header.compression() == Compression::None || header.record_count == 0 {
            return Ok(Self::Memory(payload));
        }
        Ok(Self::Stream(Stream(Decompressed::new(header.compression(), payload)?)))
    }

    fn expect_end(&mut self, record_count: i32) -> Result<(), BatchError> {
        let rest = match self {
            Self::Memory(rest) => rest,
            Self::Stream(stream) => stream.0.window()?,
        };
        if rest.is_empty() { Ok(()) } else { Err(BatchError::BytesAfterRecords(record_count)) }
    }
}

/// Records in compressed bytes.
struct Stream<'a>(Decompressed<'a>);

impl Stream<'_> {
    /// Shows the next record, which is put together in `straddling` if it does not lie within the window.
    fn show_record<T>(
        &mut self,
        straddling: &mut Vec<u8>,
        show: impl FnOnce(Fields<&[u8]>) -> T,
    ) -> Result<T, Trouble> {
        let window = self.0.window()?;
        let mut rest = window;
        if let Ok(fields) = read_record(&mut rest) {
            let used = window.len() - rest.len();
            let shown = show(fields);
            self.0.consume(used)?;
            return Ok(shown);
        }
        let mut left = read_length(|| self.byte())?;
        straddling.clear();
        while left > 0 {
            let window = self.0.window()?;
            let piece = window.get(..left).unwrap_or(window);
            if piece.is_empty() {
                return Err(RecordProblem::CutOff.into());
            }
            straddling.extend_from_slice(piece);
            let taken = piece.len();
            self.0.consume(taken)?;
            left -= taken;
        }
        Ok(show(read_fields(straddling.as_slice())?))
    }

    /// Reads the next record and keeps none of it.
    fn read_shape(&mut self) -> Result<Fields<()>, Trouble> {
        let window = self.0.window()?;
        let mut rest = window;
        if let Ok(fields) = read_record(&mut rest) {
            let (used, shape) = (window.len() - rest.len(), fields.shape());
            self.0.consume(used)?;
            return Ok(shape);
        }
        let left = read_length(|| self.byte())?;
        read_fields(StreamBody { stream: self, left })
    }

    fn byte(&mut self) -> Result<u8, Trouble> {
        let byte = *self.0.window()?.first().ok_or(RecordProblem::CutOff)?;
        self.0.consume(1)?;
        Ok(byte)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Trouble> {
        let mut left = bytes;
        while left > 0 {
            let step = self.0.window()?.len().min(left);
            if step == 0 {
                return Err(RecordProblem::CutOff.into());
            }
            self.0.consume(step)?;
            left -= step;
        }
        Ok(())
    }
}

/// A record that goes on beyond the window.
struct StreamBody<'a, 'b> {
    stream: &'a mut Stream<'b>,
    left: usize,
}

impl Body for StreamBody<'_, '_> {
    type Span = ();
    type Error = Trouble;

    fn byte(&mut self) -> Result<u8, Trouble> {
        self.left = self.left.checked_sub(1).ok_or(RecordProblem::CutOff)?;
        self.stream.byte()
    }

    fn span(&mut self, bytes: usize) -> Result<(), Trouble> {
        self.left = self.left.checked_sub(bytes).ok_or(RecordProblem::CutOff)?;
        self.stream.skip(bytes)
    }

    fn rest(&self) {}

    fn left(&self) -> usize {
        self.left
    }
}

/// What can go wrong while a record is read.
enum Trouble {
    Record(RecordProblem),
    Batch(BatchError),
}

impl Trouble {
    fn at(self, index: i32) -> BatchError {
        match self {
            Self::Record(problem) => BatchError::Record { index, problem },
            Self::Batch(error) => error,
        }
    }
}

impl From<RecordProblem> for Trouble {
    fn from(problem: RecordProblem) -> Self {
        Self::Record(problem)
    }
}

impl From<BatchError> for Trouble {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

#[cfg(test)]
mod tests;
