//! AlterPartitionReassignments, versions 0 and 1, and ListPartitionReassignments, version 0: moving replicas between
//! brokers (KIP-455).
//!
//! | version | what it added |
//! |---|---|
//! | 1 | whether the number of replicas may change (KIP-860) |
//!
//! A cluster of one node has one place for a replica, so a reassignment that is allowed changes nothing, and none is ever
//! under way.
//!
//! Source: `ReplicationControlManager.alterPartitionReassignments` and `listPartitionReassignments` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::create_topics::check_assignment;
use super::dispatch::Answer;
use super::error_map;
use crate::cluster::{ClusterImage, Refusal, refuse};
use crate::model::{BrokerId, ErrorCode, PartitionId};
use crate::wire::Text;
use crate::wire::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    alter_partition_reassignments_request::ReassignablePartition,
    alter_partition_reassignments_response::{
        ReassignablePartitionResponse, ReassignableTopicResponse,
    },
};

pub(super) fn start_alter(
    context: RequestContext,
    request: AlterPartitionReassignmentsRequest,
) -> Answer<AlterPartitionReassignmentsResponse> {
    let mut response = AlterPartitionReassignmentsResponse::default();
    response.allow_replication_factor_change = request.allow_replication_factor_change;
    if !context.authorize(Operation::Alter, Resource::Cluster) {
        let code = ErrorCode::ClusterAuthorizationFailed;
        response.error_code = code.code();
        response.error_message = error_map::text(code);
        return Answer::Now(response);
    }
    if request.topics.is_empty() {
        // Apache Kafka says "" then, the field's default, and null otherwise.
        return Answer::Now(response);
    }
    response.error_message = None;
    let image = context.image();
    for topic in request.topics {
        let mut result = ReassignableTopicResponse::default();
        for asked in &topic.partitions {
            let mut partition = ReassignablePartitionResponse::default();
            partition.partition_index = asked.partition_index;
            let allow = request.allow_replication_factor_change;
            let refusal = reassign(&image, &topic.name, asked, allow).err();
            partition.error_code = refusal.as_ref().map_or(0, |refusal| refusal.code.code());
            partition.error_message = refusal
                .map(|refusal| refusal.message)
                .filter(|message| !message.is_empty())
                .map(Text::from_string);
            result.partitions.push(partition);
        }
        result.name = topic.name;
        response.responses.push(result);
    }
    Answer::Now(response)
}

/// What is left of a reassignment where there is one broker: whether it is allowed.
fn reassign(
    image: &ClusterImage,
    topic: &str,
    asked: &ReassignablePartition,
    allow_replication_factor_change: bool,
) -> Result<(), Refusal> {
    let index = PartitionId(asked.partition_index);
    let Some(found) = image.topic(topic) else {
        let message = format!("Unable to find a topic named {topic}.");
        return refuse(ErrorCode::UnknownTopicOrPartition, message);
    };
    let Some(partition) = found.partition(index) else {
        let message = format!("Unable to find partition {topic}:{index}.");
        return refuse(ErrorCode::UnknownTopicOrPartition, message);
    };
    let Some(replicas) = &asked.replicas else {
        // Apache Kafka has no text for it.
        return refuse(ErrorCode::NoReassignmentInProgress, String::new());
    };
    let replicas: Vec<BrokerId> = replicas.iter().map(|id| BrokerId(id.0)).collect();
    check_assignment(image, &replicas, None)?;
    let (before, after) = (partition.replicas.len(), replicas.len());
    if !allow_replication_factor_change && before != after {
        let message = format!("The replication factor is changed from {before} to {after}");
        return refuse(ErrorCode::InvalidReplicationFactor, message);
    }
    Ok(())
}

pub(super) fn start_list(
    context: RequestContext,
    _request: ListPartitionReassignmentsRequest,
) -> Answer<ListPartitionReassignmentsResponse> {
    let mut response = ListPartitionReassignmentsResponse::default();
    response.error_message = None;
    if !context.authorize(Operation::Describe, Resource::Cluster) {
        let code = ErrorCode::ClusterAuthorizationFailed;
        response.error_code = code.code();
        response.error_message = error_map::text(code);
    }
    Answer::Now(response)
}
