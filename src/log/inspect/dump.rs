//! What is in a single file: batches and their records, index entries, producers, checkpoints.
//!
//! Source: `DumpLogSegments` of Apache Kafka 4.3 for the facts that are shown.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::{InspectError, Wrong, bytes_of, open, read, wrong};
use crate::env::{Disk, Residency};
use crate::log::checkpoint;
use crate::log::files::{EPOCHS_FILE, Kind, PARTITION_METADATA_FILE};
use crate::log::index::{Entry, OffsetEntry, TimeEntry};
use crate::log::producers::ProducerEntry;
use crate::log::scan::{Found, Headers, check_sum};
use crate::log::snapshot;
use crate::log::transaction_index::{AbortedTransaction, ENTRY_BYTES};
use crate::model::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, TopicId, TopicName, UnixMillis,
};
use crate::record::{self, BatchHeader, Record};

/// Endings that a file gets before it is removed or put in place; what is in it stays the same.
const PASSING_SUFFIXES: [&str; 3] = [".deleted", ".swap", ".cleaned"];

/// What is to be shown of a file.
#[derive(Clone, Copy, Debug)]
pub struct DumpOptions {
    /// The records of each batch too.
    pub records: bool,
    /// Stop after this many bytes of a file of batches.
    pub bytes_max: Option<u32>,
}

/// One thing in a file.
#[derive(Debug)]
pub enum Dumped<'a> {
    /// A batch.
    Batch {
        /// Where it begins.
        position: u32,
        /// Its header.
        header: &'a BatchHeader,
        /// Whether its checksum fits.
        is_valid: bool,
    },
    /// A record of the batch before.
    Record {
        /// The header of its batch.
        header: &'a BatchHeader,
        /// The record.
        record: &'a Record<'a>,
        /// Its sequence; -1 if its batch has none.
        sequence: i32,
    },
    /// An entry of an offset index.
    Offset {
        /// The last offset of a batch.
        offset: Offset,
        /// Where that batch begins.
        position: u32,
    },
    /// An entry of a time index.
    Time {
        /// The largest timestamp so far.
        timestamp: UnixMillis,
        /// The last offset of the batch that has it.
        offset: Offset,
    },
    /// An idempotent producer.
    Producer(DumpedProducer),
    /// A transaction that was aborted.
    Aborted {
        /// Version of the entry.
        version: i16,
        /// The transaction.
        transaction: AbortedTransaction,
    },
    /// A leader epoch.
    Epoch {
        /// The epoch.
        epoch: LeaderEpoch,
        /// Its first offset.
        start_offset: Offset,
    },
    /// An offset of a partition.
    Checkpoint {
        /// Its topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// The offset.
        offset: Offset,
    },
    /// The topic that a directory is of.
    Topic(TopicId),
    /// What is not as it should be, which is the end of the file for us.
    Damage {
        /// Where, in bytes.
        position: u64,
        /// Bytes from there on.
        bytes: u64,
        /// What is wrong.
        problem: String,
    },
}

/// A producer as a snapshot holds it.
#[derive(Clone, Copy, Debug)]
pub struct DumpedProducer {
    /// Its id.
    pub producer_id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// Epoch of the coordinator that wrote its last marker; -1 if none did.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction.
    pub transaction_start: Option<Offset>,
    /// Largest timestamp of its last batch.
    pub last_timestamp: UnixMillis,
    /// Its last batch: sequence and offset of the last record, and that offset less the batch's first.
    pub last_batch: Option<(i32, Offset, i32)>,
}

