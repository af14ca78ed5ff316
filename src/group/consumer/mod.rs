//! A consumer group (KIP-848): members say what they subscribe to, the coordinator divides the partitions.
//!
//! Owns the state machine of one such group, by Apache Kafka's rules (`ConsumerGroup` and the consumer part of
//! `GroupMetadataManager`): heartbeats (`heartbeat.rs`), the step of a member towards its target (`member.rs`), how the
//! target is divided (`assignor/`), regular expressions (`regex.rs`, `resolve.rs`), who goes (`leave.rs`), what is shown
//! and who may commit (`describe.rs`), members that speak the classic protocol and the change from one kind of group to
//! the other (`classic_members.rs`, `migration.rs`). It knows neither other groups nor offsets.
//!
//! The epoch of the group rises when its members, their subscriptions or their topics change. The target is then divided
//! for that epoch, and each member comes to it by itself, with its heartbeats:
//!
//! ```text
//!                      has partitions to give up
//!        Stable ─────────────────────────────────► Unrevoked (keeps its epoch, has until its rebalance timeout)
//!         │  ▲                                        │ reports that they are gone
//!         │  │ all of the target is free              ▼
//!         │  └───────────────────────────────── Unreleased (has the new epoch, waits for other members)
//!         └──── a new target, nothing to give up ─────▲
//! ```
//!
//! **Invariants:** no two members own a partition (or have it yet to give up) at the same time: `replay` refuses the record
//! that would say so; epochs only rise. Only `replay` touches what is durable.

mod assignor;
mod classic_members;
mod describe;
mod embedded;
mod hash;
mod heartbeat;
mod leave;
mod member;
mod migration;
mod regex;
mod resolve;
mod subscriptions;
mod target;
mod timers;

pub use assignor::Assignor;
pub use heartbeat::{check_heartbeat, refused};
pub use regex::WholePattern;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::records::consumer::{
    Assignment, ConsumerRecord, CurrentAssignment, GroupEpoch, MemberMetadata, Owned, TargetEpoch,
};
use super::turn::Turn;
use super::{GroupId, InstanceId, MemberId, Settings};
use crate::cluster::{ClusterImage, ConfigResource};
use crate::config::ConsumerGroupConfig;
use crate::coordinator::ReplayError;
use crate::model::{ErrorCode, Instant, PartitionId, TopicId, UnixMillis};
use member::Member;
use subscriptions::Subscriptions;
use timers::{Timers, Wait};

/// The epoch in which a request leaves the group.
const LEAVE: i32 = -1;
/// The epoch in which a static member leaves for a while.
const LEAVE_FOR_A_WHILE: i32 = -2;
/// The epochs of a group that has no records yet.
const INITIAL_EPOCH: i32 = 1;

/// A consumer group.
#[derive(Debug)]
pub struct ConsumerGroup {
    id: GroupId,
    epoch: i32,
    metadata_hash: i64,
    target_epoch: i32,
    target_computed_at: Option<UnixMillis>,
    members: BTreeMap<MemberId, Member>,
    targets: BTreeMap<MemberId, Arc<Assignment>>,
    /// Whether an older broker wrote down the topics of the group.
    has_topics_record: bool,
    // What follows from the members.
    static_members: BTreeMap<InstanceId, MemberId>,
    subscriptions: Subscriptions,
    assignors: BTreeMap<Arc<str>, usize>,
    /// The partitions that a member owns or has yet to give up.
    owned: BTreeMap<TopicId, BTreeSet<PartitionId>>,
    classic_count: usize,
    // What is soft.
    timers: Timers,
    /// Whether the topics may have changed since the hash was computed.
    is_metadata_stale: bool,
    regexes: resolve::Refresh,
    /// Set when it has become a classic group, until the shard puts that into its place.
    downgrade: Option<Box<migration::Downgrade>>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the program.
    pub code: ErrorCode,
    /// For the reader.
    pub message: String,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The states of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no members.
    Empty,
    /// The target is behind the group.
    Assigning,
    /// Members are behind the target.
    Reconciling,
    /// All members own what they are to own.
    Stable,
}

impl State {
    /// The name that the protocol uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// What holds for a group besides the group itself.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The topics and brokers.
    pub image: &'a ClusterImage,
    /// What was set for the group.
    pub config: ConsumerGroupConfig,
}

impl<'a> Scope<'a> {
    /// What holds now for a group.
    #[must_use]
    pub fn of(group: &str, image: &'a ClusterImage, settings: &Settings) -> Self {
        let set = image.configs(&ConfigResource::Group(group.to_owned()));
        Self { image, config: settings.consumer.of_group(&set) }
    }
}

