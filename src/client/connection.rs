//! One connection to a broker: versions are negotiated, requests are pipelined, every wait has a deadline.
//!
//! A task of its own carries frames in both directions; it ends when the last handle is dropped, when the other side
//! closes, or when an answer is overdue. What waits for an answer then gets [`ClientError::Closed`].

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::error::ClientError;
use crate::env::{BoxStream, Env, SteadyClock};
use crate::model::{ErrorCode, Instant};
use crate::wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{
    ApiKey, Frame, Request, RequestHeader, Text, VersionRange, decode_response, encode_request,
};

/// What this client calls itself.
const SOFTWARE_NAME: &str = "ottla";
/// Requests that wait to be written.
const QUEUE: usize = 64;
/// The largest answer that is taken.
const FRAME_BYTES_MAX: i32 = 512 << 20;
/// As much of an answer gets its memory before its bytes have come.
const FRAME_BYTES_TRUSTED: usize = 4 << 20;
/// Answers are read in pieces of this size unless they are larger.
const READ_BUFFER: usize = 64 << 10;

/// Answers to be delivered, by correlation id; `None` once the connection has ended.
type Awaited = Arc<Mutex<Option<BTreeMap<i32, oneshot::Sender<(Bytes, Instant)>>>>>;

/// A handle of a connection. Clones share it.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    env: Env,
    address: Address,
    client_id: Text,
    negotiated: Negotiated,
    correlation_id: AtomicI32,
    requests: mpsc::Sender<Frame>,
    awaited: Awaited,
    cancel: CancellationToken,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// What a broker said it speaks.
#[derive(Clone, Debug, Default)]
pub struct Negotiated {
    /// Its versions, by key.
    pub versions: BTreeMap<i16, VersionRange>,
    /// Features of the cluster with the level that they are at, such as `metadata.version`.
    pub features: BTreeMap<String, i16>,
}

/// An answer that is due.
#[derive(Debug)]
pub struct Pending<R> {
    connection: Connection,
    answer: oneshot::Receiver<(Bytes, Instant)>,
    version: i16,
    kind: PhantomData<fn() -> R>,
}

impl Connection {
    /// Connects, and asks what the broker speaks. May be dropped at any time.
    ///
    /// # Errors
    /// When the address cannot be resolved or connected to within `patience`, or what answers is no Kafka broker.
    pub async fn open(
        env: &Env,
        address: &Address,
        client_id: &str,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        let deadline = env.steady.now().plus(patience);
        let stream = connect(env, address, patience, deadline).await?;
        let (read, write) = tokio::io::split(stream);
        let client_id = Text::from_string(client_id.to_owned());
        let mut halves = Halves { read: BufReader::with_capacity(READ_BUFFER, read), write };
        let asked = negotiate(&mut halves, address, &client_id);
        let negotiated = env.steady.timeout_at(deadline, asked).await.unwrap_or_else(|_| {
            let address = address.clone();
            Err(ClientError::Timeout { address, api: ApiKey::ApiVersions, after: patience })
        })?;
        let (requests, queue) = mpsc::channel(QUEUE);
        let awaited: Awaited = Arc::new(Mutex::new(Some(BTreeMap::new())));
        let cancel = env.tasks.child_token();
        spawn(env, halves, queue, Arc::clone(&awaited), cancel.clone());
        Ok(Self {
            shared: Arc::new(Shared {
                env: env.clone(),
                address: address.clone(),
                client_id,
                negotiated,
                correlation_id: AtomicI32::new(FIRST_AFTER_NEGOTIATION),
                requests,
                awaited,
                cancel,
            }),
        })
    }

    /// Where it goes.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    /// What the broker speaks.
    #[must_use]
    pub fn negotiated(&self) -> &Negotiated {
        &self.shared.negotiated
    }

