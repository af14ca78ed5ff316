//! A disk that is full, or fails, at any write of a log: what was acknowledged stays, and nothing else is there.

use super::*;

/// A log on a disk that can fail, in whose life segments are rolled and leader epochs begin.
fn rig() -> (FaultyDisk, Rig) {
    let faulty = FaultyDisk::new(Rig::new().disk);
    let rig = Rig::on(Arc::new(faulty.clone()), config());
    (faulty, rig)
}

/// Appends batch after batch, a segment's worth and more, until one is refused; gives that one's error.
fn append_until_refused(rig: &Rig, acknowledged: &mut Vec<Offset>) -> Option<AppendError> {
    for _ in 0..20 {
        let step = acknowledged.len() as i64;
        match rig.append_in(LeaderEpoch(step as i32 / 6), of_producer(1, 0, step as i32)) {
            Ok(appended) => acknowledged.push(appended.base_offset),
            Err(error) => return Some(error),
        }
    }
    None
}

fn assert_has(log: &Log, acknowledged: &[Offset], when: &str) {
    let found: Vec<_> = read_all(log).iter().map(|header| header.base_offset).collect();
    assert_eq!(found, acknowledged, "{when}");
}

#[test]
fn a_disk_that_is_full_at_any_byte_refuses_and_goes_on() {
    let mut refused = 0;
    for room in 0..2_500 {
        let (faulty, rig) = rig();
        let mut acknowledged = Vec::new();
        faulty.inject(Fault::NoSpaceAfter(room));
        if let Some(error) = append_until_refused(&rig, &mut acknowledged) {
            refused += 1;
            assert!(matches!(error, AppendError::NoSpace { .. }), "{room}: {error:?}");
        }
        assert_has(&rig.log, &acknowledged, "while it is full");
        faulty.clear();
        let error = append_until_refused(&rig, &mut acknowledged);
        assert!(error.is_none(), "{room}: {error:?}");
        assert_has(&rig.log, &acknowledged, "when there is room");
        let rig = rig.reopen(false, Offset::ZERO);
        assert_has(&rig.log, &acknowledged, "after a kill");
        assert_eq!(
            rig.log.latest_epoch().map(|epoch| epoch.0 as usize),
            Some((acknowledged.len() - 1) / 6)
        );
        let end = rig.log.close().unwrap();
        let rig = rig.reopen(true, end);
        assert_has(&rig.log, &acknowledged, "after a stop");
        let last = of_producer(1, 0, acknowledged.len() as i32 - 1);
        assert_eq!(rig.append(last).unwrap().at, AppendedAt::Before, "its producer is known");
    }
    assert!(refused > 1_500, "{refused}");
}

#[test]
fn a_file_that_cannot_be_written_ends_the_log_and_nothing_is_lost() {
    for file in [".log", ".index", ".timeindex", ".snapshot", "leader-epoch-checkpoint"] {
        let (faulty, rig) = rig();
        let mut acknowledged = Vec::new();
        assert!(append_until_refused(&rig, &mut acknowledged).is_none());
        faulty.inject(Fault::Write(file.to_owned()));
        let error = append_until_refused(&rig, &mut acknowledged);
        assert!(matches!(error, Some(AppendError::Io { .. })), "{file}: {error:?}");
        faulty.clear();
        let error = append_until_refused(&rig, &mut acknowledged);
        assert!(matches!(error, Some(AppendError::Closed)), "{file}: {error:?}");
        assert_has(&rig.log, &acknowledged, file);
        let rig = rig.reopen(false, Offset::ZERO);
        assert_has(&rig.log, &acknowledged, file);
        assert!(append_until_refused(&rig, &mut acknowledged).is_none());
        assert_has(&rig.log, &acknowledged, file);
    }
}

#[test]
fn a_file_that_cannot_be_synced_ends_the_log_and_no_flush_is_told() {
    for file in [".log", ".index", ".timeindex", ".snapshot", "leader-epoch-checkpoint", "t-0"] {
        let (faulty, rig) = rig();
        let mut acknowledged = Vec::new();
        assert!(append_until_refused(&rig, &mut acknowledged).is_none());
        faulty.inject(Fault::Sync(file.to_owned()));
        rig.log.flush(true).unwrap_err();
        let before = rig.log.recovery_point();
        faulty.clear();
        rig.log.flush(true).unwrap_err();
        assert_eq!(rig.log.recovery_point(), before, "{file}: it is not synced again in hope");
        assert!(matches!(append_until_refused(&rig, &mut acknowledged), Some(AppendError::Closed)));
        assert_has(&rig.log, &acknowledged, file);
        let rig = rig.reopen(false, before);
        assert_has(&rig.log, &acknowledged, file);
    }
}

#[test]
fn a_first_segment_whose_name_cannot_be_synced_ends_the_log_before_a_second_one_is_begun() {
    let (faulty, rig) = rig();
    let mut acknowledged = Vec::new();
    faulty.inject(Fault::Sync("t-0".into()));
    let error = append_until_refused(&rig, &mut acknowledged);
    assert!(matches!(error, Some(AppendError::Io { .. })), "{error:?}");
    faulty.clear();
    assert!(rig.log.has_failed());
    assert!(matches!(append_until_refused(&rig, &mut acknowledged), Some(AppendError::Closed)));
    assert_eq!(rig.segment_files().len(), 1);
    assert_has(&rig.log, &acknowledged, "and what was there stays");
}

