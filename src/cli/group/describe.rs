//! `ottla group describe` and `members`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::unknown_group;
use crate::cli::failure::Failure;
use crate::cli::manner::Paint;
use crate::cli::output::{Table, count, list as joined, or_dash};
use crate::cli::repeat::RepeatArguments;
use crate::cli::topic::Common;
use crate::client::{
    Assignment, ClientError, Cluster, CommittedOffset, CoordinatorKind, OffsetQuery, Target,
    Topics, check,
};
use crate::model::{BrokerId, ErrorCode, PartitionId};
use crate::wire::messages::{
    ConsumerGroupDescribeRequest, DescribeGroupsRequest, WireGroupId,
    consumer_group_describe_response, describe_groups_response,
};
use crate::wire::{ApiKey, Text};

/// Who is further behind in a partition is of interest.
pub(in crate::cli) const LAG_MAX: i64 = 1000;

#[derive(Debug, Args)]
pub(super) struct DescribeArguments {
    /// Names of groups
    #[arg(required = true)]
    groups: Vec<String>,
    /// Only partitions that the group is behind in
    #[arg(long)]
    lag_only: bool,
    #[command(flatten)]
    repeat: RepeatArguments,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct MembersArguments {
    /// Names of groups
    #[arg(required = true)]
    groups: Vec<String>,
    #[command(flatten)]
    repeat: RepeatArguments,
    #[command(flatten)]
    pub(super) common: Common,
}

/// A group with its members.
#[derive(Debug)]
pub(in crate::cli) struct DescribedGroup {
    pub(in crate::cli) coordinator: BrokerId,
    pub(in crate::cli) state: String,
    kind: &'static str,
    /// What its members speak: `consumer`, or nothing while there are none.
    pub(in crate::cli) protocol: String,
    pub(in crate::cli) assignor: String,
    /// Those of the group and of its target assignment; groups of the classic protocol have none.
    pub(in crate::cli) epochs: Option<(i32, i32)>,
    pub(in crate::cli) members: Vec<Member>,
}

#[derive(Debug)]
pub(in crate::cli) struct Member {
    pub(in crate::cli) id: String,
    pub(in crate::cli) instance: Option<String>,
    pub(in crate::cli) client_id: String,
    pub(in crate::cli) host: String,
    pub(in crate::cli) assignment: Assignment,
    /// What it is to have, and its epoch; members of classic groups have none.
    pub(in crate::cli) target: Option<(Assignment, i32)>,
    /// Whether it speaks the consumer protocol; not told by all brokers.
    pub(in crate::cli) upgraded: Option<bool>,
}

impl DescribedGroup {
    /// Who has which partition.
    fn owners(&self) -> BTreeMap<(String, PartitionId), &Member> {
        let each = |member| {
            let partitions = Member::partitions(member);
            partitions.map(move |partition| (partition, member))
        };
        self.members.iter().flat_map(each).collect()
    }
}

impl Member {
    fn partitions(&self) -> impl Iterator<Item = (String, PartitionId)> {
        self.assignment.iter().map(|(topic, partition)| (topic.to_owned(), partition))
    }
}

/// Asks the coordinator for a group of either protocol; `None` if there is none.
pub(super) async fn find(cluster: &Cluster, name: &str) -> Result<Option<DescribedGroup>, Failure> {
    match ask(cluster, name).await {
        Ok(group) => Ok(Some(group).filter(|group| group.state != "Dead")),
        Err(error) if error.refusal().is_some_and(|it| it.code == ErrorCode::GroupIdNotFound) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks the coordinator for a group of either protocol.
///
/// # Errors
/// When it refuses, as it does if there is none; older ones say that the group is `Dead` instead.
pub(in crate::cli) async fn ask(
    cluster: &Cluster,
    name: &str,
) -> Result<DescribedGroup, ClientError> {
    cluster.retry(async || ask_once(cluster, name).await).await
}

async fn ask_once(cluster: &Cluster, name: &str) -> Result<DescribedGroup, ClientError> {
    let coordinator = cluster.coordinator(CoordinatorKind::Group, name).await?;
    let target = Target::Node(coordinator);
    let id = WireGroupId(Text::from_string(name.to_owned()));
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![id.clone()]);
    let found = match cluster.request(target, &request).await {
        Ok(response) => response.groups.into_iter().find(|group| group.error_code == 0),
        Err(ClientError::Unsupported { .. }) => None,
        Err(error) => return Err(error),
    };
    if let Some(group) = found {
        return Ok(of_consumer_group(&group, coordinator));
    }
    let request = DescribeGroupsRequest::default().with_groups(vec![id]);
    let response = cluster.request(target, &request).await?;
    let group = response.groups.into_iter().next().unwrap_or_default();
    let message = group.error_message.as_deref();
    check(ApiKey::DescribeGroups, group.error_code, || format!("group '{name}'"), message)?;
    of_classic_group(&group, coordinator)
}

fn of_classic_group(
    group: &describe_groups_response::DescribedGroup,
    coordinator: BrokerId,
) -> Result<DescribedGroup, ClientError> {
    let members = group.members.iter().map(|member| {
        // Members of other protocols than that of consumers have bytes of their own here.
        let assignment = match &*group.protocol_type {
            "consumer" => Assignment::read(&member.member_assignment)?,
            _ => Assignment::default(),
        };
        Ok(Member {
            id: member.member_id.to_string(),
            instance: member.group_instance_id.as_ref().map(ToString::to_string),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assignment,
            target: None,
            upgraded: None,
        })
    });
    Ok(DescribedGroup {
        coordinator,
        state: group.group_state.to_string(),
        kind: "classic",
        protocol: group.protocol_type.to_string(),
        assignor: group.protocol_data.to_string(),
        epochs: None,
        members: members.collect::<Result<_, ClientError>>()?,
    })
}

fn of_consumer_group(
    group: &consumer_group_describe_response::DescribedGroup,
    coordinator: BrokerId,
) -> DescribedGroup {
    let member = |member: &consumer_group_describe_response::Member| Member {
        id: member.member_id.to_string(),
        instance: member.instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assignment: assignment(&member.assignment),
        target: Some((assignment(&member.target_assignment), member.member_epoch)),
        upgraded: (member.member_type >= 0).then_some(member.member_type == 1),
    };
    DescribedGroup {
        coordinator,
        state: group.group_state.to_string(),
        kind: "consumer",
        protocol: "consumer".to_owned(),
        assignor: group.assignor_name.to_string(),
        epochs: Some((group.group_epoch, group.assignment_epoch)),
        members: group.members.iter().map(member).collect(),
    }
}

fn assignment(found: &consumer_group_describe_response::Assignment) -> Assignment {
    let mut partitions: BTreeMap<String, Vec<PartitionId>> = BTreeMap::new();
    for topic in &found.topic_partitions {
        let entry = partitions.entry(topic.topic_name.0.to_string()).or_default();
        entry.extend(topic.partitions.iter().copied().map(PartitionId));
    }
    Assignment { partitions }
}

/// A partition of a group: where it has stopped, and where the log ends.
#[derive(Debug)]
pub(in crate::cli) struct Progress {
    pub(in crate::cli) committed: Option<CommittedOffset>,
    pub(in crate::cli) start: Option<i64>,
    pub(in crate::cli) end: Option<i64>,
}

impl Progress {
    pub(in crate::cli) fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed.as_ref()?.offset.0).max(0))
    }
}

