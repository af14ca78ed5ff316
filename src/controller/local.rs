//! The quorum of a cluster of one node: every proposal is agreed on as soon as it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::kraft;
use super::raft_log::{
    AppendFailure, Entry, EntryId, Found, Membership, Node, Payload, RaftLog, Snapshot,
    SnapshotMeta, State, VERSION, Vote, snapshot_path,
};
use super::{
    AppliedBatch, Proposed, Quorum, QuorumError, QuorumMember, QuorumStatus, RaftLogError,
    VoterChange,
};
use crate::cluster::{ClusterImage, Command, Event, Outcome, Refusal};
use crate::controller::{BATCH_LENGTH, INBOX_LENGTH, SNAPSHOT_AFTER_BYTES, Voter};
use crate::env::{Disk, Env};
use crate::model::{BrokerId, ErrorCode, UuidText, WithCauses};
use crate::telemetry::{MadeSnapshot, QuorumMetrics};

/// How many steps may wait to be taken note of.
const APPLIED_LENGTH: usize = 64;

/// Where the metadata log is.
#[derive(Clone, Debug)]
pub enum Storage {
    /// Nowhere: the state is gone with the process.
    Memory,
    /// In this data directory.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Its id.
        id: UuidText,
    },
}

/// Proposals of one node are its decisions.
#[derive(Debug)]
pub struct LocalQuorum {
    inbox: mpsc::Sender<Proposal>,
    status: QuorumStatus,
    metrics: Arc<QuorumMetrics>,
}

/// A quorum that was started.
#[derive(Debug)]
pub struct Started {
    /// Where to propose.
    pub quorum: LocalQuorum,
    /// The state so far.
    pub image: Arc<ClusterImage>,
    /// Index of the last entry of it.
    pub index: u64,
    /// The steps from here on. Nobody's proposal gets its outcome while this is full.
    pub applied: mpsc::Receiver<AppliedBatch>,
}

#[derive(Debug)]
struct Proposal {
    commands: Vec<Command>,
    reply: oneshot::Sender<Result<Proposed, QuorumError>>,
}

impl LocalQuorum {
    /// Reads the metadata log, or begins one, and starts the task that takes proposals. Blocks for the disk.
    ///
    /// # Errors
    /// [`RaftLogError`] if the log cannot be read or begun.
    pub fn start(
        env: &Env,
        storage: Storage,
        node_id: BrokerId,
        cluster_id: &str,
    ) -> Result<Started, RaftLogError> {
        let core = Core::open(env, storage, node_id, cluster_id)?;
        let (inbox, proposals) = mpsc::channel(INBOX_LENGTH);
        let (steps, applied) = mpsc::channel(APPLIED_LENGTH);
        let (image, index) = (Arc::new(core.image.clone()), core.last_index());
        let epoch = i32::try_from(core.leader.term).unwrap_or(i32::MAX);
        let status = QuorumStatus {
            leader: Some(node_id),
            epoch,
            voters: vec![core.member(node_id, index)],
            observers: Vec::new(),
        };
        let metrics = Arc::default();
        let task = run(env.clone(), core, proposals, steps, Arc::clone(&metrics));
        env.tasks.spawn_service("metadata", task);
        Ok(Started { quorum: Self { inbox, status, metrics }, image, index, applied })
    }
}

impl Quorum for LocalQuorum {
    fn propose(
        &self,
        commands: Vec<Command>,
    ) -> Pin<Box<dyn Future<Output = Result<Proposed, QuorumError>> + Send + '_>> {
        Box::pin(async move {
            let (reply, outcome) = oneshot::channel();
            let sent = self.inbox.send(Proposal { commands, reply }).await;
            sent.map_err(|_| QuorumError::Stopped)?;
            outcome.await.unwrap_or(Err(QuorumError::Stopped))
        })
    }

    fn status(&self) -> QuorumStatus {
        self.status.clone()
    }

    fn metrics(&self) -> &QuorumMetrics {
        &self.metrics
    }

    fn change_voters(
        &self,
        change: VoterChange,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + '_>> {
        let refusal = self.status.refusal(&change);
        let refusal =
            refusal.expect("no other node listens to one that is alone, and it has to stay");
        Box::pin(std::future::ready(Err(refusal)))
    }

    fn move_voter(
        &self,
        voter: Voter,
        _address: String,
    ) -> Pin<Box<dyn Future<Output = Result<(), ErrorCode>> + Send + '_>> {
        // Nobody has to reach a node that is alone.
        let is_own = self.status.voters.iter().any(|own| own.key() == voter);
        let noted = if is_own { Ok(()) } else { Err(ErrorCode::VoterNotFound) };
        Box::pin(std::future::ready(noted))
    }
}

