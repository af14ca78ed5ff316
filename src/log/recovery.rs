//! Opening a log: from a clean stop without looking at the records, or from an unclean one by looking at all that may be
//! torn.
//!
//! What an unclean stop can damage is what was not synced: the batches from the recovery point on. The first bad batch
//! there is the tear, and the log is cut off before it. A bad batch below the recovery point is damage of another kind,
//! and an error: it names file and position, and nothing is cut. `docs/FORMAT.md` says the same for each file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::append::jitter_ms;
use super::checkpoint::{read_partition_metadata, write_partition_metadata};
use super::cleaner::finish_swaps;
use super::epochs::Epochs;
use super::files::{DELETED_SUFFIX, Kind, MOVED_TO_PREFIX, PARTITION_METADATA_FILE, partition_dir};
use super::partition_log::{Log, LogPosition, Published, State, Writer};
use super::producers::Producers;
use super::scan::{Found, Headers, ScanError, Step, check_sum, read_marker};
use super::segment::{Growth, Segment};
use super::transaction_index::AbortedTransaction;
use super::verification::Verifications;
use super::{LogConfig, OpenError, snapshot};
use crate::env::{Disk, DiskEntry, OpenMode, Rng};
use crate::model::{
    LeaderEpoch, Offset, PartitionId, TopicId, TopicName, TopicPartition, UnixMillis,
};

/// What is known of a log before it is opened.
#[derive(Clone, Debug)]
pub struct LogStart {
    /// The topic's name.
    pub topic: TopicName,
    /// The topic's id: a directory of another topic is refused.
    pub topic_id: TopicId,
    /// The partition's index.
    pub partition: PartitionId,
    /// How the log is to behave.
    pub config: LogConfig,
    /// Whether the last stop was clean.
    pub clean: bool,
    /// Everything below was made durable before the last stop.
    pub recovery_point: Offset,
    /// First offset that may be read, as far as that is known.
    pub log_start: Offset,
    /// End of what is committed, as far as that is known; none if all of it is: there is no other replica.
    pub high_watermark: Option<Offset>,
    /// The present.
    pub now: UnixMillis,
}

/// A log that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The log.
    pub log: Log,
    /// Bytes that were scanned because the stop was unclean.
    pub scanned_bytes: u64,
    /// Bytes that were cut off at the end.
    pub cut_bytes: u64,
}

/// How far the openings of any number of logs have come, for whoever wants to know meanwhile.
#[derive(Debug, Default)]
pub struct RecoveryProgress {
    scanned_bytes: AtomicU64,
}

impl RecoveryProgress {
    /// Bytes that were scanned because the stop was unclean.
    #[must_use]
    pub fn scanned_bytes(&self) -> u64 {
        self.scanned_bytes.load(Ordering::Relaxed)
    }
}

impl Opened {
    /// Opens the log of a partition in the data directory `root`; creates it if it is not there.
    ///
    /// # Errors
    /// As [`OpenError`] says; the files are then as they were, but for a torn end that may be cut off already.
    pub fn open(
        disk: &Arc<dyn Disk>,
        root: &Path,
        start: LogStart,
        rng: &Rng,
    ) -> Result<Self, OpenError> {
        Self::open_telling(disk, root, start, rng, &RecoveryProgress::default())
    }

    /// As [`open`](Self::open), telling how far it has come.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_telling(
        disk: &Arc<dyn Disk>,
        root: &Path,
        start: LogStart,
        rng: &Rng,
        progress: &RecoveryProgress,
    ) -> Result<Self, OpenError> {
        let directory = root.join(partition_dir(&start.topic, start.partition)).into();
        Opening::new(disk, directory, start, rng, progress)?.run()
    }

    /// Opens the log in a directory that does not have the name of its partition: a copy on its way to another data directory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_copy(
        disk: &Arc<dyn Disk>,
        directory: PathBuf,
        start: LogStart,
        rng: &Rng,
    ) -> Result<Self, OpenError> {
        Opening::new(disk, directory.into(), start, rng, &RecoveryProgress::default())?.run()
    }
}

/// Opens the log of an open one anew, whose files were cut off under it.
pub(super) fn open_again(log: &Log, start: LogStart) -> Result<Log, OpenError> {
    let progress = RecoveryProgress::default();
    let directory = Arc::clone(&log.directory);
    Ok(Opening::again(&log.disk, directory, start, &log.rng, &progress)?.run()?.log)
}

