//! The reading half of a connection: bytes in, frames out.
//!
//! Frames that fit are cut out of one read buffer without a copy. The rest of a larger frame is read straight into a buffer
//! of its exact size. A connection that waits for a first byte has no buffer at all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio_util::io::poll_read_buf;
use tokio_util::sync::CancellationToken;

use super::budget::{Budget, Charge};
use crate::api::Arrival;
use crate::env::Stream;
use crate::model::Instant;

/// Capacity of the read buffer of a connection that sends little, and of one that sends much.
const BUFFER_BYTES: std::ops::RangeInclusive<usize> = 4 * 1024..=64 * 1024;
/// How much of a large frame is charged at a time.
const CHARGE_STEP_BYTES: usize = 256 * 1024;
const LENGTH_BYTES: usize = 4;

/// A frame without its length, and what it holds of the budget.
#[derive(Debug)]
pub struct Received {
    /// The frame.
    pub frame: Bytes,
    /// When it came, and when it was taken.
    pub arrival: Arrival,
    /// None of a frame that came whole: it is started at once, nothing waits for the rest of it.
    pub(super) charge: Option<Charge>,
}

/// Why no more frames come.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The peer has closed its side.
    #[error("the peer has closed the connection")]
    Closed,
    /// The peer has closed its side within a frame.
    #[error("the peer has closed the connection within a request")]
    ClosedWithin,
    /// The connection is broken.
    #[error("the connection is broken")]
    Broken(#[from] io::Error),
    /// A length that no frame has.
    #[error(
        "a request of {length} bytes was announced, at most {most} (socket.request.max.bytes) are taken"
    )]
    BadLength {
        /// The announced length.
        length: i32,
        /// The largest length taken.
        most: i32,
    },
}

/// Reads frames from a stream.
pub struct Incoming {
    budget: Budget,
    /// Ends the connection.
    token: CancellationToken,
    frame_bytes_max: i32,
    buffer: BytesMut,
    /// How much the buffer is to hold: grows with what comes in at a time.
    capacity: usize,
    frame: Option<Partial>,
    /// When bytes came in at last. Nothing is read while a frame in the buffer is whole: one that is taken without reading has been
    /// whole since then.
    filled_at: Instant,
    /// Set while there is no budget for what comes next.
    freed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// A frame on its way in.
struct Partial {
    length: usize,
    charge: Charge,
    charged: usize,
    /// Where the frame is put together, if it does not fit into the read buffer.
    own: Option<Vec<u8>>,
}

impl Incoming {
    /// Begins with a first frame. `token` is cancelled if a frame comes in too slowly while others wait for memory.
    #[must_use]
    pub fn new(budget: Budget, token: CancellationToken, frame_bytes_max: i32) -> Self {
        Self {
            filled_at: budget.now(),
            budget,
            token,
            frame_bytes_max,
            buffer: BytesMut::new(),
            capacity: *BUFFER_BYTES.start(),
            frame: None,
            freed: None,
        }
    }

    /// Reads on until a frame is whole. `progress` is set when bytes have come in.
    pub fn poll_frame(
        &mut self,
        stream: &mut dyn Stream,
        context: &mut Context<'_>,
        progress: &mut bool,
    ) -> Poll<Result<Received, ReceiveError>> {
        let mut filled = false;
        loop {
            let Some(partial) = &mut self.frame else {
                match self.announced()? {
                    None => {
                        ready!(self.poll_fill(stream, context))?;
                        (*progress, filled) = (true, true);
                    }
                    Some(length) if self.buffer.len() >= LENGTH_BYTES + length => {
                        self.buffer.advance(LENGTH_BYTES);
                        let frame = self.buffer.split_to(length).freeze();
                        let arrival = self.arrival(filled);
                        return Poll::Ready(Ok(Received { frame, arrival, charge: None }));
                    }
                    Some(length) => self.begin_frame(length),
                }
                continue;
            };
            let here = partial.own.as_ref().map_or(self.buffer.len(), Vec::len).min(partial.length);
            // What is here is paid for, and so is the next piece before it is read.
            let due = partial.length.min(here + CHARGE_STEP_BYTES);
            if partial.charged < due {
                if let Some(freed) = &mut self.freed {
                    ready!(freed.as_mut().poll(context));
                    self.freed = None;
                }
                if !partial.charge.try_add((due - partial.charged) as u64) {
                    self.freed = Some(Box::pin(partial.charge.freed()));
                    continue;
                }
                partial.charged = due;
            }
            if here == partial.length {
                return Poll::Ready(Ok(self.end_frame(filled)));
            }
            ready!(self.poll_fill(stream, context))?;
            (*progress, filled) = (true, true);
        }
    }

