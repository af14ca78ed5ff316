//! Settings of topics and brokers, asked for and changed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::failure::Failure;
use crate::client::{Cluster, Target, check};
use crate::model::BrokerId;
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
        match self.source {
            TOPIC_SOURCE => "topic",
            2 => "broker",
            3 => "all brokers",
            4 => "file",
            DEFAULT_SOURCE => "default",
            6 => "broker logger",
            _ => "unknown",
        }
    }

    /// The name that Apache Kafka has for where the value comes from.
    pub(super) const fn source_name(&self) -> &'static str {
        source_name(self.source)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "value": self.value, "source": self.origin(), "sensitive": self.sensitive })
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
    let described = ask(cluster, target(kind, resource)?, kind, &[resource], None).await?;
    Ok(described.into_iter().flat_map(|(_, settings)| settings).collect())
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
    let kind = ConfigSetting::TOPIC;
    let described = ask(cluster, Target::Controller, kind, topics, Some(names)).await?;
    Ok(described.into_iter().collect())
}

/// The settings of these resources, all of them if no names are given.
async fn ask(
    cluster: &Cluster,
    target: Target,
    kind: i8,
    resources: &[&str],
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
    let request =
        DescribeConfigsRequest::default().with_resources(resources.iter().map(resource).collect());
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
        });
        described.push((result.resource_name.to_string(), settings.collect()));
    }
    Ok(described)
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
