//! `ottla bench consume`.

use std::ops::ControlFlow;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::BenchCommon;
use super::meter::Meter;
use super::produce::random_bytes;
use crate::cli::failure::Failure;
use crate::cli::topic::known_topics;
use crate::cli::units;
use crate::client::{
    Cluster, Fetcher, FetcherOptions, NewRecord, OffsetQuery, Producer, Span, Spans,
};
use crate::model::Offset;

#[derive(Debug, Args)]
pub(super) struct ConsumeBench {
    /// How many records [default: all that are there]
    #[arg(short = 'n', long)]
    records: Option<u64>,
    /// How many records are written first to a topic of its own
    #[arg(long, default_value_t = 1_000_000)]
    fill: u64,
    /// Bytes of the values of those
    #[arg(short = 's', long, value_name = "SIZE", default_value = "100", value_parser = units::bytes)]
    size: usize,
    #[command(flatten)]
    pub(super) common: BenchCommon,
}

pub(super) fn run(arguments: &ConsumeBench) -> Result<ExitCode, Failure> {
    let settings = json!({
        "records": arguments.records, "fill": arguments.fill, "size": arguments.size,
    });
    arguments.common.run("consume", settings, async |cluster, topic, meter| {
        if arguments.common.topic.is_none() {
            fill(arguments, cluster, topic).await?;
        }
        measure(arguments, cluster, topic, meter).await
    })
}

async fn fill(arguments: &ConsumeBench, cluster: &Cluster, topic: &str) -> Result<(), Failure> {
    let options = BenchCommon::producer_options(cluster);
    let mut producer = Producer::open(cluster.clone(), topic, options).await?;
    let value = random_bytes(cluster, arguments.size);
    for _ in 0..arguments.fill {
        let record = NewRecord {
            key: None,
            value: Some(&value),
            headers: &[],
            timestamp: None,
            partition: None,
        };
        producer.push(record).await?;
    }
    Ok(producer.flush().await?)
}

async fn measure(
    arguments: &ConsumeBench,
    cluster: &Cluster,
    topic: &str,
    meter: &mut Meter,
) -> Result<(), Failure> {
    let metadata = known_topics(cluster, &[topic]).await?;
    let partitions = metadata.topic(topic).map(|topic| topic.partitions.as_slice());
    let queries = |query| {
        let all = partitions.unwrap_or_default().iter();
        all.map(|partition| (topic.to_owned(), partition.index, query)).collect::<Vec<_>>()
    };
    let starts = cluster.list_offsets(&queries(OffsetQuery::Earliest)).await?;
    let ends = cluster.list_offsets(&queries(OffsetQuery::Latest)).await?;
    let mut spans = Spans::new();
    for (partition, end) in ends {
        let start = starts.get(&partition).and_then(|listed| listed.offset);
        let span = Span { from: start.unwrap_or(Offset::ZERO), until: end.offset };
        if end.offset.is_some_and(|end| span.from < end) {
            spans.insert(partition, span);
        }
    }
    let mut open = spans.len();
    meter.begin();
    let until = spans.clone();
    let mut fetcher = Fetcher::new(cluster.clone(), spans, FetcherOptions::default());
    let enough = |meter: &Meter| arguments.records.is_some_and(|wanted| meter.counted() >= wanted);
    while open > 0 && !enough(meter) {
        let fetched = fetcher.next().await?;
        let mut records = 0;
        fetched.visit(|_| {
            records += 1;
            ControlFlow::Continue(())
        })?;
        meter.count(records, fetched.batches.len() as u64);
        if let Some(took) = fetched.took {
            meter.latency(took);
        }
        let key = (fetched.topic, fetched.partition);
        if until.get(&key).is_some_and(|span| span.until <= Some(fetched.next)) {
            open -= 1;
        }
        meter.show();
    }
    Ok(())
}
