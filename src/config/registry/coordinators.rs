//! Broker keys about groups, offsets, transactions and share groups.

use crate::config::key::Literal::Integer;

table! {
    COORDINATORS: Broker, "Groups and transactions";

    /// How long a produce request waits at most for the end of its producer's previous transaction.
    Active "add.partitions.to.txn.retry.backoff.max.ms": Int = 100, at_least(0);
    /// How long it waits between two looks at that transaction.
    Active "add.partitions.to.txn.retry.backoff.ms": Int = 20, at_least(1);
    /// How much time has to pass between two divisions of a consumer group's partitions, where the group sets nothing.
    Active "group.consumer.assignment.interval.ms": Int = 1000, at_least(0), cluster_wide;
    /// The assignors that members of consumer groups may name, uniform and range; the first is the default.
    Active "group.consumer.assignors": List = "uniform,range", some_items(&[]);
    /// How often members of consumer groups send heartbeats, where the group sets nothing.
    Active "group.consumer.heartbeat.interval.ms": Int = 5000, at_least(1);
    /// The longest assignment interval that a consumer group may set.
    Active "group.consumer.max.assignment.interval.ms": Int = 15_000, at_least(0);
    /// The longest heartbeat interval that a consumer group may set.
    Active "group.consumer.max.heartbeat.interval.ms": Int = 15_000, at_least(1);
    /// The longest session timeout that a consumer group may set.
    Active "group.consumer.max.session.timeout.ms": Int = 60_000, at_least(1);
    /// How many members a consumer group may have.
    Active "group.consumer.max.size": Int = 2_147_483_647, at_least(1);
    /// Whether groups change between the classic and the consumer protocol while they have members.
    Active "group.consumer.migration.policy": String = "bidirectional",
        one_of_any_case(&["BIDIRECTIONAL", "DISABLED", "DOWNGRADE", "UPGRADE"]);
    /// The shortest assignment interval that a consumer group may set.
    Active "group.consumer.min.assignment.interval.ms": Int = 0, at_least(0);
    /// The shortest heartbeat interval that a consumer group may set.
    Active "group.consumer.min.heartbeat.interval.ms": Int = 5000, at_least(1);
    /// The shortest session timeout that a consumer group may set.
    Active "group.consumer.min.session.timeout.ms": Int = 45_000, at_least(1);
    /// How often the regular expressions of a consumer group are resolved anew at least.
    Active "group.consumer.regex.refresh.interval.ms": Int = 600_000, at_least(10_000), unlisted;
    /// How long a member of a consumer group may stay silent, where the group sets nothing.
    Active "group.consumer.session.timeout.ms": Int = 45_000, at_least(1);
    NotYet "group.coordinator.append.linger.ms": Int = -1, at_least(-1);
    Inert "group.coordinator.background.threads": Int = 2, at_least(1);
    NotYet "group.coordinator.cached.buffer.max.bytes": Int = 1_048_588, at_least(524_288), cluster_wide;
    /// The protocols that groups may use.
    Active "group.coordinator.rebalance.protocols": List = "classic,consumer,streams",
        some_items(&["classic", "consumer", "share", "streams"]);
    Inert "group.coordinator.threads": Int = 4, at_least(1);
    /// How long the first rebalance of an empty classic group waits for more members.
    Active "group.initial.rebalance.delay.ms": Int = 3000, alone(Integer(0));
    /// The longest session timeout that a member of a classic group may ask for.
    Active "group.max.session.timeout.ms": Int = 1_800_000;
    /// How many members a classic group may have.
    Active "group.max.size": Int = 2_147_483_647, at_least(1);
    /// The shortest session timeout that a member of a classic group may ask for.
    Active "group.min.session.timeout.ms": Int = 6000;
    NotYet "group.share.assignment.interval.ms": Int = 1000, at_least(0), cluster_wide;
    NotYet "group.share.assignors": List = "simple", some_items(&[]);
    NotYet "group.share.delivery.count.limit": Int = 5, between(2, 10);
    NotYet "group.share.heartbeat.interval.ms": Int = 5000, at_least(1);
    NotYet "group.share.initialize.retry.interval.ms": Int = 30_000, at_least(1), unlisted;
    NotYet "group.share.max.assignment.interval.ms": Int = 15_000, at_least(0);
    NotYet "group.share.max.delivery.count.limit": Int = 10, between(5, 25);
    NotYet "group.share.max.heartbeat.interval.ms": Int = 15_000, at_least(1);
    NotYet "group.share.max.partition.max.record.locks": Int = 4000, between(2000, 10_000);
    NotYet "group.share.max.record.lock.duration.ms": Int = 60_000, between(30_000, 3_600_000);
    NotYet "group.share.max.session.timeout.ms": Int = 60_000, at_least(1);
    NotYet "group.share.max.share.sessions": Int = 2000, at_least(1);
    NotYet "group.share.max.size": Int = 200, between(1, 1000);
    NotYet "group.share.min.assignment.interval.ms": Int = 0, at_least(0);
    NotYet "group.share.min.delivery.count.limit": Int = 2, between(2, 5);
    NotYet "group.share.min.heartbeat.interval.ms": Int = 5000, at_least(1);
    NotYet "group.share.min.partition.max.record.locks": Int = 100, between(100, 2000);
    NotYet "group.share.min.record.lock.duration.ms": Int = 15_000, between(1000, 30_000);
    NotYet "group.share.min.session.timeout.ms": Int = 45_000, at_least(1);
    NotYet "group.share.partition.max.record.locks": Int = 2000, between(100, 10_000);
    Inert "group.share.persister.class.name": String = "org.apache.kafka.server.share.persister.DefaultStatePersister",
        unlisted;
    NotYet "group.share.record.lock.duration.ms": Int = 30_000, between(1000, 3_600_000);
    NotYet "group.share.session.timeout.ms": Int = 45_000, at_least(1);
    NotYet "group.streams.assignment.interval.ms": Int = 1000, at_least(0), cluster_wide;
    NotYet "group.streams.heartbeat.interval.ms": Int = 5000, at_least(1);
    NotYet "group.streams.initial.rebalance.delay.ms": Int = 3000, at_least(0);
    NotYet "group.streams.max.assignment.interval.ms": Int = 15_000, at_least(0);
    NotYet "group.streams.max.heartbeat.interval.ms": Int = 15_000, at_least(1);
    NotYet "group.streams.max.session.timeout.ms": Int = 60_000, at_least(1);
    NotYet "group.streams.max.size": Int = 2_147_483_647, at_least(1);
    NotYet "group.streams.max.standby.replicas": Int = 2, at_least(0);
    NotYet "group.streams.min.assignment.interval.ms": Int = 0, at_least(0);
    NotYet "group.streams.min.heartbeat.interval.ms": Int = 5000, at_least(1);
    NotYet "group.streams.min.session.timeout.ms": Int = 45_000, at_least(1);
    NotYet "group.streams.num.standby.replicas": Int = 0, at_least(0);
    NotYet "group.streams.session.timeout.ms": Int = 45_000, at_least(1);
    /// How long the text may be that is committed with an offset.
    Active "offset.metadata.max.bytes": Int = 4096;
    NotYet "offsets.commit.timeout.ms": Int = 5000, at_least(1);
    /// About how much of the topic of groups is read at a time when it is loaded.
    Active "offsets.load.buffer.size": Int = 5_242_880, at_least(1);
    /// How often offsets are looked through for those that have expired.
    Active "offsets.retention.check.interval.ms": Long = 600_000, at_least(1);
    /// How long offsets are kept after their group has become empty.
    Active "offsets.retention.minutes": Int = 10_080, at_least(1);
    /// How the records of groups are compressed: 0 not at all, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    Active "offsets.topic.compression.codec": Int = 0;
    /// How many partitions the topic of groups is made with.
    Active "offsets.topic.num.partitions": Int = 50, at_least(1);
    /// How many replicas the topic of groups is made with.
    Active "offsets.topic.replication.factor": Short = 3, at_least(1), alone(Integer(1));
    /// The size of segments that the topic of groups is made with.
    Active "offsets.topic.segment.bytes": Int = 104_857_600, at_least(1);
    NotYet "share.coordinator.append.linger.ms": Int = -1, at_least(-1);
    NotYet "share.coordinator.cached.buffer.max.bytes": Int = 1_048_588, at_least(524_288), cluster_wide;
    NotYet "share.coordinator.cold.partition.snapshot.interval.ms": Int = 300_000, at_least(1), unlisted;
    NotYet "share.coordinator.load.buffer.size": Int = 5_242_880, at_least(1);
    NotYet "share.coordinator.snapshot.update.records.per.snapshot": Int = 500, between(0, 500);
    NotYet "share.coordinator.state.topic.compression.codec": Int = 0;
    NotYet "share.coordinator.state.topic.min.isr": Short = 2, at_least(1), alone(Integer(1));
    NotYet "share.coordinator.state.topic.num.partitions": Int = 50, at_least(1);
    NotYet "share.coordinator.state.topic.prune.interval.ms": Int = 300_000, at_least(1), unlisted;
    NotYet "share.coordinator.state.topic.replication.factor": Short = 3, at_least(1), alone(Integer(1));
    NotYet "share.coordinator.state.topic.segment.bytes": Int = 104_857_600, at_least(1);
    Inert "share.coordinator.threads": Int = 1, at_least(1);
    NotYet "share.coordinator.write.timeout.ms": Int = 5000, at_least(1);
    Inert "share.fetch.purgatory.purge.interval.requests": Int = 1000;
    /// How often transactions are looked through for those that have taken too long.
    Active "transaction.abort.timed.out.transaction.cleanup.interval.ms": Int = 10_000, at_least(1);
    /// The longest timeout that a transactional producer may ask for.
    Active "transaction.max.timeout.ms": Int = 900_000, at_least(1);
    /// Whether the first batch of a transaction in a partition is only taken if the transaction's coordinator knows of it.
    Active "transaction.partition.verification.enable": Boolean = true, cluster_wide;
    /// How often transactional ids are looked through for those that have expired.
    Active "transaction.remove.expired.transaction.cleanup.interval.ms": Int = 3_600_000, at_least(1);
    /// About how much of the topic of transactions is read at a time when it is loaded.
    Active "transaction.state.log.load.buffer.size": Int = 5_242_880, at_least(1);
    /// How many replicas of the topic of transactions have to be in sync.
    Active "transaction.state.log.min.isr": Int = 2, at_least(1), alone(Integer(1));
    /// How many partitions the topic of transactions is made with.
    Active "transaction.state.log.num.partitions": Int = 50, at_least(1);
    /// How many replicas the topic of transactions is made with.
    Active "transaction.state.log.replication.factor": Short = 3, at_least(1), alone(Integer(1));
    /// The size of segments that the topic of transactions is made with.
    Active "transaction.state.log.segment.bytes": Int = 104_857_600, at_least(1);
    NotYet "transaction.two.phase.commit.enable": Boolean = false;
    /// How long a transactional id is kept after its last transaction.
    Active "transactional.id.expiration.ms": Int = 604_800_000, at_least(1);
}
