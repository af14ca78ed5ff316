//! What a handler knows: the broker, the connection, the request's header.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI16, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::authorizer::{Authorizer, Operation, Resource};
use super::connections::{Connections, Place};
use super::endpoints::Advertised;
use super::fetch_session::FetchSessions;
use super::producer_ids::ProducerIds;
use crate::cluster::{ClusterImage, Command, Outcome};
use crate::config::Effective;
use crate::controller::{Quorum, QuorumError};
use crate::coordinator::{Coordinator, Others};
use crate::env::Env;
use crate::group::GroupShard;
use crate::model::{BrokerId, ErrorCode, Instant};
use crate::replica::ReplicaManager;
use crate::telemetry::{Metrics, Phase};
use crate::txn::{MarkerWriter, TransactionShard};
use crate::wire::{ApiKey, RequestHeader, Text};

/// How long a request waits to be decided by what was agreed on before.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(5);

/// One broker, as its handlers see it.
#[derive(Debug)]
pub struct Services {
    /// What the broker takes from its machine.
    pub env: Env,
    /// Its id.
    pub broker: BrokerId,
    /// Its epoch, given when it registered.
    pub broker_epoch: i64,
    /// The cluster's state, as far as this broker has taken note of it.
    pub view: watch::Receiver<View>,
    /// Where changes of that state are proposed.
    pub quorum: Arc<dyn Quorum>,
    /// Its partitions.
    pub replicas: Arc<ReplicaManager>,
    /// The groups that it coordinates.
    pub groups: Arc<Coordinator<GroupShard>>,
    /// The transactions that it coordinates.
    pub transactions: Arc<Coordinator<TransactionShard>>,
    /// Writes the markers that end transactions.
    pub markers: Arc<MarkerWriter>,
    /// The other brokers, as coordinators need them.
    pub others: Arc<Others>,
    /// Its incremental fetch sessions.
    pub sessions: FetchSessions,
    /// Producer ids that it may give out.
    pub producer_ids: ProducerIds,
    /// What clients are told to connect to.
    pub advertised: Advertised,
    /// The clients that are connected.
    pub connections: Connections,
    /// What was done, counted.
    pub metrics: Arc<Metrics>,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
}

/// The cluster's state after one entry of the metadata log.
#[derive(Clone, Debug)]
pub struct View {
    /// Index of the entry.
    pub index: u64,
    /// The state.
    pub image: Arc<ClusterImage>,
    /// The configuration that is in force with it.
    pub settings: Arc<Effective>,
}

/// What a client has connected to (KIP-919).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointType {
    /// A listener for clients.
    Broker,
    /// The controller's listener, for tools that see to the cluster.
    Controller,
}

/// A connection, as handlers see it.
#[derive(Debug)]
pub struct ConnectionContext {
    /// What accepted it.
    pub endpoint: EndpointType,
    /// Name of the listener that accepted it.
    pub listener: Arc<str>,
    /// Our address, as the client dialled it.
    pub local: SocketAddr,
    /// The client's address.
    pub peer: SocketAddr,
    /// The client's host, spelled as Kafka does: `/127.0.0.1`.
    pub client_host: Text,
    /// Who the client is; everybody is anonymous on a plaintext listener.
    pub principal: Arc<str>,
    /// Name and version of the client's library, once it has told (KIP-511).
    pub software: OnceLock<(Text, Text)>,
    /// What the client calls itself, once it has told; an empty name is none.
    pub client_id: OnceLock<Option<String>>,
    /// The key of the API that was last asked for, -1 before.
    last_api: AtomicI16,
    /// Its place among the open connections.
    _place: Place,
}

impl ConnectionContext {
    /// A connection whose client has not said anything yet.
    pub(super) fn new(
        (endpoint, listener): (EndpointType, Arc<str>),
        local: SocketAddr,
        peer: SocketAddr,
        place: Place,
    ) -> Self {
        let principal = Arc::from("User:ANONYMOUS");
        let client_host = Text::from_string(format!("/{}", peer.ip().to_canonical()));
        Self {
            endpoint,
            listener,
            local,
            peer,
            client_host,
            principal,
            software: OnceLock::new(),
            client_id: OnceLock::new(),
            last_api: AtomicI16::new(-1),
            _place: place,
        }
    }

