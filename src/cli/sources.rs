//! Where the configuration of a process comes from: a file, the environment, options.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::config::{self, Loaded, SourceFile, Sources};

/// What every verb takes that reads the configuration.
#[derive(Debug, Default, Args)]
pub(super) struct SourceArguments {
    /// Configuration file in the form of Kafka's server.properties
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
            None => None,
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
