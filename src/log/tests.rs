//! Logs on simulated disks: what is read is what was appended, whatever happens to the disk in between.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests cast small numbers that they made themselves"
)]

mod compaction;
mod compaction_crash;
mod crash;
mod faults;
mod flush;
mod inspect;
mod kafka_transactions;
mod open_files;
mod preallocation;
mod retention;
mod transactions;
mod truncation;
mod watched;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::env::{Disk, Fault, FaultyDisk, MemoryDisk, OpenMode, Residency, Rng};
use crate::model::{LeaderEpoch, PartitionId, TopicId, TopicName, UnixMillis};
use crate::record::{self, BatchBuilder, BatchHeader, ValidBatch, scan};

const ROOT: &str = "data";
const DIRECTORY: &str = "data/t-0";

/// A log with its disk.
struct Rig {
    disk: Arc<dyn Disk>,
    config: LogConfig,
    log: Log,
}

/// Small segments and an index entry for every second batch or so.
fn config() -> LogConfig {
    LogConfig { segment_bytes: 1_000, index_interval_bytes: 150, ..LogConfig::default() }
}

fn start(config: &LogConfig, clean: bool) -> LogStart {
    LogStart {
        topic: TopicName::new("t").unwrap(),
        topic_id: TopicId(uuid::Uuid::from_u128(1)),
        partition: PartitionId(0),
        config: config.clone(),
        clean,
        recovery_point: Offset::ZERO,
        log_start: Offset::ZERO,
        high_watermark: None,
        now: UnixMillis(1_000_000),
    }
}

fn open(disk: &Arc<dyn Disk>, start: LogStart) -> Result<Opened, OpenError> {
    Opened::open(disk, Path::new(ROOT), start, &Rng::from_seed(1))
}

impl Rig {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new(ROOT)).unwrap();
        Self::on(Arc::new(disk), config())
    }

    fn on(disk: Arc<dyn Disk>, config: LogConfig) -> Self {
        let log = open(&disk, start(&config, true)).unwrap().log;
        Self { disk, config, log }
    }

    fn append(&self, batch: Bytes) -> Result<Appended, AppendError> {
        self.append_in(LeaderEpoch(0), batch)
    }

    fn append_in(&self, leader_epoch: LeaderEpoch, batch: Bytes) -> Result<Appended, AppendError> {
        let batch = ValidBatch::trusted(&batch).unwrap();
        let now = UnixMillis(1_000_000);
        let appended =
            self.log.append(&Append { batch, leader_epoch, origin: Origin::Client, now })?;
        if let AppendedAt::End(end) = appended.at {
            self.log.advance_high_watermark(end);
        }
        Ok(appended)
    }

    fn append_some(&self, count: i64) {
        for i in 0..count {
            self.append(plain(i, 1 + i as usize % 3)).unwrap();
        }
    }

    /// What the disk holds, opened by another broker after this one is gone.
    fn reopen(self, clean: bool, recovery_point: Offset) -> Self {
        let opened = open(&self.disk, LogStart { recovery_point, ..start(&self.config, clean) });
        Self { log: opened.unwrap().log, ..self }
    }

    /// Deletes the records before `to`; gives the files that are marked for removal.
    fn begin_at(&self, to: Offset) -> Vec<PathBuf> {
        let removed = self.log.advance_log_start(to).unwrap();
        self.log.mark_deleted(removed).unwrap()
    }

    fn segment_files(&self) -> Vec<PathBuf> {
        let entries = self.disk.list(Path::new(DIRECTORY)).unwrap();
        let logs = entries.into_iter().filter(|entry| entry.name.ends_with(".log"));
        logs.map(|entry| Path::new(DIRECTORY).join(entry.name)).collect()
    }
}

/// A batch of `records` records with timestamps from `seed` on.
fn plain(seed: i64, records: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    for i in 0..records {
        let value = format!("value {seed} {i}");
        builder.push(UnixMillis(seed * 10 + i as i64), Some(b"k"), Some(value.as_bytes()));
    }
    builder.build()
}

fn of_producer(id: i64, epoch: i16, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.producer(ProducerId(id), ProducerEpoch(epoch), sequence);
    builder.push(UnixMillis(999_999), None, Some(b"v"));
    builder.build()
}

/// All batches that can be read, one after the other.
fn read_all(log: &Log) -> Vec<BatchHeader> {
    let mut headers = Vec::new();
    let mut from = log.ends().log_start;
    while from < log.ends().high_watermark {
        let read = log
            .read(from, 300, true, ReadLimit::HighWatermark, Residency::Cached)
            .unwrap()
            .unwrap();
        let mut batches = scan(&read.records);
        let before = headers.len();
        for batch in batches.by_ref().map_while(Result::ok) {
            batch.header.check_crc(batch.bytes).unwrap();
            headers.push(batch.header);
        }
        assert!(headers.len() > before, "a read gives at least one whole batch");
        from = headers.last().unwrap().next_offset();
    }
    headers
}

fn offsets(log: &Log) -> Vec<i64> {
    read_all(log).iter().map(|header| header.base_offset.0).collect()
}

#[test]
fn what_is_appended_is_read_in_order_over_all_segments() {
    let rig = Rig::new();
    rig.append_some(60);
    assert!(rig.segment_files().len() > 3, "several segments");
    let headers = read_all(&rig.log);
    assert_eq!(headers.len(), 60);
    let mut expected = Offset::ZERO;
    for header in headers {
        assert_eq!(header.base_offset, expected);
        assert_eq!(header.partition_leader_epoch, LeaderEpoch(0));
        expected = header.next_offset();
    }
    assert_eq!(rig.log.ends().end, expected);
}

