//! What became of an input: targets say it on the side, so that they are plain functions of an input.
//!
//! The runner counts verdicts, so that one sees that good paths are reached, and keeps inputs whose kind is new.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher as _};

/// Whether the input was taken for good, and in which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// Whether it was taken.
    pub accepted: bool,
    /// Equal for inputs that were taken, or refused, in the same way.
    pub kind: u64,
}

thread_local! {
    static LAST: Cell<Option<Verdict>> = const { Cell::new(None) };
}

/// The input of this thread was taken; `kind` says in which way.
pub fn accepted(kind: impl Hash) {
    set(true, kind);
}

/// The input of this thread was refused; `kind` says for what reason.
pub fn refused(kind: impl Hash) {
    set(false, kind);
}

/// The last verdict of this thread, if there was one since the last call.
#[must_use]
pub fn take() -> Option<Verdict> {
    LAST.take()
}

fn set(accepted: bool, kind: impl Hash) {
    let mut hasher = DefaultHasher::new();
    (accepted, kind).hash(&mut hasher);
    LAST.set(Some(Verdict { accepted, kind: hasher.finish() }));
}
