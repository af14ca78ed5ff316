//! How a node finds its cluster, or begins one with others (`docs/ARCHITECTURE.md`, "The life of a cluster").
//!
//! An empty node asks all voters that are configured how they stand. Where `controller.quorum.bootstrap.servers` stand for them, that is all
//! servers, of which it may be one itself. If one of them knows a cluster, the node joins that. If all
//! answer and none does, the one with the lowest `node.id` draws the cluster's id, has every other one write it down, and then
//! begins the cluster with the raft ids of all. A crash at any step leaves nodes that are empty or have only the id: they go on
//! from there.
//!
//! **Invariant:** a node begins a cluster only if every configured voter or server has just said that it knows of none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::backing::Backing;
use super::balance::balance;
use super::frames::{Ask, Identity, Standing, Told};
use super::listener;
use super::machine::Machine;
use super::network::Network;
use super::peer::{Peer, PeerError, Target};
use super::quorum::{Peers, RaftQuorum, Running, Seat, take_proposals};
use super::sessions::Sessions;
use super::store::Store;
use super::voters::{Known, keep_known};
use super::{Raft, lifecycle};
use crate::config::{QuorumConfig, Voter};
use crate::controller::raft_log::{
    Found, Membership, Node, RaftLog, State, VERSION, Vote, snapshot_path,
};
use crate::controller::{INBOX_LENGTH, RaftLogError, kraft};
use crate::env::{BoxStream, Env, Listener, Rng};
use crate::log::{DataDirError, DataDirs, TakenDirs};
use crate::model::{BrokerId, UuidText, WithCauses};

/// How long a node may take to say how it stands.
const STANDING_PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to write a cluster's id down, or to be taken in.
const CHANGE_PATIENCE: Duration = Duration::from_secs(15);
/// Between two rounds of asking.
const PAUSE: Duration = Duration::from_millis(50);
/// Rounds of asking before a person is told who is waited for, and again.
const ROUNDS_UNTIL_TOLD: u32 = 100;
/// How long the followers may take to get a snapshot.
const SNAPSHOT_MILLIS: u64 = 60_000;
/// Nodes that lag further than this get a snapshot. Entries are only dropped after one, so that this never decides.
const LAG_ENTRIES: u64 = u64::MAX / 2;

/// Who a node is, before it has found its cluster.
#[derive(Debug)]
pub struct Joining {
    /// Its id.
    pub node_id: BrokerId,
    /// The id that its configuration wants for a new cluster.
    pub cluster_id: Option<String>,
    /// Who else there is, and how fast everything goes.
    pub quorum: QuorumConfig,
    /// Where other nodes come to.
    pub listener: Listener,
    /// Where clients go that come there; none if this node is no controller.
    pub clients: Option<mpsc::Sender<BoxStream>>,
    /// Where nodes reach the listener, as `host:port`.
    pub address: String,
    /// Drawn for this start.
    pub incarnation: UuidText,
}

/// Why a node could not find its cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Its files.
    #[error(transparent)]
    Metadata(#[from] RaftLogError),
    /// Its directories.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Its directory is of another cluster than the voters.
    #[error("this node is of cluster {own}, but {address} is of cluster {theirs}")]
    OtherCluster {
        /// The cluster of its directory.
        own: String,
        /// A voter.
        address: String,
        /// The cluster of that.
        theirs: String,
    },
    /// The cluster does not want it.
    #[error("the cluster refuses this node: {0}")]
    Refused(String),
    /// Its directory was one of Apache Kafka.
    #[error(
        "{0} has the metadata of Apache Kafka: start this node alone first, without controller.quorum.voters, which takes it over"
    )]
    ApacheKafka(PathBuf),
    /// Raft did not start.
    #[error("cannot start Raft: {0}")]
    Raft(String),
    /// The broker is stopping.
    #[error("the start was given up")]
    Stopped,
}

