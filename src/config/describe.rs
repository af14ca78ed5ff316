//! What DescribeConfigs shows of brokers, topics and groups (`ConfigHelper` of Kafka).
//!
//! Owns which keys are listed, the value shown for each, and the places it could have come from. Whether a resource
//! exists, and which of its keys were asked for, is the handler's.
//!
//! A name that is set but known to no key is listed as Kafka lists it: of unknown type, sensitive, hence without value.

use super::key::{Key, Update};
use super::layers::{Layers, Overrides};
use super::registry::{self, Scope};
use super::sources::Layer;
use super::value::Kind;

/// Where a value comes from: the `ConfigSource` field of DescribeConfigs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum ConfigSource {
    /// The topic's own.
    Topic = 1,
    /// Altered for this broker.
    DynamicBroker = 2,
    /// Altered for all brokers.
    DynamicDefaultBroker = 3,
    /// Set when the broker started.
    StaticBroker = 4,
    /// Set by nobody.
    Default = 5,
    /// The group's own.
    Group = 8,
}

impl ConfigSource {
    /// The number on the wire.
    #[must_use]
    pub const fn id(self) -> i8 {
        self as i8
    }
}

/// One key with its value.
#[derive(Clone, PartialEq, Debug)]
pub struct Described {
    /// The name.
    pub name: String,
    /// The value; none for null and for what is sensitive.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it can only be set when a broker starts.
    pub read_only: bool,
    /// Whether its value is never shown.
    pub sensitive: bool,
    /// The type; none if no key has this name.
    pub kind: Option<Kind>,
    /// Every place from which the value could come, the one that counts first.
    pub synonyms: Vec<Synonym>,
    /// What it means; none where there is no text.
    pub documentation: Option<&'static str>,
}

impl Described {
    /// The type as the `ConfigType` field has it: 0 stands for unknown.
    #[must_use]
    pub const fn kind_id(&self) -> i8 {
        match self.kind {
            Some(kind) => kind.id(),
            None => 0,
        }
    }

    /// An entry that is not read-only. The values of sensitive keys, and of names that no key knows, are taken out.
    fn new(
        name: &str,
        key: Option<&'static Key>,
        value: Option<String>,
        synonyms: Vec<Synonym>,
    ) -> Self {
        let sensitive = key.is_none_or(|key| key.kind.is_sensitive());
        let hide = |value: Option<String>| value.filter(|_| !sensitive);
        let synonyms: Vec<Synonym> = synonyms
            .into_iter()
            .map(|synonym| Synonym { value: hide(synonym.value), ..synonym })
            .collect();
        Self {
            name: name.to_owned(),
            value: hide(value),
            source: synonyms.first().map_or(ConfigSource::Default, |first| first.source),
            read_only: false,
            sensitive,
            kind: key.map(|key| key.kind),
            synonyms,
            documentation: key
                .filter(|key| key.name == name)
                .map(|key| key.documentation().unwrap_or(NO_EFFECT)),
        }
    }
}

/// What is said of a key that is known by its name and does nothing.
const NO_EFFECT: &str = "Accepted, and without effect.";

/// A place from which a value could come.
#[derive(Clone, PartialEq, Debug)]
pub struct Synonym {
    /// The name there, which may be another one.
    pub name: String,
    /// The value there, as it was written; none for what is sensitive.
    pub value: Option<String>,
    /// The place.
    pub source: ConfigSource,
}

