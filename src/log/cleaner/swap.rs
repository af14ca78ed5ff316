//! Putting a compacted segment in the place of those that it was made of.
//!
//! ```text
//! <base>.log.cleaned  being written; worth nothing
//! <base>.log.swap     whole and durable: it counts, and what it stands for does not
//! <base>.log          once nothing else has the name
//! ```
//! The indexes go the same way. The new segment counts from the moment that the name `.log.swap` is durable. Then the old
//! files get `.deleted`, and the new one its last name, as a second name until all of that is durable: a power cut may take
//! half of a change of names. While `.log.swap` is there, [`finish_swaps`] does at the start what was left undone.
//!
//! Source: `LocalLog.replaceSegments` and `LogLoader.load` of Apache Kafka 4.3.1.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::super::OpenError;
use super::super::files::{CLEANED_SUFFIX, Kind, SWAP_SUFFIX};
use super::super::partition_log::{Log, LogPosition, State, Writer};
use super::super::scan::{Headers, ScanError};
use super::super::segment::{Growth, Segment, mark_deleted};
use super::super::transaction_index::AbortedTransaction;
use super::CleanError;
use crate::env::{Disk, DiskEntry, OpenMode, Residency};
use crate::model::{Offset, UnixMillis};
use crate::record::BatchHeader;

/// What a segment consists of, the records last. There may be no transaction index.
const KINDS: [Kind; 4] =
    [Kind::OffsetIndex, Kind::TimeIndex, Kind::TransactionIndex, Kind::Records];

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct NewSegment {
    growth: Growth,
    index_interval_bytes: u32,
    /// What was not written yet, and where it goes.
    buffer: Vec<u8>,
    buffer_at: u32,
}

impl NewSegment {
    /// A segment without batches that begins at `base`.
    pub(super) fn create(
        log: &Log,
        base: Offset,
        index_interval_bytes: u32,
        now: UnixMillis,
    ) -> Result<Self, CleanError> {
        let _writer = open_writer(log)?;
        let segment = Segment::create_cleaned(&log.disk, &log.directory, base);
        let segment = segment.map_err(CleanError::io(&log.directory))?;
        let growth = Growth::new(segment, now, 0);
        Ok(Self { growth, index_interval_bytes, buffer: Vec::new(), buffer_at: 0 })
    }

    /// Bytes of its batches.
    pub(super) fn size(&self) -> u32 {
        self.growth.segment.size()
    }

