//! Levels of features over the wire: who may change them, what survives, and transactions at each level and over changes.

use ottla::model::ErrorCode;
use ottla::record::scan;
use ottla::wire::Text;
use ottla::wire::messages::update_features_request::FeatureUpdateKey;
use ottla::wire::messages::{
    ApiVersionsRequest, ApiVersionsResponse, ConsumerGroupHeartbeatRequest, UpdateFeaturesRequest,
    UpdateFeaturesResponse,
};

use crate::exactly_once::{BOTH, Epochs, Producer, offset, settled};
use crate::groups::find;
use crate::rig::{Client, Rig};
use crate::transactions::committed_values;

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;

fn update(updates: &[(&str, i16, i8)]) -> UpdateFeaturesRequest {
    let key = |(name, level, direction): &(&str, i16, i8)| {
        let mut key = FeatureUpdateKey::default();
        key.feature = Text::from_string((*name).to_owned());
        (key.max_version_level, key.upgrade_type) = (*level, *direction);
        key
    };
    let mut request = UpdateFeaturesRequest::default();
    request.feature_updates = updates.iter().map(key).collect();
    request
}

/// The finalized levels, and the epoch in which they are told.
async fn levels(client: &mut Client) -> (Vec<(String, i16)>, i64) {
    let mut request = ApiVersionsRequest::default();
    request.client_software_name = Text::from_static_str("test");
    request.client_software_version = Text::from_static_str("1");
    let answer: ApiVersionsResponse = client.call(4, &request).await;
    let levels = answer.finalized_features.iter();
    let levels = levels.map(|it| (it.name.to_string(), it.max_version_level)).collect();
    (levels, answer.finalized_features_epoch)
}

/// Sets the level of `transaction.version`, from wherever it is.
pub(crate) async fn set_level(client: &mut Client, level: i16) {
    for direction in [UPGRADE, SAFE_DOWNGRADE] {
        let request = update(&[("transaction.version", level, direction)]);
        let answer: UpdateFeaturesResponse = client.call(2, &request).await;
        if answer.error_code == 0 {
            return;
        }
    }
    panic!("level {level} is refused");
}

#[tokio::test]
async fn levels_change_together_and_survive() {
    let mut rig = Rig::new().await;
    let mut client = rig.client().await;
    let all = |transactions: i16| {
        [
            ("eligible.leader.replicas.version", 1),
            ("group.version", 1),
            ("metadata.version", 30),
            ("transaction.version", transactions),
        ]
        .map(|(name, level)| (name.to_owned(), level))
        .to_vec()
    };
    let (first, epoch) = levels(&mut client).await;
    assert_eq!(first, all(2));
    let both = [("transaction.version", 1, SAFE_DOWNGRADE), ("group.version", 0, SAFE_DOWNGRADE)];
    let mut only = update(&both);
    only.validate_only = true;
    let answer: UpdateFeaturesResponse = client.call(1, &only).await;
    assert_eq!((answer.error_code, answer.results.len()), (0, 2));
    let mut refused = both.to_vec();
    refused.push(("metadata.version", 29, SAFE_DOWNGRADE));
    let answer: UpdateFeaturesResponse = client.call(2, &update(&refused)).await;
    assert_eq!(answer.error_code, ErrorCode::InvalidUpdateVersion.code());
    assert_eq!(
        answer.error_message.as_deref(),
        Some(
            "The update failed for all features since the following feature had an error: Unsupported metadata.version \
             downgrade from 30 to 29. Refusing to perform the requested downgrade because it might delete metadata \
             information."
        )
    );
    assert_eq!(levels(&mut client).await, (all(2), epoch));
    let answer: UpdateFeaturesResponse = client.call(2, &update(&both)).await;
    assert_eq!((answer.error_code, answer.error_message), (0, None));
    let mut epochs = vec![epoch];
    for crash in [None, Some(false), Some(true)] {
        rig = match crash {
            None => rig,
            Some(false) => rig.restart().await,
            Some(true) => rig.crash().await,
        };
        client = rig.client().await;
        let (after, epoch) = levels(&mut client).await;
        assert_eq!(after, [all(1)[0].clone(), all(1)[2].clone(), all(1)[3].clone()]);
        assert!(epoch > *epochs.last().unwrap(), "{epoch} after {epochs:?}");
        epochs.push(epoch);
    }
}

