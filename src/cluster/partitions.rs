//! Changes of partitions: who is in sync, elections, reassignments.
//!
//! Source: `ReplicationControlManager` of Apache Kafka.

use std::sync::Arc;

use super::apply::{Applied, Event, Outcome, Refusal, refuse};
use super::brokers::push_changed;
use super::change::{Election, PartitionChange};
use super::command::{AlterPartition, IsrMember};
use super::image::{ClusterImage, ConfigResource, PartitionImage};
use crate::model::{BrokerId, ErrorCode, PartitionId, TopicIdPartition, TopicName};

/// What is said, in the words of Apache Kafka, of a partition that is led as it should be.
pub const ELECTION_NOT_NEEDED: &str = "Leader election not needed for topic partition.";

impl ClusterImage {
    /// Puts others in the place of partitions; gives those for which there is another.
    pub(super) fn replace_partitions(
        &mut self,
        replacement: impl Fn(
            &Self,
            &TopicName,
            TopicIdPartition,
            &PartitionImage,
        ) -> Option<PartitionImage>,
    ) -> Vec<TopicIdPartition> {
        let mut changes = Vec::new();
        for topic in self.topics() {
            for (partition, state) in topic.indexed_partitions() {
                let id = TopicIdPartition { topic: topic.id, partition };
                if let Some(now) = replacement(self, &topic.name, id, state) {
                    changes.push((topic.name.clone(), id, now));
                }
            }
        }
        let replaced = changes.into_iter().map(|(name, id, now)| {
            self.put_partition(&name, id, now);
            id
        });
        replaced.collect()
    }

    /// Changes the partitions that are concerned, each by itself. Gives which they are. (A start does this with all partitions
    /// of a broker that is alone, for each of its earlier starts: they are not copied.)
    pub(super) fn change_where(
        &mut self,
        is_concerned: impl Fn(&PartitionImage) -> bool,
        change: impl Fn(&mut PartitionImage),
    ) -> Vec<TopicIdPartition> {
        let mut changed = Vec::new();
        if !self.topics().any(|topic| topic.partitions.iter().any(&is_concerned)) {
            return changed;
        }
        for topic in Arc::make_mut(&mut self.topics).values_mut() {
            // Whoever else has the topic keeps it as it is.
            if !topic.partitions.iter().any(&is_concerned) {
                continue;
            }
            let topic = Arc::make_mut(topic);
            for (partition, index) in topic.partitions.iter_mut().zip(0..) {
                if is_concerned(partition) {
                    change(partition);
                    let partition = PartitionId(index);
                    changed.push(TopicIdPartition { topic: topic.id, partition });
                }
            }
        }
        changed
    }

    fn put_partition(&mut self, name: &TopicName, id: TopicIdPartition, now: PartitionImage) {
        let topic = Arc::make_mut(&mut self.topics).get_mut(name).expect("the topic was found");
        let index = usize::try_from(id.partition.0).expect("the partition was found");
        Arc::make_mut(topic).partitions[index] = now;
    }

    /// Looks again at the partitions that are concerned, after something has changed by which they could have a leader, or
    /// nobody eligible. Gives those that change.
    pub(super) fn reconsider_where(
        &mut self,
        is_concerned: impl Fn(&TopicName, &PartitionImage) -> bool,
    ) -> Vec<TopicIdPartition> {
        self.replace_partitions(|image, topic, _, partition| {
            is_concerned(topic, partition).then(|| image.reconsidered(topic, partition)).flatten()
        })
    }

    /// Looks again at the partitions that a config concerns, which says who may lead.
    pub(super) fn reconsider(&mut self, resource: &ConfigResource, events: &mut Vec<Event>) {
        let changed = self.reconsider_where(|topic, partition| {
            resource.concerns(topic) && partition.leader.is_none()
        });
        push_changed(changed, events);
    }

