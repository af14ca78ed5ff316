//! `docs/COMPATIBILITY.md` says what was run: the clients, their versions, what they did; and the APIs of the broker.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::java::output;
use ottla_compat_tests::workspace::sources;
use ottla_compat_tests::{ClientKind, ServerKind, Skill};

const APIS: (&str, &str) =
    ("<!-- begin: APIs, printed from the registry -->\n", "<!-- end: APIs -->");
const CLIENTS: (&str, &str) =
    ("<!-- begin: clients, printed by compat-tests -->\n", "<!-- end: clients -->");

/// The clients on the page are those that are run. With `UPDATE_DOCS` set their lines are written instead.
pub(crate) fn clients(_: ServerKind) -> Result<()> {
    let page = page()?;
    let (before, found, after) = split(&page, CLIENTS)?;
    let expected = matrix()?;
    if env::var_os("UPDATE_DOCS").is_some() {
        let (begin, end) = CLIENTS;
        fs::write(path(), format!("{before}{begin}{expected}{end}{after}"))?;
        return Ok(());
    }
    ensure!(
        found == expected,
        "docs/COMPATIBILITY.md is stale: run `UPDATE_DOCS=1 cargo test -p ottla-compat-tests --test clients page`"
    );
    Ok(())
}

/// The APIs on the page, as `kafka-broker-api-versions` names them: `Fetch(1)` and `4 to 18`.
pub(crate) fn served_apis() -> Result<BTreeMap<String, String>> {
    let page = page()?;
    let (_, lines, _) = split(&page, APIS)?;
    let rows = lines.lines().skip(2).map(|line| {
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
fn matrix() -> Result<String> {
    let mut table = String::from("| |");
    for kind in ClientKind::ALL {
        table.push_str(&format!(" {} {} |", kind.name(), version(kind)?));
    }
    table.push_str(&format!("\n|---|{}\n", "---|".repeat(ClientKind::ALL.len())));
    for (skill, words) in Skill::ALL {
        let cells: String = ClientKind::ALL
            .iter()
            .map(|kind| if kind.can(skill) { " yes |" } else { " |" })
            .collect();
        table.push_str(&format!("| {words} |{cells}\n"));
    }
    Ok(table)
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
            let printed = output(Command::new("kcat").arg("-V"))?;
            let (_, rest) = printed.split_once("Version ").context("kcat tells no version")?;
            Ok(rest.split_whitespace().next().unwrap_or_default().to_owned())
        }
        ClientKind::Librdkafka => Ok(rdkafka::util::get_rdkafka_version().1),
        ClientKind::KafkaPython => after("python/requirements.txt", "kafka-python=="),
        ClientKind::ConfluentKafka => after("python/requirements.txt", "confluent-kafka=="),
        ClientKind::Aiokafka => after("python/requirements.txt", "aiokafka=="),
        ClientKind::KafkaGo => after("go/go.mod", "segmentio/kafka-go v"),
        ClientKind::Sarama => after("go/go.mod", "IBM/sarama v"),
        ClientKind::FranzGo => after("go/go.mod", "franz-go v"),
        ClientKind::Java => after("kafka", "KAFKA_VERSION:-"),
        ClientKind::KafkaJs => after("node/package.json", "\"kafkajs\": \""),
    }
}
