//! What a partition knows of its producers (KIP-98): enough to recognise a batch that was sent twice, one that is missing,
//! a producer that was replaced, and which transactions are open.
//!
//! Source: `ProducerStateManager`, `ProducerStateEntry`, `ProducerAppendInfo` of Apache Kafka 4.3. Pure: time comes in.
//! **Invariant:** the state is a function of the batches in the log (and of expiry), so replaying the log rebuilds it.

use std::collections::{BTreeMap, VecDeque};

use super::AppendError;
use super::partition_log::LogPosition;
use super::transaction_index::AbortedTransaction;
use super::transactions::{Transactions, Unstable};
use crate::model::{Offset, ProducerEpoch, ProducerId, UnixMillis};
use crate::record::{BatchHeader, EndMarker, TransactionOutcome};

/// How many batches of a producer are remembered: as many as it may have in flight
/// (`max.in.flight.requests.per.connection` of an idempotent producer).
pub(super) const REMEMBERED_BATCHES: usize = 5;

/// The producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Producers {
    entries: BTreeMap<ProducerId, ProducerEntry>,
    /// Those of the entries that are open, and decided ones that are not committed.
    transactions: Transactions,
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProducerEntry {
    /// Its newest epoch.
    pub(super) epoch: ProducerEpoch,
    /// Its last batches in that epoch, oldest first; at most [`REMEMBERED_BATCHES`].
    pub(super) batches: VecDeque<RememberedBatch>,
    /// Largest timestamp of its last batch or marker: expiry goes by it.
    pub(super) last_timestamp: UnixMillis,
    /// Epoch of the coordinator that wrote its last marker; -1 if none did.
    pub(super) coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub(super) transaction_start: Option<Offset>,
}

/// A batch in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RememberedBatch {
    pub(super) last_sequence: i32,
    pub(super) last_offset: Offset,
    pub(super) last_offset_delta: i32,
    pub(super) timestamp: UnixMillis,
}

impl RememberedBatch {
    /// The sequence of the first record. Sequences go on at 0 after 2^31 - 1.
    const fn first_sequence(self) -> i32 {
        let first = self.last_sequence.wrapping_sub(self.last_offset_delta);
        // Below zero: the batch wrapped around.
        first & i32::MAX
    }

    /// The offset of the first record.
    pub(super) const fn first_offset(self) -> Offset {
        self.last_offset.plus(-(self.last_offset_delta as i64))
    }
}

impl ProducerEntry {
    /// While its transaction is open, all that a producer writes is part of it.
    fn check_transaction(&self, batch: &BatchHeader) -> Result<(), AppendError> {
        match self.transaction_start {
            Some(start) if !batch.is_transactional() => {
                Err(AppendError::OpenTransaction { producer: batch.producer_id, start })
            }
            _ => Ok(()),
        }
    }
}

/// Which epochs of a producer a marker may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EpochRule {
    /// The producer's epoch or a newer one.
    NotOlder,
    /// A newer one, if it ends a transaction: every marker raises the epoch (KIP-890).
    Newer,
}

/// What a batch of a producer is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// The next one: append it.
    Next,
    /// It is in the log already.
    Duplicate(RememberedBatch),
}

/// A producer as DescribeProducers shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerView {
    /// Its id.
    pub producer_id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// Sequence of its last record; -1 if it has none in this epoch.
    pub last_sequence: i32,
    /// Largest timestamp of its last batch.
    pub last_timestamp: UnixMillis,
    /// Epoch of the coordinator that wrote its last marker; -1 if none did.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub transaction_start: Option<Offset>,
}

/// The producers of a log in figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerCensus {
    /// How many are known.
    pub count: usize,
    /// Largest timestamp of the last batch of the producer whose transaction is open longest.
    pub oldest_transaction_at: Option<UnixMillis>,
}

