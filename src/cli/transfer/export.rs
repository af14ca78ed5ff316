//! `ottla export`: records become lines of a file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::definition::{Definition, describe};
use crate::cli::connect::ConnectionArguments;
use crate::cli::failure::{EXISTS, Failure, broken};
use crate::cli::input::{STANDARD, is_compressed};
use crate::cli::json_record::{HeaderForm, write_json};
use crate::cli::output::count;
use crate::cli::place::PlaceRange;
use crate::cli::progress::{Progress, Transfer};
use crate::cli::reading::{Reading, offsets_in};
use crate::cli::template::{Bounds, Shown};
use crate::client::{Cluster, Fetched};
use crate::model::Offset;
use crate::record::scan;

/// What is written, and where to.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArguments {
    /// Names of topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// The file, compressed if its name ends in .zst; - is standard output [default: -]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Describe the topics in the first line, and keep the order of headers: an import makes the topics as they were
    #[arg(long)]
    lossless: bool,
    /// From where, to where: start, end, N, +N, -N, @TIME, FROM:UNTIL [default: all]
    #[arg(short = 'o', long, value_name = "RANGE", value_parser = PlaceRange::parse, allow_hyphen_values = true)]
    offset: Vec<PlaceRange>,
    /// Only these partitions
    #[arg(short = 'p', long = "partition", value_delimiter = ',')]
    partitions: Vec<i32>,
    /// Leave out records of open and aborted transactions
    #[arg(long)]
    read_committed: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli) fn run(arguments: &ExportArguments) -> ExitCode {
    let is_standard = |path: &&PathBuf| *path == Path::new(STANDARD) || *path == Path::new(STDOUT);
    let outcome = arguments.connection.run(async |cluster| {
        let Some(path) = arguments.to.as_ref().filter(|path| !is_standard(path)) else {
            return export(&cluster, arguments, io::stdout().lock()).await;
        };
        let file = create(path)?;
        if !is_compressed(path) {
            return export(&cluster, arguments, file).await;
        }
        let mut encoder = zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?;
        let exported = export(&cluster, arguments, &mut encoder).await;
        // What was written until something broke can be read.
        let finished = encoder.finish();
        let exit = exported?;
        finished?;
        Ok(exit)
    });
    outcome.unwrap_or_else(|failure| failure.report(false))
}

/// A new file: one that is there is not written over, unless it is a pipe or a device.
fn create(path: &Path) -> Result<File, Failure> {
    let created = File::create_new(path).or_else(|error| {
        if !path.metadata().is_ok_and(|found| !found.is_file()) {
            return Err(error);
        }
        #[expect(clippy::disallowed_methods, reason = "a file that a user names")]
        File::options().write(true).open(path)
    });
    created.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            let message = format!("{} is there already", path.display());
            let hint = "give another name, or remove it";
            return Failure::new("FILE_EXISTS", EXISTS, message).hint(hint);
        }
        io::Error::new(error.kind(), format!("cannot make {}: {error}", path.display())).into()
    })
}

/// Standard output by its other name, which may be a file that is there.
const STDOUT: &str = "/dev/stdout";

async fn export(
    cluster: &Cluster,
    arguments: &ExportArguments,
    out: impl Write,
) -> Result<ExitCode, Failure> {
    let reading = Reading {
        topics: &arguments.topics,
        partitions: &arguments.partitions,
        range: PlaceRange::joined(&arguments.offset)?,
        to_end: true,
        read_committed: arguments.read_committed,
    };
    let mut out = Counted { out: BufWriter::with_capacity(OUT_BYTES, out), bytes: 0 };
    if arguments.lossless {
        let definitions = Definition::of(cluster, &arguments.topics).await?;
        let line = describe(definitions).map_err(|error| broken(&error))?;
        writeln!(out, "{line}")?;
    }
    let form = if arguments.lossless { HeaderForm::Pairs } else { HeaderForm::Object };
    let spans = reading.spans(cluster).await?;
    let mut progress = Progress::new(&cluster.env().steady);
    let (all, mut done, mut records) = (offsets_in(&spans), 0, 0);
    let exit = reading.read(cluster, spans, async |fetched, until| {
        records += write(fetched, until, form, &mut out)?;
        let next = until.map_or(fetched.next, |until| until.min(fetched.next));
        done += next.since(fetched.from).max(0).cast_unsigned();
        progress.show_transfer(&Transfer { records, bytes: out.bytes, done, all: Some(all) });
        Ok(())
    });
    let exit = exit.await?;
    out.flush()?;
    progress.clear();
    let topics: BTreeSet<&String> = arguments.topics.iter().collect();
    note!("exported {records} records of {}", count(topics.len(), "topic"));
    Ok(exit)
}

const OUT_BYTES: usize = 256 << 10;

/// Counts the bytes that are written.
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes the records before `until`; gives how many there were.
fn write(
    fetched: &Fetched,
    until: Option<Offset>,
    form: HeaderForm,
    out: &mut impl Write,
) -> Result<u64, Failure> {
    let (mut records, mut failed) = (0, None);
    let mut headers = scan(&fetched.batches).filter_map(Result::ok).map(|batch| batch.header);
    let mut header = headers.next();
    fetched.visit(|record| {
        if until.is_some_and(|until| record.offset >= until) {
            return ControlFlow::Break(());
        }
        while header.is_some_and(|header| header.last_offset() < record.offset) {
            header = headers.next();
        }
        let Some(batch) = header else { return ControlFlow::Break(()) };
        records += 1;
        let (topic, partition) = (&*fetched.topic, fetched.partition.0);
        let bounds = Bounds::default();
        let shown = Shown { topic, partition, record, batch: &batch, count: records, bounds };
        match write_json(&shown, form, &[], out) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    match failed {
        None => Ok(records),
        Some(error) => Err(error.into()),
    }
}
