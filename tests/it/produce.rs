//! Produce: what is taken, what is refused, and what a producer is told.

use bytes::Bytes;
use ottla::model::{ErrorCode, Offset, ProducerEpoch, ProducerId, UnixMillis};
use ottla::record::{BatchBuilder, Compression};
use ottla::wire::messages::{
    DescribeProducersRequest, InitProducerIdRequest, InitProducerIdResponse,
    describe_producers_request,
};
use ottla::wire::{ProduceRequest, Text};

use crate::rig::{Client, Rig, batch, now, produce, wire_name};

/// An id for an idempotent producer.
pub(crate) async fn producer_id(client: &mut Client) -> i64 {
    let mut request = InitProducerIdRequest::default();
    request.transactional_id = None;
    (request.producer_id.0, request.producer_epoch) = (-1, -1);
    let response: InitProducerIdResponse = client.call(5, &request).await;
    assert_eq!((response.error_code, response.producer_epoch), (0, 0));
    response.producer_id.0
}

fn of_producer(id: i64, epoch: i16, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.producer(ProducerId(id), ProducerEpoch(epoch), sequence);
    builder.push(now(), None, Some(format!("{sequence}").as_bytes()));
    builder.build()
}

#[tokio::test]
async fn every_version_and_codec_appends() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let id = client.create("t", 1, &[]).await;
    let mut expected = 0;
    for version in 3..=13 {
        for codec in Compression::ALL {
            if codec == Compression::Zstd && version < 7 {
                continue;
            }
            let mut builder = BatchBuilder::new();
            builder.compression(codec);
            for _ in 0..3 {
                builder.push(
                    now(),
                    Some(b"k"),
                    Some(b"some value that compresses, compresses, compresses"),
                );
            }
            let mut request = produce("t", 0, builder.build());
            if version >= 13 {
                request.topics[0].name = Text::default();
                request.topics[0].topic_id = id;
            }
            let response = client.call(version, &request).await;
            let partition = &response.topics[0].partitions[0];
            assert_eq!(
                partition.error_code,
                ErrorCode::None,
                "v{version} {codec:?}: {partition:?}"
            );
            assert_eq!(partition.base_offset, Offset(expected));
            expected += 3;
        }
    }
    assert_eq!(client.values("t", 0).await.len(), expected as usize);
}

#[tokio::test]
async fn every_refusal_has_its_code_and_writes_nothing() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[("max.message.bytes", "1000"), ("segment.bytes", "1048576")]).await;
    client.create("compacted", 1, &[("cleanup.policy", "compact")]).await;
    let good = batch(&["v"]);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] ^= byte;
        Bytes::from(bytes)
    };
    let magic = |magic: u8| {
        let mut bytes = good.to_vec();
        bytes[16] = magic;
        Bytes::from(bytes)
    };
    let aged = |timestamp: i64| {
        let mut builder = BatchBuilder::new();
        builder.push(UnixMillis(timestamp), None, Some(b"v"));
        builder.build()
    };
    let cases = [
        ("t", 0, changed(17, 1), ErrorCode::CorruptMessage),
        ("t", 0, changed(68, 1), ErrorCode::CorruptMessage),
        ("t", 0, magic(0), ErrorCode::InvalidRecord),
        ("t", 0, magic(1), ErrorCode::InvalidRecord),
        ("t", 0, Bytes::new(), ErrorCode::InvalidRecord),
        ("t", 0, good.slice(..40), ErrorCode::InvalidRecord),
        ("t", 0, Bytes::from([&good[..], &good[..]].concat()), ErrorCode::InvalidRecord),
        ("t", 0, batch(&[&"x".repeat(2_000)]), ErrorCode::MessageTooLarge),
        ("t", 0, aged(now().0 + 2 * 3_600_000), ErrorCode::InvalidTimestamp),
        ("compacted", 0, good.clone(), ErrorCode::InvalidRecord),
        ("t", 7, good.clone(), ErrorCode::UnknownTopicOrPartition),
        ("no-such-topic", 0, good.clone(), ErrorCode::UnknownTopicOrPartition),
    ];
    for (topic, partition, records, code) in cases {
        let produced = client.produce(topic, partition, records).await;
        assert_eq!(produced.error_code, code, "{produced:?}");
        assert_eq!(produced.base_offset, Offset(-1));
    }
    let keyless = client.produce("compacted", 0, batch(&["a", "b"])).await;
    let at_fault: Vec<_> = keyless.record_errors.iter().map(|error| error.batch_index).collect();
    assert_eq!(at_fault, [0, 1]);
    assert!(keyless.error_message.is_some());
    let mut request = produce("t", 0, good.clone());
    request.acks = 2;
    let refused = client.call(9, &request).await;
    assert_eq!(refused.topics[0].partitions[0].error_code, ErrorCode::InvalidRequiredAcks);
    assert_eq!(client.append("t", 0, good).await, Offset(0), "nothing was written before");
}

