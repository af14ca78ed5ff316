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

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

pub use decide::{place, preferred_elections};
pub use inspect::{MetadataReport, inspect_metadata};
pub use local::{LocalQuorum, Started, Storage};
pub use raft::{Caught, ClusterError, Joining, Lifecycle, RaftQuorum, Session, join};

use serde::{Deserialize, Serialize};

use crate::cluster::{ClusterImage, Command, Event, Outcome, Refusal};
use crate::model::{BrokerId, ErrorCode, TopicPartition, UuidText};
use crate::telemetry::QuorumMetrics;

/// How many proposals may wait.
const INBOX_LENGTH: usize = 1024;
/// How many waiting proposals go into one log entry.
const BATCH_LENGTH: usize = 1000;
/// A snapshot replaces the entries when they have grown to this.
const SNAPSHOT_AFTER_BYTES: u64 = 8 * 1024 * 1024;

/// What commands are proposed to.
pub trait Quorum: fmt::Debug + Send + Sync {
    /// Proposes commands, to be applied one after the other without another one in between. Gives the index of their log
    /// entry and what each gave. May be dropped: the commands are applied or not.
    ///
    /// # Errors
    /// [`QuorumError`] if the commands may or may not have been applied.
    fn propose(
        &self,
        commands: Vec<Command>,
    ) -> Pin<Box<dyn Future<Output = Result<Proposed, QuorumError>> + Send + '_>>;

    /// Up to where everything was agreed on when this is asked, as an index; none if no other node agrees on anything. For as long as
    /// there is no majority, this waits. May be dropped.
    fn agreed_on(&self) -> Pin<Box<dyn Future<Output = Option<u64>> + Send + '_>> {
        Box::pin(std::future::ready(None))
    }

    /// Who agrees on commands.
    fn status(&self) -> QuorumStatus;

    /// What this node does for the quorum, counted.
    fn metrics(&self) -> &QuorumMetrics;

    /// The same, as the leader says if it can be asked: only it knows how far the others are. May be dropped.
    fn status_of_leader(&self) -> Pin<Box<dyn Future<Output = QuorumStatus> + Send + '_>> {
        Box::pin(std::future::ready(self.status()))
    }

    /// How many connections other nodes have to this one.
    fn node_connections(&self) -> usize {
        0
    }

    /// Has a controller vote or not vote, one change after the other. May be dropped: it is changed or not.
    ///
    /// # Errors
    /// A [`Refusal`] in the words of Apache Kafka. With REQUEST_TIMED_OUT it may be changed yet.
    fn change_voters(
        &self,
        change: VoterChange,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + '_>>;

    /// Has the cluster take note that a voter is reached at `address`, which is `host:port`, if this node leads. A voter that is configured is
    /// reached where it is configured, whatever is said here. May be dropped: it is noted or not.
    ///
    /// # Errors
    /// The code that Apache Kafka's UpdateRaftVoter has for it. With REQUEST_TIMED_OUT it may be noted yet.
    fn move_voter(
        &self,
        voter: Voter,
        address: String,
    ) -> Pin<Box<dyn Future<Output = Result<(), ErrorCode>> + Send + '_>>;
}

/// A change of the voters (KIP-853).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VoterChange {
    /// A controller that has listened so far votes from now on.
    Add(Addition),
    /// A controller only listens from now on.
    Remove(Voter),
}

impl VoterChange {
    /// Who votes or does not.
    const fn voter(&self) -> &Voter {
        match self {
            Self::Add(Addition { voter, .. }) | Self::Remove(voter) => voter,
        }
    }
}

/// A controller that is to vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Addition {
    /// The controller.
    #[serde(flatten)]
    pub voter: Voter,
    /// When the answer comes. What nodes of versions before this one ask for is agreed on.
    #[serde(default)]
    pub answer: Answered,
}

/// What the answer to a change of the voters waits for (KIP-1186).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answered {
    /// That the voters have agreed.
    #[default]
    Agreed,
    /// That the leader has written it. It is not made if another one leads before the voters have agreed.
    Written,
}

/// A controller with one of its directories: on another one it is another voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Voter {
    /// The controller.
    pub broker: BrokerId,
    /// Its directory with the metadata log.
    pub directory: UuidText,
}

/// As Apache Kafka writes it.
impl fmt::Display for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicaKey(id={}, directoryId={})", self.broker, self.directory)
    }
}

/// Who agrees on commands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuorumStatus {
    /// The node that decides; none while one is elected, and for a node that is not in touch with a majority.
    pub leader: Option<BrokerId>,
    /// Its epoch: Raft's term.
    pub epoch: i32,
    /// The nodes whose majority agrees, the leader among them.
    pub voters: Vec<QuorumMember>,
    /// The nodes that only listen.
    pub observers: Vec<QuorumMember>,
}

impl QuorumStatus {
    /// Why the voters cannot be changed so; nothing if they can, once the controller has caught up. (`AddVoterHandler`,
    /// `RemoveVoterHandler` of Apache Kafka)
    fn refusal(&self, change: &VoterChange) -> Option<Refusal> {
        let keys: Vec<Voter> = self.voters.iter().map(QuorumMember::key).collect();
        let shown = || keys.iter().map(Voter::to_string).collect::<Vec<_>>().join(", ");
        let refuse = |code, message| Some(Refusal { code, message });
        match change {
            VoterChange::Add(Addition { voter, .. })
                if keys.iter().any(|key| key.broker == voter.broker) =>
            {
                refuse(
                    ErrorCode::DuplicateVoter,
                    format!(
                        "The voter id for {voter} is already part of the set of voters [{}].",
                        shown()
                    ),
                )
            }
            VoterChange::Add(Addition { voter, .. }) => {
                let listens = self.observers.iter().any(|observer| observer.key() == *voter);
                (!listens).then(|| lagging(voter))
            }
            // One has to stay.
            VoterChange::Remove(voter) if keys.len() == 1 || !keys.contains(voter) => refuse(
                ErrorCode::VoterNotFound,
                format!("Cannot remove voter {voter} from the set of voters [{}]", shown()),
            ),
            VoterChange::Remove(_) => None,
        }
    }
}

/// The refusal of a voter that has not caught up.
fn lagging(voter: &Voter) -> Refusal {
    let message = format!("Aborted add voter operation for {voter} since it is lagging behind");
    Refusal { code: ErrorCode::RequestTimedOut, message }
}

/// A node of a quorum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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

impl QuorumMember {
    /// The node as a voter.
    const fn key(&self) -> Voter {
        Voter { broker: self.broker, directory: self.directory }
    }
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
