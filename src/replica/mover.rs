//! Moves partitions between the directories of this broker while they are written to (AlterReplicaLogDirs, KIP-113).
//!
//! A move is a copy in the other directory, under a name that does not count (`<topic>-<partition>.<id>-future`). One task brings
//! all copies forward, in steps on the pool. One that has caught up takes the place of the log while nothing is appended:
//!
//! 1. All of the copy is durable, and so is where it begins.
//! 2. In the old directory it is noted that the new one is about to count.
//! 3. The copy gets the name of the partition; from here on it counts.
//! 4. The old directory is renamed for removal.
//!
//! **Invariants:** at every moment there is a directory that has all records, and a start knows which: the one with the
//! partition's name, and of two such the one that is noted in the other. While the note stands nothing is appended there. Nothing
//! is ever appended to a log whose directory does not have the partition's name, but by the mover.
//!
//! Source: `ReplicaAlterLogDirsManager`, `ReplicaAlterLogDirsThread` and `LogManager.replaceCurrentWithFutureLog` of Apache
//! Kafka 4.3, which renames in the same order, but leaves two directories of the same name to the operator.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manager::{ReplicaManager, log_config};
use super::pace::Pace;
use super::partition::{Moving, Partition, Place};
use crate::env::{Env, is_no_space};
use crate::log::{
    AppendError, Copied, CopyError, DataDir, DirIndex, KeptKinds, Log, LogStart, OpenError, Opened,
    PartitionName, RenameError, copy_begin, copy_resume,
};
use crate::model::WithCauses;

/// How much a step copies.
const STEP_BYTES: u32 = 1024 * 1024;
/// How often a copy is begun anew before the move is given up.
const RESTARTS_MAX: u32 = 100;
/// How much may be left to copy while nothing can be appended.
const LAST_BYTES: u32 = 256 * 1024;

/// Why a partition is not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// No directory has this path.
    #[error("no log directory has this path")]
    NoSuchDirectory,
    /// The directory takes no new partitions.
    #[error("the log directory is cordoned")]
    Cordoned,
    /// The directory, the partition, or another directory is not in use: the partition may have a copy there.
    #[error("a log directory is not in use")]
    Storage,
    /// The name of the copy's directory would be too long.
    #[error("the topic name is too long")]
    NameTooLong,
}

/// What a step of a move came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stepped {
    /// So many bytes were copied.
    Copied(u64),
    /// The partition is in its new directory.
    Moved,
    /// There is no move any more.
    Over,
}

/// The task that moves partitions.
#[derive(Debug)]
pub(super) struct Mover {
    manager: Arc<ReplicaManager>,
    env: Env,
    pace: Pace,
}

impl Mover {
    pub(super) fn new(manager: Arc<ReplicaManager>, env: Env) -> Self {
        let pace = Pace::new(env.steady.now());
        Self { manager, env, pace }
    }

    /// Does its work until the tasks are cancelled. What is not finished then goes on at the next start.
    pub(super) async fn run(mut self) {
        while !self.env.tasks.is_cancelled() {
            let moving =
                self.manager.all().into_iter().filter(|partition| partition.moving().is_some());
            let moving: Vec<_> = moving.collect();
            if moving.is_empty() {
                tokio::select! {
                    () = self.manager.moves.notified() => continue,
                    () = self.env.tasks.cancelled() => return,
                }
            }
            for partition in moving {
                let manager = Arc::clone(&self.manager);
                let step = move || manager.step_move(&partition);
                match self.env.tasks.spawn_blocking("move-log", step).await {
                    Stepped::Copied(bytes) => self.pay(bytes).await,
                    Stepped::Moved | Stepped::Over => {}
                }
                if self.env.tasks.is_cancelled() {
                    return;
                }
            }
        }
    }

