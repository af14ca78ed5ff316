//! Connections of a broker to the others, one each, opened when they are first needed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::address::Address;
use super::connection::{Connection, Pending};
use super::error::ClientError;
use crate::env::Env;
use crate::wire::Request;

/// The connection to one broker; held while it is opened, so that it is opened once.
type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

/// Connections by address.
#[derive(Debug)]
pub struct Peers {
    env: Env,
    client_id: String,
    slots: Mutex<BTreeMap<Address, Slot>>,
}

impl Peers {
    /// No connections yet. `client_id` is how this broker calls itself.
    #[must_use]
    pub fn new(env: Env, client_id: String) -> Self {
        Self { env, client_id, slots: Mutex::default() }
    }

    /// Puts a request on its way, in the highest version that both sides speak. May be dropped at any time.
    ///
    /// # Errors
    /// When the broker cannot be reached within `patience`, or the connection has ended.
    pub async fn send<R: Request>(
        &self,
        address: &Address,
        request: &R,
        patience: Duration,
    ) -> Result<Pending<R>, ClientError> {
        let connection = self.connection(address, patience).await?;
        let version = connection.version_up_to(R::KEY, i16::MAX)?;
        connection.send(version, request).await
    }

    async fn connection(
        &self,
        address: &Address,
        patience: Duration,
    ) -> Result<Connection, ClientError> {
        let slot = Arc::clone(self.slots.lock().entry(address.clone()).or_default());
        let mut slot = slot.lock().await;
        if let Some(open) = slot.as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let opened = Connection::open(&self.env, address, &self.client_id, patience).await?;
        *slot = Some(opened.clone());
        Ok(opened)
    }
}
