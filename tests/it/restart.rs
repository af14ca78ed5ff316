//! Restarts: what was acknowledged is there, whatever stopped the broker.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ottla::cluster::{Command, NewTopic};
use ottla::controller::{LocalQuorum, Quorum as _, Storage};
use ottla::env::{Disk as _, Env, Fault, FaultyDisk, MemoryDisk, RealDisk, Rng};
use ottla::model::{BrokerId, ErrorCode, Offset, TopicId, TopicName, UuidText};

use crate::list_offsets::delete_before;
use crate::rig::{Client, Rig, batch};
use crate::topics::delete;

#[tokio::test]
async fn everything_is_there_after_a_stop_and_after_a_crash() {
    let mut rig = Rig::new().await;
    let mut client = rig.client().await;
    let id = client.create("t", 2, &[("retention.ms", "12345")]).await;
    let cluster = rig.broker.cluster_id();
    let mut expected = Vec::new();
    for round in 0..6 {
        let mut client = rig.client().await;
        for i in 0..20 {
            let value = format!("{round} {i}");
            client.append("t", 1, batch(&[&value])).await;
            expected.push(value);
        }
        rig = if round % 2 == 0 { rig.crash().await } else { rig.restart().await };
        let mut client = rig.client().await;
        assert_eq!(client.values("t", 1).await, expected);
        let metadata = client.metadata(&["t"]).await;
        assert_eq!((metadata.topics[0].topic_id, metadata.topics[0].partitions.len()), (id.0, 2));
        assert_eq!(rig.broker.cluster_id(), cluster);
    }
}

#[tokio::test]
async fn small_segments_on_a_real_disk_survive_too() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut rig = Rig::on(Arc::new(RealDisk::new()), &data, &[]).await.unwrap();
    let mut client = rig.client().await;
    client.create("t", 1, &[("internal.segment.bytes", "2000")]).await;
    let mut expected = Vec::new();
    for i in 0..100 {
        let value = format!("value {i}");
        client.append("t", 0, batch(&[&value])).await;
        expected.push(value);
    }
    for crash in [true, false] {
        rig = if crash { rig.crash().await } else { rig.restart().await };
        assert_eq!(rig.client().await.values("t", 0).await, expected);
    }
    let files = rig.disk.list(&data.join("t-0")).unwrap();
    assert!(files.iter().filter(|file| file.name.ends_with(".log")).count() > 2);
}

