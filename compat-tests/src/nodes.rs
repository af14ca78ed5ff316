//! Three Ottla processes that are one cluster, each broker and controller.

use anyhow::{Context, Result};

use crate::server::{Server, ServerKind, free_address};

/// How many nodes there are, and replicas of each topic.
pub const NODES: usize = 3;

/// Nodes with the ids 1, 2 and 3, each a process with a directory and an address of its own. All end with the value.
#[derive(Debug)]
pub struct Nodes {
    all: Vec<Server>,
    bootstrap: String,
}

impl Nodes {
    /// Starts three nodes with `configs` (`key=value`) beside those that make them a cluster, and waits until each serves clients.
    ///
    /// Topics get three replicas, of which two have to have what is acknowledged.
    ///
    /// # Errors
    /// When one of them does not start; the error holds the end of its log.
    pub fn start(configs: &[&str]) -> Result<Self> {
        let voters: Vec<String> =
            (1..=NODES).map(|id| Ok(format!("{id}@{}", free_address()?))).collect::<Result<_>>()?;
        let voters = format!("controller.quorum.voters={}", voters.join(","));
        let mut all =
            (1..=NODES).map(|id| node(id, &voters, configs)).collect::<Result<Vec<_>>>()?;
        // None of them serves before the others run.
        all.iter_mut().try_for_each(Server::spawn)?;
        all.iter_mut().try_for_each(Server::wait)?;
        let addresses: Vec<&str> = all.iter().map(Server::bootstrap).collect();
        let bootstrap = addresses.join(",");
        Ok(Self { all, bootstrap })
    }

    /// The addresses of all nodes, with commas between them.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The node with that `node.id`.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&mut self, id: i32) -> Result<&mut Server> {
        let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
        index.and_then(|index| self.all.get_mut(index)).with_context(|| format!("no node {id}"))
    }
}

fn node(id: usize, voters: &str, configs: &[&str]) -> Result<Server> {
    let id = format!("node.id={id}");
    let own = [
        &id,
        voters,
        "process.roles=broker,controller",
        "default.replication.factor=3",
        "min.insync.replicas=2",
        "offsets.topic.num.partitions=3",
    ];
    Server::new(ServerKind::Ottla, &free_address()?, None, &[&own, configs].concat())
}
