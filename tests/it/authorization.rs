//! Which operation on which resource each API asks for, and what it answers where that is denied.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use ottla::api::{Authorizer, Operation, Resource};
use ottla::model::{BrokerId, ErrorCode, LeaderEpoch, PartitionId, TopicId};
use ottla::wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use ottla::wire::messages::{
    AlterConfigsRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest,
    ApiVersionsRequest, ConsumerGroupDescribeRequest, CreateAclsRequest, CreatePartitionsRequest,
    DeleteAclsRequest, DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    DescribeAclsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest,
    DescribeProducersRequest, DescribeQuorumRequest, DescribeTopicPartitionsRequest,
    ElectLeadersRequest, FindCoordinatorRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, ListConfigResourcesRequest, ListGroupsRequest,
    ListPartitionReassignmentsRequest, OffsetForLeaderEpochRequest, RemoveRaftVoterRequest,
    UnregisterBrokerRequest, UpdateFeaturesRequest, WireTransactionalId, alter_configs_request,
    alter_replica_log_dirs_request, create_acls_request, create_partitions_request,
    delete_acls_request, delete_records_request, delete_topics_request, describe_configs_request,
    describe_producers_request, describe_topic_partitions_request, elect_leaders_request,
    incremental_alter_configs_request, offset_for_leader_epoch_request,
};
use ottla::wire::{
    AddRaftVoterRequest, ApiEntry, ApiKey, DescribeLogDirsRequest, ListOffsetsRequest, Text,
    WriteTxnMarkersRequest,
};

use crate::exactly_once;
use crate::groups::{
    commit, consumer, find, group, heartbeat, joined, leave, offset_deletion, offsets, sync,
};
use crate::rig::{Client, DATA, Rig, batch, creation, fetch, produce, wire_name};

