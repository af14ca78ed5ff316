//! One partition of this broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::PartitionError;
use super::leading::Leading;
use super::peers::Peers;
use super::waiting::{AppendWait, FetchWaiter, Mark, Readable, Waiters};
use crate::cluster::PartitionImage;
use crate::config::{TopicCompression, TopicConfig};
use crate::env::{Residency, SteadyClock};
use crate::log::{
    AbortedTransaction, Advance, Append, AppendError, Appended, AppendedAt, Beginning, DirIndex,
    EpochEnd, FlushExtent, Guard, Log, LogConfig, LogEnds, LogPosition, Origin, PartitionName,
    ProducerView, ReadError, ReadLimit, Removed, TimestampOffset, TransactionEnd,
};
use crate::model::{
    BrokerId, Instant, LeaderEpoch, Offset, TopicIdPartition, TopicName, UnixMillis,
};
use crate::record::{BatchHeader, Compression, Recompression, Rules, TimestampType, ValidBatch};
use crate::telemetry::{Histogram, Traffic};

/// A partition that this broker holds a replica of.
#[derive(Debug)]
pub struct Partition {
    id: TopicIdPartition,
    topic: TopicName,
    pub(super) broker: BrokerId,
    /// Where it is. Held while something is appended or deleted, so that it does not move meanwhile; a thread that holds it
    /// must not ask for it again.
    place: RwLock<Place>,
    /// The copy that is to take the place of the log.
    moving: Mutex<Option<Moving>>,
    pub(super) config: RwLock<Arc<TopicConfig>>,
    /// Changed only while nothing is appended.
    pub(super) state: RwLock<PartitionImage>,
    /// Held while a leader's answer is taken, so that the leader does not change meanwhile. It comes before all other locks.
    pub(super) following: Mutex<()>,
    /// What is known of the other replicas, if this broker leads them.
    pub(super) leading: Mutex<Option<Leading>>,
    /// Whether it acts as what the controller says.
    pub(super) has_begun: AtomicBool,
    pub(super) peers: Arc<Peers>,
    pub(super) waiters: Waiters,
    /// Whether a flush of the log is under way, or about to be: there is one at a time.
    flushing: AtomicBool,
    /// When the log was last flushed, or opened.
    flushed_at: Mutex<Instant>,
    /// Set when the topic was deleted.
    gone: AtomicBool,
    /// What clients wrote and read. Their handlers count it.
    traffic: Traffic,
}

/// Where a partition is.
#[derive(Debug)]
pub(super) struct Place {
    /// The data directory; none if it is not known.
    pub(super) dir: Option<DirIndex>,
    /// The log, or why there is none.
    pub(super) log: Result<Arc<Log>, String>,
}

/// A copy of a partition in another data directory, which is to take its place.
#[derive(Clone, Debug)]
pub(super) struct Moving {
    /// The other directory.
    pub(super) to: DirIndex,
    /// The copy, as far as it is there.
    pub(super) copy: Arc<Log>,
    /// How often it was begun anew.
    pub(super) restarts: u32,
}

/// A log that this broker leads; while this is held, the partition stays where it is.
pub(super) type LedLog<'a> = MappedRwLockReadGuard<'a, Arc<Log>>;

/// Which records a consumer wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All that are committed by the replicas.
    ReadUncommitted,
    /// Of transactions only those that were committed: nothing above the last stable offset, and with the records the
    /// aborted transactions that are to be skipped.
    ReadCommitted,
    /// All there are, committed or not: other replicas.
    Replica,
}

impl Isolation {
    pub(super) const fn limit(self) -> ReadLimit {
        match self {
            Self::Replica => ReadLimit::End,
            Self::ReadUncommitted => ReadLimit::HighWatermark,
            Self::ReadCommitted => ReadLimit::LastStable,
        }
    }
}

/// Where to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchFrom {
    /// The offset of the first record wanted.
    pub offset: Offset,
    /// The leader epoch that the reader believes in, if it says so (KIP-320).
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record that the reader has, if it says so (KIP-320).
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// Where the log of a replica begins that asks; -1 if it does not say.
    pub replica_start: Offset,
    /// About how many bytes are wanted.
    pub max_bytes: u32,
    /// Whether the first batch is wanted even if it is larger.
    pub whole_first_batch: bool,
    /// Which records are wanted.
    pub isolation: Isolation,
    /// Who asks.
    pub reader: Reader,
}

