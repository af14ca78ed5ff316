//! Reading from a log: by offset and by time. Takes no lock but to look at what is published.

use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::ReadError;
use super::partition_log::{Log, LogEnds, LogPosition, Published};
use super::scan::{Found, Headers, ScanError, Step};
use super::segment::Segment;
use super::transaction_index::AbortedTransaction;
use crate::env::Residency;
use crate::model::{LeaderEpoch, Offset, UnixMillis};
use crate::record::{self, TimestampType};

/// How far a read may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadLimit {
    /// Up to the end of the log: replicas.
    End,
    /// Up to the high watermark: consumers.
    HighWatermark,
    /// Up to the last stable offset: consumers that read committed transactions only.
    LastStable,
}

/// Records that were read.
#[derive(Clone, Debug)]
pub struct LogRead {
    /// Batches, the first of which holds the offset asked for (or comes after it, if that is gone). The last one may be
    /// cut off. Empty if there is nothing to read, or the first batch is larger than was asked for.
    pub records: Bytes,
    /// Where the read began.
    pub start: LogPosition,
    /// How far it could have gone.
    pub limit: LogPosition,
    /// The aborted transactions that reach into the records, by the offsets of their markers, if the read was limited to
    /// [`ReadLimit::LastStable`]; perhaps some that begin soon after them.
    pub aborted: Vec<AbortedTransaction>,
    /// The marks of the log at that moment.
    pub ends: LogEnds,
}

/// A record by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The record's timestamp.
    pub timestamp: UnixMillis,
    /// Its offset.
    pub offset: Offset,
    /// Epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
}

