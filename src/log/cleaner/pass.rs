//! One compaction of one log, a piece at a time.
//!
//! Owns the order of the work and its buffers. A step reads and writes about a buffer's worth, so that the caller can slow
//! it down, or stop. The writer's lock of the log is taken only while files change their names.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::LogConfig;
use super::super::partition_log::{Log, Published, State};
use super::super::scan::ScanError;
use super::super::segment::Segment;
use super::super::transaction_index::AbortedTransaction;
use super::CleanError;
use super::offset_map::{Full, OffsetMap};
use super::range::{Cleanable, SegmentGroup, groups};
use super::retain::{LastBatches, Retention};
use super::swap::NewSegment;
use super::transactions::{CleanedTransactions, aborted_below};
use crate::env::Residency;
use crate::model::{Offset, UnixMillis};
use crate::record::{Batch, BatchError, BatchHeader, peek_size, scan, visit_records};

/// How much memory a pass may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanBuffers {
    /// Bytes for the latest offsets of keys (`log.cleaner.dedupe.buffer.size`).
    pub dedupe_bytes: u64,
    /// Which part of them may be filled (`log.cleaner.io.buffer.load.factor`).
    pub load_factor: f64,
    /// Bytes that are read or written at a time, half of it each (`log.cleaner.io.buffer.size`). A batch that is larger
    /// is read whole.
    pub io_bytes: usize,
}

/// What a step did.
#[derive(Debug)]
pub enum CleanStep {
    /// So many bytes were read and written, and there is more to do.
    Moved(u64),
    /// A new segment has taken the place of old ones, whose files have these names now and may go.
    Swapped(Vec<PathBuf>),
    /// All is compacted below this offset.
    Done(Offset),
}

/// What a pass has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanStats {
    /// Keys in the part that was new.
    pub keys: usize,
    /// Bytes of the segments that were rewritten.
    pub bytes_read: u64,
    /// Bytes that are left of them.
    pub bytes_written: u64,
}

/// A compaction under way. Dropped before it is done, it leaves files behind that the next one or the next start removes.
#[derive(Debug)]
pub struct CleanPass {
    config: Arc<LogConfig>,
    now: UnixMillis,
    first_dirty: Offset,
    /// The log when the pass began.
    published: Published,
    /// How many of its segments may be compacted, and where they end.
    segment_count: usize,
    end: Offset,
    reader: Reader,
    write_bytes: usize,
    latest: OffsetMap,
    /// Up to where `latest` knows all keys.
    mapped_to: Offset,
    /// By their first offsets.
    aborted: Vec<AbortedTransaction>,
    stage: Stage,
    stats: CleanStats,
}

#[derive(Debug)]
enum Stage {
    /// Nothing was done yet.
    Begun,
    /// Notes the latest offset of each key, from this place on.
    Mapping(Place, CleanedTransactions),
    /// Writes what is to stay.
    Writing(Box<Writing>),
    Done,
}

/// A place in the log: segment by index, and position.
#[derive(Clone, Copy, Debug)]
struct Place {
    segment: usize,
    position: u32,
}

/// Where the rewriting is.
#[derive(Debug)]
struct Writing {
    transactions: CleanedTransactions,
    /// The groups that are still to be written, the next one last, and where each ends.
    groups: Vec<SegmentGroup>,
    current: Option<Group>,
}

/// A group of segments that becomes one.
#[derive(Debug)]
struct Group {
    segments: Vec<Arc<Segment>>,
    /// Where the last one of them ends.
    end: Offset,
    place: Place,
    new: NewSegment,
    producers: LastBatches,
}

impl CleanPass {
    /// A compaction of what [`Log::cleanable`] has found, at `now`.
    #[must_use]
    pub fn new(log: &Log, cleanable: &Cleanable, buffers: CleanBuffers, now: UnixMillis) -> Self {
        let published = log.published.read().clone();
        let config = log.config();
        let end = cleanable.first_uncleanable;
        let segment_count = published.segments.partition_point(|segment| segment.base() < end);
        let keys_max = u64::try_from(end.since(cleanable.first_dirty)).unwrap_or(0);
        let latest = OffsetMap::new(buffers.dedupe_bytes, buffers.load_factor, keys_max, &log.rng);
        let half = (buffers.io_bytes / 2).max(IO_BYTES_MIN);
        Self {
            config,
            now,
            first_dirty: cleanable.first_dirty,
            published,
            segment_count,
            end,
            reader: Reader { buffer: Vec::new(), usual_bytes: half },
            write_bytes: half,
            latest,
            mapped_to: cleanable.first_dirty,
            aborted: Vec::new(),
            stage: Stage::Begun,
            stats: CleanStats::default(),
        }
    }

    /// What was done so far.
    #[must_use]
    pub const fn stats(&self) -> CleanStats {
        self.stats
    }

    /// Does the next piece of work on the log that the pass was made for. Blocks for the disk.
    ///
    /// # Errors
    /// As [`CleanError`] says; the pass is over then, and leaves no files behind but after [`CleanError::Swap`].
    pub fn step(&mut self, log: &Log) -> Result<CleanStep, CleanError> {
        self.work(log).map_err(|error| error.of(log))
    }

