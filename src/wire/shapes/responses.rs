//! The fields of every served response, by version: a table to read beside the schemas of Apache Kafka 4.3.1.
//!
//! Names are the schema's in Rust's spelling. A nested field carries only those version bounds that its parent does not
//! have already; fields of versions older than the table's first are left out.

use super::requests::CONTROLLER_LISTENER;
use super::super::registry::ApiKey;
use super::super::shape::Kind::{Array, Bool, Bytes, Int8, Int16, Int32, Int64, String, Struct, Structs, Uuid};
use super::super::shape::{Field, NEVER, Shape, field, shape};

/// Every shape of this file with its API, in the order of the keys.
pub(in crate::wire) static ALL: &[(ApiKey, &Shape)] = &[
    (ApiKey::Produce, &PRODUCE),
    (ApiKey::Fetch, &FETCH),
    (ApiKey::ListOffsets, &LIST_OFFSETS),
    (ApiKey::Metadata, &METADATA),
    (ApiKey::OffsetCommit, &OFFSET_COMMIT),
    (ApiKey::OffsetFetch, &OFFSET_FETCH),
    (ApiKey::FindCoordinator, &FIND_COORDINATOR),
    (ApiKey::JoinGroup, &JOIN_GROUP),
    (ApiKey::Heartbeat, &HEARTBEAT),
    (ApiKey::LeaveGroup, &LEAVE_GROUP),
    (ApiKey::SyncGroup, &SYNC_GROUP),
    (ApiKey::DescribeGroups, &DESCRIBE_GROUPS),
    (ApiKey::ListGroups, &LIST_GROUPS),
    (ApiKey::ApiVersions, &API_VERSIONS),
    (ApiKey::CreateTopics, &CREATE_TOPICS),
    (ApiKey::DeleteTopics, &DELETE_TOPICS),
    (ApiKey::DeleteRecords, &DELETE_RECORDS),
    (ApiKey::InitProducerId, &INIT_PRODUCER_ID),
    (ApiKey::OffsetForLeaderEpoch, &OFFSET_FOR_LEADER_EPOCH),
    (ApiKey::AddPartitionsToTxn, &ADD_PARTITIONS_TO_TXN),
    (ApiKey::AddOffsetsToTxn, &ADD_OFFSETS_TO_TXN),
    (ApiKey::EndTxn, &END_TXN),
    (ApiKey::WriteTxnMarkers, &WRITE_TXN_MARKERS),
    (ApiKey::TxnOffsetCommit, &TXN_OFFSET_COMMIT),
    (ApiKey::DescribeAcls, &DESCRIBE_ACLS),
    (ApiKey::CreateAcls, &CREATE_ACLS),
    (ApiKey::DeleteAcls, &DELETE_ACLS),
    (ApiKey::DescribeConfigs, &DESCRIBE_CONFIGS),
    (ApiKey::AlterConfigs, &ALTER_CONFIGS),
    (ApiKey::AlterReplicaLogDirs, &ALTER_REPLICA_LOG_DIRS),
    (ApiKey::DescribeLogDirs, &DESCRIBE_LOG_DIRS),
    (ApiKey::CreatePartitions, &CREATE_PARTITIONS),
    (ApiKey::DeleteGroups, &DELETE_GROUPS),
    (ApiKey::ElectLeaders, &ELECT_LEADERS),
    (ApiKey::IncrementalAlterConfigs, &INCREMENTAL_ALTER_CONFIGS),
    (ApiKey::AlterPartitionReassignments, &ALTER_PARTITION_REASSIGNMENTS),
    (ApiKey::ListPartitionReassignments, &LIST_PARTITION_REASSIGNMENTS),
    (ApiKey::OffsetDelete, &OFFSET_DELETE),
    (ApiKey::DescribeQuorum, &DESCRIBE_QUORUM),
    (ApiKey::UpdateFeatures, &UPDATE_FEATURES),
    (ApiKey::DescribeCluster, &DESCRIBE_CLUSTER),
    (ApiKey::DescribeProducers, &DESCRIBE_PRODUCERS),
    (ApiKey::UnregisterBroker, &UNREGISTER_BROKER),
    (ApiKey::DescribeTransactions, &DESCRIBE_TRANSACTIONS),
    (ApiKey::ListTransactions, &LIST_TRANSACTIONS),
    (ApiKey::ConsumerGroupHeartbeat, &CONSUMER_GROUP_HEARTBEAT),
    (ApiKey::ConsumerGroupDescribe, &CONSUMER_GROUP_DESCRIBE),
    (ApiKey::ListConfigResources, &LIST_CONFIG_RESOURCES),
    (ApiKey::DescribeTopicPartitions, &DESCRIBE_TOPIC_PARTITIONS),
    (ApiKey::AddRaftVoter, &ADD_RAFT_VOTER),
    (ApiKey::RemoveRaftVoter, &REMOVE_RAFT_VOTER),
    (ApiKey::UpdateRaftVoter, &UPDATE_RAFT_VOTER),
];

