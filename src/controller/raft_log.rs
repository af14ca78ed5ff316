//! The files of the metadata log: entries, the node's vote, and a snapshot that replaces the entries before it.
//!
//! They hold what Raft asks a node to keep, also while the node is alone: its one vote elects it, and what it has written
//! is agreed on.
//!
//! ```text
//! ottla-raft-state                     JSON: raft id, vote, last purged entry; replaced as a whole
//! ottla-raft-<first index>.log         entries from that index on
//! ottla-raft-<index>.snapshot          the image after that entry
//! ```
//! The log file begins with 8 bytes `OTTLARL1`. Each entry:
//! ```text
//! offset  size  what
//! 0       4     length of all that follows the checksum
//! 4       4     CRC-32C of all that follows
//! 8       8     term
//! 16      8     raft id of the leader of that term
//! 24      8     index
//! 32      1     kind: 0 blank, 1 commands, 2 membership
//! 33      n     nothing, a JSON array of commands, or a JSON membership
//! ```
//! The snapshot file is 8 bytes `OTTLASN1`, a 4-byte CRC-32C of what follows, 4 bytes length of a JSON header (last entry,
//! membership), the header, and the image as JSON to the end. All numbers are big-endian. `docs/FORMAT.md` has the JSON, and what
//! a start does with damage.
//!
//! **Invariants:** indexes rise by one, terms never fall. An append is durable when it returns. The only bytes that may be
//! torn are those of the last append, and only they are ever cut off: a bad entry with a good one after it is damage, and one
//! whose checksum fits was written whole, also if it cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::RaftLogError;
use crate::cluster::Command;
use crate::env::{Disk, DiskEntry, DiskFile, OpenMode};
use crate::model::{BrokerId, UuidText};
use crate::record::crc32c;

const LOG_MAGIC: &[u8; 8] = b"OTTLARL1";
const SNAPSHOT_MAGIC: &[u8; 8] = b"OTTLASN1";
pub(super) const STATE_FILE: &str = "ottla-raft-state";
pub(super) const FILE_PREFIX: &str = "ottla-raft-";
/// Version of the state file, and with it of the other two.
pub(super) const VERSION: u32 = 1;
/// Bytes of an entry before its payload.
const ENTRY_HEAD_BYTES: usize = 33;

/// Names an entry: which leader wrote it, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntryId {
    pub(super) term: u64,
    pub(super) leader: u64,
    pub(super) index: u64,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    pub(super) payload: Payload,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// Nothing: the first entry of a leader.
    Blank,
    /// Commands, applied one after the other.
    Commands(Vec<Command>),
    /// Who votes from here on.
    Membership(Membership),
}

/// Who votes, and which nodes there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Membership {
    /// One set of voters, or two while one gives way to the other.
    pub(super) voters: Vec<BTreeSet<u64>>,
    pub(super) nodes: BTreeMap<u64, Node>,
}

impl Membership {
    /// Whether the node with this raft id votes.
    pub(super) fn votes(&self, raft_id: u64) -> bool {
        self.voters.iter().any(|voters| voters.contains(&raft_id))
    }
}

/// A node, as the others know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    pub(super) broker_id: BrokerId,
    pub(super) directory_id: UuidText,
    pub(super) cluster_id: String,
    /// Where the others reach it; none while it is alone.
    pub(super) endpoints: Vec<String>,
}

/// What a node has promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Vote {
    pub(super) term: u64,
    pub(super) node: u64,
    /// Whether a quorum has voted the same.
    pub(super) committed: bool,
}

/// The state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    pub(super) version: u32,
    /// Drawn with the directory, and never used by another.
    pub(super) raft_id: u64,
    pub(super) vote: Vote,
    /// The last entry that is known to be agreed on, if that was written down.
    pub(super) committed: Option<EntryId>,
    /// The last entry that a snapshot has replaced.
    pub(super) purged: Option<EntryId>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) meta: SnapshotMeta,
    /// The image, as JSON.
    pub(super) image: Vec<u8>,
}

/// What a snapshot stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SnapshotMeta {
    /// The last entry that is in it.
    pub(super) last: EntryId,
    /// The membership then, and the entry that brought it.
    pub(super) membership: Membership,
    pub(super) membership_entry: EntryId,
}

