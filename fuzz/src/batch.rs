//! Record batches as a producer sends them, through the rules by which they are taken and into a log.
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 1 | bits 0-1: [`Form`] of what follows; bits 2-4: the codec, if the form has one |
//! | 1 | options, see [`rules`] |
//! | | the batch, or what it is made from |
//!
//! A batch that is taken reads back the same, in the codec that the topic asks for, its offsets are dense, its header tells the truth about the records, and its
//! checksum fits wherever it is put into a log. One that is refused has a code for it. Neither takes more memory than its
//! codec may hold, nor comes out larger than `src/record/decompress.rs` allows.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla::env::{Disk, MemoryDisk, Residency, Rng};
use ottla::log::{Append, Log, LogConfig, LogStart, Opened, Origin, ReadLimit};
use ottla::model::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, TopicId, TopicName, UnixMillis,
};
use ottla::record::{
    BatchBuilder, BatchHeader, Compression, Recompression, Rules, TimestampType, ValidBatch,
    crc32c, scan, validate, visit_records,
};

use crate::input::Input;
use crate::{memory, verdict};

/// Batches that Kafka's own classes wrote, with base offset 40, which a producer would not send.
const KAFKA: [&[u8]; 6] = [
    include_bytes!("../../tests/data/batches/none.bin"),
    include_bytes!("../../tests/data/batches/gzip.bin"),
    include_bytes!("../../tests/data/batches/snappy.bin"),
    include_bytes!("../../tests/data/batches/lz4.bin"),
    include_bytes!("../../tests/data/batches/zstd.bin"),
    include_bytes!("../../tests/data/batches/log-append-time.bin"),
];

/// Runs one input.
///
/// # Panics
/// If a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte();
    let rules = rules(input.byte());
    let codec = Compression::ALL[usize::from(kind >> 2) % Compression::ALL.len()];
    let sent = Form::of(kind).batch(codec, input.rest());
    let (judged, peak) = memory::peak_of(|| validate(&sent, &rules, NOW));
    let bound = held_bytes_max(sent.len(), &rules);
    assert!(peak <= bound, "{peak} bytes of memory for a batch that may take {bound}");
    match judged {
        Ok(batch) => {
            let header = *batch.header();
            assert_tells_the_truth(&sent, &batch, &rules);
            assert_appends(&batch, rules.timestamp_type);
            verdict::accepted((
                header.compression(),
                header.has_producer(),
                header.is_transactional(),
                header.record_count.min(3),
                header.size_bytes().ilog2(),
                rules.timestamp_type,
                rules.recompression.is_some(),
            ));
        }
        Err(refused) => {
            assert!(!refused.error.is_none(), "refused without a reason: {refused:?}");
            assert!(!refused.message.is_empty(), "refused without a word: {refused:?}");
            assert!(refused.record_errors.iter().all(|error| error.index >= 0));
            let words = refused.message.split(|c: char| c.is_ascii_digit()).next();
            verdict::refused((refused.error, codec, words));
        }
    }
}

/// Batches in every codec and form.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for codec in Compression::ALL {
        for records in [1, 3, 200] {
            let mut builder = BatchBuilder::new();
            builder.compression(codec);
            if records == 3 {
                builder.producer(ProducerId(7), ProducerEpoch(1), i32::MAX - 1).transactional();
            }
            for i in 0..records {
                let (key, value) = (format!("key {i}"), "value ".repeat(i));
                let headers = [("one", Some(&b"1"[..])), ("two", None)];
                let headers = &headers[..i % 3];
                let at = UnixMillis(NOW.0 - 7 * i64::try_from(i).expect("few records"));
                builder.push_with_headers(
                    at,
                    Some(key.as_bytes()),
                    Some(value.as_bytes()),
                    headers,
                );
            }
            let batch = builder.build();
            seeds.push([&[Form::AsItIs as u8, 0], &batch[..]].concat());
            seeds.push([&[Form::Repaired as u8, 0], &batch[..]].concat());
            for wanted in 1..=5 {
                seeds.push(
                    [&[Form::AsItIs as u8, wanted << RECOMPRESSION_SHIFT], &batch[..]].concat(),
                );
            }
            let records = builder.compression(Compression::None).build();
            let kind = Form::Records as u8 | codec.id() << 2;
            seeds.push(
                [&[kind, 0], &batch[21..BatchHeader::BYTES], &records[BatchHeader::BYTES..]]
                    .concat(),
            );
        }
    }
    for batch in KAFKA {
        // Repairing puts the base offset right too. Only a broker may say that it chose the time.
        let by_append_time = batch[22] & 8 != 0;
        let options = if by_append_time { LOG_APPEND_TIME } else { 0 };
        let mut seed = [&[Form::Repaired as u8, options | ANY_TIMESTAMP], batch].concat();
        if by_append_time {
            seed[2 + 22] ^= 8;
        }
        seeds.push(seed);
    }
    seeds
}

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

