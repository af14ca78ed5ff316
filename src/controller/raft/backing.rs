//! Who has taken this node for the leader, and when: nobody else was elected before a majority did. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

use crate::model::Instant;

/// When each node was last asked something as by its leader that it has answered as such.
#[derive(Debug, Default)]
pub(super) struct Backing {
    /// By raft id. The moment is when it was asked, for that is all that is certain: either side may have been stopped since.
    asked: watch::Sender<BTreeMap<u64, Instant>>,
}

impl Backing {
    /// A node has answered what it was asked then.
    pub(super) fn note(&self, raft_id: u64, asked: Instant) {
        self.asked.send_if_modified(|all| {
            let known = all.entry(raft_id).or_insert(asked);
            let is_newer = *known <= asked;
            *known = asked.max(*known);
            is_newer
        });
    }

    /// Tells when another node has answered.
    pub(super) fn changes(&self) -> watch::Receiver<BTreeMap<u64, Instant>> {
        self.asked.subscribe()
    }

    /// The last moment at which a majority of each set of voters certainly had no newer leader than this node; none if there was no
    /// such moment.
    pub(super) fn since(
        &self,
        voters: &[BTreeSet<u64>],
        own: u64,
        now: Instant,
    ) -> Option<Instant> {
        let asked = self.asked.borrow();
        let backed = |voters: &BTreeSet<u64>| {
            let moment = |voter: &u64| match *voter == own {
                true => Some(now),
                false => asked.get(voter).copied(),
            };
            let mut moments: Vec<Option<Instant>> = voters.iter().map(moment).collect();
            moments.sort_unstable();
            // This one and those after it are more than half.
            *moments.get(moments.len().checked_sub(1)? / 2)?
        };
        voters.iter().map(backed).min().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    fn voters(sets: &[&[u64]]) -> Vec<BTreeSet<u64>> {
        sets.iter().map(|set| set.iter().copied().collect()).collect()
    }

    #[test]
    fn a_majority_of_each_set_counts() {
        let backing = Backing::default();
        let since = |sets: &[&[u64]]| backing.since(&voters(sets), 1, at(9));
        assert_eq!(since(&[&[1]]), Some(at(9)));
        assert_eq!(since(&[&[1, 2, 3]]), None);
        assert_eq!(since(&[&[]]), None);
        assert_eq!(since(&[]), None);
        backing.note(2, at(4));
        backing.note(3, at(6));
        backing.note(3, at(5));
        assert_eq!(since(&[&[1, 2, 3]]), Some(at(6)));
        assert_eq!(since(&[&[1, 2]]), Some(at(4)));
        assert_eq!(
            since(&[&[2, 3]]),
            Some(at(4)),
            "a leader that does not vote counts for nothing"
        );
        assert_eq!(since(&[&[1, 2, 3, 4]]), Some(at(4)));
        assert_eq!(since(&[&[1, 2, 3], &[1, 4, 5]]), None);
    }

    proptest! {
        #[test]
        fn a_majority_was_asked_at_that_moment_or_later_and_at_no_later_one(
            noted in prop::collection::vec((2_u64..8, 0_u64..20), 0..20),
            voters in prop::collection::btree_set(1_u64..8, 1..7),
        ) {
            let backing = Backing::default();
            let mut model = BTreeMap::from([(1, 20)]);
            for (voter, asked) in noted {
                backing.note(voter, at(asked));
                let known = model.entry(voter).or_insert(asked);
                *known = asked.max(*known);
            }
            let is_backed = |moment: u64| {
                let later = |voter: &&u64| model.get(voter).is_some_and(|asked| *asked >= moment);
                voters.iter().filter(later).count() * 2 > voters.len()
            };
            let expected = (0..=20).rev().find(|moment| is_backed(*moment)).map(at);
            prop_assert_eq!(backing.since(std::slice::from_ref(&voters), 1, at(20)), expected);
        }
    }
}
