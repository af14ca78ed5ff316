//! The fields of every served request, by version: a table to read beside the schemas of Apache Kafka 4.3.1.
//!
//! Names are the schema's in Rust's spelling. A nested field carries only those version bounds that its parent does not
//! have already; fields of versions older than the table's first are left out.

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

pub(in crate::wire) static PRODUCE: Shape = shape("ProduceRequest", 3..=13, 9, &[
    field("transactional_id", String).nullable(),
    field("acks", Int16),
    field("timeout_ms", Int32),
    field("topic_data", Structs(&[
        field("name", String).until(12),
        field("topic_id", Uuid).since(13),
        field("partition_data", Structs(&[
            field("index", Int32),
            field("records", Bytes).nullable(),
        ])),
    ])),
]);

pub(in crate::wire) static FETCH: Shape = shape("FetchRequest", 4..=18, 12, &[
    field("cluster_id", String).since(12).nullable().tagged(0),
    field("replica_id", Int32).until(14),
    field("replica_state", Struct(&[
        field("replica_id", Int32),
        field("replica_epoch", Int64),
    ])).since(15).tagged(1),
    field("max_wait_ms", Int32),
    field("min_bytes", Int32),
    field("max_bytes", Int32),
    field("isolation_level", Int8),
    field("session_id", Int32).since(7),
    field("session_epoch", Int32).since(7),
    field("topics", Structs(&[
        field("topic", String).until(12),
        field("topic_id", Uuid).since(13),
        field("partitions", Structs(&[
            field("partition", Int32),
            field("current_leader_epoch", Int32).since(9),
            field("fetch_offset", Int64),
            field("last_fetched_epoch", Int32).since(12),
            field("log_start_offset", Int64).since(5),
            field("partition_max_bytes", Int32),
            field("replica_directory_id", Uuid).since(17).tagged(0),
            field("high_watermark", Int64).since(18).tagged(1),
        ])),
    ])),
    field("forgotten_topics_data", Structs(&[
        field("topic", String).until(12),
        field("topic_id", Uuid).since(13),
        field("partitions", Array(&Int32)),
    ])).since(7),
    field("rack_id", String).since(11),
]);

pub(in crate::wire) static LIST_OFFSETS: Shape = shape("ListOffsetsRequest", 1..=11, 6, &[
    field("replica_id", Int32),
    field("isolation_level", Int8).since(2),
    field("topics", Structs(&[
        field("name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("current_leader_epoch", Int32).since(4),
            field("timestamp", Int64),
        ])),
    ])),
    field("timeout_ms", Int32).since(10),
]);

pub(in crate::wire) static METADATA: Shape = shape("MetadataRequest", 0..=13, 9, &[
    field("topics", Structs(&[
        field("topic_id", Uuid).since(10),
        field("name", String).nullable_since(10),
    ])).nullable_since(1),
    field("allow_auto_topic_creation", Bool).since(4),
    field("include_cluster_authorized_operations", Bool).since(8).until(10),
    field("include_topic_authorized_operations", Bool).since(8),
]);

pub(in crate::wire) static OFFSET_COMMIT: Shape = shape("OffsetCommitRequest", 2..=10, 8, &[
    field("group_id", String),
    field("generation_id_or_member_epoch", Int32),
    field("member_id", String),
    field("group_instance_id", String).since(7).nullable(),
    field("retention_time_ms", Int64).until(4),
    field("topics", Structs(&[
        field("name", String).until(9),
        field("topic_id", Uuid).since(10),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("committed_offset", Int64),
            field("committed_leader_epoch", Int32).since(6),
            field("committed_metadata", String).nullable(),
        ])),
    ])),
]);

pub(in crate::wire) static OFFSET_FETCH: Shape = shape("OffsetFetchRequest", 1..=10, 6, &[
    field("group_id", String).until(7),
    field("topics", Structs(&[
        field("name", String),
        field("partition_indexes", Array(&Int32)),
    ])).until(7).nullable_since(2),
    field("groups", Structs(&[
        field("group_id", String),
        field("member_id", String).since(9).nullable(),
        field("member_epoch", Int32).since(9),
        field("topics", Structs(&[
            field("name", String).until(9),
            field("topic_id", Uuid).since(10),
            field("partition_indexes", Array(&Int32)),
        ])).nullable(),
    ])).since(8),
    field("require_stable", Bool).since(7),
]);

