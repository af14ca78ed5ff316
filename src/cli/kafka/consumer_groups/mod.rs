//! `kafka-consumer-groups`: `ConsumerGroupCommand` of Apache Kafka 4.3.
//!
//! Groups and partitions come in the order of their names; those of the original come as a hash table gives them.

mod delete;
mod describe;
mod reset;

use std::process::ExitCode;

use anyhow::bail;

use super::admin;
use super::options::{Known, Options, flag, optional, valued};
use super::words::exception;
use crate::cli::group::{ListedGroup, groups};
use crate::client::{ClientError, Cluster};
use crate::group::WholePattern;
use crate::model::PartitionId;

const ABOUT: &str = "kafka-consumer-groups lists, describes and deletes consumer groups, and resets and deletes their offsets.";
const ACTIONS: [&str; 6] =
    ["list", "describe", "delete", "reset-offsets", "delete-offsets", "validate-regex"];
const KNOWN: &[Known] = &[
    valued(&["group"]),
    valued(&["topic"]),
    flag(&["all-topics"]),
    flag(&["list"]),
    flag(&["describe"]),
    flag(&["all-groups"]),
    flag(&["delete"]),
    valued(&["timeout"]),
    flag(&["reset-offsets"]),
    flag(&["delete-offsets"]),
    flag(&["dry-run"]),
    flag(&["execute"]),
    flag(&["export"]),
    valued(&["to-offset"]),
    valued(&["from-file"]),
    valued(&["to-datetime"]),
    valued(&["by-duration"]),
    flag(&["to-earliest"]),
    flag(&["to-latest"]),
    flag(&["to-current"]),
    valued(&["shift-by"]),
    flag(&["members"]),
    flag(&["verbose"]),
    flag(&["offsets"]),
    optional(&["state"]),
    optional(&["type"]),
    valued(&["validate-regex"]),
];
/// States that a group of consumers can be in.
const STATES: [&str; 7] = [
    "PreparingRebalance",
    "CompletingRebalance",
    "Stable",
    "Dead",
    "Empty",
    "Assigning",
    "Reconciling",
];
const TYPES: [&str; 2] = ["Classic", "Consumer"];

/// What ends a command early.
#[derive(Debug)]
enum Trouble {
    /// The tool says so on stdout, and ends as if nothing were wrong.
    Failed(String),
    /// The arguments make no sense.
    Usage(String),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        Self::Failed(exception(&error))
    }
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Usage(format!("{error:#}"))
    }
}

