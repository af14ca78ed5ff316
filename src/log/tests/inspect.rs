//! Looking at files: what is there is told, what is wrong is found, and nothing is changed.

use super::*;
use crate::log::files::Kind;

/// What was found in the only partition of the data directory, and in files beside it.
pub(super) fn verified(disk: &dyn Disk) -> (PartitionReport, Vec<Finding>) {
    let before = contents(disk);
    let mut partitions = Vec::new();
    let directory = verify(disk, Path::new(ROOT), &mut |partition| {
        partitions.push(partition.clone());
        Ok(())
    });
    assert_eq!(contents(disk), before, "nothing was changed");
    (partitions.pop().unwrap(), directory.unwrap().findings)
}

fn mark_clean(disk: &dyn Disk, recovery_point: Offset) {
    let write = |name: &str, text: &str| {
        disk.replace_small(&Path::new(ROOT).join(name), text.as_bytes()).unwrap();
    };
    write(".kafka_cleanshutdown", r#"{"version":0,"brokerEpoch":1}"#);
    write("recovery-point-offset-checkpoint", &format!("0\n1\nt 0 {recovery_point}\n"));
}

/// A log of several segments that was closed in good order.
fn closed() -> (Arc<dyn Disk>, Offset) {
    let rig = Rig::new();
    rig.append_some(40);
    rig.append(of_producer(1, 0, 0)).unwrap();
    let end = rig.log.close().unwrap();
    mark_clean(&*rig.disk, end);
    (rig.disk, end)
}

fn flip(disk: &dyn Disk, path: &Path, at: usize) {
    let mut bytes = disk.read_small(path).unwrap().unwrap();
    bytes[at] ^= 0x55;
    disk.open(path, OpenMode::Write).unwrap().write_at(0, &[&bytes]).unwrap();
}

#[test]
fn a_sound_log_is_told_as_it_is() {
    let (disk, end) = closed();
    let (report, beside) = verified(&*disk);
    assert_eq!((&report.findings[..], &beside[..]), (&[][..], &[][..]));
    assert_eq!((report.log_start, report.end, report.recovery_point), (Offset::ZERO, end, end));
    assert_eq!((report.batches, report.records), (41, end.0 as u64));
    assert!(report.segments > 2 && report.topic_id.is_some());
    let alone = verify(&*disk, Path::new(DIRECTORY), &mut |partition| {
        assert_eq!((partition.end, &partition.findings[..]), (end, &[][..]));
        Ok(())
    });
    alone.unwrap();
}

#[test]
fn a_changed_byte_of_any_file_is_found() {
    let (disk, _) = closed();
    let files = contents(&*disk);
    let of_partition = files.iter().filter(|(path, _)| path.starts_with(DIRECTORY));
    let mut checked = 0;
    for (path, bytes) in of_partition {
        let name = path.file_name().unwrap().to_str().unwrap();
        for at in (0..bytes.len()).step_by(7) {
            // Another offset in an index may be as true, another id is one, and so is another epoch.
            let is_loose = name.ends_with(".index") && at % 8 < 4
                || ["partition.metadata", "leader-epoch-checkpoint"].contains(&name);
            if is_loose {
                continue;
            }
            flip(&*disk, path, at);
            let (report, _) = verified(&*disk);
            // No checksum covers a batch's place and epoch: they are wrong where the next batch contradicts them, which may be
            // in the next file, or never.
            let is_log = name.ends_with(".log");
            let found = report.findings.iter().any(|finding| {
                finding.severity == Severity::Damage && (is_log || finding.path == *path)
            });
            let may_pass = is_log && report.findings.is_empty();
            assert!(found || may_pass, "{name} at {at}: {:?}", report.findings);
            flip(&*disk, path, at);
            checked += usize::from(found);
        }
    }
    assert!(checked > 300, "{checked}");
}

#[test]
fn a_torn_end_is_no_damage_and_an_end_that_was_durable_is() {
    let rig = Rig::new();
    rig.append_some(12);
    let path = rig.segment_files().pop().unwrap();
    let whole = rig.disk.read_small(&path).unwrap().unwrap();
    rig.disk.open(&path, OpenMode::Write).unwrap().set_len(whole.len() as u64 - 3).unwrap();
    let (report, _) = verified(&*rig.disk);
    let [torn] = &report.findings[..] else { panic!("{report:?}") };
    assert_eq!((torn.severity, &torn.path), (Severity::Torn, &path));
    mark_clean(&*rig.disk, rig.log.ends().end);
    let (report, _) = verified(&*rig.disk);
    assert_eq!(report.findings[0].severity, Severity::Damage);
    // What verify says is what a start does.
    rig.disk.remove_file(&Path::new(ROOT).join(".kafka_cleanshutdown")).unwrap();
    rig.disk.remove_file(&Path::new(ROOT).join("recovery-point-offset-checkpoint")).unwrap();
    let opened = open(&rig.disk, start(&rig.config, false)).unwrap();
    let cut = whole.len() as u64 - 3 - torn.position.unwrap();
    assert_eq!((opened.log.ends().end, opened.cut_bytes), (report.end, cut));
}

#[test]
fn each_batch_with_a_wrong_sum_is_told() {
    let (disk, _) = closed();
    let path = Kind::Records.path(Path::new(DIRECTORY), Offset::ZERO);
    let bytes = disk.read_small(&path).unwrap().unwrap();
    let ends: Vec<usize> = scan(&bytes)
        .map(|batch| batch.unwrap().bytes.len())
        .scan(0, |end, bytes| {
            *end += bytes;
            Some(*end)
        })
        .collect();
    for end in &ends[..3] {
        flip(&*disk, &path, end - 1);
    }
    let positions: Vec<_> =
        verified(&*disk).0.findings.iter().map(|finding| finding.position.unwrap()).collect();
    assert_eq!(positions, [0, ends[0] as u64, ends[1] as u64]);
}

#[test]
fn damaged_checkpoints_are_named() {
    let (disk, _) = closed();
    let path = Path::new(ROOT).join("log-start-offset-checkpoint");
    disk.replace_small(&path, b"0\n1\nt 0\n").unwrap();
    let (_, beside) = verified(&*disk);
    assert_eq!((&beside[0].path, &*beside[0].problem), (&path, "line 3: no offset"));
}

#[test]
fn what_is_no_log_directory_is_refused() {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("empty")).unwrap();
    let refused = verify(&disk, Path::new("empty"), &mut |_| Ok(()));
    assert!(matches!(refused, Err(InspectError::NoLogDirectory { .. })));
    let missing = verify(&disk, Path::new("missing"), &mut |_| Ok(()));
    assert!(matches!(missing, Err(InspectError::Read { .. })));
}

