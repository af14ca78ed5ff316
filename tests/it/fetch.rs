//! Fetch: whole batches, limits, sessions, and waiting for records.

use std::time::{Duration, Instant};

use ottla::model::{ErrorCode, LeaderEpoch, Offset, TopicId};
use ottla::record::scan;
use ottla::wire::fetch::ForgottenTopic;
use ottla::wire::{FetchRequest, FetchResponse, Text};

use crate::rig::{PATIENCE, Rig, batch, fetch};

fn sizes(response: &FetchResponse) -> Vec<(i32, usize)> {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|p| (p.partition_index.0, p.records.iter().map(bytes::Bytes::len).sum()))
        .collect()
}

#[tokio::test]
async fn every_version_reads() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let id = client.create("t", 1, &[]).await;
    client.append("t", 0, batch(&["a", "b"])).await;
    for version in 4..=18 {
        let mut request = fetch("t", &[(0, 0)]);
        if version >= 13 {
            request.topics[0].topic = Text::default();
            request.topics[0].topic_id = id;
        }
        let response: FetchResponse = client.call(version, &request).await;
        let partition = &response.topics[0].partitions[0];
        assert_eq!(partition.error_code, ErrorCode::None);
        assert_eq!(
            (partition.high_watermark, partition.last_stable_offset),
            (Offset(2), Offset(2))
        );
        assert_eq!(partition.records.concat().len(), batch(&["a", "b"]).len(), "v{version}");
    }
}

#[tokio::test]
async fn an_offset_within_a_batch_gives_the_whole_batch() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    client.append("t", 0, batch(&["a", "b", "c"])).await;
    client.append("t", 0, batch(&["d"])).await;
    let fetched = client.fetch("t", 0, 2).await;
    let records = fetched.records.concat();
    let bases: Vec<_> = scan(&records).map(|batch| batch.unwrap().header.base_offset.0).collect();
    assert_eq!(bases, [0, 3]);
}

#[tokio::test]
async fn errors_have_their_codes() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    client.append("t", 0, batch(&["a"])).await;
    let mut code = async |version, request: FetchRequest| {
        let response: FetchResponse = client.call(version, &request).await;
        response.topics[0].partitions[0].error_code
    };
    assert_eq!(code(12, fetch("t", &[(0, 2)])).await, ErrorCode::OffsetOutOfRange);
    assert_eq!(code(12, fetch("t", &[(0, -1)])).await, ErrorCode::OffsetOutOfRange);
    assert_eq!(code(12, fetch("t", &[(9, 0)])).await, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(code(12, fetch("u", &[(0, 0)])).await, ErrorCode::UnknownTopicOrPartition);
    let mut unknown = fetch("t", &[(0, 0)]);
    unknown.topics[0].topic_id = TopicId(uuid::Uuid::from_u128(7));
    assert_eq!(code(13, unknown).await, ErrorCode::UnknownTopicId);
    for (epoch, expected) in [(0, ErrorCode::None), (5, ErrorCode::UnknownLeaderEpoch)] {
        let mut request = fetch("t", &[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = LeaderEpoch(epoch);
        assert_eq!(code(12, request).await, expected, "epoch {epoch}");
    }
}

#[tokio::test]
async fn a_restart_fences_the_old_leader_epoch() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    client.append("t", 0, batch(&["a"])).await;
    let rig = rig.restart().await;
    let mut client = rig.client().await;
    client.append("t", 0, batch(&["b"])).await;
    let mut request = fetch("t", &[(0, 1)]);
    request.topics[0].partitions[0].current_leader_epoch = LeaderEpoch(0);
    let response: FetchResponse = client.call(12, &request).await;
    assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::FencedLeaderEpoch);
    // A reader whose last record is of an epoch that ended earlier here is told where.
    request.topics[0].partitions[0].current_leader_epoch = LeaderEpoch(1);
    request.topics[0].partitions[0].last_fetched_epoch = LeaderEpoch(0);
    request.topics[0].partitions[0].fetch_offset = Offset(2);
    let response: FetchResponse = client.call(12, &request).await;
    let diverging = response.topics[0].partitions[0].diverging_epoch.as_ref().unwrap();
    assert_eq!((diverging.epoch, diverging.end_offset), (LeaderEpoch(0), Offset(1)));
}

#[tokio::test]
async fn limits_hold_but_never_stop_a_reader() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 3, &[]).await;
    let one = batch(&[&"x".repeat(1_000)]);
    for partition in 0..3 {
        for _ in 0..5 {
            client.append("t", partition, one.clone()).await;
        }
    }
    let size = one.len();
    let all = [(0, 0), (1, 0), (2, 0)];
    // The first batch of the first partition is whole although it is larger than all limits.
    let mut request = fetch("t", &all);
    request.max_bytes = 10;
    request.topics[0]
        .partitions
        .iter_mut()
        .for_each(|partition| partition.partition_max_bytes = 10);
    assert_eq!(sizes(&client.call(12, &request).await), [(0, size), (1, 0), (2, 0)]);
    // Each partition keeps to its own limit.
    let mut request = fetch("t", &all);
    request.topics[0]
        .partitions
        .iter_mut()
        .for_each(|p| p.partition_max_bytes = 2 * size as i32 + 10);
    let found: FetchResponse = client.call(12, &request).await;
    for (partition, bytes) in sizes(&found) {
        assert!((2 * size..=2 * size + 10).contains(&bytes), "{partition}: {bytes}");
    }
    // The response as a whole keeps to its limit.
    let mut request = fetch("t", &all);
    request.max_bytes = 7 * size as i32;
    let total: usize = sizes(&client.call(12, &request).await).iter().map(|(_, bytes)| bytes).sum();
    assert!(total <= 7 * size && total >= 6 * size, "{total}");
}

