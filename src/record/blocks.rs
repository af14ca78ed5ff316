//! Reading a format that is compressed block by block, one block in memory at a time.

use std::io::{self, BufRead, Read};

/// Blocks of a compressed format.
pub(super) trait BlockSource {
    /// Puts the next decompressed block in place of what `block` has; `false` and whatever it likes at the end.
    fn next_block(&mut self, block: &mut Vec<u8>) -> io::Result<bool>;
}

/// The decompressed blocks of a source as one stream.
#[derive(Debug)]
pub(super) struct Blocks<S> {
    source: S,
    block: Vec<u8>,
    read: usize,
    ended: bool,
}

impl<S: BlockSource> Blocks<S> {
    pub(super) const fn new(source: S) -> Self {
        Self { source, block: Vec::new(), read: 0, ended: false }
    }
}

impl<S: BlockSource> BufRead for Blocks<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.read >= self.block.len() && !self.ended {
            self.read = 0;
            if !self.source.next_block(&mut self.block)? {
                self.block.clear();
                self.ended = true;
            }
        }
        Ok(self.block.get(self.read..).unwrap_or_default())
    }

    fn consume(&mut self, bytes: usize) {
        self.read += bytes;
    }
}

impl<S: BlockSource> Read for Blocks<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

/// The error for bytes that do not follow the format.
pub(super) fn malformed(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}
