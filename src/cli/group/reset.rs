//! `ottla group reset`: a group goes on from another place.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::describe::{DescribedGroup, Progress, find, progress};
use crate::cli::failure::{Failure, NOT_NOW};
use crate::cli::output::{Table, or_dash};
use crate::cli::place::{Place, resolve};
use crate::cli::topic::{Common, known_topics};
use crate::client::{Cluster, Committer};
use crate::model::{Offset, PartitionId};

#[derive(Debug, Args)]
pub(super) struct ResetArguments {
    /// Name of the group
    group: String,
    /// Only this topic, or some of its partitions: TOPIC or TOPIC:0,1
    #[arg(
        short = 't',
        long = "topic",
        value_name = "TOPIC[:P,…]",
        required_unless_present = "all_topics"
    )]
    topics: Vec<String>,
    /// All topics that the group has read
    #[arg(long, conflicts_with = "topics")]
    all_topics: bool,
    /// Where to go on: start, end, current, an offset, or a time (@2026-11-01T10:00, @-2h)
    #[arg(
        long,
        value_name = "PLACE",
        value_parser = Place::parse,
        allow_hyphen_values = true,
        required_unless_present = "shift_by"
    )]
    to: Option<Place>,
    /// So many records forward, or back if negative
    #[arg(long, value_name = "N", allow_hyphen_values = true, conflicts_with = "to")]
    shift_by: Option<i64>,
    /// Do it
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn reset(arguments: &ResetArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let name = arguments.group.as_str();
        if let Some(group) = find(&cluster, name).await? {
            refuse_if_used(name, &group)?;
        }
        let chosen = chosen(&cluster, arguments).await?;
        let mut progress = progress(&cluster, name, chosen.iter().cloned()).await?;
        progress.retain(|partition, _| arguments.all_topics || chosen.contains(partition));
        let new = targets(&cluster, arguments, &progress).await?;
        if arguments.execute {
            cluster.commit_offsets(name, &Committer::nobody(), &new).await?;
        }
        print(arguments, &progress, &new)?;
        Ok(ExitCode::SUCCESS)
    })
}

/// A group with members would overwrite what is set here, or never look at it.
fn refuse_if_used(name: &str, group: &DescribedGroup) -> Result<(), Failure> {
    if group.members.is_empty() {
        return Ok(());
    }
    let who: Vec<_> = group
        .members
        .iter()
        .map(|member| format!("{} at {} ({})", member.client_id, member.host, member.id))
        .collect();
    let message = format!("group '{name}' is {} and has members: {}", group.state, who.join("; "));
    Err(Failure::new("NON_EMPTY_GROUP", NOT_NOW, message).hint("stop its members first"))
}

/// The partitions that the arguments name.
async fn chosen(
    cluster: &Cluster,
    arguments: &ResetArguments,
) -> Result<Vec<(String, PartitionId)>, Failure> {
    let mut chosen = Vec::new();
    for scope in &arguments.topics {
        let (topic, list) = scope
            .split_once(':')
            .map_or((scope.as_str(), None), |(topic, list)| (topic, Some(list)));
        let metadata = known_topics(cluster, &[topic]).await?;
        let indexes: Vec<i32> = match list {
            Some(list) => list
                .split(',')
                .map(|index| {
                    index.parse().map_err(|_| format!("'{index}' in '{scope}' is no partition"))
                })
                .collect::<Result<_, _>>()
                .map_err(Failure::usage)?,
            None => {
                let partitions = metadata.topic(topic).map(|topic| topic.partitions.as_slice());
                partitions.unwrap_or_default().iter().map(|partition| partition.index.0).collect()
            }
        };
        for index in indexes {
            metadata.leader_of(topic, PartitionId(index))?;
            chosen.push((topic.to_owned(), PartitionId(index)));
        }
    }
    Ok(chosen)
}

/// Where each partition is to go on, within what is there.
async fn targets(
    cluster: &Cluster,
    arguments: &ResetArguments,
    progress: &BTreeMap<(String, PartitionId), Progress>,
) -> Result<BTreeMap<(String, PartitionId), Offset>, Failure> {
    // What has no leader or no topic any more cannot be gone on with.
    let there = progress.iter().filter(|(_, progress)| progress.end.is_some());
    let partitions: Vec<_> = there.clone().map(|(partition, _)| partition.clone()).collect();
    let current = |progress: &Progress| progress.committed.as_ref().map(|known| known.offset);
    let wanted: BTreeMap<_, _> = match (arguments.to, arguments.shift_by) {
        (Some(Place::Stored), _) => there
            .clone()
            .filter_map(|(partition, progress)| Some((partition.clone(), current(progress)?)))
            .collect(),
        (Some(place), _) => resolve(cluster, &partitions, place).await?,
        (None, Some(by)) => there
            .clone()
            .filter_map(|(partition, progress)| {
                Some((partition.clone(), current(progress)?.plus(by)))
            })
            .collect(),
        (None, None) => BTreeMap::new(),
    };
    let within = |(partition, offset): ((String, PartitionId), Offset)| {
        let known = progress.get(&partition)?;
        let bounds = (known.start.unwrap_or(0), known.end.unwrap_or(i64::MAX));
        Some((partition, Offset(offset.0.clamp(bounds.0, bounds.1.max(bounds.0)))))
    };
    Ok(wanted.into_iter().filter_map(within).collect())
}

fn print(
    arguments: &ResetArguments,
    progress: &BTreeMap<(String, PartitionId), Progress>,
    new: &BTreeMap<(String, PartitionId), Offset>,
) -> Result<(), Failure> {
    let mut table = Table::new(&["TOPIC", "PARTITION", "CURRENT", "NEW", "DELTA", "NEW-LAG"]);
    let mut rows = Vec::new();
    for (partition, offset) in new {
        let known = progress.get(partition);
        let current = known.and_then(|known| Some(known.committed.as_ref()?.offset.0));
        let lag = known.and_then(|known| known.end).map(|end| end - offset.0);
        let delta = current.map(|current| offset.0 - current);
        table.row([
            partition.0.clone(),
            partition.1.to_string(),
            or_dash(current),
            offset.to_string(),
            delta.map_or_else(|| "-".to_owned(), |delta| format!("{delta:+}")),
            or_dash(lag),
        ]);
        rows.push(json!({
            "topic": partition.0, "partition": partition.1.0, "current": current,
            "new": offset.0, "new_lag": lag,
        }));
    }
    let json =
        json!({ "group": arguments.group, "executed": arguments.execute, "partitions": rows });
    arguments.common.output.print(&table, &json)?;
    if table.is_empty() {
        eprintln!("the group has committed nothing there");
    } else if !arguments.execute {
        eprintln!("nothing was changed: add --execute to do it");
    }
    Ok(())
}
