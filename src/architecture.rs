//! The structure of this crate, checked: who may import whom, where tasks and clocks may be touched, which folder is the
//! home of which dependency, and that every file says what it owns. `docs/ARCHITECTURE.md` gives the reasons; a new arrow
//! is a visible change of this table.

#![allow(clippy::disallowed_methods, reason = "this test reads the sources themselves")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may import, beside `model`, in the reading order of `lib.rs`.
const IMPORTS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("env", &[]),
    ("telemetry", &[]),
    ("config", &[]),
    ("record", &[]),
    ("log", &["env", "config", "record"]),
    ("wire", &[]),
    ("client", &["env", "record", "wire"]),
    ("cluster", &["config", "wire"]),
    ("replica", &["env", "telemetry", "config", "record", "log", "wire", "client", "cluster"]),
    ("coordinator", &["env", "config", "record", "log", "wire", "client", "cluster", "replica"]),
    ("group", &["env", "config", "wire", "cluster", "coordinator"]),
    (
        "txn",
        &[
            "env",
            "telemetry",
            "config",
            "record",
            "log",
            "wire",
            "cluster",
            "replica",
            "coordinator",
            "group",
        ],
    ),
    ("controller", &["env", "telemetry", "config", "record", "log", "wire", "cluster"]),
    (
        "api",
        &[
            "env",
            "telemetry",
            "config",
            "record",
            "log",
            "wire",
            "cluster",
            "replica",
            "coordinator",
            "group",
            "txn",
            "controller",
        ],
    ),
    ("net", &["env", "config", "wire", "api"]),
    ("admin", &["env", "telemetry", "config", "wire", "cluster", "replica", "controller", "api"]),
    (
        "broker",
        &[
            "env",
            "telemetry",
            "config",
            "record",
            "log",
            "wire",
            "cluster",
            "replica",
            "coordinator",
            "group",
            "txn",
            "controller",
            "api",
            "net",
            "admin",
        ],
    ),
    ("dev", &["env", "admin", "broker"]),
    (
        "cli",
        &[
            "env",
            "config",
            "record",
            "log",
            "wire",
            "client",
            "cluster",
            "replica",
            "coordinator",
            "group",
            "txn",
            "controller",
            "api",
            "net",
            "admin",
            "broker",
            "dev",
        ],
    ),
];

/// Modules that may spawn, wait and use the runtime. All others are pure, but for files named `task.rs`.
const MAY_WAIT: &[&str] = &[
    "env",
    "client",
    "replica",
    "coordinator",
    "controller",
    "api",
    "net",
    "admin",
    "broker",
    "dev",
    "cli",
];

/// The modules, mostly one, that may name a dependency.
const HOMES: &[(&str, &str)] = &[
    ("anyhow", "cli"),
    ("cel", "cli"),
    ("clap", "cli"),
    ("clap_complete", "cli"),
    ("crc_fast", "record"),
    ("flate2", "record"),
    ("hdrhistogram", "cli"),
    ("http_body_util", "admin"),
    ("hyper", "admin"),
    ("hyper_util", "admin"),
    ("jiff", "cli"),
    ("kafka_protocol", "wire"),
    ("libc", "env"),
    ("lz4", "record"),
    ("lz4_flex", "record"),
    ("memmap2", "env"),
    ("openraft", "controller"),
    ("rand", "env"),
    ("regex", "group cli"),
    ("rustix", "env"),
    ("snap", "record"),
    ("socket2", "env"),
    ("toml", "cli"),
    ("tracing_subscriber", "cli"),
    ("unicode_width", "cli"),
    ("zstd", "cli record"),
];

struct Source {
    path: PathBuf,
    module: String,
    text: String,
    /// The text without comments and string literals.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(&root).unwrap().with_extension("");
            let module = inside.iter().next().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = without_comments_and_strings(&text);
            sources.push(Source { path, module, text, code });
        }
    }
    assert!(sources.len() > 40, "the sources were not found");
    sources
}

fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        // Every second piece between quotes is inside a literal; escaped quotes and literals over several lines do no harm
        // to what is looked for here.
        let outside: Vec<&str> = line.split('"').step_by(2).collect();
        code.push_str(&outside.join("\"\""));
        code.push('\n');
    }
    code
}

/// Whether `word` stands in `code` on its own, followed by one of `next`.
fn names(code: &str, word: &str, next: &[char]) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let alone = !code[..at].chars().next_back().is_some_and(is_part);
        alone && code[at + word.len()..].starts_with(next)
    })
}

/// The modules that code imports: `crate::name` and the names in `crate::{…}`.
fn imported(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        let list =
            rest.strip_prefix('{').map_or(rest, |list| list.split('}').next().unwrap_or_default());
        let parts = if rest.starts_with('{') { list.split(',').collect() } else { vec![list] };
        for part in parts {
            let name: String = part
                .trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            found.insert(name);
        }
    }
    found
}

#[test]
fn modules_import_only_what_is_below_them() {
    let modules: BTreeSet<&str> = IMPORTS.iter().map(|(module, _)| *module).collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let Some((_, allowed)) = IMPORTS.iter().find(|(module, _)| *module == source.module) else {
            assert!(
                ["lib", "main", "architecture"].contains(&source.module.as_str()),
                "{} is not in the table",
                source.module
            );
            continue;
        };
        for import in imported(&source.code) {
            let import = import.as_str();
            let known = modules.contains(import) && import != source.module && import != "model";
            if known && !allowed.contains(&import) {
                wrong.push(format!("{} imports {import}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "not in the import table:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_way_back() {
    for (index, (module, imports)) in IMPORTS.iter().enumerate() {
        for import in *imports {
            let below = IMPORTS.iter().position(|(other, _)| other == import);
            assert!(below.is_some_and(|below| below < index), "{module} -> {import} points up");
        }
    }
}

#[test]
fn pure_modules_do_not_wait() {
    let mut wrong = Vec::new();
    for source in sources() {
        let file = source.path.file_name().unwrap().to_str().unwrap();
        let free = MAY_WAIT.contains(&source.module.as_str())
            || file == "task.rs"
            || source.module == "architecture";
        if free && file != "state.rs" {
            continue;
        }
        let waits = ["async fn", ".await"].iter().any(|word| source.code.contains(word));
        if waits || names(&source.code, "tokio", &[':']) {
            wrong.push(source.path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "these are to be pure:\n{}", wrong.join("\n"));
}

#[test]
fn dependencies_stay_at_home() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (dependency, homes) in HOMES {
            let home = homes.split(' ').any(|home| home == source.module);
            if !home && names(&source.code, dependency, &[':']) {
                wrong.push(format!(
                    "{} names {dependency}, whose home is {homes}",
                    source.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_owns() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no module doc:\n{}", silent.join("\n"));
}

#[test]
fn the_checks_see_what_they_look_for() {
    let code = without_comments_and_strings(
        "use crate::{env, log::Log};\nlet a = crate::net::x(); // crate::api\nlet b = \"crate::cli\";\n",
    );
    let found: Vec<_> = imported(&code).into_iter().collect();
    assert_eq!(found, ["env", "log", "net"]);
    assert!(names("use libc::open;", "libc", &[':']) && !names("my_libc::open", "libc", &[':']));
}