pub(in crate::wire) static FIND_COORDINATOR: Shape = shape("FindCoordinatorRequest", 0..=6, 3, &[
    field("key", String).until(3),
    field("key_type", Int8).since(1),
    field("coordinator_keys", Array(&String)).since(4),
]);

pub(in crate::wire) static JOIN_GROUP: Shape = shape("JoinGroupRequest", 0..=9, 6, &[
    field("group_id", String),
    field("session_timeout_ms", Int32),
    field("rebalance_timeout_ms", Int32).since(1),
    field("member_id", String),
    field("group_instance_id", String).since(5).nullable(),
    field("protocol_type", String),
    field("protocols", Structs(&[
        field("name", String),
        field("metadata", Bytes),
    ])),
    field("reason", String).since(8).nullable(),
]);

pub(in crate::wire) static HEARTBEAT: Shape = shape("HeartbeatRequest", 0..=4, 4, &[
    field("group_id", String),
    field("generation_id", Int32),
    field("member_id", String),
    field("group_instance_id", String).since(3).nullable(),
]);

pub(in crate::wire) static LEAVE_GROUP: Shape = shape("LeaveGroupRequest", 0..=5, 4, &[
    field("group_id", String),
    field("member_id", String).until(2),
    field("members", Structs(&[
        field("member_id", String),
        field("group_instance_id", String).nullable(),
        field("reason", String).since(5).nullable(),
    ])).since(3),
]);

pub(in crate::wire) static SYNC_GROUP: Shape = shape("SyncGroupRequest", 0..=5, 4, &[
    field("group_id", String),
    field("generation_id", Int32),
    field("member_id", String),
    field("group_instance_id", String).since(3).nullable(),
    field("protocol_type", String).since(5).nullable(),
    field("protocol_name", String).since(5).nullable(),
    field("assignments", Structs(&[
        field("member_id", String),
        field("assignment", Bytes),
    ])),
]);

pub(in crate::wire) static DESCRIBE_GROUPS: Shape = shape("DescribeGroupsRequest", 0..=6, 5, &[
    field("groups", Array(&String)),
    field("include_authorized_operations", Bool).since(3),
]);

pub(in crate::wire) static LIST_GROUPS: Shape = shape("ListGroupsRequest", 0..=5, 3, &[
    field("states_filter", Array(&String)).since(4),
    field("types_filter", Array(&String)).since(5),
]);

pub(in crate::wire) static API_VERSIONS: Shape = shape("ApiVersionsRequest", 0..=4, 3, &[
    field("client_software_name", String).since(3),
    field("client_software_version", String).since(3),
]);

pub(in crate::wire) static CREATE_TOPICS: Shape = shape("CreateTopicsRequest", 2..=7, 5, &[
    field("topics", Structs(&[
        field("name", String),
        field("num_partitions", Int32),
        field("replication_factor", Int16),
        field("assignments", Structs(&[
            field("partition_index", Int32),
            field("broker_ids", Array(&Int32)),
        ])),
        field("configs", Structs(&[
            field("name", String),
            field("value", String).nullable(),
        ])),
    ])),
    field("timeout_ms", Int32),
    field("validate_only", Bool),
]);

pub(in crate::wire) static DELETE_TOPICS: Shape = shape("DeleteTopicsRequest", 1..=6, 4, &[
    field("topics", Structs(&[
        field("name", String).nullable(),
        field("topic_id", Uuid),
    ])).since(6),
    field("topic_names", Array(&String)).until(5),
    field("timeout_ms", Int32),
]);

pub(in crate::wire) static DELETE_RECORDS: Shape = shape("DeleteRecordsRequest", 0..=2, 2, &[
    field("topics", Structs(&[
        field("name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("offset", Int64),
        ])),
    ])),
    field("timeout_ms", Int32),
]);

pub(in crate::wire) static INIT_PRODUCER_ID: Shape = shape("InitProducerIdRequest", 0..=5, 2, &[
    field("transactional_id", String).nullable(),
    field("transaction_timeout_ms", Int32),
    field("producer_id", Int64).since(3),
    field("producer_epoch", Int16).since(3),
]);

