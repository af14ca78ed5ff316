//! The runtime with a small state machine: texts by key, some of which expire.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::cluster::{Command as ClusterCommand, Event, NewTopic, Registration};
use crate::config::{self, Effective, Sources};
use crate::env::{Disk, Fault, FaultyDisk, MemoryDisk, OpenMode};
use crate::log::{DataDir, DataDirs};
use crate::model::{Instant, Offset, UuidText};
use crate::record::{BatchBuilder, ValidBatch};

const TOPIC: &str = "__registers";
const BROKER: BrokerId = BrokerId(1);
/// As the log of the partition is called on disk.
const LOG: &str = "data/__registers-0/00000000000000000000.log";

enum Command {
    /// Sets a text, for some time. Answered with what it was before.
    Set {
        key: &'static str,
        value: String,
        expires_in: Option<Duration>,
    },
    Get {
        key: &'static str,
    },
    /// Answered when the key has a value.
    Await {
        key: &'static str,
    },
    /// Answered with how many topics there are.
    CountTopics,
}

#[derive(Default)]
struct Registers {
    values: BTreeMap<String, String>,
    waiting: Vec<(&'static str, Ticket)>,
    expiry: Option<(Instant, &'static str)>,
    topics: usize,
    is_loaded: bool,
}

type Reply = Option<String>;

fn record(key: &str, value: Option<&str>) -> CoordinatorRecord {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    CoordinatorRecord { key: bytes(key), value: value.map(bytes) }
}

impl Shard for Registers {
    type Command = Command;
    type Reply = Reply;
    type Errand = ();

    fn handle(&mut self, now: Now, command: Command, ticket: Ticket, effects: &mut Effects<Reply>) {
        assert!(self.is_loaded, "asked before the log was read");
        match command {
            Command::Set { key, value, expires_in } => {
                effects.replies.push((ticket, self.values.get(key).cloned()));
                let woken = self.waiting.extract_if(.., |(awaited, _)| *awaited == key);
                effects.replies.extend(woken.map(|(_, ticket)| (ticket, Some(value.clone()))));
                effects.records.push(record(key, Some(&value)));
                self.expiry = expires_in.map(|duration| (now.instant.plus(duration), key));
            }
            Command::Get { key } => effects.replies.push((ticket, self.values.get(key).cloned())),
            Command::Await { key } => self.waiting.push((key, ticket)),
            Command::CountTopics => effects.replies.push((ticket, Some(self.topics.to_string()))),
        }
    }

    fn replay(&mut self, _: Offset, record: &CoordinatorRecord) -> Result<(), ReplayError> {
        let text = |bytes: &Bytes| {
            String::from_utf8(bytes.to_vec()).map_err(|_| ReplayError("not UTF-8".to_owned()))
        };
        let key = text(&record.key)?;
        match &record.value {
            Some(value) => self.values.insert(key, text(value)?),
            None => self.values.remove(&key),
        };
        Ok(())
    }

    fn loaded(&mut self, _: Now, _: &mut Effects<Reply>) {
        self.is_loaded = true;
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.expiry.map(|(deadline, _)| deadline)
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Reply>) {
        if let Some((_, key)) = self.expiry.take_if(|(deadline, _)| *deadline <= now.instant) {
            effects.records.push(record(key, None));
        }
    }

    fn image_changed(&mut self, _: Now, image: &Arc<ClusterImage>, _: &mut Effects<Reply>) {
        self.topics = image.topic_count();
    }
}

struct Rig {
    env: Env,
    disk: FaultyDisk,
    replicas: Arc<ReplicaManager>,
    coordinator: Coordinator<Registers>,
    image: ClusterImage,
    settings: Arc<Effective>,
    index: u64,
    /// How many shards were made.
    made: Arc<AtomicUsize>,
}

impl Rig {
    /// One partition, led by this broker.
    fn new() -> Self {
        let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
        let env = Env::with_disk(Arc::new(disk.clone()));
        let settings = Arc::new(Effective::new(config::load(Sources::default()).unwrap()));
        let data = DataDir::open(Arc::clone(&env.disk), Path::new("data"), BROKER, None, &env.rng);
        let replicas = Arc::new(ReplicaManager::new(
            env.clone(),
            BROKER,
            Arc::clone(&settings),
            DataDirs::one(data.unwrap()),
        ));
        let made = Arc::<AtomicUsize>::default();
        let coordinator = coordinator(&env, &replicas, &made);
        let image = ClusterImage::default();
        let mut rig = Self { env, disk, replicas, coordinator, image, settings, index: 0, made };
        let registration = Registration::new(BROKER, UuidText(Uuid::nil()));
        rig.command(ClusterCommand::RegisterBroker(registration));
        rig.create(TOPIC, 1);
        rig
    }

    fn command(&mut self, command: ClusterCommand) {
        self.index += 1;
        let (outcome, events) = self.image.apply(self.index, &command);
        outcome.unwrap();
        self.apply(&events);
    }

    fn create(&mut self, name: &str, id: u128) {
        let (name, id) = (TopicName::new(name).unwrap(), TopicId(Uuid::from_u128(id)));
        let (assignments, configs) = (vec![vec![BROKER]], BTreeMap::new());
        self.command(ClusterCommand::CreateTopic(NewTopic { name, id, assignments, configs }));
    }

    fn apply(&self, events: &[Event]) {
        let image = Arc::new(self.image.clone());
        self.replicas.apply(&image, &self.settings, events);
        self.coordinator.apply(&image);
    }

    /// Gives the partition other brokers than the commands can, as a cluster of many would.
    fn set_partition(&mut self, change: impl Fn(&mut serde_json::Value)) {
        let mut json: serde_json::Value = serde_json::from_slice(&self.image.to_json()).unwrap();
        let partition = &mut json["topics"][TOPIC]["partitions"][0];
        change(partition);
        partition["partitionEpoch"] = (partition["partitionEpoch"].as_i64().unwrap() + 1).into();
        self.image = ClusterImage::from_json(&serde_json::to_vec(&json).unwrap()).unwrap();
        let topic = self.image.topic(TOPIC).unwrap().id;
        let changed = TopicIdPartition { topic, partition: PartitionId(0) };
        self.apply(&[Event::PartitionsChanged(vec![changed])]);
    }

    fn ask(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Reply, CoordinatorError>> + use<> {
        self.coordinator.ask(PartitionId(0), command)
    }

    fn set(
        &self,
        key: &'static str,
        value: &str,
    ) -> impl Future<Output = Result<Reply, CoordinatorError>> + use<> {
        self.ask(Command::Set { key, value: value.to_owned(), expires_in: None })
    }

    /// Asks again as long as the state machine is being loaded.
    async fn get(&self, key: &'static str) -> Reply {
        loop {
            match self.ask(Command::Get { key }).await {
                Ok(reply) => return reply,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Another state machine takes over, from the log.
    fn reload(&mut self) {
        let gone = self.coordinator.partitions();
        assert_eq!(gone, [PartitionId(0)]);
        self.coordinator = coordinator(&self.env, &self.replicas, &self.made);
        self.apply(&[]);
    }

    fn partition(&self) -> Arc<crate::replica::Partition> {
        self.replicas.partition(TopicId(Uuid::from_u128(1)), PartitionId(0)).unwrap()
    }

    /// Appends a record behind the back of the state machine.
    fn append(&self, key: &[u8], value: &[u8]) {
        let now = self.env.clock.now();
        let batch = BatchBuilder::new().push(now, Some(key), Some(value)).build();
        self.partition().append(ValidBatch::trusted(&batch).unwrap(), true, now).unwrap();
    }

    async fn stop(self) {
        self.env.tasks.cancel();
        self.env.tasks.wait().await;
        assert!(!self.env.tasks.has_failed());
    }
}

fn coordinator(
    env: &Env,
    replicas: &Arc<ReplicaManager>,
    made: &Arc<AtomicUsize>,
) -> Coordinator<Registers> {
    let made = Arc::clone(made);
    let options = Options {
        topic: TopicName::new(TOPIC).unwrap(),
        compression: Compression::None,
        // Smaller than most batches: they are read one by one.
        load_bytes: 100,
        run: Box::new(|_, _, ()| {}),
        make: Box::new(move |image: &Arc<ClusterImage>| {
            made.fetch_add(1, Ordering::Relaxed);
            Registers { topics: image.topic_count(), ..Registers::default() }
        }),
    };
    Coordinator::new(env.clone(), BROKER, Arc::clone(replicas), options)
}

fn some(text: &str) -> Reply {
    Some(text.to_owned())
}

/// Whether the future is not done after all that could be done was done.
async fn waits<F: Future + Unpin>(mut future: F) -> bool {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(&mut future).poll(&mut context).is_pending()
}

#[tokio::test]
async fn what_was_answered_is_there_after_loading_in_chunks() {
    let mut rig = Rig::new();
    for round in 0..50 {
        let before = (round > 0).then(|| format!("value {}", round - 1));
        assert_eq!(rig.set("a", &format!("value {round}")).await, Ok(before));
    }
    let long = "x".repeat(1000);
    rig.set("long", &long).await.unwrap();
    rig.reload();
    assert_eq!(rig.get("a").await, some("value 49"));
    assert_eq!(rig.get("long").await, Some(long));
    rig.stop().await;
}

#[tokio::test]
async fn commands_of_one_turn_see_each_other_and_share_a_batch() {
    let rig = Rig::new();
    let awaited = rig.ask(Command::Await { key: "a" });
    let first = rig.set("a", "1");
    let second = rig.set("a", "2");
    assert_eq!(
        (awaited.await, first.await, second.await),
        (Ok(some("1")), Ok(None), Ok(some("1")))
    );
    let ends = rig.partition().log().unwrap().ends();
    assert_eq!((ends.end, ends.high_watermark), (Offset(2), Offset(2)));
    rig.stop().await;
}

#[tokio::test]
async fn who_asks_is_answered_on_the_spot_unless_somebody_waits() {
    let rig = Rig::new();
    rig.set("a", "0").await.unwrap();
    let desk = Arc::clone(&rig.coordinator.owners.read()[&PartitionId(0)].desk);
    let busy = desk.lock();
    let first = rig.set("a", "1");
    drop(busy);
    let second = rig.set("a", "2");
    assert_eq!((second.await, first.await), (Ok(some("1")), Ok(some("0"))));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let third = pin!(rig.set("a", "3")).poll(&mut context);
    assert_eq!(third, std::task::Poll::Ready(Ok(some("2"))));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_of_one_asker_keep_their_order_whoever_else_asks() {
    const QUESTIONS: u32 = 300;
    let rig = Rig::new();
    rig.set("loaded", "").await.unwrap();
    let ask_all = |key| (0..QUESTIONS).map(|n| rig.set(key, &n.to_string())).collect::<Vec<_>>();
    let asked: Vec<_> = std::thread::scope(|scope| {
        let askers = ["a", "b", "c", "d"].map(|key| scope.spawn(move || ask_all(key)));
        askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect()
    });
    for (n, answer) in (0..QUESTIONS).cycle().zip(asked) {
        assert_eq!(answer.await, Ok(n.checked_sub(1).map(|before| before.to_string())));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_damaged_record_is_left_out_and_the_rest_is_loaded() {
    let mut rig = Rig::new();
    for key in ["a", "b", "c"] {
        rig.set(key, "value").await.unwrap();
    }
    rig.append(b"\xff", b"no text");
    rig.append(b"d", b"value");
    // The last byte of the second batch.
    let size = rig.partition().log().unwrap().size_bytes();
    let first = BatchBuilder::new().push(rig.env.clock.now(), Some(b"a"), Some(b"value")).build();
    let file = rig.disk.open(Path::new(LOG), OpenMode::Write).unwrap();
    file.write_at(2 * first.len() as u64 - 1, &[b"!"]).unwrap();
    assert_eq!(file.len().unwrap(), size);
    rig.reload();
    assert_eq!(rig.get("a").await, some("value"));
    assert_eq!(rig.get("b").await, None);
    for key in ["c", "d"] {
        assert_eq!(rig.get(key).await, some("value"));
    }
    rig.stop().await;
}

/// What was logged: the fields of each event.
#[derive(Clone, Default)]
struct Logged(Arc<parking_lot::Mutex<Vec<String>>>);

impl tracing::Subscriber for Logged {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn fmt::Debug| {
            fields += &format!("{field}={value:?} ");
        });
        self.0.lock().push(fields);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn damage_is_named_by_its_position() {
    let rig = Rig::new();
    rig.set("a", "value").await.unwrap();
    rig.append(b"\xff", b"no text");
    rig.append(b"b", b"value");
    rig.append(b"c", b"value");
    // The last byte of the last batch but one.
    let last = BatchBuilder::new().push(rig.env.clock.now(), Some(b"c"), Some(b"value")).build();
    let size = rig.partition().log().unwrap().size_bytes();
    let file = rig.disk.open(Path::new(LOG), OpenMode::Write).unwrap();
    file.write_at(size - last.len() as u64 - 1, &[b"!"]).unwrap();
    let (next, tally) = (Offset(0), load::Tally::default());
    let mut loading = load::Loading { shard: Registers::default(), next, tally };
    let logged = Logged::default();
    tracing::subscriber::with_default(logged.clone(), || {
        while !loading.read_chunk(&rig.partition(), 1_000).unwrap() {}
    });
    assert_eq!(loading.tally.skipped, 2);
    assert_eq!(loading.shard.values.into_keys().collect::<Vec<_>>(), ["a", "c"]);
    let logged = logged.0.lock().clone();
    let named: Vec<_> = logged.iter().filter(|line| line.contains("__registers-0")).collect();
    assert_eq!(named.len(), 2, "{logged:?}");
    assert!(named[0].contains("offset=1"), "{logged:?}");
    assert!(named[1].contains("offset=2"), "{logged:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_failed_append_is_forgotten_by_loading_again() {
    let rig = Rig::new();
    rig.set("a", "before").await.unwrap();
    let waiting = rig.ask(Command::Await { key: "b" });
    rig.disk.inject(Fault::NoSpaceAfter(0));
    assert_eq!(rig.set("a", "after").await, Err(CoordinatorError::NotCoordinator));
    assert_eq!(waiting.await, Err(CoordinatorError::NotCoordinator), "nobody waits for ever");
    rig.disk.clear();
    assert_eq!(rig.get("a").await, some("before"));
    assert_eq!(rig.set("a", "again").await, Ok(some("before")));
    assert_eq!(rig.made.load(Ordering::Relaxed), 2);
    rig.stop().await;
}

#[tokio::test]
async fn a_log_that_somebody_else_has_written_to_is_loaded_again() {
    let rig = Rig::new();
    rig.set("a", "1").await.unwrap();
    rig.append(b"a", b"theirs");
    assert_eq!(rig.set("b", "2").await, Err(CoordinatorError::NotCoordinator));
    assert_eq!(rig.get("a").await, some("theirs"));
    assert_eq!(rig.get("b").await, some("2"), "it is in the log, whatever was answered");
    rig.stop().await;
}

#[tokio::test]
async fn answers_wait_for_the_high_watermark() {
    let mut rig = Rig::new();
    rig.set("a", "1").await.unwrap();
    rig.set_partition(|partition| partition["isr"] = vec![1, 2].into());
    let mut set = pin!(rig.set("a", "2"));
    assert!(waits(set.as_mut()).await);
    // Who only reads has seen what is not committed yet.
    let mut get = Box::pin(rig.ask(Command::Get { key: "a" }));
    assert!(waits(&mut get).await);
    rig.set_partition(|partition| partition["isr"] = vec![1].into());
    assert_eq!(rig.set("b", "3").await, Ok(None));
    assert_eq!((set.await, get.await), (Ok(some("1")), Ok(some("2"))));
    rig.stop().await;
}

#[tokio::test]
async fn timers_go_by_the_clock_of_the_broker() {
    let mut rig = Rig::new();
    let (key, value, expires_in) = ("a", "1".to_owned(), Some(Duration::from_secs(3600)));
    rig.ask(Command::Set { key, value, expires_in }).await.unwrap();
    rig.env.clock.advance(Duration::from_secs(3599));
    assert_eq!(rig.get("a").await, some("1"));
    rig.env.clock.advance(Duration::from_secs(1));
    while rig.get("a").await.is_some() {
        tokio::task::yield_now().await;
    }
    rig.reload();
    assert_eq!(rig.get("a").await, None, "the tombstone was written");
    rig.stop().await;
}

#[tokio::test]
async fn who_loses_the_partition_answers_all_that_wait_and_begins_anew() {
    let mut rig = Rig::new();
    rig.set("a", "1").await.unwrap();
    let waiting = rig.ask(Command::Await { key: "b" });
    rig.set_partition(|partition| partition["leader"] = 2.into());
    assert_eq!(waiting.await, Err(CoordinatorError::NotCoordinator));
    assert_eq!(rig.set("a", "2").await, Err(CoordinatorError::NotCoordinator));
    rig.set_partition(|partition| {
        partition["leader"] = 1.into();
        partition["leaderEpoch"] = 5.into();
    });
    assert_eq!(rig.get("a").await, some("1"));
    assert_eq!(rig.made.load(Ordering::Relaxed), 2);
    // The same leader in a new epoch is a new owner, too.
    let mut waiting = Box::pin(rig.ask(Command::Await { key: "b" }));
    assert!(waits(&mut waiting).await);
    rig.set_partition(|partition| partition["leaderEpoch"] = 6.into());
    assert_eq!(waiting.await, Err(CoordinatorError::NotCoordinator));
    assert_eq!(rig.get("a").await, some("1"));
    assert_eq!(rig.made.load(Ordering::Relaxed), 3);
    rig.stop().await;
}

#[tokio::test]
async fn a_topic_that_was_deleted_has_no_coordinator() {
    let mut rig = Rig::new();
    rig.set("a", "1").await.unwrap();
    let waiting = rig.ask(Command::Await { key: "b" });
    rig.command(ClusterCommand::DeleteTopic { topic: TopicId(Uuid::from_u128(1)) });
    assert_eq!(waiting.await, Err(CoordinatorError::NotCoordinator));
    assert_eq!(rig.set("a", "2").await, Err(CoordinatorError::NotCoordinator));
    assert!(rig.coordinator.partitions().is_empty());
    rig.create(TOPIC, 2);
    assert_eq!(rig.get("a").await, None);
    rig.stop().await;
}

#[tokio::test]
async fn images_reach_the_state_machine() {
    let mut rig = Rig::new();
    assert_eq!(rig.ask(Command::CountTopics).await, Ok(some("1")));
    rig.create("another", 7);
    while rig.ask(Command::CountTopics).await != Ok(some("2")) {
        tokio::task::yield_now().await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_end_answers_all_that_wait() {
    let rig = Rig::new();
    rig.set("a", "1").await.unwrap();
    let waiting = rig.ask(Command::Await { key: "b" });
    rig.env.tasks.cancel();
    assert_eq!(waiting.await, Err(CoordinatorError::NotAvailable));
    rig.stop().await;
}
