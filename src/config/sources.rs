//! Where the static values come from: file, environment and options, each over the one before.
//!
//! Owns the merge and the messages about what was set. It reads no file and no environment: the caller hands both in.
//!
//! **Invariants:** every value in a [`StaticConfig`] of a known key is one that the key allows, and knows where it
//! came from; `node.id` and `broker.id` are equal.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::ConfigError;
use super::environment;
use super::key::{Key, Status};
use super::properties;
use super::registry::{self, Scope};
use super::value::Value;

/// What the operator wrote, each over the one before.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sources<'a> {
    /// The file of `--config`.
    pub file: Option<SourceFile<'a>>,
    /// All variables of the environment, names and values; those that concern no key are passed over.
    pub environment: &'a [(String, String)],
    /// The arguments of `-o`: `key=value` each; of two for one key the later counts.
    pub options: &'a [String],
}

/// A file in the format of `server.properties`.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    /// The path, as messages name it.
    pub path: &'a str,
    /// The content.
    pub bytes: &'a [u8],
}

/// Where a value came from. Shows as messages name it: `server.properties:12`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the file.
    File {
        /// The path.
        path: Arc<str>,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// An option on the command line.
    Option,
    /// An alteration while the cluster ran.
    Altered,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Option => f.write_str("option -o"),
            Self::Altered => f.write_str("altered at run time"),
        }
    }
}

/// One value that somebody set.
#[derive(Clone, PartialEq)]
pub struct Setting {
    /// As it was written.
    pub raw: String,
    /// As its key reads it; none if no key of the registry has this very name.
    pub value: Option<Value>,
    /// Where it came from.
    pub origin: Origin,
}

/// Without the value: it may be a secret.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Settings by name.
pub(super) type Layer = BTreeMap<String, Setting>;

/// The values that stand as long as the process runs.
#[derive(Clone, PartialEq, Debug)]
pub struct StaticConfig {
    settings: Layer,
    single_node: bool,
    unknown_keys: usize,
}

impl StaticConfig {
    /// What was set for `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.settings.get(name)
    }

    /// Everything that was set, by name; `broker.id` and `node.id` are both set if one is.
    #[must_use]
    pub const fn settings(&self) -> &BTreeMap<String, Setting> {
        &self.settings
    }

    /// How many names were set that no key has.
    #[must_use]
    pub const fn unknown_key_count(&self) -> usize {
        self.unknown_keys
    }

    /// Whether this broker is a cluster of its own, so that some defaults differ (see `docs/CONFIG.md`).
    #[must_use]
    pub const fn is_single_node(&self) -> bool {
        self.single_node
    }
}

/// Something about the configuration that the operator should know. Shows as one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// No key has this name. It is kept, as Kafka keeps it, and nothing reads it.
    UnknownKey {
        /// The name.
        name: String,
        /// Where it was set.
        origin: Origin,
        /// The key that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// The key has no meaning in Ottla.
    Inert {
        /// The name.
        name: String,
        /// Where it was set.
        origin: Origin,
    },
    /// The key is about ZooKeeper.
    ZooKeeper {
        /// The name.
        name: String,
        /// Where it was set.
        origin: Origin,
    },
    /// The feature of the key does not exist yet.
    NotYet {
        /// The name.
        name: String,
        /// Where it was set.
        origin: Origin,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { name, origin, suggestion } => {
                write!(f, "unknown key `{name}` ({origin})")?;
                suggestion.map_or(Ok(()), |meant| write!(f, ", did you mean `{meant}`?"))
            }
            Self::Inert { name, origin } => {
                write!(f, "`{name}` ({origin}) is accepted but has no meaning here")
            }
            Self::ZooKeeper { name, origin } => {
                write!(
                    f,
                    "`{name}` ({origin}) is not needed: there is no ZooKeeper here, so take the setting out, and its service too"
                )
            }
            Self::NotYet { name, origin } => {
                write!(f, "`{name}` ({origin}) is accepted but does nothing yet")
            }
        }
    }
}