#[tokio::test]
async fn a_power_cut_never_keeps_the_broker_from_starting() {
    for seed in 0..20 {
        let disk = MemoryDisk::with_power_model();
        disk.create_dir_all(Path::new("data")).unwrap();
        disk.sync_all();
        let rig = Rig::on(Arc::new(disk.clone()), Path::new("data"), &[]).await.unwrap();
        let mut client = rig.client().await;
        client.create("t", 1, &[("internal.segment.bytes", "500")]).await;
        for i in 0..20 {
            client.append("t", 0, batch(&[&format!("{i}")])).await;
        }
        let after = disk.power_cut(&Rng::from_seed(seed));
        let cluster = rig.broker.cluster_id();
        rig.broker.kill().await;
        let rig = Rig::on(Arc::new(after), Path::new("data"), &[]).await.unwrap();
        assert_eq!(rig.broker.cluster_id(), cluster);
        let mut client = rig.client().await;
        let values = client.values("t", 0).await;
        let beginning: Vec<_> = (0..values.len()).map(|i| i.to_string()).collect();
        assert_eq!(values, beginning, "a beginning of what was appended, seed {seed}");
        client.append("t", 0, batch(&["more"])).await;
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_to_the_client_and_no_more() {
    let faulty = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let rig = Rig::on(Arc::new(faulty.clone()), Path::new("data"), &[]).await.unwrap();
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    client.append("t", 0, batch(&["before"])).await;
    faulty.inject(Fault::NoSpaceAfter(30));
    assert_eq!(
        client.produce("t", 0, batch(&["lost"])).await.error_code,
        ErrorCode::KafkaStorageError
    );
    assert_eq!(client.values("t", 0).await, ["before"], "earlier data can be read");
    let refused = client.call(7, &crate::rig::creation("u", 1, &[])).await;
    assert_ne!(refused.topics[0].error_code, 0);
    faulty.clear();
    client.append("t", 0, batch(&["after"])).await;
    client.create("u", 1, &[]).await;
    assert!(!rig.broker.env().tasks.has_failed());
    let rig = rig.crash().await;
    assert_eq!(rig.client().await.values("t", 0).await, ["before", "after"]);
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_broker() {
    let faulty = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let rig = Rig::on(Arc::new(faulty.clone()), Path::new("data"), &[]).await.unwrap();
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    faulty.inject(Fault::Write(".log".into()));
    assert_eq!(
        client.produce("t", 0, batch(&["x"])).await.error_code,
        ErrorCode::KafkaStorageError
    );
    rig.broker.failure().await;
}

#[tokio::test]
async fn a_damaged_log_is_offline_and_the_rest_is_served() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 2, &[]).await;
    for partition in [0, 1] {
        client.append("t", partition, batch(&["x"])).await;
        client.append("t", partition, batch(&["y"])).await;
    }
    let (disk, data) = (Arc::clone(&rig.disk), rig.data.clone());
    rig.broker.stop().await.unwrap();
    // The stop was clean, so what is on the disk was durable: this is not a torn end.
    let path = data.join("t-0/00000000000000000000.log");
    let file = disk.open(&path, ottla::env::OpenMode::Write).unwrap();
    file.write_at(8, &[&[0x7f]]).unwrap();
    disk.remove_file(&data.join("t-0/00000000000000000000.index")).unwrap();
    let rig = Rig::on(disk, &data, &[]).await.unwrap();
    let mut client = rig.client().await;
    assert_eq!(
        client.produce("t", 0, batch(&["z"])).await.error_code,
        ErrorCode::KafkaStorageError
    );
    assert_eq!(client.fetch("t", 0, 0).await.error_code, ErrorCode::KafkaStorageError);
    assert_eq!(client.values("t", 1).await, ["x", "y"]);
}

#[tokio::test]
async fn a_directory_of_another_node_or_cluster_is_refused() {
    let rig = Rig::new().await;
    let (disk, data) = (Arc::clone(&rig.disk), rig.data.clone());
    rig.broker.stop().await.unwrap();
    for (option, words) in
        [("node.id=2", "belongs to node 1"), ("ottla.cluster.id=other", "belongs to cluster")]
    {
        let refused = Rig::on(Arc::clone(&disk), &data, &[option]).await.err().unwrap();
        assert!(refused.to_string().contains(words), "{refused}");
    }
}

/// A topic `t` with ten records, of which the first eight are deleted; its checkpoints say so.
async fn shortened(client: &mut Client) {
    client.create("t", 1, &[]).await;
    for i in 0..10 {
        client.append("t", 0, batch(&[&format!("old {i}")])).await;
    }
    assert_eq!(delete_before(client, 8).await, (ErrorCode::None, 8));
}

fn checkpoint(rig: &Rig, name: &str) -> String {
    let bytes = rig.disk.read_small(&rig.data.join(name)).unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_name_that_is_given_again_begins_at_zero() {
    enum Between {
        Nothing,
        Crash,
        Stop,
    }
    for between in [Between::Nothing, Between::Crash, Between::Stop] {
        let rig = Rig::new().await;
        shortened(&mut rig.client().await).await;
        let rig = match between {
            Between::Nothing => rig,
            Between::Crash => rig.crash().await,
            Between::Stop => rig.restart().await,
        };
        let mut client = rig.client().await;
        assert_eq!(delete(&mut client, "t").await, 0);
        client.create("t", 1, &[]).await;
        assert_eq!(client.append("t", 0, batch(&["new"])).await, Offset(0));
        let rig = rig.crash().await;
        assert_eq!(rig.client().await.values("t", 0).await, ["new"]);
        let rig = rig.restart().await;
        assert_eq!(rig.client().await.values("t", 0).await, ["new"]);
    }
}

#[tokio::test]
async fn a_torn_end_is_cut_off_whatever_was_durable_of_an_earlier_topic() {
    let rig = Rig::new().await;
    shortened(&mut rig.client().await).await;
    let rig = rig.restart().await;
    let mut client = rig.client().await;
    assert_eq!(checkpoint(&rig, "recovery-point-offset-checkpoint"), "0\n1\nt 0 10\n");
    assert_eq!(delete(&mut client, "t").await, 0);
    client.create("t", 1, &[]).await;
    for value in ["a", "b", "torn"] {
        client.append("t", 0, batch(&[value])).await;
    }
    let (disk, data) = (Arc::clone(&rig.disk), rig.data.clone());
    rig.broker.kill().await;
    let path = data.join("t-0/00000000000000000000.log");
    let file = disk.open(&path, ottla::env::OpenMode::Write).unwrap();
    file.set_len(file.len().unwrap() - 1).unwrap();
    let rig = Rig::on(disk, &data, &[]).await.unwrap();
    assert_eq!(rig.client().await.values("t", 0).await, ["a", "b"]);
}

#[tokio::test]
async fn the_directory_of_an_earlier_topic_is_set_aside() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    shortened(&mut client).await;
    let old = TopicId(client.metadata(&["t"]).await.topics[0].topic_id);
    let (disk, data, cluster) = (Arc::clone(&rig.disk), rig.data.clone(), rig.broker.cluster_id());
    rig.broker.kill().await;
    // The process ends when the metadata log has both steps, and the data directory none of them.
    let env = Env::with_disk(Arc::clone(&disk));
    let storage = Storage::Directory { path: data.clone(), id: UuidText(uuid::Uuid::nil()) };
    let started = LocalQuorum::start(&env, storage, BrokerId(1), &cluster).unwrap();
    let new = NewTopic {
        name: TopicName::new("t").unwrap(),
        id: TopicId(uuid::Uuid::from_u128(7)),
        assignments: vec![vec![BrokerId(1)]],
        configs: BTreeMap::new(),
    };
    let commands = vec![Command::DeleteTopic { topic: old }, Command::CreateTopic(new)];
    started.quorum.propose(commands).await.unwrap();
    env.tasks.cancel();
    env.tasks.wait().await;

    let rig = Rig::on(disk, &data, &[]).await.unwrap();
    let mut client = rig.client().await;
    assert_eq!(client.append("t", 0, batch(&["new"])).await, Offset(0));
    let rig = rig.crash().await;
    assert_eq!(rig.client().await.values("t", 0).await, ["new"]);
    let names = rig.disk.list(&data).unwrap().into_iter().map(|entry| entry.name);
    assert_eq!(names.filter(|name| name.ends_with("-stray")).count(), 1);
}

#[tokio::test]
async fn entries_of_deleted_topics_go_from_the_checkpoints() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    shortened(&mut client).await;
    let rig = rig.restart().await;
    assert_eq!(delete(&mut rig.client().await, "t").await, 0);
    let rig = rig.crash().await;
    for name in ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint"] {
        assert_eq!(checkpoint(&rig, name), "0\n0\n", "{name}");
    }
}

