//! The pages of `docs/how-to-*.md` work as they stand.
//!
//! Of each page the files are written into a new folder (a block whose first line names a file behind its language), and the blocks marked
//! `sh` are run there one after the other by one shell, which ends at the first failure, in a network of its own. What it has started
//! ends with it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::ServerKind;
use ottla_compat_tests::java::output;
use ottla_compat_tests::workspace::{built, ottla, sources};

use crate::suites::alone;

/// Pages that must be there.
const PAGES: usize = 6;

pub(crate) fn pages(_: ServerKind) -> Result<()> {
    let mut count = 0;
    for entry in fs::read_dir(sources().join("../docs"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("how-to-") {
            run(&path).with_context(|| name.to_owned())?;
            count += 1;
        }
    }
    ensure!(count >= PAGES, "only {count} pages");
    Ok(())
}

fn run(page: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut script = String::new();
    for (language, file, text) in blocks(&fs::read_to_string(page)?) {
        if let Some(file) = file {
            fs::write(folder.path().join(file), text)?;
        } else if language == "sh" {
            script.push_str(&text);
        }
    }
    let programs = folder.path().join("bin");
    fs::create_dir(&programs)?;
    std::os::unix::fs::symlink(fs::canonicalize(ottla()?)?, programs.join("ottla"))?;
    let python = built()?.join("python/bin");
    let path = [programs, python].map(|path: PathBuf| path.display().to_string()).join(":");
    let path = format!("{path}:{}", std::env::var("PATH").unwrap_or_default());
    let mut shell = alone("bash");
    shell.args(["-euo", "pipefail", "-c", &script]).env("PATH", path).current_dir(folder.path());
    output(&mut shell)?;
    Ok(())
}

/// Fenced blocks: the language, the name of the file if there is one, and the text.
fn blocks(page: &str) -> Vec<(String, Option<String>, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let (language, file) = info.split_once(' ').map_or((info, None), |(a, b)| (a, Some(b)));
        let text = lines.by_ref().take_while(|line| *line != "```");
        let text = text.map(|line| format!("{line}\n")).collect();
        blocks.push((language.to_owned(), file.map(str::to_owned), text));
    }
    blocks
}