    /// Nobody is eligible any longer, nor known to have led last, in the partitions that a config concerns by which that was
    /// judged (`ReplicationControlManager.removeTopicElrs` of Apache Kafka).
    pub(super) fn forget_eligible(&mut self, resource: &ConfigResource, events: &mut Vec<Event>) {
        let changed = self.replace_partitions(|_, topic, _, partition| {
            let is_empty = partition.elr.is_empty() && partition.last_known_elr.is_empty();
            (!is_empty && resource.concerns(topic)).then(|| PartitionImage {
                elr: Vec::new(),
                last_known_elr: Vec::new(),
                partition_epoch: partition.partition_epoch + 1,
                ..partition.clone()
            })
        });
        push_changed(changed, events);
    }

    fn reconsidered(
        &self,
        topic: &TopicName,
        partition: &PartitionImage,
    ) -> Option<PartitionImage> {
        let can_lead = |replica| self.is_active(replica);
        self.change(topic, partition, &can_lead).finish()
    }

    /// The beginning of a change, with the election that the topic's configs allow.
    pub(super) fn change<'a>(
        &self,
        topic: &TopicName,
        partition: &'a PartitionImage,
        can_lead: &'a dyn Fn(BrokerId) -> bool,
    ) -> PartitionChange<'a> {
        let mut change = PartitionChange::new(partition, self.min_insync_replicas(topic), can_lead);
        change.has_eligible = self.has_eligible_leaders();
        if self.allows_unclean_election(topic) {
            change.election = Election::Unclean;
        }
        change
    }

    /// Finds a partition, with the name of its topic. (Whoever held the topic itself would have it copied by the change.)
    fn find(&self, id: TopicIdPartition) -> Result<(TopicName, PartitionImage), Refusal> {
        let Some(topic) = self.topic_by_id(id.topic) else {
            let message = format!("there is no topic with id {}", id.topic);
            return refuse(ErrorCode::UnknownTopicId, message);
        };
        let Some(partition) = topic.partition(id.partition) else {
            let message = format!("No such partition as {}-{}", topic.name, id.partition);
            return refuse(ErrorCode::UnknownTopicOrPartition, message);
        };
        Ok((topic.name.clone(), partition.clone()))
    }

    /// The leader says who is in sync. Gives the partition as it is now: if that has ended a reassignment, another may lead it.
    pub(super) fn alter_partition(
        &mut self,
        alter: &AlterPartition,
        events: &mut Vec<Event>,
    ) -> Outcome {
        self.check_broker_epoch(alter.broker, alter.broker_epoch)?;
        let id = TopicIdPartition { topic: alter.topic, partition: alter.partition };
        let (topic, partition) = self.find(id)?;
        check_alteration(alter, &partition)?;
        alter.isr.iter().try_for_each(|member| self.check_member(*member, &partition))?;
        let can_lead = |replica| self.is_active(replica);
        let mut change = self.change(&topic, &partition, &can_lead);
        change.to.isr = alter.isr.iter().map(|member| member.broker).collect();
        change.to.recovering = alter.recovering;
        let Some(now) = change.finish() else {
            return Ok(Applied::Partition(partition));
        };
        self.put_partition(&topic, id, now.clone());
        push_changed([id], events);
        Ok(Applied::Partition(now))
    }

    /// Whether a replica may be in sync: in the incarnation that fetches, not about to leave, and with a log.
    fn check_member(&self, member: IsrMember, partition: &PartitionImage) -> Result<(), Refusal> {
        let id = member.broker;
        let reason = match self.brokers.get(&id) {
            None => "not registered".to_owned(),
            Some(_) if partition.offline.contains(&id) => "its replica has failed".to_owned(),
            Some(known) if known.shutting_down => "shutting down".to_owned(),
            Some(known) if known.fenced => "fenced".to_owned(),
            Some(known) if member.broker_epoch != -1 && known.epoch != member.broker_epoch => {
                format!("registered with epoch {}, not {}", known.epoch, member.broker_epoch)
            }
            Some(_) => return Ok(()),
        };
        refuse(ErrorCode::IneligibleReplica, format!("broker {id} cannot be in sync: {reason}"))
    }

    /// Gives a partition the leader that it should have.
    pub(super) fn elect_leader(
        &mut self,
        id: TopicIdPartition,
        unclean: bool,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let (topic, partition) = self.find(id)?;
        let needed =
            if unclean { partition.leader.is_none() } else { !partition.is_led_as_preferred() };
        if !needed {
            return refuse(ErrorCode::ElectionNotNeeded, ELECTION_NOT_NEEDED);
        }
        let can_lead = |replica| self.is_active(replica);
        let min_insync_replicas = self.min_insync_replicas(&topic);
        let mut change = PartitionChange::new(&partition, min_insync_replicas, &can_lead);
        change.has_eligible = self.has_eligible_leaders();
        change.election = if unclean { Election::Unclean } else { Election::Preferred };
        let Some(now) = change.finish() else {
            let (code, message) = match unclean {
                true => (
                    ErrorCode::EligibleLeadersNotAvailable,
                    "Eligible topic partition leaders are not available.",
                ),
                false => (
                    ErrorCode::PreferredLeaderNotAvailable,
                    "The preferred leader was not available.",
                ),
            };
            return refuse(code, message);
        };
        self.put_partition(&topic, id, now.clone());
        push_changed([id], events);
        Ok(Applied::Partition(now))
    }

    /// Gives a partition other replicas, or takes back what is under way.
    pub(super) fn reassign(
        &mut self,
        id: TopicIdPartition,
        replicas: Option<&[BrokerId]>,
        allow_replication_factor_change: bool,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let (topic, partition) = self.find(id)?;
        let can_lead = |replica| self.is_active(replica);
        let mut change = self.change(&topic, &partition, &can_lead);
        match replicas {
            None => self.revert(&topic, &partition, &mut change.to)?,
            Some(replicas) => {
                self.check_assignments(&[replicas.to_vec()])?;
                if !allow_replication_factor_change {
                    check_replication_factor(&partition, replicas.len())?;
                }
                aim_at(replicas, &partition, &mut change.to);
            }
        }
        let now = change.finish();
        if let Some(now) = &now {
            self.put_partition(&topic, id, now.clone());
            push_changed([id], events);
        }
        Ok(Applied::Partition(now.unwrap_or(partition)))
    }

    /// Takes a reassignment back (`PartitionReassignmentRevert`).
    fn revert(
        &self,
        topic: &TopicName,
        partition: &PartitionImage,
        to: &mut PartitionImage,
    ) -> Result<(), Refusal> {
        if !partition.is_reassigned() {
            // Apache Kafka has no text for it.
            return refuse(ErrorCode::NoReassignmentInProgress, "");
        }
        let was_there = |replica: &BrokerId| !partition.adding.contains(replica);
        to.replicas.retain(was_there);
        to.isr.retain(was_there);
        (to.adding, to.removing) = (Vec::new(), Vec::new());
        if to.replicas.is_empty() {
            let message = "Invalid replica assignment: addingReplicas contains all replicas.";
            return refuse(ErrorCode::InvalidReplicaAssignment, message);
        }
        if to.isr.is_empty() && !self.allows_unclean_election(topic) {
            let message = "Unable to revert partition assignment because it would require an unclean leader election.";
            return refuse(ErrorCode::InvalidReplicaAssignment, message);
        }
        Ok(())
    }
}

