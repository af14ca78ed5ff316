//! Apache Kafka's tools, and the Java programs of `compat-tests/java`, by way of the launcher.

use std::io::{Seek, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

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

/// A command for the program `class` of `compat-tests/java`, compiled before its first use in this process.
///
/// # Errors
/// When the sources do not compile.
pub fn java_class(class: &str) -> Result<Command> {
    static COMPILED: OnceLock<Result<(), String>> = OnceLock::new();
    let compiled = COMPILED.get_or_init(|| compile().map_err(|error| format!("{error:#}")));
    compiled.clone().map_err(anyhow::Error::msg)?;
    let mut command = Command::new(launcher());
    command.arg("run").arg("-cp").arg(built()?.join("java")).arg(class);
    Ok(command)
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

fn compile() -> Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(sources().join("java"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "java"));
    output(bounded(launcher()).arg("javac").arg(built()?.join("java")).args(files))?;
    Ok(())
}

fn launcher() -> PathBuf {
    sources().join("kafka")
}
