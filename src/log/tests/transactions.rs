//! Transactions in a log: readers of committed records see exactly those, whatever happens to the log in between.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::{Strategy, TestCaseError, any, prop_oneof};

use super::*;
use crate::record::{EndMarker, TransactionOutcome};

const COORDINATOR_EPOCH: i32 = 4;

fn transactional(id: i64, epoch: i16, sequence: i32, records: i32) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.producer(ProducerId(id), ProducerEpoch(epoch), sequence).transactional();
    for _ in 0..records {
        builder.push(UnixMillis(999_999), None, Some(b"v"));
    }
    builder.build()
}

fn end(id: i64, epoch: i16, outcome: TransactionOutcome) -> TransactionEnd {
    TransactionEnd {
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        marker: EndMarker { outcome, coordinator_epoch: COORDINATOR_EPOCH },
        transaction_version: 0,
    }
}

impl Rig {
    /// Appends a marker without committing it.
    fn end(&self, end: &TransactionEnd) -> Result<Appended, AppendError> {
        self.log.append_end(end, LeaderEpoch(0), UnixMillis(1_000_000))
    }

    fn commit_all(&self) {
        self.log.advance_high_watermark(self.log.end());
    }

    fn last_stable(&self) -> i64 {
        self.log.ends().last_stable.0
    }
}

/// What a consumer of committed records makes of what it is given, skipping aborted batches as `CompletedFetch` of Apache
/// Kafka's client does.
#[derive(Debug, Default, PartialEq, Eq)]
struct Consumed {
    /// Offsets of the records that it sees.
    offsets: Vec<i64>,
    /// Where the batches end that it skips, markers of aborted transactions among them.
    skipped: Vec<Offset>,
    /// Where it goes on; `None` if it was given nothing.
    next: Option<Offset>,
}

fn consumed(from: Offset, records: &[Bytes], aborted: &[AbortedTransaction]) -> Consumed {
    let mut consumed = Consumed::default();
    let mut begins: Vec<_> = aborted.iter().map(|it| (it.first_offset, it.producer_id)).collect();
    begins.sort();
    let (mut begins, mut aborted) = (begins.into_iter().peekable(), HashSet::new());
    for batch in scan(&records.concat()).map_while(Result::ok) {
        let header = batch.header;
        while let Some((_, id)) = begins.next_if(|(first, _)| *first <= header.last_offset()) {
            aborted.insert(id);
        }
        if header.is_control() {
            let marker = EndMarker::read(batch.bytes).unwrap().unwrap();
            // Of a marker that ends nothing there is nothing to tell.
            if marker.outcome == TransactionOutcome::Abort && aborted.remove(&header.producer_id) {
                consumed.skipped.push(header.next_offset());
            }
        } else if !header.is_transactional() || !aborted.contains(&header.producer_id) {
            consumed.offsets.extend(header.base_offset.max(from).0..=header.last_offset().0);
        } else {
            consumed.skipped.push(header.next_offset());
        }
        consumed.next = Some(header.next_offset());
    }
    consumed
}

/// Offsets of the records that a consumer of committed records gets from `from` on, reading `max_bytes` at a time: the same
/// ones, whether those of aborted transactions are left out or not.
fn consume(log: &Log, from: Offset, max_bytes: u32) -> Vec<i64> {
    let (mut offsets, mut from) = (Vec::new(), from);
    loop {
        let limit = ReadLimit::LastStable;
        let read = log.read(from, max_bytes, true, limit, Residency::Cached).unwrap().unwrap();
        let all = consumed(from, std::slice::from_ref(&read.records), &read.aborted);
        let left = committed(read.records, read.aborted);
        let left = consumed(from, &left.records, &left.aborted);
        assert_eq!((&left.offsets, left.next), (&all.offsets, all.next));
        // Only the last batch is kept: its end says how far the consumer has come.
        let last = all.skipped.last().filter(|end| Some(**end) == all.next);
        assert!(left.skipped.iter().eq(last), "{left:?} of {all:?}");
        offsets.extend(all.offsets);
        match all.next {
            Some(next) => from = next,
            None => return offsets,
        }
    }
}

