//! `ottla topic trim`: the beginning of partitions is given up.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::change::timeout_ms;
use super::{Common, known_topics};
use crate::cli::failure::Failure;
use crate::cli::output::Table;
use crate::cli::place::{Place, resolve};
use crate::client::{Cluster, OffsetQuery, Target, check};
use crate::model::{BrokerId, Offset, PartitionId};
use crate::wire::messages::{DeleteRecordsRequest, WireTopicName, delete_records_request};
use crate::wire::{ApiKey, Text};

#[derive(Debug, Args)]
pub(super) struct TrimArguments {
    /// Name of the topic
    topic: String,
    /// What is before this goes: an offset, end, or a time (@2026-11-01T10:00, @-48h)
    #[arg(long, value_name = "OFFSET|end|@TIME", value_parser = Place::parse, allow_hyphen_values = true)]
    before: Place,
    /// Only these partitions
    #[arg(short = 'p', long, value_delimiter = ',')]
    partitions: Vec<i32>,
    /// Do it
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn trim(arguments: &TrimArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let name = arguments.topic.as_str();
        let metadata = known_topics(&cluster, &[name]).await?;
        let all = metadata.topic(name).map(|topic| topic.partitions.as_slice()).unwrap_or_default();
        for index in &arguments.partitions {
            metadata.leader_of(name, PartitionId(*index))?;
        }
        let chosen: Vec<(String, PartitionId)> = all
            .iter()
            .map(|partition| partition.index)
            .filter(|index| {
                arguments.partitions.is_empty() || arguments.partitions.contains(&index.0)
            })
            .map(|index| (name.to_owned(), index))
            .collect();
        let queries = |query| {
            let all = chosen.iter().map(|(topic, index)| (topic.clone(), *index, query));
            all.collect::<Vec<_>>()
        };
        let starts = cluster.list_offsets(&queries(OffsetQuery::Earliest)).await?;
        let ends = cluster.list_offsets(&queries(OffsetQuery::Latest)).await?;
        let before = resolve(&cluster, &chosen, arguments.before).await?;
        let mut table = Table::new(&["PARTITION", "START", "NEW-START", "RECORDS"]);
        let mut rows = Vec::new();
        let mut leaders: BTreeMap<BrokerId, Vec<(PartitionId, Offset)>> = BTreeMap::new();
        for (partition, new) in &before {
            let start = starts.get(partition).and_then(|listed| listed.offset);
            let start = start.unwrap_or(Offset::ZERO);
            // What is not there yet cannot be removed.
            let end = ends.get(partition).and_then(|listed| listed.offset).unwrap_or(*new);
            let new = &end.min(*new);
            let gone = new.since(start).max(0);
            let index = partition.1;
            table.row([
                index.to_string(),
                start.to_string(),
                start.max(*new).to_string(),
                gone.to_string(),
            ]);
            rows.push(json!({
                "partition": index.0, "start": start.0, "new_start": start.max(*new).0, "records": gone,
            }));
            if gone > 0 {
                let (leader, _) = metadata.leader_of(name, index)?;
                leaders.entry(leader).or_default().push((index, *new));
            }
        }
        if arguments.execute {
            for (leader, partitions) in leaders {
                delete_records(&cluster, leader, name, &partitions).await?;
            }
        }
        let json = json!({ "topic": name, "executed": arguments.execute, "partitions": rows });
        arguments.common.output.print(&table, &json)?;
        if !arguments.execute {
            note!("nothing was changed: add --execute to do it");
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn delete_records(
    cluster: &Cluster,
    leader: BrokerId,
    topic: &str,
    partitions: &[(PartitionId, Offset)],
) -> Result<(), Failure> {
    let partition = |(index, offset): &(PartitionId, Offset)| {
        delete_records_request::DeleteRecordsPartition::default()
            .with_partition_index(index.0)
            .with_offset(offset.0)
    };
    let entry = delete_records_request::DeleteRecordsTopic::default()
        .with_name(WireTopicName(Text::from_string(topic.to_owned())))
        .with_partitions(partitions.iter().map(partition).collect());
    let request = DeleteRecordsRequest::default()
        .with_topics(vec![entry])
        .with_timeout_ms(timeout_ms(cluster));
    let response = cluster.request(Target::Node(leader), &request).await?;
    for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
        let subject = || format!("{topic} partition {}", partition.partition_index);
        check(ApiKey::DeleteRecords, partition.error_code, subject, None)?;
    }
    Ok(())
}
