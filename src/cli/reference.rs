//! `docs/CLI.md`: the help of every verb, as the program prints it.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use super::Arguments;
use crate::config::docs::assert_current;

const HEAD: &str = "\
# Verbs and options

What `--help` prints of every verb. The names of other programs (`kafka-topics` and so on) take the options of those.
[The command line](how-to-command-line.md) says how they work together. This page is printed from the code: \
`UPDATE_DOCS=1 cargo test --lib cli::reference`.
";

fn markdown() -> String {
    let mut page = HEAD.to_owned();
    add(&mut page, Arguments::command().term_width(110), "");
    page
}

/// Adds the help of a command, which comes behind `before`, and of those below it.
fn add(page: &mut String, command: Command, before: &str) {
    let name = format!("{before}{}", command.get_name());
    let mut command = command.bin_name(name.clone()).disable_help_subcommand(true);
    let help = command.render_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    writeln!(page, "\n## {name}\n\n```text\n{}\n```", lines.join("\n").trim())
        .expect("a String takes everything");
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    for below in below.cloned().collect::<Vec<_>>() {
        add(page, below.term_width(110), &format!("{name} "));
    }
}

#[test]
fn the_page_in_the_repository_is_current() {
    assert_current("CLI.md", &markdown(), "cli::reference");
}
