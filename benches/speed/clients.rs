//! The load of Apache Kafka's own clients: its ProducerPerformance and ConsumerPerformance.

use std::process::{Command, Stdio};

use crate::load::Client;
use crate::report::{Goal, Row};
use crate::scenarios::Field;
use crate::servers::{Server, launcher};

const RECORD_BYTES: u64 = 1_000;

impl Field<'_> {
    /// CPU time of the brokers for a GB of records of the Java clients, `acks=all`. The limit loop does not know what to
    /// answer them.
    pub(crate) fn real_clients(&mut self) {
        if self.kafka.is_none() {
            return;
        }
        for (size, batch, codec, goal) in [
            ("16 KiB", "16384", "none", 0.15),
            ("128 KiB", "131072", "none", 0.12),
            ("128 KiB, lz4", "131072", "lz4", 0.35),
        ] {
            let name = format!("Java clients, batches of {size}");
            if self.report.wants(&name) {
                self.java(&name, batch, codec, goal);
            }
        }
    }

    fn java(&mut self, name: &str, batch: &str, codec: &str, goal: f64) {
        let records = self.options.megabytes * 1_000_000 / RECORD_BYTES;
        let mut samples = [(); 2].map(|()| [(); 2].map(|()| Vec::new()));
        for _ in 0..self.options.rounds {
            let topic = self.topic();
            for (is_kafka, server) in self.servers() {
                Client::connect(server.address).create(&topic, 1);
                let gigabytes = (records * RECORD_BYTES) as f64 / 1e9;
                let measure = |tool: &str, arguments: &[String]| {
                    let before = server.cpu();
                    run(tool, arguments);
                    (server.cpu() - before) / gigabytes
                };
                let producer = produce_arguments(server, &topic, records, batch, codec);
                samples[0][usize::from(is_kafka)].push(measure("ProducerPerformance", &producer));
                let consumer = consume_arguments(server, &topic, records);
                samples[1][usize::from(is_kafka)].push(measure("ConsumerPerformance", &consumer));
                Client::connect(server.address).delete(&topic);
            }
        }
        let goals = [goal, 0.4];
        for (([ottla, kafka], what), goal) in
            samples.into_iter().zip(["produce", "consume"]).zip(goals)
        {
            self.report.add(Row {
                name: format!("{name}, {what}: CPU-s/GB"),
                ottla: least(ottla),
                kafka: least(kafka),
                goals: vec![Goal::OfKafka(goal)],
                ..Row::default()
            });
        }
    }
}

fn produce_arguments(
    server: &Server,
    topic: &str,
    records: u64,
    batch: &str,
    codec: &str,
) -> Vec<String> {
    let properties = [
        format!("bootstrap.servers={}", server.address),
        format!("batch.size={batch}"),
        format!("compression.type={codec}"),
        "acks=all".to_owned(),
    ];
    let mut arguments = words(&["--topic", topic, "--throughput", "-1"]);
    arguments.extend([
        "--num-records".to_owned(),
        records.to_string(),
        "--record-size".to_owned(),
        RECORD_BYTES.to_string(),
        "--producer-props".to_owned(),
    ]);
    arguments.extend(properties);
    arguments
}

/// What `ConsumerPerformance` is to read.
pub(crate) fn consume_arguments(server: &Server, topic: &str, records: u64) -> Vec<String> {
    let mut arguments = words(&["--topic", topic, "--timeout", "60000", "--bootstrap-server"]);
    arguments.extend([server.address.to_string(), "--messages".to_owned(), records.to_string()]);
    arguments
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Runs a tool of Apache Kafka's; gives what it printed.
pub(crate) fn run(tool: &str, arguments: &[String]) -> String {
    let mut command = Command::new(launcher());
    command.args(["tool", tool]).args(arguments).stdin(Stdio::null());
    let output = command.output().expect("Apache Kafka's launcher");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn least(values: Vec<f64>) -> f64 {
    values.into_iter().fold(f64::NAN, f64::min)
}
