//! What is counted: each case sets the stage, and calls one function whose name begins with `measured_`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla::config::{self, Effective, Sources};
use ottla::env::{Disk, MemoryDisk, Rng};
use ottla::log::{
    AbortedTransaction, Append, Committed, Log, LogConfig, LogStart, Opened, Origin, committed,
};
use ottla::model::{
    BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, TopicId,
    TopicName, UnixMillis,
};
use ottla::record::{BatchBuilder, Rules, TimestampType, ValidBatch, validate};
use ottla::replica::log_config;
use ottla::wire::fetch::{FetchPartitionResponse, FetchTopicResponse};
use ottla::wire::produce::{ProducePartition, ProduceTopic};
use ottla::wire::{
    ApiKey, FetchResponse, Frame, ProduceRequest, RequestHeader, Text, decode_request,
    encode_request, encode_response,
};

/// Names, and what to call.
pub(crate) const CASES: &[(&str, fn())] = &[
    ("append", append),
    ("fetch_encode", fetch_encode),
    ("leave_out", leave_out),
    ("produce_decode", produce_decode),
    ("validate", validation),
];

/// 16 records of 1 KiB.
fn batch() -> Bytes {
    let mut builder = BatchBuilder::new();
    for _ in 0..16 {
        builder.push(UnixMillis(1), None, Some(&[7; 1024]));
    }
    builder.build()
}

fn header() -> RequestHeader {
    RequestHeader {
        api_key: ApiKey::Produce.code(),
        api_version: 13,
        correlation_id: 7,
        client_id: Some("bench".into()),
    }
}

fn produce_decode() {
    let partition = ProducePartition { index: PartitionId(0), records: Some(batch()) };
    let topic = ProduceTopic {
        name: Text::default(),
        topic_id: TopicId::ZERO,
        partitions: vec![partition],
    };
    let request =
        ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 1000, topics: vec![topic] };
    let frame = encode_request(&header(), &request).unwrap().to_bytes().slice(4..);
    black_box(measured_produce_decode(&frame));
}

#[inline(never)]
fn measured_produce_decode(frame: &Bytes) -> ProduceRequest {
    let (header, body) = RequestHeader::decode(frame).unwrap();
    decode_request(&header, frame.slice(body..)).unwrap()
}

fn fetch_encode() {
    let partition = FetchPartitionResponse {
        partition_index: PartitionId(0),
        error_code: ErrorCode::None,
        high_watermark: Offset(16),
        last_stable_offset: Offset(16),
        log_start_offset: Offset(0),
        diverging_epoch: None,
        current_leader: None,
        snapshot_id: None,
        aborted_transactions: None,
        preferred_read_replica: BrokerId(-1),
        records: vec![batch()],
    };
    let topic = FetchTopicResponse {
        topic: Text::default(),
        topic_id: TopicId::ZERO,
        partitions: vec![partition],
    };
    let response = FetchResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::None,
        session_id: 1,
        topics: vec![topic],
        node_endpoints: Vec::new(),
    };
    black_box(measured_fetch_encode(&response));
}

#[inline(never)]
fn measured_fetch_encode(response: &FetchResponse) -> Frame {
    encode_response(18, 7, response).unwrap()
}

/// 1,000 aborted transactions of ten producers that take turns, each of one batch and its marker, which is as good as a batch here.
fn leave_out() {
    const PRODUCERS: i64 = 10;
    let mut records = Vec::new();
    let mut aborted = Vec::new();
    for turn in 0..2_000 {
        let (offset, producer) = (Offset(turn), ProducerId(turn % PRODUCERS));
        let mut builder = BatchBuilder::new();
        builder.base_offset(offset).producer(producer, ProducerEpoch(0), 0).transactional();
        records.extend(builder.push(UnixMillis(1), None, Some(&[7; 128])).build());
        if turn / PRODUCERS % 2 == 1 {
            aborted.push(AbortedTransaction {
                producer_id: producer,
                first_offset: Offset(turn - PRODUCERS),
                last_offset: offset,
                last_stable: Offset(0),
            });
        }
    }
    let left = measured_leave_out(records.into(), aborted);
    assert_eq!((left.records.len(), left.aborted.len()), (1, 1), "all but the last batch goes");
}

#[inline(never)]
fn measured_leave_out(records: Bytes, aborted: Vec<AbortedTransaction>) -> Committed {
    committed(records, aborted)
}

fn rules() -> Rules {
    Rules {
        batch_bytes_max: 1 << 20,
        is_compacted: false,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        allows_zstd: true,
        recompression: None,
    }
}

fn validation() {
    black_box(measured_validate(&batch(), &rules()));
}

#[inline(never)]
fn measured_validate(batch: &Bytes, rules: &Rules) -> ValidBatch {
    validate(batch, rules, UnixMillis(1)).unwrap()
}

fn append() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let start = LogStart {
        topic: TopicName::new("bench").unwrap(),
        topic_id: TopicId::ZERO,
        partition: PartitionId(0),
        config: config(),
        clean: true,
        recovery_point: Offset(0),
        log_start: Offset(0),
        high_watermark: None,
        now: UnixMillis(1),
    };
    let log = Opened::open(&disk, Path::new("data"), start, &Rng::from_seed(1)).unwrap().log;
    let append = || Append {
        batch: validate(&batch(), &rules(), UnixMillis(1)).unwrap(),
        leader_epoch: LeaderEpoch(0),
        origin: Origin::Client,
        now: UnixMillis(1),
    };
    // The first append of an epoch writes more than the others.
    log.append(&append()).unwrap();
    measured_append(&log, &append());
}

#[inline(never)]
fn measured_append(log: &Log, append: &Append) {
    black_box(log.append(append).unwrap());
}

/// The defaults.
fn config() -> LogConfig {
    let settings = Effective::new(config::load(Sources::default()).unwrap());
    log_config(&settings.topic(&BTreeMap::new()), settings.broker())
}
