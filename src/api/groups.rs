//! The way from a handler to the state machine of a group.
//!
//! Owns which partition of `__consumer_offsets` a group belongs to, and what a coordinator that does not answer means to a
//! client.

use std::future::Future;

use super::authorizer::{Operation, Resource};
use super::context::{RequestContext, Services};
use super::error_map;
use super::internal_topics::InternalTopic;
use crate::cluster::ClusterImage;
use crate::cluster::features::GROUP_VERSION;
use crate::group::{Caller, Command, Reply, TopicFilter};
use crate::model::{ErrorCode, PartitionId};
use crate::wire::Text;

/// Who sent a request.
pub(super) fn caller(context: &RequestContext) -> Caller {
    let who = context.clone();
    Caller {
        client_id: context.header.client_id.clone().unwrap_or_default(),
        client_host: Text::from_string(format!("/{}", context.connection.peer.ip().to_canonical())),
        api_version: context.version(),
        sees: TopicFilter::new(move |topic| {
            who.authorize(Operation::Describe, Resource::Topic(topic))
        }),
    }
}

/// Whether groups of KIP-848 are allowed, by the configuration and by the level of `group.version`.
pub(super) fn speaks_consumer_protocol(context: &RequestContext) -> bool {
    context.settings().broker().consumer_protocol && context.image().feature(GROUP_VERSION) >= 1
}

/// The partition of a group.
pub(super) fn partition_of_group(
    context: &RequestContext,
    image: &ClusterImage,
    group: &str,
) -> PartitionId {
    InternalTopic::Groups.partition_of(context, image, group)
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
