//! Configuration: the registry of keys, the values that were set, and the typed views that the broker works with.
//!
//! Owns Kafka's property names, their merge from file, environment, options and run-time alterations, and what the
//! config APIs show and accept. It does no I/O: callers hand in the file's bytes and the environment's variables, and
//! keep the alterations (in the metadata). It does not know which topics, groups or brokers exist.
//!
//! The way of a value: [`load`] merges what stands as long as the process runs into a [`StaticConfig`];
//! [`DynamicConfig`] holds what was altered since; [`Layers`] puts one over the other and gives a [`BrokerConfig`] or
//! a [`TopicConfig`]. Both are small and are made anew whenever an alteration comes.
//!
//! **Invariants:** outside this folder nobody parses a value; a typed view exists only with valid values.

mod advertised;
mod alter;
mod bounds;
mod broker;
mod cleaner;
mod consumer_groups;
mod describe;
pub mod docs;
mod effective;
mod environment;
mod groups;
mod http;
mod key;
mod layers;
pub mod migrate;
mod listeners;
mod metrics;
mod offsets_topic;
mod transactions;
pub mod properties;
mod quorum;
pub mod registry;
mod replication;
mod sources;
mod start_topics;
mod topic;
mod value;

#[cfg(test)]
mod facts;

pub use advertised::External;
pub use alter::{AlterError, Change, Operation, apply, replacement};
pub use bounds::Bounds;
pub use broker::BrokerConfig;
pub use cleaner::CleanerConfig;
pub use consumer_groups::{Bounded, ConsumerGroupConfig, ConsumerGroupSettings, MigrationPolicy};
pub use describe::{ConfigSource, Described, Synonym};
pub use effective::Effective;
pub use groups::GroupSettings;
pub use http::HttpListener;
pub use key::{Inherited, Key, Literal, OwnDefault, Status, Update};
pub use layers::{DynamicConfig, Layers, Overrides, Target, Unapplied};
pub use listeners::{Listener, ListenerError, SecurityProtocol, host_and_port};
pub use metrics::PartitionLevel;
pub use offsets_topic::OffsetsTopicConfig;
pub use quorum::{QuorumConfig, QuorumTimers, Roles, Voter};
pub use replication::ReplicationConfig;
pub use sources::{Notice, Origin, Setting, SourceFile, Sources, StaticConfig};
pub use start_topics::StartTopic;
pub use topic::{Durability, ThrottledReplicas, TopicCompression, TopicConfig};
pub use transactions::{TransactionSettings, TransactionsTopicConfig};
pub use value::{Kind, Secret, Value, ValueError};

/// What [`load`] gives.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Everything that was set, to put alterations over.
    pub config: StaticConfig,
    /// The typed view, as long as nothing is altered.
    pub broker: BrokerConfig,
    /// What the operator should know, by name of key.
    pub notices: Vec<Notice>,
}

/// Merges the sources and checks the result.
///
/// # Errors
/// When a source is malformed, or a value is none that its key allows or contradicts another.
pub fn load(sources: Sources<'_>) -> Result<Loaded, ConfigError> {
    let (config, notices) = sources::merge(sources)?;
    let dynamic = DynamicConfig::default();
    let layers = Layers { fixed: &config, dynamic: &dynamic };
    let broker = layers.broker()?;
    Ok(Loaded { config, broker, notices })
}

/// Why a configuration cannot be used. Shows as one line that names what to change.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value that its key does not allow, by itself or together with others.
    #[error("invalid value `{value}` for `{key}` ({origin}): {reason}")]
    InvalidValue {
        /// The key.
        key: String,
        /// The value as it was written, or `[hidden]` for a password.
        value: String,
        /// Where it was written.
        origin: Origin,
        /// What is wrong with it.
        reason: ValueError,
    },
    /// What Apache Kafka refuses in words of its own, which are kept.
    #[error("requirement failed: {0}")]
    Requirement(String),
    /// An option without `=`.
    #[error("option -o `{0}` must read key=value")]
    MalformedOption(String),
    /// A file that is not in the format of Java's properties.
    #[error("cannot read {path}")]
    MalformedFile {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: properties::MalformedEscape,
    },
}

impl ConfigError {
    fn invalid(key: &str, raw: &str, origin: Origin, reason: ValueError) -> Self {
        let hidden = registry::find_broker(key).is_some_and(|key| key.kind.is_sensitive());
        Self::InvalidValue {
            key: key.to_owned(),
            value: if hidden { "[hidden]".to_owned() } else { raw.to_owned() },
            origin,
            reason,
        }
    }

    fn rule(key: &str, raw: &str, origin: Origin, rule: impl ToString) -> Self {
        let rule = rule.to_string();
        Self::invalid(key, raw, origin, ValueError::Rule { rule })
    }
}
