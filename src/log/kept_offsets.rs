//! What stands in the four offset checkpoints of a data directory: one offset for each partition and file.
//!
//! Owns the files, and the values in them while the broker runs. What the values should be is told to it.
//!
//! **Invariant:** the files know partitions by the name of their topic, which can be given again. So whatever they say of a
//! name is taken out of them before a directory of that name is made ([`KeptOffsets::retain`]): if there is a directory, its
//! entries are its own, whenever the process ended.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::checkpoint::{self, Offsets};
use super::data_dir::DataDirError;
use crate::env::Disk;
use crate::model::{Offset, PartitionId, TopicName};

pub(super) const RECOVERY_POINTS_FILE: &str = "recovery-point-offset-checkpoint";
pub(super) const LOG_STARTS_FILE: &str = "log-start-offset-checkpoint";
pub(super) const HIGH_WATERMARKS_FILE: &str = "replication-offset-checkpoint";
pub(super) const CLEANED_FILE: &str = "cleaner-offset-checkpoint";

/// A partition, as the files name it.
pub type PartitionName = (TopicName, PartitionId);

/// The offset checkpoints.
#[derive(Debug)]
pub struct KeptOffsets {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// What the files hold, so that one is written only when something changed.
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    recovery_points: Offsets,
    log_starts: Offsets,
    cleaned: Offsets,
    high_watermarks: Offsets,
}

/// Which of the files are to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptKinds {
    /// All.
    All,
    /// The recovery points, and the high watermarks.
    RecoveryPoints,
    /// The first offsets.
    LogStarts,
    /// The high watermarks alone.
    HighWatermarks,
}

/// The offsets of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOffsets {
    /// Everything below is durable.
    pub recovery_point: Offset,
    /// First offset that can be read.
    pub log_start: Offset,
    /// End of what is committed.
    pub high_watermark: Offset,
}

impl KeptOffsets {
    /// Reads the checkpoints of a data directory.
    ///
    /// # Errors
    /// If one cannot be read or does not parse.
    pub(super) fn read(disk: Arc<dyn Disk>, directory: &Path) -> Result<Self, DataDirError> {
        let recovery_points = read_offsets(&*disk, &directory.join(RECOVERY_POINTS_FILE))?;
        let log_starts = read_offsets(&*disk, &directory.join(LOG_STARTS_FILE))?;
        let cleaned = read_offsets(&*disk, &directory.join(CLEANED_FILE))?;
        let high_watermarks = read_offsets(&*disk, &directory.join(HIGH_WATERMARKS_FILE))?;
        let written = Written { recovery_points, log_starts, cleaned, high_watermarks };
        Ok(Self { disk, directory: directory.to_owned(), written: Mutex::new(written) })
    }

    /// Below which offset a log is durable; 0 if nothing is known of it.
    #[must_use]
    pub fn recovery_point(&self, partition: &PartitionName) -> Offset {
        self.written.lock().recovery_points.get(partition).copied().unwrap_or(Offset::ZERO)
    }

    /// First offset of a log that can be read; 0 if nothing is known of it.
    #[must_use]
    pub fn log_start(&self, partition: &PartitionName) -> Offset {
        self.written.lock().log_starts.get(partition).copied().unwrap_or(Offset::ZERO)
    }

    /// End of what is committed of a log; 0 if nothing is known of it.
    #[must_use]
    pub fn high_watermark(&self, partition: &PartitionName) -> Offset {
        self.written.lock().high_watermarks.get(partition).copied().unwrap_or(Offset::ZERO)
    }

    /// Up to where a log was compacted, if it ever was.
    #[must_use]
    pub fn cleaned(&self, partition: &PartitionName) -> Option<Offset> {
        self.written.lock().cleaned.get(partition).copied()
    }

    /// Notes up to where a log was compacted.
    ///
    /// # Errors
    /// As the disk says.
    pub fn set_cleaned(&self, partition: &PartitionName, to: Offset) -> io::Result<()> {
        self.set_cleaned_if(partition, to, || true)
    }