#[test]
fn readers_of_committed_records_wait_for_the_first_open_transaction() {
    let rig = Rig::new();
    rig.append(plain(1, 2)).unwrap();
    rig.append(transactional(1, 0, 0, 2)).unwrap();
    rig.append(transactional(2, 0, 0, 1)).unwrap();
    rig.append(plain(2, 1)).unwrap();
    let read = |from: i64, limit| {
        rig.log.read(Offset(from), 10_000, true, limit, Residency::Cached).unwrap().unwrap()
    };
    assert_eq!(rig.last_stable(), 2);
    assert_eq!(
        read(0, ReadLimit::LastStable).records,
        read(0, ReadLimit::HighWatermark).records.slice(..plain(1, 2).len())
    );
    assert!(read(4, ReadLimit::LastStable).records.is_empty(), "between the two marks");
    assert!(!read(4, ReadLimit::HighWatermark).records.is_empty());
    rig.end(&end(1, 0, TransactionOutcome::Abort)).unwrap();
    assert_eq!(rig.last_stable(), 2, "the marker is not committed");
    rig.commit_all();
    assert_eq!(rig.last_stable(), 4);
    assert_eq!(rig.log.advance_high_watermark(rig.log.end()), None);
    rig.end(&end(2, 0, TransactionOutcome::Commit)).unwrap();
    rig.commit_all();
    assert_eq!(rig.last_stable(), 8);
    assert_eq!(consume(&rig.log, Offset(0), 10_000), [0, 1, 4, 5]);
    assert_eq!(read(0, ReadLimit::HighWatermark).aborted, [], "nobody else asks for them");
}

#[test]
fn an_advance_tells_by_how_much_readers_of_committed_records_get_on() {
    let rig = Rig::on(Rig::new().disk, LogConfig { segment_bytes: 100_000, ..config() });
    let advance = || rig.log.advance_high_watermark(rig.log.end()).unwrap();
    let append = |bytes: Bytes| {
        let batch = ValidBatch::trusted(&bytes).unwrap();
        let (leader_epoch, now) = (LeaderEpoch(0), UnixMillis(1));
        rig.log.append(&Append { batch, leader_epoch, origin: Origin::Client, now }).unwrap();
        advance()
    };
    let by = |advance: Advance| advance.stable_after.bytes_since(&advance.stable_before).unwrap();
    assert_eq!(by(append(plain(1, 1))) as usize, plain(1, 1).len());
    let data = transactional(1, 0, 0, 3);
    assert_eq!(by(append(data.clone())), 0);
    assert_eq!(by(append(plain(1, 1))), 0);
    let ended = rig.end(&end(1, 0, TransactionOutcome::Commit)).unwrap();
    let all = data.len() + plain(1, 1).len() + ended.size_bytes as usize;
    assert_eq!(by(advance()) as usize, all);
}

#[test]
fn a_marker_of_an_older_coordinator_or_producer_is_refused() {
    let rig = Rig::new();
    rig.append(transactional(1, 3, 0, 1)).unwrap();
    let older = rig.end(&end(1, 2, TransactionOutcome::Abort)).unwrap_err();
    assert!(matches!(older, AppendError::FencedProducer { .. }));
    let raises = TransactionEnd { transaction_version: 2, ..end(1, 3, TransactionOutcome::Abort) };
    assert!(matches!(rig.end(&raises).unwrap_err(), AppendError::FencedProducer { .. }));
    rig.end(&TransactionEnd { producer_epoch: ProducerEpoch(4), ..raises }).unwrap();
    let mut zombie = end(1, 4, TransactionOutcome::Commit);
    zombie.marker.coordinator_epoch = COORDINATOR_EPOCH - 1;
    assert!(matches!(rig.end(&zombie).unwrap_err(), AppendError::FencedCoordinator { .. }));
    assert_eq!(rig.log.ends().end, Offset(2), "nothing was appended");
}

