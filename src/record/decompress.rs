//! Reading compressed records window by window.
//!
//! Owns how much a payload may decompress to, and how much of that is in memory at a time. Does not know what the bytes
//! mean.
//!
//! **Invariant:** of the output no more is held than a window of 64 KiB with gzip, a block with LZ4 (64 KiB as Kafka's
//! clients write it, 4 MiB at most), a block with snappy (32 KiB as Java writes it; without frame it is everything) and
//! what Zstandard refers back to (8 MiB, or more if the frame asks for it). Where the format sets no bound [`HELD`]
//! does; how much comes out in all is bounded by [`EXPANSION`].

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::blocks::Blocks;
use super::compression::Compression;
use super::error::BatchError;
use super::lz4::Lz4Blocks;
use super::snappy::SnappyBlocks;

/// The decompressed payload of a batch, seen through a window that moves on.
pub(super) struct Decompressed<'a> {
    codec: Compression,
    reader: Box<dyn BufRead + 'a>,
    consumed: u64,
    bytes_max: u64,
}

impl<'a> Decompressed<'a> {
    /// # Errors
    /// [`BatchError::Decompress`] if there is no memory for the decoder; bad bytes come to light later.
    pub(super) fn new(codec: Compression, payload: &'a [u8]) -> Result<Self, BatchError> {
        let held = HELD.bytes_max(payload.len());
        let mut bytes_max = EXPANSION.bytes_max(payload.len());
        let reader: Box<dyn BufRead + 'a> = match codec {
            Compression::None => Box::new(payload),
            Compression::Gzip => windowed(MultiGzDecoder::new(payload)),
            Compression::Snappy => Box::new(Blocks::new(SnappyBlocks::new(payload, held))),
            Compression::Lz4 => Box::new(Blocks::new(Lz4Blocks::new(payload))),
            Compression::Zstd => {
                let mut window_log_max = ZSTD_WINDOW_LOG_USUAL;
                if zstd_frame_window(payload) > Some(1 << ZSTD_WINDOW_LOG_USUAL) {
                    window_log_max = ZSTD_WINDOW_LOG_MAX;
                    bytes_max = held;
                }
                let decoder = open_zstd(payload, window_log_max);
                windowed(decoder.map_err(|source| BatchError::Decompress { codec, source })?)
            }
        };
        Ok(Self { codec, reader, consumed: 0, bytes_max })
    }

    /// What comes next: at least one byte, or none at the end.
    pub(super) fn window(&mut self) -> Result<&[u8], BatchError> {
        let codec = self.codec;
        self.reader.fill_buf().map_err(|source| {
            if source.kind() == io::ErrorKind::FileTooLarge {
                return BatchError::ExpandsTooFar;
            }
            BatchError::Decompress { codec, source }
        })
    }

    /// Moves on by `bytes`, which must not be more than the window has.
    pub(super) fn consume(&mut self, bytes: usize) -> Result<(), BatchError> {
        self.reader.consume(bytes);
        self.consumed += bytes as u64;
        if self.consumed > self.bytes_max { Err(BatchError::ExpandsTooFar) } else { Ok(()) }
    }
}

fn windowed<'a>(reader: impl Read + 'a) -> Box<dyn BufRead + 'a> {
    Box::new(BufReader::with_capacity(WINDOW_BYTES, reader))
}

fn open_zstd(payload: &[u8], window_log_max: u32) -> io::Result<zstd::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::Decoder::with_buffer(payload)?;
    decoder.window_log_max(window_log_max)?;
    Ok(decoder)
}

/// How much of its output a decoder must keep for the Zstandard frame at the start of `bytes` (RFC 8878, 3.1.1.1);
/// `None` if there is no such frame.
fn zstd_frame_window(bytes: &[u8]) -> Option<u64> {
    let (magic, rest) = bytes.split_first_chunk()?;
    let (descriptor, rest) = rest.split_first()?;
    if *magic != ZSTD_MAGIC {
        return None;
    }
    let is_single_segment = descriptor & 0x20 != 0;
    if !is_single_segment {
        let (exponent, mantissa) = (rest.first()? >> 3, rest.first()? & 7);
        let base = 1 << (10 + u32::from(exponent));
        return Some(base + base / 8 * u64::from(mantissa));
    }
    // The window is the whole content, whose size follows the id of the dictionary.
    let dictionary_id_bytes = (1 << (descriptor & 3)) >> 1;
    let rest = rest.get(dictionary_id_bytes..)?;
    match descriptor >> 6 {
        0 => rest.first().map(|size| u64::from(*size)),
        1 => rest.first_chunk().map(|size| u64::from(u16::from_le_bytes(*size)) + 256),
        2 => rest.first_chunk().map(|size| u64::from(u32::from_le_bytes(*size))),
        _ => rest.first_chunk().map(|size| u64::from_le_bytes(*size)),
    }
}

/// How far a payload may expand. Apache Kafka knows no such limit; what lies beyond is made to keep a broker busy.
struct Expansion {
    /// Any payload may decompress to this many bytes,
    allowed_bytes: u64,
    /// or to this many times its size.
    factor: u64,
}

