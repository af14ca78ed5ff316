//! The metadata log as openraft wants it: the files of `raft_log`, with the entries that no snapshot has replaced in memory.
//!
//! **Invariants:** entries can be read when their append returns, and are durable then; nothing is dropped from the log before
//! the snapshot that stands for it is durable.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogId, LogState, RaftLogReader, StorageIOError, Vote};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Entry, StorageError, Types, entry, entry_id, log_id, stored_entry, stored_vote, vote};
use crate::controller::RaftLogError;
use crate::controller::raft_log::{self, AppendFailure, EntryId, RaftLog, Snapshot};
use crate::env::Env;
use crate::model::WithCauses;
use crate::telemetry::{MadeSnapshot, QuorumMetrics};

/// The log of a node. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    env: Env,
    metrics: Arc<QuorumMetrics>,
    /// The files, used by one job of the pool at a time.
    log: Mutex<RaftLog>,
    held: Mutex<Held>,
    /// The last entry of the newest snapshot that is durable.
    snapshot_end: watch::Sender<Option<EntryId>>,
}

/// What is in the files, for those who read.
#[derive(Debug)]
struct Held {
    vote: raft_log::Vote,
    committed: Option<EntryId>,
    purged: Option<EntryId>,
    entries: VecDeque<raft_log::Entry>,
    snapshot: Option<Arc<Snapshot>>,
    /// Bytes of the entries in the file.
    length: u64,
}

impl Held {
    fn first_index(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }

    fn next_index(&self) -> u64 {
        self.first_index() + self.entries.len() as u64
    }
}

impl Store {
    /// The store on a log that was opened.
    pub(super) fn new(env: &Env, metrics: Arc<QuorumMetrics>, found: raft_log::Found) -> Self {
        let state = *found.log.state();
        let held = Held {
            vote: state.vote,
            committed: state.committed,
            purged: state.purged,
            entries: found.entries.into(),
            snapshot: found.snapshot.map(Arc::new),
            length: found.log.length(),
        };
        let snapshot_end = watch::Sender::new(state.purged);
        Self(Arc::new(Shared {
            env: env.clone(),
            metrics,
            log: Mutex::new(found.log),
            held: Mutex::new(held),
            snapshot_end,
        }))
    }

    /// The newest snapshot.
    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.0.held.lock().snapshot.clone()
    }

    /// Index of the entry after the last one.
    pub(super) fn next_index(&self) -> u64 {
        self.0.held.lock().next_index()
    }

    /// Bytes of the entries that no snapshot has replaced.
    pub(super) fn length(&self) -> u64 {
        self.0.held.lock().length
    }

    /// Makes a snapshot durable.
    pub(super) async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StorageError> {
        let snapshot = Arc::new(snapshot);
        let saved = Arc::clone(&snapshot);
        let env = &self.0.env;
        let begun = env.steady.now();
        let result = self.on_files("snapshot", move |log| log.save_snapshot(&saved)).await;
        result.map_err(|error| StorageIOError::write_snapshot(None, any(&error)))?;
        let took = env.steady.now().since(begun);
        self.0.metrics.made_snapshot(MadeSnapshot { at: env.clock.now(), took });
        let end = snapshot.meta.last;
        self.0.held.lock().snapshot = Some(snapshot);
        self.0.snapshot_end.send_replace(Some(end));
        Ok(())
    }

    /// Works with the files on the pool for what blocks.
    async fn on_files<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut RaftLog) -> T + Send + 'static,
    ) -> T {
        let shared = Arc::clone(&self.0);
        let job = move || work(&mut shared.log.lock());
        self.0.env.tasks.spawn_blocking(name, job).await
    }

    async fn append_all(&self, entries: Vec<raft_log::Entry>) -> io::Result<()> {
        let written = entries.clone();
        let (result, length) = self
            .on_files("metadata-append", move |log| {
                let result = log.append(&written);
                (result, log.length())
            })
            .await;
        result.map_err(|failure| {
            let (AppendFailure::Refused(error) | AppendFailure::Fatal(error)) = failure;
            tracing::error!(%error, "cannot write the metadata log");
            error
        })?;
        let mut held = self.0.held.lock();
        held.entries.extend(entries);
        held.length = length;
        Ok(())
    }
}

fn any(error: &RaftLogError) -> AnyError {
    let text = WithCauses(error).to_string();
    tracing::error!(error = %text, "cannot write the metadata log");
    AnyError::error(text)
}

impl RaftLogReader<Types> for Store {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let held = self.0.held.lock();
        let first = held.first_index();
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        let skipped = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let count = usize::try_from(to.saturating_sub(from.max(first))).unwrap_or(usize::MAX);
        Ok(held.entries.iter().skip(skipped).take(count).map(entry).collect())
    }
}

impl RaftLogStorage<Types> for Store {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let held = self.0.held.lock();
        let last = held.entries.back().map(|entry| entry.id).or(held.purged);
        Ok(LogState { last_purged_log_id: held.purged.map(log_id), last_log_id: last.map(log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), StorageError> {
        let stored = stored_vote(vote);
        let result = self.on_files("metadata-vote", move |log| log.save_vote(stored)).await;
        result.map_err(|error| StorageIOError::write_vote(any(&error)))?;
        self.0.held.lock().vote = stored;
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, StorageError> {
        let stored = self.0.held.lock().vote;
        Ok((stored.term > 0).then(|| vote(stored)))
    }

    async fn save_committed(&mut self, committed: Option<LogId<u64>>) -> Result<(), StorageError> {
        let committed = committed.as_ref().map(entry_id);
        self.0.held.lock().committed = committed;
        // Without a wait for the disk: an append that is under way has the files.
        if let Some(mut log) = self.0.log.try_lock() {
            log.note_committed(committed);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<u64>>, StorageError> {
        Ok(self.0.held.lock().committed.map(log_id))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries = entries.into_iter().map(stored_entry).collect();
        callback.log_io_completed(self.append_all(entries).await);
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<u64>) -> Result<(), StorageError> {
        let result = self
            .on_files("metadata-truncate", move |log| {
                log.truncate(from.index).map(|()| log.length())
            })
            .await;
        let length = result.map_err(|error| StorageIOError::write_logs(any(&error)))?;
        let mut held = self.0.held.lock();
        let kept = from.index.saturating_sub(held.first_index());
        held.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        held.length = length;
        Ok(())
    }

    async fn purge(&mut self, upto: LogId<u64>) -> Result<(), StorageError> {
        let upto = entry_id(&upto);
        // A snapshot that the leader sent may still be on its way to the disk.
        let mut saved = self.0.snapshot_end.subscribe();
        let ended = saved.wait_for(|end| end.is_some_and(|end| end.index >= upto.index)).await;
        let end = ended.map(|end| *end).ok().flatten();
        // What a later snapshot stands for is dropped with it.
        if end != Some(upto) || self.0.held.lock().purged >= Some(upto) {
            return Ok(());
        }
        let rest: Vec<_> = {
            let held = self.0.held.lock();
            held.entries.iter().filter(|entry| entry.id.index > upto.index).cloned().collect()
        };
        let kept = rest.clone();
        let result = self
            .on_files("metadata-purge", move |log| log.purge(upto, &rest).map(|()| log.length()))
            .await;
        let length = result.map_err(|error| StorageIOError::write_logs(any(&error)))?;
        let mut held = self.0.held.lock();
        held.purged = Some(upto);
        held.entries = kept.into();
        held.length = length;
        Ok(())
    }
}
