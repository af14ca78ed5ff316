//! `ottla logs verify`: a whole log directory.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::facts::{Facts, write_json};
use crate::env::RealDisk;
use crate::log::{DirectoryReport, Finding, InspectError, PartitionReport, Severity, verify};
use crate::model::UuidText;

/// What is to be checked.
#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// The log directory, or that of one partition
    #[arg(value_name = "DIR")]
    directory: PathBuf,
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
    let mut total = Total::default();
    let disk = RealDisk::new();
    let directory = verify(&disk, &arguments.directory, &mut |partition| {
        total.add(partition);
        if arguments.json {
            write_json(&mut out, "partition", &partition_facts(partition))?;
            return write_findings(&mut out, &partition.findings, true);
        }
        write_partition(&mut out, partition)
    })?;
    total.count(&directory.findings);
    write_end(&mut out, &directory, &total, arguments.json).map_err(InspectError::Tell)?;
    Ok(total.damage == 0)
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

    fn count(&mut self, findings: &[Finding]) {
        let of = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        self.torn += of(Severity::Torn) as u64;
        self.damage += of(Severity::Damage) as u64;
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
        let facts = vec![
            ("path", directory.path.display().to_string().into()),
            ("clusterId", identity.map(|meta| meta.cluster_id.clone()).into()),
            ("nodeId", identity.map(|meta| meta.node_id.0).into()),
            ("directoryId", identity.map(|meta| UuidText(meta.directory_id).to_string()).into()),
            ("cleanStop", directory.clean.into()),
            ("aside", Value::from(directory.aside.clone())),
            ("partitions", total.partitions.into()),
            ("segments", total.segments.into()),
            ("batches", total.batches.into()),
            ("records", total.records.into()),
            ("bytes", total.bytes.into()),
            ("torn", total.torn.into()),
            ("damage", total.damage.into()),
        ];
        write_json(out, "directory", &facts)?;
        return out.flush();
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
    let Total { partitions, segments, batches, records, bytes, torn, damage } = total;
    writeln!(
        out,
        "partitions {partitions}, segments {segments}, batches {batches}, records {records}, bytes {bytes}; \
         torn ends {torn}, damage {damage}"
    )?;
    out.flush()
}
