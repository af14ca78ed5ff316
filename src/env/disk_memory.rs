//! A file system in memory: `--memory` runs on it, and tests cut its power.
//!
//! [`MemoryDisk::new`] is plain and fast. [`MemoryDisk::with_power_model`] also remembers what was synced, and
//! [`power_cut`](MemoryDisk::power_cut) gives the disk as it might be found after a power failure: writes since the last
//! sync are kept or lost by sectors of 512 bytes, each for itself; names created, renamed or removed since the last sync
//! of their directory are kept or lost, each for itself; a directory that was renamed has one of both names, with all in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::disk::{DirLock, Disk, DiskEntry, DiskFile, DiskSpace, OpenMode, Residency};
use super::rng::Rng;

const SECTOR_BYTES: usize = 512;
/// What a memory disk says of its size: it has no end of its own.
const NOMINAL_BYTES: u64 = 1 << 40;

/// Files in memory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    tree: Arc<Mutex<Tree>>,
    /// Whether what was synced is remembered.
    power_model: bool,
}

#[derive(Debug, Default)]
struct Tree {
    /// What is there now.
    nodes: BTreeMap<PathBuf, Node>,
    /// What the last sync of each directory made durable, by path. Kept with a power model only.
    durable: BTreeMap<PathBuf, Node>,
    /// Directories that were renamed, with their old and new names, since the last sync of the directory above.
    renamed: Vec<(PathBuf, PathBuf)>,
    locked: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug)]
enum Node {
    Dir,
    File(Arc<MemoryFile>),
}

