//! The operating system's file system.
//!
//! Reads of 4 KiB and more that are in the page cache are views of a mapping: no copy between the page cache and a
//! socket. Everything else is `pread`.
//!
//! **Why the views are safe to hold.** A mapping shows the file, so a file that is cut off under a view would raise
//! SIGBUS for whoever touches the lost pages. Logs cut files only above what they ever handed out (the [`DiskFile::read`]
//! contract), and the pages of a view are in memory when it is made. A socket write whose source page is gone fails with
//! EFAULT instead: only our own code can be hit, and it looks at what `read_into` or `read_near` has given.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions, UncheckedAdvice};
use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::{Errno, ReadWriteFlags};
#[expect(clippy::disallowed_types, reason = "how old an answer of the page cache is")]
use std::time::Instant;

use super::disk::{DirLock, Disk, DiskEntry, DiskFile, DiskSpace, OpenMode, Residency};
use super::machine::descriptor_limit;
use super::open_files::{Closable, OpenFiles};

/// Reads shorter than this are copied: a view costs about as much.
const VIEW_BYTES_MIN: usize = 4 * 1024;
/// Most files that are read as a whole are shorter.
const SMALL_BYTES: usize = 1024;
/// How much of a directory is read at once.
const LISTING_BYTES: usize = 8 * 1024;
/// Mappings are made this much longer than the file, so that one serves a growing segment for a while.
const MAPPING_SLACK_BYTES: u64 = 64 * 1024 * 1024;
const PAGE_BYTES: u64 = 4096;
/// How much of a file is asked about at once, whether it is in the page cache.
const RESIDENT_BYTES: u64 = 1024 * 1024;
/// How long the answer is taken for true. Pages may be gone sooner: then a read waits for the disk in its thread, and that
/// is all.
const RESIDENT_FOR: Duration = Duration::from_millis(100);
/// How many such answers are kept for a file: readers at different places do not ask each for itself every time.
const RESIDENT_RANGES_MAX: usize = 16;

/// Most settled files that are open at a time: each may have a mapping too, and Linux allows 65,530 of them by default.
const SETTLED_OPEN_MAX: usize = 1024;
/// The part of the descriptors of this process that may be of settled files. The rest is for connections and segments that
/// grow.
const SETTLED_SHARE: u64 = 4;

/// Files of the operating system. Of those that are [settled](DiskFile::settle), only so many are open at a time.
#[derive(Debug)]
pub struct RealDisk {
    settled: Arc<OpenFiles<RealFile>>,
}

impl Default for RealDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl RealDisk {
    /// The one there is.
    #[must_use]
    pub fn new() -> Self {
        let share = descriptor_limit().unwrap_or(u64::MAX) / SETTLED_SHARE;
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        Self::with_settled_max(share.clamp(1, SETTLED_OPEN_MAX))
    }

    /// The same with at most so many settled files open.
    pub(crate) fn with_settled_max(max: usize) -> Self {
        Self { settled: Arc::new(OpenFiles::new(max)) }
    }

    fn file(&self, path: &Path, handle: Handle) -> Arc<RealFile> {
        Arc::new_cyclic(|me| RealFile {
            path: path.to_owned(),
            me: Weak::clone(me),
            settled: Arc::clone(&self.settled),
            handle: RwLock::new(handle),
            was_used: AtomicBool::new(false),
            known_length: AtomicU64::new(0),
            view: Mutex::default(),
        })
    }