const COMPACTED: u8 = 1;
const LOG_APPEND_TIME: u8 = 2;
const NO_ZSTD: u8 = 4;
const SMALL: u8 = 8;
const ANY_TIMESTAMP: u8 = 16;
/// The bits from here on are 0, or one more than the index of the codec that the topic asks for.
const RECOMPRESSION_SHIFT: u8 = 5;

fn rules(options: u8) -> Rules {
    let has = |option| options & option != 0;
    let recompression = (options >> RECOMPRESSION_SHIFT).checked_sub(1);
    let recompression = recompression.and_then(|index| Compression::ALL.get(usize::from(index)));
    let hour_ms = 3_600_000;
    Rules {
        batch_bytes_max: if has(SMALL) { 200 } else { 1 << 20 },
        is_compacted: has(COMPACTED),
        timestamp_type: if has(LOG_APPEND_TIME) {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        },
        timestamp_before_max_ms: if has(ANY_TIMESTAMP) { i64::MAX } else { hour_ms },
        timestamp_after_max_ms: if has(ANY_TIMESTAMP) { i64::MAX } else { hour_ms },
        allows_zstd: !has(NO_ZSTD),
        recompression: recompression.map(|codec| Recompression { codec: *codec, level: None }),
    }
}

/// How an input becomes a batch.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// It is one.
    AsItIs = 0,
    /// It is one, but for length, checksum and base offset, which are put right.
    Repaired = 1,
    /// It is the header from the attributes on, and the records before they are compressed.
    Records = 2,
}

impl Form {
    pub(crate) const fn of(kind: u8) -> Self {
        match kind & 3 {
            0 => Self::AsItIs,
            1 => Self::Repaired,
            _ => Self::Records,
        }
    }

    pub(crate) fn batch(self, codec: Compression, bytes: &[u8]) -> Bytes {
        match self {
            Self::AsItIs => Bytes::copy_from_slice(bytes),
            Self::Repaired => repaired(bytes.to_vec()),
            Self::Records => {
                let (fields, records) =
                    bytes.split_at(bytes.len().min(BatchHeader::BYTES - CRC_START));
                let mut batch = vec![0; BatchHeader::BYTES];
                batch[CRC_START..CRC_START + fields.len()].copy_from_slice(fields);
                batch[16] = 2;
                batch[22] = batch[22] & !7 | codec.id();
                batch.extend_from_slice(&compress(codec, records));
                repaired(batch)
            }
        }
    }
}

/// Gives a batch the length, the checksum and the base offset that it should have.
fn repaired(mut batch: Vec<u8>) -> Bytes {
    if batch.len() >= BatchHeader::BYTES {
        let length = u32::try_from(batch.len() - LENGTH_END).expect("inputs are small");
        batch[..8].fill(0);
        batch[8..LENGTH_END].copy_from_slice(&length.to_be_bytes());
        let checksum = crc32c(&batch[CRC_START..]);
        batch[17..CRC_START].copy_from_slice(&checksum.to_be_bytes());
    }
    batch.into()
}

fn compress(codec: Compression, bytes: &[u8]) -> Vec<u8> {
    let compressed = match codec {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).and_then(|()| encoder.finish())
        }
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(bytes).map_err(Into::into),
        Compression::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new()
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_mode(lz4_flex::frame::BlockMode::Independent);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(bytes).and_then(|()| encoder.finish().map_err(Into::into))
        }
        Compression::Zstd => zstd::bulk::compress(bytes, 1),
    };
    compressed.expect("compressing in memory does not fail")
}

/// Checks a batch that was taken against what it says and what the rules ask for.
fn assert_tells_the_truth(sent: &Bytes, batch: &ValidBatch, rules: &Rules) {
    let header = batch.header();
    let sent_header = BatchHeader::parse(sent).expect("the header of a batch that was taken");
    let sent = sent.slice(..sent_header.size_bytes() as usize);
    let whole = whole(header, batch.payload());
    assert_eq!(header.size_bytes() as usize, whole.len());
    let codec =
        rules.recompression.map_or_else(|| sent_header.compression(), |wanted| wanted.codec);
    assert_eq!(header.compression(), codec);
    if codec == sent_header.compression() {
        assert_eq!(sent[BatchHeader::BYTES..], whole[BatchHeader::BYTES..], "changed records");
    }
    assert_eq!(header.base_offset, Offset::ZERO);
    assert_eq!(header.last_offset_delta, header.record_count - 1);
    assert!(header.size_bytes() <= rules.batch_bytes_max && !header.is_control());
    assert!(sent_header.compression() != Compression::Zstd || rules.allows_zstd);
    header.check_crc(&whole).expect("the checksum of a batch that was taken");
    let (mut count, mut max) = (0, UnixMillis::NONE);
    let visited = visit_records(&whole, |record| {
        assert_eq!(record.offset, Offset(count), "offsets are dense");
        assert!(record.key.is_some() || !rules.is_compacted);
        count += 1;
        max = max.max(record.timestamp);
        ControlFlow::Continue(())
    });
    visited.expect("records that were taken can be read");
    assert_eq!(count, i64::from(header.record_count));
    let (bytes, hash) = content(&whole);
    assert!(bytes <= expanded_bytes_max(sent.len()), "{bytes} bytes of records");
    assert_eq!((bytes, hash), content(&sent), "other records");
    if rules.timestamp_type == TimestampType::CreateTime {
        assert_eq!(
            (header.timestamp_type(), header.max_timestamp),
            (TimestampType::CreateTime, max)
        );
    }
    // The topic's own codec needs no leave.
    let rules = Rules { allows_zstd: true, ..*rules };
    let again = validate(&whole, &rules, NOW).expect("what was taken is taken again");
    assert_eq!(again.header(), header);
}

