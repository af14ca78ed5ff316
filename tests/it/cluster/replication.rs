//! Records that were acknowledged by all replicas in sync outlive the broker that took them.

use ottla::model::{ErrorCode, Offset};

use super::rig::{Cluster, GAP_MAX, eventually};
use crate::list_offsets::{delete_before, delete_within};
use crate::rig::{Client, creation};

/// Creates a topic with a partition on each of three brokers.
async fn create(client: &mut Client, name: &str, min_in_sync: &str) {
    let mut creation = creation(name, 1, &[("min.insync.replicas", min_in_sync)]);
    creation.topics[0].replication_factor = 3;
    let response = client.call(7, &creation).await;
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
}

/// The broker that leads the only partition of a topic, as a node knows it, if it is one that runs.
async fn leader(cluster: &Cluster, client: &mut Client, topic: &str) -> usize {
    eventually("a leader of the partition", async || {
        let metadata = client.metadata(&[topic]).await;
        let leader = metadata.topics[0].partitions.first()?.leader_id.0;
        usize::try_from(leader).ok().filter(|leader| cluster.running().contains(leader))
    })
    .await
}

async fn in_sync(client: &mut Client, topic: &str, count: usize) {
    eventually("in sync", async || {
        let metadata = client.metadata(&[topic]).await;
        (metadata.topics[0].partitions.first()?.isr_nodes.len() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_all_have_outlives_the_leader() {
    let mut cluster = Cluster::start(3, &[]).await;
    let mut client = cluster.client(1).await;
    create(&mut client, "t", "2").await;
    cluster.seen("t").await;
    let mut expected = Vec::new();
    for round in 0..3 {
        for number in 0..5 {
            let value = format!("{round}-{number}");
            cluster.append(cluster.running()[0], ("t", 0), &value).await;
            expected.push(value);
        }
        let running = cluster.running();
        let mut any = cluster.client(running[0]).await;
        in_sync(&mut any, "t", 3).await;
        let dying = leader(&cluster, &mut any, "t").await;
        drop(any);
        cluster.kill(dying).await;
        let began = std::time::Instant::now();
        let value = format!("{round}-after");
        cluster.append(cluster.running()[0], ("t", 0), &value).await;
        expected.push(value);
        assert!(began.elapsed() < GAP_MAX, "{:?}", began.elapsed());
        cluster.start_these(&[dying]).await;
    }
    for node in 1..=3 {
        let mut any = cluster.client(node).await;
        in_sync(&mut any, "t", 3).await;
    }
    assert_eq!(cluster.values(1, ("t", 0)).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_hands_over() {
    let mut cluster = Cluster::start(3, &[]).await;
    let mut client = cluster.client(1).await;
    create(&mut client, "t", "1").await;
    cluster.seen("t").await;
    cluster.append(cluster.running()[0], ("t", 0), "before").await;
    in_sync(&mut client, "t", 3).await;
    let stopping = leader(&cluster, &mut client, "t").await;
    drop(client);
    cluster.stop(stopping).await;
    cluster.append(cluster.running()[0], ("t", 0), "after").await;
    cluster.start_all().await;
    let mut client = cluster.client(stopping).await;
    in_sync(&mut client, "t", 3).await;
    assert_eq!(cluster.values(stopping, ("t", 0)).await, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_deleted_when_no_replica_has_them_any_more() {
    // One that is killed counts as running all the while.
    let mut cluster = Cluster::start(3, &["broker.session.timeout.ms=600000"]).await;
    let mut client = cluster.client(1).await;
    create(&mut client, "t", "1").await;
    cluster.seen("t").await;
    for value in ["a", "b", "c", "d"] {
        cluster.append(cluster.running()[0], ("t", 0), value).await;
    }
    let leads = leader(&cluster, &mut client, "t").await;
    let mut leading = cluster.client(leads).await;
    assert_eq!(delete_before(&mut leading, 2).await, (ErrorCode::None, 2));
    for node in 1..=3 {
        let start = cluster.client(node).await.fetch("t", 0, 2).await.log_start_offset;
        assert_eq!(start, Offset(2), "node {node}");
    }
    let away = (1..=3).find(|node| *node != leads).unwrap();
    cluster.kill(away).await;
    assert_eq!(delete_within(&mut leading, 3, 200).await, (ErrorCode::RequestTimedOut, 2));
    cluster.start_these(&[away]).await;
    assert_eq!(delete_before(&mut leading, 3).await, (ErrorCode::None, 3));
    assert_eq!(cluster.client(away).await.fetch("t", 0, 3).await.log_start_offset, Offset(3));
}
