//! The typed view of the keys about transactions and the topic that holds them.

use std::time::Duration;

use super::layers::Layers;

/// The values for transactions. Key names stand behind each field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionSettings {
    /// `transaction.max.timeout.ms`.
    pub timeout_ms_max: i32,
    /// `transactional.id.expiration.ms`.
    pub id_expiration: Duration,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`.
    pub timeout_check_interval: Duration,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub expiration_check_interval: Duration,
    /// `transaction.partition.verification.enable`.
    pub verifies_partitions: bool,
    /// `add.partitions.to.txn.retry.backoff.ms`.
    pub retry_pause: Duration,
    /// `add.partitions.to.txn.retry.backoff.max.ms`.
    pub retry_max: Duration,
}

/// The values for `__transaction_state`. Key names stand behind each field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionsTopicConfig {
    /// `transaction.state.log.num.partitions`, at least 1.
    pub partition_count: i32,
    /// `transaction.state.log.replication.factor`.
    pub replication_factor: i16,
    /// `transaction.state.log.segment.bytes`.
    pub segment_bytes: i32,
    /// `transaction.state.log.min.isr`.
    pub min_insync_replicas: i32,
    /// `transaction.state.log.load.buffer.size`: about how much is read at a time when a partition is loaded.
    pub load_bytes: u32,
}

impl Layers<'_> {
    pub(super) fn transactions(self) -> TransactionSettings {
        TransactionSettings {
            timeout_ms_max: self.number("transaction.max.timeout.ms"),
            id_expiration: self.millis("transactional.id.expiration.ms"),
            timeout_check_interval: self
                .millis("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
            expiration_check_interval: self
                .millis("transaction.remove.expired.transaction.cleanup.interval.ms"),
            verifies_partitions: self.boolean("transaction.partition.verification.enable"),
            retry_pause: self.millis("add.partitions.to.txn.retry.backoff.ms"),
            retry_max: self.millis("add.partitions.to.txn.retry.backoff.max.ms"),
        }
    }

    pub(super) fn transactions_topic(self) -> TransactionsTopicConfig {
        TransactionsTopicConfig {
            partition_count: self.number("transaction.state.log.num.partitions"),
            replication_factor: self.number("transaction.state.log.replication.factor"),
            segment_bytes: self.number("transaction.state.log.segment.bytes"),
            min_insync_replicas: self.number("transaction.state.log.min.isr"),
            load_bytes: self.number("transaction.state.log.load.buffer.size"),
        }
    }
}
