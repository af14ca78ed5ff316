//! What is on disk when: flushes by count and by time, and what an acknowledgement promises.

use std::path::Path;
use std::sync::Arc;

use ottla::env::{Disk, Fault, FaultyDisk, MemoryDisk, Rng};
use ottla::model::{ErrorCode, Offset, TopicId};
use ottla::wire::{OffsetCommitResponse, ProduceResponse};
use tokio::sync::watch;

use crate::configs::{SET, TOPIC, alter};
use crate::groups::{commit, find, offsets};
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
        // Nobody sees what may be lost; the directory may have been given up by now.
        let fetched = client.fetch("t", 0, 1).await;
        assert!(fetched.records.concat().is_empty(), "{fetched:?}");
        rig.broker.failure().await;
    }
}

/// What clients know by answers: it must outlive everything.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Values by offset, of acknowledged appends and of fetches.
    records: Vec<(i64, String)>,
    /// The last offset that a group was told it has committed.
    committed: i64,
}

/// Appends to a topic for as long as it goes, every other time without waiting for replicas.
async fn keep_appending(mut client: Client, name: &str, known: &watch::Sender<Known>) {
    for i in 0_u32.. {
        let value = format!("{name} {i}");
        let offset = if i % 2 == 0 {
            client.append("t", 0, batch(&[&value])).await
        } else {
            append_alone(&mut client, "t", &value).await.1
        };
        known.send_modify(|known| known.records.push((offset.0, value)));
    }
}

/// Reads a topic again and again from its end.
async fn keep_reading(mut client: Client, known: &watch::Sender<Known>) {
    let mut next = 0;
    loop {
        let fetched = client.fetch("t", 0, next).await;
        let records = fetched.records.concat();
        for batch in ottla::record::scan(&records).map_while(Result::ok) {
            for (value, offset) in
                crate::rig::values_of(&batch).into_iter().zip(batch.header.base_offset.0..)
            {
                known.send_modify(|known| known.records.push((offset, value)));
            }
            next = batch.header.next_offset().0;
        }
    }
}

async fn keep_committing(mut client: Client, id: TopicId, known: &watch::Sender<Known>) {
    for offset in 0.. {
        let mut request = commit("g", "t", id);
        request.topics[0].partitions[0].committed_offset = Offset(offset);
        let response: OffsetCommitResponse = client.call(9, &request).await;
        assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::None);
        known.send_modify(|known| known.committed = offset);
    }
}

async fn committed(client: &mut Client) -> i64 {
    loop {
        let fetched = client.call(9, &offsets("g", Some(("t", TopicId::ZERO)), 9)).await;
        let group = &fetched.groups[0];
        if group.error_code != ErrorCode::CoordinatorLoadInProgress {
            assert_eq!(group.error_code, ErrorCode::None);
            return group.topics[0].partitions[0].committed_offset.0;
        }
    }
}

/// The disk as a power cut finds it in the middle of the work of several clients, with what they knew then.
async fn cut_in_the_middle(seed: u64) -> (MemoryDisk, Known) {
    let disk = MemoryDisk::with_power_model();
    disk.create_dir_all(Path::new("data")).unwrap();
    disk.sync_all();
    let options = ["ottla.durability=fsync"];
    let rig = Rig::on(Arc::new(disk.clone()), Path::new("data"), &options).await.unwrap();
    let mut client = rig.client().await;
    let id = client.create("t", 1, &[("internal.segment.bytes", "700")]).await;
    find(&mut client, "g").await;
    let (known, mut seen) = watch::channel(Known { committed: -1, ..Known::default() });
    let rng = Rng::from_seed(seed);
    let enough = rng.below(60) as usize;
    let clients = [client, rig.client().await, rig.client().await, rig.client().await];
    let [a, b, c, d] = clients;
    let cut = async {
        seen.wait_for(|known| known.records.len() > enough && known.committed >= 0).await.unwrap();
        let known = seen.borrow().clone();
        // What is answered from here on may or may not be there.
        (disk.power_cut(&rng), known)
    };
    let found = tokio::select! {
        () = keep_appending(a, "a", &known) => unreachable!(),
        () = keep_appending(b, "b", &known) => unreachable!(),
        () = keep_reading(c, &known) => unreachable!(),
        () = keep_committing(d, id, &known) => unreachable!(),
        found = tokio::time::timeout(PATIENCE, cut) => found.unwrap(),
    };
    rig.broker.kill().await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_a_power_cut_takes_nothing_that_was_answered() {
    for seed in 0..25 {
        let (disk, known) = cut_in_the_middle(seed).await;
        let options = ["ottla.durability=fsync"];
        let rig = Rig::on(Arc::new(disk.clone()), Path::new("data"), &options).await.unwrap();
        let mut client = rig.client().await;
        let values = client.values("t", 0).await;
        for (offset, value) in &known.records {
            assert_eq!(values.get(*offset as usize), Some(value), "at {offset}, seed {seed}");
        }
        let committed = committed(&mut client).await;
        assert!(committed >= known.committed, "{committed} < {}, seed {seed}", known.committed);
        rig.broker.kill().await;
    }
}

#[tokio::test]
async fn what_a_dead_process_has_left_is_on_disk_before_it_is_shown() {
    let disk = MemoryDisk::with_power_model();
    disk.create_dir_all(Path::new("data")).unwrap();
    disk.sync_all();
    let start = |disk: &MemoryDisk, options: &'static [&str]| {
        let disk = Arc::new(disk.clone());
        async move { Rig::on(disk, Path::new("data"), options).await.unwrap() }
    };
    let rig = start(&disk, &[]).await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    for value in ["a", "b", "c"] {
        client.append("t", 0, batch(&[value])).await;
    }
    rig.broker.kill().await;
    let rig = start(&disk, &["ottla.durability=fsync"]).await;
    assert_eq!(rig.client().await.values("t", 0).await, ["a", "b", "c"]);
    for seed in 0..10 {
        let after = disk.power_cut(&Rng::from_seed(seed));
        let rig = start(&after, &["ottla.durability=fsync"]).await;
        assert_eq!(rig.client().await.values("t", 0).await, ["a", "b", "c"]);
        rig.broker.kill().await;
    }
    rig.broker.kill().await;
}
