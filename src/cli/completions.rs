//! `ottla completions`: what a shell needs to complete our verbs.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

/// Prints the script for a shell. The reader may have seen enough before its end.
pub(super) fn run<C: CommandFactory>(arguments: &CompletionsArguments) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut C::command(), "ottla", &mut script);
    drop(io::stdout().write_all(&script));
    ExitCode::SUCCESS
}
