//! The registry: every broker, topic and group key of Apache Kafka 4.3.1 and Ottla's own, in one set of tables.
//!
//! Owns what is known about keys and how a name is found: exactly, folded, by listener prefix, or nearly. It knows no
//! values that anyone has set.
//!
//! **Invariants**, each a test: no two keys of a scope share a name; no two broker keys share a folded name; every
//! default is a value that its key allows; type, default, bounds and update mode are those of Kafka but for the
//! differences listed in the test.
//!
//! A table entry reads: status, name, type, Kafka's default (none: null), then bounds and other properties, each a
//! function of [`Key`]. Its doc comment is the key's documentation; active keys have one.

/// One table of keys. See the module documentation.
macro_rules! table {
    (
        $table:ident: $scope:ident, $title:literal;
        $(
            $(#[doc = $doc:literal])*
            $status:ident $name:literal: $kind:ident $(= $default:expr)?
                $(, $property:ident $(($($argument:expr),*))?)*;
        )*
    ) => {
        #[doc = $title]
        pub(super) static $table: super::Table = super::Table {
            title: $title,
            scope: super::Scope::$scope,
            keys: &[$(
                crate::config::key::Key::new(
                    $name,
                    crate::config::value::Kind::$kind,
                    literal!($kind $($default)?),
                )
                .described(crate::config::key::Status::$status, concat!($($doc),*))
                .updated(super::Scope::$scope.update())
                $(.$property($($($argument),*)?))*,
            )*],
        };
    };
}

/// A default of the type named first.
macro_rules! literal {
    ($kind:ident) => {
        crate::config::key::Literal::Null
    };
    (Boolean $default:expr) => {
        crate::config::key::Literal::Boolean($default)
    };
    (Double $default:expr) => {
        crate::config::key::Literal::Double($default)
    };
    (Int $default:expr) => {
        crate::config::key::Literal::Integer($default)
    };
    (Short $default:expr) => {
        crate::config::key::Literal::Integer($default)
    };
    (Long $default:expr) => {
        crate::config::key::Literal::Integer($default)
    };
    ($text:ident $default:expr) => {
        crate::config::key::Literal::Text($default)
    };
}

mod checks;
mod cluster;
mod coordinators;
mod group;
mod logs;
mod network;
mod operations;
mod ottla;
mod remote;
mod security;
mod topic;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub(super) use checks::is_host;

use super::key::{Key, Update};

/// What a key belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// Brokers, and what stands in `server.properties`.
    Broker,
    /// Topics.
    Topic,
    /// Groups.
    Group,
}

impl Scope {
    /// Who may change a key of this scope unless its entry says otherwise.
    const fn update(self) -> Update {
        match self {
            Self::Broker => Update::ReadOnly,
            Self::Topic | Self::Group => Update::PerResource,
        }
    }
}

/// Keys that belong together.
#[derive(Debug)]
pub struct Table {
    /// The heading in the documentation.
    pub title: &'static str,
    /// What all its keys belong to.
    pub scope: Scope,
    /// The keys, by name.
    pub keys: &'static [Key],
}

/// All tables, in the order of the documentation.
pub static TABLES: [&Table; 10] = [
    &network::NETWORK,
    &logs::LOGS,
    &topic::TOPIC,
    &cluster::CLUSTER,
    &coordinators::COORDINATORS,
    &group::GROUP,
    &security::SECURITY,
    &operations::OPERATIONS,
    &remote::REMOTE,
    &ottla::OTTLA,
];

static INDEX: LazyLock<BTreeMap<(Scope, &str), &Key>> = LazyLock::new(|| {
    TABLES
        .iter()
        .flat_map(|table| table.keys.iter().map(|key| ((table.scope, key.name), key)))
        .collect()
});

static FOLDED: LazyLock<BTreeMap<String, &Key>> =
    LazyLock::new(|| keys(Scope::Broker).map(|key| (fold(key.name), key)).collect());

/// The key of this name.
#[must_use]
pub fn find(scope: Scope, name: &str) -> Option<&'static Key> {
    INDEX.get(&(scope, name)).copied()
}

/// The keys of a scope, by name.
pub fn keys(scope: Scope) -> impl Iterator<Item = &'static Key> {
    INDEX.range((scope, "")..).take_while(move |((of, _), _)| *of == scope).map(|(_, key)| *key)
}

/// The broker key whose name is this one when both are folded.
#[must_use]
pub fn find_folded(name: &str) -> Option<&'static Key> {
    FOLDED.get(&fold(name)).copied()
}

