//! A data directory: whose it is, how it was left, and which partitions it holds.
//!
//! ```text
//! .lock                             held while a broker uses the directory
//! meta.properties                   cluster id, node id, directory id
//! .kafka_cleanshutdown              there after a clean stop only
//! recovery-point-offset-checkpoint  below which offset each log is durable       ┐
//! log-start-offset-checkpoint       where logs begin whose first segment is older ├ kept_offsets.rs
//! replication-offset-checkpoint     high watermarks                               │
//! cleaner-offset-checkpoint         up to where logs were compacted               ┘
//! <topic>-<partition>/              the logs
//! ```
//! `docs/FORMAT.md` says what a start does with each when it is missing or damaged.
//!
//! Source: `MetaProperties`, `CleanShutdownFileHandler`, `LogManager` of Apache Kafka 4.3.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::checkpoint::read_partition_metadata;
use super::files::{
    DirKind, EPOCHS_FILE, Kind, MOVED_TO_PREFIX, PARTITION_METADATA_FILE, deleted_dir, future_dir,
    moved_to_file, partition_dir,
};
use super::kept_offsets::{KeptOffsets, PartitionName};
use crate::env::{DirLock, Disk, DiskEntry, OpenMode, Rng};
use crate::model::{BrokerId, Offset, PartitionId, TopicId, TopicName, UuidText};

pub(super) const META_FILE: &str = "meta.properties";
/// What the names of the metadata log's files begin with: they are not there before the directory has an identity.
const METADATA_PREFIX: &str = "ottla-raft-";
/// Where Apache Kafka keeps its metadata log.
pub const KRAFT_DIR: &str = "__cluster_metadata-0";
pub(super) const CLEAN_FILE: &str = ".kafka_cleanshutdown";

/// A data directory in use.
#[derive(Debug)]
pub struct DataDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    meta: MetaProperties,
    /// Epoch of the broker that stopped cleanly, if the last one did.
    clean_epoch: Option<i64>,
    kept_offsets: KeptOffsets,
    _lock: Box<dyn DirLock>,
}

/// Whose directory it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster it belongs to.
    pub cluster_id: String,
    /// The node it belongs to.
    pub node_id: BrokerId,
    /// Its own id, which no other directory has.
    pub directory_id: Uuid,
}

/// Why a directory was not renamed.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    /// It has its old name.
    #[error("cannot rename the copy")]
    NotDone(#[source] io::Error),
    /// It has its new name now, and after a power cut either.
    #[error("cannot sync the new name of the copy")]
    Unknown(#[source] io::Error),
}

/// Why a data directory cannot be used. Each is one line for a person.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The disk refused.
    #[error("cannot use {path}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The disk's words.
        source: io::Error,
    },
    /// Another broker has it.
    #[error("{path} is in use by another broker: stop it, or choose another directory with --data")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It belongs to another cluster.
    #[error(
        "{path} belongs to cluster {found}, not to {wanted}: choose another directory with --data"
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster in its `meta.properties`.
        found: String,
        /// The configured cluster.
        wanted: String,
    },
    /// It belongs to another node.
    #[error(
        "{path} belongs to node {found}, but node.id is {wanted}: choose another directory with --data"
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// The node in its `meta.properties`.
        found: BrokerId,
        /// The configured node.
        wanted: BrokerId,
    },
    /// It is named twice.
    #[error("{path} is named twice in log.dirs")]
    Twice {
        /// The directory.
        path: PathBuf,
    },
    /// Two directories say that they are the same.
    #[error(
        "{first} and {second} have the same directory.id: one is a copy of the other, and cannot be used beside it"
    )]
    SameId {
        /// A directory.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },
    /// The metadata log is in another of the directories than where it should be.
    #[error(
        "the metadata log is in {found}, but {wanted} would be used: set metadata.log.dir, or name that directory first in log.dirs"
    )]
    MetadataElsewhere {
        /// The directory that has it.
        found: PathBuf,
        /// The directory that should.
        wanted: PathBuf,
    },
    /// Two directories hold the same partition (`LogManager.loadLog` of Apache Kafka refuses as well).
    #[error(
        "{first} and {second} hold the same partition: remove one of them, that of the directory that failed if one did"
    )]
    PartitionTwice {
        /// The partition's directory in one data directory.
        first: PathBuf,
        /// That in another one.
        second: PathBuf,
    },
    /// None of the directories for partitions can be used; each was named in an error.
    #[error("none of the directories in log.dirs can be used")]
    NoneLeft,
    /// It was used, but does not say any more by whom.
    #[error(
        "{path} is missing, but {found} is there: put it back (docs/FORMAT.md says where its ids are found)"
    )]
    MetaMissing {
        /// The file `meta.properties`.
        path: PathBuf,
        /// Name of a file that only a directory in use has.
        found: String,
    },
    /// A file in it says nothing sensible.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl MetaProperties {
    /// Whose the data directory at `path` is; none if it was never used.
    ///
    /// # Errors
    /// [`DataDirError`] if the file cannot be read, or says nothing sensible.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, DataDirError> {
        read_meta(disk, path)
    }
}

