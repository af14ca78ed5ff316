//! Which batches and records stay when a log is compacted (`Cleaner.cleanInto` of Apache Kafka 4.3.1).

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::producers::Producers;
use super::offset_map::OffsetMap;
use super::transactions::CleanedTransactions;
use crate::model::{Offset, ProducerEpoch, ProducerId, UnixMillis};
use crate::record::{Batch, BatchError, BatchHeader, Horizon, Record, Thinned, emptied, thin};

/// The rule for one pass.
#[derive(Debug)]
pub(super) struct Retention<'a> {
    /// The latest offset of each key from the part of the log that is new.
    pub(super) latest: &'a OffsetMap,
    /// Up to where `latest` knows all keys. What lies there or later stays.
    pub(super) mapped_to: Offset,
    /// When the pass began.
    pub(super) now: UnixMillis,
    /// From when on the tombstones that are met now may go.
    pub(super) horizon: UnixMillis,
    /// The newest batch of each producer.
    pub(super) producers: &'a LastBatches,
    /// Where the segment that is written ends: the batch before stays, if need be without records, so that the segment
    /// tells where it ends. (Kafka keeps only the last one of all segments that it compacts.)
    pub(super) end: Offset,
}

impl Retention<'_> {
    /// What is left of the next batch of the walk; `None` if nothing is.
    pub(super) fn apply<'b>(
        &self,
        batch: &Batch<'b>,
        transactions: &mut CleanedTransactions,
    ) -> Result<Option<Cow<'b, [u8]>>, BatchError> {
        let header = &batch.header;
        let is_over = transactions.pass(batch)?;
        let stays_empty = header.next_offset() == self.end || self.producers.has(header);
        let is_marker_of_nothing = is_over && header.is_control();
        // A marker stays for a time after the last record of its transaction, for consumers that have read some of it.
        let goes = is_over && (!header.is_control() || self.is_past_horizon(header));
        let thinned = if goes {
            Thinned::Nothing
        } else {
            let horizon = if is_marker_of_nothing {
                Horizon::OfMarker(self.horizon)
            } else {
                Horizon::OfTombstones(self.horizon)
            };
            thin(batch, horizon, |record| header.is_control() || self.keeps(header, record))?
        };
        Ok(match thinned {
            Thinned::Whole => Some(Cow::Borrowed(batch.bytes)),
            Thinned::Rewritten(bytes) => Some(Cow::Owned(bytes)),
            Thinned::Nothing if stays_empty => Some(Cow::Owned(emptied(header).to_vec())),
            Thinned::Nothing => None,
        })
    }

    /// Whether a record of a data batch stays.
    fn keeps(&self, header: &BatchHeader, record: &Record<'_>) -> bool {
        if record.offset >= self.mapped_to {
            return true;
        }
        // Without a key nobody could say what it is the latest of: it came before the topic was compacted.
        let Some(key) = record.key else { return false };
        let is_latest = self.latest.latest_of(key).is_none_or(|latest| record.offset >= latest);
        is_latest && (record.value.is_some() || !self.is_past_horizon(header))
    }

    fn is_past_horizon(&self, header: &BatchHeader) -> bool {
        header.delete_horizon().is_some_and(|horizon| horizon <= self.now)
    }
}

/// The newest batch of each producer that the log knows: it has the last sequence, and the epoch.
#[derive(Debug)]
pub(super) struct LastBatches(BTreeMap<ProducerId, (Option<Offset>, ProducerEpoch)>);

impl LastBatches {
    pub(super) fn of(producers: &Producers) -> Self {
        let last = producers.iter().map(|(id, entry)| {
            let offset = entry.batches.back().map(|batch| batch.last_offset);
            (id, (offset, entry.epoch))
        });
        Self(last.collect())
    }

    /// Whether this is the newest batch of its producer, or a marker that tells its epoch if there is no batch.
    fn has(&self, header: &BatchHeader) -> bool {
        match self.0.get(&header.producer_id) {
            Some((Some(last), _)) => header.last_offset() == *last,
            Some((None, epoch)) => header.is_control() && header.producer_epoch == *epoch,
            None => false,
        }
    }
}
