//! The nodes of a simulation, what is done to them, and what has to be true in the end.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ottla::env::{Env, Fault as DiskFault, MemoryDisk, Network, Rng};
use ottla::model::UnixMillis;
use ottla::wire::messages::{MetadataRequest, MetadataResponse};
use tokio::time::{Instant, sleep, timeout};

use super::node::{MORE, Node};
use super::panics;
use crate::cluster::rig::describe_quorum;
use crate::crew::{Administrator, Crew, Phase, Staff};
use crate::exactly_once::Epochs;
use crate::history::{History, SESSION};
use crate::rig::{Client, creation};

pub(super) const NODES: usize = 3;
/// What clients write to: themselves, and those that make records of records.
const TOPICS: [&str; 2] = ["t", Crew::OUTPUT];
const PARTITIONS: i32 = 3;
/// How long what is sent takes at least and at most while nothing is slow, in milliseconds.
const LATENCY: (u32, u32) = (2, 20);
pub(super) const PORT: u16 = 9_092;
/// How often things break and are mended.
const ROUNDS: usize = 3;
/// What clients have to write between being mended and the next fault.
const RECORDS: usize = 20;
/// How long to wait for somebody whose coordinator is to be hit.
const STRIKE_WITHIN: Duration = Duration::from_secs(1);
/// How long it may take until everything is well again after it was mended.
const MENDED_WITHIN: Duration = Duration::from_secs(60);
/// The time of day when a simulation begins.
pub(super) const BEGIN: UnixMillis = UnixMillis(1_800_000_000_000);

/// What happens to the nodes.
#[derive(Clone, Debug)]
enum Fault {
    /// A process ends as by `kill -9`; what it has written is there for the next one.
    Kill(usize),
    /// What was not synced is lost, or a part of it.
    PowerCut(usize),
    /// A node ends in good order.
    Stop(usize),
    /// A node that is down begins again.
    Start(usize),
    /// No other node hears from it.
    Mute(usize),
    /// It hears from no other node.
    Deafen(usize),
    /// Neither, but clients reach it.
    Isolate(usize),
    /// No client reaches it.
    Hide(usize),
    /// Its time of day jumps forward.
    Jump(usize),
    /// Everything is slow for a while, or fast again.
    Latency(u32),
    /// Its disk fails, is full or has nothing in memory.
    Break(usize, DiskFault),
    /// Its disk is slow: this is the longest wait, in milliseconds.
    Slow(usize, u32),
    LetGo,
    /// The coordinator of somebody who is in the midst of a transaction, or of a group, is hit so long after it was asked, in
    /// milliseconds.
    Strike(Phase, Blow, u32),
}

/// What a coordinator suffers.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill,
    PowerCut,
    Stop,
    Isolate,
}

/// How many nodes have ended without a word since all replicas were in sync. Whoever did so may have lost records, for all that the
/// others know, as in Apache Kafka (KIP-966): so of those that hold what is acknowledged, one less than `min.insync.replicas` may, as
/// soon as one of them has lost its power. That is not so where nothing is acknowledged before it is durable.
#[derive(Default)]
struct Toll {
    kills: u32,
    power_cuts: u32,
}

/// A cluster with its clients.
pub(super) struct World {
    seed: u64,
    rng: Rng,
    network: Network,
    nodes: Vec<Node>,
    /// Whether others may have taken over from a node while it lived.
    was_relieved: bool,
    /// Where clients are.
    env: Env,
}

pub(super) fn host(id: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(id).unwrap()))
}

/// Where the clients are.
pub(super) fn clients() -> IpAddr {
    host(100)
}

/// What makes a node one of those that are simulated.
pub(super) fn settings(id: usize) -> Vec<String> {
    let voters: Vec<String> = (1..=NODES).map(|id| format!("{id}@{}:9093", host(id))).collect();
    vec![
        format!("node.id={id}"),
        format!("listeners=PLAINTEXT://{}:{PORT}", host(id)),
        format!("controller.quorum.voters={}", voters.join(",")),
        "ottla.http.listener=off".to_owned(),
        "process.roles=broker,controller".to_owned(),
    ]
}

