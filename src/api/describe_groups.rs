//! DescribeGroups, versions 0 to 6: state and members of classic groups.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | throttle time |
//! | 3 | authorized operations (KIP-430) |
//! | 4 | static members (KIP-345) |
//! | 5 | flexible |
//! | 6 | GROUP_ID_NOT_FOUND, where earlier versions show a dead group (KIP-1043) |
//!
//! Source: `KafkaApis.handleDescribeGroupsRequest` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::ask;
use crate::group::{Command, Reply};
use crate::model::ErrorCode;
use crate::wire::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, WireGroupId,
    describe_groups_response::DescribedGroup,
};

pub(super) fn start(
    context: RequestContext,
    request: DescribeGroupsRequest,
) -> Answer<DescribeGroupsResponse> {
    let mut response = DescribeGroupsResponse::default();
    let mut asked = Vec::new();
    for group in request.groups {
        if context.authorize(Operation::Describe, Resource::Group(&group)) {
            let api_version = context.version();
            let command = Command::DescribeGroup { group: group.0.clone(), api_version };
            let answer = ask(&context, &group, command);
            asked.push((group, answer));
        } else {
            response.groups.push(refused(group, ErrorCode::GroupAuthorizationFailed));
        }
    }
    if asked.is_empty() {
        return Answer::Now(response);
    }
    let operations = request.include_authorized_operations;
    Answer::later(async move {
        for (group, answer) in asked {
            let mut described = match answer.await {
                Ok(Reply::DescribeGroup(described)) => described,
                Ok(other) => unreachable!("DescribeGroups was answered with {other:?}"),
                Err(code) => refused(group.clone(), code),
            };
            if operations && described.error_code == 0 {
                described.authorized_operations =
                    context.authorized_operations(Resource::Group(&group));
            }
            response.groups.push(described);
        }
        response
    })
}

fn refused(group: WireGroupId, code: ErrorCode) -> DescribedGroup {
    let mut described = DescribedGroup::default();
    described.group_id = group;
    described.error_code = code.code();
    described
}