    /// Waits until more may be copied than so many bytes.
    async fn pay(&mut self, bytes: u64) {
        let rate = self.manager.settings.read().broker().move_bytes_per_second_max;
        #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
        let until = self.pace.charge(self.env.steady.now(), bytes, rate as f64);
        let Some(until) = until else { return };
        tokio::select! {
            () = self.env.steady.sleep_until(until) => {}
            () = self.env.tasks.cancelled() => {}
        }
    }
}

/// Why a move does not go on.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// The copy is no part of the log: it is made anew.
    #[error("the copy does not fit the partition any more")]
    Diverged,
    /// It is over, and nobody is to be told: the topic was deleted, or the move cancelled.
    #[error("the move was cancelled")]
    Cancelled,
    /// The log cannot be read, or the new directory has no room: the move is dropped.
    #[error("{0}")]
    Dropped(String),
    /// The disk of the new directory has failed.
    #[error("{0}")]
    To(String),
    /// The disk of the old directory has failed.
    #[error("{0}")]
    From(String),
}

impl From<CopyError> for Trouble {
    fn from(error: CopyError) -> Self {
        let words = WithCauses(&error).to_string();
        match error {
            CopyError::Diverged { .. }
            | CopyError::Copy(AppendError::NotAtEnd { .. } | AppendError::EpochFalls { .. }) => {
                Self::Diverged
            }
            CopyError::Copy(AppendError::Closed) => Self::Cancelled,
            CopyError::Copy(AppendError::Io { .. }) => Self::To(words),
            CopyError::Source(_)
            | CopyError::Copy(
                AppendError::LargerThanSegment { .. }
                | AppendError::OutOfOrderSequence { .. }
                | AppendError::FencedProducer { .. }
                | AppendError::FencedCoordinator { .. }
                | AppendError::OpenTransaction { .. }
                | AppendError::NotVerified { .. }
                | AppendError::InvalidControl { .. }
                | AppendError::NoSpace { .. },
            ) => Self::Dropped(words),
        }
    }
}

impl From<OpenError> for Trouble {
    fn from(error: OpenError) -> Self {
        let words = WithCauses(&error).to_string();
        match error {
            OpenError::Io { source, .. } if !is_no_space(&source) => Self::To(words),
            OpenError::Io { .. } | OpenError::Damaged { .. } | OpenError::OtherTopic { .. } => {
                Self::Dropped(words)
            }
        }
    }
}

/// An error of the new directory.
fn to(error: std::io::Error) -> Trouble {
    if is_no_space(&error) {
        Trouble::Dropped(error.to_string())
    } else {
        Trouble::To(error.to_string())
    }
}

impl ReplicaManager {
    /// Has a partition moved to the directory at a path, which may be where it is: then a move that is under way ends. If the
    /// partition is not there yet, it will be made there. Gives whether it is there. Blocks for the disk.
    ///
    /// # Errors
    /// As [`MoveError`] says.
    pub fn alter_log_dir(
        &self,
        name: &PartitionName,
        partition: Option<&Partition>,
        path: &Path,
    ) -> Result<bool, MoveError> {
        if !DataDir::can_hold_copy(name) {
            return Err(MoveError::NameTooLong);
        }
        let index = self.dirs.find(path).ok_or(MoveError::NoSuchDirectory)?;
        if self.dirs.get(index).is_none() {
            return Err(MoveError::Storage);
        }
        if self.is_cordoned(index) {
            return Err(MoveError::Cordoned);
        }
        let Some(partition) = partition else {
            self.prefer(name.clone(), index);
            return Ok(false);
        };
        let (Some(current), Some(log)) = partition.dir_and_log() else {
            return Err(MoveError::Storage);
        };
        let _altering = self.altering.lock();
        if let Some(moving) = partition.moving().filter(|moving| moving.to != index) {
            self.end_move(partition, &moving);
        }
        if current == index || partition.moving().is_some() {
            return Ok(true);
        }
        // Else there could come to be two copies.
        if self.dirs.any_offline() {
            return Err(MoveError::Storage);
        }
        self.begin_move(partition, &log, index, 0).map_err(|trouble| {
            self.tell(partition, index, &trouble);
            MoveError::Storage
        })?;
        let (topic, number) = partition.name();
        let to = self.dirs.path(index).display();
        tracing::info!(%topic, partition = %number, %to, "moving a partition to another log directory");
        Ok(true)
    }

