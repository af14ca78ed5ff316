//! Keys of a group. What a group does not set, it takes from the broker key that its key inherits from.

use super::checks::is_offset_reset;
use crate::config::key::from;

table! {
    GROUP: Group, "Groups";

    /// How much time has to pass between two divisions of the group's partitions.
    Active "consumer.assignment.interval.ms": Int = 1000, at_least(0),
        inherits(&[from("group.consumer.assignment.interval.ms")]);
    /// How often members send heartbeats.
    Active "consumer.heartbeat.interval.ms": Int = 5000, at_least(1),
        inherits(&[from("group.consumer.heartbeat.interval.ms")]);
    /// How long a member may stay silent before it is given up.
    Active "consumer.session.timeout.ms": Int = 45_000, at_least(1),
        inherits(&[from("group.consumer.session.timeout.ms")]);
    NotYet "share.assignment.interval.ms": Int = 1000, at_least(0),
        inherits(&[from("group.share.assignment.interval.ms")]);
    NotYet "share.auto.offset.reset": String = "latest",
        special("earliest, latest or by_duration:PnDTnHnMn.nS", is_offset_reset);
    NotYet "share.delivery.count.limit": Int = 5, at_least(2), inherits(&[from("group.share.delivery.count.limit")]);
    NotYet "share.heartbeat.interval.ms": Int = 5000, at_least(1),
        inherits(&[from("group.share.heartbeat.interval.ms")]);
    NotYet "share.isolation.level": String = "read_uncommitted", one_of(&["read_committed", "read_uncommitted"]);
    NotYet "share.partition.max.record.locks": Int = 2000, at_least(100),
        inherits(&[from("group.share.partition.max.record.locks")]);
    NotYet "share.record.lock.duration.ms": Int = 30_000, at_least(1000),
        inherits(&[from("group.share.record.lock.duration.ms")]);
    NotYet "share.renew.acknowledge.enable": Boolean = true;
    NotYet "share.session.timeout.ms": Int = 45_000, at_least(1), inherits(&[from("group.share.session.timeout.ms")]);
    NotYet "streams.assignment.interval.ms": Int = 1000, at_least(0),
        inherits(&[from("group.streams.assignment.interval.ms")]);
    NotYet "streams.heartbeat.interval.ms": Int = 5000, at_least(1),
        inherits(&[from("group.streams.heartbeat.interval.ms")]);
    NotYet "streams.initial.rebalance.delay.ms": Int = 3000, at_least(0),
        inherits(&[from("group.streams.initial.rebalance.delay.ms")]);
    NotYet "streams.num.standby.replicas": Int = 0, at_least(0),
        inherits(&[from("group.streams.num.standby.replicas")]);
    NotYet "streams.session.timeout.ms": Int = 45_000, at_least(1),
        inherits(&[from("group.streams.session.timeout.ms")]);
}
