//! How many bytes of unfinished requests may be held, over all connections.
//!
//! A frame is charged as its bytes arrive and given back once its request was started: nothing is held while a request waits
//! for replicas or data. One that is whole in the read buffer of its connection when it is first seen is not charged. Small and large frames have a half of the budget each, so that frames of many megabytes never hold
//! up the usual ones. When a half is used up, its connections stop reading, and TCP slows the senders down.
//!
//! Many frames that have come in part could fill a half and wait for each other for ever. So the one that began first may always
//! go on: at most the rest of one frame goes beyond each half.
//!
//! A sender that stops half-way would keep its share for ever. So whoever has to wait looks around: frames that have been
//! coming in for a while at less than [`RATE_BYTES_PER_SECOND_MIN`] lose their connection.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::env::SteadyClock;
use crate::model::Instant;

/// Frames up to this size are small: a batch of `max.message.bytes` with room for what is around it.
const SMALL_FRAME_BYTES_MAX: u64 = 1024 * 1024 + 256 * 1024;
/// A frame that has been coming in for this long is judged by its rate, when others wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// Below this rate a frame holds up others without need.
const RATE_BYTES_PER_SECOND_MIN: u64 = 64 * 1024;
/// How often whoever waits looks around.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// The budget of a broker. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct Budget {
    steady: SteadyClock,
    small: Arc<Half>,
    large: Arc<Half>,
}

#[derive(Debug)]
struct Half {
    capacity: u64,
    state: Mutex<State>,
    /// Told whenever bytes are given back.
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    next_id: u64,
    /// The frames that hold bytes.
    holders: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    /// Since when the sender is the one that is waited for, and what it has sent since.
    since: Instant,
    received: u64,
    /// Whether the frame itself waits for bytes of the budget.
    waits: bool,
    connection: CancellationToken,
}

/// What one frame holds of the budget; dropping it gives the bytes back.
#[derive(Debug)]
pub(super) struct Charge {
    half: Arc<Half>,
    steady: SteadyClock,
    id: u64,
    bytes: u64,
}

impl Budget {
    /// A budget of `bytes` for the whole broker.
    #[must_use]
    pub fn new(steady: SteadyClock, bytes: u64) -> Self {
        let half = || {
            Arc::new(Half { capacity: bytes / 2, state: Mutex::default(), freed: Notify::new() })
        };
        Self { steady, small: half(), large: half() }
    }

    /// The present, by the clock that the budget goes by.
    pub(super) fn now(&self) -> Instant {
        self.steady.now()
    }

    /// The budget for a machine with this much memory: an eighth of it, within sensible bounds.
    #[must_use]
    pub fn bytes_for_memory(memory_bytes: u64) -> u64 {
        const MIB: u64 = 1024 * 1024;
        (memory_bytes / 8).clamp(64 * MIB, 256 * MIB)
    }

    /// Begins a frame of `frame_bytes` on a connection that may be ended by `connection`. Nothing is charged yet.
    pub(super) fn begin(&self, frame_bytes: u64, connection: &CancellationToken) -> Charge {
        let half = if frame_bytes <= SMALL_FRAME_BYTES_MAX { &self.small } else { &self.large };
        let (since, connection) = (self.steady.now(), connection.clone());
        let holder = Holder { since, received: 0, waits: false, connection };
        let mut state = half.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.holders.insert(id, holder);
        drop(state);
        Charge { half: Arc::clone(half), steady: self.steady.clone(), id, bytes: 0 }
    }

    /// Bytes that are held now.
    #[cfg(test)]
    fn used(&self) -> u64 {
        self.small.state.lock().used + self.large.state.lock().used
    }
}

impl Charge {
    /// Takes `more` bytes if they are free, or if no other frame began earlier.
    pub(super) fn try_add(&mut self, more: u64) -> bool {
        let mut state = self.half.state.lock();
        let is_first = state.holders.first_key_value().is_some_and(|(id, _)| *id == self.id);
        let fits = is_first || state.used.saturating_add(more) <= self.half.capacity;
        if fits {
            state.used += more;
            self.bytes += more;
        }
        let holder = state.holders.get_mut(&self.id).expect("held until this charge is dropped");
        if fits && holder.waits {
            // What it has waited for is not the sender's fault.
            (holder.since, holder.received) = (self.steady.now(), 0);
        }
        holder.waits = !fits;
        holder.received += if fits { more } else { 0 };
        fits
    }

