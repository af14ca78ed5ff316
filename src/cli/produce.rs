//! `ottla produce`: lines become records.

use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, ValueEnum};

use super::connect::ConnectionArguments;
use super::failure::{Failure, REFUSED};
use super::input::{self, Delimiter, Input};
use super::json_record::read_json;
use super::signals::Signals;
use super::template::{Fields, LineReader, Template};
use super::topic::key_value;
use super::transfer::is_description;
use super::units;
use crate::client::{ClientError, Cluster, NewRecord, Producer, ProducerOptions};
use crate::model::{ErrorCode, PartitionId, UnixMillis};
use crate::record::Compression;

/// What is written, and how.
#[derive(Debug, Args)]
pub(super) struct ProduceArguments {
    /// Name of the topic
    topic: String,
    /// Files with a record a line [default: standard input]
    files: Vec<PathBuf>,
    /// The key of all records
    #[arg(short = 'k', long, value_name = "KEY", conflicts_with = "key_delimiter")]
    key: Option<String>,
    /// Lines are a key, this, and a value
    #[arg(short = 'K', long, value_name = "TEXT", value_parser = input::delimiter)]
    key_delimiter: Option<Delimiter>,
    /// What stands between records
    #[arg(short = 'D', long, value_name = "TEXT", default_value = "\\n", value_parser = input::delimiter)]
    delimiter: Delimiter,
    /// A header of all records
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = key_value)]
    headers: Vec<(String, String)>,
    /// All records go to this partition [default: by key, else batch by batch]
    #[arg(short = 'p', long)]
    partition: Option<i32>,
    /// Let the keys say which partition a record goes to, not the lines
    #[arg(long, conflicts_with = "partition")]
    by_key: bool,
    /// How batches are compressed
    #[arg(short = 'z', long, value_enum, default_value_t = Codec::None)]
    compression: Codec,
    /// The form of a line, such as '%k %s'
    #[arg(short = 'f', long = "format", value_name = "FORMAT", conflicts_with_all = ["json", "key_delimiter"])]
    format: Option<String>,
    /// Lines are JSON objects, as `ottla consume --json` prints them
    #[arg(short = 'J', long, conflicts_with = "key_delimiter")]
    json: bool,
    /// An empty value is none: a tombstone
    #[arg(short = 'Z', long)]
    null: bool,
    /// How many replicas have to have a record: all that are in sync, or the leader alone
    #[arg(long, value_enum, default_value_t = Acks::All)]
    acks: Acks,
    /// Do without the numbers that keep a record from being written twice
    #[arg(long)]
    no_idempotence: bool,
    /// Bytes of a batch before it is compressed
    #[arg(long, value_name = "SIZE", default_value = "256k", value_parser = units::bytes)]
    batch_size: usize,
    /// Do not have the topic created if it is not there
    #[arg(long)]
    no_create: bool,
    /// Say for each batch where it is
    #[arg(short = 'v', long)]
    verbose: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Acks {
    All,
    #[value(name = "1")]
    Leader,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
        }
    }
}

pub(super) fn run(arguments: &ProduceArguments) -> ExitCode {
    let outcome = form(arguments).and_then(|form| {
        let produce = async |cluster| produce(&cluster, arguments, &form).await;
        arguments.connection.run(produce)
    });
    outcome.unwrap_or_else(|failure| failure.report(arguments.json))
}

/// How a line becomes a record.
enum Form {
    Value,
    KeyAndValue(Vec<u8>),
    Template(LineReader),
    Json,
}

fn form(arguments: &ProduceArguments) -> Result<Form, Failure> {
    Ok(match (&arguments.format, &arguments.key_delimiter) {
        _ if arguments.json => Form::Json,
        (Some(format), _) => {
            let reader = Template::parse(format).and_then(|template| LineReader::new(&template));
            Form::Template(reader.map_err(Failure::usage)?)
        }
        (None, Some(delimiter)) => Form::KeyAndValue(delimiter.0.clone()),
        (None, None) => Form::Value,
    })
}

/// A line taken apart without a copy where that can be.
enum Line {
    Plain { key: Option<Bytes>, value: Bytes },
    Fields(Fields),
}

impl Form {
    fn read(&self, line: Bytes) -> Result<Line, String> {
        Ok(match self {
            Self::Value => Line::Plain { key: None, value: line },
            Self::KeyAndValue(delimiter) => {
                let mut windows = line.windows(delimiter.len());
                match windows.position(|window| window == delimiter) {
                    Some(at) => Line::Plain {
                        key: Some(line.slice(..at)),
                        value: line.slice(at + delimiter.len()..),
                    },
                    // As kcat: a line without a key.
                    None => Line::Plain { key: None, value: line },
                }
            }
            Self::Template(reader) => Line::Fields(reader.read(&line)?),
            Self::Json => Line::Fields(read_json(&line)?),
        })
    }
}

