//! Commits, fetches, deletions and expiry, through a shard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::cluster::{ClusterImage, Command as ClusterCommand, NewTopic, Registration};
use crate::coordinator::Shard as _;
use crate::group::command::{Command, OffsetCommitTopic, Reply};
use crate::group::rig::{
    GROUP, Rig, caller, commit_request, join_request, protocol, subscription, text,
};

use crate::model::{BrokerId, TopicName, UuidText};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn commit(rig: &mut Rig, request: OffsetCommit) -> Vec<OffsetCommitResult> {
    let ticket = rig.ask(Command::OffsetCommit { caller: caller(10), request });
    let Some(Reply::OffsetCommit(Ok(results))) = rig.answer(ticket) else { panic!() };
    results
}

fn fetch(rig: &mut Rig, topics: Option<Vec<OffsetFetchTopic>>) -> Vec<FetchedTopic> {
    let request =
        OffsetFetch { group: text(GROUP), member_epoch: -1, topics, ..OffsetFetch::default() };
    let ticket = rig.ask(Command::OffsetFetch { request });
    let Some(Reply::OffsetFetch(Ok(topics))) = rig.answer(ticket) else { panic!() };
    topics
}

fn delete(rig: &mut Rig, group: &str, topic: &str) -> Result<ErrorCode, ErrorCode> {
    let request =
        OffsetDelete { group: text(group), topics: vec![(text(topic), vec![PartitionId(0)])] };
    let ticket = rig.ask(Command::OffsetDelete { request });
    let Some(Reply::OffsetDelete(outcome)) = rig.answer(ticket) else { panic!() };
    outcome.map(|results| results[0].partitions[0].1)
}

fn topic(name: &str, id: TopicId, partitions: &[(i32, i64, Option<&str>)]) -> OffsetCommitTopic {
    let partition =
        |(partition, offset, metadata): &(i32, i64, Option<&str>)| OffsetCommitPartition {
            partition: PartitionId(*partition),
            offset: Offset(*offset),
            leader_epoch: 3,
            metadata: metadata.map(text),
        };
    OffsetCommitTopic {
        name: text(name),
        id,
        partitions: partitions.iter().map(partition).collect(),
    }
}

fn id(number: u128) -> TopicId {
    TopicId(uuid::Uuid::from_u128(number))
}

#[test]
fn what_was_committed_is_fetched() {
    let mut rig = Rig::new();
    let topics = vec![
        topic("a", id(1), &[(1, 10, Some("note")), (0, 5, None)]),
        topic("b", TopicId::ZERO, &[(0, 7, None)]),
    ];
    let results = commit(&mut rig, OffsetCommit { topics, ..commit_request("", -1, 0) });
    let shape: Vec<_> = results.iter().map(|one| (one.name.as_str(), one.id)).collect();
    assert_eq!(shape, [("a", id(1)), ("b", TopicId::ZERO)]);
    assert_eq!(
        results[0].partitions,
        [(PartitionId(1), ErrorCode::None), (PartitionId(0), ErrorCode::None)]
    );

    for rig in [&mut rig.restarted(), &mut rig] {
        let all = fetch(rig, None);
        let names: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.id)).collect();
        assert_eq!(names, [("a", TopicId::ZERO), ("b", TopicId::ZERO)]);
        let expected = FetchedOffset {
            partition: PartitionId(1),
            offset: Offset(10),
            leader_epoch: 3,
            metadata: text("note"),
            error: ErrorCode::None,
        };
        assert_eq!(all[0].partitions[1], expected);

        let ask = |name: &str, id| OffsetFetchTopic {
            name: text(name),
            id,
            partitions: vec![PartitionId(1), PartitionId(9)],
        };
        let asked =
            vec![ask("a", id(1)), ask("a", TopicId::ZERO), ask("a", id(2)), ask("c", id(3))];
        let offsets: Vec<Vec<i64>> = fetch(rig, Some(asked))
            .iter()
            .map(|topic| topic.partitions.iter().map(|one| one.offset.0).collect())
            .collect();
        assert_eq!(offsets, [[10, -1], [10, -1], [-1, -1], [-1, -1]]);
    }
}

#[test]
fn metadata_that_is_too_long_refuses_its_partition_alone() {
    let mut rig = Rig::new();
    rig.configure(|settings| settings.offset_metadata_length_max = 4);
    // Three characters, of six bytes; five characters of Java.
    let topics = vec![topic("a", id(1), &[(0, 1, Some("äöü")), (1, 1, Some("12345"))])];
    let results = commit(&mut rig, OffsetCommit { topics, ..commit_request("", -1, 0) });
    assert_eq!(
        results[0].partitions,
        [(PartitionId(0), ErrorCode::None), (PartitionId(1), ErrorCode::OffsetMetadataTooLarge)]
    );
    assert_eq!(fetch(&mut rig, None)[0].partitions.len(), 1);
    rig.configure(|settings| settings.offset_metadata_length_max = -1);
    let topics = vec![topic("a", id(1), &[(0, 1, None), (1, 1, Some(""))])];
    let results = commit(&mut rig, OffsetCommit { topics, ..commit_request("", -1, 0) });
    assert_eq!(results[0].partitions[0].1, ErrorCode::None);
    assert_eq!(results[0].partitions[1].1, ErrorCode::OffsetMetadataTooLarge);
}

