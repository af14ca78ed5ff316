//! Three empty nodes begin a cluster, and one of them, or all, crash before any of the changes that one makes to its disk
//! (`src/controller/raft/bootstrap.rs`). What is started again is one cluster.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ottla::broker::{Broker, StartError};
use ottla::env::{Disk, Env, MemoryDisk, Network, Rng, WatchedDisk};
use ottla::log::DataPaths;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::node;
use super::world::{BEGIN, NODES, PORT, clients, host, settings};
use crate::cluster::rig::{describe_quorum, eventually};
use crate::rig::{Client, DATA, creation};

/// How long the nodes may take to agree, by the time of the simulation.
const BEGUN_WITHIN: Duration = Duration::from_secs(60);

/// How the nodes know of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// By `controller.quorum.voters`.
    Voters,
    /// By `controller.quorum.bootstrap.servers` (KIP-853).
    Servers,
}

/// Who crashes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    /// The process of the node whose disk is changed.
    Process,
    /// The machine of that node.
    Machine,
    /// All machines, at the same moment.
    AllMachines,
}

/// A crash of a node (which counts from 0) before a change of its disk (which count from 1).
#[derive(Clone, Copy, Debug)]
struct Step {
    node: usize,
    change: usize,
    crash: Crash,
    named: Named,
}

/// Ends a node before one change of its disk.
struct Fuse {
    left: AtomicUsize,
    /// What is found on the disk afterwards.
    found: Mutex<Option<MemoryDisk>>,
    blown: Notify,
}

impl Fuse {
    fn disk(self: Arc<Self>, memory: MemoryDisk, step: Step, network: Network) -> WatchedDisk {
        let chance = Rng::from_seed(step.change as u64);
        WatchedDisk::telling(memory, move |memory| {
            // A node that is ended goes on for a moment, but nobody hears of it.
            if self.left.fetch_sub(1, Ordering::Relaxed) != 1 {
                return;
            }
            let found = match step.crash {
                Crash::Process => memory.process_end(),
                Crash::Machine | Crash::AllMachines => memory.power_cut(&chance),
            };
            end(&network, step.node, step.crash);
            *self.found.lock() = Some(found);
            self.blown.notify_one();
        })
    }
}

fn end(network: &Network, node: usize, crash: Crash) {
    let address = host(node + 1);
    match crash {
        Crash::Process => network.end_process(address),
        Crash::Machine | Crash::AllMachines => network.cut_power(address),
    }
}

struct Node {
    disk: MemoryDisk,
    env: Env,
    life: Life,
}

enum Life {
    Starting(JoinHandle<Result<Broker, StartError>>),
    Up(Box<Broker>),
}

impl Node {
    fn start(
        network: &Network,
        at: usize,
        named: Named,
        disk: Arc<dyn Disk>,
        memory: MemoryDisk,
    ) -> Self {
        let id = at + 1;
        let mut settings = settings(id);
        if named == Named::Servers {
            settings.retain(|setting| !setting.starts_with("controller.quorum.voters="));
            let servers: Vec<String> = (1..=NODES).map(|id| format!("{}:9093", host(id))).collect();
            settings.push(format!("controller.quorum.bootstrap.servers={}", servers.join(",")));
            let host = host(id);
            settings.push(format!("listeners=PLAINTEXT://{host}:{PORT},CONTROLLER://{host}:9093"));
        }
        let chance = Rng::from_seed(id as u64);
        let env = Env::simulated(network.host(host(id)), disk, BEGIN, chance, Arc::new(3.into()));
        let starting = node::start(&env, &settings, DataPaths::one(Path::new(DATA)));
        Self { disk: memory, env, life: Life::Starting(starting) }
    }

    /// Waits until it serves.
    async fn broker(&mut self) -> &Broker {
        if let Life::Starting(starting) = &mut self.life {
            self.life = Life::Up(Box::new(starting.await.unwrap().unwrap()));
        }
        match &self.life {
            Life::Up(broker) => broker,
            Life::Starting(_) => unreachable!("it was waited for"),
        }
    }

    /// Takes away what is left of a node that has crashed.
    fn clear(self) {
        if let Life::Starting(starting) = self.life {
            starting.abort();
        }
        self.env.tasks.cancel();
    }
}

