//! The handle of a cluster: which broker to ask, and when to ask again.
//!
//! Brokers are spoken to at the addresses that they give themselves; the addresses that a user gives are only where the
//! first question goes, and where it goes again when no broker that is known answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::address::Address;
use super::connection::Connection;
use super::error::ClientError;
use super::metadata::{self, Metadata, Topics};
use super::refusal::check;
use crate::env::Env;
use crate::model::{BrokerId, Instant};
use crate::wire::messages::{FindCoordinatorRequest, MetadataRequest};
use crate::wire::{ApiKey, Request, Text};

/// How a cluster is spoken to.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Where to begin.
    pub bootstrap: Vec<Address>,
    /// What the brokers' logs and quotas call this client.
    pub client_id: String,
    /// How long a connection may take to be there and to say what the broker speaks.
    pub connect_timeout: Duration,
    /// How long one answer may take.
    pub request_timeout: Duration,
    /// How long one operation may take with all its repetitions.
    pub operation_timeout: Duration,
}

impl ClusterOptions {
    /// Apache Kafka's times, but for a shorter patience with connections.
    #[must_use]
    pub fn new(bootstrap: Vec<Address>) -> Self {
        Self {
            bootstrap,
            client_id: "ottla".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(60),
        }
    }
}

/// A cluster. Clones share connections and what is known.
#[derive(Clone, Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    env: Env,
    options: ClusterOptions,
    /// What was last heard of brokers; the topics are not kept.
    known: Mutex<Metadata>,
    connections: Mutex<BTreeMap<Address, Slot>>,
    /// How often something was repeated: each time somebody else may know more.
    repeated: AtomicUsize,
}

/// Held while a connection is made, so that two who want it do not make two.
type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

/// Who is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any broker.
    Any,
    /// The broker that changes go to.
    Controller,
    /// A certain broker.
    Node(BrokerId),
}

/// What a coordinator coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatorKind {
    /// A consumer group.
    Group,
    /// A transactional producer.
    Transaction,
}

impl Cluster {
    /// Connects to one of the bootstrap addresses and asks which brokers there are.
    ///
    /// # Errors
    /// Of the last address, if none of them answers.
    pub async fn connect(env: Env, options: ClusterOptions) -> Result<Self, ClientError> {
        let (known, connections) = (Mutex::default(), Mutex::default());
        let shared = Shared { env, options, known, connections, repeated: AtomicUsize::new(0) };
        let cluster = Self { shared: Arc::new(shared) };
        cluster.refresh().await?;
        Ok(cluster)
    }

