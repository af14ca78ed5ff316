//! Who holds a place among the connections, and for how long while nothing moves.
//!
//! **Invariant:** a connection whose peer neither reads an answer nor finishes the head of a request ends by itself after
//! [`MOVE_TIMEOUT`]; where all places are taken, the one on which nothing has moved for the longest time gives way to a new one.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::env::{BoxStream, SteadyClock};
use crate::model::Instant;

/// How long the head of a request may take once it has begun, and how long a peer may take none of an answer.
pub const MOVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The places for connections. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    steady: SteadyClock,
    free: Arc<Semaphore>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// The number of the next place that is taken.
    next: u64,
    holders: BTreeMap<u64, Arc<Holder>>,
}

/// Who holds a place.
#[derive(Debug)]
struct Holder {
    moves: Mutex<Moves>,
    /// Told when it has to end.
    given_away: Notify,
}

#[derive(Debug)]
struct Moves {
    /// When bytes have last come or gone.
    last: Instant,
    /// When the head of a request has begun that is not there yet.
    head_begun: Option<Instant>,
}

/// A place of a connection, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    holder: Arc<Holder>,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(steady: SteadyClock, count: usize) -> Self {
        let free = Arc::new(Semaphore::new(count));
        Self(Arc::new(Shared { steady, free, held: Mutex::default() }))
    }

    /// Takes a place, at once if one is free, else as soon as the connection has ended on which nothing has moved for the longest
    /// time. May be dropped: that one ends nevertheless.
    pub(super) async fn take(&self) -> Place {
        let free = Arc::clone(&self.0.free);
        if free.available_permits() == 0 {
            let held = self.0.held.lock();
            let idlest = held.holders.values().min_by_key(|holder| holder.moves.lock().last);
            if let Some(idlest) = idlest {
                idlest.given_away.notify_one();
            }
        }
        let permit = free.acquire_owned().await.expect("nobody closes the semaphore");
        let moves = Moves { last: self.0.steady.now(), head_begun: None };
        let holder = Arc::new(Holder { moves: Mutex::new(moves), given_away: Notify::new() });
        let mut held = self.0.held.lock();
        let number = held.next;
        held.next += 1;
        held.holders.insert(number, Arc::clone(&holder));
        Place { number, holder, shared: Arc::clone(&self.0), _permit: permit }
    }
}

impl Place {
    /// Waits until another connection is to have the place.
    pub(super) async fn given_away(&self) {
        self.holder.given_away.notified().await;
    }

    /// The head of a request has come.
    pub(super) fn head_is_there(&self) {
        self.holder.moves.lock().head_begun = None;
    }

    /// The stream of the connection, which fails where nothing moves.
    pub(super) fn watched(&self, stream: BoxStream) -> WatchedStream {
        let (steady, holder) = (self.shared.steady.clone(), Arc::clone(&self.holder));
        WatchedStream { stream, steady, holder, head: None, answer: None }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.held.lock().holders.remove(&self.number);
    }
}

/// A stream that fails when its peer takes [`MOVE_TIMEOUT`] to finish a head, or to take some of an answer.
#[derive(Debug)]
pub(super) struct WatchedStream {
    stream: BoxStream,
    steady: SteadyClock,
    holder: Arc<Holder>,
    /// The end of a head's time, with its beginning.
    head: Option<(Instant, Pin<Box<Sleep>>)>,
    /// The end of an answer's time, while nothing of it can be written.
    answer: Option<Pin<Box<Sleep>>>,
}

impl WatchedStream {
    fn timer(steady: &SteadyClock, from: Instant) -> Pin<Box<Sleep>> {
        Box::pin(steady.timer(from.plus(MOVE_TIMEOUT)))
    }

    /// What a write gives that gave this: an error if none has got through for too long.
    fn moved<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.answer = None;
            self.holder.moves.lock().last = self.steady.now();
            return written;
        }
        let steady = &self.steady;
        let timer = self.answer.get_or_insert_with(|| Self::timer(steady, steady.now()));
        timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let mut moves = this.holder.moves.lock();
        if read.is_ready() {
            if buffer.filled().len() > before {
                let now = this.steady.now();
                moves.last = now;
                moves.head_begun.get_or_insert(now);
            }
            return read;
        }
        let Some(begun) = moves.head_begun else { return Poll::Pending };
        if this.head.as_ref().is_none_or(|(of, _)| *of != begun) {
            this.head = Some((begun, Self::timer(&this.steady, begun)));
        }
        let Some((_, timer)) = &mut this.head else { return Poll::Pending };
        timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.moved(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.moved(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The operating system has taken what was written: nothing has moved by that.
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.moved(context, ended)
    }
}
