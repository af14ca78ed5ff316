//! Opening a log whose files were damaged.
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 1 | which log, see [`History`] |
//! | 1 | how it was stopped: cleanly if 0 and it was closed, else not |
//! | 1 | up to which of its batches it was durable: 0 for none |
//! | | damages, see [`damage`] |
//!
//! Opening gives an error that names file and position, or a log. After an unclean stop, of what was not durable the log
//! has all batches before the first damage and, byte for byte, nothing else: unless the damage is one that no checksum
//! covers, or files of another time, which leave batches that were written once, in order of offsets and epochs. What was
//! durable is not looked at, so that its damage may come to light later, but never in a panic. Opening it again gives the
//! same, appending works, and what was appended is there after a clean stop.

mod damage;
mod history;

use std::mem::discriminant;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla::env::{Disk, Residency, Rng};
use ottla::log::{
    Append, AppendedAt, Log, LogStart, OpenError, Opened, Origin, ProducerView, ReadLimit,
};
use ottla::model::{LeaderEpoch, Offset, UnixMillis};
use ottla::record::{BatchHeader, scan, visit_records};

use crate::input::Input;
use crate::verdict;
use damage::{Damaged, damage};
use history::{History, NOW, Written};

const ROOT: &str = "data";
const DIRECTORY: &str = "data/t-0";
const METADATA_FILE: &str = "partition.metadata";
const EPOCHS_FILE: &str = "leader-epoch-checkpoint";

thread_local! {
    static HISTORIES: Vec<History> = History::all();
}

/// Runs one input.
///
/// # Panics
/// If a property does not hold.
pub fn run(data: &[u8]) {
    HISTORIES.with(|histories| {
        let mut input = Input::new(data);
        let history = input.choose(histories);
        let clean = input.byte() == 0 && history.closed;
        let durable = usize::from(input.byte()) % (history.batches.len() + 1);
        let durable_end = durable.checked_sub(1).and_then(|last| history.batches.get(last));
        let recovery_point = durable_end.map_or(Offset::ZERO, |batch| batch.header.next_offset());
        let damaged = damage(history, input);
        let start = history::start(clean, recovery_point, history.log_start);
        Case { history, damaged, start }.check();
    });
}

/// Each log, stopped in each way, whole and with each kind of damage.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for log in 0..5 {
        for (unclean, durable) in [(0, 0), (1, 0), (1, 20)] {
            seeds.push(vec![log, unclean, durable]);
        }
        // The last file is not a record file, which may not be damaged where it is durable.
        seeds.push(vec![log, 1, 0, 0, 0, 0, 9, 3, 1, 0, 5, 30, 0]);
        seeds.push(vec![log, 1, 0, 1, 1, 0, 70, 2, 4, 2, 0, 0]);
    }
    seeds
}

/// Opens the log on `disk`.
fn open(disk: &Arc<dyn Disk>, start: LogStart) -> Result<Opened, OpenError> {
    Opened::open(disk, Path::new(ROOT), start, &Rng::from_seed(1))
}

/// A log with its damage, to be opened.
struct Case<'a> {
    history: &'a History,
    damaged: Damaged,
    start: LogStart,
}

/// What can be seen of an open log.
#[derive(Debug)]
struct Seen {
    log_start: Offset,
    end: Offset,
    /// The batches, up to the first place that cannot be read.
    batches: Vec<(BatchHeader, Bytes)>,
    is_whole: bool,
    producers: Vec<ProducerView>,
    latest_epoch: Option<LeaderEpoch>,
}

