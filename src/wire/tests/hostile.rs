//! Input that is meant to hurt: lying counts and lengths, and frames of very many tiny elements.

use bytes::{BufMut, Bytes, BytesMut};

use super::all_messages;
use super::sample::{Tags, sample};
use crate::wire::registry::ApiKey;
use crate::wire::{Problem, ProduceRequest, Request, RequestHeader, WireError, check_request};

/// A four-byte count can make the message crate abort the process.
#[test]
fn a_count_beyond_the_frame_is_refused_in_every_array_of_every_message() {
    let entropy: Vec<u8> = (0..600u16).map(|i| [1, 2, 3, 5, 7][i as usize % 5]).collect();
    for message in all_messages() {
        let mut arrays = 0;
        for version in message.versions() {
            let sample = sample(message.shape, version, &entropy, Tags::KnownAndUnknown);
            for at in sample.counts {
                arrays += 1;
                for lie in [0x7fff_ffff, 200_000_000, sample.body.len() as u32] {
                    let flexible = version >= message.shape.flexible_since;
                    let body = with_count(&sample.body, at, lie, flexible);
                    let error = (message.check)(version, &body).unwrap_err();
                    assert_eq!(error.message(), message.name);
                    assert_eq!(error.position(), at, "{error}");
                    let Problem::CountBeyondFrame { count, .. } = *error.problem() else {
                        panic!("{error}");
                    };
                    assert_eq!(count, lie as usize);
                    assert!((message.rewrite)(version, body).is_err());
                }
            }
        }
        let name = message.name;
        let without_arrays = [
            "HeartbeatRequest",
            "HeartbeatResponse",
            "SyncGroupResponse",
            "ApiVersionsRequest",
            "InitProducerIdRequest",
            "InitProducerIdResponse",
            "AddOffsetsToTxnRequest",
            "AddOffsetsToTxnResponse",
            "EndTxnRequest",
            "EndTxnResponse",
            "DescribeAclsRequest",
            "DescribeClusterRequest",
            "UnregisterBrokerRequest",
            "UnregisterBrokerResponse",
            "AddRaftVoterResponse",
            "RemoveRaftVoterRequest",
            "RemoveRaftVoterResponse",
            "UpdateRaftVoterResponse",
        ];
        assert_eq!(arrays == 0, without_arrays.contains(&name), "{name}");
    }
}

/// The body with another count at `at`, where a count below four stands.
fn with_count(body: &Bytes, at: usize, count: u32, flexible: bool) -> Bytes {
    let mut lying = BytesMut::from(&body[..at]);
    if flexible {
        let mut rest = count + 1;
        while rest >= 0x80 {
            lying.put_u8(rest as u8 | 0x80);
            rest >>= 7;
        }
        lying.put_u8(rest as u8);
        lying.put_slice(&body[at + 1..]);
    } else {
        lying.put_u32(count);
        lying.put_slice(&body[at + 4..]);
    }
    lying.freeze()
}

fn problem(key: ApiKey, version: i16, body: Vec<u8>) -> Problem {
    let error = check_request(key, version, &Bytes::from(body)).unwrap_err();
    error.problem().clone()
}

