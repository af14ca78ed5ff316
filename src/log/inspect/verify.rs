//! Checking a whole data directory: every batch, index, snapshot and checkpoint in it.
//!
//! What a start would do decides what a finding is (`recovery.rs`): a bad batch where an unclean stop can have left one is a
//! torn end, which is cut off; anywhere else it is damage.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::leftovers::{self, Swaps};
use super::{InspectError, Wrong, open, read, wrong};
use crate::env::{Disk, DiskEntry, Residency};
use crate::log::checkpoint::{self, Offsets};
use crate::log::data_dir::{CLEAN_FILE, META_FILE, MetaProperties, clean_epoch_of, read_meta};
use crate::log::files::{
    DirKind, EPOCHS_FILE, Kind, MOVED_TO_PREFIX, PARTITION_METADATA_FILE, SWAP_SUFFIX,
};
use crate::log::index::{Entry, OffsetEntry, TimeEntry};
use crate::log::kept_offsets::{
    CLEANED_FILE, HIGH_WATERMARKS_FILE, LOG_STARTS_FILE, RECOVERY_POINTS_FILE,
};
use crate::log::recovery::check_order;
use crate::log::scan::{Found, Headers, check_sum};
use crate::log::snapshot;
use crate::log::transaction_index::{AbortedTransaction, ENTRY_BYTES, VERSION};
use crate::model::{LeaderEpoch, Offset, PartitionId, TopicId, TopicName};

/// Batches of a segment whose checksums do not fit that are told one by one; behind the last one nothing is checked.
const WRONG_SUMS_MAX: u32 = 100;
/// What was found in a data directory beside its partitions.
#[derive(Clone, Debug)]
pub struct DirectoryReport {
    /// The directory.
    pub path: PathBuf,
    /// Whose it is, if it says so.
    pub identity: Option<MetaProperties>,
    /// Whether the last stop was clean: nothing may be torn then.
    pub clean: bool,
    /// What is wrong with its own files.
    pub findings: Vec<Finding>,
    /// Directories of partitions that were deleted or set aside. They are not looked into.
    pub aside: Vec<String>,
}

/// What was found in the directory of a partition.
#[derive(Clone, Debug)]
pub struct PartitionReport {
    /// Its directory's name.
    pub directory: String,
    /// The topic's id, if it says so.
    pub topic_id: Option<TopicId>,
    /// The data directory whose copy of it was about to take its place.
    pub moved_to: Option<Uuid>,
    /// How many segments there are.
    pub segments: usize,
    /// First offset that can be read.
    pub log_start: Offset,
    /// The offset after the last whole batch.
    pub end: Offset,
    /// Everything below was known to be durable.
    pub recovery_point: Offset,
    /// Whole batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of all `.log` files.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it means.
    pub severity: Severity,
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes, if that can be said.
    pub position: Option<u64>,
    /// What is wrong there.
    pub problem: String,
}

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is wrong: the next start sees to it.
    Note,
    /// An unclean stop has left an end behind that the next start cuts off.
    Torn,
    /// This should not be.
    Damage,
}

/// Checks the data directory at `path`, or the directory of a single partition; gives each partition to `each`, by name, as
/// soon as it was checked.
///
/// # Errors
/// If a file cannot be read, if there is nothing to check, or what `each` says. Damage is a finding, no error.
pub fn verify(
    disk: &dyn Disk,
    path: &Path,
    each: &mut dyn FnMut(&PartitionReport) -> io::Result<()>,
) -> Result<DirectoryReport, InspectError> {
    let entries = disk.list(path).map_err(InspectError::read(path))?;
    if entries.iter().any(|entry| matches!(Kind::parse(&entry.name), Some((Kind::Records, _)))) {
        return verify_alone(disk, path, each);
    }
    let mut directory = Directory::read(disk, path)?;
    directory.report.findings.extend(leftovers::of_directory(path, &entries));
    let mut is_log_directory = directory.report.identity.is_some();
    for DiskEntry { name, .. } in entries.iter().filter(|entry| entry.is_dir) {
        match DirKind::parse(name) {
            DirKind::Partition(topic, partition) | DirKind::Future(topic, partition) => {
                is_log_directory = true;
                let known = directory.known(&(topic, partition));
                each(&Partition::check(disk, path, name, known)?).map_err(InspectError::Tell)?;
            }
            DirKind::Deleted => directory.report.aside.push(name.clone()),
            DirKind::Other if name.ends_with("-stray") => directory.report.aside.push(name.clone()),
            DirKind::Other => {}
        }
    }
    if is_log_directory || !directory.report.findings.is_empty() {
        Ok(directory.report)
    } else {
        Err(InspectError::NoLogDirectory { path: path.to_owned() })
    }
}

