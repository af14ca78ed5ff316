//! What a partition knows of its idempotent producers (KIP-98): enough to recognise a batch that was sent twice, one that
//! is missing, and a producer that was replaced.
//!
//! Source: `ProducerStateManager`, `ProducerStateEntry`, `ProducerAppendInfo` of Apache Kafka 4.3. Pure: time comes in.
//! **Invariant:** the state is a function of the batches in the log (and of expiry), so replaying the log rebuilds it.

use std::collections::{BTreeMap, VecDeque};

use super::AppendError;
use crate::model::{Offset, ProducerEpoch, ProducerId, UnixMillis};
use crate::record::BatchHeader;

/// How many batches of a producer are remembered: as many as it may have in flight
/// (`max.in.flight.requests.per.connection` of an idempotent producer).
pub(super) const REMEMBERED_BATCHES: usize = 5;

/// The producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Producers {
    entries: BTreeMap<ProducerId, ProducerEntry>,
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
        if batch.base_sequence == expected {
            Ok(Check::Next)
        } else {
            Err(AppendError::OutOfOrderSequence { producer, expected, found: batch.base_sequence })
        }
    }

    /// Takes note of a batch in the log; `base_offset` is where it starts there.
    pub(super) fn note(&mut self, batch: &BatchHeader, base_offset: Offset) {
        if !batch.has_producer() {
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
        if batch.is_control() {
            entry.transaction_start = None;
            return;
        }
        if batch.is_transactional() && entry.transaction_start.is_none() {
            entry.transaction_start = Some(base_offset);
        }
        if entry.batches.len() == REMEMBERED_BATCHES {
            entry.batches.pop_front();
        }
        entry.batches.push_back(RememberedBatch {
            last_sequence: batch.last_sequence(),
            last_offset: base_offset.plus(i64::from(batch.last_offset_delta)),
            last_offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp,
        });
    }

    /// Fills up what a snapshot left out: it holds one batch a producer. `batches` are headers from the end of the log
    /// in its order.
    pub(super) fn refill<'a>(&mut self, batches: impl Iterator<Item = &'a BatchHeader>) {
        let mut tail = Self::default();
        for batch in batches.filter(|batch| self.entries.contains_key(&batch.producer_id)) {
            tail.note(batch, batch.base_offset);
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

    fn appended(producers: &mut Producers, batch: &BatchHeader, at: i64) {
        assert_eq!(producers.check(batch).unwrap(), Check::Next);
        producers.note(batch, Offset(at));
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
                    producers.note(&batch, Offset(offset));
                    model.appended.push((epoch, sequence, offset));
                    next = sequence + 1;
                }
            }
        }
    }
}
