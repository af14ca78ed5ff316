//! What a reader of committed records has to be given of what was read.
//!
//! Apache Kafka sends the records of aborted transactions as well, and a list by which the client skips them. Here they stay
//! where they are: whoever reads past many of them would get, decode and throw away what costs more than the list itself. To
//! a client the offsets that are missing look as if they had been compacted away.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::Range;

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::transaction_index::AbortedTransaction;
use crate::model::ProducerId;
use crate::record::{Batch, BatchHeader, scan};

/// Up to so many bytes for each transaction, all of them are touched: a header in about every 1,000.
const DENSE_BYTES: usize = 2_048;
/// How much is touched at once.
const BLOCK_BYTES: usize = 4_096;
/// What a processor brings from memory at once.
const LINE_BYTES: usize = 64;

/// What is given of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Parts of what was read, in their order; none of them is empty.
    pub records: Vec<Bytes>,
    /// The aborted transactions that reach into the parts, all of which the client has to be told.
    pub aborted: Vec<AbortedTransaction>,
}

/// Leaves out of `records` the batches and markers of the transactions in `aborted`, which must be all that reach into them, in
/// the order of their markers; others do no harm.
///
/// The last whole batch stays in any case, since its end is where a client goes on; what is there of one that is cut off does
/// not, unless nothing at all is left out. What is no batch makes that all is given as it was read: the client finds it.
#[must_use]
pub fn committed(records: Bytes, aborted: Vec<AbortedTransaction>) -> Committed {
    if aborted.is_empty() {
        return whole(records, aborted);
    }
    let mut by_producer = ByProducer::new(&aborted);
    let mut kept: Vec<Range<usize>> = Vec::new();
    // The last batch, if it is of an aborted transaction.
    let mut last = None;
    let (mut end, mut seen) = (0, 0);
    let is_dense = records.len() / aborted.len() <= DENSE_BYTES;
    for batch in scan(&records) {
        let Ok(Batch { header, bytes }) = batch else { return whole(records, aborted) };
        let range = end..end + bytes.len();
        end = range.end;
        if is_dense && end >= seen {
            seen = end + BLOCK_BYTES;
            touch(records.get(end..seen.min(records.len())).unwrap_or_default());
        }
        let transaction = by_producer.transaction_of(&header);
        if transaction.is_none() {
            keep(&mut kept, range.clone());
        }
        last = transaction.map(|transaction| (range, *transaction));
    }
    let told = last.map(|(range, transaction)| {
        keep(&mut kept, range);
        transaction
    });
    let aborted = told.into_iter().collect();
    match &*kept {
        [all] if *all == (0..end) => whole(records, aborted),
        _ => Committed {
            records: kept.into_iter().map(|range| records.slice(range)).collect(),
            aborted,
        },
    }
}

/// Aborted transactions, to be asked for with offsets that rise.
struct ByProducer<'a> {
    /// In the order of their markers, and so in the order of each producer's.
    transactions: &'a [AbortedTransaction],
    /// For each of them where the next one of its producer stands.
    next: Vec<Option<usize>>,
    /// Where each producer's first one stands that may not have ended.
    current: HashMap<ProducerId, usize, RandomState>,
}

impl<'a> ByProducer<'a> {
    fn new(transactions: &'a [AbortedTransaction]) -> Self {
        let mut current = HashMap::default();
        let mut next: Vec<_> = transactions
            .iter()
            .enumerate()
            .rev()
            .map(|(index, transaction)| current.insert(transaction.producer_id, index))
            .collect();
        next.reverse();
        Self { transactions, next, current }
    }

    /// The one to which a batch or a marker belongs.
    fn transaction_of(&mut self, header: &BatchHeader) -> Option<&'a AbortedTransaction> {
        if !header.is_transactional() {
            return None;
        }
        let offset = header.base_offset;
        let current = self.current.get_mut(&header.producer_id)?;
        loop {
            let transaction = self.transactions.get(*current)?;
            // The marker is the last of it.
            if offset <= transaction.last_offset {
                return (transaction.first_offset <= offset).then_some(transaction);
            }
            *current = (*self.next.get(*current)?)?;
        }
    }
}

/// Brings bytes near the processor. From one header to the next it would wait for each in turn; of these lines it fetches many
/// at a time, which takes less even though they are many more.
fn touch(block: &[u8]) {
    black_box(block.iter().step_by(LINE_BYTES).fold(0, |sum, byte| sum ^ byte));
}

fn whole(records: Bytes, aborted: Vec<AbortedTransaction>) -> Committed {
    let records = if records.is_empty() { Vec::new() } else { vec![records] };
    Committed { records, aborted }
}

