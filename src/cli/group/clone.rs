//! `ottla group clone`: a group goes on from where another one has stopped.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::describe::{find, progress};
use super::reset::{Goal, chosen, offsets_of, refuse_if_used, say_what_was_done, shown, targets};
use crate::cli::failure::Failure;
use crate::cli::output::list;
use crate::cli::scope::Scope;
use crate::cli::topic::Common;
use crate::client::Committer;

#[derive(Debug, Args)]
pub(super) struct CloneArguments {
    /// The group whose offsets are taken; it stays as it is, and may be in use
    from: String,
    /// The group that gets them, which may not have members; made if it is not there
    to: String,
    /// Only this topic, or some of its partitions: TOPIC or TOPIC:0,1 [default: all that FROM has committed]
    #[arg(short = 't', long = "topic", value_name = "TOPIC[:P,…]", value_parser = Scope::parse)]
    topics: Vec<Scope>,
    /// Do it
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn clone(arguments: &CloneArguments) -> Result<ExitCode, Failure> {
    let (from, to) = (arguments.from.as_str(), arguments.to.as_str());
    if from == to {
        return Err(Failure::usage(format!("'{from}' is copied to itself")));
    }
    arguments.common.connection.run(async |cluster| {
        if let Some(group) = find(&cluster, to).await? {
            refuse_if_used(to, &group)?;
        }
        let mut offsets = offsets_of(&cluster, from).await?;
        if !arguments.topics.is_empty() {
            let chosen = chosen(&cluster, &arguments.topics).await?;
            offsets.retain(|partition, _| chosen.contains(partition));
        }
        let mut progress = progress(&cluster, to, offsets.keys().cloned()).await?;
        progress.retain(|partition, _| offsets.contains_key(partition));
        let goal = Goal::Offsets(offsets);
        let new = targets(&cluster, &goal, &progress).await?;
        if arguments.execute {
            cluster.commit_offsets(to, &Committer::nobody(), &new).await?;
        }
        let (table, rows) = shown(&progress, &new);
        let json = json!({
            "from": from, "group": to, "executed": arguments.execute, "partitions": rows,
        });
        arguments.common.output.print(&table, &json)?;
        let left: Vec<_> =
            progress.keys().filter(|partition| !new.contains_key(*partition)).collect();
        if !left.is_empty() {
            let left = list(left.iter().map(|(topic, index)| format!("{topic}:{index}")));
            note!("left out, for there is no such partition or no leader of it: {left}");
        }
        say_what_was_done(&table, arguments.execute);
        Ok(ExitCode::SUCCESS)
    })
}
