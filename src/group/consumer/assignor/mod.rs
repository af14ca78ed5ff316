//! How the partitions of topics are divided among the members that subscribe to them.
//!
//! Owns the assignors that a consumer group may name: `uniform` and `range`, as `UniformAssignor` and `RangeAssignor` of
//! Apache Kafka 4.3.1 divide (neither looks at racks there). Pure functions: the same problem has the same solution.
//!
//! **Invariant:** each partition of each topic that somebody subscribes to goes to exactly one member, which subscribes to
//! the topic; nothing else is assigned.

mod balance;
mod range;
mod uniform;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::group::MemberId;
use crate::group::records::consumer::Assignment;
use crate::model::{PartitionId, TopicId};

/// An assignor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// As even as subscriptions allow, with as few moves as that takes.
    Uniform,
    /// Neighbouring partitions of each topic, the same of all topics that the same members subscribe to.
    Range,
}

impl Assignor {
    /// The assignor of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "range" => Some(Self::Range),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// Divides. The assignments stand in the order of the members.
    #[must_use]
    pub fn assign(self, problem: &Problem<'_>) -> Vec<Assignment> {
        match self {
            Self::Uniform if problem.is_homogeneous() => uniform::assign(problem),
            Self::Uniform => balance::assign(problem),
            Self::Range => range::assign(problem),
        }
    }
}

/// What is to be divided, and among whom.
#[derive(Debug)]
pub struct Problem<'a> {
    /// The members, in the order of their ids.
    pub members: Vec<Subscriber<'a>>,
    /// How many partitions each topic has that somebody subscribes to.
    pub partition_counts: BTreeMap<TopicId, i32>,
}

/// A member, as an assignor sees it.
#[derive(Clone, Debug)]
pub struct Subscriber<'a> {
    /// Its id.
    pub id: &'a MemberId,
    /// Its instance, if it is static.
    pub instance: Option<&'a str>,
    /// The topics it subscribes to, as far as they exist.
    pub topics: Rc<BTreeSet<TopicId>>,
    /// What it was to own so far.
    pub previous: &'a Assignment,
}

impl Problem<'_> {
    /// Whether all members subscribe to the same topics.
    fn is_homogeneous(&self) -> bool {
        let mut members = self.members.iter();
        let Some(first) = members.next() else {
            return true;
        };
        members.all(|member| {
            Rc::ptr_eq(&member.topics, &first.topics) || member.topics == first.topics
        })
    }

    /// What each member may keep of what it was to own: what it still subscribes to and no other member has.
    fn kept(&self) -> (Vec<Assignment>, Unassigned) {
        let mut unassigned = Unassigned::all(self);
        let kept = self.members.iter().map(|member| {
            let topics = member.previous.iter().filter(|(topic, _)| member.topics.contains(topic));
            let mut kept = Assignment::new();
            for (topic, partitions) in topics {
                let taken: BTreeSet<_> = partitions
                    .iter()
                    .copied()
                    .filter(|partition| unassigned.take(*topic, *partition))
                    .collect();
                if !taken.is_empty() {
                    kept.insert(*topic, taken);
                }
            }
            kept
        });
        (kept.collect(), unassigned)
    }
}

/// The partitions that nobody has.
#[derive(Debug)]
struct Unassigned(BTreeMap<TopicId, BTreeSet<PartitionId>>);

impl Unassigned {
    fn all(problem: &Problem<'_>) -> Self {
        let topics = problem.partition_counts.iter();
        Self(
            topics.map(|(topic, count)| (*topic, (0..*count).map(PartitionId).collect())).collect(),
        )
    }

    /// Whether it was there.
    fn take(&mut self, topic: TopicId, partition: PartitionId) -> bool {
        self.0.get_mut(&topic).is_some_and(|partitions| partitions.remove(&partition))
    }

    fn put(&mut self, topic: TopicId, partition: PartitionId) {
        self.0.entry(topic).or_default().insert(partition);
    }

    fn into_iter(self) -> impl Iterator<Item = (TopicId, PartitionId)> {
        let topics = self.0.into_iter();
        topics.flat_map(|(topic, partitions)| partitions.into_iter().map(move |it| (topic, it)))
    }
}

#[cfg(test)]
mod tests;
