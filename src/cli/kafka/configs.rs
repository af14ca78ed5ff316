//! `kafka-configs`: `ConfigCommand` of Apache Kafka 4.3, for topics, brokers, their loggers, groups and client metrics.
//!
//! Quotas and credentials are not there yet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::admin;
use super::options::{Known, Options, flag, valued};
use super::words::exception;
use crate::cli::configs::source_name;
use crate::cli::group::groups;
use crate::cli::sources;
use crate::client::{ClientError, Cluster, Target, Topics, check};
use crate::model::{BrokerId, TopicName};
use crate::wire::messages::describe_configs_response::DescribeConfigsResult;
use crate::wire::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
    describe_configs_request, incremental_alter_configs_request,
};
use crate::wire::{ApiKey, Text};

const ABOUT: &str =
    "kafka-configs shows and changes the settings of topics, brokers, groups and client metrics.";
const KNOWN: &[Known] = &[
    valued(&["bootstrap-controller"]),
    flag(&["alter"]),
    flag(&["describe"]),
    flag(&["all"]),
    valued(&["entity-type"]),
    valued(&["entity-name"]),
    flag(&["entity-default"]),
    valued(&["add-config"]),
    valued(&["add-config-file"]),
    valued(&["delete-config"]),
    valued(&["topic"]),
    valued(&["client"]),
    flag(&["client-defaults"]),
    valued(&["user"]),
    flag(&["user-defaults"]),
    valued(&["broker"]),
    flag(&["broker-defaults"]),
    valued(&["broker-logger"]),
    flag(&["ip-defaults"]),
    valued(&["ip"]),
    valued(&["group"]),
    valued(&["client-metrics"]),
];
/// Options that name an entity of a type.
const NAMED: [(&str, &str); 8] = [
    ("topic", "topics"),
    ("client", "clients"),
    ("user", "users"),
    ("broker", "brokers"),
    ("broker-logger", "broker-loggers"),
    ("ip", "ips"),
    ("client-metrics", "client-metrics"),
    ("group", "groups"),
];
/// Options that mean all entities of a type that have no settings of their own.
const DEFAULTS: [(&str, &str); 4] = [
    ("client-defaults", "clients"),
    ("user-defaults", "users"),
    ("broker-defaults", "brokers"),
    ("ip-defaults", "ips"),
];
const SET: i8 = 0;
const DELETE: i8 = 1;

/// A type of entities that have settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    /// As the options name it.
    name: &'static str,
    /// The type of resource on the wire.
    resource: i8,
    /// The source of settings that were made for one entity; loggers have none.
    dynamic: Option<i8>,
}

const KINDS: [Kind; 5] = [
    Kind { name: "topics", resource: 2, dynamic: Some(1) },
    Kind { name: "brokers", resource: 4, dynamic: Some(2) },
    Kind { name: "broker-loggers", resource: 8, dynamic: None },
    Kind { name: "client-metrics", resource: 16, dynamic: Some(7) },
    Kind { name: "groups", resource: 32, dynamic: Some(8) },
];
/// Settings that all brokers share.
const DEFAULT_BROKER: i8 = 3;

impl Kind {
    fn is(self, name: &str) -> bool {
        self.name == name
    }

    /// The name of one, as `topic` is of `topics`: without its last letter, whatever that is.
    fn singular(self) -> &'static str {
        &self.name[..self.name.len() - 1]
    }
}

/// What the options ask about: a type, and the name of one of them, empty for the defaults of all.
#[derive(Debug, PartialEq, Eq)]
struct Entity {
    kind: Kind,
    name: Option<String>,
}

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some(options) = admin::read(ABOUT, KNOWN, arguments)? else { return Ok(ExitCode::SUCCESS) };
    let entity = checked(&options)?;
    if options.has("describe") {
        let all = options.has("all");
        return admin::run(&options, async |cluster| describe(&cluster, &entity, all).await);
    }
    let changes = changes(&options)?;
    admin::run(&options, async |cluster| alter(&cluster, &entity, &changes).await)
}

