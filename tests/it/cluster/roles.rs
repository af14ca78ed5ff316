//! Nodes that only vote, beside nodes that do not: who holds what, who answers what, and what goes on when one is gone.

use std::path::Path;

use ottla::model::ErrorCode;
use ottla::wire::messages::{
    ApiVersionsRequest, DescribeClusterRequest, DescribeClusterResponse, DescribeConfigsRequest,
    DescribeQuorumRequest, DescribeQuorumResponse, MetadataRequest, describe_configs_request,
    describe_quorum_request,
};
use ottla::wire::{ApiEntry, ApiKey, Text};

use super::quorum::{create, voters};
use super::rig::{Cluster, GAP_MAX, describe_quorum, eventually};
use crate::rig::{Client, DATA, batch, creation, wire_name};

/// What the protocol calls a controller (KIP-919).
pub(super) const CONTROLLERS: i8 = 2;

pub(super) async fn describe_cluster(
    client: &mut Client,
    endpoint_type: i8,
) -> DescribeClusterResponse {
    let mut request = DescribeClusterRequest::default();
    request.endpoint_type = endpoint_type;
    client.call(2, &request).await
}

/// The controllers that a controller tells of.
pub(super) async fn described_controllers(client: &mut Client) -> Vec<i32> {
    let described = describe_cluster(client, CONTROLLERS).await;
    assert_eq!((described.error_code, described.endpoint_type), (0, CONTROLLERS));
    let mut ids: Vec<i32> = described.brokers.iter().map(|node| node.broker_id.0).collect();
    ids.sort_unstable();
    ids
}

pub(super) async fn described(client: &mut Client) -> DescribeQuorumResponse {
    let mut topic = describe_quorum_request::TopicData::default();
    topic.topic_name = wire_name("__cluster_metadata");
    topic.partitions = vec![describe_quorum_request::PartitionData::default()];
    let mut request = DescribeQuorumRequest::default();
    request.topics = vec![topic];
    client.call(2, &request).await
}

