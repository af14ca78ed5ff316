//! HTTP: health, metrics, the JSON API and a start page.
//!
//! Owns the server and what its answers look like. What they say comes from `api/overview.rs`, the counters of `telemetry/`
//! and `env/`. Everything is read-only, and nobody is asked who he is: the address is to be one that only those can reach
//! who may know what runs here.
//!
//! **Invariants:** health answers from the moment on in which the address is bound, before and while logs are recovered; at
//! most [`CONNECTIONS_MAX`] connections are held, and none that says nothing for [`HEADER_TIMEOUT`].

mod exposition;
mod health;
mod json;
mod metrics;
mod page;
mod routes;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::api::Services;
use crate::env::{BoxStream, Env, Listener, Tasks};
use crate::model::Instant;

/// Connections at the same time. Further ones are closed at once.
pub const CONNECTIONS_MAX: usize = 64;
/// How long a connection may be idle, or take for the head of a request.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Room for the head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long to wait when the machine has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is served over HTTP of one broker. Clones are the same.
#[derive(Clone, Debug)]
pub struct Admin(Arc<State>);

#[derive(Debug)]
struct State {
    env: Env,
    /// The tasks of connections and requests: they are cancelled when the broker begins to stop.
    requests: Tasks,
    /// The broker, once it serves its clients.
    broker: OnceLock<Serving>,
    /// How busy the runtime was at the last look at the metrics.
    busy: Mutex<(Instant, Duration)>,
}

/// A broker that serves its clients.
#[derive(Debug)]
struct Serving {
    services: Arc<Services>,
    /// Its listeners: name and address.
    listeners: Vec<(Arc<str>, SocketAddr)>,
}

impl Admin {
    /// For a broker that is being started. `requests` are the tasks that end first when it stops.
    #[must_use]
    pub fn new(env: Env, requests: Tasks) -> Self {
        let (broker, busy) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(State { env, requests, broker, busy }))
    }

    /// The broker serves its clients from now on, on these listeners.
    pub fn ready(&self, services: Arc<Services>, listeners: Vec<(Arc<str>, SocketAddr)>) {
        // A broker becomes ready once.
        drop(self.0.broker.set(Serving { services, listeners }));
    }

    /// Accepts connections from `listener` until the broker's tasks are cancelled.
    pub fn serve(&self, listener: Listener) {
        let (admin, env) = (self.clone(), self.0.env.clone());
        self.0.env.tasks.spawn_service("accept-http", async move {
            let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = env.tasks.cancelled() => return,
                };
                let stream = match accepted {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::debug!(%error, "cannot accept an HTTP connection");
                        env.steady.sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let admin = admin.clone();
                env.tasks.spawn("http", async move {
                    admin.converse(stream).await;
                    drop(place);
                });
            }
        });
    }

    /// Answers the requests of a connection.
    async fn converse(&self, stream: BoxStream) {
        let answer = service_fn(|request| async move {
            Ok::<_, std::convert::Infallible>(routes::answer(self, &request).await)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), answer);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.0.env.tasks.cancelled() => return,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection has ended");
        }
    }

    fn serving(&self) -> Option<&Serving> {
        self.0.broker.get()
    }
}
