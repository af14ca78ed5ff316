//! Three brokers, processes of their own, that are killed, paused and stopped one after the other while clients write in
//! transactions and without: nothing is lost, doubled or out of order, and afterwards all replicas are the same, byte for byte.

use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::crew::{Crew, Staff};
use crate::exactly_once::Epochs;
use crate::history::{End, History, SESSION};
use crate::rig::{Client, PATIENCE, creation};

pub(crate) const NODES: usize = 3;
pub(crate) const PARTITIONS: i32 = 3;
/// What has to be acknowledged between a fault and the next.
const RECORDS: usize = 150;

/// What all nodes are started with.
pub(crate) const OPTIONS: [&str; 4] = [
    "min.insync.replicas=2",
    "default.replication.factor=3",
    "offsets.topic.num.partitions=3",
    "transaction.state.log.num.partitions=3",
];

/// Where a node is to run.
pub(crate) struct Place {
    /// Its address.
    pub(crate) host: String,
    /// Its data directory.
    pub(crate) data: PathBuf,
    /// Where what it says is kept.
    pub(crate) log: PathBuf,
    /// The program that starts it, and its arguments; the broker's own if there are none.
    pub(crate) starter: Vec<String>,
}

/// One node, and what it is started with.
pub(crate) struct Node {
    pub(crate) address: String,
    line: Vec<String>,
    pub(crate) place: Place,
    process: Option<Child>,
}

