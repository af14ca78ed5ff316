//! Members that speak the classic protocol inside a consumer group: their JoinGroup, SyncGroup, Heartbeat and LeaveGroup
//! (the `…ToConsumerGroup` operations of Kafka's `GroupMetadataManager`).
//!
//! To them an epoch is a generation. They learn from a heartbeat that they have to join, give up what is not theirs any
//! more by joining without it, and get what they own from SyncGroup. The coordinator never waits for others to answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::embedded::{self, Subscription};
use super::heartbeat::{Joining, check_instance, unknown_instance};
use super::member::{Member, Reported};
use super::timers::Wait;
use super::{ConsumerGroup, Refusal, Scope, millis, rebalance_timeout};
use crate::config::MigrationPolicy;
use crate::group::records::consumer::{ClassicMetadata, MemberMetadata, MemberState};
use crate::group::turn::Turn;
use crate::group::{Caller, InstanceId, MemberId};
use crate::model::ErrorCode;
use crate::wire::Text;
use crate::wire::messages::leave_group_request::MemberIdentity;
use crate::wire::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

/// The protocol type of consumers.
const CONSUMER: &str = "consumer";
/// The first version in which a member joins with an id that it was given.
const MEMBER_ID_REQUIRED_FROM: i16 = 4;

impl ConsumerGroup {
    /// JoinGroup.
    pub fn classic_join(
        &mut self,
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        caller: &Caller,
        request: &JoinGroupRequest,
    ) -> JoinGroupResponse {
        let record_count = turn.effects.records.len();
        let id = match request.member_id.as_str() {
            "" => turn.new_consumer_member_id(),
            id => MemberId::from(id),
        };
        let outcome = self.try_join(turn, scope, caller, request, &id);
        outcome.unwrap_or_else(|refusal| {
            turn.effects.records.truncate(record_count);
            let mut response = JoinGroupResponse::default();
            response.error_code = refusal.code.code();
            let is_given = refusal.code == ErrorCode::MemberIdRequired;
            response.member_id = if is_given { id.to_text() } else { request.member_id.clone() };
            response
        })
    }

    fn try_join(
        &mut self,
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        caller: &Caller,
        request: &JoinGroupRequest,
        id: &MemberId,
    ) -> Result<JoinGroupResponse, Refusal> {
        let inconsistent =
            |why: &str| Refusal::new(ErrorCode::InconsistentGroupProtocol, why.to_owned());
        if turn.settings.consumer.migration == MigrationPolicy::Disabled {
            return Err(inconsistent("the migration policy keeps the protocols apart"));
        }
        self.check_size(id.as_str(), turn.settings.consumer.member_count_max)?;
        if !self.supports(request) {
            return Err(inconsistent("the members have no protocol in common"));
        }
        let is_unknown = request.member_id.is_empty();
        let instance = request.group_instance_id.as_deref();
        if is_unknown && instance.is_none() && caller.api_version >= MEMBER_ID_REQUIRED_FROM {
            return Err(Refusal::new(ErrorCode::MemberIdRequired, "join again with this id"));
        }
        let subscription = request.protocols.first().map(|it| Subscription::read(&it.metadata));
        let subscription = subscription.flatten();
        let subscription = subscription.ok_or_else(|| inconsistent("no subscription"))?;

        let record_count = turn.effects.records.len();
        let may_create = is_unknown || instance.is_none();
        let joining = Joining { id, instance, may_create, is_classic: true };
        let replaced = instance.and_then(|instance| self.static_member(instance)).cloned();
        let before = self.find_or_join(turn, &joining)?;
        let metadata = Arc::new(joined(&before.metadata, caller, request, &subscription));
        let member = Member { metadata, ..before.clone() };
        let change = self.write_change(turn, caller, &before, &member)?;
        let epoch = self.bump_if_needed(turn, scope, &before, &member, change.of_subscription);
        let owned = subscription.owned(scope.image);
        let reported = Reported::Partitions(&owned);
        let last_of_its_kind = replaced.filter(|replaced| {
            let gone = [replaced.id.clone()].into();
            !replaced.is_classic() && self.would_be_classic(turn, &gone)
        });
        let member = if let Some(replaced) = last_of_its_kind {
            self.join_as_classic_group(
                turn,
                scope,
                member,
                &replaced,
                epoch,
                reported,
                record_count,
            )?
        } else {
            let target = self.divide_if_needed(turn, scope, &before, &member, epoch);
            let changed = change.of_subscription;
            let member = self.reconcile(turn, scope, member, &target, changed, reported)?;
            self.timers.cancel(&member.id, Wait::Join);
            let now = turn.instant();
            let session_end = now.plus(millis(request.session_timeout_ms));
            self.timers.set(&member.id, Wait::Session, session_end, member.epoch());
            let sync_end = now.plus(millis(request.rebalance_timeout_ms));
            self.timers.set(&member.id, Wait::Sync, sync_end, member.epoch());
            member
        };
        let mut response = JoinGroupResponse::default();
        response.member_id = member.id.to_text();
        response.generation_id = member.epoch();
        response.protocol_type = Some(Text::from_static_str(CONSUMER));
        response.protocol_name = request.protocols.first().map(|protocol| protocol.name.clone());
        Ok(response)
    }

