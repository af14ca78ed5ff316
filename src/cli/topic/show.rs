//! `ottla topic list` and `describe`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{Common, known_topics};
use crate::cli::configs::{ConfigSetting, describe_configs, describe_topics};
use crate::cli::described_topics::{DescribedTopic, PARTITIONS_PER_ANSWER, described_topics};
use crate::cli::failure::Failure;
use crate::cli::log_dirs::{StoredReplica, StoredReplicas, stored_replicas};
use crate::cli::manner::Paint;
use crate::cli::output::{Table, count, list as joined, or_dash};
use crate::cli::repeat::RepeatArguments;
use crate::cli::units;
use crate::client::{Cluster, ListedOffset, OffsetQuery, Partition, Topic, Topics};
use crate::model::PartitionId;
use crate::wire::messages::WireBrokerId;

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// Show those of the cluster itself too
    #[arg(short = 'i', long)]
    internal: bool,
    #[command(flatten)]
    repeat: RepeatArguments,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct DescribeArguments {
    /// Names of topics
    #[arg(required = true)]
    topics: Vec<String>,
    #[command(flatten)]
    repeat: RepeatArguments,
    #[command(flatten)]
    pub(super) common: Common,
}

/// The settings of topics that a wide list shows.
const LISTED_CONFIGS: &[&str] = &["cleanup.policy", "retention.ms", "retention.bytes"];

pub(super) fn list(arguments: &ListArguments) -> Result<ExitCode, Failure> {
    let output = &arguments.common.output;
    arguments.repeat.run(&arguments.common, async |cluster| {
        let mut topics = cluster.metadata(Topics::All).await?.topics;
        topics.retain(|topic| arguments.internal || !topic.is_internal);
        let (mut configs, mut stored) = (BTreeMap::new(), StoredReplicas::new());
        if output.is_wide() {
            let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
            configs = describe_topics(&cluster, &names, LISTED_CONFIGS).await?;
            stored = stored_replicas(&cluster).await?;
        }
        let mut table = Table::new(&["NAME", "PARTITIONS", "REPLICAS"]).wide(&[
            "CLEANUP",
            "RETENTION",
            "RETAINED",
            "SIZE",
            "INTERNAL",
            "ID",
        ]);
        let mut rows = Vec::new();
        for topic in &topics {
            let replicas = topic.partitions.first().map_or(0, |first| first.replicas.len());
            let partitions = topic.partitions.len();
            table.row([topic.name.clone(), partitions.to_string(), replicas.to_string()]);
            table.more(more_of(topic, configs.get(&topic.name), &stored));
            if topic.is_internal {
                table.paint_row(Paint::Dim);
            }
            rows.push(json!({
                "name": topic.name, "id": topic.id.to_string(), "internal": topic.is_internal,
                "partitions": partitions, "replicas": replicas,
            }));
        }
        output.print(&table, &json!({ "topics": rows }))?;
        Ok(ExitCode::SUCCESS)
    })
}

/// What a wide list shows of a topic: its settings, and the size of its partitions where they are led.
fn more_of(
    topic: &Topic,
    configs: Option<&Vec<ConfigSetting>>,
    stored: &StoredReplicas,
) -> [String; 6] {
    let config =
        |name: &str| configs.into_iter().flatten().find(|config| config.name == name)?.value();
    // A negative number stands for no limit.
    let limit = |name: &str, show: fn(u64) -> String| {
        config(name).map(|text| text.parse().map_or_else(|_| "unlimited".to_owned(), show))
    };
    let led =
        topic.partitions.iter().filter_map(|partition| stored_by_leader(topic, partition, stored));
    let size: i64 = led.map(|replica| replica.bytes).sum();
    [
        or_dash(config("cleanup.policy")),
        or_dash(limit("retention.ms", units::shown_millis)),
        or_dash(limit("retention.bytes", units::shown_bytes)),
        units::shown_bytes(size.try_into().unwrap_or(0)),
        topic.is_internal.to_string(),
        topic.id.to_string(),
    ]
}

