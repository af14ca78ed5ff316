//! The transactions of a log that hold back readers of committed records: those that are not decided, and those whose
//! marker is not committed yet.
//!
//! Source: the ongoing and the unreplicated transactions of `ProducerStateManager` of Apache Kafka 4.3. Pure.

use std::collections::BTreeMap;

use super::partition_log::LogPosition;
use crate::model::{Offset, ProducerId};

/// The transactions of one log, by first offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Transactions {
    open: BTreeMap<Offset, Open>,
    unreplicated: BTreeMap<Offset, Decided>,
}

/// A transaction without marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    producer: ProducerId,
    /// Its first batch.
    start: LogPosition,
}

/// A transaction with a marker, which the high watermark may not have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decided {
    start: LogPosition,
    marker: Offset,
}

/// What all transactions together hold back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unstable {
    /// Where the first one of them begins.
    pub(super) first: Option<LogPosition>,
    /// Whether the high watermark, when it moves, may set one of them free.
    pub(super) waits_for_commit: bool,
}

impl Transactions {
    /// A transaction begins with the batch at `start`.
    pub(super) fn begin(&mut self, producer: ProducerId, start: LogPosition) {
        self.open.insert(start.offset, Open { producer, start });
    }

    /// The transaction that began at `first` is decided by the marker at `marker`.
    pub(super) fn end(&mut self, first: Offset, marker: Offset) {
        if let Some(Open { start, .. }) = self.open.remove(&first) {
            self.unreplicated.insert(first, Decided { start, marker });
        }
    }

    /// All below the high watermark is committed.
    pub(super) fn commit(&mut self, high_watermark: Offset) {
        self.unreplicated.retain(|_, decided| decided.marker >= high_watermark);
    }

    /// Where the first open transaction of another producer begins.
    pub(super) fn first_of_others(&self, producer: ProducerId) -> Option<Offset> {
        self.open.iter().find(|(_, open)| open.producer != producer).map(|(first, _)| *first)
    }

    /// What they hold back.
    pub(super) fn unstable(&self) -> Unstable {
        let undecided = self.open.values().next().map(|open| open.start);
        let unreplicated = self.unreplicated.values().next().map(|decided| decided.start);
        let first = undecided.into_iter().chain(unreplicated).min_by_key(|start| start.offset);
        Unstable { first, waits_for_commit: unreplicated.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> LogPosition {
        LogPosition { offset: Offset(offset), segment: Offset(0), position: 7 }
    }

    #[test]
    fn the_first_one_that_is_undecided_or_not_committed_counts() {
        let mut transactions = Transactions::default();
        let first =
            |transactions: &Transactions| transactions.unstable().first.map(|first| first.offset.0);
        assert_eq!(transactions.unstable(), Unstable::default());
        transactions.begin(ProducerId(1), at(10));
        transactions.begin(ProducerId(2), at(12));
        assert_eq!(
            transactions.unstable(),
            Unstable { first: Some(at(10)), waits_for_commit: false }
        );
        assert_eq!(transactions.first_of_others(ProducerId(1)), Some(Offset(12)));
        assert_eq!(transactions.first_of_others(ProducerId(2)), Some(Offset(10)));
        transactions.end(Offset(10), Offset(20));
        assert_eq!(
            transactions.unstable(),
            Unstable { first: Some(at(10)), waits_for_commit: true }
        );
        assert_eq!(transactions.first_of_others(ProducerId(2)), None);
        transactions.commit(Offset(20));
        assert_eq!(first(&transactions), Some(10), "the marker is at 20, not below");
        transactions.commit(Offset(21));
        assert_eq!(
            transactions.unstable(),
            Unstable { first: Some(at(12)), waits_for_commit: false }
        );
        transactions.end(Offset(12), Offset(30));
        transactions.begin(ProducerId(1), at(31));
        assert_eq!(first(&transactions), Some(12));
        transactions.commit(Offset(40));
        assert_eq!(first(&transactions), Some(31));
    }
}
