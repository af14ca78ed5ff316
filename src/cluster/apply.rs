//! Applying commands. Pure: see the invariants of this module.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::{Command, NewTopic};
use super::features::{FeatureUpdate, refusal_to_follow};
use super::image::{
    ClusterImage, ConfigResource, MIN_INSYNC_REPLICAS, PRODUCER_ID_BLOCK, PartitionImage,
    TopicImage, UNCLEAN_LEADER_ELECTION, can_collide,
};
use crate::model::{BrokerId, ErrorCode, PartitionId, TopicId, TopicIdPartition};

/// What a command gave.
pub type Outcome = Result<Applied, Refusal>;

/// What an applied command gave to its proposer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Applied {
    /// Nothing but the change.
    Done,
    /// The epoch of the broker that registered.
    BrokerEpoch(i64),
    /// A block of [`PRODUCER_ID_BLOCK`] producer ids, of which this is the first.
    ProducerIds(i64),
    /// What the partition is now.
    Partition(PartitionImage),
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The code for the client.
    pub code: ErrorCode,
    /// The reason for a person.
    pub message: String,
}

/// A change, for those who keep something by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A topic is there. Its partitions follow from the image.
    TopicCreated(Arc<TopicImage>),
    /// A topic is gone; this is what it was.
    TopicDeleted(Arc<TopicImage>),
    /// A topic has more partitions, the first new one being this.
    PartitionsAdded(Arc<TopicImage>, PartitionId),
    /// Partitions have other leaders, epochs, replicas or replicas in sync.
    PartitionsChanged(Vec<TopicIdPartition>),
    /// Brokers have come, gone, or are fenced or not any more.
    BrokersChanged,
    /// Configs of this resource changed.
    ConfigsChanged(ConfigResource),
}

/// Refuses a command, or what would become one.
///
/// # Errors
/// Always: that is what it gives.
pub fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.into() })
}

impl ClusterImage {
    /// Applies a command, which is part of the log entry `index`: the state changes and says how, or it does not change.
    pub fn apply(&mut self, index: u64, command: &Command) -> (Outcome, Vec<Event>) {
        let mut events = Vec::new();
        let outcome = match command {
            Command::Bootstrap { cluster_id, features, min_insync_replicas } => {
                self.bootstrap(cluster_id, features, *min_insync_replicas, &mut events)
            }
            Command::TakeOver { topics, configs, next_producer_id, features } => {
                let taken = self.take_over(topics, configs, *next_producer_id, &mut events);
                taken.inspect(|_| self.features.clone_from(features))
            }
            Command::RegisterBroker(registration) => {
                Ok(self.register(index, registration, &mut events))
            }
            Command::FenceBroker { broker, broker_epoch } => {
                self.fence(*broker, *broker_epoch, &mut events)
            }
            Command::UnfenceBroker { broker, broker_epoch } => {
                self.unfence(*broker, *broker_epoch, &mut events)
            }
            Command::BeginShutdown { broker, broker_epoch } => {
                self.begin_shutdown(*broker, *broker_epoch, &mut events)
            }
            Command::FailReplicas { broker, broker_epoch, replicas } => {
                self.fail_replicas(*broker, *broker_epoch, replicas, &mut events)
            }
            Command::UnregisterBroker { broker } => self.unregister(*broker, &mut events),
            Command::AlterPartition(alter) => self.alter_partition(alter, &mut events),
            Command::ElectLeaders { topic, partition, unclean } => {
                let id = TopicIdPartition { topic: *topic, partition: *partition };
                self.elect_leader(id, *unclean, &mut events)
            }
            Command::ReassignPartition {
                topic,
                partition,
                replicas,
                allow_replication_factor_change,
            } => {
                let id = TopicIdPartition { topic: *topic, partition: *partition };
                let replicas = replicas.as_deref();
                self.reassign(id, replicas, *allow_replication_factor_change, &mut events)
            }
            Command::CreateTopic(topic) => self.create_topic(topic, &mut events),
            Command::DeleteTopic { topic } => self.delete_topic(*topic, &mut events),
            Command::AddPartitions { topic, from, assignments } => {
                self.add_partitions(*topic, *from, assignments, &mut events)
            }
            Command::AlterConfigs { resource, changes } => {
                self.alter_configs(resource, changes, &mut events)
            }
            Command::UpdateFeatures { updates } => self.update_features(updates, &mut events),
            Command::AllocateProducerIds { broker, broker_epoch } => {
                self.allocate_producer_ids(*broker, *broker_epoch)
            }
        };
        assert!(outcome.is_ok() || events.is_empty(), "a refused command has changed something");
        (outcome, events)
    }

