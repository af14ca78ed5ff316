//! `ottla cluster reassign`: replicas spread evenly over brokers.

mod plan;
mod throttle;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use self::plan::{Move, Placed, Seat, plan};
use crate::cli::failure::{Failure, NOT_FOUND, NOT_NOW, USAGE};
use crate::cli::output::{Table, count, list, print_text};
use crate::cli::progress::{Progress, bar};
use crate::cli::signals::Signals;
use crate::cli::topic::change::timeout_ms;
use crate::cli::topic::{Common, known_topics};
use crate::cli::units;
use crate::client::{ClientError, Cluster, Metadata, Target, Topics, check};
use crate::model::{BrokerId, ErrorCode, PartitionId};
use crate::wire::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use crate::wire::messages::{
    AlterPartitionReassignmentsRequest, ListPartitionReassignmentsRequest, WireBrokerId,
    WireTopicName,
};
use crate::wire::{ApiKey, Text};

/// Which replicas go where.
#[derive(Debug, Args)]
pub(super) struct ReassignArguments {
    /// Only these topics; others are neither moved nor counted
    #[arg(short = 't', long, value_name = "TOPIC,…", value_delimiter = ',')]
    topics: Vec<String>,
    /// Brokers that are to have the replicas, and no others [default: all that are there]
    #[arg(long, value_name = "ID,…", value_delimiter = ',', conflicts_with = "cancel")]
    brokers: Vec<i32>,
    /// Show what would move, and move nothing
    #[arg(long, conflicts_with = "cancel")]
    dry_run: bool,
    /// How many bytes a second a broker copies at most of what moves; taken away at the end
    #[arg(long, value_name = "SIZE", value_parser = units::bytes, conflicts_with = "cancel")]
    throttle: Option<usize>,
    /// Stop what is moving, and bring it back to where it was
    #[arg(long)]
    cancel: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Between two looks at what is still moving.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn run(arguments: &ReassignArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| match arguments.cancel {
        true => cancel(&cluster, arguments).await,
        false => reassign(&cluster, arguments).await,
    })
}

async fn chosen(cluster: &Cluster, arguments: &ReassignArguments) -> Result<Metadata, Failure> {
    let names: Vec<&str> = arguments.topics.iter().map(String::as_str).collect();
    match names.is_empty() {
        true => Ok(cluster.metadata(Topics::All).await?),
        false => known_topics(cluster, &names).await,
    }
}

async fn reassign(cluster: &Cluster, arguments: &ReassignArguments) -> Result<ExitCode, Failure> {
    let metadata = chosen(cluster, arguments).await?;
    let moving = moving(cluster, &metadata).await?;
    if let Some(first) = moving.first() {
        let what = count(moving.len(), "partition");
        let message = format!("{what} moving already, {} {} first", first.topic, first.partition);
        return Err(Failure::new("REASSIGNMENT_IN_PROGRESS", NOT_NOW, message)
            .hint("wait until they are there, or stop them with --cancel"));
    }
    let placed: Vec<Placed> = metadata
        .topics
        .iter()
        .flat_map(|topic| {
            topic.partitions.iter().map(|partition| Placed {
                topic: topic.name.clone(),
                partition: partition.index,
                replicas: partition.replicas.clone(),
            })
        })
        .collect();
    let moves = plan(&seats(&metadata, &arguments.brokers)?, &placed).map_err(|placed| {
        let replicas = placed.replicas.len();
        let message = format!("{} {} has {replicas} replicas", placed.topic, placed.partition);
        Failure::new("TOO_FEW_BROKERS", USAGE, format!("{message}, which need as many brokers"))
    })?;
    print(arguments, &moves)?;
    if moves.is_empty() || arguments.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(rate) = arguments.throttle {
        throttle::set(cluster, &moves, rate).await?;
    }
    alter(cluster, &moves, |it| Some(it.to.clone())).await?;
    if let Some(exit) = wait(cluster, &moves).await? {
        note!("it goes on without us; ottla cluster reassign --cancel stops it");
        return Ok(exit);
    }
    if arguments.throttle.is_some() {
        let topics = moves.iter().map(|it| it.topic.as_str()).collect();
        throttle::unset(cluster, &topics, &throttle::brokers(&moves)).await?;
    }
    let replicas: usize = moves.iter().map(|it| it.added().count()).sum();
    let (replicas, partitions) = (count(replicas, "replica"), count(moves.len(), "partition"));
    note!("moved {replicas} of {partitions}");
    Ok(ExitCode::SUCCESS)
}

/// The brokers that are to have replicas.
fn seats(metadata: &Metadata, wanted: &[i32]) -> Result<Vec<Seat>, Failure> {
    let all = &metadata.brokers;
    if let Some(id) = wanted.iter().find(|id| metadata.broker(BrokerId(**id)).is_none()) {
        let message = format!("broker {id} is not in the cluster at present");
        let hint = "ottla cluster brokers shows those that are";
        return Err(Failure::new("NO_SUCH_BROKER", NOT_FOUND, message).hint(hint));
    }
    let chosen = all.iter().filter(|node| wanted.is_empty() || wanted.contains(&node.id.0));
    Ok(chosen.map(|node| Seat { id: node.id, rack: node.rack.clone() }).collect())
}

