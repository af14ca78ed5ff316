//! What is measured, and in which order.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use ottla::record::Compression;

use crate::Options;
use crate::limit::RELAY_HEAD;
use crate::load::{self, Client, Outcome, Reading};
use crate::report::{Goal, Report, Row, median};
use crate::servers::Server;

/// Bytes of an answer to Produce for one partition, and of the head of an answer to Fetch: about what a broker sends.
pub(crate) const ANSWER_BYTES: usize = 60;
/// Starts of the broker of which the median is taken.
const STARTS: usize = 15;
/// Messages of a latency scenario, and one each so often.
const MESSAGES: u64 = 5_000;
const PACE: Duration = Duration::from_millis(1);
/// What Apache Kafka is loaded with before anything is measured: its code is compiled as it runs.
const WARM_UP_BYTES: u64 = 1_000_000_000;
/// The default byte budget of a machine with much memory, and 32 MB.
const PEAK_MB: f64 = 268.4 + 32.0;
/// Connections that write at once when memory is looked at.
const MANY_CONNECTIONS: usize = 1_000;
/// What one reader has to catch up on while latencies are measured, and how fast the bulk producer is then.
const COLD_BYTES: u64 = 4_000_000_000;
const BULK_BYTES_A_SECOND: u64 = 300_000_000;
/// After a start, a broker is idle by then.
const REST: Duration = Duration::from_secs(3);
/// Records of 1,000 bytes in a batch of about 16 KiB, 128 KiB and 1 MiB.
const BATCHES: [(&str, usize); 3] = [("16 KiB", 16), ("128 KiB", 128), ("1 MiB", 1024)];

/// The folder with all data of a run. It is removed at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(options: &Options) -> Self {
        let folder = options.folder.join(format!("ottla-speed-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder for the data");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

/// Everything that runs during the throughput and latency scenarios.
pub(crate) struct Field<'a> {
    pub(crate) options: &'a Options,
    pub(crate) folder: &'a Path,
    pub(crate) ottla: Server,
    pub(crate) kafka: Option<Server>,
    pub(crate) report: Report,
    /// Topics made so far: each run has one of its own.
    topics: usize,
}

/// Measures what the options ask for and prints it.
pub(crate) fn run(options: &Options) {
    let folder = Folder::new(options);
    let mut report = Report::new(options.words.clone());
    start(options, &folder.0, &mut report);
    let ottla = Server::ottla(Some(&folder.0.join("ottla")), &[]);
    // Kafka's own queue of 50 loses some of many connections that come at once.
    let settings = ["socket.listen.backlog.size=1024"];
    let kafka = options.kafka.then(|| Server::kafka(&folder.0.join("kafka"), &settings));
    let mut field = Field { options, folder: &folder.0, ottla, kafka, report, topics: 0 };
    // A broker at rest has given back what only its start needs.
    std::thread::sleep(REST);
    field.memory("idle memory, MB", "VmRSS", vec![Goal::AtMost(10.0), Goal::OfKafka(0.03)]);
    field.warm_up();
    field.produce();
    field.fetch();
    field.real_clients();
    field.latency();
    field.memory("memory after load, MB", "VmRSS", Vec::new());
    field.many_connections();
    field.synced();
    field.scale();
}

/// Milliseconds from the start of the process until it has answered Metadata.
pub(crate) fn first_answer(server: &Server) -> f64 {
    Client::connect(server.address).metadata();
    server.begun.elapsed().as_secs_f64() * 1_000.0
}

/// From the start of the process to its first answer to Metadata.
fn start(options: &Options, folder: &Path, report: &mut Report) {
    let name = "start to first Metadata answer, ms";
    let ottla = |name: String, data: &dyn Fn(usize) -> Option<PathBuf>, report: &mut Report| {
        if report.wants(&name) {
            let times = (0..STARTS).map(|round| {
                let server = Server::ottla(data(round).as_deref(), &[]);
                let time = first_answer(&server);
                server.stop();
                time
            });
            let goals =
                vec![Goal::AtMost(if name.ends_with("new directory") { 30.0 } else { 10.0 })];
            report.add(Row { name, ottla: median(times.collect()), goals, ..Row::default() });
        }
    };
    ottla(format!("{name}: in memory"), &|_| None, report);
    let fresh = |round| Some(folder.join(format!("start-{round}")));
    ottla(format!("{name}: new directory"), &fresh, report);
    ottla(format!("{name}: restart"), &|_| Some(folder.join("start-0")), report);
    if options.kafka && report.wants("Apache Kafka, new directory") {
        let data = folder.join("start-kafka");
        for what in ["new directory", "restart"] {
            let server = Server::kafka(&data, &[]);
            let kafka = first_answer(&server);
            server.stop();
            report.add(Row {
                name: format!("{name}: Apache Kafka, {what}"),
                kafka,
                ..Row::default()
            });
        }
    }
}