    fn bootstrap(
        &mut self,
        cluster_id: &str,
        features: &BTreeMap<String, i16>,
        min_insync_replicas: Option<u32>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        if !self.cluster_id.is_empty() {
            return refuse(ErrorCode::InvalidRequest, "the cluster has begun already");
        }
        cluster_id.clone_into(&mut self.cluster_id);
        self.features.clone_from(features);
        if let Some(count) = min_insync_replicas.filter(|_| self.has_eligible_leaders()) {
            self.fix_min_insync_replicas(count, events);
        }
        Ok(Applied::Done)
    }

    /// Who is eligible depends on `min.insync.replicas`, so that has one value for all brokers, which those that start later
    /// with another one do not change (`ConfigurationControlManager.maybeGenerateElrSafetyRecords` of Apache Kafka).
    fn fix_min_insync_replicas(&mut self, count: u32, events: &mut Vec<Event>) {
        let mut changed = Vec::new();
        let all = Arc::make_mut(&mut self.configs);
        let of_all = Arc::make_mut(all.entry(ConfigResource::AllBrokers).or_default());
        if !of_all.contains_key(MIN_INSYNC_REPLICAS) {
            of_all.insert(MIN_INSYNC_REPLICAS.to_owned(), count.to_string());
            changed.push(ConfigResource::AllBrokers);
        }
        all.retain(|resource, configs| {
            if matches!(resource, ConfigResource::Broker(_))
                && Arc::make_mut(configs).remove(MIN_INSYNC_REPLICAS).is_some()
            {
                changed.push(resource.clone());
            }
            !configs.is_empty()
        });
        events.extend(changed.into_iter().map(Event::ConfigsChanged));
    }

    fn update_features(
        &mut self,
        updates: &BTreeMap<String, FeatureUpdate>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let had_eligible_leaders = self.has_eligible_leaders();
        for (name, update) in updates {
            refusal_to_follow(name, self.feature(name), *update)?;
        }
        for (name, update) in updates {
            match update.level {
                0 => self.features.remove(name),
                level => self.features.insert(name.clone(), level),
            };
        }
        if self.has_eligible_leaders() && !had_eligible_leaders {
            self.fix_min_insync_replicas(self.defaults.min_insync_replicas, events);
        }
        Ok(Applied::Done)
    }

    fn take_over(
        &mut self,
        topics: &[TopicImage],
        configs: &BTreeMap<ConfigResource, BTreeMap<String, String>>,
        next_producer_id: i64,
        events: &mut Vec<Event>,
    ) -> Outcome {
        if *self != Self::default() {
            return refuse(ErrorCode::InvalidRequest, "the cluster has a state already");
        }
        for topic in topics {
            let topic = Arc::new(topic.clone());
            self.add_topic(&topic);
            events.push(Event::TopicCreated(topic));
        }
        let configs =
            configs.iter().map(|(resource, all)| (resource.clone(), Arc::new(all.clone())));
        self.configs = Arc::new(configs.collect());
        self.next_producer_id = next_producer_id;
        Ok(Applied::Done)
    }