#[test]
fn offsets_of_a_simple_group_expire_after_their_commit_and_the_group_with_them() {
    let mut rig = Rig::new();
    rig.commit("", -1, 5);
    rig.advance(6 * DAY);
    let topics = vec![topic("b", id(2), &[(0, 9, None)])];
    commit(&mut rig, OffsetCommit { topics, ..commit_request("", -1, 0) });
    rig.advance(2 * DAY);
    let left = fetch(&mut rig, None);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].name, text("b"));
    assert_eq!(rig.state(), "Empty");
    rig.advance(6 * DAY);
    assert_eq!(rig.state(), "Dead");
    assert_eq!(rig.restarted().state(), "Dead");
}

#[test]
fn an_expiry_that_the_client_set_counts() {
    let mut rig = Rig::new();
    let request = OffsetCommit { retention_ms: Some(3_600_000), ..commit_request("", -1, 5) };
    commit(&mut rig, request);
    rig.advance(Duration::from_secs(3000));
    assert_eq!(rig.committed(), 5);
    rig.advance(Duration::from_secs(1200));
    assert_eq!(rig.committed(), -1);
}

#[test]
fn offsets_of_a_group_live_while_it_reads_their_topic_and_then_from_when_it_is_empty() {
    let mut rig = Rig::new();
    let member = rig.join(3, join_request("")).member_id.to_string();
    rig.sync(&member, 1, &[]);
    rig.commit(&member, 1, 5);
    let topics = vec![topic("unread", id(2), &[(0, 9, None)])];
    commit(&mut rig, OffsetCommit { topics, ..commit_request(&member, 1, 0) });
    for _ in 0..(8 * 24 * 60 * 60 / 9) {
        rig.advance(Duration::from_secs(9));
        assert_eq!(rig.heartbeat(&member, 1), ErrorCode::None);
    }
    let left = fetch(&mut rig, None);
    assert_eq!((left.len(), &left[0].name), (1, &text("topic")));
    rig.leave(&[(&member, None)]);
    rig.advance(6 * DAY);
    assert_eq!(rig.committed(), 5);
    rig.advance(2 * DAY);
    assert_eq!((rig.committed(), rig.state().as_str()), (-1, "Dead"));
}

#[test]
fn a_group_that_was_about_to_get_a_member_is_not_expired() {
    let mut rig = Rig::new();
    rig.advance(Duration::from_secs(595));
    let id = rig.join(9, join_request("")).member_id.to_string();
    rig.advance(Duration::from_secs(8));
    let joined = rig.join(9, join_request(&id));
    assert_eq!(joined.error_code, 0);
}

#[test]
fn offsets_of_topics_that_are_not_read_can_be_deleted() {
    let mut rig = Rig::new();
    assert_eq!(delete(&mut rig, GROUP, "topic"), Err(ErrorCode::GroupIdNotFound));
    assert_eq!(delete(&mut rig, "", "topic"), Err(ErrorCode::InvalidGroupId));
    let member = rig.join(3, join_request("")).member_id.to_string();
    rig.sync(&member, 1, &[]);
    rig.commit(&member, 1, 5);
    let topics = vec![topic("unread", id(2), &[(0, 9, None)])];
    commit(&mut rig, OffsetCommit { topics, ..commit_request(&member, 1, 0) });
    assert_eq!(delete(&mut rig, GROUP, "topic"), Ok(ErrorCode::GroupSubscribedToTopic));
    assert_eq!(delete(&mut rig, GROUP, "unread"), Ok(ErrorCode::None));
    assert_eq!(delete(&mut rig, GROUP, "never"), Ok(ErrorCode::None));
    assert_eq!(rig.fetch(GROUP).len(), 1);
    rig.leave(&[(&member, None)]);
    assert_eq!(delete(&mut rig, GROUP, "topic"), Ok(ErrorCode::None));
    assert_eq!(rig.fetch(GROUP), []);
}

#[test]
fn offsets_of_members_that_are_no_consumers_cannot_be_deleted() {
    let mut rig = Rig::new();
    let mut request = join_request("");
    request.protocol_type = text("connect");
    rig.join(3, request);
    assert_eq!(delete(&mut rig, GROUP, "topic"), Err(ErrorCode::NonEmptyGroup));
}

