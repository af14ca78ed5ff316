//! What the leader of a partition with several replicas knows of the others: how far each has come, who is in sync, and up to
//! where records are committed.
//!
//! Pure: time, the state of the cluster and the log's end come in. Source: `Partition` and `Replica` of Apache Kafka, with
//! KIP-966. **Invariants** (R7, R8, R10 to R13 of the replication design): the high watermark is the smallest end among all
//! that are in sync or are about to be; a replica that leaves counts until the controller has said that it left; below
//! `min.insync.replicas` nothing is committed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::{IsrMember, PartitionImage};
use crate::model::{BrokerId, Instant, LeaderEpoch, Offset};

/// A leader's view of the other replicas, for one leader epoch.
#[derive(Debug)]
pub(super) struct Leading {
    broker: BrokerId,
    epoch: LeaderEpoch,
    /// Where the log ended when this epoch began: what is below is the work of earlier leaders.
    epoch_start: Offset,
    followers: BTreeMap<BrokerId, Follower>,
    /// The replicas in sync that the controller is asked for, if it is.
    pending: Option<Pending>,
    /// How often the controller was asked.
    asked: u64,
}

/// A replica that fetches.
#[derive(Clone, Copy, Debug, Default)]
struct Follower {
    /// It has all below; none before its first fetch in this epoch.
    end: Option<Offset>,
    /// Where its log begins; none before its first fetch in this epoch.
    start: Option<Offset>,
    /// When it last had all that the leader had then.
    caught_up: Option<Instant>,
    /// Its last fetch, and the leader's end at that time.
    last_fetch: Option<(Instant, Offset)>,
    /// Its broker epoch, as it says; -1 if it does not.
    broker_epoch: i64,
}

/// What the controller is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pending {
    isr: Vec<BrokerId>,
    number: u64,
}

/// A fetch of a follower that continues its log.
#[derive(Clone, Copy, Debug)]
pub(super) struct FollowerFetch {
    pub(super) replica: BrokerId,
    /// The replica has all below.
    pub(super) end: Offset,
    /// Where its log begins; -1 if it does not say.
    pub(super) start: Offset,
    /// Its broker epoch; -1 if it is not known.
    pub(super) broker_epoch: i64,
    /// End of the leader's log before the fetch is answered.
    pub(super) leader_end: Offset,
    pub(super) now: Instant,
}

/// What the leader is asked to judge by.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The partition, as the controller last said.
    pub(super) state: &'a PartitionImage,
    /// How many replicas have to be in sync; not more than there are.
    pub(super) min_in_sync: usize,
    /// How long a replica may lag (`replica.lag.time.max.ms`).
    pub(super) lag_max: Duration,
    pub(super) now: Instant,
    /// Whether a broker is not fenced and not about to stop, and registered in this epoch (-1: whichever).
    pub(super) is_eligible: &'a dyn Fn(BrokerId, i64) -> bool,
}

/// A change of who is in sync that the controller is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Which question it is.
    pub(super) number: u64,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) partition_epoch: i32,
    pub(super) isr: Vec<IsrMember>,
}

impl Follower {
    fn fetched(&mut self, fetch: &FollowerFetch) {
        let had_all = fetch.end >= fetch.leader_end;
        let had_all_before =
            self.last_fetch.filter(|(_, leader_end)| fetch.end >= *leader_end).map(|(at, _)| at);
        let caught_up = if had_all { Some(fetch.now) } else { had_all_before };
        self.caught_up = self.caught_up.max(caught_up);
        self.last_fetch = Some((fetch.now, fetch.leader_end));
        self.end = Some(fetch.end);
        self.start = Some(fetch.start);
        self.broker_epoch = fetch.broker_epoch;
    }

    fn keeps_up(&self, leader_end: Offset, at: &Surroundings<'_>) -> bool {
        self.end == Some(leader_end)
            || self.caught_up.is_some_and(|caught_up| at.now.since(caught_up) <= at.lag_max)
    }
}

impl Leading {
    /// Begins to lead in the epoch of `state`, with a log that ends at `end`. Who is in sync is taken to have just caught up.
    pub(super) fn new(broker: BrokerId, state: &PartitionImage, end: Offset, now: Instant) -> Self {
        let mut leading = Self {
            broker,
            epoch: state.leader_epoch,
            epoch_start: end,
            followers: BTreeMap::new(),
            pending: None,
            asked: 0,
        };
        leading.meet(state, now);
        leading
    }

    /// The epoch.
    pub(super) const fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Where the log ended when the epoch began.
    pub(super) const fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// How far each of the others has come, as far as that is known.
    pub(super) fn ends(&self) -> impl Iterator<Item = (BrokerId, Offset)> {
        self.followers.iter().filter_map(|(replica, follower)| Some((*replica, follower.end?)))
    }

