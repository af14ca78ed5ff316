//! Nodes of a cluster that are killed one after the other while clients write and read: nothing is lost, doubled or out of
//! order.

use tokio::task::{JoinSet, LocalSet};

use super::rig::{Cluster, eventually};
use crate::crew::Crew;
use crate::exactly_once::Epochs;
use crate::history::{End, History};
use crate::rig::creation;

/// How often a node is killed.
const KILLS: usize = 6;
/// What has to be acknowledged between a kill and the next.
const RECORDS: usize = 200;

/// Lets a crew work on a cluster of which one node after the other is killed and started again; gives what it saw.
async fn killed(kills: usize, writers: usize, transactors: &[Epochs]) -> History {
    let mut cluster = Cluster::start(3, &[]).await;
    let mut client = cluster.client(1).await;
    let mut creation = creation("t", 3, &[("min.insync.replicas", "2")]);
    creation.topics[0].replication_factor = 3;
    let created = client.call(7, &creation).await;
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
    drop(client);
    let crew = Crew::new(&cluster.bootstrap(), "t", 3);
    let (local, mut clients) = (LocalSet::new(), JoinSet::new());
    for _ in 0..writers {
        clients.spawn_local_on(crew.clone().write(), &local);
    }
    for epochs in transactors {
        clients.spawn_local_on(crew.clone().transact(*epochs), &local);
    }
    clients.spawn_local_on(crew.clone().read(false), &local);
    clients.spawn_local_on(crew.clone().read(true), &local);
    clients.spawn_local_on(crew.clone().watch(), &local);
    let work = async {
        for kill in 0..kills {
            crew.write_on(RECORDS).await;
            let node = 1 + kill % 3;
            cluster.kill(node).await;
            // The others go on without it.
            crew.write_on(RECORDS).await;
            cluster.start_all().await;
            all_in_sync(&cluster).await;
        }
        crew.write_on(RECORDS).await;
        crew.end();
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        crew.finish().await
    };
    local.run_until(work).await
}

/// A partition of which two replicas are gone cannot be written.
async fn all_in_sync(cluster: &Cluster) {
    let mut client = cluster.client(1).await;
    eventually("all in sync", async || {
        let metadata = client.metadata(&["t"]).await;
        let mut partitions = metadata.topics[0].partitions.iter();
        partitions.all(|partition| partition.isr_nodes.len() == 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_on_three_brokers_show_no_anomaly() {
    let history = killed(0, 2, &[]).await;
    assert_eq!(history.anomalies(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_on_three_brokers_show_no_anomaly() {
    let history = killed(0, 1, &[Epochs::Raised, Epochs::Kept]).await;
    let committed = history.ended.iter().filter(|ended| ended.end == End::Committed).count();
    assert!(committed > 0, "no transaction was committed");
    assert_eq!(history.anomalies(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_killed_in_full_flight_show_no_anomaly() {
    let history = killed(KILLS, 3, &[]).await;
    assert_eq!(history.anomalies(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_killed_amid_transactions_show_no_anomaly() {
    let history = killed(KILLS, 1, &[Epochs::Raised, Epochs::Kept, Epochs::Raised]).await;
    let committed = history.ended.iter().filter(|ended| ended.end == End::Committed).count();
    assert!(committed > KILLS, "only {committed} transactions were committed");
    assert_eq!(history.anomalies(), []);
}
