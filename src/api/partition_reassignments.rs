//! AlterPartitionReassignments, versions 0 and 1, and ListPartitionReassignments, version 0: moving replicas between
//! brokers (KIP-455).
//!
//! | version | what it added |
//! |---|---|
//! | 1 | whether the number of replicas may change (KIP-860) |
//!
//! Source: `ReplicationControlManager.alterPartitionReassignments` and `listPartitionReassignments` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::create_topics::check_assignment;
use super::dispatch::Answer;
use super::error_map;
use super::nodes::wire_ids;
use crate::cluster::{ClusterImage, Command, Refusal, TopicImage, refuse};
use crate::model::{BrokerId, ErrorCode, PartitionId};
use crate::wire::Text;
use crate::wire::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, WireBrokerId,
    WireTopicName,
    alter_partition_reassignments_request::ReassignablePartition,
    alter_partition_reassignments_response::{
        ReassignablePartitionResponse, ReassignableTopicResponse,
    },
    list_partition_reassignments_response::{
        OngoingPartitionReassignment, OngoingTopicReassignment,
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
    let allow = request.allow_replication_factor_change;
    let planned: Vec<_> = request
        .topics
        .into_iter()
        .map(|topic| {
            let plans = topic.partitions.iter();
            let plans =
                plans.map(|asked| (asked.partition_index, plan(&image, &topic.name, asked, allow)));
            let plans: Vec<_> = plans.collect();
            (topic.name, plans)
        })
        .collect();
    Answer::later(async move {
        let plans = planned.iter().flat_map(|(_, plans)| plans);
        let commands: Vec<_> = plans.filter_map(|(_, plan)| plan.clone().ok()).collect();
        let outcomes = match commands.is_empty() {
            true => Ok(Vec::new()),
            false => context.propose(commands).await,
        };
        let mut outcomes = outcomes.map(Vec::into_iter);
        for (name, plans) in planned {
            let mut result = ReassignableTopicResponse::default();
            for (index, plan) in plans {
                let refusal = match (plan, &mut outcomes) {
                    (Err(refusal), _) => Some(refusal),
                    (Ok(_), Ok(outcomes)) => outcomes.next().and_then(Result::err),
                    (Ok(_), Err(code)) => Some(Refusal { code: *code, message: String::new() }),
                };
                result.partitions.push(told(index, refusal));
            }
            result.name = name;
            response.responses.push(result);
        }
        response
    })
}

fn told(index: i32, refusal: Option<Refusal>) -> ReassignablePartitionResponse {
    let mut partition = ReassignablePartitionResponse::default();
    partition.partition_index = index;
    partition.error_code = refusal.as_ref().map_or(0, |refusal| refusal.code.code());
    partition.error_message = refusal
        .map(|refusal| refusal.message)
        .filter(|message| !message.is_empty())
        .map(Text::from_string);
    partition
}

/// Checks what is asked for one partition.
fn plan(
    image: &ClusterImage,
    topic: &str,
    asked: &ReassignablePartition,
    allow_replication_factor_change: bool,
) -> Result<Command, Refusal> {
    let partition = PartitionId(asked.partition_index);
    let Some(found) = image.topic(topic) else {
        let message = format!("Unable to find a topic named {topic}.");
        return refuse(ErrorCode::UnknownTopicOrPartition, message);
    };
    if found.partition(partition).is_none() {
        let message = format!("Unable to find partition {topic}:{partition}.");
        return refuse(ErrorCode::UnknownTopicOrPartition, message);
    }
    let ids = |ids: &Vec<WireBrokerId>| ids.iter().map(|id| BrokerId(id.0)).collect::<Vec<_>>();
    let replicas = asked.replicas.as_ref().map(ids);
    if let Some(replicas) = &replicas {
        check_assignment(image, replicas, None)?;
    }
    let topic = found.id;
    Ok(Command::ReassignPartition { topic, partition, replicas, allow_replication_factor_change })
}

pub(super) fn start_list(
    context: RequestContext,
    request: ListPartitionReassignmentsRequest,
) -> Answer<ListPartitionReassignmentsResponse> {
    let mut response = ListPartitionReassignmentsResponse::default();
    response.error_message = None;
    if !context.authorize(Operation::Describe, Resource::Cluster) {
        let code = ErrorCode::ClusterAuthorizationFailed;
        response.error_code = code.code();
        response.error_message = error_map::text(code);
        return Answer::Now(response);
    }
    let image = context.image();
    let topics: Vec<OngoingTopicReassignment> = match request.topics {
        None => image.topics().map(|topic| ongoing(topic, |_| true)).collect(),
        Some(asked) => {
            let found = asked.iter().filter_map(|asked| Some((image.topic(&asked.name)?, asked)));
            let ongoing = found.map(|(topic, asked)| {
                ongoing(topic, |index| asked.partition_indexes.contains(&index.0))
            });
            ongoing.collect()
        }
    };
    response.topics = topics.into_iter().filter(|topic| !topic.partitions.is_empty()).collect();
    Answer::Now(response)
}

/// What is under way in a topic, of those partitions that are wanted.
fn ongoing(
    topic: &TopicImage,
    is_wanted: impl Fn(PartitionId) -> bool,
) -> OngoingTopicReassignment {
    let mut answer = OngoingTopicReassignment::default();
    answer.name = WireTopicName(Text::from_string(topic.name.to_string()));
    for (index, state) in topic.indexed_partitions() {
        if !state.is_reassigned() || !is_wanted(index) {
            continue;
        }
        let mut partition = OngoingPartitionReassignment::default();
        partition.partition_index = index.0;
        partition.replicas = wire_ids(&state.replicas);
        partition.adding_replicas = wire_ids(&state.adding);
        partition.removing_replicas = wire_ids(&state.removing);
        answer.partitions.push(partition);
    }
    answer
}
