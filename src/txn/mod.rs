//! Transactions over partitions and groups: the coordinator's state machine, and the markers that end them.
//!
//! Owns what is kept in `__transaction_state` (`record.rs`), the states of one transactional id and the ways between them
//! (`transaction.rs`), one partition of the topic as a state machine (`shard.rs`, asked with what `command.rs` lists), and
//! bringing markers to the partitions of a transaction (`task.rs`). What a transaction means inside a partition is the
//! business of `log/`; offsets that are committed in one are that of `group/`.
//!
//! **Invariants:** once a transaction is prepared it is committed or aborted as it says, whatever happens; markers are
//! written only after that was committed to the log; a transaction is complete only when all its partitions have their
//! marker, or are gone. All but `task.rs` is pure.

pub mod command;
mod record;
pub mod shard;
mod task;
#[cfg(test)]
mod tests;
mod transaction;

pub use crate::config::TransactionSettings as Settings;
pub use command::{
    Command, Description, ListFilter, Listed, Producer, Reply, TransactionPartition,
};
pub use record::TransactionalId;
pub use shard::TransactionShard;
pub use task::{Durations, Errand, MarkerError, MarkerWriter, Markers};
pub use transaction::State;

pub use crate::cluster::features::TRANSACTION_VERSION as FEATURE;
/// The level of it from which on each transaction has an epoch of its own.
pub const EPOCH_PER_TRANSACTION_SINCE: i16 = 2;
