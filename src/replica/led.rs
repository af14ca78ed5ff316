//! A partition with several replicas that this broker leads: its followers, its high watermark, its replicas in sync.
//!
//! Also what becomes of a partition when its leader changes. What is decided is in `leading.rs`; here it meets the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::PartitionError;
use super::leading::{FollowerFetch, Leading, Surroundings};
use super::partition::{FetchFrom, Partition};
use crate::cluster::{AlterPartition, Applied, Command, Outcome, PartitionImage};
use crate::log::{Advance, Log};
use crate::model::{BrokerId, ErrorCode, Instant, LeaderEpoch, Offset};

/// What the controller is asked for a partition.
#[derive(Debug)]
pub(super) struct Alteration {
    pub(super) command: Command,
    /// Which question of this leader it is.
    pub(super) number: u64,
    leader_epoch: LeaderEpoch,
}

impl Partition {
    /// Takes note of what the controller says. If that makes this broker the leader, the epoch is entered in the log before
    /// anything is appended (R1). Before [`begin`](Self::begin) it makes nobody anything.
    ///
    /// # Errors
    /// If the disk fails under that: then nothing more is appended.
    pub(super) fn set_state(&self, state: &PartitionImage) -> std::io::Result<()> {
        // What is being appended is appended for the leader of now.
        let following = self.following.lock();
        let place = self.place_mut();
        let before = {
            let mut known = self.state.write();
            if state.partition_epoch <= known.partition_epoch {
                return Ok(());
            }
            std::mem::replace(&mut *known, state.clone())
        };
        let log = place.log.as_ref().ok().map(Arc::clone);
        let led = match &log {
            Some(log) if self.has_begun.load(Ordering::Acquire) => self.take_role(log, state),
            _ => Ok(()),
        };
        drop((place, following));
        if before.leader != state.leader || before.leader_epoch != state.leader_epoch {
            self.wake_all();
        }
        if let Some(log) = log.filter(|_| led.is_ok()) {
            self.advance_replicated(&log);
        }
        // Appends that wait for replicas in sync look again.
        if before.isr != state.isr {
            self.waiters.wake_appends();
        }
        led
    }

    /// Begins to act as what the controller has said last, when the broker is registered. What was said before then may be of an
    /// earlier life of the broker, which had records that this one has lost.
    ///
    /// # Errors
    /// As [`set_state`](Self::set_state).
    pub(super) fn begin(&self) -> std::io::Result<()> {
        let place = self.place_mut();
        self.has_begun.store(true, Ordering::Release);
        let state = self.state.read().clone();
        match &place.log {
            Ok(log) => self.take_role(log, &state),
            Err(_) => Ok(()),
        }
    }

    /// While nothing is appended: becomes the leader of the others, goes on being it, or ceases.
    fn take_role(&self, log: &Log, state: &PartitionImage) -> std::io::Result<()> {
        let mut leading = self.leading.lock();
        if state.leader != Some(self.broker) || state.replicas.len() == 1 {
            *leading = None;
            return Ok(());
        }
        let now = self.peers.now();
        if let Some(leading) =
            leading.as_mut().filter(|leading| leading.epoch() == state.leader_epoch)
        {
            leading.update(state, now);
            return Ok(());
        }
        log.begin_epoch(state.leader_epoch)?;
        *leading = Some(Leading::new(self.broker, state, log.ends().end, now));
        Ok(())
    }

