//! A move that ends at any point, by a crash or a failed disk, loses nothing.

use std::collections::BTreeMap;
use std::hash::Hasher as _;

use uuid::Uuid;

use super::*;
use crate::cluster::{ClusterImage, Command, NewTopic, Registration};
use crate::config::{self, Effective, Sources};
use crate::env::{Clock, Disk, Fault, FaultyDisk, MemoryDisk, Residency, Rng, WatchedDisk};
use crate::log::{DataDirError, DataDirs, DataPaths, ReadLimit};
use crate::model::{
    BrokerId, Offset, ProducerEpoch, ProducerId, TopicId, TopicName, UnixMillis, UuidText,
};
use crate::record::{BatchBuilder, EndMarker, TransactionOutcome, ValidBatch};

const BROKER: BrokerId = BrokerId(1);

/// A topic with one partition, led by this broker in an epoch that its registration has given.
fn image(registrations: u64) -> ClusterImage {
    let mut image = ClusterImage::default();
    let register = |index: u64| {
        let incarnation = UuidText(Uuid::from_u128(index.into()));
        Command::RegisterBroker(Registration::new(BROKER, incarnation))
    };
    let topic = NewTopic {
        name: TopicName::new("t").unwrap(),
        id: TopicId(Uuid::from_u128(1)),
        assignments: vec![vec![BROKER]],
        configs: BTreeMap::from([("segment.bytes".to_owned(), "1048576".to_owned())]),
    };
    image.apply(1, &register(1)).0.unwrap();
    image.apply(2, &Command::CreateTopic(topic)).0.unwrap();
    for index in 0..registrations {
        image.apply(3 + index, &register(3 + index)).0.unwrap();
    }
    image
}

async fn start(
    disk: Arc<dyn Disk>,
    image: &ClusterImage,
) -> Result<Arc<ReplicaManager>, DataDirError> {
    let mut env = Env::with_disk(Arc::clone(&disk));
    // The time of the records, so that no producer is forgotten.
    env.clock = Clock::starting_at(env.steady.clone(), UnixMillis(1_000));
    let paths = DataPaths { logs: vec!["a".into(), "b".into()], metadata: Some("m".into()) };
    let dirs = DataDirs::open(&disk, &paths, BROKER, Some("c"), &Rng::from_seed(7))?;
    let settings = Arc::new(Effective::new(config::load(Sources::default()).unwrap()));
    let manager = Arc::new(ReplicaManager::new(env, BROKER, settings, dirs));
    manager.open_all(image).await?;
    Ok(manager)
}

fn partition_of(manager: &ReplicaManager) -> Arc<Partition> {
    manager.all().pop().unwrap()
}

fn append(partition: &Partition, value: &[u8], producer: Option<(i64, i32)>) {
    let mut builder = BatchBuilder::new();
    if let Some((id, sequence)) = producer {
        builder.producer(ProducerId(id), ProducerEpoch(0), sequence).transactional();
    }
    builder.push(UnixMillis(1_000), None, Some(value));
    let batch = ValidBatch::trusted(&builder.build()).unwrap();
    partition.append(batch, true, UnixMillis(1_000)).unwrap();
}

fn end_transaction(partition: &Partition, producer: i64) {
    let marker = EndMarker { outcome: TransactionOutcome::Abort, coordinator_epoch: 0 };
    let end = crate::log::TransactionEnd {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(0),
        marker,
        transaction_version: 1,
    };
    partition.append_transaction_end(&end, UnixMillis(1_000)).unwrap();
}

/// Several segments, with transactions, of which one is open at the end; all durable.
fn fill(partition: &Partition) {
    for i in 0..5_i32 {
        append(partition, &vec![u8::try_from(i).unwrap(); 300_000], None);
        append(partition, b"in a transaction", Some((9, i)));
        if i == 3 {
            end_transaction(partition, 9);
        }
    }
    partition.log().unwrap().flush(true).unwrap();
}

/// A sum over all bytes of a partition, its marks, and what is known of its producers.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    bytes: u64,
    marks: (Offset, Offset, Offset),
    producers: String,
    aborted: usize,
}

