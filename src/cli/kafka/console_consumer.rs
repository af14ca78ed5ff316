//! `kafka-console-consumer`: prints records as `DefaultMessageFormatter` of Apache Kafka 4.3 does.
//!
//! Without `--group` partitions are read without a group; the original makes one up and commits nothing in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::admin;
use super::console_producer::properties_of;
use super::options::{Known, Options, flag, valued};
use crate::cli::signals::Signals;
use crate::client::{
    ClientError, Cluster, Fetched, Fetcher, FetcherOptions, GroupConsumer, GroupOptions,
    OffsetQuery, ResetPolicy, Span, Spans, Topics,
};
use crate::group::WholePattern;
use crate::model::{Instant, Offset, PartitionId};
use crate::record::{BatchHeader, Record, TimestampType, scan};

const ABOUT: &str = "kafka-console-consumer prints the records of topics.";
const KNOWN: &[Known] = &[
    valued(&["topic"]),
    valued(&["include"]),
    valued(&["partition"]),
    valued(&["offset"]),
    valued(&["command-property", "consumer-property"]),
    valued(&["consumer.config"]),
    valued(&["formatter"]),
    valued(&["formatter-property", "property"]),
    valued(&["formatter-config"]),
    flag(&["from-beginning"]),
    valued(&["max-messages"]),
    valued(&["timeout-ms"]),
    flag(&["skip-message-on-error"]),
    valued(&["key-deserializer"]),
    valued(&["value-deserializer"]),
    flag(&["enable-systest-events"]),
    valued(&["isolation-level"]),
    valued(&["group"]),
];
/// The formatter that is here, by the last part of its name.
const FORMATTER: &str = "DefaultMessageFormatter";
/// How long to wait until a topic that is not there may be there.
const TOPIC_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some(options) = admin::read(ABOUT, KNOWN, arguments)? else { return Ok(ExitCode::SUCCESS) };
    let settings = Settings::new(&options)?;
    admin::run(&options, async |cluster| {
        let mut printer = Printer::new(&settings);
        let outcome = match &settings.group {
            Some(group) => read_group(&cluster, &settings, group, &mut printer).await,
            None => read(&cluster, &settings, &mut printer).await,
        };
        eprintln!("Processed a total of {} messages", printer.count);
        match outcome {
            // Whoever read the lines has seen enough.
            Err(error)
                if error
                    .downcast_ref::<io::Error>()
                    .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
            {
                Ok(ExitCode::SUCCESS)
            }
            outcome => outcome.map(|()| ExitCode::SUCCESS),
        }
    })
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Earliest,
    Latest,
    At(i64),
}

/// What was asked for.
#[derive(Debug)]
struct Settings {
    topic: Option<String>,
    include: Option<WholePattern>,
    partition: Option<PartitionId>,
    from: From,
    group: Option<String>,
    max: u64,
    timeout: Option<Duration>,
    read_committed: bool,
    format: Format,
}

impl Settings {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let set = properties_of(options, "consumer.config", "command-property")?;
        let format = properties_of(options, "formatter-config", "formatter-property")?;
        let (topic, include) = (options.value("topic")?, options.value("include")?);
        if topic.is_some() == include.is_some() {
            bail!("Exactly one of --include/--topic is required.");
        }
        if let Some(protocol) =
            set.get("security.protocol").filter(|protocol| *protocol != "PLAINTEXT")
        {
            bail!("security.protocol={protocol}: TLS and SASL are not there yet");
        }
        if let Some(formatter) =
            options.value("formatter")?.filter(|name| !name.ends_with(FORMATTER))
        {
            bail!("there is no {formatter} here, and no JVM to run it");
        }
        let partition = options
            .value("partition")?
            .map(str::parse)
            .transpose()
            .context("--partition is a number")?;
        let group =
            options.value("group")?.map(str::to_owned).or_else(|| set.get("group.id").cloned());
        let beginning = options.has("from-beginning");
        let offset = options.value("offset")?;
        match (partition, offset) {
            (None, Some(_)) => bail!("The partition is required when offset is specified."),
            (Some(_), Some(_)) if beginning => {
                bail!("Options from-beginning and offset cannot be specified together.")
            }
            (Some(_), _) if group.is_some() => {
                bail!("Options group and partition cannot be specified together.")
            }
            (Some(_), _) if topic.is_none() => {
                bail!("The topic is required when partition is specified.")
            }
            _ => {}
        }
        let reset = set.get("auto.offset.reset").map(String::as_str);
        if beginning && reset.is_some_and(|reset| reset != "earliest") {
            bail!(
                "Can't simultaneously specify --from-beginning and 'auto.offset.reset', please remove one option"
            );
        }
        let from = match offset.map(str::to_lowercase).as_deref() {
            Some("earliest") => From::Earliest,
            Some("latest") => From::Latest,
            Some(text) => From::At(text.parse().ok().filter(|offset| *offset >= 0).with_context(|| {
                format!("The provided offset value '{text}' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.")
            })?),
            None if beginning || reset == Some("earliest") => From::Earliest,
            None => From::Latest,
        };
        let number = |name: &str| {
            let text = options.value(name)?;
            text.map(str::parse::<i64>).transpose().with_context(|| format!("--{name} is a number"))
        };
        let positive = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        let isolation = options
            .value("isolation-level")?
            .or_else(|| set.get("isolation.level").map(String::as_str));
        Ok(Self {
            topic: topic.map(str::to_owned),
            include: include.map(WholePattern::new).transpose().map_err(anyhow::Error::msg)?,
            partition: partition.map(PartitionId),
            from,
            group,
            max: positive(number("max-messages")?).unwrap_or(u64::MAX),
            timeout: positive(number("timeout-ms")?).map(Duration::from_millis),
            read_committed: isolation == Some("read_committed"),
            format: Format::new(&format)?,
        })
    }

    /// When there is nothing more to wait for.
    fn deadline(&self, cluster: &Cluster) -> Instant {
        // Nobody waits for a year.
        let wait = self.timeout.unwrap_or(Duration::from_secs(365 * 24 * 3600));
        cluster.env().steady.now().plus(wait)
    }

    fn fetcher(&self) -> FetcherOptions {
        FetcherOptions { read_committed: self.read_committed, ..FetcherOptions::default() }
    }
}

