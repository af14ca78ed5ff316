//! Topics: made, described, grown, deleted, and made again.

use ottla::model::{ErrorCode, TopicId};
use ottla::wire::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, MetadataRequest,
    MetadataResponse, WireBrokerId, create_partitions_request, create_topics_request,
    delete_topics_request, describe_topic_partitions_request, metadata_request,
};

use crate::rig::{Client, Rig, batch, creation, wire_name};

/// Deletes a topic; gives the error code.
pub(crate) async fn delete(client: &mut Client, name: &str) -> i16 {
    let mut topic = delete_topics_request::DeleteTopicState::default();
    topic.name = Some(wire_name(name));
    let mut request = DeleteTopicsRequest::default();
    request.topics = vec![topic];
    client.call(6, &request).await.responses[0].error_code
}

/// Gives a topic so many partitions in all; gives the error code and message.
pub(crate) async fn grow(client: &mut Client, name: &str, count: i32) -> (i16, Option<String>) {
    let mut topic = create_partitions_request::CreatePartitionsTopic::default();
    topic.name = wire_name(name);
    topic.count = count;
    topic.assignments = None;
    let mut request = CreatePartitionsRequest::default();
    request.topics = vec![topic];
    let response = client.call(3, &request).await;
    let result = &response.results[0];
    (result.error_code, result.error_message.as_ref().map(|message| message.to_string()))
}

#[tokio::test]
async fn a_topic_is_what_was_asked_for() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let id = client.create("orders", 3, &[("retention.ms", "1000")]).await;
    let metadata = client.metadata(&["orders"]).await;
    let topic = &metadata.topics[0];
    assert_eq!(TopicId(topic.topic_id), id);
    let leaders: Vec<_> = topic
        .partitions
        .iter()
        .map(|partition| (partition.partition_index, partition.leader_id.0))
        .collect();
    assert_eq!(leaders, [(0, 1), (1, 1), (2, 1)]);
    assert_eq!(metadata.brokers.len(), 1);
    assert_eq!(metadata.brokers[0].port, i32::from(rig.broker.addresses()[0].port()));
    assert_eq!(metadata.cluster_id.as_deref(), Some(rig.broker.cluster_id().as_str()));
}

#[tokio::test]
async fn every_refusal_has_its_code() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("taken", 1, &[]).await;
    client.create("a.b", 1, &[]).await;
    let with = |name: &str, change: &dyn Fn(&mut create_topics_request::CreatableTopic)| {
        let mut request = creation(name, 1, &[]);
        change(&mut request.topics[0]);
        request
    };
    let assignment = |partition: i32, brokers: &[i32]| {
        let mut assignment = create_topics_request::CreatableReplicaAssignment::default();
        assignment.partition_index = partition;
        assignment.broker_ids = brokers.iter().copied().map(WireBrokerId).collect();
        assignment
    };
    let cases: Vec<(CreateTopicsRequest, ErrorCode)> = vec![
        (creation("taken", 1, &[]), ErrorCode::TopicAlreadyExists),
        (creation("a_b", 1, &[]), ErrorCode::InvalidTopic),
        (creation("", 1, &[]), ErrorCode::InvalidTopic),
        (creation("a b", 1, &[]), ErrorCode::InvalidTopic),
        (creation(&"x".repeat(250), 1, &[]), ErrorCode::InvalidTopic),
        (creation("t", 0, &[]), ErrorCode::InvalidPartitions),
        (creation("t", -2, &[]), ErrorCode::InvalidPartitions),
        (creation("t", 20_000, &[]), ErrorCode::PolicyViolation),
        (with("t", &|topic| topic.replication_factor = 0), ErrorCode::InvalidReplicationFactor),
        (with("t", &|topic| topic.replication_factor = 2), ErrorCode::InvalidReplicationFactor),
        (creation("t", 1, &[("no.such.key", "1")]), ErrorCode::InvalidConfig),
        (creation("t", 1, &[("retention.ms", "soon")]), ErrorCode::InvalidConfig),
        (creation("__cluster_metadata", 1, &[]), ErrorCode::InvalidRequest),
        (
            with("t", &|topic| topic.assignments = vec![assignment(0, &[1])]),
            ErrorCode::InvalidRequest,
        ),
        (
            with("t", &|topic| {
                topic.num_partitions = -1;
                topic.assignments = vec![assignment(0, &[9])];
            }),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            with("t", &|topic| {
                topic.num_partitions = -1;
                topic.assignments = vec![assignment(1, &[1])];
            }),
            ErrorCode::InvalidReplicaAssignment,
        ),
    ];
    for (request, code) in cases {
        let response = client.call(7, &request).await;
        assert_eq!(response.topics[0].error_code, code.code(), "{:?}", response.topics[0]);
        assert!(response.topics[0].error_message.is_some());
    }
    let mut twice = creation("t", 1, &[]);
    twice.topics.push(twice.topics[0].clone());
    let response = client.call(7, &twice).await;
    assert_eq!(response.topics.len(), 1);
    assert_eq!(response.topics[0].error_code, ErrorCode::InvalidRequest.code());
    assert_eq!(
        client.metadata(&["t"]).await.topics[0].error_code,
        ErrorCode::UnknownTopicOrPartition.code()
    );
}

