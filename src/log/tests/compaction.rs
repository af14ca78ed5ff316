//! Compaction: the latest record of each key stays where it was, and what has to go goes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::super::scan::Step;
use super::*;
use crate::record::{Compression, EndMarker, TransactionOutcome, visit_records};

/// Offset, key and value of a record.
pub(super) type Seen = (i64, String, Option<String>);

pub(super) fn compacting() -> LogConfig {
    LogConfig {
        compacts: true,
        deletes: false,
        tombstone_retention: Duration::from_millis(100),
        ..config()
    }
}

pub(super) fn buffers(keys: u64) -> CleanBuffers {
    CleanBuffers { dedupe_bytes: keys * 24, load_factor: 0.9, io_bytes: 600 }
}

/// A batch of records with a key; those without value are tombstones.
pub(super) fn keyed(codec: Compression, timestamp: i64, records: &[(u8, Option<i64>)]) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.compression(codec);
    fill(&mut builder, timestamp, records);
    builder.build()
}

fn fill(builder: &mut BatchBuilder, timestamp: i64, records: &[(u8, Option<i64>)]) {
    for (key, value) in records {
        let value = value.map(|value| format!("{value:040}"));
        let value = value.as_ref().map(String::as_bytes);
        builder.push(UnixMillis(timestamp), Some(format!("key {key}").as_bytes()), value);
    }
}

/// All records that can be read, through the log as consumers do.
pub(super) fn seen(log: &Log) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut from = log.ends().log_start;
    while from < log.ends().high_watermark {
        let read = log.read(from, 300, true, ReadLimit::HighWatermark, Residency::Any);
        let read = read.unwrap().unwrap();
        let before = from;
        for batch in scan(&read.records).map_while(Result::ok) {
            batch.header.check_crc(batch.bytes).unwrap();
            if !batch.header.is_control() {
                see(&mut seen, batch.bytes);
            }
            from = batch.header.next_offset();
        }
        assert!(from > before, "a read at {before} gives at least one whole batch");
    }
    seen
}

fn see(seen: &mut Vec<Seen>, batch: &[u8]) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    visit_records(batch, |record| {
        let key = record.key.map(text).unwrap_or_default();
        seen.push((record.offset.0, key, record.value.map(text)));
        ControlFlow::Continue(())
    })
    .unwrap();
}

/// The latest record of each key.
pub(super) fn latest(records: &[Seen]) -> BTreeMap<String, (i64, Option<String>)> {
    let latest = records.iter().map(|(at, key, value)| (key.clone(), (*at, value.clone())));
    latest.collect()
}

impl Rig {
    /// Compacts the log from where it was compacted to; gives how far, and the files that are marked for removal.
    pub(super) fn clean(&self, from: Offset, now: i64, keys: u64) -> (Offset, Vec<PathBuf>) {
        let cleaned = try_clean(&self.log, from, now, keys);
        cleaned.unwrap_or_else(|error| panic!("{error:?}"))
    }
}

pub(super) fn try_clean(
    log: &Log,
    from: Offset,
    now: i64,
    keys: u64,
) -> Result<(Offset, Vec<PathBuf>), CleanError> {
    let now = UnixMillis(now);
    let mut pass = CleanPass::new(log, &log.cleanable(Some(from), now)?, buffers(keys), now);
    let mut files = Vec::new();
    loop {
        match pass.step(log)? {
            CleanStep::Moved(_) => {}
            CleanStep::Swapped(marked) => files.extend(marked),
            CleanStep::Done(end) => return Ok((end, files)),
        }
    }
}

fn rig() -> Rig {
    Rig::on(Rig::new().disk, compacting())
}

/// Begins a new segment, so that all before can be compacted.
fn roll(rig: &Rig) {
    let segments = rig.segment_files().len();
    while rig.segment_files().len() == segments {
        rig.append(keyed(Compression::None, 1_000, &[(99, Some(0)), (98, Some(0))])).unwrap();
    }
}

