//! JoinGroup: who becomes a member, with which id, and whether that begins a rebalance.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::answers::{join_refused, sync_refused, text};
use super::members::{Member, Offer, Protocol, millis};
use super::{ClassicGroup, State};
use crate::coordinator::Ticket;
use crate::group::command::{Caller, Reply};
use crate::group::turn::Turn;
use crate::group::{InstanceId, MemberId};
use crate::model::ErrorCode;
use crate::wire::messages::JoinGroupRequest;

/// The version from which a dynamic member must come back with the id it was given (KIP-394).
const MEMBER_ID_REQUIRED_FROM: i16 = 4;
/// The version from which a leader can be told that the group has its assignments (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;
/// How long a new member waits for its first generation at most, if it does not go on living
/// (`GroupCoordinatorConfig.CLASSIC_GROUP_NEW_MEMBER_JOIN_TIMEOUT_MS`).
const NEW_MEMBER_TIMEOUT: Duration = Duration::from_secs(300);

/// A request to join, and who gets the answer.
struct Joining<'a> {
    caller: &'a Caller,
    request: &'a JoinGroupRequest,
    offer: Offer,
    instance: Option<InstanceId>,
    ticket: Ticket,
}

impl<'a> Joining<'a> {
    fn new(caller: &'a Caller, request: &'a JoinGroupRequest, ticket: Ticket) -> Self {
        let protocols = request.protocols.iter().map(|protocol| Protocol {
            name: Arc::from(protocol.name.as_str()),
            metadata: Bytes::copy_from_slice(&protocol.metadata),
        });
        let offer = Offer {
            protocols: protocols.collect(),
            // Version 0 has only one timeout.
            rebalance_timeout_ms: match caller.api_version {
                0 => request.session_timeout_ms,
                _ => request.rebalance_timeout_ms,
            },
            session_timeout_ms: request.session_timeout_ms,
        };
        let instance = request.group_instance_id.as_deref().map(InstanceId::from);
        Self { caller, request, offer, instance, ticket }
    }

    /// Why the client joins, for the log (KIP-800).
    fn reason(&self) -> &str {
        match self.request.reason.as_deref() {
            None | Some("") => "not provided",
            Some(reason) => reason,
        }
    }
}

impl ClassicGroup {
    /// A member wants to be in the next generation.
    pub fn join(
        &mut self,
        turn: &mut Turn<'_>,
        caller: &Caller,
        request: &JoinGroupRequest,
        ticket: Ticket,
    ) {
        let member = request.member_id.as_str();
        if !self.has_room_for(member, turn.settings.member_count_max) {
            self.drop_member(turn, member);
            return turn.reply(ticket, join_refused("", ErrorCode::GroupMaxSizeReached));
        }
        if !self.supports(request) {
            return turn.reply(ticket, join_refused(member, ErrorCode::InconsistentGroupProtocol));
        }
        let joining = Joining::new(caller, request, ticket);
        if member.is_empty() {
            self.join_unknown(turn, joining);
        } else {
            self.join_known(turn, joining);
        }
    }