#[tokio::test]
async fn a_topic_that_is_only_checked_is_not_made() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let mut request = creation("t", 4, &[("segment.bytes", "2000000")]);
    request.validate_only = true;
    let response = client.call(7, &request).await;
    let topic = &response.topics[0];
    assert_eq!((topic.error_code, topic.num_partitions, topic.replication_factor), (0, 4, 1));
    let configs = topic.configs.as_ref().unwrap();
    let segment = configs.iter().find(|config| &*config.name == "segment.bytes").unwrap();
    assert_eq!((segment.value.as_deref(), segment.config_source), (Some("2000000"), 1));
    assert_eq!(
        client.metadata(&["t"]).await.topics[0].error_code,
        ErrorCode::UnknownTopicOrPartition.code()
    );
}

#[tokio::test]
async fn a_deleted_topic_is_gone_and_its_name_begins_anew() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let first = client.create("t", 2, &[]).await;
    client.append("t", 0, batch(&["old"])).await;
    assert_eq!(delete(&mut client, "t").await, 0);
    assert_eq!(
        client.produce("t", 0, batch(&["x"])).await.error_code,
        ErrorCode::UnknownTopicOrPartition
    );
    assert_eq!(delete(&mut client, "t").await, ErrorCode::UnknownTopicOrPartition.code());
    let second = client.create("t", 1, &[]).await;
    assert_ne!(first, second);
    assert_eq!(client.values("t", 0).await, Vec::<String>::new());
    assert_eq!(client.append("t", 0, batch(&["new"])).await.0, 0);
    let rig = rig.restart().await;
    let mut client = rig.client().await;
    assert_eq!(client.values("t", 0).await, ["new"]);
    let mut request = DeleteTopicsRequest::default();
    let mut by_id = delete_topics_request::DeleteTopicState::default();
    by_id.topic_id = first.0;
    request.topics = vec![by_id];
    let response = client.call(6, &request).await;
    assert_eq!(response.responses[0].error_code, ErrorCode::UnknownTopicId.code());
    request.topics[0].topic_id = second.0;
    let response = client.call(6, &request).await;
    assert_eq!(
        (
            response.responses[0].error_code,
            response.responses[0].name.as_ref().map(|n| n.to_string())
        ),
        (0, Some("t".into()))
    );
}

#[tokio::test]
async fn deletion_can_be_forbidden() {
    let rig = Rig::with(&["delete.topic.enable=false"]).await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    assert_eq!(delete(&mut client, "t").await, ErrorCode::TopicDeletionDisabled.code());
}

