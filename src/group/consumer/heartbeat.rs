//! ConsumerGroupHeartbeat: a member joins, lives, changes what it subscribes to, reports what it owns, and learns what it
//! may own (`GroupMetadataManager.consumerGroupHeartbeat`).
//!
//! A field that is null, or -1, says that it is as before.

use std::sync::Arc;

use super::member::{Goal, Member, Reported, Subscribed};
use super::resolve::RegexChange;
use super::target::Target;
use super::timers::Wait;
use super::{
    Assignor, ConsumerGroup, LEAVE, LEAVE_FOR_A_WHILE, Refusal, Scope, hash, rebalance_timeout,
};
use crate::group::records::consumer::{
    ConsumerRecord, CurrentAssignment, MemberMetadata, MemberState, Owned,
};
use crate::group::turn::Turn;
use crate::group::{Caller, InstanceId, MemberId, Settings};
use crate::model::{ErrorCode, Instant};
use crate::wire::Text;
use crate::wire::messages::consumer_group_heartbeat_response::{
    Assignment as WireAssignment, TopicPartitions,
};
use crate::wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

/// Names that are part of a key have a length of two bytes there.
const NAME_BYTES_MAX: usize = i16::MAX as usize;
/// The first version in which clients choose their ids.
const CLIENT_CHOOSES_ID_FROM: i16 = 1;

/// Checks what can be told without the group (`GroupCoordinatorService`).
///
/// # Errors
/// `INVALID_REQUEST` or `UNSUPPORTED_ASSIGNOR`.
pub fn check_heartbeat(
    request: &ConsumerGroupHeartbeatRequest,
    api_version: i16,
    settings: &Settings,
) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    let epoch = request.member_epoch;
    let needs_id = api_version >= CLIENT_CHOOSES_ID_FROM || epoch > 0 || epoch == LEAVE;
    let is_blank = |text: &Text| text.trim().is_empty();
    if needs_id && is_blank(&request.member_id) {
        return invalid("a member needs an id");
    }
    if is_blank(&request.group_id) {
        return invalid("the group has no name");
    }
    if request.instance_id.as_ref().is_some_and(is_blank) {
        return invalid("the instance id is empty");
    }
    if request.rack_id.as_ref().is_some_and(is_blank) {
        return invalid("the rack id is empty");
    }
    if [&*request.group_id, &request.member_id].iter().any(|name| name.len() > NAME_BYTES_MAX) {
        return invalid("a name is too long");
    }
    match epoch {
        0 if request.rebalance_timeout_ms == -1 => {
            return invalid("who joins has to give its rebalance timeout");
        }
        0 if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("who joins has to own nothing, and to say so");
        }
        0 if request.subscribed_topic_names.is_none()
            && request.subscribed_topic_regex.is_none() =>
        {
            return invalid("who joins has to subscribe to topics or to a regular expression");
        }
        LEAVE_FOR_A_WHILE if request.instance_id.is_none() => {
            return invalid("only static members leave for a while");
        }
        ..LEAVE_FOR_A_WHILE => return invalid("there is no such epoch"),
        _ => {}
    }
    match &request.server_assignor {
        Some(name) if !is_supported(name, settings) => Err(Refusal::new(
            ErrorCode::UnsupportedAssignor,
            format!("assignor {name} is not one of {}", settings.consumer.assignors.join(", ")),
        )),
        _ => Ok(()),
    }
}

fn is_supported(name: &str, settings: &Settings) -> bool {
    let is_listed = settings.consumer.assignors.iter().any(|listed| listed == name);
    is_listed && Assignor::by_name(name).is_some()
}

/// The answer to a heartbeat that is refused.
#[must_use]
pub fn refused(refusal: Refusal) -> ConsumerGroupHeartbeatResponse {
    let mut response = ConsumerGroupHeartbeatResponse::default();
    response.error_code = refusal.code.code();
    response.error_message = Some(Text::from_string(refusal.message));
    response
}

/// How a member comes into the group.
pub(super) struct Joining<'a> {
    pub(super) id: &'a MemberId,
    pub(super) instance: Option<&'a str>,
    /// Whether a member that is not known is taken.
    pub(super) may_create: bool,
    pub(super) is_classic: bool,
}

