//! Groups through the wire: members that share, commit and come back, and what administrators see of them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla::env::{Fault, FaultyDisk, MemoryDisk, OpenMode};
use ottla::model::{ErrorCode, Offset, PartitionId, TopicId};
use ottla::wire::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetDeleteRequest,
    SyncGroupRequest, WireGroupId, consumer_group_heartbeat_request, join_group_request,
    leave_group_request, offset_delete_request, sync_group_request,
};
use ottla::wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla::wire::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use ottla::wire::{ApiKey, OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse, Text};

use crate::configs::{TOPIC, describe};
use crate::rig::{Client, PATIENCE, Rig, batch, wire_name};

const OFFSETS: &str = "__consumer_offsets";

fn text(text: &str) -> Text {
    Text::from_string(text.to_owned())
}

pub(crate) fn group(name: &str) -> WireGroupId {
    WireGroupId(text(name))
}

/// A request to join a group of consumers, with one protocol.
pub(crate) fn join(name: &str, member: &str, version: i16) -> JoinGroupRequest {
    let mut protocol = join_group_request::JoinGroupRequestProtocol::default();
    protocol.name = text("range");
    protocol.metadata = Bytes::from_static(b"\0\x01\0\0\0\0\xff\xff\xff\xff");
    let mut request = JoinGroupRequest::default();
    request.group_id = group(name);
    request.session_timeout_ms = 30_000;
    if version >= 1 {
        request.rebalance_timeout_ms = 30_000;
    }
    request.member_id = text(member);
    request.protocol_type = text("consumer");
    request.protocols = vec![protocol];
    request
}

/// Joins a group at a version, as clients do: with the id that the broker gives, where it asks for that.
pub(crate) async fn joined(client: &mut Client, name: &str, version: i16) -> JoinGroupResponse {
    let first = client.call(version, &join(name, "", version)).await;
    if first.error_code != ErrorCode::MemberIdRequired.code() {
        return first;
    }
    client.call(version, &join(name, &first.member_id, version)).await
}

/// A request for the assignment, which brings those of others.
pub(crate) fn sync(
    name: &str,
    joined: &JoinGroupResponse,
    all: &[(&Text, &str)],
) -> SyncGroupRequest {
    let mut request = SyncGroupRequest::default();
    request.group_id = group(name);
    request.generation_id = joined.generation_id;
    request.member_id = joined.member_id.clone();
    request.protocol_type = Some(text("consumer"));
    request.protocol_name = Some(text("range"));
    for (member, assignment) in all {
        let mut one = sync_group_request::SyncGroupRequestAssignment::default();
        one.member_id = (*member).clone();
        one.assignment = Bytes::copy_from_slice(assignment.as_bytes());
        request.assignments.push(one);
    }
    request
}

pub(crate) fn heartbeat(name: &str, joined: &JoinGroupResponse) -> HeartbeatRequest {
    let mut request = HeartbeatRequest::default();
    request.group_id = group(name);
    request.generation_id = joined.generation_id;
    request.member_id = joined.member_id.clone();
    request
}

pub(crate) fn leave(name: &str, member: &Text, version: i16) -> LeaveGroupRequest {
    let mut request = LeaveGroupRequest::default();
    request.group_id = group(name);
    if version < 3 {
        request.member_id = member.clone();
        return request;
    }
    let mut identity = leave_group_request::MemberIdentity::default();
    identity.member_id = member.clone();
    request.members = vec![identity];
    request
}

/// A heartbeat of a member of a consumer group that reads topic `t`.
pub(crate) fn consumer(name: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    let mut request = ConsumerGroupHeartbeatRequest::default();
    request.group_id = group(name);
    request.member_id = text(member);
    request.member_epoch = epoch;
    if epoch == 0 {
        request.rebalance_timeout_ms = 30_000;
        request.subscribed_topic_names = Some(vec![wire_name("t")]);
        request.topic_partitions = Some(Vec::new());
    }
    request
}

