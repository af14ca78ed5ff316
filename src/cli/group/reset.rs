//! `ottla group reset`: a group goes on from another place.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::{Span, SpanRelativeTo};
use serde_json::{Value, json};

use super::describe::{DescribedGroup, Progress, find, progress};
use super::unknown_group;
use crate::cli::failure::{Failure, NOT_NOW, REFUSED};
use crate::cli::output::{Table, or_dash, print_text};
use crate::cli::place::{Moment, Place, resolve};
use crate::cli::scope::Scope;
use crate::cli::topic::{Common, known_topics};
use crate::cli::{sources, units};
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
        value_parser = Scope::parse,
        required_unless_present_any = ["all_topics", "to_group", "from_file"]
    )]
    topics: Vec<Scope>,
    /// All topics that the group has read
    #[arg(long, conflicts_with = "topics")]
    all_topics: bool,
    #[command(flatten)]
    target: TargetArguments,
    /// Print the new offsets as lines of topic, partition and offset, as --from-file reads them
    #[arg(long)]
    export: bool,
    /// Do it
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Where to go on; one of them. Those without a short form are spelled as `kafka-consumer-groups` spells them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TargetArguments {
    /// Where to go on: start, end, current, an offset, or a time (@2026-11-01T10:00, @-2h)
    #[arg(long, value_name = "PLACE", value_parser = Place::parse, allow_hyphen_values = true)]
    to: Option<Place>,
    /// So many records forward, or back if negative
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// Where another group has stopped
    #[arg(long, value_name = "GROUP")]
    to_group: Option<String>,
    /// What a file says that --export has written
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// The same as --to start
    #[arg(long)]
    to_earliest: bool,
    /// The same as --to end
    #[arg(long)]
    to_latest: bool,
    /// The same as --to current
    #[arg(long)]
    to_current: bool,
    /// The same as --to OFFSET
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// The first record at or after a time such as 2026-11-01T10:00:00.000, which is UTC if it does not say otherwise
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    to_datetime: Option<Place>,
    /// The first record of so long ago: PT2H, or 2h
    #[arg(long, value_name = "TIME", value_parser = ago)]
    by_duration: Option<Place>,
}

/// Where a group is to go on.
pub(super) enum Goal {
    Place(Place),
    ShiftBy(i64),
    /// At these offsets.
    Offsets(BTreeMap<(String, PartitionId), Offset>),
}

impl TargetArguments {
    fn place(&self) -> Option<Place> {
        let flags = [
            (self.to_earliest, Place::Start),
            (self.to_latest, Place::End),
            (self.to_current, Place::Stored),
        ];
        let flag = flags.into_iter().find(|(given, _)| *given).map(|(_, place)| place);
        let given = self.to.or(self.to_datetime).or(self.by_duration).or(flag);
        given.or_else(|| self.to_offset.map(Place::At))
    }

    async fn goal(&self, cluster: &Cluster) -> Result<Goal, Failure> {
        if let Some(place) = self.place() {
            return Ok(Goal::Place(place));
        }
        if let Some(other) = &self.to_group {
            return Ok(Goal::Offsets(offsets_of(cluster, other).await?));
        }
        if let Some(path) = &self.from_file {
            let bytes = sources::read(path)
                .map_err(|error| Failure::new("BAD_INPUT", REFUSED, format!("{error:#}")))?;
            let offsets = exported(&String::from_utf8_lossy(&bytes));
            return offsets.map(Goal::Offsets).map_err(|words| {
                let message = format!("{}: {words}", path.display());
                Failure::new("BAD_INPUT", REFUSED, message).hint("--export writes such a file")
            });
        }
        Ok(Goal::ShiftBy(self.shift_by.unwrap_or_default()))
    }
}

/// What a group has committed, which has to be there.
pub(super) async fn offsets_of(
    cluster: &Cluster,
    group: &str,
) -> Result<BTreeMap<(String, PartitionId), Offset>, Failure> {
    let committed = cluster.committed_offsets(group).await?;
    if committed.is_empty() && find(cluster, group).await?.is_none() {
        return Err(unknown_group(cluster, group).await);
    }
    Ok(committed.into_iter().map(|(partition, known)| (partition, known.offset)).collect())
}

/// # Errors
/// In words, when it is no time.
fn datetime(text: &str) -> Result<Place, String> {
    let zoned = text.split_once('T').is_none_or(|(_, time)| time.contains(['+', '-', 'Z']));
    let moment = if zoned { Moment::parse(text) } else { Moment::parse(&format!("{text}Z")) };
    moment.map(Place::Time)
}

/// # Errors
/// In words, when it is no duration.
fn ago(text: &str) -> Result<Place, String> {
    let days = SpanRelativeTo::days_are_24_hours();
    let span = text.parse::<Span>().ok().filter(|_| text.starts_with('P'));
    let iso = span.and_then(|span| span.to_duration(days).ok()).map(|time| time.as_millis());
    let millis = match iso {
        Some(millis) => millis,
        None => i128::try_from(units::duration(text)?.as_millis()).unwrap_or(i128::MAX),
    };
    Ok(Place::Time(Moment::Ago(i64::try_from(millis).unwrap_or(i64::MAX))))
}

/// Lines of topic, partition and offset.
///
/// # Errors
/// In words, when a line is none.
fn exported(text: &str) -> Result<BTreeMap<(String, PartitionId), Offset>, String> {
    let mut offsets = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.trim().split(',').collect();
        let read = || {
            let [topic, partition, offset] = cells[..] else { return None };
            let place = (topic.to_owned(), PartitionId(partition.parse().ok()?));
            Some((place, Offset(offset.parse().ok()?)))
        };
        let (place, offset) =
            read().ok_or_else(|| format!("line {number} is not TOPIC,PARTITION,OFFSET"))?;
        offsets.insert(place, offset);
    }
    Ok(offsets)
}

