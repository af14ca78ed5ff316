//! Walking over the batches of a segment file, by their headers alone or whole.

use std::io;

use crate::env::{DiskFile, Residency};
use crate::record::{BatchHeader, Crc32c, EndMarker};

/// How much is read ahead of a header: small batches come several at a time, and little is read in vain of large ones.
const WINDOW_BYTES: usize = 1024;
/// How much of a batch is held to check its sum.
const PIECE_BYTES: u32 = 1024 * 1024;

/// Why a walk ended early.
#[derive(Debug)]
pub(super) enum ScanError {
    /// The disk failed.
    Io(io::Error),
    /// What stands at this position is not a batch.
    Damaged { position: u32, problem: String },
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A batch in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) position: u32,
    pub(super) header: BatchHeader,
}

impl Found {
    /// Where the next batch begins.
    pub(super) const fn end(&self) -> u32 {
        self.position.saturating_add(self.header.size_bytes())
    }
}

/// Walks over the headers of a part of a file. The part must begin with a batch; the rest of each batch is not looked at.
#[derive(Debug)]
pub(super) struct Headers<'a> {
    file: &'a dyn DiskFile,
    residency: Residency,
    position: u32,
    end: u32,
    window: Vec<u8>,
    window_start: u32,
    window_bytes: usize,
}

/// One step of [`Headers`].
#[derive(Debug)]
pub(super) enum Step {
    Batch(Found),
    End,
    /// The next header is not in memory, and only memory was asked for.
    NotResident,
}

impl<'a> Headers<'a> {
    pub(super) fn new(file: &'a dyn DiskFile, start: u32, end: u32, residency: Residency) -> Self {
        Self {
            file,
            residency,
            position: start,
            end,
            window: Vec::new(),
            window_start: start,
            window_bytes: WINDOW_BYTES,
        }
    }

    /// Reads nothing ahead: the first header is the one that is wanted.
    pub(super) const fn one_by_one(mut self) -> Self {
        self.window_bytes = BatchHeader::BYTES;
        self
    }

    pub(super) fn next(&mut self) -> Result<Step, ScanError> {
        let position = self.position;
        if position >= self.end {
            return Ok(Step::End);
        }
        let damaged = |problem: String| ScanError::Damaged { position, problem };
        let left = self.end - position;
        if (left as usize) < BatchHeader::BYTES {
            return Err(damaged(format!("{left} bytes are left, too few for a batch")));
        }
        if self.bytes_at(position).len() < BatchHeader::BYTES {
            self.window.resize((left as usize).min(self.window_bytes), 0);
            self.window_start = position;
            if !self.file.read_into(u64::from(position), &mut self.window, self.residency)? {
                self.window.clear();
                return Ok(Step::NotResident);
            }
        }
        let header = BatchHeader::parse(self.bytes_at(position))
            .map_err(|error| damaged(error.to_string()))?;
        if header.size_bytes() > left {
            let size = header.size_bytes();
            return Err(damaged(format!("a batch of {size} bytes, but {left} bytes are left")));
        }
        let found = Found { position, header };
        self.position = found.end();
        Ok(Step::Batch(found))
    }

    /// The next header of a walk that may wait for the disk.
    pub(super) fn next_waiting(&mut self) -> Result<Option<Found>, ScanError> {
        match self.next()? {
            Step::Batch(found) => Ok(Some(found)),
            Step::End => Ok(None),
            Step::NotResident => Err(ScanError::Io(io::ErrorKind::WouldBlock.into())),
        }
    }

    fn bytes_at(&self, position: u32) -> &[u8] {
        let start =
            position.checked_sub(self.window_start).map_or(usize::MAX, |start| start as usize);
        self.window.get(start..).unwrap_or_default()
    }
}

/// The marker in a batch, if it ends a transaction.
pub(super) fn read_marker(
    file: &dyn DiskFile,
    found: &Found,
) -> Result<Option<EndMarker>, ScanError> {
    if !EndMarker::may_be_in(&found.header) {
        return Ok(None);
    }
    let range = u64::from(found.position)..u64::from(found.end());
    let batch = file.read(range, Residency::Any)?.unwrap_or_default();
    let damaged = |problem: String| ScanError::Damaged { position: found.position, problem };
    EndMarker::read(&batch).map_err(|error| damaged(error.to_string()))
}

/// Checks the sum of a whole batch, holding a piece of it at a time.
pub(super) fn check_sum(file: &dyn DiskFile, found: &Found) -> Result<(), ScanError> {
    let mut sum = Crc32c::new();
    let mut buffer = Vec::new();
    // The sum covers the batch from its attributes on.
    let mut at = found.position.saturating_add(BatchHeader::CRC_START);
    while at < found.end() {
        buffer.resize((found.end() - at).min(PIECE_BYTES) as usize, 0);
        file.read_into(u64::from(at), &mut buffer, Residency::Any)?;
        sum.update(&buffer);
        at = at.saturating_add(PIECE_BYTES);
    }
    if sum.value() == found.header.crc {
        Ok(())
    } else {
        let problem = "the checksum of the batch does not fit".to_owned();
        Err(ScanError::Damaged { position: found.position, problem })
    }
}
