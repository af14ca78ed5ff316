//! The quorum as the broker uses it: proposals from any node go to the leader, all that wait as one entry.
//!
//! A proposal that was certainly not taken is made again until its time is over. One whose fate is unknown is not: it might be
//! applied twice.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::backing::Backing;
use super::frames::{Ask, Heartbeat, Identity, Standing, Told};
use super::machine::{Applied, Machine};
use super::peer::{Peer, PeerError, Target};
use super::sessions::Sessions;
use super::store::Store;
use super::voters::{ask_leader, change_voters, move_voter};
use super::{Raft, stored_membership};
use crate::cluster::features::KRAFT_VERSION;
use crate::cluster::{ClusterImage, Command, Refusal};
use crate::config::QuorumTimers;
use crate::controller::BATCH_LENGTH;
use crate::controller::raft_log::{Membership, Node};
use crate::controller::{
    AppliedBatch, Proposed, Quorum, QuorumError, QuorumMember, QuorumStatus, Voter, VoterChange,
};
use crate::env::{BoxStream, Env};
use crate::model::{BrokerId, ErrorCode, Instant, UuidText};
use crate::telemetry::QuorumMetrics;

/// How long a proposal may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// How long the leader may take to say how far all are.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts, unless the leader changes.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// The ways to all nodes.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) env: Env,
    pub(super) own: Identity,
    pub(super) cluster_id: watch::Receiver<Option<String>>,
    /// The addresses of the voters that are configured.
    pub(super) configured: BTreeMap<BrokerId, String>,
    pub(super) members: Mutex<BTreeMap<Target, Arc<Peer>>>,
    /// Who of them follows this node.
    pub(super) backing: Backing,
}

impl Peers {
    /// The way to a member. It is looked for at its configured address first, and then at the one that it has told.
    pub(super) fn member(&self, raft_id: u64, node: &Node) -> Arc<Peer> {
        let mut addresses = self.addresses(node).map(str::to_owned);
        let (address, also) = (addresses.next().unwrap_or_default(), addresses.next());
        let target = Target { address, also, raft_id: Some(raft_id) };
        let mut members = self.members.lock();
        let peer = members.entry(target.clone()).or_insert_with(|| Arc::new(self.new_peer(target)));
        Arc::clone(peer)
    }

    /// Where a member may be.
    pub(super) fn addresses<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a str> {
        let configured = self.configured.get(&node.broker_id);
        let told = node.endpoints.first().filter(|told| Some(*told) != configured);
        configured.into_iter().chain(told).map(String::as_str)
    }

    /// A way to whoever is at an address.
    pub(super) fn new_peer(&self, target: Target) -> Peer {
        Peer::new(&self.env, target, self.own.clone(), self.cluster_id.clone())
    }
}

/// Raft with what it works on.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) raft: Raft,
    pub(super) store: Store,
    pub(super) machine: Machine,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl Running {
    /// Who votes and who listens, as far as this node knows.
    pub(super) fn membership(&self) -> Membership {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        stored_membership(metrics.membership_config.membership())
    }

    /// The level of `kraft.version`: above 0 voters come and go.
    pub(super) fn level(&self) -> i16 {
        self.machine.applied().borrow().image.feature(KRAFT_VERSION)
    }

    /// The leader, as far as this node knows. One that has ceased to vote counts as none: it gives way to another one.
    pub(super) fn leader(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let votes = |leader: &u64| {
            metrics.membership_config.membership().voter_ids().any(|voter| voter == *leader)
        };
        metrics.current_leader.filter(votes)
    }
}

