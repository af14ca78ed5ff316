//! What is measured, and in which order.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use ottla::record::Compression;

use crate::Options;
use crate::limit::RELAY_HEAD;
use crate::load::{self, Client, Outcome, Reading};
use crate::report::{Report, Row, median};
use crate::servers::Server;

/// Bytes of an answer to Produce for one partition, and of the head of an answer to Fetch: about what a broker sends.
const ANSWER_BYTES: usize = 60;
/// Starts of the broker of which the median is taken.
const STARTS: usize = 15;
/// Messages of a latency scenario, and one each so often.
const MESSAGES: u64 = 5_000;
const PACE: Duration = Duration::from_millis(1);
/// What Apache Kafka is loaded with before anything is measured: its code is compiled as it runs.
const WARM_UP_BYTES: u64 = 1_000_000_000;
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
struct Field<'a> {
    options: &'a Options,
    folder: &'a Path,
    ottla: Server,
    kafka: Option<Server>,
    report: Report,
    /// Topics made so far: each run has one of its own.
    topics: usize,
}

/// Measures what the options ask for and prints it.
pub(crate) fn run(options: &Options) {
    let folder = Folder::new(options);
    let mut report = Report::new(options.words.clone());
    start(options, &folder.0, &mut report);
    let ottla = Server::ottla(Some(&folder.0.join("ottla")), &[]);
    let kafka = options.kafka.then(|| Server::kafka(&folder.0.join("kafka"), &[]));
    let mut field = Field { options, folder: &folder.0, ottla, kafka, report, topics: 0 };
    field.memory("idle memory, MB", "VmRSS");
    field.warm_up();
    field.produce();
    field.fetch();
    field.latency();
    field.memory("memory after load, MB", "VmRSS");
    field.memory("memory at most, MB", "VmHWM");
}