/// A log on its way: not yet repaired, so not yet a [`Log`].
struct Opening<'a> {
    disk: &'a Arc<dyn Disk>,
    directory: Arc<Path>,
    start: LogStart,
    rng: &'a Rng,
    progress: &'a RecoveryProgress,
    /// Base offsets of the segments on disk.
    bases: Vec<Offset>,
    /// Offsets of the producer snapshots on disk.
    snapshots: Vec<Offset>,
    /// Base offsets of the transaction indexes on disk.
    transactions: Vec<Offset>,
    epochs: Epochs,
    /// Base offsets of the segments that may have been torn: their transaction indexes may lack an entry.
    torn: Vec<Offset>,
    scanned_bytes: u64,
    cut_bytes: u64,
}

/// What the last batch of a segment says.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// The offset that follows; the base offset of a segment without batches.
    end: Offset,
    epoch: LeaderEpoch,
}

impl<'a> Opening<'a> {
    fn new(
        disk: &'a Arc<dyn Disk>,
        directory: Arc<Path>,
        start: LogStart,
        rng: &'a Rng,
        progress: &'a RecoveryProgress,
    ) -> Result<Self, OpenError> {
        let mut entries = list_or_create(&**disk, &directory).map_err(OpenError::io(&directory))?;
        check_topic(&**disk, &directory, &start)?;
        if finish_swaps(&**disk, &directory, &entries)? {
            entries = disk.list(&directory).map_err(OpenError::io(&directory))?;
        }
        for entry in &entries {
            let path = directory.join(&entry.name);
            if entry.name.ends_with(DELETED_SUFFIX) || entry.name.ends_with(".tmp") {
                disk.remove_file(&path).map_err(OpenError::io(&path))?;
            }
            // What is opened is where the partition is, so a move that was about to end has not.
            if entry.name.starts_with(MOVED_TO_PREFIX) {
                disk.remove_file(&path).map_err(OpenError::io(&path))?;
                disk.sync_dir(&directory).map_err(OpenError::io(&directory))?;
            }
        }
        Self::of_entries(disk, directory, (start, entries), rng, progress)
    }

    /// What is in the directory of a log that is open: nothing is left over in it from an earlier run.
    fn again(
        disk: &'a Arc<dyn Disk>,
        directory: Arc<Path>,
        start: LogStart,
        rng: &'a Rng,
        progress: &'a RecoveryProgress,
    ) -> Result<Self, OpenError> {
        let entries = disk.list(&directory).map_err(OpenError::io(&directory))?;
        Self::of_entries(disk, directory, (start, entries), rng, progress)
    }

