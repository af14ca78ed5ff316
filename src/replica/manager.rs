//! All partitions of this broker, and the housekeeping of their logs.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::PartitionError;
use super::cleaner::Cleaner;
use super::follower::Fetchers;
use super::janitor::Janitor;
use super::mover::Mover;
use super::opening::Wanted;
use super::partition::{DeleteError, Deletion, Partition, timestamp_type};
use super::peers::Peers;
use crate::cluster::{ClusterImage, ConfigResource, Event, PartitionImage, TopicImage};
use crate::config::{BrokerConfig, CleanerConfig, Durability, Effective, TopicConfig};
use crate::env::{Env, is_no_space};
use crate::log::{
    AppendError, Appended, CleanError, Cleanable, DataDirs, DirIndex, FlushExtent, KeptKinds, Log,
    LogConfig, LogOffsets, PartitionName, Removed,
};
use crate::model::{
    BrokerId, Offset, PartitionId, TopicId, TopicIdPartition, TopicName, UnixMillis, WithCauses,
};
use crate::telemetry::Histogram;

/// All partitions of this broker.
#[derive(Debug)]
pub struct ReplicaManager {
    pub(super) env: Env,
    pub(super) broker: BrokerId,
    pub(super) settings: RwLock<Arc<Effective>>,
    pub(super) dirs: DataDirs,
    pub(super) partitions: RwLock<HashMap<TopicIdPartition, Arc<Partition>>>,
    /// Where replicas are to be made that are not there yet, as AlterReplicaLogDirs said.
    pub(super) preferred: Mutex<HashMap<PartitionName, DirIndex>>,
    /// Held by who begins or ends a move.
    pub(super) altering: Mutex<()>,
    /// Told when there is something to move.
    pub(super) moves: Notify,
    /// Told when replicas have failed with their logs: whenever a partition comes to have none.
    pub(super) failures: Notify,
    pub(super) janitor: Janitor,
    flush_durations: Histogram,
    /// The rest of the cluster.
    pub(super) peers: Arc<Peers>,
    pub(super) fetchers: Fetchers,
}

impl ReplicaManager {
    /// The partitions of `broker` in these directories; none of them is open yet.
    #[must_use]
    pub fn new(env: Env, broker: BrokerId, settings: Arc<Effective>, dirs: DataDirs) -> Self {
        let replication = &settings.broker().replication;
        let peers = Arc::new(Peers::new(env.steady.clone(), replication));
        Self {
            env,
            broker,
            peers,
            fetchers: Fetchers::default(),
            settings: RwLock::new(settings),
            dirs,
            partitions: RwLock::default(),
            preferred: Mutex::default(),
            altering: Mutex::default(),
            moves: Notify::new(),
            failures: Notify::new(),
            janitor: Janitor::default(),
            flush_durations: Histogram::default(),
        }
    }