#[test]
fn clients_write_no_control_batches() {
    let rig = Rig::new();
    let marker = EndMarker { outcome: TransactionOutcome::Commit, coordinator_epoch: 0 };
    let batch = marker.batch(ProducerId(1), ProducerEpoch(0), UnixMillis(1));
    let (leader_epoch, now) = (LeaderEpoch(0), UnixMillis(1));
    let append = Append { batch, leader_epoch, origin: Origin::Client, now };
    let refused = rig.log.append(&append).unwrap_err();
    assert!(matches!(refused, AppendError::InvalidControl { .. }));
}

#[test]
fn an_open_transaction_whose_beginning_was_deleted_begins_with_the_log() {
    let rig = Rig::new();
    rig.append(transactional(1, 0, 0, 1)).unwrap();
    while rig.segment_files().len() < 3 {
        rig.append(plain(1, 1)).unwrap();
    }
    let start = Offset(rig.log.ends().end.0 - 2);
    rig.begin_at(start);
    assert_eq!(rig.last_stable(), start.0);
    assert_eq!(consume(&rig.log, start, 1_000), [] as [i64; 0]);
    let rig = rig.reopen(false, Offset::ZERO);
    assert_eq!(rig.log.producers()[0].transaction_start, Some(Offset(0)));
    rig.end(&end(1, 0, TransactionOutcome::Abort)).unwrap();
    rig.commit_all();
    assert_eq!(rig.log.ends().last_stable, rig.log.ends().end);
}

#[test]
fn an_abort_that_finds_no_room_is_refused_and_can_be_sent_again() {
    let faulty = FaultyDisk::new(Rig::new().disk);
    let rig = Rig::on(Arc::new(faulty.clone()), LogConfig { segment_bytes: 100_000, ..config() });
    rig.append(transactional(1, 0, 0, 1)).unwrap();
    let abort = end(1, 0, TransactionOutcome::Abort);
    // The marker has 78 bytes, its entry 34.
    for room in [0, 77, 78, 111] {
        faulty.inject(Fault::NoSpaceAfter(room));
        let refused = rig.end(&abort).unwrap_err();
        assert!(matches!(refused, AppendError::NoSpace { .. }), "{room} bytes left: {refused}");
        faulty.clear();
        assert_eq!(rig.log.ends().end, Offset(1), "{room} bytes left");
    }
    rig.end(&abort).unwrap();
    rig.commit_all();
    assert_eq!(rig.last_stable(), 2);
    let (before, rig) = (contents(&*rig.disk), rig.reopen(false, Offset::ZERO));
    assert_eq!(contents(&*rig.disk), before);
    assert_eq!(consume(&rig.log, Offset(0), 1_000), [] as [i64; 0]);
}

#[test]
fn an_abort_that_fails_ends_the_log_and_is_not_there_after_the_next_start() {
    let faulty = FaultyDisk::new(Rig::new().disk);
    let rig = Rig::on(Arc::new(faulty.clone()), config());
    rig.append(transactional(1, 0, 0, 1)).unwrap();
    faulty.inject(Fault::Write(".txnindex".to_owned()));
    let abort = end(1, 0, TransactionOutcome::Abort);
    assert!(matches!(rig.end(&abort).unwrap_err(), AppendError::Io { .. }));
    faulty.clear();
    assert!(matches!(rig.end(&abort).unwrap_err(), AppendError::Closed));
    let rig = rig.reopen(false, Offset::ZERO);
    assert_eq!((rig.log.ends().end, rig.last_stable()), (Offset(1), 0));
    rig.end(&abort).unwrap();
}

