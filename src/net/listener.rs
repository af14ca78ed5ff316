//! Accepting connections, within the limits of the configuration.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc};

use super::budget::Budget;
use super::connection::{Parts, serve};
use crate::api::{Api, ConnectionContext};
use crate::env::{BoxStream, Env, Listener, port_owner};

/// Accepting shares its threads with requests. With Kafka's queue of 50, of a thousand clients that come at once to a busy
/// broker some would be reset by the kernel.
const BACKLOG_MIN: i32 = 1024;

/// How long to wait when the machine has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections are taken, and what is asked of them.
#[derive(Clone, Debug)]
pub struct AcceptLimits {
    /// Connections at the same time (`max.connections`).
    pub connections_max: usize,
    /// Connections from one address at the same time (`max.connections.per.ip`).
    pub connections_per_ip_max: usize,
    /// The same for particular addresses (`max.connections.per.ip.overrides`).
    pub connections_per_ip_overrides: HashMap<IpAddr, usize>,
    /// Largest request (`socket.request.max.bytes`).
    pub frame_bytes_max: i32,
    /// How long a connection may be idle (`connections.max.idle.ms`); `None` for ever.
    pub idle_max: Option<Duration>,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {host}:{port}{hint}")]
pub struct ListenError {
    /// The configured host.
    pub host: String,
    /// The configured port.
    pub port: u16,
    /// What to do about it.
    pub hint: String,
    /// The system's words.
    pub source: io::Error,
}

/// Listeners and the connections they have accepted.
#[derive(Debug)]
pub struct Server {
    env: Env,
    limits: SharedLimits,
    budget: Budget,
    counts: Arc<Counts>,
}

/// Limits that can be changed while connections are accepted. Clones are the same limits.
#[derive(Clone, Debug)]
pub struct SharedLimits(Arc<RwLock<Arc<AcceptLimits>>>);

impl SharedLimits {
    /// Begins with these.
    #[must_use]
    pub fn new(limits: AcceptLimits) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(limits))))
    }

    /// Other limits for connections that are accepted from now on.
    pub fn set(&self, limits: AcceptLimits) {
        *self.0.write() = Arc::new(limits);
    }

    fn now(&self) -> Arc<AcceptLimits> {
        Arc::clone(&self.0.read())
    }
}

/// How many connections there are.
#[derive(Debug, Default)]
struct Counts {
    by_ip: Mutex<ByIp>,
    /// Told when one has ended.
    freed: Notify,
}

#[derive(Debug, Default)]
struct ByIp {
    total: usize,
    counts: HashMap<IpAddr, usize>,
}

/// A connection's place; dropping it gives the place free.
#[derive(Debug)]
pub(super) struct Place {
    ip: IpAddr,
    counts: Arc<Counts>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_ip = self.counts.by_ip.lock();
        by_ip.total -= 1;
        if let Some(count) = by_ip.counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                by_ip.counts.remove(&self.ip);
            }
        }
        drop(by_ip);
        self.counts.freed.notify_one();
    }
}

impl Server {
    /// A server without listeners. `env.tasks` ends its connections.
    #[must_use]
    pub fn new(env: Env, limits: SharedLimits, budget: Budget) -> Self {
        Self { env, limits, budget, counts: Arc::default() }
    }

    /// Binds an address, without accepting yet. At least [`BACKLOG_MIN`] connections may wait to be accepted. `option` is the
    /// one that sets the address, for the error.
    ///
    /// # Errors
    /// [`ListenError`] with the system's refusal.
    pub async fn bind(
        &self,
        host: &str,
        port: u16,
        backlog: i32,
        option: &'static str,
    ) -> Result<Listener, ListenError> {
        self.env.net.listen(host, port, backlog.max(BACKLOG_MIN)).await.map_err(|source| {
            let hint = hint(&source, port, option);
            ListenError { host: host.to_owned(), port, hint, source }
        })
    }

    /// Accepts connections from `listener` until the tasks are cancelled, and serves each with what `select` gives for it.
    pub fn serve<S>(&self, listener: Listener, select: S)
    where
        S: Fn(SocketAddr, SocketAddr) -> (Arc<Api>, Arc<ConnectionContext>) + Send + Sync + 'static,
    {
        let door = self.door(select);
        self.env.tasks.spawn_service("accept", async move {
            loop {
                let accepted = tokio::select! {
                    accepted = door.accept(&listener) => accepted,
                    () = door.env.tasks.cancelled() => return,
                };
                if let Some(stream) = accepted {
                    door.admit(stream);
                }
            }
        });
    }

