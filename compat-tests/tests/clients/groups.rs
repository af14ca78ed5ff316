//! Consumer groups, as every library forms them: members come, leave, crash and are slow, the broker is killed, and
//! every record is read, none again that was committed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ottla_compat_tests::wait::PATIENCE;
use ottla_compat_tests::{ClientKind, Server, ServerKind, wait_until};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Message, TopicPartitionList};

use crate::group_history::{History, now};
use crate::group_member::{Event, Member, Membership, Style};
use crate::matrix::{self, Cell};
use crate::{create, matrix_trial};

/// A trial per style of every library, and one per style whose members can be slow.
pub(crate) fn trials() -> Vec<Trial> {
    // Java 2.1 was once seen to have a partition that another member had too, under load, against Ottla and against Apache
    // Kafka. Why is not known yet: the matrix runs it, not everybody who changes something.
    let is_chosen = |style: &&Style| {
        matrix::chosen().any(|kind| kind == style.library)
            && (style.library != ClientKind::Java21 || matrix::is_asked_for())
    };
    let mut trials = Vec::new();
    for style in STYLES.iter().filter(is_chosen) {
        let row = if style.protocol == "classic" { matrix::CLASSIC } else { matrix::CONSUMER };
        let cell = Cell::new(style.library, row);
        trials.push(matrix_trial(format!("groups::{}", style.name), cell, || {
            life(style, ServerKind::from_environment()?)
        }));
    }
    for style in STYLES.iter().filter(is_chosen).filter(|style| SLOW.contains(&style.name)) {
        let cell = Cell::new(style.library, matrix::SLOW);
        trials.push(matrix_trial(format!("groups::{}_slow", style.name), cell, || {
            slow(style, ServerKind::from_environment()?)
        }));
    }
    trials
}

/// One member, four, two: one of the others leaves and one is killed, together with the broker. Then all leave, and a new
/// one goes on where they were.
fn life(style: &Style, kind: ServerKind) -> Result<()> {
    let mut group = Group::new(style, kind, |_| 300_000)?;
    group.join("a")?;
    group.is_shared_by(&["a"])?;
    group.all_is_read()?;
    for name in ["b", "c", "d"] {
        group.join(name)?;
    }
    group.is_shared_by(&["a", "b", "c", "d"])?;
    group.all_is_read()?;
    if style.is_static {
        group.comes_back("c")?;
    }
    group.leave("b")?;
    group.crash("c")?;
    group.server.kill()?;
    group.server.restart()?;
    group.is_shared_by(&["a", "d"])?;
    group.all_is_read()?;

    let ends = group.stop_writing()?;
    group.is_committed(&ends)?;
    group.leave("a")?;
    group.leave("d")?;
    for _ in 0..5 * PARTITIONS {
        group.write()?;
    }
    let new_ends = group.stop_writing()?;
    group.join("e")?;
    group.is_committed(&new_ends)?;
    group.leave("e")?;
    for (partition, (old, new)) in (0..).zip(ends.iter().zip(&new_ends)) {
        ensure!(
            group.history.read(partition, Some("e")).into_iter().eq(*old..*new),
            "what was committed is read again:\n{}",
            group.history
        );
    }
    ensure!(group.has_read(&new_ends), "not all was read:\n{}", group.history);
    group.history.check()
}

/// A member that does not poll for too long is put out; what it then commits is refused, and it may come back.
fn slow(style: &Style, kind: ServerKind) -> Result<()> {
    let mut group = Group::new(style, kind, |session_ms| session_ms)?;
    group.join("a")?;
    group.join("b")?;
    group.is_shared_by(&["a", "b"])?;
    group.all_is_read()?;
    let failures = group.history.failures("a");
    group.order("a", "stall")?;
    group.history.put_out("a");
    group
        .wait("b has all partitions", |group| group.history.owned("b").len() == PARTITION_COUNT)?;
    group.order("a", "go")?;
    group.is_shared_by(&["a", "b"])?;
    ensure!(group.history.failures("a") > failures, "the slow member could commit");
    group.all_is_read()?;
    let ends = group.stop_writing()?;
    group.is_committed(&ends)?;
    group.leave("a")?;
    group.leave("b")?;
    group.history.check()
}

