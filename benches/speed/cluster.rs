//! Three nodes: how long nobody can write after one was killed, what replication costs, how fast a node that was away has
//! everything again and what its leader's clients feel of that, what an idle cluster costs.
//!
//! The nodes are processes on this machine. Those of Ottla have an address of the loopback network each, those of Apache Kafka
//! ports. Both have the settings that they come with, but for the number of replicas that have to be in sync, which is two.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ottla::model::ErrorCode;
use ottla::record::Compression;
use ottla::wire::messages::{
    CreateTopicsRequest, DescribeQuorumRequest, MetadataRequest, WireBrokerId, WireTopicName,
    create_topics_request, describe_quorum_request, metadata_request,
};
use ottla::wire::{ProduceResponse, Request, decode_response};

use crate::Options;
use crate::load;
use crate::members::text;
use crate::report::{Goal, Report, Row, median};
use crate::scenarios::Folder;
use crate::servers::Server;

const NODES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one attempt to write may take.
const ATTEMPT: Duration = Duration::from_millis(500);
/// For so long is looked what an idle cluster takes, and before that as long waited.
const IDLE_SECONDS: u64 = 10;
/// Partitions that are created at once.
const MANY: usize = 1_000;
/// Topics with as many partitions, for a node to die with.
const TOPICS: usize = 10;
const PRODUCERS: usize = 4;
/// Records of 1,000 bytes in a batch, and in a large one.
const BATCH_RECORDS: usize = 16;
const BULK_RECORDS: usize = 128;
/// How much a node misses that is away, beside what the options say.
const MISSED: u64 = 8;
/// Records of a client that watches the leader, and the time between two of them.
const WATCHED: (u64, Duration) = (4_000, Duration::from_millis(1));

