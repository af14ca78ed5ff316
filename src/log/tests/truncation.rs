//! Logs whose end is cut off are as if what was cut had never been appended, also after a crash at any operation.

use super::watched::watched;
use super::*;
use crate::env::Crash;

const NOW: UnixMillis = UnixMillis(1_000_000);

impl Rig {
    /// Appends a batch as the leader of the partition has it.
    fn replicate(&self, batch: &Bytes, base: Offset, epoch: i32) -> Result<Appended, AppendError> {
        let batch = as_in_log(batch, base, epoch);
        let batch = ValidBatch::trusted(&batch).unwrap();
        let leader_epoch = LeaderEpoch(0);
        let origin = Origin::Replication;
        self.log.append(&Append { batch, leader_epoch, origin, now: NOW })
    }

    fn cut(&self, to: Offset) -> Offset {
        self.log.begin_truncation(to).unwrap();
        self.log.truncate_to(to, NOW).unwrap()
    }

    /// All batches, committed or not.
    fn batches(&self) -> Vec<BatchHeader> {
        batches(&self.log)
    }
}

fn batches(log: &Log) -> Vec<BatchHeader> {
    let mut headers: Vec<BatchHeader> = Vec::new();
    let mut from = log.ends().log_start;
    while from < log.ends().end {
        let read = log.read(from, 300, true, ReadLimit::End, Residency::Any).unwrap().unwrap();
        let before = headers.len();
        for batch in scan(&read.records).map_while(Result::ok) {
            batch.header.check_crc(batch.bytes).unwrap();
            headers.push(batch.header);
        }
        assert!(headers.len() > before, "a read gives at least one whole batch");
        from = headers.last().unwrap().next_offset();
    }
    headers
}

/// The batch with the place that a leader gave it.
fn as_in_log(batch: &Bytes, base: Offset, epoch: i32) -> Bytes {
    let valid = ValidBatch::trusted(batch).unwrap();
    let header = valid.stamped(base, LeaderEpoch(epoch), None);
    [&header.to_bytes()[..], valid.payload()].concat().into()
}

/// The batch of a step: plain ones of several sizes, and those of two producers.
fn batch_of(step: i32) -> Bytes {
    match step % 4 {
        1 => of_producer(1, 0, step / 4),
        2 => of_producer(2, 0, step / 4),
        _ => plain(i64::from(step), 1 + step as usize % 3),
    }
}

/// A log of `steps` batches, in a new leader epoch after every ten.
fn lived(steps: i32) -> Rig {
    let rig = Rig::new();
    for step in 0..steps {
        let epoch = step / 10;
        rig.replicate(&batch_of(step), rig.log.ends().end, epoch).unwrap();
    }
    rig
}

#[test]
fn r6_replicated_batches_are_taken_as_they_are() {
    let rig = Rig::new();
    let batch = plain(1, 3);
    rig.replicate(&batch, Offset(0), 3).unwrap();
    rig.replicate(&batch, Offset(10), 5).unwrap();
    let found: Vec<_> = rig
        .batches()
        .iter()
        .map(|it| (it.base_offset.0, it.partition_leader_epoch.0, it.crc))
        .collect();
    let crc = BatchHeader::parse(&batch).unwrap().crc;
    assert_eq!(found, [(0, 3, crc), (10, 5, crc)], "a gap stays, and nothing is stamped");
    let early = rig.replicate(&batch, Offset(12), 5).unwrap_err();
    assert!(matches!(early, AppendError::NotAtEnd { end: Offset(13), .. }));
    let fallen = rig.replicate(&batch, Offset(13), 4).unwrap_err();
    assert!(matches!(fallen, AppendError::EpochFalls { latest: LeaderEpoch(5), .. }));
    assert_eq!(rig.log.ends().high_watermark, Offset(0), "nothing is committed by that");
    assert_eq!(rig.log.epoch_end(LeaderEpoch(3)).unwrap().end, Offset(10));
}

#[test]
fn sequences_of_replicated_batches_are_known_but_not_judged() {
    let rig = Rig::new();
    rig.replicate(&of_producer(1, 0, 7), Offset(0), 0).unwrap();
    rig.replicate(&of_producer(1, 0, 3), Offset(1), 0).expect("the leader has judged it");
    let again = rig.append(of_producer(1, 0, 3)).unwrap();
    assert_eq!((again.at, again.base_offset), (AppendedAt::Before, Offset(1)));
    let next = rig.append(of_producer(1, 0, 5)).unwrap_err();
    assert!(matches!(next, AppendError::OutOfOrderSequence { expected: 4, .. }));
}

