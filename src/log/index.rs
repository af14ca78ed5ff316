//! The offset index and the time index of a segment: sorted arrays of fixed-size entries.
//!
//! ```text
//! .index      offset  size  what
//!             0       4     last offset of the batch, less the segment's base offset
//!             4       4     position of the batch in the .log file
//! .timeindex  0       8     largest timestamp in the segment so far
//!             8       4     last offset of the batch that has it, less the segment's base offset
//! ```
//! All big-endian. Source: `OffsetIndex` and `TimeIndex` of Apache Kafka 4.3.
//!
//! The index of a segment that still grows lives in memory and is written out when the segment is rolled, flushed or
//! closed: until then the file holds a beginning of it, which is a valid index. The index of a finished segment stays on
//! disk and is searched there.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::files::FileName;
use crate::env::{Disk, DiskFile, OpenMode, Residency};
use crate::model::{Offset, UnixMillis};

/// One entry of either index.
pub(super) trait Entry: Copy + Eq + std::fmt::Debug + Send + Sync + 'static {
    /// Size on disk.
    const BYTES: usize;

    fn write(self, out: &mut Vec<u8>);

    /// Reads one entry from exactly [`Self::BYTES`] bytes.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Whether this entry may stand after `earlier`.
    fn follows(self, earlier: Self) -> bool;
}

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetEntry {
    /// Last offset of the batch, relative to the segment's base.
    pub(super) relative_offset: u32,
    /// Position of the batch in the file.
    pub(super) position: u32,
}

impl Entry for OffsetEntry {
    const BYTES: usize = 8;

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (offset, position) = bytes.split_first_chunk::<4>()?;
        Some(Self {
            relative_offset: u32::from_be_bytes(*offset),
            position: u32::from_be_bytes(*position.first_chunk()?),
        })
    }

    fn follows(self, earlier: Self) -> bool {
        self.relative_offset > earlier.relative_offset && self.position > earlier.position
    }
}

/// From where on timestamps are at least as large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeEntry {
    /// Largest timestamp in the segment up to and including the batch.
    pub(super) timestamp: UnixMillis,
    /// Last offset of the batch, relative to the segment's base.
    pub(super) relative_offset: u32,
}

impl Entry for TimeEntry {
    const BYTES: usize = 12;

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.0.to_be_bytes());
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (timestamp, offset) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            timestamp: UnixMillis(i64::from_be_bytes(*timestamp)),
            relative_offset: u32::from_be_bytes(*offset.first_chunk()?),
        })
    }

    fn follows(self, earlier: Self) -> bool {
        self.timestamp > earlier.timestamp && self.relative_offset >= earlier.relative_offset
    }
}

/// One index of one segment.
#[derive(Debug)]
pub(super) struct Index<E> {
    disk: Arc<dyn Disk>,
    name: FileName,
    state: RwLock<State<E>>,
}

#[derive(Debug)]
enum State<E> {
    /// Entries are added; the first `written` of them are in the file.
    Growing { entries: Vec<E>, written: usize },
    /// All entries are in the file, which is settled.
    Finished { count: usize, file: Arc<dyn DiskFile> },
}

impl<E: Entry> Index<E> {
    /// An empty index in a new file.
    pub(super) fn create(disk: Arc<dyn Disk>, name: FileName) -> io::Result<Self> {
        disk.open(&name.path(), OpenMode::Truncate)?;
        Ok(Self {
            disk,
            name,
            state: RwLock::new(State::Growing { entries: Vec::new(), written: 0 }),
        })
    }