/// A group on a broker of its own, and a topic that grows while anything is waited for.
struct Group {
    server: Server,
    membership: Membership,
    members: Vec<Member>,
    history: History,
    producer: ThreadedProducer<Ends>,
    /// How many records were sent.
    written: i32,
    /// A consumer that is no member, to see what is committed.
    observer: BaseConsumer,
}

impl Group {
    /// `max_poll_ms` gives `max.poll.interval.ms` for a session timeout.
    fn new(style: &Style, kind: ServerKind, max_poll_ms: fn(u32) -> u32) -> Result<Self> {
        let session_ms = session_ms(style, kind);
        let session = format!("group.consumer.session.timeout.ms={session_ms}");
        let server = Server::start(
            kind,
            &[
                "offsets.topic.num.partitions=3",
                "group.initial.rebalance.delay.ms=0",
                "group.min.session.timeout.ms=1000",
                &session,
                "group.consumer.min.session.timeout.ms=1000",
                "group.consumer.heartbeat.interval.ms=300",
                "group.consumer.min.heartbeat.interval.ms=100",
                "group.consumer.assignment.interval.ms=0",
            ],
        )?;
        let mut admin = ClientKind::Librdkafka.connect(server.bootstrap())?;
        create(&mut admin, TOPIC, PARTITIONS, &[])?;
        let membership = Membership {
            style: *style,
            bootstrap: server.bootstrap().to_owned(),
            topic: TOPIC.to_owned(),
            group: GROUP.to_owned(),
            session_ms,
            max_poll_ms: max_poll_ms(session_ms),
        };
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", server.bootstrap()).set("reconnect.backoff.max.ms", "100");
        let producer = config
            .clone()
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string())
            .create_with_context(Ends::default())?;
        let observer = config.set("group.id", GROUP).create()?;
        let (members, history) = (Vec::new(), History::default());
        Ok(Self { server, membership, members, history, producer, written: 0, observer })
    }

    fn join(&mut self, name: &'static str) -> Result<()> {
        self.members.push(Member::start(name, &self.membership)?);
        Ok(())
    }

    fn order(&mut self, name: &str, line: &str) -> Result<()> {
        let member = self.members.iter_mut().find(|member| member.name == name);
        member.context("no such member")?.order(line)
    }

    fn leave(&mut self, name: &'static str) -> Result<()> {
        let events = self.take(name)?.leave()?;
        self.ended(name, events)
    }

    fn crash(&mut self, name: &'static str) -> Result<()> {
        let events = self.take(name)?.kill()?;
        self.ended(name, events)
    }

    fn take(&mut self, name: &str) -> Result<Member> {
        let index = self.members.iter().position(|member| member.name == name);
        Ok(self.members.remove(index.context("no such member")?))
    }

    fn ended(&mut self, name: &'static str, events: Vec<Event>) -> Result<()> {
        for event in events {
            self.history.add(name, event)?;
        }
        self.history.ended(name, now());
        Ok(())
    }

    /// A static member goes and is started again: it has what it had, and nobody else notices. With the classic protocol it
    /// is killed; KIP-848 gives the name of a member that has not left to no other until its session ends.
    fn comes_back(&mut self, name: &'static str) -> Result<()> {
        let owned = self.history.owned(name);
        let others: Vec<_> = self.members.iter().map(|m| m.name).filter(|n| *n != name).collect();
        let before: Vec<_> = others.iter().map(|other| self.history.tenures(other)).collect();
        match self.membership.style.protocol {
            "classic" => self.crash(name)?,
            _ => self.leave(name)?,
        }
        self.join(name)?;
        self.wait("the member is back", |group| group.history.owned(name) == owned)?;
        self.all_is_read()?;
        let after: Vec<_> = others.iter().map(|other| self.history.tenures(other)).collect();
        ensure!(before == after, "others were rebalanced:\n{}", self.history);
        Ok(())
    }

    /// Waits until the partitions are shared out evenly.
    fn is_shared_by(&mut self, names: &[&str]) -> Result<()> {
        let share = PARTITION_COUNT / names.len();
        self.wait(&format!("{names:?} have {share} each"), |group| {
            names.iter().all(|name| group.history.owned(name).len() == share)
        })
    }

    /// Waits until what is written by now is read.
    fn all_is_read(&mut self) -> Result<()> {
        let ends = self.producer.context().get();
        self.wait("all is read", |group| group.has_read(&ends))
    }

    /// Whether all is read below the offsets `ends`. Of kcat the last records are enough: it commits what it was handed, and
    /// when it ends it may not have printed that.
    fn has_read(&self, ends: &[i64]) -> bool {
        (0..).zip(ends).all(|(partition, end)| {
            let read = self.history.read(partition, None);
            match self.membership.style.library {
                ClientKind::Kcat => read.last().map_or(0, |last| last + 1) >= *end,
                _ => (0..*end).all(|offset| read.contains(&offset)),
            }
        })
    }

    fn write(&mut self) -> Result<()> {
        let partition = self.written % PARTITIONS;
        let record = BaseRecord::<(), _>::to(TOPIC).partition(partition).payload("a record");
        self.producer.send(record).map_err(|(error, _)| error)?;
        self.written += 1;
        Ok(())
    }

    /// Waits until all is written; gives the ends of the partitions.
    fn stop_writing(&mut self) -> Result<[i64; PARTITION_COUNT]> {
        self.producer.flush(PATIENCE)?;
        let ends = self.producer.context().get();
        ensure!(ends.iter().sum::<i64>() == i64::from(self.written), "a record was lost: {ends:?}");
        Ok(ends)
    }

    /// Waits, without writing, until the offsets `ends` are committed.
    fn is_committed(&mut self, ends: &[i64]) -> Result<()> {
        wait_until("all is committed", || {
            self.listen()?;
            self.observe()?;
            let committed = |partition| self.history.committed(partition);
            Ok((0..).zip(ends).all(|(p, end)| committed(p) == Some(*end)).then_some(()))
        })
        .with_context(|| self.state())
    }

    /// Waits, while records are written and commits are watched.
    fn wait(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<()> {
        let mut turn = 0;
        wait_until(what, || {
            self.write()?;
            if turn % 10 == 0 {
                self.observe()?;
            }
            turn += 1;
            self.listen()?;
            Ok(holds(self).then_some(()))
        })
        .with_context(|| self.state())
    }

    fn listen(&mut self) -> Result<()> {
        for member in &mut self.members {
            for event in member.events()? {
                self.history.add(member.name, event)?;
            }
        }
        Ok(())
    }

    fn observe(&mut self) -> Result<()> {
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(TOPIC, 0, PARTITIONS - 1);
        let asked_at = now();
        // An error is no answer: the broker may be loading its groups.
        let Ok(found) = self.observer.committed_offsets(partitions, Duration::from_secs(1)) else {
            return Ok(());
        };
        for element in found.elements() {
            if element.error().is_ok() {
                // -1001 if there is none.
                let offset = element.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(-1);
                self.history.saw(asked_at, element.partition(), offset)?;
            }
        }
        Ok(())
    }

    fn state(&self) -> String {
        format!("{}\n{}", self.history, self.server.log())
    }
}