pub(in crate::wire) static PRODUCE: Shape = shape("ProduceResponse", 3..=13, 9, &[
    field("responses", Structs(&[
        field("name", String).until(12),
        field("topic_id", Uuid).since(13),
        field("partition_responses", Structs(&[
            field("index", Int32),
            field("error_code", Int16),
            field("base_offset", Int64),
            field("log_append_time_ms", Int64),
            field("log_start_offset", Int64).since(5),
            field("record_errors", Structs(&[
                field("batch_index", Int32),
                field("batch_index_error_message", String).nullable(),
            ])).since(8),
            field("error_message", String).since(8).nullable(),
            field("current_leader", Struct(&[
                field("leader_id", Int32),
                field("leader_epoch", Int32),
            ])).since(10).tagged(0),
        ])),
    ])),
    field("throttle_time_ms", Int32),
    field("node_endpoints", Structs(&[
        field("node_id", Int32),
        field("host", String),
        field("port", Int32),
        field("rack", String).nullable(),
    ])).since(10).tagged(0),
]);

pub(in crate::wire) static FETCH: Shape = shape("FetchResponse", 4..=18, 12, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16).since(7),
    field("session_id", Int32).since(7),
    field("responses", Structs(&[
        field("topic", String).until(12),
        field("topic_id", Uuid).since(13),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("error_code", Int16),
            field("high_watermark", Int64),
            field("last_stable_offset", Int64),
            field("log_start_offset", Int64).since(5),
            field("diverging_epoch", Struct(&[
                field("epoch", Int32),
                field("end_offset", Int64),
            ])).since(12).tagged(0),
            field("current_leader", Struct(&[
                field("leader_id", Int32),
                field("leader_epoch", Int32),
            ])).since(12).tagged(1),
            field("snapshot_id", Struct(&[
                field("end_offset", Int64),
                field("epoch", Int32),
            ])).since(12).tagged(2),
            field("aborted_transactions", Structs(&[
                field("producer_id", Int64),
                field("first_offset", Int64),
            ])).nullable(),
            field("preferred_read_replica", Int32).since(11),
            field("records", Bytes).nullable(),
        ])),
    ])),
    field("node_endpoints", Structs(&[
        field("node_id", Int32),
        field("host", String),
        field("port", Int32),
        field("rack", String).nullable(),
    ])).since(16).tagged(0),
]);

pub(in crate::wire) static LIST_OFFSETS: Shape = shape("ListOffsetsResponse", 1..=11, 6, &[
    field("throttle_time_ms", Int32).since(2),
    field("topics", Structs(&[
        field("name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("error_code", Int16),
            field("timestamp", Int64),
            field("offset", Int64),
            field("leader_epoch", Int32).since(4),
        ])),
    ])),
]);

