//! Static members (KIP-345).

use super::*;

fn static_request(member: &str, instance: &str) -> JoinGroupRequest {
    let mut request = join_request(member);
    request.group_instance_id = Some(text(instance));
    request
}

/// A stable group of two static members, `a` the leader, in generation 2.
fn stable() -> (Rig, String, String) {
    let mut rig = Rig::new();
    let joined = rig.join(9, static_request("", "a"));
    assert_eq!(code(&joined), ErrorCode::None, "no second request is needed");
    let a = joined.member_id.to_string();
    assert!(a.starts_with("a-"), "{a}");
    rig.sync(&a, 1, &[(&a, "all")]);
    let b_ticket = rig.ask_join(9, static_request("", "b"));
    let a_ticket = rig.ask_join(9, static_request(&a, "a"));
    rig.joined(a_ticket).unwrap();
    let b = rig.joined(b_ticket).unwrap().member_id.to_string();
    rig.sync(&a, 2, &[(&a, "half"), (&b, "rest")]);
    rig.sync(&b, 2, &[]);
    (rig, a, b)
}

#[test]
fn a_follower_that_restarts_gets_its_assignment_back_without_a_rebalance() {
    let (mut rig, a, b) = stable();
    let joined = rig.join(9, static_request("", "b"));
    let new = joined.member_id.to_string();
    assert_eq!((code(&joined), joined.generation_id), (ErrorCode::None, 2));
    assert_ne!(new, b);
    assert!(!joined.skip_assignment && joined.members.is_empty());
    assert_eq!(rig.sync(&new, 2, &[]).assignment, "rest");
    assert_eq!(rig.heartbeat_as(&b, Some("b"), 2), ErrorCode::FencedInstanceId);
    assert_eq!(rig.heartbeat(&b, 2), ErrorCode::UnknownMemberId);
    assert_eq!(rig.heartbeat_as(&a, Some("a"), 2), ErrorCode::None);
    // The new id survives.
    let mut again = rig.restarted();
    assert_eq!(again.heartbeat_as(&new, Some("b"), 2), ErrorCode::None);
    assert_eq!(again.heartbeat_as(&b, Some("b"), 2), ErrorCode::FencedInstanceId);
}

#[test]
fn a_leader_that_restarts_skips_the_assignment() {
    let (mut rig, a, _) = stable();
    let joined = rig.join(9, static_request("", "a"));
    assert!(joined.skip_assignment);
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(joined.members.len(), 2);
    assert_eq!(rig.sync(&joined.member_id, 2, &[]).assignment, "half");
    // An old client is told the leader that it is not any more.
    let old = joined.member_id;
    let joined = rig.join(8, static_request("", "a"));
    assert!(!joined.skip_assignment && joined.members.is_empty());
    assert_eq!(joined.leader, old);
    assert_ne!(joined.member_id.as_str(), a);
}

#[test]
fn other_metadata_of_the_same_protocol_does_not_rebalance() {
    let (mut rig, _, _) = stable();
    let mut request = static_request("", "b");
    request.protocols = vec![protocol("range", subscription(&["other"]))];
    assert_eq!(rig.join(9, request).generation_id, 2);
    assert_eq!(rig.state(), "Stable");
}

#[test]
fn another_protocol_rebalances() {
    let mut rig = Rig::new();
    let mut request = static_request("", "a");
    request.protocols = vec![
        protocol("range", subscription(&["topic"])),
        protocol("sticky", subscription(&["topic"])),
    ];
    let a = rig.join(9, request.clone()).member_id.to_string();
    rig.sync(&a, 1, &[]);
    request.protocols.reverse();
    let joined = rig.join(9, request);
    assert_eq!((joined.generation_id, joined.protocol_name), (2, Some(text("sticky"))));
}

#[test]
fn a_restart_fences_who_waits_to_join() {
    let (mut rig, a, b) = stable();
    let waiting = rig.ask_join(9, static_request(&a, "a"));
    let new = rig.ask_join(9, static_request("", "a"));
    let fenced = rig.joined(waiting).unwrap();
    assert_eq!(code(&fenced), ErrorCode::FencedInstanceId);
    assert_eq!((fenced.member_id, fenced.protocol_name), (text(&a), None));
    assert_eq!(rig.joined(new), None);
    let b_ticket = rig.ask_join(9, static_request(&b, "b"));
    let joined = rig.joined(new).unwrap();
    assert_eq!((joined.generation_id, joined.members.len()), (3, 2));
    assert_eq!(rig.joined(b_ticket).unwrap().leader, joined.member_id);
}

#[test]
fn a_restart_fences_who_waits_to_sync_and_begins_again() {
    let (mut rig, a, b) = stable();
    let a_ticket = rig.ask_join(9, static_request(&a, "a"));
    rig.ask_join(9, static_request(&b, "b"));
    rig.joined(a_ticket).unwrap();
    let waiting = rig.ask_sync(&b, 3, &[]);
    let new = rig.ask_join(9, static_request("", "b"));
    let fenced = rig.synced(waiting).unwrap();
    assert_eq!(fenced.error_code, ErrorCode::FencedInstanceId.code());
    assert_eq!(rig.joined(new), None);
    assert_eq!(rig.state(), "PreparingRebalance");
    let a_ticket = rig.ask_join(9, static_request(&a, "a"));
    assert_eq!(rig.joined(a_ticket).unwrap().generation_id, 4);
    assert_eq!(rig.joined(new).unwrap().generation_id, 4);
}