thread_local! {
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How long the simulation of this thread has been going on, by its own time.
pub(super) fn passed() -> Duration {
    BEGUN.get().map_or(Duration::ZERO, |begun| begun.elapsed())
}

impl World {
    /// A world in which nothing was started.
    pub(super) fn new(seed: u64) -> Self {
        let rng = Rng::from_seed(seed);
        let network = Network::new(Rng::from_seed(rng.next_u64()));
        network.set_latency(LATENCY.0, LATENCY.1);
        let node = |id: usize| {
            let mut settings = settings(id);
            let common = [
                "min.insync.replicas=2",
                "default.replication.factor=3",
                "offsets.topic.num.partitions=2",
                "transaction.state.log.num.partitions=2",
                "log.index.size.max.bytes=4096",
                "group.initial.rebalance.delay.ms=0",
                "group.min.session.timeout.ms=1000",
            ];
            settings.extend(common.map(str::to_owned));
            if Self::is_synced(seed) {
                settings.push("ottla.durability=fsync".to_owned());
            }
            Node::new(id, host(id), settings, seed.is_multiple_of(2))
        };
        let nodes = (1..=NODES).map(node).collect();
        let net = network.host(clients());
        let chance = Rng::from_seed(rng.next_u64());
        let env = Env::simulated(net, Arc::new(MemoryDisk::new()), BEGIN, chance, Arc::default());
        Self { seed, rng, network, nodes, was_relieved: false, env }
    }

    /// Whether nothing is acknowledged before it is durable: then any number of nodes may lose power at once.
    const fn is_synced(seed: u64) -> bool {
        seed % 4 == 3
    }

    /// Whether replicas are moved. A broker that gets a partition may be the only one in sync that keeps it, whoever else has had
    /// what was acknowledged, as in Apache Kafka (`PartitionReassignmentReplicas.maybeCompleteReassignment` asks only for those that
    /// were added): so power is cut then only if what is acknowledged is durable.
    const fn moves(&self) -> bool {
        self.seed % 4 == 1 || Self::is_synced(self.seed)
    }

    /// Lives through a few rounds of faults beside clients, and gives what those saw.
    pub(super) async fn live(mut self) -> History {
        BEGUN.set(Some(Instant::now()));
        (0..NODES).for_each(|at| self.start(at));
        self.all_up().await;
        let mut client = self.client(0).await;
        for topic in TOPICS {
            let mut request = creation(topic, PARTITIONS, &[("segment.bytes", "1048576")]);
            request.topics[0].replication_factor = 3;
            let created = client.call(7, &request).await;
            assert_eq!(created.topics[0].error_code, 0, "{created:?}");
        }
        self.in_sync().await;
        let addresses: Vec<String> =
            self.nodes.iter().map(|node| format!("{}:{PORT}", node.address)).collect();
        let crew = Crew::on(self.env.clone(), &addresses, "t", PARTITIONS);
        let crew_at_work = Arc::clone(&crew);
        // Both versions of transactions, each in worlds of its own.
        let epochs = if self.seed % 3 == 1 { Epochs::Kept } else { Epochs::Raised };
        let staff = Staff {
            writers: 2,
            transactors: vec![epochs; 2],
            counters: 2,
            workers: vec![epochs; 2],
            administrator: Some(match self.moves() {
                true => Administrator::Moves,
                false => Administrator::Stays,
            }),
        };
        let work = async {
            for _ in 0..ROUNDS {
                crew_at_work.write_on(RECORDS).await;
                self.round(&crew_at_work).await;
            }
            crew_at_work.write_on(RECORDS).await;
            self
        };
        let (world, history) = Box::pin(crew.beside(staff, work)).await;
        world.in_sync().await;
        world.replicas_are_the_same().await;
        let stale_at_most = if world.was_relieved { SESSION } else { 0 };
        world.end().await;
        History { stale_at_most, ..history }
    }

    /// Of two nodes that agree, the one that leads stops: whether the other one, who cannot agree on anything any more, has heard of it.
    pub(super) async fn last_one_knows(mut self) -> bool {
        BEGUN.set(Some(Instant::now()));
        (0..NODES).for_each(|at| self.start(at));
        self.all_up().await;
        let leader = describe_quorum(&mut self.client(0).await).await.leader_id.0;
        let leader = usize::try_from(leader).unwrap() - 1;
        let [other, last] = [1, 2].map(|step| (leader + step) % NODES);
        for at in [other, leader] {
            sleep(Duration::from_millis(u64::from(self.rng.below(1_000)))).await;
            self.nodes[at].stop(&self.network).await;
        }
        let mut client = self.client(last).await;
        let heard = async {
            while client.metadata(&[]).await.brokers.len() > 1 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(MENDED_WITHIN, heard).await.is_ok()
    }

    /// A few faults, one after the other; then all is mended, and everything is well again.
    async fn round(&mut self, crew: &Crew) {
        let mut toll = Toll::default();
        for _ in 0..1 + self.rng.below(7) {
            let fault = self.draw(&mut toll);
            self.suffer(fault, crew).await;
            sleep(Duration::from_millis(u64::from(self.rng.below(1_800)))).await;
            self.nodes.iter_mut().for_each(|node| node.notice(&self.network));
        }
        self.network.let_go();
        self.network.set_latency(LATENCY.0, LATENCY.1);
        for at in 0..NODES {
            self.nodes[at].mend_disk();
            self.nodes[at].get_over(&self.network);
            if self.nodes[at].is_down() {
                self.start(at);
            }
        }
        self.all_up().await;
        self.in_sync().await;
        self.replicas_are_the_same().await;
    }

    /// Draws what happens next.
    fn draw(&self, toll: &mut Toll) -> Fault {
        let is_synced = Self::is_synced(self.seed);
        let may_cut = is_synced || !self.moves() && toll.power_cuts + toll.kills == 0;
        let at = self.rng.below(u32::try_from(NODES).unwrap()) as usize;
        let is_down = self.nodes[at].is_down();
        match self.rng.below(24) {
            _ if is_down => Fault::Start(at),
            0..3 if is_synced || toll.power_cuts == 0 => {
                toll.kills += 1;
                Fault::Kill(at)
            }
            3..6 if may_cut => {
                toll.power_cuts += 1;
                Fault::PowerCut(at)
            }
            0..7 => Fault::Stop(at),
            7 => Fault::Mute(at),
            8 => Fault::Deafen(at),
            9 => Fault::Isolate(at),
            10 => Fault::Hide(at),
            11 => Fault::Jump(at),
            12 => Fault::Latency(self.rng.below(120)),
            13 => Fault::Slow(at, self.rng.below(1_500)),
            // Whatever the broker does then, it may end of it.
            14..17 if is_synced || toll.power_cuts == 0 => {
                toll.kills += 1;
                Fault::Break(at, self.disk_fault())
            }
            17 => Fault::LetGo,
            _ => {
                let phase = Phase::ALL[self.rng.below(8) as usize];
                let blow = match self.rng.below(6) {
                    0..3 if is_synced || toll.power_cuts == 0 => {
                        toll.kills += 1;
                        Blow::Kill
                    }
                    0..4 if may_cut => {
                        toll.power_cuts += 1;
                        Blow::PowerCut
                    }
                    0..5 => Blow::Stop,
                    _ => Blow::Isolate,
                };
                Fault::Strike(phase, blow, self.rng.below(40))
            }
        }
    }

    /// Draws how a disk fails, and where.
    fn disk_fault(&self) -> DiskFault {
        let places =
            ["", "/t-", "/__consumer", "/__transaction", "checkpoint", ".index", ".log", MORE];
        let place = places[self.rng.below(8) as usize].to_owned();
        match self.rng.below(6) {
            0 => DiskFault::Write(place),
            1 => DiskFault::Sync(place),
            2 => DiskFault::Read(place),
            3 => DiskFault::Cold(place),
            _ => DiskFault::NoSpaceAfter(u64::from(self.rng.below(20_000))),
        }
    }

    async fn suffer(&mut self, fault: Fault, crew: &Crew) {
        tracing::info!(?fault, "next");
        let others =
            |at: usize| (0..NODES).filter(move |other| *other != at).map(|id| host(id + 1));
        let network = self.network.clone();
        match fault {
            Fault::Kill(at) => self.nodes[at].crash(&network, None),
            Fault::PowerCut(at) => self.nodes[at].crash(&network, Some(&self.rng)),
            Fault::Stop(at) => {
                self.was_relieved = true;
                self.nodes[at].stop(&network).await;
            }
            Fault::Start(at) => self.start(at),
            Fault::Mute(at) => others(at).for_each(|other| network.hold(host(at + 1), other)),
            Fault::Deafen(at) => others(at).for_each(|other| network.hold(other, host(at + 1))),
            Fault::Isolate(at) => others(at).for_each(|other| {
                network.hold(other, host(at + 1));
                network.hold(host(at + 1), other);
            }),
            Fault::Hide(at) => {
                network.hold(host(at + 1), clients());
                network.hold(clients(), host(at + 1));
            }
            Fault::Jump(at) => self.nodes[at].jump(Duration::from_secs(1_800)),
            Fault::Latency(max) => network.set_latency(1, max.max(1)),
            Fault::Break(at, fault) => {
                self.was_relieved = true;
                self.nodes[at].break_disk(fault);
            }
            Fault::Slow(at, wait_ms) => self.nodes[at].slow_down(wait_ms),
            Fault::Strike(phase, blow, delay_ms) => {
                // It may be that nobody gets as far at present.
                let struck = timeout(STRIKE_WITHIN, crew.comes_to(phase)).await;
                let at = struck.ok().and_then(|node| usize::try_from(node.0 - 1).ok());
                let Some(at) = at else { return };
                sleep(Duration::from_millis(delay_ms.into())).await;
                let fault = match blow {
                    Blow::Kill => Fault::Kill(at),
                    Blow::PowerCut => Fault::PowerCut(at),
                    Blow::Stop => Fault::Stop(at),
                    Blow::Isolate => Fault::Isolate(at),
                };
                Box::pin(self.suffer(fault, crew)).await;
            }
            Fault::LetGo => {
                network.let_go();
                self.nodes.iter().for_each(Node::mend_disk);
            }
        }
    }

    fn start(&mut self, at: usize) {
        let chance = Rng::from_seed(self.rng.next_u64());
        let skew = i64::from(self.rng.below(7_200_000)) - 3_600_000;
        let passed = self.env.steady.now().since_start().as_millis();
        let time = BEGIN.plus_millis(skew + i64::try_from(passed).unwrap());
        let pool_wait_ms = if self.rng.below(4) == 0 { 40 } else { 3 };
        self.nodes[at].start(&self.network, time, chance, pool_wait_ms);
    }

    /// Waits until every node serves.
    async fn all_up(&mut self) {
        for node in &mut self.nodes {
            node.up(MENDED_WITHIN).await;
        }
    }

    async fn client(&self, at: usize) -> Client {
        let stream = self.env.net.connect(&self.nodes[at].address.to_string(), PORT).await;
        Client::over(stream.unwrap())
    }

    /// Waits until every node knows of all partitions that all their replicas are in sync.
    async fn in_sync(&self) {
        let all = async {
            for at in 0..NODES {
                let mut client = self.client(at).await;
                loop {
                    let mut request = MetadataRequest::default();
                    request.topics = None;
                    let metadata: MetadataResponse = client.call(13, &request).await;
                    let mut partitions = metadata.topics.iter().flat_map(|topic| &topic.partitions);
                    let is_whole = partitions.all(|partition| {
                        let replicas = partition.replica_nodes.len();
                        partition.isr_nodes.len() == replicas && partition.leader_id.0 > 0
                    });
                    if is_whole {
                        break;
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            }
        };
        timeout(MENDED_WITHIN, all).await.expect("all replicas come back in sync");
    }

    /// R24: the replicas of a partition are the same, as far as they go. Where a leader was elected just now, the one before may have
    /// to cut off first what nobody else has: so they come to be the same. If something that is committed were cut off, the clients
    /// would miss it.
    async fn replicas_are_the_same(&self) {
        let same = async {
            while self.difference().is_some() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(MENDED_WITHIN, same).await.is_err() {
            panic!("{}", self.difference().unwrap_or_default());
        }
    }

    /// Where replicas differ.
    fn difference(&self) -> Option<String> {
        let partitions = TOPICS.iter().flat_map(|topic| (0..PARTITIONS).map(move |at| (topic, at)));
        for (topic, partition) in partitions {
            let logs: Vec<Vec<u8>> =
                self.nodes.iter().map(|node| node.log(topic, partition)).collect();
            let shortest = logs.iter().map(Vec::len).min().unwrap();
            assert!(shortest > 0 || *topic != "t", "t-{partition} is empty somewhere");
            let lengths: Vec<usize> = logs.iter().map(Vec::len).collect();
            for log in &logs {
                let differ = log.iter().zip(&logs[0]).position(|(byte, other)| byte != other);
                if let Some(at) = differ.filter(|at| *at < shortest) {
                    return Some(format!(
                        "replicas of {topic}-{partition} differ from byte {at} on; they have {lengths:?}"
                    ));
                }
            }
        }
        None
    }

    /// Ends all nodes, and sees that none of them has broken.
    async fn end(self) {
        for node in self.nodes {
            node.end().await;
        }
        assert_eq!(panics(), 0, "a task has panicked");
    }
}
