//! Which part of a log may be compacted, how much of it is new, and which segments become one.

use std::sync::Arc;
use std::time::Duration;

use super::super::LogConfig;
use super::super::partition_log::{Log, Published};
use super::super::scan::Headers;
use super::super::segment::Segment;
use super::CleanError;
use crate::env::Residency;
use crate::model::{Offset, UnixMillis};

/// What a compaction of a log would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanable {
    /// All below was compacted before.
    pub first_dirty: Offset,
    /// The beginning of the first segment that must not be touched. It is never the last segment of the log that may.
    pub first_uncleanable: Offset,
    /// Bytes of the segments that were compacted before.
    pub clean_bytes: u64,
    /// Bytes of the segments that were not and may be.
    pub dirty_bytes: u64,
    /// Whether a segment waits for longer than `max.compaction.lag.ms`.
    pub is_overdue: bool,
}

impl Cleanable {
    /// Which part of the bytes is new; 0 if there are none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio need not be exact")]
    pub fn dirty_ratio(&self) -> f64 {
        match self.clean_bytes + self.dirty_bytes {
            0 => 0.0,
            total => self.dirty_bytes as f64 / total as f64,
        }
    }

    /// Whether the log is to be compacted now.
    #[must_use]
    pub fn is_due(&self, config: &LogConfig) -> bool {
        self.is_overdue && self.dirty_bytes > 0 || self.dirty_ratio() > config.min_dirty_ratio
    }
}

impl Log {
    /// What there is to compact at `now`, if all below `cleaned_to` was. An offset that is not within the log counts as
    /// its start. Reads batches if there is a maximal lag (`LogCleanerManager.cleanableOffsets`).
    ///
    /// # Errors
    /// [`CleanError::Io`] and [`CleanError::Damaged`]; [`CleanError::Aborted`] of a log that was abandoned.
    pub fn cleanable(
        &self,
        cleaned_to: Option<Offset>,
        now: UnixMillis,
    ) -> Result<Cleanable, CleanError> {
        let config = self.config();
        let published = self.published.read().clone();
        let within = published.log_start..=published.end.offset;
        let first_dirty = cleaned_to.filter(|offset| within.contains(offset));
        let first_dirty = first_dirty.unwrap_or(published.log_start);
        let first_uncleanable = first_uncleanable(&published, &config, first_dirty, now);
        let is_clean = |segment: &&Arc<Segment>| segment.base() < first_dirty;
        let bytes_of = |segment: &Arc<Segment>| u64::from(segment.size());
        let dirty = || dirty_segments(&published, first_dirty, first_uncleanable);
        let is_overdue = match config.compaction_lag_max {
            Some(lag) => first_batch_before(dirty(), now.plus_millis(-millis(lag)))
                .map_err(|error| error.of(self))?,
            None => false,
        };
        Ok(Cleanable {
            first_dirty,
            first_uncleanable,
            clean_bytes: published.segments.iter().filter(is_clean).map(bytes_of).sum(),
            dirty_bytes: dirty().map(bytes_of).sum(),
            is_overdue,
        })
    }
}

/// Where the segment begins that holds the first offset that must not be compacted: the last one of the log, one that
/// may still be undecided or uncommitted, or one that is too young.
fn first_uncleanable(
    published: &Published,
    config: &LogConfig,
    first_dirty: Offset,
    now: UnixMillis,
) -> Offset {
    let last = published.segments.last().map_or(published.end.offset, |last| last.base());
    let stable = published.ends().last_stable;
    let too_young = now.plus_millis(-millis(config.compaction_lag_min));
    let is_too_young = |segment: &&Arc<Segment>| {
        segment.latest().is_some_and(|latest| latest.timestamp > too_young)
    };
    let young = (config.compaction_lag_min > Duration::ZERO)
        .then(|| dirty_segments(published, first_dirty, last).find(is_too_young))
        .flatten();
    let bound = young.map_or(last, |segment| segment.base()).min(last).min(stable);
    let holding = published.segments.iter().rfind(|segment| segment.base() <= bound);
    holding.map_or(bound, |segment| segment.base())
}

/// The segments from the one that holds `from` to the one that ends at `until`.
fn dirty_segments(
    published: &Published,
    from: Offset,
    until: Offset,
) -> impl Iterator<Item = &Arc<Segment>> {
    let segments = &published.segments;
    let first = segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
    segments.iter().skip(first).take_while(move |segment| segment.base() < until)
}

/// Whether the first batch of one of these segments is from before `time`.
fn first_batch_before<'a>(
    segments: impl Iterator<Item = &'a Arc<Segment>>,
    time: UnixMillis,
) -> Result<bool, CleanError> {
    for segment in segments {
        let file = &**segment.file();
        let mut headers = Headers::new(file, 0, segment.size(), Residency::Any).one_by_one();
        let first = headers.next_waiting().map_err(CleanError::scan(segment))?;
        let timestamp = first.map_or(UnixMillis::NONE, |first| first.header.max_timestamp);
        if timestamp.0 > 0 && timestamp < time {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Segments that become one, and where they end.
pub(super) type SegmentGroup = (Vec<Arc<Segment>>, Offset);

/// Splits segments, of which the last one ends at `end`, into groups each of which fits into one segment
/// (`Cleaner.groupSegmentsBySize`).
pub(super) fn groups(
    segments: &[Arc<Segment>],
    end: Offset,
    config: &LogConfig,
) -> Vec<SegmentGroup> {
    let mut groups: Vec<(SegmentGroup, Sizes)> = Vec::new();
    let ends = segments.iter().skip(1).map(|next| next.base()).chain([end]);
    for (segment, end) in segments.iter().zip(ends) {
        let sizes = Sizes::of(segment);
        if let Some(((group, group_end), total)) = groups.last_mut() {
            let base = group.first().unwrap_or(segment).base();
            let spans = segment.size() == 0 || end.since(base) - 1 <= i64::from(i32::MAX);
            if spans && total.plus(sizes).fit(config) {
                group.push(Arc::clone(segment));
                (*group_end, *total) = (end, total.plus(sizes));
                continue;
            }
        }
        groups.push(((vec![Arc::clone(segment)], end), sizes));
    }
    groups.into_iter().map(|(group, _)| group).collect()
}

/// Bytes of segments and their indexes.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    records: u64,
    offsets: u64,
    times: u64,
}

impl Sizes {
    fn of(segment: &Segment) -> Self {
        Self {
            records: u64::from(segment.size()),
            offsets: segment.offsets.count() as u64 * 8,
            times: segment.times.count() as u64 * 12,
        }
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            offsets: self.offsets + other.offsets,
            times: self.times + other.times,
        }
    }

    fn fit(self, config: &LogConfig) -> bool {
        let index_bytes_max = u64::from(config.index_bytes_max);
        self.records <= u64::from(config.segment_bytes)
            && self.offsets <= index_bytes_max
            && self.times <= index_bytes_max
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
