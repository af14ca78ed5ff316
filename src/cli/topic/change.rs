//! `ottla topic create`, `delete`, `alter` and `add-partitions`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{Common, key_value, known_topics, unknown_topic};
use crate::cli::configs::{ConfigSetting, alter_configs};
use crate::cli::failure::{Failure, PARTIAL};
use crate::cli::output::{count, list as joined};
use crate::client::{Cluster, Target, check};
use crate::model::ErrorCode;
use crate::wire::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, WireTopicName,
    create_partitions_request, create_topics_request, delete_topics_request,
};
use crate::wire::{ApiKey, Text};

#[derive(Debug, Args)]
pub(super) struct CreateArguments {
    /// Names of topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// How many partitions each gets [default: as the broker is configured]
    #[arg(short = 'p', long)]
    partitions: Option<i32>,
    /// How many replicas each partition gets [default: as the broker is configured]
    #[arg(short = 'r', long)]
    replicas: Option<i16>,
    /// A setting of the topics, such as cleanup.policy=compact
    #[arg(short = 'c', long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// Nothing to complain about if it is there already
    #[arg(long)]
    if_not_exists: bool,
    /// Let the broker check it and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArguments {
    /// Names of topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// Nothing to complain about if it is not there
    #[arg(long)]
    ignore_missing: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct AlterArguments {
    /// Names of topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// A setting to change
    #[arg(short = 'c', long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// A setting to bring back to its default
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct AddPartitionsArguments {
    /// Name of the topic
    topic: String,
    /// How many partitions more
    #[arg(short = 'n', long, required_unless_present = "total", conflicts_with = "total")]
    add: Option<i32>,
    /// How many partitions then
    #[arg(short = 't', long)]
    total: Option<i32>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn create(arguments: &CreateArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let creation = Creation {
            topics: &arguments.topics,
            partitions: arguments.partitions.unwrap_or(-1),
            replicas: arguments.replicas.unwrap_or(-1),
            configs: &arguments.configs,
            dry_run: arguments.dry_run,
        };
        let response = cluster.request(Target::Controller, &creation.request(&cluster)).await?;
        let (mut created, mut refused) = (Vec::new(), Vec::new());
        for topic in &response.topics {
            let name = topic.name.0.to_string();
            let there = topic.error_code == ErrorCode::TopicAlreadyExists.code();
            if there && arguments.if_not_exists {
                continue;
            }
            let message = topic.error_message.as_deref();
            let subject = || format!("topic '{name}'");
            match check(ApiKey::CreateTopics, topic.error_code, subject, message) {
                Ok(()) => created.push(name),
                Err(refusal) if there => {
                    refused.push(Failure::from(refusal).hint("--if-not-exists makes this no error"))
                }
                Err(refusal) => refused.push(refusal.into()),
            }
        }
        let verb = if arguments.dry_run { "could create" } else { "created" };
        let text = match created.is_empty() {
            true => "nothing to create".to_owned(),
            false => format!("{verb} {}", joined(&created)),
        };
        let json = json!({ "created": created, "dry_run": arguments.dry_run });
        let done = Done { names: &created, text: &text, json: &json };
        done.print(&cluster, &arguments.common, refused)
    })
}

/// What a verb has done to several topics, for people and for programs.
struct Done<'a> {
    names: &'a [String],
    text: &'a str,
    json: &'a Value,
}

impl Done<'_> {
    /// Prints it, and what was refused.
    fn print(
        &self,
        cluster: &Cluster,
        common: &Common,
        refused: Vec<Failure>,
    ) -> Result<ExitCode, Failure> {
        if refused.is_empty() || !self.names.is_empty() {
            common.output.print_done(self.text, self.json)?;
        }
        let is_json = common.output.is_json();
        let mut exits =
            refused.into_iter().map(|failure| failure.asked_in(cluster).report(is_json));
        let first = exits.next();
        // The others are reported too.
        exits.for_each(drop);
        Ok(match first {
            Some(_) if !self.names.is_empty() => ExitCode::from(PARTIAL),
            first => first.unwrap_or(ExitCode::SUCCESS),
        })
    }
}

/// Topics that are to be created alike.
pub(in crate::cli) struct Creation<'a> {
    pub(in crate::cli) topics: &'a [String],
    /// How many partitions each gets, -1 for what the broker says.
    pub(in crate::cli) partitions: i32,
    /// How many replicas each partition gets, -1 for what the broker says.
    pub(in crate::cli) replicas: i16,
    pub(in crate::cli) configs: &'a [(String, String)],
    /// Whether the broker only checks it.
    pub(in crate::cli) dry_run: bool,
}

