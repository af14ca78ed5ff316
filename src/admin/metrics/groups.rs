//! Metrics of groups: members, committed offsets, lag in records and in seconds.

use std::collections::BTreeMap;

use crate::admin::exposition::{Kind, Page};
use crate::api::ends::Ends;
use crate::api::overview::GroupOverview;
use crate::api::unread::Unread;
use crate::wire::Text;

/// A committed offset, with the lag if it is known where its partition ends, and how old what is left is.
struct Committed<'a> {
    group: &'a Text,
    topic: &'a Text,
    partition: i32,
    offset: i64,
    lag: Option<i64>,
    lag_seconds: Option<f64>,
}

/// Groups, sums by topic, and if single partitions are to be shown, for which it is known how old what is left is, also each of them.
pub(super) fn put(page: &mut Page, groups: &[GroupOverview], ends: &Ends, unread: Option<&Unread>) {
    let mut members =
        page.family("kafka_consumergroup_members", Kind::Gauge, "Members of a group.");
    for group in groups {
        members.sample(&[("consumergroup", &group.id)], group.member_count);
    }
    let mut state =
        page.family("ottla_group_state", Kind::Gauge, "The state of a group; always 1.");
    for group in groups {
        state.sample(
            &[("consumergroup", &group.id), ("type", &group.kind), ("state", &group.state)],
            1,
        );
    }
    let committed: Vec<Committed<'_>> = groups
        .iter()
        .flat_map(|group| group.offsets.iter().map(move |offset| (group, offset)))
        .map(|(group, (topic, partition, offset))| {
            let lag = ends.lag(topic, *partition, *offset);
            Committed {
                group: &group.id,
                topic,
                partition: partition.0,
                offset: offset.0,
                lag,
                lag_seconds: unread
                    .and_then(|unread| unread.age_seconds(topic, *partition, *offset, lag)),
            }
        })
        .collect();
    let single = if unread.is_some() { committed.as_slice() } else { &[] };
    put_each(
        page,
        "kafka_consumergroup_current_offset",
        "The offset to go on from.",
        single,
        |at| Some(at.offset),
    );
    put_each(
        page,
        "kafka_consumergroup_lag",
        "Records that are left to read; missing where it is not known where the partition ends.",
        single,
        |at| at.lag,
    );
    put_each(
        page,
        "ottla_group_lag_seconds",
        "How old the oldest record is that is left to read, by its batch's time; 0 at the end, missing where no replica here has it.",
        single,
        |at| at.lag_seconds,
    );
    put_sums(
        page,
        "kafka_consumergroup_current_offset_sum",
        "The offsets to go on from, over all partitions of a topic.",
        &committed,
        |at| Some(at.offset),
    );
    put_sums(
        page,
        "kafka_consumergroup_lag_sum",
        "Records that are left to read, over all partitions of a topic; missing where it is not known of one where it ends.",
        &committed,
        |at| at.lag,
    );
}

fn put_each<T: std::fmt::Display>(
    page: &mut Page,
    name: &'static str,
    help: &str,
    committed: &[Committed<'_>],
    value: fn(&Committed<'_>) -> Option<T>,
) {
    let mut family = page.family(name, Kind::Gauge, help);
    for at in committed {
        if let Some(value) = value(at) {
            family.sample(
                &[("consumergroup", at.group), ("topic", at.topic), ("partition", &at.partition)],
                value,
            );
        }
    }
}

fn put_sums(
    page: &mut Page,
    name: &'static str,
    help: &str,
    committed: &[Committed<'_>],
    value: fn(&Committed<'_>) -> Option<i64>,
) {
    // A sum of only some would say that all is well.
    let mut sums: BTreeMap<(&Text, &Text), Option<i64>> = BTreeMap::new();
    for at in committed {
        let sum = sums.entry((at.group, at.topic)).or_insert(Some(0));
        *sum = sum.zip(value(at)).map(|(sum, value)| sum + value);
    }
    let mut family = page.family(name, Kind::Gauge, help);
    for ((group, topic), sum) in sums {
        if let Some(sum) = sum {
            family.sample(&[("consumergroup", group), ("topic", topic)], sum);
        }
    }
}
