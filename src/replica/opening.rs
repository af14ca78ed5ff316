//! Finding the partitions of this broker in its directories, and opening their logs.
//!
//! Where a partition is, is not written down: it is where its directory is found. One that is found twice is refused, unless
//! a move was just about to end.
//!
//! Source: `LogManager.loadLogs` and `LogManager.getOrCreateLog` of Apache Kafka 4.3.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::manager::{ReplicaManager, log_config};
use super::partition::{Partition, Place};
use crate::cluster::{ClusterImage, PartitionImage};
use crate::config::TopicConfig;
use crate::env::is_no_space;
use crate::log::{
    AfterFailure, DataDir, DataDirError, DirIndex, FlushExtent, Log, LogStart, OpenError, Opened,
    PartitionName, RecoveryProgress,
};
use crate::model::{TopicIdPartition, TopicName, WithCauses};

/// How often a start says how far the opening of the logs has come. A short one says nothing.
const OPENING_REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// A partition that is to be opened, beside its name.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) id: TopicIdPartition,
    pub(super) config: Arc<TopicConfig>,
    pub(super) state: PartitionImage,
}

/// Where partitions were found.
#[derive(Debug, Default)]
struct Places {
    current: BTreeMap<PartitionName, DirIndex>,
    /// Those of them that were being moved to a directory that is not in use: it may have them with newer records.
    held: BTreeSet<PartitionName>,
    /// Copies of partitions that are being moved, with their directories.
    futures: BTreeMap<PartitionName, (DirIndex, PathBuf)>,
}

impl Places {
    fn are_in(&self, name: &PartitionName, dir: DirIndex) -> bool {
        self.current.get(name) == Some(&dir)
            || self.futures.get(name).is_some_and(|(found, _)| *found == dir)
    }
}

/// How far the opening of all logs has come.
#[derive(Debug, Default)]
struct OpeningAll {
    logs: usize,
    opened: AtomicUsize,
    progress: RecoveryProgress,
}

impl fmt::Display for OpeningAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = self.progress.scanned_bytes() >> 20;
        let opened = self.opened.load(Ordering::Relaxed);
        write!(
            f,
            "opening logs: {opened} of {} done, {mebibytes} MiB of records checked",
            self.logs
        )
    }
}

/// How a log was left, and who is told how far its opening has come.
#[derive(Clone, Copy, Debug)]
struct LastStop<'a> {
    clean: bool,
    progress: &'a RecoveryProgress,
}

impl ReplicaManager {
    /// Opens the logs of all partitions that the cluster has given to this broker, after the last stop, and goes on with moves.
    /// Directories of other topics are set aside, and their offsets forgotten. Blocks for the disk; logs are opened side by side,
    /// and the log of the broker says now and then how far that has come.
    ///
    /// # Errors
    /// If a partition is there twice, or no data directory can be read and written. A log that cannot be opened makes its
    /// partition offline, and so does a data directory.
    pub async fn open_all(self: &Arc<Self>, image: &ClusterImage) -> Result<(), DataDirError> {
        let mut wanted = BTreeMap::new();
        for topic in image.topics() {
            let config = self.topic_config(image, &topic.name);
            for (partition, state) in self.hosted(topic) {
                let id = TopicIdPartition { topic: topic.id, partition };
                let (config, state) = (Arc::clone(&config), state.clone());
                wanted.insert((topic.name.clone(), partition), Wanted { id, config, state });
            }
        }
        let places = self.find_all(&wanted)?;
        for (index, dir) in self.dirs.live() {
            let forgotten = dir.kept_offsets().retain(|name| places.are_in(name, index));
            let path = dir.path().to_owned();
            let forgotten = forgotten.map_err(|source| DataDirError::Io { path, source });
            self.or_without(index, forgotten)?;
        }
        let mut homeless = Vec::new();
        let mut queues: BTreeMap<DirIndex, Vec<(PartitionName, Wanted)>> = BTreeMap::new();
        for (name, wanted) in wanted {
            match places.current.get(&name) {
                Some(dir) if places.held.contains(&name) => {
                    let reason = "it was being moved to a log directory that is not in use";
                    self.add(
                        &name.0,
                        wanted,
                        Place { dir: Some(*dir), log: Err(reason.to_owned()) },
                    );
                }
                Some(dir) => queues.entry(*dir).or_default().push((name, wanted)),
                None => homeless.push((name, wanted)),
            }
        }
        self.open_side_by_side(queues).await;
        for (name, wanted) in homeless {
            if self.dirs.any_offline() {
                let reason =
                    "its directory may be in a log directory that is not in use".to_owned();
                self.add(&name.0, wanted, Place { dir: None, log: Err(reason) });
            } else {
                self.create_partition(&name.0, wanted, &HashMap::new());
            }
        }
        for (name, (dir, copy)) in places.futures {
            let partition = self.all().into_iter().find(|partition| partition.name() == name);
            if let Some(partition) = partition {
                self.resume_move(&partition, dir, copy);
            }
        }
        Ok(())
    }

