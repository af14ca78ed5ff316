//! The log of one partition: append at the end (`append.rs`), read anywhere (`read.rs`).
//!
//! Appends are serial, under the writer's lock; reads never take it. What readers may see is published in one step after
//! the bytes are written, so a reader sees an append whole or not at all.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::LogConfig;
use super::epochs::{EpochEnd, Epochs};
use super::producers::{ProducerCensus, ProducerView, Producers};
use super::read::ReadLimit;
use super::segment::{Growth, Segment};
use super::transactions::Unstable;
use super::verification::Verifications;
use crate::env::{Disk, Rng};
use crate::model::{LeaderEpoch, Offset, TopicId, TopicPartition, UnixMillis};

/// The log of one partition.
#[derive(Debug)]
pub struct Log {
    pub(super) name: TopicPartition,
    pub(super) topic_id: TopicId,
    pub(super) directory: Arc<Path>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) rng: Rng,
    pub(super) config: RwLock<Arc<LogConfig>>,
    pub(super) writer: Mutex<Writer>,
    /// Held while the file of the epochs is made durable, or the name of the first segment. Taken before the writer's lock.
    pub(super) epochs_syncing: Mutex<()>,
    pub(super) published: RwLock<Published>,
}

/// What is needed to append.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) growth: Growth,
    pub(super) epochs: Epochs,
    pub(super) producers: Producers,
    pub(super) verifications: Verifications,
    /// Whether `producers` knows the last five batches of each, or only what a snapshot holds.
    pub(super) tail_known: bool,
    /// Offset of the newest producer snapshot.
    pub(super) snapshot_offset: Offset,
    /// Up to where the last segment was made durable with its indexes and a snapshot, so that it may be ended there.
    pub(super) kept: Option<Offset>,
    /// How often files were created or renamed.
    pub(super) names_changed: u64,
    /// How many of these changes are durable.
    pub(super) names_synced: u64,
    /// Whether the name of the partition's own directory is durable.
    pub(super) directory_synced: bool,
    /// How often the end of the log was cut off: what was begun before the last time is not finished.
    pub(super) truncations: u64,
    /// Where the end is about to be cut off: until that is done, nothing above is taken for durable.
    pub(super) cut_at: Option<Offset>,
    pub(super) state: State,
}

/// What may still be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All.
    Open,
    /// The log was closed: nothing is appended any more.
    Closed,
    /// The disk failed: nothing is appended any more, and nothing is taken for durable that was not before.
    Failed,
    /// The partition is gone, and its directory may be another's by now: no file is touched by its path any more.
    Abandoned,
}

/// What readers see.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// In the order of their base offsets; never empty.
    pub(super) segments: Arc<[Arc<Segment>]>,
    pub(super) log_start: Offset,
    pub(super) high_watermark: LogPosition,
    pub(super) end: LogPosition,
    /// What transactions hold back.
    pub(super) unstable: Unstable,
    /// All records below are durable. An opened log is committed to its end, so nobody reads up to this place before a flush
    /// has moved it, and until then only its offset is exact.
    pub(super) flushed: LogPosition,
    /// All below is durable, with the indexes of segments that end here or before. It moves down only where the end of the log
    /// is cut off.
    pub(super) recovery_point: Offset,
}

/// An offset, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    /// The offset.
    pub offset: Offset,
    /// Base offset of the segment it is in.
    pub segment: Offset,
    /// Position in that segment's file, in bytes.
    pub position: u32,
}

impl LogPosition {
    /// Bytes from `earlier` to here; `None` if they are in different segments.
    #[must_use]
    pub fn bytes_since(&self, earlier: &Self) -> Option<u32> {
        (self.segment == earlier.segment).then(|| self.position.saturating_sub(earlier.position))
    }
}

/// The marks of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnds {
    /// First offset that can be read.
    pub log_start: Offset,
    /// First offset that is on this disk. (All of them are: nothing is tiered.)
    pub local_log_start: Offset,
    /// End of what is committed.
    pub high_watermark: Offset,
    /// End of what transactions have decided, with markers that are committed: where the first other transaction begins, or
    /// the high watermark.
    pub last_stable: Offset,
    /// End of the log.
    pub end: Offset,
}

/// A move of the high watermark, and what it did to the last stable offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    /// The high watermark before.
    pub before: LogPosition,
    /// The high watermark after.
    pub after: LogPosition,
    /// The last stable offset before.
    pub stable_before: LogPosition,
    /// The last stable offset after.
    pub stable_after: LogPosition,
}

impl Log {
    pub(super) fn assemble(
        (name, topic_id): (TopicPartition, TopicId),
        directory: Arc<Path>,
        disk: Arc<dyn Disk>,
        rng: Rng,
        config: LogConfig,
        writer: Writer,
        published: Published,
    ) -> Self {
        Self {
            name,
            topic_id,
            directory,
            disk,
            rng,
            config: RwLock::new(Arc::new(config)),
            writer: Mutex::new(writer),
            epochs_syncing: Mutex::new(()),
            published: RwLock::new(published),
        }
    }

    /// Topic name and partition, for messages.
    #[must_use]
    pub const fn name(&self) -> &TopicPartition {
        &self.name
    }

    /// The directory of the partition.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How the log behaves now.
    #[must_use]
    pub fn config(&self) -> Arc<LogConfig> {
        Arc::clone(&self.config.read())
    }

    /// Makes the log behave differently from now on.
    pub fn set_config(&self, config: LogConfig) {
        *self.config.write() = Arc::new(config);
    }

    /// The marks of the log.
    #[must_use]
    pub fn ends(&self) -> LogEnds {
        self.published.read().ends()
    }

    /// Where the log ends.
    #[must_use]
    pub fn end(&self) -> LogPosition {
        self.published.read().end
    }