/// The metadata log of this node.
#[derive(Debug)]
pub(super) struct RaftLog {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    state: State,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    length: u64,
    next_index: u64,
    /// Where each entry of the file begins.
    positions: Vec<u64>,
}

/// What was found in the files.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) log: RaftLog,
    pub(super) snapshot: Option<Snapshot>,
    /// The entries after the snapshot.
    pub(super) entries: Vec<Entry>,
}

pub(super) fn io_error(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> RaftLogError {
    let path = path.into();
    move |source| RaftLogError::Io { path, source }
}

impl RaftLog {
    /// Begins a log that has no entries. The state file comes last: without it there is no log.
    pub(super) fn create(
        disk: Arc<dyn Disk>,
        directory: &Path,
        state: State,
    ) -> Result<Self, RaftLogError> {
        let (file, path) = create_file(&*disk, directory, 0)?;
        let mut log = Self {
            disk,
            directory: directory.to_owned(),
            state,
            file,
            path,
            length: LOG_MAGIC.len() as u64,
            next_index: 0,
            positions: Vec::new(),
        };
        log.write_state(state)?;
        Ok(log)
    }

    /// Reads the log in `directory`; `None` if none was begun. A torn last append is cut off.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
    ) -> Result<Option<Found>, RaftLogError> {
        let state_path = directory.join(STATE_FILE);
        let Some(state) = disk.read_small(&state_path).map_err(io_error(&state_path))? else {
            return match used_file(&*disk, directory)? {
                Some(found) => Err(RaftLogError::StateMissing { path: state_path, found }),
                None => Ok(None),
            };
        };
        let state = read_state(&state_path, &state)?;
        let snapshot = read_snapshot(&*disk, directory, state.purged)?;
        let first_index = state.purged.map_or(0, |purged| purged.index + 1);
        let path = log_path(directory, first_index);
        let file = disk.open(&path, OpenMode::Write).map_err(io_error(&path))?;
        let bytes = disk.read_small(&path).map_err(io_error(&path))?.unwrap_or_default();
        let (entries, positions, length) = read_entries(&path, &bytes, first_index)?;
        if length < bytes.len() as u64 {
            tracing::warn!(
                path = %path.display(), cut_bytes = bytes.len() as u64 - length,
                "cutting off an entry of the metadata log that was not written whole"
            );
            file.set_len(length).map_err(io_error(&path))?;
            file.sync_data().map_err(io_error(&path))?;
        }
        let next_index = first_index + entries.len() as u64;
        let directory = directory.to_owned();
        let log = Self { disk, directory, state, file, path, length, next_index, positions };
        log.remove_old_files()?;
        Ok(Some(Found { log, snapshot, entries }))
    }

    /// What the state file says.
    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// Index of the next entry.
    pub(super) const fn next_index(&self) -> u64 {
        self.next_index
    }

    /// Bytes of the entries since the last snapshot.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Writes entries at the end and makes them durable. After an error they are not in the log, unless that cannot be
    /// undone either: then the error is [`Fatal`](AppendFailure::Fatal).
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), AppendFailure> {
        let (mut bytes, mut positions) = (Vec::new(), Vec::new());
        for (entry, index) in entries.iter().zip(self.next_index..) {
            assert_eq!(entry.id.index, index, "entries follow each other");
            positions.push(self.length + bytes.len() as u64);
            write_entry(entry, &mut bytes);
        }
        if let Err(error) = self.file.write_at(self.length, &[&bytes]) {
            return Err(match self.file.set_len(self.length) {
                Ok(()) => AppendFailure::Refused(error),
                Err(cut) => AppendFailure::Fatal(cut),
            });
        }
        // After a failed sync it is not known what is on the disk, and asking again would not tell.
        self.file.sync_data().map_err(AppendFailure::Fatal)?;
        self.length += bytes.len() as u64;
        self.next_index += entries.len() as u64;
        self.positions.extend(positions);
        Ok(())
    }

    /// Cuts the entries from `index` on off: another leader has written others in their place. Durable when it returns.
    pub(super) fn truncate(&mut self, index: u64) -> Result<(), RaftLogError> {
        let Some(kept) = index.checked_sub(self.first_index()).map(|kept| kept as usize) else {
            let problem =
                format!("entry {index} was replaced by a snapshot, and cannot be cut off");
            return Err(RaftLogError::Damaged { path: self.path.clone(), position: 0, problem });
        };
        let Some(length) = self.positions.get(kept).copied() else { return Ok(()) };
        self.file.set_len(length).map_err(io_error(&self.path))?;
        self.file.sync_data().map_err(io_error(&self.path))?;
        self.length = length;
        self.positions.truncate(kept);
        self.next_index = index;
        Ok(())
    }

    /// Makes a vote durable.
    pub(super) fn save_vote(&mut self, vote: Vote) -> Result<(), RaftLogError> {
        self.write_state(State { vote, ..self.state })
    }

    /// Notes what is agreed on. It is written with the next vote or snapshot: who starts with less learns the rest from the
    /// leader.
    pub(super) const fn note_committed(&mut self, committed: Option<EntryId>) {
        self.state.committed = committed;
    }

    /// Writes a snapshot. It counts once [`purge`](Self::purge) has dropped what it stands for.
    pub(super) fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), RaftLogError> {
        let path = snapshot_path(&self.directory, snapshot.meta.last.index);
        self.disk.replace_small(&path, &write_snapshot(snapshot)).map_err(io_error(&path))
    }

    /// Drops all entries up to the last one of the snapshot that was saved; `rest` are those after it.
    pub(super) fn purge(&mut self, last: EntryId, rest: &[Entry]) -> Result<(), RaftLogError> {
        let (file, path) = create_file(&*self.disk, &self.directory, last.index + 1)?;
        let (mut bytes, mut positions) = (Vec::new(), Vec::new());
        for entry in rest {
            positions.push((LOG_MAGIC.len() + bytes.len()) as u64);
            write_entry(entry, &mut bytes);
        }
        file.write_at(LOG_MAGIC.len() as u64, &[&bytes]).map_err(io_error(&path))?;
        file.sync_data().map_err(io_error(&path))?;
        // From here on the new files count.
        let committed = self.state.committed.max(Some(last));
        self.write_state(State { purged: Some(last), committed, ..self.state })?;
        (self.file, self.path) = (file, path);
        self.length = (LOG_MAGIC.len() + bytes.len()) as u64;
        self.positions = positions;
        self.next_index = last.index + 1 + rest.len() as u64;
        self.remove_old_files()
    }

    /// Replaces all entries by a snapshot of the state after the last one.
    pub(super) fn install_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), RaftLogError> {
        let last = snapshot.meta.last;
        assert_eq!(last.index + 1, self.next_index, "a snapshot is of the end of the log");
        self.save_snapshot(snapshot)?;
        self.purge(last, &[])
    }

    /// Index of the first entry that no snapshot has replaced.
    const fn first_index(&self) -> u64 {
        match self.state.purged {
            Some(purged) => purged.index + 1,
            None => 0,
        }
    }

    fn write_state(&mut self, state: State) -> Result<(), RaftLogError> {
        let path = self.directory.join(STATE_FILE);
        let bytes = serde_json::to_vec(&state).expect("the state has only plain fields");
        self.disk.replace_small(&path, &bytes).map_err(io_error(&path))?;
        self.state = state;
        Ok(())
    }

    /// Removes log files and snapshots that the state file does not speak of.
    fn remove_old_files(&self) -> Result<(), RaftLogError> {
        let log = log_path(&self.directory, self.first_index());
        let snapshot = self.state.purged.map(|purged| snapshot_path(&self.directory, purged.index));
        let entries = self.disk.list(&self.directory).map_err(io_error(&self.directory))?;
        for entry in entries {
            let path = self.directory.join(&entry.name);
            let numbered = entry.name.starts_with(FILE_PREFIX) && entry.name != STATE_FILE;
            if numbered && path != log && Some(&path) != snapshot.as_ref() {
                self.disk.remove_file(&path).map_err(io_error(&path))?;
            }
        }
        Ok(())
    }
}

