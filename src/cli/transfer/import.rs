//! `ottla import`: lines of a file become records.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::definition::{is_description, read};
use super::record::Writers;
use crate::cli::failure::{Failure, REFUSED, USAGE};
use crate::cli::input::{Delimiter, Input, is_compressed};
use crate::cli::json_record::read_json;
use crate::cli::output::count;
use crate::cli::produce::Codec;
use crate::cli::progress::{Progress, Transfer};
use crate::cli::signals::Signals;
use crate::cli::topic::Common;
use crate::client::{Cluster, NewRecord};
use crate::model::{PartitionId, UnixMillis};

/// What is read, and where it goes.
#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArguments {
    /// Files that `ottla export` wrote [default: standard input]
    files: Vec<PathBuf>,
    /// All records go to this topic [default: to the one that they are from]
    #[arg(short = 't', long)]
    topic: Option<String>,
    /// Let the keys say which partition a record goes to, not the file
    #[arg(long)]
    by_key: bool,
    /// How batches are compressed
    #[arg(short = 'z', long, value_enum, default_value_t = Codec::None)]
    compression: Codec,
    /// Do not have topics created that are not there
    #[arg(long)]
    no_create: bool,
    #[command(flatten)]
    common: Common,
}

pub(in crate::cli) fn run(arguments: &ImportArguments) -> ExitCode {
    let common = &arguments.common;
    let outcome = common.connection.run(async |cluster| import(&cluster, arguments).await);
    outcome.unwrap_or_else(|failure| failure.report(common.output.is_json()))
}

async fn import(cluster: &Cluster, arguments: &ImportArguments) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let mut lines = Lines {
        cluster,
        arguments,
        writers: Writers::new(cluster, arguments.compression.into(), !arguments.no_create),
        number: 0,
        records: 0,
        bytes: 0,
    };
    let size = sizes(&arguments.files);
    let mut progress = Progress::new(&cluster.env().steady);
    let files = arguments.files.clone();
    let mut input = Input::open(cluster.env(), files, Delimiter(b"\n".to_vec()));
    let mut exit = ExitCode::SUCCESS;
    loop {
        while let Some(line) = input.take() {
            lines.push(&line).await?;
        }
        let (records, bytes) = (lines.records, lines.bytes);
        progress.show_transfer(&Transfer { records, bytes, done: bytes, all: size });
        if !input.is_ready() {
            // Nothing to read for the moment: what was read is not kept waiting.
            lines.writers.send_open().await?;
        }
        let more = tokio::select! {
            more = input.fill() => more?,
            ended = signals.next() => {
                exit = ended;
                break;
            }
        };
        if !more {
            while let Some(line) = input.take() {
                lines.push(&line).await?;
            }
            break;
        }
    }
    // Also after an interruption: what was read is written.
    lines.writers.flush().await?;
    progress.clear();
    let (records, topics) = (lines.records, lines.writers.len());
    let text = format!("imported {records} records into {}", count(topics, "topic"));
    let json = json!({ "records": records, "topics": topics });
    arguments.common.output.print_done(&text, &json)?;
    Ok(exit)
}

/// How many bytes there are to read, if that can be known.
fn sizes(files: &[PathBuf]) -> Option<u64> {
    let size = |path: &PathBuf| {
        let metadata = path.metadata().ok().filter(fs::Metadata::is_file)?;
        (!is_compressed(path)).then_some(metadata.len())
    };
    if files.is_empty() { None } else { files.iter().map(size).sum() }
}

/// Lines on their way to the producers.
struct Lines<'a> {
    cluster: &'a Cluster,
    arguments: &'a ImportArguments,
    writers: Writers,
    number: u64,
    records: u64,
    bytes: u64,
}

impl Lines<'_> {
    async fn push(&mut self, line: &Bytes) -> Result<(), Failure> {
        self.number += 1;
        self.bytes += line.len() as u64 + 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        match is_description(line) {
            true => self.create(line).await,
            false => self.write(line).await,
        }
    }

    /// Makes the topics that a line describes.
    async fn create(&mut self, line: &Bytes) -> Result<(), Failure> {
        let definitions = match read(line) {
            Ok(definitions) => definitions,
            Err(words) => return Err(self.bad(&words).await),
        };
        if self.arguments.no_create {
            return Ok(());
        }
        for mut definition in definitions {
            if let Some(topic) = &self.arguments.topic {
                topic.clone_into(&mut definition.name);
            }
            definition.create(self.cluster).await?;
        }
        Ok(())
    }

    async fn write(&mut self, line: &Bytes) -> Result<(), Failure> {
        let fields = match read_json(line) {
            Ok(fields) => fields,
            Err(words) => return Err(self.bad(&words).await),
        };
        let Some(topic) = self.arguments.topic.as_ref().or(fields.topic.as_ref()) else {
            self.writers.flush().await?;
            let message = format!("line {} does not say of which topic it is", self.number);
            return Err(Failure::new("NO_TOPIC", USAGE, message).hint("--topic says it for all"));
        };
        let headers: Vec<_> =
            fields.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let partition = fields.partition.filter(|_| !self.arguments.by_key);
        let record = NewRecord {
            key: fields.key.as_deref(),
            value: fields.value.as_deref(),
            headers: &headers,
            timestamp: fields.timestamp.map(UnixMillis),
            partition: partition.map(PartitionId),
        };
        let producer = self.writers.of(topic).await?;
        if let Err(error) = producer.push(record).await {
            let failure = Failure::from(error);
            return Err(match partition {
                Some(_) => failure.hint("--by-key lets the keys say which partition it is"),
                None => failure,
            });
        }
        producer.take_delivered();
        self.records += 1;
        Ok(())
    }

    /// What is said of a line that makes no sense; what was before it is written.
    async fn bad(&mut self, words: &str) -> Failure {
        if let Err(error) = self.writers.flush().await {
            return error.into();
        }
        let failure = Failure::new("BAD_INPUT", REFUSED, format!("line {}: {words}", self.number));
        failure.hint(format!("{} before it were written", self.records))
    }
}