    /// Looks through all directories. What is not wanted is set aside on the way.
    fn find_all(&self, wanted: &BTreeMap<PartitionName, Wanted>) -> Result<Places, DataDirError> {
        let mut places = Places::default();
        for (index, dir) in self.dirs.live() {
            let found = self.find_in((index, dir), wanted, &mut places);
            self.or_without(index, found)?;
        }
        if self.dirs.any_offline() {
            self.hold_moved(&mut places)?;
        }
        self.drop_lone_futures(&mut places);
        Ok(places)
    }

    fn find_in(
        &self,
        (index, dir): (DirIndex, &DataDir),
        wanted: &BTreeMap<PartitionName, Wanted>,
        places: &mut Places,
    ) -> Result<(), DataDirError> {
        let found = dir.partitions()?;
        // Where there is no choice, the opening of the log tells as well.
        let is_only = self.dirs.live().count() == 1;
        for name in found.current {
            let path = dir.partition_path(&name);
            let is_ours = wanted
                .get(&name)
                .is_some_and(|wanted| is_only || dir.may_belong(&path, wanted.id.topic));
            if !is_ours {
                self.set_aside(dir, &name)?;
                continue;
            }
            match places.current.get(&name).copied() {
                None => drop(places.current.insert(name, index)),
                Some(first) => {
                    let winner = self.choose(&name, first, index)?;
                    places.current.insert(name, winner);
                }
            }
        }
        for (name, directory) in found.futures {
            let path = dir.path().join(directory);
            let is_wanted =
                wanted.get(&name).is_some_and(|wanted| dir.may_belong(&path, wanted.id.topic));
            if !is_wanted || places.futures.contains_key(&name) {
                // It is no more than a copy.
                self.discard(dir, &path, &name);
            } else {
                places.futures.insert(name, (index, path));
            }
        }
        Ok(())
    }

    /// Sets the directory of a partition aside that is not ours.
    fn set_aside(&self, dir: &DataDir, name: &PartitionName) -> Result<(), DataDirError> {
        let aside = dir.mark_stray(&dir.partition_path(name), name, &self.env.rng)?;
        tracing::warn!(topic = %name.0, partition = %name.1, ?aside,
            "set aside the directory of a partition that is not ours");
        Ok(())
    }

    /// Makes room for a partition where another topic's is, of which nothing is known from then on.
    fn begin_anew(&self, dir: &DataDir, name: &PartitionName) -> Result<(), OpenFailure> {
        let refused =
            |error: &dyn std::error::Error| OpenFailure::Disk(WithCauses(error).to_string());
        self.set_aside(dir, name).map_err(|error| refused(&error))?;
        dir.kept_offsets().retain(|known| known != name).map_err(|error| refused(&error))
    }

    /// Which of two directories with the same partition counts: the one that it was being moved to when the broker ended, or the one
    /// that has records if the other one, whose creation has failed, never had any. The other one is removed.
    fn choose(
        &self,
        name: &PartitionName,
        first: DirIndex,
        second: DirIndex,
    ) -> Result<DirIndex, DataDirError> {
        for (from, to) in [(first, second), (second, first)] {
            let (Some(from_dir), Some(to_dir)) = (self.dirs.get(from), self.dirs.get(to)) else {
                continue;
            };
            if from_dir.moved_to(name)? == Some(to_dir.meta().directory_id) {
                self.discard(from_dir, &from_dir.partition_path(name), name);
                return Ok(to);
            }
        }
        for (blank, other) in [(second, first), (first, second)] {
            let Some(dir) = self.dirs.get(blank) else { continue };
            if dir.is_blank(name)? {
                tracing::warn!(topic = %name.0, partition = %name.1, path = %dir.path().display(),
                    "a partition is there twice: the directory that never had a record is removed");
                self.discard(dir, &dir.partition_path(name), name);
                return Ok(other);
            }
        }
        let path =
            |index| self.dirs.get(index).map(|dir| dir.partition_path(name)).unwrap_or_default();
        Err(DataDirError::PartitionTwice { first: path(first), second: path(second) })
    }