#[test]
fn a_file_that_cannot_be_read_keeps_a_start_from_guessing() {
    for file in [
        ".log",
        ".index",
        ".timeindex",
        ".snapshot",
        "leader-epoch-checkpoint",
        "partition.metadata",
    ] {
        let (faulty, rig) = rig();
        let mut acknowledged = Vec::new();
        assert!(append_until_refused(&rig, &mut acknowledged).is_none());
        let end = rig.log.close().unwrap();
        let before = contents(&*rig.disk);
        faulty.inject(Fault::Read(file.to_owned()));
        let start = LogStart { recovery_point: end, ..start(&rig.config, true) };
        let opened = open(&rig.disk, start.clone());
        assert!(matches!(opened, Err(OpenError::Io { .. })), "{file}: {:?}", opened.map(|_| ()));
        faulty.clear();
        assert_eq!(contents(&*rig.disk), before, "{file}: nothing is changed");
        assert_has(&open(&rig.disk, start).unwrap().log, &acknowledged, file);
    }
}

/// A sync may take long, of a directory above all. Whatever is synced in the life of a log, appends go on meanwhile.
#[test]
fn no_sync_is_waited_for_under_the_writers_lock() {
    let rolls = |rig: &Rig| {
        let mut acknowledged = Vec::new();
        for _ in 0..2 {
            assert!(append_until_refused(rig, &mut acknowledged).is_none());
        }
        assert!(rig.segment_files().len() > 2);
    };
    assert_eq!(stalled_syncs(|_| {}, rolls), 1, "only the first segment's name is waited for");
    // Where all is durable before a segment is ended, so are its indexes before the next one is there.
    let settled = |rig: &Rig| {
        while rig.segment_files().len() < 3 {
            rig.log.flush(true).unwrap();
            rig.append(plain(1, 1)).unwrap();
        }
    };
    assert!(stalled_syncs(|_| {}, settled) > 20);
    let rolls_out = |rig: &Rig| {
        rig.log.set_config(LogConfig { retention_bytes: Some(0), ..config() });
        let removed = rig.log.delete_old_segments(UnixMillis(1_000_000)).unwrap();
        rig.log.mark_deleted(removed).unwrap();
    };
    let begins = |rig: &Rig| {
        rig.append(plain(1, 1)).unwrap();
    };
    assert!(stalled_syncs(begins, rolls_out) > 1);
    let life = |rig: &Rig| {
        let log = &rig.log;
        log.flush(false).unwrap();
        let removed = log.advance_log_start(Offset(log.ends().end.0 - 2)).unwrap();
        log.mark_deleted(removed).unwrap();
        log.set_config(LogConfig { retention_bytes: Some(0), ..config() });
        let removed = log.delete_old_segments(UnixMillis(1_000_000)).unwrap();
        assert!(!removed.is_empty());
        log.mark_deleted(removed).unwrap();
        log.flush(true).unwrap();
    };
    let syncs = stalled_syncs(rolls, life);
    assert!(syncs > 8, "only {syncs} syncs");
}

/// Records are deleted while others are made durable: both bring the file of the epochs up to date.
#[test]
fn the_log_may_begin_elsewhere_while_it_is_flushed() {
    for syncs in 0.. {
        let (faulty, rig) = rig();
        assert!(append_until_refused(&rig, &mut Vec::new()).is_none());
        faulty.inject(Fault::StallSyncAfter(syncs));
        let stalled = std::thread::scope(|scope| {
            let flushing = scope.spawn(|| rig.log.flush(true));
            while faulty.stalled_syncs() == 0 && !flushing.is_finished() {
                std::thread::yield_now();
            }
            let stalled = faulty.stalled_syncs() > 0;
            let to = Offset(rig.log.ends().end.0 - 2);
            let removed =
                stalled.then(|| rig.log.begin_at(&mut rig.log.writer.lock(), to).unwrap());
            faulty.clear();
            flushing.join().unwrap().unwrap();
            if let Some(removed) = removed {
                rig.log.mark_deleted(removed).unwrap();
            }
            stalled
        });
        assert!(!rig.log.has_failed(), "sync {syncs}");
        if !stalled {
            assert!(syncs > 3, "only {syncs} syncs");
            return;
        }
    }
}

/// Has a log, with what was done to it before, live as often as there are syncs in that, and stalls another one each time:
/// the writer's lock must be free meanwhile. Gives how many there are.
fn stalled_syncs(before: impl Fn(&Rig), life: impl Fn(&Rig) + Sync) -> u32 {
    let mut syncs = 0;
    loop {
        let (faulty, rig) = rig();
        before(&rig);
        faulty.inject(Fault::StallSyncAfter(syncs));
        let stalled = std::thread::scope(|scope| {
            let thread = scope.spawn(|| life(&rig));
            while faulty.stalled_syncs() == 0 && !thread.is_finished() {
                std::thread::yield_now();
            }
            let stalled = faulty.stalled_syncs() > 0;
            let lock = rig.log.writer.try_lock_for(Duration::from_secs(10)).map(drop);
            faulty.clear();
            assert!(lock.is_some(), "sync {syncs} is waited for");
            stalled
        });
        if !stalled {
            return syncs;
        }
        syncs += 1;
    }
}
