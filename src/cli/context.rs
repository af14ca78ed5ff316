//! `ottla context`: clusters by name, so that nobody has to write where they are again and again.
//!
//! They stand in `ottla/config.toml` in the folder for configuration (`$XDG_CONFIG_HOME`, else `~/.config`), and, for all who work
//! in a project, in a file `.ottla.toml` of the current folder or one above it, which goes first:
//!
//! ```toml
//! current = "staging"
//!
//! [contexts.staging]
//! bootstrap = "kafka-1:9092,kafka-2:9092"
//!
//! [contexts.staging.settings]
//! "client.id" = "me"
//! ```
//!
//! `-b` and `--context` win over `OTTLA_BOOTSTRAP`, this over `OTTLA_CONTEXT`, and that over the current context.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::connect::setting;
use super::failure::{EXISTS, Failure, NOT_FOUND, REFUSED, did_you_mean};
use super::output::{OutputArguments, Table, list as joined};
use super::sources::environment;
use crate::client::Address;

#[derive(Debug, Args)]
pub(super) struct ContextArguments {
    #[command(subcommand)]
    verb: ContextVerb,
}

#[derive(Debug, Subcommand)]
enum ContextVerb {
    /// Give a cluster a name; the first one is used from then on
    Add(AddArguments),
    /// Use a cluster from now on
    Use(NameArguments),
    /// List the clusters that have names
    List(ListArguments),
    /// Forget a name
    #[command(visible_alias = "rm")]
    Remove(NameArguments),
}

#[derive(Debug, Args)]
struct AddArguments {
    /// The name
    name: String,
    /// Brokers to begin with
    #[arg(short = 'b', long, value_name = "HOST:PORT,…")]
    bootstrap: String,
    /// A setting by the name that other clients have for it
    #[arg(short = 'X', value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// In place of one that has this name
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
struct NameArguments {
    /// The name
    name: String,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    output: OutputArguments,
}

/// A cluster that has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Context {
    pub(super) bootstrap: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) settings: BTreeMap<String, String>,
}

/// A file of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contexts {
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

/// The name of the file that a project has.
const PROJECT_FILE: &str = ".ottla.toml";

pub(super) fn run(arguments: &ContextArguments) -> ExitCode {
    let (output, outcome) = match &arguments.verb {
        ContextVerb::Add(arguments) => (&arguments.output, add(arguments)),
        ContextVerb::Use(arguments) => (&arguments.output, choose(arguments)),
        ContextVerb::List(arguments) => (&arguments.output, list(arguments)),
        ContextVerb::Remove(arguments) => (&arguments.output, remove(arguments)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(output.is_json()),
    }
}

/// The cluster of this name, or the current one if there is no name; none if nobody has chosen one.
pub(super) fn find(name: Option<&str>) -> Result<Option<Context>, Failure> {
    let all = Known::load()?;
    match name.or_else(|| all.current()) {
        None => Ok(None),
        Some(name) => all.get(name).map(|context| Some(context.clone())),
    }
}

fn add(arguments: &AddArguments) -> Result<(), Failure> {
    let name = &arguments.name;
    Address::parse_list(&arguments.bootstrap)
        .map_err(|error| Failure::usage(error.to_string()).hint("write -b HOST:PORT"))?;
    let settings = arguments.settings.iter().map(|text| setting(text)).collect::<Result<_, _>>()?;
    let (path, mut own) = Known::own()?;
    if own.contexts.contains_key(name) && !arguments.force {
        return Err(Failure::new("CONTEXT_EXISTS", EXISTS, format!("'{name}' is there already"))
            .hint("--force takes its place"));
    }
    let bootstrap = arguments.bootstrap.clone();
    own.contexts.insert(name.clone(), Context { bootstrap, settings });
    let current = own.current.get_or_insert_with(|| name.clone()).clone();
    write(&path, &own)?;
    let text = match current == *name {
        true => format!("added {name}, which is used from now on"),
        false => format!("added {name}; ottla context use {name} takes it"),
    };
    Ok(arguments.output.print_done(&text, &json!({ "added": name, "current": current }))?)
}

fn choose(arguments: &NameArguments) -> Result<(), Failure> {
    let name = &arguments.name;
    Known::load()?.get(name)?;
    let (path, mut own) = Known::own()?;
    own.current = Some(name.clone());
    write(&path, &own)?;
    // A project's choice goes before that of its user.
    let current = Known::load()?.current().unwrap_or_default().to_owned();
    let text = match current == *name {
        true => format!("{name} is used from now on"),
        false => format!("{name} is used from now on, but here: {PROJECT_FILE} says {current}"),
    };
    Ok(arguments.output.print_done(&text, &json!({ "current": current }))?)
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let all = Known::load()?;
    let mut table = Table::new(&["NAME", "BOOTSTRAP", "SETTINGS", "CURRENT"]);
    let mut rows = Vec::new();
    for (name, context) in all.contexts() {
        let is_current = all.current() == Some(name.as_str());
        let settings = context.settings.iter().map(|(key, value)| format!("{key}={value}"));
        table.row([
            name.clone(),
            context.bootstrap.clone(),
            joined(settings),
            if is_current { "*".to_owned() } else { String::new() },
        ]);
        rows.push(json!({
            "name": name, "bootstrap": context.bootstrap, "settings": context.settings,
            "current": is_current,
        }));
    }
    Ok(arguments.output.print(&table, &json!({ "contexts": rows }))?)
}

fn remove(arguments: &NameArguments) -> Result<(), Failure> {
    let name = &arguments.name;
    let (path, mut own) = Known::own()?;
    if own.contexts.remove(name).is_none() {
        let all = Known::load()?;
        all.get(name)?;
        let message = format!("'{name}' is of the project");
        return Err(Failure::new("CONTEXT_OF_PROJECT", REFUSED, message)
            .hint(format!("{PROJECT_FILE} has it, and is not changed")));
    }
    own.current.take_if(|current| current == name);
    write(&path, &own)?;
    Ok(arguments.output.print_done(&format!("removed {name}"), &json!({ "removed": name }))?)
}

/// The contexts of the project and of the user.
struct Known {
    project: Contexts,
    own: Contexts,
}

impl Known {
    fn load() -> Result<Self, Failure> {
        let project = match project_file() {
            None => Contexts::default(),
            Some(path) => read(&path)?,
        };
        let own = match own_file() {
            None => Contexts::default(),
            Some(path) => read(&path)?,
        };
        Ok(Self { project, own })
    }

    /// The file of the user, which need not be there yet, and what it holds.
    fn own() -> Result<(PathBuf, Contexts), Failure> {
        let path = own_file().ok_or_else(|| {
            Failure::new("NO_HOME", REFUSED, "there is no folder for the file of the contexts")
                .hint("set HOME or XDG_CONFIG_HOME")
        })?;
        let own = read(&path)?;
        Ok((path, own))
    }

    fn current(&self) -> Option<&str> {
        self.project.current.as_deref().or(self.own.current.as_deref())
    }

    /// By name; those of the project hide those of the user.
    fn contexts(&self) -> BTreeMap<&String, &Context> {
        self.own.contexts.iter().chain(&self.project.contexts).collect()
    }

    fn get(&self, name: &str) -> Result<&Context, Failure> {
        let all = self.contexts();
        if let Some(context) = all.get(&name.to_owned()) {
            return Ok(context);
        }
        let near = did_you_mean(name, all.keys().map(|name| name.as_str()));
        let hint = near.map(|near| format!("did you mean '{near}'? ottla context list shows all"));
        let hint = hint.unwrap_or_else(|| "ottla context add makes one".to_owned());
        let message = format!("there is no context '{name}'");
        Err(Failure::new("CONTEXT_NOT_FOUND", NOT_FOUND, message).hint(hint))
    }
}

fn own_file() -> Option<PathBuf> {
    let environment = environment();
    let variable = |wanted: &str| {
        let found = environment.iter().find(|(name, value)| name == wanted && !value.is_empty());
        found.map(|(_, value)| PathBuf::from(value))
    };
    let folder = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))?;
    Some(folder.join("ottla/config.toml"))
}