pub(in crate::wire) static OFFSET_FOR_LEADER_EPOCH: Shape = shape("OffsetForLeaderEpochRequest", 2..=4, 4, &[
    field("replica_id", Int32).since(3),
    field("topics", Structs(&[
        field("topic", String),
        field("partitions", Structs(&[
            field("partition", Int32),
            field("current_leader_epoch", Int32),
            field("leader_epoch", Int32),
        ])),
    ])),
]);

pub(in crate::wire) static ADD_PARTITIONS_TO_TXN: Shape = shape("AddPartitionsToTxnRequest", 0..=5, 3, &[
    field("transactions", Structs(&[
        field("transactional_id", String),
        field("producer_id", Int64),
        field("producer_epoch", Int16),
        field("verify_only", Bool),
        field("topics", Structs(&[
            field("name", String),
            field("partitions", Array(&Int32)),
        ])),
    ])).since(4),
    field("v3_and_below_transactional_id", String).until(3),
    field("v3_and_below_producer_id", Int64).until(3),
    field("v3_and_below_producer_epoch", Int16).until(3),
    field("v3_and_below_topics", Structs(&[
        field("name", String),
        field("partitions", Array(&Int32)),
    ])).until(3),
]);

pub(in crate::wire) static ADD_OFFSETS_TO_TXN: Shape = shape("AddOffsetsToTxnRequest", 0..=4, 3, &[
    field("transactional_id", String),
    field("producer_id", Int64),
    field("producer_epoch", Int16),
    field("group_id", String),
]);

pub(in crate::wire) static END_TXN: Shape = shape("EndTxnRequest", 0..=5, 3, &[
    field("transactional_id", String),
    field("producer_id", Int64),
    field("producer_epoch", Int16),
    field("committed", Bool),
]);

pub(in crate::wire) static WRITE_TXN_MARKERS: Shape = shape("WriteTxnMarkersRequest", 1..=2, 1, &[
    field("markers", Structs(&[
        field("producer_id", Int64),
        field("producer_epoch", Int16),
        field("transaction_result", Bool),
        field("topics", Structs(&[
            field("name", String),
            field("partition_indexes", Array(&Int32)),
        ])),
        field("coordinator_epoch", Int32),
        field("transaction_version", Int8).since(2),
    ])),
]);

pub(in crate::wire) static TXN_OFFSET_COMMIT: Shape = shape("TxnOffsetCommitRequest", 0..=5, 3, &[
    field("transactional_id", String),
    field("group_id", String),
    field("producer_id", Int64),
    field("producer_epoch", Int16),
    field("generation_id", Int32).since(3),
    field("member_id", String).since(3),
    field("group_instance_id", String).since(3).nullable(),
    field("topics", Structs(&[
        field("name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("committed_offset", Int64),
            field("committed_leader_epoch", Int32).since(2),
            field("committed_metadata", String).nullable(),
        ])),
    ])),
]);

pub(in crate::wire) static DESCRIBE_ACLS: Shape = shape("DescribeAclsRequest", 1..=3, 2, &[
    field("resource_type_filter", Int8),
    field("resource_name_filter", String).nullable(),
    field("pattern_type_filter", Int8),
    field("principal_filter", String).nullable(),
    field("host_filter", String).nullable(),
    field("operation", Int8),
    field("permission_type", Int8),
]);

pub(in crate::wire) static CREATE_ACLS: Shape = shape("CreateAclsRequest", 1..=3, 2, &[
    field("creations", Structs(&[
        field("resource_type", Int8),
        field("resource_name", String),
        field("resource_pattern_type", Int8),
        field("principal", String),
        field("host", String),
        field("operation", Int8),
        field("permission_type", Int8),
    ])),
]);

pub(in crate::wire) static DELETE_ACLS: Shape = shape("DeleteAclsRequest", 1..=3, 2, &[
    field("filters", Structs(&[
        field("resource_type_filter", Int8),
        field("resource_name_filter", String).nullable(),
        field("pattern_type_filter", Int8),
        field("principal_filter", String).nullable(),
        field("host_filter", String).nullable(),
        field("operation", Int8),
        field("permission_type", Int8),
    ])),
]);

pub(in crate::wire) static DESCRIBE_CONFIGS: Shape = shape("DescribeConfigsRequest", 1..=4, 4, &[
    field("resources", Structs(&[
        field("resource_type", Int8),
        field("resource_name", String),
        field("configuration_keys", Array(&String)).nullable(),
    ])),
    field("include_synonyms", Bool),
    field("include_documentation", Bool).since(3),
]);

