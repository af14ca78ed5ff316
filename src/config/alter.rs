//! What AlterConfigs, IncrementalAlterConfigs and CreateTopics accept (`ConfigAdminManager`,
//! `ControllerConfigurationValidator` and `LogConfig.validate` of Kafka).
//!
//! Owns the meaning of the operations and the checks of what comes out, with the error codes of Kafka. Whether the
//! resource exists, whether its name is one, and whether a resource comes twice is the handler's.

use std::collections::BTreeSet;

use crate::model::ErrorCode;

use super::key::Key;
use super::layers::{self, Layers, Overrides, Target};
use super::registry::{self, Scope};
use super::sources::Layer;
use super::value::{Kind, Value};

/// Why an alteration is refused, as the response tells it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct AlterError {
    /// INVALID_CONFIG or INVALID_REQUEST.
    pub code: ErrorCode,
    /// The reason, for people.
    pub message: String,
}

impl AlterError {
    fn config(message: impl ToString) -> Self {
        Self { code: ErrorCode::InvalidConfig, message: message.to_string() }
    }

    fn request(message: impl ToString) -> Self {
        Self { code: ErrorCode::InvalidRequest, message: message.to_string() }
    }
}

/// The operations of IncrementalAlterConfigs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// The value takes the place of what is there.
    Set,
    /// The key is no longer set.
    Delete,
    /// The items of the value come to the end of the list, unless they are in it.
    Append,
    /// The items of the value leave the list, each once.
    Subtract,
}

impl Operation {
    /// The operation with this number on the wire, if there is one.
    #[must_use]
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// One change of a resource.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The name of the key.
    pub name: &'a str,
    /// What is done.
    pub operation: Operation,
    /// With what; a deletion needs none.
    pub value: Option<&'a str>,
}

/// What a resource's overrides are after these changes (IncrementalAlterConfigs). The outcome is yet to be checked.
///
/// A list that is not set is changed from its default.
///
/// # Errors
/// INVALID_REQUEST if a name comes twice or a value is missing, INVALID_CONFIG if something other than a list is
/// appended to or subtracted from.
pub fn apply(
    scope: Scope,
    current: &Overrides,
    changes: &[Change<'_>],
) -> Result<Overrides, AlterError> {
    check_names(changes.iter().map(|change| change.name))?;
    let mut overrides = current.clone();
    for change in changes {
        let name = change.name;
        if change.operation == Operation::Delete {
            overrides.remove(name);
            continue;
        }
        let value = given(name, change.value)?;
        let value = match change.operation {
            Operation::Set | Operation::Delete => value.to_owned(),
            Operation::Append | Operation::Subtract => {
                let key = registry::find(scope, name).filter(|key| key.kind == Kind::List);
                let key = key.ok_or_else(|| AlterError::config(format!("`{name}` is no list")))?;
                changed_list(key, current.get(name), change.operation, value)
            }
        };
        overrides.insert(name.to_owned(), value);
    }
    Ok(overrides)
}

/// What a resource's overrides are when these take the place of all others (AlterConfigs). The outcome is yet to be
/// checked.
///
/// # Errors
/// INVALID_REQUEST if a name comes twice or a value is missing.
pub fn replacement<'a>(pairs: &[(&'a str, Option<&'a str>)]) -> Result<Overrides, AlterError> {
    check_names(pairs.iter().map(|(name, _)| *name))?;
    pairs
        .iter()
        .map(|(name, value)| Ok(((*name).to_owned(), given(name, *value)?.to_owned())))
        .collect()
}

fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), AlterError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(AlterError::request(format!("`{name}` comes twice")));
        }
    }
    Ok(())
}

fn given<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, AlterError> {
    value.ok_or_else(|| AlterError::request(format!("`{name}` has no value")))
}