#[tokio::test]
async fn a_partition_is_offline_while_an_earlier_one_of_its_name_cannot_be_forgotten() {
    let faulty = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let rig = Rig::on(Arc::new(faulty.clone()), Path::new("data"), &[]).await.unwrap();
    let mut client = rig.client().await;
    shortened(&mut client).await;
    assert_eq!(delete(&mut client, "t").await, 0);
    faulty.inject(Fault::Write("log-start-offset-checkpoint".into()));
    client.create("t", 1, &[]).await;
    let refused = client.produce("t", 0, batch(&["x"])).await;
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError);
    faulty.clear();
    let rig = rig.crash().await;
    assert_eq!(rig.client().await.append("t", 0, batch(&["new"])).await, Offset(0));
}

#[tokio::test]
async fn a_partition_that_is_offline_keeps_its_log_start() {
    let rig = Rig::new().await;
    shortened(&mut rig.client().await).await;
    let (disk, data) = (Arc::clone(&rig.disk), rig.data.clone());
    rig.broker.stop().await.unwrap();
    let path = data.join("t-0/partition.metadata");
    let whole = disk.read_small(&path).unwrap().unwrap();
    disk.replace_small(&path, b"version: 0\n").unwrap();
    let rig = Rig::on(Arc::clone(&disk), &data, &[]).await.unwrap();
    let offline = rig.client().await.fetch("t", 0, 8).await;
    assert_eq!(offline.error_code, ErrorCode::KafkaStorageError);
    rig.broker.stop().await.unwrap();
    disk.replace_small(&path, &whole).unwrap();
    let rig = Rig::on(disk, &data, &[]).await.unwrap();
    let mut client = rig.client().await;
    assert_eq!(client.fetch("t", 0, 7).await.error_code, ErrorCode::OffsetOutOfRange);
    let kept = client.fetch("t", 0, 8).await;
    assert_eq!((kept.log_start_offset, kept.high_watermark), (Offset(8), Offset(10)));
}

#[tokio::test]
async fn a_start_error_says_its_cause_once() {
    let rig = Rig::new().await;
    let (disk, data) = (Arc::clone(&rig.disk), rig.data.clone());
    rig.broker.stop().await.unwrap();
    let faulty = FaultyDisk::new(disk);
    for file in ["ottla-raft-state", "meta.properties"] {
        faulty.clear();
        faulty.inject(Fault::Read(file.into()));
        let error = Rig::on(Arc::new(faulty.clone()), &data, &[]).await.err().expect("no start");
        let words = format!("{:#}", anyhow::Error::from(error));
        assert_eq!(words.matches("injected read fault").count(), 1, "{words}");
        assert!(words.contains(file), "{words}");
    }
}
