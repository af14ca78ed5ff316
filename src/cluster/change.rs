//! How one partition changes: who is in sync, who may lead, who leads.
//!
//! Knows one partition and who is alive, nothing of topics and brokers. **Invariants** of what comes out: the leader is in
//! sync and can lead; whoever is in sync or eligible is a replica; nobody is both; nobody is eligible while as many are in sync
//! as the topic asks for; the epochs rise as Kafka's do. Source: `PartitionChangeBuilder`, `PartitionReassignmentReplicas` of
//! Apache Kafka, KIP-966.

use std::collections::BTreeSet;

use super::image::PartitionImage;
use crate::model::{BrokerId, LeaderEpoch};

/// How a leader is looked for, if one is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Election {
    /// The first replica is to lead, if it can; else as [`Election::Clean`].
    Preferred,
    /// Only who has all that was committed may lead.
    Clean,
    /// If nobody else can, any replica may lead. Records may be lost.
    Unclean,
}

/// A change of a partition, to be filled in and then [finished](PartitionChange::finish).
pub(super) struct PartitionChange<'a> {
    before: &'a PartitionImage,
    /// What the partition is to be. Its leader, the eligible ones and the epochs follow from the rest.
    pub(super) to: PartitionImage,
    /// How a leader is looked for.
    pub(super) election: Election,
    /// A replica that may have lost what it had: it is not eligible any longer.
    pub(super) unclean: Option<BrokerId>,
    /// Whether replicas may be eligible (KIP-966). If not, whoever was the last in sync stays so.
    pub(super) has_eligible: bool,
    /// How many replicas have to be in sync for a record to be committed, if there are as many.
    min_insync_replicas: usize,
    /// Whether a broker is there to lead.
    can_lead: &'a dyn Fn(BrokerId) -> bool,
}

impl<'a> PartitionChange<'a> {
    pub(super) fn new(
        before: &'a PartitionImage,
        min_insync_replicas: usize,
        can_lead: &'a dyn Fn(BrokerId) -> bool,
    ) -> Self {
        let (to, election) = (before.clone(), Election::Clean);
        Self {
            before,
            to,
            election,
            unclean: None,
            has_eligible: true,
            min_insync_replicas,
            can_lead,
        }
    }

    /// What the partition becomes; `None` if it stays as it is.
    pub(super) fn finish(mut self) -> Option<PartitionImage> {
        self.end_reassignment();
        let replicas = &self.to.replicas;
        self.to.offline.retain(|replica| replicas.contains(replica));
        self.settle_eligible();
        self.elect();
        if self.has_eligible {
            self.note_last_leader();
        } else {
            self.keep_last_in_sync();
        }
        let Self { before, mut to, .. } = self;
        let removes_replica = before.replicas.iter().any(|replica| !to.replicas.contains(replica));
        if to.leader != before.leader || removes_replica {
            to.leader_epoch = LeaderEpoch(before.leader_epoch.0 + 1);
        }
        if to == *before {
            return None;
        }
        to.partition_epoch = before.partition_epoch + 1;
        Some(to)
    }

    /// Replicas that were to go are gone once those that came are in sync; if fewer come than go, once all others are.
    fn end_reassignment(&mut self) {
        let to = &mut self.to;
        if !to.is_reassigned() {
            return;
        }
        let stays = |replica: &BrokerId| !to.removing.contains(replica);
        let replicas: Vec<_> = to.replicas.iter().copied().filter(stays).collect();
        let isr: Vec<_> = to.isr.iter().copied().filter(stays).collect();
        let are_in_sync = |all: &[BrokerId]| all.iter().all(|replica| isr.contains(replica));
        let suffices = to.adding.len() >= to.removing.len() || are_in_sync(&replicas);
        if replicas.is_empty() || isr.is_empty() || !are_in_sync(&to.adding) || !suffices {
            return;
        }
        (to.replicas, to.isr) = (replicas, isr);
        (to.adding, to.removing) = (Vec::new(), Vec::new());
    }

    fn min_insync_replicas(&self) -> usize {
        self.min_insync_replicas.min(self.to.replicas.len())
    }

    /// Who has left while too few were in sync has all that was committed, for nothing was committed since.
    fn settle_eligible(&mut self) {
        if !self.has_eligible {
            return;
        }
        if self.to.isr.len() >= self.min_insync_replicas() {
            self.to.elr.clear();
            return;
        }
        let candidates: BTreeSet<_> = self.to.elr.iter().chain(&self.before.isr).copied().collect();
        let is_eligible = |replica: &BrokerId| {
            self.to.replicas.contains(replica)
                && !self.to.isr.contains(replica)
                && self.unclean != Some(*replica)
        };
        self.to.elr = candidates.into_iter().filter(is_eligible).collect();
    }