/// The progress in all partitions that the group has committed for or that are given.
pub(in crate::cli) async fn progress(
    cluster: &Cluster,
    group: &str,
    others: impl IntoIterator<Item = (String, PartitionId)>,
) -> Result<BTreeMap<(String, PartitionId), Progress>, Failure> {
    let committed = cluster.committed_offsets(group).await?;
    let mut all: BTreeMap<_, _> = others.into_iter().map(|partition| (partition, None)).collect();
    all.extend(committed.into_iter().map(|(partition, offset)| (partition, Some(offset))));
    let mut names: Vec<&str> = all.keys().map(|(topic, _)| topic.as_str()).collect();
    names.dedup();
    // A topic may have gone since the group has read it, and a leader may be away.
    let metadata = cluster.metadata(Topics::Named(&names)).await?;
    let led = all.keys().filter(|(topic, index)| metadata.leader_of(topic, *index).is_ok());
    let queries =
        |query| led.clone().map(|(topic, index)| (topic.clone(), *index, query)).collect();
    let queries: [Vec<_>; 2] = [queries(OffsetQuery::Earliest), queries(OffsetQuery::Latest)];
    let starts = cluster.list_offsets(&queries[0]).await?;
    let ends = cluster.list_offsets(&queries[1]).await?;
    let progress = all.into_iter().map(|(partition, committed)| {
        let start = starts.get(&partition).and_then(|listed| listed.offset).map(|offset| offset.0);
        let end = ends.get(&partition).and_then(|listed| listed.offset).map(|offset| offset.0);
        (partition, Progress { committed, start, end })
    });
    Ok(progress.collect())
}

