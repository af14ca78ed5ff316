//! What is taken, what is refused and with which code. Apache Kafka 4.3.1 answers the same codes to the same bytes; where
//! it does not, the case says so.

use super::*;
use crate::model::{LeaderEpoch, ProducerEpoch, ProducerId};
use crate::record::BatchBuilder;
use crate::record::compression::compress;
use crate::record::crc32c;

use ErrorCode::{CorruptMessage, InvalidRecord, InvalidTimestamp, MessageTooLarge};

pub(super) const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

/// Kafka's defaults.
pub(super) fn rules() -> Rules {
    Rules {
        recompression: None,
        batch_bytes_max: 1_048_588,
        is_compacted: false,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        allows_zstd: true,
    }
}

/// A batch that says it has `count` records in `payload`.
pub(super) fn forged(codec: Compression, count: i32, payload: &[u8]) -> Bytes {
    let mut bytes = good()[..BatchHeader::BYTES].to_vec();
    bytes.extend_from_slice(payload);
    let length = i32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = codec.id();
    bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    with_crc(bytes).into()
}

/// Two records, the second a bit older and without key.
fn builder() -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    let headers = [("header", Some(&b"x"[..])), ("null", None)];
    builder.push_with_headers(NOW, Some(b"key"), Some(b"value"), &headers);
    builder.push(NOW.plus_millis(-5), None, Some(b"value"));
    builder
}

fn good() -> Vec<u8> {
    builder().build().to_vec()
}

