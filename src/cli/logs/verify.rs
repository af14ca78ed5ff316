//! `ottla logs verify`: whole log directories, by themselves and together.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::facts::{Facts, write_json};
use crate::controller::{MetadataReport, inspect_metadata};
use crate::env::RealDisk;
use crate::log::{
    DirectoryReport, Finding, InspectError, PartitionReport, Severity, Together, verify,
};
use crate::model::UuidText;

/// What is to be checked.
#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// The log directory, or that of one partition; several that belong to one broker are compared with each other
    #[arg(value_name = "DIR", required = true)]
    directories: Vec<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// What was found in all partitions.
#[derive(Debug, Default)]
struct Total {
    partitions: u64,
    segments: u64,
    batches: u64,
    records: u64,
    bytes: u64,
    torn: u64,
    damage: u64,
}

/// Gives whether there is no damage.
pub(super) fn run(arguments: &VerifyArguments) -> Result<bool, InspectError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut total, mut together) = (Total::default(), Together::default());
    for directory in &arguments.directories {
        total.join(verify_one(&mut out, directory, arguments.json, &mut together)?);
    }
    let findings = together.findings();
    total.count(&findings);
    write_together(&mut out, arguments, &findings, &total).map_err(InspectError::Tell)?;
    Ok(total.damage == 0)
}

/// Checks one directory, and tells of it; gives what was found.
fn verify_one(
    out: &mut dyn Write,
    path: &Path,
    json: bool,
    together: &mut Together,
) -> Result<Total, InspectError> {
    let mut total = Total::default();
    let disk = RealDisk::new();
    let directory = verify(&disk, path, &mut |partition| {
        total.add(partition);
        together.partition(partition);
        if json {
            write_json(out, "partition", &partition_facts(partition))?;
            return write_findings(out, &partition.findings, true);
        }
        write_partition(out, partition)
    })?;
    together.directory(&directory);
    total.count(&directory.findings);
    if let Some(metadata) = inspect_metadata(&disk, path)? {
        total.count(&metadata.findings);
        write_metadata(out, &metadata, json).map_err(InspectError::Tell)?;
    }
    write_end(out, &directory, &total, json).map_err(InspectError::Tell)?;
    Ok(total)
}

impl Total {
    fn add(&mut self, partition: &PartitionReport) {
        self.partitions += 1;
        self.segments += partition.segments as u64;
        self.batches += partition.batches;
        self.records += partition.records;
        self.bytes += partition.bytes;
        self.count(&partition.findings);
    }

    fn join(&mut self, other: Self) {
        self.partitions += other.partitions;
        self.segments += other.segments;
        self.batches += other.batches;
        self.records += other.records;
        self.bytes += other.bytes;
        self.torn += other.torn;
        self.damage += other.damage;
    }

    fn count(&mut self, findings: &[Finding]) {
        let of = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        self.torn += of(Severity::Torn) as u64;
        self.damage += of(Severity::Damage) as u64;
    }
}

impl Total {
    fn facts(&self) -> Facts {
        vec![
            ("partitions", self.partitions.into()),
            ("segments", self.segments.into()),
            ("batches", self.batches.into()),
            ("records", self.records.into()),
            ("bytes", self.bytes.into()),
            ("torn", self.torn.into()),
            ("damage", self.damage.into()),
        ]
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partitions, segments, batches, records, bytes, torn, damage } = self;
        write!(
            f,
            "partitions {partitions}, segments {segments}, batches {batches}, records {records}, bytes {bytes}; \
             torn ends {torn}, damage {damage}"
        )
    }
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Torn => "torn",
        Severity::Damage => "damage",
    }
}

fn write_partition(out: &mut dyn Write, partition: &PartitionReport) -> io::Result<()> {
    let PartitionReport { directory, segments, log_start, end, batches, records, bytes, .. } =
        partition;
    let worst = partition.findings.iter().map(|finding| finding.severity).max();
    writeln!(
        out,
        "{directory}: {verdict}; segments {segments}, offsets {log_start} to {end}, batches {batches}, records {records}, bytes {bytes}",
        verdict = worst.map_or("ok", word),
    )?;
    write_findings(out, &partition.findings, false)
}