pub(in crate::wire) static METADATA: Shape = shape("MetadataResponse", 0..=13, 9, &[
    field("throttle_time_ms", Int32).since(3),
    field("brokers", Structs(&[
        field("node_id", Int32),
        field("host", String),
        field("port", Int32),
        field("rack", String).since(1).nullable(),
    ])),
    field("cluster_id", String).since(2).nullable(),
    field("controller_id", Int32).since(1),
    field("topics", Structs(&[
        field("error_code", Int16),
        field("name", String).nullable_since(12),
        field("topic_id", Uuid).since(10),
        field("is_internal", Bool).since(1),
        field("partitions", Structs(&[
            field("error_code", Int16),
            field("partition_index", Int32),
            field("leader_id", Int32),
            field("leader_epoch", Int32).since(7),
            field("replica_nodes", Array(&Int32)),
            field("isr_nodes", Array(&Int32)),
            field("offline_replicas", Array(&Int32)).since(5),
        ])),
        field("topic_authorized_operations", Int32).since(8),
    ])),
    field("cluster_authorized_operations", Int32).since(8).until(10),
    field("error_code", Int16).since(13),
]);

pub(in crate::wire) static OFFSET_COMMIT: Shape = shape("OffsetCommitResponse", 2..=10, 8, &[
    field("throttle_time_ms", Int32).since(3),
    field("topics", Structs(&[
        field("name", String).until(9),
        field("topic_id", Uuid).since(10),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("error_code", Int16),
        ])),
    ])),
]);

pub(in crate::wire) static OFFSET_FETCH: Shape = shape("OffsetFetchResponse", 1..=10, 6, &[
    field("throttle_time_ms", Int32).since(3),
    field("topics", Structs(&[
        field("name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("committed_offset", Int64),
            field("committed_leader_epoch", Int32).since(5),
            field("metadata", String).nullable(),
            field("error_code", Int16),
        ])),
    ])).until(7),
    field("error_code", Int16).since(2).until(7),
    field("groups", Structs(&[
        field("group_id", String),
        field("topics", Structs(&[
            field("name", String).until(9),
            field("topic_id", Uuid).since(10),
            field("partitions", Structs(&[
                field("partition_index", Int32),
                field("committed_offset", Int64),
                field("committed_leader_epoch", Int32),
                field("metadata", String).nullable(),
                field("error_code", Int16),
            ])),
        ])),
        field("error_code", Int16),
    ])).since(8),
]);

pub(in crate::wire) static FIND_COORDINATOR: Shape = shape("FindCoordinatorResponse", 0..=6, 3, &[
    field("throttle_time_ms", Int32).since(1),
    field("error_code", Int16).until(3),
    field("error_message", String).since(1).until(3).nullable(),
    field("node_id", Int32).until(3),
    field("host", String).until(3),
    field("port", Int32).until(3),
    field("coordinators", Structs(&[
        field("key", String),
        field("node_id", Int32),
        field("host", String),
        field("port", Int32),
        field("error_code", Int16),
        field("error_message", String).nullable(),
    ])).since(4),
]);

pub(in crate::wire) static JOIN_GROUP: Shape = shape("JoinGroupResponse", 0..=9, 6, &[
    field("throttle_time_ms", Int32).since(2),
    field("error_code", Int16),
    field("generation_id", Int32),
    field("protocol_type", String).since(7).nullable(),
    field("protocol_name", String).nullable_since(7),
    field("leader", String),
    field("skip_assignment", Bool).since(9),
    field("member_id", String),
    field("members", Structs(&[
        field("member_id", String),
        field("group_instance_id", String).since(5).nullable(),
        field("metadata", Bytes),
    ])),
]);

pub(in crate::wire) static HEARTBEAT: Shape = shape("HeartbeatResponse", 0..=4, 4, &[
    field("throttle_time_ms", Int32).since(1),
    field("error_code", Int16),
]);

pub(in crate::wire) static LEAVE_GROUP: Shape = shape("LeaveGroupResponse", 0..=5, 4, &[
    field("throttle_time_ms", Int32).since(1),
    field("error_code", Int16),
    field("members", Structs(&[
        field("member_id", String),
        field("group_instance_id", String).nullable(),
        field("error_code", Int16),
    ])).since(3),
]);

