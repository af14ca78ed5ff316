//! The typed view of the broker's values about replication.

use std::time::Duration;

use super::layers::Layers;

/// The class whose name asks for reads from the consumer's own rack.
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// How this broker replicates. Key names stand behind each field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicationConfig {
    /// `num.replica.fetchers`, at least 1.
    pub fetchers: u32,
    /// `replica.lag.time.max.ms`.
    pub lag_max: Duration,
    /// `replica.fetch.wait.max.ms`.
    pub fetch_wait_max: Duration,
    /// `replica.fetch.min.bytes`.
    pub fetch_bytes_min: i32,
    /// `replica.fetch.max.bytes`: of one partition.
    pub partition_bytes_max: i32,
    /// `replica.fetch.response.max.bytes`: of all partitions.
    pub response_bytes_max: i32,
    /// `replica.fetch.backoff.ms`.
    pub backoff_max: Duration,
    /// `replica.high.watermark.checkpoint.interval.ms`, at least 1 ms.
    pub high_watermark_checkpoint_interval: Duration,
    /// `replica.socket.timeout.ms`.
    pub socket_timeout: Duration,
    /// `leader.replication.throttled.rate`: how many bytes a second others copy at most of the replicas that are throttled.
    pub leader_bytes_per_second_max: u64,
    /// `follower.replication.throttled.rate`: how many bytes a second this broker copies at most of those.
    pub follower_bytes_per_second_max: u64,
    /// Whether `replica.selector.class` sends consumers to their own rack.
    pub reads_in_rack: bool,
}

impl Layers<'_> {
    pub(super) fn replication(self) -> ReplicationConfig {
        ReplicationConfig {
            fetchers: self.number("num.replica.fetchers"),
            lag_max: self.millis("replica.lag.time.max.ms"),
            fetch_wait_max: self.millis("replica.fetch.wait.max.ms"),
            fetch_bytes_min: self.number("replica.fetch.min.bytes"),
            partition_bytes_max: self.number("replica.fetch.max.bytes"),
            response_bytes_max: self.number("replica.fetch.response.max.bytes"),
            backoff_max: self.millis("replica.fetch.backoff.ms"),
            high_watermark_checkpoint_interval: self
                .millis("replica.high.watermark.checkpoint.interval.ms")
                .max(Duration::from_millis(1)),
            socket_timeout: self.millis("replica.socket.timeout.ms"),
            leader_bytes_per_second_max: self.number("leader.replication.throttled.rate"),
            follower_bytes_per_second_max: self.number("follower.replication.throttled.rate"),
            reads_in_rack: self.text("replica.selector.class").as_deref() == Some(RACK_AWARE),
        }
    }
}
