//! `rpk topic`: topics made, shown and removed; records are the business of `records`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::records::{ConsumeArguments, ProduceArguments, consume, produce};
use super::{Connection, columns, list, section, table};
use crate::cli::configs::{ConfigSetting, describe_configs};
use crate::cli::failure::Failure;
use crate::cli::output::print_text;
use crate::cli::topic::change::{Creation, timeout_ms};
use crate::cli::topic::{key_value, known_topics};
use crate::client::{Cluster, OffsetQuery, Target, Topic, Topics};
use crate::wire::Text;
use crate::wire::messages::{DeleteTopicsRequest, WireTopicName, delete_topics_request};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Create topics
    Create(CreateArguments),
    /// List topics
    #[command(alias = "ls")]
    List(ListArguments),
    /// Show topics
    #[command(alias = "info")]
    Describe(DescribeArguments),
    /// Delete topics
    Delete(DeleteArguments),
    /// Write lines as records
    Produce(ProduceArguments),
    /// Print records
    Consume(ConsumeArguments),
}

#[derive(Debug, Args)]
pub(super) struct CreateArguments {
    /// Names of topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// How many partitions each gets
    #[arg(short, long, default_value_t = -1, allow_negative_numbers = true)]
    partitions: i32,
    /// How many replicas each partition gets
    #[arg(short, long, default_value_t = -1, allow_negative_numbers = true)]
    replicas: i16,
    /// Settings of the topics
    #[arg(short = 'c', long = "topic-config", value_name = "KEY=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// Let the broker check it and change nothing
    #[arg(short, long)]
    dry: bool,
    /// Nothing to complain about if it is there already
    #[arg(long)]
    if_not_exists: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// Only these
    topics: Vec<String>,
    /// Those of the cluster itself too
    #[arg(short, long)]
    internal: bool,
}

#[derive(Debug, Args)]
pub(super) struct DescribeArguments {
    /// Names of topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// The summary
    #[arg(short = 's', long)]
    print_summary: bool,
    /// The settings
    #[arg(short = 'c', long)]
    print_configs: bool,
    /// The partitions
    #[arg(short = 'p', long)]
    print_partitions: bool,
    /// All of that
    #[arg(short = 'a', long)]
    print_all: bool,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArguments {
    /// Names of topics
    #[arg(required = true)]
    topics: Vec<String>,
}

pub(super) fn run(verb: &Verb, connection: &Connection) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Create(arguments) => {
            connection.run(async |cluster| create(&cluster, arguments).await)
        }
        Verb::List(arguments) => {
            connection.run(async |cluster| show_all(&cluster, arguments).await)
        }
        Verb::Describe(arguments) => {
            connection.run(async |cluster| describe(&cluster, arguments).await)
        }
        Verb::Delete(arguments) => {
            connection.run(async |cluster| delete(&cluster, arguments).await)
        }
        Verb::Produce(arguments) => {
            connection.run(async |cluster| produce(&cluster, arguments).await)
        }
        Verb::Consume(arguments) => consume(arguments, connection),
    }
}

/// How something went; a failure makes the exit code one.
pub(super) fn status(code: i16, message: Option<&str>, exit: &mut ExitCode) -> String {
    let name = super::group::name_of(code);
    if code != 0 {
        *exit = ExitCode::FAILURE;
    }
    match message.filter(|message| code != 0 && !message.is_empty()) {
        Some(message) => format!("{name}: {message}"),
        None => name.to_owned(),
    }
}

async fn create(cluster: &Cluster, arguments: &CreateArguments) -> Result<ExitCode, Failure> {
    let creation = Creation {
        topics: &arguments.topics,
        partitions: arguments.partitions,
        replicas: arguments.replicas,
        configs: &arguments.configs,
        dry_run: arguments.dry,
    };
    let request = creation.request(cluster);
    let response = cluster.request(Target::Controller, &request).await?;
    let mut rows = table(["TOPIC", "STATUS"]);
    let mut exit = ExitCode::SUCCESS;
    for topic in &response.topics {
        let there = topic.error_code == crate::model::ErrorCode::TopicAlreadyExists.code();
        let code = if there && arguments.if_not_exists { 0 } else { topic.error_code };
        let status = status(code, topic.error_message.as_deref(), &mut exit);
        rows.push(vec![topic.name.0.to_string(), status]);
    }
    print_text(&columns(&rows))?;
    Ok(exit)
}

async fn show_all(cluster: &Cluster, arguments: &ListArguments) -> Result<ExitCode, Failure> {
    let metadata = cluster.metadata(Topics::All).await?;
    let wanted = |topic: &&Topic| match arguments.topics.is_empty() {
        true => arguments.internal || !topic.is_internal,
        false => arguments.topics.contains(&topic.name),
    };
    let mut rows = table(["NAME", "PARTITIONS", "REPLICAS"]);
    rows.extend(metadata.topics.iter().filter(wanted).map(listed));
    print_text(&columns(&rows))?;
    Ok(ExitCode::SUCCESS)
}

