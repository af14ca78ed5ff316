//! The layers of a broker's values: its own alterations over the cluster's over what it was started with over the
//! defaults.
//!
//! Owns which of them counts. `broker.rs` and `topic.rs` read typed values through it, `describe.rs` shows it.
//!
//! **Invariants:** a value that is altered at run time hides those of its synonyms in the layers below
//! (`DynamicBrokerConfig.overrideProps` of Kafka); alterations that Kafka would not apply are not in the layers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ConfigError;
use super::key::{Key, Update};
use super::registry::{self, Scope};
use super::sources::{self, Layer, Origin, Setting, StaticConfig};
use super::value::Value;

/// Names and values as they were altered: of one broker, of all brokers, of a topic or of a group.
pub type Overrides = BTreeMap<String, String>;

/// Whom an alteration of broker keys is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// All brokers: the resource BROKER with an empty name.
    Cluster,
    /// One broker.
    Broker,
}

/// What was altered for a broker while the cluster ran.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct DynamicConfig {
    cluster: Layer,
    broker: Layer,
}

/// An alteration that is not applied, with the reason. Shows as one line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unapplied {
    /// The key can only be set at start.
    #[error("`{0}` cannot be changed while the broker runs")]
    ReadOnly(String),
    /// The key can only be set for one listener.
    #[error("`{0}` can only be changed for one listener, with a listener.name.<name>. prefix")]
    NeedsListener(String),
    /// The key can only be set for one broker. The words are those of `DynamicBrokerConfig` of Kafka.
    #[error(
        "Cannot update these configs at default cluster level, broker id must be specified: [{0}]"
    )]
    NeedsBroker(String),
    /// The value is none that the key allows.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
}

impl DynamicConfig {
    /// Takes the alterations as the metadata holds them: for all brokers and for this one. What cannot be applied is
    /// left out and given back.
    #[must_use]
    pub fn new(cluster: &Overrides, broker: &Overrides) -> (Self, Vec<Unapplied>) {
        let mut unapplied = Vec::new();
        let mut layer = |target, overrides: &Overrides| -> Layer {
            let mut layer = Layer::new();
            for (name, raw) in overrides {
                match setting(target, name, raw) {
                    Ok(setting) => {
                        layer.insert(name.clone(), setting);
                    }
                    Err(reason) => unapplied.push(reason),
                }
            }
            layer
        };
        let config = Self {
            cluster: layer(Target::Cluster, cluster),
            broker: layer(Target::Broker, broker),
        };
        (config, unapplied)
    }

    /// With another layer for the target.
    pub(super) fn with(&self, target: Target, layer: Layer) -> Self {
        match target {
            Target::Cluster => Self { cluster: layer, broker: self.broker.clone() },
            Target::Broker => Self { cluster: self.cluster.clone(), broker: layer },
        }
    }
}

/// Reads an alteration of a broker key (`DynamicBrokerConfig.validateConfigs` of Kafka). A name that no key has is
/// taken as it is.
pub(super) fn setting(target: Target, name: &str, raw: &str) -> Result<Setting, Unapplied> {
    let key = registry::find(Scope::Broker, name);
    match key.map(|key| key.update) {
        Some(Update::ReadOnly) => return Err(Unapplied::ReadOnly(name.to_owned())),
        Some(Update::PerListener) => return Err(Unapplied::NeedsListener(name.to_owned())),
        Some(Update::PerBroker) if target == Target::Cluster => {
            return Err(Unapplied::NeedsBroker(name.to_owned()));
        }
        Some(Update::PerBroker | Update::ClusterWide | Update::PerResource) | None => {}
    }
    let value = match key {
        Some(key) => Some(sources::parse(key, raw, &Origin::Altered)?),
        None => {
            check_for_listener(target, name, raw)?;
            None
        }
    };
    Ok(Setting { raw: raw.to_owned(), value, origin: Origin::Altered })
}

