//! Broker keys about topics and the logs of their partitions.

use super::checks::is_gzip_level;
use crate::config::key::Literal::Text;

table! {
    LOGS: Broker, "Topics and logs";

    /// Whether a topic that does not exist is created when a client asks for its metadata and allows it.
    Active "auto.create.topics.enable": Boolean = true;
    /// How hard gzip tries where the broker compresses records itself; -1 is its default.
    Active "compression.gzip.level": Int = -1, special("-1 or from 1 to 9", is_gzip_level), cluster_wide;
    /// How hard LZ4 tries where the broker compresses records itself: 9 is its fast way, all others are levels of its slow one.
    Active "compression.lz4.level": Int = 9, between(1, 17), cluster_wide;
    /// How records are kept: compressed as their producer did it, or anew with the codec named here.
    Active "compression.type": String = "producer",
        one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), cluster_wide;
    /// How hard Zstandard tries where the broker compresses records itself.
    Active "compression.zstd.level": Int = 3, between(-131_072, 22), cluster_wide;
    /// Those of `log.dirs` that take no new partitions; `*` stands for all, and then no new partitions are given to this broker.
    /// What is there stays, and is served (KIP-1066).
    Active "cordoned.log.dirs": List = "", items(&[]), per_broker;
    /// How many replicas the partitions of a new topic have when its creator does not say.
    Active "default.replication.factor": Int = 1;
    /// Whether topics can be deleted.
    Active "delete.topic.enable": Boolean = true;
    /// How long compaction rests when no partition has enough that is new.
    Active "log.cleaner.backoff.ms": Long = 15_000, at_least(0), cluster_wide;
    /// How much memory compaction may take for the keys of what is new in a partition, 24 bytes for each. It takes no more
    /// than needed, and only while it is at work; what does not fit waits for the next time.
    Active "log.cleaner.dedupe.buffer.size": Long = 134_217_728, cluster_wide;
    /// For how long a compacted topic keeps a tombstone (a record without value) after the first compaction that met it, so
    /// that consumers see it.
    Active "log.cleaner.delete.retention.ms": Long = 86_400_000, at_least(0), cluster_wide;
    /// Whether partitions are compacted at all. Without it, topics whose `cleanup.policy` has `compact` keep everything.
    Active "log.cleaner.enable": Boolean = true;
    /// How full the memory for keys may get.
    Active "log.cleaner.io.buffer.load.factor": Double = 0.9, cluster_wide;
    /// How many bytes compaction reads and writes at a time, half of it each.
    Active "log.cleaner.io.buffer.size": Int = 524_288, at_least(0), cluster_wide;
    /// How many bytes a second compaction reads and writes at most.
    Active "log.cleaner.io.max.bytes.per.second": Double = f64::MAX, cluster_wide;
    /// A record is compacted after this time at the latest, whatever the part that is new.
    Active "log.cleaner.max.compaction.lag.ms": Long = i64::MAX, at_least(1), cluster_wide;
    /// A partition is compacted once more than this part of its bytes is new.
    Active "log.cleaner.min.cleanable.ratio": Double = 0.5, between(0, 1), cluster_wide;
    /// For how long a record is not compacted.
    Active "log.cleaner.min.compaction.lag.ms": Long = 0, at_least(0), cluster_wide;
    Inert "log.cleaner.threads": Int = 1, at_least(0), cluster_wide;
    /// What becomes of old records: `delete` removes them by age and size, `compact` keeps of each key the latest one.
    /// Both together do both, and neither keeps everything.
    Active "log.cleanup.policy": List = "delete", items(&["compact", "delete"]), cluster_wide;
    /// Where the data is, when `log.dirs` is not set. Several directories stand between commas.
    Active "log.dir": List = "/tmp/kafka-logs", some_items(&[]), in_ottla(Text("./ottla-data"));
    /// A broker of several that could not tell the controller for so long that a log directory has failed ends, so that others
    /// lead what it has led (KIP-858).
    Active "log.dir.failure.timeout.ms": Long = 30_000, at_least(1);
    /// Where the data is. Several directories stand between commas; a new partition goes to the one with the fewest.
    Active "log.dirs": List, some_items(&[]);
    /// Once this many records of a partition are not yet on disk, an append is finished only after they were synced.
    Active "log.flush.interval.messages": Long = i64::MAX, at_least(1), cluster_wide;
    /// A partition whose last sync is older than this is synced when `log.flush.scheduler.interval.ms` next looks for
    /// such. Unset, that interval counts.
    Active "log.flush.interval.ms": Long, cluster_wide;
    /// How often the offsets up to which the logs are known to be on disk are written down. Recovery starts there.
    Active "log.flush.offset.checkpoint.interval.ms": Int = 60_000, at_least(0);
    /// How often partitions are looked for whose last sync is older than their `flush.ms`.
    Active "log.flush.scheduler.interval.ms": Long = i64::MAX;
    /// How often the first offsets of the logs are written down.
    Active "log.flush.start.offset.checkpoint.interval.ms": Int = 60_000, at_least(0);
    /// After how many bytes of records the offset index gets another entry.
    Active "log.index.interval.bytes": Int = 4096, at_least(0), cluster_wide;
    /// The largest size of an index file. A full index starts a new segment.
    Active "log.index.size.max.bytes": Int = 10_485_760, at_least(4), cluster_wide;
    /// How long after the start old segments are first looked for.
    Active "log.initial.task.delay.ms": Long = 30_000, at_least(0), unlisted;
    /// How far the time of a record may lie in the future. A later one is refused.
    Active "log.message.timestamp.after.max.ms": Long = 3_600_000, at_least(0), cluster_wide;
    /// How far the time of a record may lie in the past. An older one is refused.
    Active "log.message.timestamp.before.max.ms": Long = i64::MAX, at_least(0), cluster_wide;
    /// Whether records keep the time that their producer gave them or get the time of the append.
    Active "log.message.timestamp.type": String = "CreateTime", one_of(&["CreateTime", "LogAppendTime"]), cluster_wide;
    /// Whether a new segment file is given its full size at once. What is not used is given back when the segment is finished,
    /// and at a stop.
    Active "log.preallocate": Boolean = false, cluster_wide;
    /// The oldest segments of a partition are removed while it is at least this large without them; -1 for no limit.
    Active "log.retention.bytes": Long = -1, cluster_wide;
    /// How often old segments are looked for.
    Active "log.retention.check.interval.ms": Long = 300_000, at_least(1);
    /// As `log.retention.ms`, in hours.
    Active "log.retention.hours": Int = 168;
    /// As `log.retention.ms`, in minutes. Unset, `log.retention.hours` counts.
    Active "log.retention.minutes": Int;
    /// A segment is removed when its newest record is older than this; -1 for no limit. Unset, `log.retention.minutes`
    /// counts.
    Active "log.retention.ms": Long, cluster_wide;
    /// At which age, in hours, a partition starts a new segment file.
    Active "log.roll.hours": Int = 168, at_least(1);
    /// As `log.roll.jitter.ms`, in hours.
    Active "log.roll.jitter.hours": Int = 0, at_least(0);
    /// The most by which the age at which a partition starts a new segment is shortened at random, so that not all
    /// partitions do so at once. Unset, `log.roll.jitter.hours` counts.
    Active "log.roll.jitter.ms": Long, cluster_wide;
    /// At which age a partition starts a new segment file. Unset, `log.roll.hours` counts.
    Active "log.roll.ms": Long, cluster_wide;
    /// At which size a partition starts a new segment file.
    Active "log.segment.bytes": Int = 1_073_741_824, at_least(1_048_576), cluster_wide;
    /// How long a deleted segment or partition stays on disk, so that reads under way can end.
    Active "log.segment.delete.delay.ms": Long = 60_000, at_least(0), cluster_wide;
    /// The largest record batch that a topic accepts, in bytes as it is sent, unless the topic says otherwise.
    Active "message.max.bytes": Int = 1_048_588, at_least(0), cluster_wide;
    /// How many replicas, the leader among them, must be in sync for a write with acks=all.
    Active "min.insync.replicas": Int = 1, at_least(1), cluster_wide;
    /// How many partitions a new topic has when its creator does not say.
    Active "num.partitions": Int = 1, at_least(1);
    /// How many partitions of one data directory are recovered at the same time after an unclean stop.
    Active "num.recovery.threads.per.data.dir": Int = 2, at_least(1), cluster_wide;
    /// How often partitions look for producers to forget.
    Active "producer.id.expiration.check.interval.ms": Int = 600_000, at_least(1), unlisted;
    /// After how much silence a partition forgets an idempotent producer.
    Active "producer.id.expiration.ms": Int = 86_400_000, at_least(1), cluster_wide;
}
