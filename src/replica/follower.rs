//! Following the leaders of this broker's partitions: which task fetches what.
//!
//! Owns the tasks, one or more for each leader, and which partitions each has. A partition goes over to another task as soon as
//! the controller names another leader, and when it comes into sync or falls out of it: those in sync, for which clients wait, do
//! not wait for the bulk of those that catch up. What is asked and what an answer does is in `followed.rs`.

mod requests;
mod task;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use self::task::Task;
use super::alterations::Proposer;
use super::manager::ReplicaManager;
use super::partition::Partition;
use crate::log::KeptKinds;
use crate::model::{BrokerId, Instant, LeaderEpoch, TopicIdPartition};

/// The first pause after a leader has refused something, or could not be reached; doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// The tasks that fetch.
#[derive(Debug, Default)]
pub(super) struct Fetchers {
    lanes: Mutex<Lanes>,
}

#[derive(Debug, Default)]
struct Lanes {
    /// Whether partitions are followed yet.
    started: bool,
    by_place: BTreeMap<Place, Arc<Lane>>,
}

/// Which task fetches a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    leader: BrokerId,
    /// Of as many tasks as are configured.
    number: u32,
    /// Whether this broker's replica is in sync.
    pub(super) in_sync: bool,
}

/// What one task fetches.
#[derive(Debug)]
struct Lane {
    place: Place,
    partitions: Mutex<BTreeMap<TopicIdPartition, Followee>>,
    /// Told when there is something to fetch that the fetch which is under way does not ask for.
    added: Notify,
}

/// A partition that is followed.
#[derive(Clone, Debug)]
struct Followee {
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
    pause: Pause,
}

/// How long not to try again what has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pause {
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    /// The pause after one more failure.
    fn longer(self, now: Instant, longest: Duration) -> Self {
        let length = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(longest);
        Self { failures: self.failures.saturating_add(1), until: Some(now.plus(length)) }
    }

    fn is_over(self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

impl Lane {
    /// Takes a partition on, if it is not there in this epoch.
    fn add(&self, partition: &Arc<Partition>, epoch: LeaderEpoch) {
        let followee =
            Followee { partition: Arc::clone(partition), epoch, pause: Pause::default() };
        let mut partitions = self.partitions.lock();
        let known = partitions.get(&partition.id());
        if known
            .is_some_and(|known| known.epoch == epoch && Arc::ptr_eq(&known.partition, partition))
        {
            return;
        }
        partitions.insert(partition.id(), followee);
        self.added.notify_one();
    }

    fn remove(&self, id: TopicIdPartition) {
        self.partitions.lock().remove(&id);
    }
}

impl ReplicaManager {
    /// Begins to act as one of several brokers, once the broker has registered with this epoch and what the controller said
    /// then was applied: leads and follows, and asks the controller for the replicas in sync. A broker that is alone does without.
    pub fn start_replication(self: &Arc<Self>, broker_epoch: i64, proposer: Arc<dyn Proposer>) {
        self.peers.set_broker_epoch(broker_epoch);
        let was_started = std::mem::replace(&mut self.fetchers.lanes.lock().started, true);
        if !was_started {
            let run = Arc::clone(self).run_failures(Arc::clone(&proposer));
            self.env.tasks.spawn_service("failed-replicas", run);
            let run = Arc::clone(self).run_alterations(proposer);
            self.env.tasks.spawn_service("alter-isr", run);
            self.env.tasks.spawn_service("isr-expiration", Arc::clone(self).run_shrinking());
            let run = Arc::clone(self).run_checkpoints(KeptKinds::HighWatermarks);
            self.env.tasks.spawn_service("high-watermarks", run);
        }
        for partition in self.all() {
            if let Err(error) = partition.begin() {
                self.lead_failed(&partition, &error);
            }
            self.follow_leader(&partition);
        }
    }

    /// The broker has registered again.
    pub fn set_broker_epoch(&self, broker_epoch: i64) {
        self.peers.set_broker_epoch(broker_epoch);
    }

    /// Until when the controller counts this broker as living, `None` if it does not. After that another one may lead what this one
    /// has led, so it acts as no leader (R16 of the replication design).
    pub fn set_session_end(&self, end: Option<Instant>) {
        self.peers.set_session_end(end);
    }

    /// Whether this broker may lead what it leads: nobody can replace it, or the controller counts it as living.
    #[must_use]
    pub fn is_in_session(&self) -> bool {
        self.peers.is_in_session()
    }

    /// The session is over: whoever waits for a leader looks again.
    pub fn session_is_over(&self) {
        self.all().iter().for_each(|partition| partition.wake_all());
    }

    /// Has a partition followed whose leader may have changed.
    pub(super) fn follow_leader(self: &Arc<Self>, partition: &Arc<Partition>) {
        let id = partition.id();
        let mut lanes = self.fetchers.lanes.lock();
        if !lanes.started {
            return;
        }
        let wanted = self.place_of(partition).filter(|_| !partition.is_gone());
        let place = wanted.map(|(place, _)| place);
        let others = lanes.by_place.iter().filter(|(key, _)| Some(**key) != place);
        others.for_each(|(_, lane)| lane.remove(id));
        if let Some((place, epoch)) = wanted {
            let lane = lanes.by_place.entry(place).or_insert_with(|| {
                let partitions = Mutex::default();
                let lane = Arc::new(Lane { place, partitions, added: Notify::new() });
                let task = Task::new(Arc::clone(self), Arc::clone(&lane));
                self.env.tasks.spawn_service("replica-fetcher", task.run());
                lane
            });
            lane.add(partition, epoch);
        }
    }

    /// Where a partition is to be followed, and in which epoch.
    pub(super) fn place_of(&self, partition: &Partition) -> Option<(Place, LeaderEpoch)> {
        let (leader, epoch) = partition.leader_to_follow()?;
        let count = self.settings.read().broker().replication.fetchers.max(1);
        let number = partition.id().partition.0.unsigned_abs() % count;
        Some((Place { leader, number, in_sync: partition.is_in_sync() }, epoch))
    }

    /// Nobody follows a partition any more.
    pub(super) fn stop_following(&self, id: TopicIdPartition) {
        self.fetchers.lanes.lock().by_place.values().for_each(|lane| lane.remove(id));
    }

    /// Brokers may be elsewhere now, or a throttle another one.
    pub(super) fn reach_anew(&self) {
        self.fetchers.lanes.lock().by_place.values().for_each(|lane| lane.added.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let now = Instant::from_start(Duration::from_secs(1));
        let longest = Duration::from_secs(1);
        let mut pause = Pause::default();
        let mut lengths = Vec::new();
        for _ in 0..8 {
            pause = pause.longer(now, longest);
            lengths.push(pause.until.unwrap().since(now).as_millis());
        }
        assert_eq!(lengths, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert!(!pause.is_over(now) && pause.is_over(now.plus(longest)));
    }
}
