//! A node of a cluster of several: where the others reach it, how it gets the state, and how it leaves.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{BrokerOptions, Founded, StartError, backlog};

use crate::api::{Services, View};
use crate::cluster::{ClusterImage, Command, Endpoint, Outcome};
use crate::config::{BrokerConfig, QuorumConfig, host_and_port};
use crate::controller::{Joining, Lifecycle, Quorum as _, RaftQuorum, Session, join};
use crate::env::{BoxStream, Env, Listener, host_name};
use crate::log::{DataDirs, TakenDirs};
use crate::model::{BrokerId, UuidText};
use crate::net::{ListenError, Server};
use crate::replica::{Proposer, ReplicaManager};

/// How long a stop waits for others to lead what this broker leads.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(5);

/// What a broker has besides in a cluster of several nodes.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) quorum: Arc<RaftQuorum>,
    pub(super) lifecycle: Lifecycle,
}

/// Clients that may wait at the controller's listener until it serves them.
const CLIENTS_WAITING_MAX: usize = 16;

/// Where other nodes come to.
#[derive(Debug)]
pub(super) struct NodeListener {
    listener: Listener,
    /// What they are told, `host:port`.
    address: String,
    /// Where the clients go that come there, if this node is a controller.
    clients: Option<mpsc::Sender<BoxStream>>,
}

/// What comes to the listener of nodes and is none.
#[derive(Debug)]
pub(super) struct ControllerClients {
    /// Where they come to.
    pub(super) address: SocketAddr,
    /// They.
    pub(super) streams: mpsc::Receiver<BoxStream>,
}

/// Binds the listener for other nodes: that of the controller if there is one, else the address that
/// `controller.quorum.voters` has for this node. A node that does not vote can be reached at any port. Clients come to that of a
/// controller, too.
pub(super) async fn bind(
    server: &Server,
    config: &BrokerConfig,
    quorum: &QuorumConfig,
) -> Result<(NodeListener, Option<ControllerClients>), ListenError> {
    let advertised = config.advertised_controller.as_ref().filter(|_| quorum.is_dynamic());
    let advertised = advertised
        .and_then(|listener| Some(host_and_port(listener.host.as_deref()?, listener.port)));
    let told = quorum.address(config.node_id).map(str::to_owned).or(advertised);
    let told_host_and_port = told.as_ref().and_then(|address| {
        let (host, port) = address.rsplit_once(':')?;
        Some((host.to_owned(), port.parse().ok()?))
    });
    let (host, port) = match config.controller_listeners.first() {
        Some(listener) => (listener.host.clone().unwrap_or_default(), listener.port),
        None => told_host_and_port.unwrap_or_else(|| {
            let first = config.listeners.first().and_then(|listener| listener.host.clone());
            (first.unwrap_or_default(), 0)
        }),
    };
    let bound =
        server.bind(&host, port, backlog(config), "controller.quorum.voters or listeners").await?;
    let fallback = || host_and_port(&reachable(&host), bound.local_address().port());
    let address = told.unwrap_or_else(fallback);
    let (sender, streams) = mpsc::channel(CLIENTS_WAITING_MAX);
    let is_controller = config.roles.is_controller();
    let clients =
        is_controller.then(|| ControllerClients { address: bound.local_address(), streams });
    let sender = is_controller.then_some(sender);
    Ok((NodeListener { listener: bound, address, clients: sender }, clients))
}

/// A host by which others reach a listener that is bound to `host`: that, or the name of this machine.
fn reachable(host: &str) -> String {
    match host {
        "" | "0.0.0.0" | "::" => host_name(),
        host => host.to_owned(),
    }
}

/// What others are told of this broker's listeners: what is advertised, else where they are bound. (Apache Kafka does the same.)
pub(super) fn endpoints(
    config: &BrokerConfig,
    bound: &[(Arc<str>, SocketAddr)],
) -> BTreeMap<Arc<str>, (String, u16)> {
    let mut endpoints = super::advertised(config);
    for (listener, (name, address)) in config.listeners.iter().zip(bound) {
        let host = || reachable(listener.host.as_deref().unwrap_or_default());
        endpoints.entry(Arc::clone(name)).or_insert_with(|| (host(), address.port()));
    }
    endpoints
}

/// The same, as it is registered.
pub(super) fn registered(endpoints: &BTreeMap<Arc<str>, (String, u16)>) -> Vec<Endpoint> {
    let endpoint = |(listener, (host, port)): (&Arc<str>, &(String, u16))| Endpoint {
        listener: listener.to_string(),
        host: host.clone(),
        port: *port,
    };
    endpoints.iter().map(endpoint).collect()
}

/// Finds the cluster or begins it, and waits for its state.
pub(super) async fn found(
    env: &Env,
    options: &BrokerOptions,
    (quorum, listener): (&QuorumConfig, NodeListener),
    incarnation: UuidText,
) -> Result<Founded, StartError> {
    let config = options.settings.broker();
    let disk = Arc::clone(&env.disk);
    let paths = match config.roles.is_broker() {
        true => options.data.clone(),
        false => options.data.of_metadata(),
    };
    let taken = env.tasks.spawn_blocking("open-data", move || TakenDirs::take(&disk, &paths));
    let joining = Joining {
        node_id: config.node_id,
        cluster_id: config.cluster_id.clone(),
        quorum: quorum.clone(),
        listener: listener.listener,
        clients: listener.clients,
        address: listener.address,
        incarnation,
    };
    let (raft, data) = join(env, joining, taken.await?).await?;
    let raft = Arc::new(raft);
    let state = raft.catch_up().await?;
    Ok(Founded {
        data,
        image: state.image,
        index: state.index,
        applied: None,
        quorum: Arc::clone(&raft) as Arc<_>,
        raft: Some(raft),
    })
}