pub(super) fn describe(arguments: &DescribeArguments) -> Result<ExitCode, Failure> {
    arguments.repeat.run(&arguments.common, async |cluster| {
        let (mut values, mut text) = (Vec::new(), String::new());
        let mut rows = Table::new(&["GROUP", "TOPIC", "PARTITION", "CURRENT", "END", "LAG"]);
        for name in &arguments.groups {
            let Some(group) = find(&cluster, name).await? else {
                return Err(unknown_group(&cluster, name).await);
            };
            let owners = group.owners();
            let mut progress = progress(&cluster, name, owners.keys().cloned()).await?;
            if arguments.lag_only {
                progress.retain(|_, progress| progress.lag() != Some(0));
            }
            values.push(value_of(name, &group, &owners, &progress));
            let lag: i64 = progress.values().filter_map(Progress::lag).sum();
            text.push_str(&format!(
                "{name}  {}, {} group, {}, lag {lag}\n",
                group.state,
                group.kind,
                count(group.members.len(), "member"),
            ));
            if !progress.is_empty() {
                let table = lag_table(&owners, &progress);
                text.push_str(&arguments.common.output.draw(&table));
            }
            if progress.is_empty() {
                let mut cells = ["-"; 6].map(str::to_owned);
                cells[0].clone_from(name);
                rows.row(cells);
            }
            for ((topic, index), progress) in &progress {
                rows.row([
                    name.clone(),
                    topic.clone(),
                    index.to_string(),
                    or_dash(progress.committed.as_ref().map(|committed| committed.offset)),
                    or_dash(progress.end),
                    or_dash(progress.lag()),
                ]);
            }
        }
        arguments.common.output.print_told(&text, &rows, &json!({ "groups": values }))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn lag_table(
    owners: &BTreeMap<(String, PartitionId), &Member>,
    progress: &BTreeMap<(String, PartitionId), Progress>,
) -> Table {
    let mut table =
        Table::new(&["TOPIC", "PARTITION", "CURRENT", "END", "LAG", "MEMBER", "CLIENT", "HOST"])
            .wide(&["INSTANCE", "START", "EPOCH", "METADATA"]);
    for ((topic, index), progress) in progress {
        let owner = owners.get(&(topic.clone(), *index));
        table.row([
            topic.clone(),
            index.to_string(),
            or_dash(progress.committed.as_ref().map(|committed| committed.offset)),
            or_dash(progress.end),
            or_dash(progress.lag()),
            or_dash(owner.map(|member| &member.id)),
            or_dash(owner.map(|member| &member.client_id)),
            or_dash(owner.map(|member| &member.host)),
        ]);
        let committed = progress.committed.as_ref();
        let epoch = committed.map(|committed| committed.leader_epoch).filter(|epoch| *epoch >= 0);
        let metadata = committed.map(|committed| &committed.metadata);
        table.more([
            or_dash(owner.and_then(|member| member.instance.as_ref())),
            or_dash(progress.start),
            or_dash(epoch),
            or_dash(metadata.filter(|metadata| !metadata.is_empty())),
        ]);
        if progress.lag().is_some_and(|lag| lag > LAG_MAX) {
            table.paint("LAG", Paint::Odd);
        }
    }
    table
}

fn value_of(
    name: &str,
    group: &DescribedGroup,
    owners: &BTreeMap<(String, PartitionId), &Member>,
    progress: &BTreeMap<(String, PartitionId), Progress>,
) -> Value {
    let partition = |(partition, progress): (&(String, PartitionId), &Progress)| {
        json!({
            "topic": partition.0, "partition": partition.1.0,
            "current": progress.committed.as_ref().map(|committed| committed.offset.0),
            "end": progress.end, "lag": progress.lag(),
            "member": owners.get(partition).map(|member| &member.id),
        })
    };
    json!({
        "group": name, "state": group.state, "type": group.kind, "assignor": group.assignor,
        "members": group.members.len(),
        "lag": progress.values().filter_map(Progress::lag).sum::<i64>(),
        "partitions": progress.iter().map(partition).collect::<Vec<_>>(),
    })
}

/// The partitions of an assignment.
fn names_of(assignment: &Assignment) -> Vec<String> {
    assignment.iter().map(|(topic, partition)| format!("{topic}:{partition}")).collect()
}

fn joined_or_dash(names: &[String]) -> String {
    if names.is_empty() { "-".to_owned() } else { joined(names) }
}

pub(super) fn members(arguments: &MembersArguments) -> Result<ExitCode, Failure> {
    arguments.repeat.run(&arguments.common, async |cluster| {
        let mut table =
            Table::new(&["GROUP", "MEMBER", "CLIENT", "HOST", "INSTANCE", "PARTITIONS"])
                .wide(&["EPOCH", "TARGET", "PROTOCOL"]);
        let mut rows = Vec::new();
        for name in &arguments.groups {
            let Some(group) = find(&cluster, name).await? else {
                return Err(unknown_group(&cluster, name).await);
            };
            for member in &group.members {
                let partitions = names_of(&member.assignment);
                table.row([
                    name.clone(),
                    member.id.clone(),
                    member.client_id.clone(),
                    member.host.clone(),
                    or_dash(member.instance.as_ref()),
                    joined_or_dash(&partitions),
                ]);
                let target = member.target.as_ref();
                let protocol = member.upgraded.map(|it| if it { "consumer" } else { "classic" });
                table.more([
                    or_dash(target.map(|(_, epoch)| epoch)),
                    target.map_or_else(
                        || "-".to_owned(),
                        |(target, _)| joined_or_dash(&names_of(target)),
                    ),
                    protocol.unwrap_or(group.kind).to_owned(),
                ]);
                rows.push(json!({
                    "group": name, "member": member.id, "client_id": member.client_id,
                    "host": member.host, "instance": member.instance, "partitions": partitions,
                }));
            }
        }
        arguments.common.output.print(&table, &json!({ "members": rows }))?;
        Ok(ExitCode::SUCCESS)
    })
}