/// Takes proposals, several at a time, until the broker stops or the log fails.
async fn run(
    env: Env,
    mut core: Core,
    mut proposals: mpsc::Receiver<Proposal>,
    steps: mpsc::Sender<AppliedBatch>,
    metrics: Arc<QuorumMetrics>,
) {
    let mut waiting = Vec::new();
    loop {
        let received = tokio::select! {
            received = proposals.recv_many(&mut waiting, BATCH_LENGTH) => received,
            () = env.tasks.cancelled() => 0,
        };
        if received == 0 {
            return;
        }
        let (commands, replies): (Vec<_>, Vec<_>) =
            waiting.drain(..).map(|proposal| (proposal.commands, proposal.reply)).unzip();
        let counts: Vec<usize> = commands.iter().map(Vec::len).collect();
        let commands = commands.concat();
        let committed;
        let (clocks, counts_of) = (env.clone(), Arc::clone(&metrics));
        (core, committed) = env
            .tasks
            .spawn_blocking("metadata-commit", move || {
                let committed = core.commit_counted(commands, &clocks, &counts_of);
                (core, committed)
            })
            .await;
        match committed {
            Ok(committed) => {
                let (index, image) = (core.last_index(), Arc::new(core.image.clone()));
                let step = AppliedBatch { index, image, events: committed.events };
                // Whoever keeps something by the state hears of it before the proposer does.
                if steps.send(step).await.is_err() {
                    return;
                }
                let mut outcomes = committed.outcomes.into_iter();
                for (reply, count) in replies.into_iter().zip(counts) {
                    let outcomes = outcomes.by_ref().take(count).collect();
                    // A proposer that has gone away does not want to know.
                    drop(reply.send(Ok(Proposed { index, outcomes })));
                }
            }
            Err(failure) => {
                let (fatal, error) = match failure {
                    AppendFailure::Refused(error) => (false, error),
                    AppendFailure::Fatal(error) => (true, error),
                };
                tracing::error!(%error, fatal, "cannot write the metadata log");
                let error = QuorumError::Unwritable(Arc::new(error));
                for reply in replies {
                    drop(reply.send(Err(error.clone())));
                }
                if fatal {
                    return;
                }
            }
        }
    }
}

/// The state that the metadata log in a data directory tells of; none if there is no such log. Blocks for the disk.
///
/// # Errors
/// [`RaftLogError`] if the log cannot be read.
pub(super) fn read_image(
    disk: Arc<dyn Disk>,
    data: &Path,
) -> Result<Option<ClusterImage>, RaftLogError> {
    let found = RaftLog::open(disk, data)?;
    found.map(|found| Core::load(found, data).map(|core| core.image)).transpose()
}

/// A start cannot go on without what it had to write.
fn unwritten(path: &Path, failure: AppendFailure) -> RaftLogError {
    let (AppendFailure::Refused(source) | AppendFailure::Fatal(source)) = failure;
    RaftLogError::Io { path: path.to_owned(), source }
}

/// The state with its log, used by one task at a time.
#[derive(Debug)]
struct Core {
    log: Option<RaftLog>,
    leader: EntryId,
    membership: Membership,
    membership_entry: EntryId,
    image: ClusterImage,
}

#[derive(Debug)]
struct Committed {
    outcomes: Vec<Outcome>,
    events: Vec<Event>,
}

impl Core {
    fn open(
        env: &Env,
        storage: Storage,
        node_id: BrokerId,
        cluster_id: &str,
    ) -> Result<Self, RaftLogError> {
        let (path, directory_id) = match storage {
            Storage::Memory => {
                let leader = EntryId { term: 1, leader: 0, index: 0 };
                let (membership, image) = (Membership::default(), ClusterImage::default());
                return Ok(Self { log: None, leader, membership, membership_entry: leader, image });
            }
            Storage::Directory { path, id } => (path, id),
        };
        let mut core = if let Some(found) = RaftLog::open(Arc::clone(&env.disk), &path)? {
            Self::load(found, &path)?
        } else {
            let node = Node {
                broker_id: node_id,
                directory_id,
                cluster_id: cluster_id.to_owned(),
                endpoints: Vec::new(),
            };
            Self::begin(env, &path, env.rng.next_u64(), node)?
        };
        core.take_over(env, &path, node_id)?;
        let found = core.image.cluster_id();
        if found.is_empty() || found == cluster_id {
            return Ok(core);
        }
        let (found, expected) = (found.to_owned(), cluster_id.to_owned());
        Err(RaftLogError::OtherCluster { path, found, expected })
    }

    /// The state that a log tells of.
    fn load(found: Found, path: &Path) -> Result<Self, RaftLogError> {
        let vote = found.log.state().vote;
        let leader = EntryId { term: vote.term, leader: vote.node, index: 0 };
        let mut core = Self {
            leader,
            membership: Membership::default(),
            membership_entry: leader,
            image: ClusterImage::default(),
            log: Some(found.log),
        };
        if let Some(snapshot) = found.snapshot {
            core.image = ClusterImage::from_json(&snapshot.image).map_err(|error| {
                let path = snapshot_path(path, snapshot.meta.last.index);
                RaftLogError::Newer { path, position: 0, problem: error.to_string() }
            })?;
            core.membership = snapshot.meta.membership;
            core.membership_entry = snapshot.meta.membership_entry;
        }
        for entry in found.entries {
            core.apply(&entry);
        }
        Ok(core)
    }

