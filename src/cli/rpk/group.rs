//! `rpk group list`, `describe` and `delete`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Connection, columns, table};
use crate::cli::failure::Failure;
use crate::cli::group::describe::{DescribedGroup, Member, Progress, ask, progress};
use crate::cli::group::groups;
use crate::cli::output::print_text;
use crate::client::{Cluster, CoordinatorKind, Target};
use crate::model::{ErrorCode, PartitionId};
use crate::wire::Text;
use crate::wire::messages::{DeleteGroupsRequest, WireGroupId};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List groups
    #[command(alias = "ls")]
    List,
    /// Show where groups have stopped and how far behind they are
    Describe(DescribeArguments),
    /// Delete groups that have no members
    Delete(DeleteArguments),
}

#[derive(Debug, Args)]
pub(super) struct DescribeArguments {
    /// Names of groups
    #[arg(required = true)]
    groups: Vec<String>,
    /// Only the summary
    #[arg(short = 's', long)]
    print_summary: bool,
    /// Only what is committed
    #[arg(short = 'c', long, conflicts_with = "print_summary")]
    print_commits: bool,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArguments {
    /// Names of groups
    #[arg(required = true)]
    groups: Vec<String>,
}

pub(super) fn run(verb: &Verb, connection: &Connection) -> Result<ExitCode, Failure> {
    connection.run(async |cluster| match verb {
        Verb::List => show_all(&cluster).await,
        Verb::Describe(arguments) => describe(&cluster, arguments).await,
        Verb::Delete(arguments) => delete(&cluster, arguments).await,
    })
}

async fn show_all(cluster: &Cluster) -> Result<ExitCode, Failure> {
    let mut rows = table(["BROKER", "GROUP", "STATE"]);
    for (name, group) in groups(cluster).await? {
        rows.push(vec![group.coordinator.to_string(), name, group.state.unwrap_or_default()]);
    }
    print_text(&columns(&rows))?;
    Ok(ExitCode::SUCCESS)
}

async fn describe(cluster: &Cluster, arguments: &DescribeArguments) -> Result<ExitCode, Failure> {
    let mut texts = Vec::new();
    for name in &arguments.groups {
        let group = ask(cluster, name).await?;
        let owned = group.members.iter().flat_map(|member| member.assignment.iter());
        let owned = owned.map(|(topic, index)| (topic.to_owned(), index));
        let progress: Vec<_> = progress(cluster, name, owned).await?.into_iter().collect();
        let mut sections = Vec::new();
        if !arguments.print_commits {
            sections.push(summary(name, &group, &progress));
        }
        if !arguments.print_summary && !progress.is_empty() {
            sections.push(commits(&group, &progress));
        }
        texts.push(sections.join("\n"));
    }
    print_text(&texts.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

type Place = (String, PartitionId);

fn summary(name: &str, group: &DescribedGroup, progress: &[(Place, Progress)]) -> String {
    let lag: i64 = progress.iter().map(|(_, progress)| lag(progress)).sum();
    let rows = [
        ("GROUP", name.to_owned()),
        ("COORDINATOR-NODE", group.coordinator.to_string()),
        ("STATE", group.state.clone()),
        ("BALANCER", group.assignor.clone()),
        ("MEMBERS", group.members.len().to_string()),
        ("TOTAL-LAG", lag.to_string()),
    ];
    columns(&rows.map(|(title, value)| vec![title.to_owned(), value]))
}

/// What has never been committed is behind by all that is there.
fn lag(progress: &Progress) -> i64 {
    let from = progress.committed.as_ref().map(|committed| committed.offset.0).or(progress.start);
    from.zip(progress.end).map_or(0, |(from, end)| (end - from).max(0))
}

fn commits(group: &DescribedGroup, progress: &[(Place, Progress)]) -> String {
    let owner = |place: &Place| {
        let has = |member: &&Member| {
            member
                .assignment
                .iter()
                .any(|(topic, index)| (topic, index) == (place.0.as_str(), place.1))
        };
        group.members.iter().find(has)
    };
    let named = group.members.iter().any(|member| member.instance.is_some());
    let mut rows = table([
        "TOPIC",
        "PARTITION",
        "CURRENT-OFFSET",
        "LOG-START-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "MEMBER-ID",
    ]);
    rows[0].extend(named.then(|| "INSTANCE-ID".to_owned()));
    rows[0].extend(["CLIENT-ID".to_owned(), "HOST".to_owned()]);
    for (place, progress) in progress {
        let member = owner(place);
        let text = |of: fn(&Member) -> &str| member.map(of).unwrap_or_default().to_owned();
        let offset = progress.committed.as_ref().map(|committed| committed.offset.to_string());
        let dash = || "-".to_owned();
        let end = progress.end.unwrap_or(-1);
        let mut row = vec![
            place.0.clone(),
            place.1.to_string(),
            offset.unwrap_or_else(dash),
            progress.start.unwrap_or(-1).to_string(),
            end.to_string(),
            if end == 0 { dash() } else { lag(progress).to_string() },
            text(|member| &member.id),
        ];
        row.extend(named.then(|| text(|member| member.instance.as_deref().unwrap_or_default())));
        row.extend([text(|member| &member.client_id), text(|member| &member.host)]);
        rows.push(row);
    }
    columns(&rows)
}

async fn delete(cluster: &Cluster, arguments: &DeleteArguments) -> Result<ExitCode, Failure> {
    let mut rows = table(["GROUP", "STATUS"]);
    let mut exit = ExitCode::SUCCESS;
    for name in &arguments.groups {
        let coordinator = cluster.coordinator(CoordinatorKind::Group, name).await?;
        let id = WireGroupId(Text::from_string(name.clone()));
        let request = DeleteGroupsRequest::default().with_groups_names(vec![id]);
        let response = cluster.request(Target::Node(coordinator), &request).await?;
        let code = response.results.first().map_or(0, |result| result.error_code);
        let status = super::topic::status(code, None, &mut exit);
        rows.push(vec![name.clone(), status]);
    }
    print_text(&columns(&rows))?;
    Ok(exit)
}

/// What a code is called; `OK` for none.
pub(super) fn name_of(code: i16) -> &'static str {
    let code = ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError);
    if code.is_none() { "OK" } else { code.name() }
}