/// That of the current folder, or of the nearest above it.
fn project_file() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    here.ancestors().map(|folder| folder.join(PROJECT_FILE)).find(|path| path.is_file())
}

/// Nothing if there is no such file.
#[expect(clippy::disallowed_methods, reason = "a file of the user's, read once")]
fn read(path: &Path) -> Result<Contexts, Failure> {
    let broken = |error: &dyn std::fmt::Display| {
        Failure::new("BAD_CONTEXTS", REFUSED, format!("{}: {error}", path.display()))
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contexts::default()),
        Err(error) => return Err(broken(&error)),
    };
    toml::from_str(&text).map_err(|error| broken(&error.message()))
}

/// Whole or not at all.
#[expect(clippy::disallowed_methods, reason = "a file of the user's, written once")]
fn write(path: &Path, contexts: &Contexts) -> Result<(), Failure> {
    let broken = |error: &dyn std::fmt::Display| {
        Failure::new("IO", REFUSED, format!("cannot write {}: {error}", path.display()))
    };
    let text = toml::to_string(contexts).map_err(|error| broken(&error))?;
    let fresh = path.with_extension("toml.new");
    path.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&fresh, text))
        .and_then(|()| std::fs::rename(&fresh, path))
        .map_err(|error| broken(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_back_and_typos_said() {
        let mut contexts = Contexts { current: Some("a".into()), ..Contexts::default() };
        let settings = [("client.id".to_owned(), "me".to_owned())].into();
        contexts.contexts.insert("a".into(), Context { bootstrap: "h:1,i:2".into(), settings });
        let text = toml::to_string(&contexts).unwrap();
        assert_eq!(toml::from_str::<Contexts>(&text).unwrap(), contexts, "{text}");
        let error = toml::from_str::<Contexts>("[contexts.a]\nbootstap = 'x'").unwrap_err();
        assert!(error.message().contains("unknown field `bootstap`"), "{error}");
    }

    #[test]
    fn the_project_goes_first() {
        let of = |current: &str, bootstrap: &str| Contexts {
            current: Some(current.to_owned()),
            contexts: [(
                "a".to_owned(),
                Context { bootstrap: bootstrap.into(), ..Context::default() },
            )]
            .into(),
        };
        let known = Known { project: of("p", "project:1"), own: of("o", "own:1") };
        assert_eq!(known.current(), Some("p"));
        assert_eq!(known.get("a").unwrap().bootstrap, "project:1");
        assert!(known.get("b").is_err());
    }
}
