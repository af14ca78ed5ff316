//! The shard with a log and clocks: tables of what is answered in which state, and random histories beside a small model.
#![expect(clippy::wildcard_enum_match_arm, reason = "any other answer fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

use super::command::{Command, ListFilter, Producer, Reply};
use super::record::{self, TransactionalId};
use super::task::{Errand, Markers};
use super::transaction::{State, Transaction};
use super::{Settings, TransactionShard};
use crate::cluster::ClusterImage;
use crate::coordinator::{CoordinatorRecord, Effects, Now, Shard as _, Ticket, TransactionOutcome};
use crate::model::{
    ErrorCode, Instant, Offset, PartitionId, ProducerEpoch, ProducerId, UnixMillis,
};

const COMMIT: TransactionOutcome = TransactionOutcome::Commit;
const ABORT: TransactionOutcome = TransactionOutcome::Abort;
const TIMEOUT_MS: i32 = 60_000;

/// A shard, its log, and the markers that nobody has written yet.
struct Rig {
    shard: TransactionShard,
    log: Vec<CoordinatorRecord>,
    errands: Vec<Markers>,
    now: Now,
    incarnation: u64,
    next_id: i64,
    /// The level of `transaction.version`.
    level: i16,
}

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        timeout_ms_max: 900_000,
        id_expiration: Duration::from_secs(7 * 24 * 3600),
        timeout_check_interval: Duration::from_secs(10),
        expiration_check_interval: Duration::from_secs(3600),
        verifies_partitions: true,
        retry_pause: Duration::from_millis(20),
        retry_max: Duration::from_millis(100),
    })
}

fn producer(id: i64, epoch: i16) -> Producer {
    Producer { id: ProducerId(id), epoch: ProducerEpoch(epoch) }
}

/// A cluster with this level of `transaction.version`.
fn image(level: i16) -> Arc<ClusterImage> {
    let mut image = ClusterImage::default();
    let features = [(super::FEATURE.to_owned(), level)].into();
    let command = crate::cluster::Command::Bootstrap {
        cluster_id: "cluster".to_owned(),
        features,
        min_insync_replicas: None,
    };
    image.apply(1, &command).0.unwrap();
    Arc::new(image)
}

impl Rig {
    fn new() -> Self {
        Self::at_level(super::EPOCH_PER_TRANSACTION_SINCE)
    }

    fn at_level(level: i16) -> Self {
        let now = Now { instant: Instant::from_start(Duration::ZERO), unix: UnixMillis(1_000_000) };
        let shard = TransactionShard::new(Arc::new(settings), image(level), 0);
        let (log, errands) = (Vec::new(), Vec::new());
        Self { shard, log, errands, now, incarnation: 0, next_id: 100, level }
    }

    /// The shard is loaded again from its log. Errands of before go on to be there: their tasks know nothing of it.
    fn reload(&mut self) {
        self.incarnation += 1;
        let image = image(self.level);
        self.shard = TransactionShard::new(Arc::new(settings), image, self.incarnation);
        for (record, offset) in self.log.iter().zip(0..) {
            self.shard.replay(Offset(offset), record).unwrap();
        }
        self.step(|shard, now, effects| shard.loaded(now, effects));
    }

    fn set_level(&mut self, level: i16) {
        self.level = level;
        self.step(|shard, now, effects| shard.image_changed(now, &image(level), effects));
    }

    fn step(
        &mut self,
        work: impl FnOnce(&mut TransactionShard, Now, &mut Effects<Reply, Markers>),
    ) -> Vec<(Ticket, Reply)> {
        let mut effects = Effects::default();
        work(&mut self.shard, self.now, &mut effects);
        for record in effects.records {
            self.shard.replay(Offset(0), &record).unwrap();
            self.log.push(record);
        }
        self.errands.extend(effects.errands);
        effects.replies
    }

    fn ask(&mut self, command: Command) -> Reply {
        let mut replies =
            self.step(|shard, now, effects| shard.handle(now, command, Ticket(1), effects));
        assert_eq!(replies.len(), 1);
        replies.pop().unwrap().1
    }

    fn fresh(&mut self) -> ProducerId {
        self.next_id += 1;
        ProducerId(self.next_id)
    }

