//! The data directory: Apache Kafka's own tools and storage classes read what the broker wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::client::{At, ProduceOptions};
use ottla_compat_tests::java::{java_class, output, tool};
use ottla_compat_tests::workspace::sources;
use ottla_compat_tests::{ClientKind, Codec, Record, Server, ServerKind, wait_until};
use serde::Deserialize;

use crate::create;
use crate::records::assert_same;

/// After SIGTERM: every file is complete, and nothing needs a repair.
pub(crate) fn after_a_stop(kind: ServerKind) -> Result<()> {
    let mut server = Server::start(kind, &[])?;
    let ends = fill(&server)?;
    server.stop()?;
    let files = segment_files(&server, |_| true)?;
    ensure!(files.iter().any(|file| file.ends_with(".snapshot")), "no producer snapshot");
    check_dump(&files, &[])?;
    check_dump(&files, &["--index-sanity-check"])?;
    check_dump(&files, &["--verify-index-only"])?;
    let found = open_with_apache_kafka(&server, "clean")?;
    ensure!(found.clean_shutdown_marker, "no marker of a clean stop");
    check_found(&found, &ends)
}

/// After signal 9: the records are whole; the indexes of rolled segments are too, those of the last are rebuilt.
pub(crate) fn after_a_kill(kind: ServerKind) -> Result<()> {
    let mut server = Server::start(kind, &[])?;
    let ends = fill(&server)?;
    server.kill()?;
    check_dump(&segment_files(&server, |file| file.ends_with(".log"))?, &[])?;
    let last_log =
        segment_files(&server, |file| file.ends_with(".log"))?.pop().context("no segments")?;
    let last = last_log.trim_end_matches(".log");
    let rolled =
        segment_files(&server, |file| file.contains("/files-1/") && !file.starts_with(last))?;
    ensure!(rolled.len() > 2, "no rolled segment");
    check_dump(&rolled, &["--index-sanity-check"])?;
    check_dump(&rolled, &["--verify-index-only"])?;
    let found = open_with_apache_kafka(&server, "killed")?;
    ensure!(!found.clean_shutdown_marker, "the marker of a clean stop is there");
    check_found(&found, &ends)
}

/// A topic with a codec of its own is stored in it, whatever the producers use.
pub(crate) fn recompressed(kind: ServerKind) -> Result<()> {
    let mut server = Server::start(kind, &[])?;
    let mut client = ClientKind::Java.connect(server.bootstrap())?;
    create(&mut client, TOPIC, 1, &[("compression.type", "zstd")])?;
    let records = Codec::ALL.map(|codec| Record::new(0, codec.name().repeat(100)));
    for (codec, record) in Codec::ALL.into_iter().zip(&records) {
        client.produce(
            TOPIC,
            std::slice::from_ref(record),
            ProduceOptions { codec, ..Default::default() },
        )?;
    }
    assert_same(&records, &client.consume(TOPIC, 1, records.len())?);
    server.stop()?;
    let log = server.data_dir().join(format!("{TOPIC}-0/00000000000000000000.log"));
    let printed =
        tool("DumpLogSegments", &["--files", log.to_str().context("a path that is not text")?])?;
    let stored = printed.matches(" compresscodec: zstd ").count();
    ensure!(stored == records.len(), "{stored} batches in zstd:\n{printed}");
    Ok(())
}

/// A compacted partition has the records that Apache Kafka leaves of the same ones, and its tools read the files.
pub(crate) fn compacted(kind: ServerKind) -> Result<()> {
    let ours = records_left(kind)?;
    ensure!(ours.len() > 20, "{ours:?}");
    let kafkas = records_left(ServerKind::ApacheKafka)?;
    ensure!(ours == kafkas, "{ours:#?}\nnot {kafkas:#?}");
    Ok(())
}

