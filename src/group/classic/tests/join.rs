//! Who may join, and what joining does in each state.

use super::*;

#[test]
fn a_request_that_no_group_can_take_is_refused() {
    let mut rig = Rig::new();
    let with = |change: fn(&mut JoinGroupRequest)| {
        let mut request = join_request("");
        change(&mut request);
        request
    };
    let cases: [(JoinGroupRequest, ErrorCode); 6] = [
        (with(|request| request.group_id.0 = text("")), ErrorCode::InvalidGroupId),
        (with(|request| request.session_timeout_ms = 5999), ErrorCode::InvalidSessionTimeout),
        (with(|request| request.session_timeout_ms = 1_800_001), ErrorCode::InvalidSessionTimeout),
        (with(|request| request.protocol_type = text("")), ErrorCode::InconsistentGroupProtocol),
        (with(|request| request.protocols.clear()), ErrorCode::InconsistentGroupProtocol),
        (join_request("who"), ErrorCode::UnknownMemberId),
    ];
    for (request, expected) in cases {
        let response = rig.join(9, request);
        assert_eq!((code(&response), response.generation_id), (expected, -1), "{response:?}");
        assert_eq!(response.protocol_name, Some(text("")));
    }
}

#[test]
fn an_old_client_joins_without_a_second_request() {
    let mut rig = Rig::new();
    let joined = rig.join(3, join_request(""));
    assert_eq!((code(&joined), joined.generation_id), (ErrorCode::None, 1));
    assert_eq!(joined.leader, joined.member_id);
    assert!(joined.member_id.starts_with("client-"), "{joined:?}");
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.members[0].metadata, subscription(&["topic"]));
}

#[test]
fn version_0_has_one_timeout() {
    let mut rig = Rig::new();
    let mut request = join_request("");
    request.rebalance_timeout_ms = -1;
    let first = rig.join(0, request).member_id.to_string();
    rig.sync(&first, 1, &[]);
    let (_, waiting) = ask_new(&mut rig);
    // The first does not come: its session timeout of 10 s is all that is waited for.
    rig.advance(9 * SECOND);
    assert_eq!(rig.heartbeat(&first, 1), ErrorCode::RebalanceInProgress);
    assert_eq!(rig.joined(waiting), None);
}

#[test]
fn a_client_id_that_fills_a_string_is_cut() {
    let mut rig = Rig::new();
    let mut caller = caller(3);
    caller.client_id = text(&"é".repeat(16_383));
    let command = Command::JoinGroup { caller, request: join_request("") };
    let ticket = rig.ask(command);
    let joined = rig.joined(ticket).unwrap();
    assert!(joined.member_id.len() <= i16::MAX as usize, "{}", joined.member_id.len());
    assert_eq!(code(&joined), ErrorCode::None);
}

