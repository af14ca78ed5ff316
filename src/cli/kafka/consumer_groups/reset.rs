//! `--reset-offsets`: groups without members go on from other places.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::bail;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use super::describe::{print_rows, width};
use super::{Done, Place, Trouble, chosen, complain, partitions_of};
use crate::cli::group::describe::ask;
use crate::cli::kafka::options::Options;
use crate::cli::kafka::words::{exception, message_of};
use crate::cli::sources;
use crate::client::{ClientError, Cluster, Committer, Metadata, OffsetQuery, Topics};
use crate::model::{ErrorCode, Offset, PartitionId};

/// Where to go on; one of them.
const TARGETS: [&str; 8] = [
    "to-offset",
    "shift-by",
    "to-datetime",
    "by-duration",
    "to-earliest",
    "to-latest",
    "to-current",
    "from-file",
];

type Offsets = BTreeMap<Place, Offset>;

/// Options that do not go together are refused.
pub(super) fn check(options: &Options) -> anyhow::Result<()> {
    if options.has("dry-run") && options.has("execute") {
        bail!("Option [reset-offsets] only accepts one of [execute] and [dry-run]");
    }
    let mut targets = TARGETS.into_iter().filter(|target| options.has(target));
    if let (Some(one), Some(other)) = (targets.next(), targets.next()) {
        bail!("Option \"[{one}]\" can't be used with option \"[{other}]\"");
    }
    for number in ["to-offset", "shift-by"] {
        if let Some(text) = options.value(number)?
            && text.parse::<i64>().is_err()
        {
            bail!("Cannot parse argument '{text}' of option {number}");
        }
    }
    Ok(())
}

pub(super) async fn reset(cluster: &Cluster, options: &Options) -> Done {
    let execute = options.has("execute");
    if !execute && !options.has("dry-run") {
        eprintln!("WARN: No action will be performed as the --execute option is missing.");
    }
    let groups = options.values("group");
    let plan = match options.value("from-file")? {
        Some(path) => Some(plan(path, &groups)?),
        None => None,
    };
    let mut results = BTreeMap::new();
    for name in chosen(cluster, options).await? {
        let state = match ask(cluster, &name).await {
            Ok(group) => group.state,
            Err(error) if is(&error, ErrorCode::GroupIdNotFound) => "Dead".to_owned(),
            Err(error) => return Err(error.into()),
        };
        if state != "Empty" && state != "Dead" {
            complain(&format!(
                "Assignments can only be reset if the group '{name}' is inactive, but the current state is {state}."
            ));
            results.insert(name, Offsets::new());
            continue;
        }
        let offsets = prepare(cluster, options, plan.as_ref(), &name).await?;
        if execute {
            let committed = cluster.commit_offsets(&name, &Committer::nobody(), &offsets).await;
            committed.map_err(|error| Trouble::Failed(message_of(&error)))?;
        }
        results.insert(name, offsets);
    }
    match options.has("export") {
        true => export(&results, groups.len() == 1),
        false => print(&results),
    }
    Ok(())
}

fn is(error: &ClientError, code: ErrorCode) -> bool {
    error.refusal().is_some_and(|refusal| refusal.code == code)
}

fn export(results: &BTreeMap<String, Offsets>, single: bool) {
    for (name, offsets) in results {
        let prefix = if single { String::new() } else { format!("{},", quoted(name)) };
        for ((topic, index), offset) in offsets {
            say!("{prefix}{topic},{index},{offset}");
        }
    }
    say!();
}

