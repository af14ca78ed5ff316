//! Topics with what DescribeTopicPartitions tells of them and Metadata does not: their eligible leader replicas (KIP-966).

use crate::client::{ClientError, Cluster, Partition, Target, Topic, Topics, check};
use crate::model::{BrokerId, TopicId};
use crate::wire::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition;
use crate::wire::messages::{
    DescribeTopicPartitionsRequest, WireBrokerId, WireTopicName, describe_topic_partitions_request,
};
use crate::wire::{ApiKey, Text};

/// As many partitions as Apache Kafka's tool asks for at once.
pub(super) const PARTITIONS_PER_ANSWER: i32 = 2000;

/// A topic as it is described.
pub(super) struct DescribedTopic {
    pub(super) name: String,
    pub(super) id: TopicId,
    pub(super) partitions: Vec<DescribeTopicPartitionsResponsePartition>,
}

impl DescribedTopic {
    /// Without what only DescribeTopicPartitions tells.
    pub(super) fn of_metadata(topic: &Topic) -> Self {
        let ids = |ids: &[BrokerId]| ids.iter().map(|id| WireBrokerId(id.0)).collect();
        let partition = |partition: &Partition| {
            DescribeTopicPartitionsResponsePartition::default()
                .with_partition_index(partition.index.0)
                .with_leader_id(WireBrokerId(partition.leader.map_or(-1, |leader| leader.0)))
                .with_replica_nodes(ids(&partition.replicas))
                .with_isr_nodes(ids(&partition.in_sync))
                .with_eligible_leader_replicas(None)
                .with_last_known_elr(None)
        };
        let partitions = topic.partitions.iter().map(partition).collect();
        Self { name: topic.name.clone(), id: topic.id, partitions }
    }
}

/// Topics by name, `limit` partitions at once. Brokers that do not have the question are asked for their metadata.
pub(super) async fn described_topics(
    cluster: &Cluster,
    names: &[&str],
    limit: i32,
) -> Result<Vec<DescribedTopic>, ClientError> {
    let connection = cluster.connection(Target::Any).await?;
    if connection.version_up_to(ApiKey::DescribeTopicPartitions, i16::MAX).is_err() {
        let metadata = cluster.metadata(Topics::Named(names)).await?;
        return Ok(metadata.topics.iter().map(DescribedTopic::of_metadata).collect());
    }
    let mut found: Vec<DescribedTopic> = Vec::new();
    let topic = |name: &&str| {
        let name = WireTopicName(Text::from_string((*name).to_owned()));
        describe_topic_partitions_request::TopicRequest::default().with_name(name)
    };
    let mut request = DescribeTopicPartitionsRequest::default()
        .with_topics(names.iter().map(topic).collect())
        .with_response_partition_limit(limit);
    while !request.topics.is_empty() {
        let response = cluster.request(Target::Any, &request).await?;
        for topic in response.topics {
            let name = topic.name.map(|name| name.0.to_string()).unwrap_or_default();
            let subject = || format!("topic '{name}'");
            check(ApiKey::DescribeTopicPartitions, topic.error_code, subject, None)?;
            match found.last_mut().filter(|last| last.name == name) {
                // The rest of one that did not fit.
                Some(last) => last.partitions.extend(topic.partitions),
                None => found.push(DescribedTopic {
                    name,
                    id: TopicId(topic.topic_id),
                    partitions: topic.partitions,
                }),
            }
        }
        let Some(next) = response.next_cursor else { break };
        request.topics.retain(|topic| topic.name.0 >= next.topic_name.0);
        let cursor = describe_topic_partitions_request::Cursor::default()
            .with_topic_name(next.topic_name)
            .with_partition_index(next.partition_index);
        request.cursor = Some(cursor);
    }
    Ok(found)
}
