//! Counting and timing: the line that moves, and the table at the end.

use std::io::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::manner::has_spectators;
use crate::cli::output::{Table, print_json, print_text};
use crate::env::SteadyClock;
use crate::model::Instant;

/// Latencies beyond this count as this.
const LATENCY_MAX: Duration = Duration::from_secs(600);
/// How often the line moves.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// What was measured so far.
pub(super) struct Meter {
    steady: SteadyClock,
    began: Instant,
    records: u64,
    bytes: u64,
    /// In microseconds.
    latencies: Histogram<u64>,
    next_line: Instant,
    is_terminal: bool,
}

impl Meter {
    pub(super) fn new(steady: &SteadyClock) -> Self {
        let latencies = Histogram::new_with_bounds(1, micros(LATENCY_MAX), 3)
            .expect("the bounds are in order and the precision is one that it knows");
        let began = steady.now();
        Self {
            steady: steady.clone(),
            began,
            records: 0,
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

    pub(super) fn count(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
    }

    pub(super) const fn records(&self) -> u64 {
        self.records
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
        let (rate, megabytes) = self.rates(self.elapsed());
        eprint!(
            "\r\x1b[K{} records, {rate:.0}/s, {megabytes:.1} MB/s, p50 {} p99 {} p99.9 {}",
            self.records,
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(0.999)
        );
        // Nobody is harmed by a line that does not come.
        drop(std::io::stderr().flush());
    }

    fn rates(&self, elapsed: Duration) -> (f64, f64) {
        let seconds = elapsed.as_secs_f64().max(1e-9);
        #[expect(clippy::cast_precision_loss, reason = "for people to read")]
        let (records, bytes) = (self.records as f64, self.bytes as f64);
        (records / seconds, bytes / seconds / 1e6)
    }

    fn quantile(&self, quantile: f64) -> String {
        match self.latencies.is_empty() {
            true => "-".to_owned(),
            false => milliseconds(self.latencies.value_at_quantile(quantile)),
        }
    }

    /// Prints the result.
    pub(super) fn finish(&self, what: &str, json: bool) -> Result<(), Failure> {
        let elapsed = self.elapsed();
        if self.is_terminal && elapsed > LINE_EVERY {
            eprint!("\r\x1b[K");
        }
        let (rate, megabytes) = self.rates(elapsed);
        if json {
            let at = |quantile| match self.latencies.is_empty() {
                true => None,
                false => Some(self.latencies.value_at_quantile(quantile)),
            };
            return Ok(print_json(&json!({
                "bench": what, "records": self.records, "bytes": self.bytes,
                "seconds": elapsed.as_secs_f64(), "records_per_second": rate,
                "megabytes_per_second": megabytes,
                "latency_us": { "p50": at(0.5), "p99": at(0.99), "p99.9": at(0.999), "max": at(1.0) },
            }))?);
        }
        let mut table = Table::new(&[
            "BENCH",
            "RECORDS",
            "SECONDS",
            "RECORDS/S",
            "MB/S",
            "P50",
            "P99",
            "P99.9",
            "MAX",
        ]);
        table.row([
            what.to_owned(),
            self.records.to_string(),
            format!("{:.2}", elapsed.as_secs_f64()),
            format!("{rate:.0}"),
            format!("{megabytes:.1}"),
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(0.999),
            self.quantile(1.0),
        ]);
        Ok(print_text(&table.to_string())?)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
}
