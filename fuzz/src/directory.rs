//! A whole data directory whose files were damaged: its own files, and those of a compacted partition with transactions.
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 1 | which directory, see [`DIRECTORIES`] |
//! | | damages: the file, then as in [`damage`](crate::damage) |
//!
//! The directory is taken into use and its partition opened, or an error names a file. `verify` has found damage in what is
//! refused as such. Opened again it is the same. Whatever is in the files, dumping them, reading under both isolation levels and
//! compacting end without a panic, and compaction moves neither end of the log.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla::env::{Disk, MemoryDisk, OpenMode, Residency, Rng};
use ottla::log::{
    Append, AppendedAt, CleanBuffers, CleanPass, CleanStep, DataDir, DataDirError, DumpOptions,
    KeptKinds, Log, LogConfig, LogOffsets, LogStart, OpenError, Opened, Origin, PartitionName,
    ReadLimit, Severity, TransactionEnd, dump, verify,
};
use ottla::model::{
    BrokerId, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, TopicId, TopicName,
    UnixMillis,
};
use ottla::record::{
    BatchBuilder, BatchHeader, Compression, EndMarker, TransactionOutcome, ValidBatch,
};

use crate::damage::{KINDS, change};
use crate::input::Input;
use crate::verdict;

const ROOT: &str = "data";
const PARTITION: &str = "data/t-0";
const NOW: UnixMillis = UnixMillis(1_000_000);
/// How many damages one directory takes at most.
const DAMAGES_MAX: usize = 6;

type Files = BTreeMap<PathBuf, Vec<u8>>;

thread_local! {
    /// After a stop in good order; as a kill leaves it; and as a kill leaves it while a compacted segment takes its place.
    static DIRECTORIES: [Files; 3] = [written(true), written(false), swapping(written(false))];
}

/// Runs one input.
///
/// # Panics
/// If a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let files = DIRECTORIES.with(|directories| damaged(input.choose(directories), &mut input));
    let disk = disk(&files);
    let found = Found::of(&*disk);
    for path in files.keys() {
        show(&*disk, path);
    }
    match Seen::of(&disk) {
        Ok(seen) => {
            assert_eq!(Seen::of(&disk).as_ref().ok(), Some(&seen), "opened again");
            let kind = (seen.cleaned.is_some(), seen.batches.len(), seen.records_committed);
            verdict::accepted(kind);
        }
        Err(refused) => {
            if damaged_file(&refused).is_some() {
                assert!(found.has_damage, "not found by verify: {refused:?}");
            }
            verdict::refused(match refused {
                Refused::Directory(error) => (0, Some(discriminant(&error)), None),
                Refused::Log(error) => (1, None, Some(discriminant(&error))),
            });
        }
    }
}

/// Each directory as it is, and with a file gone that may be missing.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    (0..3).map(|directory| vec![directory]).collect()
}

fn damaged(files: &Files, input: &mut Input<'_>) -> Files {
    let mut files = files.clone();
    for _ in 0..DAMAGES_MAX {
        if input.is_empty() {
            break;
        }
        let (index, kind) = (input.below(files.len()), input.byte());
        let Some(path) = files.keys().nth(index).cloned() else { break };
        if kind % (KINDS + 1) == KINDS {
            files.remove(&path);
        } else if let Some(file) = files.get_mut(&path) {
            let at = input.number().checked_rem(file.len()).unwrap_or(0);
            change(file, kind % (KINDS + 1), at, input);
        }
    }
    files
}

/// What `verify` says.
struct Found {
    has_damage: bool,
}

impl Found {
    fn of(disk: &dyn Disk) -> Self {
        let mut findings = Vec::new();
        let report = verify(disk, Path::new(ROOT), &mut |partition| {
            findings.extend(partition.findings.iter().map(|finding| finding.severity));
            Ok(())
        });
        if let Ok(report) = report {
            findings.extend(report.findings.iter().map(|finding| finding.severity));
        }
        Self { has_damage: findings.contains(&Severity::Damage) }
    }
}

fn show(disk: &dyn Disk, path: &Path) {
    let options = DumpOptions { records: true, bytes_max: None };
    let mut count = 0_u32;
    let shown = dump(disk, path, options, &mut |_| {
        count += 1;
        Ok(())
    });
    if let Err(error) = shown {
        assert!(!error.to_string().is_empty());
    }
}

#[derive(Debug)]
enum Refused {
    Directory(DataDirError),
    Log(OpenError),
}