    /// Asks for a producer, with a fresh id if one is needed.
    fn ask_for_producer(
        &mut self,
        command: impl Fn(Option<ProducerId>) -> Command,
    ) -> Result<Producer, ErrorCode> {
        let mut reply = self.ask(command(None));
        if reply == Reply::NeedsProducerId {
            let fresh = self.fresh();
            reply = self.ask(command(Some(fresh)));
        }
        match reply {
            Reply::Producer(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn init(&mut self, id: &str, expected: Option<Producer>) -> Result<Producer, ErrorCode> {
        self.ask_for_producer(|fresh| Command::InitProducerId {
            id: id.into(),
            timeout_ms: TIMEOUT_MS,
            expected,
            fresh,
        })
    }

    fn add(&mut self, id: &str, producer: Producer, partition: i32) -> Result<(), ErrorCode> {
        let partitions = vec![("t".into(), PartitionId(partition))];
        let add = Command::AddPartitions { id: id.into(), producer, partitions, client_version: 2 };
        match self.ask(add) {
            Reply::Done(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn end(
        &mut self,
        id: &str,
        producer: Producer,
        outcome: TransactionOutcome,
        client_version: i16,
    ) -> Result<Producer, ErrorCode> {
        self.ask_for_producer(|fresh| Command::End {
            id: id.into(),
            producer,
            outcome,
            client_version,
            fresh,
        })
    }

    /// The markers of an errand are written.
    fn complete(&mut self, errand: usize) {
        let Markers { id, errand, .. } = self.errands.remove(errand);
        self.ask(Command::Complete { id, errand });
    }

    fn complete_all(&mut self) {
        while !self.errands.is_empty() {
            self.complete(0);
        }
    }

    fn pass(&mut self, duration: Duration) {
        self.now.instant = self.now.instant.plus(duration);
        self.now.unix = self.now.unix.plus_millis(i64::try_from(duration.as_millis()).unwrap());
        while self.shard.next_deadline().is_some_and(|due| due <= self.now.instant) {
            self.step(|shard, now, effects| shard.tick(now, effects));
        }
    }

    fn state(&mut self, id: &str) -> Option<State> {
        match self.ask(Command::Describe { id: id.into() }) {
            Reply::Described(Ok(described)) => Some(described.state),
            Reply::Described(Err(ErrorCode::TransactionalIdNotFound)) => None,
            other => panic!("{other:?}"),
        }
    }

    /// What the log says last of each id.
    fn written(&self) -> BTreeMap<TransactionalId, Transaction> {
        let mut written = BTreeMap::new();
        for record in &self.log {
            match record::decode(record).unwrap() {
                (id, Some(value)) => written.insert(id, value),
                (id, None) => written.remove(&id),
            };
        }
        written
    }
}

#[test]
fn a_transaction_goes_through_its_states() {
    for (outcome, prepared, complete) in [
        (COMMIT, State::PrepareCommit, State::CompleteCommit),
        (ABORT, State::PrepareAbort, State::CompleteAbort),
    ] {
        let mut rig = Rig::new();
        let first = rig.init("id", None).unwrap();
        assert_eq!((first, rig.state("id")), (producer(101, 0), Some(State::Empty)));
        rig.add("id", first, 0).unwrap();
        assert_eq!(rig.state("id"), Some(State::Ongoing));
        let next = rig.end("id", first, outcome, 2).unwrap();
        assert_eq!((next, rig.state("id")), (producer(101, 1), Some(prepared)));
        let markers = &rig.errands[0];
        assert_eq!((markers.producer, markers.outcome), (producer(101, 1), outcome));
        assert_eq!(rig.end("id", first, outcome, 2), Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(rig.add("id", next, 0), Err(ErrorCode::ConcurrentTransactions));
        rig.complete(0);
        assert_eq!(rig.state("id"), Some(complete));
        assert_eq!(rig.end("id", first, outcome, 2), Ok(next), "a retry");
        rig.add("id", next, 1).unwrap();
        assert_eq!(rig.end("id", next, COMMIT, 2), Ok(producer(101, 2)));
    }
}

#[test]
fn a_client_without_epochs_keeps_its_epoch() {
    let mut rig = Rig::new();
    let first = rig.init("id", None).unwrap();
    assert_eq!(rig.end("id", first, ABORT, 0), Err(ErrorCode::InvalidTxnState), "none is open");
    rig.add("id", first, 0).unwrap();
    assert_eq!(rig.end("id", first, COMMIT, 0), Ok(first));
    assert_eq!(rig.end("id", first, ABORT, 0), Err(ErrorCode::InvalidTxnState));
    assert_eq!(rig.end("id", first, COMMIT, 0), Err(ErrorCode::ConcurrentTransactions));
    rig.complete(0);
    assert_eq!(rig.end("id", first, COMMIT, 0), Ok(first), "a retry");
    assert_eq!(rig.end("id", first, ABORT, 0), Err(ErrorCode::InvalidTxnState));
    rig.add("id", first, 0).unwrap();
    assert_eq!(rig.end("id", producer(101, 1), COMMIT, 0), Err(ErrorCode::ProducerFenced));
    assert_eq!(rig.end("id", producer(9, 0), COMMIT, 0), Err(ErrorCode::InvalidProducerIdMapping));
    assert_eq!(rig.end("no", first, COMMIT, 0), Err(ErrorCode::InvalidProducerIdMapping));
}

#[test]
fn an_abort_of_nothing_raises_the_epoch_and_needs_no_markers() {
    let mut rig = Rig::new();
    let first = rig.init("id", None).unwrap();
    let second = rig.end("id", first, ABORT, 2).unwrap();
    assert_eq!((second.epoch.0, rig.state("id")), (1, Some(State::CompleteAbort)));
    assert!(rig.errands.is_empty());
    assert_eq!(rig.end("id", first, ABORT, 2), Ok(second), "a retry");
    assert_eq!(rig.end("id", second, COMMIT, 2), Err(ErrorCode::InvalidTxnState));
    let third = rig.end("id", second, ABORT, 2).unwrap();
    rig.add("id", third, 0).unwrap();
    let fourth = rig.end("id", third, COMMIT, 2).unwrap();
    rig.complete(0);
    assert_eq!(rig.end("id", third, ABORT, 2), Err(ErrorCode::InvalidTxnState), "it is committed");
    assert_eq!(rig.end("id", fourth, ABORT, 2).unwrap().epoch.0, 4);
}

#[test]
fn a_second_producer_fences_the_first() {
    let mut rig = Rig::new();
    let first = rig.init("id", None).unwrap();
    rig.add("id", first, 0).unwrap();
    assert_eq!(rig.init("id", None), Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(rig.state("id"), Some(State::PrepareAbort));
    assert_eq!(rig.errands[0].producer, producer(101, 1));
    assert_eq!(rig.init("id", None), Err(ErrorCode::ConcurrentTransactions));
    rig.complete(0);
    let second = rig.init("id", None).unwrap();
    assert_eq!(second, producer(101, 2));
    for version in [0, 2] {
        assert_eq!(rig.end("id", first, COMMIT, version), Err(ErrorCode::ProducerFenced));
    }
    assert_eq!(rig.add("id", first, 0), Err(ErrorCode::ProducerFenced));
    rig.add("id", second, 0).unwrap();
}

#[test]
fn a_producer_goes_on_after_an_error() {
    let mut rig = Rig::new();
    let first = rig.init("id", None).unwrap();
    let second = rig.init("id", Some(first)).unwrap();
    assert_eq!(second, producer(101, 1));
    assert_eq!(rig.init("id", Some(first)), Ok(second), "a retry");
    let third = rig.init("id", None).unwrap();
    assert_eq!(rig.init("id", Some(second)), Err(ErrorCode::ProducerFenced));
    assert_eq!(rig.init("id", Some(producer(9, 0))), Err(ErrorCode::ProducerFenced));
    assert_eq!(rig.init("id", Some(third)), Ok(producer(101, 3)));
    rig.reload();
    assert_eq!(rig.init("id", Some(third)), Err(ErrorCode::ProducerFenced), "nothing tells of it");
}

/// A producer with one epoch left to give, and its rig.
fn nearly_exhausted() -> (Rig, Producer) {
    let mut rig = Rig::new();
    let first = rig.init("id", None).unwrap();
    let mut exhausted = rig.written().remove("id").unwrap();
    exhausted.producer.epoch = ProducerEpoch(i16::MAX - 1);
    rig.log.push(record::record(&"id".into(), &exhausted, 2));
    rig.reload();
    (rig, Producer { epoch: ProducerEpoch(i16::MAX - 1), ..first })
}

#[test]
fn a_producer_that_has_used_up_its_epochs_gets_another_id() {
    let (mut rig, last) = nearly_exhausted();
    assert_eq!(rig.init("id", Some(last)), Ok(producer(102, 0)));
    let (mut rig, last) = nearly_exhausted();
    rig.add("id", last, 0).unwrap();
    assert_eq!(rig.end("id", last, COMMIT, 2), Ok(producer(102, 0)));
    assert_eq!(rig.errands[0].producer, producer(101, i16::MAX));
    assert_eq!(rig.end("id", last, COMMIT, 2), Err(ErrorCode::ConcurrentTransactions));
    rig.reload();
    rig.complete(1);
    assert_eq!(rig.end("id", last, COMMIT, 2), Ok(producer(102, 0)), "a retry");
    rig.add("id", producer(102, 0), 0).unwrap();
}

#[test]
fn a_producer_without_epochs_left_is_fenced_too() {
    let (mut rig, last) = nearly_exhausted();
    rig.add("id", last, 0).unwrap();
    assert_eq!(rig.init("id", None), Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(rig.errands[0].producer, producer(101, i16::MAX));
    rig.complete(0);
    assert_eq!(rig.init("id", None), Ok(producer(102, 0)));
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    let mut rig = Rig::new();
    let first = rig.init("id", None).unwrap();
    assert_eq!(
        rig.shard.next_deadline(),
        Some(Instant::from_start(Duration::ZERO).plus(Duration::from_secs(3600)))
    );
    rig.add("id", first, 0).unwrap();
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.state("id"), Some(State::Ongoing));
    rig.pass(Duration::from_secs(10));
    assert_eq!(rig.state("id"), Some(State::PrepareAbort));
    rig.complete(0);
    assert_eq!(rig.end("id", first, COMMIT, 2), Err(ErrorCode::InvalidTxnState));
    assert_eq!(rig.add("id", first, 0), Err(ErrorCode::ProducerFenced));
    rig.pass(Duration::from_secs(10));
    assert!(
        rig.shard.next_deadline().unwrap()
            >= Instant::from_start(Duration::ZERO).plus(Duration::from_secs(3600))
    );
}

/// The version of the value of the last record.
fn value_version(rig: &Rig) -> u8 {
    rig.log.last().unwrap().value.as_ref().unwrap()[1]
}

#[test]
fn each_level_has_its_records_and_its_way_to_fence() {
    for level in 0..=2 {
        let mut rig = Rig::at_level(level);
        let first = rig.init("id", None).unwrap();
        rig.add("id", first, 0).unwrap();
        assert_eq!(value_version(&rig), u8::from(level > 0));
        rig.pass(Duration::from_secs(70));
        assert_eq!(rig.state("id"), Some(State::PrepareAbort));
        let markers = &rig.errands[0];
        // With an epoch for each transaction, being fenced is the end of one.
        assert_eq!((markers.producer, markers.transaction_version), (producer(101, 1), level));
        rig.complete(0);
        assert_eq!(rig.init("id", None), Ok(producer(101, 2)));
        assert_eq!(rig.init("id", Some(producer(101, 2))), Ok(producer(101, 3)));
        assert_eq!(value_version(&rig), u8::from(level > 0));
    }
}

#[test]
fn a_level_that_changes_under_a_transaction_changes_not_how_it_ends() {
    let levels = (0..=2).flat_map(|before| (0..=2).map(move |after| (before, after)));
    for (before, after) in levels {
        for (client_version, outcome) in [(0, COMMIT), (0, ABORT), (2, COMMIT), (2, ABORT)] {
            let mut rig = Rig::at_level(before);
            let first = rig.init("id", None).unwrap();
            rig.add("id", first, 0).unwrap();
            rig.set_level(after);
            rig.reload();
            let next = rig.end("id", first, outcome, client_version).unwrap();
            assert_eq!(next.epoch.0, i16::from(client_version == 2));
            rig.set_level(before);
            rig.reload();
            let markers = rig.errands.last().unwrap();
            assert_eq!((markers.producer, markers.outcome), (next, outcome));
            assert_eq!(markers.transaction_version, client_version);
            rig.complete(rig.errands.len() - 1);
            rig.add("id", next, 1).unwrap();
            assert_eq!(rig.state("id"), Some(State::Ongoing));
        }
    }
}

#[test]
fn another_id_is_kept_at_the_lowest_level_too() {
    let (mut rig, last) = nearly_exhausted();
    rig.add("id", last, 0).unwrap();
    rig.set_level(0);
    let next = rig.end("id", last, COMMIT, 2).unwrap();
    assert_eq!(next, producer(102, 0));
    rig.reload();
    rig.complete(1);
    rig.add("id", next, 0).unwrap();
}

#[test]
fn an_id_that_nobody_uses_is_forgotten() {
    let mut rig = Rig::new();
    rig.init("unused", None).unwrap();
    let used = rig.init("used", None).unwrap();
    rig.add("used", used, 0).unwrap();
    rig.end("used", used, COMMIT, 2).unwrap();
    rig.pass(Duration::from_secs(7 * 24 * 3600 + 3600));
    assert_eq!(rig.state("unused"), None);
    assert_eq!(rig.state("used"), Some(State::PrepareCommit), "nothing prepared expires");
    rig.complete(0);
    rig.pass(Duration::from_secs(8 * 24 * 3600));
    assert_eq!(rig.state("used"), None);
    rig.reload();
    assert_eq!(rig.shard.next_deadline(), None);
}

#[test]
fn markers_go_on_after_a_reload_and_late_answers_do_not_count() {
    let mut rig = Rig::new();
    let first = rig.init("id", None).unwrap();
    rig.add("id", first, 0).unwrap();
    rig.end("id", first, COMMIT, 0).unwrap();
    rig.reload();
    assert_eq!(rig.errands.len(), 2, "the old one, and the same again");
    rig.complete(0);
    assert_eq!(rig.state("id"), Some(State::PrepareCommit));
    rig.complete(0);
    assert_eq!(rig.state("id"), Some(State::CompleteCommit));
    rig.add("id", first, 0).unwrap();
    rig.end("id", first, ABORT, 0).unwrap();
    let unknown = Command::Complete { id: "id".into(), errand: Errand::default() };
    rig.ask(unknown);
    assert_eq!(rig.state("id"), Some(State::PrepareAbort));
}

#[test]
fn partitions_are_verified() {
    let mut rig = Rig::new();
    let verify = |rig: &mut Rig, producer| {
        let partitions = [0, 1].map(|index| ("t".into(), PartitionId(index))).to_vec();
        rig.ask(Command::Verify { id: "id".into(), producer, partitions })
    };
    let refused = |code| Reply::Verified(Err(code));
    let first = producer(101, 0);
    assert_eq!(verify(&mut rig, first), refused(ErrorCode::InvalidProducerIdMapping));
    rig.init("id", None).unwrap();
    rig.add("id", first, 1).unwrap();
    let expected = Reply::Verified(Ok(vec![ErrorCode::TransactionAbortable, ErrorCode::None]));
    assert_eq!(verify(&mut rig, first), expected);
    assert_eq!(verify(&mut rig, producer(101, 1)), refused(ErrorCode::ProducerFenced));
    rig.end("id", first, COMMIT, 0).unwrap();
    assert_eq!(verify(&mut rig, first), refused(ErrorCode::ConcurrentTransactions));
    rig.complete(0);
    let neither = Reply::Verified(Ok(vec![ErrorCode::TransactionAbortable; 2]));
    assert_eq!(verify(&mut rig, first), neither);
}

#[test]
fn ids_are_listed_by_state_producer_and_age() {
    let mut rig = Rig::new();
    let first = rig.init("a", None).unwrap();
    rig.add("a", first, 0).unwrap();
    rig.pass(Duration::from_secs(5));
    let second = rig.init("b", None).unwrap();
    rig.add("b", second, 0).unwrap();
    rig.init("c", None).unwrap();
    let all = ListFilter { duration_ms: -1, ..ListFilter::default() };
    let listed = |rig: &mut Rig, filter: ListFilter| match rig.ask(Command::List { filter }) {
        Reply::Listed(listed) => {
            listed.into_iter().map(|it| it.id.to_string()).collect::<Vec<_>>().join(" ")
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(listed(&mut rig, all.clone()), "a b c");
    let states = Some(vec![State::Ongoing]);
    assert_eq!(listed(&mut rig, ListFilter { states, ..all.clone() }), "a b");
    assert_eq!(listed(&mut rig, ListFilter { states: Some(Vec::new()), ..all.clone() }), "");
    let producer_ids = vec![second.id];
    assert_eq!(listed(&mut rig, ListFilter { producer_ids, ..all.clone() }), "b");
    let filter = ListFilter { duration_ms: 4_999, states: Some(vec![State::Ongoing]), ..all };
    assert_eq!(listed(&mut rig, filter), "a");
}

/// The transactional ids of a history.
const IDS: [&str; 2] = ["id", "other"];

/// What happens, to one transactional id or to all of them.
#[derive(Clone, Debug)]
enum Event {
    /// A new producer, or (`expected`) the one that is there.
    Init {
        expected: bool,
    },
    /// The producer that began so many inits ago.
    Add {
        of: usize,
        partition: i32,
    },
    End {
        of: usize,
        outcome: TransactionOutcome,
    },
    /// The markers of one errand are written; which one if there are many.
    Complete(usize),
    Reload,
    Pass(u64),
    /// The level of `transaction.version` changes.
    Level(i16),
}

fn event() -> impl Strategy<Value = Event> {
    let of = || prop_oneof![4 => Just(0_usize), 1 => Just(1_usize)];
    prop_oneof![
        2 => any::<bool>().prop_map(|expected| Event::Init { expected }),
        4 => (of(), 0..3_i32).prop_map(|(of, partition)| Event::Add { of, partition }),
        4 => (of(), any::<bool>()).prop_map(|(of, commit)| {
            Event::End { of, outcome: if commit { COMMIT } else { ABORT } }
        }),
        4 => any::<usize>().prop_map(Event::Complete),
        1 => Just(Event::Reload),
        1 => (1..100_u64).prop_map(Event::Pass),
        1 => (0..3_i16).prop_map(Event::Level),
    ]
}

/// What a client knows, and what must be so.
#[derive(Debug, Default)]
struct Model {
    /// Whoever was told an id and epoch, the last one at the end.
    producers: Vec<Producer>,
    /// All ids and epochs ever told.
    told: BTreeSet<(i64, i16)>,
    /// The partitions of the transaction that is open, as far as the last producer knows.
    open: BTreeSet<i32>,
    /// How a transaction is being ended.
    decided: Option<TransactionOutcome>,
}

impl Model {
    fn told(&mut self, producer: Producer, is_retry: bool) {
        let is_new = self.told.insert((producer.id.0, producer.epoch.0));
        assert!(is_new || is_retry, "{producer:?} was told twice");
        self.producers.push(producer);
    }

    fn producer(&self, of: usize) -> Option<Producer> {
        self.producers.get(self.producers.len().checked_sub(of + 1)?).copied()
    }
}

/// Plays a history in which each event happens to one of the ids, or to all.
fn play(client_version: i16, events: Vec<(usize, Event)>) {
    let (mut rig, mut models) = (Rig::new(), <[Model; IDS.len()]>::default());
    for (which, event) in events {
        let before = rig.written();
        match event {
            Event::Complete(errand) if !rig.errands.is_empty() => {
                let errand = errand % rig.errands.len();
                let id = rig.errands[errand].id.clone();
                rig.complete(errand);
                if rig.written() != before {
                    let which = IDS.iter().position(|known| id == (*known).into()).unwrap();
                    let outcome = models[which].decided.take().expect("something was decided");
                    let complete = if outcome == COMMIT {
                        State::CompleteCommit
                    } else {
                        State::CompleteAbort
                    };
                    assert_eq!(rig.state(IDS[which]), Some(complete));
                }
            }
            Event::Complete(_) => {}
            Event::Reload => rig.reload(),
            Event::Level(level) => rig.set_level(level),
            Event::Pass(seconds) => {
                rig.pass(Duration::from_secs(seconds));
                let after = rig.written();
                for (id, model) in IDS.iter().zip(&mut models) {
                    if after.get(*id) != before.get(*id) {
                        assert_eq!(model.decided, None);
                        model.open.clear();
                        model.decided = Some(ABORT);
                    }
                }
            }
            Event::Init { .. } | Event::Add { .. } | Event::End { .. } => {
                play_one(&mut rig, IDS[which], &mut models[which], client_version, event);
                let of_other = |written: &BTreeMap<TransactionalId, Transaction>| {
                    written.get(IDS[1 - which]).cloned()
                };
                assert_eq!(
                    of_other(&rig.written()),
                    of_other(&before),
                    "the other one has changed"
                );
            }
        }
        for (id, model) in IDS.iter().zip(&models) {
            check(&mut rig, id, model);
        }
    }
    rig.complete_all();
    for (id, model) in IDS.iter().zip(&models) {
        if let Some(producer) = model.producer(0).filter(|_| model.decided.is_some()) {
            let state = rig.state(id).unwrap();
            assert!(!state.is_prepared(), "{producer:?} waits for ever");
        }
    }
}

/// What one of the producers of an id asks for.
fn play_one(rig: &mut Rig, id: &str, model: &mut Model, client_version: i16, event: Event) {
    let before = rig.written();
    match event {
        Event::Init { expected } => {
            let expected = if expected { model.producer(0) } else { None };
            let was_open = !model.open.is_empty() || model.decided.is_some();
            match rig.init(id, expected) {
                Ok(producer) => {
                    assert!(!was_open, "a transaction is in the way");
                    model.told(producer, expected.is_some());
                }
                Err(ErrorCode::ConcurrentTransactions) => {
                    assert!(was_open);
                    model.open.clear();
                    model.decided.get_or_insert(ABORT);
                }
                Err(code) => assert_eq!(code, ErrorCode::ProducerFenced),
            }
        }
        Event::Add { of, partition } => {
            let Some(producer) = model.producer(of) else { return };
            let added = rig.add(id, producer, partition);
            if added.is_ok() {
                assert_eq!((of, model.decided), (0, None), "an old producer, or none may");
                model.open.insert(partition);
            }
        }
        Event::End { of, outcome } => {
            let Some(producer) = model.producer(of) else { return };
            let was_decided = model.decided;
            let ended = rig.end(id, producer, outcome, client_version);
            let wrote = rig.written() != before;
            assert!(!wrote || ended.is_ok());
            if wrote {
                assert_eq!((of, was_decided), (0, None));
                if !std::mem::take(&mut model.open).is_empty() {
                    model.decided = Some(outcome);
                }
                let next = ended.unwrap();
                if client_version >= 2 {
                    model.told(next, false);
                } else {
                    assert_eq!(next, producer);
                }
            }
        }
        Event::Complete(_) | Event::Reload | Event::Pass(_) | Event::Level(_) => {
            panic!("not of one id")
        }
    }
}

fn check(rig: &mut Rig, id: &str, model: &Model) {
    let written = rig.written();
    let Some(present) = written.get(id) else { return };
    assert_eq!(rig.state(id), Some(present.state));
    let open: BTreeSet<i32> = present.partitions.iter().map(|(_, index)| index.0).collect();
    match present.state {
        State::Ongoing => assert_eq!((&open, model.decided), (&model.open, None)),
        State::PrepareCommit => assert_eq!(model.decided, Some(COMMIT)),
        State::PrepareAbort => assert_eq!(model.decided, Some(ABORT)),
        State::Empty | State::CompleteCommit | State::CompleteAbort => {
            assert!(model.open.is_empty() && model.decided.is_none());
        }
        State::Dead | State::PrepareEpochFence => panic!("never written"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn decisions_stand_and_old_producers_write_nothing(
        client_version in prop_oneof![Just(0_i16), Just(2_i16)],
        events in proptest::collection::vec((0..IDS.len(), event()), 1..80),
    ) {
        play(client_version, events);
    }
}
