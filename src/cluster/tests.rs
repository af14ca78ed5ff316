//! Brokers and partitions as the commands make them: checks in their order, and invariants under any order of commands.

use std::collections::BTreeMap;

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;
use uuid::Uuid;

use super::features::{Direction, ELIGIBLE_LEADER_REPLICAS_VERSION, FeatureUpdate};
use super::{
    AlterPartition, Applied, ClusterImage, Command, ConfigResource, Event, IsrMember, NewTopic,
    Outcome, PartitionImage, Registration, ReplicaSet,
};
use crate::model::{
    BrokerId, ErrorCode, LeaderEpoch, PartitionId, TopicId, TopicIdPartition, TopicName, UuidText,
};

const TOPIC: TopicId = TopicId(Uuid::from_u128(7));
const P0: TopicIdPartition = TopicIdPartition { topic: TOPIC, partition: PartitionId(0) };

fn ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

/// A cluster whose log goes on.
#[derive(Clone)]
struct Rig {
    image: ClusterImage,
    index: u64,
    /// Where brokers that register have their data.
    directory: u128,
}

impl Rig {
    /// Brokers 1 to 3, unfenced, and a topic on all of them, led by 1. Two have to be in sync.
    fn new() -> Self {
        Self::with_brokers(&Self::empty(true), &[1, 2, 3])
    }

    /// No broker yet; replicas may be eligible or not.
    fn empty(has_eligible: bool) -> Self {
        let mut image = ClusterImage::default();
        let level = i16::from(has_eligible);
        let begin = Command::Bootstrap {
            cluster_id: "c".to_owned(),
            features: [(ELIGIBLE_LEADER_REPLICAS_VERSION.to_owned(), level)].into(),
            min_insync_replicas: Some(2),
        };
        image.apply(0, &begin).0.unwrap();
        Self { image, index: 0, directory: 1 }
    }

    /// These brokers, unfenced, and a topic on all of them.
    fn with_brokers(empty: &Self, brokers: &[i32]) -> Self {
        let mut rig = empty.clone();
        for broker in brokers {
            rig.register(*broker, None);
            rig.unfence(*broker);
        }
        rig.create(&[brokers]);
        rig
    }

    fn switch_eligible(&mut self, on: bool) {
        let direction = if on { Direction::Upgrade } else { Direction::SafeDowngrade };
        let update = FeatureUpdate { level: on.into(), direction };
        let updates = [(ELIGIBLE_LEADER_REPLICAS_VERSION.to_owned(), update)].into();
        self.done(&Command::UpdateFeatures { updates });
    }

    fn apply(&mut self, command: &Command) -> (Outcome, Vec<Event>) {
        self.index += 1;
        self.image.apply(self.index, command)
    }

    fn done(&mut self, command: &Command) -> Vec<Event> {
        let (outcome, events) = self.apply(command);
        outcome.unwrap();
        events
    }

    fn refused(&mut self, command: &Command) -> ErrorCode {
        let before = self.image.clone();
        let (outcome, events) = self.apply(command);
        assert!(self.image == before && events.is_empty());
        outcome.unwrap_err().code
    }

    fn register(&mut self, broker: i32, previous_epoch: Option<i64>) -> Vec<Event> {
        let incarnation = UuidText(Uuid::from_u128(self.index.into()));
        self.done(&Command::RegisterBroker(Registration {
            fenced: true,
            previous_epoch,
            directories: vec![UuidText(Uuid::from_u128(self.directory))],
            min_insync_replicas: 2,
            ..Registration::new(BrokerId(broker), incarnation)
        }))
    }

    fn epoch(&self, broker: i32) -> i64 {
        self.image.broker(BrokerId(broker)).unwrap().epoch
    }

    fn fence(&mut self, broker: i32) -> Vec<Event> {
        let broker_epoch = self.epoch(broker);
        self.done(&Command::FenceBroker { broker: BrokerId(broker), broker_epoch })
    }

    fn unfence(&mut self, broker: i32) -> Vec<Event> {
        let broker_epoch = self.epoch(broker);
        self.done(&Command::UnfenceBroker { broker: BrokerId(broker), broker_epoch })
    }