/// Checks a partition's directory by itself. The directory around it says what may be torn.
fn verify_alone(
    disk: &dyn Disk,
    path: &Path,
    each: &mut dyn FnMut(&PartitionReport) -> io::Result<()>,
) -> Result<DirectoryReport, InspectError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    let directory = Directory::read(disk, parent)?;
    let known = match DirKind::parse(&name) {
        DirKind::Partition(topic, partition) | DirKind::Future(topic, partition) => {
            directory.known(&(topic, partition))
        }
        DirKind::Deleted | DirKind::Other => {
            Known { clean: false, recovery_point: Offset::ZERO, log_start: Offset::ZERO }
        }
    };
    each(&Partition::check(disk, parent, &name, known)?).map_err(InspectError::Tell)?;
    Ok(directory.report)
}

/// What the top of a data directory says of a partition.
#[derive(Clone, Copy, Debug)]
struct Known {
    clean: bool,
    recovery_point: Offset,
    log_start: Offset,
}

/// The top of a data directory.
struct Directory {
    report: DirectoryReport,
    recovery_points: Offsets,
    log_starts: Offsets,
}

impl Directory {
    fn read(disk: &dyn Disk, path: &Path) -> Result<Self, InspectError> {
        let clean = read(disk, &path.join(CLEAN_FILE))?
            .is_some_and(|bytes| clean_epoch_of(&bytes).is_some());
        let mut findings = Vec::new();
        let identity = read_meta(disk, path).unwrap_or_else(|error| {
            findings.push(damage(&path.join(META_FILE), Wrong::at(0, error.to_string())));
            None
        });
        let mut offsets = |name: &str| {
            let path = path.join(name);
            let bytes =
                read(disk, &path)?.unwrap_or_else(|| checkpoint::write_offsets(&Offsets::new()));
            Ok(checkpoint::read_offsets(&bytes).unwrap_or_else(|error| {
                findings.push(damage(&path, Wrong::at(0, error.to_string())));
                Offsets::new()
            }))
        };
        let recovery_points = offsets(RECOVERY_POINTS_FILE)?;
        let log_starts = offsets(LOG_STARTS_FILE)?;
        offsets(HIGH_WATERMARKS_FILE)?;
        offsets(CLEANED_FILE)?;
        let aside = Vec::new();
        let report = DirectoryReport { path: path.to_owned(), identity, clean, findings, aside };
        Ok(Self { report, recovery_points, log_starts })
    }

    fn known(&self, name: &(TopicName, PartitionId)) -> Known {
        let of = |offsets: &Offsets| offsets.get(name).copied().unwrap_or(Offset::ZERO);
        let clean = self.report.clean;
        Known { clean, recovery_point: of(&self.recovery_points), log_start: of(&self.log_starts) }
    }
}

/// A partition that is being checked.
struct Partition<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    known: Known,
    report: PartitionReport,
    /// Leader epoch of the last batch.
    epoch: LeaderEpoch,
}

impl<'a> Partition<'a> {
    fn check(
        disk: &'a dyn Disk,
        parent: &Path,
        name: &str,
        known: Known,
    ) -> Result<PartitionReport, InspectError> {
        let report = PartitionReport {
            directory: name.to_owned(),
            topic_id: None,
            moved_to: None,
            segments: 0,
            log_start: known.log_start,
            end: known.log_start,
            recovery_point: known.recovery_point,
            batches: 0,
            records: 0,
            bytes: 0,
            findings: Vec::new(),
        };
        let path = parent.join(name);
        let mut partition = Self { disk, path, known, report, epoch: LeaderEpoch::UNKNOWN };
        partition.check_all()?;
        Ok(partition.report)
    }

