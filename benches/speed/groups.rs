//! Scenarios of consumer groups: rebalances, many groups, large groups, many offsets at start-up.
//!
//! Each has servers of its own, since each needs other settings. Those of Ottla and Apache Kafka are the same, and the two
//! run one after the other in each round. The figure of a server is the median of the rounds. Data stays until the end of
//! the run: in the seconds after files were deleted, ext4 takes long to make new ones.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use ottla::model::ErrorCode;
use ottla::wire::messages::{
    ConsumerGroupHeartbeatRequest, CreatePartitionsRequest, HeartbeatRequest, SyncGroupRequest,
    WireTopicName, create_partitions_request,
};
use ottla::wire::{OffsetCommitRequest, OffsetCommitResponse};

use crate::Options;
use crate::load::Client;
use crate::members::{self, Classic, Modern, text};
use crate::report::{Goal, Report, Row, median};
use crate::scenarios::Folder;
use crate::servers::Server;

/// Each connection has one member of each of some groups; so many members a group, and groups that share connections.
const GROUP_SIZE: usize = 10;
const STORM_GROUPS: usize = 1_000;
const STORM_LANES: usize = 100;
const STORM_THREADS: usize = 4;
/// Seconds of heartbeats and commits.
const STORM_SECONDS: usize = 10;
const LARGE_GROUP: usize = 10_000;
const OFFSET_GROUPS: usize = 100_000;
const OFFSETS_PER_GROUP: i32 = 10;
const TOPIC: &str = "shared";

/// What one server gave: name of the figure and value, in the order of the table.
type Figures = Vec<(&'static str, f64)>;

/// Measures what the options ask for and prints it.
pub(crate) fn run(options: &Options) {
    let folder = Folder::new(options);
    let report = Report::new(options.words.clone());
    let field = Field { options, folder: &folder.0, report: &report };
    field.both("first rebalance of one consumer", &["group.initial.rebalance.delay.ms=0"], first);
    field.both(
        "900 partitions for 10 consumers, classic",
        &["group.initial.rebalance.delay.ms=200"],
        |server| growth(server, classic_life),
    );
    field.both(
        "900 partitions for 10 consumers, KIP-848",
        &["group.consumer.assignment.interval.ms=0"],
        |server| growth(server, modern_life),
    );
    field.both(
        "1,000 groups with 10 members each, classic",
        &["group.initial.rebalance.delay.ms=1000"],
        |server| storm(server, join_classic),
    );
    field.both(
        "1,000 groups with 10 members each, KIP-848",
        &["group.consumer.assignment.interval.ms=0"],
        |server| storm(server, join_modern),
    );
    field.offsets();
    field.large();
}

/// What is to be reached with a figure.
fn goals(figure: &str) -> Vec<Goal> {
    match figure {
        "ms until stable" => vec![Goal::OfKafka(0.5)],
        "CPU-s for each second" => vec![Goal::OfKafka(0.2)],
        _ => Vec::new(),
    }
}

struct Field<'a> {
    options: &'a Options,
    folder: &'a Path,
    report: &'a Report,
}

