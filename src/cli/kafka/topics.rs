//! `kafka-topics`: `TopicCommand` of Apache Kafka 4.3.
//!
//! Reassignments that are under way are not shown.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::bail;

use super::admin::{self, Complaint};
use super::java::hash_order;
use super::options::{Known, Options, flag, valued};
use crate::cli::configs::{ConfigSetting, describe_in_order};
use crate::cli::described_topics::{DescribedTopic, PARTITIONS_PER_ANSWER, described_topics};
use crate::client::{Cluster, Target, Topics, check};
use crate::config::Kind;
use crate::config::registry::{self, Scope};
use crate::group::WholePattern;
use crate::model::{BrokerId, ErrorCode, TopicId, UuidText};
use crate::wire::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition;
use crate::wire::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, WireBrokerId, WireTopicName,
    create_partitions_request, create_topics_request, delete_topics_request,
};
use crate::wire::{ApiKey, Text};

const ABOUT: &str = "kafka-topics lists, describes, creates, alters and deletes topics.";
const ACTIONS: [&str; 5] = ["create", "list", "alter", "describe", "delete"];
const KNOWN: &[Known] = &[
    flag(&["list"]),
    flag(&["create"]),
    flag(&["delete"]),
    flag(&["alter"]),
    flag(&["describe"]),
    valued(&["topic"]),
    valued(&["topic-id"]),
    valued(&["config"]),
    valued(&["delete-config"]),
    valued(&["partitions"]),
    valued(&["replication-factor"]),
    valued(&["replica-assignment"]),
    flag(&["under-replicated-partitions"]),
    flag(&["unavailable-partitions"]),
    flag(&["under-min-isr-partitions"]),
    flag(&["at-min-isr-partitions"]),
    flag(&["topics-with-overrides"]),
    flag(&["if-exists"]),
    flag(&["if-not-exists"]),
    flag(&["exclude-internal"]),
    valued(&["partition-size-limit-per-response"]),
];
/// Options that show some of the partitions alone.
const REPORTS: [&str; 4] = [
    "under-replicated-partitions",
    "unavailable-partitions",
    "under-min-isr-partitions",
    "at-min-isr-partitions",
];
/// Since when DeleteTopics takes ids beside names.
const STATES_SINCE: i16 = 6;

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some(options) = admin::read(ABOUT, KNOWN, arguments)? else { return Ok(ExitCode::SUCCESS) };
    let action = action(&options)?;
    admin::run(&options, async |cluster| {
        let done = match action {
            "create" => create(&cluster, &options).await,
            "list" => list(&cluster, &options).await,
            "alter" => alter(&cluster, &options).await,
            "describe" => describe(&cluster, &options).await,
            _ => delete(&cluster, &options).await,
        };
        Ok(match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(Complaint(complaint)) => {
                say!("Error while executing topic command : {complaint}");
                ExitCode::FAILURE
            }
        })
    })
}

/// The one thing that is to be done. Options that do not go with it are refused.
fn action(options: &Options) -> anyhow::Result<&'static str> {
    let mut actions = ACTIONS.into_iter().filter(|action| options.has(action));
    let (Some(action), None) = (actions.next(), actions.next()) else {
        bail!(
            "Command must include exactly one action: --list, --describe, --create, --alter or --delete"
        );
    };
    if options.has("delete-config") {
        eprintln!(
            "ottla: --delete-config is not supported; kafka-configs alters the settings of topics"
        );
    }
    if ["create", "alter", "delete"].contains(&action) {
        options.needed("topic")?;
    }
    if action == "alter" {
        options.needed("partitions")?;
    }
    let only_with = |option: &str, allowed: &[&str]| {
        if options.has(option) && !allowed.contains(&action) {
            bail!("Option \"[{option}]\" can't be used with option \"[{action}]\"");
        }
        Ok(())
    };
    // Settings are taken at the creation, and complained about by the broker of none else.
    only_with("config", &["create"])?;
    only_with("partitions", &["alter", "create"])?;
    only_with("replication-factor", &["create"])?;
    only_with("replica-assignment", &["alter", "create"])?;
    for report in REPORTS.into_iter().chain(["topics-with-overrides"]) {
        only_with(report, &["describe"])?;
    }
    only_with("if-exists", &["alter", "delete", "describe"])?;
    only_with("if-not-exists", &["create"])?;
    only_with("exclude-internal", &["list", "describe"])?;
    let overrides = options.has("topics-with-overrides");
    if let Some(report) = REPORTS.into_iter().find(|report| overrides && options.has(report)) {
        bail!("Option \"[topics-with-overrides]\" can't be used with option \"[{report}]\"");
    }
    let counts = ["partitions", "replication-factor"];
    let assigned = action == "create" && options.has("replica-assignment");
    if let Some(count) = counts.into_iter().find(|count| assigned && options.has(count)) {
        bail!("Option \"[replica-assignment]\" can't be used with option \"[{count}]\"");
    }
    Ok(action)
}