    /// Whether it has ended: no request can be sent any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.awaited.lock().is_none()
    }

    /// How many answers are due.
    #[cfg(test)]
    pub(super) fn awaited(&self) -> usize {
        self.shared.awaited.lock().as_ref().map_or(0, BTreeMap::len)
    }

    /// The highest version up to `max` in which both sides speak an API.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`] if there is none.
    pub fn version_up_to(&self, api: ApiKey, max: i16) -> Result<i16, ClientError> {
        let broker = self.shared.negotiated.versions.get(&api.code()).copied();
        let common = broker.zip(api.entry().served).map(|(theirs, ours)| VersionRange {
            min: theirs.min.max(ours.min),
            max: theirs.max.min(ours.max).min(max),
        });
        common.filter(|common| common.min <= common.max).map(|common| common.max).ok_or_else(|| {
            ClientError::Unsupported { address: self.shared.address.clone(), api, broker }
        })
    }

    /// Puts a request on its way, behind those that were sent before. Waits only for room in the queue.
    ///
    /// # Errors
    /// When the version cannot carry it, or the connection has ended.
    pub async fn send<R: Request>(
        &self,
        version: i16,
        request: &R,
    ) -> Result<Pending<R>, ClientError> {
        let shared = &self.shared;
        let correlation_id = shared.correlation_id.fetch_add(1, Ordering::Relaxed);
        let header = RequestHeader {
            api_key: R::KEY.code(),
            api_version: version,
            correlation_id,
            client_id: Some(shared.client_id.clone()),
        };
        let frame = encode_request(&header, request)?;
        let (sender, answer) = oneshot::channel();
        let closed = || ClientError::Closed { address: shared.address.clone(), api: R::KEY };
        match &mut *shared.awaited.lock() {
            Some(awaited) => awaited.insert(correlation_id, sender),
            None => return Err(closed()),
        };
        shared.requests.send(frame).await.map_err(|_| closed())?;
        Ok(Pending { connection: self.clone(), answer, version, kind: PhantomData })
    }

    /// Sends a request in `version` and gives its answer.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`Pending::receive`].
    pub async fn call<R: Request>(
        &self,
        version: i16,
        request: &R,
        patience: Duration,
    ) -> Result<R::Response, ClientError> {
        let deadline = self.shared.env.steady.now().plus(patience);
        let pending = self.send(version, request).await?;
        pending.receive(deadline).await
    }

    /// Ends the connection: nothing that comes after an overdue answer can be relied on.
    fn close(&self) {
        self.shared.awaited.lock().take();
        self.shared.cancel.cancel();
    }
}

impl<R: Request> Pending<R> {
    /// The version that it was asked in.
    #[must_use]
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// The connection that it comes by.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether it comes by this connection.
    #[must_use]
    pub fn is_on(&self, connection: &Connection) -> bool {
        Arc::ptr_eq(&self.connection.shared, &connection.shared)
    }

    /// The answer. If it is not there by `deadline`, the connection is given up.
    ///
    /// # Errors
    /// When none comes in time, the connection breaks, or the answer cannot be read.
    pub async fn receive(self, deadline: Instant) -> Result<R::Response, ClientError> {
        Ok(self.receive_timed(deadline).await?.0)
    }

    /// The same, and when it came in, which may be a while ago.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub async fn receive_timed(
        self,
        deadline: Instant,
    ) -> Result<(R::Response, Instant), ClientError> {
        let shared = Arc::clone(&self.connection.shared);
        let address = || shared.address.clone();
        let began = shared.env.steady.now();
        let (frame, came) = match shared.env.steady.timeout_at(deadline, self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => return Err(ClientError::Closed { address: address(), api: R::KEY }),
            Err(_) => {
                self.connection.close();
                let after = deadline.since(began);
                return Err(ClientError::Timeout { address: address(), api: R::KEY, after });
            }
        };
        let answer = decode_response::<R::Response>(self.version, &frame);
        let (_, response) =
            answer.map_err(|source| ClientError::Answer { address: address(), source })?;
        Ok((response, came))
    }
}

