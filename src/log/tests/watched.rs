//! What would be found after a crash at any operation on the disk of a log.

use super::*;
use crate::env::{Crash, WatchedDisk};

/// Watches a disk while `work` is done to it; gives what would be found after crashes.
pub(super) fn watched(log: &MemoryDisk, work: impl FnOnce(&WatchedDisk)) -> Vec<Crash> {
    // What is in a file that does not count yet is of no interest.
    let counts = |path: &Path| !path.to_string_lossy().ends_with(".cleaned");
    let watched = WatchedDisk::new(log.clone(), counts);
    work(&watched);
    watched.take_crashes()
}