/// A list with items appended or subtracted (`ConfigurationControlManager.incrementalAlterConfigResource` of Kafka).
fn changed_list(key: &Key, current: Option<&String>, operation: Operation, value: &str) -> String {
    let default = key.default_value(false).map(|value| value.to_string());
    let current = current.or(default.as_ref()).map_or("", String::as_str);
    let mut items: Vec<&str> = current.split(',').filter(|item| !item.is_empty()).collect();
    let mut present: BTreeSet<&str> = items.iter().copied().collect();
    // Java's `split`, used here by Kafka, drops empty items at the end.
    let changed = value.trim_end_matches(',').split(',');
    if operation == Operation::Append {
        items.extend(changed.filter(|item| present.insert(item)));
    } else {
        for item in changed {
            if let Some(index) = items.iter().position(|other| *other == item) {
                items.remove(index);
            }
        }
    }
    items.join(",")
}

/// The longest value of an override, in UTF-16 units (`ConfigurationControlManager` of Kafka).
const VALUE_LENGTH_MAX: usize = 32_767;

fn check_lengths(overrides: &Overrides) -> Result<(), AlterError> {
    for (name, value) in overrides {
        if value.encode_utf16().count() > VALUE_LENGTH_MAX {
            let message = format!("the value of `{name}` is longer than {VALUE_LENGTH_MAX}");
            return Err(AlterError::config(message));
        }
    }
    Ok(())
}

impl Layers<'_> {
    /// Checks what is to be the overrides of a topic, a new one included.
    ///
    /// # Errors
    /// INVALID_CONFIG for an unknown name, a value that its key does not allow, and values that contradict each
    /// other, those inherited included.
    pub fn check_topic(self, overrides: &Overrides) -> Result<(), AlterError> {
        check_resource(Scope::Topic, overrides)?;
        let value = |name| {
            registry::find(Scope::Topic, name).and_then(|key| self.inherited_or_set(key, overrides))
        };
        let integer = |name| value(name).and_then(|value| value.as_integer());
        let (min, max) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
        if let (Some(min_lag), Some(max_lag)) = (integer(min), integer(max))
            && min_lag > max_lag
        {
            let message = format!("`{min}` ({min_lag}) is more than `{max}` ({max_lag})");
            return Err(AlterError::config(message));
        }
        if value("remote.storage.enable") == Some(Value::Boolean(true)) {
            return Err(AlterError::config("tiered storage is not available"));
        }
        Ok(())
    }

    /// Checks what is to be the overrides of a group.
    ///
    /// # Errors
    /// INVALID_CONFIG for an unknown name, a value that its key does not allow or that is beyond the limits of the
    /// broker, and a session timeout that is not longer than the heartbeat interval. Kafka's words for the limits are
    /// kept: they name the key of the broker that an operator has to look at.
    pub fn check_group(self, overrides: &Overrides) -> Result<(), AlterError> {
        check_resource(Scope::Group, overrides)?;
        let value = |name: &str| {
            let key = registry::find(Scope::Group, name).expect("a key of the registry");
            self.inherited_or_set(key, overrides).and_then(|value| value.as_integer())
        };
        for (name, min, max) in GROUP_LIMITS {
            // Kafka looks at the intervals of assignment only where a group sets them.
            if name.ends_with(".assignment.interval.ms") && !overrides.contains_key(name) {
                continue;
            }
            let min = min.map(|limit| (limit, self.integer(limit)));
            let max = (max, self.integer(max));
            if let (Some(value), Some((limit, min))) = (value(name), min)
                && value < min
            {
                let message = format!("{name} must be greater than or equal to {limit}");
                return Err(AlterError::config(message));
            }
            if let (Some(value), (limit, max)) = (value(name), max)
                && value > max
            {
                let message = format!("{name} must be less than or equal to {limit}");
                return Err(AlterError::config(message));
            }
        }
        for kind in ["consumer", "share", "streams"] {
            let session = format!("{kind}.session.timeout.ms");
            let heartbeat = format!("{kind}.heartbeat.interval.ms");
            if value(&session) <= value(&heartbeat) {
                let message = format!("{session} must be greater than {heartbeat}");
                return Err(AlterError::config(message));
            }
        }
        Ok(())
    }

    /// Checks what is to be the overrides of this broker or of all; the layers hold those of the other.
    ///
    /// # Errors
    /// INVALID_REQUEST for a key that cannot be changed at run time or not for this target, a value that its key does
    /// not allow, and values that contradict each other; INVALID_CONFIG for a value that is too long.
    pub fn check_broker(self, target: Target, overrides: &Overrides) -> Result<(), AlterError> {
        check_lengths(overrides)?;
        let mut layer = Layer::new();
        for (name, raw) in overrides {
            let setting = layers::setting(target, name, raw).map_err(AlterError::request)?;
            layer.insert(name.clone(), setting);
        }
        let dynamic = self.dynamic.with(target, layer);
        let layers = Layers { fixed: self.fixed, dynamic: &dynamic };
        layers.broker().map(drop).map_err(AlterError::request)
    }
}