pub(in crate::wire) static SYNC_GROUP: Shape = shape("SyncGroupResponse", 0..=5, 4, &[
    field("throttle_time_ms", Int32).since(1),
    field("error_code", Int16),
    field("protocol_type", String).since(5).nullable(),
    field("protocol_name", String).since(5).nullable(),
    field("assignment", Bytes),
]);

pub(in crate::wire) static DESCRIBE_GROUPS: Shape = shape("DescribeGroupsResponse", 0..=6, 5, &[
    field("throttle_time_ms", Int32).since(1),
    field("groups", Structs(&[
        field("error_code", Int16),
        field("error_message", String).since(6).nullable(),
        field("group_id", String),
        field("group_state", String),
        field("protocol_type", String),
        field("protocol_data", String),
        field("members", Structs(&[
            field("member_id", String),
            field("group_instance_id", String).since(4).nullable(),
            field("client_id", String),
            field("client_host", String),
            field("member_metadata", Bytes),
            field("member_assignment", Bytes),
        ])),
        field("authorized_operations", Int32).since(3),
    ])),
]);

pub(in crate::wire) static LIST_GROUPS: Shape = shape("ListGroupsResponse", 0..=5, 3, &[
    field("throttle_time_ms", Int32).since(1),
    field("error_code", Int16),
    field("groups", Structs(&[
        field("group_id", String),
        field("protocol_type", String),
        field("group_state", String).since(4),
        field("group_type", String).since(5),
    ])),
]);

pub(in crate::wire) static API_VERSIONS: Shape = shape("ApiVersionsResponse", 0..=4, 3, &[
    field("error_code", Int16),
    field("api_keys", Structs(&[
        field("api_key", Int16),
        field("min_version", Int16),
        field("max_version", Int16),
    ])),
    field("throttle_time_ms", Int32).since(1),
    field("supported_features", Structs(&[
        field("name", String),
        field("min_version", Int16),
        field("max_version", Int16),
    ])).since(3).tagged(0),
    field("finalized_features_epoch", Int64).since(3).tagged(1),
    field("finalized_features", Structs(&[
        field("name", String),
        field("max_version_level", Int16),
        field("min_version_level", Int16),
    ])).since(3).tagged(2),
    field("zk_migration_ready", Bool).since(3).tagged(3),
]);

pub(in crate::wire) static CREATE_TOPICS: Shape = shape("CreateTopicsResponse", 2..=7, 5, &[
    field("throttle_time_ms", Int32),
    field("topics", Structs(&[
        field("name", String),
        field("topic_id", Uuid).since(7),
        field("error_code", Int16),
        field("error_message", String).nullable(),
        field("topic_config_error_code", Int16).since(5).tagged(0),
        field("num_partitions", Int32).since(5),
        field("replication_factor", Int16).since(5),
        field("configs", Structs(&[
            field("name", String),
            field("value", String).nullable(),
            field("read_only", Bool),
            field("config_source", Int8),
            field("is_sensitive", Bool),
        ])).since(5).nullable(),
    ])),
]);

pub(in crate::wire) static DELETE_TOPICS: Shape = shape("DeleteTopicsResponse", 1..=6, 4, &[
    field("throttle_time_ms", Int32),
    field("responses", Structs(&[
        field("name", String).nullable_since(6),
        field("topic_id", Uuid).since(6),
        field("error_code", Int16),
        field("error_message", String).since(5).nullable(),
    ])),
]);

pub(in crate::wire) static DELETE_RECORDS: Shape = shape("DeleteRecordsResponse", 0..=2, 2, &[
    field("throttle_time_ms", Int32),
    field("topics", Structs(&[
        field("name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("low_watermark", Int64),
            field("error_code", Int16),
        ])),
    ])),
]);

pub(in crate::wire) static INIT_PRODUCER_ID: Shape = shape("InitProducerIdResponse", 0..=5, 2, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
    field("producer_id", Int64),
    field("producer_epoch", Int16),
]);

