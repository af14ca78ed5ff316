//! Metadata, versions 0 to 13: brokers, topics, partitions and their leaders.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | a null list asks for all topics, an empty one for none (0: empty asks for all) |
//! | 2 | cluster id |
//! | 4 | whether topics may be created |
//! | 5 | replicas that cannot be reached |
//! | 7 | leader epochs |
//! | 8 | sets of operations |
//! | 10 | topic ids in the response |
//! | 12 | topics by id |
//! | 13 | an error for the whole response |
//!
//! A topic that is not there is created if the request and `auto.create.topics.enable` allow it. Apache Kafka answers such a
//! request with UNKNOWN_TOPIC_OR_PARTITION and creates the topic meanwhile; here the answer waits for the new topic, which
//! saves every client a retry. Source: `KafkaApis.handleTopicMetadataRequest`.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::create_topics;
use super::dispatch::Answer;
use super::nodes::{Node, Nodes, wire_ids, wire_rack};
use crate::cluster::{ClusterImage, PartitionImage, TopicImage};
use crate::model::{BrokerId, ErrorCode, PartitionId, TopicId, TopicName};
use crate::wire::Text;
use crate::wire::messages::{
    MetadataRequest, MetadataResponse, WireBrokerId, WireTopicName,
    metadata_request::MetadataRequestTopic, metadata_response as response,
};

/// First version in which topics may be asked for by id. Versions 10 and 11 have the field and no use for it.
const TOPIC_IDS_SINCE: i16 = 12;
/// First version whose clients know LISTENER_NOT_FOUND.
const LISTENER_NOT_FOUND_SINCE: i16 = 6;
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
    let nodes = Nodes::of(context, image);
    let seen = Seen { context, image, nodes: &nodes };
    let mut answer = MetadataResponse::default();
    answer.brokers = nodes.iter().map(broker_of).collect();
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
            .map(|topic| seen.topic(topic, operations))
            .collect(),
        Some(topics) => topics
            .iter()
            .map(|topic| match &topic.name {
                Some(name) => by_name(seen, name, refused, operations),
                None => by_id(seen, TopicId(topic.topic_id), operations),
            })
            .collect(),
    };
    answer
}

/// What a client can see.
#[derive(Clone, Copy)]
struct Seen<'a> {
    context: &'a RequestContext,
    image: &'a ClusterImage,
    nodes: &'a Nodes,
}

fn broker_of(node: &Node) -> response::MetadataResponseBroker {
    let mut broker = response::MetadataResponseBroker::default();
    broker.node_id = WireBrokerId(node.id.0);
    broker.host = Text::from_string(node.host.clone());
    broker.port = i32::from(node.port);
    broker.rack = wire_rack(node.rack.as_deref());
    broker
}

fn by_name(
    seen: Seen<'_>,
    name: &WireTopicName,
    refused: &[(TopicName, ErrorCode)],
    operations: bool,
) -> response::MetadataResponseTopic {
    if !seen.context.authorize(Operation::Describe, Resource::Topic(name)) {
        return unknown(Some(name.clone()), TopicId::ZERO, ErrorCode::TopicAuthorizationFailed);
    }
    if let Some(topic) = seen.image.topic(name) {
        return seen.topic(topic, operations);
    }
    let refusal =
        refused.iter().find(|(topic, _)| topic.as_str() == &***name).map(|(_, code)| *code);
    let code = match TopicName::new(name) {
        Err(_) => ErrorCode::InvalidTopic,
        Ok(_) => refusal.unwrap_or(ErrorCode::UnknownTopicOrPartition),
    };
    unknown(Some(name.clone()), TopicId::ZERO, code)
}

fn by_id(seen: Seen<'_>, id: TopicId, operations: bool) -> response::MetadataResponseTopic {
    let may_describe = |topic: &TopicImage| {
        seen.context.authorize(Operation::Describe, Resource::Topic(topic.name.as_str()))
    };
    match seen.image.topic_by_id(id) {
        Some(topic) if may_describe(topic) => seen.topic(topic, operations),
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

impl Seen<'_> {
    fn topic(self, topic: &TopicImage, operations: bool) -> response::MetadataResponseTopic {
        let mut answer = response::MetadataResponseTopic::default();
        answer.name = Some(WireTopicName(Text::from_string(topic.name.to_string())));
        answer.topic_id = topic.id.0;
        answer.is_internal = topic.name.is_internal();
        let partitions = topic.indexed_partitions();
        answer.partitions = partitions.map(|(index, state)| self.partition(index, state)).collect();
        answer.topic_authorized_operations = if operations {
            self.context.authorized_operations(Resource::Topic(topic.name.as_str()))
        } else {
            NO_OPERATIONS
        };
        answer
    }

    fn partition(
        self,
        index: PartitionId,
        state: &PartitionImage,
    ) -> response::MetadataResponsePartition {
        let version = self.context.version();
        let mut partition = response::MetadataResponsePartition::default();
        partition.partition_index = index.0;
        partition.leader_epoch = state.leader_epoch.0;
        partition.replica_nodes = wire_ids(&state.replicas);
        partition.isr_nodes = wire_ids(&state.isr);
        partition.offline_replicas = self.nodes.offline(state);
        let leader = self.nodes.leader(self.image, state);
        partition.leader_id = WireBrokerId(leader.map_or(-1, |leader| leader.0));
        let mut code = leader.err();
        if version < LISTENER_NOT_FOUND_SINCE && code.is_some() {
            code = Some(ErrorCode::LeaderNotAvailable);
        }
        if version == 0 {
            // Its clients know of no replica that cannot be reached.
            let reachable = |id: &WireBrokerId| self.nodes.get(BrokerId(id.0)).is_some();
            if code.is_none() && !partition.replica_nodes.iter().all(reachable) {
                code = Some(ErrorCode::ReplicaNotAvailable);
            }
            partition.replica_nodes.retain(reachable);
            partition.isr_nodes.retain(reachable);
        }
        partition.error_code = code.map_or(0, ErrorCode::code);
        partition
    }
}
