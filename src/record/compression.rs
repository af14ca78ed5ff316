//! The codecs that records may be compressed with.
//!
//! Owns their numbers and names, and compressing. Does not know what the bytes mean; decompressing is `decompress.rs`.

use std::fmt;
use std::io::Write;

use flate2::write::GzEncoder;

use super::lz4::{self, Lz4Frame};
use super::snappy::SnappyFrame;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip; members may follow each other.
    Gzip,
    /// snappy, in xerial's frame or without.
    Snappy,
    /// LZ4 frame.
    Lz4,
    /// Zstandard frames (KIP-110).
    Zstd,
}

impl Compression {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The number in the attributes of a batch.
    #[must_use]
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The codec with this number, if there is one.
    #[must_use]
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Compresses `bytes` as Apache Kafka does by default.
pub(super) fn compress(codec: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new(codec, None, Some(bytes.len() as u64));
    compressor.write(bytes);
    compressor.finish()
}

/// Compresses what it is given piece by piece, as Apache Kafka does: gzip, snappy in xerial's frame, LZ4 in independent
/// blocks of 64 KiB, Zstandard.
pub(super) struct Compressor(Encoder);

enum Encoder {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Snappy(SnappyFrame),
    Lz4(Lz4Frame),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

/// Writing into memory fails only for want of it.
const IN_MEMORY: &str = "compressing in memory does not fail";

impl Compressor {
    /// `level` is for gzip (1 to 9, or -1 for the default), LZ4 (1 to 17) and Zstandard (-131,072 to 22); none means the
    /// default of the codec. The size of what is to come is noted in the frame if it is known and the format has room for it.
    ///
    /// # Panics
    /// If the level is out of bounds.
    pub(super) fn new(codec: Compression, level: Option<i32>, size: Option<u64>) -> Self {
        Self(match codec {
            Compression::None => Encoder::Plain(Vec::new()),
            Compression::Gzip => {
                let level = level.and_then(|level| u32::try_from(level).ok());
                let level =
                    level.map_or_else(flate2::Compression::default, flate2::Compression::new);
                Encoder::Gzip(GzEncoder::new(Vec::new(), level))
            }
            Compression::Snappy => Encoder::Snappy(SnappyFrame::new()),
            Compression::Lz4 => Encoder::Lz4(Lz4Frame::new(level.unwrap_or(LZ4_LEVEL))),
            Compression::Zstd => {
                let encoder = zstd::Encoder::new(Vec::new(), level.unwrap_or(ZSTD_LEVEL));
                let mut encoder = encoder.expect("there is memory for a Zstandard encoder");
                encoder.set_pledged_src_size(size).expect("the encoder is new");
                Encoder::Zstd(encoder)
            }
        })
    }

    /// Takes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let writer: &mut dyn Write = match &mut self.0 {
            Encoder::Plain(out) => out,
            Encoder::Gzip(encoder) => encoder,
            Encoder::Snappy(encoder) => return encoder.write(bytes),
            Encoder::Lz4(encoder) => return encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder,
        };
        writer.write_all(bytes).expect(IN_MEMORY);
    }

    /// How many bytes have come out so far. The last ones come at the end.
    pub(super) fn written(&self) -> usize {
        match &self.0 {
            Encoder::Plain(out) => out.len(),
            Encoder::Gzip(encoder) => encoder.get_ref().len(),
            Encoder::Snappy(encoder) => encoder.written(),
            Encoder::Lz4(encoder) => encoder.written(),
            Encoder::Zstd(encoder) => encoder.get_ref().len(),
        }
    }

    /// All that has come out.
    pub(super) fn finish(self) -> Vec<u8> {
        match self.0 {
            Encoder::Plain(out) => out,
            Encoder::Gzip(encoder) => encoder.finish().expect(IN_MEMORY),
            Encoder::Snappy(encoder) => encoder.finish(),
            Encoder::Lz4(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish().expect(IN_MEMORY),
        }
    }
}

/// `compression.lz4.level` unless configured.
const LZ4_LEVEL: i32 = lz4::LEVEL_OF_THE_FAST_WAY;
/// `compression.zstd.level` unless configured.
const ZSTD_LEVEL: i32 = 3;