/// Finds the cluster of a node, or begins it, and takes the data directories into use for it. Waits as long as it takes: for
/// the other voters, if the cluster is new.
///
/// # Errors
/// [`ClusterError`], in one line for a person.
pub async fn join(
    env: &Env,
    joining: Joining,
    mut taken: TakenDirs,
) -> Result<(RaftQuorum, DataDirs), ClusterError> {
    let (disk, path) = (Arc::clone(&env.disk), taken.metadata_path().to_owned());
    let (opening, node_id) = (path.clone(), joining.node_id);
    let found = env.tasks.spawn_blocking("open-metadata", move || {
        let found = RaftLog::open(Arc::clone(&disk), &opening)?;
        if found.is_none() && kraft::take_over(&*disk, &opening, node_id)?.is_some() {
            return Err(ClusterError::ApacheKafka(opening));
        }
        Ok(found)
    });
    let found = found.await?;
    let raft_id =
        found.as_ref().map_or_else(|| env.rng.next_u64(), |found| found.log.state().raft_id);
    let own = Identity {
        broker: joining.node_id,
        raft_id,
        directory: UuidText(taken.directory_id(&env.rng)),
        incarnation: joining.incarnation,
    };
    let (cluster_id, _) =
        watch::channel(found.as_ref().and_then(|_| taken.cluster_id()).map(str::to_owned));
    let is_dynamic = joining.quorum.is_dynamic();
    let others: Vec<Voter> = joining.quorum.others(joining.node_id).cloned().collect();
    let servers = joining.quorum.bootstrap_servers.iter().filter(|_| is_dynamic);
    let configured = joining.quorum.voters.iter();
    let peers = Arc::new(Peers {
        env: env.clone(),
        own: own.clone(),
        cluster_id: cluster_id.subscribe(),
        configured: configured.map(|voter| (voter.id, voter.address.clone())).collect(),
        members: Mutex::default(),
        backing: Backing::default(),
    });
    let (proposals, inbox) = mpsc::channel(INBOX_LENGTH);
    let (prepares, prepared) = mpsc::channel(1);
    let seat = Arc::new(Seat {
        env: env.clone(),
        own,
        peers: Arc::clone(&peers),
        cluster_id,
        running: watch::Sender::new(None),
        timers: joining.quorum.timers,
        sessions: Mutex::new(Sessions::new(&joining.quorum.timers)),
        session_end: watch::Sender::new(None),
        stirred: Notify::new(),
        proposals,
        prepares,
        connections: AtomicUsize::new(0),
        metrics: Arc::default(),
        address: joining.address.clone(),
        clients: joining.clients,
    });
    env.tasks.spawn_service("nodes", listener::accept(Arc::clone(&seat), joining.listener));
    env.tasks.spawn_service("proposals", take_proposals(Arc::clone(&seat), inbox));
    let other = |id: Option<BrokerId>, address: String| Other {
        id,
        peer: peers.new_peer(Target::at(address.clone())),
        address,
    };
    let to_servers = servers.clone().map(|server| peers.new_peer(Target::at(server.clone())));
    let to_servers = to_servers.collect();
    let others = others.into_iter().map(|voter| other(Some(voter.id), voter.address));
    let others = others.chain(servers.map(|server| other(None, server.clone())));
    let candidate = Candidate {
        is_configured: joining.quorum.is_voter(joining.node_id),
        is_dynamic,
        node_id: joining.node_id,
        wanted_id: joining.cluster_id,
        others: others.collect(),
        config: raft_config(&joining.quorum, joining.node_id, &env.rng),
        path,
        taken: Some(taken),
        dirs: None,
        prepared,
        seat: Arc::clone(&seat),
    };
    let dirs = tokio::select! {
        dirs = candidate.find(found) => dirs?,
        () = env.tasks.cancelled() => return Err(ClusterError::Stopped),
    };
    let known = Known {
        node: seat.node(),
        is_dynamic,
        auto_join: is_dynamic && joining.quorum.auto_join && seat.is_controller(),
        servers: to_servers,
    };
    env.tasks.spawn_service("voters", keep_known(Arc::clone(&seat), known));
    if let Some(interval) = joining.quorum.balance_interval {
        env.tasks.spawn_service("leader-balance", balance(Arc::clone(&seat), interval));
    }
    let leading = lifecycle::lead(Arc::clone(&seat), joining.quorum);
    env.tasks.spawn_service("lead", leading);
    Ok((RaftQuorum { seat }, dirs))
}

/// Raft's timers and limits. The time of its elections is drawn here: openraft's own chance cannot be seeded.
fn raft_config(quorum: &QuorumConfig, node_id: BrokerId, rng: &Rng) -> Config {
    let (min, max) = quorum.election_band(node_id);
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let width = u32::try_from(millis(max - min)).unwrap_or(u32::MAX);
    let election_timeout = millis(min) + u64::from(rng.below(width.max(1)));
    Config {
        cluster_name: "ottla".to_owned(),
        heartbeat_interval: millis(quorum.timers.heartbeat),
        election_timeout_min: election_timeout,
        election_timeout_max: election_timeout + 1,
        install_snapshot_timeout: SNAPSHOT_MILLIS,
        replication_lag_threshold: LAG_ENTRIES,
        // By bytes, in `lifecycle`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        ..Config::default()
    }
}