/// A commit by nobody in particular: offset 7 with a note, for partition 0.
pub(crate) fn commit(name: &str, topic: &str, id: TopicId) -> OffsetCommitRequest {
    let partition = |index| OffsetCommitRequestPartition {
        partition_index: PartitionId(index),
        committed_offset: Offset(7),
        committed_leader_epoch: 0,
        committed_metadata: Some(text("note")),
    };
    OffsetCommitRequest {
        group_id: text(name),
        generation_id_or_member_epoch: -1,
        member_id: Text::default(),
        group_instance_id: None,
        retention_time_ms: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: text(topic),
            topic_id: id,
            partitions: vec![partition(0)],
        }],
    }
}

/// A question for the offset of partition 0 of a topic, or for all.
pub(crate) fn offsets(
    name: &str,
    topic: Option<(&str, TopicId)>,
    version: i16,
) -> OffsetFetchRequest {
    let topics = topic.map(|(name, topic_id)| {
        let partition_indexes = vec![PartitionId(0)];
        vec![OffsetFetchRequestTopic { name: text(name), topic_id, partition_indexes }]
    });
    let mut request = OffsetFetchRequest {
        group_id: Text::default(),
        topics: None,
        groups: Vec::new(),
        require_stable: false,
    };
    if version < 8 {
        (request.group_id, request.topics) = (text(name), topics);
        return request;
    }
    let (group_id, member_id, member_epoch) = (text(name), None, -1);
    request.groups = vec![OffsetFetchRequestGroup { group_id, member_id, member_epoch, topics }];
    request
}

pub(crate) fn offset_deletion(name: &str, topic: &str) -> OffsetDeleteRequest {
    let mut deleted = offset_delete_request::OffsetDeleteRequestTopic::default();
    (deleted.name, deleted.partitions) = (wire_name(topic), vec![Default::default()]);
    let mut request = OffsetDeleteRequest::default();
    (request.group_id, request.topics) = (group(name), vec![deleted]);
    request
}

/// The broker that coordinates a group.
pub(crate) async fn find(client: &mut Client, name: &str) -> i32 {
    let mut request = FindCoordinatorRequest::default();
    request.coordinator_keys = vec![text(name)];
    let response = client.call(4, &request).await;
    assert_eq!(response.coordinators[0].error_code, 0);
    response.coordinators[0].node_id.0
}

/// The topics of the only group in a response: name, id, offset and note of each partition.
fn found(response: OffsetFetchResponse) -> Vec<(Text, TopicId, i64, Text)> {
    let topics = match response.groups.into_iter().next() {
        Some(group) => group.topics,
        None => response.topics,
    };
    let flat = topics.into_iter().flat_map(|topic| {
        topic.partitions.into_iter().map(move |partition| {
            assert_eq!(partition.error_code, ErrorCode::None);
            let note = partition.metadata.unwrap_or_default();
            (topic.name.clone(), topic.topic_id, partition.committed_offset.0, note)
        })
    });
    flat.collect()
}

#[tokio::test]
async fn the_first_request_makes_the_topic_of_groups() {
    let rig =
        Rig::with(&["offsets.topic.num.partitions=5", "offsets.topic.segment.bytes=5000000"]).await;
    let mut client = rig.client().await;
    let mut request = FindCoordinatorRequest::default();
    request.key = text("g");
    let old = client.call(0, &request).await;
    assert_eq!((old.error_code, old.node_id.0), (0, 1));
    assert_eq!(i32::from(rig.broker.addresses()[0].port()), old.port);
    assert_eq!(find(&mut client, "another").await, 1);
    let metadata = client.metadata(&[OFFSETS]).await;
    let topic = &metadata.topics[0];
    assert_eq!((topic.error_code, topic.is_internal, topic.partitions.len()), (0, true, 5));
    let configs = describe(&mut client, TOPIC, OFFSETS).await.unwrap();
    for (name, value) in [
        ("cleanup.policy", "compact"),
        ("compression.type", "producer"),
        ("segment.bytes", "5000000"),
    ] {
        let config = configs.iter().find(|config| &*config.name == name).unwrap();
        assert_eq!((config.value.as_deref(), config.config_source), (Some(value), 1), "{name}");
    }
    // Clients other than Kafka's own administration may not write to it.
    let refused = client.produce(OFFSETS, 0, batch(&["x"])).await;
    assert_eq!(refused.error_code, ErrorCode::InvalidTopic);
}

