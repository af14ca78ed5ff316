//! OffsetCommit, versions 2 to 10: remembering how far a group has read.
//!
//! | version | what it added |
//! |---|---|
//! | 5 | no retention time any more |
//! | 6 | leader epochs (KIP-320) |
//! | 7 | static members (KIP-345) |
//! | 9 | members of consumer groups, STALE_MEMBER_EPOCH, GROUP_ID_NOT_FOUND (KIP-848) |
//! | 10 | topic ids |
//!
//! Source: `KafkaApis.handleOffsetCommitRequest`, `OffsetCommitResponse.Builder` of Apache Kafka.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::{ask, caller};
use crate::cluster::ClusterImage;
use crate::group::command::{OffsetCommit, OffsetCommitPartition, OffsetCommitTopic};
use crate::group::{Command, Reply};
use crate::model::{ErrorCode, PartitionId, TopicId};
use crate::wire::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use crate::wire::{OffsetCommitRequest, OffsetCommitResponse, Text};

/// First version with topic ids.
const TOPIC_IDS_SINCE: i16 = 10;

pub(super) fn start(
    context: RequestContext,
    request: OffsetCommitRequest,
) -> Answer<OffsetCommitResponse> {
    let group = request.group_id.clone();
    let mut outcome = Outcome::default();
    if !context.authorize(Operation::Read, Resource::Group(&group)) {
        for topic in &request.topics {
            outcome.refuse(topic, ErrorCode::GroupAuthorizationFailed);
        }
        return Answer::Now(outcome.response());
    }
    let image = context.image();
    let mut topics = Vec::new();
    for topic in request.topics {
        topics.extend(judge(&context, &image, topic, &mut outcome));
    }
    if topics.is_empty() {
        return Answer::Now(outcome.response());
    }
    let named: Vec<_> = topics.iter().map(places).collect();
    let commit = OffsetCommit {
        group: request.group_id,
        generation_or_epoch: request.generation_id_or_member_epoch,
        member: request.member_id,
        instance: request.group_instance_id,
        retention_ms: Some(request.retention_time_ms).filter(|retention| *retention != -1),
        topics,
    };
    let command = Command::OffsetCommit { caller: caller(&context), request: commit };
    let asked = ask(&context, &group, command);
    Answer::later(async move {
        let code = match asked.await {
            Ok(Reply::OffsetCommit(Ok(results))) => {
                for result in results {
                    outcome.add(result.name, result.id, result.partitions);
                }
                return outcome.response();
            }
            Ok(Reply::OffsetCommit(Err(code))) | Err(code) => code,
            Ok(other) => unreachable!("OffsetCommit was answered with {other:?}"),
        };
        for (name, id, partitions) in named {
            let failed = partitions.into_iter().map(|partition| (partition, code)).collect();
            outcome.add(name, id, failed);
        }
        outcome.response()
    })
}

fn places(topic: &OffsetCommitTopic) -> (Text, TopicId, Vec<PartitionId>) {
    let partitions = topic.partitions.iter().map(|partition| partition.partition).collect();
    (topic.name.clone(), topic.id, partitions)
}

/// What of a topic may be committed; the rest is refused.
fn judge(
    context: &RequestContext,
    image: &ClusterImage,
    topic: OffsetCommitRequestTopic,
    outcome: &mut Outcome,
) -> Option<OffsetCommitTopic> {
    let by_id = context.version() >= TOPIC_IDS_SINCE;
    let found = if by_id { image.topic_by_id(topic.topic_id) } else { image.topic(&topic.name) };
    let name = match found {
        Some(found) => found.name.as_str(),
        None if by_id => {
            outcome.refuse(&topic, ErrorCode::UnknownTopicId);
            return None;
        }
        None => &topic.name,
    };
    if !context.authorize(Operation::Read, Resource::Topic(name)) {
        outcome.refuse(&topic, ErrorCode::TopicAuthorizationFailed);
        return None;
    }
    let Some(found) = found else {
        outcome.refuse(&topic, ErrorCode::UnknownTopicOrPartition);
        return None;
    };
    let name = if by_id { Text::from_string(name.to_owned()) } else { topic.name };
    let mut known = Vec::new();
    let mut unknown = Vec::new();
    for partition in topic.partitions {
        if found.partition(partition.partition_index).is_some() {
            known.push(commit_of(partition));
        } else {
            unknown.push((partition.partition_index, ErrorCode::UnknownTopicOrPartition));
        }
    }
    if !unknown.is_empty() {
        outcome.add(name.clone(), found.id, unknown);
    }
    (!known.is_empty()).then_some(OffsetCommitTopic { name, id: found.id, partitions: known })
}

fn commit_of(partition: OffsetCommitRequestPartition) -> OffsetCommitPartition {
    OffsetCommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata,
    }
}

/// The response as it grows: what was refused here, then what the group said, together by topic.
#[derive(Default)]
struct Outcome {
    topics: Vec<OffsetCommitResponseTopic>,
    /// Where each topic stands: a commit may name very many.
    places: HashMap<(TopicId, Text), usize>,
}

impl Outcome {
    fn refuse(&mut self, topic: &OffsetCommitRequestTopic, code: ErrorCode) {
        let partitions =
            topic.partitions.iter().map(|partition| (partition.partition_index, code)).collect();
        self.add(topic.name.clone(), topic.topic_id, partitions);
    }

    fn add(&mut self, name: Text, topic_id: TopicId, partitions: Vec<(PartitionId, ErrorCode)>) {
        let partitions = partitions.into_iter().map(|(partition_index, error_code)| {
            OffsetCommitResponsePartition { partition_index, error_code }
        });
        match self.places.entry((topic_id, name)) {
            Entry::Occupied(place) => {
                if let Some(topic) = self.topics.get_mut(*place.get()) {
                    topic.partitions.extend(partitions);
                }
            }
            Entry::Vacant(place) => {
                let (partitions, name) = (partitions.collect(), place.key().1.clone());
                place.insert(self.topics.len());
                self.topics.push(OffsetCommitResponseTopic { name, topic_id, partitions });
            }
        }
    }

    fn response(self) -> OffsetCommitResponse {
        OffsetCommitResponse { throttle_time_ms: 0, topics: self.topics }
    }
}
