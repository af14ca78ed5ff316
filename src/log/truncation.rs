//! Cutting off the end of a log, or all of it: what a follower does when its leader has other records.
//!
//! The files are cut, and then the log is opened anew as after the end of the process: what counts is what the files hold,
//! and recovery knows how to read them. So no part of the log's state has to be cut by hand.
//!
//! **Order on disk.** The recovery point goes down first, and the caller writes it down: a power cut that brings a part of the
//! cut records back must not find them below it. Then the segments go that lie above, the last one first, then the rest of the
//! one that holds the cut. Whatever a power cut leaves of this is a beginning of what was there, and is cut again by the same
//! rules as soon as the leader is asked.
//!
//! Readers who hold a view of the file hold committed records ([`Log::read`]); those are cut off only where an unclean
//! election has made them void, and then the file is replaced, not cut.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::files::{EPOCHS_FILE, Kind};
use super::partition_log::{Log, Published, State, Writer};
use super::read::read_error;
use super::recovery::{LogStart, open_again};
use super::scan::{Found, Step};
use super::segment::Segment;
use super::{OpenError, ReadError};
use crate::env::{Disk, OpenMode, Residency};
use crate::model::{Offset, TopicName, UnixMillis};

/// How much of a file is copied at a time.
const PIECE_BYTES: u64 = 1024 * 1024;