impl Case<'_> {
    fn check(&self) {
        let disk = history::disk(&self.damaged.files);
        let opened = match open(&disk, self.start.clone()) {
            Ok(opened) => opened,
            Err(error) => {
                self.assert_rightly_refused(&error);
                let kind = (discriminant(&error), self.start.clean);
                return verdict::refused(kind);
            }
        };
        let cut_bytes = opened.cut_bytes;
        let seen = Seen::of(&opened.log);
        self.assert_is_what_was_written(&opened, &seen);
        if seen.is_whole && self.has_good_indexes() {
            assert_finds_everything(&opened.log, &seen);
        }
        drop(opened);
        let again = open(&disk, self.start.clone()).expect("what was opened once opens again");
        Seen::of(&again.log).assert_is(&seen);
        assert_eq!(again.cut_bytes, 0, "something was left to be cut off");
        self.assert_goes_on(&disk, again.log, &seen);
        let kind = (
            self.start.clean,
            self.damaged.changed.len().min(3),
            cut_bytes.checked_ilog2(),
            seen.batches.len(),
            seen.is_whole,
        );
        verdict::accepted(kind);
    }

    /// Whether no file of this kind is changed.
    fn is_intact(&self, suffix: &str) -> bool {
        !self.damaged.changed.iter().any(|name| name.ends_with(suffix))
    }

    fn assert_rightly_refused(&self, error: &OpenError) {
        match error {
            OpenError::Damaged { path, position, problem } => {
                let name = path.file_name().and_then(|name| name.to_str()).expect("a file name");
                let file = self.damaged.files.get(name).expect("the damaged file is there");
                assert!(*position <= file.len() as u64, "{error}");
                assert!(!problem.is_empty());
            }
            OpenError::OtherTopic { .. } => assert!(!self.is_intact(METADATA_FILE), "{error}"),
            OpenError::Io { .. } => panic!("memory does not fail: {error:?}"),
        }
        if self.is_intact(METADATA_FILE) {
            assert!(!self.is_intact(".log"), "the records are in order: {error}");
            let last = self.expected()[..self.intact()].last();
            // What is behind the last batch of a durable file is damage of that file.
            let is_behind = last.is_some_and(|last| self.has_bytes_behind(last));
            let is_durable = self.damaged.has_stale_files
                || self.start.clean
                || self.intact_end() < self.start.recovery_point
                || self.intact_end() == self.start.recovery_point && is_behind;
            assert!(is_durable, "a torn end is to be cut off: {error}");
        }
    }

    /// The batches that can be there: the first files may have gone without a trace.
    fn expected(&self) -> &[Written] {
        let batches = &self.history.batches;
        let gone = batches.iter().take_while(|batch| !self.damaged.files.contains_key(&batch.file));
        &batches[gone.count()..]
    }

    /// Whether there are no batches at offset 0 any more.
    fn start_is_gone(&self) -> bool {
        self.expected().first().is_none_or(|first| first.header.base_offset > Offset::ZERO)
    }

    /// How the batch looks now.
    fn now(&self, batch: &Written) -> Option<&[u8]> {
        self.damaged.files.get(&batch.file)?.get(batch.position..)?.get(..batch.bytes.len())
    }

    /// How many batches are before the first damage of a record file: a batch that is not as it was, or bytes behind
    /// the last one.
    fn intact(&self) -> usize {
        let mut intact = 0;
        for batch in self.expected() {
            if self.now(batch) != Some(&batch.bytes) {
                return intact;
            }
            intact += 1;
            if self.has_bytes_behind(batch) {
                return intact;
            }
        }
        intact
    }

    /// Whether there is something behind the last batch of a file, which is this one.
    fn has_bytes_behind(&self, batch: &Written) -> bool {
        let end = batch.position + batch.bytes.len();
        let (before, now) = (&self.history.files[&batch.file], &self.damaged.files[&batch.file]);
        end == before.len() && end < now.len()
    }

    /// Where the batches before the first damage end.
    fn intact_end(&self) -> Offset {
        let first = self.expected().first().map_or(Offset::ZERO, |batch| batch.header.base_offset);
        let last = self.expected()[..self.intact()].last();
        last.map_or(first, |batch| batch.header.next_offset())
    }

    /// The offset from which on all batches were looked at.
    fn checked_from(&self) -> Offset {
        if self.start.clean {
            return Offset(i64::MAX);
        }
        let bases = self.bases();
        let nexts = bases.iter().skip(1).copied().chain([Offset(i64::MAX)]);
        let mut segments = bases.iter().zip(nexts);
        let first = segments.find(|(_, next)| *next > self.start.recovery_point);
        first.map_or(Offset::ZERO, |(base, _)| *base)
    }

    /// Whether all batches were looked at.
    fn all_is_checked(&self) -> bool {
        self.bases().first().is_none_or(|first| self.checked_from() <= *first)
    }

    /// Whether no record file that was not looked at is changed.
    fn durable_is_intact(&self) -> bool {
        let is_durable =
            |base: &str| Offset(base.parse().expect("names of ours")) < self.checked_from();
        let mut bases = self.damaged.changed.iter().filter_map(|name| name.strip_suffix(".log"));
        !bases.any(is_durable)
    }

    /// Whether the indexes were made anew, or are as they were and so are the records.
    fn has_good_indexes(&self) -> bool {
        self.all_is_checked() || self.is_intact("index") && self.is_intact(".log")
    }

    /// The offsets that the names of the record files say.
    fn bases(&self) -> Vec<Offset> {
        let digits = self.damaged.files.keys().filter_map(|name| name.strip_suffix(".log"));
        digits.map(|digits| Offset(digits.parse().expect("names of ours"))).collect()
    }

    fn assert_is_what_was_written(&self, opened: &Opened, seen: &Seen) {
        self.assert_was_written_once(seen);
        if self.is_intact(".log") {
            let end = self.history.headers.last().map_or(Offset::ZERO, BatchHeader::next_offset);
            assert_eq!((seen.end, opened.cut_bytes), (end, 0), "the records are in order");
        }
        let (expected, intact) = (self.expected(), self.intact());
        if self.is_intact(".log") && self.is_intact("index") {
            return self.assert_has_exactly(expected, seen);
        }
        if self.damaged.has_stale_files || !self.all_is_checked() {
            return;
        }
        let is_covered = expected.get(intact).and_then(|batch| Some((batch, self.now(batch)?)));
        let is_covered = is_covered.is_none_or(|(batch, now)| {
            now == batch.bytes || now[8..12] != batch.bytes[8..12] || now[16..] != batch.bytes[16..]
        });
        if is_covered {
            self.assert_has_exactly(&expected[..intact], seen);
            // A log that ends before its start begins anew there.
            if self.intact_end() >= self.history.log_start {
                self.assert_knows_producers_and_epochs(&opened.log, seen);
            }
        }
    }

    /// Sees that the log has these batches and no others.
    fn assert_has_exactly(&self, expected: &[Written], seen: &Seen) {
        assert!(seen.is_whole, "the log cannot be read to its end");
        let from_start = |batch: &&Written| batch.header.last_offset() >= seen.log_start;
        let expected: Vec<_> = expected.iter().filter(from_start).collect();
        let (offsets, bytes): (Vec<_>, Vec<_>) =
            expected.iter().map(|batch| (batch.header.base_offset, &batch.bytes)).unzip();
        let found: Vec<_> = seen.batches.iter().map(|(header, _)| header.base_offset).collect();
        assert_eq!(found, offsets, "the batches that are found");
        assert!(seen.batches.iter().map(|(_, bytes)| bytes).eq(bytes), "byte for byte");
    }

    /// Sees that what looks whole was written, and stands in order.
    fn assert_was_written_once(&self, seen: &Seen) {
        let known: Vec<&Written> =
            self.history.batches.iter().chain(&self.history.lost_batches).collect();
        // What damage makes of a durable batch may claim to be a later one.
        let checked_from =
            if self.durable_is_intact() { self.checked_from() } else { Offset(i64::MAX) };
        let mut last: Option<&BatchHeader> = None;
        for (header, bytes) in &seen.batches {
            let is_checked = header.base_offset >= checked_from;
            let fits = header.check_crc(bytes).is_ok();
            assert!(fits || !is_checked, "{header:?} is damaged");
            let is_known = |known: &&&Written| known.bytes[16..] == bytes[16..];
            assert!(
                !fits || known.iter().any(|batch| is_known(&batch)),
                "{header:?} was not written"
            );
            if let Some(last) = last
                && is_checked
            {
                let (epoch, last_epoch) =
                    (header.partition_leader_epoch, last.partition_leader_epoch);
                assert!(header.base_offset > last.last_offset(), "{header:?} after {last:?}");
                assert!(epoch >= last_epoch, "{header:?} after {last:?}");
            }
            last = Some(header);
        }
    }

    fn assert_knows_producers_and_epochs(&self, log: &Log, seen: &Seen) {
        let end = self.intact_end();
        let written = self.history.headers.iter().filter(|header| header.base_offset < end);
        for producer in &seen.producers {
            let mut batches =
                written.clone().filter(|batch| batch.producer_id == producer.producer_id);
            let newest = batches.next_back().expect("a producer has written");
            assert_eq!(producer.last_sequence, newest.last_sequence());
        }
        // The batches of some are gone, so that only a snapshot knows them.
        let all_are_known = self.is_intact(".snapshot") || !self.start_is_gone();
        for header in written.clone().filter(|header| header.has_producer() && all_are_known) {
            assert!(seen.producers.iter().any(|known| known.producer_id == header.producer_id));
        }
        if self.is_intact(EPOCHS_FILE) || !self.damaged.files.contains_key(EPOCHS_FILE) {
            for (header, _) in &seen.batches {
                let epoch = log.epoch_of(header.base_offset.max(seen.log_start));
                assert_eq!(epoch, Some(header.partition_leader_epoch), "at {}", header.base_offset);
            }
        }
    }

    /// Appends to the log, closes it, and sees that all of it is there.
    fn assert_goes_on(&self, disk: &Arc<dyn Disk>, log: Log, seen: &Seen) {
        let leader_epoch = seen.latest_epoch.unwrap_or(LeaderEpoch(0));
        let must_work = seen.is_whole && self.has_good_indexes() && self.is_intact(EPOCHS_FILE);
        let mut appended = Vec::new();
        for number in 2_000..2_012 {
            let batch = history::batch(number);
            let append = Append { batch, leader_epoch, origin: Origin::Coordinator, now: NOW };
            let end = log.ends().end;
            match log.append(&append) {
                Ok(done) => {
                    assert_eq!(done.base_offset, end);
                    let AppendedAt::End(end) = done.at else { unreachable!("not a client's") };
                    assert_eq!(end.offset, log.ends().end);
                    appended.push(append.batch.stamped(done.base_offset, leader_epoch, None));
                }
                Err(error) => {
                    assert!(!must_work, "{error:?}");
                    return;
                }
            }
        }
        if !must_work {
            return;
        }
        let end = log.close().expect("memory can be written");
        drop(log);
        let start = LogStart {
            clean: true,
            recovery_point: end,
            log_start: seen.log_start,
            ..self.start.clone()
        };
        let reopened = open(disk, start).expect("a log that was closed");
        let found = Seen::of(&reopened.log);
        assert!(found.is_whole);
        let (before, after) = found.batches.split_at(found.batches.len().min(seen.batches.len()));
        assert_eq!(before, seen.batches, "what was there before the appends");
        let after: Vec<_> = after.iter().map(|(header, _)| *header).collect();
        assert_eq!(after, appended, "what was appended");
        assert_finds_everything(&reopened.log, &found);
    }
}

