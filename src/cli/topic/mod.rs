//! `ottla topic`: topics seen, made, changed and removed.

pub(super) mod change;
mod copy;
mod show;
mod trim;
mod watch;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connect::ConnectionArguments;
use super::failure::{Failure, NOT_FOUND, did_you_mean};
use super::output::OutputArguments;
use crate::client::{Cluster, Metadata, Topics};
use crate::model::ErrorCode;

#[derive(Debug, Args)]
pub(super) struct TopicArguments {
    #[command(subcommand)]
    verb: TopicVerb,
}

#[derive(Debug, Subcommand)]
enum TopicVerb {
    /// List topics
    List(show::ListArguments),
    /// Show partitions, offsets and settings of topics
    Describe(show::DescribeArguments),
    /// Create topics
    Create(change::CreateArguments),
    /// Delete topics with all their records
    Delete(change::DeleteArguments),
    /// Change settings of topics
    Alter(change::AlterArguments),
    /// Give a topic more partitions
    AddPartitions(change::AddPartitionsArguments),
    /// Remove the first records of partitions; shows what it would do unless --execute is given
    Trim(trim::TrimArguments),
    /// Copy the records of a topic into another one, of this or another cluster
    Copy(copy::CopyArguments),
    /// Show how topics grow, again and again
    Watch(watch::WatchArguments),
}

/// What all of them take.
#[derive(Clone, Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
    #[command(flatten)]
    pub(super) output: OutputArguments,
}

pub(super) fn run(arguments: &TopicArguments) -> ExitCode {
    let (common, outcome) = match &arguments.verb {
        TopicVerb::List(arguments) => (&arguments.common, show::list(arguments)),
        TopicVerb::Describe(arguments) => (&arguments.common, show::describe(arguments)),
        TopicVerb::Create(arguments) => (&arguments.common, change::create(arguments)),
        TopicVerb::Delete(arguments) => (&arguments.common, change::delete(arguments)),
        TopicVerb::Alter(arguments) => (&arguments.common, change::alter(arguments)),
        TopicVerb::AddPartitions(arguments) => {
            (&arguments.common, change::add_partitions(arguments))
        }
        TopicVerb::Trim(arguments) => (&arguments.common, trim::trim(arguments)),
        TopicVerb::Copy(arguments) => (&arguments.common, copy::copy(arguments)),
        TopicVerb::Watch(arguments) => (&arguments.common, watch::watch(arguments)),
    };
    outcome.unwrap_or_else(|failure| failure.report(common.output.is_json()))
}

/// The topics of these names, all of which must be there.
pub(super) async fn known_topics(cluster: &Cluster, names: &[&str]) -> Result<Metadata, Failure> {
    let metadata = cluster.metadata(Topics::Named(names)).await?;
    for topic in &metadata.topics {
        if topic.error == ErrorCode::UnknownTopicOrPartition {
            return Err(unknown_topic(cluster, &topic.name).await);
        }
        let subject = || format!("topic '{}'", topic.name);
        crate::client::check(crate::wire::ApiKey::Metadata, topic.error.code(), subject, None)?;
    }
    Ok(metadata)
}

/// What is said of a topic that is not there.
pub(super) async fn unknown_topic(cluster: &Cluster, name: &str) -> Failure {
    let subject = || format!("topic '{name}'");
    let code = ErrorCode::UnknownTopicOrPartition.code();
    let refused = crate::client::check(crate::wire::ApiKey::Metadata, code, subject, None);
    let failure = match refused {
        Err(refusal) => Failure::from(refusal),
        Ok(()) => Failure::new("NOT_FOUND", NOT_FOUND, subject()),
    };
    let all = cluster.metadata(Topics::All).await.unwrap_or_default();
    let names = all.topics.iter().map(|topic| topic.name.as_str());
    match did_you_mean(name, names) {
        Some(near) => failure.hint(format!("did you mean '{near}'? ottla topic list shows all")),
        None => failure.hint("ottla topic list shows all; ottla topic create makes one"),
    }
}

/// Reads `key=value`.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("'{text}' is not KEY=VALUE"))
}
