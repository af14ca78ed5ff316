//! `ottla cluster config`: settings of brokers, at run time.

mod diff;
mod explain;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::configs::{ConfigSetting, alter_configs, describe_configs};
use crate::cli::failure::{Failure, NOT_FOUND, did_you_mean};
use crate::cli::output::Table;
use crate::cli::topic::{Common, key_value};
use crate::client::{Cluster, Target};
use crate::model::BrokerId;

#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Show settings
    Get(GetArguments),
    /// Say what a setting is for, and what it is on each broker
    Explain(explain::ExplainArguments),
    /// Compare settings: of brokers, of topics, with the defaults, or of two clusters; 0 means that they are alike
    Diff(diff::DiffArguments),
    /// Change settings
    Set(SetArguments),
    /// Bring settings back to their defaults
    Unset(UnsetArguments),
}

#[derive(Debug, Args)]
struct GetArguments {
    /// Only these keys
    keys: Vec<String>,
    /// Of this broker [default: the one that answers]
    #[arg(short = 'n', long)]
    node: Option<i32>,
    /// Those that nobody has set too
    #[arg(short = 'a', long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct SetArguments {
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = key_value)]
    settings: Vec<(String, String)>,
    /// For this broker [default: for all of them]
    #[arg(short = 'n', long)]
    node: Option<i32>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct UnsetArguments {
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// For this broker [default: for all of them]
    #[arg(short = 'n', long)]
    node: Option<i32>,
    #[command(flatten)]
    common: Common,
}

impl ConfigArguments {
    pub(super) const fn common(&self) -> &Common {
        match &self.verb {
            ConfigVerb::Get(arguments) => &arguments.common,
            ConfigVerb::Explain(arguments) => &arguments.common,
            ConfigVerb::Diff(arguments) => &arguments.common,
            ConfigVerb::Set(arguments) => &arguments.common,
            ConfigVerb::Unset(arguments) => &arguments.common,
        }
    }
}

pub(super) fn run(arguments: &ConfigArguments) -> Result<ExitCode, Failure> {
    match &arguments.verb {
        ConfigVerb::Get(arguments) => get(arguments),
        ConfigVerb::Explain(arguments) => explain::run(arguments),
        ConfigVerb::Diff(arguments) => diff::run(arguments),
        ConfigVerb::Set(arguments) => {
            alter(&arguments.common, arguments.node, &arguments.settings, &[])
        }
        ConfigVerb::Unset(arguments) => {
            alter(&arguments.common, arguments.node, &[], &arguments.keys)
        }
    }
}

fn get(arguments: &GetArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let first = cluster.known().brokers.first().map_or(0, |node| node.id.0);
        known_broker(&cluster, arguments.node)?;
        let node = arguments.node.unwrap_or(first).to_string();
        let settings = describe_configs(&cluster, ConfigSetting::BROKER, &node).await?;
        for key in &arguments.keys {
            if !settings.iter().any(|setting| setting.name == *key) {
                let names = settings.iter().map(|setting| setting.name.as_str());
                return Err(unknown_key(&node, key, names));
            }
        }
        let shown = settings.iter().filter(|setting| match arguments.keys.is_empty() {
            true => arguments.all || !setting.is_default(),
            false => arguments.keys.contains(&setting.name),
        });
        let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
        let mut values = serde_json::Map::new();
        for setting in shown {
            let (name, value) = (setting.name.clone(), setting.shown().to_owned());
            table.row([name.clone(), value, setting.origin().to_owned()]);
            values.insert(name, setting.to_json());
        }
        let json = json!({ "broker": node, "configs": Value::Object(values) });
        arguments.common.output.print(&table, &json)?;
        Ok(ExitCode::SUCCESS)
    })
}

/// What is said of a setting that a broker does not have, but for these.
fn unknown_key<'a>(node: &str, key: &str, names: impl Iterator<Item = &'a str>) -> Failure {
    let message = format!("broker {node} has no setting '{key}'");
    let failure = Failure::new("UNKNOWN_KEY", NOT_FOUND, message);
    match did_you_mean(key, names) {
        Some(near) => failure.hint(format!("did you mean '{near}'?")),
        None => failure.hint("ottla cluster config get --all lists them"),
    }
}

/// A broker that is asked for has to be there.
fn known_broker(cluster: &Cluster, node: Option<i32>) -> Result<(), Failure> {
    match node {
        Some(id) if cluster.known().broker(BrokerId(id)).is_none() => {
            let message = format!("there is no broker {id}");
            Err(Failure::new("NO_SUCH_BROKER", NOT_FOUND, message)
                .hint("ottla cluster brokers lists those that are there"))
        }
        Some(_) | None => Ok(()),
    }
}

fn alter(
    common: &Common,
    node: Option<i32>,
    set: &[(String, String)],
    unset: &[String],
) -> Result<ExitCode, Failure> {
    common.connection.run(async |cluster| {
        known_broker(&cluster, node)?;
        let node = node.map(|node| node.to_string()).unwrap_or_default();
        cluster.connection(Target::Controller).await?;
        alter_configs(&cluster, ConfigSetting::BROKER, &node, set, unset).await?;
        let keys: Vec<_> = set.iter().map(|(key, _)| key).chain(unset).collect();
        let who = if node.is_empty() { "all brokers".to_owned() } else { format!("broker {node}") };
        let text = format!("changed {} of {who}", crate::cli::output::list(&keys));
        common.output.print_done(&text, &json!({ "changed": keys, "broker": node }))?;
        Ok(ExitCode::SUCCESS)
    })
}
