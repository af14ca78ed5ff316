//! Prometheus' text format, version 0.0.4.
//!
//! Owns how families and samples are written. It knows no metric.
//!
//! **Invariant:** all samples of a family stand together behind its `HELP` and `TYPE`, which the type of [`Family`] enforces.

use std::fmt::{Display, Write as _};

use crate::telemetry::{BOUNDS, HistogramCounts};

/// The content type of a page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of number a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Untyped,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Untyped => "untyped",
        }
    }
}

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

/// A family whose samples are being written.
#[derive(Debug)]
pub(super) struct Family<'a> {
    name: &'static str,
    text: &'a mut String,
}

/// Names and values of labels.
pub(super) type Labels<'a> = &'a [(&'static str, &'a dyn Display)];

impl Page {
    /// Begins a family. A name comes once on a page.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        put(&mut self.text, format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.name()));
        Family { name, text: &mut self.text }
    }

    /// A gauge with one sample, if there is a value.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str, value: Option<impl Display>) {
        self.single(name, Kind::Gauge, help, value);
    }

    /// A counter with one sample, if there is a value.
    pub(super) fn counter(&mut self, name: &'static str, help: &str, value: Option<impl Display>) {
        self.single(name, Kind::Counter, help, value);
    }

    /// A family with one sample, if there is a value.
    pub(super) fn single(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &str,
        value: Option<impl Display>,
    ) {
        let mut family = self.family(name, kind, help);
        if let Some(value) = value {
            family.sample(&[], value);
        }
    }

    /// The whole page.
    pub(super) fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Writes a sample.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Writes the samples of a histogram of durations, in seconds.
    pub(super) fn durations(&mut self, labels: Labels<'_>, counts: &HistogramCounts) {
        let bounds = BOUNDS.iter().map(|bound| bound.as_secs_f64().to_string());
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(counts.cumulative) {
            self.line("_bucket", labels, Some(&bound), count);
        }
        self.line("_sum", labels, None, counts.sum.as_secs_f64());
        self.line("_count", labels, None, counts.count());
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: impl Display) {
        put(self.text, format_args!("{}{suffix}", self.name));
        let mut separator = '{';
        let bound = bound.as_ref().map(|bound| ("le", bound as &dyn Display));
        for (name, label) in labels.iter().copied().chain(bound) {
            put(self.text, format_args!("{separator}{name}=\"{}\"", escaped(&label.to_string())));
            separator = ',';
        }
        let end = if separator == ',' { "}" } else { "" };
        put(self.text, format_args!("{end} {value}\n"));
    }
}

/// The value of a label as it stands between quotes.
fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn put(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::Histogram;

    #[test]
    fn a_page_as_prometheus_reads_it() {
        let mut page = Page::default();
        page.gauge("up", "Whether it runs.", Some(1));
        page.counter("unknown_total", "What the system does not tell.", None::<u64>);
        let mut family = page.family("records_total", Kind::Counter, "Records.");
        family.sample(&[("topic", &"a"), ("partition", &0)], 7);
        family.sample(&[("topic", &"q\"b\\s\nn"), ("partition", &1)], 0.5);
        assert_eq!(
            page.finish(),
            "# HELP up Whether it runs.\n# TYPE up gauge\nup 1\n\
             # HELP unknown_total What the system does not tell.\n# TYPE unknown_total counter\n\
             # HELP records_total Records.\n# TYPE records_total counter\n\
             records_total{topic=\"a\",partition=\"0\"} 7\n\
             records_total{topic=\"q\\\"b\\\\s\\nn\",partition=\"1\"} 0.5\n"
        );
    }

    #[test]
    fn a_histogram_ends_in_infinity_sum_and_count() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(1));
        histogram.record(Duration::from_secs(100));
        let mut page = Page::default();
        let mut family = page.family("wait_seconds", Kind::Histogram, "Waiting.");
        family.durations(&[("api", &"Fetch")], &histogram.counts());
        let page = page.finish();
        for line in [
            "wait_seconds_bucket{api=\"Fetch\",le=\"0.0005\"} 0",
            "wait_seconds_bucket{api=\"Fetch\",le=\"0.001\"} 1",
            "wait_seconds_bucket{api=\"Fetch\",le=\"30\"} 1",
            "wait_seconds_bucket{api=\"Fetch\",le=\"+Inf\"} 2",
            "wait_seconds_sum{api=\"Fetch\"} 100.001",
            "wait_seconds_count{api=\"Fetch\"} 2",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
        }
    }
}
