//! `ottla topic list` and `describe`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{Common, known_topics};
use crate::cli::configs::{ConfigSetting, describe_configs};
use crate::cli::failure::Failure;
use crate::cli::output::{Table, count, list as joined, or_dash};
use crate::client::{Cluster, ListedOffset, OffsetQuery, Partition, Topic, Topics};
use crate::model::PartitionId;

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// Show those of the cluster itself too
    #[arg(short = 'i', long)]
    internal: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct DescribeArguments {
    /// Names of topics
    #[arg(required = true)]
    topics: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn list(arguments: &ListArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let metadata = cluster.metadata(Topics::All).await?;
        let shown = metadata.topics.iter().filter(|topic| arguments.internal || !topic.is_internal);
        let mut table = Table::new(&["NAME", "PARTITIONS", "REPLICAS"]);
        let mut rows = Vec::new();
        for topic in shown {
            let replicas = topic.partitions.first().map_or(0, |first| first.replicas.len());
            let partitions = topic.partitions.len();
            table.row([topic.name.clone(), partitions.to_string(), replicas.to_string()]);
            rows.push(json!({
                "name": topic.name, "id": topic.id.to_string(), "internal": topic.is_internal,
                "partitions": partitions, "replicas": replicas,
            }));
        }
        arguments.common.output.print(&table, &json!({ "topics": rows }))?;
        Ok(ExitCode::SUCCESS)
    })
}

type Offsets = BTreeMap<(String, PartitionId), ListedOffset>;

pub(super) fn describe(arguments: &DescribeArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let names: Vec<&str> = arguments.topics.iter().map(String::as_str).collect();
        let metadata = known_topics(&cluster, &names).await?;
        let (mut text, mut values) = (String::new(), Vec::new());
        let mut rows = Table::new(&[&["TOPIC"], PARTITION_HEAD].concat());
        for topic in &metadata.topics {
            let configs = describe_configs(&cluster, ConfigSetting::TOPIC, &topic.name).await?;
            let first = offsets(&cluster, topic, OffsetQuery::Earliest).await?;
            let end = offsets(&cluster, topic, OffsetQuery::Latest).await?;
            values.push(value_of(topic, &configs, &first, &end));
            text.push_str(&heading(topic, &configs));
            let mut table = Table::new(PARTITION_HEAD);
            for partition in &topic.partitions {
                let cells = cells_of(topic, partition, &first, &end);
                let [index, leader, epoch, replicas, isr, start, until] = cells.clone();
                rows.row([topic.name.clone(), index, leader, epoch, replicas, isr, start, until]);
                table.row(cells);
            }
            text.push_str(&table.to_string());
        }
        arguments.common.output.print_told(&text, &rows, &json!({ "topics": values }))?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The offsets of the partitions that have a leader.
async fn offsets(cluster: &Cluster, topic: &Topic, query: OffsetQuery) -> Result<Offsets, Failure> {
    let led = topic.partitions.iter().filter(|partition| partition.leader.is_some());
    let queries: Vec<_> =
        led.map(|partition| (topic.name.clone(), partition.index, query)).collect();
    Ok(cluster.list_offsets(&queries).await?)
}

fn offset_of(offsets: &Offsets, topic: &Topic, partition: &Partition) -> Option<i64> {
    offsets.get(&(topic.name.clone(), partition.index))?.offset.map(|offset| offset.0)
}

fn value_of(topic: &Topic, configs: &[ConfigSetting], first: &Offsets, end: &Offsets) -> Value {
    let partition = |partition: &Partition| {
        let ids = |ids: &[crate::model::BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
        json!({
            "partition": partition.index.0,
            "leader": partition.leader.map(|leader| leader.0),
            "leader_epoch": partition.leader_epoch.0,
            "replicas": ids(&partition.replicas),
            "isr": ids(&partition.in_sync),
            "start": offset_of(first, topic, partition),
            "end": offset_of(end, topic, partition),
        })
    };
    let configs: serde_json::Map<String, Value> =
        configs.iter().map(|config| (config.name.clone(), config.to_json())).collect();
    json!({
        "name": topic.name, "id": topic.id.to_string(), "internal": topic.is_internal,
        "partitions": topic.partitions.iter().map(partition).collect::<Vec<_>>(),
        "configs": configs,
    })
}

/// What is shown of a partition.
const PARTITION_HEAD: &[&str] =
    &["PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END"];

fn cells_of(topic: &Topic, partition: &Partition, first: &Offsets, end: &Offsets) -> [String; 7] {
    [
        partition.index.to_string(),
        or_dash(partition.leader),
        partition.leader_epoch.to_string(),
        joined(&partition.replicas),
        joined(&partition.in_sync),
        or_dash(offset_of(first, topic, partition)),
        or_dash(offset_of(end, topic, partition)),
    ]
}

/// What is shown of a topic above its partitions.
fn heading(topic: &Topic, configs: &[ConfigSetting]) -> String {
    let replicas = topic.partitions.first().map_or(0, |first| first.replicas.len());
    let mut text = format!(
        "{}  {}, {}, id {}\n",
        topic.name,
        count(topic.partitions.len(), "partition"),
        count(replicas, "replica"),
        topic.id
    );
    for config in configs.iter().filter(|config| !config.is_default()) {
        text.push_str(&format!("  {}={}\n", config.name, config.shown()));
    }
    text
}
