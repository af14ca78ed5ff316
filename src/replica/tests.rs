//! Three brokers with one partition, driven step by step without a network: whatever happens to them, logs agree below their
//! high watermarks, and nothing is lost that was acknowledged by all in sync.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest};
use uuid::Uuid;

use super::followed::{Followed, LeaderAnswer, Question};
use super::*;
use crate::cluster::{
    Applied, ClusterImage, Command, Event, NewTopic, PartitionImage, Registration,
};
use crate::config::{self, Effective, Sources};
use crate::env::{Disk, Env, MemoryDisk, Residency, Rng};
use crate::log::{DataDirs, DataPaths, KeptKinds, ReadLimit};
use crate::model::{BrokerId, PartitionId, TopicId, TopicName, UnixMillis, UuidText};
use crate::record::{BatchBuilder, ValidBatch, scan};

const TOPIC: TopicId = TopicId(Uuid::from_u128(1));
const NOW: UnixMillis = UnixMillis(1_000);
const COUNT: i32 = 3;

/// One broker.
struct Node {
    disk: MemoryDisk,
    manager: Arc<ReplicaManager>,
    /// What it was not told yet.
    news: VecDeque<(Arc<ClusterImage>, Vec<Event>)>,
}

/// An append that waits for all in sync.
#[derive(Clone, Debug)]
struct Waiting {
    leader: i32,
    epoch: LeaderEpoch,
    end: Offset,
    record: (Offset, u32),
}

struct World {
    image: ClusterImage,
    index: u64,
    nodes: BTreeMap<i32, Node>,
    /// The disks of those that are down.
    down: BTreeMap<i32, MemoryDisk>,
    settings: Arc<Effective>,
    waiting: Vec<Waiting>,
    acknowledged: BTreeMap<Offset, u32>,
    appends: u32,
}

#[derive(Clone, Debug)]
enum Step {
    Append(i32),
    Fetch(i32),
    /// The leader's wish for other replicas in sync comes to the controller.
    Alter(i32),
    Tell(i32),
    Flush(i32),
    Kill(i32),
    Cut(i32, u64),
    Start(i32),
    Elect,
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 1..=COUNT;
    prop_oneof![
        6 => node().prop_map(Step::Append),
        9 => node().prop_map(Step::Fetch),
        4 => node().prop_map(Step::Alter),
        6 => node().prop_map(Step::Tell),
        1 => node().prop_map(Step::Flush),
        2 => node().prop_map(Step::Kill),
        1 => (node(), any::<u64>()).prop_map(|(node, seed)| Step::Cut(node, seed)),
        4 => node().prop_map(Step::Start),
        2 => proptest::strategy::Just(Step::Elect),
    ]
}

impl World {
    async fn new() -> Self {
        let settings = Arc::new(Effective::new(config::load(Sources::default()).unwrap()));
        let mut world = Self {
            image: ClusterImage::default(),
            index: 0,
            nodes: BTreeMap::new(),
            down: BTreeMap::new(),
            settings,
            waiting: Vec::new(),
            acknowledged: BTreeMap::new(),
            appends: 0,
        };
        for id in 1..=COUNT {
            let disk = MemoryDisk::with_power_model();
            world.down.insert(id, disk);
            world.start(id).await;
        }
        let topic = NewTopic {
            name: TopicName::new("t").unwrap(),
            id: TOPIC,
            assignments: vec![(1..=COUNT).map(BrokerId).collect()],
            configs: BTreeMap::from([("min.insync.replicas".to_owned(), "2".to_owned())]),
        };
        world.command(&Command::CreateTopic(topic)).unwrap();
        world.tell_all();
        // That the directory of a new partition is there is not at stake here.
        world.nodes.values().for_each(|node| node.disk.sync_all());
        world
    }

    fn command(&mut self, command: &Command) -> crate::cluster::Outcome {
        self.index += 1;
        let (outcome, events) = self.image.apply(self.index, command);
        let image = Arc::new(self.image.clone());
        for node in self.nodes.values_mut() {
            node.news.push_back((Arc::clone(&image), events.clone()));
        }
        outcome
    }

