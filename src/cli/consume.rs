//! `ottla consume`: records become lines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;
use std::process::ExitCode;

use clap::Args;
use regex::bytes::Regex;

use super::connect::ConnectionArguments;
use super::failure::Failure;
use super::filter::Filter;
use super::json_record::{Field, HeaderForm, write_json};
use super::place::{Place, PlaceRange};
use super::reading::Reading;
use super::record_table::RecordTable;
use super::rpk::write_object;
use super::signals::Signals;
use super::template::{Bounds, Shown, Template, write_record};
use super::topic::known_topics;
use crate::client::{
    Cluster, Fetched, Fetcher, GroupConsumer, GroupOptions, OffsetQuery, ResetPolicy,
};
use crate::env::terminal_columns;
use crate::model::{Offset, PartitionId};
use crate::record::scan;

/// What is read, and how it is printed.
#[derive(Debug, Args)]
pub(super) struct ConsumeArguments {
    /// Names of topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// From where, to where: start, end, N, +N, -N, @TIME, FROM:UNTIL [default: start; with -G where the group has stopped]
    #[arg(short = 'o', long, value_name = "RANGE", value_parser = PlaceRange::parse, allow_hyphen_values = true)]
    offset: Vec<PlaceRange>,
    /// Only these partitions
    #[arg(short = 'p', long = "partition", value_delimiter = ',', conflicts_with = "group")]
    partitions: Vec<i32>,
    /// Stop after so many records that were printed
    #[arg(short = 'n', long = "count", alias = "num", visible_short_alias = 'c')]
    count: Option<u64>,
    /// Stop at the end of what is there, also if the range ends later
    #[arg(short = 'e', long)]
    exit: bool,
    /// How a record is printed, such as '%t[%p] %o: %k %s\n' [default: '%s\n']
    #[arg(short = 'f', long = "format", value_name = "FORMAT", conflicts_with = "json")]
    format: Option<String>,
    /// Print JSON lines, as `ottla produce --json` reads them
    #[arg(short = 'J', long, visible_alias = "ndjson")]
    json: bool,
    /// Of what --json prints, only these fields
    #[arg(long, value_enum, value_name = "FIELD,…", value_delimiter = ',', requires = "json")]
    keep: Vec<Field>,
    /// Print a table for people: a row for each record, cut to the terminal
    #[arg(long, conflicts_with_all = ["format", "json"])]
    table: bool,
    /// Only records of which the key, the value or the value of a header matches
    #[arg(long, value_name = "RE", value_parser = Regex::new)]
    grep: Option<Regex>,
    /// Only records for which this holds, such as 'value.total > 10'. CEL over topic, partition, offset, timestamp, key, value (what
    /// it is as JSON, else text) and headers
    #[arg(long = "where", value_name = "CEL")]
    condition: Option<String>,
    /// Print objects as rpk does.
    #[arg(skip)]
    pub(super) as_rpk: bool,
    /// Read as a member of this group, and commit what was printed or left out
    #[arg(short = 'G', long)]
    group: Option<String>,
    /// Leave out records of open and aborted transactions
    #[arg(long)]
    read_committed: bool,
    /// Print each record at once
    #[arg(short = 'u', long)]
    unbuffered: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) fn run(arguments: &ConsumeArguments) -> ExitCode {
    let text = arguments.format.as_deref().unwrap_or("%s\\n");
    let outcome = Template::parse(text).map_err(Failure::usage).and_then(|template| {
        let filter = Filter::new(arguments.grep.as_ref(), arguments.condition.as_deref())?;
        let printer = Printer::new(arguments, template, filter);
        arguments.connection.run(async |cluster| match &arguments.group {
            Some(group) => consume_group(&cluster, arguments, printer, group).await,
            None => consume(&cluster, arguments, printer).await,
        })
    });
    outcome.unwrap_or_else(|failure| failure.report(arguments.json))
}

fn reading(arguments: &ConsumeArguments) -> Result<Reading<'_>, Failure> {
    Ok(Reading {
        topics: &arguments.topics,
        partitions: &arguments.partitions,
        range: PlaceRange::joined(&arguments.offset)?,
        to_end: arguments.exit,
        read_committed: arguments.read_committed,
    })
}