impl ConsumerGroup {
    /// A group without members that nothing is known of.
    #[must_use]
    pub fn new(id: GroupId) -> Self {
        Self {
            id,
            epoch: INITIAL_EPOCH,
            metadata_hash: 0,
            target_epoch: INITIAL_EPOCH,
            target_computed_at: None,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            has_topics_record: false,
            static_members: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            assignors: BTreeMap::new(),
            owned: BTreeMap::new(),
            classic_count: 0,
            timers: Timers::default(),
            is_metadata_stale: true,
            regexes: resolve::Refresh::default(),
            downgrade: None,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        if self.members.is_empty() {
            State::Empty
        } else if self.epoch > self.target_epoch {
            State::Assigning
        } else if self.members.values().all(|it| it.is_reconciled_to(self.target_epoch)) {
            State::Stable
        } else {
            State::Reconciling
        }
    }

    /// Whether it has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether a member subscribes to this topic.
    #[must_use]
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.subscriptions.contains(topic)
    }

    /// Whether it may be deleted.
    ///
    /// # Errors
    /// `NON_EMPTY_GROUP`.
    pub fn check_delete(&self) -> Result<(), ErrorCode> {
        if self.is_empty() { Ok(()) } else { Err(ErrorCode::NonEmptyGroup) }
    }

    /// Applies a record. Those about a group that is gone belong to the shard: it drops the group.
    ///
    /// # Errors
    /// If two members would own a partition.
    pub fn replay(&mut self, record: ConsumerRecord) -> Result<(), ReplayError> {
        match record {
            ConsumerRecord::Group(Some(GroupEpoch { epoch, metadata_hash })) => {
                self.epoch = epoch;
                self.metadata_hash = metadata_hash;
            }
            ConsumerRecord::Group(None) => {}
            ConsumerRecord::Topics(value) => self.has_topics_record = value.is_some(),
            ConsumerRecord::Member(id, Some(metadata)) => {
                let known = self.members.get(&id).cloned();
                let member = known.unwrap_or_else(|| Member::new(id));
                self.put_member(Member { metadata: Arc::new(metadata), ..member })?;
            }
            ConsumerRecord::Member(id, None) => self.remove_member(&id),
            ConsumerRecord::TargetEpoch(value) => {
                let gone = TargetEpoch { epoch: -1, computed_at: None };
                let TargetEpoch { epoch, computed_at } = value.unwrap_or(gone);
                (self.target_epoch, self.target_computed_at) = (epoch, computed_at);
            }
            ConsumerRecord::Target(id, Some(target)) => {
                self.targets.insert(id, Arc::new(target));
            }
            ConsumerRecord::Target(id, None) => {
                self.targets.remove(&id);
            }
            ConsumerRecord::Current(id, Some(current)) => {
                let known = self.members.get(&id).cloned();
                let member = known.unwrap_or_else(|| Member::new(id));
                self.put_member(Member { current: Arc::new(current), ..member })?;
            }
            ConsumerRecord::Current(id, None) => {
                if let Some(member) = self.members.get(&id).cloned() {
                    let current = CurrentAssignment {
                        epoch: LEAVE,
                        previous_epoch: LEAVE,
                        owned: Owned::new(),
                        revoking: Owned::new(),
                        ..*member.current
                    };
                    self.put_member(Member { current: Arc::new(current), ..member })?;
                }
            }
            ConsumerRecord::Regex(regex, resolved) => self.subscriptions.resolve(&regex, resolved),
        }
        Ok(())
    }

    fn put_member(&mut self, member: Member) -> Result<(), ReplayError> {
        let before = self.members.get(&member.id).cloned();
        self.disown(before.as_ref());
        if let Some((topic, partition)) = self.owned_by_another(&member.current) {
            self.own(before.as_ref());
            let problem = format!(
                "member {} of group {} would own partition {partition} of topic {topic}, which has another owner",
                member.id, self.id
            );
            return Err(ReplayError(problem));
        }
        self.own(Some(&member));
        self.count(before.as_ref(), Some(&member));
        if let Some(instance) = member.metadata.instance.clone() {
            self.static_members.insert(instance, member.id.clone());
        }
        self.members.insert(member.id.clone(), member);
        Ok(())
    }

    fn remove_member(&mut self, id: &MemberId) {
        let Some(member) = self.members.remove(id) else {
            return;
        };
        self.disown(Some(&member));
        self.count(Some(&member), None);
        if let Some(instance) = &member.metadata.instance
            && self.static_members.get(instance) == Some(id)
        {
            self.static_members.remove(instance);
        }
    }

    fn count(&mut self, before: Option<&Member>, after: Option<&Member>) {
        let metadata = |member: Option<&Member>| member.map(|member| Arc::clone(&member.metadata));
        let (before, after) = (metadata(before), metadata(after));
        if before == after {
            return;
        }
        self.subscriptions.change(before.as_deref(), after.as_deref());
        change_assignors(&mut self.assignors, before.as_deref(), after.as_deref());
        let is_classic = |it: &Option<Arc<MemberMetadata>>| {
            usize::from(it.as_ref().is_some_and(|it| it.classic.is_some()))
        };
        self.classic_count = self.classic_count + is_classic(&after) - is_classic(&before);
    }

