//! A cluster of several nodes in one process, whose nodes can be killed, stopped, started, paused and cut off: `ottla dev`.
//!
//! Owns where the nodes are and what each is told; [`node`] owns the life of one, `control.rs` what is said over HTTP. The nodes
//! are brokers as `ottla serve` starts them, each with a disk, tasks and connections of its own.
//!
//! **Invariants:** a node keeps its ports and its disk, whatever is done to it. What was done has happened when the answer comes,
//! except that a start is not waited for if too few nodes are there for it to come to an end.

mod control;
mod node;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::node::{Action, Refused, State};
use self::node::{Life, Node};
use crate::broker::BrokerOptions;
use crate::env::{Disk, Env, Listener, Reserved};

/// How long the answer to a start waits for the node to serve.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// The ports of one node.
#[derive(Debug)]
pub struct Place {
    /// For clients.
    kafka: Reserved,
    /// For the other nodes.
    nodes: Reserved,
}

impl Place {
    /// Where clients reach the node.
    #[must_use]
    pub const fn kafka(&self) -> SocketAddr {
        self.kafka.address()
    }
}

/// Keeps ports for `count` nodes: clients reach the first at `host:port`, the others at the ports after it; port 0 means any
/// free ones. The nodes reach each other at free ports of the same host.
///
/// # Errors
/// The address that cannot be used, and why.
pub async fn reserve(
    env: &Env,
    host: &str,
    port: u16,
    count: u16,
) -> Result<Vec<Place>, (String, io::Error)> {
    let mut places = Vec::new();
    for number in 0..count {
        let kafka = if port == 0 { 0 } else { port.saturating_add(number) };
        let refused = |error| (format!("{host}:{kafka}"), error);
        places.push(Place {
            kafka: env.net.reserve(host, kafka).await.map_err(refused)?,
            nodes: env.net.reserve(host, 0).await.map_err(refused)?,
        });
    }
    Ok(places)
}

/// What makes a node one of those at `places`, as it would stand in its configuration. Nodes count from 1.
#[must_use]
pub fn settings(places: &[Place], id: usize) -> Vec<String> {
    let numbered = (1..).zip(places);
    let voter = |(id, place): (usize, &Place)| format!("{id}@{}", place.nodes.address());
    let voters: Vec<String> = numbered.map(voter).collect();
    vec![
        format!("node.id={id}"),
        format!("listeners=PLAINTEXT://{}", places[id - 1].kafka()),
        "ottla.http.listener=off".to_owned(),
        "process.roles=broker,controller".to_owned(),
        format!("controller.quorum.voters={}", voters.join(",")),
    ]
}

/// What a node is made of.
#[derive(Debug)]
pub struct Seat {
    /// Its ports.
    pub place: Place,
    /// Where its files are. They stay when it is killed.
    pub disk: Arc<dyn Disk>,
    /// How it is started.
    pub options: BrokerOptions,
}

/// The nodes. Clones are the same.
#[derive(Clone, Debug)]
pub struct Nodes {
    env: Env,
    all: Arc<Vec<Node>>,
}

impl Nodes {
    /// Starts all nodes at once. They serve when this returns. `env` is of the process, not of a node.
    ///
    /// # Errors
    /// Why a node did not start, in one line for a person. The others are killed.
    pub async fn start(env: &Env, seats: Vec<Seat>) -> Result<Self, String> {
        let node = |(id, seat): (usize, Seat)| Life::begin(env, id, seat);
        let all = (1..).zip(seats).map(node).collect();
        let nodes = Self { env: env.clone(), all: Arc::new(all) };
        for node in nodes.all.iter() {
            node.act(Action::Start).await.map_err(|refused| refused.to_string())?;
        }
        for node in nodes.all.iter() {
            if let State::Failed(reason) = node.started().await {
                nodes.end(false).await;
                return Err(format!("node {} does not start: {reason}", node.id()));
            }
        }
        Ok(nodes)
    }

    /// Does something to a node, and says how it is then. One that is started and does not serve after some seconds, because
    /// too few others are there, is still [`State::Starting`].
    ///
    /// # Errors
    /// [`Refused`], if that cannot be done now. None if there is no such node.
    pub async fn act(&self, id: usize, action: Action) -> Option<Result<State, Refused>> {
        let node = self.node(id)?;
        let done = node.act(action).await;
        if action != Action::Start || done.is_err() {
            return Some(done);
        }
        let deadline = self.env.steady.now().plus(START_PATIENCE);
        let started = self.env.steady.timeout_at(deadline, node.started()).await;
        Some(Ok(started.unwrap_or(State::Starting)))
    }

    /// How a node is, if there is one.
    #[must_use]
    pub fn state(&self, id: usize) -> Option<State> {
        self.node(id).map(Node::state)
    }

    /// Where clients reach the nodes, first to last.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.all.iter().map(Node::kafka).collect()
    }

    /// Serves the control from this listener until the process's tasks are cancelled.
    pub fn serve_control(&self, listener: Listener) {
        control::serve(&self.env, listener, self.clone());
    }

    /// Ends all nodes, in good order if their files are kept.
    pub async fn end(&self, is_kept: bool) {
        let action = if is_kept { Action::Stop } else { Action::Kill };
        for node in self.all.iter() {
            // One that is down already is as it should be; one that is paused cannot be ended in good order.
            if node.act(action).await.is_err() && !node.state().is_down() {
                drop(node.act(Action::Kill).await);
            }
        }
    }

    fn node(&self, id: usize) -> Option<&Node> {
        self.all.get(id.checked_sub(1)?)
    }
}
