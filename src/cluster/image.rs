//! The state of the cluster as one immutable value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::Endpoint;
use super::features::ELIGIBLE_LEADER_REPLICAS_VERSION;
use crate::model::{BrokerId, LeaderEpoch, PartitionId, TopicId, TopicName, UuidText};

/// Config of topics and brokers: how many replicas have to be in sync for a record to be committed.
pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
/// Config of topics and brokers: whether a replica may lead that may lack records.
pub(super) const UNCLEAN_LEADER_ELECTION: &str = "unclean.leader.election.enable";
/// Config of a broker: which of its directories take no new partitions; `*` stands for all.
const CORDONED_LOG_DIRS: &str = "cordoned.log.dirs";
/// How many producer ids a broker takes at a time (`ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE` of Apache Kafka).
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// The state of the cluster. Parts that do not change are shared between an image and the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterImage {
    pub(super) cluster_id: String,
    pub(super) features: BTreeMap<String, i16>,
    pub(super) brokers: BTreeMap<BrokerId, BrokerImage>,
    pub(super) topics: Arc<BTreeMap<TopicName, Arc<TopicImage>>>,
    pub(super) configs: Arc<BTreeMap<ConfigResource, Arc<BTreeMap<String, String>>>>,
    pub(super) next_producer_id: i64,
    #[serde(default)]
    pub(super) defaults: ReplicaDefaults,
    /// The topics by id. Not stored: it follows from the topics.
    #[serde(skip)]
    pub(super) names: Arc<BTreeMap<TopicId, TopicName>>,
    /// What the names of topics that could collide have in common. Not stored.
    #[serde(skip)]
    pub(super) collision_keys: Arc<BTreeMap<String, TopicName>>,
}

/// What holds for topics that say nothing else: as the broker's configuration says that was the last to register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplicaDefaults {
    /// `min.insync.replicas`.
    pub(super) min_insync_replicas: u32,
    /// `unclean.leader.election.enable`.
    pub(super) unclean_leader_election: bool,
}

impl Default for ReplicaDefaults {
    fn default() -> Self {
        Self { min_insync_replicas: 1, unclean_leader_election: false }
    }
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerImage {
    /// Its id.
    pub id: BrokerId,
    /// Index of the log entry that registered it: rises with each start.
    pub epoch: i64,
    /// Drawn anew at each start.
    pub incarnation: UuidText,
    /// Ids of its data directories.
    pub directories: Vec<UuidText>,
    /// Where it can be reached.
    pub endpoints: Vec<Endpoint>,
    /// Its rack, if it has one.
    pub rack: Option<String>,
    /// Its `log.dirs`.
    #[serde(default)]
    pub log_dirs: Vec<String>,
    /// Its `cordoned.log.dirs` when it started.
    #[serde(default)]
    pub cordoned_log_dirs: Vec<String>,
    /// Whether it is not to serve: it has not caught up yet, or nobody has heard of it for too long.
    #[serde(default)]
    pub fenced: bool,
    /// Whether it is about to stop.
    #[serde(default)]
    pub shutting_down: bool,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicImage {
    /// Its name.
    pub name: TopicName,
    /// Its id.
    pub id: TopicId,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionImage>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionImage {
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those of them that are in sync.
    pub isr: Vec<BrokerId>,
    /// The one that takes appends, if there is one.
    pub leader: Option<BrokerId>,
    /// Rises with each election.
    pub leader_epoch: LeaderEpoch,
    /// Rises with each change.
    pub partition_epoch: i32,
    /// Replicas that are not in sync but have all that was committed, for too few were in sync since they left (KIP-966).
    #[serde(default)]
    pub elr: Vec<BrokerId>,
    /// Replicas that have failed with their logs, since their brokers have registered: they can be neither in sync nor lead.
    #[serde(default)]
    pub offline: Vec<BrokerId>,
    /// If nobody is in sync: the last leader.
    #[serde(default)]
    pub last_known_elr: Vec<BrokerId>,
    /// Whether the leader was elected though records may have been lost, and has not yet said that it made good what it could.
    #[serde(default)]
    pub recovering: bool,
    /// Replicas that a reassignment adds. They are among the replicas already.
    #[serde(default)]
    pub adding: Vec<BrokerId>,
    /// Replicas that a reassignment takes away when all others are in sync.
    #[serde(default)]
    pub removing: Vec<BrokerId>,
}

/// What configs can be set for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ConfigResource {
    /// A topic.
    Topic(TopicName),
    /// One broker.
    Broker(BrokerId),
    /// All brokers.
    AllBrokers,
    /// A group.
    Group(String),
}

impl From<ConfigResource> for String {
    fn from(resource: ConfigResource) -> Self {
        match resource {
            ConfigResource::Topic(name) => format!("topic:{name}"),
            ConfigResource::Broker(id) => format!("broker:{id}"),
            ConfigResource::AllBrokers => "brokers".to_owned(),
            ConfigResource::Group(name) => format!("group:{name}"),
        }
    }
}

impl TryFrom<String> for ConfigResource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parsed = match text.split_once(':') {
            None if text == "brokers" => Some(Self::AllBrokers),
            Some(("topic", name)) => TopicName::new(name).ok().map(Self::Topic),
            Some(("broker", id)) => id.parse().ok().map(|id| Self::Broker(BrokerId(id))),
            Some(("group", name)) => Some(Self::Group(name.to_owned())),
            _ => None,
        };
        parsed.ok_or_else(|| format!("'{text}' is not a config resource"))
    }
}

