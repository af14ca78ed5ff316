//! Broker keys about tiered storage.

use super::checks::is_jitter;

table! {
    REMOTE: Broker, "Tiered storage";

    NotYet "log.local.retention.bytes": Long = -2, at_least(-2), cluster_wide;
    NotYet "log.local.retention.ms": Long = -2, at_least(-2), cluster_wide;
    NotYet "remote.fetch.max.wait.ms": Int = 500, at_least(1), cluster_wide;
    NotYet "remote.list.offsets.request.timeout.ms": Long = 30_000, at_least(1), cluster_wide;
    NotYet "remote.log.index.file.cache.total.size.bytes": Long = 1_073_741_824, at_least(1), cluster_wide;
    NotYet "remote.log.index.file.cache.ttl.ms": Long = 900_000, at_least(-1), unlisted;
    Inert "remote.log.manager.copier.thread.pool.size": Int = 10, at_least(1), cluster_wide;
    NotYet "remote.log.manager.copy.max.bytes.per.second": Long = i64::MAX, at_least(1), cluster_wide;
    NotYet "remote.log.manager.copy.quota.window.num": Int = 11, at_least(1);
    NotYet "remote.log.manager.copy.quota.window.size.seconds": Int = 1, at_least(1);
    Inert "remote.log.manager.expiration.thread.pool.size": Int = 10, at_least(1), cluster_wide;
    NotYet "remote.log.manager.fetch.max.bytes.per.second": Long = i64::MAX, at_least(1), cluster_wide;
    NotYet "remote.log.manager.fetch.quota.window.num": Int = 11, at_least(1);
    NotYet "remote.log.manager.fetch.quota.window.size.seconds": Int = 1, at_least(1);
    Inert "remote.log.manager.follower.thread.pool.size": Int = 2, at_least(1), cluster_wide;
    NotYet "remote.log.manager.task.interval.ms": Long = 30_000, at_least(1);
    NotYet "remote.log.manager.task.retry.backoff.max.ms": Long = 30_000, at_least(1), unlisted;
    NotYet "remote.log.manager.task.retry.backoff.ms": Long = 500, at_least(1), unlisted;
    NotYet "remote.log.manager.task.retry.jitter": Double = 0.2, special("from 0 to 0.5", is_jitter), unlisted;
    Inert "remote.log.manager.thread.pool.size": Int = 2, at_least(1);
    NotYet "remote.log.metadata.custom.metadata.max.bytes": Int = 128, at_least(0);
    NotYet "remote.log.metadata.manager.class.name": String = "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager",
        non_empty;
    Inert "remote.log.metadata.manager.class.path": String;
    NotYet "remote.log.metadata.manager.impl.prefix": String = "rlmm.config.", non_empty;
    NotYet "remote.log.metadata.manager.listener.name": String, non_empty;
    NotYet "remote.log.reader.max.pending.tasks": Int = 100, at_least(1);
    Inert "remote.log.reader.threads": Int = 10, at_least(1), cluster_wide;
    NotYet "remote.log.storage.manager.class.name": String, non_empty;
    Inert "remote.log.storage.manager.class.path": String;
    NotYet "remote.log.storage.manager.impl.prefix": String = "rsm.config.", non_empty;
    NotYet "remote.log.storage.system.enable": Boolean = false;
}