/// An operation and the kind of resource it is on.
type Asked = (Operation, &'static str);

/// The same, and the code of the answer if it is denied.
type Denial = (Operation, &'static str, Option<i16>);

/// Denies one thing, and remembers everything that it is asked.
#[derive(Debug, Default)]
struct Guard {
    denied: Mutex<Option<Asked>>,
    asked: Mutex<BTreeSet<Asked>>,
}

impl Authorizer for Guard {
    fn allows(&self, principal: &str, operation: Operation, resource: Resource<'_>) -> bool {
        assert_eq!(principal, "User:ANONYMOUS");
        let asked = (operation, kind(resource));
        self.asked.lock().unwrap().insert(asked);
        *self.denied.lock().unwrap() != Some(asked)
    }
}

fn kind(resource: Resource<'_>) -> &'static str {
    match resource {
        Resource::Topic(_) => "topic",
        Resource::Group(_) => "group",
        Resource::TransactionalId(_) => "transactional id",
        Resource::Cluster => "cluster",
    }
}

const TOPIC: i16 = 29;
const CLUSTER: i16 = 31;
const GROUP: i16 = 30;
const TRANSACTIONAL_ID: i16 = 53;

/// What a request of each API asks: the operation, the kind of resource, and the code that its answer has if that is denied
/// (none if something is left out of it).
fn table() -> Vec<(ApiKey, Vec<Denial>)> {
    use Operation as O;
    let on_topics = [
        O::Read,
        O::Write,
        O::Create,
        O::Delete,
        O::Alter,
        O::Describe,
        O::DescribeConfigs,
        O::AlterConfigs,
    ];
    let one = |operation, kind, code| vec![(operation, kind, Some(code))];
    vec![
        (ApiKey::ApiVersions, vec![]),
        (ApiKey::Produce, one(O::Write, "topic", TOPIC)),
        (ApiKey::Fetch, one(O::Read, "topic", TOPIC)),
        (ApiKey::ListOffsets, one(O::Describe, "topic", TOPIC)),
        (ApiKey::Metadata, one(O::Describe, "topic", TOPIC)),
        // Either will do: on the cluster, or on the topic.
        (
            ApiKey::CreateTopics,
            vec![(O::Create, "cluster", None), (O::DescribeConfigs, "topic", None)],
        ),
        (
            ApiKey::FindCoordinator,
            vec![
                (O::Describe, "group", Some(GROUP)),
                (O::Describe, "transactional id", Some(TRANSACTIONAL_ID)),
            ],
        ),
        (ApiKey::JoinGroup, one(O::Read, "group", GROUP)),
        (ApiKey::SyncGroup, one(O::Read, "group", GROUP)),
        (ApiKey::Heartbeat, one(O::Read, "group", GROUP)),
        (ApiKey::LeaveGroup, one(O::Read, "group", GROUP)),
        (
            ApiKey::OffsetCommit,
            vec![(O::Read, "group", Some(GROUP)), (O::Read, "topic", Some(TOPIC))],
        ),
        (
            ApiKey::OffsetFetch,
            vec![(O::Describe, "group", Some(GROUP)), (O::Describe, "topic", Some(TOPIC))],
        ),
        (
            ApiKey::OffsetDelete,
            vec![(O::Delete, "group", Some(GROUP)), (O::Read, "topic", Some(TOPIC))],
        ),
        (ApiKey::DescribeGroups, one(O::Describe, "group", GROUP)),
        // Without the right on the cluster it lists the groups that the client may know of.
        (ApiKey::ListGroups, vec![(O::Describe, "cluster", None)]),
        (ApiKey::DeleteGroups, one(O::Delete, "group", GROUP)),
        (
            ApiKey::ConsumerGroupHeartbeat,
            vec![(O::Read, "group", Some(GROUP)), (O::Describe, "topic", Some(TOPIC))],
        ),
        // The topics that are assigned in it must be visible, too.
        (
            ApiKey::ConsumerGroupDescribe,
            vec![(O::Describe, "group", Some(GROUP)), (O::Describe, "topic", Some(TOPIC))],
        ),
        (ApiKey::DeleteTopics, one(O::Delete, "topic", TOPIC)),
        (ApiKey::DeleteRecords, one(O::Delete, "topic", TOPIC)),
        (
            ApiKey::InitProducerId,
            vec![
                (O::IdempotentWrite, "cluster", Some(CLUSTER)),
                (O::Write, "transactional id", Some(TRANSACTIONAL_ID)),
            ],
        ),
        (
            ApiKey::AddPartitionsToTxn,
            vec![
                (O::Write, "transactional id", Some(TRANSACTIONAL_ID)),
                (O::Write, "topic", Some(TOPIC)),
            ],
        ),
        (
            ApiKey::AddOffsetsToTxn,
            vec![
                (O::Write, "transactional id", Some(TRANSACTIONAL_ID)),
                (O::Read, "group", Some(GROUP)),
            ],
        ),
        (ApiKey::EndTxn, one(O::Write, "transactional id", TRANSACTIONAL_ID)),
        // Either right on the cluster is enough.
        (ApiKey::WriteTxnMarkers, vec![(O::Alter, "cluster", None)]),
        (
            ApiKey::TxnOffsetCommit,
            vec![
                (O::Write, "transactional id", Some(TRANSACTIONAL_ID)),
                (O::Read, "group", Some(GROUP)),
                (O::Read, "topic", Some(TOPIC)),
            ],
        ),
        (ApiKey::DescribeTransactions, one(O::Describe, "transactional id", TRANSACTIONAL_ID)),
        // It lists those that the client may know of.
        (ApiKey::ListTransactions, vec![(O::Describe, "transactional id", None)]),
        (ApiKey::OffsetForLeaderEpoch, one(O::Describe, "topic", TOPIC)),
        (
            ApiKey::DescribeConfigs,
            vec![
                (O::DescribeConfigs, "topic", Some(TOPIC)),
                (O::DescribeConfigs, "cluster", Some(CLUSTER)),
                (O::DescribeConfigs, "group", Some(GROUP)),
            ],
        ),
        (
            ApiKey::AlterConfigs,
            vec![
                (O::AlterConfigs, "topic", Some(TOPIC)),
                (O::AlterConfigs, "cluster", Some(CLUSTER)),
                (O::AlterConfigs, "group", Some(GROUP)),
            ],
        ),
        (
            ApiKey::IncrementalAlterConfigs,
            vec![
                (O::AlterConfigs, "topic", Some(TOPIC)),
                (O::AlterConfigs, "cluster", Some(CLUSTER)),
                (O::AlterConfigs, "group", Some(GROUP)),
            ],
        ),
        (ApiKey::DescribeAcls, one(O::Describe, "cluster", CLUSTER)),
        (ApiKey::CreateAcls, one(O::Alter, "cluster", CLUSTER)),
        (ApiKey::DeleteAcls, one(O::Alter, "cluster", CLUSTER)),
        (ApiKey::AlterReplicaLogDirs, one(O::Alter, "cluster", CLUSTER)),
        (ApiKey::DescribeLogDirs, one(O::Describe, "cluster", CLUSTER)),
        (ApiKey::ElectLeaders, one(O::Alter, "cluster", CLUSTER)),
        (ApiKey::AlterPartitionReassignments, one(O::Alter, "cluster", CLUSTER)),
        (ApiKey::ListPartitionReassignments, one(O::Describe, "cluster", CLUSTER)),
        (ApiKey::DescribeQuorum, one(O::Describe, "cluster", CLUSTER)),
        (ApiKey::UnregisterBroker, one(O::Alter, "cluster", CLUSTER)),
        (ApiKey::AddRaftVoter, one(O::Alter, "cluster", CLUSTER)),
        (ApiKey::RemoveRaftVoter, one(O::Alter, "cluster", CLUSTER)),
        (ApiKey::UpdateFeatures, one(O::Alter, "cluster", CLUSTER)),
        (ApiKey::CreatePartitions, one(O::Alter, "topic", TOPIC)),
        (ApiKey::DescribeCluster, vec![]),
        (ApiKey::DescribeProducers, one(O::Read, "topic", TOPIC)),
        (ApiKey::ListConfigResources, one(O::DescribeConfigs, "cluster", CLUSTER)),
        // It tells which operations are allowed on each topic.
        (
            ApiKey::DescribeTopicPartitions,
            on_topics.map(|operation| (operation, "topic", None)).to_vec(),
        ),
    ]
}

/// Access control says that it is disabled to whoever may ask.
const fn unless_disabled(code: i16) -> i16 {
    if code == ErrorCode::SecurityDisabled.code() { 0 } else { code }
}

/// A broker that nobody knows is said to be unknown to whoever may ask.
const fn unless_unknown(code: i16) -> i16 {
    if code == ErrorCode::BrokerIdNotRegistered.code() { 0 } else { code }
}

/// A voter that there cannot be is refused for that to whoever may ask.
const fn unless_invalid(code: i16) -> i16 {
    if code == ErrorCode::InvalidRequest.code() { 0 } else { code }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "APIs that are not served")]
/// Sends a request of an API about topic `t` and gives all error codes of its answer.
async fn codes(client: &mut Client, key: ApiKey, producer: (i64, i16)) -> Vec<i16> {
    let name = wire_name("t");
    match key {
        ApiKey::ApiVersions => {
            let mut request = ApiVersionsRequest::default();
            request.client_software_name = Text::from_static_str("test");
            request.client_software_version = Text::from_static_str("1");
            vec![client.call(3, &request).await.error_code]
        }
        ApiKey::Produce => {
            let response = client.call(12, &produce("t", 0, batch(&["x"]))).await;
            vec![response.topics[0].partitions[0].error_code.code()]
        }
        ApiKey::Fetch => {
            let response = client.call(12, &fetch("t", &[(0, 0)])).await;
            vec![response.topics[0].partitions[0].error_code.code()]
        }
        ApiKey::ListOffsets => {
            let partition = ListOffsetsPartition {
                partition_index: PartitionId(0),
                current_leader_epoch: LeaderEpoch::UNKNOWN,
                timestamp: -1,
            };
            let request = ListOffsetsRequest {
                replica_id: BrokerId(-1),
                isolation_level: 0,
                topics: vec![ListOffsetsTopic {
                    name: Text::from_static_str("t"),
                    partitions: vec![partition],
                }],
                timeout_ms: 0,
            };
            vec![client.call(9, &request).await.topics[0].partitions[0].error_code.code()]
        }
        ApiKey::Metadata => vec![client.metadata(&["t"]).await.topics[0].error_code],
        ApiKey::CreateTopics => {
            let mut request = creation("new", 1, &[]);
            request.validate_only = true;
            vec![client.call(7, &request).await.topics[0].error_code]
        }
        ApiKey::FindCoordinator => {
            let mut request = FindCoordinatorRequest::default();
            request.coordinator_keys = vec![Text::from_static_str("g")];
            let group = client.call(4, &request).await.coordinators[0].error_code;
            request.key_type = 1;
            vec![group, client.call(4, &request).await.coordinators[0].error_code]
        }
        ApiKey::AddPartitionsToTxn
        | ApiKey::AddOffsetsToTxn
        | ApiKey::EndTxn
        | ApiKey::TxnOffsetCommit
        | ApiKey::DescribeTransactions
        | ApiKey::ListTransactions => exactly_once::codes(client, key, producer).await,
        ApiKey::WriteTxnMarkers => {
            let request = WriteTxnMarkersRequest { markers: Vec::new() };
            assert_eq!(client.call(2, &request).await.markers, []);
            vec![0]
        }
        ApiKey::JoinGroup => vec![joined(client, "g", 3).await.error_code],
        ApiKey::SyncGroup | ApiKey::Heartbeat | ApiKey::LeaveGroup => {
            // A group of its own, so that it has one member.
            let name = format!("{key}");
            let member = joined(client, &name, 3).await;
            let synced = client.call(3, &sync(&name, &member, &[])).await.error_code;
            let alive = client.call(3, &heartbeat(&name, &member)).await.error_code;
            let left = client.call(2, &leave(&name, &member.member_id, 2)).await.error_code;
            vec![synced, alive, left]
        }
        ApiKey::OffsetCommit => {
            let response = client.call(9, &commit("idle", "t", TopicId::ZERO)).await;
            vec![response.topics[0].partitions[0].error_code.code()]
        }
        ApiKey::OffsetFetch => {
            let topic = Some(("t", TopicId::ZERO));
            let response = client.call(9, &offsets("idle", topic, 9)).await;
            let group = &response.groups[0];
            let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
            let codes = partitions.map(|partition| partition.error_code.code());
            codes.chain([group.error_code.code()]).collect()
        }
        ApiKey::OffsetDelete => {
            let response = client.call(0, &offset_deletion("idle", "t")).await;
            let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
            let codes = partitions.map(|partition| partition.error_code);
            codes.chain([response.error_code]).collect()
        }
        ApiKey::DescribeGroups => {
            let mut request = DescribeGroupsRequest::default();
            request.groups = vec![group("g")];
            vec![client.call(5, &request).await.groups[0].error_code]
        }
        ApiKey::ListGroups => {
            let response = client.call(5, &ListGroupsRequest::default()).await;
            assert!(response.groups.iter().any(|listed| &*listed.group_id.0 == "idle"));
            vec![response.error_code]
        }
        ApiKey::DeleteGroups => {
            let mut request = DeleteGroupsRequest::default();
            request.groups_names = vec![group("idle")];
            vec![client.call(2, &request).await.results[0].error_code]
        }
        ApiKey::ConsumerGroupHeartbeat => {
            vec![client.call(1, &consumer("new", "m", 0)).await.error_code]
        }
        ApiKey::ConsumerGroupDescribe => {
            let mut request = ConsumerGroupDescribeRequest::default();
            request.group_ids = vec![group("assigned")];
            vec![client.call(1, &request).await.groups[0].error_code]
        }
        ApiKey::DeleteTopics => {
            let mut topic = delete_topics_request::DeleteTopicState::default();
            topic.name = Some(name);
            let mut request = DeleteTopicsRequest::default();
            request.topics = vec![topic];
            vec![client.call(6, &request).await.responses[0].error_code]
        }
        ApiKey::DeleteRecords => {
            let mut topic = delete_records_request::DeleteRecordsTopic::default();
            (topic.name, topic.partitions) = (name, vec![Default::default()]);
            let mut request = DeleteRecordsRequest::default();
            request.topics = vec![topic];
            vec![client.call(2, &request).await.topics[0].partitions[0].error_code]
        }
        ApiKey::InitProducerId => {
            let mut request = InitProducerIdRequest::default();
            request.transactional_id = None;
            (request.producer_id.0, request.producer_epoch) = (-1, -1);
            let idempotent = client.call(5, &request).await.error_code;
            request.transactional_id = Some(WireTransactionalId(Text::from_static_str("tx")));
            request.transaction_timeout_ms = 60_000;
            vec![idempotent, client.call(5, &request).await.error_code]
        }
        ApiKey::OffsetForLeaderEpoch => {
            let mut topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default();
            (topic.topic, topic.partitions) = (name, vec![Default::default()]);
            let mut request = OffsetForLeaderEpochRequest::default();
            request.topics = vec![topic];
            vec![client.call(4, &request).await.topics[0].partitions[0].error_code]
        }
        ApiKey::DescribeConfigs => {
            let resource = |(kind, name): &(i8, &'static str)| {
                let mut resource = describe_configs_request::DescribeConfigsResource::default();
                resource.resource_type = *kind;
                resource.resource_name = Text::from_static_str(name);
                resource
            };
            let mut request = DescribeConfigsRequest::default();
            request.resources = RESOURCES.iter().map(resource).collect();
            client.call(4, &request).await.results.iter().map(|result| result.error_code).collect()
        }
        ApiKey::AlterConfigs => {
            let resource = |(kind, name): &(i8, &'static str)| {
                let mut resource = alter_configs_request::AlterConfigsResource::default();
                resource.resource_type = *kind;
                resource.resource_name = Text::from_static_str(name);
                resource
            };
            let mut request = AlterConfigsRequest::default();
            request.resources = RESOURCES.iter().map(resource).collect();
            let response = client.call(2, &request).await;
            response.responses.iter().map(|result| result.error_code).collect()
        }
        ApiKey::IncrementalAlterConfigs => {
            let resource = |(kind, name): &(i8, &'static str)| {
                let mut resource =
                    incremental_alter_configs_request::AlterConfigsResource::default();
                resource.resource_type = *kind;
                resource.resource_name = Text::from_static_str(name);
                resource
            };
            let mut request = IncrementalAlterConfigsRequest::default();
            request.resources = RESOURCES.iter().map(resource).collect();
            let response = client.call(1, &request).await;
            response.responses.iter().map(|result| result.error_code).collect()
        }
        ApiKey::DescribeLogDirs => {
            vec![client.call(4, &DescribeLogDirsRequest { topics: None }).await.error_code.code()]
        }
        ApiKey::DescribeAcls => {
            let code = client.call(3, &DescribeAclsRequest::default()).await.error_code;
            vec![unless_disabled(code)]
        }
        ApiKey::CreateAcls => {
            let mut request = CreateAclsRequest::default();
            request.creations = vec![create_acls_request::AclCreation::default()];
            vec![unless_disabled(client.call(3, &request).await.results[0].error_code)]
        }
        ApiKey::DeleteAcls => {
            let mut request = DeleteAclsRequest::default();
            request.filters = vec![delete_acls_request::DeleteAclsFilter::default()];
            vec![unless_disabled(client.call(3, &request).await.filter_results[0].error_code)]
        }
        ApiKey::AlterReplicaLogDirs => {
            let mut topic = alter_replica_log_dirs_request::AlterReplicaLogDirTopic::default();
            (topic.name, topic.partitions) = (name, vec![0]);
            let mut dir = alter_replica_log_dirs_request::AlterReplicaLogDir::default();
            (dir.path, dir.topics) = (Text::from_static_str(DATA), vec![topic]);
            let mut request = AlterReplicaLogDirsRequest::default();
            request.dirs = vec![dir];
            vec![client.call(2, &request).await.results[0].partitions[0].error_code]
        }
        ApiKey::ElectLeaders => {
            let mut topic = elect_leaders_request::TopicPartitions::default();
            (topic.topic, topic.partitions) = (name, vec![0]);
            let mut request = ElectLeadersRequest::default();
            request.topic_partitions = Some(vec![topic]);
            vec![client.call(2, &request).await.error_code]
        }
        ApiKey::AlterPartitionReassignments => {
            vec![client.call(1, &AlterPartitionReassignmentsRequest::default()).await.error_code]
        }
        ApiKey::ListPartitionReassignments => {
            vec![client.call(0, &ListPartitionReassignmentsRequest::default()).await.error_code]
        }
        ApiKey::DescribeQuorum => {
            vec![client.call(2, &DescribeQuorumRequest::default()).await.error_code]
        }
        ApiKey::AddRaftVoter => {
            let request = AddRaftVoterRequest {
                cluster_id: None,
                timeout_ms: 0,
                voter_id: BrokerId(9),
                voter_directory_id: uuid::Uuid::nil(),
                listeners: Vec::new(),
                ack_when_committed: true,
            };
            vec![unless_invalid(client.call(1, &request).await.error_code.code())]
        }
        ApiKey::RemoveRaftVoter => {
            let mut request = RemoveRaftVoterRequest::default();
            request.cluster_id = None;
            vec![unless_invalid(client.call(0, &request).await.error_code)]
        }
        ApiKey::UnregisterBroker => {
            let mut request = UnregisterBrokerRequest::default();
            request.broker_id.0 = 99;
            vec![unless_unknown(client.call(0, &request).await.error_code)]
        }
        ApiKey::UpdateFeatures => {
            vec![client.call(2, &UpdateFeaturesRequest::default()).await.error_code]
        }
        ApiKey::CreatePartitions => {
            let mut topic = create_partitions_request::CreatePartitionsTopic::default();
            (topic.name, topic.count, topic.assignments) = (name, 9, None);
            let mut request = CreatePartitionsRequest::default();
            (request.topics, request.validate_only) = (vec![topic], true);
            vec![client.call(3, &request).await.results[0].error_code]
        }
        ApiKey::DescribeCluster => {
            vec![client.call(1, &DescribeClusterRequest::default()).await.error_code]
        }
        ApiKey::DescribeProducers => {
            let mut topic = describe_producers_request::TopicRequest::default();
            (topic.name, topic.partition_indexes) = (name, vec![0]);
            let mut request = DescribeProducersRequest::default();
            request.topics = vec![topic];
            vec![client.call(0, &request).await.topics[0].partitions[0].error_code]
        }
        ApiKey::ListConfigResources => {
            vec![client.call(1, &ListConfigResourcesRequest::default()).await.error_code]
        }
        ApiKey::DescribeTopicPartitions => {
            let mut topic = describe_topic_partitions_request::TopicRequest::default();
            topic.name = name;
            let mut request = DescribeTopicPartitionsRequest::default();
            (request.topics, request.response_partition_limit) = (vec![topic], 10);
            (request.cursor) = None;
            let response = client.call(0, &request).await;
            response.topics.iter().map(|topic| topic.error_code).collect()
        }
        other => panic!("say what {other} asks for"),
    }
}

/// A topic, this broker and a group, as resources of configs.
const RESOURCES: [(i8, &str); 3] = [(2, "t"), (4, "1"), (32, "g")];

/// Makes the topic, the group and the transactional id that requests speak of, if an earlier one has deleted them. Gives the
/// producer of the latter.
async fn prepare(client: &mut Client) -> (i64, i16) {
    client.call(7, &creation("t", 1, &[])).await;
    client.call(9, &commit("idle", "t", TopicId::ZERO)).await;
    client.call(1, &consumer("assigned", "m", 0)).await;
    exactly_once::prepare(client).await
}

#[tokio::test]
async fn every_api_asks_what_the_table_says() {
    let served = ApiEntry::ALL.iter().filter(|entry| entry.served.is_some());
    // What only controllers answer is asked in `cluster::voters`.
    let served = served.filter(|entry| entry.key.is_for_brokers());
    let keys: BTreeSet<i16> = served.map(|entry| entry.key.code()).collect();
    let in_table: BTreeSet<i16> = table().iter().map(|(key, _)| key.code()).collect();
    assert_eq!(keys, in_table);

    let guard = Arc::new(Guard::default());
    let rig = Rig::authorized_by(Arc::clone(&guard) as Arc<dyn Authorizer>).await;
    let mut client = rig.client().await;
    find(&mut client, "g").await;
    for (key, expected) in table() {
        let producer = prepare(&mut client).await;
        guard.asked.lock().unwrap().clear();
        let allowed = codes(&mut client, key, producer).await;
        assert!(allowed.iter().all(|code| *code == 0), "{key}: {allowed:?}");
        let asked = guard.asked.lock().unwrap().clone();
        let table: BTreeSet<Asked> =
            expected.iter().map(|(operation, kind, _)| (*operation, *kind)).collect();
        assert_eq!(asked, table, "{key}");
        prepare(&mut client).await;
        for (operation, kind, code) in expected {
            let producer = exactly_once::prepare(&mut client).await;
            *guard.denied.lock().unwrap() = Some((operation, kind));
            let denied = codes(&mut client, key, producer).await;
            *guard.denied.lock().unwrap() = None;
            match code {
                Some(code) => assert!(
                    denied.contains(&code),
                    "{key} without {operation:?} on {kind}: {denied:?}"
                ),
                None => assert!(denied.iter().all(|code| *code == 0), "{key}: {denied:?}"),
            }
        }
    }
}

/// Hides one topic.
#[derive(Debug)]
struct Veil;

impl Authorizer for Veil {
    fn allows(&self, _: &str, operation: Operation, resource: Resource<'_>) -> bool {
        (operation, resource) != (Operation::Describe, Resource::Topic("t-hidden"))
    }
}

#[tokio::test]
async fn a_pattern_finds_only_what_its_member_may_see() {
    let rig = Rig::authorized_by(Arc::new(Veil)).await;
    let mut client = rig.client().await;
    find(&mut client, "g").await;
    let seen = client.create("t-seen", 1, &[]).await;
    client.call(7, &creation("t-hidden", 1, &[])).await;
    let mut joining = consumer("g", "m", 0);
    joining.subscribed_topic_names = None;
    joining.subscribed_topic_regex = Some(Text::from_static_str("t-.*"));
    let mut answer = client.call(1, &joining).await;
    let deadline = std::time::Instant::now() + crate::rig::PATIENCE;
    // Patterns are resolved after the answer, and what they stand for comes with a later one.
    let topics = loop {
        assert_eq!((answer.error_code, std::time::Instant::now() < deadline), (0, true));
        let assigned = answer.assignment.map(|it| it.topic_partitions).unwrap_or_default();
        if !assigned.is_empty() {
            break assigned;
        }
        answer = client.call(1, &consumer("g", "m", answer.member_epoch)).await;
    };
    let topics: Vec<_> = topics.iter().map(|topic| topic.topic_id).collect();
    assert_eq!(topics, [seen.0]);
}