#[test]
fn index_equals_scan() {
    let rig = Rig::new();
    rig.append_some(60);
    let batches = read_all(&rig.log);
    for rig in [rig.reopen(false, Offset::ZERO), Rig::new()] {
        if rig.log.ends().end == Offset::ZERO {
            rig.append_some(60);
        }
        for offset in 0..rig.log.ends().end.0 {
            let offset = Offset(offset);
            let read =
                rig.log.read(offset, 1, true, ReadLimit::End, Residency::Any).unwrap().unwrap();
            let found = BatchHeader::parse(&read.records).unwrap();
            let expected = batches.iter().find(|batch| batch.last_offset() >= offset).unwrap();
            assert_eq!(&found, expected, "at {offset}");
        }
    }
}

#[test]
fn reads_keep_to_their_limits() {
    let rig = Rig::new();
    rig.append_some(10);
    let read = |from, max, whole| {
        rig.log.read(Offset(from), max, whole, ReadLimit::HighWatermark, Residency::Cached)
    };
    let first_bytes = plain(0, 1).len();
    assert!(read(0, 10, false).unwrap().unwrap().records.is_empty(), "the first batch is larger");
    assert_eq!(read(0, 10, true).unwrap().unwrap().records.len(), first_bytes);
    let end = rig.log.ends().end.0;
    assert!(read(end, 1_000, true).unwrap().unwrap().records.is_empty());
    for beyond in [end + 1, -1] {
        assert!(
            matches!(read(beyond, 1, true), Err(ReadError::OffsetOutOfRange { .. })),
            "{beyond}"
        );
    }
}

#[test]
fn consumers_see_what_is_committed_and_replicas_see_all() {
    let rig = Rig::new();
    let batch = |seed| ValidBatch::trusted(&plain(seed, 1)).unwrap();
    let append = |seed| {
        let append = Append {
            batch: batch(seed),
            leader_epoch: LeaderEpoch(0),
            origin: Origin::Coordinator,
            now: UnixMillis(1),
        };
        rig.log.append(&append).unwrap().at
    };
    let AppendedAt::End(first) = append(1) else { panic!("appended now") };
    append(2);
    assert!(rig.log.advance_high_watermark(first).is_some());
    assert_eq!(rig.log.advance_high_watermark(first), None, "it does not move twice");
    let bytes = |limit| {
        rig.log
            .read(Offset(0), 10_000, true, limit, Residency::Cached)
            .unwrap()
            .unwrap()
            .records
            .len()
    };
    assert_eq!(bytes(ReadLimit::HighWatermark), plain(1, 1).len());
    assert_eq!(bytes(ReadLimit::End), 2 * plain(1, 1).len());
    let committed =
        rig.log.read(Offset(1), 10_000, true, ReadLimit::HighWatermark, Residency::Cached);
    assert!(committed.unwrap().unwrap().records.is_empty(), "no error above the high watermark");
}

#[test]
fn replicated_batches_keep_their_header() {
    let rig = Rig::new();
    let mut builder = BatchBuilder::new();
    builder.base_offset(Offset(40)).leader_epoch(LeaderEpoch(7)).push(
        UnixMillis(5),
        None,
        Some(b"v"),
    );
    let bytes = builder.build();
    let replicate = || {
        let batch = ValidBatch::trusted(&bytes).unwrap();
        let origin = Origin::Replication;
        rig.log.append(&Append { batch, leader_epoch: LeaderEpoch(9), origin, now: UnixMillis(1) })
    };
    replicate().unwrap();
    let read =
        rig.log.read(Offset(40), 1, true, ReadLimit::End, Residency::Cached).unwrap().unwrap();
    assert_eq!(read.records, bytes);
    assert_eq!(rig.log.latest_epoch(), Some(LeaderEpoch(7)));
    assert!(matches!(
        replicate(),
        Err(AppendError::NotAtEnd { found: Offset(40), end: Offset(41) })
    ));
}

#[test]
fn segments_roll_by_age_of_their_records() {
    let config = LogConfig { segment_age_max: Duration::from_millis(100), ..config() };
    let rig = Rig::on(Rig::new().disk, config);
    for (timestamp, segments) in [(1_000, 1), (1_100, 1), (1_101, 2), (1_150, 2), (5_000, 3)] {
        let mut builder = BatchBuilder::new();
        builder.push(UnixMillis(timestamp), None, Some(b"v"));
        rig.append(builder.build()).unwrap();
        assert_eq!(rig.segment_files().len(), segments, "at {timestamp}");
    }
}

#[test]
fn log_append_time_is_stamped_and_told() {
    let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..config() };
    let rig = Rig::on(Rig::new().disk, config);
    let appended = rig.append(of_producer(1, 0, 0)).unwrap();
    assert_eq!(appended.log_append_time, Some(UnixMillis(1_000_000)));
    let header = read_all(&rig.log)[0];
    assert_eq!(
        (header.timestamp_type(), header.max_timestamp),
        (TimestampType::LogAppendTime, UnixMillis(1_000_000))
    );
    let again = rig.append(of_producer(1, 0, 0)).unwrap();
    assert_eq!(
        (again.at, again.log_append_time),
        (AppendedAt::Before, Some(UnixMillis(1_000_000)))
    );
}

