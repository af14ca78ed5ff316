//! A crash at any point of a compaction leaves a log from which nothing is missing.

use super::compaction::{Seen, compacting, keyed, latest, seen, try_clean};
use super::inspect::verified;
use super::watched;
use super::*;
use crate::record::Compression;

/// A log whose disk is watched while `work` is done to it; gives what would be found after crashes.
fn watched(log: &MemoryDisk, work: impl FnOnce(&Arc<dyn Disk>)) -> Vec<MemoryDisk> {
    let crashes = watched::watched(log, |disk| work(&(Arc::new(disk.clone()) as _)));
    crashes.into_iter().map(|crash| crash.disk).collect()
}

/// Keys with several values, tombstones among them, in several segments; all durable. Gives where the log ends.
fn written() -> (MemoryDisk, Offset) {
    let memory = MemoryDisk::with_power_model();
    memory.create_dir_all(Path::new(ROOT)).unwrap();
    let rig = Rig::on(Arc::new(memory.clone()), compacting());
    for i in 0..32_i64 {
        let (key, value) = ((i % 12) as u8, (i % 7 != 0).then_some(i));
        let codec = Compression::ALL[i as usize % 5];
        rig.append(keyed(codec, 1_000, &[(key, value), (key + 20, Some(i))])).unwrap();
    }
    let end = rig.log.flush(true).unwrap();
    memory.sync_all();
    (memory, end)
}

fn opened(disk: &Arc<dyn Disk>, recovery_point: Offset) -> Log {
    let start = LogStart { recovery_point, ..start(&compacting(), false) };
    open(disk, start).unwrap().log
}

/// Nothing is missing, nothing is there that was not, and the names that are left are those of a log at rest.
fn check(disk: &MemoryDisk, recovery_point: Offset, end: Offset, before: &[Seen]) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let log = opened(&disk, recovery_point);
    let found = seen(&log);
    assert_eq!(log.ends().end, end);
    assert!(found.iter().all(|record| before.contains(record)));
    assert_eq!(latest(&found), latest(before));
    let mut expected = Offset(-1);
    for header in read_all(&log) {
        assert!(header.base_offset > expected, "segments do not overlap");
        expected = header.last_offset();
    }
    for entry in disk.list(Path::new(DIRECTORY)).unwrap() {
        let name = entry.name;
        assert!(!name.ends_with(".swap") && !name.ends_with(".cleaned"), "{name}");
    }
    // And it can be compacted.
    try_clean(&log, Offset::ZERO, 2_050, 1_000).unwrap();
    assert_eq!(latest(&seen(&log)), latest(before));
}

#[test]
fn nothing_is_missing_wherever_a_compaction_is_interrupted() {
    let (memory, end) = written();
    let before = {
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        seen(&opened(&disk, end))
    };
    memory.sync_all();
    let mut disks = Vec::new();
    // A map for all keys, and one that ends within the log.
    for keys in [1_000, 9] {
        let (memory, _) = written();
        disks.extend(watched(&memory, |disk| {
            drop(try_clean(&opened(disk, end), Offset::ZERO, 2_000, keys).unwrap());
        }));
    }
    assert!(disks.len() > 100, "{}", disks.len());
    for disk in &disks {
        // Also if nothing is known of what was durable.
        for recovery_point in [end, Offset::ZERO] {
            check(&disk.process_end(), recovery_point, end, &before);
        }
    }
}

#[test]
fn nothing_is_missing_if_the_start_that_follows_is_interrupted_too() {
    let (memory, end) = written();
    let disks = watched(&memory, |disk| {
        drop(try_clean(&opened(disk, end), Offset::ZERO, 2_000, 1_000).unwrap());
    });
    let before = {
        let disk: Arc<dyn Disk> = Arc::new(written().0);
        seen(&opened(&disk, end))
    };
    let has_swap = |disk: &&MemoryDisk| {
        let files = disk.list(Path::new(DIRECTORY)).unwrap();
        files.iter().any(|entry| entry.name.ends_with(".log.swap"))
    };
    let mut interrupted = 0;
    for disk in disks.iter().filter(has_swap).step_by(2) {
        for again in watched(disk, |disk| drop(opened(disk, end))).iter().step_by(3) {
            interrupted += 1;
            check(&again.process_end(), end, end, &before);
        }
    }
    assert!(interrupted > 50, "{interrupted}");
}

#[test]
fn whatever_a_crash_leaves_is_told_and_only_damage_is_called_so() {
    let (memory, end) = written();
    let disks = watched(&memory, |disk| {
        drop(try_clean(&opened(disk, end), Offset::ZERO, 2_000, 1_000).unwrap());
    });
    let (mut swaps, mut damaged) = (0, 0);
    for disk in &disks {
        let disk: Arc<dyn Disk> = Arc::new(disk.process_end());
        let points = Path::new(ROOT).join("recovery-point-offset-checkpoint");
        disk.replace_small(&points, format!("0\n1\nt 0 {end}\n").as_bytes()).unwrap();
        let (report, _) = verified(&*disk);
        let worse = report.findings.iter().filter(|finding| finding.severity != Severity::Note);
        assert_eq!(worse.collect::<Vec<_>>(), Vec::<&Finding>::new());
        let swap =
            report.findings.iter().find(|it| it.path.to_string_lossy().ends_with(".log.swap"));
        if let Some(swap) = swap.map(|swap| swap.path.clone()) {
            swaps += 1;
            // Its records count, so that what is wrong with them is damage.
            let sound = disk.read_small(&swap).unwrap().unwrap();
            let mut bytes = sound.clone();
            if let Some(last) = bytes.last_mut() {
                *last ^= 0x55;
                disk.replace_small(&swap, &bytes).unwrap();
                let (report, _) = verified(&*disk);
                damaged += usize::from(
                    report
                        .findings
                        .iter()
                        .any(|it| it.severity == Severity::Damage && it.path == swap),
                );
                disk.replace_small(&swap, &sound).unwrap();
            }
        }
        // What is said to be there is what a start finds.
        let log = opened(&disk, end);
        let batches = read_all(&log).len() as u64;
        assert_eq!((report.end, report.batches), (log.ends().end, batches));
    }
    assert!(swaps > 10 && damaged == swaps, "{swaps} {damaged}");
}