    /// The high watermark, with its place.
    #[must_use]
    pub fn high_watermark(&self) -> LogPosition {
        self.published.read().high_watermark
    }

    /// Bytes of all segments' record files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.published.read().segments.iter().map(|segment| u64::from(segment.size())).sum()
    }

    /// Up to where records may be acknowledged and shown: the end of the log, unless so many of its records are not
    /// durable that a flush has to come first ([`LogConfig::unflushed_max`]).
    #[must_use]
    pub fn settled_end(&self) -> LogPosition {
        let unflushed_max = self.config.read().unflushed_max;
        self.published.read().settled_end(unflushed_max)
    }

    /// How far a read may go now.
    #[must_use]
    pub fn limit(&self, limit: ReadLimit) -> LogPosition {
        self.published.read().limit(limit)
    }

    /// Moves the high watermark up to `to`, a place in this log; it never moves down. `None` if it did not move.
    pub fn advance_high_watermark(&self, to: LogPosition) -> Option<Advance> {
        let (before, stable_before, waits_for_commit) = {
            let mut published = self.published.write();
            assert!(
                to.offset <= published.end.offset,
                "{}: high watermark {to:?} beyond the end",
                self.name
            );
            if to.offset <= published.high_watermark.offset {
                return None;
            }
            let stable = published.last_stable();
            let before = std::mem::replace(&mut published.high_watermark, to);
            (before, stable, published.unstable.waits_for_commit)
        };
        if waits_for_commit {
            self.commit_transactions();
        }
        let stable_after = self.published.read().last_stable();
        Some(Advance { before, after: to, stable_before, stable_after })
    }

    /// Sets the transactions free whose markers the high watermark has passed.
    fn commit_transactions(&self) {
        let mut writer = self.writer.lock();
        let mut published = self.published.write();
        writer.producers.commit(published.high_watermark.offset);
        published.unstable = writer.producers.unstable();
    }

    /// Notes that a leader epoch begins at the end of the log: before anything is appended in it (R1 of the replication
    /// design). One that has batches, or a later one, is known already.
    ///
    /// # Errors
    /// As the disk says; nothing more is appended then. [`io::ErrorKind::NotFound`] if the log takes no more appends.
    pub fn begin_epoch(&self, epoch: LeaderEpoch) -> io::Result<()> {
        let mut writer = self.writer.lock();
        if writer.state != State::Open {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the log takes no more appends"));
        }
        let end = self.published.read().end.offset;
        writer.epochs.enter(epoch, end);
        let written = writer.epochs.flush();
        if written.is_err() {
            writer.state = State::Failed;
        }
        written
    }

    /// Where a leader epoch ends; `None` for an epoch above all that are known.
    #[must_use]
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        let writer = self.writer.lock();
        let end = self.published.read().end.offset;
        writer.epochs.end_of(epoch, end)
    }

    /// The epoch that wrote `offset`, if that is known.
    #[must_use]
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.writer.lock().epochs.of_offset(offset)
    }

    /// The newest epoch in the log.
    #[must_use]
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.writer.lock().epochs.latest()
    }

    /// The oldest epoch in the log, if it wrote the first offset that can be read.
    #[must_use]
    pub fn earliest_epoch(&self) -> Option<LeaderEpoch> {
        let writer = self.writer.lock();
        let log_start = self.published.read().log_start;
        writer.epochs.earliest().filter(|(_, start)| *start <= log_start).map(|(epoch, _)| epoch)
    }

    /// The idempotent producers of the log.
    #[must_use]
    pub fn producers(&self) -> Vec<ProducerView> {
        self.writer.lock().producers.views()
    }

    /// The idempotent producers of the log in figures.
    #[must_use]
    pub fn producer_census(&self) -> ProducerCensus {
        self.writer.lock().producers.census()
    }

    /// Forgets producers that wrote nothing for the configured time.
    pub fn expire_producers(&self, now: UnixMillis) {
        let expiration = self.config().producer_expiration;
        let expiration_ms = i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX);
        let mut writer = self.writer.lock();
        writer.producers.expire(now, expiration_ms);
        writer.verifications.expire(now, expiration_ms);
    }
}

impl Published {
    pub(super) fn ends(&self) -> LogEnds {
        LogEnds {
            log_start: self.log_start,
            local_log_start: self.log_start,
            high_watermark: self.high_watermark.offset,
            last_stable: self.last_stable().offset,
            end: self.end.offset,
        }
    }

    pub(super) fn limit(&self, limit: ReadLimit) -> LogPosition {
        match limit {
            ReadLimit::End => self.end,
            ReadLimit::HighWatermark => self.high_watermark,
            ReadLimit::LastStable => self.last_stable(),
        }
    }

    /// The first offset that transactions keep from readers of committed records, or the high watermark.
    pub(super) fn last_stable(&self) -> LogPosition {
        match self.unstable.first {
            // What began below the start of the log is taken to begin there: nothing is left to read before it.
            Some(first) if first.offset < self.log_start => {
                let segment = self.segments.first().map_or(self.log_start, |first| first.base());
                LogPosition { offset: self.log_start, segment, position: 0 }
            }
            Some(first) if first.offset < self.high_watermark.offset => first,
            _ => self.high_watermark,
        }
    }

    /// What [`Log::settled_end`] says.
    pub(super) const fn settled_end(&self, unflushed_max: i64) -> LogPosition {
        if self.end.offset.since(self.flushed.offset) < unflushed_max {
            self.end
        } else {
            self.flushed
        }
    }

    /// Up to where the bytes of a segment may be read.
    pub(super) fn bound_of(&self, segment: &Segment) -> u32 {
        if segment.base() == self.end.segment { self.end.position } else { segment.size() }
    }
}
