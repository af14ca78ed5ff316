//! What a node does for the quorum: commits as its leader, and snapshots of the metadata.

use std::time::Duration;

use parking_lot::Mutex;

use super::Window;
use crate::model::{Instant, UnixMillis};

/// The counts of a node's part in the quorum. Behind a lock: changes of the metadata are few.
#[derive(Debug, Default)]
pub struct QuorumMetrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    appended: Window,
    commit_latency_ms: Window,
    snapshot: Option<MadeSnapshot>,
}

/// A snapshot that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeSnapshot {
    /// When it was there.
    pub at: UnixMillis,
    /// How long it took to write.
    pub took: Duration,
}

impl QuorumMetrics {
    /// Counts commands that this node has appended as the leader, and how long it took until they were agreed on.
    pub fn committed(&self, now: Instant, commands: usize, latency: Duration) {
        let mut counts = self.0.lock();
        let commands = u32::try_from(commands).unwrap_or(u32::MAX);
        counts.appended.record(now, f64::from(commands));
        counts.commit_latency_ms.record(now, latency.as_secs_f64() * 1_000.0);
    }

    /// Takes note of a snapshot that was written.
    pub fn made_snapshot(&self, snapshot: MadeSnapshot) {
        self.0.lock().snapshot = Some(snapshot);
    }

    /// How many commands this node has appended in a second, lately.
    #[must_use]
    pub fn append_rate(&self, now: Instant) -> f64 {
        self.0.lock().appended.rate(now)
    }

    /// How many milliseconds it took until commands were agreed on, lately; none if there were none.
    #[must_use]
    pub fn commit_latency_ms(&self, now: Instant) -> Option<f64> {
        self.0.lock().commit_latency_ms.average(now)
    }

    /// The last snapshot that was written since the node was started.
    #[must_use]
    pub fn last_snapshot(&self) -> Option<MadeSnapshot> {
        self.0.lock().snapshot
    }
}
