//! The gate's account of memory against the structs of the message crate.

use crate::wire::messages::{
    alter_configs_request as alter, alter_configs_response as altered,
    alter_partition_reassignments_request as reassign,
    alter_partition_reassignments_response as reassigned,
    alter_replica_log_dirs_request as dirs_asked, alter_replica_log_dirs_response as dirs,
    api_versions_response as api, create_acls_request as create_acls,
    create_acls_response as created_acls, create_partitions_request as create_partitions,
    create_partitions_response as created_partitions, create_topics_request as create,
    create_topics_response as created, delete_acls_request as delete_acls,
    delete_acls_response as deleted_acls, delete_records_request as delete_records,
    delete_records_response as deleted_records, delete_topics_request as delete,
    delete_topics_response as deleted, describe_acls_response as acls,
    describe_cluster_response as cluster, describe_configs_request as describe,
    describe_configs_response as described, describe_producers_request as producers_asked,
    describe_producers_response as producers, describe_quorum_request as quorum_asked,
    describe_quorum_response as quorum, describe_topic_partitions_request as partitions_asked,
    describe_topic_partitions_response as partitions, elect_leaders_request as elections_asked,
    elect_leaders_response as elections, incremental_alter_configs_request as incremental,
    incremental_alter_configs_response as incremented, list_config_resources_response as resources,
    list_partition_reassignments_request as reassigning_asked,
    list_partition_reassignments_response as reassigning, metadata_request as metadata_asked,
    metadata_response as metadata, offset_for_leader_epoch_request as epochs_asked,
    offset_for_leader_epoch_response as epochs, update_features_request as features_asked,
    update_features_response as features,
};
use crate::wire::shape::{Kind, Shape};
use crate::wire::shapes::{requests, responses};

/// What the gate charges for an element of the array at `path`.
fn charge(shape: &Shape, path: &str) -> usize {
    let mut fields = shape.fields;
    for name in path.split('.') {
        let field = fields.iter().find(|field| field.name == name).unwrap();
        let Kind::Structs(elements) = field.kind else {
            panic!("{path} is no array of structures");
        };
        fields = elements;
    }
    Kind::Struct(fields).memory()
}

