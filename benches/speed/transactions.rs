//! Scenarios of transactions: what one costs, many producers that commit, reading past what was aborted.
//!
//! Producers speak version 2 (KIP-890): the first batch brings its partition into the transaction, and each transaction has an epoch
//! of its own. A request that comes while the markers of the transaction before are still under way is refused; it is
//! sent again at once, and counted. Ottla and Apache Kafka run one after the other in each round, each with new data.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use ottla::model::{ErrorCode, PartitionId, ProducerEpoch, ProducerId, TopicId};
use ottla::record::{BatchBuilder, scan};
use ottla::wire::messages::{
    EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, WireTransactionalId,
};
use ottla::wire::produce::{ProducePartition, ProduceTopic};
use ottla::wire::{FetchRequest, FetchResponse, ProduceRequest, decode_response};

use crate::Options;
use crate::clients;
use crate::load::{self, Client};
use crate::members::text;
use crate::report::{Goal, Report, Row, median};
use crate::scenarios::Folder;
use crate::servers::Server;

const PRODUCE: i16 = 12;
const INIT: i16 = 5;
const END: i16 = 5;
const FETCH: i16 = 12;
const TOPIC: &str = "written";
/// Transactions of the producer that is alone; the first ones warm up.
const ALONE: (usize, usize) = (300, 2_000);
const PRODUCERS: usize = 1_000;
const THREADS: usize = 4;
/// Transactions of each of the producers that are measured; before that one for each goes by.
const EACH: usize = 10;
const ABORTED: usize = 100_000;
/// A record of the other scenarios, and of the aborted transactions.
const RECORD_BYTES: (usize, usize) = (128, 1_000);
/// What is asked for at a time. From about a MiB on an answer costs a third more on a loopback interface, whatever is in it: the
/// list of transactions is not to decide on which side of that an answer is.
const FETCH_BYTES: usize = 900_000;
/// How often the topic is read in each round, with each isolation in turn.
const READINGS: usize = 9;