    fn fail(&mut self, broker: i32) -> Vec<Event> {
        let broker_epoch = self.epoch(broker);
        let replicas = ReplicaSet::from_iter([P0]);
        self.done(&Command::FailReplicas { broker: BrokerId(broker), broker_epoch, replicas })
    }

    fn create(&mut self, assignments: &[&[i32]]) {
        self.done(&Command::CreateTopic(NewTopic {
            name: TopicName::new("t").unwrap(),
            id: TOPIC,
            assignments: assignments.iter().map(|replicas| ids(replicas)).collect(),
            configs: BTreeMap::new(),
        }));
    }

    fn partition(&self) -> &PartitionImage {
        self.image.topic_by_id(TOPIC).unwrap().partition(P0.partition).unwrap()
    }

    /// What the leader would say.
    fn alteration(&self, isr: &[i32]) -> AlterPartition {
        let partition = self.partition();
        let leader = partition.leader.unwrap_or(BrokerId(1));
        AlterPartition {
            broker: leader,
            broker_epoch: self.epoch(leader.0),
            topic: TOPIC,
            partition: P0.partition,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            isr: isr
                .iter()
                .map(|id| IsrMember {
                    broker: BrokerId(*id),
                    broker_epoch: self.image.broker(BrokerId(*id)).map_or(-1, |known| known.epoch),
                })
                .collect(),
            recovering: false,
        }
    }

    fn alter(&mut self, isr: &[i32]) {
        let alter = Command::AlterPartition(self.alteration(isr));
        self.done(&alter);
    }

    fn set(&mut self, resource: ConfigResource, key: &str, value: &str) {
        let changes = [(key.to_owned(), Some(value.to_owned()))].into();
        self.done(&Command::AlterConfigs { resource, changes });
    }

    /// Leader, in-sync and eligible replicas.
    fn state(&self) -> (Option<i32>, Vec<i32>, Vec<i32>) {
        let numbers = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
        let partition = self.partition();
        (partition.leader.map(|id| id.0), numbers(&partition.isr), numbers(&partition.elr))
    }
}

#[test]
fn a_broker_that_is_fenced_leads_nothing_and_comes_back_into_nothing() {
    let mut rig = Rig::new();
    let events = rig.fence(1);
    assert_eq!(events, [Event::BrokersChanged, Event::PartitionsChanged(vec![P0])]);
    assert_eq!(rig.state(), (Some(2), vec![2, 3], vec![]));
    assert_eq!(rig.fence(1), []);
    assert_eq!(rig.unfence(1), [Event::BrokersChanged]);
    assert_eq!(rig.state(), (Some(2), vec![2, 3], vec![]));
    rig.alter(&[2, 3, 1]);
    let elect = Command::ElectLeaders { topic: TOPIC, partition: P0.partition, unclean: false };
    rig.done(&elect);
    assert_eq!(rig.state(), (Some(1), vec![2, 3, 1], vec![]));
    assert_eq!(rig.refused(&elect), ErrorCode::ElectionNotNeeded);
    rig.fence(1);
    assert_eq!(rig.refused(&elect), ErrorCode::PreferredLeaderNotAvailable);
    let stale = Command::FenceBroker { broker: BrokerId(1), broker_epoch: 0 };
    assert_eq!(rig.refused(&stale), ErrorCode::StaleBrokerEpoch);
}

#[test]
fn r20_a_replica_that_has_failed_leads_nothing_until_its_broker_registers_anew() {
    let mut rig = Rig::new();
    let before = rig.partition().clone();
    assert_eq!(rig.fail(1), [Event::PartitionsChanged(vec![P0])]);
    assert_eq!(rig.state(), (Some(2), vec![2, 3], vec![]));
    assert_eq!(rig.partition().offline, ids(&[1]));
    assert!(rig.partition().leader_epoch > before.leader_epoch);
    assert_eq!(rig.fail(1), [], "that is known");
    // It serves others, but is neither in sync here nor elected.
    let alter = Command::AlterPartition(rig.alteration(&[1, 2, 3]));
    assert_eq!(rig.refused(&alter), ErrorCode::IneligibleReplica);
    for (unclean, code) in
        [(false, ErrorCode::PreferredLeaderNotAvailable), (true, ErrorCode::ElectionNotNeeded)]
    {
        let elect = Command::ElectLeaders { topic: TOPIC, partition: P0.partition, unclean };
        assert_eq!(rig.refused(&elect), code);
    }
    rig.fence(1);
    rig.unfence(1);
    assert_eq!(rig.partition().offline, ids(&[1]));
    rig.register(1, None);
    assert_eq!(rig.partition().offline, ids(&[]));
    rig.unfence(1);
    rig.alter(&[1, 2, 3]);
}

