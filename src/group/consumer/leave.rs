//! Members that go: by their own wish, because they were silent for too long, or because they did not give up in time
//! what others wait for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::heartbeat::{check_instance, unknown_instance};
use super::member::Member;
use super::timers::Wait;
use super::{ConsumerGroup, LEAVE_FOR_A_WHILE, Refusal, Scope, hash};
use crate::group::MemberId;
use crate::group::records::consumer::{ConsumerRecord, CurrentAssignment, Owned};
use crate::group::turn::Turn;
use crate::wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

impl ConsumerGroup {
    pub(super) fn heartbeat_leave(
        &mut self,
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = request.member_id.as_str();
        let member = match request.instance_id.as_deref() {
            None => self.members.get(id).ok_or_else(|| self.unknown_member(id))?,
            Some(instance) => {
                let member =
                    self.static_member(instance).ok_or_else(|| unknown_instance(instance))?;
                check_instance(member, id, instance)?;
                member
            }
        };
        let mut response = ConsumerGroupHeartbeatResponse::default();
        response.member_id = Some(member.id.to_text());
        response.member_epoch = request.member_epoch;
        let member = member.clone();
        if request.member_epoch == LEAVE_FOR_A_WHILE && request.instance_id.is_some() {
            self.leave_for_a_while(turn, member);
        } else {
            self.remove(turn, scope, &[member.id].into());
        }
        Ok(response)
    }

    /// A static member goes, and keeps what it owns until its session ends.
    fn leave_for_a_while(&self, turn: &mut Turn<'_>, member: Member) {
        let owned: Owned = member
            .current
            .owned
            .iter()
            .map(|(topic, partitions)| (*topic, partitions.keys().map(|it| (*it, 0)).collect()))
            .collect();
        let current = CurrentAssignment {
            epoch: LEAVE_FOR_A_WHILE,
            owned,
            revoking: Owned::new(),
            ..*member.current
        };
        self.write(turn, &ConsumerRecord::Current(member.id, Some(current)));
    }

    /// Removes members, and has their partitions divided among the others.
    pub(super) fn remove(
        &mut self,
        turn: &mut Turn<'_>,
        scope: &Scope<'_>,
        ids: &BTreeSet<MemberId>,
    ) {
        if !ids.is_empty() && self.downgrades_without(turn.settings, ids) {
            let why = "the last member of the new protocol is gone";
            return self.downgrade(turn, scope, ids, None, Some(why));
        }
        let mut subscriptions = self.subscriptions.clone();
        let mut any = false;
        for id in ids {
            let Some(member) = self.members.get(id) else {
                continue;
            };
            any = true;
            subscriptions.change(Some(&member.metadata), None);
            self.write_member_gone(turn, id);
            self.timers.cancel_all(id);
        }
        if !any {
            return;
        }
        for regex in subscriptions.forget_unused() {
            self.write(turn, &ConsumerRecord::Regex(Arc::clone(&regex), None));
        }
        let metadata_hash = hash::of_topics(&subscriptions.topics(), scope.image);
        self.write_epoch(turn, self.epoch + 1, metadata_hash);
    }

    pub(super) fn write_member_gone(&self, turn: &mut Turn<'_>, id: &MemberId) {
        self.write(turn, &ConsumerRecord::Current(id.clone(), None));
        self.write(turn, &ConsumerRecord::Target(id.clone(), None));
        self.write(turn, &ConsumerRecord::Member(id.clone(), None));
    }

    /// Does what is due: resolves regular expressions, or gives up members. `next_deadline` tells whether there is more:
    /// what one of them writes must be replayed before the other looks.
    pub fn tick(&mut self, turn: &mut Turn<'_>, scope: &Scope<'_>) {
        if self.regexes.due().is_some_and(|at| at <= turn.instant()) {
            return self.resolve_if_due(turn, scope);
        }
        let mut gone = BTreeSet::new();
        while let Some(expired) = self.timers.pop_expired(turn.instant()) {
            let Some(member) = self.members.get(&expired.member) else {
                continue;
            };
            if expired.wait == Wait::Rebalance && member.epoch() != expired.epoch {
                continue;
            }
            let reason = match expired.wait {
                Wait::Session => "its session ended",
                Wait::Rebalance => "it did not give up its partitions in time",
                Wait::Join => "it did not join again in time",
                Wait::Sync => "it did not ask for its assignment in time",
            };
            tracing::info!(group = %self.id, member = %expired.member, reason, "member given up");
            gone.insert(expired.member);
        }
        self.remove(turn, scope, &gone);
    }
}