impl Seen {
    /// Sees that it is as the log was when it was opened `before`.
    fn assert_is(&self, before: &Self) {
        let all = |seen: &Self| (seen.log_start, seen.end, seen.is_whole, seen.latest_epoch);
        assert_eq!(all(self), all(before), "opened again");
        assert_eq!(self.producers, before.producers, "opened again");
        assert!(self.batches == before.batches, "opened again, the log has other batches");
    }

    fn of(log: &Log) -> Self {
        let ends = log.ends();
        assert!(
            ends.log_start <= ends.high_watermark && ends.high_watermark <= ends.end,
            "{ends:?}"
        );
        let mut seen = Self {
            log_start: ends.log_start,
            end: ends.end,
            batches: Vec::new(),
            is_whole: false,
            producers: log.producers(),
            // Of a log without records the epoch may be forgotten, as by Kafka.
            latest_epoch: log.latest_epoch().filter(|_| ends.log_start < ends.end),
        };
        let mut from = ends.log_start;
        while from < ends.end {
            let read = log.read(from, 300, true, ReadLimit::End, Residency::Any);
            let Ok(Some(read)) = read else { return seen };
            for batch in scan(&read.records) {
                let Ok(batch) = batch else { return seen };
                seen.batches.push((batch.header, read.records.slice_ref(batch.bytes)));
            }
            let next = seen.batches.last().map(|(header, _)| header.next_offset());
            match next.filter(|next| *next > from) {
                Some(next) => from = next,
                None => return seen,
            }
        }
        seen.is_whole = true;
        seen
    }
}

