//! What a broker looks like from outside the protocol: the plain values behind metrics, the JSON API and the start page.
//!
//! Owns nothing: each call reads the newest image and asks partitions and groups. What is not there for a moment (a group
//! whose log is still being read) is left out.

use std::sync::Arc;

use super::context::Services;
use super::groups::ask_shard;
use crate::cluster::{PartitionImage, TopicImage};
use crate::group::command::{ListGroups, OffsetFetch};
use crate::group::{Command, Reply};
use crate::log::{LogEnds, ProducerCensus};
use crate::model::{BrokerId, LeaderEpoch, Offset, PartitionId, TopicId, UnixMillis};
use crate::telemetry::{HistogramCounts, TrafficCounts};
use crate::txn::{self, State};
use crate::wire::Text;

/// A topic.
#[derive(Clone, Debug)]
pub struct TopicOverview {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: TopicId,
    /// Whether the broker made it for itself.
    pub internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionOverview>,
    /// What clients wrote and read since the broker was started.
    pub traffic: TrafficCounts,
}

/// A partition.
#[derive(Clone, Debug)]
pub struct PartitionOverview {
    /// Its index.
    pub index: PartitionId,
    /// Its leader; none while there is none.
    pub leader: Option<BrokerId>,
    /// The epoch of that leader.
    pub leader_epoch: LeaderEpoch,
    /// Its replicas, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those that are in sync.
    pub isr: Vec<BrokerId>,
    /// `min.insync.replicas`, at most the number of replicas.
    pub min_isr: usize,
    /// This broker's log; none if it has no replica, or could not open it.
    pub log: Option<LogOverview>,
}

/// A log.
#[derive(Clone, Copy, Debug)]
pub struct LogOverview {
    /// Its offsets.
    pub ends: LogEnds,
    /// The size of its segments in bytes.
    pub size_bytes: u64,
    /// Its idempotent producers.
    pub producers: ProducerCensus,
}

impl LogOverview {
    /// Whether a transaction is open for longer than it may be, as Apache Kafka counts (`hasLateTransaction`): the longest
    /// time that a producer may ask for, and five minutes.
    #[must_use]
    pub fn has_late_transaction(&self, now: UnixMillis, timeout_ms_max: i32) -> bool {
        const GRACE_MS: i64 = 5 * 60 * 1000;
        let at = self.producers.oldest_transaction_at;
        at.is_some_and(|at| at.0 > 0 && now.millis_since(at) > i64::from(timeout_ms_max) + GRACE_MS)
    }
}

/// A group that this broker coordinates.
#[derive(Clone, Debug)]
pub struct GroupOverview {
    /// Its id.
    pub id: Text,
    /// `classic` or `consumer`.
    pub kind: Text,
    /// Its state, as ListGroups calls it.
    pub state: Text,
    /// How many members it has.
    pub member_count: usize,
    /// What it has committed: topic, partition, offset.
    pub offsets: Vec<(Text, PartitionId, Offset)>,
}

/// The transactions that this broker coordinates.
#[derive(Clone, Debug)]
pub struct TransactionsOverview {
    /// How many transactional ids are in which state, by its name in the protocol. All states that last are there.
    pub states: Vec<(&'static str, usize)>,
    /// Markers that wait since their partitions could not take them.
    pub waiting_markers: usize,
    /// How long transactions took that were committed.
    pub committed: HistogramCounts,
    /// How long transactions took that were aborted.
    pub aborted: HistogramCounts,
}

/// The states that a transactional id may stay in.
const LASTING_STATES: [State; 6] = [
    State::Empty,
    State::Ongoing,
    State::PrepareCommit,
    State::PrepareAbort,
    State::CompleteCommit,
    State::CompleteAbort,
];

impl Services {
    /// Whether this node is in touch with a majority of the controllers. Clients get nothing from a broker that is not: others may
    /// lead by now what it leads.
    #[must_use]
    pub fn is_in_touch(&self) -> bool {
        let is_broker = self.view.borrow().settings.broker().roles.is_broker();
        if is_broker {
            self.replicas.is_in_session()
        } else {
            self.quorum.status().leader.is_some()
        }
    }

    /// All topics, by name.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicOverview> {
        let image = Arc::clone(&self.view.borrow().image);
        image.topics().map(|topic| self.topic_overview(topic)).collect()
    }