#[test]
fn an_id_that_is_not_of_the_instance_is_fenced() {
    let (mut rig, a, b) = stable();
    let fenced = rig.join(9, static_request(&a, "b"));
    assert_eq!(code(&fenced), ErrorCode::FencedInstanceId);
    let unknown = rig.join(9, static_request(&a, "nobody"));
    assert_eq!(code(&unknown), ErrorCode::UnknownMemberId);
    let mut sync = sync_request(&a, 2, &[]);
    sync.group_instance_id = Some(text("b"));
    let ticket = rig.ask(Command::SyncGroup { caller: caller(5), request: sync });
    assert_eq!(rig.synced(ticket).unwrap().error_code, ErrorCode::FencedInstanceId.code());
    let mut commit = commit_request(&b, 2, 1);
    commit.instance = Some(text("a"));
    assert_eq!(rig.commit_with(commit), ErrorCode::FencedInstanceId);
    let outcomes: Vec<_> = rig
        .leave(&[(&a, Some("b")), (&a, Some("nobody")), ("", Some("nobody")), ("", None)])
        .members
        .iter()
        .map(|member| ErrorCode::from_code(member.error_code).unwrap())
        .collect();
    let unknown = ErrorCode::UnknownMemberId;
    assert_eq!(outcomes, [ErrorCode::FencedInstanceId, unknown, unknown, unknown]);
    assert_eq!(rig.state(), "Stable");
}

#[test]
fn an_administrator_sends_an_instance_away() {
    let (mut rig, a, b) = stable();
    let response = rig.leave(&[("", Some("b"))]);
    assert_eq!(response.members[0].error_code, 0);
    assert_eq!(response.members[0].member_id, text(""));
    assert_eq!(rig.heartbeat_as(&b, Some("b"), 2), ErrorCode::UnknownMemberId);
    assert_eq!(rig.heartbeat_as(&a, Some("a"), 2), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_static_member_that_is_late_stays_in_the_group() {
    let (mut rig, a, b) = stable();
    let waiting = rig.ask_join(9, static_request(&a, "a"));
    let mut elapsed = Duration::ZERO;
    while elapsed < 60 * SECOND {
        rig.advance(5 * SECOND);
        elapsed += 5 * SECOND;
        rig.heartbeat_as(&b, Some("b"), 2);
    }
    let joined = rig.joined(waiting).unwrap();
    assert_eq!((joined.generation_id, joined.members.len()), (3, 2));
    // Its session ends all the same.
    rig.sync(&a, 3, &[]);
    rig.advance(5 * SECOND);
    rig.heartbeat_as(&a, Some("a"), 3);
    rig.advance(6 * SECOND);
    assert_eq!(rig.heartbeat_as(&a, Some("a"), 3), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_group_of_static_members_that_are_all_away_waits_on() {
    let mut rig = Rig::new();
    let mut request = static_request("", "a");
    request.rebalance_timeout_ms = 0;
    let a = rig.join(9, request.clone()).member_id.to_string();
    rig.sync(&a, 1, &[]);
    request.group_instance_id = Some(text("b"));
    let ticket = rig.ask_join(9, request);
    // Who began the rebalance leaves, and who is left has no time to come.
    rig.leave(&[("", Some("b"))]);
    assert_eq!(code(&rig.joined(ticket).unwrap()), ErrorCode::UnknownMemberId);
    rig.advance(5 * SECOND);
    assert_eq!(rig.state(), "PreparingRebalance");
    assert_eq!(rig.heartbeat_as(&a, Some("a"), 1), ErrorCode::RebalanceInProgress);
    let joined = rig.join(9, static_request(&a, "a"));
    assert_eq!((joined.generation_id, joined.members.len()), (2, 1));
}

/// The log has the old id as long as no generation was written since.
#[test]
fn a_new_id_survives_a_restart_of_the_broker_during_a_rebalance() {
    let (mut rig, a, _) = stable();
    rig.ask_join(9, static_request(&a, "a"));
    rig.ask_join(9, static_request("", "b"));
    let state = rig.describe();
    let new = state.members.iter().find(|one| one.group_instance_id == Some(text("b"))).unwrap();
    let new = new.member_id.to_string();
    let mut again = rig.restarted();
    assert_eq!(again.heartbeat_as(&new, Some("b"), 2), ErrorCode::None);
    // It leaves and comes back as somebody new before the next generation.
    again.leave(&[("", Some("b"))]);
    again.ask_join(9, static_request("", "b"));
    let state = again.describe();
    let new = state.members.iter().find(|one| one.group_instance_id == Some(text("b"))).unwrap();
    let new = new.member_id.to_string();
    let mut again = again.restarted();
    assert_eq!(again.heartbeat_as(&new, Some("b"), 2), ErrorCode::None);
}
