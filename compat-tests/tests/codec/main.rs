//! Differential test of the codecs: messages that Apache Kafka's own classes built must mean the same here.
//!
//! `java/CodecDump.java` builds random messages for every served API, direction and version and writes their bytes and
//! values. Here each is checked by the bounds gate, decoded, compared value by value, encoded again and compared byte
//! by byte. Our own codecs do not keep unknown tagged fields; their bytes are compared with those of the same message
//! without such fields.
//!
//! `OTTLA_CODEC_SEED` and `OTTLA_CODEC_COUNT` (messages for each API, direction and version) change the run.

mod dump;
mod values;

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::{BufMut, Bytes, BytesMut};
use dump::{Direction, Dump, DumpedMessage};
use ottla::wire::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AlterConfigsRequest,
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, ApiVersionsRequest,
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, CreateAclsRequest,
    CreatePartitionsRequest, CreateTopicsRequest, DeleteAclsRequest, DeleteGroupsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeAclsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, DescribeProducersRequest, DescribeQuorumRequest,
    DescribeTopicPartitionsRequest, DescribeTransactionsRequest, ElectLeadersRequest,
    EndTxnRequest, FindCoordinatorRequest, HeartbeatRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListConfigResourcesRequest,
    ListGroupsRequest, ListPartitionReassignmentsRequest, ListTransactionsRequest, MetadataRequest,
    OffsetDeleteRequest, OffsetForLeaderEpochRequest, RemoveRaftVoterRequest, SyncGroupRequest,
    TxnOffsetCommitRequest, UnregisterBrokerRequest, UpdateFeaturesRequest, UpdateRaftVoterRequest,
};
use ottla::wire::{
    AddRaftVoterRequest, ApiEntry, ApiKey, DescribeLogDirsRequest, FetchRequest,
    ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest, Request,
    RequestHeader, Response, WriteTxnMarkersRequest, check_request, check_response, decode_request,
    decode_response, encode_request, encode_response,
};

/// One served API with its types behind function pointers.
struct Api {
    key: ApiKey,
    request: fn(i16, &Bytes) -> Decoded,
    response: fn(i16, &Bytes) -> Decoded,
}

/// What became of a body.
struct Decoded {
    /// The message, printed by `Debug`.
    printed: String,
    /// The body, encoded again.
    again: Bytes,
}

const APIS: &[Api] = &[
    api::<ProduceRequest>(),
    api::<FetchRequest>(),
    api::<ListOffsetsRequest>(),
    api::<MetadataRequest>(),
    api::<OffsetCommitRequest>(),
    api::<OffsetFetchRequest>(),
    api::<FindCoordinatorRequest>(),
    api::<JoinGroupRequest>(),
    api::<HeartbeatRequest>(),
    api::<LeaveGroupRequest>(),
    api::<SyncGroupRequest>(),
    api::<DescribeGroupsRequest>(),
    api::<ListGroupsRequest>(),
    api::<ApiVersionsRequest>(),
    api::<CreateTopicsRequest>(),
    api::<DeleteTopicsRequest>(),
    api::<DeleteRecordsRequest>(),
    api::<InitProducerIdRequest>(),
    api::<OffsetForLeaderEpochRequest>(),
    api::<AddPartitionsToTxnRequest>(),
    api::<AddOffsetsToTxnRequest>(),
    api::<EndTxnRequest>(),
    api::<WriteTxnMarkersRequest>(),
    api::<TxnOffsetCommitRequest>(),
    api::<DescribeAclsRequest>(),
    api::<CreateAclsRequest>(),
    api::<DeleteAclsRequest>(),
    api::<DescribeConfigsRequest>(),
    api::<AlterConfigsRequest>(),
    api::<AlterReplicaLogDirsRequest>(),
    api::<DescribeLogDirsRequest>(),
    api::<CreatePartitionsRequest>(),
    api::<DeleteGroupsRequest>(),
    api::<ElectLeadersRequest>(),
    api::<IncrementalAlterConfigsRequest>(),
    api::<AlterPartitionReassignmentsRequest>(),
    api::<ListPartitionReassignmentsRequest>(),
    api::<OffsetDeleteRequest>(),
    api::<DescribeQuorumRequest>(),
    api::<UpdateFeaturesRequest>(),
    api::<DescribeClusterRequest>(),
    api::<DescribeProducersRequest>(),
    api::<UnregisterBrokerRequest>(),
    api::<DescribeTransactionsRequest>(),
    api::<ListTransactionsRequest>(),
    api::<ConsumerGroupHeartbeatRequest>(),
    api::<ConsumerGroupDescribeRequest>(),
    api::<ListConfigResourcesRequest>(),
    api::<DescribeTopicPartitionsRequest>(),
    api::<AddRaftVoterRequest>(),
    api::<RemoveRaftVoterRequest>(),
    api::<UpdateRaftVoterRequest>(),
];