/// CPU seconds for a GB, MB in a second, and the median latency of one run.
pub(crate) struct Sample {
    pub(crate) cpu: f64,
    rate: f64,
    latency: f64,
}

impl Sample {
    pub(crate) fn new(outcome: &Outcome, bytes: u64, cpu: f64) -> Self {
        let bytes = (outcome.requests * bytes) as f64;
        Self {
            cpu: cpu / (bytes / 1e9),
            rate: bytes / 1e6 / outcome.elapsed.as_secs_f64(),
            latency: outcome.quantile(0.5).as_secs_f64() * 1e6,
        }
    }
}

/// The least CPU time, the best rate and the median of the median latencies.
fn best(samples: Vec<Sample>) -> Sample {
    Sample {
        cpu: samples.iter().map(|sample| sample.cpu).fold(f64::NAN, f64::min),
        rate: samples.iter().map(|sample| sample.rate).fold(f64::NAN, f64::max),
        latency: median(samples.iter().map(|sample| sample.latency).collect()),
    }
}

/// Leaves as much free memory as a run takes in the guest's hands, so that it is equally warm for every server.
///
/// A virtual machine may give free pages back to its host; the first writes to a new file then cost several times more.
pub(crate) fn warm(folder: &Path, bytes: u64) {
    let file = folder.join("warm");
    let mut writer = std::fs::File::create(&file).unwrap();
    let block = vec![1; 1 << 20];
    for _ in 0..bytes >> 20 {
        writer.write_all(&block).unwrap();
    }
    std::fs::remove_file(&file).unwrap();
}

/// A limit loop on this folder.
pub(crate) fn limit(mode: &str, path: &Path, numbers: [usize; 3], more: &str) -> Server {
    let mut arguments = vec![mode.to_owned(), path.display().to_string()];
    arguments.extend(numbers.map(|number| number.to_string()));
    arguments.push(more.to_owned());
    Server::limit(&arguments)
}

