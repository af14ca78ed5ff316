//! DeleteRecords, versions 0 to 2: removing the records of a partition before an offset.
//!
//! Offset -1 stands for the high watermark. The versions differ in encoding only. Source: `KafkaApis.handleDeleteRecordsRequest`,
//! `Partition.deleteRecordsOnLeader` of Apache Kafka.

use std::sync::Arc;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::error_map;
use crate::model::{ErrorCode, Offset, PartitionId};
use crate::replica::Partition;
use crate::wire::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse,
    delete_records_request::DeleteRecordsPartition,
    delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
};

pub(super) fn start(
    context: RequestContext,
    request: DeleteRecordsRequest,
) -> Answer<DeleteRecordsResponse> {
    let tasks = context.services.env.tasks.clone();
    Answer::later(async move {
        tasks.spawn_blocking("delete-records", move || answer(&context, request)).await
    })
}

fn answer(context: &RequestContext, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let image = context.image();
    let mut response = DeleteRecordsResponse::default();
    for topic in request.topics {
        let allowed = context.authorize(Operation::Delete, Resource::Topic(&topic.name));
        let found = image.topic(&topic.name);
        let mut result = DeleteRecordsTopicResult::default();
        for asked in &topic.partitions {
            let index = PartitionId(asked.partition_index);
            let partition =
                found.and_then(|topic| context.services.replicas.partition(topic.id, index));
            result.partitions.push(match partition {
                _ if !allowed => failed(asked, ErrorCode::TopicAuthorizationFailed),
                None => failed(asked, ErrorCode::UnknownTopicOrPartition),
                Some(partition) => delete(context, asked, &partition),
            });
        }
        result.name = topic.name;
        response.topics.push(result);
    }
    response
}

fn delete(
    context: &RequestContext,
    asked: &DeleteRecordsPartition,
    partition: &Arc<Partition>,
) -> DeleteRecordsPartitionResult {
    let before = (asked.offset != -1).then_some(Offset(asked.offset));
    match context.services.replicas.delete_records(partition, before) {
        Ok(low_watermark) => {
            let mut result = DeleteRecordsPartitionResult::default();
            result.partition_index = asked.partition_index;
            result.low_watermark = low_watermark.0;
            result
        }
        Err(error) => failed(asked, error_map::code(&error)),
    }
}

fn failed(asked: &DeleteRecordsPartition, code: ErrorCode) -> DeleteRecordsPartitionResult {
    let mut result = DeleteRecordsPartitionResult::default();
    result.partition_index = asked.partition_index;
    result.low_watermark = -1;
    result.error_code = code.code();
    result
}
