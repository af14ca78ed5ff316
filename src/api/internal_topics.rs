//! The internal topics that coordinators keep their state in: which partition a key belongs to, and making them when they
//! are first needed.

use std::collections::BTreeMap;

use super::context::RequestContext;
use super::create_topics::placement;
use crate::cluster::{ClusterImage, Command, NewTopic};
use crate::config::BrokerConfig;
use crate::coordinator::partition_of;
use crate::model::{ErrorCode, PartitionId, TopicId, TopicName};

/// The topic that holds groups and their offsets (`Topic.GROUP_METADATA_TOPIC_NAME`).
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The topic that holds transactions (`Topic.TRANSACTION_STATE_TOPIC_NAME`).
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// An internal topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InternalTopic {
    /// Groups and their offsets.
    Groups,
    /// Transactions.
    Transactions,
}

impl InternalTopic {
    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Groups => OFFSETS_TOPIC,
            Self::Transactions => TRANSACTIONS_TOPIC,
        }
    }

    /// With how many partitions it is made.
    const fn partition_count(self, config: &BrokerConfig) -> i32 {
        match self {
            Self::Groups => config.offsets_topic.partition_count,
            Self::Transactions => config.transactions_topic.partition_count,
        }
    }

    /// With how many replicas it is made.
    const fn replication_factor(self, config: &BrokerConfig) -> i16 {
        match self {
            Self::Groups => config.offsets_topic.replication_factor,
            Self::Transactions => config.transactions_topic.replication_factor,
        }
    }

    /// With which configs it is made.
    fn configs(self, config: &BrokerConfig) -> BTreeMap<String, String> {
        let configs = match self {
            Self::Groups => vec![
                ("cleanup.policy", "compact".to_owned()),
                ("compression.type", "producer".to_owned()),
                ("segment.bytes", config.offsets_topic.segment_bytes.to_string()),
            ],
            Self::Transactions => {
                let topic = &config.transactions_topic;
                vec![
                    ("cleanup.policy", "compact".to_owned()),
                    ("compression.type", "uncompressed".to_owned()),
                    ("min.insync.replicas", topic.min_insync_replicas.to_string()),
                    ("segment.bytes", topic.segment_bytes.to_string()),
                    ("unclean.leader.election.enable", "false".to_owned()),
                ]
            }
        };
        configs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The partition of a key, as it is or will be.
    pub(super) fn partition_of(
        self,
        context: &RequestContext,
        image: &ClusterImage,
        key: &str,
    ) -> PartitionId {
        let count = image.topic(self.name()).map(|topic| topic.partitions.len());
        let configured = self.partition_count(context.settings().broker());
        let count = count.and_then(|count| i32::try_from(count).ok()).unwrap_or(configured);
        partition_of(key, count)
    }

    /// Makes the topic, if it is not there.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE if it cannot be made. The reason is logged.
    pub(super) async fn ensure(self, context: &RequestContext) -> Result<(), ErrorCode> {
        let (image, settings) = (context.image(), context.settings());
        if image.topic(self.name()).is_some() {
            return Ok(());
        }
        let failed = |reason: String| {
            tracing::warn!(topic = self.name(), %reason, "cannot create an internal topic");
            ErrorCode::CoordinatorNotAvailable
        };
        let config = settings.broker();
        let count = usize::try_from(self.partition_count(config)).unwrap_or(0);
        let assignments = placement(context, &image, count, self.replication_factor(config))
            .map_err(|refusal| failed(refusal.message))?;
        let topic = NewTopic {
            name: TopicName::new(self.name()).expect("the name is legal"),
            id: TopicId(context.services.env.rng.uuid()),
            assignments,
            configs: self.configs(config),
        };
        let outcomes = context.propose(vec![Command::CreateTopic(topic)]).await;
        match outcomes.map(|mut outcomes| outcomes.pop()) {
            Ok(Some(Err(refusal))) if refusal.code != ErrorCode::TopicAlreadyExists => {
                Err(failed(refusal.message))
            }
            Ok(_) => Ok(()),
            Err(code) => Err(failed(code.to_string())),
        }
    }
}
