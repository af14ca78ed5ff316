//! `ottla group`: consumer groups seen, moved and removed.

mod clone;
pub(super) mod describe;
mod remove;
mod reset;

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::{Failure, NOT_FOUND, did_you_mean};
use super::output::{Table, or_dash};
use super::repeat::RepeatArguments;
use super::topic::Common;
use crate::client::{ClientError, Cluster, Target, check};
use crate::model::BrokerId;
use crate::wire::ApiKey;
use crate::wire::messages::ListGroupsRequest;

#[derive(Debug, Args)]
pub(super) struct GroupArguments {
    #[command(subcommand)]
    verb: GroupVerb,
}

#[derive(Debug, Subcommand)]
enum GroupVerb {
    /// List groups
    List(ListArguments),
    /// Show where groups have stopped and how far behind they are
    Describe(describe::DescribeArguments),
    /// Show the members of groups and what they have
    Members(describe::MembersArguments),
    /// Let a group go on from another place; shows what it would do unless --execute is given
    Reset(reset::ResetArguments),
    /// Let a group go on from where another one has stopped; shows what it would do unless --execute is given
    Clone(clone::CloneArguments),
    /// Delete groups that have no members
    Delete(remove::DeleteArguments),
    /// Forget the offsets of topics in a group
    DeleteOffsets(remove::DeleteOffsetsArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    repeat: RepeatArguments,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &GroupArguments) -> ExitCode {
    let (common, outcome) = match &arguments.verb {
        GroupVerb::List(arguments) => (&arguments.common, list(arguments)),
        GroupVerb::Describe(arguments) => (&arguments.common, describe::describe(arguments)),
        GroupVerb::Members(arguments) => (&arguments.common, describe::members(arguments)),
        GroupVerb::Reset(arguments) => (&arguments.common, reset::reset(arguments)),
        GroupVerb::Clone(arguments) => (&arguments.common, clone::clone(arguments)),
        GroupVerb::Delete(arguments) => (&arguments.common, remove::delete(arguments)),
        GroupVerb::DeleteOffsets(arguments) => {
            (&arguments.common, remove::delete_offsets(arguments))
        }
    };
    outcome.unwrap_or_else(|failure| failure.report(common.output.is_json()))
}

/// A group as a list shows it.
#[derive(Clone, Debug)]
pub(super) struct ListedGroup {
    pub(super) coordinator: BrokerId,
    /// What its members speak: `consumer`, or nothing.
    pub(super) protocol: String,
    /// Brokers before version 4 of the question do not tell.
    pub(super) state: Option<String>,
    /// Nor this before version 5.
    pub(super) kind: Option<String>,
}

/// All groups: each broker knows those that it coordinates.
pub(super) async fn groups(
    cluster: &Cluster,
) -> Result<BTreeMap<String, ListedGroup>, ClientError> {
    let mut groups = BTreeMap::new();
    for node in cluster.known().brokers {
        let request = ListGroupsRequest::default();
        let response = cluster.request(Target::Node(node.id), &request).await?;
        let subject = || format!("the groups of broker {}", node.id);
        check(ApiKey::ListGroups, response.error_code, subject, None)?;
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        groups.extend(response.groups.iter().map(|group| {
            let listed = ListedGroup {
                coordinator: node.id,
                protocol: group.protocol_type.to_string(),
                state: some(&group.group_state),
                kind: some(&group.group_type),
            };
            (group.group_id.0.to_string(), listed)
        }));
    }
    Ok(groups)
}

fn list(arguments: &ListArguments) -> Result<ExitCode, Failure> {
    arguments.repeat.run(&arguments.common, async |cluster| {
        let groups = groups(&cluster).await?;
        let mut table = Table::new(&["GROUP", "STATE", "TYPE", "COORDINATOR"]).wide(&["PROTOCOL"]);
        let mut rows = Vec::new();
        for (name, group) in &groups {
            table.row([
                name.clone(),
                or_dash(group.state.as_ref()),
                or_dash(group.kind.as_ref()),
                group.coordinator.to_string(),
            ]);
            table.more([or_dash(Some(&group.protocol).filter(|protocol| !protocol.is_empty()))]);
            rows.push(json!({
                "group": name, "state": group.state, "type": group.kind,
                "protocol": group.protocol, "coordinator": group.coordinator.0,
            }));
        }
        arguments.common.output.print(&table, &json!({ "groups": rows }))?;
        Ok(ExitCode::SUCCESS)
    })
}

/// What is said of a group that is not there.
async fn unknown_group(cluster: &Cluster, name: &str) -> Failure {
    let failure =
        Failure::new("GROUP_ID_NOT_FOUND", NOT_FOUND, format!("there is no group '{name}'"));
    let all = groups(cluster).await.unwrap_or_default();
    match did_you_mean(name, all.keys().map(String::as_str)) {
        Some(near) => failure.hint(format!("did you mean '{near}'? ottla group list shows all")),
        None => failure.hint("ottla group list shows all"),
    }
}