pub(in crate::wire) static OFFSET_FOR_LEADER_EPOCH: Shape = shape("OffsetForLeaderEpochResponse", 2..=4, 4, &[
    field("throttle_time_ms", Int32),
    field("topics", Structs(&[
        field("topic", String),
        field("partitions", Structs(&[
            field("error_code", Int16),
            field("partition", Int32),
            field("leader_epoch", Int32),
            field("end_offset", Int64),
        ])),
    ])),
]);

pub(in crate::wire) static ADD_PARTITIONS_TO_TXN: Shape = shape("AddPartitionsToTxnResponse", 0..=5, 3, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16).since(4),
    field("results_by_transaction", Structs(&[
        field("transactional_id", String),
        field("topic_results", Structs(&[
            field("name", String),
            field("results_by_partition", Structs(&[
                field("partition_index", Int32),
                field("partition_error_code", Int16),
            ])),
        ])),
    ])).since(4),
    field("results_by_topic_v3_and_below", Structs(&[
        field("name", String),
        field("results_by_partition", Structs(&[
            field("partition_index", Int32),
            field("partition_error_code", Int16),
        ])),
    ])).until(3),
]);

pub(in crate::wire) static ADD_OFFSETS_TO_TXN: Shape = shape("AddOffsetsToTxnResponse", 0..=4, 3, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
]);

pub(in crate::wire) static END_TXN: Shape = shape("EndTxnResponse", 0..=5, 3, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
    field("producer_id", Int64).since(5),
    field("producer_epoch", Int16).since(5),
]);

pub(in crate::wire) static WRITE_TXN_MARKERS: Shape = shape("WriteTxnMarkersResponse", 1..=2, 1, &[
    field("markers", Structs(&[
        field("producer_id", Int64),
        field("topics", Structs(&[
            field("name", String),
            field("partitions", Structs(&[
                field("partition_index", Int32),
                field("error_code", Int16),
            ])),
        ])),
    ])),
]);

pub(in crate::wire) static TXN_OFFSET_COMMIT: Shape = shape("TxnOffsetCommitResponse", 0..=5, 3, &[
    field("throttle_time_ms", Int32),
    field("topics", Structs(&[
        field("name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("error_code", Int16),
        ])),
    ])),
]);

pub(in crate::wire) static DESCRIBE_ACLS: Shape = shape("DescribeAclsResponse", 1..=3, 2, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
    field("error_message", String).nullable(),
    field("resources", Structs(&[
        field("resource_type", Int8),
        field("resource_name", String),
        field("pattern_type", Int8),
        field("acls", Structs(&[
            field("principal", String),
            field("host", String),
            field("operation", Int8),
            field("permission_type", Int8),
        ])),
    ])),
]);

pub(in crate::wire) static CREATE_ACLS: Shape = shape("CreateAclsResponse", 1..=3, 2, &[
    field("throttle_time_ms", Int32),
    field("results", Structs(&[
        field("error_code", Int16),
        field("error_message", String).nullable(),
    ])),
]);

pub(in crate::wire) static DELETE_ACLS: Shape = shape("DeleteAclsResponse", 1..=3, 2, &[
    field("throttle_time_ms", Int32),
    field("filter_results", Structs(&[
        field("error_code", Int16),
        field("error_message", String).nullable(),
        field("matching_acls", Structs(&[
            field("error_code", Int16),
            field("error_message", String).nullable(),
            field("resource_type", Int8),
            field("resource_name", String),
            field("pattern_type", Int8),
            field("principal", String),
            field("host", String),
            field("operation", Int8),
            field("permission_type", Int8),
        ])),
    ])),
]);

pub(in crate::wire) static DESCRIBE_CONFIGS: Shape = shape("DescribeConfigsResponse", 1..=4, 4, &[
    field("throttle_time_ms", Int32),
    field("results", Structs(&[
        field("error_code", Int16),
        field("error_message", String).nullable(),
        field("resource_type", Int8),
        field("resource_name", String),
        field("configs", Structs(&[
            field("name", String),
            field("value", String).nullable(),
            field("read_only", Bool),
            field("config_source", Int8),
            field("is_sensitive", Bool),
            field("synonyms", Structs(&[
                field("name", String),
                field("value", String).nullable(),
                field("source", Int8),
            ])),
            field("config_type", Int8).since(3),
            field("documentation", String).since(3).nullable(),
        ])),
    ])),
]);

