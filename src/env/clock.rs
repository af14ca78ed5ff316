//! The two clocks of a broker.
//!
//! [`SteadyClock`] never jumps and cannot be moved: sockets, disks and elections go by it. [`Clock`] tells the time
//! of day and can be moved forward while the broker runs: record timestamps, retention, coordinators and expiry go by
//! it, so that a test sees a week pass in a moment. Both follow tokio's clock, hence also its paused time.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::model::{Instant, UnixMillis};

/// A deadline passed before the future was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct Elapsed;

/// Time since the environment was made.
#[derive(Clone, Debug)]
pub struct SteadyClock {
    start: tokio::time::Instant,
}

impl SteadyClock {
    pub(super) fn new() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_start(self.start.elapsed())
    }

    /// Waits until `deadline`. May be dropped at any time.
    pub async fn sleep_until(&self, deadline: Instant) {
        tokio::time::sleep_until(self.tokio_instant(deadline)).await;
    }

    /// Waits for `duration`. May be dropped at any time.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().plus(duration)).await;
    }

    /// A timer that can be moved, for loops that poll by hand.
    pub fn timer(&self, deadline: Instant) -> tokio::time::Sleep {
        tokio::time::sleep_until(self.tokio_instant(deadline))
    }

    /// The tokio instant of `deadline`, to move a [`timer`](Self::timer) with.
    #[must_use]
    pub fn tokio_instant(&self, deadline: Instant) -> tokio::time::Instant {
        // A deadline beyond tokio's range is one that nobody lives to see.
        const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);
        self.start + deadline.since_start().min(FAR)
    }

    /// Gives what `future` gives, if it is done by `deadline`. May be dropped when `future` may.
    ///
    /// # Errors
    /// [`Elapsed`] if the deadline comes first; the future is dropped then.
    pub async fn timeout_at<F: Future + Send>(
        &self,
        deadline: Instant,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        tokio::time::timeout_at(self.tokio_instant(deadline), future).await.map_err(|_| Elapsed)
    }
}

/// The time of day, movable. Clones share the movement.
#[derive(Clone, Debug)]
pub struct Clock {
    steady: SteadyClock,
    base: Base,
    /// Milliseconds by which the clock was moved forward.
    moved: Arc<watch::Sender<i64>>,
}

#[derive(Clone, Copy, Debug)]
enum Base {
    /// The operating system's time of day.
    System,
    /// A chosen time at the moment the environment was made, going on with the steady clock.
    Fixed(UnixMillis),
}

impl Clock {
    pub(super) fn system(steady: SteadyClock) -> Self {
        Self { steady, base: Base::System, moved: Arc::new(watch::Sender::new(0)) }
    }

    /// A clock that shows `start` at the moment `steady` began and runs with it from there.
    #[must_use]
    pub fn starting_at(steady: SteadyClock, start: UnixMillis) -> Self {
        Self { steady, base: Base::Fixed(start), moved: Arc::new(watch::Sender::new(0)) }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        let base = match self.base {
            Base::System => SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(UnixMillis(0), |since| UnixMillis(saturating_millis(since))),
            Base::Fixed(start) => {
                start.plus_millis(saturating_millis(self.steady.now().since_start()))
            }
        };
        base.plus_millis(*self.moved.borrow())
    }

    /// The present on a scale that never jumps but when the clock is moved: for timers that are to follow
    /// [`advance`](Self::advance), and not what the operating system's time of day is set to.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.steady
            .now()
            .plus(Duration::from_millis(u64::try_from(*self.moved.borrow()).unwrap_or(0)))
    }

    /// Waits until [`instant`](Self::instant) has come to `deadline`. May be dropped at any time.
    pub async fn sleep_until_instant(&self, deadline: Instant) {
        let mut moved = self.moved.subscribe();
        loop {
            moved.mark_unchanged();
            let left = deadline.since(self.instant());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = self.steady.sleep(left) => {}
                changed = moved.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Moves the clock forward. Whoever waits for a time that is now past wakes at once.
    pub fn advance(&self, by: Duration) {
        self.moved.send_modify(|moved| *moved = moved.saturating_add(saturating_millis(by)));
    }

    /// Waits until the clock shows `deadline`, by itself or because it was moved. May be dropped at any time.
    pub async fn sleep_until(&self, deadline: UnixMillis) {
        let mut moved = self.moved.subscribe();
        loop {
            moved.mark_unchanged();
            let left = deadline.millis_since(self.now());
            let Ok(left) = u64::try_from(left) else {
                return;
            };
            if left == 0 {
                return;
            }
            // The system's clock may be set while we sleep: look again now and then.
            let nap = Duration::from_millis(left).min(Duration::from_secs(60));
            tokio::select! {
                () = self.steady.sleep(nap) => {}
                changed = moved.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn saturating_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn moving_one_clock_fires_its_timers_alone() {
        let steady = SteadyClock::new();
        let [a, b] =
            [1_000, 5_000].map(|start| Clock::starting_at(steady.clone(), UnixMillis(start)));
        let hour = Duration::from_secs(3600);
        let (deadline_a, deadline_b) =
            (a.now().plus_millis(3_600_000), b.now().plus_millis(3_600_000));
        let waiting = {
            let a = a.clone();
            tokio::spawn(async move { a.sleep_until(deadline_a).await })
        };
        tokio::task::yield_now().await;
        a.advance(hour);
        waiting.await.unwrap();
        assert_eq!(steady.now().since_start(), Duration::ZERO, "no real time passed");
        assert_eq!(a.now(), deadline_a);
        assert_eq!(b.now(), UnixMillis(5_000), "the other clock stands where it was");
        let early = steady.timeout_at(steady.now().plus(hour / 2), b.sleep_until(deadline_b)).await;
        assert_eq!(early, Err(Elapsed));
    }

    #[tokio::test(start_paused = true)]
    async fn instants_follow_the_movement() {
        let clock = Clock::system(SteadyClock::new());
        let hour = Duration::from_secs(3600);
        let deadline = clock.instant().plus(hour);
        clock.advance(hour / 2);
        clock.sleep_until_instant(deadline).await;
        assert_eq!(clock.instant(), deadline);
        assert_eq!(clock.steady.now().since_start(), hour / 2, "half of it passed by itself");
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_runs_with_the_steady_one() {
        let steady = SteadyClock::new();
        let clock = Clock::starting_at(steady.clone(), UnixMillis(7));
        steady.sleep(Duration::from_millis(250)).await;
        assert_eq!(clock.now(), UnixMillis(257));
        clock.sleep_until(UnixMillis(200_000)).await;
        assert_eq!(clock.now(), UnixMillis(200_000));
    }
}