impl ClusterImage {
    /// The cluster's id; empty before the first command.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Finalized feature levels.
    #[must_use]
    pub const fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// The finalized level of a feature: 0 if it is off, or not known.
    #[must_use]
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// Whether replicas may lead that left while too few were in sync (KIP-966).
    #[must_use]
    pub fn has_eligible_leaders(&self) -> bool {
        self.feature(ELIGIBLE_LEADER_REPLICAS_VERSION) >= 1
    }

    /// All brokers, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &BrokerImage> {
        self.brokers.values()
    }

    /// One broker.
    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&BrokerImage> {
        self.brokers.get(&id)
    }

    /// Whether a broker is registered, not fenced and not about to stop.
    #[must_use]
    pub fn is_active(&self, id: BrokerId) -> bool {
        self.brokers.get(&id).is_some_and(BrokerImage::is_active)
    }

    /// How many replicas of a topic have to be in sync for a record to be committed. A partition with fewer replicas asks for
    /// all of them.
    #[must_use]
    pub fn min_insync_replicas(&self, topic: &TopicName) -> usize {
        let configured = self.replica_config(topic, MIN_INSYNC_REPLICAS);
        let configured = configured.and_then(|text| text.trim().parse().ok());
        let count: u32 = configured.unwrap_or(self.defaults.min_insync_replicas);
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// Whether a replica of a topic may lead that may lack records, if no other can.
    #[must_use]
    pub fn allows_unclean_election(&self, topic: &TopicName) -> bool {
        let configured = self.replica_config(topic, UNCLEAN_LEADER_ELECTION);
        configured.map_or(self.defaults.unclean_leader_election, |text| {
            text.trim().eq_ignore_ascii_case("true")
        })
    }

    /// What was set for a topic or, if nothing was, for all brokers.
    fn replica_config(&self, topic: &TopicName, key: &str) -> Option<String> {
        let set = |resource: &ConfigResource| self.configs.get(resource)?.get(key).cloned();
        set(&ConfigResource::Topic(topic.clone())).or_else(|| set(&ConfigResource::AllBrokers))
    }

    /// Whether a broker takes no new partitions, because all its directories are cordoned (KIP-1066): as was set for it while
    /// the cluster runs, or else as it was started with. One that has not said which directories it has takes them.
    #[must_use]
    pub fn is_cordoned(&self, broker: &BrokerImage) -> bool {
        let set = self.configs.get(&ConfigResource::Broker(broker.id));
        let cordoned: Vec<&str> = match set.and_then(|set| set.get(CORDONED_LOG_DIRS)) {
            Some(text) => text.split(',').map(str::trim).collect(),
            None => broker.cordoned_log_dirs.iter().map(String::as_str).collect(),
        };
        let is_cordoned = |dir: &String| cordoned.iter().any(|it| *it == "*" || it == dir);
        !broker.log_dirs.is_empty() && broker.log_dirs.iter().all(is_cordoned)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    /// All topics whose name is `from` or sorts after it.
    pub fn topics_from(&self, from: &str) -> impl Iterator<Item = &Arc<TopicImage>> {
        use std::ops::Bound;
        self.topics
            .range::<str, _>((Bound::Included(from), Bound::Unbounded))
            .map(|(_, topic)| topic)
    }

    /// Whether these are the very topics of another image, as long as neither was loaded from a snapshot. If not, they may
    /// still be equal.
    #[must_use]
    pub fn shares_topics_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.topics, &other.topics)
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// A topic by name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    /// A topic by id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(self.names.get(&id)?)
    }

    /// A topic whose name differs from `name` but collides with it.
    #[must_use]
    pub fn collision(&self, name: &TopicName) -> Option<&TopicName> {
        self.collision_keys.get(&name.collision_key()).filter(|other| *other != name)
    }

    /// The first producer id that was not given out.
    #[must_use]
    pub const fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// The configs that were set for a resource.
    #[must_use]
    pub fn configs(&self, resource: &ConfigResource) -> Arc<BTreeMap<String, String>> {
        self.configs.get(resource).map(Arc::clone).unwrap_or_default()
    }

    /// The resources that configs were set for.
    pub fn config_resources(&self) -> impl Iterator<Item = &ConfigResource> {
        self.configs.keys()
    }

    /// Writes the image for a snapshot.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an image has only string keys")
    }

    /// Reads the image of a snapshot.
    ///
    /// # Errors
    /// If the bytes are not an image.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let mut image: Self = serde_json::from_slice(bytes)?;
        let names = image.topics.values().map(|topic| (topic.id, topic.name.clone())).collect();
        image.names = Arc::new(names);
        let keys = image.topics.keys().filter(|name| can_collide(name));
        image.collision_keys =
            Arc::new(keys.map(|name| (name.collision_key(), name.clone())).collect());
        Ok(image)
    }
}

