//! A member of a consumer group, and its next step towards its target.
//!
//! The step is a pure function (`CurrentAssignmentBuilder` of Kafka): partitions that are not in the target go first, and
//! only when the member no longer reports them does it get the epoch of the target and what is free of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::ClusterImage;
use crate::group::MemberId;
use crate::group::records::consumer::{
    Assignment, CurrentAssignment, MemberMetadata, MemberState, Owned, ResolvedRegex,
};
use crate::model::{PartitionId, TopicId};
use crate::wire::messages::consumer_group_heartbeat_request::TopicPartitions;

/// A member of a consumer group. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) metadata: Arc<MemberMetadata>,
    pub(super) current: Arc<CurrentAssignment>,
}

/// What a member says it owns.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reported<'a> {
    /// Nothing: the same as last time.
    Unchanged,
    /// These partitions.
    Partitions(&'a [TopicPartitions]),
}

/// Where a member is to go.
pub(super) struct Goal<'a> {
    /// The epoch of the target.
    pub(super) epoch: i32,
    pub(super) target: &'a Assignment,
    /// What the member subscribes to now: it may be ahead of the target.
    pub(super) subscribed: Subscribed<'a>,
    pub(super) subscription_changed: bool,
    pub(super) reported: Reported<'a>,
    /// Whether somebody owns the partition.
    pub(super) is_owned: &'a dyn Fn(TopicId, PartitionId) -> bool,
}

/// The topics of one member.
pub(super) struct Subscribed<'a> {
    pub(super) names: &'a BTreeSet<Arc<str>>,
    pub(super) resolved: Option<&'a ResolvedRegex>,
    pub(super) image: &'a ClusterImage,
}

/// The member is in a state that this broker does not know; it has to join anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnknownState;

impl Member {
    /// A member that nothing is known of yet.
    pub(super) fn new(id: MemberId) -> Self {
        let metadata = MemberMetadata {
            instance: None,
            rack: None,
            client_id: "".into(),
            client_host: "".into(),
            topics: BTreeSet::new(),
            regex: Some("".into()),
            rebalance_timeout_ms: -1,
            assignor: None,
            classic: None,
        };
        let current = CurrentAssignment {
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            owned: Owned::new(),
            revoking: Owned::new(),
        };
        Self { id, metadata: Arc::new(metadata), current: Arc::new(current) }
    }

    pub(super) fn epoch(&self) -> i32 {
        self.current.epoch
    }

    pub(super) fn is_classic(&self) -> bool {
        self.metadata.classic.is_some()
    }

    /// Whether nothing is left to do on the way to the target of this epoch.
    pub(super) fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.current.state == MemberState::Stable && self.current.epoch == epoch
    }

    /// The epoch in which the member got a partition that it owns or has yet to give up.
    pub(super) fn assigned_in(&self, topic: TopicId, partition: PartitionId) -> Option<i32> {
        let lists = [&self.current.owned, &self.current.revoking];
        lists.into_iter().find_map(|list| list.get(&topic)?.get(&partition).copied())
    }

    /// Takes the next step.
    ///
    /// # Errors
    /// If the member has to join anew.
    pub(super) fn step(&self, goal: &Goal<'_>) -> Result<Arc<CurrentAssignment>, UnknownState> {
        let current = &self.current;
        let may_only_drop = match current.state {
            MemberState::Stable => current.epoch == goal.epoch,
            MemberState::Unrevoked => goal.reported.includes(&current.revoking),
            MemberState::Unreleased => false,
            MemberState::Unknown => {
                let Reported::Partitions([]) = goal.reported else {
                    return Err(UnknownState);
                };
                return Ok(Arc::new(advance(current, goal, goal.epoch)));
            }
        };
        Ok(match (may_only_drop, goal.subscription_changed) {
            (false, _) => Arc::new(advance(current, goal, current.epoch)),
            (true, true) => {
                drop_unsubscribed(current, goal).map_or_else(|| Arc::clone(current), Arc::new)
            }
            (true, false) => Arc::clone(current),
        })
    }
}