#[test]
fn r20_the_last_replica_in_sync_is_waited_for_when_it_fails() {
    let mut rig = Rig::new();
    rig.fence(3);
    rig.fail(2);
    assert_eq!(rig.state(), (Some(1), vec![1], vec![2]));
    rig.fail(1);
    assert_eq!(rig.state(), (None, vec![], vec![1, 2]));
    rig.unfence(3);
    assert_eq!(rig.state(), (None, vec![], vec![1, 2]), "3 lacks records");
    // Nobody is chosen who has no log, even if records may be lost.
    rig.set(ConfigResource::AllBrokers, "unclean.leader.election.enable", "true");
    assert_eq!(rig.state().0, Some(3));
    let mut rig = Rig::new();
    (1..=3).for_each(|broker| drop(rig.fail(broker)));
    rig.set(ConfigResource::AllBrokers, "unclean.leader.election.enable", "true");
    assert_eq!(rig.state().0, None);
}

#[test]
fn r20_what_a_broker_says_at_its_start_has_failed_since() {
    let mut rig = Rig::new();
    let registration = |failed| Registration {
        fenced: true,
        min_insync_replicas: 2,
        failed,
        ..Registration::new(BrokerId(1), UuidText(Uuid::from_u128(99)))
    };
    rig.done(&Command::RegisterBroker(registration(ReplicaSet::from_iter([P0]))));
    rig.unfence(1);
    assert_eq!(rig.state(), (Some(2), vec![2, 3], vec![]));
    let alter = Command::AlterPartition(rig.alteration(&[1, 2, 3]));
    assert_eq!(rig.refused(&alter), ErrorCode::IneligibleReplica);
    let stale = Command::FailReplicas {
        broker: BrokerId(2),
        broker_epoch: 0,
        replicas: ReplicaSet::from_iter([P0]),
    };
    assert_eq!(rig.refused(&stale), ErrorCode::StaleBrokerEpoch);
    // A replica that goes elsewhere is forgotten.
    let reassign = Command::ReassignPartition {
        topic: TOPIC,
        partition: P0.partition,
        replicas: Some(ids(&[2, 3])),
        allow_replication_factor_change: true,
    };
    rig.done(&reassign);
    assert_eq!((&rig.partition().replicas, &rig.partition().offline), (&ids(&[2, 3]), &ids(&[])));
}

#[test]
fn who_was_eligible_leads_when_it_is_back() {
    let mut rig = Rig::new();
    for broker in [3, 2, 1] {
        rig.fence(broker);
    }
    assert_eq!(rig.state(), (None, vec![], vec![1, 2]));
    rig.unfence(3);
    assert_eq!(rig.state(), (None, vec![], vec![1, 2]), "3 left while enough were in sync");
    rig.unfence(2);
    assert_eq!(rig.state(), (Some(2), vec![2], vec![1]));
    assert!(!rig.partition().recovering);
}

#[test]
fn r17_without_the_proof_of_a_clean_stop_a_broker_is_not_eligible() {
    let crashed = |previous: fn(i64) -> Option<i64>| {
        let mut rig = Rig::new();
        rig.fence(3);
        rig.fence(2);
        assert_eq!(rig.state(), (Some(1), vec![1], vec![2]));
        rig.register(2, previous(rig.epoch(2)));
        rig
    };
    let mut clean = crashed(Some);
    assert_eq!(clean.state(), (Some(1), vec![1], vec![2]));
    clean.register(1, Some(clean.epoch(1)));
    assert_eq!(
        clean.state(),
        (None, vec![], vec![1, 2]),
        "a stop that was clean, though nobody was told"
    );
    for previous in [|_| None, |epoch| Some(epoch - 1)] {
        let mut unclean = crashed(previous);
        assert_eq!(unclean.state(), (Some(1), vec![1], vec![]));
        unclean.register(1, None);
        assert_eq!(unclean.state(), (None, vec![], vec![]));
        unclean.unfence(2);
        assert_eq!(unclean.state(), (None, vec![], vec![]), "the last leader is waited for");
        unclean.unfence(1);
        assert_eq!(unclean.state(), (Some(1), vec![1], vec![]));
        assert!(unclean.partition().recovering);
        unclean.alter(&[1, 2]);
        assert!(!unclean.partition().recovering);
    }
}

