//! What a cluster says of itself: brokers, topics, leaders.

use super::address::Address;
use crate::model::{BrokerId, ErrorCode, LeaderEpoch, PartitionId, TopicId};
use crate::wire::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use crate::wire::messages::{MetadataRequest, MetadataResponse, WireTopicName, metadata_request};

/// Which topics are asked about.
#[derive(Clone, Copy, Debug)]
pub enum Topics<'a> {
    /// None: only the brokers.
    None,
    /// All of them.
    All,
    /// Some, by name. Those that are not there come back with an error.
    Named(&'a [&'a str]),
    /// Some, which the broker may create if they are not there and it is configured to.
    Created(&'a [&'a str]),
}

/// A picture of the cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// The id of the cluster.
    pub cluster_id: Option<String>,
    /// The broker to turn to for changes.
    pub controller: Option<BrokerId>,
    /// The brokers, by id.
    pub brokers: Vec<Node>,
    /// The topics, by name.
    pub topics: Vec<Topic>,
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: BrokerId,
    /// The address that it gives us.
    pub address: Address,
    /// Its rack.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id; zero if the broker does not tell.
    pub id: TopicId,
    /// Success, or why nothing is known of it.
    pub error: ErrorCode,
    /// Whether it belongs to the cluster itself.
    pub is_internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its index.
    pub index: PartitionId,
    /// Success, or what is wrong with it.
    pub error: ErrorCode,
    /// Who leads it.
    pub leader: Option<BrokerId>,
    /// For the how many-th time somebody leads it.
    pub leader_epoch: LeaderEpoch,
    /// Who has it.
    pub replicas: Vec<BrokerId>,
    /// Who has all of it.
    pub in_sync: Vec<BrokerId>,
    /// Who has it and is away.
    pub offline: Vec<BrokerId>,
}

impl Metadata {
    /// The topic of this name, if it was asked about and is there.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// The broker with this id.
    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&Node> {
        self.brokers.iter().find(|node| node.id == id)
    }

    pub(super) fn of(response: &MetadataResponse) -> Self {
        let mut brokers: Vec<_> = response
            .brokers
            .iter()
            .map(|broker| Node {
                id: BrokerId(broker.node_id.0),
                address: Address {
                    host: broker.host.to_string(),
                    port: u16::try_from(broker.port).unwrap_or(0),
                },
                rack: broker.rack.as_ref().map(ToString::to_string),
            })
            .collect();
        brokers.sort_by_key(|node| node.id);
        let mut topics: Vec<_> = response.topics.iter().map(Topic::of).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            cluster_id: response.cluster_id.as_ref().map(ToString::to_string),
            controller: node(response.controller_id.0),
            brokers,
            topics,
        }
    }
}

impl Topic {
    fn of(topic: &MetadataResponseTopic) -> Self {
        let mut partitions: Vec<_> = topic.partitions.iter().map(Partition::of).collect();
        partitions.sort_by_key(|partition| partition.index);
        Self {
            name: topic.name.as_ref().map(|name| name.0.to_string()).unwrap_or_default(),
            id: TopicId(topic.topic_id),
            error: code(topic.error_code),
            is_internal: topic.is_internal,
            partitions,
        }
    }
}

impl Partition {
    fn of(partition: &MetadataResponsePartition) -> Self {
        let ids = |nodes: &[crate::wire::messages::WireBrokerId]| {
            nodes.iter().map(|node| BrokerId(node.0)).collect()
        };
        Self {
            index: PartitionId(partition.partition_index),
            error: code(partition.error_code),
            leader: node(partition.leader_id.0),
            leader_epoch: LeaderEpoch(partition.leader_epoch),
            replicas: ids(&partition.replica_nodes),
            in_sync: ids(&partition.isr_nodes),
            offline: ids(&partition.offline_replicas),
        }
    }
}

/// The request for some topics.
pub(super) fn request(topics: Topics<'_>, version: i16) -> MetadataRequest {
    let mut request = MetadataRequest::default();
    let named = |names: &[&str]| {
        let topic = |name: &&str| {
            let name = WireTopicName(crate::wire::Text::from_string((*name).to_owned()));
            metadata_request::MetadataRequestTopic::default().with_name(Some(name))
        };
        names.iter().map(topic).collect::<Vec<_>>()
    };
    // Version 0 has no null: none means all there, which is more than was asked for and does no harm.
    request.topics = match topics {
        Topics::None => Some(Vec::new()),
        Topics::All if version == 0 => Some(Vec::new()),
        Topics::All => None,
        Topics::Named(names) | Topics::Created(names) => Some(named(names)),
    };
    request.allow_auto_topic_creation =
        version < CREATION_IS_CHOSEN_SINCE || matches!(topics, Topics::Created(_));
    request
}

fn node(id: i32) -> Option<BrokerId> {
    (id >= 0).then_some(BrokerId(id))
}

fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError)
}

/// Since when a client can say that it wants no topic to be created.
const CREATION_IS_CHOSEN_SINCE: i16 = 4;