#[test]
fn what_a_crash_leaves_behind_is_told() {
    let (disk, end) = closed();
    let names = [
        ("00000000000000000000.log.cleaned", "of a segment that compaction was writing"),
        ("00000000000000000000.log.deleted", "of a segment that the log no longer has"),
        ("00000000000000000099.index.swap", "of a compacted segment that does not count"),
        ("leader-epoch-checkpoint.tmp", "what was to replace a file"),
    ];
    for (name, _) in names {
        disk.replace_small(&Path::new(DIRECTORY).join(name), b"torn").unwrap();
    }
    disk.replace_small(&Path::new(ROOT).join("meta.properties.tmp"), b"").unwrap();
    let (report, beside) = verified(&*disk);
    assert_eq!(report.end, end);
    let told: Vec<_> = report.findings.iter().map(|it| (it.path.clone(), it.severity)).collect();
    let expected = names.map(|(name, _)| (Path::new(DIRECTORY).join(name), Severity::Note));
    assert_eq!(told, expected);
    for (finding, (name, words)) in report.findings.iter().zip(names) {
        assert!(finding.problem.starts_with(words), "{finding:?}");
        let is_torn = finding.problem.contains("whole up to byte 0");
        assert_eq!(is_torn, name.contains(".log."), "{finding:?}");
    }
    let [temporary] = &beside[..] else { panic!("{beside:?}") };
    assert_eq!(temporary.severity, Severity::Note);
}

