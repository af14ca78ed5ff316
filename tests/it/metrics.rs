//! Metrics whose numbers move when the thing happens: phases of requests, lag in seconds, commits and snapshots of the metadata,
//! how much is shown of single partitions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ottla::env::{Fault, FaultyDisk, MemoryDisk};
use ottla::model::{ErrorCode, Offset, PartitionId, UnixMillis};
use ottla::record::BatchBuilder;
use ottla::wire::{FetchRequest, ProduceRequest, encode_request};

use crate::configs::{BROKER, SET, TOPIC, alter};
use crate::groups::{commit, find, joined};
use crate::http::Metrics;
use crate::rig::{Client, Rig, batch, fetch, now, produce};

/// How many requests of an API were in a phase.
fn phase_count(metrics: &Metrics, api: &str, phase: &str) -> f64 {
    of_phase(metrics, "count", api, phase)
}

/// How many seconds they were, all together.
fn phase_seconds(metrics: &Metrics, api: &str, phase: &str) -> f64 {
    of_phase(metrics, "sum", api, phase)
}

/// 0 if there is no such phase of the API.
fn of_phase(metrics: &Metrics, what: &str, api: &str, phase: &str) -> f64 {
    let name = format!("ottla_request_phase_seconds_{what}{{api=\"{api}\",phase=\"{phase}\"}}");
    metrics.samples.get(&name).copied().unwrap_or(0.0)
}

#[tokio::test]
async fn an_append_has_the_phases_that_it_went_through() {
    let faulty = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let rig = Rig::on(Arc::new(faulty.clone()), Path::new("data"), &[]).await.unwrap();
    let mut client = rig.client().await;
    client.create("memory", 1, &[]).await;
    client.create("disk", 1, &[("ottla.durability", "fsync")]).await;
    let counts = |metrics: &Metrics| {
        ["queue", "parse", "append", "fsync", "purgatory", "send"]
            .map(|phase| phase_count(metrics, "Produce", phase))
    };
    client.append("memory", 0, batch(&["a"])).await;
    assert_eq!(counts(&Metrics::of(&rig).await), [1.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
    // It waits for the disk, whatever acks are asked for, and for nobody else.
    for acks in [-1, 1] {
        let mut request = produce("disk", 0, batch(&["a"]));
        request.acks = acks;
        faulty.inject(Fault::StallSyncAfter(0));
        client.send(12, &request).await;
        while faulty.stalled_syncs() == 0 {
            tokio::task::yield_now().await;
        }
        faulty.clear();
        let (_, answer) = client.receive::<ProduceRequest>(12).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::None);
    }
    let metrics = Metrics::of(&rig).await;
    assert_eq!(counts(&metrics)[..4], [3.0, 3.0, 3.0, 2.0]);
    assert_eq!(phase_count(&metrics, "Produce", "send"), 3.0);
    assert!(phase_seconds(&metrics, "Produce", "fsync") > 0.0);
    assert!(phase_seconds(&metrics, "Produce", "append") > 0.0);
    // No API has a phase that it does not go through.
    for phase in ["append", "fsync", "purgatory"] {
        assert_eq!(phase_count(&metrics, "CreateTopics", phase), 0.0);
    }
}

const WAIT: Duration = Duration::from_millis(50);

/// A read of what is not there yet, which waits.
fn long_poll() -> FetchRequest {
    let mut request = fetch("t", &[(0, 0)]);
    request.max_wait_ms = WAIT.as_millis() as i32;
    request
}

#[tokio::test]
async fn a_long_poll_is_in_purgatory_and_what_comes_behind_many_of_them_in_the_queue() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    client.call::<FetchRequest>(12, &fetch("t", &[(0, 0)])).await;
    assert_eq!(phase_count(&Metrics::of(&rig).await, "Fetch", "purgatory"), 0.0);
    client.call(12, &long_poll()).await;
    let metrics = Metrics::of(&rig).await;
    assert_eq!(phase_count(&metrics, "Fetch", "purgatory"), 1.0);
    assert!(phase_seconds(&metrics, "Fetch", "purgatory") >= WAIT.as_secs_f64());
    assert!(phase_seconds(&metrics, "Fetch", "queue") < WAIT.as_secs_f64());

    // One more than a connection has under way, all in one piece: it is begun when the first one is answered.
    let header = ottla::wire::RequestHeader {
        api_key: ottla::wire::ApiKey::Fetch.code(),
        api_version: 12,
        correlation_id: 7,
        client_id: None,
    };
    let frame = encode_request(&header, &long_poll()).unwrap().to_bytes();
    let requests = ottla::net::OUTSTANDING_MAX + 1;
    client.raw(&frame.repeat(requests)).await.unwrap();
    for _ in 0..requests {
        client.frame().await.unwrap();
    }
    let metrics = Metrics::of(&rig).await;
    let queued = phase_seconds(&metrics, "Fetch", "queue");
    assert!(queued >= WAIT.as_secs_f64(), "{queued}");
    assert_eq!(phase_count(&metrics, "Fetch", "queue"), requests as f64 + 2.0);
}

#[tokio::test]
async fn who_waits_for_members_is_in_purgatory() {
    let wait = format!("group.initial.rebalance.delay.ms={}", WAIT.as_millis());
    let rig = Rig::with(&[&wait]).await;
    let mut client = rig.client().await;
    find(&mut client, "g").await;
    assert_eq!(joined(&mut client, "g", 9).await.error_code, 0);
    let metrics = Metrics::of(&rig).await;
    assert!(phase_seconds(&metrics, "JoinGroup", "purgatory") >= WAIT.as_secs_f64());
    assert_eq!(phase_count(&metrics, "FindCoordinator", "purgatory"), 0.0);
}