    fn elect(&mut self) {
        let (leader, clean) = self.choose();
        if leader == self.before.leader {
            return;
        }
        self.to.leader = leader;
        let Some(leader) = leader else { return };
        if !clean {
            self.to.isr = vec![leader];
            self.to.elr.clear();
            self.to.recovering = true;
        } else if self.to.isr.is_empty() {
            self.to.isr = vec![leader];
            self.to.elr.retain(|replica| *replica != leader);
            if self.min_insync_replicas() <= 1 {
                self.to.elr.clear();
            }
        }
    }

    /// Who is to lead, and whether it has all that was committed.
    fn choose(&self) -> (Option<BrokerId>, bool) {
        let to = &self.to;
        let preferred = to.replicas.first().filter(|_| self.election == Election::Preferred);
        let others = preferred.into_iter().chain(&self.before.leader).chain(&to.replicas);
        if let Some(leader) = others.copied().find(|replica| self.is_clean(*replica)) {
            return (Some(leader), true);
        }
        let any = match to.last_known_elr[..] {
            // The one that led last has most of what was committed.
            [last]
                if self.has_eligible
                    && to.isr.is_empty()
                    && to.elr.is_empty()
                    && self.can_replace(last) =>
            {
                Some(last)
            }
            _ if self.election == Election::Unclean => {
                to.replicas.iter().copied().find(|replica| self.may_lead(*replica))
            }
            _ => None,
        };
        (any, any.is_none())
    }

    /// Whether a broker may lead without loss.
    fn is_clean(&self, replica: BrokerId) -> bool {
        let set = if self.to.isr.is_empty() { &self.to.elr } else { &self.to.isr };
        set.contains(&replica) && self.may_lead(replica)
    }

    /// Whether its broker is there, and its log.
    fn may_lead(&self, replica: BrokerId) -> bool {
        (self.can_lead)(replica) && !self.to.offline.contains(&replica)
    }

    fn can_replace(&self, last: BrokerId) -> bool {
        self.to.replicas.contains(&last) && self.may_lead(last)
    }

    /// Where nobody is eligible, the last replicas in sync stay so when they leave: they lead again when they are back.
    fn keep_last_in_sync(&mut self) {
        let Self { before, to, .. } = self;
        to.elr.clear();
        if to.isr.is_empty() {
            to.isr.clone_from(&before.isr);
            to.isr.retain(|replica| to.replicas.contains(replica));
        }
    }

    /// Who led when the last replica in sync left is remembered until there is a leader again.
    fn note_last_leader(&mut self) {
        match self.before.leader {
            _ if self.to.leader.is_some() => self.to.last_known_elr.clear(),
            Some(leader) if self.to.isr.is_empty() => self.to.last_known_elr = vec![leader],
            _ => {}
        }
        let Self { to, .. } = self;
        to.last_known_elr.retain(|replica| to.replicas.contains(replica));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[i32]) -> Vec<BrokerId> {
        ids.iter().copied().map(BrokerId).collect()
    }

    /// Replicas 1, 2 and 3, of which these are in sync and eligible. Two have to be in sync.
    fn partition(isr: &[i32], elr: &[i32], leader: Option<i32>) -> PartitionImage {
        PartitionImage {
            isr: ids(isr),
            elr: ids(elr),
            leader: leader.map(BrokerId),
            leader_epoch: LeaderEpoch(5),
            partition_epoch: 9,
            ..PartitionImage::new(ids(&[1, 2, 3]))
        }
    }

    fn change(
        before: &PartitionImage,
        alive: &[i32],
        fill: impl FnOnce(&mut PartitionChange<'_>),
    ) -> Option<PartitionImage> {
        let can_lead = |broker: BrokerId| alive.contains(&broker.0);
        let mut change = PartitionChange::new(before, 2, &can_lead);
        fill(&mut change);
        change.finish()
    }

    #[test]
    fn who_leaves_while_too_few_are_in_sync_stays_eligible() {
        let all = partition(&[1, 2, 3], &[], Some(1));
        let two = change(&all, &[2, 3], |change| change.to.isr = ids(&[2, 3])).unwrap();
        assert_eq!((two.leader, &two.elr), (Some(BrokerId(2)), &ids(&[])));
        assert_eq!((two.leader_epoch.0, two.partition_epoch), (6, 10));
        let one = change(&two, &[2, 3], |change| change.to.isr = ids(&[2])).unwrap();
        assert_eq!((&one.isr, &one.elr), (&ids(&[2]), &ids(&[3])));
        assert_eq!((one.leader_epoch.0, one.partition_epoch), (6, 11), "no new leader");
        let none = change(&one, &[], |change| change.to.isr = ids(&[])).unwrap();
        assert_eq!((none.leader, &none.elr), (None, &ids(&[2, 3])));
        assert_eq!(none.last_known_elr, ids(&[2]));
        let again = change(&none, &[3], |_| {}).unwrap();
        assert_eq!(
            (again.leader, &again.isr, &again.elr),
            (Some(BrokerId(3)), &ids(&[3]), &ids(&[2]))
        );
        assert!(!again.recovering && again.last_known_elr.is_empty());
    }

    #[test]
    fn the_last_leader_is_the_last_resort_and_only_if_it_is_alive() {
        let gone = PartitionImage { last_known_elr: ids(&[3]), ..partition(&[], &[], None) };
        assert_eq!(change(&gone, &[1, 2], |_| {}), None);
        let back = change(&gone, &[1, 3], |_| {}).unwrap();
        assert_eq!((back.leader, &back.isr), (Some(BrokerId(3)), &ids(&[3])));
        assert!(back.recovering && back.last_known_elr.is_empty());
        let unclean = |change: &mut PartitionChange<'_>| change.election = Election::Unclean;
        let forced = change(&gone, &[2], unclean).unwrap();
        assert_eq!((forced.leader, &forced.isr), (Some(BrokerId(2)), &ids(&[2])));
        assert!(forced.recovering);
    }

    #[test]
    fn who_may_have_lost_records_is_not_eligible() {
        let one = partition(&[2], &[3], Some(2));
        let lost = |change: &mut PartitionChange<'_>| {
            change.to.isr = ids(&[]);
            change.unclean = Some(BrokerId(2));
        };
        let none = change(&one, &[], lost).unwrap();
        assert_eq!((&none.elr, &none.last_known_elr), (&ids(&[3]), &ids(&[2])));
        assert_eq!(change(&none, &[2], |_| {}), None, "the eligible one is waited for");
    }

