//! Logs as they were written, and their files at several moments: what recovery has to find again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla::env::{Disk, MemoryDisk, OpenMode, Residency};
use ottla::log::{Append, AppendedAt, Log, LogConfig, LogStart, Opened, Origin, ReadLimit};
use ottla::model::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, TopicId, TopicName, UnixMillis,
};
use ottla::record::{BatchBuilder, BatchHeader, Compression, ValidBatch, scan};

use super::{DIRECTORY, open};

/// The files of a partition, by name.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// A batch as it stands in a file.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) file: String,
    pub(super) position: usize,
    pub(super) header: BatchHeader,
    pub(super) bytes: Bytes,
}

/// What was written to one log.
#[derive(Debug)]
pub(super) struct History {
    /// The batches in its files, in their order.
    pub(super) batches: Vec<Written>,
    /// The headers of all batches, also of those whose files were removed.
    pub(super) headers: Vec<BatchHeader>,
    /// The first offset that may be read.
    pub(super) log_start: Offset,
    /// Whether it was closed.
    pub(super) closed: bool,
    /// What a crash leaves behind now.
    pub(super) files: Files,
    /// What it would have left behind earlier; and the files of a replica that went on under a leader who lost.
    pub(super) stale: Vec<Files>,
    /// The batches of that replica.
    pub(super) lost_batches: Vec<Written>,
}

/// What is different from log to log.
#[derive(Clone, Copy)]
struct Plan {
    batches: usize,
    closed: bool,
    /// After how many of its batches it begins, as a part of 100.
    starts_after_percent: usize,
}

const PLANS: [Plan; 5] = [
    Plan { batches: 40, closed: true, starts_after_percent: 0 },
    Plan { batches: 40, closed: false, starts_after_percent: 0 },
    Plan { batches: 40, closed: false, starts_after_percent: 40 },
    Plan { batches: 2, closed: true, starts_after_percent: 0 },
    Plan { batches: 0, closed: false, starts_after_percent: 0 },
];

/// How the logs behave: small segments, and an index entry for every second batch or so.
pub(super) fn config() -> LogConfig {
    LogConfig { segment_bytes: 1_000, index_interval_bytes: 150, ..LogConfig::default() }
}

/// What is known of a log when it is opened.
pub(super) fn start(clean: bool, recovery_point: Offset, log_start: Offset) -> LogStart {
    LogStart {
        topic: TopicName::new("t").expect("a good name"),
        topic_id: TopicId(uuid::Uuid::from_u128(1)),
        partition: PartitionId(0),
        config: config(),
        clean,
        recovery_point,
        log_start,
        high_watermark: None,
        now: NOW,
    }
}

pub(super) const NOW: UnixMillis = UnixMillis(1_000_000);

impl History {
    /// All that are tried.
    pub(super) fn all() -> Vec<Self> {
        PLANS.into_iter().map(Self::new).collect()
    }

    fn new(plan: Plan) -> Self {
        let (disk, log) = empty_log();
        let mut stale = Vec::new();
        for index in 0..plan.batches {
            append(&log, index, epoch_of(index));
            if index == plan.batches / 3 || index == plan.batches * 2 / 3 {
                log.flush(index == plan.batches / 3).expect("memory can be written");
                stale.push(files(&*disk));
            }
        }
        let headers: Vec<_> = read_all(&log).iter().map(|(header, _)| *header).collect();
        let from = headers.get(plan.batches * plan.starts_after_percent / 100);
        let log_start = from.map_or(Offset::ZERO, |header| header.last_offset());
        let removed = log.advance_log_start(log_start).expect("memory can be written");
        for path in log.mark_deleted(removed).expect("memory can be written") {
            disk.remove_file(&path).expect("memory can be written");
        }
        if plan.closed {
            log.close().expect("memory can be written");
        }
        let lost = lost_replica(plan.batches);
        let (files, lost_batches) = (files(&*disk), batches(&lost));
        stale.push(lost);
        let batches = batches(&files);
        Self { batches, headers, log_start, closed: plan.closed, files, stale, lost_batches }
    }
}