    fn owned_by_another(&self, current: &CurrentAssignment) -> Option<(TopicId, PartitionId)> {
        let mut all = [&current.owned, &current.revoking].into_iter().flatten();
        all.find_map(|(topic, partitions)| {
            let owned = self.owned.get(topic)?;
            let taken = partitions.keys().find(|partition| owned.contains(partition))?;
            Some((*topic, *taken))
        })
    }

    fn own(&mut self, member: Option<&Member>) {
        let Some(Member { current, .. }) = member else {
            return;
        };
        for (topic, partitions) in [&current.owned, &current.revoking].into_iter().flatten() {
            self.owned.entry(*topic).or_default().extend(partitions.keys());
        }
    }

    fn disown(&mut self, member: Option<&Member>) {
        let Some(Member { current, .. }) = member else {
            return;
        };
        for (topic, partitions) in [&current.owned, &current.revoking].into_iter().flatten() {
            let Some(owned) = self.owned.get_mut(topic) else {
                continue;
            };
            for partition in partitions.keys() {
                owned.remove(partition);
            }
            if owned.is_empty() {
                self.owned.remove(topic);
            }
        }
    }

    fn is_owned(&self, topic: TopicId, partition: PartitionId) -> bool {
        self.owned.get(&topic).is_some_and(|owned| owned.contains(&partition))
    }

    /// What the log says of it, for tests.
    #[cfg(test)]
    pub(super) fn durable(&self) -> impl std::fmt::Debug + use<> {
        let epochs = (self.epoch, self.metadata_hash, self.target_epoch, self.target_computed_at);
        let derived = (&self.subscriptions, &self.owned, &self.static_members, self.classic_count);
        format!("{epochs:?} {:?} {:?} {derived:?}", self.members, self.targets)
    }

    /// All records were replayed: sessions begin anew.
    pub fn loaded(&mut self, turn: &Turn<'_>, scope: &Scope<'_>) {
        let now = turn.instant();
        for member in self.members.values() {
            let session_end = now.plus(scope.config.session_timeout);
            self.timers.set(&member.id, Wait::Session, session_end, member.epoch());
            if member.current.state == super::records::consumer::MemberState::Unrevoked {
                let end = now.plus(rebalance_timeout(member));
                self.timers.set(&member.id, Wait::Rebalance, end, member.epoch());
            }
        }
    }

    /// When the group has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.regexes.due().into_iter().chain(self.timers.next()).min()
    }

    /// Topics of these names were created, deleted or changed.
    pub fn topics_changed<'a>(
        &mut self,
        mut names: impl Iterator<Item = &'a str>,
        any_created: bool,
    ) {
        self.is_metadata_stale |= names.any(|name| self.subscriptions.contains(name));
        if any_created {
            self.regexes.topics_created();
        }
    }

    fn write(&self, turn: &mut Turn<'_>, record: &ConsumerRecord) {
        turn.write(record.record(&self.id));
    }

    fn write_epoch(&self, turn: &mut Turn<'_>, epoch: i32, metadata_hash: i64) {
        self.write(turn, &ConsumerRecord::Group(Some(GroupEpoch { epoch, metadata_hash })));
    }

    /// Writes that the group is gone, with all there is of it.
    pub fn write_tombstones(&self, turn: &mut Turn<'_>) {
        let ids = || self.members.keys().cloned();
        for id in ids() {
            self.write(turn, &ConsumerRecord::Current(id, None));
        }
        for id in ids() {
            self.write(turn, &ConsumerRecord::Target(id, None));
        }
        self.write(turn, &ConsumerRecord::TargetEpoch(None));
        for id in ids() {
            self.write(turn, &ConsumerRecord::Member(id, None));
        }
        for (regex, _) in self.subscriptions.all_resolved() {
            self.write(turn, &ConsumerRecord::Regex(Arc::clone(regex), None));
        }
        self.write(turn, &ConsumerRecord::Topics(None));
        self.write(turn, &ConsumerRecord::Group(None));
    }
}

fn rebalance_timeout(member: &Member) -> Duration {
    millis(member.metadata.rebalance_timeout_ms)
}

/// A negative number counts as 0.
fn millis(timeout: i32) -> Duration {
    Duration::from_millis(timeout.max(0).unsigned_abs().into())
}

/// One member now prefers the assignor of `after` instead of that of `before`.
fn change_assignors(
    counts: &mut BTreeMap<Arc<str>, usize>,
    before: Option<&MemberMetadata>,
    after: Option<&MemberMetadata>,
) {
    if let Some(name) = before.and_then(|it| it.assignor.as_ref())
        && let Some(count) = counts.get_mut(name)
    {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
    if let Some(name) = after.and_then(|it| it.assignor.as_ref()) {
        *counts.entry(Arc::clone(name)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests;