#[test]
fn a_clean_reopening_keeps_everything() {
    let rig = Rig::new();
    rig.append_some(40);
    rig.append(of_producer(5, 1, 0)).unwrap();
    let (before, producers, end) = (read_all(&rig.log), rig.log.producers(), rig.log.ends().end);
    assert_eq!(rig.log.close().unwrap(), end);
    assert!(matches!(rig.append(plain(0, 1)), Err(AppendError::Closed)));
    let rig = rig.reopen(true, end);
    assert_eq!(read_all(&rig.log), before);
    assert_eq!(rig.log.producers(), producers);
    rig.append_some(3);
    assert_eq!(read_all(&rig.log).len(), before.len() + 3);
}

#[test]
fn a_log_that_was_never_written_is_closed_without_a_sync() {
    let faulty = FaultyDisk::new(Rig::new().disk);
    let rig = Rig::on(Arc::new(faulty.clone()), config());
    faulty.inject(Fault::Sync(String::new()));
    assert_eq!(rig.log.close().unwrap(), Offset::ZERO);
    faulty.clear();
    let rig = rig.reopen(true, Offset::ZERO);
    rig.append_some(3);
    assert_eq!(read_all(&rig.log).len(), 3);
}

#[test]
fn a_log_that_was_never_written_is_made_anew_after_a_power_cut() {
    for seed in 0..100 {
        let disk = MemoryDisk::with_power_model();
        let rig = Rig::on(Arc::new(disk.clone()), config());
        rig.log.close().unwrap();
        let left = disk.power_cut(&Rng::from_seed(seed));
        let rig = Rig { disk: Arc::new(left), ..rig }.reopen(true, Offset::ZERO);
        rig.append_some(3);
        assert_eq!(read_all(&rig.log).len(), 3);
    }
}

#[test]
fn five_unanswered_batches_are_recognised_after_a_clean_stop() {
    let rig = Rig::new();
    rig.append_some(5);
    let sent: Vec<_> = (0..7)
        .map(|sequence| rig.append(of_producer(1, 0, sequence)).unwrap().base_offset)
        .collect();
    rig.log.close().unwrap();
    let end = rig.log.ends().end;
    let rig = rig.reopen(true, end);
    for sequence in 2..7 {
        let again = rig.append(of_producer(1, 0, sequence)).unwrap();
        assert_eq!(
            (again.at, again.base_offset),
            (AppendedAt::Before, sent[sequence as usize]),
            "{sequence}"
        );
    }
    assert!(matches!(
        rig.append(of_producer(1, 0, 1)),
        Err(AppendError::OutOfOrderSequence { .. })
    ));
    assert_eq!(rig.append(of_producer(1, 0, 7)).unwrap().base_offset, end);
}

#[test]
fn producers_are_known_after_an_unclean_stop() {
    let rig = Rig::new();
    let sent: Vec<_> = (0..30)
        .map(|sequence| rig.append(of_producer(1, 0, sequence)).unwrap().base_offset)
        .collect();
    let end = rig.log.ends().end;
    for damage in [false, true] {
        let disk = Arc::clone(&rig.disk);
        if damage {
            for entry in disk.list(Path::new(DIRECTORY)).unwrap() {
                if entry.name.ends_with(".snapshot") {
                    disk.open(&Path::new(DIRECTORY).join(entry.name), OpenMode::Truncate).unwrap();
                }
            }
        }
        let reopened = Rig {
            log: open(&disk, start(&rig.config, false)).unwrap().log,
            disk,
            config: config(),
        };
        for sequence in 25..30 {
            let again = reopened.append(of_producer(1, 0, sequence)).unwrap();
            assert_eq!(
                (again.at, again.base_offset),
                (AppendedAt::Before, sent[sequence as usize])
            );
        }
        assert_eq!(reopened.log.ends().end, end);
    }
}

#[test]
fn a_producer_is_known_by_a_batch_below_the_start_of_the_log() {
    let rig = Rig::new();
    rig.append(of_producer(1, 0, 0)).unwrap();
    while rig.segment_files().len() < 2 {
        rig.append(plain(1, 1)).unwrap();
    }
    // The snapshot between the segments knows the first batch only.
    rig.append(of_producer(1, 0, 1)).unwrap();
    let log_start = rig.log.ends().end;
    rig.append(plain(2, 1)).unwrap();
    rig.begin_at(log_start);
    let crashed = LogStart { log_start, ..start(&rig.config, false) };
    let rig = Rig { log: open(&rig.disk, crashed).unwrap().log, ..rig };
    assert_eq!(rig.log.producers()[0].last_sequence, 1);
    rig.append(of_producer(1, 0, 2)).unwrap();
}

#[test]
fn a_segment_cut_off_anywhere_keeps_its_whole_batches() {
    let rig = Rig::on(Rig::new().disk, LogConfig { segment_bytes: 100_000, ..config() });
    rig.append_some(12);
    let path = &rig.segment_files()[0];
    let whole = rig.disk.read_small(path).unwrap().unwrap();
    let headers = read_all(&rig.log);
    let mut ends = vec![0];
    for header in &headers {
        ends.push(ends.last().unwrap() + header.size_bytes() as usize);
    }
    for cut in 0..=whole.len() {
        rig.disk.open(path, OpenMode::Truncate).unwrap().write_at(0, &[&whole[..cut]]).unwrap();
        let progress = RecoveryProgress::default();
        let (start, rng) = (start(&rig.config, false), Rng::from_seed(1));
        let opened = Opened::open_telling(&rig.disk, Path::new(ROOT), start, &rng, &progress);
        let opened = opened.unwrap();
        let kept = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(opened.cut_bytes, (cut - ends[kept]) as u64, "cut at {cut}");
        assert_eq!(opened.scanned_bytes, ends[kept] as u64, "cut at {cut}");
        assert_eq!(progress.scanned_bytes(), opened.scanned_bytes, "cut at {cut}");
        assert_eq!(read_all(&opened.log), headers[..kept], "cut at {cut}");
        let rig = Rig { disk: Arc::clone(&rig.disk), config: rig.config.clone(), log: opened.log };
        let appended = rig.append(plain(77, 1)).unwrap();
        assert_eq!(
            appended.base_offset,
            headers[..kept].last().map_or(Offset::ZERO, BatchHeader::next_offset)
        );
    }
}

