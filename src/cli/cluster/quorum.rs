//! `ottla cluster quorum`: who agrees on the cluster's metadata (DescribeQuorum, KIP-595), and its verbs.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::voters;
use crate::cli::failure::{Failure, REFUSED};
use crate::cli::output::{Table, or_dash, print_text};
use crate::cli::repeat::RepeatArguments;
use crate::cli::topic::Common;
use crate::client::{Cluster, Target, check};
use crate::model::{BrokerId, UuidText};
use crate::wire::messages::describe_quorum_response::{Node, PartitionData, ReplicaState};
use crate::wire::messages::{DescribeQuorumRequest, WireTopicName, describe_quorum_request};
use crate::wire::{ApiKey, Text};

/// The log of the metadata, of which there is one partition.
const METADATA_TOPIC: &str = "__cluster_metadata";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct QuorumArguments {
    #[command(subcommand)]
    verb: Option<QuorumVerb>,
    #[command(flatten)]
    repeat: RepeatArguments,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum QuorumVerb {
    /// Have a controller vote that reads along so far
    Add(voters::AddArguments),
    /// Have a controller vote no more
    Remove(voters::RemoveArguments),
}

/// What the leader, or whoever answers, says about the quorum.
pub(super) struct Described {
    /// Who votes, who reads along, and how far each is.
    pub(super) partition: PartitionData,
    /// Where the voters are reached.
    pub(super) nodes: Vec<Node>,
}

impl QuorumArguments {
    pub(super) const fn common(&self) -> &Common {
        match &self.verb {
            None => &self.common,
            Some(QuorumVerb::Add(arguments)) => arguments.common(),
            Some(QuorumVerb::Remove(arguments)) => arguments.common(),
        }
    }
}

pub(super) fn run(arguments: &QuorumArguments) -> Result<ExitCode, Failure> {
    match &arguments.verb {
        None => show(arguments.repeat, &arguments.common),
        Some(QuorumVerb::Add(arguments)) => voters::add(arguments),
        Some(QuorumVerb::Remove(arguments)) => voters::remove(arguments),
    }
}

fn show(repeat: RepeatArguments, common: &Common) -> Result<ExitCode, Failure> {
    repeat.run(common, async |cluster| {
        let quorum = describe(&cluster).await?.partition;
        let leader = Some(quorum.leader_id.0).filter(|id| *id >= 0);
        let mut table = Table::new(&["NODE", "STATUS", "END", "LAG", "LAST-FETCH", "CAUGHT-UP"])
            .wide(&["DIRECTORY"]);
        let mut rows = Vec::new();
        let voters = quorum.current_voters.iter().map(|node| (node, "voter"));
        let observers = quorum.observers.iter().map(|node| (node, "observer"));
        let ages = Ages::of(&quorum, cluster.env().clock.now().0);
        for (node, status) in voters.chain(observers) {
            let status = if Some(node.replica_id.0) == leader { "leader" } else { status };
            let end = Some(node.log_end_offset).filter(|end| *end >= 0);
            let lag = end.map(|end| (ages.end - end).max(0));
            table.row([
                node.replica_id.0.to_string(),
                status.to_owned(),
                or_dash(end),
                or_dash(lag),
                ages.shown(node.last_fetch_timestamp),
                ages.shown(node.last_caught_up_timestamp),
            ]);
            let directory = UuidText(node.replica_directory_id).to_string();
            table.more([directory.clone()]);
            let time = |millis: i64| Some(millis).filter(|millis| *millis >= 0);
            rows.push(json!({
                "id": node.replica_id.0, "status": status, "end": end, "lag": lag,
                "directory": directory,
                "last_fetch_ms": time(node.last_fetch_timestamp),
                "last_caught_up_ms": time(node.last_caught_up_timestamp),
            }));
        }
        if common.output.is_table() {
            let leader =
                leader.map_or_else(|| "no leader".to_owned(), |leader| format!("leader {leader}"));
            let (epoch, watermark) = (quorum.leader_epoch, quorum.high_watermark);
            print_text(&format!("{leader}, epoch {epoch}, high watermark {watermark}\n"))?;
        }
        let json = json!({
            "leader": leader, "epoch": quorum.leader_epoch,
            "high_watermark": quorum.high_watermark, "nodes": rows,
        });
        common.output.print(&table, &json)?;
        Ok(if leader.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Asks whoever answers who leads, and the leader, if it is a broker, how far the others are: only it knows.
pub(super) async fn describe(cluster: &Cluster) -> Result<Described, Failure> {
    let quorum = ask(cluster, Target::Any).await?;
    let leader = BrokerId(quorum.partition.leader_id.0);
    match cluster.known().broker(leader) {
        Some(_) => ask(cluster, Target::Node(leader)).await,
        None => Ok(quorum),
    }
}

async fn ask(cluster: &Cluster, target: Target) -> Result<Described, Failure> {
    let partition = describe_quorum_request::PartitionData::default();
    let topic = describe_quorum_request::TopicData::default()
        .with_topic_name(WireTopicName(Text::from_static_str(METADATA_TOPIC)))
        .with_partitions(vec![partition]);
    let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let response = cluster.request(target, &request).await?;
    let subject = || "the quorum".to_owned();
    let message = response.error_message.as_deref();
    check(ApiKey::DescribeQuorum, response.error_code, subject, message)?;
    let partition = response.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let Some(partition) = partition else {
        return Err(Failure::new("UNREADABLE_ANSWER", REFUSED, "the answer names no quorum"));
    };
    let message = partition.error_message.as_deref();
    check(ApiKey::DescribeQuorum, partition.error_code, subject, message)?;
    Ok(Described { partition, nodes: response.nodes })
}

/// What times and ends of the nodes are measured by: the leader's, which are the latest there are.
struct Ages {
    now: i64,
    end: i64,
}

impl Ages {
    /// By `clock` of this machine if the leader does not tell its time.
    fn of(quorum: &PartitionData, clock: i64) -> Self {
        let leads = |node: &&ReplicaState| node.replica_id == quorum.leader_id;
        let leader = quorum.current_voters.iter().find(leads);
        let told = leader.map(|leader| leader.last_caught_up_timestamp).filter(|time| *time >= 0);
        let end = leader.map_or(quorum.high_watermark, |leader| leader.log_end_offset);
        Self { now: told.unwrap_or(clock), end: end.max(quorum.high_watermark) }
    }

    fn shown(&self, time: i64) -> String {
        match time {
            ..0 => "-".to_owned(),
            time => format!("{} ms ago", (self.now - time).max(0)),
        }
    }
}
