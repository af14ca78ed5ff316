//! The state machine of a partition while it is served: its turns, and the answers they leave open.
//!
//! Owns the lock around it (`Desk`), behind which turns are made: by who asks, if nobody stands before it, else by the
//! task. Nothing waits under the lock but for the page cache.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::load::Loading;
use super::shard::{
    CoordinatorRecord, Effects, Now, ReplayError, Shard, Ticket, TransactionWriter,
};
use super::{Answer, Ask, CoordinatorError, Ended, Question, Shared};
use crate::log::{AppendError, Appended, TransactionEnd};
use crate::model::{Instant, LeaderEpoch, Offset};
use crate::record::{BatchBuilder, BatchHeader, ValidBatch};
use crate::replica::{AppendWait, Mark, Partition, PartitionError};

/// What a record takes in a batch beside key and value, at most.
const RECORD_OVERHEAD_MAX: usize = 32;
/// The sequence of batches that have none.
const NO_SEQUENCE: i32 = -1;

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
    /// Who waits for an answer, in the order of the questions: that is also the order in which they are told that there is none.
    waiting: BTreeMap<u64, Answer<S>>,
    last_ticket: u64,
    /// What is to be done when the turn that is under way is committed.
    done: Done<S>,
    /// Answers of earlier turns that wait for their commit.
    held: VecDeque<Held<S>>,
    /// The wait for the first of `held`.
    commit: Option<Arc<AppendWait>>,
    /// What the task waits for: `commit` and deadline, as it last saw them.
    seen: WaitFor,
    /// Why serving has to end, once something has failed.
    pub(super) ending: Option<Ending>,
}

/// What a task waits for beside questions.
pub(super) type WaitFor = (Option<Instant>, Option<Arc<AppendWait>>);

/// What may be done once the high watermark has come to `until`.
struct Held<S: Shard> {
    until: Offset,
    done: Done<S>,
}

/// What is to be done when a turn is committed.
struct Done<S: Shard> {
    replies: Vec<(Ticket, S::Reply)>,
    /// Who waits for a marker.
    ended: Vec<Ended>,
    errands: Vec<S::Errand>,
}

impl<S: Shard> Done<S> {
    const NOTHING: Self = Self { replies: Vec::new(), ended: Vec::new(), errands: Vec::new() };