/// Why an append failed.
#[derive(Debug)]
pub(super) enum AppendFailure {
    /// The log is as it was.
    Refused(io::Error),
    /// It is not known what the log holds: it must be opened anew.
    Fatal(io::Error),
}

/// The log file whose first entry has this index.
pub(super) fn log_path(directory: &Path, first_index: u64) -> PathBuf {
    directory.join(format!("{FILE_PREFIX}{first_index:020}.log"))
}

/// The file of the snapshot whose last entry has this index.
pub(super) fn snapshot_path(directory: &Path, index: u64) -> PathBuf {
    directory.join(format!("{FILE_PREFIX}{index:020}.snapshot"))
}

fn create_file(
    disk: &dyn Disk,
    directory: &Path,
    first_index: u64,
) -> Result<(Arc<dyn DiskFile>, PathBuf), RaftLogError> {
    let path = log_path(directory, first_index);
    let file = disk.open(&path, OpenMode::Truncate).map_err(io_error(&path))?;
    file.write_at(0, &[LOG_MAGIC]).map_err(io_error(&path))?;
    file.sync_data().map_err(io_error(&path))?;
    Ok((file, path))
}

/// A file of a log that was used, if there is one. What [`RaftLog::create`] leaves when it is cut short is none.
pub(super) fn used_file(disk: &dyn Disk, directory: &Path) -> Result<Option<String>, RaftLogError> {
    let first = log_path(directory, 0);
    let entries = disk.list(directory).map_err(io_error(directory))?;
    for DiskEntry { name, .. } in entries {
        if !name.starts_with(FILE_PREFIX) || name.ends_with(".tmp") {
            continue;
        }
        let path = directory.join(&name);
        let length = || disk.open(&path, OpenMode::Read)?.len();
        let has_begun =
            path == first && length().map_err(io_error(&path))? <= LOG_MAGIC.len() as u64;
        if !has_begun {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn write_entry(entry: &Entry, out: &mut Vec<u8>) {
    let (kind, payload) = match &entry.payload {
        Payload::Blank => (0, Vec::new()),
        Payload::Commands(commands) => (1, serde_json::to_vec(commands).expect("string keys only")),
        Payload::Membership(membership) => {
            (2, serde_json::to_vec(membership).expect("plain fields"))
        }
    };
    let mut checked = Vec::with_capacity(ENTRY_HEAD_BYTES - 8 + payload.len());
    checked.extend_from_slice(&entry.id.term.to_be_bytes());
    checked.extend_from_slice(&entry.id.leader.to_be_bytes());
    checked.extend_from_slice(&entry.id.index.to_be_bytes());
    checked.push(kind);
    checked.extend_from_slice(&payload);
    let length = u32::try_from(checked.len()).expect("an entry is limited to far less than 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&crc32c(&checked).to_be_bytes());
    out.extend_from_slice(&checked);
}

/// An entry that was written whole, whose payload was not looked at yet.
struct WholeEntry<'a> {
    id: EntryId,
    kind: u8,
    payload: &'a [u8],
    /// Bytes of all of it.
    length: usize,
}

/// Reads the entry at the beginning of `bytes`.
fn read_entry(bytes: &[u8]) -> Result<WholeEntry<'_>, String> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or("it ends within an entry")?;
    let (checksum, rest) = rest.split_first_chunk::<4>().ok_or("it ends within an entry")?;
    let length = u32::from_be_bytes(*length) as usize;
    let checked = rest.get(..length).ok_or("it ends within an entry")?;
    if crc32c(checked) != u32::from_be_bytes(*checksum) || length < ENTRY_HEAD_BYTES - 8 {
        return Err("the checksum of an entry does not fit".to_owned());
    }
    let number = |at: usize| {
        let bytes = checked.get(at..).and_then(<[u8]>::first_chunk::<8>);
        u64::from_be_bytes(*bytes.expect("the length was checked"))
    };
    let id = EntryId { term: number(0), leader: number(8), index: number(16) };
    let (kind, payload) =
        checked.get(24..).and_then(<[u8]>::split_first).expect("the length was checked");
    Ok(WholeEntry { id, kind: *kind, payload, length: 8 + length })
}

/// Reads the payload of an entry that was written whole: what cannot be read there is new to us.
fn read_payload(kind: u8, payload: &[u8]) -> Result<Payload, String> {
    let read = match kind {
        0 => Ok(Payload::Blank),
        1 => serde_json::from_slice(payload).map(Payload::Commands),
        2 => serde_json::from_slice(payload).map(Payload::Membership),
        other => return Err(format!("an entry of kind {other}")),
    };
    read.map_err(|error| error.to_string())
}

/// Reads the state file.
pub(super) fn read_state(path: &Path, bytes: &[u8]) -> Result<State, RaftLogError> {
    /// What every version has.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let damaged =
        |problem: String| RaftLogError::Damaged { path: path.to_owned(), position: 0, problem };
    let Versioned { version } =
        serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if version > VERSION {
        let (path, problem) = (path.to_owned(), format!("version {version}"));
        return Err(RaftLogError::Newer { path, position: 0, problem });
    }
    if version < VERSION {
        return Err(damaged(format!("version {version}")));
    }
    serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))
}

