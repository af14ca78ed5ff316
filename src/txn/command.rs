//! What a shard is asked, and what it answers. One command concerns one transactional id, but for the list of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::TransactionalId;
use super::task::Errand;
use super::transaction::State;
use crate::coordinator::TransactionOutcome;
use crate::model::{ErrorCode, PartitionId, ProducerEpoch, ProducerId, UnixMillis};

/// One incarnation of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
}

/// A partition in a transaction: the name of its topic, and its index.
pub type TransactionPartition = (Arc<str>, PartitionId);

/// What a shard is asked.
#[derive(Clone, Debug)]
pub enum Command {
    /// A producer begins to work under a transactional id, or goes on after an error. Answered with [`Reply::Producer`].
    InitProducerId {
        /// The transactional id.
        id: TransactionalId,
        /// How long a transaction may take.
        timeout_ms: i32,
        /// Who the producer believes to be (KIP-360).
        expected: Option<Producer>,
        /// A producer id that was never used, in case one is needed. Without one the answer may be
        /// [`Reply::NeedsProducerId`]: then nothing has changed.
        fresh: Option<ProducerId>,
    },
    /// Partitions become part of the producer's transaction. Answered with [`Reply::Done`].
    AddPartitions {
        /// The transactional id.
        id: TransactionalId,
        /// Who writes.
        producer: Producer,
        /// Where it will write.
        partitions: Vec<TransactionPartition>,
        /// The level of `transaction.version` that its client goes by.
        client_version: i16,
    },
    /// Are these partitions part of the producer's transaction? Answered with [`Reply::Verified`].
    Verify {
        /// The transactional id.
        id: TransactionalId,
        /// Who writes.
        producer: Producer,
        /// Where it wants to write.
        partitions: Vec<TransactionPartition>,
    },
    /// The producer ends its transaction. Answered with [`Reply::Producer`]: who it is from now on.
    End {
        /// The transactional id.
        id: TransactionalId,
        /// Who ends it.
        producer: Producer,
        /// How.
        outcome: TransactionOutcome,
        /// The level of `transaction.version` that its client goes by.
        client_version: i16,
        /// As for [`InitProducerId`](Self::InitProducerId).
        fresh: Option<ProducerId>,
    },
    /// All partitions of a prepared transaction have their marker. Answered with [`Reply::Done`].
    Complete {
        /// The transactional id.
        id: TransactionalId,
        /// Whose markers they are. Nothing happens if the shard has sent a newer errand.
        errand: Errand,
    },
    /// Answered with [`Reply::Described`].
    Describe {
        /// The transactional id.
        id: TransactionalId,
    },
    /// The transactional ids of this shard. Answered with [`Reply::Listed`].
    List {
        /// Which ones.
        filter: ListFilter,
    },
    /// How many transactional ids of this shard are in which state? Answered with [`Reply::Counted`].
    Count,
}

/// What a shard answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Who the producer is, or why it may not go on.
    Producer(Result<Producer, ErrorCode>),
    /// A producer id is needed: ask again with one.
    NeedsProducerId,
    /// Done, or why not.
    Done(Result<(), ErrorCode>),
    /// A code for each partition in the order of the question, or one for all of them.
    Verified(Result<Vec<ErrorCode>, ErrorCode>),
    /// The transactional id as it is.
    Described(Result<Description, ErrorCode>),
    /// By id.
    Listed(Vec<Listed>),
    /// By state; states without transactional ids are left out.
    Counted(BTreeMap<State, usize>),
}

/// A transactional id as DescribeTransactions shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its state.
    pub state: State,
    /// Its producer.
    pub producer: Producer,
    /// How long a transaction may take.
    pub timeout_ms: i32,
    /// When the last transaction began; [`UnixMillis::NONE`] if there was none.
    pub started_at: UnixMillis,
    /// The partitions of the transaction, by topic and index.
    pub partitions: Vec<TransactionPartition>,
}

/// Which transactional ids to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// In one of these states; in any, if none.
    pub states: Option<Vec<State>>,
    /// Of one of these producers; of any, if empty.
    pub producer_ids: Vec<ProducerId>,
    /// Begun longer ago than this, in milliseconds; any if negative.
    pub duration_ms: i64,
}

/// A transactional id in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The id.
    pub id: TransactionalId,
    /// Its producer.
    pub producer_id: ProducerId,
    /// Its state.
    pub state: State,
}
