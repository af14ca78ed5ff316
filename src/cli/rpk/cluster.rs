//! `rpk cluster info` and `health`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Connection, columns, list, section, table};
use crate::cli::failure::Failure;
use crate::cli::output::print_text;
use crate::client::{Cluster, Metadata, Partition, Topics};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show the cluster's id, brokers and topics
    #[command(alias = "metadata", alias = "status")]
    Info(InfoArguments),
    /// Say whether all brokers answer and all partitions have leaders
    Health(HealthArguments),
}

#[derive(Debug, Args)]
pub(super) struct InfoArguments {
    /// Only the cluster's id
    #[arg(short = 'c', long)]
    print_cluster: bool,
    /// Only the brokers
    #[arg(short = 'b', long)]
    print_brokers: bool,
    /// Only the topics
    #[arg(short = 't', long)]
    print_topics: bool,
    /// Topics of the cluster itself too
    #[arg(short = 'i', long)]
    print_internal_topics: bool,
}

#[derive(Debug, Args)]
pub(super) struct HealthArguments {
    /// Go on, and print what changes
    #[arg(short, long)]
    watch: bool,
    /// Stop watching when all is well
    #[arg(short, long)]
    exit_when_healthy: bool,
}

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) fn run(verb: &Verb, connection: &Connection) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Info(arguments) => connection.run(async |cluster| {
            let metadata = cluster.metadata(Topics::All).await?;
            print_text(&info(arguments, &metadata))?;
            Ok(ExitCode::SUCCESS)
        }),
        Verb::Health(arguments) => {
            connection.run(async |cluster| health(&cluster, arguments).await)
        }
    }
}

fn info(arguments: &InfoArguments, metadata: &Metadata) -> String {
    let InfoArguments { print_cluster, print_brokers, print_topics, .. } = *arguments;
    let all = !print_cluster && !print_brokers && !print_topics;
    let mut sections = Vec::new();
    if all || print_cluster {
        let id = metadata.cluster_id.as_deref().unwrap_or("-");
        sections.push(format!("{}{id}\n", section("CLUSTER")));
    }
    if all || print_brokers {
        let mut rows = table(["ID", "HOST", "PORT"]);
        rows.extend(metadata.brokers.iter().map(|node| {
            let mark = if metadata.controller == Some(node.id) { "*" } else { "" };
            vec![
                format!("{}{mark}", node.id),
                node.address.host.clone(),
                node.address.port.to_string(),
            ]
        }));
        sections.push(format!("{}{}", section("BROKERS"), columns(&rows)));
    }
    let internal = arguments.print_internal_topics;
    let topics = metadata.topics.iter().filter(|topic| internal || !topic.is_internal);
    if (all && topics.clone().next().is_some()) || print_topics {
        let mut rows = table(["NAME", "PARTITIONS", "REPLICAS"]);
        rows.extend(topics.map(super::topic::listed));
        sections.push(format!("{}{}", section("TOPICS"), columns(&rows)));
    }
    sections.join("\n")
}

async fn health(cluster: &Cluster, arguments: &HealthArguments) -> Result<ExitCode, Failure> {
    let mut last = String::new();
    loop {
        let metadata = cluster.metadata(Topics::All).await?;
        let (healthy, text) = overview(&metadata);
        if text != last {
            print_text(&text)?;
            last = text;
        }
        if !arguments.watch || (arguments.exit_when_healthy && healthy) {
            return Ok(ExitCode::SUCCESS);
        }
        let steady = &cluster.env().steady;
        steady.sleep_until(steady.now().plus(PAUSE)).await;
    }
}

/// Whether all is well, and what there is to say. That brokers are down is not seen: only those that are up are told of.
fn overview(metadata: &Metadata) -> (bool, String) {
    let partitions = |is: fn(&Partition) -> bool| {
        let each = metadata.topics.iter().flat_map(|topic| {
            let these = topic.partitions.iter().filter(move |partition| is(partition));
            these.map(|partition| format!("kafka/{}/{}", topic.name, partition.index))
        });
        each.collect::<Vec<_>>()
    };
    let leaderless = partitions(|partition| partition.leader.is_none());
    let behind = partitions(|partition| partition.in_sync.len() < partition.replicas.len());
    let mut reasons = Vec::new();
    for (is_so, reason) in [
        (metadata.controller.is_none(), "no_elected_controller"),
        (!leaderless.is_empty(), "leaderless_partitions"),
        (!behind.is_empty(), "under_replicated_partitions"),
    ] {
        reasons.extend(is_so.then_some(reason));
    }
    let controller = metadata.controller.map_or(-1, |id| id.0);
    let text = format!(
        "{}Healthy:                          {}\nUnhealthy reasons:                {}\nController ID:                    {controller}\n\
         All nodes:                        {}\nNodes down:                       []\n{:<33} {}\n{:<33} {}\n",
        section("CLUSTER HEALTH OVERVIEW"),
        reasons.is_empty(),
        list(&reasons),
        list(metadata.brokers.iter().map(|node| node.id)),
        format!("Leaderless partitions ({}):", leaderless.len()),
        list(&leaderless),
        format!("Under-replicated partitions ({}):", behind.len()),
        list(&behind),
    );
    (reasons.is_empty(), text)
}