/// Names of topics that the options choose, in their order.
async fn chosen(cluster: &Cluster, options: &Options) -> Result<Vec<String>, Complaint> {
    let metadata = cluster.metadata(Topics::All).await?;
    let pattern = match value(options, "topic")? {
        Some(topic) => Some(WholePattern::new(&as_pattern(topic)).map_err(Complaint)?),
        None => None,
    };
    let excluded = options.has("exclude-internal");
    let topics = metadata.topics.into_iter().filter(|topic| !(excluded && topic.is_internal));
    let names = topics.map(|topic| topic.name);
    Ok(names.filter(|name| pattern.as_ref().is_none_or(|pattern| pattern.matches(name))).collect())
}

/// What the tool makes of a name: commas are alternatives, and quotes around it are dropped.
pub(super) fn as_pattern(topic: &str) -> String {
    topic.trim().replace(',', "|").replace(' ', "").trim_matches(['"', '\'']).to_owned()
}

fn ensure_found(found: &[String], options: &Options) -> Result<(), Complaint> {
    match value(options, "topic")? {
        Some(topic) if !topic.is_empty() && found.is_empty() && !options.has("if-exists") => {
            Err(Complaint(format!("Topic '{topic}' does not exist as expected")))
        }
        _ => Ok(()),
    }
}

async fn list(cluster: &Cluster, options: &Options) -> Result<(), Complaint> {
    say!("{}", chosen(cluster, options).await?.join("\n"));
    Ok(())
}

