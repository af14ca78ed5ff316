//! Batches with fewer records than they had: what compaction leaves of them.
//!
//! Owns how a batch is written again. Does not know which records go.
//!
//! **Invariant:** offsets, leader epoch, producer and sequence of a batch stay what they were, so that a thinned batch still
//! tells a log where it ends and which sequences were seen. Source: `MemoryRecords.filterTo` of Apache Kafka 4.3.1, KIP-534.

use std::ops::ControlFlow;

use super::builder::{RECORD_ATTRIBUTES, length, write_bytes};
use super::compression::{Compression, Compressor};
use super::error::BatchError;
use super::header::{Attributes, BatchHeader, TimestampType};
use super::records::{Record, visit_records};
use super::scan::Batch;
use super::varint::write_varlong;
use crate::model::UnixMillis;

/// From when on a later compaction may drop the tombstones of a batch; written into batches that do not have it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Horizon {
    /// Given to a batch that keeps a tombstone.
    OfTombstones(UnixMillis),
    /// Given in any case: the batch is the marker of a transaction of which nothing is left.
    OfMarker(UnixMillis),
}

/// What is left of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thinned {
    /// All of it, as it is.
    Whole,
    /// No record.
    Nothing,
    /// This batch.
    Rewritten(Vec<u8>),
}

