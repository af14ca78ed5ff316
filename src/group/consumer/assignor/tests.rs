//! What the assignors promise, for random groups.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;
use uuid::Uuid;

use super::{Assignor, Problem, Subscriber};
use crate::group::MemberId;
use crate::group::records::consumer::Assignment;
use crate::model::{PartitionId, TopicId};

fn topic(number: usize) -> TopicId {
    TopicId(Uuid::from_u128(number as u128 + 1))
}

fn ids(count: usize) -> Vec<MemberId> {
    (0..count).map(|number| format!("m{number:03}").as_str().into()).collect()
}

fn solve(
    assignor: Assignor,
    counts: &[i32],
    ids: &[MemberId],
    subscriptions: &[BTreeSet<usize>],
    previous: &[Assignment],
) -> Vec<Assignment> {
    let members: Vec<_> = ids
        .iter()
        .zip(subscriptions)
        .zip(previous)
        .map(|((id, topics), previous)| Subscriber {
            id,
            instance: None,
            topics: Rc::new(topics.iter().map(|number| topic(*number)).collect()),
            previous,
        })
        .collect();
    let subscribed: BTreeSet<usize> = subscriptions.iter().flatten().copied().collect();
    let partition_counts: BTreeMap<_, _> =
        subscribed.iter().map(|number| (topic(*number), counts[*number])).collect();
    let problem = Problem { members, partition_counts };
    let assignments = assignor.assign(&problem);
    check(&problem, &assignments);
    assignments
}

/// Each partition to exactly one member, which subscribes.
fn check(problem: &Problem<'_>, assignments: &[Assignment]) {
    assert_eq!(assignments.len(), problem.members.len());
    let mut assigned = BTreeSet::new();
    for (member, assignment) in problem.members.iter().zip(assignments) {
        for (topic, partitions) in assignment {
            assert!(member.topics.contains(topic), "{} does not subscribe", member.id);
            assert!(!partitions.is_empty());
            for partition in partitions {
                assert!(assigned.insert((*topic, *partition)), "{topic}-{partition} twice");
            }
        }
    }
    let all = problem.partition_counts.iter();
    let all: BTreeSet<_> = all
        .flat_map(|(topic, count)| (0..*count).map(|partition| (*topic, PartitionId(partition))))
        .collect();
    assert_eq!(assigned, all);
}

fn load(assignment: &Assignment) -> usize {
    assignment.values().map(BTreeSet::len).sum()
}

fn moved(before: &[Assignment], after: &[Assignment]) -> usize {
    let kept: usize = before
        .iter()
        .zip(after)
        .map(|(before, after)| {
            let common = before.iter().filter_map(|(topic, it)| Some((it, after.get(topic)?)));
            common.map(|(a, b)| a.intersection(b).count()).sum::<usize>()
        })
        .sum();
    before.iter().map(load).sum::<usize>() - kept
}

fn none(count: usize) -> Vec<Assignment> {
    vec![Assignment::new(); count]
}

/// Topics with their partition counts, and what each member subscribes to.
fn group() -> impl Strategy<Value = (Vec<i32>, Vec<BTreeSet<usize>>)> {
    prop::collection::vec(1..12_i32, 1..6).prop_flat_map(|counts| {
        let topics = prop::collection::btree_set(0..counts.len(), 0..=counts.len());
        (Just(counts), prop::collection::vec(topics, 1..8))
    })
}

