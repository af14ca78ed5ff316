//! DescribeTopicPartitions, version 0: topics page by page (KIP-966).
//!
//! Topics come sorted by name. A response holds at most `max.request.partition.size.limit` partitions, or fewer if the
//! client wants fewer; the cursor says where to go on. Source: `DescribeTopicPartitionsRequestHandler`,
//! `KRaftMetadataCache.describeTopicResponse` of Apache Kafka.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::nodes::{Nodes, wire_ids};
use crate::cluster::{ClusterImage, PartitionImage, TopicImage};
use crate::model::{ErrorCode, PartitionId, TopicName};
use crate::wire::Text;
use crate::wire::messages::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, WireBrokerId, WireTopicName,
    describe_topic_partitions_response::{
        Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
    },
};

pub(super) fn start(
    context: RequestContext,
    request: DescribeTopicPartitionsRequest,
) -> Answer<DescribeTopicPartitionsResponse> {
    if !is_cursor_valid(&request) {
        return Answer::Now(refused(&request));
    }
    let image = context.image();
    let nodes = Nodes::of(&context, &image);
    let settings = context.settings();
    let most = usize::try_from(settings.broker().described_partitions_max).unwrap_or(usize::MAX);
    let asked = usize::try_from(request.response_partition_limit).unwrap_or(0).max(1);
    let mut left = asked.min(most);
    let (from_topic, from_partition) =
        request.cursor.as_ref().map_or((String::new(), 0), |cursor| {
            (cursor.topic_name.to_string(), cursor.partition_index)
        });
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names(&request, &image, &from_topic) {
        if left == 0 {
            response.next_cursor = Some(cursor(&name, 0));
            break;
        }
        let Some(topic) = image.topic(&name) else {
            response.topics.push(unknown(&context, &name));
            continue;
        };
        if !context.authorize(Operation::Describe, Resource::Topic(&name)) {
            continue;
        }
        let first =
            if name == from_topic { usize::try_from(from_partition).unwrap_or(0) } else { 0 };
        let mut page = described(&context, topic);
        let partitions = topic.indexed_partitions().skip(first).take(left);
        page.partitions =
            partitions.map(|(index, state)| partition(&nodes, &image, index, state)).collect();
        left -= page.partitions.len();
        let next = first + page.partitions.len();
        response.topics.push(page);
        if next < topic.partitions.len() {
            response.next_cursor = Some(cursor(&name, i32::try_from(next).unwrap_or(i32::MAX)));
            break;
        }
    }
    Answer::Now(response)
}

/// A cursor must stand in one of the topics asked for, if some are named.
fn is_cursor_valid(request: &DescribeTopicPartitionsRequest) -> bool {
    request.cursor.as_ref().is_none_or(|cursor| {
        let named = || request.topics.iter().any(|topic| topic.name == cursor.topic_name);
        cursor.partition_index >= 0 && (request.topics.is_empty() || named())
    })
}

fn refused(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let mut response = DescribeTopicPartitionsResponse::default();
    for topic in &request.topics {
        let mut answer = DescribeTopicPartitionsResponseTopic::default();
        answer.error_code = ErrorCode::InvalidRequest.code();
        answer.name = Some(topic.name.clone());
        response.topics.push(answer);
    }
    response
}

/// The topics asked for, from the cursor's on, sorted.
fn names(
    request: &DescribeTopicPartitionsRequest,
    image: &ClusterImage,
    from: &str,
) -> Vec<String> {
    if request.topics.is_empty() {
        return image.topics_from(from).map(|topic| topic.name.to_string()).collect();
    }
    let asked: BTreeSet<String> =
        request.topics.iter().map(|topic| topic.name.to_string()).collect();
    asked.into_iter().filter(|name| name.as_str() >= from).collect()
}

fn described(
    context: &RequestContext,
    topic: &Arc<TopicImage>,
) -> DescribeTopicPartitionsResponseTopic {
    let mut answer = DescribeTopicPartitionsResponseTopic::default();
    answer.name = Some(wire_name(topic.name.as_str()));
    answer.topic_id = topic.id.0;
    answer.is_internal = topic.name.is_internal();
    answer.topic_authorized_operations =
        context.authorized_operations(Resource::Topic(topic.name.as_str()));
    answer
}

fn unknown(context: &RequestContext, name: &str) -> DescribeTopicPartitionsResponseTopic {
    let legal = TopicName::new(name);
    let code =
        if legal.is_ok() { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopic };
    let mut answer = DescribeTopicPartitionsResponseTopic::default();
    answer.error_code = code.code();
    answer.name = Some(wire_name(name));
    answer.is_internal = legal.is_ok_and(|name| name.is_internal());
    answer.topic_authorized_operations = context.authorized_operations(Resource::Topic(name));
    answer
}

fn partition(
    nodes: &Nodes,
    image: &ClusterImage,
    index: PartitionId,
    state: &PartitionImage,
) -> DescribeTopicPartitionsResponsePartition {
    let mut answer = DescribeTopicPartitionsResponsePartition::default();
    let leader = nodes.leader(image, state);
    answer.error_code = leader.map_or_else(ErrorCode::code, |_| 0);
    answer.partition_index = index.0;
    answer.leader_id = WireBrokerId(leader.map_or(-1, |leader| leader.0));
    answer.leader_epoch = state.leader_epoch.0;
    answer.replica_nodes = wire_ids(&state.replicas);
    answer.isr_nodes = wire_ids(&state.isr);
    answer.eligible_leader_replicas = Some(wire_ids(&state.elr));
    answer.last_known_elr = Some(wire_ids(&state.last_known_elr));
    answer.offline_replicas = nodes.offline(state);
    answer
}

fn cursor(topic: &str, partition_index: i32) -> Cursor {
    let mut cursor = Cursor::default();
    cursor.topic_name = wire_name(topic);
    cursor.partition_index = partition_index;
    cursor
}

fn wire_name(name: &str) -> WireTopicName {
    WireTopicName(Text::from_string(name.to_owned()))
}
