//! One transactional id: its state, and the ways from one to the next.
//!
//! Pure values: each transition gives the next one, which becomes the present one when its record is replayed. States and
//! transitions are those of `TransactionMetadata` and `TransactionCoordinator` of Apache Kafka 4.3.1.
//!
//! ```text
//! Empty ─ AddPartitions ─► Ongoing ─ EndTxn, timeout, another producer ─► PrepareCommit, PrepareAbort
//!   ▲                         ▲                                                       │ all markers are written
//!   └────── InitProducerId ───┴───────────── AddPartitions ─────── CompleteCommit, CompleteAbort
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use super::EPOCH_PER_TRANSACTION_SINCE;
use super::command::{Producer, TransactionPartition};
use crate::coordinator::TransactionOutcome;
use crate::model::{ProducerEpoch, ProducerId, UnixMillis};

/// From this epoch on a producer needs another id: the coordinator itself must always be able to raise it once more.
const EPOCH_EXHAUSTED_FROM: i16 = i16::MAX - 1;

macro_rules! states {
    ($($(#[$doc:meta])* $code:literal $name:ident,)*) => {
        /// The state of a transactional id.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum State {
            $($(#[$doc])* $name,)*
        }

        impl State {
            /// The number in the log.
            #[must_use]
            pub const fn code(self) -> i8 {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// The state with this number.
            #[must_use]
            pub const fn from_code(code: i8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name that the protocol uses.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The state of this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

states! {
    /// There is a producer, and no transaction yet.
    0 Empty,
    /// A transaction has partitions.
    1 Ongoing,
    /// It is committed: its partitions are told so.
    2 PrepareCommit,
    /// It is aborted: its partitions are told so.
    3 PrepareAbort,
    /// All its partitions know that it was committed.
    4 CompleteCommit,
    /// All its partitions know that it was aborted.
    5 CompleteAbort,
    /// The transactional id has expired. Never in the log.
    6 Dead,
    /// A producer is being fenced. Never in the log, and not in memory either: here that is one step with `PrepareAbort`.
    7 PrepareEpochFence,
}

impl State {
    /// Whether markers are being written.
    #[must_use]
    pub const fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }

    /// Whether a transactional id in this state is forgotten after some time.
    pub(super) const fn may_expire(self) -> bool {
        matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
    }
}

/// A transactional id, as far as it has to survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    /// Its producer.
    pub(super) producer: Producer,
    /// The id that the producer had before the last transition.
    pub(super) previous_id: ProducerId,
    /// The id that the producer has once the markers are written; none if that stays the same.
    pub(super) next_id: ProducerId,
    /// How long a transaction may take.
    pub(super) timeout_ms: i32,
    pub(super) state: State,
    pub(super) partitions: BTreeSet<TransactionPartition>,
    /// When the last transaction began; -1 if there was none.
    pub(super) started_at: UnixMillis,
    pub(super) updated_at: UnixMillis,
    /// The level of `transaction.version` that its client goes by.
    pub(super) client_version: i16,
}

/// Whether a producer with this epoch needs another id.
pub(super) const fn is_exhausted(epoch: ProducerEpoch) -> bool {
    epoch.0 >= EPOCH_EXHAUSTED_FROM
}

/// The epoch after this one. The last of all is its own successor: it is the coordinator's, and nobody writes with it.
const fn after(epoch: ProducerEpoch) -> ProducerEpoch {
    ProducerEpoch(epoch.0.saturating_add(1))
}

impl Transaction {
    /// A transactional id that was not known, before its producer is told of it.
    pub(super) const fn new(fresh: ProducerId, timeout_ms: i32, now: UnixMillis) -> Self {
        Self {
            producer: Producer { id: fresh, epoch: ProducerEpoch::NONE },
            previous_id: ProducerId::NONE,
            next_id: ProducerId::NONE,
            timeout_ms,
            state: State::Empty,
            partitions: BTreeSet::new(),
            started_at: UnixMillis::NONE,
            updated_at: now,
            client_version: 0,
        }
    }

    /// What comes next, if nothing else changes.
    fn next(&self, state: State, now: UnixMillis) -> Self {
        Self { state, previous_id: self.producer.id, updated_at: now, ..self.clone() }
    }

    /// A producer begins anew, as `producer`.
    pub(super) fn begun(&self, producer: Producer, timeout_ms: i32, now: UnixMillis) -> Self {
        Self {
            producer,
            timeout_ms,
            partitions: BTreeSet::new(),
            started_at: UnixMillis::NONE,
            ..self.next(State::Empty, now)
        }
    }

    /// The producer as it is after its epoch was raised.
    pub(super) const fn raised(&self) -> Producer {
        Producer { id: self.producer.id, epoch: after(self.producer.epoch) }
    }

    /// Partitions are added to the transaction, which they may begin.
    pub(super) fn with(
        &self,
        partitions: Vec<TransactionPartition>,
        client_version: i16,
        now: UnixMillis,
    ) -> Self {
        let mut next = self.next(State::Ongoing, now);
        if self.state != State::Ongoing {
            next.started_at = now;
        }
        next.partitions.extend(partitions);
        next.client_version = client_version;
        next
    }

    /// The transaction is decided by its client. `next_id` is for a producer that has used up its epochs.
    pub(super) fn prepared(
        &self,
        outcome: TransactionOutcome,
        client_version: i16,
        next_id: Option<ProducerId>,
        now: UnixMillis,
    ) -> Self {
        let state = match outcome {
            TransactionOutcome::Commit => State::PrepareCommit,
            TransactionOutcome::Abort => State::PrepareAbort,
        };
        let mut next = self.next(state, now);
        next.client_version = client_version;
        next.next_id = next_id.unwrap_or(ProducerId::NONE);
        if client_version >= EPOCH_PER_TRANSACTION_SINCE {
            next.producer = self.raised();
        }
        if self.state != State::Ongoing {
            // Nothing was written, but the epoch is used up all the same.
            next.started_at = now;
        }
        next
    }

    /// The transaction is aborted by the coordinator, and its producer fenced. `feature` is the level of
    /// `transaction.version`.
    pub(super) fn fenced(&self, feature: i16, now: UnixMillis) -> Self {
        Self {
            producer: self.raised(),
            ..self.prepared(TransactionOutcome::Abort, feature, None, now)
        }
    }

    /// All markers are written.
    pub(super) fn completed(&self, now: UnixMillis) -> Self {
        let is_commit = self.state == State::PrepareCommit;
        let state = if is_commit { State::CompleteCommit } else { State::CompleteAbort };
        let mut next = self.next(state, now);
        next.partitions.clear();
        next.next_id = ProducerId::NONE;
        if self.next_id != ProducerId::NONE {
            next.producer = Producer { id: self.next_id, epoch: ProducerEpoch(0) };
        }
        next
    }

    /// Whether a transaction has taken too long.
    pub(super) fn is_overdue(&self, now: UnixMillis) -> bool {
        self.state == State::Ongoing
            && now.millis_since(self.started_at) > i64::from(self.timeout_ms)
    }

    /// Whether nobody has used the transactional id for this long.
    pub(super) fn is_over(&self, now: UnixMillis, expiration: Duration) -> bool {
        self.state.may_expire()
            && i128::from(now.millis_since(self.updated_at)) >= expiration.as_millis().cast_signed()
    }
}