    /// Whether the group would have members of the classic protocol only, the one that joins included.
    fn would_be_classic(&self, turn: &Turn<'_>, gone: &BTreeSet<MemberId>) -> bool {
        let others = self.members.values().filter(|member| !gone.contains(&member.id));
        turn.settings.consumer.migration.downgrades()
            && self.members.len() <= turn.settings.member_count_max
            && others.clone().all(Member::is_classic)
    }

    /// The last member of the new protocol comes back with the classic one: the group becomes a classic group.
    #[expect(clippy::too_many_arguments, reason = "the rest of one step, split off to be read")]
    fn join_as_classic_group(
        &mut self,
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        member: Member,
        replaced: &Member,
        epoch: i32,
        reported: Reported<'_>,
        record_count: usize,
    ) -> Result<Member, Refusal> {
        let target = self.last_target(&member);
        let rebalance = (self.target_epoch < epoch).then_some("its assignment is out of date");
        let member = match rebalance {
            Some(_) => member,
            None => self.reconcile(turn, scope, member, &target, false, reported)?,
        };
        // What was written of the consumer group is gone with it.
        turn.effects.records.truncate(record_count);
        let gone = [replaced.id.clone()].into();
        self.downgrade(turn, scope, &gone, Some((&member, &target.partitions)), rebalance);
        Ok(member)
    }

    /// Whether all members of the classic protocol have one in common with who joins.
    fn supports(&self, request: &JoinGroupRequest) -> bool {
        let is_common = |name: &str| {
            let metadata = self.members.values().filter_map(|it| it.metadata.classic.as_deref());
            metadata.clone().all(|it| it.protocols.iter().any(|(known, _)| &**known == name))
        };
        *request.protocol_type == *CONSUMER
            && request.protocols.iter().any(|it| is_common(&it.name))
    }

