//! `ottla bench e2e`.

use std::ops::ControlFlow;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::meter::Meter;
use super::produce::random_bytes;
use super::{BenchCommon, RateArguments};
use crate::cli::failure::Failure;
use crate::cli::units;
use crate::client::{
    Cluster, Fetcher, FetcherOptions, NewRecord, OffsetQuery, Producer, Span, Spans,
};
use crate::model::{Offset, PartitionId};

#[derive(Debug, Args)]
pub(super) struct EndToEndBench {
    /// Bytes of a record's value
    #[arg(short = 's', long, value_name = "SIZE", default_value = "100", value_parser = units::bytes)]
    size: usize,
    /// How many records
    #[arg(short = 'n', long, default_value_t = 1000)]
    records: u64,
    #[command(flatten)]
    rate: RateArguments,
    #[command(flatten)]
    pub(super) common: BenchCommon,
}

pub(super) fn run(arguments: &EndToEndBench) -> Result<ExitCode, Failure> {
    let settings = json!({
        "size": arguments.size, "records": arguments.records, "rate": arguments.rate.per_second(),
    });
    arguments.common.run("e2e", settings, async |cluster, topic, meter| {
        measure(arguments, cluster, topic, meter).await
    })
}

async fn measure(
    arguments: &EndToEndBench,
    cluster: &Cluster,
    topic: &str,
    meter: &mut Meter,
) -> Result<(), Failure> {
    let options = BenchCommon::producer_options(cluster);
    let mut producer = Producer::open(cluster.clone(), topic, options).await?;
    let partition = (topic.to_owned(), PartitionId(0));
    let ends =
        cluster.list_offsets(&[(partition.0.clone(), partition.1, OffsetQuery::Latest)]).await?;
    let end = ends.get(&partition).and_then(|listed| listed.offset).unwrap_or(Offset::ZERO);
    let spans = Spans::from([(partition, Span { from: end, until: None })]);
    let mut fetcher = Fetcher::new(cluster.clone(), spans, FetcherOptions::default());
    let value = random_bytes(cluster, arguments.size);
    let steady = &cluster.env().steady;
    meter.begin();
    let mut awaited = end;
    while meter.counted() < arguments.records {
        if let Some(interval) = arguments.rate.rate {
            let due = interval.saturating_mul(u32::try_from(meter.counted()).unwrap_or(u32::MAX));
            steady.sleep(due.saturating_sub(meter.elapsed())).await;
        }
        let began = steady.now();
        let record = NewRecord {
            key: None,
            value: Some(&value),
            headers: &[],
            timestamp: None,
            partition: Some(PartitionId(0)),
        };
        producer.push(record).await?;
        producer.send_open().await?;
        let mut seen = awaited;
        while seen <= awaited {
            fetcher.next().await?.visit(|record| {
                seen = seen.max(record.offset.plus(1));
                ControlFlow::Continue(())
            })?;
        }
        awaited = seen;
        meter.latency(steady.now().since(began));
        meter.count(1, arguments.size as u64);
        producer.flush().await?;
        producer.take_delivered();
        meter.show();
    }
    Ok(())
}
