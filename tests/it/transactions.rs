//! Transactions in a partition: what consumers of committed records see, and what nobody may write.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use ottla::env::{Disk, MemoryDisk, OpenMode};
use ottla::model::{BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionId, UnixMillis};
use ottla::record::{BatchBuilder, EndMarker, TransactionOutcome, scan};
use ottla::wire::fetch::FetchPartitionResponse;
use ottla::wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use ottla::wire::messages::{DescribeProducersRequest, describe_producers_request};
use ottla::wire::{FetchResponse, ListOffsetsRequest, ListOffsetsResponse, Text};

use crate::rig::{Client, Rig, fetch, now, values_of, wire_name};

/// A partition that Apache Kafka wrote: see its README.
const KAFKAS: &str = "tests/data/kafka-4.3.1-transactions/t-0";
/// When its last batch was written.
const WRITTEN_AT: UnixMillis = UnixMillis(1_795_876_432_936);

/// A broker whose only partition is the one that Apache Kafka wrote.
pub(crate) async fn with_kafkas_partition() -> Rig {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let rig = Rig::at(WRITTEN_AT, disk, Path::new("data")).await;
    rig.client().await.create("t", 1, &[]).await;
    rig.restart_after(|disk, data| {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(KAFKAS);
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            // The topic has another id here.
            if entry.file_name() != "partition.metadata" {
                let to = data.join("t-0").join(entry.file_name());
                let file = disk.open(&to, OpenMode::Truncate).unwrap();
                file.write_at(0, &[&std::fs::read(entry.path()).unwrap()]).unwrap();
            }
        }
    })
    .await
}

async fn read(client: &mut Client, offset: i64, isolation_level: i8) -> FetchPartitionResponse {
    read_topic(client, "t", offset, isolation_level).await
}

async fn read_topic(
    client: &mut Client,
    topic: &str,
    offset: i64,
    isolation_level: i8,
) -> FetchPartitionResponse {
    let mut request = fetch(topic, &[(0, offset)]);
    request.isolation_level = isolation_level;
    let response: FetchResponse = client.call(12, &request).await;
    response.topics[0].partitions[0].clone()
}

/// The values that a consumer of committed records is given, from the beginning of `t` on.
pub(crate) async fn committed_values(client: &mut Client) -> Vec<String> {
    committed_values_of(client, "t").await
}

/// As [`committed_values`], of partition 0 of any topic.
pub(crate) async fn committed_values_of(client: &mut Client, topic: &str) -> Vec<String> {
    let (mut values, mut offset) = (Vec::new(), 0);
    loop {
        let read = read_topic(client, topic, offset, 1).await;
        let mut begins: Vec<_> = read.aborted_transactions.unwrap();
        begins.sort_by_key(|transaction| transaction.first_offset);
        let (mut begins, mut aborted) = (begins.into_iter().peekable(), HashSet::new());
        let records = read.records.concat();
        if records.is_empty() {
            return values;
        }
        for batch in scan(&records).map_while(Result::ok) {
            let header = batch.header;
            while let Some(it) = begins.next_if(|it| it.first_offset <= header.last_offset()) {
                aborted.insert(it.producer_id);
            }
            if header.is_control() {
                let marker = EndMarker::read(batch.bytes).unwrap().unwrap();
                if marker.outcome == TransactionOutcome::Abort {
                    aborted.remove(&header.producer_id);
                }
            } else if !header.is_transactional() || !aborted.contains(&header.producer_id) {
                values.extend(values_of(&batch));
            }
            offset = header.next_offset().0;
        }
    }
}

