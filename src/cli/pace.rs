//! When the next one is due, where so many are to be done in a time.

use std::time::Duration;

use crate::env::SteadyClock;
use crate::model::Instant;

/// Gives each one its time, evenly.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    next: Instant,
}

/// So much lateness is made up for: clocks wake late, by less than that. What is late for another reason, because nothing was there
/// or the other side was slow, is not followed by a burst.
const LATE_MAX: Duration = Duration::from_millis(10);

impl Pace {
    /// The first one is due at once, each other one this time behind the one before it.
    pub(super) fn new(steady: &SteadyClock, interval: Duration) -> Self {
        Self { interval, next: steady.now() }
    }

    /// When the next one is due, if that is not yet; and counts it.
    pub(super) fn due(&mut self, now: Instant) -> Option<Instant> {
        if now.since(self.next) > LATE_MAX {
            self.next = now;
        }
        let due = self.next;
        self.next = due.plus(self.interval);
        (due > now).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_time_and_credit_is_not_saved() {
        let at = |millis| Instant::from_start(Duration::from_millis(millis));
        let mut pace = Pace { interval: Duration::from_millis(4), next: at(0) };
        assert_eq!([pace.due(at(0)), pace.due(at(0))], [None, Some(at(4))]);
        // Woken late: those in between are done at once, the next one is on time again.
        assert_eq!(
            [pace.due(at(13)), pace.due(at(13)), pace.due(at(13))],
            [None, None, Some(at(16))]
        );
        // After a long time there is one, not hundreds.
        assert_eq!([pace.due(at(1000)), pace.due(at(1000))], [None, Some(at(1004))]);
    }
}
