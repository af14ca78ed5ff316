//! `ottla dev`: a cluster in one process, whose nodes are killed, stopped, paused and cut off over HTTP.

use std::net::SocketAddr;

use crate::cluster::rig::eventually;
use crate::http::request;
use crate::process::{Program, output};
use crate::rig::{Client, batch_once, creation};
use serde_json::Value;

const TOPIC: &str = "t";

/// A cluster that runs, with a topic on all its nodes.
struct Dev {
    program: Program,
    addresses: Vec<SocketAddr>,
    http: SocketAddr,
}

impl Dev {
    fn start(more: &[&str]) -> Self {
        let arguments = ["dev", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        let program = Program::start(&[&arguments, more].concat());
        let addresses = program.kafka.split(',').map(|address| address.parse().unwrap()).collect();
        let http = program.http.parse().unwrap();
        Self { program, addresses, http }
    }

    async fn with_topic(more: &[&str]) -> Self {
        let dev = Self::start(more);
        let mut creation = creation(TOPIC, 1, &[("min.insync.replicas", "2")]);
        creation.topics[0].replication_factor = -1;
        let response = dev.client(1).await.call(7, &creation).await;
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
        dev.in_sync(1, 3).await;
        dev
    }

    async fn client(&self, id: usize) -> Client {
        Client::to(self.addresses[id - 1]).await
    }

    async fn act(&self, id: usize, action: &str) -> (u16, String) {
        request(self.http, "POST", &format!("/dev/nodes/{id}/{action}")).await
    }

    /// Does something and checks how the node is then.
    async fn done(&self, id: usize, action: &str, state: &str) {
        let (status, body) = self.act(id, action).await;
        assert_eq!(status, 200, "{action}: {body}");
        let node: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(node["state"], state, "{action}: {body}");
        assert_eq!(node["id"], id);
    }

    /// The state of each node.
    async fn states(&self) -> Vec<String> {
        let (status, body) = request(self.http, "GET", "/dev/nodes").await;
        assert_eq!(status, 200, "{body}");
        let told: Value = serde_json::from_str(&body).unwrap();
        let nodes = told["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["state"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until so many replicas are in sync, as a node knows it.
    async fn in_sync(&self, asked: usize, count: usize) {
        let mut client = self.client(asked).await;
        eventually("in sync", async || {
            let metadata = client.metadata(&[TOPIC]).await;
            (metadata.topics[0].partitions.first()?.isr_nodes.len() == count).then_some(())
        })
        .await;
    }

    /// Who leads the topic's partition, as a node knows it, if that is not `but`.
    async fn leader(&self, asked: usize, but: Option<usize>) -> usize {
        let mut client = self.client(asked).await;
        eventually("a leader", async || {
            let metadata = client.metadata(&[TOPIC]).await;
            let leader = metadata.topics[0].partitions.first()?.leader_id.0;
            usize::try_from(leader).ok().filter(|leader| *leader > 0 && Some(*leader) != but)
        })
        .await
    }

    /// Appends with acks=all, to whoever leads and is not `but`.
    async fn append(&self, asked: usize, but: Option<usize>, value: &str) {
        let batch = batch_once(value);
        eventually("appended", async || {
            let leader = self.leader(asked, but).await;
            let produced = self.client(leader).await.produce(TOPIC, 0, batch.clone()).await;
            produced.error_code.is_none().then_some(())
        })
        .await;
    }

    async fn values(&self) -> Vec<String> {
        eventually("read", async || {
            let leader = self.leader(1, None).await;
            let others = [self.leader(2, None).await, self.leader(3, None).await];
            (others == [leader; 2]).then_some(())?;
            self.client(leader).await.values_if_led(TOPIC, 0).await.ok()
        })
        .await
    }

    /// Another node than this one.
    fn other(id: usize) -> usize {
        id % 3 + 1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_killed_and_comes_back() {
    let dev = Dev::with_topic(&[]).await;
    assert_eq!(dev.states().await, ["running"; 3]);
    dev.append(1, None, "before").await;
    for (action, state) in [("kill", "killed"), ("stop", "stopped")] {
        let leader = dev.leader(1, None).await;
        let other = Dev::other(leader);
        let mut connected = dev.client(leader).await;
        dev.done(leader, action, state).await;
        assert!(connected.is_closed().await);
        std::net::TcpStream::connect(dev.addresses[leader - 1]).unwrap_err();
        assert_eq!(dev.states().await[leader - 1], state);
        dev.append(other, Some(leader), state).await;
        dev.in_sync(other, 2).await;
        dev.done(leader, "start", "running").await;
        dev.in_sync(leader, 3).await;
    }
    assert_eq!(dev.values().await, ["before", "killed", "stopped"]);
    dev.program.signal("INT");
    assert_eq!(dev.program.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_stands_still_or_is_cut_off_and_comes_back() {
    let dev = Dev::with_topic(&[]).await;
    for (action, state, back) in [("pause", "paused", "resume"), ("cut", "cut", "heal")] {
        let leader = dev.leader(1, None).await;
        let other = Dev::other(leader);
        let mut connected = dev.client(leader).await;
        dev.done(leader, action, state).await;
        if action == "cut" {
            assert!(connected.is_closed().await);
            assert!(dev.client(leader).await.is_closed().await, "the next one is closed at once");
        }
        dev.append(other, Some(leader), state).await;
        dev.in_sync(other, 2).await;
        dev.done(leader, back, "running").await;
        // Until it has heard of what was decided without it, it takes all for as it was.
        dev.leader(leader, Some(leader)).await;
        dev.in_sync(leader, 3).await;
        if action == "pause" {
            connected.metadata(&[TOPIC]).await;
        }
    }
    assert_eq!(dev.values().await, ["paused", "cut"]);
    // What stands still can be killed, and does not hold up the end.
    dev.done(1, "pause", "paused").await;
    dev.done(1, "kill", "killed").await;
    dev.done(2, "pause", "paused").await;
    dev.program.signal("TERM");
    assert_eq!(dev.program.end().0, Some(0));
}

/// What makes no sense is refused, and nothing is done for a page of a browser.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said() {
    let dev = Dev::start(&[]);
    let refused = "node 2 is running: there is nothing to start\n";
    assert_eq!(dev.act(2, "start").await, (409, refused.to_owned()));
    assert_eq!(dev.act(4, "kill").await, (404, "there is no node 4: they are 1 to 3\n".to_owned()));
    assert_eq!(dev.act(1, "burn").await.0, 404);
    assert_eq!(request(dev.http, "DELETE", "/dev/nodes").await.0, 405);
    let from_page = "/dev/nodes/1/kill HTTP/1.1\r\nOrigin: http://example.com\r\nX:";
    assert_eq!(request(dev.http, "POST", from_page).await.0, 403);
    assert_eq!(dev.states().await, ["running"; 3]);
}

/// As long as most nodes run, the cluster is said to be well, where a broker says it of itself.
#[tokio::test(flavor = "multi_thread")]
async fn health_is_that_of_most_nodes() {
    let dev = Dev::start(&[]);
    let http = dev.http.to_string();
    let health = || output(&["health", "--http", &http]);
    dev.done(2, "kill", "killed").await;
    assert_eq!(health().status.code(), Some(0));
    dev.done(1, "pause", "paused").await;
    let ill = health();
    assert_eq!(ill.status.code(), Some(1));
    let lines = "node 1: paused\nnode 2: killed\nnode 3: running\n";
    let said = String::from_utf8(ill.stderr).unwrap();
    assert!(said.starts_with(lines) && said.contains("answered 503"), "{said}");
    assert_eq!(request(dev.http, "GET", "/livez").await, (200, String::new()));
}

/// Without a majority a node starts and does not serve; it can be killed all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_for_others_can_be_killed() {
    let dev = Dev::start(&[]);
    for id in 1..=3 {
        dev.done(id, "kill", "killed").await;
    }
    dev.done(1, "start", "starting").await;
    dev.done(1, "kill", "killed").await;
    for id in 1..=3 {
        dev.act(id, "start").await;
    }
    eventually("all run", async || (dev.states().await == ["running"; 3]).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_kept_where_they_are_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let kept = ["--data-dir", dir.path().to_str().unwrap()];
    let dev = Dev::with_topic(&kept).await;
    dev.append(1, None, "kept").await;
    dev.done(2, "kill", "killed").await;
    dev.done(2, "start", "running").await;
    dev.program.signal("INT");
    assert_eq!(dev.program.end().0, Some(0));
    for id in 1..=3 {
        assert!(dir.path().join(format!("node-{id}/.kafka_cleanshutdown")).exists(), "{id}");
    }
}

/// The addresses of nodes are new at this start, and the files are of the last one.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_start_has_what_was_kept() {
    let dir = tempfile::tempdir().unwrap();
    let kept = ["--data-dir", dir.path().to_str().unwrap()];
    let dev = Dev::with_topic(&kept).await;
    dev.append(1, None, "kept").await;
    dev.program.signal("INT");
    assert_eq!(dev.program.end().0, Some(0));
    let dev = Dev::start(&kept);
    dev.append(1, None, "more").await;
    dev.in_sync(1, 3).await;
    assert_eq!(dev.values().await, ["kept", "more"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_tell_of_nodes_and_act_on_them() {
    for nodes in ["1", "3", "5"] {
        let dev = Dev::start(&["--nodes", nodes]);
        let http = dev.http.to_string();
        let last = dev.addresses.last().unwrap();
        let shown = output(&["dev", "kill", nodes, "--http", &http]);
        let text = String::from_utf8(shown.stdout).unwrap();
        assert_eq!(text, format!("{nodes} {last} killed\n"));
        let shown = output(&["dev", "nodes", "--http", &http]);
        assert!(String::from_utf8(shown.stdout).unwrap().ends_with(&text));
        let refused = output(&["dev", "pause", nodes, "--http", &http]);
        assert_eq!(refused.status.code(), Some(7));
        let error = String::from_utf8(refused.stderr).unwrap();
        let expected = format!("ottla: node {nodes} is killed: there is nothing to pause\n  hint:");
        assert!(error.starts_with(&expected), "{error}");
    }
    assert_eq!(output(&["dev", "--nodes", "2"]).status.code(), Some(2));
    assert_eq!(output(&["dev", "nodes", "--http", "127.0.0.1:1"]).status.code(), Some(3));
}
