//! Appending to a log, and rolling its segments.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::files::Kind;
use super::partition_log::{Log, LogPosition, State, Writer};
use super::producers::{Check, EpochRule};
use super::scan::{Headers, ScanError};
use super::segment::{Growth, RollRule, Segment};
use super::verification::{Beginning, Guard};
use super::{AppendError, LogConfig, snapshot};
use crate::env::{OpenMode, Residency, Rng, is_no_space};
use crate::model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, UnixMillis};
use crate::record::{BatchHeader, EndMarker, TimestampType, ValidBatch};

/// How much of the end of a log is searched for the batches that a producer snapshot leaves out: five batches of the
/// largest usual size, and other producers' in between.
const TAIL_BYTES: u32 = 16 * 1024 * 1024;

/// A batch to append.
#[derive(Debug)]
pub struct Append {
    /// The batch.
    pub batch: ValidBatch,
    /// Epoch of the leader that appends it.
    pub leader_epoch: LeaderEpoch,
    /// Who made it.
    pub origin: Origin,
    /// The present.
    pub now: UnixMillis,
}

/// Who made a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client: gets its offsets here, and its producer is checked.
    Client,
    /// A client that writes in a transaction: as a client's, and if the batch begins the transaction, it has to be
    /// [verified](Log::begin_verification).
    Transaction(Option<Guard>),
    /// A coordinator of this broker: gets its offsets here, and its epochs are checked. Alone may write control batches.
    Coordinator,
    /// The leader of the partition: is appended as it is.
    Replication,
}

/// The end of a producer's transaction in one partition, as a transaction coordinator decides it (WriteTxnMarkers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionEnd {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch, perhaps one that begins with this marker.
    pub producer_epoch: ProducerEpoch,
    /// How the transaction ended, and in which epoch its coordinator says so.
    pub marker: EndMarker,
    /// The level of the feature `transaction.version` that the transaction runs under. From 2 on every marker raises the
    /// producer's epoch (KIP-890).
    pub transaction_version: i16,
}

/// A batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Bytes of the batch.
    pub size_bytes: u32,
    /// Epoch of the leader that answers for it: of a batch that was there, it is the present one too.
    pub leader_epoch: LeaderEpoch,
    /// The time that was put into the records, if the log does so; of a batch that was there, its timestamp in any case.
    pub log_append_time: Option<UnixMillis>,
    /// First offset that can be read.
    pub log_start: Offset,
    /// Whether it was written now.
    pub at: AppendedAt,
    /// Whether a segment was finished for it, which is to be made durable soon; or the first one is so full that its name is.
    pub rolled: bool,
    /// Whether it is not to be acknowledged or shown before a flush ([`Log::settled_end`]).
    pub unsettled: bool,
}

/// Whether a batch was written now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendedAt {
    /// Now; the log ends here since.
    End(LogPosition),
    /// The producer had sent it before, and it stands at its first place.
    Before,
}

impl Log {
    /// Appends a batch. Blocks while another append is under way, and for as long as the page cache takes the bytes.
    ///
    /// # Errors
    /// As [`AppendError`] says; the log is then as it was before.
    pub fn append(&self, append: &Append) -> Result<Appended, AppendError> {
        self.append_by(append, EpochRule::NotOlder)
    }

    /// Appends the marker that ends a transaction, also if there is none: the coordinator may have to send it again.
    /// Blocks as [`append`](Self::append).
    ///
    /// # Errors
    /// As [`AppendError`] says; the log is then as it was before.
    pub fn append_end(
        &self,
        end: &TransactionEnd,
        leader_epoch: LeaderEpoch,
        now: UnixMillis,
    ) -> Result<Appended, AppendError> {
        let batch = end.marker.batch(end.producer_id, end.producer_epoch, now);
        let rule =
            if end.transaction_version >= 2 { EpochRule::Newer } else { EpochRule::NotOlder };
        self.append_by(&Append { batch, leader_epoch, origin: Origin::Coordinator, now }, rule)
    }