    fn of_entries(
        disk: &'a Arc<dyn Disk>,
        directory: Arc<Path>,
        (start, entries): (LogStart, Vec<DiskEntry>),
        rng: &'a Rng,
        progress: &'a RecoveryProgress,
    ) -> Result<Self, OpenError> {
        let (mut bases, mut snapshots, mut transactions) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            match Kind::parse(&entry.name) {
                Some((Kind::Records, base)) => bases.push(base),
                Some((Kind::ProducerSnapshot, offset)) => snapshots.push(offset),
                Some((Kind::TransactionIndex, base)) => transactions.push(base),
                Some(_) | None => {}
            }
        }
        let (mut epochs, complete) = Epochs::open(Arc::clone(disk), Arc::clone(&directory))
            .map_err(OpenError::io(&directory))?;
        if !complete {
            enter_all_epochs(&**disk, &directory, &bases, &mut epochs)?;
        }
        Ok(Self {
            disk,
            directory,
            start,
            rng,
            progress,
            bases,
            snapshots,
            transactions,
            epochs,
            torn: Vec::new(),
            scanned_bytes: 0,
            cut_bytes: 0,
        })
    }

    fn run(mut self) -> Result<Opened, OpenError> {
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        let mut growth = None;
        self.remove_below_start()?;
        let bases = self.bases.clone();
        for (base, index) in bases.iter().copied().zip(0..) {
            let next = bases.get(index + 1).copied();
            let before = match segments.last() {
                Some(before) if self.may_be_torn(next) => Some(self.last_of(before)?),
                _ => None,
            };
            if self.is_after_hole(base, before) {
                self.drop_segments(bases.get(index..).unwrap_or_default())?;
                break;
            }
            let before_cut = self.cut_bytes;
            let opened = self.open_segment(base, next, before)?;
            segments.push(Arc::clone(&opened.segment));
            growth = Some(opened);
            if self.cut_bytes > before_cut {
                self.drop_segments(bases.get(index + 1..).unwrap_or_default())?;
                break;
            }
        }
        let growth = match growth {
            Some(growth) => growth,
            None => self.begin_at(self.start.log_start, &mut segments)?,
        };
        let end = self.last_of(&growth.segment)?.end;
        // A log that lost records below its start begins anew there.
        let (growth, end) = if end < self.start.log_start {
            tracing::warn!(
                partition = %self.directory.display(), %end, start = %self.start.log_start,
                "the log ends before its start: it begins anew"
            );
            let all: Vec<Offset> = segments.iter().map(|segment| segment.base()).collect();
            segments.clear();
            self.drop_segments(&all)?;
            (self.begin_at(self.start.log_start, &mut segments)?, self.start.log_start)
        } else {
            (growth, end)
        };
        self.finish(segments, growth, end)
    }

    /// Removes the segments that are wholly below the start of the log: they were about to go, and some may have gone. Those
    /// stay that alone can tell of the producers below: the next segment may have begun just when the power failed.
    fn remove_below_start(&mut self) -> Result<(), OpenError> {
        let is_below = |next: &&Offset| **next <= self.start.log_start;
        let mut below = self.bases.iter().skip(1).take_while(is_below).count();
        while let Some(first) = self.bases.get(below).filter(|_| below > 0)
            && !self.has_snapshot(*first)?
        {
            below -= 1;
        }
        if let Some(first) = self.bases.get(below).filter(|_| below > 0) {
            self.keep_snapshot(*first)?;
        }
        for base in self.bases.drain(..below).collect::<Vec<_>>() {
            self.remove_files(base)?;
        }
        Ok(())
    }

    /// Whether there is a snapshot at an offset that can be read.
    fn has_snapshot(&self, offset: Offset) -> Result<bool, OpenError> {
        if !self.snapshots.contains(&offset) {
            return Ok(false);
        }
        let path = Kind::ProducerSnapshot.path(&self.directory, offset);
        let bytes = self.disk.read_small(&path).map_err(OpenError::io(&path))?;
        Ok(bytes.is_some_and(|bytes| snapshot::read(&bytes).is_ok()))
    }

    /// Makes a snapshot durable: of the producers below it, nothing else will tell.
    fn keep_snapshot(&self, offset: Offset) -> Result<(), OpenError> {
        if self.snapshots.contains(&offset) {
            let path = Kind::ProducerSnapshot.path(&self.directory, offset);
            let file = self.disk.open(&path, OpenMode::Write);
            let synced = file.and_then(|file| file.sync_data());
            synced.map_err(OpenError::io(&path))?;
            self.disk.sync_dir(&self.directory).map_err(OpenError::io(&self.directory))?;
        }
        Ok(())
    }

    /// Whether the segment before `next`, the last one if there is none, holds batches that may not have been durable.
    fn may_be_torn(&self, next: Option<Offset>) -> bool {
        !self.start.clean && next.is_none_or(|next| next > self.start.recovery_point)
    }

    /// Whether records are missing before a segment that may be torn: the end of the one before was lost at a batch's
    /// border. (Compaction leaves gaps too, but only below the recovery point.)
    fn is_after_hole(&self, base: Offset, before: Option<Last>) -> bool {
        base > self.start.recovery_point && before.is_some_and(|before| before.end != base)
    }

    /// Opens one segment, the last one if there is no `next`. After an unclean stop, what lies above the recovery point
    /// is checked, also against the batch `before`, and its torn end cut off.
    fn open_segment(
        &mut self,
        base: Offset,
        next: Option<Offset>,
        before: Option<Last>,
    ) -> Result<Growth, OpenError> {
        let may_be_torn = self.may_be_torn(next);
        if !may_be_torn {
            let has_transactions = self.transactions.contains(&base);
            let grows = next.is_none();
            let opened = Segment::open(self.disk, &self.directory, base, grows, has_transactions);
            if let Some(segment) = opened.map_err(OpenError::io(&self.directory))? {
                if next.is_some() {
                    segment.set_durable();
                }
                return Ok(self.growth(segment));
            }
        }
        let segment = Segment::reindex(self.disk, &self.directory, base);
        let segment = segment.map_err(OpenError::io(&self.directory))?;
        let mut growth = self.growth(Arc::clone(&segment));
        if may_be_torn {
            self.torn.push(base);
            // The epochs from here on are those of the batches; before the first segment there are none.
            self.epochs.cut_end(if before.is_some() { base } else { Offset(i64::MIN) });
        }
        let epoch = before.map_or(LeaderEpoch::UNKNOWN, |before| before.epoch);
        self.rebuild(&mut growth, may_be_torn, epoch)?;
        if next.is_some() {
            growth.finish().map_err(|error| OpenError::io(&segment.path())(error))?;
        }
        Ok(growth)
    }

    /// Walks over all batches of a segment to index them; checks the sums too if its end may be torn. `epoch` is that of
    /// the batch before.
    fn rebuild(
        &mut self,
        growth: &mut Growth,
        may_be_torn: bool,
        mut epoch: LeaderEpoch,
    ) -> Result<(), OpenError> {
        let segment = Arc::clone(&growth.segment);
        let size = segment.size();
        segment.set_size(0);
        if may_be_torn {
            // All batches from here on enter their epochs: what the file says of them may be wrong, and hide some.
            self.epochs.cut_end(segment.base());
        }
        let mut expected = segment.base();
        let file = Arc::clone(segment.file());
        let mut headers = Headers::new(&*file, 0, size, crate::env::Residency::Any);
        loop {
            let step = headers.next_waiting().and_then(|found| {
                let Some(found) = found else { return Ok(None) };
                check_order(&found, segment.base(), expected, epoch)?;
                if may_be_torn {
                    check_sum(&*file, &found)?;
                    let bytes = u64::from(found.header.size_bytes());
                    self.scanned_bytes += bytes;
                    self.progress.scanned_bytes.fetch_add(bytes, Ordering::Relaxed);
                }
                Ok(Some(found))
            });
            match step {
                Ok(None) => return Ok(()),
                Ok(Some(found)) => {
                    expected = found.header.next_offset();
                    epoch = found.header.partition_leader_epoch;
                    self.epochs.enter(epoch, found.header.base_offset);
                    growth.wrote(
                        &found.header,
                        found.position,
                        self.start.config.index_interval_bytes,
                    );
                }
                Err(ScanError::Io(source)) => {
                    return Err(OpenError::Io { path: segment.path(), source });
                }
                Err(ScanError::Damaged { position, problem }) => {
                    let path = segment.path();
                    if !may_be_torn || expected < self.start.recovery_point {
                        return Err(OpenError::Damaged {
                            path,
                            position: u64::from(position),
                            problem,
                        });
                    }
                    tracing::warn!(
                        path = %path.display(), position, %problem, cut_bytes = size - position,
                        "cutting off the torn end of the log"
                    );
                    // Durably: else what is cut off here could be back after the next power cut, behind or even among what is
                    // appended until then.
                    let cut = file.set_len(u64::from(position)).and_then(|()| file.sync_data());
                    cut.map_err(OpenError::io(&path))?;
                    self.cut_bytes += u64::from(size - position);
                    return Ok(());
                }
            }
        }
    }

    fn growth(&self, segment: Arc<Segment>) -> Growth {
        Growth::new(segment, self.start.now, jitter_ms(&self.start.config, self.rng))
    }

    /// A first segment for a log that has none.
    fn begin_at(
        &self,
        base: Offset,
        segments: &mut Vec<Arc<Segment>>,
    ) -> Result<Growth, OpenError> {
        let reserved = self.start.config.reserved_bytes();
        let segment = Segment::create(self.disk, &self.directory, base, reserved);
        let segment = segment.map_err(OpenError::io(&self.directory))?;
        segments.push(Arc::clone(&segment));
        Ok(self.growth(segment))
    }

    fn last_of(&self, segment: &Segment) -> Result<Last, OpenError> {
        let last = segment.last_batch().map_err(|error| open_error(&segment.path(), error))?;
        Ok(match last {
            Some(Found { header, .. }) => {
                Last { end: header.next_offset(), epoch: header.partition_leader_epoch }
            }
            None => Last { end: segment.base(), epoch: LeaderEpoch::UNKNOWN },
        })
    }

    /// Removes segments that come after a tear: they were not durable, and what they follow is gone.
    fn drop_segments(&mut self, bases: &[Offset]) -> Result<(), OpenError> {
        for base in bases {
            let path = Kind::Records.path(&self.directory, *base);
            let file = self.disk.open(&path, OpenMode::Read).map_err(OpenError::io(&path))?;
            let bytes = file.len().map_err(OpenError::io(&path))?;
            tracing::warn!(path = %path.display(), bytes, "removing a segment after the torn end of the log");
            self.cut_bytes += bytes;
            self.remove_files(*base)?;
        }
        // They must not come back either.
        if bases.is_empty() {
            return Ok(());
        }
        self.disk.sync_dir(&self.directory).map_err(OpenError::io(&self.directory))
    }

    fn remove_files(&self, base: Offset) -> Result<(), OpenError> {
        for kind in [Kind::OffsetIndex, Kind::TimeIndex, Kind::TransactionIndex, Kind::Records] {
            let path = kind.path(&self.directory, base);
            self.disk.remove_file(&path).map_err(OpenError::io(&path))?;
        }
        Ok(())
    }

    fn finish(
        mut self,
        segments: Vec<Arc<Segment>>,
        growth: Growth,
        end: Offset,
    ) -> Result<Opened, OpenError> {
        // What was in the middle of the log may be its end now.
        for resumed in [growth.segment.offsets.resume(), growth.segment.times.resume()] {
            resumed.map_err(|error| OpenError::io(&growth.segment.path())(error))?;
        }
        let first = segments.first().map_or(end, |segment| segment.base());
        let log_start = self.start.log_start.max(first);
        self.epochs.cut_end(end);
        self.epochs.cut_start(log_start);
        self.epochs.flush().map_err(OpenError::io(&self.directory))?;
        self.drop_stray_snapshots(&segments, end)?;
        let (mut producers, snapshot_offset) = self.load_producers(&segments, first, end)?;
        let position = LogPosition {
            offset: end,
            segment: growth.segment.base(),
            position: growth.segment.size(),
        };
        let high_watermark = match self.start.high_watermark.map(|it| it.clamp(log_start, end)) {
            Some(committed) if committed < end => place_of(&segments, committed)?,
            Some(_) | None => position,
        };
        producers.commit(high_watermark.offset);
        let recovery_point =
            if self.start.clean { end } else { self.start.recovery_point.min(end) };
        let flushed = LogPosition { offset: recovery_point, ..position };
        let published = Published {
            segments: segments.into(),
            log_start,
            high_watermark,
            end: position,
            unstable: producers.unstable(),
            flushed,
            recovery_point,
        };
        let tail_known = producers.is_empty();
        let writer = Writer {
            growth,
            epochs: self.epochs,
            producers,
            verifications: Verifications::default(),
            tail_known,
            snapshot_offset,
            kept: None,
            names_changed: 1,
            names_synced: 0,
            directory_synced: false,
            truncations: 0,
            cut_at: None,
            state: State::Open,
        };
        let name =
            TopicPartition { topic: self.start.topic.to_shared(), partition: self.start.partition };
        let log = Log::assemble(
            (name, self.start.topic_id),
            self.directory,
            Arc::clone(self.disk),
            self.rng.clone(),
            self.start.config,
            writer,
            published,
        );
        Ok(Opened { log, scanned_bytes: self.scanned_bytes, cut_bytes: self.cut_bytes })
    }

    /// Removes producer snapshots that are of no more use: those above the end, from before it was cut off, and those that
    /// earlier stops have left where no segment begins. The newest one stays (`ProducerStateManager.removeStraySnapshots`
    /// of Apache Kafka).
    fn drop_stray_snapshots(
        &mut self,
        segments: &[Arc<Segment>],
        end: Offset,
    ) -> Result<(), OpenError> {
        let newest = self.snapshots.iter().copied().filter(|offset| *offset <= end).max();
        let is_base = |offset: Offset| segments.binary_search_by_key(&offset, |s| s.base()).is_ok();
        let (kept, stray): (Vec<_>, Vec<_>) =
            self.snapshots.iter().copied().partition(|offset| {
                *offset <= end && (Some(*offset) == newest || is_base(*offset))
            });
        for offset in stray {
            let path = Kind::ProducerSnapshot.path(&self.directory, offset);
            self.disk.remove_file(&path).map_err(OpenError::io(&path))?;
        }
        self.snapshots = kept;
        Ok(())
    }

    /// The producers of the log: from the newest snapshot that can be read, and the batches after it, also of those below
    /// the start of the log. Gives the offset of the snapshot too.
    ///
    /// On the way the transaction indexes that cannot be relied on are built anew, and so are the snapshots at the beginning
    /// of their segments. So the snapshot is one from before the first of them.
    fn load_producers(
        &self,
        segments: &[Arc<Segment>],
        first: Offset,
        end: Offset,
    ) -> Result<(Producers, Offset), OpenError> {
        let is_to_build = |segment: &Segment| {
            segment.transactions.is_damaged() || self.torn.contains(&segment.base())
        };
        let to_build = segments.iter().find(|segment| is_to_build(segment));
        let latest = to_build.map_or(end, |segment| segment.base());
        let (mut producers, from) = self.read_snapshot(first, latest)?;
        for (producer, start) in producers.open_transactions() {
            producers.place(producer, place_of(segments, start)?);
        }
        let skipped = segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
        for segment in segments.iter().skip(skipped) {
            let is_to_build = is_to_build(segment);
            if from >= end && !is_to_build {
                continue;
            }
            if is_to_build && segment.base() > from {
                // The one that was made when this segment began is missing or damaged. It will be needed once the batches
                // before are deleted.
                let path = Kind::ProducerSnapshot.path(&self.directory, segment.base());
                let written = self.disk.replace_small(&path, &snapshot::write(&producers));
                written.map_err(OpenError::io(&path))?;
            }
            let aborted = replay(segment, from, &mut producers)
                .map_err(|error| open_error(&segment.path(), error))?;
            if is_to_build {
                let built = segment.transactions.rebuild(&aborted);
                built.map_err(|error| OpenError::io(&segment.path())(error))?;
            }
        }
        let expiration = self.start.config.producer_expiration.as_millis();
        producers.expire(self.start.now, i64::try_from(expiration).unwrap_or(i64::MAX));
        Ok((producers, from))
    }

    /// The newest snapshot that can be read and is not above `latest`, with its offset; nobody at the `first` batch, if there
    /// is none. A snapshot from before that would not know the batches between.
    fn read_snapshot(
        &self,
        first: Offset,
        latest: Offset,
    ) -> Result<(Producers, Offset), OpenError> {
        let may_do = |offset: &Offset| (first..=latest).contains(offset);
        for offset in self.snapshots.iter().rev().copied().filter(may_do) {
            let path = Kind::ProducerSnapshot.path(&self.directory, offset);
            let bytes =
                self.disk.read_small(&path).map_err(OpenError::io(&path))?.unwrap_or_default();
            match snapshot::read(&bytes) {
                Ok(found) => return Ok((found, offset)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "removing a damaged producer snapshot");
                    self.disk.remove_file(&path).map_err(OpenError::io(&path))?;
                }
            }
        }
        Ok((Producers::default(), first))
    }
}

