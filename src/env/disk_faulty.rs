//! A disk that fails on demand, around any other disk.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::disk::{DirLock, Disk, DiskEntry, DiskFile, DiskSpace, OpenMode, Residency};

/// One way to fail. A fault holds until it is cleared, and hits files whose path contains its text ("" for all).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The volume is full after this many more bytes: a write that does not fit is written as far as it goes and then
    /// fails with [`io::ErrorKind::StorageFull`].
    NoSpaceAfter(u64),
    /// Writes to matching files fail with an I/O error and write nothing.
    Write(String),
    /// Reads from matching files fail with an I/O error.
    Read(String),
    /// Syncs of matching files and directories fail with an I/O error.
    Sync(String),
    /// Matching files are never in memory: only reads that may wait get their bytes.
    Cold(String),
    /// Matching files are not in memory, and reads that may wait do so until the faults are cleared.
    Stall(String),
    /// After this many more syncs all others wait until the faults are cleared.
    StallSyncAfter(u32),
}

impl Fault {
    /// The bytes that can still be written, if that is the fault.
    const fn room(&mut self) -> Option<&mut u64> {
        if let Self::NoSpaceAfter(left) = self { Some(left) } else { None }
    }
}

/// A disk with faults. Clones share them.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    faults: Faults,
}

type Faults = Arc<Injected>;

#[derive(Debug, Default)]
struct Injected {
    list: Mutex<Vec<Fault>>,
    /// Told when the list was cleared.
    cleared: Condvar,
    /// How many syncs wait for that.
    stalled: AtomicUsize,
}

impl FaultyDisk {
    /// `inner`, without a fault as yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, faults: Faults::default() }
    }

    /// Another disk, with the faults of this one from now on.
    #[must_use]
    pub fn around(&self, inner: Arc<dyn Disk>) -> Self {
        Self { inner, faults: Arc::clone(&self.faults) }
    }

    /// Adds a fault. It holds for files that are open already, too.
    pub fn inject(&self, fault: Fault) {
        self.faults.list.lock().push(fault);
    }

    /// Takes all faults away.
    pub fn clear(&self) {
        self.faults.list.lock().clear();
        self.faults.cleared.notify_all();
    }

    /// How many syncs are held up by [`Fault::StallSyncAfter`].
    #[must_use]
    pub fn stalled_syncs(&self) -> usize {
        self.faults.stalled.load(Ordering::Acquire)
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::other(format!("injected {what} fault"))
}

