//! How voters come and go while the cluster runs (KIP-853).
//!
//! A controller that does not vote listens, as a broker does, until somebody adds it or it adds itself
//! (`controller.quorum.auto.join.enable`). The leader makes the change as one of Raft's, and one at a time. Who votes is said by the log from then
//! on: no node looks for voters in its configuration.
//!
//! A node tells the leader where it is whenever the log says something else, so that a controller may come back at another address.
//!
//! Source: `AddVoterHandler`, `RemoveVoterHandler`, `UpdateVoterHandler`, `KafkaRaftClient` of Apache Kafka.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, RaftMetrics};
use tokio::sync::oneshot;

use super::frames::{Ask, Told};
use super::listener::answer;
use super::peer::{Peer, PeerError};
use super::quorum::{PATIENCE, PAUSE, Running, Seat};
use crate::cluster::Refusal;
use crate::controller::raft_log::{Membership, Node};
use crate::controller::{Addition, Answered, QuorumMember, Voter, VoterChange, lagging};
use crate::env::Env;
use crate::model::ErrorCode;

/// A node becomes a voter when it lacks no more entries than this.
const VOTER_LAG_MAX: u64 = 100;
/// How long a node that may lead may take to take note of this one, before another one is asked.
const JOIN_PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks of a node at what the cluster knows of it.
const LOOK: Duration = Duration::from_secs(1);

/// Another change has not ended yet.
const UNDER_WAY: &str =
    "Request timed out waiting for leader to handle previous voter change request";

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
    let voter = change.voter();
    let is_meant =
        |node: &Node| node.broker_id == voter.broker && node.directory_id == voter.directory;
    let meant = members.nodes().find(|(_, node)| is_meant(node)).map(|(id, _)| *id);
    let Some(raft_id) = meant else { return Told::VotersRefused(lagging(voter)) };
    let votes = |id: &u64| members.voter_ids().any(|voter| voter == *id);
    let is_under_way = members.get_joint_config().len() > 1
        || votes(&raft_id) != matches!(change, VoterChange::Remove(_));
    if is_under_way {
        return Told::VotersRefused(timed_out(UNDER_WAY));
    }
    let members = match &change {
        VoterChange::Add(_) if !has_caught_up(&metrics, raft_id) => {
            return Told::VotersRefused(lagging(voter));
        }
        VoterChange::Add(_) => ChangeMembers::AddVoterIds([raft_id].into()),
        VoterChange::Remove(_) => ChangeMembers::RemoveVoters([raft_id].into()),
    };
    let deadline = seat.env.steady.now().plus(PATIENCE);
    let agreed = begin(&seat.env, running, members);
    let written = async {
        match change {
            VoterChange::Add(Addition { answer: Answered::Written, .. }) => {
                has_written(running, raft_id).await;
            }
            VoterChange::Add(_) | VoterChange::Remove(_) => std::future::pending().await,
        }
    };
    let changed = tokio::select! {
        agreed = seat.env.steady.timeout_at(deadline, agreed) => agreed,
        () = written => {
            tracing::info!(?change, "the voters are to change");
            return Told::Done;
        }
    };
    match changed {
        Ok(Ok(Ok(()))) => {
            tracing::info!(?change, "the voters have changed");
            Told::Done
        }
        Ok(Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))))) => Told::NotLeader,
        Ok(Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))))) => {
            tracing::debug!(%error, "the voters are not changed");
            Told::VotersRefused(timed_out(UNDER_WAY))
        }
        Ok(Ok(Err(RaftError::Fatal(error)))) => Told::Refused(error.to_string()),
        Ok(Err(_)) => Told::Refused("it is stopping".to_owned()),
        Err(_) => Told::VotersRefused(timed_out("the voters have not agreed in time")),
    }
}

type Changed = Result<(), RaftError<u64, ClientWriteError<u64, Node>>>;

/// Begins a change of the members, which has two steps: it is made whether anybody waits for it or not.
fn begin(
    env: &Env,
    running: &Running,
    members: ChangeMembers<u64, Node>,
) -> oneshot::Receiver<Changed> {
    let (reply, agreed) = oneshot::channel();
    let (raft, tasks) = (running.raft.clone(), env.tasks.clone());
    env.tasks.spawn("change of the voters", async move {
        // Who is removed listens on, until it is stopped.
        let changed = tokio::select! {
            changed = raft.change_membership(members, true) => changed,
            () = tasks.cancelled() => return,
        };
        // Whoever has asked may have lost patience.
        drop(reply.send(changed.map(drop)));
    });
    agreed
}

/// Waits until this node has written that a node is to vote.
async fn has_written(running: &Running, raft_id: u64) {
    let mut metrics = running.raft.metrics();
    let votes = |metrics: &RaftMetrics<u64, Node>| {
        metrics.membership_config.membership().voter_ids().any(|id| id == raft_id)
    };
    if metrics.wait_for(votes).await.is_err() {
        // Raft has ended, and the change with it.
        std::future::pending().await
    }
}