#[tokio::test]
async fn share_groups_have_no_coordinator() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    for (version, kind, code) in [
        (6, 2, ErrorCode::UnsupportedVersion),
        (5, 2, ErrorCode::InvalidRequest),
        (6, 9, ErrorCode::InvalidRequest),
    ] {
        let mut request = FindCoordinatorRequest::default();
        (request.key_type, request.coordinator_keys) = (kind, vec![text("x")]);
        let response = client.call(version, &request).await;
        assert_eq!(response.coordinators[0].error_code, code.code(), "{kind}");
    }
    assert_eq!(client.metadata(&[OFFSETS]).await.topics[0].error_code, 3, "nothing was made");
}

#[tokio::test]
async fn without_the_topic_nobody_coordinates() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let not_coordinator = ErrorCode::NotCoordinator.code();
    assert_eq!(client.call(5, &join("g", "", 5)).await.error_code, not_coordinator);
    let listed = client.call(4, &ListGroupsRequest::default()).await;
    assert_eq!((listed.error_code, listed.groups.len()), (0, 0));
}

#[tokio::test]
async fn two_members_share_and_one_goes() {
    let rig = Rig::new().await;
    let (mut a, mut b) = (rig.client().await, rig.client().await);
    find(&mut a, "g").await;
    let alone = joined(&mut a, "g", 9).await;
    assert_eq!((alone.error_code, alone.generation_id), (0, 1));
    assert_eq!((&alone.leader, alone.members.len()), (&alone.member_id, 1));
    let synced = a.call(5, &sync("g", &alone, &[(&alone.member_id, "all")])).await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]));
    assert_eq!(a.call(4, &heartbeat("g", &alone)).await.error_code, 0);

    let given = b.call(9, &join("g", "", 9)).await;
    assert_eq!(given.error_code, ErrorCode::MemberIdRequired.code());
    b.send(9, &join("g", &given.member_id, 9)).await;
    let in_progress = ErrorCode::RebalanceInProgress.code();
    while a.call(4, &heartbeat("g", &alone)).await.error_code != in_progress {}
    let leader = a.call(9, &join("g", &alone.member_id, 9)).await;
    let (_, follower) = b.receive::<JoinGroupRequest>(9).await;
    assert_eq!((leader.generation_id, follower.generation_id), (2, 2));
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    assert_eq!((&leader.leader, &follower.leader), (&alone.member_id, &alone.member_id));
    b.send(5, &sync("g", &follower, &[])).await;
    let parts = [(&leader.member_id, "one"), (&follower.member_id, "two")];
    let synced = a.call(5, &sync("g", &leader, &parts)).await;
    let (_, other) = b.receive::<SyncGroupRequest>(5).await;
    assert_eq!((&synced.assignment[..], &other.assignment[..]), (&b"one"[..], &b"two"[..]));

    let mut request = DescribeGroupsRequest::default();
    (request.groups, request.include_authorized_operations) = (vec![group("g")], true);
    let described = &a.call(6, &request).await.groups[0];
    assert_eq!((described.error_code, &*described.group_state), (0, "Stable"));
    assert_eq!((&*described.protocol_type, &*described.protocol_data), ("consumer", "range"));
    // READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS.
    assert_eq!(described.authorized_operations, 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11);
    let mut assignments: Vec<_> =
        described.members.iter().map(|member| member.member_assignment.clone()).collect();
    assignments.sort();
    assert_eq!(assignments, ["one", "two"]);
    for member in &described.members {
        assert_eq!((&*member.client_id, &*member.client_host), ("test", "/127.0.0.1"));
    }

    let left = b.call(5, &leave("g", &follower.member_id, 5)).await;
    assert_eq!((left.error_code, left.members[0].error_code), (0, 0));
    assert_eq!(a.call(4, &heartbeat("g", &leader)).await.error_code, in_progress);
    let again = a.call(9, &join("g", &alone.member_id, 9)).await;
    assert_eq!((again.generation_id, again.members.len()), (3, 1));
}

