//! A partition that another broker leads: what is asked of the leader, and what its answer does to the log.
//!
//! Source: `ReplicaFetcherThread` and `AbstractFetcherThread` of Apache Kafka, with the truncation of KIP-595: the leader says
//! in its answer where the histories part. **Invariants** (R2 to R4, R6, R14 of the replication design): nothing is appended
//! but at the end of the log and in the epoch that was asked in; a log is cut by epochs alone; the high watermark moves only
//! by answers that found no difference.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::PartitionError;
use super::partition::Partition;
use crate::log::{Append, AppendError, EpochEnd, Log, Origin, ReadError, Removed, TruncateError};
use crate::model::{BrokerId, Instant, LeaderEpoch, Offset, UnixMillis};
use crate::record::{BatchError, BatchHeader, ValidBatch};

/// What a follower asks its leader for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The epoch that it follows in.
    pub(super) leader_epoch: LeaderEpoch,
    /// The end of its log.
    pub(super) offset: Offset,
    /// The newest epoch of its log, if there is one.
    pub(super) last_epoch: Option<LeaderEpoch>,
    /// The start of its log.
    pub(super) log_start: Offset,
    /// Up to where it knows records to be committed.
    pub(super) high_watermark: Offset,
}

/// What the leader has answered.
#[derive(Clone, Debug)]
pub(super) enum LeaderAnswer {
    /// Whole batches from the offset on that was asked for, perhaps none; the last one may be cut off.
    Records {
        /// The batches.
        records: Bytes,
        /// Up to where records are committed.
        high_watermark: Offset,
        /// The start of the leader's log.
        log_start: Offset,
    },
    /// The histories part: this is where an epoch ends for the leader.
    Diverging(EpochEnd),
    /// The leader's log does not have the offset, and begins here.
    OutOfRange {
        /// The start of the leader's log.
        log_start: Offset,
    },
}

/// What became of an answer.
#[derive(Debug)]
pub(super) enum Followed {
    /// What it has brought is in the log.
    Taken {
        /// Whether something is to be flushed.
        flushes: bool,
        /// Segments that are wholly below the start of the log by now.
        removed: Option<(Arc<Log>, Removed)>,
    },
    /// The log was cut off.
    Cut,
    /// It was asked in another epoch or at another end: it is of no use.
    Stale,
    /// The leader has nothing that could follow this log.
    Stuck,
}

