//! `uniform` where all members subscribe to the same topics (`UniformHomogeneousAssignmentBuilder` of Kafka).
//!
//! **Invariants:** the members' shares differ by at most one partition; a member loses a partition only if it has more
//! than its share.

use super::Problem;
use crate::group::records::consumer::Assignment;
use crate::model::{PartitionId, TopicId};

/// Each member keeps what it has, up to its share; what is left goes to those that have less.
pub(super) fn assign(problem: &Problem<'_>) -> Vec<Assignment> {
    let member_count = problem.members.len();
    if member_count == 0 {
        return Vec::new();
    }
    let counts = problem.partition_counts.values();
    let partition_count: usize = counts.map(|count| usize::try_from(*count).unwrap_or(0)).sum();
    let share = partition_count / member_count;
    let mut larger_shares = partition_count % member_count;
    let (mut assignments, mut unassigned) = problem.kept();
    let mut missing = vec![0; member_count];
    for (index, (assignment, missing)) in assignments.iter_mut().zip(&mut missing).enumerate() {
        let count = assignment.values().map(std::collections::BTreeSet::len).sum::<usize>();
        // The larger shares go to members that fill them already; to others only when no more of those can come.
        let members_left = member_count - index;
        let is_larger = larger_shares > 0 && (count > share || members_left <= larger_shares);
        let quota = share + usize::from(is_larger);
        larger_shares -= usize::from(is_larger);
        for (topic, partition) in cut(assignment, quota) {
            unassigned.put(topic, partition);
        }
        *missing = quota.saturating_sub(count);
    }
    let mut left = unassigned.into_iter();
    for (assignment, missing) in assignments.iter_mut().zip(missing) {
        for (topic, partition) in left.by_ref().take(missing) {
            assignment.entry(topic).or_default().insert(partition);
        }
    }
    debug_assert!(left.next().is_none(), "the shares cover all partitions");
    assignments
}

/// Takes away what is beyond the first `quota` partitions.
fn cut(assignment: &mut Assignment, mut quota: usize) -> Vec<(TopicId, PartitionId)> {
    let mut given_up = Vec::new();
    assignment.retain(|topic, partitions| {
        let rest = match partitions.iter().nth(quota).copied() {
            Some(first) => partitions.split_off(&first),
            None => std::collections::BTreeSet::new(),
        };
        quota -= partitions.len();
        given_up.extend(rest.into_iter().map(|partition| (*topic, partition)));
        !partitions.is_empty()
    });
    given_up
}