fn write_metadata(out: &mut dyn Write, metadata: &MetadataReport, json: bool) -> io::Result<()> {
    let MetadataReport {
        raft_id,
        term,
        snapshot,
        first_index,
        next_index,
        topics,
        partitions,
        findings,
    } = metadata;
    if json {
        let facts = vec![
            ("raftId", (*raft_id).into()),
            ("term", (*term).into()),
            ("snapshotIndex", (*snapshot).into()),
            ("firstIndex", (*first_index).into()),
            ("nextIndex", (*next_index).into()),
            ("topics", (*topics).into()),
            ("partitions", (*partitions).into()),
            ("findings", findings.len().into()),
        ];
        write_json(out, "metadata", &facts)?;
        return write_findings(out, findings, true);
    }
    let worst = findings.iter().map(|finding| finding.severity).max();
    let verdict = worst.map_or("ok", word);
    let snapshot = snapshot.map_or_else(String::new, |last| format!("snapshot of entry {last}, "));
    writeln!(
        out,
        "metadata log: {verdict}; {snapshot}entries {first_index} to {next_index}, topics {topics}, partitions {partitions}"
    )?;
    write_findings(out, findings, false)
}

/// What several directories say together.
fn write_together(
    out: &mut dyn Write,
    arguments: &VerifyArguments,
    findings: &[Finding],
    total: &Total,
) -> io::Result<()> {
    if arguments.directories.len() > 1 {
        let count = arguments.directories.len();
        if arguments.json {
            write_findings(out, findings, true)?;
            let facts = [("directories", count.into())].into_iter().chain(total.facts());
            write_json(out, "total", &facts.collect())?;
        } else {
            writeln!(out, "{count} directories together: {total}")?;
            write_findings(out, findings, false)?;
        }
    }
    out.flush()
}

fn write_findings(out: &mut dyn Write, findings: &[Finding], json: bool) -> io::Result<()> {
    for finding in findings {
        let (severity, path) = (word(finding.severity), finding.path.display());
        if json {
            let facts = vec![
                ("severity", severity.into()),
                ("file", path.to_string().into()),
                ("position", finding.position.into()),
                ("problem", finding.problem.as_str().into()),
            ];
            write_json(out, "finding", &facts)?;
        } else {
            let place = finding.position.map_or_else(String::new, |at| format!(" at byte {at}"));
            writeln!(out, "  {severity}: {path}{place}: {}", finding.problem)?;
        }
    }
    Ok(())
}

fn partition_facts(partition: &PartitionReport) -> Facts {
    vec![
        ("directory", partition.directory.as_str().into()),
        ("topicId", partition.topic_id.map(|id| id.to_string()).into()),
        ("segments", partition.segments.into()),
        ("logStartOffset", partition.log_start.0.into()),
        ("endOffset", partition.end.0.into()),
        ("recoveryPoint", partition.recovery_point.0.into()),
        ("batches", partition.batches.into()),
        ("records", partition.records.into()),
        ("bytes", partition.bytes.into()),
        ("findings", partition.findings.len().into()),
    ]
}

fn write_end(
    out: &mut dyn Write,
    directory: &DirectoryReport,
    total: &Total,
    json: bool,
) -> io::Result<()> {
    write_findings(out, &directory.findings, json)?;
    let identity = directory.identity.as_ref();
    if json {
        let mut facts = vec![
            ("path", directory.path.display().to_string().into()),
            ("clusterId", identity.map(|meta| meta.cluster_id.clone()).into()),
            ("nodeId", identity.map(|meta| meta.node_id.0).into()),
            ("directoryId", identity.map(|meta| UuidText(meta.directory_id).to_string()).into()),
            ("cleanStop", directory.clean.into()),
            ("aside", Value::from(directory.aside.clone())),
        ];
        facts.extend(total.facts());
        return write_json(out, "directory", &facts);
    }
    for name in &directory.aside {
        writeln!(out, "{name}: deleted or set aside, not looked into")?;
    }
    let path = directory.path.display();
    if let Some(meta) = identity {
        let stop = if directory.clean { "clean" } else { "unclean" };
        let (node, cluster) = (meta.node_id, &meta.cluster_id);
        writeln!(out, "{path}: node {node} of cluster {cluster}, after {stop} stop")?;
    }
    writeln!(out, "{total}")
}