    fn create_topic(&mut self, new: &NewTopic, events: &mut Vec<Event>) -> Outcome {
        if self.topics.contains_key(&new.name) {
            return refuse(
                ErrorCode::TopicAlreadyExists,
                format!("Topic '{}' already exists.", new.name),
            );
        }
        if let Some(other) = self.collision(&new.name) {
            let name = &new.name;
            let message = format!("Topic '{name}' collides with existing topic: {other}");
            return refuse(ErrorCode::InvalidTopic, message);
        }
        self.check_assignments(&new.assignments)?;
        if new.assignments.is_empty() {
            return refuse(ErrorCode::InvalidPartitions, "a topic needs a partition");
        }
        if self.names.contains_key(&new.id) || new.id.is_zero() {
            return refuse(
                ErrorCode::InvalidRequest,
                format!("topic id {} cannot be used", new.id),
            );
        }
        let partitions = self.placed(&new.assignments)?;
        let topic = Arc::new(TopicImage { name: new.name.clone(), id: new.id, partitions });
        self.add_topic(&topic);
        if !new.configs.is_empty() {
            let resource = ConfigResource::Topic(new.name.clone());
            Arc::make_mut(&mut self.configs).insert(resource, Arc::new(new.configs.clone()));
        }
        events.push(Event::TopicCreated(topic));
        Ok(Applied::Done)
    }

    /// Takes in a topic whose name and id are free.
    fn add_topic(&mut self, topic: &Arc<TopicImage>) {
        Arc::make_mut(&mut self.topics).insert(topic.name.clone(), Arc::clone(topic));
        Arc::make_mut(&mut self.names).insert(topic.id, topic.name.clone());
        if can_collide(&topic.name) {
            let key = topic.name.collision_key();
            Arc::make_mut(&mut self.collision_keys).insert(key, topic.name.clone());
        }
    }

    fn delete_topic(&mut self, id: TopicId, events: &mut Vec<Event>) -> Outcome {
        let Some(name) = Arc::make_mut(&mut self.names).remove(&id) else {
            return refuse(ErrorCode::UnknownTopicId, format!("there is no topic with id {id}"));
        };
        let topic = Arc::make_mut(&mut self.topics).remove(&name).expect("names and topics agree");
        Arc::make_mut(&mut self.collision_keys).remove(&name.collision_key());
        let resource = ConfigResource::Topic(name);
        if self.configs.contains_key(&resource) {
            Arc::make_mut(&mut self.configs).remove(&resource);
        }
        events.push(Event::TopicDeleted(topic));
        Ok(Applied::Done)
    }

    fn add_partitions(
        &mut self,
        id: TopicId,
        from: usize,
        assignments: &[Vec<BrokerId>],
        events: &mut Vec<Event>,
    ) -> Outcome {
        self.check_assignments(assignments)?;
        let added = self.placed(assignments)?;
        let Some(name) = self.names.get(&id).cloned() else {
            return refuse(ErrorCode::UnknownTopicId, format!("there is no topic with id {id}"));
        };
        let topic = Arc::make_mut(&mut self.topics).get_mut(&name).expect("names and topics agree");
        let count = topic.partitions.len();
        if count != from {
            let message = format!("topic '{name}' has {count} partitions by now, not {from}");
            return refuse(ErrorCode::InvalidPartitions, message);
        }
        Arc::make_mut(topic).partitions.extend(added);
        let first = PartitionId(i32::try_from(from).expect("partitions are counted in 31 bits"));
        events.push(Event::PartitionsAdded(Arc::clone(topic), first));
        Ok(Applied::Done)
    }

    /// New partitions, led by the first of their replicas that is there.
    fn placed(&self, assignments: &[Vec<BrokerId>]) -> Result<Vec<PartitionImage>, Refusal> {
        let is_active = |broker| self.is_active(broker);
        let placed = |replicas: &Vec<BrokerId>| PartitionImage::placed(replicas.clone(), is_active);
        let placed: Option<Vec<_>> = assignments.iter().map(placed).collect();
        placed.map_or_else(
            || {
                let message = "all replicas of a partition are fenced or in controlled shutdown";
                refuse(ErrorCode::InvalidReplicaAssignment, message)
            },
            Ok,
        )
    }

