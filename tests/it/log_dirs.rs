//! Several log directories: where partitions are made and found, what a failed directory takes with it, and moves between them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla::broker::StartError;
use ottla::env::{Disk, Fault, FaultyDisk, MemoryDisk};
use ottla::log::{DataDirError, DataPaths, Severity, verify};
use ottla::model::ErrorCode;
use ottla::wire::messages::{
    AlterReplicaLogDirsRequest, CreatePartitionsRequest, CreateTopicsRequest, WireBrokerId,
    alter_replica_log_dirs_request, create_partitions_request, create_topics_request,
};
use ottla::wire::{DescribeLogDirsRequest, Text};

use crate::configs::{BROKER, DELETE, SET, alter_telling};
use crate::rig::{Client, Rig, batch, creation, wire_name};

fn paths(dirs: &[&str]) -> DataPaths {
    DataPaths { logs: dirs.iter().map(PathBuf::from).collect(), metadata: None }
}

fn faulty() -> (FaultyDisk, Arc<dyn Disk>) {
    let faulty = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    (faulty.clone(), Arc::new(faulty))
}

async fn rig(disk: &Arc<dyn Disk>, dirs: &[&str]) -> Rig {
    Rig::on_dirs(Arc::clone(disk), &paths(dirs), &[]).await.unwrap()
}

/// What DescribeLogDirs says of each directory: its error, and each partition with whether it is a copy.
type Described = BTreeMap<String, (ErrorCode, Vec<(String, bool)>)>;

async fn describe(client: &mut Client) -> Described {
    let response = client.call(4, &DescribeLogDirsRequest { topics: None }).await;
    let dir = |dir: &ottla::wire::describe_log_dirs::LogDir| {
        let mut partitions = Vec::new();
        for topic in &dir.topics {
            for partition in &topic.partitions {
                let name = format!("{}-{}", topic.name, partition.partition_index);
                partitions.push((name, partition.is_future_key));
            }
        }
        (dir.log_dir.to_string(), (dir.error_code, partitions))
    };
    response.results.iter().map(dir).collect()
}

fn current(names: &[&str]) -> (ErrorCode, Vec<(String, bool)>) {
    (ErrorCode::None, names.iter().map(|name| ((*name).to_owned(), false)).collect())
}

/// Asks for a move of one partition; gives the code.
async fn move_to(client: &mut Client, topic: &str, partition: i32, path: &str) -> ErrorCode {
    let mut asked = alter_replica_log_dirs_request::AlterReplicaLogDirTopic::default();
    (asked.name, asked.partitions) = (wire_name(topic), vec![partition]);
    let mut dir = alter_replica_log_dirs_request::AlterReplicaLogDir::default();
    (dir.path, dir.topics) = (Text::from_string(path.to_owned()), vec![asked]);
    let mut request = AlterReplicaLogDirsRequest::default();
    request.dirs = vec![dir];
    let response = client.call(2, &request).await;
    ErrorCode::from_code(response.results[0].partitions[0].error_code).unwrap()
}

/// Asks until a partition is in a directory and not on its way any more.
async fn until_in(client: &mut Client, path: &str, name: &str) {
    loop {
        let all = describe(client).await;
        let places: Vec<_> = all
            .iter()
            .flat_map(|(path, (_, names))| names.iter().map(move |(name, _)| (&**path, &**name)))
            .filter(|(_, found)| *found == name)
            .map(|(path, _)| path)
            .collect();
        if places == [path] {
            return;
        }
    }
}

fn findings(disk: &dyn Disk, dirs: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for dir in dirs {
        let mut each = |partition: &ottla::log::PartitionReport| {
            found.extend(partition.findings.iter().map(|finding| format!("{finding:?}")));
            Ok(())
        };
        let report = verify(disk, Path::new(dir), &mut each).unwrap();
        let worse = report.findings.iter().filter(|finding| finding.severity != Severity::Note);
        found.extend(worse.map(|finding| format!("{finding:?}")));
    }
    found
}

