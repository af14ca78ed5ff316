//! Metrics of topics and partitions.

use crate::admin::exposition::{Kind, Page};
use crate::api::Services;
use crate::api::overview::{PartitionOverview, TopicOverview};
use crate::telemetry::TrafficCounts;

/// A metric of traffic: its name, its help, and which count it is.
type TrafficMetric = (&'static str, &'static str, fn(&TrafficCounts) -> u64);

const TRAFFIC: [TrafficMetric; 7] = [
    (
        "kafka_server_brokertopicmetrics_messagesin_total",
        "Records that clients have appended.",
        |counts| counts.records_in,
    ),
    (
        "kafka_server_brokertopicmetrics_bytesin_total",
        "Bytes of batches that clients have appended.",
        |counts| counts.bytes_in,
    ),
    (
        "kafka_server_brokertopicmetrics_bytesout_total",
        "Bytes of batches that were sent to consumers.",
        |counts| counts.bytes_out,
    ),
    (
        "kafka_server_brokertopicmetrics_totalproducerequests_total",
        "Produce requests, counted for each partition in them.",
        |counts| counts.produce_requests,
    ),
    (
        "kafka_server_brokertopicmetrics_failedproducerequests_total",
        "Produce requests that were refused, counted for each partition in them.",
        |counts| counts.produce_failures,
    ),
    (
        "kafka_server_brokertopicmetrics_totalfetchrequests_total",
        "Fetch requests, counted for each partition in them.",
        |counts| counts.fetch_requests,
    ),
    (
        "kafka_server_brokertopicmetrics_failedfetchrequests_total",
        "Fetch requests that were refused, counted for each partition in them.",
        |counts| counts.fetch_failures,
    ),
];

/// What clients wrote and read: of all topics (without label), and of each topic that is there.
pub(super) fn put_traffic(page: &mut Page, services: &Services, topics: &[TopicOverview]) {
    let all = services.metrics.traffic.counts();
    for (name, help, count) in TRAFFIC {
        let mut family = page.family(name, Kind::Counter, help);
        family.sample(&[], count(&all));
        for topic in topics.iter().filter(|topic| topic.traffic != TrafficCounts::default()) {
            family.sample(&[("topic", &topic.name)], count(&topic.traffic));
        }
    }
}

/// A metric of partitions: its name, its help, and its value, if there is one.
type PartitionMetric = (&'static str, &'static str, fn(&PartitionOverview) -> Option<i64>);

const PARTITIONS: [PartitionMetric; 14] = [
    ("kafka_topic_partition_current_offset", "The high watermark.", |partition| {
        partition.log.map(|log| log.ends.high_watermark.0)
    }),
    ("kafka_topic_partition_oldest_offset", "The first offset that is there.", |partition| {
        partition.log.map(|log| log.ends.log_start.0)
    }),
    ("kafka_topic_partition_leader", "The broker that leads it, or -1.", |partition| {
        Some(partition.leader.map_or(-1, |leader| leader.0.into()))
    }),
    (
        "kafka_topic_partition_leader_is_preferred",
        "Whether its first replica leads.",
        |partition| {
            Some(i64::from(
                partition.leader.is_some()
                    && partition.leader.as_ref() == partition.replicas.first(),
            ))
        },
    ),
    ("kafka_topic_partition_replicas", "Its replicas.", |partition| {
        Some(count(partition.replicas.len()))
    }),
    ("kafka_topic_partition_in_sync_replica", "Its replicas that are in sync.", |partition| {
        Some(count(partition.isr.len()))
    }),
    (
        "kafka_topic_partition_under_replicated_partition",
        "Whether replicas are not in sync.",
        |partition| Some(i64::from(partition.isr.len() < partition.replicas.len())),
    ),
    ("kafka_cluster_partition_replicascount", "Its replicas.", |partition| {
        Some(count(partition.replicas.len()))
    }),
    (
        "kafka_cluster_partition_insyncreplicascount",
        "Its replicas that are in sync.",
        |partition| Some(count(partition.isr.len())),
    ),
    (
        "kafka_cluster_partition_underminisr",
        "Whether fewer replicas are in sync than min.insync.replicas.",
        |partition| Some(i64::from(partition.isr.len() < partition.min_isr)),
    ),
    (
        "kafka_cluster_partition_atminisr",
        "Whether just min.insync.replicas are in sync.",
        |partition| Some(i64::from(partition.isr.len() == partition.min_isr)),
    ),
    (
        "kafka_cluster_partition_laststableoffsetlag",
        "From the last stable offset to the high watermark.",
        |partition| partition.log.map(|log| log.ends.high_watermark.0 - log.ends.last_stable.0),
    ),
    ("kafka_log_log_size", "Bytes of its segments.", |partition| {
        partition.log.map(|log| i64::try_from(log.size_bytes).unwrap_or(i64::MAX))
    }),
    ("kafka_log_log_logendoffset", "The end of its log.", |partition| {
        partition.log.map(|log| log.ends.end.0)
    }),
];

/// Topics, and if they are few their partitions.
pub(super) fn put(page: &mut Page, topics: &[TopicOverview], with_partitions: bool) {
    let mut family = page.family("kafka_topic_partitions", Kind::Gauge, "Partitions of a topic.");
    for topic in topics {
        family.sample(&[("topic", &topic.name)], topic.partitions.len());
    }
    let mut size =
        page.family("ottla_topic_size_bytes", Kind::Gauge, "Bytes of a topic's segments.");
    for topic in topics {
        let logs = topic.partitions.iter().filter_map(|partition| partition.log);
        size.sample(&[("topic", &topic.name)], logs.map(|log| log.size_bytes).sum::<u64>());
    }
    for (name, help, value) in PARTITIONS {
        let mut family = page.family(name, Kind::Gauge, help);
        for topic in topics.iter().filter(|_| with_partitions) {
            for partition in &topic.partitions {
                if let Some(value) = value(partition) {
                    let labels: [(_, &dyn std::fmt::Display); 2] =
                        [("topic", &topic.name), ("partition", &partition.index.0)];
                    family.sample(&labels, value);
                }
            }
        }
    }
}

fn count(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}