    /// Begins to verify that a producer may begin a transaction here; `None` if it has begun it.
    #[must_use]
    pub fn begin_verification(&self, batch: &Beginning, now: UnixMillis) -> Option<Guard> {
        let mut writer = self.writer.lock();
        let is_open = writer.producers.has_open(batch.producer, batch.epoch);
        (!is_open).then(|| writer.verifications.begin(batch, now))
    }

    /// Whether a batch without sequence of a coordinator's own may be appended to a producer's transaction. The answer
    /// holds as long as nobody else appends.
    ///
    /// # Errors
    /// [`AppendError::FencedProducer`], [`AppendError::NotVerified`].
    pub fn check_in_transaction(
        &self,
        batch: &BatchHeader,
        guard: Option<Guard>,
    ) -> Result<(), AppendError> {
        let writer = self.writer.lock();
        writer.producers.check_own(batch, None, EpochRule::NotOlder)?;
        writer.check_verified(batch, guard)
    }

    fn append_by(&self, append: &Append, rule: EpochRule) -> Result<Appended, AppendError> {
        let marker = marker_of(append)?;
        let appended = self.append_under(&mut self.writer.lock(), append, marker, rule)?;
        match appended {
            Some(appended) => Ok(appended),
            None => {
                let locked = self.lock_to_roll();
                let mut writer = locked.map_err(|source| refused(&self.directory, source))?;
                let appended = self.append_under(&mut writer, append, marker, rule)?;
                Ok(appended.expect("nothing is waited for once the log may be rolled"))
            }
        }
    }

    /// Appends under the writer's lock; does nothing and gives none if a segment is to be begun for it that
    /// [may not be](Self::may_roll) yet.
    fn append_under(
        &self,
        writer: &mut Writer,
        append: &Append,
        marker: Option<EndMarker>,
        rule: EpochRule,
    ) -> Result<Option<Appended>, AppendError> {
        let config = self.config();
        let header = append.batch.header();
        if writer.state != State::Open {
            return Err(AppendError::Closed);
        }
        let (end, log_start) = {
            let published = self.published.read();
            (published.end, published.log_start)
        };
        // What another log has taken was within the limit of its time.
        if append.origin != Origin::Replication && header.size_bytes() > config.segment_bytes {
            return Err(AppendError::LargerThanSegment {
                batch_bytes: header.size_bytes(),
                segment_bytes: config.segment_bytes,
            });
        }
        match append.origin {
            Origin::Client | Origin::Transaction(_) if header.has_producer() => {
                self.learn_tail(writer, end)?;
                if let Check::Duplicate(known) = writer.producers.check(header)? {
                    return Ok(Some(Appended {
                        base_offset: known.first_offset(),
                        last_offset: known.last_offset,
                        size_bytes: header.size_bytes(),
                        leader_epoch: append.leader_epoch,
                        log_append_time: Some(known.timestamp),
                        log_start,
                        at: AppendedAt::Before,
                        rolled: false,
                        unsettled: self.settled_end().offset <= known.last_offset,
                    }));
                }
                if let Origin::Transaction(guard) = append.origin {
                    writer.check_verified(header, guard)?;
                }
            }
            Origin::Coordinator if header.has_producer() => {
                writer.producers.check_own(header, marker, rule)?;
            }
            Origin::Client | Origin::Transaction(_) | Origin::Coordinator | Origin::Replication => {
            }
        }
        let stamped = match append.origin {
            Origin::Replication if header.base_offset < end.offset => {
                return Err(AppendError::NotAtEnd { found: header.base_offset, end: end.offset });
            }
            Origin::Replication => {
                let latest = writer.epochs.latest().unwrap_or(LeaderEpoch::UNKNOWN);
                if header.partition_leader_epoch < latest {
                    let found = header.partition_leader_epoch;
                    return Err(AppendError::EpochFalls { found, latest });
                }
                *header
            }
            Origin::Client | Origin::Transaction(_) | Origin::Coordinator => {
                let append_time =
                    (config.timestamp_type == TimestampType::LogAppendTime).then_some(append.now);
                append.batch.stamped(end.offset, append.leader_epoch, append_time)
            }
        };
        let rolls = self.rolls_for(writer, &config, &stamped, append.now);
        let rolls = rolls.map_err(|source| writer.failed(&self.directory, source))?;
        if rolls && !self.may_roll(writer) {
            return Ok(None);
        }
        let wanted_before = self.wants_first_name(writer);
        let (next, unsettled) =
            self.write(writer, &config, append, (&stamped, marker), (end, rolls))?;
        Ok(Some(Appended {
            base_offset: stamped.base_offset,
            last_offset: stamped.last_offset(),
            size_bytes: stamped.size_bytes(),
            leader_epoch: append.leader_epoch,
            log_append_time: (stamped.timestamp_type() == TimestampType::LogAppendTime)
                .then_some(stamped.max_timestamp),
            log_start,
            at: AppendedAt::End(next),
            rolled: rolls || (self.wants_first_name(writer) && !wanted_before),
            unsettled,
        }))
    }

