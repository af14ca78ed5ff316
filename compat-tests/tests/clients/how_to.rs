//! The shell blocks of `README.md` and of the pages of `docs/` work as they stand.
//!
//! Of each page the files are written into a new folder (a block whose first line names a file behind its language), and the blocks marked
//! `sh` are run there one after the other by one shell, which ends at the first failure, in a network of its own. What it has started
//! ends with it. A block marked `shell` is not run; a comment above it says why, and [`NOT_RUN`] has it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use ottla_compat_tests::ServerKind;
use ottla_compat_tests::java::output;
use ottla_compat_tests::workspace::{built, ottla, sources};

use crate::suites::alone;

/// Pages with shell blocks that must be there.
const PAGES: usize = 10;

/// Blocks that no test can run, by page and first line. Each page says why.
const NOT_RUN: [(&str, &str); 16] = [
    // Builds for minutes what was built before.
    ("README.md", "cargo install --path ."),
    // Needs a network; the libraries are here already.
    (
        "README.md",
        "python3 -m venv venv && . venv/bin/activate && pip install kafka-python==3.0.12",
    ),
    // Need a container engine, a cluster of Kubernetes, a broker that is gone for good.
    ("README.md", "docker/build"),
    ("how-to-compose.md", "docker/build"),
    ("how-to-kubernetes.md", "kubectl apply -f ottla.yaml"),
    (
        "how-to-three-machines.md",
        "ottla kafka-cluster unregister --bootstrap-server broker-1:9092 --id 4",
    ),
    // Need more machines than the page has begun with.
    (
        "how-to-three-machines.md",
        "# A controller: it listens at its own address in controller.quorum.voters.",
    ),
    ("how-to-three-machines.md", "ottla cluster quorum add 4 controller-4:9093"),
    // Runs this test.
    ("README.md", "./test"),
    // Take minutes on a machine that does nothing else.
    ("PERFORMANCE.md", "benches/cli -r 5 -m 100"),
    ("PERFORMANCE.md", "cargo bench --bench questions"),
    ("PERFORMANCE.md", "cargo bench --bench speed -- --rounds 2 --megabytes 300"),
    ("PERFORMANCE.md", "cargo bench --bench speed -- cluster --rounds 1"),
    ("PERFORMANCE.md", "cargo bench --bench speed -- groups --rounds 1"),
    ("PERFORMANCE.md", "cargo bench --bench speed -- sustained --minutes 10"),
    ("PERFORMANCE.md", "cargo bench --bench speed -- transactions --rounds 1"),
];

pub(crate) fn pages(_: ServerKind) -> Result<()> {
    let mut pages = vec![sources().join("../README.md")];
    for entry in fs::read_dir(sources().join("../docs"))? {
        pages.push(entry?.path());
    }
    let (mut with_shell, mut not_run) = (Vec::new(), Vec::new());
    for path in pages.into_iter().filter(|path| path.extension().is_some_and(|it| it == "md")) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let blocks = blocks(&fs::read_to_string(&path)?).with_context(|| name.clone())?;
        let left_out = blocks.iter().filter(|block| block.language == "shell");
        not_run.extend(left_out.map(|block| (name.clone(), block.first_line().to_owned())));
        if blocks.iter().any(|block| block.language == "sh") {
            with_shell.push((name, blocks));
        }
    }
    ensure!(with_shell.len() >= PAGES, "only {} pages", with_shell.len());
    let mut known = NOT_RUN.map(|(page, line)| (page.to_owned(), line.to_owned()));
    known.sort();
    not_run.sort();
    ensure!(not_run == known, "not run are {not_run:#?}");
    // Each has its own network, and waits most of the time.
    std::thread::scope(|scope| {
        let running: Vec<_> = with_shell
            .iter()
            .map(|(name, blocks)| (name, scope.spawn(|| run(blocks).with_context(|| name.clone()))))
            .collect();
        for (name, page) in running {
            page.join().unwrap_or_else(|_| bail!("the thread of {name} panicked"))?;
        }
        Ok(())
    })
}

fn run(blocks: &[Block]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut script = String::new();
    for Block { language, file, text } in blocks {
        if let Some(file) = file {
            fs::write(folder.path().join(file), text)?;
        } else if language == "sh" {
            script.push_str(text);
        }
    }
    if blocks.iter().any(|block| block.file.is_some() && block.language == "go") {
        for file in ["go.mod", "go.sum"] {
            fs::copy(sources().join("go").join(file), folder.path().join(file))?;
        }
    }
    if blocks.iter().any(|block| block.file.as_deref() == Some("Cargo.toml")) {
        // The versions that are here already: there is no network.
        fs::copy(sources().join("../Cargo.lock"), folder.path().join("Cargo.lock"))?;
    }
    let programs = folder.path().join("bin");
    fs::create_dir(&programs)?;
    std::os::unix::fs::symlink(fs::canonicalize(ottla()?)?, programs.join("ottla"))?;
    let python = built()?.join("python/bin");
    let path = [programs, python].map(|path: PathBuf| path.display().to_string()).join(":");
    let path = format!("{path}:{}", std::env::var("PATH").unwrap_or_default());
    let mut shell = alone("bash");
    shell.args(["-euo", "pipefail", "-c", &script]).env("PATH", path).current_dir(folder.path());
    // Where Node and Java look for libraries.
    shell.env("NODE_PATH", fs::canonicalize(built()?.join("node/node_modules"))?);
    shell.env("CLASSPATH", class_path()?);
    shell.env("CARGO_NET_OFFLINE", "true");
    shell.env("CARGO_TARGET_DIR", fs::canonicalize(built()?)?.join("pages"));
    output(&mut shell)?;
    Ok(())
}

/// Where the classes of Apache Kafka's client are.
fn class_path() -> Result<String> {
    let mut launcher = std::process::Command::new(sources().join("kafka"));
    Ok(output(launcher.arg("classpath"))?.trim().to_owned())
}

/// A fenced block.
struct Block {
    /// Behind the fence: `sh` if it is run.
    language: String,
    /// The name behind the language, if there is one.
    file: Option<String>,
    text: String,
}

impl Block {
    fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

/// How a comment begins that says why the block below it is not run.
const REASON: &str = "<!-- not run by the tests: ";
/// Names for the shell that would hide a block from this test.
const OTHER_SHELLS: [&str; 6] = ["", "bash", "console", "shell-session", "shellsession", "zsh"];

fn blocks(page: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    let mut before = "";
    while let Some(line) = lines.next() {
        let above = std::mem::replace(&mut before, line);
        let Some(info) = line.strip_prefix("```") else { continue };
        let (language, file) = info.split_once(' ').map_or((info, None), |(a, b)| (a, Some(b)));
        ensure!(!OTHER_SHELLS.contains(&language), "a block is marked '{language}'");
        ensure!(
            (language == "shell") == above.starts_with(REASON),
            "a block has a reason not to be run if it is marked 'shell', and only then: {above}"
        );
        let text = lines.by_ref().take_while(|line| *line != "```");
        let text = text.map(|line| format!("{line}\n")).collect();
        let (language, file) = (language.to_owned(), file.map(str::to_owned));
        blocks.push(Block { language, file, text });
    }
    Ok(blocks)
}