/// What became of a member's subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Whether the member now subscribes to other topics.
    pub(super) of_subscription: bool,
    /// Whether the target has to be divided anew for it.
    pub(super) bumps_epoch: bool,
}

impl ConsumerGroup {
    /// Handles a heartbeat that [`check_heartbeat`] let pass. A group that had no member is made by the first one.
    ///
    /// # Errors
    /// If the member is not known, fenced, or cannot join. Then nothing is written.
    pub fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        caller: &Caller,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let record_count = turn.effects.records.len();
        let outcome = match request.member_epoch {
            LEAVE | LEAVE_FOR_A_WHILE => self.heartbeat_leave(turn, scope, request),
            _ => self.heartbeat_live(turn, scope, caller, request),
        };
        if outcome.is_err() {
            turn.effects.records.truncate(record_count);
        }
        outcome
    }

    fn heartbeat_live(
        &mut self,
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        caller: &Caller,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let joins = request.member_epoch == 0;
        self.check_size(&request.member_id, turn.settings.consumer.member_count_max)?;
        let id = match request.member_id.as_str() {
            "" => turn.new_consumer_member_id(),
            id => MemberId::from(id),
        };
        let reported = match &request.topic_partitions {
            None => Reported::Unchanged,
            Some(topics) => Reported::Partitions(topics),
        };
        let joining = Joining {
            id: &id,
            instance: request.instance_id.as_deref(),
            may_create: joins,
            is_classic: false,
        };
        let before = self.find_or_join(turn, &joining)?;
        self.check_epoch(&before, request.member_epoch, reported, joins)?;
        let metadata = updated(&before.metadata, caller, request);
        let member = Member { metadata, ..before.clone() };

        let change = self.write_change(turn, caller, &before, &member)?;
        let epoch = self.bump_if_needed(turn, scope, &before, &member, change.bumps_epoch);
        let target = self.divide_if_needed(turn, scope, &before, &member, epoch);
        let member =
            self.reconcile(turn, scope, member, &target, change.of_subscription, reported)?;
        let session_end = turn.instant().plus(scope.config.session_timeout);
        self.timers.set(&member.id, Wait::Session, session_end, member.epoch());

        let is_full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some()
                || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some();
        let mut response = ConsumerGroupHeartbeatResponse::default();
        response.member_id = Some(member.id.to_text());
        response.member_epoch = member.epoch();
        response.heartbeat_interval_ms = scope.config.heartbeat_interval_ms;
        if joins || is_full || before.current.owned != member.current.owned {
            response.assignment = Some(wire_assignment(&member.current.owned));
        }
        Ok(response)
    }

    pub(super) fn check_size(&self, id: &str, member_count_max: usize) -> Result<(), Refusal> {
        if self.members.len() < member_count_max || self.members.contains_key(id) {
            return Ok(());
        }
        let message = format!("the group has {member_count_max} members already");
        Err(Refusal::new(ErrorCode::GroupMaxSizeReached, message))
    }

    /// The member, as it is before this request. A static member that is replaced leaves here.
    pub(super) fn find_or_join(
        &mut self,
        turn: &mut Turn<'_>,
        joining: &Joining<'_>,
    ) -> Result<Member, Refusal> {
        let Some(instance) = joining.instance else {
            return match self.members.get(joining.id) {
                Some(member) => Ok(member.clone()),
                None if joining.may_create => Ok(Member::new(joining.id.clone())),
                None => Err(self.unknown_member(joining.id.as_str())),
            };
        };
        let known = self.static_member(instance).cloned();
        match known {
            None if joining.may_create => {
                let known = self.members.get(joining.id).cloned();
                Ok(known.unwrap_or_else(|| Member::new(joining.id.clone())))
            }
            None => Err(unknown_instance(instance)),
            Some(known) if !joining.may_create => {
                check_instance(&known, joining.id.as_str(), instance)?;
                Ok(known)
            }
            Some(known) => {
                let has_left = known.epoch() == LEAVE_FOR_A_WHILE;
                if !has_left && !joining.is_classic && !known.is_classic() {
                    return Err(Refusal::new(
                        ErrorCode::UnreleasedInstanceId,
                        format!("instance {instance} belongs to member {}", known.id),
                    ));
                }
                Ok(self.replace_static(turn, &known, joining.id))
            }
        }
    }

    /// A static member comes back with a new id, and goes on with what the old one had.
    fn replace_static(&mut self, turn: &mut Turn<'_>, known: &Member, id: &MemberId) -> Member {
        let current = CurrentAssignment { epoch: 0, previous_epoch: 0, ..(*known.current).clone() };
        let member = Member {
            id: id.clone(),
            current: Arc::new(current),
            metadata: Arc::clone(&known.metadata),
        };
        let target = self.targets.get(&known.id).map(|it| (**it).clone()).unwrap_or_default();
        self.timers.cancel_all(&known.id);
        self.write_member_gone(turn, &known.id);
        self.write(turn, &ConsumerRecord::Member(id.clone(), Some((*member.metadata).clone())));
        self.write(turn, &ConsumerRecord::Target(id.clone(), Some(target)));
        self.write(turn, &ConsumerRecord::Current(id.clone(), Some((*member.current).clone())));
        member
    }

    pub(super) fn static_member(&self, instance: &str) -> Option<&Member> {
        self.members.get(self.static_members.get(instance)?)
    }

    pub(super) fn unknown_member(&self, id: &str) -> Refusal {
        let message = format!("{id} is not a member of group {}", self.id);
        Refusal::new(ErrorCode::UnknownMemberId, message)
    }

    /// Epoch 0 is for who joins, known or not. Besides its own epoch a member may send the one before that, if it missed
    /// the answer that brought the new one: then it owns nothing but what it may own in the new one.
    fn check_epoch(
        &self,
        member: &Member,
        epoch: i32,
        reported: Reported<'_>,
        joins: bool,
    ) -> Result<(), Refusal> {
        let current = &member.current;
        let missed_answer = epoch == current.previous_epoch && reported.is_within(&current.owned);
        if joins || epoch == current.epoch || (epoch < current.epoch && missed_answer) {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::FencedMemberEpoch,
            format!(
                "member {} of group {} is in epoch {}, not {epoch}; it has to give up all it owns and join again",
                member.id, self.id, current.epoch
            ),
        ))
    }

    /// Writes what the member says of itself, if that is news, and has its regular expression resolved.
    pub(super) fn write_change(
        &mut self,
        turn: &mut Turn<'_>,
        caller: &Caller,
        before: &Member,
        member: &Member,
    ) -> Result<Change, Refusal> {
        if before.metadata != member.metadata {
            let metadata = (*member.metadata).clone();
            self.write(turn, &ConsumerRecord::Member(member.id.clone(), Some(metadata)));
        }
        let topics_changed = before.metadata.topics != member.metadata.topics;
        let regex = self.change_regex(turn, caller, &before.metadata, &member.metadata)?;
        Ok(Change {
            of_subscription: topics_changed || regex != RegexChange::None,
            bumps_epoch: topics_changed || regex == RegexChange::Resolved,
        })
    }

    /// The epoch of the group, which rises if the topics that members subscribe to have changed.
    pub(super) fn bump_if_needed(
        &mut self,
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        before: &Member,
        member: &Member,
        must: bool,
    ) -> i32 {
        if !must && !self.is_metadata_stale {
            return self.epoch;
        }
        self.is_metadata_stale = false;
        let mut subscriptions = self.subscriptions.clone();
        subscriptions.change(Some(&before.metadata), Some(&member.metadata));
        subscriptions.forget_unused();
        let metadata_hash = hash::of_topics(&subscriptions.topics(), scope.image);
        let bumps = must || metadata_hash != self.metadata_hash;
        let epoch = self.epoch + i32::from(bumps);
        if bumps {
            self.write_epoch(turn, epoch, metadata_hash);
        }
        if self.has_topics_record {
            self.write(turn, &ConsumerRecord::Topics(None));
        }
        epoch
    }

    /// The member one step nearer to its target.
    pub(super) fn reconcile(
        &mut self,
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        member: Member,
        target: &Target,
        subscription_changed: bool,
        reported: Reported<'_>,
    ) -> Result<Member, Refusal> {
        if !subscription_changed && member.is_reconciled_to(target.epoch) {
            return Ok(member);
        }
        let regex = member.metadata.used_regex();
        let resolved = regex.and_then(|regex| self.subscriptions.resolved(regex));
        let goal = Goal {
            epoch: target.epoch,
            target: &target.partitions,
            subscribed: Subscribed {
                names: &member.metadata.topics,
                resolved: resolved.map(|it| &**it),
                image: scope.image,
            },
            subscription_changed,
            reported,
            is_owned: &|topic, partition| self.is_owned(topic, partition),
        };
        let next = member.step(&goal).map_err(|_| {
            Refusal::new(
                ErrorCode::FencedMemberEpoch,
                format!("member {} has to give up all it owns and join again", member.id),
            )
        })?;
        if next == member.current {
            return Ok(member);
        }
        let record = ConsumerRecord::Current(member.id.clone(), Some((*next).clone()));
        self.write(turn, &record);
        let member = Member { current: next, ..member };
        if !member.is_classic() {
            self.arm_rebalance(&member, turn.instant());
        }
        Ok(member)
    }

    /// A member with partitions to give up has until its rebalance timeout.
    fn arm_rebalance(&mut self, member: &Member, now: Instant) {
        if member.current.state == MemberState::Unrevoked {
            let end = now.plus(rebalance_timeout(member));
            self.timers.set(&member.id, Wait::Rebalance, end, member.epoch());
        } else {
            self.timers.cancel(&member.id, Wait::Rebalance);
        }
    }
}

