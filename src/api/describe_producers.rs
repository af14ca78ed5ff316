//! DescribeProducers, version 0: the idempotent producers of partitions (KIP-664).
//!
//! Source: `ReplicaManager.activeProducerState` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::error_map;
use crate::log::ProducerView;
use crate::model::{ErrorCode, PartitionId};
use crate::wire::Text;
use crate::wire::messages::{
    DescribeProducersRequest, DescribeProducersResponse, WireProducerId,
    describe_producers_response::{PartitionResponse, ProducerState, TopicResponse},
};

pub(super) fn start(
    context: RequestContext,
    request: DescribeProducersRequest,
) -> Answer<DescribeProducersResponse> {
    let image = context.image();
    let mut response = DescribeProducersResponse::default();
    for topic in request.topics {
        let allowed = context.authorize(Operation::Read, Resource::Topic(&topic.name));
        let found = image.topic(&topic.name);
        let mut result = TopicResponse::default();
        for index in &topic.partition_indexes {
            let partition = found.and_then(|topic| {
                context.services.replicas.partition(topic.id, PartitionId(*index))
            });
            let producers = match partition {
                _ if !allowed => Err(ErrorCode::TopicAuthorizationFailed),
                None => Err(ErrorCode::UnknownTopicOrPartition),
                Some(partition) => partition.producers().map_err(|error| error_map::code(&error)),
            };
            let mut answer = PartitionResponse::default();
            answer.partition_index = *index;
            match producers {
                Ok(producers) => {
                    answer.active_producers = producers.into_iter().map(producer).collect()
                }
                Err(code) => {
                    answer.error_code = code.code();
                    // Apache Kafka has no text for a partition that its topic does not have.
                    answer.error_message =
                        (!allowed || found.is_none()).then(|| Text::from_string(code.to_string()));
                }
            }
            result.partitions.push(answer);
        }
        result.name = topic.name;
        response.topics.push(result);
    }
    Answer::Now(response)
}

fn producer(view: ProducerView) -> ProducerState {
    let mut state = ProducerState::default();
    state.producer_id = WireProducerId(view.producer_id.0);
    state.producer_epoch = i32::from(view.epoch.0);
    state.last_sequence = view.last_sequence;
    state.last_timestamp = view.last_timestamp.0;
    state.coordinator_epoch = view.coordinator_epoch;
    state.current_txn_start_offset = view.transaction_start.map_or(-1, |offset| offset.0);
    state
}
