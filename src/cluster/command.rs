//! The commands that change the cluster's state, as they stand in the metadata log.
//!
//! They are written as JSON: names may be added with a default, and never change their meaning. `docs/FORMAT.md` lists them for
//! whoever reads the log without this code.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::features::FeatureUpdate;
use super::image::{ConfigResource, TopicImage};
use crate::model::{
    BrokerId, LeaderEpoch, PartitionId, TopicId, TopicIdPartition, TopicName, UuidText,
};

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
        /// What all brokers' `min.insync.replicas` is set to, if a feature asks for that.
        #[serde(default)]
        min_insync_replicas: Option<u32>,
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
    /// A broker has started. In a cluster of one node it serves at once, and leads the partitions it led before, in a new
    /// leader epoch each.
    RegisterBroker(Registration),
    /// Nobody has heard of a broker for too long: it is in sync with nothing any more, and leads nothing.
    FenceBroker {
        /// The broker.
        broker: BrokerId,
        /// Its epoch: a later incarnation is not meant.
        broker_epoch: i64,
    },
    /// A broker has caught up and is to serve.
    UnfenceBroker {
        /// The broker.
        broker: BrokerId,
        /// Its epoch.
        broker_epoch: i64,
    },
    /// A broker is about to stop: others are to lead what it leads.
    BeginShutdown {
        /// The broker.
        broker: BrokerId,
        /// Its epoch.
        broker_epoch: i64,
    },
    /// Replicas of a broker have failed, with their logs: until it registers anew they are in sync with nothing and lead nothing.
    FailReplicas {
        /// The broker.
        broker: BrokerId,
        /// Its epoch.
        broker_epoch: i64,
        /// The replicas. Those that it has not are passed over.
        replicas: ReplicaSet,
    },
    /// A broker is gone for good. It stays a replica of its partitions until they are reassigned.
    UnregisterBroker {
        /// The broker.
        broker: BrokerId,
    },
    /// The leader of a partition says who is in sync.
    AlterPartition(AlterPartition),
    /// A partition is to have another leader: its preferred one, or any if nobody leads it.
    ElectLeaders {
        /// The topic.
        topic: TopicId,
        /// The partition.
        partition: PartitionId,
        /// Whether the leader may lack records.
        unclean: bool,
    },
    /// A partition is to have other replicas.
    ReassignPartition {
        /// The topic.
        topic: TopicId,
        /// The partition.
        partition: PartitionId,
        /// The replicas, the preferred leader first; `None` takes back the reassignment that is under way.
        replicas: Option<Vec<BrokerId>>,
        /// Whether it may have another number of replicas then (KIP-860).
        #[serde(default = "yes")]
        allow_replication_factor_change: bool,
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

const fn yes() -> bool {
    true
}

/// Replicas of one broker: their partitions by topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaSet(BTreeMap<TopicId, BTreeSet<PartitionId>>);

impl ReplicaSet {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the one of this partition is among them.
    #[must_use]
    pub fn contains(&self, id: TopicIdPartition) -> bool {
        self.0.get(&id.topic).is_some_and(|partitions| partitions.contains(&id.partition))
    }
}

impl FromIterator<TopicIdPartition> for ReplicaSet {
    fn from_iter<I: IntoIterator<Item = TopicIdPartition>>(ids: I) -> Self {
        let mut topics: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for id in ids {
            topics.entry(id.topic).or_default().insert(id.partition);
        }
        Self(topics)
    }
}

/// A broker that has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// Its id.
    pub broker: BrokerId,
    /// Drawn anew at each start. To say the same again, with the same incarnation, changes nothing but what is said below.
    pub incarnation: UuidText,
    /// Ids of its data directories.
    pub directories: Vec<UuidText>,
    /// Where it can be reached, by listener.
    pub endpoints: Vec<Endpoint>,
    /// Its rack, if it has one.
    pub rack: Option<String>,
    /// Its `log.dirs`, as they are written there.
    #[serde(default)]
    pub log_dirs: Vec<String>,
    /// Those of them that take no new partitions, unless something else is set for it while the cluster runs.
    #[serde(default)]
    pub cordoned_log_dirs: Vec<String>,
    /// Whether it is to be unfenced before it serves, as in a cluster of several nodes.
    #[serde(default)]
    pub fenced: bool,
    /// Its epoch when it last stopped in good order. If that is not its last epoch, it may have lost the end of its logs
    /// (KIP-966).
    #[serde(default)]
    pub previous_epoch: Option<i64>,
    /// Those of its replicas whose logs could not be opened: they are in sync with nothing and lead nothing until it registers anew.
    #[serde(default)]
    pub failed: ReplicaSet,
    /// Its `min.insync.replicas`, which from now on holds for topics that say nothing else.
    #[serde(default = "Registration::one_replica")]
    pub min_insync_replicas: u32,
    /// Its `unclean.leader.election.enable`, likewise.
    #[serde(default)]
    pub unclean_leader_election: bool,
}

impl Registration {
    const fn one_replica() -> u32 {
        1
    }

    /// A broker that serves at once, and says as little as possible.
    #[must_use]
    pub const fn new(broker: BrokerId, incarnation: UuidText) -> Self {
        Self {
            broker,
            incarnation,
            directories: Vec::new(),
            endpoints: Vec::new(),
            rack: None,
            log_dirs: Vec::new(),
            cordoned_log_dirs: Vec::new(),
            fenced: false,
            previous_epoch: None,
            failed: ReplicaSet(BTreeMap::new()),
            min_insync_replicas: 1,
            unclean_leader_election: false,
        }
    }
}

/// Who is in sync with the leader of a partition (`AlterPartitionRequest` of Apache Kafka).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlterPartition {
    /// The leader.
    pub broker: BrokerId,
    /// Its epoch.
    pub broker_epoch: i64,
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub partition: PartitionId,
    /// The epoch that it leads in.
    pub leader_epoch: LeaderEpoch,
    /// The partition as the leader knows it: who comes too late is told so.
    pub partition_epoch: i32,
    /// Who is in sync, the leader among them.
    pub isr: Vec<IsrMember>,
    /// Whether the leader, if it was elected though records may have been lost, has not yet made good what it can.
    #[serde(default)]
    pub recovering: bool,
}

/// A replica that is in sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IsrMember {
    /// The broker.
    pub broker: BrokerId,
    /// The epoch in which it fetches; -1 if it did not say: then a later incarnation of it may be meant.
    pub broker_epoch: i64,
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
