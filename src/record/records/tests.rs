//! Reading what Apache Kafka and we write, and what is damaged.

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::model::{LeaderEpoch, ProducerEpoch, ProducerId};
use crate::record::{BatchBuilder, ValidBatch};

/// A record with bytes of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn read(batch: &[u8]) -> Result<Vec<Owned>, BatchError> {
    let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let mut records = Vec::new();
    visit_records(batch, |record| {
        records.push(Owned {
            offset: record.offset.0,
            timestamp: record.timestamp.0,
            key: own(record.key),
            value: own(record.value),
            headers: record.headers.map(|(key, value)| (key.to_vec(), own(value))).collect(),
        });
        ControlFlow::Continue(())
    })?;
    Ok(records)
}

fn owned(offset: i64, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Owned {
    let [key, value] = [key, value].map(|bytes| bytes.map(<[u8]>::to_vec));
    Owned { offset, timestamp, key, value, headers: Vec::new() }
}

const KAFKAS: [(Compression, &[u8]); 5] = [
    (Compression::None, include_bytes!("../../../tests/data/batches/none.bin")),
    (Compression::Gzip, include_bytes!("../../../tests/data/batches/gzip.bin")),
    (Compression::Snappy, include_bytes!("../../../tests/data/batches/snappy.bin")),
    (Compression::Lz4, include_bytes!("../../../tests/data/batches/lz4.bin")),
    (Compression::Zstd, include_bytes!("../../../tests/data/batches/zstd.bin")),
];

#[test]
fn kafkas_batches_are_read() {
    let long = b"long ".repeat(100);
    let mut first = owned(40, 1_000, Some(b"first"), Some(b"value"));
    first.headers = vec![
        (b"one".to_vec(), Some(b"1".to_vec())),
        (b"null".to_vec(), None),
        (b"one".to_vec(), Some(vec![])),
    ];
    let expected = [
        first,
        owned(41, 3_000, None, Some(b"no key")),
        owned(42, 2_000, Some(b"tombstone"), None),
        owned(43, 2_000, Some(b""), Some(&long)),
    ];
    for (codec, bytes) in KAFKAS {
        let header = BatchHeader::parse(bytes).unwrap();
        header.check_crc(bytes).unwrap();
        assert_eq!(header.compression(), codec);
        assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(7), ProducerEpoch(3)));
        assert_eq!((header.base_sequence, header.last_sequence()), (i32::MAX, 2));
        assert_eq!(header.partition_leader_epoch, LeaderEpoch(5));
        assert_eq!(header.max_timestamp, UnixMillis(3_000));
        assert!(header.is_transactional() && !header.is_control());
        assert_eq!(read(bytes).unwrap(), expected, "{codec}");
    }
}

#[test]
fn our_builder_writes_what_kafkas_does() {
    let (_, kafkas) = KAFKAS[0];
    let mut builder = BatchBuilder::new();
    builder.base_offset(Offset(40)).leader_epoch(LeaderEpoch(5)).transactional();
    builder.producer(ProducerId(7), ProducerEpoch(3), i32::MAX);
    let headers = [("one", Some(&b"1"[..])), ("null", None), ("one", Some(b""))];
    builder.push_with_headers(UnixMillis(1_000), Some(b"first"), Some(b"value"), &headers);
    builder.push(UnixMillis(3_000), None, Some(b"no key"));
    builder.push(UnixMillis(2_000), Some(b"tombstone"), None);
    builder.push(UnixMillis(2_000), Some(b""), Some(&b"long ".repeat(100)));
    assert_eq!(builder.build(), kafkas);
}

#[test]
fn kafkas_odd_batches_are_read() {
    let appended = include_bytes!("../../../tests/data/batches/log-append-time.bin");
    assert_eq!(read(appended).unwrap(), [owned(40, 9_000, Some(b"key"), Some(b"value"))]);

    let control = include_bytes!("../../../tests/data/batches/control.bin");
    let header = BatchHeader::parse(control).unwrap();
    assert!(header.is_control() && header.is_transactional());
    let (key, value) = ([0, 0, 0, 1], [0, 0, 0, 0, 0, 11]);
    assert_eq!(read(control).unwrap(), [owned(77, 4_000, Some(&key), Some(&value))]);

    let emptied = include_bytes!("../../../tests/data/batches/emptied.bin");
    let header = BatchHeader::parse(emptied).unwrap();
    header.check_crc(emptied).unwrap();
    assert_eq!((header.record_count, header.next_offset()), (0, Offset(45)));
    assert_eq!((header.last_sequence(), header.max_timestamp), (14, UnixMillis(3_000)));
    assert_eq!(read(emptied).unwrap(), []);
    for codec in Compression::ALL {
        let mut compressed = emptied.to_vec();
        compressed[22] = codec.id();
        assert_eq!(read(&compressed).unwrap(), [], "{codec}");
    }
}

