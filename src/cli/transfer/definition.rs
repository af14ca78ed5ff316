//! How a topic was made, so that another one can be made like it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cli::configs::{ConfigSetting, describe_configs};
use crate::cli::failure::Failure;
use crate::cli::topic::change::Creation;
use crate::cli::topic::known_topics;
use crate::client::{Cluster, Target, check};
use crate::model::ErrorCode;
use crate::wire::ApiKey;

/// The line that describes the topics of an export begins so.
const DESCRIPTION: &[u8] = b"{\"ottla\":";
/// What it says there.
const FORMAT: &str = "export 1";

/// A topic without its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Definition {
    pub(in crate::cli) name: String,
    pub(in crate::cli) partitions: i32,
    pub(in crate::cli) replicas: i16,
    /// The settings that were made for it.
    pub(in crate::cli) configs: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Description {
    ottla: String,
    topics: Vec<Definition>,
}

/// Whether a line describes topics, and is no record.
pub(in crate::cli) fn is_description(line: &[u8]) -> bool {
    line.starts_with(DESCRIPTION)
}

/// The line that describes these topics.
pub(super) fn describe(topics: Vec<Definition>) -> serde_json::Result<String> {
    serde_json::to_string(&Description { ottla: FORMAT.to_owned(), topics })
}

/// Reads it.
///
/// # Errors
/// In words, when it is of another version or none.
pub(super) fn read(line: &[u8]) -> Result<Vec<Definition>, String> {
    let description: Description = serde_json::from_slice(line)
        .map_err(|error| format!("the description of the topics cannot be read: {error}"))?;
    match description.ottla.as_str() {
        FORMAT => Ok(description.topics),
        other => {
            Err(format!("'{other}' was written by another version; this one reads '{FORMAT}'"))
        }
    }
}

impl Definition {
    /// Of topics that are there, in the order of their names.
    pub(in crate::cli) async fn of(
        cluster: &Cluster,
        topics: &[String],
    ) -> Result<Vec<Self>, Failure> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let mut definitions = Vec::new();
        for topic in known_topics(cluster, &names).await?.topics {
            let configs = describe_configs(cluster, ConfigSetting::TOPIC, &topic.name).await?;
            let made = configs.iter().filter(|config| config.is_of_topic());
            let made =
                made.filter_map(|config| Some((config.name.clone(), config.value()?.to_owned())));
            let replicas = topic.partitions.iter().map(|partition| partition.replicas.len()).max();
            definitions.push(Self {
                configs: made.collect(),
                partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
                replicas: replicas.and_then(|count| i16::try_from(count).ok()).unwrap_or(-1),
                name: topic.name,
            });
        }
        Ok(definitions)
    }

    /// Makes the topic if it is not there, with no more replicas than there are brokers.
    pub(in crate::cli) async fn create(&self, cluster: &Cluster) -> Result<(), Failure> {
        let brokers = i16::try_from(cluster.known().brokers.len()).unwrap_or(i16::MAX);
        let configs: Vec<_> = self.configs.clone().into_iter().collect();
        let creation = Creation {
            topics: std::slice::from_ref(&self.name),
            partitions: self.partitions,
            replicas: self.replicas.min(brokers),
            configs: &configs,
            dry_run: false,
        };
        let response = cluster.request(Target::Controller, &creation.request(cluster)).await?;
        for topic in &response.topics {
            if topic.error_code != ErrorCode::TopicAlreadyExists.code() {
                let subject = || format!("topic '{}'", self.name);
                let message = topic.error_message.as_deref();
                check(ApiKey::CreateTopics, topic.error_code, subject, message)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_read_back() {
        let topic = Definition {
            name: "orders".into(),
            partitions: 3,
            replicas: 1,
            configs: [("cleanup.policy".to_owned(), "compact".to_owned())].into(),
        };
        let line = describe(vec![topic.clone()]).unwrap();
        assert!(is_description(line.as_bytes()), "{line}");
        assert_eq!(read(line.as_bytes()), Ok(vec![topic]));
        assert!(!is_description(br#"{"topic":"orders","value":"{\"ottla\":1}"}"#));
        let later = line.replace(FORMAT, "export 2");
        assert!(read(later.as_bytes()).unwrap_err().contains("another version"));
        assert!(read(b"{\"ottla\":1}").unwrap_err().contains("cannot be read"));
    }
}
