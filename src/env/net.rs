//! Connections: the real network, or a simulated one.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::gate::{Gate, Pass};
use super::network::{Host, SimulatedListener, address_of};

/// A byte stream between two addresses.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {
    /// Ready when a read would give bytes, the end, or an error. Lets an idle connection own no buffer.
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The address on our side, as the peer dialled it.
    fn local_address(&self) -> SocketAddr;

    /// The address on the other side.
    fn peer_address(&self) -> SocketAddr;
}

/// A [`Stream`] of any kind.
pub type BoxStream = Box<dyn Stream>;

/// A stream of which the first bytes were read already: they come before the others.
#[must_use]
pub fn preceded(head: Bytes, stream: BoxStream) -> BoxStream {
    Box::new(Preceded { head, stream })
}

#[derive(Debug)]
struct Preceded {
    head: Bytes,
    stream: BoxStream,
}

impl Stream for Preceded {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.head.is_empty() {
            true => self.stream.poll_read_ready(context),
            false => Poll::Ready(Ok(())),
        }
    }

    fn local_address(&self) -> SocketAddr {
        self.stream.local_address()
    }

    fn peer_address(&self) -> SocketAddr {
        self.stream.peer_address()
    }
}

impl AsyncRead for Preceded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.head.len().min(buffer.remaining());
        buffer.put_slice(&self.head.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Preceded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Where connections are accepted from and made to.
#[derive(Clone, Debug)]
pub struct Net(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// The operating system's, with what all connections pass, if there is such a thing.
    Real(Option<Gate>),
    Simulated(Host),
}

impl Net {
    pub(super) const fn real() -> Self {
        Self(Kind::Real(None))
    }

    pub(super) const fn behind(gate: Gate) -> Self {
        Self(Kind::Real(Some(gate)))
    }

    pub(super) const fn simulated(host: Host) -> Self {
        Self(Kind::Simulated(host))
    }

    /// Keeps a port for listeners of this process that come and go, so that nobody else gets it in between: as long as nobody
    /// listens there, connections to it are refused. Port 0 means any free port. (Linux lets several sockets bind an address
    /// that want to reuse it, as long as one of them listens.)
    ///
    /// # Errors
    /// The operating system's refusal, or a host that cannot be resolved.
    pub async fn reserve(&self, host: &str, port: u16) -> io::Result<Reserved> {
        let socket = bound(resolve(host, port).await?)?;
        let address = socket.local_addr()?.as_socket();
        let address = address.ok_or_else(|| io::Error::other("a socket without an address"))?;
        Ok(Reserved { _socket: socket, address })
    }

    /// Listens on `host:port`. An empty host or `[::]` means every address, over IPv4 and IPv6 alike, as far as the
    /// machine has them; port 0 means any free port.
    ///
    /// # Errors
    /// The operating system's refusal, or a host that cannot be resolved.
    pub async fn listen(&self, host: &str, port: u16, backlog: i32) -> io::Result<Listener> {
        let gate = match &self.0 {
            Kind::Real(gate) => gate.as_ref(),
            Kind::Simulated(host) => return Ok(Listener(Accepting::Simulated(host.listen(port)?))),
        };
        let address = resolve(host, port).await?;
        match bind(address, backlog, gate) {
            // A machine without IPv6 still has an "everywhere".
            Err(error)
                if address.ip() == Ipv6Addr::UNSPECIFIED
                    && error.kind() != io::ErrorKind::AddrInUse
                    && error.kind() != io::ErrorKind::PermissionDenied =>
            {
                bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), backlog, gate)
            }
            bound => bound,
        }
    }

    /// The addresses of a host, which may be an address itself.
    ///
    /// # Errors
    /// The resolver's refusal.
    pub async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if matches!(self.0, Kind::Simulated(_)) {
            return Ok(vec![address_of(host)?]);
        }
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }

    /// Connects to `host:port`. May be dropped at any time.
    ///
    /// # Errors
    /// The operating system's refusal, or a host that cannot be resolved.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<BoxStream> {
        let gate = match &self.0 {
            Kind::Real(gate) => gate.as_ref(),
            Kind::Simulated(here) => return here.connect(host, port).await,
        };
        if let Some(gate) = gate {
            gate.passed().await?;
        }
        RealStream::boxed(TcpStream::connect((host, port)).await?, gate)
    }
}

async fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    let ipv4 = addresses.iter().find(|address| address.is_ipv4());
    ipv4.or_else(|| addresses.first()).copied().ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("host '{host}' has no address"))
    })
}