impl ConfigResource {
    /// Whether its configs say something about a topic.
    fn concerns(&self, topic: &TopicName) -> bool {
        match self {
            Self::Topic(name) => name == topic,
            Self::AllBrokers => true,
            Self::Broker(_) | Self::Group(_) => false,
        }
    }
}

impl PartitionImage {
    /// Whether it has no leader, or fewer in sync than its topic asks for.
    pub(super) const fn is_lacking(&self) -> bool {
        self.leader.is_none() || !self.elr.is_empty()
    }

    /// Whether its leader was elected after it was as `before`, without having all that was committed: it was neither in sync nor
    /// eligible. Such a leader recovers, which one that a reassignment has just brought in sync does not.
    #[must_use]
    pub fn was_elected_uncleanly(&self, before: &Self) -> bool {
        let has_all = |leader| before.isr.contains(leader) || before.elr.contains(leader);
        self.recovering
            && self.leader != before.leader
            && self.leader.as_ref().is_some_and(|leader| !has_all(leader))
    }

    /// Whether its first replica leads it.
    #[must_use]
    pub fn is_led_as_preferred(&self) -> bool {
        self.leader.is_some() && self.leader == self.replicas.first().copied()
    }
}

/// The new replicas come in at once, before those that are to go.
fn aim_at(replicas: &[BrokerId], partition: &PartitionImage, to: &mut PartitionImage) {
    let without = |all: &[BrokerId], others: &[BrokerId]| {
        let mut rest: Vec<_> = all.iter().copied().filter(|id| !others.contains(id)).collect();
        rest.sort_unstable();
        rest
    };
    let removing = without(&partition.replicas, replicas);
    let adding = without(replicas, &partition.replicas);
    to.replicas = [replicas, &removing].concat();
    // What an earlier reassignment was about to do goes on, unless this one says something else.
    if !removing.is_empty() {
        to.removing = removing;
    }
    if !adding.is_empty() {
        to.adding = adding;
    }
    let still_there = |list: &mut Vec<BrokerId>| list.retain(|id| to.replicas.contains(id));
    still_there(&mut to.removing);
    still_there(&mut to.adding);
    to.removing.retain(|id| !replicas.contains(id));
}