    /// The index in the file, to be added to or not. `None` if the file is missing or cannot be an index: it is built
    /// anew then.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        name: FileName,
        grows: bool,
    ) -> io::Result<Option<Self>> {
        let file = match disk.open_settled(&name.path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.len()?;
        let Ok(bytes) = usize::try_from(length) else {
            return Ok(None);
        };
        if bytes % E::BYTES != 0 {
            return Ok(None);
        }
        let state = RwLock::new(State::Finished { count: bytes / E::BYTES, file });
        let index = Self { disk, name, state };
        if grows {
            index.resume()?;
        }
        Ok(Some(index))
    }

    /// Makes a finished index one that entries can be added to.
    pub(super) fn resume(&self) -> io::Result<()> {
        let mut state = self.state.write();
        let State::Finished { count, file } = &*state else {
            return Ok(());
        };
        let count = *count;
        let content = if count > 0 { content::<E>(&**file, count)? } else { Bytes::new() };
        // Kafka's index of a segment that it did not close is filled up with zeros: they do not follow.
        let mut entries: Vec<E> = Vec::with_capacity(count);
        for entry in content.chunks_exact(E::BYTES).map_while(E::read) {
            if entries.last().is_some_and(|last| !entry.follows(*last)) {
                break;
            }
            entries.push(entry);
        }
        let written = entries.len();
        *state = State::Growing { entries, written };
        Ok(())
    }

    /// Adds an entry.
    ///
    /// # Panics
    /// If the entry does not follow the last one, or the index is finished.
    pub(super) fn push(&self, entry: E) {
        let mut state = self.state.write();
        let State::Growing { entries, .. } = &mut *state else {
            panic!("an entry for the finished index {}", self.name.path().display());
        };
        let last = entries.last().copied();
        assert!(last.is_none_or(|last| entry.follows(last)), "{entry:?} does not follow {last:?}");
        entries.push(entry);
    }

    /// Adds an entry if it follows the last one.
    pub(super) fn push_if_later(&self, entry: E) {
        if let State::Growing { entries, .. } = &mut *self.state.write()
            && entries.last().is_none_or(|last| entry.follows(*last))
        {
            entries.push(entry);
        }
    }

    /// How many entries there are.
    pub(super) fn count(&self) -> usize {
        match &*self.state.read() {
            State::Growing { entries, .. } => entries.len(),
            State::Finished { count, .. } => *count,
        }
    }

    /// Writes out what is only in memory, and syncs the file if asked to.
    pub(super) fn flush(&self, sync: bool) -> io::Result<()> {
        let file = self.write_out(sync)?;
        // Nobody who reads the index or adds to it waits for the disk.
        match file {
            Some(file) if sync => sync_settled(&*file),
            Some(_) | None => Ok(()),
        }
    }

    /// Writes out what is only in memory. Gives the file if there was something, or if it is asked for.
    fn write_out(&self, wants_file: bool) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let mut state = self.state.write();
        let (entries, written) = match &mut *state {
            State::Growing { entries, written } => (entries, written),
            State::Finished { file, .. } => return Ok(Some(Arc::clone(file))),
        };
        let new = entries.get(*written..).unwrap_or_default();
        if new.is_empty() && !wants_file {
            return Ok(None);
        }
        let file = self.disk.open(&self.name.path(), OpenMode::Create)?;
        let mut bytes = Vec::with_capacity(new.len() * E::BYTES);
        new.iter().for_each(|entry| entry.write(&mut bytes));
        file.write_at((*written * E::BYTES) as u64, &[&bytes])?;
        // A longer file may be left from before a crash, or from Kafka, which fills files up.
        file.set_len((entries.len() * E::BYTES) as u64)?;
        *written = entries.len();
        Ok(Some(file))
    }

    /// Writes out what is only in memory and frees it: no entries follow.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.flush(false)?;
        let mut state = self.state.write();
        if let State::Growing { entries, .. } = &*state {
            let file = self.disk.open_settled(&self.name.path())?;
            *state = State::Finished { count: entries.len(), file };
        }
        Ok(())
    }

    /// The last entry for which `before` holds, if it holds for a first part of the entries and no others; and the
    /// entry after that.
    pub(super) fn around(&self, before: impl Fn(E) -> bool) -> io::Result<(Option<E>, Option<E>)> {
        let (file, count) = match &*self.state.read() {
            State::Growing { entries, .. } => {
                let split = entries.partition_point(|entry| before(*entry));
                return Ok((last_of(entries, split), entries.get(split).copied()));
            }
            State::Finished { count, file } => (Arc::clone(file), *count),
        };
        let content = content::<E>(&*file, count)?;
        let at = |index: usize| content.get(index * E::BYTES..).and_then(E::read);
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if at(middle).is_some_and(&before) { low = middle + 1 } else { high = middle }
        }
        Ok((low.checked_sub(1).and_then(at), if low < count { at(low) } else { None }))
    }

    /// The last entry.
    pub(super) fn last(&self) -> io::Result<Option<E>> {
        let (file, last) = match &*self.state.read() {
            State::Growing { entries, .. } => return Ok(entries.last().copied()),
            State::Finished { count: 0, .. } => return Ok(None),
            State::Finished { count, file } => (Arc::clone(file), *count - 1),
        };
        let mut bytes = vec![0; E::BYTES];
        file.read_into((last * E::BYTES) as u64, &mut bytes, Residency::Any)?;
        Ok(E::read(&bytes))
    }

    /// Keeps a finished index readable while its file gets another name, or is removed.
    pub(super) fn pin(&self) -> io::Result<()> {
        match &*self.state.read() {
            State::Growing { .. } => Ok(()),
            State::Finished { file, .. } => match file.pin() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                pinned => pinned,
            },
        }
    }

    /// The file's name will be another's: see [`DiskFile::forget`].
    pub(super) fn forget(&self) {
        if let State::Finished { file, .. } = &*self.state.read() {
            file.forget();
        }
    }
}

