//! What is on disk when: flushes by count and by time, and what an acknowledgement promises.

use std::path::Path;
use std::sync::Arc;

use ottla::env::{Disk, Fault, FaultyDisk, MemoryDisk};
use ottla::model::{ErrorCode, Offset};
use ottla::wire::ProduceResponse;

use crate::configs::{SET, TOPIC, alter};
use crate::rig::{Client, PATIENCE, Rig, batch, produce};

/// Recovery points and log starts are written down at once.
const OFTEN: [&str; 2] = [
    "log.flush.offset.checkpoint.interval.ms=1",
    "log.flush.start.offset.checkpoint.interval.ms=1",
];

/// Waits until a line stands in a file of the data directory.
async fn until_written(disk: &dyn Disk, file: &str, line: &str) {
    let path = Path::new("data").join(file);
    let is_there = || {
        let bytes = disk.read_small(&path).unwrap().unwrap_or_default();
        String::from_utf8(bytes).unwrap().lines().any(|other| other == line)
    };
    let wait = async {
        while !is_there() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no '{line}' in {file}"));
}

async fn until_recovery_point(rig: &Rig, topic: &str, offset: i64) {
    let line = format!("{topic} 0 {offset}");
    until_written(&*rig.disk, "recovery-point-offset-checkpoint", &line).await;
}

/// Appends without waiting for replicas.
async fn append_alone(client: &mut Client, topic: &str, value: &str) -> (ErrorCode, Offset) {
    let mut request = produce(topic, 0, batch(&[value]));
    request.acks = 1;
    let response: ProduceResponse = client.call(12, &request).await;
    let partition = &response.topics[0].partitions[0];
    (partition.error_code, partition.base_offset)
}

#[tokio::test]
async fn so_many_records_are_flushed_before_they_are_acknowledged() {
    let rig = Rig::with(&[OFTEN[0], "log.flush.interval.messages=3"]).await;
    let mut client = rig.client().await;
    client.create("three", 1, &[]).await;
    client.create("one", 1, &[("flush.messages", "1")]).await;
    for _ in 0..5 {
        client.append("three", 0, batch(&["x"])).await;
    }
    until_recovery_point(&rig, "three", 3).await;
    for acks_all in [true, false] {
        if acks_all {
            client.append("one", 0, batch(&["x"])).await;
        } else {
            assert_eq!(append_alone(&mut client, "one", "x").await.0, ErrorCode::None);
        }
    }
    until_recovery_point(&rig, "one", 2).await;
    until_recovery_point(&rig, "three", 3).await;
}

#[tokio::test]
async fn logs_are_flushed_when_their_time_has_come() {
    let options = [OFTEN[0], "log.flush.scheduler.interval.ms=1", "log.flush.interval.ms=1"];
    let rig = Rig::with(&options).await;
    let mut client = rig.client().await;
    client.create("late", 1, &[("flush.ms", "1000000000")]).await;
    client.create("soon", 1, &[]).await;
    for topic in ["late", "soon"] {
        client.append(topic, 0, batch(&["x", "y"])).await;
    }
    until_recovery_point(&rig, "soon", 2).await;
    until_recovery_point(&rig, "late", 0).await;
    assert_eq!(
        alter(&mut client, TOPIC, "late", &[("flush.ms", SET, Some("1"))]).await,
        ErrorCode::None
    );
    until_recovery_point(&rig, "late", 2).await;
}

#[tokio::test]
async fn a_topic_is_flushed_when_that_is_asked_of_it_later() {
    let rig = Rig::with(&OFTEN).await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    client.append("t", 0, batch(&["x", "y"])).await;
    until_recovery_point(&rig, "t", 0).await;
    let change = [("flush.messages", SET, Some("1"))];
    assert_eq!(alter(&mut client, TOPIC, "t", &change).await, ErrorCode::None);
    until_recovery_point(&rig, "t", 2).await;
}

#[tokio::test]
async fn an_append_whose_sync_fails_is_not_acknowledged() {
    for acks_all in [true, false] {
        let faulty = FaultyDisk::new(Arc::new(MemoryDisk::new()));
        let rig = Rig::on(Arc::new(faulty.clone()), Path::new("data"), &[]).await.unwrap();
        let mut client = rig.client().await;
        client.create("t", 1, &[("flush.messages", "1")]).await;
        client.append("t", 0, batch(&["before"])).await;
        faulty.inject(Fault::Sync(".log".into()));
        let code = if acks_all {
            client.produce("t", 0, batch(&["x"])).await.error_code
        } else {
            append_alone(&mut client, "t", "x").await.0
        };
        assert_eq!(code, ErrorCode::KafkaStorageError);
        assert_eq!(client.values("t", 0).await, ["before"], "nobody saw what may be lost");
        rig.broker.failure().await;
    }
}
