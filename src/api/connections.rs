//! The connections of clients that are open now.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::context::{ConnectionContext, EndpointType};

/// The open connections of a broker. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: Mutex<BTreeMap<u64, Weak<ConnectionContext>>>,
    /// The id of the next one: how many there were.
    next: AtomicU64,
}

/// A connection's place in the list; dropping it takes it out.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    list: Connections,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.list.0.open.lock().remove(&self.id);
    }
}

impl Connections {
    /// Enters a connection that was accepted. It is in the list until the last of what this gives is dropped.
    #[must_use]
    pub fn enter(
        &self,
        listener: (EndpointType, Arc<str>),
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Arc<ConnectionContext> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let place = Place { id, list: self.clone() };
        let context = Arc::new(ConnectionContext::new(listener, local, peer, place));
        self.0.open.lock().insert(id, Arc::downgrade(&context));
        context
    }

    /// Those that are open, the oldest first.
    #[must_use]
    pub fn open(&self) -> Vec<Arc<ConnectionContext>> {
        self.0.open.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// How many there were since the broker was started, with those that are open.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.0.next.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_listed_as_long_as_it_is_used() {
        let list = Connections::default();
        let address: SocketAddr = "127.0.0.1:9092".parse().unwrap();
        let first = list.enter((EndpointType::Broker, "A".into()), address, address);
        let second = list.enter((EndpointType::Controller, "B".into()), address, address);
        let listeners = || list.open().iter().map(|c| c.listener.to_string()).collect::<Vec<_>>();
        assert_eq!(listeners(), ["A", "B"]);
        let used = Arc::clone(&first);
        drop(first);
        assert_eq!(listeners(), ["A", "B"]);
        drop(used);
        assert_eq!(listeners(), ["B"]);
        drop(second);
        assert_eq!((listeners().len(), list.accepted()), (0, 2));
    }
}