/// APIs whose codec is ours and drops unknown tagged fields.
const WITHOUT_UNKNOWN_FIELDS: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::WriteTxnMarkers,
    ApiKey::DescribeLogDirs,
    ApiKey::AddRaftVoter,
];

#[test]
fn messages_of_apache_kafka_mean_the_same_here() {
    let served: Vec<ApiKey> = ApiEntry::ALL
        .iter()
        .filter(|entry| entry.served.is_some())
        .map(|entry| entry.key)
        .collect();
    let tested: Vec<ApiKey> = APIS.iter().map(|api| api.key).collect();
    assert_eq!(tested, served);

    let seed = setting("OTTLA_CODEC_SEED", 1);
    let count = setting("OTTLA_CODEC_COUNT", 200);
    println!("seed {seed}, {count} messages for each API, direction and version");
    let mut checked: BTreeMap<ApiKey, u64> = BTreeMap::new();
    let mut dump = Dump::start(seed, count, &served);
    while let Some(message) = dump.next_message() {
        check(&message);
        *checked.entry(message.key).or_default() += 1;
    }
    dump.finish();
    for api in APIS {
        let versions = api.key.entry().served.expect("only served APIs are tested");
        let expected = 2 * count * versions.iter().count() as u64;
        println!("{:<24} versions {versions:<8} {expected} messages", api.key.name());
        assert_eq!(checked.get(&api.key), Some(&expected), "{}", api.key);
    }
    println!("{} messages in all", checked.values().sum::<u64>());
}

fn check(message: &DumpedMessage) {
    let DumpedMessage { key, version, direction, .. } = *message;
    let what = || format!("{key} {direction:?} v{version}: {}", message.json);
    let api = APIS.iter().find(|api| api.key == key).expect("a tested key");
    let (gate, decode) = match direction {
        Direction::Request => (check_request(key, version, &message.body), api.request),
        Direction::Response => (check_response(key, version, &message.body), api.response),
    };
    gate.unwrap_or_else(|error| panic!("{}: {error}", what()));
    let decoded = decode(version, &message.body);
    if let Err(difference) = values::compare(&message.json, &decoded.printed) {
        panic!("{difference}\n{}\n{}", what(), decoded.printed);
    }
    let expected = if WITHOUT_UNKNOWN_FIELDS.contains(&key) {
        &message.body_without_unknown_fields
    } else {
        &message.body
    };
    assert_eq!(&decoded.again, expected, "{}", what());
}

const fn api<M>() -> Api
where
    M: Request + Debug,
    M::Response: Debug,
{
    Api { key: M::KEY, request: through_request::<M>, response: through_response::<M::Response> }
}

fn through_request<M: Request + Debug>(version: i16, body: &Bytes) -> Decoded {
    let header = RequestHeader {
        api_key: M::KEY.code(),
        api_version: version,
        correlation_id: 1,
        client_id: None,
    };
    let message: M = decode_request(&header, body.clone()).expect("the gate let it pass");
    let frame = encode_request(&header, &message).expect("it was decoded from this version");
    let frame = frame.to_bytes().slice(4..);
    let (again, start) = RequestHeader::decode(&frame).expect("a header of ours");
    assert_eq!(again, header);
    Decoded { printed: format!("{message:?}"), again: frame.slice(start..) }
}

fn through_response<M: Response + Debug>(version: i16, body: &Bytes) -> Decoded {
    let mut header = BytesMut::new();
    header.put_i32(1);
    if M::KEY.entry().response_header_version(version) == 1 {
        header.put_u8(0);
    }
    let start = header.len();
    let frame = Bytes::from([&header, &body[..]].concat());
    let (_, message) = decode_response::<M>(version, &frame).expect("the gate let it pass");
    let frame = encode_response(version, 1, &message).expect("it was decoded from this version");
    Decoded { printed: format!("{message:?}"), again: frame.to_bytes().slice(4 + start..) }
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().expect("a number"),
        Err(_) => default,
    }
}
