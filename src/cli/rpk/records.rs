//! `rpk topic produce` and `consume`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Command, FromArgMatches as _};
use serde::Serialize;

use super::Connection;
use crate::cli::consume;
use crate::cli::failure::{Failure, REFUSED};
use crate::cli::input::Input;
use crate::cli::output::print_text;
use crate::cli::produce::Codec;
use crate::cli::template::{Fields, RecordReader, Shown, Template};
use crate::client::{Cluster, NewRecord, Producer, ProducerOptions};
use crate::model::{PartitionId, UnixMillis};

#[derive(Debug, Args)]
pub(super) struct ProduceArguments {
    /// Name of the topic
    topic: String,
    /// The form of a line
    #[arg(short, long, default_value = "%v\\n")]
    format: String,
    /// The key of all records
    #[arg(short, long)]
    key: Option<String>,
    /// A header of all records
    #[arg(short = 'H', long = "header", value_name = "KEY:VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The partition of all records
    #[arg(short, long, default_value_t = -1, allow_negative_numbers = true)]
    partition: i32,
    /// How batches are compressed
    #[arg(short = 'z', long, value_enum, default_value_t = Codec::Snappy)]
    compression: Codec,
    /// An empty value is none
    #[arg(short = 'Z', long)]
    tombstone: bool,
}

/// # Errors
/// In words, when there is no colon.
fn header(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once(':');
    pair.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("'{text}' is not KEY:VALUE"))
}

#[derive(Debug, Args)]
pub(super) struct ConsumeArguments {
    /// Names of topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// From where, to where
    #[arg(short, long, default_value = "start", allow_hyphen_values = true)]
    offset: String,
    /// Stop after so many records; 0 for no end
    #[arg(short, long, default_value_t = 0)]
    num: u64,
    /// How a record is printed
    #[arg(short, long, default_value = "json")]
    format: String,
    /// Only these partitions
    #[arg(short, long, value_delimiter = ',')]
    partitions: Vec<i32>,
    /// Read as a member of this group
    #[arg(short, long)]
    group: Option<String>,
    /// Leave out records of open and aborted transactions
    #[arg(long)]
    read_committed: bool,
}

/// Writes lines, and says of each where it is. Lines that are there at one time are of one time.
pub(super) async fn produce(
    cluster: &Cluster,
    arguments: &ProduceArguments,
) -> Result<ExitCode, Failure> {
    let template = Template::parse(&arguments.format);
    let reader = template.and_then(|template| RecordReader::new(&template, None));
    let reader = reader.map_err(Failure::usage)?;
    let options = ProducerOptions {
        compression: arguments.compression.into(),
        batch_bytes: BATCH_BYTES,
        all_replicas: true,
        idempotent: true,
        create_topic: false,
        delivery_timeout: cluster.options().operation_timeout,
    };
    let mut producer = Producer::open(cluster.clone(), &arguments.topic, options).await?;
    let mut input = Input::open(cluster.env(), Vec::new(), reader.delimiter());
    let mut more = true;
    while more {
        more = input.fill().await?;
        let now = cluster.env().clock.now();
        while let Some(fields) = reader.take(&mut input) {
            let fields = fields.map_err(|words| Failure::new("BAD_INPUT", REFUSED, words))?;
            push(&mut producer, arguments, &fields, now).await?;
        }
        producer.flush().await?;
        say(&mut producer, now)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn push(
    producer: &mut Producer,
    arguments: &ProduceArguments,
    fields: &Fields,
    now: UnixMillis,
) -> Result<(), Failure> {
    let fixed =
        arguments.headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes())));
    let own = fields.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    let headers: Vec<_> = fixed.chain(own).collect();
    let partition = Some(arguments.partition).filter(|partition| *partition >= 0);
    let record = NewRecord {
        key: arguments.key.as_ref().map(String::as_bytes).or(fields.key.as_deref()),
        value: fields.value.as_deref().filter(|value| !(arguments.tombstone && value.is_empty())),
        headers: &headers,
        timestamp: Some(fields.timestamp.map_or(now, UnixMillis)),
        partition: partition.or(fields.partition).map(PartitionId),
    };
    Ok(producer.push(record).await?)
}

fn say(producer: &mut Producer, now: UnixMillis) -> io::Result<()> {
    let mut text = String::new();
    for delivered in producer.take_delivered() {
        for number in 0..i64::from(delivered.records) {
            let offset = delivered.base_offset.plus(number);
            text.push_str(&format!(
                "Produced to partition {} at offset {offset} with timestamp {}.\n",
                delivered.partition, now.0
            ));
        }
    }
    print_text(&text)
}

/// As `ottla consume`, by the names that its options have there.
pub(super) fn consume(
    arguments: &ConsumeArguments,
    connection: &Connection,
) -> Result<ExitCode, Failure> {
    let mut words = vec!["consume".to_owned(), "-b".to_owned(), connection.bootstrap().to_owned()];
    words.extend(arguments.topics.iter().cloned());
    words.push(format!("--offset={}", arguments.offset));
    // An end that is given is one to stop at; rpk has no other.
    if arguments.num > 0 {
        words.push(format!("--count={}", arguments.num));
    }
    if arguments.format != "json" {
        words.push(format!("--format={}", arguments.format));
    }
    words.extend(arguments.partitions.iter().map(|index| format!("--partition={index}")));
    words.extend(arguments.group.iter().map(|group| format!("--group={group}")));
    words.extend(arguments.read_committed.then(|| "--read-committed".to_owned()));
    let command = consume::ConsumeArguments::augment_args(Command::new("consume"));
    let read = command
        .try_get_matches_from(words)
        .and_then(|matches| consume::ConsumeArguments::from_arg_matches(&matches));
    let mut own = read.map_err(|error| Failure::usage(error.to_string()))?;
    own.as_rpk = arguments.format == "json";
    Ok(consume::run(&own))
}

/// A record as rpk prints it.
#[derive(Serialize)]
struct Object<'a> {
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Header>,
    timestamp: i64,
    partition: i32,
    offset: i64,
}

#[derive(Serialize)]
struct Header {
    key: String,
    value: String,
}

/// Prints a record as an object over several lines. What is not UTF-8 is replaced.
pub(in crate::cli) fn write_object(shown: &Shown<'_>, out: &mut impl Write) -> io::Result<()> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let record = shown.record;
    let header = |(key, value): (&[u8], Option<&[u8]>)| Header {
        key: text(key),
        value: value.map(text).unwrap_or_default(),
    };
    let object = Object {
        topic: shown.topic,
        key: record.key.map(text),
        value: record.value.map(text),
        headers: record.headers.clone().map(header).collect(),
        timestamp: record.timestamp.0,
        partition: shown.partition,
        offset: record.offset.0,
    };
    serde_json::to_writer_pretty(&mut *out, &object)?;
    out.write_all(b"\n")
}

/// Bytes of a batch, about.
const BATCH_BYTES: usize = 256 << 10;
