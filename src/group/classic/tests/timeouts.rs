//! What happens when somebody is slow or gone.

use super::*;

#[test]
fn the_first_member_waits_for_others_and_longer_if_they_come() {
    let mut rig = Rig::new();
    rig.configure(|settings| settings.initial_rebalance_delay = 3 * SECOND);
    let first = rig.ask_join(3, join_request(""));
    rig.advance(2 * SECOND);
    let second = rig.ask_join(3, join_request(""));
    rig.advance(SECOND);
    assert_eq!(rig.joined(first), None, "extended by the second");
    rig.advance(3 * SECOND);
    assert_eq!(rig.joined(first).unwrap().members.len(), 2);
    assert_eq!(rig.joined(second).unwrap().generation_id, 1);
}

#[test]
fn the_initial_wait_ends_at_the_rebalance_timeout() {
    let mut rig = Rig::new();
    rig.configure(|settings| settings.initial_rebalance_delay = 3 * SECOND);
    let mut tickets = Vec::new();
    let mut request = join_request("");
    request.rebalance_timeout_ms = 10_000;
    for _ in 0..9 {
        tickets.push(rig.ask_join(3, request.clone()));
        rig.advance(SECOND);
    }
    assert_eq!(rig.state(), "PreparingRebalance");
    tickets.push(rig.ask_join(3, request));
    rig.advance(SECOND);
    for ticket in tickets {
        assert_eq!(rig.joined(ticket).unwrap().generation_id, 1);
    }
}

#[test]
fn without_a_delay_a_generation_begins_at_once() {
    let mut rig = Rig::new();
    let (_, ticket) = ask_new(&mut rig);
    assert_eq!(rig.joined(ticket).unwrap().generation_id, 1);
}

#[test]
fn a_silent_member_is_given_up_and_the_rest_goes_on() {
    let (mut rig, leader, follower) = stable_two();
    rig.advance(6 * SECOND);
    assert_eq!(rig.heartbeat(&leader, 2), ErrorCode::None);
    rig.advance(5 * SECOND);
    assert_eq!(rig.heartbeat(&follower, 2), ErrorCode::UnknownMemberId);
    assert_eq!(rig.heartbeat(&leader, 2), ErrorCode::RebalanceInProgress);
    let joined = rig.join(9, join_request(&leader));
    assert_eq!((joined.generation_id, joined.members.len()), (3, 1));
}

#[test]
fn a_commit_keeps_a_member_alive() {
    let (mut rig, leader) = stable_one();
    for offset in 0..4 {
        rig.advance(9 * SECOND);
        assert_eq!(rig.commit(&leader, 1, offset), ErrorCode::None);
    }
    rig.advance(11 * SECOND);
    assert_eq!(rig.commit(&leader, 1, 9), ErrorCode::UnknownMemberId);
    assert_eq!(rig.state(), "Empty");
}

#[test]
fn a_group_without_members_is_empty_in_a_new_generation() {
    let (mut rig, leader) = stable_one();
    rig.advance(11 * SECOND);
    assert_eq!(rig.state(), "Empty");
    assert_eq!(rig.restarted().state(), "Empty");
    assert_eq!(code(&rig.join(9, join_request(&leader))), ErrorCode::UnknownMemberId);
    let (_, ticket) = ask_new(&mut rig);
    assert_eq!(rig.joined(ticket).unwrap().generation_id, 3);
}

#[test]
fn who_does_not_rejoin_in_time_is_left_behind() {
    let (mut rig, leader, follower) = stable_two();
    let ticket = rig.ask_join(9, join_request(&follower));
    assert_eq!(rig.joined(ticket).unwrap().generation_id, 2);
    let mut changed = join_request(&follower);
    changed.protocols = vec![protocol("range", subscription(&["other"]))];
    let ticket = rig.ask_join(9, changed);
    for _ in 0..11 {
        rig.advance(5 * SECOND);
        assert_eq!(rig.heartbeat(&leader, 2), ErrorCode::RebalanceInProgress);
    }
    rig.advance(5 * SECOND);
    let joined = rig.joined(ticket).unwrap();
    assert_eq!((joined.generation_id, joined.members.len()), (3, 1));
    assert_eq!(joined.leader, text(&follower), "it leads now");
    assert_eq!(rig.heartbeat(&leader, 2), ErrorCode::UnknownMemberId);
}

#[test]
fn who_waits_need_not_send_heartbeats_but_a_new_member_has_five_minutes() {
    let (mut rig, leader, _) = stable_two();
    let mut slow = join_request(&leader);
    slow.rebalance_timeout_ms = 600_000;
    let old = rig.ask_join(9, slow);
    let mut patient = join_request("");
    patient.rebalance_timeout_ms = 600_000;
    let new = rig.ask_join(3, patient);
    // The follower is silent: it is given up, and everybody else is there.
    rig.advance(11 * SECOND);
    assert_eq!(rig.joined(old).unwrap().generation_id, 3);
    let joined = rig.joined(new).unwrap();
    assert_eq!(joined.generation_id, 3);

    let mut rig = Rig::new();
    rig.configure(|settings| settings.initial_rebalance_delay = 600 * SECOND);
    let new = rig.ask_join(3, join_request(""));
    rig.advance(301 * SECOND);
    let refused = rig.joined(new).unwrap();
    assert_eq!((code(&refused), refused.member_id), (ErrorCode::UnknownMemberId, text("")));
    assert_eq!(rig.state(), "Empty");
}

