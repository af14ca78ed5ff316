//! Gets the cluster to agree on commands, and makes them durable.
//!
//! Owns the [`Quorum`] seam, its drivers for a cluster of one node and of several, and the files of the metadata log. The log has the form
//! that a cluster of several nodes needs, so a node that was alone opens it unchanged when others join.
//!
//! **Invariants:** an outcome is told only after its command is durable and applied; applied commands reach whoever keeps
//! something by them in the order of the log, without a gap.

mod decide;
mod inspect;
pub mod kraft;
mod local;
mod raft;
mod raft_log;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

pub use decide::{place, preferred_elections};
pub use inspect::{MetadataReport, inspect_metadata};
pub use local::{LocalQuorum, Started, Storage};
pub use raft::{Caught, ClusterError, Joining, Lifecycle, RaftQuorum, Session, join};

use crate::cluster::{ClusterImage, Command, Event, Outcome};
use crate::model::{BrokerId, TopicPartition, UuidText};

/// How many proposals may wait.
const INBOX_LENGTH: usize = 1024;
/// How many waiting proposals go into one log entry.
const BATCH_LENGTH: usize = 1000;
/// A snapshot replaces the entries when they have grown to this.
const SNAPSHOT_AFTER_BYTES: u64 = 8 * 1024 * 1024;

/// What commands are proposed to.
pub trait Quorum: std::fmt::Debug + Send + Sync {
    /// Proposes commands, to be applied one after the other without another one in between. Gives the index of their log
    /// entry and what each gave. May be dropped: the commands are applied or not.
    ///
    /// # Errors
    /// [`QuorumError`] if the commands may or may not have been applied.
    fn propose(
        &self,
        commands: Vec<Command>,
    ) -> Pin<Box<dyn Future<Output = Result<Proposed, QuorumError>> + Send + '_>>;

    /// Who agrees on commands.
    fn status(&self) -> QuorumStatus;
}

/// Who agrees on commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuorumStatus {
    /// The node that decides; none while one is elected.
    pub leader: Option<BrokerId>,
    /// Its epoch: Raft's term.
    pub epoch: i32,
    /// The nodes whose majority agrees, the leader among them.
    pub voters: Vec<QuorumMember>,
    /// The nodes that only listen.
    pub observers: Vec<QuorumMember>,
}

/// A node of a quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumMember {
    /// The node.
    pub broker: BrokerId,
    /// Its directory with the metadata log.
    pub directory: UuidText,
    /// Where it is reached by other nodes, and if it is a controller by tools: host and port. None on a single node.
    pub endpoint: Option<(String, u16)>,
    /// Index of the entry after the last one that it is known to have. Only the leader knows this of others.
    pub end: Option<u64>,
}

/// Commands that were applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Index of their log entry.
    pub index: u64,
    /// What each gave.
    pub outcomes: Vec<Outcome>,
}

/// One step of the state, in the order of the log.
#[derive(Clone, Debug)]
pub struct AppliedBatch {
    /// Index of the log entry.
    pub index: u64,
    /// The state after it.
    pub image: Arc<ClusterImage>,
    /// What changed.
    pub events: Vec<Event>,
}

/// Why a proposal has no outcome.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QuorumError {
    /// The broker is stopping.
    #[error("the controller has stopped")]
    Stopped,
    /// The metadata log could not be written; the commands are not applied.
    #[error("cannot write the metadata log: {0}")]
    Unwritable(Arc<io::Error>),
    /// No node leads, and so nobody has taken the commands.
    #[error("the cluster has no leader at present; nothing was changed")]
    NoLeader,
    /// The leader has taken the commands, and was lost: they may be applied yet.
    #[error("it is not known whether the change was made: the leader was lost before it answered")]
    Unknown,
}

/// Why the metadata log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RaftLogError {
    /// The disk refused.
    #[error("cannot use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The disk's words.
        source: io::Error,
    },
    /// A file says nothing sensible, where an unclean stop cannot have damaged it.
    #[error("{path} is damaged at byte {position}: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        position: u64,
        /// What is wrong there.
        problem: String,
    },
    /// The state file is gone, but not the files that it names.
    #[error(
        "{path} is missing, but {found} is there: put it back, else the topics are lost (docs/FORMAT.md says what is in it)"
    )]
    StateMissing {
        /// The state file.
        path: PathBuf,
        /// Name of another file.
        found: String,
    },
    /// The metadata is that of another cluster.
    #[error(
        "the metadata log in {path} is of cluster {found}, not of {expected} as its meta.properties says: put the right one back"
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster of the metadata.
        found: String,
        /// The cluster of the directory.
        expected: String,
    },
    /// The directory is of a cluster of Apache Kafka that had several brokers.
    #[error(
        "{path} says that {partition} has replicas on brokers {replicas:?}: only a cluster of one broker can be taken over; \
         move all partitions to broker {broker} with kafka-reassign-partitions first"
    )]
    OtherBrokers {
        /// The directory of the metadata log.
        path: PathBuf,
        /// A partition.
        partition: TopicPartition,
        /// The brokers that hold it.
        replicas: Vec<BrokerId>,
        /// The broker that the directory is of.
        broker: BrokerId,
    },
    /// A file is whole, and says something that this version does not know.
    #[error(
        "{path} at byte {position} was written by a newer version of Ottla: start that one ({problem})"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Where.
        position: u64,
        /// What is not known.
        problem: String,
    },
}