    /// Only under the lock for that, and when there is no move.
    fn begin_move(
        &self,
        partition: &Partition,
        log: &Log,
        index: DirIndex,
        restarts: u32,
    ) -> Result<(), Trouble> {
        let name = partition.name();
        let dir = self.dirs.get(index).ok_or(Trouble::Cancelled)?;
        // What is kept of an earlier stay must not be taken for the copy's.
        dir.kept_offsets().retain(|other| *other != name).map_err(to)?;
        // What is compacted up to here stays so, for while there is a copy nothing is.
        let cleaned = self.dirs.holding(log).and_then(|dir| dir.kept_offsets().cleaned(&name));
        if let Some(cleaned) = cleaned {
            dir.kept_offsets().set_cleaned(&name, cleaned).map_err(to)?;
        }
        let path = dir.copy_path(&name, &self.env.rng).ok_or(Trouble::Cancelled)?;
        let start = self.log_start(dir, &name.0, partition.id(), &partition.config());
        let copy = copy_begin(&self.env.disk, log, path.clone(), start, &self.env.rng);
        let copy = copy.map_err(|error| {
            self.discard(dir, &path, &name);
            Trouble::from(error)
        })?;
        self.enter_move(partition, Moving { to: index, copy: Arc::new(copy), restarts });
        Ok(())
    }

    fn enter_move(&self, partition: &Partition, moving: Moving) {
        partition.begin_moving(moving.clone());
        // The topic may have been deleted meanwhile.
        if partition.is_gone() {
            moving.copy.abandon();
        }
        self.moves.notify_one();
    }

    /// Goes on with a move whose copy was found at the start, or begins it anew if the copy is of no use. Blocks for the disk.
    pub(super) fn resume_move(&self, partition: &Partition, index: DirIndex, path: PathBuf) {
        let (Some(current), Some(log)) = partition.dir_and_log() else { return };
        let Some(dir) = self.dirs.get(index).filter(|_| current != index) else { return };
        let name = partition.name();
        let (number, to) = (name.1, self.dirs.path(index).display());
        let start = self.log_start(dir, &name.0, partition.id(), &partition.config());
        let start = LogStart { clean: dir.clean_epoch().is_some(), ..start };
        match copy_resume(&self.env.disk, path.clone(), start, &self.env.rng) {
            Ok(copy) if copy.is_part_of(&log) => {
                tracing::info!(topic = %name.0, partition = %number, %to, "going on with the move of a partition");
                let copy = Arc::new(copy);
                self.enter_move(partition, Moving { to: index, copy, restarts: 0 });
                return;
            }
            Ok(copy) => copy.abandon(),
            Err(error) => {
                let error = WithCauses(&error);
                tracing::warn!(topic = %name.0, partition = %number, %error, "the copy of a partition cannot be used");
            }
        }
        tracing::info!(topic = %name.0, partition = %number, %to, "moving a partition from the beginning again");
        self.discard(dir, &path, &name);
        if let Err(trouble) = self.begin_move(partition, &log, index, 0) {
            self.tell(partition, index, &trouble);
        }
    }

    /// Ends a move without having moved. Blocks for the disk.
    fn end_move(&self, partition: &Partition, moving: &Moving) {
        if !partition.end_moving(moving) {
            return;
        }
        let removed = self.discard_copy(partition, moving);
        self.remove_files(partition, removed.into_iter().collect());
    }

