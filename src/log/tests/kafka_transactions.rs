//! A partition with transactions that Apache Kafka wrote (`tests/data/kafka-4.3.1-transactions`): it is read as Kafka reads
//! it, and whoever appends the same batches gets the same files.

use super::*;
use crate::record::peek_size;

/// Includes a file of the directory.
macro_rules! file {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../../tests/data/kafka-4.3.1-transactions/t-0/", $name)))
    };
}

/// All files, with their names.
const FILES: &[(&str, &[u8])] = &[
    file!("00000000000000000000.index"),
    file!("00000000000000000000.log"),
    file!("00000000000000000000.timeindex"),
    file!("00000000000000000000.txnindex"),
    file!("00000000000000000010.index"),
    file!("00000000000000000010.log"),
    file!("00000000000000000010.snapshot"),
    file!("00000000000000000010.timeindex"),
    file!("00000000000000000010.txnindex"),
    file!("00000000000000000015.index"),
    file!("00000000000000000015.log"),
    file!("00000000000000000015.snapshot"),
    file!("00000000000000000015.timeindex"),
    file!("00000000000000000015.txnindex"),
    file!("00000000000000000019.snapshot"),
    file!("leader-epoch-checkpoint"),
];

/// The time at which the last batch was written.
const NOW: UnixMillis = UnixMillis(1_795_876_432_936);

fn kafkas_start(clean: bool) -> LogStart {
    let config = LogConfig { segment_age_max: Duration::from_secs(600), ..LogConfig::default() };
    LogStart { now: NOW, ..start(&config, clean) }
}

fn empty_disk() -> Arc<dyn Disk> {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(DIRECTORY)).unwrap();
    Arc::new(disk)
}

/// A disk with those of the files whose names are `wanted`.
fn disk_with(wanted: impl Fn(&str) -> bool) -> Arc<dyn Disk> {
    let disk = empty_disk();
    for (name, bytes) in FILES.iter().filter(|(name, _)| wanted(name)) {
        let path = Path::new(DIRECTORY).join(name);
        disk.open(&path, OpenMode::CreateNew).unwrap().write_at(0, &[*bytes]).unwrap();
    }
    disk
}

fn check(log: &Log) {
    let ends = log.ends();
    assert_eq!((ends.last_stable, ends.high_watermark), (Offset(18), Offset(19)));
    let producers = log.producers().into_iter().map(|it| {
        let start = it.transaction_start.map(|start| start.0);
        let last = (it.last_sequence, it.last_timestamp.0);
        (it.producer_id.0, it.epoch.0, last, it.coordinator_epoch, start)
    });
    let expected = [
        (0, 3, (0, 1_795_876_432_936), 0, Some(18)),
        (1, 2, (-1, 1_795_874_935_460), 0, None),
        (2, 2, (-1, 1_795_874_935_487), 0, None),
        (3, 0, (2, 1_795_875_632_936), -1, None),
    ];
    assert_eq!(producers.collect::<Vec<_>>(), expected);
    let aborted = |from| {
        let read = log.read(Offset(from), 10_000, true, ReadLimit::LastStable, Residency::Any);
        let aborted = read.unwrap().unwrap().aborted.into_iter();
        aborted.map(|it| (it.producer_id.0, it.first_offset.0)).collect::<Vec<_>>()
    };
    // A read ends with its segment.
    assert_eq!(aborted(0), [(0, 1), (0, 8), (2, 7)]);
    assert_eq!(aborted(6), [(0, 8), (2, 7)]);
    assert_eq!(aborted(11), [(2, 7), (1, 10)]);
    assert_eq!(aborted(15), [(2, 15)]);
}

#[test]
fn a_directory_of_apache_kafka_is_read_as_it_is() {
    let opened = open(&disk_with(|_| true), kafkas_start(true)).unwrap();
    check(&opened.log);
    assert_eq!(opened.scanned_bytes, 0);
}

#[test]
fn what_is_missing_or_damaged_is_built_as_apache_kafka_built_it() {
    for (clean, lost) in [(false, ".txnindex"), (false, "snapshot"), (false, "index")] {
        let disk = disk_with(|name| !name.ends_with(lost));
        let rig =
            Rig { log: open(&disk, kafkas_start(clean)).unwrap().log, disk, config: config() };
        check(&rig.log);
        rig.log.close().unwrap();
        expect_files(&*rig.disk, |_| true);
    }
    for damaged in ["00000000000000000000.txnindex", "00000000000000000010.txnindex"] {
        let disk = disk_with(|_| true);
        let file = disk.open(&Path::new(DIRECTORY).join(damaged), OpenMode::Write).unwrap();
        file.set_len(40).unwrap();
        let opened = open(&disk, kafkas_start(true)).unwrap();
        check(&opened.log);
        expect_files(&*disk, |_| true);
    }
}

#[test]
fn the_same_batches_give_the_same_files() {
    let disk = empty_disk();
    let opened = open(&disk, kafkas_start(true)).unwrap();
    for (_, bytes) in FILES.iter().filter(|(name, _)| name.ends_with(".log")) {
        let mut rest = Bytes::from_static(bytes);
        while let Some(size) = peek_size(&rest).unwrap() {
            let batch = ValidBatch::trusted(&rest.split_to(size)).unwrap();
            let origin = Origin::Replication;
            let append = Append { batch, leader_epoch: LeaderEpoch(0), origin, now: NOW };
            let AppendedAt::End(end) = opened.log.append(&append).unwrap().at else {
                panic!("a replicated batch is always new");
            };
            opened.log.advance_high_watermark(end);
        }
    }
    check(&opened.log);
    opened.log.close().unwrap();
    expect_files(&*disk, |_| true);
}

/// Those of Kafka's files whose names are `wanted` are there, byte for byte.
fn expect_files(disk: &dyn Disk, wanted: impl Fn(&str) -> bool) {
    for (name, bytes) in FILES.iter().filter(|(name, _)| wanted(name)) {
        let found = disk.read_small(&Path::new(DIRECTORY).join(name)).unwrap();
        assert_eq!(found.as_deref(), Some(*bytes), "{name}");
    }
}