async fn create(cluster: &Cluster, options: &Options) -> Result<(), Complaint> {
    let name = value(options, "topic")?.unwrap_or_default();
    let configs = configs(options)?;
    let assignments = assignments(options)?;
    if name.contains(['.', '_']) {
        say!(
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both."
        );
    }
    let replicas = number(options, "replication-factor")?;
    if replicas.is_some_and(|count| count < 1 || count > i16::MAX.into()) {
        return Err(Complaint(
            "The replication factor must be between 1 and 32767 inclusive".to_owned(),
        ));
    }
    let partitions = number(options, "partitions")?;
    if partitions.is_some_and(|count| count < 1) {
        return Err(Complaint("The partitions must be greater than 0".to_owned()));
    }
    let assignment = |(index, brokers): (i32, Vec<i32>)| {
        create_topics_request::CreatableReplicaAssignment::default()
            .with_partition_index(index)
            .with_broker_ids(brokers.into_iter().map(WireBrokerId).collect())
    };
    let config = |(name, value): (String, String)| {
        create_topics_request::CreatableTopicConfig::default()
            .with_name(Text::from_string(name))
            .with_value(Some(Text::from_string(value)))
    };
    let topic = create_topics_request::CreatableTopic::default()
        .with_name(wire_name(name))
        .with_num_partitions(partitions.unwrap_or(-1))
        .with_replication_factor(replicas.and_then(|count| i16::try_from(count).ok()).unwrap_or(-1))
        .with_assignments((0..).zip(assignments).map(assignment).collect())
        .with_configs(configs.into_iter().map(config).collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(timeout_ms(cluster));
    for topic in &cluster.request(Target::Controller, &request).await?.topics {
        let exists = topic.error_code == ErrorCode::TopicAlreadyExists.code();
        if exists && options.has("if-not-exists") {
            return Ok(());
        }
        let message = topic.error_message.as_deref();
        check(ApiKey::CreateTopics, topic.error_code, || format!("topic '{name}'"), message)?;
    }
    say!("Created topic {name}.");
    Ok(())
}

async fn alter(cluster: &Cluster, options: &Options) -> Result<(), Complaint> {
    let names = chosen(cluster, options).await?;
    ensure_found(&names, options)?;
    if names.is_empty() {
        return Ok(());
    }
    let total = number(options, "partitions")?.unwrap_or(-1);
    let assigned = assignments(options)?;
    let listed: Vec<&str> = names.iter().map(String::as_str).collect();
    let metadata = cluster.metadata(Topics::Named(&listed)).await?;
    let topic = |topic: &crate::client::Topic| {
        let assignment = |brokers: &Vec<i32>| {
            create_partitions_request::CreatePartitionsAssignment::default()
                .with_broker_ids(brokers.iter().map(|id| WireBrokerId(*id)).collect())
        };
        // Those that are there already are named too.
        let new: Vec<_> = assigned.iter().skip(topic.partitions.len()).map(assignment).collect();
        create_partitions_request::CreatePartitionsTopic::default()
            .with_name(wire_name(&topic.name))
            .with_count(total)
            .with_assignments((!assigned.is_empty()).then_some(new))
    };
    let request = CreatePartitionsRequest::default()
        .with_topics(metadata.topics.iter().map(topic).collect())
        .with_timeout_ms(timeout_ms(cluster));
    for result in &cluster.request(Target::Controller, &request).await?.results {
        let subject = || format!("topic '{}'", result.name.0);
        check(
            ApiKey::CreatePartitions,
            result.error_code,
            subject,
            result.error_message.as_deref(),
        )?;
    }
    Ok(())
}

async fn delete(cluster: &Cluster, options: &Options) -> Result<(), Complaint> {
    let names = chosen(cluster, options).await?;
    ensure_found(&names, options)?;
    let make = |version| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(timeout_ms(cluster));
        let names = names.iter().map(|name| wire_name(name));
        if version < STATES_SINCE {
            return request.with_topic_names(names.collect());
        }
        let state = delete_topics_request::DeleteTopicState::default;
        request.with_topics(names.map(|name| state().with_name(Some(name))).collect())
    };
    let response = cluster.request_with(Target::Controller, i16::MAX, make).await?;
    for topic in &response.responses {
        let subject = || {
            format!(
                "topic '{}'",
                topic.name.as_ref().map(|name| name.0.to_string()).unwrap_or_default()
            )
        };
        check(ApiKey::DeleteTopics, topic.error_code, subject, topic.error_message.as_deref())?;
    }
    Ok(())
}

async fn describe(cluster: &Cluster, options: &Options) -> Result<(), Complaint> {
    let topics =
        match value(options, "topic-id")?.and_then(UuidText::parse).filter(|id| !id.0.is_nil()) {
            Some(id) => with_id(cluster, TopicId(id.0), options).await?,
            None => {
                let names = chosen(cluster, options).await?;
                ensure_found(&names, options)?;
                let limit = number(options, "partition-size-limit-per-response")?;
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                described_topics(cluster, &names, limit.unwrap_or(PARTITIONS_PER_ANSWER)).await?
            }
        };
    let count = topics.len();
    let alive: BTreeSet<BrokerId> = cluster.known().brokers.iter().map(|node| node.id).collect();
    for topic in hash_order(topics, Some(count), |topic| &topic.name) {
        let configs = describe_in_order(cluster, ConfigSetting::TOPIC, &topic.name).await;
        let configs = configs.map_err(|failure| Complaint(failure.message().to_owned()))?;
        print(&topic, &configs, &alive, options);
    }
    Ok(())
}

/// The topic with an id, if it is there. What only DescribeTopicPartitions tells is not asked for then.
async fn with_id(
    cluster: &Cluster,
    id: TopicId,
    options: &Options,
) -> Result<Vec<DescribedTopic>, Complaint> {
    let metadata = cluster.metadata(Topics::All).await?;
    let Some(topic) = metadata.topics.iter().find(|topic| topic.id == id) else {
        if options.has("if-exists") {
            return Ok(Vec::new());
        }
        return Err(Complaint(format!("TopicId '{id}' does not exist as expected")));
    };
    Ok(vec![DescribedTopic::of_metadata(topic)])
}

