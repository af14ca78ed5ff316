//! A disk for tests that remembers what would be found if the process or the power ended before each of its changes, or tells
//! somebody of each who may end them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{DirLock, Disk, DiskEntry, DiskFile, DiskSpace, MemoryDisk, OpenMode, Residency, Rng};

/// How many power cuts are tried at each point: chance decides what they take.
const POWER_CUTS: u64 = 2;

/// A memory disk that is watched. Clones share what was found.
#[derive(Clone, Debug)]
pub struct WatchedDisk {
    memory: MemoryDisk,
    /// Whether a change of a file is of interest.
    counts: fn(&Path) -> bool,
    watch: Watch,
}

#[derive(Clone)]
enum Watch {
    Remember(Arc<Mutex<Found>>),
    Tell(Arc<dyn Fn(&MemoryDisk) + Send + Sync>),
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remember(found) => formatter.debug_tuple("Remember").field(found).finish(),
            Self::Tell(_) => formatter.write_str("Tell"),
        }
    }
}

#[derive(Debug, Default)]
struct Found {
    /// What was known to be durable or acknowledged, for whoever watches.
    mark: usize,
    crashes: Vec<Crash>,
}

impl Found {
    fn push(&mut self, disk: MemoryDisk, is_power_cut: bool) {
        self.crashes.push(Crash { disk, mark: self.mark, is_power_cut });
    }
}

/// What is found after a crash.
#[derive(Clone, Debug)]
pub struct Crash {
    /// The disk.
    pub disk: MemoryDisk,
    /// The last mark before it.
    pub mark: usize,
    /// Whether the power was cut, or the process alone ended.
    pub is_power_cut: bool,
}

impl WatchedDisk {
    /// Watches a disk with a power model, but for changes of files that do not count.
    #[must_use]
    pub fn new(memory: MemoryDisk, counts: fn(&Path) -> bool) -> Self {
        Self { memory, counts, watch: Watch::Remember(Arc::default()) }
    }

    /// Tells `tell` of each change before it is made, and remembers nothing.
    #[must_use]
    pub fn telling(memory: MemoryDisk, tell: impl Fn(&MemoryDisk) + Send + Sync + 'static) -> Self {
        Self { memory, counts: |_| true, watch: Watch::Tell(Arc::new(tell)) }
    }

    /// What is found from now on comes after this.
    pub fn mark(&self, mark: usize) {
        if let Watch::Remember(found) = &self.watch {
            found.lock().mark = mark;
        }
    }

    /// What would have been found so far, and what would be if the process ended now. Nothing, if it only tells.
    #[must_use]
    pub fn take_crashes(&self) -> Vec<Crash> {
        let Watch::Remember(found) = &self.watch else { return Vec::new() };
        let mut found = found.lock();
        found.push(self.memory.process_end(), false);
        std::mem::take(&mut found.crashes)
    }

    fn change_of(&self, path: &Path) {
        if (self.counts)(path) {
            self.change();
        }
    }

    fn change(&self) {
        let found = match &self.watch {
            Watch::Remember(found) => found,
            Watch::Tell(tell) => return tell(&self.memory),
        };
        let mut found = found.lock();
        let seed = found.crashes.len() as u64;
        for cut in 0..POWER_CUTS {
            found.push(self.memory.power_cut(&Rng::from_seed(seed + cut)), true);
        }
        found.push(self.memory.process_end(), false);
    }
}

impl Disk for WatchedDisk {
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
    disk: WatchedDisk,
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

    fn settle(&self) {
        self.inner.settle();
    }

    fn pin(&self) -> io::Result<()> {
        self.inner.pin()
    }

    fn forget(&self) {
        self.inner.forget();
    }
}
