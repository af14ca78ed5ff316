//! The task that owns the state machine of one partition.
//!
//! It goes round: wait until this broker leads the partition, load the log, serve until leadership ends or an append
//! fails. While it does not serve, questions are refused. Appends are made on the spot, a turn's records in as few batches as
//! the topic's batch size allows, those of one command never apart.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::load::{Loading, Tally};
use super::serving::{Desk, Ending, Led, Serving};
use super::shard::Shard;
use super::{Ask, CoordinatorError, Shared};
use crate::cluster::ClusterImage;
use crate::model::{Instant, LeaderEpoch, TopicIdPartition};
use crate::replica::{AppendWait, PartitionError};

/// Questions that are taken together: their records share batches, their answers wait for one commit.
const TURN_MAX: usize = 64;
/// How long to wait before a log that could not be read or written is loaded again; doubles each time.
const RELOAD_PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest such wait.
const RELOAD_PAUSE_MAX: Duration = Duration::from_secs(30);
/// The owner of one partition's state machine.
pub(super) struct Task<S: Shard> {
    shared: Arc<Shared<S>>,
    id: TopicIdPartition,
    inbox: mpsc::Receiver<Ask<S>>,
    desk: Arc<Desk<S>>,
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

/// What a serving task is woken by.
enum Wake<S: Shard> {
    Asked(Ask<S>),
    Due,
    Image,
    Committed,
    /// Somebody else has made a turn that leaves something to do.
    Touched,
    Closed,
}

impl<S: Shard> Task<S> {
    pub(super) const fn new(
        shared: Arc<Shared<S>>,
        id: TopicIdPartition,
        inbox: mpsc::Receiver<Ask<S>>,
        desk: Arc<Desk<S>>,
        images: watch::Receiver<Arc<ClusterImage>>,
    ) -> Self {
        Self { shared, id, inbox, desk, images }
    }

    /// Runs until the partition is gone, nobody can ask any more, or the broker stops. Nothing is appended by halves when it is dropped.
    pub(super) async fn run(mut self) {
        let tasks = self.shared.env.tasks.clone();
        tokio::select! {
            () = self.go_round() => {}
            () = tasks.cancelled() => {}
        }
        // Whoever still waits is told so by the loss of the way back.
        *self.desk.lock() = None;
    }

    async fn go_round(&mut self) {
        let mut pause = RELOAD_PAUSE_MIN;
        while !self.inbox.is_closed()
            && let Some(led) = self.until_leader().await
        {
            let epoch = led.epoch;
            let ending = match self.load(led).await {
                Some(Ok(serving)) => {
                    *self.desk.lock() = Some(serving);
                    self.serve(epoch).await;
                    let mut serving = self.desk.lock().take().expect("put there above");
                    let ending = serving.ending.take().unwrap_or(Ending::Lost);
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

    /// Serves until something fails or leadership ends.
    async fn serve(&mut self, epoch: LeaderEpoch) {
        while let Some((deadline, commit)) = self.with(Serving::settle) {
            match self.wait(deadline, commit).await {
                Wake::Asked(first) => self.answer(first),
                Wake::Due => self.with(|serving| serving.run(|it| it.turn(Shard::tick))),
                Wake::Committed | Wake::Touched => {}
                Wake::Image => {
                    if self.role() != Role::Leader(epoch) {
                        return;
                    }
                    let image = Arc::clone(&self.images.borrow());
                    let tell = |shard: &mut S, now, effects: &mut _| {
                        shard.image_changed(now, &image, effects);
                    };
                    self.with(|serving| serving.run(|it| it.turn(tell)));
                }
                Wake::Closed => return,
            }
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Serving<S>) -> T) -> T {
        work(self.desk.lock().as_mut().expect("there as long as it is served"))
    }

    /// Takes a question and those that have come since.
    fn answer(&mut self, first: Ask<S>) {
        let mut desk = self.desk.lock();
        let serving = desk.as_mut().expect("there as long as it is served");
        serving.run(|serving| {
            serving.ask(first)?;
            for _ in 1..TURN_MAX {
                let Ok(ask) = self.inbox.try_recv() else { break };
                serving.ask(ask)?;
            }
            serving.end_turn()
        });
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
            () = self.desk.touched.notified() => Wake::Touched,
            ask = self.inbox.recv() => ask.map_or(Wake::Closed, Wake::Asked),
        }
    }
}
