//! `ottla cluster config diff`: the settings in which brokers, topics or clusters differ.
//!
//! A setting that one side does not have differs only if the other one has set it: brokers of different versions know
//! different ones. Values that are secrets are not told by brokers, and so not compared.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::explain::named;
use super::known_broker;
use crate::cli::configs::{ConfigSetting, describe_fully};
use crate::cli::failure::Failure;
use crate::cli::output::{Table, or_dash};
use crate::cli::topic::{Common, known_topics};
use crate::client::Cluster;

/// What is compared with what.
#[derive(Debug, Args)]
pub(super) struct DiffArguments {
    /// Compare topics instead of brokers: several, or one with --defaults or with the topic of that name in another cluster
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Only this broker, with --defaults or another cluster
    #[arg(short = 'n', long, conflicts_with = "topics")]
    node: Option<i32>,
    /// Compare each with its defaults
    #[arg(long, conflicts_with_all = ["to_bootstrap", "to_context"])]
    defaults: bool,
    /// Compare with the same in this cluster
    #[arg(long, value_name = "HOST:PORT,…", conflicts_with = "to_context")]
    to_bootstrap: Option<String>,
    /// Compare with the same in the cluster that has this name
    #[arg(long, value_name = "NAME")]
    to_context: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// The settings of one broker or topic.
struct Side {
    /// Whose they are, for people.
    of: String,
    settings: BTreeMap<String, ConfigSetting>,
}

/// A value of a setting that differs.
struct Row {
    key: String,
    /// Whose value it is.
    of: String,
    value: Option<String>,
    from: String,
}

impl Row {
    fn new(side: &Side, setting: &ConfigSetting) -> Self {
        Self {
            key: setting.name.clone(),
            of: side.of.clone(),
            value: Some(setting.shown().to_owned()),
            from: setting.origin().to_owned(),
        }
    }
}

pub(super) fn run(arguments: &DiffArguments) -> Result<ExitCode, Failure> {
    let (bootstrap, context) = (arguments.to_bootstrap.clone(), arguments.to_context.clone());
    let other = (bootstrap.is_some() || context.is_some())
        .then(|| arguments.common.connection.toward(bootstrap, context).options());
    let other = other.transpose()?;
    arguments.common.connection.run(async |cluster| {
        let mut sides = sides(&cluster, arguments, "").await?;
        if let Some(options) = other {
            let other = Cluster::connect(cluster.env().clone(), options).await?;
            let more = self::sides(&other, arguments, "the other cluster's ").await;
            sides.extend(more.map_err(|failure| failure.asked_in(&other))?);
        }
        if sides.len() < 2 && !arguments.defaults {
            let what = sides.first().map(|side| side.of.as_str()).unwrap_or_default();
            let message = format!("there is nothing to compare {what} with");
            return Err(Failure::usage(message).hint(
                "--defaults, --to-bootstrap, --to-context and more than one --topic say with what",
            ));
        }
        print(arguments, &sides)
    })
}

async fn sides(
    cluster: &Cluster,
    arguments: &DiffArguments,
    whose: &str,
) -> Result<Vec<Side>, Failure> {
    let mut sides = Vec::new();
    if !arguments.topics.is_empty() {
        let names: Vec<&str> = arguments.topics.iter().map(String::as_str).collect();
        known_topics(cluster, &names).await?;
        for name in names {
            let settings = describe_fully(cluster, ConfigSetting::TOPIC, name).await?;
            sides.push(Side { of: format!("{whose}topic {name}"), settings });
        }
        return Ok(sides);
    }
    known_broker(cluster, arguments.node)?;
    for broker in cluster.known().brokers {
        let id = broker.id.to_string();
        if arguments.node.is_none_or(|node| node == broker.id.0) {
            let settings = describe_fully(cluster, ConfigSetting::BROKER, &id).await?;
            sides.push(Side { of: format!("{whose}broker {id}"), settings });
        }
    }
    Ok(sides)
}

/// The settings in which sides differ.
fn differences(sides: &[Side]) -> Vec<Row> {
    let all: BTreeSet<&String> = sides.iter().flat_map(|side| side.settings.keys()).collect();
    let mut rows = Vec::new();
    for key in all.into_iter().filter(|key| !IDENTITY.contains(&key.as_str())) {
        let told: Vec<_> = sides.iter().map(|side| (side, side.settings.get(key))).collect();
        let known: Vec<_> = told.iter().filter_map(|(_, setting)| *setting).collect();
        let is_alike = match known.len() == sides.len() {
            true => known.windows(2).all(|pair| pair[0].value() == pair[1].value()),
            false => known.iter().all(|setting| setting.is_default()),
        };
        if is_alike {
            continue;
        }
        rows.extend(told.into_iter().map(|(side, setting)| match setting {
            Some(setting) => Row::new(side, setting),
            None => Row {
                key: key.clone(),
                of: side.of.clone(),
                value: None,
                from: "not known there".to_owned(),
            },
        }));
    }
    rows
}

/// The settings of each side that are not its defaults.
fn of_defaults(sides: &[Side]) -> Vec<Row> {
    let mut rows = Vec::new();
    for side in sides {
        for setting in side.settings.values() {
            let default = setting.default();
            let is_same = default.is_some_and(|default| {
                default.name == setting.name && default.value.as_deref() == setting.value()
            });
            if setting.is_default() || is_same || IDENTITY.contains(&setting.name.as_str()) {
                continue;
            }
            rows.push(Row::new(side, setting));
            rows.push(Row {
                key: setting.name.clone(),
                of: "its default".to_owned(),
                value: default.map(|default| named(default, &setting.name)),
                from: "default".to_owned(),
            });
        }
    }
    rows
}

fn print(arguments: &DiffArguments, sides: &[Side]) -> Result<ExitCode, Failure> {
    let rows = if arguments.defaults { of_defaults(sides) } else { differences(sides) };
    let mut table = Table::new(&["KEY", "OF", "VALUE", "FROM"]);
    let mut values = Vec::new();
    for Row { key, of, value, from } in rows {
        values.push(json!({ "key": key, "of": of, "value": value, "source": from }));
        table.row([key, of, or_dash(value), from]);
    }
    let is_same = table.is_empty();
    let text =
        if is_same { "no differences\n".to_owned() } else { arguments.common.output.draw(&table) };
    let json = json!({ "same": is_same, "values": values });
    arguments.common.output.print_told(&text, &table, &json)?;
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What every broker has for itself.
const IDENTITY: [&str; 2] = ["broker.id", "node.id"];