#[tokio::test]
async fn acks_0_is_answered_with_nothing_or_the_end() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let silent = |topic: &str| ProduceRequest { acks: 0, ..produce(topic, 0, batch(&["v"])) };
    client.send(9, &silent("t")).await;
    assert_eq!(client.values("t", 0).await, ["v"], "the next answer is to the next request");
    client.send(9, &silent("no-such-topic")).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_batch_sent_twice_is_there_once() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    client.append("t", 0, batch(&["before"])).await;
    let id = producer_id(&mut client).await;
    for sequence in 0..6 {
        client.append("t", 0, of_producer(id, 0, sequence)).await;
    }
    for sequence in 1..6 {
        assert_eq!(
            client.append("t", 0, of_producer(id, 0, sequence)).await,
            Offset(i64::from(sequence) + 1)
        );
    }
    let gap = client.produce("t", 0, of_producer(id, 0, 9)).await;
    assert_eq!(gap.error_code, ErrorCode::OutOfOrderSequenceNumber);
    client.append("t", 0, of_producer(id, 1, 0)).await;
    let old = client.produce("t", 0, of_producer(id, 0, 6)).await;
    assert_eq!(old.error_code, ErrorCode::InvalidProducerEpoch);
    assert_eq!(client.values("t", 0).await, ["before", "0", "1", "2", "3", "4", "5", "0"]);
}

#[tokio::test]
async fn five_unanswered_batches_are_recognised_after_every_kind_of_stop() {
    let mut rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let id = producer_id(&mut client).await;
    for sequence in 0..5 {
        client.append("t", 0, of_producer(id, 0, sequence)).await;
    }
    for crash in [false, true, false] {
        rig = if crash { rig.crash().await } else { rig.restart().await };
        let mut client = rig.client().await;
        for sequence in 0..5 {
            let again = client.append("t", 0, of_producer(id, 0, sequence)).await;
            assert_eq!(again, Offset(i64::from(sequence)), "after a crash: {crash}");
        }
    }
    assert_eq!(rig.client().await.values("t", 0).await.len(), 5);
}

#[tokio::test]
async fn producer_ids_are_never_given_twice() {
    let mut rig = Rig::new().await;
    let mut given = std::collections::BTreeSet::new();
    for crash in [false, true, true] {
        let mut client = rig.client().await;
        for _ in 0..1_100 {
            assert!(given.insert(producer_id(&mut client).await));
        }
        drop(client);
        rig = if crash { rig.crash().await } else { rig.restart().await };
    }
}

#[tokio::test]
async fn producers_are_described() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let id = producer_id(&mut client).await;
    client.append("t", 0, of_producer(id, 0, 0)).await;
    client.append("t", 0, of_producer(id, 0, 1)).await;
    let mut topic = describe_producers_request::TopicRequest::default();
    topic.name = wire_name("t");
    topic.partition_indexes = vec![0, 5];
    let mut request = DescribeProducersRequest::default();
    request.topics = vec![topic];
    let response = client.call(0, &request).await;
    let partitions = &response.topics[0].partitions;
    let producer = &partitions[0].active_producers[0];
    assert_eq!(
        (producer.producer_id.0, producer.producer_epoch, producer.last_sequence),
        (id, 0, 1)
    );
    assert_eq!(producer.current_txn_start_offset, -1);
    assert_eq!(partitions[1].error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn log_append_time_is_told() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut builder = BatchBuilder::new();
    builder.push(UnixMillis(5), None, Some(b"v"));
    let produced = client.produce("t", 0, builder.build()).await;
    assert!(produced.log_append_time.0 > 1_700_000_000_000, "{produced:?}");
    let fetched = client.fetch("t", 0, 0).await;
    let records = fetched.records.concat();
    let header = ottla::record::BatchHeader::parse(&records).unwrap();
    header.check_crc(&records).unwrap();
    assert_eq!(header.max_timestamp, produced.log_append_time);
}
