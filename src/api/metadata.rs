//! Metadata, versions 0 to 13: brokers, topics, partitions and their leaders.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | a null list asks for all topics, an empty one for none (0: empty asks for all) |
//! | 2 | cluster id |
//! | 4 | whether topics may be created |
//! | 7 | leader epochs |
//! | 8 | sets of operations |
//! | 10 | topic ids in the response |
//! | 12 | topics by id |
//! | 13 | an error for the whole response |
//!
//! A topic that is not there is created if the request and `auto.create.topics.enable` allow it. Apache Kafka answers such a
//! request with UNKNOWN_TOPIC_OR_PARTITION and creates the topic meanwhile; here the answer waits for the new topic, which
//! saves every client a retry. Source: `KafkaApis.handleTopicMetadataRequest`.

use std::sync::Arc;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::create_topics;
use super::dispatch::Answer;
use crate::cluster::{ClusterImage, PartitionImage, TopicImage};
use crate::model::{BrokerId, ErrorCode, PartitionId, TopicId, TopicName};
use crate::wire::Text;
use crate::wire::messages::{
    MetadataRequest, MetadataResponse, WireBrokerId, WireTopicName,
    metadata_request::MetadataRequestTopic, metadata_response as response,
};

/// First version in which topics may be asked for by id. Versions 10 and 11 have the field and no use for it.
const TOPIC_IDS_SINCE: i16 = 12;
/// The value of a set of operations that was not asked for.
const NO_OPERATIONS: i32 = i32::MIN;

pub(super) fn start(context: RequestContext, request: MetadataRequest) -> Answer<MetadataResponse> {
    let named = |topic: &MetadataRequestTopic| topic.name.is_some() && topic.topic_id.is_nil();
    if context.version() < TOPIC_IDS_SINCE && !request.topics.iter().flatten().all(named) {
        return Answer::Now(refuse_ids(&request));
    }
    let image = context.image();
    let missing = missing_topics(&context, &request, &image);
    if missing.is_empty() {
        return Answer::Now(answer(&context, &request, &image, &[]));
    }
    Answer::later(async move {
        let refused = create_topics::auto_create(&context, missing).await;
        let image = context.image();
        answer(&context, &request, &image, &refused)
    })
}

/// The answer to a request for topics by id in a version that cannot answer it.
fn refuse_ids(request: &MetadataRequest) -> MetadataResponse {
    let refused = |topic: &MetadataRequestTopic| {
        let name = topic.name.clone().unwrap_or_default();
        unknown(Some(name), TopicId(topic.topic_id), ErrorCode::InvalidRequest)
    };
    let mut answer = MetadataResponse::default();
    answer.topics = request.topics.iter().flatten().map(refused).collect();
    answer
}

/// The topics that are asked for by name, are not there, and may be created.
fn missing_topics(
    context: &RequestContext,
    request: &MetadataRequest,
    image: &ClusterImage,
) -> Vec<TopicName> {
    let allowed =
        request.allow_auto_topic_creation && context.settings().broker().auto_create_topics;
    let names = request.topics.iter().flatten().filter_map(|topic| topic.name.as_deref());
    let missing = names.filter(|name| allowed && image.topic(name).is_none());
    let legal = missing.filter_map(|name| TopicName::new(name).ok());
    let may_create = |name: &TopicName| {
        context.authorize(Operation::Create, Resource::Cluster)
            || context.authorize(Operation::Create, Resource::Topic(name.as_str()))
    };
    legal.filter(may_create).collect()
}

fn answer(
    context: &RequestContext,
    request: &MetadataRequest,
    image: &ClusterImage,
    refused: &[(TopicName, ErrorCode)],
) -> MetadataResponse {
    let version = context.version();
    let mut answer = MetadataResponse::default();
    answer.brokers = image
        .brokers()
        .map(|broker| broker_of(context, broker.id, broker.rack.as_deref()))
        .collect();
    answer.cluster_id = Some(Text::from_string(image.cluster_id().to_owned()));
    answer.controller_id = WireBrokerId(context.services.broker.0);
    answer.cluster_authorized_operations = NO_OPERATIONS;
    if (8..=10).contains(&version) && request.include_cluster_authorized_operations {
        answer.cluster_authorized_operations = context.authorized_operations(Resource::Cluster);
    }
    let operations = version >= 8 && request.include_topic_authorized_operations;
    let asked = request.topics.as_ref().filter(|topics| version > 0 || !topics.is_empty());
    answer.topics = match asked {
        None => image
            .topics()
            .filter(|topic| {
                context.authorize(Operation::Describe, Resource::Topic(topic.name.as_str()))
            })
            .map(|topic| topic_of(context, topic, operations))
            .collect(),
        Some(topics) => topics
            .iter()
            .map(|topic| match &topic.name {
                Some(name) => by_name(context, image, name, refused, operations),
                None => by_id(context, image, TopicId(topic.topic_id), operations),
            })
            .collect(),
    };
    answer
}

