//! Several brokers in one process that are a cluster, each with an address of the loopback network of its own, so that ports are
//! the same after a restart and nobody else's.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ottla::api::{AllowAll, Authorizer};
use ottla::broker::{Broker, BrokerOptions, StartError};
use ottla::config::{self, Effective, Sources};
use ottla::env::{Disk, Env, FaultyDisk, MemoryDisk};
use ottla::log::DataPaths;
use ottla::net::ListenError;
use ottla::wire::messages::{
    DescribeQuorumRequest, MetadataResponse, describe_quorum_request, describe_quorum_response,
};

use crate::rig::{Client, DATA, PATIENCE, batch_once, log_filter, wire_name};

const PORT: u16 = 19_092;
const NODE_PORT: u16 = 19_093;
const HTTP_PORT: u16 = 19_094;
/// Where a controller is that has moved.
pub(crate) const OTHER_NODE_PORT: u16 = 19_095;
/// The nodes of a cluster are numbered below this.
const NODES_MAX: u32 = 8;
/// So many clusters of one process can be told apart, and so many processes.
const CLUSTERS_MAX: u32 = 128;
const PROCESSES_MAX: u32 = 8_192;

static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// A cluster, with the disks of its nodes.
pub(crate) struct Cluster {
    number: u32,
    pub(crate) disks: Vec<Arc<dyn Disk>>,
    brokers: Vec<Option<Broker>>,
    options: Vec<String>,
    /// The first so many nodes only vote, and the others do not; none if all do both.
    controllers: usize,
    /// The first so many begin the cluster, whose voters then come and go; none if they are configured.
    founders: usize,
    /// The data directories of each node.
    data: DataPaths,
    /// The nodes that are at another address than others are configured with.
    moved: BTreeSet<usize>,
    /// What each node asks for access.
    pub(crate) authorizer: Arc<dyn Authorizer>,
}

impl Cluster {
    /// A cluster of `count` empty nodes, all of which serve.
    pub(crate) async fn start(count: usize, options: &[&str]) -> Self {
        let mut cluster = Self::stopped(count, options);
        cluster.start_all().await;
        cluster
    }

