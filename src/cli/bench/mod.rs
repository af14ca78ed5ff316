//! `ottla bench`: how fast a cluster writes, reads, passes records on, and takes connections.
//!
//! Without `--topic` a topic of its own is made and removed. Latency of writing is the time from a full batch to its
//! acknowledgement; of reading, from a fetch to its answer; of passing on, from handing a record over until it was read; of
//! connecting, until the broker has said what it speaks.
//! Who is interrupted shows what was measured so far.

mod connect;
mod consume;
mod end_to_end;
mod meter;
mod produce;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::connect::ConnectionArguments;
use super::failure::Failure;
use super::scratch;
use super::signals::Signals;
use super::topic::known_topics;
use super::units;
use crate::client::{Cluster, ProducerOptions};
use meter::{Counted, Meter};
use report::{Report, ReportArguments};

#[derive(Debug, Args)]
pub(super) struct BenchArguments {
    #[command(subcommand)]
    verb: BenchVerb,
}

#[derive(Debug, Subcommand)]
enum BenchVerb {
    /// Write records
    Produce(produce::ProduceBench),
    /// Read records
    Consume(consume::ConsumeBench),
    /// Write records one by one and wait until each was read
    E2e(end_to_end::EndToEndBench),
    /// Connect again and again
    Connect(connect::ConnectBench),
}

/// How fast, at most.
#[derive(Clone, Debug, Args)]
struct RateArguments {
    /// So many in a time at most, such as 100/s, 5/m or 1k/s
    #[arg(long, value_name = "RATE", value_parser = units::interval)]
    rate: Option<Duration>,
    /// As many as go; this is what is done unless --rate is given
    #[arg(long, conflicts_with = "rate")]
    max: bool,
}

impl RateArguments {
    /// How many in a second.
    fn per_second(&self) -> Option<f64> {
        self.rate.map(|interval| 1.0 / interval.as_secs_f64())
    }

    /// How many may have begun after this time.
    fn due(&self, elapsed: Duration) -> u64 {
        let due = |interval: Duration| elapsed.as_nanos() / interval.as_nanos() + 1;
        self.rate.map_or(u64::MAX, |interval| u64::try_from(due(interval)).unwrap_or(u64::MAX))
    }
}

/// What all of them take.
#[derive(Clone, Debug, Args)]
struct BenchCommon {
    /// A topic that is there [default: one of its own, removed afterwards]
    #[arg(short = 't', long)]
    topic: Option<String>,
    /// Partitions of a topic of its own
    #[arg(short = 'p', long, default_value_t = 1)]
    partitions: i32,
    /// Replicas of a topic of its own [default: as the broker is configured]
    #[arg(short = 'r', long, default_value_t = -1, allow_hyphen_values = true)]
    replicas: i16,
    #[command(flatten)]
    report: ReportArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl BenchCommon {
    /// Runs a measurement with these settings in its topic, and prints what it measured.
    fn run(
        &self,
        what: &'static str,
        mut settings: Value,
        measure: impl AsyncFnOnce(&Cluster, &str, &mut Meter) -> Result<(), Failure>,
    ) -> Result<ExitCode, Failure> {
        settings["topic"] = json!(self.topic);
        settings["partitions"] = json!(self.partitions);
        settings["replicas"] = json!(self.replicas);
        let report = self.report.report(what, settings)?;
        self.connection.run(async |cluster| {
            // Before there is a topic that is to be removed.
            let mut signals = Signals::listen()?;
            let own = match &self.topic {
                Some(topic) => {
                    known_topics(&cluster, &[topic]).await?;
                    None
                }
                None => {
                    let (partitions, replicas) = (self.partitions, self.replicas);
                    Some(scratch::create(&cluster, "ottla-bench", partitions, replicas).await?)
                }
            };
            let topic = own.as_ref().or(self.topic.as_ref()).cloned().unwrap_or_default();
            let mut meter = Meter::new(&cluster.env().steady, Counted::Records);
            let measure = async |meter: &mut Meter| measure(&cluster, &topic, meter).await;
            let shown = measured(&mut signals, &mut meter, &report, measure).await;
            if let Some(own) = own {
                let removed = remove(&cluster, &own, shown.is_ok()).await;
                return shown.and_then(|code| removed.map(|()| code));
            }
            shown
        })
    }

    /// How records are written: to a topic that is there, with as much patience as for all else.
    fn producer_options(cluster: &Cluster) -> ProducerOptions {
        let delivery_timeout = cluster.options().operation_timeout;
        ProducerOptions { delivery_timeout, create_topic: false, ..ProducerOptions::default() }
    }
}

/// Measures until it is done or a signal comes, and prints what was measured.
async fn measured(
    signals: &mut Signals,
    meter: &mut Meter,
    report: &Report,
    measure: impl AsyncFnOnce(&mut Meter) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    let outcome = tokio::select! {
        measured = measure(meter) => measured.map(|()| ExitCode::SUCCESS),
        exit = signals.next() => Ok(exit),
    };
    let code = outcome?;
    meter.clear();
    report.print(&meter.measured())?;
    Ok(code)
}

/// Removes a topic of our own. After a failure nobody may be there to do it, and that is not waited for long.
async fn remove(cluster: &Cluster, topic: &str, is_well: bool) -> Result<(), Failure> {
    let steady = &cluster.env().steady;
    let until = steady.now().plus(CLEANUP_TIME);
    let removed = tokio::select! {
        removed = scratch::delete(cluster, topic) => removed,
        () = steady.sleep_until(until), if !is_well => {
            eprintln!("ottla: topic '{topic}' of this test is still there");
            Ok(())
        }
    };
    removed.map_err(|failure| failure.hint(format!("ottla topic delete {topic} removes it")))
}

/// How long a topic of our own may take to be removed after a failure.
const CLEANUP_TIME: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: &BenchArguments) -> ExitCode {
    let (json, outcome) = match &arguments.verb {
        BenchVerb::Produce(arguments) => (arguments.common.report.json, produce::run(arguments)),
        BenchVerb::Consume(arguments) => (arguments.common.report.json, consume::run(arguments)),
        BenchVerb::E2e(arguments) => (arguments.common.report.json, end_to_end::run(arguments)),
        BenchVerb::Connect(arguments) => (arguments.report.json, connect::run(arguments)),
    };
    outcome.unwrap_or_else(|failure| failure.report(json))
}