/// Checks the form of a key for one listener, if `name` is one. Of these only connection limits can be set for all
/// brokers.
fn check_for_listener(target: Target, name: &str, raw: &str) -> Result<(), Unapplied> {
    const FOR_ALL: [&str; 3] =
        ["max.connections", "max.connection.creation.rate", "num.network.threads"];
    let Some(base) = registry::listener_base(name) else {
        return Ok(());
    };
    if let Some(key) = registry::find(Scope::Broker, base)
        && key.update != Update::ReadOnly
        && let Err(reason) = key.parse(raw)
    {
        return Err(ConfigError::invalid(name, raw, Origin::Altered, reason).into());
    }
    if target == Target::Cluster && !FOR_ALL.contains(&base) {
        return Err(Unapplied::NeedsBroker(name.to_owned()));
    }
    Ok(())
}

/// Everything that a broker's values come from.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// What it was started with.
    pub fixed: &'a StaticConfig,
    /// What was altered since.
    pub dynamic: &'a DynamicConfig,
}

impl<'a> Layers<'a> {
    pub(super) const fn broker_layer(self) -> &'a Layer {
        &self.dynamic.broker
    }

    pub(super) const fn cluster_layer(self) -> &'a Layer {
        &self.dynamic.cluster
    }

    /// What was set for `name`, where it counts.
    pub(super) fn setting(self, name: &str) -> Option<&'a Setting> {
        for layer in [self.broker_layer(), self.cluster_layer()] {
            if let Some(setting) = layer.get(name) {
                return Some(setting);
            }
            let hides =
                |over: &String| registry::family(over).is_some_and(|all| all.contains(&name));
            if layer.keys().any(hides) {
                return None;
            }
        }
        self.fixed.get(name)
    }

    /// The value of a broker key; none for null.
    pub(super) fn value(self, key: &Key) -> Option<Value> {
        match self.setting(key.name) {
            Some(setting) => setting.value.clone(),
            None => key.default_value(self.fixed.is_single_node()),
        }
    }

    /// The text and origin of a broker key's value, for messages.
    pub(super) fn text_and_origin(self, name: &str) -> (String, Origin) {
        match self.setting(name) {
            Some(setting) => (setting.raw.clone(), setting.origin.clone()),
            None => {
                let value = self.named(name);
                (value.map(|value| value.to_string()).unwrap_or_default(), Origin::Default)
            }
        }
    }

    fn named(self, name: &str) -> Option<Value> {
        let key = registry::find(Scope::Broker, name);
        self.value(key.unwrap_or_else(|| panic!("no broker key {name}")))
    }

    pub(super) fn boolean(self, name: &str) -> bool {
        match self.named(name) {
            Some(Value::Boolean(flag)) => flag,
            other => panic!("{name} is no boolean: {other:?}"),
        }
    }

    pub(super) fn integer(self, name: &str) -> i64 {
        self.named(name)
            .and_then(|value| value.as_integer())
            .unwrap_or_else(|| panic!("{name} is no number"))
    }

    pub(super) fn double(self, name: &str) -> f64 {
        match self.named(name) {
            Some(Value::Double(number)) => number,
            other => panic!("{name} is no floating-point number: {other:?}"),
        }
    }

    /// A number that the bounds of its key keep within `T`.
    pub(super) fn number<T: TryFrom<i64>>(self, name: &str) -> T {
        T::try_from(self.integer(name)).unwrap_or_else(|_| panic!("{name} is not bounded"))
    }

    /// Milliseconds; a negative number counts as 0.
    pub(super) fn millis(self, name: &str) -> Duration {
        Duration::from_millis(u64::try_from(self.integer(name)).unwrap_or(0))
    }

    pub(super) fn text(self, name: &str) -> Option<String> {
        match self.named(name) {
            Some(Value::Text(text)) => Some(text),
            None => None,
            other => panic!("{name} is no text: {other:?}"),
        }
    }

    pub(super) fn list(self, name: &str) -> Option<Vec<String>> {
        match self.named(name) {
            Some(Value::List(items)) => Some(items),
            None => None,
            other => panic!("{name} is no list: {other:?}"),
        }
    }
}
