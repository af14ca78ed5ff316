//! Keys of a topic. What a topic does not set, it takes from the broker key that its key inherits from.

use super::checks::{are_replicas, is_gzip_level};
use crate::config::key::{from, times};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

table! {
    TOPIC: Topic, "Topics";

    /// What becomes of old records: `delete` removes them by age and size, `compact` keeps of each key the latest one.
    /// Both together do both, and neither keeps everything.
    Active "cleanup.policy": List = "delete", items(&["compact", "delete"]), inherits(&[from("log.cleanup.policy")]);
    /// How hard gzip tries where the broker compresses records itself; -1 is its default.
    Active "compression.gzip.level": Int = -1, special("-1 or from 1 to 9", is_gzip_level),
        inherits(&[from("compression.gzip.level")]);
    /// How hard LZ4 tries where the broker compresses records itself: 9 is its fast way, all others are levels of its slow one.
    Active "compression.lz4.level": Int = 9, between(1, 17), inherits(&[from("compression.lz4.level")]);
    /// How records are kept: compressed as their producer did it, or anew with the codec named here.
    Active "compression.type": String = "producer",
        one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), inherits(&[from("compression.type")]);
    /// How hard Zstandard tries where the broker compresses records itself.
    Active "compression.zstd.level": Int = 3, between(-131_072, 22), inherits(&[from("compression.zstd.level")]);
    /// For how long a compacted topic keeps a tombstone (a record without value) after the first compaction that met it, so
    /// that consumers see it.
    Active "delete.retention.ms": Long = 86_400_000, at_least(0), inherits(&[from("log.cleaner.delete.retention.ms")]);
    /// How long a deleted segment or partition stays on disk, so that reads under way can end.
    Active "file.delete.delay.ms": Long = 60_000, at_least(0), inherits(&[from("log.segment.delete.delay.ms")]);
    /// Once this many records of a partition are not yet on disk, an append is finished only after they were synced.
    Active "flush.messages": Long = i64::MAX, at_least(1), inherits(&[from("log.flush.interval.messages")]);
    /// A partition whose last sync is older than this is synced when the broker's `log.flush.scheduler.interval.ms` next
    /// looks for such.
    Active "flush.ms": Long = i64::MAX, at_least(0),
        inherits(&[from("log.flush.interval.ms"), from("log.flush.scheduler.interval.ms")]);
    /// Replicas that a follower copies within `follower.replication.throttled.rate` while they are not in sync.
    Active "follower.replication.throttled.replicas": List = "",
        special("* or a list of partition:broker", are_replicas);
    /// After how many bytes of records the offset index gets another entry.
    Active "index.interval.bytes": Int = 4096, at_least(0), inherits(&[from("log.index.interval.bytes")]);
    /// Takes the place of `segment.bytes` when set, without its lower bound. For tests.
    Active "internal.segment.bytes": Int, at_least(1), unlisted;
    /// Replicas from which others copy within `leader.replication.throttled.rate` while those are not in sync.
    Active "leader.replication.throttled.replicas": List = "", special("* or a list of partition:broker", are_replicas);
    NotYet "local.retention.bytes": Long = -2, at_least(-2), inherits(&[from("log.local.retention.bytes")]);
    NotYet "local.retention.ms": Long = -2, at_least(-2), inherits(&[from("log.local.retention.ms")]);
    /// A record is compacted after this time at the latest, whatever the part that is new.
    Active "max.compaction.lag.ms": Long = i64::MAX, at_least(1),
        inherits(&[from("log.cleaner.max.compaction.lag.ms")]);
    /// The largest record batch that the topic accepts, in bytes as it is sent.
    Active "max.message.bytes": Int = 1_048_588, at_least(0), inherits(&[from("message.max.bytes")]);
    /// How far the time of a record may lie in the future. A later one is refused.
    Active "message.timestamp.after.max.ms": Long = 3_600_000, at_least(0),
        inherits(&[from("log.message.timestamp.after.max.ms")]);
    /// How far the time of a record may lie in the past. An older one is refused.
    Active "message.timestamp.before.max.ms": Long = i64::MAX, at_least(0),
        inherits(&[from("log.message.timestamp.before.max.ms")]);
    /// Whether records keep the time that their producer gave them or get the time of the append.
    Active "message.timestamp.type": String = "CreateTime", one_of(&["CreateTime", "LogAppendTime"]),
        inherits(&[from("log.message.timestamp.type")]);
    /// A partition is compacted once more than this part of its bytes is new.
    Active "min.cleanable.dirty.ratio": Double = 0.5, between(0, 1),
        inherits(&[from("log.cleaner.min.cleanable.ratio")]);
    /// For how long a record is not compacted.
    Active "min.compaction.lag.ms": Long = 0, at_least(0), inherits(&[from("log.cleaner.min.compaction.lag.ms")]);
    /// How many replicas, the leader among them, must be in sync for a write with acks=all.
    Active "min.insync.replicas": Int = 1, at_least(1), inherits(&[from("min.insync.replicas")]);
    /// When an append is acknowledged and its records are shown to consumers: once they are in the page cache, as in Apache
    /// Kafka, or once they are on disk, which outlives a power cut too.
    Active "ottla.durability": String = "page-cache", one_of(&["page-cache", "fsync"]),
        inherits(&[from("ottla.durability")]);
    /// Whether a new segment file is given its full size at once. What is not used is given back when the segment is finished,
    /// and at a stop.
    Active "preallocate": Boolean = false, inherits(&[from("log.preallocate")]);
    NotYet "remote.log.copy.disable": Boolean = false;
    NotYet "remote.log.delete.on.disable": Boolean = false;
    NotYet "remote.storage.enable": Boolean = false;
    /// The oldest segments of a partition are removed while it is at least this large without them; -1 for no limit.
    Active "retention.bytes": Long = -1, inherits(&[from("log.retention.bytes")]);
    /// A segment is removed when its newest record is older than this; -1 for no limit.
    Active "retention.ms": Long = 604_800_000, at_least(-1),
        inherits(&[from("log.retention.ms"), times("log.retention.minutes", MINUTE), times("log.retention.hours", HOUR)]);
    /// At which size a partition starts a new segment file.
    Active "segment.bytes": Int = 1_073_741_824, at_least(1_048_576), inherits(&[from("log.segment.bytes")]);
    /// The largest size of an index file. A full index starts a new segment.
    Active "segment.index.bytes": Int = 10_485_760, at_least(4), inherits(&[from("log.index.size.max.bytes")]);
    /// The most by which `segment.ms` is shortened at random, so that not all partitions start a segment at once.
    Active "segment.jitter.ms": Long = 0, at_least(0),
        inherits(&[from("log.roll.jitter.ms"), times("log.roll.jitter.hours", HOUR)]);
    /// At which age a partition starts a new segment file.
    Active "segment.ms": Long = 604_800_000, at_least(1),
        inherits(&[from("log.roll.ms"), times("log.roll.hours", HOUR)]);
    /// Whether a replica may lead that may lack records, if no other can.
    Active "unclean.leader.election.enable": Boolean = false,
        inherits(&[from("unclean.leader.election.enable")]);
}
