//! A group changes its kind while it has members (`group.consumer.migration.policy`).
//!
//! A classic group becomes a consumer group with the first member that speaks the new protocol: its members go on with
//! what they have, and speak the classic protocol inside the consumer group (`classic_members.rs`). A consumer group
//! becomes a classic one when the last member goes that speaks the new protocol, or is replaced by one that does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::embedded::{self, NotCarried, Subscription};
use super::member::Member;
use super::timers::Wait;
use super::{ConsumerGroup, Refusal, Scope};
use crate::group::classic::{ClassicGroup, Migrant};
use crate::group::records::consumer::{
    Assignment, ClassicMetadata, ConsumerRecord, CurrentAssignment, GroupEpoch, MemberMetadata,
    MemberState, Owned, TargetEpoch,
};
use crate::group::records::group_metadata;
use crate::group::turn::Turn;
use crate::group::{GroupId, MemberId, Settings};
use crate::model::{ErrorCode, PartitionId, TopicId};

/// The classic group that a consumer group has become.
#[derive(Debug)]
pub(super) struct Downgrade {
    generation: i32,
    migrants: Vec<Migrant>,
    rebalance: Option<&'static str>,
}

impl ConsumerGroup {
    /// Makes a consumer group of a classic one that has members, and writes that down. Who waits in the classic group is
    /// told to join again.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND` if that may not be, or cannot. Then nothing is written.
    pub fn of_classic(
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        id: &GroupId,
        classic: &mut ClassicGroup,
    ) -> Result<Self, Refusal> {
        let no = |why: &str| {
            let message = format!("group {id} cannot become a consumer group: {why}");
            Refusal::new(ErrorCode::GroupIdNotFound, message)
        };
        let settings = &turn.settings.consumer;
        if !settings.migration.upgrades() {
            return Err(no("the migration policy does not allow it"));
        }
        if !classic.is_of_consumers_only() {
            return Err(no("its members do not speak the protocol of consumers"));
        }
        if classic.migrants().len() > settings.member_count_max {
            return Err(no("it has too many members"));
        }
        let mut records = Vec::new();
        for migrant in classic.migrants() {
            records.extend(carried(classic, migrant, scope).map_err(no)?);
        }
        records.sort_by_key(rank);
        let mut group = Self::new(id.clone());
        for record in &records {
            let replayed = group.replay(record.clone());
            replayed.map_err(|_| no("two members own the same partition"))?;
        }
        // The hash belongs to the epoch, and follows from all members.
        let metadata_hash = super::hash::of_topics(&group.subscriptions.topics(), scope.image);
        let epoch = GroupEpoch { epoch: classic.generation(), metadata_hash };
        let divided = TargetEpoch { epoch: classic.generation(), computed_at: None };
        let ends = [ConsumerRecord::Group(Some(epoch)), ConsumerRecord::TargetEpoch(Some(divided))];
        turn.write(group_metadata::tombstone(id));
        for record in records.into_iter().chain(ends) {
            turn.write(record.record(id));
        }
        (group.epoch, group.metadata_hash) = (epoch.epoch, epoch.metadata_hash);
        group.target_epoch = divided.epoch;
        for migrant in classic.migrants() {
            let end = turn.instant().plus(super::millis(migrant.session_timeout_ms));
            group.timers.set(&migrant.id, Wait::Session, end, group.epoch);
        }
        classic.refuse_waiting(turn, ErrorCode::RebalanceInProgress);
        Ok(group)
    }

    /// Whether it becomes a classic group when these members are gone. (A group without members stays what it is.)
    pub(super) fn downgrades_without(
        &self,
        settings: &Settings,
        gone: &BTreeSet<MemberId>,
    ) -> bool {
        if self.classic_count == 0 || !settings.consumer.migration.downgrades() {
            return false;
        }
        let left = self.members.values().filter(|member| !gone.contains(&member.id));
        let left_count = left.clone().count();
        (1..=settings.member_count_max).contains(&left_count)
            && left.clone().all(Member::is_classic)
    }