type Done = Result<(), Trouble>;

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some(options) = admin::read(ABOUT, KNOWN, arguments)? else { return Ok(ExitCode::SUCCESS) };
    let action = action(&options)?;
    if action == "validate-regex" {
        validate(options.needed("validate-regex")?);
        return Ok(ExitCode::SUCCESS);
    }
    admin::run(&options, async |cluster| {
        let done = match action {
            "list" => list(&cluster, &options).await,
            "describe" => describe::describe(&cluster, &options).await,
            "delete" => delete::groups(&cluster, &options).await,
            "reset-offsets" => reset::reset(&cluster, &options).await,
            _ => delete::offsets(&cluster, &options).await,
        };
        match done {
            Ok(()) => {}
            Err(Trouble::Failed(why)) => {
                complain(&format!("Executing consumer group command failed due to {why}"));
            }
            Err(Trouble::Usage(why)) => bail!(why),
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn complain(what: &str) {
    say!("\nError: {what}");
}

/// The one thing that is to be done. Options that do not go with it are refused.
fn action(options: &Options) -> anyhow::Result<&'static str> {
    let mut actions = ACTIONS.into_iter().filter(|action| options.has(action));
    let (Some(action), None) = (actions.next(), actions.next()) else {
        bail!(
            "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets, --validate-regex"
        );
    };
    let needs_groups = ["describe", "delete", "reset-offsets"].contains(&action);
    if needs_groups && !options.has("group") && !options.has("all-groups") {
        bail!("Option [{action}] takes one of these options: [group], [all-groups]");
    }
    if action == "delete-offsets" && !(options.has("group") && options.has("topic")) {
        bail!("Option [{action}] takes the following options: [group], [topic]");
    }
    if action == "delete" && options.has("topic") {
        bail!(
            "The consumer does not support topic-specific offset deletion from a consumer group."
        );
    }
    for (option, with) in [
        ("members", &["describe"][..]),
        ("offsets", &["describe"]),
        ("verbose", &["describe"]),
        ("state", &["describe", "list"]),
        ("type", &["list"]),
    ] {
        if options.has(option) && !with.contains(&action) {
            bail!("Option [{option}] is unavailable with option [{action}]");
        }
    }
    if action == "describe" {
        if ["members", "offsets", "state"].iter().filter(|option| options.has(option)).count() > 1 {
            bail!(
                "Option [describe] takes at most one of these options: [members], [offsets], [state]"
            );
        }
        if options.value("state")?.is_some_and(|state| !state.is_empty()) {
            bail!("Option [describe] does not take a value for [state]");
        }
    }
    for (option, other) in
        [("group", "all-groups"), ("group", "list"), ("topic", "list"), ("topic", "describe")]
    {
        if options.has(option) && options.has(other) {
            bail!("Option \"[{option}]\" can't be used with option \"[{other}]\"");
        }
    }
    if action == "reset-offsets" {
        reset::check(options)?;
    }
    Ok(action)
}

fn validate(regex: &str) {
    match WholePattern::new(regex) {
        Ok(_) => say!("The regular expression `{regex}` is valid."),
        Err(why) => say!("The regular expression `{regex}` is invalid: {why}."),
    }
}

/// The groups of consumers, and those that nobody is a member of.
async fn of_consumers(cluster: &Cluster) -> Result<Vec<(String, ListedGroup)>, Trouble> {
    let all = groups(cluster).await?.into_iter();
    Ok(all.filter(|(_, group)| ["", "consumer"].contains(&&*group.protocol)).collect())
}

/// The groups that the options name.
async fn chosen(cluster: &Cluster, options: &Options) -> Result<Vec<String>, Trouble> {
    let mut chosen: Vec<String> = match options.has("all-groups") {
        true => of_consumers(cluster).await?.into_iter().map(|(name, _)| name).collect(),
        false => options.values("group").into_iter().map(str::to_owned).collect(),
    };
    chosen.sort();
    chosen.dedup();
    Ok(chosen)
}

async fn list(cluster: &Cluster, options: &Options) -> Done {
    let (with_type, with_state) = (options.has("type"), options.has("state"));
    let types = among(options, "type", "types", &TYPES)?;
    let states = among(options, "state", "state", &STATES)?;
    let groups = of_consumers(cluster).await?;
    if !with_type && !with_state {
        groups.iter().for_each(|(name, _)| say!("{name}"));
        return Ok(());
    }
    let known = |value: &Option<String>, names: &[&'static str]| {
        let is = |name: &&&str| Some(**name).is_some_and(|name| is_same(value.as_deref(), name));
        names.iter().find(is).copied().unwrap_or("Unknown")
    };
    let rows = groups.iter().map(|(name, group)| {
        (name.as_str(), known(&group.kind, &TYPES), known(&group.state, &STATES))
    });
    let rows: Vec<_> = rows
        .filter(|(_, kind, state)| {
            (types.is_empty() || types.contains(kind))
                && (states.is_empty() || states.contains(state))
        })
        .collect();
    let width = 10 + rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0).max(15);
    for (name, kind, state) in [("GROUP", "TYPE", "STATE")].into_iter().chain(rows) {
        let kind = if with_type { format!(" {kind:<20}") } else { String::new() };
        let state = if with_state { format!(" {state:<20}") } else { String::new() };
        say!("{name:<width$}{kind}{state}");
    }
    Ok(())
}

fn is_same(value: Option<&str>, name: &str) -> bool {
    value.is_some_and(|value| value.eq_ignore_ascii_case(name))
}

/// The names that an option lists; none if it lists none.
fn among(
    options: &Options,
    option: &str,
    what: &str,
    names: &[&'static str],
) -> Result<Vec<&'static str>, Trouble> {
    let text = options.value(option)?.unwrap_or_default();
    let listed = text.split(',').map(str::trim).filter(|_| !text.is_empty());
    let find = |name: &str| names.iter().copied().find(|known| known.eq_ignore_ascii_case(name));
    listed.map(find).collect::<Option<_>>().ok_or_else(|| {
        let valid = names.join(", ");
        Trouble::Usage(format!("Invalid {what} list '{text}'. Valid {option}s are: {valid}"))
    })
}

/// A partition as a key: topics first.
type Place = (String, PartitionId);

/// `TOPIC:0,1` as partitions; `None` if it names a topic alone.
fn partitions_of(text: &str) -> Result<Option<Vec<Place>>, Trouble> {
    let Some((topic, list)) = text.split_once(':') else { return Ok(None) };
    if list.is_empty() || list.contains(':') {
        let wrong = format!("Invalid topic arg '{text}', expected topic name and partitions");
        return Err(Trouble::Usage(wrong));
    }
    let partition = |number: &str| match number.parse() {
        Ok(number) => Ok((topic.to_owned(), PartitionId(number))),
        Err(_) => Err(Trouble::Usage(format!(
            "Invalid partition '{number}' specified in topic arg '{text}''"
        ))),
    };
    list.split(',').map(partition).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        admin::options_of(KNOWN, line)
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        for line in [
            "--list --state",
            "--list --type classic --state Stable,empty",
            "--describe --all-groups --members --verbose",
            "--delete --group a --group b",
            "--reset-offsets --group a --topic t --to-latest",
            "--reset-offsets --group a --from-file f --execute",
            "--delete-offsets --group a --topic t",
        ] {
            assert!(action(&options(line)).is_ok(), "{line}");
        }
        for line in [
            "",
            "--list --describe --group a",
            "--describe",
            "--describe --group a --members --state",
            "--describe --group a --state Stable",
            "--describe --group a --topic t",
            "--list --members",
            "--list --group a",
            "--delete --group a --topic t",
            "--delete-offsets --group a",
            "--reset-offsets --all-groups --group a --to-latest",
            "--reset-offsets --group a --to-latest --to-earliest",
            "--reset-offsets --group a --to-latest --dry-run --execute",
        ] {
            assert!(action(&options(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn partitions_are_listed_behind_a_topic() {
        let place = |index| ("a".to_owned(), PartitionId(index));
        assert_eq!(partitions_of("a:0,3").unwrap(), Some(vec![place(0), place(3)]));
        assert_eq!(partitions_of("a").unwrap(), None);
        for wrong in ["a:", "a:x", "a:1:2"] {
            assert!(partitions_of(wrong).is_err(), "{wrong}");
        }
    }
}