/// Reads partitions on its own, from place to place.
async fn consume(
    cluster: &Cluster,
    arguments: &ConsumeArguments,
    mut printer: Printer<'_>,
) -> Result<ExitCode, Failure> {
    let reading = reading(arguments)?;
    let mut spans = reading.spans(cluster).await?;
    // What has nothing to give is done before it begins.
    spans.retain(|_, span| span.until.is_none_or(|until| span.from < until));
    let mut open: BTreeMap<_, _> = spans.clone();
    let mut fetcher = Fetcher::new(cluster.clone(), spans, reading.fetcher_options());
    let mut signals = Signals::listen()?;
    let mut exit = ExitCode::SUCCESS;
    printer.begin()?;
    while !open.is_empty() && !printer.is_done() {
        let fetched = tokio::select! {
            fetched = fetcher.next() => fetched?,
            ended = signals.next() => {
                exit = ended;
                break;
            }
        };
        let key = (fetched.topic.clone(), fetched.partition);
        let until = open.get(&key).and_then(|span| span.until);
        printer.learn_bounds(cluster, &fetched).await?;
        printer.print(&fetched, until)?;
        if until.is_some_and(|until| fetched.next >= until) {
            open.remove(&key);
        }
    }
    printer.finish()?;
    Ok(exit)
}

/// Reads as a member of a group. What was printed is committed, nothing else.
async fn consume_group(
    cluster: &Cluster,
    arguments: &ConsumeArguments,
    mut printer: Printer<'_>,
    group: &str,
) -> Result<ExitCode, Failure> {
    let reading = reading(arguments)?;
    let reset = match reading.range {
        None | Some(PlaceRange { from: Place::Start, until: None }) => ResetPolicy::Earliest,
        Some(PlaceRange { from: Place::Stored, until: None }) => ResetPolicy::Earliest,
        Some(PlaceRange { from: Place::End, until: None }) => ResetPolicy::Latest,
        Some(_) => {
            return Err(Failure::usage(
                "with -G, -o is start or end, for partitions without an offset",
            )
            .hint("ottla group reset moves a group"));
        }
    };
    let names: Vec<&str> = arguments.topics.iter().map(String::as_str).collect();
    known_topics(cluster, &names).await?;
    let mut options = GroupOptions::new(group.to_owned(), arguments.topics.clone(), reset);
    options.fetcher = reading.fetcher_options();
    let mut consumer = GroupConsumer::new(cluster.clone(), options);
    let outcome = read_group(cluster, arguments, &mut printer, &mut consumer).await;
    // Whatever has ended the reading: the others are not kept waiting, and what was printed is committed.
    let left = consumer.leave().await;
    let exit = outcome?;
    left?;
    Ok(exit)
}

async fn read_group(
    cluster: &Cluster,
    arguments: &ConsumeArguments,
    printer: &mut Printer<'_>,
    consumer: &mut GroupConsumer,
) -> Result<ExitCode, Failure> {
    let mut at_end: BTreeSet<(String, PartitionId)> = BTreeSet::new();
    let mut signals = Signals::listen()?;
    let mut exit = ExitCode::SUCCESS;
    printer.begin()?;
    while !printer.is_done() {
        let fetched = tokio::select! {
            fetched = consumer.next() => fetched?,
            ended = signals.next() => {
                exit = ended;
                break;
            }
        };
        printer.learn_bounds(cluster, &fetched).await?;
        let printed = printer.print(&fetched, None)?;
        if printed > fetched.from {
            consumer.used(&fetched.topic, fetched.partition, printed);
        }
        let key = (fetched.topic, fetched.partition);
        if fetched.next >= fetched.end {
            at_end.insert(key);
        } else {
            at_end.remove(&key);
        }
        if arguments.exit && consumer.assigned().is_subset(&at_end) {
            break;
        }
    }
    printer.finish()?;
    Ok(exit)
}

