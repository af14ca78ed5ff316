//! Broker keys about metrics, quotas and classes that a JVM would load.

table! {
    OPERATIONS: Broker, "Metrics, quotas and plug-ins";

    Inert "alter.config.policy.class.name": Class;
    Inert "alter.log.dirs.replication.quota.window.num": Int = 11, at_least(1);
    Inert "alter.log.dirs.replication.quota.window.size.seconds": Int = 1, at_least(1);
    Inert "client.quota.callback.class": Class;
    NotYet "config.providers": List = "", items(&[]), cluster_wide;
    NotYet "controller.quota.window.num": Int = 11, at_least(1);
    NotYet "controller.quota.window.size.seconds": Int = 1, at_least(1);
    Inert "create.topic.policy.class.name": Class;
    /// How many bytes a second this broker copies at most as a follower, of the replicas that are throttled.
    Active "follower.replication.throttled.rate": Long = i64::MAX, at_least(0), cluster_wide, unlisted;
    Inert "kafka.metrics.polling.interval.secs": Int = 10, at_least(1);
    Inert "kafka.metrics.reporters": List = "", items(&[]);
    /// How many bytes a second others copy at most from this broker as the leader, of the replicas that are throttled.
    Active "leader.replication.throttled.rate": Long = i64::MAX, at_least(0), cluster_wide, unlisted;
    Inert "metric.reporters": List = "org.apache.kafka.common.metrics.JmxReporter", items(&[]), cluster_wide;
    Inert "metrics.num.samples": Int = 2, at_least(1);
    Inert "metrics.recording.level": String = "INFO";
    Inert "metrics.sample.window.ms": Long = 30_000, at_least(1);
    NotYet "quota.window.num": Int = 11, at_least(1);
    NotYet "quota.window.size.seconds": Int = 1, at_least(1);
    /// How many bytes a second are copied at most, over all partitions that are moved to another log directory.
    Active "replica.alter.log.dirs.io.max.bytes.per.second": Long = i64::MAX, at_least(0), cluster_wide, unlisted;
    NotYet "replication.quota.window.num": Int = 11, at_least(1);
    NotYet "replication.quota.window.size.seconds": Int = 1, at_least(1);
    NotYet "telemetry.max.bytes": Int = 1_048_576, at_least(1);
}