fn header_at(log: &Log, offset: i64) -> BatchHeader {
    let read = log.read(Offset(offset), 1, true, ReadLimit::End, Residency::Any).unwrap().unwrap();
    BatchHeader::parse(&read.records).unwrap()
}

#[test]
fn of_each_key_the_latest_record_stays_at_its_offset() {
    for codec in Compression::ALL {
        let rig = rig();
        for i in 0..60 {
            let (key, value) = ((i % 5) as u8, Some(i));
            rig.append(keyed(codec, 1_000, &[(key, value), (key + 10, value)])).unwrap();
        }
        let before = seen(&rig.log);
        let (size, ends, segments) = (rig.log.size_bytes(), rig.log.ends(), rig.segment_files());
        let last = *retention::bases(&rig.log).last().unwrap();
        let (cleaned, files) = rig.clean(Offset::ZERO, 2_000, 1_000);
        assert_eq!(cleaned, Offset(last));
        let after = seen(&rig.log);
        let of_cleaned: Vec<_> = before.iter().filter(|r| r.0 < last).cloned().collect();
        let mut expected: Vec<Seen> = latest(&of_cleaned)
            .into_iter()
            .map(|(key, (at, value))| (at, key, value))
            .chain(before.iter().filter(|r| r.0 >= last).cloned())
            .collect();
        expected.sort();
        assert_eq!(after, expected);
        assert_eq!(rig.log.ends(), ends);
        assert!(rig.log.size_bytes() < size / 2);
        let marked = files.iter().filter(|path| path.to_str().unwrap().ends_with(".log.deleted"));
        assert_eq!(marked.count(), segments.len() - 1);
        assert!(files.iter().all(|path| rig.disk.exists(path).unwrap()));
        // Nothing else is left, and what is there can be opened.
        for clean in [false, true] {
            let opened = open(&rig.disk, start(&rig.config, clean)).unwrap();
            assert_eq!(seen(&opened.log), after, "clean: {clean}");
            assert_eq!(opened.log.ends(), ends);
        }
        // Now that they are small, several segments become one.
        rig.clean(Offset::ZERO, 2_000, 1_000);
        assert!(rig.segment_files().len() < segments.len() / 2);
        assert_eq!(seen(&rig.log), after);
    }
}

#[test]
fn a_pass_over_what_is_compacted_changes_nothing() {
    let rig = rig();
    for i in 0..40 {
        rig.append(keyed(Compression::Lz4, 1_000, &[(i as u8 % 7, Some(i))])).unwrap();
    }
    roll(&rig);
    let (cleaned, _) = rig.clean(Offset::ZERO, 2_000, 1_000);
    let found = rig.log.cleanable(Some(cleaned), UnixMillis(2_000)).unwrap();
    assert_eq!((found.first_dirty, found.dirty_bytes), (cleaned, 0));
    let before = seen(&rig.log);
    rig.clean(cleaned, 2_000, 1_000);
    assert_eq!(seen(&rig.log), before);
}

#[test]
fn a_small_map_takes_several_passes() {
    let rig = rig();
    for i in 0..60 {
        let keys = [(i as u8 % 20, Some(i)), (i as u8 % 20 + 20, Some(i))];
        rig.append(keyed(Compression::Gzip, 1_000, &keys)).unwrap();
    }
    let expected = latest(&seen(&rig.log));
    let last = rig.log.cleanable(None, UnixMillis(2_000)).unwrap().first_uncleanable;
    let (mut cleaned, mut passes) = (Offset::ZERO, 0);
    while cleaned < last {
        let (to, _) = rig.clean(cleaned, 2_000, 8);
        assert!(to > cleaned, "a pass gets on");
        (cleaned, passes) = (to, passes + 1);
        assert_eq!(latest(&seen(&rig.log)), expected);
    }
    assert!(passes > 5, "{passes}");
    let before_last = seen(&rig.log).into_iter().filter(|record| record.0 < last.0);
    let mut keys: Vec<_> = before_last.map(|record| record.1).collect();
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert!(count < keys.len() * 3, "{count} records of {} keys", keys.len());
}

