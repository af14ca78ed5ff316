//! `ottla topic watch`: how topics grow, again and again.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Common, known_topics};
use crate::cli::failure::Failure;
use crate::cli::output::{Table, or_dash, print_text};
use crate::cli::repeat::Rounds;
use crate::cli::units;
use crate::client::{Cluster, OffsetQuery, Topic, Topics};
use crate::model::Instant;

#[derive(Debug, Args)]
pub(super) struct WatchArguments {
    /// Names of topics [default: all but those of the cluster itself]
    topics: Vec<String>,
    /// How often
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "2s")]
    every: Duration,
    /// Stop after so many times
    #[arg(short = 'n', long)]
    count: Option<u64>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Where the partitions of a topic begin and end, added up.
#[derive(Clone, Copy, Default)]
struct Sums {
    start: i64,
    end: i64,
}

pub(super) fn watch(arguments: &WatchArguments) -> Result<ExitCode, Failure> {
    let mut before: Option<(Instant, BTreeMap<String, Sums>)> = None;
    let rounds = Rounds { every: arguments.every, count: arguments.count };
    rounds.run(&arguments.common, async |cluster| {
        let now = cluster.env().steady.now();
        let topics = topics(&cluster, arguments).await?;
        let sums = sums(&cluster, &topics).await?;
        show(arguments, &topics, &sums, now, before.as_ref())?;
        before = Some((now, sums));
        Ok(ExitCode::SUCCESS)
    })
}

async fn topics(cluster: &Cluster, arguments: &WatchArguments) -> Result<Vec<Topic>, Failure> {
    let names: Vec<&str> = arguments.topics.iter().map(String::as_str).collect();
    if !names.is_empty() {
        return Ok(known_topics(cluster, &names).await?.topics);
    }
    let mut all = cluster.metadata(Topics::All).await?.topics;
    all.retain(|topic| !topic.is_internal);
    Ok(all)
}

/// Of the partitions that have a leader.
async fn sums(cluster: &Cluster, topics: &[Topic]) -> Result<BTreeMap<String, Sums>, Failure> {
    let partitions = topics.iter().flat_map(|topic| {
        let led = topic.partitions.iter().filter(|partition| partition.leader.is_some());
        led.map(|partition| (topic.name.clone(), partition.index))
    });
    let partitions: Vec<_> = partitions.collect();
    let queries = |query| {
        partitions
            .iter()
            .map(move |(topic, index)| (topic.clone(), *index, query))
            .collect::<Vec<_>>()
    };
    let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
    for ((topic, _), listed) in cluster.list_offsets(&queries(OffsetQuery::Earliest)).await? {
        sums.entry(topic).or_default().start += listed.offset.unwrap_or_default().0;
    }
    for ((topic, _), listed) in cluster.list_offsets(&queries(OffsetQuery::Latest)).await? {
        sums.entry(topic).or_default().end += listed.offset.unwrap_or_default().0;
    }
    Ok(sums)
}

fn show(
    arguments: &WatchArguments,
    topics: &[Topic],
    sums: &BTreeMap<String, Sums>,
    now: Instant,
    before: Option<&(Instant, BTreeMap<String, Sums>)>,
) -> Result<(), Failure> {
    let mut table = Table::new(&["NAME", "PARTITIONS", "OFFSETS", "NEW", "NEW/S"]);
    let mut rows = Vec::new();
    for topic in topics {
        let of = sums.get(&topic.name).copied().unwrap_or_default();
        let offsets = (of.end - of.start).max(0);
        let new = before.and_then(|(_, before)| before.get(&topic.name));
        let new = new.map(|before| of.end - before.end);
        let seconds = before.map_or(0.0, |(then, _)| now.since(*then).as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "for people to read")]
        let rate = new.map(|new| new as f64 / seconds.max(1e-9));
        table.row([
            topic.name.clone(),
            topic.partitions.len().to_string(),
            offsets.to_string(),
            or_dash(new),
            or_dash(rate.map(|rate| format!("{rate:.1}"))),
        ]);
        rows.push(json!({
            "name": topic.name, "partitions": topic.partitions.len(), "offsets": offsets,
            "new": new, "new_per_second": rate,
        }));
    }
    if arguments.common.output.is_json() {
        return Ok(print_text(&format!("{}\n", json!({ "topics": rows })))?);
    }
    Ok(arguments.common.output.print(&table, &json!({ "topics": rows }))?)
}