#[test]
fn aborted_transactions_that_are_not_in_memory_are_waited_for_elsewhere() {
    let faulty = FaultyDisk::new(Rig::new().disk);
    let rig = Rig::on(Arc::new(faulty.clone()), config());
    rig.append(transactional(1, 0, 0, 1)).unwrap();
    rig.end(&end(1, 0, TransactionOutcome::Abort)).unwrap();
    rig.commit_all();
    faulty.inject(Fault::Cold(".txnindex".to_owned()));
    let read = |residency| rig.log.read(Offset(0), 100, true, ReadLimit::LastStable, residency);
    assert!(read(Residency::Cached).unwrap().is_none());
    assert_eq!(read(Residency::Any).unwrap().unwrap().aborted.len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    /// Records of a producer; of a transaction if one is open or `begins`.
    Data { producer: i64, begins: bool, records: i32, commits: bool },
    /// Records of nobody.
    Plain(i32),
    /// The end of a transaction, perhaps of none. The marker may raise the epoch.
    End { producer: i64, outcome: TransactionOutcome, raises: bool, commits: bool },
    /// Makes segments durable, the last one too if so.
    Flush(bool),
    /// The records before this part of the log go, in percent.
    DeleteRecords(i64),
    /// The broker ends, in good order or not, and starts again.
    Reopen { clean: bool },
    /// Power fails.
    PowerCut(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = any::<bool>().prop_map(|commits| {
        if commits { TransactionOutcome::Commit } else { TransactionOutcome::Abort }
    });
    prop_oneof![
        12 => (0..4_i64, any::<bool>(), 1..4_i32, any::<bool>())
            .prop_map(|(producer, begins, records, commits)| Step::Data { producer, begins, records, commits }),
        2 => (1..4_i32).prop_map(Step::Plain),
        8 => (0..4_i64, outcome, any::<bool>(), any::<bool>())
            .prop_map(|(producer, outcome, raises, commits)| Step::End { producer, outcome, raises, commits }),
        1 => any::<bool>().prop_map(Step::Flush),
        1 => (0..=100_i64).prop_map(Step::DeleteRecords),
        2 => any::<bool>().prop_map(|clean| Step::Reopen { clean }),
        1 => (0..1_000_u64).prop_map(Step::PowerCut),
    ]
}

/// A batch, as the model remembers it.
#[derive(Clone, Copy, Debug)]
struct Written {
    base: i64,
    records: i32,
    /// Producer and epoch.
    producer: Option<(i64, i16)>,
    transactional: bool,
    marker: Option<TransactionOutcome>,
}

/// A transaction in the model.
#[derive(Clone, Copy, Debug)]
struct Transaction {
    producer: i64,
    first: i64,
    /// Where and how it ended, and the first open one of the others then.
    end: Option<(i64, TransactionOutcome, Option<i64>)>,
}

/// All that was ever appended, and is still there.
#[derive(Clone, Debug, Default)]
struct Model {
    written: Vec<Written>,
    log_start: i64,
    flushed: i64,
}

impl Model {
    fn end(&self) -> i64 {
        self.written.last().map_or(0, |last| last.base + i64::from(last.records))
    }

    /// Epoch and next sequence of a producer.
    fn next_of(&self, producer: i64) -> (i16, i32) {
        let mut next = (0, 0);
        for written in &self.written {
            let Some((_, epoch)) = written.producer.filter(|(id, _)| *id == producer) else {
                continue;
            };
            let sequence = if next.0 == epoch { next.1 } else { 0 };
            let sent = if written.marker.is_some() { 0 } else { written.records };
            next = (epoch, sequence + sent);
        }
        next
    }

    fn transactions(&self) -> Vec<Transaction> {
        let mut all: Vec<Transaction> = Vec::new();
        let mut open: BTreeMap<i64, usize> = BTreeMap::new();
        for written in self.written.iter().filter(|written| written.transactional) {
            let (producer, _) = written.producer.unwrap();
            match written.marker {
                None => {
                    open.entry(producer).or_insert_with(|| {
                        all.push(Transaction { producer, first: written.base, end: None });
                        all.len() - 1
                    });
                }
                Some(outcome) => {
                    if let Some(ended) = open.remove(&producer) {
                        let others = open.values().map(|index| all[*index].first).min();
                        all[ended].end = Some((written.base, outcome, others));
                    }
                }
            }
        }
        all
    }

    fn last_stable(&self, high_watermark: i64) -> i64 {
        let undecided = |it: &Transaction| it.end.is_none_or(|(end, ..)| end >= high_watermark);
        let first = self.transactions().into_iter().filter(undecided).map(|it| it.first).min();
        first.map_or(high_watermark, |first| first.max(self.log_start)).min(high_watermark)
    }

    /// The offsets that a consumer of committed records gets from `from` on.
    fn committed(&self, from: i64, last_stable: i64) -> Vec<i64> {
        let transactions = self.transactions();
        let is_aborted = |written: &Written| {
            written.transactional
                && transactions.iter().any(|it| {
                    let ends = it.end.is_some_and(|(end, outcome, _)| {
                        outcome == TransactionOutcome::Abort && written.base < end
                    });
                    Some(it.producer) == written.producer.map(|(id, _)| id)
                        && it.first <= written.base
                        && ends
                })
        };
        let seen = self.written.iter().filter(|it| it.marker.is_none() && !is_aborted(it));
        let offsets = seen.flat_map(|it| it.base..it.base + i64::from(it.records));
        offsets.filter(|offset| (from..last_stable).contains(offset)).collect()
    }

    /// The entries of all transaction indexes, in the segments from `first` on.
    fn aborted(&self, first: i64) -> Vec<AbortedTransaction> {
        let ended = self.transactions().into_iter().filter_map(|it| Some((it, it.end?)));
        let aborted = ended.filter(|(_, (_, outcome, _))| *outcome == TransactionOutcome::Abort);
        let mut entries: Vec<_> = aborted
            .map(|(it, (end, _, others))| AbortedTransaction {
                producer_id: ProducerId(it.producer),
                first_offset: Offset(it.first),
                last_offset: Offset(end),
                last_stable: Offset(others.unwrap_or(end + 1)),
            })
            .filter(|entry| entry.last_offset.0 >= first)
            .collect();
        entries.sort_by_key(|entry| entry.last_offset);
        entries
    }
}

/// A log with power that may fail, and its model.
struct World {
    memory: MemoryDisk,
    rig: Rig,
    model: Model,
}

impl World {
    fn new() -> Self {
        let memory = MemoryDisk::with_power_model();
        memory.create_dir_all(Path::new(ROOT)).unwrap();
        memory.sync_all();
        let rig = Rig::on(Arc::new(memory.clone()), config());
        memory.sync_dir(Path::new(ROOT)).unwrap();
        Self { memory, rig, model: Model::default() }
    }

    fn append(&mut self, bytes: Bytes, written: Written, commits: bool) {
        let batch = ValidBatch::trusted(&bytes).unwrap();
        let (leader_epoch, now) = (LeaderEpoch(0), UnixMillis(1_000_000));
        let append = Append { batch, leader_epoch, origin: Origin::Client, now };
        let appended = self.rig.log.append(&append).unwrap();
        self.wrote(appended, written, commits);
    }

    fn wrote(&mut self, appended: Appended, written: Written, commits: bool) {
        assert_eq!(appended.base_offset.0, written.base);
        self.model.written.push(written);
        if commits {
            self.rig.commit_all();
        }
    }

    fn data(&mut self, producer: i64, begins: bool, records: i32, commits: bool) {
        let (epoch, sequence) = self.model.next_of(producer);
        let mut transactions = self.model.transactions().into_iter();
        let is_open = transactions.any(|it| it.producer == producer && it.end.is_none());
        let transactional = begins || is_open;
        let mut builder = BatchBuilder::new();
        builder.producer(ProducerId(producer), ProducerEpoch(epoch), sequence);
        if transactional {
            builder.transactional();
        }
        for _ in 0..records {
            builder.push(UnixMillis(999_999), None, Some(b"v"));
        }
        let (base, producer) = (self.model.end(), Some((producer, epoch)));
        let written = Written { base, records, producer, transactional, marker: None };
        self.append(builder.build(), written, commits);
    }

    fn end(&mut self, producer: i64, outcome: TransactionOutcome, raises: bool, commits: bool) {
        let (epoch, _) = self.model.next_of(producer);
        let epoch = epoch + i16::from(raises);
        let transaction_version = if raises { 2 } else { 0 };
        let end = TransactionEnd { transaction_version, ..end(producer, epoch, outcome) };
        let appended = self.rig.end(&end).unwrap();
        let (base, producer) = (self.model.end(), Some((producer, epoch)));
        let marker = Some(outcome);
        let written = Written { base, records: 1, producer, transactional: true, marker };
        self.wrote(appended, written, commits);
    }

    fn flush(&mut self, whole: bool) {
        self.model.flushed = self.rig.log.flush(whole).unwrap().0;
    }

    fn reopen(&mut self, clean: bool) {
        if clean {
            self.rig.log.close().unwrap();
            self.model.flushed = self.model.end();
        }
        let start = LogStart {
            recovery_point: Offset(self.model.flushed),
            log_start: Offset(self.model.log_start),
            ..start(&self.rig.config, clean)
        };
        self.rig.log = open(&self.rig.disk, start).unwrap().log;
        let end = self.rig.log.ends().end.0;
        assert!(end >= self.model.flushed, "{end} is below {}", self.model.flushed);
        self.model.written.retain(|written| written.base < end);
        assert_eq!(self.model.end(), end);
    }

    fn power_cut(&mut self, seed: u64) {
        self.memory = self.memory.power_cut(&Rng::from_seed(seed));
        self.rig.disk = Arc::new(self.memory.clone());
        self.reopen(false);
    }

    fn delete_records(&mut self, percent: i64) {
        self.rig.commit_all();
        self.flush(true);
        let span = self.model.end() - self.model.log_start;
        self.model.log_start += span * percent / 100;
        self.rig.begin_at(Offset(self.model.log_start));
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Data { producer, begins, records, commits } => {
                self.data(producer, begins, records, commits);
            }
            Step::Plain(records) => {
                let base = self.model.end();
                let written =
                    Written { base, records, producer: None, transactional: false, marker: None };
                self.append(plain(1, records as usize), written, true);
            }
            Step::End { producer, outcome, raises, commits } => {
                self.end(producer, outcome, raises, commits);
            }
            Step::Flush(whole) => self.flush(whole),
            Step::DeleteRecords(percent) => self.delete_records(percent),
            Step::Reopen { clean } => self.reopen(clean),
            Step::PowerCut(seed) => self.power_cut(seed),
        }
    }

    fn check_marks(&self) -> Result<(), TestCaseError> {
        let ends = self.rig.log.ends();
        prop_assert_eq!(ends.end.0, self.model.end());
        prop_assert_eq!(ends.last_stable.0, self.model.last_stable(ends.high_watermark.0));
        let mut open: Vec<_> =
            self.model.transactions().into_iter().filter(|it| it.end.is_none()).collect();
        open.sort_by_key(|it| it.producer);
        let expected: Vec<_> = open.into_iter().map(|it| (it.producer, it.first)).collect();
        let found = self.rig.log.producers().into_iter();
        let found = found.filter_map(|it| Some((it.producer_id.0, it.transaction_start?.0)));
        prop_assert_eq!(found.collect::<Vec<_>>(), expected);
        Ok(())
    }

    fn check_readers(&self) -> Result<(), TestCaseError> {
        let log = &self.rig.log;
        let (log_start, last_stable) = (self.model.log_start, log.ends().last_stable.0);
        let middle = i64::midpoint(log_start, last_stable);
        for (from, max_bytes) in
            [(log_start, 1), (log_start, 400), (log_start, 10_000), (middle, 200)]
        {
            let seen = consume(log, Offset(from), max_bytes);
            prop_assert_eq!(seen, self.model.committed(from, last_stable), "from {}", from);
        }
        let (mut entries, segments) = (Vec::new(), log.published.read().segments.clone());
        for segment in &*segments {
            let (from, until) = (Offset::ZERO, Offset(i64::MAX));
            segment.transactions.collect(from, until, Residency::Any, &mut entries).unwrap();
        }
        prop_assert_eq!(entries, self.model.aborted(segments[0].base().0));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn exactly_what_is_committed_is_seen(steps in proptest::collection::vec(step(), 1..70)) {
        let mut world = World::new();
        for step in steps {
            world.run(&step);
            world.check_marks()?;
            if matches!(step, Step::Reopen { .. } | Step::PowerCut(_) | Step::DeleteRecords(_)) {
                world.check_readers()?;
            }
        }
        world.check_readers()?;
    }
}
