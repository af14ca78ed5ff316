//! AlterReplicaLogDirs, versions 1 and 2: moving replicas between the log directories of this broker (KIP-113).
//!
//! The versions differ in encoding only. A broker has one log directory: a replica is asked to where it is, which is no
//! move, or to where nothing can be.
//!
//! Source: `ReplicaManager.alterReplicaLogDirs` of Apache Kafka.

use std::collections::BTreeMap;
use std::path::Path;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use crate::cluster::ClusterImage;
use crate::model::{ErrorCode, PartitionId};
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
    let image = context.image();
    let allowed = context.authorize(Operation::Alter, Resource::Cluster);
    let mut results: BTreeMap<WireTopicName, Vec<AlterReplicaLogDirPartitionResult>> =
        BTreeMap::new();
    for dir in request.dirs {
        for topic in dir.topics {
            for index in topic.partitions {
                let code = if allowed {
                    alter(&context, &image, &dir.path, &topic.name, PartitionId(index))
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
    Answer::Now(response)
}

fn alter(
    context: &RequestContext,
    image: &ClusterImage,
    path: &str,
    topic: &str,
    index: PartitionId,
) -> ErrorCode {
    let replicas = &context.services.replicas;
    if Path::new(path) != replicas.data_path() {
        return ErrorCode::LogDirNotFound;
    }
    match image.topic(topic).and_then(|topic| replicas.partition(topic.id, index)) {
        Some(_) => ErrorCode::None,
        None => ErrorCode::ReplicaNotAvailable,
    }
}
