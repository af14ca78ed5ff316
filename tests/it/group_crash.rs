//! Groups whose broker dies in the middle of a rebalance or of a commit: the members come to a stable generation again,
//! and no commit that was acknowledged is lost.

use ottla::model::{ErrorCode, Offset, TopicId};
use ottla::wire::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, SyncGroupRequest, consumer_group_heartbeat_request,
};
use ottla::wire::{OffsetCommitRequest, OffsetCommitResponse, Request, Text, decode_response};

use crate::groups::{commit, consumer, find, heartbeat, join, joined, leave, offsets, sync};
use crate::rig::{Client, Rig};

const LOADING: i16 = ErrorCode::CoordinatorLoadInProgress.code();
const REBALANCING: i16 = ErrorCode::RebalanceInProgress.code();
const UNKNOWN: i16 = ErrorCode::UnknownMemberId.code();

/// A member of classic group `g` on a connection of its own.
struct Member {
    client: Client,
    joined: JoinGroupResponse,
}

impl Member {
    /// Asks again while the coordinator loads.
    async fn call<M: Request>(
        &mut self,
        version: i16,
        request: &M,
        code: impl Fn(&M::Response) -> i16,
    ) -> M::Response {
        loop {
            let response = self.client.call(version, request).await;
            if code(&response) != LOADING {
                return response;
            }
        }
    }

    async fn heartbeat(&mut self) -> i16 {
        let request = heartbeat("g", &self.joined);
        self.call(4, &request, |response| response.error_code).await.error_code
    }

    async fn sync(&mut self, all: &[(&Text, &str)]) -> (i16, String) {
        let request = sync("g", &self.joined, all);
        let synced = self.call(5, &request, |response| response.error_code).await;
        (synced.error_code, String::from_utf8(synced.assignment.to_vec()).unwrap())
    }

    async fn commit(&mut self, offset: i64) -> ErrorCode {
        let request = commit_of(&self.joined, offset);
        let code =
            |response: &OffsetCommitResponse| response.topics[0].partitions[0].error_code.code();
        let response = self.call(9, &request, code).await;
        response.topics[0].partitions[0].error_code
    }

    /// What the group has committed.
    async fn committed(&mut self) -> i64 {
        let request = offsets("g", Some(("t", TopicId::ZERO)), 9);
        let fetched = self.call(9, &request, |response| response.groups[0].error_code.code()).await;
        fetched.groups[0].topics[0].partitions[0].committed_offset.0
    }

    /// Does what a client does until the group is stable with so many members.
    async fn settle(&mut self, members: usize) {
        let mut id = self.joined.member_id.clone();
        loop {
            let request = join("g", &id, 9);
            self.joined = self.call(9, &request, |response| response.error_code).await;
            match self.joined.error_code {
                0 => {}
                UNKNOWN => {
                    id = Text::default();
                    continue;
                }
                code if code == ErrorCode::MemberIdRequired.code() => {
                    id = self.joined.member_id.clone();
                    continue;
                }
                code => panic!("{code}"),
            }
            let present = self.joined.members.len().to_string();
            let ids: Vec<_> =
                self.joined.members.iter().map(|member| member.member_id.clone()).collect();
            let all: Vec<_> = ids.iter().map(|id| (id, present.as_str())).collect();
            let (code, assignment) = self.sync(&all).await;
            match (code, assignment == members.to_string()) {
                (0, true) => return,
                (0, false) => while self.heartbeat().await == 0 {},
                (REBALANCING, _) => {}
                _ => panic!("{code}"),
            }
        }
    }
}

fn commit_of(member: &JoinGroupResponse, offset: i64) -> OffsetCommitRequest {
    let mut request = commit("g", "t", TopicId::ZERO);
    request.generation_id_or_member_epoch = member.generation_id;
    request.member_id = member.member_id.clone();
    request.topics[0].partitions[0].committed_offset = Offset(offset);
    request
}

/// A broker with a group of one member, who has committed offset 5 in generation 1; and another client.
async fn one_member() -> (Rig, Member, Member) {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    find(&mut client, "g").await;
    let joined = joined(&mut client, "g", 9).await;
    let mut a = Member { client, joined };
    let id = a.joined.member_id.clone();
    assert_eq!(a.sync(&[(&id, "1")]).await, (0, "1".to_owned()));
    assert_eq!(a.commit(5).await, ErrorCode::None);
    let b = Member { client: rig.client().await, joined: JoinGroupResponse::default() };
    (rig, a, b)
}

