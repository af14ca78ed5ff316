//! The state machine of a partition while it is served: its turns, and the answers they leave open.
//!
//! Owns the lock around it (`Desk`), behind which turns are made: by who asks, if nobody stands before it, else by the
//! task. Nothing waits under the lock but for the page cache.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::load::Loading;
use super::shard::{CoordinatorRecord, Effects, Now, Shard, Ticket};
use super::{Answer, Ask, CoordinatorError, Shared};
use crate::log::AppendError;
use crate::model::{Instant, LeaderEpoch, Offset};
use crate::record::{BatchBuilder, ValidBatch};
use crate::replica::{AppendWait, Mark, Partition, PartitionError};

/// What a record takes in a batch beside key and value, at most.
const RECORD_OVERHEAD_MAX: usize = 32;

/// Where a partition's state machine is asked.
pub(super) struct Desk<S: Shard> {
    /// None while the task is loading or this broker does not lead.
    serving: Mutex<Option<Serving<S>>>,
    /// Questions of the inbox that were not handled yet: nobody goes before them.
    queued: AtomicUsize,
    /// Tells the task that a turn it has not made itself has left something to do.
    pub(super) touched: Notify,
}

impl<S: Shard> Default for Desk<S> {
    fn default() -> Self {
        Self { serving: Mutex::new(None), queued: AtomicUsize::new(0), touched: Notify::new() }
    }
}

impl<S: Shard> Desk<S> {
    /// Handles a question at once; gives it back if it has to wait for its turn.
    pub(super) fn ask(&self, ask: Ask<S>) -> Option<Ask<S>> {
        let Some(mut desk) = self.serving.try_lock() else { return Some(ask) };
        let is_next = self.queued.load(Ordering::Acquire) == 0;
        match desk.as_mut().filter(|serving| is_next && serving.ending.is_none()) {
            Some(serving) => {
                serving.run(|serving| serving.ask_alone(ask));
                if serving.needs_task() {
                    self.touched.notify_one();
                }
                None
            }
            None => Some(ask),
        }
    }

    /// The state machine, for its task.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Serving<S>>> {
        self.serving.lock()
    }
}

/// A place in the inbox, from before the question is put there until it was handled or thrown away.
pub(super) struct Queued<S: Shard>(Arc<Desk<S>>);

impl<S: Shard> Queued<S> {
    pub(super) fn new(desk: &Arc<Desk<S>>) -> Self {
        desk.queued.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(desk))
    }
}

impl<S: Shard> Drop for Queued<S> {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The partition, led in one epoch.
#[derive(Clone)]
pub(super) struct Led {
    pub(super) partition: Arc<Partition>,
    pub(super) epoch: LeaderEpoch,
}

/// Why serving has ended.
pub(super) enum Ending {
    /// Leadership ended.
    Lost,
    /// The log could not be written: what the state machine knows may not be so.
    Failed(CoordinatorError),
}

/// A loaded state machine and what its turns have left open.
pub(super) struct Serving<S: Shard> {
    shared: Arc<Shared<S>>,
    led: Led,
    shard: S,
    /// Where the next record goes.
    next: Offset,
    batch: BatchBuilder,
    /// About the size of `batch`.
    batch_bytes: usize,
    /// Whether it has ever appended.
    pub(super) has_appended: bool,
    /// Who waits for an answer.
    waiting: HashMap<u64, Answer<S>>,
    last_ticket: u64,
    /// Answers of the turn that is under way.
    replies: Vec<(Ticket, S::Reply)>,
    /// Answers of earlier turns that wait for their commit.
    held: VecDeque<Held<S::Reply>>,
    /// The wait for the first of `held`.
    commit: Option<Arc<AppendWait>>,
    /// What the task waits for: `commit` and deadline, as it last saw them.
    seen: WaitFor,
    /// Why serving has to end, once something has failed.
    pub(super) ending: Option<Ending>,
}

/// What a task waits for beside questions.
pub(super) type WaitFor = (Option<Instant>, Option<Arc<AppendWait>>);

/// Answers that may go once the high watermark has come to `until`.
struct Held<R> {
    until: Offset,
    replies: Vec<(Ticket, R)>,
}

impl<S: Shard> Serving<S> {
    pub(super) fn new(shared: Arc<Shared<S>>, led: Led, loading: Loading<S>) -> Self {
        Self {
            shared,
            led,
            shard: loading.shard,
            next: loading.next,
            batch: BatchBuilder::new(),
            batch_bytes: 0,
            has_appended: false,
            waiting: HashMap::new(),
            last_ticket: 0,
            replies: Vec::new(),
            held: VecDeque::new(),
            commit: None,
            seen: (None, None),
            ending: None,
        }
    }

    /// Gives the answers that may go, and what to wait for then; none if serving has to end.
    pub(super) fn settle(&mut self) -> Option<WaitFor> {
        self.run(Self::release);
        if self.ending.is_some() {
            return None;
        }
        self.seen = (self.shard.next_deadline(), self.commit.clone());
        Some(self.seen.clone())
    }

    /// Does a piece of work. Once one has failed nothing is done any more: what the state machine knows may not be so.
    pub(super) fn run(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Ending>) {
        if self.ending.is_none() {
            self.ending = work(self).err();
        }
    }

    /// A turn of one question, answered at once if nothing holds it.
    fn ask_alone(&mut self, ask: Ask<S>) -> Result<(), Ending> {
        self.ask(ask)?;
        self.end_turn()?;
        // Behind answers that are held this one is held too, and the task sees to them.
        if self.commit.is_none() { self.release() } else { Ok(()) }
    }

