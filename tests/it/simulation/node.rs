//! One node of a simulation: its disk, which may fail, and the process that runs on it, which then may end.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ottla::api::AllowAll;
use ottla::broker::{Broker, BrokerOptions, StartError};
use ottla::config::{self, Effective, Sources};
use ottla::env::{
    Disk as _, Env, Fault as DiskFault, FaultyDisk, MemoryDisk, Network, OpenMode, Residency, Rng,
};
use ottla::log::DataPaths;
use ottla::model::UnixMillis;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::panics;
use crate::rig::{DATA, PATIENCE};

/// The second data directory, of nodes that have one.
pub(super) const MORE: &str = "more";

/// One node.
pub(super) struct Node {
    id: usize,
    pub(super) address: IpAddr,
    /// What the present process writes on, or the last one has left.
    disk: Arc<Mutex<MemoryDisk>>,
    /// The ways in which it fails, whoever uses it.
    faults: FaultyDisk,
    /// How long work on the disk may have to wait, in milliseconds.
    wait_ms: Arc<AtomicU32>,
    data: DataPaths,
    settings: Vec<String>,
    life: Life,
    /// Since everything was mended: whether the disk has failed in a way that a process may end of, and in one that only
    /// another process gets over.
    may_end: bool,
    has_failed: bool,
}

enum Life {
    Down,
    Starting(Process, JoinHandle<Result<Broker, StartError>>),
    Up(Process, Box<Broker>),
}

/// What runs on a node.
struct Process {
    env: Env,
    /// Ends it when it cannot go on.
    watch: JoinHandle<()>,
}

/// Starts a broker, which logs in the present span.
pub(super) fn start(
    env: &Env,
    settings: &[String],
    data: DataPaths,
) -> JoinHandle<Result<Broker, StartError>> {
    let sources = Sources { options: settings, ..Sources::default() };
    let options = BrokerOptions {
        settings: Effective::new(config::load(sources).unwrap()),
        data,
        durable: true,
        authorizer: Arc::new(AllowAll),
    };
    tokio::spawn(Broker::start(env.clone(), options).in_current_span())
}

impl Node {
    /// A node that was never started.
    pub(super) fn new(id: usize, address: IpAddr, settings: Vec<String>, has_two: bool) -> Self {
        let disk = MemoryDisk::with_power_model();
        let faults = FaultyDisk::new(Arc::new(disk.clone()));
        let logs = if has_two { vec![DATA.into(), MORE.into()] } else { vec![DATA.into()] };
        Self {
            id,
            address,
            disk: Arc::new(Mutex::new(disk)),
            faults,
            wait_ms: Arc::default(),
            data: DataPaths { logs, metadata: None },
            settings,
            life: Life::Down,
            may_end: false,
            has_failed: false,
        }
    }

    pub(super) const fn is_down(&self) -> bool {
        matches!(self.life, Life::Down)
    }

    /// Starts it, at this time of day.
    pub(super) fn start(&mut self, network: &Network, time: UnixMillis, chance: Rng, wait_ms: u32) {
        let net = network.host(self.address);
        self.wait_ms = Arc::new(wait_ms.into());
        let disk = Arc::new(self.faults.around(Arc::new(self.disk.lock().clone())));
        let span = tracing::info_span!("node", id = self.id);
        let wait = Arc::clone(&self.wait_ms);
        let env = span.in_scope(|| Env::simulated(net, disk, time, chance, wait));
        let watch = tokio::spawn({
            // As `main.rs` ends the process: nothing more is said or written.
            let (tasks, disk) = (env.tasks.clone(), Arc::clone(&self.disk));
            let (network, address) = (network.clone(), self.address);
            async move {
                tasks.failure().await;
                tracing::info!(%address, "a process cannot go on");
                network.end_process(address);
                let mut disk = disk.lock();
                *disk = disk.process_end();
            }
        });
        let starting = span.in_scope(|| start(&env, &self.settings, self.data.clone()));
        self.life = Life::Starting(Process { env, watch }, starting);
    }

    /// Ends the process in the middle of what it does, and its machine if `power` says what becomes of what was not synced.
    pub(super) fn crash(&mut self, network: &Network, power: Option<&Rng>) {
        let mut disk = self.disk.lock();
        if let Some(rng) = power {
            *disk = disk.power_cut(rng);
            network.cut_power(self.address);
        } else {
            *disk = disk.process_end();
            network.end_process(self.address);
        }
        drop(disk);
        // What is left of it has neither disk nor network, and goes away.
        match std::mem::replace(&mut self.life, Life::Down) {
            Life::Down => {}
            Life::Starting(process, starting) => {
                process.watch.abort();
                starting.abort();
                process.env.tasks.cancel();
            }
            Life::Up(process, broker) => {
                process.watch.abort();
                drop(tokio::spawn(broker.kill()));
            }
        }
    }

