//! DescribeLogDirs, versions 1 to 5: what is on this broker's disks.
//!
//! | version | what it added |
//! |---|---|
//! | 2 | flexible |
//! | 3 | an error for the whole response |
//! | 4 | size of the volume and room on it |
//! | 5 | whether the directory takes new partitions |
//!
//! Source: `ReplicaManager.describeLogDirs` of Apache Kafka.

use std::collections::BTreeMap;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use crate::model::{ErrorCode, PartitionId};
use crate::replica::{LogDirContent, LogDirInfo};
use crate::wire::describe_log_dirs::{LogDir, LogDirPartition, LogDirTopic};
use crate::wire::{DescribeLogDirsRequest, DescribeLogDirsResponse, Text};

pub(super) fn start(
    context: RequestContext,
    request: DescribeLogDirsRequest,
) -> Answer<DescribeLogDirsResponse> {
    if !context.authorize(Operation::Describe, Resource::Cluster) {
        let error_code = ErrorCode::ClusterAuthorizationFailed;
        return Answer::Now(DescribeLogDirsResponse {
            throttle_time_ms: 0,
            error_code,
            results: Vec::new(),
        });
    }
    let tasks = context.services.env.tasks.clone();
    Answer::later(async move {
        tasks.spawn_blocking("describe-log-dirs", move || answer(&context, &request)).await
    })
}

fn answer(context: &RequestContext, request: &DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let dirs = context.services.replicas.describe_log_dirs().into_iter();
    let results = dirs.map(|LogDirInfo { path, content }| {
        let path = Text::from_string(path.to_string_lossy().into_owned());
        match content {
            Some(content) => described(path, content, request),
            None => LogDir {
                error_code: ErrorCode::KafkaStorageError,
                log_dir: path,
                topics: Vec::new(),
                total_bytes: -1,
                usable_bytes: -1,
                is_cordoned: false,
            },
        }
    });
    let results = results.collect();
    DescribeLogDirsResponse { throttle_time_ms: 0, error_code: ErrorCode::None, results }
}

fn described(path: Text, content: LogDirContent, request: &DescribeLogDirsRequest) -> LogDir {
    let wanted = |topic: &str, partition: PartitionId| match &request.topics {
        None => true,
        Some(topics) => topics
            .iter()
            .any(|asked| &*asked.topic == topic && asked.partitions.contains(&partition)),
    };
    let mut topics: BTreeMap<_, Vec<LogDirPartition>> = BTreeMap::new();
    for log in content.logs.into_iter().filter(|log| wanted(log.topic.as_str(), log.partition)) {
        topics.entry(log.topic).or_default().push(LogDirPartition {
            partition_index: log.partition,
            partition_size: i64::try_from(log.size_bytes).unwrap_or(i64::MAX),
            offset_lag: log.lag,
            is_future_key: log.is_future,
        });
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| LogDirTopic {
            name: Text::from_string(name.to_string()),
            partitions,
        })
        .collect();
    LogDir {
        error_code: ErrorCode::None,
        log_dir: path,
        topics,
        total_bytes: i64::try_from(content.space.total_bytes).unwrap_or(i64::MAX),
        usable_bytes: i64::try_from(content.space.free_bytes).unwrap_or(i64::MAX),
        is_cordoned: content.is_cordoned,
    }
}
