//! The transaction index of a segment: the transactions that were aborted by a marker in it.
//!
//! ```text
//! offset  size  what
//! 0       2     version, 0
//! 2       8     producer id
//! 10      8     first offset of the transaction, perhaps in an earlier segment
//! 18      8     offset of the marker that aborted it
//! 26      8     last stable offset once the marker is committed
//! ```
//! All big-endian, 34 bytes an entry, in the order of the markers. Source: `TransactionIndex` and `AbortedTxn` of Apache
//! Kafka 4.3.
//!
//! Unlike the other indexes it is written at once, and the file is not made before it has an entry: a missing file says that
//! nothing was aborted. So what is missing cannot be told from what never was, and after an unclean stop the index of
//! each segment that may be torn is built anew.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::files::FileName;
use crate::env::{Disk, DiskFile, OpenMode, Residency};
use crate::model::{Offset, ProducerId};

/// Size of an entry on disk.
pub(super) const ENTRY_BYTES: usize = 34;
pub(super) const VERSION: i16 = 0;
/// How many entries a search reads first: about a page of them.
const BLOCK_ENTRIES: usize = 120;
/// How many it reads before the place that it guesses.
const GUESS_MARGIN: usize = 16;
/// How many it reads at a time at most, where many are needed: about 64 KiB of them.
const LARGE_BLOCK_ENTRIES: usize = 16 * BLOCK_ENTRIES;

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: ProducerId,
    /// Its first offset.
    pub first_offset: Offset,
    /// Offset of the marker that aborted it.
    pub last_offset: Offset,
    /// The last stable offset once the marker is committed: transactions that this index and those of later segments have
    /// after this entry begin there or later.
    pub last_stable: Offset,
}

impl AbortedTransaction {
    fn write(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let (version, rest) = bytes.split_at_mut(size_of::<i16>());
        version.copy_from_slice(&VERSION.to_be_bytes());
        let fields =
            [self.producer_id.0, self.first_offset.0, self.last_offset.0, self.last_stable.0];
        for (place, field) in rest.chunks_exact_mut(size_of::<i64>()).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    /// The entry in these bytes, with the version of its layout.
    pub(super) fn read(bytes: &[u8; ENTRY_BYTES]) -> (i16, Self) {
        let (version, rest) = bytes.split_first_chunk().expect("an entry begins with its version");
        let (fields, _) = rest.as_chunks();
        let mut fields = fields.iter().map(|field| i64::from_be_bytes(*field));
        let mut field = || fields.next().expect("the fields add up to the entry");
        let entry = Self {
            producer_id: ProducerId(field()),
            first_offset: Offset(field()),
            last_offset: Offset(field()),
            last_stable: Offset(field()),
        };
        (i16::from_be_bytes(*version), entry)
    }
}

/// The transaction index of one segment.
#[derive(Debug)]
pub(super) struct TransactionIndex {
    disk: Arc<dyn Disk>,
    name: FileName,
    state: RwLock<State>,
    guess: Mutex<Guess>,
}

#[derive(Clone, Debug)]
enum State {
    /// There is no entry, and no file that counts.
    Empty,
    /// The file begins with so many entries.
    Filled { file: Arc<dyn DiskFile>, count: usize },
    /// The file cannot be an index: it has to be built anew before anything is read.
    Damaged,
}

impl TransactionIndex {
    /// An index without entries. A file that is left over from before is removed.
    pub(super) fn create(disk: Arc<dyn Disk>, name: FileName) -> io::Result<Self> {
        disk.remove_file(&name.path())?;
        Ok(Self { disk, name, state: RwLock::new(State::Empty), guess: Mutex::default() })
    }

    /// An index without entries, of which there is no file.
    pub(super) fn absent(disk: Arc<dyn Disk>, name: FileName) -> Self {
        Self { disk, name, state: RwLock::new(State::Empty), guess: Mutex::default() }
    }

    /// The index as it is in the file.
    pub(super) fn open(disk: Arc<dyn Disk>, name: FileName) -> io::Result<Self> {
        let state = match disk.open(&name.path(), OpenMode::Write) {
            Ok(file) => read_state(file, name.base())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::Empty,
            Err(error) => return Err(error),
        };
        Ok(Self { disk, name, state: RwLock::new(state), guess: Mutex::default() })
    }