#[tokio::test]
async fn partitions_go_where_the_fewest_are_and_are_found_again() {
    let (_, disk) = faulty();
    let rig = rig(&disk, &["a", "b", "c"]).await;
    let mut client = rig.client().await;
    client.create("t", 4, &[]).await;
    client.create("u", 2, &[]).await;
    for partition in 0..4 {
        client.append("t", partition, batch(&[&format!("value {partition}")])).await;
    }
    let placed = describe(&mut client).await;
    assert_eq!(placed["a"], current(&["t-0", "t-3"]));
    assert_eq!(placed["b"], current(&["t-1", "u-0"]));
    assert_eq!(placed["c"], current(&["t-2", "u-1"]));
    // In another order, and after a crash: they are where they are found.
    let rig = rig.restart().await;
    assert_eq!(describe(&mut rig.client().await).await, placed);
    let rig = rig.crash().await;
    let mut client = rig.client().await;
    assert_eq!(describe(&mut client).await, placed);
    for partition in 0..4 {
        assert_eq!(client.values("t", partition).await, [format!("value {partition}")]);
    }
    rig.broker.stop().await.unwrap();
    for dir in ["a", "b", "c"] {
        assert!(disk.exists(&Path::new(dir).join(".kafka_cleanshutdown")).unwrap());
    }
    assert_eq!(findings(&*disk, &["a", "b", "c"]), Vec::<String>::new());
    // The metadata log was in the first one, and is not passed over.
    let moved = Rig::on_dirs(Arc::clone(&disk), &paths(&["b", "a", "c"]), &[]).await;
    let error = moved.err().unwrap();
    assert!(
        matches!(error, StartError::DataDir(DataDirError::MetadataElsewhere { .. })),
        "{error}"
    );
    let named = DataPaths { metadata: Some("a".into()), ..paths(&["b", "a", "c"]) };
    let rig = Rig::on_dirs(disk, &named, &[]).await.unwrap();
    assert_eq!(describe(&mut rig.client().await).await, placed);
}

#[tokio::test]
async fn a_partition_that_is_found_twice_is_refused() {
    let (_, disk) = faulty();
    let rig = rig(&disk, &["a", "b"]).await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    client.append("t", 0, batch(&["x"])).await;
    rig.broker.stop().await.unwrap();
    // One that is not empty, and one whose records are deleted.
    for (file, bytes) in [("00000000000000000000.log", "x"), ("00000000000000000007.log", "")] {
        disk.create_dir_all(Path::new("b/t-0")).unwrap();
        disk.replace_small(&Path::new("b/t-0").join(file), bytes.as_bytes()).unwrap();
        let error = Rig::on_dirs(Arc::clone(&disk), &paths(&["a", "b"]), &[]).await.err().unwrap();
        let words = "a/t-0 and b/t-0 hold the same partition: remove one of them, that of the directory that failed if one did";
        assert_eq!(error.to_string(), words);
        disk.remove_dir_all(Path::new("b/t-0")).unwrap();
    }
}

#[tokio::test]
async fn a_partition_that_was_created_elsewhere_because_a_directory_has_failed_is_found_again() {
    let steps = ["", "partition.metadata", "00000000000000000000.log", "leader-epoch-checkpoint"];
    let faults = steps.iter().map(|step| Fault::Write(format!("b/t-0/{step}")));
    for fault in faults.chain([Fault::Sync("b/t-0/".into())]) {
        let (disk, shared) = faulty();
        let rig = rig(&shared, &["a", "b"]).await;
        let mut client = rig.client().await;
        client.create("s", 1, &[]).await;
        disk.inject(fault.clone());
        client.create("t", 1, &[("flush.messages", "1")]).await;
        client.produce("t", 0, batch(&["x"])).await;
        disk.clear();
        let rig = rig.crash().await;
        let mut client = rig.client().await;
        let described = describe(&mut client).await;
        let found = [&described["a"], &described["b"]];
        let named = found.iter().flat_map(|(_, names)| names).filter(|(name, _)| name == "t-0");
        assert_eq!(named.count(), 1, "{fault:?}: {described:?}");
        client.append("t", 0, batch(&["y"])).await;
    }
}