    fn topic_overview(&self, topic: &TopicImage) -> TopicOverview {
        let mut traffic = TrafficCounts::default();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (index, state) in topic.indexed_partitions() {
            let (partition, counts) = self.partition_overview(topic.id, index, state);
            traffic += counts;
            partitions.push(partition);
        }
        TopicOverview {
            name: topic.name.to_string(),
            id: topic.id,
            internal: topic.name.is_internal(),
            partitions,
            traffic,
        }
    }

    fn partition_overview(
        &self,
        topic: TopicId,
        index: PartitionId,
        state: &PartitionImage,
    ) -> (PartitionOverview, TrafficCounts) {
        let partition = self.replicas.partition(topic, index);
        let log = partition.as_ref().and_then(|partition| {
            let log = partition.log().ok()?;
            Some(LogOverview {
                ends: log.ends(),
                size_bytes: log.size_bytes(),
                producers: log.producer_census(),
            })
        });
        let min_isr = partition
            .as_ref()
            .map_or(1, |partition| partition.config().min_insync_replicas as usize);
        let overview = PartitionOverview {
            index,
            leader: state.leader,
            leader_epoch: state.leader_epoch,
            replicas: state.replicas.clone(),
            isr: state.isr.clone(),
            min_isr: min_isr.min(state.replicas.len()),
            log,
        };
        let counts = partition.map_or_else(TrafficCounts::default, |p| p.traffic().counts());
        (overview, counts)
    }

    /// The groups that this broker coordinates, by id, with what they have committed. Takes two questions for each group, and lets
    /// others go on in between: their owners may answer on the spot.
    pub async fn groups_overview(&self) -> Vec<GroupOverview> {
        let mut groups = Vec::new();
        for partition in self.groups.partitions() {
            let command = Command::ListGroups { request: ListGroups::default() };
            let Ok(Reply::ListGroups(listed)) = ask_shard(self, partition, command).await else {
                continue;
            };
            for group in listed {
                tokio::task::yield_now().await;
                let id = group.group_id.0;
                let kind = group.group_type;
                groups.push(GroupOverview {
                    member_count: self.member_count(partition, &id, &kind).await,
                    offsets: self.committed(partition, &id).await,
                    state: group.group_state,
                    kind,
                    id,
                });
            }
        }
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        groups
    }

    /// The transactions that this broker coordinates. Takes a question for each partition of their topic.
    pub async fn transactions_overview(&self) -> TransactionsOverview {
        let mut counts = LASTING_STATES.map(|state| (state, 0));
        for partition in self.transactions.partitions() {
            let asked = self.transactions.ask(partition, txn::Command::Count).await;
            let Ok(txn::Reply::Counted(counted)) = asked else { continue };
            for (state, count) in &mut counts {
                *count += counted.get(state).copied().unwrap_or(0);
            }
        }
        let durations = self.markers.durations();
        TransactionsOverview {
            states: counts.into_iter().map(|(state, count)| (state.name(), count)).collect(),
            waiting_markers: self.markers.waiting(),
            committed: durations.committed.counts(),
            aborted: durations.aborted.counts(),
        }
    }

    async fn member_count(&self, partition: PartitionId, id: &Text, kind: &str) -> usize {
        let group = id.clone();
        let command = if kind == "consumer" {
            Command::ConsumerGroupDescribe { group }
        } else {
            Command::DescribeGroup { group, api_version: 0 }
        };
        match ask_shard(self, partition, command).await {
            Ok(Reply::ConsumerGroupDescribe(described)) => described.members.len(),
            Ok(Reply::DescribeGroup(described)) => described.members.len(),
            Ok(_) | Err(_) => 0,
        }
    }

    async fn committed(
        &self,
        partition: PartitionId,
        id: &Text,
    ) -> Vec<(Text, PartitionId, Offset)> {
        let request = OffsetFetch { group: id.clone(), member_epoch: -1, ..OffsetFetch::default() };
        match ask_shard(self, partition, Command::OffsetFetch { request }).await {
            Ok(Reply::OffsetFetch(Ok(topics))) => topics
                .into_iter()
                .flat_map(|topic| {
                    topic.partitions.into_iter().map(move |at| (topic.name.clone(), at))
                })
                .filter(|(_, at)| at.offset.0 >= 0)
                .map(|(topic, at)| (topic, at.partition, at.offset))
                .collect(),
            Ok(_) | Err(_) => Vec::new(),
        }
    }
}
