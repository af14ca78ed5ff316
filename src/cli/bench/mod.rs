//! `ottla bench`: how fast a cluster writes, reads, and passes records on.
//!
//! Without `--topic` a topic of its own is made and removed. Latency of writing is the time from a full batch to its
//! acknowledgement; of reading, from a fetch to its answer; of passing on, from handing a record over until it was read.
//! Who is interrupted shows what was measured so far.

mod consume;
mod end_to_end;
mod meter;
mod produce;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::connect::ConnectionArguments;
use super::failure::Failure;
use super::scratch;
use super::signals::Signals;
use super::topic::known_topics;
use crate::client::{Cluster, ProducerOptions};
use meter::Meter;

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
    /// Print one JSON value
    #[arg(short = 'J', long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl BenchCommon {
    /// Runs a measurement in its topic, and prints what it measured.
    fn run(
        &self,
        what: &str,
        measure: impl AsyncFnOnce(&Cluster, &str, &mut Meter) -> Result<(), Failure>,
    ) -> Result<ExitCode, Failure> {
        self.connection.run(async |cluster| {
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
            let mut meter = Meter::new(&cluster.env().steady);
            let outcome = tokio::select! {
                measured = measure(&cluster, &topic, &mut meter) => {
                    measured.map(|()| ExitCode::SUCCESS)
                }
                exit = signals.next() => Ok(exit),
            };
            let shown = outcome.and_then(|code| meter.finish(what, self.json).map(|()| code));
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
        BenchVerb::Produce(arguments) => (arguments.common.json, produce::run(arguments)),
        BenchVerb::Consume(arguments) => (arguments.common.json, consume::run(arguments)),
        BenchVerb::E2e(arguments) => (arguments.common.json, end_to_end::run(arguments)),
    };
    outcome.unwrap_or_else(|failure| failure.report(json))
}
