//! Partitions move: to other leaders and to other brokers; and brokers are told of as they are.

use std::time::{Duration, Instant};

use ottla::model::ErrorCode;
use ottla::wire::messages::{
    AlterPartitionReassignmentsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeClusterResponse, ElectLeadersRequest, ListPartitionReassignmentsRequest,
    MetadataResponse, UnregisterBrokerRequest, WireBrokerId, alter_partition_reassignments_request,
    delete_topics_request, elect_leaders_request, metadata_response::MetadataResponsePartition,
};

use super::rig::{Cluster, eventually};
use crate::configs::{BROKER, SET, TOPIC, alter, value};
use crate::rig::{Client, creation, wire_name};

/// Creates a topic with one partition.
async fn create(client: &mut Client, name: &str, replicas: i16) {
    let mut creation = creation(name, 1, &[]);
    creation.topics[0].replication_factor = replicas;
    let response = client.call(7, &creation).await;
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
}

fn only(metadata: MetadataResponse) -> Option<MetadataResponsePartition> {
    metadata.topics.into_iter().next()?.partitions.pop()
}

/// Waits until a node sees a partition like this.
async fn sees(
    client: &mut Client,
    topic: &str,
    what: &str,
    is_so: impl Fn(&MetadataResponsePartition) -> bool,
) -> MetadataResponsePartition {
    eventually(what, async || only(client.metadata(&[topic]).await).filter(|it| is_so(it))).await
}

fn numbers(ids: &[WireBrokerId]) -> Vec<i32> {
    let mut numbers: Vec<i32> = ids.iter().map(|id| id.0).collect();
    numbers.sort_unstable();
    numbers
}

async fn describe(client: &mut Client, with_fenced: bool) -> DescribeClusterResponse {
    let mut request = DescribeClusterRequest::default();
    request.include_fenced_brokers = with_fenced;
    client.call(2, &request).await
}

/// The brokers that are told of, with whether they are fenced.
fn told(described: &DescribeClusterResponse) -> Vec<(i32, bool)> {
    let told = described.brokers.iter().map(|broker| (broker.broker_id.0, broker.is_fenced));
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    told
}

/// Gives the partition of `t` to these brokers, and waits until they have it.
async fn reassign(client: &mut Client, to: &[i32]) {
    let mut partition = alter_partition_reassignments_request::ReassignablePartition::default();
    partition.replicas = Some(to.iter().map(|broker| WireBrokerId(*broker)).collect());
    let mut topic = alter_partition_reassignments_request::ReassignableTopic::default();
    (topic.name, topic.partitions) = (wire_name("t"), vec![partition]);
    let mut request = AlterPartitionReassignmentsRequest::default();
    request.topics = vec![topic];
    let response = client.call(1, &request).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 0, "{response:?}");
    eventually("moved", async || {
        let listed = client.call(0, &ListPartitionReassignmentsRequest::default()).await;
        listed.topics.is_empty().then_some(())
    })
    .await;
}