    /// A move that was about to end when the broker did, and of which the other side is not there, has not ended: the partition
    /// is where it was, and the opening of its log forgets the move. Unless the directory is not in use that may have it with
    /// newer records: then it is held.
    fn hold_moved(&self, places: &mut Places) -> Result<(), DataDirError> {
        for (index, dir) in self.dirs.live() {
            let here = places.current.iter().filter(|(_, place)| **place == index);
            let is_away = |to| self.dirs.with_id(to).is_none();
            let away = here.filter_map(|(name, _)| match dir.moved_to(name) {
                Ok(to) => to.is_some_and(is_away).then(|| Ok(name.clone())),
                Err(error) => Some(Err(error)),
            });
            let away = away.collect::<Result<Vec<_>, _>>();
            places.held.extend(self.or_without(index, away)?.into_iter().flatten());
        }
        Ok(())
    }

    /// Sets copies aside whose partition is gone: nobody knows whether they are whole. One whose partition may be in a directory
    /// that is not in use stays, and one in the same directory as its partition is of no use.
    fn drop_lone_futures(&self, places: &mut Places) {
        let Places { current, futures, .. } = places;
        futures.retain(|name, (index, path)| {
            let Some(dir) = self.dirs.get(*index) else { return false };
            match current.get(name) {
                Some(place) if place != index => true,
                Some(_) => {
                    self.discard(dir, path, name);
                    false
                }
                None if self.dirs.any_offline() => true,
                None => {
                    let aside = dir.mark_stray(path, name, &self.env.rng);
                    tracing::warn!(topic = %name.0, partition = %name.1, ?aside,
                        "set aside the copy of a partition that is not there");
                    false
                }
            }
        });
    }

