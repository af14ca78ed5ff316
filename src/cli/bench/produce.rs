//! `ottla bench produce`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::meter::Meter;
use super::{BenchCommon, RateArguments};
use crate::cli::failure::Failure;
use crate::cli::produce::Codec;
use crate::cli::units;
use crate::client::{Cluster, NewRecord, Producer, ProducerOptions};

#[derive(Debug, Args)]
pub(super) struct ProduceBench {
    /// Bytes of a record's value
    #[arg(short = 's', long, value_name = "SIZE", default_value = "100", value_parser = units::bytes)]
    size: usize,
    /// How many records
    #[arg(short = 'n', long, conflicts_with = "duration")]
    records: Option<u64>,
    /// How long
    #[arg(short = 'd', long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    duration: Duration,
    #[command(flatten)]
    rate: RateArguments,
    /// How batches are compressed
    #[arg(short = 'z', long, value_enum, default_value_t = Codec::None)]
    compression: Codec,
    /// Bytes of a batch before it is compressed
    #[arg(long, value_name = "SIZE", default_value = "256k", value_parser = units::bytes)]
    batch_size: usize,
    #[command(flatten)]
    pub(super) common: BenchCommon,
}

/// Records between two looks at the clock.
const RECORDS_BETWEEN_LOOKS: u64 = 256;
/// How long records may wait for their batch to fill when the rate is bounded.
const TICK: Duration = Duration::from_millis(5);

pub(super) fn run(arguments: &ProduceBench) -> Result<ExitCode, Failure> {
    let duration = arguments.duration.as_millis() as u64;
    let settings = json!({
        "size": arguments.size, "records": arguments.records,
        "duration_ms": arguments.records.is_none().then_some(duration),
        "rate": arguments.rate.per_second(), "batch_size": arguments.batch_size,
        "compression": format!("{:?}", arguments.compression).to_lowercase(),
    });
    arguments.common.run("produce", settings, async |cluster, topic, meter| {
        measure(arguments, cluster, topic, meter).await
    })
}

async fn measure(
    arguments: &ProduceBench,
    cluster: &Cluster,
    topic: &str,
    meter: &mut Meter,
) -> Result<(), Failure> {
    let options = ProducerOptions {
        compression: arguments.compression.into(),
        batch_bytes: arguments.batch_size.max(1),
        ..BenchCommon::producer_options(cluster)
    };
    let mut producer = Producer::open(cluster.clone(), topic, options).await?;
    let value = random_bytes(cluster, arguments.size);
    meter.begin();
    let mut sent = 0;
    loop {
        let elapsed = meter.elapsed();
        let done = match arguments.records {
            Some(records) => sent >= records,
            None => elapsed >= arguments.duration,
        };
        if done {
            break;
        }
        let mut now = RECORDS_BETWEEN_LOOKS;
        if arguments.rate.rate.is_some() {
            now = arguments.rate.due(elapsed).saturating_sub(sent);
            if now == 0 {
                producer.send_open().await?;
                cluster.env().steady.sleep(TICK).await;
                continue;
            }
        }
        let now = now.min(arguments.records.map_or(u64::MAX, |records| records - sent));
        for _ in 0..now {
            let record = NewRecord {
                key: None,
                value: Some(&value),
                headers: &[],
                timestamp: None,
                partition: None,
            };
            producer.push(record).await?;
        }
        sent += now;
        take(&mut producer, meter);
        meter.show();
    }
    producer.flush().await?;
    take(&mut producer, meter);
    Ok(())
}

fn take(producer: &mut Producer, meter: &mut Meter) {
    for delivered in producer.take_delivered() {
        meter.count(u64::from(delivered.records), delivered.bytes as u64);
        meter.latency(delivered.took);
    }
}

/// Bytes that do not compress.
pub(super) fn random_bytes(cluster: &Cluster, size: usize) -> Vec<u8> {
    let rng = &cluster.env().rng;
    let words = std::iter::repeat_with(|| rng.next_u64().to_le_bytes());
    words.take(size.div_ceil(8)).flatten().take(size).collect()
}