#[tokio::test]
async fn groups_and_offsets_are_there_after_a_stop_and_after_a_crash() {
    let mut rig = Rig::new().await;
    let mut client = rig.client().await;
    let id = client.create("t", 1, &[]).await;
    find(&mut client, "g").await;
    let member = joined(&mut client, "g", 5).await;
    client.call(3, &sync("g", &member, &[(&member.member_id, "all")])).await;
    for crash in [true, false] {
        let mut request = commit("g", "t", id);
        request.generation_id_or_member_epoch = member.generation_id;
        request.member_id = member.member_id.clone();
        request.topics[0].partitions[0].committed_offset = Offset(i64::from(crash));
        let committed = client.call(9, &request).await;
        assert_eq!(committed.topics[0].partitions[0].error_code, ErrorCode::None);
        rig = if crash { rig.crash().await } else { rig.restart().await };
        client = rig.client().await;
        let loading = ErrorCode::CoordinatorLoadInProgress;
        let fetched = loop {
            let fetched = client.call(9, &offsets("g", Some(("t", id)), 9)).await;
            if fetched.groups[0].error_code != loading {
                break fetched;
            }
        };
        assert_eq!(found(fetched), [(text("t"), TopicId::ZERO, i64::from(crash), text("note"))]);
        assert_eq!(client.call(3, &heartbeat("g", &member)).await.error_code, 0);
    }
}

#[tokio::test]
async fn offsets_are_committed_and_fetched_at_every_version() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let id = client.create("t", 1, &[]).await;
    find(&mut client, "g").await;
    for version in ApiKey::OffsetCommit.entry().served.unwrap().iter() {
        let by_id = version >= 10;
        let name = format!("g{version}");
        let mut request = commit(&name, "t", id);
        request.topics[0].topic_id = if by_id { id } else { TopicId::ZERO };
        let unknown = OffsetCommitRequestPartition {
            partition_index: PartitionId(9),
            ..request.topics[0].partitions[0].clone()
        };
        request.topics[0].partitions.insert(0, unknown);
        let mut nowhere = request.topics[0].clone();
        (nowhere.name, nowhere.topic_id) = (text("nowhere"), TopicId(uuid::Uuid::from_u128(1)));
        request.topics.push(nowhere);
        let response = client.call(version, &request).await;
        let flat: Vec<_> = response
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)))
            .map(|(topic, partition)| {
                (&*topic.name, partition.partition_index.0, partition.error_code)
            })
            .collect();
        let missing = ErrorCode::UnknownTopicOrPartition;
        let (t, nowhere, no_topic) = match by_id {
            true => ("", "", ErrorCode::UnknownTopicId),
            false => ("t", "nowhere", missing),
        };
        let expected = [
            (t, 9, missing),
            (t, 0, ErrorCode::None),
            (nowhere, 9, no_topic),
            (nowhere, 0, no_topic),
        ];
        assert_eq!(flat, expected, "{version}");
    }
    for version in ApiKey::OffsetFetch.entry().served.unwrap().iter() {
        let expected = match version {
            10 => (Text::default(), id, 7, text("note")),
            _ => (text("t"), TopicId::ZERO, 7, text("note")),
        };
        let asked_id = if version >= 10 { id } else { TopicId::ZERO };
        let one = client.call(version, &offsets("g9", Some(("t", asked_id)), version)).await;
        assert_eq!(found(one), std::slice::from_ref(&expected), "{version}");
        if version >= 2 {
            let all = client.call(version, &offsets("g9", None, version)).await;
            assert_eq!(found(all), [expected], "{version}");
        }
        let none = client.call(version, &offsets("nobody", Some(("t", asked_id)), version)).await;
        assert_eq!(found(none)[0].2, -1, "{version}");
    }
}

