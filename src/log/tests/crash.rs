//! A crash at any operation on the disk, of appends, rolls, flushes, retention and of the start that follows, leaves a beginning
//! of the log that holds all that was promised.

use super::watched::watched;
use super::*;
use crate::env::Crash;

/// What was promised before a crash.
#[derive(Clone, Copy, Debug)]
struct Promised {
    /// Acknowledged: there after the end of the process.
    acknowledged: Offset,
    /// There after a power cut.
    flushed: Offset,
    /// Kept by the checkpoint, which is replaced before the files go.
    log_start: Offset,
}

/// A log that lives through everything but compaction: what was promised at each mark, the headers of all its batches, and
/// what would be found after crashes.
fn lived(config: &LogConfig) -> (Vec<Promised>, Vec<BatchHeader>, Vec<Crash>) {
    let memory = MemoryDisk::with_power_model();
    memory.create_dir_all(Path::new(ROOT)).unwrap();
    memory.sync_all();
    let start =
        Promised { acknowledged: Offset::ZERO, flushed: Offset::ZERO, log_start: Offset::ZERO };
    let (mut promised, mut headers) = (vec![start], Vec::new());
    let crashes = watched(&memory, |disk| {
        let rig = Rig::on(Arc::new(disk.clone()), config.clone());
        // The directory of a partition is synced with the metadata that speaks of it.
        memory.sync_dir(Path::new(ROOT)).unwrap();
        let mut now = start;
        let mut promise = |now: Promised| {
            promised.push(now);
            disk.mark(promised.len() - 1);
        };
        for step in 0..60_i64 {
            let batch = match step % 4 {
                0 => of_producer(1, 0, step as i32 / 4),
                _ => plain(step, 1 + step as usize % 3),
            };
            let epoch = LeaderEpoch(step as i32 / 25);
            let appended = rig.append_in(epoch, batch.clone()).unwrap();
            let mut header = BatchHeader::parse(&batch).unwrap();
            (header.base_offset, header.partition_leader_epoch) = (appended.base_offset, epoch);
            headers.push(header);
            now.acknowledged = rig.log.ends().end;
            promise(now);
            if step % 7 == 6 || (40..48).contains(&step) {
                now.flushed = rig.log.flush(step % 2 == 0 || step >= 40).unwrap();
                promise(now);
            }
            if step % 20 == 19 {
                let to = Offset(rig.log.ends().end.0 - 20);
                let removed = rig.log.advance_log_start(to).unwrap();
                now.log_start = to;
                promise(now);
                for file in rig.log.mark_deleted(removed).unwrap() {
                    disk.remove_file(&file).unwrap();
                }
            }
        }
        now.flushed = rig.log.close().unwrap();
        promise(now);
    });
    (promised, headers, crashes)
}

fn started(config: &LogConfig, recovery_point: Offset, log_start: Offset) -> LogStart {
    LogStart { recovery_point, log_start, ..start(config, false) }
}

/// Opens what a crash has left, and sees that it is a beginning that holds what was promised and goes on.
fn check(
    disk: &MemoryDisk,
    config: &LogConfig,
    (promised, at_least): (Promised, Offset),
    headers: &[BatchHeader],
) {
    // Also if nothing is known of what was durable.
    for recovery_point in [promised.flushed, Offset::ZERO] {
        let disk: Arc<dyn Disk> = Arc::new(disk.process_end());
        let opened = open(&disk, started(config, recovery_point, promised.log_start)).unwrap();
        let ends = opened.log.ends();
        assert!(ends.end >= at_least, "{ends:?}, {promised:?}");
        assert_eq!(ends.log_start, promised.log_start);
        let found = read_all(&opened.log);
        let expected = headers.iter().filter(|header| header.last_offset() >= ends.log_start);
        let expected: Vec<_> =
            expected.take_while(|header| header.base_offset < ends.end).collect();
        assert!(found.iter().eq(expected), "other batches than were written");
        let rig = Rig { disk, config: config.clone(), log: opened.log };
        assert_eq!(rig.append(plain(1, 1)).unwrap().base_offset, ends.end);
        let end = rig.log.close().unwrap();
        let start = LogStart { clean: true, ..started(config, end, promised.log_start) };
        assert_eq!(read_all(&open(&rig.disk, start).unwrap().log).len(), found.len() + 1);
    }
}

fn at_least(crash: &Crash, promised: &[Promised]) -> (Promised, Offset) {
    let promised = promised[crash.mark];
    let end = if crash.is_power_cut { promised.flushed } else { promised.acknowledged };
    (promised, end)
}

fn configs() -> [LogConfig; 2] {
    [false, true].map(|preallocates| LogConfig { preallocates, ..config() })
}

#[test]
fn nothing_that_was_promised_is_missing_wherever_a_log_is_interrupted() {
    for config in configs() {
        let (promised, headers, crashes) = lived(&config);
        assert!(crashes.len() > 500, "{}", crashes.len());
        for crash in &crashes {
            check(&crash.disk, &config, at_least(crash, &promised), &headers);
        }
    }
}

#[test]
fn nothing_that_was_promised_is_missing_if_the_start_that_follows_is_interrupted_too() {
    for config in configs() {
        let (promised, headers, crashes) = lived(&config);
        let mut interrupted = 0;
        for crash in crashes.iter().step_by(17) {
            let (known, end) = at_least(crash, &promised);
            let disk = crash.disk.process_end();
            let again = watched(&disk, |disk| {
                let disk: Arc<dyn Disk> = Arc::new(disk.clone());
                drop(open(&disk, started(&config, known.flushed, known.log_start)).unwrap());
            });
            for again in again.iter().step_by(3) {
                interrupted += 1;
                // What the end of the process has left can still be lost with the power.
                let end = if again.is_power_cut { known.flushed } else { end };
                check(&again.disk, &config, (known, end), &headers);
            }
        }
        assert!(interrupted > 100, "{interrupted}");
    }
}
