//! A line that tells people how far a long work is. Programs, and people who look elsewhere, get nothing.

use std::io::Write as _;
use std::time::Duration;

use super::manner::has_spectators;
use crate::env::SteadyClock;
use crate::model::Instant;

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(200);
/// Characters of a bar.
const BAR: u64 = 30;

/// The last line of a terminal on standard error, which goes when this is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    steady: SteadyClock,
    started: Instant,
    next: Instant,
    is_watched: bool,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new(steady: &SteadyClock) -> Self {
        let (steady, started) = (steady.clone(), steady.now());
        let is_watched = has_spectators();
        Self { steady, started, next: started.plus(EVERY), is_watched, is_shown: false }
    }

    /// Shows how far it is, now and then.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        let now = self.steady.now();
        if !self.is_watched || now < self.next {
            return;
        }
        self.next = now.plus(EVERY);
        self.is_shown = true;
        eprint!("\r\x1b[K{}", text());
        // Nobody is harmed by a line that does not come.
        drop(std::io::stderr().flush());
    }

    /// Shows how far records are that are on their way, now and then.
    pub(super) fn show_transfer(&mut self, transfer: &Transfer) {
        let elapsed = self.steady.now().since(self.started);
        self.show(|| transfer.text(elapsed));
    }

    /// Takes the line away, so that something else can be printed.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How far records are that are on their way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// How much is done of what there is to do, in whatever it is counted.
    pub(super) done: u64,
    /// None when nobody knows.
    pub(super) all: Option<u64>,
}

impl Transfer {
    fn text(&self, elapsed: Duration) -> String {
        #[expect(clippy::cast_precision_loss, reason = "for people to read")]
        let megabytes = self.bytes as f64 / 1e6;
        let rate = megabytes / elapsed.as_secs_f64().max(1e-9);
        let moved = format!("{} records, {megabytes:.1} MB, {rate:.1} MB/s", self.records);
        let Some(all) = self.all else { return moved };
        let left = u128::from(all.saturating_sub(self.done));
        let seconds = (elapsed.as_millis() * left).div_ceil(u128::from(self.done.max(1)) * 1000);
        format!("{} {moved}, ETA {}:{:02}", bar(self.done, all), seconds / 60, seconds % 60)
    }
}

/// How much of something is done.
pub(super) fn bar(done: u64, all: u64) -> String {
    let done = done.min(all);
    let share = |of: u64| match all {
        0 => of,
        // What has more than 58 bits to count is shown a little less exactly.
        all if all > u64::MAX / 100 => (done / (all / of).max(1)).min(of),
        all => done * of / all,
    };
    let filled = share(BAR);
    let part = |count: u64, sign: &str| sign.repeat(usize::try_from(count).unwrap_or(0));
    format!("[{}{}] {:3} %", part(filled, "#"), part(BAR - filled, "-"), share(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_says_how_long_it_takes() {
        let mut transfer = Transfer { records: 7, bytes: 30_000_000, done: 2, all: None };
        let text = |transfer: &Transfer| transfer.text(Duration::from_secs(20));
        assert_eq!(text(&transfer), "7 records, 30.0 MB, 1.5 MB/s");
        transfer.all = Some(9);
        let line = format!("{} {}, ETA 1:10", bar(2, 9), "7 records, 30.0 MB, 1.5 MB/s");
        assert_eq!(text(&transfer), line);
        transfer.done = 9;
        assert!(text(&transfer).ends_with("ETA 0:00"));
    }

    #[test]
    fn bars_fill_up() {
        assert_eq!(bar(0, 4), format!("[{}]   0 %", "-".repeat(30)));
        assert_eq!(bar(2, 4), format!("[{}{}]  50 %", "#".repeat(15), "-".repeat(15)));
        for full in [bar(4, 4), bar(9, 4), bar(0, 0), bar(u64::MAX, u64::MAX)] {
            assert_eq!(full, format!("[{}] 100 %", "#".repeat(30)));
        }
    }
}
