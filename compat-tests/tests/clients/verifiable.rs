//! Apache Kafka's VerifiableConsumer, five in one group, while members and the broker are killed by signal 9.
//!
//! What was read covers what was acknowledged to the VerifiableProducer; between two assignments a member reads each
//! partition record by record; no acknowledged commit is lost or goes back.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ottla_compat_tests::java::lasting_tool;
use ottla_compat_tests::{ClientKind, Server, ServerKind, wait_until};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::create;

const TOPIC: &str = "verified";
const GROUP: &str = "verifiers";
const PARTITIONS: i32 = 10;
const MEMBERS: usize = 5;
const PRODUCER_CLOSED: &str = "class java.lang.IllegalStateException";
/// How many records a member, or all after a crash of the broker, must get on.
const PROGRESS: usize = 200;

pub(crate) fn classic(kind: ServerKind) -> Result<()> {
    survive(kind, "classic", "heartbeat.interval.ms=300\nsession.timeout.ms=3000\n")
}

pub(crate) fn consumer(kind: ServerKind) -> Result<()> {
    survive(kind, "consumer", "")
}

fn survive(kind: ServerKind, protocol: &str, settings: &str) -> Result<()> {
    let mut server = Server::start(
        kind,
        &[
            "group.min.session.timeout.ms=1000",
            "group.consumer.min.session.timeout.ms=1000",
            "group.consumer.session.timeout.ms=3000",
            "group.consumer.min.heartbeat.interval.ms=100",
            "group.consumer.heartbeat.interval.ms=300",
        ],
    )?;
    create(&mut ClientKind::Librdkafka.connect(server.bootstrap())?, TOPIC, PARTITIONS, &[])?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut producer = start_producer(&server, &seen)?;
    let start = |member| start_member(&server, protocol, settings, member, &seen);
    let mut members: Vec<Tool> = (0..MEMBERS).map(start).collect::<Result<_>>()?;
    let mut observer = Observer::new(server.bootstrap(), Arc::clone(&seen))?;
    observer
        .until("all members read", |seen| (0..MEMBERS).all(|member| seen.read_by(member) > 0))?;
    for victim in [0, 3] {
        members[victim].kill()?;
        lock(&seen).counts.remove(&victim);
        members[victim] = start_member(&server, protocol, settings, victim, &seen)?;
        observer.until("the new member reads", |seen| seen.read_by(victim) > PROGRESS)?;

        server.kill()?;
        server.restart()?;
        let before = lock(&seen).read.len();
        observer.until("all go on after a crash of the broker", |seen| {
            seen.read.len() > before + PROGRESS
        })?;
    }
    producer.finish()?;
    let wanted = lock(&seen).ends();
    ensure!(wanted.len() == usize::try_from(PARTITIONS)?, "not written to all: {wanted:?}");
    observer.until("all is committed", |seen| seen.committed == wanted)?;
    for member in &mut members {
        ensure!(member.child.try_wait()?.is_none(), "a member has ended by itself");
    }
    let seen = lock(&seen);
    println!("verifiable: {protocol}, {} records, {} read", seen.acked.len(), seen.read.len());
    seen.check()
}

/// What the tools have told.
#[derive(Default)]
struct Seen {
    /// The value of each acknowledged record, by partition and offset.
    acked: BTreeMap<(i64, i64), String>,
    /// The value of each record that was read.
    read: BTreeMap<(i64, i64), String>,
    /// How many records each member has read since it was started.
    counts: HashMap<usize, usize>,
    /// The greatest offset that was acknowledged as committed, by partition.
    committed: BTreeMap<i64, i64>,
    faults: Vec<String>,
}

impl Seen {
    fn read_by(&self, member: usize) -> usize {
        self.counts.get(&member).copied().unwrap_or_default()
    }

    /// The offset after the last acknowledged record of each partition.
    fn ends(&self) -> BTreeMap<i64, i64> {
        self.acked.keys().map(|(partition, offset)| (*partition, offset + 1)).collect()
    }

    fn sent(&mut self, event: &Value) -> Result<()> {
        match name(event)? {
            "producer_send_success" => {
                self.acked.insert(place(event)?, value(event)?);
            }
            // The tool is at its end, and has closed its producer while it went on sending.
            "producer_send_error" if event["exception"] == PRODUCER_CLOSED => {}
            "producer_send_error" => self.faults.push(format!("not written: {event}")),
            _ => {}
        }
        Ok(())
    }