    #[test]
    fn where_nobody_is_eligible_the_last_in_sync_stays_so() {
        let off = |change: &mut PartitionChange<'_>, isr: &[i32]| {
            change.has_eligible = false;
            change.to.isr = ids(isr);
        };
        let two = partition(&[1, 2], &[], Some(1));
        let one = change(&two, &[2], |change| off(change, &[2])).unwrap();
        assert_eq!((one.leader, &one.isr, &one.elr), (Some(BrokerId(2)), &ids(&[2]), &ids(&[])));
        let none = change(&one, &[], |change| off(change, &[])).unwrap();
        assert_eq!((none.leader, &none.isr, &none.elr), (None, &ids(&[2]), &ids(&[])));
        assert!(none.last_known_elr.is_empty());
        assert_eq!(change(&none, &[1], |change| off(change, &[2])), None, "2 is waited for");
        let back = change(&none, &[1, 2], |change| off(change, &[2])).unwrap();
        assert_eq!((back.leader, back.recovering), (Some(BrokerId(2)), false));
        // What was eligible before the feature was switched off may still lead.
        let before = partition(&[], &[2, 3], None);
        let after = change(&before, &[2], |change| off(change, &[])).unwrap();
        assert_eq!((after.leader, &after.isr), (Some(BrokerId(2)), &ids(&[2])));
        assert!(after.elr.is_empty() && !after.recovering);
    }

    #[test]
    fn the_preferred_replica_leads_if_it_is_in_sync() {
        let preferred = |change: &mut PartitionChange<'_>| change.election = Election::Preferred;
        let elect = |isr: &[i32], alive: &[i32]| {
            change(&partition(isr, &[], Some(2)), alive, preferred).map(|now| now.leader)
        };
        assert_eq!(elect(&[2, 1], &[1, 2]), Some(Some(BrokerId(1))));
        assert_eq!(elect(&[2, 1], &[2]), None);
        assert_eq!(elect(&[2, 3], &[1, 2, 3]), None);
    }

    #[test]
    fn a_reassignment_ends_when_those_that_came_are_in_sync() {
        let moving = PartitionImage {
            replicas: ids(&[3, 2, 1]),
            adding: ids(&[3]),
            removing: ids(&[1]),
            ..partition(&[1, 2], &[], Some(1))
        };
        let alive = [1, 2, 3];
        assert_eq!(change(&moving, &alive, |_| {}), None);
        let done = change(&moving, &alive, |change| change.to.isr = ids(&[1, 2, 3])).unwrap();
        assert_eq!((&done.replicas, &done.isr), (&ids(&[3, 2]), &ids(&[2, 3])));
        assert_eq!((done.leader, done.leader_epoch.0), (Some(BrokerId(3)), 6));
        assert!(!done.is_reassigned());
        let without_2 = change(&moving, &alive, |change| change.to.isr = ids(&[1, 3])).unwrap();
        assert_eq!((&without_2.replicas, &without_2.isr), (&ids(&[3, 2]), &ids(&[3])));
        // Fewer come than go: who stays has to have the records.
        let fewer = PartitionImage { adding: ids(&[]), ..moving };
        assert_eq!(change(&fewer, &alive, |change| change.to.isr = ids(&[1, 2])), None);
        let done = change(&fewer, &alive, |change| change.to.isr = ids(&[1, 2, 3])).unwrap();
        assert_eq!(done.replicas, ids(&[3, 2]));
    }
}
