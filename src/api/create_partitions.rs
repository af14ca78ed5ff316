//! CreatePartitions, versions 0 to 3: more partitions for a topic.
//!
//! The versions differ in encoding and quotas only. Source: `ControllerApis.createPartitions`,
//! `ReplicationControlManager.createPartitions` of Apache Kafka.

use std::collections::BTreeMap;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::create_topics::{check_active, check_assignment, placement};
use super::dispatch::Answer;
use crate::cluster::{ClusterImage, Command, Refusal, refuse};
use crate::model::{BrokerId, ErrorCode};
use crate::wire::Text;
use crate::wire::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse,
    create_partitions_request::CreatePartitionsTopic,
    create_partitions_response::CreatePartitionsTopicResult,
};

pub(super) fn start(
    context: RequestContext,
    request: CreatePartitionsRequest,
) -> Answer<CreatePartitionsResponse> {
    let image = context.image();
    let mut count_by_name: BTreeMap<_, usize> = BTreeMap::new();
    for topic in &request.topics {
        *count_by_name.entry(topic.name.clone()).or_default() += 1;
    }
    let mut planned = Vec::new();
    for topic in request.topics {
        match count_by_name.remove(&topic.name) {
            // A topic that is named several times is answered once.
            None => {}
            Some(1) => planned.push((topic.name.clone(), plan(&context, &image, &topic))),
            Some(_) => {
                let message = "Duplicate topic name.".to_owned();
                planned
                    .push((topic.name, Err(Refusal { code: ErrorCode::InvalidRequest, message })));
            }
        }
    }
    let validate_only = request.validate_only;
    Answer::later(async move {
        let commands: Vec<_> = planned.iter().filter_map(|(_, plan)| plan.clone().ok()).collect();
        let mut outcomes = match commands.is_empty() || validate_only {
            true => Ok(Vec::new()),
            false => context.propose(commands).await,
        }
        .map(Vec::into_iter);
        let mut response = CreatePartitionsResponse::default();
        for (name, plan) in planned {
            let refusal = match (plan, &mut outcomes) {
                (Err(refusal), _) => Some(refusal),
                (Ok(_), Err(code)) => Some(Refusal { code: *code, message: String::new() }),
                (Ok(_), Ok(outcomes)) => outcomes.next().and_then(Result::err),
            };
            let mut result = CreatePartitionsTopicResult::default();
            result.name = name;
            if let Some(refusal) = refusal {
                result.error_code = refusal.code.code();
                result.error_message = Some(refusal.message)
                    .filter(|message| !message.is_empty())
                    .map(Text::from_string);
            }
            response.results.push(result);
        }
        response
    })
}

/// Checks what is asked for one topic, and chooses the replicas.
fn plan(
    context: &RequestContext,
    image: &ClusterImage,
    asked: &CreatePartitionsTopic,
) -> Result<Command, Refusal> {
    if !context.authorize(Operation::Alter, Resource::Topic(&asked.name)) {
        return refuse(
            ErrorCode::TopicAuthorizationFailed,
            "Topic authorization failed.".to_owned(),
        );
    }
    let Some(topic) = image.topic(&asked.name) else {
        return refuse(ErrorCode::UnknownTopicOrPartition, String::new());
    };
    let from = topic.partitions.len();
    let wanted = usize::try_from(asked.count).unwrap_or(0);
    let name = &topic.name;
    if wanted == from {
        return refuse(
            ErrorCode::InvalidPartitions,
            format!("Topic already has {from} partition(s)."),
        );
    }
    if wanted < from {
        let count = asked.count;
        let message = format!(
            "The topic {name} currently has {from} partition(s); {count} would not be an increase."
        );
        return refuse(ErrorCode::InvalidPartitions, message);
    }
    let added = wanted - from;
    let factor = topic.replication_factor();
    let assignments = match &asked.assignments {
        None => placement(context, image, added, i16::try_from(factor).unwrap_or(i16::MAX))?,
        Some(given) if given.len() != added => {
            let given = given.len();
            let message = format!(
                "Attempted to add {added} additional partition(s), but only {given} assignment(s) were specified."
            );
            return refuse(ErrorCode::InvalidReplicaAssignment, message);
        }
        Some(given) => {
            let brokers = given
                .iter()
                .map(|given| given.broker_ids.iter().map(|id| BrokerId(id.0)).collect());
            let assignments: Vec<Vec<BrokerId>> = brokers.collect();
            for (replicas, index) in assignments.iter().zip(from..) {
                check_assignment(image, replicas, Some(factor))?;
                check_active(image, replicas, i32::try_from(index).unwrap_or(i32::MAX))?;
            }
            assignments
        }
    };
    Ok(Command::AddPartitions { topic: topic.id, from, assignments })
}
