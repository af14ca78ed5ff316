//! The typed view of a topic's values: its own over those it inherits from the broker.
//!
//! Owns inheritance and the fields that the log reads. It does not know whether a topic exists.

use std::time::Duration;

use super::key::Key;
use super::layers::{Layers, Overrides};
use super::registry::{self, Scope};
use super::value::{Kind, Value};
use crate::model::{BrokerId, PartitionId};

/// The values of a topic. Key names stand behind each field.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicConfig {
    /// `segment.bytes`, or `internal.segment.bytes` if that is set; at least 1.
    pub segment_bytes: u32,
    /// `segment.ms`, at least 1 ms.
    pub segment_age_max: Duration,
    /// `segment.jitter.ms`.
    pub segment_jitter_max: Duration,
    /// `segment.index.bytes`, at least 4.
    pub index_bytes_max: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`.
    pub message_bytes_max: u32,
    /// `flush.messages`, at least 1.
    pub flush_messages: i64,
    /// `flush.ms`.
    pub flush_age_max: Duration,
    /// `ottla.durability`.
    pub durability: Durability,
    /// `file.delete.delay.ms`.
    pub file_delete_delay: Duration,
    /// `retention.ms`; none for no limit.
    pub retention_age_max: Option<Duration>,
    /// `retention.bytes`; none for no limit.
    pub retention_bytes: Option<u64>,
    /// Whether `cleanup.policy` has `compact`.
    pub cleanup_compact: bool,
    /// Whether `cleanup.policy` has `delete`.
    pub cleanup_delete: bool,
    /// `min.cleanable.dirty.ratio`: 0 to 1.
    pub min_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub compaction_lag_min: Duration,
    /// `max.compaction.lag.ms`, at least 1 ms; none for no limit.
    pub compaction_lag_max: Option<Duration>,
    /// `delete.retention.ms`: how long tombstones stay.
    pub tombstone_retention: Duration,
    /// `min.insync.replicas`, at least 1; a topic with fewer replicas needs only those.
    pub min_insync_replicas: u32,
    /// `unclean.leader.election.enable`: whether a replica may lead that may lack records, if no other can.
    pub unclean_leader_election: bool,
    /// Whether `message.timestamp.type` is `LogAppendTime`: records get the time of the append.
    pub stamped_on_append: bool,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max: Duration,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max: Duration,
    /// `preallocate`.
    pub preallocates: bool,
    /// `compression.type`, with the level of its codec.
    pub compression: TopicCompression,
    /// `leader.replication.throttled.replicas`: where a leader keeps to its rate.
    pub leader_throttled: ThrottledReplicas,
    /// `follower.replication.throttled.replicas`: where a follower keeps to its rate.
    pub follower_throttled: ThrottledReplicas,
}

/// Replicas that are copied within a rate (KIP-73).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThrottledReplicas {
    /// All of the topic.
    All,
    /// Those of these partitions on these brokers.
    These(Vec<(PartitionId, BrokerId)>),
}

impl ThrottledReplicas {
    /// Whether the replica of a partition on a broker is among them.
    #[must_use]
    pub fn contains(&self, partition: PartitionId, broker: BrokerId) -> bool {
        match self {
            Self::All => true,
            Self::These(replicas) => replicas.contains(&(partition, broker)),
        }
    }

    fn of(items: &[String]) -> Self {
        let replica = |item: &String| {
            let (partition, broker) = item.split_once(':')?;
            Some((PartitionId(partition.parse().ok()?), BrokerId(broker.parse().ok()?)))
        };
        // As the key's check has it, which passes numbers over that are no ids.
        match items.concat() == "*" {
            true => Self::All,
            false => Self::These(items.iter().filter_map(replica).collect()),
        }
    }
}

/// When an append is acknowledged and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once it is in the page cache: it survives the process, but a power cut may take it.
    PageCache,
    /// Once it is on disk.
    Fsync,
}

/// How the records of a topic are compressed in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicCompression {
    /// As their producer did it.
    Producer,
    /// Not at all.
    Uncompressed,
    /// With gzip at `compression.gzip.level`: 1 to 9, or -1 for its default.
    Gzip(i32),
    /// With snappy.
    Snappy,
    /// With LZ4 at `compression.lz4.level`: 1 to 17.
    Lz4(i32),
    /// With Zstandard at `compression.zstd.level`: -131,072 to 22.
    Zstd(i32),
}

impl TopicConfig {
    /// The view of a topic with these overrides. An override that its key does not allow is passed over; none that
    /// [`check_topic`](Layers::check_topic) accepted is.
    #[must_use]
    pub fn resolve(layers: Layers<'_>, overrides: &Overrides) -> Self {
        let of = Topic { layers, overrides };
        let segment_bytes = match of.value("internal.segment.bytes") {
            Some(_) => of.number("internal.segment.bytes"),
            None => of.number("segment.bytes"),
        };
        Self {
            segment_bytes,
            segment_age_max: of.millis("segment.ms"),
            segment_jitter_max: of.millis("segment.jitter.ms"),
            index_bytes_max: of.number("segment.index.bytes"),
            index_interval_bytes: of.number("index.interval.bytes"),
            message_bytes_max: of.number("max.message.bytes"),
            flush_messages: of.integer("flush.messages"),
            flush_age_max: of.millis("flush.ms"),
            durability: of.durability(),
            file_delete_delay: of.millis("file.delete.delay.ms"),
            retention_age_max: of.limit("retention.ms").map(Duration::from_millis),
            retention_bytes: of.limit("retention.bytes"),
            cleanup_compact: of.has("cleanup.policy", "compact"),
            cleanup_delete: of.has("cleanup.policy", "delete"),
            min_dirty_ratio: of.ratio("min.cleanable.dirty.ratio"),
            compaction_lag_min: of.millis("min.compaction.lag.ms"),
            compaction_lag_max: Some(of.millis("max.compaction.lag.ms"))
                .filter(|lag| *lag < Duration::from_millis(i64::MAX as u64)),
            tombstone_retention: of.millis("delete.retention.ms"),
            min_insync_replicas: of.number("min.insync.replicas"),
            unclean_leader_election: of.value("unclean.leader.election.enable")
                == Some(Value::Boolean(true)),
            stamped_on_append: of.value("message.timestamp.type")
                == Some(Value::Text("LogAppendTime".to_owned())),
            timestamp_before_max: of.millis("message.timestamp.before.max.ms"),
            timestamp_after_max: of.millis("message.timestamp.after.max.ms"),
            preallocates: of.value("preallocate") == Some(Value::Boolean(true)),
            compression: of.compression(),
            leader_throttled: of.replicas("leader.replication.throttled.replicas"),
            follower_throttled: of.replicas("follower.replication.throttled.replicas"),
        }
    }
}

#[derive(Clone, Copy)]
struct Topic<'a> {
    layers: Layers<'a>,
    overrides: &'a Overrides,
}

impl Topic<'_> {
    fn value(self, name: &str) -> Option<Value> {
        let key = registry::find(Scope::Topic, name);
        let key = key.unwrap_or_else(|| panic!("no topic key {name}"));
        self.layers.inherited_or_set(key, self.overrides)
    }

    fn has(self, name: &str, item: &str) -> bool {
        match self.value(name) {
            Some(Value::List(items)) => items.iter().any(|other| other == item),
            other => panic!("{name} is no list: {other:?}"),
        }
    }

    fn durability(self) -> Durability {
        match self.value("ottla.durability") {
            Some(Value::Text(text)) if text == "page-cache" => Durability::PageCache,
            Some(Value::Text(text)) if text == "fsync" => Durability::Fsync,
            other => panic!("ottla.durability cannot be {other:?}"),
        }
    }

    fn compression(self) -> TopicCompression {
        let level = |name: &str| {
            let level = self.value(name).and_then(|value| value.as_integer());
            level
                .and_then(|level| i32::try_from(level).ok())
                .unwrap_or_else(|| panic!("{name} is no number or not bounded"))
        };
        let Some(Value::Text(codec)) = self.value("compression.type") else {
            panic!("compression.type is no text");
        };
        match codec.as_str() {
            "producer" => TopicCompression::Producer,
            "uncompressed" => TopicCompression::Uncompressed,
            "gzip" => TopicCompression::Gzip(level("compression.gzip.level")),
            "snappy" => TopicCompression::Snappy,
            "lz4" => TopicCompression::Lz4(level("compression.lz4.level")),
            "zstd" => TopicCompression::Zstd(level("compression.zstd.level")),
            other => panic!("compression.type cannot be {other}"),
        }
    }

    fn replicas(self, name: &str) -> ThrottledReplicas {
        match self.value(name) {
            Some(Value::List(items)) => ThrottledReplicas::of(&items),
            other => panic!("{name} is no list: {other:?}"),
        }
    }

    fn number(self, name: &str) -> u32 {
        let number = self.value(name).and_then(|value| value.as_integer());
        number
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or_else(|| panic!("{name} is no number or not bounded"))
    }

    fn integer(self, name: &str) -> i64 {
        let number = self.value(name).and_then(|value| value.as_integer());
        number.unwrap_or_else(|| panic!("{name} is no number"))
    }

    /// A number that is negative for no limit.
    fn limit(self, name: &str) -> Option<u64> {
        u64::try_from(self.integer(name)).ok()
    }

    fn ratio(self, name: &str) -> f64 {
        match self.value(name) {
            Some(Value::Double(ratio)) => ratio,
            other => panic!("{name} is no ratio: {other:?}"),
        }
    }

    fn millis(self, name: &str) -> Duration {
        let millis = self.value(name).and_then(|value| value.as_integer());
        millis
            .and_then(|millis| u64::try_from(millis).ok())
            .map(Duration::from_millis)
            .unwrap_or_else(|| panic!("{name} is no number or not bounded"))
    }
}

impl Layers<'_> {
    /// The value of a topic's or group's key: its own, that of the broker, or the default; none for null.
    pub(super) fn inherited_or_set(self, key: &Key, overrides: &Overrides) -> Option<Value> {
        overrides.get(key.name).and_then(|raw| key.parse(raw).ok()).or_else(|| self.inherited(key))
    }

    /// The value that a topic or group has when it sets none (`KafkaConfig.extractLogConfigMap` of Kafka).
    fn inherited(self, key: &Key) -> Option<Value> {
        let inherited = key.inherits.iter().find_map(|from| {
            let value = self.value(registry::find(Scope::Broker, from.name)?)?;
            match (key.kind, value.as_integer()) {
                // Hours times milliseconds of an int cannot leave the range of a long.
                (Kind::Long, Some(number)) => Some(Value::Long(number.saturating_mul(from.factor))),
                _ => Some(value),
            }
        });
        match inherited.or_else(|| key.default_value(self.fixed.is_single_node())) {
            // The broker takes any negative number for no limit, the topic -1 alone.
            Some(Value::Long(number)) if key.name == "retention.ms" => {
                Some(Value::Long(number.max(-1)))
            }
            value => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DynamicConfig, Sources, load};
    use super::*;

    fn overrides(pairs: &[(&str, &str)]) -> Overrides {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn resolved(options: &[&str], cluster: &[(&str, &str)], topic: &[(&str, &str)]) -> TopicConfig {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let loaded = load(Sources { options: &options, ..Sources::default() }).unwrap();
        let (dynamic, unapplied) = DynamicConfig::new(&overrides(cluster), &Overrides::new());
        assert_eq!(unapplied, []);
        let layers = Layers { fixed: &loaded.config, dynamic: &dynamic };
        TopicConfig::resolve(layers, &overrides(topic))
    }

    #[test]
    fn defaults_are_those_of_kafka() {
        assert_eq!(
            resolved(&[], &[], &[]),
            TopicConfig {
                segment_bytes: 1 << 30,
                segment_age_max: Duration::from_secs(7 * 24 * 3600),
                segment_jitter_max: Duration::ZERO,
                index_bytes_max: 10 << 20,
                index_interval_bytes: 4096,
                message_bytes_max: (1 << 20) + 12,
                flush_messages: i64::MAX,
                flush_age_max: Duration::from_millis(i64::MAX as u64),
                durability: Durability::PageCache,
                file_delete_delay: Duration::from_secs(60),
                retention_age_max: Some(Duration::from_secs(7 * 24 * 3600)),
                retention_bytes: None,
                cleanup_compact: false,
                cleanup_delete: true,
                min_dirty_ratio: 0.5,
                compaction_lag_min: Duration::ZERO,
                compaction_lag_max: None,
                tombstone_retention: Duration::from_secs(24 * 3600),
                min_insync_replicas: 1,
                unclean_leader_election: false,
                stamped_on_append: false,
                timestamp_before_max: Duration::from_millis(i64::MAX as u64),
                timestamp_after_max: Duration::from_secs(3600),
                preallocates: false,
                compression: TopicCompression::Producer,
                leader_throttled: ThrottledReplicas::These(Vec::new()),
                follower_throttled: ThrottledReplicas::These(Vec::new()),
            }
        );
    }

    #[test]
    fn throttled_replicas_are_all_or_named() {
        let of = |items: &[&str]| {
            ThrottledReplicas::of(&items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>())
        };
        for (items, expected) in [
            (&["*"][..], [true, true, true]),
            (&[], [false, false, false]),
            (&["0:1", "1:2"], [true, false, true]),
        ] {
            let found = [(0, 1), (1, 1), (1, 2)].map(|(partition, broker)| {
                of(items).contains(PartitionId(partition), BrokerId(broker))
            });
            assert_eq!(found, expected, "{items:?}");
        }
    }

    #[test]
    fn a_topic_overrides_what_it_inherits() {
        let inherited = resolved(
            &[
                "message.max.bytes=2000",
                "log.roll.hours=2",
                "log.message.timestamp.type=LogAppendTime",
            ],
            &[],
            &[],
        );
        assert_eq!(inherited.message_bytes_max, 2000);
        assert_eq!(inherited.segment_age_max, Duration::from_secs(7200));
        assert!(inherited.stamped_on_append);

        let set = resolved(
            &["message.max.bytes=2000"],
            &[("message.max.bytes", "3000"), ("log.roll.ms", "5")],
            &[("max.message.bytes", "4000"), ("internal.segment.bytes", "100")],
        );
        assert_eq!(set.message_bytes_max, 4000);
        assert_eq!(set.segment_age_max, Duration::from_millis(5));
        assert_eq!(set.segment_bytes, 100);

        let flushed = resolved(
            &["log.flush.scheduler.interval.ms=500", "log.flush.interval.messages=20"],
            &[],
            &[("flush.messages", "7")],
        );
        assert_eq!(flushed.flush_messages, 7);
        assert_eq!(flushed.flush_age_max, Duration::from_millis(500), "as often as is looked");
        let flushed = resolved(
            &["log.flush.scheduler.interval.ms=500"],
            &[("log.flush.interval.ms", "900")],
            &[],
        );
        assert_eq!(flushed.flush_age_max, Duration::from_millis(900));

        let durability = |topic| resolved(&[], &[("ottla.durability", "fsync")], topic).durability;
        assert_eq!(durability(&[]), Durability::Fsync);
        assert_eq!(durability(&[("ottla.durability", "page-cache")]), Durability::PageCache);

        let compressed = |topic: &[(&str, &str)]| {
            resolved(&["compression.type=zstd", "compression.gzip.level=9"], &[], topic).compression
        };
        assert_eq!(compressed(&[]), TopicCompression::Zstd(3));
        assert_eq!(compressed(&[("compression.type", "gzip")]), TopicCompression::Gzip(9));
        assert_eq!(compressed(&[("compression.type", "producer")]), TopicCompression::Producer);
        let lz4 = [("compression.type", "lz4"), ("compression.lz4.level", "17")];
        assert_eq!(compressed(&lz4), TopicCompression::Lz4(17));
        assert_eq!(compressed(&lz4[..1]), TopicCompression::Lz4(9));

        let preallocates = |topic| resolved(&["log.preallocate=true"], &[], topic).preallocates;
        assert!(preallocates(&[]));
        assert!(!preallocates(&[("preallocate", "false")]));
    }

    #[test]
    fn an_invalid_override_is_passed_over() {
        let config = resolved(&[], &[], &[("segment.ms", "0"), ("max.message.bytes", "much")]);
        assert_eq!(config, resolved(&[], &[], &[]));
    }
}