/// Short, as the end of a dead member is waited for; but Apache Kafka must be able to start again, and the JVM of a static
/// member that was killed.
fn session_ms(style: &Style, kind: ServerKind) -> u32 {
    let starts_slowly = style.is_static && style.library == ClientKind::Java;
    match kind {
        ServerKind::ApacheKafka => 15_000,
        ServerKind::Ottla if starts_slowly => 10_000,
        ServerKind::Ottla => 5000,
    }
}

/// The end of each partition, as far as records were acknowledged.
#[derive(Default)]
struct Ends(Mutex<[i64; PARTITION_COUNT]>);

impl Ends {
    fn get(&self) -> [i64; PARTITION_COUNT] {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Ends {}

impl ProducerContext for Ends {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Ok(message) = result
            && let Ok(partition) = usize::try_from(message.partition())
        {
            let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            ends[partition] = ends[partition].max(message.offset() + 1);
        }
    }
}

const TOPIC: &str = "shared";
const GROUP: &str = "readers";
const PARTITIONS: i32 = PARTITION_COUNT as i32;
const PARTITION_COUNT: usize = 4;

const fn classic(name: &'static str, library: ClientKind, assignor: &'static str) -> Style {
    Style { name, library, protocol: "classic", assignor, is_static: false }
}

const fn consumer(name: &'static str, library: ClientKind, assignor: &'static str) -> Style {
    Style { name, library, protocol: "consumer", assignor, is_static: false }
}

const STYLES: &[Style] = &[
    classic("librdkafka_eager", ClientKind::Librdkafka, "range"),
    classic("librdkafka_cooperative", ClientKind::Librdkafka, "cooperative-sticky"),
    consumer("librdkafka_consumer", ClientKind::Librdkafka, "uniform"),
    Style {
        is_static: true,
        ..consumer("librdkafka_consumer_static", ClientKind::Librdkafka, "range")
    },
    classic("java_eager", ClientKind::Java, "range"),
    classic("java_cooperative", ClientKind::Java, "cooperative-sticky"),
    Style { is_static: true, ..classic("java_static", ClientKind::Java, "range") },
    consumer("java_consumer", ClientKind::Java, "uniform"),
    classic("java_2_1", ClientKind::Java21, "range"),
    // Not cooperative: before 3.5 its assignor may give a partition away in the rebalance that takes it from its owner
    // (KAFKA-14639).
    classic("java_2_8", ClientKind::Java28, "range"),
    classic("java_3_9", ClientKind::Java39, "cooperative-sticky"),
    classic("spring_kafka", ClientKind::SpringKafka, "range"),
    classic("kafka_python", ClientKind::KafkaPython, "range"),
    classic("confluent_kafka", ClientKind::ConfluentKafka, "roundrobin"),
    consumer("confluent_kafka_consumer", ClientKind::ConfluentKafka, "range"),
    classic("franz_go", ClientKind::FranzGo, "cooperative-sticky"),
    consumer("franz_go_consumer", ClientKind::FranzGo, "uniform"),
    classic("aiokafka", ClientKind::Aiokafka, "roundrobin"),
    classic("kcat", ClientKind::Kcat, "range"),
    classic("kafka_go", ClientKind::KafkaGo, "range"),
    classic("sarama", ClientKind::Sarama, "range"),
    classic("kafkajs", ClientKind::KafkaJs, "roundrobin"),
    classic("node_rdkafka", ClientKind::NodeRdkafka, "range"),
    consumer("node_rdkafka_consumer", ClientKind::NodeRdkafka, "uniform"),
    classic("kafka_javascript", ClientKind::KafkaJavascript, "cooperative-sticky"),
    consumer("kafka_javascript_consumer", ClientKind::KafkaJavascript, "range"),
    classic("krafka_eager", ClientKind::Krafka, "range"),
    classic("krafka_cooperative", ClientKind::Krafka, "cooperative-sticky"),
    consumer("krafka_consumer", ClientKind::Krafka, "uniform"),
];

/// Whether members of a library are run that speak `protocol`.
pub(crate) fn is_member(library: ClientKind, protocol: &str) -> bool {
    STYLES.iter().any(|style| style.library == library && style.protocol == protocol)
}

/// Whether members of a library can be slow.
pub(crate) fn can_be_slow(library: ClientKind) -> bool {
    STYLES.iter().any(|style| style.library == library && SLOW.contains(&style.name))
}

/// Styles whose members stop at the word `stall`.
const SLOW: &[&str] = &[
    "librdkafka_eager",
    "librdkafka_consumer",
    "java_eager",
    "java_consumer",
    "kafka_python",
    "krafka_eager",
    "krafka_consumer",
];
