//! Heartbeat, versions 0 to 4: a member of a classic group is alive.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | throttle time |
//! | 3 | static members (KIP-345) |
//! | 4 | flexible |
//!
//! Source: `KafkaApis.handleHeartbeatRequest`, `GroupCoordinatorService.heartbeat` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::{ask, caller};
use crate::group::{Command, Reply};
use crate::model::ErrorCode;
use crate::wire::messages::{HeartbeatRequest, HeartbeatResponse};

pub(super) fn start(
    context: RequestContext,
    request: HeartbeatRequest,
) -> Answer<HeartbeatResponse> {
    let group = request.group_id.clone();
    if !context.authorize(Operation::Read, Resource::Group(&group)) {
        return Answer::Now(response(ErrorCode::GroupAuthorizationFailed));
    }
    if group.is_empty() {
        return Answer::Now(response(ErrorCode::InvalidGroupId));
    }
    let command = Command::Heartbeat { caller: caller(&context), request };
    let asked = ask(&context, &group, command);
    Answer::later(async move {
        match asked.await {
            Ok(Reply::Heartbeat(response)) => response,
            Ok(other) => unreachable!("Heartbeat was answered with {other:?}"),
            // Who asks while the group is loaded has a session as good as new afterwards.
            Err(ErrorCode::CoordinatorLoadInProgress) => response(ErrorCode::None),
            Err(code) => response(code),
        }
    })
}

fn response(code: ErrorCode) -> HeartbeatResponse {
    let mut response = HeartbeatResponse::default();
    response.error_code = code.code();
    response
}