/// The epoch that the last stop of a broker left as a proof that nothing was lost: in all its directories, or it is none.
pub(super) fn clean_epoch(data: &DataDirs) -> Option<i64> {
    if data.any_offline() {
        return None;
    }
    let mut epochs = data.live().map(|(_, dir)| dir.clean_epoch());
    let first = epochs.next().flatten()?;
    epochs.all(|epoch| epoch == Some(first)).then_some(first)
}

/// The replicas' way to the controller.
#[derive(Debug)]
struct Proposals(Arc<RaftQuorum>);

impl Proposer for Proposals {
    fn propose(
        &self,
        commands: Vec<Command>,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Outcome>, String>> + Send + '_>> {
        Box::pin(async move {
            let proposed = self.0.propose(commands).await;
            proposed.map(|proposed| proposed.outcomes).map_err(|error| error.to_string())
        })
    }
}

/// Tells the replicas for how long the leader of the quorum counts this broker as living (R16 of the replication design).
async fn tell_session(env: Env, replicas: Arc<ReplicaManager>, mut session: Session) {
    let mut watched = session.clone();
    loop {
        replicas.set_session_end(session.end());
        tokio::select! {
            changed = session.changed() => if !changed { return },
            () = async {
                watched.over().await;
                replicas.session_is_over();
                std::future::pending().await
            } => {}
            () = env.tasks.cancelled() => return,
        }
    }
}

/// How far the partitions of this broker have come, and with which state.
fn applied(view: &View) -> (u64, &ClusterImage) {
    (view.index, &view.image)
}

/// Begins to follow and to lead, tells the others that the broker lives and can serve, and waits until it may.
pub(super) async fn serve(
    env: &Env,
    raft: &Arc<RaftQuorum>,
    services: &Services,
) -> Result<Membership, StartError> {
    let (broker, epoch) = (services.broker, services.broker_epoch);
    services.replicas.start_replication(epoch, Arc::new(Proposals(Arc::clone(raft))));
    let lifecycle = Lifecycle::start(raft, (broker, epoch), services.view.clone(), applied);
    let told = tell_session(env.clone(), Arc::clone(&services.replicas), lifecycle.session());
    env.tasks.spawn("session", told);
    lifecycle.ready();
    let mut view = services.view.clone();
    let may_serve = |view: &View| view.image.broker(broker).is_some_and(|own| own.serves(epoch));
    let serves = view.wait_for(may_serve).await.map(drop);
    serves.map_err(|_| StartError::Register("the metadata task has ended".to_owned()))?;
    // The next heartbeat brings it into session: no need to wait for its time.
    lifecycle.ready();
    Ok(Membership { quorum: Arc::clone(raft), lifecycle })
}

/// Has others lead what this broker leads, as far as there are others in sync.
pub(super) async fn hand_over(env: &Env, services: &Services, membership: &Membership) {
    let (broker, broker_epoch) = (services.broker, services.broker_epoch);
    let mut view = services.view.clone();
    let handed_over = async {
        let command = Command::BeginShutdown { broker, broker_epoch };
        if let Err(error) = membership.quorum.propose(vec![command]).await {
            tracing::warn!(%error, "the other brokers are not told of the stop");
            return;
        }
        // If the view ends, so does the broker.
        drop(view.wait_for(|view| !leads_for_others(&view.image, broker)).await);
        // It is not told of to clients any more, as it would be until somebody notices that it is gone.
        let fence = vec![Command::FenceBroker { broker, broker_epoch }];
        // Where this node leads the quorum, the others hear what was agreed on with what comes after it. Those without whom nothing
        // can be agreed on would not hear it from anyone else.
        for commands in [fence, Vec::new()] {
            if let Err(error) = membership.quorum.propose(commands).await {
                tracing::debug!(%error, "the other brokers have to notice that this one is gone");
                return;
            }
        }
    };
    let mut session = membership.lifecycle.session();
    let deadline = env.steady.now().plus(HAND_OVER_PATIENCE);
    let waited = env.steady.timeout_at(deadline, async {
        tokio::select! {
            () = handed_over => {}
            // Nobody decides any more, so that there is nothing to wait for.
            () = session.over() => {}
            // It cannot go on. Without Raft, say, it would never hear that others lead, and lead on.
            () = env.tasks.failure() => {}
        }
    });
    if waited.await.is_err() {
        tracing::warn!("stopping, though this broker leads partitions that others could lead");
    }
}

fn leads_for_others(image: &ClusterImage, broker: BrokerId) -> bool {
    image.topics().flat_map(|topic| &topic.partitions).any(|partition| {
        partition.leader == Some(broker) && partition.isr.iter().any(|other| *other != broker)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    /// Clients look a host up as it is told: brackets belong to addresses with a port.
    #[test]
    fn hosts_are_told_without_brackets() {
        for host in ["[::1]", "127.0.0.1"] {
            let options = [format!("listeners=PLAINTEXT://{host}:9092")];
            let config = load(Sources { options: &options, ..Sources::default() }).unwrap().broker;
            let bound = [(Arc::from("PLAINTEXT"), format!("{host}:9092").parse().unwrap())];
            let told = endpoints(&config, &bound);
            let expected = (host.trim_matches(['[', ']']).to_owned(), 9092);
            assert_eq!(told["PLAINTEXT"], expected);
        }
    }
}
