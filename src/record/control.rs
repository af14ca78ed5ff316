//! Control records: how the end of a transaction is written into a partition.
//!
//! A transaction ends in each of its partitions with a control batch of its producer: flags transactional and control, no
//! sequence, and one record.
//!
//! | part | offset | bytes | type | field |
//! | --- | --- | --- | --- | --- |
//! | key | 0 | 2 | i16 | version, 0 |
//! | | 2 | 2 | i16 | 0 abort, 1 commit; others are not for partitions |
//! | value | 0 | 2 | i16 | version, 0 |
//! | | 2 | 4 | i32 | epoch of the transaction coordinator |
//!
//! All big-endian; later versions may add fields at the end. Source: KIP-98, `ControlRecordType` and
//! `EndTransactionMarker` of Apache Kafka 4.3.1.

use std::ops::ControlFlow;

use super::builder::BatchBuilder;
use super::error::{BatchError, RecordProblem};
use super::header::BatchHeader;
use super::records::{Record, visit_records};
use super::valid::ValidBatch;
use crate::model::{ProducerEpoch, ProducerId, UnixMillis};

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// Its records count.
    Commit,
    /// Its records are to be skipped.
    Abort,
}

/// What the control batch at the end of a transaction says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMarker {
    /// How the transaction ended.
    pub outcome: TransactionOutcome,
    /// Epoch of the transaction coordinator that wrote the marker.
    pub coordinator_epoch: i32,
}

impl EndMarker {
    /// The control batch that ends a transaction of `producer`.
    #[must_use]
    pub fn batch(self, producer: ProducerId, epoch: ProducerEpoch, now: UnixMillis) -> ValidBatch {
        let kind = match self.outcome {
            TransactionOutcome::Abort => ABORT,
            TransactionOutcome::Commit => COMMIT,
        };
        let key = [VERSION.to_be_bytes(), kind.to_be_bytes()].concat();
        let value = [&VERSION.to_be_bytes()[..], &self.coordinator_epoch.to_be_bytes()].concat();
        let mut builder = BatchBuilder::new();
        builder.producer(producer, epoch, NO_SEQUENCE).transactional().control();
        builder.push(now, Some(&key), Some(&value));
        ValidBatch::trusted(&builder.build()).expect("a batch that was just built is whole")
    }

    /// What the control batch at the start of `batch` says; `None` if it has no record, as compaction may leave it behind,
    /// or says something else than the end of a transaction.
    ///
    /// # Errors
    /// As [`visit_records`], and [`RecordProblem::Control`] if the record has not the form of a control record.
    pub fn read(batch: &[u8]) -> Result<Option<Self>, BatchError> {
        let mut marker = Ok(None);
        visit_records(batch, |record| {
            marker = Self::of(&record);
            ControlFlow::Break(())
        })?;
        marker.map_err(|problem| BatchError::Record { index: 0, problem })
    }

    /// The same for a batch that is to be appended; `None` also if it is no control batch.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of_batch(batch: &ValidBatch) -> Result<Option<Self>, BatchError> {
        if !Self::may_be_in(batch.header()) {
            return Ok(None);
        }
        Self::read(&[&batch.header().to_bytes()[..], batch.payload()].concat())
    }

    /// Whether a batch with this header may end a transaction.
    #[must_use]
    pub const fn may_be_in(header: &BatchHeader) -> bool {
        header.is_control() && header.has_producer()
    }

    fn of(record: &Record<'_>) -> Result<Option<Self>, RecordProblem> {
        let key = record.key.unwrap_or_default();
        let (version, rest) = key.split_first_chunk().ok_or(RecordProblem::Control)?;
        let kind = rest.first_chunk().ok_or(RecordProblem::Control)?;
        if i16::from_be_bytes(*version) < 0 {
            return Err(RecordProblem::Control);
        }
        let outcome = match i16::from_be_bytes(*kind) {
            ABORT => TransactionOutcome::Abort,
            COMMIT => TransactionOutcome::Commit,
            _ => return Ok(None),
        };
        let value = record.value.unwrap_or_default();
        let (version, rest) = value.split_first_chunk().ok_or(RecordProblem::Control)?;
        let epoch = rest.first_chunk().ok_or(RecordProblem::Control)?;
        if i16::from_be_bytes(*version) < 0 {
            return Err(RecordProblem::Control);
        }
        Ok(Some(Self { outcome, coordinator_epoch: i32::from_be_bytes(*epoch) }))
    }
}

const VERSION: i16 = 0;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;
const NO_SEQUENCE: i32 = -1;

#[cfg(test)]
mod tests {
    use super::*;

    fn control(key: &[u8], value: Option<&[u8]>) -> Result<Option<EndMarker>, BatchError> {
        let mut builder = BatchBuilder::new();
        builder.producer(ProducerId(1), ProducerEpoch(0), -1).transactional().control();
        builder.push(UnixMillis(1), Some(key), value);
        EndMarker::read(&builder.build())
    }

    #[test]
    fn a_marker_says_what_it_was_made_to_say() {
        for outcome in [TransactionOutcome::Commit, TransactionOutcome::Abort] {
            let marker = EndMarker { outcome, coordinator_epoch: 0x0102_0304 };
            let batch = marker.batch(ProducerId(9), ProducerEpoch(3), UnixMillis(77));
            let header = batch.header();
            assert!(header.is_control() && header.is_transactional());
            assert_eq!(
                (header.producer_id, header.producer_epoch),
                (ProducerId(9), ProducerEpoch(3))
            );
            assert_eq!((header.base_sequence, header.max_timestamp), (-1, UnixMillis(77)));
            assert_eq!(header.size_bytes(), 78);
            assert_eq!(EndMarker::of_batch(&batch).unwrap(), Some(marker));
        }
    }

    #[test]
    fn bytes_are_kafkas() {
        let marker = EndMarker { outcome: TransactionOutcome::Commit, coordinator_epoch: 5 };
        let batch = marker.batch(ProducerId(1), ProducerEpoch(0), UnixMillis(1));
        // Length, attributes, timestamp, offset, key of four bytes, value of six, no headers.
        let record = [&[0x20, 0, 0, 0][..], &[8, 0, 0, 0, 1], &[12, 0, 0, 0, 0, 0, 5], &[0]];
        assert_eq!(batch.payload(), &record.concat());
    }

    #[test]
    fn other_control_records_end_no_transaction() {
        assert_eq!(control(&[0, 0, 0, 2], Some(b"leader change")).unwrap(), None);
        let later = control(&[0, 7, 0, 1, 9], Some(&[0, 7, 0, 0, 0, 3, 9])).unwrap();
        let marker = EndMarker { outcome: TransactionOutcome::Commit, coordinator_epoch: 3 };
        assert_eq!(later, Some(marker), "a later version");
        for (key, value) in [
            (&[][..], Some(&[0; 6][..])),
            (&[0, 0, 0], Some(&[0; 6])),
            (&[0xff, 0xff, 0, 1], Some(&[0; 6])),
            (&[0, 0, 0, 1], None),
            (&[0, 0, 0, 1], Some(&[0; 5])),
            (&[0, 0, 0, 1], Some(&[0xff; 6])),
        ] {
            let problem = control(key, value).unwrap_err();
            let is_control =
                matches!(problem, BatchError::Record { problem: RecordProblem::Control, .. });
            assert!(is_control, "{key:?} {value:?}: {problem}");
        }
    }
}
