//! Making a log durable, cutting off its beginning, ending it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::files::{Kind, PARTITION_METADATA_FILE};
use super::partition_log::{Log, LogPosition, Published, State, Writer};
use super::segment::Segment;
use crate::env::{OpenMode, is_no_space};
use crate::model::Offset;

/// Segments that a log no longer has. Their files are still there, and go with [`Log::mark_deleted`] once the log's start
/// is durable: a start that does not know of it could not tell files that went from records that were lost.
#[derive(Debug, Default)]
#[must_use = "the files stay until they are marked"]
pub struct Removed {
    segments: Vec<Arc<Segment>>,
    /// How often the log had been cut off when they went.
    truncations: u64,
}

impl Removed {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

/// How much of a log is to be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushExtent {
    /// The segments that do not grow any more.
    Finished,
    /// All that is there.
    Whole,
}

impl Published {
    /// The first finished segment that is not durable with its indexes, even if its records are.
    fn first_fragile(&self) -> Option<&Segment> {
        let (_, finished) = self.segments.split_last()?;
        finished.iter().find(|segment| !segment.is_durable()).map(|segment| &**segment)
    }

    /// Takes note that all records below `to` are durable.
    fn advance_flushed(&mut self, to: LogPosition) {
        self.flushed = self.flushed.max(to);
        // A start builds the indexes of no segment anew that ends at the recovery point or before.
        let flushed = self.flushed.offset;
        let point = self.first_fragile().map_or(flushed, |segment| flushed.min(segment.base()));
        self.recovery_point = self.recovery_point.max(point);
    }
}

impl Log {
    /// Makes the log begin at `to`, which must not lie above the high watermark; it never begins earlier than before.
    /// Gives the segments that are wholly below. Does nothing to a log that was abandoned.
    ///
    /// # Errors
    /// As the disk says.
    pub fn advance_log_start(&self, to: Offset) -> io::Result<Removed> {
        let removed = {
            let mut writer = self.writer.lock();
            if writer.state == State::Abandoned {
                return Ok(Removed::default());
            }
            self.begin_at(&mut writer, to)?
        };
        self.keep_rest(removed)
    }

    /// Makes the log begin at `to`. What is removed has to go through [`keep_rest`](Self::keep_rest).
    pub(super) fn begin_at(&self, writer: &mut Writer, to: Offset) -> io::Result<Removed> {
        let segments = {
            let mut published = self.published.write();
            assert!(
                to <= published.high_watermark.offset,
                "{}: log start {to} too high",
                self.name
            );
            published.log_start = published.log_start.max(to);
            let log_start = published.log_start;
            let below =
                published.segments.iter().skip(1).take_while(|next| next.base() <= log_start);
            let (removed, kept) = published.segments.split_at(below.count());
            let (removed, kept) = (removed.to_vec(), kept.to_vec());
            published.segments = kept.into();
            removed
        };
        writer.epochs.cut_start(to);
        writer.epochs.flush()?;
        Ok(Removed { segments, truncations: writer.truncations })
    }

    /// Has what stays found even if power fails once the rest has gone: else offsets would be given twice, and producers
    /// forgotten. Waits for the disk, but not under the writer's lock.
    pub(super) fn keep_rest(&self, removed: Removed) -> io::Result<Removed> {
        if removed.is_empty() {
            return Ok(removed);
        }
        let first = self.published.read().segments.first().map(|first| first.base());
        let (names_changed, names_synced) = {
            let writer = self.writer.lock();
            (writer.names_changed, writer.names_synced)
        };
        let synced = first.map_or(Ok(()), |first| self.sync_snapshot(first)).and_then(|()| {
            if names_synced < names_changed { self.disk.sync_dir(&self.directory) } else { Ok(()) }
        });
        let mut writer = self.writer.lock();
        match synced {
            // Its files were renamed or removed, which is no failure of the disk.
            _ if writer.state == State::Abandoned || writer.truncations != removed.truncations => {
                Ok(removed)
            }
            Ok(()) => {
                writer.names_synced = writer.names_synced.max(names_changed);
                Ok(removed)
            }
            Err(error) => {
                writer.state = State::Failed;
                Err(error)
            }
        }
    }

    /// Marks the files of segments for removal, once the start of the log is durable; gives their names. Does nothing to a
    /// log that was abandoned.
    ///
    /// # Errors
    /// As the disk says.
    pub fn mark_deleted(&self, removed: Removed) -> io::Result<Vec<PathBuf>> {
        let writer = self.writer.lock();
        let mut files = Vec::new();
        for segment in removed.segments {
            // A log that was cut off meanwhile has looked through its directory, and removed them.
            if writer.state != State::Abandoned && writer.truncations == removed.truncations {
                files.extend(segment.mark_deleted(&*self.disk)?);
            }
        }
        Ok(files)
    }

