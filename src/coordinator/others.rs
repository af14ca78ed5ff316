//! What a coordinator asks of other brokers: those that lead the partitions that it does not.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{Address, ClientError, Peers, Pending};
use crate::cluster::ClusterImage;
use crate::env::Env;
use crate::model::BrokerId;
use crate::wire::Request;

/// How long to try to reach another broker.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait for an answer (`request.timeout.ms` of Apache Kafka's brokers).
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// Gives the state of the cluster as far as this broker has taken note of it.
pub type ImageSource = Arc<dyn Fn() -> Arc<ClusterImage> + Send + Sync>;

/// The other brokers.
pub struct Others {
    env: Env,
    broker: BrokerId,
    /// The listener for brokers.
    listener: String,
    image: ImageSource,
    peers: Peers,
}

/// Why another broker has not answered.
#[derive(Debug, thiserror::Error)]
pub enum UnreachableError {
    /// It has no address.
    #[error("it is not known how to reach broker {0}")]
    NoAddress(BrokerId),
    /// The connection failed.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// An answer of another broker that is due.
#[derive(Debug)]
pub struct Asked<R> {
    env: Env,
    pending: Pending<R>,
}

impl Others {
    /// The brokers other than `broker`, which take connections of brokers at `listener`.
    #[must_use]
    pub fn new(env: Env, broker: BrokerId, listener: String, image: ImageSource) -> Self {
        let peers = Peers::new(env.clone(), format!("broker-{broker}-coordinator"));
        Self { env, broker, listener, image, peers }
    }

    /// The state of the cluster as far as this broker has taken note of it.
    #[must_use]
    pub fn image(&self) -> Arc<ClusterImage> {
        (self.image)()
    }

    /// Whether this is not the broker itself.
    #[must_use]
    pub fn is_other(&self, broker: BrokerId) -> bool {
        broker != self.broker
    }

    /// Puts a request on its way to another broker. May be dropped at any time.
    ///
    /// # Errors
    /// As [`UnreachableError`] says.
    pub async fn ask<R: Request>(
        &self,
        broker: BrokerId,
        request: &R,
    ) -> Result<Asked<R>, UnreachableError> {
        let image = self.image();
        let known = image.broker(broker).and_then(|known| known.endpoint(&self.listener));
        let endpoint = known.ok_or(UnreachableError::NoAddress(broker))?;
        let address = Address { host: endpoint.host.clone(), port: endpoint.port };
        let pending = self.peers.send(&address, request, CONNECT_PATIENCE).await?;
        Ok(Asked { env: self.env.clone(), pending })
    }
}

impl<R: Request> Asked<R> {
    /// The answer.
    ///
    /// # Errors
    /// As [`UnreachableError`] says. The request may have been carried out.
    pub async fn answer(self) -> Result<R::Response, UnreachableError> {
        let deadline = self.env.steady.now().plus(ANSWER_PATIENCE);
        Ok(self.pending.receive(deadline).await?)
    }
}

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Others").field("peers", &self.peers).finish_non_exhaustive()
    }
}