/// Who reads records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A consumer that knows the leader only.
    Consumer,
    /// A consumer that may read from any replica (KIP-392).
    ConsumerOfAnyReplica,
    /// Another replica: it has all that is below the offset that it asks for.
    Replica {
        /// The broker.
        broker: BrokerId,
        /// Its epoch; -1 if it does not say.
        broker_epoch: i64,
    },
}

/// Records of one partition.
#[derive(Clone, Debug)]
pub struct FetchedRecords {
    /// Whole batches, but for the last one, which may be cut off. Empty if there are none (yet).
    pub records: Bytes,
    /// The aborted transactions among them, under [`Isolation::ReadCommitted`].
    pub aborted: Vec<AbortedTransaction>,
    /// The marks of the log.
    pub ends: LogEnds,
    /// How far the read could have gone.
    pub limit: LogPosition,
    /// Bytes between where the read began and how far it could have gone; `None` if that spans segments.
    pub available_bytes: Option<u32>,
    /// Set if the reader's last epoch and offset are not of this log: where that epoch ends here.
    pub diverging: Option<EpochEnd>,
}

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuestion {
    /// The first one that can be read.
    Earliest,
    /// The first one on this broker's own disks.
    EarliestLocal,
    /// The end of what the asker may read.
    Latest,
    /// The last one that was moved to tiered storage: there is none.
    LatestTiered,
    /// The first one that waits to be moved to tiered storage: there is none.
    EarliestPendingUpload,
    /// That of the record with the largest timestamp.
    MaxTimestamp,
    /// That of the first record at or after this time.
    AtTime(UnixMillis),
}

/// An offset that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetAnswer {
    /// Timestamp of the record; [`UnixMillis::NONE`] for the ends of the log, and if there is no such record.
    pub timestamp: UnixMillis,
    /// The offset; -1 if there is no such record.
    pub offset: Offset,
    /// The leader epoch that goes with it; -1 if it is not known.
    pub leader_epoch: LeaderEpoch,
}

impl OffsetAnswer {
    const NO_RECORD: Self = Self {
        timestamp: UnixMillis::NONE,
        offset: Offset(-1),
        leader_epoch: LeaderEpoch::UNKNOWN,
    };

    fn of(found: TimestampOffset) -> Self {
        Self { timestamp: found.timestamp, offset: found.offset, leader_epoch: found.leader_epoch }
    }
}

/// The producers of a partition, for DescribeProducers.
pub type ProducerStates = Vec<ProducerView>;

impl Partition {
    pub(super) fn new(
        id: TopicIdPartition,
        topic: TopicName,
        broker: BrokerId,
        place: Place,
        config: Arc<TopicConfig>,
        state: PartitionImage,
        peers: Arc<Peers>,
    ) -> Self {
        let now = peers.now();
        Self {
            id,
            topic,
            broker,
            place: RwLock::new(place),
            moving: Mutex::new(None),
            config: RwLock::new(config),
            state: RwLock::new(state),
            following: Mutex::new(()),
            leading: Mutex::new(None),
            has_begun: AtomicBool::new(false),
            peers,
            waiters: Waiters::default(),
            flushing: AtomicBool::new(false),
            flushed_at: Mutex::new(now),
            traffic: Traffic::default(),
            gone: AtomicBool::new(false),
        }
    }

    /// Topic id and index.
    #[must_use]
    pub const fn id(&self) -> TopicIdPartition {
        self.id
    }

    /// The topic's name.
    #[must_use]
    pub const fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The topic's name and the index, as offset checkpoints name it.
    pub(super) fn name(&self) -> PartitionName {
        (self.topic.clone(), self.id.partition)
    }

