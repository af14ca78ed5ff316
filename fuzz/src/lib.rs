//! What must hold for any bytes: of clients, and of files that a crash or a failing disk has left behind.
//!
//! Each target is one function of an input that panics when a property does not hold. The runner (`main.rs`) feeds
//! it.

pub mod frame;
pub mod request;
pub mod batch;
pub mod thin;
pub mod recovery;
pub mod directory;
mod damage;
mod input;
pub mod memory;
pub mod verdict;

/// One thing to be fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line and in paths.
    pub name: &'static str,
    /// Runs one input, and leaves a [`verdict`].
    pub run: fn(&[u8]),
    /// Inputs to begin with, all of which are accepted.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "frame", run: frame::run, seeds: frame::seeds },
    Target { name: "request", run: request::run, seeds: request::seeds },
    Target { name: "batch", run: batch::run, seeds: batch::seeds },
    Target { name: "thin", run: thin::run, seeds: thin::seeds },
    Target { name: "recovery", run: recovery::run, seeds: recovery::seeds },
    Target { name: "directory", run: directory::run, seeds: directory::seeds },
];