/// The bytes of keys, values and headers of a batch that was taken: how many there are, and their hash.
fn content(batch: &[u8]) -> (u64, u64) {
    let mut hasher = DefaultHasher::new();
    let mut bytes = 0;
    let visited = visit_records(batch, |record| {
        let headers: Vec<_> = record.headers.collect();
        bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        for (key, value) in &headers {
            bytes += key.len() + value.map_or(0, <[u8]>::len);
        }
        (record.key, record.value, headers).hash(&mut hasher);
        ControlFlow::Continue(())
    });
    visited.expect("records that were taken can be read");
    (bytes as u64, hasher.finish())
}

/// Appends a batch behind others and reads it back.
fn assert_appends(batch: &ValidBatch, timestamp_type: TimestampType) {
    let log = log(timestamp_type);
    let before = ValidBatch::trusted(&BatchBuilder::new().push(NOW, None, Some(b"before")).build());
    let before = before.expect("a batch that was just built");
    append(&log, &before);
    let base = log.ends().end;
    append(&log, batch);
    let read = log.read(base, 1, true, ReadLimit::End, Residency::Any);
    let read = read.expect("memory can be read").expect("memory is there");
    let mut batches = scan(&read.records);
    let found = batches.next().expect("the batch").expect("a batch in a log is one");
    assert!(batches.next().is_none() && batches.rest().is_empty());
    found.header.check_crc(found.bytes).expect("the checksum in the log");
    assert_eq!(found.bytes[BatchHeader::BYTES..], batch.payload()[..]);
    assert_eq!((found.header.base_offset, found.header.next_offset()), (base, log.ends().end));
    assert_eq!(found.header.record_count, batch.header().record_count);
    let by_append_time = timestamp_type == TimestampType::LogAppendTime;
    assert_eq!(found.header.timestamp_type(), timestamp_type);
    assert!(!by_append_time || found.header.max_timestamp == NOW);
    let mut next = base;
    let visited = visit_records(found.bytes, |record| {
        assert_eq!(record.offset, next, "offsets are dense in the log");
        assert!(!by_append_time || record.timestamp == NOW);
        next = next.plus(1);
        ControlFlow::Continue(())
    });
    visited.expect("records in a log can be read");
    assert_eq!(next, log.ends().end);
}

fn log(timestamp_type: TimestampType) -> Log {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let start = LogStart {
        topic: TopicName::new("t").expect("a good name"),
        topic_id: TopicId(uuid::Uuid::from_u128(1)),
        partition: PartitionId(0),
        config: LogConfig { timestamp_type, ..LogConfig::default() },
        clean: true,
        recovery_point: Offset::ZERO,
        log_start: Offset::ZERO,
        high_watermark: None,
        now: NOW,
    };
    let opened = Opened::open(&disk, Path::new("data"), start, &Rng::from_seed(1));
    opened.expect("a log in memory opens").log
}

fn append(log: &Log, batch: &ValidBatch) {
    let (batch, origin) = (batch.clone(), Origin::Client);
    let append = Append { batch, leader_epoch: LeaderEpoch(3), origin, now: NOW };
    log.append(&append).expect("a batch that was taken can be appended");
}

fn whole(header: &BatchHeader, payload: &Bytes) -> Bytes {
    [&header.to_bytes()[..], payload].concat().into()
}

/// How much `src/record/decompress.rs` lets a payload of this size become.
fn expanded_bytes_max(payload: usize) -> u64 {
    (64 * payload as u64).max(128 << 20)
}

/// How much of it may be in memory at a time: a block of snappy is the largest piece. The words about records that are
/// refused come on top; so does, if records are compressed anew, what they become and a block on its way.
fn held_bytes_max(batch: usize, rules: &Rules) -> usize {
    let again = if rules.recompression.is_some() { 4 << 20 } else { 0 };
    (8 * batch).max(16 << 20) + (1 << 20) + again
}

/// Where the bytes begin that the checksum covers.
const CRC_START: usize = BatchHeader::CRC_START as usize;
/// Where the bytes begin that the length counts.
const LENGTH_END: usize = 12;