fn hits(pattern: &str, path: &Path) -> bool {
    path.to_string_lossy().contains(pattern)
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(FaultyFile { inner, path: path.to_owned(), faults: Arc::clone(&self.faults) }))
    }

    fn open_settled(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open_settled(path)?;
        Ok(Arc::new(FaultyFile { inner, path: path.to_owned(), faults: Arc::clone(&self.faults) }))
    }

    fn open_idle(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open_idle(path)?;
        Ok(Arc::new(FaultyFile { inner, path: path.to_owned(), faults: Arc::clone(&self.faults) }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        self.inner.list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        check_sync(&self.faults, path)?;
        self.inner.sync_dir(path)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let mut space = self.inner.space(path)?;
        for fault in &*self.faults.list.lock() {
            if let Fault::NoSpaceAfter(left) = fault {
                space.free_bytes = *left;
            }
        }
        Ok(space)
    }

    fn lock(&self, directory: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        self.inner.lock(directory)
    }
}

fn check_sync(faults: &Faults, path: &Path) -> io::Result<()> {
    let hit = |fault: &Fault| matches!(fault, Fault::Sync(pattern) if hits(pattern, path));
    let mut list = faults.list.lock();
    let left = list
        .iter_mut()
        .find_map(|fault| if let Fault::StallSyncAfter(left) = fault { Some(left) } else { None });
    match left {
        Some(0) => {
            faults.stalled.fetch_add(1, Ordering::AcqRel);
            let stalls = |fault: &Fault| matches!(fault, Fault::StallSyncAfter(_));
            faults.cleared.wait_while(&mut list, |list| list.iter().any(stalls));
            faults.stalled.fetch_sub(1, Ordering::AcqRel);
        }
        Some(left) => *left -= 1,
        None => {}
    }
    if list.iter().any(hit) { Err(broken("sync")) } else { Ok(()) }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn DiskFile>,
    path: PathBuf,
    faults: Faults,
}

impl FaultyFile {
    /// Whether a read may go on: an error for a read fault, `false` for bytes that are not in memory.
    fn check_read(&self, residency: Residency) -> io::Result<bool> {
        let stalls =
            |fault: &Fault| matches!(fault, Fault::Stall(pattern) if hits(pattern, &self.path));
        let mut faults = self.faults.list.lock();
        if residency == Residency::Any {
            self.faults.cleared.wait_while(&mut faults, |faults| faults.iter().any(stalls));
        }
        for fault in &*faults {
            if matches!(fault, Fault::Read(pattern) if hits(pattern, &self.path)) {
                return Err(broken("read"));
            }
            let cold = matches!(fault, Fault::Cold(pattern) if hits(pattern, &self.path));
            if (cold || stalls(fault)) && residency == Residency::Cached {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut faults = self.faults.list.lock();
        let hit =
            |fault: &Fault| matches!(fault, Fault::Write(pattern) if hits(pattern, &self.path));
        if faults.iter().any(hit) {
            return Err(broken("write"));
        }
        let left = faults.iter_mut().find_map(Fault::room);
        let Some(left) = left else {
            drop(faults);
            return self.inner.write_at(position, parts);
        };
        // Overwriting takes no room; as in a real file system only new bytes do.
        let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let new = (position + length).saturating_sub(self.inner.len()?.max(position));
        if new <= *left {
            *left -= new;
            return self.inner.write_at(position, parts);
        }
        let fits = usize::try_from(length - new + *left).map_err(io::Error::other)?;
        *left = 0;
        let bytes = parts.concat();
        self.inner.write_at(position, &[&bytes[..fits]])?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn read(&self, range: Range<u64>, residency: Residency) -> io::Result<Option<Bytes>> {
        if self.check_read(residency)? { self.inner.read(range, residency) } else { Ok(None) }
    }

    fn read_into(
        &self,
        position: u64,
        buffer: &mut [u8],
        residency: Residency,
    ) -> io::Result<bool> {
        Ok(self.check_read(residency)? && self.inner.read_into(position, buffer, residency)?)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        self.inner.reserve(length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let before = self.inner.len()?;
        self.inner.set_len(length)?;
        for fault in &mut *self.faults.list.lock() {
            if let Fault::NoSpaceAfter(left) = fault {
                *left += before.saturating_sub(length);
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        check_sync(&self.faults, &self.path)?;
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

#[cfg(test)]
mod tests {
    use super::super::disk_memory::MemoryDisk;
    use super::*;

    fn disk() -> (FaultyDisk, Arc<dyn DiskFile>) {
        let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
        let file = disk.open(Path::new("a.log"), OpenMode::CreateNew).unwrap();
        (disk, file)
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_recovers() {
        let (disk, file) = disk();
        disk.inject(Fault::NoSpaceAfter(5));
        file.write_at(0, &[b"abc"]).unwrap();
        file.write_at(0, &[b"xyz"]).expect("overwriting needs no room");
        let error = file.write_at(3, &[b"de", b"fg"]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.read_small(Path::new("a.log")).unwrap().unwrap(), b"xyzde");
        file.set_len(3).unwrap();
        file.write_at(3, &[b"d"]).expect("cutting off gives room back");
        disk.clear();
        file.write_at(4, &[b"efghij"]).unwrap();
    }

    #[test]
    fn faults_hit_what_they_name() {
        let (disk, file) = disk();
        file.write_at(0, &[b"abc"]).unwrap();
        for fault in
            [Fault::Write(".log".into()), Fault::Sync("a".into()), Fault::Read(String::new())]
        {
            disk.inject(fault);
        }
        assert!(file.write_at(0, &[b"x"]).is_err());
        assert!(file.sync_data().is_err());
        assert!(file.read(0..1, Residency::Any).is_err());
        disk.clear();
        disk.inject(Fault::Cold("a.log".into()));
        assert_eq!(file.read(0..3, Residency::Cached).unwrap(), None);
        assert_eq!(file.read(0..3, Residency::Any).unwrap().unwrap(), b"abc"[..]);
    }

    #[test]
    fn a_stalled_read_goes_on_when_the_fault_is_gone() {
        let (disk, file) = disk();
        file.write_at(0, &[b"abc"]).unwrap();
        disk.inject(Fault::Stall("a.log".into()));
        assert_eq!(file.read(0..3, Residency::Cached).unwrap(), None, "who may not wait does not");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| file.read(0..3, Residency::Any));
            disk.clear();
            assert_eq!(reader.join().unwrap().unwrap().unwrap(), b"abc"[..]);
        });
    }
}
