//! Looking at the files of a data directory, ours or Apache Kafka's, without changing one: all of them at once (`verify.rs`)
//! or what is in a single one (`dump.rs`).
//!
//! **Invariant:** files are opened to be read and nothing else, and no lock is taken: a broker may be running. What it writes
//! meanwhile may then look torn.

mod dump;
mod leftovers;
mod together;
mod verify;

use std::io;
use std::path::{Path, PathBuf};

use super::scan::ScanError;
use crate::env::{Disk, DiskFile, OpenMode, Residency};

pub use dump::{DumpOptions, Dumped, DumpedProducer, dump};
pub use together::Together;
pub use verify::{DirectoryReport, Finding, PartitionReport, Severity, verify};

/// Why files could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The disk refused.
    #[error("cannot read {path}")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The disk's words.
        source: io::Error,
    },
    /// The file is none of those that a data directory has.
    #[error("{path} is no file of a log directory: its name says nothing about what is in it")]
    UnknownFile {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to look at.
    #[error("{path} is no log directory: there is no partition in it, nor a meta.properties")]
    NoLogDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// What was found could not be told.
    #[error("cannot write what was found")]
    Tell(#[source] io::Error),
}

impl InspectError {
    fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Read { path, source }
    }
}

/// What is wrong with a file: where, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wrong {
    position: u64,
    problem: String,
}

impl Wrong {
    fn at(position: u64, problem: impl Into<String>) -> Self {
        Self { position, problem: problem.into() }
    }
}

/// Tells damage from a disk that cannot be read.
fn wrong(path: &Path, error: ScanError) -> Result<Wrong, InspectError> {
    match error {
        ScanError::Io(source) => Err(InspectError::Read { path: path.to_owned(), source }),
        ScanError::Damaged { position, problem } => Ok(Wrong::at(u64::from(position), problem)),
    }
}

/// Opens a file with its length. Only as much as a segment can have is looked at.
fn open(disk: &dyn Disk, path: &Path) -> Result<(std::sync::Arc<dyn DiskFile>, u32), InspectError> {
    let file = disk.open(path, OpenMode::Read).map_err(InspectError::read(path))?;
    let length = file.len().map_err(InspectError::read(path))?;
    Ok((file, u32::try_from(length).unwrap_or(u32::MAX)))
}

/// Reads a whole file that is never large; `None` if it is not there.
fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, InspectError> {
    disk.read_small(path).map_err(InspectError::read(path))
}

/// The bytes of a part of a file, copied.
fn bytes_of(file: &dyn DiskFile, position: u32, bytes: u32) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes as usize];
    file.read_into(u64::from(position), &mut buffer, Residency::Any)?;
    Ok(buffer)
}
