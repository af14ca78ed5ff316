//! Many partitions and many connections on one node, and the size of the program.

use std::process::Command;

use ottla::record::Compression;

use crate::load::{self, Client};
use crate::report::{Goal, Row, median};
use crate::scenarios::{Field, Sample, first_answer, warm};
use crate::servers::{Server, launcher};

/// Starts of Ottla of which the median is taken; Apache Kafka is started once.
const STARTS: usize = 5;
const TOPIC_PARTITIONS: usize = 100;
const IDLE_CONNECTIONS: usize = 1_000;
/// Requests of Metadata whose p99 is looked at.
const METADATA: u64 = 2_000;
/// Batches a second that are written meanwhile.
const BESIDE_METADATA: u64 = 2_000;

/// Segments of the partition of 1 TB.
const SEGMENTS: usize = 1_024;

/// What a server gave with so many partitions.
#[derive(Clone)]
struct Figures {
    /// Milliseconds of a start until Metadata is answered.
    start: f64,
    /// Resident MB then.
    memory: f64,
    /// Open descriptors then.
    descriptors: f64,
    /// CPU seconds for a GB that is written to the first topic.
    cpu: f64,
    /// Microseconds of the p99 of Metadata of that topic while it is written to.
    metadata: f64,
}

impl Field<'_> {
    /// What a broker costs when nothing happens on most of its partitions and connections.
    pub(crate) fn scale(&mut self) {
        self.binary();
        self.idle_connections();
        self.terabyte();
        let mut few = None;
        for (topics, start_ms) in [(1, 10.0), (10, 30.0), (100, 200.0)] {
            let name = format!("{} partitions, 100 written", topics * TOPIC_PARTITIONS);
            if self.report.wants(&name) {
                let ottla = self.partitions(false, topics);
                let kafka = self.options.kafka.then(|| self.partitions(true, topics));
                let few = few.get_or_insert_with(|| ottla.clone());
                self.report_partitions(&name, [&ottla, few], kafka.as_ref(), start_ms);
                if topics > 1 {
                    let more = ((topics - 1) * TOPIC_PARTITIONS) as f64;
                    self.report.add(Row {
                        name: format!("{name}: memory of each beyond 100, KB"),
                        ottla: (ottla.memory - few.memory) * 1_000.0 / more,
                        goals: vec![Goal::AtMost(4.1)],
                        ..Row::default()
                    });
                }
            }
        }
    }

    fn report_partitions(
        &self,
        name: &str,
        [ottla, few]: [&Figures; 2],
        kafka: Option<&Figures>,
        start_ms: f64,
    ) {
        let beside_few = |few: f64| vec![Goal::AtMost(1.1 * few), Goal::OfKafka(0.3)];
        for (figure, value, goals) in [
            (
                "start to first Metadata answer, ms",
                (|figures| figures.start) as fn(&Figures) -> f64,
                vec![Goal::AtMost(start_ms), Goal::OfKafka(0.01)],
            ),
            ("memory, MB", |figures| figures.memory, Vec::new()),
            ("descriptors", |figures| figures.descriptors, Vec::new()),
            ("CPU-s/GB", |figures| figures.cpu, beside_few(few.cpu)),
            ("Metadata, p99, us", |figures| figures.metadata, beside_few(few.metadata)),
        ] {
            self.report.add(Row {
                name: format!("{name}: {figure}"),
                ottla: value(ottla),
                kafka: kafka.map_or(f64::NAN, value),
                goals,
                ..Row::default()
            });
        }
    }

    fn partitions(&self, is_kafka: bool, topics: usize) -> Figures {
        let kind = if is_kafka { "kafka" } else { "ottla" };
        let data = self.folder.join(format!("{kind}-{topics}-topics"));
        let start = || match is_kafka {
            true => Server::kafka(&data, &[]),
            false => Server::ottla(Some(&data), &[]),
        };
        let server = start();
        let mut client = Client::connect(server.address);
        for topic in 0..topics {
            client.create(&format!("topic-{topic}"), TOPIC_PARTITIONS);
        }
        server.stop();
        let mut times = Vec::new();
        for _ in 1..if is_kafka { 1 } else { STARTS } {
            let server = start();
            times.push(first_answer(&server));
            server.stop();
        }
        let server = start();
        times.push(first_answer(&server));
        let (memory, descriptors) = (server.memory("VmRSS"), server.descriptors());
        let (cpu, metadata) = self.written(&server);
        Figures { start: median(times), memory, descriptors, cpu, metadata }
    }

    /// CPU seconds for a GB that is written to all partitions of the first topic, and the p99 of its Metadata in
    /// microseconds beside a producer.
    fn written(&self, server: &Server) -> (f64, f64) {
        let batch = load::batch(16, Compression::None);
        let frame = |partition| load::produce_frame("topic-0", partition, 1, &batch).0;
        let write = |requests| {
            let frames = (0..TOPIC_PARTITIONS).map(frame).collect();
            load::produce(server.address, frames, requests, 1, load::check_produced)
        };
        let bytes = self.options.megabytes * 1_000_000;
        warm(self.folder, bytes * 5 / 4);
        // Opens what a first write opens.
        write(2);
        let before = server.cpu();
        let outcome = write(bytes / (batch.len() * TOPIC_PARTITIONS) as u64);
        let cpu = Sample::new(&outcome, batch.len() as u64, server.cpu() - before).cpu;
        let beside = |stop: &_| load::bulk(server.address, &frame(0), BESIDE_METADATA, stop);
        let outcome = load::beside(beside, &|| load::metadata(server.address, "topic-0", METADATA));
        (cpu, outcome.quantile(0.99).as_secs_f64() * 1e6)
    }

    /// One partition of 1 TB in segments of 1 GiB, each of which has its first MiB; the rest is never read, and takes no room.
    fn terabyte(&self) {
        let name = "1 TB in 1,024 segments";
        if !self.report.wants(name) {
            return;
        }
        let data = self.folder.join("ottla-terabyte");
        let start = || Server::ottla(Some(&data), &["log.segment.bytes=1048576"]);
        let server = start();
        Client::connect(server.address).create("wide", 1);
        let batch = load::batch(200, Compression::None);
        let segments = || {
            let entries = std::fs::read_dir(data.join("wide-0")).unwrap();
            let paths = entries.map(|entry| entry.unwrap().path());
            let mut paths: Vec<_> =
                paths.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
            paths.sort();
            paths
        };
        while segments().len() <= SEGMENTS {
            let frames = vec![load::produce_frame("wide", 0, 1, &batch).0];
            load::produce(server.address, frames, 1_000, 1, load::check_produced);
        }
        server.stop();
        let mut finished = segments();
        finished.truncate(SEGMENTS);
        for path in &finished {
            std::fs::File::options().write(true).open(path).unwrap().set_len(1 << 30).unwrap();
        }
        let server = start();
        let add = |figure: &str, ottla: f64, goals| {
            let name = format!("{name}: {figure}");
            self.report.add(Row { name, ottla, goals, ..Row::default() });
        };
        add("start to first Metadata answer, ms", first_answer(&server), Vec::new());
        add("memory, MB", server.memory("VmRSS"), Vec::new());
        add("descriptors", server.descriptors(), Vec::new());
        add("mappings", server.mappings(), Vec::new());
        let mut client = Client::connect(server.address);
        let mut answer = bytes::BytesMut::new();
        for path in &finished {
            let base = path.file_stem().and_then(|base| base.to_str()).unwrap().parse().unwrap();
            client.send(&load::fetch_frame("wide", &[base], 1, false));
            client.receive(&mut answer);
            assert!(answer.len() > batch.len(), "the first batch of {}", path.display());
        }
        add("memory when each was read from, MB", server.memory("VmRSS"), Vec::new());
        add("descriptors when each was read from", server.descriptors(), Vec::new());
        add("mappings when each was read from", server.mappings(), Vec::new());
    }

    /// What a connection takes that has asked something once.
    fn idle_connections(&self) {
        let name = "memory of an idle connection, KB";
        if !self.report.wants(name) {
            return;
        }
        let measure = |server: &Server| {
            let connect = || {
                let mut client = Client::connect(server.address);
                client.metadata();
                client
            };
            // The code that it takes is there once.
            let _first = connect();
            let before = server.memory("VmRSS");
            let clients: Vec<_> = (0..IDLE_CONNECTIONS).map(|_| connect()).collect();
            let more = server.memory("VmRSS") - before;
            drop(clients);
            more * 1_000.0 / IDLE_CONNECTIONS as f64
        };
        // Fresh servers: memory that was used before and is free is used first.
        let ottla = measure(&Server::ottla(None, &[]));
        let kafka = match self.options.kafka {
            true => measure(&Server::kafka(&self.folder.join("kafka-connections"), &[])),
            false => f64::NAN,
        };
        let goals = vec![Goal::AtMost(4.1)];
        self.report.add(Row { name: name.to_owned(), ottla, kafka, goals, ..Row::default() });
    }

    /// The size of the program without what debuggers need; of Apache Kafka its jars, without a JVM.
    fn binary(&self) {
        let name = "size of the stripped program, or of the jars, MB";
        if !self.report.wants(name) {
            return;
        }
        let stripped = self.folder.join("ottla-stripped");
        let mut command = Command::new("strip");
        command.arg("-o").arg(&stripped).arg(env!("CARGO_BIN_EXE_ottla"));
        assert!(command.status().expect("strip, of binutils").success());
        let ottla = std::fs::metadata(&stripped).unwrap().len() as f64 / 1e6;
        let kafka = if self.options.kafka { jar_bytes() as f64 / 1e6 } else { f64::NAN };
        let goals = vec![Goal::AtMost(15.0)];
        self.report.add(Row { name: name.to_owned(), ottla, kafka, goals, ..Row::default() });
    }
}

/// The size of all jars of Apache Kafka's broker and tools.
fn jar_bytes() -> u64 {
    let output =
        Command::new(launcher()).arg("classpath").output().expect("Apache Kafka's launcher");
    let classes = String::from_utf8(output.stdout).unwrap();
    let folder = classes.trim().trim_end_matches('*');
    let jars = std::fs::read_dir(folder).expect("a folder of jars");
    jars.map(|jar| jar.unwrap().metadata().unwrap().len()).sum()
}
