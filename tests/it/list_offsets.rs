//! ListOffsets, OffsetForLeaderEpoch and DeleteRecords: the ends of a log, and times in it.

use std::time::Duration;

use ottla::model::{ErrorCode, LeaderEpoch, Offset, PartitionId, UnixMillis};
use ottla::record::BatchBuilder;
use ottla::wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use ottla::wire::messages::{
    DeleteRecordsRequest, OffsetForLeaderEpochRequest, delete_records_request,
    offset_for_leader_epoch_request,
};
use ottla::wire::{ListOffsetsRequest, ListOffsetsResponse, Text};

use crate::rig::{Client, Rig, batch, now, wire_name};

async fn offset(client: &mut Client, version: i16, timestamp: i64) -> (ErrorCode, i64, i64) {
    offset_of(client, ("t", 0), version, timestamp).await
}

pub(crate) async fn offset_of(
    client: &mut Client,
    (topic, partition): (&'static str, i32),
    version: i16,
    timestamp: i64,
) -> (ErrorCode, i64, i64) {
    let partition = ListOffsetsPartition {
        partition_index: PartitionId(partition),
        current_leader_epoch: LeaderEpoch::UNKNOWN,
        timestamp,
    };
    let request = ListOffsetsRequest {
        replica_id: ottla::model::BrokerId(-1),
        isolation_level: 0,
        topics: vec![ListOffsetsTopic {
            name: Text::from_static_str(topic),
            partitions: vec![partition],
        }],
        timeout_ms: 0,
    };
    let response: ListOffsetsResponse = client.call(version, &request).await;
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.offset.0, answer.timestamp)
}

#[tokio::test]
async fn times_and_ends_are_found() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let start = now().0 - 10_000;
    for (timestamps, codec) in [([100, 300], 0), ([200, 900], 4), ([400, 500], 1)] {
        let mut builder = BatchBuilder::new();
        builder.compression(ottla::record::Compression::from_id(codec).unwrap());
        for timestamp in timestamps {
            builder.push(UnixMillis(start + timestamp), None, Some(b"v"));
        }
        client.append("t", 0, builder.build()).await;
    }
    let none = ErrorCode::None;
    for version in 1..=11 {
        assert_eq!(offset(&mut client, version, -1).await, (none, 6, -1), "v{version}");
        assert_eq!(offset(&mut client, version, -2).await, (none, 0, -1), "v{version}");
        assert_eq!(offset(&mut client, version, start + 250).await, (none, 1, start + 300));
        assert_eq!(offset(&mut client, version, start + 901).await, (none, -1, -1));
        let unsupported = (ErrorCode::UnsupportedVersion, -1, -1);
        for (timestamp, since, found) in [
            (-3, 7, (none, 3, start + 900)),
            (-4, 8, (none, 0, -1)),
            (-5, 9, (none, -1, -1)),
            (-6, 11, (none, -1, -1)),
        ] {
            let expected = if version >= since { found } else { unsupported };
            assert_eq!(
                offset(&mut client, version, timestamp).await,
                expected,
                "v{version} {timestamp}"
            );
        }
        assert_eq!(offset(&mut client, version, -7).await, unsupported);
    }
}

/// Deletes the records of `t` before an offset; gives the error code and the first offset that is left.
pub(crate) async fn delete_before(client: &mut Client, offset: i64) -> (ErrorCode, i64) {
    delete_within(client, offset, 30_000).await
}

/// As [`delete_before`], waiting for other replicas no longer than so many milliseconds.
pub(crate) async fn delete_within(
    client: &mut Client,
    offset: i64,
    timeout_ms: i32,
) -> (ErrorCode, i64) {
    let mut partition = delete_records_request::DeleteRecordsPartition::default();
    partition.offset = offset;
    let mut topic = delete_records_request::DeleteRecordsTopic::default();
    topic.name = wire_name("t");
    topic.partitions = vec![partition];
    let mut request = DeleteRecordsRequest::default();
    request.timeout_ms = timeout_ms;
    request.topics = vec![topic];
    let response = client.call(2, &request).await;
    let result = &response.topics[0].partitions[0];
    (ErrorCode::from_code(result.error_code).unwrap(), result.low_watermark)
}