impl Field<'_> {
    /// Measures both servers in each round; reports the median of each figure.
    fn both(&self, name: &str, settings: &[&str], measure: impl Fn(&Server) -> Figures) {
        if !self.report.wants(name) {
            return;
        }
        let mut rounds = [(); 2].map(|()| Vec::new());
        for round in 0..self.options.rounds {
            let data = self.data(&format!("ottla {name} {round}"));
            rounds[0].push(measure(&Server::ottla(Some(&data), settings)));
            if self.options.kafka {
                let data = self.data(&format!("kafka {name} {round}"));
                rounds[1].push(measure(&Server::kafka(&data, settings)));
            }
        }
        self.add(name, &rounds);
    }

    /// A folder for data that is called so.
    fn data(&self, name: &str) -> PathBuf {
        // Kafka reads a comma as the end of a path.
        self.folder.join(name.replace(|char: char| !char.is_ascii_alphanumeric(), "-"))
    }

    fn add(&self, name: &str, [ottla, kafka]: &[Vec<Figures>; 2]) {
        for (index, (figure, _)) in ottla[0].iter().enumerate() {
            let middle = |rounds: &[Figures]| {
                median(rounds.iter().map(|figures| figures[index].1).collect())
            };
            let name = format!("{name}: {figure}");
            self.report.add(Row {
                name,
                ottla: middle(ottla),
                kafka: middle(kafka),
                goals: goals(figure),
                ..Row::default()
            });
        }
    }

    /// A start with the offsets of many groups to load.
    fn offsets(&self) {
        let name = "start with 100,000 groups of 10 offsets each";
        if !self.report.wants(name) {
            return;
        }
        let mut rounds = [(); 2].map(|()| Vec::new());
        for round in 0..self.options.rounds {
            let data = self.data(&format!("offsets {round}"));
            rounds[0].push(start_with_offsets(&|| Server::ottla(Some(&data.join("ottla")), &[])));
            if self.options.kafka {
                rounds[1].push(start_with_offsets(&|| Server::kafka(&data.join("kafka"), &[])));
            }
        }
        self.add(name, &rounds);
    }

    /// Ottla alone: one group of many members.
    fn large(&self) {
        for (name, settings, measure) in [
            (
                "one group with 10,000 members, classic",
                // A record of all members is larger than a batch may be else.
                &[
                    "group.initial.rebalance.delay.ms=3000",
                    "message.max.bytes=100000000",
                    "socket.listen.backlog.size=4096",
                ][..],
                large_classic as fn(&Server) -> Figures,
            ),
            ("one group with 10,000 members, KIP-848", &[], large_modern),
        ] {
            if self.report.wants(name) {
                let data = self.data(name);
                let server = Server::ottla(Some(&data), settings);
                self.add(name, &[vec![measure(&server)], Vec::new()]);
            }
        }
    }
}

/// A consumer joins a group that was not there, and gets its assignment.
fn first(server: &Server) -> Figures {
    let mut client = Client::connect(server.address);
    client.create(TOPIC, 1);
    let (mut whole, mut single) = (Vec::new(), Vec::new());
    for round in 0..1_200 {
        let mut member = Classic::new(&format!("first-{round}"), TOPIC);
        members::find(&mut client, &member.group);
        let begun = Instant::now();
        member.rebalance(&mut client, 1);
        let took = begun.elapsed();
        let begun = Instant::now();
        assert!(member.heartbeat(&mut client));
        // The first ones warm up Kafka.
        if round >= 200 {
            whole.push(took.as_secs_f64());
            single.push(begun.elapsed().as_secs_f64());
        }
    }
    let (whole, single) = (median(whole), median(single));
    // The join that brings the id, the join, the sync.
    vec![("us", whole * 1e6), ("per round trip of a heartbeat (it has three)", whole / single)]
}

/// What the members of a group have: epoch and number of partitions.
type Shares = Mutex<Vec<(i32, usize)>>;