/// Writes records of some keys, tombstones among them, in every codec, and has them compacted; gives what is left: offset,
/// sizes of key and value, and the key.
fn records_left(kind: ServerKind) -> Result<Vec<String>> {
    let mut server = Server::start(kind, &["log.cleaner.backoff.ms=100"])?;
    let mut client = ClientKind::Java.connect(server.bootstrap())?;
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    create(&mut client, TOPIC, 1, &configs)?;
    for (round, codec) in Codec::ALL.into_iter().chain(Codec::ALL).enumerate() {
        let records: Vec<_> = (0..50)
            .map(|n| {
                let record = Record::new(0, format!("{round} {n}")).key(format!("key {}", n % 30));
                // In every round other keys get a tombstone.
                if (n + round) % 11 == 0 { record.tombstone() } else { record }
            })
            .filter(|_| round < 9)
            .chain([Record::new(0, "last").key(format!("last {round}"))])
            .collect();
        let options = ProduceOptions { codec, idempotent: round % 2 == 0, ..Default::default() };
        client.produce(TOPIC, &records, options)?;
    }
    let end = client.offsets(TOPIC, 1, At::Latest)?.pop().context("no partition")?;
    // Whatever was batched how: a new segment begins after all of these.
    let filler: Vec<_> =
        (0..60).map(|n| Record::new(0, "x".repeat(40_000)).key(format!("filler {n}"))).collect();
    client.produce(TOPIC, &filler, ProduceOptions::default())?;
    let checkpoint = server.data_dir().join("cleaner-offset-checkpoint");
    wait_until("the partition is compacted", || {
        let text = fs::read_to_string(&checkpoint).unwrap_or_default();
        let offset = text.lines().find_map(|line| line.strip_prefix(&format!("{TOPIC} 0 ")));
        let offset = offset.and_then(|offset| offset.parse::<i64>().ok());
        Ok(offset.filter(|offset| *offset > end))
    })?;
    server.stop()?;
    let files = dumpable(&server.data_dir().join(format!("{TOPIC}-0")))?;
    check_lines(&files, &[])?;
    check_lines(&files, &["--index-sanity-check"])?;
    check_lines(&files, &["--verify-index-only"])?;
    let logs: Vec<_> = files.into_iter().filter(|file| file.ends_with(".log")).collect();
    let printed = check_lines(&logs, &["--print-data-log"])?;
    let records = printed.lines().filter(|line| line.starts_with("| offset: "));
    let field = |line: &str, name: &str| {
        let value = line.split_once(&format!(" {name}: ")).map_or("", |(_, rest)| rest);
        value.split(" payload: ").next().unwrap_or_default().to_owned()
    };
    let size =
        |line: &str, name: &str| field(line, name).split(' ').next().unwrap_or_default().to_owned();
    let left = records.map(|line| {
        let (offset, key) = (size(line, "offset"), field(line, "key"));
        (offset.parse().unwrap_or(-1), key, size(line, "valueSize"))
    });
    let mut left: Vec<(i64, String, String)> = left.filter(|(offset, ..)| *offset < end).collect();
    left.sort();
    Ok(left.into_iter().map(|(offset, key, size)| format!("{offset} {key} {size}")).collect())
}