/// Keeps the records for which `keep` holds, which has to say the same each time that it is asked of a record. The
/// checksum is not looked at.
///
/// # Errors
/// As [`visit_records`].
pub fn thin(
    batch: &Batch<'_>,
    horizon: Horizon,
    keep: impl Fn(&Record<'_>) -> bool,
) -> Result<Thinned, BatchError> {
    let (mut kept, mut tombstones) = (0_i32, false);
    visit_records(batch.bytes, |record| {
        if keep(&record) {
            kept += 1;
            tombstones |= record.value.is_none();
        }
        ControlFlow::Continue(())
    })?;
    if kept == 0 {
        return Ok(Thinned::Nothing);
    }
    let new_horizon = match horizon {
        _ if batch.header.delete_horizon().is_some() => None,
        Horizon::OfTombstones(horizon) => tombstones.then_some(horizon),
        Horizon::OfMarker(horizon) => Some(horizon),
    };
    if kept == batch.header.record_count && new_horizon.is_none() {
        return Ok(Thinned::Whole);
    }
    rewrite(batch, new_horizon, keep).map(Thinned::Rewritten)
}

/// The batch without its records.
#[must_use]
pub fn emptied(header: &BatchHeader) -> [u8; BatchHeader::BYTES] {
    let attributes = header.attributes.with(Attributes::DELETE_HORIZON, false);
    let empty =
        BatchHeader { attributes, base_timestamp: UnixMillis::NONE, record_count: 0, ..*header };
    empty.with_payload(Compression::None, &[]).to_bytes()
}

/// Writes the records that are kept, compressed as before.
fn rewrite(
    batch: &Batch<'_>,
    new_horizon: Option<UnixMillis>,
    keep: impl Fn(&Record<'_>) -> bool,
) -> Result<Vec<u8>, BatchError> {
    let codec = batch.header.compression();
    let mut header = batch.header;
    if let Some(horizon) = new_horizon {
        header.attributes = header.attributes.with(Attributes::DELETE_HORIZON, true);
        header.base_timestamp = horizon;
    }
    if header.timestamp_type() == TimestampType::CreateTime {
        header.max_timestamp = UnixMillis::NONE;
    }
    header.record_count = 0;
    let mut compressor = Compressor::new(codec, None, None);
    let (mut record_bytes, mut length_bytes) = (Vec::new(), Vec::new());
    visit_records(batch.bytes, |record| {
        if keep(&record) {
            header.record_count += 1;
            header.max_timestamp = header.max_timestamp.max(record.timestamp);
            write_record(&mut record_bytes, &header, &record);
            length_bytes.clear();
            write_varlong(&mut length_bytes, length(record_bytes.len()));
            compressor.write(&length_bytes);
            compressor.write(&record_bytes);
        }
        ControlFlow::Continue(())
    })?;
    let payload = compressor.finish();
    let header = header.with_payload(codec, &payload);
    Ok([&header.to_bytes()[..], &payload].concat())
}

/// Writes a record of the batch with this header, without its length.
fn write_record(out: &mut Vec<u8>, header: &BatchHeader, record: &Record<'_>) {
    out.clear();
    out.push(RECORD_ATTRIBUTES);
    write_varlong(out, record.timestamp.0.wrapping_sub(header.base_timestamp.0));
    write_varlong(out, record.offset.since(header.base_offset));
    write_bytes(out, record.key);
    write_bytes(out, record.value);
    write_varlong(out, length(record.headers.clone().count()));
    out.extend_from_slice(record.headers.bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
    use crate::record::{BatchBuilder, scan};

    type Owned = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    fn records(batch: &[u8]) -> Vec<Owned> {
        let mut found = Vec::new();
        visit_records(batch, |record| {
            let headers = record.headers.clone();
            found.push((
                record.offset.0,
                record.timestamp.0,
                record.key.map(<[u8]>::to_vec),
                record.value.map(<[u8]>::to_vec),
                headers.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect(),
            ));
            ControlFlow::Continue(())
        })
        .unwrap();
        found
    }

    fn batch(codec: Compression, values: &[Option<u8>]) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.compression(codec).base_offset(Offset(100)).leader_epoch(LeaderEpoch(3));
        builder.producer(ProducerId(7), ProducerEpoch(1), 20);
        for (value, at) in values.iter().zip(0..) {
            let value = value.map(|byte| vec![byte; usize::from(byte)]);
            let headers = [("h", value.as_deref()), ("none", None)];
            let key = [b'k', at];
            let timestamp = UnixMillis(1_000 - i64::from(at) * 7);
            builder.push_with_headers(timestamp, Some(&key), value.as_deref(), &headers);
        }
        builder.build().to_vec()
    }

    fn one(bytes: &[u8]) -> Batch<'_> {
        scan(bytes).next().unwrap().unwrap()
    }

    const LATER: UnixMillis = UnixMillis(5_000_000_000_000);

    proptest! {
        #[test]
        fn what_is_kept_is_as_it_was_and_the_rest_is_gone(
            codec in proptest::sample::select(&Compression::ALL[..]),
            values in proptest::collection::vec(any::<Option<u8>>(), 1..20),
            keep in any::<u32>(),
            is_marker in any::<bool>(),
        ) {
            let bytes = batch(codec, &values);
            let before = one(&bytes).header;
            let keeps = |offset: i64| keep >> (offset - 100) & 1 == 1;
            let expected: Vec<_> = records(&bytes).into_iter().filter(|r| keeps(r.0)).collect();
            let horizon =
                if is_marker { Horizon::OfMarker(LATER) } else { Horizon::OfTombstones(LATER) };
            let thinned = thin(&one(&bytes), horizon, |record| keeps(record.offset.0)).unwrap();
            let has_tombstone = expected.iter().any(|record| record.3.is_none());
            let after = match &thinned {
                Thinned::Nothing => {
                    prop_assert_eq!(expected.len(), 0);
                    return Ok(());
                }
                Thinned::Whole => {
                    prop_assert_eq!(expected.len(), values.len());
                    prop_assert_eq!(has_tombstone || is_marker, false);
                    return Ok(());
                }
                Thinned::Rewritten(after) => after,
            };
            let header = one(after).header;
            header.check_crc(after).unwrap();
            prop_assert_eq!(header.size_bytes() as usize, after.len());
            prop_assert_eq!(
                header.delete_horizon(),
                (has_tombstone || is_marker).then_some(LATER)
            );
            let newest = expected.iter().map(|record| record.1).max();
            prop_assert_eq!(Some(header.max_timestamp.0), newest);
            prop_assert_eq!(records(after), expected);
            let kept = BatchHeader {
                batch_length: before.batch_length,
                crc: before.crc,
                attributes: before.attributes,
                base_timestamp: before.base_timestamp,
                max_timestamp: before.max_timestamp,
                record_count: before.record_count,
                ..header
            };
            prop_assert_eq!(kept, before);
            // The horizon is set once.
            let again = thin(&one(after), Horizon::OfMarker(UnixMillis(1)), |_| true).unwrap();
            prop_assert_eq!(again == Thinned::Whole, header.delete_horizon().is_some());
        }
    }

    #[test]
    fn an_emptied_batch_keeps_its_place_and_its_producer() {
        let bytes = batch(Compression::Zstd, &[Some(1), None, Some(3)]);
        let before = one(&bytes).header;
        let empty = emptied(&before);
        let after = one(&empty).header;
        after.check_crc(&empty).unwrap();
        assert_eq!(records(&empty), []);
        assert_eq!((after.base_offset, after.last_offset()), (Offset(100), Offset(102)));
        assert_eq!((after.base_sequence, after.last_sequence()), (20, 22));
        assert_eq!(after.max_timestamp, before.max_timestamp);
        assert_eq!(after.compression(), Compression::None);
    }
}