    /// Gives a directory up that cannot be read or written, if there is another one.
    fn or_without<T>(
        &self,
        index: DirIndex,
        outcome: Result<T, DataDirError>,
    ) -> Result<Option<T>, DataDirError> {
        match outcome {
            Ok(outcome) => Ok(Some(outcome)),
            Err(error @ DataDirError::Io { .. }) => {
                match self.fail_dir(index, &WithCauses(&error)) {
                    AfterFailure::Others | AfterFailure::KnownBefore => Ok(None),
                    AfterFailure::Nothing => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn open_side_by_side(
        self: &Arc<Self>,
        queues: BTreeMap<DirIndex, Vec<(PartitionName, Wanted)>>,
    ) {
        let threads = self.settings.read().broker().recovery_threads_per_dir as usize;
        let logs = queues.values().map(Vec::len).sum();
        let opening = Arc::new(OpeningAll { logs, ..OpeningAll::default() });
        let mut workers = Vec::new();
        for (dir, queue) in queues {
            let count = threads.min(queue.len());
            let queue = Arc::new(Mutex::new(queue.into_iter()));
            for _ in 0..count {
                let (this, queue) = (Arc::clone(self), Arc::clone(&queue));
                let opening = Arc::clone(&opening);
                workers.push(self.env.tasks.spawn_blocking("open-logs", move || {
                    loop {
                        let Some((name, wanted)) = queue.lock().next() else { return };
                        this.open_found(&name.0, wanted, dir, &opening.progress);
                        opening.opened.fetch_add(1, Ordering::Relaxed);
                    }
                }));
            }
        }
        let all_opened = async {
            for worker in workers {
                worker.await;
            }
        };
        let reports = async {
            loop {
                self.env.steady.sleep(OPENING_REPORT_INTERVAL).await;
                tracing::info!("{opening}");
            }
        };
        tokio::select! {
            () = all_opened => {}
            () = reports => {}
        }
    }

    /// Opens a partition where it was found.
    fn open_found(
        &self,
        topic: &TopicName,
        wanted: Wanted,
        index: DirIndex,
        progress: &RecoveryProgress,
    ) {
        let log = match self.dirs.get(index) {
            Some(dir) => {
                let stop = LastStop { clean: dir.clean_epoch().is_some(), progress };
                let mut opened = self.open_in(dir, topic, &wanted, stop);
                if let Err(OpenFailure::OtherTopic(_)) = &opened {
                    let name = (topic.clone(), wanted.id.partition);
                    opened = self.begin_anew(dir, &name).and_then(|()| {
                        self.open_in(dir, topic, &wanted, LastStop { clean: true, progress })
                    });
                }
                opened.map_err(|error| error.to_string())
            }
            None => Err("its log directory has failed".to_owned()),
        };
        self.add(topic, wanted, Place { dir: Some(index), log });
    }

    /// Makes a partition that is not there, in the directory that was preferred for it or else in the one with the fewest. Of
    /// some directories there may be a reason why it cannot be there. A directory whose disk refuses is given up, and the next
    /// one tried. Blocks for the disk.
    pub(super) fn create_partition(
        &self,
        topic: &TopicName,
        wanted: Wanted,
        unfit: &HashMap<DirIndex, String>,
    ) {
        let name = (topic.clone(), wanted.id.partition);
        let progress = RecoveryProgress::default();
        loop {
            let Some((index, dir)) = self.place_for(&name) else {
                let place = Place { dir: None, log: Err("no log directory is left".to_owned()) };
                return self.add(topic, wanted, place);
            };
            let opened = match unfit.get(&index) {
                Some(reason) => Err(OpenFailure::Other(reason.clone())),
                None => {
                    self.open_in(dir, topic, &wanted, LastStop { clean: true, progress: &progress })
                }
            };
            if let Err(OpenFailure::Disk(error)) = &opened
                && self.fail_dir(index, error) != AfterFailure::Nothing
            {
                continue;
            }
            let log = opened.map_err(|error| error.to_string());
            return self.add(topic, wanted, Place { dir: Some(index), log });
        }
    }

    fn open_in(
        &self,
        dir: &DataDir,
        topic: &TopicName,
        wanted: &Wanted,
        last_stop: LastStop<'_>,
    ) -> Result<Arc<Log>, OpenFailure> {
        // Of a partition with one replica all is committed.
        let has_others = wanted.state.replicas.len() > 1;
        let name = (topic.clone(), wanted.id.partition);
        let start = LogStart {
            clean: last_stop.clean,
            high_watermark: has_others.then(|| dir.kept_offsets().high_watermark(&name)),
            ..self.log_start(dir, topic, wanted.id, &wanted.config)
        };
        let (disk, rng) = (&self.env.disk, &self.env.rng);
        let Opened { log, scanned_bytes, cut_bytes } =
            Opened::open_telling(disk, dir.path(), start, rng, last_stop.progress)?;
        // What an unclean stop has left may be shown only as what is appended later.
        if log.flush_wanted() == Some(FlushExtent::Whole) {
            log.flush(true).map_err(|error| OpenFailure::Disk(error.to_string()))?;
        }
        if scanned_bytes > 0 {
            tracing::info!(%topic, partition = %wanted.id.partition, scanned_bytes, cut_bytes, "recovered a log");
        }
        Ok(Arc::new(log))
    }

    /// What is known of a log, or the copy of one, in a directory. The last stop is taken for a clean one.
    pub(super) fn log_start(
        &self,
        dir: &DataDir,
        topic: &TopicName,
        id: TopicIdPartition,
        config: &TopicConfig,
    ) -> LogStart {
        let name = (topic.clone(), id.partition);
        LogStart {
            topic: topic.clone(),
            topic_id: id.topic,
            partition: id.partition,
            config: log_config(config, self.settings.read().broker()),
            clean: true,
            recovery_point: dir.kept_offsets().recovery_point(&name),
            log_start: dir.kept_offsets().log_start(&name),
            high_watermark: None,
            now: self.env.clock.now(),
        }
    }

    /// Enters a partition with its log, or offline with the reason why it has none.
    fn add(&self, topic: &TopicName, wanted: Wanted, place: Place) {
        let Wanted { id, config, state } = wanted;
        if let Err(error) = &place.log {
            tracing::error!(%topic, partition = %id.partition, %error, "cannot open a log: its partition is offline");
        }
        let peers = Arc::clone(&self.peers);
        let has_failed = place.log.is_err();
        let partition = Partition::new(id, topic.clone(), self.broker, place, config, state, peers);
        self.partitions.write().insert(id, Arc::new(partition));
        if has_failed {
            self.failures.notify_one();
        }
    }
}

/// Why a log was not opened, in words.
#[derive(Debug, thiserror::Error)]
enum OpenFailure {
    /// The disk refused.
    #[error("{0}")]
    Disk(String),
    /// What is there is of another topic.
    #[error("{0}")]
    OtherTopic(String),
    /// Something else, or the volume is full.
    #[error("{0}")]
    Other(String),
}

impl From<OpenError> for OpenFailure {
    fn from(error: OpenError) -> Self {
        let words = WithCauses(&error).to_string();
        match error {
            OpenError::Io { source, .. } if !is_no_space(&source) => Self::Disk(words),
            OpenError::OtherTopic { .. } => Self::OtherTopic(words),
            OpenError::Io { .. } | OpenError::Damaged { .. } => Self::Other(words),
        }
    }
}
