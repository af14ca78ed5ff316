//! The header of a version 2 record batch, as a value.
//!
//! Owns the place and the meaning of every field before the records, and which of them a broker may change. Does not
//! look at the records; the checksum is checked only when asked.
//!
//! | offset | bytes | type | field |
//! | --- | --- | --- | --- |
//! | 0 | 8 | i64 | base offset: offset of the first record |
//! | 8 | 4 | i32 | batch length: bytes after this field |
//! | 12 | 4 | i32 | partition leader epoch |
//! | 16 | 1 | i8 | magic: format version, 2 |
//! | 17 | 4 | u32 | CRC-32C of everything from offset 21 on |
//! | 21 | 2 | i16 | attributes: see [`Attributes`] |
//! | 23 | 4 | i32 | last offset delta: offset of the last record less the base offset |
//! | 27 | 8 | i64 | base timestamp: what timestamp deltas count from; the delete horizon, if the batch has one |
//! | 35 | 8 | i64 | max timestamp: the largest of the records |
//! | 43 | 8 | i64 | producer id, -1 if none |
//! | 51 | 2 | i16 | producer epoch, -1 if none |
//! | 53 | 4 | i32 | base sequence: sequence number of the first record, -1 if none |
//! | 57 | 4 | i32 | record count |
//! | 61 | | | the records, compressed as a whole |
//!
//! All numbers are big-endian. Source: KIP-98, KIP-534 and `DefaultRecordBatch` of Apache Kafka 4.3.1.
//!
//! **Invariant:** [`BatchHeader::parse`] and [`BatchHeader::to_bytes`] are inverse to each other. Base offset and leader
//! epoch may change without a new checksum, nothing else may.

use super::compression::Compression;
use super::crc::{Crc32c, crc32c};
use super::error::BatchError;
use crate::model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, UnixMillis};

/// The header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Bytes after this field; not negative.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch.
    pub partition_leader_epoch: LeaderEpoch,
    /// The stored checksum.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Offset of the last record less the base offset.
    pub last_offset_delta: i32,
    /// What the timestamp deltas of the records count from.
    pub base_timestamp: UnixMillis,
    /// The largest timestamp of the records.
    pub max_timestamp: UnixMillis,
    /// Who wrote the batch, [`ProducerId::NONE`] if it did not say.
    pub producer_id: ProducerId,
    /// Which incarnation of it.
    pub producer_epoch: ProducerEpoch,
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// How many records follow, if the header tells the truth.
    pub record_count: i32,
}

impl BatchHeader {
    /// Size of the header.
    pub const BYTES: usize = 61;
    /// Where the bytes begin that the checksum covers.
    pub const CRC_START: u32 = 21;
    /// Bytes up to and with the length field, which it does not count.
    pub(super) const LENGTH_FIELD_END: u32 = 12;