/// From the request for 900 more partitions until all members own their share of all and nothing is under way.
fn growth(server: &Server, life: fn(&mut Client, &Shares, usize, &AtomicBool)) -> Figures {
    let mut client = Client::connect(server.address);
    client.create(TOPIC, 100);
    members::find(&mut client, "growing");
    let shares: Shares = Mutex::new(vec![(-1, 0); GROUP_SIZE]);
    let is_over = AtomicBool::new(false);
    let wait_for = |partitions: usize| {
        loop {
            {
                let shares = shares.lock().unwrap();
                let owned: usize = shares.iter().map(|(_, owned)| owned).sum();
                if owned == partitions && shares.iter().all(|(epoch, _)| *epoch == shares[0].0) {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let took = std::thread::scope(|scope| {
        for index in 0..GROUP_SIZE {
            let (shares, is_over) = (&shares, &is_over);
            scope.spawn(move || life(&mut Client::connect(server.address), shares, index, is_over));
        }
        wait_for(100);
        let mut topic = create_partitions_request::CreatePartitionsTopic::default();
        topic.name = WireTopicName(text(TOPIC));
        (topic.count, topic.assignments) = (1_000, None);
        let mut request = CreatePartitionsRequest::default();
        (request.topics, request.timeout_ms) = (vec![topic], 60_000);
        let begun = Instant::now();
        let cpu = server.cpu();
        assert_eq!(client.call(3, &request).results[0].error_code, 0);
        let created = begun.elapsed();
        wait_for(1_000);
        let (took, cpu) = (begun.elapsed(), server.cpu() - cpu);
        is_over.store(true, Ordering::Relaxed);
        (took, created, cpu)
    });
    vec![
        ("ms until stable", took.0.as_secs_f64() * 1e3),
        ("of that ms until they are created", took.1.as_secs_f64() * 1e3),
        ("CPU-s", took.2),
    ]
}

fn classic_life(client: &mut Client, shares: &Shares, index: usize, is_over: &AtomicBool) {
    let mut member = Classic::new("growing", TOPIC);
    let mut partitions = 100;
    let mut is_stable = false;
    while !is_over.load(Ordering::Relaxed) {
        if member.leads {
            // The leader is who looks for new partitions.
            let now = members::topic(client, TOPIC).1;
            is_stable &= now == partitions;
            partitions = now;
        }
        if !is_stable {
            member.rebalance(client, partitions);
            shares.lock().unwrap()[index] = (member.generation, member.owned);
        }
        std::thread::sleep(Duration::from_millis(1));
        is_stable = member.heartbeat(client);
    }
}

fn modern_life(client: &mut Client, shares: &Shares, index: usize, is_over: &AtomicBool) {
    let mut member = Modern::new("growing", TOPIC);
    while !is_over.load(Ordering::Relaxed) {
        member.heartbeat(client);
        shares.lock().unwrap()[index] = (member.epoch, member.owned());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Who commits and sends heartbeats: group, member, epoch, and whether it speaks the classic protocol.
struct Member {
    group: String,
    id: String,
    epoch: i32,
    is_classic: bool,
}

/// The connections of one thread, and the members on each.
type Crowd = Vec<(Client, Vec<Member>)>;

/// Joins the groups of these names, which have a connection for each member.
type JoinAll = fn(&mut [Client], &[String]) -> Vec<Vec<Member>>;

/// Many groups: all members join; then each sends a heartbeat and a commit each second.
fn storm(server: &Server, join: JoinAll) -> Figures {
    let mut client = Client::connect(server.address);
    client.create(TOPIC, GROUP_SIZE);
    (0..200).for_each(|group| members::find(&mut client, &format!("storm-{group}")));
    let begin = Barrier::new(STORM_THREADS + 1);
    let joined = Barrier::new(STORM_THREADS + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..STORM_THREADS)
            .map(|thread| {
                let (begin, joined) = (&begin, &joined);
                scope.spawn(move || {
                    let lanes = STORM_LANES / STORM_THREADS;
                    let connect = |_| Client::connect(server.address);
                    let mut clients: Vec<_> = (0..lanes * GROUP_SIZE).map(connect).collect();
                    let mut on_each: Vec<Vec<Member>> =
                        clients.iter().map(|_| Vec::new()).collect();
                    begin.wait();
                    for round in 0..STORM_GROUPS / STORM_LANES {
                        let name = |lane| format!("storm-{round}-{thread}-{lane}");
                        let names: Vec<_> = (0..lanes).map(name).collect();
                        for (all, new) in on_each.iter_mut().zip(join(&mut clients, &names)) {
                            all.extend(new);
                        }
                    }
                    joined.wait();
                    joined.wait();
                    live(&mut clients.into_iter().zip(on_each).collect());
                })
            })
            .collect();
        begin.wait();
        let (begun, cpu) = (Instant::now(), server.cpu());
        joined.wait();
        let join = (begun.elapsed().as_secs_f64(), server.cpu() - cpu);
        let (begun, cpu) = (Instant::now(), server.cpu());
        joined.wait();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let seconds = STORM_SECONDS as f64;
        vec![
            ("s until all have joined", join.0),
            ("CPU-s until all have joined", join.1),
            ("CPU-s for each second", (server.cpu() - cpu) / seconds),
            ("s for each second", begun.elapsed().as_secs_f64() / seconds),
        ]
    })
}

fn join_classic(clients: &mut [Client], names: &[String]) -> Vec<Vec<Member>> {
    let mut all: Vec<Classic> =
        (0..clients.len()).map(|index| Classic::new(&names[index / GROUP_SIZE], TOPIC)).collect();
    all.iter().zip(&mut *clients).for_each(|(member, client)| member.ask_join(client));
    for (member, client) in all.iter_mut().zip(&mut *clients) {
        assert!(member.joined(client).is_none(), "the first join brings the id");
    }
    all.iter().zip(&mut *clients).for_each(|(member, client)| member.ask_join(client));
    for (member, client) in all.iter_mut().zip(&mut *clients) {
        let joined = member.joined(client).expect("a generation");
        client
            .ask(members::SYNC, &members::sync_request(&member.group, &joined, TOPIC, GROUP_SIZE));
    }
    let synced = |(member, client): (Classic, &mut Client)| {
        let synced = client.answer::<SyncGroupRequest>(members::SYNC);
        assert_eq!(synced.error_code, 0, "the delay is long enough for all");
        let Classic { group, id, generation: epoch, .. } = member;
        vec![Member { group, id, epoch, is_classic: true }]
    };
    all.into_iter().zip(clients).map(synced).collect()
}

fn join_modern(clients: &mut [Client], names: &[String]) -> Vec<Vec<Member>> {
    let mut all: Vec<Modern> =
        (0..clients.len()).map(|index| Modern::new(&names[index / GROUP_SIZE], TOPIC)).collect();
    while heartbeats(&mut all, clients) || all.iter().any(|member| member.owned() != 1) {}
    let member = |member: Modern| {
        let Modern { group, id, epoch, .. } = member;
        vec![Member { group, id, epoch, is_classic: false }]
    };
    all.into_iter().map(member).collect()
}

/// A heartbeat of each member on a connection of its own. Whether one brought news.
fn heartbeats(all: &mut [Modern], clients: &mut [Client]) -> bool {
    for (member, client) in all.iter().zip(&mut *clients) {
        client.ask(members::CONSUMER_HEARTBEAT, &member.request());
    }
    let mut any_news = false;
    for (member, client) in all.iter_mut().zip(clients) {
        let version = members::CONSUMER_HEARTBEAT;
        any_news |= member.take(client.answer::<ConsumerGroupHeartbeatRequest>(version));
    }
    any_news
}

/// Heartbeats and commits of all, each second.
fn live(crowd: &mut Crowd) {
    let begun = Instant::now();
    for second in 0..STORM_SECONDS {
        let due = begun + Duration::from_secs(second as u64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        for at in 0..STORM_GROUPS / STORM_LANES {
            for (client, members) in &mut *crowd {
                let member = &members[at];
                if member.is_classic {
                    let request =
                        members::heartbeat_request(&member.group, &member.id, member.epoch);
                    client.ask(members::HEARTBEAT, &request);
                } else {
                    let mut request = Modern::new(&member.group, TOPIC).request();
                    (request.member_id, request.member_epoch) = (text(&member.id), member.epoch);
                    (request.rebalance_timeout_ms, request.subscribed_topic_names) = (-1, None);
                    request.topic_partitions = None;
                    client.ask(members::CONSUMER_HEARTBEAT, &request);
                }
            }
            for (client, members) in &mut *crowd {
                let code = if members[at].is_classic {
                    client.answer::<HeartbeatRequest>(members::HEARTBEAT).error_code
                } else {
                    let version = members::CONSUMER_HEARTBEAT;
                    client.answer::<ConsumerGroupHeartbeatRequest>(version).error_code
                };
                assert_eq!(code, 0);
            }
            for (client, members) in &mut *crowd {
                let Member { group, id, epoch, .. } = &members[at];
                let commit = members::commit(group, id, *epoch, TOPIC, 1, second as i64);
                client.ask(members::COMMIT, &commit);
            }
            for (client, _) in &mut *crowd {
                check_committed(&client.answer::<OffsetCommitRequest>(members::COMMIT));
            }
        }
    }
}

fn check_committed(response: &OffsetCommitResponse) {
    let codes = response.topics.iter().flat_map(|topic| &topic.partitions);
    for partition in codes {
        assert_eq!(partition.error_code, ErrorCode::None);
    }
}

/// Commits for many groups, stops, and times the next start until all groups can be asked.
fn start_with_offsets(start: &dyn Fn() -> Server) -> Figures {
    let server = start();
    let mut client = Client::connect(server.address);
    client.create(TOPIC, OFFSETS_PER_GROUP as usize);
    let probes: Vec<_> = (0..500).map(|group| format!("offsets-{group}")).collect();
    probes.iter().for_each(|group| members::find(&mut client, group));
    let begun = Instant::now();
    const TOGETHER: usize = 100;
    for first in (0..OFFSET_GROUPS).step_by(TOGETHER) {
        for group in first..first + TOGETHER {
            let group = format!("offsets-{group}");
            client.ask(
                members::COMMIT,
                &members::commit(&group, "", -1, TOPIC, OFFSETS_PER_GROUP, 7),
            );
        }
        for _ in 0..TOGETHER {
            check_committed(&client.answer::<OffsetCommitRequest>(members::COMMIT));
        }
    }
    let committed = begun.elapsed();
    server.stop();
    let server = start();
    let mut client = Client::connect(server.address);
    probes.iter().for_each(|group| members::find(&mut client, group));
    vec![
        ("s to commit them", committed.as_secs_f64()),
        ("s from the start until all can be asked", server.begun.elapsed().as_secs_f64()),
        ("memory then, MB", server.memory("VmRSS")),
    ]
}

fn large_classic(server: &Server) -> Figures {
    let mut clients: Vec<_> = (0..LARGE_GROUP).map(|_| Client::connect(server.address)).collect();
    clients[0].create(TOPIC, 1_000);
    members::find(&mut clients[0], "large");
    let connected = server.memory("VmRSS");
    let begun = Instant::now();
    let cpu = server.cpu();
    let mut all: Vec<_> = clients.iter().map(|_| Classic::new("large", TOPIC)).collect();
    all.iter().zip(&mut clients).for_each(|(member, client)| member.ask_join(client));
    for (member, client) in all.iter_mut().zip(&mut clients) {
        assert!(member.joined(client).is_none(), "the first join brings the id");
    }
    all.iter().zip(&mut clients).for_each(|(member, client)| member.ask_join(client));
    for (member, client) in all.iter_mut().zip(&mut clients) {
        let joined = member.joined(client).expect("a generation");
        client.ask(members::SYNC, &members::sync_request("large", &joined, TOPIC, 1_000));
    }
    for client in &mut clients {
        assert_eq!(client.answer::<SyncGroupRequest>(members::SYNC).error_code, 0);
    }
    let took = begun.elapsed();
    vec![
        ("s until all have their share, of which the group waits 6 s for more", took.as_secs_f64()),
        ("CPU-s of that", server.cpu() - cpu),
        ("memory with 10,000 connections, MB", connected),
        ("memory with the group, MB", server.memory("VmRSS")),
        ("memory at most, MB", server.memory("VmHWM")),
    ]
}

fn large_modern(server: &Server) -> Figures {
    const CONNECTIONS: usize = 100;
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::connect(server.address)).collect();
    clients[0].create(TOPIC, 1_000);
    members::find(&mut clients[0], "large");
    let connected = server.memory("VmRSS");
    let begun = Instant::now();
    let cpu = server.cpu();
    let mut all: Vec<_> = (0..LARGE_GROUP).map(|_| Modern::new("large", TOPIC)).collect();
    let mut round = |all: &mut [Modern]| {
        all.chunks_mut(CONNECTIONS).fold(false, |news, some| heartbeats(some, &mut clients) | news)
    };
    round(&mut all);
    let (joined, cpu_joined) = (begun.elapsed(), server.cpu() - cpu);
    while round(&mut all) || all.iter().map(Modern::owned).sum::<usize>() < 1_000 {}
    let stable = begun.elapsed();
    let (alive, cpu) = (Instant::now(), server.cpu());
    round(&mut all);
    vec![
        ("s until all have joined", joined.as_secs_f64()),
        ("CPU-s of that", cpu_joined),
        ("s until it is stable", stable.as_secs_f64()),
        ("s of a heartbeat of each, 100 at a time", alive.elapsed().as_secs_f64()),
        ("CPU-s of that round", server.cpu() - cpu),
        ("memory before, MB", connected),
        ("memory with the group, MB", server.memory("VmRSS")),
    ]
}
