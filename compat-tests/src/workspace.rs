//! Where things are: the sources of the client programs, what is built from them, and the broker.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};

/// The folder `compat-tests`.
#[must_use]
pub fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder for what the tests build and install, inside cargo's target folder.
///
/// # Errors
/// When it cannot be made.
pub fn built() -> Result<PathBuf> {
    let folder = target().join("compat");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The broker to test: `OTTLA_BIN`, else the release build, else the debug build.
///
/// # Errors
/// When there is none.
pub fn ottla() -> Result<PathBuf> {
    if let Some(path) = env::var_os("OTTLA_BIN") {
        return Ok(path.into());
    }
    ["release/ottla", "debug/ottla"]
        .map(|path| target().join(path))
        .into_iter()
        .find(|path| path.exists())
        .with_context(|| {
            format!("no ottla in {}: build it with `cargo build --release`", target().display())
        })
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| sources().join("../target"), PathBuf::from)
}