impl DataDirError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// A directory that nobody else can use now, before it is known whose it is to be.
#[derive(Debug)]
pub(super) struct Taken {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Whose it is; none if it was never used.
    pub(super) meta: Option<MetaProperties>,
    /// The id that it gets if it was never used; none leaves it to chance.
    pub(super) new_id: Option<Uuid>,
    lock: Box<dyn DirLock>,
}

impl Taken {
    /// Takes the directory; creates it if it is not there.
    ///
    /// # Errors
    /// If that cannot be done, another broker has it, or its `meta.properties` says nothing sensible.
    pub(super) fn take(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, DataDirError> {
        disk.create_dir_all_durably(path).map_err(DataDirError::io(path))?;
        let lock = disk.lock(path).map_err(DataDirError::io(path))?;
        let lock = lock.ok_or_else(|| DataDirError::InUse { path: path.to_owned() })?;
        let meta = read_meta(&*disk, path)?;
        Ok(Self { disk, path: path.to_owned(), meta, new_id: None, lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a metadata log in it, Ottla's or Apache Kafka's.
    pub(super) fn has_metadata(&self) -> Result<bool, DataDirError> {
        let entries = self.disk.list(&self.path).map_err(DataDirError::io(&self.path))?;
        let is_metadata = |name: &str| name == KRAFT_DIR || name.starts_with(METADATA_PREFIX);
        Ok(entries.iter().any(|entry| is_metadata(&entry.name)))
    }

    /// Takes the directory into use for a node and a cluster, a new one if none is named. The mark of a clean stop is removed.
    ///
    /// # Errors
    /// If it belongs to others, or its files cannot be read or written.
    pub(super) fn finish(
        self,
        node_id: BrokerId,
        cluster_id: Option<&str>,
        rng: &Rng,
    ) -> Result<DataDir, DataDirError> {
        let Self { disk, path, meta, new_id, lock } = self;
        let meta = match meta {
            Some(meta) => check_meta(&path, meta, node_id, cluster_id)?,
            None => write_meta(&*disk, &path, node_id, (cluster_id, new_id), rng)?,
        };
        let clean_epoch = take_clean_mark(&*disk, &path)?;
        let kept_offsets = KeptOffsets::read(Arc::clone(&disk), &path)?;
        Ok(DataDir { disk, path, meta, clean_epoch, kept_offsets, _lock: lock })
    }
}

/// The partitions in a data directory.
#[derive(Debug, Default)]
pub struct FoundPartitions {
    /// Those that are served from here.
    pub current: Vec<PartitionName>,
    /// Copies of partitions that are being moved here, each with the name of its directory.
    pub futures: Vec<(PartitionName, String)>,
}

impl DataDir {
    /// Takes a data directory into use; creates it if it is not there. The mark of a clean stop is removed.
    ///
    /// # Errors
    /// As [`DataDirError`] says.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        node_id: BrokerId,
        cluster_id: Option<&str>,
        rng: &Rng,
    ) -> Result<Self, DataDirError> {
        Taken::take(disk, path)?.finish(node_id, cluster_id, rng)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    #[must_use]
    pub const fn meta(&self) -> &MetaProperties {
        &self.meta
    }

    /// Epoch of the broker that stopped cleanly, if the last one did.
    #[must_use]
    pub const fn clean_epoch(&self) -> Option<i64> {
        self.clean_epoch
    }

    /// The offset checkpoints of its logs.
    #[must_use]
    pub const fn kept_offsets(&self) -> &KeptOffsets {
        &self.kept_offsets
    }

    /// The partitions that have a directory here. What is left of deleted ones is removed on the way.
    ///
    /// # Errors
    /// As the disk says.
    pub fn partitions(&self) -> Result<FoundPartitions, DataDirError> {
        let mut found = FoundPartitions::default();
        for entry in self.disk.list(&self.path).map_err(DataDirError::io(&self.path))? {
            if !entry.is_dir {
                continue;
            }
            match DirKind::parse(&entry.name) {
                // What Apache Kafka knew of its topics is read by the controller, and kept for the way back.
                DirKind::Partition(..) if entry.name == KRAFT_DIR => {}
                DirKind::Partition(topic, partition) => found.current.push((topic, partition)),
                DirKind::Future(topic, partition) => {
                    found.futures.push(((topic, partition), entry.name));
                }
                DirKind::Deleted => {
                    let path = self.path.join(&entry.name);
                    self.disk.remove_dir_all(&path).map_err(DataDirError::io(&path))?;
                }
                DirKind::Other => {}
            }
        }
        Ok(found)
    }

    /// The directory of a partition.
    #[must_use]
    pub fn partition_path(&self, (topic, partition): &PartitionName) -> PathBuf {
        self.path.join(partition_dir(topic, *partition))
    }

    /// Whether the name of a copy of a partition is short enough for a file system.
    #[must_use]
    pub fn can_hold_copy((topic, partition): &PartitionName) -> bool {
        future_dir(topic, *partition, Uuid::nil()).is_some()
    }

    /// A new directory for a copy of a partition; none if its name would be too long.
    #[must_use]
    pub fn copy_path(&self, (topic, partition): &PartitionName, rng: &Rng) -> Option<PathBuf> {
        Some(self.path.join(future_dir(topic, *partition, rng.uuid())?))
    }

    /// Whether a directory in here, the one of a partition or a copy, can be this topic's: nothing in it names another one.
    /// What cannot be read is judged when the log is opened.
    #[must_use]
    pub fn may_belong(&self, directory: &Path, topic_id: TopicId) -> bool {
        let bytes = self.disk.read_small(&directory.join(PARTITION_METADATA_FILE)).ok().flatten();
        let found = bytes.and_then(|bytes| read_partition_metadata(&bytes).ok());
        found.is_none_or(|found| found == topic_id)
    }

    /// The data directory whose copy of a partition is to take the place of the one here, if a start finds both
    /// ([`note_move`](Self::note_move)).
    ///
    /// # Errors
    /// As the disk says.
    pub fn moved_to(&self, partition: &PartitionName) -> Result<Option<Uuid>, DataDirError> {
        let path = self.partition_path(partition);
        let entries = self.disk.list(&path).map_err(DataDirError::io(&path))?;
        let id = |name: &str| name.strip_prefix(MOVED_TO_PREFIX)?.parse().ok();
        Ok(entries.iter().find_map(|entry| id(&entry.name)))
    }

    /// Whether the log of a partition has never had a record, as one whose creation has failed.
    ///
    /// # Errors
    /// As the disk says.
    pub fn is_blank(&self, partition: &PartitionName) -> Result<bool, DataDirError> {
        let path = self.partition_path(partition);
        let entries = self.disk.list(&path).map_err(DataDirError::io(&path))?;
        for DiskEntry { name, .. } in &entries {
            let is_blank = match Kind::parse(name) {
                Some((Kind::Records, Offset::ZERO)) => {
                    let file = self.disk.open(&path.join(name), OpenMode::Read);
                    file.and_then(|file| file.len()).map_err(DataDirError::io(&path))? == 0
                }
                Some((_, base)) => base == Offset::ZERO,
                None => {
                    [EPOCHS_FILE, PARTITION_METADATA_FILE].contains(&&**name)
                        || name.ends_with(".tmp")
                }
            };
            if !is_blank {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Notes durably that a whole copy of a partition is about to be given the partition's name in another data directory: from
    /// then on that one counts. Nothing may be appended here while the note stands. It needs no room for bytes, which there may
    /// be none of.
    ///
    /// # Errors
    /// As the disk says: the note may be there then.
    pub fn note_move(&self, partition: &PartitionName, to: Uuid) -> io::Result<()> {
        let path = self.partition_path(partition);
        self.disk.open(&path.join(moved_to_file(to)), OpenMode::Create)?;
        self.disk.sync_dir(&path)
    }

    /// Takes the note of [`note_move`](Self::note_move) back, durably, because the copy was not given the name.
    ///
    /// # Errors
    /// As the disk says: the note may be there still.
    pub fn forget_move(&self, partition: &PartitionName, to: Uuid) -> io::Result<()> {
        let path = self.partition_path(partition);
        self.disk.remove_file(&path.join(moved_to_file(to)))?;
        self.disk.sync_dir(&path)
    }

    /// Gives the copy in a directory the name of its partition. What is in the copy is durable, and no log is open on it.
    ///
    /// # Errors
    /// [`RenameError`]: whether it has the name then.
    pub fn promote(&self, from: &Path, partition: &PartitionName) -> Result<(), RenameError> {
        let renamed = self.disk.rename(from, &self.partition_path(partition));
        renamed.map_err(RenameError::NotDone)?;
        self.disk.sync_dir(&self.path).map_err(RenameError::Unknown)
    }

    /// Renames the directory of a deleted partition, so that one of the same name can be made at once; gives the new
    /// name, which no other has: a partition may come back and be deleted again before the files are removed. `None` if there
    /// is no such directory.
    ///
    /// # Errors
    /// As the disk says.
    pub fn mark_deleted(
        &self,
        topic: &TopicName,
        partition: PartitionId,
        rng: &Rng,
    ) -> Result<Option<PathBuf>, DataDirError> {
        let from = self.path.join(partition_dir(topic, partition));
        let to = self.path.join(deleted_dir(topic, partition, rng.uuid()));
        self.set_aside(&from, to)
    }

    /// Renames a directory in here that is not needed any more, a copy or one that a copy has replaced, for removal; gives the
    /// new name. `None` if it is not there.
    ///
    /// # Errors
    /// As the disk says.
    pub fn mark_obsolete(
        &self,
        from: &Path,
        (topic, partition): &PartitionName,
        rng: &Rng,
    ) -> Result<Option<PathBuf>, DataDirError> {
        let to = self.path.join(deleted_dir(topic, *partition, rng.uuid()));
        self.set_aside(from, to)
    }

    /// Renames a directory in here, of a partition or a copy, that no topic of the cluster owns; gives the new name.
    ///
    /// # Errors
    /// As the disk says.
    pub fn mark_stray(
        &self,
        from: &Path,
        (topic, partition): &PartitionName,
        rng: &Rng,
    ) -> Result<Option<PathBuf>, DataDirError> {
        let name = partition_dir(topic, *partition);
        let to = self.path.join(format!("{name}.{}-stray", rng.uuid().simple()));
        self.set_aside(from, to)
    }

    fn set_aside(&self, from: &Path, to: PathBuf) -> Result<Option<PathBuf>, DataDirError> {
        match self.disk.rename(from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(DataDirError::Io { path: from.to_owned(), source });
            }
        }
        self.disk.sync_dir(&self.path).map_err(DataDirError::io(&self.path))?;
        Ok(Some(to))
    }

    /// Marks that everything is durable and no log needs recovery. The last thing a broker does.
    ///
    /// # Errors
    /// As the disk says.
    pub fn mark_clean(&self, broker_epoch: i64) -> io::Result<()> {
        let text = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
        self.disk.replace_small(&self.path.join(CLEAN_FILE), text.as_bytes())
    }
}

pub(super) fn read_meta(
    disk: &dyn Disk,
    directory: &Path,
) -> Result<Option<MetaProperties>, DataDirError> {
    let path = directory.join(META_FILE);
    let Some(bytes) = disk.read_small(&path).map_err(DataDirError::io(&path))? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    let value = |key: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='))
    };
    let damaged =
        |problem: &str| DataDirError::Damaged { path: path.clone(), problem: problem.into() };
    let cluster_id = value("cluster.id").ok_or_else(|| damaged("no cluster.id"))?.trim().to_owned();
    let node_id = value("node.id").and_then(|id| id.trim().parse().ok());
    let node_id = BrokerId(node_id.ok_or_else(|| damaged("no node.id"))?);
    let directory_id = value("directory.id").and_then(|id| UuidText::parse(id.trim()));
    let directory_id = directory_id.ok_or_else(|| damaged("no directory.id"))?.0;
    Ok(Some(MetaProperties { cluster_id, node_id, directory_id }))
}

fn check_meta(
    path: &Path,
    meta: MetaProperties,
    node_id: BrokerId,
    cluster_id: Option<&str>,
) -> Result<MetaProperties, DataDirError> {
    if let Some(wanted) = cluster_id
        && wanted != meta.cluster_id
    {
        return Err(DataDirError::OtherCluster {
            path: path.to_owned(),
            found: meta.cluster_id,
            wanted: wanted.to_owned(),
        });
    }
    if meta.node_id != node_id {
        return Err(DataDirError::OtherNode {
            path: path.to_owned(),
            found: meta.node_id,
            wanted: node_id,
        });
    }
    Ok(meta)
}

fn write_meta(
    disk: &dyn Disk,
    directory: &Path,
    node_id: BrokerId,
    (cluster_id, new_id): (Option<&str>, Option<Uuid>),
    rng: &Rng,
) -> Result<MetaProperties, DataDirError> {
    let path = directory.join(META_FILE);
    // To draw new ids for a directory that has some would make another cluster of it.
    let entries = disk.list(directory).map_err(DataDirError::io(directory))?;
    if let Some(used) = entries.into_iter().find(|entry| entry.name.starts_with(METADATA_PREFIX)) {
        return Err(DataDirError::MetaMissing { path, found: used.name });
    }
    let cluster_id = cluster_id.map_or_else(|| UuidText(rng.uuid()).to_string(), str::to_owned);
    let directory_id = new_id.unwrap_or_else(|| rng.uuid());
    let meta = MetaProperties { cluster_id, node_id, directory_id };
    let text = format!(
        "version=1\nnode.id={}\ndirectory.id={}\ncluster.id={}\n",
        meta.node_id,
        UuidText(meta.directory_id),
        meta.cluster_id
    );
    disk.replace_small(&path, text.as_bytes()).map_err(DataDirError::io(&path))?;
    Ok(meta)
}

/// Reads the mark of a clean stop and removes it: from now on a stop is unclean until it is marked again.
fn take_clean_mark(disk: &dyn Disk, directory: &Path) -> Result<Option<i64>, DataDirError> {
    let path = directory.join(CLEAN_FILE);
    let Some(bytes) = disk.read_small(&path).map_err(DataDirError::io(&path))? else {
        return Ok(None);
    };
    disk.remove_file(&path).map_err(DataDirError::io(&path))?;
    disk.sync_dir(directory).map_err(DataDirError::io(directory))?;
    Ok(clean_epoch_of(&bytes))
}

/// The epoch in the mark of a clean stop. A mark that says nothing is as none.
pub(super) fn clean_epoch_of(mark: &[u8]) -> Option<i64> {
    let mark: serde_json::Value = serde_json::from_slice(mark).ok()?;
    mark.get("brokerEpoch")?.as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::MemoryDisk;

    fn open(disk: &MemoryDisk, node: i32, cluster: Option<&str>) -> Result<DataDir, DataDirError> {
        let disk = Arc::new(disk.clone());
        DataDir::open(disk, Path::new("data"), BrokerId(node), cluster, &Rng::from_seed(1))
    }

    #[test]
    fn a_directory_keeps_its_identity() {
        let disk = MemoryDisk::new();
        let meta = open(&disk, 1, None).unwrap().meta().clone();
        assert_eq!(meta.cluster_id.len(), 22);
        assert_eq!(open(&disk, 1, Some(&meta.cluster_id)).unwrap().meta(), &meta);
        assert!(matches!(open(&disk, 2, None), Err(DataDirError::OtherNode { .. })));
        assert!(matches!(open(&disk, 1, Some("x")), Err(DataDirError::OtherCluster { .. })));
    }

    #[test]
    fn a_directory_has_one_user() {
        let disk = MemoryDisk::new();
        let first = open(&disk, 1, Some("c")).unwrap();
        assert!(matches!(open(&disk, 1, None), Err(DataDirError::InUse { .. })));
        drop(first);
        open(&disk, 1, None).unwrap();
    }

    #[test]
    fn the_mark_of_a_clean_stop_counts_once() {
        let disk = MemoryDisk::new();
        let directory = open(&disk, 1, None).unwrap();
        assert_eq!(directory.clean_epoch(), None);
        directory.mark_clean(17).unwrap();
        drop(directory);
        let bytes = disk.read_small(Path::new("data/.kafka_cleanshutdown")).unwrap().unwrap();
        assert_eq!(bytes, br#"{"version":0,"brokerEpoch":17}"#);
        assert_eq!(open(&disk, 1, None).unwrap().clean_epoch(), Some(17));
        assert_eq!(open(&disk, 1, None).unwrap().clean_epoch(), None);
    }

    #[test]
    fn r22_a_directory_of_another_topic_is_known() {
        let disk = MemoryDisk::new();
        let directory = open(&disk, 1, None).unwrap();
        let [ours, other] = [1, 2].map(|id| TopicId(Uuid::from_u128(id)));
        let may_belong = |id| directory.may_belong(Path::new("data/t-0"), id);
        assert!(may_belong(ours), "there is none");
        disk.create_dir_all(Path::new("data/t-0")).unwrap();
        assert!(may_belong(ours), "it says nothing");
        let text = format!("version: 0\ntopic_id: {ours}");
        disk.replace_small(Path::new("data/t-0/partition.metadata"), text.as_bytes()).unwrap();
        assert!(may_belong(ours) && !may_belong(other));
    }

    #[test]
    fn partitions_are_found_and_remains_removed() {
        let disk = MemoryDisk::new();
        let directory = open(&disk, 1, None).unwrap();
        let topic = TopicName::new("a-b").unwrap();
        let future = format!("a-b-3.{}-future", Uuid::nil().simple());
        let others = ["__cluster_metadata-0", "a-b-0", "a-b-1", "a-b-2.00-delete", "other"];
        for name in others.into_iter().chain([&*future]) {
            disk.create_dir_all(&directory.path().join(name)).unwrap();
        }
        let found = [0, 1].map(|partition| (topic.clone(), PartitionId(partition)));
        let first = directory.partitions().unwrap();
        assert_eq!(first.current, found);
        assert_eq!(first.futures, [((topic.clone(), PartitionId(3)), future)]);
        let rng = Rng::from_seed(1);
        let deleted = directory.mark_deleted(&topic, PartitionId(0), &rng).unwrap();
        assert!(deleted.unwrap().to_str().unwrap().ends_with("-delete"));
        assert_eq!(directory.partitions().unwrap().current, found[1..]);
        assert!(!disk.exists(Path::new("data/a-b-2.00-delete")).unwrap());
        assert_eq!(directory.mark_deleted(&topic, PartitionId(0), &rng).unwrap(), None);
    }

    #[test]
    fn a_partition_that_came_back_is_deleted_before_the_first_one_is_gone() {
        let disk = MemoryDisk::new();
        let (directory, rng) = (open(&disk, 1, None).unwrap(), Rng::from_seed(1));
        let topic = TopicName::new("t").unwrap();
        let mut renamed = std::collections::BTreeSet::new();
        for _ in 0..2 {
            disk.create_dir_all(Path::new("data/t-0")).unwrap();
            renamed.extend(directory.mark_deleted(&topic, PartitionId(0), &rng).unwrap());
        }
        assert_eq!(renamed.len(), 2);
    }

    #[test]
    fn where_a_partition_is_about_to_be_is_noted_without_a_byte() {
        let disk = MemoryDisk::new();
        let directory = open(&disk, 1, None).unwrap();
        disk.create_dir_all(Path::new("data/t-0")).unwrap();
        let (name, to) = ((TopicName::new("t").unwrap(), PartitionId(0)), Uuid::from_u128(0xab));
        assert_eq!(directory.moved_to(&name).unwrap(), None);
        directory.note_move(&name, to).unwrap();
        assert_eq!(directory.moved_to(&name).unwrap(), Some(to));
        directory.forget_move(&name, to).unwrap();
        assert_eq!(directory.moved_to(&name).unwrap(), None);
    }
}