    /// Adds a batch; writes when there are about `write_bytes`.
    pub(super) fn push(&mut self, batch: &[u8], write_bytes: usize) -> Result<(), CleanError> {
        let header = BatchHeader::parse(batch).expect("it was a batch, and was rewritten as one");
        let position = self.size();
        self.buffer.extend_from_slice(batch);
        self.growth.wrote(&header, position, self.index_interval_bytes);
        if self.buffer.len() >= write_bytes { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<(), CleanError> {
        let segment = &self.growth.segment;
        let written = segment.file().write_at(u64::from(self.buffer_at), &[&self.buffer]);
        written.map_err(|error| CleanError::io(&segment.path())(error))?;
        self.buffer.clear();
        self.buffer_at = segment.size();
        Ok(())
    }

    /// Makes the segment, in which the transactions `aborted` end, durable and puts it in the place of `old`, which end at
    /// `end`. Gives the names that the old files have now.
    pub(super) fn take_place_of(
        mut self,
        log: &Log,
        old: &[Arc<Segment>],
        end: Offset,
        aborted: &[AbortedTransaction],
    ) -> Result<Vec<PathBuf>, CleanError> {
        let written = self.write_out().and_then(|()| self.sync(log, aborted));
        let exchanged = written.and_then(|()| self.exchange(log, old, end));
        if !matches!(exchanged, Ok(_) | Err(CleanError::Swap { .. })) {
            self.discard(log);
        }
        exchanged
    }

    fn sync(&self, log: &Log, aborted: &[AbortedTransaction]) -> Result<(), CleanError> {
        let segment = &self.growth.segment;
        {
            // The indexes are written by their names.
            let _writer = open_writer(log)?;
            self.growth.finish().map_err(|error| CleanError::io(&segment.path())(error))?;
            for transaction in aborted {
                let pushed = segment.transactions.push(*transaction);
                pushed.map_err(|error| CleanError::io(&segment.path())(error))?;
            }
        }
        segment.transactions.sync().map_err(|error| CleanError::io(&segment.path())(error))?;
        segment.file().sync_data().map_err(|error| CleanError::io(&segment.path())(error))?;
        for kind in [Kind::OffsetIndex, Kind::TimeIndex] {
            let path = kind.path_with(&log.directory, segment.base(), CLEANED_SUFFIX);
            let synced = log.disk.open(&path, OpenMode::Write).and_then(|file| file.sync_data());
            synced.map_err(CleanError::io(&path))?;
        }
        Ok(())
    }

    /// Exchanges the segments, on disk and for readers. Holds the writer's lock, so that the directory stays the log's own.
    fn exchange(
        &self,
        log: &Log,
        old: &[Arc<Segment>],
        end: Offset,
    ) -> Result<Vec<PathBuf>, CleanError> {
        let mut writer = open_writer(log)?;
        let (disk, directory, base) = (&*log.disk, &log.directory, self.growth.segment.base());
        let segments = Arc::clone(&log.published.read().segments);
        let first = segments.partition_point(|segment| segment.base() < base);
        let range = first..first + old.len();
        let is_same = |(a, b): (&Arc<Segment>, &Arc<Segment>)| Arc::ptr_eq(a, b);
        let found = segments.get(range.clone()).unwrap_or_default();
        // Some may have gone because they were old, or their records were deleted.
        if found.len() != old.len() || !found.iter().zip(old).all(is_same) {
            return Err(CleanError::Aborted);
        }
        for kind in KINDS {
            let from = kind.path_with(directory, base, CLEANED_SUFFIX);
            match disk.rename(&from, &kind.path_with(directory, base, SWAP_SUFFIX)) {
                Ok(()) => {}
                Err(error) if may_be_missing(kind, &error) => {}
                Err(error) => return Err(CleanError::io(&from)(error)),
            }
        }
        let exchanged = exchange_files(disk, directory, old).and_then(|files| {
            let opened = Segment::open(&log.disk, directory, base, false, true)?;
            let new = opened.ok_or_else(|| io::Error::other("a new index cannot be read"))?;
            new.set_durable();
            Ok((files, new))
        });
        match exchanged {
            Ok((files, new)) => {
                publish(log, &segments, range, new, end);
                Ok(files)
            }
            Err(source) => {
                // Which names there are is for the next start to find out.
                writer.state = State::Failed;
                Err(CleanError::Swap { path: directory.to_path_buf(), source })
            }
        }
    }

    /// Removes what was written, as far as that is possible; what is left, the next start removes.
    pub(super) fn discard(&self, log: &Log) {
        let Ok(_writer) = open_writer(log) else { return };
        let base = self.growth.segment.base();
        for kind in KINDS {
            // Records are the last to be renamed: if they have the name, this is not called.
            for suffix in [CLEANED_SUFFIX, SWAP_SUFFIX] {
                let path = kind.path_with(&log.directory, base, suffix);
                if let Err(error) = log.disk.remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot remove an unfinished segment");
                }
            }
        }
    }
}

/// The writer's lock of a log whose files may be touched by their names.
fn open_writer(log: &Log) -> Result<MutexGuard<'_, Writer>, CleanError> {
    let writer = log.writer.lock();
    if writer.state == State::Open { Ok(writer) } else { Err(CleanError::Aborted) }
}

/// From here on the new segment counts. Gives the names of the old files.
fn exchange_files(
    disk: &dyn Disk,
    directory: &Path,
    old: &[Arc<Segment>],
) -> io::Result<Vec<PathBuf>> {
    disk.sync_dir(directory)?;
    let mut files = Vec::new();
    for segment in old {
        files.extend(segment.mark_replaced(disk)?);
    }
    // The producers at the beginning of the new segment are those at the beginning of the first old one.
    for segment in old.iter().skip(1) {
        files.extend(mark_deleted(disk, Kind::ProducerSnapshot, directory, segment.base())?);
    }
    if let Some(first) = old.first() {
        name_finally(disk, directory, first.base())?;
    }
    Ok(files)
}

/// Gives the files of a new segment the names that the old ones no longer have.
fn name_finally(disk: &dyn Disk, directory: &Path, base: Offset) -> io::Result<()> {
    let swap_of = |kind: Kind| kind.path_with(directory, base, SWAP_SUFFIX);
    for kind in KINDS {
        let (from, to) = (swap_of(kind), kind.path(directory, base));
        match disk.link(&from, &to) {
            Ok(()) => {}
            Err(error) if may_be_missing(kind, &error) => {}
            // A file system without links.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
                ) =>
            {
                disk.rename(&from, &to)?;
            }
            Err(error) => return Err(error),
        }
    }
    disk.sync_dir(directory)?;
    KINDS.into_iter().try_for_each(|kind| disk.remove_file(&swap_of(kind)))
}

