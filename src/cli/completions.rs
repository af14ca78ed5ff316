//! `ottla completions`: what a shell needs to complete our verbs.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};
use clap_complete_nushell::Nushell;

/// Which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    shell: CompletedShell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompletedShell {
    Bash,
    Elvish,
    Fish,
    Nushell,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
}

/// Prints the script for a shell. The reader may have seen enough before its end.
pub(super) fn run<C: CommandFactory>(arguments: &CompletionsArguments) -> ExitCode {
    let (mut command, mut script) = (C::command(), Vec::new());
    let mut of = |shell| generate(shell, &mut command, NAME, &mut script);
    match arguments.shell {
        CompletedShell::Bash => of(Shell::Bash),
        CompletedShell::Elvish => of(Shell::Elvish),
        CompletedShell::Fish => of(Shell::Fish),
        CompletedShell::PowerShell => of(Shell::PowerShell),
        CompletedShell::Zsh => of(Shell::Zsh),
        CompletedShell::Nushell => generate(Nushell, &mut command, NAME, &mut script),
    }
    drop(io::stdout().write_all(&script));
    ExitCode::SUCCESS
}

const NAME: &str = "ottla";
