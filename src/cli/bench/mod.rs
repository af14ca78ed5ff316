//! `ottla bench`: how fast a cluster writes, reads, and passes records on.
//!
//! Without `--topic` a topic of its own is made and removed. Latency of writing is the time from a full batch to its
//! acknowledgement; of passing on, from handing a record over until it was read.

mod consume;
mod end_to_end;
mod meter;
mod produce;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connect::ConnectionArguments;
use super::failure::Failure;
use super::scratch;
use crate::client::Cluster;

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
    /// Runs a measurement in its topic.
    fn run(
        &self,
        measure: impl AsyncFnOnce(&Cluster, &str) -> Result<(), Failure>,
    ) -> Result<ExitCode, Failure> {
        self.connection.run(async |cluster| {
            let own = match self.topic {
                Some(_) => None,
                None => {
                    let (partitions, replicas) = (self.partitions, self.replicas);
                    Some(scratch::create(&cluster, "ottla-bench", partitions, replicas).await?)
                }
            };
            let topic = own.as_ref().or(self.topic.as_ref()).cloned().unwrap_or_default();
            let outcome = measure(&cluster, &topic).await;
            if let Some(own) = own {
                scratch::delete(&cluster, &own).await?;
            }
            outcome.map(|()| ExitCode::SUCCESS)
        })
    }
}

pub(super) fn run(arguments: &BenchArguments) -> ExitCode {
    let (json, outcome) = match &arguments.verb {
        BenchVerb::Produce(arguments) => (arguments.common.json, produce::run(arguments)),
        BenchVerb::Consume(arguments) => (arguments.common.json, consume::run(arguments)),
        BenchVerb::E2e(arguments) => (arguments.common.json, end_to_end::run(arguments)),
    };
    outcome.unwrap_or_else(|failure| failure.report(json))
}