    /// SyncGroup: what the member owns.
    ///
    /// # Errors
    /// The code of the answer.
    pub fn classic_sync(
        &mut self,
        turn: &Turn<'_>,
        scope: &Scope<'_>,
        request: &SyncGroupRequest,
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let instance = request.group_instance_id.as_deref();
        let (member, classic) = self.classic_member(&request.member_id, instance)?;
        if member.epoch() != request.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        let preferred = classic.protocols.first();
        let is_other_type = request.protocol_type.as_deref().is_some_and(|it| it != CONSUMER);
        let is_other_name = request
            .protocol_name
            .as_deref()
            .is_some_and(|name| preferred.is_none_or(|(known, _)| &**known != name));
        if is_other_type || is_other_name {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if self.target_epoch > member.epoch() && member.current.state != MemberState::Unrevoked {
            self.expect_join(turn, &member);
            return Err(ErrorCode::RebalanceInProgress);
        }
        let end = turn.instant().plus(millis(classic.session_timeout_ms));
        self.timers.cancel(&member.id, Wait::Sync);
        self.timers.set(&member.id, Wait::Session, end, member.epoch());
        let version = preferred.map_or(0, |(_, metadata)| embedded::version_of(metadata));
        let mut response = SyncGroupResponse::default();
        response.protocol_type.clone_from(&request.protocol_type);
        response.protocol_name.clone_from(&request.protocol_name);
        response.assignment = embedded::write_owned(version, &member.current.owned, scope.image);
        Ok(response)
    }

    /// Heartbeat. `REBALANCE_IN_PROGRESS` tells the member to join, if that brings it further.
    pub fn classic_heartbeat(&mut self, turn: &Turn<'_>, request: &HeartbeatRequest) -> ErrorCode {
        let instance = request.group_instance_id.as_deref();
        let (member, classic) = match self.classic_member(&request.member_id, instance) {
            Ok(found) => found,
            Err(error) => return error,
        };
        if member.epoch() != request.generation_id {
            return ErrorCode::IllegalGeneration;
        }
        let end = turn.instant().plus(millis(classic.session_timeout_ms));
        self.timers.set(&member.id, Wait::Session, end, member.epoch());
        let has_news = member.epoch() < self.target_epoch
            || match member.current.state {
                MemberState::Unrevoked => true,
                MemberState::Unreleased => !self.waits_for_others(&member),
                MemberState::Stable | MemberState::Unknown => false,
            };
        if !has_news {
            return ErrorCode::None;
        }
        self.expect_join(turn, &member);
        ErrorCode::RebalanceInProgress
    }

    /// LeaveGroup: the outcome for each of these.
    pub fn classic_leave(
        &mut self,
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        identities: &[MemberIdentity],
    ) -> Vec<ErrorCode> {
        let mut gone = BTreeSet::new();
        let outcomes = identities.iter().map(|identity| {
            let id = identity.member_id.as_str();
            let found = match identity.group_instance_id.as_deref() {
                None => self.members.get(id).ok_or(ErrorCode::UnknownMemberId),
                Some(instance) => match self.static_member(instance) {
                    None => Err(ErrorCode::UnknownMemberId),
                    Some(known) if !id.is_empty() && known.id.as_str() != id => {
                        Err(ErrorCode::FencedInstanceId)
                    }
                    Some(known) => Ok(known),
                },
            };
            match found {
                Ok(member) => {
                    gone.insert(member.id.clone());
                    ErrorCode::None
                }
                Err(error) => error,
            }
        });
        let outcomes = outcomes.collect();
        self.remove(turn, scope, &gone);
        outcomes
    }

    fn classic_member(
        &self,
        id: &str,
        instance: Option<&str>,
    ) -> Result<(Member, Arc<ClassicMetadata>), ErrorCode> {
        let member = match instance {
            None => self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?,
            Some(instance) => {
                let known = self.static_member(instance);
                let known = known.ok_or_else(|| unknown_instance(instance).code)?;
                check_instance(known, id, instance).map_err(|refusal| refusal.code)?;
                known
            }
        };
        let classic = member.metadata.classic.clone().ok_or(ErrorCode::UnknownMemberId)?;
        Ok((member.clone(), classic))
    }

    fn expect_join(&mut self, turn: &Turn<'_>, member: &Member) {
        let end = turn.instant().plus(rebalance_timeout(member));
        self.timers.set_if_absent(&member.id, Wait::Join, end);
    }

    /// Whether something that the member is to own is not free yet.
    fn waits_for_others(&self, member: &Member) -> bool {
        let target = self.targets.get(&member.id).into_iter().flat_map(|target| target.iter());
        target.into_iter().any(|(topic, partitions)| {
            let own = member.current.owned.get(topic);
            partitions.iter().any(|partition| {
                let has = own.is_some_and(|own| own.contains_key(partition));
                !has && self.is_owned(*topic, *partition)
            })
        })
    }
}

/// What the member says of itself now.
fn joined(
    before: &MemberMetadata,
    caller: &Caller,
    request: &JoinGroupRequest,
    subscription: &Subscription,
) -> MemberMetadata {
    let protocols = request.protocols.iter();
    let protocols = protocols.map(|it| (Arc::from(it.name.as_str()), it.metadata.clone()));
    MemberMetadata {
        instance: match &request.group_instance_id {
            Some(instance) => Some(InstanceId::from(instance.as_str())),
            None => before.instance.clone(),
        },
        rack: subscription.rack.clone().or_else(|| before.rack.clone()),
        client_id: Arc::from(&*caller.client_id),
        client_host: Arc::from(&*caller.client_host),
        topics: subscription.topics.clone(),
        regex: Some("".into()),
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => before.rebalance_timeout_ms,
            timeout => timeout,
        },
        assignor: before.assignor.clone(),
        classic: Some(Arc::new(ClassicMetadata {
            session_timeout_ms: request.session_timeout_ms,
            protocols: protocols.collect(),
        })),
    }
}