#[test]
fn protocols_must_meet() {
    let (mut rig, leader) = stable_one();
    let mut other = join_request("");
    other.protocols = vec![protocol("sticky", subscription(&["topic"]))];
    assert_eq!(code(&rig.join(9, other)), ErrorCode::InconsistentGroupProtocol);
    let mut other = join_request("");
    other.protocol_type = text("connect");
    assert_eq!(code(&rig.join(9, other)), ErrorCode::InconsistentGroupProtocol);
    let mut request = join_request(&leader);
    request.protocols = vec![protocol("sticky", subscription(&["topic"]))];
    let response = rig.join(9, request);
    assert_eq!(code(&response), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(response.member_id, text(&leader));
    assert_eq!(rig.state(), "Stable");
}

#[test]
fn the_protocol_that_most_prefer_among_those_that_all_have_is_chosen() {
    let mut rig = Rig::new();
    rig.configure(|settings| settings.initial_rebalance_delay = SECOND);
    let offers: [&[&str]; 3] = [&["a", "b", "c"], &["c", "b"], &["d", "b", "c"]];
    let mut tickets = Vec::new();
    for offer in offers {
        let mut request = join_request("");
        request.protocols =
            offer.iter().map(|name| protocol(name, subscription(&["topic"]))).collect();
        tickets.push(rig.ask_join(3, request));
    }
    rig.advance(60 * SECOND);
    for ticket in tickets {
        assert_eq!(rig.joined(ticket).unwrap().protocol_name, Some(text("b")));
    }
}

#[test]
fn a_pending_member_holds_a_rebalance_up_until_its_session_ends() {
    let (mut rig, leader) = stable_one();
    let (_, waiting) = ask_new(&mut rig);
    let pending = new_id(&mut rig);
    let leader_ticket = rig.ask_join(9, join_request(&leader));
    assert_eq!(rig.joined(leader_ticket), None);
    rig.advance(9 * SECOND);
    assert_eq!(rig.joined(waiting), None);
    rig.advance(SECOND);
    assert_eq!(rig.joined(waiting).unwrap().generation_id, 2);
    assert_eq!(rig.joined(leader_ticket).unwrap().members.len(), 2);
    assert_eq!(code(&rig.join(9, join_request(&pending))), ErrorCode::UnknownMemberId);
}

#[test]
fn a_pending_member_leaves() {
    let mut rig = Rig::new();
    let pending = new_id(&mut rig);
    let response = rig.leave(&[(&pending, None)]);
    assert_eq!(response.members[0].error_code, 0);
    assert_eq!(code(&rig.join(9, join_request(&pending))), ErrorCode::UnknownMemberId);
}

#[test]
fn a_pending_member_is_not_static() {
    let mut rig = Rig::new();
    let pending = new_id(&mut rig);
    let mut request = join_request(&pending);
    request.group_instance_id = Some(text("instance"));
    let refused = rig.join(9, request);
    assert_eq!((code(&refused), refused.member_id), (ErrorCode::UnknownServerError, text("")));
}

#[test]
fn who_lost_the_answer_gets_it_again() {
    let (mut rig, leader) = stable_one();
    let (follower, _) = ask_new(&mut rig);
    rig.ask_join(9, join_request(&leader));
    for _ in 0..2 {
        let again = rig.join(9, join_request(&leader));
        assert_eq!((again.generation_id, again.members.len()), (2, 2));
        let again = rig.join(9, join_request(&follower));
        assert_eq!((again.generation_id, again.members.len()), (2, 0));
    }
    assert_eq!(rig.state(), "CompletingRebalance");
}

#[test]
fn other_metadata_begins_another_rebalance_before_the_assignment() {
    let (mut rig, leader) = stable_one();
    let (follower, _) = ask_new(&mut rig);
    rig.ask_join(9, join_request(&leader));
    let waiting = rig.ask_sync(&follower, 2, &[]);
    let mut changed = join_request(&leader);
    changed.protocols = vec![protocol("range", subscription(&["other"]))];
    let ticket = rig.ask_join(9, changed);
    let refused = rig.synced(waiting).unwrap();
    assert_eq!(refused.error_code, ErrorCode::RebalanceInProgress.code());
    assert_eq!(rig.joined(ticket), None);
    assert_eq!(rig.state(), "PreparingRebalance");
}

#[test]
fn a_follower_that_changed_nothing_does_not_disturb_a_stable_group() {
    let (mut rig, leader, follower) = stable_two();
    let again = rig.join(9, join_request(&follower));
    assert_eq!((code(&again), again.generation_id), (ErrorCode::None, 2));
    assert_eq!(rig.state(), "Stable");
    let mut changed = join_request(&follower);
    changed.protocols = vec![protocol("range", subscription(&["other"]))];
    let ticket = rig.ask_join(9, changed);
    assert_eq!(rig.joined(ticket), None);
    assert_eq!(rig.heartbeat(&leader, 2), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_leader_that_joins_again_begins_a_rebalance() {
    let (mut rig, leader, follower) = stable_two();
    let ticket = rig.ask_join(9, join_request(&leader));
    assert_eq!(rig.joined(ticket), None);
    assert_eq!(rig.heartbeat(&follower, 2), ErrorCode::RebalanceInProgress);
    assert_eq!(rig.sync(&follower, 2, &[]).error_code, ErrorCode::RebalanceInProgress.code());
    // What was read may still be committed.
    assert_eq!(rig.commit(&follower, 2, 9), ErrorCode::None);
    let follower_ticket = rig.ask_join(9, join_request(&follower));
    assert_eq!(rig.joined(ticket).unwrap().generation_id, 3);
    assert_eq!(rig.joined(follower_ticket).unwrap().generation_id, 3);
    assert_eq!(rig.commit(&follower, 3, 10), ErrorCode::RebalanceInProgress);
}

#[test]
fn who_asks_twice_is_answered_where_it_asked_last() {
    let (mut rig, leader) = stable_one();
    let (follower, first) = ask_new(&mut rig);
    let second = rig.ask_join(9, join_request(&follower));
    assert_eq!(code(&rig.joined(first).unwrap()), ErrorCode::RebalanceInProgress);
    rig.ask_join(9, join_request(&leader));
    assert_eq!(rig.joined(second).unwrap().generation_id, 2);
    let first = rig.ask_sync(&follower, 2, &[]);
    let second = rig.ask_sync(&follower, 2, &[]);
    let refused = rig.synced(first).unwrap();
    assert_eq!(refused.error_code, ErrorCode::RebalanceInProgress.code());
    rig.sync(&leader, 2, &[(&follower, "x")]);
    assert_eq!(rig.synced(second).unwrap().assignment, "x");
}

#[test]
fn a_full_group_takes_nobody_in() {
    let (mut rig, leader, _) = stable_two();
    rig.configure(|settings| settings.member_count_max = 2);
    let refused = rig.join(9, join_request(""));
    assert_eq!(code(&refused), ErrorCode::GroupMaxSizeReached);
    assert_eq!(refused.member_id, text(""));
    let ticket = rig.ask_join(9, join_request(&leader));
    assert_eq!(rig.joined(ticket), None, "a member may join again");
}

#[test]
fn a_group_that_fills_up_while_it_waits_refuses_the_rest() {
    let mut rig = Rig::new();
    rig.configure(|settings| {
        settings.initial_rebalance_delay = SECOND;
        settings.member_count_max = 2;
    });
    let [first, second] = [(); 2].map(|()| rig.ask_join(3, join_request("")));
    assert_eq!(code(&rig.join(3, join_request(""))), ErrorCode::GroupMaxSizeReached);
    rig.advance(60 * SECOND);
    assert_eq!(rig.joined(first).unwrap().generation_id, 1);
    assert_eq!(rig.joined(second).unwrap().generation_id, 1);
}

#[test]
fn members_of_another_generation_or_protocol_get_no_assignment() {
    let (mut rig, leader, follower) = stable_two();
    let error = |response: crate::wire::messages::SyncGroupResponse| {
        ErrorCode::from_code(response.error_code).unwrap()
    };
    assert_eq!(error(rig.sync(&leader, 1, &[])), ErrorCode::IllegalGeneration);
    assert_eq!(error(rig.sync("who", 2, &[])), ErrorCode::UnknownMemberId);
    let mut request = sync_request(&follower, 2, &[]);
    request.protocol_type = Some(text("connect"));
    let ticket = rig.ask(Command::SyncGroup { caller: caller(5), request });
    assert_eq!(error(rig.synced(ticket).unwrap()), ErrorCode::InconsistentGroupProtocol);
    let mut request = sync_request(&follower, 2, &[]);
    request.protocol_name = Some(text("sticky"));
    let ticket = rig.ask(Command::SyncGroup { caller: caller(5), request });
    assert_eq!(error(rig.synced(ticket).unwrap()), ErrorCode::InconsistentGroupProtocol);
    let mut request = sync_request(&follower, 2, &[]);
    request.group_id.0 = text("");
    let ticket = rig.ask(Command::SyncGroup { caller: caller(5), request });
    assert_eq!(error(rig.synced(ticket).unwrap()), ErrorCode::InvalidGroupId);
    let mut request = sync_request(&follower, 2, &[]);
    request.group_id.0 = text("other");
    let ticket = rig.ask(Command::SyncGroup { caller: caller(5), request });
    assert_eq!(error(rig.synced(ticket).unwrap()), ErrorCode::UnknownMemberId);
}

#[test]
fn an_assignment_for_somebody_else_is_passed_over() {
    let (mut rig, leader) = stable_one();
    let (follower, _) = ask_new(&mut rig);
    rig.ask_join(9, join_request(&leader));
    let waiting = rig.ask_sync(&follower, 2, &[]);
    let synced = rig.sync(&leader, 2, &[("ghost", "x"), (&leader, "a"), (&leader, "b")]);
    assert_eq!(synced.assignment, "b");
    let synced = rig.synced(waiting).unwrap();
    assert_eq!((synced.error_code, synced.assignment.len()), (0, 0));
}

#[test]
fn commits_of_nobody_in_particular_need_an_empty_group() {
    let mut rig = Rig::new();
    assert_eq!(rig.commit("", -1, 1), ErrorCode::None);
    assert_eq!(rig.commit("m", 0, 1), ErrorCode::UnknownMemberId);
    assert_eq!((rig.committed(), rig.state().as_str()), (1, "Empty"));
    let (mut rig, leader) = stable_one();
    assert_eq!(rig.commit("", -1, 1), ErrorCode::UnknownMemberId);
    assert_eq!(rig.commit("who", 1, 1), ErrorCode::UnknownMemberId);
    assert_eq!(rig.commit(&leader, -1, 1), ErrorCode::IllegalGeneration);
    assert_eq!(rig.committed(), -1);
}

#[test]
fn commits_for_an_unknown_group_are_refused_by_version() {
    let mut rig = Rig::new();
    for (version, expected) in [(8, ErrorCode::IllegalGeneration), (9, ErrorCode::GroupIdNotFound)]
    {
        let request = commit_request("m", 1, 1);
        let ticket = rig.ask(Command::OffsetCommit { caller: caller(version), request });
        assert_eq!(rig.answer(ticket), Some(Reply::OffsetCommit(Err(expected))));
    }
    assert_eq!(rig.log, []);
}

#[test]
fn a_new_group_is_written_before_its_first_generation() {
    let mut rig = Rig::new();
    new_id(&mut rig);
    assert_eq!(rig.log.len(), 1);
    let mut again = rig.restarted();
    assert_eq!(again.state(), "Empty");
    let command = Command::DescribeGroup { group: text(GROUP), api_version: 6 };
    let ticket = again.ask(command);
    let Some(Reply::DescribeGroup(described)) = again.answer(ticket) else { panic!() };
    assert_eq!((described.error_code, described.protocol_type), (0, text("")));
}
