//! Crashes: the broker is killed by signal 9 again and again under a producer that goes on until all is acknowledged.
//!
//! At the end every record is there once and in order. The producers are idempotent and never give up, so a repeated
//! batch must be recognised by a broker that has just lost its memory. `OTTLA_COMPAT_SEED` repeats the points of the
//! kills, counted in acknowledged records.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use ottla_compat_tests::client::At;
use ottla_compat_tests::java::java_class;
use ottla_compat_tests::librdkafka::{assign, consumer};
use ottla_compat_tests::program::Program;
use ottla_compat_tests::wait::PATIENCE;
use ottla_compat_tests::{ClientKind, Server, ServerKind, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use crate::create;

pub(crate) fn librdkafka(kind: ServerKind) -> Result<()> {
    crash(kind, librdkafka_stream)
}

pub(crate) fn java(kind: ServerKind) -> Result<()> {
    crash(kind, java_stream)
}

/// librdkafka's producer, which writes to a topic of [`PARTITIONS`] without end.
pub(crate) fn librdkafka_stream(bootstrap: &str, topic: &'static str) -> Result<Box<dyn Stream>> {
    Ok(Box::new(LibrdkafkaStream::start(bootstrap, topic)?))
}

/// The same with Apache Kafka's own.
pub(crate) fn java_stream(bootstrap: &str, topic: &'static str) -> Result<Box<dyn Stream>> {
    let mut command = java_class("CrashProducer")?;
    command.arg(bootstrap).arg(topic).arg(PARTITIONS.to_string());
    Ok(Box::new(Program::start(&mut command)?))
}

/// A producer of numbered records, the next to partition `number % PARTITIONS`.
pub(crate) trait Stream {
    /// How many records were acknowledged so far; an error if one failed.
    fn acked(&mut self) -> Result<u64>;

    /// Sends no more, waits until all is acknowledged, and tells how many there are.
    fn finish(&mut self) -> Result<u64>;
}

/// Starts a producer to a topic.
pub(crate) type Start = fn(&str, &'static str) -> Result<Box<dyn Stream>>;

fn crash(kind: ServerKind, start: Start) -> Result<()> {
    let seed = match std::env::var("OTTLA_COMPAT_SEED") {
        Ok(seed) => seed.parse().context("OTTLA_COMPAT_SEED")?,
        Err(_) => rand::rng().random(),
    };
    let mut rng = StdRng::seed_from_u64(seed);
    let mut server = Server::start(kind, &[])?;
    let mut admin = ClientKind::Librdkafka.connect(server.bootstrap())?;
    create(&mut admin, TOPIC, PARTITIONS, &[("segment.bytes", "1048576")])?;
    let mut stream = start(server.bootstrap(), TOPIC)?;
    let mut outcome = || -> Result<u64> {
        for _ in 0..kills(kind) {
            let target = stream.acked()? + rng.random_range(1..3000);
            wait_until("more records are acknowledged", || {
                Ok((stream.acked()? >= target).then_some(()))
            })?;
            server.kill()?;
            server.restart()?;
        }
        stream.finish()
    };
    let total = outcome().with_context(|| format!("OTTLA_COMPAT_SEED={seed}"))?;
    println!("crash: {} kills, {total} records, OTTLA_COMPAT_SEED={seed}", kills(kind));
    check(server.bootstrap(), TOPIC, total).with_context(|| format!("OTTLA_COMPAT_SEED={seed}"))
}

/// Apache Kafka takes seconds to start again, and is killed only to show that the test is fair.
fn kills(kind: ServerKind) -> usize {
    match kind {
        ServerKind::Ottla => 50,
        ServerKind::ApacheKafka => 5,
    }
}

/// Asserts that the partitions of a topic hold the numbers `0..total`, each once and in order.
pub(crate) fn check(bootstrap: &str, topic: &str, total: u64) -> Result<()> {
    let mut client = ClientKind::Librdkafka.connect(bootstrap)?;
    let ends = client.offsets(topic, PARTITIONS, At::Latest)?;
    ensure!(
        u64::try_from(ends.iter().sum::<i64>())? == total,
        "{total} records were acknowledged, the ends are {ends:?}"
    );
    let consumer = consumer(bootstrap, Duration::from_millis(500))?;
    assign(&consumer, topic, PARTITIONS)?;
    let mut next: Vec<u64> = (0..PARTITIONS.unsigned_abs().into()).collect();
    for _ in 0..total {
        let message = wait_until("the next record comes", || {
            consumer.poll(Duration::from_secs(1)).transpose().map_err(Into::into)
        })?;
        let next = &mut next[usize::try_from(message.partition())?];
        let number = number(message.payload().unwrap_or_default())?;
        ensure!(
            number == *next,
            "partition {} has {number} in place of {next}",
            message.partition()
        );
        *next += u64::from(PARTITIONS.unsigned_abs());
    }
    Ok(())
}

fn number(value: &[u8]) -> Result<u64> {
    Ok(std::str::from_utf8(value.get(..DIGITS).context("a short record")?)?.parse()?)
}

impl Stream for Program {
    fn acked(&mut self) -> Result<u64> {
        ask(self, "acked")
    }

    fn finish(&mut self) -> Result<u64> {
        ask(self, "finish")
    }
}

fn ask(program: &mut Program, line: &str) -> Result<u64> {
    program.send(line)?;
    let answer = program
        .next_line()?
        .with_context(|| format!("the producer ended: {}", program.complaints()))?;
    Ok(answer.parse()?)
}

/// The producer of librdkafka, fed by a thread.
struct LibrdkafkaStream {
    progress: Arc<Progress>,
    producer: ThreadedProducer<Acks>,
    feeder: Option<JoinHandle<Result<(), KafkaError>>>,
}

#[derive(Default)]
struct Progress {
    acked: AtomicU64,
    stop: AtomicBool,
    failure: Mutex<Option<String>>,
}

struct Acks(Arc<Progress>);

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.0.acked.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                self.0
                    .failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(error.to_string());
            }
        }
    }
}

