//! The page `/public_metrics`: names and labels under which Redpanda's dashboards know these things.
//!
//! What the dashboards ask beside these is about the inside of Redpanda.

use std::fmt::Display;
use std::sync::Arc;

use super::{shows_partitions, topics};
use crate::admin::Serving;
use crate::admin::exposition::{Kind, Page};
use crate::api::Services;
use crate::api::overview::{GroupOverview, PartitionOverview, TopicOverview};
use crate::telemetry::TrafficCounts;
use crate::wire::ApiKey;

/// The namespace that topics of clients have there.
const NAMESPACE: (&str, &dyn Display) = ("redpanda_namespace", &"kafka");

/// What clients do, and how many bytes they moved by it.
type Direction = (&'static str, fn(&TrafficCounts) -> u64);

/// Writes the page.
pub(in crate::admin) async fn page(serving: &Serving) -> String {
    let services = Arc::clone(&serving.services);
    let (topics, groups) = (topics(&services).await, services.groups_overview().await);
    let tasks = services.env.tasks.clone();
    tasks.spawn_blocking("metrics", move || write(&services, &topics, &groups)).await
}

fn write(services: &Services, topics: &[TopicOverview], groups: &[GroupOverview]) -> String {
    let mut page = Page::default();
    put_application(&mut page, services);
    put_cluster(&mut page, services, topics);
    put_requests(&mut page, services, topics);
    let with_partitions = shows_partitions(services, topics);
    put_topics(&mut page, topics, with_partitions);
    put_groups(&mut page, groups, with_partitions);
    put_disks(&mut page, services);
    page.finish()
}

fn put_application(page: &mut Page, services: &Services) {
    page.counter(
        "redpanda_application_uptime_seconds_total",
        "Since the broker was started.",
        Some(services.env.steady.now().since_start().as_secs_f64()),
    );
    let mut build =
        page.family("redpanda_application_build", Kind::Gauge, "What runs here; always 1.");
    let version = concat!("ottla ", env!("CARGO_PKG_VERSION"));
    build.sample(&[("redpanda_revision", &""), ("redpanda_version", &version)], 1);
}

fn put_cluster(page: &mut Page, services: &Services, topics: &[TopicOverview]) {
    let all = || topics.iter().flat_map(|topic| &topic.partitions);
    let brokers = services.view.borrow().image.brokers().filter(|known| !known.fenced).count();
    page.gauge("redpanda_cluster_brokers", "Brokers of the cluster that serve.", Some(brokers));
    page.gauge("redpanda_cluster_topics", "Topics of the cluster.", Some(topics.len()));
    page.gauge("redpanda_cluster_partitions", "Partitions of the cluster.", Some(all().count()));
    page.gauge(
        "redpanda_cluster_unavailable_partitions",
        "Partitions of the cluster without leader.",
        Some(all().filter(|partition| partition.leader.is_none()).count()),
    );
}

fn put_requests(page: &mut Page, services: &Services, topics: &[TopicOverview]) {
    let mut latency = page.family(
        "redpanda_kafka_request_latency_seconds",
        Kind::Histogram,
        "From the last byte of a request to its response, waiting for data included.",
    );
    for (request, api) in [("produce", ApiKey::Produce), ("consume", ApiKey::Fetch)] {
        if let Some(counts) = services.metrics.requests.of(api.code()) {
            latency.durations(&[("redpanda_request", &request)], &counts.duration.counts());
        }
    }
    let mut bytes = page.family(
        "redpanda_kafka_request_bytes_total",
        Kind::Counter,
        "Bytes of batches that clients have written and read.",
    );
    let of: [Direction; 2] =
        [("produce", |counts| counts.bytes_in), ("consume", |counts| counts.bytes_out)];
    for topic in topics.iter().filter(|topic| topic.traffic != TrafficCounts::default()) {
        for (request, count) in of {
            let labels: [(_, &dyn Display); 3] =
                [NAMESPACE, ("redpanda_request", &request), ("redpanda_topic", &topic.name)];
            bytes.sample(&labels, count(&topic.traffic));
        }
    }
}

fn put_topics(page: &mut Page, topics: &[TopicOverview], with_partitions: bool) {
    let mut each = |name, help, value: fn(&TopicOverview) -> usize| {
        let mut family = page.family(name, Kind::Gauge, help);
        for topic in topics {
            family.sample(&[NAMESPACE, ("redpanda_topic", &topic.name)], value(topic));
        }
    };
    each("redpanda_kafka_partitions", "Partitions of a topic.", |topic| topic.partitions.len());
    each("redpanda_kafka_replicas", "Replicas of each partition of a topic.", |topic| {
        topic.partitions.first().map_or(0, |partition| partition.replicas.len())
    });
    let mut each = |name, help, value: fn(&PartitionOverview) -> Option<i64>| {
        let mut family = page.family(name, Kind::Gauge, help);
        for topic in topics.iter().filter(|_| with_partitions) {
            for partition in &topic.partitions {
                let labels: [(_, &dyn Display); 3] = [
                    NAMESPACE,
                    ("redpanda_partition", &partition.index.0),
                    ("redpanda_topic", &topic.name),
                ];
                if let Some(value) = value(partition) {
                    family.sample(&labels, value);
                }
            }
        }
    };
    each("redpanda_kafka_max_offset", "The high watermark.", |partition| {
        partition.log.map(|log| log.ends.high_watermark.0)
    });
    each(
        "redpanda_kafka_under_replicated_replicas",
        "Replicas that are not in sync.",
        |partition| {
            i64::try_from(partition.replicas.len().saturating_sub(partition.isr.len())).ok()
        },
    );
}

fn put_groups(page: &mut Page, groups: &[GroupOverview], with_partitions: bool) {
    let mut committed = page.family(
        "redpanda_kafka_consumer_group_committed_offset",
        Kind::Gauge,
        "The offset to go on from.",
    );
    for group in groups.iter().filter(|_| with_partitions) {
        for (topic, partition, offset) in &group.offsets {
            let labels: [(_, &dyn Display); 3] = [
                ("redpanda_group", &group.id),
                ("redpanda_partition", &partition.0),
                ("redpanda_topic", topic),
            ];
            committed.sample(&labels, offset.0);
        }
    }
    let mut each = |name, help, value: fn(&GroupOverview) -> usize| {
        let mut family = page.family(name, Kind::Gauge, help);
        for group in groups {
            family.sample(&[("redpanda_group", &group.id)], value(group));
        }
    };
    each("redpanda_kafka_consumer_group_consumers", "Members of a group.", |group| {
        group.member_count
    });
    each(
        "redpanda_kafka_consumer_group_topics",
        "Topics that a group has committed offsets in.",
        |group| {
            let topics = group.offsets.iter().map(|(topic, ..)| topic);
            topics.collect::<std::collections::BTreeSet<_>>().len()
        },
    );
}

/// The volume of the first log directory, which is the one that Redpanda has.
fn put_disks(page: &mut Page, services: &Services) {
    let described = services.replicas.describe_log_dirs();
    let space = described.iter().find_map(|dir| Some(dir.content.as_ref()?.space));
    page.gauge(
        "redpanda_storage_disk_total_bytes",
        "Size of the volume that holds the first log directory.",
        space.map(|space| space.total_bytes),
    );
    page.gauge(
        "redpanda_storage_disk_free_bytes",
        "Room on the volume that holds the first log directory.",
        space.map(|space| space.free_bytes),
    );
}