    /// Whether there is something that the task does not wait for yet.
    fn needs_task(&self) -> bool {
        let (deadline, commit) = &self.seen;
        let is_earlier = |next: Instant| deadline.is_none_or(|deadline| next < deadline);
        self.ending.is_some()
            || (self.commit.is_some() && commit.is_none())
            || self.shard.next_deadline().is_some_and(is_earlier)
    }

    fn now(&self) -> Now {
        let clock = &self.shared.env.clock;
        Now { instant: clock.instant(), unix: clock.now() }
    }

    pub(super) fn ask(&mut self, ask: Ask<S>) -> Result<(), Ending> {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.waiting.insert(ticket.0, ask.answer);
        let (now, mut effects) = (self.now(), Effects::default());
        self.shard.handle(now, *ask.command, ticket, &mut effects);
        self.take(now, effects)
    }

    /// A turn without questions.
    pub(super) fn turn(
        &mut self,
        work: impl FnOnce(&mut S, Now, &mut Effects<S::Reply>),
    ) -> Result<(), Ending> {
        let (now, mut effects) = (self.now(), Effects::default());
        work(&mut self.shard, now, &mut effects);
        self.take(now, effects)?;
        self.end_turn()
    }

    /// Replays the records of one step and puts them into the batch.
    fn take(&mut self, now: Now, effects: Effects<S::Reply>) -> Result<(), Ending> {
        let bytes: usize = effects.records.iter().map(size).sum();
        let most =
            usize::try_from(self.led.partition.config().message_bytes_max).unwrap_or(usize::MAX);
        if self.batch_bytes + bytes > most {
            self.append()?;
        }
        for (record, offset) in effects.records.iter().zip(self.next.0..) {
            if let Err(error) = self.shard.replay(Offset(offset), record) {
                tracing::error!(partition = %self.led.partition.topic(), %error,
                    "a coordinator cannot read its own record");
                return Err(Ending::Failed(CoordinatorError::NotAvailable));
            }
            self.batch.push(now.unix, Some(&record.key), record.value.as_deref());
            self.next = Offset(offset + 1);
        }
        self.batch_bytes += bytes;
        self.replies.extend(effects.replies);
        Ok(())
    }

    /// Appends what is left, and holds the answers.
    pub(super) fn end_turn(&mut self) -> Result<(), Ending> {
        self.append()?;
        if !self.replies.is_empty() {
            let replies = std::mem::take(&mut self.replies);
            self.held.push_back(Held { until: self.next, replies });
        }
        Ok(())
    }

    fn append(&mut self) -> Result<(), Ending> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let bytes = batch.compression(self.shared.options.compression).build();
        let batch = ValidBatch::trusted(&bytes).expect("a batch made here is whole");
        let partition = &self.led.partition;
        match partition.append_own(batch, self.led.epoch, self.shared.env.clock.now()) {
            Ok(appended) if appended.last_offset.plus(1) == self.next => {
                self.has_appended = true;
                self.shared.replicas.flush_after(partition, &appended);
                Ok(())
            }
            Ok(appended) => {
                let (expected, found) = (self.next, appended.last_offset.plus(1));
                tracing::warn!(topic = %partition.topic(), partition = %partition.id().partition, %expected, %found,
                    "somebody else has written to a coordinator's log: it is loaded again");
                Err(Ending::Failed(CoordinatorError::NotCoordinator))
            }
            Err(error) => {
                self.shared.replicas.report(partition, &error);
                let ending = ending_of(&error);
                if let Ending::Failed(_) = ending {
                    tracing::warn!(topic = %partition.topic(), partition = %partition.id().partition, %error,
                        "a coordinator cannot append: it is loaded again");
                }
                Err(ending)
            }
        }
    }

    /// Gives the answers whose turns are committed.
    fn release(&mut self) -> Result<(), Ending> {
        self.commit = None;
        while let Some(first) = self.held.front() {
            let wait = self.led.partition.wait_for(Mark::Committed, first.until);
            self.commit = wait.map_err(|error| ending_of(&error))?;
            if self.commit.is_some() {
                break;
            }
            let replies = self.held.pop_front().map(|held| held.replies);
            for (ticket, reply) in replies.into_iter().flatten() {
                let answer = self.waiting.remove(&ticket.0).expect("a ticket is answered once");
                // Whoever asked may have gone.
                drop(answer.send(Ok(reply)));
            }
        }
        Ok(())
    }

    pub(super) fn refuse_all(self, error: CoordinatorError) {
        for answer in self.waiting.into_values() {
            // Whoever asked may have gone.
            drop(answer.send(Err(error)));
        }
    }
}

/// What a failed append means for who asked (`CoordinatorOperationExceptionHelper` of Apache Kafka).
const fn ending_of(error: &PartitionError) -> Ending {
    match error {
        PartitionError::Gone
        | PartitionError::NotLeader
        | PartitionError::FencedLeaderEpoch { .. }
        | PartitionError::UnknownLeaderEpoch { .. } => Ending::Lost,
        PartitionError::NotEnoughReplicas { .. } => Ending::Failed(CoordinatorError::NotAvailable),
        PartitionError::Append(AppendError::LargerThanSegment { .. }) => {
            Ending::Failed(CoordinatorError::TooLarge)
        }
        PartitionError::Append(_)
        | PartitionError::Read(_)
        | PartitionError::Offline(_)
        | PartitionError::OffsetOutOfRange { .. }
        | PartitionError::NotDeletable => Ending::Failed(CoordinatorError::NotCoordinator),
    }
}

fn size(record: &CoordinatorRecord) -> usize {
    record.key.len() + record.value.as_ref().map_or(0, bytes::Bytes::len) + RECORD_OVERHEAD_MAX
}
