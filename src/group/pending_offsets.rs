//! Offsets that were committed in transactions which have not ended yet.
//!
//! Owns which of them counts when its transaction is committed: the last one of a partition by its place in the log, as
//! compaction will have it too, no matter in which order the transactions ended. Behaviour: the pending transactional
//! offsets of Apache Kafka's `OffsetMetadataManager`.
//!
//! **Invariant:** `producers` has a group if and only if an offset of that producer is pending in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::GroupId;
use super::records::{CommittedOffset, OffsetKey};
use crate::model::{Offset, PartitionId, ProducerId};

/// A partition, and whose transaction it is in.
type Place = (Arc<str>, PartitionId, ProducerId);

/// The pending offsets of a shard's groups.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PendingOffsets {
    groups: HashMap<GroupId, BTreeMap<Place, Pending>>,
    producers: HashMap<ProducerId, BTreeSet<GroupId>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Pending {
    /// Where its record stands.
    at: Offset,
    /// None if a later record of the partition counts already.
    value: Option<CommittedOffset>,
}

impl PendingOffsets {
    /// An offset is committed in a transaction.
    pub(super) fn put(
        &mut self,
        producer: ProducerId,
        at: Offset,
        key: OffsetKey,
        value: CommittedOffset,
    ) {
        let OffsetKey { group, topic, partition } = key;
        self.producers.entry(producer).or_default().insert(group.clone());
        let pending = Pending { at, value: Some(value) };
        self.groups.entry(group).or_default().insert((topic, partition, producer), pending);
    }

    /// An offset was committed outside of transactions, or by one that has ended: what stands before it no longer counts.
    pub(super) fn supersede(
        &mut self,
        group: &GroupId,
        topic: &Arc<str>,
        partition: PartitionId,
        at: Offset,
    ) {
        let Some(places) = self.groups.get_mut(group) else { return };
        for (_, pending) in places.range_mut(all_of(topic, partition)) {
            if pending.at < at {
                pending.value = None;
            }
        }
    }

    /// The offset of a partition is deleted.
    pub(super) fn remove(&mut self, group: &GroupId, topic: &Arc<str>, partition: PartitionId) {
        let Some(places) = self.groups.get_mut(group) else { return };
        let gone: Vec<_> = places
            .extract_if(all_of(topic, partition), |_, _| true)
            .map(|(place, _)| place.2)
            .collect();
        for producer in gone {
            self.tidy(group, producer);
        }
    }

    /// A transaction has ended: gives what it had pending and what still counts, in the order of the groups.
    pub(super) fn take(
        &mut self,
        producer: ProducerId,
    ) -> Vec<(OffsetKey, Offset, CommittedOffset)> {
        let mut taken = Vec::new();
        for group in self.producers.remove(&producer).unwrap_or_default() {
            let Some(places) = self.groups.get_mut(&group) else { continue };
            let of_producer = places.extract_if(.., |place, _| place.2 == producer);
            for ((topic, partition, _), pending) in of_producer {
                let key = OffsetKey { group: group.clone(), topic, partition };
                taken.extend(pending.value.map(|value| (key, pending.at, value)));
            }
            if places.is_empty() {
                self.groups.remove(&group);
            }
        }
        taken
    }

    fn tidy(&mut self, group: &GroupId, producer: ProducerId) {
        let places = self.groups.get(group);
        let is_left = places.is_some_and(|places| places.keys().any(|place| place.2 == producer));
        if !is_left && let Some(groups) = self.producers.get_mut(&producer) {
            groups.remove(group);
            if groups.is_empty() {
                self.producers.remove(&producer);
            }
        }
        if places.is_some_and(BTreeMap::is_empty) {
            self.groups.remove(group);
        }
    }

    /// Whether a transaction that has not ended has committed an offset for the partition.
    pub(super) fn has(&self, group: &str, topic: &str, partition: PartitionId) -> bool {
        let places = self.groups.get(group);
        places.is_some_and(|places| places.range(all_of(&topic.into(), partition)).next().is_some())
    }

    /// Whether a transaction that has not ended has committed offsets for the group.
    pub(super) fn has_group(&self, group: &GroupId) -> bool {
        self.groups.contains_key(group)
    }

    /// The partitions of a group with pending offsets, each once.
    pub(super) fn partitions(&self, group: &GroupId) -> BTreeSet<(Arc<str>, PartitionId)> {
        let places = self.groups.get(group).into_iter().flat_map(BTreeMap::keys);
        places.map(|(topic, partition, _)| (Arc::clone(topic), *partition)).collect()
    }

    /// The groups with pending offsets, in their order.
    pub(super) fn groups(&self) -> BTreeSet<&GroupId> {
        self.groups.keys().collect()
    }
}

fn all_of(topic: &Arc<str>, partition: PartitionId) -> std::ops::RangeInclusive<Place> {
    let place = |producer| (Arc::clone(topic), partition, ProducerId(producer));
    place(i64::MIN)..=place(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{TopicId, UnixMillis};

    fn key(group: &str, partition: i32) -> OffsetKey {
        OffsetKey { group: group.into(), topic: "t".into(), partition: PartitionId(partition) }
    }

    fn offset(offset: i64) -> CommittedOffset {
        CommittedOffset {
            offset: Offset(offset),
            leader_epoch: -1,
            metadata: "".into(),
            committed_at: UnixMillis(1),
            expires_at: None,
            topic_id: TopicId::ZERO,
        }
    }

    fn taken(pending: &mut PendingOffsets, producer: i64) -> Vec<(OffsetKey, i64)> {
        let taken = pending.take(ProducerId(producer)).into_iter();
        taken.map(|(key, _, value)| (key, value.offset.0)).collect()
    }

    #[test]
    fn a_transaction_gives_what_it_committed_last() {
        let mut pending = PendingOffsets::default();
        for (at, producer, group, value) in
            [(1, 1, "a", 10), (2, 2, "a", 20), (3, 1, "b", 30), (4, 1, "a", 40)]
        {
            pending.put(ProducerId(producer), Offset(at), key(group, 0), offset(value));
        }
        assert!(pending.has("a", "t", PartitionId(0)) && !pending.has("a", "t", PartitionId(1)));
        assert_eq!(taken(&mut pending, 1), [(key("a", 0), 40), (key("b", 0), 30)]);
        assert_eq!(taken(&mut pending, 1), []);
        assert!(pending.has_group(&"a".into()) && !pending.has_group(&"b".into()));
        assert_eq!(taken(&mut pending, 2), [(key("a", 0), 20)]);
        assert_eq!(pending, PendingOffsets::default());
    }

    #[test]
    fn a_later_record_counts_more_and_a_deletion_ends_all() {
        let mut pending = PendingOffsets::default();
        pending.put(ProducerId(1), Offset(1), key("a", 0), offset(10));
        pending.put(ProducerId(2), Offset(3), key("a", 0), offset(20));
        pending.put(ProducerId(2), Offset(4), key("a", 1), offset(21));
        pending.supersede(&"a".into(), &"t".into(), PartitionId(0), Offset(2));
        assert!(pending.has("a", "t", PartitionId(0)), "its transaction is open all the same");
        assert_eq!(taken(&mut pending, 1), []);
        pending.remove(&"a".into(), &"t".into(), PartitionId(0));
        assert_eq!(taken(&mut pending, 2), [(key("a", 1), 21)]);
        assert_eq!(pending, PendingOffsets::default());
    }
}