    /// Whether the file cannot be an index.
    pub(super) fn is_damaged(&self) -> bool {
        matches!(*self.state.read(), State::Damaged)
    }

    /// Replaces all entries, durably.
    pub(super) fn rebuild(&self, entries: &[AbortedTransaction]) -> io::Result<()> {
        let mut state = self.state.write();
        *state = if entries.is_empty() {
            if !matches!(*state, State::Empty) {
                self.disk.remove_file(&self.name.path())?;
            }
            State::Empty
        } else {
            let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.write()).collect();
            self.disk.replace_small(&self.name.path(), &bytes)?;
            let file = self.disk.open(&self.name.path(), OpenMode::Write)?;
            State::Filled { file, count: entries.len() }
        };
        Ok(())
    }

    /// Adds an entry; gives whether the file was made for it. After an error the index is as before.
    pub(super) fn push(&self, entry: AbortedTransaction) -> io::Result<bool> {
        let mut state = self.state.write();
        let (file, count, is_new) = match &*state {
            State::Filled { file, count } => (Arc::clone(file), *count, false),
            State::Empty => (self.disk.open(&self.name.path(), OpenMode::Truncate)?, 0, true),
            State::Damaged => return Err(io::ErrorKind::InvalidData.into()),
        };
        let end = (count * ENTRY_BYTES) as u64;
        if let Err(error) = file.write_at(end, &[&entry.write()]) {
            return Err(file.set_len(end).err().unwrap_or(error));
        }
        *state = State::Filled { file, count: count + 1 };
        Ok(is_new)
    }

    /// Makes the entries durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        let state = self.state.read().clone();
        match state {
            State::Filled { file, .. } => file.sync_data(),
            State::Empty | State::Damaged => Ok(()),
        }
    }

    /// No entries follow, and those that are there are durable: see [`DiskFile::settle`].
    pub(super) fn settle(&self) {
        if let State::Filled { file, .. } = &*self.state.read() {
            file.settle();
        }
    }

    /// Keeps the index readable while its file gets another name, or is removed.
    pub(super) fn pin(&self) -> io::Result<()> {
        match &*self.state.read() {
            State::Filled { file, .. } => file.pin(),
            State::Empty | State::Damaged => Ok(()),
        }
    }

    /// The file's name will be another's: see [`DiskFile::forget`].
    pub(super) fn forget(&self) {
        if let State::Filled { file, .. } = &*self.state.read() {
            file.forget();
        }
    }

    /// Adds the transactions that reach into `from..until` to `found`. Gives whether later segments have no others;
    /// `None` if [`Residency::Cached`] was asked and entries that are needed are not in memory; `found` then lacks some.
    pub(super) fn collect(
        &self,
        from: Offset,
        until: Offset,
        residency: Residency,
        found: &mut Vec<AbortedTransaction>,
    ) -> io::Result<Option<bool>> {
        let state = self.state.read().clone();
        let State::Filled { file, count } = state else {
            return Ok(Some(false));
        };
        let guess = *self.guess.lock();
        let searched = search(count, guess, from..until, found, |first, entries| {
            file.read_into((first * ENTRY_BYTES) as u64, entries.as_flattened_mut(), residency)
        })?;
        Ok(searched.map(|searched| {
            *self.guess.lock() = searched.next;
            searched.is_done
        }))
    }
}

/// Where the next search looks first: whoever reads goes on where he was, most of the time.
#[derive(Clone, Copy, Debug, Default)]
struct Guess {
    /// The first entry of the last search's end.
    first: usize,
    /// How many entries that search read.
    size: usize,
}

/// How a search ended.
#[derive(Debug)]
struct Searched {
    /// Whether later segments have no others.
    is_done: bool,
    next: Guess,
}

