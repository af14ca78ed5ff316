//! Asking for the offsets of partitions: first, last, by time.

use std::collections::BTreeMap;

use super::cluster::{Cluster, Target};
use super::error::ClientError;
use super::metadata::{Metadata, Topics};
use super::refusal::check;
use crate::model::{BrokerId, LeaderEpoch, Offset, PartitionId};
use crate::wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::{ApiKey, ListOffsetsRequest, Text};

/// What is asked about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The first offset that is there.
    Earliest,
    /// The end: the offset that the next record will get.
    Latest,
    /// The end of what is committed by transactions.
    LatestCommitted,
    /// The first record at or after a time, in milliseconds since 1970.
    AtTime(i64),
    /// The record with the largest timestamp.
    MaxTimestamp,
}

impl OffsetQuery {
    const fn timestamp(self) -> i64 {
        match self {
            Self::Latest | Self::LatestCommitted => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::AtTime(millis) => millis,
        }
    }
}

/// What a partition answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` if there is no such record.
    pub offset: Option<Offset>,
    /// The timestamp of the record, -1 for none.
    pub timestamp: i64,
}

impl Cluster {
    /// Asks the leaders of partitions, each once, all leaders side by side in their pipelines.
    /// Repeats if leaders have changed.
    ///
    /// # Errors
    /// When a partition is not there, has no leader for the time of an operation, or a broker refuses.
    pub async fn list_offsets(
        &self,
        queries: &[(String, PartitionId, OffsetQuery)],
    ) -> Result<BTreeMap<(String, PartitionId), ListedOffset>, ClientError> {
        self.retry(async || self.list_offsets_once(queries).await).await
    }

    async fn list_offsets_once(
        &self,
        queries: &[(String, PartitionId, OffsetQuery)],
    ) -> Result<BTreeMap<(String, PartitionId), ListedOffset>, ClientError> {
        let mut names: Vec<&str> = queries.iter().map(|(topic, ..)| topic.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let metadata = self.metadata(Topics::Named(&names)).await?;
        let mut by_leader: BTreeMap<(BrokerId, i8), Vec<_>> = BTreeMap::new();
        for (topic, partition, query) in queries {
            let (leader, _) = metadata.leader_of(topic, *partition)?;
            let isolation = i8::from(*query == OffsetQuery::LatestCommitted);
            by_leader.entry((leader, isolation)).or_default().push((topic, *partition, *query));
        }
        let deadline = self.env().steady.now().plus(self.options().request_timeout);
        let mut pending = Vec::new();
        for ((leader, isolation_level), partitions) in by_leader {
            let connection = self.connection(Target::Node(leader)).await?;
            let version = connection.version_up_to(ApiKey::ListOffsets, i16::MAX)?;
            let request = ListOffsetsRequest {
                replica_id: BrokerId(-1),
                isolation_level,
                topics: topics_of(&partitions),
                timeout_ms: i32::try_from(self.options().request_timeout.as_millis())
                    .unwrap_or(i32::MAX),
            };
            pending.push((connection.send(version, &request).await?, connection, version));
        }
        let mut found = BTreeMap::new();
        for (pending, connection, version) in pending {
            for topic in pending.receive(deadline).await?.topics {
                for partition in topic.partitions {
                    let (name, index) = (topic.name.to_string(), partition.partition_index);
                    let subject = || format!("{name} partition {index}");
                    check(ApiKey::ListOffsets, partition.error_code.code(), subject, None)
                        .map_err(|refusal| refusal.asked(&connection, version))?;
                    let offset = Some(partition.offset).filter(|offset| offset.0 >= 0);
                    let listed = ListedOffset { offset, timestamp: partition.timestamp };
                    found.insert((name, index), listed);
                }
            }
        }
        Ok(found)
    }
}

fn topics_of(partitions: &[(&String, PartitionId, OffsetQuery)]) -> Vec<ListOffsetsTopic> {
    let mut topics: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (topic, partition, query) in partitions {
        topics.entry(topic).or_default().push(ListOffsetsPartition {
            partition_index: *partition,
            current_leader_epoch: LeaderEpoch::UNKNOWN,
            timestamp: query.timestamp(),
        });
    }
    let topic = |(name, partitions): (&str, Vec<_>)| ListOffsetsTopic {
        name: Text::from_string(name.to_owned()),
        partitions,
    };
    topics.into_iter().map(topic).collect()
}

impl Metadata {
    /// Who leads a partition, and since when.
    ///
    /// # Errors
    /// The refusal of the topic or of the partition if it is not there; [`ClientError::NoLeader`].
    pub fn leader_of(
        &self,
        topic: &str,
        partition: PartitionId,
    ) -> Result<(BrokerId, LeaderEpoch), ClientError> {
        let missing = |code: crate::model::ErrorCode, subject: String| {
            let refused = check(ApiKey::Metadata, code.code(), || subject, None);
            refused.err().map(ClientError::from)
        };
        let unknown = crate::model::ErrorCode::UnknownTopicOrPartition;
        let found = self.topic(topic);
        let code = found.map_or(unknown, |topic| topic.error);
        if let Some(error) = missing(code, format!("topic '{topic}'")) {
            return Err(error);
        }
        let found = found.and_then(|found| {
            found.partitions.iter().find(|candidate| candidate.index == partition)
        });
        let code = if found.is_some() { crate::model::ErrorCode::None } else { unknown };
        if let Some(error) = missing(code, format!("{topic} partition {partition}")) {
            return Err(error);
        }
        let none = || ClientError::NoLeader { topic: topic.to_owned(), partition: partition.0 };
        let found = found.ok_or_else(none)?;
        found.leader.map(|leader| (leader, found.leader_epoch)).ok_or_else(none)
    }
}
