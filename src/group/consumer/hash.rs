//! A number that changes when the topics a group subscribes to do: partitions added, replicas in other racks, a topic
//! created or deleted.
//!
//! Kafka's own (`Utils.computeGroupHash` and `computeTopicHash`, XXH3 over the fields in hash4j's encoding), so that a
//! group goes on without a rebalance where the log changes hands.

use std::collections::BTreeSet;
use std::sync::Arc;

use twox_hash::XxHash3_64;

use crate::cluster::{ClusterImage, TopicImage};

/// The hash of those of the topics that exist; 0 if none does.
pub(super) fn of_topics(topics: &BTreeSet<Arc<str>>, image: &ClusterImage) -> i64 {
    let mut fields = Vec::new();
    // Sorted by name in UTF-16, as Java sorts: the same order, as the names of topics are ASCII.
    for topic in topics.iter().filter_map(|topic| image.topic(topic)) {
        fields.extend_from_slice(&of_topic(topic, image).to_le_bytes());
    }
    if fields.is_empty() { 0 } else { finish(&fields) }
}

fn of_topic(topic: &TopicImage, image: &ClusterImage) -> i64 {
    let mut fields = vec![0];
    let (high, low) = topic.id.0.as_u64_pair();
    fields.extend_from_slice(&high.to_le_bytes());
    fields.extend_from_slice(&low.to_le_bytes());
    put_text(&mut fields, topic.name.as_str());
    put_count(&mut fields, topic.partitions.len());
    for (index, partition) in topic.partitions.iter().enumerate() {
        put_count(&mut fields, index);
        let brokers = partition.replicas.iter().filter_map(|replica| image.broker(*replica));
        let mut racks: Vec<&str> = brokers.filter_map(|broker| broker.rack.as_deref()).collect();
        racks.sort_unstable();
        for rack in racks {
            put_count(&mut fields, rack.encode_utf16().count());
            put_text(&mut fields, rack);
        }
    }
    finish(&fields)
}

/// hash4j puts the UTF-16 units of a text, and then how many there are.
fn put_text(fields: &mut Vec<u8>, text: &str) {
    for unit in text.encode_utf16() {
        fields.extend_from_slice(&unit.to_le_bytes());
    }
    put_count(fields, text.encode_utf16().count());
}

fn put_count(fields: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("topics and names are small");
    fields.extend_from_slice(&count.to_le_bytes());
}

fn finish(fields: &[u8]) -> i64 {
    XxHash3_64::oneshot(fields).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_number_that_kafka_computes() {
        // The same fields put into hash4j 0.22: topic MkGbQYrDTUWvH3gGkCYX4w, "orders", 2 partitions; racks r1, r2.
        let id = crate::model::UuidText::parse("MkGbQYrDTUWvH3gGkCYX4w").unwrap().0;
        let mut fields = vec![0];
        let (high, low) = id.as_u64_pair();
        fields.extend_from_slice(&high.to_le_bytes());
        fields.extend_from_slice(&low.to_le_bytes());
        put_text(&mut fields, "orders");
        put_count(&mut fields, 2);
        put_count(&mut fields, 0);
        for rack in ["r1", "r2"] {
            put_count(&mut fields, 2);
            put_text(&mut fields, rack);
        }
        put_count(&mut fields, 1);
        let topic = finish(&fields);
        assert_eq!(topic, 5_642_300_801_422_741_573);
        let mut both = topic.to_le_bytes().to_vec();
        both.extend_from_slice(&7_i64.to_le_bytes());
        assert_eq!(finish(&both), 7_723_253_668_918_629_740);
    }
}
