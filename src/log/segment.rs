//! One segment: a file of batches with its three indexes.
//!
//! **Invariant:** the bytes below the published size are whole batches with rising offsets, and they never change. Only the
//! last segment of a log grows.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;

use super::files::{DELETED_SUFFIX, FileName, Kind};
use super::index::{Index, OffsetEntry, TimeEntry};
use super::scan::{Found, Headers, ScanError, Step};
use super::transaction_index::TransactionIndex;
use crate::env::{Disk, DiskFile, OpenMode, Residency};
use crate::model::{Offset, UnixMillis};
use crate::record::BatchHeader;

/// A segment of a log.
#[derive(Debug)]
pub(super) struct Segment {
    /// Of the records.
    name: FileName,
    file: Arc<dyn DiskFile>,
    size: AtomicU32,
    pub(super) offsets: Index<OffsetEntry>,
    pub(super) times: Index<TimeEntry>,
    pub(super) transactions: TransactionIndex,
    latest: Mutex<Option<Latest>>,
    /// Whether it is finished and all its files are durable.
    durable: AtomicBool,
    /// Where reads ended lately, which is where their readers go on: spares them the walk from the index entry before.
    read_ends: Mutex<[(Offset, u32); READ_ENDS]>,
}

/// How many readers of one segment are remembered.
const READ_ENDS: usize = 4;

/// The largest timestamp in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Latest {
    pub(super) timestamp: UnixMillis,
    /// Last offset of the first batch that has it.
    pub(super) last_offset: Offset,
}

/// What a growing segment remembers beside its files.
#[derive(Debug)]
pub(super) struct Growth {
    pub(super) segment: Arc<Segment>,
    /// Bytes written since the last index entry.
    bytes_since_entry: u32,
    /// Largest timestamp of the first batch, once known: age is counted from it.
    first_timestamp: Option<UnixMillis>,
    /// When the segment was made or opened.
    since: UnixMillis,
    /// By how much less than `segment.ms` the segment may grow old.
    jitter_ms: i64,
}

/// When to roll, and what is about to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct RollRule {
    pub(super) segment_bytes: u32,
    pub(super) segment_age_max_ms: i64,
    pub(super) index_bytes_max: u32,
    pub(super) batch_bytes: u32,
    pub(super) batch_timestamp: UnixMillis,
    pub(super) batch_last_offset: Offset,
    pub(super) now: UnixMillis,
}

impl Segment {
    /// A new segment without batches, whose file is extended with zeros to `reserved_bytes`. Files that are left over from
    /// before are emptied.
    pub(super) fn create(
        disk: &Arc<dyn Disk>,
        directory: &Arc<Path>,
        base: Offset,
        reserved_bytes: u32,
    ) -> io::Result<Arc<Self>> {
        let name = FileName::new(Arc::clone(directory), base, Kind::Records);
        let segment = Self::create_named(disk, name)?;
        if reserved_bytes > 0 {
            segment.file.reserve(u64::from(reserved_bytes))?;
        }
        Ok(segment)
    }

    /// A new segment that compaction fills, under names that do not count yet.
    pub(super) fn create_cleaned(
        disk: &Arc<dyn Disk>,
        directory: &Arc<Path>,
        base: Offset,
    ) -> io::Result<Arc<Self>> {
        let name = FileName::new(Arc::clone(directory), base, Kind::Records);
        Self::create_named(disk, name.cleaned())
    }

    fn create_named(disk: &Arc<dyn Disk>, name: FileName) -> io::Result<Arc<Self>> {
        let file = disk.open(&name.path(), OpenMode::Truncate)?;
        let offsets = Index::create(Arc::clone(disk), name.beside(Kind::OffsetIndex))?;
        let times = Index::create(Arc::clone(disk), name.beside(Kind::TimeIndex))?;
        let transactions = name.beside(Kind::TransactionIndex);
        Ok(Arc::new(Self {
            name,
            file,
            size: AtomicU32::new(0),
            offsets,
            times,
            transactions: TransactionIndex::create(Arc::clone(disk), transactions)?,
            latest: Mutex::new(None),
            durable: AtomicBool::new(false),
            read_ends: Mutex::default(),
        }))
    }

