//! Consumer groups, step by step, through a shard.

mod migration;
mod model;
mod world;

use std::time::Duration;

use super::super::rig::{commit_request, settings, text};
use super::check_heartbeat;
use crate::group::command::OffsetCommit;
use crate::model::{ErrorCode, PartitionId};
use crate::wire::messages::ConsumerGroupHeartbeatRequest;
use world::{World, request};

const NONE: &[(&str, i32)] = &[];

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut world = World::new(&[("a", 2), ("b", 1)]);
    let answer = world.join("m1", &["a", "b"]);
    assert_eq!(answer.error, ErrorCode::None);
    assert_eq!(answer.epoch, 2);
    assert_eq!(answer.interval_ms, 5000);
    assert_eq!(answer.assigned(), [("a", 0), ("a", 1), ("b", 0)]);
    assert_eq!(world.state(), "Stable");
    // Nothing is news, so nothing is said.
    let answer = world.heartbeat("m1", 2, |_| {});
    assert_eq!((answer.epoch, answer.assignment), (2, None));
}

#[test]
fn a_partition_changes_hands_when_it_was_given_up() {
    let mut world = World::new(&[("a", 2)]);
    world.join("m1", &["a"]);
    let second = world.join("m2", &["a"]);
    assert_eq!(second.epoch, 3);
    assert_eq!(second.assigned(), NONE, "m1 has both");
    assert_eq!(world.state(), "Reconciling");
    let first = world.heartbeat("m1", 2, |_| {});
    assert_eq!(first.epoch, 2, "it stays until it has given up");
    assert_eq!(first.assigned(), [("a", 0)]);
    assert_eq!(world.heartbeat("m2", 3, |_| {}).assignment, None, "not yet");
    let first = world.heartbeat_owning("m1", 2, &[("a", 0)]);
    assert_eq!(first.epoch, 3);
    let second = world.heartbeat("m2", 3, |_| {});
    assert_eq!(second.assigned(), [("a", 1)]);
    assert_eq!(world.state(), "Stable");
}

#[test]
fn epochs_are_fenced_but_for_a_lost_answer() {
    let mut world = World::new(&[("a", 2)]);
    assert_eq!(world.heartbeat("m1", 1, |_| {}).error, ErrorCode::GroupIdNotFound);
    world.join("m1", &["a"]);
    assert_eq!(world.heartbeat("m2", 1, |_| {}).error, ErrorCode::UnknownMemberId);
    assert_eq!(world.heartbeat("m1", 9, |_| {}).error, ErrorCode::FencedMemberEpoch);
    assert_eq!(world.heartbeat("m1", 1, |_| {}).error, ErrorCode::FencedMemberEpoch);
    // Another topic brings a new epoch; the member does not hear of it.
    world.create("b", 1);
    let lost = world.heartbeat("m1", 2, |it| it.subscribed_topic_names = World::names(&["a", "b"]));
    assert_eq!(lost.epoch, 3);
    assert_eq!(
        world.heartbeat("m1", 2, |_| {}).error,
        ErrorCode::FencedMemberEpoch,
        "says nothing"
    );
    let again = world.heartbeat_owning("m1", 2, &[("a", 0), ("a", 1)]);
    assert_eq!((again.error, again.epoch), (ErrorCode::None, 3));
    assert_eq!(again.error, ErrorCode::None);
}

