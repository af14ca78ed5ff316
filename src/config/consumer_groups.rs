//! The typed view of the keys about consumer groups (KIP-848): of the broker, and of one group under the broker's bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::layers::Layers;

/// The values for consumer groups. Key names stand behind each field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerGroupSettings {
    /// `group.consumer.session.timeout.ms` and its bounds.
    pub session_timeout: Bounded,
    /// `group.consumer.heartbeat.interval.ms` and its bounds.
    pub heartbeat_interval: Bounded,
    /// `group.consumer.assignment.interval.ms` and its bounds.
    pub assignment_interval: Bounded,
    /// `group.consumer.max.size`.
    pub member_count_max: usize,
    /// `group.consumer.assignors`, the default first.
    pub assignors: Vec<String>,
    /// `group.consumer.migration.policy`.
    pub migration: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub regex_refresh_interval: Duration,
}

/// A number of milliseconds that groups may set within bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounded {
    /// What holds where a group sets nothing.
    pub default_ms: i32,
    /// The lower bound.
    pub min_ms: i32,
    /// The upper bound.
    pub max_ms: i32,
}

/// Whether groups change between the classic and the consumer protocol while they have members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MigrationPolicy {
    /// Both ways.
    Bidirectional,
    /// Classic groups become consumer groups.
    Upgrade,
    /// Consumer groups become classic groups.
    Downgrade,
    /// Neither way.
    Disabled,
}

/// The values for one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConsumerGroupConfig {
    /// `consumer.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i32,
    /// `consumer.assignment.interval.ms`.
    pub assignment_interval_ms: i32,
}

impl MigrationPolicy {
    /// Whether classic groups become consumer groups.
    #[must_use]
    pub const fn upgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Upgrade)
    }

    /// Whether consumer groups become classic groups.
    #[must_use]
    pub const fn downgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Downgrade)
    }

    fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "bidirectional" => Self::Bidirectional,
            "upgrade" => Self::Upgrade,
            "downgrade" => Self::Downgrade,
            _ => Self::Disabled,
        }
    }
}

impl Bounded {
    /// What holds for a group that sets this text. A value beyond the bounds, which were moved since, counts as the bound
    /// (`GroupConfig.clampToRange` of Kafka).
    fn of_group(self, set: Option<&String>) -> i32 {
        match set.and_then(|text| text.trim().parse().ok()) {
            Some(value) => self.max_ms.min(self.min_ms.max(value)),
            None => self.default_ms,
        }
    }
}

impl ConsumerGroupSettings {
    /// The values for a group that set these.
    #[must_use]
    pub fn of_group(&self, set: &BTreeMap<String, String>) -> ConsumerGroupConfig {
        let session_timeout_ms =
            self.session_timeout.of_group(set.get("consumer.session.timeout.ms"));
        let heartbeat_interval = set.get("consumer.heartbeat.interval.ms");
        let assignment_interval = set.get("consumer.assignment.interval.ms");
        ConsumerGroupConfig {
            session_timeout: Duration::from_millis(session_timeout_ms.max(0).unsigned_abs().into()),
            heartbeat_interval_ms: self.heartbeat_interval.of_group(heartbeat_interval),
            assignment_interval_ms: self.assignment_interval.of_group(assignment_interval),
        }
    }
}

impl Layers<'_> {
    pub(super) fn consumer_groups(self) -> ConsumerGroupSettings {
        ConsumerGroupSettings {
            session_timeout: Bounded {
                default_ms: self.number("group.consumer.session.timeout.ms"),
                min_ms: self.number("group.consumer.min.session.timeout.ms"),
                max_ms: self.number("group.consumer.max.session.timeout.ms"),
            },
            heartbeat_interval: Bounded {
                default_ms: self.number("group.consumer.heartbeat.interval.ms"),
                min_ms: self.number("group.consumer.min.heartbeat.interval.ms"),
                max_ms: self.number("group.consumer.max.heartbeat.interval.ms"),
            },
            assignment_interval: Bounded {
                default_ms: self.number("group.consumer.assignment.interval.ms"),
                min_ms: self.number("group.consumer.min.assignment.interval.ms"),
                max_ms: self.number("group.consumer.max.assignment.interval.ms"),
            },
            member_count_max: self.number("group.consumer.max.size"),
            assignors: self.list("group.consumer.assignors").unwrap_or_default(),
            migration: MigrationPolicy::parse(
                &self.text("group.consumer.migration.policy").unwrap_or_default(),
            ),
            regex_refresh_interval: self.millis("group.consumer.regex.refresh.interval.ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_sets_values_within_the_bounds_of_the_broker() {
        let bounded = Bounded { default_ms: 45_000, min_ms: 40_000, max_ms: 60_000 };
        let of_group = |text: &str| bounded.of_group(Some(&text.to_owned()));
        assert_eq!(bounded.of_group(None), 45_000);
        assert_eq!(of_group("50000"), 50_000);
        assert_eq!(of_group("1"), 40_000);
        assert_eq!(of_group("99999"), 60_000);
    }

    #[test]
    fn policies_are_known_in_any_case() {
        for (name, upgrades, downgrades) in [
            ("BIDIRECTIONAL", true, true),
            ("upgrade", true, false),
            ("Downgrade", false, true),
            ("disabled", false, false),
        ] {
            let policy = MigrationPolicy::parse(name);
            assert_eq!((policy.upgrades(), policy.downgrades()), (upgrades, downgrades), "{name}");
        }
    }
}