impl Node {
    /// Starts it; it is not ready yet.
    pub(crate) fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(&self.place.log).unwrap();
        let process = Command::new(&self.line[0])
            .args(&self.line[1..])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    /// Waits until it serves.
    pub(crate) async fn ready(&mut self) {
        let output = self.process.as_mut().unwrap().stdout.take().unwrap();
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).unwrap();
            line
        });
        let line =
            tokio::time::timeout(PATIENCE, line).await.expect("it is ready in time").unwrap();
        assert!(line.starts_with("ottla ready "), "{line:?}\n{}", self.said());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.place.log).unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Waits for its end, which a signal has brought about.
    pub(crate) async fn ended(&mut self) {
        let mut process = self.process.take().unwrap();
        let ended = tokio::task::spawn_blocking(move || process.wait().unwrap());
        tokio::time::timeout(PATIENCE, ended).await.expect("it ends in time").unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

pub(crate) struct Nodes {
    pub(crate) all: Vec<Node>,
    _dir: tempfile::TempDir,
}

impl Nodes {
    /// Three nodes that serve. Their addresses are nobody else's, so that their ports are free after a restart too.
    async fn start(network: u8, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [high, low] = u16::try_from(std::process::id() % 65_536).unwrap().to_be_bytes();
        let place = |id: usize| Place {
            host: Ipv4Addr::new(127, high, low, network * 8 + id as u8).to_string(),
            data: dir.path().join(format!("node-{id}")),
            log: dir.path().join(format!("node-{id}.log")),
            starter: Vec::new(),
        };
        let places = (1..=NODES).map(place).collect();
        Self::at(places, dir, options).await
    }

    /// Nodes that serve in these places, which are in a directory that is removed in the end.
    pub(crate) async fn at(places: Vec<Place>, dir: tempfile::TempDir, options: &[&str]) -> Self {
        let voter = |(place, id): (&Place, usize)| format!("{id}@{}:21093", place.host);
        let voters: Vec<String> = places.iter().zip(1..).map(voter).collect();
        let node = |(place, id): (Place, usize)| {
            let settings = [
                format!("node.id={id}"),
                format!("listeners=PLAINTEXT://{}:21092", place.host),
                "process.roles=broker,controller".to_owned(),
                format!("controller.quorum.voters={}", voters.join(",")),
            ];
            let settings = settings.into_iter().chain(options.iter().map(|it| (*it).to_owned()));
            let mut line = place.starter.clone();
            line.push(env!("CARGO_BIN_EXE_ottla").to_owned());
            line.extend(["serve", "--http", "off", "--data"].map(str::to_owned));
            line.push(place.data.to_str().unwrap().to_owned());
            line.extend(settings.flat_map(|setting| ["-o".to_owned(), setting]));
            Node { address: format!("{}:21092", place.host), line, place, process: None }
        };
        let mut all: Vec<Node> = places.into_iter().zip(1..).map(node).collect();
        all.iter_mut().for_each(Node::start);
        for node in &mut all {
            node.ready().await;
        }
        Self { all, _dir: dir }
    }

    /// Creates the topic that clients work on, with all its replicas in sync; gives the clients.
    pub(crate) async fn crew(&self) -> Arc<Crew> {
        let mut client = Client::to(&self.all[0].address).await;
        let mut request = creation("t", PARTITIONS, &[]);
        request.topics[0].replication_factor = 3;
        let created = client.call(7, &request).await;
        assert_eq!(created.topics[0].error_code, 0, "{created:?}");
        self.in_sync("t").await;
        Crew::new(&self.addresses(), "t", PARTITIONS)
    }

    /// Ends all nodes, whose replicas are then the same.
    pub(crate) async fn end(mut self) {
        self.in_sync("t").await;
        // The last ones may have to fetch what the first ones have written to end their logs.
        for node in &self.all {
            node.signal("TERM");
        }
        for node in &mut self.all {
            node.ended().await;
        }
        for partition in 0..PARTITIONS {
            let logs = self.logs(&format!("t-{partition}"));
            assert!(!logs[0].is_empty());
            let shortest = logs.iter().map(Vec::len).min().unwrap();
            for log in &logs {
                assert!(log[..shortest] == logs[0][..shortest], "replicas of t-{partition} differ");
            }
        }
    }

    fn addresses(&self) -> Vec<String> {
        self.all.iter().map(|node| node.address.clone()).collect()
    }

    /// Waits until every partition of a topic has all its replicas in sync, as each of the nodes knows.
    pub(crate) async fn in_sync(&self, topic: &str) {
        for node in &self.all {
            let mut client = Client::to(&node.address).await;
            let in_sync = async {
                loop {
                    let metadata = client.metadata(&[topic]).await;
                    let partitions = &metadata.topics[0].partitions;
                    let is_whole = |isr: &[_]| isr.len() == NODES;
                    if partitions.iter().all(|partition| is_whole(&partition.isr_nodes)) {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            };
            let waited = tokio::time::timeout(PATIENCE, in_sync).await;
            waited.unwrap_or_else(|_| panic!("{} is not in sync\n{}", node.address, node.said()));
        }
    }

    /// What the segments of a partition hold on each node, one after the other.
    fn logs(&self, partition: &str) -> Vec<Vec<u8>> {
        self.all.iter().map(|node| segments(&node.place.data.join(partition))).collect()
    }
}

fn segments(partition: &Path) -> Vec<u8> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(partition)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    files.sort();
    files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect()
}

/// What happens to a node, and how it is mended.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// `kill -9`; then it is started again.
    Kill,
    /// It gets no CPU until others have gone on without it.
    Pause,
    /// It ends in good order; then it is started again.
    Stop,
}

/// Has a crew at work while nodes suffer, one at a time; gives what the crew saw.
async fn suffer(network: u8, faults: &[Fault]) -> History {
    let mut nodes = Nodes::start(network, &OPTIONS).await;
    let crew = nodes.crew().await;
    let work = async {
        for (round, fault) in faults.iter().enumerate() {
            let victim = round % NODES;
            crew.write_on(RECORDS).await;
            match fault {
                Fault::Kill => {
                    nodes.all[victim].signal("KILL");
                    nodes.all[victim].ended().await;
                    crew.write_on(RECORDS).await;
                    nodes.all[victim].start();
                    nodes.all[victim].ready().await;
                }
                Fault::Pause => {
                    nodes.all[victim].signal("STOP");
                    crew.write_on(RECORDS).await;
                    nodes.all[victim].signal("CONT");
                }
                Fault::Stop => {
                    nodes.all[victim].signal("TERM");
                    crew.write_on(RECORDS).await;
                    nodes.all[victim].ended().await;
                    nodes.all[victim].start();
                    nodes.all[victim].ready().await;
                }
            }
            nodes.in_sync("t").await;
        }
    };
    let ((), history) = crew.beside(Staff::writing(2, &[Epochs::Raised; 2]), work).await;
    nodes.end().await;
    history
}

/// What was seen is no anomaly, and enough of it.
pub(crate) fn check(history: &History, faults: usize) {
    let committed = history.ended.iter().filter(|ended| ended.end == End::Committed).count();
    assert!(committed > faults, "only {committed} transactions were committed");
    assert!(history.latest.len() > faults);
    assert_eq!(history.anomalies(), []);
}

#[tokio::test]
async fn r24_nodes_killed_one_after_the_other_show_no_anomaly() {
    let faults = [Fault::Kill; 6];
    check(&suffer(1, &faults).await, faults.len());
}

#[tokio::test]
async fn r16_nodes_paused_show_no_anomaly() {
    let faults = [Fault::Pause; 3];
    check(&suffer(2, &faults).await, faults.len());
}

#[tokio::test]
async fn nodes_stopped_show_no_anomaly() {
    let faults = [Fault::Stop; 3];
    let history = suffer(3, &faults).await;
    check(&History { stale_at_most: SESSION, ..history }, faults.len());
}
