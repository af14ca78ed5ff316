//! OffsetFetch, versions 1 to 10: how far groups have read.
//!
//! | version | what it added |
//! |---|---|
//! | 2 | null for all topics; an error code for the group |
//! | 5 | leader epochs (KIP-320) |
//! | 7 | stable offsets only (KIP-447) |
//! | 8 | many groups (KIP-709) |
//! | 9 | the member that asks (KIP-848) |
//! | 10 | topic ids |
//!
//! Source: `KafkaApis.handleOffsetFetchRequest`, `OffsetFetchResponse.groupError` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::ask;
use crate::cluster::ClusterImage;
use crate::group::command::{FetchedOffset, FetchedTopic, OffsetFetch, OffsetFetchTopic};
use crate::group::{Command, Reply};
use crate::model::{ErrorCode, Offset, PartitionId};
use crate::wire::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use crate::wire::{OffsetFetchRequest, OffsetFetchResponse, Text};

/// First version with an error code for the group.
const GROUP_ERROR_SINCE: i16 = 2;
/// First version with many groups.
const GROUPS_SINCE: i16 = 8;
/// First version with topic ids.
const TOPIC_IDS_SINCE: i16 = 10;

pub(super) fn start(
    context: RequestContext,
    request: OffsetFetchRequest,
) -> Answer<OffsetFetchResponse> {
    let version = context.version();
    let (groups, require_stable) = if version >= GROUPS_SINCE {
        (request.groups, request.require_stable)
    } else {
        let OffsetFetchRequest { group_id, topics, require_stable, .. } = request;
        let only = OffsetFetchRequestGroup { group_id, member_id: None, member_epoch: -1, topics };
        (vec![only], require_stable)
    };
    let started: Vec<_> =
        groups.into_iter().map(|group| fetch(&context, group, require_stable)).collect();
    Answer::later(async move {
        let mut groups = Vec::with_capacity(started.len());
        for group in started {
            groups.push(group.await);
        }
        response(groups, version)
    })
}

fn response(mut groups: Vec<OffsetFetchResponseGroup>, version: i16) -> OffsetFetchResponse {
    let mut response = OffsetFetchResponse {
        throttle_time_ms: 0,
        topics: Vec::new(),
        error_code: ErrorCode::None,
        groups: Vec::new(),
    };
    if version >= GROUPS_SINCE {
        response.groups = groups;
    } else if let Some(only) = groups.pop() {
        (response.topics, response.error_code) = (only.topics, only.error_code);
    }
    response
}

/// Starts on one group.
fn fetch(
    context: &RequestContext,
    group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> impl Future<Output = OffsetFetchResponseGroup> + Send + use<> {
    let mut refused = Vec::new();
    let mut asked = None;
    let mut question = None;
    if context.authorize(Operation::Describe, Resource::Group(&group.group_id)) {
        let image = context.image();
        let topics = group.topics.clone().map(|topics| {
            let judged = topics.into_iter().map(|topic| judge(context, &image, topic));
            judged.filter_map(|topic| topic.map_err(|topic| refused.push(topic)).ok()).collect()
        });
        let request = OffsetFetch {
            group: group.group_id.clone(),
            member: group.member_id.clone(),
            member_epoch: group.member_epoch,
            require_stable,
            topics,
        };
        asked = Some(ask(context, &group.group_id, Command::OffsetFetch { request }));
        question = Some(context.clone());
    }
    let version = context.version();
    async move {
        let answered = match asked {
            Some(asked) => asked.await,
            None => Err(ErrorCode::GroupAuthorizationFailed),
        };
        let fetched = match answered {
            Ok(Reply::OffsetFetch(fetched)) => fetched,
            Ok(other) => unreachable!("OffsetFetch was answered with {other:?}"),
            Err(code) => Err(code),
        };
        match (fetched, question) {
            (Ok(topics), Some(context)) => {
                let topics = match &group.topics {
                    Some(_) => topics.into_iter().map(topic_of).chain(refused).collect(),
                    None => visible(&context, topics),
                };
                let (group_id, error_code) = (group.group_id, ErrorCode::None);
                OffsetFetchResponseGroup { group_id, topics, error_code }
            }
            (Err(code), _) => failed(group, code, version),
            (Ok(_), None) => unreachable!("an answer without a question"),
        }
    }
}

/// The topic that is asked about, or its part of the response.
fn judge(
    context: &RequestContext,
    image: &ClusterImage,
    topic: OffsetFetchRequestTopic,
) -> Result<OffsetFetchTopic, OffsetFetchResponseTopic> {
    let name = if context.version() >= TOPIC_IDS_SINCE {
        match image.topic_by_id(topic.topic_id) {
            Some(found) => Text::from_string(found.name.to_string()),
            None => return Err(without_offsets(topic, ErrorCode::UnknownTopicId)),
        }
    } else {
        topic.name.clone()
    };
    if !context.authorize(Operation::Describe, Resource::Topic(&name)) {
        return Err(without_offsets(topic, ErrorCode::TopicAuthorizationFailed));
    }
    Ok(OffsetFetchTopic { name, id: topic.topic_id, partitions: topic.partition_indexes })
}

/// All topics of a group that the client may know of, with their ids if it goes by ids.
fn visible(context: &RequestContext, topics: Vec<FetchedTopic>) -> Vec<OffsetFetchResponseTopic> {
    let (image, by_id) = (context.image(), context.version() >= TOPIC_IDS_SINCE);
    let may_know = topics
        .into_iter()
        .filter(|topic| context.authorize(Operation::Describe, Resource::Topic(&topic.name)));
    let identified = may_know.filter_map(|mut topic| {
        if by_id && topic.id.is_zero() {
            topic.id = image.topic(&topic.name)?.id;
        }
        Some(topic_of(topic))
    });
    identified.collect()
}

fn topic_of(topic: FetchedTopic) -> OffsetFetchResponseTopic {
    OffsetFetchResponseTopic {
        name: topic.name,
        topic_id: topic.id,
        partitions: topic.partitions.into_iter().map(partition_of).collect(),
    }
}

fn partition_of(fetched: FetchedOffset) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index: fetched.partition,
        committed_offset: fetched.offset,
        committed_leader_epoch: fetched.leader_epoch,
        metadata: Some(fetched.metadata),
        error_code: fetched.error,
    }
}

fn without_offsets(topic: OffsetFetchRequestTopic, code: ErrorCode) -> OffsetFetchResponseTopic {
    let without = |partition_index: PartitionId| OffsetFetchResponsePartition {
        partition_index,
        committed_offset: Offset(-1),
        committed_leader_epoch: -1,
        metadata: Some(Text::default()),
        error_code: code,
    };
    OffsetFetchResponseTopic {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.into_iter().map(without).collect(),
    }
}

/// A group that does not tell. The first version has no place for that but the partitions.
fn failed(
    group: OffsetFetchRequestGroup,
    code: ErrorCode,
    version: i16,
) -> OffsetFetchResponseGroup {
    let mut topics = Vec::new();
    if version < GROUP_ERROR_SINCE {
        let asked = group.topics.into_iter().flatten();
        topics = asked.map(|topic| without_offsets(topic, code)).collect();
    }
    OffsetFetchResponseGroup { group_id: group.group_id, topics, error_code: code }
}
