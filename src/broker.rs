//! One broker as a value: made of its parts in order, ended in order. Several of them live in one process. A node that is only a
//! controller is one without partitions, which does not register, and serves tools at the controller's listener.
//!
//! **Start:** the listeners are bound (not yet accepting), the data directories are taken, the metadata log is read, logs are
//! opened, the broker registers; then it accepts. **Stop:** connections get their last replies, services end, logs are made
//! durable and the stop is marked as clean.

mod cluster;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::{mpsc, watch};

use self::cluster::{ControllerClients, Membership};
use crate::admin::Admin;
use crate::api::{
    Advertised, Api, Authorizer, Connections, EndpointType, FetchSessions, OFFSETS_TOPIC,
    ProducerIds, Services, TRANSACTIONS_TOPIC, View,
};
use crate::cluster::features::{self, KRAFT_VERSION};
use crate::cluster::{
    Applied, ClusterImage, Command, ConfigResource, Event, NewTopic, Registration,
};
use crate::config::{BrokerConfig, Effective, HttpListener, Overrides, QuorumConfig, Roles};
use crate::controller::{
    AppliedBatch, Caught, ClusterError, Lifecycle, LocalQuorum, Proposed, Quorum, QuorumError,
    RaftLogError, RaftQuorum, Started, Storage, place,
};
use crate::coordinator::{self, Coordinator, ImageSource, Others};
use crate::env::{Env, Listener, Tasks, default_gateways, memory_bytes};
use crate::group::GroupShard;
use crate::log::{DataDirError, DataDirs, DataPaths};
use crate::model::{BrokerId, TopicId, TopicName, UuidText, WithCauses};
use crate::net::{AcceptLimits, Budget, ListenError, Server, SharedLimits};
use crate::record::Compression;
use crate::replica::ReplicaManager;
use crate::telemetry::Metrics;
use crate::txn::{MarkerWriter, TransactionShard};

/// Keys of APIs are below this.
const API_KEYS: usize = 128;
/// Where HTTP is served if nobody says.
pub const HTTP_PORT: u16 = 8092;
/// The epoch of a node that is no broker.
const NO_BROKER_EPOCH: i64 = -1;
/// Memory assumed of a machine that does not tell.
const MEMORY_BYTES_UNKNOWN: u64 = 1 << 30;

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// Its configuration.
    pub settings: Effective,
    /// Its data directories.
    pub data: DataPaths,
    /// Whether the metadata is kept in a data directory. If not, a restart begins a new cluster.
    pub durable: bool,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
}

/// What a broker begins with: its directories and the state of its cluster.
struct Founded {
    data: DataDirs,
    image: Arc<ClusterImage>,
    /// Index of the last entry of it.
    index: u64,
    /// The steps from there on. None if they are followed once the logs are open, which may take long.
    applied: Option<mpsc::Receiver<AppliedBatch>>,
    quorum: Arc<dyn Quorum>,
    /// The same, if there are several nodes.
    raft: Option<Arc<RaftQuorum>>,
}

/// A running broker. Dropping it leaves it running; end it with [`stop`](Self::stop) or [`kill`](Self::kill).
#[derive(Debug)]
pub struct Broker {
    env: Env,
    /// The tasks of connections and requests, which end first.
    requests: Tasks,
    services: Arc<Services>,
    roles: Roles,
    addresses: Vec<SocketAddr>,
    http: Option<SocketAddr>,
    /// None if it is alone, or only a controller.
    membership: Option<Membership>,
}

/// Why a broker did not start. Each is one line for a person.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The metadata log.
    #[error(transparent)]
    Metadata(#[from] RaftLogError),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The first proposal.
    #[error("the broker could not register: {0}")]
    Register(String),
}

impl From<QuorumError> for StartError {
    fn from(error: QuorumError) -> Self {
        Self::Register(error.to_string())
    }
}