#[tokio::test]
async fn a_session_serves_its_partitions_in_turn() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 3, &[]).await;
    let one = batch(&[&"x".repeat(1_000)]);
    for partition in 0..3 {
        client.append("t", partition, one.clone()).await;
    }
    let mut begin = fetch("t", &[(0, 0), (1, 0), (2, 0)]);
    (begin.session_epoch, begin.max_bytes) = (0, 10);
    let first: FetchResponse = client.call(12, &begin).await;
    assert!(first.session_id != 0 && first.error_code == ErrorCode::None);
    assert_eq!(sizes(&first).len(), 3, "the first answer speaks of all");
    let mut served = Vec::new();
    for epoch in 1..=3 {
        let mut next = fetch("t", &[]);
        (next.topics, next.session_id, next.session_epoch, next.max_bytes) =
            (Vec::new(), first.session_id, epoch, 10);
        let answer: FetchResponse = client.call(12, &next).await;
        let with_records: Vec<_> =
            sizes(&answer).into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        assert_eq!(with_records.len(), 1);
        served.push(with_records[0].0);
    }
    assert_eq!(served, [0, 1, 2]);
    let mut wrong = fetch("t", &[]);
    (wrong.session_id, wrong.session_epoch) = (first.session_id, 9);
    let answer: FetchResponse = client.call(12, &wrong).await;
    assert_eq!(answer.error_code, ErrorCode::InvalidFetchSessionEpoch);
    let mut forget = fetch("t", &[]);
    forget.topics = Vec::new();
    (forget.session_id, forget.session_epoch) = (first.session_id, 4);
    let partitions = [0, 1].map(ottla::model::PartitionId).to_vec();
    forget.forgotten_topics = vec![ForgottenTopic {
        topic: Text::from_static_str("t"),
        topic_id: TopicId::ZERO,
        partitions,
    }];
    let answer: FetchResponse = client.call(12, &forget).await;
    assert_eq!(sizes(&answer).iter().map(|(partition, _)| *partition).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_reader_that_waits_is_woken_by_the_record() {
    let rig = Rig::new().await;
    let (mut reader, mut writer) = (rig.client().await, rig.client().await);
    writer.create("t", 2, &[]).await;
    let mut request = fetch("t", &[(0, 0), (1, 0)]);
    request.max_wait_ms = i32::MAX;
    reader.send(12, &request).await;
    // The metadata request behind it is answered after it: replies keep their order.
    let second = reader.send(12, &fetch("t", &[(0, 0)])).await;
    writer.append("t", 1, batch(&["x"])).await;
    let begun = Instant::now();
    let (_, answer) = reader.receive::<FetchRequest>(12).await;
    assert_eq!(sizes(&answer)[1].1, batch(&["x"]).len());
    assert!(begun.elapsed() < PATIENCE, "not by a timer");
    assert_eq!(reader.receive::<FetchRequest>(12).await.0, second);
}

#[tokio::test]
async fn a_reader_waits_for_as_much_as_it_asked_for() {
    let rig = Rig::new().await;
    let (mut reader, mut writer) = (rig.client().await, rig.client().await);
    writer.create("t", 1, &[]).await;
    let size = batch(&["x"]).len() as i32;
    let mut request = fetch("t", &[(0, 0)]);
    (request.max_wait_ms, request.min_bytes) = (i32::MAX, 3 * size);
    reader.send(12, &request).await;
    for _ in 0..3 {
        writer.append("t", 0, batch(&["x"])).await;
    }
    let (_, answer) = reader.receive::<FetchRequest>(12).await;
    assert_eq!(sizes(&answer), [(0, 3 * size as usize)]);
}

#[tokio::test]
async fn a_wait_ends_when_its_time_is_up_or_its_topic_is_gone() {
    let rig = Rig::new().await;
    let (mut reader, mut writer) = (rig.client().await, rig.client().await);
    writer.create("t", 1, &[]).await;
    let mut request = fetch("t", &[(0, 0)]);
    request.max_wait_ms = 50;
    let begun = Instant::now();
    let answer: FetchResponse = reader.call(12, &request).await;
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_eq!(sizes(&answer), [(0, 0)]);
    request.max_wait_ms = i32::MAX;
    reader.send(12, &request).await;
    // A second request is answered only when the first one waits, so the deletion comes after that.
    let mut other = rig.client().await;
    other.metadata(&["t"]).await;
    let mut delete = ottla::wire::messages::DeleteTopicsRequest::default();
    delete.topic_names = vec![crate::rig::wire_name("t")];
    writer.call(3, &delete).await;
    let (_, answer) = reader.receive::<FetchRequest>(12).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test]
async fn bytes_that_are_not_in_memory_are_read_all_the_same() {
    use std::path::Path;
    use std::sync::Arc;

    use ottla::env::{Fault, FaultyDisk, MemoryDisk};

    let faulty = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let rig = Rig::on(Arc::new(faulty.clone()), Path::new("data"), &[]).await.unwrap();
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    client.append("t", 0, batch(&["a", "b"])).await;
    faulty.inject(Fault::Cold(".log".into()));
    assert_eq!(client.values("t", 0).await, ["a", "b"]);
    faulty.inject(Fault::Read(".log".into()));
    assert_eq!(client.fetch("t", 0, 0).await.error_code, ErrorCode::KafkaStorageError);
}