/// As on Apache Kafka, whose brokers leave such requests to the controller.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_broker_has_agreed_on_the_next_one_decides_by() {
    let cluster = Cluster::start(3, &[]).await;
    let mut clients = Vec::new();
    for id in 1..=3 {
        clients.push(cluster.client(id).await);
    }
    for round in 0..100 {
        create(&mut clients[round % 3], "t", 3).await;
        let mut topic = delete_topics_request::DeleteTopicState::default();
        topic.name = Some(wire_name("t"));
        let mut request = DeleteTopicsRequest::default();
        request.topics = vec![topic];
        let response = clients[(round + 1) % 3].call(6, &request).await;
        assert_eq!(response.responses[0].error_code, 0, "round {round}: {response:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_moves_to_another_broker_with_its_records() {
    let cluster = Cluster::start(3, &[]).await;
    let mut client = cluster.client(1).await;
    create(&mut client, "t", 1).await;
    cluster.append(1, ("t", 0), "first").await;
    let from = sees(&mut client, "t", "a leader", |it| it.leader_id.0 > 0).await.leader_id.0;
    let to = from % 3 + 1;
    reassign(&mut client, &[to]).await;
    let moved = sees(&mut client, "t", "moved", |it| it.leader_id.0 == to).await;
    assert_eq!((numbers(&moved.replica_nodes), numbers(&moved.isr_nodes)), (vec![to], vec![to]));
    cluster.append(1, ("t", 0), "second").await;
    assert_eq!(cluster.values(1, ("t", 0)).await, ["first", "second"]);
}

/// Replicas are throttled at this end; gives how long 300 kB take to be copied, at 150 kB a second.
async fn copied_within_a_rate(end: &str) -> Duration {
    let cluster = Cluster::start(3, &["replica.fetch.max.bytes=20000"]).await;
    let mut client = cluster.client(1).await;
    create(&mut client, "t", 1).await;
    let record = "x".repeat(10_000);
    for _ in 0..30 {
        cluster.append(1, ("t", 0), &record).await;
    }
    let replicas = format!("{end}.replication.throttled.replicas");
    let rate = format!("{end}.replication.throttled.rate");
    assert_eq!(
        alter(&mut client, TOPIC, "t", &[(&replicas, SET, Some("0:1,0:2,0:3"))]).await,
        ErrorCode::None
    );
    assert_eq!(
        alter(&mut client, BROKER, "", &[(&rate, SET, Some("150000"))]).await,
        ErrorCode::None
    );
    for node in 1..=3 {
        let mut client = cluster.client(node).await;
        eventually("the rate is known", async || {
            let found = value(&mut client, BROKER, &node.to_string(), &rate).await;
            (found.0.as_deref() == Some("150000")).then_some(())
        })
        .await;
    }
    let began = Instant::now();
    reassign(&mut client, &[1, 2, 3]).await;
    let took = began.elapsed();
    // Who is in sync is not held back.
    assert_eq!(alter(&mut client, BROKER, "", &[(&rate, SET, Some("1"))]).await, ErrorCode::None);
    for _ in 0..3 {
        cluster.append(1, ("t", 0), &record).await;
    }
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_leader_keeps_to_its_rate() {
    let took = copied_within_a_rate("leader").await;
    assert!(took >= Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_follower_keeps_to_its_rate() {
    let took = copied_within_a_rate("follower").await;
    assert!(took >= Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preferred_leader_leads_again_when_it_is_asked_to() {
    let mut cluster = Cluster::start(3, &["auto.leader.rebalance.enable=false"]).await;
    let mut client = cluster.client(1).await;
    create(&mut client, "t", 3).await;
    let first = sees(&mut client, "t", "in sync", |it| it.isr_nodes.len() == 3).await;
    let preferred = first.replica_nodes[0].0;
    assert_eq!(first.leader_id.0, preferred);
    drop(client);
    let gone = usize::try_from(preferred).unwrap();
    cluster.kill(gone).await;
    let mut client = cluster.client(cluster.running()[0]).await;
    let without = sees(&mut client, "t", "another leader", |it| {
        it.leader_id.0 > 0 && it.leader_id.0 != preferred
    })
    .await;
    assert_eq!(numbers(&without.offline_replicas), [preferred]);
    assert!(without.leader_epoch > first.leader_epoch);
    let mut others: Vec<_> = cluster.running().iter().map(|id| *id as i32).collect();
    others.sort_unstable();
    assert_eq!(numbers(&without.isr_nodes), others);
    assert_eq!(told(&describe(&mut client, false).await).len(), 2);
    let with_fenced = told(&describe(&mut client, true).await);
    assert!(with_fenced.contains(&(preferred, true)), "{with_fenced:?}");
    cluster.start_all().await;
    let back = sees(&mut client, "t", "in sync again", |it| it.isr_nodes.len() == 3).await;
    assert_ne!(back.leader_id.0, preferred);
    let mut topic = elect_leaders_request::TopicPartitions::default();
    (topic.topic, topic.partitions) = (wire_name("t"), vec![0]);
    let mut request = ElectLeadersRequest::default();
    request.topic_partitions = Some(vec![topic]);
    let elected = client.call(2, &request).await;
    let results = &elected.replica_election_results[0].partition_result;
    assert_eq!(results[0].error_code, 0, "{elected:?}");
    let led =
        sees(&mut client, "t", "the preferred leader", |it| it.leader_id.0 == preferred).await;
    assert!(led.leader_epoch > back.leader_epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preferred_leader_leads_again_by_itself() {
    let mut cluster = Cluster::start(3, &["leader.imbalance.check.interval.seconds=1"]).await;
    let mut client = cluster.client(1).await;
    create(&mut client, "t", 3).await;
    let first = sees(&mut client, "t", "in sync", |it| it.isr_nodes.len() == 3).await;
    drop(client);
    let preferred = first.leader_id.0;
    cluster.kill(usize::try_from(preferred).unwrap()).await;
    let mut client = cluster.client(cluster.running()[0]).await;
    sees(&mut client, "t", "another leader", |it| ![-1, preferred].contains(&it.leader_id.0)).await;
    cluster.start_all().await;
    sees(&mut client, "t", "the preferred leader", |it| it.leader_id.0 == preferred).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_gone_for_good_is_forgotten() {
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.kill(3).await;
    let mut client = cluster.client(1).await;
    eventually("fenced", async || {
        let told = told(&describe(&mut client, true).await);
        told.contains(&(3, true)).then_some(())
    })
    .await;
    let mut request = UnregisterBrokerRequest::default();
    request.broker_id = WireBrokerId(3);
    let answer = client.call(0, &request).await;
    assert_eq!(answer.error_code, 0, "{answer:?}");
    assert_eq!(told(&describe(&mut client, true).await), [(1, false), (2, false)]);
    let mut creation = creation("t", 1, &[]);
    creation.topics[0].replication_factor = 3;
    let refused = client.call(7, &creation).await.topics.remove(0);
    assert_eq!(refused.error_code, ErrorCode::InvalidReplicationFactor.code());
    assert_eq!(
        refused.error_message.as_deref(),
        Some(
            "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because \
             only 2 broker(s) are registered or some brokers have all their log directories cordoned."
        )
    );
    cluster.start_all().await;
    eventually("three brokers again", async || {
        (told(&describe(&mut client, false).await).len() == 3).then_some(())
    })
    .await;
}