/// From the start of the process to its first answer to Metadata.
fn start(options: &Options, folder: &Path, report: &mut Report) {
    let name = "start to first Metadata answer, ms";
    let time = |server: &Server| {
        Client::connect(server.address).metadata();
        server.begun.elapsed().as_secs_f64() * 1_000.0
    };
    let ottla = |name: String, data: &dyn Fn(usize) -> Option<PathBuf>, report: &mut Report| {
        if report.wants(&name) {
            let times = (0..STARTS).map(|round| {
                let server = Server::ottla(data(round).as_deref(), &[]);
                let time = time(&server);
                server.stop();
                time
            });
            report.add(Row { name, ottla: median(times.collect()), ..Row::default() });
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
            let kafka = time(&server);
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
struct Sample {
    cpu: f64,
    rate: f64,
    latency: f64,
}

impl Sample {
    fn new(outcome: &Outcome, bytes: u64, cpu: f64) -> Self {
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
fn warm(folder: &Path, bytes: u64) {
    let file = folder.join("warm");
    let mut writer = std::fs::File::create(&file).unwrap();
    let block = vec![1; 1 << 20];
    for _ in 0..bytes >> 20 {
        writer.write_all(&block).unwrap();
    }
    std::fs::remove_file(&file).unwrap();
}

/// A limit loop on this folder.
fn limit(mode: &str, path: &Path, numbers: [usize; 3]) -> Server {
    let mut arguments = vec![mode.to_owned(), path.display().to_string()];
    arguments.extend(numbers.map(|number| number.to_string()));
    Server::limit(&arguments)
}

impl Field<'_> {
    fn servers(&self) -> Vec<(bool, &Server)> {
        let kafka = self.kafka.iter().map(|server| (true, server));
        std::iter::once((false, &self.ottla)).chain(kafka).collect()
    }

    fn topic(&mut self) -> String {
        self.topics += 1;
        format!("t{}", self.topics)
    }

    fn report_throughput(&self, name: &str, [limit, ottla, kafka]: [Sample; 3]) {
        for (what, value) in [
            ("CPU-s/GB", (|sample: &Sample| sample.cpu) as fn(&Sample) -> f64),
            ("MB/s", |sample| sample.rate),
            ("median latency, us", |sample| sample.latency),
        ] {
            self.report.add(Row {
                name: format!("{name}: {what}"),
                limit: value(&limit),
                ottla: value(&ottla),
                kafka: value(&kafka),
            });
        }
    }

    fn memory(&mut self, name: &str, field: &str) {
        let kafka = self.kafka.as_ref().map_or(f64::NAN, |kafka| kafka.memory(field));
        let ottla = self.ottla.memory(field);
        self.report.add(Row { name: name.to_owned(), ottla, kafka, ..Row::default() });
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
                    self.append(&name, records, Compression::None, connections, acks);
                }
            }
        }
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let name = format!("produce 128 records of {codec:?}, 1 conn, acks=1");
            self.append(&name, 128, codec, 1, 1);
        }
    }

    fn append(
        &mut self,
        name: &str,
        records: usize,
        codec: Compression,
        connections: usize,
        acks: i16,
    ) {
        if !self.report.wants(name) {
            return;
        }
        let batch = load::batch(records, codec);
        let requests = self.options.megabytes * 1_000_000 / (batch.len() * connections) as u64;
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
            let limit = limit("produce", &folder, [ranges[0].start, ranges[0].end, ANSWER_BYTES]);
            // The limit loop only takes bytes: to it they are all the same.
            if codec == Compression::None {
                samples[0].push(measure(&limit, |_| ()));
            }
            drop(limit);
            std::fs::remove_dir_all(&folder).unwrap();
            for (is_kafka, server) in self.servers() {
                let mut client = Client::connect(server.address);
                client.create(&topic, connections);
                samples[1 + usize::from(is_kafka)].push(measure(server, load::check_produced));
                client.delete(&topic);
            }
        }
        self.report_throughput(name, samples.map(best));
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
            let limit = limit("fetch", &folder, [partitions, partition_bytes, ANSWER_BYTES]);
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
        self.report_throughput(name, samples.map(best));
    }

    /// From a producer to a consumer, 1,000 messages a second.
    fn latency(&mut self) {
        let name = "end to end at 1,000/s";
        if !self.report.wants(name) {
            return;
        }
        let mut samples = [(); 3].map(|()| (Vec::new(), Vec::new()));
        let mut note = |at: usize, outcome: &Outcome| {
            samples[at].0.push(outcome.quantile(0.5).as_secs_f64() * 1e6);
            samples[at].1.push(outcome.quantile(0.99).as_secs_f64() * 1e6);
        };
        for _ in 0..self.options.rounds {
            let topic = self.topic();
            let folder = self.folder.join(&topic);
            std::fs::create_dir(&folder).unwrap();
            let records = load::stamped(Duration::ZERO);
            let range = load::produce_frame(&topic, 0, 1, &records).1;
            let limit = limit("relay", &folder, [range.start, range.end, ANSWER_BYTES]);
            let behind = |answer: &Bytes| Some(answer.slice(RELAY_HEAD - 4..));
            note(0, &load::end_to_end(limit.address, &topic, MESSAGES, PACE, behind));
            drop(limit);
            for (is_kafka, server) in self.servers() {
                let mut client = Client::connect(server.address);
                client.create(&topic, 1);
                let within = |answer: &Bytes| {
                    load::fetched(answer).pop().filter(|records| !records.is_empty())
                };
                let outcome = load::end_to_end(server.address, &topic, MESSAGES, PACE, within);
                note(1 + usize::from(is_kafka), &outcome);
                client.delete(&topic);
            }
        }
        let [limit, ottla, kafka] = samples.map(|(p50, p99)| (median(p50), median(p99)));
        for (quantile, limit, ottla, kafka) in
            [("p50", limit.0, ottla.0, kafka.0), ("p99", limit.1, ottla.1, kafka.1)]
        {
            self.report.add(Row { name: format!("{name}: {quantile}, us"), limit, ottla, kafka });
        }
    }
}