/// As [`TransactionIndex::collect`], among `count` entries, the first of which is perhaps near the guess. `read` fills its
/// second argument with the entries from the first on, and gives whether it could. It is asked for little more than what is
/// needed: indexes are long where producers abort often, and each fetch of committed records searches them. Where many are
/// needed, it is asked for more at a time: a read is a system call.
fn search(
    count: usize,
    guess: Guess,
    offsets: Range<Offset>,
    found: &mut Vec<AbortedTransaction>,
    mut read: impl FnMut(usize, &mut [[u8; ENTRY_BYTES]]) -> io::Result<bool>,
) -> io::Result<Option<Searched>> {
    let is_early =
        |entry: &[u8; ENTRY_BYTES]| AbortedTransaction::read(entry).1.last_offset < offsets.start;
    // A read may begin at a batch before the one that was guessed.
    let mut next = guess.first.min(count).saturating_sub(GUESS_MARGIN);
    let size = (guess.size + GUESS_MARGIN).clamp(BLOCK_ENTRIES, LARGE_BLOCK_ENTRIES);
    let mut block = vec![[0; ENTRY_BYTES]; size.min(count - next)];
    if !read(next, &mut block)? {
        return Ok(None);
    }
    let begins_before = next > 0 && !block.first().is_some_and(is_early);
    if begins_before || block.last().is_some_and(is_early) {
        let range = if begins_before { 0..next } else { next + block.len()..count };
        let Some(begin) = first_not_early(range, is_early, &mut read)? else { return Ok(None) };
        next = begin;
        block.clear();
    }
    let begin = next;
    let mut guess = None;
    loop {
        found.reserve(block.len());
        for (entry, index) in block.iter().zip(next..) {
            let (_, entry) = AbortedTransaction::read(entry);
            if entry.last_offset < offsets.start {
                continue;
            }
            if entry.last_offset >= offsets.end && guess.is_none() {
                guess = Some(index);
            }
            if entry.first_offset < offsets.end {
                found.push(entry);
            }
            if entry.last_stable >= offsets.end {
                let first = guess.unwrap_or(index);
                return Ok(Some(Searched {
                    is_done: true,
                    next: Guess { first, size: index - begin },
                }));
            }
        }
        next += block.len();
        if next == count {
            let next = Guess { first: guess.unwrap_or(count), size: count - begin };
            return Ok(Some(Searched { is_done: false, next }));
        }
        // As many as were read so far: at most half of what is read is not needed.
        let size = (next - begin).clamp(BLOCK_ENTRIES, LARGE_BLOCK_ENTRIES).min(count - next);
        block.resize(size, [0; ENTRY_BYTES]);
        if !read(next, &mut block)? {
            return Ok(None);
        }
    }
}

/// An entry in this range before which all are early, and less than a block before the first that is not.
fn first_not_early(
    Range { start: mut next, mut end }: Range<usize>,
    is_early: impl Fn(&[u8; ENTRY_BYTES]) -> bool,
    mut read: impl FnMut(usize, &mut [[u8; ENTRY_BYTES]]) -> io::Result<bool>,
) -> io::Result<Option<usize>> {
    while end - next > BLOCK_ENTRIES {
        let middle = usize::midpoint(next, end);
        let mut entry = [0; ENTRY_BYTES];
        if !read(middle, std::slice::from_mut(&mut entry))? {
            return Ok(None);
        }
        if is_early(&entry) {
            next = middle + 1;
        } else {
            end = middle;
        }
    }
    Ok(Some(next))
}

