//! Who leads partitions instead of this broker, told together with the error that says so (KIP-951).

use std::collections::BTreeMap;

use super::context::RequestContext;
use crate::cluster::ClusterImage;
use crate::model::{BrokerId, PartitionId, TopicId};
use crate::wire::{LeaderIdAndEpoch, NodeEndpoint, Text};

/// The leaders that one response names, with their addresses.
#[derive(Debug, Default)]
pub(super) struct Leaders {
    endpoints: BTreeMap<BrokerId, NodeEndpoint>,
}

impl Leaders {
    /// The leader of a partition; none if it is not known, or cannot be reached by the client's listener.
    pub(super) fn of(
        &mut self,
        context: &RequestContext,
        topic: TopicId,
        partition: PartitionId,
    ) -> Option<LeaderIdAndEpoch> {
        let image = context.image();
        let state = image.topic_by_id(topic)?.partition(partition)?;
        let leader_id = state.leader?;
        let endpoint = endpoint_of(context, &image, leader_id)?;
        self.endpoints.insert(leader_id, endpoint);
        Some(LeaderIdAndEpoch { leader_id, leader_epoch: state.leader_epoch })
    }

    /// Where they are.
    pub(super) fn endpoints(self) -> Vec<NodeEndpoint> {
        self.endpoints.into_values().collect()
    }
}

/// Where the client of this connection can reach a broker.
fn endpoint_of(
    context: &RequestContext,
    image: &ClusterImage,
    broker: BrokerId,
) -> Option<NodeEndpoint> {
    let known = image.broker(broker).filter(|known| !known.fenced)?;
    let (host, port) = if broker == context.services.broker {
        context.services.advertised.endpoint_for(&context.connection)
    } else {
        let listener = &*context.connection.listener;
        let endpoint = known.endpoints.iter().find(|endpoint| endpoint.listener == listener)?;
        (endpoint.host.clone(), endpoint.port)
    };
    Some(NodeEndpoint {
        node_id: broker,
        host: Text::from_string(host),
        port: i32::from(port),
        rack: known.rack.clone().map(Text::from_string),
    })
}
