//! Frames known byte by byte, and how a frame is put together.

use bytes::Bytes;

use super::all_messages;
use crate::model::{BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionId, TopicId, UnixMillis};
use crate::wire::fetch::{FetchPartitionResponse, FetchTopicResponse};
use crate::wire::messages::{ApiVersionsRequest, MetadataRequest, MetadataResponse};
use crate::wire::produce::{ProducePartitionResponse, ProduceTopicResponse, RecordError};
use crate::wire::{
    EncodeError, FetchResponse, LeaderIdAndEpoch, NodeEndpoint, ProduceRequest, ProduceResponse,
    RequestHeader, Text, decode_request, decode_response, encode_request, encode_response,
};

/// Bodies that Kafka's own classes wrote.
const KAFKA: &str = include_str!("../../../tests/data/kafka-4.3.1-bodies.txt");

#[test]
fn bodies_of_kafkas_classes_come_back_byte_for_byte() {
    let mut lines = KAFKA.lines().filter(|line| !line.starts_with('#'));
    for pair in all_messages().chunks(2) {
        for (message, direction) in pair.iter().zip(["request", "response"]) {
            for version in message.versions() {
                let line = lines.next().unwrap();
                let (start, hex) = line.rsplit_once(' ').unwrap();
                assert_eq!(start, format!("{} {direction} {version}", message.key));
                let body = Bytes::from(unhex(hex));
                (message.check)(version, &body).unwrap();
                let again = (message.rewrite)(version, body.clone()).unwrap();
                assert_eq!(again, body, "{start}");
            }
        }
    }
    assert_eq!(lines.next(), None);
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn header(api_key: i16, api_version: i16) -> RequestHeader {
    RequestHeader { api_key, api_version, correlation_id: 7, client_id: Some("c".into()) }
}

#[test]
fn request_headers_of_both_versions() {
    let old = Bytes::from_static(&[0, 3, 0, 8, 0, 0, 0, 7, 0, 1, b'c']);
    assert_eq!(RequestHeader::decode(&old).unwrap(), (header(3, 8), 11));
    // Version 2 has tagged fields; this one has tag 5 with two bytes.
    let new = Bytes::from_static(&[0, 3, 0, 9, 0, 0, 0, 7, 0, 1, b'c', 1, 5, 2, 0, 0, 0xee]);
    assert_eq!(RequestHeader::decode(&new).unwrap(), (header(3, 9), 16));
    let nameless = Bytes::from_static(&[0, 3, 0, 8, 0, 0, 0, 7, 0xff, 0xff]);
    assert_eq!(RequestHeader::decode(&nameless).unwrap().0.client_id, None);
    // A key that nobody knows can still be named.
    let unknown = Bytes::from_static(&[0x7f, 0, 0, 9, 0, 0, 0, 7, 0, 1, b'c']);
    assert_eq!(RequestHeader::decode(&unknown).unwrap(), (header(0x7f00, 9), 11));
}

#[test]
fn a_client_id_of_other_bytes_than_utf8_is_repaired() {
    let frame = Bytes::from_static(&[0, 3, 0, 8, 0, 0, 0, 7, 0, 2, b'c', 0xff]);
    let (header, _) = RequestHeader::decode(&frame).unwrap();
    assert_eq!(header.client_id.as_deref(), Some("c\u{fffd}"));
}

#[test]
fn api_versions_is_answered_with_the_old_header() {
    let response = crate::wire::messages::ApiVersionsResponse::default();
    let frame = encode_response(3, 7, &response).unwrap().to_bytes();
    // Length, correlation id, error, no keys, throttle time, no tagged fields.
    let expected = [0, 0, 0, 12, 0, 0, 0, 7, 0, 0, 1, 0, 0, 0, 0, 0];
    assert_eq!(frame[..], expected);
    let request: ApiVersionsRequest =
        decode_request(&header(18, 3), Bytes::from_static(&[4, b'o', b'n', b'e', 2, b'1', 0]))
            .unwrap();
    assert_eq!(&*request.client_software_name, "one");
}

#[test]
fn a_request_comes_back_from_its_frame() {
    let mut request = MetadataRequest::default();
    request.topics = None;
    for version in 1..=13 {
        let frame = encode_request(&header(3, version), &request).unwrap();
        let bytes = frame.to_bytes();
        assert_eq!(bytes[..4], (bytes.len() as u32 - 4).to_be_bytes());
        let (header, start) = RequestHeader::decode(&bytes.slice(4..)).unwrap();
        let decoded: MetadataRequest = decode_request(&header, bytes.slice(4 + start..)).unwrap();
        assert_eq!(decoded, request);
    }
}

#[test]
fn produce_records_are_slices_of_the_frame() {
    let body = [
        &[0xff, 0xff][..],
        &[0, 1, 0, 0, 0, 9],
        &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1],
        &[0, 0, 0, 4, 0, 0, 0, 3],
        b"rec",
    ]
    .concat();
    let body = Bytes::from(body);
    let request: ProduceRequest = decode_request(&header(0, 3), body.clone()).unwrap();
    assert_eq!((request.acks, request.timeout_ms), (1, 9));
    assert_eq!(&*request.topics[0].name, "t");
    let partition = &request.topics[0].partitions[0];
    assert_eq!(partition.index, PartitionId(4));
    let records = partition.records.as_ref().unwrap();
    assert_eq!(&records[..], b"rec");
    assert_eq!(records.as_ptr(), body[body.len() - 3..].as_ptr());
}