#[test]
fn a_flipped_bit_after_the_recovery_point_is_cut_off_and_before_it_is_an_error() {
    let rig = Rig::new();
    rig.append_some(40);
    let files = rig.segment_files();
    let path = &files[1];
    let whole = rig.disk.read_small(path).unwrap().unwrap();
    let base = Offset(path.file_stem().unwrap().to_str().unwrap().parse().unwrap());
    let headers = read_all(&rig.log);
    let second = headers.iter().filter(|header| header.base_offset >= base).nth(1).unwrap();
    let at = headers.iter().find(|header| header.base_offset == base).unwrap().size_bytes();
    for byte in at..at + second.size_bytes() {
        let file = rig.disk.open(path, OpenMode::Write).unwrap();
        let original = whole[byte as usize];
        file.write_at(u64::from(byte), &[&[original ^ 0x10]]).unwrap();
        let durable =
            LogStart { recovery_point: second.next_offset(), ..start(&rig.config, false) };
        let covered_by_checksum = byte - at >= BatchHeader::CRC_START;
        match open(&rig.disk, durable) {
            Err(OpenError::Damaged { path: named, position, .. }) => {
                assert_eq!((&named, position), (path, u64::from(at)));
            }
            other => {
                assert!(!covered_by_checksum && byte - at < 16, "byte {}: {other:?}", byte - at)
            }
        }
        file.write_at(u64::from(byte), &[&[original]]).unwrap();
    }
    let file = rig.disk.open(path, OpenMode::Write).unwrap();
    file.write_at(u64::from(at) + 70, &[&[whole[at as usize + 70] ^ 1]]).unwrap();
    let recovery_point = base;
    let opened = open(&rig.disk, LogStart { recovery_point, ..start(&rig.config, false) }).unwrap();
    let kept = headers.iter().filter(|header| header.base_offset < second.base_offset).count();
    assert_eq!(read_all(&opened.log), headers[..kept]);
    assert_eq!(rig.segment_files().len(), 2, "what followed the tear is gone");
}

#[test]
fn what_was_cut_off_does_not_come_back_with_the_next_power_cut() {
    // All batches have one size, so that old ones would fit behind new ones.
    let batch = |fill: u8| {
        let mut builder = BatchBuilder::new();
        builder.push(UnixMillis(1), None, Some(&[fill; 300]));
        builder.build()
    };
    let config = LogConfig { segment_bytes: 100_000, ..config() };
    for seed in 0..1_000 {
        let memory = MemoryDisk::with_power_model();
        memory.create_dir_all(Path::new(ROOT)).unwrap();
        let rig = Rig::on(Arc::new(memory.clone()), config.clone());
        memory.sync_all();
        for fill in 0..8 {
            rig.append(batch(fill)).unwrap();
        }
        let memory = memory.power_cut(&Rng::from_seed(seed));
        let rig = Rig { disk: Arc::new(memory.clone()), ..rig }.reopen(false, Offset::ZERO);
        for _ in 0..seed % 4 {
            rig.append(batch(99)).unwrap();
        }
        let appended = read_all(&rig.log);
        let memory = memory.power_cut(&Rng::from_seed(seed + 1_000));
        let rig = Rig { disk: Arc::new(memory), ..rig }.reopen(false, Offset::ZERO);
        let found = read_all(&rig.log);
        assert_eq!(found, appended[..found.len().min(appended.len())], "seed {seed}");
    }
}

#[test]
fn leader_epochs_that_fall_are_not_recovered() {
    let rig = Rig::on(Rig::new().disk, LogConfig { segment_bytes: 100_000, ..config() });
    rig.append_in(LeaderEpoch(3), plain(1, 1)).unwrap();
    let path = &rig.segment_files()[0];
    let mut builder = BatchBuilder::new();
    builder.base_offset(Offset(1)).leader_epoch(LeaderEpoch(2)).push(
        UnixMillis(5),
        None,
        Some(b"stale"),
    );
    let file = rig.disk.open(path, OpenMode::Write).unwrap();
    file.write_at(file.len().unwrap(), &[&builder.build()]).unwrap();
    let rig = rig.reopen(false, Offset::ZERO);
    assert_eq!(offsets(&rig.log), [0]);
    assert_eq!(rig.log.latest_epoch(), Some(LeaderEpoch(3)));
}