    /// The machine that it runs on.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.shared.env
    }

    /// How it is spoken to.
    #[must_use]
    pub fn options(&self) -> &ClusterOptions {
        &self.shared.options
    }

    /// The brokers as they were last heard of.
    #[must_use]
    pub fn known(&self) -> Metadata {
        self.shared.known.lock().clone()
    }

    /// When an operation that begins now has to have ended.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.shared.env.steady.now().plus(self.shared.options.operation_timeout)
    }

    /// Asks for brokers and topics. Does not repeat anything.
    ///
    /// # Errors
    /// When no broker answers, or one refuses.
    pub async fn metadata(&self, topics: Topics<'_>) -> Result<Metadata, ClientError> {
        let make = |version| metadata::request(topics, version);
        let response = self.request_with::<MetadataRequest>(Target::Any, i16::MAX, make).await?;
        let metadata = Metadata::of(&response);
        if !metadata.brokers.is_empty() {
            *self.shared.known.lock() = Metadata { topics: Vec::new(), ..metadata.clone() };
        }
        Ok(metadata)
    }

    /// Asks for the brokers anew.
    ///
    /// # Errors
    /// As [`metadata`](Self::metadata).
    pub async fn refresh(&self) -> Result<(), ClientError> {
        self.metadata(Topics::None).await.map(drop)
    }

    /// Sends a request once, in the highest version that both sides speak.
    ///
    /// # Errors
    /// When the broker cannot be spoken to or the answer cannot be read. Error codes in it are the caller's business.
    pub async fn request<R: Request>(
        &self,
        target: Target,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        let connection = self.connection(target).await?;
        let version = connection.version_up_to(R::KEY, i16::MAX)?;
        connection.call(version, request, self.shared.options.request_timeout).await
    }

    /// Sends a request once that depends on the version: the highest one up to `max_version` that both sides speak.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn request_with<R: Request>(
        &self,
        target: Target,
        max_version: i16,
        make: impl FnOnce(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let connection = self.connection(target).await?;
        let version = connection.version_up_to(R::KEY, max_version)?;
        connection.call(version, &make(version), self.shared.options.request_timeout).await
    }

    /// The broker that coordinates a group or a transactional producer. Repeats until there is one.
    ///
    /// # Errors
    /// When there is none within the time of an operation.
    pub async fn coordinator(
        &self,
        kind: CoordinatorKind,
        key: &str,
    ) -> Result<BrokerId, ClientError> {
        self.retry(async || self.find_coordinator(kind, key).await).await
    }

    /// The same, asked once.
    ///
    /// # Errors
    /// When there is none at present, or nobody answers.
    pub(super) async fn find_coordinator(
        &self,
        kind: CoordinatorKind,
        key: &str,
    ) -> Result<BrokerId, ClientError> {
        let (key_type, what) = match kind {
            CoordinatorKind::Group => (0, "group"),
            CoordinatorKind::Transaction => (1, "transactional id"),
        };
        let make = |version| {
            let request = FindCoordinatorRequest::default().with_key_type(key_type);
            let key = Text::from_string(key.to_owned());
            if version >= KEYS_SINCE {
                request.with_coordinator_keys(vec![key])
            } else {
                request.with_key(key)
            }
        };
        let response = self.request_with(Target::Any, i16::MAX, make).await?;
        let subject = || format!("the coordinator of {what} '{key}'");
        let (code, message, node) = match response.coordinators.first() {
            Some(found) => (found.error_code, &found.error_message, found.node_id),
            None => (response.error_code, &response.error_message, response.node_id),
        };
        check(ApiKey::FindCoordinator, code, subject, message.as_deref())?;
        let node = BrokerId(node.0);
        if self.shared.known.lock().broker(node).is_none() {
            self.refresh().await?;
        }
        Ok(node)
    }

    /// Runs an operation again and again, with growing pauses, while its error is one that may pass and there is time.
    ///
    /// # Errors
    /// The last error of the operation.
    pub async fn retry<T>(
        &self,
        operation: impl AsyncFn() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let deadline = self.deadline();
        let mut pause = PAUSE_FIRST;
        loop {
            let error = match operation().await {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            if !error.is_retriable() || !self.pause(&mut pause, deadline).await {
                return Err(error);
            }
            tracing::debug!(%error, "asked again");
            // What has changed is often who is to be asked.
            if let Err(error) = self.refresh().await {
                tracing::debug!(%error, "the brokers could not be asked for");
            }
        }
    }

    /// Waits a moment, longer each time; false if there is no time left for that.
    pub(super) async fn pause(&self, pause: &mut Duration, deadline: Instant) -> bool {
        let env = &self.shared.env;
        // A fifth of chance, so that clients that failed together do not come back together.
        let jitter = pause.mul_f64(f64::from(env.rng.below(400)) / 1000.0);
        let wait = pause.mul_f64(0.8) + jitter;
        let until = env.steady.now().plus(wait);
        if until > deadline {
            return false;
        }
        env.steady.sleep_until(until).await;
        self.shared.repeated.fetch_add(1, Ordering::Relaxed);
        *pause = (*pause * 2).min(PAUSE_MAX);
        true
    }

    /// A connection to who is to answer, made if there is none.
    ///
    /// # Errors
    /// When there is no such broker, or it cannot be connected to.
    pub async fn connection(&self, target: Target) -> Result<Connection, ClientError> {
        let known = self.known();
        match target {
            Target::Node(id) => {
                let node = known.broker(id).ok_or(ClientError::NoSuchBroker { node: id })?;
                self.connection_to(&node.address).await
            }
            Target::Controller if known.controller.is_some_and(|id| known.broker(id).is_some()) => {
                let id = known.controller.unwrap_or_default();
                Box::pin(self.connection(Target::Node(id))).await
            }
            Target::Any | Target::Controller => self.any_connection(&known).await,
        }
    }

    /// A connection that is there; else one to any broker that is known; else to where we began. Once something had to be
    /// repeated, brokers are asked in turn: one that is cut off from the others goes on telling what it knew.
    async fn any_connection(&self, known: &Metadata) -> Result<Connection, ClientError> {
        let repeated = self.shared.repeated.load(Ordering::Relaxed);
        let next = repeated.checked_rem(known.brokers.len()).filter(|_| repeated > 0);
        if let Some(node) = next.and_then(|next| known.brokers.get(next))
            && let Ok(connection) = self.connection_to(&node.address).await
        {
            return Ok(connection);
        }
        let slots: Vec<_> = self.shared.connections.lock().values().cloned().collect();
        for slot in slots {
            let open = slot.lock().await.clone().filter(|connection| !connection.is_closed());
            if let Some(connection) = open {
                return Ok(connection);
            }
        }
        let addresses = known.brokers.iter().map(|node| &node.address);
        let mut trouble = None;
        for address in addresses.chain(&self.shared.options.bootstrap) {
            match self.connection_to(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => trouble = Some(error),
            }
        }
        Err(trouble.unwrap_or(ClientError::NoSuchBroker { node: BrokerId(-1) }))
    }

    async fn connection_to(&self, address: &Address) -> Result<Connection, ClientError> {
        let slot = Arc::clone(self.shared.connections.lock().entry(address.clone()).or_default());
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let options = &self.shared.options;
        let opened = Connection::open(
            &self.shared.env,
            address,
            &options.client_id,
            options.connect_timeout,
        );
        let connection = opened.await?;
        *slot = Some(connection.clone());
        Ok(connection)
    }
}

/// Since when FindCoordinator asks for several at once.
const KEYS_SINCE: i16 = 4;
/// The pause before the first repetition.
pub(super) const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