    /// Serves connections that somebody else has accepted, within the same limits, until the tasks are cancelled.
    pub fn serve_accepted<S>(&self, mut streams: mpsc::Receiver<BoxStream>, select: S)
    where
        S: Fn(SocketAddr, SocketAddr) -> (Arc<Api>, Arc<ConnectionContext>) + Send + Sync + 'static,
    {
        let door = self.door(select);
        self.env.tasks.spawn_service("accept-clients", async move {
            loop {
                let next = async {
                    door.room().await;
                    streams.recv().await
                };
                let stream = tokio::select! {
                    stream = next => stream,
                    () = door.env.tasks.cancelled() => return,
                };
                match stream {
                    Some(stream) => door.admit(stream),
                    // Nobody accepts any more: the node is ending, too.
                    None => return door.env.tasks.cancelled().await,
                }
            }
        });
    }

    fn door<S>(&self, select: S) -> Door<S> {
        let (env, limits, budget) = (self.env.clone(), self.limits.clone(), self.budget.clone());
        Door { env, limits, budget, counts: Arc::clone(&self.counts), select }
    }
}

/// Where connections come in.
struct Door<S> {
    env: Env,
    limits: SharedLimits,
    budget: Budget,
    counts: Arc<Counts>,
    select: S,
}

impl<S> Door<S>
where
    S: Fn(SocketAddr, SocketAddr) -> (Arc<Api>, Arc<ConnectionContext>),
{
    /// Waits until there may be one more.
    async fn room(&self) {
        while self.counts.by_ip.lock().total >= self.limits.now().connections_max {
            self.counts.freed.notified().await;
        }
    }

    /// The next connection, once there may be one more; `None` if it was gone at once or the machine has no descriptor left.
    async fn accept(&self, listener: &Listener) -> Option<BoxStream> {
        self.room().await;
        match listener.accept().await {
            Ok(stream) => Some(stream),
            Err(error) => {
                let gone = matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::NotConnected
                        | io::ErrorKind::InvalidInput
                );
                if !gone {
                    tracing::warn!(%error, "cannot accept a connection");
                    self.env.steady.sleep(ACCEPT_PAUSE).await;
                }
                None
            }
        }
    }

    /// Serves a connection, unless its address has as many as it may.
    fn admit(&self, stream: BoxStream) {
        let (local, peer) = (stream.local_address(), stream.peer_address());
        let limits = self.limits.now();
        let Some(place) = enter(&limits, &self.counts, peer.ip()) else {
            tracing::warn!(%peer, "refused a connection: max.connections.per.ip is reached");
            return;
        };
        let (api, context) = (self.select)(local, peer);
        let parts = Parts {
            env: self.env.clone(),
            api,
            context,
            budget: self.budget.clone(),
            frame_bytes_max: limits.frame_bytes_max,
            idle_max: limits.idle_max,
            _place: place,
        };
        self.env.tasks.spawn("connection", serve(stream, parts));
    }
}

/// What to do about an address that cannot be listened on.
fn hint(refusal: &io::Error, port: u16, option: &str) -> String {
    let kind = refusal.kind();
    if kind == io::ErrorKind::AddrInUse {
        let owner = port_owner(port).unwrap_or_else(|| "somebody".to_owned());
        return format!(": {owner} listens there; stop that, or choose another port with {option}");
    }
    let everywhere = format!("leave the host out to listen on all addresses ({option} :{port})");
    if kind == io::ErrorKind::AddrNotAvailable {
        return format!(": this machine has no such address; {everywhere}");
    }
    // A refusal of the system has a number; that of the resolver has none.
    if refusal.raw_os_error().is_none() {
        return format!(": the host has no address; name one of this machine, or {everywhere}");
    }
    String::new()
}

/// A place for a connection from `ip`, unless that address has as many as it may.
fn enter(limits: &AcceptLimits, counts: &Arc<Counts>, ip: IpAddr) -> Option<Place> {
    let most = limits.connections_per_ip_overrides.get(&ip).copied();
    let most = most.unwrap_or(limits.connections_per_ip_max);
    let mut by_ip = counts.by_ip.lock();
    let count = by_ip.counts.entry(ip).or_default();
    if *count >= most {
        return None;
    }
    *count += 1;
    by_ip.total += 1;
    drop(by_ip);
    Some(Place { ip, counts: Arc::clone(counts) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_connections_may_wait_to_be_accepted() {
        let env = Env::real();
        let limits = AcceptLimits {
            connections_max: 1,
            connections_per_ip_max: 1,
            connections_per_ip_overrides: HashMap::new(),
            frame_bytes_max: 1,
            idle_max: None,
        };
        let budget = Budget::new(env.steady.clone(), 1);
        let server = Server::new(env.clone(), SharedLimits::new(limits), budget);
        let listener = server.bind("127.0.0.1", 0, 50, "--listen").await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..1_000 {
            let connect = env.net.connect("127.0.0.1", listener.local_address().port());
            let patience = env.steady.now().plus(Duration::from_secs(1));
            let stream = env.steady.timeout_at(patience, connect).await;
            waiting.push(stream.expect("the kernel took it").unwrap());
        }
    }
}
