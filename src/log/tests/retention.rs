//! Segments that are old, or too many, go; nothing else does.

use proptest::prelude::{Just, Strategy, any, prop_oneof};

use super::*;

/// A batch of one record of this time, as the disk holds it.
fn at(timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(UnixMillis(timestamp), None, Some(&[b'v'; 200]));
    builder.build()
}

fn keeping(age_max_ms: Option<u64>, bytes: Option<u64>) -> LogConfig {
    LogConfig {
        retention_age_max: age_max_ms.map(Duration::from_millis),
        retention_bytes: bytes,
        ..config()
    }
}

impl Rig {
    /// Removes old segments; gives the files that are marked for removal.
    fn delete_old(&self, now: UnixMillis) -> Vec<PathBuf> {
        let removed = self.log.delete_old_segments(now).unwrap();
        self.log.mark_deleted(removed).unwrap()
    }
}

fn rig(config: LogConfig) -> Rig {
    Rig::on(Rig::new().disk, config)
}

/// The first offset of each segment.
pub(super) fn bases(log: &Log) -> Vec<i64> {
    log.published.read().segments.iter().map(|segment| segment.base().0).collect()
}

fn starts(rig: &Rig) -> (i64, Vec<i64>) {
    (rig.log.ends().log_start.0, bases(&rig.log))
}

/// Three batches a segment, one millisecond and offset a batch.
fn ten() -> Rig {
    let rig = rig(keeping(None, None));
    for timestamp in 1_000..1_010 {
        rig.append(at(timestamp)).unwrap();
    }
    assert_eq!(starts(&rig), (0, vec![0, 3, 6, 9]));
    rig
}

#[test]
fn segments_go_when_their_newest_record_is_too_old() {
    let rig = ten();
    rig.log.set_config(keeping(Some(100), None));
    assert_eq!(rig.delete_old(UnixMillis(1_102)), Vec::<PathBuf>::new());
    let removed = rig.delete_old(UnixMillis(1_106));
    assert_eq!(starts(&rig), (6, vec![6, 9]));
    assert_eq!(
        removed.iter().filter(|path| path.to_string_lossy().ends_with(".log.deleted")).count(),
        2
    );
    assert!(
        removed.iter().all(|path| rig.disk.exists(path).unwrap()),
        "readers may still need them"
    );
    assert_eq!(offsets(&rig.log), [6, 7, 8, 9]);
}

#[test]
fn the_last_segment_goes_too_and_the_log_goes_on_in_a_new_one() {
    let rig = ten();
    rig.log.set_config(keeping(Some(100), None));
    rig.delete_old(UnixMillis(5_000));
    assert_eq!(starts(&rig), (10, vec![10]));
    assert_eq!(rig.delete_old(UnixMillis(9_000)), Vec::<PathBuf>::new());
    assert_eq!(rig.append(at(5_000)).unwrap().base_offset, Offset(10));
    let rig = rig.reopen(false, Offset::ZERO);
    assert_eq!((starts(&rig).0, offsets(&rig.log)), (10, vec![10]));
}

#[test]
fn the_oldest_segments_go_while_the_rest_is_large_enough() {
    let rig = ten();
    let segment_bytes = rig.log.published.read().segments[0].size();
    let all = rig.log.size_bytes();
    rig.log.set_config(keeping(None, Some(all - u64::from(segment_bytes) + 1)));
    assert_eq!(rig.delete_old(UnixMillis(1_000)), Vec::<PathBuf>::new());
    rig.log.set_config(keeping(None, Some(all - u64::from(segment_bytes))));
    rig.delete_old(UnixMillis(1_000));
    assert_eq!(starts(&rig).0, 3);
    rig.log.set_config(keeping(None, Some(0)));
    rig.delete_old(UnixMillis(1_000));
    assert_eq!(starts(&rig), (10, vec![10]));
}

#[test]
fn what_only_compaction_may_remove_stays() {
    let rig = ten();
    rig.log.set_config(LogConfig { deletes: false, ..keeping(Some(0), Some(0)) });
    assert_eq!(rig.delete_old(UnixMillis(90_000)), Vec::<PathBuf>::new());
    assert_eq!(starts(&rig).0, 0);
}

#[test]
fn records_without_time_do_not_grow_old() {
    let rig = rig(keeping(Some(1), None));
    for _ in 0..4 {
        rig.append(at(-1)).unwrap();
    }
    assert_eq!(rig.delete_old(UnixMillis(90_000)), Vec::<PathBuf>::new());
}