impl Log {
    /// Reads batches from the one that holds `from` on, about `max_bytes` of them; if `whole_first_batch`, the first one
    /// even if it is larger. `None` if [`Residency::Cached`] was asked and something needed is not in memory.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub fn read(
        &self,
        from: Offset,
        max_bytes: u32,
        whole_first_batch: bool,
        limit: ReadLimit,
        residency: Residency,
    ) -> Result<Option<LogRead>, ReadError> {
        let published = self.published.read().clone();
        let ends = published.ends();
        if from < ends.log_start || from > ends.end {
            let (start, end) = (ends.log_start, ends.end);
            return Err(ReadError::OffsetOutOfRange { wanted: from, start, end });
        }
        let kind = limit;
        let limit = published.limit(limit);
        let aborted = Vec::new();
        let empty = LogRead { records: Bytes::new(), start: limit, limit, aborted, ends };
        if from >= limit.offset {
            return Ok(Some(empty));
        }
        let first =
            published.segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
        for (segment, index) in published.segments.iter().zip(0..).skip(first) {
            let bound =
                if segment.base() == limit.segment { limit.position } else { segment.size() };
            let found = match segment.find(from, bound, residency) {
                Ok(Step::Batch(found)) => found,
                Ok(Step::NotResident) => return Ok(None),
                // The rest of the segment was compacted away: the next one goes on.
                Ok(Step::End) if segment.base() < limit.segment => continue,
                Ok(Step::End) => break,
                Err(error) => return Err(read_error(segment, error)),
            };
            let start =
                LogPosition { offset: from, segment: segment.base(), position: found.position };
            let first_bytes = found.header.size_bytes();
            let wanted = if whole_first_batch { max_bytes.max(first_bytes) } else { max_bytes };
            if wanted < first_bytes {
                return Ok(Some(LogRead { start, ..empty }));
            }
            let end =
                self.read_end(segment, found.end(), start.position.saturating_add(wanted), bound)?;
            if end == found.end() {
                segment.read_up_to(found.header.next_offset(), end);
            } else if end == limit.position && segment.base() == limit.segment {
                segment.read_up_to(limit.offset, end);
            }
            let aborted = match kind {
                ReadLimit::LastStable => aborted_in(&published, index, start, end, residency)?,
                ReadLimit::HighWatermark | ReadLimit::End => Some(Vec::new()),
            };
            let Some(aborted) = aborted else { return Ok(None) };
            let range = u64::from(start.position)..u64::from(end);
            let file = segment.file();
            let records = match kind {
                // What is not committed may be cut off, and a view must not outlive that.
                ReadLimit::End => read_copy(segment, range, residency),
                // Their batches are looked at, to leave some out.
                ReadLimit::LastStable if !aborted.is_empty() => file.read_near(range, residency),
                ReadLimit::HighWatermark | ReadLimit::LastStable => file.read(range, residency),
            };
            let records = records.map_err(|error| read_error(segment, error.into()))?;
            return Ok(records.map(|records| LogRead { records, start, aborted, ..empty }));
        }
        Ok(Some(empty))
    }

    /// Where a read that may go up to `wanted` ends: at a batch if the index knows one.
    fn read_end(
        &self,
        segment: &Segment,
        first_end: u32,
        wanted: u32,
        bound: u32,
    ) -> Result<u32, ReadError> {
        if wanted >= bound {
            return Ok(bound);
        }
        let boundary = segment.offsets.boundary_at_most(wanted);
        let boundary = boundary.map_err(|error| read_error(segment, error.into()))?;
        Ok(if boundary >= first_end { boundary } else { wanted })
    }

    /// Where `offset` stands, which must lie within the log: its batch, or the first one after it.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub fn position_of(&self, offset: Offset) -> Result<LogPosition, ReadError> {
        let published = self.published.read().clone();
        for known in [published.end, published.high_watermark] {
            if known.offset == offset {
                return Ok(known);
            }
        }
        let (start, end) = (published.log_start, published.end.offset);
        if offset < start || offset > end {
            return Err(ReadError::OffsetOutOfRange { wanted: offset, start, end });
        }
        let after = published.segments.partition_point(|segment| segment.base() <= offset);
        let Some(segment) = published.segments.get(after.saturating_sub(1)) else {
            return Ok(published.end);
        };
        let bound = published.bound_of(segment);
        let position = match segment.find(offset, bound, Residency::Any) {
            Ok(Step::Batch(found)) => found.position,
            Ok(Step::End | Step::NotResident) => bound,
            Err(error) => return Err(read_error(segment, error)),
        };
        Ok(LogPosition { offset, segment: segment.base(), position })
    }

    /// About when the first record at or after `offset` was written: by the header of its batch, the time of the batch's first
    /// record, or of its append where the broker sets the time. None if nothing at or after `offset` is committed, or nobody
    /// has said when. May wait for the disk.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub fn time_at(&self, offset: Offset) -> Result<Option<UnixMillis>, ReadError> {
        let published = self.published.read().clone();
        let limit = published.limit(ReadLimit::HighWatermark);
        let from = offset.max(published.log_start);
        if from >= limit.offset {
            return Ok(None);
        }
        let first =
            published.segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
        for segment in published.segments.iter().skip(first) {
            let bound =
                if segment.base() == limit.segment { limit.position } else { segment.size() };
            let found = segment.find(from, bound, Residency::Any);
            match found.map_err(|error| read_error(segment, error))? {
                Step::Batch(found) => {
                    let time = match found.header.timestamp_type() {
                        TimestampType::CreateTime => found.header.base_timestamp,
                        TimestampType::LogAppendTime => found.header.max_timestamp,
                    };
                    return Ok(Some(time).filter(|time| *time != UnixMillis::NONE));
                }
                // The rest of the segment was compacted away: the next one goes on.
                Step::End | Step::NotResident if segment.base() < limit.segment => {}
                Step::End | Step::NotResident => break,
            }
        }
        Ok(None)
    }

    /// Where the first segment after the one that holds `offset` begins; the end of the log if there is none.
    #[must_use]
    pub fn segment_after(&self, offset: Offset) -> Offset {
        let published = self.published.read();
        let mut bases = published.segments.iter().map(|segment| segment.base());
        bases.find(|base| *base > offset).unwrap_or(published.end.offset)
    }

    /// The first record at or after `timestamp`, if any. Reads batches, so it may wait for the disk.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub fn find_timestamp(
        &self,
        timestamp: UnixMillis,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let published = self.published.read().clone();
        let late_enough = |segment: &&Arc<Segment>| {
            segment.latest().is_some_and(|latest| latest.timestamp >= timestamp)
        };
        // What made a segment late enough may lie below the start of the log: then the next one counts.
        for segment in published.segments.iter().filter(late_enough) {
            let found = find_timestamp_in(segment, timestamp, &published);
            if let Some(found) = found.map_err(|error| read_error(segment, error))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp, if any. Reads batches, so it may wait for the disk.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub fn find_max_timestamp(&self) -> Result<Option<TimestampOffset>, ReadError> {
        let published = self.published.read().clone();
        let mut newest = None;
        for segment in &*published.segments {
            if let Some(latest) = segment.latest()
                && newest.is_none_or(|(_, timestamp, _)| latest.timestamp > timestamp)
            {
                newest = Some((segment, latest.timestamp, latest.last_offset));
            }
        }
        let Some((segment, timestamp, last_offset)) = newest else {
            return Ok(None);
        };
        let find = || {
            let start = segment.offsets.position_before(segment.base(), last_offset)?;
            let bound = published.bound_of(segment);
            let mut headers = Headers::new(&**segment.file(), start, bound, Residency::Any);
            while let Some(found) = headers.next_waiting()? {
                if found.header.max_timestamp == timestamp {
                    return first_record(segment, &found, |_, at| at == timestamp);
                }
            }
            Ok(None)
        };
        find().map_err(|error| read_error(segment, error))
    }
}