    const fn is_nothing(&self) -> bool {
        self.replies.is_empty() && self.ended.is_empty() && self.errands.is_empty()
    }
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
            waiting: BTreeMap::new(),
            last_ticket: 0,
            done: Done::NOTHING,
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
        // It has its place in the inbox until it was handled.
        let Ask { question, queued: _queued } = ask;
        let (command, answer) = match question {
            Question::Command { command, answer } => (command, answer),
            Question::EndTransaction { end, answer } => return self.end_transaction(&end, answer),
        };
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.waiting.insert(ticket.0, answer);
        let (now, mut effects) = (self.now(), Effects::default());
        self.shard.handle(now, *command, ticket, &mut effects);
        match effects.writer {
            Some(writer) if !effects.records.is_empty() => {
                self.take_in_transaction(now, writer, effects)
            }
            _ => self.take(now, effects),
        }
    }

    /// Puts the marker at the end of a transaction into the log.
    fn end_transaction(&mut self, end: &TransactionEnd, answer: Ended) -> Result<(), Ending> {
        self.append()?;
        let appended = self.led.partition.append_transaction_end(end, self.shared.env.clock.now());
        if let Err(error) = &appended
            && let Some(refusal) = refusal_of(error)
        {
            // Whoever asked may have gone.
            answer.send(Err(refusal)).ok();
            return Ok(());
        }
        let expected = self.next.plus(1);
        self.next = expected;
        self.done.ended.push(answer);
        self.appended(appended, expected)?;
        self.shard.transaction_ended(end.producer_id, end.marker.outcome);
        Ok(())
    }

    /// Replays and appends the records of one step, which are part of a producer's transaction: a batch of their own.
    fn take_in_transaction(
        &mut self,
        now: Now,
        writer: TransactionWriter,
        effects: Effects<S::Reply, S::Errand>,
    ) -> Result<(), Ending> {
        self.append()?;
        let mut batch = BatchBuilder::new();
        batch.producer(writer.id, writer.epoch, NO_SEQUENCE).transactional();
        for record in &effects.records {
            batch.push(now.unix, Some(&record.key), record.value.as_deref());
        }
        let bytes = batch.compression(self.shared.options.compression).build();
        let header = BatchHeader::parse(&bytes).expect("a batch made here is whole");
        let checked = self.led.partition.check_in_transaction(&header, writer.guard);
        if let Err(error) = &checked
            && let Some(refusal) = refusal_of(error)
        {
            for (ticket, _) in effects.replies {
                let answer = self.waiting.remove(&ticket.0).expect("a ticket is answered once");
                // Whoever asked may have gone.
                answer.send(Err(refusal)).ok();
            }
            return Ok(());
        }
        for (record, offset) in effects.records.iter().zip(self.next.0..) {
            let replayed = self.shard.replay_in_transaction(Offset(offset), writer.id, record);
            self.replayed(replayed)?;
            self.next = Offset(offset + 1);
        }
        self.done.replies.extend(effects.replies);
        self.done.errands.extend(effects.errands);
        self.append_built(&bytes)
    }

    fn replayed(&self, replayed: Result<(), ReplayError>) -> Result<(), Ending> {
        replayed.map_err(|error| {
            tracing::error!(partition = %self.led.partition.topic(), %error,
                "a coordinator cannot read its own record");
            Ending::Failed(CoordinatorError::NotAvailable)
        })
    }

    /// A turn without questions.
    pub(super) fn turn(
        &mut self,
        work: impl FnOnce(&mut S, Now, &mut Effects<S::Reply, S::Errand>),
    ) -> Result<(), Ending> {
        let (now, mut effects) = (self.now(), Effects::default());
        work(&mut self.shard, now, &mut effects);
        self.take(now, effects)?;
        self.end_turn()
    }

    /// Replays the records of one step and puts them into the batch.
    fn take(&mut self, now: Now, effects: Effects<S::Reply, S::Errand>) -> Result<(), Ending> {
        let bytes: usize = effects.records.iter().map(size).sum();
        let most =
            usize::try_from(self.led.partition.config().message_bytes_max).unwrap_or(usize::MAX);
        if self.batch_bytes + bytes > most {
            self.append()?;
        }
        for (record, offset) in effects.records.iter().zip(self.next.0..) {
            let replayed = self.shard.replay(Offset(offset), record);
            self.replayed(replayed)?;
            self.batch.push(now.unix, Some(&record.key), record.value.as_deref());
            self.next = Offset(offset + 1);
        }
        self.batch_bytes += bytes;
        self.done.replies.extend(effects.replies);
        self.done.errands.extend(effects.errands);
        Ok(())
    }

    /// Appends what is left, and holds the answers.
    pub(super) fn end_turn(&mut self) -> Result<(), Ending> {
        self.append()?;
        if !self.done.is_nothing() {
            let done = std::mem::replace(&mut self.done, Done::NOTHING);
            self.held.push_back(Held { until: self.next, done });
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
        self.append_built(&bytes)
    }

    fn append_built(&mut self, batch: &Bytes) -> Result<(), Ending> {
        let batch = ValidBatch::trusted(batch).expect("a batch made here is whole");
        let now = self.shared.env.clock.now();
        let appended = self.led.partition.append_own(batch, self.led.epoch, now);
        self.appended(appended, self.next)
    }

    /// What came of an append, after which the log is expected to end at `expected`.
    fn appended(
        &mut self,
        appended: Result<Appended, PartitionError>,
        expected: Offset,
    ) -> Result<(), Ending> {
        let partition = &self.led.partition;
        match appended {
            Ok(appended) if appended.last_offset.plus(1) == expected => {
                self.has_appended = true;
                self.shared.replicas.flush_after(partition, &appended);
                Ok(())
            }
            Ok(appended) => {
                let found = appended.last_offset.plus(1);
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
            let wait = self.led.partition.wait_for(Mark::Committed, first.until, self.led.epoch);
            self.commit = wait.map_err(|error| ending_of(&error))?;
            if self.commit.is_some() {
                break;
            }
            if let Some(held) = self.held.pop_front() {
                self.carry_out(held.done);
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, done: Done<S>) {
        for (ticket, reply) in done.replies {
            let answer = self.waiting.remove(&ticket.0).expect("a ticket is answered once");
            // Whoever asked may have gone.
            drop(answer.send(Ok(reply)));
        }
        for answer in done.ended {
            // The same.
            answer.send(Ok(())).ok();
        }
        for errand in done.errands {
            (self.shared.options.run)(self.led.partition.id().partition, self.led.epoch, errand);
        }
    }

    pub(super) fn refuse_all(self, error: CoordinatorError) {
        for answer in self.waiting.into_values() {
            // Whoever asked may have gone.
            drop(answer.send(Err(error)));
        }
        let held = self.held.into_iter().map(|held| held.done);
        for answer in held.chain([self.done]).flat_map(|done| done.ended) {
            // The same.
            answer.send(Err(error)).ok();
        }
    }
}

/// The refusal of a batch or marker whose producer or coordinator may not write it: the log and the state machine are as
/// before.
const fn refusal_of(error: &PartitionError) -> Option<CoordinatorError> {
    let PartitionError::Append(error) = error else { return None };
    match error {
        AppendError::FencedProducer { .. } => Some(CoordinatorError::FencedProducer),
        AppendError::FencedCoordinator { .. } => Some(CoordinatorError::FencedCoordinator),
        AppendError::NotVerified { .. }
        | AppendError::OpenTransaction { .. }
        | AppendError::OutOfOrderSequence { .. } => Some(CoordinatorError::NoTransaction),
        AppendError::LargerThanSegment { .. }
        | AppendError::InvalidControl { .. }
        | AppendError::NotAtEnd { .. }
        | AppendError::EpochFalls { .. }
        | AppendError::NoSpace { .. }
        | AppendError::Io { .. }
        | AppendError::Closed => None,
    }
}

/// What a failed append means for who asked (`CoordinatorOperationExceptionHelper` of Apache Kafka).
const fn ending_of(error: &PartitionError) -> Ending {
    match error {
        PartitionError::Gone
        | PartitionError::NotLeader
        | PartitionError::FencedLeaderEpoch { .. }
        | PartitionError::UnknownLeaderEpoch { .. } => Ending::Lost,
        PartitionError::NotEnoughReplicas { .. }
        | PartitionError::NotEnoughReplicasAfterAppend { .. }
        | PartitionError::OffsetNotAvailable => Ending::Failed(CoordinatorError::NotAvailable),
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
    record.key.len() + record.value.as_ref().map_or(0, Bytes::len) + RECORD_OVERHEAD_MAX
}