/// What the member says of itself now.
fn updated(
    before: &Arc<MemberMetadata>,
    caller: &Caller,
    request: &ConsumerGroupHeartbeatRequest,
) -> Arc<MemberMetadata> {
    let says_something = request.instance_id.is_some()
        || request.rack_id.is_some()
        || request.rebalance_timeout_ms != -1
        || request.server_assignor.is_some()
        || request.subscribed_topic_names.is_some()
        || request.subscribed_topic_regex.is_some()
        || before.classic.is_some()
        || *before.client_id != *caller.client_id
        || *before.client_host != *caller.client_host;
    if !says_something {
        return Arc::clone(before);
    }
    let or_before = |text: &Option<Text>, before: &Option<Arc<str>>| {
        text.as_deref().map(Arc::from).or_else(|| before.clone())
    };
    let topics = request.subscribed_topic_names.as_ref();
    Arc::new(MemberMetadata {
        instance: match &request.instance_id {
            Some(instance) => Some(InstanceId::from(instance.as_str())),
            None => before.instance.clone(),
        },
        rack: or_before(&request.rack_id, &before.rack),
        client_id: Arc::from(&*caller.client_id),
        client_host: Arc::from(&*caller.client_host),
        topics: match topics {
            Some(topics) => topics.iter().map(|topic| Arc::from(topic.as_str())).collect(),
            None => before.topics.clone(),
        },
        regex: or_before(&request.subscribed_topic_regex, &before.regex),
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => before.rebalance_timeout_ms,
            timeout => timeout,
        },
        assignor: or_before(&request.server_assignor, &before.assignor),
        classic: None,
    })
}

pub(super) fn unknown_instance(instance: &str) -> Refusal {
    Refusal::new(ErrorCode::UnknownMemberId, format!("instance {instance} is not known"))
}

pub(super) fn check_instance(known: &Member, id: &str, instance: &str) -> Result<(), Refusal> {
    if known.id.as_str() == id {
        return Ok(());
    }
    let message = format!("instance {instance} belongs to member {}, not to {id}", known.id);
    Err(Refusal::new(ErrorCode::FencedInstanceId, message))
}

fn wire_assignment(owned: &Owned) -> WireAssignment {
    let topics = owned.iter().map(|(topic, partitions)| {
        let mut wire = TopicPartitions::default();
        wire.topic_id = topic.0;
        wire.partitions = partitions.keys().map(|partition| partition.0).collect();
        wire
    });
    let mut assignment = WireAssignment::default();
    assignment.topic_partitions = topics.collect();
    assignment
}
