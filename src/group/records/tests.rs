//! The records against bytes that Apache Kafka's own classes wrote.

use bytes::Bytes;

use super::*;
use crate::group::records::group_metadata::MemberMetadata;
use crate::model::{Offset, PartitionId, TopicId, UnixMillis, UuidText};

const GOLDEN: &str = include_str!("../../../tests/data/kafka-4.3.1-group-records.txt");

fn unhex(text: &str) -> Bytes {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn golden(name: &str) -> CoordinatorRecord {
    let line = GOLDEN.lines().find(|line| line.split(' ').next() == Some(name)).expect(name);
    let mut parts = line.split(' ').skip(1);
    let key = unhex(parts.next().unwrap());
    let value = parts.next().filter(|value| *value != "none").map(unhex);
    CoordinatorRecord { key, value }
}

fn key() -> OffsetKey {
    OffsetKey { group: "grüße".into(), topic: "orders".into(), partition: PartitionId(7) }
}

fn offset() -> CommittedOffset {
    CommittedOffset {
        offset: Offset(1_234_567_890_123),
        leader_epoch: 5,
        metadata: "here".into(),
        committed_at: UnixMillis(1_700_000_000_000),
        expires_at: None,
        topic_id: TopicId::ZERO,
    }
}

fn topic_id() -> TopicId {
    TopicId(UuidText::parse("MkGbQYrDTUWvH3gGkCYX4w").unwrap().0)
}

fn group() -> GroupMetadata {
    let member = |id: &str, client: &str, host: &str| MemberMetadata {
        id: id.into(),
        instance: None,
        client_id: client.into(),
        client_host: host.into(),
        rebalance_timeout_ms: 300_000,
        session_timeout_ms: 45_000,
        subscription: Bytes::from_static(&[1, 2, 3]),
        assignment: Bytes::from_static(&[4]),
    };
    let quiet = MemberMetadata {
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 6000,
        subscription: Bytes::new(),
        assignment: Bytes::new(),
        ..member("b-2", "b", "/10.0.0.1")
    };
    GroupMetadata {
        protocol_type: Some("consumer".into()),
        generation: 17,
        protocol: Some("range".into()),
        leader: Some("a-1".into()),
        state_since: Some(UnixMillis(1_700_000_000_000)),
        members: vec![
            MemberMetadata { instance: Some("inst".into()), ..member("a-1", "a", "/127.0.0.1") },
            quiet,
        ],
    }
}

#[test]
fn every_version_of_an_offset_is_read() {
    let expires_at = Some(UnixMillis(1_700_000_060_000));
    let expected = [
        ("offset-v0", CommittedOffset { leader_epoch: -1, ..offset() }),
        ("offset-v1", CommittedOffset { leader_epoch: -1, expires_at, ..offset() }),
        ("offset-v2", CommittedOffset { leader_epoch: -1, ..offset() }),
        ("offset-v3", offset()),
        ("offset-v4", CommittedOffset { topic_id: topic_id(), ..offset() }),
    ];
    for (name, value) in expected {
        let expected = GroupRecord::OffsetCommit { key: key(), value: Some(value) };
        assert_eq!(decode(&golden(name)), Ok(expected), "{name}");
    }
    let GroupRecord::OffsetCommit { key: legacy, .. } =
        decode(&golden("offset-legacy-key")).unwrap()
    else {
        panic!("another type");
    };
    assert_eq!(legacy, key());
}

#[test]
fn offsets_are_written_as_kafka_writes_them() {
    let with_id = CommittedOffset { topic_id: topic_id(), ..offset() };
    assert_eq!(key().record(&with_id), golden("offset-v4"));
    let expires_at = Some(UnixMillis(1_700_000_060_000));
    assert_eq!(key().record(&CommittedOffset { expires_at, ..offset() }), golden("offset-v1"));
    let small = CommittedOffset {
        offset: Offset(0),
        leader_epoch: -1,
        metadata: "".into(),
        committed_at: UnixMillis(1),
        ..offset()
    };
    assert_eq!(key().record(&small), golden("offset-v4-no-topic-id"));
    let long = CommittedOffset {
        offset: Offset(3),
        metadata: "m".repeat(300).into(),
        committed_at: UnixMillis(2),
        ..small
    };
    assert_eq!(key().record(&long), golden("offset-v4-long"));
    assert_eq!(key().tombstone(), golden("offset-tombstone"));
}

#[test]
fn every_version_of_a_group_is_read() {
    for version in 0..=4 {
        let mut expected = group();
        if version < 3 {
            expected.members[0].instance = None;
        }
        if version < 2 {
            expected.state_since = None;
        }
        if version < 1 {
            for member in &mut expected.members {
                member.rebalance_timeout_ms = member.session_timeout_ms;
            }
        }
        let record = GroupRecord::GroupMetadata { key: "g".into(), value: Some(expected) };
        assert_eq!(decode(&golden(&format!("group-v{version}"))), Ok(record), "version {version}");
    }
}

#[test]
fn groups_are_written_as_kafka_writes_them() {
    assert_eq!(group().record(&"g".into()), golden("group-v3"));
    let empty = GroupMetadata {
        protocol_type: None,
        generation: 0,
        protocol: None,
        leader: None,
        state_since: None,
        members: Vec::new(),
    };
    assert_eq!(empty.record(&"g".into()), golden("group-empty"));
    assert_eq!(group_metadata::tombstone(&"g".into()), golden("group-tombstone"));
}

#[test]
fn damaged_records_are_refused_and_located() {
    for line in GOLDEN.lines().filter(|line| !line.starts_with('#')) {
        let whole = golden(line.split(' ').next().unwrap());
        for length in 0..whole.key.len() {
            let record = CoordinatorRecord { key: whole.key.slice(..length), ..whole.clone() };
            assert!(decode(&record).is_err(), "{line}, key cut to {length}");
        }
        let Some(value) = &whole.value else { continue };
        for length in 0..value.len() {
            let value = Some(value.slice(..length));
            let record = CoordinatorRecord { value, ..whole.clone() };
            assert!(decode(&record).is_err(), "{line}, value cut to {length}");
        }
    }
    let mut record = golden("group-v3");
    record.value = Some(unhex("00030000000000000000ffff0000000000000000ffffffff"));
    let error = decode(&record).unwrap_err().to_string();
    assert_eq!(error, "GroupMetadataValue: field members at byte 20 is null");
    record.value = Some(unhex("0005"));
    let error = decode(&record).unwrap_err();
    assert_eq!(error, SchemaError::UnknownVersion { record: "GroupMetadataValue", version: 5 });
    record.key = unhex("7fff");
    assert_eq!(decode(&record), Err(SchemaError::UnknownType(0x7fff)));
}