#[tokio::test]
async fn members_come_and_go_at_every_version() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    find(&mut client, "g").await;
    let versions = |key: ApiKey| key.entry().served.unwrap();
    for version in versions(ApiKey::JoinGroup).iter() {
        let name = format!("g{version}");
        let member = joined(&mut client, &name, version).await;
        assert_eq!((member.error_code, member.generation_id), (0, 1), "{version}");
        let own = |key| version.clamp(versions(key).min, versions(key).max);
        let request = sync(&name, &member, &[(&member.member_id, "all")]);
        let synced = client.call(own(ApiKey::SyncGroup), &request).await;
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]), "{version}");
        let alive = client.call(own(ApiKey::Heartbeat), &heartbeat(&name, &member)).await;
        assert_eq!(alive.error_code, 0, "{version}");
        let mut request = DescribeGroupsRequest::default();
        request.groups = vec![group(&name)];
        let described = client.call(own(ApiKey::DescribeGroups), &request).await;
        assert_eq!(&*described.groups[0].group_state, "Stable", "{version}");
        let version = own(ApiKey::LeaveGroup);
        let left = client.call(version, &leave(&name, &member.member_id, version)).await;
        assert_eq!(left.error_code, 0, "{version}");
        let left = client.call(version, &leave(&name, &member.member_id, version)).await;
        let code = left.members.first().map_or(left.error_code, |member| member.error_code);
        assert_eq!(code, ErrorCode::UnknownMemberId.code(), "{version}");
    }
    for version in versions(ApiKey::ListGroups).iter() {
        let listed = client.call(version, &ListGroupsRequest::default()).await;
        assert_eq!((listed.error_code, listed.groups.len()), (0, 10), "{version}");
    }
}

#[tokio::test]
async fn groups_are_described_and_deleted() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let id = client.create("t", 1, &[]).await;
    find(&mut client, "g").await;
    client.call(9, &commit("idle", "t", id)).await;
    let member = joined(&mut client, "busy", 5).await;
    client.call(3, &sync("busy", &member, &[(&member.member_id, "all")])).await;

    let mut request = ListGroupsRequest::default();
    request.states_filter = vec![text("stable")];
    let listed = client.call(5, &request).await;
    assert_eq!(listed.groups.len(), 1);
    let only = &listed.groups[0];
    let shown = (&*only.group_id.0, &*only.protocol_type, &*only.group_state, &*only.group_type);
    assert_eq!(shown, ("busy", "consumer", "Stable", "classic"));

    let mut request = DescribeGroupsRequest::default();
    request.groups = vec![group("nobody")];
    let unknown = ErrorCode::GroupIdNotFound.code();
    assert_eq!(client.call(6, &request).await.groups[0].error_code, unknown);
    let dead = &client.call(5, &request).await.groups[0];
    assert_eq!((dead.error_code, &*dead.group_state), (0, "Dead"));

    let deleted = client.call(0, &offset_deletion("idle", "t")).await;
    assert_eq!((deleted.error_code, deleted.topics[0].partitions[0].error_code), (0, 0));
    let missing = client.call(0, &offset_deletion("idle", "nowhere")).await;
    assert_eq!(missing.topics[0].partitions[0].error_code, 3);
    client.call(9, &commit("idle", "t", id)).await;
    let mut request = DeleteGroupsRequest::default();
    request.groups_names = ["idle", "busy", "nobody", "idle"].map(group).to_vec();
    let deleted = client.call(2, &request).await;
    let results: Vec<_> =
        deleted.results.iter().map(|result| (&*result.group_id.0, result.error_code)).collect();
    let busy = ErrorCode::NonEmptyGroup.code();
    assert_eq!(results, [("idle", 0), ("busy", busy), ("nobody", unknown)]);
    let all = client.call(9, &offsets("idle", None, 9)).await;
    assert_eq!(found(all), []);
}