/// What one server gave: name of the figure and value, in the order of the table.
type Figures = Vec<(&'static str, f64)>;

type Measure = fn(&Server) -> Figures;

/// Measures what the options ask for and prints it.
pub(crate) fn run(options: &Options) {
    let folder = Folder::new(options);
    let report = Report::new(options.words.clone());
    let scenarios: [(&str, Measure); 4] = [
        ("transactions of one producer with one partition", alone),
        ("1,000 transactional producers", crowd),
        ("100,000 aborted transactions of 128 bytes", |server| {
            past_aborted(server, RECORD_BYTES.0)
        }),
        ("100,000 aborted transactions of 1,000 bytes", |server| {
            past_aborted(server, RECORD_BYTES.1)
        }),
    ];
    for (name, measure) in scenarios {
        if report.wants(name) {
            both(options, &folder.0, &report, name, measure);
        }
    }
}

/// What is to be reached with a figure.
fn goals(figure: &str) -> Vec<Goal> {
    match figure {
        "CPU-ms a transaction" => vec![Goal::OfKafka(0.3)],
        "read committed, of uncommitted"
        | "kcat reads committed, of uncommitted"
        | "Java reads committed, of uncommitted" => vec![Goal::AtMost(1.1)],
        _ => Vec::new(),
    }
}

fn both(options: &Options, folder: &Path, report: &Report, name: &str, measure: Measure) {
    let mut rounds = [(); 2].map(|()| Vec::new());
    for round in 0..options.rounds {
        let data = |server: &str| -> PathBuf {
            let name = format!("{server} {name} {round}");
            folder.join(name.replace(|char: char| !char.is_ascii_alphanumeric(), "-"))
        };
        rounds[0].push(measure(&Server::ottla(Some(&data("ottla")), &[])));
        if options.kafka {
            rounds[1].push(measure(&Server::kafka(&data("kafka"), &[])));
        }
    }
    for (index, (figure, _)) in rounds[0][0].iter().enumerate() {
        let middle =
            |rounds: &[Figures]| median(rounds.iter().map(|figures| figures[index].1).collect());
        report.add(Row {
            name: format!("{name}: {figure}"),
            ottla: middle(&rounds[0]),
            kafka: middle(&rounds[1]),
            goals: goals(figure),
            ..Row::default()
        });
    }
}

/// A producer that speaks on a connection of its own.
struct Producer {
    client: Client,
    name: String,
    partition: i32,
    record_bytes: usize,
    id: i64,
    epoch: i16,
    /// Requests that were sent again because the transaction before was not over.
    repeated: usize,
}

impl Producer {
    fn begin(server: &Server, name: &str, partition: i32) -> Self {
        let mut client = Client::connect(server.address);
        let mut find = FindCoordinatorRequest::default();
        (find.key_type, find.coordinator_keys) = (1, vec![text(name)]);
        while client.call(4, &find).coordinators[0].error_code != 0 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let mut request = InitProducerIdRequest::default();
        request.transactional_id = Some(WireTransactionalId(text(name)));
        request.transaction_timeout_ms = 60_000;
        let answer = loop {
            let answer = client.call(INIT, &request);
            if answer.error_code == 0 {
                break answer;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        let (id, epoch) = (answer.producer_id.0, answer.producer_epoch);
        let (name, record_bytes) = (name.to_owned(), RECORD_BYTES.0);
        Self { client, name, partition, record_bytes, id, epoch, repeated: 0 }
    }

    fn ask_to_write(&mut self) {
        let records = BatchBuilder::new()
            .producer(ProducerId(self.id), ProducerEpoch(self.epoch), 0)
            .transactional()
            .push(load::now(), None, Some(&vec![b'x'; self.record_bytes]))
            .build();
        let partition =
            ProducePartition { index: PartitionId(self.partition), records: Some(records) };
        let topic = ProduceTopic {
            name: text(TOPIC),
            topic_id: TopicId::ZERO,
            partitions: vec![partition],
        };
        let request = ProduceRequest {
            transactional_id: Some(text(&self.name)),
            acks: -1,
            timeout_ms: 30_000,
            topics: vec![topic],
        };
        self.client.ask(PRODUCE, &request);
    }

    fn written(&mut self) {
        loop {
            let answer = self.client.answer::<ProduceRequest>(PRODUCE);
            let code = answer.topics[0].partitions[0].error_code;
            if code == ErrorCode::None {
                return;
            }
            assert_eq!(code, ErrorCode::ConcurrentTransactions);
            self.repeated += 1;
            self.ask_to_write();
        }
    }

    fn ask_to_end(&mut self, committed: bool) {
        let mut request = EndTxnRequest::default();
        request.transactional_id = WireTransactionalId(text(&self.name));
        request.producer_id = self.id.into();
        (request.producer_epoch, request.committed) = (self.epoch, committed);
        self.client.ask(END, &request);
    }

    fn ended(&mut self, committed: bool) {
        loop {
            let answer = self.client.answer::<EndTxnRequest>(END);
            if answer.error_code == ErrorCode::None.code() {
                (self.id, self.epoch) = (answer.producer_id.0, answer.producer_epoch);
                return;
            }
            assert_eq!(answer.error_code, ErrorCode::ConcurrentTransactions.code());
            self.repeated += 1;
            self.ask_to_end(committed);
        }
    }
}

/// One producer, one transaction after the other, each with one record.
fn alone(server: &Server) -> Figures {
    let mut client = Client::connect(server.address);
    client.create(TOPIC, 1);
    let mut producer = Producer::begin(server, "alone", 0);
    let (frame, _) = load::produce_frame(TOPIC, 0, -1, &load::stamped(std::time::Duration::ZERO));
    let mut buffer = BytesMut::new();
    let (mut whole, mut plain) = (Vec::new(), Vec::new());
    for round in 0..ALONE.0 + ALONE.1 {
        let begun = Instant::now();
        client.send(&frame);
        client.receive(&mut buffer);
        let single = begun.elapsed();
        let begun = Instant::now();
        producer.ask_to_write();
        producer.written();
        producer.ask_to_end(true);
        producer.ended(true);
        if round >= ALONE.0 {
            whole.push(begun.elapsed().as_secs_f64());
            plain.push(single.as_secs_f64());
        }
    }
    let (whole, plain) = (median(whole), median(plain));
    vec![
        ("us", whole * 1e6),
        ("per round trip of a produce (it has two)", whole / plain),
        ("requests repeated per transaction", producer.repeated as f64 / ALONE.1 as f64),
    ]
}

/// Many producers, each with a connection, that commit as fast as they are answered.
fn crowd(server: &Server) -> Figures {
    Client::connect(server.address).create(TOPIC, 10);
    let begin = Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let begin = &begin;
                scope.spawn(move || {
                    let mine = (0..PRODUCERS / THREADS).map(|index| index * THREADS + thread);
                    let mut producers: Vec<_> = mine
                        .map(|index| {
                            Producer::begin(server, &format!("crowd-{index}"), (index % 10) as i32)
                        })
                        .collect();
                    commit_all(&mut producers, true);
                    producers.iter_mut().for_each(|producer| producer.repeated = 0);
                    begin.wait();
                    (0..EACH).for_each(|_| commit_all(&mut producers, true));
                    producers.iter().map(|producer| producer.repeated).sum::<usize>()
                })
            })
            .collect();
        begin.wait();
        let (begun, cpu) = (Instant::now(), server.cpu());
        let repeated: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        let count = (PRODUCERS * EACH) as f64;
        vec![
            ("transactions/s", count / begun.elapsed().as_secs_f64()),
            ("CPU-ms a transaction", (server.cpu() - cpu) * 1e3 / count),
            ("requests repeated per transaction", repeated as f64 / count),
        ]
    })
}