/// Syncs a file that holds all entries; one that was deleted in the meantime needs it no more.
fn sync_settled(file: &dyn DiskFile) -> io::Result<()> {
    match file.sync_data() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced,
    }
}

/// The first `count` entries of a file.
fn content<E: Entry>(file: &dyn DiskFile, count: usize) -> io::Result<Bytes> {
    let range = 0..(count * E::BYTES) as u64;
    if let Some(view) = file.read(range.clone(), Residency::Cached)? {
        return Ok(view);
    }
    Ok(file.read(range, Residency::Any)?.unwrap_or_default())
}

fn last_of<E: Copy>(entries: &[E], split: usize) -> Option<E> {
    split.checked_sub(1).and_then(|last| entries.get(last)).copied()
}

impl Index<OffsetEntry> {
    /// Position from which to look for `offset`: that of the last batch known to end at or before it.
    pub(super) fn position_before(&self, base: Offset, offset: Offset) -> io::Result<u32> {
        let relative = offset.since(base);
        let (entry, _) = self.around(|entry| i64::from(entry.relative_offset) <= relative)?;
        Ok(entry.map_or(0, |entry| entry.position))
    }

    /// The largest known batch boundary that is at most `position`.
    pub(super) fn boundary_at_most(&self, position: u32) -> io::Result<u32> {
        let (entry, _) = self.around(|entry| entry.position <= position)?;
        Ok(entry.map_or(0, |entry| entry.position))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;
    use crate::env::MemoryDisk;
    use crate::log::files::Kind;

    fn named(directory: &str, kind: Kind) -> FileName {
        FileName::new(Path::new(directory).into(), Offset(0), kind)
    }

    fn name(kind: Kind) -> FileName {
        named("", kind)
    }

    fn index(disk: &MemoryDisk) -> Index<OffsetEntry> {
        Index::create(Arc::new(disk.clone()), name(Kind::OffsetIndex)).unwrap()
    }

    proptest! {
        #[test]
        fn finding_is_the_same_in_memory_and_on_disk(
            steps in proptest::collection::vec((1_u32..5, 1_u32..5), 0..60),
            probe in 0_u32..300,
        ) {
            let disk = MemoryDisk::new();
            let index = index(&disk);
            let mut entries = Vec::new();
            let mut last = OffsetEntry { relative_offset: 0, position: 0 };
            for (offset, position) in steps {
                last = OffsetEntry {
                    relative_offset: last.relative_offset + offset,
                    position: last.position + position,
                };
                index.push(last);
                entries.push(last);
            }
            let expected = (
                entries.iter().rfind(|e| e.relative_offset <= probe).copied(),
                entries.iter().find(|e| e.relative_offset > probe).copied(),
            );
            prop_assert_eq!(index.around(|e| e.relative_offset <= probe).unwrap(), expected);
            prop_assert_eq!(index.last().unwrap(), entries.last().copied());
            index.finish().unwrap();
            prop_assert_eq!(index.around(|e| e.relative_offset <= probe).unwrap(), expected);
            prop_assert_eq!(index.last().unwrap(), entries.last().copied());
            for grows in [true, false] {
                let reopened: Index<OffsetEntry> =
                    Index::open(Arc::new(disk.clone()), name(Kind::OffsetIndex), grows).unwrap().unwrap();
                prop_assert_eq!(reopened.count(), entries.len());
                prop_assert_eq!(reopened.around(|e| e.relative_offset <= probe).unwrap(), expected);
            }
        }
    }

    #[test]
    fn bytes_on_disk_are_kafkas() {
        let disk = MemoryDisk::new();
        let offsets = index(&disk);
        offsets.push(OffsetEntry { relative_offset: 1, position: 0x102 });
        offsets.flush(true).unwrap();
        assert_eq!(
            disk.read_small(&name(Kind::OffsetIndex).path()).unwrap().unwrap(),
            [0, 0, 0, 1, 0, 0, 1, 2]
        );
        let times = Index::create(Arc::new(disk.clone()), name(Kind::TimeIndex)).unwrap();
        times.push(TimeEntry { timestamp: UnixMillis(3), relative_offset: 2 });
        times.finish().unwrap();
        assert_eq!(
            disk.read_small(&name(Kind::TimeIndex).path()).unwrap().unwrap(),
            [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2]
        );
    }

    #[test]
    fn flushing_in_pieces_gives_the_whole() {
        let disk = MemoryDisk::new();
        let index = index(&disk);
        for i in 1..10 {
            index.push(OffsetEntry { relative_offset: i, position: i * 100 });
            index.flush(i % 2 == 0).unwrap();
        }
        let reopened: Index<OffsetEntry> =
            Index::open(Arc::new(disk), name(Kind::OffsetIndex), false).unwrap().unwrap();
        assert_eq!(reopened.count(), 9);
        assert_eq!(reopened.position_before(Offset(1_000), Offset(1_005)).unwrap(), 500);
        assert_eq!(reopened.position_before(Offset(1_000), Offset(1_000)).unwrap(), 0);
        assert_eq!(reopened.boundary_at_most(399).unwrap(), 300);
    }

    #[test]
    fn a_pinned_index_is_read_after_another_has_taken_its_name() {
        let disk = MemoryDisk::new();
        let old = index(&disk);
        old.push(OffsetEntry { relative_offset: 5, position: 50 });
        old.finish().unwrap();
        old.pin().unwrap();
        disk.rename(&name(Kind::OffsetIndex).path(), Path::new("i.deleted")).unwrap();
        let new = index(&disk);
        new.push(OffsetEntry { relative_offset: 7, position: 70 });
        new.finish().unwrap();
        disk.remove_file(Path::new("i.deleted")).unwrap();
        for (index, expected) in [(&old, 50), (&new, 70)] {
            assert_eq!(index.last().unwrap().map(|entry| entry.position), Some(expected));
            assert_eq!(index.boundary_at_most(100).unwrap(), expected);
        }
    }

    #[test]
    fn a_finished_index_is_durable_once_it_was_flushed() {
        for seed in 0..20 {
            let disk = MemoryDisk::with_power_model();
            disk.create_dir_all(Path::new("d")).unwrap();
            disk.sync_all();
            let index: Index<OffsetEntry> =
                Index::create(Arc::new(disk.clone()), named("d", Kind::OffsetIndex)).unwrap();
            for i in 1..200 {
                index.push(OffsetEntry { relative_offset: i, position: i * 100 });
            }
            index.finish().unwrap();
            index.flush(true).unwrap();
            disk.sync_dir(Path::new("d")).unwrap();
            let before = disk.read_small(&named("d", Kind::OffsetIndex).path()).unwrap();
            let after = disk.power_cut(&crate::env::Rng::from_seed(seed));
            assert_eq!(
                after.read_small(&named("d", Kind::OffsetIndex).path()).unwrap(),
                before,
                "seed {seed}"
            );
        }
    }

    #[test]
    fn zeros_at_the_end_are_no_entries() {
        let disk = MemoryDisk::new();
        let file = disk.open(&name(Kind::OffsetIndex).path(), OpenMode::Create).unwrap();
        file.write_at(0, &[&[0, 0, 0, 5, 0, 0, 0, 9], &[0; 80]]).unwrap();
        let open = || {
            Index::<OffsetEntry>::open(Arc::new(disk.clone()), name(Kind::OffsetIndex), true)
                .unwrap()
        };
        assert_eq!(open().expect("whole entries").count(), 1);
        file.set_len(85).unwrap();
        assert!(open().is_none(), "not a whole number of entries");
    }
}