/// A node that looks for its cluster.
struct Candidate {
    node_id: BrokerId,
    /// Whether it is one of the voters that are configured.
    is_configured: bool,
    /// Whether the log alone says who votes, and servers are configured instead of voters.
    is_dynamic: bool,
    wanted_id: Option<String>,
    others: Vec<Other>,
    config: Config,
    path: PathBuf,
    taken: Option<TakenDirs>,
    dirs: Option<DataDirs>,
    prepared: mpsc::Receiver<(String, oneshot::Sender<Result<(), String>>)>,
    seat: Arc<Seat>,
}

/// A voter or server that is configured.
struct Other {
    /// Its `node.id`; none if only its address is known.
    id: Option<BrokerId>,
    address: String,
    peer: Peer,
}

/// How the other voters or servers stand: those that answer, and one that does not.
struct Round {
    standings: Vec<(usize, Standing)>,
    silent: Option<PeerError>,
    /// Whether this node is one of the servers.
    is_server: bool,
}

impl Candidate {
    async fn find(mut self, found: Option<Found>) -> Result<DataDirs, ClusterError> {
        if let Some(found) = found {
            self.take_dirs(None).await?;
            self.run(found).await?;
        }
        let mut rounds = 0_u32;
        let mut admitted = false;
        loop {
            if self.is_member() && (self.is_voter() || admitted) {
                self.look_for_another_cluster().await?;
                break;
            }
            let round = self.ask_all().await;
            if let Some((at, begun)) = round.standings.iter().find(|(_, other)| other.has_begun()) {
                self.adopt(*at, begun).await?;
                admitted = self.ask_in(&round).await? || admitted;
            } else if self.is_dynamic && self.is_member() {
                // None of the servers may be a voter any more.
                let known = self.seat.standing().membership;
                admitted = self.is_let_in_by_voters(&known).await? || admitted;
            } else if self.may_begin(&round) {
                self.begin(&round).await?;
            }
            if rounds % ROUNDS_UNTIL_TOLD == ROUNDS_UNTIL_TOLD - 1 {
                let silent = round.silent.as_ref().map(|error| WithCauses(error).to_string());
                tracing::info!(silent, "waiting for the other nodes of the cluster");
            }
            rounds = rounds.saturating_add(1);
            self.wait().await?;
        }
        self.dirs.take().ok_or(ClusterError::Stopped)
    }

