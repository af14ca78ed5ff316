//! Copying a log to another directory while it is written to, batch by batch and byte for byte.
//!
//! The copy is a log of its own, in a directory that does not have the partition's name yet. It takes over segments as they are:
//! it begins with the first one of its source, and begins a new one where the source does. Indexes and producers are built
//! from the batches; what earlier batches have left of producers comes with the snapshot at the beginning.
//!
//! Owns the copying and the question whether a copy that was found fits its source. When to copy, and what becomes of the copy,
//! is `replica/mover.rs`.
//!
//! Source: `ReplicaAlterLogDirsThread` of Apache Kafka 4.3, which fetches from the one log and appends to the other.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::append::{Append, Origin, refused};
use super::files::Kind;
use super::partition_log::{Log, State};
use super::read::read_error;
use super::recovery::{LogStart, Opened};
use super::scan::{ScanError, Step};
use super::segment::Segment;
use super::{AppendError, LogConfig, OpenError, ReadError};
use crate::env::{Disk, OpenMode, Residency, Rng};
use crate::model::{Offset, UnixMillis};
use crate::record::{BatchHeader, ValidBatch};

/// A step of copying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of the batches that were copied.
    pub bytes: u64,
    /// Whether the copy had all of the source when that was last looked at.
    pub complete: bool,
}

/// Why a copy does not go on.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// What is in it is not, or not any more, a part of its source: it has to begin anew.
    #[error("the copy, which ends at offset {end}, is no part of its source")]
    Diverged {
        /// Where the copy ends.
        end: Offset,
    },
    /// The source cannot be read.
    #[error("cannot read the source")]
    Source(#[source] ReadError),
    /// The copy cannot be written.
    #[error("cannot write the copy")]
    Copy(#[source] AppendError),
}

/// Begins a copy of `source` in a directory that is not there yet.
///
/// # Errors
/// As [`OpenError`] says; what was made of the directory is still there then.
pub fn copy_begin(
    disk: &Arc<dyn Disk>,
    source: &Log,
    directory: PathBuf,
    start: LogStart,
    rng: &Rng,
) -> Result<Log, OpenError> {
    disk.create_dir_all(&directory).map_err(|source| open_error(&directory, source))?;
    let first = source.first_base();
    // Of the producers whose batches are gone nothing else tells.
    copy_snapshot(&**disk, source, &directory, first)
        .map_err(|source| open_error(&directory, source))?;
    let start = LogStart { clean: true, recovery_point: first, log_start: first, ..start };
    copy_resume(disk, directory, start, rng)
}

/// Opens a copy that an earlier run has begun.
///
/// # Errors
/// As [`OpenError`] says.
pub fn copy_resume(
    disk: &Arc<dyn Disk>,
    directory: PathBuf,
    start: LogStart,
    rng: &Rng,
) -> Result<Log, OpenError> {
    // It begins a new segment where its source does, and nowhere else.
    let config = LogConfig {
        segment_bytes: i32::MAX.unsigned_abs(),
        segment_age_max: Duration::MAX,
        segment_jitter_max: Duration::ZERO,
        index_bytes_max: i32::MAX.unsigned_abs(),
        ..start.config
    };
    Ok(Opened::open_copy(disk, directory, LogStart { config, ..start }, rng)?.log)
}

fn open_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source }
}

fn copy_snapshot(disk: &dyn Disk, source: &Log, to: &Path, offset: Offset) -> io::Result<()> {
    let from = Kind::ProducerSnapshot.path(&source.directory, offset);
    let Some(bytes) = disk.read_small(&from)? else { return Ok(()) };
    let file = disk.open(&Kind::ProducerSnapshot.path(to, offset), OpenMode::Truncate)?;
    file.write_at(0, &[&bytes])
}

impl Log {
    /// Where its first segment begins.
    #[must_use]
    pub fn first_base(&self) -> Offset {
        let published = self.published.read();
        published.segments.first().map_or(published.log_start, |first| first.base())
    }