#[tokio::test]
async fn members_of_a_consumer_group_share_and_commit() {
    let rig = Rig::with(&["group.consumer.assignment.interval.ms=0"]).await;
    let mut client = rig.client().await;
    let id = client.create("t", 2, &[]).await;
    find(&mut client, "g").await;
    let a = client.call(1, &consumer("g", "a", 0)).await;
    assert_eq!((a.error_code, &a.error_message), (0, &None));
    let owned = |response: &ConsumerGroupHeartbeatResponse| {
        let assignment = response.assignment.as_ref().expect("an assignment");
        let parts = assignment.topic_partitions.iter();
        let mut parts: Vec<i32> =
            parts.flat_map(|topic| topic.partitions.iter().copied()).collect();
        parts.sort_unstable();
        parts
    };
    assert_eq!(owned(&a), [0, 1]);

    let mut request = commit("g", "t", id);
    request.generation_id_or_member_epoch = a.member_epoch;
    request.member_id = text("a");
    let committed = client.call(10, &request).await;
    assert_eq!(committed.topics[0].partitions[0].error_code, ErrorCode::None);
    request.generation_id_or_member_epoch += 9;
    let stale = client.call(10, &request).await;
    assert_eq!(stale.topics[0].partitions[0].error_code, ErrorCode::StaleMemberEpoch);

    // The second member waits for what the first one gives up.
    let b = client.call(1, &consumer("g", "b", 0)).await;
    assert_eq!((b.error_code, owned(&b)), (0, vec![]));
    let mut alive = consumer("g", "a", a.member_epoch);
    let revoking = client.call(1, &alive).await;
    let kept = owned(&revoking);
    assert_eq!(kept.len(), 1);
    let mut topic = consumer_group_heartbeat_request::TopicPartitions::default();
    (topic.topic_id, topic.partitions) = (id.0, kept.clone());
    (alive.member_epoch, alive.topic_partitions) = (revoking.member_epoch, Some(vec![topic]));
    let revoked = client.call(1, &alive).await;
    assert_eq!(revoked.error_code, 0);
    let b = client.call(1, &consumer("g", "b", b.member_epoch)).await;
    assert_eq!(owned(&b), [1 - kept[0]]);

    let mut request = ConsumerGroupDescribeRequest::default();
    joined(&mut client, "classic", 3).await;
    request.group_ids = vec![group("g"), group("nobody"), group("classic")];
    let described = client.call(1, &request).await;
    assert_eq!((described.groups[0].error_code, described.groups[0].members.len()), (0, 2));
    for (described, message) in described.groups[1..]
        .iter()
        .zip(["Group nobody not found.", "Group classic is not a consumer group."])
    {
        assert_eq!(described.error_code, ErrorCode::GroupIdNotFound.code());
        assert_eq!(described.error_message, Some(text(message)));
    }
    let left = client.call(1, &consumer("g", "a", -1)).await;
    assert_eq!((left.error_code, left.member_epoch), (0, -1));
}

#[tokio::test]
async fn a_member_that_waits_does_not_hold_up_the_stop() {
    let rig = Rig::new().await;
    let (mut a, mut b) = (rig.client().await, rig.client().await);
    find(&mut a, "g").await;
    let member = joined(&mut a, "g", 3).await;
    a.call(2, &sync("g", &member, &[(&member.member_id, "all")])).await;
    b.send(3, &join("g", "", 3)).await;
    while a.call(3, &heartbeat("g", &member)).await.error_code == 0 {}
    let begun = Instant::now();
    let (restarted, answered) = tokio::join!(rig.restart(), b.receive::<JoinGroupRequest>(3));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(answered.1.error_code, ErrorCode::CoordinatorNotAvailable.code());
    drop(restarted);
}

/// Asks for the offsets of a group until the answer has such a code.
async fn fetch_until(
    client: &mut Client,
    name: &str,
    is_due: impl Fn(ErrorCode) -> bool,
) -> OffsetFetchResponse {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let fetched = client.call(9, &offsets(name, None, 9)).await;
        let code = fetched.groups[0].error_code;
        if is_due(code) {
            return fetched;
        }
        assert!(Instant::now() < deadline, "still {code}");
        tokio::task::yield_now().await;
    }
}