impl Producers {
    /// Judges a batch that a client sent.
    pub(super) fn check(&self, batch: &BatchHeader) -> Result<Check, AppendError> {
        let producer = batch.producer_id;
        // A producer that is not known, or no longer, may begin anywhere.
        let Some(entry) = self.entries.get(&producer) else {
            return Ok(Check::Next);
        };
        if batch.producer_epoch < entry.epoch {
            return Err(AppendError::FencedProducer {
                producer,
                current: entry.epoch,
                found: batch.producer_epoch,
            });
        }
        let expected = if batch.producer_epoch == entry.epoch {
            let (first, last) = (batch.base_sequence, batch.last_sequence());
            let same = |known: &&RememberedBatch| {
                known.first_sequence() == first && known.last_sequence == last
            };
            if let Some(known) = entry.batches.iter().find(same) {
                return Ok(Check::Duplicate(*known));
            }
            match entry.batches.back().map_or(-1, |last| last.last_sequence) {
                i32::MAX => 0,
                last => last + 1,
            }
        } else {
            0
        };
        if batch.base_sequence != expected {
            let found = batch.base_sequence;
            return Err(AppendError::OutOfOrderSequence { producer, expected, found });
        }
        entry.check_transaction(batch).map(|()| Check::Next)
    }

    /// Whether a transaction of the producer is open in this epoch.
    pub(super) fn has_open(&self, producer: ProducerId, epoch: ProducerEpoch) -> bool {
        let entry = self.entries.get(&producer);
        entry.is_some_and(|entry| entry.transaction_start.is_some() && entry.epoch == epoch)
    }

    /// Whether there is anything of the producer.
    pub(super) fn knows(&self, producer: ProducerId) -> bool {
        self.entries.contains_key(&producer)
    }

    /// Judges a batch that a coordinator of this broker made. It has no sequence.
    pub(super) fn check_own(
        &self,
        batch: &BatchHeader,
        marker: Option<EndMarker>,
        rule: EpochRule,
    ) -> Result<(), AppendError> {
        let producer = batch.producer_id;
        let Some(entry) = self.entries.get(&producer) else {
            return Ok(());
        };
        let (current, found) = (entry.epoch, batch.producer_epoch);
        // A marker that is sent again ends nothing; and the last epoch of all is not followed by another.
        let may_repeat = entry.transaction_start.is_none() || found == ProducerEpoch(i16::MAX);
        if found < current || rule == EpochRule::Newer && found == current && !may_repeat {
            return Err(AppendError::FencedProducer { producer, current, found });
        }
        let Some(marker) = marker else {
            return if batch.is_control() { Ok(()) } else { entry.check_transaction(batch) };
        };
        let (current, found) = (entry.coordinator_epoch, marker.coordinator_epoch);
        if found < current {
            return Err(AppendError::FencedCoordinator { producer, current, found });
        }
        Ok(())
    }

    /// The transaction that a batch with this marker aborts, if it does. The batch has its place in the log, and was not
    /// [noted](Self::note) yet.
    pub(super) fn aborted_by(
        &self,
        batch: &BatchHeader,
        marker: EndMarker,
    ) -> Option<AbortedTransaction> {
        let (producer_id, last_offset) = (batch.producer_id, batch.base_offset);
        let first_offset = self.entries.get(&producer_id)?.transaction_start?;
        let open = self.transactions.first_of_others(producer_id);
        let last_stable = open.unwrap_or_else(|| last_offset.plus(1));
        (marker.outcome == TransactionOutcome::Abort).then_some(AbortedTransaction {
            producer_id,
            first_offset,
            last_offset,
            last_stable,
        })
    }

