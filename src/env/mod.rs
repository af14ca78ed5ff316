//! The seams: everything a broker takes from the machine it runs on.
//!
//! Owns disk, clocks, network, random numbers and tasks, each with a real and (where tests need it) a simulated twin,
//! carried in one [`Env`] value. There are no process globals: a broker is a value, and several of them run in one
//! process with different disks and clocks.
//!
//! **Invariant:** nothing outside this folder reads a clock, spawns, opens a file or a socket (`clippy.toml` lists
//! the banned calls). `unsafe` lives in `disk_real.rs` alone.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the folder that wraps what is banned elsewhere"
)]

mod clock;
mod disk;
mod disk_faulty;
mod disk_memory;
mod disk_real;
mod disk_watched;
mod gate;
mod machine;
mod net;
mod network;
mod open_files;
mod process;
mod rng;
mod tasks;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

pub use clock::{Clock, Elapsed, SteadyClock};
pub use disk::{DirLock, Disk, DiskEntry, DiskFile, DiskSpace, OpenMode, Residency, is_no_space};
pub use disk_faulty::{Fault, FaultyDisk};
pub use disk_memory::MemoryDisk;
pub use disk_real::RealDisk;
pub use disk_watched::{Crash, WatchedDisk};
pub use gate::{Flow, Gate};
pub use machine::{
    default_gateways, give_back_code, host_name, memory_bytes, port_owner, raise_descriptor_limit,
    terminal_columns,
};
pub use net::{BoxStream, Listener, Net, Reserved, Stream, preceded};
pub use network::Network;
#[cfg(test)]
pub(crate) use open_files::open_in;
pub use process::ProcessUsage;
pub use rng::Rng;
pub use tasks::{Cancelled, Tasks};

use crate::model::UnixMillis;

/// What one broker takes from its machine. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Env {
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// The movable clock: record timestamps, retention, coordinators, expiry.
    pub clock: Clock,
    /// The steady clock: sockets, disks, elections. Never moved.
    pub steady: SteadyClock,
    /// Where connections come from.
    pub net: Net,
    /// The one source of chance.
    pub rng: Rng,
    /// Where work is spawned, and how it is stopped.
    pub tasks: Tasks,
}

impl Env {
    /// The real machine, with the files of the operating system. Must be called inside a tokio runtime.
    #[must_use]
    pub fn real() -> Self {
        Self::with_disk(Arc::new(RealDisk::new()))
    }

    /// The real machine, but every file lives in memory and is gone with the value.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::with_disk(Arc::new(MemoryDisk::new()))
    }

    /// The real machine with files on `disk`.
    #[must_use]
    pub fn with_disk(disk: Arc<dyn Disk>) -> Self {
        let steady = SteadyClock::new();
        Self {
            disk,
            clock: Clock::system(steady.clone()),
            steady,
            net: Net::real(),
            rng: Rng::from_system(),
            tasks: Tasks::new(),
        }
    }

    /// The machine of a process in a simulation, in a runtime of one thread whose time is paused: all chance is `rng`'s, the
    /// time of day is `time` now, and blocking work begins after at most so many milliseconds, which may be changed later: that is how slow its disk is.
    #[must_use]
    pub fn simulated(
        net: Net,
        disk: Arc<dyn Disk>,
        time: UnixMillis,
        rng: Rng,
        pool_wait_max_ms: Arc<AtomicU32>,
    ) -> Self {
        let steady = SteadyClock::new();
        let tasks = Tasks::simulated(rng.clone(), pool_wait_max_ms);
        Self { disk, clock: Clock::starting_at(steady.clone(), time), steady, net, rng, tasks }
    }

    /// The same with a gate that all connections pass.
    #[must_use]
    pub fn behind(self, gate: Gate) -> Self {
        Self { net: Net::behind(gate), ..self }
    }
}
