//! The producer snapshot file: the producers of a partition as they were at an offset.
//!
//! ```text
//! offset  size  what
//! 0       2     version, 1
//! 2       4     CRC-32C of all that follows
//! 6       4     count of entries
//! each entry:
//! 0       8     producer id
//! 8       2     producer epoch
//! 10      4     last sequence, -1 if the producer has no batch
//! 14      8     last offset
//! 22      4     last offset less the first offset of that batch
//! 26      8     timestamp
//! 34      4     coordinator epoch
//! 38      8     first offset of the open transaction, -1 if there is none
//! ```
//! All big-endian. Source: `ProducerSnapshot.json` of Apache Kafka 4.3. The file holds only the last batch of a producer.

use std::collections::VecDeque;

use super::producers::{ProducerEntry, Producers, RememberedBatch};
use crate::model::{Offset, ProducerEpoch, ProducerId, UnixMillis};
use crate::record::crc32c;

const VERSION: i16 = 1;
const ENTRY_BYTES: usize = 46;

/// What is wrong with a snapshot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error("the file ends early")]
    Short,
    #[error("version {0}, expected {VERSION}")]
    Version(i16),
    #[error("its checksum does not fit")]
    Checksum,
}

/// Writes a snapshot.
pub(super) fn write(producers: &Producers) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut count = 0_u32;
    for (id, entry) in producers.iter() {
        let last = entry.batches.back().copied();
        count += 1;
        entries.extend_from_slice(&id.0.to_be_bytes());
        entries.extend_from_slice(&entry.epoch.0.to_be_bytes());
        entries.extend_from_slice(&last.map_or(-1, |batch| batch.last_sequence).to_be_bytes());
        entries.extend_from_slice(&last.map_or(-1, |batch| batch.last_offset.0).to_be_bytes());
        entries.extend_from_slice(&last.map_or(0, |batch| batch.last_offset_delta).to_be_bytes());
        entries.extend_from_slice(&entry.last_timestamp.0.to_be_bytes());
        entries.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        let transaction_start = entry.transaction_start.map_or(-1, |offset| offset.0);
        entries.extend_from_slice(&transaction_start.to_be_bytes());
    }
    let checked = [&count.to_be_bytes()[..], &entries].concat();
    let mut bytes = Vec::with_capacity(6 + checked.len());
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&crc32c(&checked).to_be_bytes());
    bytes.extend_from_slice(&checked);
    bytes
}

/// Reads a snapshot.
pub(super) fn read(bytes: &[u8]) -> Result<Producers, SnapshotError> {
    let mut reader = Reader(bytes);
    let version = i16::from_be_bytes(reader.take()?);
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let checksum = u32::from_be_bytes(reader.take()?);
    if crc32c(reader.0) != checksum {
        return Err(SnapshotError::Checksum);
    }
    let count = u32::from_be_bytes(reader.take()?);
    if reader.0.len() / ENTRY_BYTES < count as usize {
        return Err(SnapshotError::Short);
    }
    let mut producers = Producers::default();
    for _ in 0..count {
        let id = ProducerId(i64::from_be_bytes(reader.take()?));
        let epoch = ProducerEpoch(i16::from_be_bytes(reader.take()?));
        let last_sequence = i32::from_be_bytes(reader.take()?);
        let last_offset = Offset(i64::from_be_bytes(reader.take()?));
        let last_offset_delta = i32::from_be_bytes(reader.take()?);
        let timestamp = UnixMillis(i64::from_be_bytes(reader.take()?));
        let coordinator_epoch = i32::from_be_bytes(reader.take()?);
        let transaction_start = i64::from_be_bytes(reader.take()?);
        let batch = RememberedBatch { last_sequence, last_offset, last_offset_delta, timestamp };
        let batches = if last_offset.0 >= 0 { VecDeque::from([batch]) } else { VecDeque::new() };
        let transaction_start = (transaction_start >= 0).then_some(Offset(transaction_start));
        let last_timestamp = timestamp;
        let entry =
            ProducerEntry { epoch, batches, last_timestamp, coordinator_epoch, transaction_start };
        producers.insert(id, entry);
    }
    Ok(producers)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(SnapshotError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producers() -> Producers {
        let mut producers = Producers::default();
        for (id, batches) in [(7, 1), (3, 0)] {
            let batch = RememberedBatch {
                last_sequence: 11,
                last_offset: Offset(21),
                last_offset_delta: 9,
                timestamp: UnixMillis(1_700_000_000_000),
            };
            let entry = ProducerEntry {
                epoch: ProducerEpoch(2),
                batches: vec![batch; batches].into(),
                last_timestamp: batch.timestamp,
                coordinator_epoch: -1,
                transaction_start: (batches == 0).then_some(Offset(5)),
            };
            producers.insert(ProducerId(id), entry);
        }
        producers
    }

    #[test]
    fn reads_back_what_was_written() {
        assert_eq!(read(&write(&producers())), Ok(producers()));
        assert_eq!(write(&Producers::default()).len(), 10);
        assert_eq!(write(&producers()).len(), 10 + 2 * ENTRY_BYTES);
    }

    #[test]
    fn every_damage_is_found() {
        let bytes = write(&producers());
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "cut to {cut} bytes");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(read(&damaged).is_err(), "bit flipped at {at}");
        }
    }
}