/// A name in lower case with every run of `.`, `_` and `-` as one dot.
///
/// The ways of writing a key as a variable differ in what `_`, `__` and `___` stand for, and in the end they need not
/// agree: folded, Kafka's keys remain different.
#[must_use]
pub fn fold(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    for character in name.chars() {
        let character = if matches!(character, '_' | '-') { '.' } else { character };
        if character != '.' || !folded.ends_with('.') {
            folded.extend(character.to_lowercase());
        }
    }
    folded
}

/// The name of which `listener.name.<name>.<this>` is the form for one listener, and whether there is one at all.
///
/// A SASL mechanism may stand in between: `listener.name.l.plain.sasl.jaas.config` (`DynamicBrokerConfig` of Kafka).
#[must_use]
pub fn listener_base(name: &str) -> Option<&str> {
    const WITH_MECHANISM: [&str; 5] = [
        "sasl.jaas.config",
        "sasl.login.callback.handler.class",
        "sasl.login.class",
        "sasl.server.callback.handler.class",
        "connections.max.reauth.ms",
    ];
    let (_, base) = name.strip_prefix("listener.name.")?.split_once('.')?;
    let plain = WITH_MECHANISM.into_iter().find(|plain| base.ends_with(plain));
    Some(plain.unwrap_or(base))
}

/// The broker key that governs `name`: the one of this name, or of which it is the form for one listener.
#[must_use]
pub fn find_broker(name: &str) -> Option<&'static Key> {
    find(Scope::Broker, name)
        .or_else(|| listener_base(name).and_then(|base| find(Scope::Broker, base)))
}

/// The broker keys of which `name` is the one that counts first or another, when there are several for one thing.
#[must_use]
pub fn family(name: &str) -> Option<&'static [&'static str]> {
    const FAMILIES: [&[&str]; 3] = [
        &["log.roll.ms", "log.roll.hours"],
        &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    ];
    if name == "log.flush.interval.ms" {
        return Some(&["log.flush.interval.ms", "log.flush.scheduler.interval.ms"]);
    }
    FAMILIES.into_iter().find(|family| family.contains(&name))
}

/// The names under which a broker's value for `name` may have been set, the one that counts first
/// (`DynamicBrokerConfig.brokerConfigSynonyms` of Kafka).
#[must_use]
pub fn synonyms(name: &str) -> Vec<&str> {
    match family(name) {
        Some(family) => family.to_vec(),
        None => std::iter::once(name).chain(listener_base(name)).collect(),
    }
}

/// Whether this was a broker key of an earlier Kafka and went away, mostly with ZooKeeper.
#[must_use]
pub fn is_retired(name: &str) -> bool {
    const NAMES: [&str; 19] = [
        "advertised.host.name",
        "advertised.port",
        "auto.include.jmx.reporter",
        "broker.id.generation.enable",
        "control.plane.listener.name",
        "controlled.shutdown.max.retries",
        "controlled.shutdown.retry.backoff.ms",
        "delegation.token.master.key",
        "eligible.leader.replicas.enable",
        "host.name",
        "inter.broker.protocol.version",
        "log.message.downconversion.enable",
        "log.message.format.version",
        "log.message.timestamp.difference.max.ms",
        "offsets.commit.required.acks",
        "port",
        "quota.consumer.default",
        "quota.producer.default",
        "reserved.broker.max.id",
    ];
    const PREFIXES: [&str; 2] = ["password.encoder.", "zookeeper."];
    NAMES.binary_search(&name).is_ok() || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The broker key that was probably meant by an unknown `name`.
#[must_use]
pub fn suggest(name: &str) -> Option<&'static str> {
    // A topic's key in the broker's file: the broker has it under another name.
    if let Some(topic) = find(Scope::Topic, name).and_then(|key| key.inherits.first()) {
        return Some(topic.name);
    }
    let name = fold(name);
    if name.len() > NAME_LENGTH_MAX {
        return None;
    }
    let within = 1 + name.len() / 6;
    FOLDED
        .iter()
        .filter(|(folded, _)| folded.len().abs_diff(name.len()) <= within)
        .map(|(folded, key)| (distance(folded, &name), key.name))
        .min()
        .filter(|(distance, _)| *distance <= within)
        .map(|(_, name)| name)
}

/// No key is nearly as long; it bounds the work of [`suggest`].
const NAME_LENGTH_MAX: usize = 100;

/// How many characters must be put in, taken out or replaced to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, character) in a.chars().enumerate() {
        let mut line = Vec::with_capacity(above.len());
        line.push(row + 1);
        for (column, other) in b.iter().enumerate() {
            let replaced = above[column] + usize::from(character != *other);
            line.push(replaced.min(above[column + 1] + 1).min(line[column] + 1));
        }
        above = line;
    }
    above[b.len()]
}

#[cfg(test)]
mod tests;
