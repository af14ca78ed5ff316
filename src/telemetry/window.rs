//! Rates and averages over the last while, as Apache Kafka's sensors have them.

use std::time::Duration;

use crate::model::Instant;

/// How long a sample takes values: `metrics.sample.window.ms` of Apache Kafka.
const SAMPLE: Duration = Duration::from_secs(30);
/// How many samples count: `metrics.num.samples` of Apache Kafka.
const SAMPLES: usize = 2;

/// Values of the last 30 to 60 seconds (`SampledStat`, `Rate` and `Avg` of Apache Kafka with its defaults).
#[derive(Debug, Default)]
pub struct Window([Option<Sample>; SAMPLES]);

#[derive(Clone, Copy, Debug)]
struct Sample {
    begun: Instant,
    sum: f64,
    count: u32,
}

impl Window {
    /// Counts a value.
    pub fn record(&mut self, now: Instant, value: f64) {
        let newest = self.0.iter().flatten().map(|sample| sample.begun).max();
        if newest.is_none_or(|newest| now.since(newest) >= SAMPLE) {
            // The one that takes no place, or else the oldest, gives way.
            self.0.sort_by_key(|sample| sample.map(|sample| sample.begun));
            self.0[0] = Some(Sample { begun: now, sum: 0.0, count: 0 });
        }
        let newest = self.0.iter_mut().flatten().max_by_key(|sample| sample.begun);
        let newest = newest.expect("one has begun by now");
        newest.sum += value;
        newest.count += 1;
    }

    /// What came in a second. A window that is not full yet counts as one sample at least, so that the first value is no peak.
    #[must_use]
    pub fn rate(&self, now: Instant) -> f64 {
        let Some(oldest) = self.recent(now).map(|sample| sample.begun).min() else { return 0.0 };
        let elapsed = now.since(oldest);
        let begun = if elapsed < SAMPLE { elapsed + SAMPLE } else { elapsed };
        self.recent(now).map(|sample| sample.sum).sum::<f64>() / begun.as_secs_f64()
    }

    /// The average value; none if there was no value.
    #[must_use]
    pub fn average(&self, now: Instant) -> Option<f64> {
        let count: u32 = self.recent(now).map(|sample| sample.count).sum();
        let sum: f64 = self.recent(now).map(|sample| sample.sum).sum();
        (count > 0).then(|| sum / f64::from(count))
    }

    /// The samples that are not too old to count.
    fn recent(&self, now: Instant) -> impl Iterator<Item = &Sample> {
        let all = self.0.iter().flatten();
        all.filter(move |sample| now.since(sample.begun) < SAMPLE * SAMPLES as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn values_count_for_two_samples() {
        let mut window = Window::default();
        assert_eq!((window.rate(at(0)), window.average(at(0))), (0.0, None));
        window.record(at(10), 6.0);
        // 30 s at least are taken to have passed before.
        assert_eq!((window.rate(at(10)), window.average(at(10))), (0.2, Some(6.0)));
        window.record(at(20), 12.0);
        assert_eq!((window.rate(at(20)), window.average(at(20))), (0.45, Some(9.0)));
        window.record(at(45), 3.0);
        assert_eq!((window.rate(at(45)), window.average(at(45))), (0.6, Some(7.0)));
        // The first sample is too old.
        assert_eq!(window.average(at(70)), Some(3.0));
        assert_eq!(window.rate(at(75)), 0.1);
        // A third takes the place of the first, and the second one goes as well.
        window.record(at(80), 5.0);
        assert_eq!(window.average(at(80)), Some(4.0));
        assert_eq!(window.average(at(105)), Some(5.0));
        assert_eq!((window.rate(at(140)), window.average(at(140))), (0.0, None));
    }
}