#[test]
fn a_tombstone_stays_for_its_time_after_the_first_pass() {
    let rig = rig();
    rig.append(keyed(Compression::Snappy, 1_000, &[(1, Some(1)), (2, Some(2))])).unwrap();
    rig.append(keyed(Compression::Snappy, 1_000, &[(1, None), (3, Some(3))])).unwrap();
    roll(&rig);
    let of = |rig: &Rig, key: &str| -> Vec<_> {
        seen(&rig.log).into_iter().filter(|record| record.1 == key).collect()
    };
    let tombstone = vec![(2, "key 1".to_owned(), None)];
    rig.clean(Offset::ZERO, 5_000, 1_000);
    assert_eq!(of(&rig, "key 1"), tombstone);
    let header = header_at(&rig.log, 2);
    assert_eq!(header.delete_horizon(), Some(UnixMillis(5_100)));
    assert_eq!(header.max_timestamp, UnixMillis(1_000));
    rig.clean(Offset::ZERO, 5_099, 1_000);
    assert_eq!(of(&rig, "key 1"), tombstone, "the horizon is that of the first pass");
    rig.clean(Offset::ZERO, 5_100, 1_000);
    assert_eq!(of(&rig, "key 1"), []);
    assert_eq!(of(&rig, "key 3").len(), 1);
}

#[test]
fn records_without_key_go() {
    let rig = rig();
    rig.append(of_producer(1, 0, 0)).unwrap();
    roll(&rig);
    rig.clean(Offset::ZERO, 2_000, 1_000);
    assert_ne!(seen(&rig.log)[0].0, 0);
}

#[test]
fn the_last_batch_of_a_producer_stays_without_records() {
    let rig = rig();
    let of_producer = |sequence: i32, value: i64| {
        let mut builder = BatchBuilder::new();
        builder.producer(ProducerId(7), ProducerEpoch(2), sequence).compression(Compression::Zstd);
        fill(&mut builder, 999_999, &[(1, Some(value)), (2, Some(value))]);
        builder.build()
    };
    for i in 0..10 {
        rig.append(of_producer(i * 2, i64::from(i))).unwrap();
    }
    rig.append(keyed(Compression::None, 1_000, &[(1, Some(100)), (2, Some(100))])).unwrap();
    roll(&rig);
    let producers = rig.log.producers();
    rig.clean(Offset::ZERO, 2_000, 1_000);
    let last = header_at(&rig.log, 18);
    assert_eq!(
        (last.base_offset, last.last_offset(), last.record_count),
        (Offset(18), Offset(19), 0)
    );
    assert_eq!(
        (last.base_sequence, last.producer_id, last.producer_epoch.0),
        (18, ProducerId(7), 2)
    );
    assert_eq!(header_at(&rig.log, 0).base_offset, Offset(18), "the others are gone");
    for entry in rig.disk.list(Path::new(DIRECTORY)).unwrap() {
        if entry.name.ends_with(".snapshot") {
            rig.disk.remove_file(&Path::new(DIRECTORY).join(entry.name)).unwrap();
        }
    }
    let rig = rig.reopen(false, Offset::ZERO);
    assert_eq!(rig.log.producers(), producers);
    let again = rig.append(of_producer(18, 9)).unwrap();
    assert_eq!((again.at, again.base_offset), (AppendedAt::Before, Offset(18)));
    rig.append(of_producer(20, 1)).unwrap();
}

fn transactional(id: i64, sequence: i32, records: &[(u8, Option<i64>)]) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.producer(ProducerId(id), ProducerEpoch(0), sequence).transactional();
    fill(&mut builder, 1_000, records);
    builder.build()
}

/// The marker of a transaction.
fn marker(id: i64, outcome: TransactionOutcome) -> Bytes {
    let marker = EndMarker { outcome, coordinator_epoch: 0 };
    let batch = marker.batch(ProducerId(id), ProducerEpoch(0), UnixMillis(1_000));
    [&batch.header().to_bytes()[..], batch.payload()].concat().into()
}