    pub(super) fn check_assignments(&self, assignments: &[Vec<BrokerId>]) -> Result<(), Refusal> {
        for replicas in assignments {
            if !PartitionImage::has_distinct_replicas(replicas) {
                let message = "a partition needs replicas, and each on another broker";
                return refuse(ErrorCode::InvalidReplicaAssignment, message);
            }
            if let Some(unknown) = replicas.iter().find(|id| !self.brokers.contains_key(id)) {
                let message = format!("there is no broker {unknown}");
                return refuse(ErrorCode::InvalidReplicaAssignment, message);
            }
        }
        Ok(())
    }

    /// Whether configs may change so. Who is eligible depends on `min.insync.replicas`, which therefore has one value for all
    /// brokers.
    ///
    /// # Errors
    /// A [`Refusal`] with INVALID_CONFIG, in the words of Apache Kafka (`ConfigurationControlManager`).
    pub fn check_config_changes(
        &self,
        resource: &ConfigResource,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), Refusal> {
        let Some(count) = changes.get(MIN_INSYNC_REPLICAS).filter(|_| self.has_eligible_leaders())
        else {
            return Ok(());
        };
        let message = match resource {
            ConfigResource::Broker(_) => {
                "Broker-level min.insync.replicas cannot be altered while ELR is enabled."
            }
            ConfigResource::AllBrokers if count.is_none() => {
                "Cluster-level min.insync.replicas cannot be removed while ELR is enabled."
            }
            ConfigResource::AllBrokers | ConfigResource::Topic(_) | ConfigResource::Group(_) => {
                return Ok(());
            }
        };
        refuse(ErrorCode::InvalidConfig, message)
    }

    fn alter_configs(
        &mut self,
        resource: &ConfigResource,
        changes: &BTreeMap<String, Option<String>>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        if let ConfigResource::Topic(name) = resource
            && !self.topics.contains_key(name)
        {
            let message = format!("The topic '{name}' does not exist.");
            return refuse(ErrorCode::UnknownTopicOrPartition, message);
        }
        self.check_config_changes(resource, changes)?;
        let mut configs = (*self.configs(resource)).clone();
        for (key, value) in changes {
            match value {
                Some(value) => configs.insert(key.clone(), value.clone()),
                None => configs.remove(key),
            };
        }
        let all = Arc::make_mut(&mut self.configs);
        if configs.is_empty() {
            all.remove(resource);
        } else {
            all.insert(resource.clone(), Arc::new(configs));
        }
        events.push(Event::ConfigsChanged(resource.clone()));
        if changes.contains_key(MIN_INSYNC_REPLICAS) && self.has_eligible_leaders() {
            self.forget_eligible(resource, events);
        }
        if changes.contains_key(UNCLEAN_LEADER_ELECTION) {
            self.reconsider(resource, events);
        }
        Ok(Applied::Done)
    }