fn print(
    topic: &DescribedTopic,
    configs: &[ConfigSetting],
    alive: &BTreeSet<BrokerId>,
    options: &Options,
) {
    let reported = REPORTS.into_iter().any(|report| options.has(report));
    let overrides = options.has("topics-with-overrides");
    let set: Vec<_> = configs.iter().filter(|config| !config.is_default()).collect();
    if !reported && (!overrides || !set.is_empty()) {
        let order = hash_order(configs.iter().collect(), None, |config| &config.name);
        let set: Vec<_> = order
            .into_iter()
            .filter(|config| !config.is_default())
            .map(|config| format!("{}={}", config.name, config.value().unwrap_or("null")))
            .collect();
        let replicas =
            topic.partitions.first().map_or(0, |partition| partition.replica_nodes.len());
        say!(
            "Topic: {}\tTopicId: {}\tPartitionCount: {}\tReplicationFactor: {replicas}\tConfigs: {}",
            topic.name,
            topic.id,
            topic.partitions.len(),
            set.join(",")
        );
    }
    if overrides {
        return;
    }
    let min_isr = configs.iter().find(|config| config.name == "min.insync.replicas");
    let min_isr: usize = min_isr.and_then(|config| config.value()?.parse().ok()).unwrap_or(1);
    let mut partitions: Vec<_> = topic.partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.partition_index);
    for partition in partitions {
        let led = partition.leader_id.0 >= 0;
        let (replicas, in_sync) = (partition.replica_nodes.len(), partition.isr_nodes.len());
        let is = |report| match report {
            "under-replicated-partitions" => replicas > in_sync,
            "unavailable-partitions" => !led || !alive.contains(&BrokerId(partition.leader_id.0)),
            "under-min-isr-partitions" => !led || in_sync < min_isr,
            _ => in_sync == min_isr,
        };
        if !reported || REPORTS.into_iter().any(|report| options.has(report) && is(report)) {
            print_partition(&topic.name, partition);
        }
    }
}

fn print_partition(topic: &str, partition: &DescribeTopicPartitionsResponsePartition) {
    let ids =
        |ids: &[WireBrokerId]| ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",");
    let or_unknown = |known: &Option<Vec<WireBrokerId>>| {
        known.as_ref().map_or_else(|| "N/A".to_owned(), |known| ids(known))
    };
    let leader = match partition.leader_id.0 {
        leader if leader < 0 => "none".to_owned(),
        leader => leader.to_string(),
    };
    say!(
        "\tTopic: {topic}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}\tElr: {}\tLastKnownElr: {}",
        partition.partition_index,
        ids(&partition.replica_nodes),
        ids(&partition.isr_nodes),
        or_unknown(&partition.eligible_leader_replicas),
        or_unknown(&partition.last_known_elr),
    );
}

fn value<'a>(options: &'a Options, name: &str) -> Result<Option<&'a str>, Complaint> {
    options.value(name).map_err(|error| Complaint(error.to_string()))
}

fn number(options: &Options, name: &str) -> Result<Option<i32>, Complaint> {
    let text = value(options, name)?;
    let number = text.map(|text| {
        text.parse()
            .map_err(|_| Complaint(format!("Cannot parse argument '{text}' of option {name}")))
    });
    number.transpose()
}

/// `--config key=value`, as often as it comes; of two for one key the later counts.
fn configs(options: &Options) -> Result<Vec<(String, String)>, Complaint> {
    let mut configs: Vec<(String, String)> = Vec::new();
    for text in options.values("config") {
        let mut parts: Vec<&str> = text.split('=').map(str::trim).collect();
        // Java's `split` gives no empty parts at the end.
        while parts.last().is_some_and(|part| part.is_empty()) {
            parts.pop();
        }
        let [key, value] = parts[..] else {
            return Err(Complaint(
                "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".".to_owned(),
            ));
        };
        check_config(key, value)?;
        configs.retain(|(other, _)| other != key);
        configs.push((key.to_owned(), value.to_owned()));
    }
    Ok(configs)
}

