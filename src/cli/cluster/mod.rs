//! `ottla cluster`: brokers, their health, their settings, open transactions, and where replicas are and what is in them.

mod config;
mod elect;
mod quorum;
mod reassign;
mod transactions;
mod verify;
mod voters;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::Failure;
use super::manner::Paint;
use super::output::{Table, count, or_dash};
use super::repeat::RepeatArguments;
use super::topic::Common;
use crate::client::{Cluster, Metadata, Target, Topics};

#[derive(Debug, Args)]
pub(super) struct ClusterArguments {
    #[command(subcommand)]
    verb: ClusterVerb,
}

#[derive(Debug, Subcommand)]
enum ClusterVerb {
    /// Show the cluster's id, brokers and features
    Info(PlainArguments),
    /// Say whether each partition has a leader and all its replicas; 0 means yes
    Health(PlainArguments),
    /// List brokers
    Brokers(PlainArguments),
    /// Show who agrees on the cluster's metadata, and how far each is; change who does
    Quorum(quorum::QuorumArguments),
    /// Read the replicas of partitions and compare them; 0 means that they are alike
    Verify(verify::VerifyArguments),
    /// Spread replicas evenly over brokers, or off some of them
    Reassign(reassign::ReassignArguments),
    /// Give partitions back to their preferred leaders, or a leader to those that have none
    Elect(elect::ElectArguments),
    /// See, explain, compare and change settings of brokers
    Config(config::ConfigArguments),
    /// See and end transactions
    Txn(transactions::TransactionArguments),
}

#[derive(Debug, Args)]
struct PlainArguments {
    #[command(flatten)]
    repeat: RepeatArguments,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &ClusterArguments) -> ExitCode {
    let (common, outcome) = match &arguments.verb {
        ClusterVerb::Info(arguments) => (&arguments.common, info(arguments)),
        ClusterVerb::Health(arguments) => (&arguments.common, health(arguments)),
        ClusterVerb::Brokers(arguments) => (&arguments.common, brokers(arguments)),
        ClusterVerb::Quorum(arguments) => (arguments.common(), quorum::run(arguments)),
        ClusterVerb::Verify(arguments) => (&arguments.common, verify::run(arguments)),
        ClusterVerb::Reassign(arguments) => (&arguments.common, reassign::run(arguments)),
        ClusterVerb::Elect(arguments) => (&arguments.common, elect::run(arguments)),
        ClusterVerb::Config(arguments) => (arguments.common(), config::run(arguments)),
        ClusterVerb::Txn(arguments) => (arguments.common(), transactions::run(arguments)),
    };
    outcome.unwrap_or_else(|failure| failure.report(common.output.is_json()))
}

