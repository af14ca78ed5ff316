//! Files that a crash leaves behind, or a deletion until it is done: what each is, and what the next start makes of it.
//!
//! Source of what they mean: `cleaner/swap.rs`, `recovery.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use super::verify::{Finding, Severity};
use super::{InspectError, open, wrong};
use crate::env::{Disk, DiskEntry, Residency};
use crate::log::files::{CLEANED_SUFFIX, DELETED_SUFFIX, Kind, MOVED_TO_PREFIX, SWAP_SUFFIX};
use crate::log::scan::{Headers, check_sum};
use crate::model::Offset;

/// Suffix of the replacement of a file, until it has its name.
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The compacted segments of a partition that were about to take the place of others: each from its base to its end.
#[derive(Debug, Default)]
pub(super) struct Swaps(BTreeMap<Offset, Offset>);

impl Swaps {
    /// Looks for them. Of one that is damaged the rest counts as not being there.
    pub(super) fn read(
        disk: &dyn Disk,
        directory: &Path,
        entries: &[DiskEntry],
    ) -> Result<Self, InspectError> {
        let mut swaps = Self::default();
        for entry in entries {
            let name = entry.name.strip_suffix(SWAP_SUFFIX);
            if let Some((Kind::Records, base)) = name.and_then(Kind::parse) {
                let whole = whole_part(disk, &directory.join(&entry.name), base)?;
                swaps.0.insert(base, whole.end);
            }
        }
        Ok(swaps)
    }

    pub(super) fn bases(&self) -> impl Iterator<Item = Offset> + '_ {
        self.0.keys().copied()
    }

    /// Whether a segment is one of those that they replace.
    pub(super) fn have_replaced(&self, base: Offset) -> bool {
        let last = self.0.range(..=base).next_back();
        last.is_some_and(|(from, end)| base == *from || base < *end)
    }
}

/// What is left behind in the directory of a partition, by name.
pub(super) fn of_partition(
    disk: &dyn Disk,
    directory: &Path,
    entries: &[DiskEntry],
    swaps: &Swaps,
) -> Result<Vec<(String, String)>, InspectError> {
    let mut found = Vec::new();
    for DiskEntry { name, .. } in entries {
        let problem = if let Some(name) = name.strip_suffix(SWAP_SUFFIX) {
            match Kind::parse(name) {
                Some((_, base)) if swaps.0.contains_key(&base) => {
                    "of a compacted segment that counts: the next start has it take the place of those that it was made of"
                }
                Some(_) | None => {
                    "of a compacted segment that does not count, for its records are missing: the next start removes it"
                }
            }
        } else if name.ends_with(CLEANED_SUFFIX) {
            "of a segment that compaction was writing: it does not count, and the next start removes it"
        } else if name.ends_with(DELETED_SUFFIX) {
            "of a segment that the log no longer has: it goes after file.delete.delay.ms, or with the next start"
        } else if name.ends_with(TEMPORARY_SUFFIX) {
            "what was to replace a file: it does not count, and the next start removes it"
        } else if name.starts_with(MOVED_TO_PREFIX) {
            "the partition was being moved to another directory: if it is found there, that one counts"
        } else {
            continue;
        };
        let mut problem = problem.to_owned();
        if let Some(torn) = torn(disk, directory, name)? {
            problem.push_str(&torn);
        }
        found.push((name.clone(), problem));
    }
    Ok(found)
}

/// What is left behind at the top of a data directory, but for the files of the metadata log.
pub(super) fn of_directory(path: &Path, entries: &[DiskEntry]) -> Vec<Finding> {
    let is_left = |name: &str| name.ends_with(TEMPORARY_SUFFIX) && !name.starts_with("ottla-raft-");
    let left = entries.iter().filter(|entry| !entry.is_dir && is_left(&entry.name));
    left.map(|entry| Finding {
        severity: Severity::Note,
        path: path.join(&entry.name),
        position: None,
        problem: "what was to replace a file: it does not count, and is replaced itself".to_owned(),
    })
    .collect()
}

/// Of records that do not count, from where on they are not whole.
fn torn(disk: &dyn Disk, directory: &Path, name: &str) -> Result<Option<String>, InspectError> {
    let bare = name.strip_suffix(CLEANED_SUFFIX).or_else(|| name.strip_suffix(DELETED_SUFFIX));
    let Some((Kind::Records, base)) = bare.and_then(Kind::parse) else { return Ok(None) };
    let whole = whole_part(disk, &directory.join(name), base)?;
    Ok(whole.problem.map(|problem| {
        format!("; its batches are whole up to byte {}, where {problem}", whole.bytes)
    }))
}

/// How far the batches of a file are whole.
struct WholePart {
    bytes: u64,
    end: Offset,
    /// What is wrong then.
    problem: Option<String>,
}

fn whole_part(disk: &dyn Disk, path: &Path, base: Offset) -> Result<WholePart, InspectError> {
    let (file, size) = open(disk, path)?;
    let mut headers = Headers::new(&*file, 0, size, Residency::Any);
    let mut whole = WholePart { bytes: 0, end: base, problem: None };
    loop {
        let step = headers.next_waiting().and_then(|found| match found {
            Some(found) => check_sum(&*file, &found).map(|()| Some(found)),
            None => Ok(None),
        });
        match step {
            Ok(Some(found)) => {
                whole.bytes = u64::from(found.position) + u64::from(found.header.size_bytes());
                whole.end = found.header.next_offset();
            }
            Ok(None) => return Ok(whole),
            Err(error) => {
                whole.problem = Some(wrong(path, error)?.problem);
                return Ok(whole);
            }
        }
    }
}
