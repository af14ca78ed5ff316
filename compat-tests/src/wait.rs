//! Waiting for a state, by looking at it again and again until a deadline.

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long anything may take before a test calls it hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `probe` until it gives something, at most [`PATIENCE`].
///
/// # Errors
/// What `probe` fails with, and at the deadline that `what` did not come about.
pub fn wait_until<T>(what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().with_context(|| format!("while waiting until {what}"))? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {PATIENCE:?} in vain until {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A command that is ended at a deadline by `timeout`, for programs whose end is waited for.
#[must_use]
pub fn bounded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    // Cargo's, which would give kcat the librdkafka that is built for crate rdkafka.
    command
        .env_remove("LD_LIBRARY_PATH")
        .arg("--kill-after=5")
        .arg((2 * PATIENCE.as_secs()).to_string())
        .arg(program);
    command
}
