//! The life of brokers: registered, unfenced, fenced, about to stop, gone; and what that means for their partitions.
//!
//! Source: `ClusterControlManager`, `ReplicationControlManager.generateLeaderAndIsrUpdates` of Apache Kafka, KIP-966.

use std::collections::BTreeSet;

use super::apply::{Applied, Event, Outcome, Refusal, refuse};
use super::command::{Registration, ReplicaSet};
use super::image::{BrokerImage, ClusterImage, PartitionImage, ReplicaDefaults};
use crate::model::{BrokerId, ErrorCode, LeaderEpoch, TopicIdPartition};

impl ClusterImage {
    /// A broker has started: what it led before is led by others, if there are any. Gives its epoch.
    pub(super) fn register(
        &mut self,
        index: u64,
        new: &Registration,
        events: &mut Vec<Event>,
    ) -> Applied {
        let id = new.broker;
        let known = self.brokers.get(&id);
        let mut broker = BrokerImage {
            id,
            epoch: i64::try_from(index).expect("a log does not grow that long"),
            incarnation: new.incarnation,
            directories: new.directories.clone(),
            endpoints: new.endpoints.clone(),
            rack: new.rack.clone(),
            log_dirs: new.log_dirs.clone(),
            cordoned_log_dirs: new.cordoned_log_dirs.clone(),
            fenced: new.fenced,
            shutting_down: false,
        };
        let is_clean = known.is_none_or(|known| new.previous_epoch == Some(known.epoch));
        // None of its directories is left: whatever it had, it has no more.
        let is_empty = known.is_some_and(|known| {
            let had = &known.directories;
            !had.is_empty() && !had.iter().any(|had| new.directories.contains(had))
        });
        let same = known.filter(|known| known.incarnation == new.incarnation);
        let is_same = same.is_some();
        if let Some(known) = same {
            broker.epoch = known.epoch;
            broker.fenced = known.fenced;
            broker.shutting_down = known.shutting_down;
        }
        let (epoch, serves) = (broker.epoch, !broker.fenced);
        let mut changed = BTreeSet::new();
        if !is_same {
            let alone = |partition: &PartitionImage| serves && partition.replicas == [id];
            changed.extend(self.leave(id, !is_clean, |partition| !alone(partition)));
            changed.extend(self.lead_anew(id, alone));
        }
        if is_empty {
            changed.extend(self.forget_last_leader(id));
        }
        self.brokers.insert(id, broker);
        if !is_same {
            changed.extend(self.restore_replicas(id, &new.failed));
            changed.extend(self.lose_replicas(id, &new.failed));
        }
        let defaults = ReplicaDefaults {
            min_insync_replicas: new.min_insync_replicas,
            unclean_leader_election: new.unclean_leader_election,
        };
        if self.defaults != defaults {
            self.defaults = defaults;
            changed.extend(self.reconsider_where(|_, partition| partition.is_lacking()));
        } else if serves {
            changed.extend(self.reconsider_where(|_, partition| partition.leader.is_none()));
        }
        events.push(Event::BrokersChanged);
        push_changed(changed, events);
        Applied::BrokerEpoch(epoch)
    }

    /// A broker that has come back leads what nobody else can, in new epochs: whoever was cut off from its earlier
    /// incarnation can tell by the epoch that this is another one.
    fn lead_anew(
        &mut self,
        id: BrokerId,
        is_concerned: impl Fn(&PartitionImage) -> bool,
    ) -> Vec<TopicIdPartition> {
        let is_led = |partition: &PartitionImage| partition.leader == Some(id);
        self.change_where(
            |partition| is_led(partition) && is_concerned(partition),
            |partition| {
                partition.leader_epoch = LeaderEpoch(partition.leader_epoch.0 + 1);
                partition.partition_epoch += 1;
            },
        )
    }

    /// A broker that led last and has lost its disk is no last resort, where there are other replicas.
    fn forget_last_leader(&mut self, id: BrokerId) -> Vec<TopicIdPartition> {
        self.replace_partitions(|_, _, _, partition| {
            let is_concerned =
                partition.replicas.len() > 1 && partition.last_known_elr.contains(&id);
            is_concerned.then(|| PartitionImage {
                last_known_elr: Vec::new(),
                partition_epoch: partition.partition_epoch + 1,
                ..partition.clone()
            })
        })
    }

    pub(super) fn fence(
        &mut self,
        broker: BrokerId,
        broker_epoch: i64,
        events: &mut Vec<Event>,
    ) -> Outcome {
        if !self.check_broker_epoch(broker, broker_epoch)?.fenced {
            self.change_broker(broker, |broker| broker.fenced = true, events);
            push_changed(self.leave(broker, false, |_| true), events);
        }
        Ok(Applied::Done)
    }