    /// Notes up to where a log was compacted, if `is_current` says that the name is still that log's. It is asked while nobody
    /// else can write.
    ///
    /// # Errors
    /// As the disk says.
    pub fn set_cleaned_if(
        &self,
        partition: &PartitionName,
        to: Offset,
        is_current: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        let mut written = self.written.lock();
        if !is_current() {
            return Ok(());
        }
        let mut cleaned = written.cleaned.clone();
        cleaned.insert(partition.clone(), to);
        self.replace(CLEANED_FILE, &mut written.cleaned, cleaned)
    }

    /// Takes the entries of all other partitions out of the files that a start reads.
    ///
    /// # Errors
    /// As the disk says: the entries may still be there.
    pub fn retain(&self, keep: impl Fn(&PartitionName) -> bool) -> io::Result<()> {
        let mut written = self.written.lock();
        let kept = |offsets: &Offsets| -> Offsets {
            let kept = offsets.iter().filter(|(partition, _)| keep(partition));
            kept.map(|(partition, offset)| (partition.clone(), *offset)).collect()
        };
        let (points, starts) = (kept(&written.recovery_points), kept(&written.log_starts));
        let (cleaned, marks) = (kept(&written.cleaned), kept(&written.high_watermarks));
        self.replace(HIGH_WATERMARKS_FILE, &mut written.high_watermarks, marks)?;
        self.replace(RECOVERY_POINTS_FILE, &mut written.recovery_points, points)?;
        self.replace(LOG_STARTS_FILE, &mut written.log_starts, starts)?;
        self.replace(CLEANED_FILE, &mut written.cleaned, cleaned)
    }

    /// Writes those kinds of offsets of the logs that `logs` gives, as far as they have changed. Where it gives `None`, nothing is
    /// known now, and what stands in the files stays. Partitions that it leaves out go from the files.
    ///
    /// `logs` is called while nobody else can write, so what it gives is not older than what is replaced.
    ///
    /// # Errors
    /// As the disk says.
    pub fn write<I>(&self, kinds: KeptKinds, logs: impl FnOnce() -> I) -> io::Result<()>
    where
        I: IntoIterator<Item = (PartitionName, Option<LogOffsets>)>,
    {
        let mut written = self.written.lock();
        let (mut points, mut starts, mut marks) = (Offsets::new(), Offsets::new(), Offsets::new());
        for (partition, offsets) in logs() {
            let (point, start, mark) = match offsets {
                Some(offsets) => {
                    let start = offsets.log_start;
                    let start = (start > Offset::ZERO).then_some(start);
                    (Some(offsets.recovery_point), start, Some(offsets.high_watermark))
                }
                None => (
                    written.recovery_points.get(&partition).copied(),
                    written.log_starts.get(&partition).copied(),
                    written.high_watermarks.get(&partition).copied(),
                ),
            };
            marks.extend(mark.map(|offset| (partition.clone(), offset)));
            points.extend(point.map(|offset| (partition.clone(), offset)));
            starts.extend(start.map(|offset| (partition, offset)));
        }
        if matches!(kinds, KeptKinds::All | KeptKinds::RecoveryPoints) {
            self.replace(RECOVERY_POINTS_FILE, &mut written.recovery_points, points)?;
        }
        if matches!(kinds, KeptKinds::All | KeptKinds::LogStarts) {
            self.replace(LOG_STARTS_FILE, &mut written.log_starts, starts)?;
        }
        if kinds != KeptKinds::LogStarts {
            self.replace(HIGH_WATERMARKS_FILE, &mut written.high_watermarks, marks)?;
        }
        Ok(())
    }

    fn replace(&self, name: &str, written: &mut Offsets, now: Offsets) -> io::Result<()> {
        if *written != now {
            self.disk
                .replace_small(&self.directory.join(name), &checkpoint::write_offsets(&now))?;
            *written = now;
        }
        Ok(())
    }
}

