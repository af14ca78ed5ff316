//! Bodies of requests and responses, of every API and version that is served.
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 2 | which message: requests and responses in turn, in the order of the APIs |
//! | 1 | which of its versions |
//! | | the body |
//!
//! The gate and the decoder judge alike, but for their different accounts of memory. What is read takes no more memory
//! than `src/wire/reader.rs` grants, can be written in the same version, and is the same when it is read again.

use std::fmt::Debug;
use std::mem::discriminant;

use bytes::Bytes;
use ottla::wire::messages::*;
use ottla::wire::{
    AddRaftVoterRequest, AddRaftVoterResponse, ApiEntry, ApiKey, DescribeLogDirsRequest,
    DescribeLogDirsResponse, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, Problem,
    ProduceRequest, ProduceResponse, Request, RequestHeader, Response, VersionRange, WireError,
    WriteTxnMarkersRequest, WriteTxnMarkersResponse, check_request, check_response, decode_request,
    decode_response, encode_request, encode_response,
};

use crate::input::Input;
use crate::{memory, verdict};

/// Bodies that Kafka's own classes wrote: one of each API, direction and version.
const KAFKA: &str = include_str!("../../tests/data/kafka-4.3.1-bodies.txt");

/// One direction of one API.
struct Message {
    key: ApiKey,
    direction: &'static str,
    /// Checks everything that is said above; gives the error of a body that is refused.
    check: fn(i16, &Bytes) -> Result<(), WireError>,
}

macro_rules! messages {
    ($($key:ident $request:ident $response:ident,)*) => {
        /// Both directions of all served APIs.
        const MESSAGES: &[Message] = &[$(
            Message { key: ApiKey::$key, direction: "request", check: check_requests::<$request> },
            Message { key: ApiKey::$key, direction: "response", check: check_responses::<$response> },
        )*];
    };
}

messages! {
    Produce ProduceRequest ProduceResponse,
    Fetch FetchRequest FetchResponse,
    ListOffsets ListOffsetsRequest ListOffsetsResponse,
    Metadata MetadataRequest MetadataResponse,
    OffsetCommit OffsetCommitRequest OffsetCommitResponse,
    OffsetFetch OffsetFetchRequest OffsetFetchResponse,
    FindCoordinator FindCoordinatorRequest FindCoordinatorResponse,
    JoinGroup JoinGroupRequest JoinGroupResponse,
    Heartbeat HeartbeatRequest HeartbeatResponse,
    LeaveGroup LeaveGroupRequest LeaveGroupResponse,
    SyncGroup SyncGroupRequest SyncGroupResponse,
    DescribeGroups DescribeGroupsRequest DescribeGroupsResponse,
    ListGroups ListGroupsRequest ListGroupsResponse,
    ApiVersions ApiVersionsRequest ApiVersionsResponse,
    CreateTopics CreateTopicsRequest CreateTopicsResponse,
    DeleteTopics DeleteTopicsRequest DeleteTopicsResponse,
    DeleteRecords DeleteRecordsRequest DeleteRecordsResponse,
    InitProducerId InitProducerIdRequest InitProducerIdResponse,
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse,
    AddPartitionsToTxn AddPartitionsToTxnRequest AddPartitionsToTxnResponse,
    AddOffsetsToTxn AddOffsetsToTxnRequest AddOffsetsToTxnResponse,
    EndTxn EndTxnRequest EndTxnResponse,
    WriteTxnMarkers WriteTxnMarkersRequest WriteTxnMarkersResponse,
    TxnOffsetCommit TxnOffsetCommitRequest TxnOffsetCommitResponse,
    DescribeAcls DescribeAclsRequest DescribeAclsResponse,
    CreateAcls CreateAclsRequest CreateAclsResponse,
    DeleteAcls DeleteAclsRequest DeleteAclsResponse,
    DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse,
    AlterConfigs AlterConfigsRequest AlterConfigsResponse,
    AlterReplicaLogDirs AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse,
    DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse,
    CreatePartitions CreatePartitionsRequest CreatePartitionsResponse,
    DeleteGroups DeleteGroupsRequest DeleteGroupsResponse,
    ElectLeaders ElectLeadersRequest ElectLeadersResponse,
    IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse,
    AlterPartitionReassignments AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse,
    ListPartitionReassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse,
    OffsetDelete OffsetDeleteRequest OffsetDeleteResponse,
    DescribeQuorum DescribeQuorumRequest DescribeQuorumResponse,
    UpdateFeatures UpdateFeaturesRequest UpdateFeaturesResponse,
    DescribeCluster DescribeClusterRequest DescribeClusterResponse,
    DescribeProducers DescribeProducersRequest DescribeProducersResponse,
    UnregisterBroker UnregisterBrokerRequest UnregisterBrokerResponse,
    DescribeTransactions DescribeTransactionsRequest DescribeTransactionsResponse,
    ListTransactions ListTransactionsRequest ListTransactionsResponse,
    ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse,
    ConsumerGroupDescribe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse,
    ListConfigResources ListConfigResourcesRequest ListConfigResourcesResponse,
    DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse,
    AddRaftVoter AddRaftVoterRequest AddRaftVoterResponse,
    RemoveRaftVoter RemoveRaftVoterRequest RemoveRaftVoterResponse,
    UpdateRaftVoter UpdateRaftVoterRequest UpdateRaftVoterResponse,
}