/// The second member joins, and waits for the first one.
async fn wait_in_join(a: &mut Member, b: &mut Member) {
    let given = b.client.call(9, &join("g", "", 9)).await;
    assert_eq!(given.error_code, ErrorCode::MemberIdRequired.code());
    b.joined.member_id = given.member_id.clone();
    b.client.send(9, &join("g", &given.member_id, 9)).await;
    while a.heartbeat().await != REBALANCING {}
}

/// Both have joined generation 2, nobody has its assignment.
async fn between_join_and_sync(a: &mut Member, b: &mut Member) {
    wait_in_join(a, b).await;
    a.joined = a.client.call(9, &join("g", &a.joined.member_id, 9)).await;
    b.joined = b.client.receive::<JoinGroupRequest>(9).await.1;
    assert_eq!((a.joined.generation_id, b.joined.generation_id), (2, 2));
}

/// The broker dies and comes back. The group is loaded then: until that is done every heartbeat is accepted.
async fn crash(rig: Rig, members: [&mut Member; 2]) -> Rig {
    let rig = rig.crash().await;
    for member in members {
        while member.client.frame().await.is_some() {}
        member.client = rig.client().await;
        member.committed().await;
    }
    rig
}

/// Both come to a stable generation, and commits are accepted from it alone.
async fn comes_to_rest(mut a: Member, mut b: Member) {
    tokio::join!(a.settle(2), b.settle(2));
    assert_eq!(a.joined.generation_id, b.joined.generation_id);
    assert_eq!((a.heartbeat().await, b.heartbeat().await), (0, 0));
    assert_eq!((a.commit(20).await, b.commit(21).await), (ErrorCode::None, ErrorCode::None));
    a.joined.generation_id -= 1;
    assert_eq!(a.commit(1).await, ErrorCode::IllegalGeneration);
    assert_eq!(b.committed().await, 21);
}

#[tokio::test]
async fn while_a_member_waits_in_join() {
    let (rig, mut a, mut b) = one_member().await;
    wait_in_join(&mut a, &mut b).await;
    assert_eq!(a.commit(6).await, ErrorCode::None);
    let _rig = crash(rig, [&mut a, &mut b]).await;
    assert_eq!((a.heartbeat().await, a.joined.generation_id), (0, 1));
    b.joined.generation_id = 1;
    assert_eq!(b.heartbeat().await, UNKNOWN);
    assert_eq!(a.committed().await, 6);
    comes_to_rest(a, b).await;
}

#[tokio::test]
async fn between_the_first_join_and_sync() {
    let (rig, mut a, mut b) = one_member().await;
    let left = a.client.call(5, &leave("g", &a.joined.member_id, 5)).await;
    assert_eq!(left.error_code, 0);
    a.joined = joined(&mut a.client, "g", 9).await;
    let _rig = crash(rig, [&mut a, &mut b]).await;
    let id = a.joined.member_id.clone();
    assert_eq!(a.sync(&[(&id, "1")]).await.0, UNKNOWN);
    assert_eq!(a.committed().await, 5);
    comes_to_rest(a, b).await;
}

#[tokio::test]
async fn between_a_later_join_and_sync() {
    let (rig, mut a, mut b) = one_member().await;
    between_join_and_sync(&mut a, &mut b).await;
    let _rig = crash(rig, [&mut a, &mut b]).await;
    // The generation that nobody has worked in is forgotten, the one before is there.
    let id = a.joined.member_id.clone();
    assert_eq!(a.sync(&[(&id, "1")]).await.0, ErrorCode::IllegalGeneration.code());
    assert_eq!(b.sync(&[]).await.0, UNKNOWN);
    assert_eq!(a.commit(7).await, ErrorCode::IllegalGeneration);
    assert_eq!(a.committed().await, 5);
    comes_to_rest(a, b).await;
}

#[tokio::test]
async fn between_sync_and_the_first_heartbeat() {
    for follower_synced in [true, false] {
        let (rig, mut a, mut b) = one_member().await;
        between_join_and_sync(&mut a, &mut b).await;
        let (leader, follower) = (a.joined.member_id.clone(), b.joined.member_id.clone());
        if follower_synced {
            b.client.send(5, &sync("g", &b.joined, &[])).await;
        }
        let parts = [(&leader, "one"), (&follower, "two")];
        assert_eq!(a.sync(&parts).await, (0, "one".to_owned()));
        if follower_synced {
            let synced = b.client.receive::<SyncGroupRequest>(5).await.1;
            assert_eq!(&synced.assignment[..], b"two");
        }
        let _rig = crash(rig, [&mut a, &mut b]).await;
        assert_eq!(b.sync(&[]).await, (0, "two".to_owned()));
        assert_eq!((a.heartbeat().await, b.heartbeat().await), (0, 0));
        assert_eq!((a.committed().await, b.commit(8).await), (5, ErrorCode::None));
        comes_to_rest(a, b).await;
    }
}

