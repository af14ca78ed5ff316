//! HTTP: health, metrics, the JSON API and a start page.
//!
//! Owns the server and what its answers look like. What they say comes from `api/overview.rs`, the counters of `telemetry/`
//! and `env/`. All of it is read-only (what `ottla dev` can be told is in `control.rs`), and nobody is asked who he is: the
//! address is to be one that only those can reach who may know what runs here.
//!
//! **Invariants:** health answers from the moment on in which the address is bound, before and while logs are recovered; at
//! most [`CONNECTIONS_MAX`] connections are held, and none on which nothing moves for [`IDLE_TIMEOUT`], for [`MOVE_TIMEOUT`]
//! where a head was begun or an answer is not read, or at all when a new one needs its place.

mod control;
mod exposition;
mod health;
mod json;
mod metrics;
mod page;
mod places;
mod routes;
mod server;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

pub use self::control::{Asked, Told, serve_control};
pub use self::places::MOVE_TIMEOUT;
pub use self::server::{CONNECTIONS_MAX, IDLE_TIMEOUT};
use crate::api::Services;
use crate::env::{Env, Listener, Tasks};
use crate::model::Instant;

/// What is served over HTTP of one broker. Clones are the same.
#[derive(Clone, Debug)]
pub struct Admin(Arc<State>);

#[derive(Debug)]
struct State {
    env: Env,
    /// The tasks of connections and requests: they are cancelled when the broker begins to stop.
    requests: Tasks,
    /// Whether it has the state of its cluster, which a majority of the controllers has to say.
    has_state: AtomicBool,
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
        let (has_state, broker, busy) = Default::default();
        Self(Arc::new(State { env, requests, has_state, broker, busy }))
    }

    /// The broker has the state of its cluster, and opens its logs.
    pub fn has_state(&self) {
        self.0.has_state.store(true, Ordering::Relaxed);
    }

    /// The broker serves its clients from now on, on these listeners.
    pub fn ready(&self, services: Arc<Services>, listeners: Vec<(Arc<str>, SocketAddr)>) {
        // A broker becomes ready once.
        drop(self.0.broker.set(Serving { services, listeners }));
    }

    /// Accepts connections from `listener` until the broker's tasks are cancelled.
    pub fn serve(&self, listener: Listener) {
        let admin = self.clone();
        server::serve(&self.0.env, listener, move |request| {
            let admin = admin.clone();
            async move { routes::answer(&admin, &request).await }
        });
    }

    fn serving(&self) -> Option<&Serving> {
        self.0.broker.get()
    }
}