    /// The length of the next frame, if it is here.
    fn announced(&self) -> Result<Option<usize>, ReceiveError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        let most = self.frame_bytes_max;
        let announced = usize::try_from(length).ok().filter(|_| 0 < length && length <= most);
        announced.map(Some).ok_or(ReceiveError::BadLength { length, most })
    }

    fn begin_frame(&mut self, length: usize) {
        self.buffer.advance(LENGTH_BYTES);
        let charge = self.budget.begin(length as u64, &self.token);
        self.frame = Some(Partial { length, charge, charged: 0, own: None });
    }

    fn end_frame(&mut self, filled: bool) -> Received {
        let partial = self.frame.take().expect("a frame has begun");
        let frame = match partial.own {
            Some(own) => Bytes::from(own),
            None => self.buffer.split_to(partial.length).freeze(),
        };
        Received { frame, arrival: self.arrival(filled), charge: Some(partial.charge) }
    }

    /// Reads once, and notes when that was.
    fn poll_fill(
        &mut self,
        stream: &mut dyn Stream,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ReceiveError>> {
        ready!(self.poll_read(stream, context))?;
        self.filled_at = self.budget.now();
        Poll::Ready(Ok(()))
    }

    /// When a frame that is taken now came; `filled` if bytes of it came in just now.
    fn arrival(&self, filled: bool) -> Arrival {
        let whole_at = self.filled_at;
        let begun_at = if filled { whole_at } else { self.budget.now() };
        Arrival { whole_at, begun_at }
    }

    fn poll_read(
        &mut self,
        stream: &mut dyn Stream,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ReceiveError>> {
        if let Some(partial) = &mut self.frame
            && (partial.own.is_some() || partial.length > *BUFFER_BYTES.end())
        {
            return partial.poll_fill_own(&mut self.buffer, stream, context);
        }
        let ready = !self.buffer.is_empty() || stream.poll_read_ready(context).is_ready();
        let read = if ready {
            let wanted = self.frame.as_ref().map_or(0, |partial| partial.length).max(self.capacity);
            self.buffer.reserve(wanted - self.buffer.len().min(wanted - 1));
            poll_read_buf(Pin::new(stream), context, &mut self.buffer)
        } else {
            Poll::Pending
        };
        let Poll::Ready(read) = read else {
            // What the stream calls ready may turn out not to be. A connection that waits for a first byte has no buffer.
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
            }
            return Poll::Pending;
        };
        let read = read?;
        if self.buffer.capacity() == self.buffer.len() {
            self.capacity = (self.capacity * 2).min(*BUFFER_BYTES.end());
        }
        match read {
            0 if self.frame.is_none() && self.buffer.is_empty() => {
                Poll::Ready(Err(ReceiveError::Closed))
            }
            0 => Poll::Ready(Err(ReceiveError::ClosedWithin)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Partial {
    /// Reads straight into the frame's own buffer, which is made on the first call and takes what is in `buffer`.
    fn poll_fill_own(
        &mut self,
        buffer: &mut BytesMut,
        stream: &mut dyn Stream,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ReceiveError>> {
        if self.own.is_none() {
            let mut own = Vec::new();
            // The pages are not there before they are written to: what counts is what was charged.
            own.try_reserve_exact(self.length)
                .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
            own.extend_from_slice(buffer);
            *buffer = BytesMut::new();
            self.own = Some(own);
        }
        let own = self.own.as_mut().expect("made above");
        let paid = self.charged - own.len();
        let read = ready!(poll_read_buf(Pin::new(stream), context, &mut own.limit(paid)))?;
        if read == 0 { Poll::Ready(Err(ReceiveError::ClosedWithin)) } else { Poll::Ready(Ok(())) }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::env::{BoxStream, Env};

    struct Rig {
        sender: BoxStream,
        receiver: BoxStream,
        incoming: Incoming,
    }

    impl Rig {
        async fn new() -> Self {
            let env = Env::in_memory();
            let listener = env.net.listen("127.0.0.1", 0, 10).await.unwrap();
            let sender =
                env.net.connect("127.0.0.1", listener.local_address().port()).await.unwrap();
            let receiver = listener.accept().await.unwrap();
            let budget = Budget::new(env.steady, 64 << 20);
            let incoming = Incoming::new(budget, CancellationToken::new(), 10_000_000);
            Self { sender, receiver, incoming }
        }

        async fn receive(&mut self) -> Result<Bytes, ReceiveError> {
            let (incoming, receiver) = (&mut self.incoming, &mut *self.receiver);
            let mut progress = false;
            std::future::poll_fn(|context| incoming.poll_frame(receiver, context, &mut progress))
                .await
                .map(|received| received.frame)
        }
    }

    fn frame(length: usize) -> Vec<u8> {
        let mut bytes = (length as i32).to_be_bytes().to_vec();
        bytes.extend((0..length).map(|i| (i * 7 + length) as u8));
        bytes
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a test of its own waits for what it began")]
    async fn frames_of_all_sizes_come_out_whole() {
        let mut rig = Rig::new().await;
        let lengths =
            [1, 3, 4_091, 4_092, 4_093, 65_531, 65_532, 65_536, 65_537, 300_000, 2, 5_000_000, 9];
        let sent: Vec<u8> = lengths.iter().flat_map(|length| frame(*length)).collect();
        let mut sender = std::mem::replace(&mut rig.sender, rig_end().await);
        let sending = tokio::spawn(async move {
            sender.write_all(&sent).await.unwrap();
            sender
        });
        for length in lengths {
            let received = rig.receive().await.unwrap();
            assert_eq!(received, frame(length)[4..], "a frame of {length} bytes");
        }
        let sender = sending.await.unwrap();
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, rig.receive()).await;
        assert!(waiting.is_err(), "nothing more was sent");
        assert_eq!(rig.incoming.buffer.capacity(), 0, "an idle connection has no buffer");
        drop(sender);
        assert!(matches!(rig.receive().await, Err(ReceiveError::Closed)));
    }

    /// A stream to put in place of one that is taken.
    async fn rig_end() -> BoxStream {
        let env = Env::in_memory();
        let listener = env.net.listen("127.0.0.1", 0, 10).await.unwrap();
        env.net.connect("127.0.0.1", listener.local_address().port()).await.unwrap()
    }

    #[tokio::test]
    async fn bytes_may_come_one_by_one() {
        let mut rig = Rig::new().await;
        let bytes = frame(10);
        for byte in &bytes {
            rig.sender.write_all(&[*byte]).await.unwrap();
        }
        assert_eq!(rig.receive().await.unwrap(), bytes[4..]);
    }

    #[tokio::test]
    async fn lengths_that_no_frame_has_are_refused() {
        for length in [0, -1, i32::MIN, 10_000_001, i32::MAX] {
            let mut rig = Rig::new().await;
            rig.sender.write_all(&length.to_be_bytes()).await.unwrap();
            let refused = rig.receive().await.unwrap_err();
            assert!(
                matches!(refused, ReceiveError::BadLength { length: found, .. } if found == length)
            );
        }
    }

    #[tokio::test]
    async fn an_end_within_a_frame_is_told_from_an_end_between_frames() {
        for (sent, within) in [(&frame(10)[..9], true), (&[0, 0][..], true), (&[][..], false)] {
            let mut rig = Rig::new().await;
            rig.sender.write_all(sent).await.unwrap();
            rig.sender.shutdown().await.unwrap();
            match rig.receive().await.unwrap_err() {
                ReceiveError::ClosedWithin => assert!(within),
                ReceiveError::Closed => assert!(!within),
                other @ (ReceiveError::Broken(_) | ReceiveError::BadLength { .. }) => {
                    panic!("{other}")
                }
            }
        }
    }
}
