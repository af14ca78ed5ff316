//! Voters that come and go while the cluster runs (KIP-853).

use std::path::Path;
use std::sync::Arc;

use ottla::api::{Authorizer, Operation, Resource};
use ottla::log::MetaProperties;
use ottla::model::{BrokerId, ErrorCode};
use ottla::wire::add_raft_voter::AddRaftVoterListener;
use ottla::wire::messages::{
    RemoveRaftVoterRequest, UpdateFeaturesRequest, UpdateFeaturesResponse, UpdateRaftVoterRequest,
    update_features_request, update_raft_voter_request,
};
use ottla::wire::{AddRaftVoterRequest, Text};
use uuid::Uuid;

use super::quorum::{create, voters};
use super::rig::{Cluster, OTHER_NODE_PORT, describe_quorum, eventually};
use super::roles::{create_on_both, described, described_controllers};
use crate::rig::{Client, DATA};

/// The directory of a node with its metadata log.
fn directory(cluster: &Cluster, node: usize) -> Uuid {
    let meta = MetaProperties::read(&*cluster.disks[node - 1], Path::new(DATA)).unwrap();
    meta.unwrap().directory_id
}

fn addition(node: usize, directory: Uuid) -> AddRaftVoterRequest {
    let name = Text::from_static_str("CONTROLLER");
    let host = Text::from_static_str("localhost");
    AddRaftVoterRequest {
        cluster_id: None,
        timeout_ms: 30_000,
        voter_id: BrokerId(node as i32),
        voter_directory_id: directory,
        listeners: vec![AddRaftVoterListener { name, host, port: 1 }],
        ack_when_committed: true,
    }
}

/// Adds a controller to the voters, as soon as it has caught up.
async fn add(client: &mut Client, cluster: &Cluster, node: usize) {
    let request = addition(node, directory(cluster, node));
    eventually("a voter more", async || {
        let response = client.call(1, &request).await;
        // An answer may have been lost with a leader.
        let known = [ErrorCode::None, ErrorCode::DuplicateVoter];
        known.contains(&response.error_code).then_some(())
    })
    .await;
}

fn removal(node: usize, directory: Uuid) -> RemoveRaftVoterRequest {
    let mut request = RemoveRaftVoterRequest::default();
    request.cluster_id = None;
    (request.voter_id, request.voter_directory_id) = (node as i32, directory);
    request
}

async fn remove(client: &mut Client, cluster: &Cluster, node: usize) {
    let response = client.call(0, &removal(node, directory(cluster, node))).await;
    assert_eq!(response.error_code, 0, "{response:?}");
}

/// Waits until a node says that these vote.
async fn voting(client: &mut Client, expected: &[i32]) {
    eventually("the voters", async || {
        (voters(&describe_quorum(client).await) == expected).then_some(())
    })
    .await;
}

