//! What administrators ask.

use super::*;
use crate::group::command::ListGroups;

fn list(rig: &mut Rig, states: &[&str], types: &[&str]) -> Vec<(String, String)> {
    let all = |names: &[&str]| names.iter().map(|name| text(name)).collect();
    let request = ListGroups { states: all(states), types: all(types) };
    let ticket = rig.ask(Command::ListGroups { request });
    let Some(Reply::ListGroups(groups)) = rig.answer(ticket) else { panic!() };
    let shown = |group: crate::wire::messages::list_groups_response::ListedGroup| {
        assert_eq!(group.group_type, text("classic"));
        (group.group_id.to_string(), group.group_state.to_string())
    };
    groups.into_iter().map(shown).collect()
}

fn delete(rig: &mut Rig, group: &str) -> ErrorCode {
    let ticket = rig.ask(Command::DeleteGroup { group: text(group) });
    let Some(Reply::DeleteGroup(outcome)) = rig.answer(ticket) else { panic!() };
    outcome
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let (mut rig, _) = stable_one();
    let mut simple = commit_request("", -1, 1);
    simple.group = text("simple");
    rig.commit_with(simple);
    let of = |group: &str, state: &str| (group.to_owned(), state.to_owned());
    let both = [of("group", "Stable"), of("simple", "Empty")];
    assert_eq!(list(&mut rig, &[], &[]), both);
    assert_eq!(list(&mut rig, &["stable"], &[]), [of("group", "Stable")]);
    assert_eq!(list(&mut rig, &[" EMPTY ", "Dead"], &[]), [of("simple", "Empty")]);
    assert_eq!(list(&mut rig, &[], &["Classic"]), both);
    assert_eq!(list(&mut rig, &[], &["consumer", "what"]), []);
}

#[test]
fn a_group_is_described_with_its_members() {
    let (mut rig, leader, follower) = stable_two();
    let describe = |rig: &mut Rig, group: &str, api_version| {
        let ticket = rig.ask(Command::DescribeGroup { group: text(group), api_version });
        let Some(Reply::DescribeGroup(described)) = rig.answer(ticket) else { panic!() };
        described
    };
    let described = describe(&mut rig, GROUP, 6);
    assert_eq!(described.group_id.0, text(GROUP));
    assert_eq!(described.protocol_type, text("consumer"));
    assert_eq!(described.protocol_data, text("range"));
    let member = described.members.iter().find(|one| one.member_id == text(&leader));
    let member = member.unwrap();
    assert_eq!((&member.client_id, &member.client_host), (&text("client"), &text("/127.0.0.1")));
    assert_eq!(member.member_metadata, subscription(&["topic"]));
    assert_eq!(member.member_assignment, "half");

    rig.ask_join(9, join_request(&leader));
    let described = describe(&mut rig, GROUP, 6);
    assert_eq!(described.group_state, text("PreparingRebalance"));
    assert_eq!(described.protocol_data, text(""));
    assert_eq!(described.members.len(), 2);
    assert!(described.members.iter().all(|one| one.member_metadata.is_empty()));
    assert!(described.members.iter().any(|one| one.member_id == text(&follower)));

    let unknown = describe(&mut rig, "nobody", 5);
    assert_eq!((unknown.error_code, unknown.group_state), (0, text("Dead")));
    let unknown = describe(&mut rig, "nobody", 6);
    assert_eq!(unknown.error_code, ErrorCode::GroupIdNotFound.code());
    assert_eq!(unknown.error_message, Some(text("Group nobody not found.")));
}

#[test]
fn only_a_group_without_members_is_deleted_and_its_offsets_with_it() {
    let (mut rig, leader) = stable_one();
    rig.commit(&leader, 1, 7);
    assert_eq!(delete(&mut rig, GROUP), ErrorCode::NonEmptyGroup);
    assert_eq!(delete(&mut rig, "nobody"), ErrorCode::GroupIdNotFound);
    rig.leave(&[(&leader, None)]);
    assert_eq!(delete(&mut rig, GROUP), ErrorCode::None);
    assert_eq!((rig.committed(), rig.state().as_str()), (-1, "Dead"));
    let mut again = rig.restarted();
    assert_eq!((again.committed(), again.state().as_str()), (-1, "Dead"));
    assert_eq!(delete(&mut rig, GROUP), ErrorCode::GroupIdNotFound);
}

#[test]
fn who_leaves_with_an_old_client_is_told_in_one_code() {
    let (mut rig, leader) = stable_one();
    let mut leave = |member: &str, group: &str| {
        let mut request = crate::wire::messages::LeaveGroupRequest::default();
        request.group_id.0 = text(group);
        request.member_id = text(member);
        let ticket = rig.ask(Command::LeaveGroup { caller: caller(2), request });
        let Some(Reply::LeaveGroup(response)) = rig.answer(ticket) else { panic!() };
        assert!(response.members.is_empty());
        ErrorCode::from_code(response.error_code).unwrap()
    };
    assert_eq!(leave("who", GROUP), ErrorCode::UnknownMemberId);
    assert_eq!(leave(&leader, "nobody"), ErrorCode::UnknownMemberId);
    assert_eq!(leave(&leader, ""), ErrorCode::InvalidGroupId);
    assert_eq!(leave(&leader, GROUP), ErrorCode::None);
    assert_eq!(leave(&leader, GROUP), ErrorCode::UnknownMemberId);
}