/// Options that do not go together are refused.
fn checked(options: &Options) -> anyhow::Result<Entity> {
    let altering = options.has("alter");
    if altering == options.has("describe") {
        bail!("Command must include exactly one action: --describe, --alter");
    }
    let changing = ["add-config", "add-config-file", "delete-config"];
    let changing: Vec<_> = changing.into_iter().filter(|option| options.has(option)).collect();
    if !altering && let Some(option) = changing.iter().find(|option| **option != "add-config-file")
    {
        bail!("Option \"[describe]\" can't be used with option \"[{option}]\"");
    }
    if options.has("bootstrap-controller") {
        bail!("--bootstrap-controller is not there yet: ask a broker with --bootstrap-server");
    }
    let entity = entity(options)?;
    let (kind, name) = (entity.kind, entity.name.as_deref());
    if kind.is("brokers") || kind.is("broker-loggers") {
        let name = name.filter(|name| !name.is_empty());
        if let Some(name) = name.filter(|name| name.parse::<i32>().is_err()) {
            bail!(
                "The entity name for {} must be a valid integer broker id, but it is: {name}",
                kind.name
            );
        }
    }
    if !altering {
        if !kind.is("brokers") && options.has("entity-default") {
            bail!("--entity-default must not be specified with --describe of {}", kind.name);
        }
        if kind.is("broker-loggers") && name.is_none() {
            bail!("An entity name must be specified with --describe of {}", kind.name);
        }
        return Ok(entity);
    }
    match name {
        None | Some("") if !kind.is("brokers") => {
            bail!("An entity name must be specified with --alter of {}", kind.name)
        }
        None => bail!(
            "An entity-name or default entity must be specified with --alter of users, clients, brokers or ips"
        ),
        Some(_) => {}
    }
    if options.has("add-config") && options.has("add-config-file") {
        bail!("Only one of --add-config or --add-config-file must be specified");
    }
    if changing.is_empty() {
        bail!(
            "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter"
        );
    }
    Ok(entity)
}

fn entity(options: &Options) -> anyhow::Result<Entity> {
    let given = |those: &[(&'static str, &'static str)]| {
        let given = those.iter().filter(|(option, _)| options.has(option));
        given.copied().collect::<Vec<_>>()
    };
    let (named, defaults) = (given(&NAMED), given(&DEFAULTS));
    let mut types = options.values("entity-type");
    let mut names: Vec<&str> = options.values("entity-name");
    let general = !types.is_empty() || !names.is_empty() || options.has("entity-default");
    if general && !(named.is_empty() && defaults.is_empty()) {
        bail!(
            "--entity-{{type,name,default}} should not be used in conjunction with specific entity flags"
        );
    }
    names.extend(options.has("entity-default").then_some(""));
    for (option, kind) in named {
        types.push(kind);
        names.extend(options.value(option)?);
    }
    for (_, kind) in defaults {
        types.push(kind);
        names.push("");
    }
    for name in &types {
        if ["users", "clients", "ips"].contains(name) {
            bail!("--entity-type {name}: quotas and credentials are not there yet");
        }
    }
    let [name] = &types[..] else {
        match types.is_empty() {
            true => bail!("At least one entity type must be specified"),
            false => bail!("Only one entity type can be specified: {}", types.join(",")),
        }
    };
    let Some(kind) = KINDS.into_iter().find(|kind| kind.is(name)) else {
        bail!(
            "Invalid entity type {name}, the entity type must be one of topics, clients, users, brokers, ips, client-metrics, groups, broker-loggers with a --bootstrap-server or --bootstrap-controller argument"
        );
    };
    if names.len() > 1 {
        bail!("An entity name must be specified for every entity type");
    }
    Ok(Entity { kind, name: names.first().map(|name| (*name).to_owned()) })
}

/// What is to be set, and what unset.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    set: BTreeMap<String, String>,
    unset: Vec<String>,
}

fn changes(options: &Options) -> anyhow::Result<Changes> {
    let mut changes = Changes::default();
    if let Some(path) = options.value("add-config-file")? {
        let properties = sources::read_properties(Path::new(path))?;
        changes.set.extend(properties.into_iter().map(|one| (one.key, one.value)));
    }
    if let Some(text) = options.value("add-config")? {
        changes.set.extend(pairs(text)?);
    }
    let fine = |letter: char| letter.is_ascii_alphanumeric() || "$._-".contains(letter);
    if let Some(key) = changes.set.keys().find(|key| !key.chars().all(fine)) {
        bail!("Invalid character found for config key: {key}");
    }
    let unset = options.values("delete-config").into_iter().flat_map(|list| list.split(','));
    changes.unset = unset.map(|key| key.trim().to_owned()).collect();
    Ok(changes)
}