fn bind(address: SocketAddr, backlog: i32, gate: Option<&Gate>) -> io::Result<Listener> {
    let socket = bound(address)?;
    socket.set_nonblocking(true)?;
    socket.listen(backlog)?;
    let listener = TcpListener::from_std(socket.into())?;
    let local = listener.local_addr()?;
    Ok(Listener(Accepting::Real { listener, local, gate: gate.cloned() }))
}

/// A socket with an address, on which nobody listens yet.
fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A port that is kept until this is dropped.
#[derive(Debug)]
pub struct Reserved {
    _socket: Socket,
    address: SocketAddr,
}

impl Reserved {
    /// The address that is kept, with the port that was given.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Accepts connections on one address.
#[derive(Debug)]
pub struct Listener(Accepting);

#[derive(Debug)]
enum Accepting {
    Real { listener: TcpListener, local: SocketAddr, gate: Option<Gate> },
    Simulated(SimulatedListener),
}

impl Listener {
    /// The address listened on, with the port that was given.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        match &self.0 {
            Accepting::Real { local, .. } => *local,
            Accepting::Simulated(listener) => listener.local_address(),
        }
    }

    /// The next connection. May be dropped at any time.
    ///
    /// # Errors
    /// The operating system's refusal, such as having no free descriptor; the listener stays usable.
    pub async fn accept(&self) -> io::Result<BoxStream> {
        let (listener, gate) = match &self.0 {
            Accepting::Real { listener, gate, .. } => (listener, gate),
            Accepting::Simulated(listener) => return Ok(listener.accept().await),
        };
        loop {
            let (stream, _) = listener.accept().await?;
            match (RealStream::boxed(stream, gate.as_ref()), gate) {
                (Err(error), Some(gate)) if gate.is_cut() => {
                    tracing::trace!(%error, "a connection is closed at once");
                }
                (accepted, _) => return accepted,
            }
        }
    }
}

#[derive(Debug)]
struct RealStream {
    stream: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
    pass: Option<Pass>,
}

impl RealStream {
    fn boxed(stream: TcpStream, gate: Option<&Gate>) -> io::Result<BoxStream> {
        let pass = gate.map(|gate| gate.admit(&stream)).transpose()?;
        stream.set_nodelay(true)?;
        let (local, peer) = (unmapped(stream.local_addr()?), unmapped(stream.peer_addr()?));
        Ok(Box::new(Self { stream, local, peer, pass }))
    }

    /// Ready when bytes may pass: at once, unless there is a gate.
    fn poll_pass(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.pass.as_ref().map_or(Poll::Ready(Ok(())), |pass| pass.poll(context))
    }
}

/// An IPv4 address that came in over a dual-stack socket, written as IPv4.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Stream for RealStream {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pass(context))?;
        self.stream.poll_read_ready(context)
    }

    fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn peer_address(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for RealStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_pass(context))?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for RealStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pass(context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pass(context))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const BACKLOG: i32 = 50;

    #[tokio::test]
    async fn every_address_means_both_families() {
        let net = Net::real();
        let listener = net.listen("", 0, BACKLOG).await.unwrap();
        let port = listener.local_address().port();
        let mut dialled = net.connect("127.0.0.1", port).await.unwrap();
        let mut accepted = listener.accept().await.unwrap();
        assert_eq!(accepted.local_address(), dialled.peer_address(), "not an IPv4-mapped address");
        dialled.write_all(b"hello").await.unwrap();
        let mut bytes = [0; 5];
        accepted.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }

    #[tokio::test]
    async fn what_was_read_already_comes_first() {
        let net = Net::real();
        let listener = net.listen("127.0.0.1", 0, BACKLOG).await.unwrap();
        let port = listener.local_address().port();
        let mut dialled = net.connect("127.0.0.1", port).await.unwrap();
        let mut accepted = preceded(Bytes::from_static(b"hel"), listener.accept().await.unwrap());
        dialled.write_all(b"lo").await.unwrap();
        let mut bytes = [0; 5];
        // Fewer bytes at a time than there are.
        accepted.read_exact(&mut bytes[..2]).await.unwrap();
        accepted.read_exact(&mut bytes[2..]).await.unwrap();
        assert_eq!(&bytes, b"hello");
        assert_eq!(accepted.peer_address(), dialled.local_address());
    }

    #[tokio::test]
    async fn a_taken_port_is_refused() {
        let net = Net::real();
        let first = net.listen("127.0.0.1", 0, BACKLOG).await.unwrap();
        let port = first.local_address().port();
        let second = net.listen("127.0.0.1", port, BACKLOG).await;
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
