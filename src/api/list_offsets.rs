//! ListOffsets, versions 1 to 11: offsets by time, and the ends of a log.
//!
//! | version | what it added |
//! |---|---|
//! | 2 | isolation level |
//! | 4 | leader epochs |
//! | 7 | the largest timestamp (-3) |
//! | 8 | the start of what is on local disks (-4) |
//! | 9 | the end of what is in tiered storage (-5) |
//! | 10 | a timeout |
//! | 11 | the start of what waits to be tiered (-6) |
//!
//! Source: `KafkaApis.handleListOffsetRequest`, `ReplicaManager.fetchOffset` of Apache Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::error_map;
use crate::model::{ErrorCode, LeaderEpoch, Offset, PartitionId, UnixMillis};
use crate::replica::{Isolation, OffsetQuestion, Partition};
use crate::wire::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use crate::wire::{ListOffsetsRequest, ListOffsetsResponse};

/// First version whose clients know OFFSET_NOT_AVAILABLE.
const OFFSET_NOT_AVAILABLE_SINCE: i16 = 5;

pub(super) fn start(
    context: RequestContext,
    request: ListOffsetsRequest,
) -> Answer<ListOffsetsResponse> {
    // Looking for a time reads batches, perhaps from a disk.
    let reads = request.topics.iter().flat_map(|topic| &topic.partitions).any(|partition| {
        matches!(
            question(partition.timestamp, context.version()),
            Some(OffsetQuestion::AtTime(_) | OffsetQuestion::MaxTimestamp)
        )
    });
    if !reads {
        return Answer::Now(answer(&context, &request));
    }
    let tasks = context.services.env.tasks.clone();
    Answer::later(async move {
        tasks.spawn_blocking("list-offsets", move || answer(&context, &request)).await
    })
}

fn answer(context: &RequestContext, request: &ListOffsetsRequest) -> ListOffsetsResponse {
    let image = context.image();
    let mut counts: BTreeMap<(&str, PartitionId), usize> = BTreeMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            *counts.entry((&*topic.name, partition.partition_index)).or_default() += 1;
        }
    }
    let isolation = if request.isolation_level == 1 {
        Isolation::ReadCommitted
    } else {
        Isolation::ReadUncommitted
    };
    let topics = request.topics.iter().map(|topic| {
        let found = image.topic(&topic.name);
        let allowed = context.authorize(Operation::Describe, Resource::Topic(&topic.name));
        let partitions = topic.partitions.iter().filter_map(|asked| {
            let index = asked.partition_index;
            // A partition that is given several times is answered once.
            let count = counts.remove(&(&*topic.name, index))?;
            if !allowed {
                return Some(failed(index, ErrorCode::TopicAuthorizationFailed));
            }
            if count > 1 {
                return Some(failed(index, ErrorCode::InvalidRequest));
            }
            let partition =
                found.and_then(|topic| context.services.replicas.partition(topic.id, index));
            Some(answer_partition(context.version(), asked, partition, isolation))
        });
        ListOffsetsTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
    });
    ListOffsetsResponse { throttle_time_ms: 0, topics: topics.collect() }
}

fn answer_partition(
    version: i16,
    asked: &ListOffsetsPartition,
    partition: Option<Arc<Partition>>,
    isolation: Isolation,
) -> ListOffsetsPartitionResponse {
    let index = asked.partition_index;
    let Some(question) = question(asked.timestamp, version) else {
        return failed(index, ErrorCode::UnsupportedVersion);
    };
    let Some(partition) = partition else {
        return failed(index, ErrorCode::UnknownTopicOrPartition);
    };
    let epoch = (asked.current_leader_epoch.0 >= 0).then_some(asked.current_leader_epoch);
    match partition.offset_for(question, isolation, epoch) {
        Ok(answer) => ListOffsetsPartitionResponse {
            partition_index: index,
            error_code: ErrorCode::None,
            timestamp: answer.timestamp.0,
            offset: answer.offset,
            leader_epoch: answer.leader_epoch,
        },
        Err(error) => {
            let code = error_map::code(&error);
            // Earlier clients do not know it.
            let is_unknown = version < OFFSET_NOT_AVAILABLE_SINCE;
            if is_unknown && code == ErrorCode::OffsetNotAvailable {
                return failed(index, ErrorCode::LeaderNotAvailable);
            }
            failed(index, code)
        }
    }
}

/// What a timestamp asks for; `None` if it asks for nothing in this version.
fn question(timestamp: i64, version: i16) -> Option<OffsetQuestion> {
    match timestamp {
        -1 => Some(OffsetQuestion::Latest),
        -2 => Some(OffsetQuestion::Earliest),
        -3 if version >= 7 => Some(OffsetQuestion::MaxTimestamp),
        -4 if version >= 8 => Some(OffsetQuestion::EarliestLocal),
        -5 if version >= 9 => Some(OffsetQuestion::LatestTiered),
        -6 if version >= 11 => Some(OffsetQuestion::EarliestPendingUpload),
        negative if negative < 0 => None,
        time => Some(OffsetQuestion::AtTime(UnixMillis(time))),
    }
}

const fn failed(index: PartitionId, error_code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index: index,
        error_code,
        timestamp: -1,
        offset: Offset(-1),
        leader_epoch: LeaderEpoch::UNKNOWN,
    }
}
