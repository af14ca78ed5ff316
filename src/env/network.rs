//! A network in memory, for simulations: hosts, links between them that are slow or stand still, and connections that end
//! as TCP's do when a process or the power of its host is gone.
//!
//! Time is that of the runtime, which a simulation pauses, and all chance is one stream: the same seed gives the same network.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::net::{BoxStream, Net, Stream};
use super::rng::Rng;

/// What one direction of a connection takes before its writer has to wait.
const PIPE_BYTES: usize = 256 << 10;
/// The first port of those that are given out.
const FIRST_PORT: u16 = 32_768;

/// Hosts and what connects them. Clones are the same network.
#[derive(Clone, Debug)]
pub struct Network(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    rng: Rng,
    /// How long bytes are on the way, at least and at most, in milliseconds.
    latency_ms: (u32, u32),
    hosts: BTreeMap<IpAddr, HostState>,
    backlogs: BTreeMap<SocketAddr, Weak<Backlog>>,
    /// Directions in which nothing passes now; what is sent meanwhile passes afterwards.
    held: BTreeSet<(IpAddr, IpAddr)>,
    pipes: Vec<Weak<Pipe>>,
    /// Told when a link or a host changes.
    changed: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, Default)]
struct HostState {
    /// Of which of its processes connections are, one after the other.
    life: u64,
    is_up: bool,
    ports_given: u16,
}

impl Network {
    /// A network without hosts.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            rng,
            latency_ms: (1, 1),
            hosts: BTreeMap::new(),
            backlogs: BTreeMap::new(),
            held: BTreeSet::new(),
            pipes: Vec::new(),
            changed: Arc::default(),
        })))
    }

    /// How long bytes are on the way from now on, at least and at most, in milliseconds.
    pub fn set_latency(&self, min_ms: u32, max_ms: u32) {
        self.0.lock().latency_ms = (min_ms, max_ms.max(min_ms));
    }

    /// The network as a new process on a host sees it. The one before it must be gone.
    #[must_use]
    pub fn host(&self, address: IpAddr) -> Net {
        let mut inner = self.0.lock();
        let state = inner.hosts.entry(address).or_default();
        state.life += 1;
        state.is_up = true;
        let life = state.life;
        inner.changed.notify_waiters();
        drop(inner);
        Net::simulated(Host { network: self.clone(), address, life })
    }

    /// The process of a host is gone: its connections are closed, and others are refused.
    pub fn end_process(&self, address: IpAddr) {
        self.end(address, true);
    }

    /// The host is without power: nobody hears from it any more, nor that it is gone.
    pub fn cut_power(&self, address: IpAddr) {
        self.end(address, false);
    }

    fn end(&self, address: IpAddr, is_told: bool) {
        let mut inner = self.0.lock();
        let state = inner.hosts.entry(address).or_default();
        state.life += 1;
        state.is_up = is_told;
        inner.backlogs.retain(|at, _| at.ip() != address);
        let pipes: Vec<Arc<Pipe>> = inner.pipes.iter().filter_map(Weak::upgrade).collect();
        drop(inner);
        for pipe in pipes {
            let mut state = pipe.state.lock();
            if pipe.from == address {
                state.is_abandoned = true;
                if is_told {
                    state.end();
                } else {
                    state.is_lost = true;
                    state.pieces.clear();
                }
            } else if pipe.to == address {
                state.is_unread = true;
                state.is_lost |= !is_told;
            }
            state.wake();
        }
    }

    /// Lets nothing pass from one host to another, until it is let go.
    pub fn hold(&self, from: IpAddr, to: IpAddr) {
        self.0.lock().held.insert((from, to));
    }

    /// Lets everything pass, also what was sent meanwhile.
    pub fn let_go(&self) {
        let mut inner = self.0.lock();
        inner.held.clear();
        inner.changed.notify_waiters();
        let pipes: Vec<Arc<Pipe>> = inner.pipes.iter().filter_map(Weak::upgrade).collect();
        drop(inner);
        for pipe in pipes {
            pipe.state.lock().wake();
        }
    }

    /// When what is sent now arrives.
    fn arrival(&self) -> Instant {
        let inner = self.0.lock();
        let (min, max) = inner.latency_ms;
        let latency = min + inner.rng.below(max - min + 1);
        Instant::now() + Duration::from_millis(u64::from(latency))
    }

    fn is_held(&self, from: IpAddr, to: IpAddr) -> bool {
        self.0.lock().held.contains(&(from, to))
    }

    fn is_up(&self, address: IpAddr) -> bool {
        self.0.lock().hosts.get(&address).is_some_and(|host| host.is_up)
    }
}

