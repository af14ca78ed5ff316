//! State machines kept in the partitions of internal topics.
//!
//! Owns the seam (`shard.rs`), which partition a key belongs to (`placement.rs`), reading a log back (`load.rs`) and the
//! one task per partition that owns its state machine (`task.rs`), and the state machine while it is served (`serving.rs`). It knows nothing of groups and transactions: they are
//! the shards, and who asks them is in `api/`.
//!
//! A question is handled by who asks it, on the spot, when nobody stands before it; else it goes to the task's inbox. So the
//! usual one costs no switch of tasks.
//!
//! **Invariants:** one task owns a partition's state machine, and two incarnations of it never overlap; questions of one
//! asker are handled in their order; every record is
//! replayed before it is appended, and what could not be appended is forgotten by loading the log again; no answer leaves
//! before everything that its state machine had seen by then is below the high watermark; every question is answered,
//! by the state machine or with a [`CoordinatorError`].

mod load;
mod others;
mod placement;
mod serving;
pub mod shard;
mod task;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use self::serving::{Desk, Queued};

use crate::cluster::ClusterImage;
use crate::env::Env;
use crate::log::TransactionEnd;
use crate::model::{BrokerId, LeaderEpoch, PartitionId, TopicId, TopicIdPartition, TopicName};
use crate::record::Compression;
use crate::replica::ReplicaManager;

pub use crate::record::TransactionOutcome;
pub use crate::replica::Guard;
pub use others::{Asked, ImageSource, Others, UnreachableError};
pub use placement::partition_of;
pub use shard::{CoordinatorRecord, Effects, Now, ReplayError, Shard, Ticket, TransactionWriter};

/// Questions that wait for one partition. Whoever comes when there are as many waits for room.
const INBOX_MAX: usize = 4096;
/// Partitions whose logs are read at the same time.
const LOADS_MAX: usize = 2;

/// Why a question was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorError {
    /// This broker does not own the partition, or has just lost it.
    #[error("this broker is not the coordinator")]
    NotCoordinator,
    /// The log is still being read.
    #[error("the coordinator is loading")]
    LoadInProgress,
    /// The records cannot be replicated or read now.
    #[error("the coordinator is not available")]
    NotAvailable,
    /// What was asked gives more records than a segment holds.
    #[error("the records are too large")]
    TooLarge,
    /// A newer incarnation of the producer has written already.
    #[error("the producer is fenced")]
    FencedProducer,
    /// A newer transaction coordinator has ended a transaction of the producer.
    #[error("the transaction coordinator is fenced")]
    FencedCoordinator,
    /// The producer has no transaction that the log may be part of.
    #[error("the producer has no transaction here")]
    NoTransaction,
}

/// What a coordinator is made of.
pub struct Options<S: Shard> {
    /// The internal topic.
    pub topic: TopicName,
    /// How its records are compressed.
    pub compression: Compression,
    /// About how many bytes of a log are read at a time.
    pub load_bytes: u32,
    /// Makes an empty shard, to replay records into.
    pub make: MakeShard<S>,
    /// Does what a shard wants done outside. Called when the shard's records are committed; must not wait.
    pub run: RunErrand<S>,
}

/// Makes an empty shard.
pub type MakeShard<S> = Box<dyn Fn(&Arc<ClusterImage>) -> S + Send + Sync>;

/// Does an errand of the shard of a partition, which is led in this epoch.
pub type RunErrand<S> = Box<dyn Fn(PartitionId, LeaderEpoch, <S as Shard>::Errand) + Send + Sync>;

/// The state machines of one internal topic on this broker.
pub struct Coordinator<S: Shard> {
    shared: Arc<Shared<S>>,
    owners: RwLock<BTreeMap<PartitionId, Owner<S>>>,
    images: watch::Sender<Arc<ClusterImage>>,
}

/// What the tasks of all partitions share.
struct Shared<S: Shard> {
    env: Env,
    broker: BrokerId,
    replicas: Arc<ReplicaManager>,
    options: Options<S>,
    loads: Semaphore,
}

/// The task of a partition, seen from outside.
struct Owner<S: Shard> {
    topic: TopicId,
    inbox: mpsc::Sender<Ask<S>>,
    desk: Arc<Desk<S>>,
}

/// A question with the way back.
struct Ask<S: Shard> {
    question: Question<S>,
    /// Its place in the inbox, if it is there.
    queued: Option<Queued<S>>,
}

enum Question<S: Shard> {
    Command {
        command: Box<S::Command>,
        answer: Answer<S>,
    },
    /// A transaction has ended that wrote into the log.
    EndTransaction {
        end: TransactionEnd,
        answer: Ended,
    },
}

/// The way back to who has ended a transaction.
type Ended = oneshot::Sender<Result<(), CoordinatorError>>;

type Answer<S> = oneshot::Sender<Result<<S as Shard>::Reply, CoordinatorError>>;

impl<S: Shard> fmt::Debug for Options<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl<S: Shard> Ask<S> {
    fn refuse(self, error: CoordinatorError) {
        // Whoever asked may have gone.
        match self.question {
            Question::Command { answer, .. } => drop(answer.send(Err(error))),
            Question::EndTransaction { answer, .. } => {
                answer.send(Err(error)).ok();
            }
        }
    }
}