#[test]
fn leader_epochs_that_fall_from_segment_to_segment_are_not_recovered() {
    for recovery_point in [0, 1] {
        let rig = Rig::new();
        while rig.segment_files().len() < 2 {
            rig.append_in(LeaderEpoch(3), plain(1, 1)).unwrap();
        }
        let path = &rig.segment_files()[1];
        let base = Offset(path.file_stem().unwrap().to_str().unwrap().parse().unwrap());
        let mut builder = BatchBuilder::new();
        builder.base_offset(base).leader_epoch(LeaderEpoch(2));
        builder.push(UnixMillis(5), None, Some(b"stale"));
        let file = rig.disk.open(path, OpenMode::Truncate).unwrap();
        file.write_at(0, &[&builder.build()]).unwrap();
        let rig = rig.reopen(false, Offset(recovery_point * base.0));
        assert_eq!(rig.log.ends().end, base);
        assert_eq!(rig.log.latest_epoch(), Some(LeaderEpoch(3)));
    }
}

#[test]
fn leader_epochs_are_those_of_the_batches_that_are_recovered() {
    let rig = Rig::on(Rig::new().disk, LogConfig { segment_bytes: 100_000, ..config() });
    for leader_epoch in [0, 0, 2, 5] {
        rig.append_in(LeaderEpoch(leader_epoch), plain(1, 1)).unwrap();
    }
    // No checksum covers the epoch of a batch. This one is above the next batch's, which is cut off.
    let second = u64::from(read_all(&rig.log)[0].size_bytes());
    let file = rig.disk.open(&rig.segment_files()[0], OpenMode::Write).unwrap();
    file.write_at(second + 12, &[&3_i32.to_be_bytes()]).unwrap();
    let mut rig = rig;
    for _ in 0..2 {
        rig = rig.reopen(false, Offset::ZERO);
        assert_eq!(offsets(&rig.log), [0, 1]);
        let epochs = [0, 1].map(|offset| rig.log.epoch_of(Offset(offset)));
        assert_eq!(epochs, [Some(LeaderEpoch(0)), Some(LeaderEpoch(3))]);
        assert_eq!(rig.log.latest_epoch(), Some(LeaderEpoch(3)));
    }
}

#[test]
fn leader_epochs_of_batches_that_are_gone_do_not_count() {
    let mut rig = Rig::new();
    while rig.segment_files().len() < 2 {
        rig.append_in(LeaderEpoch(3), plain(1, 1)).unwrap();
    }
    let files = rig.segment_files();
    let file = rig.disk.open(&files[1], OpenMode::Write).unwrap();
    file.write_at(12, &[&2_i32.to_be_bytes()]).unwrap();
    rig.disk.remove_file(&files[0]).unwrap();
    for _ in 0..2 {
        rig = rig.reopen(false, Offset::ZERO);
        assert_eq!(rig.log.latest_epoch(), Some(LeaderEpoch(2)));
    }
}

#[test]
fn an_abandoned_log_touches_no_file_of_another_that_has_its_directory() {
    let rig = Rig::new();
    rig.append_some(40);
    rig.log.abandon();
    rig.disk.rename(Path::new(DIRECTORY), Path::new("data/t-0.1-delete")).unwrap();
    let start =
        LogStart { topic_id: TopicId(uuid::Uuid::from_u128(2)), ..start(&rig.config, true) };
    let log = open(&rig.disk, start).unwrap().log;
    let next = Rig { disk: Arc::clone(&rig.disk), config: rig.config, log };
    next.append_in(LeaderEpoch(7), plain(1, 1)).unwrap();
    next.log.flush(true).unwrap();
    let before = contents(&*next.disk);
    assert!(rig.log.advance_log_start(Offset(30)).unwrap().is_empty());
    assert_eq!(rig.log.flush(true).unwrap(), Offset::ZERO);
    assert_eq!(contents(&*next.disk), before);
}

#[test]
fn a_flush_does_not_fail_because_its_log_is_abandoned() {
    for round in 0..200 {
        let rig = Rig::new();
        rig.append_some(20);
        let (log, gone) = (&rig.log, Path::new("data/t-0.1-delete"));
        std::thread::scope(|scope| {
            let flush = scope.spawn(|| log.flush(true));
            log.abandon();
            rig.disk.rename(Path::new(DIRECTORY), gone).unwrap();
            let flushed = flush.join().unwrap();
            assert!(flushed.is_ok(), "round {round}: {flushed:?}");
        });
        assert!(!rig.disk.exists(Path::new(DIRECTORY)).unwrap());
    }
}

#[test]
fn a_batch_that_ends_before_it_begins_is_damage() {
    let rig = Rig::new();
    rig.append_some(20);
    let path = &rig.segment_files()[0];
    let file = rig.disk.open(path, OpenMode::Write).unwrap();
    file.write_at(23, &[&(-5_i32).to_be_bytes()]).unwrap();
    rig.disk.remove_file(&path.with_extension("index")).unwrap();
    match open(&rig.disk, start(&rig.config, true)) {
        Err(OpenError::Damaged { path: named, position: 0, .. }) => assert_eq!(&named, path),
        other => panic!("{:?}", other.map(|opened| opened.log.ends())),
    }
}

#[test]
fn a_wrong_offset_hides_no_leader_epoch() {
    for (clean, wrong) in [(true, None), (false, None), (true, Some(i64::MAX)), (true, Some(-1))] {
        let rig = Rig::new();
        rig.append_in(LeaderEpoch(0), plain(1, 1)).unwrap();
        let second = u64::from(read_all(&rig.log)[0].size_bytes());
        while rig.segment_files().len() < 2 {
            rig.append_in(LeaderEpoch(3), plain(1, 1)).unwrap();
        }
        let end = rig.log.ends().end;
        let file = rig.disk.open(&rig.segment_files()[0], OpenMode::Write).unwrap();
        file.write_at(second, &[&wrong.unwrap_or(end.0).to_be_bytes()]).unwrap();
        rig.disk.remove_file(&Path::new(DIRECTORY).join("leader-epoch-checkpoint")).unwrap();
        let rig = rig.reopen(clean, end);
        let epochs = [Offset::ZERO, Offset(end.0 - 1)].map(|offset| rig.log.epoch_of(offset));
        assert_eq!(
            epochs,
            [Some(LeaderEpoch(0)), Some(LeaderEpoch(3))],
            "clean: {clean}, {wrong:?}"
        );
    }
}