impl Reported<'_> {
    /// Whether the member may still have any of these partitions.
    fn includes(self, partitions: &Owned) -> bool {
        let Self::Partitions(topics) = self else {
            return true;
        };
        topics.iter().any(|topic| {
            let asked = partitions.get(&TopicId(topic.topic_id));
            asked.is_some_and(|asked| {
                topic.partitions.iter().any(|it| asked.contains_key(&PartitionId(*it)))
            })
        })
    }

    /// Whether the member says that it owns nothing but these.
    pub(super) fn is_within(self, partitions: &Owned) -> bool {
        let Self::Partitions(topics) = self else {
            return false;
        };
        topics.iter().all(|topic| {
            partitions.get(&TopicId(topic.topic_id)).is_some_and(|owned| {
                topic.partitions.iter().all(|it| owned.contains_key(&PartitionId(*it)))
            })
        })
    }
}

impl Subscribed<'_> {
    fn contains(&self, topic: TopicId) -> bool {
        self.image.topic_by_id(topic).is_some_and(|topic| {
            let name = topic.name.as_str();
            self.names.contains(name) || self.resolved.is_some_and(|it| it.topics.contains(name))
        })
    }
}

/// Gives up, without a new epoch, what the member no longer subscribes to. None if there is no such thing.
fn drop_unsubscribed(current: &CurrentAssignment, goal: &Goal<'_>) -> Option<CurrentAssignment> {
    let (owned, dropped): (Owned, Owned) = current
        .owned
        .iter()
        .map(|(topic, partitions)| (*topic, partitions.clone()))
        .partition(|(topic, _)| goal.subscribed.contains(*topic));
    if dropped.is_empty() {
        return None;
    }
    let mut revoking = current.revoking.clone();
    for (topic, partitions) in dropped {
        revoking.entry(topic).or_default().extend(partitions);
    }
    let next = CurrentAssignment { previous_epoch: current.epoch, owned, ..current.clone() };
    Some(if goal.reported.includes(&revoking) {
        CurrentAssignment { state: MemberState::Unrevoked, revoking, ..next }
    } else {
        next
    })
}

/// Goes on towards the target. The member stays in `epoch` as long as it has partitions to give up.
fn advance(current: &CurrentAssignment, goal: &Goal<'_>, epoch: i32) -> CurrentAssignment {
    let (mut owned, mut revoking) = (Owned::new(), Owned::new());
    for (topic, partitions) in &current.owned {
        let target = goal.target.get(topic).filter(|_| goal.subscribed.contains(*topic));
        let is_target = |it: &PartitionId| target.is_some_and(|target| target.contains(it));
        let (keep, give_up): (BTreeMap<_, _>, BTreeMap<_, _>) =
            partitions.iter().map(|(it, since)| (*it, *since)).partition(|(it, _)| is_target(it));
        insert_some(&mut owned, *topic, keep);
        insert_some(&mut revoking, *topic, give_up);
    }
    if !revoking.is_empty() && goal.reported.includes(&revoking) {
        return CurrentAssignment {
            epoch,
            previous_epoch: current.epoch,
            state: MemberState::Unrevoked,
            owned,
            revoking,
        };
    }
    let is_unreleased = take_free(current, goal, &mut owned);
    CurrentAssignment {
        epoch: goal.epoch,
        previous_epoch: current.epoch,
        state: if is_unreleased { MemberState::Unreleased } else { MemberState::Stable },
        owned,
        revoking: Owned::new(),
    }
}

/// Takes what is free of the target. Returns whether something is not.
fn take_free(current: &CurrentAssignment, goal: &Goal<'_>, owned: &mut Owned) -> bool {
    let mut is_unreleased = false;
    for (topic, partitions) in goal.target {
        if !goal.subscribed.contains(*topic) {
            continue;
        }
        let own = current.owned.get(topic);
        let was_revoking = current.revoking.get(topic);
        let mut free = BTreeMap::new();
        for partition in partitions {
            let has = |list: Option<&BTreeMap<PartitionId, i32>>| {
                list.is_some_and(|list| list.contains_key(partition))
            };
            if has(own) {
                continue;
            }
            if (goal.is_owned)(*topic, *partition) && !has(was_revoking) {
                is_unreleased = true;
            } else {
                free.insert(*partition, goal.epoch);
            }
        }
        if !free.is_empty() {
            owned.entry(*topic).or_default().extend(free);
        }
    }
    is_unreleased
}

fn insert_some(list: &mut Owned, topic: TopicId, partitions: BTreeMap<PartitionId, i32>) {
    if !partitions.is_empty() {
        list.insert(topic, partitions);
    }
}
