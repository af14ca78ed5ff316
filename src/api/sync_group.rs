//! SyncGroup, versions 0 to 5: a member of a classic group asks for its assignment.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | throttle time |
//! | 3 | static members (KIP-345) |
//! | 4 | flexible |
//! | 5 | protocol type and name, both ways (KIP-559) |
//!
//! Source: `KafkaApis.handleSyncGroupRequest`, `GroupCoordinatorService.syncGroup` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::{ask, caller};
use crate::group::{Command, Reply};
use crate::model::ErrorCode;
use crate::wire::messages::{SyncGroupRequest, SyncGroupResponse};

/// First version whose requests name the protocol.
const PROTOCOL_SINCE: i16 = 5;

pub(super) fn start(
    context: RequestContext,
    request: SyncGroupRequest,
) -> Answer<SyncGroupResponse> {
    let group = request.group_id.clone();
    let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if context.version() >= PROTOCOL_SINCE && !names_protocol {
        return Answer::Now(refused(ErrorCode::InconsistentGroupProtocol));
    }
    if !context.authorize(Operation::Read, Resource::Group(&group)) {
        return Answer::Now(refused(ErrorCode::GroupAuthorizationFailed));
    }
    if group.is_empty() {
        return Answer::Now(refused(ErrorCode::InvalidGroupId));
    }
    let command = Command::SyncGroup { caller: caller(&context), request };
    let asked = ask(&context, &group, command);
    Answer::later(async move {
        match asked.await {
            Ok(Reply::SyncGroup(response)) => response,
            Ok(other) => unreachable!("SyncGroup was answered with {other:?}"),
            Err(code) => refused(code),
        }
    })
}

fn refused(code: ErrorCode) -> SyncGroupResponse {
    let mut response = SyncGroupResponse::default();
    response.error_code = code.code();
    response
}