/// A response that the client does not take in is on its way for as long.
#[tokio::test]
async fn a_response_that_is_not_read_is_being_sent() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let value = "v".repeat(600_000);
    for _ in 0..40 {
        client.append("t", 0, batch(&[&value])).await;
    }
    let mut request = fetch("t", &[(0, 0)]);
    request.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    client.send(12, &request).await;
    let answered = "ottla_request_duration_seconds_count{api=\"Fetch\"}";
    let until = async || {
        let metrics = Metrics::of(&rig).await;
        metrics.samples.get(answered).is_some_and(|count| *count == 1.0).then_some(metrics)
    };
    let metrics = loop {
        if let Some(metrics) = until().await {
            break metrics;
        }
    };
    assert_eq!(phase_count(&metrics, "Fetch", "send"), 0.0, "the socket cannot have taken it");
    client.frame().await.unwrap();
    assert_eq!(phase_count(&Metrics::of(&rig).await, "Fetch", "send"), 1.0);
}

fn lag_seconds(metrics: &Metrics) -> Option<f64> {
    let labels = "{consumergroup=\"readers\",topic=\"orders\",partition=\"0\"}";
    metrics.samples.get(&format!("ottla_group_lag_seconds{labels}")).copied()
}

#[tokio::test]
async fn a_group_is_as_many_seconds_behind_as_what_it_reads_next_is_old() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let id = client.create("orders", 1, &[]).await;
    let start = now();
    for seconds_ago in [5_000, 3_000, 1_000] {
        let mut builder = BatchBuilder::new();
        for _ in 0..2 {
            builder.push(start.plus_millis(-seconds_ago * 1_000), None, Some(b"v"));
        }
        client.append("orders", 0, builder.build()).await;
    }
    find(&mut client, "readers").await;
    for (offset, seconds) in [(0, 5_000), (3, 3_000), (4, 1_000), (6, 0), (9, 0)] {
        commit_at(&mut client, id, offset).await;
        let lag = lag_seconds(&Metrics::of(&rig).await).unwrap();
        let passed = now().millis_since(start) as f64 / 1_000.0;
        let seconds = f64::from(seconds);
        let most = if seconds == 0.0 { 0.0 } else { seconds + passed };
        assert!((seconds..=most).contains(&lag), "{lag} s from {offset} on");
    }
}

/// Where the broker gives records their time, that is what counts, and what is gone was not left to read.
#[tokio::test]
async fn the_time_of_the_append_counts_where_it_is_kept() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let id = client.create("orders", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut builder = BatchBuilder::new();
    builder.push(UnixMillis(now().0 - 5_000_000), None, Some(b"v"));
    client.append("orders", 0, builder.build()).await;
    find(&mut client, "readers").await;
    commit_at(&mut client, id, 0).await;
    let lag = lag_seconds(&Metrics::of(&rig).await).unwrap();
    assert!(lag < 1_000.0, "{lag}");
}

async fn commit_at(client: &mut Client, id: ottla::model::TopicId, offset: i64) {
    let mut request = commit("readers", "orders", id);
    request.topics[0].partitions[0].committed_offset = Offset(offset);
    request.topics[0].partitions[0].partition_index = PartitionId(0);
    let answer = client.call(8, &request).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::None);
}

#[tokio::test]
async fn changes_of_the_metadata_and_its_snapshots_are_told() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let metrics = Metrics::of(&rig).await;
    assert!(metrics.get("kafka_server_raftmetrics_append_records_rate") > 0.0);
    assert!(metrics.get("kafka_server_raftmetrics_commit_latency_avg") > 0.0);
    let at = "ottla_metadata_snapshot_timestamp_seconds";
    assert_eq!(metrics.samples.get(at), None, "there was none yet");
    let before = now().0 / 1_000;
    // A snapshot is made when the log has grown to 8 MiB: by long values, each of which is another one.
    let long: String = (1_000..5_500).map(|partition| format!(",{partition}:1")).collect();
    let keys = ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];
    for round in 0..(8 << 20) / (keys.len() * long.len()) + 1 {
        let value = format!("{round}:1{long}");
        let throttled = keys.map(|key| (key, SET, Some(value.as_str())));
        assert_eq!(alter(&mut client, TOPIC, "t", &throttled).await, ErrorCode::None);
    }
    let metrics = Metrics::of(&rig).await;
    let times = before as f64..=now().0 as f64 / 1_000.0;
    assert!(times.contains(&metrics.get(at)), "{} is not in {times:?}", metrics.get(at));
    assert!(metrics.get("ottla_metadata_snapshot_seconds") > 0.0);
}

#[tokio::test]
async fn single_partitions_are_shown_as_it_is_configured() {
    let rig = Rig::with(&["ottla.metrics.partition.level=topic"]).await;
    let mut client = rig.client().await;
    client.create("orders", 1, &[]).await;
    let single = "kafka_log_log_size{topic=\"orders\",partition=\"0\"}";
    let shows = async || {
        let metrics = Metrics::of(&rig).await;
        assert_eq!(metrics.get("kafka_topic_partitions{topic=\"orders\"}"), 1.0);
        metrics.samples.contains_key(single)
    };
    assert!(!shows().await);
    for (level, shown) in [("partition", true), ("topic", false), ("auto", true)] {
        let change = [("ottla.metrics.partition.level", SET, Some(level))];
        assert_eq!(alter(&mut client, BROKER, "", &change).await, ErrorCode::None);
        assert_eq!(shows().await, shown, "{level}");
    }
    let wrong = [("ottla.metrics.partition.level", SET, Some("all"))];
    assert_eq!(alter(&mut client, BROKER, "", &wrong).await, ErrorCode::InvalidRequest);
}
