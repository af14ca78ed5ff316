//! Compacted topics: of each key the latest record stays, and everything else goes on as before.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla::env::{Fault, FaultyDisk, MemoryDisk, OpenMode, RealDisk};
use ottla::model::{ErrorCode, Offset, TopicId};
use ottla::record::{BatchBuilder, Compression};

use crate::configs::{SET, TOPIC, alter};
use crate::groups::{commit, find, offsets};
use crate::rig::{Client, Rig, now};
use crate::topics::delete;

const COMPACTED: [(&str, &str); 3] = [
    ("cleanup.policy", "compact"),
    ("internal.segment.bytes", "1000"),
    ("min.cleanable.dirty.ratio", "0.01"),
];

fn keyed(codec: Compression, key: usize, value: &str) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.compression(codec).push(
        now(),
        Some(format!("key {key}").as_bytes()),
        Some(value.as_bytes()),
    );
    builder.build()
}

/// Writes so many records, of five keys. Gives the latest value of each.
async fn write(client: &mut Client, topic: &str, count: usize) -> BTreeMap<usize, String> {
    let mut latest = BTreeMap::new();
    for i in 0..count {
        let value = format!("{} {i}", i % 5);
        client.append(topic, 0, keyed(Compression::ALL[i % 4], i % 5, &value)).await;
        latest.insert(i % 5, value);
    }
    latest
}

/// The last value of each key that a consumer sees, and how many values there are.
async fn seen(client: &mut Client, topic: &str) -> (BTreeMap<usize, String>, usize) {
    let values = client.values(topic, 0).await;
    let count = values.len();
    let of_key = |value: String| (value.split(' ').next().unwrap().parse().unwrap(), value);
    (values.into_iter().map(of_key).collect(), count)
}

/// Moves the clock on until no more than so many records of a topic are left.
async fn until_at_most(rig: &Rig, client: &mut Client, topic: &str, count: usize) {
    while seen(client, topic).await.1 > count {
        rig.broker.env().clock.advance(Duration::from_secs(15));
        tokio::task::yield_now().await;
    }
}

/// The files of a partition whose names end so, with their bytes; none that is removed meanwhile.
fn files(rig: &Rig, partition: &str, suffix: &str) -> Vec<(String, u64)> {
    let directory = rig.data.join(partition);
    let length = |name: &str| rig.disk.open(&directory.join(name), OpenMode::Read)?.len();
    let entries = rig.disk.list(&directory).unwrap().into_iter();
    let named = entries.map(|entry| entry.name).filter(|name| name.ends_with(suffix));
    named.filter_map(|name| length(&name).ok().map(|length| (name, length))).collect()
}

