//! All partitions of this broker, and the housekeeping of their logs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::PartitionError;
use super::cleaner::Cleaner;
use super::janitor::Janitor;
use super::partition::{Partition, timestamp_type};
use crate::cluster::{ClusterImage, ConfigResource, Event, PartitionImage, TopicImage};
use crate::config::{BrokerConfig, CleanerConfig, Durability, Effective, TopicConfig};
use crate::env::{DiskSpace, Env};
use crate::log::{
    AppendError, Appended, CleanError, Cleanable, DataDir, DataDirError, FlushExtent, KeptKinds,
    Log, LogConfig, LogOffsets, LogStart, Opened, PartitionName, RecoveryProgress, Removed,
};
use crate::model::{
    BrokerId, Offset, PartitionId, TopicId, TopicIdPartition, TopicName, UnixMillis, WithCauses,
};

/// How often a start says how far the opening of the logs has come. A short one says nothing.
const OPENING_REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// All partitions of this broker.
#[derive(Debug)]
pub struct ReplicaManager {
    env: Env,
    broker: BrokerId,
    settings: RwLock<Arc<Effective>>,
    data_dir: DataDir,
    partitions: RwLock<HashMap<TopicIdPartition, Arc<Partition>>>,
    janitor: Janitor,
}

/// A log directory, as DescribeLogDirs shows it.
#[derive(Clone, Debug)]
pub struct LogDirInfo {
    /// Its path.
    pub path: PathBuf,
    /// Room on its volume.
    pub space: DiskSpace,
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
}

