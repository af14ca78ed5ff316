//! What compressed payloads are taken: every spelling that Apache Kafka 4.3.1 takes, and no bombs.

use std::io::Write as _;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::tests::{NOW, forged, rules};
use super::*;
use crate::record::compression::compress;

use Compression::{Gzip, Lz4, Snappy, Zstd};

const TAKEN: ErrorCode = ErrorCode::None;
const BAD: ErrorCode = ErrorCode::UnknownServerError;
/// What is there is good, but records are missing.
const SHORT: ErrorCode = ErrorCode::InvalidRecord;

/// Three records.
fn records() -> Vec<u8> {
    (0..3).flat_map(|i| [12, 0, 0, i * 2, 1, 1, 0]).collect()
}

fn lz4(info: FrameInfo, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn snappy_without_frame(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

fn zstd(window_log: u32, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[track_caller]
fn assert_answer(name: &str, codec: Compression, payload: &[u8], expected: ErrorCode) {
    let result = validate(&forged(codec, 3, payload), &rules(), NOW);
    let found = result.as_ref().map_or_else(|refused| refused.error, |_| TAKEN);
    assert_eq!(found, expected, "{codec}, {name}: {result:?}");
}

#[test]
fn every_codec() {
    let records = records();
    let (front, back) = records.split_at(10);
    for codec in [Gzip, Snappy, Lz4, Zstd] {
        let good = compress(codec, &records);
        let two = [compress(codec, front), compress(codec, back)].concat();
        let only_lz4 = if codec == Lz4 { TAKEN } else { BAD };
        let all_but_lz4 = if codec == Lz4 { SHORT } else { TAKEN };
        let lz4_and_snappy = if codec == Snappy { TAKEN } else { only_lz4 };
        let table: [(_, &[u8], _); 8] = [
            ("as written", &good, TAKEN),
            // Apache Kafka: INVALID_RECORD for zstd.
            ("nothing", &[], BAD),
            ("garbage", b"This is garbage, and no codec takes it.", BAD),
            ("cut off by 1", &good[..good.len() - 1], BAD),
            ("cut off by 5", &good[..good.len() - 5], BAD),
            ("two in a row", &two, all_but_lz4),
            // Apache Kafka takes both behind gzip, too.
            ("garbage behind", &[&good[..], b"garbage"].concat(), only_lz4),
            ("zeros behind", &[&good[..], &[0; 3]].concat(), lz4_and_snappy),
        ];
        for (name, payload, expected) in table {
            assert_answer(name, codec, payload, expected);
        }
    }
}

#[test]
fn snappy_with_and_without_frame() {
    let raw = snappy_without_frame(&records());
    let mut version_9 = compress(Snappy, &records());
    version_9[8..16].fill(9);
    let header = &compress(Snappy, &[])[..];
    let table: [(_, &[u8], _); 8] = [
        ("without frame", &raw, TAKEN),
        ("claims 4 GiB", &[&[0xff, 0xff, 0xff, 0xff, 0x0f], &raw[1..]].concat(), BAD),
        ("claims too much", &[&[0xff, 0x7f], &raw[1..]].concat(), BAD),
        ("magic alone", &header[..8], BAD),
        ("header alone", header, SHORT),
        ("negative block", &[header, &[0xff; 4]].concat(), BAD),
        ("block of 2 GiB", &[header, &[0x7f, 0xff, 0xff, 0xff, 0]].concat(), BAD),
        ("version 9", &version_9, TAKEN),
    ];
    for (name, payload, expected) in table {
        assert_answer(name, Snappy, payload, expected);
    }
}

#[test]
fn lz4_with_every_option() {
    let write = |info| lz4(info, &records());
    let all = FrameInfo::new().content_size(Some(21)).block_checksums(true).content_checksum(true);
    let with_change = |info, from_end: usize| {
        let mut payload = write(info);
        let at = payload.len() - from_end;
        payload[at] ^= 1;
        payload
    };
    let mut header = write(FrameInfo::new());
    header[6] ^= 1;
    let table = [
        ("all options", write(all.clone().block_size(BlockSize::Max4MB)), TAKEN),
        ("linked blocks", write(FrameInfo::new().block_mode(BlockMode::Linked)), BAD),
        ("wrong content checksum", with_change(all, 1), TAKEN),
        ("wrong block checksum", with_change(FrameInfo::new().block_checksums(true), 5), BAD),
        ("wrong header checksum", header, BAD),
    ];
    for (name, payload, expected) in table {
        assert_answer(name, Lz4, &payload, expected);
    }
}

#[test]
fn zstd_windows_and_frames() {
    let skippable = [&0x184d_2a50_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"abc"].concat();
    let table = [
        ("window of 2^10", zstd(10, &records()), TAKEN),
        ("window of 2^27", zstd(27, &records()), TAKEN),
        ("window of 2^28", zstd(28, &records()), BAD),
        ("skippable frame", [skippable, zstd(10, &records())].concat(), TAKEN),
    ];
    for (name, payload, expected) in table {
        assert_answer(name, Zstd, &payload, expected);
    }
}

/// A megabyte each, at most, that becomes hundreds.
fn bombs() -> [(&'static str, Compression, Vec<u8>); 5] {
    // The start of a record of 2^30 bytes, of which all but the first are its value.
    let start = [0x80, 0x80, 0x80, 0x80, 0x08, 0, 0, 0, 1, 0xe8, 0xff, 0xff, 0xff, 0x07];
    let zeros = vec![0; 8 << 20];
    let often = |unit: &[u8]| unit.repeat((1 << 20) / unit.len());
    let streams = |codec| [compress(codec, &start), often(&compress(codec, &zeros))].concat();
    let started = |count| [&start[..], &vec![0; count]].concat();
    let frame =
        lz4(FrameInfo::new().block_size(BlockSize::Max64KB), &started((64 << 10) - start.len()));
    let (header, block) = frame[..frame.len() - 4].split_at(7);
    [
        ("members", Gzip, streams(Gzip)),
        ("frames", Zstd, streams(Zstd)),
        ("a large window", Zstd, zstd(27, &started(64 << 20))),
        ("blocks", Lz4, [header, &often(block), &[0; 4]].concat()),
        ("one block", Snappy, snappy_without_frame(&started(20 << 20))),
    ]
}

#[test]
fn bombs_are_refused() {
    let rules = Rules { batch_bytes_max: 2 << 20, ..rules() };
    for (name, codec, payload) in bombs() {
        let refused = validate(&forged(codec, 1, &payload), &rules, NOW).unwrap_err();
        assert_eq!(refused.error, ErrorCode::MessageTooLarge, "{codec}, {name}: {refused}");
    }
}
