//! Whether the broker lives, and whether it serves.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::Admin;

/// An answer about health: whether it is well, and a line for each thing that was looked at.
pub(super) struct Health {
    pub(super) well: bool,
    pub(super) text: String,
}

/// Whether the broker can go on. If not, whoever watches it should start it anew.
pub(super) fn live(admin: &Admin) -> Health {
    checked(&[("tasks", !admin.0.env.tasks.has_failed(), "a task has failed; see the log")])
}

/// Whether clients can be served now.
pub(super) fn ready(admin: &Admin) -> Health {
    const WAITS: &str = "waiting for a majority of the controllers";
    let has_state = admin.0.has_state.load(Ordering::Relaxed);
    let (is_in_touch, logs) = match admin.serving() {
        Some(serving) => (serving.services.is_in_touch(), ""),
        None if has_state => (true, "being opened, or the broker is not registered yet"),
        None => (false, "not opened before the controllers say which"),
    };
    checked(&[
        ("tasks", !admin.0.env.tasks.has_failed(), "a task has failed; see the log"),
        ("controller", is_in_touch, WAITS),
        ("logs", admin.serving().is_some(), logs),
        ("listeners", !admin.0.requests.is_cancelled(), "closed: the broker is stopping"),
    ])
}

fn checked(checks: &[(&str, bool, &str)]) -> Health {
    let mut text = String::new();
    for (name, well, reason) in checks {
        let outcome = if *well { "ok" } else { reason };
        writeln!(text, "{name}: {outcome}").expect("a String takes everything");
    }
    Health { well: checks.iter().all(|(_, well, _)| *well), text }
}