#[tokio::test]
async fn a_directory_that_fails_takes_its_partitions_offline_and_no_others() {
    for fault in [Fault::Write("b/t-1/".into()), Fault::Sync("b/t-1/".into())] {
        let (disk, shared) = faulty();
        let rig = rig(&shared, &["a", "b"]).await;
        let mut client = rig.client().await;
        client.create("t", 2, &[("flush.messages", "1")]).await;
        client.create("u", 2, &[]).await;
        for (topic, partition) in [("t", 0), ("t", 1), ("u", 1)] {
            client.append(topic, partition, batch(&["before"])).await;
        }
        disk.inject(fault);
        let storage = ErrorCode::KafkaStorageError;
        assert_eq!(client.produce("t", 1, batch(&["x"])).await.error_code, storage);
        // All that is there, and at once; the others are served, and so are new ones.
        while client.fetch("u", 1, 0).await.error_code != storage {}
        assert_eq!(client.produce("u", 1, batch(&["x"])).await.error_code, storage);
        assert_eq!(client.fetch("t", 1, 0).await.error_code, storage);
        assert_eq!(crate::list_offsets::offset_of(&mut client, ("u", 1), 9, -1).await.0, storage);
        client.append("t", 0, batch(&["after"])).await;
        assert_eq!(client.values("t", 0).await, ["before", "after"]);
        client.create("v", 2, &[]).await;
        client.append("v", 1, batch(&["x"])).await;
        let described = describe(&mut client).await;
        assert_eq!(described["a"], current(&["t-0", "u-0", "v-0", "v-1"]));
        assert_eq!(described["b"], (storage, Vec::new()));
        assert_eq!(move_to(&mut client, "t", 0, "b").await, storage);
        assert_eq!(move_to(&mut client, "t", 1, "a").await, storage);
        assert!(!rig.broker.env().tasks.has_failed());
        // The next start tries again.
        disk.clear();
        let rig = rig.crash().await;
        let mut client = rig.client().await;
        assert_eq!(client.values("u", 1).await, ["before"]);
        assert_eq!(client.values("t", 1).await[..1], ["before"]);
        // Without the directory of the metadata there is no going on.
        disk.inject(Fault::Write("a/t-0/".into()));
        assert_eq!(client.produce("t", 0, batch(&["x"])).await.error_code, storage);
        rig.broker.failure().await;
    }
}

/// Checkpoints are written as soon as something has changed.
const EAGER: [&str; 3] = [
    "log.flush.offset.checkpoint.interval.ms=1",
    "log.flush.start.offset.checkpoint.interval.ms=1",
    "log.cleaner.enable=false",
];