/// Names of topics that are to be read, once there are any.
async fn topics(cluster: &Cluster, settings: &Settings) -> Result<Vec<String>, ClientError> {
    let Some(pattern) = &settings.include else {
        return Ok(settings.topic.iter().cloned().collect());
    };
    let metadata = cluster.metadata(Topics::All).await?;
    Ok(metadata
        .topics
        .into_iter()
        .map(|topic| topic.name)
        .filter(|name| pattern.matches(name))
        .collect())
}

/// Partitions that are to be read; none while a topic is not there.
async fn partitions(
    cluster: &Cluster,
    settings: &Settings,
) -> Result<Vec<(String, PartitionId)>, ClientError> {
    let names = topics(cluster, settings).await?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let metadata = cluster.metadata(Topics::Created(&names)).await?;
    let led = metadata.topics.iter().flat_map(|topic| {
        let led = topic.partitions.iter().filter(|partition| partition.leader.is_some());
        led.map(|partition| (topic.name.clone(), partition.index))
    });
    Ok(led.filter(|(_, index)| settings.partition.is_none_or(|wanted| wanted == *index)).collect())
}

async fn read(
    cluster: &Cluster,
    settings: &Settings,
    printer: &mut Printer<'_>,
) -> anyhow::Result<()> {
    let env = cluster.env().clone();
    let deadline = settings.deadline(cluster);
    let mut found = partitions(cluster, settings).await?;
    while found.is_empty() {
        if env.steady.now() >= deadline {
            return Ok(());
        }
        env.steady.sleep(TOPIC_PAUSE).await;
        found = partitions(cluster, settings).await?;
    }
    let spans: Spans = match settings.from {
        From::At(offset) => {
            let span = Span { from: Offset(offset), until: None };
            found.into_iter().map(|partition| (partition, span)).collect()
        }
        From::Earliest | From::Latest => {
            let query = if settings.from == From::Earliest {
                OffsetQuery::Earliest
            } else {
                OffsetQuery::Latest
            };
            let queries: Vec<_> =
                found.into_iter().map(|(topic, partition)| (topic, partition, query)).collect();
            let listed = cluster.list_offsets(&queries).await?;
            let span = |from: Option<Offset>| Span { from: from.unwrap_or_default(), until: None };
            listed.into_iter().map(|(partition, listed)| (partition, span(listed.offset))).collect()
        }
    };
    let mut fetcher = Fetcher::new(cluster.clone(), spans, settings.fetcher());
    let mut deadline = settings.deadline(cluster);
    let mut signals = Signals::listen()?;
    while printer.count < settings.max {
        let fetched = tokio::select! {
            fetched = fetcher.next() => fetched?,
            () = env.steady.sleep_until(deadline) => break,
            _ = signals.next() => return Ok(()),
        };
        let before = printer.count;
        printer.print(&fetched)?;
        if printer.count > before {
            deadline = settings.deadline(cluster);
        }
    }
    Ok(())
}