#[test]
fn r18_a_broker_that_has_lost_its_disk_is_no_last_resort() {
    for is_empty in [false, true] {
        let mut rig = Rig::new();
        for broker in [3, 2, 1] {
            rig.fence(broker);
        }
        for broker in [2, 3] {
            rig.register(broker, None);
        }
        rig.directory += u128::from(is_empty);
        rig.register(1, None);
        rig.unfence(1);
        let leader = (!is_empty).then_some(1);
        assert_eq!(rig.state().0, leader, "whether its disk is empty: {is_empty}");
    }
}

#[test]
fn a_registration_that_is_repeated_changes_nothing() {
    let mut rig = Rig::new();
    let incarnation = rig.image.broker(BrokerId(1)).unwrap().incarnation;
    let registration = Registration {
        fenced: true,
        directories: vec![UuidText(Uuid::from_u128(rig.directory))],
        min_insync_replicas: 2,
        ..Registration::new(BrokerId(1), incarnation)
    };
    let before = rig.image.clone();
    let (outcome, _) = rig.apply(&Command::RegisterBroker(registration));
    assert_eq!(outcome, Ok(Applied::BrokerEpoch(1)));
    assert_eq!(rig.image, before);
}

#[test]
fn a_broker_of_one_node_goes_on_leading_what_is_its_own() {
    let mut rig = Rig::empty(true);
    let register = |start: u128| {
        let incarnation = UuidText(Uuid::from_u128(start));
        Command::RegisterBroker(Registration::new(BrokerId(1), incarnation))
    };
    rig.done(&register(1));
    rig.create(&[&[1]]);
    let events = rig.done(&register(2));
    assert_eq!(events, [Event::BrokersChanged, Event::PartitionsChanged(vec![P0])]);
    assert_eq!(rig.state(), (Some(1), vec![1], vec![]));
    let partition = rig.partition();
    assert_eq!((partition.leader_epoch.0, partition.partition_epoch), (1, 1));
    // The node becomes one of several, after a crash and after a clean stop.
    for previous in [None, Some(3)] {
        let mut rig = rig.clone();
        rig.register(1, previous);
        assert_eq!(rig.state().0, None);
        rig.unfence(1);
        assert_eq!(rig.state(), (Some(1), vec![1], vec![]));
    }
}

#[test]
fn a_controlled_shutdown_hands_over_and_keeps_out() {
    let mut rig = Rig::new();
    let begin = Command::BeginShutdown { broker: BrokerId(1), broker_epoch: rig.epoch(1) };
    rig.done(&begin);
    assert_eq!(rig.state(), (Some(2), vec![2, 3], vec![]));
    let alter = Command::AlterPartition(rig.alteration(&[1, 2, 3]));
    assert_eq!(rig.refused(&alter), ErrorCode::IneligibleReplica);
    assert_eq!(rig.done(&begin), []);
}

#[test]
fn an_unregistered_broker_stays_a_replica_only() {
    let mut rig = Rig::new();
    rig.fence(3);
    rig.fence(2);
    assert_eq!(rig.state(), (Some(1), vec![1], vec![2]));
    rig.done(&Command::UnregisterBroker { broker: BrokerId(2) });
    assert_eq!(rig.state(), (Some(1), vec![1], vec![]));
    assert_eq!(rig.partition().replicas, ids(&[1, 2, 3]));
    let again = Command::UnregisterBroker { broker: BrokerId(2) };
    assert_eq!(rig.refused(&again), ErrorCode::BrokerIdNotRegistered);
}

