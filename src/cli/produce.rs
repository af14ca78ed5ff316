//! `ottla produce`: lines, or bytes of another form, become records.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};

use super::connect::ConnectionArguments;
use super::failure::{Failure, REFUSED};
use super::input::{self, Delimiter, Input};
use super::json_record::read_json;
use super::pace::Pace;
use super::signals::Signals;
use super::template::{Fields, RecordReader, Template};
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
    /// What stands between records [default: what the format ends with, else \n]
    #[arg(short = 'D', long, value_name = "TEXT", value_parser = input::delimiter)]
    delimiter: Option<Delimiter>,
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
    /// The form of a record, such as '%k %s' or '%R%s', as `ottla consume -f` prints it; a topic in it is passed over
    #[arg(short = 'f', long = "format", value_name = "FORMAT", conflicts_with_all = ["json", "key_delimiter"])]
    format: Option<String>,
    /// Lines are JSON objects, as `ottla consume --json` prints them
    #[arg(short = 'J', long, visible_alias = "ndjson", conflicts_with = "key_delimiter")]
    json: bool,
    /// An empty value is none: a tombstone
    #[arg(short = 'Z', long)]
    null: bool,
    /// Write one record with the key and no value, and read no input
    #[arg(long, requires = "key", conflicts_with_all = ["files", "format", "json", "null"])]
    tombstone: bool,
    /// Write so many records in a time, evenly, such as 100/s, 5/m or 1k/s
    #[arg(long, value_name = "RATE", value_parser = units::interval)]
    rate: Option<Duration>,
    /// Write all in one transaction, with this transactional id or one that is made up. It is committed at the end of the input,
    /// and aborted by whatever ends it before
    #[arg(long, value_name = "ID", num_args = 0..=1, require_equals = true, conflicts_with = "no_idempotence")]
    txn: Option<Option<String>>,
    /// How long the transaction may take before the broker aborts it
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "1m", requires = "txn")]
    txn_timeout: Duration,
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

/// How input becomes records.
enum Form {
    Value,
    KeyAndValue(Vec<u8>),
    Template(RecordReader),
    Json,
}

fn form(arguments: &ProduceArguments) -> Result<Form, Failure> {
    if arguments.txn.is_some() && arguments.acks != Acks::All {
        return Err(Failure::usage("--txn needs --acks all"));
    }
    let line_end = arguments.delimiter.as_ref().map(|delimiter| &*delimiter.0);
    Ok(match (&arguments.format, &arguments.key_delimiter) {
        _ if arguments.json => Form::Json,
        (Some(format), _) => {
            let template = Template::parse(format);
            let reader = template.and_then(|template| RecordReader::new(&template, line_end));
            Form::Template(reader.map_err(Failure::usage)?)
        }
        (None, Some(delimiter)) => Form::KeyAndValue(delimiter.0.clone()),
        (None, None) => Form::Value,
    })
}

/// A record of the input, without a copy where that can be.
enum Line {
    Plain { key: Option<Bytes>, value: Bytes },
    Fields(Fields),
}

impl Form {
    fn delimiter(&self, arguments: &ProduceArguments) -> Delimiter {
        match self {
            Self::Template(reader) => reader.delimiter(),
            Self::Value | Self::KeyAndValue(_) | Self::Json => {
                arguments.delimiter.clone().unwrap_or_else(|| Delimiter(b"\n".to_vec()))
            }
        }
    }

    /// What input has one by one.
    const fn unit(&self) -> &'static str {
        match self {
            Self::Template(reader) => reader.unit(),
            Self::Value | Self::KeyAndValue(_) | Self::Json => "line",
        }
    }

    /// The next record, if it is there without waiting, or in words why there is none. Counts in `number` what it has taken.
    fn take(&self, input: &mut Input, number: &mut u64) -> Option<Result<Line, String>> {
        let mut take = || {
            let line = input.take()?;
            *number += 1;
            Some(line)
        };
        match self {
            Self::Value => Some(Ok(Line::Plain { key: None, value: take()? })),
            Self::KeyAndValue(delimiter) => Some(Ok(split(take()?, delimiter))),
            Self::Json => {
                let mut line = take()?;
                // The line of an export that describes its topics is no record.
                while line.iter().all(u8::is_ascii_whitespace) || is_description(&line) {
                    line = take()?;
                }
                Some(read_json(&line).map(Line::Fields))
            }
            Self::Template(reader) => {
                let fields = reader.take(input)?;
                *number += 1;
                Some(fields.map(Line::Fields))
            }
        }
    }
}

/// A key, the delimiter, a value; as kcat has it, a line without the delimiter has no key.
fn split(line: Bytes, delimiter: &[u8]) -> Line {
    match line.windows(delimiter.len()).position(|window| window == delimiter) {
        Some(at) => {
            Line::Plain { key: Some(line.slice(..at)), value: line.slice(at + delimiter.len()..) }
        }
        None => Line::Plain { key: None, value: line },
    }
}

async fn produce(
    cluster: &Cluster,
    arguments: &ProduceArguments,
    form: &Form,
) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let mut producer = match open(cluster, arguments).await {
        Ok(producer) => producer,
        Err(error) => return Err(opening_failed(cluster, &arguments.topic, error).await),
    };
    let written = write(cluster, arguments, form, &mut producer, &mut signals).await;
    let outcome = match arguments.txn {
        Some(_) => end_transaction(cluster, &mut producer, &mut signals, written).await,
        None => match written {
            // Also after an interruption: what was read is written.
            Ok(end) => producer.flush().await.map(|()| end.exit()).map_err(Failure::from),
            Err(failure) => Err(failure),
        },
    };
    report(&mut producer, arguments);
    outcome
}