pub(in crate::wire) static ALTER_CONFIGS: Shape = shape("AlterConfigsResponse", 0..=2, 2, &[
    field("throttle_time_ms", Int32),
    field("responses", Structs(&[
        field("error_code", Int16),
        field("error_message", String).nullable(),
        field("resource_type", Int8),
        field("resource_name", String),
    ])),
]);

pub(in crate::wire) static ALTER_REPLICA_LOG_DIRS: Shape = shape("AlterReplicaLogDirsResponse", 1..=2, 2, &[
    field("throttle_time_ms", Int32),
    field("results", Structs(&[
        field("topic_name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("error_code", Int16),
        ])),
    ])),
]);

pub(in crate::wire) static DESCRIBE_LOG_DIRS: Shape = shape("DescribeLogDirsResponse", 1..=5, 2, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16).since(3),
    field("results", Structs(&[
        field("error_code", Int16),
        field("log_dir", String),
        field("topics", Structs(&[
            field("name", String),
            field("partitions", Structs(&[
                field("partition_index", Int32),
                field("partition_size", Int64),
                field("offset_lag", Int64),
                field("is_future_key", Bool),
            ])),
        ])),
        field("total_bytes", Int64).since(4),
        field("usable_bytes", Int64).since(4),
        field("is_cordoned", Bool).since(5),
    ])),
]);

pub(in crate::wire) static CREATE_PARTITIONS: Shape = shape("CreatePartitionsResponse", 0..=3, 2, &[
    field("throttle_time_ms", Int32),
    field("results", Structs(&[
        field("name", String),
        field("error_code", Int16),
        field("error_message", String).nullable(),
    ])),
]);

pub(in crate::wire) static DELETE_GROUPS: Shape = shape("DeleteGroupsResponse", 0..=2, 2, &[
    field("throttle_time_ms", Int32),
    field("results", Structs(&[
        field("group_id", String),
        field("error_code", Int16),
    ])),
]);

pub(in crate::wire) static ELECT_LEADERS: Shape = shape("ElectLeadersResponse", 0..=2, 2, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16).since(1),
    field("replica_election_results", Structs(&[
        field("topic", String),
        field("partition_result", Structs(&[
            field("partition_id", Int32),
            field("error_code", Int16),
            field("error_message", String).nullable(),
        ])),
    ])),
]);

pub(in crate::wire) static INCREMENTAL_ALTER_CONFIGS: Shape = shape("IncrementalAlterConfigsResponse", 0..=1, 1, &[
    field("throttle_time_ms", Int32),
    field("responses", Structs(&[
        field("error_code", Int16),
        field("error_message", String).nullable(),
        field("resource_type", Int8),
        field("resource_name", String),
    ])),
]);

pub(in crate::wire) static ALTER_PARTITION_REASSIGNMENTS: Shape = shape("AlterPartitionReassignmentsResponse", 0..=1, 0, &[
    field("throttle_time_ms", Int32),
    field("allow_replication_factor_change", Bool).since(1),
    field("error_code", Int16),
    field("error_message", String).nullable(),
    field("responses", Structs(&[
        field("name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("error_code", Int16),
            field("error_message", String).nullable(),
        ])),
    ])),
]);

pub(in crate::wire) static LIST_PARTITION_REASSIGNMENTS: Shape = shape("ListPartitionReassignmentsResponse", 0..=0, 0, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
    field("error_message", String).nullable(),
    field("topics", Structs(&[
        field("name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("replicas", Array(&Int32)),
            field("adding_replicas", Array(&Int32)),
            field("removing_replicas", Array(&Int32)),
        ])),
    ])),
]);

