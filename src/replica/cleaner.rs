//! Compacts the logs of compacted topics, one after the other: the one with the largest part that is new comes first.
//!
//! Owns the choice, the pace and what happens after a failure. How a log is compacted is `log/cleaner`.
//!
//! Source: `LogCleaner`, `LogCleanerManager` and `Throttler` of Apache Kafka 4.3.1, with one thread.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::manager::ReplicaManager;
use super::pace::Pace;
use super::partition::Partition;
use crate::config::CleanerConfig;
use crate::env::Env;
use crate::log::{CleanBuffers, CleanError, CleanPass, CleanStats, CleanStep, Cleanable, Log};
use crate::model::{Offset, TopicIdPartition, WithCauses};

/// The task that compacts.
#[derive(Debug)]
pub(super) struct Cleaner {
    manager: Arc<ReplicaManager>,
    env: Env,
    /// Partitions that could not be compacted. They are left alone until the next start.
    uncleanable: BTreeSet<TopicIdPartition>,
    pace: Pace,
}

/// A log that is to be compacted.
#[derive(Debug)]
struct Chosen {
    partition: Arc<Partition>,
    log: Arc<Log>,
    cleanable: Cleanable,
}

/// Partitions whose log cannot even be looked at, with the reason.
type Unreadable = Vec<(TopicIdPartition, CleanError)>;

impl Cleaner {
    pub(super) fn new(manager: Arc<ReplicaManager>, env: Env) -> Self {
        let pace = Pace::new(env.steady.now());
        Self { manager, env, uncleanable: BTreeSet::new(), pace }
    }

    /// Does its work until the tasks are cancelled.
    pub(super) async fn run(mut self) {
        while !self.env.tasks.is_cancelled() {
            if self.clean_dirtiest().await {
                continue;
            }
            let next = self.manager.after(self.manager.cleaner_config().backoff);
            tokio::select! {
                () = self.env.clock.sleep_until(next) => {}
                () = self.env.tasks.cancelled() => return,
            }
        }
    }

    /// Compacts the log that needs it most. Gives whether there was one, and it is worth looking for the next at once.
    async fn clean_dirtiest(&mut self) -> bool {
        let (manager, uncleanable) = (Arc::clone(&self.manager), self.uncleanable.clone());
        let choose = move || choose(&manager, &uncleanable);
        let (chosen, unreadable) = self.env.tasks.spawn_blocking("choose-log", choose).await;
        for (id, error) in unreadable {
            self.give_up(id, &error);
        }
        let Some(chosen) = chosen else { return false };
        let began = self.env.steady.now();
        match self.clean(&chosen).await {
            Ok(None) => false,
            Ok(Some((end, stats))) => {
                let CleanStats { keys, bytes_read, bytes_written } = stats;
                let took = self.env.steady.now().since(began);
                tracing::info!(partition = %chosen.log.name(), from = %chosen.cleanable.first_dirty, to = %end, keys,
                    bytes_read, bytes_written, ?took, "compacted a log");
                // What is not known to be compacted would be so again at once.
                self.note(&chosen, end).await
            }
            Err(error) => self.failed(&chosen, &error),
        }
    }

    /// Compacts a log; `None` if the tasks were cancelled first.
    async fn clean(&mut self, chosen: &Chosen) -> Result<Option<(Offset, CleanStats)>, CleanError> {
        let config = self.manager.cleaner_config();
        let (log, found) = (Arc::clone(&chosen.log), chosen.cleanable);
        let now = self.env.clock.now();
        let begin = move || CleanPass::new(&log, &found, buffers(&config), now);
        let mut pass = self.env.tasks.spawn_blocking("clean-log", begin).await;
        while !self.env.tasks.is_cancelled() {
            let log = Arc::clone(&chosen.log);
            let step = move || {
                let step = pass.step(&log);
                (pass, step)
            };
            let (stepped, step) = self.env.tasks.spawn_blocking("clean-log", step).await;
            pass = stepped;
            match step? {
                CleanStep::Moved(bytes) => self.pay(bytes).await,
                CleanStep::Swapped(files) => self.manager.remove_files(&chosen.partition, files),
                CleanStep::Done(end) => return Ok(Some((end, pass.stats()))),
            }
        }
        Ok(None)
    }