    fn allocate_producer_ids(&mut self, broker: BrokerId, broker_epoch: i64) -> Outcome {
        self.check_broker_epoch(broker, broker_epoch)?;
        let first = self.next_producer_id;
        self.next_producer_id =
            first.checked_add(PRODUCER_ID_BLOCK).expect("63 bits of producer ids");
        Ok(Applied::ProducerIds(first))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use uuid::Uuid;

    use super::*;
    use crate::cluster::command::Registration;
    use crate::cluster::features::Direction;
    use crate::model::{TopicName, UuidText};

    fn register(broker: i32, start: u128) -> Command {
        Command::RegisterBroker(Registration::new(
            BrokerId(broker),
            UuidText(Uuid::from_u128(start)),
        ))
    }

    fn create(name: &str, id: u128, partitions: usize) -> Command {
        Command::CreateTopic(NewTopic {
            name: TopicName::new(name).unwrap(),
            id: TopicId(Uuid::from_u128(id)),
            assignments: vec![vec![BrokerId(1)]; partitions],
            configs: BTreeMap::new(),
        })
    }

    fn image() -> ClusterImage {
        let mut image = ClusterImage::default();
        image.apply(1, &register(1, 1)).0.unwrap();
        image
    }

    fn code(outcome: Outcome) -> ErrorCode {
        outcome.unwrap_err().code
    }

    #[test]
    fn a_name_can_be_given_again_and_gets_another_id() {
        let mut image = image();
        image.apply(2, &create("a", 7, 1)).0.unwrap();
        assert_eq!(code(image.apply(3, &create("a", 8, 1)).0), ErrorCode::TopicAlreadyExists);
        let id = TopicId(Uuid::from_u128(7));
        let (_, events) = image.apply(4, &Command::DeleteTopic { topic: id });
        assert!(matches!(&events[..], [Event::TopicDeleted(topic)] if topic.id == id));
        assert!(image.topic("a").is_none() && image.topic_by_id(id).is_none());
        image.apply(5, &create("a", 8, 1)).0.unwrap();
        assert_eq!(
            code(image.apply(6, &Command::DeleteTopic { topic: id }).0),
            ErrorCode::UnknownTopicId
        );
    }

    #[test]
    fn names_that_collide_are_refused_until_the_first_is_gone() {
        let mut image = image();
        image.apply(2, &create("a.b", 7, 1)).0.unwrap();
        assert_eq!(code(image.apply(3, &create("a_b", 8, 1)).0), ErrorCode::InvalidTopic);
        image.apply(4, &create("a-b", 9, 1)).0.unwrap();
        let delete = Command::DeleteTopic { topic: TopicId(Uuid::from_u128(7)) };
        image.apply(5, &delete).0.unwrap();
        image.apply(6, &create("a_b", 8, 1)).0.unwrap();
    }

    #[test]
    fn a_broker_that_comes_back_leads_in_a_new_epoch() {
        let mut image = image();
        image.apply(2, &create("a", 7, 2)).0.unwrap();
        let (outcome, _) = image.apply(9, &register(1, 2));
        assert_eq!(outcome, Ok(Applied::BrokerEpoch(9)));
        let epochs = image.topic("a").unwrap().partitions.iter().map(|p| p.leader_epoch.0);
        assert_eq!(epochs.collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn producer_ids_are_given_once() {
        let mut image = image();
        let allocate =
            |epoch| Command::AllocateProducerIds { broker: BrokerId(1), broker_epoch: epoch };
        assert_eq!(image.apply(2, &allocate(1)).0, Ok(Applied::ProducerIds(0)));
        assert_eq!(image.apply(3, &allocate(1)).0, Ok(Applied::ProducerIds(1000)));
        assert_eq!(code(image.apply(4, &allocate(0)).0), ErrorCode::StaleBrokerEpoch);
    }

    #[test]
    fn features_change_together_or_not_at_all() {
        let mut image = image();
        let update = |updates: &[(&str, i16, Direction)]| Command::UpdateFeatures {
            updates: updates
                .iter()
                .map(|(name, level, direction)| {
                    let update = FeatureUpdate { level: *level, direction: *direction };
                    ((*name).to_owned(), update)
                })
                .collect(),
        };
        let up = Direction::Upgrade;
        image.apply(2, &update(&[("a", 2, up), ("b", 1, up)])).0.unwrap();
        let refused = image.apply(3, &update(&[("a", 3, up), ("b", 0, up)])).0;
        assert_eq!(code(refused), ErrorCode::InvalidUpdateVersion);
        assert_eq!((image.feature("a"), image.feature("b")), (2, 1));
        image.apply(3, &update(&[("a", 1, Direction::SafeDowngrade)])).0.unwrap();
        image.apply(4, &update(&[("b", 0, Direction::UnsafeDowngrade)])).0.unwrap();
        assert_eq!(*image.features(), [("a".to_owned(), 1)].into());
    }

    #[test]
    fn configs_are_merged_and_go_with_their_topic() {
        let mut image = image();
        image.apply(2, &create("a", 7, 1)).0.unwrap();
        let resource = ConfigResource::Topic(TopicName::new("a").unwrap());
        let alter = |key: &str, value: Option<&str>| Command::AlterConfigs {
            resource: resource.clone(),
            changes: [(key.to_owned(), value.map(str::to_owned))].into(),
        };
        for (key, value) in [("x", Some("1")), ("y", Some("2")), ("x", None)] {
            image.apply(3, &alter(key, value)).0.unwrap();
        }
        assert_eq!(*image.configs(&resource), [("y".to_owned(), "2".to_owned())].into());
        image.apply(4, &Command::DeleteTopic { topic: TopicId(Uuid::from_u128(7)) }).0.unwrap();
        assert!(image.configs(&resource).is_empty());
        let unknown = image.apply(5, &alter("x", Some("1"))).0;
        assert_eq!(code(unknown), ErrorCode::UnknownTopicOrPartition);
    }

    #[test]
    fn partitions_are_added_to_the_count_that_was_seen() {
        let mut image = image();
        image.apply(2, &create("a", 7, 2)).0.unwrap();
        let add = |from, broker| Command::AddPartitions {
            topic: TopicId(Uuid::from_u128(7)),
            from,
            assignments: vec![vec![BrokerId(broker)]; 2],
        };
        assert_eq!(code(image.apply(3, &add(1, 1)).0), ErrorCode::InvalidPartitions);
        assert_eq!(code(image.apply(3, &add(2, 9)).0), ErrorCode::InvalidReplicaAssignment);
        let (_, events) = image.apply(4, &add(2, 1));
        assert!(
            matches!(&events[..], [Event::PartitionsAdded(topic, PartitionId(2))] if topic.partitions.len() == 4)
        );
    }

    proptest! {
        #[test]
        fn a_snapshot_is_the_state(
            steps in proptest::collection::vec(
                prop_oneof![
                    (0_usize..5, 0_u128..8).prop_map(|(name, id)| {
                        create(["a", "b.c", "b_c", "d", "e_"][name], id + 1, 1 + id as usize % 3)
                    }),
                    (0_u128..8).prop_map(|id| {
                        Command::DeleteTopic { topic: TopicId(Uuid::from_u128(id + 1)) }
                    }),
                    (1_u128..9).prop_map(|start| register(1, start)),
                    Just(Command::AllocateProducerIds { broker: BrokerId(1), broker_epoch: 1 }),
                    (0_i16..3, 1_i8..4).prop_map(|(level, direction)| {
                        let direction = Direction::from_code(direction).unwrap();
                        let update = FeatureUpdate { level, direction };
                        Command::UpdateFeatures { updates: [("f".to_owned(), update)].into() }
                    }),
                    (0_i32..3).prop_map(|key| Command::AlterConfigs {
                        resource: ConfigResource::Group("g:x".into()),
                        changes: [(key.to_string(), (key > 0).then(|| "v".to_owned()))].into(),
                    }),
                ],
                0..30,
            ),
        ) {
            let mut image = image();
            for (command, index) in steps.iter().zip(2..) {
                let json = serde_json::to_string(command).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Command>(&json).unwrap(), command);
                let before = image.clone();
                let (outcome, events) = image.apply(index, command);
                prop_assert!(outcome.is_ok() || (image == before && events.is_empty()));
                let read = ClusterImage::from_json(&image.to_json()).unwrap();
                prop_assert_eq!(&read, &image);
            }
        }
    }
}