/// Adds a range that begins at the end of the last one, or after it.
fn keep(kept: &mut Vec<Range<usize>>, range: Range<usize>) {
    match kept.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => kept.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Offset, ProducerEpoch, UnixMillis};
    use crate::record::{BatchBuilder, EndMarker, TransactionOutcome};

    const DATA: Option<TransactionOutcome> = None;
    const ABORT: Option<TransactionOutcome> = Some(TransactionOutcome::Abort);
    const COMMIT: Option<TransactionOutcome> = Some(TransactionOutcome::Commit);

    /// Batches at the offsets 0, 1 and so on: of which producer, and how they end its transaction, if they do.
    fn batches(producers: &[(i64, Option<TransactionOutcome>)]) -> Vec<Bytes> {
        let batch = |(offset, (producer, outcome)): (i64, &(i64, Option<TransactionOutcome>))| {
            let (id, epoch) = (ProducerId(*producer), ProducerEpoch(0));
            let Some(outcome) = *outcome else {
                let mut data = BatchBuilder::new();
                data.base_offset(Offset(offset)).producer(id, epoch, 0).transactional();
                return data.push(UnixMillis(1), None, Some(b"v")).build();
            };
            let marker = EndMarker { outcome, coordinator_epoch: 0 };
            let marker = marker.batch(id, epoch, UnixMillis(1));
            [&offset.to_be_bytes(), &marker.header().to_bytes()[8..], marker.payload()]
                .concat()
                .into()
        };
        (0..).zip(producers).map(batch).collect()
    }

    fn aborted(id: i64, first: i64, last: i64) -> AbortedTransaction {
        AbortedTransaction {
            producer_id: ProducerId(id),
            first_offset: Offset(first),
            last_offset: Offset(last),
            last_stable: Offset(0),
        }
    }

    fn given(batches: &[Bytes], aborted: Vec<AbortedTransaction>) -> (Vec<Bytes>, Vec<i64>) {
        let given = committed(batches.concat().into(), aborted);
        let told = given.aborted.iter().map(|it| it.first_offset.0).collect();
        (given.records, told)
    }

    #[test]
    fn what_is_aborted_is_left_out_and_what_stands_together_stays_so() {
        let batches = batches(&[
            (1, DATA),
            (2, DATA),
            (1, DATA),
            (3, DATA),
            (1, ABORT),
            (2, COMMIT),
            (1, DATA),
            (1, COMMIT),
            (3, ABORT),
            (4, DATA),
        ]);
        let (records, told) = given(&batches, vec![aborted(1, 0, 4), aborted(3, 3, 8)]);
        let expected = [&batches[1..2], &batches[5..8], &batches[9..]].map(<[Bytes]>::concat);
        assert_eq!((records, told), (expected.map(Bytes::from).to_vec(), vec![]));
    }

    #[test]
    fn the_last_batch_is_kept_with_its_transaction() {
        let all = batches(&[(1, DATA), (1, ABORT), (1, DATA), (2, DATA), (1, ABORT)]);
        let transactions = || vec![aborted(1, 0, 1), aborted(1, 2, 4), aborted(2, 3, 9)];
        for (end, first) in [(1, 0), (2, 0), (3, 2), (4, 3), (5, 2)] {
            let (records, told) = given(&all[..end], transactions());
            assert_eq!((records, told), (vec![all[end - 1].clone()], vec![first]), "{end}");
        }
    }

    #[test]
    fn a_batch_that_is_cut_off_stays_behind_what_is_whole() {
        let all = batches(&[(1, DATA), (2, DATA), (3, DATA)]);
        let cut = |until: usize| Bytes::from(all.concat()).slice(..until);
        let until = all[0].len() + all[1].len() + 20;
        let left_out = committed(cut(until), vec![aborted(1, 0, 7)]);
        assert_eq!((left_out.records, left_out.aborted), (vec![all[1].clone()], vec![]));
        for others in [vec![], vec![aborted(3, 2, 7)], vec![aborted(4, 2, 7)]] {
            assert_eq!(committed(cut(until), others).records, [cut(until)]);
        }
    }

    #[test]
    fn nothing_is_left_out_of_what_is_damaged() {
        let mut bytes = batches(&[(1, DATA), (1, ABORT)]).concat();
        bytes.extend([0xff; 70]);
        let transactions = vec![aborted(1, 0, 1)];
        let given = committed(bytes.clone().into(), transactions.clone());
        assert_eq!((given.records, given.aborted), (vec![Bytes::from(bytes)], transactions));
    }

    #[test]
    fn nothing_is_given_of_nothing() {
        let nothing = Committed { records: vec![], aborted: vec![] };
        assert_eq!(committed(Bytes::new(), vec![]), nothing);
        assert_eq!(committed(Bytes::new(), vec![aborted(1, 0, 1)]), nothing);
    }
}