async fn open(cluster: &Cluster, arguments: &ProduceArguments) -> Result<Producer, ClientError> {
    let options = ProducerOptions {
        compression: arguments.compression.into(),
        batch_bytes: arguments.batch_size.max(1),
        all_replicas: arguments.acks == Acks::All,
        idempotent: !arguments.no_idempotence && arguments.acks == Acks::All,
        create_topic: !arguments.no_create,
        delivery_timeout: cluster.options().operation_timeout,
    };
    let (topic, timeout) = (arguments.topic.as_str(), arguments.txn_timeout);
    let Some(id) = &arguments.txn else {
        return Producer::open(cluster.clone(), topic, options).await;
    };
    let id = id.clone().unwrap_or_else(|| format!("ottla-{}", cluster.env().rng.uuid()));
    Producer::open_transactional(cluster.clone(), topic, options, &id, timeout).await
}

/// Why no more is written.
enum End {
    /// All input was read.
    Input,
    Interrupted(ExitCode),
}

impl End {
    const fn exit(&self) -> ExitCode {
        match self {
            Self::Input => ExitCode::SUCCESS,
            Self::Interrupted(exit) => *exit,
        }
    }
}

async fn write(
    cluster: &Cluster,
    arguments: &ProduceArguments,
    form: &Form,
    producer: &mut Producer,
    signals: &mut Signals,
) -> Result<End, Failure> {
    if arguments.tombstone {
        push(producer, arguments, &Line::Fields(Fields::default())).await?;
        return Ok(End::Input);
    }
    let env = cluster.env();
    let mut input = Input::open(env, arguments.files.clone(), form.delimiter(arguments));
    let mut pace = arguments.rate.map(|interval| Pace::new(&env.steady, interval));
    let (mut number, mut records, mut more) = (0, 0, true);
    loop {
        let line = match form.take(&mut input, &mut number) {
            Some(Ok(line)) => line,
            Some(Err(words)) => {
                let before = if arguments.txn.is_some() { 0 } else { records };
                let message = format!("{} {number}: {words}", form.unit());
                return Err(bad_input(producer, before, &message).await?);
            }
            None if !more => return Ok(End::Input),
            None => {
                if !input.is_ready() {
                    // Nothing to read for the moment: what was read is not kept waiting.
                    producer.send_open().await?;
                }
                report(producer, arguments);
                more = tokio::select! {
                    more = input.fill() => more?,
                    exit = signals.next() => return Ok(End::Interrupted(exit)),
                };
                continue;
            }
        };
        if let Some(due) = pace.as_mut().and_then(|pace| pace.due(env.steady.now())) {
            if due.since(env.steady.now()) > LONG_PAUSE {
                producer.flush().await?;
            } else {
                producer.send_open().await?;
            }
            report(producer, arguments);
            tokio::select! {
                () = env.steady.sleep_until(due) => {}
                exit = signals.next() => return Ok(End::Interrupted(exit)),
            }
        }
        push(producer, arguments, &line).await?;
        records += 1_u64;
    }
}

/// A pause that is long enough to hear what became of what was sent.
const LONG_PAUSE: Duration = Duration::from_millis(200);

/// What is said of input that is no record, once what was before it is written.
async fn bad_input(
    producer: &mut Producer,
    before: u64,
    message: &str,
) -> Result<Failure, ClientError> {
    let failure = Failure::new("BAD_INPUT", REFUSED, message);
    if before == 0 {
        return Ok(failure);
    }
    producer.flush().await?;
    Ok(failure.hint(format!("{before} before it were written")))
}

/// Commits what is whole, and aborts what is not.
async fn end_transaction(
    cluster: &Cluster,
    producer: &mut Producer,
    signals: &mut Signals,
    written: Result<End, Failure>,
) -> Result<ExitCode, Failure> {
    let outcome = match commit(cluster, producer, signals, written).await {
        Ok(End::Input) => return Ok(End::Input.exit()),
        Ok(end @ End::Interrupted(_)) => Ok(end.exit()),
        Err(failure) => Err(failure),
    };
    match producer.abort().await {
        Ok(()) => note!("ottla: the transaction was aborted"),
        Err(error) => eprintln!(
            "ottla: the transaction could not be aborted, which the broker does when its time is over: {error}"
        ),
    }
    outcome
}

/// Commits the transaction if all input was read and nobody has interrupted that.
async fn commit(
    cluster: &Cluster,
    producer: &mut Producer,
    signals: &mut Signals,
    written: Result<End, Failure>,
) -> Result<End, Failure> {
    if let End::Interrupted(exit) = written? {
        return Ok(End::Interrupted(exit));
    }
    producer.flush().await?;
    let steady = &cluster.env().steady;
    tokio::select! {
        biased;
        exit = signals.next() => return Ok(End::Interrupted(exit)),
        () = steady.sleep_until(steady.now().plus(SIGNAL_LATE)) => {}
    }
    producer.commit().await?;
    Ok(End::Input)
}

/// Ctrl-C at a terminal ends whoever writes the input too: its end may be seen before the signal, by less than this.
const SIGNAL_LATE: Duration = Duration::from_millis(20);

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