#[tokio::test]
async fn groups_of_kip_848_can_be_switched_off() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    find(&mut client, "g").await;
    let mut heartbeat = ConsumerGroupHeartbeatRequest::default();
    heartbeat.group_id = ottla::wire::messages::WireGroupId(Text::from_static_str("g"));
    heartbeat.member_id = Text::from_static_str("m");
    for (level, direction, expected) in
        [(0, SAFE_DOWNGRADE, ErrorCode::UnsupportedVersion), (1, UPGRADE, ErrorCode::None)]
    {
        let changed: UpdateFeaturesResponse =
            client.call(2, &update(&[("group.version", level, direction)])).await;
        assert_eq!(changed.error_code, 0);
        heartbeat.rebalance_timeout_ms = 1_000;
        heartbeat.subscribed_topic_names = Some(Vec::new());
        heartbeat.topic_partitions = Some(Vec::new());
        let answer = client.call(1, &heartbeat).await;
        assert_eq!(answer.error_code, expected.code(), "{:?}", answer.error_message);
    }
}

/// The versions of the values in the log of transactions, from the first record on.
async fn value_versions(client: &mut Client) -> Vec<u8> {
    let mut versions = Vec::new();
    for partition in 0..50 {
        let read = client.fetch("__transaction_state", partition, 0).await;
        let records = read.records.concat();
        for batch in scan(&records).map_while(Result::ok) {
            ottla::record::visit_records(batch.bytes, |record| {
                versions.extend(record.value.map(|value| value[1]));
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        }
    }
    versions
}

#[tokio::test]
async fn clients_of_both_generations_work_at_each_level() {
    for level in 0..=2 {
        for epochs in BOTH {
            let rig = Rig::new().await;
            let mut client = rig.client().await;
            client.create("t", 1, &[]).await;
            set_level(&mut client, level).await;
            let mut producer = Producer::new(&rig, "id", epochs).await;
            for (value, commits) in [("a", true), ("b", false), ("c", true)] {
                assert_eq!(producer.write("t", value).await, ErrorCode::None);
                assert_eq!(producer.end(commits).await, 0);
            }
            let raised = if epochs == Epochs::Raised { 3 } else { 0 };
            assert_eq!(producer.producer.1, raised, "the client says which way it goes");
            let mut second = Producer::new(&rig, "id", epochs).await;
            assert_eq!(second.producer, (producer.producer.0, raised + 1));
            assert_eq!(producer.end(true).await, ErrorCode::ProducerFenced.code());
            assert_eq!(second.write("t", "d").await, ErrorCode::None);
            assert_eq!(second.end(true).await, 0);
            settled(&mut client, "id").await;
            assert_eq!(committed_values(&mut client).await, ["a", "c", "d"], "{level} {epochs:?}");
            let versions = value_versions(&mut client).await;
            let expected = u8::from(level > 0);
            let others = versions.iter().filter(|version| **version != expected).count();
            // At level 0 a decision of a client with epochs needs what version 0 does not have.
            assert_eq!(others, if level == 0 && epochs == Epochs::Raised { 4 } else { 0 });
        }
    }
}

#[tokio::test]
async fn a_level_that_changes_takes_no_transaction_with_it() {
    for (before, after) in [(2, 1), (2, 0), (1, 0), (0, 1), (0, 2), (1, 2)] {
        for epochs in BOTH {
            let mut rig = Rig::new().await;
            let mut client = rig.client().await;
            client.create("t", 1, &[]).await;
            find(&mut client, "g").await;
            set_level(&mut client, before).await;
            let mut committed = Producer::new(&rig, "committed", epochs).await;
            let mut aborted = Producer::new(&rig, "aborted", epochs).await;
            assert_eq!(committed.write("t", "a").await, ErrorCode::None);
            assert_eq!(committed.commit_offset(7).await, ErrorCode::None);
            assert_eq!(aborted.write("t", "lost").await, ErrorCode::None);
            set_level(&mut client, after).await;
            rig = rig.crash().await;
            client = rig.client().await;
            committed = committed.reconnected(&rig).await;
            aborted = aborted.reconnected(&rig).await;
            assert_eq!(committed.write("t", "b").await, ErrorCode::None);
            assert_eq!(committed.end(true).await, 0);
            assert_eq!(aborted.end(false).await, 0);
            // A client that has learned of the new level goes the other way from its next transaction on.
            for producer in [&mut committed, &mut aborted] {
                producer.epochs = if after == 2 { Epochs::Raised } else { Epochs::Kept };
            }
            assert_eq!(committed.write("t", "c").await, ErrorCode::None);
            assert_eq!(aborted.write("t", "d").await, ErrorCode::None);
            assert_eq!(committed.end(true).await, 0);
            assert_eq!(aborted.end(true).await, 0);
            for id in ["committed", "aborted"] {
                assert_eq!(settled(&mut client, id).await, "CompleteCommit");
            }
            let values = committed_values(&mut client).await;
            assert_eq!(values, ["a", "b", "c", "d"], "{before} {after} {epochs:?}");
            assert_eq!(offset(&mut client).await, Ok(7));
            let read = client.fetch("t", 0, 0).await;
            assert_eq!(read.last_stable_offset, read.high_watermark);
        }
    }
}