/// What all parts of a node share.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) env: Env,
    pub(super) own: Identity,
    pub(super) peers: Arc<Peers>,
    pub(super) cluster_id: watch::Sender<Option<String>>,
    /// None until the node has found its cluster.
    pub(super) running: watch::Sender<Option<Running>>,
    pub(super) timers: QuorumTimers,
    pub(super) sessions: Mutex<Sessions>,
    /// Until when the leader counts this node's broker as living ([`super::Session`]); none before it has, or if there is no broker.
    pub(super) session_end: watch::Sender<Option<Instant>>,
    /// Told when the leader may have something to do before it looks again.
    pub(super) stirred: Notify,
    pub(super) proposals: mpsc::Sender<Proposal>,
    /// Connections that other nodes have to this one.
    pub(super) connections: AtomicUsize,
    /// Where other nodes reach this one, `host:port`.
    pub(super) address: String,
    /// Where clients go that come to the listener of nodes; none if this node is no controller.
    pub(super) clients: Option<mpsc::Sender<BoxStream>>,
    pub(super) metrics: Arc<QuorumMetrics>,
    pub(super) prepares: mpsc::Sender<(String, oneshot::Sender<Result<(), String>>)>,
}

impl Seat {
    /// A broker lives: the leader may have something to do for it.
    pub(super) fn hear(&self, beat: Heartbeat, incarnation: UuidText) {
        if self.sessions.lock().hear(beat, incarnation, self.env.steady.now()) {
            self.stirred.notify_one();
        }
    }

    /// A connection from a broker has ended: whoever leads looks whether it lives.
    pub(super) fn lose(&self, broker: BrokerId, incarnation: UuidText) {
        self.sessions.lock().lose(broker, incarnation);
        self.stirred.notify_one();
    }

    /// Has commands agreed on; with `here` only if this node leads.
    pub(super) async fn propose(
        &self,
        commands: Vec<Command>,
        here: bool,
    ) -> Result<Proposed, QuorumError> {
        let (reply, outcome) = oneshot::channel();
        let sent = self.proposals.send(Proposal { commands, here, reply }).await;
        sent.map_err(|_| QuorumError::Stopped)?;
        outcome.await.unwrap_or(Err(QuorumError::Stopped))
    }

    /// Raft, once it runs.
    pub(super) fn running(&self) -> Option<Running> {
        self.running.borrow().clone()
    }

    /// Whether this node leads.
    pub(super) fn leads(&self) -> bool {
        self.running().is_some_and(|running| running.leader() == Some(self.own.raft_id))
    }

    /// If this node leads: its term, and the last moment at which it certainly led.
    fn leadership(&self, running: &Running) -> Option<(u64, Instant)> {
        let (own, now) = (self.own.raft_id, self.env.steady.now());
        let metrics = running.raft.server_metrics();
        let metrics = metrics.borrow();
        let voters = metrics.membership_config.membership().get_joint_config();
        let leads = metrics.current_leader == Some(own)
            && voters.iter().any(|voters| voters.contains(&own));
        let led_at = self.peers.backing.since(voters, own, now).filter(|_| leads)?;
        Some((metrics.vote.leader_id().term, led_at))
    }

    /// The leader, unless it is known only from before this node has lost touch with a majority: Raft believes in a leader, and in
    /// itself as one, until there is another.
    fn certain_leader(&self, running: &Running) -> Option<u64> {
        let leader = running.leader()?;
        let now = self.env.steady.now();
        let is_certain = if leader == self.own.raft_id {
            let led_at = self.leadership(running).map(|(_, led_at)| led_at);
            led_at.is_some_and(|led_at| now.since(led_at) <= self.timers.leader_session())
        } else {
            self.session_end.borrow().is_none_or(|end| now <= end)
        };
        is_certain.then_some(leader)
    }

    /// If this node leads and counts a broker as living that says so: the last moment at which it certainly led. A broker that is
    /// fenced, or is about to be, or has not applied yet what it no longer leads, is not counted: it is to act as no leader (R16 of
    /// the replication design).
    pub(super) fn counts(&self, beat: Heartbeat) -> Option<Instant> {
        let running = self.running()?;
        let (term, led_at) = self.leadership(&running)?;
        let (index, serves) = {
            let applied = running.machine.applied();
            let applied = applied.borrow();
            let own = applied.image.broker(beat.broker);
            (applied.index, own.is_some_and(|own| own.serves(beat.epoch)))
        };
        let knows = beat.applied >= running.machine.deposed(beat.broker);
        let counts = self.sessions.lock().counts((beat.broker, beat.epoch), term, index);
        Some(led_at).filter(|_| serves && knows && counts)
    }