/// Looks for every offset and for some times in a log that can be read as a whole.
fn assert_finds_everything(log: &Log, seen: &Seen) {
    for (header, bytes) in &seen.batches {
        for offset in [header.base_offset.max(seen.log_start), header.last_offset()] {
            let read = log.read(offset, 1, true, ReadLimit::End, Residency::Any);
            let read = read.expect("the log is whole").expect("memory is there");
            assert_eq!(read.records, bytes, "at offset {offset}");
        }
    }
    let mut records: Vec<(Offset, UnixMillis)> = Vec::new();
    for (_, bytes) in &seen.batches {
        let visited = visit_records(bytes, |record| {
            if record.offset >= seen.log_start {
                records.push((record.offset, record.timestamp));
            }
            std::ops::ControlFlow::Continue(())
        });
        visited.expect("records with a good checksum");
    }
    for wanted in [0, 899_990, 900_100, 900_222, 900_333, 920_050, 999_999].map(UnixMillis) {
        let expected = records.iter().find(|(_, timestamp)| *timestamp >= wanted);
        let found = log.find_timestamp(wanted).expect("the log is whole");
        assert_eq!(
            found.map(|found| (found.offset, found.timestamp)),
            expected.copied(),
            "at {wanted:?}"
        );
    }
    log.find_max_timestamp().expect("the log is whole");
}
