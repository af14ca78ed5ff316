//! The messages whose structs and codecs come from the message crate, behind the bounds gate.
//!
//! Owns the list of them and their adaption to `codec.rs`; everything else of the crate stays out of sight. Reading goes
//! through the gate first, always. Their structs are `#[non_exhaustive]`: make one with `default()` and set its fields.
//!
//! **Care by version.** The crate refuses to write a field that is set in a version that does not have it
//! ([`EncodeError::NotInVersion`]), unless the schema calls the field ignorable; Kafka does the same. Among the responses
//! here these fields have to stay at their default in the other versions:
//!
//! | response | field | versions | default |
//! |---|---|---|---|
//! | Metadata | `topics.topic_authorized_operations` | 8 to 13 | `i32::MIN` |
//! | Metadata | `cluster_authorized_operations` | 8 to 10 | `i32::MIN` |
//! | DescribeCluster | `endpoint_type` | 1 and 2 | 1 |
//! | DescribeGroups | `groups.error_message` | 6 | `None` |
//! | DescribeGroups | `groups.authorized_operations` | 3 to 6 | `i32::MIN` |
//! | FindCoordinator | `error_code`, `node_id`, `host`, `port` | 0 to 3 | zero or empty |
//! | FindCoordinator | `coordinators` | 4 to 6 | empty |
//! | JoinGroup | `skip_assignment` | 9 | false |
//! | LeaveGroup | `members` | 3 to 5 | empty |
//! | DescribeCluster | `brokers.is_fenced` | 2 | false |
//! | ElectLeaders | `error_code` | 1 and 2 | 0 |
//! | AlterPartitionReassignments | `allow_replication_factor_change` | 1 | true |
//! | AddPartitionsToTxn | `results_by_topic_v3_and_below` | 0 to 3 | empty |
//! | AddPartitionsToTxn | `results_by_transaction` | 4 and 5 | empty |
//! | DescribeQuorum | `nodes`, `replica_directory_id` | 2 | empty, zero |

use bytes::Bytes;
use kafka_protocol::protocol::{Decodable, Encodable};
#[cfg(test)]
use kafka_protocol::protocol::{Message as CrateMessage, VersionRange as CrateRange};

pub use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ApiVersionsRequest, ApiVersionsResponse,
    BrokerId as WireBrokerId, CreatePartitionsRequest, CreatePartitionsResponse,
    CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, DescribeClusterRequest, DescribeClusterResponse,
    DescribeConfigsRequest, DescribeConfigsResponse, DescribeProducersRequest,
    DescribeProducersResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, InitProducerIdRequest,
    InitProducerIdResponse, ListConfigResourcesRequest, ListConfigResourcesResponse,
    MetadataRequest, MetadataResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    ProducerId as WireProducerId, TopicName as WireTopicName,
    TransactionalId as WireTransactionalId, alter_configs_request, alter_configs_response,
    api_versions_response, create_partitions_request, create_partitions_response,
    create_topics_request, create_topics_response, delete_records_request, delete_records_response,
    delete_topics_request, delete_topics_response, describe_cluster_response,
    describe_configs_request, describe_configs_response, describe_producers_request,
    describe_producers_response, describe_topic_partitions_request,
    describe_topic_partitions_response, incremental_alter_configs_request,
    incremental_alter_configs_response, list_config_resources_response, metadata_request,
    metadata_response, offset_for_leader_epoch_request, offset_for_leader_epoch_response,
};

// Messages of groups.
pub use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, DeleteGroupsRequest, DeleteGroupsResponse,
    DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    GroupId as WireGroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest,
    ListGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse, SyncGroupRequest,
    SyncGroupResponse, consumer_group_describe_response, consumer_group_heartbeat_request,
    consumer_group_heartbeat_response, delete_groups_response, describe_groups_response,
    find_coordinator_response, join_group_request, join_group_response, leave_group_request,
    leave_group_response, list_groups_response, offset_delete_request, offset_delete_response,
    sync_group_request,
};

// Messages of transactions.
pub use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
    EndTxnRequest, EndTxnResponse, ListTransactionsRequest, ListTransactionsResponse,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse, add_partitions_to_txn_request,
    add_partitions_to_txn_response, describe_transactions_response, list_transactions_response,
    txn_offset_commit_request, txn_offset_commit_response,
};