/// The files of a replica that has the first batches, and then others of a leader whose epoch nobody else has seen.
fn lost_replica(batches: usize) -> Files {
    let (disk, log) = empty_log();
    for index in 0..batches {
        if epoch_of(index) == LeaderEpoch(0) {
            append(&log, index, LeaderEpoch(0));
        } else {
            append(&log, 1_000 + index, LeaderEpoch(1));
        }
    }
    log.close().expect("memory can be written");
    files(&*disk)
}

fn empty_log() -> (Arc<dyn Disk>, Log) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let Opened { log, .. } =
        open(&disk, start(true, Offset::ZERO, Offset::ZERO)).expect("nothing is there");
    (disk, log)
}

/// The epochs 0, 2 and 5, one after the other.
fn epoch_of(index: usize) -> LeaderEpoch {
    LeaderEpoch(match index {
        0..10 => 0,
        10..24 => 2,
        _ => 5,
    })
}

/// Appends the batch with this number.
pub(super) fn append(log: &Log, number: usize, leader_epoch: LeaderEpoch) {
    let (batch, origin) = (batch(number), Origin::Coordinator);
    let append = Append { batch, leader_epoch, origin, now: NOW };
    let appended = log.append(&append).expect("memory can be written");
    let AppendedAt::End(end) = appended.at else { unreachable!("not a client's batch") };
    log.advance_high_watermark(end);
}

/// A batch of one to three records, which looks different for each number.
pub(super) fn batch(number: usize) -> ValidBatch {
    let number_64 = i64::try_from(number).expect("small numbers");
    let mut builder = BatchBuilder::new();
    builder.compression(Compression::ALL[[0, 0, 3, 0, 4][number % 5]]);
    if number.is_multiple_of(3) {
        let sequence = i32::try_from(number).expect("small numbers");
        builder.producer(ProducerId(number_64 % 2), ProducerEpoch(0), sequence);
    }
    for record in 0..=number_64 % 3 {
        // Timestamps that mostly rise.
        let timestamp = UnixMillis(900_000 + number_64 * 10 - number_64 % 4 * 25 + record);
        let value = format!("value {number} {record} ").repeat(1 + number % 7 * number % 5);
        builder.push(timestamp, Some(b"key"), Some(value.as_bytes()));
    }
    ValidBatch::trusted(&builder.build()).expect("a batch that was just built")
}

/// All batches of a log whose files are in order.
pub(super) fn read_all(log: &Log) -> Vec<(BatchHeader, Bytes)> {
    let mut found = Vec::new();
    let mut from = log.ends().log_start;
    while from < log.ends().end {
        let read = log.read(from, 300, true, ReadLimit::End, Residency::Any);
        let read = read.expect("files in order").expect("memory is there");
        let before = found.len();
        for batch in scan(&read.records) {
            let batch = batch.expect("files in order");
            found.push((batch.header, read.records.slice_ref(batch.bytes)));
        }
        assert!(found.len() > before, "a read gives at least one whole batch");
        from = found.last().expect("there is one").0.next_offset();
    }
    found
}

/// The files of the partition.
pub(super) fn files(disk: &dyn Disk) -> Files {
    let directory = Path::new(DIRECTORY);
    let entries = disk.list(directory).expect("the directory of the partition");
    let read = |name: &str| disk.read_small(&directory.join(name)).expect("memory can be read");
    let content = |name: String| (name.clone(), read(&name).expect("it was listed"));
    entries.into_iter().map(|entry| content(entry.name)).collect()
}

/// A disk with these files.
pub(super) fn disk(files: &Files) -> Arc<dyn Disk> {
    let disk = MemoryDisk::new();
    let directory = Path::new(DIRECTORY);
    disk.create_dir_all(directory).expect("memory can be written");
    for (name, bytes) in files {
        let file = disk.open(&directory.join(name), OpenMode::CreateNew).expect("a new file");
        file.write_at(0, &[bytes]).expect("memory can be written");
    }
    Arc::new(disk)
}

/// The batches in the record files.
fn batches(files: &Files) -> Vec<Written> {
    let mut batches = Vec::new();
    for (file, bytes) in files.iter().filter(|(name, _)| name.ends_with(".log")) {
        let mut position = 0;
        for batch in scan(bytes) {
            let batch = batch.expect("files in order");
            let (header, bytes) = (batch.header, Bytes::copy_from_slice(batch.bytes));
            batches.push(Written { file: file.clone(), position, header, bytes });
            position += batch.bytes.len();
        }
    }
    batches
}
