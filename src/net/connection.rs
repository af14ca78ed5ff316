//! One connection: requests in, replies out, in the same order.
//!
//! The whole connection is one future that is polled by hand: it sends what is ready, then reads what may be started, and
//! sleeps when neither goes on. A request that waits (for replicas, for data) does not keep the next ones from being started,
//! up to [`OUTSTANDING_MAX`] of them; their replies wait for their turn.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite as _;
use tokio_util::sync::CancellationToken;

use super::budget::{Budget, Charge};
use super::incoming::{Incoming, ReceiveError};
use super::listener::Place;
use crate::api::{Api, ConnectionContext, Reply, Sending};
use crate::env::{BoxStream, Env};
use crate::model::{Instant, WithCauses};
use crate::wire::Frame;

/// How many requests of a connection may be under way before no more are read.
pub const OUTSTANDING_MAX: usize = 16;
/// Requests are started only while fewer bytes of replies wait to be sent.
const UNSENT_BYTES_MAX: usize = 256 * 1024;
/// How many parts of replies go into one system call.
const SLICES_MAX: usize = 128;
/// How long a stopping broker waits for replies that are under way.
const DRAIN: Duration = Duration::from_secs(5);

/// What a connection needs beside its stream.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) env: Env,
    pub(super) api: Arc<Api>,
    pub(super) context: Arc<ConnectionContext>,
    pub(super) budget: Budget,
    pub(super) frame_bytes_max: i32,
    /// `connections.max.idle.ms`; `None` for no limit.
    pub(super) idle_max: Option<Duration>,
    /// Its place among those that there may be.
    pub(super) _place: Place,
}

/// Serves a connection until one side has had enough. Thousands of them wait: what is made before the future is in it once.
pub(super) fn serve(stream: BoxStream, parts: Parts) -> impl Future<Output = ()> + Send {
    let peer = stream.peer_address();
    // One token for both reasons to end early: every wake-up of the connection looks at it.
    let token = parts.env.tasks.child_token();
    let tasks = parts.env.tasks.clone();
    let steady = parts.env.steady.clone();
    let mut connection = Connection::new(stream, parts, token.clone());
    async move {
        let end = {
            let mut polling =
                std::pin::pin!(std::future::poll_fn(|context| connection.poll(context)));
            tokio::select! {
                biased;
                end = &mut polling => end,
                () = token.cancelled() => if tasks.is_cancelled() { End::Stopping } else { End::Slow },
            }
        };
        if matches!(end, End::Stopping) {
            connection.draining = true;
            let deadline = steady.now().plus(DRAIN);
            let drained = std::future::poll_fn(|context| connection.poll(context));
            // What is not sent by then is not sent.
            drop(steady.timeout_at(deadline, drained).await);
        }
        let client = connection.parts.context.describe_client();
        let reason = WithCauses(&end);
        if end.is_clients_fault() {
            tracing::info!(%peer, %client, %reason, "closed a connection");
        } else {
            tracing::debug!(%peer, %client, %reason, "a connection has ended");
        }
    }
}

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Receive(ReceiveError),
    #[error("cannot send")]
    Send(#[source] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("idle for longer than connections.max.idle.ms")]
    Idle,
    #[error("the request came in too slowly while others waited for memory")]
    Slow,
    #[error("the broker is stopping")]
    Stopping,
}

impl End {
    /// Whether whoever wrote the client may want to know.
    const fn is_clients_fault(&self) -> bool {
        matches!(
            self,
            Self::Receive(ReceiveError::BadLength { .. }) | Self::Refused(_) | Self::Slow
        )
    }
}

struct Connection {
    stream: BoxStream,
    parts: Parts,
    incoming: Incoming,
    /// Replies in the order of their requests.
    replies: VecDeque<Slot>,
    /// Whether the last of `replies` must be there before another request is started.
    ordered: bool,
    /// What the request of the last reply holds of the budget, while it is still needed.
    charge: Option<Charge>,
    outgoing: Outgoing,
    last_active: Instant,
    idle_timer: Option<Pin<Box<tokio::time::Sleep>>>,
    /// No more requests are read; the connection ends when all replies are sent.
    draining: bool,
}

