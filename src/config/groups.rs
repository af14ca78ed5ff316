//! The typed view of the keys about groups and their offsets.

use std::time::Duration;

use super::consumer_groups::ConsumerGroupSettings;
use super::layers::Layers;

/// The values for groups. Key names stand behind each field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupSettings {
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_ms_max: i32,
    /// `group.max.size`: members of a classic group.
    pub member_count_max: usize,
    /// `offset.metadata.max.bytes`. Kafka counts UTF-16 units, not bytes; a negative value allows no metadata at all.
    pub offset_metadata_length_max: i32,
    /// `offsets.retention.minutes`.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval: Duration,
    /// Keys about consumer groups.
    pub consumer: ConsumerGroupSettings,
}

impl Layers<'_> {
    pub(super) fn groups(self) -> GroupSettings {
        let retention_minutes: u64 = self.number("offsets.retention.minutes");
        GroupSettings {
            initial_rebalance_delay: self.millis("group.initial.rebalance.delay.ms"),
            session_timeout_ms_min: self.number("group.min.session.timeout.ms"),
            session_timeout_ms_max: self.number("group.max.session.timeout.ms"),
            member_count_max: self.number("group.max.size"),
            offset_metadata_length_max: self.number("offset.metadata.max.bytes"),
            offsets_retention: Duration::from_secs(retention_minutes * 60),
            offsets_retention_check_interval: self.millis("offsets.retention.check.interval.ms"),
            consumer: self.consumer_groups(),
        }
    }
}