impl Creation<'_> {
    pub(in crate::cli) fn request(&self, cluster: &Cluster) -> CreateTopicsRequest {
        let config = |(name, value): &(String, String)| {
            create_topics_request::CreatableTopicConfig::default()
                .with_name(Text::from_string(name.clone()))
                .with_value(Some(Text::from_string(value.clone())))
        };
        let topic = |name: &String| {
            create_topics_request::CreatableTopic::default()
                .with_name(wire_name(name))
                .with_num_partitions(self.partitions)
                .with_replication_factor(self.replicas)
                .with_configs(self.configs.iter().map(config).collect())
        };
        CreateTopicsRequest::default()
            .with_topics(self.topics.iter().map(topic).collect())
            .with_timeout_ms(timeout_ms(cluster))
            .with_validate_only(self.dry_run)
    }
}

pub(super) fn delete(arguments: &DeleteArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let make = |version| {
            let request = DeleteTopicsRequest::default().with_timeout_ms(timeout_ms(&cluster));
            let names = arguments.topics.iter().map(|name| wire_name(name));
            if version >= STATES_SINCE {
                let state = delete_topics_request::DeleteTopicState::default;
                request.with_topics(names.map(|name| state().with_name(Some(name))).collect())
            } else {
                request.with_topic_names(names.collect())
            }
        };
        let response = cluster.request_with(Target::Controller, i16::MAX, make).await?;
        let (mut deleted, mut refused) = (Vec::new(), Vec::new());
        for topic in &response.responses {
            let name = topic.name.as_ref().map(|name| name.0.to_string()).unwrap_or_default();
            if topic.error_code == ErrorCode::UnknownTopicOrPartition.code() {
                if !arguments.ignore_missing {
                    refused.push(unknown_topic(&cluster, &name).await);
                }
                continue;
            }
            let message = topic.error_message.as_deref();
            let subject = || format!("topic '{name}'");
            match check(ApiKey::DeleteTopics, topic.error_code, subject, message) {
                Ok(()) => deleted.push(name),
                Err(refusal) => refused.push(refusal.into()),
            }
        }
        let text = match deleted.is_empty() {
            true => "nothing to delete".to_owned(),
            false => format!("deleted {}", joined(&deleted)),
        };
        let json = json!({ "deleted": deleted });
        let done = Done { names: &deleted, text: &text, json: &json };
        done.print(&cluster, &arguments.common, refused)
    })
}

pub(super) fn alter(arguments: &AlterArguments) -> Result<ExitCode, Failure> {
    if arguments.set.is_empty() && arguments.unset.is_empty() {
        return Err(Failure::usage("nothing to change: --set KEY=VALUE or --unset KEY says what"));
    }
    arguments.common.connection.run(async |cluster| {
        let names: Vec<&str> = arguments.topics.iter().map(String::as_str).collect();
        known_topics(&cluster, &names).await?;
        for name in &arguments.topics {
            let kind = ConfigSetting::TOPIC;
            alter_configs(&cluster, kind, name, &arguments.set, &arguments.unset).await?;
        }
        let text = format!("changed {}", joined(&arguments.topics));
        arguments.common.output.print_done(&text, &json!({ "changed": arguments.topics }))?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn add_partitions(arguments: &AddPartitionsArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let name = arguments.topic.as_str();
        let metadata = known_topics(&cluster, &[name]).await?;
        let present = metadata.topic(name).map_or(0, |topic| topic.partitions.len());
        let present = i32::try_from(present).unwrap_or(i32::MAX);
        let total =
            arguments.total.unwrap_or_else(|| present.saturating_add(arguments.add.unwrap_or(0)));
        let topic = create_partitions_request::CreatePartitionsTopic::default()
            .with_name(wire_name(name))
            .with_count(total)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(timeout_ms(&cluster));
        let response = cluster.request(Target::Controller, &request).await?;
        for result in &response.results {
            let message = result.error_message.as_deref();
            let subject = || format!("topic '{name}'");
            check(ApiKey::CreatePartitions, result.error_code, subject, message)?;
        }
        let partitions = count(usize::try_from(total).unwrap_or(0), "partition");
        let text = format!("{name} has {partitions} now");
        let json = json!({ "topic": name, "partitions": total });
        arguments.common.output.print_done(&text, &json)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn wire_name(name: &str) -> WireTopicName {
    WireTopicName(Text::from_string(name.to_owned()))
}

/// How long the broker may take.
pub(in crate::cli) fn timeout_ms(cluster: &Cluster) -> i32 {
    i32::try_from(cluster.options().request_timeout.as_millis()).unwrap_or(i32::MAX)
}

/// Since when DeleteTopics takes ids beside names.
const STATES_SINCE: i16 = 6;