// Messages about access control.
pub use kafka_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse,
    DescribeAclsRequest, DescribeAclsResponse, create_acls_request, create_acls_response,
    delete_acls_request, delete_acls_response, describe_acls_response,
};

// Messages about features.
pub use kafka_protocol::messages::{
    UpdateFeaturesRequest, UpdateFeaturesResponse, update_features_request,
    update_features_response,
};

// Messages about replicas, their leaders and the quorum.
pub use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeQuorumRequest,
    DescribeQuorumResponse, ElectLeadersRequest, ElectLeadersResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, RemoveRaftVoterRequest,
    RemoveRaftVoterResponse, UnregisterBrokerRequest, UnregisterBrokerResponse,
    UpdateRaftVoterRequest, UpdateRaftVoterResponse, alter_partition_reassignments_request,
    alter_partition_reassignments_response, alter_replica_log_dirs_request,
    alter_replica_log_dirs_response, describe_quorum_request, describe_quorum_response,
    elect_leaders_request, elect_leaders_response, list_partition_reassignments_request,
    list_partition_reassignments_response, update_raft_voter_request, update_raft_voter_response,
};

use super::codec::{Request, Response};
use super::error::{EncodeError, Problem, WireError};
use super::reader::Sender;
use super::registry::ApiKey;
use super::shape::Shape;
use super::shapes::{requests, responses};
use super::writer::Writer;

macro_rules! crate_messages {
    ($($key:ident $request:ident $response:ident $shape:ident,)*) => {
        $(
            impl Request for $request {
                const KEY: ApiKey = ApiKey::$key;
                const NAME: &'static str = requests::$shape.name;
                type Response = $response;

                fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
                    read(&requests::$shape, Sender::Client, body, version)
                }

                fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
                    write(self, <Self as Request>::NAME, writer, version)
                }
            }

            impl Response for $response {
                const KEY: ApiKey = ApiKey::$key;
                const NAME: &'static str = responses::$shape.name;

                fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
                    read(&responses::$shape, Sender::Broker, body, version)
                }

                fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
                    write(self, <Self as Response>::NAME, writer, version)
                }
            }
        )*

        /// What the crate's codecs accept, by request and response.
        #[cfg(test)]
        const CODECS: &[(ApiKey, CrateRange, CrateRange)] = &[
            $((
                ApiKey::$key,
                <$request as CrateMessage>::VERSIONS,
                <$response as CrateMessage>::VERSIONS,
            ),)*
        ];
    };
}

