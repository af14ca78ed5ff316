//! What a request waits for that was begun at the leader of a partition: that a mark of its log comes to an offset.

use std::sync::Arc;

use crate::env::Tasks;
use crate::model::{LeaderEpoch, Offset};
use crate::replica::{Mark, Partition, PartitionError};

/// A wait for `mark` of a partition to come to `until`.
pub(super) struct PendingWait {
    pub(super) partition: Arc<Partition>,
    pub(super) mark: Mark,
    pub(super) until: Offset,
    pub(super) leader_epoch: LeaderEpoch,
}

/// A wait, with the place of its answer in the response: which topic, and which of its partitions.
pub(super) struct Pending {
    pub(super) wait: PendingWait,
    pub(super) topic: usize,
    pub(super) index: usize,
}

impl PendingWait {
    /// As [`done`](Self::done), but a broker that stops does not wait for others: none then.
    pub(super) async fn done_before_stop(
        &self,
        tasks: &Tasks,
        waiting: impl FnMut(Mark) + Send,
    ) -> Option<Result<(), PartitionError>> {
        if !self.partition.has_other_replicas() {
            return Some(self.done(waiting).await);
        }
        tokio::select! {
            done = self.done(waiting) => Some(done),
            () = tasks.cancelled() => None,
        }
    }

    /// Waits as long as it takes. What is committed is durable here first, which is waited for apart: `waiting` is told for which
    /// mark, before each wait.
    ///
    /// # Errors
    /// As [`Partition::wait_for`].
    pub(super) async fn done(
        &self,
        mut waiting: impl FnMut(Mark) + Send,
    ) -> Result<(), PartitionError> {
        let marks: &[Mark] = match self.mark {
            Mark::Committed => &[Mark::Settled, Mark::Committed],
            Mark::Settled => &[Mark::Settled],
            Mark::Deleted => &[Mark::Deleted],
        };
        for mark in marks {
            while let Some(wait) = self.partition.wait_for(*mark, self.until, self.leader_epoch)? {
                waiting(*mark);
                wait.woken().await;
            }
        }
        Ok(())
    }
}