/// Reads bytes of a segment's records; `None` if only memory was asked for and they are not there.
fn read_copy(
    segment: &Segment,
    range: Range<u64>,
    residency: Residency,
) -> io::Result<Option<Bytes>> {
    let length =
        usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let is_there = segment.file().read_into(range.start, &mut bytes, residency)?;
    Ok(is_there.then(|| bytes.into()))
}

/// The aborted transactions that reach into what was read of the segment at `index`, from `start` up to position `end`
/// (`LocalLog.addAbortedTransactions` of Apache Kafka). Their markers may stand in any later segment, also above the last
/// stable offset: another transaction may have begun before them.
fn aborted_in(
    published: &Published,
    index: usize,
    start: LogPosition,
    end: u32,
    residency: Residency,
) -> Result<Option<Vec<AbortedTransaction>>, ReadError> {
    let segments = published.segments.get(index..).unwrap_or_default();
    let Some(first) = segments.first() else { return Ok(Some(Vec::new())) };
    let after = first.offsets.around(|entry| entry.position < end);
    let (_, after) = after.map_err(|error| read_error(first, error.into()))?;
    let until = match after {
        Some(entry) => first.base().plus(i64::from(entry.relative_offset)),
        None => segments.get(1).map_or(published.end.offset, |next| next.base()),
    };
    let mut aborted = Vec::new();
    for segment in segments {
        let found = segment.transactions.collect(start.offset, until, residency, &mut aborted);
        match found.map_err(|error| read_error(segment, error.into()))? {
            None => return Ok(None),
            Some(true) => break,
            Some(false) => {}
        }
    }
    Ok(Some(aborted))
}

/// The first record of a segment at or after `timestamp`, if any.
fn find_timestamp_in(
    segment: &Segment,
    timestamp: UnixMillis,
    published: &Published,
) -> Result<Option<TimestampOffset>, ScanError> {
    let (entry, _) = segment.times.around(|entry| entry.timestamp <= timestamp)?;
    let from = segment.base().plus(entry.map_or(0, |entry| i64::from(entry.relative_offset)));
    let from = from.max(published.log_start);
    let start = segment.offsets.position_before(segment.base(), from)?;
    let bound = published.bound_of(segment);
    let mut headers = Headers::new(&**segment.file(), start, bound, Residency::Any);
    while let Some(found) = headers.next_waiting()? {
        let header = &found.header;
        if header.max_timestamp < timestamp || header.last_offset() < published.log_start {
            continue;
        }
        let wanted =
            |offset: Offset, at: UnixMillis| offset >= published.log_start && at >= timestamp;
        if let Some(found) = first_record(segment, &found, wanted)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The first record of a batch that is wanted.
fn first_record(
    segment: &Segment,
    found: &Found,
    wanted: impl Fn(Offset, UnixMillis) -> bool,
) -> Result<Option<TimestampOffset>, ScanError> {
    let range = u64::from(found.position)..u64::from(found.end());
    let batch = segment.file().read(range, Residency::Any)?.unwrap_or_default();
    let mut first = None;
    let visited = record::visit_records(&batch, |record| {
        if wanted(record.offset, record.timestamp) {
            first = Some((record.offset, record.timestamp));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    let damaged = |problem: String| ScanError::Damaged { position: found.position, problem };
    visited.map_err(|error| damaged(error.to_string()))?;
    let leader_epoch = found.header.partition_leader_epoch;
    Ok(first.map(|(offset, timestamp)| TimestampOffset { timestamp, offset, leader_epoch }))
}

/// What an error in the records of a segment is for a reader.
pub(super) fn read_error(segment: &Segment, error: ScanError) -> ReadError {
    let path = segment.path();
    match error {
        ScanError::Io(source) => ReadError::Io { path, source },
        ScanError::Damaged { position, problem } => {
            ReadError::Damaged { path, position: u64::from(position), problem }
        }
    }
}
