//! `docs/CLI.md`: the help of every verb, as the program prints it.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use super::Arguments;

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

/// With `UPDATE_DOCS` set the page is written instead.
#[test]
#[expect(clippy::disallowed_methods, reason = "a developer's switch, and a file of the repository")]
fn the_page_in_the_repository_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CLI.md");
    let page = markdown();
    if std::env::var("UPDATE_DOCS").is_ok() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/CLI.md is stale: run `UPDATE_DOCS=1 cargo test --lib cli::reference`"
    );
}
