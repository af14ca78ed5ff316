//! All data directories of a broker: one for the metadata log, and one or more for partitions.
//!
//! Owns which of them are in use. A directory that cannot be read at a start is left out, and one whose disk fails later is
//! given up until the next start, as long as there is another one. The directory of the metadata log cannot be spared.
//!
//! **Invariants:** all belong to the same node and cluster, and each has an id of its own; a directory that has failed is
//! never used again.
//!
//! Source: `LogManager`, `MetaPropertiesEnsemble` and `LogDirFailureChannel` of Apache Kafka 4.3.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::data_dir::{DataDir, DataDirError, MetaProperties, Taken};
use super::partition_log::Log;
use crate::env::{Disk, Rng};
use crate::model::{BrokerId, WithCauses};

/// Where a broker keeps its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPaths {
    /// The directories for partitions (`log.dirs`); at least one.
    pub logs: Vec<PathBuf>,
    /// The directory for the metadata log, if it is not the first of them (`metadata.log.dir`).
    pub metadata: Option<PathBuf>,
}

impl DataPaths {
    /// One directory for everything.
    #[must_use]
    pub fn one(path: impl Into<PathBuf>) -> Self {
        Self { logs: vec![path.into()], metadata: None }
    }

    /// That of the metadata log alone, as a node has it that holds no partitions.
    #[must_use]
    pub fn of_metadata(&self) -> Self {
        let metadata = self.metadata.iter().chain(&self.logs).take(1);
        Self { logs: metadata.cloned().collect(), metadata: None }
    }
}

/// One of the directories for partitions, by its place in `log.dirs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirIndex(usize);

impl DirIndex {
    /// Its place in `log.dirs`, from 0.
    #[must_use]
    pub const fn place(self) -> usize {
        self.0
    }
}

/// What is left after a directory has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// It had failed before.
    KnownBefore,
    /// Others, so that the rest can be served.
    Others,
    /// No directory, or none with the metadata log: the broker cannot go on.
    Nothing,
}

/// The data directories of a broker.
#[derive(Debug)]
pub struct DataDirs {
    dirs: Vec<Slot>,
    metadata: Metadata,
}

/// A directory for partitions, perhaps one that cannot be used.
#[derive(Debug)]
struct Slot {
    path: PathBuf,
    /// None if it could not be read at the start.
    dir: Option<DataDir>,
    failed: AtomicBool,
}

/// Where the metadata log is.
#[derive(Debug)]
enum Metadata {
    /// In one of the directories for partitions.
    With(DirIndex),
    /// In a directory of its own.
    Apart(Box<DataDir>),
}

/// Directories that nobody else can use now, before it is known which cluster they are to belong to.
#[derive(Debug)]
pub struct TakenDirs {
    logs: Vec<PathBuf>,
    /// All paths, that of the metadata log among them.
    all: Vec<PathBuf>,
    /// Index of the directory with the metadata log.
    metadata: usize,
    taken: BTreeMap<usize, Taken>,
}

impl TakenDirs {
    /// Takes all directories. One that the disk refuses is left out, with an error in the log of the broker, if it is not the one
    /// of the metadata log.
    ///
    /// # Errors
    /// As [`DataDirError`] says.
    pub fn take(disk: &Arc<dyn Disk>, paths: &DataPaths) -> Result<Self, DataDirError> {
        let mut all = paths.logs.clone();
        let mut seen = BTreeSet::new();
        if let Some(path) = all.iter().find(|path| !seen.insert(*path)) {
            return Err(DataDirError::Twice { path: path.clone() });
        }
        let wanted = paths.metadata.as_ref().or_else(|| paths.logs.first());
        let wanted = wanted.ok_or(DataDirError::NoneLeft)?;
        let metadata = all.iter().position(|path| path == wanted).unwrap_or_else(|| {
            all.push(wanted.clone());
            all.len() - 1
        });
        let mut taken = BTreeMap::new();
        for (path, at) in all.iter().zip(0..) {
            if let Some(dir) = usable(Taken::take(Arc::clone(disk), path), at == metadata)? {
                taken.insert(at, dir);
            }
        }
        check_places(&taken, metadata)?;
        Ok(Self { logs: paths.logs.clone(), all, metadata, taken })
    }

    /// The directory with the metadata log.
    ///
    /// # Panics
    /// Never: it is one of them.
    #[must_use]
    pub fn metadata_path(&self) -> &Path {
        self.all.get(self.metadata).expect("it is one of them")
    }