fn check_replication_factor(partition: &PartitionImage, after: usize) -> Result<(), Refusal> {
    let stays = |replica: &&BrokerId| !partition.removing.contains(replica);
    let before = partition.replicas.iter().filter(stays).count();
    if before == after {
        return Ok(());
    }
    let message = format!("The replication factor is changed from {before} to {after}");
    refuse(ErrorCode::InvalidReplicationFactor, message)
}

/// Whether what a leader says fits the partition (`ReplicationControlManager.validateAlterPartitionData`).
fn check_alteration(alter: &AlterPartition, partition: &PartitionImage) -> Result<(), Refusal> {
    let isr: Vec<_> = alter.isr.iter().map(|member| member.broker).collect();
    let is_replica = |id: &BrokerId| partition.replicas.contains(id);
    // In this order: the first that holds is told.
    let checks = [
        (
            alter.leader_epoch > partition.leader_epoch,
            ErrorCode::NotController,
            "the leader epoch is ahead",
        ),
        (
            alter.partition_epoch > partition.partition_epoch,
            ErrorCode::NotController,
            "the partition epoch is ahead",
        ),
        (
            alter.leader_epoch < partition.leader_epoch,
            ErrorCode::FencedLeaderEpoch,
            "another leader was elected",
        ),
        (partition.leader != Some(alter.broker), ErrorCode::InvalidRequest, "another broker leads"),
        (
            alter.partition_epoch < partition.partition_epoch,
            ErrorCode::InvalidUpdateVersion,
            "the partition has changed",
        ),
        (
            !PartitionImage::has_distinct_replicas(&isr) || !isr.iter().all(is_replica),
            ErrorCode::InvalidRequest,
            "not all that are in sync are replicas",
        ),
        (!isr.contains(&alter.broker), ErrorCode::InvalidRequest, "the leader is not in sync"),
        (
            alter.recovering && isr.len() > 1,
            ErrorCode::InvalidRequest,
            "nobody else is in sync while the leader recovers",
        ),
        (
            alter.recovering && !partition.recovering,
            ErrorCode::InvalidRequest,
            "the leader does not recover",
        ),
    ];
    let failed = checks.into_iter().find(|(fails, ..)| *fails);
    failed.map_or(Ok(()), |(_, code, message)| refuse(code, message))
}