/// The tool looks at settings itself before it asks a broker: whether there is such a key, and whether its value is a number where it has
/// to be one.
fn check_config(key: &str, value: &str) -> Result<(), Complaint> {
    let Some(known) =
        registry::find(Scope::Topic, key).filter(|key| !key.name.starts_with("ottla."))
    else {
        // Keys of ours are the broker's to judge.
        return match key.starts_with("ottla.") {
            true => Ok(()),
            false => Err(Complaint(format!("Unknown topic config name: {key}"))),
        };
    };
    let (is_number, kind) = match known.kind {
        Kind::Int => (value.parse::<i32>().is_ok(), "INT"),
        Kind::Short => (value.parse::<i16>().is_ok(), "SHORT"),
        Kind::Long => (value.parse::<i64>().is_ok(), "LONG"),
        Kind::Double => (value.parse::<f64>().is_ok(), "DOUBLE"),
        Kind::Boolean | Kind::String | Kind::List | Kind::Class | Kind::Password => return Ok(()),
    };
    match is_number {
        true => Ok(()),
        false => Err(Complaint(format!(
            "Invalid value {value} for configuration {key}: Not a number of type {kind}"
        ))),
    }
}

/// `--replica-assignment 0:1,1:2`: the replicas of each partition.
fn assignments(options: &Options) -> Result<Vec<Vec<i32>>, Complaint> {
    let Some(text) = value(options, "replica-assignment")?.filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    let mut all: Vec<Vec<i32>> = Vec::new();
    for (index, partition) in text.split(',').enumerate() {
        let id = |id: &str| {
            id.trim().parse().map_err(|_| Complaint(format!("For input string: \"{}\"", id.trim())))
        };
        let brokers: Vec<i32> = partition.split(':').map(id).collect::<Result<_, _>>()?;
        let unique: BTreeSet<i32> = brokers.iter().copied().collect();
        if unique.len() < brokers.len() {
            let twice =
                unique.iter().filter(|id| brokers.iter().filter(|other| other == id).count() > 1);
            let twice: Vec<String> = twice.map(ToString::to_string).collect();
            return Err(Complaint(format!(
                "Partition replica lists may not contain duplicate entries: {}",
                twice.join(",")
            )));
        }
        if all.first().is_some_and(|first| first.len() != brokers.len()) {
            return Err(Complaint(format!(
                "Partition {index} has different replication factor: {brokers:?}"
            )));
        }
        all.push(brokers);
    }
    Ok(all)
}

fn wire_name(name: &str) -> WireTopicName {
    WireTopicName(Text::from_string(name.to_owned()))
}

fn timeout_ms(cluster: &Cluster) -> i32 {
    i32::try_from(cluster.options().request_timeout.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        admin::options_of(KNOWN, line)
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        for line in [
            "--list",
            "--create --topic a --partitions 1 --replication-factor 1 --config a=b --if-not-exists",
            "--alter --topic a --partitions 3 --if-exists",
            "--describe --under-replicated-partitions --at-min-isr-partitions",
            "--delete --topic a,b",
        ] {
            assert!(action(&options(line)).is_ok(), "{line}");
        }
        for line in [
            "",
            "--list --describe",
            "--create",
            "--alter --topic a",
            "--alter --topic a --partitions 1 --config a=b",
            "--list --partitions 1",
            "--describe --topics-with-overrides --unavailable-partitions",
            "--create --topic a --partitions 1 --replica-assignment 1",
        ] {
            assert!(action(&options(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn values_as_the_tool_reads_them() {
        let read = |line| configs(&options(line)).ok();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            read("--config retention.ms=1 --config cleanup.policy=b --config retention.ms=3"),
            Some(vec![pair("cleanup.policy", "b"), pair("retention.ms", "3")])
        );
        assert!(read("--config retention.ms=soon").is_none());
        assert_eq!(
            (read("--config a"), read("--config a="), read("--config a=b=c")),
            (None, None, None)
        );
        let read = |line| assignments(&options(line)).ok();
        assert_eq!(read("--replica-assignment 1:2,2:3"), Some(vec![vec![1, 2], vec![2, 3]]));
        assert_eq!(
            (read("--replica-assignment 1:1"), read("--replica-assignment 1:2,1")),
            (None, None)
        );
        assert_eq!(as_pattern(" \"a,b\" "), "a|b");
    }
}
