//! A batch that may be appended.

use bytes::Bytes;

use super::error::BatchError;
use super::header::{BatchHeader, TimestampType};
use crate::model::{LeaderEpoch, Offset, UnixMillis};

/// A batch whose header tells the truth: what logs take.
///
/// Made by [`validate`](super::validate()) from what a client sent, or by [`ValidBatch::trusted`].
#[derive(Clone, Debug)]
pub struct ValidBatch {
    header: BatchHeader,
    payload: Bytes,
}

impl ValidBatch {
    /// The one batch in `bytes`, made by this broker or checked by the leader that has it: only its frame and its
    /// checksum are looked at.
    ///
    /// # Errors
    /// As [`BatchHeader::parse`] and [`BatchHeader::check_crc`]; [`BatchError::BytesAfterBatch`] if something follows.
    pub fn trusted(bytes: &Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        header.check_crc(bytes)?;
        let after = bytes.len() - header.size_bytes() as usize;
        if after > 0 {
            return Err(BatchError::BytesAfterBatch(after));
        }
        Ok(Self { header, payload: bytes.slice(BatchHeader::BYTES..) })
    }

    /// Joins a header with what follows it. The caller has checked both.
    pub(super) fn from_parts(header: BatchHeader, payload: Bytes) -> Self {
        debug_assert_eq!(header.size_bytes() as usize, BatchHeader::BYTES + payload.len());
        Self { header, payload }
    }

    /// The header. It may differ from what the client sent: the type and the maximum of the timestamps are put right
    /// (and with them the checksum).
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// What follows the header: the records, compressed or not.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The header under which the batch is appended: with the place it gets in the log, and the time of the append if
    /// the log keeps that.
    #[must_use]
    pub fn stamped(
        &self,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
        append_time: Option<UnixMillis>,
    ) -> BatchHeader {
        let timed = match append_time {
            Some(now) => {
                self.header.with_timestamps(TimestampType::LogAppendTime, now, &self.payload)
            }
            None => self.header,
        };
        BatchHeader { base_offset, partition_leader_epoch: leader_epoch, ..timed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    fn batch() -> Bytes {
        BatchBuilder::new().push(UnixMillis(5), None, Some(b"value")).build()
    }

    #[test]
    fn a_stamped_batch_is_whole() {
        let valid = ValidBatch::trusted(&batch()).unwrap();
        for append_time in [None, Some(UnixMillis(77))] {
            let header = valid.stamped(Offset(12), LeaderEpoch(3), append_time);
            let bytes = [&header.to_bytes()[..], valid.payload()].concat();
            let read = BatchHeader::parse(&bytes).unwrap();
            read.check_crc(&bytes).unwrap();
            assert_eq!(
                (read.base_offset, read.partition_leader_epoch),
                (Offset(12), LeaderEpoch(3))
            );
            assert_eq!(read.max_timestamp, append_time.unwrap_or(UnixMillis(5)));
            assert_eq!(
                read.timestamp_type() == TimestampType::LogAppendTime,
                append_time.is_some()
            );
        }
    }

    #[test]
    fn trust_ends_at_damage() {
        let bytes = batch();
        let trusted = |bytes: &[u8]| ValidBatch::trusted(&Bytes::copy_from_slice(bytes));
        assert!(matches!(trusted(&bytes[..bytes.len() - 1]), Err(BatchError::CutOff { .. })));
        let longer = trusted(&[&bytes[..], b"x"].concat());
        assert!(matches!(longer, Err(BatchError::BytesAfterBatch(1))));
        let mut damaged = bytes.to_vec();
        damaged[65] ^= 1;
        assert!(matches!(trusted(&damaged), Err(BatchError::Checksum { .. })));
    }
}