enum Slot {
    Ready(Option<(Frame, Option<Sending>)>),
    Waiting(Pin<Box<dyn Future<Output = Reply> + Send>>),
}

impl Connection {
    fn new(stream: BoxStream, parts: Parts, token: CancellationToken) -> Self {
        let incoming = Incoming::new(parts.budget.clone(), token, parts.frame_bytes_max);
        let last_active = parts.env.steady.now();
        let idle_timer =
            parts.idle_max.map(|max| Box::pin(parts.env.steady.timer(last_active.plus(max))));
        Self {
            stream,
            parts,
            incoming,
            replies: VecDeque::new(),
            ordered: false,
            charge: None,
            outgoing: Outgoing::default(),
            last_active,
            idle_timer,
            draining: false,
        }
    }

    /// Does what can be done now; ready when the connection has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let mut active = false;
        let end = loop {
            let mut progress = false;
            let step = self.step(context, &mut progress);
            active |= progress;
            match step {
                Err(end) => break Some(end),
                Ok(()) if !progress => break None,
                Ok(()) => {}
            }
        };
        if active {
            self.last_active = self.parts.env.steady.now();
        }
        match end {
            Some(end) => Poll::Ready(end),
            None => self.poll_idle(context),
        }
    }

    /// Collects replies, sends, and starts requests, each as far as it goes.
    fn step(&mut self, context: &mut Context<'_>, progress: &mut bool) -> Result<(), End> {
        self.collect(context, progress)?;
        match self.outgoing.poll_send(&mut self.stream, &self.parts, context, progress) {
            Poll::Ready(sent) => sent.map_err(End::Send)?,
            Poll::Pending => {}
        }
        if self.draining {
            return if self.replies.is_empty() && self.outgoing.is_empty() {
                Err(End::Stopping)
            } else {
                Ok(())
            };
        }
        while self.may_start() {
            let received = self.incoming.poll_frame(&mut *self.stream, context, progress);
            let Poll::Ready(received) = received else { break };
            let received = received.map_err(End::Receive)?;
            *progress = true;
            let reply = self.parts.api.start(&self.parts.context, received.frame, received.arrival);
            self.charge = received.charge;
            self.take_reply(reply)?;
            // What is ready is sent before the next request is read: the client waits for it.
            if matches!(self.replies.front(), Some(Slot::Ready(_))) {
                break;
            }
        }
        Ok(())
    }

    fn may_start(&self) -> bool {
        !self.ordered
            && self.replies.len() < OUTSTANDING_MAX
            && self.outgoing.unsent_bytes < UNSENT_BYTES_MAX
    }

    /// Puts the reply of the request that was just started in its place.
    fn take_reply(&mut self, reply: Reply) -> Result<(), End> {
        let slot = match reply {
            Reply::Send(frame, sending) => Slot::Ready(Some((frame, sending))),
            Reply::Nothing => Slot::Ready(None),
            Reply::Later(future) => Slot::Waiting(future),
            Reply::Ordered(future) => {
                self.ordered = true;
                self.replies.push_back(Slot::Waiting(future));
                return Ok(());
            }
            Reply::Close(reason) => return Err(End::Refused(reason)),
        };
        // Its bytes are in the log or decoded: they no longer count.
        self.charge = None;
        self.ordered = false;
        self.replies.push_back(slot);
        Ok(())
    }

    /// Moves the replies that are ready and next in turn to what is sent.
    fn collect(&mut self, context: &mut Context<'_>, progress: &mut bool) -> Result<(), End> {
        if self.ordered
            && let Some(Slot::Waiting(future)) = self.replies.back_mut()
            && let Poll::Ready(reply) = future.as_mut().poll(context)
        {
            *progress = true;
            self.replies.pop_back();
            self.take_reply(reply)?;
        }
        loop {
            // The last reply was looked at above.
            let only_ordered = self.ordered && self.replies.len() == 1;
            let Some(front) = self.replies.front_mut() else { return Ok(()) };
            match front {
                Slot::Ready(response) => {
                    if let Some((frame, sending)) = response.take() {
                        self.outgoing.push(frame, sending);
                    }
                    self.replies.pop_front();
                    *progress = true;
                }
                Slot::Waiting(_) if only_ordered => return Ok(()),
                Slot::Waiting(future) => {
                    let Poll::Ready(reply) = future.as_mut().poll(context) else { return Ok(()) };
                    *progress = true;
                    match reply {
                        Reply::Send(frame, sending) => {
                            *front = Slot::Ready(Some((frame, sending)));
                        }
                        Reply::Nothing => *front = Slot::Ready(None),
                        Reply::Later(future) | Reply::Ordered(future) => {
                            *front = Slot::Waiting(future)
                        }
                        Reply::Close(reason) => return Err(End::Refused(reason)),
                    }
                }
            }
        }
    }

    /// Ready when nothing has happened on the connection for too long. A reply that is under way is something.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let (Some(timer), Some(max)) = (&mut self.idle_timer, self.parts.idle_max) else {
            return Poll::Pending;
        };
        loop {
            ready!(timer.as_mut().poll(context));
            let steady = &self.parts.env.steady;
            if !self.replies.is_empty() {
                self.last_active = steady.now();
            }
            let deadline = self.last_active.plus(max);
            if steady.now() >= deadline {
                return Poll::Ready(End::Idle);
            }
            timer.as_mut().reset(steady.tokio_instant(deadline));
        }
    }
}

