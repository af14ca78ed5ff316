//! The address that clients are told to connect to, the same wherever one is returned.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::context::ConnectionContext;

/// `advertised.listeners`.
#[derive(Clone, Debug, Default)]
pub struct Advertised {
    by_listener: BTreeMap<Arc<str>, (String, u16)>,
}

impl Advertised {
    /// The configured addresses, by listener name.
    #[must_use]
    pub const fn new(by_listener: BTreeMap<Arc<str>, (String, u16)>) -> Self {
        Self { by_listener }
    }

    /// Host and port of this broker for the client of `connection`: what is configured for its listener, else the address
    /// that it dialled.
    #[must_use]
    pub fn endpoint_for(&self, connection: &ConnectionContext) -> (String, u16) {
        let configured = self.by_listener.get(&connection.listener).cloned();
        configured.unwrap_or_else(|| (connection.local.ip().to_string(), connection.local.port()))
    }
}
