//! Kafka's checkpoint files: a version line, a count line, then one line an entry.
//!
//! Source: `CheckpointFile`, `OffsetCheckpointFile`, `LeaderEpochCheckpointFile`, `PartitionMetadataFile` of Apache Kafka
//! 4.3. All are version 0. An offset checkpoint has lines `<topic> <partition> <offset>`, a leader epoch checkpoint lines
//! `<epoch> <start offset>`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::{LeaderEpoch, Offset, PartitionId, TopicId, TopicName, UuidText};

/// What is wrong with a checkpoint file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(super) struct CheckpointError {
    line: usize,
    problem: String,
}

fn wrong(line: usize, problem: impl Into<String>) -> CheckpointError {
    CheckpointError { line, problem: problem.into() }
}

/// The entry lines of a checkpoint file, with their line numbers.
fn entry_lines(bytes: &[u8]) -> Result<Vec<(usize, &str)>, CheckpointError> {
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(1, "not text"))?;
    let mut lines = text.lines().zip(1..).map(|(line, number)| (number, line));
    match lines.next() {
        Some((_, "0")) => {}
        other => {
            let found = other.map_or("", |(_, line)| line);
            return Err(wrong(1, format!("version '{found}', expected 0")));
        }
    }
    let count = lines.next().and_then(|(_, line)| line.parse::<usize>().ok());
    let count = count.ok_or_else(|| wrong(2, "no count of entries"))?;
    let entries: Vec<_> = lines.filter(|(_, line)| !line.is_empty()).collect();
    if entries.len() == count {
        Ok(entries)
    } else {
        Err(wrong(2, format!("{count} entries announced, {} found", entries.len())))
    }
}

fn field<T: std::str::FromStr>(
    line: usize,
    text: Option<&str>,
    what: &str,
) -> Result<T, CheckpointError> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| wrong(line, format!("no {what}")))
}

/// One offset for each partition of a data directory.
pub(super) type Offsets = BTreeMap<(TopicName, PartitionId), Offset>;

pub(super) fn write_offsets(offsets: &Offsets) -> Vec<u8> {
    let mut text = format!("0\n{}\n", offsets.len());
    for ((topic, partition), offset) in offsets {
        writeln!(text, "{topic} {partition} {offset}").expect("writing to a string");
    }
    text.into_bytes()
}

/// An empty file has no entries: Kafka makes its files so at a start, and fills them a minute later.
pub(super) fn read_offsets(bytes: &[u8]) -> Result<Offsets, CheckpointError> {
    let mut offsets = Offsets::new();
    if bytes.is_empty() {
        return Ok(offsets);
    }
    for (line, text) in entry_lines(bytes)? {
        let mut words = text.split_ascii_whitespace();
        let topic = words.next().and_then(|topic| TopicName::new(topic).ok());
        let topic = topic.ok_or_else(|| wrong(line, "no topic"))?;
        let partition = PartitionId(field(line, words.next(), "partition")?);
        let offset = Offset(field(line, words.next(), "offset")?);
        offsets.insert((topic, partition), offset);
    }
    Ok(offsets)
}

pub(super) fn write_epochs(epochs: &[(LeaderEpoch, Offset)]) -> Vec<u8> {
    let mut text = format!("0\n{}\n", epochs.len());
    for (epoch, start) in epochs {
        writeln!(text, "{epoch} {start}").expect("writing to a string");
    }
    text.into_bytes()
}

pub(super) fn read_epochs(bytes: &[u8]) -> Result<Vec<(LeaderEpoch, Offset)>, CheckpointError> {
    let mut epochs: Vec<(LeaderEpoch, Offset)> = Vec::new();
    for (line, text) in entry_lines(bytes)? {
        let mut words = text.split_ascii_whitespace();
        let epoch = LeaderEpoch(field(line, words.next(), "epoch")?);
        let start = Offset(field(line, words.next(), "start offset")?);
        if epochs.last().is_some_and(|(last, from)| *last >= epoch || *from > start) {
            return Err(wrong(line, "epochs and their starts do not rise"));
        }
        epochs.push((epoch, start));
    }
    Ok(epochs)
}

pub(super) fn write_partition_metadata(topic: TopicId) -> Vec<u8> {
    format!("version: 0\ntopic_id: {topic}").into_bytes()
}

pub(super) fn read_partition_metadata(bytes: &[u8]) -> Result<TopicId, CheckpointError> {
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(1, "not text"))?;
    let mut lines = text.lines();
    if lines.next().map(str::trim) != Some("version: 0") {
        return Err(wrong(1, "expected 'version: 0'"));
    }
    let id = lines.next().and_then(|line| UuidText::parse(line.trim().strip_prefix("topic_id: ")?));
    id.map(|id| TopicId(id.0)).ok_or_else(|| wrong(2, "no topic id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_read_back() {
        let mut offsets = Offsets::new();
        assert_eq!(write_offsets(&offsets), b"0\n0\n");
        for (topic, partition, offset) in [("b", 0, 7), ("a.b-c", 3, i64::MAX)] {
            offsets
                .insert((TopicName::new(topic).unwrap(), PartitionId(partition)), Offset(offset));
        }
        let bytes = write_offsets(&offsets);
        assert_eq!(bytes, b"0\n2\na.b-c 3 9223372036854775807\nb 0 7\n");
        assert_eq!(read_offsets(&bytes), Ok(offsets));
        assert_eq!(read_offsets(b""), Ok(Offsets::new()), "as Kafka makes it at a start");
    }

    #[test]
    fn epochs_read_back() {
        let epochs = [(LeaderEpoch(0), Offset(0)), (LeaderEpoch(4), Offset(120))];
        let bytes = write_epochs(&epochs);
        assert_eq!(bytes, b"0\n2\n0 0\n4 120\n");
        assert_eq!(read_epochs(&bytes).unwrap(), epochs);
    }

    #[test]
    fn partition_metadata_reads_back() {
        let topic = TopicId(uuid::Uuid::from_u128(77));
        let bytes = write_partition_metadata(topic);
        assert_eq!(bytes.len(), 43, "as Kafka writes it");
        assert_eq!(read_partition_metadata(&bytes), Ok(topic));
        assert_eq!(read_partition_metadata(b"version: 1\n").unwrap_err().line, 1);
        assert_eq!(read_partition_metadata(b"version: 0\ntopic_id: x").unwrap_err().line, 2);
    }

    #[test]
    fn damage_names_its_line() {
        for (bytes, line) in [
            (&b"\n"[..], 1),
            (b"1\n0\n", 1),
            (b"\xff\n", 1),
            (b"0\nx\n", 2),
            (b"0\n2\nt 0 1\n", 2),
            (b"0\n1\nt 0\n", 3),
            (b"0\n2\nt 0 1\nt x 1\n", 4),
        ] {
            assert_eq!(read_offsets(bytes).unwrap_err().line, line, "{bytes:?}");
        }
        assert_eq!(read_epochs(b"0\n2\n3 10\n3 12\n").unwrap_err().line, 4);
    }
}