impl Broker {
    /// Starts a broker. It serves clients when this returns.
    ///
    /// # Errors
    /// [`StartError`], in one line for a person.
    pub async fn start(env: Env, options: BrokerOptions) -> Result<Self, StartError> {
        let config = options.settings.broker().clone();
        let requests = env.tasks.child();
        let request_env = Env { tasks: requests.clone(), ..env.clone() };
        let limits = SharedLimits::new(accept_limits(&env, &config).await);
        let server = Server::new(request_env.clone(), limits.clone(), budget(&env, &config));
        // A port that is taken is found out before anything is written.
        let listeners = bind(&server, &config).await?;
        let (nodes, clients) = match &config.quorum {
            Some(quorum) => {
                let (nodes, clients) = cluster::bind(&server, &config, quorum).await?;
                (Some(nodes), clients)
            }
            None => (None, None),
        };
        let http = bind_http(&server, &config).await?;
        let http_address = http.as_ref().map(Listener::local_address);
        let admin = Admin::new(env.clone(), requests.clone());
        // Whoever asks for the broker's health gets an answer while its logs are recovered.
        if let Some(listener) = http {
            admin.serve(listener);
        }
        let mut addresses: Vec<(Arc<str>, SocketAddr)> = listeners
            .iter()
            .map(|(name, listener)| (Arc::clone(name), listener.local_address()))
            .collect();
        let incarnation = UuidText(env.rng.uuid());
        let founded = match (&config.quorum, nodes) {
            (Some(quorum), Some(nodes)) => {
                cluster::found(&env, &options, (quorum, nodes), incarnation).await?
            }
            (Some(_) | None, None) | (None, Some(_)) => found_alone(&env, &options).await?,
        };
        admin.has_state();
        let raft = founded.raft.clone();
        let endpoints = match &raft {
            Some(_) => cluster::endpoints(&config, &addresses),
            None => advertised(&config),
        };
        let told = (endpoints, incarnation);
        let services = Arc::new(open(&env, request_env, options, (limits, told), founded).await?);
        let mut membership = None;
        if config.roles.is_broker() {
            services.replicas.start_housekeeping();
            if let Some(raft) = &raft {
                membership = Some(cluster::serve(&env, raft, &services).await?);
            }
            create_start_topics(&services, &config).await?;
        } else if let Some(raft) = &raft {
            Lifecycle::without_broker(raft);
        }
        let api = Arc::new(Api::new(Arc::clone(&services)));
        let select = |endpoint: EndpointType, name: &Arc<str>| {
            let (api, connections) = (Arc::clone(&api), services.connections.clone());
            let name = Arc::clone(name);
            move |local, peer| {
                let listener = (endpoint, Arc::clone(&name));
                (Arc::clone(&api), connections.enter(listener, local, peer))
            }
        };
        for (name, listener) in listeners {
            server.serve(listener, select(EndpointType::Broker, &name));
        }
        if let Some(ControllerClients { address, streams }) = clients {
            let name = Arc::from(config.controller_listener_name.as_str());
            server.serve_accepted(streams, select(EndpointType::Controller, &name));
            addresses.push((name, address));
        }
        admin.ready(Arc::clone(&services), addresses.clone());
        let addresses = addresses.into_iter().map(|(_, address)| address).collect();
        let (roles, http) = (config.roles, http_address);
        Ok(Self { env, requests, services, roles, addresses, http, membership })
    }

    /// What it is for.
    #[must_use]
    pub const fn roles(&self) -> Roles {
        self.roles
    }

    /// The addresses that clients can connect to, one for each listener, that of the controller last.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it serves HTTP, if it does.
    #[must_use]
    pub const fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> BrokerId {
        self.services.broker
    }

    /// The id of its cluster.
    #[must_use]
    pub fn cluster_id(&self) -> String {
        self.services.view.borrow().image.cluster_id().to_owned()
    }

    /// What it takes from its machine.
    #[must_use]
    pub const fn env(&self) -> &Env {
        &self.env
    }

    /// Done when the broker cannot go on: its disk has failed, or one of its tasks.
    pub async fn failure(&self) {
        self.env.tasks.failure().await;
    }

