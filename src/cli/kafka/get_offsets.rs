//! `kafka-get-offsets`: `GetOffsetShell` of Apache Kafka 4.3.

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::admin;
use super::options::{Known, Options, flag, valued};
use super::topics::as_pattern;
use crate::client::{Cluster, OffsetQuery, Topics};
use crate::group::WholePattern;

const ABOUT: &str = "kafka-get-offsets prints offsets of partitions.";
const KNOWN: &[Known] = &[
    valued(&["topic-partitions"]),
    valued(&["topic"]),
    valued(&["partitions"]),
    valued(&["time"]),
    flag(&["exclude-internal-topics"]),
];

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some(options) = admin::read(ABOUT, KNOWN, arguments)? else { return Ok(ExitCode::SUCCESS) };
    let query = query(options.value("time")?.unwrap_or("latest"))?;
    let rules = rules(&options)?;
    let excluded = options.has("exclude-internal-topics");
    admin::run(&options, async |cluster| print(&cluster, query, &rules, excluded).await)
}

async fn print(
    cluster: &Cluster,
    query: OffsetQuery,
    rules: &[Rule],
    excluded: bool,
) -> anyhow::Result<ExitCode> {
    let metadata = cluster.metadata(Topics::All).await?;
    let mut asked = Vec::new();
    for topic in metadata.topics.iter().filter(|topic| !(excluded && topic.is_internal)) {
        let wanted = topic.partitions.iter().filter(|partition| {
            rules.iter().any(|rule| {
                rule.topic.matches(&topic.name) && rule.partitions.has(partition.index.0)
            })
        });
        asked.extend(wanted.map(|partition| (topic.name.clone(), partition.index, query)));
    }
    if asked.is_empty() {
        bail!("Could not match any topic-partitions with the specified filters");
    }
    let found = cluster.list_offsets(&asked).await?;
    let mut lines: Vec<(String, String)> = found
        .into_iter()
        .filter_map(|((topic, partition), listed)| {
            let offset = listed.offset?;
            Some((format!("{topic}-{partition}"), format!("{topic}:{partition}:{}", offset.0)))
        })
        .collect();
    // In the order of their names, in which 10 comes before 2.
    lines.sort();
    for (_, line) in lines {
        say!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn query(time: &str) -> anyhow::Result<OffsetQuery> {
    Ok(match time {
        "latest" | "-1" => OffsetQuery::Latest,
        "earliest" | "-2" => OffsetQuery::Earliest,
        "max-timestamp" | "-3" => OffsetQuery::MaxTimestamp,
        "earliest-local" | "latest-tiered" | "-4" | "-5" => bail!("{time}: tiered storage is not there yet"),
        time => OffsetQuery::AtTime(time.parse().with_context(|| {
            format!(
                "Malformed time argument {time}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered, or a specified long format timestamp"
            )
        })?),
    })
}

/// Which partitions of which topics.
#[derive(Debug)]
struct Rule {
    topic: WholePattern,
    partitions: Partitions,
}

#[derive(Debug, PartialEq, Eq)]
enum Partitions {
    /// From the first to before the second.
    Between(i32, i32),
    /// These; all if there are none.
    Of(Vec<i32>),
}

impl Partitions {
    fn has(&self, partition: i32) -> bool {
        match self {
            Self::Between(from, to) => (*from..*to).contains(&partition),
            Self::Of(list) => list.is_empty() || list.contains(&partition),
        }
    }
}

fn rules(options: &Options) -> anyhow::Result<Vec<Rule>> {
    let (topic, partitions) = (options.value("topic")?, options.value("partitions")?);
    let Some(list) = options.value("topic-partitions")? else {
        let partitions = partitions.filter(|list| !list.is_empty());
        let numbers = partitions
            .map(|list| list.split(',').map(str::parse).collect::<Result<_, _>>())
            .transpose();
        let numbers = numbers.with_context(|| {
            format!(
                "--partitions expects a comma separated list of numeric partition ids, but received: {}",
                partitions.unwrap_or_default()
            )
        })?;
        let topic = pattern(topic.unwrap_or(".*"))?;
        return Ok(vec![Rule { topic, partitions: Partitions::Of(numbers.unwrap_or_default()) }]);
    };
    if topic.is_some() || partitions.is_some() {
        bail!("--topic-partitions cannot be used with --topic or --partitions");
    }
    list.split(',').map(rule).collect()
}

/// `TOPIC:PARTITION`, `TOPIC:FROM-TO`, `TOPIC:FROM-`, `TOPIC:-TO`, each part of which may be left out.
fn rule(text: &str) -> anyhow::Result<Rule> {
    let (topic, partitions) = text.split_once(':').unwrap_or((text, ""));
    let number = |text: &str, default: i32| match text {
        "" => Ok(default),
        text => text.parse().with_context(|| format!("Invalid rule specification: {text}")),
    };
    let partitions = match partitions.split_once('-') {
        Some((from, to)) => Partitions::Between(number(from, 0)?, number(to, i32::MAX)?),
        None if partitions.is_empty() => Partitions::Of(Vec::new()),
        None => Partitions::Of(vec![number(partitions, 0)?]),
    };
    Ok(Rule { topic: pattern(if topic.is_empty() { ".*" } else { topic })?, partitions })
}

fn pattern(text: &str) -> anyhow::Result<WholePattern> {
    WholePattern::new(&as_pattern(text)).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_as_the_tool_reads_them() {
        for (text, topic, inside, outside) in [
            ("a:1", "a", 1, Some(2)),
            ("a:1-3", "a", 2, Some(3)),
            ("a:2-", "a", 9, Some(1)),
            (":-2", "x", 1, Some(2)),
            ("a.*", "abc", 7, None),
        ] {
            let rule = rule(text).unwrap();
            assert!(rule.topic.matches(topic) && rule.partitions.has(inside), "{text}");
            assert!(outside.is_none_or(|outside| !rule.partitions.has(outside)), "{text}");
        }
        assert!(rule("a:x").is_err() && query("soon").is_err() && query("17").is_ok());
    }
}
