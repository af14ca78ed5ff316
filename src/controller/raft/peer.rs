//! The asking side: one connection to another node, opened when it is first needed and again after it broke.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::frames::{self, Ask, Hello, Identity, Standing, Told, VERSION, Welcome};
use crate::env::{BoxStream, Env};

/// Questions that wait to be written.
const QUEUE: usize = 256;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    /// The question was not sent.
    #[error("cannot reach {address}: {source}")]
    Unreachable {
        /// Whom.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The other side is not who is meant, or does not want us.
    #[error("{address} refuses: {reason}")]
    Refused {
        /// Who.
        address: String,
        /// Its words.
        reason: String,
    },
    /// The question was sent, and it is not known what became of it.
    #[error("{address} has not answered")]
    NoAnswer {
        /// Who.
        address: String,
    },
}

/// Whom to ask, and as who.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// `host:port`.
    pub(super) address: String,
    /// Another address at which it may be, if it is not at that one.
    pub(super) also: Option<String>,
    /// The raft id that is meant; none if any node there will do.
    pub(super) raft_id: Option<u64>,
}

impl Target {
    /// Whoever is at an address.
    pub(super) const fn at(address: String) -> Self {
        Self { address, also: None, raft_id: None }
    }
}

/// A node that is asked.
#[derive(Debug)]
pub(super) struct Peer {
    env: Env,
    target: Target,
    own: Identity,
    cluster_id: watch::Receiver<Option<String>>,
    link: tokio::sync::Mutex<Option<Arc<Link>>>,
    /// Whether the other address is tried first.
    turned: AtomicBool,
}

type Awaited = Arc<Mutex<Option<BTreeMap<u64, oneshot::Sender<Told>>>>>;

#[derive(Debug)]
struct Link {
    numbers: AtomicU64,
    queue: mpsc::Sender<Bytes>,
    awaited: Awaited,
    cancel: CancellationToken,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Link {
    fn is_closed(&self) -> bool {
        self.awaited.lock().is_none()
    }
}

impl Peer {
    /// Connects to nobody yet. `cluster_id` is our cluster as soon as it is known.
    pub(super) fn new(
        env: &Env,
        target: Target,
        own: Identity,
        cluster_id: watch::Receiver<Option<String>>,
    ) -> Self {
        let (link, turned) = (tokio::sync::Mutex::default(), AtomicBool::new(false));
        Self { env: env.clone(), target, own, cluster_id, link, turned }
    }

    /// Asks, and waits for the answer no longer than `patience`. May be dropped: what was asked may be done then.
    pub(super) async fn ask(&self, ask: &Ask, patience: Duration) -> Result<Told, PeerError> {
        let deadline = self.env.steady.now().plus(patience);
        // Another question may be opening the connection, with more patience than this one has.
        let linked = self.env.steady.timeout_at(deadline, self.linked()).await;
        let link =
            linked.unwrap_or_else(|_| Err(self.unreachable(io::ErrorKind::TimedOut.into())))?;
        let number = link.numbers.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        match &mut *link.awaited.lock() {
            Some(awaited) => awaited.insert(number, sender),
            None => return Err(self.unreachable(io::ErrorKind::ConnectionReset.into())),
        };
        let no_answer = || PeerError::NoAnswer { address: self.target.address.clone() };
        let asked = async {
            link.queue.send(frames::write(number, ask)).await.ok()?;
            answer.await.ok()
        };
        let told = self.env.steady.timeout_at(deadline, asked).await;
        if told.is_err()
            && let Some(awaited) = &mut *link.awaited.lock()
        {
            awaited.remove(&number);
        }
        told.ok().flatten().ok_or_else(no_answer)
    }

    /// Asks how the node stands.
    pub(super) async fn standing(&self, patience: Duration) -> Result<Standing, PeerError> {
        let told = self.ask(&Ask::Standing, patience).await?;
        let unfitting = || self.refused("it has answered something else".to_owned());
        let Told::Standing(standing) = told else { return Err(unfitting()) };
        Ok(standing)
    }

    async fn linked(&self) -> Result<Arc<Link>, PeerError> {
        let mut link = self.link.lock().await;
        if let Some(open) = link.as_ref().filter(|link| !link.is_closed()) {
            return Ok(Arc::clone(open));
        }
        *link = None;
        Ok(Arc::clone(link.insert(Arc::new(self.open().await?))))
    }

