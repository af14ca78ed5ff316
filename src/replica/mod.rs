//! The partitions of this broker: leaders that append and serve, each with its log.
//!
//! Owns the map from topic ids to partitions, the high watermark, whom an append, a commit or a sync wakes, and the
//! housekeeping of logs (checkpoints, syncs, retention, compaction, removal of deleted files, moves between the data directories).
//! Owns which directory a partition is in, and what a failed disk takes with it. Knows no request: `api/` asks
//! for one partition at a time.
//!
//! **Invariants:** the map is keyed by topic id, so a topic that was deleted and made again cannot be mistaken for the old
//! one; an append with acks=all is answered only once the high watermark has passed it, also with a single replica.

mod cleaner;
mod alterations;
mod follower;
mod followed;
mod janitor;
mod leading;
mod led;
mod log_dirs;
mod manager;
mod mover;
mod offline;
mod opening;
mod pace;
mod partition;
mod peers;
mod waiting;

use crate::log::{AppendError, ReadError};
use crate::model::{LeaderEpoch, Offset};

pub use crate::log::{Beginning, Guard};
pub use alterations::Proposer;
pub use log_dirs::{LogDirContent, LogDirInfo, ReplicaLogInfo};
pub use manager::{ReplicaManager, log_config};
pub use mover::MoveError;
pub use partition::{
    Deletion, FetchFrom, FetchedRecords, Isolation, OffsetAnswer, OffsetQuestion, Partition,
    ProducerStates, Reader,
};
pub use waiting::{AppendWait, FetchWaiter, Mark};

/// Why a partition did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// Its topic was deleted.
    #[error("the topic was deleted")]
    Gone,
    /// Another broker leads it, or none.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// The asker's leader epoch is older than ours.
    #[error("leader epoch {asked} is older than {current}")]
    FencedLeaderEpoch {
        /// The epoch of the request.
        asked: LeaderEpoch,
        /// The epoch of the partition.
        current: LeaderEpoch,
    },
    /// The asker's leader epoch is newer than ours.
    #[error("leader epoch {asked} is newer than {current}")]
    UnknownLeaderEpoch {
        /// The epoch of the request.
        asked: LeaderEpoch,
        /// The epoch of the partition.
        current: LeaderEpoch,
    },
    /// Fewer replicas are in sync than the topic asks for.
    #[error("{in_sync} replica(s) in sync, {required} required")]
    NotEnoughReplicas {
        /// Replicas in sync.
        in_sync: usize,
        /// Replicas that have to be.
        required: usize,
    },
    /// It was appended and committed, but then fewer replicas were in sync than the topic asks for.
    #[error("{in_sync} replica(s) in sync after the append, {required} required")]
    NotEnoughReplicasAfterAppend {
        /// Replicas in sync.
        in_sync: usize,
        /// Replicas that have to be.
        required: usize,
    },
    /// The leader is new and does not know yet up to where records are committed.
    #[error("the leader does not know yet what is committed")]
    OffsetNotAvailable,
    /// An offset that records should be deleted up to is not within the log.
    #[error("offset {wanted} is not within {start}..={high_watermark}")]
    OffsetOutOfRange {
        /// The offset asked for.
        wanted: Offset,
        /// First offset that can be read.
        start: Offset,
        /// End of what is committed.
        high_watermark: Offset,
    },
    /// The topic is compacted only: its records cannot be deleted by offset.
    #[error("the topic's cleanup.policy does not include delete")]
    NotDeletable,
    /// The log could not be opened, or its disk has failed.
    #[error("the partition is offline: {0}")]
    Offline(String),
    /// The append failed.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The read failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

#[cfg(test)]
mod tests;
