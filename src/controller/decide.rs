//! Decisions that are made once, by the proposer, and written into commands. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::cluster::{BrokerImage, ClusterImage, Command, Refusal, refuse};
use crate::model::{BrokerId, ErrorCode};

/// Chooses replicas for `partitions` new partitions among the brokers of a cluster. Leaders go round among those that are not
/// fenced, beginning with number `first`. Followers are on other racks as far as there are any, then not fenced as far as
/// that goes, and of partitions with the same leader on different brokers. Nothing is placed on a broker that is about to stop
/// (one that has stopped is one that is fenced), or whose directories are all cordoned.
///
/// Source: `StripedReplicaPlacer` of Apache Kafka, for what is wanted; the order is another one.
///
/// # Errors
/// A [`Refusal`] if there are fewer brokers than replicas, all are fenced or cordoned, or no replica is asked for.
pub fn place(
    image: &ClusterImage,
    partitions: usize,
    replication_factor: i16,
    first: usize,
) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    let is_usable = |broker: &&BrokerImage| {
        (!broker.shutting_down || broker.fenced) && !image.is_cordoned(broker)
    };
    let usable: Vec<_> = image.brokers().filter(is_usable).collect();
    let leaders = alternate_racks(usable.iter().copied().filter(|broker| !broker.fenced));
    let fenced = alternate_racks(usable.iter().copied().filter(|broker| broker.fenced));
    let replicas = usize::try_from(replication_factor).unwrap_or(0);
    let wrong = |message: String| refuse(ErrorCode::InvalidReplicationFactor, message);
    if replicas == 0 {
        return wrong(format!(
            "Invalid replication factor {replication_factor}: the replication factor must be positive."
        ));
    }
    if leaders.is_empty() {
        let message =
            "All brokers are currently fenced, or have all their log directories cordoned.";
        return wrong(message.to_owned());
    }
    if replicas > usable.len() {
        let count = usable.len();
        return wrong(format!(
            "The target replication factor of {replication_factor} cannot be reached because only {count} broker(s) are \
             registered or some brokers have all their log directories cordoned."
        ));
    }
    let placed = (0..partitions).map(|partition| {
        let round = partition / leaders.len();
        let mut others = leaders.clone();
        others.rotate_left((first % leaders.len() + partition) % leaders.len());
        let leader = others.remove(0);
        if !others.is_empty() {
            let shift = round % others.len();
            others.rotate_left(shift);
        }
        others.extend(&fenced);
        followers(leader, others, replicas)
    });
    Ok(placed.collect())
}

/// A leader and its followers: again and again the first of the others whose rack has the fewest of them.
fn followers(
    leader: &BrokerImage,
    mut others: Vec<&BrokerImage>,
    replicas: usize,
) -> Vec<BrokerId> {
    let mut chosen = vec![leader];
    while chosen.len() < replicas {
        let in_rack =
            |other: &&BrokerImage| chosen.iter().filter(|chosen| chosen.rack == other.rack).count();
        let next = others.iter().enumerate().min_by_key(|(_, other)| in_rack(other));
        let Some((next, _)) = next else { break };
        chosen.push(others.remove(next));
    }
    chosen.into_iter().map(|broker| broker.id).collect()
}

/// Brokers such that neighbours are on different racks, as far as that goes.
fn alternate_racks<'a>(brokers: impl Iterator<Item = &'a BrokerImage>) -> Vec<&'a BrokerImage> {
    let mut racks: BTreeMap<Option<&str>, Vec<&BrokerImage>> = BTreeMap::new();
    for broker in brokers {
        racks.entry(broker.rack.as_deref()).or_default().push(broker);
    }
    let mut numbered: Vec<_> =
        racks.into_values().flat_map(|rack| rack.into_iter().enumerate()).collect();
    // Stable: within a round the racks stay in their order.
    numbered.sort_by_key(|(round, _)| *round);
    numbered.into_iter().map(|(_, broker)| broker).collect()
}