/// What is in a directory, which is made if it is not there.
fn list_or_create(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<DiskEntry>> {
    match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.create_dir_all(directory)?;
            Ok(Vec::new())
        }
        listed => listed,
    }
}

/// Notes the batches of a segment from offset `from` on; gives the transactions that they abort.
fn replay(
    segment: &Segment,
    from: Offset,
    producers: &mut Producers,
) -> Result<Vec<AbortedTransaction>, ScanError> {
    let mut aborted = Vec::new();
    let file = &**segment.file();
    let start = segment.offsets.position_before(segment.base(), from)?;
    let mut headers = Headers::new(file, start, segment.size(), crate::env::Residency::Any);
    while let Some(found) = headers.next_waiting()? {
        let (header, position) = (&found.header, found.position);
        if header.base_offset < from {
            continue;
        }
        let marker = read_marker(file, &found)?;
        aborted.extend(marker.and_then(|marker| producers.aborted_by(header, marker)));
        let offset = header.base_offset;
        producers.note(header, LogPosition { offset, segment: segment.base(), position }, marker);
    }
    Ok(aborted)
}

/// Where the batch at `offset` stands; the beginning of the log if it is gone.
fn place_of(segments: &[Arc<Segment>], offset: Offset) -> Result<LogPosition, OpenError> {
    let after = segments.partition_point(|segment| segment.base() <= offset);
    let Some(segment) = after.checked_sub(1).and_then(|index| segments.get(index)) else {
        let segment = segments.first().map_or(offset, |first| first.base());
        return Ok(LogPosition { offset, segment, position: 0 });
    };
    let found = segment.find(offset, segment.size(), crate::env::Residency::Any);
    let position = match found.map_err(|error| open_error(&segment.path(), error))? {
        Step::Batch(found) => found.position,
        Step::End | Step::NotResident => segment.size(),
    };
    Ok(LogPosition { offset, segment: segment.base(), position })
}

