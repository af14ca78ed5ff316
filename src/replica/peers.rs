//! What all partitions of this broker share to act together with other brokers: the state of the cluster as far as it was
//! applied, the broker's own part in it, and the way to ask the controller.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::pace::Throttle;
use crate::cluster::ClusterImage;
use crate::config::ReplicationConfig;
use crate::env::SteadyClock;
use crate::model::{BrokerId, Instant, TopicIdPartition};

/// The session of a broker without others.
const ALONE: u64 = u64::MAX;

/// The rest of the cluster.
#[derive(Debug)]
pub(super) struct Peers {
    steady: SteadyClock,
    image: RwLock<Arc<ClusterImage>>,
    /// -1 before the broker has registered.
    broker_epoch: AtomicI64,
    /// Until when this broker may act as a leader, in nanoseconds of the steady clock; [`ALONE`] if nobody can replace it.
    session_end: AtomicU64,
    /// `replica.lag.time.max.ms`.
    lag_max: RwLock<Duration>,
    /// Of what others copy from this broker.
    pub(super) leader_throttle: Throttle,
    /// Of what this broker copies from others.
    pub(super) follower_throttle: Throttle,
    /// Partitions whose replicas in sync are to change.
    wishes: Mutex<BTreeSet<TopicIdPartition>>,
    wished: Notify,
}

impl Peers {
    pub(super) fn new(steady: SteadyClock, config: &ReplicationConfig) -> Self {
        let now = steady.now();
        let peers = Self {
            steady,
            image: RwLock::default(),
            broker_epoch: AtomicI64::new(-1),
            session_end: AtomicU64::new(ALONE),
            lag_max: RwLock::default(),
            leader_throttle: Throttle::new(now),
            follower_throttle: Throttle::new(now),
            wishes: Mutex::default(),
            wished: Notify::new(),
        };
        peers.set_config(config);
        peers
    }

    pub(super) fn now(&self) -> Instant {
        self.steady.now()
    }

    pub(super) fn image(&self) -> Arc<ClusterImage> {
        Arc::clone(&self.image.read())
    }

    pub(super) fn set_image(&self, image: &Arc<ClusterImage>) {
        *self.image.write() = Arc::clone(image);
    }

    pub(super) fn broker_epoch(&self) -> i64 {
        self.broker_epoch.load(Ordering::Acquire)
    }

    /// Whether the broker has registered since it has started.
    pub(super) fn is_registered(&self) -> bool {
        self.broker_epoch() >= 0
    }

    pub(super) fn set_broker_epoch(&self, epoch: i64) {
        self.broker_epoch.store(epoch, Ordering::Release);
    }

    /// Whether this broker may act as a leader. Asked at each use: a process that was stopped for a while must not take itself for
    /// what it was before.
    pub(super) fn is_in_session(&self) -> bool {
        let end = self.session_end.load(Ordering::Acquire);
        end == ALONE || self.steady.now().since_start().as_nanos() <= u128::from(end)
    }

    /// Sets until when that is; `None` for not at all.
    pub(super) fn set_session_end(&self, end: Option<Instant>) {
        let nanos = end.map_or(0, |end| end.since_start().as_nanos());
        let nanos = u64::try_from(nanos).unwrap_or(ALONE - 1);
        self.session_end.store(nanos, Ordering::Release);
    }

    pub(super) fn lag_max(&self) -> Duration {
        *self.lag_max.read()
    }

    /// The broker's keys have changed.
    pub(super) fn set_config(&self, config: &ReplicationConfig) {
        *self.lag_max.write() = config.lag_max;
        let now = self.now();
        self.leader_throttle.set_rate(now, config.leader_bytes_per_second_max);
        self.follower_throttle.set_rate(now, config.follower_bytes_per_second_max);
    }

    /// Whether a broker may be in sync: not fenced, not about to stop, and registered in this epoch, or in whichever (-1).
    pub(super) fn is_eligible(&self, broker: BrokerId, epoch: i64) -> bool {
        let image = self.image.read();
        let known = image.broker(broker).filter(|known| known.is_active());
        known.is_some_and(|known| epoch == -1 || known.epoch == epoch)
    }

    /// Has the controller asked for what the partition wishes.
    pub(super) fn ask_for(&self, partition: TopicIdPartition) {
        self.wishes.lock().insert(partition);
        self.wished.notify_one();
    }

    /// The next partitions that wish something, at most so many; waits for the first.
    pub(super) async fn next_wishes(&self, most: usize) -> BTreeSet<TopicIdPartition> {
        loop {
            {
                let mut wishes = self.wishes.lock();
                let rest = wishes.iter().nth(most).copied();
                let rest = rest.map(|first| wishes.split_off(&first)).unwrap_or_default();
                let next = std::mem::replace(&mut *wishes, rest);
                if !next.is_empty() {
                    return next;
                }
            }
            self.wished.notified().await;
        }
    }
}