#[tokio::test]
async fn a_partition_of_apache_kafka_shows_what_was_committed() {
    let mut rig = with_kafkas_partition().await;
    for crash in [false, true] {
        let mut client = rig.client().await;
        let expected = ["plain", "y-committed", "plain", "plain", "x-committed"];
        assert_eq!(committed_values(&mut client).await, expected);
        let first = read(&mut client, 0, 1).await;
        assert_eq!((first.last_stable_offset, first.high_watermark), (Offset(18), Offset(19)));
        let aborted = first.aborted_transactions.unwrap().into_iter();
        let aborted: Vec<_> = aborted.map(|it| (it.producer_id.0, it.first_offset.0)).collect();
        // Of the three that there are, the one of which the first segment's last batch is: the others are left out.
        assert_eq!(aborted, [(0, 8)]);
        let open = read(&mut client, 18, 1).await;
        assert_eq!(open.error_code, ErrorCode::None);
        assert_eq!((open.records.len(), open.aborted_transactions), (0, Some(Vec::new())));
        let uncommitted = read(&mut client, 18, 0).await;
        assert_eq!((uncommitted.records.len(), uncommitted.aborted_transactions), (1, None));
        drop(client);
        rig = if crash { rig.crash().await } else { rig.restart().await };
    }
}

#[tokio::test]
async fn ends_of_the_log_depend_on_the_isolation_level() {
    let rig = with_kafkas_partition().await;
    let mut client = rig.client().await;
    for (isolation_level, latest) in [(0, 19), (1, 18)] {
        let partition = ListOffsetsPartition {
            partition_index: PartitionId(0),
            current_leader_epoch: LeaderEpoch::UNKNOWN,
            timestamp: -1,
        };
        let name = Text::from_static_str("t");
        let topics = vec![ListOffsetsTopic { name, partitions: vec![partition] }];
        let replica_id = BrokerId(-1);
        let request = ListOffsetsRequest { replica_id, isolation_level, topics, timeout_ms: 0 };
        let response: ListOffsetsResponse = client.call(9, &request).await;
        assert_eq!(response.topics[0].partitions[0].offset, Offset(latest));
    }
}

#[tokio::test]
async fn producers_are_described_with_their_transactions() {
    let rig = with_kafkas_partition().await;
    let mut topic = describe_producers_request::TopicRequest::default();
    topic.name = wire_name("t");
    topic.partition_indexes = vec![0];
    let mut request = DescribeProducersRequest::default();
    request.topics = vec![topic];
    let response = rig.client().await.call(0, &request).await;
    let producers = response.topics[0].partitions[0].active_producers.iter();
    let told = producers.map(|it| {
        (it.producer_id.0, it.producer_epoch, it.coordinator_epoch, it.current_txn_start_offset)
    });
    let expected = [(0, 3, 0, 18), (1, 2, 0, -1), (2, 2, 0, -1), (3, 0, -1, -1)];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_reader_of_committed_records_is_not_woken_by_others() {
    let rig = with_kafkas_partition().await;
    let (mut reader, mut writer) = (rig.client().await, rig.client().await);
    let mut request = fetch("t", &[(0, 18)]);
    request.isolation_level = 1;
    request.max_wait_ms = 300;
    let sent = reader.send(12, &request).await;
    // By the clock of the broker, which shows when Kafka wrote the partition: by any other, it would be refused one day.
    let mut later = BatchBuilder::new();
    later.push(rig.broker.env().clock.now(), None, Some(b"later"));
    writer.append("t", 0, later.build()).await;
    let (answered, response) = reader.receive::<ottla::wire::FetchRequest>(12).await;
    assert_eq!(answered, sent);
    let partition = &response.topics[0].partitions[0];
    assert_eq!(partition.records.len(), 0);
    assert_eq!((partition.last_stable_offset, partition.high_watermark), (Offset(18), Offset(20)));
}

#[tokio::test]
async fn clients_write_no_control_batches() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let mut builder = BatchBuilder::new();
    builder.control().push(now(), Some(&[0, 0, 0, 1]), Some(&[0; 6]));
    let refused = client.produce("t", 0, builder.build()).await;
    assert_eq!(refused.error_code, ErrorCode::InvalidRecord);
}