/// Offsets rise from batch to batch, and leader epochs never fall: what breaks this is left over from another time.
pub(super) fn check_order(
    found: &Found,
    base: Offset,
    expected: Offset,
    epoch: LeaderEpoch,
) -> Result<(), ScanError> {
    let header = &found.header;
    let problem = if header.last_offset().since(base) > i64::from(i32::MAX) {
        format!("a batch at offset {} in a segment that begins at {base}", header.base_offset)
    } else if header.last_offset() < header.base_offset {
        format!("a batch from offset {} to {}", header.base_offset, header.last_offset())
    } else if header.base_offset < expected {
        format!("a batch begins at offset {}, expected {expected} or later", header.base_offset)
    } else if header.partition_leader_epoch < epoch {
        format!("leader epoch {} after {epoch}", header.partition_leader_epoch)
    } else {
        return Ok(());
    };
    Err(ScanError::Damaged { position: found.position, problem })
}

/// Sees to it that the directory belongs to the topic. One that says nothing is taken to: those of other topics were set
/// aside at the start, or renamed when their topic was deleted.
fn check_topic(disk: &dyn Disk, directory: &Path, start: &LogStart) -> Result<(), OpenError> {
    let path = directory.join(PARTITION_METADATA_FILE);
    let expected = start.topic_id;
    let found = disk.read_small(&path).map_err(OpenError::io(&path))?;
    match found.as_deref().map(read_partition_metadata) {
        Some(Ok(found)) if found == expected => return Ok(()),
        Some(Ok(found)) => {
            return Err(OpenError::OtherTopic { path: directory.to_owned(), found, expected });
        }
        Some(Err(error)) if start.clean && start.recovery_point > Offset::ZERO => {
            return Err(OpenError::Damaged { path, position: 0, problem: error.to_string() });
        }
        // It was not written whole before an unclean stop, or before power failed after a clean one: that syncs nothing of a
        // log without records.
        Some(Err(_)) | None => {}
    }
    let file = disk.open(&path, OpenMode::Truncate).map_err(OpenError::io(&path))?;
    file.write_at(0, &[&write_partition_metadata(expected)]).map_err(OpenError::io(&path))
}

