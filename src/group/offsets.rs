//! The committed offsets of a shard's groups.
//!
//! Owns what was committed, by group, topic and partition; what a commit or a deletion writes; and which offsets are over:
//! expired, or of deleted topics. Whether somebody may commit or delete is the group's business. Behaviour: Apache Kafka's
//! `OffsetMetadataManager`.
//!
//! **Invariant:** only the log changes what is committed; the last record of a partition counts, those of aborted
//! transactions aside.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::GroupId;
use super::classic::Expiry;
use super::command::{
    FetchedOffset, FetchedTopic, OffsetCommit, OffsetCommitPartition, OffsetCommitResult,
    OffsetDelete, OffsetDeleteResult, OffsetFetch, OffsetFetchTopic,
};
use super::pending_offsets::PendingOffsets;
use super::records::{CommittedOffset, OffsetKey};
use super::turn::Turn;
use crate::coordinator::TransactionOutcome;
use crate::model::{ErrorCode, Offset, PartitionId, ProducerId, TopicId, UnixMillis};
use crate::wire::Text;

/// The offsets of a group, by topic. Most groups read few topics: sorted lists take a tenth of what trees take.
type GroupOffsets = Vec<TopicOffsets>;

/// The offsets of a topic, by partition.
#[derive(Debug, PartialEq, Eq)]
struct TopicOffsets {
    name: Arc<str>,
    partitions: Vec<(PartitionId, CommittedOffset)>,
}

/// The committed offsets of a shard's groups.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    groups: HashMap<GroupId, GroupOffsets>,
    pending: PendingOffsets,
}

impl Offsets {
    /// Takes what the log says. No value means that there is no offset any more.
    pub fn replay(&mut self, at: Offset, key: OffsetKey, value: Option<CommittedOffset>) {
        match &value {
            Some(_) => self.pending.supersede(&key.group, &key.topic, key.partition, at),
            None => self.pending.remove(&key.group, &key.topic, key.partition),
        }
        self.put(key, value);
    }

    /// Takes what the log says an open transaction has committed.
    pub fn replay_pending(
        &mut self,
        at: Offset,
        producer: ProducerId,
        key: OffsetKey,
        value: CommittedOffset,
    ) {
        self.pending.put(producer, at, key, value);
    }

    /// The transaction of a producer has ended: what it committed counts from now on, or never.
    pub fn transaction_ended(&mut self, producer: ProducerId, outcome: TransactionOutcome) {
        let committed = self.pending.take(producer);
        if outcome == TransactionOutcome::Abort {
            return;
        }
        for (key, at, value) in committed {
            self.pending.supersede(&key.group, &key.topic, key.partition, at);
            self.put(key, Some(value));
        }
    }

    fn put(&mut self, key: OffsetKey, value: Option<CommittedOffset>) {
        let OffsetKey { group, topic, partition } = key;
        match value {
            Some(value) => {
                let topics = self.groups.entry(group).or_insert_with(|| Vec::with_capacity(1));
                put_offset(topics, topic, partition, value);
            }
            None => {
                if let Some(topics) = self.groups.get_mut(&group) {
                    drop_offset(topics, &topic, partition);
                    if topics.is_empty() {
                        self.groups.remove(&group);
                    }
                }
            }
        }
    }

