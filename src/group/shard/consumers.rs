//! The shard's part in consumer groups: which kind a group is, and what they are asked.

use std::sync::Arc;

use super::{Entry, Group, GroupShard};
use crate::cluster::ClusterImage;
use crate::coordinator::{ReplayError, Ticket};
use crate::group::classic;
use crate::group::command::Reply;
use crate::group::consumer::{self, ConsumerGroup, Refusal, Scope};
use crate::group::records::{ConsumerRecord, group_metadata};
use crate::group::turn::Turn;
use crate::group::{Caller, GroupId};
use crate::model::ErrorCode;
use crate::wire::Text;
use crate::wire::messages::consumer_group_describe_response::DescribedGroup;
use crate::wire::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest,
    JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest, WireGroupId,
};

impl GroupShard {
    /// The consumer group of this name.
    pub(super) fn consumer(&mut self, group: &str) -> Option<&mut ConsumerGroup> {
        match self.groups.get_mut(group).map(|entry| &mut entry.group) {
            Some(Group::Consumer(group)) => Some(group),
            Some(Group::Classic(_)) | None => None,
        }
    }

    pub(super) fn consumer_heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        caller: &Caller,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        let outcome = consumer::check_heartbeat(request, caller.api_version, turn.settings)
            .and_then(|()| self.checked_heartbeat(turn, caller, request));
        self.arm(&request.group_id);
        outcome.unwrap_or_else(consumer::refused)
    }

    fn checked_heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        caller: &Caller,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let record_count = turn.effects.records.len();
        let id = GroupId::from(request.group_id.as_str());
        let image = Arc::clone(&self.image);
        let scope = Scope::of(id.as_str(), &image, turn.settings);
        let replaced = match request.member_epoch {
            0 => self.become_consumer_group(turn, &scope, &id)?,
            _ => None,
        };
        let Some(group) = self.consumer(id.as_str()) else {
            return Err(self.no_consumer_group(id.as_str()));
        };
        let outcome = group.heartbeat(turn, &scope, caller, request);
        match replaced {
            Some(replaced) if outcome.is_err() => {
                turn.effects.records.truncate(record_count);
                self.restore(id, replaced);
            }
            _ => self.settle_kind(turn, &id),
        }
        outcome
    }

    /// Makes a consumer group of what is none. Returns what was there before, if that has changed.
    fn become_consumer_group(
        &mut self,
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        id: &GroupId,
    ) -> Result<Option<Replaced>, Refusal> {
        let group = match self.groups.get_mut(id).map(|entry| &mut entry.group) {
            Some(Group::Consumer(_)) => return Ok(None),
            Some(Group::Classic(group)) if !group.is_empty() => {
                ConsumerGroup::of_classic(turn, scope, id, group)?
            }
            Some(Group::Classic(group)) => {
                if group.durable().is_some() {
                    turn.write(group_metadata::tombstone(id));
                }
                ConsumerGroup::new(id.clone())
            }
            None => ConsumerGroup::new(id.clone()),
        };
        Ok(Some(Replaced(self.put(id, Group::Consumer(Box::new(group))))))
    }

    /// Puts a group into its place. It has no deadline until it is armed.
    fn put(&mut self, id: &GroupId, group: Group) -> Option<Group> {
        let before = self.groups.get(id).and_then(|entry| entry.deadline);
        if let Some(deadline) = before {
            self.deadlines.remove(&(deadline, id.clone()));
        }
        let before = self.groups.insert(id.clone(), Entry { group, deadline: None });
        before.map(|entry| entry.group)
    }

    fn restore(&mut self, id: GroupId, Replaced(before): Replaced) {
        match before {
            Some(group) => {
                self.put(&id, group);
            }
            None => self.remove(&id),
        }
        self.arm(id.as_str());
    }

    /// Puts a classic group in the place of a consumer group that has become one.
    pub(super) fn settle_kind(&mut self, turn: &mut Turn<'_>, id: &GroupId) {
        let classic = self.consumer(id.as_str()).and_then(|group| group.take_classic(turn));
        if let Some(classic) = classic {
            self.put(id, Group::Classic(Box::new(classic)));
        }
    }

    /// Runs `work` on a consumer group, for a member that speaks the classic protocol.
    fn with_consumer<T>(
        &mut self,
        turn: &mut Turn<'_>,
        group: &str,
        work: impl FnOnce(&mut ConsumerGroup, &mut Turn<'_>, &Scope<'_>) -> T,
    ) -> T {
        let image = Arc::clone(&self.image);
        let scope = Scope::of(group, &image, turn.settings);
        let found = self.consumer(group).expect("the caller has seen that it is one");
        let outcome = work(found, turn, &scope);
        self.settle_kind(turn, &group.into());
        self.arm(group);
        outcome
    }

    pub(super) fn consumer_join(
        &mut self,
        turn: &mut Turn<'_>,
        caller: &Caller,
        request: &JoinGroupRequest,
        ticket: Ticket,
    ) {
        let response = self.with_consumer(turn, &request.group_id, |group, turn, scope| {
            group.classic_join(turn, scope, caller, request)
        });
        turn.reply(ticket, Reply::JoinGroup(response));
    }

    pub(super) fn consumer_sync(
        &mut self,
        turn: &mut Turn<'_>,
        request: &SyncGroupRequest,
        ticket: Ticket,
    ) {
        let outcome = self.with_consumer(turn, &request.group_id, |group, turn, scope| {
            group.classic_sync(turn, scope, request)
        });
        turn.reply(ticket, outcome.map_or_else(classic::sync_refused, Reply::SyncGroup));
    }

    pub(super) fn consumer_classic_heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        request: &HeartbeatRequest,
        ticket: Ticket,
    ) {
        let outcome = self.with_consumer(turn, &request.group_id, |group, turn, _| {
            group.classic_heartbeat(turn, request)
        });
        turn.reply(ticket, classic::heartbeat(outcome));
    }

    pub(super) fn consumer_leave(
        &mut self,
        turn: &mut Turn<'_>,
        caller: &Caller,
        request: &LeaveGroupRequest,
        ticket: Ticket,
    ) {
        let leaving = classic::leaving(caller, request);
        let outcomes = self.with_consumer(turn, &request.group_id, |group, turn, scope| {
            group.classic_leave(turn, scope, &leaving)
        });
        let outcomes = outcomes.into_iter().zip(leaving).collect();
        turn.reply(ticket, Reply::LeaveGroup(classic::leave_response(caller, outcomes)));
    }

    /// An empty consumer group gives way to a classic one.
    pub(super) fn drop_empty_consumer_group(&mut self, turn: &mut Turn<'_>, id: &GroupId) {
        let Some(group) = self.consumer(id.as_str()).filter(|group| group.is_empty()) else {
            return;
        };
        group.write_tombstones(turn);
        self.remove(id);
    }

    pub(super) fn consumer_describe(&mut self, turn: &Turn<'_>, group: &Text) -> DescribedGroup {
        let image = Arc::clone(&self.image);
        if let Some(found) = self.consumer(group) {
            let scope = Scope::of(group, &image, turn.settings);
            return found.describe(&scope, turn.settings);
        }
        let refusal = self.no_consumer_group(group);
        let mut described = DescribedGroup::default();
        described.group_id = WireGroupId(group.clone());
        described.error_code = refusal.code.code();
        described.error_message = Some(Text::from_string(refusal.message));
        described
    }

    /// Why there is no consumer group of this name.
    fn no_consumer_group(&self, group: &str) -> Refusal {
        let message = if self.groups.contains_key(group) {
            format!("Group {group} is not a consumer group.")
        } else {
            format!("Group {group} not found.")
        };
        Refusal { code: ErrorCode::GroupIdNotFound, message }
    }

    pub(super) fn replay_consumer(
        &mut self,
        id: GroupId,
        record: ConsumerRecord,
    ) -> Result<(), ReplayError> {
        if record == ConsumerRecord::Group(None) {
            if self.consumer(id.as_str()).is_some() {
                self.remove(&id);
            }
            return Ok(());
        }
        if self.consumer(id.as_str()).is_none() {
            if record.is_tombstone() {
                return Ok(());
            }
            self.put(&id, Group::Consumer(Box::new(ConsumerGroup::new(id.clone()))));
        }
        self.consumer(id.as_str()).map_or(Ok(()), |group| group.replay(record))
    }

    /// Tells groups which topics are not as before.
    pub(super) fn tell_topics(&mut self, before: &ClusterImage, after: &ClusterImage) {
        let mut any_created = false;
        let mut changed: Vec<&str> = Vec::new();
        for topic in after.topics() {
            match before.topic_by_id(topic.id) {
                Some(known) if Arc::ptr_eq(known, topic) => continue,
                Some(_) => {}
                None => any_created = true,
            }
            changed.push(topic.name.as_str());
        }
        let deleted = before.topics().filter(|topic| after.topic_by_id(topic.id).is_none());
        changed.extend(deleted.map(|topic| topic.name.as_str()));
        if changed.is_empty() {
            return;
        }
        #[expect(clippy::iter_over_hash_type, reason = "nothing is written, the order is not seen")]
        for entry in self.groups.values_mut() {
            if let Group::Consumer(group) = &mut entry.group {
                group.topics_changed(changed.iter().copied(), any_created);
            }
        }
    }
}

/// What was in the place of a group before: perhaps nothing.
struct Replaced(Option<Group>);
