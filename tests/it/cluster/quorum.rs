//! Nodes agree: on a cluster at first, then on everything that changes in it, also when one of them is gone.

use std::path::Path;
use std::sync::Arc;

use ottla::env::MemoryDisk;
use ottla::log::MetaProperties;
use ottla::model::ErrorCode;

use super::rig::{Cluster, GAP_MAX, describe_quorum, eventually};
use super::roles::described_controllers;
use crate::configs::{SET, TOPIC, alter, value};
use crate::rig::{Client, DATA, batch, creation};

pub(super) fn voters(
    partition: &ottla::wire::messages::describe_quorum_response::PartitionData,
) -> Vec<i32> {
    let mut ids: Vec<i32> =
        partition.current_voters.iter().map(|voter| voter.replica_id.0).collect();
    ids.sort_unstable();
    ids
}

/// Creates a topic, however often it takes while a leader is elected.
pub(super) async fn create(client: &mut Client, name: &str) {
    eventually("created", async || {
        let response = client.call(7, &creation(name, 1, &[])).await;
        // A proposal whose fate was unknown may have been made.
        matches!(response.topics[0].error_code, 0 | 36).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_empty_nodes_agree() {
    let cluster = Cluster::start(3, &[]).await;
    let id = cluster.broker(1).cluster_id();
    assert_eq!(id.len(), 22);
    for node in 1..=3 {
        assert_eq!(cluster.broker(node).cluster_id(), id);
        let mut client = cluster.client(node).await;
        let described = eventually("a leader", async || {
            let described = describe_quorum(&mut client).await;
            (described.leader_id.0 > 0).then_some(described)
        });
        assert_eq!(voters(&described.await), [1, 2, 3]);
    }
    let mut client = cluster.client(2).await;
    client.create("t", 1, &[]).await;
    let seen = cluster.seen("t").await;
    assert!(seen.iter().all(|metadata| metadata.topics[0].topic_id == seen[0].topics[0].topic_id));
}

/// Tools find the controllers also where brokers vote.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_vote_answer_tools_as_controllers() {
    let cluster = Cluster::start(3, &[]).await;
    for node in 1..=3 {
        assert_eq!(described_controllers(&mut cluster.tool(node).await).await, [1, 2, 3]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_go_on_without_the_leader() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    let began = std::time::Instant::now();
    let other = cluster.running()[0];
    create(&mut cluster.client(other).await, "without").await;
    assert!(began.elapsed() < GAP_MAX, "{:?}", began.elapsed());
    cluster.seen("without").await;
    cluster.start_all().await;
    cluster.seen("without").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_come_back() {
    let mut cluster = Cluster::start(3, &[]).await;
    let id = cluster.broker(1).cluster_id();
    cluster.client(3).await.create("kept", 3, &[]).await;
    cluster.seen("kept").await;
    cluster.kill_all().await;
    cluster.start_all().await;
    assert_eq!(cluster.broker(2).cluster_id(), id);
    cluster.seen("kept").await;
    for node in 1..=3 {
        cluster.stop(node).await;
    }
    cluster.start_all().await;
    cluster.seen("kept").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_alone_becomes_one_of_three() {
    let mut cluster = Cluster::stopped(3, &[]);
    cluster.start_alone(1).await;
    let id = cluster.broker(1).cluster_id();
    let mut client = cluster.client(1).await;
    client.create("before", 1, &[]).await;
    client.append("before", 0, batch(&["kept"])).await;
    drop(client);
    cluster.stop(1).await;
    cluster.start_all().await;
    assert!((1..=3).all(|node| cluster.broker(node).cluster_id() == id));
    cluster.seen("before").await;
    assert_eq!(cluster.values(1, ("before", 0)).await, ["kept"]);
    let mut client = cluster.client(2).await;
    eventually("three voters", async || {
        (voters(&describe_quorum(&mut client).await) == [1, 2, 3]).then_some(())
    })
    .await;
    cluster.kill(1).await;
    create(&mut client, "after").await;
    cluster.seen("before").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_disk_joins_again() {
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.client(1).await.create("t", 1, &[]).await;
    cluster.kill(3).await;
    cluster.start_on(3, Arc::new(MemoryDisk::new())).await;
    cluster.seen("t").await;
    let mut client = cluster.client(3).await;
    eventually("three voters", async || {
        (voters(&describe_quorum(&mut client).await) == [1, 2, 3]).then_some(())
    })
    .await;
    let path = Path::new(DATA);
    let meta = MetaProperties::read(&*cluster.disks[2], path).unwrap().unwrap();
    assert_eq!(meta.cluster_id, cluster.broker(1).cluster_id());
}

/// A node that does not belong here says so in one line and ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_is_refused() {
    let mut cluster = Cluster::stopped(3, &[]);
    cluster.start_alone(1).await;
    let theirs = cluster.broker(1).cluster_id().to_owned();
    cluster.stop(1).await;
    let disk = std::mem::replace(&mut cluster.disks[0], Arc::new(MemoryDisk::new()));
    cluster.start_all().await;
    let ours = cluster.broker(2).cluster_id().to_owned();
    cluster.stop(1).await;
    cluster.disks[0] = disk;
    let refusal = cluster.refusal(1, &[]).await;
    assert!(refusal.starts_with("the cluster refuses this node: "), "{refusal}");
    let expected = format!(" refuses: it is of cluster {theirs}, not {ours}");
    assert!(refusal.ends_with(&expected) && !refusal.contains('\n'), "{refusal}");
    // The two others serve, and its disk is as it was.
    create(&mut cluster.client(2).await, "without").await;
    cluster.kill_all().await;
    cluster.start_alone(1).await;
    assert_eq!(cluster.broker(1).cluster_id(), theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_id_that_is_in_use_is_refused() {
    let mut cluster = Cluster::to_be_founded(1, (1, 2), &["default.replication.factor=1"]);
    cluster.start_these(&[1, 2]).await;
    let mut client = cluster.client(2).await;
    create(&mut client, "t").await;
    // The third one has everything of its own, but the id of the second.
    let refusal = cluster.refusal(3, &["node.id=2".to_owned()]).await;
    assert!(refusal.contains("node.id 2 is in use by another node, which is running"), "{refusal}");
    assert!(!refusal.contains('\n'), "{refusal}");
    cluster.append(2, ("t", 0), "kept").await;
    assert_eq!(cluster.values(2, ("t", 0)).await, ["kept"]);
}

/// The metadata log is a snapshot and what follows it, once it has grown to 8 MiB: who lacks what is gone gets the snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_for_long_gets_a_snapshot() {
    let mut cluster = Cluster::start(3, &[]).await;
    let mut client = cluster.client(1).await;
    create(&mut client, "before").await;
    cluster.kill(3).await;
    let key = "follower.replication.throttled.replicas";
    let replicas = |broker: usize| {
        let replicas: Vec<String> = (0..4_000).map(|it| format!("{it}:{broker}")).collect();
        replicas.join(",")
    };
    for round in 0..=9 * 1024 * 1024 / replicas(1).len() {
        let value = replicas(round % 2 + 1);
        let altered = alter(&mut client, TOPIC, "before", &[(key, SET, Some(&value))]).await;
        assert_eq!(altered, ErrorCode::None);
    }
    for node in [1, 2] {
        eventually("a snapshot", async || (snapshots(&cluster, node) == 1).then_some(())).await;
    }
    assert_eq!(snapshots(&cluster, 3), 0);
    create(&mut client, "after").await;
    cluster.start_all().await;
    cluster.seen("after").await;
    assert_eq!(snapshots(&cluster, 3), 1);
    let known = value(&mut cluster.client(3).await, TOPIC, "before", key).await;
    assert_eq!(known, value(&mut client, TOPIC, "before", key).await);
    // It begins with what it got, and counts for a majority.
    cluster.kill(3).await;
    cluster.kill(2).await;
    cluster.start_these(&[3]).await;
    create(&mut cluster.client(3).await, "last").await;
    cluster.start_all().await;
    cluster.seen("last").await;
}

/// The snapshots of metadata that a node keeps.
fn snapshots(cluster: &Cluster, node: usize) -> usize {
    let files = cluster.disks[node - 1].list(Path::new(DATA)).unwrap();
    files.iter().filter(|file| file.name.ends_with(".snapshot")).count()
}

/// A later release may speak another version to other nodes: it is told, and nobody guesses.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_speaks_another_version_is_refused() {
    let cluster = Cluster::start(3, &[]).await;
    let uuid = "AAAAAAAAAAAAAAAAAAAAAQ";
    let from = format!(r#"{{"broker":9,"raftId":9,"directory":"{uuid}","incarnation":"{uuid}"}}"#);
    let hello = format!(r#"{{"version":3,"clusterId":null,"from":{from},"to":null}}"#);
    let length = u32::try_from(hello.len() + 8).unwrap().to_be_bytes();
    let mut node = cluster.tool(1).await;
    node.raw(&[&length[..], &0_u64.to_be_bytes(), hello.as_bytes()].concat()).await.unwrap();
    let answer = node.frame().await.expect("an answer");
    assert_eq!(&answer[8..], br#"{"refused":"it speaks version 3, not 2"}"#);
    assert!(node.is_closed().await);
}