/// Only names with one of the two characters can collide with another.
pub(super) fn can_collide(name: &TopicName) -> bool {
    name.as_str().contains(['.', '_'])
}

impl TopicImage {
    /// A partition by its index.
    #[must_use]
    pub fn partition(&self, partition: PartitionId) -> Option<&PartitionImage> {
        self.partitions.get(usize::try_from(partition.0).ok()?)
    }

    /// Each partition with its index.
    pub fn indexed_partitions(&self) -> impl Iterator<Item = (PartitionId, &PartitionImage)> {
        (0..).map(PartitionId).zip(&self.partitions)
    }

    /// How many replicas its partitions have. (Those of the first one stand for all, as in Kafka.)
    #[must_use]
    pub fn replication_factor(&self) -> usize {
        self.partitions.first().map_or(0, |partition| partition.replicas.len())
    }
}

impl BrokerImage {
    /// Where it can be reached at a listener; if it has no address there, at any other one.
    #[must_use]
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        let mut told = self.endpoints.iter().filter(|endpoint| !endpoint.host.is_empty());
        let any = told.clone().next();
        told.find(|endpoint| endpoint.listener.eq_ignore_ascii_case(listener)).or(any)
    }

    /// Whether it is this incarnation of it, and may serve.
    #[must_use]
    pub const fn serves(&self, epoch: i64) -> bool {
        self.epoch == epoch && !self.fenced
    }

    /// Whether it is neither fenced nor about to stop.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        !self.fenced && !self.shutting_down
    }
}

impl PartitionImage {
    /// A new partition, led by its first replica.
    #[must_use]
    pub fn new(replicas: Vec<BrokerId>) -> Self {
        Self {
            isr: replicas.clone(),
            leader: replicas.first().copied(),
            replicas,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            elr: Vec::new(),
            offline: Vec::new(),
            last_known_elr: Vec::new(),
            recovering: false,
            adding: Vec::new(),
            removing: Vec::new(),
        }
    }

    /// A new partition, led by the first replica that is there; `None` if none is.
    pub(super) fn placed(
        replicas: Vec<BrokerId>,
        is_active: impl Fn(BrokerId) -> bool,
    ) -> Option<Self> {
        let isr: Vec<_> = replicas.iter().copied().filter(|replica| is_active(*replica)).collect();
        let leader = Some(*isr.first()?);
        Some(Self { isr, leader, ..Self::new(replicas) })
    }

    /// Whether its replicas are being moved.
    #[must_use]
    pub fn is_reassigned(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// Whether all its replicas are distinct, and there is one.
    #[must_use]
    pub fn has_distinct_replicas(replicas: &[BrokerId]) -> bool {
        let distinct: BTreeSet<_> = replicas.iter().collect();
        !replicas.is_empty() && distinct.len() == replicas.len()
    }
}