    /// Ends a copy, and renames its directory for removal; gives its new name.
    pub(super) fn discard_copy(&self, partition: &Partition, moving: &Moving) -> Option<PathBuf> {
        moving.copy.abandon();
        let dir = self.dirs.get(moving.to)?;
        self.rename_obsolete(dir, moving.copy.directory(), &partition.name())
    }

    /// Removes a directory that is not needed any more, some time from now. What cannot be done is left to the next start.
    pub(super) fn discard(&self, dir: &DataDir, path: &Path, name: &PartitionName) {
        let removed = self.rename_obsolete(dir, path, name);
        self.janitor.remove_at(self.env.clock.now(), removed.into_iter().collect());
    }

    fn rename_obsolete(&self, dir: &DataDir, path: &Path, name: &PartitionName) -> Option<PathBuf> {
        match dir.mark_obsolete(path, name, &self.env.rng) {
            Ok(renamed) => renamed,
            Err(error) => {
                let error = WithCauses(&error);
                tracing::warn!(path = %path.display(), %error, "cannot remove what a move has left");
                None
            }
        }
    }

    /// Tells what kept a partition from moving, and gives up a directory whose disk has failed.
    fn tell(&self, partition: &Partition, index: DirIndex, trouble: &Trouble) {
        let (topic, number) = partition.name();
        let failed = match trouble {
            Trouble::Diverged | Trouble::Cancelled => return,
            Trouble::Dropped(_) => None,
            Trouble::To(_) => Some(index),
            Trouble::From(_) => partition.dir(),
        };
        tracing::error!(%topic, partition = %number, error = %trouble, "cannot move a partition to another log directory");
        if let Some(failed) = failed {
            self.fail_dir(failed, trouble);
        }
    }

    /// Brings a move forward, and ends it if the copy has caught up. Blocks for the disk.
    fn step_move(&self, partition: &Partition) -> Stepped {
        let Some(moving) = partition.moving() else { return Stepped::Over };
        let stepped = self.copy_step(partition, &moving).and_then(|copied| {
            if copied.complete && self.replace(partition, &moving)? {
                Ok(Stepped::Moved)
            } else {
                Ok(Stepped::Copied(copied.bytes))
            }
        });
        let trouble = match stepped {
            Ok(stepped) => return stepped,
            Err(trouble) => trouble,
        };
        let _altering = self.altering.lock();
        self.end_move(partition, &moving);
        let trouble = match (trouble, partition.log()) {
            (Trouble::Diverged, Ok(log)) if partition.moving().is_none() => {
                let restarts = moving.restarts + 1;
                let error = "its records are deleted faster than they are copied";
                if restarts > RESTARTS_MAX {
                    Trouble::Dropped(error.to_owned())
                } else {
                    match self.begin_move(partition, &log, moving.to, restarts) {
                        Ok(()) => return Stepped::Over,
                        Err(trouble) => trouble,
                    }
                }
            }
            (trouble, _) => trouble,
        };
        self.tell(partition, moving.to, &trouble);
        Stepped::Over
    }

    fn copy_step(&self, partition: &Partition, moving: &Moving) -> Result<Copied, Trouble> {
        let log = partition.log().map_err(|_| Trouble::Cancelled)?;
        let copy = &moving.copy;
        let copied = copy.copy_from(&log, STEP_BYTES, self.env.clock.now())?;
        copy.flush(false).map_err(to)?;
        let start = log.ends().log_start;
        let ends = copy.ends();
        if start > ends.log_start && start <= ends.end {
            let removed = copy.advance_log_start(start).map_err(to)?;
            self.checkpoint_dir(moving.to, KeptKinds::All).map_err(to)?;
            self.remove(partition, copy, removed).map_err(to)?;
        }
        Ok(copied)
    }