    /// How many offsets there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.groups.values().flatten().map(|topic| topic.partitions.len()).sum()
    }

    /// An offset.
    #[must_use]
    pub fn get(
        &self,
        group: &str,
        topic: &str,
        partition: PartitionId,
    ) -> Option<&CommittedOffset> {
        find(self.groups.get(group)?, topic)?.get(partition)
    }

    /// Commits what is asked for. Metadata that is too long refuses its partition alone.
    pub fn commit(turn: &mut Turn<'_>, commit: &OffsetCommit) -> Vec<OffsetCommitResult> {
        let group = GroupId::from(commit.group.as_str());
        let now = turn.now.unix;
        let expires_at = commit.retention_ms.map(|retention| now.plus_millis(retention));
        let mut results = Vec::with_capacity(commit.topics.len());
        for topic in &commit.topics {
            let name: Arc<str> = topic.name.as_str().into();
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let outcome = if is_too_long(turn, asked) {
                    ErrorCode::OffsetMetadataTooLarge
                } else {
                    let key = OffsetKey {
                        group: group.clone(),
                        topic: Arc::clone(&name),
                        partition: asked.partition,
                    };
                    turn.write(key.record(&committed(asked, topic.id, now, expires_at)));
                    ErrorCode::None
                };
                partitions.push((asked.partition, outcome));
            }
            results.push(OffsetCommitResult { name: topic.name.clone(), id: topic.id, partitions });
        }
        results
    }

    /// What was committed for the partitions asked for, or for all.
    #[must_use]
    pub fn fetch(&self, fetch: &OffsetFetch) -> Vec<FetchedTopic> {
        let offsets = self.groups.get(fetch.group.as_str());
        let is_unstable = |topic: &str, partition: PartitionId| {
            fetch.require_stable && self.pending.has(&fetch.group, topic, partition)
        };
        let Some(topics) = &fetch.topics else {
            let told = offsets.into_iter().flatten();
            let told = told
                .map(|topic| whole_topic(topic, |partition| is_unstable(&topic.name, partition)));
            return told.collect();
        };
        let of_topic = |topic: &OffsetFetchTopic| FetchedTopic {
            name: topic.name.clone(),
            id: topic.id,
            partitions: {
                let known = offsets.and_then(|offsets| find(offsets, &topic.name));
                let of_partition = |partition: &PartitionId| {
                    if is_unstable(&topic.name, *partition) {
                        return unstable(*partition);
                    }
                    let known = known.and_then(|known| known.get(*partition));
                    let known = known.filter(|known| is_same_topic(known.topic_id, topic.id));
                    fetched(*partition, known)
                };
                topic.partitions.iter().map(of_partition).collect()
            },
        };
        topics.iter().map(of_topic).collect()
    }

    /// Deletes what is asked for, but for topics that the group reads.
    pub fn delete(
        &self,
        turn: &mut Turn<'_>,
        delete: &OffsetDelete,
        is_subscribed: impl Fn(&str) -> bool,
    ) -> Vec<OffsetDeleteResult> {
        let group = GroupId::from(delete.group.as_str());
        let mut results = Vec::with_capacity(delete.topics.len());
        for (name, asked) in &delete.topics {
            let outcome = if is_subscribed(name) {
                ErrorCode::GroupSubscribedToTopic
            } else {
                ErrorCode::None
            };
            let mut partitions = Vec::with_capacity(asked.len());
            for partition in asked {
                let is_there = self.get(&delete.group, name, *partition).is_some()
                    || self.pending.has(&delete.group, name, *partition);
                if outcome.is_none() && is_there {
                    turn.write(key(&group, &Arc::from(name.as_str()), *partition).tombstone());
                }
                partitions.push((*partition, outcome));
            }
            results.push(OffsetDeleteResult { name: name.clone(), partitions });
        }
        results
    }

    /// Deletes all offsets of a group.
    pub fn delete_all(&self, turn: &mut Turn<'_>, group: &GroupId) {
        for topic in self.groups.get(group).into_iter().flatten() {
            for (partition, _) in &topic.partitions {
                turn.write(key(group, &topic.name, *partition).tombstone());
            }
        }
        for (topic, partition) in self.pending.partitions(group) {
            if self.get(group.as_str(), &topic, partition).is_none() {
                turn.write(key(group, &topic, partition).tombstone());
            }
        }
    }

    /// Deletes the offsets of a group that are over, but for topics that it reads. Returns whether none is left.
    pub fn expire(
        &self,
        turn: &mut Turn<'_>,
        group: &GroupId,
        expiry: Option<Expiry>,
        is_subscribed: impl Fn(&str) -> bool,
    ) -> bool {
        let Some(topics) = self.groups.get(group) else {
            return !self.pending.has_group(group);
        };
        let Some(expiry) = expiry else {
            return false;
        };
        let (now, retention) = (turn.now.unix, turn.settings.offsets_retention);
        let mut none_left = !self.pending.has_group(group);
        for topic in topics {
            let is_kept = is_subscribed(&topic.name);
            for (partition, offset) in &topic.partitions {
                let is_pending = self.pending.has(group.as_str(), &topic.name, *partition);
                if is_kept || is_pending || !is_over(offset, expiry, now, retention) {
                    none_left = false;
                } else {
                    turn.write(key(group, &topic.name, *partition).tombstone());
                }
            }
        }
        none_left
    }

    /// Deletes the offsets of a deleted topic, those that were committed for another topic of that name aside.
    pub fn topic_deleted(&self, turn: &mut Turn<'_>, name: &str, id: TopicId) {
        let mut concerned: Vec<_> = self
            .groups
            .iter()
            .filter_map(|(group, topics)| Some((group, find(topics, name)?)))
            .collect();
        // The order of a hash map must not reach the log.
        concerned.sort_unstable_by_key(|(group, _)| *group);
        for (group, topic) in concerned {
            for (partition, offset) in &topic.partitions {
                if is_same_topic(offset.topic_id, id) {
                    turn.write(key(group, &topic.name, *partition).tombstone());
                }
            }
        }
        for group in self.pending.groups() {
            for (topic, partition) in self.pending.partitions(group) {
                if *topic == *name && self.get(group.as_str(), &topic, partition).is_none() {
                    turn.write(key(group, &topic, partition).tombstone());
                }
            }
        }
    }
}