/// Groups of both protocols leave records whose keys and values are Kafka's.
pub(crate) fn records_of_groups(kind: ServerKind) -> Result<()> {
    let mut server = Server::start(kind, &["offsets.topic.num.partitions=1"])?;
    let mut client = ClientKind::Java.connect(server.bootstrap())?;
    create(&mut client, TOPIC, 1, &[])?;
    let records: Vec<_> = (0..5).map(|n| Record::new(0, n.to_string())).collect();
    client.produce(TOPIC, &records, ProduceOptions::default())?;
    for protocol in ["classic", "consumer"] {
        let protocol_property = format!("group.protocol={protocol}");
        let arguments = ["--bootstrap-server", server.bootstrap(), "--topic", TOPIC]
            .into_iter()
            .chain(["--group", protocol, "--max-messages", "4"])
            .chain(["--command-property", "auto.offset.reset=earliest"])
            .chain(["--command-property", &protocol_property]);
        tool("ConsoleConsumer", &arguments.collect::<Vec<_>>())?;
    }
    server.stop()?;
    let log = server.data_dir().join("__consumer_offsets-0/00000000000000000000.log");
    let log = log.to_str().context("a path that is not text")?;
    let printed = tool("DumpLogSegments", &["--offsets-decoder", "--files", log])?;
    let mut types = BTreeSet::new();
    for record in printed.lines().filter(|line| line.starts_with("| offset: ")) {
        let (key, value) = record
            .split_once(" key: ")
            .and_then(|(_, decoded)| decoded.split_once(" payload: "))
            .with_context(|| format!("not decoded: {record}"))?;
        ensure!(value == "<DELETE>" || value.starts_with(r#"{"version":""#), "{record}");
        let key: Key = serde_json::from_str(key).with_context(|| record.to_owned())?;
        types.insert(key.record_type);
    }
    // Offset, group; consumer group epoch, member, target epoch, target of a member, assignment.
    let expected = ["1", "2", "3", "5", "6", "7", "8"].map(str::to_owned);
    ensure!(types == BTreeSet::from(expected), "{types:?} in {printed}");
    for group in ["classic", "consumer"] {
        let committed = format!(
            r#"{{"group":"{group}","topic":"{TOPIC}","partition":0}}}} payload: {{"version":"4","data":{{"offset":4,"#
        );
        ensure!(printed.contains(&committed), "no {committed} in {printed}");
    }
    Ok(())
}

/// A partition with transactions that Apache Kafka wrote, of which only the records are left: consumers see what was
/// committed, and the tool reads the transaction indexes that were built for it.
pub(crate) fn transactions(kind: ServerKind) -> Result<()> {
    let mut server = Server::start(kind, &[])?;
    create(&mut ClientKind::Java.connect(server.bootstrap())?, TOPIC, 1, &[])?;
    server.kill()?;
    let written = sources().join("../tests/data/kafka-4.3.1-transactions/t-0");
    let partition = server.data_dir().join(format!("{TOPIC}-0"));
    for log in dumpable(&written)?.iter().filter(|file| file.ends_with(".log")) {
        let name = Path::new(log).file_name().context("no name")?;
        fs::copy(log, partition.join(name))?;
    }
    server.restart()?;
    let mut kcat = ClientKind::Kcat.connect(server.bootstrap())?;
    let seen = kcat.consume(TOPIC, 1, 99)?;
    let offsets: Vec<_> = seen.iter().filter_map(|record| record.offset).collect();
    ensure!(offsets == [0, 2, 4, 11, 12], "librdkafka reads {offsets:?}");
    for (level, count) in [("read_committed", "5"), ("read_uncommitted", "12")] {
        let arguments = ["--bootstrap-server", server.bootstrap(), "--topic", TOPIC]
            .into_iter()
            .chain(["--from-beginning", "--isolation-level", level, "--max-messages", count]);
        let printed = tool("ConsoleConsumer", &arguments.collect::<Vec<_>>())?;
        let values: Vec<_> = printed.lines().collect();
        let aborted = values.iter().any(|value| value.ends_with("aborted"));
        ensure!(aborted == (level == "read_uncommitted"), "{level}: {values:?}");
    }
    server.stop()?;
    for name in ["00000000000000000000.txnindex", "00000000000000000010.txnindex"] {
        let dump = |directory: &Path| -> Result<String> {
            let file = directory.join(name);
            let printed = tool(
                "DumpLogSegments",
                &["--files", file.to_str().context("a path that is not text")?],
            )?;
            Ok(printed.lines().skip(1).collect::<Vec<_>>().join("\n"))
        };
        let (ours, kafkas) = (dump(&partition)?, dump(&written)?);
        ensure!(ours == kafkas && !ours.is_empty(), "{name}: {ours}\nnot {kafkas}");
    }
    Ok(())
}

/// The key of a record of groups, as `DumpLogSegments` prints it.
#[derive(Debug, Deserialize)]
struct Key {
    #[serde(rename = "type")]
    record_type: String,
}

/// What `LogFiles.java` prints.
#[derive(Debug, Deserialize)]
struct Found {
    version: i32,
    cluster_id: String,
    clean_shutdown_marker: bool,
    partitions: BTreeMap<String, FoundPartition>,
}

#[derive(Debug, Deserialize)]
struct FoundPartition {
    log_start: i64,
    log_end: i64,
    segments: usize,
    records: i64,
    leader_epochs: usize,
    producers: usize,
}

/// Writes some 4 MiB per partition in every codec, over several segments; gives the end offset of each partition.
fn fill(server: &Server) -> Result<Vec<i64>> {
    let mut client = ClientKind::Java.connect(server.bootstrap())?;
    create(
        &mut client,
        TOPIC,
        PARTITIONS,
        &[("segment.bytes", "1048576"), ("index.interval.bytes", "1000")],
    )?;
    for (round, codec) in Codec::ALL.into_iter().chain([Codec::None; 3]).enumerate() {
        let records: Vec<_> = (0..PARTITIONS)
            .flat_map(|partition| (0..100).map(move |n| (partition, n)))
            .map(|(partition, n)| Record::new(partition, format!("{round} {n} ").repeat(1200)))
            .collect();
        client.produce(
            TOPIC,
            &records,
            ProduceOptions { codec, idempotent: round % 2 == 0, ..Default::default() },
        )?;
    }
    Ok(client.offsets(TOPIC, PARTITIONS, At::Latest)?)
}

/// Runs `DumpLogSegments` and fails on whatever it finds wrong, and if a codec was not used.
fn check_dump(files: &[String], mode: &[&str]) -> Result<()> {
    let printed = check_lines(files, mode)?;
    for codec in Codec::ALL {
        let marker = format!(" compresscodec: {} ", codec.name());
        ensure!(printed.contains(&marker) || !mode.is_empty(), "no batch in {codec:?}");
    }
    Ok(())
}

/// Runs `DumpLogSegments` and fails on whatever it finds wrong; gives what it prints.
fn check_lines(files: &[String], mode: &[&str]) -> Result<String> {
    let files = files.join(",");
    let printed =
        tool("DumpLogSegments", &[&["--deep-iteration", "--files", &files], mode].concat())?;
    let complaints: Vec<_> = printed.lines().filter(|line| is_complaint(line)).collect();
    ensure!(complaints.is_empty(), "DumpLogSegments {mode:?}: {complaints:#?}");
    Ok(printed)
}

/// Every line is known: what is not a dumped batch, record, producer or heading is an objection to a file.
fn is_complaint(line: &str) -> bool {
    const DUMPED: [&str; 10] = [
        "Dumping ",
        "Log starting offset: ",
        "| offset: ",
        "baseOffset: ",
        "offset: ",
        "timestamp: ",
        "producerId: ",
        // The tool expects the first offset of any file to be 0.
        "Non-consecutive offsets in ",
        "  -1 is followed by ",
        "Snapshot end offset: ",
    ];
    let known = DUMPED.iter().any(|start| line.starts_with(start))
        || line.ends_with(" passed sanity check.");
    !known || line.contains("isvalid: false")
}

/// Loads a copy of the data directory in Apache Kafka's `UnifiedLog` and reads it to the end.
fn open_with_apache_kafka(server: &Server, how: &str) -> Result<Found> {
    let copy = tempfile::tempdir()?;
    output(Command::new("cp").arg("-a").arg(server.data_dir()).arg(copy.path()))?;
    let data = copy.path().join(server.data_dir().file_name().context("no data directory")?);
    let mut command = java_class("LogFiles")?;
    command
        .arg(data)
        .arg(how)
        .args((0..PARTITIONS).map(|partition| format!("{TOPIC}-{partition}")));
    Ok(serde_json::from_str(&output(&mut command)?)?)
}

fn check_found(found: &Found, ends: &[i64]) -> Result<()> {
    ensure!(found.version == 1 && found.cluster_id.len() == 22, "{found:?}");
    for ((name, partition), end) in found.partitions.iter().zip(ends) {
        ensure!(
            partition.log_start == 0 && partition.log_end == *end,
            "{name}: {partition:?}, expected end {end}"
        );
        ensure!(partition.records == *end && partition.segments > 2, "{name}: {partition:?}");
        // Four requests were idempotent, each by a producer of its own.
        ensure!(partition.leader_epochs == 1 && partition.producers == 4, "{name}: {partition:?}");
    }
    Ok(())
}

/// The segment files of all partitions that are `wanted`, in order of path.
fn segment_files(server: &Server, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for partition in 0..PARTITIONS {
        files.extend(dumpable(&server.data_dir().join(format!("{TOPIC}-{partition}")))?);
    }
    files.retain(|file| wanted(file));
    files.sort();
    Ok(files)
}

fn dumpable(directory: &Path) -> Result<Vec<String>> {
    let paths: Vec<PathBuf> = fs::read_dir(directory)
        .with_context(|| format!("no partition directory {}", directory.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    let names = paths.into_iter().filter_map(|path| path.to_str().map(str::to_owned));
    Ok(names
        .filter(|name| {
            [".log", ".index", ".timeindex", ".snapshot"].iter().any(|e| name.ends_with(e))
        })
        .collect())
}

const TOPIC: &str = "files";
const PARTITIONS: i32 = 2;
