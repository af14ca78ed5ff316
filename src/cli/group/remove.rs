//! `ottla group delete` and `delete-offsets`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::unknown_group;
use crate::cli::failure::Failure;
use crate::cli::output::list as joined;
use crate::cli::topic::Common;
use crate::client::{CoordinatorKind, Target, check};
use crate::model::ErrorCode;
use crate::wire::messages::{
    DeleteGroupsRequest, OffsetDeleteRequest, WireGroupId, WireTopicName, offset_delete_request,
};
use crate::wire::{ApiKey, Text};

#[derive(Debug, Args)]
pub(super) struct DeleteArguments {
    /// Names of groups
    #[arg(required = true)]
    groups: Vec<String>,
    /// Nothing to complain about if it is not there
    #[arg(long)]
    ignore_missing: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct DeleteOffsetsArguments {
    /// Name of the group
    group: String,
    /// A topic to forget
    #[arg(short = 't', long = "topic", value_name = "TOPIC", required = true)]
    topics: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn delete(arguments: &DeleteArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let mut deleted = Vec::new();
        for name in &arguments.groups {
            let coordinator = cluster.coordinator(CoordinatorKind::Group, name).await?;
            let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(name)]);
            let response = cluster.request(Target::Node(coordinator), &request).await?;
            let code = response.results.first().map_or(0, |result| result.error_code);
            if code == ErrorCode::GroupIdNotFound.code() {
                if arguments.ignore_missing {
                    continue;
                }
                return Err(unknown_group(&cluster, name).await);
            }
            let subject = || format!("group '{name}'");
            check(ApiKey::DeleteGroups, code, subject, None).map_err(|refusal| {
                let used = refusal.code == ErrorCode::NonEmptyGroup;
                let failure = Failure::from(refusal);
                if used {
                    failure.hint(format!("ottla group members {name} shows who uses it"))
                } else {
                    failure
                }
            })?;
            deleted.push(name);
        }
        let text = match deleted.is_empty() {
            true => "nothing to delete".to_owned(),
            false => format!("deleted {}", joined(&deleted)),
        };
        arguments.common.output.print_done(&text, &json!({ "deleted": deleted }))?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn delete_offsets(arguments: &DeleteOffsetsArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let name = arguments.group.as_str();
        let committed = cluster.committed_offsets(name).await?;
        let topic = |topic: &String| {
            let known = committed.keys().filter(|(known, _)| known == topic);
            let partitions = known.map(|(_, index)| {
                let partition = offset_delete_request::OffsetDeleteRequestPartition::default();
                partition.with_partition_index(index.0)
            });
            offset_delete_request::OffsetDeleteRequestTopic::default()
                .with_name(WireTopicName(Text::from_string(topic.clone())))
                .with_partitions(partitions.collect())
        };
        let request = OffsetDeleteRequest::default()
            .with_group_id(group_id(name))
            .with_topics(arguments.topics.iter().map(topic).collect());
        let coordinator = cluster.coordinator(CoordinatorKind::Group, name).await?;
        let response = cluster.request(Target::Node(coordinator), &request).await?;
        if response.error_code == ErrorCode::GroupIdNotFound.code() {
            return Err(unknown_group(&cluster, name).await);
        }
        let subject = || format!("group '{name}'");
        check(ApiKey::OffsetDelete, response.error_code, subject, None)?;
        let mut count = 0;
        for topic in &response.topics {
            for partition in &topic.partitions {
                let subject = || {
                    let topic = &topic.name.0;
                    format!("{topic:?} partition {} in group '{name}'", partition.partition_index)
                };
                check(ApiKey::OffsetDelete, partition.error_code, subject, None)?;
                count += 1;
            }
        }
        let text = format!("forgot {count} offsets of {}", joined(&arguments.topics));
        let json = json!({ "group": name, "topics": arguments.topics, "deleted": count });
        arguments.common.output.print_done(&text, &json)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn group_id(name: &str) -> WireGroupId {
    WireGroupId(Text::from_string(name.to_owned()))
}