fn check_resource(scope: Scope, overrides: &Overrides) -> Result<(), AlterError> {
    check_lengths(overrides)?;
    for (name, raw) in overrides {
        let key = registry::find(scope, name)
            .ok_or_else(|| AlterError::config(format!("unknown key `{name}`")))?;
        if let Err(reason) = key.parse(raw) {
            return Err(AlterError::config(format!(
                "invalid value `{raw}` for `{name}`: {reason}"
            )));
        }
    }
    Ok(())
}

/// The broker keys between which a group's values lie: of `consumer.x`, those are `group.consumer.min.x` and
/// `group.consumer.max.x`. In the order in which `GroupConfig.validateValues` of Kafka looks at them: the first that is
/// beyond its limits is the one that is named.
const GROUP_LIMITS: [(&str, Option<&str>, &str); 13] = [
    (
        "consumer.heartbeat.interval.ms",
        Some("group.consumer.min.heartbeat.interval.ms"),
        "group.consumer.max.heartbeat.interval.ms",
    ),
    (
        "consumer.session.timeout.ms",
        Some("group.consumer.min.session.timeout.ms"),
        "group.consumer.max.session.timeout.ms",
    ),
    (
        "consumer.assignment.interval.ms",
        Some("group.consumer.min.assignment.interval.ms"),
        "group.consumer.max.assignment.interval.ms",
    ),
    (
        "share.heartbeat.interval.ms",
        Some("group.share.min.heartbeat.interval.ms"),
        "group.share.max.heartbeat.interval.ms",
    ),
    (
        "share.session.timeout.ms",
        Some("group.share.min.session.timeout.ms"),
        "group.share.max.session.timeout.ms",
    ),
    (
        "share.record.lock.duration.ms",
        Some("group.share.min.record.lock.duration.ms"),
        "group.share.max.record.lock.duration.ms",
    ),
    (
        "share.delivery.count.limit",
        Some("group.share.min.delivery.count.limit"),
        "group.share.max.delivery.count.limit",
    ),
    (
        "share.partition.max.record.locks",
        Some("group.share.min.partition.max.record.locks"),
        "group.share.max.partition.max.record.locks",
    ),
    (
        "share.assignment.interval.ms",
        Some("group.share.min.assignment.interval.ms"),
        "group.share.max.assignment.interval.ms",
    ),
    (
        "streams.heartbeat.interval.ms",
        Some("group.streams.min.heartbeat.interval.ms"),
        "group.streams.max.heartbeat.interval.ms",
    ),
    (
        "streams.session.timeout.ms",
        Some("group.streams.min.session.timeout.ms"),
        "group.streams.max.session.timeout.ms",
    ),
    ("streams.num.standby.replicas", None, "group.streams.max.standby.replicas"),
    (
        "streams.assignment.interval.ms",
        Some("group.streams.min.assignment.interval.ms"),
        "group.streams.max.assignment.interval.ms",
    ),
];

#[cfg(test)]
mod tests;
