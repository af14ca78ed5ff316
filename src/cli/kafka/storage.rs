//! `kafka-storage`: `random-uuid`, `format` and `info`, as `StorageTool` of Apache Kafka 4.3 has them.
//!
//! Ottla formats a directory at its first start. To format it before says which cluster it will belong to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;

use super::options::{Known, Options, flag, valued};
use crate::cli::serve::data_paths;
use crate::cli::sources::SourceArguments;
use crate::config::{Loaded, properties};
use crate::env::{Disk, RealDisk, Rng};
use crate::log::DataDir;
use crate::model::UuidText;

/// How Kafka calls the version of metadata that it formats a directory with, which is what Ottla reports too.
const METADATA_VERSION: &str = "4.3-IV0";

const FORMAT: &[Known] = &[
    valued(&["config", "c"]),
    valued(&["cluster-id", "t"]),
    valued(&["add-scram", "S"]),
    flag(&["ignore-formatted", "g"]),
    valued(&["release-version", "r"]),
    valued(&["feature", "f"]),
    flag(&["standalone", "s"]),
    flag(&["no-initial-controllers", "N"]),
    valued(&["initial-controllers", "I"]),
];
const INFO: &[Known] = &[valued(&["config", "c"])];

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let (command, rest) =
        arguments.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    match command {
        "random-uuid" => {
            let rng = Rng::from_system();
            // One that begins with a dash would be taken for an option, so Kafka draws again too.
            let mut ids = std::iter::repeat_with(|| UuidText(rng.uuid()).to_string());
            say!("{}", ids.find(|id| !id.starts_with('-')).unwrap_or_default());
            Ok(ExitCode::SUCCESS)
        }
        "format" => format(&disk, &Options::read(FORMAT, rest)?),
        "info" => {
            let options = Options::read(INFO, rest)?;
            let (found, problems) = info(&*disk, &directories(&load(&options)?)?)?;
            put!("{found}");
            Ok(if problems { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        "version-mapping" | "feature-dependencies" => bail!("{command} is not there yet"),
        _ => bail!("say what to do: kafka-storage random-uuid | format | info"),
    }
}

/// The configuration, as a broker would find it.
fn load(options: &Options) -> anyhow::Result<Loaded> {
    SourceArguments::of(Some(options.needed("config")?.into()), Vec::new()).load(&[])
}

/// All directories of the broker, in rising order.
fn directories(loaded: &Loaded) -> anyhow::Result<BTreeSet<PathBuf>> {
    let paths = data_paths(None, loaded)?;
    Ok(paths.logs.into_iter().chain(paths.metadata).collect())
}

fn format(disk: &Arc<dyn Disk>, options: &Options) -> anyhow::Result<ExitCode> {
    let cluster_id = options.needed("cluster-id")?;
    if options.has("add-scram") {
        bail!("--add-scram: users with passwords are not there yet");
    }
    let loaded = load(options)?;
    let paths = data_paths(None, &loaded)?;
    let metadata = paths.metadata.as_ref().or_else(|| paths.logs.first());
    let mut unformatted = Vec::new();
    for directory in directories(&loaded)? {
        if disk.read_small(&directory.join("meta.properties"))?.is_none() {
            unformatted.push(directory);
        } else if !options.has("ignore-formatted") {
            bail!(
                "Log directory {} is already formatted. Use --ignore-formatted to ignore this directory and format the others.",
                directory.display()
            );
        }
    }
    if unformatted.is_empty() {
        say!("All of the log directories are already formatted.");
    }
    for directory in unformatted {
        let kind = if Some(&directory) == metadata { "metadata" } else { "data" };
        say!(
            "Formatting {kind} directory {} with metadata.version {METADATA_VERSION}.",
            directory.display()
        );
        let rng = Rng::from_system();
        drop(DataDir::open(
            Arc::clone(disk),
            &directory,
            loaded.broker.node_id,
            Some(cluster_id),
            &rng,
        )?);
    }
    Ok(ExitCode::SUCCESS)
}

/// What is known of the directories, and whether something is wrong with them.
fn info(disk: &dyn Disk, directories: &BTreeSet<PathBuf>) -> anyhow::Result<(String, bool)> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let mut first: Option<BTreeSet<(String, String)>> = None;
    for directory in directories {
        let shown = directory.display();
        if !disk.exists(directory)? {
            problems.push(format!("{shown} does not exist"));
            continue;
        }
        found.push(shown.to_string());
        let Some(meta) = meta(disk, directory)? else {
            problems.push(format!("{shown} is not formatted."));
            continue;
        };
        let first = first.get_or_insert_with(|| meta.clone());
        let differs = |key: &str| {
            let of = |meta: &BTreeSet<(String, String)>| {
                meta.iter().find(|(name, _)| name == key).cloned()
            };
            of(first) != of(&meta)
        };
        if differs("cluster.id") {
            problems.push("Mismatched cluster IDs between storage directories.".to_owned());
        } else if differs("node.id") {
            problems.push("Mismatched node IDs between storage directories.".to_owned());
        }
    }
    let mut text = list("Found log director", ["y", "ies"], &found);
    if let Some(meta) = first {
        let pairs: Vec<_> = meta.iter().map(|(key, value)| format!("{key}={value}")).collect();
        text += &format!("Found metadata: {{{}}}\n\n", pairs.join(", "));
    }
    text += &list("Found problem", ["", "s"], &problems);
    Ok((text, !problems.is_empty()))
}

/// What a directory says of itself, by key.
fn meta(disk: &dyn Disk, directory: &Path) -> anyhow::Result<Option<BTreeSet<(String, String)>>> {
    let Some(bytes) = disk.read_small(&directory.join("meta.properties"))? else { return Ok(None) };
    let all = properties::parse(&bytes)?;
    Ok(Some(all.into_iter().map(|property| (property.key, property.value)).collect()))
}

fn list(heading: &str, [one, more]: [&str; 2], items: &[String]) -> String {
    let end = if items.len() == 1 { one } else { more };
    let items: String = items.iter().map(|item| format!("  {item}\n")).collect();
    if items.is_empty() { items } else { format!("{heading}{end}:\n{items}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::MemoryDisk;
    use crate::model::BrokerId;

    #[test]
    fn directories_are_told_with_what_is_wrong() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let told =
            |names: &[&str]| info(&*disk, &names.iter().map(PathBuf::from).collect()).unwrap();
        assert_eq!(told(&["a"]), ("Found problem:\n  a does not exist\n\n".to_owned(), true));
        disk.create_dir_all(Path::new("a")).unwrap();
        let unformatted = "Found log directory:\n  a\n\nFound problem:\n  a is not formatted.\n\n";
        assert_eq!(told(&["a"]), (unformatted.to_owned(), true));
        for (name, cluster) in [("a", "x"), ("b", "y")] {
            let rng = Rng::from_system();
            DataDir::open(Arc::clone(&disk), Path::new(name), BrokerId(3), Some(cluster), &rng)
                .unwrap();
        }
        let (text, problems) = told(&["a"]);
        assert!(
            text.starts_with(
                "Found log directory:\n  a\n\nFound metadata: {cluster.id=x, directory.id="
            ),
            "{text}"
        );
        assert!(text.ends_with(", node.id=3, version=1}\n\n") && !problems, "{text}");
        let (text, problems) = told(&["b", "a"]);
        assert!(text.starts_with("Found log directories:\n  a\n  b\n\n"), "{text}");
        assert!(
            text.ends_with(
                "Found problem:\n  Mismatched cluster IDs between storage directories.\n\n"
            ),
            "{text}"
        );
        assert!(problems);
    }
}