    /// The cluster that one of them belongs to; none if all are new.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        let mut known = self.taken.values().filter_map(|dir| dir.meta.as_ref());
        known.next().map(|meta| &*meta.cluster_id)
    }

    /// The id of the directory with the metadata log. A new one is given it here.
    pub fn directory_id(&mut self, rng: &Rng) -> Uuid {
        let Some(dir) = self.taken.get_mut(&self.metadata) else { return rng.uuid() };
        match &dir.meta {
            Some(meta) => meta.directory_id,
            None => *dir.new_id.get_or_insert_with(|| rng.uuid()),
        }
    }

    /// Takes them into use for a node and a cluster; none begins a new one, if they do not belong to one.
    ///
    /// # Errors
    /// As [`DataDirError`] says.
    pub fn finish(
        self,
        node_id: BrokerId,
        cluster_id: Option<&str>,
        rng: &Rng,
    ) -> Result<DataDirs, DataDirError> {
        let Self { logs, all, metadata, mut taken } = self;
        let mut cluster_id = cluster_of(&taken, cluster_id);
        let mut dirs = BTreeMap::new();
        // The one of the metadata first: if it is new, so is the cluster, which the others then belong to.
        let order = std::iter::once(metadata).chain((0..all.len()).filter(|at| *at != metadata));
        for at in order {
            let Some(dir) = taken.remove(&at) else { continue };
            let finished = dir.finish(node_id, cluster_id.as_deref(), rng);
            if let Some(dir) = usable(finished, at == metadata)? {
                cluster_id = Some(dir.meta().cluster_id.clone());
                dirs.insert(at, dir);
            }
        }
        let apart = (metadata >= logs.len()).then(|| dirs.remove(&metadata)).flatten();
        let metadata =
            apart.map_or(Metadata::With(DirIndex(metadata)), |dir| Metadata::Apart(Box::new(dir)));
        if dirs.is_empty() {
            return Err(DataDirError::NoneLeft);
        }
        let slot = |(path, at): (PathBuf, usize)| {
            let dir = dirs.remove(&at);
            Slot { path, failed: AtomicBool::new(dir.is_none()), dir }
        };
        Ok(DataDirs { dirs: logs.into_iter().zip(0..).map(slot).collect(), metadata })
    }
}

impl DataDirs {
    /// Takes all directories into use. One that the disk refuses is left out, with an error in the log of the broker, if it
    /// is not the one of the metadata log.
    ///
    /// # Errors
    /// As [`DataDirError`] says.
    pub fn open(
        disk: &Arc<dyn Disk>,
        paths: &DataPaths,
        node_id: BrokerId,
        cluster_id: Option<&str>,
        rng: &Rng,
    ) -> Result<Self, DataDirError> {
        TakenDirs::take(disk, paths)?.finish(node_id, cluster_id, rng)
    }

    /// One directory for everything, which is in use.
    #[must_use]
    pub fn one(dir: DataDir) -> Self {
        let slot =
            Slot { path: dir.path().to_owned(), dir: Some(dir), failed: AtomicBool::new(false) };
        Self { dirs: vec![slot], metadata: Metadata::With(DirIndex(0)) }
    }

    /// The directory with the metadata log.
    ///
    /// # Panics
    /// Never: a broker does not start without it.
    #[must_use]
    pub fn metadata(&self) -> &DataDir {
        match &self.metadata {
            Metadata::With(index) => {
                let dir = self.dirs.get(index.0).and_then(|slot| slot.dir.as_ref());
                dir.expect("it was opened, or there are no directories")
            }
            Metadata::Apart(dir) => dir,
        }
    }

    /// Whose they are, and the id of the one with the metadata log.
    #[must_use]
    pub fn meta(&self) -> &MetaProperties {
        self.metadata().meta()
    }

    /// All directories for partitions, in the order in which they are configured, with those that are not in use.
    pub fn all(&self) -> impl Iterator<Item = (DirIndex, &Path)> {
        self.dirs.iter().zip(0..).map(|(slot, at)| (DirIndex(at), &*slot.path))
    }

    /// The directories for partitions that are in use.
    pub fn live(&self) -> impl Iterator<Item = (DirIndex, &DataDir)> {
        self.all().filter_map(|(index, _)| Some((index, self.get(index)?)))
    }

    /// A directory for partitions, if it is in use.
    #[must_use]
    pub fn get(&self, index: DirIndex) -> Option<&DataDir> {
        let slot = self.dirs.get(index.0)?;
        slot.dir.as_ref().filter(|_| !slot.failed.load(Ordering::Acquire))
    }

