//! Reading a state machine back from its log, a chunk at a time.
//!
//! Owns the walk over the log and the rule for damage: what cannot be read is named by its place and left out, the rest
//! counts. Holds one chunk in memory. Not here: who reads when (`task.rs`).

use std::ops::ControlFlow;

use bytes::Bytes;

use super::shard::{CoordinatorRecord, Shard};
use crate::env::Residency;
use crate::log::{Log, ReadError, ReadLimit};
use crate::model::Offset;
use crate::record::{self, Batch, EndMarker};
use crate::replica::{Partition, PartitionError};

/// A state machine that is being read back.
pub(super) struct Loading<S> {
    pub(super) shard: S,
    /// The next offset to read.
    pub(super) next: Offset,
    pub(super) tally: Tally,
}

/// What was found in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) records: u64,
    /// Records and whole batches that could not be read.
    pub(super) skipped: u64,
}

impl<S: Shard> Loading<S> {
    /// Replays the next `chunk_bytes` or so. Gives whether the end of the log was reached. Blocks for the disk.
    ///
    /// # Errors
    /// If the log cannot be read at all. Damage to it is no error.
    pub(super) fn read_chunk(
        &mut self,
        partition: &Partition,
        chunk_bytes: u32,
    ) -> Result<bool, PartitionError> {
        let log = partition.log()?;
        let read = log.read(self.next, chunk_bytes, true, ReadLimit::End, Residency::Any);
        let chunk = match read {
            Ok(read) => read.map(|read| read.records).unwrap_or_default(),
            Err(ReadError::Damaged { path, position, problem }) => {
                tracing::error!(path = %path.display(), position, %problem,
                    "a damaged log: the rest of this segment is not loaded");
                self.tally.skipped += 1;
                self.next = log.segment_after(self.next);
                return Ok(self.next >= log.ends().end);
            }
            Err(error) => return Err(error.into()),
        };
        let before = self.next;
        self.replay(&log, &chunk);
        // A log without a batch at or after this offset (they were compacted away) ends here.
        if self.next == before {
            self.next = log.ends().end;
        }
        Ok(self.next >= log.ends().end)
    }

    fn replay(&mut self, log: &Log, chunk: &[u8]) {
        for batch in record::scan(chunk) {
            match batch {
                Ok(batch) => {
                    self.replay_batch(log, &batch);
                    self.next = batch.header.next_offset();
                }
                Err(error) => {
                    tracing::error!(partition = %log.name(), after = %self.next, %error,
                        "a damaged batch: the rest of this segment is not loaded");
                    self.tally.skipped += 1;
                    self.next = log.segment_after(self.next);
                    return;
                }
            }
        }
    }

    fn replay_batch(&mut self, log: &Log, batch: &Batch<'_>) {
        let first = batch.header.base_offset;
        if let Err(error) = batch.header.check_crc(batch.bytes) {
            tracing::error!(partition = %log.name(), offset = %first, %error, "a damaged batch is not loaded");
            self.tally.skipped += 1;
            return;
        }
        if batch.header.is_control() {
            self.replay_marker(log, batch);
            return;
        }
        let producer = batch.header.is_transactional().then_some(batch.header.producer_id);
        let from = self.next;
        let visited = record::visit_records(batch.bytes, |record| {
            if record.offset < from {
                return ControlFlow::Continue(());
            }
            self.tally.records += 1;
            // Copied, so that what a shard keeps of a record does not keep the chunk.
            let loaded = CoordinatorRecord {
                key: Bytes::copy_from_slice(record.key.unwrap_or_default()),
                value: record.value.map(Bytes::copy_from_slice),
            };
            let replayed = match producer {
                None => self.shard.replay(record.offset, &loaded),
                Some(producer) => {
                    self.shard.replay_in_transaction(record.offset, producer, &loaded)
                }
            };
            if let Err(error) = replayed {
                tracing::error!(partition = %log.name(), offset = %record.offset, %error,
                    "a record is not loaded");
                self.tally.skipped += 1;
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = visited {
            tracing::error!(partition = %log.name(), offset = %first, %error,
                "the rest of a damaged batch is not loaded");
            self.tally.skipped += 1;
        }
    }

    /// A control batch: the end of a transaction, or something that is not for state machines.
    fn replay_marker(&mut self, log: &Log, batch: &Batch<'_>) {
        let header = &batch.header;
        if !EndMarker::may_be_in(header) || header.base_offset < self.next {
            return;
        }
        match EndMarker::read(batch.bytes) {
            Ok(Some(marker)) => self.shard.transaction_ended(header.producer_id, marker.outcome),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(partition = %log.name(), offset = %header.base_offset, %error,
                    "a damaged control batch is not loaded");
                self.tally.skipped += 1;
            }
        }
    }
}
