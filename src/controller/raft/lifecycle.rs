//! The life of brokers: this node tells all voters that it lives, and if it leads, it acts on what it has heard.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::metrics::RaftServerMetrics;
use tokio::sync::{Notify, watch};

use super::frames::{Ask, Heartbeat, Told};
use super::peer::{PeerError, Target};
use super::quorum::{RaftQuorum, Running, Seat};
use super::voters::{ask_leader, finish, give_way, has_caught_up};
use crate::cluster::{BrokerImage, ClusterImage, Command};
use crate::config::QuorumConfig;
use crate::controller::raft_log::Node;
use crate::controller::{QuorumError, SNAPSHOT_AFTER_BYTES};
use crate::env::SteadyClock;
use crate::model::{BrokerId, Instant};

/// Between two looks of the leader at what is to be done, at most.
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(100);
/// At least, if nothing new is a reason for one.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(20);
/// Between two looks of another node, which only minds its own log.
const LOOK_ALONG: Duration = Duration::from_secs(1);
/// How long a broker may take to say whether it is there, whose connection has ended.
const PROBE_PATIENCE: Duration = Duration::from_millis(50);
/// A look that comes so much too late says that this process was stopped, and has heard nobody meanwhile.
const STOPPED_FOR: Duration = Duration::from_millis(200);

/// When a session is over that ends then: at its end it still is one.
const fn just_after(end: Instant) -> Instant {
    end.plus(Duration::from_millis(1))
}

/// Until when the leader counts this broker as living, by this broker's own clock, if it hears nothing more of it; none before
/// it has heard of it.
#[derive(Clone, Debug)]
pub struct Session {
    steady: SteadyClock,
    end: watch::Receiver<Option<Instant>>,
}

impl Session {
    /// Its end, as far as that is known now.
    #[must_use]
    pub fn end(&self) -> Option<Instant> {
        *self.end.borrow()
    }

    /// Waits until the end is another one. `false` if there will be none.
    pub async fn changed(&mut self) -> bool {
        self.end.changed().await.is_ok()
    }