fn with_crc(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The good batch with other bytes at `at` and a checksum that fits.
fn patched(at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = good();
    bytes[at..at + with.len()].copy_from_slice(with);
    with_crc(bytes)
}

/// The good batch with another last offset delta and record count.
fn counted(delta: i32, count: i32) -> Vec<u8> {
    let mut bytes = patched(23, &delta.to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    with_crc(bytes)
}

/// The first record of a batch: its key, its value and headers are `rest`.
fn record(rest: &[u8]) -> Vec<u8> {
    let length = u8::try_from((3 + rest.len()) * 2).unwrap();
    [&[length, 0, 0, 0], rest].concat()
}

#[track_caller]
fn assert_refused(
    name: &str,
    bytes: Vec<u8>,
    rules: &Rules,
    error: ErrorCode,
    record_errors: usize,
) {
    let refused = validate(&bytes.into(), rules, NOW).expect_err(name);
    let found = (refused.error, refused.record_errors.len());
    assert_eq!(found, (error, record_errors), "{name}: {refused}");
}

#[test]
fn bytes_that_are_not_one_batch() {
    let good = good();
    let behind = |behind: &[u8]| [&good[..], behind].concat();
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let table = [
        ("nothing", vec![], InvalidRecord),
        ("cut off", good[..good.len() - 1].to_vec(), InvalidRecord),
        ("cut off early", good[..16].to_vec(), InvalidRecord),
        ("length 13", patched(8, &13_i32.to_be_bytes()), CorruptMessage),
        // Apache Kafka: UNKNOWN_SERVER_ERROR, for it reads beyond the end.
        ("length 14", patched(8, &14_i32.to_be_bytes())[..26].to_vec(), CorruptMessage),
        ("length 48", patched(8, &48_i32.to_be_bytes())[..60].to_vec(), CorruptMessage),
        ("negative length", patched(8, &(-1_i32).to_be_bytes()), CorruptMessage),
        // Apache Kafka: UNKNOWN_SERVER_ERROR, for its size overflows.
        ("length of 2 GiB", patched(8, &i32::MAX.to_be_bytes()), InvalidRecord),
        ("magic 0", patched(16, &[0]), InvalidRecord),
        ("magic 1", patched(16, &[1]), InvalidRecord),
        ("magic 3", patched(16, &[3]), CorruptMessage),
        ("magic -1", patched(16, &[0xff]), CorruptMessage),
        ("two batches", behind(&good), InvalidRecord),
        ("zeros behind", behind(&[0; 20]), CorruptMessage),
        ("magic 9 behind", behind(&patched(16, &[9])), CorruptMessage),
        ("damaged", damaged, CorruptMessage),
        ("base offset 7", patched(0, &7_i64.to_be_bytes()), InvalidRecord),
    ];
    for (name, bytes, error) in table {
        assert_refused(name, bytes, &rules(), error, 0);
    }
    let small = Rules { batch_bytes_max: 90, ..rules() };
    assert_refused("too large", good, &small, MessageTooLarge, 0);
}

#[test]
fn headers_that_lie() {
    let mut producer = builder();
    producer.producer(ProducerId(5), ProducerEpoch(0), -1);
    let table = [
        ("no records", counted(-1, 0), InvalidRecord),
        ("count below 0", counted(1, -2), InvalidRecord),
        ("count beyond the delta", counted(1, 3), InvalidRecord),
        ("delta below 0", counted(-5, 2), InvalidRecord),
        ("one record too many", counted(2, 3), InvalidRecord),
        ("one record too few", counted(0, 1), InvalidRecord),
        ("2^31 - 1 records", counted(i32::MAX - 1, i32::MAX), InvalidRecord),
        ("lowest count", counted(i32::MAX, i32::MIN), InvalidRecord),
        ("codec 5", patched(22, &[5]), ErrorCode::UnknownServerError),
        ("control batch", builder().control().build().to_vec(), InvalidRecord),
        ("sequence -1", producer.build().to_vec(), InvalidRecord),
    ];
    for (name, bytes, error) in table {
        assert_refused(name, bytes, &rules(), error, 0);
    }
}

#[test]
fn records_that_are_not_well_formed() {
    let good = record(&[1, 1, 0]);
    let table = [
        ("no bytes", 1, vec![]),
        ("length 0", 1, vec![0]),
        // Apache Kafka does not look at the length of a compressed record; the three cases of it are taken there.
        ("negative length", 1, [&[1], &good[1..]].concat()),
        ("longer than the batch", 1, [&[64], &good[1..]].concat()),
        ("bytes left in the record", 1, record(&[1, 1, 0, 0])),
        ("cut off", 1, good[..good.len() - 1].to_vec()),
        ("bytes after the records", 1, [&good[..], &[0]].concat()),
        ("key beyond the record", 1, record(&[20, b'k', 1, 0])),
        ("value beyond the record", 1, record(&[1, 20, b'v', 0])),
        ("negative number of headers", 1, record(&[1, 1, 1])),
        ("most headers", 1, record(&[1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f])),
        ("header without key", 1, record(&[1, 1, 2, 1, 1])),
        ("header beyond the record", 1, record(&[1, 1, 2, 20, 1])),
        ("length without end", 1, vec![0x80; 12]),
        // Apache Kafka stores it uncompressed; compressed, it fails with UNKNOWN_SERVER_ERROR to give new offsets.
        ("offsets that stand still", 2, [&good[..], &good].concat()),
    ];
    for codec in Compression::ALL {
        for (name, count, payload) in &table {
            let bytes = forged(codec, *count, &compress(codec, payload)).to_vec();
            assert_refused(&format!("{name} in {codec}"), bytes, &rules(), InvalidRecord, 0);
        }
    }
}

#[test]
fn records_that_the_topic_does_not_take() {
    let compacted = Rules { is_compacted: true, ..rules() };
    let strict = Rules { timestamp_before_max_ms: 3, timestamp_after_max_ms: 3, ..rules() };
    let appended = Rules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    for codec in Compression::ALL {
        let bytes = builder().compression(codec).build().to_vec();
        assert_refused("no key", bytes.clone(), &compacted, InvalidRecord, 1);
        assert_refused("past", bytes.clone(), &strict, InvalidTimestamp, 1);
        let mut stamped = bytes;
        stamped[22] |= 8;
        assert_refused("LogAppendTime", with_crc(stamped), &appended, InvalidTimestamp, 2);
        let mut future = BatchBuilder::new();
        future.compression(codec).push(NOW, None, None).push(UnixMillis(1 << 60), None, None);
        let future = future.build().to_vec();
        assert_refused("future", future.clone(), &rules(), InvalidTimestamp, 1);
        assert_refused("future without key", future, &compacted, InvalidRecord, 2);
    }
    let mut zstd = builder();
    let zstd = zstd.compression(Compression::Zstd).build().to_vec();
    let old = Rules { allows_zstd: false, ..rules() };
    assert_refused("zstd", zstd, &old, ErrorCode::UnsupportedCompressionType, 0);
}

#[test]
fn odd_batches_are_taken() {
    let good = good();
    let timed = |timestamps: [i64; 2]| {
        let mut builder = BatchBuilder::new();
        for timestamp in timestamps {
            builder.push(UnixMillis(timestamp), None, None);
        }
        builder.build().to_vec()
    };
    let table = [
        ("good", good.clone(), NOW),
        ("second cut off", [&good[..], &good[..good.len() - 1]].concat(), NOW),
        ("second cut off early", [&good[..], &[0; 11]].concat(), NOW),
        ("max timestamp too early", patched(35, &5_i64.to_be_bytes()), NOW),
        ("max timestamp too late", patched(35, &i64::MAX.to_be_bytes()), NOW),
        ("LogAppendTime", patched(22, &[8]), NOW),
        ("delete horizon", patched(22, &[0x40]), NOW),
        ("unused attributes", patched(21, &[0xff, 0x80]), NOW),
        ("transactional", patched(22, &[0x10]), NOW),
        ("producer -5", patched(43, &(-5_i64).to_be_bytes()), NOW),
        ("sequence without producer", patched(53, &7_i32.to_be_bytes()), NOW),
        ("leader epoch", patched(12, &99_i32.to_be_bytes()), NOW),
        ("no timestamps", timed([-1, -1]), UnixMillis::NONE),
        ("timestamps below 0", timed([-7, -2]), UnixMillis::NONE),
    ];
    for (name, bytes, max_timestamp) in table {
        let result = validate(&bytes.into(), &rules(), NOW);
        let valid = result.unwrap_or_else(|refused| panic!("{name}: {refused}"));
        let header = valid.header();
        let whole = [&header.to_bytes()[..], valid.payload()].concat();
        header.check_crc(&whole).unwrap();
        assert!(whole.len() <= good.len(), "{name}: more than the batch");
        assert_eq!(header.max_timestamp, max_timestamp, "{name}");
        assert_eq!(header.timestamp_type(), TimestampType::CreateTime, "{name}");
    }
}

/// A topic with CreateTime takes the flag away, so the records' own timestamps count from then on. Apache Kafka checks the
/// maximum that the client wrote instead, and keeps it.
#[test]
fn a_time_of_the_append_that_a_client_claims_does_not_hide_the_timestamps() {
    let claiming = |own: UnixMillis, claimed: UnixMillis| {
        let mut bytes = BatchBuilder::new().push(own, None, None).build().to_vec();
        bytes[22] |= 8;
        bytes[35..43].copy_from_slice(&claimed.0.to_be_bytes());
        with_crc(bytes)
    };
    let valid = validate(&claiming(NOW, UnixMillis(5)).into(), &rules(), NOW).unwrap();
    assert_eq!(valid.header().max_timestamp, NOW);
    let future = claiming(UnixMillis(1 << 60), NOW);
    assert_refused("hidden future", future, &rules(), InvalidTimestamp, 1);
}

#[test]
fn under_log_append_time_own_timestamps_do_not_matter() {
    let rules = Rules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    let batch = BatchBuilder::new().push(UnixMillis(1 << 60), None, None).build();
    let valid = validate(&batch, &rules, NOW).unwrap();
    let stamped = valid.stamped(Offset(9), LeaderEpoch(1), Some(NOW));
    assert_eq!(stamped.max_timestamp, NOW);
    assert_eq!(stamped.timestamp_type(), TimestampType::LogAppendTime);
}

#[test]
fn refused_records_are_named_up_to_a_limit() {
    let mut builder = BatchBuilder::new();
    for _ in 0..=InvalidBatch::RECORD_ERRORS_MAX {
        builder.push(NOW, None, Some(b"value"));
    }
    let rules = Rules { is_compacted: true, ..rules() };
    let refused = validate(&builder.build(), &rules, NOW).unwrap_err();
    assert_eq!(refused.record_errors.len(), InvalidBatch::RECORD_ERRORS_MAX);
    assert_eq!(refused.record_errors[7].index, 7);
    let message =
        "1001 records are refused; record 0: a compacted topic takes no records without key";
    assert_eq!(refused.message, message);
}

#[test]
fn no_change_of_a_byte_panics() {
    for codec in Compression::ALL {
        let bytes = builder().compression(codec).build().to_vec();
        for at in 0..bytes.len() {
            for with in [0, 1, 0x7f, 0x80, 0xff, bytes[at].wrapping_add(1)] {
                let mut changed = bytes.clone();
                changed[at] = with;
                let changed = with_crc(changed);
                if let Ok(valid) = validate(&changed.into(), &rules(), NOW) {
                    assert_eq!(valid.header().record_count, 2);
                }
            }
        }
    }
}