    /// The path of a directory for partitions, in use or not.
    ///
    /// # Panics
    /// If the index is not of this broker.
    #[must_use]
    pub fn path(&self, index: DirIndex) -> &Path {
        &self.dirs.get(index.0).expect("indexes come from here").path
    }

    /// The directory for partitions at a path, in use or not.
    #[must_use]
    pub fn find(&self, path: &Path) -> Option<DirIndex> {
        self.all().find(|(_, other)| *other == path).map(|(index, _)| index)
    }

    /// The directory that a log is in, if it is in use.
    #[must_use]
    pub fn holding(&self, log: &Log) -> Option<&DataDir> {
        self.get(self.find(log.directory().parent()?)?)
    }

    /// The directory that has an id, if it is in use.
    #[must_use]
    pub fn with_id(&self, id: Uuid) -> Option<DirIndex> {
        let mut live = self.live();
        live.find(|(_, dir)| dir.meta().directory_id == id).map(|(index, _)| index)
    }

    /// Whether some directory for partitions is not in use: what is in it is not known.
    #[must_use]
    pub fn any_offline(&self) -> bool {
        self.dirs.iter().any(|slot| slot.failed.load(Ordering::Acquire))
    }

    /// Gives a directory up whose disk has failed.
    pub fn fail(&self, index: DirIndex) -> AfterFailure {
        let Some(slot) = self.dirs.get(index.0) else { return AfterFailure::KnownBefore };
        if slot.failed.swap(true, Ordering::AcqRel) {
            return AfterFailure::KnownBefore;
        }
        let has_metadata = matches!(self.metadata, Metadata::With(other) if other == index);
        if has_metadata || self.live().next().is_none() {
            AfterFailure::Nothing
        } else {
            AfterFailure::Others
        }
    }
}

