//! ConsumerGroupDescribe, versions 0 and 1: state, members and assignments of consumer groups (KIP-848).
//!
//! | version | what it added |
//! |---|---|
//! | 1 | which protocol a member speaks (KIP-1099) |
//!
//! Source: `KafkaApis.handleConsumerGroupDescribe` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::{ask, speaks_consumer_protocol};
use crate::group::{Command, Reply};
use crate::model::ErrorCode;
use crate::wire::Text;
use crate::wire::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, WireGroupId,
    consumer_group_describe_response::{DescribedGroup, TopicPartitions},
};

pub(super) fn start(
    context: RequestContext,
    request: ConsumerGroupDescribeRequest,
) -> Answer<ConsumerGroupDescribeResponse> {
    let mut response = ConsumerGroupDescribeResponse::default();
    if !speaks_consumer_protocol(&context) {
        let groups = request.group_ids.into_iter();
        let refused = groups.map(|group| refused(group, ErrorCode::UnsupportedVersion));
        response.groups = refused.collect();
        return Answer::Now(response);
    }
    let mut asked = Vec::new();
    for group in request.group_ids {
        if !context.authorize(Operation::Describe, Resource::Group(&group)) {
            response.groups.push(refused(group, ErrorCode::GroupAuthorizationFailed));
        } else if group.is_empty() {
            response.groups.push(refused(group, ErrorCode::InvalidGroupId));
        } else {
            let command = Command::ConsumerGroupDescribe { group: group.0.clone() };
            let answer = ask(&context, &group, command);
            asked.push((group, answer));
        }
    }
    let operations = request.include_authorized_operations;
    Answer::later(async move {
        for (group, answer) in asked {
            let mut described = match answer.await {
                Ok(Reply::ConsumerGroupDescribe(described)) => described,
                Ok(other) => unreachable!("ConsumerGroupDescribe was answered with {other:?}"),
                Err(code) => refused(group.clone(), code),
            };
            if operations && described.error_code == 0 {
                described.authorized_operations =
                    context.authorized_operations(Resource::Group(&group));
            }
            response.groups.push(visible(&context, described));
        }
        response
    })
}

/// The group as it is, if the client may know of all topics that are assigned in it.
fn visible(context: &RequestContext, described: DescribedGroup) -> DescribedGroup {
    let may_know = |topic: &TopicPartitions| {
        context.authorize(Operation::Describe, Resource::Topic(&topic.topic_name))
    };
    let all_known = described.members.iter().all(|member| {
        let assignments = [&member.assignment, &member.target_assignment];
        assignments.iter().all(|assignment| assignment.topic_partitions.iter().all(may_know))
    });
    if all_known {
        return described;
    }
    let mut hidden = refused(described.group_id, ErrorCode::TopicAuthorizationFailed);
    hidden.error_message = Some(Text::from_static_str(
        "The group has described topic(s) that the client is not authorized to describe.",
    ));
    hidden
}

fn refused(group: WireGroupId, code: ErrorCode) -> DescribedGroup {
    let mut described = DescribedGroup::default();
    described.group_id = group;
    described.error_code = code.code();
    described
}
