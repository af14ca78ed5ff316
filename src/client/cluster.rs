//! The handle of a cluster: which broker to ask, and when to ask again.
//!
//! Brokers are spoken to at the addresses that they give themselves; the addresses that a user gives are only where the
//! first question goes, and where it goes again when no broker that is known answers.
//!
//! A broker may answer the requests of a connection one after the other, as Apache Kafka does: what waits for records, and
//! what has to be in time, have connections of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::address::Address;
use super::connection::Connection;
use super::error::ClientError;
use super::metadata::{self, Metadata, Topics};
use super::refusal::{Asked, check};
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
    connections: Mutex<BTreeMap<(Lane, Address), Slot>>,
    /// Who answered last, by what was asked.
    answered: Mutex<BTreeMap<ApiKey, Asked>>,
    /// How often something was repeated: each time somebody else may know more.
    repeated: AtomicUsize,
}

/// Held while a connection is made, so that two who want it do not make two.
type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Requests,
    Fetches,
    Members,
}

/// Who is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any broker.
    Any,
    /// The broker that changes go to.
    Controller,
    /// A certain broker.
    Node(BrokerId),
    /// A certain broker, by the connection for fetches, which may wait for records.
    Fetch(BrokerId),
    /// A certain broker, by the connection for what a member of a group says: its heartbeats wait neither for records nor for
    /// what is written.
    Coordinator(BrokerId),
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
        let shared = Shared {
            env,
            options,
            known: Mutex::default(),
            connections: Mutex::default(),
            answered: Mutex::default(),
            repeated: AtomicUsize::new(0),
        };
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
        self.call(&connection, version, request).await
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
        self.call(&connection, version, &make(version)).await
    }

    async fn call<R: Request>(
        &self,
        connection: &Connection,
        version: i16,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        let answer = connection.call(version, request, self.shared.options.request_timeout).await?;
        self.shared.answered.lock().insert(R::KEY, Asked::by(connection, version));
        Ok(answer)
    }

    /// Who answered last when this was asked.
    #[must_use]
    pub fn answered(&self, api: ApiKey) -> Option<Asked> {
        self.shared.answered.lock().get(&api).cloned()
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
        let mut outcome = operation().await;
        loop {
            let error = match outcome {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            if !error.is_retriable() || !self.pause(&mut pause, deadline).await {
                return Err(error);
            }
            tracing::debug!(%error, "asked again");
            let again = async {
                // What has changed is often who is to be asked.
                if let Err(error) = self.refresh().await {
                    tracing::debug!(%error, "the brokers could not be asked for");
                }
                operation().await
            };
            outcome = tokio::select! {
                again = again => again,
                () = self.shared.env.steady.sleep_until(deadline) => return Err(error),
            };
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
        let (lane, id) = match target {
            Target::Node(id) => (Lane::Requests, id),
            Target::Fetch(id) => (Lane::Fetches, id),
            Target::Coordinator(id) => (Lane::Members, id),
            Target::Controller => match known.controller.filter(|id| known.broker(*id).is_some()) {
                Some(id) => (Lane::Requests, id),
                None => return self.any_connection(&known).await,
            },
            Target::Any => return self.any_connection(&known).await,
        };
        let node = known.broker(id).ok_or(ClientError::NoSuchBroker { node: id })?;
        self.connection_to(lane, &node.address, self.shared.options.connect_timeout).await
    }

    /// A connection that is there; else one to any broker that is known; else to where we began. Once something had to be
    /// repeated, brokers are asked in turn: one that is cut off from the others goes on telling what it knew. Each has its
    /// share of the time of an operation, so that one that is silent does not take that of the others.
    async fn any_connection(&self, known: &Metadata) -> Result<Connection, ClientError> {
        let repeated = self.shared.repeated.load(Ordering::Relaxed);
        let next = repeated.checked_rem(known.brokers.len()).filter(|_| repeated > 0);
        let in_turn = next.and_then(|next| known.brokers.get(next)).map(|node| &node.address);
        let mut addresses: Vec<&Address> = Vec::new();
        let all = known.brokers.iter().map(|node| &node.address);
        for address in in_turn.into_iter().chain(all).chain(&self.shared.options.bootstrap) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let mut now = self.shared.env.steady.now();
        let deadline = now.plus(self.shared.options.operation_timeout);
        let mut trouble = None;
        for (index, address) in addresses.iter().enumerate() {
            if index == usize::from(in_turn.is_some())
                && let Some(connection) = self.open_connection()
            {
                return Ok(connection);
            }
            let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let share = deadline.since(now) / others;
            let patience = share.min(self.shared.options.connect_timeout);
            match self.connection_to(Lane::Requests, address, patience).await {
                Ok(connection) => return Ok(connection),
                Err(error) => trouble = Some(error),
            }
            now = self.shared.env.steady.now();
        }
        Err(trouble.unwrap_or(ClientError::NoSuchBroker { node: BrokerId(-1) }))
    }

    /// A connection for requests that is there.
    fn open_connection(&self) -> Option<Connection> {
        let connections = self.shared.connections.lock();
        let slots = connections.iter().filter(|((lane, _), _)| *lane == Lane::Requests);
        // One that is locked is being made.
        let mut open = slots.filter_map(|(_, slot)| slot.try_lock().ok()?.clone());
        open.find(|connection| !connection.is_closed())
    }

    async fn connection_to(
        &self,
        lane: Lane,
        address: &Address,
        patience: Duration,
    ) -> Result<Connection, ClientError> {
        let slot = {
            let mut connections = self.shared.connections.lock();
            Arc::clone(connections.entry((lane, address.clone())).or_default())
        };
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let client_id = &self.shared.options.client_id;
        let opened = Connection::open(&self.shared.env, address, client_id, patience);
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
