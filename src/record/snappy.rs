//! Snappy as Kafka's clients write it: in the frame of xerial's snappy-java, or without any.
//!
//! | offset | bytes | type | field of xerial's frame |
//! | --- | --- | --- | --- |
//! | 0 | 8 | bytes | magic: 0x82 `SNAPPY` 0 |
//! | 8 | 4 | i32 | version of the writer, 1 |
//! | 12 | 4 | i32 | oldest version that can read it, 1 |
//! | 16 | 4 | i32 | size of the block that follows |
//! | 20 | | | a block of raw snappy |
//! | | | | more sizes and blocks; another header may stand in place of a size |
//!
//! Numbers are big-endian. Source: `SnappyInputStream` and `SnappyOutputStream` of snappy-java 1.1.10, which take what
//! does not begin with the magic for one raw block (librdkafka and others write that).

use std::io;

use snap::raw::{Decoder, Encoder, decompress_len};

use super::blocks::{BlockSource, malformed};

/// Compresses into xerial's frame.
#[derive(Debug)]
pub(super) struct SnappyFrame {
    out: Vec<u8>,
    /// What is not compressed yet: less than a block.
    rest: Vec<u8>,
}

impl SnappyFrame {
    pub(super) fn new() -> Self {
        Self { out: [MAGIC, VERSIONS].concat(), rest: Vec::new() }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) {
        while self.rest.len() + bytes.len() >= BLOCK_BYTES {
            let (piece, after) = bytes.split_at(BLOCK_BYTES - self.rest.len());
            self.rest.extend_from_slice(piece);
            self.put_block();
            bytes = after;
        }
        self.rest.extend_from_slice(bytes);
    }

    fn put_block(&mut self) {
        let block = Encoder::new().compress_vec(&self.rest);
        let block = block.expect("a block of 32 KiB can be compressed");
        let size = u32::try_from(block.len()).expect("a block of 32 KiB does not grow to 4 GiB");
        self.out.extend_from_slice(&size.to_be_bytes());
        self.out.extend_from_slice(&block);
        self.rest.clear();
    }

    /// How many bytes have come out so far.
    pub(super) const fn written(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if !self.rest.is_empty() {
            self.put_block();
        }
        self.out
    }
}

/// The blocks of a payload.
#[derive(Debug)]
pub(super) struct SnappyBlocks<'a> {
    rest: &'a [u8],
    framed: bool,
    block_bytes_max: u64,
}

impl<'a> SnappyBlocks<'a> {
    /// A block that decompresses to more than `block_bytes_max` is [`io::ErrorKind::FileTooLarge`].
    pub(super) fn new(payload: &'a [u8], block_bytes_max: u64) -> Self {
        let framed = payload.strip_prefix(MAGIC).and_then(|rest| rest.get(VERSIONS.len()..));
        Self { rest: framed.unwrap_or(payload), framed: framed.is_some(), block_bytes_max }
    }

    /// The next block as it is in the payload; `None` at the end.
    fn compressed_block(&mut self) -> io::Result<Option<&'a [u8]>> {
        if !self.framed {
            let block = std::mem::take(&mut self.rest);
            // What is left of it later on is no frame either: there are no more blocks.
            self.framed = true;
            return Ok(Some(block));
        }
        loop {
            let Some((size, rest)) = self.rest.split_first_chunk() else {
                return Ok(None);
            };
            if MAGIC.starts_with(size) {
                let header =
                    self.rest.strip_prefix(MAGIC).and_then(|rest| rest.get(VERSIONS.len()..));
                self.rest =
                    header.ok_or_else(|| malformed("a header between blocks is cut off"))?;
                continue;
            }
            let size = usize::try_from(i32::from_be_bytes(*size));
            let size = size.map_err(|_| malformed("negative size of a block"))?;
            let block = rest.split_at_checked(size);
            let (block, rest) = block.ok_or_else(|| malformed("a block is cut off"))?;
            self.rest = rest;
            return Ok(Some(block));
        }
    }
}

impl BlockSource for SnappyBlocks<'_> {
    fn next_block(&mut self, block: &mut Vec<u8>) -> io::Result<bool> {
        let Some(compressed) = self.compressed_block()? else {
            return Ok(false);
        };
        let size = decompress_len(compressed)?;
        if size > compressed.len().saturating_mul(EXPANSION_MAX) {
            return Err(malformed("a block claims more than it can hold"));
        }
        if size as u64 > self.block_bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        block.resize(size, 0);
        Decoder::new().decompress(compressed, block)?;
        Ok(true)
    }
}

const MAGIC: &[u8] = b"\x82SNAPPY\0";
/// Version of the writer, and the oldest one that can read it.
const VERSIONS: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 1];
/// How much snappy-java puts into a block.
const BLOCK_BYTES: usize = 32 << 10;
/// A copy of 64 bytes takes three bytes; nothing expands further.
const EXPANSION_MAX: usize = 22;
