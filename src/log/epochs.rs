//! Which leader epoch wrote which offsets.
//!
//! Source: `LeaderEpochFileCache` of Apache Kafka 4.3. **Invariant** (R1 of the replication design): epochs and their start
//! offsets strictly rise, and an epoch is entered before its first batch is written. The file may lag behind after a power
//! cut: recovery enters the epochs of the batches it scans.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{read_epochs, write_epochs};
use super::files::EPOCHS_FILE;
use crate::env::{Disk, OpenMode};
use crate::model::{LeaderEpoch, Offset};

/// Where an epoch ends: the answer to OffsetForLeaderEpoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch known that is not above the one asked for.
    pub epoch: LeaderEpoch,
    /// The offset at which the next epoch begins, or the end of the log.
    pub end: Offset,
}

/// The leader epochs of one log, with their file.
#[derive(Debug)]
pub(super) struct Epochs {
    disk: Arc<dyn Disk>,
    directory: Arc<Path>,
    /// (epoch, first offset), both strictly rising.
    entries: Vec<(LeaderEpoch, Offset)>,
    /// Whether the file lacks an entry or has one too many.
    unwritten: bool,
    /// How often something changed, and how many of these changes are durable.
    changes: u64,
    synced: Option<u64>,
}

/// What makes the file durable, once it stands there.
pub(super) struct Unsynced {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    changes: u64,
}