/// A process on a host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    network: Network,
    address: IpAddr,
    life: u64,
}

impl Host {
    fn is_gone(&self) -> bool {
        let inner = self.network.0.lock();
        inner.hosts.get(&self.address).is_none_or(|host| host.life != self.life)
    }

    /// Listens on a port of this host, 0 for any.
    pub(super) fn listen(&self, port: u16) -> io::Result<SimulatedListener> {
        if self.is_gone() {
            return Err(gone());
        }
        let mut inner = self.network.0.lock();
        let state = inner.hosts.entry(self.address).or_default();
        let port = if port == 0 {
            state.ports_given += 1;
            FIRST_PORT + state.ports_given
        } else {
            port
        };
        let local = SocketAddr::new(self.address, port);
        if inner.backlogs.get(&local).is_some_and(|backlog| backlog.strong_count() > 0) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let backlog = Arc::new(Backlog::default());
        inner.backlogs.insert(local, Arc::downgrade(&backlog));
        Ok(SimulatedListener { backlog, local })
    }

    /// Connects to a host by its address. May be dropped at any time.
    pub(super) async fn connect(&self, host: &str, port: u16) -> io::Result<BoxStream> {
        let to = SocketAddr::new(address_of(host)?, port);
        let changed = Arc::clone(&self.network.0.lock().changed);
        loop {
            let change = changed.notified();
            if self.is_gone() {
                return Err(gone());
            }
            let (here, there) = (self.address, to.ip());
            let passes = !self.network.is_held(here, there) && !self.network.is_held(there, here);
            if passes && self.network.is_up(there) {
                break;
            }
            change.await;
        }
        for _ in ["there", "and back"] {
            tokio::time::sleep_until(self.network.arrival()).await;
        }
        self.dial(to)
    }

    fn dial(&self, to: SocketAddr) -> io::Result<BoxStream> {
        if self.is_gone() {
            return Err(gone());
        }
        let mut inner = self.network.0.lock();
        let backlog = inner.backlogs.get(&to).and_then(Weak::upgrade);
        let backlog = backlog.ok_or(io::ErrorKind::ConnectionRefused)?;
        let state = inner.hosts.entry(self.address).or_default();
        state.ports_given = state.ports_given.wrapping_add(1);
        let from = SocketAddr::new(self.address, FIRST_PORT | state.ports_given);
        let [there, back] = [(from, to), (to, from)].map(|(from, to)| Pipe::new(from, to));
        inner.pipes.retain(|pipe| pipe.strong_count() > 0);
        inner.pipes.extend([&there, &back].map(Arc::downgrade));
        drop(inner);
        let stream = |reads: &Arc<Pipe>, writes: &Arc<Pipe>, local, peer| SimulatedStream {
            network: self.network.clone(),
            reads: Arc::clone(reads),
            writes: Arc::clone(writes),
            local,
            peer,
            timer: Mutex::new(None),
        };
        backlog.waiting.lock().push_back(stream(&there, &back, to, from));
        backlog.arrived.notify_one();
        Ok(Box::new(stream(&back, &there, from, to)))
    }
}

/// The address that a host's name is: there are no other names here.
pub(super) fn address_of(host: &str) -> io::Result<IpAddr> {
    host.parse().map_err(|_| {
        io::Error::new(io::ErrorKind::NotFound, format!("host '{host}' has no address"))
    })
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "this process is gone")
}

#[derive(Debug, Default)]
struct Backlog {
    waiting: Mutex<VecDeque<SimulatedStream>>,
    arrived: Notify,
}

