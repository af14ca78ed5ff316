//! OffsetDelete, version 0: forgetting how far a group has read.
//!
//! Source: `KafkaApis.handleOffsetDeleteRequest`, `OffsetDeleteResponse.Builder` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::ask;
use crate::cluster::ClusterImage;
use crate::group::command::OffsetDelete;
use crate::group::{Command, Reply};
use crate::model::{ErrorCode, PartitionId};
use crate::wire::Text;
use crate::wire::messages::{
    OffsetDeleteRequest, OffsetDeleteResponse, WireTopicName,
    offset_delete_request::OffsetDeleteRequestTopic,
    offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic},
};

pub(super) fn start(
    context: RequestContext,
    request: OffsetDeleteRequest,
) -> Answer<OffsetDeleteResponse> {
    let group = request.group_id;
    if !context.authorize(Operation::Delete, Resource::Group(&group)) {
        return Answer::Now(refused(ErrorCode::GroupAuthorizationFailed));
    }
    if group.is_empty() {
        return Answer::Now(refused(ErrorCode::InvalidGroupId));
    }
    let image = context.image();
    let mut response = OffsetDeleteResponse::default();
    let mut topics = Vec::new();
    for topic in request.topics {
        topics.extend(judge(&context, &image, &topic, &mut response));
    }
    let delete = OffsetDelete { group: group.0.clone(), topics };
    let asked = ask(&context, &group, Command::OffsetDelete { request: delete });
    Answer::later(async move {
        match asked.await {
            Ok(Reply::OffsetDelete(Ok(results))) => {
                for result in results {
                    add(&mut response, &result.name, result.partitions);
                }
                response
            }
            Ok(Reply::OffsetDelete(Err(code))) | Err(code) => refused(code),
            Ok(other) => unreachable!("OffsetDelete was answered with {other:?}"),
        }
    })
}

/// What of a topic may be deleted; the rest is refused.
fn judge(
    context: &RequestContext,
    image: &ClusterImage,
    topic: &OffsetDeleteRequestTopic,
    response: &mut OffsetDeleteResponse,
) -> Option<(Text, Vec<PartitionId>)> {
    let allowed = context.authorize(Operation::Read, Resource::Topic(&topic.name));
    let found = image.topic(&topic.name).filter(|_| allowed);
    let code = match allowed {
        true => ErrorCode::UnknownTopicOrPartition,
        false => ErrorCode::TopicAuthorizationFailed,
    };
    let asked = topic.partitions.iter().map(|partition| PartitionId(partition.partition_index));
    let exists = |id: &PartitionId| found.is_some_and(|topic| topic.partition(*id).is_some());
    let (known, unknown): (Vec<_>, Vec<_>) = asked.partition(exists);
    if !unknown.is_empty() {
        let failed = unknown.into_iter().map(|partition| (partition, code)).collect();
        add(response, &topic.name, failed);
    }
    (!known.is_empty()).then(|| (topic.name.0.clone(), known))
}

/// Adds partitions to those of their topic.
fn add(
    response: &mut OffsetDeleteResponse,
    name: &Text,
    partitions: Vec<(PartitionId, ErrorCode)>,
) {
    let partitions = partitions.into_iter().map(|(partition, code)| {
        let mut answer = OffsetDeleteResponsePartition::default();
        answer.partition_index = partition.0;
        answer.error_code = code.code();
        answer
    });
    if let Some(topic) = response.topics.iter_mut().find(|topic| topic.name.0 == *name) {
        topic.partitions.extend(partitions);
        return;
    }
    let mut topic = OffsetDeleteResponseTopic::default();
    topic.name = WireTopicName(name.clone());
    topic.partitions = partitions.collect();
    response.topics.push(topic);
}

fn refused(code: ErrorCode) -> OffsetDeleteResponse {
    let mut response = OffsetDeleteResponse::default();
    response.error_code = code.code();
    response
}