impl Epochs {
    /// Reads the file in `directory`. A missing or damaged file gives no entries, and `false`: the caller enters the
    /// epochs of the batches.
    pub(super) fn open(disk: Arc<dyn Disk>, directory: Arc<Path>) -> io::Result<(Self, bool)> {
        let path = directory.join(EPOCHS_FILE);
        let found = disk.read_small(&path)?.and_then(|bytes| match read_epochs(&bytes) {
            Ok(entries) => Some(entries),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "rebuilding the leader epochs from the log");
                None
            }
        });
        let complete = found.is_some();
        let entries = found.unwrap_or_default();
        Ok((
            Self { disk, directory, entries, unwritten: !complete, changes: 0, synced: None },
            complete,
        ))
    }

    /// The newest epoch.
    pub(super) fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// The oldest epoch with its first offset.
    pub(super) fn earliest(&self) -> Option<(LeaderEpoch, Offset)> {
        self.entries.first().copied()
    }

    /// Enters an epoch of which there is a batch, or will be, at `start`. One below the latest is known already; so is the
    /// latest, but for a start that is too late because a file is damaged.
    pub(super) fn enter(&mut self, epoch: LeaderEpoch, start: Offset) {
        let is_known = |(latest, from): &(LeaderEpoch, Offset)| {
            *latest > epoch || *latest == epoch && *from <= start
        };
        if epoch.0 < 0 || self.entries.last().is_some_and(is_known) {
            return;
        }
        // An epoch that got no batch ends where it began.
        while self.entries.last().is_some_and(|(_, from)| *from >= start) {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
        self.changed();
    }

    /// The epoch that wrote `offset`.
    pub(super) fn of_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.entries.iter().rfind(|(_, start)| *start <= offset).map(|(epoch, _)| *epoch)
    }

    /// Where `epoch` ends in a log that ends at `log_end`; `None` for an epoch above all that are known.
    pub(super) fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        if epoch.0 < 0 {
            return None;
        }
        if self.latest() == Some(epoch) {
            return Some(EpochEnd { epoch, end: log_end });
        }
        let (_, next_start) = *self.entries.iter().find(|(known, _)| *known > epoch)?;
        let floor = self.entries.iter().rfind(|(known, _)| *known <= epoch);
        Some(EpochEnd { epoch: floor.map_or(epoch, |(known, _)| *known), end: next_start })
    }

    /// Forgets the epochs that begin at `end` or later.
    pub(super) fn cut_end(&mut self, end: Offset) {
        let before = self.entries.len();
        self.entries.retain(|(_, start)| *start < end);
        if self.entries.len() != before {
            self.changed();
        }
    }

    /// Forgets the epochs that end at `start` or earlier; the one that holds `start` begins there now.
    pub(super) fn cut_start(&mut self, start: Offset) {
        let holding = self.entries.iter().rposition(|(_, from)| *from <= start).unwrap_or(0);
        let first = self.entries.get(holding).copied();
        if holding > 0 {
            self.entries.drain(..holding);
            self.changed();
        }
        if let (Some((_, from)), Some(entry)) = (first, self.entries.first_mut())
            && from < start
        {
            entry.1 = start;
            self.changed();
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(EPOCHS_FILE)
    }

    /// Brings the file up to date. It is not durable then.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.unwritten {
            // Not the name that `replace_small` takes: somebody may be at that, without the lock of this.
            let path = self.path();
            let temporary = path.with_extension("unsynced.tmp");
            let file = self.disk.open(&temporary, OpenMode::Truncate)?;
            file.write_at(0, &[&write_epochs(&self.entries)])?;
            self.disk.rename(&temporary, &path)?;
        }
        self.unwritten = false;
        Ok(())
    }

    /// What the file has to be replaced with to be durable; `None` if it is.
    pub(super) fn unsynced(&self) -> Option<Unsynced> {
        let bytes = || write_epochs(&self.entries);
        (self.synced != Some(self.changes)).then(|| Unsynced {
            path: self.path(),
            bytes: bytes(),
            changes: self.changes,
        })
    }

    /// Takes note that the file was replaced. What has changed meanwhile is written again.
    pub(super) fn replaced(&mut self, by: &Unsynced) -> io::Result<()> {
        self.synced = Some(by.changes);
        self.unwritten = by.changes != self.changes;
        self.flush()
    }

    const fn changed(&mut self) {
        self.unwritten = true;
        self.changes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::MemoryDisk;

    fn epochs(entries: &[(i32, i64)]) -> Epochs {
        let disk = Arc::new(MemoryDisk::new());
        disk.create_dir_all(Path::new("d")).unwrap();
        let (mut epochs, complete) = Epochs::open(disk, Path::new("d").into()).unwrap();
        assert!(!complete, "there is no file yet");
        for (epoch, start) in entries {
            epochs.enter(LeaderEpoch(*epoch), Offset(*start));
        }
        epochs
    }

    fn content(epochs: &Epochs) -> Vec<(i32, i64)> {
        epochs.entries.iter().map(|(epoch, start)| (epoch.0, start.0)).collect()
    }

    #[test]
    fn r1_epochs_and_starts_strictly_rise() {
        let mut epochs = epochs(&[(0, 0), (2, 10), (2, 12), (1, 15), (-1, 20)]);
        assert_eq!(content(&epochs), [(0, 0), (2, 10)]);
        epochs.enter(LeaderEpoch(3), Offset(10));
        assert_eq!(content(&epochs), [(0, 0), (3, 10)], "epoch 2 got no batch");
        epochs.enter(LeaderEpoch(4), Offset(0));
        assert_eq!(content(&epochs), [(4, 0)]);
    }

    #[test]
    fn an_epoch_begins_at_its_earliest_batch() {
        let mut epochs = epochs(&[(0, 0), (2, 99), (2, 10)]);
        assert_eq!(content(&epochs), [(0, 0), (2, 10)]);
        epochs.enter(LeaderEpoch(2), Offset(0));
        assert_eq!(content(&epochs), [(2, 0)]);
    }

    #[test]
    fn ends_are_kafkas() {
        let epochs = epochs(&[(2, 10), (4, 20), (5, 30)]);
        let end = |epoch: i32| {
            epochs.end_of(LeaderEpoch(epoch), Offset(35)).map(|end| (end.epoch.0, end.end.0))
        };
        assert_eq!(end(-1), None);
        assert_eq!(end(1), Some((1, 10)), "before all that is known");
        assert_eq!(end(2), Some((2, 20)));
        assert_eq!(end(3), Some((2, 20)), "the epoch before it");
        assert_eq!(end(5), Some((5, 35)));
        assert_eq!(end(6), None, "above all that is known");
        assert_eq!(epochs.of_offset(Offset(9)), None);
        assert_eq!(epochs.of_offset(Offset(29)), Some(LeaderEpoch(4)));
    }

    #[test]
    fn cutting_keeps_what_remains() {
        let all = [(2, 10), (4, 20), (5, 30)];
        for (end, expected) in [(31, &all[..]), (30, &all[..2]), (10, &[])] {
            let mut epochs = epochs(&all);
            epochs.cut_end(Offset(end));
            assert_eq!(content(&epochs), expected, "cut at {end}");
        }
        for (start, expected) in [
            (5, &all[..]),
            (10, &all[..]),
            (25, &[(4, 25), (5, 30)][..]),
            (30, &[(5, 30)][..]),
            (99, &[(5, 99)][..]),
        ] {
            let mut epochs = epochs(&all);
            epochs.cut_start(Offset(start));
            assert_eq!(content(&epochs), expected, "starting at {start}");
        }
    }

    #[test]
    fn the_file_holds_what_was_flushed() {
        let mut epochs = epochs(&[(0, 0), (3, 7)]);
        epochs.flush().unwrap();
        let reopen =
            |disk: &Arc<dyn Disk>| Epochs::open(Arc::clone(disk), Path::new("d").into()).unwrap();
        let (read, complete) = reopen(&epochs.disk);
        assert!(complete);
        assert_eq!(content(&read), [(0, 0), (3, 7)]);
        let unsynced = epochs.unsynced().unwrap();
        epochs.enter(LeaderEpoch(4), Offset(9));
        epochs.flush().unwrap();
        epochs.disk.replace_small(&unsynced.path, &unsynced.bytes).unwrap();
        epochs.replaced(&unsynced).unwrap();
        assert_eq!(content(&reopen(&epochs.disk).0), [(0, 0), (3, 7), (4, 9)], "what came later");
        let unsynced = epochs.unsynced().expect("what came later is not durable");
        epochs.replaced(&unsynced).unwrap();
        assert!(epochs.unsynced().is_none());
        epochs.disk.replace_small(&epochs.path(), b"0\n9\n").unwrap();
        let (read, complete) = reopen(&epochs.disk);
        assert!(!complete && content(&read).is_empty(), "a damaged file is as none");
    }
}