    /// Reads the header at the start of `bytes`, which may end within the records or go on after them.
    ///
    /// # Errors
    /// [`BatchError::CutOff`] below 61 bytes, [`BatchError::Magic`], [`BatchError::Length`] if the batch says it is
    /// smaller than its header, [`BatchError::UnknownCompression`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // A batch of an older format may be shorter than this header.
        if let Some(magic) = bytes.get(MAGIC_AT).map(|byte| byte.cast_signed())
            && magic != MAGIC
        {
            return Err(BatchError::Magic(magic));
        }
        let cut_off = BatchError::CutOff { needed: Self::BYTES, found: bytes.len() };
        let mut rest = bytes.first_chunk::<{ Self::BYTES }>().ok_or(cut_off)?.as_slice();
        let base_offset = Offset(i64::from_be_bytes(take(&mut rest)));
        let batch_length = i32::from_be_bytes(take(&mut rest));
        let partition_leader_epoch = LeaderEpoch(i32::from_be_bytes(take(&mut rest)));
        let [_magic] = take(&mut rest);
        if batch_length < BATCH_LENGTH_MIN {
            return Err(BatchError::Length(batch_length));
        }
        Ok(Self {
            base_offset,
            batch_length,
            partition_leader_epoch,
            crc: u32::from_be_bytes(take(&mut rest)),
            attributes: Attributes::from_bits(i16::from_be_bytes(take(&mut rest)))?,
            last_offset_delta: i32::from_be_bytes(take(&mut rest)),
            base_timestamp: UnixMillis(i64::from_be_bytes(take(&mut rest))),
            max_timestamp: UnixMillis(i64::from_be_bytes(take(&mut rest))),
            producer_id: ProducerId(i64::from_be_bytes(take(&mut rest))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(take(&mut rest))),
            base_sequence: i32::from_be_bytes(take(&mut rest)),
            record_count: i32::from_be_bytes(take(&mut rest)),
        })
    }

    /// The header as it stands in front of the records.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.partition_leader_epoch.0.to_be_bytes());
        bytes[16..17].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.bits.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.0.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.0.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        bytes
    }

    /// Size of the whole batch: header and records.
    #[must_use]
    pub const fn size_bytes(&self) -> u32 {
        self.batch_length.unsigned_abs() + Self::LENGTH_FIELD_END
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// Offset that follows the batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// Sequence number of the last record, -1 if the batch has none. After 2^31 - 1 comes 0.
    #[must_use]
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// How the records are compressed.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        self.attributes.compression
    }

    /// Who chose the timestamps of the records.
    #[must_use]
    pub const fn timestamp_type(&self) -> TimestampType {
        if self.attributes.has(Attributes::LOG_APPEND_TIME) {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Whether the records belong to a transaction.
    #[must_use]
    pub const fn is_transactional(&self) -> bool {
        self.attributes.has(Attributes::TRANSACTIONAL)
    }

    /// Whether the records are for brokers and not for consumers: ends of transactions.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.attributes.has(Attributes::CONTROL)
    }

    /// Whether the batch names its producer, so that duplicates can be told.
    #[must_use]
    pub const fn has_producer(&self) -> bool {
        self.producer_id.0 > ProducerId::NONE.0
    }

    /// From when on compaction may drop the tombstones of the batch (KIP-534), if that was set.
    #[must_use]
    pub fn delete_horizon(&self) -> Option<UnixMillis> {
        self.attributes.has(Attributes::DELETE_HORIZON).then_some(self.base_timestamp)
    }

    /// Compares the stored checksum with that of `batch`, which must begin with this header and may go on after the
    /// batch.
    ///
    /// # Errors
    /// [`BatchError::Checksum`] if they differ, [`BatchError::CutOff`] if the batch is not all there.
    pub fn check_crc(&self, batch: &[u8]) -> Result<(), BatchError> {
        let needed = self.size_bytes() as usize;
        let covered = batch.get(Self::CRC_START as usize..needed);
        let covered = covered.ok_or(BatchError::CutOff { needed, found: batch.len() })?;
        let (stored, computed) = (self.crc, crc32c(covered));
        if stored == computed { Ok(()) } else { Err(BatchError::Checksum { stored, computed }) }
    }

    /// This header with other timestamps in it and the checksum that goes with them; `payload` is what follows the
    /// header. Unchanged if the timestamps already are what is asked for.
    #[must_use]
    pub fn with_timestamps(&self, kind: TimestampType, max: UnixMillis, payload: &[u8]) -> Self {
        if self.timestamp_type() == kind && self.max_timestamp == max {
            return *self;
        }
        let appended = kind == TimestampType::LogAppendTime;
        let attributes = self.attributes.with(Attributes::LOG_APPEND_TIME, appended);
        let changed = Self { attributes, max_timestamp: max, ..*self };
        Self { crc: changed.compute_crc(payload), ..changed }
    }

    /// This header for the same records in another codec; `payload` is them, compressed.
    ///
    /// # Panics
    /// If the batch has 2^31 bytes or more.
    pub(super) fn with_payload(&self, codec: Compression, payload: &[u8]) -> Self {
        let size = Self::BYTES + payload.len() - Self::LENGTH_FIELD_END as usize;
        let batch_length = i32::try_from(size).expect("a batch is below 2 GiB");
        let attributes = self.attributes.with_compression(codec);
        let changed = Self { attributes, batch_length, ..*self };
        Self { crc: changed.compute_crc(payload), ..changed }
    }

    /// The checksum that belongs to this header in front of `payload`.
    #[must_use]
    pub fn compute_crc(&self, payload: &[u8]) -> u32 {
        let bytes = self.to_bytes();
        let (_, covered) = bytes.split_at(Self::CRC_START as usize);
        let mut sum = Crc32c::new();
        sum.update(covered);
        sum.update(payload);
        sum.value()
    }
}

