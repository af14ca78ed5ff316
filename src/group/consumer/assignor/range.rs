//! `range`: of each topic, neighbouring partitions for each member (`RangeAssignor` of Kafka).
//!
//! Static members come first, by their instances, then the others by their ids: topics with equally many partitions and
//! the same subscribers are divided alike, so that they can be joined partition by partition.

use std::collections::BTreeMap;

use super::{Problem, Subscriber};
use crate::group::records::consumer::Assignment;
use crate::model::{PartitionId, TopicId};

/// What is left of a topic.
struct Rest {
    next: i32,
    partitions: i32,
    members: i32,
}

pub(super) fn assign(problem: &Problem<'_>) -> Vec<Assignment> {
    let mut rests: BTreeMap<TopicId, Rest> = BTreeMap::new();
    for member in &problem.members {
        for topic in member.topics.iter() {
            let partitions = problem.partition_counts.get(topic).copied().unwrap_or(0);
            let rest = rests.entry(*topic).or_insert(Rest { next: 0, partitions, members: 0 });
            rest.members += 1;
        }
    }
    let mut order: Vec<usize> = (0..problem.members.len()).collect();
    order.sort_by_key(|index| rank(&problem.members[*index]));
    let mut assignments = vec![Assignment::new(); problem.members.len()];
    for index in order {
        for topic in problem.members[index].topics.iter() {
            let Some(rest) = rests.get_mut(topic) else {
                continue;
            };
            // The first members get one more where it does not come out even.
            let share = (rest.partitions + rest.members - 1) / rest.members;
            let range = rest.next..rest.next + share;
            (rest.next, rest.partitions, rest.members) =
                (range.end, rest.partitions - share, rest.members - 1);
            if !range.is_empty() {
                assignments[index].insert(*topic, range.map(PartitionId).collect());
            }
        }
    }
    assignments
}

fn rank<'a>(member: &Subscriber<'a>) -> (bool, &'a str, &'a str) {
    (member.instance.is_none(), member.instance.unwrap_or_default(), member.id.as_str())
}
