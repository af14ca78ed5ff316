//! Leaders that are killed again and again while clients write and read: nothing is lost, doubled or out of order.

use std::net::Ipv4Addr;
use std::path::Path;

use super::rig::{Cluster, eventually};
use crate::crew::{Crew, Staff};
use crate::exactly_once::Epochs;
use crate::history::{End, History};
use crate::process::Program;
use crate::rig::{Client, creation};

/// How often a leader is killed.
const KILLS: usize = 6;
/// What has to be acknowledged between a kill and the next start, and the other way round.
const RECORDS: usize = 60;
const PARTITIONS: i32 = 3;
const NODES: usize = 3;

/// Three nodes that can be killed.
trait Nodes {
    async fn client(&self, node: usize) -> Client;
    fn address(&self, node: usize) -> String;
    fn runs(&self, node: usize) -> bool;
    async fn kill(&mut self, node: usize);
    async fn start(&mut self, node: usize);
}

impl Nodes for Cluster {
    async fn client(&self, node: usize) -> Client {
        Self::client(self, node).await
    }

    fn address(&self, node: usize) -> String {
        self.broker(node).addresses()[0].to_string()
    }

    fn runs(&self, node: usize) -> bool {
        self.running().contains(&node)
    }

    async fn kill(&mut self, node: usize) {
        Self::kill(self, node).await;
    }

    async fn start(&mut self, node: usize) {
        self.start_these(&[node]).await;
    }
}

/// Three processes.
struct Processes {
    dir: tempfile::TempDir,
    programs: Vec<Option<Program>>,
}

impl Processes {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut processes = Self { dir, programs: (0..NODES).map(|_| None).collect() };
        // They wait for each other.
        let starts: Vec<_> = (1..=NODES).map(|node| processes.begin(node)).collect();
        for (start, place) in starts.into_iter().zip(&mut processes.programs) {
            *place = Some(start.await.unwrap());
        }
        processes
    }

    /// An address of the loopback network that no other test process has.
    fn host(node: usize) -> Ipv4Addr {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        Ipv4Addr::new(127, high | 0x40, low, 250 + node as u8)
    }

    fn begin(&self, node: usize) -> tokio::task::JoinHandle<Program> {
        let data = self.dir.path().join(node.to_string());
        tokio::task::spawn_blocking(move || Self::program(node, &data))
    }

    fn program(node: usize, data: &Path) -> Program {
        let voter = |id| format!("{id}@{}:19093", Self::host(id));
        let voters: Vec<String> = (1..=NODES).map(voter).collect();
        let options = [
            format!("node.id={node}"),
            "process.roles=broker,controller".to_owned(),
            format!("controller.quorum.voters={}", voters.join(",")),
        ];
        let listen = format!("{}:19092", Self::host(node));
        let mut arguments = vec!["serve", "--listen", &listen, "--http", "off"];
        arguments.extend(["--data", data.to_str().unwrap()]);
        arguments.extend(options.iter().flat_map(|option| ["-o", option]));
        Program::start(&arguments)
    }
}

impl Nodes for Processes {
    async fn client(&self, node: usize) -> Client {
        Client::to(&self.address(node)).await
    }

    fn address(&self, node: usize) -> String {
        self.programs[node - 1].as_ref().expect("it runs").kafka.clone()
    }

    fn runs(&self, node: usize) -> bool {
        self.programs[node - 1].is_some()
    }

    /// With SIGKILL.
    async fn kill(&mut self, node: usize) {
        drop(self.programs[node - 1].take());
    }

    async fn start(&mut self, node: usize) {
        self.programs[node - 1] = Some(self.begin(node).await.unwrap());
    }
}

async fn any_client(nodes: &impl Nodes) -> Client {
    let running = (1..=NODES).find(|node| nodes.runs(*node)).expect("not all are killed");
    nodes.client(running).await
}

/// Waits until all replicas of all partitions are in sync; gives the leaders.
async fn in_sync(nodes: &impl Nodes) -> Vec<usize> {
    let mut client = any_client(nodes).await;
    eventually("in sync", async || {
        let metadata = client.metadata(&["t"]).await;
        let partitions = &metadata.topics[0].partitions;
        let in_sync = partitions.iter().all(|it| it.isr_nodes.len() == NODES);
        let leaders: Option<Vec<usize>> =
            partitions.iter().map(|it| usize::try_from(it.leader_id.0).ok()).collect();
        leaders.filter(|leaders| in_sync && leaders.len() == PARTITIONS as usize)
    })
    .await
}

/// Kills leaders and starts them again while a crew is at work; gives what the crew saw.
async fn killed(nodes: &mut impl Nodes, writers: usize, transactors: &[Epochs]) -> History {
    let mut creation = creation("t", PARTITIONS, &[("min.insync.replicas", "2")]);
    creation.topics[0].replication_factor = 3;
    let response = any_client(nodes).await.call(7, &creation).await;
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    in_sync(nodes).await;
    let addresses: Vec<String> = (1..=NODES).map(|node| nodes.address(node)).collect();
    let crew = Crew::new(&addresses, "t", PARTITIONS);
    let work = async {
        for round in 0..KILLS {
            crew.write_on(RECORDS).await;
            let leaders = in_sync(nodes).await;
            let dying = leaders[round % leaders.len()];
            nodes.kill(dying).await;
            crew.write_on(RECORDS).await;
            nodes.start(dying).await;
        }
        crew.write_on(RECORDS).await;
        in_sync(nodes).await;
    };
    crew.beside(Staff::writing(writers, transactors), work).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_killed_in_full_flight_show_no_anomaly() {
    let mut cluster = Cluster::start(NODES, &[]).await;
    let history = killed(&mut cluster, 3, &[]).await;
    assert_eq!(history.anomalies(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_killed_in_full_flight_show_no_anomaly() {
    let mut processes = Processes::new().await;
    let history = killed(&mut processes, 3, &[]).await;
    assert_eq!(history.anomalies(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_killed_amid_transactions_show_no_anomaly() {
    let mut cluster = Cluster::start(NODES, &[]).await;
    let history = killed(&mut cluster, 1, &[Epochs::Raised, Epochs::Kept]).await;
    let committed = history.ended.iter().filter(|ended| ended.end == End::Committed).count();
    assert!(committed > KILLS, "only {committed} transactions were committed");
    assert_eq!(history.anomalies(), []);
}
