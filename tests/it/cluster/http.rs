//! What nodes of a cluster say of it over HTTP, most of all when others are gone.

use ottla::model::{ErrorCode, Offset, PartitionId, TopicId};
use ottla::wire::Text;
use ottla::wire::messages::FindCoordinatorRequest;
use serde_json::Value;
use tokio::net::TcpStream;

use super::rig::{Cluster, eventually};
use crate::groups::commit;
use crate::http::{Metrics, request};
use crate::rig::{batch, creation};

async fn get(cluster: &Cluster, node: usize, path: &str) -> String {
    let (status, body) = request(cluster.http(node), "GET", path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn get_json(cluster: &Cluster, node: usize, path: &str) -> Value {
    serde_json::from_str(&get(cluster, node, path).await).unwrap()
}

async fn metrics(cluster: &Cluster, node: usize) -> Metrics {
    Metrics::read(&get(cluster, node, "/metrics").await)
}

/// Waits until a node says this of whether it is ready.
async fn says(cluster: &Cluster, node: usize, expected: u16, line: &str) {
    eventually(line, async || {
        // It may not listen yet.
        TcpStream::connect(cluster.http(node)).await.ok()?;
        let (status, body) = request(cluster.http(node), "GET", "/readyz").await;
        (status == expected && body.lines().any(|it| it == line)).then_some(())
    })
    .await;
}

const ACTIVE: &str = "kafka_controller_kafkacontroller_activecontrollercount";
const WAITS: &str = "controller: waiting for a majority of the controllers";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_lost_its_majority_says_so() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    says(&cluster, leader, 200, "controller: ok").await;
    eventually("the active controller", async || {
        (metrics(&cluster, leader).await.get(ACTIVE) == 1.0).then_some(())
    })
    .await;
    let nodes = "kafka_server_socket_server_metrics_connection_count{listener=\"CONTROLLER\"}";
    eventually("two other nodes", async || {
        (metrics(&cluster, leader).await.get(nodes) >= 2.0).then_some(())
    })
    .await;
    for other in (1..=3).filter(|node| *node != leader) {
        cluster.kill(other).await;
    }
    says(&cluster, leader, 503, WAITS).await;
    let told = metrics(&cluster, leader).await;
    assert_eq!(told.get(ACTIVE), 0.0);
    assert_eq!(told.get("kafka_server_raftmetrics_current_leader"), -1.0);
    let state = "kafka_server_raftmetrics_current_state{current_state=\"unattached\"}";
    assert_eq!(told.get(state), 1.0);
    assert_eq!(get_json(&cluster, leader, "/api/v1/cluster").await["controller"], -1);
    cluster.start_all().await;
    says(&cluster, leader, 200, "controller: ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_for_its_majority_says_so() {
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.kill_all().await;
    let http = cluster.http(1);
    let waits = eventually("waits", async || {
        TcpStream::connect(http).await.ok()?;
        let (status, body) = request(http, "GET", "/readyz").await;
        let is_so = body.contains(WAITS) && body.contains("logs: not opened before");
        assert_eq!(status, 503, "{body}");
        is_so.then_some(())
    });
    tokio::select! {
        () = cluster.start_these(&[1]) => panic!("one of three is no majority"),
        () = waits => {}
    }
}

/// The lag of a group is known whoever leads what it reads; where it is not, there is no sum of only some.
#[tokio::test(flavor = "multi_thread")]
async fn lag_is_told_of_partitions_that_others_lead() {
    let mut cluster = Cluster::start(3, &[]).await;
    let mut client = cluster.client(1).await;
    let mut asked = creation("t", 3, &[]);
    asked.topics[0].replication_factor = 1;
    let created = client.call(7, &asked).await;
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
    let seen = cluster.seen("t").await.remove(0).topics.remove(0);
    let leader = |partition: i32| {
        let partitions = &seen.partitions;
        let found = partitions.iter().find(|it| it.partition_index == partition).unwrap();
        usize::try_from(found.leader_id.0).unwrap()
    };
    for partition in 0..3 {
        let mut leader = cluster.client(leader(partition)).await;
        let records = batch(&["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        eventually("appended", async || {
            let appended = leader.produce("t", partition, records.clone()).await;
            appended.error_code.is_none().then_some(())
        })
        .await;
    }
    let mut find = FindCoordinatorRequest::default();
    find.coordinator_keys = vec![Text::from_static_str("g")];
    let coordinator = eventually("a coordinator", async || {
        let found = client.call(4, &find).await.coordinators.remove(0);
        (found.error_code == 0).then_some(found.node_id.0)
    });
    let coordinator = usize::try_from(coordinator.await).unwrap();
    let mut at = cluster.client(coordinator).await;
    let mut commits = commit("g", "t", TopicId(seen.topic_id));
    let first = commits.topics[0].partitions[0].clone();
    for partition in 1..3 {
        let mut next = first.clone();
        (next.partition_index, next.committed_offset) = (PartitionId(partition), Offset(6));
        commits.topics[0].partitions.push(next);
    }
    eventually("committed", async || {
        let committed = at.call(8, &commits).await;
        let all = committed.topics.iter().flat_map(|topic| &topic.partitions);
        all.map(|it| it.error_code).all(|code| code == ErrorCode::None).then_some(())
    })
    .await;
    let sum = "kafka_consumergroup_lag_sum{consumergroup=\"g\",topic=\"t\"}";
    let each = |partition: i32| {
        format!(
            "kafka_consumergroup_lag{{consumergroup=\"g\",topic=\"t\",partition=\"{partition}\"}}"
        )
    };
    let told = metrics(&cluster, coordinator).await;
    assert_eq!([0, 1, 2].map(|partition| told.get(&each(partition))), [2.0, 3.0, 3.0]);
    assert_eq!(told.get(sum), 8.0);
    // Only who has a replica knows how old a record is.
    let seconds = |partition: i32| {
        told.samples
            .get(&each(partition).replace("kafka_consumergroup_lag", "ottla_group_lag_seconds"))
    };
    for partition in 0..3 {
        assert_eq!(seconds(partition).is_some(), leader(partition) == coordinator, "{partition}");
    }
    let groups = get_json(&cluster, coordinator, "/api/v1/groups").await;
    let offsets = groups[0]["offsets"].as_array().unwrap();
    assert!(offsets.len() == 3 && offsets.iter().all(|it| it["lag"].is_number()), "{groups}");

    let lost = (0..3).find(|partition| leader(*partition) != coordinator).unwrap();
    cluster.kill(leader(lost)).await;
    let told = metrics(&cluster, coordinator).await;
    assert!(!told.samples.contains_key(&each(lost)) && !told.samples.contains_key(sum));
    let own = (0..3).find(|partition| leader(*partition) == coordinator).unwrap();
    assert!(told.samples.contains_key(&each(own)));
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_may_lack_records_are_counted() {
    let mut cluster = Cluster::apart(1, 2, &["unclean.leader.election.enable=true"]).await;
    let mut asked = creation("t", 1, &[]);
    asked.topics[0].replication_factor = 2;
    let created = cluster.client(2).await.call(7, &asked).await;
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
    let seen = cluster.seen("t").await.remove(0).topics.remove(0).partitions.remove(0);
    let leader = usize::try_from(seen.leader_id.0).unwrap();
    let follower = 5 - leader;
    cluster.kill(follower).await;
    let mut client = cluster.client(leader).await;
    eventually("one in sync", async || {
        let seen = client.metadata(&["t"]).await.topics.remove(0).partitions.remove(0);
        (seen.isr_nodes.len() == 1).then_some(())
    })
    .await;
    let count = "kafka_controller_controllerstats_uncleanleaderelections_total";
    let told = metrics(&cluster, 1).await;
    assert_eq!((told.get(count), told.get("kafka_brokers")), (0.0, 1.0));
    let brokers = get_json(&cluster, 1, "/api/v1/cluster").await["brokers"].clone();
    let fenced = brokers.as_array().unwrap().iter().filter(|it| it["fenced"] == true);
    assert_eq!(fenced.map(|it| it["id"].as_i64()).collect::<Vec<_>>(), [Some(follower as i64)]);
    cluster.kill(leader).await;
    cluster.start_these(&[follower]).await;
    eventually("counted", async || (metrics(&cluster, 1).await.get(count) == 1.0).then_some(()))
        .await;
}

/// Who asks for all replicas waits for them; the leader of the quorum tells how long its changes take.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_replicas_is_told_from_appending() {
    let cluster = Cluster::start(3, &[]).await;
    let mut asked = creation("t", 1, &[]);
    asked.topics[0].replication_factor = 3;
    let created = cluster.client(1).await.call(7, &asked).await;
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
    let seen = cluster.seen("t").await.remove(0).topics.remove(0).partitions.remove(0);
    let leader = usize::try_from(seen.leader_id.0).unwrap();
    let mut client = cluster.client(leader).await;
    eventually("appended", async || {
        client.produce("t", 0, batch(&["a"])).await.error_code.is_none().then_some(())
    })
    .await;
    let told = metrics(&cluster, leader).await;
    let of = |phase: &str| {
        told.samples
            .get(&format!("ottla_request_phase_seconds_sum{{api=\"Produce\",phase=\"{phase}\"}}"))
    };
    assert!(of("purgatory").is_some_and(|seconds| *seconds > 0.0), "{:?}", told.samples);
    assert_eq!(of("fsync"), None);
    let quorum = cluster.leader().await;
    let told = metrics(&cluster, quorum).await;
    assert!(told.get("kafka_server_raftmetrics_append_records_rate") > 0.0);
    assert!(told.get("kafka_server_raftmetrics_commit_latency_avg") > 0.0);
}