fn seen(partition: &Partition) -> Seen {
    let log = partition.log().unwrap();
    let ends = log.ends();
    let mut bytes = std::hash::DefaultHasher::new();
    let mut from = ends.log_start;
    while from < ends.end {
        let read = log.read(from, 1, true, ReadLimit::End, Residency::Any).unwrap().unwrap();
        let header = crate::record::BatchHeader::parse(&read.records).unwrap();
        bytes.write(&read.records);
        from = header.next_offset();
    }
    let stable = log.read(ends.log_start, 4 << 20, true, ReadLimit::LastStable, Residency::Any);
    let aborted = stable.unwrap().unwrap().aborted.len();
    let bytes = bytes.finish();
    let producers = format!("{:?}", log.producers());
    Seen { bytes, marks: (ends.log_start, ends.last_stable, ends.end), producers, aborted }
}

/// Moves until nothing moves any more.
fn finish(manager: &ReplicaManager, partition: &Partition) {
    while partition.moving().is_some() {
        manager.step_move(partition);
    }
}

fn move_to(manager: &ReplicaManager, partition: &Partition, path: &str) {
    manager.alter_log_dir(&partition.name(), Some(partition), Path::new(path)).unwrap();
}

fn files(disk: &dyn Disk, directory: &str) -> BTreeMap<String, Vec<u8>> {
    let directory = Path::new(directory);
    let entries = disk.list(directory).unwrap().into_iter();
    let records = entries.filter(|entry| entry.name.ends_with(".log"));
    records
        .map(|entry| {
            let bytes = disk.read_small(&directory.join(&entry.name)).unwrap().unwrap();
            (entry.name, bytes)
        })
        .collect()
}

/// A disk with a filled partition in directory `a`, as a process that was killed leaves it.
async fn filled() -> (MemoryDisk, Seen) {
    let memory = MemoryDisk::with_power_model();
    let manager = start(Arc::new(memory.clone()), &image(0)).await.unwrap();
    let partition = partition_of(&manager);
    fill(&partition);
    manager.checkpoint(KeptKinds::All).unwrap();
    let seen = seen(&partition);
    drop((partition, manager));
    (memory.process_end(), seen)
}

#[tokio::test]
async fn a_moved_partition_is_the_same_byte_for_byte() {
    let (memory, before) = filled().await;
    let manager = start(Arc::new(memory.clone()), &image(1)).await.unwrap();
    let partition = partition_of(&manager);
    let segments = files(&memory, "a/t-0");
    assert!(segments.len() > 1, "several segments");
    move_to(&manager, &partition, "b");
    finish(&manager, &partition);
    assert_eq!(seen(&partition), before);
    assert_eq!(files(&memory, "b/t-0"), segments);
    // It goes on: the open transaction is the same, and its end is too.
    end_transaction(&partition, 9);
    let (_, stable, end) = seen(&partition).marks;
    assert_eq!((before.marks.1.plus(2), stable), (end, end), "the batch and its marker");
}

#[tokio::test]
async fn nothing_is_lost_wherever_a_move_is_interrupted() {
    let (memory, before) = filled().await;
    let started = image(1);
    // What a step writes into a copy does not count: any beginning of it is as good.
    let counts = |path: &Path| !path.to_string_lossy().ends_with(".log");
    let watched = WatchedDisk::new(memory.process_end(), counts);
    let manager = start(Arc::new(watched.clone()), &started).await.unwrap();
    let moving = partition_of(&manager);
    drop(watched.take_crashes());
    move_to(&manager, &moving, "b");
    finish(&manager, &moving);
    drop((moving, manager));
    let disks: Vec<_> = watched.take_crashes().into_iter().map(|crash| crash.disk).collect();
    assert!(disks.len() > 60, "{}", disks.len());
    let mut twice = 0;
    for disk in disks {
        let both = ["a/t-0", "b/t-0"].map(|path| disk.exists(Path::new(path)).unwrap());
        twice += usize::from(both == [true, true]);
        let manager = start(Arc::new(disk.clone()), &image(2)).await.unwrap();
        let partition = partition_of(&manager);
        assert_eq!(seen(&partition), before);
        append(&partition, b"more", None);
        let expected = seen(&partition);
        finish(&manager, &partition);
        assert_eq!(seen(&partition), expected);
        drop((partition, manager));
        // And at the next start there is one of it.
        let both = ["a/t-0", "b/t-0"].map(|path| disk.exists(Path::new(path)).unwrap());
        assert_ne!(both[0], both[1]);
        let again = start(Arc::new(disk.process_end()), &image(3)).await.unwrap();
        assert_eq!(seen(&partition_of(&again)).bytes, expected.bytes);
    }
    assert!(twice > 0, "both directories had the name at some point");
}