pub(in crate::wire) static OFFSET_DELETE: Shape = shape("OffsetDeleteResponse", 0..=0, NEVER, &[
    field("error_code", Int16),
    field("throttle_time_ms", Int32),
    field("topics", Structs(&[
        field("name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("error_code", Int16),
        ])),
    ])),
]);

pub(in crate::wire) static DESCRIBE_QUORUM: Shape = shape("DescribeQuorumResponse", 0..=2, 0, &[
    field("error_code", Int16),
    field("error_message", String).since(2).nullable(),
    field("topics", Structs(&[
        field("topic_name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("error_code", Int16),
            field("error_message", String).since(2).nullable(),
            field("leader_id", Int32),
            field("leader_epoch", Int32),
            field("high_watermark", Int64),
            field("current_voters", Structs(QUORUM_REPLICA)),
            field("observers", Structs(QUORUM_REPLICA)),
        ])),
    ])),
    field("nodes", Structs(&[
        field("node_id", Int32),
        field("listeners", Structs(CONTROLLER_LISTENER)),
    ])).since(2),
]);

const QUORUM_REPLICA: &[Field] = &[
    field("replica_id", Int32),
    field("replica_directory_id", Uuid).since(2),
    field("log_end_offset", Int64),
    field("last_fetch_timestamp", Int64).since(1),
    field("last_caught_up_timestamp", Int64).since(1),
];

pub(in crate::wire) static UPDATE_FEATURES: Shape = shape("UpdateFeaturesResponse", 0..=2, 0, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
    field("error_message", String).nullable(),
    field("results", Structs(&[
        field("feature", String),
        field("error_code", Int16),
        field("error_message", String).nullable(),
    ])).until(1),
]);

pub(in crate::wire) static DESCRIBE_CLUSTER: Shape = shape("DescribeClusterResponse", 0..=2, 0, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
    field("error_message", String).nullable(),
    field("endpoint_type", Int8).since(1),
    field("cluster_id", String),
    field("controller_id", Int32),
    field("brokers", Structs(&[
        field("broker_id", Int32),
        field("host", String),
        field("port", Int32),
        field("rack", String).nullable(),
        field("is_fenced", Bool).since(2),
    ])),
    field("cluster_authorized_operations", Int32),
]);

pub(in crate::wire) static DESCRIBE_PRODUCERS: Shape = shape("DescribeProducersResponse", 0..=0, 0, &[
    field("throttle_time_ms", Int32),
    field("topics", Structs(&[
        field("name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("error_code", Int16),
            field("error_message", String).nullable(),
            field("active_producers", Structs(&[
                field("producer_id", Int64),
                field("producer_epoch", Int32),
                field("last_sequence", Int32),
                field("last_timestamp", Int64),
                field("coordinator_epoch", Int32),
                field("current_txn_start_offset", Int64),
            ])),
        ])),
    ])),
]);

pub(in crate::wire) static UNREGISTER_BROKER: Shape = shape("UnregisterBrokerResponse", 0..=0, 0, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
    field("error_message", String).nullable(),
]);

pub(in crate::wire) static DESCRIBE_TRANSACTIONS: Shape = shape("DescribeTransactionsResponse", 0..=0, 0, &[
    field("throttle_time_ms", Int32),
    field("transaction_states", Structs(&[
        field("error_code", Int16),
        field("transactional_id", String),
        field("transaction_state", String),
        field("transaction_timeout_ms", Int32),
        field("transaction_start_time_ms", Int64),
        field("producer_id", Int64),
        field("producer_epoch", Int16),
        field("topics", Structs(&[
            field("topic", String),
            field("partitions", Array(&Int32)),
        ])),
    ])),
]);

pub(in crate::wire) static LIST_TRANSACTIONS: Shape = shape("ListTransactionsResponse", 0..=2, 0, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
    field("unknown_state_filters", Array(&String)),
    field("transaction_states", Structs(&[
        field("transactional_id", String),
        field("producer_id", Int64),
        field("transaction_state", String),
    ])),
]);