/// Runs one input.
///
/// # Panics
/// If a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let message = &MESSAGES[input.number() % MESSAGES.len()];
    let VersionRange { min, max } = message.versions();
    let version = min + i16::from(input.byte()) % (max - min + 1);
    let body = Bytes::copy_from_slice(input.rest());
    let kind = (message.key, message.direction, version);
    match (message.check)(version, &body) {
        Ok(()) => verdict::accepted(kind),
        Err(error) => verdict::refused((kind, reason(&error))),
    }
}

/// A body of each message and version, as Kafka writes them.
///
/// # Panics
/// If a message or a version that is served is missing here or there.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut lines = KAFKA.lines().filter(|line| !line.starts_with('#'));
    let mut seeds = Vec::new();
    for (message, index) in MESSAGES.iter().zip(0_u16..) {
        for (version, index_of_version) in message.versions().iter().zip(0_u8..) {
            let line = lines.next().expect("a line for each message and version");
            let (name, hex) = line.rsplit_once(' ').expect("three words and the body");
            assert_eq!(name, format!("{} {} {version}", message.key, message.direction));
            seeds.push([&index.to_be_bytes()[..], &[index_of_version], &unhex(hex)].concat());
        }
    }
    assert_eq!(lines.next(), None, "a message that is not known here");
    let served = ApiEntry::ALL.iter().filter(|entry| entry.served.is_some()).count();
    assert_eq!(MESSAGES.len(), 2 * served, "an API that is not known here");
    seeds
}

impl Message {
    fn versions(&self) -> VersionRange {
        self.key.entry().served.expect("only served APIs are listed")
    }
}

/// Checks what follows the header of a request, if its API and version are served, as [`run`] does.
pub(crate) fn check_body(header: &RequestHeader, body: &Bytes) -> Option<Result<(), WireError>> {
    let of_key =
        |message: &&Message| message.key.code() == header.api_key && message.direction == "request";
    let message = MESSAGES.iter().find(of_key)?;
    let is_served = message.versions().contains(header.api_version);
    is_served.then(|| (message.check)(header.api_version, body))
}

/// What two errors for the same reason have in common.
pub(crate) fn reason(error: &WireError) -> impl std::hash::Hash + use<> {
    // Without the places in arrays, of which there are many.
    let path: String = error.path().chars().filter(|c| !c.is_ascii_digit()).collect();
    (error.message(), path, discriminant::<Problem>(error.problem()))
}