    /// What the leader judges by.
    fn with_surroundings<T>(&self, work: impl FnOnce(&Surroundings<'_>) -> T) -> T {
        let state = self.state.read();
        work(&Surroundings {
            state: &state,
            min_in_sync: self.min_in_sync(&state),
            lag_max: self.peers.lag_max(),
            now: self.peers.now(),
            is_eligible: &|broker, epoch| {
                !state.offline.contains(&broker) && self.peers.is_eligible(broker, epoch)
            },
        })
    }

    /// Commits what all replicas have that are in sync, if this broker leads them.
    pub(super) fn advance_replicated(&self, log: &Log) {
        let advance = self.with_surroundings(|at| {
            // The lock is held until the mark has moved: another leader's log may be shorter.
            let leading = self.leading.lock();
            commit_replicated(log, leading.as_ref()?, at)
        });
        if let Some(advance) = advance {
            self.tell_committed(&advance);
        }
    }

    /// The log for a replica that fetches: only of this broker as the leader, and only for one that the partition has (R5).
    pub(super) fn log_for_replica(
        &self,
        asked: Option<LeaderEpoch>,
        replica: BrokerId,
    ) -> Result<Arc<Log>, PartitionError> {
        let (log, current) = self.led_log(asked)?;
        if !self.state.read().replicas.contains(&replica) {
            return Err(match asked {
                Some(asked) => PartitionError::UnknownLeaderEpoch { asked, current },
                None => PartitionError::NotLeader,
            });
        }
        Ok(Arc::clone(&log))
    }

    /// The log for a consumer, whoever leads the partition (KIP-392).
    pub(super) fn log_of_any_replica(
        &self,
        asked: Option<LeaderEpoch>,
    ) -> Result<Arc<Log>, PartitionError> {
        self.log_in(asked, |_| true).map(|(log, _)| Arc::clone(&log))
    }

    /// A replica has all below the offset that it asks for: more may be committed, and it may come to be in sync.
    ///
    /// # Errors
    /// [`PartitionError::NotLeader`] if it is an earlier incarnation of the replica.
    pub(super) fn follower_fetched(
        &self,
        log: &Log,
        replica: BrokerId,
        broker_epoch: i64,
        FetchFrom { offset: end, replica_start: start, .. }: &FetchFrom,
    ) -> Result<(), PartitionError> {
        let (end, start) = (*end, *start);
        let (asks, advance) = self.with_surroundings(|at| {
            let mut leading = self.leading.lock();
            let leading = leading.as_mut().ok_or(PartitionError::NotLeader)?;
            let ends = log.ends();
            let (leader_end, now) = (ends.end, at.now);
            let fetch = FollowerFetch { replica, end, start, broker_epoch, leader_end, now };
            if !leading.fetched(&fetch) {
                return Err(PartitionError::NotLeader);
            }
            let asks = leading.expand(replica, ends.high_watermark, at);
            Ok((asks, commit_replicated(log, leading, at)))
        })?;
        if asks {
            self.peers.ask_for(self.id());
        }
        if let Some(advance) = advance {
            self.tell_committed(&advance);
        }
        self.waiters.deleted(|| self.low_watermark_with(log));
        Ok(())
    }

    /// When another replica that is not in sync may copy more from this leader, if it may not now (KIP-73).
    #[must_use]
    pub fn held_back(&self, replica: BrokerId) -> Option<Instant> {
        if !self.is_throttled_as_leader() || self.state.read().isr.contains(&replica) {
            return None;
        }
        self.peers.leader_throttle.due(self.peers.now())
    }

    /// Another replica has copied so many bytes from this leader.
    pub fn copied(&self, bytes: usize) {
        if self.is_throttled_as_leader() {
            self.peers.leader_throttle.charge(self.peers.now(), bytes);
        }
    }

    fn is_throttled_as_leader(&self) -> bool {
        self.config.read().leader_throttled.contains(self.id().partition, self.broker)
    }

    /// The first offset that any replica has, of those whose brokers run; -1 if one has not told yet.
    ///
    /// # Errors
    /// [`PartitionError::NotLeader`] if this broker does not lead the partition, or that its log is not there.
    pub fn low_watermark(&self) -> Result<Offset, PartitionError> {
        let (log, _) = self.led_log(None)?;
        Ok(self.low_watermark_with(&log))
    }

    pub(super) fn low_watermark_with(&self, log: &Log) -> Offset {
        let own_start = log.ends().log_start;
        self.with_surroundings(|at| {
            let leading = self.leading.lock();
            leading.as_ref().map_or(own_start, |leading| leading.low_watermark(own_start, at))
        })
    }

    /// Asks for replicas to leave that lag. Others may be committed without them once the controller has said so.
    pub(super) fn drop_laggards(&self) {
        let Ok((log, _)) = self.led_log(None) else { return };
        let asks = self.with_surroundings(|at| {
            let mut leading = self.leading.lock();
            leading.as_mut().is_some_and(|leading| leading.shrink(log.ends().end, at))
        });
        if asks {
            self.peers.ask_for(self.id());
        } else {
            // Time alone may have made up its mind about one that was about to join.
            self.advance_replicated(&log);
        }
    }

    /// What the controller is to be asked for now.
    pub(super) fn alteration(&self) -> Option<Alteration> {
        let broker_epoch = self.peers.broker_epoch();
        let state = self.state.read();
        let wish = self.leading.lock().as_ref()?.wish(&state, broker_epoch)?;
        let alter = AlterPartition {
            broker: self.broker,
            broker_epoch,
            topic: self.id().topic,
            partition: self.id().partition,
            leader_epoch: wish.leader_epoch,
            partition_epoch: wish.partition_epoch,
            isr: wish.isr,
            recovering: false,
        };
        let (number, leader_epoch) = (wish.number, wish.leader_epoch);
        Some(Alteration { command: Command::AlterPartition(alter), number, leader_epoch })
    }

    /// The controller has answered. What it has refused for a replica's sake is given up; other refusals say that the partition
    /// is not what it was, of which the image will tell (R12).
    ///
    /// # Errors
    /// As [`set_state`](Self::set_state).
    pub(super) fn altered(
        &self,
        alteration: &Alteration,
        outcome: &Outcome,
    ) -> std::io::Result<()> {
        let applied = match outcome {
            Ok(Applied::Partition(state)) => self.set_state(state),
            Ok(_) => Ok(()),
            Err(refusal) => {
                tracing::debug!(topic = %self.topic(), partition = %self.id().partition, %refusal,
                    "the controller has refused a change of the replicas in sync");
                if refusal.code != ErrorCode::IneligibleReplica {
                    return Ok(());
                }
                // It stays out until its next fetch.
                Ok(())
            }
        };
        if let Some(leading) = self.leading.lock().as_mut()
            && leading.epoch() == alteration.leader_epoch
        {
            leading.settle(alteration.number);
        }
        if let Ok((log, _)) = self.led_log(None) {
            self.advance_replicated(&log);
        }
        applied
    }

    /// The replica that a consumer in `rack` should rather ask for the records at `offset`, if this broker leads the partition and
    /// is elsewhere (`RackAwareReplicaSelector` of Apache Kafka).
    #[must_use]
    pub fn replica_in_rack(&self, rack: &str, offset: Offset) -> Option<BrokerId> {
        if rack.is_empty() {
            return None;
        }
        let image = self.peers.image();
        let is_there = |broker: BrokerId| {
            let known = image.broker(broker).filter(|known| known.is_active());
            known.is_some_and(|known| known.rack.as_deref() == Some(rack))
        };
        if is_there(self.broker) {
            return None;
        }
        let isr = self.state.read().isr.clone();
        let leading = self.leading.lock();
        let ends = leading.as_ref()?.ends();
        let fit = ends
            .filter(|(replica, end)| isr.contains(replica) && *end >= offset && is_there(*replica));
        fit.max_by_key(|(_, end)| *end).map(|(replica, _)| replica)
    }

    /// Whether other brokers have replicas of the partition.
    #[must_use]
    pub fn has_other_replicas(&self) -> bool {
        self.state.read().replicas.len() > 1
    }

    /// Whether this is the log of a leader of others.
    pub(super) fn leads_others(&self) -> bool {
        self.leading.lock().is_some()
    }
}

/// Commits what all replicas have that are in sync, as their leader sees it.
fn commit_replicated(log: &Log, leading: &Leading, at: &Surroundings<'_>) -> Option<Advance> {
    let own = log.settled_end();
    let committed = leading.committed(own.offset, at)?;
    if committed <= log.high_watermark().offset {
        return None;
    }
    let to = if committed == own.offset { Ok(own) } else { log.position_of(committed) };
    match to {
        Ok(to) => log.advance_high_watermark(to),
        Err(error) => {
            tracing::error!(partition = %log.name(), %error, "cannot find the end of what is committed");
            None
        }
    }
}