    /// The segment in the files. `None` for the segment if an index is missing or cannot be one, or does not fit the
    /// records of a segment that grows: build it anew with [`reindex`](Self::reindex). The transaction index is left out of
    /// this: see [`TransactionIndex::is_damaged`].
    ///
    /// Of a segment that grows, the largest timestamp is only known up to its last time index entry. Of one that is known to
    /// have no transaction index, none is looked for.
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        directory: &Arc<Path>,
        base: Offset,
        grows: bool,
        has_transactions: bool,
    ) -> io::Result<Option<Arc<Self>>> {
        let name = FileName::new(Arc::clone(directory), base, Kind::Records);
        let path = name.path();
        let file = if grows { disk.open_idle(&path) } else { disk.open_settled(&path) }?;
        let size = u32::try_from(file.len()?).map_err(io::Error::other)?;
        let offsets: Option<Index<OffsetEntry>> =
            Index::open(Arc::clone(disk), name.beside(Kind::OffsetIndex), grows)?;
        let times: Option<Index<TimeEntry>> =
            Index::open(Arc::clone(disk), name.beside(Kind::TimeIndex), grows)?;
        let (Some(offsets), Some(times)) = (offsets, times) else {
            return Ok(None);
        };
        if offsets.last()?.is_some_and(|last| last.position >= size) {
            return Ok(None);
        }
        let latest = times.last()?.map(|entry| Latest {
            timestamp: entry.timestamp,
            last_offset: base.plus(i64::from(entry.relative_offset)),
        });
        let of_transactions = name.beside(Kind::TransactionIndex);
        let transactions = match has_transactions {
            true => TransactionIndex::open(Arc::clone(disk), of_transactions)?,
            false => TransactionIndex::absent(Arc::clone(disk), of_transactions),
        };
        let segment = Self {
            name,
            file,
            size: AtomicU32::new(size),
            offsets,
            times,
            transactions,
            latest: Mutex::new(latest),
            durable: AtomicBool::new(false),
            read_ends: Mutex::default(),
        };
        let fits = !grows || segment.indexes_fit()?;
        Ok(fits.then(|| Arc::new(segment)))
    }

    /// Whether the last entries of the indexes are true of batches in the file, so that others can follow them.
    fn indexes_fit(&self) -> io::Result<bool> {
        let check = || {
            if let Some(OffsetEntry { relative_offset, position }) = self.offsets.last()? {
                let offset = self.base().plus(i64::from(relative_offset));
                let mut headers =
                    Headers::new(&*self.file, position, self.size(), Residency::Any).one_by_one();
                let first = headers.next_waiting()?;
                let last = self.last_batch_from(position)?;
                let begins = first.is_some_and(|first| first.header.base_offset <= offset);
                if !begins || last.is_none_or(|last| last.header.last_offset() < offset) {
                    return Ok(false);
                }
            }
            let Some(latest) = self.latest() else {
                return Ok(true);
            };
            match self.find(latest.last_offset, self.size(), Residency::Any)? {
                Step::Batch(found) => Ok(found.header.max_timestamp == latest.timestamp),
                Step::End | Step::NotResident => Ok(false),
            }
        };
        match check() {
            Ok(fits) => Ok(fits),
            // Building the indexes anew will tell whether it is the records.
            Err(ScanError::Damaged { .. }) => Ok(false),
            Err(ScanError::Io(error)) => Err(error),
        }
    }

    /// The segment in the record file, with empty indexes, but for that of transactions. [`Growth::wrote`] is to be told of
    /// each batch.
    pub(super) fn reindex(
        disk: &Arc<dyn Disk>,
        directory: &Arc<Path>,
        base: Offset,
    ) -> io::Result<Arc<Self>> {
        let name = FileName::new(Arc::clone(directory), base, Kind::Records);
        let file = disk.open(&name.path(), OpenMode::Write)?;
        let size = u32::try_from(file.len()?).map_err(io::Error::other)?;
        let transactions = name.beside(Kind::TransactionIndex);
        Ok(Arc::new(Self {
            file,
            size: AtomicU32::new(size),
            offsets: Index::create(Arc::clone(disk), name.beside(Kind::OffsetIndex))?,
            times: Index::create(Arc::clone(disk), name.beside(Kind::TimeIndex))?,
            transactions: TransactionIndex::open(Arc::clone(disk), transactions)?,
            name,
            latest: Mutex::new(None),
            durable: AtomicBool::new(false),
            read_ends: Mutex::default(),
        }))
    }

    /// Cuts off what was reserved behind the batches and is not used.
    fn trim(&self) -> io::Result<()> {
        let size = u64::from(self.size());
        if self.file.len()? > size { self.file.set_len(size) } else { Ok(()) }
    }

    /// The offset it begins with.
    pub(super) const fn base(&self) -> Offset {
        self.name.base()
    }

    /// Its record file's path.
    pub(super) fn path(&self) -> PathBuf {
        self.name.path()
    }

    /// Its record file.
    pub(super) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// Bytes of whole batches.
    pub(super) fn size(&self) -> u32 {
        self.size.load(Ordering::Acquire)
    }

    pub(super) fn set_size(&self, size: u32) {
        self.size.store(size, Ordering::Release);
    }

    /// Whether it is finished and all its files are durable.
    pub(super) fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Acquire)
    }

    /// It is finished, and all its files are durable: they are open only while they are read, from now on.
    pub(super) fn set_durable(&self) {
        self.durable.store(true, Ordering::Release);
        self.file.settle();
        self.transactions.settle();
    }

    /// The largest timestamp, if there is one.
    pub(super) fn latest(&self) -> Option<Latest> {
        *self.latest.lock()
    }

    /// Finds the batch that holds `offset`, or the first one after it, among the bytes below `end`.
    pub(super) fn find(
        &self,
        offset: Offset,
        end: u32,
        residency: Residency,
    ) -> Result<Step, ScanError> {
        let read_end = self.read_ends.lock().iter().find(|(end, _)| *end == offset).copied();
        let headers = |start| Headers::new(&*self.file, start, end, residency);
        let mut headers = match read_end {
            Some((_, position)) => headers(position).one_by_one(),
            None => headers(self.offsets.position_before(self.base(), offset)?),
        };
        loop {
            match headers.next()? {
                Step::Batch(found) if found.header.last_offset() < offset => {}
                step @ (Step::Batch(_) | Step::End | Step::NotResident) => return Ok(step),
            }
        }
    }

    /// Remembers that the batch after those that were read begins at `position`, with `offset`.
    pub(super) fn read_up_to(&self, offset: Offset, position: u32) {
        let mut read_ends = self.read_ends.lock();
        read_ends.rotate_right(1);
        let [newest, ..] = &mut *read_ends;
        *newest = (offset, position);
    }

    /// The last batch, if there is one.
    pub(super) fn last_batch(&self) -> Result<Option<Found>, ScanError> {
        let start = self.offsets.last()?.map_or(0, |entry| entry.position);
        match self.last_batch_from(start) {
            // It may be the index that is wrong.
            Err(ScanError::Damaged { .. }) if start > 0 => self.last_batch_from(0),
            found => found,
        }
    }

    fn last_batch_from(&self, start: u32) -> Result<Option<Found>, ScanError> {
        let mut headers = Headers::new(&*self.file, start, self.size(), Residency::Any);
        let mut last = None;
        while let Some(found) = headers.next_waiting()? {
            last = Some(found);
        }
        Ok(last)
    }

    /// Writes out the indexes; with `sync` makes everything durable.
    pub(super) fn flush(&self, sync: bool) -> io::Result<()> {
        if sync {
            self.file.sync_data()?;
            self.transactions.sync()?;
        }
        self.offsets.flush(sync)?;
        self.times.flush(sync)
    }

    /// Renames all files of the segment for removal, with the producer snapshot at its beginning; gives the new names.
    /// Reads that are under way go on.
    pub(super) fn mark_deleted(&self, disk: &dyn Disk) -> io::Result<Vec<PathBuf>> {
        let mut marked = self.mark_replaced(disk)?;
        let snapshot =
            mark_deleted(disk, Kind::ProducerSnapshot, self.name.directory(), self.base())?;
        marked.extend(snapshot);
        Ok(marked)
    }

    /// Keeps its files readable, whatever becomes of their names.
    pub(super) fn keep_open(&self) -> io::Result<()> {
        self.file.pin()?;
        self.offsets.pin()?;
        self.times.pin()?;
        self.transactions.pin()
    }

    /// The same without the snapshot.
    pub(super) fn mark_replaced(&self, disk: &dyn Disk) -> io::Result<Vec<PathBuf>> {
        self.keep_open()?;
        let mut marked = Vec::new();
        for kind in [Kind::Records, Kind::OffsetIndex, Kind::TimeIndex, Kind::TransactionIndex] {
            marked.extend(mark_deleted(disk, kind, self.name.directory(), self.base())?);
        }
        Ok(marked)
    }

    /// The names of its files will be others': those that are closed are opened no more.
    pub(super) fn forget_names(&self) {
        self.file.forget();
        self.offsets.forget();
        self.times.forget();
        self.transactions.forget();
    }
}