    /// Becomes a classic group of the members that are not gone, and of `joining`, which has the target of one that is.
    /// The shard puts it into its place.
    pub(super) fn downgrade(
        &mut self,
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        gone: &BTreeSet<MemberId>,
        joining: Option<(&Member, &Assignment)>,
        rebalance: Option<&'static str>,
    ) {
        let nothing = Assignment::new();
        let staying = self.members.values().filter(|member| !gone.contains(&member.id));
        let staying =
            staying.map(|it| (it, self.targets.get(&it.id).map_or(&nothing, |target| &**target)));
        let migrants = staying.chain(joining);
        let migrants = migrants.filter_map(|(member, target)| migrant(member, target, scope));
        let migrants = migrants.collect();
        self.write_tombstones(turn);
        self.downgrade = Some(Box::new(Downgrade { generation: self.epoch, migrants, rebalance }));
    }

    /// The classic group that it has become, if it has; written as such.
    pub fn take_classic(&mut self, turn: &mut Turn<'_>) -> Option<ClassicGroup> {
        let Downgrade { generation, migrants, rebalance } = *self.downgrade.take()?;
        tracing::info!(group = %self.id, "the consumer group becomes a classic group");
        Some(ClassicGroup::of_migrants(turn, self.id.clone(), generation, migrants, rebalance))
    }
}

/// First what members say of themselves, then what they are to own, then what they own: the order in which Kafka writes.
fn rank(record: &ConsumerRecord) -> u8 {
    match record {
        ConsumerRecord::Member(..) => 0,
        ConsumerRecord::Target(..) => 1,
        ConsumerRecord::Group(_)
        | ConsumerRecord::Topics(_)
        | ConsumerRecord::TargetEpoch(_)
        | ConsumerRecord::Current(..)
        | ConsumerRecord::Regex(..) => 2,
    }
}

/// A member of a classic group as one of a consumer group.
fn carried(
    classic: &ClassicGroup,
    migrant: Migrant,
    scope: &Scope<'_>,
) -> Result<[ConsumerRecord; 3], &'static str> {
    let assignment = embedded::read_assignment(&migrant.assignment, scope.image);
    let target = assignment.map_err(|problem| match problem {
        NotCarried::Malformed => "an assignment cannot be read",
        NotCarried::UserData => "its assignor gives members data of its own",
    })?;
    let in_force = |(name, _): &&(Arc<str>, bytes::Bytes)| classic.protocol() == Some(name);
    let said = migrant.protocols.iter().find(in_force).or_else(|| migrant.protocols.first());
    let subscription = said.and_then(|(_, bytes)| Subscription::read(bytes));
    let subscription = subscription.ok_or("a subscription cannot be read")?;
    let generation = classic.generation();
    let owned: Owned = target
        .iter()
        .map(|(topic, it)| (*topic, it.iter().map(|it| (*it, generation)).collect()))
        .collect();
    let metadata = MemberMetadata {
        instance: migrant.instance,
        rack: subscription.rack,
        client_id: migrant.client_id,
        client_host: migrant.client_host,
        topics: subscription.topics,
        regex: Some("".into()),
        rebalance_timeout_ms: migrant.rebalance_timeout_ms,
        assignor: None,
        classic: Some(Arc::new(ClassicMetadata {
            session_timeout_ms: migrant.session_timeout_ms,
            protocols: migrant.protocols,
        })),
    };
    let current = CurrentAssignment {
        epoch: generation,
        previous_epoch: generation,
        state: MemberState::Stable,
        owned,
        revoking: Owned::new(),
    };
    let id = migrant.id;
    Ok([
        ConsumerRecord::Member(id.clone(), Some(metadata)),
        ConsumerRecord::Target(id.clone(), Some(target)),
        ConsumerRecord::Current(id, Some(current)),
    ])
}

/// A member that speaks the classic protocol as one of a classic group; none if it does not.
fn migrant(member: &Member, target: &Assignment, scope: &Scope<'_>) -> Option<Migrant> {
    let metadata = &member.metadata;
    let classic = metadata.classic.as_deref()?;
    let version = classic.protocols.first().map_or(0, |(_, it)| embedded::version_of(it));
    let topics =
        target.iter().map(|(topic, it): (&TopicId, &BTreeSet<PartitionId>)| (topic, it.iter()));
    Some(Migrant {
        id: member.id.clone(),
        instance: metadata.instance.clone(),
        client_id: Arc::clone(&metadata.client_id),
        client_host: Arc::clone(&metadata.client_host),
        rebalance_timeout_ms: metadata.rebalance_timeout_ms,
        session_timeout_ms: classic.session_timeout_ms,
        protocols: classic.protocols.clone(),
        assignment: embedded::write_assignment(version, topics, scope.image),
    })
}