/// While a group's log is read its members are told to come again, but for heartbeats: those keep a member quiet.
#[tokio::test]
async fn members_wait_while_their_group_is_loaded() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let options = ["group.initial.rebalance.delay.ms=0", "offsets.topic.num.partitions=1"];
    let rig = Rig::on(Arc::new(disk.clone()), Path::new("data"), &options).await.unwrap();
    let mut client = rig.client().await;
    let id = client.create("t", 1, &[]).await;
    find(&mut client, "g").await;
    client.call(9, &commit("g", "t", id)).await;
    let member = joined(&mut client, "g", 3).await;
    let synced = client.call(3, &sync("g", &member, &[(&member.member_id, "a")])).await;
    assert_eq!(synced.error_code, 0);
    // An append that fails has the log read again, which takes until the disk goes on.
    disk.inject(Fault::Stall(OFFSETS.into()));
    disk.inject(Fault::NoSpaceAfter(0));
    let lost = client.call(9, &commit("other", "t", id)).await;
    assert_ne!(lost.topics[0].partitions[0].error_code, ErrorCode::None);
    let loading = ErrorCode::CoordinatorLoadInProgress;
    fetch_until(&mut client, "g", |code| code == loading).await;
    assert_eq!(client.call(3, &heartbeat("g", &member)).await.error_code, 0);
    let synced = client.call(3, &sync("g", &member, &[])).await;
    assert_eq!(synced.error_code, loading.code());
    assert_eq!(joined(&mut client, "g", 3).await.error_code, loading.code());
    assert_eq!(client.call(1, &consumer("g", "m", 0)).await.error_code, loading.code());
    disk.clear();
    let fetched = fetch_until(&mut client, "g", |code| code == ErrorCode::None).await;
    assert_eq!(found(fetched).len(), 1);
    assert_eq!(client.call(3, &heartbeat("g", &member)).await.error_code, 0);
}

/// What is damaged in the log of groups is left out; what comes before and after it is loaded.
#[tokio::test]
async fn a_damaged_commit_is_left_out_and_the_others_are_loaded() {
    let rig = Rig::with(&["offsets.topic.num.partitions=1"]).await;
    let mut client = rig.client().await;
    let id = client.create("t", 1, &[]).await;
    find(&mut client, "first").await;
    for name in ["first", "damaged", "last"] {
        client.call(9, &commit(name, "t", id)).await;
    }
    let Rig { disk, data, .. } = &rig;
    let path = data.join(format!("{OFFSETS}-0/00000000000000000000.log"));
    let bytes = disk.read_small(&path).unwrap().unwrap();
    let name = b"damaged";
    let position = bytes.windows(name.len()).position(|window| window == name).unwrap();
    let file = disk.open(&path, OpenMode::Write).unwrap();
    file.write_at(position as u64, &[b"D"]).unwrap();
    let rig = rig.restart().await;
    let mut client = rig.client().await;
    for (name, expected) in [("first", 1), ("damaged", 0), ("last", 1)] {
        let fetched = fetch_until(&mut client, name, |code| code == ErrorCode::None).await;
        assert_eq!(found(fetched).len(), expected, "{name}");
    }
}

#[tokio::test]
async fn bad_patterns_are_refused_and_a_group_takes_so_many_members() {
    let rig = Rig::with(&["group.consumer.max.size=1", "group.max.size=1"]).await;
    let mut client = rig.client().await;
    find(&mut client, "g").await;
    let matching = |member, pattern: &str| {
        let mut joining = consumer("g", member, 0);
        joining.subscribed_topic_names = None;
        joining.subscribed_topic_regex = Some(text(pattern));
        joining
    };
    for pattern in ["[", "(a{100}){100}{100}", r"(?=a)"] {
        let refused = client.call(1, &matching("m", pattern)).await;
        assert_eq!(refused.error_code, ErrorCode::InvalidRegularExpression.code(), "{pattern}");
    }
    assert_eq!(client.call(1, &matching("m", "t.*")).await.error_code, 0);
    let full = ErrorCode::GroupMaxSizeReached.code();
    assert_eq!(client.call(1, &matching("n", "t.*")).await.error_code, full);
    assert_eq!(joined(&mut client, "classic", 3).await.error_code, 0);
    let mut other = rig.client().await;
    assert_eq!(joined(&mut other, "classic", 3).await.error_code, full);
}
