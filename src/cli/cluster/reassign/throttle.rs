//! How fast replicas are copied while they move: the settings that `kafka-reassign-partitions --throttle` makes too.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Move;
use crate::cli::configs::{ConfigSetting, alter_configs};
use crate::cli::failure::Failure;
use crate::cli::output::list;
use crate::client::Cluster;
use crate::model::BrokerId;

const RATES: [&str; 2] =
    ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
const FROM: &str = "leader.replication.throttled.replicas";
const TO: &str = "follower.replication.throttled.replicas";

/// Holds the brokers of these moves to so many bytes a second, each, for what moves.
pub(super) async fn set(cluster: &Cluster, moves: &[Move], rate: usize) -> Result<(), Failure> {
    let mut topics: BTreeMap<&str, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for it in moves {
        let (from, to) = topics.entry(&it.topic).or_default();
        let replica = |broker: BrokerId| format!("{}:{broker}", it.partition);
        from.extend(it.from.iter().copied().map(replica));
        to.extend(it.added().map(replica));
    }
    for (topic, (from, to)) in topics {
        let set = [(FROM.to_owned(), list(from)), (TO.to_owned(), list(to))];
        alter_configs(cluster, ConfigSetting::TOPIC, topic, &set, &[]).await?;
    }
    let rates = RATES.map(|name| (name.to_owned(), rate.to_string()));
    for broker in brokers(moves) {
        let broker = broker.to_string();
        alter_configs(cluster, ConfigSetting::BROKER, &broker, &rates, &[]).await?;
    }
    Ok(())
}

/// Takes the settings away from these topics and brokers.
pub(super) async fn unset(
    cluster: &Cluster,
    topics: &BTreeSet<&str>,
    brokers: &BTreeSet<BrokerId>,
) -> Result<(), Failure> {
    for topic in topics {
        let unset = [FROM.to_owned(), TO.to_owned()];
        alter_configs(cluster, ConfigSetting::TOPIC, topic, &[], &unset).await?;
    }
    for broker in brokers {
        let unset = RATES.map(str::to_owned);
        alter_configs(cluster, ConfigSetting::BROKER, &broker.to_string(), &[], &unset).await?;
    }
    Ok(())
}

/// All that have something to do with these moves.
pub(super) fn brokers(moves: &[Move]) -> BTreeSet<BrokerId> {
    moves.iter().flat_map(|it| it.from.iter().chain(&it.to)).copied().collect()
}
