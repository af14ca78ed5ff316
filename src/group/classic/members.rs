//! The members of a classic group, and what is counted over them.
//!
//! Owns who is in the group, who was given an id and has not joined yet, who waits for an answer, and when each of them is
//! given up. It takes no decision about the group.
//!
//! **Invariants:** `joining` counts the members with a waiting join; `supporters` counts for each protocol the members
//! that have it; `sessions` holds exactly the deadlines of members and of pending ones; the leader is a member, unless the
//! group is empty or was loaded from a damaged record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::coordinator::Ticket;
use crate::group::{InstanceId, MemberId};
use crate::model::Instant;

/// A protocol that a member offers, with what it says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Protocol {
    pub(super) name: Arc<str>,
    pub(super) metadata: Bytes,
}

/// What a member says of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// In order of preference.
    pub(super) protocols: Vec<Protocol>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
}

/// A member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<InstanceId>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) offer: Offer,
    /// Empty until the leader gave one.
    pub(super) assignment: Bytes,
    /// Whether it has not seen a generation yet: then waiting for one does not keep it alive for ever.
    pub(super) is_new: bool,
    /// Whose SyncGroup waits for the assignment.
    pub(super) sync: Option<Ticket>,
    join: Option<Ticket>,
    deadline: Option<Instant>,
}

impl Member {
    /// A member that waits for nothing and has no deadline.
    pub(super) fn new(
        instance: Option<InstanceId>,
        client_id: Arc<str>,
        client_host: Arc<str>,
        offer: Offer,
    ) -> Self {
        Self {
            instance,
            client_id,
            client_host,
            offer,
            assignment: Bytes::new(),
            is_new: false,
            sync: None,
            join: None,
            deadline: None,
        }
    }

    /// Whether its JoinGroup waits for the next generation.
    pub(super) const fn is_joining(&self) -> bool {
        self.join.is_some()
    }

    /// Whether it need not send heartbeats: it waits for us.
    pub(super) const fn is_excused(&self) -> bool {
        !self.is_new && (self.join.is_some() || self.sync.is_some())
    }

    /// What it said about a protocol; empty if it does not have it.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.offer.protocols.iter().find(|offered| *offered.name == *protocol);
        found.map(|offered| offered.metadata.clone()).unwrap_or_default()
    }

    /// Names of its protocols, each once.
    fn protocol_names(&self) -> BTreeSet<Arc<str>> {
        self.offer.protocols.iter().map(|protocol| Arc::clone(&protocol.name)).collect()
    }
}