    /// Writes what a cluster of one voter looks like after its first election.
    fn begin(env: &Env, path: &Path, raft_id: u64, node: Node) -> Result<Self, RaftLogError> {
        let vote = Vote { term: 1, node: raft_id, committed: true };
        let state = State { version: VERSION, raft_id, vote, committed: None, purged: None };
        let log = RaftLog::create(Arc::clone(&env.disk), path, state)?;
        let membership = Membership {
            voters: vec![BTreeSet::from([raft_id])],
            nodes: BTreeMap::from([(raft_id, node)]),
        };
        let first = EntryId { term: 0, leader: 0, index: 0 };
        let leader = EntryId { term: 1, leader: raft_id, index: 1 };
        let entries = [
            Entry { id: first, payload: Payload::Membership(membership.clone()) },
            Entry { id: leader, payload: Payload::Blank },
        ];
        let image = ClusterImage::default();
        let mut core = Self { log: Some(log), leader, membership, membership_entry: first, image };
        core.append(&entries).map_err(|failure| unwritten(path, failure))?;
        Ok(core)
    }

    /// Takes the topics over that a broker of Apache Kafka left in the directory, if nothing has happened here yet.
    fn take_over(&mut self, env: &Env, path: &Path, node_id: BrokerId) -> Result<(), RaftLogError> {
        if self.image != ClusterImage::default() {
            return Ok(());
        }
        let Some(command) = kraft::take_over(&*env.disk, path, node_id)? else {
            return Ok(());
        };
        self.commit(vec![command]).map_err(|failure| unwritten(path, failure))?;
        self.make_snapshot_if_due();
        let topics = self.image.topic_count();
        tracing::info!(topics, "took over the metadata of Apache Kafka");
        Ok(())
    }

    /// This node, which is the only one.
    fn member(&self, node_id: BrokerId, index: u64) -> QuorumMember {
        let node = self.membership.nodes.values().next();
        let directory = node.map(|node| node.directory_id).unwrap_or_default();
        QuorumMember { broker: node_id, directory, endpoint: None, end: Some(index + 1) }
    }

    /// Index of the last entry.
    fn last_index(&self) -> u64 {
        self.log.as_ref().map_or(self.leader.index, |log| log.next_index().saturating_sub(1))
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), AppendFailure> {
        match &mut self.log {
            Some(log) => log.append(entries)?,
            None => self.leader.index += entries.len() as u64,
        }
        Ok(())
    }

    /// As [`commit`](Self::commit), and makes a snapshot if it is time; both are counted.
    fn commit_counted(
        &mut self,
        commands: Vec<Command>,
        env: &Env,
        metrics: &QuorumMetrics,
    ) -> Result<Committed, AppendFailure> {
        let (begun, count) = (env.steady.now(), commands.len());
        let committed = self.commit(commands)?;
        let committed_at = env.steady.now();
        metrics.committed(committed_at, count, committed_at.since(begun));
        if self.make_snapshot_if_due() {
            let took = env.steady.now().since(committed_at);
            metrics.made_snapshot(MadeSnapshot { at: env.clock.now(), took });
        }
        Ok(committed)
    }

    /// Writes commands as one entry and applies them.
    fn commit(&mut self, commands: Vec<Command>) -> Result<Committed, AppendFailure> {
        let id = EntryId { index: self.last_index() + 1, ..self.leader };
        let entry = Entry { id, payload: Payload::Commands(commands) };
        self.append(std::slice::from_ref(&entry))?;
        Ok(self.apply(&entry))
    }

    /// Lets a snapshot take the place of the entries, if they have grown long; gives whether it was written.
    fn make_snapshot_if_due(&mut self) -> bool {
        let last = EntryId { index: self.last_index(), ..self.leader };
        let Some(log) = self.log.as_mut().filter(|log| log.length() >= SNAPSHOT_AFTER_BYTES) else {
            return false;
        };
        let (membership, membership_entry) = (self.membership.clone(), self.membership_entry);
        let meta = SnapshotMeta { last, membership, membership_entry };
        let installed = log.install_snapshot(&Snapshot { meta, image: self.image.to_json() });
        if let Err(error) = &installed {
            // The entries are all there: only the log grows longer.
            let error = WithCauses(error);
            tracing::warn!(%error, "cannot write a snapshot of the metadata");
        }
        installed.is_ok()
    }

    fn apply(&mut self, entry: &Entry) -> Committed {
        let (mut outcomes, mut events) = (Vec::new(), Vec::new());
        match &entry.payload {
            Payload::Blank => {}
            Payload::Membership(membership) => {
                self.membership = membership.clone();
                self.membership_entry = entry.id;
            }
            Payload::Commands(commands) => {
                for command in commands {
                    let (outcome, changes) = self.image.apply(entry.id.index, command);
                    outcomes.push(outcome);
                    events.extend(changes);
                }
            }
        }
        Committed { outcomes, events }
    }
}
