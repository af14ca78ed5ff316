//! Settings of topics and brokers, asked for and changed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::failure::Failure;
use crate::client::{Cluster, Target, check};
use crate::model::BrokerId;
use crate::wire::messages::describe_configs_response::DescribeConfigsSynonym;
use crate::wire::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, describe_configs_request,
    incremental_alter_configs_request,
};
use crate::wire::{ApiKey, Text};

/// One setting of a topic or a broker.
#[derive(Debug)]
pub(super) struct ConfigSetting {
    pub(super) name: String,
    value: Option<String>,
    source: i8,
    sensitive: bool,
    /// Whether only a restart of the broker changes it.
    pub(super) read_only: bool,
    /// The number of its type.
    kind: i8,
    /// What it means, where that was asked for and the broker tells.
    pub(super) documentation: Option<String>,
    /// Where its value could come from, the place that counts first, where that was asked for.
    pub(super) synonyms: Vec<ConfigSynonym>,
}

/// A place that a value could come from.
#[derive(Debug)]
pub(super) struct ConfigSynonym {
    /// The name there, which may be another one.
    pub(super) name: String,
    pub(super) value: Option<String>,
    source: i8,
}

impl ConfigSynonym {
    /// What kind of place it is.
    pub(super) const fn origin(&self) -> &'static str {
        origin(self.source)
    }
}

impl ConfigSetting {
    /// The kind of resource that a topic is.
    pub(super) const TOPIC: i8 = 2;
    /// The kind of resource that a broker is.
    pub(super) const BROKER: i8 = 4;

    /// Whether nobody has set it.
    pub(super) const fn is_default(&self) -> bool {
        self.source == DEFAULT_SOURCE
    }

    /// Whether it was made for the topic itself.
    pub(super) const fn is_of_topic(&self) -> bool {
        self.source == TOPIC_SOURCE
    }

    /// The value, if it is told.
    pub(super) fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// The value for people.
    pub(super) fn shown(&self) -> &str {
        match &self.value {
            _ if self.sensitive => "(hidden)",
            Some(value) => value,
            None => "(none)",
        }
    }

    /// Where the value comes from.
    pub(super) const fn origin(&self) -> &'static str {
        origin(self.source)
    }

    /// The default, if the broker told it.
    pub(super) fn default(&self) -> Option<&ConfigSynonym> {
        self.synonyms.iter().find(|synonym| synonym.source == DEFAULT_SOURCE)
    }

    /// The name of its type; none from brokers that do not tell.
    pub(super) const fn type_name(&self) -> Option<&'static str> {
        Some(match self.kind {
            1 => "boolean",
            2 => "string",
            3 => "int",
            4 => "short",
            5 => "long",
            6 => "double",
            7 => "list",
            8 => "class",
            9 => "password",
            _ => return None,
        })
    }

    /// The name that Apache Kafka has for where the value comes from.
    pub(super) const fn source_name(&self) -> &'static str {
        source_name(self.source)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "value": self.value, "source": self.origin(), "sensitive": self.sensitive })
    }
}

/// Where a value with this source comes from.
const fn origin(source: i8) -> &'static str {
    match source {
        TOPIC_SOURCE => "topic",
        2 => "broker",
        3 => "all brokers",
        4 => "file",
        DEFAULT_SOURCE => "default",
        6 => "broker logger",
        _ => "unknown",
    }
}

/// The settings of a topic, or of a broker by its id (empty for what all brokers share), by name.
pub(super) async fn describe_configs(
    cluster: &Cluster,
    kind: i8,
    resource: &str,
) -> Result<Vec<ConfigSetting>, Failure> {
    let mut settings = describe_in_order(cluster, kind, resource).await?;
    settings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(settings)
}

/// The same in the order in which the broker tells them.
pub(super) async fn describe_in_order(
    cluster: &Cluster,
    kind: i8,
    resource: &str,
) -> Result<Vec<ConfigSetting>, Failure> {
    let request = DescribeConfigsRequest::default();
    let described =
        ask(cluster, target(kind, resource)?, request, (kind, &[resource]), None).await?;
    Ok(described.into_iter().flat_map(|(_, settings)| settings).collect())
}

/// The settings by name, with their documentation and all places that their values could come from.
pub(super) async fn describe_fully(
    cluster: &Cluster,
    kind: i8,
    resource: &str,
) -> Result<BTreeMap<String, ConfigSetting>, Failure> {
    let request = DescribeConfigsRequest::default()
        .with_include_synonyms(true)
        .with_include_documentation(true);
    let described =
        ask(cluster, target(kind, resource)?, request, (kind, &[resource]), None).await?;
    let settings = described.into_iter().flat_map(|(_, settings)| settings);
    Ok(settings.map(|setting| (setting.name.clone(), setting)).collect())
}

