//! AlterReplicaLogDirs, versions 1 and 2: moving replicas between the log directories of this broker (KIP-113).
//!
//! The versions differ in encoding only. The answer says that a move has begun; DescribeLogDirs says how far it has come.
//!
//! Source: `ReplicaManager.alterReplicaLogDirs` of Apache Kafka.

use std::collections::BTreeMap;
use std::path::Path;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use crate::cluster::ClusterImage;
use crate::model::{ErrorCode, PartitionId, TopicName};
use crate::replica::MoveError;
use crate::wire::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, WireTopicName,
    alter_replica_log_dirs_response::{
        AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
    },
};

pub(super) fn start(
    context: RequestContext,
    request: AlterReplicaLogDirsRequest,
) -> Answer<AlterReplicaLogDirsResponse> {
    let tasks = context.services.env.tasks.clone();
    Answer::later(async move {
        tasks.spawn_blocking("alter-log-dirs", move || answer(&context, request)).await
    })
}

fn answer(
    context: &RequestContext,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let image = context.image();
    let allowed = context.authorize(Operation::Alter, Resource::Cluster);
    let mut results: BTreeMap<WireTopicName, Vec<AlterReplicaLogDirPartitionResult>> =
        BTreeMap::new();
    for dir in request.dirs {
        for topic in dir.topics {
            for index in topic.partitions {
                let code = if allowed {
                    alter(context, &image, &dir.path, &topic.name, PartitionId(index))
                } else {
                    ErrorCode::ClusterAuthorizationFailed
                };
                let mut result = AlterReplicaLogDirPartitionResult::default();
                (result.partition_index, result.error_code) = (index, code.code());
                results.entry(topic.name.clone()).or_default().push(result);
            }
        }
    }
    let mut response = AlterReplicaLogDirsResponse::default();
    response.results = results
        .into_iter()
        .map(|(name, partitions)| {
            let mut result = AlterReplicaLogDirTopicResult::default();
            (result.topic_name, result.partitions) = (name, partitions);
            result
        })
        .collect();
    response
}

fn alter(
    context: &RequestContext,
    image: &ClusterImage,
    path: &str,
    topic: &str,
    index: PartitionId,
) -> ErrorCode {
    let replicas = &context.services.replicas;
    let Ok(name) = TopicName::new(topic) else { return ErrorCode::UnknownTopicOrPartition };
    let topic = image.topic(topic);
    let partition = topic.and_then(|topic| replicas.partition(topic.id, index));
    match replicas.alter_log_dir(&(name, index), partition.as_deref(), Path::new(path)) {
        Ok(true) => ErrorCode::None,
        // It will be made there. The codes are Kafka's: one for what it could have, one for what nobody has.
        Ok(false) if topic.is_some_and(|topic| topic.partition(index).is_some()) => {
            ErrorCode::ReplicaNotAvailable
        }
        Ok(false) => ErrorCode::UnknownTopicOrPartition,
        Err(MoveError::NoSuchDirectory) => ErrorCode::LogDirNotFound,
        Err(MoveError::Cordoned) => ErrorCode::InvalidReplicaAssignment,
        Err(MoveError::Storage) => ErrorCode::KafkaStorageError,
        Err(MoveError::NameTooLong) => ErrorCode::InvalidTopic,
    }
}