#[test]
fn no_struct_of_the_crate_is_larger_than_what_the_gate_charges() {
    macro_rules! check {
        ($($shapes:ident::$shape:ident $path:literal $element:ty,)*) => {
            $(
                let (charged, size) = (charge(&$shapes::$shape, $path), size_of::<$element>());
                let element = stringify!($element);
                assert!(size <= charged, "{element}: {size} bytes, charged {charged}");
                assert!(charged <= 2 * size, "{element}: {size} bytes, charged {charged}");
            )*
        };
    }
    check! {
        requests::METADATA "topics" metadata_asked::MetadataRequestTopic,
        requests::CREATE_TOPICS "topics" create::CreatableTopic,
        requests::CREATE_TOPICS "topics.assignments" create::CreatableReplicaAssignment,
        requests::CREATE_TOPICS "topics.configs" create::CreatableTopicConfig,
        requests::DELETE_TOPICS "topics" delete::DeleteTopicState,
        requests::DELETE_RECORDS "topics" delete_records::DeleteRecordsTopic,
        requests::DELETE_RECORDS "topics.partitions" delete_records::DeleteRecordsPartition,
        requests::OFFSET_FOR_LEADER_EPOCH "topics" epochs_asked::OffsetForLeaderTopic,
        requests::OFFSET_FOR_LEADER_EPOCH "topics.partitions" epochs_asked::OffsetForLeaderPartition,
        requests::DESCRIBE_CONFIGS "resources" describe::DescribeConfigsResource,
        requests::ALTER_CONFIGS "resources" alter::AlterConfigsResource,
        requests::ALTER_CONFIGS "resources.configs" alter::AlterableConfig,
        requests::CREATE_PARTITIONS "topics" create_partitions::CreatePartitionsTopic,
        requests::CREATE_PARTITIONS "topics.assignments" create_partitions::CreatePartitionsAssignment,
        requests::INCREMENTAL_ALTER_CONFIGS "resources" incremental::AlterConfigsResource,
        requests::INCREMENTAL_ALTER_CONFIGS "resources.configs" incremental::AlterableConfig,
        requests::DESCRIBE_PRODUCERS "topics" producers_asked::TopicRequest,
        requests::DESCRIBE_TOPIC_PARTITIONS "topics" partitions_asked::TopicRequest,
        requests::ALTER_REPLICA_LOG_DIRS "dirs" dirs_asked::AlterReplicaLogDir,
        requests::ALTER_REPLICA_LOG_DIRS "dirs.topics" dirs_asked::AlterReplicaLogDirTopic,
        requests::ELECT_LEADERS "topic_partitions" elections_asked::TopicPartitions,
        requests::ALTER_PARTITION_REASSIGNMENTS "topics" reassign::ReassignableTopic,
        requests::ALTER_PARTITION_REASSIGNMENTS "topics.partitions" reassign::ReassignablePartition,
        requests::LIST_PARTITION_REASSIGNMENTS "topics" reassigning_asked::ListPartitionReassignmentsTopics,
        requests::DESCRIBE_QUORUM "topics" quorum_asked::TopicData,
        requests::DESCRIBE_QUORUM "topics.partitions" quorum_asked::PartitionData,
        requests::UPDATE_FEATURES "feature_updates" features_asked::FeatureUpdateKey,
        requests::CREATE_ACLS "creations" create_acls::AclCreation,
        requests::DELETE_ACLS "filters" delete_acls::DeleteAclsFilter,
        responses::METADATA "brokers" metadata::MetadataResponseBroker,
        responses::METADATA "topics" metadata::MetadataResponseTopic,
        responses::METADATA "topics.partitions" metadata::MetadataResponsePartition,
        responses::API_VERSIONS "api_keys" api::ApiVersion,
        responses::API_VERSIONS "supported_features" api::SupportedFeatureKey,
        responses::API_VERSIONS "finalized_features" api::FinalizedFeatureKey,
        responses::CREATE_TOPICS "topics" created::CreatableTopicResult,
        responses::CREATE_TOPICS "topics.configs" created::CreatableTopicConfigs,
        responses::DELETE_TOPICS "responses" deleted::DeletableTopicResult,
        responses::DELETE_RECORDS "topics" deleted_records::DeleteRecordsTopicResult,
        responses::DELETE_RECORDS "topics.partitions" deleted_records::DeleteRecordsPartitionResult,
        responses::OFFSET_FOR_LEADER_EPOCH "topics" epochs::OffsetForLeaderTopicResult,
        responses::OFFSET_FOR_LEADER_EPOCH "topics.partitions" epochs::EpochEndOffset,
        responses::DESCRIBE_CONFIGS "results" described::DescribeConfigsResult,
        responses::DESCRIBE_CONFIGS "results.configs" described::DescribeConfigsResourceResult,
        responses::DESCRIBE_CONFIGS "results.configs.synonyms" described::DescribeConfigsSynonym,
        responses::ALTER_CONFIGS "responses" altered::AlterConfigsResourceResponse,
        responses::CREATE_PARTITIONS "results" created_partitions::CreatePartitionsTopicResult,
        responses::INCREMENTAL_ALTER_CONFIGS "responses" incremented::AlterConfigsResourceResponse,
        responses::UPDATE_FEATURES "results" features::UpdatableFeatureResult,
        responses::DESCRIBE_CLUSTER "brokers" cluster::DescribeClusterBroker,
        responses::DESCRIBE_PRODUCERS "topics" producers::TopicResponse,
        responses::DESCRIBE_PRODUCERS "topics.partitions" producers::PartitionResponse,
        responses::DESCRIBE_PRODUCERS "topics.partitions.active_producers" producers::ProducerState,
        responses::LIST_CONFIG_RESOURCES "config_resources" resources::ConfigResource,
        responses::DESCRIBE_TOPIC_PARTITIONS "topics" partitions::DescribeTopicPartitionsResponseTopic,
        responses::DESCRIBE_TOPIC_PARTITIONS "topics.partitions" partitions::DescribeTopicPartitionsResponsePartition,
        responses::ALTER_REPLICA_LOG_DIRS "results" dirs::AlterReplicaLogDirTopicResult,
        responses::ALTER_REPLICA_LOG_DIRS "results.partitions" dirs::AlterReplicaLogDirPartitionResult,
        responses::ELECT_LEADERS "replica_election_results" elections::ReplicaElectionResult,
        responses::ELECT_LEADERS "replica_election_results.partition_result" elections::PartitionResult,
        responses::ALTER_PARTITION_REASSIGNMENTS "responses" reassigned::ReassignableTopicResponse,
        responses::ALTER_PARTITION_REASSIGNMENTS "responses.partitions" reassigned::ReassignablePartitionResponse,
        responses::LIST_PARTITION_REASSIGNMENTS "topics" reassigning::OngoingTopicReassignment,
        responses::LIST_PARTITION_REASSIGNMENTS "topics.partitions" reassigning::OngoingPartitionReassignment,
        responses::DESCRIBE_ACLS "resources" acls::DescribeAclsResource,
        responses::DESCRIBE_ACLS "resources.acls" acls::AclDescription,
        responses::CREATE_ACLS "results" created_acls::AclCreationResult,
        responses::DELETE_ACLS "filter_results" deleted_acls::DeleteAclsFilterResult,
        responses::DELETE_ACLS "filter_results.matching_acls" deleted_acls::DeleteAclsMatchingAcl,
        responses::DESCRIBE_QUORUM "topics" quorum::TopicData,
        responses::DESCRIBE_QUORUM "topics.partitions" quorum::PartitionData,
        responses::DESCRIBE_QUORUM "topics.partitions.current_voters" quorum::ReplicaState,
        responses::DESCRIBE_QUORUM "nodes" quorum::Node,
        responses::DESCRIBE_QUORUM "nodes.listeners" quorum::Listener,
    }
}
