//! Which of many files are open: so many at a time, and of those the ones that were read lately.
//!
//! A clock: files stand in a queue, and whoever opens one more closes the first that was not read since it was last looked at.

use std::collections::VecDeque;
use std::sync::Weak;

use parking_lot::Mutex;

/// A file that can be closed, because whoever reads it next opens it again.
pub(super) trait Closable {
    /// Closes the file, unless it is being read or was read since the last call. Gives whether it needs to be looked at no
    /// more: because it is closed now, or must not be closed.
    fn close_if_unused(&self) -> bool;
}

/// The files that are open, oldest look first. May also name files that are gone.
#[derive(Debug)]
pub(super) struct OpenFiles<F> {
    max: usize,
    queue: Mutex<VecDeque<Weak<F>>>,
}

impl<F: Closable> OpenFiles<F> {
    /// None yet, and never more than `max`, but for those that are being read.
    pub(super) const fn new(max: usize) -> Self {
        Self { max, queue: Mutex::new(VecDeque::new()) }
    }

    /// A file was opened: closes others, if there are too many. Who calls this must hold no lock that
    /// [`Closable::close_if_unused`] waits for.
    pub(super) fn opened(&self, file: Weak<F>) {
        let mut queue = self.queue.lock();
        queue.push_back(file);
        // Each is looked at twice at most: the first look only takes note that it was read.
        let looks = 2 * queue.len();
        for _ in 0..looks {
            if queue.len() <= self.max {
                return;
            }
            let Some(first) = queue.pop_front() else { return };
            if first.upgrade().is_some_and(|file| !file.close_if_unused()) {
                queue.push_back(first);
            }
        }
    }
}

/// Names of the files in `directory` that this process has open, and of those that it has mapped.
#[cfg(test)]
pub(crate) fn open_in(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    use std::fs;
    use std::path::PathBuf;

    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let descriptors = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().filter_map(|line| Some(PathBuf::from(&line[line.find('/')?..])));
    descriptors.chain(mapped).filter(|path| path.starts_with(directory)).collect()
}