/// Bytes on their way out.
#[derive(Debug, Default)]
struct Outgoing {
    parts: VecDeque<Part>,
    unsent_bytes: usize,
}

/// A part of a response.
#[derive(Debug)]
struct Part {
    bytes: Bytes,
    /// With the last part of a response that is counted: what is counted when it is sent.
    last_of: Option<Sending>,
}

impl Outgoing {
    fn push(&mut self, frame: Frame, sending: Option<Sending>) {
        for bytes in frame.into_segments().into_iter().filter(|segment| !segment.is_empty()) {
            self.unsent_bytes += bytes.len();
            self.parts.push_back(Part { bytes, last_of: None });
        }
        // No frame is empty: its length stands in it.
        if let Some(last) = self.parts.back_mut() {
            last.last_of = sending;
        }
    }

    fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Sends until all is sent or the socket takes no more.
    fn poll_send(
        &mut self,
        stream: &mut BoxStream,
        connection: &Parts,
        context: &mut Context<'_>,
        progress: &mut bool,
    ) -> Poll<io::Result<()>> {
        while let Some(first) = self.parts.front() {
            let stream = Pin::new(&mut *stream);
            let sent = if self.parts.len() == 1 {
                ready!(stream.poll_write(context, &first.bytes))?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = self.parts.len().min(SLICES_MAX);
                for (slice, part) in slices.iter_mut().zip(&self.parts) {
                    *slice = IoSlice::new(&part.bytes);
                }
                let slices = slices.get(..count).expect("at most as many as there are");
                ready!(stream.poll_write_vectored(context, slices))?
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *progress = true;
            let mut sent_at = None;
            self.advance(sent, |sending| {
                let now = *sent_at.get_or_insert_with(|| connection.env.steady.now());
                connection.api.sent(sending, now);
            });
        }
        Poll::Ready(Ok(()))
    }

    /// Takes note of bytes that were sent, and tells which responses were sent with them.
    fn advance(&mut self, mut sent: usize, mut ended: impl FnMut(Sending)) {
        self.unsent_bytes -= sent;
        while let Some(part) = self.parts.front_mut() {
            if sent < part.bytes.len() {
                part.bytes.advance(sent);
                return;
            }
            sent -= part.bytes.len();
            part.last_of.take().map(&mut ended);
            self.parts.pop_front();
        }
    }
}
