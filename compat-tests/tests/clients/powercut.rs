//! Power cuts: the file system under a broker that works is shut down, mounted again, and the broker started on what is left.
//!
//! The file system is an ext4 in a file, mounted as a loop device. Its shutdown (`EXT4_IOC_SHUTDOWN`, as fstests use it) drops
//! whatever was not written out, without a chance for the journal: the next mount finds what a machine finds after its power
//! was cut, as far as a disk keeps the order that it is told to. That needs root and loop devices; elsewhere the trial is left
//! out, and says why.
//!
//! With `ottla.durability=fsync` every acknowledged record is there afterwards, once, at its offset. With `page-cache` there is a
//! beginning of what was written. Meanwhile segments are rolled, compacted and removed. `OTTLA_COMPAT_SEED` repeats the times.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use libtest_mimic::{Failed, Trial};
use ottla_compat_tests::client::At;
use ottla_compat_tests::librdkafka::{assign, consumer};
use ottla_compat_tests::{ClientKind, Server, ServerKind, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};

use crate::create;

const NAME: &str = "powercut::what_is_synced_survives";
const ROUNDS: usize = 6;
const IMAGE_BYTES: u64 = 512 << 20;

/// The trial; ignored where it cannot be run.
pub(crate) fn trial() -> Trial {
    let runs_ottla = ServerKind::from_environment().is_ok_and(|kind| kind == ServerKind::Ottla);
    let obstacle =
        if runs_ottla { obstacle().err() } else { Some(anyhow!("it is about Ottla alone")) };
    if let Some(obstacle) = &obstacle {
        eprintln!("{NAME} is left out: {obstacle:#}");
    }
    Trial::test(NAME, || run().map_err(|error| Failed::from(format!("{error:#}"))))
        .with_ignored_flag(obstacle.is_some())
}

/// Fails with the reason why there can be no power cuts here.
fn obstacle() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "only root may mount file systems");
    let mut volume = Volume::new(8 << 20)?;
    volume.mount()
}

/// What is asked of a topic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// All that was acknowledged is there.
    Kept,
    /// The same, from the first offset on.
    KeptFromStart,
    /// Of each key, the latest value that was acknowledged is there, or a later one.
    LatestKept,
    /// What is there is a beginning of what was written.
    Beginning,
}

/// Its name, what is asked of it, and its configs.
type Topic = (&'static str, Promise, &'static [(&'static str, &'static str)]);

const TOPICS: [Topic; 4] = [
    ("kept", Promise::Kept, &[("ottla.durability", "fsync")]),
    (
        "shortened",
        Promise::KeptFromStart,
        &[("ottla.durability", "fsync"), ("retention.bytes", "300000")],
    ),
    (
        "compacted",
        Promise::LatestKept,
        &[
            ("ottla.durability", "fsync"),
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
        ],
    ),
    ("cached", Promise::Beginning, &[("preallocate", "true")]),
];

const SETTINGS: [&str; 4] = [
    "log.initial.task.delay.ms=100",
    "log.retention.check.interval.ms=100",
    "log.cleaner.backoff.ms=100",
    "log.segment.delete.delay.ms=200",
];

fn run() -> Result<()> {
    let seed = match std::env::var("OTTLA_COMPAT_SEED") {
        Ok(seed) => seed.parse().context("OTTLA_COMPAT_SEED")?,
        Err(_) => rand::rng().random(),
    };
    rounds(seed).with_context(|| format!("OTTLA_COMPAT_SEED={seed}"))
}

