//! How voters come and go while the cluster runs (KIP-853).
//!
//! A controller that does not vote listens, as a broker does, until somebody adds it or it adds itself
//! (`controller.quorum.auto.join.enable`). The leader makes the change as one of Raft's, and one at a time. Who votes is said by the log from then
//! on: no node looks for voters in its configuration.
//!
//! Source: `AddVoterHandler`, `RemoveVoterHandler`, `KafkaRaftClient` of Apache Kafka.

use std::sync::Arc;
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, RaftMetrics};

use super::frames::{Ask, Told};
use super::listener::answer;
use super::peer::PeerError;
use super::quorum::{PATIENCE, PAUSE, Running, Seat};
use crate::cluster::Refusal;
use crate::controller::raft_log::Node;
use crate::controller::{QuorumMember, Voter, VoterChange, lagging};
use crate::model::ErrorCode;

/// A node becomes a voter when it lacks no more entries than this.
const VOTER_LAG_MAX: u64 = 100;
/// Between two looks of a node at what the cluster knows of it.
const LOOK: Duration = Duration::from_secs(1);

/// Whether a node that listens has all entries but a few. Only the leader knows.
pub(super) fn has_caught_up(metrics: &RaftMetrics<u64, Node>, raft_id: u64) -> bool {
    let last = metrics.last_log_index.unwrap_or(0);
    let replicated = metrics.replication.as_ref().and_then(|all| all.get(&raft_id).copied());
    replicated.flatten().is_some_and(|matched| matched.index + VOTER_LAG_MAX >= last)
}

/// Changes the voters, if this node leads.
pub(super) async fn change(seat: &Seat, running: &Running, change: VoterChange) -> Told {
    if running.leader() != Some(seat.own.raft_id) {
        return Told::NotLeader;
    }
    if let Some(refusal) = seat.status().refusal(&change) {
        return Told::VotersRefused(refusal);
    }
    let metrics = running.raft.metrics().borrow().clone();
    let members = metrics.membership_config.membership();
    let (VoterChange::Add(voter) | VoterChange::Remove(voter)) = &change;
    let is_meant =
        |node: &Node| node.broker_id == voter.broker && node.directory_id == voter.directory;
    let meant = members.nodes().find(|(_, node)| is_meant(node)).map(|(id, _)| *id);
    let Some(raft_id) = meant else { return Told::VotersRefused(lagging(voter)) };
    let members = match &change {
        VoterChange::Add(voter) if !has_caught_up(&metrics, raft_id) => {
            return Told::VotersRefused(lagging(voter));
        }
        VoterChange::Add(_) => ChangeMembers::AddVoterIds([raft_id].into()),
        VoterChange::Remove(_) => ChangeMembers::RemoveVoters([raft_id].into()),
    };
    let deadline = seat.env.steady.now().plus(PATIENCE);
    // Who is removed listens on, until it is stopped.
    let changed = running.raft.change_membership(members, true);
    match seat.env.steady.timeout_at(deadline, changed).await {
        Ok(Ok(_)) => {
            tracing::info!(?change, "the voters have changed");
            Told::Done
        }
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Told::NotLeader,
        Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
            tracing::debug!(%error, "the voters are not changed");
            Told::VotersRefused(timed_out(
                "Request timed out waiting for leader to handle previous voter change request",
            ))
        }
        Ok(Err(RaftError::Fatal(error))) => Told::Refused(error.to_string()),
        Err(_) => Told::VotersRefused(timed_out("the voters have not agreed in time")),
    }
}

/// Lets another node lead if this one leads and does not vote any more, which openraft has go on for as long as it listens: it is
/// not heard of any longer, so that a voter wants to lead.
pub(super) fn give_way(seat: &Seat, running: &Running) {
    let leads = running.raft.metrics().borrow().current_leader == Some(seat.own.raft_id);
    let has_gone = leads && !running.machine.members().votes(seat.own.raft_id);
    running.raft.runtime_config().heartbeat(!has_gone);
}

fn timed_out(message: &str) -> Refusal {
    Refusal { code: ErrorCode::RequestTimedOut, message: message.to_owned() }
}

/// Has the leader change the voters, whoever that is.
pub(super) async fn change_voters(seat: &Seat, change: VoterChange) -> Result<(), Refusal> {
    let deadline = seat.env.steady.now().plus(PATIENCE);
    loop {
        match ask_leader(seat, Ask::ChangeVoters(change), PATIENCE).await {
            Some(Told::Done) => return Ok(()),
            Some(Told::VotersRefused(refusal)) => return Err(refusal),
            Some(Told::NotLeader) if is_so(seat, &change) => return Ok(()),
            Some(Told::NotLeader) if seat.env.steady.now() < deadline => {
                seat.env.steady.sleep(PAUSE).await;
            }
            Some(Told::NotLeader) => return Err(timed_out("the cluster has no leader at present")),
            Some(_) | None => {
                return Err(timed_out("it is not known whether the voters are changed"));
            }
        }
    }
}

/// Whether a voter is removed already: a leader that has removed itself may not know that all agree when it ceases to lead.
fn is_so(seat: &Seat, change: &VoterChange) -> bool {
    match change {
        VoterChange::Add(_) => false,
        VoterChange::Remove(voter) => {
            let status = seat.status();
            let removed = |members: &[QuorumMember]| members.iter().any(|it| it.key() == *voter);
            status.leader.is_some() && removed(&status.observers) && !removed(&status.voters)
        }
    }
}

/// Asks the leader, which may be this node; none if it cannot be known what became of it. Without a leader the answer is that of a node
/// that is none.
pub(super) async fn ask_leader(seat: &Seat, ask: Ask, patience: Duration) -> Option<Told> {
    let Some(running) = seat.running() else { return Some(Told::NotLeader) };
    let Some(leader) = running.leader() else { return Some(Told::NotLeader) };
    if leader == seat.own.raft_id {
        return Some(answer(seat, ask).await);
    }
    let membership = running.membership();
    let Some(node) = membership.nodes.get(&leader) else { return Some(Told::NotLeader) };
    match seat.peers.member(leader, node).ask(&ask, patience).await {
        Ok(told) => Some(told),
        Err(PeerError::Unreachable { .. } | PeerError::Refused { .. }) => Some(Told::NotLeader),
        Err(PeerError::NoAnswer { .. }) => None,
    }
}

/// Sees to it that the cluster knows where this node is, and adds it to the voters if it is to join by itself, until it stops.
pub(super) async fn keep_known(seat: Arc<Seat>, node: Node, auto_join: bool) {
    loop {
        tokio::select! {
            () = seat.env.steady.sleep(LOOK) => {}
            () = seat.env.tasks.cancelled() => return,
        }
        let Some(running) = seat.running() else { continue };
        let membership = running.membership();
        let own = seat.own.raft_id;
        let ask = if membership.nodes.get(&own) != Some(&node) {
            Ask::Join { raft_id: own, node: node.clone() }
        } else if auto_join && !membership.votes(own) {
            let voter = Voter { broker: seat.own.broker, directory: seat.own.directory };
            Ask::ChangeVoters(VoterChange::Add(voter))
        } else {
            continue;
        };
        let asked = tokio::select! {
            asked = ask_leader(&seat, ask, PATIENCE) => asked,
            () = seat.env.tasks.cancelled() => return,
        };
        if let Some(Told::Refused(reason)) = asked {
            tracing::warn!(%reason, "the cluster does not take note of this node");
        }
    }
}