    pub(super) fn unfence(
        &mut self,
        broker: BrokerId,
        broker_epoch: i64,
        events: &mut Vec<Event>,
    ) -> Outcome {
        if self.check_broker_epoch(broker, broker_epoch)?.fenced {
            self.change_broker(broker, |broker| broker.fenced = false, events);
            let changed = self.reconsider_where(|_, partition| partition.leader.is_none());
            push_changed(changed, events);
        }
        Ok(Applied::Done)
    }

    pub(super) fn begin_shutdown(
        &mut self,
        broker: BrokerId,
        broker_epoch: i64,
        events: &mut Vec<Event>,
    ) -> Outcome {
        if !self.check_broker_epoch(broker, broker_epoch)?.shutting_down {
            self.change_broker(broker, |broker| broker.shutting_down = true, events);
            push_changed(self.leave(broker, false, |_| true), events);
        }
        Ok(Applied::Done)
    }

    pub(super) fn fail_replicas(
        &mut self,
        broker: BrokerId,
        broker_epoch: i64,
        replicas: &ReplicaSet,
        events: &mut Vec<Event>,
    ) -> Outcome {
        self.check_broker_epoch(broker, broker_epoch)?;
        push_changed(self.lose_replicas(broker, replicas), events);
        Ok(Applied::Done)
    }

    /// Replicas of a broker are in sync with nothing any more, and lead nothing. What they have may be found whole when the broker
    /// starts again, so that they stay eligible until it says how it has stopped.
    fn lose_replicas(&mut self, broker: BrokerId, lost: &ReplicaSet) -> Vec<TopicIdPartition> {
        self.replace_partitions(|image, topic, id, partition| {
            let is_known = partition.offline.contains(&broker);
            if is_known || !lost.contains(id) || !partition.replicas.contains(&broker) {
                return None;
            }
            let can_lead = |replica| image.is_active(replica);
            let mut change = image.change(topic, partition, &can_lead);
            change.to.isr.retain(|replica| *replica != broker);
            change.to.offline.push(broker);
            change.finish()
        })
    }

    /// A broker has started again: what had failed before has not, but for what it says.
    fn restore_replicas(&mut self, broker: BrokerId, but: &ReplicaSet) -> Vec<TopicIdPartition> {
        self.replace_partitions(|_, _, id, partition| {
            let is_back = partition.offline.contains(&broker) && !but.contains(id);
            is_back.then(|| {
                let mut back = partition.clone();
                back.offline.retain(|replica| *replica != broker);
                back.partition_epoch += 1;
                back
            })
        })
    }

    pub(super) fn unregister(&mut self, broker: BrokerId, events: &mut Vec<Event>) -> Outcome {
        if self.brokers.remove(&broker).is_none() {
            let message = format!("Broker ID {broker} is not currently registered");
            return refuse(ErrorCode::BrokerIdNotRegistered, message);
        }
        events.push(Event::BrokersChanged);
        push_changed(self.leave(broker, true, |_| true), events);
        Ok(Applied::Done)
    }

    /// Gives the broker if it is registered with this epoch.
    pub(super) fn check_broker_epoch(
        &self,
        broker: BrokerId,
        broker_epoch: i64,
    ) -> Result<&BrokerImage, Refusal> {
        let known = self.brokers.get(&broker).filter(|known| known.epoch == broker_epoch);
        known.map_or_else(
            || {
                let message =
                    format!("broker {broker} is not registered with epoch {broker_epoch}");
                refuse(ErrorCode::StaleBrokerEpoch, message)
            },
            Ok,
        )
    }

    fn change_broker(
        &mut self,
        broker: BrokerId,
        change: impl FnMut(&mut BrokerImage),
        events: &mut Vec<Event>,
    ) {
        self.brokers.get_mut(&broker).into_iter().for_each(change);
        events.push(Event::BrokersChanged);
    }

    /// A broker is in sync with nothing any more, and leads nothing; if its logs may have lost their ends, it is not eligible
    /// either. Gives the partitions that change.
    fn leave(
        &mut self,
        broker: BrokerId,
        unclean: bool,
        is_concerned: impl Fn(&PartitionImage) -> bool,
    ) -> Vec<TopicIdPartition> {
        let has = |partition: &PartitionImage| {
            partition.isr.contains(&broker)
                || partition.leader == Some(broker)
                || (unclean && partition.elr.contains(&broker))
        };
        self.replace_partitions(|image, topic, _, partition| {
            if !has(partition) || !is_concerned(partition) {
                return None;
            }
            let can_lead = |replica| replica != broker && image.is_active(replica);
            let mut change = image.change(topic, partition, &can_lead);
            change.to.isr.retain(|replica| *replica != broker);
            change.unclean = unclean.then_some(broker);
            change.finish()
        })
    }
}

/// Tells of partitions that have changed, if there are any.
pub(super) fn push_changed(
    changed: impl IntoIterator<Item = TopicIdPartition>,
    events: &mut Vec<Event>,
) {
    let changed: Vec<_> = changed.into_iter().collect();
    if !changed.is_empty() {
        events.push(Event::PartitionsChanged(changed));
    }
}