pub(in crate::wire) static CONSUMER_GROUP_HEARTBEAT: Shape = shape("ConsumerGroupHeartbeatResponse", 0..=1, 0, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
    field("error_message", String).nullable(),
    field("member_id", String).nullable(),
    field("member_epoch", Int32),
    field("heartbeat_interval_ms", Int32),
    field("assignment", Struct(&[
        field("topic_partitions", Structs(&[
            field("topic_id", Uuid),
            field("partitions", Array(&Int32)),
        ])),
    ])).nullable(),
]);

pub(in crate::wire) static CONSUMER_GROUP_DESCRIBE: Shape = shape("ConsumerGroupDescribeResponse", 0..=1, 0, &[
    field("throttle_time_ms", Int32),
    field("groups", Structs(&[
        field("error_code", Int16),
        field("error_message", String).nullable(),
        field("group_id", String),
        field("group_state", String),
        field("group_epoch", Int32),
        field("assignment_epoch", Int32),
        field("assignor_name", String),
        field("members", Structs(&[
            field("member_id", String),
            field("instance_id", String).nullable(),
            field("rack_id", String).nullable(),
            field("member_epoch", Int32),
            field("client_id", String),
            field("client_host", String),
            field("subscribed_topic_names", Array(&String)),
            field("subscribed_topic_regex", String).nullable(),
            field("assignment", Struct(&[
                field("topic_partitions", Structs(&[
                    field("topic_id", Uuid),
                    field("topic_name", String),
                    field("partitions", Array(&Int32)),
                ])),
            ])),
            field("target_assignment", Struct(&[
                field("topic_partitions", Structs(&[
                    field("topic_id", Uuid),
                    field("topic_name", String),
                    field("partitions", Array(&Int32)),
                ])),
            ])),
            field("member_type", Int8).since(1),
        ])),
        field("authorized_operations", Int32),
    ])),
]);

pub(in crate::wire) static LIST_CONFIG_RESOURCES: Shape = shape("ListConfigResourcesResponse", 0..=1, 0, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
    field("config_resources", Structs(&[
        field("resource_name", String),
        field("resource_type", Int8).since(1),
    ])),
]);

pub(in crate::wire) static DESCRIBE_TOPIC_PARTITIONS: Shape = shape("DescribeTopicPartitionsResponse", 0..=0, 0, &[
    field("throttle_time_ms", Int32),
    field("topics", Structs(&[
        field("error_code", Int16),
        field("name", String).nullable(),
        field("topic_id", Uuid),
        field("is_internal", Bool),
        field("partitions", Structs(&[
            field("error_code", Int16),
            field("partition_index", Int32),
            field("leader_id", Int32),
            field("leader_epoch", Int32),
            field("replica_nodes", Array(&Int32)),
            field("isr_nodes", Array(&Int32)),
            field("eligible_leader_replicas", Array(&Int32)).nullable(),
            field("last_known_elr", Array(&Int32)).nullable(),
            field("offline_replicas", Array(&Int32)),
        ])),
        field("topic_authorized_operations", Int32),
    ])),
    field("next_cursor", Struct(&[
        field("topic_name", String),
        field("partition_index", Int32),
    ])).nullable(),
]);

pub(in crate::wire) static ADD_RAFT_VOTER: Shape = shape("AddRaftVoterResponse", 0..=1, 0, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
    field("error_message", String).nullable(),
]);

pub(in crate::wire) static REMOVE_RAFT_VOTER: Shape = shape("RemoveRaftVoterResponse", 0..=0, 0, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
    field("error_message", String).nullable(),
]);

pub(in crate::wire) static UPDATE_RAFT_VOTER: Shape = shape("UpdateRaftVoterResponse", 0..=0, 0, &[
    field("throttle_time_ms", Int32),
    field("error_code", Int16),
    field("current_leader", Struct(&[
        field("leader_id", Int32),
        field("leader_epoch", Int32),
        field("host", String),
        field("port", Int32),
    ])).tagged(0),
]);