    fn tell(&mut self, id: i32) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if let Some((image, events)) = node.news.pop_front() {
            node.manager.apply(&image, &self.settings, &events);
        }
    }

    fn tell_all(&mut self) {
        for id in 1..=COUNT {
            while self.nodes.get(&id).is_some_and(|node| !node.news.is_empty()) {
                self.tell(id);
            }
        }
    }

    /// Opens the logs of a node, which does not take part yet.
    async fn open(&self, id: i32, disk: &MemoryDisk) -> Arc<ReplicaManager> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let env = Env::with_disk(Arc::clone(&shared));
        let paths = DataPaths { logs: vec!["a".into()], metadata: None };
        let rng = Rng::from_seed(7);
        let dirs = DataDirs::open(&shared, &paths, BrokerId(id), Some("c"), &rng).unwrap();
        let manager =
            Arc::new(ReplicaManager::new(env, BrokerId(id), Arc::clone(&self.settings), dirs));
        manager.open_all(&self.image).await.unwrap();
        manager
    }

    async fn start(&mut self, id: i32) {
        let Some(disk) = self.down.remove(&id) else { return };
        let manager = self.open(id, &disk).await;
        // R17: it cannot prove that it has lost nothing.
        let incarnation = UuidText(Uuid::from_u128(u128::from(self.index) + 1));
        let registration =
            Registration { fenced: true, ..Registration::new(BrokerId(id), incarnation) };
        let image = Arc::new(self.image.clone());
        manager.apply(&image, &self.settings, &[]);
        self.nodes.insert(id, Node { disk, manager, news: VecDeque::new() });
        let outcome = self.command(&Command::RegisterBroker(registration));
        let Ok(Applied::BrokerEpoch(epoch)) = outcome else { panic!("{outcome:?}") };
        let node = self.nodes.get_mut(&id).unwrap();
        node.manager.set_broker_epoch(epoch);
        while !self.nodes.get(&id).unwrap().news.is_empty() {
            self.tell(id);
        }
        if let Some(partition) = self.partition(id) {
            partition.begin().unwrap();
        }
        let unfence = Command::UnfenceBroker { broker: BrokerId(id), broker_epoch: epoch };
        self.command(&unfence).unwrap();
    }

    fn kill(&mut self, id: i32, power: Option<u64>) {
        // More than one at a time could take the only disk with what was acknowledged.
        let in_sync = self.state().map(|state| state.isr).unwrap_or_default();
        let others_live = in_sync.iter().any(|it| it.0 != id && self.nodes.contains_key(&it.0));
        if power.is_some() && !others_live {
            return;
        }
        let Some(node) = self.nodes.remove(&id) else { return };
        node.manager.env.tasks.cancel();
        let disk = match power {
            Some(seed) => node.disk.power_cut(&Rng::from_seed(seed)),
            None => node.disk.process_end(),
        };
        self.down.insert(id, disk);
        self.waiting.retain(|waiting| waiting.leader != id);
        let epoch = self.image.broker(BrokerId(id)).unwrap().epoch;
        self.command(&Command::FenceBroker { broker: BrokerId(id), broker_epoch: epoch }).unwrap();
    }

    fn state(&self) -> Option<PartitionImage> {
        Some(self.image.topic_by_id(TOPIC)?.partition(PartitionId(0))?.clone())
    }

    fn partition(&self, id: i32) -> Option<Arc<Partition>> {
        self.nodes.get(&id)?.manager.partition(TOPIC, PartitionId(0))
    }

    fn append(&mut self, id: i32) {
        let Some(partition) = self.partition(id) else { return };
        self.appends += 1;
        let value = self.appends.to_string();
        let mut builder = BatchBuilder::new();
        (0..=self.appends % 3).for_each(|_| {
            builder.push(NOW, None, Some(value.as_bytes()));
        });
        let batch = ValidBatch::trusted(&builder.build()).unwrap();
        let crc = batch.header().crc;
        match partition.append(batch, true, NOW) {
            Ok(appended) => self.waiting.push(Waiting {
                leader: id,
                epoch: appended.leader_epoch,
                end: appended.last_offset.plus(1),
                record: (appended.base_offset, crc),
            }),
            Err(PartitionError::NotLeader | PartitionError::NotEnoughReplicas { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    /// What a follower asks for.
    fn fetch_from(&self, id: i32, question: &Question) -> FetchFrom {
        let broker_epoch = self.nodes[&id].manager.peers.broker_epoch();
        FetchFrom {
            offset: question.offset,
            current_leader_epoch: Some(question.leader_epoch),
            last_fetched_epoch: question.last_epoch,
            replica_start: question.log_start,
            max_bytes: 300,
            whole_first_batch: true,
            isolation: Isolation::Replica,
            reader: Reader::Replica { broker: BrokerId(id), broker_epoch },
        }
    }

    /// A follower asks whom it takes for the leader, and takes the answer. Gives whether anything came.
    fn fetch(&mut self, id: i32) -> bool {
        let Some(follower) = self.partition(id) else { return false };
        let Some((leader, _)) = follower.leader_to_follow() else { return false };
        let Some(question) = follower.question(leader) else { return false };
        let Some(leading) = self.partition(leader.0) else { return false };
        let from = self.fetch_from(id, &question);
        let answer = match leading.fetch(&from, Residency::Any) {
            Ok(fetched) => {
                let fetched = fetched.unwrap();
                match fetched.diverging {
                    Some(end) => LeaderAnswer::Diverging(end),
                    None => LeaderAnswer::Records {
                        records: fetched.records,
                        high_watermark: fetched.ends.high_watermark,
                        log_start: fetched.ends.log_start,
                    },
                }
            }
            Err(
                PartitionError::NotLeader
                | PartitionError::FencedLeaderEpoch { .. }
                | PartitionError::UnknownLeaderEpoch { .. },
            ) => return false,
            Err(error) => panic!("{error:?}"),
        };
        let manager = Arc::clone(&self.nodes[&id].manager);
        let keep = |to| manager.keep_cut(&follower, to);
        let followed = follower.follow(&question, &answer, keep, NOW).unwrap();
        assert!(!matches!(followed, Followed::Stale | Followed::Stuck), "{followed:?}");
        true
    }

    fn alter(&mut self, id: i32) {
        let Some(partition) = self.partition(id) else { return };
        if let Some(alteration) = partition.alteration() {
            let outcome = self.command(&alteration.command);
            partition.altered(&alteration, &outcome).unwrap();
        }
    }

    /// Sees which appends are acknowledged by now.
    fn settle(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            let Some(partition) = self.partition(waiting.leader) else { continue };
            match partition.wait_for(Mark::Committed, waiting.end, waiting.epoch) {
                Ok(None) => drop(self.acknowledged.insert(waiting.record.0, waiting.record.1)),
                Ok(Some(_)) => self.waiting.push(waiting),
                Err(_) => {}
            }
        }
    }

    /// The batches of a node: offset, epoch and checksum.
    fn batches(&self, id: i32) -> Vec<(Offset, LeaderEpoch, u32)> {
        let Some(log) = self.partition(id).map(|it| it.log().unwrap()) else { return Vec::new() };
        let (mut batches, mut from) = (Vec::new(), log.ends().log_start);
        while from < log.ends().end {
            let read = log.read(from, 10_000, true, ReadLimit::End, Residency::Any);
            for batch in scan(&read.unwrap().unwrap().records).map(Result::unwrap) {
                batch.header.check_crc(batch.bytes).unwrap();
                let header = batch.header;
                batches.push((header.base_offset, header.partition_leader_epoch, header.crc));
                from = header.next_offset();
            }
        }
        batches
    }

    fn high_watermark(&self, id: i32) -> Offset {
        let log = self.partition(id).and_then(|it| it.log().ok());
        log.map_or(Offset::ZERO, |log| log.ends().high_watermark)
    }

    /// R24, and that the leader has all that was acknowledged.
    fn check(&self) {
        let logs: BTreeMap<i32, _> = (1..=COUNT).map(|id| (id, self.batches(id))).collect();
        for (a, b) in [(1, 2), (1, 3), (2, 3)] {
            let below = self.high_watermark(a).min(self.high_watermark(b));
            let part = |id| logs[&id].iter().take_while(move |(base, ..)| *base < below);
            assert!(part(a).eq(part(b)), "{a} and {b} differ below {below}:\n{logs:#?}");
        }
        let Some(leader) = self.state().and_then(|state| state.leader) else { return };
        if self.nodes.contains_key(&leader.0) {
            let has =
                |base: Offset, crc| logs[&leader.0].iter().any(|it| (it.0, it.2) == (base, crc));
            for (base, crc) in &self.acknowledged {
                assert!(has(*base, *crc), "{leader} lacks the batch at {base}:\n{logs:#?}");
            }
        }
    }

    async fn run(&mut self, step: &Step) {
        match *step {
            Step::Append(id) => self.append(id),
            Step::Fetch(id) => _ = self.fetch(id),
            Step::Alter(id) => self.alter(id),
            Step::Tell(id) => self.tell(id),
            Step::Flush(id) => {
                if let Some(partition) = self.partition(id) {
                    partition.log().unwrap().flush(true).unwrap();
                    self.nodes[&id].manager.checkpoint(KeptKinds::All).unwrap();
                }
            }
            Step::Kill(id) => self.kill(id, None),
            Step::Cut(id, seed) => self.kill(id, Some(seed)),
            Step::Start(id) => self.start(id).await,
            Step::Elect => {
                let (topic, partition) = (TOPIC, PartitionId(0));
                // It may not be needed, or not possible.
                let elect = Command::ElectLeaders { topic, partition, unclean: false };
                self.command(&elect).ok();
            }
        }
        self.settle();
        self.check();
    }

    /// All come back, and come to have the same.
    async fn heal(&mut self) {
        for id in 1..=COUNT {
            self.start(id).await;
        }
        for _ in 0..100 {
            self.tell_all();
            for id in 1..=COUNT {
                self.fetch(id);
                self.alter(id);
            }
            self.settle();
            self.check();
        }
        let state = self.state().unwrap();
        let Some(leader) = state.leader else {
            panic!("nobody leads: {state:?}");
        };
        assert_eq!(state.isr.len(), 3, "{state:?}");
        for id in 1..=COUNT {
            assert_eq!(self.batches(id), self.batches(leader.0), "{id} after {leader}");
            assert_eq!(self.high_watermark(id), self.high_watermark(leader.0), "{id}");
        }
        let ends = self.partition(leader.0).unwrap().log().unwrap().ends();
        assert_eq!(ends.high_watermark, ends.end);
        self.append(leader.0);
        for _ in 0..3 {
            (1..=COUNT).for_each(|id| _ = self.fetch(id));
        }
        self.settle();
        assert!(self.waiting.is_empty(), "{:?}", self.waiting);
    }
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]
    #[test]
    fn r24_logs_agree_and_nothing_acknowledged_is_lost(
        steps in proptest::collection::vec(step(), 1..250),
    ) {
        in_runtime(async {
            let mut world = World::new().await;
            for step in steps {
                world.run(&step).await;
            }
            world.heal().await;
        });
    }
}

#[test]
fn what_all_in_sync_have_is_acknowledged_and_then_known_to_followers() {
    in_runtime(async {
        let mut world = World::new().await;
        world.append(1);
        world.settle();
        assert_eq!(world.acknowledged.len(), 0, "nobody else has it");
        for id in [2, 3] {
            assert!(world.fetch(id), "it takes the records");
            assert!(world.fetch(id), "it says that it has them");
        }
        world.settle();
        assert_eq!(world.acknowledged.len(), 1);
        assert_eq!(world.high_watermark(3), world.high_watermark(1));
        assert_eq!(world.high_watermark(2), Offset(0), "R14: it is told with the next answer");
        world.fetch(2);
        assert_eq!(world.high_watermark(2), world.high_watermark(1));
    });
}

/// Clients wait for replicas in sync, which are not to wait for the bulk of those that catch up.
#[test]
fn replicas_that_catch_up_are_fetched_apart_from_those_in_sync() {
    in_runtime(async {
        let mut world = World::new().await;
        let in_sync = |world: &World| {
            let partition = world.partition(3).unwrap();
            world.nodes[&3].manager.place_of(&partition).unwrap().0.in_sync
        };
        world.tell_all();
        assert!(in_sync(&world));
        world.kill(3, None);
        world.append(1);
        world.start(3).await;
        world.tell_all();
        assert!(!in_sync(&world), "it was away");
        (0..2).for_each(|_| _ = world.fetch(3));
        world.alter(1);
        world.tell_all();
        assert!(in_sync(&world), "it has all");
    });
}

#[test]
fn r5_a_fetch_of_another_epoch_or_history_moves_nothing() {
    in_runtime(async {
        let mut world = World::new().await;
        world.append(1);
        let leader = world.partition(1).unwrap();
        let question = world.partition(2).unwrap().question(BrokerId(1)).unwrap();
        let end = leader.log().unwrap().ends().end;
        let mut from = world.fetch_from(2, &question);
        from.offset = end;
        let epoch = |by: i32| Some(LeaderEpoch(question.leader_epoch.0 + by));
        for (current, is_newer) in [(epoch(-1), false), (epoch(1), true)] {
            from.current_leader_epoch = current;
            let refused = leader.fetch(&from, Residency::Any).unwrap_err();
            assert_eq!(matches!(refused, PartitionError::UnknownLeaderEpoch { .. }), is_newer);
            assert_eq!(matches!(refused, PartitionError::FencedLeaderEpoch { .. }), !is_newer);
        }
        from.current_leader_epoch = epoch(0);
        from.last_fetched_epoch = epoch(0);
        from.offset = Offset(end.0 + 5);
        let fetched = leader.fetch(&from, Residency::Any).unwrap().unwrap();
        assert_eq!(fetched.diverging.map(|diverging| diverging.end), Some(end));
        // Had one of them counted, 2 would have all, and 3 alone would be waited for.
        world.fetch(3);
        world.fetch(3);
        assert_eq!(world.high_watermark(1), Offset(0));
        world.fetch(2);
        world.fetch(2);
        assert_eq!(world.high_watermark(1), end);
    });
}

#[test]
fn r23_readers_of_a_follower_see_what_it_knows_to_be_committed() {
    in_runtime(async {
        let mut world = World::new().await;
        world.append(1);
        let end = world.partition(1).unwrap().log().unwrap().ends().end;
        let follower = world.partition(2).unwrap();
        let seen = |world: &World| {
            let question = follower.question(BrokerId(1)).unwrap();
            let from = FetchFrom {
                offset: Offset(0),
                last_fetched_epoch: None,
                isolation: Isolation::ReadUncommitted,
                reader: Reader::ConsumerOfAnyReplica,
                ..world.fetch_from(2, &question)
            };
            let fetched = follower.fetch(&from, Residency::Any).unwrap().unwrap();
            (fetched.records.len(), fetched.ends.high_watermark)
        };
        for follower in [2, 3, 2, 3] {
            assert_eq!(seen(&world), (0, Offset(0)));
            world.fetch(follower);
        }
        assert_eq!(world.high_watermark(1), end);
        assert_eq!(follower.log().unwrap().ends().end, end, "it has it");
        world.fetch(2);
        assert_eq!(seen(&world).1, end);
        assert!(seen(&world).0 > 0);
    });
}

#[test]
fn r7_offsets_of_a_new_leader_are_not_known_before_it_knows_what_is_committed() {
    in_runtime(async {
        let mut world = World::new().await;
        world.append(1);
        world.fetch(2);
        world.fetch(3);
        world.kill(1, None);
        world.tell_all();
        let leader = world.partition(2).unwrap();
        let latest = |leader: &Partition| {
            leader.offset_for(OffsetQuestion::Latest, Isolation::ReadUncommitted, None)
        };
        assert!(matches!(latest(&leader), Err(PartitionError::OffsetNotAvailable)));
        world.fetch(3);
        world.fetch(3);
        assert_eq!(latest(&leader).unwrap().offset, leader.log().unwrap().ends().end);
    });
}

#[test]
fn r9_appends_are_refused_and_answered_by_the_replicas_in_sync() {
    in_runtime(async {
        let mut world = World::new().await;
        world.append(1);
        assert_eq!(world.waiting.len(), 1);
        let leader = world.partition(1).unwrap();
        world.kill(2, None);
        world.kill(3, None);
        world.tell_all();
        let state = world.state().unwrap();
        assert_eq!(state.isr, [BrokerId(1)], "{state:?}");
        let batch = BatchBuilder::new().push(NOW, None, Some(b"v")).build();
        let refused = leader.append(ValidBatch::trusted(&batch).unwrap(), true, NOW).unwrap_err();
        assert!(matches!(refused, PartitionError::NotEnoughReplicas { in_sync: 1, required: 2 }));
        world.settle();
        assert_eq!((world.waiting.len(), world.acknowledged.len()), (1, 0), "R8: it waits");
        leader.append(ValidBatch::trusted(&batch).unwrap(), false, NOW).unwrap();
        assert_eq!(world.high_watermark(1), Offset(0), "R8: also what asks for less");
    });
}

#[test]
fn r9_a_leader_that_is_none_any_more_acknowledges_nothing() {
    in_runtime(async {
        let mut world = World::new().await;
        world.append(1);
        let waiting = world.waiting[0].clone();
        let old = world.partition(1).unwrap();
        let epoch = world.image.broker(BrokerId(1)).unwrap().epoch;
        world
            .command(&Command::BeginShutdown { broker: BrokerId(1), broker_epoch: epoch })
            .unwrap();
        world.tell_all();
        let waited = old.wait_for(Mark::Committed, waiting.end, waiting.epoch);
        assert!(matches!(waited, Err(PartitionError::NotLeader)), "{waited:?}");
    });
}

#[test]
fn r17_nobody_leads_by_what_was_said_before_it_has_registered() {
    in_runtime(async {
        let mut world = World::new().await;
        world.append(1);
        world.settle();
        world.kill(2, Some(1));
        let disk = world.down[&2].clone();
        let partition = world.open(2, &disk).await.partition(TOPIC, PartitionId(0)).unwrap();
        let epochs = |partition: &Partition| partition.log().unwrap().latest_epoch();
        let before = epochs(&partition);
        let mut state = world.state().unwrap();
        state.leader = Some(BrokerId(2));
        state.leader_epoch = LeaderEpoch(state.leader_epoch.0 + 1);
        state.partition_epoch += 1;
        partition.set_state(&state).unwrap();
        assert_eq!(epochs(&partition), before);
        partition.begin().unwrap();
        assert_eq!(epochs(&partition), Some(state.leader_epoch));
    });
}

#[test]
fn r16_whoever_is_out_of_session_is_no_leader() {
    in_runtime(async {
        let mut world = World::new().await;
        world.append(1);
        let session = |world: &World, node: i32, seconds: Option<u64>| {
            let manager = &world.nodes[&node].manager;
            let end = |seconds| manager.env.steady.now().plus(Duration::from_secs(seconds));
            manager.set_session_end(seconds.map(end));
        };
        session(&world, 1, None);
        let batch = BatchBuilder::new().push(NOW, None, Some(b"v")).build();
        let leader = world.partition(1).unwrap();
        let refused = leader.append(ValidBatch::trusted(&batch).unwrap(), false, NOW).unwrap_err();
        assert!(matches!(refused, PartitionError::NotLeader));
        assert!(!world.fetch(2));
        session(&world, 1, Some(60));
        session(&world, 2, None);
        assert!(world.fetch(2), "it goes on following");
    });
}