pub(in crate::wire) static ALTER_CONFIGS: Shape = shape("AlterConfigsRequest", 0..=2, 2, &[
    field("resources", Structs(&[
        field("resource_type", Int8),
        field("resource_name", String),
        field("configs", Structs(&[
            field("name", String),
            field("value", String).nullable(),
        ])),
    ])),
    field("validate_only", Bool),
]);

pub(in crate::wire) static ALTER_REPLICA_LOG_DIRS: Shape = shape("AlterReplicaLogDirsRequest", 1..=2, 2, &[
    field("dirs", Structs(&[
        field("path", String),
        field("topics", Structs(&[
            field("name", String),
            field("partitions", Array(&Int32)),
        ])),
    ])),
]);

pub(in crate::wire) static DESCRIBE_LOG_DIRS: Shape = shape("DescribeLogDirsRequest", 1..=5, 2, &[
    field("topics", Structs(&[
        field("topic", String),
        field("partitions", Array(&Int32)),
    ])).nullable(),
]);

pub(in crate::wire) static CREATE_PARTITIONS: Shape = shape("CreatePartitionsRequest", 0..=3, 2, &[
    field("topics", Structs(&[
        field("name", String),
        field("count", Int32),
        field("assignments", Structs(&[
            field("broker_ids", Array(&Int32)),
        ])).nullable(),
    ])),
    field("timeout_ms", Int32),
    field("validate_only", Bool),
]);

pub(in crate::wire) static DELETE_GROUPS: Shape = shape("DeleteGroupsRequest", 0..=2, 2, &[
    field("groups_names", Array(&String)),
]);

pub(in crate::wire) static ELECT_LEADERS: Shape = shape("ElectLeadersRequest", 0..=2, 2, &[
    field("election_type", Int8).since(1),
    field("topic_partitions", Structs(&[
        field("topic", String),
        field("partitions", Array(&Int32)),
    ])).nullable(),
    field("timeout_ms", Int32),
]);

pub(in crate::wire) static INCREMENTAL_ALTER_CONFIGS: Shape = shape("IncrementalAlterConfigsRequest", 0..=1, 1, &[
    field("resources", Structs(&[
        field("resource_type", Int8),
        field("resource_name", String),
        field("configs", Structs(&[
            field("name", String),
            field("config_operation", Int8),
            field("value", String).nullable(),
        ])),
    ])),
    field("validate_only", Bool),
]);

pub(in crate::wire) static ALTER_PARTITION_REASSIGNMENTS: Shape = shape("AlterPartitionReassignmentsRequest", 0..=1, 0, &[
    field("timeout_ms", Int32),
    field("allow_replication_factor_change", Bool).since(1),
    field("topics", Structs(&[
        field("name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
            field("replicas", Array(&Int32)).nullable(),
        ])),
    ])),
]);

pub(in crate::wire) static LIST_PARTITION_REASSIGNMENTS: Shape = shape("ListPartitionReassignmentsRequest", 0..=0, 0, &[
    field("timeout_ms", Int32),
    field("topics", Structs(&[
        field("name", String),
        field("partition_indexes", Array(&Int32)),
    ])).nullable(),
]);

pub(in crate::wire) static OFFSET_DELETE: Shape = shape("OffsetDeleteRequest", 0..=0, NEVER, &[
    field("group_id", String),
    field("topics", Structs(&[
        field("name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
        ])),
    ])),
]);

pub(in crate::wire) static DESCRIBE_QUORUM: Shape = shape("DescribeQuorumRequest", 0..=2, 0, &[
    field("topics", Structs(&[
        field("topic_name", String),
        field("partitions", Structs(&[
            field("partition_index", Int32),
        ])),
    ])),
]);

pub(in crate::wire) static UPDATE_FEATURES: Shape = shape("UpdateFeaturesRequest", 0..=2, 0, &[
    field("timeout_ms", Int32),
    field("feature_updates", Structs(&[
        field("feature", String),
        field("max_version_level", Int16),
        field("allow_downgrade", Bool).until(0),
        field("upgrade_type", Int8).since(1),
    ])),
    field("validate_only", Bool).since(1),
]);

