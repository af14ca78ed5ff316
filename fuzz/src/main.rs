//! Runs the targets: `ottla-fuzz [--seconds N] [--seed S] [target …]`, or `ottla-fuzz replay <target> <file>`.

#![expect(clippy::print_stdout, reason = "this is what the program says")]

mod mutate;
mod runner;
mod watchdog;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use ottla_fuzz::{TARGETS, Target};

use runner::Failed;
use watchdog::Watchdog;

/// How long each target is fuzzed unless told.
const SECONDS: u64 = 10;

/// What the command line asks for.
enum Job {
    Fuzz { targets: Vec<&'static Target>, seconds: u64, seed: u64 },
    Replay { target: &'static Target, path: String },
}

fn main() -> anyhow::Result<ExitCode> {
    let job = parse(std::env::args().skip(1))?;
    let watchdog = Watchdog::start();
    let outcome = match job {
        Job::Fuzz { targets, seconds, seed } => {
            println!("seed {seed}, {seconds} s for each target");
            fuzz(&targets, &watchdog, seed, Duration::from_secs(seconds))?
        }
        Job::Replay { target, path } => {
            let input = std::fs::read(&path).with_context(|| format!("cannot read {path}"))?;
            runner::replay(target, &watchdog, &input)
        }
    };
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fuzzes one target after the other, up to the first that fails. The last line has them all.
fn fuzz(
    targets: &[&'static Target],
    watchdog: &Watchdog,
    seed: u64,
    duration: Duration,
) -> anyhow::Result<Result<(), Failed>> {
    let mut all = Vec::new();
    let mut outcome = Ok(());
    for target in targets {
        let (counts, outcome_of_target) = runner::fuzz(target, watchdog, seed, duration)?;
        all.push(format!("{} {counts}", target.name));
        outcome = outcome_of_target;
        if outcome.is_err() {
            break;
        }
    }
    println!("{}: {}", if outcome.is_ok() { "ok" } else { "FAILED" }, all.join("; "));
    Ok(outcome)
}

fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Job> {
    let (mut targets, mut seconds, mut seed) = (Vec::new(), SECONDS, None);
    while let Some(word) = words.next() {
        match word.as_str() {
            "replay" => {
                let (Some(target), Some(path)) = (words.next(), words.next()) else {
                    bail!("replay needs a target and a file");
                };
                return Ok(Job::Replay { target: runner::find(&target)?, path });
            }
            "--seconds" => seconds = number(&word, words.next())?,
            "--seed" => seed = Some(number(&word, words.next())?),
            name => targets.push(runner::find(name)?),
        }
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    Ok(Job::Fuzz { targets, seconds, seed: seed.unwrap_or_else(seed_by_time) })
}

fn number(option: &str, value: Option<String>) -> anyhow::Result<u64> {
    let value = value.with_context(|| format!("{option} needs a number"))?;
    value.parse().with_context(|| format!("{option} needs a number, not '{value}'"))
}

/// Another seed each time.
fn seed_by_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() << 20 | u64::from(since.subsec_micros())
}
