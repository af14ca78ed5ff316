//! Bytes as a socket gives them, cut into any pieces, up to the decoded request.
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 1 | options, see [`Options`] |
//! | 1 | number of sizes that follow |
//! | n | sizes of the pieces, used in turn: 0 for "not yet", below 128 as many bytes, else 1 KiB for each above 127 |
//! | | what the peer sends before it closes its side |
//!
//! The same frames come out however the bytes are cut, and after the last the right end. Meanwhile no more memory is held
//! than twice the largest frame and a megabyte; each request is decoded as `request` does it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use ottla::env::{Env, Stream};
use ottla::net::{Budget, Incoming, ReceiveError, Received};
use ottla::wire::RequestHeader;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::input::Input;
use crate::{memory, request, verdict};

thread_local! {
    /// Whoever waits for the budget asks for a timer, which nobody lives to see.
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without threads and sockets");
}

/// Runs one input.
///
/// # Panics
/// If a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let options = Options::new(input.byte());
    let size_count = input.byte().into();
    let sizes = input.take(size_count);
    let sent = input.rest();
    let (expected, end) = split(sent, options.frame_bytes_max);
    let (found, peak) = RUNTIME.with(|runtime| {
        let _entered = runtime.enter();
        memory::peak_of(|| receive_all(options, sizes, sent))
    });
    let largest = expected.iter().map(|frame| frame.len()).max().unwrap_or(0);
    let announced = if let End::Within { announced } = end { announced } else { 0 };
    let kept: usize = found.frames.iter().map(Bytes::len).sum();
    let bound = kept + 2 * largest.max(announced) + (1 << 20);
    assert!(peak <= bound, "{peak} bytes of memory for a connection that may take {bound}");
    assert_eq!(found.frames, expected, "the frames are not what was sent");
    assert_end(&found.end, end);
    let mut kinds = Vec::new();
    for frame in &found.frames {
        kinds.push(kind_of(frame));
    }
    let any_good = kinds.iter().any(|(is_good, _)| *is_good);
    kinds.truncate(3);
    let kind = (kinds, std::mem::discriminant(&found.end));
    if any_good { verdict::accepted(kind) } else { verdict::refused(kind) }
}

/// Requests of a few APIs, cut in several ways.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let metadata = frame(&[&[0, 3, 0, 12, 0, 0, 0, 7, 0, 1, b'c', 0], &[0; 4][..]].concat());
    let versions =
        frame(&[&[0, 18, 0, 3, 0, 0, 0, 8, 0xff, 0xff, 0], &[2, b'n', 2, b'1', 0][..]].concat());
    let produce = frame(
        &[
            &[0, 0, 0, 3, 0, 0, 0, 9, 0, 0][..],
            &[0xff, 0xff, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1],
            &[0, 0, 0, 4, 0, 1, 0x11, 0x70],
            &[7; 70_000],
        ]
        .concat(),
    );
    let all = [&metadata[..], &versions, &metadata].concat();
    let mut seeds = Vec::new();
    for options in 0..8 {
        for sizes in [&[][..], &[1], &[0, 3, 0, 50], &[255, 127]] {
            for sent in [&metadata, &all, &produce, &[&produce[..], &all].concat()] {
                if sent.len() > 1_000 && sizes.contains(&1) {
                    continue;
                }
                let head = [options, u8::try_from(sizes.len()).expect("few sizes")];
                seeds.push([&head, sizes, &sent[..]].concat());
            }
        }
    }
    seeds
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a small frame");
    [&length.to_be_bytes(), bytes].concat()
}

/// What is different from connection to connection.
#[derive(Clone, Copy)]
struct Options {
    /// `socket.request.max.bytes`.
    frame_bytes_max: i32,
    budget_bytes: u64,
    /// Whether a frame keeps its share of the budget until the next one has to wait for it.
    holds_charges: bool,
}

impl Options {
    fn new(bits: u8) -> Self {
        Self {
            frame_bytes_max: if bits & 1 == 0 { 2 << 20 } else { 100_000 },
            budget_bytes: if bits & 2 == 0 { 64 << 20 } else { 50_000 },
            holds_charges: bits & 4 != 0,
        }
    }
}

/// How the bytes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// After a frame.
    Between,
    /// In a frame, or in the length of one (which announces nothing).
    Within { announced: usize },
    /// With a length that no frame may have.
    BadLength(i32),
}

