//! How far groups have read: asking and telling their coordinator.

use std::collections::BTreeMap;

use super::cluster::{Cluster, CoordinatorKind, Target};
use super::error::ClientError;
use super::refusal::check;
use crate::model::{Offset, PartitionId, TopicId};
use crate::wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::offset_fetch::OffsetFetchRequestGroup;
use crate::wire::{ApiKey, OffsetCommitRequest, OffsetFetchRequest, Text};

/// The offset that a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Where the group goes on.
    pub offset: Offset,
    /// Leader epoch of the last record that was read, -1 if not known.
    pub leader_epoch: i32,
    /// What the member wanted to remember.
    pub metadata: String,
}

/// In whose name offsets are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committer {
    /// The member; empty for nobody in particular, which works while the group has no members.
    pub member_id: String,
    /// Its generation, -1 for nobody in particular.
    pub generation: i32,
}

impl Committer {
    /// Nobody in particular.
    #[must_use]
    pub const fn nobody() -> Self {
        Self { member_id: String::new(), generation: -1 }
    }
}

impl Cluster {
    /// All offsets that a group has committed. A group that is not there has none.
    ///
    /// # Errors
    /// When the coordinator refuses or cannot be found.
    pub async fn committed_offsets(
        &self,
        group: &str,
    ) -> Result<BTreeMap<(String, PartitionId), CommittedOffset>, ClientError> {
        self.retry(async || self.committed_offsets_once(group).await).await
    }

    async fn committed_offsets_once(
        &self,
        group: &str,
    ) -> Result<BTreeMap<(String, PartitionId), CommittedOffset>, ClientError> {
        let coordinator = self.coordinator(CoordinatorKind::Group, group).await?;
        let make = |version| {
            let group_id = Text::from_string(group.to_owned());
            let mut request = OffsetFetchRequest {
                group_id: Text::default(),
                topics: None,
                groups: Vec::new(),
                require_stable: false,
            };
            if version >= GROUPS_SINCE {
                request.groups = vec![OffsetFetchRequestGroup {
                    group_id,
                    member_id: None,
                    member_epoch: -1,
                    topics: None,
                }];
            } else {
                request.group_id = group_id;
            }
            request
        };
        let target = Target::Node(coordinator);
        let response = self.request_with(target, LAST_FETCH_WITH_NAMES, make).await?;
        let (code, topics) = match response.groups.into_iter().next() {
            Some(group) => (group.error_code, group.topics),
            None => (response.error_code, response.topics),
        };
        check(ApiKey::OffsetFetch, code.code(), || format!("group '{group}'"), None)?;
        let mut committed = BTreeMap::new();
        for topic in topics {
            for partition in topic.partitions {
                let (name, index) = (topic.name.to_string(), partition.partition_index);
                let subject = || format!("{name} partition {index} in group '{group}'");
                check(ApiKey::OffsetFetch, partition.error_code.code(), subject, None)?;
                if partition.committed_offset.0 >= 0 {
                    let offset = CommittedOffset {
                        offset: partition.committed_offset,
                        leader_epoch: partition.committed_leader_epoch,
                        metadata: partition.metadata.as_deref().unwrap_or_default().to_owned(),
                    };
                    committed.insert((name, index), offset);
                }
            }
        }
        Ok(committed)
    }

    /// Commits offsets of a group.
    ///
    /// # Errors
    /// When the coordinator refuses one of them or cannot be found.
    pub async fn commit_offsets(
        &self,
        group: &str,
        committer: &Committer,
        offsets: &BTreeMap<(String, PartitionId), Offset>,
    ) -> Result<(), ClientError> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.retry(async || {
            let coordinator = self.coordinator(CoordinatorKind::Group, group).await?;
            let make = |_| commit_request(group, committer, offsets);
            let target = Target::Coordinator(coordinator);
            let response = self.request_with(target, LAST_COMMIT_WITH_NAMES, make).await?;
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let index = partition.partition_index;
                    let subject =
                        || format!("{} partition {index} in group '{group}'", &*topic.name);
                    check(ApiKey::OffsetCommit, partition.error_code.code(), subject, None)?;
                }
            }
            Ok(())
        })
        .await
    }
}

fn commit_request(
    group: &str,
    committer: &Committer,
    offsets: &BTreeMap<(String, PartitionId), Offset>,
) -> OffsetCommitRequest {
    let mut topics: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for ((topic, partition), offset) in offsets {
        topics.entry(topic).or_default().push(OffsetCommitRequestPartition {
            partition_index: *partition,
            committed_offset: *offset,
            committed_leader_epoch: -1,
            committed_metadata: Some(Text::default()),
        });
    }
    let topic = |(name, partitions): (&str, Vec<_>)| OffsetCommitRequestTopic {
        name: Text::from_string(name.to_owned()),
        topic_id: TopicId::ZERO,
        partitions,
    };
    OffsetCommitRequest {
        group_id: Text::from_string(group.to_owned()),
        generation_id_or_member_epoch: committer.generation,
        member_id: Text::from_string(committer.member_id.clone()),
        group_instance_id: None,
        retention_time_ms: -1,
        topics: topics.into_iter().map(topic).collect(),
    }
}

/// Since when OffsetFetch asks for several groups.
const GROUPS_SINCE: i16 = 8;
/// After this version OffsetFetch names topics by id.
const LAST_FETCH_WITH_NAMES: i16 = 9;
/// After this version OffsetCommit names topics by id.
const LAST_COMMIT_WITH_NAMES: i16 = 9;