/// Accepts connections of a [`Network`].
#[derive(Debug)]
pub(super) struct SimulatedListener {
    backlog: Arc<Backlog>,
    local: SocketAddr,
}

impl SimulatedListener {
    pub(super) const fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The next connection. May be dropped at any time.
    pub(super) async fn accept(&self) -> BoxStream {
        loop {
            let next = self.backlog.waiting.lock().pop_front();
            if let Some(stream) = next {
                return Box::new(stream);
            }
            self.backlog.arrived.notified().await;
        }
    }
}

/// One direction of a connection.
#[derive(Debug)]
struct Pipe {
    from: IpAddr,
    to: IpAddr,
    state: Mutex<PipeState>,
}

#[derive(Debug)]
struct PipeState {
    /// What is on the way, and when it arrives. A piece without bytes is the end.
    pieces: VecDeque<(Instant, Bytes)>,
    queued_bytes: usize,
    /// The process that wrote is gone.
    is_abandoned: bool,
    /// Who read has closed its end, or is gone.
    is_unread: bool,
    /// One of the hosts has lost its power: nothing arrives any more.
    is_lost: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new(from: SocketAddr, to: SocketAddr) -> Arc<Self> {
        let state = PipeState {
            pieces: VecDeque::new(),
            queued_bytes: 0,
            is_abandoned: false,
            is_unread: false,
            is_lost: false,
            reader: None,
            writer: None,
        };
        Arc::new(Self { from: from.ip(), to: to.ip(), state: Mutex::new(state) })
    }
}

impl PipeState {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// Nothing more is written.
    fn end(&mut self) {
        if self.pieces.back().is_none_or(|(_, bytes)| !bytes.is_empty()) {
            let at = self.pieces.back().map_or_else(Instant::now, |(at, _)| *at);
            self.pieces.push_back((at, Bytes::new()));
        }
    }

    fn is_ended(&self) -> bool {
        self.pieces.back().is_some_and(|(_, bytes)| bytes.is_empty())
    }
}

