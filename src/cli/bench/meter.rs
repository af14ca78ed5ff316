//! Counting and timing, and the line that moves meanwhile.

use std::io::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::cli::manner::has_spectators;
use crate::env::SteadyClock;
use crate::model::Instant;

/// Latencies beyond this count as this.
const LATENCY_MAX: Duration = Duration::from_secs(600);
/// How often the line moves.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Records, with their bytes.
    Records,
    Connections,
}

/// What was measured so far.
pub(super) struct Meter {
    steady: SteadyClock,
    counted: Counted,
    began: Instant,
    count: u64,
    bytes: u64,
    /// In microseconds.
    latencies: Histogram<u64>,
    next_line: Instant,
    is_terminal: bool,
}

/// What was measured, in numbers.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) counted: Counted,
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    pub(super) megabytes_per_second: f64,
    /// In microseconds, if there were any: p50, p99, p99.9 and the longest one.
    pub(super) latencies: Option<[u64; 4]>,
}

impl Meter {
    pub(super) fn new(steady: &SteadyClock, counted: Counted) -> Self {
        let latencies = Histogram::new_with_bounds(1, micros(LATENCY_MAX), 3)
            .expect("the bounds are in order and the precision is one that it knows");
        let began = steady.now();
        Self {
            steady: steady.clone(),
            counted,
            began,
            count: 0,
            bytes: 0,
            latencies,
            next_line: began.plus(LINE_EVERY),
            is_terminal: has_spectators(),
        }
    }

    /// What was done until now was to prepare: it counts from here.
    pub(super) fn begin(&mut self) {
        self.began = self.steady.now();
    }

    pub(super) fn count(&mut self, count: u64, bytes: u64) {
        self.count += count;
        self.bytes += bytes;
    }

    /// How many there were so far.
    pub(super) const fn counted(&self) -> u64 {
        self.count
    }

    pub(super) fn latency(&mut self, took: Duration) {
        self.latencies.saturating_record(micros(took).max(1));
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.steady.now().since(self.began)
    }

    /// Shows where it stands, at most once a second, to people only.
    pub(super) fn show(&mut self) {
        let now = self.steady.now();
        if !self.is_terminal || now < self.next_line {
            return;
        }
        self.next_line = now.plus(LINE_EVERY);
        let measured = self.measured();
        let (count, rate) = (measured.count, measured.per_second);
        let what = match self.counted {
            Counted::Records => {
                format!("{count} records, {rate:.0}/s, {:.1} MB/s", measured.megabytes_per_second)
            }
            Counted::Connections => format!("{count} connections, {rate:.0}/s"),
        };
        let [p50, p99, p999, _] = measured
            .latencies
            .map_or_else(|| ["-"; 4].map(str::to_owned), |latencies| latencies.map(milliseconds));
        eprint!("\r\x1b[K{what}, p50 {p50} p99 {p99} p99.9 {p999}");
        // Nobody is harmed by a line that does not come.
        drop(std::io::stderr().flush());
    }

    /// What was measured until now.
    pub(super) fn measured(&self) -> Measured {
        let elapsed = self.elapsed().as_secs_f64();
        let seconds = elapsed.max(1e-9);
        #[expect(clippy::cast_precision_loss, reason = "for people to read")]
        let (count, bytes) = (self.count as f64, self.bytes as f64);
        let latencies =
            [0.5, 0.99, 0.999, 1.0].map(|quantile| self.latencies.value_at_quantile(quantile));
        Measured {
            counted: self.counted,
            count: self.count,
            bytes: self.bytes,
            seconds: elapsed,
            per_second: count / seconds,
            megabytes_per_second: bytes / seconds / 1e6,
            latencies: (!self.latencies.is_empty()).then_some(latencies),
        }
    }

    /// Takes the line away: what comes now is the result.
    pub(super) fn clear(&self) {
        if self.is_terminal && self.elapsed() > LINE_EVERY {
            eprint!("\r\x1b[K");
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

pub(super) fn milliseconds(micros: u64) -> String {
    format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
}