impl Expansion {
    fn bytes_max(&self, payload_bytes: usize) -> u64 {
        (payload_bytes as u64).saturating_mul(self.factor).max(self.allowed_bytes)
    }
}

/// In general. Only gzip and Zstandard can reach this with what clients send, and only by megabytes of the same few
/// bytes.
const EXPANSION: Expansion = Expansion { allowed_bytes: 128 << 20, factor: 64 };
/// Where the decoder holds what it puts out: a block of snappy, and a Zstandard frame with a large window.
const HELD: Expansion = Expansion { allowed_bytes: 16 << 20, factor: 8 };
/// 8 MiB: what RFC 8878 asks every decoder to support, and what levels up to 19 use.
const ZSTD_WINDOW_LOG_USUAL: u32 = 23;
/// 128 MiB: what Apache Kafka's decoder takes, and what level 22 uses.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// How much of the output of gzip and Zstandard is there at a time.
const WINDOW_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::{
        Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
    };

    use super::*;
    use crate::record::compression::compress;

    /// What comes out, reading at most `step_max` bytes at a time; and the largest window.
    fn decompress(
        codec: Compression,
        payload: &[u8],
        step_max: usize,
    ) -> Result<(Vec<u8>, usize), BatchError> {
        let mut stream = Decompressed::new(codec, payload)?;
        let (mut out, mut largest) = (Vec::new(), 0);
        loop {
            let window = stream.window()?;
            largest = largest.max(window.len());
            let step = window.len().min(step_max);
            if step == 0 {
                return Ok((out, largest));
            }
            out.extend_from_slice(&window[..step]);
            stream.consume(step)?;
        }
    }

    fn any_codec() -> impl Strategy<Value = Compression> {
        proptest::sample::select(&Compression::ALL[..])
    }

    /// Bytes that compress well, badly, or change from one to the other.
    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let run = prop_oneof![
            (any::<u8>(), 0..100_000_usize).prop_map(|(byte, count)| vec![byte; count]),
            proptest::collection::vec(any::<u8>(), 0..50_000),
            Just(b"one two three ".repeat(700)),
        ];
        proptest::collection::vec(run, 0..4).prop_map(|runs| runs.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_compressed_comes_back(codec in any_codec(), bytes in any_bytes(), step in 1..200_000_usize) {
            let (out, largest) = decompress(codec, &compress(codec, &bytes), step).unwrap();
            prop_assert_eq!(out.len(), bytes.len());
            prop_assert!(out == bytes, "contents differ");
            prop_assert!(codec == Compression::None || largest <= WINDOW_BYTES);
        }

        #[test]
        fn garbage_neither_panics_nor_grows(
            codec in any_codec(),
            bytes in proptest::collection::vec(any::<u8>(), 1..2_000),
            at in 0..2_000_usize,
            with in any::<[u8; 3]>(),
        ) {
            let mut payload = compress(codec, &bytes);
            let at = at % payload.len();
            for (byte, with) in payload[at..].iter_mut().zip(with) {
                *byte = with;
            }
            if let Ok((out, _)) = decompress(codec, &payload, usize::MAX) {
                prop_assert!(out.len() as u64 <= EXPANSION.bytes_max(payload.len()));
            }
            let pure = decompress(codec, &bytes, usize::MAX).map_or(0, |(out, _)| out.len() as u64);
            prop_assert!(pure <= EXPANSION.bytes_max(bytes.len()));
        }
    }

    #[test]
    fn windows_of_zstandard_frames_are_told() {
        let window_of = |frame: &[u8]| zstd_frame_window(&[&ZSTD_MAGIC, frame].concat());
        assert_eq!(window_of(&[0x00, 0x00]), Some(1 << 10));
        assert_eq!(window_of(&[0x00, 0x69]), Some((1 << 23) + (1 << 20)));
        assert_eq!(window_of(&[0x00, 0xff]), Some((1 << 41) + 7 * (1 << 38)));
        assert_eq!(window_of(&[0x20, 5]), Some(5));
        assert_eq!(
            window_of(&[0x61, 0xaa, 1, 1]),
            Some(257 + 256),
            "behind the id of a dictionary"
        );
        assert_eq!(window_of(&[0xa0, 0, 0, 0, 1]), Some(1 << 24));
        assert_eq!(window_of(&[0xe0, 0, 0, 0, 0, 1, 0, 0, 0]), Some(1 << 32));
        assert_eq!(window_of(&[0xe0, 0]), None);
        assert_eq!(zstd_frame_window(b"something else"), None);
        let written = compress(Compression::Zstd, &[7; 1_000]);
        assert_eq!(zstd_frame_window(&written), Some(1_000));
    }

    #[test]
    fn snappy_and_lz4_frames_begin_as_their_tables_say() {
        let snappy = compress(Compression::Snappy, &[1; 40_000]);
        assert_eq!(snappy[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
        let first = usize::from(u16::from_be_bytes([snappy[18], snappy[19]]));
        assert_eq!(snap::raw::decompress_len(&snappy[20..20 + first]).unwrap(), 32 << 10);
        let lz4 = compress(Compression::Lz4, &[1; 40_000]);
        assert_eq!(lz4[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
        assert_eq!(lz4[lz4.len() - 4..], [0; 4]);
    }
}
