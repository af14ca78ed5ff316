//! Segments that have their largest size from the beginning: what is behind the batches never counts.

use super::*;

fn preallocating() -> LogConfig {
    LogConfig { preallocates: true, ..config() }
}

/// A disk that has what was reserved, as a real one.
fn disk() -> Arc<dyn Disk> {
    let disk = MemoryDisk::with_power_model();
    disk.create_dir_all(Path::new(ROOT)).unwrap();
    Arc::new(disk)
}

fn rig() -> Rig {
    Rig::on(disk(), preallocating())
}

fn lengths(rig: &Rig) -> Vec<u64> {
    let length = |path: PathBuf| rig.disk.open(&path, OpenMode::Read).unwrap().len().unwrap();
    rig.segment_files().into_iter().map(length).collect()
}

/// Bytes of the batches of each segment.
fn sizes(rig: &Rig) -> Vec<u64> {
    rig.log.published.read().segments.iter().map(|segment| u64::from(segment.size())).collect()
}

#[test]
fn a_segment_has_its_full_size_until_it_is_finished() {
    let rig = rig();
    assert_eq!(lengths(&rig), [1_000]);
    rig.append_some(30);
    let (mut expected, found) = (sizes(&rig), lengths(&rig));
    assert!(expected.len() > 2 && expected.iter().all(|size| *size < 1_000));
    *expected.last_mut().unwrap() = 1_000;
    assert_eq!(found, expected);
    let headers = read_all(&rig.log);

    let end = rig.log.close().unwrap();
    assert_eq!(lengths(&rig), sizes(&rig), "a stop gives back what is not used");
    let rig = rig.reopen(true, end);
    assert_eq!(read_all(&rig.log), headers);
    rig.append_some(30);
    assert_eq!(lengths(&rig).last(), Some(&1_000), "the next segment has its size again");
}

#[test]
fn what_was_reserved_is_cut_off_after_an_unclean_stop() {
    for flushed in [true, false] {
        let rig = rig();
        rig.append_some(30);
        let recovery_point = if flushed { rig.log.flush(true).unwrap() } else { Offset::ZERO };
        let headers = read_all(&rig.log);
        let rig = rig.reopen(false, recovery_point);
        assert_eq!(read_all(&rig.log), headers);
        assert_eq!(lengths(&rig), sizes(&rig));
        rig.append_some(5);
        assert_eq!(read_all(&rig.log).len(), headers.len() + 5);
    }
}

#[test]
fn a_full_disk_takes_what_was_reserved_and_refuses_the_next_segment() {
    let faulty = FaultyDisk::new(disk());
    let rig = Rig::on(Arc::new(faulty.clone()), preallocating());
    rig.append_some(1);
    faulty.inject(Fault::NoSpaceAfter(0));
    let refused = (1..).find_map(|batch| Some((batch, rig.append(plain(1, 1)).err()?)));
    let Some((batches @ 5.., AppendError::NoSpace { .. })) = refused else { panic!("{refused:?}") };
    assert_eq!(rig.segment_files().len(), 1);
    faulty.clear();
    rig.append_some(20);
    assert!(rig.segment_files().len() > 2);
    let rig = rig.reopen(false, Offset::ZERO);
    assert_eq!(read_all(&rig.log).len(), batches + 20);
}
