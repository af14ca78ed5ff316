//! `ottla logs dump`: what is in one file.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::facts::{Facts, text, with_bytes, write_json, write_words};
use crate::env::RealDisk;
use crate::log::{DumpOptions, Dumped, DumpedProducer, InspectError, dump};
use crate::record::{BatchHeader, Record, TimestampType};

/// What is to be printed.
#[derive(Debug, Args)]
pub(super) struct DumpArguments {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the records of each batch too, with keys and values
    #[arg(long, visible_alias = "print-data-log")]
    records: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Print only the batches that begin within so many bytes from the start of the file
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u32>,
}

/// Gives whether the file is sound.
pub(super) fn run(arguments: &DumpArguments) -> Result<bool, InspectError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let options = DumpOptions { records: arguments.records, bytes_max: arguments.max_bytes };
    let disk = RealDisk::new();
    let sound = dump(&disk, &arguments.file, options, &mut |item| {
        let (kind, facts) = facts_of(&item);
        if arguments.json {
            return write_json(&mut out, kind, &facts);
        }
        if matches!(item, Dumped::Record { .. }) {
            write!(out, "| ")?;
        }
        write_words(&mut out, &facts)
    })?;
    out.flush().map_err(InspectError::Tell)?;
    Ok(sound)
}

/// What an item is, and its facts by the names of Kafka's own tool.
fn facts_of(item: &Dumped<'_>) -> (&'static str, Facts) {
    match item {
        Dumped::Batch { position, header, is_valid } => {
            ("batch", batch_facts(*position, header, *is_valid))
        }
        Dumped::Record { header, record, sequence } => {
            ("record", record_facts(header, record, *sequence))
        }
        Dumped::Offset { offset, position } => {
            ("offset", vec![("offset", offset.0.into()), ("position", (*position).into())])
        }
        Dumped::Time { timestamp, offset } => {
            ("timestamp", vec![("timestamp", timestamp.0.into()), ("offset", offset.0.into())])
        }
        Dumped::Producer(producer) => ("producer", producer_facts(producer)),
        Dumped::Aborted { version, transaction } => {
            let facts = vec![
                ("version", (*version).into()),
                ("producerId", transaction.producer_id.0.into()),
                ("firstOffset", transaction.first_offset.0.into()),
                ("lastOffset", transaction.last_offset.0.into()),
                ("lastStableOffset", transaction.last_stable.0.into()),
            ];
            ("abortedTransaction", facts)
        }
        Dumped::Epoch { epoch, start_offset } => {
            ("leaderEpoch", vec![("epoch", epoch.0.into()), ("startOffset", start_offset.0.into())])
        }
        Dumped::Checkpoint { topic, partition, offset } => {
            let facts = vec![
                ("topic", topic.as_str().into()),
                ("partition", partition.0.into()),
                ("offset", offset.0.into()),
            ];
            ("checkpoint", facts)
        }
        Dumped::Topic(id) => ("topic", vec![("topicId", id.to_string().into())]),
        Dumped::Damage { position, bytes, problem } => {
            let facts = vec![
                ("damage", problem.as_str().into()),
                ("position", (*position).into()),
                ("invalidBytes", (*bytes).into()),
            ];
            ("damage", facts)
        }
    }
}

fn batch_facts(position: u32, header: &BatchHeader, is_valid: bool) -> Facts {
    let horizon = header.delete_horizon().map(|horizon| horizon.0);
    vec![
        ("baseOffset", header.base_offset.0.into()),
        ("lastOffset", header.last_offset().0.into()),
        ("count", header.record_count.into()),
        ("baseSequence", header.base_sequence.into()),
        ("lastSequence", header.last_sequence().into()),
        ("producerId", header.producer_id.0.into()),
        ("producerEpoch", header.producer_epoch.0.into()),
        ("partitionLeaderEpoch", header.partition_leader_epoch.0.into()),
        ("isTransactional", header.is_transactional().into()),
        ("isControl", header.is_control().into()),
        ("deleteHorizonMs", horizon.into()),
        ("position", position.into()),
        (timestamp_name(header), header.max_timestamp.0.into()),
        ("size", header.size_bytes().into()),
        ("magic", 2.into()),
        ("compresscodec", header.compression().name().into()),
        ("crc", header.crc.into()),
        ("isvalid", is_valid.into()),
    ]
}

const fn timestamp_name(header: &BatchHeader) -> &'static str {
    match header.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn record_facts(header: &BatchHeader, record: &Record<'_>, sequence: i32) -> Facts {
    let size = |bytes: Option<&[u8]>| {
        Value::from(bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX)))
    };
    let headers = record.headers.clone().map(|(key, _)| text(key)).collect();
    let mut facts = vec![
        ("offset", record.offset.0.into()),
        (timestamp_name(header), record.timestamp.0.into()),
        ("keySize", size(record.key)),
        ("valueSize", size(record.value)),
        ("sequence", sequence.into()),
        ("headerKeys", Value::Array(headers)),
    ];
    if header.is_control() {
        facts.extend(control_facts(record));
        return facts;
    }
    if let Some(key) = record.key {
        with_bytes(&mut facts, "key", "keyHex", key);
    }
    if let Some(value) = record.value {
        with_bytes(&mut facts, "payload", "payloadHex", value);
    }
    facts
}

/// What a marker says (`EndTransactionMarker` of Apache Kafka): key is version and type, value is version and coordinator epoch.
fn control_facts(record: &Record<'_>) -> Facts {
    let number = |bytes: Option<&[u8]>| {
        let bytes = bytes?.get(2..4)?;
        Some(i16::from_be_bytes(bytes.try_into().ok()?))
    };
    let name = match number(record.key) {
        Some(0) => "ABORT",
        Some(1) => "COMMIT",
        other => return vec![("controlType", other.unwrap_or(-1).into())],
    };
    let epoch = record.value.and_then(|value| value.get(2..6)?.try_into().ok());
    let epoch = epoch.map_or(-1, i32::from_be_bytes);
    vec![("endTxnMarker", name.into()), ("coordinatorEpoch", epoch.into())]
}

fn producer_facts(producer: &DumpedProducer) -> Facts {
    let start = producer.transaction_start;
    let mut facts = vec![
        ("producerId", producer.producer_id.0.into()),
        ("producerEpoch", producer.epoch.0.into()),
        ("coordinatorEpoch", producer.coordinator_epoch.into()),
        ("currentTxnFirstOffset", start.map(|offset| offset.0).into()),
        ("lastTimestamp", producer.last_timestamp.0.into()),
    ];
    if let Some((last_sequence, last_offset, delta)) = producer.last_batch {
        let first_sequence = last_sequence.wrapping_sub(delta) & i32::MAX;
        facts.extend([
            ("firstSequence", first_sequence.into()),
            ("lastSequence", last_sequence.into()),
            ("lastOffset", last_offset.0.into()),
            ("offsetDelta", delta.into()),
            ("timestamp", producer.last_timestamp.0.into()),
        ]);
    }
    facts
}