#[test]
fn offsets_are_not_given_twice_when_power_fails_after_old_segments_went() {
    for seed in 0..50 {
        let disk = MemoryDisk::with_power_model();
        disk.create_dir_all(Path::new(ROOT)).unwrap();
        let rig = Rig::on(Arc::new(disk.clone()), keeping(Some(100), None));
        for timestamp in 1_000..1_010 {
            rig.append(at(timestamp)).unwrap();
        }
        disk.sync_dir(Path::new(ROOT)).unwrap();
        let removed = rig.log.delete_old_segments(UnixMillis(5_000)).unwrap();
        // Here the start becomes durable.
        if seed % 2 == 0 {
            rig.log.mark_deleted(removed).unwrap();
        }
        let disk: Arc<dyn Disk> = Arc::new(disk.power_cut(&Rng::from_seed(seed)));
        let start = LogStart { log_start: Offset(10), ..start(&rig.config, false) };
        let rig = Rig { log: open(&disk, start).unwrap().log, disk, ..rig };
        assert_eq!(starts(&rig), (10, vec![10]), "seed {seed}");
        assert_eq!(rig.append(at(5_000)).unwrap().base_offset, Offset(10));
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Appends a batch of this time; commits it if so.
    Append { timestamp: i64, commits: bool },
    /// Commits all, and deletes the records before this part of the log, in percent.
    DeleteRecords(i64),
    /// Old segments go, at this time.
    DeleteOld { now: i64, age_max_ms: Option<u64>, bytes: Option<u64> },
    /// The broker ends, in good order or not, and starts again.
    Reopen { clean: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let times = 0..2_000_i64;
    prop_oneof![
        6 => (times.clone(), any::<bool>()).prop_map(|(timestamp, commits)| Step::Append { timestamp, commits }),
        1 => (0..=100_i64).prop_map(Step::DeleteRecords),
        2 => (times, prop_oneof![Just(None), (0..1_000_u64).prop_map(Some)], prop_oneof![Just(None), (0..4_000_u64).prop_map(Some)])
            .prop_map(|(now, age_max_ms, bytes)| Step::DeleteOld { now, age_max_ms, bytes }),
        1 => any::<bool>().prop_map(|clean| Step::Reopen { clean }),
    ]
}

/// What the log has to hold: the time of each record, and where it begins.
#[derive(Default)]
struct Model {
    times: Vec<i64>,
    log_start: i64,
}

impl Model {
    /// Where the log begins once old segments went: `bases` are those of the segments, of `sizes`.
    fn after_deletion(&self, bases: &[i64], sizes: &[u64], committed: i64, step: &Step) -> i64 {
        let Step::DeleteOld { now, age_max_ms, bytes } = *step else { unreachable!() };
        let end = self.times.len() as i64;
        let next = |i: usize| bases.get(i + 1).copied().unwrap_or(end);
        let may_go = |i: usize| next(i) <= committed && next(i) > bases[i];
        let mut first = 0;
        if let Some(bytes) = bytes {
            while first < bases.len()
                && may_go(first)
                && sizes[first + 1..].iter().sum::<u64>() >= bytes
            {
                first += 1;
            }
        }
        if let Some(age_max_ms) = age_max_ms {
            let newest =
                |i: usize| (bases[i]..next(i)).map(|offset| self.times[offset as usize]).max();
            while first < bases.len()
                && may_go(first)
                && newest(first).is_some_and(|newest| now - newest > age_max_ms as i64)
            {
                first += 1;
            }
        }
        let kept = bases.get(first).copied().unwrap_or(end);
        if first == 0 { self.log_start } else { kept.max(self.log_start) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn exactly_what_is_too_old_or_too_much_goes(steps in proptest::collection::vec(step(), 1..60)) {
        let mut rig = rig(keeping(None, None));
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Append { timestamp, commits } => {
                    let batch = ValidBatch::trusted(&at(timestamp)).unwrap();
                    let appended = rig.log.append(&Append {
                        batch,
                        leader_epoch: LeaderEpoch(0),
                        origin: Origin::Client,
                        now: UnixMillis(1_000_000),
                    });
                    let AppendedAt::End(end) = appended.unwrap().at else { unreachable!() };
                    if commits {
                        rig.log.advance_high_watermark(end);
                    }
                    model.times.push(timestamp);
                }
                Step::DeleteRecords(percent) => {
                    rig.log.advance_high_watermark(rig.log.end());
                    let span = model.times.len() as i64 - model.log_start;
                    model.log_start += span * percent / 100;
                    rig.begin_at(Offset(model.log_start));
                }
                Step::DeleteOld { now, age_max_ms, bytes } => {
                    rig.log.set_config(keeping(age_max_ms, bytes));
                    let sizes: Vec<_> =
                        rig.log.published.read().segments.iter().map(|it| u64::from(it.size())).collect();
                    let committed = rig.log.ends().high_watermark.0;
                    model.log_start = model.after_deletion(&bases(&rig.log), &sizes, committed, &step);
                    rig.delete_old(UnixMillis(now));
                }
                Step::Reopen { clean } => {
                    if clean {
                        rig.log.close().unwrap();
                    }
                    let recovery_point = rig.log.recovery_point();
                    let start = LogStart { recovery_point, log_start: Offset(model.log_start), ..start(&rig.config, clean) };
                    rig.log = open(&rig.disk, start).unwrap().log;
                    rig.log.advance_high_watermark(rig.log.end());
                }
            }
            let committed = rig.log.ends().high_watermark.0;
            let expected: Vec<_> = (model.log_start..committed).collect();
            prop_assert_eq!(rig.log.ends().log_start.0, model.log_start);
            prop_assert_eq!(rig.log.ends().end.0, model.times.len() as i64);
            prop_assert_eq!(offsets(&rig.log), expected);
        }
    }
}
