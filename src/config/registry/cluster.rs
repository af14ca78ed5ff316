//! Broker keys about the identity of a node, the controller and replication.

use super::checks::{are_servers, are_voters};
use crate::config::key::Literal::{Integer, Text};

table! {
    CLUSTER: Broker, "Cluster and replication";

    /// Whether partitions go back to their preferred leaders by themselves, some time after these are in sync again.
    Active "auto.leader.rebalance.enable": Boolean = true;
    /// How often a broker of a cluster tells the voters that it lives; unset, every 200 ms. At most half of `broker.session.timeout.ms`.
    Active "broker.heartbeat.interval.ms": Int = 2000;
    /// The older name of `node.id`. When both are set they must be equal.
    Active "broker.id": Int = -1, in_ottla(Integer(1));
    /// Where this broker stands, as clients see it in Metadata; replicas of a partition are spread over racks.
    Active "broker.rack": String;
    /// A broker of a cluster that was not heard of for so long is fenced; unset, 1000 ms, or four times `controller.quorum.election.timeout.ms` if that is more. The same on all nodes of a cluster.
    Active "broker.session.timeout.ms": Int = 9000;
    NotYet "controlled.shutdown.enable": Boolean = true;
    /// The listeners that belong to the controller. They are left out of what clients are told.
    Active "controller.listener.names": List, some_items(&[]), skips_empty, in_ottla(Text("CONTROLLER"));
    Inert "controller.performance.always.log.threshold.ms": Long = 2000, at_least(0), unlisted;
    Inert "controller.performance.sample.period.ms": Long = 60_000, at_least(100), unlisted;
    NotYet "controller.quorum.append.linger.ms": Int = 25, at_least(0);
    /// Whether a controller that does not vote adds itself to the voters, where they are not those of `controller.quorum.voters` (KIP-853).
    Active "controller.quorum.auto.join.enable": Boolean = false;
    /// Where controllers are, instead of `controller.quorum.voters`: a new cluster is begun by those controllers that are named here, once all are there, and its voters are added and removed while it runs (KIP-853).
    Active "controller.quorum.bootstrap.servers": List = "", special("a list of host:port", are_servers);
    NotYet "controller.quorum.election.backoff.max.ms": Int = 1000, at_least(0);
    /// How long a voter hears nothing of the leader before it wants to lead: this up to twice as long, after the vote that it gave it has expired, which takes as long. The leader sends something at least twice in it. Unset, 150 to 300 ms, and every 50 ms.
    Active "controller.quorum.election.timeout.ms": Int = 1000, at_least(0);
    NotYet "controller.quorum.fetch.max.bytes": Int = 1_048_576, at_least(1);
    NotYet "controller.quorum.fetch.snapshot.max.bytes": Int = 1_048_576, at_least(1);
    NotYet "controller.quorum.fetch.timeout.ms": Int = 2000, at_least(0);
    NotYet "controller.quorum.request.timeout.ms": Int = 2000, at_least(0);
    NotYet "controller.quorum.retry.backoff.ms": Int = 20, at_least(0);
    /// The nodes that agree on the cluster's state, each as `id@host:port`. With others than this node, it is part of a cluster.
    Active "controller.quorum.voters": List = "", special("a list of id@host:port", are_voters);
    NotYet "controller.socket.timeout.ms": Int = 30_000;
    NotYet "follower.fetch.last.tiered.offset.enable": Boolean = false, cluster_wide;
    NotYet "initial.broker.registration.timeout.ms": Int = 60_000;
    Inert "internal.metadata.delete.delay.millis": Long = 60_000, unlisted;
    Inert "internal.metadata.log.segment.bytes": Int, unlisted;
    Inert "internal.metadata.max.batch.size.in.bytes": Int = 8_388_608, unlisted;
    /// How often that happens.
    Active "leader.imbalance.check.interval.seconds": Long = 300, at_least(1);
    /// Where the metadata log is. Unset, it is in the first directory of `log.dirs`.
    Active "metadata.log.dir": String;
    NotYet "metadata.log.max.record.bytes.between.snapshots": Long = 20_971_520, at_least(1);
    NotYet "metadata.log.max.snapshot.interval.ms": Long = 3_600_000, at_least(0);
    Inert "metadata.log.segment.bytes": Int = 1_073_741_824, at_least(8_388_608);
    Inert "metadata.log.segment.ms": Long = 604_800_000;
    NotYet "metadata.max.idle.interval.ms": Int = 500, at_least(0);
    NotYet "metadata.max.retention.bytes": Long = 104_857_600;
    NotYet "metadata.max.retention.ms": Long = 604_800_000;
    /// The id of this broker in its cluster.
    Active "node.id": Int, at_least(0), in_ottla(Integer(1));
    Inert "num.replica.alter.log.dirs.threads": Int;
    /// How many tasks fetch from each leader.
    Active "num.replica.fetchers": Int = 1, at_least(1), cluster_wide;
    /// What the node is for: a broker serves clients and holds partitions, a controller is one of `controller.quorum.voters`. A node alone is both.
    Active "process.roles": List, some_items(&["broker", "controller"]), in_ottla(Text("broker,controller"));
    /// The longest pause before a follower tries again what its leader has refused. Shorter ones come first.
    Active "replica.fetch.backoff.ms": Int = 1000, at_least(0);
    /// About how many bytes of one partition a follower fetches at a time.
    Active "replica.fetch.max.bytes": Int = 1_048_576, at_least(0);
    /// A leader answers a follower at once when it has so many bytes.
    Active "replica.fetch.min.bytes": Int = 1;
    /// About how many bytes of all partitions together a follower fetches at a time.
    Active "replica.fetch.response.max.bytes": Int = 10_485_760, at_least(0);
    /// The longest time that a leader lets a follower wait for records.
    Active "replica.fetch.wait.max.ms": Int = 500;
    /// How often the high watermarks are written down where partitions have several replicas.
    Active "replica.high.watermark.checkpoint.interval.ms": Long = 5000;
    /// A follower that has not had all of the leader's records for so long is not in sync any more.
    Active "replica.lag.time.max.ms": Long = 30_000;
    /// Which replica consumers are to read from: `org.apache.kafka.common.replica.RackAwareReplicaSelector` names one in their own rack, if there is one; without it, it is the leader.
    Active "replica.selector.class": String;
    NotYet "replica.socket.receive.buffer.bytes": Int = 65_536;
    /// How long a follower waits for an answer beyond the time that it lets the leader wait.
    Active "replica.socket.timeout.ms": Int = 30_000;
    Inert "server.max.startup.time.ms": Long = i64::MAX, at_least(0), unlisted;
    /// Whether a replica may lead a partition that may lack records, if no other can. Topics can say otherwise.
    Active "unclean.leader.election.enable": Boolean = false, cluster_wide;
    NotYet "unclean.leader.election.interval.ms": Long = 300_000, at_least(1), unlisted;
    Inert "unstable.api.versions.enable": Boolean = false, unlisted;
    Inert "unstable.feature.versions.enable": Boolean = false, unlisted;
}