#[test]
fn r1_an_epoch_begins_at_the_end_before_anything_is_appended() {
    let rig = lived(15);
    let end = rig.log.ends().end;
    rig.log.begin_epoch(LeaderEpoch(7)).unwrap();
    assert_eq!(rig.log.latest_epoch(), Some(LeaderEpoch(7)));
    assert_eq!(rig.log.epoch_end(LeaderEpoch(1)).unwrap().end, end);
    rig.log.begin_epoch(LeaderEpoch(7)).unwrap();
    rig.append_in(LeaderEpoch(7), plain(1, 1)).unwrap();
    rig.log.begin_epoch(LeaderEpoch(7)).unwrap();
    assert_eq!(rig.log.epoch_end(LeaderEpoch(1)).unwrap().end, end);
}

#[test]
fn r3_epochs_go_also_if_there_is_nothing_to_cut() {
    let rig = lived(15);
    let end = rig.log.ends().end;
    rig.log.begin_epoch(LeaderEpoch(7)).unwrap();
    assert_eq!(rig.cut(end), end);
    assert_eq!(rig.log.latest_epoch(), Some(LeaderEpoch(1)));
}

#[test]
fn what_is_cut_off_was_never_there() {
    for steps in [1, 40, 60] {
        let whole = lived(steps).batches();
        let end = whole.last().unwrap().next_offset();
        for to in 0..=end.0 {
            let rig = lived(steps);
            let kept: Vec<_> = whole.iter().copied().filter(|it| it.last_offset().0 < to).collect();
            let cut = rig.cut(Offset(to));
            assert_eq!(rig.batches(), kept, "cut at {to}");
            assert_eq!(cut, kept.last().map_or(Offset::ZERO, BatchHeader::next_offset));
            let other = lived(i32::try_from(kept.len()).unwrap());
            assert_eq!(rig.log.producers(), other.log.producers(), "cut at {to}");
            let epochs = |log: &Log| -> Vec<_> {
                (0..9).map(|epoch| log.epoch_end(LeaderEpoch(epoch))).collect()
            };
            assert_eq!(epochs(&rig.log), epochs(&other.log), "cut at {to}");
            // It goes on from there.
            rig.replicate(&plain(7, 2), cut, 20).unwrap();
            let headers = rig.batches();
            assert_eq!(headers.len(), kept.len() + 1);
            let recovery_point = rig.log.recovery_point();
            assert_eq!(rig.reopen(false, recovery_point).batches(), headers);
        }
    }
}

#[test]
fn r15_a_log_begins_anew_where_it_is_told() {
    for start in [3, 500] {
        let rig = lived(60);
        rig.log.advance_high_watermark(rig.log.end());
        rig.log.begin_truncation(Offset(start)).unwrap();
        rig.log.truncate_fully(Offset(start), NOW).unwrap();
        let start = Offset(start);
        let ends = rig.log.ends();
        assert_eq!((ends.log_start, ends.high_watermark, ends.end), (start, start, start));
        assert_eq!((rig.log.recovery_point(), rig.log.latest_epoch()), (start, None));
        assert!(rig.log.producers().is_empty());
        assert_eq!(rig.segment_files().len(), 1);
        rig.replicate(&plain(1, 3), start, 0).unwrap();
        let headers = rig.batches();
        assert_eq!(headers.len(), 1);
        rig.log.close().unwrap();
        let opened =
            open(&rig.disk, LogStart { log_start: start, ..super::start(&config(), true) });
        assert_eq!(batches(&opened.unwrap().log), headers);
    }
}

