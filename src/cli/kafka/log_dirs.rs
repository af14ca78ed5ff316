//! `kafka-log-dirs`: `LogDirsCommand` of Apache Kafka 4.3.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};

use super::admin;
use super::java::{hash_order, partition_order};
use super::options::{Known, Options, flag, valued};
use super::words::class;
use crate::client::{Cluster, Target, check};
use crate::model::BrokerId;
use crate::wire::describe_log_dirs::{LogDir, LogDirPartition};
use crate::wire::{ApiKey, DescribeLogDirsRequest};

const ABOUT: &str = "kafka-log-dirs prints what the log directories of brokers hold.";
const KNOWN: &[Known] = &[flag(&["describe"]), valued(&["topic-list"]), valued(&["broker-list"])];

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some(options) = admin::read(ABOUT, KNOWN, arguments)? else { return Ok(ExitCode::SUCCESS) };
    if !options.has("describe") {
        bail!("Missing required argument \"[describe]\"");
    }
    let topics: BTreeSet<String> = listed(&options, "topic-list")?.map(str::to_owned).collect();
    let brokers = listed(&options, "broker-list")?.map(str::parse);
    let brokers: BTreeSet<i32> = brokers.collect::<Result<_, _>>()?;
    admin::run(&options, async move |cluster| describe(&cluster, &topics, &brokers).await)
}

fn listed<'a>(options: &'a Options, name: &str) -> anyhow::Result<impl Iterator<Item = &'a str>> {
    let list = options.value(name)?.unwrap_or_default();
    Ok(list.split(',').filter(|item| !item.is_empty()))
}

async fn describe(
    cluster: &Cluster,
    topics: &BTreeSet<String>,
    brokers: &BTreeSet<i32>,
) -> anyhow::Result<ExitCode> {
    let known: BTreeSet<i32> = cluster.known().brokers.iter().map(|node| node.id.0).collect();
    let join = |ids: &mut dyn Iterator<Item = &i32>| {
        ids.map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    if !brokers.is_subset(&known) {
        bail!(
            "ERROR: The given brokers do not exist from --broker-list: {}. Current existent brokers: {}",
            join(&mut brokers.difference(&known)),
            join(&mut known.iter())
        );
    }
    say!("Querying brokers for log directories information");
    let asked = if brokers.is_empty() { &known } else { brokers };
    let mut described = Vec::new();
    for id in asked {
        let request = DescribeLogDirsRequest { topics: None };
        let response = cluster.request(Target::Node(BrokerId(*id)), &request).await?;
        let subject = || format!("the log directories of broker {id}");
        check(ApiKey::DescribeLogDirs, response.error_code.code(), subject, None)?;
        let directories = hash_order(response.results, None, |directory| &*directory.log_dir);
        let directories = directories.iter().map(|directory| directory_text(directory, topics));
        described.push(object(vec![
            ("broker", id.to_string()),
            ("logDirs", array(directories.collect())),
        ]));
    }
    say!("Received log directory information from brokers {}", join(&mut asked.iter()));
    let all = vec![("version", "1".to_owned()), ("brokers", array(described))];
    say!("{}", object(all));
    Ok(ExitCode::SUCCESS)
}

fn directory_text(directory: &LogDir, topics: &BTreeSet<String>) -> String {
    let wanted = |name: &str| topics.is_empty() || topics.contains(name);
    let partitions: Vec<(&str, LogDirPartition)> = directory
        .topics
        .iter()
        .filter(|topic| wanted(&topic.name))
        .flat_map(|topic| topic.partitions.iter().map(|partition| (&*topic.name, *partition)))
        .collect();
    let partitions = partition_order(partitions, |(topic, it)| (topic, it.partition_index.0));
    let partition = |(topic, it): &(&str, LogDirPartition)| {
        object(vec![
            ("partition", json!(format!("{topic}-{}", it.partition_index)).to_string()),
            ("size", it.partition_size.to_string()),
            ("offsetLag", it.offset_lag.to_string()),
            ("isFuture", it.is_future_key.to_string()),
        ])
    };
    let code = directory.error_code;
    let error = match code.is_none() {
        true => Value::Null,
        false => json!(format!("org.apache.kafka.common.errors.{}", class(code))),
    };
    object(vec![
        ("logDir", json!(&*directory.log_dir).to_string()),
        ("error", error.to_string()),
        ("partitions", array(partitions.iter().map(partition).collect())),
    ])
}

/// A JSON object of values that are JSON already, with its keys as a hash table of Java's gives them.
fn object(fields: Vec<(&'static str, String)>) -> String {
    let fields = hash_order(fields, None, |(name, _)| name);
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn array(items: Vec<String>) -> String {
    format!("[{}]", items.join(","))
}