pub(in crate::wire) static DESCRIBE_CLUSTER: Shape = shape("DescribeClusterRequest", 0..=2, 0, &[
    field("include_cluster_authorized_operations", Bool),
    field("endpoint_type", Int8).since(1),
    field("include_fenced_brokers", Bool).since(2),
]);

pub(in crate::wire) static DESCRIBE_PRODUCERS: Shape = shape("DescribeProducersRequest", 0..=0, 0, &[
    field("topics", Structs(&[
        field("name", String),
        field("partition_indexes", Array(&Int32)),
    ])),
]);

pub(in crate::wire) static UNREGISTER_BROKER: Shape = shape("UnregisterBrokerRequest", 0..=0, 0, &[
    field("broker_id", Int32),
]);

pub(in crate::wire) static DESCRIBE_TRANSACTIONS: Shape = shape("DescribeTransactionsRequest", 0..=0, 0, &[
    field("transactional_ids", Array(&String)),
]);

pub(in crate::wire) static LIST_TRANSACTIONS: Shape = shape("ListTransactionsRequest", 0..=2, 0, &[
    field("state_filters", Array(&String)),
    field("producer_id_filters", Array(&Int64)),
    field("duration_filter", Int64).since(1),
    field("transactional_id_pattern", String).since(2).nullable(),
]);

pub(in crate::wire) static CONSUMER_GROUP_HEARTBEAT: Shape = shape("ConsumerGroupHeartbeatRequest", 0..=1, 0, &[
    field("group_id", String),
    field("member_id", String),
    field("member_epoch", Int32),
    field("instance_id", String).nullable(),
    field("rack_id", String).nullable(),
    field("rebalance_timeout_ms", Int32),
    field("subscribed_topic_names", Array(&String)).nullable(),
    field("subscribed_topic_regex", String).since(1).nullable(),
    field("server_assignor", String).nullable(),
    field("topic_partitions", Structs(&[
        field("topic_id", Uuid),
        field("partitions", Array(&Int32)),
    ])).nullable(),
]);

pub(in crate::wire) static CONSUMER_GROUP_DESCRIBE: Shape = shape("ConsumerGroupDescribeRequest", 0..=1, 0, &[
    field("group_ids", Array(&String)),
    field("include_authorized_operations", Bool),
]);

pub(in crate::wire) static LIST_CONFIG_RESOURCES: Shape = shape("ListConfigResourcesRequest", 0..=1, 0, &[
    field("resource_types", Array(&Int8)).since(1),
]);

pub(in crate::wire) static DESCRIBE_TOPIC_PARTITIONS: Shape = shape("DescribeTopicPartitionsRequest", 0..=0, 0, &[
    field("topics", Structs(&[
        field("name", String),
    ])),
    field("response_partition_limit", Int32),
    field("cursor", Struct(&[
        field("topic_name", String),
        field("partition_index", Int32),
    ])).nullable(),
]);

/// Where a controller listens, also in the answer to DescribeQuorum.
pub(super) const CONTROLLER_LISTENER: &[Field] =
    &[field("name", String), field("host", String), field("port", Int16)];

pub(in crate::wire) static ADD_RAFT_VOTER: Shape = shape("AddRaftVoterRequest", 0..=1, 0, &[
    field("cluster_id", String).nullable(),
    field("timeout_ms", Int32),
    field("voter_id", Int32),
    field("voter_directory_id", Uuid),
    field("listeners", Structs(CONTROLLER_LISTENER)),
    field("ack_when_committed", Bool).since(1),
]);

pub(in crate::wire) static REMOVE_RAFT_VOTER: Shape = shape("RemoveRaftVoterRequest", 0..=0, 0, &[
    field("cluster_id", String).nullable(),
    field("voter_id", Int32),
    field("voter_directory_id", Uuid),
]);

pub(in crate::wire) static UPDATE_RAFT_VOTER: Shape = shape("UpdateRaftVoterRequest", 0..=0, 0, &[
    field("cluster_id", String).nullable(),
    field("current_leader_epoch", Int32),
    field("voter_id", Int32),
    field("voter_directory_id", Uuid),
    field("listeners", Structs(CONTROLLER_LISTENER)),
    field("k_raft_version_feature", Struct(&[
        field("min_supported_version", Int16),
        field("max_supported_version", Int16),
    ])),
]);
