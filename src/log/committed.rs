//! What a reader of committed records has to be given of what was read.
//!
//! Apache Kafka sends the records of aborted transactions as well, and a list by which the client skips them. Here they stay
//! where they are: whoever reads past many of them would get, decode and throw away what costs more than the list itself. To
//! a client the offsets that are missing look as if they had been compacted away.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use super::transaction_index::AbortedTransaction;
use crate::record::{Batch, scan};

/// What is given of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Parts of what was read, in their order; none of them is empty.
    pub records: Vec<Bytes>,
    /// The aborted transactions that reach into the parts, all of which the client has to be told.
    pub aborted: Vec<AbortedTransaction>,
}

/// Leaves out of `records` the batches and markers of the transactions in `aborted`, which must be all that reach into them;
/// their order does not matter, and others do no harm.
///
/// The last whole batch stays in any case, since its end is where a client goes on; what is there of one that is cut off does
/// not, unless nothing at all is left out. What is no batch makes that all is given as it was read: the client finds it.
#[must_use]
pub fn committed(records: Bytes, mut aborted: Vec<AbortedTransaction>) -> Committed {
    if aborted.is_empty() {
        return whole(records, aborted);
    }
    aborted.sort_unstable_by_key(|transaction| transaction.first_offset);
    let mut ahead = aborted.iter().peekable();
    // The last one of each producer that was come to. It may have ended.
    let mut begun = HashMap::new();
    let mut kept: Vec<Range<usize>> = Vec::new();
    // The last batch, if it is of an aborted transaction.
    let mut last = None;
    let mut end = 0;
    for batch in scan(&records) {
        let Ok(Batch { header, bytes }) = batch else { return whole(records, aborted) };
        while let Some(next) = ahead.next_if(|next| next.first_offset <= header.base_offset) {
            begun.insert(next.producer_id, next);
        }
        let range = end..end + bytes.len();
        end = range.end;
        // As the marker is the end of it, this finds that too.
        let transaction = begun
            .get(&header.producer_id)
            .filter(|it| header.is_transactional() && header.base_offset <= it.last_offset);
        last = transaction.map(|transaction| (range.clone(), **transaction));
        if transaction.is_none() {
            keep(&mut kept, range);
        }
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
    use crate::model::{Offset, ProducerEpoch, ProducerId, UnixMillis};
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