/// Ends a change of the voters that another leader has begun, or this node before it was restarted. Gives the entry of one that is agreed on
/// and has not ended, which is not the doing of this leader if it has not ended by the next look.
pub(super) async fn finish(running: &Running, unfinished: Option<u64>) -> Option<u64> {
    let metrics = running.raft.metrics().borrow().clone();
    let stored = &metrics.membership_config;
    let index = stored.log_id().map(|entry| entry.index)?;
    let is_agreed_on = metrics.last_applied.is_some_and(|last| index <= last.index);
    if stored.membership().get_joint_config().len() < 2 || !is_agreed_on {
        return None;
    }
    if unfinished == Some(index) {
        let rest = ChangeMembers::AddVoterIds(BTreeSet::new());
        match running.raft.change_membership(rest, true).await {
            Ok(_) => tracing::info!("the voters have changed, as another leader began it"),
            Err(error) => tracing::debug!(%error, "the change of the voters does not end yet"),
        }
    }
    Some(index)
}

/// Takes note of where a voter is, if this node leads. (`UpdateVoterHandler` of Apache Kafka)
pub(super) async fn move_voter(
    seat: &Seat,
    voter: Voter,
    address: String,
) -> Result<(), ErrorCode> {
    let running = seat.running().ok_or(ErrorCode::NotLeaderOrFollower)?;
    if running.leader() != Some(seat.own.raft_id) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let is_dynamic = running.level() > 0;
    let membership = running.membership();
    let is_meant = |(id, node): &(&u64, &Node)| {
        let is_directory = !is_dynamic || node.directory_id == voter.directory;
        membership.votes(**id) && node.broker_id == voter.broker && is_directory
    };
    let meant = membership.nodes.iter().find(is_meant);
    let (raft_id, node) = meant.ok_or(ErrorCode::VoterNotFound)?;
    if !is_dynamic || node.endpoints.first() == Some(&address) {
        return Ok(());
    }
    let node = Node { endpoints: vec![address], ..node.clone() };
    let moved = ChangeMembers::SetNodes([(*raft_id, node)].into());
    let deadline = seat.env.steady.now().plus(PATIENCE);
    let agreed = begin(&seat.env, &running, moved);
    match seat.env.steady.timeout_at(deadline, agreed).await {
        Ok(Ok(Ok(()))) => {
            tracing::info!(%voter, "a voter is at another address");
            Ok(())
        }
        Ok(Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))))) => {
            Err(ErrorCode::NotLeaderOrFollower)
        }
        // Another change is under way, or it is not known what becomes of this one.
        Ok(_) | Err(_) => Err(ErrorCode::RequestTimedOut),
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

/// What the cluster is to know of a node.
#[derive(Debug)]
pub(super) struct Known {
    /// The node as it is now.
    pub(super) node: Node,
    /// Whether voters come and go by its configuration, and not only since the level was raised.
    pub(super) is_dynamic: bool,
    /// Whether it adds itself to the voters.
    pub(super) auto_join: bool,
    /// The servers that are configured.
    pub(super) servers: Vec<Peer>,
}

/// Sees to it that the cluster knows where this node is, and adds it to the voters if it is to join by itself, until it stops.
pub(super) async fn keep_known(seat: Arc<Seat>, known: Known) {
    let mut is_noted = false;
    loop {
        let asked = tokio::select! {
            asked = make_known(&seat, &known, is_noted) => asked,
            () = seat.env.tasks.cancelled() => return,
        };
        is_noted |= matches!(asked, Some(Told::Done));
        if let Some(Told::Refused(reason)) = asked {
            tracing::warn!(%reason, "the cluster does not take note of this node");
        }
        tokio::select! {
            () = seat.env.steady.sleep(LOOK) => {}
            () = seat.env.tasks.cancelled() => return,
        }
    }
}

/// Tells the leader what it may not know of this node, which is `is_noted` if it has been told before; none if it knows all.
async fn make_known(seat: &Seat, known: &Known, is_noted: bool) -> Option<Told> {
    let running = seat.running()?;
    if !known.is_dynamic && running.level() == 0 {
        return None;
    }
    let membership = running.membership();
    let own = seat.own.raft_id;
    // What was said of this node while it was away, it may never hear: the leader looks for it elsewhere.
    let is_heard_of = is_noted && running.leader().is_some();
    if !is_heard_of || membership.nodes.get(&own) != Some(&known.node) {
        return join_again(seat, known, &membership).await;
    }
    if !known.auto_join || membership.votes(own) {
        return None;
    }
    let voter = Voter { broker: seat.own.broker, directory: seat.own.directory };
    // It may be needed itself for the voters to agree.
    let addition = Addition { voter, answer: Answered::Written };
    ask_leader(seat, Ask::ChangeVoters(VoterChange::Add(addition)), PATIENCE).await
}

/// Tells the leader where this node is. A node that is elsewhere than before does not hear of the leader, and so asks all who may be it.
async fn join_again(seat: &Seat, known: &Known, membership: &Membership) -> Option<Told> {
    let own = seat.own.raft_id;
    let ask = || Ask::Join { raft_id: own, node: known.node.clone() };
    let asked = ask_leader(seat, ask(), JOIN_PATIENCE).await;
    if !matches!(asked, None | Some(Told::NotLeader)) {
        return asked;
    }
    let voters = membership.nodes.iter().filter(|(id, _)| membership.votes(**id) && **id != own);
    let voters: Vec<_> = voters.map(|(id, node)| seat.peers.member(*id, node)).collect();
    for peer in voters.iter().map(|peer| &**peer).chain(&known.servers) {
        let asked = peer.ask(&ask(), JOIN_PATIENCE).await;
        if let Ok(told @ (Told::Done | Told::Refused(_))) = asked {
            return Some(told);
        }
    }
    None
}