/// The settings of these names of all these topics, by topic.
pub(super) async fn describe_topics(
    cluster: &Cluster,
    topics: &[&str],
    names: &[&str],
) -> Result<BTreeMap<String, Vec<ConfigSetting>>, Failure> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (request, topics) = (DescribeConfigsRequest::default(), (ConfigSetting::TOPIC, topics));
    let described = ask(cluster, Target::Controller, request, topics, Some(names)).await?;
    Ok(described.into_iter().collect())
}

/// The settings of these resources of a kind, all of them if no names are given.
async fn ask(
    cluster: &Cluster,
    target: Target,
    request: DescribeConfigsRequest,
    (kind, resources): (i8, &[&str]),
    names: Option<&[&str]>,
) -> Result<Vec<(String, Vec<ConfigSetting>)>, Failure> {
    let text = |text: &&str| Text::from_string((*text).to_owned());
    let names: Option<Vec<Text>> = names.map(|names| names.iter().map(text).collect());
    let resource = |resource: &&str| {
        describe_configs_request::DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(resource))
            .with_configuration_keys(names.clone())
    };
    let request = request.with_resources(resources.iter().map(resource).collect());
    let response = cluster.request(target, &request).await?;
    let mut described = Vec::new();
    for result in &response.results {
        check(
            ApiKey::DescribeConfigs,
            result.error_code,
            || subject(&result.resource_name),
            result.error_message.as_deref(),
        )?;
        let settings = result.configs.iter().map(|config| ConfigSetting {
            name: config.name.to_string(),
            value: config.value.as_ref().map(ToString::to_string),
            source: config.config_source,
            sensitive: config.is_sensitive,
            read_only: config.read_only,
            kind: config.config_type,
            documentation: config.documentation.as_ref().map(ToString::to_string),
            synonyms: config.synonyms.iter().map(synonym).collect(),
        });
        described.push((result.resource_name.to_string(), settings.collect()));
    }
    Ok(described)
}

fn synonym(told: &DescribeConfigsSynonym) -> ConfigSynonym {
    ConfigSynonym {
        name: told.name.to_string(),
        value: told.value.as_ref().map(ToString::to_string),
        source: told.source,
    }
}

/// Sets and unsets settings; what is not named stays as it is.
pub(super) async fn alter_configs(
    cluster: &Cluster,
    kind: i8,
    resource: &str,
    set: &[(String, String)],
    unset: &[String],
) -> Result<(), Failure> {
    let entry = |name: &str, operation, value: Option<&str>| {
        incremental_alter_configs_request::AlterableConfig::default()
            .with_name(Text::from_string(name.to_owned()))
            .with_config_operation(operation)
            .with_value(value.map(|value| Text::from_string(value.to_owned())))
    };
    let set = set.iter().map(|(name, value)| entry(name, SET, Some(value)));
    let unset = unset.iter().map(|name| entry(name, DELETE, None));
    let altered = incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(Text::from_string(resource.to_owned()))
        .with_configs(set.chain(unset).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![altered]);
    let response = cluster.request(target(kind, resource)?, &request).await?;
    for result in &response.responses {
        check(
            ApiKey::IncrementalAlterConfigs,
            result.error_code,
            || subject(resource),
            result.error_message.as_deref(),
        )?;
    }
    Ok(())
}

/// Whose settings these are: no name means all brokers.
fn subject(resource: &str) -> String {
    match resource {
        "" => "the settings of all brokers".to_owned(),
        resource => format!("the settings of {resource}"),
    }
}

/// Settings of one broker are that broker's to tell and to change.
fn target(kind: i8, resource: &str) -> Result<Target, Failure> {
    if kind != ConfigSetting::BROKER || resource.is_empty() {
        return Ok(Target::Controller);
    }
    let id = resource.parse().map_err(|_| {
        Failure::usage(format!("'{resource}' is not the id of a broker, which is a number"))
    })?;
    Ok(Target::Node(BrokerId(id)))
}

/// The name that Apache Kafka has for a source of settings.
pub(super) const fn source_name(code: i8) -> &'static str {
    match code {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
        8 => "DYNAMIC_GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}

const TOPIC_SOURCE: i8 = 1;
const DEFAULT_SOURCE: i8 = 5;
const SET: i8 = 0;
const DELETE: i8 = 1;