impl<S: Shard> Owner<S> {
    /// Has a question handled or puts it into the inbox. Gives it back if that is full.
    fn ask(&self, ask: Ask<S>) -> Option<Ask<S>> {
        let mut ask = self.desk.ask(ask)?;
        ask.queued = Some(Queued::new(&self.desk));
        match self.inbox.try_send(ask) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Closed(ask)) => {
                ask.refuse(CoordinatorError::NotCoordinator);
                None
            }
            Err(mpsc::error::TrySendError::Full(ask)) => Some(ask),
        }
    }
}

impl<S: Shard> fmt::Debug for Coordinator<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator")
            .field("topic", &self.shared.options.topic)
            .finish_non_exhaustive()
    }
}

impl<S: Shard> Coordinator<S> {
    /// A coordinator that owns nothing before [`apply`](Self::apply). Its tasks are spawned from `env`.
    #[must_use]
    pub fn new(
        env: Env,
        broker: BrokerId,
        replicas: Arc<ReplicaManager>,
        options: Options<S>,
    ) -> Self {
        let shared = Shared { env, broker, replicas, options, loads: Semaphore::new(LOADS_MAX) };
        Self {
            shared: Arc::new(shared),
            owners: RwLock::default(),
            images: watch::Sender::new(Arc::default()),
        }
    }

    /// Takes note of a newer image of the cluster, which the partitions already follow: state machines are loaded, told of
    /// the image, or dropped. Waits for nothing.
    pub fn apply(&self, image: &Arc<ClusterImage>) {
        self.images.send_replace(Arc::clone(image));
        let topic = image.topic(self.shared.options.topic.as_str());
        let mut owners = self.owners.write();
        owners.retain(|_, owner| topic.is_some_and(|topic| topic.id == owner.topic));
        for (partition, state) in topic.iter().flat_map(|topic| topic.indexed_partitions()) {
            let (id, hosted) =
                (topic.map(|topic| topic.id), state.replicas.contains(&self.shared.broker));
            if let Some(topic) = id.filter(|_| hosted) {
                let id = TopicIdPartition { topic, partition };
                owners.entry(partition).or_insert_with(|| self.spawn(id));
            }
        }
    }

    fn spawn(&self, id: TopicIdPartition) -> Owner<S> {
        let (inbox, asks) = mpsc::channel(INBOX_MAX);
        let (shared, desk) = (Arc::clone(&self.shared), Arc::new(Desk::default()));
        let task = task::Task::new(shared, id, asks, Arc::clone(&desk), self.images.subscribe());
        self.shared.env.tasks.spawn("coordinator", task.run());
        Owner { topic: id.topic, inbox, desk }
    }

    /// The partitions that have a task here, led by this broker or not.
    #[must_use]
    pub fn partitions(&self) -> Vec<PartitionId> {
        self.owners.read().keys().copied().collect()
    }

    /// Asks the state machine of a partition. The command was handled or is in its queue when this returns (unless the queue
    /// is full: then when the future has been polled); the future gives the answer. Dropping the future does not take the command
    /// back.
    ///
    /// # Errors
    /// As [`CoordinatorError`] says. Whether the command has changed anything is not known then.
    pub fn ask(
        &self,
        partition: PartitionId,
        command: S::Command,
    ) -> impl Future<Output = Result<S::Reply, CoordinatorError>> + Send + use<S> {
        let (answer, answered) = oneshot::channel();
        let question = Question::Command { command: Box::new(command), answer };
        self.send(partition, question, answered)
    }

    /// Ends a transaction that wrote into a partition: puts its marker there and tells the state machine. Done when that is
    /// committed. As [`ask`](Self::ask) otherwise.
    ///
    /// # Errors
    /// As [`CoordinatorError`] says. Whether there is a marker is not known then, but for those that refuse it.
    pub fn end_transaction(
        &self,
        partition: PartitionId,
        end: TransactionEnd,
    ) -> impl Future<Output = Result<(), CoordinatorError>> + Send + use<S> {
        let (answer, answered) = oneshot::channel();
        self.send(partition, Question::EndTransaction { end, answer }, answered)
    }

    /// Has a question handled or queued.
    fn send<T: Send>(
        &self,
        partition: PartitionId,
        question: Question<S>,
        answered: oneshot::Receiver<Result<T, CoordinatorError>>,
    ) -> impl Future<Output = Result<T, CoordinatorError>> + Send + use<S, T> {
        let ask = Ask { question, queued: None };
        let waiting = match self.owners.read().get(&partition) {
            None => {
                ask.refuse(CoordinatorError::NotCoordinator);
                None
            }
            Some(owner) => owner.ask(ask).map(|ask| (owner.inbox.clone(), ask)),
        };
        async move {
            if let Some((inbox, ask)) = waiting
                && let Err(mpsc::error::SendError(ask)) = inbox.send(ask).await
            {
                ask.refuse(CoordinatorError::NotCoordinator);
            }
            // The task drops what it has not answered when the broker stops.
            answered.await.unwrap_or(Err(CoordinatorError::NotAvailable))
        }
    }
}
