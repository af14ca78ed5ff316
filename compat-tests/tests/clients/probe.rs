//! Likeness: the same requests, sent to the broker and to Apache Kafka, are answered alike, field by field.
//!
//! `java/Probe.java` sends the scripts in `probe/`. Where the answers differ on purpose, `probe/differences.txt` holds
//! the difference, with the reason as a comment above it: this test fails when a difference is not in the file, and
//! when one in the file is gone.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::java::{java_class, output};
use ottla_compat_tests::workspace::{built, sources};
use ottla_compat_tests::{Server, ServerKind};

pub(crate) fn differences(kind: ServerKind) -> Result<()> {
    let expected = answers(ServerKind::ApacheKafka)?;
    let found = answers(kind)?;
    ensure!(expected.len() > 1_800, "only {} steps", expected.len());
    let differences: String = expected
        .iter()
        .zip(&found)
        .filter_map(|(expected, found)| difference(expected, found))
        .collect();
    ensure!(
        expected.len() == found.len(),
        "{} of {} steps were answered:\n{differences}",
        found.len(),
        expected.len()
    );
    if kind == ServerKind::ApacheKafka {
        ensure!(differences.is_empty(), "Apache Kafka differs from itself:\n{differences}");
        return Ok(());
    }
    let file = built()?.join("differences.txt");
    fs::write(&file, &differences)?;
    let reviewed = reviewed(&sources().join("probe/differences.txt"))?;
    let changes = changes(&reviewed, &blocks(&differences));
    ensure!(
        changes.is_empty(),
        "{} holds all differences; not as reviewed:\n{changes}",
        file.display()
    );
    Ok(())
}

/// A step and the lines of its answer.
pub(crate) type Answer = (String, Vec<String>);

/// Runs all scripts against a fresh broker.
fn answers(kind: ServerKind) -> Result<Vec<Answer>> {
    let server = Server::start(kind, &[])?;
    let mut command = java_class("Probe")?;
    command.arg(server.bootstrap());
    for script in
        ["topics", "records", "produce", "configs", "cluster", "groups", "transactions", "features"]
    {
        command.arg(sources().join(format!("probe/{script}.probe")));
    }
    let printed = output(&mut command).with_context(|| server.log())?;
    Ok(blocks(&printed))
}

/// Splits text at its lines `== step`.
pub(crate) fn blocks(text: &str) -> Vec<Answer> {
    let mut blocks: Vec<Answer> = Vec::new();
    for line in text.lines() {
        if line.starts_with("== ") {
            blocks.push((line.to_owned(), Vec::new()));
        } else if let Some((_, lines)) = blocks.last_mut() {
            lines.push(line.to_owned());
        }
    }
    blocks
}

/// The lines that only one of the two has: `-` Apache Kafka's, `+` ours.
pub(crate) fn difference((step, expected): &Answer, (_, found): &Answer) -> Option<String> {
    let mut lines: Vec<_> =
        lacking(expected, found).into_iter().map(|line| format!("- {line}\n")).collect();
    lines.extend(lacking(found, expected).into_iter().map(|line| format!("+ {line}\n")));
    (!lines.is_empty()).then(|| format!("{step}\n{}", lines.concat()))
}

/// The lines of `these` that `others` lacks, as often as it lacks them.
fn lacking<'a>(these: &'a [String], others: &[String]) -> Vec<&'a str> {
    let mut others: HashMap<&str, usize> =
        others.iter().fold(HashMap::new(), |mut counts, line| {
            *counts.entry(line.as_str()).or_default() += 1;
            counts
        });
    these
        .iter()
        .map(String::as_str)
        .filter(|line| match others.get_mut(line) {
            Some(count @ 1..) => {
                *count -= 1;
                false
            }
            _ => true,
        })
        .collect()
}

/// The differences on file. A block begins with its reason in comment lines, which holds until the next comment.
pub(crate) fn reviewed(path: &Path) -> Result<Vec<Answer>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let first = text.lines().find(|line| !line.is_empty());
    ensure!(first.is_none_or(|line| line.starts_with('#')), "the first difference has no reason");
    let lines: Vec<_> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    Ok(blocks(&lines.join("\n")))
}

/// The blocks that are new or gone or other than reviewed.
pub(crate) fn changes(reviewed: &[Answer], found: &[Answer]) -> String {
    let by_step =
        |answers: &[Answer]| -> BTreeMap<String, Vec<String>> { answers.iter().cloned().collect() };
    let (reviewed, found) = (by_step(reviewed), by_step(found));
    let mut text = String::new();
    for (step, lines) in &found {
        if reviewed.get(step) != Some(lines) {
            text.push_str(&format!("{step}\n{}\n", lines.join("\n")));
        }
    }
    for step in reviewed.keys().filter(|step| !found.contains_key(*step)) {
        text.push_str(&format!("{step}\n(no longer differs)\n"));
    }
    text
}