    /// Ends it in good order, if it is up.
    pub(super) async fn stop(&mut self, network: &Network) {
        match std::mem::replace(&mut self.life, Life::Down) {
            Life::Up(process, broker) => {
                process.watch.abort();
                let stopped = broker.stop().await;
                assert!(self.may_end || stopped.is_ok(), "node {} stops: {stopped:?}", self.id);
                network.end_process(self.address);
            }
            other @ (Life::Down | Life::Starting(..)) => self.life = other,
        }
    }

    /// Takes note of a process that has ended by itself, which is to happen only if its disk gave a reason.
    pub(super) fn notice(&mut self, network: &Network) {
        let has_ended = match &self.life {
            Life::Down => false,
            Life::Starting(process, starting) => {
                process.env.tasks.has_failed() || starting.is_finished() && self.may_end
            }
            Life::Up(process, _) => process.env.tasks.has_failed(),
        };
        if has_ended {
            assert!(self.may_end, "node {} has ended by itself", self.id);
            assert_eq!(panics(), 0, "a task of node {} has panicked", self.id);
            self.crash(network, None);
        }
    }

    /// Waits until it serves, if it was started.
    pub(super) async fn up(&mut self, within: Duration) {
        self.life = match std::mem::replace(&mut self.life, Life::Down) {
            Life::Starting(process, starting) => {
                let started = timeout(within, starting).await;
                let started = started.unwrap_or_else(|_| panic!("node {} does not start", self.id));
                Life::Up(process, Box::new(started.unwrap().unwrap()))
            }
            other @ (Life::Down | Life::Up(..)) => other,
        };
    }

    /// Its disk fails in this way from now on.
    pub(super) fn break_disk(&mut self, fault: DiskFault) {
        self.may_end |= !matches!(fault, DiskFault::Cold(_));
        self.has_failed |=
            matches!(fault, DiskFault::Write(_) | DiskFault::Sync(_) | DiskFault::Read(_));
        self.faults.inject(fault);
    }

    /// Work on its disk waits at most so long from now on until it begins.
    pub(super) fn slow_down(&self, wait_ms: u32) {
        self.wait_ms.store(wait_ms, Ordering::Relaxed);
    }

    /// The disk does not fail any more, and is fast.
    pub(super) fn mend_disk(&self) {
        self.faults.clear();
        self.slow_down(3);
    }

    /// Ends it, if only another process can use its disk again. From now on its disk is no reason to end.
    pub(super) fn get_over(&mut self, network: &Network) {
        self.notice(network);
        if self.has_failed && !self.is_down() {
            self.crash(network, None);
        }
        (self.may_end, self.has_failed) = (false, false);
    }

    /// Its clock jumps forward.
    pub(super) fn jump(&self, by: Duration) {
        if let Life::Up(_, broker) = &self.life {
            broker.env().clock.advance(by);
        }
    }

    /// Ends it, and sees that it has not broken.
    pub(super) async fn end(self) {
        let Life::Up(process, broker) = self.life else { panic!("all are up") };
        process.watch.abort();
        assert!(!process.env.tasks.has_failed(), "a task has failed");
        timeout(PATIENCE, broker.kill()).await.expect("it ends");
    }

    /// What the segments of a partition hold, one after the other.
    pub(super) fn log(&self, topic: &str, partition: i32) -> Vec<u8> {
        let disk = self.disk.lock().clone();
        let mut directories =
            self.data.logs.iter().map(|dir| dir.join(format!("{topic}-{partition}")));
        let directory = directories.find(|directory| disk.exists(directory).unwrap()).unwrap();
        let mut names: Vec<String> = disk
            .list(&directory)
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .filter(|name| name.ends_with(".log"))
            .collect();
        names.sort();
        tracing::info!(?directory, ?names, "log");
        let mut all = Vec::new();
        for name in names {
            let file = disk.open(&directory.join(name), OpenMode::Read).unwrap();
            let length = file.len().unwrap();
            all.extend_from_slice(&file.read(0..length, Residency::Any).unwrap().unwrap());
        }
        all
    }
}