fn rounds(seed: u64) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut volume = Volume::new(IMAGE_BYTES)?;
    volume.mount()?;
    let mut server = Server::start_on(ServerKind::Ottla, &volume.path().join("data"), &SETTINGS)?;
    let mut admin = ClientKind::Librdkafka.connect(server.bootstrap())?;
    for (topic, _, configs) in TOPICS {
        let configs = [configs, &[("internal.segment.bytes", "100000")]].concat();
        create(&mut admin, topic, 1, &configs)?;
    }
    let mut written = TOPICS.map(|_| Records::new());
    let mut next = 0;
    for round in 0..ROUNDS {
        let load = Load::start(server.bootstrap(), next)?;
        wait_until("records are acknowledged", || Ok(load.has_acked_all().then_some(())))?;
        thread::sleep(Duration::from_millis(rng.random_range(200..1_500)));
        volume.cut_power()?;
        server.kill_if_running()?;
        next = load.end(&mut written)?;
        volume.unmount()?;
        volume.mount()?;
        server.restart()?;
        for ((topic, promise, _), written) in TOPICS.iter().zip(&mut written) {
            let found = Found::of(&server, topic)?;
            println!(
                "round {round}: {topic}: {} acknowledged, offsets {} to {}, {} records",
                written.len(),
                found.start,
                found.end,
                found.records.len()
            );
            found.check(*promise, written).with_context(|| format!("{topic}, round {round}"))?;
            *written = found.records;
        }
    }
    server.stop()
}

/// Offsets and what is there: the number that begins the value.
type Records = BTreeMap<i64, u64>;

/// What a topic has after a power cut.
struct Found {
    start: i64,
    end: i64,
    records: Records,
}

impl Found {
    fn of(server: &Server, topic: &str) -> Result<Self> {
        let mut client = ClientKind::Librdkafka.connect(server.bootstrap())?;
        let start = *client.offsets(topic, 1, At::Earliest)?.first().context("no offset")?;
        let end = *client.offsets(topic, 1, At::Latest)?.first().context("no offset")?;
        let consumer = consumer(server.bootstrap(), Duration::from_millis(100))?;
        assign(&consumer, topic, 1)?;
        let mut records = Records::new();
        // Retention may remove what is still to be read, which then is not there any more.
        let mut last = start - 1;
        while last + 1 < end {
            let message = wait_until("the next record comes", || {
                consumer.poll(Duration::from_secs(1)).transpose().map_err(Into::into)
            })?;
            last = message.offset();
            records.insert(last, number(message.payload().unwrap_or_default())?);
        }
        Ok(Self { start: records.keys().next().copied().unwrap_or(start), end, records })
    }

    fn check(&self, promise: Promise, written: &Records) -> Result<()> {
        let numbers: BTreeSet<_> = self.records.values().collect();
        ensure!(numbers.len() == self.records.len(), "a record is there twice");
        for (offset, number) in &self.records {
            let known = written.get(offset);
            ensure!(
                known.is_none_or(|known| known == number),
                "{number} in place of {known:?} at {offset}"
            );
        }
        if promise != Promise::LatestKept {
            let expected = usize::try_from(self.end - self.start)?;
            ensure!(self.records.len() == expected, "there are gaps");
        }
        match promise {
            Promise::Kept | Promise::Beginning => {
                ensure!(self.start == 0, "it begins at {}", self.start)
            }
            Promise::KeptFromStart | Promise::LatestKept => {}
        }
        match promise {
            Promise::Kept | Promise::KeptFromStart => {
                let lost = written
                    .range(self.start..)
                    .find(|(offset, _)| !self.records.contains_key(*offset));
                ensure!(lost.is_none(), "{lost:?} was acknowledged and is lost");
            }
            Promise::LatestKept => {
                let (wanted, found) = (latest(written), latest(&self.records));
                for (key, number) in wanted {
                    let kept = found.get(&key);
                    ensure!(
                        kept.is_some_and(|kept| *kept >= number),
                        "{number} of key {key} is lost: {kept:?}"
                    );
                }
            }
            Promise::Beginning => {}
        }
        Ok(())
    }
}

/// The last number of each key.
fn latest(records: &Records) -> BTreeMap<u64, u64> {
    records.values().map(|number| (number % KEYS, *number)).collect()
}

/// Producers that write numbers to all topics, as fast as they are acknowledged.
struct Load {
    producer: ThreadedProducer<Acks>,
    acked: Arc<Acked>,
    feeder: JoinHandle<Result<u64, KafkaError>>,
}

#[derive(Default)]
struct Acked {
    stop: AtomicBool,
    records: Mutex<[Records; TOPICS.len()]>,
}

