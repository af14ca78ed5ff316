//! The commands that change the cluster's state, as they stand in the metadata log.
//!
//! They are written as JSON: names may be added with a default, and never change their meaning. `docs/FORMAT.md` lists them for
//! whoever reads the log without this code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::features::FeatureUpdate;
use super::image::{ConfigResource, TopicImage};
use crate::model::{BrokerId, TopicId, TopicName, UuidText};

/// One change. Each is applied whole or refused whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Command {
    /// The first command of a cluster.
    Bootstrap {
        /// The cluster's id.
        cluster_id: String,
        /// Finalized feature levels to begin with.
        features: BTreeMap<String, i16>,
    },
    /// The cluster was one of Apache Kafka: what its metadata log said. Refused if anything is there already.
    TakeOver {
        /// The topics.
        topics: Vec<TopicImage>,
        /// The configs that were set, by resource.
        configs: BTreeMap<ConfigResource, BTreeMap<String, String>>,
        /// The first producer id that was not given out.
        next_producer_id: i64,
        /// The levels of its features.
        #[serde(default)]
        features: BTreeMap<String, i16>,
    },
    /// A broker has started. It leads the partitions it led before, in a new leader epoch each.
    RegisterBroker {
        /// Its id.
        broker: BrokerId,
        /// Drawn anew at each start.
        incarnation: UuidText,
        /// Ids of its data directories.
        directories: Vec<UuidText>,
        /// Where it can be reached, by listener.
        endpoints: Vec<Endpoint>,
        /// Its rack, if it has one.
        rack: Option<String>,
    },
    /// A topic is to be there. Refused if its name is taken.
    CreateTopic(NewTopic),
    /// A topic is to be gone, with its configs.
    DeleteTopic {
        /// The topic.
        topic: TopicId,
    },
    /// A topic is to have more partitions.
    AddPartitions {
        /// The topic.
        topic: TopicId,
        /// How many partitions it has before: else the command comes too late.
        from: usize,
        /// Replicas of each new partition, the preferred leader first.
        assignments: Vec<Vec<BrokerId>>,
    },
    /// Configs of one resource change. Others of it stay.
    AlterConfigs {
        /// The resource.
        resource: ConfigResource,
        /// New values; `None` takes a config away.
        changes: BTreeMap<String, Option<String>>,
    },
    /// Features get other levels, all of them or none.
    UpdateFeatures {
        /// The levels, by name.
        updates: BTreeMap<String, FeatureUpdate>,
    },
    /// A broker takes a block of producer ids for itself.
    AllocateProducerIds {
        /// The broker.
        broker: BrokerId,
        /// Its epoch: an earlier incarnation gets nothing.
        broker_epoch: i64,
    },
}

/// A topic that is to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// Its id, drawn by the proposer.
    pub id: TopicId,
    /// Replicas of each partition, the preferred leader first.
    pub assignments: Vec<Vec<BrokerId>>,
    /// Configs that differ from the defaults.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
}

/// Where a broker can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Name of the listener.
    pub listener: String,
    /// Host that is told to clients; empty if it is decided for each connection.
    pub host: String,
    /// Port that is told to clients.
    pub port: u16,
}