impl Layers<'_> {
    /// The keys of this broker, by name: all listed ones and whatever else is set.
    #[must_use]
    pub fn describe_broker(self) -> Vec<Described> {
        let layers = [self.broker_layer(), self.cluster_layer(), self.fixed.settings()];
        let set = layers.into_iter().flat_map(Layer::keys);
        names_to_list(Scope::Broker, set.map(String::as_str))
            .into_iter()
            .map(|name| {
                let value = match registry::find(Scope::Broker, name) {
                    Some(key) if key.listed => self.value(key).map(|value| value.to_string()),
                    Some(_) | None => self.setting(name).map(|setting| setting.raw.clone()),
                };
                let key = registry::find_broker(name);
                Described {
                    read_only: is_read_only(name),
                    ..Described::new(name, key, value, self.broker_synonyms(name))
                }
            })
            .collect()
    }

    /// What is altered for all brokers, by name: the resource BROKER with an empty name.
    #[must_use]
    pub fn describe_cluster(self) -> Vec<Described> {
        self.cluster_layer()
            .iter()
            .map(|(name, setting)| {
                let value = Some(setting.raw.clone());
                let synonym = Synonym {
                    name: name.clone(),
                    value: value.clone(),
                    source: ConfigSource::DynamicDefaultBroker,
                };
                let key = registry::find_broker(name);
                Described {
                    read_only: is_read_only(name),
                    ..Described::new(name, key, value, vec![synonym])
                }
            })
            .collect()
    }

    /// The keys of a topic with these overrides, by name.
    #[must_use]
    pub fn describe_topic(self, overrides: &Overrides) -> Vec<Described> {
        self.describe_resource(Scope::Topic, ConfigSource::Topic, overrides)
    }

    /// The keys of a group with these overrides, by name.
    #[must_use]
    pub fn describe_group(self, overrides: &Overrides) -> Vec<Described> {
        self.describe_resource(Scope::Group, ConfigSource::Group, overrides)
    }

    fn describe_resource(
        self,
        scope: Scope,
        own: ConfigSource,
        overrides: &Overrides,
    ) -> Vec<Described> {
        let set = overrides.keys().map(String::as_str);
        names_to_list(scope, set)
            .into_iter()
            .map(|name| {
                let key = registry::find(scope, name);
                let value = match key {
                    Some(key) => self.inherited_or_set(key, overrides).map(|v| v.to_string()),
                    None => overrides.get(name).cloned(),
                };
                let set_here = overrides.contains_key(name).then(|| Synonym {
                    name: name.to_owned(),
                    value: value.clone(),
                    source: own,
                });
                let inherited =
                    key.map_or_else(Vec::new, |key| self.inherited_synonyms(scope, key));
                let synonyms = set_here.into_iter().chain(inherited).collect();
                Described::new(name, key, value, synonyms)
            })
            .collect()
    }

    fn inherited_synonyms(self, scope: Scope, key: &Key) -> Vec<Synonym> {
        match key.inherits.first() {
            Some(from) => self.broker_synonyms(from.name),
            // Kafka lists the default of a group's key, but not of a topic's.
            None if scope == Scope::Group => self.default_synonym(key).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The places of a broker key's value. They begin with one that has the key's own name: what is set only under
    /// another name is not listed.
    fn broker_synonyms(self, name: &str) -> Vec<Synonym> {
        let names = registry::synonyms(name);
        let layers = [
            (self.broker_layer(), ConfigSource::DynamicBroker),
            (self.cluster_layer(), ConfigSource::DynamicDefaultBroker),
            (self.fixed.settings(), ConfigSource::StaticBroker),
        ];
        let set = layers.into_iter().flat_map(|(layer, source)| {
            names.iter().filter_map(move |&name| {
                layer.get(name).map(|setting| Synonym {
                    name: name.to_owned(),
                    value: Some(setting.raw.clone()),
                    source,
                })
            })
        });
        let defaults = names
            .iter()
            .filter_map(|name| registry::find(Scope::Broker, name))
            // The replication throttles are not among the keys with which a broker of Kafka starts.
            .filter(|key| key.listed || key.update == Update::ReadOnly)
            .filter_map(|key| self.default_synonym(key));
        set.chain(defaults).skip_while(|synonym| synonym.name != name).collect()
    }

    fn default_synonym(self, key: &Key) -> Option<Synonym> {
        let default = key.default_value(self.fixed.is_single_node());
        default.map(|value| Synonym {
            name: key.name.to_owned(),
            value: Some(value.to_string()),
            source: ConfigSource::Default,
        })
    }
}

/// The listed keys of a scope and what else is set, by name.
fn names_to_list<'a>(scope: Scope, set: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let listed = registry::keys(scope).filter(|key| key.listed);
    let mut names: Vec<&str> = set.chain(listed.map(|key| key.name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn is_read_only(name: &str) -> bool {
    registry::find(Scope::Broker, name).is_none_or(|key| key.update == Update::ReadOnly)
}

#[cfg(test)]
mod tests;
