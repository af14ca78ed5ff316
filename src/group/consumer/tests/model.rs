//! Random groups against a model of their clients: whatever happens, no two clients that are in the group own a partition
//! at once, epochs only rise, the log says what the shard knows, and when all is quiet everything is shared out.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::world::{World, request};
use crate::group::rig::text;
use crate::model::ErrorCode;

const TOPICS: [&str; 3] = ["a", "b", "c"];
const CLIENTS: usize = 4;

/// A partition by the id of its topic: a topic that is deleted and made anew is another.
type Partition = (u128, i32);

/// What a client knows.
#[derive(Clone, Debug, Default)]
struct Client {
    /// Its incarnation; none while it does not run.
    id: Option<String>,
    epoch: i32,
    topics: BTreeSet<usize>,
    regex: bool,
    owned: BTreeSet<Partition>,
    /// What it was told to own, and has not taken up yet.
    told: Option<BTreeSet<Partition>>,
    /// Whether it took up something since it last said what it owns.
    has_taken_up: bool,
    /// Whether it says everything with its next heartbeat: then it waits for the answer, which brings everything anew,
    /// before it takes up anything.
    says_all: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Join(usize, BTreeSet<usize>, bool),
    Heartbeat(usize),
    LostAnswer(usize),
    TakeUp(usize),
    Subscribe(usize, BTreeSet<usize>),
    Leave(usize),
    Crash(usize),
    Create(usize, usize),
    Grow(usize),
    Delete(usize),
    Advance(u64),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..CLIENTS;
    let topics = || prop::collection::btree_set(0..TOPICS.len(), 0..=TOPICS.len());
    let step = prop_oneof![
        3 => (client.clone(), topics(), prop::bool::weighted(0.2))
            .prop_map(|(client, topics, regex)| Step::Join(client, topics, regex)),
        8 => client.clone().prop_map(Step::Heartbeat),
        2 => client.clone().prop_map(Step::LostAnswer),
        5 => client.clone().prop_map(Step::TakeUp),
        1 => (client.clone(), topics()).prop_map(|(client, topics)| Step::Subscribe(client, topics)),
        1 => client.clone().prop_map(Step::Leave),
        1 => client.prop_map(Step::Crash),
        1 => (0..TOPICS.len(), 1..5_usize).prop_map(|(topic, count)| Step::Create(topic, count)),
        1 => (0..TOPICS.len()).prop_map(Step::Grow),
        1 => (0..TOPICS.len()).prop_map(Step::Delete),
        2 => (0..20_000_u64).prop_map(Step::Advance),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..80)
}

struct Model {
    world: World,
    clients: Vec<Client>,
    incarnations: usize,
    group_epoch: i32,
    epochs: BTreeMap<String, i32>,
}

