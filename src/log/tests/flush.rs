//! Flushes: what they make durable, and what waits for them.

use proptest::prelude::{Strategy, any};

use super::*;
use crate::log::durability::FlushExtent;

/// A log on a disk whose power can be cut, that settles an append once so many records are not durable.
fn rig(unflushed_max: i64) -> (Rig, MemoryDisk) {
    let memory = MemoryDisk::with_power_model();
    memory.create_dir_all(Path::new(ROOT)).unwrap();
    memory.sync_all();
    let config = LogConfig { unflushed_max, ..config() };
    (Rig::on(Arc::new(memory.clone()), config), memory)
}

impl Rig {
    /// Appends as a replica does that is alone: what is settled is committed.
    fn append_settling(&self, batch: Bytes) -> Appended {
        let batch = ValidBatch::trusted(&batch).unwrap();
        let (leader_epoch, now) = (LeaderEpoch(0), UnixMillis(1_000_000));
        let append = Append { batch, leader_epoch, origin: Origin::Client, now };
        let appended = self.log.append(&append).unwrap();
        self.log.advance_high_watermark(self.log.settled_end());
        appended
    }

    fn flush_what_is_wanted(&self) {
        while let Some(extent) = self.log.flush_wanted() {
            self.log.flush(extent == FlushExtent::Whole).unwrap();
        }
        self.log.advance_high_watermark(self.log.settled_end());
    }
}

fn settled(rig: &Rig) -> i64 {
    rig.log.settled_end().offset.0
}

#[test]
fn records_are_settled_until_too_many_are_not_durable() {
    let (rig, _) = rig(3);
    assert_eq!(rig.log.flush_wanted(), None);
    for (records, unsettled, end) in [(1, false, 1), (1, false, 2), (2, true, 0), (1, true, 0)] {
        assert_eq!(rig.append_settling(plain(1, records)).unsettled, unsettled);
        assert_eq!(settled(&rig), end);
    }
    assert_eq!(rig.log.ends().high_watermark, Offset(2), "it does not go back");
    assert_eq!(rig.log.flush_wanted(), Some(FlushExtent::Whole));
    assert_eq!(rig.log.flush(true).unwrap(), Offset(5));
    assert_eq!((rig.log.flush_wanted(), settled(&rig)), (None, 5));
    assert!(!rig.append_settling(plain(1, 2)).unsettled);
}

#[test]
fn a_duplicate_is_settled_when_its_batch_is() {
    let (rig, _) = rig(1);
    for _ in 0..2 {
        assert!(rig.append_settling(of_producer(1, 0, 0)).unsettled);
    }
    rig.flush_what_is_wanted();
    assert!(!rig.append_settling(of_producer(1, 0, 0)).unsettled);
}

/// Else the append that begins the next one would have to wait for it.
#[test]
fn the_name_of_a_first_segment_is_wanted_on_disk_before_it_is_full() {
    let (rig, _) = rig(i64::MAX);
    while !rig.append_settling(plain(1, 1)).rolled {
        assert_eq!(rig.log.flush_wanted(), None);
    }
    assert_eq!(rig.segment_files().len(), 1);
    assert_eq!(rig.log.flush_wanted(), Some(FlushExtent::Finished));
    rig.flush_what_is_wanted();
    assert!(!rig.append_settling(plain(1, 1)).rolled, "it is asked for once");
}

#[test]
fn a_finished_segment_is_wanted_on_disk() {
    let (rig, memory) = rig(i64::MAX);
    while rig.segment_files().len() < 3 {
        rig.append(plain(1, 1)).unwrap();
    }
    assert_eq!(rig.log.flush_wanted(), Some(FlushExtent::Finished));
    rig.log.flush(false).unwrap();
    let last = rig.log.published.read().segments.last().unwrap().base();
    assert_eq!((rig.log.flush_wanted(), rig.log.recovery_point()), (None, last));
    indexes_survive(&memory, last);
}

#[test]
fn a_segment_that_is_finished_where_the_recovery_point_stands_is_durable_at_once() {
    let (rig, memory) = rig(i64::MAX);
    while rig.segment_files().len() < 3 {
        rig.log.flush(true).unwrap();
        rig.append(plain(1, 1)).unwrap();
    }
    let last = rig.log.published.read().segments.last().unwrap().base();
    assert_eq!((rig.log.flush_wanted(), rig.log.recovery_point()), (None, last));
    indexes_survive(&memory, last);
}