#[test]
fn who_never_syncs_is_given_up() {
    let (mut rig, leader) = stable_one();
    let (follower, _) = ask_new(&mut rig);
    rig.ask_join(9, join_request(&leader));
    assert_eq!(rig.sync(&leader, 2, &[(&leader, "a")]).assignment, "a");
    for _ in 0..11 {
        rig.advance(5 * SECOND);
        assert_eq!(rig.heartbeat(&leader, 2), ErrorCode::None);
        assert_eq!(rig.heartbeat(&follower, 2), ErrorCode::None);
    }
    rig.advance(5 * SECOND);
    assert_eq!(rig.heartbeat(&follower, 2), ErrorCode::UnknownMemberId);
    assert_eq!(rig.heartbeat(&leader, 2), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_leader_that_never_syncs_is_given_up() {
    let (mut rig, leader) = stable_one();
    let (follower, _) = ask_new(&mut rig);
    rig.ask_join(9, join_request(&leader));
    let waiting = rig.ask_sync(&follower, 2, &[]);
    rig.advance(11 * SECOND);
    let refused = rig.synced(waiting).unwrap();
    assert_eq!(refused.error_code, ErrorCode::RebalanceInProgress.code());
    let joined = rig.join(9, join_request(&follower));
    assert_eq!((joined.generation_id, joined.members.len()), (3, 1));
    assert_eq!(rig.heartbeat(&leader, 2), ErrorCode::UnknownMemberId);
}

#[test]
fn who_leaves_while_it_waits_is_answered() {
    let (mut rig, leader) = stable_one();
    let (follower, waiting) = ask_new(&mut rig);
    assert_eq!(rig.leave(&[(&follower, None)]).members[0].error_code, 0);
    assert_eq!(code(&rig.joined(waiting).unwrap()), ErrorCode::UnknownMemberId);
    let (follower, _) = ask_new(&mut rig);
    rig.ask_join(9, join_request(&leader));
    let waiting = rig.ask_sync(&follower, 2, &[]);
    rig.leave(&[(&follower, None)]);
    let refused = rig.synced(waiting).unwrap();
    assert_eq!(refused.error_code, ErrorCode::UnknownMemberId.code());
    assert_eq!(rig.state(), "PreparingRebalance");
}

#[test]
fn leaving_ends_a_rebalance_that_waited_for_it() {
    let (mut rig, leader, follower) = stable_two();
    let ticket = rig.ask_join(9, join_request(&leader));
    rig.leave(&[(&follower, None)]);
    let joined = rig.joined(ticket).unwrap();
    assert_eq!((joined.generation_id, joined.members.len()), (3, 1));
}

#[test]
fn a_loaded_group_that_is_too_big_rebalances() {
    let (rig, leader, _) = stable_two();
    rig.configure(|settings| settings.member_count_max = 1);
    let mut again = rig.restarted();
    assert_eq!(again.state(), "PreparingRebalance");
    assert_eq!(again.heartbeat(&leader, 2), ErrorCode::RebalanceInProgress);
}

#[test]
fn loaded_members_have_a_fresh_session() {
    let (mut rig, leader) = stable_one();
    rig.advance(9 * SECOND);
    let mut again = rig.restarted();
    again.advance(9 * SECOND);
    assert_eq!(again.heartbeat(&leader, 1), ErrorCode::None);
    again.advance(11 * SECOND);
    assert_eq!(again.state(), "Empty");
}

/// Takes long if a heartbeat or a join costs as much as there are members.
#[test]
fn ten_thousand_members_share_a_group() {
    let mut rig = Rig::new();
    rig.configure(|settings| settings.initial_rebalance_delay = SECOND);
    let tickets: Vec<_> = (0..10_000).map(|_| rig.ask_join(3, join_request(""))).collect();
    rig.advance(2 * SECOND);
    let joined: Vec<_> = tickets.into_iter().map(|ticket| rig.joined(ticket).unwrap()).collect();
    let leader = joined.iter().find(|one| one.leader == one.member_id).unwrap();
    assert_eq!(leader.members.len(), 10_000);
    for one in &joined {
        rig.ask_sync(&one.member_id, 1, &[]);
    }
    assert_eq!(rig.state(), "Stable");
    for _ in 0..5 {
        rig.advance(5 * SECOND);
        for one in &joined {
            assert_eq!(rig.heartbeat(&one.member_id, 1), ErrorCode::None);
        }
    }
    rig.advance(11 * SECOND);
    assert_eq!(rig.state(), "Empty");
}
