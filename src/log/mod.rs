//! One partition on disk, in Apache Kafka's own layout.
//!
//! A partition is a directory `<topic>-<partition>/` of segments. Each segment holds v2 record batches byte for byte as the
//! wire carries them (`<base offset>.log`), an offset index, a time index, an index of aborted transactions, and beside them
//! stand the producer snapshots, the leader epochs and the topic's id. `docs/FORMAT.md` has the byte tables.
//!
//! Owns appending, reading, rolling, recovery, compaction, what is known of producers and their transactions, and the files of
//! a data directory. Knows neither Kafka's error codes nor replicas: the high watermark is told to it.
//!
//! **Invariants:** bytes below the published end never change, but that compaction puts other segments in the place of
//! finished ones, and that a follower cuts off what its leader does not have; a reader is never given a byte at or above the
//! end, and a view of the file only of what is committed; offsets rise by the batch; what an unclean stop can leave behind is
//! a torn end after the recovery point, and only that is ever cut by a start.

#![deny(clippy::indexing_slicing, clippy::string_slice)]
#![warn(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod append;
mod checkpoint;
mod cleaner;
mod committed;
mod data_dir;
mod data_dirs;
mod durability;
mod epochs;
mod files;
mod index;
mod inspect;
mod kept_offsets;
mod moving;
mod partition_log;
mod producers;
mod read;
mod recovery;
mod retention;
mod scan;
mod segment;
mod snapshot;
mod transaction_index;
mod transactions;
mod truncation;
mod verification;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::record::TimestampType;

pub use append::{Append, Appended, AppendedAt, Origin, TransactionEnd};
pub use cleaner::{CleanBuffers, CleanError, CleanPass, CleanStats, CleanStep, Cleanable};
pub use committed::{Committed, committed};
pub use data_dir::{
    DataDir, DataDirError, FoundPartitions, KRAFT_DIR, MetaProperties, RenameError,
};
pub use data_dirs::{AfterFailure, DataDirs, DataPaths, DirIndex, TakenDirs};
pub use durability::{FlushExtent, Removed};
pub use epochs::EpochEnd;
pub use inspect::{
    DirectoryReport, DumpOptions, Dumped, DumpedProducer, Finding, InspectError, PartitionReport,
    Severity, Together, dump, verify,
};
pub use kept_offsets::{KeptKinds, KeptOffsets, LogOffsets, PartitionName};
pub use moving::{Copied, CopyError, copy_begin, copy_resume};
pub use partition_log::{Advance, Log, LogEnds, LogPosition};
pub use producers::{ProducerCensus, ProducerView};
pub use read::{LogRead, ReadLimit, TimestampOffset};
pub use recovery::{LogStart, Opened, RecoveryProgress};
pub use transaction_index::AbortedTransaction;
pub use truncation::TruncateError;
pub use verification::{Beginning, Guard};

/// How a log behaves; may change while it is open.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// A segment is rolled before it grows beyond this (`segment.bytes`).
    pub segment_bytes: u32,
    /// A segment is rolled when its first batch is older than this (`segment.ms`).
    pub segment_age_max: Duration,
    /// At most this much is taken off `segment_age_max`, by chance, so that not all logs roll at once
    /// (`segment.jitter.ms`).
    pub segment_jitter_max: Duration,
    /// A batch is entered in the indexes once this many bytes were written since the last entry
    /// (`index.interval.bytes`).
    pub index_interval_bytes: u32,
    /// A segment is rolled when one of its indexes has grown to this (`segment.index.bytes`).
    pub index_bytes_max: u32,
    /// Once this many records are not on disk, records are neither acknowledged nor shown before a flush has made them
    /// durable; at least 1, which asks that of every append (`flush.messages`).
    pub unflushed_max: i64,
    /// Whether a new segment is given its largest size at once, which is given back when it is finished (`preallocate`).
    pub preallocates: bool,
    /// Which timestamps batches carry (`message.timestamp.type`).
    pub timestamp_type: TimestampType,
    /// Whether of each key only the latest record is kept (`cleanup.policy` has `compact`).
    pub compacts: bool,
    /// A log is compacted once more than this part of its bytes was written since the last time
    /// (`min.cleanable.dirty.ratio`).
    pub min_dirty_ratio: f64,
    /// A segment is not compacted while its newest record is younger than this (`min.compaction.lag.ms`).
    pub compaction_lag_min: Duration,
    /// A log is compacted, whatever its ratio, once a segment that was not is older than this
    /// (`max.compaction.lag.ms`); none never.
    pub compaction_lag_max: Option<Duration>,
    /// For how long a tombstone is kept after the first compaction that met it (`delete.retention.ms`).
    pub tombstone_retention: Duration,
    /// Whether old segments are removed by age and size (`cleanup.policy` has `delete`).
    pub deletes: bool,
    /// A segment is removed when its newest record is older than this (`retention.ms`); none keeps them for ever.
    pub retention_age_max: Option<Duration>,
    /// The oldest segments are removed while the log is larger than this without them (`retention.bytes`).
    pub retention_bytes: Option<u64>,
    /// A producer that wrote nothing for this long is forgotten (`producer.id.expiration.ms`).
    pub producer_expiration: Duration,
}

