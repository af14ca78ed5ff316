//! What compaction has to know of transactions: the records of an aborted one go at once, and a marker goes after them.
//!
//! Source: `CleanedTransactionMetadata` of Apache Kafka 4.3.1.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::partition_log::Published;
use super::super::transaction_index::AbortedTransaction;
use super::CleanError;
use crate::env::Residency;
use crate::model::{Offset, ProducerId};
use crate::record::{Batch, BatchError, EndMarker, TransactionOutcome};

/// The aborted transactions that reach below `end`, by their first offsets. Their markers may lie above.
pub(super) fn aborted_below(
    published: &Published,
    end: Offset,
) -> Result<Vec<AbortedTransaction>, CleanError> {
    let mut aborted = Vec::new();
    for segment in &*published.segments {
        let collected =
            segment.transactions.collect(Offset::ZERO, end, Residency::Any, &mut aborted);
        if collected.map_err(|error| CleanError::io(&segment.path())(error))? == Some(true) {
            break;
        }
    }
    aborted.sort_by_key(|transaction| transaction.first_offset);
    Ok(aborted)
}

/// What is going on at a place of a log that is walked over.
#[derive(Debug)]
pub(super) struct CleanedTransactions {
    /// Aborted transactions that were not come to, by their first offset.
    ahead: VecDeque<AbortedTransaction>,
    /// Those that the walk is in.
    aborted: BTreeMap<ProducerId, Aborted>,
    /// Producers of which a batch was met that is to stay.
    committed: BTreeSet<ProducerId>,
    /// Those of which a batch was met, in the order of their markers, which stay.
    indexed: Vec<AbortedTransaction>,
}

#[derive(Debug)]
struct Aborted {
    transaction: AbortedTransaction,
    /// Whether a batch of it was met.
    is_met: bool,
}

impl CleanedTransactions {
    /// For a walk from `from` on; `aborted` are ordered by their first offset.
    pub(super) fn new(aborted: &[AbortedTransaction], from: Offset) -> Self {
        let reach = aborted.iter().filter(|transaction| transaction.last_offset >= from);
        Self {
            ahead: reach.copied().collect(),
            aborted: BTreeMap::new(),
            committed: BTreeSet::new(),
            indexed: Vec::new(),
        }
    }

    /// Takes note of the next batch. Gives whether its records have no more use as far as transactions go: it is of an
    /// aborted one, or the marker of one of which nothing was met.
    pub(super) fn pass(&mut self, batch: &Batch<'_>) -> Result<bool, BatchError> {
        let (producer, last) = (batch.header.producer_id, batch.header.last_offset());
        while let Some(next) = self.ahead.pop_front_if(|next| next.first_offset <= last) {
            let begun = Aborted { transaction: next, is_met: false };
            self.aborted.entry(next.producer_id).or_insert(begun);
        }
        if batch.header.is_control() {
            return self.pass_marker(batch);
        }
        if !batch.header.is_transactional() {
            return Ok(false);
        }
        match self.aborted.get_mut(&producer) {
            Some(aborted) => {
                aborted.is_met = true;
                Ok(true)
            }
            None => {
                self.committed.insert(producer);
                Ok(false)
            }
        }
    }

    fn pass_marker(&mut self, batch: &Batch<'_>) -> Result<bool, BatchError> {
        // An earlier compaction has emptied it.
        if batch.header.record_count == 0 {
            return Ok(true);
        }
        let producer = batch.header.producer_id;
        Ok(match EndMarker::read(batch.bytes)?.map(|marker| marker.outcome) {
            Some(TransactionOutcome::Abort) => match self.aborted.remove(&producer) {
                Some(Aborted { transaction, is_met: true }) => {
                    self.indexed.push(transaction);
                    false
                }
                Some(_) | None => true,
            },
            Some(TransactionOutcome::Commit) => !self.committed.remove(&producer),
            None => false,
        })
    }

    /// The transactions that belong into the index of the segment which the walk has just left.
    pub(super) fn take_indexed(&mut self) -> Vec<AbortedTransaction> {
        std::mem::take(&mut self.indexed)
    }
}