/// A row of a list of topics.
pub(super) fn listed(topic: &Topic) -> Vec<String> {
    let replicas = topic.partitions.first().map_or(0, |first| first.replicas.len());
    vec![topic.name.clone(), topic.partitions.len().to_string(), replicas.to_string()]
}

async fn describe(cluster: &Cluster, arguments: &DescribeArguments) -> Result<ExitCode, Failure> {
    let DescribeArguments { print_summary, print_configs, print_partitions, print_all, .. } =
        *arguments;
    let usual = !print_summary && !print_configs && !print_partitions;
    let names: Vec<&str> = arguments.topics.iter().map(String::as_str).collect();
    let metadata = known_topics(cluster, &names).await?;
    let mut text = String::new();
    for topic in &metadata.topics {
        let mut sections = Vec::new();
        if print_all || usual || print_summary {
            sections.push(("SUMMARY", summary(topic)));
        }
        if print_all || usual || print_configs {
            let configs = describe_configs(cluster, ConfigSetting::TOPIC, &topic.name).await?;
            sections.push(("CONFIGS", settings(&configs)));
        }
        if print_all || print_partitions {
            sections.push(("PARTITIONS", partitions(cluster, topic).await?));
        }
        // One alone has no title.
        match &sections[..] {
            [(_, only)] => text.push_str(only),
            several => {
                for (title, body) in several {
                    text.push_str(&format!("{}{body}\n", section(title)));
                }
            }
        }
    }
    print_text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn summary(topic: &Topic) -> String {
    let [name, partitions, replicas] = <[String; 3]>::try_from(listed(topic)).unwrap_or_default();
    let mut rows = vec![vec!["NAME".to_owned(), name]];
    if topic.is_internal {
        rows.push(vec!["INTERNAL".to_owned(), "true".to_owned()]);
    }
    rows.push(vec!["PARTITIONS".to_owned(), partitions]);
    rows.push(vec!["REPLICAS".to_owned(), replicas]);
    columns(&rows)
}

fn settings(configs: &[ConfigSetting]) -> String {
    let mut rows = table(["KEY", "VALUE", "SOURCE"]);
    rows.extend(configs.iter().map(|config| {
        let value = config.value().unwrap_or_default().to_owned();
        vec![config.name.clone(), value, config.source_name().to_owned()]
    }));
    columns(&rows)
}

async fn partitions(cluster: &Cluster, topic: &Topic) -> Result<String, Failure> {
    let led = topic.partitions.iter().filter(|partition| partition.leader.is_some());
    let queries = |query| {
        led.clone()
            .map(|partition| (topic.name.clone(), partition.index, query))
            .collect::<Vec<_>>()
    };
    let starts = cluster.list_offsets(&queries(OffsetQuery::Earliest)).await?;
    let ends = cluster.list_offsets(&queries(OffsetQuery::Latest)).await?;
    let mut rows =
        table(["PARTITION", "LEADER", "EPOCH", "REPLICAS", "LOG-START-OFFSET", "HIGH-WATERMARK"]);
    for partition in &topic.partitions {
        let place = (topic.name.clone(), partition.index);
        let offset = |listed: &std::collections::BTreeMap<_, crate::client::ListedOffset>| {
            let offset = listed.get(&place).and_then(|listed| listed.offset);
            offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string())
        };
        let mut replicas = partition.replicas.clone();
        replicas.sort_unstable();
        rows.push(vec![
            partition.index.to_string(),
            partition.leader.map_or(-1, |leader| leader.0).to_string(),
            partition.leader_epoch.to_string(),
            list(replicas),
            offset(&starts),
            offset(&ends),
        ]);
    }
    Ok(columns(&rows))
}

async fn delete(cluster: &Cluster, arguments: &DeleteArguments) -> Result<ExitCode, Failure> {
    let make = |version| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(timeout_ms(cluster));
        let names = arguments.topics.iter().map(|name| wire_name(name));
        if version < STATES_SINCE {
            return request.with_topic_names(names.collect());
        }
        let state = delete_topics_request::DeleteTopicState::default;
        request.with_topics(names.map(|name| state().with_name(Some(name))).collect())
    };
    let response = cluster.request_with(Target::Controller, i16::MAX, make).await?;
    let mut rows = table(["TOPIC", "STATUS"]);
    let mut exit = ExitCode::SUCCESS;
    for topic in &response.responses {
        let name = topic.name.as_ref().map(|name| name.0.to_string()).unwrap_or_default();
        let status = status(topic.error_code, topic.error_message.as_deref(), &mut exit);
        rows.push(vec![name, status]);
    }
    print_text(&columns(&rows))?;
    Ok(exit)
}

fn wire_name(name: &str) -> WireTopicName {
    WireTopicName(Text::from_string(name.to_owned()))
}

/// Since when DeleteTopics takes ids beside names.
const STATES_SINCE: i16 = 6;