#[tokio::test]
async fn a_source_that_went_on_without_its_moved_copy_is_not_replaced_by_it() {
    let (memory, before) = filled().await;
    // The copy has its name, and the other directory cannot be read at the next start.
    let counts = |path: &Path| !path.to_string_lossy().ends_with(".log");
    let watched = WatchedDisk::new(memory, counts);
    let manager = start(Arc::new(watched.clone()), &image(1)).await.unwrap();
    let moving = partition_of(&manager);
    move_to(&manager, &moving, "b");
    finish(&manager, &moving);
    drop((moving, manager));
    let has_both = |disk: &MemoryDisk| {
        ["a/t-0", "b/t-0"].iter().all(|path| disk.exists(Path::new(path)).unwrap())
    };
    let mut disks = watched.take_crashes().into_iter().map(|crash| crash.disk);
    let disk = disks.rfind(has_both).unwrap();
    for lost in ["a/meta", "b/meta"] {
        let faulty = FaultyDisk::new(Arc::new(disk.process_end()));
        faulty.inject(Fault::Read(lost.to_owned()));
        let manager = start(Arc::new(faulty.clone()), &image(2)).await.unwrap();
        let found = partition_of(&manager);
        if lost == "b/meta" {
            // It may be older than what is there.
            assert!(found.log().is_err());
        } else {
            append(&found, b"more", None);
        }
        drop((found, manager));
        faulty.clear();
        let manager = start(Arc::new(faulty), &image(3)).await.unwrap();
        let found = partition_of(&manager);
        let dir = manager.dirs.path(found.dir().unwrap());
        assert_eq!(dir, Path::new("b"));
        let more = usize::from(lost == "a/meta");
        assert_eq!(seen(&found).marks.2, before.marks.2.plus(more as i64));
    }
}

#[tokio::test]
async fn a_copy_of_another_history_is_made_anew() {
    let (memory, before) = filled().await;
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let manager = start(Arc::clone(&disk), &image(1)).await.unwrap();
    let found = partition_of(&manager);
    move_to(&manager, &found, "b");
    // All is in the copy, and then the end of the partition is lost and written anew.
    while !manager.copy_step(&found, &found.moving().unwrap()).unwrap().complete {}
    let copy = found.moving().unwrap().copy;
    copy.flush(true).unwrap();
    assert_eq!(copy.ends().end, before.marks.2);
    let segment = found.log().unwrap().directory().to_owned();
    drop((copy, found, manager));
    let last = files(&memory, "a/t-0").into_iter().next_back().unwrap();
    let file = disk.open(&segment.join(&last.0), crate::env::OpenMode::Write).unwrap();
    file.set_len(last.1.len() as u64 - 10).unwrap();
    disk.remove_file(Path::new("a/recovery-point-offset-checkpoint")).unwrap();
    let disk = memory.process_end();
    let manager = start(Arc::new(disk.clone()), &image(2)).await.unwrap();
    let found = partition_of(&manager);
    for value in [b"x", b"y", b"z"] {
        append(&found, value, None);
    }
    let expected = seen(&found);
    assert_ne!(expected.bytes, before.bytes);
    finish(&manager, &found);
    assert_eq!(seen(&found).bytes, expected.bytes);
    assert_eq!(manager.dirs.path(found.dir().unwrap()), Path::new("b"));
}
