//! The words of the domain: ids, offsets, epochs, times, topic names and error codes.
//!
//! Owns plain values that every other module may name, and nothing that does work.
//! **Invariant:** imports nothing of ours and does no I/O; a value here is cheap to copy or to clone.

mod error_code;
mod ids;
mod time;
mod topic_name;
mod with_causes;

pub use error_code::ErrorCode;
pub use ids::{
    BrokerId, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, TopicId,
    TopicIdPartition, TopicPartition, UuidText,
};
pub use time::{Instant, UnixMillis};
pub use topic_name::{TopicName, TopicNameError};
pub use with_causes::WithCauses;