#[test]
fn alterations_are_checked_in_kafkas_order() {
    let mut rig = Rig::new();
    rig.fence(3);
    let good = rig.alteration(&[1, 2]);
    let member = |broker, broker_epoch| IsrMember { broker: BrokerId(broker), broker_epoch };
    let (one, two) = (member(1, rig.epoch(1)), member(2, rig.epoch(2)));
    let LeaderEpoch(leader_epoch) = good.leader_epoch;
    let partition_epoch = good.partition_epoch;
    // Each change stays for those that follow: what was refused before is told first.
    let mut wrong = good.clone();
    let mut steps: Vec<(ErrorCode, AlterPartition)> = Vec::new();
    let mut step = |code, change: &dyn Fn(&mut AlterPartition)| {
        change(&mut wrong);
        steps.push((code, wrong.clone()));
    };
    step(ErrorCode::IneligibleReplica, &|alter| alter.isr = vec![one, two, member(3, -1)]);
    step(ErrorCode::InvalidRequest, &|alter| alter.recovering = true);
    step(ErrorCode::InvalidRequest, &|alter| alter.isr = vec![two, member(3, -1)]);
    step(ErrorCode::InvalidRequest, &|alter| alter.isr = vec![one, one]);
    step(ErrorCode::InvalidUpdateVersion, &|alter| alter.partition_epoch = partition_epoch - 1);
    step(ErrorCode::InvalidRequest, &|alter| {
        (alter.broker, alter.broker_epoch) = (BrokerId(2), two.broker_epoch);
    });
    step(ErrorCode::FencedLeaderEpoch, &|alter| alter.leader_epoch = LeaderEpoch(leader_epoch - 1));
    step(ErrorCode::NotController, &|alter| alter.partition_epoch = partition_epoch + 1);
    step(ErrorCode::NotController, &|alter| alter.leader_epoch = LeaderEpoch(leader_epoch + 1));
    step(ErrorCode::UnknownTopicOrPartition, &|alter| alter.partition = PartitionId(9));
    step(ErrorCode::UnknownTopicId, &|alter| alter.topic = TopicId(Uuid::from_u128(9)));
    step(ErrorCode::StaleBrokerEpoch, &|alter| alter.broker_epoch = 0);
    for (number, (code, alter)) in steps.into_iter().enumerate() {
        assert_eq!(rig.refused(&Command::AlterPartition(alter)), code, "step {number}");
    }
    // A fetch of an earlier incarnation does not count; one that does not say which does.
    let with = |isr| Command::AlterPartition(AlterPartition { isr, ..good.clone() });
    assert_eq!(rig.refused(&with(vec![one, member(2, 0)])), ErrorCode::IneligibleReplica);
    assert_eq!(rig.refused(&with(vec![one, member(4, -1)])), ErrorCode::InvalidRequest);
    let (outcome, events) = rig.apply(&with(vec![one, member(2, -1)]));
    assert_eq!((outcome, events), (Ok(Applied::Partition(rig.partition().clone())), vec![]));
}

#[test]
fn who_is_eligible_is_forgotten_when_min_isr_changes() {
    let topic = || ConfigResource::Topic(TopicName::new("t").unwrap());
    for (resource, forgets) in [
        (topic(), true),
        (ConfigResource::AllBrokers, true),
        (ConfigResource::Group("g".to_owned()), false),
    ] {
        let mut rig = Rig::new();
        rig.fence(3);
        rig.fence(2);
        assert_eq!(rig.state(), (Some(1), vec![1], vec![2]));
        let epoch = rig.partition().partition_epoch;
        rig.set(resource, "min.insync.replicas", "3");
        let eligible = if forgets { vec![] } else { vec![2] };
        assert_eq!(rig.state(), (Some(1), vec![1], eligible));
        assert_eq!(rig.partition().partition_epoch, epoch + i32::from(forgets));
        rig.unfence(3);
        rig.fence(1);
        rig.set(topic(), "min.insync.replicas", "2");
        assert_eq!(rig.state(), (None, vec![], vec![]));
        rig.set(topic(), "unclean.leader.election.enable", "true");
        assert_eq!(rig.state(), (Some(3), vec![3], vec![]));
    }
}

