//! A topic of our own for a moment.

use std::time::Duration;

use super::failure::Failure;
use crate::client::{Cluster, Target, Topics, check, is_retriable};
use crate::model::ErrorCode;
use crate::wire::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, WireTopicName, create_topics_request,
    delete_topics_request,
};
use crate::wire::{ApiKey, Text};

/// Creates a topic with a name that nobody has, and waits until its partitions have leaders.
pub(super) async fn create(
    cluster: &Cluster,
    prefix: &str,
    partitions: i32,
    replicas: i16,
) -> Result<String, Failure> {
    create_with(cluster, prefix, partitions, replicas, &[]).await
}

/// The same with settings.
pub(super) async fn create_with(
    cluster: &Cluster,
    prefix: &str,
    partitions: i32,
    replicas: i16,
    configs: &[(&str, &str)],
) -> Result<String, Failure> {
    let config = |(name, value): &(&str, &str)| {
        create_topics_request::CreatableTopicConfig::default()
            .with_name(Text::from_string((*name).to_owned()))
            .with_value(Some(Text::from_string((*value).to_owned())))
    };
    let name = format!("{prefix}-{:08x}", cluster.env().rng.below(u32::MAX));
    let topic = create_topics_request::CreatableTopic::default()
        .with_name(WireTopicName(Text::from_string(name.clone())))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
        .with_configs(configs.iter().map(config).collect());
    let request =
        CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
    let response = cluster.request(Target::Controller, &request).await?;
    for topic in &response.topics {
        let subject = || format!("the topic '{name}' for this test");
        check(ApiKey::CreateTopics, topic.error_code, subject, topic.error_message.as_deref())?;
    }
    let deadline = cluster.deadline();
    loop {
        let metadata = cluster.metadata(Topics::Named(&[&name])).await?;
        let topic = metadata.topic(&name).filter(|topic| topic.error.is_none());
        if topic.is_some_and(|topic| topic.partitions.iter().all(|known| known.leader.is_some())) {
            return Ok(name);
        }
        // Other brokers hear of a topic a moment later than the one that made it.
        let code = metadata.topic(&name).map_or(ErrorCode::None, |topic| topic.error);
        if cluster.env().steady.now() >= deadline || !(code.is_none() || is_retriable(code)) {
            check(ApiKey::Metadata, code.code(), || format!("topic '{name}'"), None)?;
            return Err(Failure::new(
                "NO_LEADER",
                super::failure::REFUSED,
                format!("topic '{name}' got no leaders"),
            ));
        }
        cluster.env().steady.sleep(PAUSE).await;
    }
}

/// Deletes it.
pub(super) async fn delete(cluster: &Cluster, name: &str) -> Result<(), Failure> {
    let wire_name = WireTopicName(Text::from_string(name.to_owned()));
    let make = |version| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
        if version >= STATES_SINCE {
            let state = delete_topics_request::DeleteTopicState::default();
            request.with_topics(vec![state.with_name(Some(wire_name))])
        } else {
            request.with_topic_names(vec![wire_name])
        }
    };
    let response = cluster.request_with(Target::Controller, i16::MAX, make).await?;
    for topic in &response.responses {
        let subject = || format!("the topic '{name}' of this test");
        check(ApiKey::DeleteTopics, topic.error_code, subject, topic.error_message.as_deref())?;
    }
    Ok(())
}

const TIMEOUT_MS: i32 = 30_000;
const PAUSE: Duration = Duration::from_millis(20);
/// Since when DeleteTopics takes ids beside names.
const STATES_SINCE: i16 = 6;
