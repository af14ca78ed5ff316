//! `kafka-delete-records`: `DeleteRecordsCommand` of Apache Kafka 4.3.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::admin;
use super::options::{Known, valued};
use super::words::exception;
use crate::cli::sources;
use crate::client::{ClientError, Cluster, Target, Topics, check};
use crate::model::{BrokerId, PartitionId};
use crate::wire::messages::{DeleteRecordsRequest, WireTopicName, delete_records_request};
use crate::wire::{ApiKey, Text};

const ABOUT: &str =
    "kafka-delete-records deletes records of partitions, those before the given offsets.";
const KNOWN: &[Known] = &[valued(&["offset-json-file"])];

/// What the file holds.
#[derive(Debug, Deserialize)]
struct Plan {
    #[serde(default = "first_version")]
    version: i32,
    partitions: Vec<PlannedPartition>,
}

#[derive(Debug, Deserialize)]
struct PlannedPartition {
    topic: String,
    partition: i32,
    offset: i64,
}

const fn first_version() -> i32 {
    1
}

type Place = (String, PartitionId);

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some(options) = admin::read(ABOUT, KNOWN, arguments)? else { return Ok(ExitCode::SUCCESS) };
    let path = options.needed("offset-json-file")?;
    let plan = plan(&sources::read(Path::new(path))?)?;
    admin::run(&options, async move |cluster| {
        say!("Executing records delete operation");
        let results = delete(&cluster, &plan).await;
        say!("Records delete operation completed:");
        for ((topic, index), result) in results {
            match result {
                Ok(low) => say!("partition: {topic}-{index}\tlow_watermark: {low}"),
                Err(error) => {
                    say!("partition: {topic}-{index}\terror: {}", exception(&error));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn plan(bytes: &[u8]) -> anyhow::Result<BTreeMap<Place, i64>> {
    let plan: Plan =
        serde_json::from_slice(bytes).context("The input string is not a valid JSON")?;
    if plan.version != 1 {
        bail!("Not supported version field value {}", plan.version);
    }
    let mut offsets = BTreeMap::new();
    for PlannedPartition { topic, partition, offset } in plan.partitions {
        let name = format!("{topic}-{partition}");
        if offsets.insert((topic, PartitionId(partition)), offset).is_some() {
            bail!("Offset json file contains duplicate topic partitions: {name}");
        }
    }
    Ok(offsets)
}

/// The first offset that is left in each partition, or why it is as it was.
type Results = BTreeMap<Place, Result<i64, ClientError>>;

async fn delete(cluster: &Cluster, plan: &BTreeMap<Place, i64>) -> Results {
    let mut results = Results::new();
    let mut names: Vec<&str> = plan.keys().map(|(topic, _)| topic.as_str()).collect();
    names.dedup();
    let metadata = cluster.metadata(Topics::Named(&names)).await;
    let mut by_leader: BTreeMap<BrokerId, BTreeMap<Place, i64>> = BTreeMap::new();
    for (place, offset) in plan {
        let leader = match &metadata {
            Ok(metadata) => metadata.leader_of(&place.0, place.1).map(|(leader, _)| leader),
            Err(error) => Err(ClientError::from(refusal_of(error))),
        };
        match leader {
            Ok(leader) => {
                by_leader.entry(leader).or_default().insert(place.clone(), *offset);
            }
            Err(error) => {
                results.insert(place.clone(), Err(error));
            }
        }
    }
    for (leader, part) in by_leader {
        match ask(cluster, leader, &part).await {
            Ok(answers) => results.extend(answers),
            Err(error) => {
                let refused = || Err(refusal_of(&error).into());
                results.extend(part.into_keys().map(|place| (place, refused())));
            }
        }
    }
    results
}

/// An error that concerns several partitions, for each of them.
fn refusal_of(error: &ClientError) -> crate::client::Refusal {
    error.refusal().cloned().unwrap_or_else(|| crate::client::Refusal {
        code: crate::model::ErrorCode::RequestTimedOut,
        subject: String::new(),
        message: Some(crate::model::WithCauses(error).to_string()),
        api: ApiKey::DeleteRecords,
        asked: None,
    })
}

async fn ask(
    cluster: &Cluster,
    leader: BrokerId,
    part: &BTreeMap<Place, i64>,
) -> Result<Results, ClientError> {
    let mut topics: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for ((topic, index), offset) in part {
        let partition = delete_records_request::DeleteRecordsPartition::default()
            .with_partition_index(index.0)
            .with_offset(*offset);
        topics.entry(topic).or_default().push(partition);
    }
    let topic = |(name, partitions): (&str, Vec<_>)| {
        delete_records_request::DeleteRecordsTopic::default()
            .with_name(WireTopicName(Text::from_string(name.to_owned())))
            .with_partitions(partitions)
    };
    let timeout = cluster.options().request_timeout.as_millis();
    let request = DeleteRecordsRequest::default()
        .with_topics(topics.into_iter().map(topic).collect())
        .with_timeout_ms(i32::try_from(timeout).unwrap_or(i32::MAX));
    let response = cluster.request(Target::Node(leader), &request).await?;
    let mut answers = Results::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            let place = (topic.name.0.to_string(), PartitionId(partition.partition_index));
            let subject = || format!("{} partition {}", place.0, place.1);
            let result = check(ApiKey::DeleteRecords, partition.error_code, subject, None);
            let result = result.map(|()| partition.low_watermark).map_err(ClientError::from);
            answers.insert(place, result);
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_json() {
        let one = r#"{"partitions": [{"topic": "a", "partition": 1, "offset": 7}]"#;
        let read = |rest: &str| plan(format!("{one}{rest}").as_bytes());
        let expected = BTreeMap::from([(("a".to_owned(), PartitionId(1)), 7)]);
        assert_eq!(read("}").unwrap(), expected);
        assert_eq!(read(r#", "version": 1}"#).unwrap(), expected);
        assert!(read(r#", "version": 2}"#).is_err() && read("").is_err());
        let twice = r#"{"partitions": [{"topic":"a","partition":1,"offset":7},{"topic":"a","partition":1,"offset":8}]}"#;
        assert!(plan(twice.as_bytes()).unwrap_err().to_string().ends_with("partitions: a-1"));
    }
}
