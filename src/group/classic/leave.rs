//! LeaveGroup: who goes by itself, or is sent away by an administrator.

use super::{ClassicGroup, State};
use crate::coordinator::Ticket;
use crate::group::command::{Caller, Reply};
use crate::group::turn::Turn;
use crate::model::ErrorCode;
use crate::wire::messages::leave_group_request::MemberIdentity;
use crate::wire::messages::leave_group_response::MemberResponse;
use crate::wire::messages::{LeaveGroupRequest, LeaveGroupResponse};

/// The version from which a request lists members.
const LISTS_FROM: i16 = 3;

impl ClassicGroup {
    /// Members go.
    pub fn leave(
        &mut self,
        turn: &mut Turn<'_>,
        caller: &Caller,
        request: &LeaveGroupRequest,
        ticket: Ticket,
    ) {
        let outcomes: Vec<_> = leaving(caller, request)
            .into_iter()
            .map(|identity| (self.leave_one(turn, &identity), identity))
            .collect();
        let left = outcomes.iter().filter(|(error, _)| error.is_none()).count();
        if left > 0 {
            match self.state {
                State::PreparingRebalance => self.complete_if_all_joined(turn),
                State::CompletingRebalance | State::Stable => {
                    self.prepare_rebalance(turn, &format!("{left} members left"));
                }
                State::Empty => {}
            }
        }
        turn.reply(ticket, Reply::LeaveGroup(response(caller, outcomes)));
    }

    fn leave_one(&mut self, turn: &mut Turn<'_>, identity: &MemberIdentity) -> ErrorCode {
        let instance = identity.group_instance_id.as_deref();
        let mut id = identity.member_id.clone();
        if id.is_empty() {
            let known = instance.and_then(|instance| self.members.by_instance(instance));
            match known {
                Some(known) => id = known.to_text(),
                None => return ErrorCode::UnknownMemberId,
            }
        } else if !self.members.is_pending(&id)
            && let Err(error) = self.check_member(&id, instance)
        {
            return error;
        }
        let why = identity.reason.as_deref().unwrap_or("not provided");
        tracing::info!(group = %self.id, member = %id, why, "member leaves");
        self.drop_member(turn, &id);
        ErrorCode::None
    }
}

/// LeaveGroup, refused. That there is no such group means that nobody who is named is a member.
#[must_use]
pub fn refused(caller: &Caller, request: &LeaveGroupRequest, error: ErrorCode) -> Reply {
    if error != ErrorCode::UnknownMemberId {
        let mut response = LeaveGroupResponse::default();
        response.error_code = error.code();
        return Reply::LeaveGroup(response);
    }
    let outcomes = leaving(caller, request).into_iter().map(|identity| (error, identity));
    Reply::LeaveGroup(response(caller, outcomes.collect()))
}

/// Whom a request names.
#[must_use]
pub fn leaving(caller: &Caller, request: &LeaveGroupRequest) -> Vec<MemberIdentity> {
    if caller.api_version >= LISTS_FROM {
        return request.members.clone();
    }
    let mut identity = MemberIdentity::default();
    identity.member_id = request.member_id.clone();
    identity.group_instance_id = None;
    vec![identity]
}

/// LeaveGroup, with the outcome for each of those it names.
#[must_use]
pub fn response(caller: &Caller, outcomes: Vec<(ErrorCode, MemberIdentity)>) -> LeaveGroupResponse {
    let mut response = LeaveGroupResponse::default();
    if caller.api_version < LISTS_FROM {
        response.error_code = outcomes.first().map_or(0, |(error, _)| error.code());
        return response;
    }
    let outcome = |(error, identity): (ErrorCode, MemberIdentity)| {
        let mut member = MemberResponse::default();
        member.member_id = identity.member_id;
        member.group_instance_id = identity.group_instance_id;
        member.error_code = error.code();
        member
    };
    response.members = outcomes.into_iter().map(outcome).collect();
    response
}
