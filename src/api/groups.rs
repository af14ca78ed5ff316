//! The way from a handler to the state machine of a group.
//!
//! Owns which partition of `__consumer_offsets` a group belongs to, making that topic when it is first needed, and what a
//! coordinator that does not answer means to a client.

use std::collections::BTreeMap;
use std::future::Future;

use super::authorizer::{Operation, Resource};
use super::context::{RequestContext, Services};
use super::create_topics::placement;
use super::error_map;
use crate::cluster::{ClusterImage, Command as ClusterCommand, NewTopic};
use crate::coordinator::partition_of;
use crate::group::{Caller, Command, Reply, TopicFilter};
use crate::model::{ErrorCode, PartitionId, TopicId, TopicName};

/// The topic that holds groups and their offsets (`Topic.GROUP_METADATA_TOPIC_NAME`).
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Who sent a request.
pub(super) fn caller(context: &RequestContext) -> Caller {
    let who = context.clone();
    Caller {
        client_id: context.header.client_id.clone().unwrap_or_default(),
        client_host: context.connection.client_host.clone(),
        api_version: context.version(),
        sees: TopicFilter::new(move |topic| {
            who.authorize(Operation::Describe, Resource::Topic(topic))
        }),
    }
}

/// The partition of a group.
pub(super) fn partition_of_group(
    context: &RequestContext,
    image: &ClusterImage,
    group: &str,
) -> PartitionId {
    let count = image.topic(OFFSETS_TOPIC).map(|topic| topic.partitions.len());
    let configured = context.settings().broker().offsets_topic.partition_count;
    let count = count.and_then(|count| i32::try_from(count).ok()).unwrap_or(configured);
    partition_of(group, count)
}

/// Asks the state machine of a group. The command is queued when this returns.
pub(super) fn ask(
    context: &RequestContext,
    group: &str,
    command: Command,
) -> impl Future<Output = Result<Reply, ErrorCode>> + Send + use<> {
    ask_partition(context, partition_of_group(context, &context.image(), group), command)
}

/// As [`ask`], by partition.
pub(super) fn ask_partition(
    context: &RequestContext,
    partition: PartitionId,
    command: Command,
) -> impl Future<Output = Result<Reply, ErrorCode>> + Send + use<> {
    ask_shard(&context.services, partition, command)
}

/// As [`ask_partition`], for who asks by himself and not for a client.
pub(super) fn ask_shard(
    services: &Services,
    partition: PartitionId,
    command: Command,
) -> impl Future<Output = Result<Reply, ErrorCode>> + Send + use<> {
    let asked = services.groups.ask(partition, command);
    async move { asked.await.map_err(error_map::coordinator_code) }
}

/// Makes the topic of groups, if it is not there.
///
/// # Errors
/// COORDINATOR_NOT_AVAILABLE if it cannot be made. The reason is logged.
pub(super) async fn ensure_topic(context: &RequestContext) -> Result<(), ErrorCode> {
    let (image, settings) = (context.image(), context.settings());
    if image.topic(OFFSETS_TOPIC).is_some() {
        return Ok(());
    }
    let failed = |reason: String| {
        tracing::warn!(topic = OFFSETS_TOPIC, %reason, "cannot create the topic of groups");
        ErrorCode::CoordinatorNotAvailable
    };
    let config = &settings.broker().offsets_topic;
    let count = usize::try_from(config.partition_count).unwrap_or(0);
    let assignments = placement(context, &image, count, config.replication_factor)
        .map_err(|refusal| failed(refusal.message))?;
    let configs = [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("segment.bytes", config.segment_bytes.to_string()),
    ];
    let topic = NewTopic {
        name: TopicName::new(OFFSETS_TOPIC).expect("the name is legal"),
        id: TopicId(context.services.env.rng.uuid()),
        assignments,
        configs: BTreeMap::from(configs.map(|(name, value)| (name.to_owned(), value))),
    };
    let outcomes = context.propose(vec![ClusterCommand::CreateTopic(topic)]).await;
    match outcomes.map(|mut outcomes| outcomes.pop()) {
        Ok(Some(Err(refusal))) if refusal.code != ErrorCode::TopicAlreadyExists => {
            Err(failed(refusal.message))
        }
        Ok(_) => Ok(()),
        Err(code) => Err(failed(code.to_string())),
    }
}