#[test]
fn a_known_member_may_join_again() {
    let mut world = World::new(&[("a", 2)]);
    world.join("m1", &["a"]);
    let again = world.join("m1", &["a"]);
    assert_eq!((again.error, again.epoch), (ErrorCode::None, 2));
    assert_eq!(again.assigned(), [("a", 0), ("a", 1)], "it learns what it has");
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut world = World::new(&[("a", 4)]);
    world.join_static("m1", "i1", &["a"]);
    world.join_static("m2", "i2", &["a"]);
    world.heartbeat("m1", 2, |_| {});
    world.heartbeat_owning("m1", 2, &[("a", 0), ("a", 1)]);
    let second = world.heartbeat("m2", 3, |_| {});
    assert_eq!(second.assigned(), [("a", 2), ("a", 3)]);

    let taken = world.join_static("m9", "i2", &["a"]);
    assert_eq!(taken.error, ErrorCode::UnreleasedInstanceId);
    let fenced = world.heartbeat("m9", 3, |it| it.instance_id = Some(text("i2")));
    assert_eq!(fenced.error, ErrorCode::FencedInstanceId);
    let unknown = world.heartbeat("m9", 3, |it| it.instance_id = Some(text("i9")));
    assert_eq!(unknown.error, ErrorCode::UnknownMemberId);

    let gone = world.heartbeat("m2", -2, |it| it.instance_id = Some(text("i2")));
    assert_eq!((gone.error, gone.epoch), (ErrorCode::None, -2));
    assert_eq!(world.heartbeat("m1", 3, |_| {}).assignment, None, "its partitions are kept");
    let back = world.join_static("m3", "i2", &["a"]);
    assert_eq!((back.error, back.epoch), (ErrorCode::None, 3), "no rebalance");
    assert_eq!(back.assigned(), [("a", 2), ("a", 3)]);
    assert_eq!(world.member_ids(), ["m1", "m3"]);
    assert_eq!(world.state(), "Stable");

    world.heartbeat("m3", -1, |it| it.instance_id = Some(text("i2")));
    assert_eq!(world.member_ids(), ["m1"]);
    let rest = world.heartbeat("m1", 3, |_| {});
    assert_eq!(rest.assigned().len(), 4);
}

#[test]
fn a_silent_member_is_given_up_when_its_session_ends() {
    let mut world = World::new(&[("a", 2)]);
    world.join("m1", &["a"]);
    world.join("m2", &["a"]);
    world.advance(44_000);
    world.heartbeat("m2", 3, |_| {});
    world.advance(1_000);
    assert_eq!(world.member_ids(), ["m2"]);
    let second = world.heartbeat("m2", 3, |_| {});
    assert_eq!((second.epoch, second.assigned().len()), (4, 2));
}

