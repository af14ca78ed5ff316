//! Connections: order, limits, idleness, and brokers that share a process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ottla::env::MemoryDisk;
use ottla::model::UnixMillis;
use ottla::wire::messages::{MetadataRequest, MetadataResponse};
use ottla::wire::{FetchRequest, ProduceRequest};

use crate::rig::{PATIENCE, Rig, batch, fetch, produce};

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let mut waiting = fetch("t", &[(0, 0)]);
    (waiting.max_wait_ms, waiting.min_bytes) = (i32::MAX, 1);
    let first = client.send(12, &waiting).await;
    let second = client.send(9, &produce("t", 0, batch(&["x"]))).await;
    let third = client.send(12, &MetadataRequest::default()).await;
    // The fetch waits for the record of the produce request behind it.
    let (answered, fetched) = client.receive::<FetchRequest>(12).await;
    assert_eq!(answered, first);
    assert_eq!(fetched.topics[0].partitions[0].records.concat().len(), batch(&["x"]).len());
    assert_eq!(client.receive::<ProduceRequest>(9).await.0, second);
    assert_eq!(client.receive::<MetadataRequest>(12).await.0, third);
}

#[tokio::test]
async fn a_thousand_requests_at_once_are_all_answered() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let (mut sent, mut answered) = (0, 0);
    for _ in 0..1_000 {
        sent = client.send(9, &produce("t", 0, batch(&["x"]))).await;
    }
    while answered < sent {
        let (correlation_id, response) = client.receive::<ProduceRequest>(9).await;
        assert_eq!(response.topics[0].partitions[0].base_offset.0, i64::from(correlation_id) - 2);
        answered = correlation_id;
    }
}

#[tokio::test]
async fn idle_connections_are_closed_and_waiting_ones_are_not() {
    let rig = Rig::with(&["connections.max.idle.ms=300"]).await;
    let (mut idle, mut waiting) = (rig.client().await, rig.client().await);
    waiting.create("t", 1, &[]).await;
    let mut request = fetch("t", &[(0, 0)]);
    request.max_wait_ms = 900;
    waiting.send(12, &request).await;
    assert!(idle.is_closed().await);
    waiting.receive::<FetchRequest>(12).await;
}

#[tokio::test]
async fn connection_limits_hold() {
    let rig = Rig::with(&["max.connections.per.ip=2"]).await;
    let (mut a, mut b) = (rig.client().await, rig.client().await);
    a.metadata(&[]).await;
    b.metadata(&[]).await;
    assert!(rig.client().await.is_closed().await, "the third one is refused");
    drop(a);
    // The place is free when the broker has noticed.
    loop {
        let mut next = rig.client().await;
        let sent =
            next.raw(&[0, 0, 0, 14, 0, 18, 0, 0, 0, 0, 0, 1, 0, 4, b't', b'e', b's', b't']).await;
        if sent.is_ok() && next.frame().await.is_some() {
            break;
        }
    }
    b.metadata(&[]).await;
    let rig = Rig::with(&["max.connections=1"]).await;
    let mut first = rig.client().await;
    first.metadata(&[]).await;
    let mut second = rig.client().await;
    second.send(12, &MetadataRequest::default()).await;
    drop(first);
    let (_, _): (i32, MetadataResponse) = second.receive::<MetadataRequest>(12).await;
}

#[tokio::test]
async fn two_brokers_share_a_process_and_nothing_else() {
    let (one, two) = (Rig::new().await, Rig::with(&["producer.id.expiration.ms=60000"]).await);
    for (rig, name) in [(&one, "a"), (&two, "b")] {
        rig.client().await.create(name, 1, &[]).await;
    }
    assert_ne!(one.broker.cluster_id(), two.broker.cluster_id());
    assert_eq!(two.client().await.metadata(&["a"]).await.topics[0].error_code, 3);
    // The clock of one is moved by an hour: its timers fire, those of the other do not.
    let before = two.broker.env().clock.now();
    let deadline = before.plus_millis(3_600_000);
    one.broker.env().clock.advance(Duration::from_secs(3_600));
    assert!(one.broker.env().clock.now() >= deadline);
    assert!(two.broker.env().clock.now() < before.plus_millis(600_000));
    // One ends: no task and no port of it is left, and the other goes on.
    let address = one.broker.addresses()[0];
    let env = one.broker.env().clone();
    let (disk, data) = (Arc::clone(&one.disk), one.data.clone());
    one.broker.stop().await.unwrap();
    assert_eq!(env.tasks.count(), 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    two.client().await.append("b", 0, batch(&["x"])).await;
    let again = Rig::on(disk, &data, &[]).await.unwrap();
    assert_eq!(again.client().await.metadata(&["a"]).await.topics[0].error_code, 0);
}

#[tokio::test]
async fn timers_of_a_moved_clock_fire() {
    let rig = Rig::with(&[
        "producer.id.expiration.ms=1000",
        "producer.id.expiration.check.interval.ms=3600000",
    ])
    .await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let mut builder = ottla::record::BatchBuilder::new();
    builder.producer(ottla::model::ProducerId(5), ottla::model::ProducerEpoch(0), 0);
    builder.push(UnixMillis(crate::rig::now().0), None, Some(b"v"));
    client.append("t", 0, builder.build()).await;
    let mut topic = ottla::wire::messages::describe_producers_request::TopicRequest::default();
    (topic.name, topic.partition_indexes) = (crate::rig::wire_name("t"), vec![0]);
    let mut request = ottla::wire::messages::DescribeProducersRequest::default();
    request.topics = vec![topic];
    let producers = async |client: &mut crate::rig::Client| {
        client.call(0, &request).await.topics[0].partitions[0].active_producers.len()
    };
    assert_eq!(producers(&mut client).await, 1);
    rig.broker.env().clock.advance(Duration::from_secs(3_601));
    let expired = async {
        while producers(&mut client).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, expired).await.expect("the producer expires");
}

#[tokio::test]
async fn a_data_directory_has_one_broker() {
    let disk = Arc::new(MemoryDisk::new());
    let first = Rig::on(disk.clone(), Path::new("data"), &[]).await.unwrap();
    let second = Rig::on(disk, Path::new("data"), &[]).await.err().expect("it is in use");
    assert!(second.to_string().contains("in use by another broker"), "{second}");
    first.broker.stop().await.unwrap();
}