/// Codec and flags of a batch.
///
/// | bits | meaning |
/// | --- | --- |
/// | 0-2 | codec, see [`Compression::id`] |
/// | 3 | timestamps are those of the append |
/// | 4 | part of a transaction |
/// | 5 | control batch |
/// | 6 | the base timestamp is the delete horizon |
/// | 7-15 | unused, kept as they are |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    bits: i16,
    compression: Compression,
}

impl Attributes {
    const COMPRESSION: i16 = 0b111;
    pub(super) const LOG_APPEND_TIME: i16 = 1 << 3;
    pub(super) const TRANSACTIONAL: i16 = 1 << 4;
    pub(super) const CONTROL: i16 = 1 << 5;
    pub(super) const DELETE_HORIZON: i16 = 1 << 6;

    /// No compression, all flags unset.
    pub(super) const NONE: Self = Self { bits: 0, compression: Compression::None };

    fn from_bits(bits: i16) -> Result<Self, BatchError> {
        let [_, low] = (bits & Self::COMPRESSION).to_be_bytes();
        let compression = Compression::from_id(low).ok_or(BatchError::UnknownCompression(low))?;
        Ok(Self { bits, compression })
    }

    pub(super) fn with_compression(self, compression: Compression) -> Self {
        let bits = self.bits & !Self::COMPRESSION | i16::from(compression.id());
        Self { bits, compression }
    }

    pub(super) const fn with(self, flag: i16, set: bool) -> Self {
        let bits = if set { self.bits | flag } else { self.bits & !flag };
        Self { bits, ..self }
    }

    const fn has(self, flag: i16) -> bool {
        self.bits & flag != 0
    }
}

/// Who chose the timestamps of records (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer; each record has its own.
    CreateTime,
    /// The broker, when it appended the batch; all records have the batch's max timestamp.
    LogAppendTime,
}

/// The size of the whole batch at the start of `bytes`; `None` if there are too few bytes to tell.
///
/// Accepts the sizes and versions that Apache Kafka's `ByteBufferLogInputStream` does, so that batches of older formats
/// can be told from garbage.
///
/// # Errors
/// [`BatchError::Length`] and [`BatchError::Magic`] if no version of the format begins like this.
pub fn peek_size(bytes: &[u8]) -> Result<Option<usize>, BatchError> {
    let mut rest = bytes;
    let Some(([_, _, _, _, _, _, _, _, length @ ..], after)) = rest.split_first_chunk::<12>()
    else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*length);
    if length < OLD_LENGTH_MIN {
        return Err(BatchError::Length(length));
    }
    rest = after;
    let Some([_, _, _, _, magic]) = rest.first_chunk::<5>() else {
        return Ok(None);
    };
    let magic = i8::from_be_bytes([*magic]);
    if !(0..=MAGIC).contains(&magic) {
        return Err(BatchError::Magic(magic));
    }
    Ok(Some((length.unsigned_abs() + BatchHeader::LENGTH_FIELD_END) as usize))
}

/// The next `N` bytes of a header.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (field, after) = rest.split_first_chunk().expect("the fields add up to the header");
    *rest = after;
    *field
}

/// The format version that this module reads and writes.
const MAGIC: i8 = 2;
/// Where the magic stands, in every version of the format.
const MAGIC_AT: usize = 16;
/// The length of a batch without payload.
const BATCH_LENGTH_MIN: i32 = 49;
/// The length of the smallest record of format version 0.
const OLD_LENGTH_MIN: i32 = 14;