/// Enters the epochs of all batches: the file that should hold them does not.
fn enter_all_epochs(
    disk: &dyn Disk,
    directory: &Path,
    bases: &[Offset],
    epochs: &mut Epochs,
) -> Result<(), OpenError> {
    for base in bases {
        let path = Kind::Records.path(directory, *base);
        let file = disk.open(&path, OpenMode::Read).map_err(OpenError::io(&path))?;
        let size = u32::try_from(file.len().map_err(OpenError::io(&path))?).unwrap_or(u32::MAX);
        let mut headers = Headers::new(&*file, 0, size, crate::env::Residency::Any);
        loop {
            match headers.next_waiting() {
                Ok(Some(Found { header, .. })) => {
                    // An offset that is too late does not stand once there is another batch of the epoch.
                    if header.base_offset >= *base {
                        epochs.enter(header.partition_leader_epoch, header.base_offset);
                    }
                }
                // Damage is judged when the segment itself is opened.
                Ok(None) | Err(ScanError::Damaged { .. }) => break,
                Err(ScanError::Io(source)) => return Err(OpenError::Io { path, source }),
            }
        }
    }
    Ok(())
}

fn open_error(path: &Path, error: ScanError) -> OpenError {
    let path = path.to_owned();
    match error {
        ScanError::Io(source) => OpenError::Io { path, source },
        ScanError::Damaged { position, problem } => {
            OpenError::Damaged { path, position: u64::from(position), problem }
        }
    }
}