    /// What clients wrote and read, to be counted by whoever serves them.
    #[must_use]
    pub const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The topic's configs, as they are now.
    #[must_use]
    pub fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.config.read())
    }

    /// The log. The partition may get another one at any time, with the same records, when it moves to another directory: then
    /// this one takes no more appends.
    ///
    /// # Errors
    /// [`PartitionError::Offline`] if it could not be opened, or its directory has failed.
    pub fn log(&self) -> Result<Arc<Log>, PartitionError> {
        let place = self.place.read();
        place.log.as_ref().map(Arc::clone).map_err(|reason| PartitionError::Offline(reason.clone()))
    }

    /// Its data directory; none if it is not known.
    pub(super) fn dir(&self) -> Option<DirIndex> {
        self.place.read().dir
    }

    /// Its data directory, and its log if there is one.
    pub(super) fn dir_and_log(&self) -> (Option<DirIndex>, Option<Arc<Log>>) {
        let place = self.place.read();
        (place.dir, place.log.as_ref().ok().map(Arc::clone))
    }

    /// The copy that is to take the place of the log.
    pub(super) fn moving(&self) -> Option<Moving> {
        self.moving.lock().clone()
    }

    /// Enters a move of the partition, of which there is none.
    pub(super) fn begin_moving(&self, moving: Moving) {
        *self.moving.lock() = Some(moving);
    }

    /// Ends this move; `false` if it is over already.
    pub(super) fn end_moving(&self, moving: &Moving) -> bool {
        let is_this = |now: &mut Moving| Arc::ptr_eq(&now.copy, &moving.copy);
        self.moving.lock().take_if(is_this).is_some()
    }

    /// Its place, for whoever changes it. While it is held nothing is appended.
    pub(super) fn place_mut(&self) -> RwLockWriteGuard<'_, Place> {
        self.place.write()
    }

    /// Whether the topic was deleted.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whoever waits is to look again.
    pub(super) fn wake_all(&self) {
        self.waiters.wake_all();
    }

    /// A data directory has failed: a log in it takes no more appends and is not read any more, and a move from or to it is over.
    /// Gives whether the partition is offline now.
    pub(super) fn dir_failed(&self, dir: DirIndex, reason: &str) -> bool {
        let mut place = self.place.write();
        let is_here = place.dir == Some(dir);
        let mut moving = self.moving.lock();
        if let Some(ended) = moving.take_if(|moving| is_here || moving.to == dir) {
            ended.copy.fail();
        }
        if !is_here {
            return false;
        }
        if let Ok(log) = std::mem::replace(&mut place.log, Err(reason.to_owned())) {
            log.fail();
        }
        drop((moving, place));
        self.waiters.wake_all();
        true
    }

    /// The leader and its epoch, as far as this broker knows.
    #[must_use]
    pub fn leader(&self) -> (Option<BrokerId>, LeaderEpoch) {
        let state = self.state.read();
        (state.leader, state.leader_epoch)
    }

    pub(super) fn set_config(&self, config: Arc<TopicConfig>, log_config: LogConfig) {
        // In this order: a log that is opened meanwhile, because the partition moves, has one of both from here.
        *self.config.write() = config;
        if let Ok(log) = self.log() {
            log.set_config(log_config);
        }
    }

    /// What is asked of a batch that is to be appended.
    #[must_use]
    pub fn record_rules(&self, allows_zstd: bool) -> Rules {
        let config = self.config.read();
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Rules {
            batch_bytes_max: config.message_bytes_max,
            is_compacted: config.cleanup_compact,
            timestamp_type: timestamp_type(&config),
            timestamp_before_max_ms: millis(config.timestamp_before_max),
            timestamp_after_max_ms: millis(config.timestamp_after_max),
            allows_zstd,
            recompression: recompression(config.compression),
        }
    }

    /// Whether appended records may have to be compressed by the broker.
    #[must_use]
    pub fn recompresses(&self) -> bool {
        self.config.read().compression != TopicCompression::Producer
    }

    /// The partition is gone: nobody appends any more or waits for it.
    pub(super) fn abandon(&self) {
        self.gone.store(true, Ordering::Release);
        {
            let place = self.place.write();
            if let Ok(log) = &place.log {
                log.abandon();
            }
            if let Some(moving) = &*self.moving.lock() {
                moving.copy.abandon();
            }
        }
        self.waiters.wake_all();
    }

    /// The log of the partition, if this broker leads it in the epoch that the asker believes in. The partition does not move
    /// while it is held.
    pub(super) fn led_log(
        &self,
        asked: Option<LeaderEpoch>,
    ) -> Result<(LedLog<'_>, LeaderEpoch), PartitionError> {
        self.log_in(asked, |leader| leader == Some(self.broker))
    }

    /// The log of the partition in the epoch that the asker believes in, if the leader is one of whom `may` is true. While it is
    /// held, neither place nor leader changes.
    pub(super) fn log_in(
        &self,
        asked: Option<LeaderEpoch>,
        may: impl Fn(Option<BrokerId>) -> bool,
    ) -> Result<(LedLog<'_>, LeaderEpoch), PartitionError> {
        if self.is_gone() {
            return Err(PartitionError::Gone);
        }
        let place = self.place.read();
        let (leader, current) = self.leader();
        match asked {
            Some(asked) if asked < current => {
                Err(PartitionError::FencedLeaderEpoch { asked, current })
            }
            Some(asked) if asked > current => {
                Err(PartitionError::UnknownLeaderEpoch { asked, current })
            }
            _ if !may(leader) => Err(PartitionError::NotLeader),
            // R16: whoever may have been replaced as the leader without knowing it does not act as one.
            _ if leader == Some(self.broker) && !self.peers.is_in_session() => {
                Err(PartitionError::NotLeader)
            }
            _ => {
                let log = RwLockReadGuard::try_map(place, |place| place.log.as_ref().ok());
                let log = log.map_err(|place| {
                    PartitionError::Offline(place.log.as_ref().err().cloned().unwrap_or_default())
                })?;
                Ok((log, current))
            }
        }
    }

    /// As [`led_log`](Self::led_log), for who reads: that may take long, so it does not keep the partition where it is.
    fn read_log(
        &self,
        asked: Option<LeaderEpoch>,
    ) -> Result<(Arc<Log>, LeaderEpoch), PartitionError> {
        self.led_log(asked).map(|(log, epoch)| (Arc::clone(&log), epoch))
    }

    /// Whether a read has failed because its log was replaced by another one with the same records.
    fn has_moved_from(&self, log: &Arc<Log>, error: &ReadError) -> bool {
        matches!(error, ReadError::Io { .. })
            && self.log().is_ok_and(|current| !Arc::ptr_eq(&current, log))
    }

    /// Appends a batch of a client. With `all_in_sync` it is refused if too few replicas are in sync.
    ///
    /// # Errors
    /// As [`PartitionError`] says; nothing is appended then.
    pub fn append(
        &self,
        batch: ValidBatch,
        all_in_sync: bool,
        now: UnixMillis,
    ) -> Result<Appended, PartitionError> {
        self.append_of_client(batch, Origin::Client, all_in_sync, now)
    }

    /// Appends a batch of a client that writes in a transaction. A batch that begins the transaction here has to be
    /// [verified](Self::begin_verification); `guard` tells that it was.
    ///
    /// # Errors
    /// As [`PartitionError`] says; nothing is appended then.
    pub fn append_in_transaction(
        &self,
        batch: ValidBatch,
        guard: Option<Guard>,
        all_in_sync: bool,
        now: UnixMillis,
    ) -> Result<Appended, PartitionError> {
        self.append_of_client(batch, Origin::Transaction(guard), all_in_sync, now)
    }

    fn append_of_client(
        &self,
        batch: ValidBatch,
        origin: Origin,
        all_in_sync: bool,
        now: UnixMillis,
    ) -> Result<Appended, PartitionError> {
        let (log, leader_epoch) = self.led_log(None)?;
        if all_in_sync {
            self.check_in_sync()?;
        }
        self.append_to(&log, Append { batch, leader_epoch, origin, now })
    }

    /// Begins to verify that a producer may begin a transaction here; `None` if it has begun it.
    ///
    /// # Errors
    /// As [`PartitionError`] says.
    pub fn begin_verification(
        &self,
        batch: &Beginning,
        now: UnixMillis,
    ) -> Result<Option<Guard>, PartitionError> {
        let (log, _) = self.led_log(None)?;
        Ok(log.begin_verification(batch, now))
    }

    /// Whether a coordinator of this broker, which alone appends here, may append this batch to a producer's transaction.
    ///
    /// # Errors
    /// As [`PartitionError`] says.
    pub fn check_in_transaction(
        &self,
        batch: &BatchHeader,
        guard: Option<Guard>,
    ) -> Result<(), PartitionError> {
        let (log, _) = self.led_log(None)?;
        Ok(log.check_in_transaction(batch, guard)?)
    }

    /// Appends a batch that a coordinator of this broker made while it led the partition in `leader_epoch`. Refused if
    /// that is over, or if too few replicas are in sync.
    ///
    /// # Errors
    /// As [`PartitionError`] says; nothing is appended then.
    pub fn append_own(
        &self,
        batch: ValidBatch,
        leader_epoch: LeaderEpoch,
        now: UnixMillis,
    ) -> Result<Appended, PartitionError> {
        let (log, leader_epoch) = self.led_log(Some(leader_epoch))?;
        self.check_in_sync()?;
        self.append_to(&log, Append { batch, leader_epoch, origin: Origin::Coordinator, now })
    }

    /// Appends the marker that ends a transaction here, for a transaction coordinator. The coordinator does not know the
    /// leader epoch; its own epoch keeps an earlier one out. Refused if too few replicas are in sync.
    ///
    /// # Errors
    /// As [`PartitionError`] says; nothing is appended then.
    pub fn append_transaction_end(
        &self,
        end: &TransactionEnd,
        now: UnixMillis,
    ) -> Result<Appended, PartitionError> {
        let (log, leader_epoch) = self.led_log(None)?;
        self.check_in_sync()?;
        let appended = log.append_end(end, leader_epoch, now)?;
        self.commit_settled(&log, &appended);
        Ok(appended)
    }

    fn append_to(&self, log: &Log, append: Append) -> Result<Appended, PartitionError> {
        let appended = log.append(&append)?;
        self.commit_settled(log, &appended);
        Ok(appended)
    }

    /// What was appended is committed, unless it waits for a flush or for other replicas: then that sees to it.
    fn commit_settled(&self, log: &Log, appended: &Appended) {
        let AppendedAt::End(end) = appended.at else { return };
        if appended.unsettled {
            self.waiters.appended(appended.size_bytes);
        } else {
            self.advance_high_watermark(log, end, appended.size_bytes);
        }
    }

    /// What is in all replicas, and settled here, is committed. With one replica in sync that is all that is settled.
    fn advance_high_watermark(&self, log: &Log, end: LogPosition, new_bytes: u32) {
        let is_alone = {
            let state = self.state.read();
            state.replicas.len() == 1 && state.isr == [self.broker]
        };
        if is_alone {
            self.commit(log, end);
        } else {
            self.advance_replicated(log);
            self.waiters.appended(new_bytes);
        }
    }

    /// Moves the high watermark, and tells who waits for that.
    pub(super) fn commit(&self, log: &Log, end: LogPosition) {
        if let Some(advance) = log.advance_high_watermark(end) {
            self.tell_committed(&advance);
        }
    }

    /// Tells who waits that the high watermark has moved.
    pub(super) fn tell_committed(&self, advance: &Advance) {
        // Across segments there is enough for anyone.
        let bytes = |from: LogPosition, to: LogPosition| to.bytes_since(&from).unwrap_or(u32::MAX);
        let more = Readable {
            committed_bytes: bytes(advance.before, advance.after),
            stable_bytes: bytes(advance.stable_before, advance.stable_after),
        };
        self.waiters.committed(advance.after.offset, more);
    }

    fn check_in_sync(&self) -> Result<(), PartitionError> {
        let (in_sync, required) = self.in_sync();
        if in_sync < required {
            return Err(PartitionError::NotEnoughReplicas { in_sync, required });
        }
        Ok(())
    }

    /// How many replicas are in sync, and how many have to be.
    pub(super) fn in_sync(&self) -> (usize, usize) {
        let state = self.state.read();
        (state.isr.len(), self.min_in_sync(&state))
    }

    pub(super) fn min_in_sync(&self, state: &PartitionImage) -> usize {
        let required = self.config.read().min_insync_replicas as usize;
        required.min(state.replicas.len())
    }

    /// Takes on the next flush of the log; `false` if somebody is at it, who will see what is wanted now.
    pub(super) fn begin_flush(&self) -> bool {
        !self.flushing.swap(true, Ordering::AcqRel)
    }

    /// Flushes as much of the log as is wanted, or all of it if that is said here; tells who waits. Gives whether somebody has
    /// to begin again, because more is wanted meanwhile; counts how long the disk takes. Only after [`begin_flush`](Self::begin_flush). Blocks for the disk.
    ///
    /// # Errors
    /// As the disk says. Whoever waits is told that.
    pub(super) fn flush(
        &self,
        extent: Option<FlushExtent>,
        steady: &SteadyClock,
        durations: &Histogram,
    ) -> std::io::Result<bool> {
        let began = steady.now();
        let Ok(log) = self.log() else {
            self.flushing.store(false, Ordering::Release);
            return Ok(false);
        };
        let flushed = match extent.or_else(|| log.flush_wanted()) {
            Some(extent) => {
                let flushed = log.flush(extent == FlushExtent::Whole).map(drop);
                durations.record(steady.now().since(began));
                flushed
            }
            None => Ok(()),
        };
        // From here on others may begin; what they asked for until now is looked at below.
        self.flushing.store(false, Ordering::Release);
        if let Err(error) = flushed {
            self.waiters.wake_all();
            return Err(error);
        }
        *self.flushed_at.lock() = began;
        let (before, settled) = (log.high_watermark(), log.settled_end());
        // Of a step over several segments readers are told more than there is: they look again.
        let bytes = settled.bytes_since(&before).unwrap_or(u32::MAX);
        self.advance_high_watermark(&log, settled, bytes);
        self.waiters.settled(settled.offset);
        Ok(log.flush_wanted().is_some())
    }

    /// Waits for what is in the log to be as durable as the topic wants it; `None` if it is, or never will be.
    pub(super) fn unsettled(&self) -> Option<Arc<AppendWait>> {
        let log = self.log().ok()?;
        let end = log.ends().end;
        let is_over = || log.settled_end().offset >= end || log.has_failed();
        if is_over() {
            return None;
        }
        let wait = self.waiters.add_append(Mark::Settled, end);
        // It may have come between the look and the entry in the list.
        (!is_over()).then_some(wait)
    }

    /// Whether the log was not flushed for as long as its topic allows (`LogManager.flushDirtyLogs` of Apache Kafka).
    pub(super) fn is_flush_due(&self, now: Instant) -> bool {
        let age_max = self.config.read().flush_age_max;
        let Ok(log) = self.log() else { return false };
        now.since(*self.flushed_at.lock()) >= age_max
            && log.recovery_point() < log.ends().end
            && !log.has_failed()
    }

    /// A wait for `mark` to pass an append that ends before `offset` and was made in this leader epoch; `None` if it has.
    ///
    /// # Errors
    /// [`PartitionError::NotLeader`] if the epoch is over, so that nobody here can tell,
    /// [`PartitionError::NotEnoughReplicasAfterAppend`] if it has while too few replicas were in sync (R9), and
    /// [`PartitionError::Append`] if the disk has failed, so that it will not come.
    pub fn wait_for(
        &self,
        mark: Mark,
        offset: Offset,
        leader_epoch: LeaderEpoch,
    ) -> Result<Option<Arc<AppendWait>>, PartitionError> {
        let led = self.led_log(Some(leader_epoch));
        let (log, _) = led.map_err(|error| {
            let is_over = matches!(
                error,
                PartitionError::FencedLeaderEpoch { .. }
                    | PartitionError::UnknownLeaderEpoch { .. }
            );
            if is_over { PartitionError::NotLeader } else { error }
        })?;
        let is_there = || match mark {
            Mark::Committed => log.ends().high_watermark >= offset,
            Mark::Settled => log.settled_end().offset >= offset,
            Mark::Deleted => self.low_watermark_with(&log) >= offset,
        };
        let done = || match mark {
            Mark::Committed => self.check_still_in_sync().map(|()| None),
            Mark::Settled | Mark::Deleted => Ok(None),
        };
        if is_there() {
            return done();
        }
        let wait = self.waiters.add_append(mark, offset);
        // It may have come, or failed, between the look and the entry in the list.
        if is_there() {
            return done();
        }
        if log.has_failed() {
            return Err(AppendError::Closed.into());
        }
        Ok(Some(wait))
    }

    fn check_still_in_sync(&self) -> Result<(), PartitionError> {
        if self.state.read().replicas.len() == 1 {
            return Ok(());
        }
        match self.in_sync() {
            (in_sync, required) if in_sync < required => {
                Err(PartitionError::NotEnoughReplicasAfterAppend { in_sync, required })
            }
            _ => Ok(()),
        }
    }

    /// Reads records; `None` if [`Residency::Cached`] was asked and something needed is not in memory. Of a replica that reads
    /// is noted how far it has come.
    ///
    /// # Errors
    /// As [`PartitionError`] says.
    pub fn fetch(
        &self,
        from: &FetchFrom,
        residency: Residency,
    ) -> Result<Option<FetchedRecords>, PartitionError> {
        loop {
            let log = match from.reader {
                Reader::Consumer => self.read_log(from.current_leader_epoch)?.0,
                Reader::ConsumerOfAnyReplica => {
                    self.log_of_any_replica(from.current_leader_epoch)?
                }
                Reader::Replica { broker, .. } => {
                    self.log_for_replica(from.current_leader_epoch, broker)?
                }
            };
            match self.fetch_in(&log, from, residency) {
                Err(PartitionError::Read(error)) if self.has_moved_from(&log, &error) => {}
                fetched => return fetched,
            }
        }
    }

    fn fetch_in(
        &self,
        log: &Log,
        from: &FetchFrom,
        residency: Residency,
    ) -> Result<Option<FetchedRecords>, PartitionError> {
        if let Some(diverging) = self.diverging(log, from)? {
            let limit = log.limit(from.isolation.limit());
            return Ok(Some(FetchedRecords {
                records: Bytes::new(),
                aborted: Vec::new(),
                ends: log.ends(),
                limit,
                available_bytes: Some(0),
                diverging: Some(diverging),
            }));
        }
        if let Reader::Replica { broker, broker_epoch } = from.reader {
            self.follower_fetched(log, broker, broker_epoch, from)?;
        }
        let limit = from.isolation.limit();
        let read =
            log.read(from.offset, from.max_bytes, from.whole_first_batch, limit, residency)?;
        Ok(read.map(|read| FetchedRecords {
            available_bytes: read.limit.bytes_since(&read.start),
            records: read.records,
            aborted: read.aborted,
            ends: read.ends,
            limit: read.limit,
            diverging: None,
        }))
    }

    /// Whether the reader's last record is of another history than this log (`Partition.readRecords` of Apache Kafka).
    fn diverging(&self, log: &Log, from: &FetchFrom) -> Result<Option<EpochEnd>, PartitionError> {
        let Some(epoch) = from.last_fetched_epoch else { return Ok(None) };
        let ends = log.ends();
        let out_of_range = || {
            let (start, end) = (ends.log_start, ends.end);
            ReadError::OffsetOutOfRange { wanted: from.offset, start, end }
        };
        let end = self.epoch_end_in(log, epoch).ok_or_else(out_of_range)?;
        if from.offset < ends.log_start {
            return Err(out_of_range().into());
        }
        Ok((end.epoch < epoch || end.end < from.offset).then_some(end))
    }

    /// Where an epoch ends, counting the current one even if it has no record yet.
    fn epoch_end_in(&self, log: &Log, epoch: LeaderEpoch) -> Option<EpochEnd> {
        let (_, current) = self.leader();
        if epoch == current {
            return Some(EpochEnd { epoch, end: log.ends().end });
        }
        match log.epoch_end(epoch) {
            // An epoch after the last one that wrote, and before the current one, which has not written yet.
            None if epoch < current && epoch.0 >= 0 => {
                let written = log.latest_epoch()?;
                Some(EpochEnd { epoch: written, end: log.ends().end })
            }
            end => end,
        }
    }

    /// Where a leader epoch ends; `None` for one that is not known.
    ///
    /// # Errors
    /// As [`PartitionError`] says.
    pub fn epoch_end(
        &self,
        current: Option<LeaderEpoch>,
        epoch: LeaderEpoch,
    ) -> Result<Option<EpochEnd>, PartitionError> {
        let (log, _) = self.read_log(current)?;
        Ok(self.epoch_end_in(&log, epoch))
    }

    /// Answers which offset stands at an end of the log or at a time. Waits for the disk, except for the ends of the log.
    ///
    /// # Errors
    /// As [`PartitionError`] says.
    pub fn offset_for(
        &self,
        question: OffsetQuestion,
        isolation: Isolation,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<OffsetAnswer, PartitionError> {
        let (log, leader_epoch) = self.read_log(current_leader_epoch)?;
        let ends = log.ends();
        let readable = match isolation {
            Isolation::ReadUncommitted => ends.high_watermark,
            Isolation::ReadCommitted => ends.last_stable,
            Isolation::Replica => ends.end,
        };
        let at = |offset: Offset, epoch: Option<LeaderEpoch>| OffsetAnswer {
            timestamp: UnixMillis::NONE,
            offset,
            leader_epoch: epoch.unwrap_or(LeaderEpoch::UNKNOWN),
        };
        let found = match question {
            OffsetQuestion::Earliest | OffsetQuestion::EarliestLocal => {
                return Ok(at(ends.log_start, log.earliest_epoch()));
            }
            OffsetQuestion::Latest => {
                self.check_offsets_known(isolation, ends.high_watermark)?;
                return Ok(at(readable, Some(leader_epoch)));
            }
            OffsetQuestion::LatestTiered | OffsetQuestion::EarliestPendingUpload => {
                return Ok(OffsetAnswer::NO_RECORD);
            }
            OffsetQuestion::MaxTimestamp => log.find_max_timestamp(),
            OffsetQuestion::AtTime(timestamp) => log.find_timestamp(timestamp),
        };
        let found = match found {
            Err(error) if self.has_moved_from(&log, &error) => {
                return self.offset_for(question, isolation, current_leader_epoch);
            }
            found => found?,
        };
        let found = found.filter(|found| found.offset < readable);
        if found.is_none() {
            self.check_offsets_known(isolation, ends.high_watermark)?;
        }
        Ok(found.map_or(OffsetAnswer::NO_RECORD, OffsetAnswer::of))
    }

    /// A new leader does not know at once up to where its predecessors have committed (R7).
    fn check_offsets_known(
        &self,
        isolation: Isolation,
        high_watermark: Offset,
    ) -> Result<(), PartitionError> {
        let start = self.leading.lock().as_ref().map(Leading::epoch_start);
        match start {
            Some(start) if isolation != Isolation::Replica && high_watermark < start => {
                Err(PartitionError::OffsetNotAvailable)
            }
            _ => Ok(()),
        }
    }

    /// The idempotent producers.
    ///
    /// # Errors
    /// As [`PartitionError`] says.
    pub fn producers(&self) -> Result<ProducerStates, PartitionError> {
        let (log, _) = self.led_log(None)?;
        Ok(log.producers())
    }

    /// How far a read may go now; `None` if the partition is offline.
    #[must_use]
    pub fn limit(&self, isolation: Isolation) -> Option<LogPosition> {
        self.log().ok().map(|log| log.limit(isolation.limit()))
    }

    /// Registers a fetch that waits for records of this partition.
    pub fn add_waiter(&self, waiter: &Arc<FetchWaiter>) {
        self.waiters.add_fetch(waiter);
    }

    /// Takes a waiting fetch off the list.
    pub fn remove_waiter(&self, waiter: &Arc<FetchWaiter>) {
        self.waiters.remove_fetch(waiter);
    }

    /// Makes the log begin at an offset; `None` stands for the end of all that are committed. Gives the log, and the segments
    /// that are wholly below. Blocks for the disk.
    ///
    /// # Errors
    /// As [`PartitionError`] says.
    pub(super) fn delete_before(
        &self,
        before: Option<Offset>,
    ) -> Result<(Deletion, Arc<Log>, Removed), DeleteError> {
        let (log, leader_epoch) = self.led_log(None)?;
        if !self.config.read().cleanup_delete {
            return Err(PartitionError::NotDeletable.into());
        }
        let ends = log.ends();
        let wanted = before.unwrap_or(ends.high_watermark);
        if wanted.0 < 0 || wanted > ends.high_watermark {
            let (start, high_watermark) = (ends.log_start, ends.high_watermark);
            return Err(PartitionError::OffsetOutOfRange { wanted, start, high_watermark }.into());
        }
        let removed = log.advance_log_start(wanted)?;
        let low_watermark = self.low_watermark_with(&log);
        // Other replicas learn of it from the answer to their next fetch.
        self.waiters.appended(u32::MAX);
        let deletion = Deletion { before: wanted, low_watermark, leader_epoch };
        Ok((deletion, Arc::clone(&log), removed))
    }
}