#[tokio::test]
async fn partitions_are_added_and_never_taken_away() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 2, &[]).await;
    assert_eq!(grow(&mut client, "t", 4).await, (0, None));
    client.append("t", 3, batch(&["x"])).await;
    for (name, count, code) in [
        ("t", 4, ErrorCode::InvalidPartitions),
        ("t", 3, ErrorCode::InvalidPartitions),
        ("no-such-topic", 3, ErrorCode::UnknownTopicOrPartition),
    ] {
        let (found, message) = grow(&mut client, name, count).await;
        assert_eq!(found, code.code(), "{message:?}");
    }
    let rig = rig.crash().await;
    assert_eq!(rig.client().await.metadata(&["t"]).await.topics[0].partitions.len(), 4);
}

#[tokio::test]
async fn topics_are_made_when_a_client_asks_and_may() {
    let rig = Rig::with(&["num.partitions=3"]).await;
    let mut client = rig.client().await;
    let ask = |name: &str, allow| {
        let mut topic = metadata_request::MetadataRequestTopic::default();
        topic.name = Some(wire_name(name));
        let mut request = MetadataRequest::default();
        request.topics = Some(vec![topic]);
        request.allow_auto_topic_creation = allow;
        request
    };
    let code = |response: MetadataResponse| {
        (response.topics[0].error_code, response.topics[0].partitions.len())
    };
    let unknown = (ErrorCode::UnknownTopicOrPartition.code(), 0);
    assert_eq!(code(client.call(12, &ask("t", false)).await), unknown);
    assert_eq!(code(client.call(12, &ask("t", true)).await), (0, 3));
    assert_eq!(code(client.call(12, &ask("a b", true)).await), (ErrorCode::InvalidTopic.code(), 0));
    let rig = Rig::with(&["auto.create.topics.enable=false"]).await;
    assert_eq!(code(rig.client().await.call(12, &ask("t", true)).await), unknown);
}

#[tokio::test]
async fn topics_are_described_page_by_page() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    for (name, partitions) in [("b", 3), ("a", 2), ("c", 1)] {
        client.create(name, partitions, &[]).await;
    }
    let mut request = DescribeTopicPartitionsRequest::default();
    request.response_partition_limit = 2;
    let mut pages = Vec::new();
    loop {
        let response: DescribeTopicPartitionsResponse = client.call(0, &request).await;
        let page: Vec<_> = response
            .topics
            .iter()
            .flat_map(|topic| {
                topic.partitions.iter().map(move |p| {
                    format!("{}-{}", topic.name.as_ref().unwrap().as_str(), p.partition_index)
                })
            })
            .collect();
        pages.push(page.join(" "));
        let Some(next) = response.next_cursor else { break };
        let mut cursor = describe_topic_partitions_request::Cursor::default();
        (cursor.topic_name, cursor.partition_index) = (next.topic_name, next.partition_index);
        request.cursor = Some(cursor);
    }
    assert_eq!(pages, ["a-0 a-1", "b-0 b-1", "b-2 c-0"]);
}

#[tokio::test]
async fn topics_of_the_configuration_are_there_from_the_start() {
    let topics = "ottla.create.topics=orders:3:1:compact,clicks,too-many:1:2";
    let rig = Rig::with(&[topics, "num.partitions=2"]).await;
    let mut client = rig.client().await;
    let partitions = async |client: &mut Client| -> Vec<usize> {
        let metadata = client.metadata(&["orders", "clicks", "too-many"]).await;
        metadata.topics.iter().map(|topic| topic.partitions.len()).collect()
    };
    // One broker has no second replica: that topic is not made, and a warning says why.
    assert_eq!(partitions(&mut client).await, [3, 2, 0]);
    client.append("orders", 0, keyed_batch()).await;
    let id = client.metadata(&["orders"]).await.topics[0].topic_id;
    assert_eq!(grow(&mut client, "clicks", 4).await.0, 0);
    let rig = rig.restart().await;
    let mut client = rig.client().await;
    assert_eq!(partitions(&mut client).await, [3, 4, 0], "what is there is left as it is");
    assert_eq!(client.metadata(&["orders"]).await.topics[0].topic_id, id);
}

/// A record with a key, which compacted topics ask for.
fn keyed_batch() -> bytes::Bytes {
    let mut builder = ottla::record::BatchBuilder::new();
    builder.push(crate::rig::now(), Some(b"key"), Some(b"value"));
    builder.build()
}
