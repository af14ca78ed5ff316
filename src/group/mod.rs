//! Groups of consumers and the offsets they commit: pure state machines.
//!
//! Owns what is kept in `__consumer_offsets` (`records/`), one partition of it as a state machine (`shard.rs`), the groups
//! of the classic protocol (`classic/`) and of KIP-848 (`consumer/`), and the committed offsets (`offsets.rs`), those of open transactions
//! (`pending_offsets.rs`) among them. It does no
//! I/O, reads no clock, and knows neither connections nor authorization: `api/` asks through `coordinator/`, with what
//! `command.rs` lists.
//!
//! **Invariant:** everything that must survive is a record, and a shard that replays the records has the same durable
//! state as the one that wrote them.

pub mod classic;
pub mod command;
pub mod consumer;
mod ids;
pub mod offsets;
mod pending_offsets;
pub mod records;
#[cfg(test)]
mod rig;
pub mod shard;
#[cfg(test)]
mod transaction_tests;
pub mod turn;

pub use crate::config::GroupSettings as Settings;
pub use command::{Caller, Command, Reply, TopicFilter};
pub use consumer::WholePattern;
pub use ids::{GroupId, InstanceId, MemberId};
pub use shard::GroupShard;