    /// A node that was alone so far, and is now configured with others, is not to go on alone if these are a cluster already.
    /// Whoever is silent counts for nothing: they may come to it.
    async fn look_for_another_cluster(&self) -> Result<(), ClusterError> {
        if self.seat.standing().membership.nodes.len() > 1 {
            return Ok(());
        }
        match self.ask_all().await.silent {
            Some(refusal @ PeerError::Refused { .. }) => {
                Err(ClusterError::Refused(refusal.to_string()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether this node's log says that it belongs to the cluster.
    fn is_member(&self) -> bool {
        let nodes = self.seat.standing().membership.nodes;
        nodes.contains_key(&self.seat.own.raft_id)
    }

    /// Whether this node votes: by its configuration, or by the log.
    fn is_voter(&self) -> bool {
        match self.is_dynamic {
            true => self.seat.standing().membership.votes(self.seat.own.raft_id),
            false => self.is_configured,
        }
    }

    /// Whether it is for this node to begin the cluster: all are there, none knows of one, and this is the one with the lowest id.
    fn may_begin(&self, round: &Round) -> bool {
        let is_one = match self.is_dynamic {
            true => round.is_server && self.seat.is_controller(),
            false => self.is_configured,
        };
        let is_later = |(at, standing): &(usize, Standing)| {
            let meant = self.others.get(*at).and_then(|other| other.id);
            meant.unwrap_or(standing.identity.broker) > self.node_id
                && (!self.is_dynamic || standing.controller.is_some())
        };
        is_one && round.silent.is_none() && round.standings.iter().all(is_later)
    }

    /// Waits for a moment; does what the one says who begins the cluster.
    async fn wait(&mut self) -> Result<(), ClusterError> {
        let asked = tokio::select! {
            asked = self.prepared.recv() => asked,
            () = self.seat.env.steady.sleep(PAUSE) => None,
        };
        let Some((cluster_id, reply)) = asked else { return Ok(()) };
        let done = self.settle(&cluster_id).await;
        let told = match &done {
            Ok(()) => Ok(()),
            Err(error) => Err(WithCauses(error).to_string()),
        };
        drop(reply.send(told));
        done
    }

    async fn ask_all(&self) -> Round {
        let mut round = Round { standings: Vec::new(), silent: None, is_server: false };
        for (at, other) in self.others.iter().enumerate() {
            match other.peer.standing(STANDING_PATIENCE).await {
                Ok(standing) if standing.identity.raft_id == self.seat.own.raft_id => {
                    round.is_server = true;
                }
                Ok(standing) => round.standings.push((at, standing)),
                // What somebody says against this node is more than that another one says nothing.
                Err(_) if matches!(round.silent, Some(PeerError::Refused { .. })) => {}
                Err(error) => round.silent = Some(error),
            }
        }
        round
    }

    /// Takes the cluster for its own that another node knows.
    async fn adopt(&mut self, at: usize, begun: &Standing) -> Result<(), ClusterError> {
        let Some(theirs) = begun.cluster_id.clone() else { return Ok(()) };
        let own = self.seat.cluster_id.borrow().clone();
        match own {
            Some(own) if own == theirs => Ok(()),
            Some(own) => {
                let address = self.others.get(at).map(|other| other.address.clone());
                Err(ClusterError::OtherCluster {
                    own,
                    address: address.unwrap_or_default(),
                    theirs,
                })
            }
            None => self.settle(&theirs).await,
        }
    }

    /// Asks to be taken in, unless those who know the cluster count this node in already. Says whether it was.
    async fn ask_in(&self, round: &Round) -> Result<bool, ClusterError> {
        let own = self.seat.own.raft_id;
        let begun = || round.standings.iter().filter(|(_, standing)| standing.has_begun());
        let counted = |standing: &Standing| match self.is_dynamic {
            true => standing.membership.votes(own),
            false => self.is_configured && standing.membership.nodes.contains_key(&own),
        };
        if begun().any(|(_, standing)| counted(standing)) {
            return Ok(true);
        }
        for (at, standing) in begun() {
            let Some(other) = self.others.get(*at) else { continue };
            if self.is_let_in(&other.peer).await? {
                return Ok(true);
            }
            // The leader may be none of the servers.
            if self.is_dynamic && self.is_let_in_by_voters(&standing.membership).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks all voters to be taken in, of which one may lead.
    async fn is_let_in_by_voters(&self, membership: &Membership) -> Result<bool, ClusterError> {
        let voters = membership.nodes.iter().filter(|(id, _)| membership.votes(**id));
        for (id, node) in voters.filter(|(id, _)| **id != self.seat.own.raft_id) {
            if self.is_let_in(&self.seat.peers.member(*id, node)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks one node to be taken in. If it does not lead, this is asked again in the next round.
    async fn is_let_in(&self, peer: &Peer) -> Result<bool, ClusterError> {
        let ask = Ask::Join { raft_id: self.seat.own.raft_id, node: self.seat.node() };
        match peer.ask(&ask, CHANGE_PATIENCE).await {
            Ok(Told::Done) => Ok(true),
            Ok(Told::Refused(reason)) => Err(ClusterError::Refused(reason)),
            Ok(_) | Err(_) => Ok(false),
        }
    }

    /// Begins the cluster: all voters are there, and none knows of one.
    async fn begin(&mut self, round: &Round) -> Result<(), ClusterError> {
        let known = round.standings.iter().find_map(|(_, standing)| standing.cluster_id.clone());
        let own = self.seat.cluster_id.borrow().clone();
        let earlier = self.taken.as_ref().and_then(TakenDirs::cluster_id).map(str::to_owned);
        let drawn = || UuidText(self.seat.env.rng.uuid()).to_string();
        let cluster_id =
            own.or(known).or(earlier).or_else(|| self.wanted_id.clone()).unwrap_or_else(drawn);
        self.settle(&cluster_id).await?;
        let mut nodes = BTreeMap::from([(self.seat.own.raft_id, self.seat.node())]);
        for (at, standing) in &round.standings {
            let Some(other) = self.others.get(*at) else { continue };
            let ask = Ask::Prepare { cluster_id: cluster_id.clone() };
            match other.peer.ask(&ask, CHANGE_PATIENCE).await {
                Ok(Told::Done) => {}
                Ok(Told::Refused(reason)) => return Err(ClusterError::Refused(reason)),
                // It has gone, and will be asked again.
                Ok(_) | Err(_) => return Ok(()),
            }
            let node = Node {
                broker_id: standing.identity.broker,
                directory_id: standing.identity.directory,
                cluster_id: cluster_id.clone(),
                endpoints: vec![match &standing.controller {
                    Some(address) if self.is_dynamic => address.clone(),
                    Some(_) | None => other.address.clone(),
                }],
            };
            if let Some(meant) = other.id.filter(|id| *id != node.broker_id) {
                let (address, id) = (&other.address, node.broker_id);
                let reason = format!("{address} is node {id}, not {meant}");
                return Err(ClusterError::Refused(reason));
            }
            nodes.insert(standing.identity.raft_id, node);
        }
        let running = self.seat.running().ok_or(ClusterError::Stopped)?;
        let begun = running.raft.initialize(nodes).await;
        begun.map_err(|error| ClusterError::Raft(error.to_string()))?;
        knows_members(&running.raft).await?;
        tracing::info!(cluster = %cluster_id, "began the cluster");
        Ok(())
    }

    /// Writes down which cluster this node belongs to, with an empty metadata log, and starts Raft.
    async fn settle(&mut self, cluster_id: &str) -> Result<(), ClusterError> {
        if self.seat.running().is_some() {
            return Ok(());
        }
        self.take_dirs(Some(cluster_id)).await?;
        let vote = Vote { term: 0, node: 0, committed: false };
        let raft_id = self.seat.own.raft_id;
        let state = State { version: VERSION, raft_id, vote, committed: None, purged: None };
        let (disk, path) = (Arc::clone(&self.seat.env.disk), self.path.clone());
        let log = self
            .seat
            .env
            .tasks
            .spawn_blocking("begin-metadata", move || RaftLog::create(disk, &path, state));
        let found = Found { log: log.await?, snapshot: None, entries: Vec::new() };
        self.run(found).await
    }

    async fn take_dirs(&mut self, cluster_id: Option<&str>) -> Result<(), ClusterError> {
        let Some(taken) = self.taken.take() else { return Ok(()) };
        let (node_id, rng) = (self.node_id, self.seat.env.rng.clone());
        let cluster_id = cluster_id.or(self.wanted_id.as_deref()).map(str::to_owned);
        let finish = move || taken.finish(node_id, cluster_id.as_deref(), &rng);
        let dirs = self.seat.env.tasks.spawn_blocking("take-data", finish).await?;
        self.seat.cluster_id.send_replace(Some(dirs.meta().cluster_id.clone()));
        self.dirs = Some(dirs);
        Ok(())
    }

    async fn run(&mut self, found: Found) -> Result<(), ClusterError> {
        let running = start(&self.seat, found, &self.path, self.config.clone()).await?;
        self.seat.running.send_replace(Some(running));
        Ok(())
    }
}

/// Starts Raft on the log of this node.
async fn start(
    seat: &Seat,
    found: Found,
    path: &Path,
    config: Config,
) -> Result<Running, ClusterError> {
    let purged = found.log.state().purged;
    let store = Store::new(&seat.env, Arc::clone(&seat.metrics), found);
    let machine = Machine::load(store.clone()).map_err(|error| {
        let path = snapshot_path(path, purged.map_or(0, |purged| purged.index));
        RaftLogError::Newer { path, position: 0, problem: error.to_string() }
    })?;
    let config = config.validate().map_err(|error| ClusterError::Raft(error.to_string()))?;
    let network = Network(Arc::clone(&seat.peers));
    let raft =
        Raft::new(seat.own.raft_id, Arc::new(config), network, store.clone(), machine.clone());
    let raft = raft.await.map_err(|error| ClusterError::Raft(error.to_string()))?;
    if store.next_index() > 0 {
        knows_members(&raft).await?;
    }
    let guarded = guard(seat.env.clone(), raft.clone());
    seat.env.tasks.spawn_service("raft", guarded);
    Ok(Running { raft, store, machine })
}

/// Waits until Raft, which has a log, says who the members are: until then this node would seem to be none, and might begin its
/// cluster once more.
async fn knows_members(raft: &Raft) -> Result<(), ClusterError> {
    let mut metrics = raft.metrics();
    let told = metrics.wait_for(|metrics| metrics.membership_config.nodes().next().is_some());
    told.await.map(drop).map_err(|_| ClusterError::Raft("it ended at once".to_owned()))
}

/// Ends Raft with the broker, and the broker with Raft.
async fn guard(env: Env, raft: Raft) {
    let mut metrics = raft.metrics();
    let ended = metrics.wait_for(|metrics| metrics.running_state.is_err());
    tokio::select! {
        _ = ended => {
            let state = format!("{:?}", raft.metrics().borrow().running_state);
            tracing::error!(%state, "Raft has ended");
        }
        () = env.tasks.cancelled() => {}
    }
    if let Err(error) = raft.shutdown().await {
        tracing::debug!(%error, "Raft was ended by its own failure");
    }
}
