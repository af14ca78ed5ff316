//! Groups that change their kind while they have members, and members of the classic protocol in a consumer group.

use bytes::Bytes;

use super::world::World;
use crate::config::MigrationPolicy;
use crate::group::command::{Command, Reply};
use crate::group::rig::{caller, join_request, protocol, sync_request, text};
use crate::model::ErrorCode;
use crate::wire::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::wire::messages::{JoinGroupRequest, JoinGroupResponse};

/// A subscription of version 1.
fn subscription(topics: &[&str], owned: &[(&str, &[i32])]) -> Bytes {
    let mut bytes = vec![0, 1];
    put_count(&mut bytes, topics.len());
    topics.iter().for_each(|topic| put_text(&mut bytes, topic));
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    put_partitions(&mut bytes, owned);
    bytes.into()
}

fn assignment(partitions: &[(&str, &[i32])], user_data: &[u8]) -> Bytes {
    let mut bytes = vec![0, 1];
    put_partitions(&mut bytes, partitions);
    put_count(&mut bytes, user_data.len());
    bytes.extend_from_slice(user_data);
    bytes.into()
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend_from_slice(&i32::try_from(count).unwrap().to_be_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&i16::try_from(text.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn put_partitions(bytes: &mut Vec<u8>, topics: &[(&str, &[i32])]) {
    put_count(bytes, topics.len());
    for (topic, partitions) in topics {
        put_text(bytes, topic);
        put_count(bytes, partitions.len());
        partitions.iter().for_each(|it| bytes.extend_from_slice(&it.to_be_bytes()));
    }
}

fn joining(member: &str, owned: &[(&str, &[i32])]) -> JoinGroupRequest {
    let mut request = join_request(member);
    request.protocols = vec![protocol("range", subscription(&["a"], owned))];
    request
}

fn error(response: &JoinGroupResponse) -> ErrorCode {
    ErrorCode::from_code(response.error_code).unwrap()
}

/// What the member is given; it must be of version 1.
fn sync(world: &mut World, member: &str, generation: i32) -> Result<Vec<i32>, ErrorCode> {
    sync_with(world, member, generation, &[])
}

fn sync_with(
    world: &mut World,
    member: &str,
    generation: i32,
    assignments: &[(&str, Bytes)],
) -> Result<Vec<i32>, ErrorCode> {
    let mut request = sync_request(member, generation, &[]);
    let given = assignments.iter().map(|(member, bytes)| {
        let mut given = SyncGroupRequestAssignment::default();
        given.member_id = text(member);
        given.assignment = bytes.clone();
        given
    });
    request.assignments = given.collect();
    let ticket = world.rig.ask(Command::SyncGroup { caller: caller(5), request });
    let Some(Reply::SyncGroup(response)) = world.rig.answer(ticket) else {
        panic!("no answer");
    };
    let error = ErrorCode::from_code(response.error_code).unwrap();
    if !error.is_none() {
        return Err(error);
    }
    let bytes = &response.assignment;
    if bytes.len() < 15 {
        return Ok(Vec::new());
    }
    // Version, one topic, its name "a", the count of its partitions.
    assert_eq!(bytes[..9], [0, 1, 0, 0, 0, 1, 0, 1, b'a']);
    let partitions = bytes[13..bytes.len() - 4].chunks(4);
    Ok(partitions.map(|it| i32::from_be_bytes(it.try_into().unwrap())).collect())
}

/// A classic group with one member that reads all partitions of `a`.
fn classic_group(world: &mut World, user_data: &[u8]) -> String {
    let joined = world.rig.join(3, joining("", &[]));
    let (member, generation) = (joined.member_id.to_string(), joined.generation_id);
    let given = assignment(&[("a", &[0, 1])], user_data);
    sync_with(world, &member, generation, &[(member.as_str(), given)]).unwrap();
    assert_eq!((generation, world.rig.state().as_str()), (1, "Stable"));
    member
}

#[test]
fn a_classic_group_becomes_a_consumer_group_and_back() {
    let mut world = World::new(&[("a", 2)]);
    let old = classic_group(&mut world, &[]);
    let joined = world.join("new", &["a"]);
    assert_eq!((joined.error, joined.epoch), (ErrorCode::None, 2));
    assert_eq!(joined.assigned().len(), 0, "the old member has both");
    assert_eq!(world.member_ids().len(), 2);
    assert!(world.replays_alike());

    // The old member learns that it has to join, and gives up what it does not say it owns.
    assert_eq!(world.rig.heartbeat(&old, 1), ErrorCode::RebalanceInProgress);
    let rejoined = world.rig.join(3, joining(&old, &[("a", &[0, 1])]));
    assert_eq!((error(&rejoined), rejoined.generation_id), (ErrorCode::None, 1));
    let kept = sync(&mut world, &old, 1).unwrap();
    assert_eq!(kept.len(), 1, "one is to be given up");
    assert_eq!(world.rig.heartbeat(&old, 1), ErrorCode::RebalanceInProgress);
    let rejoined = world.rig.join(3, joining(&old, &[("a", &kept)]));
    assert_eq!((error(&rejoined), rejoined.generation_id), (ErrorCode::None, 2));
    assert_eq!(sync(&mut world, &old, 2), Ok(kept));
    assert_eq!(world.rig.heartbeat(&old, 2), ErrorCode::None);
    assert_eq!(world.heartbeat("new", 2, |_| {}).assigned().len(), 1);
    assert_eq!(world.state(), "Stable");
    assert!(world.replays_alike());

    assert_eq!(world.rig.heartbeat(&old, 1), ErrorCode::IllegalGeneration);
    assert_eq!(world.rig.heartbeat("new", 2), ErrorCode::UnknownMemberId, "speaks the new one");
    assert_eq!(sync(&mut world, &old, 1), Err(ErrorCode::IllegalGeneration));

    // The last member of the new protocol goes.
    assert_eq!(world.heartbeat("new", -1, |_| {}).error, ErrorCode::None);
    assert_eq!(world.rig.state(), "PreparingRebalance");
    assert_eq!(world.rig.heartbeat(&old, 2), ErrorCode::RebalanceInProgress);
    let rejoined = world.rig.join(3, joining(&old, &[]));
    assert_eq!((error(&rejoined), rejoined.generation_id), (ErrorCode::None, 3));
    world.restart();
    assert_eq!(world.describe().error_code, ErrorCode::GroupIdNotFound.code());
}

#[test]
fn a_member_of_the_classic_protocol_joins_and_leaves_a_consumer_group() {
    let mut world = World::new(&[("a", 2)]);
    world.join("new", &["a"]);
    let asked = world.rig.join(4, joining("", &[]));
    assert_eq!(error(&asked), ErrorCode::MemberIdRequired);
    let id = asked.member_id.to_string();
    let joined = world.rig.join(4, joining(&id, &[]));
    assert_eq!((error(&joined), joined.generation_id), (ErrorCode::None, 3));
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    assert_eq!(sync(&mut world, &id, 3), Ok(vec![]));
    assert_eq!(world.rig.heartbeat(&id, 3), ErrorCode::None, "it waits for the other");
    world.heartbeat("new", 2, |_| {});
    world.heartbeat_owning("new", 2, &[("a", 0)]);
    assert_eq!(world.rig.heartbeat(&id, 3), ErrorCode::RebalanceInProgress, "there is something");
    world.rig.join(4, joining(&id, &[]));
    assert_eq!(sync(&mut world, &id, 3), Ok(vec![1]));

    let mut other = joining("", &[]);
    other.protocols[0].name = text("other");
    assert_eq!(error(&world.rig.join(3, other)), ErrorCode::InconsistentGroupProtocol);

    let left = world.rig.leave(&[(&id, None), ("nobody", None)]);
    let codes: Vec<_> = left.members.iter().map(|member| member.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::UnknownMemberId.code()]);
    assert_eq!(world.member_ids(), ["new"]);
    assert!(world.replays_alike());
}

#[test]
fn a_member_of_the_classic_protocol_has_its_own_session_and_has_to_sync_in_time() {
    let mut world = World::new(&[("a", 1)]);
    world.join("new", &["a"]);
    let mut request = joining("", &[]);
    request.session_timeout_ms = 10_000;
    let id = world.rig.join(3, request.clone()).member_id.to_string();
    sync(&mut world, &id, 3).unwrap();
    world.advance(10_000);
    assert_eq!(world.member_ids(), ["new"]);
    // One that lives but never asks for its assignment.
    request.rebalance_timeout_ms = 12_000;
    let id = world.rig.join(3, request).member_id.to_string();
    world.advance(8_000);
    let generation = 5;
    assert_eq!(world.rig.heartbeat(&id, generation), ErrorCode::None);
    world.advance(4_000);
    assert_eq!(world.member_ids(), ["new"]);
}

#[test]
fn the_policy_says_which_ways_are_open() {
    for (policy, up, mixed, down) in [
        (MigrationPolicy::Bidirectional, true, true, true),
        (MigrationPolicy::Upgrade, true, true, false),
        (MigrationPolicy::Downgrade, false, true, true),
        (MigrationPolicy::Disabled, false, false, false),
    ] {
        let mut world = World::new(&[("a", 2)]);
        world.rig.configure(|settings| settings.consumer.migration = policy);
        classic_group(&mut world, &[]);
        let joined = world.join("new", &["a"]).error;
        let refused = ErrorCode::GroupIdNotFound;
        assert_eq!(joined, if up { ErrorCode::None } else { refused }, "{policy:?}");
        assert_eq!(up, world.describe().error_code == 0, "{policy:?}");

        let mut world = World::new(&[("a", 2)]);
        world.rig.configure(|settings| settings.consumer.migration = policy);
        world.join("new", &["a"]);
        let joined = error(&world.rig.join(3, joining("", &[])));
        let refused = ErrorCode::InconsistentGroupProtocol;
        assert_eq!(joined, if mixed { ErrorCode::None } else { refused }, "{policy:?}");
        world.heartbeat("new", -1, |_| {});
        let is_classic = world.describe().error_code != 0;
        assert_eq!(is_classic, down, "{policy:?}");
    }
}

#[test]
fn a_group_whose_assignor_has_data_of_its_own_stays_classic() {
    let mut world = World::new(&[("a", 2)]);
    classic_group(&mut world, b"mine");
    assert_eq!(world.join("new", &["a"]).error, ErrorCode::GroupIdNotFound);
    assert_eq!(world.rig.state(), "Stable");
}

#[test]
fn the_last_static_member_of_the_new_protocol_comes_back_with_the_classic_one() {
    let mut world = World::new(&[("a", 2)]);
    world.join_static("new", "i1", &["a"]);
    let mut request = joining("", &[]);
    request.group_instance_id = Some(text("i1"));
    let joined = world.rig.join(5, request);
    assert_eq!(error(&joined), ErrorCode::None);
    assert_eq!(world.describe().error_code, ErrorCode::GroupIdNotFound.code());
    world.restart();
    assert_eq!(world.rig.state(), "Stable");
    assert_eq!(world.rig.describe().members.len(), 1);
}