/// Leaves a directory out that the disk refuses, if it can be spared; all other errors end the start.
fn usable<T>(
    opened: Result<T, DataDirError>,
    has_metadata: bool,
) -> Result<Option<T>, DataDirError> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error @ DataDirError::Io { .. }) if !has_metadata => {
            let error = WithCauses(&error);
            tracing::error!(%error, "a log directory is left out until the next start");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Sees to it that no directory is a copy of another, and that the metadata log is not elsewhere: a start that does not find
/// it would make a new cluster, which owns none of the partitions.
fn check_places(taken: &BTreeMap<usize, Taken>, metadata: usize) -> Result<(), DataDirError> {
    let mut ids: BTreeMap<Uuid, &Path> = BTreeMap::new();
    for dir in taken.values() {
        let Some(meta) = &dir.meta else { continue };
        if let Some(first) = ids.insert(meta.directory_id, dir.path()) {
            let (first, second) = (first.to_owned(), dir.path().to_owned());
            return Err(DataDirError::SameId { first, second });
        }
    }
    let Some(wanted) = taken.get(&metadata) else { return Ok(()) };
    if wanted.has_metadata()? {
        return Ok(());
    }
    for dir in taken.values() {
        if usable(dir.has_metadata(), false)? == Some(true) {
            let (found, wanted) = (dir.path().to_owned(), wanted.path().to_owned());
            return Err(DataDirError::MetadataElsewhere { found, wanted });
        }
    }
    Ok(())
}

/// The cluster that all directories have to belong to: the configured one, or that of one that was in use. None begins a new
/// one.
fn cluster_of(taken: &BTreeMap<usize, Taken>, configured: Option<&str>) -> Option<String> {
    let known = || taken.values().find_map(|dir| dir.meta.as_ref());
    configured.map(str::to_owned).or_else(|| known().map(|meta| meta.cluster_id.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Fault, FaultyDisk, MemoryDisk};

    fn paths(logs: &[&str], metadata: Option<&str>) -> DataPaths {
        let logs = logs.iter().map(PathBuf::from).collect();
        DataPaths { logs, metadata: metadata.map(PathBuf::from) }
    }

    fn open(disk: &Arc<dyn Disk>, paths: &DataPaths) -> Result<DataDirs, DataDirError> {
        DataDirs::open(disk, paths, BrokerId(1), None, &Rng::from_system())
    }

    fn memory() -> Arc<dyn Disk> {
        Arc::new(MemoryDisk::new())
    }

    #[test]
    fn directories_have_an_id_each_and_a_cluster_together() {
        let disk = memory();
        let two = paths(&["a", "b"], None);
        let ids = |dirs: &DataDirs| -> Vec<Uuid> {
            dirs.live().map(|(_, dir)| dir.meta().directory_id).collect()
        };
        let dirs = open(&disk, &two).unwrap();
        let first = ids(&dirs);
        assert_ne!(first[0], first[1]);
        assert!(matches!(open(&disk, &paths(&["b"], None)), Err(DataDirError::InUse { .. })));
        drop(dirs);
        // One more, which joins the cluster.
        let three = open(&disk, &paths(&["a", "b", "c"], None)).unwrap();
        assert_eq!(ids(&three)[..2], first);
        let clusters: Vec<_> = three.live().map(|(_, dir)| dir.meta().cluster_id.clone()).collect();
        assert!(clusters.iter().all(|id| *id == clusters[0]), "{clusters:?}");
    }

    #[test]
    fn directories_that_contradict_each_other_are_refused() {
        let disk = memory();
        let twice = open(&disk, &paths(&["a", "b", "a"], None)).unwrap_err();
        assert_eq!(twice.to_string(), "a is named twice in log.dirs");
        drop(open(&disk, &paths(&["a"], None)).unwrap());
        drop(open(&disk, &paths(&["b"], None)).unwrap());
        let other = open(&disk, &paths(&["a", "b"], None)).unwrap_err();
        assert!(matches!(other, DataDirError::OtherCluster { .. }), "{other}");
        let meta = disk.read_small(Path::new("a/meta.properties")).unwrap().unwrap();
        disk.replace_small(Path::new("b/meta.properties"), &meta).unwrap();
        let copy = open(&disk, &paths(&["a", "b"], None)).unwrap_err();
        assert!(matches!(copy, DataDirError::SameId { .. }), "{copy}");
    }

    #[test]
    fn a_metadata_log_in_another_directory_is_not_passed_over() {
        let disk = memory();
        drop(open(&disk, &paths(&["a", "b"], None)).unwrap());
        disk.replace_small(Path::new("a/ottla-raft-state"), b"").unwrap();
        let moved = open(&disk, &paths(&["b", "a"], None)).unwrap_err();
        assert!(matches!(moved, DataDirError::MetadataElsewhere { .. }), "{moved}");
        let named = open(&disk, &paths(&["b", "a"], Some("a"))).unwrap();
        assert_eq!(named.metadata().path(), Path::new("a"));
        drop(named);
        // Apart from all partitions.
        let apart = open(&disk, &paths(&["b"], Some("a"))).unwrap();
        let live: Vec<_> = apart.live().map(|(_, dir)| dir.path().to_owned()).collect();
        assert_eq!((apart.metadata().path(), live), (Path::new("a"), vec![PathBuf::from("b")]));
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_left_out_but_not_that_of_the_metadata() {
        let memory = memory();
        drop(open(&memory, &paths(&["a", "b"], None)).unwrap());
        let faulty = FaultyDisk::new(memory);
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        faulty.inject(Fault::Read("b/".into()));
        let dirs = open(&disk, &paths(&["a", "b"], None)).unwrap();
        assert_eq!(dirs.live().map(|(_, dir)| dir.path()).collect::<Vec<_>>(), [Path::new("a")]);
        assert!(dirs.any_offline() && dirs.find(Path::new("b")).is_some());
        drop(dirs);
        let refused = open(&disk, &paths(&["b", "a"], None)).unwrap_err();
        assert!(matches!(refused, DataDirError::Io { .. }), "{refused}");
        let none = open(&disk, &paths(&["b"], Some("a"))).unwrap_err();
        assert!(matches!(none, DataDirError::NoneLeft), "{none}");
    }

    #[test]
    fn the_last_directory_and_that_of_the_metadata_cannot_be_spared() {
        let disk = memory();
        let at = |index| DirIndex(index);
        let dirs = open(&disk, &paths(&["a", "b", "c"], None)).unwrap();
        assert_eq!(dirs.fail(at(1)), AfterFailure::Others);
        assert_eq!(dirs.fail(at(1)), AfterFailure::KnownBefore);
        assert!(dirs.get(at(1)).is_none() && dirs.get(at(2)).is_some());
        assert_eq!(dirs.fail(at(0)), AfterFailure::Nothing, "the metadata is there");
        drop(dirs);
        let dirs = open(&disk, &paths(&["b", "c"], Some("a"))).unwrap();
        assert_eq!(dirs.fail(at(0)), AfterFailure::Others);
        assert_eq!(dirs.fail(at(1)), AfterFailure::Nothing, "the last one");
    }
}
