//! What happens to the files of a log: what an unclean stop does, what a failing disk does, and mistakes of people.

use std::collections::BTreeSet;

use super::history::{Files, History};
use crate::damage::change;
use crate::input::Input;

/// Files with damage, and what kind of damage it is.
#[derive(Debug)]
pub(super) struct Damaged {
    pub(super) files: Files,
    /// The files that are not as they were, or gone.
    pub(super) changed: BTreeSet<String>,
    /// Whether files of another time or place stand in for some: what is in them was written once.
    pub(super) has_stale_files: bool,
}

/// Does what the rest of `input` says.
pub(super) fn damage(history: &History, mut input: Input<'_>) -> Damaged {
    let mut files = history.files.clone();
    let mut has_stale_files = false;
    for _ in 0..DAMAGES_MAX {
        if input.is_empty() {
            break;
        }
        has_stale_files |= damage_one(history, &mut files, &mut input);
    }
    let names = history.files.keys().chain(files.keys());
    let is_changed = |name: &&String| history.files.get(*name) != files.get(*name);
    let changed = names.filter(is_changed).cloned().collect();
    Damaged { files, changed, has_stale_files }
}

/// Damages one file; gives whether it is stale now.
fn damage_one(history: &History, files: &mut Files, input: &mut Input<'_>) -> bool {
    let kind = input.byte();
    let names: Vec<String> = files.keys().cloned().collect();
    let Some(name) = names.get(input.below(names.len())) else {
        return false;
    };
    let file = files.get_mut(name).expect("it was listed");
    let at = input.number().checked_rem(file.len()).unwrap_or(0);
    match kind % 9 {
        kind @ 0..=3 => change(file, kind, at, input),
        4 => drop(files.remove(name)),
        5 => change(file, 4, at, input),
        6 => return go_back(input.choose(&history.stale), files, name),
        7 => {
            // A file that was gone comes back.
            let stale = input.choose(&history.stale);
            let names: Vec<&String> = stale.keys().collect();
            let Some(name) = names.get(input.below(names.len())) else {
                return false;
            };
            return go_back(stale, files, name);
        }
        _ => {
            let stale = input.choose(&history.stale);
            let others: Vec<&Vec<u8>> = stale.values().chain(history.files.values()).collect();
            let Some(other) = others.get(input.below(others.len())) else {
                return false;
            };
            file.clone_from(other);
            return true;
        }
    }
    false
}

/// Makes a file what it was at another time; gives whether there was one.
fn go_back(to: &Files, files: &mut Files, name: &str) -> bool {
    match to.get(name) {
        Some(bytes) => {
            files.insert(name.to_owned(), bytes.clone());
            true
        }
        None => {
            files.remove(name);
            false
        }
    }
}

/// How many damages one log takes at most.
const DAMAGES_MAX: usize = 8;
