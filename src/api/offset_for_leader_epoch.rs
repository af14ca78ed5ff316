//! OffsetForLeaderEpoch, versions 2 to 4: where the records of a leader epoch end (KIP-101, KIP-320).
//!
//! | version | what it added |
//! |---|---|
//! | 3 | the replica that asks |
//! | 4 | flexible |
//!
//! Source: `KafkaApis.handleOffsetForLeaderEpochRequest`, `Partition.lastOffsetForLeaderEpoch` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::error_map;
use crate::log::EpochEnd;
use crate::model::{ErrorCode, LeaderEpoch, Offset, PartitionId};
use crate::wire::messages::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
};

/// What is answered for an epoch that is not known.
const UNKNOWN: EpochEnd = EpochEnd { epoch: LeaderEpoch::UNKNOWN, end: Offset(-1) };

pub(super) fn start(
    context: RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> Answer<OffsetForLeaderEpochResponse> {
    let image = context.image();
    let mut response = OffsetForLeaderEpochResponse::default();
    for topic in request.topics {
        let allowed = context.authorize(Operation::Describe, Resource::Topic(&topic.topic));
        let found = image.topic(&topic.topic);
        let mut result = OffsetForLeaderTopicResult::default();
        for asked in &topic.partitions {
            let index = PartitionId(asked.partition);
            let partition =
                found.and_then(|topic| context.services.replicas.partition(topic.id, index));
            let current = (asked.current_leader_epoch >= 0)
                .then_some(LeaderEpoch(asked.current_leader_epoch));
            let end = match partition {
                _ if !allowed => Err(ErrorCode::TopicAuthorizationFailed),
                None => Err(ErrorCode::UnknownTopicOrPartition),
                Some(partition) => partition
                    .epoch_end(current, LeaderEpoch(asked.leader_epoch))
                    .map(|end| end.unwrap_or(UNKNOWN))
                    .map_err(|error| error_map::code(&error)),
            };
            let (code, end) = end.map_or_else(|code| (code, UNKNOWN), |end| (ErrorCode::None, end));
            let mut answer = EpochEndOffset::default();
            answer.partition = asked.partition;
            answer.error_code = code.code();
            answer.leader_epoch = end.epoch.0;
            answer.end_offset = end.end.0;
            result.partitions.push(answer);
        }
        result.topic = topic.topic;
        response.topics.push(result);
    }
    Answer::Now(response)
}