/// What should come out.
fn split(mut rest: &[u8], frame_bytes_max: i32) -> (Vec<Bytes>, End) {
    let mut frames = Vec::new();
    loop {
        let Some((length, after)) = rest.split_first_chunk() else {
            let end = if rest.is_empty() { End::Between } else { End::Within { announced: 0 } };
            return (frames, end);
        };
        let length = i32::from_be_bytes(*length);
        let Some(announced) =
            usize::try_from(length).ok().filter(|_| (1..=frame_bytes_max).contains(&length))
        else {
            return (frames, End::BadLength(length));
        };
        let Some((frame, after)) = after.split_at_checked(announced) else {
            return (frames, End::Within { announced });
        };
        frames.push(Bytes::copy_from_slice(frame));
        rest = after;
    }
}

/// What came out.
struct Found {
    frames: Vec<Bytes>,
    end: ReceiveError,
}

fn receive_all(options: Options, sizes: &[u8], sent: &[u8]) -> Found {
    let budget = Budget::new(Env::in_memory().steady, options.budget_bytes);
    let mut incoming = Incoming::new(budget, CancellationToken::new(), options.frame_bytes_max);
    let mut stream = Pieces { rest: sent, sizes, next: 0 };
    let mut context = Context::from_waker(Waker::noop());
    let mut held: Option<Received> = None;
    let mut frames = Vec::new();
    loop {
        let (next, mut progress) = (stream.next, false);
        match incoming.poll_frame(&mut stream, &mut context, &mut progress) {
            Poll::Ready(Ok(received)) => {
                // A slice would keep the whole read buffer.
                frames.push(Bytes::copy_from_slice(&received.frame));
                held = options.holds_charges.then_some(received);
            }
            Poll::Ready(Err(end)) => return Found { frames, end },
            Poll::Pending if stream.next != next => {}
            // It was not the stream that made it wait.
            Poll::Pending => assert!(held.take().is_some(), "waits for a budget that is free"),
        }
    }
}

fn assert_end(found: &ReceiveError, expected: End) {
    let as_expected = match found {
        ReceiveError::Closed => expected == End::Between,
        ReceiveError::ClosedWithin => matches!(expected, End::Within { .. }),
        ReceiveError::BadLength { length, .. } => expected == End::BadLength(*length),
        ReceiveError::Broken(_) => false,
    };
    assert!(as_expected, "{found} instead of {expected:?}");
}

/// Whether a frame is a request that can be answered, and the way it is or is not.
fn kind_of(frame: &Bytes) -> (bool, u64) {
    let (header, peak) = memory::peak_of(|| RequestHeader::decode(frame));
    // A client id of 32 KiB is three times as long with replacement characters.
    assert!(peak <= 256 << 10, "{peak} bytes of memory for a header");
    let Ok((header, start)) = header else {
        return (false, 0);
    };
    let kind = u64::from(header.api_key.unsigned_abs()) << 16
        | u64::from(header.api_version.unsigned_abs());
    match request::check_body(&header, &frame.slice(start..)) {
        Some(Ok(())) => (true, kind),
        Some(Err(_)) => (false, kind),
        None => (false, 1),
    }
}

/// A stream that gives bytes in pieces, and then its end.
#[derive(Debug)]
struct Pieces<'a> {
    rest: &'a [u8],
    sizes: &'a [u8],
    /// Counts the pieces.
    next: usize,
}

impl Stream for Pieces<'_> {
    fn poll_read_ready(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // As with sockets, what is ready may turn out not to be.
        Poll::Ready(Ok(()))
    }

    fn local_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 9092).into()
    }

    fn peer_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 50_000).into()
    }
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = match self.sizes.get(self.next % self.sizes.len().max(1)) {
            // Even a stream of "not yet" ends some time.
            Some(0) if self.next < 10_000 => {
                self.next += 1;
                return Poll::Pending;
            }
            Some(size @ 1..128) => usize::from(*size),
            Some(size) => (usize::from(*size).saturating_sub(127)).max(1) << 10,
            None => usize::MAX,
        };
        self.next += 1;
        let (piece, rest) = self.rest.split_at(size.min(self.rest.len()).min(buffer.remaining()));
        buffer.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        _bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        unreachable!("nothing is sent")
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        unreachable!("nothing is sent")
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        unreachable!("nothing is sent")
    }
}
