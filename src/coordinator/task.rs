//! The task that owns the state machine of one partition.
//!
//! It goes round: wait until this broker leads the partition, load the log, serve until leadership ends or an append
//! fails. While it does not serve, questions are refused. Appends are made on the spot, a turn's records in as few batches as
//! the topic's batch size allows, those of one command never apart.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::load::{Loading, Tally};
use super::shard::{CoordinatorRecord, Effects, Now, Shard, Ticket};
use super::{Answer, Ask, CoordinatorError, Shared};
use crate::cluster::ClusterImage;
use crate::log::AppendError;
use crate::model::{Instant, LeaderEpoch, Offset, TopicIdPartition};
use crate::record::{BatchBuilder, ValidBatch};
use crate::replica::{AppendWait, Mark, Partition, PartitionError};

/// Questions that are taken together: their records share batches, their answers wait for one commit.
const TURN_MAX: usize = 64;
/// How long to wait before a log that could not be read or written is loaded again; doubles each time.
const RELOAD_PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest such wait.
const RELOAD_PAUSE_MAX: Duration = Duration::from_secs(30);
/// What a record takes in a batch beside key and value, at most.
const RECORD_OVERHEAD_MAX: usize = 32;

/// The owner of one partition's state machine.
pub(super) struct Task<S: Shard> {
    shared: Arc<Shared<S>>,
    id: TopicIdPartition,
    inbox: mpsc::Receiver<Ask<S>>,
    images: watch::Receiver<Arc<ClusterImage>>,
}

/// What this broker is to the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Leader(LeaderEpoch),
    Follower,
    /// The partition is no more.
    Gone,
}

/// The partition, led in one epoch.
#[derive(Clone)]
struct Led {
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
}

/// Why serving has ended.
enum Ending {
    /// Leadership ended.
    Lost,
    /// The log could not be written: what the state machine knows may not be so.
    Failed(CoordinatorError),
}

/// What a serving task is woken by.
enum Wake<S: Shard> {
    Asked(Ask<S>),
    Due,
    Image,
    Committed,
    Closed,
}

impl<S: Shard> Task<S> {
    pub(super) const fn new(
        shared: Arc<Shared<S>>,
        id: TopicIdPartition,
        inbox: mpsc::Receiver<Ask<S>>,
        images: watch::Receiver<Arc<ClusterImage>>,
    ) -> Self {
        Self { shared, id, inbox, images }
    }

    /// Runs until the partition is gone, nobody can ask any more, or the broker stops. Nothing is appended by halves when it is dropped.
    pub(super) async fn run(mut self) {
        let tasks = self.shared.env.tasks.clone();
        tokio::select! {
            () = self.go_round() => {}
            () = tasks.cancelled() => {}
        }
    }

    async fn go_round(&mut self) {
        let mut pause = RELOAD_PAUSE_MIN;
        while !self.inbox.is_closed()
            && let Some(led) = self.until_leader().await
        {
            let epoch = led.epoch;
            let ending = match self.load(led).await {
                Some(Ok(mut serving)) => {
                    let ending = self.serve(&mut serving).await;
                    if serving.has_appended {
                        pause = RELOAD_PAUSE_MIN;
                    }
                    serving.refuse_all(match &ending {
                        Ending::Lost => CoordinatorError::NotCoordinator,
                        Ending::Failed(error) => *error,
                    });
                    ending
                }
                Some(Err(error)) => {
                    tracing::error!(partition = %self.name(), %error, "cannot load a coordinator");
                    Ending::Failed(CoordinatorError::NotAvailable)
                }
                None => Ending::Lost,
            };
            if let Ending::Failed(_) = ending {
                let steady = self.shared.env.steady.clone();
                self.refusing(epoch, CoordinatorError::NotAvailable, steady.sleep(pause)).await;
                pause = (pause * 2).min(RELOAD_PAUSE_MAX);
            }
        }
        self.inbox.close();
        while let Some(ask) = self.inbox.recv().await {
            ask.refuse(CoordinatorError::NotCoordinator);
        }
    }

    fn name(&self) -> String {
        format!("{}-{}", self.shared.options.topic, self.id.partition)
    }

    fn role(&mut self) -> Role {
        let image = self.images.borrow_and_update();
        let Some(topic) = image.topic_by_id(self.id.topic) else { return Role::Gone };
        match topic.partition(self.id.partition) {
            None => Role::Gone,
            Some(state) if state.leader == Some(self.shared.broker) => {
                Role::Leader(state.leader_epoch)
            }
            Some(_) => Role::Follower,
        }
    }

    /// Waits until this broker leads the partition; `None` if it is gone.
    async fn until_leader(&mut self) -> Option<Led> {
        loop {
            match self.role() {
                Role::Gone => return None,
                Role::Follower => {}
                Role::Leader(epoch) => {
                    let partition =
                        self.shared.replicas.partition(self.id.topic, self.id.partition);
                    return partition.map(|partition| Led { partition, epoch });
                }
            }
            tokio::select! {
                ask = self.inbox.recv() => ask?.refuse(CoordinatorError::NotCoordinator),
                changed = self.images.changed() => changed.ok()?,
            }
        }
    }