    /// For how long this node, if it leads, counts a broker as living that says so now.
    pub(super) fn session_left(&self, beat: Heartbeat) -> Option<Duration> {
        let led_at = self.counts(beat)?;
        let ago = self.env.steady.now().since(led_at);
        Some(self.timers.session.saturating_sub(ago))
    }

    /// Who votes and who listens, as all have agreed, and who leads, if that is certain.
    pub(super) fn status(&self) -> QuorumStatus {
        let Some(running) = self.running() else { return QuorumStatus::default() };
        let metrics = running.raft.metrics().borrow().clone();
        let membership = running.machine.members();
        let own_end = running.store.next_index();
        let level = running.level();
        let member = |(raft_id, node): (&u64, &Node)| {
            let replicated = metrics.replication.as_ref().and_then(|all| all.get(raft_id).copied());
            let end = match replicated {
                _ if *raft_id == self.own.raft_id => Some(own_end),
                Some(matched) => Some(matched.map_or(0, |matched| matched.index + 1)),
                None => None,
            };
            // Where voters come and go, the log says where they are.
            let told = node.endpoints.first().filter(|_| level > 0).map(String::as_str);
            let address = told.or_else(|| self.peers.addresses(node).next());
            let endpoint = address.and_then(|address| {
                let (host, port) = address.rsplit_once(':')?;
                Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
            });
            let (broker, directory) = (node.broker_id, node.directory_id);
            QuorumMember { broker, directory, endpoint, end }
        };
        let leader = self.certain_leader(&running);
        let leader = leader.and_then(|leader| membership.nodes.get(&leader));
        let mut nodes: Vec<_> = membership.nodes.iter().collect();
        nodes.sort_by_key(|(_, node)| node.broker_id);
        let (voters, observers): (Vec<_>, Vec<_>) =
            nodes.into_iter().partition(|(id, _)| membership.votes(**id));
        QuorumStatus {
            leader: leader.map(|leader| leader.broker_id),
            epoch: i32::try_from(metrics.current_term).unwrap_or(i32::MAX),
            voters: voters.into_iter().map(member).collect(),
            observers: observers.into_iter().map(member).collect(),
        }
    }

    /// Whether this node is a controller.
    pub(super) const fn is_controller(&self) -> bool {
        self.clients.is_some()
    }

    /// This node, as the others know it once it is a member.
    pub(super) fn node(&self) -> Node {
        Node {
            broker_id: self.own.broker,
            directory_id: self.own.directory,
            cluster_id: self.cluster_id.borrow().clone().unwrap_or_default(),
            endpoints: vec![self.address.clone()],
        }
    }

    /// How this node stands.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            identity: self.own.clone(),
            cluster_id: self.cluster_id.borrow().clone(),
            membership: self.running().map(|running| running.membership()).unwrap_or_default(),
            controller: self.is_controller().then(|| self.address.clone()),
        }
    }

    /// The state as far as this node has applied it.
    pub(super) fn image(&self) -> Arc<ClusterImage> {
        let image = |running: Running| Arc::clone(&running.machine.applied().borrow().image);
        self.running().map(image).unwrap_or_default()
    }
}

/// Commands that wait to be agreed on.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) commands: Vec<Command>,
    /// Whether nobody but this node is to decide on them, as the leader: another node sent them, or it has decided already.
    pub(super) here: bool,
    pub(super) reply: oneshot::Sender<Result<Proposed, QuorumError>>,
}

/// Several nodes agree.
#[derive(Debug)]
pub struct RaftQuorum {
    pub(super) seat: Arc<Seat>,
}

/// The state of the cluster, when it was caught up with.
#[derive(Debug)]
pub struct Caught {
    /// The state.
    pub image: Arc<ClusterImage>,
    /// Index of its last entry.
    pub index: u64,
}