struct Acks(Arc<Acked>);

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        // What is not acknowledged is not promised.
        let Ok(message) = result else { return };
        let topic = TOPICS.iter().position(|(name, ..)| *name == message.topic());
        let number = message.payload().and_then(|value| number(value).ok());
        if let (Some(topic), Some(number)) = (topic, number) {
            let mut records = self.0.records.lock().unwrap_or_else(PoisonError::into_inner);
            records[topic].insert(message.offset(), number);
        }
    }
}

impl Load {
    /// Writes the numbers from `first` on.
    fn start(bootstrap: &str, first: u64) -> Result<Self> {
        let acked = Arc::new(Acked::default());
        let producer: ThreadedProducer<Acks> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "1")
            .set("batch.num.messages", "20")
            .set("queue.buffering.max.messages", "400")
            .create_with_context(Acks(Arc::clone(&acked)))?;
        let feeder = thread::spawn({
            let (producer, acked) = (producer.clone(), Arc::clone(&acked));
            move || feed(&producer, &acked, first)
        });
        Ok(Self { producer, acked, feeder })
    }

    fn has_acked_all(&self) -> bool {
        let records = self.acked.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().all(|records| records.len() > 100)
    }

    /// Adds what was acknowledged; gives the number to go on with.
    fn end(self, written: &mut [Records; TOPICS.len()]) -> Result<u64> {
        self.acked.stop.store(true, Ordering::Relaxed);
        let next = self.feeder.join().map_err(|_| anyhow!("the feeder panicked"))??;
        // Nothing that is still on its way may be written later.
        drop(self.producer);
        let records = self.acked.records.lock().unwrap_or_else(PoisonError::into_inner);
        for (written, acked) in written.iter_mut().zip(&*records) {
            written.extend(acked);
        }
        Ok(next)
    }
}

fn feed(producer: &ThreadedProducer<Acks>, acked: &Acked, first: u64) -> Result<u64, KafkaError> {
    for number in first.. {
        let (key, value) = ((number % KEYS).to_string(), format!("{number:0DIGITS$}{:0300}", 0));
        for (topic, ..) in TOPICS {
            loop {
                if acked.stop.load(Ordering::Relaxed) {
                    return Ok(number + 1);
                }
                match producer.send(BaseRecord::to(topic).partition(0).key(&key).payload(&value)) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                        thread::sleep(Duration::from_millis(1));
                    }
                    Err((error, _)) => return Err(error),
                }
            }
        }
    }
    Ok(first)
}

fn number(value: &[u8]) -> Result<u64> {
    Ok(std::str::from_utf8(value.get(..DIGITS).context("a short record")?)?.parse()?)
}

/// Of the number at the head of every value.
const DIGITS: usize = 12;
const KEYS: u64 = 50;

/// A file system in a file. Dropping it unmounts it.
struct Volume {
    dir: tempfile::TempDir,
    is_mounted: bool,
}

impl Volume {
    /// Makes a file system of that size.
    fn new(bytes: u64) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("ottla-volume-").tempdir()?;
        let volume = Self { dir, is_mounted: false };
        std::fs::File::create(volume.image())?.set_len(bytes)?;
        std::fs::create_dir(volume.path())?;
        succeed(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(volume.image()))?;
        Ok(volume)
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// Where it is mounted.
    fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    fn mount(&mut self) -> Result<()> {
        succeed(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.path()))?;
        self.is_mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<()> {
        // What had files open there has ended, but the kernel may still be at putting them away.
        wait_until("the file system is unmounted", || Ok(umount(&self.path()).ok()))?;
        self.is_mounted = false;
        Ok(())
    }

    /// Nothing more reaches the disk, not even the journal.
    fn cut_power(&self) -> Result<()> {
        let program = "import fcntl, os, struct, sys\n\
            fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        succeed(Command::new("python3").args(["-c", program]).arg(self.path()))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.is_mounted && umount(&self.path()).is_err() {
            // A broker of a test that has failed may still be there.
            succeed(Command::new("umount").arg("-l").arg(self.path())).ok();
        }
    }
}

fn umount(path: &Path) -> Result<()> {
    succeed(Command::new("umount").arg(path))
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", complaints.trim());
    Ok(())
}