/// A transaction of each producer, all of them under way at once.
fn commit_all(producers: &mut [Producer], committed: bool) {
    producers.iter_mut().for_each(Producer::ask_to_write);
    producers.iter_mut().for_each(Producer::written);
    producers.iter_mut().for_each(|producer| producer.ask_to_end(committed));
    producers.iter_mut().for_each(|producer| producer.ended(committed));
}

/// A log of aborted transactions with a record each, and one that is committed, read with either isolation: by a client that
/// does nothing with the records, by kcat, and by Apache Kafka's consumer.
fn past_aborted(server: &Server, record_bytes: usize) -> Figures {
    Client::connect(server.address).create(TOPIC, 1);
    let begin =
        |index| Producer { record_bytes, ..Producer::begin(server, &format!("aborts-{index}"), 0) };
    let mut producers: Vec<_> = (0..100).map(begin).collect();
    (0..ABORTED / producers.len()).for_each(|_| commit_all(&mut producers, false));
    commit_all(&mut producers[..1], true);
    let mut client = Client::connect(server.address);
    let [uncommitted, committed] = in_turn(|isolation| read_all(&mut client, isolation));
    // A process that reads the end alone takes as long as one takes that reads nothing.
    let nothing = in_turn(|isolation| read_with_kcat(server, isolation, "-300", 1));
    let visible = [ABORTED + 1, 1];
    let kcat = in_turn(|isolation| {
        read_with_kcat(server, isolation, "beginning", visible[usize::from(isolation != 0)]);
    });
    let [kcat_uncommitted, kcat_committed] = [0, 1].map(|level| kcat[level] - nothing[level]);
    let [java_uncommitted, java_committed] = in_turn_by(|isolation| {
        read_with_java(server, isolation, visible[usize::from(isolation != 0)])
    });
    vec![
        ("read uncommitted, ms", uncommitted * 1e3),
        ("read committed, ms", committed * 1e3),
        ("read committed, of uncommitted", committed / uncommitted),
        ("kcat reads uncommitted, ms", kcat_uncommitted * 1e3),
        ("kcat reads committed, of uncommitted", kcat_committed / kcat_uncommitted),
        ("Java reads uncommitted, ms", java_uncommitted * 1e3),
        ("Java reads committed, of uncommitted", java_committed / java_uncommitted),
    ]
}

