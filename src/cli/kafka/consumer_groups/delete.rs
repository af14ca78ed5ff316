//! `--delete` and `--delete-offsets`.

use std::collections::{BTreeMap, BTreeSet};

use super::describe::{print_rows, width};
use super::{Done, Place, chosen, complain, partitions_of};
use crate::cli::kafka::options::Options;
use crate::cli::kafka::words::{exception, standard};
use crate::client::{ClientError, Cluster, CoordinatorKind, Target, Topics, check};
use crate::model::{ErrorCode, PartitionId};
use crate::wire::messages::{
    DeleteGroupsRequest, OffsetDeleteRequest, WireGroupId, WireTopicName, offset_delete_request,
};
use crate::wire::{ApiKey, Text};

pub(super) async fn groups(cluster: &Cluster, options: &Options) -> Done {
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for name in chosen(cluster, options).await? {
        match delete(cluster, &name).await {
            Ok(()) => deleted.push(format!("'{name}'")),
            Err(error) => failed.push((name, exception(&error))),
        }
    }
    let deleted = deleted.join(", ");
    if failed.is_empty() {
        say!("Deletion of requested consumer groups ({deleted}) was successful.");
        return Ok(());
    }
    complain("Deletion of some consumer groups failed:");
    for (name, why) in failed {
        say!("* Group '{name}' could not be deleted due to: {why}");
    }
    if !deleted.is_empty() {
        say!("\nThese consumer groups were deleted successfully: {deleted}");
    }
    Ok(())
}

async fn delete(cluster: &Cluster, name: &str) -> Result<(), ClientError> {
    let coordinator = cluster.coordinator(CoordinatorKind::Group, name).await?;
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(name)]);
    let response = cluster.request(Target::Node(coordinator), &request).await?;
    let code = response.results.first().map_or(0, |result| result.error_code);
    Ok(check(ApiKey::DeleteGroups, code, || format!("group '{name}'"), None)?)
}

/// What became of each partition; -1 stands for all of a topic that is not there.
type Results = BTreeMap<Place, Result<(), ClientError>>;

pub(super) async fn offsets(cluster: &Cluster, options: &Options) -> Done {
    let name = options.needed("group")?;
    let mut results = Results::new();
    let mut asked: BTreeSet<Place> = BTreeSet::new();
    for text in options.values("topic") {
        match partitions_of(text)? {
            Some(places) => asked.extend(places),
            None => {
                let metadata = cluster.metadata(Topics::Named(&[text])).await?;
                let all = metadata.topic(text).map(|topic| topic.partitions.as_slice());
                let all = all.unwrap_or_default().iter();
                asked.extend(all.map(|partition| (text.to_owned(), partition.index)));
                if metadata.topic(text).is_none_or(|topic| topic.error != ErrorCode::None) {
                    let missing = metadata.leader_of(text, PartitionId(0)).map(drop);
                    results.insert((text.to_owned(), PartitionId(-1)), missing);
                }
            }
        }
    }
    let trouble = forget(cluster, name, asked, &mut results).await;
    say(name, trouble);
    print(&results);
    Ok(())
}

/// Asks for the deletion. Gives the first error, which is that of all partitions if the group has it.
async fn forget(
    cluster: &Cluster,
    name: &str,
    asked: BTreeSet<Place>,
    results: &mut Results,
) -> Option<ErrorCode> {
    let code_of = |error: &ClientError| {
        error.refusal().map_or(ErrorCode::UnknownServerError, |refusal| refusal.code)
    };
    let found = match delete_offsets(cluster, name, &asked).await {
        Ok(found) => found,
        Err(error) => {
            let code = code_of(&error).code();
            let refused = || check(ApiKey::OffsetDelete, code, String::new, None);
            let all = asked.into_iter().map(|place| (place, refused().map_err(Into::into)));
            results.extend(all);
            return Some(code_of(&error));
        }
    };
    let first = found.values().find_map(|result| result.as_ref().err().map(code_of));
    results.extend(found);
    first
}

async fn delete_offsets(
    cluster: &Cluster,
    name: &str,
    asked: &BTreeSet<Place>,
) -> Result<Results, ClientError> {
    let mut topics: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (topic, index) in asked {
        let partition = offset_delete_request::OffsetDeleteRequestPartition::default();
        topics.entry(topic).or_default().push(partition.with_partition_index(index.0));
    }
    let topic = |(topic, partitions): (&str, Vec<_>)| {
        offset_delete_request::OffsetDeleteRequestTopic::default()
            .with_name(WireTopicName(Text::from_string(topic.to_owned())))
            .with_partitions(partitions)
    };
    let request = OffsetDeleteRequest::default()
        .with_group_id(group_id(name))
        .with_topics(topics.into_iter().map(topic).collect());
    let coordinator = cluster.coordinator(CoordinatorKind::Group, name).await?;
    let response = cluster.request(Target::Node(coordinator), &request).await?;
    check(ApiKey::OffsetDelete, response.error_code, || format!("group '{name}'"), None)?;
    let mut results = Results::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            let place = (topic.name.0.to_string(), PartitionId(partition.partition_index));
            let subject = || format!("{} partition {}", place.0, place.1);
            let result = check(ApiKey::OffsetDelete, partition.error_code, subject, None);
            results.insert(place, result.map_err(Into::into));
        }
    }
    Ok(results)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the original knows no others")]
fn say(name: &str, trouble: Option<ErrorCode>) {
    let Some(code) = trouble else {
        say!("Request succeeded for deleting offsets from group {name}.");
        return;
    };
    match code {
        ErrorCode::GroupSubscribedToTopic
        | ErrorCode::TopicAuthorizationFailed
        | ErrorCode::UnknownTopicOrPartition => {
            complain("Encountered some partition-level error, see the follow-up details.");
        }
        ErrorCode::InvalidGroupId
        | ErrorCode::GroupIdNotFound
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::NonEmptyGroup => complain(standard(code)),
        code => complain(&format!("Encountered some unknown error: {}", code.name())),
    }
}

fn print(results: &Results) {
    let mut rows: Vec<(String, Vec<String>)> = results
        .iter()
        .map(|((topic, index), result)| {
            let partition = if index.0 < 0 { "-".to_owned() } else { index.to_string() };
            let status = match result {
                Ok(()) => "Successful".to_owned(),
                Err(error) => format!("Error: {}", exception(error)),
            };
            (format!("{topic}{index}"), vec![topic.clone(), partition, status])
        })
        .collect();
    // By what is written, in which 10 comes before 2.
    rows.sort();
    let mut table = vec![["TOPIC", "PARTITION", "STATUS"].map(str::to_owned).to_vec()];
    table.extend(rows.into_iter().map(|(_, row)| row));
    print_rows(&[width(&table, 0, 15), 10, 15], &table);
}

fn group_id(name: &str) -> WireGroupId {
    WireGroupId(Text::from_string(name.to_owned()))
}
