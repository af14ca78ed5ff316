//! The matrix of clients and scenarios in `docs/COMPATIBILITY.md`: which clients are run, and what came of it.
//!
//! `compat-tests/matrix` runs all clients against both brokers. Each trial then adds a line to a file of results, one file a
//! broker, below cargo's target folder; the trial `page::clients_are_those_that_are_run` makes the table of them. The environment tells:
//!
//! | variable | |
//! |---|---|
//! | `OTTLA_COMPAT_MATRIX` | run all clients, and nothing but what the matrix has cells for; keep results |
//! | `OTTLA_COMPAT_CLIENT` | run the client of this name alone |

use std::collections::HashMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use ottla_compat_tests::workspace::built;
use ottla_compat_tests::{ClientKind, ServerKind, Skill};
use serde::{Deserialize, Serialize};

use crate::{groups, scenarios};

/// Rows that are no [`Scenario`](crate::Scenario).
pub(crate) const CLASSIC: &str = "lives_in_a_group_of_the_classic_protocol";
pub(crate) const CONSUMER: &str = "lives_in_a_group_of_the_consumer_protocol";
pub(crate) const SLOW: &str = "is_put_out_of_its_group_when_slow";
pub(crate) const TRANSACTIONS: &str = "has_transactions";
pub(crate) const COUNTS: &str = "counts_words";
pub(crate) const COUNTS_ONCE: &str = "counts_words_exactly_once";

/// A cell of the matrix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) client: String,
    /// In words.
    pub(crate) row: String,
}

impl Cell {
    /// For a scenario by its name, with underscores or in words.
    pub(crate) fn new(kind: ClientKind, row: &str) -> Self {
        Self { client: kind.name().to_owned(), row: words(row) }
    }
}

/// Whether only what the matrix has cells for is run.
pub(crate) fn is_asked_for() -> bool {
    env::var_os("OTTLA_COMPAT_MATRIX").is_some()
}

/// The clients that are run: of those that are asked for, all that are there.
pub(crate) fn chosen() -> impl Iterator<Item = ClientKind> {
    let only = only();
    ClientKind::ALL
        .into_iter()
        .filter(move |kind| match &only {
            Some(name) => kind.name() == name,
            None => is_asked_for() || kind.is_run_daily(),
        })
        // What cannot tell is run, and fails.
        .filter(|kind| kind.is_there().unwrap_or(true))
}

/// The one client that the run is for.
pub(crate) fn only() -> Option<String> {
    env::var("OTTLA_COMPAT_CLIENT").ok()
}

/// Whether a client has a cell in a row.
type Applies = Box<dyn Fn(ClientKind) -> bool>;

/// The rows, in order.
pub(crate) fn rows() -> Vec<(String, Applies)> {
    let mut rows: Vec<(String, Applies)> = Vec::new();
    for scenario in scenarios() {
        let applies = move |kind| scenario.is_for(kind);
        rows.push((words(scenario.name), Box::new(applies)));
    }
    rows.push((words(CLASSIC), Box::new(|kind| groups::is_member(kind, "classic"))));
    rows.push((words(CONSUMER), Box::new(|kind| groups::is_member(kind, "consumer"))));
    rows.push((words(SLOW), Box::new(groups::can_be_slow)));
    rows.push((words(TRANSACTIONS), Box::new(|kind| kind.can(Skill::Transactions))));
    for row in [COUNTS, COUNTS_ONCE] {
        rows.push((words(row), Box::new(|kind| kind.can(Skill::Streams))));
    }
    rows
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// A line of a file of results.
#[derive(Serialize, Deserialize)]
struct Told {
    #[serde(flatten)]
    cell: Cell,
    passed: bool,
}

/// Runs a test and, for the matrix, keeps whether it passed, also when it panics.
pub(crate) fn told(cell: Cell, test: impl FnOnce() -> Result<()>) -> Result<()> {
    if !is_asked_for() {
        return test();
    }
    let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
    let line = serde_json::to_string(&Told { cell, passed: matches!(passed, Ok(Ok(()))) })?;
    let file = results_of(ServerKind::from_environment()?)?;
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    // One write, so that lines of trials that run side by side stay whole.
    file.write_all(format!("{line}\n").as_bytes())?;
    passed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn results_of(kind: ServerKind) -> Result<PathBuf> {
    let name = match kind {
        ServerKind::Ottla => "ottla",
        ServerKind::ApacheKafka => "kafka",
    };
    let folder = built()?.join("results");
    fs::create_dir_all(&folder)?;
    Ok(folder.join(format!("{name}.jsonl")))
}

/// What came of each cell that was run: Ottla's result, then Apache Kafka's.
pub(crate) fn results() -> Result<HashMap<(String, String), String>> {
    let ottla = passed(ServerKind::Ottla)?;
    let kafka = passed(ServerKind::ApacheKafka)?;
    let mark = |passed: Option<&bool>| match passed {
        Some(true) => "✓",
        Some(false) => "✗",
        None => "–",
    };
    let cells = ottla.keys().chain(kafka.keys());
    Ok(cells
        .map(|cell| (cell.clone(), format!("{} {}", mark(ottla.get(cell)), mark(kafka.get(cell)))))
        .collect())
}

/// A cell with several trials has passed if all of them have.
fn passed(kind: ServerKind) -> Result<HashMap<(String, String), bool>> {
    let path = results_of(kind)?;
    let mut cells = HashMap::new();
    let lines = match fs::read_to_string(&path) {
        Ok(lines) => lines,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context(path.display().to_string()),
    };
    for line in lines.lines() {
        let told: Told = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let cell = cells.entry((told.cell.client, told.cell.row)).or_insert(true);
        *cell &= told.passed;
    }
    Ok(cells)
}