#[test]
fn min_isr_stays_the_same_for_all_brokers_while_it_says_who_is_eligible() {
    let mut rig = Rig::new();
    let count = |rig: &Rig| {
        rig.image.configs(&ConfigResource::AllBrokers).get("min.insync.replicas").cloned()
    };
    assert_eq!(count(&rig).as_deref(), Some("2"));
    let change = |resource, value: Option<&str>| Command::AlterConfigs {
        resource,
        changes: [("min.insync.replicas".to_owned(), value.map(str::to_owned))].into(),
    };
    let of_one = || ConfigResource::Broker(BrokerId(1));
    let remove = change(ConfigResource::AllBrokers, None);
    assert_eq!(rig.refused(&remove), ErrorCode::InvalidConfig);
    assert_eq!(rig.refused(&change(of_one(), Some("3"))), ErrorCode::InvalidConfig);
    rig.switch_eligible(false);
    rig.done(&remove);
    rig.done(&change(of_one(), Some("3")));
    rig.switch_eligible(true);
    assert_eq!(count(&rig).as_deref(), Some("2"), "as the brokers say");
    assert!(rig.image.configs(&of_one()).is_empty());
}

#[test]
fn without_eligible_replicas_the_last_in_sync_is_waited_for() {
    let mut rig = Rig::with_brokers(&Rig::empty(false), &[1, 2, 3]);
    for broker in [3, 2, 1] {
        rig.fence(broker);
    }
    assert_eq!(rig.state(), (None, vec![1], vec![]));
    rig.unfence(2);
    assert_eq!(rig.state(), (None, vec![1], vec![]));
    rig.unfence(1);
    assert_eq!(rig.state(), (Some(1), vec![1], vec![]));
    rig.switch_eligible(true);
    rig.fence(1);
    assert_eq!(rig.state(), (None, vec![], vec![1]));
}

#[test]
fn a_reassignment_ends_takes_another_turn_or_is_taken_back() {
    let mut rig = Rig::empty(true);
    for broker in 1..=4 {
        rig.register(broker, None);
        rig.unfence(broker);
    }
    rig.create(&[&[1, 2]]);
    let aim = |replicas: Option<&[i32]>, allow| Command::ReassignPartition {
        topic: TOPIC,
        partition: P0.partition,
        replicas: replicas.map(ids),
        allow_replication_factor_change: allow,
    };
    assert_eq!(rig.refused(&aim(None, true)), ErrorCode::NoReassignmentInProgress);
    assert_eq!(rig.refused(&aim(Some(&[3]), false)), ErrorCode::InvalidReplicationFactor);
    assert_eq!(rig.refused(&aim(Some(&[3, 9]), true)), ErrorCode::InvalidReplicaAssignment);
    rig.done(&aim(Some(&[3, 2]), false));
    let partition = rig.partition();
    assert_eq!(partition.replicas, ids(&[3, 2, 1]));
    assert_eq!((&partition.adding, &partition.removing), (&ids(&[3]), &ids(&[1])));
    rig.done(&aim(None, true));
    assert_eq!(rig.partition().replicas, ids(&[2, 1]));
    rig.done(&aim(Some(&[3, 4]), false));
    rig.alter(&[1, 2, 3]);
    assert!(rig.partition().is_reassigned());
    let epoch = rig.partition().leader_epoch.0;
    rig.alter(&[1, 2, 3, 4]);
    assert_eq!(rig.partition().replicas, ids(&[3, 4]));
    assert_eq!(rig.state(), (Some(3), vec![3, 4], vec![]));
    assert_eq!(rig.partition().leader_epoch.0, epoch + 1);
    rig.done(&aim(Some(&[4, 3]), false));
    assert_eq!(
        (&rig.partition().replicas, rig.partition().is_reassigned()),
        (&ids(&[4, 3]), false)
    );
}

