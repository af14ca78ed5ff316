//! Apache Kafka's tools, and the Java programs of `compat-tests/java`, by way of the launcher.

use std::collections::HashMap;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::wait::bounded;
use crate::workspace::{built, sources};

/// Runs the tool of that class name to its end and gives what it printed.
///
/// # Errors
/// When it exits with a failure; the error holds all its output.
pub fn tool(name: &str, arguments: &[&str]) -> Result<String> {
    output(tool_command(name).args(arguments))
}

/// The same, reading `input` on its standard input.
///
/// # Errors
/// When it exits with a failure; the error holds all its output.
pub fn tool_with_input(name: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut file = tempfile::tempfile()?;
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    output(tool_command(name).args(arguments).stdin(file))
}

/// A command for a tool that runs until it is ended. It becomes the process of the tool.
#[must_use]
pub fn lasting_tool(name: &str) -> Command {
    let mut command = Command::new(launcher());
    command.args(["tool", name]);
    command
}

fn tool_command(name: &str) -> Command {
    let mut command = bounded(launcher());
    command.args(["tool", name]);
    command
}

/// A set of jars that Java programs run on, and the sources of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Library {
    /// Folders below `compat-tests`, and files.
    sources: &'static [&'static str],
    /// `GROUP:ARTIFACT:VERSION`, or `GROUP:ARTIFACT:VERSION:test` for one of Apache Kafka with its tests; none for Apache
    /// Kafka's broker and tools, at the version that the launcher pins.
    coordinates: Option<&'static str>,
}

impl Library {
    /// What the broker and the tools of Apache Kafka run on.
    pub const KAFKA: Self = Self { sources: &["java"], coordinates: None };
    /// Kafka Streams, with the programs that its developers test it with.
    pub const STREAMS: Self = Self {
        sources: &["java/streams"],
        coordinates: Some("org.apache.kafka:kafka-streams:4.3.1:test"),
    };
    /// Spring's client, over Apache Kafka's.
    pub const SPRING: Self = Self {
        sources: &["java/spring"],
        coordinates: Some("org.springframework.kafka:spring-kafka:4.0.6"),
    };
    /// The first clients that know version 2 of records well: they are still found in old applications.
    pub const CLIENTS_2_1: Self = Self::old_clients("org.apache.kafka:kafka-clients:2.1.1");
    /// The last clients before idempotence became the default.
    pub const CLIENTS_2_8: Self = Self::old_clients("org.apache.kafka:kafka-clients:2.8.2");
    /// The last clients before 4.0.
    pub const CLIENTS_3_9: Self = Self::old_clients("org.apache.kafka:kafka-clients:3.9.2");

    const fn old_clients(coordinates: &'static str) -> Self {
        Self {
            sources: &["java/versions", "java/GroupMember.java"],
            coordinates: Some(coordinates),
        }
    }

    /// The version, where it is not that of the broker.
    #[must_use]
    pub fn version(self) -> Option<&'static str> {
        self.coordinates?.split(':').nth(2)
    }

    /// The launcher, with the class path of this library.
    fn launcher(self) -> Command {
        let mut command = bounded(launcher());
        command.envs(self.coordinates.map(|coordinates| ("KAFKA_LIBRARY", coordinates)));
        command
    }

    /// Where its programs are compiled to.
    fn classes(self) -> Result<PathBuf> {
        let name = self.coordinates.map_or("java".to_owned(), |name| name.replace(':', "-"));
        Ok(built()?.join(name))
    }

    fn compile(self) -> Result<()> {
        let mut files = Vec::new();
        for source in self.sources {
            files.extend(java_files(&sources().join(source))?);
        }
        output(self.launcher().arg("javac").arg(self.classes()?).args(files))?;
        Ok(())
    }

    /// A command for the program `class` on this library, compiled before its first use in this process.
    ///
    /// # Errors
    /// When the library cannot be had, or the sources do not compile.
    pub fn class(self, class: &str) -> Result<Command> {
        static COMPILED: Mutex<Option<HashMap<Library, Result<(), String>>>> = Mutex::new(None);
        let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        compiled
            .get_or_insert_default()
            .entry(self)
            .or_insert_with(|| self.compile().map_err(|error| format!("{error:#}")))
            .clone()
            .map_err(anyhow::Error::msg)?;
        let mut command = Command::new(launcher());
        command.envs(self.coordinates.map(|coordinates| ("KAFKA_LIBRARY", coordinates)));
        command.arg("run").arg("-cp").arg(self.classes()?).arg(class);
        Ok(command)
    }
}

/// A command for the program `class` of `compat-tests/java`, compiled before its first use in this process.
///
/// # Errors
/// When the sources do not compile.
pub fn java_class(class: &str) -> Result<Command> {
    Library::KAFKA.class(class)
}

/// Runs a command to its end and gives what it printed on standard output.
///
/// # Errors
/// When it exits with a failure; the error holds all its output.
pub fn output(command: &mut Command) -> Result<String> {
    let result = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let printed = String::from_utf8_lossy(&result.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&result.stderr);
    ensure!(
        result.status.success(),
        "{command:?} ended with {}:\n{printed}{complaints}",
        result.status
    );
    Ok(printed)
}

/// A file, or the files of a folder.
fn java_files(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut files: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "java"));
    Ok(files)
}

fn launcher() -> PathBuf {
    sources().join("kafka")
}
