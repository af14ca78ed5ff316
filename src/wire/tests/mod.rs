//! Properties that hold for every message and version, hostile input, and frames known byte by byte.
#![expect(
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "samples are small and made by hand"
)]

mod compatibility;
mod frames;
mod hostile;
mod memory;
mod properties;
mod sample;

use bytes::Bytes;

use super::codec::{Request, Response};
use super::error::{EncodeError, WireError};
use super::registry::{ApiEntry, ApiKey};
use super::shape::Shape;
use super::shapes::{requests, responses};
use super::writer::Writer;
use super::{
    add_raft_voter, describe_log_dirs, fetch, list_offsets, messages, offset_commit, offset_fetch,
    produce, write_txn_markers,
};

/// One direction of one served API, with its type behind function pointers.
struct Message {
    name: &'static str,
    key: ApiKey,
    shape: &'static Shape,
    /// The gate.
    check: fn(i16, &Bytes) -> Result<(), WireError>,
    /// Reads a body and writes it again.
    rewrite: fn(i16, Bytes) -> Result<Bytes, WireError>,
    /// Reads a body, writes it, reads that, and says whether both readings are equal.
    survives: fn(i16, Bytes) -> bool,
}

impl Message {
    fn request<M: Request + PartialEq>() -> Self {
        Self {
            name: M::NAME,
            key: M::KEY,
            shape: shape_of(requests::ALL, M::KEY),
            check: |version, body| super::check_request(M::KEY, version, body),
            rewrite: |version, body| {
                let message = M::read(body, version)?;
                Ok(body_of(M::KEY, version, |writer| message.write(writer, version)))
            },
            survives: |version, body| {
                let message = M::read(body, version).unwrap();
                let again = body_of(M::KEY, version, |writer| message.write(writer, version));
                M::read(again, version).unwrap() == message
            },
        }
    }

    fn response<M: Response + PartialEq>() -> Self {
        Self {
            name: M::NAME,
            key: M::KEY,
            shape: shape_of(responses::ALL, M::KEY),
            check: |version, body| super::check_response(M::KEY, version, body),
            rewrite: |version, body| {
                let message = M::read(body, version)?;
                Ok(body_of(M::KEY, version, |writer| message.write(writer, version)))
            },
            survives: |version, body| {
                let message = M::read(body, version).unwrap();
                let again = body_of(M::KEY, version, |writer| message.write(writer, version));
                M::read(again, version).unwrap() == message
            },
        }
    }

    fn versions(&self) -> impl Iterator<Item = i16> {
        self.key.entry().served.unwrap().iter()
    }
}

fn shape_of(shapes: &[(ApiKey, &'static Shape)], key: ApiKey) -> &'static Shape {
    shapes.iter().find(|(of, _)| *of == key).unwrap().1
}

/// The bytes that `write` writes.
fn body_of(
    key: ApiKey,
    version: i16,
    write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
) -> Bytes {
    let mut writer = Writer::new("test", key.entry().is_flexible(version));
    write(&mut writer).unwrap();
    writer.finish().unwrap().to_bytes().slice(4..)
}

/// Both directions of all served APIs.
fn all_messages() -> Vec<Message> {
    use messages::*;
    macro_rules! both {
        ($($request:ty, $response:ty;)*) => {
            vec![$(Message::request::<$request>(), Message::response::<$response>(),)*]
        };
    }
    both! {
        produce::ProduceRequest, produce::ProduceResponse;
        fetch::FetchRequest, fetch::FetchResponse;
        list_offsets::ListOffsetsRequest, list_offsets::ListOffsetsResponse;
        MetadataRequest, MetadataResponse;
        offset_commit::OffsetCommitRequest, offset_commit::OffsetCommitResponse;
        offset_fetch::OffsetFetchRequest, offset_fetch::OffsetFetchResponse;
        FindCoordinatorRequest, FindCoordinatorResponse;
        JoinGroupRequest, JoinGroupResponse;
        HeartbeatRequest, HeartbeatResponse;
        LeaveGroupRequest, LeaveGroupResponse;
        SyncGroupRequest, SyncGroupResponse;
        DescribeGroupsRequest, DescribeGroupsResponse;
        ListGroupsRequest, ListGroupsResponse;
        ApiVersionsRequest, ApiVersionsResponse;
        CreateTopicsRequest, CreateTopicsResponse;
        DeleteTopicsRequest, DeleteTopicsResponse;
        DeleteRecordsRequest, DeleteRecordsResponse;
        InitProducerIdRequest, InitProducerIdResponse;
        OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
        AddPartitionsToTxnRequest, AddPartitionsToTxnResponse;
        AddOffsetsToTxnRequest, AddOffsetsToTxnResponse;
        EndTxnRequest, EndTxnResponse;
        write_txn_markers::WriteTxnMarkersRequest, write_txn_markers::WriteTxnMarkersResponse;
        TxnOffsetCommitRequest, TxnOffsetCommitResponse;
        DescribeAclsRequest, DescribeAclsResponse;
        CreateAclsRequest, CreateAclsResponse;
        DeleteAclsRequest, DeleteAclsResponse;
        DescribeConfigsRequest, DescribeConfigsResponse;
        AlterConfigsRequest, AlterConfigsResponse;
        AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse;
        describe_log_dirs::DescribeLogDirsRequest, describe_log_dirs::DescribeLogDirsResponse;
        CreatePartitionsRequest, CreatePartitionsResponse;
        DeleteGroupsRequest, DeleteGroupsResponse;
        ElectLeadersRequest, ElectLeadersResponse;
        IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
        AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse;
        ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse;
        OffsetDeleteRequest, OffsetDeleteResponse;
        DescribeQuorumRequest, DescribeQuorumResponse;
        UpdateFeaturesRequest, UpdateFeaturesResponse;
        DescribeClusterRequest, DescribeClusterResponse;
        DescribeProducersRequest, DescribeProducersResponse;
        UnregisterBrokerRequest, UnregisterBrokerResponse;
        DescribeTransactionsRequest, DescribeTransactionsResponse;
        ListTransactionsRequest, ListTransactionsResponse;
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse;
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse;
        ListConfigResourcesRequest, ListConfigResourcesResponse;
        DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
        add_raft_voter::AddRaftVoterRequest, add_raft_voter::AddRaftVoterResponse;
        RemoveRaftVoterRequest, RemoveRaftVoterResponse;
        UpdateRaftVoterRequest, UpdateRaftVoterResponse;
    }
}

#[test]
fn every_served_version_has_a_codec_and_a_shape() {
    let messages = all_messages();
    let served: Vec<ApiKey> = ApiEntry::ALL
        .iter()
        .filter(|entry| entry.served.is_some())
        .map(|entry| entry.key)
        .collect();
    for pair in messages.chunks(2) {
        assert_eq!(pair[0].key, pair[1].key);
    }
    let keys: Vec<ApiKey> = messages.iter().step_by(2).map(|message| message.key).collect();
    assert_eq!(keys, served);
    for message in &messages {
        let (name, entry) = (message.name, message.key.entry());
        assert_eq!(message.shape.name, name);
        assert_eq!(Some(message.shape.versions), entry.served, "{name}");
        let flexible_since =
            Some(message.shape.flexible_since).filter(|version| *version != super::shape::NEVER);
        assert_eq!(flexible_since, entry.flexible_since, "{name}");
    }
}
