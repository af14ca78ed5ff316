//! A data directory fails under a node of several, which lives on: others lead what it has led, and nobody waits for it.

use ottla::env::Fault;
use ottla::model::ErrorCode;
use ottla::wire::messages::{
    MetadataResponse, WireBrokerId, create_topics_request,
    metadata_response::MetadataResponsePartition,
};

use super::rig::{Cluster, eventually};
use crate::rig::{Client, batch, creation};

/// Nobody leaves the replicas in sync because it lags or is not heard of for a while, or leads again because it is preferred.
const OPTIONS: [&str; 3] = [
    "replica.lag.time.max.ms=600000",
    "broker.session.timeout.ms=600000",
    "auto.leader.rebalance.enable=false",
];

/// Creates a topic with two partitions, each on these nodes: of the two directories of a node each gets one.
async fn create(client: &mut Client, name: &str, nodes: &[i32]) {
    let mut creation = creation(name, -1, &[("min.insync.replicas", "1")]);
    for partition in 0..2 {
        let mut assignment = create_topics_request::CreatableReplicaAssignment::default();
        assignment.partition_index = partition;
        assignment.broker_ids = nodes.iter().copied().map(WireBrokerId).collect();
        creation.topics[0].assignments.push(assignment);
    }
    let response = client.call(7, &creation).await;
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
}

fn partition(metadata: MetadataResponse, index: i32) -> Option<MetadataResponsePartition> {
    let partitions = metadata.topics.into_iter().next()?.partitions;
    partitions.into_iter().find(|partition| partition.partition_index == index)
}

/// Waits until a node sees a partition like this.
async fn sees(
    client: &mut Client,
    (topic, index): (&str, i32),
    what: &str,
    is_so: impl Fn(&MetadataResponsePartition) -> bool,
) -> MetadataResponsePartition {
    let ask = async || partition(client.metadata(&[topic]).await, index).filter(|it| is_so(it));
    eventually(what, ask).await
}

fn numbers(ids: &[WireBrokerId]) -> Vec<i32> {
    let mut numbers: Vec<i32> = ids.iter().map(|id| id.0).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_directory_has_failed_is_replaced() {
    let (mut cluster, disks) = Cluster::on_faulty_dirs(3, &["a", "b"], &OPTIONS).await;
    let mut client = cluster.client(1).await;
    create(&mut client, "t", &[2, 1, 3]).await;
    for index in [0, 1] {
        cluster.append(1, ("t", index), "before").await;
        sees(&mut client, ("t", index), "in sync", |it| it.isr_nodes.len() == 3).await;
    }
    let before = sees(&mut client, ("t", 1), "a leader", |it| it.leader_id.0 == 2).await;
    disks[1].inject(Fault::Write("b/t-1/".into()));
    cluster.append(1, ("t", 1), "after").await;
    let after = sees(&mut client, ("t", 1), "another leader", |it| it.leader_id.0 != 2).await;
    assert!(after.leader_epoch > before.leader_epoch);
    assert_eq!((after.leader_id.0, numbers(&after.isr_nodes)), (1, vec![1, 3]));
    assert_eq!(numbers(&after.offline_replicas), [2]);
    assert_eq!(cluster.values(1, ("t", 1)).await, ["before", "after"]);
    // The node serves what it has in its other directory.
    let other = sees(&mut client, ("t", 0), "the other one", |_| true).await;
    assert_eq!((other.leader_id.0, numbers(&other.isr_nodes)), (2, vec![1, 2, 3]));
    cluster.append(1, ("t", 0), "after").await;
    // It starts again while the directory cannot be read.
    cluster.kill(2).await;
    disks[1].clear();
    disks[1].inject(Fault::Read("b/meta.properties".into()));
    cluster.start_all().await;
    sees(&mut client, ("t", 0), "in sync again", |it| it.isr_nodes.len() == 3).await;
    let still = sees(&mut client, ("t", 1), "the failed one", |_| true).await;
    assert_eq!(numbers(&still.offline_replicas), [2]);
    assert_eq!(numbers(&still.isr_nodes), [1, 3]);
    // And when it can.
    cluster.kill(2).await;
    disks[1].clear();
    cluster.start_all().await;
    let whole = sees(&mut client, ("t", 1), "in sync again", |it| it.isr_nodes.len() == 3).await;
    assert_eq!(numbers(&whole.offline_replicas), [0; 0]);
    assert_eq!(cluster.values(1, ("t", 1)).await, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_directory_has_failed_is_not_waited_for() {
    let (cluster, disks) = Cluster::on_faulty_dirs(3, &["a", "b"], &OPTIONS).await;
    let mut client = cluster.client(1).await;
    create(&mut client, "t", &[1, 2, 3]).await;
    for index in [0, 1] {
        cluster.append(1, ("t", index), "before").await;
        sees(&mut client, ("t", index), "in sync", |it| it.isr_nodes.len() == 3).await;
    }
    disks[2].inject(Fault::Write("b/t-1/".into()));
    // Acknowledged by all in sync, which it is not any more.
    cluster.append(1, ("t", 1), "x").await;
    let after = sees(&mut client, ("t", 1), "without it", |it| it.isr_nodes.len() == 2).await;
    assert_eq!((after.leader_id.0, numbers(&after.isr_nodes)), (1, vec![1, 2]));
    assert_eq!(numbers(&after.offline_replicas), [3]);
    let other = sees(&mut client, ("t", 0), "the other one", |_| true).await;
    assert_eq!(numbers(&other.isr_nodes), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_leads_what_only_a_failed_directory_has() {
    let (mut cluster, disks) = Cluster::on_faulty_dirs(3, &["a", "b"], &OPTIONS).await;
    let mut client = cluster.client(1).await;
    create(&mut client, "s", &[3]).await;
    cluster.append(1, ("s", 1), "before").await;
    disks[2].inject(Fault::Write("b/s-1/".into()));
    let failed = cluster.client(3).await.produce("s", 1, batch(&["lost"])).await;
    assert_eq!(failed.error_code, ErrorCode::KafkaStorageError);
    let gone = sees(&mut client, ("s", 1), "no leader", |it| it.leader_id.0 == -1).await;
    assert_eq!(gone.error_code, ErrorCode::LeaderNotAvailable.code());
    assert_eq!(numbers(&gone.offline_replicas), [3]);
    cluster.kill(3).await;
    disks[2].clear();
    cluster.start_all().await;
    sees(&mut client, ("s", 1), "its leader", |it| it.leader_id.0 == 3).await;
    cluster.append(1, ("s", 1), "after").await;
    assert_eq!(cluster.values(3, ("s", 1)).await, ["before", "after"]);
}