fn print(arguments: &ReassignArguments, moves: &[Move]) -> Result<(), Failure> {
    let mut table = Table::new(&["TOPIC", "PARTITION", "FROM", "TO"]);
    let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
    let mut rows: Vec<Value> = Vec::new();
    for Move { topic, partition, from, to } in moves {
        table.row([topic.clone(), partition.to_string(), list(from), list(to)]);
        rows.push(json!({
            "topic": topic, "partition": partition.0, "from": ids(from), "to": ids(to),
        }));
    }
    if moves.is_empty() && !arguments.common.output.is_json() {
        return Ok(print_text("nothing to move: replicas lie as evenly as they can\n")?);
    }
    let json = json!({ "moves": rows, "dry_run": arguments.dry_run });
    arguments.common.output.print(&table, &json)?;
    if arguments.dry_run {
        note!("nothing was moved: leave --dry-run out to do it");
    }
    Ok(())
}

/// Has each of these partitions go where `to` says, or back to where it was.
async fn alter(
    cluster: &Cluster,
    moves: &[Move],
    to: impl Fn(&Move) -> Option<Vec<BrokerId>>,
) -> Result<(), Failure> {
    let names: BTreeSet<&str> = moves.iter().map(|it| it.topic.as_str()).collect();
    let partition = |it: &Move| {
        let wire = |ids: Vec<BrokerId>| ids.into_iter().map(|id| WireBrokerId(id.0)).collect();
        ReassignablePartition::default()
            .with_partition_index(it.partition.0)
            .with_replicas(to(it).map(wire))
    };
    let topic = |name: &&str| {
        let of_topic = moves.iter().filter(|it| it.topic == *name);
        ReassignableTopic::default()
            .with_name(WireTopicName(Text::from_string((*name).to_owned())))
            .with_partitions(of_topic.map(partition).collect())
    };
    let request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(timeout_ms(cluster))
        .with_topics(names.iter().map(topic).collect());
    let response = cluster.request(Target::Controller, &request).await?;
    let api = ApiKey::AlterPartitionReassignments;
    let message = response.error_message.as_deref();
    check(api, response.error_code, || "the reassignment".to_owned(), message)?;
    for topic in &response.responses {
        for partition in &topic.partitions {
            // It arrived before it was to be stopped.
            if partition.error_code == ErrorCode::NoReassignmentInProgress.code() {
                continue;
            }
            let subject = || format!("{} partition {}", &*topic.name, partition.partition_index);
            let message = partition.error_message.as_deref();
            check(api, partition.error_code, subject, message)?;
        }
    }
    Ok(())
}

/// Shows how many are there until all are; gives the exit code when the user does not want to wait.
async fn wait(cluster: &Cluster, moves: &[Move]) -> Result<Option<ExitCode>, Failure> {
    let steady = &cluster.env().steady;
    let mut progress = Progress::new(steady);
    let mut signals = Signals::listen()?;
    loop {
        let left = cluster.retry(async || list_moving(cluster).await).await?;
        let is_ours = |it: &&Move| {
            moves.iter().any(|ours| (&ours.topic, ours.partition) == (&it.topic, it.partition))
        };
        let left = left.iter().filter(is_ours).count();
        if left == 0 {
            return Ok(None);
        }
        let there = moves.len().saturating_sub(left);
        progress.show(|| {
            let bar = bar(there as u64, moves.len() as u64);
            format!("{bar} {there} of {} are there", count(moves.len(), "partition"))
        });
        tokio::select! {
            () = steady.sleep_until(steady.now().plus(LOOK_EVERY)) => {}
            exit = signals.next() => return Ok(Some(exit)),
        }
    }
}

async fn cancel(cluster: &Cluster, arguments: &ReassignArguments) -> Result<ExitCode, Failure> {
    let metadata = chosen(cluster, arguments).await?;
    let moving = moving(cluster, &metadata).await?;
    if !moving.is_empty() {
        alter(cluster, &moving, |_| None).await?;
        let topics = moving.iter().map(|it| it.topic.as_str()).collect();
        throttle::unset(cluster, &topics, &throttle::brokers(&moving)).await?;
    }
    let text = match moving.is_empty() {
        true => "nothing is moving".to_owned(),
        false => format!("stopped {}", count(moving.len(), "partition")),
    };
    let partition = |it: &Move| json!({ "topic": it.topic, "partition": it.partition.0 });
    let json = json!({ "cancelled": moving.iter().map(partition).collect::<Vec<_>>() });
    arguments.common.output.print_done(&text, &json)?;
    Ok(ExitCode::SUCCESS)
}

/// What is moving of these topics: `from` is who has it or is to have it no more, `to` who is getting it.
async fn moving(cluster: &Cluster, metadata: &Metadata) -> Result<Vec<Move>, Failure> {
    let mut moving = cluster.retry(async || list_moving(cluster).await).await?;
    moving.retain(|it| metadata.topic(&it.topic).is_some());
    Ok(moving)
}

async fn list_moving(cluster: &Cluster) -> Result<Vec<Move>, ClientError> {
    let request = ListPartitionReassignmentsRequest::default()
        .with_timeout_ms(timeout_ms(cluster))
        .with_topics(None);
    let response = cluster.request(Target::Controller, &request).await?;
    let subject = || "the reassignments".to_owned();
    let message = response.error_message.as_deref();
    check(ApiKey::ListPartitionReassignments, response.error_code, subject, message)?;
    let ids = |ids: &[WireBrokerId]| ids.iter().map(|id| BrokerId(id.0)).collect::<Vec<_>>();
    let mut moving = Vec::new();
    for topic in &response.topics {
        moving.extend(topic.partitions.iter().map(|partition| Move {
            topic: topic.name.0.to_string(),
            partition: PartitionId(partition.partition_index),
            from: ids(&partition.replicas),
            to: ids(&partition.adding_replicas),
        }));
    }
    Ok(moving)
}