    fn check_all(&mut self) -> Result<(), InspectError> {
        let entries = self.disk.list(&self.path).map_err(InspectError::read(&self.path))?;
        let of_kind = |wanted: Kind| {
            let parsed = entries.iter().filter_map(|entry| Kind::parse(&entry.name));
            parsed.filter_map(move |(kind, offset)| (kind == wanted).then_some(offset))
        };
        let swaps = Swaps::read(self.disk, &self.path, &entries)?;
        // A compacted segment counts as soon as it has its name, and what it was made of does not.
        let replaced = |base: &Offset| swaps.have_replaced(*base);
        let mut segments: BTreeMap<Offset, &str> =
            of_kind(Kind::Records).filter(|base| !replaced(base)).map(|base| (base, "")).collect();
        segments.extend(swaps.bases().map(|base| (base, SWAP_SUFFIX)));
        self.report.segments = segments.len();
        if let Some((first, _)) = segments.first_key_value() {
            self.report.log_start = self.report.log_start.max(*first);
            self.report.end = *first;
        }
        for (name, problem) in leftovers::of_partition(self.disk, &self.path, &entries, &swaps)? {
            self.note(&self.path.join(name), problem);
        }
        let moved_to = |name: &str| name.strip_prefix(MOVED_TO_PREFIX)?.parse().ok();
        self.report.moved_to = entries.iter().find_map(|entry| moved_to(&entry.name));
        self.check_topic()?;
        let nexts = segments.keys().skip(1).map(|next| Some(*next)).chain([None]);
        let mut counts = true;
        for ((base, suffix), next) in segments.iter().zip(nexts) {
            if counts {
                counts = self.check_segment((*base, suffix), next)?;
            } else if !suffix.is_empty() {
                // It is read before a start finds out that it does not count.
                let end = self.report.end;
                self.check_segment((*base, suffix), next)?;
                self.report.end = end;
            }
        }
        self.check_epochs()?;
        for offset in of_kind(Kind::ProducerSnapshot) {
            self.check_snapshot(offset)?;
        }
        for base in of_kind(Kind::TransactionIndex).filter(|base| !replaced(base)) {
            self.check_aborted(&Kind::TransactionIndex.path(&self.path, base))?;
        }
        for base in swaps.bases() {
            let path = Kind::TransactionIndex.path_with(&self.path, base, SWAP_SUFFIX);
            self.check_aborted(&path)?;
        }
        if self.report.end < self.known.log_start {
            let problem = format!(
                "the log ends at {}, before its start at {}: the next start begins it anew",
                self.report.end, self.known.log_start
            );
            self.note(&self.path.clone(), problem);
        }
        Ok(())
    }

    fn note(&mut self, path: &Path, problem: String) {
        let (severity, path) = (Severity::Note, path.to_owned());
        self.report.findings.push(Finding { severity, path, position: None, problem });
    }

    fn damaged(&mut self, path: &Path, wrong: Wrong) {
        self.report.findings.push(damage(path, wrong));
    }

    fn check_topic(&mut self) -> Result<(), InspectError> {
        let path = self.path.join(PARTITION_METADATA_FILE);
        match read(self.disk, &path)?.as_deref().map(checkpoint::read_partition_metadata) {
            Some(Ok(id)) => self.report.topic_id = Some(id),
            Some(Err(error)) => self.damaged(&path, Wrong::at(0, error.to_string())),
            None => {}
        }
        Ok(())
    }

    /// Whether a batch at `offset`, of the segment before `next`, may have been lost by an unclean stop.
    fn may_be_torn(&self, next: Option<Offset>) -> bool {
        !self.known.clean && next.is_none_or(|next| next > self.known.recovery_point)
    }

    /// Checks a segment, whose files have a suffix, with its indexes. Gives whether those that follow count: not if this one is
    /// torn.
    fn check_segment(
        &mut self,
        (base, suffix): (Offset, &str),
        next: Option<Offset>,
    ) -> Result<bool, InspectError> {
        let path = Kind::Records.path_with(&self.path, base, suffix);
        let (file, size) = open(self.disk, &path)?;
        self.report.bytes += u64::from(size);
        // A compacted one was durable before it had its name.
        let may_be_torn = suffix.is_empty() && self.may_be_torn(next);
        // Indexes that the next start builds anew are not looked at.
        let mut indexes =
            if may_be_torn { None } else { Some(Indexes::read(self, (base, suffix))?) };
        let mut headers = Headers::new(&*file, 0, size, Residency::Any);
        let (mut end, mut sums_wrong) = (base, 0);
        loop {
            let step = headers.next_waiting().and_then(|found| {
                let Some(found) = found else { return Ok(None) };
                check_order(&found, base, end, self.epoch)?;
                Ok(Some(found))
            });
            let found = match step {
                Ok(None) => break,
                Ok(Some(found)) => found,
                Err(error) => {
                    let found = wrong(&path, error)?;
                    let torn = may_be_torn && end >= self.known.recovery_point;
                    self.bad_batch(&path, found, size, torn);
                    self.report.end = self.report.end.max(end);
                    return Ok(!torn);
                }
            };
            if let Err(error) = check_sum(&*file, &found) {
                let found = wrong(&path, error)?;
                let torn = may_be_torn && end >= self.known.recovery_point;
                self.bad_batch(&path, found, size, torn);
                sums_wrong += 1;
                if torn || sums_wrong == WRONG_SUMS_MAX {
                    self.report.end = self.report.end.max(end);
                    return Ok(!torn);
                }
            } else {
                self.report.batches += 1;
                self.report.records += u64::try_from(found.header.record_count).unwrap_or(0);
            }
            end = found.header.next_offset();
            self.epoch = found.header.partition_leader_epoch;
            if let Some(indexes) = &mut indexes {
                indexes.pass(&found);
            }
        }
        self.report.end = self.report.end.max(end);
        for (path, found) in indexes.into_iter().flat_map(Indexes::wrong) {
            self.damaged(&path, found);
        }
        Ok(self.check_border(&path, end, next, may_be_torn))
    }

