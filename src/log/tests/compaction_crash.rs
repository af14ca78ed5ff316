//! A crash at any point of a compaction leaves a log from which nothing is missing.

use std::io;

use parking_lot::Mutex;

use super::compaction::{Seen, compacting, keyed, latest, seen, try_clean};
use super::*;
use crate::env::{DirLock, DiskEntry, DiskFile, DiskSpace};
use crate::record::Compression;

/// A disk that keeps what would be found if the process or the power ended before each of its changes.
#[derive(Clone, Debug)]
struct Watched {
    memory: MemoryDisk,
    found: Arc<Mutex<Found>>,
}

#[derive(Debug, Default)]
struct Found {
    is_watched: bool,
    disks: Vec<MemoryDisk>,
}

/// How many power cuts are tried at each point: chance decides what they take.
const POWER_CUTS: u64 = 2;

impl Watched {
    /// A change of a file by its name. What is in a file that does not count yet is of no interest.
    fn change_of(&self, path: &Path) {
        if !path.to_string_lossy().ends_with(".cleaned") {
            self.change();
        }
    }

    fn change(&self) {
        let mut found = self.found.lock();
        if found.is_watched {
            let seed = found.disks.len() as u64;
            for cut in 0..POWER_CUTS {
                found.disks.push(self.memory.power_cut(&Rng::from_seed(seed + cut)));
            }
            found.disks.push(as_it_is(&self.memory));
        }
    }
}

/// What is found if the process alone ends, with nothing more to lose.
fn as_it_is(disk: &MemoryDisk) -> MemoryDisk {
    let copy = MemoryDisk::with_power_model();
    copy.create_dir_all(Path::new(DIRECTORY)).unwrap();
    for (path, bytes) in contents(disk) {
        copy.open(&path, OpenMode::CreateNew).unwrap().write_at(0, &[&bytes]).unwrap();
    }
    copy.sync_all();
    copy
}

impl Disk for Watched {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if !matches!(mode, OpenMode::Read | OpenMode::Write) {
            self.change_of(path);
        }
        let inner = self.memory.open(path, mode)?;
        Ok(Arc::new(WatchedFile { inner, path: path.to_owned(), disk: self.clone() }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.memory.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        self.memory.list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.memory.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change();
        self.memory.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change();
        self.memory.link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change();
        self.memory.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change();
        self.memory.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change();
        self.memory.sync_dir(path)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.memory.space(path)
    }

    fn lock(&self, directory: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        self.memory.lock(directory)
    }
}

#[derive(Debug)]
struct WatchedFile {
    inner: Arc<dyn DiskFile>,
    path: PathBuf,
    disk: Watched,
}

impl DiskFile for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.disk.change_of(&self.path);
        self.inner.write_at(position, parts)
    }

    fn read(&self, range: std::ops::Range<u64>, residency: Residency) -> io::Result<Option<Bytes>> {
        self.inner.read(range, residency)
    }

    fn read_into(
        &self,
        position: u64,
        buffer: &mut [u8],
        residency: Residency,
    ) -> io::Result<bool> {
        self.inner.read_into(position, buffer, residency)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.change_of(&self.path);
        self.inner.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.change_of(&self.path);
        self.inner.sync_data()
    }
}

/// A log whose disk is watched while `work` is done to it; gives what would be found after crashes.
fn watched(log: &MemoryDisk, work: impl FnOnce(&Arc<dyn Disk>)) -> Vec<MemoryDisk> {
    let watched = Watched { memory: log.clone(), found: Arc::default() };
    watched.found.lock().is_watched = true;
    let disk: Arc<dyn Disk> = Arc::new(watched.clone());
    work(&disk);
    let mut found = std::mem::take(&mut *watched.found.lock());
    found.disks.push(as_it_is(log));
    found.disks
}

/// Keys with several values, tombstones among them, in several segments; all durable. Gives where the log ends.
fn written() -> (MemoryDisk, Offset) {
    let memory = MemoryDisk::with_power_model();
    memory.create_dir_all(Path::new(ROOT)).unwrap();
    let rig = Rig::on(Arc::new(memory.clone()), compacting());
    for i in 0..32_i64 {
        let (key, value) = ((i % 12) as u8, (i % 7 != 0).then_some(i));
        let codec = Compression::ALL[i as usize % 5];
        rig.append(keyed(codec, 1_000, &[(key, value), (key + 20, Some(i))])).unwrap();
    }
    let end = rig.log.flush(true).unwrap();
    memory.sync_all();
    (memory, end)
}

fn opened(disk: &Arc<dyn Disk>, recovery_point: Offset) -> Log {
    let start = LogStart { recovery_point, ..start(&compacting(), false) };
    open(disk, start).unwrap().log
}

/// Nothing is missing, nothing is there that was not, and the names that are left are those of a log at rest.
fn check(disk: &MemoryDisk, recovery_point: Offset, end: Offset, before: &[Seen]) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let log = opened(&disk, recovery_point);
    let found = seen(&log);
    assert_eq!(log.ends().end, end);
    assert!(found.iter().all(|record| before.contains(record)));
    assert_eq!(latest(&found), latest(before));
    let mut expected = Offset(-1);
    for header in read_all(&log) {
        assert!(header.base_offset > expected, "segments do not overlap");
        expected = header.last_offset();
    }
    for entry in disk.list(Path::new(DIRECTORY)).unwrap() {
        let name = entry.name;
        assert!(!name.ends_with(".swap") && !name.ends_with(".cleaned"), "{name}");
    }
    // And it can be compacted.
    try_clean(&log, Offset::ZERO, 2_050, 1_000).unwrap();
    assert_eq!(latest(&seen(&log)), latest(before));
}

#[test]
fn nothing_is_missing_wherever_a_compaction_is_interrupted() {
    let (memory, end) = written();
    let before = {
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        seen(&opened(&disk, end))
    };
    memory.sync_all();
    let mut disks = Vec::new();
    // A map for all keys, and one that ends within the log.
    for keys in [1_000, 9] {
        let (memory, _) = written();
        disks.extend(watched(&memory, |disk| {
            drop(try_clean(&opened(disk, end), Offset::ZERO, 2_000, keys).unwrap());
        }));
    }
    assert!(disks.len() > 100, "{}", disks.len());
    for disk in &disks {
        // Also if nothing is known of what was durable.
        for recovery_point in [end, Offset::ZERO] {
            check(&as_it_is(disk), recovery_point, end, &before);
        }
    }
}

#[test]
fn nothing_is_missing_if_the_start_that_follows_is_interrupted_too() {
    let (memory, end) = written();
    let disks = watched(&memory, |disk| {
        drop(try_clean(&opened(disk, end), Offset::ZERO, 2_000, 1_000).unwrap());
    });
    let before = {
        let disk: Arc<dyn Disk> = Arc::new(written().0);
        seen(&opened(&disk, end))
    };
    let has_swap = |disk: &&MemoryDisk| {
        let files = disk.list(Path::new(DIRECTORY)).unwrap();
        files.iter().any(|entry| entry.name.ends_with(".log.swap"))
    };
    let mut interrupted = 0;
    for disk in disks.iter().filter(has_swap).step_by(2) {
        for again in watched(disk, |disk| drop(opened(disk, end))).iter().step_by(3) {
            interrupted += 1;
            check(&as_it_is(again), end, end, &before);
        }
    }
    assert!(interrupted > 50, "{interrupted}");
}
