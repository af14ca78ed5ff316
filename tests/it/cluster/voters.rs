//! Voters that come and go while the cluster runs (KIP-853).

use std::path::Path;

use ottla::log::MetaProperties;
use ottla::model::{BrokerId, ErrorCode};
use ottla::wire::add_raft_voter::AddRaftVoterListener;
use ottla::wire::messages::{
    RemoveRaftVoterRequest, UpdateFeaturesRequest, UpdateFeaturesResponse, update_features_request,
};
use ottla::wire::{AddRaftVoterRequest, Text};
use uuid::Uuid;

use super::quorum::{create, voters};
use super::rig::{Cluster, describe_quorum, eventually};
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
    for (request, expected) in [
        (foreign, ErrorCode::InconsistentClusterId),
        (elsewhere, ErrorCode::InvalidRequest),
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