/// What one of the brokers or somebody from outside does.
#[derive(Clone, Debug)]
enum Step {
    Register { broker: i32, clean: bool, fenced: bool, failed: bool },
    Fail(i32),
    Fence(i32),
    Unfence(i32),
    Stop(i32),
    Unregister(i32),
    Alter { isr: Vec<i32>, recovering: bool },
    Elect { unclean: bool },
    Reassign(Option<Vec<i32>>),
    Configure { key: usize, value: Option<u32> },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let broker = || 1..5_i32;
    let some = || proptest::sample::subsequence(vec![1, 2, 3, 4], 1..=4);
    let step = prop_oneof![
        2 => (broker(), any::<bool>(), proptest::bool::weighted(0.8), proptest::bool::weighted(0.2))
            .prop_map(|(broker, clean, fenced, failed)| {
                Step::Register { broker, clean, fenced, failed }
            }),
        1 => broker().prop_map(Step::Fail),
        2 => broker().prop_map(Step::Fence),
        4 => broker().prop_map(Step::Unfence),
        1 => broker().prop_map(Step::Stop),
        1 => broker().prop_map(Step::Unregister),
        6 => (some().prop_shuffle(), proptest::bool::weighted(0.2))
            .prop_map(|(isr, recovering)| Step::Alter { isr, recovering }),
        1 => any::<bool>().prop_map(|unclean| Step::Elect { unclean }),
        2 => proptest::option::weighted(0.8, some().prop_shuffle()).prop_map(Step::Reassign),
        1 => (0..2_usize, proptest::option::of(1..4_u32))
            .prop_map(|(key, value)| Step::Configure { key, value }),
    ];
    proptest::collection::vec(step, 1..60)
}

impl Step {
    fn command(&self, rig: &Rig) -> Command {
        let known = |broker: &i32| {
            let epoch = rig.image.broker(BrokerId(*broker)).map_or(0, |known| known.epoch);
            (BrokerId(*broker), epoch)
        };
        let (topic, partition) = (P0.topic, P0.partition);
        match self {
            Self::Register { broker, clean, fenced, failed } => {
                let (broker, epoch) = known(broker);
                let incarnation = UuidText(Uuid::from_u128(rig.index.into()));
                Command::RegisterBroker(Registration {
                    fenced: *fenced,
                    previous_epoch: clean.then_some(epoch),
                    failed: failed.then_some(P0).into_iter().collect(),
                    min_insync_replicas: 2,
                    ..Registration::new(broker, incarnation)
                })
            }
            Self::Fail(broker) => {
                let (broker, broker_epoch) = known(broker);
                Command::FailReplicas { broker, broker_epoch, replicas: [P0].into_iter().collect() }
            }
            Self::Fence(broker) => {
                let (broker, broker_epoch) = known(broker);
                Command::FenceBroker { broker, broker_epoch }
            }
            Self::Unfence(broker) => {
                let (broker, broker_epoch) = known(broker);
                Command::UnfenceBroker { broker, broker_epoch }
            }
            Self::Stop(broker) => {
                let (broker, broker_epoch) = known(broker);
                Command::BeginShutdown { broker, broker_epoch }
            }
            Self::Unregister(broker) => Command::UnregisterBroker { broker: BrokerId(*broker) },
            Self::Alter { isr, recovering } => {
                let replicas = &rig.partition().replicas;
                let isr: Vec<_> =
                    isr.iter().copied().filter(|id| replicas.contains(&BrokerId(*id))).collect();
                let leader = rig.partition().leader.filter(|id| rig.image.broker(*id).is_some());
                if leader.is_none() {
                    return Command::ElectLeaders { topic, partition, unclean: false };
                }
                let alter = rig.alteration(&isr);
                Command::AlterPartition(AlterPartition { recovering: *recovering, ..alter })
            }
            Self::Elect { unclean } => {
                Command::ElectLeaders { topic, partition, unclean: *unclean }
            }
            Self::Reassign(replicas) => Command::ReassignPartition {
                topic,
                partition,
                replicas: replicas.as_deref().map(ids),
                allow_replication_factor_change: true,
            },
            Self::Configure { key, value } => {
                let (key, value) = match key {
                    0 => ("min.insync.replicas", value.map(|value| value.to_string())),
                    _ => ("unclean.leader.election.enable", value.map(|it| (it == 1).to_string())),
                };
                let changes = [(key.to_owned(), value)].into();
                Command::AlterConfigs { resource: ConfigResource::AllBrokers, changes }
            }
        }
    }
}