/// The markers of the transactions that a reader of committed records is told are aborted.
fn told_aborted(log: &Log) -> Vec<i64> {
    let read = log.read(Offset::ZERO, 100_000, true, ReadLimit::LastStable, Residency::Any);
    read.unwrap().unwrap().aborted.iter().map(|aborted| aborted.last_offset.0).collect()
}

impl Rig {
    fn append_own(&self, batch: Bytes) -> i64 {
        let batch = ValidBatch::trusted(&batch).unwrap();
        let (leader_epoch, origin) = (LeaderEpoch(0), Origin::Coordinator);
        let append = Append { batch, leader_epoch, origin, now: UnixMillis(1_000) };
        let appended = self.log.append(&append).unwrap();
        if let AppendedAt::End(end) = appended.at {
            self.log.advance_high_watermark(end);
        }
        appended.base_offset.0
    }
}

/// The first offsets of the batches below `end`, and how many records they have.
fn batches_below(log: &Log, end: i64) -> Vec<(i64, i32)> {
    let all = read_all(log).into_iter().map(|header| (header.base_offset.0, header.record_count));
    all.filter(|(offset, _)| *offset < end).collect()
}

#[test]
fn records_of_aborted_transactions_go_and_markers_after_them() {
    let rig = rig();
    rig.append_own(keyed(Compression::None, 1_000, &[(1, Some(1)), (2, Some(2))]));
    let aborted = rig.append_own(transactional(5, 0, &[(1, Some(100)), (7, Some(7))]));
    let committed = rig.append_own(transactional(6, 0, &[(2, Some(200))]));
    let abort = rig.append_own(marker(5, TransactionOutcome::Abort));
    let commit = rig.append_own(marker(6, TransactionOutcome::Commit));
    // Both producers go on, so that these batches are not the last ones of theirs.
    let next = rig.append_own(transactional(5, 2, &[(8, Some(8))]));
    rig.append_own(transactional(6, 1, &[(9, Some(9))]));
    rig.append_own(marker(5, TransactionOutcome::Commit));
    let end = rig.append_own(marker(6, TransactionOutcome::Commit));
    roll(&rig);
    rig.clean(Offset::ZERO, 2_000, 1_000);
    let kept = latest(&seen(&rig.log));
    assert_eq!(kept["key 1"], (0, Some(format!("{:040}", 1))), "an aborted record hides none");
    assert_eq!(kept["key 2"].0, committed);
    assert!(!kept.contains_key("key 7"), "it was aborted");
    let batches = |rig: &Rig| batches_below(&rig.log, next);
    assert_eq!(batches(&rig), [(0, 1), (committed, 1), (abort, 1), (commit, 1)]);
    assert!(!batches(&rig).contains(&(aborted, 0)));
    // As in Kafka, the index names it as long as a pass has met records of it.
    assert_eq!(told_aborted(&rig.log), [abort]);
    let reopened = open(&rig.disk, start(&rig.config, true)).unwrap().log;
    assert_eq!(told_aborted(&reopened), [abort]);
    // The next pass meets no record of the aborted one. Its marker goes after the time of tombstones.
    rig.clean(Offset::ZERO, 2_000, 1_000);
    assert!(told_aborted(&rig.log).is_empty());
    assert_eq!(header_at(&rig.log, abort).delete_horizon(), Some(UnixMillis(2_100)));
    assert_eq!(header_at(&rig.log, commit).delete_horizon(), None, "key 2 is still there");
    rig.clean(Offset::ZERO, 2_099, 1_000);
    assert_eq!(batches(&rig).len(), 4);
    rig.clean(Offset::ZERO, 2_100, 1_000);
    assert_eq!(batches(&rig), [(0, 1), (committed, 1), (commit, 1)]);
    // The last ones of the producers stay, whatever happens.
    assert!(batches_below(&rig.log, end + 1).contains(&(next, 1)));
}

