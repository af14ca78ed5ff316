//! `docs/COMPATIBILITY.md` says what was run: the clients, their versions, what they did; and the APIs of the broker.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fs;

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::java::output;
use ottla_compat_tests::wait::bounded;
use ottla_compat_tests::workspace::sources;
use ottla_compat_tests::{ClientKind, ServerKind};

use crate::matrix::{self, Cell};

const APIS: (&str, &str) =
    ("<!-- begin: APIs, printed from the registry -->\n", "<!-- end: APIs -->");
const CLIENTS: (&str, &str) =
    ("<!-- begin: clients, printed by compat-tests -->\n", "<!-- end: clients -->");

/// The clients on the page, their versions and the cells that they can have are those of the tests; what is in the cells is
/// the result of the last whole run (`compat-tests/matrix`), which is written here when `UPDATE_DOCS` is set.
pub(crate) fn clients(_: ServerKind) -> Result<()> {
    let page = page()?;
    let (before, found, after) = split(&page, CLIENTS)?;
    let heads = heads()?;
    let known = parse(found, &heads);
    let updates = env::var_os("UPDATE_DOCS").is_some();
    let results = if updates { matrix::results()? } else { HashMap::new() };
    // What was asked for and could not be run shows nothing that an earlier run had.
    let only = matrix::only();
    let is_kept = |client: &str| !updates || only.as_ref().is_some_and(|name| name != client);
    let expected = matrix(&heads, |cell| {
        let key = (cell.client.clone(), cell.row.clone());
        let kept = || known.get(&key).filter(|_| is_kept(&cell.client));
        results.get(&key).or_else(kept).cloned().unwrap_or_else(|| "–".to_owned())
    })?;
    if updates {
        let (begin, end) = CLIENTS;
        fs::write(path(), format!("{before}{begin}{expected}{end}{after}"))?;
        return Ok(());
    }
    ensure!(
        found == expected,
        "docs/COMPATIBILITY.md is stale: run `compat-tests/matrix`, with `--client NAME` if only one has changed"
    );
    Ok(())
}

/// The cells of a table, by client and row. A client that is not in `heads`, with its version, has none.
fn parse(table: &str, heads: &[String]) -> HashMap<(String, String), String> {
    let lines = table.lines().filter(|line| line.starts_with('|'));
    let mut rows = lines.map(|line| {
        // Without what is before the first stroke and after the last one.
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        cells.get(1..cells.len() - 1).unwrap_or_default().to_vec()
    });
    let Some(head) = rows.next() else { return HashMap::new() };
    let mut cells = HashMap::new();
    for row in rows.skip(1) {
        let Some((name, results)) = row.split_first() else { continue };
        for (head, result) in head.iter().skip(1).zip(results) {
            if !heads.iter().any(|known| known == head) {
                continue;
            }
            let client = head.split(' ').next().unwrap_or_default();
            cells.insert((client.to_owned(), (*name).to_owned()), (*result).to_owned());
        }
    }
    cells
}

/// The APIs of brokers on the page, as `kafka-broker-api-versions` names them: `Fetch(1)` and `4 to 18`.
pub(crate) fn served_apis() -> Result<BTreeMap<String, String>> {
    let page = page()?;
    let (_, lines, _) = split(&page, APIS)?;
    let of_brokers = lines.lines().skip(2).filter(|line| !line.contains(", of controllers |"));
    let rows = of_brokers.map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, key, versions, _, _] = cells.as_slice() else {
            anyhow::bail!("not a row of an API: {line}");
        };
        Ok((format!("{name}({key})"), (*versions).to_owned()))
    });
    rows.collect()
}

fn path() -> std::path::PathBuf {
    sources().join("../docs/COMPATIBILITY.md")
}

fn page() -> Result<String> {
    fs::read_to_string(path()).context("docs/COMPATIBILITY.md")
}

/// What is before, between and after the marks.
fn split<'a>(page: &'a str, (begin, end): (&str, &str)) -> Result<(&'a str, &'a str, &'a str)> {
    let (before, rest) = page.split_once(begin).context("the first mark is missing")?;
    let (between, after) = rest.split_once(end).context("the last mark is missing")?;
    Ok((before, between, after))
}

/// A column for each client, a row for each thing that some of them are asked to do.
fn matrix(heads: &[String], result: impl Fn(&Cell) -> String) -> Result<String> {
    let mut table = format!("| | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for (row, applies) in matrix::rows() {
        table.push_str(&format!("| {row} |"));
        for kind in ClientKind::ALL {
            if applies(kind) {
                table.push_str(&format!(" {} |", result(&Cell::new(kind, &row))));
            } else {
                table.push_str(" |");
            }
        }
        table.push('\n');
    }
    Ok(table)
}

/// The names of all clients with their versions.
fn heads() -> Result<Vec<String>> {
    let head = |kind: ClientKind| Ok(format!("{} {}", kind.name(), version(kind)?));
    ClientKind::ALL.into_iter().map(head).collect()
}

/// The version that is installed, from where it is pinned.
fn version(kind: ClientKind) -> Result<String> {
    let after = |file: &str, mark: &str| -> Result<String> {
        let text = fs::read_to_string(sources().join(file)).with_context(|| file.to_owned())?;
        let (_, rest) = text.split_once(mark).with_context(|| format!("{file} lacks {mark}"))?;
        let version = rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).next();
        Ok(version.unwrap_or_default().to_owned())
    };
    match kind {
        ClientKind::Kcat => {
            let printed = output(bounded("kcat").arg("-V"))?;
            let after = |mark| {
                let (_, rest) = printed.split_once(mark).context("kcat tells no version")?;
                Ok::<_, anyhow::Error>(rest.split_whitespace().next().unwrap_or_default())
            };
            // The oldest librdkafka of all.
            Ok(format!("{} (librdkafka {})", after("Version ")?, after("librdkafka ")?))
        }
        ClientKind::Librdkafka => Ok(rdkafka::util::get_rdkafka_version().1),
        ClientKind::KafkaPython => after("python/requirements.txt", "kafka-python=="),
        ClientKind::ConfluentKafka => after("python/requirements.txt", "confluent-kafka=="),
        ClientKind::Aiokafka => after("python/requirements.txt", "aiokafka=="),
        ClientKind::KafkaGo => after("go/go.mod", "segmentio/kafka-go v"),
        ClientKind::Sarama => after("go/go.mod", "IBM/sarama v"),
        ClientKind::FranzGo => after("go/go.mod", "franz-go v"),
        ClientKind::Java => after("kafka", "KAFKA_VERSION:-"),
        ClientKind::Java21
        | ClientKind::Java28
        | ClientKind::Java39
        | ClientKind::SpringKafka
        | ClientKind::KafkaStreams => {
            let library = kind.java().and_then(|java| java.version());
            Ok(library.context("no version")?.to_owned())
        }
        ClientKind::Platformatic => {
            after("node/platformatic/package.json", "\"@platformatic/kafka\": \"")
        }
        ClientKind::KafkaJs => after("node/package.json", "\"kafkajs\": \""),
        ClientKind::NodeRdkafka | ClientKind::KafkaJavascript => {
            let package = kind.package().context("no package")?;
            after("node/native/package.json", &format!("\"{package}\": \""))
        }
        ClientKind::Rskafka => after("rust/Cargo.toml", "rskafka = \"="),
        ClientKind::Krafka => after("rust/Cargo.toml", "krafka = { version = \"="),
    }
}
