//! Who leads partitions instead of this broker, told together with the error that says so (KIP-951).

use std::collections::BTreeMap;

use super::context::RequestContext;
use super::nodes::Node;
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
        let known = image.broker(leader_id).filter(|known| !known.fenced)?;
        let node = Node::of(context, known)?;
        let endpoint = NodeEndpoint {
            node_id: leader_id,
            host: Text::from_string(node.host),
            port: i32::from(node.port),
            rack: node.rack.map(Text::from_string),
        };
        self.endpoints.insert(leader_id, endpoint);
        Some(LeaderIdAndEpoch { leader_id, leader_epoch: state.leader_epoch })
    }

    /// Where they are.
    pub(super) fn endpoints(self) -> Vec<NodeEndpoint> {
        self.endpoints.into_values().collect()
    }
}
