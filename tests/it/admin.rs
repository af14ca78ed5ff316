//! What the broker says of itself: the cluster and its disks.

use ottla::model::PartitionId;
use ottla::wire::describe_log_dirs::DescribableLogDirTopic;
use ottla::wire::messages::{DescribeClusterRequest, DescribeClusterResponse};
use ottla::wire::{DescribeLogDirsRequest, DescribeLogDirsResponse, Text};

use crate::rig::{Rig, batch};

#[tokio::test]
async fn the_cluster_is_described() {
    let rig = Rig::with(&["node.id=7", "broker.rack=r1"]).await;
    let mut client = rig.client().await;
    let mut request = DescribeClusterRequest::default();
    request.include_cluster_authorized_operations = true;
    request.endpoint_type = 1;
    for version in 0..=2 {
        let response: DescribeClusterResponse = client.call(version, &request).await;
        assert_eq!(response.error_code, 0);
        assert_eq!(&*response.cluster_id, rig.broker.cluster_id());
        assert_eq!(response.controller_id.0, 7);
        let broker = &response.brokers[0];
        assert_eq!((broker.broker_id.0, broker.rack.as_deref()), (7, Some("r1")));
        assert_eq!(response.cluster_authorized_operations, 8096);
    }
    request.endpoint_type = 2;
    let response: DescribeClusterResponse = client.call(1, &request).await;
    assert_eq!(response.error_code, ottla::model::ErrorCode::MismatchedEndpointType.code());
}

#[tokio::test]
async fn advertised_addresses_are_what_is_configured_or_what_was_dialled() {
    let rig = Rig::with(&["advertised.listeners=PLAINTEXT://kafka.example:19092"]).await;
    let metadata = rig.client().await.metadata(&[]).await;
    assert_eq!((&*metadata.brokers[0].host, metadata.brokers[0].port), ("kafka.example", 19_092));
    let rig = Rig::new().await;
    let metadata = rig.client().await.metadata(&[]).await;
    assert_eq!(&*metadata.brokers[0].host, "127.0.0.1");
}

#[tokio::test]
async fn log_directories_are_described() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 2, &[]).await;
    client.create("u", 1, &[]).await;
    let bytes = batch(&["x"]);
    client.append("t", 1, bytes.clone()).await;
    let mut describe = async |topics| {
        let response: DescribeLogDirsResponse =
            client.call(5, &DescribeLogDirsRequest { topics }).await;
        assert_eq!(response.results.len(), 1);
        response.results[0].clone()
    };
    let all = describe(None).await;
    assert!(all.total_bytes >= all.usable_bytes && all.usable_bytes > 0);
    let names: Vec<_> =
        all.topics.iter().map(|topic| (topic.name.as_str(), topic.partitions.len())).collect();
    assert_eq!(names, [("t", 2), ("u", 1)]);
    assert_eq!(all.topics[0].partitions[1].partition_size, bytes.len() as i64);
    let one = DescribableLogDirTopic {
        topic: Text::from_static_str("t"),
        partitions: vec![PartitionId(1), PartitionId(9)],
    };
    let some = describe(Some(vec![one])).await;
    assert_eq!((some.topics.len(), some.topics[0].partitions.len()), (1, 1));
}
