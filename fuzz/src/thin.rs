//! What compaction makes of a batch that a log holds, and what a log reads in control batches.
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 1 | how what follows becomes a batch, as in [`batch`](crate::batch) |
//! | 1 | which records are kept: those whose offset has one of these bits |
//! | 1 | bit 0: it is a marker of which nothing is left |
//! | | the batch, or what it is made from |
//!
//! A batch whose records can be read is thinned to exactly the records that are kept, in a batch with the same offsets, producer
//! and codec, whose checksum fits. Reading it as a control batch gives an answer or an error.

use std::ops::ControlFlow;

use ottla::model::UnixMillis;
use ottla::record::{
    Batch, BatchHeader, Compression, EndMarker, Horizon, Thinned, emptied, scan, thin,
    visit_records,
};

use crate::batch::Form;
use crate::input::Input;
use crate::verdict;

const HORIZON: UnixMillis = UnixMillis(1_800_000_000_000);

/// Runs one input.
///
/// # Panics
/// If a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (kind, kept_bits, is_marker) = (input.byte(), input.byte(), input.byte() & 1 == 1);
    let codec = Compression::ALL[usize::from(kind >> 2) % Compression::ALL.len()];
    let bytes = Form::of(kind).batch(codec, input.rest());
    let Some(Ok(batch)) = scan(&bytes).next() else {
        return verdict::refused(0);
    };
    let marker = EndMarker::read(batch.bytes);
    let horizon =
        if is_marker { Horizon::OfMarker(HORIZON) } else { Horizon::OfTombstones(HORIZON) };
    let is_kept = |record: &ottla::record::Record<'_>| keeps(kept_bits, record.offset.0);
    match thin(&batch, horizon, is_kept) {
        Ok(thinned) => {
            assert_keeps(&batch, kept_bits, &thinned);
            assert_has_no_records(&batch.header);
            verdict::accepted((
                std::mem::discriminant(&thinned),
                batch.header.compression(),
                batch.header.delete_horizon().is_some(),
                batch.header.record_count.min(3),
                marker.map(|marker| marker.is_some()).ok(),
                is_marker,
            ));
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            verdict::refused((std::mem::discriminant(&error), codec));
        }
    }
}

/// Batches in every codec, with a horizon or without, and markers.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for batch in crate::batch::seeds() {
        for kept_bits in [0, 1, 0xff] {
            seeds.push([&[batch[0], kept_bits, kept_bits & 1], &batch[2..]].concat());
        }
    }
    for outcome in
        [ottla::record::TransactionOutcome::Abort, ottla::record::TransactionOutcome::Commit]
    {
        let marker = EndMarker { outcome, coordinator_epoch: 3 };
        let (id, epoch) = (ottla::model::ProducerId(7), ottla::model::ProducerEpoch(1));
        let batch = marker.batch(id, epoch, HORIZON);
        let batch = [&batch.header().to_bytes()[..], batch.payload()].concat();
        seeds.push([&[Form::AsItIs as u8, 0xff, 1], &batch[..]].concat());
    }
    seeds.retain(|seed| {
        run(seed);
        verdict::take().is_some_and(|verdict| verdict.accepted)
    });
    assert!(seeds.len() > 50, "{} seeds", seeds.len());
    seeds
}

const fn keeps(kept_bits: u8, offset: i64) -> bool {
    offset & kept_bits as i64 != 0
}

/// A record, for comparing.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn seen(batch: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let visited = visit_records(batch, |record| {
        seen.push(Seen {
            offset: record.offset.0,
            timestamp: record.timestamp.0,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
                .collect(),
        });
        ControlFlow::Continue(())
    });
    visited.expect("what was thinned can be read");
    seen
}

fn assert_keeps(batch: &Batch<'_>, kept_bits: u8, thinned: &Thinned) {
    let mut expected = seen(batch.bytes);
    let before = expected.len();
    expected.retain(|record| keeps(kept_bits, record.offset));
    match thinned {
        Thinned::Whole => assert_eq!(expected.len(), before),
        Thinned::Nothing => assert!(expected.is_empty(), "{expected:?}"),
        Thinned::Rewritten(bytes) => {
            let header = BatchHeader::parse(bytes).expect("a batch was written");
            header.check_crc(bytes).expect("a batch was written");
            assert_eq!(header.size_bytes() as usize, bytes.len());
            let kept = |header: &BatchHeader| {
                let BatchHeader { base_offset, last_offset_delta, partition_leader_epoch, .. } =
                    *header;
                let producer = (header.producer_id, header.producer_epoch, header.base_sequence);
                (
                    base_offset,
                    last_offset_delta,
                    partition_leader_epoch,
                    producer,
                    header.compression(),
                )
            };
            assert_eq!(kept(&header), kept(&batch.header));
            assert_eq!(seen(bytes), expected);
        }
    }
}

fn assert_has_no_records(header: &BatchHeader) {
    let bytes = emptied(header);
    let empty = BatchHeader::parse(&bytes).expect("a batch was written");
    empty.check_crc(&bytes).expect("a batch was written");
    assert_eq!((empty.record_count, empty.last_offset()), (0, header.last_offset()));
    assert_eq!(seen(&bytes), []);
}
