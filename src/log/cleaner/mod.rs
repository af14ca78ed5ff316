//! Compaction: a log keeps of each key the latest record (KIP-58, KIP-98, KIP-534).
//!
//! A [`CleanPass`] first reads the part of the log that was not compacted yet and notes the latest offset of each key
//! (`offset_map.rs`), then writes the log anew from its beginning, segment by segment, without the records that are
//! outdated (`pass.rs`; `retain.rs` says which go), and puts each new segment in the place of old ones (`swap.rs`). When
//! and how fast is up to the caller, who also remembers how far the log was compacted.
//!
//! **Invariants:** offsets never change; nothing at or above the first uncleanable offset ([`Cleanable`]) is touched; a
//! compacted segment still ends with the batch that ended it, if need be without records, so that a hole between
//! segments still means that records were lost; after a crash at any point each record that is to be kept is there.
//!
//! Source: `LogCleaner`, `Cleaner`, `LogCleanerManager` of Apache Kafka 4.3.1.

mod offset_map;
mod pass;
mod range;
mod retain;
mod swap;
mod transactions;

use std::io;
use std::path::{Path, PathBuf};

use super::partition_log::{Log, State};
use super::scan::ScanError;
use super::segment::Segment;
use crate::record::BatchError;

pub use pass::{CleanBuffers, CleanPass, CleanStats, CleanStep};
pub use range::Cleanable;
pub(super) use swap::finish_swaps;

/// Why a log was not compacted.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// It was closed or abandoned, or segments that were to be replaced have gone: nothing was lost.
    #[error("the log has changed meanwhile")]
    Aborted,
    /// There is no room for the new segment: the old ones are as they were.
    #[error("no space left for {path}")]
    NoSpace {
        /// The file that could not grow.
        path: PathBuf,
        /// The disk's words.
        source: io::Error,
    },
    /// A segment cannot be read, or a new one not be written: the old ones are as they were.
    #[error("cannot read or write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The disk's words.
        source: io::Error,
    },
    /// A segment does not hold batches that can be read.
    #[error("{path} is damaged at byte {position}: {problem}")]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// Position of the bad batch.
        position: u64,
        /// What is wrong there.
        problem: String,
    },
    /// The disk failed while segments were being exchanged. The log takes no more appends; the next start ends the
    /// exchange.
    #[error("cannot exchange segments in {path}")]
    Swap {
        /// The partition's directory.
        path: PathBuf,
        /// The disk's words.
        source: io::Error,
    },
}

impl CleanError {
    /// What the error is, now that it is known whose files could not be read: those of an abandoned log may be gone.
    fn of(self, log: &Log) -> Self {
        if log.writer.lock().state == State::Abandoned { Self::Aborted } else { self }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let path = path.to_owned();
            if crate::env::is_no_space(&source) {
                Self::NoSpace { path, source }
            } else {
                Self::Io { path, source }
            }
        }
    }

    fn scan(segment: &Segment) -> impl FnOnce(ScanError) -> Self {
        let path = segment.path();
        move |error| match error {
            ScanError::Io(source) => Self::Io { path, source },
            ScanError::Damaged { position, problem } => {
                Self::Damaged { path, position: u64::from(position), problem }
            }
        }
    }

    fn batch(segment: &Segment, position: u32) -> impl FnOnce(BatchError) -> Self {
        let path = segment.path();
        move |error| {
            let problem = crate::model::WithCauses(&error).to_string();
            Self::Damaged { path, position: u64::from(position), problem }
        }
    }
}