async fn set_kraft_version(client: &mut Client, level: i16, way: i8) -> UpdateFeaturesResponse {
    let mut update = update_features_request::FeatureUpdateKey::default();
    update.feature = Text::from_static_str("kraft.version");
    (update.max_version_level, update.upgrade_type) = (level, way);
    let mut request = UpdateFeaturesRequest::default();
    request.feature_updates = vec![update];
    client.call(2, &request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_are_replaced_one_by_one() {
    let mut cluster = Cluster::to_be_founded(3, (6, 2), &[]);
    cluster.start_these(&[1, 2, 3, 7, 8]).await;
    let mut client = cluster.client(7).await;
    create_on_both(&mut client, "t").await;
    voting(&mut client, &[1, 2, 3]).await;
    cluster.start_these(&[4, 5, 6]).await;
    voting(&mut client, &[1, 2, 3]).await;
    for new in [4, 5, 6] {
        add(&mut client, &cluster, new).await;
        let voting = voters(&describe_quorum(&mut client).await);
        let leader = describe_quorum(&mut client).await.leader_id.0;
        // Who leads goes, if it is one of the first.
        let old = voting.iter().copied().filter(|id| *id <= 3);
        let old = old.clone().find(|id| *id == leader).or_else(|| old.min()).unwrap();
        remove(&mut client, &cluster, old as usize).await;
        eventually("another leader", async || {
            let described = describe_quorum(&mut client).await;
            let votes =
                described.current_voters.iter().any(|it| it.replica_id == described.leader_id);
            (votes && described.leader_id.0 != old).then_some(())
        })
        .await;
        // Both brokers are alive to it.
        create_on_both(&mut client, &format!("without-{old}")).await;
    }
    voting(&mut client, &[4, 5, 6]).await;
    let quorum = described(&mut client).await;
    for state in &quorum.topics[0].partitions[0].current_voters {
        let node = state.replica_id.0 as usize;
        assert_eq!(state.replica_directory_id, directory(&cluster, node));
        let told = quorum.nodes.iter().find(|it| it.node_id == state.replica_id).unwrap();
        assert_eq!(&*told.listeners[0].host, cluster.address(node).to_string());
        assert_eq!((&*told.listeners[0].name, told.listeners[0].port), ("CONTROLLER", 19_093));
    }
    for node in [1, 2, 3] {
        cluster.kill(node).await;
    }
    cluster.append(7, ("t", 0), "one").await;
    // All that were configured as servers are gone: the log says who votes.
    cluster.kill_all().await;
    cluster.start_these(&[4, 5, 6]).await;
    assert_eq!(described_controllers(&mut cluster.tool(5).await).await, [4, 5, 6]);
    // The brokers find them by one of the servers, whether that votes or not.
    cluster.start_these(&[1, 7, 8]).await;
    voting(&mut cluster.client(8).await, &[4, 5, 6]).await;
    cluster.append(8, ("t", 0), "two").await;
    assert_eq!(cluster.values(7, ("t", 0)).await, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_changed_is_refused_as_by_apache_kafka() {
    let mut cluster = Cluster::to_be_founded(1, (2, 1), &["default.replication.factor=1"]);
    cluster.start_these(&[1, 3]).await;
    let mut client = cluster.client(3).await;
    let (own, other) = (directory(&cluster, 1), Uuid::from_u128(7));
    let mut foreign = addition(2, other);
    foreign.cluster_id = Some(Text::from_static_str("another"));
    let mut elsewhere = addition(2, other);
    elsewhere.listeners[0].name = Text::from_static_str("OTHER");
    let mut nowhere = addition(2, other);
    nowhere.listeners.clear();
    for (request, expected) in [
        (foreign, ErrorCode::InconsistentClusterId),
        (elsewhere, ErrorCode::InvalidRequest),
        (nowhere, ErrorCode::InvalidRequest),
        (addition(2, Uuid::nil()), ErrorCode::InvalidRequest),
        (addition(1, other), ErrorCode::DuplicateVoter),
        // It is not there, and so has not caught up.
        (addition(2, other), ErrorCode::RequestTimedOut),
    ] {
        let response = client.call(1, &request).await;
        assert_eq!(response.error_code, expected, "{response:?}");
        assert!(response.error_message.is_some());
    }
    for (request, expected) in [
        (removal(1, Uuid::nil()), ErrorCode::InvalidRequest),
        (removal(1, other), ErrorCode::VoterNotFound),
        // The last one.
        (removal(1, own), ErrorCode::VoterNotFound),
    ] {
        let response = client.call(0, &request).await;
        assert_eq!(response.error_code, expected.code(), "{response:?}");
    }
    let refused = set_kraft_version(&mut client, 0, 3).await;
    assert_eq!(refused.error_code, ErrorCode::InvalidUpdateVersion.code());
    voting(&mut client, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_voters_come_and_go_once_the_level_is_raised() {
    let mut cluster = Cluster::start(3, &[]).await;
    let mut client = cluster.client(1).await;
    let refused = client.call(0, &removal(3, directory(&cluster, 3))).await;
    assert_eq!(refused.error_code, ErrorCode::UnsupportedVersion.code());
    assert!(refused.error_message.unwrap().contains("kraft.version feature is 0"));
    assert_eq!(set_kraft_version(&mut client, 1, 1).await.error_code, 0);
    remove(&mut client, &cluster, 3).await;
    voting(&mut client, &[1, 2]).await;
    cluster.kill_all().await;
    cluster.start_all().await;
    let mut client = cluster.client(3).await;
    voting(&mut client, &[1, 2]).await;
    add(&mut client, &cluster, 3).await;
    voting(&mut client, &[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_may_join_the_voters_by_itself() {
    let mut cluster =
        Cluster::to_be_founded(1, (3, 1), &["controller.quorum.auto.join.enable=true"]);
    cluster.start_these(&[1, 4]).await;
    cluster.start_these(&[2, 3]).await;
    let mut client = cluster.client(4).await;
    voting(&mut client, &[1, 2, 3]).await;
    cluster.kill(1).await;
    create(&mut client, "without").await;
}

/// Where a node is, as another one says.
async fn port_of(client: &mut Client, node: usize) -> Option<u16> {
    let nodes = described(client).await.nodes;
    let node = nodes.into_iter().find(|it| it.node_id.0 == node as i32)?;
    Some(node.listeners.first()?.port)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_comes_back_at_another_address() {
    let mut cluster = Cluster::to_be_founded(3, (3, 1), &["default.replication.factor=1"]);
    cluster.start_these(&[1, 2, 3, 4]).await;
    let leader = cluster.leader().await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let mut client = cluster.client(4).await;
    for (round, node) in [follower, leader].into_iter().enumerate() {
        cluster.kill(node).await;
        cluster.move_node(node);
        cluster.start_these(&[node]).await;
        eventually("its new address", async || {
            (port_of(&mut client, node).await == Some(OTHER_NODE_PORT)).then_some(())
        })
        .await;
        // Without another one it is needed for a majority, and so has to be reached.
        let other = (1..=3).find(|id| ![follower, leader].contains(id)).unwrap();
        cluster.kill(other).await;
        create(&mut client, &format!("t-{round}")).await;
        cluster.start_these(&[other]).await;
    }
    voting(&mut client, &[1, 2, 3]).await;
    // All know it from the log, when none has heard of another since its start.
    cluster.kill_all().await;
    cluster.start_these(&[1, 2, 3, 4]).await;
    create(&mut cluster.client(4).await, "again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_has_moved_finds_a_leader_that_it_does_not_know() {
    let mut cluster = Cluster::to_be_founded(5, (5, 1), &["default.replication.factor=1"]);
    cluster.start_these(&[1, 2, 3, 4, 5, 6]).await;
    let leader = cluster.leader().await;
    let moved = (1..=5).find(|id| *id != leader).unwrap();
    cluster.kill(moved).await;
    // By the log of the one that has moved, this one leads.
    cluster.kill(leader).await;
    let mut client = cluster.client(6).await;
    create(&mut client, "t").await;
    cluster.move_node(moved);
    cluster.start_these(&[moved]).await;
    eventually("its new address", async || {
        (port_of(&mut client, moved).await == Some(OTHER_NODE_PORT)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_voter_comes_back_at_another_address_once_the_level_is_raised() {
    let mut cluster = Cluster::apart(3, 1, &["default.replication.factor=1"]).await;
    let mut client = cluster.client(4).await;
    assert_eq!(set_kraft_version(&mut client, 1, 1).await.error_code, 0);
    let leader = cluster.leader().await;
    let [moved, other] = [1, 2].map(|more| (leader + more - 1) % 3 + 1);
    cluster.kill(moved).await;
    cluster.move_node(moved);
    cluster.start_these(&[moved]).await;
    eventually("its new address", async || {
        (port_of(&mut client, moved).await == Some(OTHER_NODE_PORT)).then_some(())
    })
    .await;
    cluster.kill(other).await;
    create(&mut client, "t").await;
}

/// A request to the leader to take note of where a voter is.
async fn update(client: &mut Client, node: usize, directory: Uuid) -> UpdateRaftVoterRequest {
    let mut listener = update_raft_voter_request::Listener::default();
    listener.name = Text::from_static_str("CONTROLLER");
    (listener.host, listener.port) = (Text::from_static_str("localhost"), 9);
    let mut request = UpdateRaftVoterRequest::default();
    request.cluster_id = None;
    request.current_leader_epoch = describe_quorum(client).await.leader_epoch;
    (request.voter_id, request.voter_directory_id) = (node as i32, directory);
    request.listeners = vec![listener];
    request.k_raft_version_feature.max_supported_version = 1;
    request
}

/// What is wrong with a request, and how that is answered.
type Wrong = (fn(&mut UpdateRaftVoterRequest), ErrorCode);

const WRONG: [Wrong; 11] = [
    (|it| it.cluster_id = Some(Text::from_static_str("x")), ErrorCode::InconsistentClusterId),
    (|it| it.current_leader_epoch -= 1, ErrorCode::FencedLeaderEpoch),
    (|it| it.current_leader_epoch = -1, ErrorCode::FencedLeaderEpoch),
    (|it| it.current_leader_epoch += 1, ErrorCode::UnknownLeaderEpoch),
    (|it| it.voter_id = -1, ErrorCode::InvalidRequest),
    (|it| it.voter_directory_id = Uuid::nil(), ErrorCode::InvalidRequest),
    (|it| it.listeners.clear(), ErrorCode::InvalidRequest),
    (|it| it.listeners[0].name = Text::from_static_str("OTHER"), ErrorCode::InvalidRequest),
    (|it| it.k_raft_version_feature.min_supported_version = -1, ErrorCode::InvalidRequest),
    (|it| it.k_raft_version_feature.min_supported_version = 2, ErrorCode::InvalidRequest),
    (|it| it.voter_id = 7, ErrorCode::VoterNotFound),
];

/// Asks the leader for each, and a follower; gives a request that can be granted, for a voter that does not lead.
async fn refused(cluster: &Cluster, leader: usize) -> (usize, UpdateRaftVoterRequest) {
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let mut client = cluster.tool(leader).await;
    let right = update(&mut client, follower, directory(cluster, follower)).await;
    for (spoil, expected) in WRONG {
        let mut request = right.clone();
        spoil(&mut request);
        let response = client.call(0, &request).await;
        assert_eq!(response.error_code, expected.code(), "{request:?}");
        let told = response.current_leader;
        assert_eq!(
            (told.leader_id.0, &*told.host),
            (leader as i32, &*cluster.address(leader).to_string())
        );
        assert_eq!((told.leader_epoch, told.port), (right.current_leader_epoch, 19_093));
    }
    let response = cluster.tool(follower).await.call(0, &right).await;
    assert_eq!(response.error_code, ErrorCode::NotLeaderOrFollower.code(), "{response:?}");
    assert_eq!(response.current_leader.leader_id.0, leader as i32);
    (follower, right)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_told_where_a_voter_is() {
    let mut cluster = Cluster::to_be_founded(3, (3, 1), &["default.replication.factor=1"]);
    cluster.start_these(&[1, 2, 3, 4]).await;
    let leader = cluster.leader().await;
    let (follower, right) = refused(&cluster, leader).await;
    let mut client = cluster.tool(leader).await;
    let mut without = right.clone();
    without.k_raft_version_feature.max_supported_version = 0;
    let response = client.call(0, &without).await;
    assert_eq!(response.error_code, ErrorCode::InvalidRequest.code(), "the level is 1");
    let mut another = right.clone();
    another.voter_directory_id = Uuid::from_u128(7);
    let response = client.call(0, &another).await;
    assert_eq!(response.error_code, ErrorCode::VoterNotFound.code(), "another directory");
    cluster.kill(follower).await;
    let response = client.call(0, &right).await;
    assert_eq!(response.error_code, 0, "{response:?}");
    assert_eq!(port_of(&mut client, follower).await, Some(9));
    // It knows better where it is.
    cluster.start_these(&[follower]).await;
    eventually("its address", async || {
        (port_of(&mut client, follower).await == Some(19_093)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_voter_is_where_it_is_configured_whatever_the_leader_is_told() {
    let cluster = Cluster::apart(3, 1, &["default.replication.factor=1"]).await;
    let leader = cluster.leader().await;
    let (follower, right) = refused(&cluster, leader).await;
    let mut client = cluster.tool(leader).await;
    let mut above = right.clone();
    above.k_raft_version_feature.min_supported_version = 1;
    let response = client.call(0, &above).await;
    assert_eq!(response.error_code, ErrorCode::InvalidRequest.code(), "the level is 0");
    // Voters of such a cluster have no directories to Apache Kafka.
    let mut another = right.clone();
    another.voter_directory_id = Uuid::from_u128(7);
    for request in [right, another] {
        assert_eq!(client.call(0, &request).await.error_code, 0);
    }
    assert_eq!(port_of(&mut client, follower).await, Some(19_093));
}

#[derive(Debug)]
struct NoClusterAction;

impl Authorizer for NoClusterAction {
    fn allows(&self, _: &str, operation: Operation, _: Resource<'_>) -> bool {
        operation != Operation::ClusterAction
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_act_for_the_cluster_tells_where_a_voter_is() {
    let mut cluster = Cluster::to_be_founded(1, (1, 1), &["default.replication.factor=1"]);
    cluster.authorizer = Arc::new(NoClusterAction);
    cluster.start_these(&[1, 2]).await;
    let mut client = cluster.tool(1).await;
    let request = update(&mut client, 1, directory(&cluster, 1)).await;
    let response = client.call(0, &request).await;
    assert_eq!(response.error_code, ErrorCode::ClusterAuthorizationFailed.code());
    assert_eq!(response.current_leader.leader_id.0, -1, "nothing is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_an_addition_does_not_wait_for_the_voters_unless_it_is_to() {
    let mut cluster = Cluster::to_be_founded(1, (2, 1), &["default.replication.factor=1"]);
    cluster.start_these(&[1, 2, 3]).await;
    let mut client = cluster.tool(1).await;
    let directory = directory(&cluster, 2);
    // It is known and has caught up, before it is gone: its own vote is needed for that it votes.
    eventually("an observer with all entries", async || {
        let quorum = describe_quorum(&mut client).await;
        let end = quorum.high_watermark;
        let mut observers = quorum.observers.iter();
        observers.any(|it| it.replica_id.0 == 2 && it.log_end_offset >= end - 1).then_some(())
    })
    .await;
    cluster.kill(2).await;
    let mut request = addition(2, directory);
    request.ack_when_committed = false;
    let response = client.call(1, &request).await;
    assert_eq!(response.error_code, ErrorCode::None, "{response:?}");
    voting(&mut client, &[1]).await;
    let response = client.call(1, &request).await;
    assert_eq!(response.error_code, ErrorCode::RequestTimedOut, "another change is under way");
    // Whoever leads ends it, also if that has not begun it.
    cluster.kill(1).await;
    cluster.start_these(&[1, 2]).await;
    voting(&mut cluster.client(3).await, &[1, 2]).await;
}