/// A start trusts the indexes of segments below the recovery point, so no power cut may change one.
fn indexes_survive(memory: &MemoryDisk, point: Offset) {
    memory.sync_dir(Path::new(DIRECTORY)).unwrap();
    memory.sync_dir(Path::new(ROOT)).unwrap();
    for seed in 0..20 {
        let after = memory.power_cut(&Rng::from_seed(seed));
        for (path, bytes) in contents(memory) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let base = name.split('.').next().unwrap().parse::<i64>();
            let is_below = base.is_ok_and(|base| base < point.0);
            if is_below && name.ends_with("index") {
                assert_eq!(after.read_small(&path).unwrap().as_ref(), Some(&bytes), "{name}");
            }
        }
    }
}

#[test]
fn a_sync_that_failed_is_not_tried_again() {
    let disk = FaultyDisk::new(Rig::new().disk);
    let rig = Rig::on(Arc::new(disk.clone()), LogConfig { unflushed_max: 1, ..config() });
    rig.append_settling(plain(1, 1));
    disk.inject(Fault::Sync(".log".into()));
    rig.log.flush(true).unwrap_err();
    disk.clear();
    assert!(rig.log.has_failed());
    rig.log.flush(true).expect_err("the disk is well, but what it lost cannot be known");
    assert_eq!((settled(&rig), rig.log.recovery_point()), (0, Offset::ZERO));
    assert_eq!(rig.log.flush_wanted(), None);
    assert!(matches!(rig.append(plain(1, 1)), Err(AppendError::Closed)));
    rig.log.close().unwrap_err();
}

/// What is done to a log.
#[derive(Clone, Debug)]
enum Act {
    Append(usize),
    OfProducer,
    Flush,
    FlushFinished,
    DeleteBefore(u8),
    /// A checkpoint, in which the recovery point is written down.
    Checkpoint,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (0_u8..12, any::<u8>()).prop_map(|(kind, number)| match kind {
        0..=4 => Act::Append(1 + usize::from(number) % 4),
        5 | 6 => Act::OfProducer,
        7 | 8 => Act::Flush,
        9 => Act::FlushFinished,
        10 => Act::DeleteBefore(number),
        _ => Act::Checkpoint,
    });
    proptest::collection::vec(act, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// With every append settled by a flush, a power cut at any moment takes nothing that was acknowledged or shown.
    #[test]
    fn a_power_cut_takes_nothing_that_was_settled(seed in 0_u64..1_000_000, acts in acts()) {
        let (rig, memory) = rig(1);
        let (mut sequence, mut log_start) = (0, Offset::ZERO);
        let mut checkpoint = Offset::ZERO;
        let mut appended = Vec::new();
        for act in acts {
            match act {
                Act::Append(records) => drop(rig.append_settling(plain(sequence.into(), records))),
                Act::OfProducer => {
                    rig.append_settling(of_producer(1, 0, sequence));
                    sequence += 1;
                }
                Act::Flush => rig.flush_what_is_wanted(),
                Act::FlushFinished => {
                    rig.log.flush(false).unwrap();
                    rig.log.advance_high_watermark(rig.log.settled_end());
                }
                Act::DeleteBefore(part) => {
                    let high_watermark = rig.log.ends().high_watermark.0;
                    let to = Offset(high_watermark * i64::from(part) / 255);
                    let removed = rig.log.advance_log_start(to).unwrap();
                    // The start is durable before the files go.
                    log_start = log_start.max(to);
                    rig.log.mark_deleted(removed).unwrap();
                }
                Act::Checkpoint => checkpoint = rig.log.recovery_point(),
            }
            prop_assert_eq!(rig.log.ends().high_watermark, rig.log.settled_end().offset);
            appended = read_all(&rig.log);
        }
        let settled = rig.log.settled_end().offset;
        // A directory of which nothing was settled may be gone.
        let after = memory.power_cut(&Rng::from_seed(seed));
        let after: Arc<dyn Disk> = Arc::new(after);
        let start = LogStart { recovery_point: checkpoint, log_start, ..start(&rig.config, false) };
        let opened = open(&after, start).unwrap();
        prop_assert!(opened.log.ends().end >= settled, "{:?} < {settled}", opened.log.ends());
        let found = read_all(&opened.log);
        prop_assert_eq!(&found[..appended.len()], &appended[..]);
    }
}