/// The members of a group.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_id: BTreeMap<MemberId, Member>,
    statics: BTreeMap<InstanceId, MemberId>,
    /// Given an id (KIP-394) and not yet joined, with the time until which the id is kept.
    pending: BTreeMap<MemberId, Instant>,
    sessions: BTreeSet<(Instant, MemberId)>,
    supporters: BTreeMap<Arc<str>, usize>,
    joining: usize,
    leader: Option<MemberId>,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    pub(super) const fn joining_count(&self) -> usize {
        self.joining
    }

    /// Whether everybody known waits for the next generation.
    pub(super) fn all_joined(&self) -> bool {
        self.by_id.len() == self.joining && self.pending.is_empty()
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    pub(super) fn get(&self, id: &str) -> Option<&Member> {
        self.by_id.get(id)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&MemberId, &Member)> {
        self.by_id.iter()
    }

    pub(super) fn ids(&self) -> Vec<MemberId> {
        self.by_id.keys().cloned().collect()
    }

    pub(super) fn is_pending(&self, id: &str) -> bool {
        self.pending.contains_key(id)
    }

    /// The member that is known by this instance.
    pub(super) fn by_instance(&self, instance: &str) -> Option<&MemberId> {
        self.statics.get(instance)
    }

    pub(super) const fn leader(&self) -> Option<&MemberId> {
        self.leader.as_ref()
    }

    pub(super) fn is_leader(&self, id: &str) -> bool {
        self.leader.as_ref().is_some_and(|leader| leader.as_str() == id)
    }

    pub(super) fn set_leader(&mut self, leader: Option<MemberId>) {
        self.leader = leader;
    }

    /// The longest rebalance timeout of a member, in milliseconds.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        let longest = self.by_id.values().map(|member| member.offer.rebalance_timeout_ms).max();
        longest.and_then(|timeout| u64::try_from(timeout).ok()).unwrap_or(0)
    }

    /// Whether each member has one of these protocols in common with the others.
    pub(super) fn support_one_of<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        names.any(|name| self.supporters.get(name).copied().unwrap_or(0) == self.len())
    }

    /// The protocol that most members prefer among those that all have; of equals the first by name. None without
    /// members.
    pub(super) fn preferred_protocol(&self) -> Option<Arc<str>> {
        let is_candidate =
            |protocol: &&Protocol| self.supporters.get(&protocol.name) == Some(&self.by_id.len());
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.by_id.values() {
            if let Some(vote) = member.offer.protocols.iter().find(is_candidate) {
                *votes.entry(&vote.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| Arc::clone(name))
    }

    /// Remembers that this id was given to a client.
    pub(super) fn add_pending(&mut self, id: MemberId, deadline: Instant) {
        self.sessions.insert((deadline, id.clone()));
        self.pending.insert(id, deadline);
    }

    /// Adds a member, which leads if nobody else does.
    pub(super) fn add(&mut self, id: MemberId, member: Member) {
        self.forget_pending(id.as_str());
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.count_protocols(&member);
        self.joining += usize::from(member.is_joining());
        if let Some(deadline) = member.deadline {
            self.sessions.insert((deadline, id.clone()));
        }
        let replaced = self.by_id.insert(id, member);
        assert!(replaced.is_none(), "a member is added once");
    }

    /// Removes a member or a pending one. If it led, the next one does.
    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        self.forget_pending(id);
        let (id, member) = self.by_id.remove_entry(id)?;
        self.uncount_protocols(&member);
        self.joining -= usize::from(member.is_joining());
        if let Some(deadline) = member.deadline {
            self.sessions.remove(&(deadline, id.clone()));
        }
        if let Some(instance) = &member.instance
            && self.statics.get(instance) == Some(&id)
        {
            self.statics.remove(instance);
        }
        if self.is_leader(id.as_str()) {
            self.leader = self.by_id.keys().next().cloned();
        }
        Some(member)
    }

    fn forget_pending(&mut self, id: &str) {
        if let Some((id, deadline)) = self.pending.remove_entry(id) {
            self.sessions.remove(&(deadline, id));
        }
    }

    /// Gives a static member a new id and forgets whom its old incarnation waited for; both tickets are returned, the
    /// join's first.
    pub(super) fn replace(
        &mut self,
        old: &MemberId,
        new: MemberId,
    ) -> (Option<Ticket>, Option<Ticket>) {
        let led = self.is_leader(old.as_str());
        let mut member = self.remove(old.as_str()).expect("only a member is replaced");
        let waiting = (member.join.take(), member.sync.take());
        member.is_new = false;
        if led {
            self.leader = Some(new.clone());
        }
        self.add(new, member);
        waiting
    }

    /// Takes what a member says when it joins again.
    pub(super) fn update(&mut self, id: &str, offer: Offer) {
        let (id, mut member) = self.by_id.remove_entry(id).expect("only a member is updated");
        self.uncount_protocols(&member);
        member.offer = offer;
        self.count_protocols(&member);
        self.by_id.insert(id, member);
    }

    fn count_protocols(&mut self, member: &Member) {
        for name in member.protocol_names() {
            *self.supporters.entry(name).or_default() += 1;
        }
    }

    fn uncount_protocols(&mut self, member: &Member) {
        for name in member.protocol_names() {
            let count = self.supporters.get_mut(&name).expect("it was counted when it came");
            *count -= 1;
            if *count == 0 {
                self.supporters.remove(&name);
            }
        }
    }

    /// Lets a member wait for the next generation; returns who waited in its name before.
    pub(super) fn set_join(&mut self, id: &str, ticket: Ticket) -> Option<Ticket> {
        let member = self.by_id.get_mut(id)?;
        let before = member.join.replace(ticket);
        self.joining += usize::from(before.is_none());
        before
    }

    /// Ends a member's wait for the next generation.
    pub(super) fn take_join(&mut self, id: &str) -> Option<Ticket> {
        let taken = self.by_id.get_mut(id)?.join.take();
        self.joining -= usize::from(taken.is_some());
        taken
    }

    /// Changes what the counts and deadlines do not depend on.
    pub(super) fn edit<T>(&mut self, id: &str, edit: impl FnOnce(&mut Member) -> T) -> Option<T> {
        self.by_id.get_mut(id).map(edit)
    }

    /// Sets when a member is given up.
    pub(super) fn set_deadline(&mut self, id: &str, deadline: Instant) {
        let Some((key, _)) = self.by_id.get_key_value(id) else {
            return;
        };
        let key = key.clone();
        let member = self.by_id.get_mut(id).expect("its key was just found");
        match member.deadline.replace(deadline) {
            Some(before) => {
                let mut entry = (before, key);
                self.sessions.remove(&entry);
                entry.0 = deadline;
                self.sessions.insert(entry);
            }
            None => {
                self.sessions.insert((deadline, key));
            }
        }
    }

    /// Sets when a member is given up: when it has been silent for its session timeout.
    pub(super) fn begin_session(&mut self, id: &str, now: Instant) {
        if let Some(member) = self.by_id.get(id) {
            self.set_deadline(id, now.plus(millis(member.offer.session_timeout_ms)));
        }
    }

    /// The earliest deadline of all.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.sessions.first().map(|(deadline, _)| *deadline)
    }

    /// The member, pending or not, whose deadline passed first. It has none any more.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<MemberId> {
        if self.next_deadline()? > now {
            return None;
        }
        let (_, id) = self.sessions.pop_first()?;
        if let Some(member) = self.by_id.get_mut(&id) {
            member.deadline = None;
        }
        Some(id)
    }
}

/// A timeout from the wire; negative ones count as 0.
pub(super) fn millis(timeout: i32) -> std::time::Duration {
    std::time::Duration::from_millis(u64::try_from(timeout).unwrap_or(0))
}
