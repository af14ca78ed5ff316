//! Removing the oldest segments, by size and age (`UnifiedLog.deleteOldSegments` of Kafka).
//!
//! **Invariants:** only whole segments go, from the oldest on; what is above the high watermark stays, and so does the last
//! segment while it is empty.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::LogConfig;
use super::durability::Removed;
use super::partition_log::{Log, Published, State};
use super::segment::Segment;
use crate::model::{Offset, UnixMillis};

impl Log {
    /// Removes the segments that are no longer to be kept at `now`; the log then begins with the first one that is left. If
    /// none is left, it goes on in a new one. Gives the segments that were removed. Does nothing to a log that
    /// takes no more appends.
    ///
    /// # Errors
    /// As the disk says.
    pub fn delete_old_segments(&self, now: UnixMillis) -> io::Result<Removed> {
        let config = self.config();
        let mut writer = self.writer.lock();
        let (start, rolls) = loop {
            if writer.state != State::Open {
                return Ok(Removed::default());
            }
            let Some((start, rolls)) = self.expired(&config, now) else {
                return Ok(Removed::default());
            };
            if !rolls || self.may_roll(&writer) {
                break (start, rolls);
            }
            drop(writer);
            writer = self.lock_to_roll()?;
        };
        let rolled = if rolls { self.roll(&mut writer, &config, start, now) } else { Ok(()) };
        let removed = rolled.and_then(|()| self.begin_at(&mut writer, start));
        if removed.is_err() {
            writer.state = State::Failed;
        }
        drop(writer);
        self.keep_rest(removed?)
    }

    /// Where the log is to begin, if some segments are no longer to be kept, and whether those are all that there are.
    fn expired(&self, config: &LogConfig, now: UnixMillis) -> Option<(Offset, bool)> {
        let published = self.published.read().clone();
        let mut oldest = Oldest { published: &published, count: 0 };
        if config.deletes {
            if let Some(kept_bytes) = config.retention_bytes {
                let mut excess = oldest.rest_bytes().saturating_sub(kept_bytes);
                oldest.pass(|segment| {
                    let size = u64::from(segment.size());
                    let goes = size <= excess;
                    excess = excess.saturating_sub(size);
                    goes
                });
            }
            if let Some(age_max) = config.retention_age_max {
                oldest.pass(|segment| is_older(segment, now, age_max));
            }
        }
        (oldest.count > 0).then(|| (oldest.rest_base(), oldest.rest().is_empty()))
    }
}

/// Whether the newest record of a segment is older than `age_max`. One without timestamps is of no age.
fn is_older(segment: &Segment, now: UnixMillis, age_max: Duration) -> bool {
    let age_max_ms = i64::try_from(age_max.as_millis()).unwrap_or(i64::MAX);
    segment.latest().is_some_and(|latest| now.millis_since(latest.timestamp) > age_max_ms)
}

/// The segments that are to go: the first `count`.
struct Oldest<'a> {
    published: &'a Published,
    count: usize,
}

impl<'a> Oldest<'a> {
    fn rest(&self) -> &'a [Arc<Segment>] {
        self.published.segments.get(self.count..).unwrap_or_default()
    }

    fn rest_bytes(&self) -> u64 {
        self.rest().iter().map(|segment| u64::from(segment.size())).sum()
    }

    /// Where what is left begins.
    fn rest_base(&self) -> Offset {
        self.rest().first().map_or(self.published.end.offset, |first| first.base())
    }

    /// Takes one segment after the other while `goes` says so.
    fn pass(&mut self, mut goes: impl FnMut(&Segment) -> bool) {
        while let [segment, rest @ ..] = self.rest() {
            let next = rest.first().map(|next| next.base());
            let is_empty_and_last = next.is_none() && segment.size() == 0;
            let end = next.unwrap_or(self.published.end.offset);
            let is_committed = end <= self.published.high_watermark.offset;
            if is_empty_and_last || !is_committed || !goes(segment) {
                return;
            }
            self.count += 1;
        }
    }
}