/// Merges the sources.
pub(super) fn merge(sources: Sources<'_>) -> Result<(StaticConfig, Vec<Notice>), ConfigError> {
    let mut entries = Vec::new();
    if let Some(file) = sources.file {
        read_file(file, &mut entries)?;
    }
    for (variable, name, value) in environment::read(sources.environment) {
        let origin = Origin::Variable(variable.to_owned());
        entries.push((name, value, origin));
    }
    read_options(sources.options, &mut entries)?;

    let mut settings = Layer::new();
    for (name, raw, origin) in entries {
        let value = match registry::find(Scope::Broker, &name) {
            Some(key) => Some(parse(key, &raw, &origin)?),
            None => None,
        };
        settings.insert(name, Setting { raw, value, origin });
    }
    unite_ids(&mut settings)?;
    let single_node = is_single_node(&settings);
    let notices = notices(&settings);
    let is_unknown = |notice: &&Notice| matches!(notice, Notice::UnknownKey { .. });
    let unknown_keys = notices.iter().filter(is_unknown).count();
    let config = StaticConfig { settings, single_node, unknown_keys };
    Ok((config, notices))
}

/// Reads a value and says where it stood if it is none.
pub(super) fn parse(key: &Key, raw: &str, origin: &Origin) -> Result<Value, ConfigError> {
    key.parse(raw).map_err(|reason| ConfigError::invalid(key.name, raw, origin.clone(), reason))
}

type Entry = (String, String, Origin);

fn read_file(file: SourceFile<'_>, entries: &mut Vec<Entry>) -> Result<(), ConfigError> {
    let path: Arc<str> = file.path.into();
    let properties = properties::parse(file.bytes)
        .map_err(|source| ConfigError::MalformedFile { path: file.path.to_owned(), source })?;
    entries.extend(properties.into_iter().map(|property| {
        let origin = Origin::File { path: path.clone(), line: property.line };
        (property.key, property.value, origin)
    }));
    Ok(())
}

fn read_options(options: &[String], entries: &mut Vec<Entry>) -> Result<(), ConfigError> {
    for option in options {
        let Some((name, value)) = option.split_once('=') else {
            return Err(ConfigError::MalformedOption(option.clone()));
        };
        entries.push((name.trim().to_owned(), value.to_owned(), Origin::Option));
    }
    Ok(())
}

/// Sets `node.id` or `broker.id` to the other, as `AbstractKafkaConfig.populateSynonyms` of Kafka does.
fn unite_ids(settings: &mut Layer) -> Result<(), ConfigError> {
    match (settings.get("node.id"), settings.get("broker.id")) {
        (Some(node), None) => {
            let node = node.clone();
            settings.insert("broker.id".to_owned(), node);
        }
        (None, Some(broker)) => {
            let key = registry::find(Scope::Broker, "node.id").expect("a key of the registry");
            let value = parse(key, &broker.raw, &broker.origin)?;
            let node = Setting { value: Some(value), ..broker.clone() };
            settings.insert("node.id".to_owned(), node);
        }
        (Some(node), Some(broker)) if node.value != broker.value => {
            let rule = format!("must be that of node.id, {} ({})", node.raw, node.origin);
            return Err(ConfigError::rule("broker.id", &broker.raw, broker.origin.clone(), rule));
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    Ok(())
}

/// Whether the settings describe a cluster of one: both roles, and no voters but this node.
fn is_single_node(settings: &Layer) -> bool {
    let items = |name| match settings.get(name).map(|setting| &setting.value) {
        Some(Some(Value::List(items))) => &items[..],
        Some(_) | None => &[],
    };
    let node = registry::find(Scope::Broker, "node.id").and_then(|key| key.default_value(true));
    let node = settings.get("node.id").map_or(node, |setting| setting.value.clone());
    let is_self = |voter: &String| {
        let id = voter.split_once('@').and_then(|(id, _)| id.parse().ok());
        id.map(Value::Int) == node
    };
    items("controller.quorum.voters").iter().all(is_self)
        && items("controller.quorum.bootstrap.servers").len() <= 1
        && items("process.roles").len() != 1
}

fn notices(settings: &Layer) -> Vec<Notice> {
    settings
        .iter()
        .filter_map(|(name, setting)| {
            let (name, origin) = (name.clone(), setting.origin.clone());
            let key = registry::find(Scope::Broker, &name);
            match key.map(|key| key.status) {
                Some(Status::Active) => None,
                Some(Status::NotYet) => Some(Notice::NotYet { name, origin }),
                Some(Status::Inert) => Some(Notice::Inert { name, origin }),
                None if name.starts_with("zookeeper.") => Some(Notice::ZooKeeper { name, origin }),
                None if registry::is_retired(&name) => Some(Notice::Inert { name, origin }),
                None if registry::find_broker(&name).is_some() => {
                    Some(Notice::NotYet { name, origin })
                }
                None => {
                    Some(Notice::UnknownKey { suggestion: registry::suggest(&name), name, origin })
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