#[test]
fn a_visit_can_end_early() {
    for (codec, bytes) in KAFKAS {
        let mut offsets = Vec::new();
        visit_records(bytes, |record| {
            offsets.push(record.offset.0);
            if offsets.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        assert_eq!(offsets, [40, 41], "{codec}");
    }
}

#[test]
fn what_does_not_add_up_is_an_error() {
    for (codec, bytes) in KAFKAS {
        let with_count = |count: i32| {
            let mut bytes = bytes.to_vec();
            bytes[57..61].copy_from_slice(&count.to_be_bytes());
            read(&bytes)
        };
        let more = with_count(5);
        let cut_off = RecordProblem::CutOff;
        assert!(
            matches!(more, Err(BatchError::Record { index: 4, problem }) if problem == cut_off),
            "{codec}: {more:?}"
        );
        for count in [-1, 0, 3] {
            let fewer = with_count(count);
            let is_after =
                matches!(fewer, Err(BatchError::BytesAfterRecords(found)) if found == count);
            assert!(is_after, "{codec}, {count}: {fewer:?}");
        }
        let short = read(&bytes[..bytes.len() - 1]);
        assert!(matches!(short, Err(BatchError::CutOff { .. })), "{codec}: {short:?}");
    }
}

/// Sizes around those of windows and blocks.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..300),
        1 => (any::<u8>(), 60_000..70_000_usize).prop_map(|(byte, count)| vec![byte; count]),
        1 => proptest::collection::vec(any::<u8>(), 20_000..40_000),
        1 => (any::<u8>(), 0..400_000_usize).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

fn any_record() -> impl Strategy<Value = Owned> {
    let header =
        ("[a-zA-Z]{0,8}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..8)));
    let header = header.prop_map(|(key, value)| (key.into_bytes(), value));
    let headers = proptest::collection::vec(header, 0..3);
    let key = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..100));
    let value = proptest::option::weighted(0.9, any_value());
    (any::<i64>(), key, value, headers).prop_map(|(timestamp, key, value, headers)| Owned {
        offset: 0,
        timestamp,
        key,
        value,
        headers,
    })
}

proptest! {
    #[test]
    fn what_is_built_is_read(
        codec in proptest::sample::select(&Compression::ALL[..]),
        mut records in proptest::collection::vec(any_record(), 1..12),
        base_offset in 0..1_i64 << 60,
    ) {
        let mut builder = BatchBuilder::new();
        builder.base_offset(Offset(base_offset)).compression(codec);
        for (record, offset) in records.iter_mut().zip(base_offset..) {
            record.offset = offset;
            let headers: Vec<_> = record.headers.iter()
                .map(|(key, value)| (str::from_utf8(key).unwrap(), value.as_deref()))
                .collect();
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            builder.push_with_headers(UnixMillis(record.timestamp), key, value, &headers);
        }
        let batch = builder.build();
        prop_assert!(read(&batch).unwrap() == records, "records differ");

        let valid = ValidBatch::trusted(&batch).unwrap();
        let mut shapes = Vec::new();
        visit_shapes(valid.header(), valid.payload(), |index, shape| {
            let timestamp = timestamp_of(valid.header(), shape.timestamp_delta);
            shapes.push((index, shape.offset_delta, timestamp.0, shape.key.is_some(), shape.value.is_some()));
            Ok(())
        }).unwrap();
        let expected: Vec<_> = records.iter().zip(0..)
            .map(|(record, i)| (i, i, record.timestamp, record.key.is_some(), record.value.is_some()))
            .collect();
        prop_assert_eq!(shapes, expected);
    }

    #[test]
    fn damage_never_panics(
        kafkas in proptest::sample::select(&KAFKAS[..]),
        at in BatchHeader::BYTES..600,
        with in any::<[u8; 2]>(),
        count in 0..6_i32,
    ) {
        let mut bytes = kafkas.1.to_vec();
        let at = BatchHeader::BYTES + at % (bytes.len() - BatchHeader::BYTES);
        for (byte, with) in bytes[at..].iter_mut().zip(with) {
            *byte = with;
        }
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        let header = BatchHeader::parse(&bytes).unwrap();
        let shapes = visit_shapes(&header, &bytes[BatchHeader::BYTES..], |_, _| Ok(()));
        prop_assert_eq!(read(&bytes).is_ok(), shapes.is_ok());
    }
}