fn read_offsets(disk: &dyn Disk, path: &Path) -> Result<Offsets, DataDirError> {
    let Some(bytes) = disk.read_small(path).map_err(DataDirError::io(path))? else {
        return Ok(Offsets::new());
    };
    checkpoint::read_offsets(&bytes).map_err(|error| DataDirError::Damaged {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Fault, FaultyDisk, MemoryDisk};

    fn disk() -> FaultyDisk {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("data")).unwrap();
        FaultyDisk::new(Arc::new(disk))
    }

    fn read(disk: &FaultyDisk) -> KeptOffsets {
        KeptOffsets::read(Arc::new(disk.clone()), Path::new("data")).unwrap()
    }

    fn name(partition: i32) -> PartitionName {
        (TopicName::new("t").unwrap(), PartitionId(partition))
    }

    fn offsets(at: i64) -> Option<LogOffsets> {
        let (recovery_point, log_start, high_watermark) = (Offset(at), Offset(at / 2), Offset(at));
        Some(LogOffsets { recovery_point, log_start, high_watermark })
    }

    fn of(kept: &KeptOffsets, partition: i32) -> (i64, i64) {
        (kept.recovery_point(&name(partition)).0, kept.log_start(&name(partition)).0)
    }

    #[test]
    fn offsets_are_there_at_the_next_start() {
        let disk = disk();
        let kept = read(&disk);
        assert_eq!(of(&kept, 0), (0, 0));
        kept.write(KeptKinds::All, || [(name(0), offsets(9)), (name(1), offsets(1))]).unwrap();
        for kept in [&kept, &read(&disk)] {
            assert_eq!([0, 1, 2].map(|partition| of(kept, partition)), [(9, 4), (1, 0), (0, 0)]);
        }
        let starts = disk.read_small(&Path::new("data").join(LOG_STARTS_FILE)).unwrap().unwrap();
        assert_eq!(starts, b"0\n1\nt 0 4\n", "those above 0 only");
    }

    #[test]
    fn what_is_not_known_now_stays_and_what_is_left_out_goes() {
        let disk = disk();
        read(&disk)
            .write(KeptKinds::All, || [(name(0), offsets(9)), (name(1), offsets(7))])
            .unwrap();
        read(&disk).write(KeptKinds::All, || [(name(0), None)]).unwrap();
        assert_eq!([0, 1].map(|partition| of(&read(&disk), partition)), [(9, 4), (0, 0)]);
    }

    #[test]
    fn what_could_not_be_forgotten_is_still_known() {
        let disk = disk();
        let kept = read(&disk);
        kept.write(KeptKinds::All, || [(name(0), offsets(9)), (name(1), offsets(7))]).unwrap();
        disk.inject(Fault::Write(LOG_STARTS_FILE.into()));
        kept.retain(|partition| *partition != name(0)).unwrap_err();
        assert_eq!(of(&kept, 0), (0, 4), "the first file was written");
        disk.clear();
        kept.retain(|partition| *partition != name(0)).unwrap();
        assert_eq!([0, 1].map(|partition| of(&read(&disk), partition)), [(0, 0), (7, 3)]);
    }

    #[test]
    fn how_far_logs_were_compacted_is_known_until_their_name_is_given_again() {
        let disk = disk();
        let kept = read(&disk);
        assert_eq!(kept.cleaned(&name(0)), None);
        kept.set_cleaned(&name(1), Offset(7)).unwrap();
        kept.set_cleaned(&name(0), Offset(9)).unwrap();
        let bytes = disk.read_small(&Path::new("data").join(CLEANED_FILE)).unwrap().unwrap();
        assert_eq!(bytes, b"0\n2\nt 0 9\nt 1 7\n");
        let kept = read(&disk);
        kept.retain(|partition| *partition != name(0)).unwrap();
        for kept in [&kept, &read(&disk)] {
            assert_eq!(
                [0, 1].map(|partition| kept.cleaned(&name(partition))),
                [None, Some(Offset(7))]
            );
        }
    }

    #[test]
    fn a_damaged_checkpoint_is_named() {
        let disk = disk();
        disk.replace_small(&Path::new("data").join(LOG_STARTS_FILE), b"0\n1\nt 0\n").unwrap();
        let error = KeptOffsets::read(Arc::new(disk), Path::new("data")).unwrap_err();
        let words = "data/log-start-offset-checkpoint is damaged: line 3: no offset";
        assert_eq!(error.to_string(), words);
    }
}