/// Gives partitions back to their preferred leaders, at most `most` of them: those that have another leader though the
/// preferred one is in sync and there. The brokers that lead the most come first.
///
/// Source: `ReplicationControlManager.maybeBalancePartitionLeaders` of Apache Kafka.
#[must_use]
pub fn preferred_elections(image: &ClusterImage, most: usize) -> Vec<Command> {
    let mut found = Vec::new();
    let mut led: BTreeMap<BrokerId, usize> = BTreeMap::new();
    for topic in image.topics() {
        for (partition, state) in topic.indexed_partitions() {
            let Some(leader) = state.leader else { continue };
            *led.entry(leader).or_default() += 1;
            let preferred = state.replicas.first().filter(|preferred| **preferred != leader);
            let can_lead = |preferred: &&BrokerId| {
                state.isr.contains(preferred) && image.is_active(**preferred)
            };
            if preferred.is_some_and(|preferred| can_lead(&preferred)) {
                found.push((
                    leader,
                    Command::ElectLeaders { topic: topic.id, partition, unclean: false },
                ));
            }
        }
    }
    found.sort_by_key(|(leader, _)| Reverse(led.get(leader).copied()));
    found.into_iter().take(most).map(|(_, command)| command).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::cluster::{ConfigResource, NewTopic, Registration};
    use crate::model::{PartitionId, TopicId, TopicName, UuidText};

    /// Brokers with their racks; those with a negative number are fenced.
    fn cluster(brokers: &[(i32, &str)]) -> ClusterImage {
        let mut image = ClusterImage::default();
        for ((id, rack), index) in brokers.iter().zip(1_u64..) {
            let registration = Registration {
                rack: (!rack.is_empty()).then(|| (*rack).to_owned()),
                fenced: *id < 0,
                ..Registration::new(BrokerId(id.abs()), UuidText(Uuid::from_u128(index.into())))
            };
            image.apply(index, &Command::RegisterBroker(registration)).0.unwrap();
        }
        image
    }

    fn placed(
        brokers: &[(i32, &str)],
        partitions: usize,
        factor: i16,
        first: usize,
    ) -> Vec<Vec<i32>> {
        let placed = place(&cluster(brokers), partitions, factor, first).unwrap();
        placed.iter().map(|replicas| replicas.iter().map(|id| id.0).collect()).collect()
    }

    #[test]
    fn leaders_go_round_and_followers_too() {
        let brokers = [(1, ""), (2, ""), (5, "")];
        let expected = [[2, 5], [5, 1], [1, 2], [2, 1], [5, 2], [1, 5]];
        assert_eq!(placed(&brokers, 6, 2, 4), expected);
        assert_eq!(placed(&[(1, "")], 2, 1, usize::MAX), [[1], [1]]);
    }

    #[test]
    fn racks_come_first_and_the_fenced_last() {
        let brokers = [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c")];
        for replicas in placed(&brokers, 50, 3, 0) {
            let racks = replicas.iter().map(|id| brokers[usize::try_from(*id - 1).unwrap()].1);
            let racks: std::collections::BTreeSet<_> = racks.collect();
            assert_eq!(racks.len(), 3, "{replicas:?}");
        }
        assert_eq!(placed(&[(-1, ""), (2, ""), (3, "")], 3, 2, 0), [[2, 3], [3, 2], [2, 3]]);
        assert_eq!(placed(&[(-1, ""), (2, ""), (3, "")], 1, 3, 0), [[2, 3, 1]]);
        assert_eq!(placed(&[(-1, "a"), (2, "b"), (3, "b")], 1, 2, 0), [[2, 1]]);
    }

    #[test]
    fn a_broker_that_has_stopped_may_come_back() {
        let mut image = cluster(&[(1, ""), (2, "")]);
        let (broker, broker_epoch) = (BrokerId(2), 2);
        image.apply(8, &Command::BeginShutdown { broker, broker_epoch }).0.unwrap();
        place(&image, 1, 2, 0).unwrap_err();
        image.apply(9, &Command::FenceBroker { broker, broker_epoch }).0.unwrap();
        assert_eq!(place(&image, 1, 2, 0).unwrap(), [[BrokerId(1), BrokerId(2)]]);
    }

    #[test]
    fn too_few_brokers_are_refused() {
        let refused = |brokers: &[(i32, &str)], factor| {
            let refusal = place(&cluster(brokers), 1, factor, 0).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::InvalidReplicationFactor, "{factor}");
            refusal.message
        };
        for factor in [-1, 0] {
            refused(&[(1, "")], factor);
        }
        let few = "The target replication factor of 2 cannot be reached because only 1 broker(s) are registered or some \
                   brokers have all their log directories cordoned.";
        assert_eq!(refused(&[(1, "")], 2), few);
        let none = "All brokers are currently fenced, or have all their log directories cordoned.";
        assert_eq!(refused(&[(-1, "")], 1), none);
        refused(&[], 1);
    }

    #[test]
    fn brokers_whose_directories_are_all_cordoned_get_nothing_new() {
        let text = |dirs: &[&str]| dirs.iter().map(|dir| (*dir).to_owned()).collect::<Vec<_>>();
        let mut image = ClusterImage::default();
        for (id, cordoned) in [(1, &["/a", "/b"][..]), (2, &["/a"]), (3, &["*"]), (4, &[])] {
            let registration = Registration {
                log_dirs: text(&["/a", "/b"]),
                cordoned_log_dirs: text(cordoned),
                ..Registration::new(BrokerId(id), UuidText(Uuid::from_u128(1)))
            };
            image.apply(1, &Command::RegisterBroker(registration)).0.unwrap();
        }
        let usable = |image: &ClusterImage| {
            let mut all: Vec<_> =
                place(image, 8, 1, 0).unwrap_or_default().iter().map(|it| it[0].0).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        assert_eq!(usable(&image), [2, 4]);
        // What is set while the cluster runs counts, and not what they were started with.
        let mut set = |id, value: Option<&str>| {
            let changes = [("cordoned.log.dirs".to_owned(), value.map(str::to_owned))].into();
            let resource = ConfigResource::Broker(BrokerId(id));
            image.apply(2, &Command::AlterConfigs { resource, changes }).0.unwrap();
            usable(&image)
        };
        assert_eq!(set(1, Some("")), [1, 2, 4]);
        assert_eq!(set(4, Some("/b, /a")), [1, 2]);
        assert_eq!(set(2, Some("*")), [1]);
        assert_eq!(set(1, None), [0; 0]);
    }

    #[test]
    fn partitions_go_back_to_who_is_in_sync_again() {
        let mut image = cluster(&[(1, ""), (2, ""), (3, "")]);
        let id = TopicId(Uuid::from_u128(7));
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
        let topic = NewTopic {
            name: TopicName::new("t").unwrap(),
            id,
            assignments: vec![ids(&[1, 2]), ids(&[2, 3]), ids(&[1, 3])],
            configs: BTreeMap::new(),
        };
        image.apply(9, &Command::CreateTopic(topic)).0.unwrap();
        assert_eq!(preferred_elections(&image, 9), []);
        image.apply(10, &Command::FenceBroker { broker: BrokerId(1), broker_epoch: 1 }).0.unwrap();
        image
            .apply(11, &Command::UnfenceBroker { broker: BrokerId(1), broker_epoch: 1 })
            .0
            .unwrap();
        assert_eq!(preferred_elections(&image, 9), [], "not in sync yet");
        let mut json: serde_json::Value = serde_json::from_slice(&image.to_json()).unwrap();
        for partition in [0, 2] {
            json["topics"]["t"]["partitions"][partition]["isr"] = serde_json::json!([1, 2, 3]);
        }
        let image = ClusterImage::from_json(&serde_json::to_vec(&json).unwrap()).unwrap();
        let elect = |partition| Command::ElectLeaders {
            topic: id,
            partition: PartitionId(partition),
            unclean: false,
        };
        // 2 leads two partitions.
        assert_eq!(preferred_elections(&image, 9), [elect(0), elect(2)]);
        assert_eq!(preferred_elections(&image, 1), [elect(0)]);
    }
}
