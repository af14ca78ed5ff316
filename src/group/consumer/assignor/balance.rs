//! `uniform` where members subscribe to different topics (`UniformHeterogeneousAssignmentBuilder` of Kafka).
//!
//! Members keep what they have; free partitions go to whoever has least of those that subscribe to the topic, topics with
//! most partitions per subscriber first; then partitions move from members with many to members with few, topic by topic,
//! until no topic has subscribers that differ by more than one, or after a bounded number of rounds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Problem;
use crate::group::records::consumer::Assignment;
use crate::model::{PartitionId, TopicId};

/// Moves may make others necessary; it ends here at the latest.
const ROUNDS_MAX: usize = 16;

pub(super) fn assign(problem: &Problem<'_>) -> Vec<Assignment> {
    let (assignments, unassigned) = problem.kept();
    let mut balance = Balance::new(problem, assignments);
    let topics = balance.topics_in_order(problem);
    for topic in &topics {
        let free = unassigned.0.get(topic).into_iter().flatten();
        balance.give_out(*topic, free);
    }
    let mut last_moved = None;
    for _ in 0..ROUNDS_MAX {
        for topic in &topics {
            if last_moved == Some(*topic) {
                // All other topics were looked at since, and nothing moved.
                return balance.assignments;
            }
            if balance.level(*topic) || last_moved.is_none() {
                last_moved = Some(*topic);
            }
        }
    }
    balance.assignments
}

/// Assignments on their way, with how much each member has.
struct Balance {
    assignments: Vec<Assignment>,
    loads: Vec<usize>,
    subscribers: BTreeMap<TopicId, Vec<usize>>,
}

impl Balance {
    fn new(problem: &Problem<'_>, assignments: Vec<Assignment>) -> Self {
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (index, member) in problem.members.iter().enumerate() {
            for topic in member.topics.iter() {
                subscribers.entry(*topic).or_default().push(index);
            }
        }
        let loads = assignments.iter().map(|it| it.values().map(BTreeSet::len).sum()).collect();
        Self { assignments, loads, subscribers }
    }

    /// Most partitions per subscriber first, then fewest subscribers.
    fn topics_in_order(&self, problem: &Problem<'_>) -> Vec<TopicId> {
        let mut topics: Vec<_> = self.subscribers.iter().collect();
        let partitions = |topic| problem.partition_counts.get(topic).map_or(0, |it| i64::from(*it));
        topics.sort_by(|(a, a_members), (b, b_members)| {
            let (a_count, b_count) = (a_members.len(), b_members.len());
            // Compared as fractions, without rounding.
            let per_a = partitions(a) * i64::try_from(b_count).unwrap_or(i64::MAX);
            let per_b = partitions(b) * i64::try_from(a_count).unwrap_or(i64::MAX);
            per_b.cmp(&per_a).then(a_count.cmp(&b_count)).then(a.cmp(b))
        });
        topics.into_iter().map(|(topic, _)| *topic).collect()
    }

    fn by_load(&self, members: &[usize]) -> BTreeSet<(usize, usize)> {
        members.iter().map(|index| (self.loads[*index], *index)).collect()
    }

    fn give_out<'a>(&mut self, topic: TopicId, free: impl Iterator<Item = &'a PartitionId>) {
        let Some(members) = self.subscribers.get(&topic) else {
            return;
        };
        let mut by_load = self.by_load(members);
        for partition in free {
            let Some((load, index)) = by_load.pop_first() else {
                return;
            };
            self.assignments[index].entry(topic).or_default().insert(*partition);
            self.loads[index] = load + 1;
            by_load.insert((load + 1, index));
        }
    }

    /// Moves partitions of this topic from who has most to who has least, while they differ by more than one. Returns
    /// whether one moved.
    fn level(&mut self, topic: TopicId) -> bool {
        let Some(members) = self.subscribers.get(&topic) else {
            return false;
        };
        let mut poorest = self.by_load(members);
        let has_some = |index: &usize| self.assignments[*index].contains_key(&topic);
        let givers: Vec<usize> = members.iter().copied().filter(has_some).collect();
        let mut richest: BTreeSet<_> =
            givers.into_iter().map(|index| Reverse((self.loads[index], index))).collect();
        let mut moved = false;
        while let (Some(Reverse((high, from))), Some((low, to))) =
            (richest.pop_first(), poorest.first().copied())
        {
            if high - low <= 1 {
                break;
            }
            let Some(partitions) = self.assignments[from].get_mut(&topic) else {
                continue;
            };
            let Some(partition) = partitions.pop_last() else {
                continue;
            };
            let gives_more = !partitions.is_empty();
            if !gives_more {
                self.assignments[from].remove(&topic);
            }
            let was_giver = self.assignments[to].contains_key(&topic);
            self.assignments[to].entry(topic).or_default().insert(partition);
            self.loads[from] = high - 1;
            self.loads[to] = low + 1;
            poorest.remove(&(high, from));
            poorest.remove(&(low, to));
            poorest.extend([(high - 1, from), (low + 1, to)]);
            if gives_more {
                richest.insert(Reverse((high - 1, from)));
            }
            if was_giver {
                richest.remove(&Reverse((low, to)));
            }
            richest.insert(Reverse((low + 1, to)));
            moved = true;
        }
        moved
    }
}