/// What a file holds, after the checks of `TransactionIndex.sanityCheck`, and two that keep searches right: entries are
/// whole, and their markers in order.
fn read_state(file: Arc<dyn DiskFile>, base: Offset) -> io::Result<State> {
    let bytes: Bytes = file.read(0..file.len()?, Residency::Any)?.unwrap_or_default();
    let (entries, rest) = bytes.as_chunks();
    let mut expected = base;
    for entry in entries {
        let (version, entry) = AbortedTransaction::read(entry);
        if version != VERSION || entry.last_offset < expected {
            return Ok(State::Damaged);
        }
        expected = entry.last_offset.plus(1);
    }
    let count = entries.len();
    let is_whole = rest.is_empty();
    drop(bytes);
    Ok(if is_whole { State::Filled { file, count } } else { State::Damaged })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::env::{Fault, FaultyDisk, MemoryDisk};
    use crate::log::files::Kind;

    fn entry(producer_id: i64, first: i64, last: i64, stable: i64) -> AbortedTransaction {
        AbortedTransaction {
            producer_id: ProducerId(producer_id),
            first_offset: Offset(first),
            last_offset: Offset(last),
            last_stable: Offset(stable),
        }
    }

    fn disk() -> FaultyDisk {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("d")).unwrap();
        FaultyDisk::new(Arc::new(disk))
    }

    fn name(base: i64) -> FileName {
        FileName::new(Path::new("d").into(), Offset(base), Kind::TransactionIndex)
    }

    fn create(disk: &FaultyDisk, base: i64) -> TransactionIndex {
        TransactionIndex::create(Arc::new(disk.clone()), name(base)).unwrap()
    }

    fn open(disk: &FaultyDisk, base: i64) -> TransactionIndex {
        TransactionIndex::open(Arc::new(disk.clone()), name(base)).unwrap()
    }

    fn found(index: &TransactionIndex, from: i64, until: i64) -> (Vec<AbortedTransaction>, bool) {
        let mut found = Vec::new();
        let done = index.collect(Offset(from), Offset(until), Residency::Any, &mut found);
        (found, done.unwrap().unwrap())
    }

    fn bytes(disk: &FaultyDisk) -> Option<Vec<u8>> {
        disk.read_small(&name(0).path()).unwrap()
    }

    #[test]
    fn bytes_are_kafkas_and_there_is_no_file_without_them() {
        let disk = disk();
        let index = create(&disk, 0);
        assert_eq!(bytes(&disk), None);
        assert!(index.push(entry(1, 2, 3, 4)).unwrap(), "the file was made");
        let expected: Vec<u8> =
            [0, 0].into_iter().chain((1..5).flat_map(i64::to_be_bytes)).collect();
        assert_eq!(bytes(&disk), Some(expected));
        assert!(!index.push(entry(1, 5, 6, 7)).unwrap());
        assert_eq!(bytes(&disk).unwrap().len(), 2 * ENTRY_BYTES);
        index.rebuild(&[]).unwrap();
        assert_eq!(bytes(&disk), None);
    }

    #[test]
    fn what_reaches_into_the_range_is_found() {
        let disk = disk();
        let index = create(&disk, 10);
        let all = [entry(1, 10, 20, 12), entry(2, 12, 25, 26), entry(1, 30, 40, 41)];
        for entry in all {
            index.push(entry).unwrap();
        }
        for index in [&index, &open(&disk, 10)] {
            assert_eq!(found(index, 0, 11), (vec![all[0]], true));
            assert_eq!(found(index, 20, 26), (vec![all[0], all[1]], true));
            assert_eq!(found(index, 21, 27), (vec![all[1]], true), "the next one begins later");
            assert_eq!(found(index, 26, 30), (vec![], true));
            assert_eq!(found(index, 26, 42), (vec![all[2]], false));
            assert_eq!(found(index, 41, 99), (vec![], false));
        }
    }

    #[test]
    fn a_file_that_cannot_be_the_index_is_told() {
        let disk = disk();
        let index = create(&disk, 20);
        for last in [20, 30] {
            index.push(entry(1, 10, last, 40)).unwrap();
        }
        assert!(!open(&disk, 20).is_damaged());
        let bytes = disk.read_small(&name(20).path()).unwrap().unwrap();
        disk.replace_small(&name(21).path(), &bytes).unwrap();
        assert!(open(&disk, 21).is_damaged(), "a marker before the segment");
        let file = disk.open(&name(20).path(), OpenMode::Write).unwrap();
        file.write_at(1, &[&[1]]).unwrap();
        assert!(open(&disk, 20).is_damaged(), "a version that is not known");
        file.write_at(1, &[&[0]]).unwrap();
        file.set_len(67).unwrap();
        assert!(open(&disk, 20).is_damaged(), "half an entry");
        let damaged = open(&disk, 20);
        damaged.rebuild(&[entry(7, 8, 20, 21)]).unwrap();
        assert_eq!(found(&damaged, 0, 99).0, [entry(7, 8, 20, 21)]);
        assert_eq!(found(&open(&disk, 20), 0, 99).0, [entry(7, 8, 20, 21)]);
    }

    #[test]
    fn an_entry_that_finds_no_room_leaves_nothing_behind() {
        let disk = disk();
        let index = create(&disk, 0);
        for room in [0, 10, 33] {
            disk.inject(Fault::NoSpaceAfter(room));
            index.push(entry(1, 2, 3, 4)).unwrap_err();
            disk.clear();
            assert_eq!(found(&index, 0, 99).0, []);
        }
        assert!(index.push(entry(1, 2, 3, 4)).unwrap());
        disk.inject(Fault::NoSpaceAfter(10));
        index.push(entry(1, 5, 6, 7)).unwrap_err();
        disk.clear();
        assert_eq!(found(&open(&disk, 0), 0, 99).0, [entry(1, 2, 3, 4)]);
    }

    /// What a search gives that looks at every entry.
    fn found_naively(
        all: &[AbortedTransaction],
        from: i64,
        until: i64,
    ) -> (Vec<AbortedTransaction>, bool) {
        let mut found = Vec::new();
        for entry in all.iter().filter(|entry| entry.last_offset.0 >= from) {
            if entry.first_offset.0 < until {
                found.push(*entry);
            }
            if entry.last_stable.0 >= until {
                return (found, true);
            }
        }
        (found, false)
    }

    /// A search among `all` that begins with a guess, how many entries it read, how often, and where it ended.
    fn searched(
        all: &[AbortedTransaction],
        guess: Guess,
        from: i64,
        until: i64,
    ) -> ((Vec<AbortedTransaction>, bool), (usize, usize), Guess) {
        let (mut found, mut read, mut reads) = (Vec::new(), 0, 0);
        let range = Offset(from)..Offset(until);
        let searched = search(all.len(), guess, range, &mut found, |first, entries| {
            read += entries.len();
            reads += 1;
            for (place, entry) in entries.iter_mut().zip(&all[first..]) {
                *place = entry.write();
            }
            Ok(true)
        });
        let Searched { is_done, next } = searched.unwrap().unwrap();
        ((found, is_done), (read, reads), next)
    }

    proptest! {
        #[test]
        fn a_search_finds_what_looking_at_all_entries_finds(
            steps in proptest::collection::vec((1_i64..4, 0_i64..9, 0_i64..9), 0..700),
            from in 0_i64..2_200,
            length in 0_i64..400,
            (first, size) in (0_usize..900, 0_usize..900),
        ) {
            let (disk, mut last, mut all) = (disk(), 0, Vec::new());
            let index = create(&disk, 0);
            for (step, age, open) in steps {
                last += step;
                let stable = (last + 1 - open).max(0);
                all.push(entry(age, (last - age).max(0), last, stable));
            }
            index.rebuild(&all).unwrap();
            let expected = found_naively(&all, from, from + length);
            prop_assert_eq!(&found(&index, from, from + length), &expected);
            prop_assert_eq!(&found(&index, from, from + length), &expected, "from where it ended");
            let (again, (read, _), _) = searched(&all, Guess { first, size }, from, from + length);
            prop_assert_eq!(&again, &expected);
            prop_assert!(read <= 2 * all.len() + 3, "{} of {} entries", read, all.len());
        }
    }

    #[test]
    fn a_search_among_many_reads_few() {
        // Transactions of one record, one after the other.
        let all: Vec<_> = (0..20_000).map(|i| entry(1, 2 * i, 2 * i + 1, 2 * i + 2)).collect();
        for from in (0..40_000).step_by(997).chain([39_999, 40_000]) {
            let (result, (read, _), _) = searched(&all, Guess::default(), from, from + 100);
            assert_eq!(result, found_naively(&all, from, from + 100), "from {from}");
            assert!(read <= 8 + 3 * BLOCK_ENTRIES, "{read} entries from {from}");
        }
    }

    #[test]
    fn a_reader_that_goes_on_needs_no_search() {
        let all: Vec<_> = (0..20_000).map(|i| entry(1, 2 * i, 2 * i + 1, 2 * i + 2)).collect();
        let mut guess = Guess::default();
        for from in (0..39_900).step_by(100) {
            let (result, (_, reads), end) = searched(&all, guess, from, from + 100);
            assert_eq!(result, found_naively(&all, from, from + 100), "from {from}");
            assert!(reads <= 2, "{reads} reads from {from}");
            guess = end;
        }
    }

    #[test]
    fn entries_that_are_not_in_memory_are_waited_for() {
        let disk = disk();
        let index = create(&disk, 0);
        index.push(entry(1, 2, 3, 4)).unwrap();
        disk.inject(Fault::Cold("x".into()));
        let mut found = Vec::new();
        let mut collect =
            |residency| index.collect(Offset(0), Offset(9), residency, &mut found).unwrap();
        assert_eq!(collect(Residency::Cached), None);
        assert_eq!(collect(Residency::Any), Some(false));
        assert_eq!(found, [entry(1, 2, 3, 4)]);
    }
}