    fn work(&mut self, log: &Log) -> Result<CleanStep, CleanError> {
        if log.writer.lock().state != State::Open {
            return Err(CleanError::Aborted);
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        let (step, next) = match stage {
            Stage::Begun => (CleanStep::Moved(0), self.begin()?),
            Stage::Mapping(place, transactions) => self.map(place, transactions)?,
            Stage::Writing(mut writing) => {
                let step = self.write(log, &mut writing);
                if step.is_err()
                    && let Some(group) = writing.current.take()
                {
                    group.new.discard(log);
                }
                let step = step?;
                let is_done = matches!(step, CleanStep::Done(_));
                (step, if is_done { Stage::Done } else { Stage::Writing(writing) })
            }
            Stage::Done => (CleanStep::Done(self.mapped_to), Stage::Done),
        };
        self.stage = next;
        Ok(step)
    }

    fn segments(&self) -> &[Arc<Segment>] {
        self.published.segments.get(..self.segment_count).unwrap_or_default()
    }

    /// Where a segment of the pass ends.
    fn end_of(&self, index: usize) -> Offset {
        self.segments().get(index + 1).map_or(self.end, |next| next.base())
    }

    /// Looks up the aborted transactions, and where the new part begins.
    fn begin(&mut self) -> Result<Stage, CleanError> {
        self.aborted = aborted_below(&self.published, self.end)?;
        let segments = self.segments();
        let first = segments.partition_point(|segment| segment.base() <= self.first_dirty);
        let first = first.saturating_sub(1);
        let position = match segments.get(first) {
            Some(segment) => {
                let found = segment.offsets.position_before(segment.base(), self.first_dirty);
                found.map_err(|error| CleanError::io(&segment.path())(error))?
            }
            None => 0,
        };
        let transactions = CleanedTransactions::new(&self.aborted, self.first_dirty);
        Ok(Stage::Mapping(Place { segment: first, position }, transactions))
    }

    /// Enters the keys of a piece of the new part (`Cleaner.buildOffsetMapForSegment`).
    fn map(
        &mut self,
        place: Place,
        mut transactions: CleanedTransactions,
    ) -> Result<(CleanStep, Stage), CleanError> {
        let Some(segment) = self.segments().get(place.segment).cloned() else {
            return Ok((CleanStep::Moved(0), self.begin_writing()));
        };
        if place.position >= segment.size() {
            // Offsets that are missing at the end of a segment have no keys.
            self.mapped_to = self.mapped_to.max(self.end_of(place.segment));
            let next = Place { segment: place.segment + 1, position: 0 };
            return Ok((CleanStep::Moved(0), Stage::Mapping(next, transactions)));
        }
        let mut reader = std::mem::take(&mut self.reader);
        let read =
            reader.read(&segment, place.position, |batch| self.map_batch(batch, &mut transactions));
        self.reader = reader;
        let (bytes, filled) = read?;
        self.stats.keys = self.latest.len();
        let stage = if filled {
            self.begin_writing()
        } else {
            let position = place.position.saturating_add(bytes);
            Stage::Mapping(Place { position, ..place }, transactions)
        };
        Ok((CleanStep::Moved(u64::from(bytes)), stage))
    }

    /// Enters the keys of a batch; gives whether the map is full.
    fn map_batch(
        &mut self,
        batch: &Batch<'_>,
        transactions: &mut CleanedTransactions,
    ) -> Result<bool, BatchError> {
        use std::ops::ControlFlow::{Break, Continue};
        let is_aborted = transactions.pass(batch)?;
        let mut is_full = false;
        if !batch.header.is_control() && !is_aborted {
            let first_dirty = self.first_dirty;
            visit_records(batch.bytes, |record| {
                if let Some(key) = record.key.filter(|_| record.offset >= first_dirty) {
                    if self.latest.put(key, record.offset) == Err(Full) {
                        is_full = true;
                        return Break(());
                    }
                    self.mapped_to = record.offset.plus(1);
                }
                Continue(())
            })?;
        }
        if !is_full {
            self.mapped_to = self.mapped_to.max(batch.header.next_offset());
        }
        Ok(is_full)
    }

    /// Every segment up to where keys are known is written anew.
    fn begin_writing(&self) -> Stage {
        let segments = self.segments();
        let count = segments.partition_point(|segment| segment.base() < self.mapped_to);
        let segments = segments.get(..count).unwrap_or_default();
        let end = count.checked_sub(1).map_or(self.end, |last| self.end_of(last));
        let mut groups = groups(segments, end, &self.config);
        groups.reverse();
        let transactions = CleanedTransactions::new(&self.aborted, Offset(i64::MIN));
        Stage::Writing(Box::new(Writing { transactions, groups, current: None }))
    }

    /// Writes what stays of a piece.
    fn write(&mut self, log: &Log, writing: &mut Writing) -> Result<CleanStep, CleanError> {
        let mut group = match writing.current.take() {
            Some(group) => group,
            None => match writing.groups.pop() {
                Some((segments, end)) => self.begin_group(log, segments, end)?,
                None => return Ok(CleanStep::Done(self.mapped_to)),
            },
        };
        let Some(segment) = group.segments.get(group.place.segment).cloned() else {
            self.stats.bytes_written += u64::from(group.new.size());
            let aborted = writing.transactions.take_indexed();
            let files = group.new.take_place_of(log, &group.segments, group.end, &aborted)?;
            return Ok(CleanStep::Swapped(files));
        };
        if group.place.position >= segment.size() {
            group.place = Place { segment: group.place.segment + 1, position: 0 };
            writing.current = Some(group);
            return Ok(CleanStep::Moved(0));
        }
        let copied = self.copy(&segment, &mut group, &mut writing.transactions);
        // Put back also after an error: the file that was begun has to go.
        writing.current = Some(group);
        Ok(CleanStep::Moved(copied?))
    }

    fn begin_group(
        &self,
        log: &Log,
        segments: Vec<Arc<Segment>>,
        end: Offset,
    ) -> Result<Group, CleanError> {
        let base = segments.first().map_or(end, |first| first.base());
        let new = NewSegment::create(log, base, self.config.index_interval_bytes, self.now)?;
        let producers = LastBatches::of(&log.writer.lock().producers);
        let place = Place { segment: 0, position: 0 };
        Ok(Group { segments, end, place, new, producers })
    }

    /// Copies what stays of a piece of a segment; gives how many bytes were read and written.
    fn copy(
        &mut self,
        segment: &Arc<Segment>,
        group: &mut Group,
        transactions: &mut CleanedTransactions,
    ) -> Result<u64, CleanError> {
        let retention_ms = i64::try_from(self.config.tombstone_retention.as_millis());
        let rule = Retention {
            latest: &self.latest,
            mapped_to: self.mapped_to,
            now: self.now,
            horizon: self.now.plus_millis(retention_ms.unwrap_or(i64::MAX)),
            producers: &group.producers,
            end: group.end,
        };
        let (new, write_bytes) = (&mut group.new, self.write_bytes);
        let written_before = new.size();
        let mut write_error = None;
        let read = self.reader.read(segment, group.place.position, |batch| {
            if let Some(kept) = rule.apply(batch, transactions)? {
                write_error = new.push(&kept, write_bytes).err();
            }
            Ok(write_error.is_some())
        });
        if let Some(error) = write_error {
            return Err(error);
        }
        let (bytes, _) = read?;
        group.place.position = group.place.position.saturating_add(bytes);
        self.stats.bytes_read += u64::from(bytes);
        Ok(u64::from(bytes) + u64::from(group.new.size() - written_before))
    }
}

/// Reads whole batches, about a buffer's worth at a time.
#[derive(Debug, Default)]
struct Reader {
    buffer: Vec<u8>,
    usual_bytes: usize,
}

impl Reader {
    /// Shows the batches from `position` on, after a look at their checksums, until `visit` says that it is enough. Gives
    /// the bytes of the batches that were shown, and whether it was enough.
    fn read(
        &mut self,
        segment: &Segment,
        position: u32,
        mut visit: impl FnMut(&Batch<'_>) -> Result<bool, BatchError>,
    ) -> Result<(u32, bool), CleanError> {
        self.fill(segment, position)?;
        let mut at = position;
        for batch in scan(&self.buffer) {
            let damaged = |error| CleanError::batch(segment, at)(error);
            let batch = batch.map_err(damaged)?;
            batch.header.check_crc(batch.bytes).map_err(damaged)?;
            let is_enough = visit(&batch).map_err(damaged)?;
            at = at.saturating_add(batch.header.size_bytes());
            if is_enough {
                return Ok((at - position, true));
            }
        }
        Ok((at - position, false))
    }

    /// Fills the buffer with bytes from `position` on, a whole batch at least.
    fn fill(&mut self, segment: &Segment, position: u32) -> Result<(), CleanError> {
        let left = segment.size().saturating_sub(position) as usize;
        self.read_bytes(segment, position, left.min(self.usual_bytes))?;
        let damaged = CleanError::batch(segment, position);
        let first = match peek_size(&self.buffer) {
            Ok(Some(size)) if size <= left => size,
            Ok(size) => {
                let needed = size.unwrap_or(BatchHeader::BYTES);
                return Err(damaged(BatchError::CutOff { needed, found: left }));
            }
            Err(error) => return Err(damaged(error)),
        };
        if first > self.buffer.len() {
            self.read_bytes(segment, position, first)?;
        }
        Ok(())
    }

    fn read_bytes(
        &mut self,
        segment: &Segment,
        position: u32,
        bytes: usize,
    ) -> Result<(), CleanError> {
        self.buffer.resize(bytes, 0);
        // What a large batch needed is given back.
        if self.buffer.capacity() > self.usual_bytes.max(bytes) * 2 {
            self.buffer.shrink_to_fit();
        }
        let read = segment.file().read_into(u64::from(position), &mut self.buffer, Residency::Any);
        read.map_err(|error| CleanError::scan(segment)(ScanError::Io(error)))?;
        Ok(())
    }
}

/// A buffer holds some headers at least.
const IO_BYTES_MIN: usize = 4 * 1024;