#[tokio::test]
async fn while_commits_wait() {
    let (rig, mut a, mut b) = one_member().await;
    for offset in 6..30 {
        a.client.send(9, &commit_of(&a.joined, offset)).await;
    }
    let mut acknowledged = 5;
    for offset in 6..10 {
        let response = a.client.receive::<OffsetCommitRequest>(9).await.1;
        assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::None);
        acknowledged = offset;
    }
    let rig = rig.crash().await;
    while let Some(frame) = a.client.frame().await {
        let (_, response) = decode_response::<OffsetCommitResponse>(9, &frame).unwrap();
        if response.topics[0].partitions[0].error_code == ErrorCode::None {
            acknowledged += 1;
        }
    }
    (a.client, b.client) = (rig.client().await, rig.client().await);
    let committed = a.committed().await;
    assert!((acknowledged..30).contains(&committed), "{committed}, acknowledged {acknowledged}");
    assert_eq!(a.heartbeat().await, 0);
    comes_to_rest(a, b).await;
}

/// A heartbeat that says all, of a member that holds these partitions of a topic.
async fn full(
    client: &mut Client,
    (member, epoch): (&str, i32),
    (topic, held): (TopicId, &[i32]),
) -> ConsumerGroupHeartbeatResponse {
    let mut request: ConsumerGroupHeartbeatRequest = consumer("g", member, 0);
    request.member_epoch = epoch;
    let mut part = consumer_group_heartbeat_request::TopicPartitions::default();
    (part.topic_id, part.partitions) = (topic.0, held.to_vec());
    request.topic_partitions = Some(if held.is_empty() { Vec::new() } else { vec![part] });
    loop {
        let response = client.call(1, &request).await;
        if response.error_code != LOADING {
            assert_eq!((response.error_code, &response.error_message), (0, &None), "{member}");
            return response;
        }
    }
}

/// The partitions that a member may hold.
fn owned(response: &ConsumerGroupHeartbeatResponse) -> Vec<i32> {
    let assignment = response.assignment.as_ref().expect("an assignment");
    let mut parts: Vec<i32> =
        assignment.topic_partitions.iter().flat_map(|topic| topic.partitions.clone()).collect();
    parts.sort_unstable();
    parts
}

#[tokio::test]
async fn in_the_revocation_of_a_reconciliation() {
    let rig = Rig::with(&["group.consumer.assignment.interval.ms=0"]).await;
    let mut client = rig.client().await;
    let id = client.create("t", 2, &[]).await;
    find(&mut client, "g").await;
    let a = full(&mut client, ("a", 0), (id, &[])).await;
    assert_eq!(owned(&a), [0, 1]);
    let b = full(&mut client, ("b", 0), (id, &[])).await;
    assert_eq!(owned(&b), [0; 0]);
    let revoking = full(&mut client, ("a", a.member_epoch), (id, &[0, 1])).await;
    let kept = owned(&revoking);
    assert_eq!(kept.len(), 1);
    let mut request = commit("g", "t", id);
    (request.member_id, request.generation_id_or_member_epoch) =
        (Text::from_static_str("a"), revoking.member_epoch);
    let committed = client.call(10, &request).await;
    assert_eq!(committed.topics[0].partitions[0].error_code, ErrorCode::None);

    let rig = rig.crash().await;
    let mut client = rig.client().await;
    // The first member has not given anything up yet, so the second one gets nothing.
    let waiting = full(&mut client, ("b", b.member_epoch), (id, &[])).await;
    assert_eq!(owned(&waiting), [0; 0]);
    let again = full(&mut client, ("a", revoking.member_epoch), (id, &[0, 1])).await;
    assert_eq!((owned(&again), again.member_epoch), (kept.clone(), revoking.member_epoch));
    let fetched = client.call(9, &offsets("g", Some(("t", TopicId::ZERO)), 9)).await;
    assert_eq!(fetched.groups[0].topics[0].partitions[0].committed_offset, Offset(7));

    let revoked = full(&mut client, ("a", revoking.member_epoch), (id, &kept)).await;
    let b = full(&mut client, ("b", waiting.member_epoch), (id, &[])).await;
    assert_eq!((owned(&revoked), owned(&b)), (kept.clone(), vec![1 - kept[0]]));
    let b = full(&mut client, ("b", b.member_epoch), (id, &[1 - kept[0]])).await;
    assert_eq!(b.member_epoch, revoked.member_epoch, "stable");
    request.generation_id_or_member_epoch = a.member_epoch - 1;
    let stale = client.call(10, &request).await;
    assert_eq!(stale.topics[0].partitions[0].error_code, ErrorCode::StaleMemberEpoch);
}