/// A cell of a CSV file.
fn quoted(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) || text.trim() != text {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn print(results: &BTreeMap<String, Offsets>) {
    let mut table = Vec::new();
    if !results.is_empty() {
        table.push(["GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"].map(str::to_owned).to_vec());
    }
    for (name, offsets) in results {
        table.extend(offsets.iter().map(|((topic, index), offset)| {
            vec![name.clone(), topic.clone(), index.to_string(), offset.to_string()]
        }));
    }
    // The names of groups that have no rows count too.
    let names = results.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    print_rows(&[width(&table, 0, 15).max(names), width(&table, 1, 15), 10, 0], &table);
}

/// The new offsets of a group.
async fn prepare(
    cluster: &Cluster,
    options: &Options,
    plan: Option<&BTreeMap<String, Offsets>>,
    name: &str,
) -> Result<Offsets, Trouble> {
    let places = scope(cluster, options, name).await?;
    ensure_there(cluster, &places).await?;
    if let Some(plan) = plan {
        let Some(wanted) = plan.get(name) else {
            complain(&format!("No reset plan for group {name} found"));
            return Ok(Offsets::new());
        };
        return within(cluster, wanted.clone()).await;
    }
    let all = |offset| places.iter().cloned().map(move |place| (place, offset)).collect();
    if let Some(offset) = number(options, "to-offset")? {
        within(cluster, all(Offset(offset))).await
    } else if options.has("to-earliest") {
        listed(cluster, &places, OffsetQuery::Earliest).await
    } else if options.has("to-latest") {
        listed(cluster, &places, OffsetQuery::Latest).await
    } else if let Some(by) = number(options, "shift-by")? {
        let current = current(cluster, name).await?;
        let shifted = places.into_iter().map(|place| match current.get(&place) {
            Some(offset) => Ok((place, offset.plus(by))),
            None => Err(Trouble::Usage(format!(
                "Cannot shift offset for partition {}-{} since there is no current committed offset",
                place.0, place.1
            ))),
        });
        within(cluster, shifted.collect::<Result<_, _>>()?).await
    } else if let Some(time) = options.value("to-datetime")? {
        at_time(cluster, &places, datetime(time)?).await
    } else if let Some(text) = options.value("by-duration")? {
        let now = cluster.env().clock.now().0;
        at_time(cluster, &places, now.saturating_sub(duration(text)?)).await
    } else if options.has("to-current") {
        let mut offsets = listed(cluster, &places, OffsetQuery::Latest).await?;
        let current = current(cluster, name).await?;
        offsets.extend(current.into_iter().filter(|(place, _)| places.contains(place)));
        Ok(offsets)
    } else {
        let targets = TARGETS.map(|target| format!("[{target}]")).join(", ");
        Err(Trouble::Usage(format!(
            "Option '[reset-offsets]' requires one of the following scenarios: [{targets}]"
        )))
    }
}

fn number(options: &Options, name: &str) -> Result<Option<i64>, Trouble> {
    Ok(options.value(name)?.and_then(|text| text.parse().ok()))
}

async fn current(cluster: &Cluster, name: &str) -> Result<Offsets, Trouble> {
    let committed = cluster.committed_offsets(name).await?;
    Ok(committed.into_iter().map(|(place, known)| (place, known.offset)).collect())
}

/// The partitions that the options name.
async fn scope(
    cluster: &Cluster,
    options: &Options,
    name: &str,
) -> Result<BTreeSet<Place>, Trouble> {
    if options.has("all-topics") {
        return Ok(current(cluster, name).await?.into_keys().collect());
    }
    if !options.has("topic") && !options.has("from-file") {
        return Err(Trouble::Usage(
            "One of the reset scopes should be defined: --all-topics, --topic.".to_owned(),
        ));
    }
    let mut places = BTreeSet::new();
    for text in options.values("topic") {
        if let Some(listed) = partitions_of(text)? {
            places.extend(listed);
            continue;
        }
        let metadata = cluster.metadata(Topics::Named(&[text])).await?;
        if let Some(error) = missing(&metadata, text) {
            return Err(Trouble::Failed(message_of(&error)));
        }
        let all = metadata.topic(text).map(|topic| topic.partitions.as_slice());
        let all = all.unwrap_or_default().iter();
        places.extend(all.map(|partition| (text.to_owned(), partition.index)));
    }
    Ok(places)
}

/// Why a topic is not there, if it is not.
fn missing(metadata: &Metadata, topic: &str) -> Option<ClientError> {
    let there = metadata.topic(topic).is_some_and(|found| found.error == ErrorCode::None);
    if there { None } else { metadata.leader_of(topic, PartitionId(0)).err() }
}

async fn ensure_there(cluster: &Cluster, places: &BTreeSet<Place>) -> Done {
    let names: BTreeSet<&str> = places.iter().map(|(topic, _)| topic.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let metadata = cluster.metadata(Topics::Named(&names)).await?;
    if let Some(error) = names.iter().find_map(|topic| missing(&metadata, topic)) {
        let why = exception(&error);
        return Err(Trouble::Failed(format!("java.util.concurrent.ExecutionException: {why}")));
    }
    let found = |(topic, index): &Place| {
        let topic = metadata.topic(topic);
        topic.and_then(|topic| topic.partitions.iter().find(|one| one.index == *index))
    };
    let names = |those: Vec<&Place>| {
        let names: Vec<String> =
            those.iter().map(|(topic, index)| format!("{topic}-{index}")).collect();
        names.join(",")
    };
    let gone: Vec<&Place> = places.iter().filter(|place| found(place).is_none()).collect();
    if !gone.is_empty() {
        let gone = names(gone);
        return Err(Trouble::Failed(format!("The partitions \"{gone}\" do not exist")));
    }
    let led = |place: &Place| found(place).is_some_and(|partition| partition.leader.is_some());
    let unled: Vec<&Place> = places.iter().filter(|place| !led(place)).collect();
    if !unled.is_empty() {
        let unled = names(unled);
        return Err(Trouble::Failed(format!("The partitions \"{unled}\" have no leader")));
    }
    Ok(())
}

async fn listed(
    cluster: &Cluster,
    places: &BTreeSet<Place>,
    query: OffsetQuery,
) -> Result<Offsets, Trouble> {
    let queries: Vec<_> =
        places.iter().map(|(topic, index)| (topic.clone(), *index, query)).collect();
    let listed = cluster.list_offsets(&queries).await?;
    Ok(listed.into_iter().filter_map(|(place, listed)| Some((place, listed.offset?))).collect())
}

/// The first records at or after a time; the ends where there is none.
async fn at_time(
    cluster: &Cluster,
    places: &BTreeSet<Place>,
    time: i64,
) -> Result<Offsets, Trouble> {
    let mut offsets = listed(cluster, places, OffsetQuery::AtTime(time)).await?;
    let empty: BTreeSet<Place> =
        places.iter().filter(|place| !offsets.contains_key(*place)).cloned().collect();
    for (topic, index) in &empty {
        say!(
            "\nWarn: Partition {index} from topic {topic} is empty. Falling back to latest known offset."
        );
    }
    offsets.extend(listed(cluster, &empty, OffsetQuery::Latest).await?);
    Ok(offsets)
}

/// The same offsets, but none before the first or behind the last.
async fn within(cluster: &Cluster, wanted: Offsets) -> Result<Offsets, Trouble> {
    let places: BTreeSet<Place> = wanted.keys().cloned().collect();
    let names: BTreeSet<&str> = places.iter().map(|(topic, _)| topic.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let metadata = cluster.metadata(Topics::Named(&names)).await?;
    for (topic, index) in &places {
        if metadata.topic(topic).is_some_and(|it| it.error == ErrorCode::InvalidTopic) {
            return Err(Trouble::Failed(format!(
                "java.util.concurrent.ExecutionException: org.apache.kafka.common.errors.InvalidTopicException: Failed to fetch metadata for partition {topic}-{index} due to invalid topic `{topic}`"
            )));
        }
    }
    let starts = listed(cluster, &places, OffsetQuery::Earliest).await?;
    let ends = listed(cluster, &places, OffsetQuery::Latest).await?;
    let clamped = wanted.into_iter().map(|(place, offset)| {
        let start = starts.get(&place).copied().unwrap_or(Offset::ZERO);
        let end = ends.get(&place).copied().unwrap_or(offset);
        let new = offset.max(start).min(end);
        if new != offset {
            eprintln!("WARN New offset ({offset}) of {}-{} will be {new}", place.0, place.1);
        }
        (place, new)
    });
    Ok(clamped.collect())
}

/// `2026-01-01T03:30:00.000`, with `Z` or an offset behind it or without, which is UTC.
fn datetime(text: &str) -> Result<i64, Trouble> {
    let unreadable = |text: &str| {
        Trouble::Failed(format!("java.text.ParseException: Unparseable date: \"{text}\""))
    };
    let Some((_, time)) = text.split_once('T') else {
        return Err(Trouble::Failed(
            "java.text.ParseException: Error parsing timestamp. It does not contain a 'T' according to ISO8601 format".to_owned(),
        ));
    };
    let zoned = match time.contains(['+', '-', 'Z']) {
        true => text.to_owned(),
        false => format!("{text}Z"),
    };
    let parsed = zoned.parse::<Timestamp>().ok().filter(|_| time.contains('.'));
    parsed.map(Timestamp::as_millisecond).ok_or_else(|| unreadable(&zoned))
}

/// `P1DT2H3M4S` in milliseconds.
fn duration(text: &str) -> Result<i64, Trouble> {
    let span = text.parse::<Span>().ok().filter(|_| text.contains(['P', 'p']));
    let days = SpanRelativeTo::days_are_24_hours();
    let duration: Option<SignedDuration> = span.and_then(|span| span.to_duration(days).ok());
    let millis = duration.and_then(|duration| i64::try_from(duration.as_millis()).ok());
    millis.ok_or_else(|| Trouble::Failed("Text cannot be parsed to a Duration".to_owned()))
}

/// What `--export` has written: lines of topic, partition and offset, for one group alone, or with the group before them.
fn plan(path: &str, groups: &[&str]) -> Result<BTreeMap<String, Offsets>, Trouble> {
    let text = sources::read(Path::new(path))?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
    let short = lines.first().is_some_and(|line| row(line, 3).is_some());
    let mut plan: BTreeMap<String, Offsets> = BTreeMap::new();
    for (number, line) in (1..).zip(lines) {
        let (group, cells) = match (short, groups) {
            (true, [group]) => ((*group).to_owned(), row(line, 3)),
            _ => match row(line, 4) {
                Some(mut cells) => (cells.remove(0), Some(cells)),
                None => (String::new(), None),
            },
        };
        let cells = cells.ok_or_else(|| {
            Trouble::Failed(format!("line {number} of {path}: no row of an export"))
        })?;
        let [topic, partition, offset] = &cells[..] else { continue };
        let number = |text: &str| text.parse().unwrap_or(0);
        let place = (topic.clone(), PartitionId(partition.parse().unwrap_or(0)));
        plan.entry(group).or_default().insert(place, Offset(number(offset)));
    }
    Ok(plan)
}

/// The cells of a line; those that are missing at its end are empty, which is zero for numbers. `None` if it is empty, has more, or
/// if the last two are no numbers.
fn row(line: &str, count: usize) -> Option<Vec<String>> {
    let line = line.trim_end_matches('\r');
    let mut cells: Vec<String> = line.split(',').map(unquoted).collect();
    if line.is_empty() || cells.len() > count {
        return None;
    }
    cells.resize(count, String::new());
    let is_number = |cell: &String| cell.is_empty() || cell.parse::<i64>().is_ok();
    cells[count - 2..].iter().all(is_number).then_some(cells)
}

fn unquoted(cell: &str) -> String {
    let inner = cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"'));
    inner.map_or_else(|| cell.to_owned(), |inner| inner.replace("\"\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_as_java_reads_them() {
        let time = |text: &str| datetime(text).ok();
        assert_eq!(time("2026-01-01T03:30:00.000"), Some(1_767_238_200_000));
        assert_eq!(time("2026-01-01T03:30:00.000Z"), time("2026-01-01T03:30:00.000"));
        assert_eq!(time("2026-01-01T05:30:00.000+02:00"), time("2026-01-01T03:30:00.000"));
        for wrong in ["2026-01-01", "2026-01-01T03:30:00", "now"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
        let millis = |text: &str| duration(text).ok();
        assert_eq!(millis("PT1H45M"), Some(6_300_000));
        assert_eq!(millis("P1DT1S"), Some(86_401_000));
        assert_eq!((millis("1h"), millis("")), (None, None));
    }

    #[test]
    fn rows_of_an_export() {
        let cells = |cells: &[&str]| Some(cells.iter().map(|cell| (*cell).to_owned()).collect());
        assert_eq!(row("orders,1,7", 3), cells(&["orders", "1", "7"]));
        assert_eq!(row("orders,1", 3), cells(&["orders", "1", ""]));
        assert_eq!(row("\"a\"\"b\",orders,1,7", 4), cells(&["a\"b", "orders", "1", "7"]));
        for wrong in ["", "a,b,c", "a,1,2,3"] {
            assert_eq!(row(wrong, 3), None, "{wrong}");
        }
        assert_eq!((quoted("a,b"), quoted("ab")), ("\"a,b\"".to_owned(), "ab".to_owned()));
    }
}