/// Prints records until there were enough.
struct Printer<'a> {
    arguments: &'a ConsumeArguments,
    template: Template,
    filter: Filter,
    table: Option<RecordTable>,
    out: BufWriter<io::StdoutLock<'static>>,
    count: u64,
    bounds: Bounds,
}

const OUT_BYTES: usize = 256 << 10;

impl<'a> Printer<'a> {
    fn new(arguments: &'a ConsumeArguments, template: Template, filter: Filter) -> Self {
        let out = BufWriter::with_capacity(OUT_BYTES, io::stdout().lock());
        let table =
            arguments.table.then(|| RecordTable::new(&arguments.topics, terminal_columns()));
        Self { arguments, template, filter, table, out, count: 0, bounds: Bounds::default() }
    }

    /// Prints what stands before the first record.
    fn begin(&mut self) -> Result<(), Failure> {
        if let Some(table) = &self.table {
            table.write_head(&mut self.out)?;
            self.out.flush()?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.arguments.count.is_some_and(|count| self.count >= count)
    }

    /// Finds out where the partition begins and ends, if the format shows it: of the two ends a fetch says the one that it
    /// reads to.
    async fn learn_bounds(&mut self, cluster: &Cluster, fetched: &Fetched) -> Result<(), Failure> {
        if !self.template.has_bounds() {
            return Ok(());
        }
        let committed = self.arguments.read_committed;
        let query = if committed { OffsetQuery::Latest } else { OffsetQuery::LatestCommitted };
        let queries = [(fetched.topic.clone(), fetched.partition, query)];
        let listed = cluster.list_offsets(&queries).await?;
        let other = listed.values().find_map(|listed| listed.offset).unwrap_or(fetched.end);
        let (last_stable, high_watermark) =
            if committed { (fetched.end, other) } else { (other, fetched.end) };
        self.bounds = Bounds { log_start: fetched.log_start, last_stable, high_watermark };
        Ok(())
    }

    /// Prints the records before `until`; gives the offset that follows what was printed or passed over.
    fn print(&mut self, fetched: &Fetched, until: Option<Offset>) -> Result<Offset, Failure> {
        let mut next = fetched.from;
        let mut broken = None;
        let mut headers = scan(&fetched.batches).filter_map(Result::ok).map(|batch| batch.header);
        let mut header = headers.next();
        fetched.visit(|record| {
            if self.is_done() || until.is_some_and(|until| record.offset >= until) {
                return ControlFlow::Break(());
            }
            while header.is_some_and(|header| header.last_offset() < record.offset) {
                header = headers.next();
            }
            let Some(batch) = header else { return ControlFlow::Break(()) };
            let shown = Shown {
                topic: &fetched.topic,
                partition: fetched.partition.0,
                record,
                batch: &batch,
                count: self.count + 1,
                bounds: self.bounds,
            };
            let printed = self.filter.passes(&shown).and_then(|passes| match passes {
                true => Ok(self.print_one(&shown)?),
                false => Ok(()),
            });
            if let Err(failure) = printed {
                broken = Some(failure);
                return ControlFlow::Break(());
            }
            next = record.offset.plus(1);
            ControlFlow::Continue(())
        })?;
        if let Some(failure) = broken {
            return Err(failure);
        }
        // What nobody else is to see is behind us too, if all was printed.
        if !self.is_done() && until.is_none() {
            next = fetched.next;
        }
        // Records that wait in the buffer while nothing comes would be late.
        self.out.flush()?;
        Ok(next)
    }

    fn print_one(&mut self, shown: &Shown<'_>) -> io::Result<()> {
        self.count += 1;
        match (self.arguments, &self.table) {
            (_, Some(table)) => table.write(shown, &mut self.out)?,
            (ConsumeArguments { json: true, keep, .. }, _) => {
                write_json(shown, HeaderForm::Object, keep, &mut self.out)?;
            }
            (ConsumeArguments { as_rpk: true, .. }, _) => write_object(shown, &mut self.out)?,
            _ => write_record(&self.template, shown, &mut self.out)?,
        }
        if self.arguments.unbuffered { self.out.flush() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.out.flush()?;
        if let Some(note) = self.filter.note() {
            note!("ottla: {note}");
        }
        Ok(())
    }
}