    /// Writes a batch at the end, with `header` in place of its own, and publishes it; into a new segment if it `rolls`.
    /// `marker` is what it says if it is a control batch. Gives the new end, and whether the batch has to wait for a flush.
    fn write(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        append: &Append,
        (header, marker): (&BatchHeader, Option<EndMarker>),
        (end, rolls): (LogPosition, bool),
    ) -> Result<(LogPosition, bool), AppendError> {
        if rolls {
            // The new segment begins where the last one ended, so that a hole between them shows that records were lost. Only
            // a gap in replicated offsets that the indexes cannot span is left out.
            let spans = header.last_offset().since(end.offset) <= i64::from(i32::MAX);
            let base = if spans { end.offset } else { header.base_offset };
            let rolled = self.roll(writer, config, base, append.now);
            rolled.map_err(|source| writer.failed(&self.directory, source))?;
        }
        writer.epochs.enter(header.partition_leader_epoch, header.base_offset);
        if let Err(source) = writer.epochs.flush() {
            return Err(writer.failed(&self.directory, source));
        }
        let segment = Arc::clone(&writer.growth.segment);
        let position = segment.size();
        let aborted = marker.and_then(|marker| writer.producers.aborted_by(header, marker));
        let head = header.to_bytes();
        let parts: [&[u8]; 2] = [&head, append.batch.payload()];
        let written = segment
            .file()
            .write_at(u64::from(position), &parts)
            .and_then(|()| aborted.map_or(Ok(false), |aborted| segment.transactions.push(aborted)));
        match written {
            Ok(is_new_file) => writer.names_changed += u64::from(is_new_file),
            Err(source) => {
                // Bytes above the end were never handed out, so they can be cut off.
                let cut = segment.file().set_len(u64::from(position));
                return Err(writer.failed(&segment.path(), cut.err().unwrap_or(source)));
            }
        }
        let place = LogPosition { offset: header.base_offset, segment: segment.base(), position };
        writer.growth.wrote(header, position, config.index_interval_bytes);
        writer.producers.note(header, place, marker);
        if marker.is_some() {
            writer.verifications.ended(header.producer_id, header.producer_epoch);
        } else if header.is_transactional() {
            writer.verifications.begun(header.producer_id);
        }
        let next = LogPosition {
            offset: header.next_offset(),
            segment: segment.base(),
            position: position.saturating_add(header.size_bytes()),
        };
        assert!(next.offset > end.offset, "{}: an append must move the end", self.name);
        // In one step: nobody may commit a batch whose transaction holds readers back before that is known.
        let mut published = self.published.write();
        published.end = next;
        published.unstable = writer.producers.unstable();
        let unsettled = published.settled_end(config.unflushed_max).offset < next.offset;
        Ok((next, unsettled))
    }

