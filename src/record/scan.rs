//! Walking over batches that stand one after another in memory.

use super::error::BatchError;
use super::header::{BatchHeader, peek_size};

/// A batch in memory.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its header.
    pub header: BatchHeader,
    /// Header and records.
    pub bytes: &'a [u8],
}

/// The batches in a buffer, such as a part of a segment file or what a fetch returned.
///
/// Ends at the end of the bytes, at a batch that is cut off ([`Batches::rest`] gives what is there of it), or after the
/// first error. Checksums are not looked at.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
    failed: bool,
}

/// Walks over the batches in `bytes`, the first of which must begin there.
#[must_use]
pub const fn scan(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes, failed: false }
}

impl<'a> Batches<'a> {
    /// What was not walked over yet: at the end the batch that is cut off, or that is none.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn read(&mut self) -> Result<Option<Batch<'a>>, BatchError> {
        let Some(size) = peek_size(self.rest)? else {
            return Ok(None);
        };
        let Some((bytes, rest)) = self.rest.split_at_checked(size) else {
            return Ok(None);
        };
        let header = BatchHeader::parse(bytes)?;
        self.rest = rest;
        Ok(Some(Batch { header, bytes }))
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.read().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Offset, UnixMillis};
    use crate::record::BatchBuilder;

    fn batches(count: i64) -> Vec<u8> {
        let one = |offset| {
            let mut builder = BatchBuilder::new();
            builder.base_offset(Offset(offset)).push(UnixMillis(1), None, Some(b"value"));
            builder.build()
        };
        (0..count).flat_map(one).collect()
    }

    #[test]
    fn every_cut_gives_the_whole_batches_before_it() {
        let bytes = batches(3);
        let one = bytes.len() / 3;
        for cut in 0..=bytes.len() {
            let mut walk = scan(&bytes[..cut]);
            let offsets: Vec<_> =
                walk.by_ref().map(|batch| batch.unwrap().header.base_offset.0).collect();
            assert_eq!(offsets, (0..3).take(cut / one).collect::<Vec<_>>(), "cut at {cut}");
            assert_eq!(walk.rest().len(), cut % one);
        }
    }

    #[test]
    fn garbage_ends_the_walk_with_an_error() {
        let mut bytes = batches(1);
        let one = bytes.len();
        bytes.extend_from_slice(&[0; 100]);
        let mut walk = scan(&bytes);
        assert_eq!(walk.next().unwrap().unwrap().bytes, &bytes[..one]);
        assert!(matches!(walk.next(), Some(Err(BatchError::Length(0)))));
        assert!(walk.next().is_none());
        assert_eq!(walk.rest().len(), 100);
    }

    #[test]
    fn a_batch_of_an_older_format_is_named_as_such() {
        let mut bytes = batches(1);
        bytes[16] = 1;
        assert!(matches!(scan(&bytes).next(), Some(Err(BatchError::Magic(1)))));
    }
}