/// One end of a connection.
#[derive(Debug)]
struct SimulatedStream {
    network: Network,
    reads: Arc<Pipe>,
    writes: Arc<Pipe>,
    local: SocketAddr,
    peer: SocketAddr,
    /// Wakes the reader when the next piece has arrived.
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl SimulatedStream {
    fn poll_arrived(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_held = self.network.is_held(self.reads.from, self.reads.to);
        let mut state = self.reads.state.lock();
        if state.is_unread {
            return Poll::Ready(Err(gone()));
        }
        state.reader = Some(context.waker().clone());
        let Some((at, _)) = state.pieces.front().filter(|_| !is_held) else {
            return Poll::Pending;
        };
        if *at <= Instant::now() {
            return Poll::Ready(Ok(()));
        }
        let at = *at;
        drop(state);
        let mut timer = self.timer.lock();
        let sleep = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(context).map(Ok)
    }

    /// Ready when the other end can be written to.
    fn poll_room(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        let (from, to) = (self.writes.from, self.writes.to);
        let (is_held, is_up) = (self.network.is_held(to, from), self.network.is_up(to));
        let mut state = self.writes.state.lock();
        // A host that has its power back knows nothing of the connection, and says so.
        let is_refused = state.is_unread && !is_held && (!state.is_lost || is_up);
        if state.is_abandoned {
            return Poll::Ready(Err(gone()));
        }
        if is_refused {
            drop(state);
            let mut back = self.reads.state.lock();
            back.end();
            back.wake();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if state.is_ended() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.queued_bytes < PIPE_BYTES {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    fn send(&self, bytes: Bytes) {
        let arrival = self.network.arrival();
        let mut state = self.writes.state.lock();
        if state.is_lost || bytes.is_empty() {
            return;
        }
        let at = state.pieces.back().map_or(arrival, |(last, _)| arrival.max(*last));
        state.queued_bytes += bytes.len();
        state.pieces.push_back((at, bytes));
        state.reader.take().into_iter().for_each(Waker::wake);
    }
}

impl Drop for SimulatedStream {
    fn drop(&mut self) {
        let mut state = self.writes.state.lock();
        if !state.is_lost {
            state.end();
        }
        state.wake();
        drop(state);
        let mut state = self.reads.state.lock();
        state.is_unread = true;
        state.wake();
    }
}

impl Stream for SimulatedStream {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_arrived(context)
    }

    fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn peer_address(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for SimulatedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_arrived(context))?;
        let now = Instant::now();
        let mut state = self.reads.state.lock();
        while let Some((at, bytes)) = state.pieces.front_mut() {
            if *at > now || bytes.is_empty() || buffer.remaining() == 0 {
                break;
            }
            let length = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes.split_to(length));
            if !bytes.has_remaining() {
                state.pieces.pop_front();
            }
            state.queued_bytes -= length;
        }
        state.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SimulatedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(context))?;
        self.send(Bytes::copy_from_slice(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.writes.state.lock();
        state.end();
        state.wake();
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(context))?;
        let bytes: Bytes = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let length = bytes.len();
        self.send(bytes);
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    const PORT: u16 = 9;

    /// A network, and a connection from one host to another: its near end and its far one.
    async fn connected() -> (Network, [BoxStream; 2]) {
        let network = Network::new(Rng::from_seed(1));
        network.set_latency(3, 9);
        let listener = network.host(THERE).listen("10.0.0.2", PORT, 1).await.unwrap();
        let near = network.host(HERE).connect("10.0.0.2", PORT).await.unwrap();
        let far = listener.accept().await.unwrap();
        assert_eq!(
            (near.peer_address(), far.local_address()),
            (far.local_address(), near.peer_address())
        );
        (network, [near, far])
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_arrive_later_and_in_order() {
        let (_, [mut near, mut far]) = connected().await;
        let sent = Instant::now();
        for byte in 0..100 {
            near.write_u8(byte).await.unwrap();
        }
        drop(near);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, (0..100).collect::<Vec<u8>>());
        assert!((3..=10).contains(&sent.elapsed().as_millis()), "{:?}", sent.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_up_arrives_when_it_is_let_go() {
        let (network, [mut near, mut far]) = connected().await;
        network.hold(HERE, THERE);
        near.write_u8(1).await.unwrap();
        far.write_u8(2).await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), 2, "the other direction is open");
        let waited = tokio::time::timeout(Duration::from_secs(60), far.read_u8()).await;
        assert!(waited.is_err());
        let dialled = network.host(HERE);
        let dialled =
            tokio::time::timeout(Duration::from_secs(60), dialled.connect("10.0.0.2", PORT));
        assert!(dialled.await.is_err());
        network.let_go();
        assert_eq!(far.read_u8().await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_holds_its_writer_up() {
        let (_, [mut near, mut far]) = connected().await;
        let bytes = vec![7; 2 * PIPE_BYTES];
        let written = async {
            near.write_all(&bytes[..PIPE_BYTES]).await.unwrap();
            let stuck = tokio::time::timeout(Duration::from_secs(9), near.write_u8(1)).await;
            assert!(stuck.is_err());
        };
        written.await;
        let mut all = vec![0; PIPE_BYTES];
        far.read_exact(&mut all).await.unwrap();
        near.write_u8(1).await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_is_gone_closes_its_connections() {
        let (network, [mut near, mut far]) = connected().await;
        far.write_u8(5).await.unwrap();
        network.end_process(THERE);
        assert!(far.write_u8(6).await.is_err(), "it is gone itself");
        assert_eq!(near.read_u8().await.unwrap(), 5, "sent before");
        assert_eq!(near.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(near.write_u8(6).await.is_err());
        let refused = network.host(HERE).connect("10.0.0.2", PORT).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_without_power_is_silent_until_it_is_back() {
        let (network, [mut near, _far]) = connected().await;
        network.cut_power(THERE);
        near.write_u8(6).await.unwrap();
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, near.read_u8()).await.is_err());
        let _back = network.host(THERE);
        let reset = near.write_u8(6).await.unwrap_err();
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
        assert!(near.read_u8().await.is_err());
    }
}