    /// An event of a member, which is to read on at `positions`.
    fn read(
        &mut self,
        member: usize,
        positions: &mut HashMap<i64, i64>,
        event: &Value,
    ) -> Result<()> {
        match name(event)? {
            "partitions_assigned" | "partitions_revoked" => {
                for partition in list(event, "partitions")? {
                    positions.remove(&number(partition, "partition")?);
                }
            }
            "record_data" => {
                let (partition, offset) = place(event)?;
                let expected = positions.insert(partition, offset + 1);
                if expected.is_some_and(|expected| expected != offset) {
                    self.faults.push(format!("member {member} was to read {expected:?}: {event}"));
                }
                *self.counts.entry(member).or_default() += 1;
                self.read.insert((partition, offset), value(event)?);
            }
            "offsets_committed" if event["success"] == true => {
                for committed in list(event, "offsets")? {
                    let (partition, offset) = place(committed)?;
                    let greatest = self.committed.entry(partition).or_default();
                    *greatest = offset.max(*greatest);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        ensure!(self.faults.is_empty(), "{} faults: {:#?}", self.faults.len(), self.faults.first());
        for (place, value) in &self.acked {
            ensure!(self.read.get(place) == Some(value), "{place:?} was acknowledged, not read");
        }
        let mut last: HashMap<i64, u64> = HashMap::new();
        for ((partition, offset), value) in &self.acked {
            let number: u64 = value.parse()?;
            let before = last.insert(*partition, number);
            ensure!(before < Some(number), "{partition}, {offset}: {number} after {before:?}");
        }
        Ok(())
    }
}

/// Asks for the committed offsets again and again.
struct Observer {
    consumer: BaseConsumer,
    seen: Arc<Mutex<Seen>>,
    last: BTreeMap<i64, i64>,
}

impl Observer {
    fn new(bootstrap: &str, seen: Arc<Mutex<Seen>>) -> Result<Self> {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", GROUP)
            .set("reconnect.backoff.ms", "10")
            .set("reconnect.backoff.max.ms", "50")
            .create()?;
        Ok(Self { consumer, seen, last: BTreeMap::new() })
    }

    /// Waits for a state, and looks at the commits meanwhile.
    fn until(&mut self, what: &str, mut is: impl FnMut(&Seen) -> bool) -> Result<()> {
        wait_until(what, || {
            self.look()?;
            let seen = lock(&self.seen);
            ensure!(seen.faults.is_empty(), "{:#?}", seen.faults.first());
            Ok(is(&seen).then_some(()))
        })
        .with_context(|| format!("read: {:?}", lock(&self.seen).counts))
    }

    fn look(&mut self) -> Result<()> {
        let acknowledged = lock(&self.seen).committed.clone();
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(TOPIC, 0, PARTITIONS - 1);
        // The coordinator may be away for a while.
        let Ok(found) = self.consumer.committed_offsets(asked, Duration::from_secs(1)) else {
            return Ok(());
        };
        for element in found.elements() {
            if element.error().is_err() {
                return Ok(());
            }
            let partition = element.partition().into();
            let offset = match element.offset() {
                Offset::Offset(offset) => offset,
                _ => 0,
            };
            let least = [&self.last, &acknowledged].map(|least| least.get(&partition).copied());
            if let Some(least) = least.into_iter().flatten().max()
                && offset < least
            {
                bail!("the committed offset of {partition} is {offset}, it was {least}");
            }
            self.last.insert(partition, offset);
        }
        Ok(())
    }
}

fn start_producer(server: &Server, seen: &Arc<Mutex<Seen>>) -> Result<Tool> {
    let seen = Arc::clone(seen);
    let settings = "retries=2147483647\nenable.idempotence=true\ndelivery.timeout.ms=2147483647\nlinger.ms=5\nbatch.size=500\n";
    let mut command = lasting_tool("VerifiableProducer");
    command.args(["--throughput", "1000"]);
    Tool::start(command, server, settings, move |event| lock(&seen).sent(event))
}

fn start_member(
    server: &Server,
    protocol: &str,
    settings: &str,
    member: usize,
    seen: &Arc<Mutex<Seen>>,
) -> Result<Tool> {
    let (seen, mut positions) = (Arc::clone(seen), HashMap::new());
    let mut command = lasting_tool("VerifiableConsumer");
    command.args(["--verbose", "--group-id", GROUP, "--group-protocol", protocol]);
    Tool::start(command, server, settings, move |event| {
        lock(&seen).read(member, &mut positions, event)
    })
}

/// A tool that tells what it does in JSON lines. Killed when dropped.
struct Tool {
    child: Child,
    reader: Option<thread::JoinHandle<Result<()>>>,
    /// Read by the tool when it starts.
    _settings: NamedTempFile,
}

impl Tool {
    fn start(
        mut command: Command,
        server: &Server,
        settings: &str,
        mut take: impl FnMut(&Value) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let mut file = NamedTempFile::new()?;
        write!(file, "reconnect.backoff.max.ms=50\nretry.backoff.max.ms=50\n{settings}")?;
        command.args(["--bootstrap-server", server.bootstrap(), "--topic", TOPIC]);
        command.arg("--command-config").arg(file.path());
        // Nothing logs in the tools; what they say goes to standard output.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let output = child.stdout.take().context("a child without pipes")?;
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let line = line?;
                // The last line of a tool that was killed may be torn.
                if let Ok(event) = serde_json::from_str(&line) {
                    take(&event).with_context(|| line)?;
                }
            }
            Ok(())
        });
        Ok(Self { child, reader: Some(reader), _settings: file })
    }

    /// Ends it by signal 9 and takes what it has told until then.
    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.join()
    }

    /// Lets it come to its end and takes what it tells until then.
    fn finish(&mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        wait_until("the tool has ended", || Ok(self.child.try_wait()?))?;
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        let reader = self.reader.take().context("ended twice")?;
        reader.join().unwrap_or_else(|_| bail!("the reader panicked"))
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(event: &Value) -> Result<&str> {
    event["name"].as_str().context("no name")
}

fn list<'a>(event: &'a Value, field: &str) -> Result<&'a Vec<Value>> {
    event[field].as_array().with_context(|| format!("no {field}"))
}

fn number(event: &Value, field: &str) -> Result<i64> {
    event[field].as_i64().with_context(|| format!("no {field}"))
}

/// Partition and offset.
fn place(event: &Value) -> Result<(i64, i64)> {
    Ok((number(event, "partition")?, number(event, "offset")?))
}

fn value(event: &Value) -> Result<String> {
    Ok(event["value"].as_str().context("no value")?.to_owned())
}