/// A partition that is to be opened, beside its name.
type Wanted = (TopicId, Arc<TopicConfig>, PartitionImage);

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
    /// The partitions of `broker` in `data_dir`; none of them is open yet.
    #[must_use]
    pub fn new(env: Env, broker: BrokerId, settings: Arc<Effective>, data_dir: DataDir) -> Self {
        Self {
            env,
            broker,
            settings: RwLock::new(settings),
            data_dir,
            partitions: RwLock::default(),
            janitor: Janitor::default(),
        }
    }

    /// Opens the logs of all partitions that the cluster has given to this broker, after the last stop. Directories of
    /// other topics are set aside, and their offsets forgotten. Blocks for the disk; logs are opened side by side, and the log
    /// of the broker says now and then how far that has come.
    ///
    /// # Errors
    /// If the data directory cannot be read or written. A log that cannot be opened makes its partition offline.
    pub async fn open_all(self: &Arc<Self>, image: &ClusterImage) -> Result<(), DataDirError> {
        let mut wanted = BTreeMap::new();
        for topic in image.topics() {
            let config = self.topic_config(image, &topic.name);
            for (partition, state) in self.hosted(topic) {
                let key = (topic.name.clone(), partition);
                wanted.insert(key, (topic.id, Arc::clone(&config), state.clone()));
            }
        }
        let mut found = BTreeSet::new();
        for (topic, partition) in self.data_dir.partitions()? {
            let name = (topic.clone(), partition);
            let wanted = wanted.get(&name);
            if wanted.is_some_and(|(id, ..)| self.data_dir.may_belong(&topic, partition, *id)) {
                found.insert(name);
            } else {
                let aside = self.data_dir.mark_stray(&topic, partition, &self.env.rng)?;
                tracing::warn!(%topic, %partition, ?aside, "set aside the directory of a partition that is not ours");
            }
        }
        let forgotten = self.data_dir.kept_offsets().retain(|name| found.contains(name));
        let path = self.data_dir.path();
        forgotten.map_err(|source| DataDirError::Io { path: path.to_owned(), source })?;
        self.open_side_by_side(wanted).await;
        Ok(())
    }

    async fn open_side_by_side(self: &Arc<Self>, wanted: BTreeMap<PartitionName, Wanted>) {
        let clean = self.data_dir.clean_epoch().is_some();
        let count = wanted.len();
        let threads = self.settings.read().broker().recovery_threads_per_dir as usize;
        let queue = Arc::new(Mutex::new(wanted.into_iter()));
        let opening = Arc::new(OpeningAll { logs: count, ..OpeningAll::default() });
        let workers = (0..threads.min(count)).map(|_| {
            let (this, queue) = (Arc::clone(self), Arc::clone(&queue));
            let opening = Arc::clone(&opening);
            self.env.tasks.spawn_blocking("open-logs", move || {
                loop {
                    let Some(((topic, partition), (id, config, state))) = queue.lock().next()
                    else {
                        return;
                    };
                    this.open(
                        &topic,
                        TopicIdPartition { topic: id, partition },
                        config,
                        state,
                        LastStop { clean, progress: &opening.progress },
                    );
                    opening.opened.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let workers = workers.collect::<Vec<_>>();
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

    /// The partitions of a topic that this broker has a replica of.
    fn hosted<'a>(
        &self,
        topic: &'a TopicImage,
    ) -> impl Iterator<Item = (PartitionId, &'a PartitionImage)> + use<'a> {
        let broker = self.broker;
        topic.indexed_partitions().filter(move |(_, state)| state.replicas.contains(&broker))
    }

    fn open(
        &self,
        topic: &TopicName,
        id: TopicIdPartition,
        config: Arc<TopicConfig>,
        state: PartitionImage,
        last_stop: LastStop<'_>,
    ) {
        let name = (topic.clone(), id.partition);
        let start = LogStart {
            topic: topic.clone(),
            topic_id: id.topic,
            partition: id.partition,
            config: log_config(&config, self.settings.read().broker()),
            clean: last_stop.clean,
            recovery_point: self.data_dir.kept_offsets().recovery_point(&name),
            log_start: self.data_dir.kept_offsets().log_start(&name),
            now: self.env.clock.now(),
        };
        let opened = Opened::open_telling(
            &self.env.disk,
            self.data_dir.path(),
            start,
            &self.env.rng,
            last_stop.progress,
        );
        let opened = opened.map_err(|error| WithCauses(&error).to_string());
        // What an unclean stop has left may be shown only as what is appended later.
        let settled = opened.and_then(|opened| match opened.log.flush_wanted() {
            Some(FlushExtent::Whole) => {
                let flushed = opened.log.flush(true).map_err(|error| error.to_string());
                flushed.map(|_| opened)
            }
            Some(FlushExtent::Finished) | None => Ok(opened),
        });
        let log = settled.map(|opened| {
            if opened.scanned_bytes > 0 {
                let (scanned_bytes, cut_bytes) = (opened.scanned_bytes, opened.cut_bytes);
                tracing::info!(%topic, partition = %id.partition, scanned_bytes, cut_bytes, "recovered a log");
            }
            Arc::new(opened.log)
        });
        self.add(topic, id, config, state, log);
    }

    /// Enters a partition with its log, or offline with the reason why it has none.
    fn add(
        &self,
        topic: &TopicName,
        id: TopicIdPartition,
        config: Arc<TopicConfig>,
        state: PartitionImage,
        log: Result<Arc<Log>, String>,
    ) {
        if let Err(error) = &log {
            tracing::error!(%topic, partition = %id.partition, %error, "cannot open a log: its partition is offline");
        }
        let now = self.env.steady.now();
        let partition = Partition::new(id, topic.clone(), self.broker, log, config, state, now);
        self.partitions.write().insert(id, Arc::new(partition));
    }

    /// Takes note of changes in the cluster: makes and removes logs, changes leaders and configs. Blocks for the disk.
    pub fn apply(&self, image: &ClusterImage, settings: &Arc<Effective>, events: &[Event]) {
        *self.settings.write() = Arc::clone(settings);
        for event in events {
            match event {
                Event::TopicCreated(topic) => self.create(image, topic, PartitionId(0)),
                Event::PartitionsAdded(topic, first) => self.create(image, topic, *first),
                Event::TopicDeleted(topic) => self.delete(topic),
                Event::LeadersChanged => self.follow_leaders(image),
                Event::ConfigsChanged(ConfigResource::Topic(name)) => {
                    if let Some(topic) = image.topic(name.as_str()) {
                        self.reconfigure(image, topic);
                    }
                }
                Event::ConfigsChanged(ConfigResource::Broker(_) | ConfigResource::AllBrokers) => {
                    image.topics().for_each(|topic| self.reconfigure(image, topic));
                }
                Event::ConfigsChanged(ConfigResource::Group(_)) => {}
            }
        }
    }

    fn create(&self, image: &ClusterImage, topic: &TopicImage, first: PartitionId) {
        let config = self.topic_config(image, &topic.name);
        // What is kept of an earlier topic of this name must not be taken for the new one's, now or at the next start.
        let is_other = |(name, partition): &_| *name != topic.name || *partition < first;
        let forgotten = self.data_dir.kept_offsets().retain(is_other);
        for (partition, state) in self.hosted(topic).filter(|(partition, _)| *partition >= first) {
            let id = TopicIdPartition { topic: topic.id, partition };
            let (config, state) = (Arc::clone(&config), state.clone());
            match &forgotten {
                Ok(()) => {
                    let last_stop =
                        LastStop { clean: true, progress: &RecoveryProgress::default() };
                    self.open(&topic.name, id, config, state, last_stop);
                }
                Err(error) => {
                    let error = format!("cannot forget an earlier topic of the name: {error}");
                    self.add(&topic.name, id, config, state, Err(error));
                }
            }
        }
    }

    fn delete(&self, topic: &TopicImage) {
        let mut removed = Vec::new();
        let mut delay = Duration::ZERO;
        for (partition, _) in self.hosted(topic) {
            let id = TopicIdPartition { topic: topic.id, partition };
            let Some(gone) = self.partitions.write().remove(&id) else { continue };
            gone.abandon();
            delay = gone.config().file_delete_delay;
            match self.data_dir.mark_deleted(&topic.name, partition, topic.id) {
                Ok(path) => removed.extend(path),
                Err(error) => {
                    let error = WithCauses(&error);
                    tracing::warn!(topic = %topic.name, %partition, %error, "cannot remove a deleted partition");
                }
            }
        }
        self.janitor.remove_at(self.after(delay), removed);
    }

    fn follow_leaders(&self, image: &ClusterImage) {
        for partition in self.all() {
            let id = partition.id();
            let state = image.topic_by_id(id.topic).and_then(|topic| topic.partition(id.partition));
            if let Some(state) = state {
                partition.set_state(state);
            }
        }
    }

    fn reconfigure(&self, image: &ClusterImage, topic: &TopicImage) {
        let config = self.topic_config(image, &topic.name);
        for (partition, _) in self.hosted(topic) {
            if let Some(partition) = self.partition(topic.id, partition) {
                let log_config = log_config(&config, self.settings.read().broker());
                partition.set_config(Arc::clone(&config), log_config);
                self.flush_soon(&partition, None);
            }
        }
    }

    fn topic_config(&self, image: &ClusterImage, topic: &TopicName) -> Arc<TopicConfig> {
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

    /// Deletes the records of a partition before an offset; `None` stands for all that are committed. Gives the first
    /// offset that is left. Blocks for the disk.
    ///
    /// # Errors
    /// As [`PartitionError`] says.
    pub fn delete_records(
        &self,
        partition: &Partition,
        before: Option<Offset>,
    ) -> Result<Offset, PartitionError> {
        let (log, before) = partition.check_delete_before(before)?;
        let offline = |error: std::io::Error| PartitionError::Offline(error.to_string());
        let removed = log.advance_log_start(before).map_err(offline)?;
        // What was deleted stays deleted, whatever happens next.
        self.checkpoint(KeptKinds::All).map_err(offline)?;
        self.remove(partition, log, removed).map_err(offline)?;
        Ok(log.ends().log_start)
    }

    /// Has what an append made necessary flushed in the background: a finished segment, or all before it is acknowledged.
    pub fn flush_after(&self, partition: &Arc<Partition>, appended: &Appended) {
        if appended.rolled || appended.unsettled {
            self.flush_soon(partition, None);
        }
    }

    /// Flushes this much of a log in the background, or without saying so as much as is wanted. If a flush is under way, the
    /// next one follows it, for all that have come meanwhile: group commit.
    fn flush_soon(&self, partition: &Arc<Partition>, extent: Option<FlushExtent>) {
        if partition.begin_flush() {
            flush_in_background(&self.env, Arc::clone(partition), extent);
        }
    }

    /// An append has failed: if the disk is to blame, the broker cannot go on.
    pub fn report(&self, partition: &Partition, error: &PartitionError) {
        if let (PartitionError::Append(AppendError::Io { source, .. }), Ok(log)) =
            (error, partition.log())
        {
            report_disk_failure(&self.env.tasks, log, source);
        }
    }

    /// Writes these of the checkpoint files, as far as something changed.
    ///
    /// # Errors
    /// As the disk says.
    pub fn checkpoint(&self, kinds: KeptKinds) -> std::io::Result<()> {
        let offsets = |log: &Arc<Log>| {
            let (recovery_point, ends) = (log.recovery_point(), log.ends());
            let (log_start, high_watermark) = (ends.log_start, ends.high_watermark);
            LogOffsets { recovery_point, log_start, high_watermark }
        };
        self.data_dir.kept_offsets().write(kinds, || {
            self.all().into_iter().map(|partition| {
                let name = (partition.topic().clone(), partition.id().partition);
                // Of a partition that is offline the last offsets are kept: its log may be repaired.
                (name, partition.log().ok().map(offsets))
            })
        })
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
        let name = (partition.topic().clone(), partition.id().partition);
        log.cleanable(self.data_dir.kept_offsets().cleaned(&name), self.env.clock.now())
    }

    /// Makes the finished segments of a log durable, and known to be so; gives whether that worked. Blocks for the disk.
    pub(super) fn make_durable(&self, log: &Log) -> bool {
        if let Err(error) = log.flush(false) {
            report_disk_failure(&self.env.tasks, log, &error);
            return false;
        }
        if let Err(error) = self.checkpoint(KeptKinds::All) {
            tracing::warn!(%error, "cannot write the checkpoints: nothing is compacted");
            return false;
        }
        true
    }

    /// Writes down how far the log of a partition was compacted, unless the partition is gone: its name may be another's
    /// by now. Blocks for the disk.
    ///
    /// # Errors
    /// As the disk says.
    pub(super) fn note_cleaned(&self, partition: &Partition, to: Offset) -> std::io::Result<()> {
        // Held until it is written, so that the partition does not go before.
        let partitions = self.partitions.read();
        if !partitions.contains_key(&partition.id()) {
            return Ok(());
        }
        let name = (partition.topic().clone(), partition.id().partition);
        self.data_dir.kept_offsets().set_cleaned(&name, to)
    }

    /// Has files of a partition removed some time from now.
    pub(super) fn remove_files(&self, partition: &Partition, files: Vec<PathBuf>) {
        self.janitor.remove_at(self.after(partition.config().file_delete_delay), files);
    }

    /// The disk has failed under a log: the broker cannot go on.
    pub(super) fn report_failure(&self, log: &Log, error: &std::io::Error) {
        report_disk_failure(&self.env.tasks, log, error);
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
                Ok(segments) => removed.push((Arc::clone(&partition), segments)),
                Err(error) => report_disk_failure(&self.env.tasks, log, &error),
            }
        }
        if removed.is_empty() {
            return;
        }
        if let Err(error) = self.checkpoint(KeptKinds::All) {
            tracing::warn!(%error, "cannot write the checkpoints: old segments stay until the next start");
            return;
        }
        for (partition, segments) in removed {
            let Ok(log) = partition.log() else { continue };
            if let Err(error) = self.remove(&partition, log, segments) {
                report_disk_failure(&self.env.tasks, log, &error);
            }
        }
    }

    /// Has the files of segments removed some time from now.
    fn remove(&self, partition: &Partition, log: &Log, removed: Removed) -> std::io::Result<()> {
        self.remove_files(partition, log.mark_deleted(removed)?);
        Ok(())
    }

    async fn run_flushes(&self) {
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
    fn flush_aged(&self) {
        let now = self.env.steady.now();
        for partition in self.all() {
            if partition.is_flush_due(now) {
                self.flush_soon(&partition, Some(FlushExtent::Whole));
            }
        }
    }

    async fn run_checkpoints(self: Arc<Self>, kinds: KeptKinds) {
        loop {
            let settings = Arc::clone(&self.settings.read());
            let interval = match kinds {
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

    /// The log directory with its logs.
    ///
    /// # Errors
    /// As the disk says.
    pub fn describe_log_dir(&self) -> std::io::Result<LogDirInfo> {
        let path = self.data_dir.path().to_owned();
        let space = self.env.disk.space(&path)?;
        let mut logs = Vec::new();
        for partition in self.all() {
            if let Ok(log) = partition.log() {
                logs.push(ReplicaLogInfo {
                    topic: partition.topic().clone(),
                    partition: partition.id().partition,
                    size_bytes: log.size_bytes(),
                });
            }
        }
        Ok(LogDirInfo { path, space, logs })
    }

    /// The data directory's path.
    #[must_use]
    pub fn data_path(&self) -> &Path {
        self.data_dir.path()
    }

    /// Ends all logs in good order and marks the stop as clean. Blocks for the disk.
    ///
    /// # Errors
    /// As the disk says: the stop is not marked then, and the next start recovers.
    pub fn close(&self, broker_epoch: i64) -> std::io::Result<()> {
        for partition in self.all() {
            if let Ok(log) = partition.log() {
                log.close()?;
            }
        }
        self.checkpoint(KeptKinds::All)?;
        self.data_dir.mark_clean(broker_epoch)
    }
}

/// Each flush is a job of its own, so that those of many logs take turns on the pool.
fn flush_in_background(env: &Env, partition: Arc<Partition>, extent: Option<FlushExtent>) {
    let again = env.clone();
    let flushed = env.tasks.spawn_blocking("flush-log", move || {
        match partition.flush(extent, again.steady.now()) {
            Ok(true) if partition.begin_flush() => flush_in_background(&again, partition, None),
            Ok(_) => {}
            Err(error) => {
                if let Ok(log) = partition.log() {
                    report_disk_failure(&again.tasks, log, &error);
                }
            }
        }
    });
    drop(flushed);
}

fn report_disk_failure(tasks: &crate::env::Tasks, log: &Log, error: &std::io::Error) {
    let partition = log.name();
    tracing::error!(%partition, %error, "the disk has failed: no log directory is left");
    tasks.fail();
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
