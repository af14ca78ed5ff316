//! Feeds a target with inputs for some time: those of earlier failures, the seeds, and new ones.

#![expect(clippy::print_stdout, reason = "this is what the program says")]

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ottla::env::Rng;
use ottla_fuzz::verdict::{self, Verdict};
use ottla_fuzz::{TARGETS, Target};

use crate::mutate::{self, Known};
use crate::watchdog::{Watchdog, report};

/// How many inputs whose kind was new are kept to be changed further.
const KEPT_MAX: usize = 20_000;
/// Longer inputs are not kept: they would make all that follow slow.
const KEPT_BYTES_MAX: usize = 8 << 10;

/// An input has failed, and was reported.
#[derive(Debug)]
pub(crate) struct Failed;

/// How many inputs a target has run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    accepted: u64,
    refused: u64,
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { accepted, refused } = self;
        write!(f, "{} inputs ({accepted} accepted, {refused} refused)", accepted + refused)
    }
}

/// One target on its way.
struct Run<'a> {
    target: &'static Target,
    watchdog: &'a Watchdog,
    counts: Counts,
    kinds: HashSet<Verdict>,
}

/// The target of this name.
pub(crate) fn find(name: &str) -> anyhow::Result<&'static Target> {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.with_context(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        format!("there is no target '{name}'; there are {}", names.join(", "))
    })
}

/// Fuzzes `target` for `duration`, and prints a line about it.
pub(crate) fn fuzz(
    target: &'static Target,
    watchdog: &Watchdog,
    seed: u64,
    duration: Duration,
) -> anyhow::Result<(Counts, Result<(), Failed>)> {
    let mut run = Run::new(target, watchdog);
    let regressions = regressions(target)?;
    let outcome = run.fuzz(&regressions, seed, duration);
    let Run { counts, kinds, .. } = run;
    let state = if outcome.is_ok() { "ok" } else { "FAILED" };
    println!("{:<9} {counts}, {} kinds: {state}", target.name, kinds.len());
    Ok((counts, outcome))
}

/// Runs one input of `target`.
pub(crate) fn replay(
    target: &'static Target,
    watchdog: &Watchdog,
    input: &[u8],
) -> Result<(), Failed> {
    let verdict = Run::new(target, watchdog).one(input)?;
    let state = if verdict.accepted { "accepted" } else { "refused" };
    println!("{}: an input of {} bytes is {state}", target.name, input.len());
    Ok(())
}

/// Inputs that have failed once: the files in `regressions/` whose names begin with the name of the target.
fn regressions(target: &Target) -> anyhow::Result<Vec<Vec<u8>>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let prefix = format!("{}-", target.name);
    let read = || -> std::io::Result<Vec<Vec<u8>>> {
        let paths = std::fs::read_dir(&directory)?.map(|entry| entry.map(|entry| entry.path()));
        let mut paths: Vec<_> = paths.collect::<Result<_, _>>()?;
        paths.retain(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&prefix))
        });
        paths.sort();
        paths.iter().map(std::fs::read).collect()
    };
    read().with_context(|| format!("cannot read {}", directory.display()))
}

impl<'a> Run<'a> {
    fn new(target: &'static Target, watchdog: &'a Watchdog) -> Self {
        Self { target, watchdog, counts: Counts::default(), kinds: HashSet::new() }
    }

    fn fuzz(
        &mut self,
        regressions: &[Vec<u8>],
        seed: u64,
        duration: Duration,
    ) -> Result<(), Failed> {
        for input in regressions {
            self.one(input)?;
        }
        let end = Instant::now() + duration;
        let mut known = Known { accepted: (self.target.seeds)(), refused: Vec::new() };
        for input in &known.accepted {
            if !self.one(input)?.accepted {
                report(self.target.name, input, "it is a seed, and was refused");
                return Err(Failed);
            }
        }
        let mut kept = 0;
        // Not all targets are to see the same numbers.
        let mut hasher = DefaultHasher::new();
        (seed, self.target.name).hash(&mut hasher);
        let rng = Rng::from_seed(hasher.finish());
        while Instant::now() < end {
            let input = mutate::next(&known, &rng);
            let kinds = self.kinds.len();
            let Verdict { accepted, .. } = self.one(&input)?;
            let is_new = self.kinds.len() > kinds;
            if is_new && input.len() <= KEPT_BYTES_MAX && kept < KEPT_MAX {
                if accepted {
                    known.accepted.push(input)
                } else {
                    known.refused.push(input)
                }
                kept += 1;
            }
        }
        Ok(())
    }

    fn one(&mut self, input: &[u8]) -> Result<Verdict, Failed> {
        self.watchdog.begin(self.target.name, input);
        // The state that a panic may have broken is not used again: the first failure is the last.
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
        self.watchdog.end();
        let Ok(()) = outcome else {
            report(self.target.name, input, "a panic, see above");
            return Err(Failed);
        };
        let verdict = verdict::take().expect("every run leaves a verdict");
        let count =
            if verdict.accepted { &mut self.counts.accepted } else { &mut self.counts.refused };
        *count += 1;
        self.kinds.insert(verdict);
        Ok(verdict)
    }
}
