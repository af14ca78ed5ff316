//! A disk that keeps what would be found if the process or the power ended before each of its changes.

use std::io;

use parking_lot::Mutex;

use super::*;
use crate::env::{DirLock, DiskEntry, DiskFile, DiskSpace};

/// Around a disk that knows what was synced.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    memory: MemoryDisk,
    found: Arc<Mutex<Found>>,
}

#[derive(Debug, Default)]
struct Found {
    is_watched: bool,
    /// What was known to be durable or acknowledged, for whoever watches.
    mark: usize,
    crashes: Vec<Crash>,
}

/// What is found after a crash.
#[derive(Clone, Debug)]
pub(super) struct Crash {
    pub(super) disk: MemoryDisk,
    /// The last mark before it.
    pub(super) mark: usize,
    /// Whether the power was cut, or the process alone ended.
    pub(super) is_power_cut: bool,
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
            let (seed, mark) = (found.crashes.len() as u64, found.mark);
            for cut in 0..POWER_CUTS {
                let disk = self.memory.power_cut(&Rng::from_seed(seed + cut));
                found.crashes.push(Crash { disk, mark, is_power_cut: true });
            }
            let disk = as_it_is(&self.memory);
            found.crashes.push(Crash { disk, mark, is_power_cut: false });
        }
    }

    /// What is found from now on comes after this.
    pub(super) fn mark(&self, mark: usize) {
        self.found.lock().mark = mark;
    }
}

/// What is found if the process alone ends, with nothing more to lose.
pub(super) fn as_it_is(disk: &MemoryDisk) -> MemoryDisk {
    let copy = MemoryDisk::with_power_model();
    copy.create_dir_all(Path::new(DIRECTORY)).unwrap();
    // A power cut may have taken the directory itself.
    let is_there = disk.exists(Path::new(DIRECTORY)).unwrap();
    let files = if is_there { contents(disk) } else { Vec::new() };
    for (path, bytes) in files {
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

/// Watches a disk while `work` is done to it; gives what would be found after crashes.
pub(super) fn watched(log: &MemoryDisk, work: impl FnOnce(&Watched)) -> Vec<Crash> {
    let watched = Watched { memory: log.clone(), found: Arc::default() };
    watched.found.lock().is_watched = true;
    work(&watched);
    let mut found = std::mem::take(&mut *watched.found.lock());
    let mark = found.mark;
    found.crashes.push(Crash { disk: as_it_is(log), mark, is_power_cut: false });
    found.crashes
}
