//! What a follower asks and is answered, as Fetch says it. Pure.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::super::followed::{LeaderAnswer, Question};
use crate::config::ReplicationConfig;
use crate::log::EpochEnd;
use crate::model::{BrokerId, ErrorCode, LeaderEpoch, PartitionId, TopicId, TopicIdPartition};
use crate::wire::fetch::{FetchPartition, FetchPartitionResponse, FetchTopic, ReplicaState};
use crate::wire::{FetchRequest, FetchResponse, Text};

/// Who fetches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) broker: BrokerId,
    pub(super) broker_epoch: i64,
}

/// The request for records of these partitions, in their order.
pub(super) fn request(
    asker: Asker,
    config: &ReplicationConfig,
    questions: impl Iterator<Item = (TopicIdPartition, Question)>,
) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut places: BTreeMap<TopicId, usize> = BTreeMap::new();
    for (id, question) in questions {
        let place = *places.entry(id.topic).or_insert_with(|| {
            let topic = Text::default();
            topics.push(FetchTopic { topic, topic_id: id.topic, partitions: Vec::new() });
            topics.len() - 1
        });
        let partition = FetchPartition {
            partition: id.partition,
            current_leader_epoch: question.leader_epoch,
            fetch_offset: question.offset,
            last_fetched_epoch: question.last_epoch.unwrap_or(LeaderEpoch::UNKNOWN),
            log_start_offset: question.log_start,
            partition_max_bytes: config.partition_bytes_max,
            replica_directory_id: uuid::Uuid::nil(),
            high_watermark: question.high_watermark,
        };
        topics.get_mut(place).expect("entered above").partitions.push(partition);
    }
    FetchRequest {
        cluster_id: None,
        replica_state: ReplicaState { replica_id: asker.broker, replica_epoch: asker.broker_epoch },
        max_wait_ms: i32::try_from(config.fetch_wait_max.as_millis()).unwrap_or(i32::MAX),
        min_bytes: config.fetch_bytes_min,
        max_bytes: config.response_bytes_max,
        isolation_level: 0,
        session_id: 0,
        session_epoch: -1,
        topics,
        forgotten_topics: Vec::new(),
        rack_id: Text::default(),
    }
}

/// What the leader has answered for each partition, or with which code it has refused.
pub(super) fn answers(
    response: FetchResponse,
) -> BTreeMap<(TopicId, PartitionId), Result<LeaderAnswer, ErrorCode>> {
    let mut answers = BTreeMap::new();
    for topic in response.topics {
        for partition in topic.partitions {
            answers.insert((topic.topic_id, partition.partition_index), answer(partition));
        }
    }
    answers
}

fn answer(partition: FetchPartitionResponse) -> Result<LeaderAnswer, ErrorCode> {
    let (code, log_start) = (partition.error_code, partition.log_start_offset);
    if code == ErrorCode::OffsetOutOfRange && log_start.0 >= 0 {
        return Ok(LeaderAnswer::OutOfRange { log_start });
    }
    if !code.is_none() {
        return Err(code);
    }
    if let Some(diverging) = partition.diverging_epoch {
        let end = EpochEnd { epoch: diverging.epoch, end: diverging.end_offset };
        return Ok(LeaderAnswer::Diverging(end));
    }
    Ok(LeaderAnswer::Records {
        records: joined(partition.records),
        high_watermark: partition.high_watermark,
        log_start: partition.log_start_offset,
    })
}

/// The pieces of an answer in one, without a copy if there is one.
fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        0 => Bytes::new(),
        1 => pieces.swap_remove(0),
        _ => pieces.iter().flatten().copied().collect::<BytesMut>().freeze(),
    }
}
