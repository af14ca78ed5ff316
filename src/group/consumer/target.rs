//! What each member is to own (`TargetAssignmentBuilder` of Kafka).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::assignor::{Assignor, Problem, Subscriber};
use super::member::Member;
use super::{ConsumerGroup, Scope};
use crate::group::MemberId;
use crate::group::records::consumer::{Assignment, ConsumerRecord, TargetEpoch};
use crate::group::turn::Turn;
use crate::model::TopicId;

/// The target of one member.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The epoch that it was divided for.
    pub(super) epoch: i32,
    pub(super) partitions: Arc<Assignment>,
}

impl ConsumerGroup {
    /// The target of a member. If the group went on since the last division, and that is long enough ago, all partitions
    /// are divided anew first.
    pub(super) fn divide_if_needed(
        &self,
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        before: &Member,
        member: &Member,
        epoch: i32,
    ) -> Target {
        if self.target_epoch >= epoch || !self.may_divide(turn, scope) {
            return self.last_target(member);
        }
        let assignor = self.assignor(turn, before, member);
        let members = self.members_with(member);
        let subscriptions = Subscriptions::of(&members, self, scope);
        let nothing = Assignment::new();
        let subscribers = members.iter().zip(&subscriptions.topics).map(|((id, one), topics)| {
            let previous = match *id == &member.id {
                true => self.previous_target(member),
                false => self.targets.get(*id),
            };
            Subscriber {
                id,
                instance: one.metadata.instance.as_ref().map(|it| it.as_str()),
                topics: Rc::clone(topics),
                previous: previous.map_or(&nothing, |it| &**it),
            }
        });
        let problem = Problem {
            members: subscribers.collect(),
            partition_counts: subscriptions.partition_counts,
        };
        let assignments = assignor.assign(&problem);
        let mut own = Arc::new(Assignment::new());
        for (subscriber, assignment) in problem.members.iter().zip(assignments) {
            let before = self.targets.get(subscriber.id);
            let is_new = before.is_none_or(|before| **before != assignment);
            if is_new {
                let record =
                    ConsumerRecord::Target(subscriber.id.clone(), Some(assignment.clone()));
                self.write(turn, &record);
            }
            if *subscriber.id == member.id {
                own = Arc::new(assignment);
            }
        }
        let divided = TargetEpoch { epoch, computed_at: Some(turn.now.unix) };
        self.write(turn, &ConsumerRecord::TargetEpoch(Some(divided)));
        Target { epoch, partitions: own }
    }

    /// The target of the last division.
    pub(super) fn last_target(&self, member: &Member) -> Target {
        let partitions = self.previous_target(member).cloned().unwrap_or_default();
        Target { epoch: self.target_epoch, partitions }
    }

    /// A static member goes on with what its instance had, by whatever id.
    fn previous_target(&self, member: &Member) -> Option<&Arc<Assignment>> {
        let instance = member.metadata.instance.as_ref();
        let known = instance.and_then(|instance| self.static_members.get(instance));
        self.targets.get(known.unwrap_or(&member.id))
    }

    /// Whether the assignment interval (KIP-1263) has passed since the last division. One that is still to come was by another clock:
    /// how long ago it was is not known, and nobody is kept waiting for that.
    fn may_divide(&self, turn: &Turn<'_>, scope: &Scope<'_>) -> bool {
        let interval_ms = scope.config.assignment_interval_ms;
        self.target_computed_at.is_none_or(|at| {
            let now = turn.now.unix;
            interval_ms == 0 || now < at || now >= at.plus_millis(interval_ms.into())
        })
    }

    /// The assignor that most members prefer; the first in the settings if nobody says.
    fn assignor(&self, turn: &Turn<'_>, before: &Member, member: &Member) -> Assignor {
        let mut counts = self.assignors.clone();
        super::change_assignors(&mut counts, Some(&before.metadata), Some(&member.metadata));
        let preferred = counts.iter().max_by_key(|(_, count)| **count).map(|(name, _)| &**name);
        let default = turn.settings.consumer.assignors.iter().find_map(|it| Assignor::by_name(it));
        preferred.and_then(Assignor::by_name).or(default).unwrap_or(Assignor::Uniform)
    }

    /// The members as they will be: with this one, and without the one that it replaces.
    fn members_with<'a>(&'a self, member: &'a Member) -> BTreeMap<&'a MemberId, &'a Member> {
        let mut members: BTreeMap<_, _> = self.members.iter().collect();
        if let Some(instance) = &member.metadata.instance
            && let Some(replaced) = self.static_members.get(instance)
        {
            members.remove(replaced);
        }
        members.insert(&member.id, member);
        members
    }
}

/// What members subscribe to, as far as it exists.
struct Subscriptions {
    /// In the order of the members. Equal subscriptions are shared.
    topics: Vec<Rc<BTreeSet<TopicId>>>,
    partition_counts: BTreeMap<TopicId, i32>,
}

impl Subscriptions {
    fn of(
        members: &BTreeMap<&MemberId, &Member>,
        group: &ConsumerGroup,
        scope: &Scope<'_>,
    ) -> Self {
        let mut partition_counts = BTreeMap::new();
        let mut find = |name: &Arc<str>| {
            let topic = scope.image.topic(name)?;
            let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            partition_counts.insert(topic.id, count);
            Some(topic.id)
        };
        let mut shared = HashMap::new();
        let mut topics = Vec::with_capacity(members.len());
        for member in members.values() {
            let (names, regex) = (&member.metadata.topics, member.metadata.used_regex());
            let found = shared.entry((names, regex)).or_insert_with(|| {
                let resolved = regex.and_then(|regex| group.subscriptions.resolved(regex));
                let resolved = resolved.into_iter().flat_map(|resolved| &resolved.topics);
                Rc::new(names.iter().chain(resolved).filter_map(&mut find).collect())
            });
            topics.push(Rc::clone(found));
        }
        Self { topics, partition_counts }
    }
}
