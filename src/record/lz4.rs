//! The LZ4 frame format, as far as Kafka uses it.
//!
//! | bytes | field |
//! | --- | --- |
//! | 4 | magic |
//! | 1 | flags: bits 7-6 version 1, 5 blocks are independent, 4 block checksums, 3 content size, 2 content checksum |
//! | 1 | bits 6-4: a block has at most 2^(8 + 2n) bytes, n from 4 to 7 |
//! | 8 | content size, if flagged |
//! | 1 | second byte of the xxHash-32 of the fields after the magic |
//! | 4 | size of a block; the top bit is set if it is not compressed; 0 ends the frame |
//! | size | the block |
//! | 4 | xxHash-32 of the block as it stands here, if flagged |
//! | | more blocks |
//!
//! Numbers are little-endian. Source: LZ4 Frame Format 1.6, and `Lz4BlockInputStream` of Apache Kafka 4.3.1, whose
//! choices these are: no blocks that refer to earlier ones, no dictionaries, an end mark must be there, the content
//! checksum is not looked at (the batch has one), what follows the frame is not read. Frames are written as its
//! `Lz4BlockOutputStream` does: independent blocks of 64 KiB, no checksums but that of the header, no content size.

use std::io;

use lz4::block::{CompressionMode, compress_bound, compress_to_buffer};
use lz4_flex::block::decompress_into;
use twox_hash::XxHash32;

use super::blocks::{BlockSource, malformed};

/// Compresses into a frame.
#[derive(Debug)]
pub(super) struct Lz4Frame {
    mode: CompressionMode,
    out: Vec<u8>,
    /// What is not compressed yet: at most a block.
    rest: Vec<u8>,
}

impl Lz4Frame {
    /// `level` is 1 to 17. That of the fast way is no other level of the slow one: `compression.lz4.level` had to have a
    /// default when it came, and 9 means what Kafka had always done.
    pub(super) fn new(level: i32) -> Self {
        let mode = match level {
            LEVEL_OF_THE_FAST_WAY => CompressionMode::DEFAULT,
            other => CompressionMode::HIGHCOMPRESSION(other),
        };
        let fields = [FLAGS_EXPECTED, BLOCKS_OF_64_KIB];
        let [_, _, sum, _] = XxHash32::oneshot(0, &fields).to_be_bytes();
        Self { mode, out: [&MAGIC[..], &fields, &[sum]].concat(), rest: Vec::new() }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) {
        while self.rest.len() + bytes.len() > BLOCK_BYTES {
            let (piece, after) = bytes.split_at(BLOCK_BYTES - self.rest.len());
            self.rest.extend_from_slice(piece);
            self.put_block();
            bytes = after;
        }
        self.rest.extend_from_slice(bytes);
    }

    fn put_block(&mut self) {
        let bound = compress_bound(self.rest.len()).expect("a block of 64 KiB is not too long");
        let mut block = vec![0; bound];
        let size = compress_to_buffer(&self.rest, Some(self.mode), false, &mut block);
        let size = size.expect("there is as much room as a block can need");
        let (flag, stored) = match block.get(..size) {
            Some(smaller) if size < self.rest.len() => (0, smaller),
            _ => (BLOCK_UNCOMPRESSED, self.rest.as_slice()),
        };
        let size = u32::try_from(stored.len()).expect("a block has at most 64 KiB");
        self.out.extend_from_slice(&(size | flag).to_le_bytes());
        self.out.extend_from_slice(stored);
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
        self.out.extend_from_slice(&END_MARK);
        self.out
    }
}

/// The blocks of a frame.
#[derive(Debug)]
pub(super) struct Lz4Blocks<'a> {
    rest: &'a [u8],
    /// `None` until the header was read.
    frame: Option<Frame>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    block_bytes_max: usize,
    has_block_checksums: bool,
}

impl<'a> Lz4Blocks<'a> {
    pub(super) const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, frame: None }
    }

    fn read_header(&mut self) -> io::Result<Frame> {
        if self.take(MAGIC.len())? != MAGIC {
            return Err(malformed("not an LZ4 frame"));
        }
        let fields = self.rest;
        let [flags, block_size] = self.take_array()?;
        if flags & FLAGS_FIXED != FLAGS_EXPECTED {
            return Err(malformed("not a kind of LZ4 frame that is supported"));
        }
        let size_exponent = block_size >> 4;
        if block_size & 0xf != 0 || !(4..=7).contains(&size_exponent) {
            return Err(malformed("unknown block size"));
        }
        if flags & FLAG_CONTENT_SIZE != 0 {
            self.take(8)?;
        }
        let fields = fields.get(..fields.len() - self.rest.len()).unwrap_or_default();
        let [_, _, expected, _] = XxHash32::oneshot(0, fields).to_be_bytes();
        if self.take_array()? != [expected] {
            return Err(malformed("the checksum of the frame's header does not fit"));
        }
        let has_block_checksums = flags & FLAG_BLOCK_CHECKSUMS != 0;
        Ok(Frame { block_bytes_max: 1 << (8 + 2 * size_exponent), has_block_checksums })
    }

    fn take(&mut self, bytes: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) =
            self.rest.split_at_checked(bytes).ok_or_else(|| malformed("cut off"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| malformed("cut off"))?;
        self.rest = rest;
        Ok(*taken)
    }
}

impl BlockSource for Lz4Blocks<'_> {
    fn next_block(&mut self, block: &mut Vec<u8>) -> io::Result<bool> {
        let frame = match self.frame {
            Some(frame) => frame,
            None => self.read_header()?,
        };
        self.frame = Some(frame);
        let size = u32::from_le_bytes(self.take_array()?);
        let stored_bytes = (size & !BLOCK_UNCOMPRESSED) as usize;
        if stored_bytes == 0 {
            return Ok(false);
        }
        if stored_bytes > frame.block_bytes_max {
            return Err(malformed("a block is larger than its frame allows"));
        }
        let stored = self.take(stored_bytes)?;
        if frame.has_block_checksums
            && XxHash32::oneshot(0, stored) != u32::from_le_bytes(self.take_array()?)
        {
            return Err(malformed("the checksum of a block does not fit"));
        }
        if size & BLOCK_UNCOMPRESSED != 0 {
            block.clear();
            block.extend_from_slice(stored);
        } else {
            block.resize(frame.block_bytes_max.min(stored_bytes.saturating_mul(EXPANSION_MAX)), 0);
            let used = decompress_into(stored, block);
            block
                .truncate(used.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?);
        }
        Ok(true)
    }
}

/// The level that stands for LZ4's fast way.
pub(super) const LEVEL_OF_THE_FAST_WAY: i32 = 9;
const BLOCK_BYTES: usize = 64 << 10;
/// The second byte of the fields.
const BLOCKS_OF_64_KIB: u8 = 4 << 4;
const END_MARK: [u8; 4] = [0; 4];
const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// Version, block independence, the reserved bit and that of dictionaries.
const FLAGS_FIXED: u8 = 0b1110_0011;
const FLAGS_EXPECTED: u8 = 0b0110_0000;
const FLAG_BLOCK_CHECKSUMS: u8 = 1 << 4;
const FLAG_CONTENT_SIZE: u8 = 1 << 3;
const BLOCK_UNCOMPRESSED: u32 = 1 << 31;
/// A byte of a block stands for 255 bytes at most.
const EXPANSION_MAX: usize = 256;
