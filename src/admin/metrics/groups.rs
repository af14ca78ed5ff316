//! Metrics of groups: members, committed offsets, lag.

use std::collections::BTreeMap;

use crate::admin::exposition::{Kind, Page};
use crate::api::ends::Ends;
use crate::api::overview::GroupOverview;
use crate::wire::Text;

/// A committed offset, with the lag if it is known where its partition ends.
struct Committed<'a> {
    group: &'a Text,
    topic: &'a Text,
    partition: i32,
    offset: i64,
    lag: Option<i64>,
}

/// Groups, sums by topic, and if there are few partitions also each of them.
pub(super) fn put(page: &mut Page, groups: &[GroupOverview], ends: &Ends, with_partitions: bool) {
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
        .map(|(group, (topic, partition, offset))| Committed {
            group: &group.id,
            topic,
            partition: partition.0,
            offset: offset.0,
            lag: ends.lag(topic, *partition, *offset),
        })
        .collect();
    let single = if with_partitions { committed.as_slice() } else { &[] };
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

fn put_each(
    page: &mut Page,
    name: &'static str,
    help: &str,
    committed: &[Committed<'_>],
    value: fn(&Committed<'_>) -> Option<i64>,
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