/// Creates a topic with a replica on each of the two brokers.
pub(super) async fn create_on_both(client: &mut Client, name: &str) {
    let mut creation = creation(name, 4, &[("min.insync.replicas", "1")]);
    creation.topics[0].replication_factor = 2;
    let response = client.call(7, &creation).await;
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_hold_nothing_and_are_no_brokers() {
    let cluster = Cluster::apart(3, 2, &[]).await;
    let mut client = cluster.client(4).await;
    create_on_both(&mut client, "t").await;
    cluster.append(5, ("t", 0), "v").await;
    for metadata in cluster.seen("t").await {
        let brokers: Vec<i32> = metadata.brokers.iter().map(|broker| broker.node_id.0).collect();
        assert_eq!(brokers, [4, 5]);
        for partition in &metadata.topics[0].partitions {
            let mut replicas: Vec<i32> = partition.replica_nodes.iter().map(|id| id.0).collect();
            replicas.sort_unstable();
            assert_eq!(replicas, [4, 5]);
        }
    }
    let quorum = described(&mut client).await;
    let partition = &quorum.topics[0].partitions[0];
    assert_eq!(voters(partition), [1, 2, 3]);
    let mut observers: Vec<i32> = partition.observers.iter().map(|it| it.replica_id.0).collect();
    observers.sort_unstable();
    assert_eq!(observers, [4, 5]);
    // The leader is no broker, and says how far all are all the same.
    let ends = partition.current_voters.iter().chain(&partition.observers);
    assert!(ends.clone().all(|state| state.log_end_offset > 0), "{partition:?}");
    for node in &quorum.nodes {
        let told: Vec<_> = node.listeners.iter().map(|it| (&*it.name, it.port)).collect();
        let expected: &[(&str, u16)] =
            if node.node_id.0 <= 3 { &[("CONTROLLER", 19_093)] } else { &[] };
        assert_eq!(told, expected, "{node:?}");
    }
    for disk in &cluster.disks[..3] {
        let entries = disk.list(Path::new(DATA)).unwrap();
        assert!(!entries.iter().any(|entry| entry.name.starts_with("t-")), "{entries:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_answers_what_apache_kafkas_answers_to_tools() {
    let cluster = Cluster::apart(3, 1, &["offsets.topic.replication.factor=1"]).await;
    let mut tool = cluster.tool(2).await;
    let mut request = ApiVersionsRequest::default();
    request.client_software_name = Text::from_static_str("test");
    request.client_software_version = Text::from_static_str("1");
    let listed = tool.call(4, &request).await;
    let keys: Vec<i16> = listed.api_keys.iter().map(|api| api.api_key).collect();
    let served = ApiEntry::ALL.iter().filter(|entry| entry.served.is_some());
    let served = served.filter(|entry| entry.key.is_for_controllers());
    assert_eq!(keys, served.map(|entry| entry.key.code()).collect::<Vec<_>>());
    assert!(!keys.contains(&ApiKey::Metadata.code()));
    assert!(listed.finalized_features.iter().any(|it| &*it.name == "metadata.version"));

    assert_eq!(described_controllers(&mut tool).await, [1, 2, 3]);
    let leader = describe_quorum(&mut tool).await.leader_id;
    let told = describe_cluster(&mut tool, CONTROLLERS).await;
    assert_eq!(told.controller_id, leader);
    let own = told.brokers.iter().find(|node| node.broker_id.0 == 2).unwrap();
    assert_eq!(&*own.host, cluster.address(2).to_string());
    assert_eq!(&*told.cluster_id, cluster.broker(4).cluster_id());
    for (at, asked) in [(&mut tool, 1), (&mut cluster.client(4).await, CONTROLLERS)] {
        let code = describe_cluster(at, asked).await.error_code;
        assert_eq!(code, ErrorCode::MismatchedEndpointType.code());
    }

    let created = tool.call(7, &creation("by-a-tool", 1, &[])).await;
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
    cluster.seen("by-a-tool").await;
    let mut resource = describe_configs_request::DescribeConfigsResource::default();
    resource.resource_type = 2;
    resource.resource_name = Text::from_static_str("by-a-tool");
    let mut request = DescribeConfigsRequest::default();
    request.resources = vec![resource];
    assert_eq!(tool.call(4, &request).await.results[0].error_code, 0);

    tool.send(13, &MetadataRequest::default()).await;
    assert!(tool.is_closed().await, "what only brokers answer ends the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_does_not_believe_in_a_leader_without_a_majority() {
    let mut cluster = Cluster::apart(5, 1, &["offsets.topic.replication.factor=1"]).await;
    let leader = cluster.leader().await;
    let follower = (1..=5).find(|id| *id != leader).unwrap();
    let mut tool = cluster.tool(follower).await;
    let told = async |tool: &mut Client| describe_cluster(tool, CONTROLLERS).await.controller_id.0;
    eventually("the leader", async || (told(&mut tool).await == leader as i32).then_some(())).await;
    let others = (1..=5).filter(|id| ![leader, follower].contains(id));
    for other in others.clone() {
        cluster.kill(other).await;
    }
    // It is still heard of, as its messages come; but nothing is agreed on any more.
    eventually("no leader", async || (told(&mut tool).await == -1).then_some(())).await;
    cluster.start_these(&others.collect::<Vec<_>>()).await;
    eventually("a leader again", async || (told(&mut tool).await >= 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_active_controller_dies_and_brokers_go_on() {
    let mut cluster = Cluster::apart(3, 2, &[]).await;
    let mut client = cluster.client(4).await;
    create_on_both(&mut client, "before").await;
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    let began = std::time::Instant::now();
    create(&mut client, "after").await;
    assert!(began.elapsed() < GAP_MAX, "{:?}", began.elapsed());
    cluster.append(4, ("before", 0), "one").await;
    // The new one sees to brokers, too.
    cluster.kill(5).await;
    cluster.append(4, ("before", 0), "two").await;
    cluster.start_these(&[5, leader]).await;
    cluster.seen("after").await;
    assert_eq!(cluster.values(5, ("before", 0)).await, ["one", "two"]);
    assert_eq!(described_controllers(&mut cluster.tool(leader).await).await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_one_role_each_come_back() {
    let mut cluster = Cluster::apart(3, 2, &[]).await;
    let id = cluster.broker(1).cluster_id();
    create_on_both(&mut cluster.client(5).await, "kept").await;
    cluster.append(4, ("kept", 0), "one").await;
    cluster.kill_all().await;
    cluster.start_all().await;
    cluster.append(4, ("kept", 0), "two").await;
    for node in [4, 5, 1, 2, 3] {
        cluster.stop(node).await;
    }
    cluster.start_all().await;
    cluster.append(5, ("kept", 0), "three").await;
    assert_eq!(cluster.values(4, ("kept", 0)).await, ["one", "two", "three"]);
    assert!((1..=5).all(|node| cluster.broker(node).cluster_id() == id));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_controller_is_enough_for_brokers() {
    let mut cluster = Cluster::apart(1, 2, &[]).await;
    create_on_both(&mut cluster.client(2).await, "t").await;
    cluster.append(3, ("t", 0), "before").await;
    let leader = cluster.client(2).await.metadata(&["t"]).await.topics[0].partitions[0].leader_id;
    cluster.kill(1).await;
    // Others might decide without its knowledge, so it leads on for a session and no longer (R16).
    let mut leader = cluster.client(usize::try_from(leader.0).unwrap()).await;
    let refused = eventually("out of session", async || {
        let appended = leader.produce("t", 0, batch(&["without"])).await;
        (!appended.error_code.is_none()).then_some(appended.error_code)
    });
    assert_eq!(refused.await, ErrorCode::NotLeaderOrFollower);
    cluster.start_all().await;
    create(&mut cluster.client(3).await, "again").await;
    cluster.append(3, ("t", 0), "after").await;
    let values = cluster.values(3, ("t", 0)).await;
    let (first, last) = (values.first().unwrap(), values.last().unwrap());
    assert_eq!((first.as_str(), last.as_str()), ("before", "after"));
    assert!(values[1..values.len() - 1].iter().all(|value| value == "without"), "{values:?}");
}

/// Strangers at the controller's listener: their connection ends, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_controller_stands_what_strangers_send() {
    let cluster = Cluster::apart(1, 1, &["default.replication.factor=1"]).await;
    let hello =
        |length: u32, body: &[u8]| [&length.to_be_bytes()[..], &0_u64.to_be_bytes(), body].concat();
    let as_of_kafka = |length: u32| [&length.to_be_bytes()[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
    for bytes in [
        hello(8, b""),
        hello(9, b"{"),
        hello(10, b"{}"),
        hello(0, b""),
        hello(1 << 20, &[b' '; 1 << 12]),
        hello(u32::MAX, b"{}"),
        as_of_kafka(u32::MAX),
        as_of_kafka(0),
        as_of_kafka(18),
        vec![0; 3],
        vec![0xff; 64],
    ] {
        let mut stranger = cluster.tool(1).await;
        // It may be closed before all is sent.
        drop(stranger.raw(&bytes).await);
        drop(tokio::io::AsyncWriteExt::shutdown(&mut stranger.stream).await);
        assert!(stranger.is_closed().await, "{bytes:?}");
    }
    // One byte at a time is slow, and nothing worse.
    let mut slow = cluster.tool(1).await;
    let header = [0, 0, 0, 11, 0, 18, 0, 0, 0, 0, 0, 9, 0, 1, b'x'];
    for byte in header {
        slow.raw(&[byte]).await.unwrap();
    }
    let frame = slow.frame().await.expect("an answer");
    assert_eq!(frame[..4], [0, 0, 0, 9]);
    create(&mut cluster.client(2).await, "t").await;
    assert!(!cluster.broker(1).env().tasks.has_failed());
}
