//! Test suites of client libraries, written by the libraries' authors for Apache Kafka.
//!
//! Apache Kafka passes all that is run of them. What Ottla fails is listed in `suites/`, with the reason as a comment
//! above it: a test here fails when a failure is not in the list, and when one in the list is gone. Where a failure takes
//! its time, or depends on it, what is listed is left out instead.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use ottla_compat_tests::java::output;
use ottla_compat_tests::server::free_address;
use ottla_compat_tests::wait::bounded;
use ottla_compat_tests::workspace::{built, sources};
use ottla_compat_tests::{Server, ServerKind};
use serde::Deserialize;

/// How a test of a suite ended.
#[derive(Debug, Deserialize)]
struct Ended {
    test: String,
    outcome: Outcome,
    /// What a failure was reported with.
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// kafka-python's integration tests.
pub(crate) fn kafka_python(kind: ServerKind) -> Result<()> {
    let address = free_address()?;
    let advertised = format!("advertised.listeners=PLAINTEXT://{address}");
    // What the suite's authors configure, but for access control: a broker 0, four partitions, short sessions.
    let configs =
        ["node.id=0", "num.partitions=4", "group.min.session.timeout.ms=1000", &advertised];
    let server = Server::start_at(kind, &address, &configs)?;
    let mut suite = bounded(built()?.join("python/bin/python"));
    suite.arg(sources().join("python/kafka_python_suite.py"));
    let printed = output(suite.arg(built()?.join("suites")).arg(server.bootstrap()))?;
    let ended: Vec<Ended> =
        printed.lines().map(serde_json::from_str).collect::<Result<_, _>>().context(printed)?;
    review("kafka-python", &ended, &reviewed(kind, "kafka-python")?, 54)
}

/// The name of [`rdkafka`] among the tests of this program.
pub(crate) const RDKAFKA: &str = "suites::rdkafka";

/// The integration tests of crate `rdkafka`. They insist on port 9092, so they and the broker have a network of their
/// own, where the system gives them one.
pub(crate) fn rdkafka(kind: ServerKind) -> Result<()> {
    let mut build = Command::new(sources().join("rdkafka-suite"));
    let programs = output(build.arg(built()?.join("suites")))?;
    if env::var_os(ALONE).is_none() && output(&mut alone("true")).is_ok() {
        output(alone(env::current_exe()?).args(["--exact", RDKAFKA]).env(ALONE, "1"))?;
        return Ok(());
    }
    let left_out = reviewed(kind, "rdkafka")?;
    let server = Server::start_at(kind, "127.0.0.1:9092", &["node.id=0", "num.partitions=3"])?;
    let mut ended = Vec::new();
    for program in programs.lines() {
        ended.extend(run_rust_tests(Path::new(program), &left_out, server.bootstrap())?);
    }
    review("rdkafka", &ended, &BTreeSet::new(), 48)
}

/// Says that this program runs in a network of its own.
const ALONE: &str = "OTTLA_COMPAT_ALONE";

/// A command in a network of its own, which has a loopback. All its processes end with it.
pub(crate) fn alone(program: impl AsRef<OsStr>) -> Command {
    let mut command = bounded("unshare");
    command.args(["--map-root-user", "--net", "--pid", "--fork", "--kill-child"]);
    command.args(["sh", "-c", r#"ip link set lo up && exec "$0" "$@""#]).arg(program);
    command
}

/// Runs a program of Rust tests, without those of its tests that are in `left_out`.
fn run_rust_tests(program: &Path, left_out: &BTreeSet<String>, broker: &str) -> Result<Vec<Ended>> {
    let name = program.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let (name, _) = name.rsplit_once('-').context("a program without hash")?;
    // Standard output is shared with threads that print: the log is not.
    let log = tempfile::NamedTempFile::new()?;
    let mut command = bounded(program);
    command.arg("--logfile").arg(log.path()).arg("--exact");
    let tests = left_out.iter().filter_map(|test| test.strip_prefix(&format!("{name}::")));
    for test in tests.clone() {
        command.args(["--skip", test]);
    }
    command.env("KAFKA_HOST", broker).env("KAFKA_VERSION", "4.3.1");
    let result = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let printed = String::from_utf8_lossy(&result.stdout);
    // The last line, if it did not crash; and each name that is left out stands for a test.
    let summary = format!("; {} filtered out; ", tests.count());
    ensure!(printed.contains(&summary), "{name} ended with {}:\n{printed}", result.status);
    fs::read_to_string(log.path())?
        .lines()
        .map(|line| {
            let (outcome, test) = line.split_once(' ').context("no outcome")?;
            let outcome = match outcome {
                "ok" => Outcome::Passed,
                "failed" => Outcome::Failed,
                "ignored" => Outcome::Skipped,
                _ => bail!("no outcome: {line}"),
            };
            let why = match outcome {
                Outcome::Failed => printed.clone().into_owned(),
                Outcome::Passed | Outcome::Skipped => String::new(),
            };
            Ok(Ended { test: format!("{name}::{test}"), outcome, why })
        })
        .collect()
}

/// That all tests of a suite but the skipped and the `expected` ones passed, and these failed; and that they were not
/// less than `at_least`, as a suite that is not found passes easily.
fn review(
    suite: &str,
    ended: &[Ended],
    expected: &BTreeSet<String>,
    at_least: usize,
) -> Result<()> {
    let run = ended.iter().filter(|test| test.outcome != Outcome::Skipped).count();
    ensure!(run >= at_least, "only {run} tests were run");
    let failed = ended.iter().filter(|test| test.outcome == Outcome::Failed);
    let news: String = failed
        .clone()
        .filter(|test| !expected.contains(&test.test))
        .map(|test| format!("{}:\n{}\n", test.test, test.why))
        .collect();
    ensure!(news.is_empty(), "failed, and not in suites/{suite}.txt:\n{news}");
    let failed: BTreeSet<_> = failed.map(|test| test.test.clone()).collect();
    let gone: Vec<_> = expected.difference(&failed).collect();
    ensure!(gone.is_empty(), "in suites/{suite}.txt, but did not fail: {gone:?}");
    Ok(())
}

/// The tests in the list of a suite, which is about Ottla alone.
fn reviewed(kind: ServerKind, suite: &str) -> Result<BTreeSet<String>> {
    if kind == ServerKind::ApacheKafka {
        return Ok(BTreeSet::new());
    }
    let path = sources().join(format!("suites/{suite}.txt"));
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let tests = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(tests.map(str::to_owned).collect())
}