fn info(PlainArguments { repeat, common }: &PlainArguments) -> Result<ExitCode, Failure> {
    repeat.run(common, async |cluster| {
        let metadata = cluster.metadata(Topics::All).await?;
        let connection = cluster.connection(Target::Any).await?;
        let negotiated = connection.negotiated();
        let features = &negotiated.features;
        let topics = metadata.topics.iter().filter(|topic| !topic.is_internal);
        let partitions: usize = topics.clone().map(|topic| topic.partitions.len()).sum();
        let json = json!({
            "cluster_id": metadata.cluster_id, "controller": metadata.controller.map(|id| id.0),
            "brokers": broker_values(&metadata), "topics": topics.clone().count(),
            "partitions": partitions, "features": features, "apis": negotiated.versions.len(),
        });
        let mut text = format!(
            "cluster {}  {}, {}, {}\n",
            or_dash(metadata.cluster_id.as_ref()),
            count(metadata.brokers.len(), "broker"),
            count(topics.count(), "topic"),
            count(partitions, "partition"),
        );
        for (feature, level) in features {
            text.push_str(&format!("  {feature}={level}\n"));
        }
        let table = broker_table(&cluster, &metadata, common.output.is_wide()).await?;
        text.push_str(&common.output.draw(&table));
        common.output.print_told(&text, &table, &json)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn brokers(PlainArguments { repeat, common }: &PlainArguments) -> Result<ExitCode, Failure> {
    repeat.run(common, async |cluster| {
        let is_wide = common.output.is_wide();
        let topics = if is_wide { Topics::All } else { Topics::None };
        let metadata = cluster.metadata(topics).await?;
        let json = json!({ "brokers": broker_values(&metadata) });
        common.output.print(&broker_table(&cluster, &metadata, is_wide).await?, &json)?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The brokers; if it is wide, with what each of them says of itself.
async fn broker_table(
    cluster: &Cluster,
    metadata: &Metadata,
    is_wide: bool,
) -> Result<Table, Failure> {
    let mut table = Table::new(&["ID", "ADDRESS", "RACK", "CONTROLLER"])
        .wide(&["REPLICAS", "LEADS", "APIS", "FEATURES"]);
    for node in &metadata.brokers {
        let is_controller = metadata.controller == Some(node.id);
        table.row([
            node.id.to_string(),
            node.address.to_string(),
            or_dash(node.rack.as_ref()),
            if is_controller { "*".to_owned() } else { String::new() },
        ]);
        if is_wide {
            let partitions = || metadata.topics.iter().flat_map(|topic| &topic.partitions);
            let has = partitions().filter(|partition| partition.replicas.contains(&node.id));
            let leads = partitions().filter(|partition| partition.leader == Some(node.id));
            let connection = cluster.connection(Target::Node(node.id)).await?;
            let negotiated = connection.negotiated();
            let features =
                negotiated.features.iter().map(|(name, level)| format!("{name}={level}"));
            table.more([
                has.count().to_string(),
                leads.count().to_string(),
                negotiated.versions.len().to_string(),
                super::output::list(features),
            ]);
        }
    }
    Ok(table)
}

fn broker_values(metadata: &Metadata) -> Vec<serde_json::Value> {
    let value = |node: &crate::client::Node| json!({ "id": node.id.0, "host": node.address.host, "port": node.address.port, "rack": node.rack });
    metadata.brokers.iter().map(value).collect()
}

fn health(PlainArguments { repeat, common }: &PlainArguments) -> Result<ExitCode, Failure> {
    repeat.run(common, async |cluster| {
        let metadata = cluster.metadata(Topics::All).await?;
        let mut table = Table::new(&["TOPIC", "PARTITION", "TROUBLE", "LEADER", "REPLICAS", "ISR"]);
        let (mut rows, mut partitions) = (Vec::new(), 0);
        for topic in &metadata.topics {
            for partition in &topic.partitions {
                partitions += 1;
                let trouble = match partition.leader {
                    None => "no leader",
                    Some(_) if !partition.offline.is_empty() => "replicas away",
                    Some(_) if partition.in_sync.len() < partition.replicas.len() => "not in sync",
                    Some(_) => continue,
                };
                let ids = super::output::list::<crate::model::BrokerId>;
                table.row([
                    topic.name.clone(),
                    partition.index.to_string(),
                    trouble.to_owned(),
                    or_dash(partition.leader),
                    ids(&mut partition.replicas.iter().copied()),
                    ids(&mut partition.in_sync.iter().copied()),
                ]);
                table.paint("TROUBLE", Paint::Bad);
                rows.push(json!({
                    "topic": topic.name, "partition": partition.index.0, "trouble": trouble,
                }));
            }
        }
        let healthy = rows.is_empty() && !metadata.brokers.is_empty();
        let json = json!({
            "healthy": healthy, "brokers": metadata.brokers.len(), "partitions": partitions,
            "troubles": rows,
        });
        let brokers = count(metadata.brokers.len(), "broker");
        let partitions = count(partitions, "partition");
        let text = match healthy {
            true => format!("healthy: {brokers}, {partitions}, all with leader and replicas\n"),
            false => common.output.draw(&table),
        };
        common.output.print_told(&text, &table, &json)?;
        Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}
