//! How many instructions the hot paths take: the same on every run, so that a check can hold them to a baseline.
//!
//! ```text
//! cargo run --release -p ottla-instructions              counts, and fails where one is more than 5 % above the baseline
//! cargo run --release -p ottla-instructions -- --update  writes the counts down as the new baseline
//! ```
//!
//! Valgrind counts what happens inside of one function per case; all is set up before. This is a program of its own and no
//! bench target of Ottla's: those are built with other features, and so once more. A baseline is changed only by a
//! commit that says why. Counts depend on the compiler, a little on the processor's features, and on the folder of the sources:
//! that moved `produce_decode` between 1,537 and 1,671.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that measures itself, and ends with a panic when it cannot"
)]

mod cases;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use cases::CASES;

/// How far a count may be above the baseline.
const TOLERANCE_PERCENT: u64 = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["--update"] => {
            fs::write(baseline_path(), page(&count_all())).unwrap();
            ExitCode::SUCCESS
        }
        ["case", name] => {
            let (_, run) = CASES.iter().find(|(case, _)| *case == name).unwrap();
            run();
            ExitCode::SUCCESS
        }
        _ => panic!("unknown arguments {arguments:?}; there is only --update"),
    }
}

fn baseline_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.txt")
}

/// One line for a case: its name and its count.
fn page(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().fold(String::new(), |mut page, (name, count)| {
        writeln!(page, "{name} {count}").unwrap();
        page
    })
}

fn compare() -> ExitCode {
    let text = fs::read_to_string(baseline_path()).unwrap();
    let baseline: BTreeMap<String, u64> = text
        .lines()
        .map(|line| {
            let (name, count) = line.split_once(' ').unwrap();
            (name.to_owned(), count.parse().unwrap())
        })
        .collect();
    let counts = count_all();
    assert!(counts.keys().eq(baseline.keys()), "the baseline is of other cases: run with --update");
    let mut within = true;
    for (name, count) in counts {
        let before = baseline[&name];
        let allowed = before + before * TOLERANCE_PERCENT / 100;
        let verdict = if count <= allowed { "ok" } else { "too many" };
        within &= count <= allowed;
        println!(
            "{name:<24} {count:>8} instructions, baseline {before:>8}, at most {allowed:>8}: {verdict}"
        );
    }
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn count_all() -> BTreeMap<String, u64> {
    CASES.iter().map(|(name, _)| ((*name).to_owned(), count(name))).collect()
}

/// Runs a case in a process of its own, under Valgrind.
fn count(name: &str) -> u64 {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*measured_{name}*"))
        .arg(env::current_exe().unwrap())
        .args(["case", name]);
    let output = command.output().expect("valgrind runs (Debian package valgrind)");
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{report}");
    let collected = report.lines().find_map(|line| line.split_once("Collected : "));
    let (_, count) = collected.unwrap_or_else(|| panic!("no count:\n{report}"));
    let count = count.trim().parse().unwrap();
    assert!(count > 0, "nothing was counted of {name}:\n{report}");
    count
}