#[tokio::test]
async fn a_directory_is_given_up_when_a_checkpoint_in_it_cannot_be_written() {
    for file in [
        "recovery-point-offset-checkpoint",
        "log-start-offset-checkpoint",
        "replication-offset-checkpoint",
    ] {
        let (disk, shared) = faulty();
        let dirs = DataPaths { metadata: Some("a".into()), ..paths(&["b", "a"]) };
        let rig = Rig::on_dirs(Arc::clone(&shared), &dirs, &EAGER).await.unwrap();
        let mut client = rig.client().await;
        client.create("t", 2, &[("flush.messages", "1")]).await;
        disk.inject(Fault::Write(format!("b/{file}")));
        let storage = ErrorCode::KafkaStorageError;
        while client.produce("t", 0, batch(&["x"])).await.error_code != storage {
            let code = crate::list_offsets::delete_before(&mut client, 1).await.0;
            assert!([ErrorCode::None, storage].contains(&code), "{file}: {code:?}");
        }
        client.append("t", 1, batch(&["y"])).await;
        assert_eq!(describe(&mut client).await["b"], (storage, Vec::new()), "{file}");
        assert!(!rig.broker.env().tasks.has_failed());
        // The next start tries again.
        disk.clear();
        let rig = rig.crash().await;
        let mut client = rig.client().await;
        client.append("t", 0, batch(&["x"])).await;
        assert_eq!(client.values("t", 1).await, ["y"]);
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_is_left_out_and_what_is_in_it_not_made_anew() {
    let (disk, shared) = faulty();
    let rig = rig(&shared, &["a", "b"]).await;
    let mut client = rig.client().await;
    client.create("t", 2, &[]).await;
    client.append("t", 1, batch(&["x"])).await;
    rig.broker.stop().await.unwrap();
    disk.inject(Fault::Read("b/meta.properties".into()));
    let rig = Rig::on_dirs(Arc::clone(&shared), &paths(&["a", "b"]), &[]).await.unwrap();
    let mut client = rig.client().await;
    assert_eq!(client.fetch("t", 1, 0).await.error_code, ErrorCode::KafkaStorageError);
    client.append("t", 0, batch(&["y"])).await;
    assert_eq!(describe(&mut client).await["b"], (ErrorCode::KafkaStorageError, Vec::new()));
    assert!(!shared.exists(Path::new("a/t-1")).unwrap());
    disk.clear();
    let rig = rig.restart().await;
    assert_eq!(rig.client().await.values("t", 1).await, ["x"]);
}

#[tokio::test]
async fn what_cannot_be_moved_is_refused_as_in_kafka() {
    let (_, disk) = faulty();
    let rig = rig(&disk, &["a", "b"]).await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    assert_eq!(move_to(&mut client, "t", 0, "nowhere").await, ErrorCode::LogDirNotFound);
    assert_eq!(move_to(&mut client, "t", 0, "a").await, ErrorCode::None, "it is there");
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(move_to(&mut client, "t", 7, "a").await, unknown);
    assert_eq!(move_to(&mut client, "soon", 0, "a").await, unknown);
    // Yet it will be made there, although the other one has fewer.
    client.create("soon", 1, &[]).await;
    assert_eq!(describe(&mut client).await["a"], current(&["soon-0", "t-0"]));
    let long = "x".repeat(240);
    client.create(&long, 1, &[]).await;
    assert_eq!(move_to(&mut client, &long, 0, "a").await, ErrorCode::InvalidTopic);
}

#[tokio::test]
async fn a_partition_moves_while_it_is_written_to() {
    let (_, disk) = faulty();
    let options = ["log.segment.bytes=1048576"];
    let rig = Rig::on_dirs(Arc::clone(&disk), &paths(&["a", "b"]), &options).await.unwrap();
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let filler = "f".repeat(100_000);
    for i in 0..40 {
        client.append("t", 0, batch(&[&format!("{i}"), &filler])).await;
    }
    let mut admin = rig.client().await;
    let mut written: Vec<String> = (0..40).map(|i| i.to_string()).collect();
    for path in ["b", "a", "b"] {
        assert_eq!(move_to(&mut admin, "t", 0, path).await, ErrorCode::None);
        let writes = async {
            for i in 0..50 {
                let value = format!("{path}{}{i}", written.len());
                client.append("t", 0, batch(&[&value])).await;
                written.push(value);
            }
        };
        tokio::join!(writes, until_in(&mut admin, path, "t-0"));
        client.append("t", 0, batch(&[path])).await;
        written.push(path.to_owned());
        let mut values = client.values("t", 0).await;
        values.retain(|value| *value != filler);
        assert_eq!(values, written);
    }
    assert!(!rig.broker.env().tasks.has_failed());
    let rig = rig.restart().await;
    let mut values = rig.client().await.values("t", 0).await;
    values.retain(|value| *value != filler);
    assert_eq!(values, written);
    assert_eq!(describe(&mut rig.client().await).await["b"], current(&["t-0"]));
    rig.broker.stop().await.unwrap();
    assert_eq!(findings(&*disk, &["a", "b"]), Vec::<String>::new());
}

/// A move that is slow enough to be met half-way.
const SLOW: &str = "replica.alter.log.dirs.io.max.bytes.per.second=1";

async fn slow_move(disk: &Arc<dyn Disk>, options: &[&str]) -> Rig {
    let rig = Rig::on_dirs(Arc::clone(disk), &paths(&["a", "b"]), options).await.unwrap();
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let filler = "f".repeat(900_000);
    for i in 0..3 {
        client.append("t", 0, batch(&[&format!("{i}{filler}")])).await;
    }
    assert_eq!(move_to(&mut client, "t", 0, "b").await, ErrorCode::None);
    let described = describe(&mut client).await;
    assert_eq!(described["a"], current(&["t-0"]));
    assert_eq!(described["b"], (ErrorCode::None, vec![("t-0".to_owned(), true)]));
    rig
}

/// The directories of copies.
fn copies(disk: &Arc<dyn Disk>, dir: &str) -> usize {
    let entries = disk.list(Path::new(dir)).unwrap();
    entries.iter().filter(|entry| entry.name.ends_with("-future")).count()
}

#[tokio::test]
async fn a_move_goes_on_after_a_restart() {
    let (_, disk) = faulty();
    for crashes in [false, true] {
        let disk: Arc<dyn Disk> =
            if crashes { Arc::new(MemoryDisk::new()) } else { Arc::clone(&disk) };
        let rig = slow_move(&disk, &[SLOW]).await;
        let rig = if crashes { rig.crash().await } else { rig.restart().await };
        assert_eq!(copies(&disk, "b"), 1);
        let mut client = rig.client().await;
        client.append("t", 0, batch(&["more"])).await;
        assert_eq!(move_to(&mut client, "t", 0, "b").await, ErrorCode::None, "it is on its way");
        assert_eq!(copies(&disk, "b"), 1);
        // Without the limit it comes to its end.
        rig.broker.stop().await.unwrap();
        let rig = rig_without_limit(&disk).await;
        let mut client = rig.client().await;
        until_in(&mut client, "b", "t-0").await;
        assert_eq!(client.values("t", 0).await.len(), 4);
        assert_eq!(copies(&disk, "b"), 0);
    }
}

async fn rig_without_limit(disk: &Arc<dyn Disk>) -> Rig {
    Rig::on_dirs(Arc::clone(disk), &paths(&["a", "b"]), &[]).await.unwrap()
}

#[tokio::test]
async fn a_move_ends_when_it_is_taken_back_or_its_topic_deleted() {
    let (_, disk) = faulty();
    let rig = slow_move(&disk, &[SLOW]).await;
    let mut client = rig.client().await;
    assert_eq!(move_to(&mut client, "t", 0, "a").await, ErrorCode::None);
    assert_eq!(describe(&mut client).await["b"], current(&[]));
    assert_eq!(move_to(&mut client, "t", 0, "b").await, ErrorCode::None);
    assert_eq!(crate::topics::delete(&mut client, "t").await, 0);
    assert_eq!(describe(&mut client).await["b"], current(&[]));
    assert_eq!(copies(&disk, "b"), 0);
    client.create("t", 1, &[]).await;
    client.append("t", 0, batch(&["new"])).await;
    let rig = rig.restart().await;
    assert_eq!(rig.client().await.values("t", 0).await, ["new"]);
}

#[tokio::test]
async fn a_move_is_dropped_when_its_destination_fails_or_is_full() {
    for (fault, is_offline) in [
        (Fault::Write("-future/".into()), true),
        (Fault::Sync("-future/".into()), true),
        (Fault::NoSpaceAfter(500_000), false),
    ] {
        let (disk, shared) = faulty();
        let rig = rig(&shared, &["a", "b"]).await;
        let mut client = rig.client().await;
        client.create("t", 1, &[]).await;
        client.append("t", 0, batch(&["x", &"f".repeat(900_000)])).await;
        disk.inject(fault);
        // It fails at the beginning or later.
        let code = move_to(&mut client, "t", 0, "b").await;
        assert!([ErrorCode::None, ErrorCode::KafkaStorageError].contains(&code), "{code:?}");
        loop {
            let (code, partitions) = describe(&mut client).await["b"].clone();
            if is_offline == (code == ErrorCode::KafkaStorageError) && partitions.is_empty() {
                break;
            }
        }
        assert_eq!(client.values("t", 0).await[0], "x");
        disk.clear();
        client.append("t", 0, batch(&["y"])).await;
        assert!(!rig.broker.env().tasks.has_failed());
        let rig = rig.restart().await;
        let mut client = rig.client().await;
        if is_offline {
            // A copy that was left behind goes on; it may have failed before there was one.
            assert_eq!(move_to(&mut client, "t", 0, "b").await, ErrorCode::None);
            until_in(&mut client, "b", "t-0").await;
        }
        let values = client.values("t", 0).await;
        assert_eq!((values.len(), values.last().unwrap().as_str()), (3, "y"));
    }
}

#[tokio::test]
async fn what_is_deleted_while_a_partition_moves_stays_deleted() {
    let (_, disk) = faulty();
    let rig = slow_move(&disk, &[SLOW]).await;
    let mut client = rig.client().await;
    let deleted = crate::list_offsets::delete_before(&mut client, 2).await;
    assert_eq!(deleted, (ErrorCode::None, 2));
    rig.broker.stop().await.unwrap();
    let rig = rig_without_limit(&disk).await;
    let mut client = rig.client().await;
    until_in(&mut client, "b", "t-0").await;
    let rig = rig.crash().await;
    let mut client = rig.client().await;
    assert_eq!(client.fetch("t", 0, 1).await.error_code, ErrorCode::OffsetOutOfRange);
    let fetched = client.fetch("t", 0, 2).await;
    assert_eq!((fetched.error_code, fetched.log_start_offset.0), (ErrorCode::None, 2));
}

/// Sets `cordoned.log.dirs`, or takes it away; gives what the broker says of it.
async fn cordon(client: &mut Client, broker: &str, dirs: Option<&str>) -> (ErrorCode, String) {
    let operation = if dirs.is_some() { SET } else { DELETE };
    alter_telling(client, BROKER, broker, &[("cordoned.log.dirs", operation, dirs)]).await
}

/// The directories that take no new partitions, as DescribeLogDirs says.
async fn cordoned(client: &mut Client) -> Vec<String> {
    let response = client.call(5, &DescribeLogDirsRequest { topics: None }).await;
    let cordoned = response.results.iter().filter(|dir| dir.is_cordoned);
    cordoned.map(|dir| dir.log_dir.to_string()).collect()
}

/// A topic with one partition on this broker, which nobody chooses.
fn assigned(name: &str) -> CreateTopicsRequest {
    let mut assignment = create_topics_request::CreatableReplicaAssignment::default();
    assignment.broker_ids = vec![WireBrokerId(1)];
    let mut request = creation(name, -1, &[]);
    request.topics[0].assignments = vec![assignment];
    request
}

const OK: (ErrorCode, String) = (ErrorCode::None, String::new());

#[tokio::test]
async fn cordoned_directories_take_nothing_new() {
    let (_, disk) = faulty();
    let options = ["log.dirs=a,b", "cordoned.log.dirs=a"];
    let rig = Rig::on_dirs(Arc::clone(&disk), &paths(&["a", "b"]), &options).await.unwrap();
    let mut client = rig.client().await;
    assert_eq!(cordoned(&mut client).await, ["a"]);
    client.create("t", 3, &[]).await;
    assert_eq!(describe(&mut client).await["b"], current(&["t-0", "t-1", "t-2"]));
    assert_eq!(cordon(&mut client, "1", Some("b")).await, OK);
    assert_eq!(cordoned(&mut client).await, ["b"]);
    client.create("u", 1, &[]).await;
    assert_eq!(describe(&mut client).await["a"], current(&["u-0"]));
    // What is there is served; nothing is moved there, or promised a place. Whether it is there comes second.
    client.append("t", 0, batch(&["x"])).await;
    for (topic, partition) in [("u", 0), ("t", 0), ("soon", 0)] {
        let refused = move_to(&mut client, topic, partition, "b").await;
        assert_eq!(refused, ErrorCode::InvalidReplicaAssignment, "{topic}");
    }
    assert_eq!(move_to(&mut client, "t", 0, "a").await, ErrorCode::None);
    until_in(&mut client, "a", "t-0").await;
    // After a restart as before, and without it as it was started.
    let rig = rig.restart().await;
    let mut client = rig.client().await;
    assert_eq!(cordoned(&mut client).await, ["b"]);
    assert_eq!(cordon(&mut client, "1", None).await, OK);
    assert_eq!(cordoned(&mut client).await, ["a"]);
}

#[tokio::test]
async fn what_cannot_be_cordoned_is_refused_as_in_kafka() {
    let (_, disk) = faulty();
    let options = ["log.dirs=a,b"];
    let rig = Rig::on_dirs(disk, &paths(&["a", "b"]), &options).await.unwrap();
    let mut client = rig.client().await;
    for (broker, dirs, message) in [
        (
            "1",
            "/x",
            "requirement failed: All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries \
             : /x",
        ),
        (
            "1",
            "*,a",
            "requirement failed: When cordoned.log.dirs is set to *, it must not contain other values",
        ),
        (
            "",
            "a",
            "Cannot update these configs at default cluster level, broker id must be specified: [cordoned.log.dirs]",
        ),
    ] {
        let refused = cordon(&mut client, broker, Some(dirs)).await;
        assert_eq!(refused, (ErrorCode::InvalidRequest, message.to_owned()));
    }
    assert_eq!(cordoned(&mut client).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_broker_that_is_cordoned_as_a_whole_is_chosen_for_nothing() {
    let (_, disk) = faulty();
    let options = ["log.dirs=a,b"];
    let rig = Rig::on_dirs(disk, &paths(&["a", "b"]), &options).await.unwrap();
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    assert_eq!(cordon(&mut client, "1", Some("*")).await, OK);
    assert_eq!(cordoned(&mut client).await, ["a", "b"]);
    let none = "All brokers are currently fenced, or have all their log directories cordoned.";
    let refused = client.call(7, &creation("u", 1, &[])).await.topics.remove(0);
    assert_eq!(refused.error_code, ErrorCode::InvalidReplicationFactor.code());
    let message = format!("Unable to replicate the partition 1 time(s): {none}");
    assert_eq!(refused.error_message.as_deref(), Some(&*message));
    let mut more = create_partitions_request::CreatePartitionsTopic::default();
    (more.name, more.count, more.assignments) = (wire_name("t"), 2, None);
    let mut request = CreatePartitionsRequest::default();
    request.topics = vec![more];
    let refused = client.call(3, &request).await.results.remove(0);
    assert_eq!(refused.error_code, ErrorCode::InvalidReplicationFactor.code());
    assert_eq!(refused.error_message.as_deref(), Some(none));
    // Who says where it is to be has it there all the same.
    let created = client.call(7, &assigned("u")).await.topics.remove(0);
    assert_eq!(created.error_code, 0, "{created:?}");
    client.append("u", 0, batch(&["x"])).await;
    assert_eq!(describe(&mut client).await["a"], current(&["t-0", "u-0"]));
    assert_eq!(cordon(&mut client, "1", Some("a")).await, OK);
    client.create("v", 1, &[]).await;
    assert_eq!(describe(&mut client).await["b"], current(&["v-0"]));
}