#[tokio::test]
async fn deleted_records_are_gone_for_good() {
    let mut rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    for value in ["a", "b", "c", "d"] {
        client.append("t", 0, batch(&[value])).await;
    }
    assert_eq!(delete_before(&mut client, 5).await, (ErrorCode::OffsetOutOfRange, -1));
    assert_eq!(delete_before(&mut client, -2).await, (ErrorCode::OffsetOutOfRange, -1));
    assert_eq!(delete_before(&mut client, 2).await, (ErrorCode::None, 2));
    assert_eq!(
        delete_before(&mut client, 1).await,
        (ErrorCode::None, 2),
        "the start never goes back"
    );
    assert_eq!(client.fetch("t", 0, 1).await.error_code, ErrorCode::OffsetOutOfRange);
    for crash in [false, true] {
        rig = if crash { rig.crash().await } else { rig.restart().await };
        let mut client = rig.client().await;
        assert_eq!(offset(&mut client, 5, -2).await.1, 2, "after a crash: {crash}");
        assert_eq!(client.fetch("t", 0, 2).await.log_start_offset, Offset(2));
    }
    let mut client = rig.client().await;
    assert_eq!(delete_before(&mut client, -1).await, (ErrorCode::None, 4));
    assert_eq!(client.append("t", 0, batch(&["e"])).await, Offset(4));
}

#[tokio::test]
async fn old_records_go_with_their_segment() {
    let mut rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[("retention.ms", "3600000"), ("cleanup.policy", "delete")]).await;
    client
        .create("compacted", 1, &[("retention.ms", "3600000"), ("cleanup.policy", "compact")])
        .await;
    let mut keyed = BatchBuilder::new();
    keyed.push(now(), Some(b"k"), Some(b"v"));
    let keyed = keyed.build();
    for topic in ["t", "compacted"] {
        client.append(topic, 0, keyed.clone()).await;
    }
    rig.broker.env().clock.advance(Duration::from_secs(3_700));
    while offset(&mut client, 5, -2).await.1 == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(offset(&mut client, 5, -2).await.1, 1);
    assert_eq!(client.fetch("t", 0, 0).await.error_code, ErrorCode::OffsetOutOfRange);
    assert_eq!(client.fetch("compacted", 0, 0).await.error_code, ErrorCode::None);
    assert_eq!(client.append("t", 0, batch(&["b"])).await, Offset(1));
    for crash in [false, true] {
        rig = if crash { rig.crash().await } else { rig.restart().await };
        let mut client = rig.client().await;
        assert_eq!(offset(&mut client, 5, -2).await.1, 1, "after a crash: {crash}");
        assert_eq!(client.append("t", 0, batch(&["c"])).await, Offset(2 + i64::from(crash)));
    }
}

#[tokio::test]
async fn leader_epochs_end_where_the_next_one_begins() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    client.append("t", 0, batch(&["a", "b"])).await;
    let rig = rig.crash().await;
    let mut client = rig.client().await;
    client.append("t", 0, batch(&["c"])).await;
    for (epoch, expected) in [(0, (0, 2)), (1, (1, 3)), (2, (-1, -1)), (-1, (-1, -1))] {
        let mut partition = offset_for_leader_epoch_request::OffsetForLeaderPartition::default();
        (partition.current_leader_epoch, partition.leader_epoch) = (1, epoch);
        let mut topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default();
        topic.topic = wire_name("t");
        topic.partitions = vec![partition];
        let mut request = OffsetForLeaderEpochRequest::default();
        request.topics = vec![topic];
        let response = client.call(4, &request).await;
        let end = &response.topics[0].partitions[0];
        assert_eq!(end.error_code, 0);
        assert_eq!((end.leader_epoch, end.end_offset), expected, "epoch {epoch}");
    }
}