/// Begins a cluster while that happens, and says whether it came to it.
async fn begin(step: Step) -> bool {
    let network = Network::new(Rng::from_seed(step.change as u64));
    network.set_latency(1, 3);
    let fuse = Arc::new(Fuse {
        left: AtomicUsize::new(step.change),
        found: Mutex::default(),
        blown: Notify::new(),
    });
    let start = |at: usize| {
        let memory = MemoryDisk::with_power_model();
        let disk: Arc<dyn Disk> = if at == step.node {
            Arc::new(Arc::clone(&fuse).disk(memory.clone(), step, network.clone()))
        } else {
            Arc::new(memory.clone())
        };
        Node::start(&network, at, step.named, disk, memory)
    };
    let mut nodes: Vec<Node> = (0..NODES).map(start).collect();
    let agreed = timeout(BEGUN_WITHIN, agreed(&network, &mut nodes));
    let has_crashed = tokio::select! {
        biased;
        () = fuse.blown.notified() => true,
        agreed = agreed => {
            agreed.expect("they agree without a crash");
            false
        }
    };
    if has_crashed {
        let chance = Rng::from_seed(step.node as u64);
        let again = |(at, node): (usize, Node)| {
            let found = if at == step.node {
                fuse.found.lock().take().expect("it has crashed")
            } else if step.crash == Crash::AllMachines {
                end(&network, at, step.crash);
                node.disk.power_cut(&chance)
            } else {
                return node;
            };
            node.clear();
            Node::start(&network, at, step.named, Arc::new(found.clone()), found)
        };
        nodes = nodes.into_iter().enumerate().map(again).collect();
        let agreed = timeout(BEGUN_WITHIN, self::agreed(&network, &mut nodes)).await;
        agreed.unwrap_or_else(|_| panic!("{step:?}: they do not agree"));
    }
    for node in nodes {
        assert!(!node.env.tasks.has_failed(), "{step:?}: a task has failed");
        if let Life::Up(broker) = node.life {
            broker.kill().await;
        }
    }
    has_crashed
}

/// Waits until all nodes serve as one cluster, which has a topic on each of them.
async fn agreed(network: &Network, nodes: &mut [Node]) {
    let mut clusters = Vec::new();
    for node in nodes {
        clusters.push(node.broker().await.cluster_id().to_owned());
    }
    assert!(clusters.iter().all(|cluster| *cluster == clusters[0]), "{clusters:?}");
    let net = network.host(clients());
    for at in 0..NODES {
        let stream = net.connect(&host(at + 1).to_string(), PORT).await.unwrap();
        let mut client = Client::over(stream);
        eventually("three voters", async || {
            let voters = describe_quorum(&mut client).await.current_voters;
            let mut ids: Vec<i32> = voters.iter().map(|voter| voter.replica_id.0).collect();
            ids.sort_unstable();
            (ids == [1, 2, 3]).then_some(())
        })
        .await;
        let mut request = creation(&format!("t{at}"), 1, &[]);
        request.topics[0].replication_factor = 3;
        eventually("created", async || {
            // Not before all are registered, and a proposal whose fate was unknown may have been made.
            let response = client.call(7, &request).await;
            matches!(response.topics[0].error_code, 0 | 36).then_some(())
        })
        .await;
    }
}

/// Every change of a node's disk, until one is not reached any more.
fn crash_at_each_step(node: usize, named: Named, crash: Crash) -> usize {
    let steps = 1..;
    for change in steps {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        if !runtime.block_on(Box::pin(begin(Step { node, change, crash, named }))) {
            return change - 1;
        }
    }
    unreachable!("a node makes only so many changes")
}

fn crash_whatever_when(named: Named) {
    super::log();
    let crash = |crash: Crash| {
        let changes: Vec<usize> =
            (0..NODES).map(|node| crash_at_each_step(node, named, crash)).collect();
        // A node writes its name, its metadata log and the vote at least.
        assert!(changes.iter().all(|changes| *changes > 10), "{crash:?}: {changes:?}");
    };
    std::thread::scope(|scope| {
        for kind in [Crash::Process, Crash::Machine, Crash::AllMachines] {
            scope.spawn(move || crash(kind));
        }
    });
}

#[test]
fn three_nodes_begin_one_cluster_whatever_crashes_when() {
    crash_whatever_when(Named::Voters);
}

#[test]
fn three_nodes_that_are_named_as_servers_begin_one_cluster_whatever_crashes_when() {
    crash_whatever_when(Named::Servers);
}