/// Why a log was not cut. It takes no more appends then, but for [`Closed`](Self::Closed), which says that it did not before.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    /// The log was closed, or has failed earlier.
    #[error("the log is closed")]
    Closed,
    /// The disk failed.
    #[error("cannot cut off the log")]
    Io(#[from] io::Error),
    /// The place of the cut could not be found.
    #[error("cannot find where to cut off the log")]
    Read(#[from] ReadError),
    /// What is left could not be opened.
    #[error("cannot open what is left of the log")]
    Open(#[from] OpenError),
}

impl Log {
    /// The first step of a cut at `to`: from now on nothing that will go is taken for durable. The caller makes the
    /// [recovery point](Self::recovery_point) durable before it [cuts](Self::truncate_to).
    ///
    /// # Errors
    /// If the place of the cut cannot be found. Nothing has changed then.
    pub fn begin_truncation(&self, to: Offset) -> Result<(), ReadError> {
        let mut writer = self.writer.lock();
        let published = self.published.read().clone();
        let after = published.segments.partition_point(|segment| segment.base() <= to);
        let last = after.checked_sub(1).and_then(|index| published.segments.get(index));
        let found = match last {
            Some(last) => find_cut(last, to, published.bound_of(last))?,
            None => None,
        };
        let at = found.map_or(to, |found| found.header.base_offset.min(to));
        writer.cut_at = Some(at);
        let mut published = self.published.write();
        published.flushed.offset = published.flushed.offset.min(at);
        published.recovery_point = published.recovery_point.min(at);
        Ok(())
    }

    /// Cuts off all batches that reach to `to` or above, durably, and the leader epochs that begin there; epochs also if
    /// there are no such batches (R3 of the replication design). Only while nobody else appends, after
    /// [`begin_truncation`](Self::begin_truncation). Gives the new end. Blocks for the disk.
    ///
    /// # Errors
    /// As [`TruncateError`] says.
    pub fn truncate_to(&self, to: Offset, now: UnixMillis) -> Result<Offset, TruncateError> {
        self.cut(|log, writer, published| {
            if to >= published.end.offset {
                writer.epochs.cut_end(to);
                writer.epochs.flush()?;
                return Ok(None);
            }
            let kept = published.segments.partition_point(|segment| segment.base() <= to);
            let Some(last) = kept.checked_sub(1).and_then(|index| published.segments.get(index))
            else {
                log.remove_all(published)?;
                return Ok(Some(log.start_anew(published, to, now)));
            };
            log.remove_snapshots(|offset| offset > to)?;
            log.remove_segments(published.segments.get(kept..).unwrap_or_default())?;
            log.disk.sync_dir(&log.directory)?;
            let is_committed = to < published.high_watermark.offset;
            log.cut_segment(last, to, published.bound_of(last), is_committed)?;
            let start = log.start_after_cut(published, to, now);
            Ok(Some(LogStart { log_start: published.log_start.min(to), ..start }))
        })
    }

    /// Removes all batches and leader epochs, durably, and begins anew at `start`. As [`truncate_to`](Self::truncate_to)
    /// otherwise.
    ///
    /// # Errors
    /// As [`TruncateError`] says.
    pub fn truncate_fully(&self, start: Offset, now: UnixMillis) -> Result<(), TruncateError> {
        let cut = self.cut(|log, _, published| {
            log.remove_all(published)?;
            Ok(Some(log.start_anew(published, start, now)))
        });
        cut.map(drop)
    }

    /// Cuts files, and opens what is left as `work` says. Gives the end then.
    fn cut(
        &self,
        work: impl FnOnce(&Self, &mut Writer, &Published) -> Result<Option<LogStart>, TruncateError>,
    ) -> Result<Offset, TruncateError> {
        // What is being written of the epochs may have ones that are to go.
        let _unsynced = self.epochs_syncing.lock();
        let mut writer = self.writer.lock();
        if writer.state != State::Open {
            return Err(TruncateError::Closed);
        }
        let published = self.published.read().clone();
        let start = work(self, &mut writer, &published);
        let opened =
            start.and_then(|start| Ok(start.map(|start| open_again(self, start)).transpose()?));
        match opened {
            Ok(Some(Self { writer: new, published, .. })) => {
                let truncations = writer.truncations + 1;
                *writer = Writer { truncations, ..new.into_inner() };
                *self.published.write() = published.into_inner();
            }
            Ok(None) => {}
            Err(error) => {
                writer.state = State::Failed;
                return Err(error);
            }
        }
        writer.cut_at = None;
        Ok(self.published.read().end.offset)
    }

    /// What is known of the log when it is opened after a cut that leaves nothing above `end`, and perhaps nothing below.
    fn start_after_cut(&self, published: &Published, end: Offset, now: UnixMillis) -> LogStart {
        LogStart {
            topic: TopicName::new(&self.name.topic).expect("it is the name of a topic"),
            topic_id: self.topic_id,
            partition: self.name.partition,
            config: (*self.config()).clone(),
            clean: false,
            recovery_point: published.recovery_point.min(end),
            log_start: end,
            high_watermark: Some(published.high_watermark.offset.min(end)),
            now,
        }
    }

    /// What is known of the log when all of it is gone: nothing is left that is not durable.
    fn start_anew(&self, published: &Published, at: Offset, now: UnixMillis) -> LogStart {
        LogStart { recovery_point: at, ..self.start_after_cut(published, at, now) }
    }

    /// Removes the segments, the last one first.
    fn remove_segments(&self, segments: &[Arc<Segment>]) -> io::Result<()> {
        for segment in segments.iter().rev() {
            let kinds = [Kind::Records, Kind::OffsetIndex, Kind::TimeIndex, Kind::TransactionIndex];
            // Whoever reads it goes on.
            segment.keep_open()?;
            for kind in kinds {
                self.disk.remove_file(&kind.path(&self.directory, segment.base()))?;
            }
        }
        Ok(())
    }

    /// Removes producer snapshots: one that came back would tell of batches that are gone.
    fn remove_snapshots(&self, goes: impl Fn(Offset) -> bool) -> io::Result<()> {
        for entry in self.disk.list(&self.directory)? {
            match Kind::parse(&entry.name) {
                Some((Kind::ProducerSnapshot, offset)) if goes(offset) => {
                    self.disk.remove_file(&self.directory.join(&entry.name))?;
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Removes all that the log holds, and what it knew of producers and leader epochs.
    fn remove_all(&self, published: &Published) -> io::Result<()> {
        self.disk.remove_file(&self.directory.join(EPOCHS_FILE))?;
        self.remove_snapshots(|_| true)?;
        self.remove_segments(&published.segments)?;
        self.disk.sync_dir(&self.directory)
    }

    /// Cuts off the batches of a segment, which ends at `bound`, that reach to `to` or above.
    fn cut_segment(
        &self,
        segment: &Segment,
        to: Offset,
        bound: u32,
        is_committed: bool,
    ) -> Result<(), TruncateError> {
        let Some(found) = find_cut(segment, to, bound)? else { return Ok(()) };
        segment.keep_open()?;
        let length = u64::from(found.position);
        if is_committed {
            replace_by_beginning(&*self.disk, &segment.path(), length)?;
        } else {
            let file = self.disk.open(&segment.path(), OpenMode::Write)?;
            file.set_len(length)?;
            file.sync_data()?;
        }
        Ok(())
    }
}

/// The first batch of a segment, which ends at `bound`, that reaches to `to` or above; none if what was there was compacted
/// away.
fn find_cut(segment: &Segment, to: Offset, bound: u32) -> Result<Option<Found>, ReadError> {
    match segment.find(to, bound, Residency::Any) {
        Ok(Step::Batch(found)) => Ok(Some(found)),
        Ok(Step::End | Step::NotResident) => Ok(None),
        Err(error) => Err(read_error(segment, error)),
    }
}

/// Puts the first `length` bytes of a file in its place.
fn replace_by_beginning(disk: &dyn Disk, path: &Path, length: u64) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let (from, to) = (disk.open(path, OpenMode::Read)?, disk.open(&temporary, OpenMode::Truncate)?);
    let mut at = 0;
    while at < length {
        let end = length.min(at + PIECE_BYTES);
        let piece = from.read(at..end, Residency::Any)?.unwrap_or_default();
        to.write_at(at, &[&piece])?;
        at = end;
    }
    to.sync_data()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))
}
