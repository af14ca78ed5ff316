//! Of what the time of a request is made.

use std::time::Duration;

use super::Histogram;

/// A part of the time that a request takes. No API has all of them; `docs/METRICS.md` says which has which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has come whole, and the connection has not begun it: requests before it are in the way.
    Queue,
    /// It is being decoded.
    Parse,
    /// Its records are being checked and appended.
    Append,
    /// What it has appended waits to be made durable here.
    Fsync,
    /// It waits for others: for replicas, for records, or for the members of a group.
    Purgatory,
    /// Its response waits for its turn and for the socket.
    Send,
}

impl Phase {
    /// All phases, in the order in which a request goes through them.
    pub const ALL: [Self; 6] =
        [Self::Queue, Self::Parse, Self::Append, Self::Fsync, Self::Purgatory, Self::Send];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Parse => "parse",
            Self::Append => "append",
            Self::Fsync => "fsync",
            Self::Purgatory => "purgatory",
            Self::Send => "send",
        }
    }
}

/// How long the requests of an API were in each phase.
#[derive(Debug, Default)]
pub struct Phases([Histogram; Phase::ALL.len()]);

impl Phases {
    /// Counts the time that a request was in a phase.
    pub fn record(&self, phase: Phase, duration: Duration) {
        self.of(phase).record(duration);
    }

    /// How long requests were in a phase.
    #[must_use]
    pub const fn of(&self, phase: Phase) -> &Histogram {
        let [queue, parse, append, fsync, purgatory, send] = &self.0;
        match phase {
            Phase::Queue => queue,
            Phase::Parse => parse,
            Phase::Append => append,
            Phase::Fsync => fsync,
            Phase::Purgatory => purgatory,
            Phase::Send => send,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_a_histogram_of_its_own() {
        let phases = Phases::default();
        for (phase, count) in Phase::ALL.into_iter().zip(1..) {
            (0..count).for_each(|_| phases.record(phase, Duration::from_millis(1)));
        }
        let counts = Phase::ALL.map(|phase| phases.of(phase).counts().count());
        assert_eq!(counts, [1, 2, 3, 4, 5, 6]);
    }
}