    /// Ends the broker in good order.
    ///
    /// # Errors
    /// If the logs could not be made durable: the next start recovers them.
    pub async fn stop(self) -> std::io::Result<()> {
        if let Some(membership) = &self.membership {
            cluster::hand_over(&self.env, &self.services, membership).await;
        }
        self.end_tasks().await;
        // A controller holds nothing that would have to be made durable.
        if !self.roles.is_broker() {
            return Ok(());
        }
        let (replicas, epoch) = (Arc::clone(&self.services.replicas), self.services.broker_epoch);
        let closed =
            self.env.tasks.spawn_blocking("close-logs", move || replicas.close(epoch)).await;
        self.env.tasks.wait().await;
        closed
    }

    /// Ends the broker as if its process were gone: nothing is made durable or marked.
    pub async fn kill(self) {
        self.end_tasks().await;
    }

    async fn end_tasks(&self) {
        self.requests.cancel();
        self.requests.wait().await;
        self.env.tasks.cancel();
        self.env.tasks.wait().await;
    }
}

async fn bind(
    server: &Server,
    config: &BrokerConfig,
) -> Result<Vec<(Arc<str>, Listener)>, ListenError> {
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        let host = listener.host.as_deref().unwrap_or_default();
        let bound = server.bind(host, listener.port, backlog(config), "--listen").await?;
        listeners.push((Arc::from(listener.name.as_str()), bound));
    }
    Ok(listeners)
}

fn backlog(config: &BrokerConfig) -> i32 {
    i32::try_from(config.listen_backlog).unwrap_or(i32::MAX)
}

/// The listener for HTTP. One that nobody asked for is done without, if its port is taken.
async fn bind_http(
    server: &Server,
    config: &BrokerConfig,
) -> Result<Option<Listener>, ListenError> {
    let first = config.listeners.iter().chain(&config.controller_listeners).next();
    let (host, port, wanted) = match (&config.http, first) {
        (HttpListener::Off, _) => return Ok(None),
        (HttpListener::Unset, None) => (&None, HTTP_PORT, false),
        (HttpListener::At { host, port }, _) => (host, *port, true),
        (HttpListener::Unset, Some(first)) => {
            let port = if first.port == 0 { 0 } else { HTTP_PORT };
            (&first.host, port, false)
        }
    };
    let host = host.as_deref().unwrap_or_default();
    match server.bind(host, port, backlog(config), "--http").await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if wanted => Err(error),
        Err(error) => {
            let error = WithCauses(&error);
            tracing::warn!(%error, "there is no HTTP: no metrics, no health");
            Ok(None)
        }
    }
}

/// Takes the data directories into use and reads the metadata of a cluster of one node.
async fn found_alone(env: &Env, options: &BrokerOptions) -> Result<Founded, StartError> {
    let (opening, broker) = (env.clone(), options.settings.broker().node_id);
    let cluster_id = options.settings.broker().cluster_id.clone();
    let (paths, durable) = (options.data.clone(), options.durable);
    let opened = env.tasks.spawn_blocking("open-data", move || {
        let data =
            DataDirs::open(&opening.disk, &paths, broker, cluster_id.as_deref(), &opening.rng)?;
        let storage = if durable {
            let path = data.metadata().path().to_owned();
            Storage::Directory { path, id: UuidText(data.meta().directory_id) }
        } else {
            Storage::Memory
        };
        let started = LocalQuorum::start(&opening, storage, broker, &data.meta().cluster_id)?;
        Ok::<_, StartError>((data, started))
    });
    let (data, Started { quorum, image, index, applied }) = opened.await?;
    Ok(Founded { data, image, index, applied: Some(applied), quorum: Arc::new(quorum), raft: None })
}

