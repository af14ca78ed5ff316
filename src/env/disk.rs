//! The disk seam: what a log needs of a file system, and nothing more.
//!
//! Calls are synchronous, because an append from the page cache costs less than any hand-off to another thread. Whoever
//! may have to wait for a device ([`Residency::Any`], [`DiskFile::sync_data`], recovery) calls from a blocking task.
//!
//! **Durability** is the caller's business and follows POSIX: bytes survive a power cut after
//! [`DiskFile::sync_data`], a created, renamed or removed entry after [`Disk::sync_dir`] of its directory.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// A file system. Paths are used as they are given.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens a file.
    ///
    /// # Errors
    /// As the file system says.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that must be there, and is settled: see [`DiskFile::settle`]. Of a file that is not read this may cost
    /// no descriptor.
    ///
    /// # Errors
    /// As the file system says.
    fn open_settled(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path, OpenMode::Read)
    }

    /// Opens a file that must be there, and may be written to. As long as it is neither read nor written this may cost no
    /// descriptor; before it loses its name, it has to be [pinned](DiskFile::pin) or [forgotten](DiskFile::forget).
    ///
    /// # Errors
    /// As the file system says.
    fn open_idle(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path, OpenMode::Write)
    }

    /// Creates a directory and those above it; fine if it is there.
    ///
    /// # Errors
    /// As the file system says.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The same, and what is created stays there whatever happens.
    ///
    /// # Errors
    /// As the file system says.
    fn create_dir_all_durably(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        for above in path.ancestors().filter(|above| !above.as_os_str().is_empty()) {
            if self.exists(above)? {
                break;
            }
            missing.push(above);
        }
        self.create_dir_all(path)?;
        let mut parents = missing.iter().rev().filter_map(|created| created.parent());
        parents.try_for_each(|parent| self.sync_dir(parent))
    }

    /// What is in a directory, sorted by name.
    ///
    /// # Errors
    /// As the file system says.
    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>>;

    /// Whether there is something at this path.
    ///
    /// # Errors
    /// As the file system says; that nothing is there is no error.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Renames a file or directory, replacing a file that has the new name.
    ///
    /// # Errors
    /// As the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name. The bytes are shared, so only files that will not change may be linked.
    ///
    /// # Errors
    /// As the file system says.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; fine if it is gone.
    ///
    /// # Errors
    /// As the file system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with all that is in it; fine if it is gone.
    ///
    /// # Errors
    /// As the file system says.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// As the file system says. After an error nothing may be taken for durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Room on the volume that holds `path`.
    ///
    /// # Errors
    /// As the file system says.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;

    /// Takes the directory for this broker alone, by a lock on its file `.lock`; `None` if another broker, of this
    /// process or of another, Ottla or Apache Kafka, has it.
    ///
    /// # Errors
    /// As the file system says.
    fn lock(&self, directory: &Path) -> io::Result<Option<Box<dyn DirLock>>>;

    /// Reads a whole small file; `None` if it is not there.
    ///
    /// # Errors
    /// As the file system says.
    fn read_small(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let bytes = file.read(0..file.len()?, Residency::Any)?;
        Ok(Some(bytes.map(Vec::from).unwrap_or_default()))
    }

    /// Writes a whole small file so that, whatever happens, either the old bytes or the new ones are there: a
    /// temporary file beside it, synced, renamed over it, the directory synced.
    ///
    /// # Errors
    /// As the file system says; the old file is then still there.
    fn replace_small(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = Path::new(&temporary);
        let file = self.open(temporary, OpenMode::Truncate)?;
        file.write_at(0, &[bytes])?;
        file.sync_data()?;
        self.rename(temporary, path)?;
        self.sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))
    }
}

/// How a file is opened. All but [`Read`](Self::Read) give a file that can be written too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must be there, and is not written.
    Read,
    /// It must be there.
    Write,
    /// Created if it is not there.
    Create,
    /// Created; it must not be there.
    CreateNew,
    /// Created, or emptied if it is there.
    Truncate,
}

/// How long a read may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// Only bytes that are in memory; else the read gives nothing.
    Cached,
    /// Waits for the device if it must.
    Any,
}

/// An open file of known length. Positions and lengths are in bytes.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Length of the file.
    ///
    /// # Errors
    /// As the file system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// As the file system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Writes all of `parts`, one after the other, from `position` on.
    ///
    /// # Errors
    /// As the file system says. Some of the bytes may then be written.
    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()>;

    /// The bytes of `range`, which must lie within the file; `None` if [`Residency::Cached`] was asked and they are
    /// not in memory. The bytes may be a view of the file: nobody may change or cut off that range while they live.
    ///
    /// # Errors
    /// As the file system says; [`io::ErrorKind::UnexpectedEof`] if the file ends before the range does.
    fn read(&self, range: Range<u64>, residency: Residency) -> io::Result<Option<Bytes>>;

    /// As [`read`](Self::read), for bytes that are looked at at once, and not only handed on to the kernel: what a device cannot
    /// give when they are would end the process, so that they have to be in memory now, not only a moment ago.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_near(&self, range: Range<u64>, residency: Residency) -> io::Result<Option<Bytes>> {
        self.read(range, residency)
    }

    /// Fills `buffer` from `position` on, always copying; `false` if [`Residency::Cached`] was asked and the bytes are
    /// not in memory.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_into(&self, position: u64, buffer: &mut [u8], residency: Residency)
    -> io::Result<bool>;

    /// Cuts the file off at `length`, or extends it with zeros.
    ///
    /// # Errors
    /// As the file system says.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Extends the file with zeros to `length`, so that what is written into it changes no length. A disk that gains
    /// nothing by that may leave the file as it is.
    ///
    /// # Errors
    /// As the file system says.
    fn reserve(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    /// Makes the bytes and the length durable.
    ///
    /// # Errors
    /// As the file system says. After an error nothing may be taken for durable, and syncing again proves nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// From now on nobody writes to the file: it may be closed while nobody reads it, and opened again by its name when
    /// somebody does. So before it loses that name, it has to be [pinned](Self::pin) or [forgotten](Self::forget). A read of
    /// [`Residency::Cached`] does not open it.
    fn settle(&self) {}

    /// Keeps the file open from now on, whatever becomes of its name.
    ///
    /// # Errors
    /// As the file system says, if it has to be opened.
    fn pin(&self) -> io::Result<()> {
        Ok(())
    }

    /// The name will be another's: if the file is closed, it stays so, and reads give [`io::ErrorKind::NotFound`].
    fn forget(&self) {}
}

/// One thing in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    /// Its name. Names that are not Unicode are left out of listings: none of ours are.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Room on a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Size of the volume in bytes.
    pub total_bytes: u64,
    /// Bytes that can still be written.
    pub free_bytes: u64,
}

/// Holds a directory; dropping it gives the directory free.
pub trait DirLock: fmt::Debug + Send + Sync {}

/// Whether an error says that the volume, or the quota on it, is full.
#[must_use]
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