    /// Whether all of this log is a part of `source` too, so that what follows there can follow here. Leader epochs tell: each
    /// start has one of its own, so a source that has lost its end and went on differs in them.
    #[must_use]
    pub fn is_part_of(&self, source: &Self) -> bool {
        let end = self.ends().end;
        if end < source.first_base() || end > source.ends().end {
            return false;
        }
        // Of what was deleted the source does not know the epochs any more, and nobody will read it.
        if end <= source.ends().log_start {
            return true;
        }
        let Some(epoch) = self.latest_epoch() else { return true };
        source.epoch_end(epoch).is_some_and(|found| found.epoch == epoch && found.end >= end)
    }

    /// Copies the next `bytes_max` or so of `source` to the end of this log, at least one batch. Blocks for the disk.
    ///
    /// # Errors
    /// As [`CopyError`] says. After one of the copy's disk nothing more is copied.
    pub fn copy_from(
        &self,
        source: &Self,
        bytes_max: u32,
        now: UnixMillis,
    ) -> Result<Copied, CopyError> {
        let from = self.ends().end;
        if !self.is_part_of(source) {
            return Err(CopyError::Diverged { end: from });
        }
        let Some((segment, chunk)) =
            source.read_chunk(from, bytes_max).map_err(CopyError::Source)?
        else {
            return Ok(Copied { bytes: 0, complete: from == source.ends().end });
        };
        self.roll_with(&segment, now).map_err(CopyError::Copy)?;
        let mut rest = chunk;
        let mut bytes = 0;
        // What follows the last whole batch is for the next time.
        while let Ok(header) = BatchHeader::parse(&rest)
            && header.size_bytes() as usize <= rest.len()
        {
            let batch = rest.split_to(header.size_bytes() as usize);
            let damaged = |error: &dyn std::error::Error| {
                CopyError::Source(ReadError::Damaged {
                    path: segment.path(),
                    position: 0,
                    problem: format!("batch at offset {}: {error}", header.base_offset),
                })
            };
            let batch = ValidBatch::trusted(&batch).map_err(|error| damaged(&error))?;
            let leader_epoch = header.partition_leader_epoch;
            let append = Append { batch, leader_epoch, origin: Origin::Replication, now };
            self.append(&append).map_err(CopyError::Copy)?;
            bytes += u64::from(header.size_bytes());
        }
        self.advance_high_watermark(self.end());
        Ok(Copied { bytes, complete: self.ends().end == source.ends().end })
    }

    /// The next batches from `from` on, at least one if there is any, and the segment that they are in.
    fn read_chunk(
        &self,
        from: Offset,
        bytes_max: u32,
    ) -> Result<Option<(Arc<Segment>, bytes::Bytes)>, ReadError> {
        let published = self.published.read().clone();
        if from >= published.end.offset {
            return Ok(None);
        }
        let first =
            published.segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
        for segment in published.segments.iter().skip(first) {
            let error = |error: ScanError| read_error(segment, error);
            let bound = published.bound_of(segment);
            let found = match segment.find(from, bound, Residency::Any).map_err(error)? {
                Step::Batch(found) => found,
                Step::End => continue,
                Step::NotResident => return Ok(None),
            };
            let wanted = bytes_max.max(found.header.size_bytes());
            let end = found.position.saturating_add(wanted).min(bound);
            let range = u64::from(found.position)..u64::from(end);
            let bytes = segment.file().read(range, Residency::Any);
            let bytes = bytes.map_err(|source| error(source.into()))?.unwrap_or_default();
            return Ok(Some((Arc::clone(segment), bytes)));
        }
        Ok(None)
    }

    /// Begins a new segment where the source of this copy does: before the batches of its `segment`.
    fn roll_with(&self, segment: &Segment, now: UnixMillis) -> Result<(), AppendError> {
        let config = self.config();
        let locked = self.lock_to_roll();
        let mut writer = locked.map_err(|source| refused(&self.directory, source))?;
        let end = self.published.read().end;
        let has_begun = writer.growth.segment.base() >= segment.base() || end.position == 0;
        if writer.state != State::Open || has_begun {
            return Ok(());
        }
        // As in an append, it begins where the last one ends.
        let rolled = self.roll(&mut writer, &config, end.offset, now);
        rolled.map_err(|source| writer.failed(&self.directory, source))
    }
}