#[test]
fn a_transaction_is_known_to_be_aborted_by_a_marker_that_comes_later() {
    let rig = rig();
    rig.append_own(keyed(Compression::None, 1_000, &[(1, Some(1))]));
    rig.append_own(transactional(5, 0, &[(1, Some(100))]));
    roll(&rig);
    let cleanable = rig.log.cleanable(None, UnixMillis(2_000)).unwrap();
    assert_eq!(cleanable.first_uncleanable, Offset::ZERO, "it is undecided");
    let abort = rig.append_own(marker(5, TransactionOutcome::Abort));
    let last = *retention::bases(&rig.log).last().unwrap();
    assert!(abort >= last, "the marker is in a segment that is not compacted");
    assert_eq!(rig.clean(Offset::ZERO, 2_000, 1_000).0, Offset(last));
    assert_eq!(latest(&seen(&rig.log))["key 1"].0, 0);
}

#[test]
fn what_is_young_or_undecided_is_not_touched() {
    let rig = rig();
    for timestamp in [1_000, 2_000, 3_000] {
        let segments = rig.segment_files().len();
        while rig.segment_files().len() == segments {
            rig.append(keyed(Compression::None, timestamp, &[(1, Some(1))])).unwrap();
        }
    }
    let bases = retention::bases(&rig.log);
    assert_eq!(bases.len(), 4);
    let found = |lag_ms: u64, now: i64| {
        let lag = Duration::from_millis(lag_ms);
        rig.log.set_config(LogConfig { compaction_lag_min: lag, ..compacting() });
        rig.log.cleanable(None, UnixMillis(now)).unwrap()
    };
    assert_eq!(found(0, 0).first_uncleanable.0, bases[3], "the last segment never");
    // A segment has the first batch of the next time as its last one but for the roll.
    assert_eq!(found(100, 1_050).first_uncleanable.0, bases[0]);
    assert_eq!(found(100, 1_100).first_uncleanable.0, bases[1]);
    assert_eq!(found(100, 2_100).first_uncleanable.0, bases[2]);
    assert_eq!(found(100, 9_000).first_uncleanable.0, bases[3]);
    rig.log.published.write().high_watermark =
        LogPosition { offset: Offset(bases[2] + 1), segment: Offset(bases[2]), position: 0 };
    assert_eq!(found(0, 9_000).first_uncleanable.0, bases[2]);
}

#[test]
fn a_log_is_due_by_its_ratio_or_by_its_age() {
    let rig = rig();
    for i in 0..40 {
        rig.append(keyed(Compression::None, 1_000 + i, &[(1, Some(i))])).unwrap();
    }
    let cleanable = |from| rig.log.cleanable(Some(Offset(from)), UnixMillis(3_000)).unwrap();
    let bases = retention::bases(&rig.log);
    let all = cleanable(0);
    assert_eq!((all.clean_bytes, all.dirty_ratio()), (0, 1.0));
    let some = cleanable(bases[2]);
    let config = |lag_ms: u64, ratio| LogConfig {
        compaction_lag_max: Some(Duration::from_millis(lag_ms)),
        min_dirty_ratio: ratio,
        ..compacting()
    };
    for (ratio, is_due) in [(some.dirty_ratio() - 0.01, true), (some.dirty_ratio(), false)] {
        assert_eq!(some.is_due(&config(u64::MAX, ratio)), is_due);
    }
    rig.log.set_config(config(1_000, 1.0));
    assert!(cleanable(bases[2]).is_overdue && cleanable(bases[2]).is_due(&config(1_000, 1.0)));
    rig.log.set_config(config(2_001, 1.0));
    assert!(!cleanable(0).is_overdue);
    // Offsets that are not of this log count as its start.
    for other in [-1, 1_000_000] {
        assert_eq!(cleanable(other).first_dirty, Offset::ZERO);
    }
    assert_eq!(cleanable(rig.log.ends().end.0).dirty_bytes, 0);
}

