//! Segments that are finished are open only while they are read, and are read right whatever happens to their names.

use super::super::scan::Step;
use super::compaction::{compacting, keyed, seen, try_clean};
use super::*;
use crate::env::{RealDisk, open_in};
use crate::record::Compression;

/// Most settled files that are open: a segment has three, and perhaps a fourth.
const SETTLED_MAX: usize = 5;
/// Most that a log has open or mapped: the settled ones, and the segment that grows.
const OPEN_MAX: usize = 2 * SETTLED_MAX + 2;

struct OnDisk {
    root: tempfile::TempDir,
    disk: Arc<dyn Disk>,
    config: LogConfig,
    log: Log,
}

impl OnDisk {
    fn new(config: LogConfig) -> Self {
        let root = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::with_settled_max(SETTLED_MAX));
        let log = Opened::open(&disk, root.path(), start(&config, true), &Rng::from_seed(1));
        Self { root, log: log.unwrap().log, disk, config }
    }

    fn opened_again(self) -> Self {
        let end = self.log.ends().end;
        self.log.close().unwrap();
        let start = LogStart { recovery_point: end, ..start(&self.config, true) };
        let log = Opened::open(&self.disk, self.root.path(), start, &Rng::from_seed(1));
        Self { log: log.unwrap().log, ..self }
    }

    fn append(&self, count: i64) {
        for i in 0..count {
            let batch = keyed(Compression::None, 1_000, &[(i as u8 % 7, Some(i))]);
            let batch = ValidBatch::trusted(&batch).unwrap();
            let leader_epoch = LeaderEpoch(0);
            let now = UnixMillis(1_000_000);
            let append = Append { batch, leader_epoch, origin: Origin::Client, now };
            let AppendedAt::End(end) = self.log.append(&append).unwrap().at else { panic!() };
            self.log.advance_high_watermark(end);
        }
    }

    fn open_count(&self) -> usize {
        open_in(self.root.path()).len()
    }
}

fn segment_count(log: &Log) -> usize {
    log.published.read().segments.len()
}

#[test]
fn files_of_finished_segments_are_open_in_bounded_number() {
    let mut rig = OnDisk::new(config());
    rig.append(300);
    assert!(segment_count(&rig.log) > 30);
    rig.log.flush(true).unwrap();
    for _ in 0..2 {
        for _ in 0..2 {
            assert_eq!(seen(&rig.log).len(), 300);
            assert!(rig.log.find_timestamp(UnixMillis(1_000)).unwrap().is_some());
            assert!(rig.open_count() <= OPEN_MAX, "{:?}", open_in(rig.root.path()));
        }
        rig = rig.opened_again();
        assert!(rig.open_count() <= OPEN_MAX, "{:?}", open_in(rig.root.path()));
    }
}

#[test]
fn reads_go_on_in_segments_that_lose_their_names() {
    let rig = OnDisk::new(compacting());
    rig.append(200);
    rig.log.flush(true).unwrap();
    let old = rig.log.published.read().clone();
    let (end, files) = try_clean(&rig.log, Offset::ZERO, 2_000, 1_000).unwrap();
    assert!(!files.is_empty());
    let removed = rig.log.advance_log_start(Offset(150)).unwrap();
    for path in files.into_iter().chain(rig.log.mark_deleted(removed).unwrap()) {
        rig.disk.remove_file(&path).unwrap();
    }
    for offset in 0..end.0 {
        let held = old.segments.iter().rfind(|segment| segment.base() <= Offset(offset)).unwrap();
        match held.find(Offset(offset), held.size(), Residency::Any).unwrap() {
            Step::Batch(found) => assert_eq!(found.header.base_offset, Offset(offset)),
            other @ (Step::End | Step::NotResident) => panic!("{other:?}"),
        }
    }
    drop(old);
    assert!(rig.open_count() <= OPEN_MAX, "{:?}", open_in(rig.root.path()));
}

#[test]
fn an_abandoned_log_reads_no_file_of_another_that_has_its_directory() {
    let rig = OnDisk::new(config());
    rig.append(100);
    rig.log.flush(true).unwrap();
    rig.log.abandon();
    let directory = rig.root.path().join("t-0");
    rig.disk.rename(&directory, &rig.root.path().join("t-0.x-delete")).unwrap();
    let start =
        LogStart { topic_id: TopicId(uuid::Uuid::from_u128(2)), ..start(&rig.config, true) };
    let other = Opened::open(&rig.disk, rig.root.path(), start, &Rng::from_seed(1)).unwrap().log;
    let other = OnDisk { log: other, disk: rig.disk, config: rig.config, root: rig.root };
    other.append(100);
    other.log.flush(true).unwrap();
    let mut still_open = 0;
    for offset in 0..100 {
        let read = rig.log.read(Offset(offset), 1, true, ReadLimit::HighWatermark, Residency::Any);
        match read {
            Err(ReadError::Io { source, .. }) => {
                assert_eq!(source.kind(), io::ErrorKind::NotFound);
            }
            // What was open is still read.
            Ok(read) => {
                let header = BatchHeader::parse(&read.unwrap().records).unwrap();
                assert_eq!(header.base_offset, Offset(offset));
                still_open += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(still_open < 60, "{still_open}: most were closed");
    assert_eq!(seen(&other.log).len(), 100);
}
