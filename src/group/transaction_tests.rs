//! Offsets that are committed in transactions: what counts, what is told meanwhile, and who may commit.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::command::{Command, OffsetDelete, Reply};
use super::rig::{GROUP, Rig, commit_request, join_request, text};
use crate::coordinator::TransactionOutcome;
use crate::model::{ErrorCode, PartitionId, ProducerId};

const COMMIT: TransactionOutcome = TransactionOutcome::Commit;
const ABORT: TransactionOutcome = TransactionOutcome::Abort;
const ONE: ProducerId = ProducerId(1);
const TWO: ProducerId = ProducerId(2);

fn commit(rig: &mut Rig, producer: ProducerId, offset: i64) {
    let code = rig.commit_in_transaction(producer, commit_request("", -1, offset));
    assert_eq!(code, ErrorCode::None);
}

#[test]
fn an_offset_counts_once_its_transaction_is_committed() {
    let mut rig = Rig::new();
    assert_eq!(rig.commit("", -1, 5), ErrorCode::None);
    commit(&mut rig, ONE, 7);
    for rig in [&mut rig.restarted(), &mut rig] {
        assert_eq!(rig.committed(), 5);
        assert_eq!(rig.committed_for_sure(), Err(ErrorCode::UnstableOffsetCommit));
        rig.end_transaction(ONE, ABORT);
        assert_eq!((rig.committed(), rig.committed_for_sure()), (5, Ok(5)));
        commit(rig, ONE, 8);
        rig.end_transaction(TWO, COMMIT);
        assert_eq!(rig.committed(), 5, "another producer's marker");
        rig.end_transaction(ONE, COMMIT);
        assert_eq!((rig.committed(), rig.committed_for_sure()), (8, Ok(8)));
        assert_eq!(rig.restarted().committed(), 8);
    }
}

#[test]
fn the_last_record_counts_in_whatever_order_transactions_end() {
    let mut rig = Rig::new();
    commit(&mut rig, ONE, 1);
    commit(&mut rig, TWO, 2);
    rig.end_transaction(TWO, COMMIT);
    rig.end_transaction(ONE, COMMIT);
    assert_eq!((rig.committed(), rig.restarted().committed()), (2, 2));
    commit(&mut rig, ONE, 3);
    assert_eq!(rig.commit("", -1, 4), ErrorCode::None);
    assert_eq!(rig.committed_for_sure(), Err(ErrorCode::UnstableOffsetCommit));
    rig.end_transaction(ONE, COMMIT);
    assert_eq!((rig.committed_for_sure(), rig.restarted().committed()), (Ok(4), 4));
}

#[test]
fn members_of_a_classic_group_commit_in_their_generation() {
    let mut rig = Rig::new();
    let member = rig.join(3, join_request("")).member_id.to_string();
    rig.sync(&member, 1, &[(&member, "")]);
    let mut commit = |member: &str, generation| {
        rig.commit_in_transaction(ONE, commit_request(member, generation, 1))
    };
    assert_eq!(commit(&member, 1), ErrorCode::None);
    assert_eq!(commit("", -1), ErrorCode::None, "older producers do not say for whom");
    assert_eq!(commit(&member, 0), ErrorCode::IllegalGeneration);
    assert_eq!(commit("other", 1), ErrorCode::UnknownMemberId);
    let mut request = commit_request(&member, 1, 1);
    request.instance = Some(text("instance"));
    assert_eq!(rig.commit_in_transaction(ONE, request), ErrorCode::UnknownMemberId);
    let unknown = super::command::OffsetCommit { group: text("no"), ..commit_request("m", 1, 1) };
    assert_eq!(rig.commit_in_transaction(ONE, unknown), ErrorCode::IllegalGeneration);
}

#[test]
fn pending_offsets_are_deleted_and_do_not_expire() {
    let mut rig = Rig::new();
    commit(&mut rig, ONE, 1);
    rig.advance(Duration::from_secs(9 * 24 * 3600));
    assert_eq!(rig.state(), "Empty", "a group with a pending offset stays");
    let topics = vec![(text("topic"), vec![PartitionId(0)])];
    let request = OffsetDelete { group: text(GROUP), topics };
    let ticket = rig.ask(Command::OffsetDelete { request });
    assert!(matches!(rig.answer(ticket), Some(Reply::OffsetDelete(Ok(_)))));
    rig.end_transaction(ONE, COMMIT);
    assert_eq!((rig.committed(), rig.restarted().committed()), (-1, -1));
    commit(&mut rig, ONE, 2);
    let ticket = rig.ask(Command::DeleteGroup { group: text(GROUP) });
    assert_eq!(rig.answer(ticket), Some(Reply::DeleteGroup(ErrorCode::None)));
    rig.end_transaction(ONE, COMMIT);
    assert_eq!((rig.committed(), rig.state().as_str()), (-1, "Dead"));
}

/// What happens to the offset of one partition.
#[derive(Clone, Copy, Debug)]
enum Event {
    Commit(i64),
    CommitIn(ProducerId, i64),
    End(ProducerId, TransactionOutcome),
}

fn event() -> impl Strategy<Value = Event> {
    let producer = || prop_oneof![Just(ONE), Just(TWO)];
    prop_oneof![
        (0..100_i64).prop_map(Event::Commit),
        (producer(), 0..100_i64).prop_map(|(producer, offset)| Event::CommitIn(producer, offset)),
        (producer(), any::<bool>()).prop_map(|(producer, commit)| Event::End(
            producer,
            if commit { COMMIT } else { ABORT }
        )),
    ]
}

proptest! {
    #[test]
    fn what_counts_is_the_last_committed_record(
        events in proptest::collection::vec(event(), 1..40),
    ) {
        let mut rig = Rig::new();
        // By place in the log: the offset, and whose open transaction it is in.
        let mut records: BTreeMap<usize, (i64, Option<ProducerId>)> = BTreeMap::new();
        for event in events {
            match event {
                Event::Commit(offset) => {
                    rig.commit("", -1, offset);
                    records.insert(rig.log.len(), (offset, None));
                }
                Event::CommitIn(producer, offset) => {
                    commit(&mut rig, producer, offset);
                    records.insert(rig.log.len(), (offset, Some(producer)));
                }
                Event::End(producer, outcome) => {
                    rig.end_transaction(producer, outcome);
                    if outcome == ABORT {
                        records.retain(|_, (_, of)| *of != Some(producer));
                    }
                    for (_, of) in records.values_mut().filter(|(_, of)| *of == Some(producer)) {
                        *of = None;
                    }
                }
            }
            let counts = records.values().rev().find(|(_, of)| of.is_none());
            let expected = counts.map_or(-1, |(offset, _)| *offset);
            let is_stable = records.values().all(|(_, of)| of.is_none());
            for rig in [&mut rig.restarted(), &mut rig] {
                prop_assert_eq!(rig.committed(), expected);
                let sure =
                    if is_stable { Ok(expected) } else { Err(ErrorCode::UnstableOffsetCommit) };
                prop_assert_eq!(rig.committed_for_sure(), sure);
            }
        }
    }
}