/// Opens the logs and registers the broker, if the node is one, and takes note of what is agreed on.
async fn open(
    env: &Env,
    request_env: Env,
    options: BrokerOptions,
    (limits, (endpoints, incarnation)): (SharedLimits, (Endpoints, UuidText)),
    founded: Founded,
) -> Result<Services, StartError> {
    let BrokerOptions { settings, authorizer, .. } = options;
    let Founded { data, image, index, applied, quorum, raft } = founded;
    let broker = settings.broker().node_id;
    let is_broker = settings.broker().roles.is_broker();
    let previous_epoch = raft.as_ref().and_then(|_| cluster::clean_epoch(&data));
    let cluster_id = data.meta().cluster_id.clone();
    let directories = data.live().map(|(_, dir)| UuidText(dir.meta().directory_id)).collect();
    let configured = settings.clone();
    let settings = Arc::new(altered(settings, broker, &image));
    let replicas = Arc::new(ReplicaManager::new(env.clone(), broker, Arc::clone(&settings), data));
    if is_broker {
        replicas.open_all(&image).await?;
    }
    let first = View { index, image: Arc::clone(&image), settings: Arc::clone(&settings) };
    let applied = match (applied, &raft) {
        (Some(applied), _) => applied,
        (None, Some(raft)) => raft.follow(&Caught { image: Arc::clone(&image), index })?,
        (None, None) => unreachable!("a single node has its steps"),
    };
    let (views, view) = watch::channel(first);
    let groups = coordinator_of_groups(&request_env, broker, &replicas, &settings, view.clone());
    let groups = Arc::new(groups);
    let listener = settings.broker().inter_broker_listener.clone();
    let seen = view.clone();
    let newest: ImageSource = Arc::new(move || Arc::clone(&seen.borrow().image));
    let others = Arc::new(Others::new(request_env.clone(), broker, listener, newest));
    let markers = Arc::new(MarkerWriter::new(
        request_env.clone(),
        Arc::clone(&replicas),
        Arc::clone(&groups),
        OFFSETS_TOPIC,
        Arc::clone(&others),
    ));
    let both = (&replicas, &markers);
    let transactions =
        coordinator_of_transactions(&request_env, broker, both, &settings, view.clone());
    let held = is_broker.then(|| Held {
        replicas: Arc::clone(&replicas),
        groups: Arc::clone(&groups),
        transactions: Arc::clone(&transactions),
    });
    let metrics = Arc::new(Metrics::new(API_KEYS));
    let elections =
        Elections { broker, quorum: Arc::clone(&quorum), metrics: Arc::clone(&metrics) };
    let follower = Follower { env: env.clone(), broker, held, limits, views, elections };
    env.tasks.spawn_service("apply-metadata", follower.run(applied));
    let registration = is_broker.then(|| Registration {
        directories,
        endpoints: cluster::registered(&endpoints),
        fenced: raft.is_some(),
        previous_epoch,
        // A node on its own has nobody who could take over.
        failed: raft.as_ref().map(|_| replicas.failed_replicas()).unwrap_or_default(),
        ..registration(&configured, incarnation)
    });
    let mut features = features::initial(image.features());
    if settings.broker().quorum.as_ref().is_some_and(QuorumConfig::is_dynamic) {
        features.insert(KRAFT_VERSION.to_owned(), 1);
    }
    let bootstrap = image.cluster_id().is_empty().then(|| Command::Bootstrap {
        cluster_id,
        features,
        min_insync_replicas: Some(configured.topic(&Overrides::new()).min_insync_replicas),
    });
    let broker_epoch = register(&*quorum, view.clone(), bootstrap, registration).await?;
    let config = settings.broker();
    let slots = usize::try_from(config.fetch_session_slots).unwrap_or(usize::MAX);
    Ok(Services {
        sessions: FetchSessions::new(slots, env.rng.clone()),
        env: request_env,
        broker,
        broker_epoch,
        view,
        quorum,
        replicas,
        groups,
        transactions,
        markers,
        others,
        producer_ids: ProducerIds::default(),
        advertised: Advertised::new(endpoints, config.external.clone(), default_gateways()),
        connections: Connections::default(),
        metrics,
        authorizer,
    })
}

/// What a broker says of itself by its configuration. What was set since it started is in the image by itself.
fn registration(configured: &Effective, incarnation: UuidText) -> Registration {
    let (config, topic) = (configured.broker(), configured.topic(&Overrides::new()));
    let paths = |dirs: &[PathBuf]| dirs.iter().map(|dir| dir.to_string_lossy().into()).collect();
    Registration {
        rack: config.rack.clone(),
        log_dirs: paths(&config.log_dirs),
        cordoned_log_dirs: paths(&config.cordoned_log_dirs),
        min_insync_replicas: topic.min_insync_replicas,
        unclean_leader_election: topic.unclean_leader_election,
        ..Registration::new(config.node_id, incarnation)
    }
}