    /// Whether the last segment is to be ended before a batch is written.
    fn rolls_for(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        header: &BatchHeader,
        now: UnixMillis,
    ) -> io::Result<bool> {
        let rule = RollRule {
            segment_bytes: config.segment_bytes,
            segment_age_max_ms: i64::try_from(config.segment_age_max.as_millis())
                .unwrap_or(i64::MAX),
            index_bytes_max: config.index_bytes_max,
            batch_bytes: header.size_bytes(),
            batch_timestamp: header.max_timestamp,
            batch_last_offset: header.last_offset(),
            now,
        };
        writer.growth.should_roll(&rule).map_err(scan_to_io)
    }

    /// Whether a new segment may be begun now, without waiting for the disk: the last one [has a name](Self::has_first_name) and
    /// is [kept](Self::is_kept).
    pub(super) fn may_roll(&self, writer: &Writer) -> bool {
        self.has_first_name(writer) && self.is_kept(writer)
    }

    /// The name of the only segment has to be durable before there is another one: else a power cut could leave the new one
    /// alone, and nothing would show that records are missing. Of any other, the hole that it leaves shows it.
    pub(super) fn has_first_name(&self, writer: &Writer) -> bool {
        let is_only = self.published.read().segments.len() == 1;
        !is_only || writer.names_synced == writer.names_changed
    }

    /// Whether the name of the first segment is to be made durable soon: before an append has to wait for it.
    pub(super) fn wants_first_name(&self, writer: &Writer) -> bool {
        !self.has_first_name(writer)
            && writer.growth.segment.size() > self.config().segment_bytes / 2
    }

    /// Takes the writer's lock when a log that takes appends may be rolled. What that waits for on the disk is not waited for
    /// under the lock.
    ///
    /// # Errors
    /// As the disk says; the log has failed then, unless only room was missing.
    pub(super) fn lock_to_roll(&self) -> io::Result<MutexGuard<'_, Writer>> {
        loop {
            let writer = self.writer.lock();
            if writer.state != State::Open || self.may_roll(&writer) {
                return Ok(writer);
            }
            let has_name = self.has_first_name(&writer);
            drop(writer);
            // What is appended meanwhile is no part of what is kept, and nothing has to be, before it is flushed too.
            if has_name { self.keep_last()? } else { self.sync_first_name()? }
        }
    }

    /// Ends the last segment and begins a new one at `base`, when that [may be](Self::may_roll).
    pub(super) fn roll(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        base: Offset,
        now: UnixMillis,
    ) -> io::Result<()> {
        writer.growth.finish()?;
        self.take_snapshot(writer, base)?;
        if writer.kept == Some(base) {
            writer.growth.segment.set_durable();
        }
        let segment = Segment::create(&self.disk, &self.directory, base, config.reserved_bytes())?;
        writer.growth = Growth::new(Arc::clone(&segment), now, jitter_ms(config, &self.rng));
        writer.names_changed += 1;
        let mut published = self.published.write();
        let mut segments = published.segments.to_vec();
        segments.push(segment);
        published.segments = segments.into();
        // The end is the beginning of the new segment now; so is a high watermark that stands there.
        let old_end = published.end;
        published.end = LogPosition { offset: old_end.offset, segment: base, position: 0 };
        if published.high_watermark == old_end {
            published.high_watermark = published.end;
        }
        Ok(())
    }

    /// Writes the producers of the log, which ends at `end`, into a snapshot file, unless there is one.
    pub(super) fn take_snapshot(&self, writer: &mut Writer, end: Offset) -> io::Result<()> {
        if writer.snapshot_offset >= end {
            return Ok(());
        }
        let path = Kind::ProducerSnapshot.path(&self.directory, end);
        let file = self.disk.open(&path, OpenMode::Truncate)?;
        file.write_at(0, &[&snapshot::write(&writer.producers)])?;
        writer.snapshot_offset = end;
        writer.names_changed += 1;
        Ok(())
    }

    /// Completes what is known of the producers, if it came from a snapshot.
    fn learn_tail(&self, writer: &mut Writer, end: LogPosition) -> Result<(), AppendError> {
        if writer.tail_known || writer.producers.is_empty() {
            return Ok(());
        }
        let segments = Arc::clone(&self.published.read().segments);
        let mut left = TAIL_BYTES;
        let mut tail = Vec::new();
        for segment in segments.iter().rev() {
            let bound = if segment.base() == end.segment { end.position } else { segment.size() };
            let found = producer_batches(segment, bound.saturating_sub(left), bound);
            let mut found = found.map_err(|error| AppendError::Io {
                path: segment.path(),
                source: scan_to_io(error),
            })?;
            found.append(&mut tail);
            tail = found;
            left = left.saturating_sub(bound);
            if left == 0 {
                break;
            }
        }
        writer.producers.refill(tail.iter());
        writer.tail_known = true;
        Ok(())
    }
}

