//! What a broker has done, counted.
//!
//! Owns counters and histograms that are cheap enough for the hot path: one relaxed atomic addition each, no lock, no
//! allocation, no lookup by name. What they are called outside, and how they are shown, is `admin/`. Rates and averages over a
//! while (`window.rs`) are for what happens seldom.
//!
//! **Invariant:** counts only grow while the process runs. Readers see each of them at some moment of their reading, not all
//! at the same one.

mod histogram;
mod phase;
mod quorum;
mod window;

use std::sync::atomic::{AtomicU64, Ordering};

pub use histogram::{BOUNDS, Histogram, HistogramCounts};
pub use phase::{Phase, Phases};
pub use quorum::{MadeSnapshot, QuorumMetrics};
pub use window::Window;

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum of all that was added.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of a broker as a whole.
#[derive(Debug)]
pub struct Metrics {
    /// Requests, by key of their API.
    pub requests: Requests,
    /// Records in and out, over all topics, also those that are gone.
    pub traffic: Traffic,
    /// Leaders that were elected though they may lack records, while this node was the active controller.
    pub unclean_elections: Counter,
}

impl Metrics {
    /// Counts for APIs with keys from 0 up to below `keys`.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let (traffic, unclean_elections) = Default::default();
        Self { requests: Requests::new(keys), traffic, unclean_elections }
    }
}

/// Requests of clients, by key of their API.
#[derive(Debug)]
pub struct Requests(Box<[RequestCounts]>);

impl Requests {
    fn new(keys: usize) -> Self {
        Self((0..keys).map(|_| RequestCounts::default()).collect())
    }

    /// The counts of an API; `None` if its key is not below the number that this was made for.
    #[must_use]
    pub fn of(&self, key: i16) -> Option<&RequestCounts> {
        self.0.get(usize::try_from(key).ok()?)
    }
}

/// The requests of one API.
#[derive(Debug, Default)]
pub struct RequestCounts {
    /// Bytes of requests, each with its length in front.
    pub request_bytes: Counter,
    /// Bytes of responses, each with its length in front.
    pub response_bytes: Counter,
    /// From a request's last byte to its response, which is then sent in its turn. Its count is the number of requests.
    pub duration: Histogram,
    /// What that time was made of, and what came before and after it.
    pub phases: Phases,
}

/// Records that came and went: of a partition, or of a whole broker.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Records that clients have appended.
    pub records_in: Counter,
    /// Bytes of the batches that clients have appended.
    pub bytes_in: Counter,
    /// Bytes of records that were sent to consumers.
    pub bytes_out: Counter,
    /// Produce requests; one that names several partitions counts for each.
    pub produce_requests: Counter,
    /// Those that were refused.
    pub produce_failures: Counter,
    /// Fetch requests; one that names several partitions counts for each.
    pub fetch_requests: Counter,
    /// Those that were refused.
    pub fetch_failures: Counter,
}

/// The counts of a [`Traffic`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Traffic`")]
pub struct TrafficCounts {
    pub records_in: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub produce_requests: u64,
    pub produce_failures: u64,
    pub fetch_requests: u64,
    pub fetch_failures: u64,
}

impl Traffic {
    /// The counts now.
    #[must_use]
    pub fn counts(&self) -> TrafficCounts {
        TrafficCounts {
            records_in: self.records_in.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            produce_requests: self.produce_requests.get(),
            produce_failures: self.produce_failures.get(),
            fetch_requests: self.fetch_requests.get(),
            fetch_failures: self.fetch_failures.get(),
        }
    }
}

impl std::ops::AddAssign for TrafficCounts {
    fn add_assign(&mut self, other: Self) {
        self.records_in += other.records_in;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.produce_requests += other.produce_requests;
        self.produce_failures += other.produce_failures;
        self.fetch_requests += other.fetch_requests;
        self.fetch_failures += other.fetch_failures;
    }
}