impl Model {
    fn new() -> Self {
        let world = World::new(&[("a", 3), ("b", 2)]);
        let clients = vec![Client::default(); CLIENTS];
        Self { world, clients, incarnations: 0, group_epoch: 0, epochs: BTreeMap::new() }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Join(client, topics, regex) => {
                if self.clients[*client].id.is_none() {
                    self.incarnations += 1;
                    self.clients[*client] = Client {
                        id: Some(format!("m{}", self.incarnations)),
                        topics: topics.clone(),
                        regex: *regex,
                        ..Client::default()
                    };
                    self.heartbeat(*client, false);
                }
            }
            Step::Heartbeat(client) => self.heartbeat(*client, false),
            Step::LostAnswer(client) => self.heartbeat(*client, true),
            Step::TakeUp(client) => self.take_up(*client),
            Step::Subscribe(client, topics) => {
                self.clients[*client].topics = topics.clone();
                self.clients[*client].says_all = true;
            }
            Step::Leave(client) => {
                if let Some(id) = self.clients[*client].id.take() {
                    self.clients[*client] = Client::default();
                    self.world.heartbeat(&id, -1, |_| {});
                }
            }
            Step::Crash(client) => self.clients[*client] = Client::default(),
            Step::Create(topic, count) => {
                if self.world.image.topic(TOPICS[*topic]).is_none() {
                    self.world.create(TOPICS[*topic], *count);
                }
            }
            Step::Grow(topic) => {
                if let Some(found) = self.world.image.topic(TOPICS[*topic]) {
                    let count = found.partitions.len() + 1;
                    self.world.grow(TOPICS[*topic], count);
                }
            }
            Step::Delete(topic) => {
                if self.world.image.topic(TOPICS[*topic]).is_some() {
                    self.world.delete(TOPICS[*topic]);
                }
            }
            Step::Advance(millis) => self.world.advance(*millis),
            Step::Restart => self.world.restart(),
        }
        self.world.advance(0);
    }

    fn heartbeat(&mut self, client: usize, answer_is_lost: bool) {
        let says_all = self.clients[client].epoch == 0 || self.clients[client].says_all;
        if says_all {
            self.clients[client].told = None;
        }
        let state = self.clients[client].clone();
        let Some(id) = &state.id else {
            return;
        };
        let mut request = request(id, state.epoch);
        if says_all {
            request.rebalance_timeout_ms = 60_000;
            let names: Vec<&str> = state.topics.iter().map(|it| TOPICS[*it]).collect();
            request.subscribed_topic_names = World::names(&names);
            request.subscribed_topic_regex = Some(text(if state.regex { "[bc]" } else { "" }));
        }
        // A real client that has just taken up or given up something says so.
        let mut owned: BTreeMap<u128, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &state.owned {
            owned.entry(*topic).or_default().push(*partition);
        }
        let wire = |(topic, partitions): (u128, Vec<i32>)| {
            let mut wire =
                crate::wire::messages::consumer_group_heartbeat_request::TopicPartitions::default();
            wire.topic_id = uuid::Uuid::from_u128(topic);
            wire.partitions = partitions;
            wire
        };
        if says_all || state.has_taken_up {
            request.topic_partitions = Some(owned.into_iter().map(wire).collect());
        }
        let ticket = self.world.rig.ask(crate::group::Command::ConsumerGroupHeartbeat {
            caller: crate::group::rig::caller(1),
            request,
        });
        let Some(crate::group::Reply::ConsumerGroupHeartbeat(answer)) =
            self.world.rig.answer(ticket)
        else {
            panic!("no answer");
        };
        let state = &mut self.clients[client];
        if answer_is_lost {
            state.says_all = true;
            return;
        }
        let error = ErrorCode::from_code(answer.error_code).unwrap();
        let rejoins =
            [ErrorCode::FencedMemberEpoch, ErrorCode::UnknownMemberId, ErrorCode::GroupIdNotFound];
        if rejoins.contains(&error) {
            // It gives up all it owns, and joins again.
            let (id, topics, regex) = (state.id.take(), state.topics.clone(), state.regex);
            *state = Client { id, topics, regex, ..Client::default() };
            return;
        }
        assert_eq!(error, ErrorCode::None, "{:?}", answer.error_message);
        assert!(answer.member_epoch >= state.epoch, "epochs only rise");
        state.epoch = answer.member_epoch;
        state.says_all = false;
        state.has_taken_up = false;
        if let Some(assignment) = answer.assignment {
            let topics = assignment.topic_partitions.iter();
            let told =
                topics.flat_map(|it| it.partitions.iter().map(|p| (it.topic_id.as_u128(), *p)));
            state.told = Some(told.collect());
        }
    }

    fn take_up(&mut self, client: usize) {
        let state = &mut self.clients[client];
        if let Some(told) = state.told.take() {
            state.owned = told;
            state.has_taken_up = true;
        }
    }

    fn check(&mut self) {
        let described = self.world.describe();
        if described.error_code != 0 {
            return;
        }
        assert!(described.group_epoch >= self.group_epoch, "the epoch of the group only rises");
        self.group_epoch = described.group_epoch;
        let mut all = BTreeMap::new();
        for member in &described.members {
            let known = self.epochs.insert(member.member_id.to_string(), member.member_epoch);
            assert!(known.is_none_or(|known| known <= member.member_epoch), "epochs only rise");
            assert!(member.member_epoch <= described.group_epoch);
            for topic in &member.assignment.topic_partitions {
                for partition in &topic.partitions {
                    let taken =
                        all.insert((topic.topic_id.as_u128(), *partition), &member.member_id);
                    assert_eq!(taken, None, "two members own {}-{partition}", &*topic.topic_name);
                }
            }
        }
        // What a client owns that is in the group is its own there, too. (Deleted topics are not shown.)
        for client in self.clients.iter().filter(|client| client.epoch > 0) {
            let id = client.id.as_deref().unwrap();
            if !described.members.iter().any(|member| &*member.member_id == id) {
                continue;
            }
            for partition in &client.owned {
                let topic = crate::model::TopicId(uuid::Uuid::from_u128(partition.0));
                if self.world.image.topic_by_id(topic).is_some() {
                    assert_eq!(all.get(partition).map(|it| it.as_str()), Some(id), "{partition:?}");
                }
            }
        }
        assert!(self.world.replays_alike(), "the log says something else");
    }

    /// All clients do what they should, for a while.
    fn settle(&mut self) {
        for _ in 0..12 {
            self.world.advance(5_001);
            for client in 0..CLIENTS {
                self.heartbeat(client, false);
                self.world.advance(0);
                self.take_up(client);
            }
            self.check();
        }
    }

    fn check_settled(&mut self) {
        let running: Vec<_> = self.clients.iter().filter(|it| it.id.is_some()).cloned().collect();
        if running.is_empty() {
            return;
        }
        assert_eq!(self.world.state(), "Stable");
        let mut owned = BTreeSet::new();
        for client in &running {
            for partition in &client.owned {
                assert!(owned.insert(*partition), "{partition:?} twice");
            }
        }
        let subscribed = |index: usize| {
            running.iter().any(|it| it.topics.contains(&index) || (it.regex && index > 0))
        };
        let mut all = BTreeSet::new();
        let indexes = (0..TOPICS.len()).filter(|index| subscribed(*index));
        for topic in indexes.filter_map(|index| self.world.image.topic(TOPICS[index])) {
            let count = i32::try_from(topic.partitions.len()).unwrap();
            all.extend((0..count).map(|partition| (topic.id.0.as_u128(), partition)));
        }
        assert_eq!(owned, all);
    }
}

proptest! {
    #[test]
    fn groups_keep_their_promises(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
            model.check();
        }
        model.settle();
        model.check_settled();
    }
}
