//! SyncGroup, Heartbeat and the fencing of commits: what members of a generation do.

use std::collections::HashMap;

use bytes::Bytes;

use super::answers::{heartbeat, sync_refused};
use super::{ClassicGroup, State};
use crate::coordinator::Ticket;
use crate::group::command::OffsetCommit;
use crate::group::turn::Turn;
use crate::model::ErrorCode;
use crate::wire::messages::{HeartbeatRequest, SyncGroupRequest};

impl ClassicGroup {
    /// A member asks for its assignment; the leader brings all of them.
    pub fn sync(&mut self, turn: &mut Turn<'_>, request: &SyncGroupRequest, ticket: Ticket) {
        let id = request.member_id.as_str();
        if let Err(error) = self.check_sync(request) {
            return turn.reply(ticket, sync_refused(error));
        }
        match self.state {
            State::Empty => turn.reply(ticket, sync_refused(ErrorCode::UnknownMemberId)),
            State::PreparingRebalance => {
                turn.reply(ticket, sync_refused(ErrorCode::RebalanceInProgress));
            }
            State::CompletingRebalance => {
                self.note_sync(id);
                let before = self.members.edit(id, |member| member.sync.replace(ticket)).flatten();
                if let Some(before) = before {
                    // The client asks twice; the answer goes where it asked last.
                    turn.reply(before, sync_refused(ErrorCode::RebalanceInProgress));
                }
                if self.members.is_leader(id) {
                    self.assign(turn, request);
                }
            }
            State::Stable => {
                self.note_sync(id);
                let assignment = self.members.get(id).map(|member| member.assignment.clone());
                turn.reply(ticket, self.synced(assignment.unwrap_or_default()));
            }
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |named: Option<&str>, ours: Option<&str>| match (named, ours) {
            (Some(named), Some(ours)) => named != ours,
            _ => false,
        };
        if differs(request.protocol_type.as_deref(), self.protocol_type.as_deref())
            || differs(request.protocol_name.as_deref(), self.protocol.as_deref())
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn note_sync(&mut self, id: &str) {
        self.unsynced.remove(id);
        if self.unsynced.is_empty() {
            self.sync_deadline = None;
        }
    }

    /// Takes the leader's assignment. Who is not in it gets an empty one, who is no member is passed over.
    fn assign(&mut self, turn: &mut Turn<'_>, request: &SyncGroupRequest) {
        let now = turn.instant();
        let assignments: HashMap<&str, &Bytes> = request
            .assignments
            .iter()
            .map(|assigned| (assigned.member_id.as_str(), &assigned.assignment))
            .collect();
        self.enter(State::Stable, turn.now.unix);
        for id in self.members.ids() {
            let assignment = assignments.get(id.as_str());
            let assignment = assignment.map(|bytes| Bytes::copy_from_slice(bytes));
            let assignment = assignment.unwrap_or_default();
            let waiting = self.members.edit(id.as_str(), |member| {
                member.assignment = assignment.clone();
                member.sync.take()
            });
            if let Some(ticket) = waiting.flatten() {
                turn.reply(ticket, self.synced(assignment));
                self.members.begin_session(id.as_str(), now);
            }
        }
        self.write(turn);
    }

    /// A member is alive.
    pub fn heartbeat(&mut self, turn: &mut Turn<'_>, request: &HeartbeatRequest, ticket: Ticket) {
        let id = request.member_id.as_str();
        let instance = request.group_instance_id.as_deref();
        let outcome = match self.check_generation(id, instance, request.generation_id) {
            Err(error) => error,
            Ok(()) => {
                self.members.begin_session(id, turn.instant());
                match self.state {
                    State::PreparingRebalance => ErrorCode::RebalanceInProgress,
                    State::Empty | State::CompletingRebalance | State::Stable => ErrorCode::None,
                }
            }
        };
        turn.reply(ticket, heartbeat(outcome));
    }

    fn check_generation(
        &self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        self.check_member(id, instance)?;
        if generation == self.generation { Ok(()) } else { Err(ErrorCode::IllegalGeneration) }
    }

    /// Whether these offsets may be committed (`ClassicGroup.validateOffsetCommit`). A commit also shows that the member
    /// is alive.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`, `ILLEGAL_GENERATION`, or `REBALANCE_IN_PROGRESS`.
    pub fn check_commit(
        &mut self,
        turn: &Turn<'_>,
        commit: &OffsetCommit,
    ) -> Result<(), ErrorCode> {
        let id = commit.member.as_str();
        let instance = commit.instance.as_deref();
        let generation = commit.generation_or_epoch;
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation < 0 && id.is_empty() && instance.is_none() {
            // Nobody in particular cannot commit for a group that has members.
            return Err(ErrorCode::UnknownMemberId);
        }
        self.check_generation(id, instance, generation)?;
        if self.state == State::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        self.members.begin_session(id, turn.instant());
        Ok(())
    }

    /// Whether these offsets may be committed in a transaction. Producers did not always say for whom they commit.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID` or `ILLEGAL_GENERATION`.
    pub fn check_commit_in_transaction(&self, commit: &OffsetCommit) -> Result<(), ErrorCode> {
        let (id, instance) = (commit.member.as_str(), commit.instance.as_deref());
        let generation = commit.generation_or_epoch;
        let is_nobody = id.is_empty() && instance.is_none();
        if generation < 0 && (is_nobody || self.state == State::Empty) {
            return Ok(());
        }
        self.check_generation(id, instance, generation)
    }
}