/// Records that the leader of a partition has deleted.
#[derive(Clone, Copy, Debug)]
pub struct Deletion {
    /// They were before this offset.
    pub before: Offset,
    /// As [`Partition::low_watermark`]. Until it comes to `before`, wait for [`Mark::Deleted`].
    pub low_watermark: Offset,
    /// The epoch of the leader.
    pub leader_epoch: LeaderEpoch,
}

/// Why records were not deleted.
#[derive(Debug)]
pub(super) enum DeleteError {
    /// The request is refused.
    Refused(PartitionError),
    /// The disk failed.
    Disk(std::io::Error),
}

impl From<PartitionError> for DeleteError {
    fn from(error: PartitionError) -> Self {
        Self::Refused(error)
    }
}

impl From<std::io::Error> for DeleteError {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

/// How the broker compresses records, as records know it.
fn recompression(wanted: TopicCompression) -> Option<Recompression> {
    let (codec, level) = match wanted {
        TopicCompression::Producer => return None,
        TopicCompression::Uncompressed => (Compression::None, None),
        TopicCompression::Gzip(level) => (Compression::Gzip, Some(level)),
        TopicCompression::Snappy => (Compression::Snappy, None),
        TopicCompression::Lz4(level) => (Compression::Lz4, Some(level)),
        TopicCompression::Zstd(level) => (Compression::Zstd, Some(level)),
    };
    Some(Recompression { codec, level })
}

/// The type of timestamps, as records know it.
pub(super) const fn timestamp_type(config: &TopicConfig) -> TimestampType {
    if config.stamped_on_append { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
}

#[cfg(test)]
mod tests;