impl Node {
    fn is_same(&self, other: Option<&Self>) -> bool {
        match (self, other) {
            (Self::Dir, Some(Self::Dir)) => true,
            (Self::File(a), Some(Self::File(b))) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self { tree: Arc::default(), power_model: false }
    }

    /// An empty disk whose power can be cut.
    #[must_use]
    pub fn with_power_model() -> Self {
        Self { tree: Arc::default(), power_model: true }
    }

    /// Makes everything durable, as a long quiet time would.
    pub fn sync_all(&self) {
        let mut tree = self.tree.lock();
        tree.durable = tree.nodes.clone();
        for node in tree.nodes.values() {
            if let Node::File(file) = node {
                file.settle();
            }
        }
    }

    /// What is found if the process alone ends now: all that is there. What was not synced can still be lost with the power.
    /// This disk itself stays as it is.
    #[must_use]
    pub fn process_end(&self) -> Self {
        let tree = self.tree.lock();
        let mut copies: BTreeMap<*const MemoryFile, Arc<MemoryFile>> = BTreeMap::new();
        let mut copy = |nodes: &BTreeMap<PathBuf, Node>| {
            let copy = |(path, node): (&PathBuf, &Node)| {
                let node = match node {
                    Node::Dir => Node::Dir,
                    // A file with two names stays one file.
                    Node::File(file) => Node::File(Arc::clone(
                        copies.entry(Arc::as_ptr(file)).or_insert_with(|| Arc::new(file.copy())),
                    )),
                };
                (path.clone(), node)
            };
            nodes.iter().map(copy).collect()
        };
        let (nodes, durable) = (copy(&tree.nodes), copy(&tree.durable));
        let renamed = tree.renamed.clone();
        let found = Tree { nodes, durable, renamed, locked: BTreeSet::new() };
        Self { tree: Arc::new(Mutex::new(found)), power_model: self.power_model }
    }

    /// What would be found on this disk after a power failure now. Chance decides about everything that was not
    /// synced. This disk itself stays as it is.
    ///
    /// # Panics
    /// Without a power model.
    #[must_use]
    pub fn power_cut(&self, rng: &Rng) -> Self {
        assert!(self.power_model, "this disk does not know what was synced");
        let tree = self.tree.lock().with_renames_settled(rng);
        let mut paths: BTreeSet<&PathBuf> = tree.nodes.keys().collect();
        paths.extend(tree.durable.keys());
        let mut survivors: BTreeMap<PathBuf, Node> = BTreeMap::new();
        let mut copies: Vec<(Arc<MemoryFile>, Arc<MemoryFile>)> = Vec::new();
        for path in paths {
            let (now, durable) = (tree.nodes.get(path), tree.durable.get(path));
            let settled = now.is_some_and(|node| node.is_same(durable));
            let found = if settled || rng.below(2) == 0 { durable } else { now };
            let parent_survives = path.parent().is_none_or(|up| {
                up.as_os_str().is_empty() || up == Path::new("/") || survivors.contains_key(up)
            });
            let Some(node) = found.filter(|_| parent_survives) else {
                continue;
            };
            let node = match node {
                Node::Dir => Node::Dir,
                Node::File(file) => {
                    // A file with two names stays one file.
                    let known = copies.iter().find(|(from, _)| Arc::ptr_eq(from, file));
                    let copy = known.map(|(_, copy)| Arc::clone(copy));
                    Node::File(copy.unwrap_or_else(|| {
                        let copy = Arc::new(file.after_power_cut(rng));
                        copies.push((Arc::clone(file), Arc::clone(&copy)));
                        copy
                    }))
                }
            };
            survivors.insert(path.clone(), node);
        }
        let tree = Tree { durable: survivors.clone(), nodes: survivors, ..Tree::default() };
        Self { tree: Arc::new(Mutex::new(tree)), power_model: true }
    }
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut tree = self.tree.lock();
        let file = match tree.nodes.get(path) {
            Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(file)) => match mode {
                OpenMode::Read | OpenMode::Write | OpenMode::Create => Arc::clone(file),
                OpenMode::CreateNew => return Err(io::ErrorKind::AlreadyExists.into()),
                OpenMode::Truncate => {
                    file.set_len(0)?;
                    Arc::clone(file)
                }
            },
            None => match mode {
                OpenMode::Read | OpenMode::Write => return Err(io::ErrorKind::NotFound.into()),
                OpenMode::Create | OpenMode::CreateNew | OpenMode::Truncate => {
                    tree.require_parent(path)?;
                    let file = Arc::new(MemoryFile::new(self.power_model));
                    tree.nodes.insert(path.to_owned(), Node::File(Arc::clone(&file)));
                    file
                }
            },
        };
        Ok(file)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock();
        let mut above: Vec<&Path> =
            path.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
        above.reverse();
        for directory in above {
            match tree.nodes.get(directory) {
                Some(Node::Dir) => {}
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    tree.nodes.insert(directory.to_owned(), Node::Dir);
                }
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        let tree = self.tree.lock();
        if !matches!(tree.nodes.get(path), Some(Node::Dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut entries = Vec::new();
        for (child, node) in tree.nodes.range(path.to_owned()..) {
            if !child.starts_with(path) {
                break;
            }
            if child.parent() != Some(path) {
                continue;
            }
            let Some(name) = child.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let is_dir = matches!(node, Node::Dir);
            entries.push(DiskEntry { name: name.to_owned(), is_dir });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.tree.lock().nodes.contains_key(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock();
        tree.require_parent(to)?;
        if matches!(tree.nodes.get(to), Some(Node::Dir)) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let moved: Vec<PathBuf> =
            tree.nodes.keys().filter(|path| path.starts_with(from)).cloned().collect();
        if moved.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        if matches!(tree.durable.get(from), Some(Node::Dir)) {
            tree.renamed.push((from.to_owned(), to.to_owned()));
        }
        for path in moved {
            let node = tree.nodes.remove(&path).expect("listed above");
            let below = path.strip_prefix(from).expect("starts with it");
            let target = if below.as_os_str().is_empty() { to.to_owned() } else { to.join(below) };
            // What is inside a renamed directory keeps the durability it had under the old name.
            if path != from
                && let Some(durable) = tree.durable.remove(&path)
            {
                tree.durable.insert(target.clone(), durable);
            }
            tree.nodes.insert(target, node);
        }
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock();
        tree.require_parent(to)?;
        if tree.nodes.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match tree.nodes.get(from) {
            Some(Node::File(file)) => {
                let file = Node::File(Arc::clone(file));
                tree.nodes.insert(to.to_owned(), file);
                Ok(())
            }
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock();
        if matches!(tree.nodes.get(path), Some(Node::Dir)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        tree.nodes.remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.tree.lock().nodes.retain(|child, _| !child.starts_with(path));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock();
        // What names without a path are in is always there.
        let is_dir = path.as_os_str().is_empty() || matches!(tree.nodes.get(path), Some(Node::Dir));
        if !is_dir {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.power_model {
            let Tree { nodes, durable, renamed, .. } = &mut *tree;
            renamed.retain(|(from, _)| from.parent() != Some(path));
            durable.retain(|child, _| child.parent() != Some(path) || nodes.contains_key(child));
            for (child, node) in nodes.iter().filter(|(child, _)| child.parent() == Some(path)) {
                durable.insert(child.clone(), node.clone());
            }
        }
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<DiskSpace> {
        Ok(DiskSpace { total_bytes: NOMINAL_BYTES, free_bytes: NOMINAL_BYTES })
    }

    fn lock(&self, directory: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        let directory = directory.to_owned();
        let free = self.tree.lock().locked.insert(directory.clone());
        Ok(free.then(|| Box::new(MemoryLock { tree: Arc::clone(&self.tree), directory }) as _))
    }
}

impl Tree {
    /// The tree after chance has decided of each directory with a new name whether it has that or the old one: all that is in it
    /// goes with it.
    fn with_renames_settled(&self, rng: &Rng) -> Self {
        let (mut nodes, mut durable) = (self.nodes.clone(), self.durable.clone());
        for (from, to) in self.renamed.iter().rev() {
            // What was removed or made under these names since is another matter.
            if !nodes.contains_key(to) || nodes.contains_key(from) {
                continue;
            }
            let (old, new) = if rng.below(2) == 0 { (from, to) } else { (to, from) };
            for tree in [&mut nodes, &mut durable] {
                let below: Vec<PathBuf> =
                    tree.keys().filter(|path| path.starts_with(old)).cloned().collect();
                for path in below {
                    let node = tree.remove(&path).expect("listed above");
                    let rest = path.strip_prefix(old).expect("starts with it").to_owned();
                    let is_top = rest.as_os_str().is_empty();
                    tree.insert(if is_top { new.clone() } else { new.join(rest) }, node);
                }
                tree.insert(new.clone(), Node::Dir);
            }
        }
        Self { nodes, durable, ..Self::default() }
    }

    fn require_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            None => Ok(()),
            Some(parent) if parent.as_os_str().is_empty() => Ok(()),
            Some(parent) => match self.nodes.get(parent) {
                Some(Node::Dir) => Ok(()),
                Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        }
    }
}

#[derive(Debug)]
struct MemoryLock {
    tree: Arc<Mutex<Tree>>,
    directory: PathBuf,
}

impl DirLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.tree.lock().locked.remove(&self.directory);
    }
}

#[derive(Debug)]
struct MemoryFile {
    content: Mutex<Content>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    chunks: Chunks,
    /// With a power model: the bytes at the last sync, and the sectors written since.
    unsynced: Option<Unsynced>,
}

#[derive(Clone, Debug, Default)]
struct Unsynced {
    synced: Vec<u8>,
    sectors: BTreeSet<usize>,
}

/// Bytes in pieces of [`Chunks::BYTES`], so that a growing file is never copied as a whole.
#[derive(Clone, Debug, Default)]
struct Chunks(Vec<Vec<u8>>);

impl Chunks {
    const BYTES: usize = 1 << 20;

    fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * Self::BYTES + last.len())
    }

    fn resize(&mut self, length: usize) {
        self.0.truncate(length.div_ceil(Self::BYTES));
        while self.len() < length {
            match self.0.last_mut() {
                Some(last) if last.len() < Self::BYTES => {
                    let room = Self::BYTES - last.len();
                    let missing = length - self.len();
                    let last = self.0.last_mut().expect("seen above");
                    last.resize(last.len() + room.min(missing), 0);
                }
                _ => self.0.push(Vec::new()),
            }
        }
        if let Some(last) = self.0.last_mut() {
            let keep = length - (length - 1) / Self::BYTES * Self::BYTES;
            last.truncate(keep);
        }
    }

    fn write(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        if position > self.len() {
            self.resize(position);
        }
        let mut rest = bytes;
        let mut at = position;
        while at < end {
            if at.is_multiple_of(Self::BYTES) && at == self.len() {
                self.0.push(Vec::new());
            }
            let (index, within) = (at / Self::BYTES, at % Self::BYTES);
            let chunk = &mut self.0[index];
            let (now, later) = rest.split_at(rest.len().min(Self::BYTES - within));
            let overwritten = now.len().min(chunk.len() - within);
            chunk[within..within + overwritten].copy_from_slice(&now[..overwritten]);
            chunk.extend_from_slice(&now[overwritten..]);
            at += now.len();
            rest = later;
        }
    }

    fn read(&self, position: usize, buffer: &mut [u8]) {
        let mut done = 0;
        while done < buffer.len() {
            let at = position + done;
            let chunk = &self.0[at / Self::BYTES][at % Self::BYTES..];
            let count = chunk.len().min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&chunk[..count]);
            done += count;
        }
    }

    fn to_vec(&self) -> Vec<u8> {
        self.0.concat()
    }
}

impl MemoryFile {
    fn new(power_model: bool) -> Self {
        let unsynced = power_model.then(Unsynced::default);
        Self { content: Mutex::new(Content { chunks: Chunks::default(), unsynced }) }
    }

    fn copy(&self) -> Self {
        Self { content: Mutex::new(self.content.lock().clone()) }
    }

    fn settle(&self) {
        let mut content = self.content.lock();
        if content.unsynced.is_some() {
            let synced = content.chunks.to_vec();
            content.unsynced = Some(Unsynced { synced, sectors: BTreeSet::new() });
        }
    }

    fn after_power_cut(&self, rng: &Rng) -> Self {
        let content = self.content.lock();
        let Unsynced { synced, sectors } =
            content.unsynced.as_ref().expect("made with a power model");
        let now = content.chunks.to_vec();
        // The length on disk is the synced one, the present one, or one between (extended sector by sector).
        let (shorter, longer) = (synced.len().min(now.len()), synced.len().max(now.len()));
        let steps =
            u32::try_from((longer - shorter).div_ceil(SECTOR_BYTES)).unwrap_or(u32::MAX - 2);
        let length = (shorter + rng.below(steps + 1) as usize * SECTOR_BYTES).min(longer);
        let mut found = synced.clone();
        found.resize(length, 0);
        for sector in sectors {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(length).min(now.len());
            if start < end && rng.below(2) == 0 {
                found[start..end].copy_from_slice(&now[start..end]);
            }
        }
        let mut chunks = Chunks::default();
        chunks.write(0, &found);
        let unsynced = Some(Unsynced { synced: found, sectors: BTreeSet::new() });
        Self { content: Mutex::new(Content { chunks, unsynced }) }
    }
}

impl Content {
    fn mark_unsynced(&mut self, range: Range<usize>) {
        if let Some(unsynced) = &mut self.unsynced {
            unsynced.sectors.extend(range.start / SECTOR_BYTES..range.end.div_ceil(SECTOR_BYTES));
        }
    }
}

impl DiskFile for MemoryFile {
    fn reserve(&self, length: u64) -> io::Result<()> {
        // Zeros would take memory. A disk that models power has to have them, as a real one.
        let is_model = self.content.lock().unsynced.is_some();
        if is_model { self.set_len(length) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().chunks.len() as u64)
    }

    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut position = usize::try_from(position).map_err(io::Error::other)?;
        let mut content = self.content.lock();
        for part in parts {
            content.chunks.write(position, part);
            content.mark_unsynced(position..position + part.len());
            position += part.len();
        }
        Ok(())
    }

    fn read(&self, range: Range<u64>, residency: Residency) -> io::Result<Option<Bytes>> {
        let length =
            usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        let mut buffer = vec![0; length];
        Ok(self.read_into(range.start, &mut buffer, residency)?.then(|| buffer.into()))
    }

    fn read_into(&self, position: u64, buffer: &mut [u8], _: Residency) -> io::Result<bool> {
        let position = usize::try_from(position).map_err(io::Error::other)?;
        let content = self.content.lock();
        if position + buffer.len() > content.chunks.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.chunks.read(position, buffer);
        Ok(true)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut content = self.content.lock();
        let before = content.chunks.len();
        content.chunks.resize(length);
        content.mark_unsynced(before.min(length)..before.max(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut content = self.content.lock();
        if content.unsynced.is_some() {
            let synced = content.chunks.to_vec();
            content.unsynced = Some(Unsynced { synced, sectors: BTreeSet::new() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn content(disk: &MemoryDisk, path: &str) -> Option<Vec<u8>> {
        disk.read_small(Path::new(path)).unwrap()
    }

    proptest! {
        #[test]
        fn a_file_is_a_byte_vector(
            steps in proptest::collection::vec((0..3_usize, 0..5_000_usize, 0..5_000_usize), 1..20),
            shift in 0..3_usize,
        ) {
            let base = shift * (Chunks::BYTES - 2_500);
            let file = MemoryFile::new(false);
            let mut model: Vec<u8> = Vec::new();
            for (kind, position, length) in steps {
                let position = base + position;
                if kind == 0 {
                    file.set_len(position as u64).unwrap();
                    model.resize(position, 0);
                } else {
                    let bytes: Vec<u8> = (0..length).map(|i| (i + position) as u8).collect();
                    file.write_at(position as u64, &[&bytes]).unwrap();
                    if !bytes.is_empty() {
                        model.resize(model.len().max(position + length), 0);
                        model[position..position + length].copy_from_slice(&bytes);
                    } else if model.len() < position {
                        model.resize(position, 0);
                    }
                }
                prop_assert_eq!(file.len().unwrap(), model.len() as u64);
                let read = file.read(0..model.len() as u64, Residency::Any).unwrap().unwrap();
                prop_assert!(read == model, "contents differ");
            }
        }
    }

    #[test]
    fn synced_bytes_under_synced_names_survive_a_power_cut() {
        for seed in 0..50 {
            let rng = Rng::from_seed(seed);
            let disk = MemoryDisk::with_power_model();
            disk.create_dir_all(Path::new("d")).unwrap();
            disk.sync_all();
            let file = disk.open(Path::new("d/a"), OpenMode::CreateNew).unwrap();
            file.write_at(0, &[&[1; 2_000]]).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(Path::new("d")).unwrap();
            file.write_at(2_000, &[&[2; 2_000]]).unwrap();
            let found = content(&disk.power_cut(&rng), "d/a").expect("the name was synced");
            assert!(found.len() >= 2_000 && found.len() <= 4_000);
            assert!(found[..2_000].iter().all(|byte| *byte == 1), "synced bytes changed");
        }
    }

    #[test]
    fn what_a_process_has_written_stays_when_it_ends_until_the_power_is_cut() {
        let disk = MemoryDisk::with_power_model();
        let file = disk.open(Path::new("a"), OpenMode::CreateNew).unwrap();
        file.write_at(0, &[&[3; 1_500]]).unwrap();
        let found = disk.process_end();
        file.write_at(0, &[&[4; 1_500]]).unwrap();
        assert_eq!(content(&found, "a").as_deref(), Some(&[3; 1_500][..]));
        let lost =
            (0..50).filter(|seed| content(&found.power_cut(&Rng::from_seed(*seed)), "a").is_none());
        assert!(lost.count() > 5);
    }

    #[test]
    fn r21_a_directory_that_was_created_durably_stays() {
        let (disk, path) = (MemoryDisk::with_power_model(), Path::new("a/b/c"));
        disk.create_dir_all_durably(path).unwrap();
        disk.create_dir_all(Path::new("x")).unwrap();
        let after = |seed| disk.power_cut(&Rng::from_seed(seed));
        assert!((0..30).all(|seed| after(seed).exists(path).unwrap()));
        assert!(!(0..30).all(|seed| after(seed).exists(Path::new("x")).unwrap()));
    }

    #[test]
    fn what_was_not_synced_may_be_lost_or_torn() {
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for seed in 0..300 {
            let disk = MemoryDisk::with_power_model();
            let file = disk.open(Path::new("a"), OpenMode::CreateNew).unwrap();
            file.write_at(0, &[&[3; 1_500]]).unwrap();
            match content(&disk.power_cut(&Rng::from_seed(seed)), "a") {
                None => lost += 1,
                Some(found) if found == [3; 1_500] => kept += 1,
                Some(_) => torn += 1,
            }
        }
        assert!(lost > 50 && kept > 0 && torn > 50, "lost {lost} kept {kept} torn {torn}");
    }

    #[test]
    fn a_replaced_file_is_old_or_new_after_a_power_cut() {
        let path = Path::new("d/meta");
        for seed in 0..100 {
            let disk = MemoryDisk::with_power_model();
            disk.create_dir_all(Path::new("d")).unwrap();
            disk.sync_all();
            disk.replace_small(path, b"old").unwrap();
            disk.replace_small(path, b"newer").unwrap();
            let found = content(&disk.power_cut(&Rng::from_seed(seed)), "d/meta");
            assert_eq!(found.as_deref(), Some(&b"newer"[..]));
        }
    }
}