/// Reads all entries of a log file, where each begins, and up to where they reach.
pub(super) fn read_entries(
    path: &Path,
    bytes: &[u8],
    first_index: u64,
) -> Result<(Vec<Entry>, Vec<u64>, u64), RaftLogError> {
    let damaged = |position: usize, problem: String| RaftLogError::Damaged {
        path: path.to_owned(),
        position: position as u64,
        problem,
    };
    if !bytes.starts_with(LOG_MAGIC) {
        return Err(damaged(0, "it is not a metadata log".to_owned()));
    }
    let (mut entries, mut positions): (Vec<Entry>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut position = LOG_MAGIC.len();
    while let Some(rest) = bytes.get(position..).filter(|rest| !rest.is_empty()) {
        let index = first_index + entries.len() as u64;
        let term = entries.last().map_or(0, |entry| entry.id.term);
        match read_entry(rest) {
            Ok(whole) if whole.id.index == index && whole.id.term >= term => {
                let payload = read_payload(whole.kind, whole.payload).map_err(|problem| {
                    let (path, position) = (path.to_owned(), position as u64);
                    RaftLogError::Newer { path, position, problem }
                })?;
                positions.push(position as u64);
                position += whole.length;
                entries.push(Entry { id: whole.id, payload });
            }
            Ok(whole) => {
                return Err(damaged(
                    position,
                    format!("{:?} where entry {index} belongs", whole.id),
                ));
            }
            Err(problem) => {
                let is_later = |at: usize| {
                    rest.get(at..)
                        .and_then(|bytes| read_entry(bytes).ok())
                        .is_some_and(|later| later.id.index > index)
                };
                if (1..rest.len()).any(is_later) {
                    return Err(damaged(position, problem));
                }
                break;
            }
        }
    }
    Ok((entries, positions, position as u64))
}

fn write_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    let header = serde_json::to_vec(&snapshot.meta).expect("plain fields");
    let length = u32::try_from(header.len()).expect("a header is small");
    let checked = [&length.to_be_bytes()[..], &header, &snapshot.image].concat();
    [&SNAPSHOT_MAGIC[..], &crc32c(&checked).to_be_bytes(), &checked].concat()
}