async fn produce(
    cluster: &Cluster,
    arguments: &ProduceArguments,
    form: &Form,
) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let options = ProducerOptions {
        compression: arguments.compression.into(),
        batch_bytes: arguments.batch_size.max(1),
        all_replicas: arguments.acks == Acks::All,
        idempotent: !arguments.no_idempotence && arguments.acks == Acks::All,
        create_topic: !arguments.no_create,
        delivery_timeout: cluster.options().operation_timeout,
    };
    let producer = Producer::open(cluster.clone(), &arguments.topic, options).await;
    let mut producer = match producer {
        Ok(producer) => producer,
        Err(error) => return Err(opening_failed(cluster, &arguments.topic, error).await),
    };
    let files = arguments.files.clone();
    let mut input = Input::open(cluster.env(), files, arguments.delimiter.clone());
    let mut lines = Lines { arguments, form, number: 0, records: 0 };
    let exit = loop {
        while let Some(line) = input.take() {
            lines.push(&mut producer, line).await?;
        }
        if !input.is_ready() {
            // Nothing to read for the moment: what was read is not kept waiting.
            producer.send_open().await?;
        }
        report(&mut producer, arguments);
        let more = tokio::select! {
            more = input.fill() => more?,
            exit = signals.next() => break exit,
        };
        if !more {
            while let Some(line) = input.take() {
                lines.push(&mut producer, line).await?;
            }
            break ExitCode::SUCCESS;
        }
    };
    // Also after an interruption: what was read is written.
    producer.flush().await?;
    report(&mut producer, arguments);
    Ok(exit)
}

/// Lines on their way to the producer.
struct Lines<'a> {
    arguments: &'a ProduceArguments,
    form: &'a Form,
    number: u64,
    records: u64,
}

impl Lines<'_> {
    async fn push(&mut self, producer: &mut Producer, line: Bytes) -> Result<(), Failure> {
        self.number += 1;
        // The line of an export that describes its topics is no record.
        let is_none = line.iter().all(u8::is_ascii_whitespace) || is_description(&line);
        if matches!(self.form, Form::Json) && is_none {
            return Ok(());
        }
        match self.form.read(line) {
            Ok(line) => {
                push(producer, self.arguments, &line).await?;
                self.records += 1;
                Ok(())
            }
            Err(words) => {
                producer.flush().await?;
                let message = format!("line {}: {words}", self.number);
                let failure = Failure::new("BAD_INPUT", REFUSED, message);
                Err(match self.records {
                    0 => failure,
                    before => failure.hint(format!("{before} before it were written")),
                })
            }
        }
    }
}

async fn push(
    producer: &mut Producer,
    arguments: &ProduceArguments,
    line: &Line,
) -> Result<(), Failure> {
    let fixed =
        arguments.headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes())));
    let mut headers: Vec<(&str, Option<&[u8]>)> = fixed.collect();
    let (key, value, timestamp, partition) = match line {
        Line::Plain { key, value } => (key.as_deref(), Some(&**value), None, None),
        Line::Fields(fields) => {
            headers.extend(
                fields.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())),
            );
            let timestamp = fields.timestamp.map(UnixMillis);
            let partition = fields.partition;
            (fields.key.as_deref(), fields.value.as_deref(), timestamp, partition)
        }
    };
    let partition = partition.filter(|_| !arguments.by_key);
    let record = NewRecord {
        key: arguments.key.as_ref().map(String::as_bytes).or(key),
        value: value.filter(|value| !(arguments.null && value.is_empty())),
        headers: &headers,
        timestamp,
        partition: arguments.partition.or(partition).map(PartitionId),
    };
    producer.push(record).await.map_err(|error| match partition {
        Some(_) if arguments.partition.is_none() => {
            Failure::from(error).hint("--by-key lets the keys say which partition it is")
        }
        _ => error.into(),
    })
}

fn report(producer: &mut Producer, arguments: &ProduceArguments) {
    for delivered in producer.take_delivered() {
        if arguments.verbose {
            eprintln!(
                "{} partition {} offset {}: {} records, {} bytes",
                arguments.topic,
                delivered.partition,
                delivered.base_offset,
                delivered.records,
                delivered.bytes
            );
        }
    }
}

async fn opening_failed(cluster: &Cluster, topic: &str, error: ClientError) -> Failure {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    if error.refusal().is_some_and(|refusal| refusal.code == unknown) {
        return super::topic::unknown_topic(cluster, topic).await;
    }
    error.into()
}