    /// Gives what `future` gives. Until then questions are refused; `None` once the epoch is over.
    async fn refusing<T>(
        &mut self,
        epoch: LeaderEpoch,
        error: CoordinatorError,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                done = &mut future => return Some(done),
                ask = self.inbox.recv() => ask?.refuse(error),
                changed = self.images.changed() => {
                    changed.ok()?;
                    if self.role() != Role::Leader(epoch) {
                        return None;
                    }
                }
            }
        }
    }

    /// Reads the state machine back from the log; `None` if leadership ended meanwhile.
    async fn load(&mut self, led: Led) -> Option<Result<Serving<S>, PartitionError>> {
        let (shared, epoch) = (Arc::clone(&self.shared), led.epoch);
        let first_image = Arc::clone(&self.images.borrow_and_update());
        let shard = (shared.options.make)(&first_image);
        let ends = match led.partition.log() {
            Ok(log) => log.ends(),
            Err(error) => return Some(Err(error)),
        };
        let mut loading = Loading { shard, next: ends.log_start, tally: Tally::default() };
        if ends.log_start < ends.end {
            let started = shared.env.steady.now();
            let permit =
                self.refusing(epoch, CoordinatorError::LoadInProgress, shared.loads.acquire());
            let permit = permit.await?.expect("the semaphore is never closed");
            loop {
                let (partition, bytes) = (Arc::clone(&led.partition), shared.options.load_bytes);
                let chunk = shared.env.tasks.spawn_blocking("load-coordinator", move || {
                    let ended = loading.read_chunk(&partition, bytes);
                    (loading, ended)
                });
                let (read, ended) =
                    self.refusing(epoch, CoordinatorError::LoadInProgress, chunk).await?;
                loading = read;
                match ended {
                    Ok(false) => {}
                    Ok(true) => break,
                    Err(error) => return Some(Err(error)),
                }
            }
            drop(permit);
            let Tally { records, skipped } = loading.tally;
            let took = shared.env.steady.now().since(started);
            tracing::info!(partition = %self.name(), records, skipped, ?took, "loaded a coordinator");
        }
        let image = Arc::clone(&self.images.borrow());
        let mut serving = Serving::new(shared, led, loading);
        let turn = serving.turn(|shard, now, effects| {
            shard.loaded(now, effects);
            if !Arc::ptr_eq(&image, &first_image) {
                shard.image_changed(now, &image, effects);
            }
        });
        match turn {
            Ok(()) => Some(Ok(serving)),
            Err(_) => Some(Err(PartitionError::NotLeader)),
        }
    }

    async fn serve(&mut self, serving: &mut Serving<S>) -> Ending {
        loop {
            if let Err(ending) = serving.release() {
                return ending;
            }
            let (deadline, commit) = (serving.shard.next_deadline(), serving.commit.clone());
            let done = match self.wait(deadline, commit).await {
                Wake::Asked(first) => self.answer(serving, first),
                Wake::Due => serving.turn(Shard::tick),
                Wake::Committed => Ok(()),
                Wake::Image => {
                    if self.role() != Role::Leader(serving.led.epoch) {
                        return Ending::Lost;
                    }
                    let image = Arc::clone(&self.images.borrow());
                    serving.turn(|shard, now, effects| shard.image_changed(now, &image, effects))
                }
                Wake::Closed => return Ending::Lost,
            };
            if let Err(ending) = done {
                return ending;
            }
        }
    }

    /// Takes a question and those that have come since.
    fn answer(&mut self, serving: &mut Serving<S>, first: Ask<S>) -> Result<(), Ending> {
        let mut next = Some(first);
        for _ in 0..TURN_MAX {
            let Some(ask) = next.take() else { break };
            serving.ask(ask)?;
            next = self.inbox.try_recv().ok();
        }
        if let Some(ask) = next {
            serving.ask(ask)?;
        }
        serving.end_turn()
    }

    async fn wait(
        &mut self,
        deadline: Option<Instant>,
        commit: Option<Arc<AppendWait>>,
    ) -> Wake<S> {
        let clock = &self.shared.env.clock;
        let due = async {
            match deadline {
                Some(deadline) => clock.sleep_until_instant(deadline).await,
                None => std::future::pending().await,
            }
        };
        let committed = async {
            match commit {
                Some(wait) => wait.woken().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.images.changed() => if changed.is_ok() { Wake::Image } else { Wake::Closed },
            () = due => Wake::Due,
            () = committed => Wake::Committed,
            ask = self.inbox.recv() => ask.map_or(Wake::Closed, Wake::Asked),
        }
    }
}

/// A loaded state machine and what its turns have left open.
struct Serving<S: Shard> {
    shared: Arc<Shared<S>>,
    led: Led,
    shard: S,
    /// Where the next record goes.
    next: Offset,
    batch: BatchBuilder,
    /// About the size of `batch`.
    batch_bytes: usize,
    has_appended: bool,
    /// Who waits for an answer.
    waiting: HashMap<u64, Answer<S>>,
    last_ticket: u64,
    /// Answers of the turn that is under way.
    replies: Vec<(Ticket, S::Reply)>,
    /// Answers of earlier turns that wait for their commit.
    held: VecDeque<Held<S::Reply>>,
    /// The wait for the first of `held`.
    commit: Option<Arc<AppendWait>>,
}

/// Answers that may go once the high watermark has come to `until`.
struct Held<R> {
    until: Offset,
    replies: Vec<(Ticket, R)>,
}

impl<S: Shard> Serving<S> {
    fn new(shared: Arc<Shared<S>>, led: Led, loading: Loading<S>) -> Self {
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
        }
    }

    fn now(&self) -> Now {
        let clock = &self.shared.env.clock;
        Now { instant: clock.instant(), unix: clock.now() }
    }

    fn ask(&mut self, ask: Ask<S>) -> Result<(), Ending> {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.waiting.insert(ticket.0, ask.answer);
        let (now, mut effects) = (self.now(), Effects::default());
        self.shard.handle(now, *ask.command, ticket, &mut effects);
        self.take(now, effects)
    }

    /// A turn without questions.
    fn turn(
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
    fn end_turn(&mut self) -> Result<(), Ending> {
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

    fn refuse_all(self, error: CoordinatorError) {
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