#[test]
fn reads_that_are_under_way_go_on_in_the_old_segments() {
    let rig = rig();
    for i in 0..60 {
        rig.append(keyed(Compression::None, 1_000, &[(i as u8 % 3, Some(i))])).unwrap();
    }
    let old = rig.log.published.read().clone();
    let end = old.segments[2].base();
    let view = rig.log.read(Offset(7), 400, true, ReadLimit::End, Residency::Any).unwrap().unwrap();
    let (_, files) = rig.clean(Offset::ZERO, 2_000, 1_000);
    for path in files {
        rig.disk.remove_file(&path).unwrap();
    }
    let mut offsets = Vec::new();
    for batch in scan(&view.records).map_while(Result::ok) {
        batch.header.check_crc(batch.bytes).unwrap();
        offsets.push(batch.header.base_offset.0);
    }
    assert_eq!(offsets[0], 7);
    for offset in 0..end.0 {
        let held = old.segments.iter().rfind(|segment| segment.base() <= Offset(offset)).unwrap();
        match held.find(Offset(offset), held.size(), Residency::Any).unwrap() {
            Step::Batch(found) => {
                assert_eq!(found.header.base_offset, Offset(offset));
            }
            other @ (Step::End | Step::NotResident) => panic!("{other:?}"),
        }
    }
}

#[test]
fn segments_that_go_meanwhile_end_the_pass() {
    for abandoned in [true, false] {
        let rig = rig();
        for i in 0..40 {
            rig.append(keyed(Compression::None, 1_000, &[(1, Some(i))])).unwrap();
        }
        let found = rig.log.cleanable(None, UnixMillis(2_000)).unwrap();
        let mut pass = CleanPass::new(&rig.log, &found, buffers(100), UnixMillis(2_000));
        let cleaned = |rig: &Rig| {
            let files = rig.disk.list(Path::new(DIRECTORY)).unwrap().into_iter();
            files.filter(|entry| entry.name.ends_with(".cleaned")).count()
        };
        while cleaned(&rig) == 0 {
            pass.step(&rig.log).unwrap();
        }
        if abandoned {
            rig.log.abandon();
        } else {
            rig.begin_at(found.first_uncleanable);
        }
        let error = loop {
            match pass.step(&rig.log) {
                Ok(CleanStep::Moved(_)) => {}
                other => break other.map(drop).unwrap_err(),
            }
        };
        assert!(matches!(error, CleanError::Aborted), "{error:?}");
        assert_eq!(cleaned(&rig) > 0, abandoned, "an abandoned directory is not touched");
    }
}