#[test]
fn a_missing_index_is_built_anew() {
    let rig = Rig::new();
    rig.append_some(40);
    let end = rig.log.close().unwrap();
    let headers = read_all(&rig.log);
    for entry in rig.disk.list(Path::new(DIRECTORY)).unwrap() {
        if entry.name.ends_with("index") {
            rig.disk.remove_file(&Path::new(DIRECTORY).join(entry.name)).unwrap();
        }
    }
    let rig = rig.reopen(true, end);
    assert_eq!(read_all(&rig.log), headers);
}

#[test]
fn a_batch_that_ends_before_it_begins_is_damage_where_no_checksum_is_looked_at() {
    let rig = Rig::new();
    rig.append_some(40);
    let end = rig.log.close().unwrap();
    let path = rig.segment_files().remove(0);
    let second = read_all(&rig.log)[0].size_bytes();
    let last_offset_delta = u64::from(second) + 23;
    let file = rig.disk.open(&path, OpenMode::Write).unwrap();
    file.write_at(last_offset_delta, &[&(-5_i32).to_be_bytes()]).unwrap();
    rig.disk.remove_file(&path.with_extension("index")).unwrap();
    match open(&rig.disk, LogStart { recovery_point: end, ..start(&rig.config, true) }) {
        Err(OpenError::Damaged { path: named, position, .. }) => {
            assert_eq!((named, position), (path, u64::from(second)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_damaged_index_keeps_no_log_from_being_opened_and_appended_to() {
    let rig = Rig::new();
    rig.append_some(40);
    let end = rig.log.close().unwrap();
    let files = rig.disk.list(Path::new(DIRECTORY)).unwrap();
    let indexes = files.iter().filter(|entry| entry.name.ends_with("index"));
    let paths = indexes.map(|entry| Path::new(DIRECTORY).join(&entry.name));
    let length = |path: &Path| rig.disk.open(path, OpenMode::Read).unwrap().len().unwrap();
    for (path, bit) in
        paths.flat_map(|path| (0..8 * length(&path)).map(move |bit| (path.clone(), bit)))
    {
        for clean in [true, false] {
            let disk: Arc<dyn Disk> = Arc::new(copy(&*rig.disk));
            let file = disk.open(&path, OpenMode::Write).unwrap();
            let mut byte = [0];
            file.read_into(bit / 8, &mut byte, Residency::Any).unwrap();
            file.write_at(bit / 8, &[&[byte[0] ^ 1 << (bit % 8)]]).unwrap();
            let opened = open(&disk, LogStart { recovery_point: end, ..start(&rig.config, clean) });
            let log = opened.unwrap_or_else(|error| panic!("{path:?}, bit {bit}: {error}")).log;
            assert_eq!(log.ends().end, end, "{path:?}, bit {bit}");
            Rig { disk, config: config(), log }.append_some(20);
        }
    }
}

/// Another disk with the same partition.
fn copy(disk: &dyn Disk) -> MemoryDisk {
    let copy = MemoryDisk::new();
    copy.create_dir_all(Path::new(DIRECTORY)).unwrap();
    for (path, bytes) in contents(disk) {
        copy.open(&path, OpenMode::CreateNew).unwrap().write_at(0, &[&bytes]).unwrap();
    }
    copy
}

/// The files of the log's directory.
pub(super) fn contents(disk: &dyn Disk) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(DIRECTORY);
    let paths = disk.list(directory).unwrap().into_iter().map(|entry| directory.join(entry.name));
    paths.map(|path| (path.clone(), disk.read_small(&path).unwrap().unwrap().to_vec())).collect()
}

#[test]
fn another_topic_of_the_same_name_is_refused() {
    let rig = Rig::new();
    let other = TopicId(uuid::Uuid::from_u128(2));
    let error =
        open(&rig.disk, LogStart { topic_id: other, ..start(&rig.config, true) }).unwrap_err();
    assert!(matches!(error, OpenError::OtherTopic { expected, .. } if expected == other));
}

#[test]
fn a_full_disk_refuses_the_batch_and_takes_the_next_one_when_there_is_room() {
    let faulty = FaultyDisk::new(Rig::new().disk);
    let rig = Rig::on(Arc::new(faulty.clone()), LogConfig { segment_bytes: 100_000, ..config() });
    rig.append_some(5);
    let headers = read_all(&rig.log);
    for room in [0, 1, 60, 61, 70] {
        faulty.inject(Fault::NoSpaceAfter(room));
        assert!(
            matches!(rig.append(plain(9, 1)), Err(AppendError::NoSpace { .. })),
            "{room} bytes left"
        );
        assert_eq!(read_all(&rig.log), headers, "earlier data can be read");
        faulty.clear();
    }
    rig.append_some(2);
    assert_eq!(read_all(&rig.log).len(), 7);
    let rig = rig.reopen(false, Offset::ZERO);
    assert_eq!(read_all(&rig.log).len(), 7);
}

#[test]
fn snapshots_of_stops_do_not_pile_up() {
    let mut rig = Rig::new();
    for sequence in 0..30 {
        rig.append(of_producer(1, 0, sequence)).unwrap();
        rig.log.close().unwrap();
        let end = rig.log.ends().end;
        rig = rig.reopen(true, end);
    }
    let offsets = |suffix: &str| -> Vec<i64> {
        let names = rig.disk.list(Path::new(DIRECTORY)).unwrap().into_iter();
        let names = names.filter_map(|entry| Some(entry.name.strip_suffix(suffix)?.to_owned()));
        names.map(|digits| digits.parse().unwrap()).collect()
    };
    let mut expected = offsets(".log");
    assert!(expected.len() > 2);
    // The first segment begins without producers. The last stop's snapshot is the newest one of all.
    expected.remove(0);
    expected.push(30);
    assert_eq!(offsets(".snapshot"), expected);
}

#[test]
fn a_disk_that_fails_ends_the_log() {
    let faulty = FaultyDisk::new(Rig::new().disk);
    let rig = Rig::on(Arc::new(faulty.clone()), config());
    rig.append_some(2);
    faulty.inject(Fault::Write(".log".into()));
    assert!(matches!(rig.append(plain(9, 1)), Err(AppendError::Io { .. })));
    faulty.clear();
    assert!(
        matches!(rig.append(plain(9, 1)), Err(AppendError::Closed)),
        "it is not tried again in hope"
    );
    assert_eq!(read_all(&rig.log).len(), 2);
    let rig = rig.reopen(false, Offset::ZERO);
    faulty.inject(Fault::Sync(String::new()));
    assert!(rig.log.flush(true).is_err());
    faulty.clear();
    assert!(matches!(rig.append(plain(9, 1)), Err(AppendError::Closed)));
}

#[test]
fn records_below_the_start_are_gone_and_their_segments_too() {
    let rig = Rig::new();
    rig.append_some(60);
    let end = rig.log.ends().end;
    let before = rig.segment_files().len();
    let removed = rig.begin_at(Offset(end.0 / 2));
    assert!(removed.iter().all(|path| path.to_str().unwrap().ends_with(".deleted")));
    assert!(rig.segment_files().len() < before);
    let gone = rig.log.read(Offset(0), 100, true, ReadLimit::End, Residency::Cached);
    assert!(matches!(gone, Err(ReadError::OffsetOutOfRange { .. })));
    let first = rig
        .log
        .read(Offset(end.0 / 2), 1, true, ReadLimit::End, Residency::Cached)
        .unwrap()
        .unwrap();
    assert!(BatchHeader::parse(&first.records).unwrap().last_offset() >= Offset(end.0 / 2));
    assert!(rig.begin_at(Offset(3)).is_empty(), "the start never goes back");
    assert_eq!(rig.log.ends().log_start, Offset(end.0 / 2));
    rig.begin_at(end);
    assert_eq!(rig.append(plain(1, 1)).unwrap().base_offset, end);
}

#[test]
fn a_log_whose_start_lies_beyond_its_end_begins_anew() {
    let rig = Rig::new();
    rig.append_some(40);
    let beyond = LogStart { log_start: Offset(1_000), ..start(&rig.config, false) };
    let opened = open(&rig.disk, beyond).unwrap();
    let ends = opened.log.ends();
    assert_eq!((ends.log_start, ends.end), (Offset(1_000), Offset(1_000)));
    assert_eq!(rig.segment_files().len(), 1);
}

#[test]
fn epochs_tell_where_their_records_end() {
    let rig = Rig::new();
    for epoch in [1, 1, 4] {
        rig.append_in(LeaderEpoch(epoch), plain(1, 2)).unwrap();
    }
    let end =
        |log: &Log, epoch| log.epoch_end(LeaderEpoch(epoch)).map(|end| (end.epoch.0, end.end.0));
    let check = |log: &Log| {
        assert_eq!(end(log, 1), Some((1, 4)));
        assert_eq!(end(log, 3), Some((1, 4)));
        assert_eq!(end(log, 4), Some((4, 6)));
        assert_eq!(end(log, 5), None);
        assert_eq!(log.earliest_epoch(), Some(LeaderEpoch(1)));
    };
    check(&rig.log);
    rig.disk.remove_file(Path::new("data/t-0/leader-epoch-checkpoint")).unwrap();
    let rig = rig.reopen(true, Offset::ZERO);
    check(&rig.log);
}

#[test]
fn an_epoch_that_no_batch_has_hides_none_after_an_unclean_stop() {
    let rig = Rig::new();
    for epoch in [1, 4] {
        rig.append_in(LeaderEpoch(epoch), plain(1, 2)).unwrap();
    }
    let file = b"0\n2\n1 0\n9 100\n";
    rig.disk.replace_small(Path::new("data/t-0/leader-epoch-checkpoint"), file).unwrap();
    let rig = rig.reopen(false, Offset::ZERO);
    assert_eq!(rig.log.latest_epoch(), Some(LeaderEpoch(4)));
    assert_eq!(rig.log.epoch_of(Offset(1)), Some(LeaderEpoch(1)));
}

#[test]
fn times_lead_to_records() {
    let rig = Rig::new();
    // Timestamps that mostly rise, in batches of one to three records, in every codec.
    let mut records = Vec::new();
    for i in 0..60_i64 {
        let mut builder = BatchBuilder::new();
        builder.compression(record::Compression::ALL[i as usize % 5]);
        for j in 0..=i % 3 {
            let timestamp = 1_000 + i * 10 - (i % 4) * 25 + j;
            builder.push(UnixMillis(timestamp), None, Some(b"some value"));
            records.push(timestamp);
        }
        rig.append(builder.build()).unwrap();
    }
    let newest = *records.iter().max().unwrap();
    let newest_at = records.iter().position(|timestamp| *timestamp == newest).unwrap();
    let rig = rig.reopen(false, Offset::ZERO);
    for wanted in 900..newest + 5 {
        let found = rig.log.find_timestamp(UnixMillis(wanted)).unwrap();
        let first = records.iter().position(|timestamp| *timestamp >= wanted);
        let found = found.map(|found| (found.offset.0 as usize, found.timestamp.0));
        assert_eq!(found, first.map(|at| (at, records[at])), "at {wanted}");
    }
    let max = rig.log.find_max_timestamp().unwrap().unwrap();
    assert_eq!((max.offset.0 as usize, max.timestamp.0), (newest_at, newest));
    let start = Offset(newest_at as i64 / 2);
    rig.begin_at(start);
    assert_eq!(rig.log.find_timestamp(UnixMillis(0)).unwrap().unwrap().offset, start);
    assert_eq!(Rig::new().log.find_max_timestamp().unwrap(), None);
}

#[test]
fn the_time_at_an_offset_is_that_of_its_batch() {
    let rig = Rig::new();
    assert_eq!(rig.log.time_at(Offset::ZERO).unwrap(), None, "there is nothing");
    // Two records each, over several segments.
    let mut times = Vec::new();
    while rig.segment_files().len() < 3 {
        let time = UnixMillis(5_000 - times.len() as i64 * 10);
        let mut builder = BatchBuilder::new();
        builder.push(time, None, Some(b"some value"));
        builder.push(time.plus_millis(7), None, Some(b"some value"));
        rig.append(builder.build()).unwrap();
        times.push(time);
    }
    let end = rig.log.ends().end;
    for offset in 0..end.0 {
        let expected = times[offset as usize / 2];
        assert_eq!(rig.log.time_at(Offset(offset)).unwrap(), Some(expected), "at {offset}");
    }
    assert_eq!(rig.log.time_at(end).unwrap(), None);
    // What is gone is not left to read, and what is not committed is not there yet.
    rig.begin_at(Offset(5));
    assert_eq!(rig.log.time_at(Offset::ZERO).unwrap(), Some(times[2]));
    let batch = plain(1, 1);
    let (batch, now) = (ValidBatch::trusted(&batch).unwrap(), UnixMillis(1_000_000));
    let (leader_epoch, origin) = (LeaderEpoch(0), Origin::Client);
    rig.log.append(&Append { batch, leader_epoch, origin, now }).unwrap();
    assert_eq!(rig.log.time_at(end).unwrap(), None);
}

#[test]
fn a_late_record_below_the_start_of_the_log_hides_no_later_one() {
    let rig = Rig::new();
    let append = |timestamp| {
        let mut builder = BatchBuilder::new();
        builder.push(UnixMillis(timestamp), None, Some(b"some value"));
        rig.append(builder.build()).unwrap().base_offset
    };
    append(5_000);
    let log_start = append(100);
    while rig.segment_files().len() < 2 {
        append(100);
    }
    let wanted = append(6_000);
    rig.begin_at(log_start);
    let found = rig.log.find_timestamp(UnixMillis(4_000)).unwrap();
    assert_eq!(found.map(|found| found.offset), Some(wanted));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever a power cut takes, what was flushed is there, and what is there is a beginning of what was appended.
    #[test]
    fn a_power_cut_leaves_a_beginning_that_holds_all_that_was_flushed(
        seed in 0_u64..1_000_000,
        steps in proptest::collection::vec(0_u8..10, 1..60),
        preallocates in proptest::bool::ANY,
    ) {
        let config = LogConfig { preallocates, ..config() };
        let memory = MemoryDisk::with_power_model();
        memory.create_dir_all(Path::new(ROOT)).unwrap();
        memory.sync_all();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let rig = Rig::on(disk, config.clone());
        // The directory of a partition is synced with the metadata that speaks of it.
        memory.sync_dir(Path::new(ROOT)).unwrap();
        let mut flushed = Offset::ZERO;
        let mut sequence = 0;
        for step in steps {
            match step {
                0 => flushed = rig.log.flush(true).unwrap(),
                1 => flushed = rig.log.flush(false).unwrap(),
                2 | 3 => {
                    rig.append(of_producer(1, 0, sequence)).unwrap();
                    sequence += 1;
                }
                size => drop(rig.append(plain(i64::from(size), 1 + size as usize % 4)).unwrap()),
            }
        }
        let appended = read_all(&rig.log);
        let after: Arc<dyn Disk> = Arc::new(memory.power_cut(&Rng::from_seed(seed)));
        let opened = open(&after, LogStart { recovery_point: flushed, ..start(&config, false) }).unwrap();
        let found = read_all(&opened.log);
        prop_assert!(opened.log.ends().end >= flushed, "{:?} < {flushed}", opened.log.ends());
        prop_assert_eq!(&found[..], &appended[..found.len()]);
        // And it goes on from there.
        let rig = Rig { disk: after, config, log: opened.log };
        let end = rig.log.ends().end;
        prop_assert_eq!(rig.append(plain(1, 1)).unwrap().base_offset, end);
    }
}