/// Whether an error says that a file is not there which need not be: an index is built anew if it is needed.
fn may_be_missing(kind: Kind, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound && kind != Kind::Records
}

/// Shows the new segment to readers in place of those in `range`, which end at `end`. Who reads those can go on.
fn publish(
    log: &Log,
    segments: &[Arc<Segment>],
    range: std::ops::Range<usize>,
    new: Arc<Segment>,
    end: Offset,
) {
    let mut published = log.published.write();
    let high_watermark = published.high_watermark;
    assert!(high_watermark.offset >= end, "{}: compacted what is not committed", log.name);
    // A high watermark between two segments may stand at the end of the earlier one, which is elsewhere now.
    if high_watermark.segment < end {
        published.high_watermark =
            LogPosition { offset: high_watermark.offset, segment: end, position: 0 };
    }
    let (before, after) = (segments.get(..range.start), segments.get(range.end..));
    let before = before.unwrap_or_default().iter().cloned();
    let after = after.unwrap_or_default().iter().cloned();
    published.segments = before.chain([new]).chain(after).collect();
}

/// Ends the exchanges of segments that an earlier stop has interrupted, before a log is opened: those that count are
/// completed, what does not count is removed. Gives whether the `entries` of the directory have changed.
pub(in super::super) fn finish_swaps(
    disk: &dyn Disk,
    directory: &Path,
    entries: &[DiskEntry],
) -> Result<bool, OpenError> {
    let mut bases = BTreeSet::new();
    let (mut unfinished, mut swaps) = (Vec::new(), Vec::new());
    let mut old = Vec::new();
    for entry in entries {
        if entry.name.ends_with(CLEANED_SUFFIX) {
            unfinished.push(directory.join(&entry.name));
        } else if let Some(name) = entry.name.strip_suffix(SWAP_SUFFIX) {
            if let Some((Kind::Records, base)) = Kind::parse(name) {
                bases.insert(base);
            }
            swaps.push(&entry.name);
        } else if let Some((kind, base)) = Kind::parse(&entry.name) {
            old.push((kind, base));
        }
    }
    // An index without records was to be of a segment that does not count.
    unfinished.extend(swaps.iter().filter_map(|name| {
        let parsed = name.strip_suffix(SWAP_SUFFIX).and_then(Kind::parse);
        let counts = parsed.is_some_and(|(_, base)| bases.contains(&base));
        (!counts).then(|| directory.join(name))
    }));
    let has_changed = !unfinished.is_empty() || !bases.is_empty();
    for path in unfinished {
        disk.remove_file(&path).map_err(OpenError::io(&path))?;
    }
    for base in bases {
        let path = Kind::Records.path_with(directory, base, SWAP_SUFFIX);
        let end = end_of(disk, &path, base)?;
        tracing::info!(path = %path.display(), %end, "completing a compacted segment");
        for (kind, offset) in &old {
            let is_snapshot = *kind == Kind::ProducerSnapshot;
            let is_replaced = *offset > base && *offset < end || *offset == base && !is_snapshot;
            if is_replaced {
                let path = kind.path(directory, *offset);
                disk.remove_file(&path).map_err(OpenError::io(&path))?;
            }
        }
        name_finally(disk, directory, base).map_err(OpenError::io(&path))?;
    }
    Ok(has_changed)
}

/// Where the batches in a file end; `base` if there are none.
fn end_of(disk: &dyn Disk, path: &Path, base: Offset) -> Result<Offset, OpenError> {
    let file = disk.open(path, OpenMode::Read).map_err(OpenError::io(path))?;
    let size = u32::try_from(file.len().map_err(OpenError::io(path))?).unwrap_or(u32::MAX);
    let mut headers = Headers::new(&*file, 0, size, Residency::Any);
    let mut end = base;
    loop {
        match headers.next_waiting() {
            Ok(Some(found)) => end = found.header.next_offset(),
            Ok(None) => return Ok(end),
            Err(ScanError::Io(source)) => return Err(OpenError::io(path)(source)),
            Err(ScanError::Damaged { position, problem }) => {
                let (path, position) = (path.to_owned(), u64::from(position));
                return Err(OpenError::Damaged { path, position, problem });
            }
        }
    }
}
