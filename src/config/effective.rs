//! What is in force: what the broker was started with, and what was altered since.

use std::sync::Arc;

use super::broker::BrokerConfig;
use super::layers::{DynamicConfig, Layers, Overrides, Unapplied};
use super::sources::StaticConfig;
use super::topic::TopicConfig;
use super::{ConfigError, Loaded};

/// The values in force at one moment. A change makes a new one.
#[derive(Clone, Debug)]
pub struct Effective {
    fixed: Arc<StaticConfig>,
    dynamic: DynamicConfig,
    broker: BrokerConfig,
}

impl Effective {
    /// What a broker is started with.
    #[must_use]
    pub fn new(loaded: Loaded) -> Self {
        let Loaded { config, broker, .. } = loaded;
        Self { fixed: Arc::new(config), dynamic: DynamicConfig::default(), broker }
    }

    /// What is in force with these alterations, for all brokers and for this one. What cannot be applied is left out and
    /// given back.
    ///
    /// # Errors
    /// When the values contradict each other: go on with what was in force before.
    pub fn altered(
        &self,
        cluster: &Overrides,
        broker: &Overrides,
    ) -> Result<(Self, Vec<Unapplied>), ConfigError> {
        let (dynamic, unapplied) = DynamicConfig::new(cluster, broker);
        let broker = Layers { fixed: &self.fixed, dynamic: &dynamic }.broker()?;
        Ok((Self { fixed: Arc::clone(&self.fixed), dynamic, broker }, unapplied))
    }

    /// How many names the broker was started with that no key has.
    #[must_use]
    pub fn unknown_key_count(&self) -> usize {
        self.fixed.unknown_key_count()
    }

    /// Where each value comes from.
    #[must_use]
    pub fn layers(&self) -> Layers<'_> {
        Layers { fixed: &self.fixed, dynamic: &self.dynamic }
    }

    /// The broker's values.
    #[must_use]
    pub const fn broker(&self) -> &BrokerConfig {
        &self.broker
    }

    /// The values of a topic with these overrides.
    #[must_use]
    pub fn topic(&self, overrides: &Overrides) -> TopicConfig {
        TopicConfig::resolve(self.layers(), overrides)
    }
}