async fn read_group(
    cluster: &Cluster,
    settings: &Settings,
    group: &str,
    printer: &mut Printer<'_>,
) -> anyhow::Result<()> {
    let reset =
        if settings.from == From::Earliest { ResetPolicy::Earliest } else { ResetPolicy::Latest };
    let names = topics(cluster, settings).await?;
    let listed: Vec<&str> = names.iter().map(String::as_str).collect();
    // As a consumer does, it makes them if they are not there and the broker lets it.
    cluster.metadata(Topics::Created(&listed)).await?;
    let mut options = GroupOptions::new(group.to_owned(), names, reset);
    options.fetcher = settings.fetcher();
    let mut consumer = GroupConsumer::new(cluster.clone(), options);
    let env = cluster.env().clone();
    let mut deadline = settings.deadline(cluster);
    let mut signals = Signals::listen()?;
    let outcome = loop {
        if printer.count >= settings.max {
            break Ok(());
        }
        let fetched = tokio::select! {
            fetched = consumer.next() => fetched,
            () = env.steady.sleep_until(deadline) => break Ok(()),
            _ = signals.next() => break Ok(()),
        };
        let before = printer.count;
        let printed = match fetched {
            Ok(fetched) => printer.print(&fetched).map(|next| (fetched, next)),
            Err(error) => break Err(error.into()),
        };
        match printed {
            Ok((fetched, next)) => consumer.used(&fetched.topic, fetched.partition, next),
            Err(error) => break Err(error),
        }
        if printer.count > before {
            deadline = settings.deadline(cluster);
        }
    };
    // Whatever has ended the reading: the others are not kept waiting, and what was printed is committed.
    let left = consumer.leave().await;
    outcome?;
    Ok(left?)
}

/// What of a record is printed, and what between.
#[derive(Debug)]
struct Format {
    shown: BTreeSet<&'static str>,
    key_separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null: Vec<u8>,
}

/// Parts of a record, in the order in which they are printed.
const PARTS: [&str; 8] =
    ["timestamp", "partition", "offset", "delivery", "epoch", "headers", "key", "value"];

impl Format {
    fn new(set: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let text = |key: &str, default: &str| {
            set.get(key).map_or(default, String::as_str).as_bytes().to_vec()
        };
        let on = |part: &&str| match set.get(&format!("print.{part}")) {
            Some(value) => value.trim().eq_ignore_ascii_case("true"),
            None => *part == "value",
        };
        if let Some((key, class)) = set.iter().find(|(key, class)| {
            key.ends_with(".deserializer") && !class.ends_with("StringDeserializer")
        }) {
            bail!("{key}: there is no {class} here, and no JVM to run it");
        }
        Ok(Self {
            shown: PARTS.into_iter().filter(on).collect(),
            key_separator: text("key.separator", "\t"),
            line_separator: text("line.separator", "\n"),
            headers_separator: text("headers.separator", ","),
            null: text("null.literal", "null"),
        })
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        partition: PartitionId,
        header: &BatchHeader,
        record: &Record<'_>,
    ) {
        let shown: Vec<_> = PARTS.into_iter().filter(|part| self.shown.contains(part)).collect();
        for (at, part) in shown.iter().enumerate() {
            match *part {
                "timestamp" => {
                    let kind = match header.timestamp_type() {
                        TimestampType::CreateTime => "CreateTime",
                        TimestampType::LogAppendTime => "LogAppendTime",
                    };
                    out.extend(format!("{kind}:{}", record.timestamp.0).into_bytes());
                }
                "partition" => out.extend(format!("Partition:{partition}").into_bytes()),
                "offset" => out.extend(format!("Offset:{}", record.offset.0).into_bytes()),
                // What the original hands to its formatter has neither of these.
                "delivery" => out.extend(b"Delivery:NOT_PRESENT"),
                "epoch" => out.extend(b"Epoch:NOT_PRESENT"),
                "headers" => self.write_headers(out, record),
                "key" => out.extend(record.key.unwrap_or(&self.null)),
                _ => out.extend(record.value.unwrap_or(&self.null)),
            }
            // The line ends behind the last part; the value alone always ends it.
            let is_last = at + 1 == shown.len();
            out.extend(if is_last { &self.line_separator } else { &self.key_separator });
        }
    }

    fn write_headers(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        let mut count = 0;
        for (name, value) in record.headers.clone() {
            if count > 0 {
                out.extend(&self.headers_separator);
            }
            out.extend(name);
            out.push(b':');
            out.extend(value.unwrap_or(&self.null));
            count += 1;
        }
        if count == 0 {
            out.extend(b"NO_HEADERS");
        }
    }
}

/// Prints records and counts them.
#[derive(Debug)]
struct Printer<'a> {
    settings: &'a Settings,
    count: u64,
}

impl<'a> Printer<'a> {
    const fn new(settings: &'a Settings) -> Self {
        Self { settings, count: 0 }
    }

    /// Prints what came, as far as it is wanted, and gives the offset behind that.
    fn print(&mut self, fetched: &Fetched) -> anyhow::Result<Offset> {
        let batches: Vec<BatchHeader> =
            scan(&fetched.batches).map_while(Result::ok).map(|batch| batch.header).collect();
        let mut next = fetched.next;
        let mut out = Vec::new();
        fetched.visit(|record| {
            if self.count >= self.settings.max {
                next = record.offset;
                return ControlFlow::Break(());
            }
            if let Some(header) =
                batches.iter().find(|header| header.last_offset() >= record.offset)
            {
                self.settings.format.write(&mut out, fetched.partition, header, record);
            }
            self.count += 1;
            ControlFlow::Continue(())
        })?;
        let mut stdout = io::stdout().lock();
        stdout.write_all(&out)?;
        stdout.flush()?;
        Ok(next)
    }
}