/// Medians of the seconds that reading takes with each isolation, 0 and 1.
fn in_turn(mut read: impl FnMut(i8)) -> [f64; 2] {
    in_turn_by(|isolation| {
        let begun = Instant::now();
        read(isolation);
        begun.elapsed().as_secs_f64()
    })
}

/// Medians of the seconds that `read` gives for each isolation, 0 and 1, after a first time that warms up.
fn in_turn_by(mut read: impl FnMut(i8) -> f64) -> [f64; 2] {
    let mut times = [(); 2].map(|()| Vec::new());
    for reading in 0..=READINGS {
        for (isolation, times) in (0..).zip(times.iter_mut()) {
            let seconds = read(isolation);
            if reading > 0 {
                times.push(seconds);
            }
        }
    }
    times.map(median)
}

/// What the clients of others call an isolation.
fn level(isolation: i8) -> &'static str {
    ["read_uncommitted", "read_committed"][usize::from(isolation != 0)]
}

/// Reads so many records from an offset on by librdkafka, in a process of its own.
fn read_with_kcat(server: &Server, isolation: i8, from: &str, count: usize) {
    let mut command = Command::new("kcat");
    command.args(["-b", &server.address.to_string(), "-C", "-t", TOPIC, "-o", from, "-q"]);
    command.args(["-c", &count.to_string(), "-f", "%o\n"]);
    command.args(["-X", &format!("isolation.level={}", level(isolation))]);
    let output = command.stdin(Stdio::null()).output().expect("kcat is installed");
    let records = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(records, count, "{}", String::from_utf8_lossy(&output.stderr));
}

/// The seconds in which Apache Kafka's consumer fetches so many records, as its own tool measures it.
fn read_with_java(server: &Server, isolation: i8, count: usize) -> f64 {
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&config, format!("isolation.level={}\n", level(isolation))).unwrap();
    let mut arguments = clients::consume_arguments(server, TOPIC, count as u64);
    arguments.extend(["--command-config", &config.path().to_string_lossy()].map(str::to_owned));
    let printed = clients::run("ConsumerPerformance", &arguments);
    let last = printed.lines().last().expect("a line of figures");
    let fields: Vec<&str> = last.split(", ").collect();
    let fetch_millis: f64 = fields[7].parse().expect("the time of fetching");
    assert_eq!(fields[4], count.to_string(), "{printed}");
    fetch_millis / 1e3
}

/// Reads the topic from its start to its end, a record and a marker for each transaction.
fn read_all(client: &mut Client, isolation: i8) {
    let end = 2 * (ABORTED + 1) as i64;
    let (mut offset, mut told, mut given) = (0, 0, 0);
    // Room for every answer: to move it to a larger place would cost more than to read it.
    let mut buffer = BytesMut::with_capacity(2 << 20);
    while offset < end {
        client.send(&fetch_frame(offset, isolation));
        client.receive(&mut buffer);
        let answer = std::mem::take(&mut buffer).freeze();
        let (_, mut response) = decode_response::<FetchResponse>(FETCH, &answer).unwrap();
        let partition = response.topics.remove(0).partitions.remove(0);
        told += partition.aborted_transactions.as_ref().map_or(0, Vec::len);
        let [records] = partition.records.try_into().expect("records in one piece");
        let batches = scan(&records).map_while(Result::ok);
        let last = batches.inspect(|_| given += 1).last().expect("records up to the end");
        offset = last.header.last_offset().0 + 1;
        drop((records, response));
        buffer = answer.try_into_mut().unwrap_or_else(|_| panic!("somebody else has it"));
    }
    // Where a client is not told of a transaction, its two batches are left out.
    let left_out = 2 * (ABORTED + 1) - given;
    match isolation {
        0 => assert_eq!(left_out, 0),
        _ => assert!(2 * told + left_out >= 2 * ABORTED, "{told} are told, {left_out} left out"),
    }
}

fn fetch_frame(offset: i64, isolation_level: i8) -> Bytes {
    let request = load::fetch_request(TOPIC, &[offset], FETCH_BYTES, true);
    load::frame(FETCH, 1, &FetchRequest { isolation_level, ..request })
}
