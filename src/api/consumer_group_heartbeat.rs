//! ConsumerGroupHeartbeat, versions 0 and 1: a member of a consumer group joins, lives or leaves (KIP-848).
//!
//! | version | what it added |
//! |---|---|
//! | 1 | regular expressions; members choose their id (KIP-1082) |
//!
//! Source: `KafkaApis.handleConsumerGroupHeartbeat` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::{ask, caller, speaks_consumer_protocol};
use crate::group::{Command, Reply};
use crate::model::ErrorCode;
use crate::wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

pub(super) fn start(
    context: RequestContext,
    request: ConsumerGroupHeartbeatRequest,
) -> Answer<ConsumerGroupHeartbeatResponse> {
    if !speaks_consumer_protocol(&context) {
        return Answer::Now(refused(ErrorCode::UnsupportedVersion));
    }
    let group = request.group_id.clone();
    if !context.authorize(Operation::Read, Resource::Group(&group)) {
        return Answer::Now(refused(ErrorCode::GroupAuthorizationFailed));
    }
    let mut topics = request.subscribed_topic_names.iter().flatten();
    if !topics.all(|topic| context.authorize(Operation::Describe, Resource::Topic(topic))) {
        return Answer::Now(refused(ErrorCode::TopicAuthorizationFailed));
    }
    let command = Command::ConsumerGroupHeartbeat { caller: caller(&context), request };
    let asked = ask(&context, &group, command);
    Answer::later(async move {
        match asked.await {
            Ok(Reply::ConsumerGroupHeartbeat(response)) => response,
            Ok(other) => unreachable!("ConsumerGroupHeartbeat was answered with {other:?}"),
            Err(code) => refused(code),
        }
    })
}

fn refused(code: ErrorCode) -> ConsumerGroupHeartbeatResponse {
    let mut response = ConsumerGroupHeartbeatResponse::default();
    response.error_code = code.code();
    response
}