    /// The partitions of a topic that this broker has a replica of.
    pub(super) fn hosted<'a>(
        &self,
        topic: &'a TopicImage,
    ) -> impl Iterator<Item = (PartitionId, &'a PartitionImage)> + use<'a> {
        let broker = self.broker;
        topic.indexed_partitions().filter(move |(_, state)| state.replicas.contains(&broker))
    }

    /// Takes note of changes in the cluster: makes and removes logs, changes leaders and configs. Blocks for the disk.
    pub fn apply(
        self: &Arc<Self>,
        image: &Arc<ClusterImage>,
        settings: &Arc<Effective>,
        events: &[Event],
    ) {
        *self.settings.write() = Arc::clone(settings);
        self.peers.set_image(image);
        self.peers.set_config(&settings.broker().replication);
        for event in events {
            match event {
                Event::TopicCreated(topic) => self.create(image, topic, |_| true),
                Event::PartitionsAdded(topic, first) => {
                    self.create(image, topic, |partition| partition >= *first);
                }
                Event::TopicDeleted(topic) => self.delete(topic),
                Event::PartitionsChanged(changed) => self.follow_image(image, changed),
                Event::BrokersChanged => self.reach_anew(),
                Event::ConfigsChanged(ConfigResource::Topic(name)) => {
                    if let Some(topic) = image.topic(name.as_str()) {
                        self.reconfigure(image, topic);
                        self.reach_anew();
                    }
                }
                Event::ConfigsChanged(ConfigResource::Broker(_) | ConfigResource::AllBrokers) => {
                    image.topics().for_each(|topic| self.reconfigure(image, topic));
                    self.reach_anew();
                }
                Event::ConfigsChanged(ConfigResource::Group(_)) => {}
            }
        }
    }

    /// Makes those of a topic's partitions that are `new`, as far as this broker has replicas of them.
    fn create(
        self: &Arc<Self>,
        image: &ClusterImage,
        topic: &TopicImage,
        is_new: impl Fn(PartitionId) -> bool,
    ) {
        let config = self.topic_config(image, &topic.name);
        // What is kept of an earlier topic of this name must not be taken for the new one's, now or at the next start.
        let is_other =
            |(name, partition): &PartitionName| *name != topic.name || !is_new(*partition);
        let unforgotten = self.dirs.live().filter_map(|(index, dir)| {
            let error = dir.kept_offsets().retain(is_other).err()?;
            self.kept_failed(index, &error);
            Some((index, format!("cannot forget an earlier topic of the name: {error}")))
        });
        let unforgotten: HashMap<DirIndex, String> = unforgotten.collect();
        for (partition, state) in self.hosted(topic).filter(|(partition, _)| is_new(*partition)) {
            let id = TopicIdPartition { topic: topic.id, partition };
            let wanted = Wanted { id, config: Arc::clone(&config), state: state.clone() };
            self.create_partition(&topic.name, wanted, &unforgotten);
            let Some(made) = self.partition(topic.id, partition) else { continue };
            // Else it is of an earlier life of the broker, as what the others say that begin with this one.
            if !self.peers.is_registered() {
                continue;
            }
            if let Err(error) = made.begin() {
                self.lead_failed(&made, &error);
            }
            self.follow_leader(&made);
        }
    }

    fn delete(&self, topic: &TopicImage) {
        let ids = self.hosted(topic).map(|(partition, _)| partition);
        self.remove_partitions(topic, ids);
    }

    /// This broker has no replicas of these partitions any more.
    fn remove_partitions(&self, topic: &TopicImage, ids: impl Iterator<Item = PartitionId>) {
        let mut removed = Vec::new();
        let mut delay = Duration::ZERO;
        for partition in ids {
            let id = TopicIdPartition { topic: topic.id, partition };
            let Some(gone) = self.partitions.write().remove(&id) else { continue };
            self.stop_following(id);
            gone.abandon();
            delay = gone.config().file_delete_delay;
            if let Some(moving) = gone.moving().filter(|moving| gone.end_moving(moving)) {
                removed.extend(self.discard_copy(&gone, &moving));
            }
            let Some(dir) = gone.dir().and_then(|dir| self.dirs.get(dir)) else { continue };
            match dir.mark_deleted(&topic.name, partition, &self.env.rng) {
                Ok(path) => removed.extend(path),
                Err(error) => {
                    let error = WithCauses(&error);
                    tracing::warn!(topic = %topic.name, %partition, %error, "cannot remove a deleted partition");
                }
            }
        }
        self.janitor.remove_at(self.after(delay), removed);
    }

    /// Partitions have other leaders, replicas, or replicas in sync.
    fn follow_image(self: &Arc<Self>, image: &ClusterImage, changed: &[TopicIdPartition]) {
        for id in changed {
            let Some(topic) = image.topic_by_id(id.topic) else { continue };
            let Some(state) = topic.partition(id.partition) else { continue };
            let is_hosted = state.replicas.contains(&self.broker);
            match self.partition(id.topic, id.partition) {
                Some(partition) if is_hosted => {
                    if let Err(error) = partition.set_state(state) {
                        self.lead_failed(&partition, &error);
                    }
                    self.follow_leader(&partition);
                }
                None if is_hosted => self.create(image, topic, |it| it == id.partition),
                Some(_) => self.remove_partitions(topic, std::iter::once(id.partition)),
                None => {}
            }
        }
    }

    fn reconfigure(self: &Arc<Self>, image: &ClusterImage, topic: &TopicImage) {
        let config = self.topic_config(image, &topic.name);
        for (partition, _) in self.hosted(topic) {
            if let Some(partition) = self.partition(topic.id, partition) {
                let log_config = log_config(&config, self.settings.read().broker());
                partition.set_config(Arc::clone(&config), log_config);
                self.flush_soon(&partition, None);
            }
        }
    }

    pub(super) fn topic_config(&self, image: &ClusterImage, topic: &TopicName) -> Arc<TopicConfig> {
        let overrides = image.configs(&ConfigResource::Topic(topic.clone()));
        Arc::new(self.settings.read().topic(&overrides))
    }

    /// A partition of this broker.
    #[must_use]
    pub fn partition(&self, topic: TopicId, partition: PartitionId) -> Option<Arc<Partition>> {
        self.partitions.read().get(&TopicIdPartition { topic, partition }).cloned()
    }

    /// All partitions of this broker, by topic id and index.
    pub(super) fn all(&self) -> Vec<Arc<Partition>> {
        let mut all: Vec<_> = self.partitions.read().values().cloned().collect();
        all.sort_by_key(|partition| partition.id());
        all
    }

    /// Deletes the records of a partition before an offset; `None` stands for all that are committed. Other replicas follow.
    /// Blocks for the disk.
    ///
    /// # Errors
    /// As [`PartitionError`] says.
    pub fn delete_records(
        &self,
        partition: &Partition,
        before: Option<Offset>,
    ) -> Result<Deletion, PartitionError> {
        let (deletion, log, removed) =
            partition.delete_before(before).map_err(|error| match error {
                DeleteError::Refused(error) => error,
                DeleteError::Disk(error) => {
                    if let Ok(log) = partition.log() {
                        self.report_failure(&log, &error);
                    }
                    PartitionError::Offline(error.to_string())
                }
            })?;
        let offline = |error: std::io::Error| PartitionError::Offline(error.to_string());
        // What was deleted stays deleted, whatever happens next.
        self.checkpoint(KeptKinds::All).map_err(offline)?;
        self.remove(partition, &log, removed).map_err(offline)?;
        Ok(deletion)
    }

    /// How long the disk took each time that a log was made durable.
    #[must_use]
    pub const fn flush_durations(&self) -> &Histogram {
        &self.flush_durations
    }

    /// Has what an append made necessary flushed in the background: a finished segment, or all before it is acknowledged.
    pub fn flush_after(self: &Arc<Self>, partition: &Arc<Partition>, appended: &Appended) {
        if appended.rolled || appended.unsettled {
            self.flush_soon(partition, None);
        }
    }

    /// Flushes this much of a log in the background, or without saying so as much as is wanted. If a flush is under way, the
    /// next one follows it, for all that have come meanwhile: group commit.
    pub(super) fn flush_soon(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        extent: Option<FlushExtent>,
    ) {
        if partition.begin_flush() {
            flush_in_background(self, Arc::clone(partition), extent);
        }
    }

    /// An append has failed: if the disk is to blame, its directory is given up.
    pub fn report(&self, partition: &Partition, error: &PartitionError) {
        if let (PartitionError::Append(AppendError::Io { source, .. }), Ok(log)) =
            (error, partition.log())
        {
            self.report_failure(&log, source);
        }
    }

    /// Writes these of the checkpoint files, as far as something changed. A directory whose disk refuses is given up, unless only
    /// room is missing. Nobody may hold the place of a partition.
    ///
    /// # Errors
    /// As the first disk says that has refused; the other files are written.
    pub fn checkpoint(&self, kinds: KeptKinds) -> std::io::Result<()> {
        let mut failed = None;
        for (index, _) in self.dirs.live() {
            if let Err(error) = self.checkpoint_dir(index, kinds) {
                self.kept_failed(index, &error);
                failed = failed.or(Some(error));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The same for one directory, if it is in use; it is not given up.
    pub(super) fn checkpoint_dir(&self, index: DirIndex, kinds: KeptKinds) -> std::io::Result<()> {
        let Some(dir) = self.dirs.get(index) else { return Ok(()) };
        dir.kept_offsets().write(kinds, || self.offsets_in(index))
    }

    /// A checkpoint file of a directory could not be written (`CheckpointFileWithFailureHandler` of Kafka, which gives the
    /// directory up also for want of room). Nobody may hold the place of a partition.
    fn kept_failed(&self, index: DirIndex, error: &std::io::Error) {
        if !is_no_space(error) {
            self.fail_dir(index, &format_args!("cannot write a checkpoint: {error}"));
        }
    }

    /// A log is about to be cut off at `to`: what is written down of it does not reach higher. Blocks for the disk.
    pub(super) fn keep_cut(&self, partition: &Partition, to: Offset) -> std::io::Result<()> {
        let name = partition.name();
        let Some(index) = partition.dir() else { return Ok(()) };
        if let Some(dir) = self.dirs.get(index)
            && dir.kept_offsets().cleaned(&name).is_some_and(|cleaned| cleaned > to)
        {
            dir.kept_offsets().set_cleaned(&name, to)?;
        }
        self.checkpoint_dir(index, KeptKinds::RecoveryPoints)
    }

    /// The offsets of all logs in a directory, the copies among them.
    pub(super) fn offsets_in(&self, index: DirIndex) -> Vec<(PartitionName, Option<LogOffsets>)> {
        let offsets = |log: &Arc<Log>| {
            let (recovery_point, ends) = (log.recovery_point(), log.ends());
            let (log_start, high_watermark) = (ends.log_start, ends.high_watermark);
            LogOffsets { recovery_point, log_start, high_watermark }
        };
        let entry = |partition: Arc<Partition>| {
            let name = partition.name();
            let (dir, log) = partition.dir_and_log();
            match dir {
                // Of a partition that is offline the last offsets are kept: its log may be repaired.
                None => Some((name, None)),
                Some(dir) if dir == index => Some((name, log.as_ref().map(offsets))),
                Some(_) => {
                    let moving = partition.moving().filter(|moving| moving.to == index)?;
                    Some((name, Some(offsets(&moving.copy))))
                }
            }
        };
        self.all().into_iter().filter_map(entry).collect()
    }

    /// Starts the housekeeping: flushes by time, checkpoints, expiry of producers, retention, compaction, removal of deleted
    /// files.
    pub fn start_housekeeping(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.env.tasks.spawn_service("janitor", async move { this.janitor.run(&this.env).await });
        let this = Arc::clone(self);
        self.env.tasks.spawn_service("flushes", async move { this.run_flushes().await });
        for kinds in [KeptKinds::RecoveryPoints, KeptKinds::LogStarts] {
            let this = Arc::clone(self);
            let run = async move { this.run_checkpoints(kinds).await };
            self.env.tasks.spawn_service("checkpoints", run);
        }
        let this = Arc::clone(self);
        self.env.tasks.spawn_service("producer-expiry", async move { this.run_expiry().await });
        let this = Arc::clone(self);
        self.env.tasks.spawn_service("retention", async move { this.run_retention().await });
        let mover = Mover::new(Arc::clone(self), self.env.clone());
        self.env.tasks.spawn_service("log-dir-moves", mover.run());
        if self.cleaner_config().enabled {
            let cleaner = Cleaner::new(Arc::clone(self), self.env.clone());
            self.env.tasks.spawn_service("cleaner", cleaner.run());
        }
    }

    /// The broker's values for compaction, as they are now.
    pub(super) fn cleaner_config(&self) -> CleanerConfig {
        self.settings.read().broker().cleaner.clone()
    }

    /// What there is to compact in a log. Reads batches if there is a maximal lag.
    pub(super) fn cleanable(
        &self,
        partition: &Partition,
        log: &Log,
    ) -> Result<Cleanable, CleanError> {
        let dir = self.dirs.holding(log);
        let cleaned = dir.and_then(|dir| dir.kept_offsets().cleaned(&partition.name()));
        log.cleanable(cleaned, self.env.clock.now())
    }

    /// Makes the finished segments of a log durable, and known to be so; gives whether that worked. Blocks for the disk.
    pub(super) fn make_durable(&self, log: &Log) -> bool {
        if let Err(error) = log.flush(false) {
            self.report_failure(log, &error);
            return false;
        }
        if let Err(error) = self.checkpoint(KeptKinds::All) {
            tracing::warn!(%error, "cannot write the checkpoints: nothing is compacted");
            return false;
        }
        true
    }

    /// Writes down how far a log of a partition was compacted, unless the partition is gone: its name may be another's
    /// by now. Blocks for the disk, and gives its directory up if it refuses.
    ///
    /// # Errors
    /// As the disk says.
    pub(super) fn note_cleaned(
        &self,
        partition: &Partition,
        log: &Log,
        to: Offset,
    ) -> std::io::Result<()> {
        let index = log.directory().parent().and_then(|path| self.dirs.find(path));
        let Some((index, dir)) = index.and_then(|index| Some((index, self.dirs.get(index)?)))
        else {
            return Ok(());
        };
        let is_there = || self.partitions.read().contains_key(&partition.id());
        let noted = dir.kept_offsets().set_cleaned_if(&partition.name(), to, is_there);
        noted.inspect_err(|error| self.kept_failed(index, error))
    }

    /// Has files of a partition removed some time from now.
    pub(super) fn remove_files(&self, partition: &Partition, files: Vec<PathBuf>) {
        self.janitor.remove_at(self.after(partition.config().file_delete_delay), files);
    }

    async fn run_retention(self: Arc<Self>) {
        let mut delay = self.settings.read().broker().initial_task_delay;
        loop {
            tokio::select! {
                () = self.env.clock.sleep_until(self.after(delay)) => {}
                () = self.env.tasks.cancelled() => return,
            }
            let this = Arc::clone(&self);
            self.env.tasks.spawn_blocking("retention", move || this.delete_old_segments()).await;
            delay = self.settings.read().broker().retention_check_interval;
        }
    }

    /// Removes what no log has to keep any longer. Blocks for the disk.
    fn delete_old_segments(&self) {
        let mut removed = Vec::new();
        let compacts = self.cleaner_config().enabled;
        for partition in self.all() {
            let Ok(log) = partition.log() else { continue };
            // As in Kafka, where the cleaner does this for compacted topics.
            if log.config().compacts && !compacts {
                continue;
            }
            match log.delete_old_segments(self.env.clock.now()) {
                Ok(segments) if segments.is_empty() => {}
                Ok(segments) => removed.push((Arc::clone(&partition), log, segments)),
                Err(error) => self.report_failure(&log, &error),
            }
        }
        if removed.is_empty() {
            return;
        }
        if let Err(error) = self.checkpoint(KeptKinds::All) {
            tracing::warn!(%error, "cannot write the checkpoints: old segments stay until the next start");
            return;
        }
        for (partition, log, segments) in removed {
            if let Err(error) = self.remove(&partition, &log, segments) {
                self.report_failure(&log, &error);
            }
        }
    }

    /// Has the files of segments removed some time from now.
    pub(super) fn remove(
        &self,
        partition: &Partition,
        log: &Log,
        removed: Removed,
    ) -> std::io::Result<()> {
        self.remove_files(partition, log.mark_deleted(removed)?);
        Ok(())
    }

    /// The log of a partition begins later now: that is written down, and the files of the segments go some time from now.
    pub(super) fn remove_in_background(
        self: &Arc<Self>,
        partition: &Arc<Partition>,
        log: Arc<Log>,
        removed: Removed,
    ) {
        let (this, partition) = (Arc::clone(self), Arc::clone(partition));
        let done = self.env.tasks.spawn_blocking("remove-segments", move || {
            if let Err(error) = this.checkpoint(KeptKinds::All) {
                tracing::warn!(%error, "cannot write the checkpoints: old segments stay until the next start");
            } else if let Err(error) = this.remove(&partition, &log, removed) {
                this.report_failure(&log, &error);
            }
        });
        drop(done);
    }

    async fn run_flushes(self: &Arc<Self>) {
        loop {
            let interval = self.settings.read().broker().flush_check_interval;
            tokio::select! {
                () = self.env.steady.sleep(interval) => {}
                () = self.env.tasks.cancelled() => return,
            }
            self.flush_aged();
        }
    }

    /// Flushes the logs that were not flushed for as long as their topics allow.
    fn flush_aged(self: &Arc<Self>) {
        let now = self.env.steady.now();
        for partition in self.all() {
            if partition.is_flush_due(now) {
                self.flush_soon(&partition, Some(FlushExtent::Whole));
            }
        }
    }

    pub(super) async fn run_checkpoints(self: Arc<Self>, kinds: KeptKinds) {
        loop {
            let settings = Arc::clone(&self.settings.read());
            let interval = match kinds {
                KeptKinds::HighWatermarks => {
                    settings.broker().replication.high_watermark_checkpoint_interval
                }
                KeptKinds::LogStarts => settings.broker().log_start_checkpoint_interval,
                KeptKinds::RecoveryPoints | KeptKinds::All => {
                    settings.broker().recovery_point_checkpoint_interval
                }
            };
            tokio::select! {
                () = self.env.steady.sleep(interval) => {}
                () = self.env.tasks.cancelled() => return,
            }
            let this = Arc::clone(&self);
            let written =
                self.env.tasks.spawn_blocking("checkpoint", move || this.checkpoint(kinds)).await;
            if let Err(error) = written {
                tracing::warn!(%error, "cannot write the checkpoints: the next start will take longer");
            }
        }
    }

    async fn run_expiry(&self) {
        loop {
            let interval = self.settings.read().broker().producer_expiration_check_interval;
            let next = self.after(interval);
            tokio::select! {
                () = self.env.clock.sleep_until(next) => {}
                () = self.env.tasks.cancelled() => return,
            }
            for partition in self.all() {
                if let Ok(log) = partition.log() {
                    log.expire_producers(self.env.clock.now());
                }
            }
        }
    }

    /// The time of day `delay` from now.
    pub(super) fn after(&self, delay: Duration) -> UnixMillis {
        self.env.clock.now().plus_millis(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
    }

    /// Ends all logs in good order and marks the stop as clean, in each directory in which that worked. Blocks for the disk.
    ///
    /// # Errors
    /// As the disk says: the stop is not marked then in that directory, and the next start recovers what is in it.
    pub fn close(&self, broker_epoch: i64) -> std::io::Result<()> {
        let mut failed: BTreeMap<DirIndex, std::io::Error> = BTreeMap::new();
        for partition in self.all() {
            let moving = partition.moving();
            let (dir, log) = partition.dir_and_log();
            let copy = moving.as_ref().map(|moving| (Some(moving.to), &moving.copy));
            for (dir, log) in log.iter().map(|log| (dir, log)).chain(copy) {
                if let (Err(error), Some(dir)) = (log.close(), dir) {
                    failed.entry(dir).or_insert(error);
                }
            }
        }
        for (index, dir) in self.dirs.live() {
            if failed.contains_key(&index) {
                continue;
            }
            let written = dir.kept_offsets().write(KeptKinds::All, || self.offsets_in(index));
            if let Err(error) = written.and_then(|()| dir.mark_clean(broker_epoch)) {
                failed.insert(index, error);
            }
        }
        failed.into_values().next().map_or(Ok(()), Err)
    }
}

/// Each flush is a job of its own, so that those of many logs take turns on the pool.
fn flush_in_background(
    manager: &Arc<ReplicaManager>,
    partition: Arc<Partition>,
    extent: Option<FlushExtent>,
) {
    let again = Arc::clone(manager);
    let flushed = manager.env.tasks.spawn_blocking("flush-log", move || {
        match partition.flush(extent, &again.env.steady, &again.flush_durations) {
            Ok(true) if partition.begin_flush() => flush_in_background(&again, partition, None),
            Ok(_) => {}
            Err(error) => {
                if let Ok(log) = partition.log() {
                    again.report_failure(&log, &error);
                }
            }
        }
    });
    drop(flushed);
}

/// How a log behaves under a topic's configs.
#[must_use]
pub fn log_config(config: &TopicConfig, broker: &BrokerConfig) -> LogConfig {
    LogConfig {
        segment_bytes: config.segment_bytes,
        segment_age_max: segment_age_max(config),
        segment_jitter_max: config.segment_jitter_max,
        index_interval_bytes: config.index_interval_bytes,
        index_bytes_max: config.index_bytes_max,
        preallocates: config.preallocates,
        unflushed_max: match config.durability {
            Durability::PageCache => config.flush_messages,
            Durability::Fsync => 1,
        },
        timestamp_type: timestamp_type(config),
        compacts: config.cleanup_compact,
        min_dirty_ratio: config.min_dirty_ratio,
        compaction_lag_min: config.compaction_lag_min,
        compaction_lag_max: config.compaction_lag_max,
        tombstone_retention: config.tombstone_retention,
        deletes: config.cleanup_delete,
        retention_age_max: config.retention_age_max,
        retention_bytes: config.retention_bytes,
        producer_expiration: broker.producer_expiration,
    }
}

/// A compacted topic begins a new segment before its oldest record has waited for too long, for the last segment is not
/// compacted (`LogConfig.maxSegmentMs` of Kafka).
fn segment_age_max(config: &TopicConfig) -> Duration {
    match config.compaction_lag_max {
        Some(lag) if config.cleanup_compact => config.segment_age_max.min(lag),
        _ => config.segment_age_max,
    }
}