fn produce_response() -> ProduceResponse {
    ProduceResponse {
        topics: vec![ProduceTopicResponse {
            name: "t".into(),
            topic_id: TopicId(uuid::Uuid::from_u128(9)),
            partitions: vec![ProducePartitionResponse {
                index: PartitionId(1),
                error_code: ErrorCode::NotLeaderOrFollower,
                base_offset: Offset(-1),
                log_append_time: UnixMillis::NONE,
                log_start_offset: Offset(-1),
                record_errors: vec![RecordError { batch_index: 2, message: None }],
                error_message: Some("no".into()),
                current_leader: Some(LeaderIdAndEpoch {
                    leader_id: BrokerId(3),
                    leader_epoch: LeaderEpoch(4),
                }),
            }],
        }],
        throttle_time_ms: 5,
        node_endpoints: vec![NodeEndpoint {
            node_id: BrokerId(3),
            host: "h".into(),
            port: 9092,
            rack: None,
        }],
    }
}

#[test]
fn produce_response_v13_byte_by_byte() {
    let frame = encode_response(13, 7, &produce_response()).unwrap();
    let expected = [
        &[0, 0, 0, 96, 0, 0, 0, 7, 0][..],
        &[2],
        &9u128.to_be_bytes(),
        &[2, 0, 0, 0, 1, 0, 6],
        &[0xff; 24],
        &[2, 0, 0, 0, 2, 0, 0],
        &[3, b'n', b'o'],
        &[1, 0, 9, 0, 0, 0, 3, 0, 0, 0, 4, 0],
        &[0],
        &[0, 0, 0, 5],
        &[1, 0, 13, 2, 0, 0, 0, 3, 2, b'h', 0, 0, 0x23, 0x84, 0, 0],
    ]
    .concat();
    assert_eq!(frame.to_bytes()[..], expected);
    let (correlation_id, again) =
        decode_response::<ProduceResponse>(13, &frame.to_bytes().slice(4..)).unwrap();
    assert_eq!(correlation_id, 7);
    let mut sent = produce_response();
    sent.topics[0].name = Text::new();
    assert_eq!(again, sent);
}

#[test]
fn old_produce_responses_leave_out_what_they_do_not_have() {
    let frame = encode_response(3, 7, &produce_response()).unwrap();
    let expected = [
        &[0, 0, 0, 41, 0, 0, 0, 7][..],
        &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1],
        &[0, 0, 0, 1, 0, 6],
        &[0xff; 16],
        &[0, 0, 0, 5],
    ]
    .concat();
    assert_eq!(frame.to_bytes()[..], expected);
}

fn fetch_response(records: Vec<Bytes>) -> FetchResponse {
    FetchResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::None,
        session_id: 0,
        topics: vec![FetchTopicResponse {
            topic: "t".into(),
            topic_id: TopicId::ZERO,
            partitions: vec![FetchPartitionResponse {
                partition_index: PartitionId(0),
                error_code: ErrorCode::None,
                high_watermark: Offset(8),
                last_stable_offset: Offset(8),
                log_start_offset: Offset(0),
                diverging_epoch: None,
                current_leader: None,
                snapshot_id: None,
                aborted_transactions: None,
                preferred_read_replica: BrokerId(-1),
                records,
            }],
        }],
        node_endpoints: Vec::new(),
    }
}

#[test]
fn fetched_records_become_segments_uncopied() {
    let pieces = vec![Bytes::from(vec![1; 300]), Bytes::new(), Bytes::from(vec![2; 20])];
    let frame = encode_response(12, 7, &fetch_response(pieces.clone())).unwrap();
    let segments = frame.segments();
    assert_eq!(segments.len(), 4, "head, two pieces, tail");
    assert_eq!(segments[1].as_ptr(), pieces[0].as_ptr());
    assert_eq!(segments[2].as_ptr(), pieces[2].as_ptr());
    assert!(segments.iter().all(|segment| !segment.is_empty()));
    let bytes = frame.to_bytes();
    assert_eq!(bytes.len(), frame.total_bytes());
    assert_eq!(bytes[..4], (bytes.len() as u32 - 4).to_be_bytes());
    let (_, again) = decode_response::<FetchResponse>(12, &bytes.slice(4..)).unwrap();
    assert_eq!(again.topics[0].partitions[0].records, [pieces.concat()]);
}

#[test]
fn no_records_are_zero_bytes_and_not_null() {
    for version in 4..=18 {
        let frame = encode_response(version, 7, &fetch_response(Vec::new())).unwrap();
        let bytes = frame.to_bytes();
        let expected = if version < 12 {
            // The records are the last field.
            [0, 0, 0, 0]
        } else {
            // Length 0 plus one, then the tagged fields of partition, topic and response.
            [1, 0, 0, 0]
        };
        assert_eq!(bytes[bytes.len() - 4..], expected, "v{version}");
        assert_eq!(frame.segments().len(), 1);
    }
}

#[test]
fn what_the_version_cannot_carry_is_an_error() {
    let mut response = MetadataResponse::default();
    response.cluster_authorized_operations = 1;
    encode_response(8, 7, &response).unwrap();
    let error = encode_response(11, 7, &response).unwrap_err();
    assert!(matches!(error, EncodeError::NotInVersion { version: 11, .. }));
    let error = encode_response(14, 7, &response).unwrap_err();
    assert!(matches!(error, EncodeError::UnknownVersion { version: 14, .. }));
    let mut response = produce_response();
    response.topics[0].name = "x".repeat(32_768).into();
    let error = encode_response(12, 7, &response).unwrap_err();
    assert!(matches!(error, EncodeError::TooLong { length: 32_768, .. }));
}