/// Shows what is in a file to `each`, which may end it by an error. The file's name says what it is. Gives whether all was as it
/// should be.
///
/// # Errors
/// If the file cannot be read or its name says nothing, and what `each` says. Damage is shown, and no error.
pub fn dump(
    disk: &dyn Disk,
    path: &Path,
    options: DumpOptions,
    each: &mut dyn FnMut(Dumped<'_>) -> io::Result<()>,
) -> Result<bool, InspectError> {
    let mut dump = Dump { disk, path, each, is_sound: true };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name =
        PASSING_SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
    match (Kind::parse(name), name) {
        (Some((Kind::Records, _)), _) => dump.batches(options)?,
        (Some((Kind::OffsetIndex, base)), _) => dump.offsets(base)?,
        (Some((Kind::TimeIndex, base)), _) => dump.times(base)?,
        (Some((Kind::ProducerSnapshot, _)), _) => dump.producers()?,
        (Some((Kind::TransactionIndex, _)), _) => dump.aborted()?,
        (None, EPOCHS_FILE) => dump.epochs()?,
        (None, PARTITION_METADATA_FILE) => dump.topic()?,
        (None, name) if name.ends_with("-offset-checkpoint") => dump.checkpoint()?,
        // A snapshot of Apache Kafka's metadata is batches as well.
        (None, name) if name.ends_with(".checkpoint") => dump.batches(options)?,
        (None, _) => return Err(InspectError::UnknownFile { path: path.to_owned() }),
    }
    Ok(dump.is_sound)
}

struct Dump<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    each: &'a mut dyn FnMut(Dumped<'_>) -> io::Result<()>,
    is_sound: bool,
}

