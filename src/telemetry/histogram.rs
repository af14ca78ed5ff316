//! How long things take, counted in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, each included; one more bucket takes what is above the last.
pub const BOUNDS: [Duration; 18] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// Durations by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Enough for six hundred years.
    sum_nanos: AtomicU64,
}

/// The counts of a [`Histogram`] at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramCounts {
    /// For each of [`BOUNDS`] how many were not longer; at last how many there were.
    pub cumulative: [u64; BOUNDS.len() + 1],
    /// All durations together.
    pub sum: Duration,
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&self, duration: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < duration);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The counts now.
    #[must_use]
    pub fn counts(&self) -> HistogramCounts {
        let mut total = 0;
        let cumulative = std::array::from_fn(|bucket| {
            total += self.buckets.get(bucket).map_or(0, |count| count.load(Ordering::Relaxed));
            total
        });
        HistogramCounts {
            cumulative,
            sum: Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)),
        }
    }
}

impl HistogramCounts {
    /// How many durations there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_every_bucket_from_its_own_on() {
        let histogram = Histogram::default();
        for micros in [0, 50, 51, 1_000, 40_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let counts = histogram.counts();
        assert_eq!(counts.count(), 5);
        assert_eq!(counts.sum, Duration::from_micros(40_001_101));
        let not_longer = |bound: Duration| {
            counts.cumulative[BOUNDS.iter().position(|other| *other == bound).unwrap()]
        };
        assert_eq!(not_longer(Duration::from_micros(50)), 2);
        assert_eq!(not_longer(Duration::from_micros(100)), 3);
        assert_eq!(not_longer(Duration::from_millis(1)), 4);
        assert_eq!(not_longer(Duration::from_secs(30)), 4);
    }

    #[test]
    fn the_bounds_rise() {
        assert!(BOUNDS.is_sorted_by(|a, b| a < b));
    }
}