    /// The same, before any node was started.
    pub(crate) fn stopped(count: usize, options: &[&str]) -> Self {
        // There may be a logger already: that of another test.
        drop(tracing_subscriber::fmt().with_env_filter(log_filter()).with_test_writer().try_init());
        let disk = |_| Arc::new(MemoryDisk::new()) as Arc<dyn Disk>;
        Self {
            number: CLUSTERS.fetch_add(1, Ordering::Relaxed),
            disks: (0..count).map(disk).collect(),
            brokers: (0..count).map(|_| None).collect(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            controllers: 0,
            founders: 0,
            data: DataPaths::one(Path::new(DATA)),
            moved: BTreeSet::new(),
            authorizer: Arc::new(AllowAll),
        }
    }

    /// A cluster of empty nodes, of which the first only vote, and the others do not vote.
    pub(crate) async fn apart(controllers: usize, brokers: usize, options: &[&str]) -> Self {
        let mut cluster = Self::stopped(controllers + brokers, options);
        cluster.controllers = controllers;
        cluster.start_all().await;
        cluster
    }

    /// A cluster of empty nodes before any was started, of which the first only vote or may, and the others never do. The first of
    /// these begin it, and others may be added to the voters.
    pub(crate) fn to_be_founded(
        founders: usize,
        (controllers, brokers): (usize, usize),
        options: &[&str],
    ) -> Self {
        let mut cluster = Self::stopped(controllers + brokers, options);
        (cluster.founders, cluster.controllers) = (founders, controllers);
        cluster
    }

    /// A cluster whose nodes have these data directories each, on disks that can be made to fail.
    pub(crate) async fn on_faulty_dirs(
        count: usize,
        dirs: &[&str],
        options: &[&str],
    ) -> (Self, Vec<FaultyDisk>) {
        let mut cluster = Self::stopped(count, options);
        cluster.data = DataPaths { logs: dirs.iter().map(PathBuf::from).collect(), metadata: None };
        let disks: Vec<_> =
            cluster.disks.iter().map(|it| FaultyDisk::new(Arc::clone(it))).collect();
        cluster.disks = disks.iter().map(|disk| Arc::new(disk.clone()) as Arc<dyn Disk>).collect();
        cluster.start_all().await;
        (cluster, disks)
    }

    /// The address of a node, which tells clusters apart, and test processes that run at the same time.
    pub(crate) fn address(&self, id: usize) -> Ipv4Addr {
        // Of the 23 bits below 127.128.0.0: 13 for the process, 7 for the cluster, 3 for the node.
        let cluster = self.number % CLUSTERS_MAX * NODES_MAX + id as u32;
        let host = (std::process::id() % PROCESSES_MAX) * CLUSTERS_MAX * NODES_MAX + cluster;
        Ipv4Addr::from_bits(Ipv4Addr::new(127, 128, 0, 0).to_bits() | host)
    }

    /// Where a node serves HTTP.
    pub(crate) fn http(&self, id: usize) -> SocketAddr {
        SocketAddr::from((self.address(id), HTTP_PORT))
    }

    /// The settings of a node, which counts from 1, in a cluster of `count`.
    fn settings(&self, id: usize, count: usize) -> Vec<String> {
        let (voters, roles) = match self.controllers {
            0 => (count, "broker,controller"),
            voters if id <= voters => (voters, "controller"),
            voters => (voters, "broker"),
        };
        // A node knows where it is itself.
        let own_port = self.node_port(id);
        let port_of = |other| if other == id { own_port } else { NODE_PORT };
        let voter = |id| format!("{id}@{}:{}", self.address(id), port_of(id));
        let voters: Vec<String> = (1..=voters).map(voter).collect();
        let servers = |count| {
            let server = |id| format!("{}:{}", self.address(id), port_of(id));
            (1..=count).map(server).collect::<Vec<_>>().join(",")
        };
        let listener = match roles {
            "controller" => format!("CONTROLLER://{}:{own_port}", self.address(id)),
            _ => format!("PLAINTEXT://{}:{PORT}", self.address(id)),
        };
        let mut all = vec![
            format!("node.id={id}"),
            format!("listeners={listener}"),
            format!("ottla.http.listener={}", self.http(id)),
            format!("process.roles={roles}"),
            match self.founders {
                0 => format!("controller.quorum.voters={}", voters.join(",")),
                founders => format!("controller.quorum.bootstrap.servers={}", servers(founders)),
            },
        ];
        all.extend_from_slice(&self.options);
        all
    }

    async fn start_with(
        (disk, data): (Arc<dyn Disk>, DataPaths),
        authorizer: Arc<dyn Authorizer>,
        settings: Vec<String>,
    ) -> Result<Broker, StartError> {
        loop {
            let sources = Sources { options: &settings, ..Sources::default() };
            let options = BrokerOptions {
                settings: Effective::new(config::load(sources).unwrap()),
                data: data.clone(),
                durable: true,
                authorizer: Arc::clone(&authorizer),
            };
            let env = Env::with_disk(Arc::clone(&disk));
            let started = Broker::start(env.clone(), options).await;
            if started.is_err() {
                // What it has begun would go on, and keep its ports.
                env.tasks.cancel();
                env.tasks.wait().await;
            }
            // A program that another test starts has what this process had open, listeners of nodes that have ended as well, until
            // it begins.
            let is_held = |error: &ListenError| error.source.kind() == ErrorKind::AddrInUse;
            if !matches!(&started, Err(StartError::Listen(error)) if is_held(error)) {
                return started;
            }
        }
    }

    /// A node on its own, which knows of no other.
    pub(crate) async fn start_alone(&mut self, id: usize) {
        let files = (Arc::clone(&self.disks[id - 1]), self.data.clone());
        let authorizer = Arc::clone(&self.authorizer);
        let broker = Self::start_with(files, authorizer, self.settings(id, id));
        self.brokers[id - 1] = Some(broker.await.unwrap());
    }

    /// Starts all nodes that are not running, at once.
    pub(crate) async fn start_all(&mut self) {
        let count = self.brokers.len();
        let ids: Vec<usize> = (1..=count).filter(|id| self.brokers[id - 1].is_none()).collect();
        self.start_these(&ids).await;
    }

    /// Starts these nodes at once.
    pub(crate) async fn start_these(&mut self, ids: &[usize]) {
        let count = self.brokers.len();
        let start = |id: &usize| {
            let files = (Arc::clone(&self.disks[id - 1]), self.data.clone());
            let authorizer = Arc::clone(&self.authorizer);
            let started = Self::start_with(files, authorizer, self.settings(*id, count));
            (*id, tokio::spawn(started))
        };
        let starts: Vec<_> = ids.iter().map(start).collect();
        for (id, started) in starts {
            let started = tokio::time::timeout(PATIENCE, started).await;
            let started = started.unwrap_or_else(|_| panic!("node {id} does not start"));
            self.brokers[id - 1] = Some(started.unwrap().unwrap());
        }
    }

    /// Starts a node on another disk than it had.
    pub(crate) async fn start_on(&mut self, id: usize, disk: Arc<dyn Disk>) {
        self.disks[id - 1] = disk;
        self.start_these(&[id]).await;
    }

    /// Why a node does not start with some of its settings changed, `key=value` each.
    pub(crate) async fn refusal(&self, id: usize, changes: &[String]) -> String {
        let mut settings = self.settings(id, self.brokers.len());
        settings.extend_from_slice(changes);
        let files = (Arc::clone(&self.disks[id - 1]), self.data.clone());
        let authorizer = Arc::clone(&self.authorizer);
        let started = Self::start_with(files, authorizer, settings);
        let started = tokio::time::timeout(PATIENCE, started);
        let started = started.await.unwrap_or_else(|_| panic!("node {id} only waits"));
        started.err().unwrap_or_else(|| panic!("node {id} starts")).to_string()
    }

    /// Ends a node as a crash would.
    pub(crate) async fn kill(&mut self, id: usize) {
        self.brokers[id - 1].take().expect("it runs").kill().await;
    }

    /// Ends a node in good order.
    pub(crate) async fn stop(&mut self, id: usize) {
        self.brokers[id - 1].take().expect("it runs").stop().await.unwrap();
    }

    /// Ends all nodes as a crash would.
    pub(crate) async fn kill_all(&mut self) {
        for id in self.running() {
            self.kill(id).await;
        }
    }

    /// The nodes that run.
    pub(crate) fn running(&self) -> Vec<usize> {
        (1..=self.brokers.len()).filter(|id| self.brokers[id - 1].is_some()).collect()
    }

    /// A running node.
    pub(crate) fn broker(&self, id: usize) -> &Broker {
        self.brokers[id - 1].as_ref().expect("it runs")
    }

    /// A new connection to a node, at the controller's listener if it has no other.
    pub(crate) async fn client(&self, id: usize) -> Client {
        match id <= self.controllers {
            true => self.tool(id).await,
            false => Client::to((self.address(id), PORT)).await,
        }
    }

    /// A new connection to the controller's listener of a node.
    pub(crate) async fn tool(&self, id: usize) -> Client {
        Client::to((self.address(id), self.node_port(id))).await
    }

    fn node_port(&self, id: usize) -> u16 {
        if self.moved.contains(&id) { OTHER_NODE_PORT } else { NODE_PORT }
    }

    /// Gives a node, which does not run, another address for other nodes, of which their configurations know nothing.
    pub(crate) fn move_node(&mut self, id: usize) {
        assert!(!self.running().contains(&id), "it does not run");
        self.moved.insert(id);
    }

    /// The node that leads the quorum, as another one knows it.
    pub(crate) async fn leader(&self) -> usize {
        let mut client = self.client(self.running()[0]).await;
        eventually("a leader", async || {
            let leader = describe_quorum(&mut client).await.leader_id.0;
            usize::try_from(leader).ok().filter(|leader| self.running().contains(leader))
        })
        .await
    }

    /// The broker that leads a partition, as another one knows it, if it is one that runs.
    async fn leader_of(&self, by: usize, (topic, partition): (&str, i32)) -> Option<Client> {
        let metadata = self.client(by).await.metadata(&[topic]).await;
        let mut partitions = metadata.topics.iter().flat_map(|topic| &topic.partitions);
        let found = partitions.find(|found| found.partition_index == partition)?;
        let leader = usize::try_from(found.leader_id.0).ok()?;
        // It may not be known yet that it is gone.
        self.running().contains(&leader).then_some(())?;
        Some(self.client(leader).await)
    }

    /// Appends a record once, with acks=all, at whoever leads as this node knows it, however often it takes.
    pub(crate) async fn append(&self, by: usize, partition: (&str, i32), value: &str) {
        let (topic, index) = partition;
        let batch = batch_once(value);
        eventually("appended", async || {
            let mut leader = self.leader_of(by, partition).await?;
            let appended = leader.produce(topic, index, batch.clone()).await;
            appended.error_code.is_none().then_some(())
        })
        .await;
    }

    /// The values of a partition at whoever leads it as this node knows it.
    pub(crate) async fn values(&self, by: usize, partition: (&str, i32)) -> Vec<String> {
        let (topic, index) = partition;
        eventually("read", async || {
            self.leader_of(by, partition).await?.values_if_led(topic, index).await.ok()
        })
        .await
    }

    /// Waits until every broker that runs sees a topic, and says what each sees.
    pub(crate) async fn seen(&self, topic: &str) -> Vec<MetadataResponse> {
        let mut all = Vec::new();
        for id in self.running().into_iter().filter(|id| *id > self.controllers) {
            let mut client = self.client(id).await;
            let seen = eventually("the topic", async || {
                let metadata = client.metadata(&[topic]).await;
                (metadata.topics[0].error_code == 0).then_some(metadata)
            });
            all.push(seen.await);
        }
        all
    }
}

/// What a node says of the quorum.
pub(crate) async fn describe_quorum(
    client: &mut Client,
) -> describe_quorum_response::PartitionData {
    let mut topic = describe_quorum_request::TopicData::default();
    topic.topic_name = wire_name("__cluster_metadata");
    topic.partitions = vec![describe_quorum_request::PartitionData::default()];
    let mut request = DescribeQuorumRequest::default();
    request.topics = vec![topic];
    client.call(2, &request).await.topics.remove(0).partitions.remove(0)
}

/// Asks again and again until there is an answer. Each question goes over the wire, which gives others time.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("never {what}"))
}

/// How long a cluster may do without an answer after it has lost a node.
pub(crate) const GAP_MAX: Duration = Duration::from_secs(3);
