//! Looking at the files of the metadata log without changing one, by the rules of a start (`raft_log.rs`).

use std::path::{Path, PathBuf};

use super::RaftLogError;
use super::raft_log::{
    FILE_PREFIX, Payload, STATE_FILE, State, log_path, read_entries, read_snapshot, read_state,
    snapshot_path, used_file,
};
use crate::cluster::ClusterImage;
use crate::env::Disk;
use crate::log::{Finding, InspectError, Severity};

/// What was found of a metadata log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataReport {
    /// The node's id in Raft.
    pub raft_id: Option<u64>,
    /// The last term that it has voted in.
    pub term: Option<u64>,
    /// The last entry that the snapshot stands for, if there is one.
    pub snapshot: Option<u64>,
    /// Index of the first entry after that.
    pub first_index: u64,
    /// Index after the last whole entry.
    pub next_index: u64,
    /// Topics, as all of it says, whether it was agreed on or not.
    pub topics: usize,
    /// Their partitions.
    pub partitions: usize,
    /// What is wrong, and which files do not count.
    pub findings: Vec<Finding>,
}

/// Checks the metadata log in a data directory; `None` if there is none.
///
/// # Errors
/// If a file cannot be read. Damage is a finding, no error.
pub fn inspect_metadata(
    disk: &dyn Disk,
    directory: &Path,
) -> Result<Option<MetadataReport>, InspectError> {
    let entries = disk.list(directory).map_err(read_error(directory))?;
    let names = entries.into_iter().map(|entry| entry.name);
    let names: Vec<String> = names.filter(|name| name.starts_with(FILE_PREFIX)).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let mut report = MetadataReport::default();
    let path = directory.join(STATE_FILE);
    let bytes = disk.read_small(&path).map_err(read_error(&path))?;
    match bytes.map(|bytes| read_state(&path, &bytes)) {
        Some(Ok(state)) => report.check(disk, directory, state, &names)?,
        Some(Err(error)) => report.tell(error)?,
        None => match used_file(disk, directory) {
            Ok(Some(found)) => report.tell(RaftLogError::StateMissing { path, found })?,
            Ok(None) => {
                report.note(path, "a metadata log was about to begin: the next start begins it")
            }
            Err(error) => report.tell(error)?,
        },
    }
    Ok(Some(report))
}

impl MetadataReport {
    fn check(
        &mut self,
        disk: &dyn Disk,
        directory: &Path,
        state: State,
        names: &[String],
    ) -> Result<(), InspectError> {
        (self.raft_id, self.term) = (Some(state.raft_id), Some(state.vote.term));
        self.snapshot = state.purged.map(|purged| purged.index);
        self.first_index = state.purged.map_or(0, |purged| purged.index + 1);
        self.next_index = self.first_index;
        let snapshot = self.snapshot.map(|index| snapshot_path(directory, index));
        let log = log_path(directory, self.first_index);
        let mut image = match read_snapshot(disk, directory, state.purged) {
            Ok(found) => found.map_or_else(
                || Some(ClusterImage::default()),
                |found| match ClusterImage::from_json(&found.image) {
                    Ok(image) => Some(image),
                    Err(error) => {
                        self.damage(snapshot.clone().unwrap_or_default(), 0, error.to_string());
                        None
                    }
                },
            ),
            Err(error) => {
                self.tell(error)?;
                None
            }
        };
        self.check_log(disk, &log, &mut image)?;
        if let Some(image) = image {
            self.topics = image.topic_count();
            self.partitions = image.topics().map(|topic| topic.partitions.len()).sum();
        }
        for name in names.iter().filter(|name| *name != STATE_FILE) {
            let path = directory.join(name);
            if path != log && Some(&path) != snapshot.as_ref() {
                self.note(
                    path,
                    "the state does not name it: it does not count, and the next start removes it",
                );
            }
        }
        Ok(())
    }

    /// Reads the entries, and applies them to the image of the snapshot.
    fn check_log(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        image: &mut Option<ClusterImage>,
    ) -> Result<(), InspectError> {
        let Some(bytes) = disk.read_small(path).map_err(read_error(path))? else {
            self.damage(path.to_owned(), 0, "it is missing, but the state names it".to_owned());
            return Ok(());
        };
        let (entries, _, length) = match read_entries(path, &bytes, self.first_index) {
            Ok(read) => read,
            Err(error) => return self.tell(error),
        };
        let rest = (bytes.len() as u64).saturating_sub(length);
        if rest > 0 {
            let problem = format!(
                "an entry was not written whole, and not answered: this is a torn end, of which the next start cuts off {rest} bytes"
            );
            let (severity, path) = (Severity::Torn, path.to_owned());
            self.findings.push(Finding { severity, path, position: Some(length), problem });
        }
        self.next_index = self.first_index + entries.len() as u64;
        for entry in entries {
            if let (Payload::Commands(commands), Some(image)) = (entry.payload, image.as_mut()) {
                // What was refused then is refused now.
                commands.iter().for_each(|command| drop(image.apply(entry.id.index, command)));
            }
        }
        Ok(())
    }