    /// Takes note of a batch in the log, which stands at `place`; `marker` is what it says if it is a control batch.
    pub(super) fn note(
        &mut self,
        batch: &BatchHeader,
        place: LogPosition,
        marker: Option<EndMarker>,
    ) {
        // A control batch without marker is a rest of one whose transaction was compacted away.
        if !batch.has_producer() || batch.is_control() && marker.is_none() {
            return;
        }
        let entry = self.entries.entry(batch.producer_id).or_insert_with(|| ProducerEntry {
            epoch: batch.producer_epoch,
            batches: VecDeque::new(),
            last_timestamp: batch.max_timestamp,
            coordinator_epoch: -1,
            transaction_start: None,
        });
        if entry.epoch != batch.producer_epoch {
            entry.epoch = batch.producer_epoch;
            entry.batches.clear();
        }
        entry.last_timestamp = batch.max_timestamp;
        if let Some(marker) = marker {
            entry.coordinator_epoch = marker.coordinator_epoch;
            if let Some(first) = entry.transaction_start.take() {
                self.transactions.end(first, place.offset);
            }
            return;
        }
        if batch.is_transactional() && entry.transaction_start.is_none() {
            entry.transaction_start = Some(place.offset);
            self.transactions.begin(batch.producer_id, place);
        }
        if entry.batches.len() == REMEMBERED_BATCHES {
            entry.batches.pop_front();
        }
        entry.batches.push_back(RememberedBatch {
            last_sequence: batch.last_sequence(),
            last_offset: place.offset.plus(i64::from(batch.last_offset_delta)),
            last_offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp,
        });
    }

    /// All below the high watermark is committed.
    pub(super) fn commit(&mut self, high_watermark: Offset) {
        self.transactions.commit(high_watermark);
    }

    /// What transactions keep from readers of committed records.
    pub(super) fn unstable(&self) -> Unstable {
        self.transactions.unstable()
    }

    /// The open transactions of the entries, by their first offsets. Those of a snapshot have to be
    /// [placed](Self::place) before anything else is done.
    pub(super) fn open_transactions(&self) -> Vec<(ProducerId, Offset)> {
        let open = |(id, entry): (ProducerId, &ProducerEntry)| Some((id, entry.transaction_start?));
        self.iter().filter_map(open).collect()
    }

    /// Tells where the open transaction of a snapshot's producer begins.
    pub(super) fn place(&mut self, producer: ProducerId, start: LogPosition) {
        self.transactions.begin(producer, start);
    }

