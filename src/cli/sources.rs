//! Where the configuration of a process comes from: a file, the environment, options.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::config::properties::{self, Property};
use crate::config::{self, Loaded, SourceFile, Sources};

/// Where the file is looked for if none is named: where that of Apache Kafka's image is mounted, and our own place.
const USUAL_FILES: [&str; 2] =
    ["/mnt/shared/config/server.properties", "/etc/ottla/server.properties"];

/// What every verb takes that reads the configuration.
#[derive(Debug, Default, Args)]
pub(super) struct SourceArguments {
    /// Configuration file in the form of Kafka's server.properties [default: the first that is there of
    /// /mnt/shared/config/server.properties and /etc/ottla/server.properties]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, as it would stand in the file; wins over the file and the environment
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    options: Vec<String>,
}

impl SourceArguments {
    /// A file, if there is one, and options over it.
    pub(super) const fn of(config: Option<PathBuf>, options: Vec<String>) -> Self {
        Self { config, options }
    }

    /// Reads the configuration, with more options over those that were given.
    pub(super) fn load(&self, more: &[String]) -> anyhow::Result<Loaded> {
        let options: Vec<String> = self.options.iter().chain(more).cloned().collect();
        let file = match &self.config {
            Some(path) => Some((path.display().to_string(), read(path)?)),
            None => first_of(USUAL_FILES.map(Path::new))?,
        };
        let environment = environment();
        let sources = Sources {
            file: file.as_ref().map(|(path, bytes)| SourceFile { path, bytes }),
            environment: &environment,
            options: &options,
        };
        Ok(config::load(sources)?)
    }
}

/// The first of these files that is there, with its path.
fn first_of<'a>(
    paths: impl IntoIterator<Item = &'a Path>,
) -> anyhow::Result<Option<(String, Vec<u8>)>> {
    for path in paths {
        match read(path) {
            Ok(bytes) => return Ok(Some((path.display().to_string(), bytes))),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn is_missing(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
}

/// All variables of the environment that are text. They are read here and nowhere else.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub(super) fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the configuration is read before there is an environment to read it with"
)]
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The settings in a file that has the form of Java properties.
///
/// # Errors
/// If it cannot be read, or has another form: with its name.
pub(super) fn read_properties(path: &Path) -> anyhow::Result<Vec<Property>> {
    properties::parse(&read(path)?).with_context(|| path.display().to_string())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of the test itself")]
mod tests {
    use super::*;

    #[test]
    fn the_first_usual_file_that_is_there_counts() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["mounted", "own"].map(|name| folder.path().join(name));
        let found = || first_of([first.as_path(), &second]);
        assert_eq!(found().unwrap(), None);
        std::fs::write(&second, "own").unwrap();
        assert_eq!(found().unwrap(), Some((second.display().to_string(), b"own".to_vec())));
        std::fs::write(&first, "mounted").unwrap();
        assert_eq!(found().unwrap(), Some((first.display().to_string(), b"mounted".to_vec())));
        // One that is there and cannot be read is not passed over.
        std::fs::remove_file(&first).unwrap();
        std::fs::create_dir(&first).unwrap();
        let error = found().unwrap_err().to_string();
        assert_eq!(error, format!("cannot read {}", first.display()));
    }
}