impl TopicOffsets {
    fn get(&self, partition: PartitionId) -> Option<&CommittedOffset> {
        let at = self.partitions.binary_search_by_key(&partition, |(known, _)| *known).ok()?;
        self.partitions.get(at).map(|(_, offset)| offset)
    }
}

fn position(topics: &[TopicOffsets], name: &str) -> Result<usize, usize> {
    topics.binary_search_by(|topic| topic.name.as_ref().cmp(name))
}

fn find<'a>(topics: &'a [TopicOffsets], name: &str) -> Option<&'a TopicOffsets> {
    topics.get(position(topics, name).ok()?)
}

fn put_offset(
    topics: &mut GroupOffsets,
    name: Arc<str>,
    partition: PartitionId,
    offset: CommittedOffset,
) {
    let at = position(topics, &name).unwrap_or_else(|at| {
        topics.insert(at, TopicOffsets { name, partitions: Vec::with_capacity(1) });
        at
    });
    let partitions = &mut topics[at].partitions;
    match partitions.binary_search_by_key(&partition, |(known, _)| *known) {
        Ok(at) => partitions[at].1 = offset,
        Err(at) => {
            if partitions.len() == partitions.capacity() {
                // By a quarter, not to twice as much: many groups with few offsets each are mostly this.
                partitions.reserve_exact(partitions.len() / 4 + 1);
            }
            partitions.insert(at, (partition, offset));
        }
    }
}

fn drop_offset(topics: &mut GroupOffsets, name: &str, partition: PartitionId) {
    let Ok(at) = position(topics, name) else {
        return;
    };
    let partitions = &mut topics[at].partitions;
    if let Ok(at) = partitions.binary_search_by_key(&partition, |(known, _)| *known) {
        partitions.remove(at);
    }
    if partitions.is_empty() {
        topics.remove(at);
    }
}

fn key(group: &GroupId, topic: &Arc<str>, partition: PartitionId) -> OffsetKey {
    OffsetKey { group: group.clone(), topic: Arc::clone(topic), partition }
}

/// Kafka counts the characters of Java, not bytes.
fn is_too_long(turn: &Turn<'_>, asked: &OffsetCommitPartition) -> bool {
    let Some(metadata) = asked.metadata.as_deref() else {
        return false;
    };
    let max = usize::try_from(turn.settings.offset_metadata_length_max);
    max.map_or(true, |max| metadata.len() > max && metadata.encode_utf16().count() > max)
}

fn committed(
    asked: &OffsetCommitPartition,
    topic_id: TopicId,
    committed_at: UnixMillis,
    expires_at: Option<UnixMillis>,
) -> CommittedOffset {
    CommittedOffset {
        offset: asked.offset,
        leader_epoch: asked.leader_epoch,
        metadata: asked.metadata.as_deref().unwrap_or_default().into(),
        committed_at,
        expires_at,
        topic_id,
    }
}

/// An id that is not known is taken for the other one.
fn is_same_topic(one: TopicId, other: TopicId) -> bool {
    one.is_zero() || other.is_zero() || one == other
}

fn is_over(offset: &CommittedOffset, expiry: Expiry, now: UnixMillis, retention: Duration) -> bool {
    if let Some(expires_at) = offset.expires_at {
        return now >= expires_at;
    }
    let since = match expiry {
        Expiry::SinceCommit => offset.committed_at,
        Expiry::Since(since) => since,
    };
    i128::from(now.millis_since(since)) >= retention.as_millis().cast_signed()
}

fn whole_topic(topic: &TopicOffsets, is_unstable: impl Fn(PartitionId) -> bool) -> FetchedTopic {
    let partitions = topic.partitions.iter().map(|(partition, known)| match partition {
        partition if is_unstable(*partition) => unstable(*partition),
        partition => fetched(*partition, Some(known)),
    });
    FetchedTopic {
        name: Text::from_string(topic.name.as_ref().to_owned()),
        id: TopicId::ZERO,
        partitions: partitions.collect(),
    }
}

fn fetched(partition: PartitionId, known: Option<&CommittedOffset>) -> FetchedOffset {
    FetchedOffset {
        partition,
        offset: known.map_or(Offset(-1), |known| known.offset),
        leader_epoch: known.map_or(-1, |known| known.leader_epoch),
        metadata: known
            .map(|known| Text::from_string(known.metadata.as_ref().to_owned()))
            .unwrap_or_default(),
        error: ErrorCode::None,
    }
}

/// Whether there will be another offset is not decided yet.
fn unstable(partition: PartitionId) -> FetchedOffset {
    FetchedOffset { error: ErrorCode::UnstableOffsetCommit, ..fetched(partition, None) }
}

#[cfg(test)]
mod tests;