    /// Fills up what a snapshot left out: it holds one batch a producer. `batches` are headers from the end of the log
    /// in its order.
    pub(super) fn refill<'a>(&mut self, batches: impl Iterator<Item = &'a BatchHeader>) {
        let mut tail = Self::default();
        for batch in batches.filter(|batch| self.entries.contains_key(&batch.producer_id)) {
            // Only the batches count, so it does not matter where they are, nor what markers say.
            let offset = batch.base_offset;
            tail.note(batch, LogPosition { offset, segment: offset, position: 0 }, None);
        }
        for (id, found) in tail.entries {
            if let Some(entry) = self.entries.get_mut(&id)
                && entry.epoch == found.epoch
                && entry.batches.back() == found.batches.back()
            {
                entry.batches = found.batches;
            }
        }
    }

    /// Forgets producers that wrote nothing for `expiration_ms` and have no open transaction.
    pub(super) fn expire(&mut self, now: UnixMillis, expiration_ms: i64) {
        self.entries.retain(|_, entry| {
            entry.transaction_start.is_some()
                || now.millis_since(entry.last_timestamp) < expiration_ms
        });
    }

    /// Puts an entry from a snapshot in place.
    pub(super) fn insert(&mut self, id: ProducerId, entry: ProducerEntry) {
        self.entries.insert(id, entry);
    }

    /// All producers, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many there are, and when whoever has the oldest open transaction last wrote.
    pub(super) fn census(&self) -> ProducerCensus {
        let open = self.iter().filter_map(|(_, entry)| Some((entry.transaction_start?, entry)));
        let oldest = open.min_by_key(|(start, _)| *start);
        ProducerCensus {
            count: self.entries.len(),
            oldest_transaction_at: oldest.map(|(_, entry)| entry.last_timestamp),
        }
    }

    /// All producers as DescribeProducers shows them.
    pub(super) fn views(&self) -> Vec<ProducerView> {
        let view = |(producer_id, entry): (ProducerId, &ProducerEntry)| ProducerView {
            producer_id,
            epoch: entry.epoch,
            last_sequence: entry.batches.back().map_or(-1, |last| last.last_sequence),
            last_timestamp: entry.last_timestamp,
            coordinator_epoch: entry.coordinator_epoch,
            transaction_start: entry.transaction_start,
        };
        self.iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert_eq, prop_oneof, proptest};

    use super::*;
    use crate::record::BatchBuilder;

    fn batch(id: i64, epoch: i16, sequence: i32, records: usize) -> BatchHeader {
        let mut builder = BatchBuilder::new();
        builder.producer(ProducerId(id), ProducerEpoch(epoch), sequence);
        for _ in 0..records {
            builder.push(UnixMillis(1_000), None, Some(b"v"));
        }
        BatchHeader::parse(&builder.build()).unwrap()
    }

    fn place(at: i64) -> LogPosition {
        LogPosition { offset: Offset(at), segment: Offset::ZERO, position: 0 }
    }

    fn appended(producers: &mut Producers, batch: &BatchHeader, at: i64) {
        assert_eq!(producers.check(batch).unwrap(), Check::Next);
        producers.note(batch, place(at), None);
    }

    fn transactional(id: i64, epoch: i16, sequence: i32) -> BatchHeader {
        let mut builder = BatchBuilder::new();
        builder.producer(ProducerId(id), ProducerEpoch(epoch), sequence).transactional();
        builder.push(UnixMillis(1_000), None, Some(b"v"));
        BatchHeader::parse(&builder.build()).unwrap()
    }

    /// A marker that stands at this offset.
    fn end(id: i64, epoch: i16, coordinator_epoch: i32, at: i64) -> (BatchHeader, EndMarker) {
        let marker = EndMarker { outcome: TransactionOutcome::Abort, coordinator_epoch };
        let batch = marker.batch(ProducerId(id), ProducerEpoch(epoch), UnixMillis(2_000));
        (BatchHeader { base_offset: Offset(at), ..*batch.header() }, marker)
    }

    #[test]
    fn an_unknown_producer_may_begin_anywhere() {
        assert_eq!(Producers::default().check(&batch(1, 3, 77, 2)).unwrap(), Check::Next);
    }

    #[test]
    fn five_batches_are_recognised_and_the_sixth_is_not() {
        let mut producers = Producers::default();
        for i in 0..6 {
            appended(&mut producers, &batch(1, 0, i * 2, 2), i64::from(i) * 10);
        }
        for i in 1..6 {
            let Check::Duplicate(known) = producers.check(&batch(1, 0, i * 2, 2)).unwrap() else {
                panic!("batch {i} is not recognised");
            };
            assert_eq!(known.first_offset(), Offset(i64::from(i) * 10));
        }
        let error = producers.check(&batch(1, 0, 0, 2)).unwrap_err();
        assert!(matches!(error, AppendError::OutOfOrderSequence { expected: 12, found: 0, .. }));
        let partly = producers.check(&batch(1, 0, 10, 1)).unwrap_err();
        assert!(matches!(partly, AppendError::OutOfOrderSequence { .. }), "part of a batch");
    }

    #[test]
    fn epochs_fence_and_begin_at_zero() {
        let mut producers = Producers::default();
        appended(&mut producers, &batch(1, 5, 0, 3), 0);
        let fenced = producers.check(&batch(1, 4, 3, 1)).unwrap_err();
        assert!(matches!(fenced, AppendError::FencedProducer { .. }));
        let not_zero = producers.check(&batch(1, 6, 3, 1)).unwrap_err();
        assert!(matches!(not_zero, AppendError::OutOfOrderSequence { expected: 0, found: 3, .. }));
        appended(&mut producers, &batch(1, 6, 0, 1), 3);
        appended(&mut producers, &batch(1, 6, 1, 1), 4);
    }

    #[test]
    fn sequences_wrap_around() {
        let mut producers = Producers::default();
        appended(&mut producers, &batch(1, 0, i32::MAX - 1, 4), 0);
        let again = producers.check(&batch(1, 0, i32::MAX - 1, 4)).unwrap();
        assert!(matches!(again, Check::Duplicate(known) if known.first_sequence() == i32::MAX - 1));
        appended(&mut producers, &batch(1, 0, 2, 1), 4);
        let mut producers = Producers::default();
        appended(&mut producers, &batch(1, 0, i32::MAX, 1), 0);
        appended(&mut producers, &batch(1, 0, 0, 1), 1);
    }

    #[test]
    fn a_transaction_is_open_until_its_marker() {
        let mut producers = Producers::default();
        let first = |producers: &Producers| producers.unstable().first.map(|first| first.offset.0);
        appended(&mut producers, &batch(1, 0, 0, 2), 0);
        assert_eq!(first(&producers), None);
        appended(&mut producers, &transactional(1, 0, 2), 2);
        appended(&mut producers, &transactional(2, 0, 0), 3);
        appended(&mut producers, &transactional(1, 0, 3), 4);
        assert_eq!(producers.views()[0].transaction_start, Some(Offset(2)));
        let outside = producers.check(&batch(1, 0, 4, 1)).unwrap_err();
        assert!(matches!(outside, AppendError::OpenTransaction { start: Offset(2), .. }));
        let (header, marker) = end(1, 0, 7, 5);
        let aborted = producers.aborted_by(&header, marker).unwrap();
        assert_eq!((aborted.first_offset, aborted.last_offset), (Offset(2), Offset(5)));
        assert_eq!(aborted.last_stable, Offset(3), "where the other one begins");
        let committed = EndMarker { outcome: TransactionOutcome::Commit, ..marker };
        assert_eq!(producers.aborted_by(&header, committed), None);
        producers.note(&header, place(5), Some(marker));
        assert_eq!(first(&producers), Some(2), "the marker is not committed");
        producers.commit(Offset(6));
        assert_eq!(first(&producers), Some(3));
        let view = producers.views()[0];
        assert_eq!((view.coordinator_epoch, view.transaction_start), (7, None));
        assert_eq!(view.last_timestamp, UnixMillis(2_000), "that of the marker");
        assert_eq!(producers.aborted_by(&header, marker), None, "there is no transaction to abort");
        appended(&mut producers, &batch(1, 0, 4, 1), 6);
    }

    #[test]
    fn markers_of_older_epochs_are_refused() {
        let mut producers = Producers::default();
        let check = |producers: &Producers, epoch, coordinator_epoch, rule| {
            let (header, marker) = end(1, epoch, coordinator_epoch, 9);
            producers.check_own(&header, Some(marker), rule)
        };
        check(&producers, 0, 0, EpochRule::Newer).expect("an unknown producer");
        appended(&mut producers, &transactional(1, 4, 0), 0);
        let fenced = check(&producers, 3, 0, EpochRule::NotOlder).unwrap_err();
        assert!(matches!(fenced, AppendError::FencedProducer { .. }));
        check(&producers, 4, 0, EpochRule::NotOlder).unwrap();
        let fenced = check(&producers, 4, 0, EpochRule::Newer).unwrap_err();
        assert!(matches!(fenced, AppendError::FencedProducer { .. }));
        check(&producers, 5, 0, EpochRule::Newer).unwrap();
        let (header, marker) = end(1, 5, 8, 1);
        producers.note(&header, place(1), Some(marker));
        check(&producers, 5, 8, EpochRule::Newer).expect("the same marker again");
        let fenced = check(&producers, 5, 7, EpochRule::Newer).unwrap_err();
        assert!(matches!(fenced, AppendError::FencedCoordinator { current: 8, found: 7, .. }));
        let old = producers.check(&transactional(1, 4, 1)).unwrap_err();
        assert!(
            matches!(old, AppendError::FencedProducer { .. }),
            "the marker has raised the epoch"
        );
        appended(&mut producers, &transactional(1, 5, 0), 2);
        // Offsets that a group coordinator commits for a transaction.
        let (other, _) = end(1, 5, 0, 3);
        producers.check_own(&other, None, EpochRule::NotOlder).expect("a rest of a marker");
        let outside = producers.check_own(&batch(1, 5, 0, 1), None, EpochRule::NotOlder);
        assert!(matches!(outside, Err(AppendError::OpenTransaction { .. })));
        producers.check_own(&transactional(1, 5, 0), None, EpochRule::NotOlder).unwrap();
    }

    #[test]
    fn a_producer_with_an_open_transaction_does_not_expire() {
        let mut producers = Producers::default();
        appended(&mut producers, &transactional(1, 0, 0), 0);
        producers.expire(UnixMillis(1_000_000), 1);
        assert!(!producers.is_empty());
        let (header, marker) = end(1, 0, 0, 1);
        producers.note(&header, place(1), Some(marker));
        producers.expire(UnixMillis(1_000_000), 1);
        assert!(producers.is_empty());
    }

    #[test]
    fn silent_producers_expire() {
        let mut producers = Producers::default();
        appended(&mut producers, &batch(1, 0, 0, 1), 0);
        producers.expire(UnixMillis(1_499), 500);
        assert!(!producers.is_empty());
        producers.expire(UnixMillis(1_500), 500);
        assert!(producers.is_empty());
    }

    #[test]
    fn a_snapshots_entries_are_refilled_from_the_tail() {
        let mut producers = Producers::default();
        let batches: Vec<_> = (0..7).map(|i| batch(1, 0, i, 1)).collect();
        let mut tail = Vec::new();
        for (batch, at) in batches.iter().zip(0..) {
            appended(&mut producers, batch, at);
            tail.push(BatchHeader { base_offset: Offset(at), ..*batch });
        }
        let whole = producers.clone();
        let entry = producers.entries.get_mut(&ProducerId(1)).unwrap();
        entry.batches.drain(..REMEMBERED_BATCHES - 1);
        producers.refill(tail.iter());
        assert_eq!(producers, whole);
        producers.refill(tail[..3].iter());
        assert_eq!(producers, whole, "a tail that does not end with the known batch says nothing");
    }

    /// The model remembers every batch there ever was.
    #[derive(Default)]
    struct Model {
        appended: Vec<(i16, i32, i64)>,
    }

    impl Model {
        /// Offset of the duplicate, or whether the batch is next.
        fn judge(&self, epoch: i16, sequence: i32) -> Result<Option<i64>, &'static str> {
            let Some((latest, _, _)) = self.appended.last() else {
                return Ok(None);
            };
            if epoch < *latest {
                return Err("fenced");
            }
            let of_epoch: Vec<_> = self.appended.iter().filter(|batch| batch.0 == epoch).collect();
            let recent = of_epoch.iter().rev().take(REMEMBERED_BATCHES);
            if let Some(known) = recent.into_iter().find(|batch| batch.1 == sequence) {
                return Ok(Some(known.2));
            }
            let next = of_epoch.last().map_or(0, |batch| batch.1 + 1);
            if sequence == next { Ok(None) } else { Err("out of order") }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn agrees_with_a_model_that_forgets_nothing(
            sent in proptest::collection::vec(
                (0_i16..3, prop_oneof![3 => Just(None), 1 => (0_i32..8).prop_map(Some)]),
                1..40,
            ),
        ) {
            let (mut producers, mut model) = (Producers::default(), Model::default());
            let mut next = 0;
            for (step, (epoch, sequence)) in sent.into_iter().enumerate() {
                let sequence = sequence.unwrap_or(next);
                let batch = batch(9, epoch, sequence, 1);
                let offset = step as i64;
                let found = match producers.check(&batch) {
                    Ok(Check::Next) => Ok(None),
                    Ok(Check::Duplicate(known)) => Ok(Some(known.first_offset().0)),
                    Err(AppendError::FencedProducer { .. }) => Err("fenced"),
                    Err(_) => Err("out of order"),
                };
                prop_assert_eq!(&found, &model.judge(epoch, sequence));
                if found == Ok(None) {
                    producers.note(&batch, place(offset), None);
                    model.appended.push((epoch, sequence, offset));
                    next = sequence + 1;
                }
            }
        }
    }
}
