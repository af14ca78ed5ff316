//! Keeps background work within a rate of bytes: compaction, moves between directories, and copies between brokers.
//!
//! Source: `Throttler` and `ReplicationQuotaManager` of Apache Kafka 4.3.1.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::Instant;

/// Keeps the bytes that are read and written within a rate.
#[derive(Debug)]
pub(super) struct Pace {
    /// When those so far are paid for.
    paid: Instant,
}

impl Pace {
    /// Nothing was moved yet.
    pub(super) const fn new(now: Instant) -> Self {
        Self { paid: now }
    }

    /// So many bytes were moved; gives until when to wait, if it is worth it. Time in which nothing was moved is not saved
    /// up.
    pub(super) fn charge(
        &mut self,
        now: Instant,
        bytes: u64,
        bytes_per_second: f64,
    ) -> Option<Instant> {
        self.paid = self.paid.max(now).plus(duration_of(bytes, bytes_per_second));
        self.due(now)
    }

    /// What is not paid for yet is paid for at another rate.
    #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
    fn convert(&mut self, now: Instant, from: u64, to: u64) {
        let owed = self.paid.since(now).as_secs_f64() * from as f64;
        let seconds = owed / (to as f64).max(RATE_MIN);
        let owed = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).min(PAUSE_MAX);
        self.paid = now.plus(owed);
    }

    /// Until when to wait, if it is worth it.
    fn due(&self, now: Instant) -> Option<Instant> {
        (self.paid.since(now) >= PAUSE_MIN).then_some(self.paid)
    }
}

/// Keeps replicas that are copied between brokers within a rate, at one end (KIP-73; `ReplicationQuotaManager` of Apache Kafka).
#[derive(Debug)]
pub(super) struct Throttle {
    pace: Mutex<Pace>,
    bytes_per_second: AtomicU64,
}

impl Throttle {
    /// Without a limit so far.
    pub(super) const fn new(now: Instant) -> Self {
        Self { pace: Mutex::new(Pace::new(now)), bytes_per_second: AtomicU64::new(u64::MAX) }
    }

    /// Another rate holds from now on, also for the bytes that are not yet paid for.
    pub(super) fn set_rate(&self, now: Instant, bytes_per_second: u64) {
        let before = self.bytes_per_second.swap(bytes_per_second, Ordering::Relaxed);
        if before != bytes_per_second {
            self.pace.lock().convert(now, before, bytes_per_second);
        }
    }

    /// So many bytes were copied.
    #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
    pub(super) fn charge(&self, now: Instant, bytes: usize) {
        let rate = self.bytes_per_second.load(Ordering::Relaxed) as f64;
        self.pace.lock().charge(now, bytes as u64, rate);
    }

    /// When more may be copied, if not now.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.pace.lock().due(now)
    }
}

/// How long it takes to move bytes at this rate.
#[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
fn duration_of(bytes: u64, bytes_per_second: f64) -> Duration {
    let seconds = bytes as f64 / bytes_per_second.max(RATE_MIN);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).min(PAUSE_MAX)
}

/// Pauses that are shorter are put off (Kafka looks at its rate every 300 ms).
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// A key that says 0 or less must not stop compaction for ever.
const RATE_MIN: f64 = 1.0;
/// A step moves a buffer or a batch. None takes longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::env::Env;

    #[test]
    fn bytes_are_moved_at_the_rate_that_is_asked_for() {
        let env = Env::with_disk(Arc::new(crate::env::MemoryDisk::new()));
        let start = env.steady.now();
        let at = |millis| start.plus(Duration::from_millis(millis));
        let mut pace = Pace { paid: start };
        assert_eq!(pace.charge(start, 1 << 40, f64::MAX), None, "there is no limit");
        // 40 ms, which are put off until they are worth a pause.
        assert_eq!(pace.charge(start, 40, 1_000.0), None);
        assert_eq!(pace.charge(start, 40, 1_000.0), Some(at(80)));
        // Nothing is saved up.
        assert_eq!(pace.charge(at(1_000), 100, 1_000.0), Some(at(1_100)));
        assert_eq!(pace.charge(at(1_000), 100, 1_000.0), Some(at(1_200)));
        pace.convert(at(1_000), 1_000, 500);
        assert_eq!(pace.due(at(1_000)), Some(at(1_400)), "the rest at half the rate");
        pace.convert(at(1_200), 500, u64::MAX);
        assert_eq!(pace.due(at(1_200)), None, "at once, without a limit");
        let forever = pace.charge(at(1_200), u64::MAX, 0.0);
        assert_eq!(forever, Some(at(1_200).plus(PAUSE_MAX)));
    }
}