    fn bad_batch(&mut self, path: &Path, found: Wrong, size: u32, torn: bool) {
        let left = u64::from(size).saturating_sub(found.position);
        if !torn {
            return self.damaged(path, found);
        }
        let problem = format!(
            "{}; this is a torn end: the next start cuts off {left} bytes, and removes later segments",
            found.problem
        );
        let torn = Wrong::at(found.position, problem);
        self.report.findings.push(Finding { severity: Severity::Torn, ..damage(path, torn) });
    }

    /// Checks that a segment that ends at `end` fits the `next` one.
    fn check_border(
        &mut self,
        path: &Path,
        end: Offset,
        next: Option<Offset>,
        may_be_torn: bool,
    ) -> bool {
        let Some(next) = next else { return true };
        if end > next {
            let problem =
                format!("its batches reach offset {end}, but the next segment begins at {next}");
            let finding = Finding { position: None, ..damage(path, Wrong::at(0, problem)) };
            self.report.findings.push(finding);
        } else if may_be_torn && end != next && next > self.known.recovery_point {
            let problem = format!(
                "it ends at offset {end}, but the next segment begins at {next}: the next start removes what follows"
            );
            let torn = Finding { severity: Severity::Torn, ..damage(path, Wrong::at(0, problem)) };
            self.report.findings.push(Finding { position: None, ..torn });
            return false;
        }
        true
    }

    fn check_epochs(&mut self) -> Result<(), InspectError> {
        let path = self.path.join(EPOCHS_FILE);
        let Some(bytes) = read(self.disk, &path)? else { return Ok(()) };
        if let Err(error) = checkpoint::read_epochs(&bytes) {
            self.damaged(&path, Wrong::at(0, error.to_string()));
        }
        Ok(())
    }

    fn check_snapshot(&mut self, offset: Offset) -> Result<(), InspectError> {
        let path = Kind::ProducerSnapshot.path(&self.path, offset);
        let bytes = read(self.disk, &path)?.unwrap_or_default();
        let Err(error) = snapshot::read(&bytes) else { return Ok(()) };
        let mut finding = damage(&path, Wrong::at(0, error.to_string()));
        if !self.known.clean && offset > self.known.recovery_point {
            finding.severity = Severity::Torn;
            finding.problem.push_str("; it was not durable yet: the next start does without it");
        }
        self.report.findings.push(finding);
        Ok(())
    }

    fn check_aborted(&mut self, path: &Path) -> Result<(), InspectError> {
        let bytes = read(self.disk, path)?.unwrap_or_default();
        let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        let unknown = entries.iter().position(|entry| AbortedTransaction::read(entry).0 != VERSION);
        if let Some(index) = unknown {
            let position = (ENTRY_BYTES * index) as u64;
            self.damaged(path, Wrong::at(position, "an entry of a version that is not known"));
        } else if !rest.is_empty() {
            let position = (bytes.len() - rest.len()) as u64;
            self.damaged(path, Wrong::at(position, "not a whole number of entries"));
        }
        Ok(())
    }
}

fn damage(path: &Path, wrong: Wrong) -> Finding {
    let (severity, position) = (Severity::Damage, Some(wrong.position));
    Finding { severity, path: path.to_owned(), position, problem: wrong.problem }
}

/// The entries of both indexes of a segment, compared with its batches as they pass. The first wrong entry of each counts.
struct Indexes {
    base: Offset,
    offsets: Cursor<OffsetEntry>,
    times: Cursor<TimeEntry>,
}

/// An index on the way.
struct Cursor<E> {
    path: PathBuf,
    entries: std::iter::Peekable<std::vec::IntoIter<E>>,
    /// How many entries have passed.
    passed: u64,
    wrong: Option<Wrong>,
}