impl RaftQuorum {
    /// Waits until this node has applied everything that was agreed on when it asked. For as long as there is no majority,
    /// this waits.
    ///
    /// # Errors
    /// If the metadata log cannot be written any more.
    pub async fn catch_up(&self) -> Result<Caught, QuorumError> {
        let running = self.seat.running().ok_or(QuorumError::Stopped)?;
        loop {
            let state = running.raft.metrics().borrow().running_state.clone();
            state.map_err(|_| QuorumError::Stopped)?;
            if let Some(index) = self.read_index().await {
                let mut applied = running.machine.applied();
                let reached = applied.wait_for(|applied| applied.index >= index);
                let deadline = self.seat.env.steady.now().plus(PATIENCE);
                if self.seat.env.steady.timeout_at(deadline, reached).await.is_ok() {
                    break;
                }
            }
            self.seat.env.steady.sleep(PAUSE).await;
        }
        let Applied { image, index } = running.machine.applied().borrow().clone();
        Ok(Caught { image, index })
    }

    /// The steps after a state: what came since as one step, then each. Nobody's proposal gets its outcome while this is full.
    ///
    /// # Errors
    /// If the node has not found its cluster.
    pub fn follow(&self, from: &Caught) -> Result<mpsc::Receiver<AppliedBatch>, QuorumError> {
        let running = self.seat.running().ok_or(QuorumError::Stopped)?;
        Ok(running.machine.follow(from))
    }

    /// Up to where everything is agreed on, as the leader says. None if there is none that has a majority behind it.
    async fn read_index(&self) -> Option<u64> {
        match ask_leader(&self.seat, Ask::ReadIndex, PATIENCE).await {
            Some(Told::Index(index)) => Some(index),
            Some(_) | None => None,
        }
    }
}

/// Up to where everything is agreed on, if this node leads and a majority says so too. That is the end of its log: what was ever
/// agreed on is in the log of a leader, but one that leads again after a restart does not know at once how much of it that is.
pub(super) async fn read_index(env: &Env, running: &Running) -> Option<u64> {
    let end = running.store.next_index();
    let deadline = env.steady.now().plus(PATIENCE);
    let read = env.steady.timeout_at(deadline, running.raft.get_read_log_id()).await.ok()?;
    read.ok()?;
    end.checked_sub(1)
}

impl Quorum for RaftQuorum {
    fn propose(
        &self,
        commands: Vec<Command>,
    ) -> Pin<Box<dyn Future<Output = Result<Proposed, QuorumError>> + Send + '_>> {
        Box::pin(self.seat.propose(commands, false))
    }

    fn agreed_on(&self) -> Pin<Box<dyn Future<Output = Option<u64>> + Send + '_>> {
        Box::pin(async {
            loop {
                if let Some(index) = self.read_index().await {
                    return Some(index);
                }
                self.seat.env.steady.sleep(PAUSE).await;
            }
        })
    }

    fn status(&self) -> QuorumStatus {
        self.seat.status()
    }

    fn metrics(&self) -> &QuorumMetrics {
        &self.seat.metrics
    }

    fn status_of_leader(&self) -> Pin<Box<dyn Future<Output = QuorumStatus> + Send + '_>> {
        Box::pin(async {
            match ask_leader(&self.seat, Ask::Status, STATUS_PATIENCE).await {
                Some(Told::Status(status)) => status,
                Some(_) | None => self.seat.status(),
            }
        })
    }

    fn node_connections(&self) -> usize {
        self.seat.connections.load(Ordering::Relaxed)
    }

    fn change_voters(
        &self,
        change: VoterChange,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + '_>> {
        Box::pin(change_voters(&self.seat, change))
    }

    fn move_voter(
        &self,
        voter: Voter,
        address: String,
    ) -> Pin<Box<dyn Future<Output = Result<(), ErrorCode>> + Send + '_>> {
        Box::pin(move_voter(&self.seat, voter, address))
    }
}

/// Takes proposals, several at a time, until the broker stops.
pub(super) async fn take_proposals(seat: Arc<Seat>, mut proposals: mpsc::Receiver<Proposal>) {
    let mut waiting = Vec::new();
    loop {
        let received = tokio::select! {
            received = proposals.recv_many(&mut waiting, BATCH_LENGTH) => received,
            () = seat.env.tasks.cancelled() => 0,
        };
        if received == 0 {
            return;
        }
        let attempt = agree(&seat, &mut waiting);
        tokio::select! {
            () = attempt => {}
            () = seat.env.tasks.cancelled() => return,
        }
    }
}