impl Field<'_> {
    pub(crate) fn servers(&self) -> Vec<(bool, &Server)> {
        let kafka = self.kafka.iter().map(|server| (true, server));
        std::iter::once((false, &self.ottla)).chain(kafka).collect()
    }

    pub(crate) fn topic(&mut self) -> String {
        self.topics += 1;
        format!("t{}", self.topics)
    }

    /// `goals` are those for CPU time.
    fn report_throughput(&self, name: &str, [limit, ottla, kafka]: [Sample; 3], goals: &[Goal]) {
        for (what, value, goals) in [
            ("CPU-s/GB", (|sample: &Sample| sample.cpu) as fn(&Sample) -> f64, goals),
            ("MB/s", |sample| sample.rate, &[]),
            ("median latency, us", |sample| sample.latency, &[]),
        ] {
            self.report.add(Row {
                name: format!("{name}: {what}"),
                limit: value(&limit),
                ottla: value(&ottla),
                kafka: value(&kafka),
                goals: goals.to_vec(),
            });
        }
    }

    fn memory(&self, name: &str, field: &str, goals: Vec<Goal>) {
        let kafka = self.kafka.as_ref().map_or(f64::NAN, |kafka| kafka.memory(field));
        let ottla = self.ottla.memory(field);
        self.report.add(Row { name: name.to_owned(), ottla, kafka, goals, ..Row::default() });
    }

    /// Writes over many connections at once, for the memory that this takes.
    fn many_connections(&mut self) {
        let name = "memory at most while 1,000 connections write, MB";
        if !self.report.wants(name) {
            return;
        }
        let topic = self.topic();
        let batch = load::batch(128, Compression::None);
        let requests = self.options.megabytes * 1_000_000 / (batch.len() * MANY_CONNECTIONS) as u64;
        for (_, server) in self.servers() {
            server.forget_peak();
            let mut client = Client::connect(server.address);
            client.create(&topic, 16);
            let frames = (0..MANY_CONNECTIONS)
                .map(|connection| load::produce_frame(&topic, connection % 16, 1, &batch).0)
                .collect();
            load::produce(server.address, frames, requests.max(1), 5, load::check_produced);
            client.delete(&topic);
        }
        self.memory(name, "VmHWM", vec![Goal::AtMost(PEAK_MB), Goal::OfKafka(0.15)]);
    }

    fn warm_up(&mut self) {
        let topic = self.topic();
        let Some(kafka) = &self.kafka else { return };
        let records = load::batch(128, Compression::None);
        Client::connect(kafka.address).create(&topic, 1);
        let frames = vec![load::produce_frame(&topic, 0, 1, &records).0];
        let requests = WARM_UP_BYTES / records.len() as u64;
        load::produce(kafka.address, frames, requests, 5, load::check_produced);
        Client::connect(kafka.address).delete(&topic);
    }

    /// Appends: each connection to a partition of its own, five requests in flight.
    fn produce(&mut self) {
        for (size, records) in BATCHES {
            for connections in [1, 16] {
                for (acks, word) in [(1, "1"), (-1, "all")] {
                    let name = format!("produce {size}, {connections} conn, acks={word}");
                    let samples = self.append(&name, records, Compression::None, connections, acks);
                    self.report_append(&name, samples, &[Goal::OfLimit(1.2)]);
                }
            }
        }
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let name = format!("produce 128 records of {codec:?}, 1 conn, acks=1");
            let samples = self.append(&name, 128, codec, 1, 1);
            self.report_append(&name, samples, &[Goal::OfLimit(1.2), Goal::OfKafka(0.35)]);
        }
        let name = "produce one record of 1,000 bytes, 1 conn, acks=1";
        let bytes = load::batch(1, Compression::None).len() as f64;
        if let Some(samples) = self.append(name, 1, Compression::None, 1, 1) {
            let [limit, ottla, kafka] = samples.map(|sample| sample.cpu / 1e9 * bytes * 1e6);
            let goals = vec![Goal::OfLimit(1.25), Goal::OfKafka(0.3)];
            let name = format!("{name}: CPU us a request");
            self.report.add(Row { name, limit, ottla, kafka, goals });
        }
    }

    fn report_append(&self, name: &str, samples: Option<[Sample; 3]>, goals: &[Goal]) {
        if let Some(samples) = samples {
            self.report_throughput(name, samples, goals);
        }
    }

    fn append(
        &mut self,
        name: &str,
        records: usize,
        codec: Compression,
        connections: usize,
        acks: i16,
    ) -> Option<[Sample; 3]> {
        if !self.report.wants(name) {
            return None;
        }
        let batch = load::batch(records, codec);
        let megabytes =
            if records == 1 { self.options.megabytes / 8 } else { self.options.megabytes };
        let requests = megabytes * 1_000_000 / (batch.len() * connections) as u64;
        let mut samples = [(); 3].map(|()| Vec::new());
        for _ in 0..self.options.rounds {
            let topic = self.topic();
            let (frames, ranges): (Vec<_>, Vec<_>) = (0..connections)
                .map(|partition| load::produce_frame(&topic, partition, acks, &batch))
                .unzip();
            let bytes = batch.len() as u64;
            let measure = |server: &Server, check| {
                warm(self.folder, requests * bytes * connections as u64 * 5 / 4);
                let before = server.cpu();
                let outcome = load::produce(server.address, frames.clone(), requests, 5, check);
                Sample::new(&outcome, bytes, server.cpu() - before)
            };
            let folder = self.folder.join(&topic);
            std::fs::create_dir(&folder).unwrap();
            let numbers = [ranges[0].start, ranges[0].end, ANSWER_BYTES];
            let limit = match codec {
                Compression::None => limit("produce", &folder, numbers, ""),
                Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd => {
                    limit("validate", &folder, numbers, &format!("{codec:?}"))
                }
            };
            samples[0].push(measure(&limit, |_| ()));
            drop(limit);
            std::fs::remove_dir_all(&folder).unwrap();
            for (is_kafka, server) in self.servers() {
                let mut client = Client::connect(server.address);
                client.create(&topic, connections);
                samples[1 + usize::from(is_kafka)].push(measure(server, load::check_produced));
                client.delete(&topic);
            }
        }
        Some(samples.map(best))
    }

    /// Reads what is in the page cache, over and over, one request in flight.
    fn fetch(&mut self) {
        self.read("fetch 1 MiB, 1 conn", 1, 1, 128, 8);
        self.read("fetch 1 MiB, 8 conn", 8, 1, 128, 8);
        self.read("fetch 50 x 16 KiB, 1 conn", 1, 50, 16, 1);
        self.read("fetch 64 KiB, 8 conn", 8, 1, 16, 4);
    }

    /// `together` batches of so many records from each of the partitions in one answer.
    fn read(
        &mut self,
        name: &str,
        connections: usize,
        partitions: usize,
        records: usize,
        together: usize,
    ) {
        if !self.report.wants(name) {
            return;
        }
        let topic = self.topic();
        let batch = load::batch(records, Compression::None);
        let batches = (100_000_000 / (batch.len() * partitions) / together * together) as u64;
        for (_, server) in self.servers() {
            Client::connect(server.address).create(&topic, partitions);
            let frames = (0..partitions)
                .map(|index| load::produce_frame(&topic, index, 1, &batch).0)
                .collect();
            load::produce(server.address, frames, batches, 5, load::check_produced);
        }
        let folder = self.folder.join(&topic);
        std::fs::create_dir(&folder).unwrap();
        for index in 0..partitions {
            let file = folder.join(index.to_string());
            std::fs::write(&file, batch.repeat(batches as usize)).unwrap();
        }
        let partition_bytes = batch.len() * together;
        let reading = Reading {
            topic: topic.clone(),
            partitions,
            partition_bytes,
            records: (records * together) as i64,
            end: batches as i64 * records as i64,
        };
        let bytes = (partition_bytes * partitions) as u64;
        let requests = self.options.megabytes * 1_000_000 / bytes / connections as u64 + 1;
        let measure = |server: &Server, check| {
            let before = server.cpu();
            let readings = vec![reading.clone(); connections];
            let outcome = load::fetch(server.address, readings, requests, check);
            Sample::new(&outcome, bytes, server.cpu() - before)
        };
        let mut samples = [(); 3].map(|()| Vec::new());
        for _ in 0..self.options.rounds {
            let limit = limit("fetch", &folder, [partitions, partition_bytes, ANSWER_BYTES], "");
            samples[0].push(measure(&limit, |_, _| ()));
            drop(limit);
            for (is_kafka, server) in self.servers() {
                samples[1 + usize::from(is_kafka)].push(measure(server, |answer, reading| {
                    for records in load::fetched(answer) {
                        assert_eq!(records.len(), reading.partition_bytes);
                    }
                }));
            }
        }
        for (_, server) in self.servers() {
            Client::connect(server.address).delete(&topic);
        }
        self.report_throughput(name, samples.map(best), &[Goal::OfLimit(1.2), Goal::OfKafka(0.4)]);
    }

    /// From a producer to a consumer, 1,000 messages a second: alone, beside a producer of much, and beside a reader of
    /// what is not in memory.
    fn latency(&mut self) {
        let name = "end to end at 1,000/s";
        let quiet = self.end_to_end(name, &mut |_, _, measure| measure());
        if let Some(quantiles) = &quiet {
            self.report_latency(name, quantiles, [&[Goal::OfLimit(1.5), Goal::OfKafka(0.4)], &P99]);
        }
        self.latency_beside_bulk();
        if let Some([_, [_, p99], _]) = quiet {
            self.latency_beside_cold_reader(2.0 * p99);
        }
    }

    fn latency_beside_bulk(&mut self) {
        let name = "end to end at 1,000/s beside 300 MB/s";
        let (topic, folder) = (self.topic(), self.folder.join("bulk"));
        let batch = load::batch(128, Compression::None);
        let (frame, records) = load::produce_frame(&topic, 0, 1, &batch);
        let rate = BULK_BYTES_A_SECOND / batch.len() as u64;
        let quantiles = self.end_to_end(name, &mut |role, server, measure| match role {
            // The limit loop has the bulk in a process of its own: its connections share nothing anyway.
            Role::Limit => {
                std::fs::create_dir_all(&folder).unwrap();
                let numbers = [records.start, records.end, ANSWER_BYTES];
                let bulk = limit("produce", &folder, numbers, "");
                load::beside(|stop| load::bulk(bulk.address, &frame, rate, stop), measure)
            }
            Role::Broker => {
                let mut client = Client::connect(server.address);
                client.create(&topic, 1);
                let outcome =
                    load::beside(|stop| load::bulk(server.address, &frame, rate, stop), measure);
                client.delete(&topic);
                outcome
            }
        });
        if let Some(quantiles) = &quantiles {
            self.report_latency(name, quantiles, [&[], &P99]);
        }
    }

    /// `p99` is the goal, in microseconds. There is no limit for it.
    fn latency_beside_cold_reader(&mut self, p99: f64) {
        let name = "end to end at 1,000/s beside a reader of evicted data";
        if !self.report.wants(name) {
            return;
        }
        let topic = self.topic();
        let batch = load::batch(128, Compression::None);
        let batches = COLD_BYTES / batch.len() as u64;
        for (_, server) in self.servers() {
            Client::connect(server.address).create(&topic, 1);
            let frame = load::produce_frame(&topic, 0, 1, &batch).0;
            load::produce(server.address, vec![frame], batches, 5, load::check_produced);
        }
        let reading = Reading {
            topic: topic.clone(),
            partitions: 1,
            partition_bytes: batch.len() * 8,
            records: 128 * 8,
            end: (batches * 128) as i64,
        };
        let folder = self.folder.to_owned();
        let quantiles = self.end_to_end(name, &mut |role, server, measure| match role {
            Role::Limit => measure(),
            Role::Broker => {
                // One pass takes about as long as the messages.
                load::evict(&folder, &format!("{}-0", reading.topic));
                load::beside(|stop| load::catch_up(server.address, &reading, stop), measure)
            }
        });
        for (_, server) in self.servers() {
            Client::connect(server.address).delete(&topic);
        }
        if let Some([_, ottla, kafka]) = quantiles {
            let goals = [Goal::AtMost(p99), Goal::OfKafka(0.2)];
            self.report_latency(name, &[[f64::NAN; 2], ottla, kafka], [&[], &goals]);
        }
    }

    /// Medians of p50 and p99 of the three servers, in microseconds. `around` runs the measurement beside something else.
    fn end_to_end(&mut self, name: &str, around: &mut Around<'_>) -> Option<[[f64; 2]; 3]> {
        if !self.report.wants(name) {
            return None;
        }
        let mut samples = [(); 3].map(|()| [(); 2].map(|()| Vec::new()));
        let mut note = |at: usize, outcome: &Outcome| {
            for (values, part) in samples[at].iter_mut().zip([0.5, 0.99]) {
                values.push(outcome.quantile(part).as_secs_f64() * 1e6);
            }
        };
        for _ in 0..self.options.rounds {
            let topic = self.topic();
            let folder = self.folder.join(&topic);
            std::fs::create_dir(&folder).unwrap();
            let records = load::stamped(Duration::ZERO);
            let range = load::produce_frame(&topic, 0, 1, &records).1;
            let limit = limit("relay", &folder, [range.start, range.end, ANSWER_BYTES], "");
            let behind = |answer: &Bytes| Some(answer.slice(RELAY_HEAD - 4..));
            let outcome = around(Role::Limit, &limit, &|| {
                load::end_to_end(limit.address, &topic, MESSAGES, PACE, behind)
            });
            note(0, &outcome);
            drop(limit);
            for (is_kafka, server) in self.servers() {
                let mut client = Client::connect(server.address);
                client.create(&topic, 1);
                let within = |answer: &Bytes| {
                    load::fetched(answer).pop().filter(|records| !records.is_empty())
                };
                let outcome = around(Role::Broker, server, &|| {
                    load::end_to_end(server.address, &topic, MESSAGES, PACE, within)
                });
                note(1 + usize::from(is_kafka), &outcome);
                client.delete(&topic);
            }
        }
        Some(samples.map(|quantiles| quantiles.map(median)))
    }

    fn report_latency(
        &self,
        name: &str,
        [limit, ottla, kafka]: &[[f64; 2]; 3],
        goals: [&[Goal]; 2],
    ) {
        for (at, quantile) in ["p50", "p99"].iter().enumerate() {
            self.report.add(Row {
                name: format!("{name}: {quantile}, us"),
                limit: limit[at],
                ottla: ottla[at],
                kafka: kafka[at],
                goals: goals[at].to_vec(),
            });
        }
    }
}

/// The goals for the p99 of a latency.
const P99: [Goal; 2] = [Goal::OfLimit(2.0), Goal::OfKafka(0.2)];

/// Runs a measurement of a server, beside something else or not.
type Around<'a> = dyn FnMut(Role, &Server, &dyn Fn() -> Outcome) -> Outcome + 'a;

/// What kind of server is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Limit,
    Broker,
}