impl Indexes {
    fn read(
        partition: &Partition<'_>,
        (base, suffix): (Offset, &str),
    ) -> Result<Self, InspectError> {
        // Of a compacted segment only its own count.
        let path = |kind: Kind| kind.path_with(&partition.path, base, suffix);
        Ok(Self {
            base,
            offsets: Cursor::read(partition.disk, path(Kind::OffsetIndex))?,
            times: Cursor::read(partition.disk, path(Kind::TimeIndex))?,
        })
    }

    /// Compares the entries that speak of a batch with it.
    fn pass(&mut self, batch: &Found) {
        let (header, base) = (&batch.header, self.base);
        let offset_of = |relative: u32| base.plus(i64::from(relative));
        self.offsets.pass_while(
            |entry| entry.position <= batch.position,
            |entry| {
                if entry.position != batch.position {
                    return Some(format!("no batch begins at position {}", entry.position));
                }
                let offset = offset_of(entry.relative_offset);
                (offset < header.base_offset).then(|| {
                    format!(
                        "offset {offset} is said to be in the batch at {}, which is later",
                        entry.position
                    )
                })
            },
        );
        self.times.pass_while(
            |entry| offset_of(entry.relative_offset) <= header.last_offset(),
            |entry| {
                let offset = offset_of(entry.relative_offset);
                if offset < header.base_offset {
                    return Some(format!("no batch holds offset {offset}"));
                }
                let (said, is) = (entry.timestamp, header.max_timestamp);
                (said != is).then(|| {
                    format!("offset {offset} is said to be of {said}, but its batch is of {is}")
                })
            },
        );
    }

    /// What is wrong with the indexes, once all batches have passed.
    fn wrong(self) -> impl Iterator<Item = (PathBuf, Wrong)> {
        self.offsets.wrong().into_iter().chain(self.times.wrong())
    }
}

impl<E: Entry> Cursor<E> {
    /// Reads an index; one that is missing is as an empty one, as the next start builds it.
    fn read(disk: &dyn Disk, path: PathBuf) -> Result<Self, InspectError> {
        let bytes = read(disk, &path)?.unwrap_or_default();
        let mut entries: Vec<E> = Vec::new();
        let mut wrong = None;
        for (chunk, index) in bytes.chunks(E::BYTES).zip(0_u64..) {
            let position = index * E::BYTES as u64;
            let last = entries.last().copied();
            match E::read(chunk).filter(|_| chunk.len() == E::BYTES) {
                // Kafka makes files larger than what it has written, with zeros behind it.
                Some(_) if index > 0 && chunk.iter().all(|byte| *byte == 0) => break,
                Some(entry) if last.is_none_or(|last| entry.follows(last)) => entries.push(entry),
                Some(_) => wrong = Some(Wrong::at(position, "its entries do not rise")),
                None => wrong = Some(Wrong::at(position, "not a whole number of entries")),
            }
            if wrong.is_some() {
                break;
            }
        }
        Ok(Self { path, entries: entries.into_iter().peekable(), passed: 0, wrong })
    }

    /// Takes the entries for which `is_due` holds and asks what is wrong with each.
    fn pass_while(&mut self, is_due: impl Fn(E) -> bool, check: impl Fn(E) -> Option<String>) {
        while let Some(entry) = self.entries.next_if(|entry| is_due(*entry)) {
            // Files that Kafka has made but not written to are zeros from the beginning.
            let is_blank = self.passed == 0 && self.entries.peek().is_none() && is_blank(entry);
            if let Some(problem) = check(entry).filter(|_| !is_blank) {
                let position = self.passed * E::BYTES as u64;
                self.wrong.get_or_insert_with(|| Wrong::at(position, problem));
            }
            self.passed += 1;
        }
    }

    fn wrong(mut self) -> Option<(PathBuf, Wrong)> {
        let position = self.passed * E::BYTES as u64;
        let beyond = self.entries.next().filter(|entry| !is_blank(*entry));
        let beyond = beyond.map(|_| Wrong::at(position, "an entry beyond the last batch"));
        self.wrong.or(beyond).map(|wrong| (self.path, wrong))
    }
}

/// Whether an entry is of zeros alone, which says nothing.
fn is_blank<E: Entry>(entry: E) -> bool {
    let mut bytes = Vec::with_capacity(E::BYTES);
    entry.write(&mut bytes);
    bytes.iter().all(|byte| *byte == 0)
}
