//! The records of consumer groups against bytes that Apache Kafka's own classes wrote.

use std::sync::Arc;

use bytes::Bytes;

use super::consumer::{
    ClassicMetadata, ConsumerRecord, CurrentAssignment, GroupEpoch, MemberMetadata, MemberState,
    Owned, ResolvedRegex, TargetEpoch,
};
use super::{GroupRecord, SchemaError, decode};
use crate::coordinator::CoordinatorRecord;
use crate::model::{PartitionId, TopicId, UnixMillis, UuidText};

const GOLDEN: &str = include_str!("../../../tests/data/kafka-4.3.1-consumer-group-records.txt");

fn unhex(text: &str) -> Bytes {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn golden() -> impl Iterator<Item = (&'static str, CoordinatorRecord)> {
    GOLDEN.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut parts = line.split(' ');
        let name = parts.next().unwrap();
        let key = unhex(parts.next().unwrap());
        let value = parts.next().filter(|value| *value != "none").map(unhex);
        (name, CoordinatorRecord { key, value })
    })
}

fn owned(partitions: &[(i32, i32)]) -> Owned {
    let topic = TopicId(UuidText::parse("MkGbQYrDTUWvH3gGkCYX4w").unwrap().0);
    let partitions =
        partitions.iter().map(|(partition, epoch)| (PartitionId(*partition), *epoch)).collect();
    [(topic, partitions)].into()
}

fn names(names: &[&str]) -> std::collections::BTreeSet<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn member() -> MemberMetadata {
    MemberMetadata {
        instance: None,
        rack: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        topics: names(&["orders"]),
        regex: Some("".into()),
        rebalance_timeout_ms: 300_000,
        assignor: None,
        classic: None,
    }
}

fn expected(name: &str) -> ConsumerRecord {
    let member_record = |member| ConsumerRecord::Member("m".into(), Some(member));
    let current = CurrentAssignment {
        epoch: 17,
        previous_epoch: 16,
        state: MemberState::Unrevoked,
        owned: owned(&[(0, 15), (1, 17)]),
        revoking: owned(&[(2, 3)]),
    };
    let at = UnixMillis(1_700_000_000_000);
    match name {
        "consumer-epoch" => {
            ConsumerRecord::Group(Some(GroupEpoch { epoch: 17, metadata_hash: -5 }))
        }
        "consumer-epoch-no-hash" => {
            ConsumerRecord::Group(Some(GroupEpoch { epoch: 17, metadata_hash: 0 }))
        }
        "consumer-epoch-tombstone" => ConsumerRecord::Group(None),
        "consumer-topics" => ConsumerRecord::Topics(Some(())),
        "consumer-topics-tombstone" => ConsumerRecord::Topics(None),
        "consumer-member" => {
            member_record(MemberMetadata { topics: names(&["orders", "pay"]), ..member() })
        }
        "consumer-member-full" => member_record(MemberMetadata {
            instance: Some("i".into()),
            rack: Some("r".into()),
            topics: names(&[]),
            regex: Some("o.*".into()),
            rebalance_timeout_ms: 60_000,
            assignor: Some("range".into()),
            ..member()
        }),
        "consumer-member-null-regex" => member_record(MemberMetadata { regex: None, ..member() }),
        "consumer-member-classic" => {
            let protocols = vec![("range".into(), Bytes::from_static(&[1, 2, 3]))];
            let classic = ClassicMetadata { session_timeout_ms: 45_000, protocols };
            member_record(MemberMetadata { classic: Some(Arc::new(classic)), ..member() })
        }
        "consumer-member-tombstone" => ConsumerRecord::Member("m".into(), None),
        "consumer-target-epoch" => {
            ConsumerRecord::TargetEpoch(Some(TargetEpoch { epoch: 17, computed_at: Some(at) }))
        }
        "consumer-target-epoch-no-time" => {
            ConsumerRecord::TargetEpoch(Some(TargetEpoch { epoch: 17, computed_at: None }))
        }
        "consumer-target-epoch-tombstone" => ConsumerRecord::TargetEpoch(None),
        "consumer-target" => {
            let target = owned(&[(0, 0), (1, 0), (300, 0)]);
            let target = target.into_iter().map(|(t, p)| (t, p.into_keys().collect())).collect();
            ConsumerRecord::Target("m".into(), Some(target))
        }
        "consumer-target-tombstone" => ConsumerRecord::Target("m".into(), None),
        "consumer-current" => ConsumerRecord::Current("m".into(), Some(current)),
        "consumer-current-no-epochs" => ConsumerRecord::Current(
            "m".into(),
            Some(CurrentAssignment {
                state: MemberState::Stable,
                owned: owned(&[(0, 17), (1, 17)]),
                revoking: Owned::new(),
                ..current
            }),
        ),
        "consumer-current-tombstone" => ConsumerRecord::Current("m".into(), None),
        "consumer-regex" => ConsumerRecord::Regex(
            "o.*".into(),
            Some(ResolvedRegex { topics: names(&["orders", "other"]), version: 12, at }),
        ),
        "consumer-regex-tombstone" => ConsumerRecord::Regex("o.*".into(), None),
        other => panic!("{other} is not expected"),
    }
}

#[test]
fn every_record_is_read() {
    for (name, record) in golden() {
        let read = GroupRecord::Consumer("g".into(), expected(name));
        assert_eq!(decode(&record), Ok(read), "{name}");
    }
}

#[test]
fn records_are_written_as_kafka_writes_them() {
    // The topics of older brokers are not written, nor are assignments without their epochs.
    let read_only = ["consumer-topics", "consumer-current-no-epochs"];
    for (name, record) in golden().filter(|(name, _)| !read_only.contains(name)) {
        assert_eq!(expected(name).record(&"g".into()), record, "{name}");
    }
}

#[test]
fn damaged_records_are_refused() {
    for (name, whole) in golden() {
        for length in 0..whole.key.len() {
            let record = CoordinatorRecord { key: whole.key.slice(..length), ..whole.clone() };
            assert!(decode(&record).is_err(), "{name}, key cut to {length}");
        }
        // What older brokers wrote about topics is not read at all.
        let Some(value) = whole.value.as_ref().filter(|_| name != "consumer-topics") else {
            continue;
        };
        for length in 0..value.len() {
            let value = Some(value.slice(..length));
            let record = CoordinatorRecord { value, ..whole.clone() };
            assert!(decode(&record).is_err(), "{name}, value cut to {length}");
        }
    }
    let record =
        CoordinatorRecord { key: unhex("0003000167"), value: Some(unhex("00010000001100")) };
    let error = SchemaError::UnknownVersion { record: "ConsumerGroupMetadataValue", version: 1 };
    assert_eq!(decode(&record), Err(error));
}