pub(super) fn reset(arguments: &ResetArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let name = arguments.group.as_str();
        if let Some(group) = find(&cluster, name).await? {
            refuse_if_used(name, &group)?;
        }
        let goal = arguments.target.goal(&cluster).await?;
        let mut chosen = chosen(&cluster, &arguments.topics).await?;
        // Without a scope, offsets that are listed are the scope.
        let listed = arguments.topics.is_empty() && !arguments.all_topics;
        if let (Goal::Offsets(offsets), true) = (&goal, listed) {
            chosen.extend(offsets.keys().cloned());
        }
        let mut progress = progress(&cluster, name, chosen.iter().cloned()).await?;
        progress.retain(|partition, _| arguments.all_topics || chosen.contains(partition));
        let new = targets(&cluster, &goal, &progress).await?;
        if arguments.execute {
            cluster.commit_offsets(name, &Committer::nobody(), &new).await?;
        }
        if arguments.export {
            let mut text = String::new();
            for ((topic, index), offset) in &new {
                text.push_str(&format!("{topic},{index},{offset}\n"));
            }
            print_text(&text)?;
        } else {
            let (table, rows) = shown(&progress, &new);
            let json = json!({ "group": name, "executed": arguments.execute, "partitions": rows });
            arguments.common.output.print(&table, &json)?;
            say_what_was_done(&table, arguments.execute);
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// A group with members would overwrite what is set here, or never look at it.
pub(super) fn refuse_if_used(name: &str, group: &DescribedGroup) -> Result<(), Failure> {
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

/// The partitions that the scopes name, all of which must have a leader.
pub(super) async fn chosen(
    cluster: &Cluster,
    scopes: &[Scope],
) -> Result<Vec<(String, PartitionId)>, Failure> {
    let mut chosen = Vec::new();
    for scope in scopes {
        let metadata = known_topics(cluster, &[&scope.topic]).await?;
        for (topic, index) in scope.partitions(&metadata) {
            metadata.leader_of(&topic, index)?;
            chosen.push((topic, index));
        }
    }
    Ok(chosen)
}

/// Where each partition is to go on, within what is there.
pub(super) async fn targets(
    cluster: &Cluster,
    goal: &Goal,
    progress: &BTreeMap<(String, PartitionId), Progress>,
) -> Result<BTreeMap<(String, PartitionId), Offset>, Failure> {
    // What has no leader or no topic any more cannot be gone on with.
    let there = progress.iter().filter(|(_, progress)| progress.end.is_some());
    let partitions: Vec<_> = there.clone().map(|(partition, _)| partition.clone()).collect();
    let current = |progress: &Progress| progress.committed.as_ref().map(|known| known.offset);
    let wanted: BTreeMap<_, _> = match goal {
        Goal::Place(Place::Stored) => there
            .clone()
            .filter_map(|(partition, progress)| Some((partition.clone(), current(progress)?)))
            .collect(),
        Goal::Place(place) => resolve(cluster, &partitions, *place).await?,
        Goal::ShiftBy(by) => there
            .clone()
            .filter_map(|(partition, progress)| {
                Some((partition.clone(), current(progress)?.plus(*by)))
            })
            .collect(),
        Goal::Offsets(offsets) => there
            .clone()
            .filter_map(|(partition, _)| Some((partition.clone(), *offsets.get(partition)?)))
            .collect(),
    };
    let within = |(partition, offset): ((String, PartitionId), Offset)| {
        let known = progress.get(&partition)?;
        let bounds = (known.start.unwrap_or(0), known.end.unwrap_or(i64::MAX));
        Some((partition, Offset(offset.0.clamp(bounds.0, bounds.1.max(bounds.0)))))
    };
    Ok(wanted.into_iter().filter_map(within).collect())
}

/// What is there now and what is to be, as a table and as values.
pub(super) fn shown(
    progress: &BTreeMap<(String, PartitionId), Progress>,
    new: &BTreeMap<(String, PartitionId), Offset>,
) -> (Table, Vec<Value>) {
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
    (table, rows)
}

/// Beside the table: that there was nothing to do, or that nothing was done.
pub(super) fn say_what_was_done(table: &Table, execute: bool) {
    if table.is_empty() {
        note!("the group has committed nothing there");
    } else if !execute {
        note!("nothing was changed: add --execute to do it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_times_and_durations() {
        let at = |text: &str| Place::parse(&format!("@{text}"));
        assert_eq!(datetime("2026-01-01T03:30:00.000"), at("2026-01-01T03:30:00Z"));
        assert_eq!(datetime("2026-01-01T05:30:00.000+02:00"), at("2026-01-01T03:30:00Z"));
        assert_eq!((ago("PT2H"), ago("2h")), (at("-2h"), at("-2h")));
        assert!(datetime("soon").is_err() && ago("long").is_err());
    }

    #[test]
    fn what_was_exported_is_read() {
        let offsets = exported("orders,0,7\norders,1,8\n\n").unwrap();
        let expected = [
            (("orders".to_owned(), PartitionId(0)), Offset(7)),
            (("orders".to_owned(), PartitionId(1)), Offset(8)),
        ];
        assert_eq!(offsets, BTreeMap::from(expected));
        assert!(exported("orders,0").is_err() && exported("orders,x,7").is_err());
    }
}
