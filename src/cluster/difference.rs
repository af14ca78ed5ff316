//! What changed between two images, for those who keep something by the state and have missed the steps between.

use std::sync::Arc;

use super::apply::Event;
use super::image::{ClusterImage, ConfigResource, TopicImage};
use crate::model::{PartitionId, TopicIdPartition};

impl ClusterImage {
    /// The events that lead from this image to a later one. A topic that was made anew under its name is one that is gone and
    /// one that has come.
    #[must_use]
    pub fn difference(&self, later: &Self) -> Vec<Event> {
        let mut events = Vec::new();
        for topic in self.topics.values() {
            if later.topic_by_id(topic.id).is_none() {
                events.push(Event::TopicDeleted(Arc::clone(topic)));
            }
        }
        let mut changed = Vec::new();
        for topic in later.topics.values() {
            match self.topic_by_id(topic.id) {
                None => events.push(Event::TopicCreated(Arc::clone(topic))),
                Some(before) if Arc::ptr_eq(before, topic) => {}
                Some(before) => {
                    changed.extend(changed_partitions(before, topic));
                    if topic.partitions.len() > before.partitions.len() {
                        let first = i32::try_from(before.partitions.len());
                        let first = PartitionId(first.expect("partitions are counted in 31 bits"));
                        events.push(Event::PartitionsAdded(Arc::clone(topic), first));
                    }
                }
            }
        }
        if !changed.is_empty() {
            events.push(Event::PartitionsChanged(changed));
        }
        if self.brokers != later.brokers {
            events.push(Event::BrokersChanged);
        }
        let configs = self.configs.keys().chain(later.configs.keys());
        let mut configs: Vec<&ConfigResource> =
            configs.filter(|resource| self.configs(resource) != later.configs(resource)).collect();
        configs.sort();
        configs.dedup();
        events.extend(configs.into_iter().cloned().map(Event::ConfigsChanged));
        events
    }
}

fn changed_partitions<'a>(
    before: &'a TopicImage,
    now: &'a TopicImage,
) -> impl Iterator<Item = TopicIdPartition> + 'a {
    let pairs = now.indexed_partitions().zip(&before.partitions);
    pairs
        .filter(|((_, now), before)| now != before)
        .map(|((partition, _), _)| TopicIdPartition { topic: now.id, partition })
}
