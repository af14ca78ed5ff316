//! The brokers as a client sees them: which it can reach and where, and what that means for the leaders and replicas of
//! partitions.
//!
//! A broker is told by the address of the listener that the client came in by; one that has none there, or is fenced, is not
//! told. Source: `KRaftMetadataCache` of Apache Kafka.

use std::collections::BTreeMap;

use super::context::RequestContext;
use crate::cluster::{BrokerImage, ClusterImage, PartitionImage};
use crate::model::{BrokerId, ErrorCode};
use crate::wire::Text;
use crate::wire::messages::WireBrokerId;

/// The brokers that a client can reach.
#[derive(Debug)]
pub(super) struct Nodes(BTreeMap<BrokerId, Node>);

/// A broker that a client can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) id: BrokerId,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) rack: Option<String>,
}

impl Node {
    /// A broker for the client of a request, fenced or not; `None` if it has no address for the client's listener.
    pub(super) fn of(context: &RequestContext, broker: &BrokerImage) -> Option<Self> {
        let (host, port) = if broker.id == context.services.broker {
            context.services.advertised.endpoint_for(&context.connection)
        } else {
            let listener = &*context.connection.listener;
            let found = broker.endpoints.iter().find(|endpoint| endpoint.listener == listener);
            let endpoint = found.filter(|endpoint| !endpoint.host.is_empty())?;
            (endpoint.host.clone(), endpoint.port)
        };
        Some(Self { id: broker.id, host, port, rack: broker.rack.clone() })
    }
}

impl Nodes {
    /// The brokers for the client of a request.
    pub(super) fn of(context: &RequestContext, image: &ClusterImage) -> Self {
        let reachable = image.brokers().filter(|broker| !broker.fenced);
        let nodes = reachable.filter_map(|broker| Node::of(context, broker));
        Self(nodes.map(|node| (node.id, node)).collect())
    }

    /// All of them, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.0.values()
    }

    /// One of them.
    pub(super) fn get(&self, id: BrokerId) -> Option<&Node> {
        self.0.get(&id)
    }

    /// The leader of a partition, or the code that says why the client cannot reach one: LEADER_NOT_AVAILABLE or
    /// LISTENER_NOT_FOUND.
    pub(super) fn leader(
        &self,
        image: &ClusterImage,
        state: &PartitionImage,
    ) -> Result<BrokerId, ErrorCode> {
        let leader = state.leader.ok_or(ErrorCode::LeaderNotAvailable)?;
        match self.get(leader) {
            Some(node) => Ok(node.id),
            None if image.broker(leader).is_some() => Err(ErrorCode::ListenerNotFound),
            None => Err(ErrorCode::LeaderNotAvailable),
        }
    }

    /// The replicas of a partition that the client cannot reach, or that have failed.
    pub(super) fn offline(&self, state: &PartitionImage) -> Vec<WireBrokerId> {
        let is_offline = |id: &&BrokerId| !self.0.contains_key(id) || state.offline.contains(id);
        let offline = state.replicas.iter().filter(is_offline);
        offline.map(|id| WireBrokerId(id.0)).collect()
    }
}

/// Ids of brokers, as responses spell them.
pub(super) fn wire_ids(brokers: &[BrokerId]) -> Vec<WireBrokerId> {
    brokers.iter().map(|id| WireBrokerId(id.0)).collect()
}

/// A rack, as responses spell it.
pub(super) fn wire_rack(rack: Option<&str>) -> Option<Text> {
    rack.map(|rack| Text::from_string(rack.to_owned()))
}
