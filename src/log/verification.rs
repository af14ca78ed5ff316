//! Which producers may begin a transaction in a partition: those whose coordinator has said that the partition is part of
//! one (KIP-890).
//!
//! Whoever wants to append asks for a [`Guard`] first, then asks the coordinator, then appends with the guard. A marker that
//! comes meanwhile takes the guard away, so that a batch which was under way cannot begin a transaction that nobody ends.
//! Source: `VerificationStateEntry`, `VerificationGuard`, `UnifiedLog.maybeStartTransactionVerification` of Apache
//! Kafka 4.3. Pure: time comes in. Nothing of it survives the process.

use std::collections::BTreeMap;

use super::AppendError;
use crate::model::{ProducerEpoch, ProducerId, UnixMillis};
use crate::record::BatchHeader;

/// Proof that somebody has begun to ask a producer's coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard(u64);

/// A batch that is to begin a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The producer.
    pub producer: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The sequence of the batch's first record; -1 if it has none.
    pub sequence: i32,
    /// Whether every transaction of the producer has an epoch of its own (KIP-890).
    pub epoch_per_transaction: bool,
}

/// The verifications that are under way in one log.
#[derive(Debug, Default)]
pub(super) struct Verifications {
    last: u64,
    entries: BTreeMap<ProducerId, Verification>,
}

#[derive(Clone, Copy, Debug)]
struct Verification {
    guard: Guard,
    epoch: ProducerEpoch,
    /// The lowest sequence among the batches that ask: it comes first.
    lowest_sequence: i32,
    epoch_per_transaction: bool,
    since: UnixMillis,
}

impl Verifications {
    /// Begins to verify a batch, or joins the verification of its producer that is under way.
    pub(super) fn begin(&mut self, batch: &Beginning, now: UnixMillis) -> Guard {
        let known = self.entries.get_mut(&batch.producer);
        if let Some(known) = known.filter(|known| known.epoch >= batch.epoch) {
            known.lowest_sequence = known.lowest_sequence.min(batch.sequence);
            known.epoch_per_transaction |= batch.epoch_per_transaction;
            return known.guard;
        }
        self.last += 1;
        let verification = Verification {
            guard: Guard(self.last),
            epoch: batch.epoch,
            lowest_sequence: batch.sequence,
            epoch_per_transaction: batch.epoch_per_transaction,
            since: now,
        };
        self.entries.insert(batch.producer, verification);
        verification.guard
    }

    /// Whether a batch may begin a transaction. `is_new` tells that the log knows nothing of its producer.
    pub(super) fn check(
        &self,
        batch: &BatchHeader,
        guard: Option<Guard>,
        is_new: bool,
    ) -> Result<(), AppendError> {
        let producer = batch.producer_id;
        let known = self.entries.get(&producer).filter(|known| Some(known.guard) == guard);
        let Some(known) = known else {
            return Err(AppendError::NotVerified { producer });
        };
        let found = batch.base_sequence;
        let expected = known.lowest_sequence;
        if is_new && found > expected {
            return Err(AppendError::OutOfOrderSequence { producer, expected, found });
        }
        Ok(())
    }

    /// A transaction of the producer has begun: it needs no guard any more.
    pub(super) fn begun(&mut self, producer: ProducerId) {
        self.entries.remove(&producer);
    }

    /// A transaction of the producer has ended, and its guards with it. Where each transaction has an epoch of its own, the
    /// marker bears that of the next one, which may be under way already.
    pub(super) fn ended(&mut self, producer: ProducerId, epoch: ProducerEpoch) {
        let entry = self.entries.get(&producer);
        if entry.is_some_and(|entry| !entry.epoch_per_transaction || entry.epoch < epoch) {
            self.entries.remove(&producer);
        }
    }

    /// Forgets verifications that nobody has come back from.
    pub(super) fn expire(&mut self, now: UnixMillis, expiration_ms: i64) {
        self.entries.retain(|_, entry| now.millis_since(entry.since) < expiration_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    const NOW: UnixMillis = UnixMillis(1_000);

    fn batch(epoch: i16, sequence: i32) -> BatchHeader {
        let mut builder = BatchBuilder::new();
        builder.producer(ProducerId(1), ProducerEpoch(epoch), sequence).transactional();
        builder.push(NOW, None, Some(b"v"));
        BatchHeader::parse(&builder.build()).unwrap()
    }

    fn beginning(epoch: i16, sequence: i32) -> Beginning {
        Beginning {
            producer: ProducerId(1),
            epoch: ProducerEpoch(epoch),
            sequence,
            epoch_per_transaction: false,
        }
    }

    fn refused(verifications: &Verifications, guard: Option<Guard>) -> bool {
        let checked = verifications.check(&batch(0, 0), guard, false);
        matches!(checked, Err(AppendError::NotVerified { .. }))
    }

    #[test]
    fn only_the_guard_of_the_verification_that_is_under_way_counts() {
        let mut verifications = Verifications::default();
        assert!(refused(&verifications, None));
        let guard = verifications.begin(&beginning(0, 0), NOW);
        assert!(refused(&verifications, None));
        verifications.check(&batch(0, 0), Some(guard), false).unwrap();
        assert_eq!(verifications.begin(&beginning(0, 1), NOW), guard, "they share it");
        verifications.ended(ProducerId(1), ProducerEpoch(0));
        assert!(refused(&verifications, Some(guard)), "a marker came");
        let later = verifications.begin(&beginning(1, 0), NOW);
        assert!(later != guard && refused(&verifications, Some(guard)));
    }

    #[test]
    fn a_later_batch_of_an_unknown_producer_does_not_pass_an_earlier_one() {
        let mut verifications = Verifications::default();
        let guard = verifications.begin(&beginning(0, 7), NOW);
        verifications.begin(&beginning(0, 5), NOW);
        let check = |sequence| verifications.check(&batch(0, sequence), Some(guard), true);
        let wrong = check(7).unwrap_err();
        assert!(matches!(wrong, AppendError::OutOfOrderSequence { expected: 5, found: 7, .. }));
        check(5).unwrap();
    }

    #[test]
    fn with_an_epoch_for_each_transaction_the_marker_of_the_last_one_ends_nothing() {
        let mut verifications = Verifications::default();
        let begin = Beginning { epoch_per_transaction: true, ..beginning(3, 0) };
        let guard = verifications.begin(&begin, NOW);
        verifications.ended(ProducerId(1), ProducerEpoch(3));
        verifications.check(&batch(3, 0), Some(guard), false).unwrap();
        verifications.ended(ProducerId(1), ProducerEpoch(4));
        assert!(verifications.check(&batch(3, 0), Some(guard), false).is_err());
    }

    #[test]
    fn forgotten_verifications_expire() {
        let mut verifications = Verifications::default();
        let guard = verifications.begin(&beginning(0, 0), NOW);
        verifications.expire(UnixMillis(1_099), 100);
        assert!(!refused(&verifications, Some(guard)));
        verifications.expire(UnixMillis(1_100), 100);
        assert!(refused(&verifications, Some(guard)));
    }
}