const _: () = assert!(
    (BATCH_LENGTH_MIN.unsigned_abs() + BatchHeader::LENGTH_FIELD_END) as usize
        == BatchHeader::BYTES
);

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::record::BatchBuilder;

    fn batch() -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder
            .producer(ProducerId(7), ProducerEpoch(1), i32::MAX - 1)
            .leader_epoch(LeaderEpoch(4));
        builder.base_offset(Offset(100)).compression(Compression::Lz4).transactional();
        for timestamp in [50, 70, 60] {
            builder.push(UnixMillis(timestamp), Some(b"key"), Some(b"value"));
        }
        builder.build().to_vec()
    }

    #[test]
    fn fields_are_where_the_table_says() {
        let bytes = batch();
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(header.size_bytes() as usize, bytes.len());
        assert_eq!(
            (header.base_offset, header.last_offset(), header.next_offset()),
            (Offset(100), Offset(102), Offset(103))
        );
        assert_eq!(header.partition_leader_epoch, LeaderEpoch(4));
        assert_eq!((header.base_timestamp, header.max_timestamp), (UnixMillis(50), UnixMillis(70)));
        assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(7), ProducerEpoch(1)));
        assert_eq!(
            (header.base_sequence, header.last_sequence()),
            (i32::MAX - 1, 0),
            "wraps after 2^31 - 1"
        );
        assert_eq!((header.record_count, header.compression()), (3, Compression::Lz4));
        assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
        assert!(header.is_transactional() && !header.is_control() && header.has_producer());
        assert_eq!(header.delete_horizon(), None);
        header.check_crc(&bytes).unwrap();
        header.check_crc(&[&bytes[..], b"more"].concat()).unwrap();
        assert_eq!(header.to_bytes(), bytes[..BatchHeader::BYTES]);
    }

    #[test]
    fn a_changed_byte_shows_unless_it_is_offset_or_epoch() {
        let bytes = batch();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let checked =
                BatchHeader::parse(&changed).and_then(|header| header.check_crc(&changed));
            let may_change = at < 8 || (12..16).contains(&at);
            assert_eq!(checked.is_ok(), may_change, "byte {at}");
        }
    }

    #[test]
    fn what_is_no_batch_is_named() {
        let bytes = batch();
        let parse = |at: usize, with: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            BatchHeader::parse(&bytes)
        };
        assert!(matches!(parse(16, &[1]), Err(BatchError::Magic(1))));
        assert!(matches!(parse(8, &48_i32.to_be_bytes()), Err(BatchError::Length(48))));
        assert!(matches!(parse(8, &(-1_i32).to_be_bytes()), Err(BatchError::Length(-1))));
        assert!(matches!(parse(22, &[5]), Err(BatchError::UnknownCompression(5))));
        assert_eq!(parse(8, &i32::MAX.to_be_bytes()).unwrap().size_bytes(), (1 << 31) + 11);
        for cut in 0..BatchHeader::BYTES {
            let parsed = BatchHeader::parse(&bytes[..cut]);
            assert!(
                matches!(parsed, Err(BatchError::CutOff { needed: 61, found }) if found == cut)
            );
        }
        let header = BatchHeader::parse(&bytes).unwrap();
        let short = header.check_crc(&bytes[..bytes.len() - 1]);
        assert!(matches!(short, Err(BatchError::CutOff { .. })));
    }

    #[test]
    fn sizes_are_told_from_seventeen_bytes() {
        let bytes = batch();
        assert_eq!(peek_size(&bytes[..17]).unwrap(), Some(bytes.len()));
        assert_eq!(peek_size(&bytes[..16]).unwrap(), None);
        assert_eq!(peek_size(&[]).unwrap(), None);
        assert!(matches!(peek_size(&[0; 12]), Err(BatchError::Length(0))));
        let mut future = bytes[..17].to_vec();
        future[16] = 3;
        assert!(matches!(peek_size(&future), Err(BatchError::Magic(3))));
    }

    #[test]
    fn other_timestamps_give_another_checksum() {
        let bytes = batch();
        let header = BatchHeader::parse(&bytes).unwrap();
        let payload = &bytes[BatchHeader::BYTES..];
        let same = header.with_timestamps(TimestampType::CreateTime, UnixMillis(70), payload);
        assert_eq!(same, header);
        let stamped =
            header.with_timestamps(TimestampType::LogAppendTime, UnixMillis(1_234), payload);
        assert_eq!(stamped.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(stamped.max_timestamp, UnixMillis(1_234));
        assert!(stamped.is_transactional());
        let whole = [&stamped.to_bytes()[..], payload].concat();
        BatchHeader::parse(&whole).unwrap().check_crc(&whole).unwrap();
        let back = stamped.with_timestamps(TimestampType::CreateTime, UnixMillis(70), payload);
        assert_eq!(back, header);
    }

    proptest! {
        #[test]
        fn any_header_is_written_as_it_was_read(mut bytes in any::<[u8; 32]>(), more in any::<[u8; 29]>()) {
            bytes[8] &= 0x7f;
            bytes[11] |= 0x40;
            bytes[16] = 2;
            bytes[22] &= 0xf8;
            let bytes = [&bytes[..], &more].concat();
            let header = BatchHeader::parse(&bytes).unwrap();
            prop_assert_eq!(&header.to_bytes()[..], &bytes);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let parsed = BatchHeader::parse(&bytes);
            let peeked = peek_size(&bytes);
            if let Ok(header) = parsed {
                prop_assert_eq!(peeked.unwrap(), Some(header.size_bytes() as usize));
            }
        }
    }
}
