//! JoinGroup, versions 0 to 9: a member wants to be in the next generation of a classic group.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | the rebalance timeout |
//! | 2 | throttle time |
//! | 4 | a new member is given an id and asks again (KIP-394) |
//! | 5 | static members (KIP-345) |
//! | 6 | flexible |
//! | 7 | the protocol type comes back, null for no protocol (KIP-559) |
//! | 8 | a reason (KIP-800) |
//! | 9 | a leader that is back need not assign (KIP-814) |
//!
//! Source: `KafkaApis.handleJoinGroupRequest`, `GroupCoordinatorService.joinGroup` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::{ask, caller};
use crate::group::{Command, Reply};
use crate::model::ErrorCode;
use crate::wire::Text;
use crate::wire::messages::{JoinGroupRequest, JoinGroupResponse};

/// First version in which no protocol is null, not empty.
const NULL_PROTOCOL_SINCE: i16 = 7;

pub(super) fn start(
    context: RequestContext,
    request: JoinGroupRequest,
) -> Answer<JoinGroupResponse> {
    let version = context.version();
    let refused = move |code: ErrorCode, member: Text| {
        let mut response = JoinGroupResponse::default();
        response.error_code = code.code();
        response.member_id = member;
        fit(response, version)
    };
    let group = request.group_id.clone();
    if !context.authorize(Operation::Read, Resource::Group(&group)) {
        return Answer::Now(refused(ErrorCode::GroupAuthorizationFailed, Text::default()));
    }
    if group.is_empty() {
        return Answer::Now(refused(ErrorCode::InvalidGroupId, request.member_id));
    }
    let command = Command::JoinGroup { caller: caller(&context), request };
    let asked = ask(&context, &group, command);
    Answer::later(async move {
        match asked.await {
            Ok(Reply::JoinGroup(response)) => fit(response, version),
            Ok(other) => unreachable!("JoinGroup was answered with {other:?}"),
            Err(code) => refused(code, Text::default()),
        }
    })
}

/// Spells "no protocol" as the version does.
fn fit(mut response: JoinGroupResponse, version: i16) -> JoinGroupResponse {
    let name = response.protocol_name.take().unwrap_or_default();
    let is_null = name.is_empty() && version >= NULL_PROTOCOL_SINCE;
    response.protocol_name = (!is_null).then_some(name);
    response
}