#[tokio::test]
async fn the_latest_value_of_each_key_stays_whatever_stops_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut rig = Rig::on(Arc::new(RealDisk::new()), &data, &[]).await.unwrap();
    let mut client = rig.client().await;
    // It becomes a compacted one while there is something in it.
    client.create("t", 1, &[("cleanup.policy", "delete"), COMPACTED[1], COMPACTED[2]]).await;
    let mut latest = write(&mut client, "t", 60).await;
    let set = [("cleanup.policy", SET, Some("compact"))];
    assert_eq!(alter(&mut client, TOPIC, "t", &set).await, ErrorCode::None);
    for crash in [true, false] {
        until_at_most(&rig, &mut client, "t", 25).await;
        assert_eq!(seen(&mut client, "t").await.0, latest);
        rig = if crash { rig.crash().await } else { rig.restart().await };
        client = rig.client().await;
        assert_eq!(seen(&mut client, "t").await.0, latest, "after a crash: {crash}");
        latest = write(&mut client, "t", 60).await;
    }
    until_at_most(&rig, &mut client, "t", 25).await;
    assert_eq!(client.append("t", 0, keyed(Compression::None, 1, "1 x")).await, Offset(180));
    // The files of the segments that were replaced go some time later.
    while !files(&rig, "t-0", ".deleted").is_empty() {
        rig.broker.env().clock.advance(Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    let checkpoint = || rig.disk.read_small(&data.join("cleaner-offset-checkpoint")).unwrap();
    while checkpoint().is_none() {
        tokio::task::yield_now().await;
    }
    let text = String::from_utf8(checkpoint().unwrap()).unwrap();
    let offset: i64 = text.strip_prefix("0\n1\nt 0 ").unwrap().trim().parse().unwrap();
    assert!((60..180).contains(&offset), "{offset}");
}

#[tokio::test]
async fn a_topic_with_both_policies_is_compacted_and_its_old_segments_go() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let both = ("cleanup.policy", "compact,delete");
    client.create("t", 1, &[both, COMPACTED[1], COMPACTED[2], ("retention.ms", "7200000")]).await;
    let latest = write(&mut client, "t", 60).await;
    until_at_most(&rig, &mut client, "t", 25).await;
    assert_eq!(seen(&mut client, "t").await.0, latest);
    rig.broker.env().clock.advance(Duration::from_secs(7_300));
    while client.fetch("t", 0, 60).await.log_start_offset < Offset(60) {
        rig.broker.env().clock.advance(Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    assert_eq!(client.append("t", 0, keyed(Compression::None, 1, "1 x")).await, Offset(60));
}

#[tokio::test]
async fn a_topic_that_is_made_again_is_compacted_from_its_own_beginning() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    for round in 0..3 {
        client.create("t", 1, &COMPACTED).await;
        let latest = write(&mut client, "t", 60 - round * 10).await;
        until_at_most(&rig, &mut client, "t", 25).await;
        assert_eq!(seen(&mut client, "t").await.0, latest);
        delete(&mut client, "t").await;
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_left_alone_and_the_others_are_compacted() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let rig = Rig::on(Arc::new(disk.clone()), Path::new("data"), &[]).await.unwrap();
    let mut client = rig.client().await;
    for topic in ["bad", "good"] {
        client.create(topic, 1, &COMPACTED).await;
    }
    disk.inject(Fault::Read("bad-0/00000000000000000000.log".to_owned()));
    for topic in ["bad", "good"] {
        write(&mut client, topic, 60).await;
    }
    until_at_most(&rig, &mut client, "good", 25).await;
    // All of the other one is new, and only a part of this one: so it is tried before this one's turn comes again.
    write(&mut client, "good", 60).await;
    until_at_most(&rig, &mut client, "good", 25).await;
    disk.clear();
    assert_eq!(client.values("bad", 0).await.len(), 60);
    write(&mut client, "good", 60).await;
    until_at_most(&rig, &mut client, "good", 25).await;
    assert_eq!(client.values("bad", 0).await.len(), 60, "not before the next start");
    let rig = rig.restart().await;
    let mut client = rig.client().await;
    until_at_most(&rig, &mut client, "bad", 25).await;
}

#[tokio::test]
async fn a_directory_is_given_up_when_its_checkpoint_cannot_be_written() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let rig = Rig::on(Arc::new(disk.clone()), Path::new("data"), &[]).await.unwrap();
    let mut client = rig.client().await;
    client.create("t", 1, &COMPACTED).await;
    let latest = write(&mut client, "t", 60).await;
    disk.inject(Fault::Write("cleaner-offset-checkpoint".to_owned()));
    while !rig.broker.env().tasks.has_failed() {
        rig.broker.env().clock.advance(Duration::from_secs(15));
        tokio::task::yield_now().await;
    }
    disk.clear();
    let rig = rig.crash().await;
    let mut client = rig.client().await;
    until_at_most(&rig, &mut client, "t", 25).await;
    assert_eq!(seen(&mut client, "t").await.0, latest);
    files_until(&rig, "cleaner-offset-checkpoint").await;
}

/// Lets time pass until there is such a file in the data directory.
async fn files_until(rig: &Rig, wanted: &str) {
    while !files(rig, "", "").iter().any(|(name, _)| name == wanted) {
        rig.broker.env().clock.advance(Duration::from_secs(15));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nothing_is_compacted_if_that_is_switched_off() {
    let rig = Rig::with(&["log.cleaner.enable=false"]).await;
    let mut client = rig.client().await;
    client.create("t", 1, &COMPACTED).await;
    write(&mut client, "t", 60).await;
    rig.broker.env().clock.advance(Duration::from_secs(3_600));
    assert_eq!(client.values("t", 0).await.len(), 60);
}

/// What groups 0 to 9 have committed.
async fn committed(client: &mut Client, id: TopicId) -> Vec<i64> {
    let mut committed = Vec::new();
    for group in 0..10 {
        let group = format!("g{group}");
        let loading = ErrorCode::CoordinatorLoadInProgress;
        let fetched = loop {
            let fetched = client.call(9, &offsets(&group, Some(("t", id)), 9)).await;
            if fetched.groups[0].error_code != loading {
                break fetched;
            }
        };
        committed.push(fetched.groups[0].topics[0].partitions[0].committed_offset.0);
    }
    committed
}

#[tokio::test]
async fn committed_offsets_are_the_same_after_their_topic_has_shrunk() {
    const OFFSETS: &str = "__consumer_offsets";
    let mut rig = Rig::with(&["offsets.topic.num.partitions=1"]).await;
    let mut client = rig.client().await;
    let id = client.create("t", 1, &[]).await;
    find(&mut client, "g").await;
    let small = [("internal.segment.bytes", SET, Some("2000"))];
    assert_eq!(alter(&mut client, TOPIC, OFFSETS, &small).await, ErrorCode::None);
    let mut expected = vec![0; 10];
    for crash in [true, false] {
        for i in 0..400_i64 {
            let group = i % 10;
            let mut request = commit(&format!("g{group}"), "t", id);
            request.topics[0].partitions[0].committed_offset = Offset(1_000 + i);
            let response = client.call(9, &request).await;
            assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::None);
            expected[group as usize] = 1_000 + i;
        }
        let bytes = |rig: &Rig| -> u64 {
            files(rig, "__consumer_offsets-0", ".log").into_iter().map(|file| file.1).sum()
        };
        // Each round writes more than three times as much.
        while bytes(&rig) > 10_000 {
            rig.broker.env().clock.advance(Duration::from_secs(15));
            tokio::task::yield_now().await;
        }
        assert_eq!(committed(&mut client, id).await, expected);
        rig = if crash { rig.crash().await } else { rig.restart().await };
        client = rig.client().await;
        assert_eq!(committed(&mut client, id).await, expected, "after a crash: {crash}");
    }
}