/// Gets all that wait agreed on, as one entry.
async fn agree(seat: &Seat, waiting: &mut Vec<Proposal>) {
    let deadline = seat.env.steady.now().plus(PATIENCE);
    loop {
        // That node asks whoever leads then.
        if !seat.leads() {
            let (here, anywhere): (Vec<_>, Vec<_>) =
                std::mem::take(waiting).into_iter().partition(|proposal| proposal.here);
            *waiting = anywhere;
            for proposal in here {
                drop(proposal.reply.send(Err(QuorumError::NoLeader)));
            }
        }
        if waiting.is_empty() {
            return;
        }
        let all = waiting.iter().flat_map(|proposal| &proposal.commands).cloned().collect();
        match attempt(seat, all, deadline).await {
            Attempt::Done(proposed) => return answer(waiting, proposed),
            Attempt::Failed(error) => return fail(waiting, &error),
            Attempt::NotTaken if seat.env.steady.now() >= deadline => {
                return fail(waiting, &QuorumError::NoLeader);
            }
            Attempt::NotTaken => seat.env.steady.sleep(PAUSE).await,
        }
    }
}

fn answer(waiting: &mut Vec<Proposal>, proposed: Proposed) {
    let mut outcomes = proposed.outcomes.into_iter();
    for proposal in waiting.drain(..) {
        let outcomes = outcomes.by_ref().take(proposal.commands.len()).collect();
        // A proposer that has gone away does not want to know.
        drop(proposal.reply.send(Ok(Proposed { index: proposed.index, outcomes })));
    }
}

fn fail(waiting: &mut Vec<Proposal>, error: &QuorumError) {
    for proposal in waiting.drain(..) {
        drop(proposal.reply.send(Err(error.clone())));
    }
}

/// What became of commands.
enum Attempt {
    Done(Proposed),
    /// Nobody has taken them: they may be proposed again.
    NotTaken,
    Failed(QuorumError),
}

async fn attempt(seat: &Seat, commands: Vec<Command>, deadline: Instant) -> Attempt {
    let Some(running) = seat.running() else { return Attempt::NotTaken };
    let Some(leader) = running.leader() else { return Attempt::NotTaken };
    if leader == seat.own.raft_id {
        return write(seat, &running, commands, deadline).await;
    }
    let membership = running.membership();
    let Some(node) = membership.nodes.get(&leader) else { return Attempt::NotTaken };
    let patience = deadline.since(seat.env.steady.now());
    match seat.peers.member(leader, node).ask(&Ask::Propose(commands), patience).await {
        Ok(Told::Proposed { index, outcomes }) => Attempt::Done(Proposed { index, outcomes }),
        Ok(Told::NotLeader) => Attempt::NotTaken,
        Err(PeerError::Unreachable { .. } | PeerError::Refused { .. }) => Attempt::NotTaken,
        Ok(_) | Err(PeerError::NoAnswer { .. }) => Attempt::Failed(QuorumError::Unknown),
    }
}

/// Writes commands as the leader.
async fn write(
    seat: &Seat,
    running: &Running,
    commands: Vec<Command>,
    deadline: Instant,
) -> Attempt {
    let (begun, count) = (seat.env.steady.now(), commands.len());
    let written = running.raft.client_write(commands);
    match seat.env.steady.timeout_at(deadline, written).await {
        Ok(Ok(response)) => {
            let (now, index) = (seat.env.steady.now(), response.log_id.index);
            seat.metrics.committed(now, count, now.since(begun));
            Attempt::Done(Proposed { index, outcomes: response.data })
        }
        // Also said of an entry that another leader's has replaced.
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Attempt::NotTaken,
        Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
            unreachable!("commands are no change of the membership: {error}")
        }
        Ok(Err(RaftError::Fatal(_))) => Attempt::Failed(QuorumError::Stopped),
        Err(_) => Attempt::Failed(QuorumError::Unknown),
    }
}