/// What one cluster gave: name of the figure and value, in the order of the table.
type Figures = Vec<(&'static str, f64)>;

/// Measures what the options ask for and prints it.
pub(crate) fn run(options: &Options) {
    let folder = Folder::new(options);
    let report = Report::new(options.words.clone());
    let mut rounds = [(); 2].map(|()| Vec::new());
    for round in 0..options.rounds {
        let data = |name: &str| folder.0.join(format!("{name}-{round}"));
        let ottla = |name: &str, number| Trio::ottla(&data(name), 2 * round + number);
        let mut figures = measure(options, ottla("ottla", 0));
        figures.extend(measure_many(ottla("ottla-many", 1)));
        rounds[0].push(figures);
        if options.kafka {
            let mut figures = measure(options, Trio::kafka(&data("kafka")));
            figures.extend(measure_many(Trio::kafka(&data("kafka-many"))));
            rounds[1].push(figures);
        }
    }
    for (index, (figure, _)) in rounds[0][0].iter().enumerate() {
        let middle =
            |rounds: &[Figures]| median(rounds.iter().map(|figures| figures[index].1).collect());
        report.add(Row {
            name: format!("three nodes: {figure}"),
            ottla: middle(&rounds[0]),
            kafka: middle(&rounds[1]),
            goals: goals(figure),
            ..Row::default()
        });
    }
}

/// What is to be reached with a figure.
fn goals(figure: &str) -> Vec<Goal> {
    match figure {
        "ms from the death of the leader to the next acknowledgement" => {
            vec![Goal::AtMost(1_000.0)]
        }
        "ms until 1,000 new partitions have leaders" => vec![Goal::AtMost(1_000.0)],
        "ms until 3,333 partitions of a dead node have leaders" => vec![Goal::AtMost(2_000.0)],
        "CPU of an idle node without partitions, %"
        | "CPU of an idle node with 1,000 partitions, %" => vec![Goal::AtMost(1.0)],
        "CPU-s of all nodes for each GB" | "128 KiB batches: CPU-s of all nodes for each GB" => {
            vec![Goal::OfKafka(0.15)]
        }
        "128 KiB batches: the same, of one replica's" => vec![Goal::AtMost(3.3)],
        "p99 end to end beside it, us" | "p99 end to end beside that one, us" => {
            vec![Goal::OfKafka(0.2)]
        }
        "p99 end to end beside it, of before" | "p99 end to end beside that one, of before" => {
            vec![Goal::AtMost(2.0)]
        }
        _ => Vec::new(),
    }
}

/// Three nodes of a cluster.
struct Trio {
    nodes: Vec<Option<Server>>,
    addresses: Vec<SocketAddr>,
    /// Starts the node with this id.
    start: Box<dyn Fn(usize) -> Server + Sync>,
}

impl Trio {
    fn ottla(data: &Path, round: usize) -> Self {
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let host = move |id: usize| format!("127.{high}.{low}.{}", 128 + round * 8 + id);
        let voters: Vec<_> = (1..=NODES).map(|id| format!("{id}@{}:9093", host(id))).collect();
        let data = data.to_owned();
        Self::of(move |id| {
            Server::ottla_at(
                &format!("{}:9092", host(id)),
                &data.join(id.to_string()),
                &[
                    &format!("node.id={id}"),
                    "process.roles=broker,controller",
                    &format!("controller.quorum.voters={}", voters.join(",")),
                    "min.insync.replicas=2",
                ],
            )
        })
    }

    fn kafka(data: &Path) -> Self {
        // All are bound at once, so that all are different; whoever uses them comes soon.
        let held: Vec<_> =
            (0..2 * NODES).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> =
            held.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(held);
        let voters: Vec<_> =
            (1..=NODES).map(|id| format!("{id}@127.0.0.1:{}", ports[NODES + id - 1])).collect();
        let data = data.to_owned();
        Self::of(move |id| {
            let data = data.join(id.to_string());
            std::fs::create_dir_all(&data).unwrap();
            let own = format!("{} {}\n", ports[id - 1], ports[NODES + id - 1]);
            std::fs::write(data.join("ports"), own).unwrap();
            Server::kafka(
                &data,
                &[
                    &format!("node.id={id}"),
                    &format!("controller.quorum.voters={}", voters.join(",")),
                    "min.insync.replicas=2",
                    "offsets.topic.replication.factor=3",
                ],
            )
        })
    }

    /// Starts all at once: none is ready without another.
    fn of(start: impl Fn(usize) -> Server + Sync + 'static) -> Self {
        let nodes: Vec<Server> = std::thread::scope(|scope| {
            let start = &start;
            let threads: Vec<_> = (1..=NODES).map(|id| scope.spawn(move || start(id))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let addresses = nodes.iter().map(|node| node.address).collect();
        let nodes = nodes.into_iter().map(Some).collect();
        let trio = Self { nodes, addresses, start: Box::new(start) };
        trio.until("all nodes are there", || {
            let request = metadata_request(None);
            let all = trio.addresses.iter();
            let seen = all.filter_map(|address| call(*address, 12, &request));
            seen.filter(|response| response.brokers.len() == NODES).count() == NODES
        });
        trio
    }

    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn cpu(&self) -> f64 {
        self.nodes.iter().flatten().map(Server::cpu).sum()
    }

    /// Creates a topic whose partitions have these replicas, the leader first, and waits until all are in sync.
    fn create<const N: usize>(&self, name: &str, partitions: &[[i32; N]]) {
        let mut topic = create_topics_request::CreatableTopic::default();
        topic.name = WireTopicName(text(name));
        (topic.num_partitions, topic.replication_factor) = (-1, -1);
        topic.assignments = partitions
            .iter()
            .zip(0..)
            .map(|(replicas, index)| {
                let mut assignment = create_topics_request::CreatableReplicaAssignment::default();
                assignment.partition_index = index;
                assignment.broker_ids = replicas.iter().copied().map(WireBrokerId).collect();
                assignment
            })
            .collect();
        let mut request = CreateTopicsRequest::default();
        (request.topics, request.timeout_ms) = (vec![topic], 60_000);
        let controller = self.controller();
        let response = call(controller, 5, &request).expect("an answer to CreateTopics");
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
        self.until_in_sync(name, (partitions.len(), N), &self.addresses);
    }

    /// Waits until these nodes know of so many partitions of a topic that so many replicas of each are in sync.
    fn until_in_sync(
        &self,
        name: &str,
        (partitions, replicas): (usize, usize),
        who: &[SocketAddr],
    ) {
        let wanted = metadata_request(Some(name));
        self.until("all have leaders", || {
            who.iter().all(|address| {
                call(*address, 12, &wanted).is_some_and(|response| {
                    let found = &response.topics[0].partitions;
                    let is_whole = |isr: &[WireBrokerId]| isr.len() == replicas;
                    found.len() == partitions
                        && found.iter().all(|it| it.leader_id.0 >= 0 && is_whole(&it.isr_nodes))
                })
            })
        });
    }

    /// Where changes are asked for.
    fn controller(&self) -> SocketAddr {
        let response = call(self.addresses[0], 12, &metadata_request(None)).expect("metadata");
        let controller = response.brokers.iter().find(|it| it.node_id == response.controller_id);
        let controller = controller.unwrap_or(&response.brokers[0]);
        format!("{}:{}", controller.host, controller.port).parse().unwrap()
    }

    /// The node that leads the quorum.
    fn quorum_leader(&self) -> usize {
        let mut topic = describe_quorum_request::TopicData::default();
        topic.topic_name = WireTopicName(text("__cluster_metadata"));
        topic.partitions = vec![describe_quorum_request::PartitionData::default()];
        let mut request = DescribeQuorumRequest::default();
        request.topics = vec![topic];
        let response = call(self.addresses[0], 1, &request).expect("the quorum");
        usize::try_from(response.topics[0].partitions[0].leader_id.0).unwrap()
    }
}

fn metadata_request(topic: Option<&str>) -> MetadataRequest {
    let mut request = MetadataRequest::default();
    let wanted = topic.map(|name| {
        let mut wanted = metadata_request::MetadataRequestTopic::default();
        wanted.name = Some(WireTopicName(text(name)));
        wanted
    });
    request.topics = Some(wanted.into_iter().collect());
    request.allow_auto_topic_creation = false;
    request
}

/// Asks a node that may be dead; nothing if it does not answer.
fn call<M: Request>(address: SocketAddr, version: i16, request: &M) -> Option<M::Response> {
    let mut stream = TcpStream::connect_timeout(&address, ATTEMPT).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&load::frame(version, 1, request)).ok()?;
    let answer = receive(&mut stream)?;
    Some(decode_response::<M::Response>(version, &answer).expect("an answer of Kafka's").1)
}

fn receive(stream: &mut TcpStream) -> Option<Bytes> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut answer = BytesMut::zeroed(u32::from_be_bytes(length) as usize);
    stream.read_exact(&mut answer).ok()?;
    Some(answer.freeze())
}

fn measure(options: &Options, mut trio: Trio) -> Figures {
    let idle_empty = idle(&trio);
    let alone = catch_up(options, &mut trio, "alone");
    let begun = Instant::now();
    let spread: Vec<_> = [[1, 2, 3], [2, 3, 1], [3, 1, 2]].into_iter().cycle().take(MANY).collect();
    trio.create("many", &spread);
    let created = begun.elapsed();
    let idle_many = idle(&trio);
    trio.create("replicated", &[[1, 2, 3]]);
    let produced = produce(options, &trio, ("replicated", -1), BATCH_RECORDS, 1);
    trio.create("bulk", &[[1, 2, 3]]);
    trio.create("bulk-single", &[[1]]);
    let single = produce(options, &trio, ("bulk-single", 1), BULK_RECORDS, 4);
    let bulk = produce(options, &trio, ("bulk", -1), BULK_RECORDS, 4);
    let caught_up = catch_up(options, &mut trio, "missed");
    let gap = failover(&mut trio);
    vec![
        ("ms until 1,000 new partitions have leaders", created.as_secs_f64() * 1e3),
        ("CPU of an idle node without partitions, %", idle_empty),
        ("CPU of an idle node with 1,000 partitions, %", idle_many),
        ("MB/s with acks=all", produced.0),
        ("CPU-s of all nodes for each GB", produced.1),
        ("p99 of a request, ms", produced.2),
        ("128 KiB batches: MB/s with acks=all", bulk.0),
        ("128 KiB batches: CPU-s of all nodes for each GB", bulk.1),
        ("128 KiB batches: the same, of one replica's", bulk.1 / single.1),
        ("MB/s of a follower that catches up", alone.0),
        ("p99 end to end beside it, us", alone.1),
        ("p99 end to end beside it, of before", alone.2),
        ("MB/s of one that has 1,000 other partitions", caught_up.0),
        ("p99 end to end beside that one, us", caught_up.1),
        ("p99 end to end beside that one, of before", caught_up.2),
        ("ms from the death of the leader to the next acknowledgement", gap.as_secs_f64() * 1e3),
    ]
}

/// What a node takes of a processor, in percent, once all have come to rest.
fn idle(trio: &Trio) -> f64 {
    std::thread::sleep(Duration::from_secs(IDLE_SECONDS));
    let cpu = trio.cpu();
    std::thread::sleep(Duration::from_secs(IDLE_SECONDS));
    (trio.cpu() - cpu) / IDLE_SECONDS as f64 / NODES as f64 * 100.0
}

/// Kills one of three nodes that have many partitions between them, the one that leads the quorum.
fn measure_many(mut trio: Trio) -> Figures {
    let names: Vec<String> = (0..TOPICS).map(|number| format!("many-{number}")).collect();
    let spread: Vec<_> = [[1, 2, 3], [2, 3, 1], [3, 1, 2]].into_iter().cycle().take(MANY).collect();
    names.iter().for_each(|name| trio.create(name, &spread));
    let leader = trio.quorum_leader();
    let killed = Instant::now();
    drop(trio.nodes[leader - 1].take());
    let left: Vec<SocketAddr> = trio
        .nodes
        .iter()
        .zip(&trio.addresses)
        .filter(|(node, _)| node.is_some())
        .map(|(_, address)| *address)
        .collect();
    let leads = |id: i32| id >= 0 && id != leader as i32;
    for name in &names {
        let request = metadata_request(Some(name));
        trio.until("others lead", || {
            left.iter().all(|address| {
                call(*address, 12, &request).is_some_and(|response| {
                    let mut partitions = response.topics.iter().flat_map(|it| &it.partitions);
                    partitions.all(|partition| leads(partition.leader_id.0))
                })
            })
        });
    }
    let name = "ms until 3,333 partitions of a dead node have leaders";
    vec![(name, killed.elapsed().as_secs_f64() * 1e3)]
}

/// A node that has missed much catches up, while a client writes to and reads from its leader as it did before. Gives how
/// fast, the p99 that the client sees in microseconds, and that by the one before.
fn catch_up(options: &Options, trio: &mut Trio, missed: &str) -> (f64, f64, f64) {
    let leader = trio.addresses[0];
    trio.create(missed, &[[1, 2, 3]]);
    let watched = ["before", "beside"].map(|when| format!("{missed}-{when}"));
    watched.iter().for_each(|topic| trio.create(topic, &[[1, 2, 3]]));
    drop(trio.nodes[NODES - 1].take());
    produce(options, trio, (missed, -1), BATCH_RECORDS, MISSED);
    let watch = |topic: &str| {
        let within =
            |answer: &Bytes| load::fetched(answer).pop().filter(|records| !records.is_empty());
        load::end_to_end(leader, topic, WATCHED.0, WATCHED.1, within)
    };
    // What was written before is not to be written to the disk meanwhile.
    rustix::fs::sync();
    let before = watch(&watched[0]).quantile(0.99).as_secs_f64();
    let (node, seconds) = (Mutex::default(), Mutex::default());
    let outcome = load::beside(
        |_| {
            *node.lock().unwrap() = Some((trio.start)(NODES));
            let begun = Instant::now();
            trio.until_in_sync(missed, (1, NODES), &[leader]);
            *seconds.lock().unwrap() = begun.elapsed().as_secs_f64();
        },
        &|| watch(&watched[1]),
    );
    trio.nodes[NODES - 1] = node.into_inner().unwrap();
    let megabytes = (options.megabytes * MISSED) as f64;
    let p99 = outcome.quantile(0.99).as_secs_f64();
    (megabytes / seconds.into_inner().unwrap(), p99 * 1e6, p99 / before)
}

/// Writes `times` as much as the options say to the only partition of a topic, with these acks. Gives MB/s, the CPU seconds of all nodes
/// for each GB, and the p99 in milliseconds.
fn produce(
    options: &Options,
    trio: &Trio,
    (topic, acks): (&str, i16),
    batch_records: usize,
    times: u64,
) -> (f64, f64, f64) {
    let batch = load::batch(batch_records, Compression::None);
    let frame = load::produce_frame(topic, 0, acks, &batch).0;
    let megabytes = times * options.megabytes;
    let requests = megabytes * 1_000_000 / batch.len() as u64 / PRODUCERS as u64;
    let load = |requests| {
        let frames = vec![frame.clone(); PRODUCERS];
        load::produce(trio.addresses[0], frames, requests, 5, load::check_produced)
    };
    load(requests / 10);
    let before = trio.cpu();
    let outcome = load(requests);
    let bytes = (outcome.requests * batch.len() as u64) as f64;
    (
        bytes / 1e6 / outcome.elapsed.as_secs_f64(),
        (trio.cpu() - before) / (bytes / 1e9),
        outcome.quantile(0.99).as_secs_f64() * 1e3,
    )
}

/// Kills the node that leads both the quorum and the partition that is being written to.
fn failover(trio: &mut Trio) -> Duration {
    let leader = trio.quorum_leader();
    let id = leader as i32;
    let (second, third) = (1 + id % 3, 1 + (id + 1) % 3);
    trio.create("lost", &[[id, second, third]]);
    let frame = load::produce_frame("lost", 0, -1, &load::stamped(Duration::ZERO)).0;
    let over = AtomicBool::new(false);
    let addresses = trio.addresses.clone();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut acknowledged = Vec::new();
            while !over.load(Ordering::Relaxed) {
                write_on(&addresses, &frame, &over, &mut acknowledged);
            }
            acknowledged
        });
        std::thread::sleep(Duration::from_secs(1));
        let killed = Instant::now();
        drop(trio.nodes[leader - 1].take());
        let request = metadata_request(Some("lost"));
        let left: Vec<_> = addresses.iter().filter(|it| **it != addresses[leader - 1]).collect();
        trio.until("another one leads", || {
            let answers = left.iter().filter_map(|address| call(**address, 12, &request));
            let mut leaders = answers.map(|it| it.topics[0].partitions[0].leader_id.0);
            leaders.any(|it| it >= 0 && it != id)
        });
        std::thread::sleep(Duration::from_secs(2));
        over.store(true, Ordering::Relaxed);
        let acknowledged: Vec<Instant> = writer.join().unwrap();
        let next = acknowledged.iter().find(|at| **at > killed + Duration::from_millis(50));
        // What was under way when it was killed may have been answered just then.
        let last = acknowledged.iter().rfind(|at| **at <= killed + Duration::from_millis(50));
        assert!(last.is_some(), "nothing was written before");
        *next.expect("somebody acknowledges again") - killed
    })
}

