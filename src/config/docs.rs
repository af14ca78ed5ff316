//! The reference of all keys, printed from the registry: `docs/CONFIG.md`.

use std::fmt::Write as _;

use super::bounds::Bounds;
use super::key::{Key, Literal, OwnDefault, Status};
use super::registry::{Scope, TABLES, Table};

const INTRODUCTION: &str = "\
# Configuration

This page is printed from the registry of keys (`src/config/registry/`); do not edit it. After a change there, run
`UPDATE_DOCS=1 cargo test --lib config::docs`.

Ottla has the configuration keys of Apache Kafka 4.3.1, with Kafka's names, types, defaults and bounds, and some of its
own, which begin with `ottla.`. Values come from four places, each over the one before:

1. the default,
2. the file of `--config`, in the format of `server.properties`,
3. variables: `KAFKA_<KEY>` or `KAFKA_CFG_<KEY>` in upper case with `_` for the dot, `OTTLA_<KEY>` for our own keys,
   and `CLUSTER_ID`,
4. options: `-o key=value`.

On top of these lie what AlterConfigs sets for all brokers and then what it sets for one. A topic or group inherits
what it does not set.

A key is *active* (it acts), *not yet* (it is accepted and will act once its feature exists) or *inert* (it is accepted
and has no meaning here). Keys of the last two kinds and unknown keys are reported at start. \"Changes\" tells whether a
running broker takes a new value: *at start* means that it does not.
";

const OWN_DEFAULTS: &str = "
## Defaults that differ from Kafka's

A *single node* is a broker that has both process roles and no other voter than itself in `controller.quorum.voters`.

| key | Kafka | Ottla | where |
|---|---|---|---|
";

/// The page.
#[must_use]
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str(OWN_DEFAULTS);
    for table in TABLES {
        for key in table.keys {
            let (default, place) = match key.own_default {
                Some(OwnDefault::Always(default)) => (default, "everywhere"),
                Some(OwnDefault::SingleNode(default)) => (default, "on a single node"),
                None => continue,
            };
            line(
                &mut page,
                format_args!(
                    "| `{}` | {} | {} | {place} |",
                    key.name,
                    literal(key.default),
                    literal(default)
                ),
            );
        }
    }
    for table in TABLES {
        section(&mut page, table);
    }
    page
}

fn section(page: &mut String, table: &Table) {
    let heading = match table.scope {
        Scope::Broker => format!("\n## {}", table.title),
        Scope::Topic => format!("\n## {} (keys of a topic)", table.title),
        Scope::Group => format!("\n## {} (keys of a group)", table.title),
    };
    line(page, format_args!("{heading}"));
    for key in table.keys.iter().filter(|key| key.status == Status::Active) {
        active(page, key);
    }
    for (status, title) in [(Status::NotYet, "Not yet"), (Status::Inert, "Inert")] {
        let mut keys = table.keys.iter().filter(|key| key.status == status).peekable();
        if keys.peek().is_none() {
            continue;
        }
        line(page, format_args!("\n### {}: {title}\n", table.title));
        line(
            page,
            format_args!("| key | type | default | bounds | changes |\n|---|---|---|---|---|"),
        );
        for key in keys {
            let (kind, default) = (key.kind.name(), literal(key.default));
            let bounds = bounds(key).unwrap_or_default();
            let changes = key.update.name();
            line(
                page,
                format_args!("| `{}` | {kind} | {default} | {bounds} | {changes} |", key.name),
            );
        }
    }
}

fn active(page: &mut String, key: &Key) {
    line(page, format_args!("\n### `{}`\n", key.name));
    if let Some(documentation) = key.documentation() {
        line(page, format_args!("{documentation}\n"));
    }
    let mut facts = vec![key.kind.name().to_owned()];
    let default = match key.own_default {
        Some(OwnDefault::Always(default)) => default,
        Some(OwnDefault::SingleNode(_)) | None => key.default,
    };
    facts.push(format!("default {}", literal(default)));
    facts.extend(bounds(key));
    let inherits: Vec<String> =
        key.inherits.iter().map(|from| format!("`{}`", from.name)).collect();
    if !inherits.is_empty() {
        facts.push(format!("inherits {}", inherits.join(", ")));
    }
    facts.push(format!("changes {}", key.update.name()));
    line(page, format_args!("{}", facts.join(" · ")));
}

fn literal(literal: Literal) -> String {
    match literal {
        Literal::Null => "none".to_owned(),
        Literal::Text("") => "empty".to_owned(),
        Literal::Boolean(_) | Literal::Integer(_) | Literal::Double(_) | Literal::Text(_) => {
            format!("`{literal}`")
        }
    }
}

fn bounds(key: &Key) -> Option<String> {
    match key.bounds {
        Bounds::Any | Bounds::Items { or_none: true, of: [] } => None,
        Bounds::AtLeast(_)
        | Bounds::Between(..)
        | Bounds::OneOf(_)
        | Bounds::OneOfAnyCase(_)
        | Bounds::NonEmpty
        | Bounds::Items { .. }
        | Bounds::Special { .. } => Some(key.bounds.to_string()),
    }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("a String takes everything");
}

/// Holds a page that is printed from the code against the file of that name in `docs/`; `test` is where that is done. With
/// `UPDATE_DOCS` set the file is written instead.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a developer's switch, and a file of the repository")]
pub(crate) fn assert_current(name: &str, page: &str, test: &str) {
    let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("UPDATE_DOCS").is_ok() {
        std::fs::write(&path, page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/{name} is stale: run `UPDATE_DOCS=1 cargo test --lib {test}`");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_repository_is_current() {
        assert_current("CONFIG.md", &markdown(), "config::docs");
    }

    #[test]
    fn every_key_is_on_the_page() {
        let page = markdown();
        for table in TABLES {
            for key in table.keys {
                assert!(page.contains(&format!("`{}`", key.name)), "{}", key.name);
            }
        }
    }
}