    /// Puts the copy in the place of the log, if it has all of it; `false` if there is more to copy first.
    fn replace(&self, partition: &Partition, moving: &Moving) -> Result<bool, Trouble> {
        let Moving { to: index, copy, .. } = moving;
        let name = partition.name();
        // As much as possible before the writers have to wait.
        copy.flush(true).map_err(to)?;
        self.checkpoint_dir(*index, KeptKinds::All).map_err(to)?;
        let written_start = copy.ends().log_start;
        let (Some(from), Some(dir)) =
            (partition.dir().and_then(|dir| self.dirs.get(dir)), self.dirs.get(*index))
        else {
            return Err(Trouble::Cancelled);
        };
        // Whoever writes checkpoints waits for places: from here on they are not asked any more.
        let start = self.log_start(dir, &name.0, partition.id(), &partition.config());
        let mut place = partition.place_mut();
        let is_same = partition.moving().is_some_and(|now| Arc::ptr_eq(&now.copy, copy));
        let Ok(log) = &place.log else { return Err(Trouble::Cancelled) };
        if !is_same || partition.is_gone() || log.has_failed() {
            return Err(Trouble::Cancelled);
        }
        let log = Arc::clone(log);
        if log.ends().log_start != written_start {
            return Ok(false);
        }
        let last = copy.copy_from(&log, LAST_BYTES, self.env.clock.now())?;
        if !last.complete {
            return Ok(false);
        }
        copy.close().map_err(to)?;
        let config = log_config(&partition.config(), self.settings.read().broker());
        let high_watermark = Some(log.ends().high_watermark);
        let start = LogStart { config, log_start: written_start, high_watermark, ..start };
        self.exchange(&name, &mut place, (from, &log), (dir, copy), start)?;
        place.dir = Some(*index);
        drop(place);
        partition.end_moving(moving);
        partition.wake_all();
        let old = from.mark_obsolete(&from.partition_path(&name), &name, &self.env.rng);
        match old {
            Ok(old) => self.remove_files(partition, old.into_iter().collect()),
            Err(error) => {
                let error = WithCauses(&error).to_string();
                if let Some(index) = self.dirs.find(from.path()) {
                    self.fail_dir(index, &error);
                }
            }
        }
        let to = dir.path().display();
        tracing::info!(topic = %name.0, partition = %name.1, %to, "moved a partition to another log directory");
        Ok(true)
    }

    /// Gives the copy the name of the partition, and opens the log there. After an error the old log goes on, unless it is not
    /// known which of both counts: then the partition is offline.
    fn exchange(
        &self,
        name: &PartitionName,
        place: &mut Place,
        (from, log): (&DataDir, &Log),
        (dir, copy): (&DataDir, &Log),
        start: LogStart,
    ) -> Result<(), Trouble> {
        let id = dir.meta().directory_id;
        let taken_back = |error: String| match from.forget_move(name, id) {
            Ok(()) => error,
            Err(other) => format!("{error}; {other}"),
        };
        if let Err(error) = from.note_move(name, id) {
            let is_full = is_no_space(&error);
            let error = taken_back(error.to_string());
            return Err(if is_full { Trouble::Dropped(error) } else { Trouble::From(error) });
        }
        match dir.promote(copy.directory(), name) {
            Ok(()) => {}
            Err(RenameError::NotDone(error)) => {
                return Err(match from.forget_move(name, id) {
                    Ok(()) => to(error),
                    Err(error) => Trouble::From(error.to_string()),
                });
            }
            Err(RenameError::Unknown(error)) => {
                log.abandon();
                place.log = Err(format!("it may have moved: {error}"));
                self.failures.notify_one();
                return Err(Trouble::To(error.to_string()));
            }
        }
        log.abandon();
        let opened = Opened::open(&self.env.disk, dir.path(), start, &self.env.rng);
        let opened = opened.map(|opened| Arc::new(opened.log));
        place.log = opened.map_err(|error| WithCauses(&error).to_string());
        if let Err(error) = &place.log {
            tracing::error!(topic = %name.0, partition = %name.1, %error, "cannot open a log that was moved: its partition is offline");
            self.failures.notify_one();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
