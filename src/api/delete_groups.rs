//! DeleteGroups, versions 0 to 2: removing groups with their offsets.
//!
//! | version | what it added |
//! |---|---|
//! | 2 | flexible |
//!
//! Source: `KafkaApis.handleDeleteGroupsRequest` of Apache Kafka.

use std::collections::BTreeSet;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::ask;
use crate::group::{Command, Reply};
use crate::model::ErrorCode;
use crate::wire::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, WireGroupId,
    delete_groups_response::DeletableGroupResult,
};

pub(super) fn start(
    context: RequestContext,
    request: DeleteGroupsRequest,
) -> Answer<DeleteGroupsResponse> {
    let mut seen = BTreeSet::new();
    let (mut asked, mut refused) = (Vec::new(), Vec::new());
    for group in request.groups_names {
        if !seen.insert(group.clone()) {
            continue;
        }
        if context.authorize(Operation::Delete, Resource::Group(&group)) {
            let answer = ask(&context, &group, Command::DeleteGroup { group: group.0.clone() });
            asked.push((group, answer));
        } else {
            refused.push(result(group, ErrorCode::GroupAuthorizationFailed));
        }
    }
    Answer::later(async move {
        let mut response = DeleteGroupsResponse::default();
        for (group, answer) in asked {
            let code = match answer.await {
                Ok(Reply::DeleteGroup(code)) | Err(code) => code,
                Ok(other) => unreachable!("DeleteGroups was answered with {other:?}"),
            };
            response.results.push(result(group, code));
        }
        response.results.extend(refused);
        response
    })
}

fn result(group: WireGroupId, code: ErrorCode) -> DeletableGroupResult {
    let mut result = DeletableGroupResult::default();
    result.group_id = group;
    result.error_code = code.code();
    result
}