    /// What a start would say; a disk that cannot be read is no finding.
    fn tell(&mut self, error: RaftLogError) -> Result<(), InspectError> {
        match error {
            RaftLogError::Io { path, source } => return Err(InspectError::Read { path, source }),
            RaftLogError::Damaged { path, position, problem }
            | RaftLogError::Newer { path, position, problem } => {
                self.damage(path, position, problem);
            }
            RaftLogError::StateMissing { path, found } => {
                self.damage(path, 0, format!("it is missing, but {found} is there"));
            }
            RaftLogError::OtherCluster { .. } | RaftLogError::OtherBrokers { .. } => {
                unreachable!("nobody has asked whose it is")
            }
        }
        Ok(())
    }

    fn damage(&mut self, path: PathBuf, position: u64, problem: String) {
        let (severity, position) = (Severity::Damage, Some(position));
        self.findings.push(Finding { severity, path, position, problem });
    }

    fn note(&mut self, path: PathBuf, problem: &str) {
        let (severity, problem) = (Severity::Note, problem.to_owned());
        self.findings.push(Finding { severity, path, position: None, problem });
    }
}

fn read_error(path: &Path) -> impl FnOnce(std::io::Error) -> InspectError {
    let path = path.to_owned();
    move |source| InspectError::Read { path, source }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::controller::raft_log::{Entry, EntryId, RaftLog, Snapshot, SnapshotMeta, Vote};
    use crate::env::{MemoryDisk, OpenMode};

    const DIRECTORY: &str = "d";

    fn entry(index: u64) -> Entry {
        Entry { id: EntryId { term: 1, leader: 7, index }, payload: Payload::Blank }
    }

    /// A log with a snapshot up to entry 3, and entries 4 to 6.
    fn log() -> (Arc<dyn Disk>, RaftLog) {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        disk.create_dir_all(Path::new(DIRECTORY)).unwrap();
        let vote = Vote { term: 1, node: 7, committed: true };
        let state = State { version: 1, raft_id: 7, vote, committed: None, purged: None };
        let mut log = RaftLog::create(Arc::clone(&disk), Path::new(DIRECTORY), state).unwrap();
        log.append(&(0..4).map(entry).collect::<Vec<_>>()).unwrap();
        let last = entry(3).id;
        let meta =
            SnapshotMeta { last, membership: Default::default(), membership_entry: entry(0).id };
        log.install_snapshot(&Snapshot { meta, image: ClusterImage::default().to_json() }).unwrap();
        log.append(&(4..7).map(entry).collect::<Vec<_>>()).unwrap();
        (disk, log)
    }

    fn inspect(disk: &dyn Disk) -> MetadataReport {
        inspect_metadata(disk, Path::new(DIRECTORY)).unwrap().unwrap()
    }

    fn found(disk: &dyn Disk) -> Vec<(Severity, String)> {
        let name = |finding: &Finding| finding.path.file_name().unwrap().to_string_lossy().into();
        inspect(disk).findings.iter().map(|finding| (finding.severity, name(finding))).collect()
    }

    const LOG: &str = "ottla-raft-00000000000000000004.log";
    const SNAPSHOT: &str = "ottla-raft-00000000000000000003.snapshot";

    #[test]
    fn a_sound_metadata_log_is_told_as_it_is() {
        let (disk, _) = log();
        let report = inspect(&*disk);
        assert_eq!(report.findings, []);
        assert_eq!((report.raft_id, report.term, report.snapshot), (Some(7), Some(1), Some(3)));
        assert_eq!((report.first_index, report.next_index), (4, 7));
        let empty = MemoryDisk::new();
        empty.create_dir_all(Path::new(DIRECTORY)).unwrap();
        assert_eq!(inspect_metadata(&empty, Path::new(DIRECTORY)).unwrap(), None);
    }

    #[test]
    fn a_changed_byte_is_found_in_each_of_its_files() {
        for name in [LOG, SNAPSHOT] {
            let (disk, _) = log();
            let path = Path::new(DIRECTORY).join(name);
            let sound = disk.read_small(&path).unwrap().unwrap();
            for at in 0..sound.len() {
                let mut bytes = sound.clone();
                bytes[at] ^= 0x55;
                disk.open(&path, OpenMode::Write).unwrap().write_at(0, &[&bytes]).unwrap();
                let found = found(&*disk);
                // The last append may be torn, and then it was not answered.
                let may_be_torn = name == LOG && at >= sound.len() - 33;
                let expected = if may_be_torn { Severity::Torn } else { Severity::Damage };
                assert_eq!(found, [(expected, name.to_owned())], "{name} at {at}");
                assert_eq!(disk.read_small(&path).unwrap().unwrap(), bytes, "nothing was changed");
            }
        }
    }

    #[test]
    fn what_is_missing_is_damage_and_what_does_not_count_is_noted() {
        let remove = |name: &str| {
            let (disk, _) = log();
            disk.remove_file(&Path::new(DIRECTORY).join(name)).unwrap();
            found(&*disk)
        };
        for name in [STATE_FILE, LOG, SNAPSHOT] {
            assert_eq!(remove(name), [(Severity::Damage, name.to_owned())]);
        }
        let (disk, _) = log();
        for name in ["ottla-raft-00000000000000000000.log", "ottla-raft-state.tmp"] {
            disk.replace_small(&Path::new(DIRECTORY).join(name), b"x").unwrap();
        }
        let notes = ["ottla-raft-00000000000000000000.log", "ottla-raft-state.tmp"];
        assert_eq!(found(&*disk), notes.map(|name| (Severity::Note, name.to_owned())));
    }
}