fn stored_by_leader<'a>(
    topic: &Topic,
    partition: &Partition,
    stored: &'a StoredReplicas,
) -> Option<&'a StoredReplica> {
    stored.get(&(topic.name.clone(), partition.index, partition.leader?))
}

type Offsets = BTreeMap<(String, PartitionId), ListedOffset>;

pub(super) fn describe(arguments: &DescribeArguments) -> Result<ExitCode, Failure> {
    let output = &arguments.common.output;
    arguments.repeat.run(&arguments.common, async |cluster| {
        let names: Vec<&str> = arguments.topics.iter().map(String::as_str).collect();
        let metadata = known_topics(&cluster, &names).await?;
        let (mut described, mut stored) = (Vec::new(), StoredReplicas::new());
        if output.is_wide() {
            described = described_topics(&cluster, &names, PARTITIONS_PER_ANSWER).await?;
            stored = stored_replicas(&cluster).await?;
        }
        let (mut text, mut values) = (String::new(), Vec::new());
        let mut rows = Table::new(&[&["TOPIC"], PARTITION_HEAD].concat());
        for topic in &metadata.topics {
            let configs = describe_configs(&cluster, ConfigSetting::TOPIC, &topic.name).await?;
            let first = offsets(&cluster, topic, OffsetQuery::Earliest).await?;
            let end = offsets(&cluster, topic, OffsetQuery::Latest).await?;
            values.push(value_of(topic, &configs, &first, &end));
            text.push_str(&heading(topic, &configs));
            let mut table = Table::new(PARTITION_HEAD).wide(WIDE_PARTITION_HEAD);
            for partition in &topic.partitions {
                let cells = cells_of(topic, partition, &first, &end);
                let [index, leader, epoch, replicas, isr, start, until] = cells.clone();
                rows.row([topic.name.clone(), index, leader, epoch, replicas, isr, start, until]);
                table.row(cells);
                let replica = stored_by_leader(topic, partition, &stored);
                table.more(more_cells_of(topic, partition, &described, replica));
                paint(&mut table, partition);
            }
            text.push_str(&output.draw(&table));
        }
        output.print_told(&text, &rows, &json!({ "topics": values }))?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Shows what is wrong with the partition of the last row.
fn paint(table: &mut Table, partition: &Partition) {
    if partition.leader.is_none() {
        table.paint("LEADER", Paint::Bad);
    }
    if partition.in_sync.len() < partition.replicas.len() {
        table.paint("ISR", Paint::Bad);
    }
    if !partition.offline.is_empty() {
        table.paint("OFFLINE", Paint::Bad);
    }
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

/// What is shown of a partition besides if it is wide. Size and directory are those of the leader's replica.
const WIDE_PARTITION_HEAD: &[&str] = &["OFFLINE", "ELR", "LAST-ELR", "SIZE", "DIRECTORY"];

fn more_cells_of(
    topic: &Topic,
    partition: &Partition,
    described: &[DescribedTopic],
    replica: Option<&StoredReplica>,
) -> [String; 5] {
    let none_as_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let topic = described.iter().find(|described| described.name == topic.name);
    let told = topic.and_then(|topic| {
        topic.partitions.iter().find(|told| told.partition_index == partition.index.0)
    });
    let ids = |ids: Option<&Vec<WireBrokerId>>| {
        none_as_dash(joined(ids.into_iter().flatten().map(|id| id.0)))
    };
    [
        none_as_dash(joined(&partition.offline)),
        ids(told.and_then(|told| told.eligible_leader_replicas.as_ref())),
        ids(told.and_then(|told| told.last_known_elr.as_ref())),
        or_dash(replica.map(|replica| units::shown_bytes(replica.bytes.try_into().unwrap_or(0)))),
        or_dash(replica.map(|replica| &replica.directory)),
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