impl LibrdkafkaStream {
    fn start(bootstrap: &str, topic: &'static str) -> Result<Self> {
        let progress = Arc::new(Progress::default());
        let producer: ThreadedProducer<Acks> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("reconnect.backoff.ms", "10")
            .set("reconnect.backoff.max.ms", "50")
            .set("retry.backoff.ms", "20")
            .set("socket.timeout.ms", "5000")
            .set("queue.buffering.max.messages", "5000")
            .create_with_context(Acks(Arc::clone(&progress)))?;
        let feeder = thread::spawn({
            let (producer, progress) = (producer.clone(), Arc::clone(&progress));
            move || feed(&producer, topic, &progress)
        });
        Ok(Self { progress, producer, feeder: Some(feeder) })
    }
}

/// Sends until told to stop.
fn feed(
    producer: &ThreadedProducer<Acks>,
    topic: &str,
    progress: &Progress,
) -> Result<(), KafkaError> {
    for number in 0.. {
        let value = format!("{number:0DIGITS$}{:0200}", 0);
        loop {
            if progress.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let record =
                BaseRecord::<(), _>::to(topic).partition(number % PARTITIONS).payload(&value);
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error),
            }
        }
    }
    Ok(())
}

impl Stream for LibrdkafkaStream {
    fn acked(&mut self) -> Result<u64> {
        match self.progress.failure.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(failure) => Err(anyhow!("a record failed: {failure}")),
            None => Ok(self.progress.acked.load(Ordering::Relaxed)),
        }
    }

    fn finish(&mut self) -> Result<u64> {
        self.progress.stop.store(true, Ordering::Relaxed);
        let feeder = self.feeder.take().context("finished twice")?;
        feeder.join().map_err(|_| anyhow!("the feeder panicked"))??;
        self.producer.flush(PATIENCE)?;
        self.acked()
    }
}

impl Drop for LibrdkafkaStream {
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::Relaxed);
    }
}

const TOPIC: &str = "crash";
pub(crate) const PARTITIONS: i32 = 2;
/// Of the number at the head of every value.
const DIGITS: usize = 12;
