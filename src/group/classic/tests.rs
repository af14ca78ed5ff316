//! Classic groups through a shard: what clients ask and what they get, case by case.

use std::time::Duration;

use super::super::rig::{GROUP, Rig, join_request, protocol, subscription, text};
use crate::group::command::{Command, Reply};
use crate::group::rig::{caller, commit_request, sync_request};
use crate::model::ErrorCode;
use crate::wire::messages::{JoinGroupRequest, JoinGroupResponse};

mod admin;
mod join;
mod model;
mod statics;
mod timeouts;

const SECOND: Duration = Duration::from_secs(1);

fn code(response: &JoinGroupResponse) -> ErrorCode {
    ErrorCode::from_code(response.error_code).unwrap()
}

/// Gets an id as a new dynamic member.
fn new_id(rig: &mut Rig) -> String {
    let response = rig.join(9, join_request(""));
    assert_eq!(code(&response), ErrorCode::MemberIdRequired);
    response.member_id.to_string()
}

/// Joins with a new id; the answer may come later.
fn ask_new(rig: &mut Rig) -> (String, u64) {
    let id = new_id(rig);
    let ticket = rig.ask_join(9, join_request(&id));
    (id, ticket)
}

/// A stable group of one member, its leader, in generation 1.
fn stable_one() -> (Rig, String) {
    let mut rig = Rig::new();
    let (leader, ticket) = ask_new(&mut rig);
    let joined = rig.joined(ticket).unwrap();
    assert_eq!((code(&joined), joined.generation_id), (ErrorCode::None, 1));
    assert_eq!(rig.sync(&leader, 1, &[(&leader, "all")]).assignment, "all");
    (rig, leader)
}

/// A stable group of a leader and a follower in generation 2.
fn stable_two() -> (Rig, String, String) {
    let (mut rig, leader) = stable_one();
    let (follower, follower_ticket) = ask_new(&mut rig);
    let leader_ticket = rig.ask_join(9, join_request(&leader));
    let joined = rig.joined(leader_ticket).unwrap();
    assert_eq!((joined.generation_id, joined.members.len()), (2, 2));
    let joined = rig.joined(follower_ticket).unwrap();
    assert_eq!((joined.generation_id, joined.members.len()), (2, 0));
    assert_eq!(joined.leader, text(&leader));
    let waiting = rig.ask_sync(&follower, 2, &[]);
    assert_eq!(rig.synced(waiting), None);
    let synced = rig.sync(&leader, 2, &[(&leader, "half"), (&follower, "rest")]);
    assert_eq!(synced.assignment, "half");
    assert_eq!(rig.synced(waiting).unwrap().assignment, "rest");
    assert_eq!(rig.state(), "Stable");
    (rig, leader, follower)
}

#[test]
fn two_members_share_a_group_commit_and_resume() {
    let (mut rig, leader, follower) = stable_two();
    assert_eq!(rig.commit(&leader, 2, 5), ErrorCode::None);
    assert_eq!(rig.commit(&follower, 2, 6), ErrorCode::None);
    assert_eq!(rig.commit(&follower, 1, 4), ErrorCode::IllegalGeneration);
    assert_eq!(rig.committed(), 6);
    let mut again = rig.restarted();
    assert_eq!(again.state(), "Stable");
    assert_eq!(again.committed(), 6);
    assert_eq!(again.heartbeat(&leader, 2), ErrorCode::None);
    assert_eq!(again.heartbeat(&follower, 2), ErrorCode::None);
    assert_eq!(again.sync(&follower, 2, &[]).assignment, "rest");
    assert_eq!(again.commit(&follower, 2, 7), ErrorCode::None);
}