    /// The controller has said something new of the partition, which is led in the same epoch.
    pub(super) fn update(&mut self, state: &PartitionImage, now: Instant) {
        self.pending = None;
        self.meet(state, now);
    }

    fn meet(&mut self, state: &PartitionImage, now: Instant) {
        self.followers.retain(|replica, _| state.replicas.contains(replica));
        for replica in state.replicas.iter().filter(|replica| **replica != self.broker) {
            self.followers.entry(*replica).or_insert_with(|| Follower {
                caught_up: state.isr.contains(replica).then_some(now),
                broker_epoch: -1,
                ..Follower::default()
            });
        }
    }

    /// Takes note of a fetch that continues the log. `false` for one of an earlier incarnation of the replica, or of one that is
    /// none.
    pub(super) fn fetched(&mut self, fetch: &FollowerFetch) -> bool {
        let Some(follower) = self.followers.get_mut(&fetch.replica) else { return false };
        if fetch.broker_epoch != -1 && fetch.broker_epoch < follower.broker_epoch {
            return false;
        }
        follower.fetched(fetch);
        true
    }

    /// Whether a replica counts for the high watermark: it is in sync, or may be, whatever the controller answers.
    fn is_in_maximal_isr(&self, replica: BrokerId, state: &PartitionImage) -> bool {
        let is_pending = |pending: &Pending| pending.isr.contains(&replica);
        state.isr.contains(&replica) || self.pending.as_ref().is_some_and(is_pending)
    }

    /// Up to where records are committed if the leader has all below `own_end`; none if too few replicas are in sync.
    pub(super) fn committed(&self, own_end: Offset, at: &Surroundings<'_>) -> Option<Offset> {
        if at.state.isr.len() < at.min_in_sync {
            return None;
        }
        let mut committed = own_end;
        for (replica, follower) in &self.followers {
            let end = follower.end.unwrap_or(Offset(-1));
            let joins = || {
                follower.keeps_up(own_end, at) && (at.is_eligible)(*replica, follower.broker_epoch)
            };
            // One that is about to join would have to wait for each record that is committed meanwhile.
            if end < committed && (self.is_in_maximal_isr(*replica, at.state) || joins()) {
                committed = end;
            }
        }
        Some(committed)
    }

    /// The first offset that any replica has whose broker runs, if the leader's log begins at `own_start`; -1 if one has not told
    /// yet (`Partition.lowWatermarkIfLeader` of Apache Kafka).
    pub(super) fn low_watermark(&self, own_start: Offset, at: &Surroundings<'_>) -> Offset {
        let running = self.followers.iter().filter(|(replica, _)| (at.is_eligible)(**replica, -1));
        let starts = running.map(|(_, follower)| follower.start.unwrap_or(Offset(-1)));
        starts.fold(own_start, Offset::min)
    }

    /// Asks for a replica to be in sync that has come far enough: to the high watermark and to the beginning of this epoch (R11).
    /// Gives whether the controller is to be asked.
    pub(super) fn expand(
        &mut self,
        replica: BrokerId,
        high_watermark: Offset,
        at: &Surroundings<'_>,
    ) -> bool {
        let Some(follower) = self.followers.get(&replica) else { return false };
        let has_come =
            follower.end.is_some_and(|end| end >= high_watermark && end >= self.epoch_start);
        let may_join = self.pending.is_none()
            && !at.state.isr.contains(&replica)
            && has_come
            && (at.is_eligible)(replica, follower.broker_epoch);
        if may_join {
            self.ask(at.state.isr.iter().copied().chain([replica]).collect());
        }
        may_join
    }

    /// Asks for the replicas to leave that lag. Gives whether the controller is to be asked.
    pub(super) fn shrink(&mut self, own_end: Offset, at: &Surroundings<'_>) -> bool {
        if self.pending.is_some() {
            return false;
        }
        let keeps_up = |replica: &BrokerId| {
            *replica == self.broker
                || self.followers.get(replica).is_some_and(|it| it.keeps_up(own_end, at))
        };
        let isr: Vec<_> = at.state.isr.iter().copied().filter(keeps_up).collect();
        let lags = isr.len() < at.state.isr.len();
        if lags {
            self.ask(isr);
        }
        lags
    }

    fn ask(&mut self, isr: Vec<BrokerId>) {
        self.asked += 1;
        self.pending = Some(Pending { isr, number: self.asked });
    }