    /// Takes note of a request.
    pub(super) fn note(&self, header: &RequestHeader) {
        // A copy: the text is part of the frame, which would stay with it.
        self.client_id.get_or_init(|| {
            header.client_id.as_ref().map(ToString::to_string).filter(|id| !id.is_empty())
        });
        self.last_api.store(header.api_key, Ordering::Relaxed);
    }

    /// What was last asked for.
    #[must_use]
    pub fn last_api(&self) -> Option<ApiKey> {
        ApiKey::from_code(self.last_api.load(Ordering::Relaxed))
    }

    /// The client's library, for messages.
    #[must_use]
    pub fn describe_client(&self) -> String {
        self.software
            .get()
            .map_or_else(|| "unknown".to_owned(), |(name, version)| format!("{name} {version}"))
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct RequestContext {
    pub(super) services: Arc<Services>,
    pub(super) connection: Arc<ConnectionContext>,
    pub(super) header: RequestHeader,
    /// When the phase has begun that the request is in.
    pub(super) phase_begun: Instant,
}

impl RequestContext {
    /// The request's version.
    pub(super) const fn version(&self) -> i16 {
        self.header.api_version
    }

    /// Counts a phase of the request that has begun at `since` and ends now; gives that moment, at which the next one begins.
    pub(super) fn end_phase(&self, phase: Phase, since: Instant) -> Instant {
        let now = self.services.env.steady.now();
        self.count_phase(phase, now.since(since));
        now
    }

    /// Counts how long the request was in a phase.
    pub(super) fn count_phase(&self, phase: Phase, duration: Duration) {
        if let Some(counts) = self.services.metrics.requests.of(self.header.api_key) {
            counts.phases.record(phase, duration);
        }
    }

    /// The cluster's state, as far as this broker has taken note of it.
    pub(super) fn image(&self) -> Arc<ClusterImage> {
        Arc::clone(&self.services.view.borrow().image)
    }

    /// Whether the client may do this.
    pub(super) fn authorize(&self, operation: Operation, resource: Resource<'_>) -> bool {
        debug_assert!(resource.operations().contains(&operation), "{operation:?} on {resource:?}");
        self.services.authorizer.allows(&self.connection.principal, operation, resource)
    }

    /// The operations that the client may do, as the protocol writes such a set.
    pub(super) fn authorized_operations(&self, resource: Resource<'_>) -> i32 {
        let allowed =
            resource.operations().iter().filter(|operation| self.authorize(**operation, resource));
        allowed.fold(0, |set, operation| set | 1 << operation.code())
    }

    /// The configuration that is in force.
    pub(super) fn settings(&self) -> Arc<Effective> {
        Arc::clone(&self.services.view.borrow().settings)
    }

    /// Waits until what was agreed on before is known here, so that what is decided goes by it, whichever broker the client has
    /// asked. For a while only: without a majority nothing that is decided comes to pass.
    pub(super) async fn catch_up(&self) {
        let caught_up = async {
            let Some(index) = self.services.quorum.agreed_on().await else { return };
            // If the view ends, so does the broker.
            drop(self.services.view.clone().wait_for(|view| view.index >= index).await);
        };
        let steady = &self.services.env.steady;
        let deadline = steady.now().plus(CATCH_UP_PATIENCE);
        if steady.timeout_at(deadline, caught_up).await.is_err() {
            tracing::debug!("deciding by what is known here: no majority says what was agreed on");
        }
    }

    /// Proposes commands and waits until they are applied here too, so that an answer and what follows it agree.
    pub(super) async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, ErrorCode> {
        let proposed =
            self.services.quorum.propose(commands).await.map_err(|error| match error {
                QuorumError::Stopped | QuorumError::NoLeader => ErrorCode::NotController,
                QuorumError::Unknown => ErrorCode::RequestTimedOut,
                QuorumError::Unwritable(_) => ErrorCode::KafkaStorageError,
            })?;
        let mut view = self.services.view.clone();
        let applied = view.wait_for(|view| view.index >= proposed.index).await;
        applied.map_err(|_| ErrorCode::NotController)?;
        Ok(proposed.outcomes)
    }
}