/// Resolves and connects, to one address of the host after the other.
async fn connect(
    env: &Env,
    address: &Address,
    patience: Duration,
    deadline: Instant,
) -> Result<BoxStream, ClientError> {
    let late = || ClientError::ConnectTimeout { address: address.clone(), after: patience };
    let lookup = env.steady.timeout_at(deadline, env.net.lookup(&address.host));
    let found = lookup.await.map_err(|_| late())?;
    let resolve = |source| ClientError::Resolve { address: address.clone(), source };
    let found = found.map_err(resolve)?;
    let mut trouble = resolve(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    for ip in found {
        let ip = ip.to_string();
        match env.steady.timeout_at(deadline, env.net.connect(&ip, address.port)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => {
                trouble = ClientError::Connect { address: address.clone(), source };
            }
            Err(_) => return Err(late()),
        }
    }
    Err(trouble)
}

#[derive(Debug)]
struct Halves {
    read: BufReader<ReadHalf<BoxStream>>,
    write: WriteHalf<BoxStream>,
}

/// Asks what the broker speaks, in our version first, and in one that it knows if it does not know that (KIP-511).
async fn negotiate(
    halves: &mut Halves,
    address: &Address,
    client_id: &Text,
) -> Result<Negotiated, ClientError> {
    let ours = ApiKey::ApiVersions.entry().served.map_or(0, |served| served.max);
    let first = ask_versions(halves, address, client_id, ours).await?;
    let answer = if first.error_code == ErrorCode::UnsupportedVersion.code() {
        let theirs = first.api_keys.iter().find(|api| api.api_key == ApiKey::ApiVersions.code());
        let version = theirs.map_or(0, |api| api.max_version.clamp(0, ours));
        ask_versions(halves, address, client_id, version).await?
    } else {
        first
    };
    super::refusal::check(
        ApiKey::ApiVersions,
        answer.error_code,
        || format!("what {address} speaks"),
        None,
    )?;
    let range = |min, max| VersionRange { min, max };
    Ok(Negotiated {
        versions: answer
            .api_keys
            .iter()
            .map(|api| (api.api_key, range(api.min_version, api.max_version)))
            .collect(),
        features: answer
            .finalized_features
            .iter()
            .map(|feature| (feature.name.to_string(), feature.max_version_level))
            .collect(),
    })
}

async fn ask_versions(
    halves: &mut Halves,
    address: &Address,
    client_id: &Text,
    version: i16,
) -> Result<ApiVersionsResponse, ClientError> {
    let mut request = ApiVersionsRequest::default();
    if version >= SOFTWARE_SINCE {
        request.client_software_name = Text::from_static_str(SOFTWARE_NAME);
        request.client_software_version = Text::from_static_str(env!("CARGO_PKG_VERSION"));
    }
    let header = RequestHeader {
        api_key: ApiKey::ApiVersions.code(),
        api_version: version,
        correlation_id: i32::from(version),
        client_id: Some(client_id.clone()),
    };
    let frame = encode_request(&header, &request)?;
    let closed = |_| ClientError::ClosedAtOnce { address: address.clone() };
    // Who has closed may have said why before.
    let written = halves.write.write_all(&frame.to_bytes()).await;
    let length = halves.read.read_u32().await.map_err(closed)?;
    written.map_err(closed)?;
    judge(length, address)?;
    let frame = read_frame(&mut halves.read, length as usize).await.map_err(closed)?;
    // An answer that refuses the version is one of version 0, whatever was asked.
    let refused = frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
    let version = if refused { 0 } else { version };
    decode_response(version, &frame)
        .map(|(_, answer)| answer)
        .map_err(|source| ClientError::Answer { address: address.clone(), source })
}

/// Judges by the four bytes where the length of an answer should stand who it is that answers.
fn judge(length: u32, address: &Address) -> Result<(), ClientError> {
    let address = address.clone();
    match length.to_be_bytes() {
        [0x15 | 0x16, 3, ..] => Err(ClientError::Tls { address }),
        [b'H', b'T', b'T', b'P'] => Err(ClientError::NotKafka { address, protocol: "HTTP" }),
        [b'S', b'S', b'H', b'-'] => Err(ClientError::NotKafka { address, protocol: "SSH" }),
        _ if length > FRAME_BYTES_MAX.unsigned_abs() => {
            Err(ClientError::NotKafka { address, protocol: "something else" })
        }
        _ => Ok(()),
    }
}

async fn read_frame(read: &mut BufReader<ReadHalf<BoxStream>>, length: usize) -> io::Result<Bytes> {
    let mut frame = BytesMut::with_capacity(length.min(FRAME_BYTES_TRUSTED));
    let mut rest = read.take(length as u64);
    while frame.len() < length {
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame.freeze())
}

/// Carries frames until one of the two directions ends.
fn spawn(
    env: &Env,
    halves: Halves,
    mut queue: mpsc::Receiver<Frame>,
    awaited: Awaited,
    cancel: CancellationToken,
) {
    let Halves { mut read, mut write } = halves;
    let steady = env.steady.clone();
    env.tasks.spawn("connection to a broker", async move {
        let ended: io::Result<()> = tokio::select! {
            ended = write_all(&mut write, &mut queue) => ended,
            ended = read_all(&mut read, &awaited, &steady) => ended,
            () = cancel.cancelled() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to a broker has ended");
        }
        // Who waits learns that nothing comes any more.
        awaited.lock().take();
    });
}

async fn write_all(
    write: &mut WriteHalf<BoxStream>,
    queue: &mut mpsc::Receiver<Frame>,
) -> io::Result<()> {
    while let Some(frame) = queue.recv().await {
        for segment in frame.segments() {
            write.write_all(segment).await?;
        }
        write.flush().await?;
    }
    Ok(())
}

async fn read_all(
    read: &mut BufReader<ReadHalf<BoxStream>>,
    awaited: &Awaited,
    steady: &SteadyClock,
) -> io::Result<()> {
    loop {
        let length = read.read_i32().await?;
        if !(4..=FRAME_BYTES_MAX).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let frame = read_frame(read, length.unsigned_abs() as usize).await?;
        let id = frame.first_chunk().map_or(-1, |bytes| i32::from_be_bytes(*bytes));
        let waiting = awaited.lock().as_mut().and_then(|awaited| awaited.remove(&id));
        match waiting {
            // Nobody may want it any more.
            Some(waiting) => drop(waiting.send((frame, steady.now()))),
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Since when clients say what they are.
const SOFTWARE_SINCE: i16 = 3;
/// The correlation ids below are those of the negotiation.
const FIRST_AFTER_NEGOTIATION: i32 = 100;