    /// Waits until the session is over. While it is over, others may lead what this broker leads.
    pub async fn over(&mut self) {
        loop {
            let Some(end) = *self.end.borrow_and_update() else { return };
            tokio::select! {
                () = self.steady.sleep_until(just_after(end)) => return,
                changed = self.end.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// The life of this broker, as it tells the others of it.
#[derive(Debug)]
pub struct Lifecycle {
    ready: Arc<AtomicBool>,
    changed: Arc<Notify>,
    session: Session,
}

impl Lifecycle {
    /// Tells all voters from now on that the broker lives, which was registered with this epoch. `view` is the state that its
    /// partitions go by, and `applied` gives its index and image.
    #[must_use]
    pub fn start<V: Send + Sync + 'static>(
        quorum: &RaftQuorum,
        (broker, epoch): (BrokerId, i64),
        view: watch::Receiver<V>,
        applied: fn(&V) -> (u64, &ClusterImage),
    ) -> Self {
        let (ready, changed) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let life = Life {
            seat: Arc::clone(&quorum.seat),
            broker,
            epoch,
            view,
            applied,
            ready: Arc::clone(&ready),
            changed: Arc::clone(&changed),
        };
        quorum.seat.env.tasks.spawn_service("heartbeat", life.run());
        let end = quorum.seat.session_end.subscribe();
        let session = Session { steady: quorum.seat.env.steady.clone(), end };
        Self { ready, changed, session }
    }

    /// Has a node that is no broker ask the leader from now on whether a majority is behind it, as the heartbeats of a broker do: who
    /// follows a leader without one would believe in it for as long as it is heard of.
    pub fn without_broker(quorum: &RaftQuorum) {
        let seat = Arc::clone(&quorum.seat);
        quorum.seat.env.tasks.spawn_service("leader-watch", watch_leader(seat));
    }

    /// The broker may be let serve: its logs are recovered.
    pub fn ready(&self) {
        self.ready.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Whether the leader counts this broker as living.
    #[must_use]
    pub fn session(&self) -> Session {
        self.session.clone()
    }
}

struct Life<V> {
    seat: Arc<Seat>,
    broker: BrokerId,
    epoch: i64,
    view: watch::Receiver<V>,
    applied: fn(&V) -> (u64, &ClusterImage),
    ready: Arc<AtomicBool>,
    changed: Arc<Notify>,
}

impl<V: Send + Sync + 'static> Life<V> {
    async fn run(self) {
        let running = self.seat.running();
        let running = running.expect("a broker registers after its node has found the cluster");
        let (mut servers, mut leader) = (running.raft.server_metrics(), None);
        let mut view = self.view.clone();
        loop {
            self.beat(&running);
            tokio::select! {
                () = self.seat.env.steady.sleep(self.seat.timers.broker_heartbeat) => {}
                () = self.changed.notified() => {}
                () = self.brought_in(&mut view) => {}
                () = another_leads(&mut servers, &mut leader) => {}
                () = self.count_own() => {}
                () = self.seat.env.tasks.cancelled() => return,
            }
        }
    }

    /// Waits for the next change of the state while this broker is fenced, or the one that lets it serve: the leader does not have
    /// to wait for a heartbeat to let it serve, nor it for one to be in session.
    async fn brought_in(&self, view: &mut watch::Receiver<V>) {
        loop {
            let serves = {
                let view = view.borrow_and_update();
                let (_, image) = (self.applied)(&view);
                image.broker(self.broker).is_some_and(|own| own.serves(self.epoch))
            };
            if view.changed().await.is_err() {
                // Nobody follows the state any more: the node ends.
                return std::future::pending().await;
            }
            if !serves {
                return;
            }
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        let (applied, _) = (self.applied)(&self.view.borrow());
        let ready = self.ready.load(Ordering::Acquire);
        Heartbeat { broker: self.broker, epoch: self.epoch, applied, ready }
    }

    /// Tells every voter.
    fn beat(&self, running: &Running) {
        let (beat, now) = (self.heartbeat(), self.seat.env.steady.now());
        let membership = running.membership();
        for voter in membership.voters.iter().flatten() {
            if *voter == self.seat.own.raft_id {
                self.seat.hear(beat, self.seat.own.incarnation);
                continue;
            }
            let Some(node) = membership.nodes.get(voter) else { continue };
            let (peer, seat) = (self.seat.peers.member(*voter, node), Arc::clone(&self.seat));
            let patience = self.seat.timers.session;
            self.seat.env.tasks.spawn("heartbeat to a node", async move {
                let told = peer.ask(&Ask::Heartbeat(beat), patience).await;
                if let Ok(Told::Heard { session_left: Some(left) }) = told {
                    prolong(&seat.session_end, now.plus(left));
                }
            });
        }
    }

    /// While this node leads the quorum, what keeps its own broker in session is that a majority is behind it: looks whether it is each
    /// time that another node has followed, or from time to time if nobody has to.
    async fn count_own(&self) {
        let mut followed = self.seat.peers.backing.changes();
        let session = self.seat.timers.leader_session();
        loop {
            if let Some(led_at) = self.seat.counts(self.heartbeat()) {
                prolong(&self.seat.session_end, led_at.plus(session));
            }
            tokio::select! {
                // It lives as long as the seat.
                _ = followed.changed() => {}
                () = self.seat.env.steady.sleep(session / 2) => {}
            }
        }
    }
}

/// Asks the leader again and again whether a majority is behind it, until the node stops.
async fn watch_leader(seat: Arc<Seat>) {
    let running = seat.running().expect("a node serves after it has found the cluster");
    let (mut servers, mut leader) = (running.raft.server_metrics(), None);
    let (session, patience) = (seat.timers.leader_session(), seat.timers.session);
    // Which is time to ask.
    prolong(&seat.session_end, seat.env.steady.now().plus(patience));
    let watched = async {
        loop {
            let now = seat.env.steady.now();
            // A leader knows by itself.
            if !seat.leads()
                && let Some(Told::Status(status)) = ask_leader(&seat, Ask::Status, patience).await
                && status.leader.is_some()
            {
                prolong(&seat.session_end, now.plus(session));
            }
            tokio::select! {
                () = seat.env.steady.sleep(seat.timers.broker_heartbeat) => {}
                () = another_leads(&mut servers, &mut leader) => {}
            }
        }
    };
    tokio::select! {
        () = watched => {}
        () = seat.env.tasks.cancelled() => {}
    }
}

/// Waits until another node leads than before.
async fn another_leads(
    servers: &mut watch::Receiver<RaftServerMetrics<u64, Node>>,
    known: &mut Option<u64>,
) {
    loop {
        let leader = servers.borrow_and_update().current_leader;
        if leader.is_some() && leader != *known {
            *known = leader;
            return;
        }
        if servers.changed().await.is_err() {
            // Raft has ended, and with it this node.
            return std::future::pending().await;
        }
    }
}

/// A session lasts for its time after the last moment at which the leader certainly led, and counted this broker as living.
fn prolong(session_end: &watch::Sender<Option<Instant>>, end: Instant) {
    session_end.send_if_modified(|known| {
        let is_later = *known < Some(end);
        *known = (*known).max(Some(end));
        is_later
    });
}

/// Does what a leader has to, for as long as this node is one: fences and unfences brokers, makes voters of nodes that are
/// configured so, and has the log replaced by a snapshot when it has grown (which every node does for itself).
pub(super) async fn lead(seat: Arc<Seat>, config: QuorumConfig) {
    let (mut known, mut unfinished) = (Leadership::default(), None);
    loop {
        tokio::select! {
            () = next_look(&seat, &mut known) => {}
            () = seat.env.tasks.cancelled() => return,
        }
        let Some(running) = seat.running() else { continue };
        if running.store.length() >= SNAPSHOT_AFTER_BYTES
            && let Err(error) = running.raft.trigger().snapshot().await
        {
            tracing::debug!(%error, "no snapshot: Raft has ended");
        }
        give_way(&seat, &running);
        if !seat.leads() {
            continue;
        }
        known.look(&seat, &running);
        let work = async {
            mind_brokers(&seat, &running).await;
            unfinished = finish(&running, unfinished).await;
            promote(&running, &config).await;
        };
        tokio::select! {
            () = work => {}
            () = seat.env.tasks.cancelled() => return,
        }
    }
}

/// Who leads the quorum, as this node has last seen it.
#[derive(Debug, Default)]
struct Leadership {
    leader: Option<u64>,
    term: u64,
}

impl Leadership {
    /// Looks who leads. If this node does since a short time, sessions begin.
    fn look(&mut self, seat: &Seat, running: &Running) {
        let metrics = running.raft.server_metrics();
        let (leader, term) = {
            let metrics = metrics.borrow();
            (metrics.current_leader, metrics.vote.leader_id().term)
        };
        if leader.is_none() || (self.leader, self.term) == (leader, term) {
            return;
        }
        let before = std::mem::replace(self, Self { leader, term });
        if leader == Some(seat.own.raft_id) {
            // Nobody has led in between, but for another one in the same term, which openraft allows: that one would have led for less
            // time than it takes to be noticed.
            let former = before.leader.filter(|_| before.term + 1 == term);
            let nodes = running.membership().nodes;
            let former = former.and_then(|former| nodes.get(&former)).map(|node| node.broker_id);
            let (end, now) = (running.store.next_index(), seat.env.steady.now());
            seat.sessions.lock().begin(term, end, former, now);
        }
    }
}

/// Waits until there may be something to do: for a short while at most if this node leads, and else until it does.
async fn next_look(seat: &Seat, known: &mut Leadership) {
    let steady = &seat.env.steady;
    let Some(running) = seat.running() else { return steady.sleep(LOOK_PAUSE_MIN).await };
    let own = Some(seat.own.raft_id);
    let mut metrics = running.raft.server_metrics();
    if metrics.borrow().current_leader == own {
        let (now, image) = (steady.now(), seat.image());
        let latest = now.plus(LOOK_PAUSE_MAX);
        let end = seat.sessions.lock().next_end(&image).map(just_after);
        let next = end.map_or(latest, |end| end.clamp(now.plus(LOOK_PAUSE_MIN), latest));
        tokio::select! {
            () = steady.sleep_until(next) => {}
            () = seat.stirred.notified() => {}
        }
        let now = steady.now();
        if now > next.plus(STOPPED_FOR) {
            seat.sessions.lock().resume(now);
        }
        return;
    }
    let leads = async {
        known.look(seat, &running);
        while metrics.changed().await.is_ok() {
            known.look(seat, &running);
            if metrics.borrow_and_update().current_leader == own {
                return;
            }
        }
        // Raft has ended, and with it this node.
        std::future::pending().await
    };
    tokio::select! {
        () = leads => {}
        () = steady.sleep(LOOK_ALONG) => {}
    }
}

async fn mind_brokers(seat: &Seat, running: &Running) {
    let image = seat.image();
    let doubtful = seat.sessions.lock().doubtful(&image);
    for broker in doubtful {
        let is_gone = is_gone(seat, &broker).await;
        let mut sessions = seat.sessions.lock();
        if is_gone {
            tracing::info!(broker = %broker.id, "a broker is gone");
            sessions.condemn(&broker);
        }
        // If it is not gone it will be heard of, or fenced when its session is over.
        sessions.trust(&broker);
    }
    let deposed = |broker| running.machine.deposed(broker);
    let commands = seat.sessions.lock().due(&seat.image(), deposed, seat.env.steady.now());
    if commands.is_empty() {
        return;
    }
    for command in &commands {
        if let Command::FenceBroker { broker, .. } = command {
            tracing::info!(%broker, "fencing a broker");
        }
    }
    // Another leader decides by what it has heard itself.
    match seat.propose(commands, true).await {
        Ok(proposed) => {
            for refusal in proposed.outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
                tracing::debug!(%refusal, "a broker has changed meanwhile");
            }
        }
        Err(QuorumError::NoLeader) => tracing::debug!("another node leads by now"),
        Err(error) => tracing::warn!(%error, "brokers are not fenced or unfenced"),
    }
}

/// Whether it is certain that an incarnation of a broker is gone: nobody is where it may be, or another incarnation.
async fn is_gone(seat: &Seat, broker: &BrokerImage) -> bool {
    let Some(running) = seat.running() else { return false };
    let membership = running.membership();
    let node = membership.nodes.values().find(|node| node.broker_id == broker.id);
    let addresses = node.map(|node| seat.peers.addresses(node).map(str::to_owned));
    let addresses: Vec<String> = addresses.into_iter().flatten().collect();
    for address in &addresses {
        if !is_not_at(seat, broker, address.clone()).await {
            return false;
        }
    }
    !addresses.is_empty()
}

/// Whether nobody is at an address, or another incarnation.
async fn is_not_at(seat: &Seat, broker: &BrokerImage, address: String) -> bool {
    let peer = seat.peers.new_peer(Target::at(address));
    match peer.standing(PROBE_PATIENCE).await {
        Ok(standing) => standing.identity.incarnation != broker.incarnation,
        Err(PeerError::Unreachable { source, .. }) => {
            source.kind() == io::ErrorKind::ConnectionRefused
        }
        Err(PeerError::Refused { .. } | PeerError::NoAnswer { .. }) => false,
    }
}

/// Makes a voter of a node that is configured as one, when it has caught up, unless voters are added by hand.
async fn promote(running: &Running, config: &QuorumConfig) {
    if running.level() > 0 {
        return;
    }
    let metrics = running.raft.metrics().borrow().clone();
    let members = metrics.membership_config.membership();
    if members.get_joint_config().len() != 1 {
        return;
    }
    let is_configured = |raft_id: &u64| {
        members.get_node(raft_id).is_some_and(|node| config.is_voter(node.broker_id))
    };
    let ready = members.learner_ids().find(|id| is_configured(id) && has_caught_up(&metrics, *id));
    let Some(raft_id) = ready else { return };
    let change = ChangeMembers::AddVoterIds([raft_id].into());
    match running.raft.change_membership(change, true).await {
        Ok(_) => tracing::info!(raft_id, "a node votes from now on"),
        Err(error) => tracing::debug!(%error, "a node does not vote yet"),
    }
}