impl Dump<'_> {
    fn show(&mut self, item: Dumped<'_>) -> Result<(), InspectError> {
        (self.each)(item).map_err(InspectError::Tell)
    }

    fn damage(&mut self, wrong: Wrong, length: u64) -> Result<(), InspectError> {
        self.is_sound = false;
        let Wrong { position, problem } = wrong;
        self.show(Dumped::Damage { position, bytes: length.saturating_sub(position), problem })
    }

    fn read(&self) -> Result<Vec<u8>, InspectError> {
        let missing = || InspectError::Read {
            path: self.path.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        };
        read(self.disk, self.path)?.ok_or_else(missing)
    }

    fn batches(&mut self, options: DumpOptions) -> Result<(), InspectError> {
        let (file, size) = open(self.disk, self.path)?;
        let most = options.bytes_max.unwrap_or(u32::MAX);
        let mut headers = Headers::new(&*file, 0, size, Residency::Any);
        loop {
            let found = match headers.next_waiting() {
                Ok(Some(found)) if found.position < most => found,
                Ok(_) => return Ok(()),
                Err(error) => {
                    let found = wrong(self.path, error)?;
                    return self.damage(found, u64::from(size));
                }
            };
            let is_valid = match check_sum(&*file, &found) {
                Ok(()) => true,
                Err(error) => {
                    wrong(self.path, error)?;
                    false
                }
            };
            self.is_sound &= is_valid;
            self.show(Dumped::Batch { position: found.position, header: &found.header, is_valid })?;
            if options.records {
                let bytes = bytes_of(&*file, found.position, found.header.size_bytes());
                self.records(&found, &bytes.map_err(InspectError::read(self.path))?)?;
            }
        }
    }

    fn records(&mut self, found: &Found, batch: &[u8]) -> Result<(), InspectError> {
        let header = &found.header;
        let mut told = Ok(());
        let visited = record::visit_records(batch, |record| {
            let sequence = sequence_of(header, record.offset);
            told = self.show(Dumped::Record { header, record: &record, sequence });
            if told.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        told?;
        match visited {
            Ok(()) => Ok(()),
            Err(error) => {
                let problem = format!("the records of the batch cannot be read: {error}");
                let end = u64::from(found.end());
                self.damage(Wrong::at(u64::from(found.position), problem), end)
            }
        }
    }

    fn offsets(&mut self, base: Offset) -> Result<(), InspectError> {
        self.entries(|entry: OffsetEntry| Dumped::Offset {
            offset: base.plus(i64::from(entry.relative_offset)),
            position: entry.position,
        })
    }

    fn times(&mut self, base: Offset) -> Result<(), InspectError> {
        self.entries(|entry: TimeEntry| Dumped::Time {
            timestamp: entry.timestamp,
            offset: base.plus(i64::from(entry.relative_offset)),
        })
    }

    fn entries<E: Entry>(
        &mut self,
        item: impl Fn(E) -> Dumped<'static>,
    ) -> Result<(), InspectError> {
        let bytes = self.read()?;
        for chunk in bytes.chunks_exact(E::BYTES) {
            // Kafka makes files larger than what it has written, with zeros behind it.
            if chunk.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            if let Some(entry) = E::read(chunk) {
                self.show(item(entry))?;
            }
        }
        self.expect_whole(&bytes, E::BYTES)
    }

    fn expect_whole(&mut self, bytes: &[u8], entry_bytes: usize) -> Result<(), InspectError> {
        let whole = bytes.len() / entry_bytes * entry_bytes;
        if whole < bytes.len() {
            let wrong = Wrong::at(whole as u64, "not a whole number of entries");
            return self.damage(wrong, bytes.len() as u64);
        }
        Ok(())
    }

    fn producers(&mut self) -> Result<(), InspectError> {
        let bytes = self.read()?;
        match snapshot::read(&bytes) {
            Ok(producers) => producers.iter().try_for_each(|(id, entry)| {
                self.show(Dumped::Producer(DumpedProducer::new(id, entry)))
            }),
            Err(error) => self.damage(Wrong::at(0, error.to_string()), bytes.len() as u64),
        }
    }

    fn aborted(&mut self) -> Result<(), InspectError> {
        let bytes = self.read()?;
        for entry in bytes.as_chunks::<ENTRY_BYTES>().0 {
            let (version, transaction) = AbortedTransaction::read(entry);
            self.show(Dumped::Aborted { version, transaction })?;
        }
        self.expect_whole(&bytes, ENTRY_BYTES)
    }

    fn epochs(&mut self) -> Result<(), InspectError> {
        let bytes = self.read()?;
        match checkpoint::read_epochs(&bytes) {
            Ok(epochs) => epochs.into_iter().try_for_each(|(epoch, start_offset)| {
                self.show(Dumped::Epoch { epoch, start_offset })
            }),
            Err(error) => self.damage(Wrong::at(0, error.to_string()), bytes.len() as u64),
        }
    }

    fn topic(&mut self) -> Result<(), InspectError> {
        let bytes = self.read()?;
        match checkpoint::read_partition_metadata(&bytes) {
            Ok(id) => self.show(Dumped::Topic(id)),
            Err(error) => self.damage(Wrong::at(0, error.to_string()), bytes.len() as u64),
        }
    }

    fn checkpoint(&mut self) -> Result<(), InspectError> {
        let bytes = self.read()?;
        match checkpoint::read_offsets(&bytes) {
            Ok(offsets) => offsets.into_iter().try_for_each(|((topic, partition), offset)| {
                self.show(Dumped::Checkpoint { topic, partition, offset })
            }),
            Err(error) => self.damage(Wrong::at(0, error.to_string()), bytes.len() as u64),
        }
    }
}

impl DumpedProducer {
    fn new(producer_id: ProducerId, entry: &ProducerEntry) -> Self {
        let last = entry.batches.back();
        Self {
            producer_id,
            epoch: entry.epoch,
            coordinator_epoch: entry.coordinator_epoch,
            transaction_start: entry.transaction_start,
            last_timestamp: entry.last_timestamp,
            last_batch: last
                .map(|batch| (batch.last_sequence, batch.last_offset, batch.last_offset_delta)),
        }
    }
}

/// The sequence of a record: sequences go on at 0 after 2^31 - 1.
fn sequence_of(header: &BatchHeader, offset: Offset) -> i32 {
    if header.base_sequence < 0 {
        return -1;
    }
    let sum = i64::from(header.base_sequence) + offset.since(header.base_offset);
    i32::try_from(sum & i64::from(i32::MAX)).unwrap_or(-1)
}