fn broker_of(
    context: &RequestContext,
    id: BrokerId,
    rack: Option<&str>,
) -> response::MetadataResponseBroker {
    let (host, port) = context.services.advertised.endpoint_for(&context.connection);
    let mut broker = response::MetadataResponseBroker::default();
    broker.node_id = WireBrokerId(id.0);
    broker.host = Text::from_string(host);
    broker.port = i32::from(port);
    broker.rack = rack.map(|rack| Text::from_string(rack.to_owned()));
    broker
}

fn by_name(
    context: &RequestContext,
    image: &ClusterImage,
    name: &WireTopicName,
    refused: &[(TopicName, ErrorCode)],
    operations: bool,
) -> response::MetadataResponseTopic {
    if !context.authorize(Operation::Describe, Resource::Topic(name)) {
        return unknown(Some(name.clone()), TopicId::ZERO, ErrorCode::TopicAuthorizationFailed);
    }
    if let Some(topic) = image.topic(name) {
        return topic_of(context, topic, operations);
    }
    let refusal =
        refused.iter().find(|(topic, _)| topic.as_str() == &***name).map(|(_, code)| *code);
    let code = match TopicName::new(name) {
        Err(_) => ErrorCode::InvalidTopic,
        Ok(_) => refusal.unwrap_or(ErrorCode::UnknownTopicOrPartition),
    };
    unknown(Some(name.clone()), TopicId::ZERO, code)
}

fn by_id(
    context: &RequestContext,
    image: &ClusterImage,
    id: TopicId,
    operations: bool,
) -> response::MetadataResponseTopic {
    match image.topic_by_id(id) {
        Some(topic)
            if context.authorize(Operation::Describe, Resource::Topic(topic.name.as_str())) =>
        {
            topic_of(context, topic, operations)
        }
        Some(_) => unknown(None, id, ErrorCode::TopicAuthorizationFailed),
        None => unknown(None, id, ErrorCode::UnknownTopicId),
    }
}

fn unknown(
    name: Option<WireTopicName>,
    id: TopicId,
    code: ErrorCode,
) -> response::MetadataResponseTopic {
    let mut topic = response::MetadataResponseTopic::default();
    topic.error_code = code.code();
    topic.is_internal = name
        .as_ref()
        .and_then(|name| TopicName::new(name).ok())
        .is_some_and(|name| name.is_internal());
    topic.name = name;
    topic.topic_id = id.0;
    topic.topic_authorized_operations = NO_OPERATIONS;
    topic
}

fn topic_of(
    context: &RequestContext,
    topic: &Arc<TopicImage>,
    operations: bool,
) -> response::MetadataResponseTopic {
    let mut answer = response::MetadataResponseTopic::default();
    answer.name = Some(WireTopicName(Text::from_string(topic.name.to_string())));
    answer.topic_id = topic.id.0;
    answer.is_internal = topic.name.is_internal();
    answer.partitions =
        topic.indexed_partitions().map(|(index, state)| partition_of(index, state)).collect();
    answer.topic_authorized_operations = if operations {
        context.authorized_operations(Resource::Topic(topic.name.as_str()))
    } else {
        NO_OPERATIONS
    };
    answer
}

fn partition_of(index: PartitionId, state: &PartitionImage) -> response::MetadataResponsePartition {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|broker| WireBrokerId(broker.0)).collect();
    let mut partition = response::MetadataResponsePartition::default();
    if state.leader.is_none() {
        partition.error_code = ErrorCode::LeaderNotAvailable.code();
    }
    partition.partition_index = index.0;
    partition.leader_id = WireBrokerId(state.leader.map_or(-1, |leader| leader.0));
    partition.leader_epoch = state.leader_epoch.0;
    partition.replica_nodes = ids(&state.replicas);
    partition.isr_nodes = ids(&state.isr);
    partition
}