#[test]
fn lengths_beyond_the_frame_are_refused() {
    // One topic, whose name claims 5 bytes and has 2.
    let body = [&[0, 0, 0, 1, 0, 5][..], b"ab"].concat();
    let truncated = Problem::Truncated { needed: 5, remaining: 2 };
    assert_eq!(problem(ApiKey::Metadata, 1, body), truncated);
    // A name of 2^32 - 2 bytes.
    let body = [&[2][..], &[0; 16], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    assert_eq!(problem(ApiKey::Metadata, 12, body), Problem::StringTooLong(0xffff_fffe));
    // Records of 2^32 - 2 bytes.
    let records = [&[0][..], &[0, 1, 0, 0, 0, 0], &[2, 2, b't', 2, 0, 0, 0, 0]].concat();
    let body = [&records[..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let truncated = Problem::Truncated { needed: 0xffff_fffe, remaining: 0 };
    assert_eq!(problem(ApiKey::Produce, 9, body.clone()), truncated);
    let error = ProduceRequest::read(body.into(), 9).unwrap_err();
    assert_eq!(error.problem(), &truncated);
    assert_eq!(
        error.to_string(),
        "ProduceRequest, field topic_data[0].partition_data[0].records, byte 20: \
         4294967294 bytes needed, 0 remain"
    );
}

#[test]
fn varints_stay_within_32_bits() {
    for varint in [[0x80, 0x80, 0x80, 0x80, 0x80, 0], [0xff, 0xff, 0xff, 0xff, 0x1f, 0]] {
        assert_eq!(problem(ApiKey::Metadata, 12, varint.to_vec()), Problem::VarintTooLong);
    }
}

/// The message crate keeps tags as signed numbers and does not write those below zero, but counts them.
#[test]
fn tags_stay_within_31_bits() {
    let body = |tag: [u8; 5]| [&[0, 0, 0, 1][..], &tag, &[1, 0xaa]].concat();
    let largest = body([0xff, 0xff, 0xff, 0xff, 0x07]);
    check_request(ApiKey::Metadata, 12, &Bytes::from(largest)).unwrap();
    let beyond = body([0x80, 0x80, 0x80, 0x80, 0x08]);
    assert_eq!(problem(ApiKey::Metadata, 12, beyond), Problem::TagTooLarge(1 << 31));
}

#[test]
fn nulls_and_negative_lengths_are_refused_where_kafka_has_none() {
    assert_eq!(
        problem(ApiKey::Metadata, 0, vec![0xff; 4]),
        Problem::Null,
        "null topics came with version 1"
    );
    check_request(ApiKey::Metadata, 1, &Bytes::from_static(&[0xff; 4])).unwrap();
    assert_eq!(
        problem(ApiKey::Metadata, 1, vec![0xff, 0xff, 0xff, 0xfe]),
        Problem::NegativeLength(-2)
    );
    assert_eq!(problem(ApiKey::DeleteTopics, 1, vec![0, 0, 0, 1, 0xff, 0xff]), Problem::Null);
}

#[test]
fn a_structure_is_present_or_null_and_nothing_else() {
    let body = |presence| [&[1, 0, 0, 0, 9][..], &[presence], &[1, 0, 0, 0, 0, 0, 0]].concat();
    let check = |presence| {
        let body = Bytes::from(body(presence));
        check_request(ApiKey::DescribeTopicPartitions, 0, &body)
    };
    check(1).unwrap();
    check(0xff).unwrap();
    for presence in [0, 2, 0x80] {
        let error = check(presence).unwrap_err();
        assert_eq!(error.path(), "cursor");
        assert!(matches!(error.problem(), Problem::NotAPresence(_)));
    }
}

#[test]
fn known_tagged_fields_have_the_size_they_claim() {
    let fetch = [&[0; 12][..], &[0], &[0; 8], &[1, 1, 1]].concat();
    let cluster_id = |claimed| Bytes::from([&fetch[..], &[1, 0, claimed, 3, b'a', b'b']].concat());
    // Version 15 has no replica id in front.
    check_request(ApiKey::Fetch, 15, &cluster_id(3)).unwrap();
    let error = check_request(ApiKey::Fetch, 15, &cluster_id(2)).unwrap_err();
    let size = Problem::TaggedFieldSize { tag: 0, claimed: 2, actual: 3 };
    assert_eq!(error.problem(), &size);
}

fn is_too_many(error: &WireError) -> bool {
    matches!(error.problem(), Problem::TooManyElements { .. })
}

/// Each of these is well-formed and would take 18 to 38 times its size in memory.
#[test]
fn frames_of_millions_of_tiny_elements_are_refused() {
    // 5,000,000 empty topic names of two bytes.
    let mut body = BytesMut::new();
    body.put_i32(5_000_000);
    body.put_bytes(0, 10_000_000);
    assert!(is_too_many(&check_request(ApiKey::Metadata, 1, &body.freeze()).unwrap_err()));
    // 2,000,000 topics without name and partitions, three bytes each.
    let mut body = BytesMut::from(&[0, 0, 1, 0, 0, 0, 0, 0x81, 0x89, 0x7a][..]);
    for _ in 0..2_000_000 {
        body.put_slice(&[1, 1, 0]);
    }
    let body = body.freeze();
    assert!(is_too_many(&check_request(ApiKey::Produce, 9, &body).unwrap_err()));
    assert!(is_too_many(&ProduceRequest::read(body, 9).unwrap_err()));
    // 2,000,000 tagged fields of five bytes.
    let mut body = BytesMut::from(&[1, 0, 0, 0x80, 0x89, 0x7a][..]);
    for tag in 0..2_000_000u32 {
        let bytes = (tag + 0x0020_0000).to_le_bytes();
        let [a, b, c, _] = bytes;
        body.put_slice(&[a | 0x80, b | 0x80, c | 0x80, 1, 0]);
    }
    assert!(is_too_many(&check_request(ApiKey::Metadata, 12, &body.freeze()).unwrap_err()));
}

#[test]
fn big_requests_of_real_clients_pass() {
    // All 30,000 topics of a large cluster by name.
    let mut body = BytesMut::new();
    body.put_i32(30_000);
    for topic in 0..30_000 {
        body.put_i16(25);
        body.put_slice(format!("warehouse.inventory{topic:06}").as_bytes());
    }
    check_request(ApiKey::Metadata, 1, &body.freeze()).unwrap();
    // A fetch from 20,000 partitions.
    let mut body = BytesMut::new();
    body.put_bytes(0, 17);
    body.put_i32(1);
    body.put_slice(&[0, 1, b't']);
    body.put_i32(20_000);
    for partition in 0..20_000 {
        body.put_i32(partition);
        body.put_i64(0);
        body.put_i32(1 << 20);
    }
    let body = body.freeze();
    check_request(ApiKey::Fetch, 4, &body).unwrap();
    crate::wire::FetchRequest::read(body, 4).unwrap();
}

#[test]
fn frames_shorter_than_a_header_are_errors() {
    let header = Bytes::from_static(&[0, 3, 0, 12, 0, 0, 0, 7, 0, 1, b'x', 0]);
    RequestHeader::decode(&header).unwrap();
    for length in 0..header.len() {
        let error = RequestHeader::decode(&header.slice(..length)).unwrap_err();
        assert!(matches!(error.problem(), Problem::Truncated { .. }));
    }
}

#[test]
fn an_unserved_version_is_an_error() {
    for (key, version) in [(ApiKey::Produce, 2), (ApiKey::Metadata, 14), (ApiKey::ShareFetch, 1)] {
        let error = check_request(key, version, &Bytes::new()).unwrap_err();
        assert_eq!(error.problem(), &Problem::UnknownVersion(version));
    }
}