    /// Waits until more may be moved than so many bytes.
    async fn pay(&mut self, bytes: u64) {
        let rate = self.manager.cleaner_config().io_bytes_per_second_max;
        let Some(until) = self.pace.charge(self.env.steady.now(), bytes, rate) else { return };
        tokio::select! {
            () = self.env.steady.sleep_until(until) => {}
            () = self.env.tasks.cancelled() => {}
        }
    }

    /// Writes down how far a log was compacted; gives whether that worked.
    async fn note(&self, chosen: &Chosen, end: Offset) -> bool {
        let (manager, partition) = (Arc::clone(&self.manager), Arc::clone(&chosen.partition));
        let log = Arc::clone(&chosen.log);
        let note = move || manager.note_cleaned(&partition, &log, end);
        let noted = self.env.tasks.spawn_blocking("note-cleaned", note).await;
        if let Err(error) = &noted {
            tracing::warn!(partition = %chosen.log.name(), %error, "cannot write down how far a log was compacted");
        }
        noted.is_ok()
    }

    /// Decides what a failure means. Gives whether it is worth looking for another log at once.
    fn failed(&mut self, chosen: &Chosen, error: &CleanError) -> bool {
        match error {
            CleanError::Aborted => {
                tracing::debug!(partition = %chosen.log.name(), "a log has changed while it was compacted");
                false
            }
            CleanError::NoSpace { .. } => {
                let error = WithCauses(error);
                tracing::warn!(partition = %chosen.log.name(), %error, "cannot compact a log now");
                false
            }
            CleanError::Swap { source, .. } => {
                self.manager.report_failure(&chosen.log, source);
                false
            }
            CleanError::Io { .. } | CleanError::Damaged { .. } => {
                self.give_up(chosen.partition.id(), error);
                true
            }
        }
    }

    fn give_up(&mut self, id: TopicIdPartition, error: &CleanError) {
        let error = WithCauses(error);
        tracing::error!(%error, "cannot compact a log: it keeps everything until the next start");
        self.uncleanable.insert(id);
    }
}

/// Chooses the log of which the largest part is new, among those that are due. What is about to be compacted is made
/// durable first: a start looks for lost records from there on. Blocks for the disk.
fn choose(
    manager: &ReplicaManager,
    uncleanable: &BTreeSet<TopicIdPartition>,
) -> (Option<Chosen>, Unreadable) {
    let (mut best, mut unreadable): (Option<Chosen>, Unreadable) = (None, Vec::new());
    for partition in manager.all() {
        let Ok(log) = partition.log() else { continue };
        if !log.config().compacts || uncleanable.contains(&partition.id()) {
            continue;
        }
        // What was copied before would not be compacted.
        if partition.moving().is_some() {
            continue;
        }
        let cleanable = match manager.cleanable(&partition, &log) {
            Ok(cleanable) => cleanable,
            Err(CleanError::Aborted) => continue,
            Err(error) => {
                unreadable.push((partition.id(), error));
                continue;
            }
        };
        let is_better =
            best.as_ref().is_none_or(|best| cleanable.dirty_ratio() > best.cleanable.dirty_ratio());
        if is_better && cleanable.is_due(&log.config()) {
            best = Some(Chosen { partition, log, cleanable });
        }
    }
    let ready = best.filter(|best| manager.make_durable(&best.log));
    (ready, unreadable)
}

fn buffers(config: &CleanerConfig) -> CleanBuffers {
    CleanBuffers {
        dedupe_bytes: config.dedupe_bytes,
        load_factor: config.load_factor,
        io_bytes: config.io_bytes as usize,
    }
}