/// Begins the state if nobody has, registers the broker if the node is one, and waits until `view` has that. Gives the broker's
/// epoch. To do it twice does no harm, so it is done until it is known to be done.
async fn register(
    quorum: &dyn Quorum,
    mut view: watch::Receiver<View>,
    bootstrap: Option<Command>,
    registration: Option<Registration>,
) -> Result<i64, StartError> {
    let is_broker = registration.is_some();
    let commands: Vec<_> =
        bootstrap.into_iter().chain(registration.map(Command::RegisterBroker)).collect();
    if commands.is_empty() {
        return Ok(NO_BROKER_EPOCH);
    }
    let mut proposed: Proposed = loop {
        match quorum.propose(commands.clone()).await {
            Err(error @ (QuorumError::NoLeader | QuorumError::Unknown)) => {
                tracing::warn!(%error, "the node is not registered yet");
            }
            proposed => break proposed?,
        }
    };
    let broker_epoch = match proposed.outcomes.pop() {
        Some(Ok(Applied::BrokerEpoch(epoch))) => epoch,
        // Another node may have begun it meanwhile.
        _ if !is_broker => NO_BROKER_EPOCH,
        other => return Err(StartError::Register(format!("{other:?}"))),
    };
    let registered = view.wait_for(|view| view.index >= proposed.index).await.map(drop);
    registered.map_err(|_| StartError::Register("the metadata task has ended".to_owned()))?;
    Ok(broker_epoch)
}

/// Makes the topics of `ottla.create.topics` that are not there.
async fn create_start_topics(services: &Services, config: &BrokerConfig) -> Result<(), StartError> {
    let image = Arc::clone(&services.view.borrow().image);
    let missing =
        config.start_topics.iter().filter(|topic| image.topic(topic.name.as_str()).is_none());
    let (mut names, mut commands) = (Vec::new(), Vec::new());
    let not_made = |name: &TopicName, reason: &str| {
        tracing::warn!(topic = %name, %reason, "a topic of ottla.create.topics is not made");
    };
    for topic in missing {
        let partitions = topic.partitions.map_or(config.partition_count, i32::from);
        let partitions = usize::try_from(partitions).unwrap_or(1);
        let replicas = i16::try_from(config.replication_factor).unwrap_or(i16::MAX);
        let replicas = topic.replicas.unwrap_or(replicas);
        let first = services.env.rng.below(u32::MAX) as usize;
        let assignments = match place(&image, partitions, replicas, first) {
            Ok(assignments) => assignments,
            Err(refusal) => {
                not_made(&topic.name, &refusal.message);
                continue;
            }
        };
        let policy = topic.cleanup_policy.iter();
        names.push(&topic.name);
        commands.push(Command::CreateTopic(NewTopic {
            name: topic.name.clone(),
            id: TopicId(services.env.rng.uuid()),
            assignments,
            configs: policy.map(|policy| ("cleanup.policy".to_owned(), policy.clone())).collect(),
        }));
    }
    if commands.is_empty() {
        return Ok(());
    }
    let proposed = services.quorum.propose(commands).await?;
    for (name, outcome) in names.iter().zip(&proposed.outcomes) {
        if let Err(refusal) = outcome {
            not_made(name, &refusal.message);
        }
    }
    let mut view = services.view.clone();
    let applied = view.wait_for(|view| view.index >= proposed.index).await.map(drop);
    applied.map_err(|_| StartError::Register("the metadata task has ended".to_owned()))
}

