//! LeaveGroup, versions 0 to 5: members of a group go.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | throttle time |
//! | 3 | many members, by member id or by instance (KIP-345) |
//! | 4 | flexible |
//! | 5 | a reason (KIP-800) |
//!
//! Source: `KafkaApis.handleLeaveGroupRequest`, `LeaveGroupResponse` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::{ask, caller};
use crate::group::{Command, Reply};
use crate::model::ErrorCode;
use crate::wire::messages::{LeaveGroupRequest, LeaveGroupResponse};

/// First version with many members.
const MEMBERS_SINCE: i16 = 3;

pub(super) fn start(
    context: RequestContext,
    request: LeaveGroupRequest,
) -> Answer<LeaveGroupResponse> {
    let (version, group) = (context.version(), request.group_id.clone());
    if !context.authorize(Operation::Read, Resource::Group(&group)) {
        return Answer::Now(refused(ErrorCode::GroupAuthorizationFailed));
    }
    if group.is_empty() {
        return Answer::Now(refused(ErrorCode::InvalidGroupId));
    }
    let command = Command::LeaveGroup { caller: caller(&context), request };
    let asked = ask(&context, &group, command);
    Answer::later(async move {
        match asked.await {
            Ok(Reply::LeaveGroup(response)) => fit(response, version),
            Ok(other) => unreachable!("LeaveGroup was answered with {other:?}"),
            Err(code) => refused(code),
        }
    })
}

/// Early versions have no list of members: what became of the only one is what became of the request.
fn fit(mut response: LeaveGroupResponse, version: i16) -> LeaveGroupResponse {
    if version < MEMBERS_SINCE {
        let members = std::mem::take(&mut response.members);
        if let Some(member) = members.first()
            && response.error_code == 0
        {
            response.error_code = member.error_code;
        }
    }
    response
}

fn refused(code: ErrorCode) -> LeaveGroupResponse {
    let mut response = LeaveGroupResponse::default();
    response.error_code = code.code();
    response
}