/// Writes to whoever leads, as long as that goes.
fn write_on(
    addresses: &[SocketAddr],
    frame: &Bytes,
    over: &AtomicBool,
    acknowledged: &mut Vec<Instant>,
) {
    let request = metadata_request(Some("lost"));
    let leader = addresses.iter().find_map(|address| {
        let response = call(*address, 12, &request)?;
        let leader = response.topics.first()?.partitions.first()?.leader_id;
        let broker = response.brokers.iter().find(|it| it.node_id == leader)?;
        format!("{}:{}", broker.host, broker.port).parse::<SocketAddr>().ok()
    });
    let stream = leader.and_then(|leader| TcpStream::connect_timeout(&leader, ATTEMPT).ok());
    let Some(mut stream) = stream else {
        std::thread::sleep(Duration::from_millis(5));
        return;
    };
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(ATTEMPT)).unwrap();
    while !over.load(Ordering::Relaxed) {
        let answer = stream.write_all(frame).ok().and_then(|()| receive(&mut stream));
        let Some(answer) = answer else { return };
        let (_, response) = decode_response::<ProduceResponse>(12, &answer).unwrap();
        if response.topics[0].partitions[0].error_code != ErrorCode::None {
            std::thread::sleep(Duration::from_millis(5));
            return;
        }
        acknowledged.push(Instant::now());
    }
}
