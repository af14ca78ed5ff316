//! The seam between the runtime and a state machine whose state is the log of one partition.
//!
//! Owns the trait and the plain values that cross it. It runs nothing.
//!
//! **Invariant:** durable state changes in [`Shard::replay`] alone, at load and at run time alike. What a state machine
//! knows beyond that (who waits for an answer, when a session ends) is soft: it dies with the shard.

use std::sync::Arc;

use bytes::Bytes;

use crate::cluster::ClusterImage;
use crate::model::{Instant, Offset, ProducerEpoch, ProducerId, UnixMillis};
use crate::record::TransactionOutcome;
use crate::replica::Guard;

/// A state machine kept in the log of one partition of an internal topic.
pub trait Shard: Send + 'static {
    /// What is asked. Carries everything that the answer needs.
    type Command: Send + 'static;
    /// What is answered.
    type Reply: Send + 'static;
    /// What is to be done outside, as [`Options::run`](super::Options::run) does it.
    type Errand: Send + 'static;

    /// Handles one command: reads durable state, may change soft state, and says what is to happen. The ticket is answered
    /// exactly once, in these effects or in later ones.
    fn handle(
        &mut self,
        now: Now,
        command: Self::Command,
        ticket: Ticket,
        effects: &mut Effects<Self::Reply, Self::Errand>,
    );

    /// Applies one record of the log.
    ///
    /// # Errors
    /// If the record cannot be read. The state is as before.
    fn replay(&mut self, offset: Offset, record: &CoordinatorRecord) -> Result<(), ReplayError>;

    /// Applies one record that is part of a producer's transaction, which has not ended yet.
    ///
    /// # Errors
    /// If the record cannot be read, or the state machine knows no transactions. The state is as before.
    fn replay_in_transaction(
        &mut self,
        _offset: Offset,
        _producer: ProducerId,
        _record: &CoordinatorRecord,
    ) -> Result<(), ReplayError> {
        Err(ReplayError("a record of a transaction, where none is expected".to_owned()))
    }

    /// The transaction of a producer has ended in this log.
    fn transaction_ended(&mut self, _producer: ProducerId, _outcome: TransactionOutcome) {}

    /// All records up to the end of the log have been replayed: timers begin.
    fn loaded(&mut self, now: Now, effects: &mut Effects<Self::Reply, Self::Errand>);

    /// The earliest time at which [`tick`](Self::tick) has something to do.
    fn next_deadline(&self) -> Option<Instant>;

    /// Does what is due.
    fn tick(&mut self, now: Now, effects: &mut Effects<Self::Reply, Self::Errand>);

    /// A newer image of the cluster: topics created, deleted, grown; configs.
    fn image_changed(
        &mut self,
        now: Now,
        image: &Arc<ClusterImage>,
        effects: &mut Effects<Self::Reply, Self::Errand>,
    );
}

/// Both clocks at one moment: timers go by the first, records by the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The steady clock.
    pub instant: Instant,
    /// The movable clock.
    pub unix: UnixMillis,
}

/// Who asked. It is answered exactly once.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What is to happen: records to append, and what is to be done once those are committed.
#[derive(Debug, PartialEq, Eq)]
pub struct Effects<R, E = ()> {
    /// Appended in this order, and replayed at once.
    pub records: Vec<CoordinatorRecord>,
    /// Whose transaction the records are part of. If it may not write, none is appended, and whoever holds a ticket of
    /// `replies` is told so.
    pub writer: Option<TransactionWriter>,
    /// Given when the records are committed.
    pub replies: Vec<(Ticket, R)>,
    /// Done when the records are committed.
    pub errands: Vec<E>,
}

/// A producer that writes records of a coordinator in its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionWriter {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// Tells that its transaction coordinator was asked; needed if it has not written here yet.
    pub guard: Option<Guard>,
}

impl<R, E> Default for Effects<R, E> {
    fn default() -> Self {
        Self { records: Vec::new(), writer: None, replies: Vec::new(), errands: Vec::new() }
    }
}

/// A record of an internal topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorRecord {
    /// Never empty: the topic is compacted.
    pub key: Bytes,
    /// None for a tombstone.
    pub value: Option<Bytes>,
}

/// Why a record cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReplayError(pub String);