/// The groups of this broker. They read their settings from the newest view. They end with the requests, which get the answer
/// that their group is not available: members who wait for each other do not hold up a stop.
fn coordinator_of_groups(
    env: &Env,
    broker: BrokerId,
    replicas: &Arc<ReplicaManager>,
    settings: &Effective,
    view: watch::Receiver<View>,
) -> Coordinator<GroupShard> {
    let topic = &settings.broker().offsets_topic;
    let rng = env.rng.clone();
    let options = coordinator::Options {
        topic: TopicName::new(OFFSETS_TOPIC).expect("the name is legal"),
        compression: Compression::from_id(topic.compression_codec)
            .expect("the config knows codecs"),
        load_bytes: topic.load_bytes,
        run: Box::new(|_, _, ()| {}),
        make: Box::new(move |image| {
            let view = view.clone();
            let settings = Arc::new(move || Arc::clone(&view.borrow().settings.broker().groups));
            GroupShard::new(settings, rng.clone(), Arc::clone(image))
        }),
    };
    Coordinator::new(env.clone(), broker, Arc::clone(replicas), options)
}

/// The transactions of this broker. They read their settings from the newest view.
fn coordinator_of_transactions(
    env: &Env,
    broker: BrokerId,
    (replicas, markers): (&Arc<ReplicaManager>, &Arc<MarkerWriter>),
    settings: &Effective,
    view: watch::Receiver<View>,
) -> Arc<Coordinator<TransactionShard>> {
    let load_bytes = settings.broker().transactions_topic.load_bytes;
    let (replicas, markers) = (Arc::clone(replicas), Arc::clone(markers));
    let incarnations = AtomicU64::new(0);
    Arc::new_cyclic(|shards: &Weak<Coordinator<TransactionShard>>| {
        let shards = Weak::clone(shards);
        let options = coordinator::Options {
            topic: TopicName::new(TRANSACTIONS_TOPIC).expect("the name is legal"),
            compression: Compression::None,
            load_bytes,
            run: Box::new(move |at, epoch, errand| markers.bring(&shards, at, epoch, errand)),
            make: Box::new(move |image| {
                let view = view.clone();
                let settings =
                    Arc::new(move || Arc::clone(&view.borrow().settings.broker().transactions));
                let incarnation = incarnations.fetch_add(1, Ordering::Relaxed);
                TransactionShard::new(settings, Arc::clone(image), incarnation)
            }),
        };
        Coordinator::new(env.clone(), broker, replicas, options)
    })
}

/// Takes note of every change in the cluster's state, in the order of the log: first the partitions, then the
/// coordinators, then everybody else.
struct Follower {
    env: Env,
    broker: BrokerId,
    /// None if the node is only a controller.
    held: Option<Held>,
    limits: SharedLimits,
    views: watch::Sender<View>,
    elections: Elections,
}

/// Counts the leaders that may lack records, and tells of them.
struct Elections {
    broker: BrokerId,
    quorum: Arc<dyn Quorum>,
    metrics: Arc<Metrics>,
}

impl Elections {
    /// Takes note of a step, if this node is the active controller: every node takes it.
    fn note(&self, before: &ClusterImage, step: &AppliedBatch) {
        let changed = step.events.iter().filter_map(|event| {
            let Event::PartitionsChanged(changed) = event else { return None };
            Some(changed)
        });
        let changed: BTreeSet<_> = changed.flatten().collect();
        for id in changed {
            let then = before.topic_by_id(id.topic).and_then(|topic| topic.partition(id.partition));
            let Some((topic, then)) = step.image.topic_by_id(id.topic).zip(then) else { continue };
            let Some(now) = topic.partition(id.partition) else { continue };
            if now.was_elected_uncleanly(then) && self.quorum.status().leader == Some(self.broker) {
                self.metrics.unclean_elections.add(1);
                let shown = |leader: Option<BrokerId>| leader.map_or(-1, |leader| leader.0);
                let (partition, before, leader) =
                    (id.partition, shown(then.leader), shown(now.leader));
                tracing::warn!(
                    topic = %topic.name, %partition, before, leader,
                    "a leader was elected that may lack records"
                );
            }
        }
    }
}

/// What a broker holds.
struct Held {
    replicas: Arc<ReplicaManager>,
    groups: Arc<Coordinator<GroupShard>>,
    transactions: Arc<Coordinator<TransactionShard>>,
}