    /// Done when it is worth while to try again. Meanwhile slow frames lose their connections. Dropping it is fine.
    pub(super) fn freed(&self) -> impl Future<Output = ()> + Send + 'static {
        let (half, steady) = (Arc::clone(&self.half), self.steady.clone());
        async move {
            let freed = half.freed.notified();
            let mut freed = std::pin::pin!(freed);
            freed.as_mut().enable();
            tokio::select! {
                () = freed => {}
                () = steady.sleep(LOOK_AROUND) => half.end_slow_frames(steady.now()),
            }
        }
    }
}

impl Half {
    fn end_slow_frames(&self, now: Instant) {
        for holder in self.state.lock().holders.values() {
            let age = now.since(holder.since);
            let due = age.as_secs().saturating_mul(RATE_BYTES_PER_SECOND_MIN);
            if age >= PATIENCE && holder.received < due && !holder.waits {
                holder.connection.cancel();
            }
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut state = self.half.state.lock();
        state.used -= self.bytes;
        state.holders.remove(&self.id);
        drop(state);
        // Even if no bytes come back, another frame may be the first one now.
        self.half.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;

    const MIB: u64 = 1024 * 1024;

    fn budget() -> Budget {
        Budget::new(Env::in_memory().steady, 64 * MIB)
    }

    #[tokio::test]
    async fn large_frames_do_not_hold_up_small_ones() {
        let budget = budget();
        let token = CancellationToken::new();
        let mut large: Vec<_> = (0..20).map(|_| budget.begin(100 * MIB, &token)).collect();
        for _ in 0..100 {
            large.iter_mut().for_each(|charge| {
                let _ = charge.try_add(MIB);
            });
        }
        assert_eq!(budget.used(), 130 * MIB, "the first one is whole, all others wait");
        let mut small = budget.begin(MIB, &token);
        assert!(small.try_add(MIB));
        drop((large, small));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn frames_that_have_come_in_part_all_come_through() {
        let budget = budget();
        let token = CancellationToken::new();
        let mut frames: Vec<_> = (0..100).map(|_| (budget.begin(MIB, &token), 0)).collect();
        while !frames.is_empty() {
            let received =
                |frames: &Vec<(Charge, u64)>| frames.iter().map(|(_, at)| at).sum::<u64>();
            let before = (frames.len(), received(&frames));
            for (charge, at) in &mut frames {
                *at += u64::from(charge.try_add(MIB / 16));
            }
            assert!(budget.used() < 33 * MIB);
            frames.retain(|(_, at)| *at < 16);
            assert_ne!(before, (frames.len(), received(&frames)), "they wait for each other");
        }
    }

    #[tokio::test]
    async fn a_frame_larger_than_its_half_comes_through() {
        let budget = budget();
        let token = CancellationToken::new();
        let mut huge = budget.begin(100 * MIB, &token);
        assert!((0..100).all(|_| huge.try_add(MIB)));
        let mut other = budget.begin(2 * MIB, &token);
        assert!(!other.try_add(1));
        let freed = other.freed();
        drop(huge);
        freed.await;
        assert!(other.try_add(1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_stalls_while_others_wait_is_ended() {
        let budget = budget();
        let (slow, fast) = (CancellationToken::new(), CancellationToken::new());
        let mut stalled = budget.begin(MIB, &slow);
        assert!(stalled.try_add(100));
        let mut rest: Vec<_> = (0..32).map(|_| budget.begin(MIB, &fast)).collect();
        assert_eq!(
            rest.iter_mut().map(|charge| charge.try_add(MIB)).filter(|fits| *fits).count(),
            31
        );
        let mut waiting = budget.begin(MIB, &CancellationToken::new());
        while !slow.is_cancelled() {
            assert!(!waiting.try_add(MIB));
            waiting.freed().await;
        }
        assert!(!fast.is_cancelled(), "whoever has sent a megabyte in five seconds is not slow");
        drop(stalled);
        drop(rest.pop());
        assert!(waiting.try_add(MIB));
    }
}