fn damaged_file(refused: &Refused) -> Option<&Path> {
    match refused {
        Refused::Directory(DataDirError::Damaged { path, .. })
        | Refused::Log(OpenError::Damaged { path, .. }) => Some(path),
        Refused::Directory(_) | Refused::Log(_) => None,
    }
}

/// What can be seen of a directory.
#[derive(Debug, PartialEq)]
struct Seen {
    cleaned: Option<Offset>,
    log_start: Offset,
    end: Offset,
    batches: Vec<BatchHeader>,
    /// How many bytes readers of committed records get.
    records_committed: usize,
}

impl Seen {
    fn of(disk: &Arc<dyn Disk>) -> Result<Self, Refused> {
        let rng = Rng::from_seed(1);
        let directory = DataDir::open(Arc::clone(disk), Path::new(ROOT), BrokerId(1), None, &rng);
        let directory = directory.map_err(Refused::Directory)?;
        let (kept, partition) = (directory.kept_offsets(), partition());
        let cleaned = kept.cleaned(&partition);
        let start = LogStart {
            clean: directory.clean_epoch().is_some(),
            recovery_point: kept.recovery_point(&partition),
            log_start: kept.log_start(&partition),
            ..start()
        };
        if start.clean {
            // It was taken away by the start, and is to be there for the next one.
            directory.mark_clean(1).expect("memory can be written");
        }
        let opened = Opened::open(disk, Path::new(ROOT), start, &rng).map_err(Refused::Log)?;
        let ends = opened.log.ends();
        let (batches, _) = read(&opened.log, ReadLimit::End);
        let (_, records_committed) = read(&opened.log, ReadLimit::LastStable);
        let seen =
            Self { cleaned, log_start: ends.log_start, end: ends.end, batches, records_committed };
        seen.assert_compacts(disk, cleaned);
        Ok(seen)
    }

    /// On a copy: what it does is not to be seen.
    fn assert_compacts(&self, disk: &Arc<dyn Disk>, cleaned: Option<Offset>) {
        let disk: Arc<dyn Disk> = Arc::new(copy(&**disk));
        let start = LogStart { log_start: self.log_start, ..start() };
        let opened = Opened::open(&disk, Path::new(ROOT), start, &Rng::from_seed(1));
        let Ok(Opened { log, .. }) = opened else { return };
        let before = log.ends();
        if clean(&log, cleaned).is_ok() {
            assert_eq!(log.ends(), before);
        }
    }
}

/// The batches up to a limit, as far as they can be read, and their bytes.
fn read(log: &Log, limit: ReadLimit) -> (Vec<BatchHeader>, usize) {
    let (mut headers, mut bytes) = (Vec::new(), 0);
    let mut from = log.ends().log_start;
    while let Ok(Some(read)) = log.read(from, 500, true, limit, Residency::Any) {
        let found = ottla::record::scan(&read.records).map_while(Result::ok);
        headers.extend(found.map(|batch| batch.header));
        bytes += read.records.len();
        match headers.last().map(BatchHeader::next_offset).filter(|next| *next > from) {
            Some(next) => from = next,
            None => break,
        }
    }
    (headers, bytes)
}

fn partition() -> PartitionName {
    (TopicName::new("t").expect("a good name"), PartitionId(0))
}

fn start() -> LogStart {
    let (topic, partition) = partition();
    let config = LogConfig {
        segment_bytes: 1_000,
        index_interval_bytes: 150,
        compacts: true,
        ..LogConfig::default()
    };
    let topic_id = TopicId(uuid::Uuid::from_u128(1));
    let (recovery_point, log_start) = (Offset::ZERO, Offset::ZERO);
    LogStart {
        topic,
        topic_id,
        partition,
        config,
        clean: false,
        recovery_point,
        log_start,
        high_watermark: None,
        now: NOW,
    }
}

fn clean(log: &Log, from: Option<Offset>) -> Result<Offset, ottla::log::CleanError> {
    let buffers = CleanBuffers { dedupe_bytes: 24 * 100, load_factor: 0.9, io_bytes: 600 };
    let mut pass = CleanPass::new(log, &log.cleanable(from, NOW)?, buffers, NOW);
    loop {
        if let CleanStep::Done(end) = pass.step(log)? {
            return Ok(end);
        }
    }
}