    /// A file of known length that is opened when it is used.
    fn unopened(&self, path: &Path, handle: Handle) -> io::Result<Arc<dyn DiskFile>> {
        let length = fs::metadata(path)?.len();
        let file = self.file(path, handle);
        file.known_length.store(length, Ordering::Release);
        Ok(file)
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read);
        match mode {
            OpenMode::Read | OpenMode::Write => {}
            OpenMode::Create => {
                options.create(true).truncate(false);
            }
            OpenMode::CreateNew => {
                options.create_new(true);
            }
            OpenMode::Truncate => {
                options.create(true).truncate(true);
            }
        }
        Ok(self.file(path, Handle::Held(options.open(path)?)))
    }

    fn open_settled(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.unopened(path, Handle::Closed)
    }

    fn open_idle(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.unopened(path, Handle::Idle)
    }

    /// With one read and nothing else between opening and closing: a start reads such files by the ten thousand.
    fn read_small(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut buffer = [0; SMALL_BYTES];
        let read = file.read(&mut buffer)?;
        let mut bytes = buffer[..read].to_vec();
        // Less than was asked for, and than a page: that is all.
        if read == SMALL_BYTES {
            file.read_to_end(&mut bytes)?;
        }
        Ok(Some(bytes))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    /// With two questions and nothing else between opening and closing, where the directory is not large.
    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let mut buffer = [MaybeUninit::uninit(); LISTING_BYTES];
        let mut listing = RawDir::new(&directory, &mut buffer);
        let mut entries = Vec::new();
        while let Some(entry) = listing.next() {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") {
                continue;
            }
            let mut kind = entry.file_type();
            // Most file systems tell it with the name.
            if kind == FileType::Unknown {
                kind = match kind_of(&directory, entry.file_name()) {
                    Ok(kind) => kind,
                    // Removed since the directory was read.
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(error.into()),
                };
            }
            entries.push(DiskEntry { name: name.to_owned(), is_dir: kind.is_dir() });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        fs::exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fine_if_gone(fs::remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fine_if_gone(fs::remove_dir_all(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        File::open(path)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(DiskSpace {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, directory: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        let path = directory.join(".lock");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // One kind of lock keeps other brokers of any process out, the other one Apache Kafka, whose file locks are
        // POSIX record locks.
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        match rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(RealLock { _file: file }))),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn kind_of(directory: &OwnedFd, name: &CStr) -> Result<FileType, Errno> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn open_to_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn fine_if_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The open file is the lock.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl DirLock for RealLock {}

#[derive(Debug)]
struct RealFile {
    /// The name it was opened by, or is opened by when it is used.
    path: PathBuf,
    me: Weak<Self>,
    settled: Arc<OpenFiles<Self>>,
    handle: RwLock<Handle>,
    /// Whether it was read since [`Closable::close_if_unused`] looked.
    was_used: AtomicBool,
    /// The file is at least so long. Spares the question for each view.
    known_length: AtomicU64,
    view: Mutex<ViewState>,
}

/// The descriptor.
#[derive(Debug)]
enum Handle {
    /// Of a file that may be written to.
    Held(File),
    /// There is none yet for a file that may be written to, but the name gives one. The length is known.
    Idle,
    /// Of a settled file, for now.
    Settled(File),
    /// There is none, but the name gives one. The length is known.
    Closed,
    /// The name does not give this file any more, but it is open.
    Pinned(File),
    /// And it is not.
    Forgotten,
}

/// What is known of a file that is read through a mapping.
#[derive(Debug, Default)]
struct ViewState {
    /// The current mapping, which may be longer than the file. Replaced, never changed: views keep theirs alive.
    mapping: Option<Arc<Mapping>>,
    /// Ranges that were found in the page cache, and when; the newest come last.
    resident: Vec<(Range<u64>, Instant)>,
}

impl RealFile {
    /// The descriptor; opens the file if it is closed.
    fn file(&self) -> io::Result<MappedRwLockReadGuard<'_, File>> {
        loop {
            if let Some(file) = self.file_if_open()? {
                return Ok(file);
            }
            self.reopen()?;
        }
    }

    /// The descriptor, if the file is not closed.
    fn file_if_open(&self) -> io::Result<Option<MappedRwLockReadGuard<'_, File>>> {
        let handle = self.handle.read();
        match &*handle {
            Handle::Settled(_) => {
                if !self.was_used.load(Ordering::Relaxed) {
                    self.was_used.store(true, Ordering::Relaxed);
                }
            }
            Handle::Held(_) | Handle::Pinned(_) => {}
            Handle::Idle | Handle::Closed => return Ok(None),
            Handle::Forgotten => return Err(io::ErrorKind::NotFound.into()),
        }
        let file = RwLockReadGuard::try_map(handle, |handle| match handle {
            Handle::Held(file) | Handle::Settled(file) | Handle::Pinned(file) => Some(file),
            Handle::Idle | Handle::Closed | Handle::Forgotten => None,
        });
        Ok(file.ok())
    }

    /// The descriptor for a read, which opens no file if only what is in memory is wanted.
    fn file_for(
        &self,
        residency: Residency,
    ) -> io::Result<Option<MappedRwLockReadGuard<'_, File>>> {
        match residency {
            Residency::Cached => self.file_if_open(),
            Residency::Any => self.file().map(Some),
        }
    }

    fn reopen(&self) -> io::Result<()> {
        {
            let mut handle = self.handle.write();
            match *handle {
                Handle::Closed => *handle = Handle::Settled(File::open(&self.path)?),
                Handle::Idle => {
                    *handle = Handle::Held(open_to_write(&self.path)?);
                    return Ok(());
                }
                Handle::Held(_) | Handle::Settled(_) | Handle::Pinned(_) | Handle::Forgotten => {
                    return Ok(());
                }
            }
        }
        self.settled.opened(Weak::clone(&self.me));
        Ok(())
    }

    /// The bytes of a range, as a view if they are in the page cache and not few.
    fn read_range(
        &self,
        range: Range<u64>,
        residency: Residency,
        as_of: AsOf,
    ) -> io::Result<Option<Bytes>> {
        let length =
            usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        if residency == Residency::Cached && length >= VIEW_BYTES_MIN {
            self.check_within(range.end)?;
            let Some(file) = self.file_if_open()? else { return Ok(None) };
            return self.view(&file, range, as_of);
        }
        let mut buffer = vec![0; length];
        Ok(self.read_into(range.start, &mut buffer, residency)?.then(|| buffer.into()))
    }

    /// A view of a range that lies within the file; `None` if it is not in the page cache.
    fn view(&self, file: &File, range: Range<u64>, as_of: AsOf) -> io::Result<Option<Bytes>> {
        let mut state = self.view.lock();
        if as_of == AsOf::AMomentAgo && !self.is_resident(&mut state, file, &range)? {
            return Ok(None);
        }
        let mapping = mapping_to(&mut state, file, range.end)?;
        drop(state);
        let start = usize::try_from(range.start).map_err(io::Error::other)?;
        let end = usize::try_from(range.end).map_err(io::Error::other)?;
        if as_of == AsOf::Now && !mapping.is_resident(start..end)? {
            return Ok(None);
        }
        Ok(Some(Bytes::from_owner(View { mapping }).slice(start..end)))
    }

    /// Whether the range is in the page cache, or was a moment ago.
    fn is_resident(
        &self,
        state: &mut ViewState,
        file: &File,
        range: &Range<u64>,
    ) -> io::Result<bool> {
        let now = Instant::now();
        state.resident.retain(|(_, at)| now.duration_since(*at) < RESIDENT_FOR);
        let is_within = |known: &Range<u64>| known.start <= range.start && range.end <= known.end;
        if state.resident.iter().any(|(known, _)| is_within(known)) {
            return Ok(true);
        }
        let around = range.start / RESIDENT_BYTES * RESIDENT_BYTES
            ..range.end.next_multiple_of(RESIDENT_BYTES).min(self.known_length());
        if is_cached(file, &around)? {
            if state.resident.len() == RESIDENT_RANGES_MAX {
                state.resident.remove(0);
            }
            state.resident.push((around, now));
            return Ok(true);
        }
        is_cached(file, range)
    }

    fn known_length(&self) -> u64 {
        self.known_length.load(Ordering::Acquire)
    }

    fn check_within(&self, end: u64) -> io::Result<()> {
        if end > self.known_length() && end > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// A mapping that covers the bytes up to `end`.
fn mapping_to(state: &mut ViewState, file: &File, end: u64) -> io::Result<Arc<Mapping>> {
    if let Some(mapping) = &state.mapping
        && mapping.0.len() as u64 >= end
    {
        return Ok(Arc::clone(mapping));
    }
    let length = end.saturating_add(MAPPING_SLACK_BYTES).next_multiple_of(PAGE_BYTES);
    let length = usize::try_from(length).map_err(io::Error::other)?;
    // SAFETY: the mapping is read-only and shared. Bytes of it are only handed out by `view`, for ranges within
    // the file, and the contract of `DiskFile` forbids to change or cut off a range that was handed out. Other
    // processes are kept off the directory by its lock.
    #[expect(unsafe_code, reason = "a mapping cannot be made safely")]
    let mapping = Arc::new(Mapping(unsafe { MmapOptions::new().len(length).map(file) }?));
    state.mapping = Some(Arc::clone(&mapping));
    Ok(mapping)
}

impl Closable for RealFile {
    fn close_if_unused(&self) -> bool {
        // Who reads it has the lock.
        let Some(mut handle) = self.handle.try_write() else { return false };
        match &*handle {
            Handle::Settled(_) if self.was_used.swap(false, Ordering::Relaxed) => false,
            Handle::Settled(file) => {
                // Whoever asks while it is closed is told what is known.
                let Ok(metadata) = file.metadata() else { return true };
                self.known_length.store(metadata.len(), Ordering::Release);
                *handle = Handle::Closed;
                *self.view.lock() = ViewState::default();
                true
            }
            Handle::Held(_)
            | Handle::Idle
            | Handle::Closed
            | Handle::Pinned(_)
            | Handle::Forgotten => true,
        }
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        let Some(file) = self.file_if_open()? else {
            return Ok(self.known_length());
        };
        let length = file.metadata()?.len();
        self.known_length.fetch_max(length, Ordering::AcqRel);
        Ok(length)
    }

    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        let file = self.file()?;
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut slices = slices.as_mut_slice();
        let mut position = position;
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match rustix::io::pwritev(&*file, slices, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read(&self, range: Range<u64>, residency: Residency) -> io::Result<Option<Bytes>> {
        self.read_range(range, residency, AsOf::AMomentAgo)
    }

    fn read_near(&self, range: Range<u64>, residency: Residency) -> io::Result<Option<Bytes>> {
        self.read_range(range, residency, AsOf::Now)
    }

    fn read_into(
        &self,
        position: u64,
        buffer: &mut [u8],
        residency: Residency,
    ) -> io::Result<bool> {
        let flags = match residency {
            Residency::Cached => ReadWriteFlags::NOWAIT,
            Residency::Any => ReadWriteFlags::empty(),
        };
        let Some(file) = self.file_for(residency)? else { return Ok(false) };
        let mut done = 0;
        while done < buffer.len() {
            let rest = &mut buffer[done..];
            match rustix::io::preadv2(
                &*file,
                &mut [IoSliceMut::new(rest)],
                position + done as u64,
                flags,
            ) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => done += read,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if residency == Residency::Cached => return Ok(false),
                // A file system that cannot say what is in memory: treat it as one where all is.
                Err(Errno::OPNOTSUPP) if residency == Residency::Cached => {
                    drop(file);
                    return self.read_into(position, buffer, Residency::Any);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.known_length.store(0, Ordering::Release);
        self.view.lock().resident.clear();
        self.file()?.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file()?.sync_data()
    }

    fn settle(&self) {
        {
            let mut handle = self.handle.write();
            match std::mem::replace(&mut *handle, Handle::Closed) {
                Handle::Held(file) => *handle = Handle::Settled(file),
                // It is as it was left: closed.
                Handle::Idle => return,
                other @ (Handle::Settled(_)
                | Handle::Closed
                | Handle::Pinned(_)
                | Handle::Forgotten) => {
                    *handle = other;
                    return;
                }
            }
        }
        self.settled.opened(Weak::clone(&self.me));
    }

    fn pin(&self) -> io::Result<()> {
        let mut handle = self.handle.write();
        *handle = match std::mem::replace(&mut *handle, Handle::Closed) {
            Handle::Held(file) | Handle::Settled(file) | Handle::Pinned(file) => {
                Handle::Pinned(file)
            }
            Handle::Idle => Handle::Pinned(open_to_write(&self.path)?),
            Handle::Closed => Handle::Pinned(File::open(&self.path)?),
            Handle::Forgotten => Handle::Forgotten,
        };
        Ok(())
    }

    fn forget(&self) {
        let mut handle = self.handle.write();
        *handle = match std::mem::replace(&mut *handle, Handle::Forgotten) {
            Handle::Held(file) | Handle::Settled(file) | Handle::Pinned(file) => {
                Handle::Pinned(file)
            }
            Handle::Idle | Handle::Closed | Handle::Forgotten => Handle::Forgotten,
        };
    }
}

/// When the bytes of a view are known to be in the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AsOf {
    /// [`RESIDENT_FOR`] ago at most.
    AMomentAgo,
    Now,
}

/// A mapping that goes in pieces: while the kernel takes a whole segment out of the address space, no other thread can take a
/// page into it, and would stand still for as long.
#[derive(Debug)]
struct Mapping(Mmap);

impl Mapping {
    const PIECE_BYTES: usize = 4 << 20;

    /// Whether all pages of a range are in the page cache. Those that the file does not have any more are not.
    fn is_resident(&self, range: Range<usize>) -> io::Result<bool> {
        let page_bytes = PAGE_BYTES as usize;
        let start = range.start / page_bytes * page_bytes;
        let mapped = &self.0[start..range.end];
        let mut pages = vec![0_u8; mapped.len().div_ceil(page_bytes)];
        // SAFETY: the range is mapped, and begins with a page since the mapping does; there is a byte for each of its pages.
        #[expect(unsafe_code, reason = "no crate wraps this system call")]
        let result = unsafe {
            libc::mincore(mapped.as_ptr().cast_mut().cast(), mapped.len(), pages.as_mut_ptr())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(pages.iter().all(|page| page & 1 == 1))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let length = self.0.len();
        for start in (0..length).step_by(Self::PIECE_BYTES) {
            let piece = Self::PIECE_BYTES.min(length - start);
            // SAFETY: nobody sees the bytes any more, and they would come from the file again.
            #[expect(unsafe_code, reason = "the crate cannot know what is done with the bytes")]
            let dropped =
                unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, start, piece) };
            if dropped.is_err() {
                // It all goes at once, then.
                return;
            }
        }
    }
}

/// Owner of a view: keeps its mapping alive.
struct View {
    mapping: Arc<Mapping>,
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        &self.mapping.0
    }
}

/// Whether all pages of `range` are in the page cache (`cachestat`, Linux 6.5). Where the kernel cannot say, a read
/// of the last byte that does not wait stands for the whole.
fn is_cached(file: &File, range: &Range<u64>) -> io::Result<bool> {
    const SYS_CACHESTAT: libc::c_long = 451;
    let request = [range.start, range.end - range.start];
    // Cached, dirty, under write-back, evicted, recently evicted: in pages.
    let mut answer = [0_u64; 5];
    // SAFETY: `struct cachestat_range` is two and `struct cachestat` five 64-bit numbers, which the arrays are; both
    // outlive the call, and the descriptor is open.
    #[expect(unsafe_code, reason = "no crate wraps this system call")]
    let result = unsafe {
        libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), request.as_ptr(), answer.as_mut_ptr(), 0_u32)
    };
    if result == 0 {
        let pages = range.end.div_ceil(PAGE_BYTES) - range.start / PAGE_BYTES;
        return Ok(answer[0] >= pages);
    }
    let mut byte = [0];
    let flags = ReadWriteFlags::NOWAIT;
    match rustix::io::preadv2(file.as_fd(), &mut [IoSliceMut::new(&mut byte)], range.end - 1, flags)
    {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::open_files::open_in;

    #[test]
    fn an_idle_file_takes_a_descriptor_when_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"old").unwrap();
        let disk = RealDisk::new();
        let missing = disk.open_idle(&dir.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let [written, read, pinned, settled, forgotten] =
            [(); 5].map(|()| disk.open_idle(&path).unwrap());
        assert_eq!(open_in(dir.path()).len(), 0);
        assert_eq!(written.len().unwrap(), 3);
        assert_eq!(read.read(0..3, Residency::Cached).unwrap(), None, "it is not opened for that");
        assert_eq!(read.read(0..3, Residency::Any).unwrap().unwrap(), "old");
        written.write_at(3, &[b" and new"]).unwrap();
        assert_eq!(written.len().unwrap(), 11);
        assert_eq!(open_in(dir.path()).len(), 2);
        pinned.pin().unwrap();
        settled.settle();
        forgotten.forget();
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        pinned.write_at(0, &[b"OLD"]).unwrap();
        assert_eq!(written.read(0..7, Residency::Any).unwrap().unwrap(), "OLD and");
        for gone in [settled, forgotten] {
            let error = gone.read(0..3, Residency::Any).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn what_is_in_memory_is_remembered_of_several_places() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let places = RESIDENT_RANGES_MAX as u64 + 4;
        fs::write(&path, vec![1; (places * RESIDENT_BYTES) as usize]).unwrap();
        let file = RealDisk::new().file(&path, Handle::Held(File::open(&path).unwrap()));
        let known_after = |place: u64| {
            let start = place * RESIDENT_BYTES;
            file.read(start..start + 2 * PAGE_BYTES, Residency::Cached).unwrap().unwrap();
            file.view.lock().resident.len()
        };
        // What is older than a moment is forgotten: on a machine that stands still it takes another try.
        assert!((0..1_000).any(|_| (known_after(0), known_after(9), known_after(0)).2 == 2));
        assert!((0..places).all(|place| known_after(place) <= RESIDENT_RANGES_MAX));
    }

    #[test]
    fn small_files_are_read_whole_and_directories_listed_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        for length in [0, 1, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1, 3 * SMALL_BYTES] {
            let content: Vec<u8> = (0..length).map(|at| at as u8).collect();
            fs::write(dir.path().join("f"), &content).unwrap();
            assert_eq!(disk.read_small(&dir.path().join("f")).unwrap(), Some(content));
        }
        assert_eq!(disk.read_small(&dir.path().join("none")).unwrap(), None);
        // More than is read at once.
        let names: Vec<_> = (1000..1400).map(|number| format!("name-{number}")).collect();
        names.iter().for_each(|name| fs::write(dir.path().join(name), "").unwrap());
        fs::create_dir(dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        let listed = disk.list(dir.path()).unwrap();
        let mut expected = vec![("a", true), ("f", false), ("link", false)];
        expected.extend(names.iter().map(|name| (name.as_str(), false)));
        assert!(listed.iter().map(|entry| (entry.name.as_str(), entry.is_dir)).eq(expected));
        assert_eq!(
            disk.list(&dir.path().join("none")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn writes_are_read_back_as_views_and_as_copies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = RealDisk::new().open(&path, OpenMode::CreateNew).unwrap();
        let content: Vec<u8> = (0..200_000_u32).map(|i| i as u8).collect();
        file.write_at(0, &[&content[..10], &[], &content[10..]]).unwrap();
        assert_eq!(file.len().unwrap(), 200_000);
        for (range, residency) in [
            (3..150_000, Residency::Cached),
            (3..150_000, Residency::Any),
            (199_000..200_000, Residency::Cached),
        ] {
            for read in [DiskFile::read, DiskFile::read_near] {
                let read = read(&*file, range.clone(), residency).unwrap().expect("just written");
                assert_eq!(read, content[range.start as usize..range.end as usize]);
            }
        }
    }

    #[test]
    fn bytes_that_are_there_no_more_are_not_given_to_be_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = RealDisk::new().open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(0, &[&[7; 100_000]]).unwrap();
        for read in [DiskFile::read, DiskFile::read_near] {
            read(&*file, 0..100_000, Residency::Cached).unwrap().expect("just written");
        }
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        // What is known of it is of a moment ago. To look at a view of it now would end the process.
        assert!(file.read(0..100_000, Residency::Cached).unwrap().is_some());
        assert!(file.read_near(0..100_000, Residency::Cached).unwrap().is_none());
        let error = file.read_near(0..100_000, Residency::Any).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_view_outlives_growth_and_a_new_mapping() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk::new().open(&dir.path().join("f"), OpenMode::CreateNew).unwrap();
        let block = vec![7; 100_000];
        file.write_at(0, &[&block]).unwrap();
        let view = file.read(0..100_000, Residency::Cached).unwrap().unwrap();
        let far = MAPPING_SLACK_BYTES + 1_000_000;
        file.write_at(far, &[&block]).unwrap();
        let other = file.read(far..far + 100_000, Residency::Cached).unwrap().unwrap();
        assert_eq!((&view, &other), (&Bytes::from(block.clone()), &Bytes::from(block)));
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk::new().open(&dir.path().join("f"), OpenMode::CreateNew).unwrap();
        file.write_at(0, &[b"abc"]).unwrap();
        for range in [0..4, 0..100_000] {
            for residency in [Residency::Cached, Residency::Any] {
                let error = file.read(range.clone(), residency).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            }
        }
    }

    #[test]
    fn settled_files_are_open_in_bounded_number_and_read_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::with_settled_max(3);
        let content = |i: u8| vec![i; 10_000];
        let files: Vec<Arc<dyn DiskFile>> = (0..20)
            .map(|i| {
                let path = dir.path().join(i.to_string());
                let file = disk.open(&path, OpenMode::CreateNew).unwrap();
                file.write_at(0, &[&content(i)]).unwrap();
                // Some are settled after they were written, the others opened so.
                if i % 2 == 0 {
                    file.settle();
                    file
                } else {
                    disk.open_settled(&path).unwrap()
                }
            })
            .collect();
        let view = files[0].read(0..10_000, Residency::Any).unwrap().unwrap();
        for _ in 0..3 {
            for (file, i) in files.iter().zip(0..) {
                assert_eq!(file.len().unwrap(), 10_000);
                let read = file.read(1..9_000, Residency::Any).unwrap().unwrap();
                assert_eq!(read, content(i)[1..9_000]);
                let viewed = file.read(1..9_000, Residency::Cached).unwrap().expect("it is open");
                assert_eq!(viewed, read);
                drop(viewed);
                let open = open_in(dir.path());
                assert!(open.len() <= 6, "a descriptor and a mapping each: {open:?}");
            }
        }
        assert_eq!(view, content(0));
        assert!(files[0].read(0..10, Residency::Cached).unwrap().is_none(), "it is closed");
        assert_eq!(
            files[0].read(9_999..10_001, Residency::Any).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn a_settled_file_never_becomes_another_that_has_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::with_settled_max(1);
        let path = dir.path().join("f");
        disk.replace_small(&path, b"old").unwrap();
        let [pinned, forgotten, open] = [(); 3].map(|()| disk.open_settled(&path).unwrap());
        open.read(0..3, Residency::Any).unwrap();
        pinned.pin().unwrap();
        forgotten.forget();
        open.forget();
        disk.replace_small(&path, b"new").unwrap();
        // Makes the disk close what it may.
        for _ in 0..3 {
            disk.open_settled(&path).unwrap().read(0..3, Residency::Any).unwrap();
        }
        for file in [&pinned, &open] {
            file.settle();
            assert_eq!(file.read(0..3, Residency::Any).unwrap().unwrap(), &b"old"[..]);
        }
        let error = forgotten.read(0..3, Residency::Any).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(forgotten.pin().is_ok(), "there is nothing to keep open");
    }

    #[test]
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        let lock = disk.lock(dir.path()).unwrap().expect("free");
        assert!(disk.lock(dir.path()).unwrap().is_none());
        drop(lock);
        assert!(disk.lock(dir.path()).unwrap().is_some());
    }

    #[test]
    fn small_files_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        let path = dir.path().join("meta.properties");
        assert_eq!(disk.read_small(&path).unwrap(), None);
        for content in ["first", "the second one", ""] {
            disk.replace_small(&path, content.as_bytes()).unwrap();
            assert_eq!(disk.read_small(&path).unwrap().as_deref(), Some(content.as_bytes()));
        }
        let names: Vec<_> = disk.list(dir.path()).unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["meta.properties"]);
    }
}