    /// What the controller is to be asked for now; `broker_epoch` is the leader's own.
    pub(super) fn wish(&self, state: &PartitionImage, broker_epoch: i64) -> Option<Wish> {
        let pending = self.pending.as_ref()?;
        let member = |broker: &BrokerId| IsrMember {
            broker: *broker,
            broker_epoch: if *broker == self.broker {
                broker_epoch
            } else {
                self.followers.get(broker).map_or(-1, |follower| follower.broker_epoch)
            },
        };
        Some(Wish {
            number: pending.number,
            leader_epoch: self.epoch,
            partition_epoch: state.partition_epoch,
            isr: pending.isr.iter().map(member).collect(),
        })
    }

    /// The controller has done what it was asked with this number, or has refused it so that it is sure not to have done it.
    pub(super) fn settle(&mut self, number: u64) {
        self.pending.take_if(|pending| pending.number == number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG_MAX: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    fn state(isr: &[i32]) -> PartitionImage {
        let mut state = PartitionImage::new([1, 2, 3].map(BrokerId).to_vec());
        state.isr = isr.iter().copied().map(BrokerId).collect();
        state.leader_epoch = LeaderEpoch(5);
        state
    }

    fn surroundings<'a>(state: &'a PartitionImage, seconds: u64) -> Surroundings<'a> {
        Surroundings {
            state,
            min_in_sync: 2,
            lag_max: LAG_MAX,
            now: at(seconds),
            is_eligible: &|_, _| true,
        }
    }

    fn leading(isr: &[i32], end: i64) -> (Leading, PartitionImage) {
        let state = state(isr);
        (Leading::new(BrokerId(1), &state, Offset(end), at(100)), state)
    }

    fn fetch(leading: &mut Leading, replica: i32, end: i64, leader_end: i64, seconds: u64) {
        let fetch = FollowerFetch {
            replica: BrokerId(replica),
            end: Offset(end),
            start: Offset(i64::from(replica)),
            broker_epoch: i64::from(replica) * 10,
            leader_end: Offset(leader_end),
            now: at(seconds),
        };
        assert!(leading.fetched(&fetch));
    }

    fn committed(leading: &Leading, state: &PartitionImage, end: i64, seconds: u64) -> Option<i64> {
        leading.committed(Offset(end), &surroundings(state, seconds)).map(|offset| offset.0)
    }

    #[test]
    fn r7_all_in_sync_have_what_is_committed() {
        let (mut leading, state) = leading(&[1, 2, 3], 10);
        assert_eq!(committed(&leading, &state, 20, 100), Some(-1), "nobody has said anything");
        fetch(&mut leading, 2, 15, 20, 100);
        fetch(&mut leading, 3, 12, 20, 100);
        assert_eq!(committed(&leading, &state, 20, 100), Some(12));
        fetch(&mut leading, 3, 20, 20, 100);
        assert_eq!(committed(&leading, &state, 20, 100), Some(15));
    }

    #[test]
    fn r7_one_that_is_about_to_join_is_waited_for() {
        let (mut leading, state) = leading(&[1, 2], 10);
        fetch(&mut leading, 2, 20, 20, 100);
        assert_eq!(committed(&leading, &state, 20, 100), Some(20), "nobody waits for 3");
        fetch(&mut leading, 3, 15, 15, 100);
        assert_eq!(committed(&leading, &state, 20, 120), Some(15), "it keeps up");
        assert_eq!(committed(&leading, &state, 20, 131), Some(20), "not any more");
    }

    #[test]
    fn r13_one_that_may_not_join_is_not_waited_for() {
        let (mut leading, state) = leading(&[1, 2], 10);
        fetch(&mut leading, 2, 20, 20, 100);
        fetch(&mut leading, 3, 15, 15, 100);
        assert_eq!(committed(&leading, &state, 20, 120), Some(15));
        let nobody = Surroundings { is_eligible: &|_, _| false, ..surroundings(&state, 120) };
        assert_eq!(leading.committed(Offset(20), &nobody), Some(Offset(20)));
    }

    #[test]
    fn r8_nothing_is_committed_below_the_minimum() {
        let (mut leading, state) = leading(&[1], 10);
        fetch(&mut leading, 2, 20, 20, 100);
        assert_eq!(committed(&leading, &state, 20, 100), None);
        assert!(leading.expand(BrokerId(2), Offset(10), &surroundings(&state, 100)));
        assert_eq!(committed(&leading, &state, 20, 100), None, "R10: not before it is said");
    }