crate_messages! {
    Metadata MetadataRequest MetadataResponse METADATA,
    FindCoordinator FindCoordinatorRequest FindCoordinatorResponse FIND_COORDINATOR,
    JoinGroup JoinGroupRequest JoinGroupResponse JOIN_GROUP,
    Heartbeat HeartbeatRequest HeartbeatResponse HEARTBEAT,
    LeaveGroup LeaveGroupRequest LeaveGroupResponse LEAVE_GROUP,
    SyncGroup SyncGroupRequest SyncGroupResponse SYNC_GROUP,
    DescribeGroups DescribeGroupsRequest DescribeGroupsResponse DESCRIBE_GROUPS,
    ListGroups ListGroupsRequest ListGroupsResponse LIST_GROUPS,
    ApiVersions ApiVersionsRequest ApiVersionsResponse API_VERSIONS,
    CreateTopics CreateTopicsRequest CreateTopicsResponse CREATE_TOPICS,
    DeleteTopics DeleteTopicsRequest DeleteTopicsResponse DELETE_TOPICS,
    DeleteRecords DeleteRecordsRequest DeleteRecordsResponse DELETE_RECORDS,
    InitProducerId InitProducerIdRequest InitProducerIdResponse INIT_PRODUCER_ID,
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse OFFSET_FOR_LEADER_EPOCH,
    AddPartitionsToTxn AddPartitionsToTxnRequest AddPartitionsToTxnResponse ADD_PARTITIONS_TO_TXN,
    AddOffsetsToTxn AddOffsetsToTxnRequest AddOffsetsToTxnResponse ADD_OFFSETS_TO_TXN,
    EndTxn EndTxnRequest EndTxnResponse END_TXN,
    TxnOffsetCommit TxnOffsetCommitRequest TxnOffsetCommitResponse TXN_OFFSET_COMMIT,
    DescribeAcls DescribeAclsRequest DescribeAclsResponse DESCRIBE_ACLS,
    CreateAcls CreateAclsRequest CreateAclsResponse CREATE_ACLS,
    DeleteAcls DeleteAclsRequest DeleteAclsResponse DELETE_ACLS,
    DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse DESCRIBE_CONFIGS,
    AlterConfigs AlterConfigsRequest AlterConfigsResponse ALTER_CONFIGS,
    AlterReplicaLogDirs AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse ALTER_REPLICA_LOG_DIRS,
    CreatePartitions CreatePartitionsRequest CreatePartitionsResponse CREATE_PARTITIONS,
    DeleteGroups DeleteGroupsRequest DeleteGroupsResponse DELETE_GROUPS,
    ElectLeaders ElectLeadersRequest ElectLeadersResponse ELECT_LEADERS,
    IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse INCREMENTAL_ALTER_CONFIGS,
    AlterPartitionReassignments AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse ALTER_PARTITION_REASSIGNMENTS,
    ListPartitionReassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse LIST_PARTITION_REASSIGNMENTS,
    OffsetDelete OffsetDeleteRequest OffsetDeleteResponse OFFSET_DELETE,
    DescribeQuorum DescribeQuorumRequest DescribeQuorumResponse DESCRIBE_QUORUM,
    UpdateFeatures UpdateFeaturesRequest UpdateFeaturesResponse UPDATE_FEATURES,
    DescribeCluster DescribeClusterRequest DescribeClusterResponse DESCRIBE_CLUSTER,
    DescribeProducers DescribeProducersRequest DescribeProducersResponse DESCRIBE_PRODUCERS,
    UnregisterBroker UnregisterBrokerRequest UnregisterBrokerResponse UNREGISTER_BROKER,
    DescribeTransactions DescribeTransactionsRequest DescribeTransactionsResponse DESCRIBE_TRANSACTIONS,
    ListTransactions ListTransactionsRequest ListTransactionsResponse LIST_TRANSACTIONS,
    ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse CONSUMER_GROUP_HEARTBEAT,
    ConsumerGroupDescribe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse CONSUMER_GROUP_DESCRIBE,
    ListConfigResources ListConfigResourcesRequest ListConfigResourcesResponse LIST_CONFIG_RESOURCES,
    DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse DESCRIBE_TOPIC_PARTITIONS,
    RemoveRaftVoter RemoveRaftVoterRequest RemoveRaftVoterResponse REMOVE_RAFT_VOTER,
    UpdateRaftVoter UpdateRaftVoterRequest UpdateRaftVoterResponse UPDATE_RAFT_VOTER,
}

/// The gate, then the crate.
fn read<M: Decodable>(
    shape: &Shape,
    sender: Sender,
    mut body: Bytes,
    version: i16,
) -> Result<M, WireError> {
    shape.check(sender, version, &body)?;
    let length = body.len();
    M::decode(&mut body, version).map_err(|error| {
        let position = length - body.len();
        WireError::new(shape.name, "?", position, Problem::Refused(error.to_string()))
    })
}

fn write<M: Encodable>(
    message: &M,
    name: &'static str,
    writer: &mut Writer,
    version: i16,
) -> Result<(), EncodeError> {
    message.encode(writer.buffer(), version).map_err(|source| EncodeError::NotInVersion {
        message: name,
        version,
        source: source.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `kafka_protocol::messages::ApiKey::valid_versions` promises more for some keys than the codecs keep.
    #[test]
    fn served_versions_are_within_what_the_codecs_accept() {
        for (key, request, response) in CODECS {
            let served = key.entry().served.unwrap();
            for codec in [request, response] {
                assert!(
                    codec.min <= served.min && served.max <= codec.max,
                    "{key}: {served} served, {codec} accepted"
                );
            }
        }
    }
}