/// `k1=v1,k2=[v2,v3]`: commas and equals signs within brackets do not divide.
fn pairs(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut parts = divided(text, ',');
    // Java's `split` gives no empty parts at the end.
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    let pair = |part: &str| match &divided(part, '=')[..] {
        [key, value] => {
            Some((key.trim().to_owned(), value.replace(['[', ']'], "").trim().to_owned()))
        }
        _ => None,
    };
    let pairs: Option<Vec<_>> = parts.into_iter().map(pair).collect();
    pairs.context(
        "requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" or  \"key=[val1,val2]\" to group values which contain commas.",
    )
}

/// Parts between dividers behind which no bracket closes before one opens.
fn divided(text: &str, divider: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(divider) {
        let bracket = text[at + 1..].find(['[', ']']).map(|next| &text[at + 1 + next..]);
        if bracket.is_none_or(|rest| rest.starts_with('[')) {
            parts.push(&text[start..at]);
            start = at + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

async fn describe(cluster: &Cluster, entity: &Entity, all: bool) -> anyhow::Result<ExitCode> {
    let kind = entity.kind;
    let there = names(cluster, kind).await?;
    let names = match &entity.name {
        None => there.into_iter().collect(),
        Some(name) => {
            if kind.is("topics") {
                TopicName::new(name)?;
            }
            if !all && !there.contains(name) {
                say!(
                    "The {} '{name}' doesn't exist and doesn't have dynamic config.",
                    kind.singular()
                );
                return Ok(ExitCode::SUCCESS);
            }
            vec![name.clone()]
        }
    };
    // The defaults come last.
    let (defaults, named): (Vec<String>, Vec<String>) =
        names.into_iter().partition(String::is_empty);
    for name in named.into_iter().chain(defaults) {
        match name.as_str() {
            "" => say!("Default configs for {} in the cluster are:", kind.name),
            name => {
                let which = if all { "All" } else { "Dynamic" };
                say!("{which} configs for {} {name} are:", kind.singular());
            }
        }
        let dynamic = if name.is_empty() { Some(DEFAULT_BROKER) } else { kind.dynamic };
        for config in &described(cluster, kind, &name).await?.configs {
            if !all && dynamic.is_some_and(|source| source != config.config_source) {
                continue;
            }
            let synonym = |synonym: &crate::wire::messages::describe_configs_response::DescribeConfigsSynonym| {
                let source = source_name(synonym.source);
                let value = synonym.value.as_deref().unwrap_or("null");
                format!("{source}:{}={value}", &*synonym.name)
            };
            let synonyms: Vec<String> = config.synonyms.iter().map(synonym).collect();
            say!(
                "  {}={} sensitive={} synonyms={{{}}}",
                &*config.name,
                config.value.as_deref().unwrap_or("null"),
                config.is_sensitive,
                synonyms.join(", ")
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The names of all entities of a type; an empty one stands for the defaults of brokers.
async fn names(cluster: &Cluster, kind: Kind) -> anyhow::Result<BTreeSet<String>> {
    let names: BTreeSet<String> = match kind.name {
        "topics" => {
            let metadata = cluster.metadata(Topics::All).await?;
            metadata.topics.into_iter().map(|topic| topic.name).collect()
        }
        "groups" => {
            let mut names: BTreeSet<String> = groups(cluster).await?.into_keys().collect();
            names.extend(with_settings(cluster, kind).await?);
            names
        }
        "client-metrics" => with_settings(cluster, kind).await?.into_iter().collect(),
        _ => {
            let ids = cluster.known().brokers.into_iter().map(|node| node.id.to_string());
            ids.chain([String::new()]).collect()
        }
    };
    Ok(names)
}

/// Entities that have settings; none if the broker cannot tell.
async fn with_settings(cluster: &Cluster, kind: Kind) -> anyhow::Result<Vec<String>> {
    let make = |version| {
        let request = ListConfigResourcesRequest::default();
        // The first version tells of client metrics alone.
        if version == 0 { request } else { request.with_resource_types(vec![kind.resource]) }
    };
    let response = match cluster.request_with(Target::Any, i16::MAX, make).await {
        Ok(response) => response,
        Err(ClientError::Unsupported { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    check(ApiKey::ListConfigResources, response.error_code, || kind.name.to_owned(), None)?;
    let those = response.config_resources.iter().filter(|it| it.resource_type == kind.resource);
    Ok(those.map(|it| it.resource_name.to_string()).collect())
}

async fn described(
    cluster: &Cluster,
    kind: Kind,
    name: &str,
) -> anyhow::Result<DescribeConfigsResult> {
    let asked = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(kind.resource)
        .with_resource_name(Text::from_string(name.to_owned()))
        .with_configuration_keys(None);
    let request =
        DescribeConfigsRequest::default().with_resources(vec![asked]).with_include_synonyms(true);
    let response = cluster.request(target(kind, name), &request).await?;
    let mut result = response.results.into_iter().next().context("an answer without results")?;
    let subject = || format!("the settings of {} {name}", kind.singular());
    check(ApiKey::DescribeConfigs, result.error_code, subject, result.error_message.as_deref())?;
    result.configs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(result)
}

/// Settings of one broker are that broker's to tell and to change.
fn target(kind: Kind, name: &str) -> Target {
    match name.parse() {
        Ok(id) if kind.is("brokers") || kind.is("broker-loggers") => Target::Node(BrokerId(id)),
        _ => Target::Controller,
    }
}

async fn alter(cluster: &Cluster, entity: &Entity, changes: &Changes) -> anyhow::Result<ExitCode> {
    let (kind, name) = (entity.kind, entity.name.as_deref().unwrap_or_default());
    if kind.is("broker-loggers") {
        let there = described(cluster, kind, name).await?.configs;
        let asked = changes.unset.iter().chain(changes.set.keys());
        let unknown = asked.filter(|key| !there.iter().any(|one| &*one.name == key.as_str()));
        let unknown: Vec<&str> = unknown.map(String::as_str).collect();
        if !unknown.is_empty() {
            bail!("Invalid broker logger(s): {}", unknown.join(","));
        }
    }
    let entry = |key: &str, operation, value: &str| {
        incremental_alter_configs_request::AlterableConfig::default()
            .with_name(Text::from_string(key.to_owned()))
            .with_config_operation(operation)
            .with_value(Some(Text::from_string(value.to_owned())))
    };
    let unset = changes.unset.iter().map(|key| entry(key, DELETE, ""));
    let set = changes.set.iter().map(|(key, value)| entry(key, SET, value));
    let altered = incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(kind.resource)
        .with_resource_name(Text::from_string(name.to_owned()))
        .with_configs(unset.chain(set).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![altered]);
    let response = cluster.request(target(kind, name), &request).await?;
    for result in &response.responses {
        let (code, message) = (result.error_code, result.error_message.as_deref());
        let subject = || format!("the settings of {} {name}", kind.singular());
        let refused = check(ApiKey::IncrementalAlterConfigs, code, subject, message);
        if let Err(refusal) = refused {
            bail!("Error while executing config command: {}", exception(&refusal.into()));
        }
    }
    match name {
        "" => say!("Completed updating default config for {} in the cluster.", kind.name),
        name => say!("Completed updating config for {} {name}.", kind.singular()),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        admin::options_of(KNOWN, line)
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        let read = |line: &str| checked(&options(line)).ok().map(|it| (it.kind.name, it.name));
        let name = |name: &str| Some(name.to_owned());
        for (line, entity) in [
            ("--describe --entity-type topics", ("topics", None)),
            ("--describe --topic a --all", ("topics", name("a"))),
            ("--describe --entity-type brokers --entity-default", ("brokers", name(""))),
            ("--alter --broker 1 --add-config a=b", ("brokers", name("1"))),
            ("--alter --broker-defaults --delete-config a,b", ("brokers", name(""))),
            ("--alter --group g --add-config-file f", ("groups", name("g"))),
        ] {
            assert_eq!(read(line), Some(entity), "{line}");
        }
        for line in [
            "--describe",
            "--describe --alter --topic a",
            "--describe --topic a --add-config b=c",
            "--describe --topic a --entity-type topics",
            "--describe --entity-type things",
            "--describe --entity-type broker-loggers",
            "--describe --broker x",
            "--alter --entity-type topics --add-config a=b",
            "--alter --topic a",
            "--alter --topic a --add-config b=c --add-config-file d",
            "--alter --user u --add-config a=b",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn brackets_hold_values_together() {
        let read = |text: &str| pairs(text).ok();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(read("a=1"), Some(vec![pair("a", "1")]));
        assert_eq!(read("a=, b = 2 ,"), Some(vec![pair("a", ""), pair("b", "2")]));
        assert_eq!(read("a=[x,y=z],b=2"), Some(vec![pair("a", "x,y=z"), pair("b", "2")]));
        assert_eq!((read("a"), read("a=b=c")), (None, None));
    }
}