/// A directory with a partition of which the first part is compacted, with committed, aborted and open transactions.
fn written(stopped: bool) -> Files {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let rng = Rng::from_seed(1);
    let cluster = Some("a-cluster");
    let directory = DataDir::open(Arc::clone(&disk), Path::new(ROOT), BrokerId(1), cluster, &rng)
        .expect("nothing is there");
    let opened = Opened::open(&disk, Path::new(ROOT), LogStart { clean: true, ..start() }, &rng);
    let log = opened.expect("nothing is there").log;
    append_some(&log, 0..40);
    let cleaned = clean(&log, None).expect("memory can be written");
    assert!(cleaned > Offset(30), "{cleaned}");
    directory.kept_offsets().set_cleaned(&partition(), cleaned).expect("memory can be written");
    append_some(&log, 40..60);
    log.flush(stopped).expect("memory can be written");
    if stopped {
        log.close().expect("memory can be written");
    }
    let ends = log.ends();
    let recovery_point = log.recovery_point();
    let offsets = LogOffsets { recovery_point, log_start: Offset(3), high_watermark: ends.end };
    let kept = directory.kept_offsets();
    kept.write(KeptKinds::All, || [(partition(), Some(offsets))]).expect("memory can be written");
    if stopped {
        directory.mark_clean(1).expect("memory can be written");
    }
    files(&*disk)
}

fn append_some(log: &Log, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let (id, epoch) = (ProducerId(number % 3), ProducerEpoch(0));
        let mut builder = BatchBuilder::new();
        let codec = usize::try_from(number % 5).expect("small numbers");
        builder.compression(Compression::ALL[codec]);
        let sequence = i32::try_from(number / 3 * 2).expect("small numbers");
        builder.producer(id, epoch, sequence).transactional();
        for record in 0..2 {
            let (key, value) =
                (format!("key {}", (number + record) % 7), format!("value {number}"));
            let value = (number % 4 != 0).then_some(value.as_bytes());
            builder.push(UnixMillis(900_000 + number), Some(key.as_bytes()), value);
        }
        let batch = ValidBatch::trusted(&builder.build()).expect("a batch that was just built");
        let (leader_epoch, origin) = (LeaderEpoch(0), Origin::Coordinator);
        commit(log, log.append(&Append { batch, leader_epoch, origin, now: NOW }));
        // The third producer's is open for long.
        if number % 3 < 2 || number % 15 == 14 {
            let outcome = if number % 2 == 0 {
                TransactionOutcome::Commit
            } else {
                TransactionOutcome::Abort
            };
            let end = TransactionEnd {
                producer_id: id,
                producer_epoch: epoch,
                marker: EndMarker { outcome, coordinator_epoch: 1 },
                transaction_version: 1,
            };
            commit(log, log.append_end(&end, leader_epoch, NOW));
        }
    }
}

fn commit<E: std::fmt::Debug>(log: &Log, appended: Result<ottla::log::Appended, E>) {
    let appended = appended.expect("memory can be written");
    let AppendedAt::End(end) = appended.at else { unreachable!("not a client's batch") };
    log.advance_high_watermark(end);
}

/// As it was before the files that a compacted segment replaces were renamed.
fn swapping(files: Files) -> Files {
    let name = |path: &Path| path.file_name().expect("a file").to_string_lossy().into_owned();
    let is_replaced =
        |path: &PathBuf| files.contains_key(&path.with_file_name(name(path) + ".deleted"));
    let swapped = files.iter().map(|(path, bytes)| {
        let name = name(path);
        let now = match name.strip_suffix(".deleted") {
            Some(before) => before.to_owned(),
            None if is_replaced(path) => name + ".swap",
            None => name,
        };
        (path.with_file_name(now), bytes.clone())
    });
    let swapped: Files = swapped.collect();
    assert!(swapped.keys().any(|path| name(path).ends_with(".log.swap")));
    swapped
}

/// All files, by path.
fn files(disk: &dyn Disk) -> Files {
    let mut files = Files::new();
    for directory in [ROOT, PARTITION].map(Path::new) {
        for entry in disk.list(directory).expect("it is there") {
            if !entry.is_dir {
                let path = directory.join(entry.name);
                let bytes = disk.read_small(&path).expect("memory can be read");
                files.insert(path, bytes.expect("it was listed"));
            }
        }
    }
    files
}

fn disk(files: &Files) -> Arc<dyn Disk> {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(PARTITION)).expect("memory can be written");
    for (path, bytes) in files {
        let file = disk.open(path, OpenMode::CreateNew).expect("a new file");
        file.write_at(0, &[bytes]).expect("memory can be written");
    }
    Arc::new(disk)
}

fn copy(from: &dyn Disk) -> MemoryDisk {
    let to = MemoryDisk::new();
    to.create_dir_all(Path::new(PARTITION)).expect("memory can be written");
    for (path, bytes) in files(from) {
        let file = to.open(&path, OpenMode::CreateNew).expect("a new file");
        file.write_at(0, &[&bytes]).expect("memory can be written");
    }
    to
}