impl Writer {
    /// What a write to `path` that failed is for whoever appends. Without room nothing was left behind; after any other failure
    /// that is not known: nothing more is appended, and the next start finds out.
    pub(super) fn failed(&mut self, path: &Path, source: io::Error) -> AppendError {
        if !is_no_space(&source) {
            self.state = State::Failed;
        }
        refused(path, source)
    }

    /// A batch that begins a transaction has to be verified.
    fn check_verified(&self, batch: &BatchHeader, guard: Option<Guard>) -> Result<(), AppendError> {
        let (producer, epoch) = (batch.producer_id, batch.producer_epoch);
        if !batch.is_transactional() || self.producers.has_open(producer, epoch) {
            return Ok(());
        }
        self.verifications.check(batch, guard, !self.producers.knows(producer))
    }
}

/// What a disk that refused something at `path` is for whoever appends.
pub(super) fn refused(path: &Path, source: io::Error) -> AppendError {
    let path = path.to_owned();
    if is_no_space(&source) {
        return AppendError::NoSpace { path, source };
    }
    AppendError::Io { path, source }
}

/// What the batch says if it is a control batch. Clients may write none.
fn marker_of(append: &Append) -> Result<Option<EndMarker>, AppendError> {
    let is_clients = matches!(append.origin, Origin::Client | Origin::Transaction(_));
    if is_clients && append.batch.header().is_control() {
        let problem = "clients may not write control batches".to_owned();
        return Err(AppendError::InvalidControl { problem });
    }
    EndMarker::of_batch(&append.batch)
        .map_err(|error| AppendError::InvalidControl { problem: error.to_string() })
}

/// The headers of idempotent producers' batches from about `start` to `end`.
fn producer_batches(
    segment: &Segment,
    start: u32,
    end: u32,
) -> Result<Vec<BatchHeader>, ScanError> {
    let start = segment.offsets.boundary_at_most(start)?;
    let mut headers = Headers::new(&**segment.file(), start, end, Residency::Any);
    let mut batches = Vec::new();
    while let Some(found) = headers.next_waiting()? {
        if found.header.has_producer() {
            batches.push(found.header);
        }
    }
    Ok(batches)
}

/// By how much less than `segment.ms` a new segment may grow old.
pub(super) fn jitter_ms(config: &LogConfig, rng: &Rng) -> i64 {
    let most = config.segment_jitter_max.min(config.segment_age_max).as_millis();
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    if most == 0 { 0 } else { i64::from(rng.below(most)) }
}

fn scan_to_io(error: ScanError) -> io::Error {
    match error {
        ScanError::Io(error) => error,
        ScanError::Damaged { position, problem } => io::Error::new(
            io::ErrorKind::InvalidData,
            format!("damaged at byte {position}: {problem}"),
        ),
    }
}
