//! Making a log durable, cutting off its beginning, ending it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::files::{Kind, PARTITION_METADATA_FILE};
use super::partition_log::{Log, Published, State, Writer};
use super::segment::Segment;
use crate::env::OpenMode;
use crate::model::Offset;

/// Segments that a log no longer has. Their files are still there, and go with [`Log::mark_deleted`] once the log's start
/// is durable: a start that does not know of it could not tell files that went from records that were lost.
#[derive(Debug, Default)]
#[must_use = "the files stay until they are marked"]
pub struct Removed {
    segments: Vec<Arc<Segment>>,
}

impl Removed {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

impl Log {
    /// Makes the log begin at `to`, which must not lie above the high watermark; it never begins earlier than before.
    /// Gives the segments that are wholly below. Does nothing to a log that was abandoned.
    ///
    /// # Errors
    /// As the disk says.
    pub fn advance_log_start(&self, to: Offset) -> io::Result<Removed> {
        let mut writer = self.writer.lock();
        if writer.state == State::Abandoned {
            return Ok(Removed::default());
        }
        self.begin_at(&mut writer, to)
    }

    /// Does the work of [`advance_log_start`](Self::advance_log_start).
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
        writer.epochs.flush(false)?;
        // What stays has to be found even if power fails once the rest has gone: else offsets would be given twice, and
        // producers forgotten.
        if !segments.is_empty() {
            let first = self.published.read().segments.first().map(|first| first.base());
            first.map_or(Ok(()), |first| self.sync_snapshot(first))?;
            if writer.names_synced < writer.names_changed {
                self.disk.sync_dir(&self.directory)?;
                writer.names_synced = writer.names_changed;
            }
        }
        Ok(Removed { segments })
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
            if writer.state != State::Abandoned {
                files.extend(segment.mark_deleted(&*self.disk)?);
            }
        }
        Ok(files)
    }

    /// Everything below is durable.
    #[must_use]
    pub fn recovery_point(&self) -> Offset {
        self.writer.lock().recovery_point
    }

    /// Makes finished segments durable, and the last one too if `whole`. Waits for the disk, but not under the writer's
    /// lock. Gives the new recovery point. Does nothing to a log that was abandoned, even while this was under way.
    ///
    /// # Errors
    /// As the disk says. After that nothing more is appended.
    pub fn flush(&self, whole: bool) -> io::Result<Offset> {
        let (published, recovery_point, names_changed, names_synced) = {
            let writer = self.writer.lock();
            if writer.state == State::Abandoned {
                return Ok(writer.recovery_point);
            }
            let published = self.published.read().clone();
            (published, writer.recovery_point, writer.names_changed, writer.names_synced)
        };
        let new_names = names_synced < names_changed;
        let synced = self.sync_from(&published, recovery_point, new_names, whole);
        let mut writer = self.writer.lock();
        match synced {
            Ok(point) => {
                writer.recovery_point = writer.recovery_point.max(point);
                writer.names_synced = writer.names_synced.max(names_changed);
                Ok(writer.recovery_point)
            }
            // Its files were renamed, which is no failure of the disk.
            Err(_) if writer.state == State::Abandoned => Ok(writer.recovery_point),
            Err(error) => {
                writer.state = State::Closed;
                Err(error)
            }
        }
    }

    fn sync_from(
        &self,
        published: &Published,
        from: Offset,
        new_names: bool,
        whole: bool,
    ) -> io::Result<Offset> {
        let mut point = from;
        let first =
            published.segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
        for (segment, index) in published.segments.iter().zip(0..).skip(first) {
            let next = published.segments.get(index + 1).map(|next| next.base());
            let end = match next {
                Some(next) => next,
                None if whole => published.end.offset,
                None => break,
            };
            if segment.base() == from {
                // The segment before was durable before it was finished, and its snapshot made.
                self.sync_snapshot(from)?;
            }
            if end > point {
                segment.flush(true)?;
                self.sync_snapshot(end)?;
                point = end;
            }
        }
        if point > from {
            let mut writer = self.writer.lock();
            if writer.state == State::Abandoned {
                return Ok(from);
            }
            writer.epochs.flush(true)?;
        }
        if new_names {
            self.disk
                .open(&self.directory.join(PARTITION_METADATA_FILE), OpenMode::Write)?
                .sync_data()?;
            self.disk.sync_dir(&self.directory)?;
        }
        Ok(point)
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
            writer.growth.close()?;
            self.take_snapshot(&mut writer, end)?;
            writer.epochs.flush(false)?;
        }
        self.flush(true)
    }

    /// Ends the log because its partition is gone: when this returns, nothing is being written by the path of the
    /// directory, which may then be renamed and made anew, and nothing will be.
    pub fn abandon(&self) {
        self.writer.lock().state = State::Abandoned;
    }
}
