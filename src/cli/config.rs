//! `ottla config`: what a broker would be started with, and why.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::failure::{Failure, NOT_FOUND};
use super::sources::{self, SourceArguments};
use crate::config::{
    self, Described, DynamicConfig, Layers, Loaded, Notice, SourceFile, Sources, Status, docs,
    migrate, registry,
};

/// What to do with the configuration.
#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what is set and where; or one key with its value, its default and its meaning
    Explain {
        /// The key
        key: Option<String>,
        #[command(flatten)]
        sources: SourceArguments,
    },
    /// Say what is wrong with the configuration, without starting anything
    Check {
        /// Fail on keys that are unknown too
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        sources: SourceArguments,
    },
    /// Print the reference of all keys, as Markdown
    Docs,
    /// Print a configuration file of an older Apache Kafka as one for Ottla; each line that is changed or left out says why
    Migrate {
        /// The file, in the form of server.properties
        file: PathBuf,
    },
}

pub(super) fn run(arguments: &ConfigArguments) -> anyhow::Result<ExitCode> {
    match &arguments.verb {
        Verb::Explain { key: Some(key), sources } => {
            let loaded = sources.load(&[])?;
            Ok(explain(key, &loaded)
                .map_or_else(|unknown| unknown.report(false), |()| ExitCode::SUCCESS))
        }
        Verb::Explain { key: None, sources } => {
            explain_all(&sources.load(&[])?);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Check { strict, sources } => Ok(check(*strict, &sources.load(&[])?)),
        Verb::Docs => {
            put!("{}", docs::markdown());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Migrate { file } => {
            Ok(migrated(file).unwrap_or_else(|failure| failure.report(false)))
        }
    }
}

/// Everything that is set, with its value unless that is a secret.
fn explain_all(loaded: &Loaded) {
    for described in described(loaded) {
        if let Some(setting) = loaded.config.get(&described.name) {
            say!("{}={}  ({})", described.name, shown(&described), setting.origin);
        }
    }
}

fn explain(name: &str, loaded: &Loaded) -> Result<(), Failure> {
    let Some(key) = registry::find_broker(name).or_else(|| registry::find_folded(name)) else {
        let unknown = Failure::new("UNKNOWN_KEY", NOT_FOUND, format!("there is no key {name}"));
        return Err(match registry::suggest(name) {
            Some(meant) => unknown.hint(format!("did you mean {meant}?")),
            None => unknown.hint("ottla config docs lists all"),
        });
    };
    let all = described(loaded);
    let value = all.iter().find(|described| described.name == key.name);
    let origin = loaded.config.get(key.name).map(|setting| setting.origin.to_string());
    let default = key.default_value(loaded.config.is_single_node());
    let default = default.map_or_else(|| "none".to_owned(), |value| value.to_string());
    say!("{}={}", key.name, value.map_or_else(|| default.clone(), shown));
    say!("  from     {}", origin.as_deref().unwrap_or("default"));
    say!("  default  {default}");
    say!("  changes  {}", key.update.name());
    let status = match key.status {
        Status::Active => "active",
        Status::Inert => "accepted, has no meaning here",
        Status::NotYet => "accepted, does nothing yet",
    };
    say!("  status   {status}");
    if let Some(documentation) = key.documentation() {
        say!("\n{documentation}");
    }
    Ok(())
}

fn check(strict: bool, loaded: &Loaded) -> ExitCode {
    for notice in &loaded.notices {
        say!("{notice}");
    }
    let is_unknown = |notice: &Notice| matches!(notice, Notice::UnknownKey { .. });
    if strict && loaded.notices.iter().any(is_unknown) {
        return ExitCode::FAILURE;
    }
    say!("ok, {} set", loaded.config.settings().len());
    ExitCode::SUCCESS
}

fn migrated(path: &Path) -> Result<ExitCode, Failure> {
    let bytes = sources::read(path).map_err(|error| Failure::usage(format!("{error:#}")))?;
    let new = migrate::migrate(&bytes)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    put!("{new}");
    // What fits no more although each value alone is right.
    let file = SourceFile { path: "the new file", bytes: new.as_bytes() };
    if let Err(error) = config::load(Sources { file: Some(file), environment: &[], options: &[] }) {
        eprintln!("ottla: no broker starts with that as it is: {:#}", anyhow::Error::from(error));
    }
    Ok(ExitCode::SUCCESS)
}

fn described(loaded: &Loaded) -> Vec<Described> {
    let dynamic = DynamicConfig::default();
    Layers { fixed: &loaded.config, dynamic: &dynamic }.describe_broker()
}

fn shown(described: &Described) -> String {
    match (&described.value, described.sensitive) {
        (_, true) => "[hidden]".to_owned(),
        (Some(value), false) => value.clone(),
        (None, false) => "none".to_owned(),
    }
}