/// Reads the snapshot that stands for all up to an entry; none if there is no such entry.
pub(super) fn read_snapshot(
    disk: &dyn Disk,
    directory: &Path,
    purged: Option<EntryId>,
) -> Result<Option<Snapshot>, RaftLogError> {
    let Some(purged) = purged else {
        return Ok(None);
    };
    let path = snapshot_path(directory, purged.index);
    let bytes = disk.read_small(&path).map_err(io_error(&path))?.unwrap_or_default();
    let whole = || {
        let rest = bytes.strip_prefix(SNAPSHOT_MAGIC)?;
        let (checksum, checked) = rest.split_first_chunk::<4>()?;
        let (length, rest) = checked.split_first_chunk::<4>()?;
        let fits = crc32c(checked) == u32::from_be_bytes(*checksum);
        rest.split_at_checked(u32::from_be_bytes(*length) as usize).filter(|_| fits)
    };
    let Some((header, image)) = whole() else {
        let problem = "it is not a whole snapshot".to_owned();
        return Err(RaftLogError::Damaged { path, position: 0, problem });
    };
    match serde_json::from_slice(header) {
        Ok(meta) => Ok(Some(Snapshot { meta, image: image.to_vec() })),
        Err(error) => Err(RaftLogError::Newer { path, position: 0, problem: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::env::{Fault, FaultyDisk, MemoryDisk, Rng};

    const DIRECTORY: &str = "d";

    fn state() -> State {
        let vote = Vote { term: 1, node: 7, committed: true };
        State { version: 1, raft_id: 7, vote, committed: None, purged: None }
    }

    fn entry(index: u64, payload: Payload) -> Entry {
        Entry { id: EntryId { term: 1, leader: 7, index }, payload }
    }

    fn commands(text: &str) -> Payload {
        Payload::Commands(vec![Command::Bootstrap {
            cluster_id: text.to_owned(),
            features: BTreeMap::from([("metadata.version".to_owned(), 27)]),
            min_insync_replicas: None,
        }])
    }

    fn membership() -> Membership {
        let node = Node {
            broker_id: BrokerId(1),
            directory_id: UuidText(Uuid::from_u128(5)),
            cluster_id: "c".into(),
            endpoints: Vec::new(),
        };
        Membership { voters: vec![BTreeSet::from([7])], nodes: BTreeMap::from([(7, node)]) }
    }

    fn disk() -> Arc<dyn Disk> {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new(DIRECTORY)).unwrap();
        Arc::new(disk)
    }

    fn log_with(disk: &Arc<dyn Disk>, entries: &[Entry]) -> RaftLog {
        let mut log = RaftLog::create(Arc::clone(disk), Path::new(DIRECTORY), state()).unwrap();
        for entry in entries {
            log.append(std::slice::from_ref(entry)).unwrap();
        }
        log
    }

    fn three() -> [Entry; 3] {
        [
            entry(0, Payload::Membership(membership())),
            entry(1, Payload::Blank),
            entry(2, commands("a")),
        ]
    }

    fn reopen(disk: &Arc<dyn Disk>) -> Result<Found, RaftLogError> {
        RaftLog::open(Arc::clone(disk), Path::new(DIRECTORY))
            .map(|found| found.expect("there is a log"))
    }

    #[test]
    fn entries_read_back() {
        let disk = disk();
        assert!(RaftLog::open(Arc::clone(&disk), Path::new(DIRECTORY)).unwrap().is_none());
        log_with(&disk, &three());
        let mut found = reopen(&disk).unwrap();
        assert_eq!(found.entries, three());
        assert_eq!((found.log.state(), found.log.next_index()), (&state(), 3));
        found.log.append(&[entry(3, Payload::Blank)]).unwrap();
        assert_eq!(reopen(&disk).unwrap().entries.len(), 4);
    }

    #[test]
    fn a_log_cut_off_anywhere_keeps_its_whole_entries() {
        let source = disk();
        let log = log_with(&source, &three());
        let bytes = source.read_small(&log.path).unwrap().unwrap();
        let mut ends = vec![LOG_MAGIC.len()];
        for entry in three() {
            let mut bytes = Vec::new();
            write_entry(&entry, &mut bytes);
            ends.push(ends.last().unwrap() + bytes.len());
        }
        for cut in LOG_MAGIC.len()..bytes.len() {
            source
                .open(&log.path, OpenMode::Truncate)
                .unwrap()
                .write_at(0, &[&bytes[..cut]])
                .unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!(reopen(&source).unwrap().entries, three()[..whole], "cut at {cut}");
            // The torn part is gone, so that the next append is read back.
            reopen(&source).unwrap().log.append(&[entry(whole as u64, Payload::Blank)]).unwrap();
            assert_eq!(reopen(&source).unwrap().entries.len(), whole + 1);
        }
    }

    #[test]
    fn damage_before_the_last_entry_is_an_error() {
        let disk = disk();
        let log = log_with(&disk, &three());
        let file = disk.open(&log.path, OpenMode::Write).unwrap();
        let bytes = disk.read_small(&log.path).unwrap().unwrap();
        for (at, byte) in bytes.iter().enumerate().skip(LOG_MAGIC.len()).take(60) {
            file.write_at(at as u64, &[&[byte ^ 0x40]]).unwrap();
            let error = reopen(&disk).unwrap_err();
            assert!(matches!(error, RaftLogError::Damaged { position: 8, .. }), "{at}: {error}");
            file.write_at(at as u64, &[&[*byte]]).unwrap();
        }
    }

    #[test]
    fn a_snapshot_replaces_the_entries() {
        let disk = disk();
        let mut log = log_with(&disk, &three());
        let snapshot = Snapshot {
            meta: SnapshotMeta {
                last: three()[2].id,
                membership: membership(),
                membership_entry: three()[0].id,
            },
            image: b"{}".to_vec(),
        };
        log.install_snapshot(&snapshot).unwrap();
        log.append(&[entry(3, commands("b"))]).unwrap();
        let found = reopen(&disk).unwrap();
        assert_eq!(found.snapshot.as_ref(), Some(&snapshot));
        assert_eq!(found.entries, [entry(3, commands("b"))]);
        let names: Vec<_> =
            disk.list(Path::new(DIRECTORY)).unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(
            names,
            [
                "ottla-raft-00000000000000000002.snapshot",
                "ottla-raft-00000000000000000003.log",
                "ottla-raft-state"
            ]
        );
    }

    #[test]
    fn what_another_leader_replaces_is_cut_off() {
        let disk = disk();
        let mut log = log_with(&disk, &three());
        log.truncate(2).unwrap();
        let other = Entry { id: EntryId { term: 2, leader: 9, index: 2 }, payload: Payload::Blank };
        log.append(std::slice::from_ref(&other)).unwrap();
        let mut found = reopen(&disk).unwrap();
        assert_eq!(found.entries, [&three()[..2], &[other]].concat());
        found.log.truncate(3).unwrap();
        found.log.truncate(1).unwrap();
        assert_eq!(reopen(&disk).unwrap().entries, three()[..1]);
    }

    #[test]
    fn a_snapshot_may_leave_entries_after_it() {
        let disk = disk();
        let mut log = log_with(&disk, &three());
        let meta = SnapshotMeta {
            last: three()[1].id,
            membership: membership(),
            membership_entry: three()[0].id,
        };
        let snapshot = Snapshot { meta, image: b"{}".to_vec() };
        log.save_snapshot(&snapshot).unwrap();
        assert_eq!(reopen(&disk).unwrap().entries, three(), "it does not count yet");
        log.save_snapshot(&snapshot).unwrap();
        log.purge(three()[1].id, &three()[2..]).unwrap();
        log.append(&[entry(3, Payload::Blank)]).unwrap();
        log.truncate(3).unwrap();
        let found = reopen(&disk).unwrap();
        assert_eq!((found.snapshot.as_ref(), &found.entries[..]), (Some(&snapshot), &three()[2..]));
        assert!(log.truncate(1).is_err(), "what a snapshot holds is agreed on");
    }

    #[test]
    fn a_vote_is_kept() {
        let disk = disk();
        let mut log = log_with(&disk, &three());
        let vote = Vote { term: 5, node: 9, committed: false };
        log.note_committed(Some(three()[1].id));
        log.save_vote(vote).unwrap();
        let found = reopen(&disk).unwrap();
        assert_eq!(
            (found.log.state().vote, found.log.state().committed),
            (vote, Some(three()[1].id))
        );
    }

    #[test]
    fn what_was_appended_survives_a_power_cut() {
        for seed in 0..100 {
            let memory = MemoryDisk::with_power_model();
            memory.create_dir_all(Path::new(DIRECTORY)).unwrap();
            memory.sync_all();
            let disk: Arc<dyn Disk> = Arc::new(memory.clone());
            let mut log = log_with(&disk, &three());
            if seed % 2 == 0 {
                let meta = SnapshotMeta {
                    last: three()[2].id,
                    membership: membership(),
                    membership_entry: three()[0].id,
                };
                log.install_snapshot(&Snapshot { meta, image: b"{}".to_vec() }).unwrap();
            }
            let last = entry(3, commands("b"));
            log.append(std::slice::from_ref(&last)).unwrap();
            let after: Arc<dyn Disk> = Arc::new(memory.power_cut(&Rng::from_seed(seed)));
            let found = reopen(&after).unwrap();
            assert_eq!(found.entries.last(), Some(&last));
            assert_eq!(found.log.next_index(), 4);
        }
    }

    #[test]
    fn a_full_disk_refuses_and_recovers() {
        let faulty = FaultyDisk::new(disk());
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        let mut log = log_with(&disk, &three());
        faulty.inject(Fault::NoSpaceAfter(10));
        let refused = log.append(&[entry(3, Payload::Blank)]);
        assert!(matches!(refused, Err(AppendFailure::Refused(_))));
        faulty.clear();
        log.append(&[entry(3, Payload::Blank)]).unwrap();
        assert_eq!(reopen(&disk).unwrap().entries.len(), 4);
        faulty.inject(Fault::Sync(String::new()));
        let failed = log.append(&[entry(4, Payload::Blank)]);
        assert!(matches!(failed, Err(AppendFailure::Fatal(_))));
    }
}