/// What holds of a partition at any time.
fn check(rig: &Rig) -> Result<(), TestCaseError> {
    let partition = rig.partition();
    let (image, replicas) = (&rig.image, &partition.replicas);
    let is_replica = |id: &BrokerId| replicas.contains(id);
    prop_assert!(PartitionImage::has_distinct_replicas(replicas), "{:?}", partition);
    prop_assert!(partition.isr.iter().all(is_replica), "{:?}", partition);
    prop_assert!(partition.elr.iter().all(is_replica), "{:?}", partition);
    prop_assert!(!partition.elr.iter().any(|id| partition.isr.contains(id)), "{:?}", partition);
    if image.has_eligible_leaders() {
        prop_assert_eq!(partition.leader.is_none(), partition.isr.is_empty(), "{:?}", partition);
    } else {
        // Nobody is in sync either once a cancelled reassignment has taken the last one away: only an unclean leader is left.
        prop_assert!(partition.elr.is_empty(), "{:?}", partition);
    }
    if partition.leader.is_some() {
        prop_assert!(partition.isr.iter().all(|id| image.is_active(*id)), "{:?}", partition);
    }
    if let Some(leader) = partition.leader {
        prop_assert!(partition.isr.contains(&leader), "{:?}", partition);
        prop_assert!(partition.last_known_elr.is_empty(), "{:?}", partition);
    }
    let topic = &image.topic_by_id(TOPIC).unwrap().name;
    let enough = image.min_insync_replicas(topic).min(replicas.len());
    prop_assert!(partition.elr.is_empty() || partition.isr.len() < enough, "{:?}", partition);
    prop_assert!(partition.adding.iter().chain(&partition.removing).all(is_replica));
    let has_failed = |id: &BrokerId| partition.offline.contains(id);
    prop_assert!(partition.offline.iter().all(is_replica), "{:?}", partition);
    // Where nobody is eligible, the last in sync stays so without its directory, and does not lead.
    if image.has_eligible_leaders() || partition.leader.is_some() {
        prop_assert!(!partition.isr.iter().any(has_failed), "{:?}", partition);
    }
    let can_lead = |id: &BrokerId| image.is_active(*id) && !has_failed(id);
    prop_assert!(partition.leader.is_some() || !partition.elr.iter().any(can_lead));
    Ok(())
}

proptest! {
    #[test]
    fn whatever_happens_who_leads_is_in_sync_and_epochs_rise(
        has_eligible in proptest::bool::weighted(0.7),
        steps in steps(),
    ) {
        let mut rig = Rig::with_brokers(&Rig::empty(has_eligible), &[1, 2, 3]);
        for step in steps {
            let command = step.command(&rig);
            let json = serde_json::to_string(&command).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Command>(&json).unwrap(), &command);
            let before = rig.clone();
            let (outcome, events) = rig.apply(&command);
            prop_assert!(outcome.is_ok() || (rig.image == before.image && events.is_empty()));
            check(&rig)?;
            let (was, now) = (before.partition(), rig.partition());
            let told = events.contains(&Event::PartitionsChanged(vec![P0]));
            prop_assert_eq!(told, was != now);
            if was != now {
                prop_assert!(now.partition_epoch > was.partition_epoch);
            }
            prop_assert!(now.leader_epoch >= was.leader_epoch);
            if now.leader != was.leader {
                prop_assert!(now.leader_epoch > was.leader_epoch);
            }
            // Nobody leads without loss who had not what was committed.
            let joined = if let Command::AlterPartition(alter) = &command {
                alter.isr.iter().map(|member| member.broker).collect()
            } else {
                Vec::new()
            };
            let had_all =
                was.isr.iter().chain(&was.elr).chain(&joined).any(|id| now.leader == Some(*id));
            if now.leader.is_some() && now.leader != was.leader && !now.recovering {
                prop_assert!(had_all || was.recovering, "{:?} {:?} {:?}", step, was, now);
            }
            prop_assert_eq!(&ClusterImage::from_json(&rig.image.to_json()).unwrap(), &rig.image);
        }
    }
}