/// Why an answer did nothing, or not all.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    /// This broker does not follow the leader any more, or has no log.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// What the leader sent is damaged.
    #[error("the leader has sent a damaged batch: {0}")]
    Batch(#[from] BatchError),
    /// What the leader sent could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log could not be cut off.
    #[error(transparent)]
    Truncate(#[from] TruncateError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl LeaderAnswer {
    /// How many bytes of records it has.
    pub(super) fn records_len(&self) -> usize {
        match self {
            Self::Records { records, .. } => records.len(),
            Self::Diverging(_) | Self::OutOfRange { .. } => 0,
        }
    }

    /// Whether it may lead to a cut, which waits for the disk.
    pub(super) const fn may_cut(&self) -> bool {
        match self {
            Self::Records { .. } => false,
            Self::Diverging(_) | Self::OutOfRange { .. } => true,
        }
    }
}

/// Where a log is to be cut off whose leader says that an epoch ends there (KIP-279). `own_end` is that of the log, and `end_of`
/// tells where an epoch ends in it, or the one before it.
fn cut_of(
    leaders: EpochEnd,
    own_end: Offset,
    end_of: impl Fn(LeaderEpoch) -> Option<EpochEnd>,
) -> Offset {
    let cut = match end_of(leaders.epoch) {
        // The leader has more of it, or less.
        Some(own) if own.epoch == leaders.epoch => own.end.min(leaders.end),
        // The leader's epoch is not known here: an earlier one is what both may have. It is asked about next.
        Some(own) => own.end,
        None => leaders.end,
    };
    cut.min(own_end)
}

impl Partition {
    /// The broker that this one is to follow, with the epoch of that.
    pub(super) fn leader_to_follow(&self) -> Option<(BrokerId, LeaderEpoch)> {
        let (leader, epoch) = self.leader();
        leader.filter(|leader| *leader != self.broker).map(|leader| (leader, epoch))
    }

    /// What the leader is to be asked; none if that is another broker by now, or there is no log.
    pub(super) fn question(&self, leader: BrokerId) -> Option<Question> {
        let (log, leader_epoch) = self.log_in(None, |now| now == Some(leader)).ok()?;
        if leader == self.broker {
            return None;
        }
        let ends = log.ends();
        Some(Question {
            leader_epoch,
            offset: ends.end,
            last_epoch: log.latest_epoch(),
            log_start: ends.log_start,
            high_watermark: ends.high_watermark,
        })
    }

    /// Whether the controller counts this replica as one in sync.
    pub(super) fn is_in_sync(&self) -> bool {
        self.state.read().isr.contains(&self.broker)
    }

    /// When this replica may copy more, if it may not now: it is throttled and not in sync (KIP-73).
    pub(super) fn holds_back(&self) -> Option<Instant> {
        if !self.is_throttled_as_follower() || self.is_in_sync() {
            return None;
        }
        self.peers.follower_throttle.due(self.peers.now())
    }

    /// This replica has copied so many bytes.
    pub(super) fn has_copied(&self, bytes: usize) {
        if self.is_throttled_as_follower() {
            self.peers.follower_throttle.charge(self.peers.now(), bytes);
        }
    }

    fn is_throttled_as_follower(&self) -> bool {
        self.config.read().follower_throttled.contains(self.id().partition, self.broker)
    }

    /// Does what the leader's answer asks for. `keep` makes the recovery points durable, and
    /// forgets what else is kept of offsets above the one that it is given. Blocks for the disk where the answer
    /// [may cut](LeaderAnswer::may_cut).
    ///
    /// # Errors
    /// As [`FollowError`] says. The log holds whole batches in any case.
    pub(super) fn follow(
        &self,
        question: &Question,
        answer: &LeaderAnswer,
        keep: impl Fn(Offset) -> io::Result<()>,
        now: UnixMillis,
    ) -> Result<Followed, FollowError> {
        // The leader does not change meanwhile.
        let _following = self.following.lock();
        let log = match self.log_in(Some(question.leader_epoch), |it| it != Some(self.broker)) {
            Ok((log, _)) => log,
            Err(
                PartitionError::FencedLeaderEpoch { .. }
                | PartitionError::UnknownLeaderEpoch { .. }
                | PartitionError::NotLeader
                | PartitionError::Gone,
            ) => return Ok(Followed::Stale),
            Err(error) => return Err(error.into()),
        };
        if log.ends().end != question.offset {
            return Ok(Followed::Stale);
        }
        match answer {
            LeaderAnswer::Records { records, high_watermark, log_start } => {
                let flushes = append_replicated(&log, records, now)?;
                self.follow_marks(&log, *high_watermark)?;
                let removed = follow_start(&log, *log_start)?;
                let removed = removed.map(|removed| (Arc::clone(&log), removed));
                Ok(Followed::Taken { flushes, removed })
            }
            // Whoever keeps the recovery points asks for the place of each partition, so it is given free.
            LeaderAnswer::Diverging(end) => {
                let log = Arc::clone(&*{ log });
                cut_off(&log, *end, keep, now)
            }
            LeaderAnswer::OutOfRange { log_start }
                if question.offset < *log_start || question.last_epoch.is_none() =>
            {
                let log = Arc::clone(&*{ log });
                begin_anew(&log, *log_start, keep, now)
            }
            LeaderAnswer::OutOfRange { .. } => Ok(Followed::Stuck),
        }
    }

    /// What is committed for the leader is committed here too, as far as the log has it (R14).
    fn follow_marks(&self, log: &Log, high_watermark: Offset) -> Result<(), FollowError> {
        let (before, end) = (log.high_watermark(), log.end());
        if high_watermark <= before.offset || before.offset == end.offset {
            return Ok(());
        }
        let to = if high_watermark >= end.offset { end } else { log.position_of(high_watermark)? };
        self.commit(log, to);
        Ok(())
    }
}

/// Appends the whole batches. Gives whether something is to be flushed.
fn append_replicated(log: &Log, records: &Bytes, now: UnixMillis) -> Result<bool, FollowError> {
    let (mut rest, mut flushes) = (records.clone(), false);
    // What follows the last whole batch is for the next time.
    while let Ok(header) = BatchHeader::parse(&rest)
        && header.size_bytes() as usize <= rest.len()
    {
        let batch = rest.split_to(header.size_bytes() as usize);
        let batch = ValidBatch::trusted(&batch)?;
        let leader_epoch = header.partition_leader_epoch;
        let append = Append { batch, leader_epoch, origin: Origin::Replication, now };
        let appended = log.append(&append)?;
        flushes |= appended.rolled || appended.unsettled;
    }
    Ok(flushes)
}

/// Cuts off what the leader does not have.
fn cut_off(
    log: &Log,
    leaders: EpochEnd,
    keep: impl Fn(Offset) -> io::Result<()>,
    now: UnixMillis,
) -> Result<Followed, FollowError> {
    let ends = log.ends();
    let cut = cut_of(leaders, ends.end, |epoch| log.epoch_end(epoch));
    if cut < ends.high_watermark {
        tracing::warn!(partition = %log.name(), %cut, high_watermark = %ends.high_watermark,
            "the leader lacks records that were committed: they are cut off");
    }
    log.begin_truncation(cut)?;
    // What the file says of the recovery point goes down before anything else does.
    keep(cut)?;
    let end = log.truncate_to(cut, now)?;
    tracing::info!(partition = %log.name(), from = %ends.end, to = %end, "cut off what the leader does not have");
    Ok(Followed::Cut)
}

/// The log begins where the leader's does, as far as it is committed here.
fn follow_start(log: &Log, leaders: Offset) -> Result<Option<Removed>, FollowError> {
    let ends = log.ends();
    let to = leaders.min(ends.high_watermark);
    if to <= ends.log_start {
        return Ok(None);
    }
    Ok(Some(log.advance_log_start(to)?))
}

/// Nothing that the log has is of use to who follows this leader.
fn begin_anew(
    log: &Log,
    start: Offset,
    keep: impl Fn(Offset) -> io::Result<()>,
    now: UnixMillis,
) -> Result<Followed, FollowError> {
    tracing::warn!(partition = %log.name(), from = %log.ends().end, to = %start,
        "the leader's log begins elsewhere: this one begins anew there");
    log.begin_truncation(start.min(log.ends().log_start))?;
    keep(start)?;
    log.truncate_fully(start, now)?;
    Ok(Followed::Cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_a_cut_goes_by_epochs() {
        // Own epochs: 2 up to 10, 4 up to 20, 5 up to the end.
        let own = |epoch: LeaderEpoch| {
            let (epoch, end) = match epoch.0 {
                2 | 3 => (2, 10),
                4 => (4, 20),
                5 => (5, 30),
                _ => return None,
            };
            Some(EpochEnd { epoch: LeaderEpoch(epoch), end: Offset(end) })
        };
        for (epoch, end, expected, why) in [
            (5, 25, 25, "the leader has less of the same epoch"),
            (4, 15, 15, "and less of an earlier one"),
            (4, 25, 20, "or more of it"),
            (3, 18, 10, "of an epoch that is not known here the one before is asked about next"),
            (1, 7, 7, "nothing here is as old"),
            (5, 99, 30, "never beyond the end"),
        ] {
            let leaders = EpochEnd { epoch: LeaderEpoch(epoch), end: Offset(end) };
            assert_eq!(cut_of(leaders, Offset(30), own), Offset(expected), "{why}");
        }
    }
}