    #[test]
    fn r10_who_leaves_counts_until_it_is_said_and_who_joins_at_once() {
        let (mut leading, mut state) = leading(&[1, 2, 3], 10);
        fetch(&mut leading, 2, 20, 20, 140);
        fetch(&mut leading, 3, 12, 20, 100);
        assert!(leading.shrink(Offset(20), &surroundings(&state, 140)));
        let isr: Vec<_> = leading.wish(&state, 7).unwrap().isr;
        let member = |broker, broker_epoch| IsrMember { broker: BrokerId(broker), broker_epoch };
        assert_eq!(isr, [member(1, 7), member(2, 20)]);
        assert_eq!(committed(&leading, &state, 20, 140), Some(12));
        assert!(!leading.shrink(Offset(20), &surroundings(&state, 140)), "it was asked");
        state.isr = vec![BrokerId(1), BrokerId(2)];
        leading.update(&state, at(140));
        assert_eq!(committed(&leading, &state, 20, 140), Some(20));
        fetch(&mut leading, 3, 20, 25, 200);
        assert!(leading.expand(BrokerId(3), Offset(20), &surroundings(&state, 200)));
        fetch(&mut leading, 2, 25, 25, 300);
        assert_eq!(committed(&leading, &state, 25, 300), Some(20), "though it lags by now");
    }

    #[test]
    fn r11_who_joins_has_come_to_the_beginning_of_the_epoch() {
        let (mut leading, state) = leading(&[1, 2], 10);
        fetch(&mut leading, 3, 8, 20, 100);
        assert!(!leading.expand(BrokerId(3), Offset(7), &surroundings(&state, 100)));
        fetch(&mut leading, 3, 10, 20, 100);
        assert!(!leading.expand(BrokerId(3), Offset(11), &surroundings(&state, 100)));
        let zombie = |broker: BrokerId, epoch: i64| (broker, epoch) != (BrokerId(3), 30);
        let fenced = Surroundings { is_eligible: &zombie, ..surroundings(&state, 100) };
        assert!(!leading.expand(BrokerId(3), Offset(10), &fenced));
        assert!(leading.expand(BrokerId(3), Offset(10), &surroundings(&state, 100)));
    }

    #[test]
    fn r11_a_fetch_of_an_earlier_incarnation_moves_nothing() {
        let (mut leading, state) = leading(&[1, 2], 10);
        fetch(&mut leading, 2, 12, 20, 100);
        let zombie = FollowerFetch {
            replica: BrokerId(2),
            end: Offset(19),
            start: Offset(0),
            broker_epoch: 19,
            leader_end: Offset(20),
            now: at(100),
        };
        assert!(!leading.fetched(&zombie));
        assert!(!leading.fetched(&FollowerFetch { replica: BrokerId(9), ..zombie }));
        assert_eq!(committed(&leading, &state, 20, 100), Some(12));
    }

    #[test]
    fn r12_what_is_not_known_stays_pending() {
        let (mut leading, state) = leading(&[1, 2], 10);
        fetch(&mut leading, 3, 10, 20, 100);
        assert!(leading.expand(BrokerId(3), Offset(10), &surroundings(&state, 100)));
        let first = leading.wish(&state, 7).unwrap();
        assert_eq!(leading.wish(&state, 7), Some(first.clone()), "the same is asked again");
        leading.settle(first.number + 1);
        assert!(leading.wish(&state, 7).is_some());
        leading.settle(first.number);
        assert_eq!(leading.wish(&state, 7), None);
    }

    #[test]
    fn records_are_deleted_once_no_replica_that_runs_has_them() {
        let (mut leading, state) = leading(&[1, 2, 3], 10);
        let all = surroundings(&state, 100);
        fetch(&mut leading, 3, 10, 10, 100);
        assert_eq!(leading.low_watermark(Offset(9), &all), Offset(-1), "2 has not told");
        let without_2 = |broker: BrokerId, _: i64| broker != BrokerId(2);
        let fewer = Surroundings { is_eligible: &without_2, ..surroundings(&state, 100) };
        assert_eq!(leading.low_watermark(Offset(9), &fewer), Offset(3));
        fetch(&mut leading, 2, 10, 10, 100);
        assert_eq!(leading.low_watermark(Offset(9), &all), Offset(2));
        assert_eq!(leading.low_watermark(Offset(1), &all), Offset(1));
    }

    #[test]
    fn a_replica_keeps_up_if_it_has_what_was_there_at_its_last_fetch() {
        let (mut leading, state) = leading(&[1, 2], 0);
        for (seconds, end) in [(110, 10), (125, 20), (140, 30)] {
            // Always a fetch behind.
            fetch(&mut leading, 2, end - 10, end, seconds);
        }
        assert!(!leading.shrink(Offset(40), &surroundings(&state, 155)), "caught up at 125");
        assert!(leading.shrink(Offset(40), &surroundings(&state, 156)));
    }
}