    async fn open(&self) -> Result<Link, PeerError> {
        let address = &self.target.address;
        let Some(also) = &self.target.also else { return self.open_at(address).await };
        // Whoever asks may lose patience with an address where nothing is answered: then the next one begins with the other.
        let turned = self.turned.fetch_not(Ordering::Relaxed);
        let (first, second) = if turned { (also, address) } else { (address, also) };
        let Ok(link) = self.open_at(first).await else { return self.open_at(second).await };
        self.turned.store(turned, Ordering::Relaxed);
        Ok(link)
    }

    async fn open_at(&self, address: &str) -> Result<Link, PeerError> {
        let unreachable = |source| PeerError::Unreachable { address: address.to_owned(), source };
        let stream = connect(&self.env, address).await.map_err(unreachable)?;
        let (read, mut write) = tokio::io::split(stream);
        let mut read = BufReader::new(read);
        let hello = Hello {
            version: VERSION,
            cluster_id: self.cluster_id.borrow().clone(),
            from: self.own.clone(),
            to: self.target.raft_id,
        };
        let hello = frames::write(0, &hello);
        write.write_all(&hello).await.map_err(unreachable)?;
        let welcome = frames::read::<Welcome>(&mut read).await;
        let welcome = welcome.map_err(unreachable)?;
        match welcome {
            Some((_, Welcome::Here(_))) => {}
            Some((_, Welcome::Refused(reason))) => {
                return Err(PeerError::Refused { address: address.to_owned(), reason });
            }
            None => return Err(unreachable(io::ErrorKind::UnexpectedEof.into())),
        }
        let (queue, frames) = mpsc::channel(QUEUE);
        let awaited: Awaited = Arc::new(Mutex::new(Some(BTreeMap::new())));
        let cancel = self.env.tasks.child_token();
        let carried = carry(read, write, frames, Arc::clone(&awaited), cancel.clone());
        self.env.tasks.spawn("connection to a node", carried);
        Ok(Link { numbers: AtomicU64::new(1), queue, awaited, cancel })
    }

    fn unreachable(&self, source: io::Error) -> PeerError {
        PeerError::Unreachable { address: self.target.address.clone(), source }
    }

    fn refused(&self, reason: String) -> PeerError {
        PeerError::Refused { address: self.target.address.clone(), reason }
    }
}

async fn connect(env: &Env, address: &str) -> io::Result<BoxStream> {
    let parsed = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = parsed.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("'{address}' is not host:port"))
    })?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    env.net.connect(host, port).await
}

/// Carries frames until one of the two directions ends; then whoever waits learns that nothing comes any more.
async fn carry(
    read: BufReader<ReadHalf<BoxStream>>,
    write: WriteHalf<BoxStream>,
    frames: mpsc::Receiver<Bytes>,
    awaited: Awaited,
    cancel: CancellationToken,
) {
    let ended: io::Result<()> = tokio::select! {
        ended = write_all(write, frames) => ended,
        ended = read_all(read, &awaited) => ended,
        () = cancel.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to a node has ended");
    }
    awaited.lock().take();
    cancel.cancel();
}

pub(super) async fn write_all(
    mut write: WriteHalf<BoxStream>,
    mut frames: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    while let Some(frame) = frames.recv().await {
        write.write_all(&frame).await?;
    }
    Ok(())
}

async fn read_all(mut read: BufReader<ReadHalf<BoxStream>>, awaited: &Awaited) -> io::Result<()> {
    while let Some((number, told)) = frames::read::<Told>(&mut read).await? {
        let waiting = awaited.lock().as_mut().and_then(|awaited| awaited.remove(&number));
        if let Some(waiting) = waiting {
            // Who asked may have lost patience.
            drop(waiting.send(told));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{BrokerId, UuidText};

    #[tokio::test]
    async fn a_question_waits_no_longer_for_the_connection_of_another_than_its_patience() {
        let env = Env::in_memory();
        let silent = env.net.listen("127.0.0.1", 0, 8).await.unwrap();
        let id = UuidText(Uuid::from_u128(1));
        let own = Identity { broker: BrokerId(1), raft_id: 1, directory: id, incarnation: id };
        let (_id, cluster_id) = watch::channel(None);
        let address = silent.local_address().to_string();
        let peer = Peer::new(&env, Target::at(address), own, cluster_id);
        let second = async {
            // The first one is connected, and nobody welcomes it.
            let _connection = silent.accept().await.unwrap();
            peer.standing(Duration::from_millis(10)).await
        };
        let limit = env.steady.now().plus(Duration::from_secs(30));
        tokio::select! {
            first = peer.standing(Duration::from_secs(60)) => panic!("{first:?}"),
            second = env.steady.timeout_at(limit, second) => {
                let second = second.expect("it does not wait for the first one");
                assert!(matches!(second, Err(PeerError::Unreachable { .. })), "{second:?}");
            }
        }
    }
}