#[test]
fn a_bad_batch_is_named_and_nothing_is_lost() {
    let rig = rig();
    for i in 0..40 {
        rig.append(keyed(Compression::None, 1_000, &[(1, Some(i))])).unwrap();
    }
    let path = rig.segment_files().remove(1);
    let file = rig.disk.open(&path, OpenMode::Write).unwrap();
    file.write_at(70, &[b"x"]).unwrap();
    let before = contents(&*rig.disk);
    match try_clean(&rig.log, Offset::ZERO, 2_000, 100) {
        Err(CleanError::Damaged { path: named, position: 0, .. }) => assert_eq!(named, path),
        other => panic!("{other:?}"),
    }
    assert_eq!(contents(&*rig.disk), before);
}

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    let faulty = FaultyDisk::new(Rig::new().disk);
    let rig = Rig::on(Arc::new(faulty.clone()), compacting());
    for i in 0..40 {
        rig.append(keyed(Compression::None, 1_000, &[(i as u8 % 20, Some(i))])).unwrap();
    }
    let before = latest(&seen(&rig.log));
    for room in [0, 100, 500] {
        faulty.inject(Fault::NoSpaceAfter(room));
        let error = try_clean(&rig.log, Offset::ZERO, 2_000, 100).unwrap_err();
        assert!(matches!(error, CleanError::NoSpace { .. }), "{error:?}");
        assert_eq!(latest(&seen(&rig.log)), before);
        let is_left = |entry: &crate::env::DiskEntry| entry.name.ends_with(".cleaned");
        assert!(!rig.disk.list(Path::new(DIRECTORY)).unwrap().iter().any(is_left));
        faulty.clear();
    }
    rig.clean(Offset::ZERO, 2_000, 100);
    rig.append(keyed(Compression::None, 1_000, &[(1, None)])).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    /// Whatever is written, compacted, lost to a power cut or opened again: readers find the latest record of each key
    /// at its offset, no other record than was written, and all above the first uncleanable offset.
    #[test]
    fn a_compacted_log_is_a_map_of_its_latest_records(
        seed in 0_u64..1_000_000,
        keys in 1_u64..40,
        steps in proptest::collection::vec((0_u8..12, 0_u8..8, 0_i64..200), 1..80),
    ) {
        let memory = MemoryDisk::with_power_model();
        memory.create_dir_all(Path::new(ROOT)).unwrap();
        memory.sync_all();
        let mut rig = Rig::on(Arc::new(memory.clone()), compacting());
        memory.sync_dir(Path::new(ROOT)).unwrap();
        let mut memory = memory;
        let (mut now, mut value, mut cleaned, mut flushed) = (1_000_i64, 0, Offset::ZERO, Offset::ZERO);
        let mut written: Vec<Seen> = Vec::new();
        for (kind, key, number) in steps {
            match kind {
                0..=5 => {
                    let codec = Compression::ALL[usize::from(key) % 5];
                    value += 100;
                    let one = |key: u8| {
                        let is_tombstone = (i64::from(key) + number) % 5 == 0;
                        (key, (!is_tombstone).then_some(value + i64::from(key)))
                    };
                    let records = [one(key), one(number as u8 % 5), one(key / 2)];
                    let batch = keyed(codec, now, &records[..1 + number as usize % 3]);
                    let at = rig.append(batch.clone()).unwrap().base_offset.0;
                    let mut seen = Vec::new();
                    see(&mut seen, &batch);
                    written.extend(seen.into_iter().map(|(offset, key, value)| (offset + at, key, value)));
                }
                6 => now += number,
                7 => flushed = rig.log.flush(number % 2 == 0).unwrap(),
                8 => {
                    let end = rig.log.close().unwrap();
                    let start = LogStart { recovery_point: end, ..start(&rig.config, true) };
                    rig = Rig { log: open(&rig.disk, start).unwrap().log, ..rig };
                    flushed = end;
                }
                9 => {
                    memory = memory.power_cut(&Rng::from_seed(seed + number as u64));
                    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
                    let start = LogStart { recovery_point: flushed, ..start(&rig.config, false) };
                    let log = open(&disk, start).unwrap().log;
                    prop_assert!(log.ends().end >= flushed);
                    rig = Rig { disk, log, ..rig };
                    written.retain(|record| record.0 < rig.log.ends().end.0);
                }
                _ => {
                    let found = rig.log.cleanable(Some(cleaned), UnixMillis(now)).unwrap();
                    let above = |log: &Log| -> Vec<_> {
                        read_all(log).into_iter().filter(|b| b.base_offset >= found.first_uncleanable).collect()
                    };
                    let before = above(&rig.log);
                    let (to, files) = rig.clean(cleaned, now, keys);
                    prop_assert!(to >= found.first_dirty && to <= found.first_uncleanable);
                    prop_assert_eq!(above(&rig.log), before);
                    cleaned = to;
                    // They go some time later.
                    for path in files.into_iter().take(number as usize) {
                        rig.disk.remove_file(&path).unwrap();
                    }
                }
            }
            let found = seen(&rig.log);
            prop_assert!(found.iter().all(|record| written.contains(record)), "{:?}", found);
            prop_assert!(found.is_sorted_by_key(|record| record.0));
            let found = latest(&found);
            for (key, (at, value)) in latest(&written) {
                match (found.get(&key), &value) {
                    // A tombstone may be gone, but not what it hides be back.
                    (None, None) => {}
                    (found, _) => prop_assert_eq!(found, Some(&(at, value)), "{}", key),
                }
            }
        }
    }
}
