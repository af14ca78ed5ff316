//! Three processes that are one cluster, each broker and controller: of Ottla, or of Apache Kafka to compare with.

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

/// Processes whose voters may come and go: each is named to the others as a server, and as nothing more (KIP-853).
#[derive(Debug)]
pub struct Voters {
    all: Vec<Server>,
    servers: String,
}

impl Nodes {
    /// Starts three nodes of Ottla with `configs` (`key=value`) beside those that make them a cluster, and waits until each
    /// serves clients.
    ///
    /// Topics get three replicas, of which two have to have what is acknowledged.
    ///
    /// # Errors
    /// When one of them does not start; the error holds the end of its log.
    pub fn start(configs: &[&str]) -> Result<Self> {
        let own = [
            "default.replication.factor=3",
            "min.insync.replicas=2",
            "offsets.topic.num.partitions=3",
        ];
        Self::start_as(ServerKind::Ottla, &[&own, configs].concat())
    }

    /// Starts three nodes of a kind with `configs` and what makes them a cluster, nothing more.
    ///
    /// # Errors
    /// When one of them does not start; the error holds the end of its log.
    pub fn start_as(kind: ServerKind, configs: &[&str]) -> Result<Self> {
        let addresses: Vec<_> = (0..NODES).map(|_| free_address()).collect::<Result<_>>()?;
        let voters = (1..).zip(&addresses).map(|(id, address)| format!("{id}@{address}"));
        let voters: Vec<_> = voters.collect();
        let voters = format!("controller.quorum.voters={}", voters.join(","));
        let nodes = (1..).zip(&addresses).map(|(id, address)| {
            let id = format!("node.id={id}");
            let own = [&id, &voters, "process.roles=broker,controller"];
            let mut node = Server::new(kind, &free_address()?, None, &[&own, configs].concat())?;
            node.join(address)?;
            Ok(node)
        });
        let mut all = nodes.collect::<Result<Vec<_>>>()?;
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

impl Voters {
    /// Starts three nodes of Ottla, which become the voters of a new cluster.
    ///
    /// # Errors
    /// When one of them does not start; the error holds the end of its log.
    pub fn start() -> Result<Self> {
        let addresses: Vec<_> = (0..NODES).map(|_| free_address()).collect::<Result<_>>()?;
        let mut nodes = Self { all: Vec::new(), servers: addresses.join(",") };
        addresses.iter().try_for_each(|address| nodes.spawn(address))?;
        nodes.all.iter_mut().try_for_each(Server::wait)?;
        Ok(nodes)
    }

    /// Starts one node more, which reads along; gives where other nodes reach it.
    ///
    /// # Errors
    /// When it does not start; the error holds the end of its log.
    pub fn start_another(&mut self) -> Result<String> {
        let address = free_address()?;
        self.spawn(&address)?;
        self.all.last_mut().context("one was started")?.wait()?;
        Ok(address)
    }

    /// Has the node that was started last come back where no other node is told to look for it; gives where that is.
    ///
    /// # Errors
    /// When it does not end or start; the error holds the end of its log.
    pub fn move_last(&mut self) -> Result<String> {
        let address = free_address()?;
        let node = self.all.last_mut().context("one was started")?;
        node.kill()?;
        let listeners =
            format!("listeners=PLAINTEXT://{},CONTROLLER://{address}", node.bootstrap());
        node.configure(&listeners);
        node.restart()?;
        Ok(address)
    }

    /// The node with the id 1, which runs all the time.
    #[must_use]
    pub fn first(&self) -> &Server {
        &self.all[0]
    }

    /// The node that was started last.
    #[must_use]
    pub fn last(&self) -> &Server {
        &self.all[self.all.len() - 1]
    }

    fn spawn(&mut self, address: &str) -> Result<()> {
        let own = free_address()?;
        let configs = [
            format!("node.id={}", self.all.len() + 1),
            format!("listeners=PLAINTEXT://{own},CONTROLLER://{address}"),
            format!("controller.quorum.bootstrap.servers={}", self.servers),
            "process.roles=broker,controller".to_owned(),
        ];
        let configs: Vec<&str> = configs.iter().map(String::as_str).collect();
        let mut node = Server::new(ServerKind::Ottla, &own, None, &configs)?;
        node.spawn()?;
        self.all.push(node);
        Ok(())
    }
}