fn check_requests<M: Request + PartialEq + Debug>(
    version: i16,
    body: &Bytes,
) -> Result<(), WireError> {
    let header = RequestHeader {
        api_key: M::KEY.code(),
        api_version: version,
        correlation_id: 7,
        client_id: None,
    };
    let limit = request_memory_limit(body.len());
    let read = |body: Bytes| decode_request::<M>(&header, body);
    let message = check_reading(limit, read, check_request(M::KEY, version, body), body)?;
    let frame = encode_request(&header, &message).expect("what was read can be written");
    let frame = frame.to_bytes().slice(LENGTH_BYTES..);
    let (same, start) = RequestHeader::decode(&frame).expect("a header that was just written");
    assert_eq!(same, header);
    let again = read(padded(&frame.slice(start..), body.len()));
    assert_eq!(again.as_ref(), Ok(&message), "read again after it was written");
    Ok(())
}

fn check_responses<M: Response + PartialEq + Debug>(
    version: i16,
    body: &Bytes,
) -> Result<(), WireError> {
    // A response is read with its header.
    let has_tags = M::KEY.entry().response_header_version(version) == 1;
    let header: &[u8] = if has_tags { &[0, 0, 0, 7, 0] } else { &[0, 0, 0, 7] };
    let limit = response_memory_limit(body.len());
    let frame = Bytes::from([header, body].concat());
    let read = |frame: Bytes| {
        decode_response::<M>(version, &frame).map(|(correlation_id, message)| {
            assert_eq!(correlation_id, 7);
            message
        })
    };
    let message = check_reading(limit, read, check_response(M::KEY, version, body), &frame)?;
    let written = encode_response(version, 7, &message).expect("what was read can be written");
    let written = written.to_bytes().slice(LENGTH_BYTES..);
    let again = read(padded(&written, frame.len()));
    assert_eq!(again.as_ref(), Ok(&message), "read again after it was written");
    Ok(())
}

/// Reads a message within its memory, and sees that the gate thinks the same of it.
fn check_reading<M>(
    limit: usize,
    read: impl Fn(Bytes) -> Result<M, WireError>,
    gate: Result<(), WireError>,
    bytes: &Bytes,
) -> Result<M, WireError> {
    let (read, peak) = memory::peak_of(|| read(bytes.clone()));
    assert!(peak <= limit, "{peak} bytes of memory, {limit} are granted for {}", bytes.len());
    let decoder = read.as_ref().map(|_| ()).map_err(Clone::clone);
    if !is_about_memory(&gate) && !is_about_memory(&decoder) {
        let (gate_takes, decoder_takes) = (gate.is_ok(), decoder.is_ok());
        assert_eq!(gate_takes, decoder_takes, "gate: {gate:?}, decoder: {decoder:?}");
    }
    read
}

/// Our own codecs have smaller structs than the message crate, by which the gate counts.
fn is_about_memory(judgement: &Result<(), WireError>) -> bool {
    let problem = judgement.as_ref().err().map(WireError::problem);
    matches!(problem, Some(Problem::TooManyElements { .. }))
}

/// `bytes` with zeros behind them up to `length`. What follows a message is ignored, but a frame grants memory by its
/// size, and what is written may be shorter than what was read.
fn padded(bytes: &Bytes, length: usize) -> Bytes {
    let mut padded = bytes.to_vec();
    padded.resize(length.max(bytes.len()), 0);
    padded.into()
}

/// What `src/wire/reader.rs` grants the request in a body of this size.
const fn request_memory_limit(body: usize) -> usize {
    let twice = 2 * body;
    MEMORY_BASE + if twice < 4 << 20 { 2 * twice } else { twice + (4 << 20) }
}

/// The same for a response.
const fn response_memory_limit(body: usize) -> usize {
    MEMORY_BASE + 16 * body
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("ASCII"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("two digits")).collect()
}

const MEMORY_BASE: usize = 1 << 20;
/// A frame begins with its length.
const LENGTH_BYTES: usize = 4;