impl Follower {
    async fn run(self, mut steps: mpsc::Receiver<AppliedBatch>) {
        loop {
            let step = tokio::select! {
                step = steps.recv() => step,
                () = self.env.tasks.cancelled() => return,
            };
            let Some(step) = step else { return };
            let settings = self.settings(&step).await;
            let before = Arc::clone(&self.views.borrow().image);
            self.elections.note(&before, &step);
            let view = View {
                index: step.index,
                image: Arc::clone(&step.image),
                settings: Arc::clone(&settings),
            };
            if let Some(held) = &self.held {
                let replicas = Arc::clone(&held.replicas);
                let apply = move || replicas.apply(&step.image, &settings, &step.events);
                self.env.tasks.spawn_blocking("apply-metadata", apply).await;
                held.groups.apply(&view.image);
                held.transactions.apply(&view.image);
            }
            self.views.send_replace(view);
        }
    }

    /// The configuration that is in force after a step.
    async fn settings(&self, step: &AppliedBatch) -> Arc<Effective> {
        let before = Arc::clone(&self.views.borrow().settings);
        let concerns_broker = |event: &Event| match event {
            Event::ConfigsChanged(ConfigResource::Broker(id)) => *id == self.broker,
            Event::ConfigsChanged(ConfigResource::AllBrokers) => true,
            Event::ConfigsChanged(ConfigResource::Topic(_) | ConfigResource::Group(_))
            | Event::TopicCreated(_)
            | Event::TopicDeleted(_)
            | Event::PartitionsAdded(..)
            | Event::PartitionsChanged(_)
            | Event::BrokersChanged => false,
        };
        if !step.events.iter().any(concerns_broker) {
            return before;
        }
        let now = altered((*before).clone(), self.broker, &step.image);
        self.limits.set(accept_limits(&self.env, now.broker()).await);
        Arc::new(now)
    }
}

/// The configuration with what was altered for this broker while the cluster ran.
fn altered(settings: Effective, broker: BrokerId, image: &ClusterImage) -> Effective {
    let cluster = image.configs(&ConfigResource::AllBrokers);
    let own = image.configs(&ConfigResource::Broker(broker));
    match settings.altered(&cluster, &own) {
        Ok((altered, unapplied)) => {
            unapplied.iter().for_each(|reason| tracing::warn!(%reason, "a config is not applied"));
            altered
        }
        Err(error) => {
            tracing::warn!(%error, "the configs that were altered contradict each other: none of them is applied");
            settings
        }
    }
}

async fn accept_limits(env: &Env, config: &BrokerConfig) -> AcceptLimits {
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let mut overrides = HashMap::new();
    for (host, most) in &config.connections_per_ip_overrides {
        match env.net.lookup(host).await {
            Ok(addresses) => overrides.extend(addresses.into_iter().map(|ip| (ip, count(*most)))),
            Err(error) => {
                tracing::warn!(%host, %error, "max.connections.per.ip.overrides names a host without address");
            }
        }
    }
    AcceptLimits {
        connections_max: count(config.connections_max),
        connections_per_ip_max: count(config.connections_per_ip_max),
        connections_per_ip_overrides: overrides,
        frame_bytes_max: i32::try_from(config.request_bytes_max).unwrap_or(i32::MAX),
        idle_max: config.connection_idle_max,
    }
}

fn budget(env: &Env, config: &BrokerConfig) -> Budget {
    let machine = || Budget::bytes_for_memory(memory_bytes().unwrap_or(MEMORY_BYTES_UNKNOWN));
    Budget::new(env.steady.clone(), config.request_memory_bytes.unwrap_or_else(machine))
}

/// What is told of listeners, by name: host and port.
type Endpoints = BTreeMap<Arc<str>, (String, u16)>;

/// What is told for all clients alike: nothing of listeners whose address is decided for each connection.
fn advertised(config: &BrokerConfig) -> Endpoints {
    let configured = config.advertised_listeners.iter().flatten();
    let with_host = configured.filter_map(|listener| Some((listener, listener.host.clone()?)));
    with_host
        .map(|(listener, host)| (Arc::from(listener.name.as_str()), (host, listener.port)))
        .collect()
}
