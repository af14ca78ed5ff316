//! When a generation ends, when the next begins, and who is given up meanwhile.

use std::time::Duration;

use super::answers::{join_refused, sync_refused};
use super::members::Member;
use super::{ClassicGroup, InitialDelay, Rejoin, State};
use crate::group::MemberId;
use crate::group::command::Reply;
use crate::group::turn::Turn;
use crate::model::{ErrorCode, Instant};

/// How long a group waits at least for static members that are all away: their rebalance timeout may be 0.
const DESERTED_WAIT_MIN: Duration = Duration::from_secs(1);

impl ClassicGroup {
    /// The earliest time at which [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let rejoin = self.rejoin.map(|rejoin| rejoin.deadline);
        [rejoin, self.sync_deadline, self.members.next_deadline()].into_iter().flatten().min()
    }

    /// Ends the waits that are over.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        let now = turn.instant();
        if self.rejoin.is_some_and(|rejoin| rejoin.deadline <= now) {
            self.end_rejoin(turn);
        }
        if self.sync_deadline.is_some_and(|deadline| deadline <= now) {
            self.end_sync(turn);
        }
        while let Some(member) = self.members.pop_expired(now) {
            self.expire_member(turn, &member);
        }
    }

    /// Begins a rebalance where the state allows it, else completes the one under way if everybody is there.
    pub(super) fn rebalance_or_complete(&mut self, turn: &mut Turn<'_>, why: &str) {
        match self.state {
            State::Empty | State::CompletingRebalance | State::Stable => {
                self.prepare_rebalance(turn, why);
            }
            State::PreparingRebalance => self.complete_if_all_joined(turn),
        }
    }

    /// Begins a rebalance (`GroupMetadataManager.prepareRebalance`).
    pub(super) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>, why: &str) {
        if self.state == State::CompletingRebalance {
            self.withdraw_assignments(turn);
        }
        self.unsynced.clear();
        self.sync_deadline = None;
        let was_empty = self.state == State::Empty;
        self.enter(State::PreparingRebalance, turn.now.unix);
        tracing::info!(group = %self.id, generation = self.generation, why, "rebalancing");
        if was_empty {
            self.wait_for_first_members(turn);
        } else if self.members.all_joined() {
            self.complete_join(turn);
        } else {
            let deadline = turn.instant().plus(self.rebalance_timeout());
            self.rejoin = Some(Rejoin { deadline, initial: None });
        }
    }

    fn withdraw_assignments(&mut self, turn: &mut Turn<'_>) {
        let now = turn.instant();
        for id in self.members.ids() {
            let waiting = self.members.edit(id.as_str(), |member| {
                member.assignment.clear();
                member.sync.take()
            });
            if let Some(ticket) = waiting.flatten() {
                turn.reply(ticket, sync_refused(ErrorCode::RebalanceInProgress));
                self.members.begin_session(id.as_str(), now);
            }
        }
    }

    /// A group that was empty waits a while for others, so that its members do not rebalance once for each of them.
    fn wait_for_first_members(&mut self, turn: &mut Turn<'_>) {
        let delay = turn.settings.initial_rebalance_delay;
        if delay.is_zero() {
            return self.complete_join(turn);
        }
        let remaining = self.rebalance_timeout().saturating_sub(delay);
        let initial = InitialDelay { delay, remaining, member_added: false };
        let deadline = turn.instant().plus(delay);
        self.rejoin = Some(Rejoin { deadline, initial: Some(initial) });
    }

    fn rebalance_timeout(&self) -> Duration {
        Duration::from_millis(self.members.rebalance_timeout_ms())
    }

    /// The wait for members is over: for good, or extended because somebody came during the initial delay
    /// (`GroupMetadataManager.tryCompleteInitialRebalanceElseSchedule`).
    fn end_rejoin(&mut self, turn: &mut Turn<'_>) {
        if let Some(Rejoin { deadline, initial: Some(initial) }) = &mut self.rejoin
            && initial.member_added
            && !initial.remaining.is_zero()
        {
            initial.member_added = false;
            let delay = turn.settings.initial_rebalance_delay.min(initial.remaining);
            initial.remaining = initial.remaining.saturating_sub(initial.delay);
            initial.delay = delay;
            *deadline = turn.now.instant.plus(delay);
            return;
        }
        self.complete_join(turn);
    }

    /// Completes the join phase if everybody is there. The initial delay is waited out even then.
    pub(super) fn complete_if_all_joined(&mut self, turn: &mut Turn<'_>) {
        let is_initial = self.rejoin.is_some_and(|rejoin| rejoin.initial.is_some());
        if self.state == State::PreparingRebalance && !is_initial && self.members.all_joined() {
            self.complete_join(turn);
        }
    }

    /// Begins the next generation with those who are there (`GroupMetadataManager.completeClassicGroupJoin`). Static
    /// members stay even if they are not.
    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        let waited = self.rejoin.take();
        for id in self.members.ids() {
            let gone = |member: &Member| !member.is_joining() && member.instance.is_none();
            if self.members.get(id.as_str()).is_some_and(gone) {
                self.drop_member(turn, id.as_str());
            }
        }
        if !self.elect_leader() && !self.members.is_empty() {
            // Only static members are left, and none of them is there.
            tracing::info!(group = %self.id, "no member came to the next generation; waiting on");
            let deadline = turn.instant().plus(self.rebalance_timeout().max(DESERTED_WAIT_MIN));
            let initial = waited.and_then(|waited| waited.initial);
            self.rejoin = Some(Rejoin { deadline, initial });
            return;
        }
        self.generation += 1;
        self.unsynced.clear();
        self.protocol = self.members.preferred_protocol();
        self.subscribed = self.read_subscriptions();
        if self.members.is_empty() {
            self.enter(State::Empty, turn.now.unix);
            tracing::info!(group = %self.id, generation = self.generation, "empty");
            return self.write(turn);
        }
        self.enter(State::CompletingRebalance, turn.now.unix);
        self.announce_generation(turn);
        self.sync_deadline = Some(turn.instant().plus(self.rebalance_timeout()));
    }

    /// Whether somebody who is there leads. A leader that is not there is replaced by somebody who is
    /// (`ClassicGroup.maybeElectNewJoinedLeader`).
    fn elect_leader(&mut self) -> bool {
        let Some(leader) = self.members.leader() else {
            return false;
        };
        if self.members.get(leader.as_str()).is_some_and(Member::is_joining) {
            return true;
        }
        let joined = self.members.iter().find(|(_, member)| member.is_joining());
        let Some(elected) = joined.map(|(id, _)| id.clone()) else {
            return false;
        };
        self.members.set_leader(Some(elected));
        true
    }

    /// Answers everybody who joined.
    fn announce_generation(&mut self, turn: &mut Turn<'_>) {
        let now = turn.instant();
        tracing::info!(
            group = %self.id, generation = self.generation, members = self.members.len(),
            "new generation"
        );
        for id in self.members.ids() {
            if let Some(ticket) = self.members.take_join(id.as_str()) {
                let mut response = self.joined(&id);
                if self.members.is_leader(id.as_str()) {
                    response.members = self.members_for_leader();
                }
                turn.reply(ticket, Reply::JoinGroup(response));
            }
            self.members.edit(id.as_str(), |member| member.is_new = false);
            self.members.begin_session(id.as_str(), now);
            self.unsynced.insert(id);
        }
    }

    /// Members that never asked for their assignment are given up (`GroupMetadataManager.expirePendingSync`).
    fn end_sync(&mut self, turn: &mut Turn<'_>) {
        self.sync_deadline = None;
        let silent = std::mem::take(&mut self.unsynced);
        if silent.is_empty() {
            return;
        }
        for id in &silent {
            self.drop_member(turn, id.as_str());
        }
        self.prepare_rebalance(turn, &format!("{} members never synced", silent.len()));
    }

    /// A session is over (`GroupMetadataManager.expireClassicGroupMemberHeartbeat`).
    fn expire_member(&mut self, turn: &mut Turn<'_>, id: &MemberId) {
        if self.members.is_pending(id.as_str()) {
            self.members.remove(id.as_str());
            if self.state == State::PreparingRebalance && self.members.all_joined() {
                self.complete_join(turn);
            }
            return;
        }
        if self.members.get(id.as_str()).is_none_or(Member::is_excused) {
            return;
        }
        self.drop_member(turn, id.as_str());
        match self.state {
            State::Stable | State::CompletingRebalance => {
                self.prepare_rebalance(turn, &format!("member {id} was silent"));
            }
            State::PreparingRebalance if self.members.all_joined() => self.complete_join(turn),
            State::PreparingRebalance | State::Empty => {}
        }
    }

    /// Removes a member, pending or not, and tells it if it waits.
    pub(super) fn drop_member(&mut self, turn: &mut Turn<'_>, id: &str) {
        let waiting = self.members.take_join(id);
        let Some(member) = self.members.remove(id) else {
            return;
        };
        self.unsynced.remove(id);
        if let Some(ticket) = waiting {
            turn.reply(ticket, join_refused("", ErrorCode::UnknownMemberId));
        }
        if let Some(ticket) = member.sync {
            turn.reply(ticket, sync_refused(ErrorCode::UnknownMemberId));
        }
    }

    /// Answers everybody who waits: the group becomes one of another kind.
    pub fn refuse_waiting(&mut self, turn: &mut Turn<'_>, error: ErrorCode) {
        for id in self.members.ids() {
            if let Some(ticket) = self.members.take_join(id.as_str()) {
                turn.reply(ticket, join_refused(id.as_str(), error));
            }
            if let Some(ticket) = self.members.edit(id.as_str(), |m| m.sync.take()).flatten() {
                turn.reply(ticket, sync_refused(error));
            }
        }
    }
}