    /// Everything below is durable, with all that belongs to it.
    #[must_use]
    pub fn recovery_point(&self) -> Offset {
        self.published.read().recovery_point
    }

    /// What has to be made durable now, if anything: all, if records wait for it to be acknowledged; or segments that were
    /// finished. Nothing of a log that takes no more appends.
    #[must_use]
    pub fn flush_wanted(&self) -> Option<FlushExtent> {
        let wants_name = {
            let writer = self.writer.lock();
            if writer.state != State::Open {
                return None;
            }
            self.wants_first_name(&writer)
        };
        let unflushed_max = self.config().unflushed_max;
        let published = self.published.read();
        if published.settled_end(unflushed_max).offset < published.end.offset {
            Some(FlushExtent::Whole)
        } else {
            let wanted = wants_name || published.first_fragile().is_some();
            wanted.then_some(FlushExtent::Finished)
        }
    }

    /// Whether the disk has failed under the log: what was not durable before will not be.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.writer.lock().state == State::Failed
    }

    /// Makes finished segments durable, and the last one too if `whole`. Waits for the disk, but not under the writer's
    /// lock. Gives the new recovery point. Does nothing to a log that was abandoned, even while this was under way.
    ///
    /// # Errors
    /// As the disk says. After that nothing more is appended, and nothing is synced again: what a failed sync has left
    /// behind cannot be known.
    pub fn flush(&self, whole: bool) -> io::Result<Offset> {
        let (published, (names_changed, truncations), names) = {
            let writer = self.writer.lock();
            match writer.state {
                State::Open | State::Closed => {}
                State::Abandoned => return Ok(self.recovery_point()),
                State::Failed => return Err(io::Error::other("the log has failed before")),
            }
            let names = NewNames {
                files: writer.names_synced < writer.names_changed,
                directory: !writer.directory_synced,
            };
            let changes = (writer.names_changed, writer.truncations);
            (self.published.read().clone(), changes, names)
        };
        let synced = self.sync_from(&published, names, whole);
        let mut writer = self.writer.lock();
        match synced {
            // What was synced is not the log any more.
            Ok(_) if writer.truncations != truncations || writer.cut_at.is_some() => {
                Ok(self.recovery_point())
            }
            Ok(flushed) => {
                if writer.state != State::Abandoned {
                    self.published.write().advance_flushed(flushed);
                }
                writer.names_synced = writer.names_synced.max(names_changed);
                writer.directory_synced = true;
                Ok(self.recovery_point())
            }
            // Its files were renamed or removed, which is no failure of the disk.
            Err(_) if writer.state == State::Abandoned || writer.truncations != truncations => {
                Ok(self.recovery_point())
            }
            Err(error) => {
                writer.state = State::Failed;
                Err(error)
            }
        }
    }

    /// Gives the place below which everything is durable now. Of the last segment only the records are synced: its indexes
    /// are built anew after an unclean stop.
    fn sync_from(
        &self,
        published: &Published,
        names: NewNames,
        whole: bool,
    ) -> io::Result<LogPosition> {
        let mut flushed = published.flushed;
        let segments = &published.segments;
        for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
            let next = next.base();
            if !segment.is_durable() {
                segment.flush(true)?;
                self.sync_snapshot(next)?;
                segment.set_durable();
            }
            flushed = flushed.max(LogPosition { offset: next, segment: next, position: 0 });
        }
        if let Some(last) = segments.last()
            && whole
            && published.end.offset > flushed.offset
        {
            last.file().sync_data()?;
            flushed = published.end;
        }
        if flushed.offset > published.flushed.offset {
            self.sync_epochs()?;
        }
        self.sync_names(names)?;
        Ok(flushed)
    }

    /// Makes the file of the epochs durable, under a lock of its own: appends do not wait for that.
    fn sync_epochs(&self) -> io::Result<()> {
        let _alone = self.epochs_syncing.lock();
        let unsynced = {
            let writer = self.writer.lock();
            // The path may be another log's by now.
            if writer.state == State::Abandoned {
                return Ok(());
            }
            writer.epochs.unsynced()
        };
        let Some(unsynced) = unsynced else { return Ok(()) };
        self.disk.replace_small(&unsynced.path, &unsynced.bytes)?;
        self.writer.lock().epochs.replaced(&unsynced)
    }

    /// Makes the names of the files durable so that the [first segment may be ended](Self::may_roll). Of many who ask at a time
    /// only one waits for the disk.
    pub(super) fn sync_first_name(&self) -> io::Result<()> {
        let _alone = self.epochs_syncing.lock();
        let names_changed = {
            let writer = self.writer.lock();
            if writer.state != State::Open || self.has_first_name(&writer) {
                return Ok(());
            }
            writer.names_changed
        };
        let synced = self.disk.sync_dir(&self.directory);
        let mut writer = self.writer.lock();
        match &synced {
            Ok(()) => writer.names_synced = writer.names_synced.max(names_changed),
            Err(error) if is_no_space(error) => {}
            Err(_) => writer.state = State::Failed,
        }
        synced
    }

    fn sync_names(&self, names: NewNames) -> io::Result<()> {
        if names.files {
            self.disk
                .open(&self.directory.join(PARTITION_METADATA_FILE), OpenMode::Write)?
                .sync_data()?;
            self.disk.sync_dir(&self.directory)?;
        }
        match self.directory.parent() {
            Some(root) if names.directory => self.disk.sync_dir(root),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a power cut can take nothing of the last segment that a start would not see, if it were ended now. A start builds
    /// the indexes of what reaches beyond the recovery point anew; if that stands at the end of the log already, it would trust
    /// them as they are, so they have to be durable before there is a next segment, and the snapshot too.
    pub(super) fn is_kept(&self, writer: &Writer) -> bool {
        let (end, recovery_point) = {
            let published = self.published.read();
            (published.end, published.recovery_point)
        };
        recovery_point < end.offset || end.position == 0 || writer.kept == Some(end.offset)
    }

    /// Makes the last segment durable as if it ended here, so that it [may be ended](Self::may_roll). Of many who ask at a time
    /// only one waits for the disk, and nobody waits for the writer's lock.
    pub(super) fn keep_last(&self) -> io::Result<()> {
        let _alone = self.epochs_syncing.lock();
        let (segment, end, truncations) = {
            let mut writer = self.writer.lock();
            if writer.state != State::Open || self.is_kept(&writer) {
                return Ok(());
            }
            let end = self.published.read().end.offset;
            let written = writer.growth.pause().and_then(|()| self.take_snapshot(&mut writer, end));
            self.check_kept(&mut writer, written)?;
            (Arc::clone(&writer.growth.segment), end, writer.truncations)
        };
        let synced = segment.flush(true).and_then(|()| self.sync_snapshot(end));
        let mut writer = self.writer.lock();
        if writer.truncations != truncations || writer.cut_at.is_some() {
            return Ok(());
        }
        self.check_kept(&mut writer, synced)?;
        writer.kept = Some(end);
        Ok(())
    }

    /// A log whose last segment could not be kept has failed, unless only room was missing.
    fn check_kept(&self, writer: &mut Writer, kept: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &kept
            && !is_no_space(error)
        {
            writer.state = State::Failed;
        }
        kept
    }

    /// Makes the producer snapshot at an offset durable, if there is one.
    fn sync_snapshot(&self, offset: Offset) -> io::Result<()> {
        let path = Kind::ProducerSnapshot.path(&self.directory, offset);
        match self.disk.open(&path, OpenMode::Write) {
            Ok(file) => file.sync_data(),
            // Or compaction has just made one segment of two.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the log in good order: everything is made durable, with a snapshot of the producers. Nothing is appended
    /// afterwards. Gives the recovery point, which is the end.
    ///
    /// # Errors
    /// As the disk says.
    pub fn close(&self) -> io::Result<Offset> {
        {
            let mut writer = self.writer.lock();
            if writer.state != State::Open {
                return Err(io::Error::other("the log had failed before it was closed"));
            }
            let end = self.published.read().end.offset;
            writer.state = State::Closed;
            if end == Offset::ZERO {
                // Nothing was ever written: what a power cut may take from its names, a start makes anew. With thousands of
                // such partitions their syncs would take minutes.
                writer.growth.finish()?;
                return Ok(end);
            }
            writer.growth.close()?;
            self.take_snapshot(&mut writer, end)?;
            self.sync_snapshot(end)?;
            writer.epochs.flush()?;
        }
        self.flush(true)
    }

    /// Ends the log because the disk under it has failed, or may have: nothing is appended any more, and nothing is taken for
    /// durable that was not before.
    pub fn fail(&self) {
        let mut writer = self.writer.lock();
        if writer.state != State::Abandoned {
            writer.state = State::Failed;
        }
    }

    /// Ends the log because its partition is gone: when this returns, nothing is being written by the path of the
    /// directory, which may then be renamed and made anew, and nothing will be.
    pub fn abandon(&self) {
        let _unsynced = self.epochs_syncing.lock();
        let mut writer = self.writer.lock();
        writer.state = State::Abandoned;
        self.published.read().segments.iter().for_each(|segment| segment.forget_names());
    }
}

/// Which names were made and are not durable yet.
#[derive(Clone, Copy, Debug)]
struct NewNames {
    /// Those of files of the partition.
    files: bool,
    /// That of its directory.
    directory: bool,
}