/// One word for each thing in a file.
fn dumped(disk: &dyn Disk, name: &str, records: bool) -> (Vec<String>, bool) {
    let mut items = Vec::new();
    let options = DumpOptions { records, bytes_max: None };
    let sound = dump(disk, &Path::new(DIRECTORY).join(name), options, &mut |item| {
        items.push(match item {
            Dumped::Batch { position, header, is_valid } => {
                format!("batch {} {position} {is_valid}", header.base_offset)
            }
            Dumped::Record { record, sequence, .. } => {
                format!("record {} {sequence}", record.offset)
            }
            Dumped::Offset { offset, position } => format!("offset {offset} {position}"),
            Dumped::Time { timestamp, offset } => format!("time {timestamp} {offset}"),
            Dumped::Producer(producer) => format!("producer {}", producer.producer_id),
            Dumped::Epoch { epoch, start_offset } => format!("epoch {epoch} {start_offset}"),
            Dumped::Topic(id) => format!("topic {id}"),
            Dumped::Damage { position, bytes, .. } => format!("damage {position} {bytes}"),
            Dumped::Aborted { .. } | Dumped::Checkpoint { .. } => panic!("not in these files"),
        });
        Ok(())
    });
    (items, sound.unwrap())
}

#[test]
fn a_dump_shows_what_is_in_each_file() {
    let rig = Rig::new();
    rig.append(plain(0, 2)).unwrap();
    for sequence in [0, 1] {
        rig.append(of_producer(7, 0, sequence)).unwrap();
    }
    rig.append(plain(10_000_000, 1)).unwrap();
    let end = rig.log.close().unwrap();
    let log = "00000000000000000000.log";
    let bytes = rig.disk.read_small(&Path::new(DIRECTORY).join(log)).unwrap().unwrap();
    let first = plain(0, 2).len();
    let (items, sound) = dumped(&*rig.disk, log, true);
    assert!(sound);
    assert_eq!(
        items[..4],
        ["batch 0 0 true", "record 0 -1", "record 1 -1", &format!("batch 2 {first} true")]
    );
    assert_eq!(
        items[4..7],
        [
            "record 2 0",
            &format!("batch 3 {} true", first + of_producer(7, 0, 0).len()),
            "record 3 1"
        ]
    );
    let (index, _) = dumped(&*rig.disk, "00000000000000000000.index", false);
    assert_eq!(index.len(), 1);
    assert!(dumped(&*rig.disk, "00000000000000000000.timeindex", false).0.len() <= 3);
    assert_eq!(dumped(&*rig.disk, &format!("{:020}.snapshot", end.0), false).0, ["producer 7"]);
    assert_eq!(dumped(&*rig.disk, "leader-epoch-checkpoint", false).0, ["epoch 0 0"]);
    assert!(dumped(&*rig.disk, "partition.metadata", false).0[0].starts_with("topic "));
    // A torn end and a wrong sum are shown as such.
    let file = rig.disk.open(&Path::new(DIRECTORY).join(log), OpenMode::Write).unwrap();
    file.set_len(bytes.len() as u64 - 1).unwrap();
    file.write_at(first as u64 - 1, &[b"?"]).unwrap();
    let (items, sound) = dumped(&*rig.disk, log, false);
    let last = bytes.len() - plain(10_000_000, 1).len();
    assert_eq!((&*items[0], sound), ("batch 0 0 false", false));
    assert_eq!(items.last().unwrap(), &format!("damage {last} {}", bytes.len() - 1 - last));
}

#[test]
fn a_dump_of_a_file_of_no_known_name_is_refused() {
    let (disk, _) = closed();
    let options = DumpOptions { records: false, bytes_max: None };
    let refused = dump(&*disk, Path::new("data/other"), options, &mut |_| Ok(()));
    assert!(matches!(refused, Err(InspectError::UnknownFile { .. })));
    let missing = Path::new("data/t-0/00000000000000000099.index");
    let missing = dump(&*disk, missing, options, &mut |_| Ok(()));
    assert!(matches!(missing, Err(InspectError::Read { .. })));
}
