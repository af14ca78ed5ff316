//! The directories of this broker's partitions: where new ones go, what is in each, and what happens when one fails.
//!
//! Source: `LogManager.nextLogDirs`, `LogManager.handleLogDirFailure` and `ReplicaManager.describeLogDirs` of Apache Kafka 4.3.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;

use super::manager::ReplicaManager;
use crate::env::DiskSpace;
use crate::log::{AfterFailure, DataDir, DirIndex, Log, PartitionName};
use crate::model::{PartitionId, TopicName};

/// At most so many replicas that are not there have a preferred directory; what is said of others is forgotten.
const PREFERRED_MAX: usize = 100_000;

/// A log directory, as DescribeLogDirs shows it.
#[derive(Clone, Debug)]
pub struct LogDirInfo {
    /// Its path.
    pub path: PathBuf,
    /// What is there; none if it is not in use, or cannot be looked at.
    pub content: Option<LogDirContent>,
}

/// What is in a log directory.
#[derive(Clone, Debug)]
pub struct LogDirContent {
    /// Room on its volume.
    pub space: DiskSpace,
    /// Whether it takes no new partitions.
    pub is_cordoned: bool,
    /// The logs in it.
    pub logs: Vec<ReplicaLogInfo>,
}

/// A log, as DescribeLogDirs shows it.
#[derive(Clone, Debug)]
pub struct ReplicaLogInfo {
    /// The topic's name.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionId,
    /// Bytes of its segments.
    pub size_bytes: u64,
    /// Whether it is a copy on its way, which is to take the place of the partition in another directory.
    pub is_future: bool,
    /// How many offsets it lies behind: a copy behind the partition. -1 if that is offline.
    pub lag: i64,
}

impl ReplicaManager {
    /// Whether a directory takes no new partitions (`cordoned.log.dirs`).
    pub(super) fn is_cordoned(&self, index: DirIndex) -> bool {
        let settings = self.settings.read();
        let broker = settings.broker();
        let configured = broker.log_dirs.get(index.place());
        configured.is_some_and(|dir| broker.cordoned_log_dirs.contains(dir))
    }

    /// The directory in which a partition is to be made: the one that AlterReplicaLogDirs has named for it, or of those that
    /// are not cordoned the one with the fewest. If all are cordoned, the partition was given to this broker all the same: the
    /// first. None if none is left.
    pub(super) fn place_for(&self, name: &PartitionName) -> Option<(DirIndex, &DataDir)> {
        let preferred = self.preferred.lock().remove(name);
        let preferred = preferred.and_then(|index| Some((index, self.dirs.get(index)?)));
        preferred.or_else(|| {
            let mut counts: HashMap<DirIndex, usize> = HashMap::new();
            for partition in self.all() {
                let copy = partition.moving().map(|moving| moving.to);
                for dir in partition.dir().into_iter().chain(copy) {
                    *counts.entry(dir).or_default() += 1;
                }
            }
            let count = |index: &DirIndex| counts.get(index).copied().unwrap_or_default();
            let open = self.dirs.live().filter(|(index, _)| !self.is_cordoned(*index));
            let fewest = open.min_by_key(|(index, _)| (count(index), *index));
            fewest.or_else(|| self.dirs.live().next())
        })
    }

    /// Notes where a partition that is not there yet is to be made.
    pub(super) fn prefer(&self, name: PartitionName, dir: DirIndex) {
        let mut preferred = self.preferred.lock();
        if preferred.len() < PREFERRED_MAX || preferred.contains_key(&name) {
            preferred.insert(name, dir);
        }
    }

    /// The disk has failed under a log: its directory is given up.
    pub(super) fn report_failure(&self, log: &Log, error: &std::io::Error) {
        let dir = log.directory().parent().and_then(|path| self.dirs.find(path));
        if let Some(dir) = dir {
            self.fail_dir(dir, &format_args!("{}: {error}", log.name()));
        }
    }

    /// Gives a directory up whose disk has failed: its partitions are offline until the next start. If it is the last one, or has
    /// the metadata log, the broker cannot go on. Nobody may hold the place of a partition.
    pub(super) fn fail_dir(&self, index: DirIndex, error: &dyn Display) -> AfterFailure {
        let after = self.dirs.fail(index);
        if after == AfterFailure::KnownBefore {
            return after;
        }
        let path = self.dirs.path(index).display();
        let reason = format!("the disk of {path} has failed");
        let all = self.all();
        let offline = all.iter().filter(|partition| partition.dir_failed(index, &reason)).count();
        self.preferred.lock().retain(|_, dir| *dir != index);
        self.failures.notify_one();
        match after {
            AfterFailure::Others | AfterFailure::KnownBefore => tracing::error!(
                %path, %error, offline,
                "the disk of a log directory has failed: it is not used until the next start, and its partitions are offline"
            ),
            AfterFailure::Nothing => {
                tracing::error!(%path, %error, "the disk has failed: no log directory is left, or none with the metadata log");
                self.env.tasks.fail();
            }
        }
        after
    }

    /// All log directories with what is in them. Blocks for the disk.
    #[must_use]
    pub fn describe_log_dirs(&self) -> Vec<LogDirInfo> {
        let describe = |(index, path): (DirIndex, &std::path::Path)| {
            let space = self.dirs.get(index).map(|_| self.env.disk.space(path));
            let content = match space {
                Some(Ok(space)) => Some(LogDirContent {
                    space,
                    is_cordoned: self.is_cordoned(index),
                    logs: self.logs_in(index),
                }),
                Some(Err(error)) => {
                    tracing::warn!(path = %path.display(), %error, "cannot look at a log directory");
                    None
                }
                None => None,
            };
            LogDirInfo { path: path.to_owned(), content }
        };
        self.dirs.all().map(describe).collect()
    }

    fn logs_in(&self, index: DirIndex) -> Vec<ReplicaLogInfo> {
        let mut logs = Vec::new();
        for partition in self.all() {
            let (dir, log) = partition.dir_and_log();
            let (topic, partition_id) = partition.name();
            let info = |log: &Log, is_future, lag| ReplicaLogInfo {
                topic: topic.clone(),
                partition: partition_id,
                size_bytes: log.size_bytes(),
                is_future,
                lag,
            };
            match (dir, &log) {
                // How far the replica is behind the high watermark: this broker's never is.
                (Some(dir), Some(log)) if dir == index => logs.push(info(log, false, 0)),
                _ => {
                    let Some(moving) = partition.moving().filter(|moving| moving.to == index)
                    else {
                        continue;
                    };
                    let end = moving.copy.ends().end;
                    let lag = log.map_or(-1, |log| log.ends().end.since(end));
                    logs.push(info(&moving.copy, true, lag));
                }
            }
        }
        logs
    }
}