#[test]
fn a_member_that_does_not_give_up_its_partitions_is_given_up() {
    let mut world = World::new(&[("a", 2)]);
    world.join("m1", &["a"]);
    world.join("m2", &["a"]);
    world.heartbeat("m1", 2, |_| {});
    world.advance(30_000);
    world.heartbeat("m1", 2, |_| {});
    world.heartbeat("m2", 3, |_| {});
    world.advance(29_999);
    assert_eq!(world.member_ids(), ["m1", "m2"]);
    world.advance(1);
    assert_eq!(world.member_ids(), ["m2"], "60 s after it learned what to give up");
    assert_eq!(world.heartbeat("m1", 2, |_| {}).error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_rebalance_timeout_goes_on_after_a_restart() {
    let mut world = World::new(&[("a", 2)]);
    world.join("m1", &["a"]);
    world.join("m2", &["a"]);
    world.heartbeat("m1", 2, |_| {});
    world.restart();
    for _ in 0..2 {
        world.advance(30_000);
        world.heartbeat("m1", 2, |_| {});
        world.heartbeat("m2", 3, |_| {});
    }
    assert_eq!(world.member_ids(), ["m2"]);
}

#[test]
fn a_group_has_so_many_members_and_not_more() {
    let mut world = World::new(&[("a", 2)]);
    world.rig.configure(|settings| settings.consumer.member_count_max = 1);
    world.join("m1", &["a"]);
    assert_eq!(world.join("m2", &["a"]).error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(world.join("m1", &["a"]).error, ErrorCode::None);
}

#[test]
fn topics_that_come_grow_and_go_reach_members_with_the_next_heartbeat() {
    let mut world = World::new(&[("a", 1)]);
    world.join("m1", &["a", "b"]);
    world.create("b", 1);
    let answer = world.heartbeat("m1", 2, |_| {});
    assert_eq!(answer.assigned(), [("a", 0), ("b", 0)]);
    world.create("unrelated", 1);
    assert_eq!(world.heartbeat("m1", 3, |_| {}).epoch, 3);
    world.grow("a", 2);
    let answer = world.heartbeat("m1", 3, |_| {});
    assert_eq!(answer.assigned(), [("a", 0), ("a", 1), ("b", 0)]);
    world.delete("b");
    let answer = world.heartbeat("m1", 4, |_| {});
    assert_eq!(answer.assigned(), [("a", 0), ("a", 1)]);
    let answer = world.heartbeat_owning("m1", 4, &[("a", 0), ("a", 1)]);
    assert_eq!(answer.epoch, 5);
    assert_eq!(world.state(), "Stable");
}

#[test]
fn a_regular_expression_is_resolved_and_kept_up_to_date() {
    let mut world = World::new(&[("orders-1", 1), ("orders-2", 1), ("other", 1)]);
    let joined = world.join_regex("m1", "orders-.*");
    assert_eq!((joined.error, joined.epoch), (ErrorCode::None, 1));
    assert_eq!(joined.assigned(), NONE);
    world.advance(0);
    let answer = world.heartbeat("m1", 1, |_| {});
    assert_eq!((answer.epoch, answer.assigned()), (2, vec![("orders-1", 0), ("orders-2", 0)]));
    world.create("orders-3", 1);
    world.advance(10_001);
    world.heartbeat("m1", 2, |_| {});
    world.advance(0);
    assert_eq!(world.heartbeat("m1", 2, |_| {}).assigned().len(), 3);
    // A second member with the same expression needs no new look.
    let second = world.join_regex("m2", "orders-.*");
    assert_eq!(second.epoch, 4);
    assert!(world.replays_alike());
    world.heartbeat("m1", -1, |_| {});
    world.heartbeat("m2", -1, |_| {});
    assert_eq!(world.state(), "Empty");
    assert!(world.replays_alike());
}

#[test]
fn what_is_no_regular_expression_is_refused() {
    let mut world = World::new(&[("a", 1)]);
    let refused = world.join_regex("m1", "(");
    assert_eq!(refused.error, ErrorCode::InvalidRegularExpression);
    assert_eq!(world.rig.log.len(), 0, "and leaves nothing behind");
    assert_eq!(world.heartbeat("m1", 1, |_| {}).error, ErrorCode::GroupIdNotFound);
}

#[test]
fn commits_are_fenced_by_the_epoch_since_which_a_member_has_its_partitions() {
    let mut world = World::new(&[("a", 2)]);
    world.join("m1", &["a"]);
    let topic = world.topic_id("a");
    let commit = |world: &mut World, member: &str, epoch: i32| {
        let mut request: OffsetCommit = commit_request(member, epoch, 1);
        request.topics[0].name = text("a");
        request.topics[0].id = topic;
        request.topics[0].partitions[0].partition = PartitionId(0);
        world.commit(request)
    };
    assert_eq!(commit(&mut world, "m1", 2), ErrorCode::None);
    assert_eq!(commit(&mut world, "m1", 1), ErrorCode::StaleMemberEpoch);
    assert_eq!(commit(&mut world, "m1", 3), ErrorCode::StaleMemberEpoch);
    assert_eq!(commit(&mut world, "m9", 2), ErrorCode::UnknownMemberId);
    assert_eq!(commit(&mut world, "", -1), ErrorCode::UnknownMemberId);
    world.create("b", 1);
    world.heartbeat("m1", 2, |it| it.subscribed_topic_names = World::names(&["a", "b"]));
    assert_eq!(commit(&mut world, "m1", 2), ErrorCode::None, "behind, but it has had it since 2");
    world.heartbeat("m1", -1, |_| {});
    assert_eq!(commit(&mut world, "", -1), ErrorCode::None, "nobody is there");
}

#[test]
fn a_group_has_intervals_of_its_own() {
    let mut world = World::new(&[("a", 1)]);
    world.configure_group(&[
        ("consumer.heartbeat.interval.ms", "7000"),
        ("consumer.session.timeout.ms", "50000"),
    ]);
    assert_eq!(world.join("m1", &["a"]).interval_ms, 7000);
    world.advance(49_999);
    assert_eq!(world.member_ids(), ["m1"]);
    world.advance(1);
    assert_eq!(world.member_ids(), [""; 0]);
}

#[test]
fn targets_are_not_divided_more_often_than_the_interval_says() {
    let mut world = World::new(&[("a", 2)]);
    world.configure_group(&[("consumer.assignment.interval.ms", "1000")]);
    world.join("m1", &["a"]);
    let second = world.join("m2", &["a"]);
    assert_eq!((second.epoch, world.state().as_str()), (2, "Assigning"));
    world.advance(1000);
    assert_eq!(world.heartbeat("m2", 2, |_| {}).epoch, 3);
}

/// The coordinator that divided last had a clock that was ahead: its successor does not wait until its own shows that time.
#[test]
fn targets_are_divided_by_who_has_another_clock() {
    let mut world = World::new(&[("a", 2)]);
    world.configure_group(&[("consumer.assignment.interval.ms", "1000")]);
    world.join("m1", &["a"]);
    world.restart();
    world.rig.shift_clock(-3_600_000);
    assert_eq!(world.join("m2", &["a"]).epoch, 3);
}

#[test]
fn groups_without_members_can_be_deleted_and_leave_nothing() {
    let mut world = World::new(&[("a", 1)]);
    world.join("m1", &["a"]);
    assert_eq!(world.delete_group(), ErrorCode::NonEmptyGroup);
    world.heartbeat("m1", -1, |_| {});
    assert_eq!(world.state(), "Empty");
    assert_eq!(world.delete_group(), ErrorCode::None);
    assert_eq!(world.delete_group(), ErrorCode::GroupIdNotFound);
    assert_eq!(world.compacted(), 0, "all keys have tombstones");
}

#[test]
fn an_empty_group_changes_its_kind_with_who_joins() {
    let mut world = World::new(&[("a", 1)]);
    world.join("m1", &["a"]);
    world.heartbeat("m1", -1, |_| {});
    let member = world.rig.join(3, super::super::rig::join_request(""));
    assert_eq!(member.error_code, 0);
    let (id, generation) = (member.member_id.as_str(), member.generation_id);
    world.rig.sync(id, generation, &[(id, "")]);
    world.restart();
    assert_eq!(world.rig.state(), "Stable");
    world.rig.leave(&[(member.member_id.as_str(), None)]);
    assert_eq!(world.join("m1", &["a"]).error, ErrorCode::None);
    world.restart();
    assert_eq!(world.state(), "Stable");
}

#[test]
fn requests_are_checked() {
    let check = |version: i16, change: &dyn Fn(&mut ConsumerGroupHeartbeatRequest)| {
        let mut it = request("m1", 0);
        it.rebalance_timeout_ms = 1;
        it.topic_partitions = Some(Vec::new());
        it.subscribed_topic_names = Some(Vec::new());
        change(&mut it);
        check_heartbeat(&it, version, &settings()).err().map(|refusal| refusal.code)
    };
    let invalid = Some(ErrorCode::InvalidRequest);
    assert_eq!(check(1, &|_| {}), None);
    assert_eq!(check(0, &|it| it.member_id = text("")), None);
    assert_eq!(check(1, &|it| it.member_id = text("")), invalid);
    assert_eq!(check(1, &|it| it.group_id.0 = text(" ")), invalid);
    assert_eq!(check(1, &|it| it.instance_id = Some(text(""))), invalid);
    assert_eq!(check(1, &|it| it.rack_id = Some(text(""))), invalid);
    assert_eq!(check(1, &|it| it.member_id = text(&"m".repeat(40_000))), invalid);
    assert_eq!(check(1, &|it| it.rebalance_timeout_ms = -1), invalid);
    assert_eq!(check(1, &|it| it.topic_partitions = None), invalid);
    assert_eq!(check(1, &|it| it.subscribed_topic_names = None), invalid);
    assert_eq!(check(1, &|it| it.member_epoch = -2), invalid);
    assert_eq!(check(1, &|it| it.member_epoch = -3), invalid);
    let assignor = |name: &'static str| {
        move |it: &mut ConsumerGroupHeartbeatRequest| it.server_assignor = Some(text(name))
    };
    assert_eq!(check(1, &assignor("range")), None);
    assert_eq!(check(1, &assignor("other")), Some(ErrorCode::UnsupportedAssignor));
}

#[test]
fn a_heartbeat_without_news_writes_nothing() {
    let mut world = World::new(&[("a", 1)]);
    world.join("m1", &["a"]);
    let written = world.rig.log.len();
    world.heartbeat("m1", 2, |_| {});
    world.rig.advance(Duration::from_secs(1));
    assert_eq!(world.rig.log.len(), written);
}
