//! The smoke test of Kafka Streams' own developers, with `exactly_once_v2`: its driver writes 20,000 numbers, two instances make
//! sums, windows, joins and more of them, one is killed by signal 9 amid the work, and the driver compares all that is committed
//! with what it wrote.

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::java::Library;
use ottla_compat_tests::program::Program;
use ottla_compat_tests::{ClientKind, Server, ServerKind};
use tempfile::TempDir;

use crate::create;

/// What its driver and its instances expect to be there.
const TOPICS: [&str; 13] = [
    "data",
    "echo",
    "max",
    "min",
    "min-suppressed",
    "min-raw",
    "dif",
    "sum",
    "sws-raw",
    "sws-suppressed",
    "cnt",
    "avg",
    "tagg",
];
const PARTITIONS: i32 = 5;

/// Two instances, of which one is killed.
pub(crate) fn with_one_killed(kind: ServerKind) -> Result<()> {
    let server = Server::start(
        kind,
        &["offsets.topic.num.partitions=3", "transaction.state.log.num.partitions=3"],
    )?;
    let mut client = ClientKind::Librdkafka.connect(server.bootstrap())?;
    for topic in TOPICS {
        create(&mut client, topic, PARTITIONS, &[])?;
    }
    let mut victim = Started::new(&server, "process")?;
    let mut survivor = Started::new(&server, "process")?;
    victim.says("SMOKE-TEST-CLIENT-STARTED")?;
    survivor.says("SMOKE-TEST-CLIENT-STARTED")?;
    let mut driver = Started::new(&server, "run")?;
    for instance in [&mut victim, &mut survivor] {
        instance.says("processed")?;
    }
    driver.take();
    ensure!(
        !driver.has_said("Verification"),
        "the work was done before the kill: {:?}",
        driver.said
    );
    victim.program.kill()?;
    while let Some(line) = driver.program.next_line()? {
        driver.said.push(line);
        // It stops when nobody takes its words.
        survivor.take();
    }
    ensure!(driver.has_said("SUCCESS"), "{:?}\n{:?}\n{}", driver.said, survivor.said, server.log());
    ensure!(!survivor.has_said("SMOKE-TEST-CLIENT-EXCEPTION"), "{:?}", survivor.said);
    Ok(())
}

/// A program of the smoke test, and all that it has said.
struct Started {
    program: Program,
    said: Vec<String>,
    /// Its configuration, its state, and what its libraries unpack.
    _folder: TempDir,
}

impl Started {
    /// Starts the driver by `run`, an instance by `process`.
    fn new(server: &Server, command: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let config = folder.path().join("streams.properties");
        let settings = [
            ("bootstrap.servers", server.bootstrap()),
            ("processing.guarantee", "exactly_once_v2"),
            ("replication.factor", "1"),
            ("main.consumer.session.timeout.ms", "6000"),
            ("main.consumer.heartbeat.interval.ms", "500"),
        ];
        let lines: Vec<_> =
            settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        std::fs::write(&config, lines.join("\n"))?;
        let mut java = Library::STREAMS.class("org.apache.kafka.streams.tests.StreamsSmokeTest")?;
        java.env("JDK_JAVA_OPTIONS", format!("-Djava.io.tmpdir={}", folder.path().display()));
        java.arg(&config).arg(command);
        Ok(Self { program: Program::start(&mut java)?, said: Vec::new(), _folder: folder })
    }

    /// Waits for a line with `word`.
    fn says(&mut self, word: &str) -> Result<()> {
        while !self.has_said(word) {
            let line = self.program.next_line()?;
            let line = line.with_context(|| {
                format!("it ended: {:?}\n{}", self.said, self.program.complaints())
            })?;
            self.said.push(line);
        }
        Ok(())
    }

    /// Takes what it has said.
    fn take(&mut self) {
        self.said.extend(self.program.lines_so_far().0);
    }

    fn has_said(&self, word: &str) -> bool {
        self.said.iter().any(|line| line.contains(word))
    }
}