proptest! {
    #[test]
    fn uniform_is_even_and_sticky_with_equal_subscriptions(
        counts in prop::collection::vec(0..12_i32, 1..6),
        member_count in 1..10_usize,
        joining in 1..4_usize,
    ) {
        let all: BTreeSet<_> = (0..counts.len()).collect();
        let subscriptions = vec![all; member_count + joining];
        let ids = ids(member_count + joining);
        let few = &ids[..member_count];
        let solve = |ids: &[MemberId], previous: &[Assignment]| {
            let assignments = solve(Assignor::Uniform, &counts, ids, &subscriptions, previous);
            let loads = assignments.iter().map(load);
            let (least, most) = (loads.clone().min().unwrap(), loads.max().unwrap());
            assert!(most - least <= 1, "{least} to {most}");
            assignments
        };
        let first = solve(few, &none(member_count));
        prop_assert_eq!(moved(&first, &solve(few, &first)), 0, "nothing changed, nothing moves");

        // New members take no more than their share.
        let mut previous = first;
        previous.extend(none(joining));
        let grown = solve(&ids, &previous);
        let taken: usize = grown[member_count..].iter().map(load).sum();
        prop_assert_eq!(moved(&previous, &grown), taken);

        // The others keep all they have when members leave.
        let shrunk = solve(few, &grown[..member_count]);
        prop_assert_eq!(moved(&grown[..member_count], &shrunk), 0);
    }

    #[test]
    fn uniform_levels_different_subscriptions((counts, subscriptions) in group()) {
        let ids = ids(subscriptions.len());
        let first = solve(Assignor::Uniform, &counts, &ids, &subscriptions, &none(ids.len()));
        let again = solve(Assignor::Uniform, &counts, &ids, &subscriptions, &first);
        prop_assert_eq!(moved(&first, &again), 0);
        // No single move would make it more even.
        for (from, assignment) in first.iter().enumerate() {
            for topic in assignment.keys() {
                for (to, member) in subscriptions.iter().enumerate() {
                    let subscribes = member.iter().any(|number| self::topic(*number) == *topic);
                    prop_assert!(!subscribes || load(&first[from]) <= load(&first[to]) + 1);
                }
            }
        }
    }

    #[test]
    fn range_gives_neighbours_and_divides_equal_topics_alike((counts, subscriptions) in group()) {
        let ids = ids(subscriptions.len());
        let assignments =
            solve(Assignor::Range, &counts, &ids, &subscriptions, &none(ids.len()));
        for partitions in assignments.iter().flat_map(Assignment::values) {
            let (first, last) = (partitions.first().unwrap().0, partitions.last().unwrap().0);
            prop_assert_eq!(usize::try_from(last - first).unwrap() + 1, partitions.len());
        }
        let subscribers = |number: usize| -> Vec<_> {
            subscriptions.iter().map(|topics| topics.contains(&number)).collect()
        };
        for a in 0..counts.len() {
            for b in 0..counts.len() {
                if counts[a] == counts[b] && subscribers(a) == subscribers(b) {
                    for assignment in &assignments {
                        prop_assert_eq!(assignment.get(&topic(a)), assignment.get(&topic(b)));
                    }
                }
            }
        }
    }
}

#[test]
fn range_puts_static_members_first_and_gives_them_the_larger_shares() {
    let ids = ids(3);
    let previous = Assignment::new();
    let topics = Rc::new(BTreeSet::from([topic(0)]));
    let instances = [None, Some("b"), Some("a")];
    let members = ids.iter().zip(instances).map(|(id, instance)| Subscriber {
        id,
        instance,
        topics: Rc::clone(&topics),
        previous: &previous,
    });
    let problem = Problem { members: members.collect(), partition_counts: [(topic(0), 4)].into() };
    let assignments = Assignor::Range.assign(&problem);
    let partitions: Vec<Vec<i32>> =
        assignments.iter().map(|it| it[&topic(0)].iter().map(|it| it.0).collect()).collect();
    assert_eq!(partitions, [vec![3], vec![2], vec![0, 1]]);
}

#[test]
fn a_partition_that_two_members_were_to_own_stays_with_one() {
    let ids = ids(2);
    let both: Assignment = [(topic(0), [PartitionId(0), PartitionId(9)].into())].into();
    let subscriptions = vec![BTreeSet::from([0]); 2];
    let previous = [both.clone(), both];
    let assignments = solve(Assignor::Uniform, &[2], &ids, &subscriptions, &previous);
    assert_eq!(assignments.iter().map(load).collect::<Vec<_>>(), [1, 1]);
}