#[test]
fn a_subscription_that_cannot_be_read_protects_all_topics() {
    let mut rig = Rig::new();
    let mut request = join_request("");
    request.protocols = vec![protocol("range", subscription(&["topic"]).slice(..7))];
    let member = rig.join(3, request).member_id.to_string();
    rig.sync(&member, 1, &[]);
    rig.commit(&member, 1, 5);
    assert_eq!(delete(&mut rig, GROUP, "any"), Ok(ErrorCode::GroupSubscribedToTopic));
}

#[test]
fn tombstones_of_what_was_compacted_away_do_no_harm() {
    let mut rig = Rig::new();
    rig.commit("", -1, 5);
    rig.ask(Command::DeleteGroup { group: text(GROUP) });
    let tombstones = rig.log.split_off(1);
    assert_eq!(tombstones.len(), 2);
    rig.log = tombstones;
    let mut again = rig.restarted();
    assert_eq!((again.committed(), again.state().as_str()), (-1, "Dead"));
}

fn image_with(topics: &[(&str, TopicId)]) -> Arc<ClusterImage> {
    let mut image = ClusterImage::default();
    let broker = BrokerId(1);
    let registration = Registration::new(broker, UuidText(id(7).0));
    let register = ClusterCommand::RegisterBroker(registration);
    let topic = |(name, id): &(&str, TopicId)| {
        ClusterCommand::CreateTopic(NewTopic {
            name: TopicName::new(name).unwrap(),
            id: *id,
            assignments: vec![vec![broker]],
            configs: BTreeMap::new(),
        })
    };
    let commands = std::iter::once(register).chain(topics.iter().map(topic));
    for (index, command) in (0..).zip(commands) {
        image.apply(index, &command).0.unwrap();
    }
    Arc::new(image)
}

#[test]
fn offsets_of_a_deleted_topic_go_but_not_those_of_its_namesake() {
    let mut rig = Rig::new();
    let image = image_with(&[("a", id(1)), ("b", id(2)), ("c", id(3))]);
    rig.turn(|shard, now, effects| shard.image_changed(now, &image, effects));
    let topics = vec![
        topic("a", id(1), &[(0, 1, None), (1, 1, None)]),
        topic("b", TopicId::ZERO, &[(0, 2, None)]),
        topic("c", id(9), &[(0, 3, None)]),
    ];
    commit(&mut rig, OffsetCommit { topics, ..commit_request("", -1, 0) });
    rig.turn(|shard, now, effects| shard.image_changed(now, &image, effects));
    assert_eq!(fetch(&mut rig, None).len(), 3);
    let image = image_with(&[("a", id(4))]);
    rig.turn(|shard, now, effects| shard.image_changed(now, &image, effects));
    for rig in [&mut rig.restarted(), &mut rig] {
        let left = fetch(rig, None);
        assert_eq!((left.len(), &left[0].name), (1, &text("c")));
    }
}

proptest! {
    #[test]
    fn what_is_kept_is_what_was_said_last(
        said in prop::collection::vec((0..3_u8, 0..3_u8, 0..5_i32, any::<Option<u8>>()), 0..100),
    ) {
        let mut offsets = Offsets::default();
        let mut last = BTreeMap::new();
        for (at, (group, topic, partition, offset)) in (0..).zip(said) {
            let [group, topic] = [group, topic].map(|number| format!("name-{number}"));
            let key = OffsetKey {
                group: group.as_str().into(),
                topic: topic.as_str().into(),
                partition: PartitionId(partition),
            };
            let value = offset.map(|offset| CommittedOffset {
                offset: Offset(offset.into()),
                leader_epoch: -1,
                metadata: "".into(),
                committed_at: UnixMillis(0),
                expires_at: None,
                topic_id: TopicId::ZERO,
            });
            match &value {
                Some(value) => last.insert((group, topic, partition), value.clone()),
                None => last.remove(&(group, topic, partition)),
            };
            offsets.replay(Offset(at), key, value);
        }
        prop_assert_eq!(offsets.count(), last.len());
        for ((group, topic, partition), value) in &last {
            prop_assert_eq!(offsets.get(group, topic, PartitionId(*partition)), Some(value));
        }
        for group in 0..3 {
            let group = format!("name-{group}");
            let fetch = OffsetFetch { group: text(&group), ..OffsetFetch::default() };
            let all = offsets.fetch(&fetch);
            let fetched: Vec<_> = all
                .iter()
                .flat_map(|topic| {
                    topic.partitions.iter().map(|one| (topic.name.to_string(), one.partition.0))
                })
                .collect();
            let expected: Vec<_> = last
                .keys()
                .filter(|(of, _, _)| *of == group)
                .map(|(_, topic, partition)| (topic.clone(), *partition))
                .collect();
            prop_assert_eq!(fetched, expected);
        }
    }
}