    /// Whether the group has room (`GroupMetadataManager.acceptJoiningMember`). An empty one has: its first members decide
    /// when it is full.
    fn has_room_for(&self, member: &str, member_count_max: usize) -> bool {
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                self.members.get(member).is_some_and(Member::is_joining)
                    || self.members.joining_count() < member_count_max
            }
            State::CompletingRebalance | State::Stable => {
                self.members.contains(member) || self.members.len() < member_count_max
            }
        }
    }

    /// Whether what a member offers fits what the others have (`ClassicGroup.supportsProtocols`).
    fn supports(&self, request: &JoinGroupRequest) -> bool {
        let protocol_type = request.protocol_type.as_str();
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !request.protocols.is_empty();
        }
        let mut names = request.protocols.iter().map(|protocol| protocol.name.as_str());
        self.protocol_type.as_deref() == Some(protocol_type)
            && self.members.support_one_of(&mut names)
    }

    fn join_unknown(&mut self, turn: &mut Turn<'_>, joining: Joining<'_>) {
        let Some(instance) = &joining.instance else {
            let id = turn.new_member_id(joining.caller.client_id.as_str());
            if joining.caller.api_version < MEMBER_ID_REQUIRED_FROM {
                return self.add_member(turn, id, joining);
            }
            let deadline = turn.instant().plus(millis(joining.offer.session_timeout_ms));
            turn.reply(joining.ticket, join_refused(id.as_str(), ErrorCode::MemberIdRequired));
            return self.members.add_pending(id, deadline);
        };
        let id = turn.new_member_id(instance.as_str());
        match self.members.by_instance(instance.as_str()).cloned() {
            Some(old) => self.replace_static(turn, &old, id, joining),
            None => self.add_member(turn, id, joining),
        }
    }

    fn join_known(&mut self, turn: &mut Turn<'_>, joining: Joining<'_>) {
        let request = joining.request;
        let member = request.member_id.as_str();
        if self.members.is_pending(member) {
            if joining.instance.is_some() {
                // Only dynamic members are pending. Kafka fails on this as well.
                let refusal = join_refused("", ErrorCode::UnknownServerError);
                return turn.reply(joining.ticket, refusal);
            }
            return self.add_member(turn, MemberId::from(member), joining);
        }
        if let Err(error) = self.check_member(member, request.group_instance_id.as_deref()) {
            return turn.reply(joining.ticket, join_refused(member, error));
        }
        let is_leader = self.members.is_leader(member);
        let unchanged = self
            .members
            .get(member)
            .is_some_and(|known| known.offer.protocols == joining.offer.protocols);
        match self.state {
            State::CompletingRebalance if unchanged => {
                // It lost the answer: the same again.
                let mut response = self.joined(&MemberId::from(member));
                if is_leader {
                    response.members = self.members_for_leader();
                }
                turn.reply(joining.ticket, Reply::JoinGroup(response));
            }
            State::Stable if unchanged && !is_leader => {
                let response = self.joined(&MemberId::from(member));
                turn.reply(joining.ticket, Reply::JoinGroup(response));
            }
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                let why = format!("member {member} joins again: {}", joining.reason());
                let Joining { offer, ticket, .. } = joining;
                self.update_member(turn, member, offer, ticket);
                self.rebalance_or_complete(turn, &why);
            }
            State::Empty => {
                turn.reply(joining.ticket, join_refused(member, ErrorCode::UnknownMemberId));
            }
        }
    }

    fn add_member(&mut self, turn: &mut Turn<'_>, id: MemberId, joining: Joining<'_>) {
        let why = format!("new member {id}: {}", joining.reason());
        if let Some(initial) = self.rejoin.as_mut().and_then(|rejoin| rejoin.initial.as_mut()) {
            initial.member_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(Arc::from(joining.request.protocol_type.as_str()));
        }
        if let Some(instance) = &joining.instance {
            self.write_new_id(turn, instance, &id);
        }
        let Caller { client_id, client_host, .. } = joining.caller;
        let mut member = Member::new(
            joining.instance,
            client_id.as_str().into(),
            client_host.as_str().into(),
            joining.offer,
        );
        member.is_new = true;
        self.members.add(id.clone(), member);
        self.members.set_join(id.as_str(), joining.ticket);
        self.members.set_deadline(id.as_str(), turn.instant().plus(NEW_MEMBER_TIMEOUT));
        self.rebalance_or_complete(turn, &why);
    }

    fn update_member(&mut self, turn: &mut Turn<'_>, id: &str, offer: Offer, ticket: Ticket) {
        self.members.update(id, offer);
        if let Some(before) = self.members.set_join(id, ticket) {
            // The client asks twice; the answer goes where it asked last.
            turn.reply(before, join_refused(id, ErrorCode::RebalanceInProgress));
        }
    }

    /// A static member comes back without its id: it gets a new one, and its old incarnation is fenced
    /// (`GroupMetadataManager.updateStaticMemberThenRebalanceOrCompleteJoin`).
    fn replace_static(
        &mut self,
        turn: &mut Turn<'_>,
        old: &MemberId,
        new: MemberId,
        joining: Joining<'_>,
    ) {
        let leader_before = self.members.leader().cloned();
        let (join, sync) = self.members.replace(old, new.clone());
        if let Some(ticket) = join {
            let mut response = crate::wire::messages::JoinGroupResponse::default();
            response.member_id = old.to_text();
            response.protocol_name = None;
            response.error_code = ErrorCode::FencedInstanceId.code();
            turn.reply(ticket, Reply::JoinGroup(response));
        }
        if let Some(ticket) = sync {
            turn.reply(ticket, sync_refused(ErrorCode::FencedInstanceId));
        }
        if self.unsynced.remove(old) {
            self.unsynced.insert(new.clone());
        }
        self.members.begin_session(new.as_str(), turn.instant());
        let why = format!("static member {new} replaces {old}: {}", joining.reason());
        let Joining { caller, offer, instance, ticket, .. } = joining;
        self.members.update(new.as_str(), offer);
        if self.state == State::Stable && self.protocol == self.members.preferred_protocol() {
            // The group goes on as it is; the new id must survive before the member hears of it.
            self.write(turn);
            let mut response = self.joined(&new);
            let is_leader = self.members.is_leader(new.as_str());
            if caller.api_version < SKIP_ASSIGNMENT_FROM {
                // An old client that is told that it leads would assign again: it is told the id it does not have.
                response.leader =
                    leader_before.map(|leader| text(leader.as_str())).unwrap_or_default();
            } else if is_leader {
                response.members = self.members_for_leader();
                response.skip_assignment = true;
            }
            return turn.reply(ticket, Reply::JoinGroup(response));
        }
        if let Some(instance) = &instance {
            self.write_new_id(turn, instance, &new);
        }
        self.members.set_join(new.as_str(), ticket);
        self.rebalance_or_complete(turn, &why);
    }
}