/// Renames a file for removal, if it is there; gives its new name.
pub(super) fn mark_deleted(
    disk: &dyn Disk,
    kind: Kind,
    directory: &Path,
    base: Offset,
) -> io::Result<Option<PathBuf>> {
    let deleted = kind.path_with(directory, base, DELETED_SUFFIX);
    match disk.rename(&kind.path(directory, base), &deleted) {
        Ok(()) => Ok(Some(deleted)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Growth {
    pub(super) fn new(segment: Arc<Segment>, now: UnixMillis, jitter_ms: i64) -> Self {
        Self { segment, bytes_since_entry: 0, first_timestamp: None, since: now, jitter_ms }
    }

    /// Whether the next batch has to go to a new segment (`LogSegment.shouldRoll`).
    pub(super) fn should_roll(&mut self, rule: &RollRule) -> Result<bool, ScanError> {
        let segment = &self.segment;
        let size = segment.size();
        let entries_max = |entry_bytes: usize| rule.index_bytes_max as usize / entry_bytes;
        let full = size > rule.segment_bytes.saturating_sub(rule.batch_bytes)
            || segment.offsets.count() >= entries_max(8)
            || segment.times.count() >= entries_max(12).saturating_sub(1)
            || rule.batch_last_offset.since(segment.base()) > i64::from(i32::MAX);
        if size == 0 || full {
            return Ok(size > 0 && full);
        }
        if self.first_timestamp.is_none() {
            let mut headers = Headers::new(&**segment.file(), 0, size, Residency::Any);
            self.first_timestamp = headers.next_waiting()?.map(|found| found.header.max_timestamp);
        }
        let age = match self.first_timestamp {
            Some(first) if first.0 >= 0 => rule.batch_timestamp.millis_since(first),
            _ => rule.now.millis_since(self.since),
        };
        Ok(age > rule.segment_age_max_ms.saturating_sub(self.jitter_ms))
    }

    /// Takes note of a batch that was written at `position`: its index entries and the new size.
    pub(super) fn wrote(&mut self, batch: &BatchHeader, position: u32, index_interval_bytes: u32) {
        let segment = &self.segment;
        let last_offset = batch.last_offset();
        let newest = {
            let mut latest = segment.latest.lock();
            if latest.is_none_or(|latest| batch.max_timestamp > latest.timestamp)
                && batch.max_timestamp.0 >= 0
            {
                *latest = Some(Latest { timestamp: batch.max_timestamp, last_offset });
            }
            *latest
        };
        if self.first_timestamp.is_none() && position == 0 {
            self.first_timestamp = Some(batch.max_timestamp);
        }
        if self.bytes_since_entry > index_interval_bytes {
            segment
                .offsets
                .push(OffsetEntry { relative_offset: segment.relative(last_offset), position });
            self.push_time(newest);
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry = self.bytes_since_entry.saturating_add(batch.size_bytes());
        segment.set_size(position.saturating_add(batch.size_bytes()));
    }

    /// No batch follows: the indexes get their last entry and are written out, and what was reserved is given back.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.push_time(self.segment.latest());
        self.segment.offsets.finish()?;
        self.segment.times.finish()?;
        self.segment.trim()
    }

    /// The same for a segment that may be continued after the next start.
    pub(super) fn close(&self) -> io::Result<()> {
        self.pause()?;
        self.segment.flush(true)
    }

    /// Perhaps no batch follows: the indexes are written out as if it were so.
    pub(super) fn pause(&self) -> io::Result<()> {
        self.push_time(self.segment.latest());
        self.segment.trim()?;
        self.segment.flush(false)
    }

    fn push_time(&self, latest: Option<Latest>) {
        let Some(latest) = latest else { return };
        let segment = &self.segment;
        let entry = TimeEntry {
            timestamp: latest.timestamp,
            relative_offset: segment.relative(latest.last_offset),
        };
        segment.times.push_if_later(entry);
    }
}

impl Segment {
    /// An offset of this segment as the indexes write it.
    fn relative(&self, offset: Offset) -> u32 {
        let relative = offset.since(self.base());
        u32::try_from(relative).expect("a segment is rolled before its offsets outgrow 31 bits")
    }
}
