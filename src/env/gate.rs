//! What stands between one node and the network, so that a node among others in one process can be cut off or stand still.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use socket2::{SockRef, Socket};
use tokio::net::TcpStream;

/// What passes a [`Gate`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flow {
    /// Everything.
    #[default]
    Open,
    /// Nothing, and nobody is told: connections are taken and stay, but not a byte is read or written. Peers see the same of a
    /// process that was stopped (`SIGSTOP`).
    Still,
    /// Nothing: connections are closed, those that come are closed at once, and none can be made.
    Cut,
}

/// Lets the connections of one node pass, or not. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    flow: Flow,
    /// Who waits for the gate to be something else than [`Flow::Still`].
    waiting: Vec<Waker>,
    /// The connections, as handles of their own, to close them with.
    sockets: BTreeMap<u64, Socket>,
    next: u64,
}

impl Gate {
    /// Changes what passes, also for connections that are there. One that was cut stays closed.
    pub fn set(&self, flow: Flow) {
        let mut inner = self.0.lock();
        inner.flow = flow;
        if flow == Flow::Cut {
            for socket in std::mem::take(&mut inner.sockets).into_values() {
                // One that the peer has closed already has nothing to shut down.
                drop(socket.shutdown(std::net::Shutdown::Both));
            }
        }
        if flow != Flow::Still {
            inner.waiting.drain(..).for_each(Waker::wake);
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.0.lock().flow == Flow::Cut
    }

    /// A pass for a new connection.
    pub(super) fn admit(&self, stream: &TcpStream) -> io::Result<Pass> {
        let mut inner = self.0.lock();
        if inner.flow == Flow::Cut {
            return Err(cut());
        }
        let number = inner.next;
        inner.next += 1;
        inner.sockets.insert(number, SockRef::from(stream).try_clone()?);
        Ok(Pass { gate: self.clone(), number })
    }

    /// Waits until a connection may be made.
    pub(super) async fn passed(&self) -> io::Result<()> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        match inner.flow {
            Flow::Open => Poll::Ready(Ok(())),
            Flow::Cut => Poll::Ready(Err(cut())),
            Flow::Still => {
                if !inner.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                    inner.waiting.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "this node is cut off")
}

/// What a connection passes the gate with. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Gate,
    number: u64,
}

impl Pass {
    /// Ready when bytes may pass, or with the error that they never will.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.gate.poll(context)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.0.lock().sockets.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::Net;
    use super::*;

    /// A gate, a listener behind it, and a connection to that: its far end and its near one.
    async fn connected() -> (Gate, super::super::Listener, [super::super::BoxStream; 2]) {
        let gate = Gate::default();
        let inside = Net::behind(gate.clone());
        let listener = inside.listen("127.0.0.1", 0, 8).await.unwrap();
        let port = listener.local_address().port();
        let far = Net::real().connect("127.0.0.1", port).await.unwrap();
        let near = listener.accept().await.unwrap();
        (gate, listener, [far, near])
    }

    #[tokio::test]
    async fn what_stands_still_goes_on() {
        let (gate, _listener, [mut far, mut near]) = connected().await;
        gate.set(Flow::Still);
        far.write_all(b"a").await.unwrap();
        let reading = tokio::spawn(async move { near.read_u8().await });
        // The byte is there, and another connection shows that it would have been read by now.
        let (_, _other, [mut other_far, mut other_near]) = connected().await;
        other_far.write_all(b"b").await.unwrap();
        assert_eq!(other_near.read_u8().await.unwrap(), b'b');
        assert!(!reading.is_finished());
        gate.set(Flow::Open);
        assert_eq!(reading.await.unwrap().unwrap(), b'a');
    }

    #[tokio::test]
    async fn what_is_cut_is_closed_and_stays_so() {
        let (gate, listener, [mut far, mut near]) = connected().await;
        gate.set(Flow::Cut);
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "the far end hears of it");
        near.read_u8().await.unwrap_err();
        let port = listener.local_address().port();
        Net::behind(gate.clone()).connect("127.0.0.1", port).await.unwrap_err();
        let accepting = tokio::spawn(async move { listener.accept().await });
        let mut refused = Net::real().connect("127.0.0.1", port).await.unwrap();
        assert_eq!(refused.read(&mut [0]).await.unwrap(), 0, "it is closed at once");
        gate.set(Flow::Open);
        near.read_u8().await.unwrap_err();
        Net::real().connect("127.0.0.1", port).await.unwrap();
        accepting.await.unwrap().unwrap();
    }
}