#[test]
fn r14_cuts_below_the_high_watermark_and_the_start_take_them_along() {
    let rig = lived(60);
    rig.log.advance_high_watermark(rig.log.end());
    let view = rig.log.read(Offset(0), 100_000, true, ReadLimit::HighWatermark, Residency::Cached);
    let view = view.unwrap().unwrap().records;
    let before = view.to_vec();
    let removed = rig.begin_at(Offset(30));
    assert!(!removed.is_empty());
    let cut = rig.cut(Offset(50));
    let ends = rig.log.ends();
    assert!(cut <= Offset(50) && ends.high_watermark == cut && ends.log_start == Offset(30));
    rig.replicate(&plain(7, 9), cut, 20).unwrap();
    assert_eq!(view, before, "what was read stays as it was");
    let cut = rig.cut(Offset(30));
    assert_eq!((cut, rig.log.ends().log_start), (Offset(30), Offset(30)));
    let cut = rig.cut(Offset(5));
    let ends = rig.log.ends();
    assert_eq!((cut, ends.log_start, ends.high_watermark), (Offset(5), Offset(5), Offset(5)));
}

#[test]
fn a_flush_that_was_under_way_says_nothing_of_what_was_cut() {
    let rig = lived(60);
    let end = rig.log.flush(true).unwrap();
    rig.log.begin_truncation(Offset(20)).unwrap();
    assert_eq!(rig.log.recovery_point(), Offset(20));
    assert_eq!(rig.log.flush(true).unwrap(), Offset(20), "until it is cut");
    rig.log.truncate_to(Offset(20), NOW).unwrap();
    assert!(rig.log.flush(true).unwrap() <= Offset(20) && end > Offset(20));
}

/// What a log of one history, cut at some place and gone on with another, may be after a crash.
struct Histories {
    old: Vec<BatchHeader>,
    new: Vec<BatchHeader>,
}

/// Cuts a log whose end was durable, goes on with other batches, and gives what a crash would leave; each with the recovery
/// point that was written down, and the end of what was made durable of the new history.
fn cut_and_gone_on(to: i64) -> (Histories, Vec<(Offset, Offset)>, Vec<Crash>) {
    let memory = MemoryDisk::with_power_model();
    memory.create_dir_all(Path::new(ROOT)).unwrap();
    memory.sync_all();
    let (mut marks, mut histories) = (Vec::new(), Histories { old: vec![], new: vec![] });
    let rig = Rig::on(Arc::new(memory.clone()), config());
    memory.sync_dir(Path::new(ROOT)).unwrap();
    for step in 0..40 {
        rig.replicate(&batch_of(step), rig.log.ends().end, step / 10).unwrap();
    }
    let written = rig.log.flush(true).unwrap();
    histories.old = rig.batches();
    marks.push((written, Offset::ZERO));
    let rig_config = rig.config.clone();
    drop(rig);
    let crashes = watched(&memory, |disk| {
        let disk_of_log: Arc<dyn Disk> = Arc::new(disk.clone());
        let start = LogStart { recovery_point: written, ..start(&rig_config, false) };
        let log = open(&disk_of_log, start).unwrap().log;
        let rig = Rig { disk: disk_of_log, config: rig_config.clone(), log };
        let mut mark = |known| {
            marks.push(known);
            disk.mark(marks.len() - 1);
        };
        rig.log.begin_truncation(Offset(to)).unwrap();
        mark((rig.log.recovery_point(), Offset::ZERO));
        rig.log.truncate_to(Offset(to), NOW).unwrap();
        for step in 0..30 {
            // Other batches than before, at other offsets.
            let batch = plain(i64::from(step), 2 + step as usize % 2);
            rig.replicate(&batch, rig.log.ends().end, 9 + step / 20).unwrap();
            if step % 10 == 9 {
                let flushed = rig.log.flush(true).unwrap();
                mark((flushed, flushed));
            }
        }
        histories.new = rig.batches();
    });
    (histories, marks, crashes)
}

#[test]
fn a_cut_that_is_interrupted_leaves_a_beginning_of_one_history() {
    for to in [0, 1, 17, 33, 60] {
        let (histories, marks, crashes) = cut_and_gone_on(to);
        assert!(crashes.len() > 100, "{}", crashes.len());
        for crash in &crashes {
            let (recovery_point, durable) = marks[crash.mark];
            let disk: Arc<dyn Disk> = Arc::new(crash.disk.process_end());
            let start = LogStart { recovery_point, ..start(&config(), false) };
            let log = open(&disk, start).unwrap().log;
            let found = batches(&log);
            let is_beginning = |history: &[BatchHeader]| history.starts_with(&found);
            let context = || format!("cut at {to}, mark {}: {found:?}", crash.mark);
            assert!(is_beginning(&histories.old) || is_beginning(&histories.new), "{}", context());
            assert!(log.ends().end >= durable, "{}", context());
        }
    }
}
