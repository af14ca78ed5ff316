//! DeleteRecords, versions 0 to 2: removing the records of a partition before an offset.
//!
//! Offset -1 stands for the high watermark. The versions differ in encoding only. The answer comes once no replica has the records
//! any more whose broker runs, or when the request's time is up. Source: `KafkaApis.handleDeleteRecordsRequest`,
//! `Partition.deleteRecordsOnLeader`, `DelayedDeleteRecords` of Apache Kafka.

use std::sync::Arc;
use std::time::Duration;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::error_map;
use super::pending::{Pending, PendingWait};
use crate::model::{ErrorCode, Offset, PartitionId};
use crate::replica::{Mark, Partition, PartitionError};
use crate::wire::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse,
    delete_records_request::DeleteRecordsPartition,
    delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
};

pub(super) fn start(
    context: RequestContext,
    request: DeleteRecordsRequest,
) -> Answer<DeleteRecordsResponse> {
    let env = context.services.env.clone();
    let patience = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    Answer::later(async move {
        let deadline = env.steady.now().plus(patience);
        let deleted = move || delete_all(&context, request);
        let (mut response, all_pending) = env.tasks.spawn_blocking("delete-records", deleted).await;
        for Pending { wait, topic, index } in all_pending {
            let done = wait.done_before_stop(&env.tasks, |_| ());
            let done = env.steady.timeout_at(deadline, done).await;
            let place = response.topics.get_mut(topic);
            let place = place.and_then(|topic| topic.partitions.get_mut(index));
            let place = place.expect("the places were taken from this response");
            let low_watermark =
                done.ok().flatten().map(|done| done.and_then(|()| wait.partition.low_watermark()));
            match low_watermark {
                Some(Ok(low_watermark)) => place.low_watermark = low_watermark.0,
                Some(Err(error)) => *place = failed(place.partition_index, &error),
                None => place.error_code = ErrorCode::RequestTimedOut.code(),
            }
        }
        response
    })
}

fn delete_all(
    context: &RequestContext,
    request: DeleteRecordsRequest,
) -> (DeleteRecordsResponse, Vec<Pending>) {
    let image = context.image();
    let (mut response, mut all_pending) = (DeleteRecordsResponse::default(), Vec::new());
    for topic in request.topics {
        let allowed = context.authorize(Operation::Delete, Resource::Topic(&topic.name));
        let found = image.topic(&topic.name);
        let mut result = DeleteRecordsTopicResult::default();
        for asked in &topic.partitions {
            let index = PartitionId(asked.partition_index);
            let partition =
                found.and_then(|topic| context.services.replicas.partition(topic.id, index));
            result.partitions.push(match partition {
                _ if !allowed => refused(index, ErrorCode::TopicAuthorizationFailed),
                None => refused(index, ErrorCode::UnknownTopicOrPartition),
                Some(partition) => {
                    let (answer, wait) = delete(context, asked, partition);
                    let (topic, index) = (response.topics.len(), result.partitions.len());
                    all_pending.extend(wait.map(|wait| Pending { wait, topic, index }));
                    answer
                }
            });
        }
        result.name = topic.name;
        response.topics.push(result);
    }
    (response, all_pending)
}

fn delete(
    context: &RequestContext,
    asked: &DeleteRecordsPartition,
    partition: Arc<Partition>,
) -> (DeleteRecordsPartitionResult, Option<PendingWait>) {
    let before = (asked.offset != -1).then_some(Offset(asked.offset));
    let deletion = match context.services.replicas.delete_records(&partition, before) {
        Ok(deletion) => deletion,
        Err(error) => return (failed(asked.partition_index, &error), None),
    };
    let mut result = DeleteRecordsPartitionResult::default();
    result.partition_index = asked.partition_index;
    result.low_watermark = deletion.low_watermark.0;
    let waits = deletion.low_watermark < deletion.before;
    let (until, leader_epoch) = (deletion.before, deletion.leader_epoch);
    let wait = PendingWait { partition, mark: Mark::Deleted, until, leader_epoch };
    (result, waits.then_some(wait))
}

fn failed(partition_index: i32, error: &PartitionError) -> DeleteRecordsPartitionResult {
    refused(PartitionId(partition_index), error_map::code(error))
}

fn refused(partition: PartitionId, code: ErrorCode) -> DeleteRecordsPartitionResult {
    let mut result = DeleteRecordsPartitionResult::default();
    result.partition_index = partition.0;
    result.low_watermark = -1;
    result.error_code = code.code();
    result
}