impl LogConfig {
    /// How long the file of a new segment is made at once.
    const fn reserved_bytes(&self) -> u32 {
        if self.preallocates { self.segment_bytes } else { 0 }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        Self {
            segment_bytes: 1024 * 1024 * 1024,
            segment_age_max: HOUR * 24 * 7,
            segment_jitter_max: Duration::ZERO,
            index_interval_bytes: 4096,
            index_bytes_max: 10 * 1024 * 1024,
            unflushed_max: i64::MAX,
            preallocates: false,
            timestamp_type: TimestampType::CreateTime,
            compacts: false,
            min_dirty_ratio: 0.5,
            compaction_lag_min: Duration::ZERO,
            compaction_lag_max: None,
            tombstone_retention: HOUR * 24,
            deletes: true,
            retention_age_max: Some(HOUR * 24 * 7),
            retention_bytes: None,
            producer_expiration: HOUR * 24,
        }
    }
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused.
    #[error("cannot read or write {path}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The disk's words.
        source: io::Error,
    },
    /// The file is damaged where an unclean stop cannot have damaged it.
    #[error("{path} is damaged at byte {position}: {problem}")]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// Position of the first bad byte or batch.
        position: u64,
        /// What is wrong there.
        problem: String,
    },
    /// The directory belongs to another topic that had the same name.
    #[error("{path} holds topic {found}, not {expected}")]
    OtherTopic {
        /// The partition's directory.
        path: PathBuf,
        /// The id in its `partition.metadata`.
        found: crate::model::TopicId,
        /// The id asked for.
        expected: crate::model::TopicId,
    },
}

impl OpenError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Why a batch was not appended. Nothing of it is in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The batch does not fit into an empty segment.
    #[error("the batch of {batch_bytes} bytes is larger than a segment may be ({segment_bytes})")]
    LargerThanSegment {
        /// Size of the batch.
        batch_bytes: u32,
        /// `segment.bytes`.
        segment_bytes: u32,
    },
    /// The producer skipped or repeated a sequence number.
    #[error("producer {producer} sent sequence {found}, expected {expected}")]
    OutOfOrderSequence {
        /// The producer.
        producer: ProducerId,
        /// The sequence that would have been right.
        expected: i32,
        /// The sequence of the batch.
        found: i32,
    },
    /// A newer incarnation of the producer has written already.
    #[error("producer {producer} sent epoch {found}, but epoch {current} has written already")]
    FencedProducer {
        /// The producer.
        producer: ProducerId,
        /// Its newest epoch here.
        current: ProducerEpoch,
        /// The epoch of the batch.
        found: ProducerEpoch,
    },
    /// A newer coordinator has written a marker for the producer.
    #[error("producer {producer}: coordinator epoch {found} is older than {current}")]
    FencedCoordinator {
        /// The producer.
        producer: ProducerId,
        /// Epoch of the coordinator that wrote its last marker.
        current: i32,
        /// The epoch of the marker.
        found: i32,
    },
    /// The producer has an open transaction, and the batch is not part of it.
    #[error("producer {producer} writes outside of its transaction, open since {start}")]
    OpenTransaction {
        /// The producer.
        producer: ProducerId,
        /// First offset of the transaction.
        start: Offset,
    },
    /// The batch would begin a transaction, and the producer's coordinator has not said that the partition is part of one, or
    /// the transaction has ended meanwhile.
    #[error("producer {producer} writes in no transaction that its coordinator knows of")]
    NotVerified {
        /// The producer.
        producer: ProducerId,
    },
    /// The control batch is a client's, or its record cannot be read.
    #[error("the control batch is refused: {problem}")]
    InvalidControl {
        /// What is wrong with it.
        problem: String,
    },
    /// A replicated batch does not continue the log.
    #[error("the batch starts at offset {found}, but the log ends at {end}")]
    NotAtEnd {
        /// First offset of the batch.
        found: Offset,
        /// End of the log.
        end: Offset,
    },
    /// A replicated batch is of an earlier leader than the last one of the log.
    #[error("the batch is of leader epoch {found}, but the log has epoch {latest}")]
    EpochFalls {
        /// Epoch of the batch.
        found: LeaderEpoch,
        /// The newest epoch of the log.
        latest: LeaderEpoch,
    },
    /// The volume is full. Earlier data can be read, and appending works again when there is room.
    #[error("no space left for {path}")]
    NoSpace {
        /// The file that could not grow.
        path: PathBuf,
        /// The disk's words.
        source: io::Error,
    },
    /// The disk failed. The log takes no more appends until it is opened anew.
    #[error("cannot write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The disk's words.
        source: io::Error,
    },
    /// The disk failed earlier, or the log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such offset.
    #[error("offset {wanted} is not within {start}..={end}")]
    OffsetOutOfRange {
        /// The offset asked for.
        wanted: Offset,
        /// First offset that can be read.
        start: Offset,
        /// End of what can be read.
        end: Offset,
    },
    /// The disk failed.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The disk's words.
        source: io::Error,
    },
    /// The file does not hold what its index says.
    #[error("{path} is damaged at byte {position}: {problem}")]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// Position of the first bad batch.
        position: u64,
        /// What is wrong there.
        problem: String,
    },
}

#[cfg(test)]
mod tests;
