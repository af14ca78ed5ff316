//! Until when a group waits for its members. Soft: it begins anew when the log was loaded.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::MemberId;
use crate::model::Instant;

/// What a group waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// Any sign of life.
    Session,
    /// That the member gives up partitions and leaves this epoch.
    Rebalance,
    /// That a member of the classic protocol joins again.
    Join,
    /// That a member of the classic protocol asks for its assignment.
    Sync,
}

/// A wait that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expired {
    pub(super) member: MemberId,
    pub(super) wait: Wait,
    /// The epoch of the member when the wait began.
    pub(super) epoch: i32,
}

/// The waits of one group.
#[derive(Debug, Default)]
pub(super) struct Timers {
    ends: BTreeMap<(MemberId, Wait), (Instant, i32)>,
    in_order: BTreeSet<(Instant, MemberId, Wait)>,
}

impl Timers {
    /// Waits until then, instead of until when it did so far.
    pub(super) fn set(&mut self, member: &MemberId, wait: Wait, end: Instant, epoch: i32) {
        let before = self.ends.insert((member.clone(), wait), (end, epoch));
        match before {
            Some((before, _)) if before == end => return,
            Some((before, _)) => {
                self.in_order.remove(&(before, member.clone(), wait));
            }
            None => {}
        }
        self.in_order.insert((end, member.clone(), wait));
    }

    /// Waits until then, unless it waits already.
    pub(super) fn set_if_absent(&mut self, member: &MemberId, wait: Wait, end: Instant) {
        if !self.ends.contains_key(&(member.clone(), wait)) {
            self.set(member, wait, end, 0);
        }
    }

    pub(super) fn cancel(&mut self, member: &MemberId, wait: Wait) {
        let key = (member.clone(), wait);
        if let Some((end, _)) = self.ends.remove(&key) {
            self.in_order.remove(&(end, key.0, wait));
        }
    }

    pub(super) fn cancel_all(&mut self, member: &MemberId) {
        for wait in [Wait::Session, Wait::Rebalance, Wait::Join, Wait::Sync] {
            self.cancel(member, wait);
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.in_order.first().map(|(end, _, _)| *end)
    }

    /// Takes the earliest wait that is over.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<Expired> {
        let (end, ..) = self.in_order.first()?;
        if *end > now {
            return None;
        }
        let (_, member, wait) = self.in_order.pop_first()?;
        let (_, epoch) = self.ends.remove(&(member.clone(), wait))?;
        Some(Expired { member, wait, epoch })
    }
}
