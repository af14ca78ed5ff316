//! Making batches: for internal topics, tools and tests.

use bytes::Bytes;

use super::compression::{Compression, compress};
use super::header::{Attributes, BatchHeader};
use super::varint::write_varlong;
use crate::model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, UnixMillis};

/// Collects records and makes a batch of them.
///
/// Offsets are consecutive from [`base_offset`](Self::base_offset), 0 unless set otherwise.
///
/// ```
/// use ottla::model::UnixMillis;
/// use ottla::record::{BatchBuilder, BatchHeader};
///
/// let mut builder = BatchBuilder::new();
/// builder.push(UnixMillis(1_000), Some(b"key"), Some(b"value"));
/// builder.push(UnixMillis(2_000), Some(b"key"), None);
/// let header = BatchHeader::parse(&builder.build()).unwrap();
/// assert_eq!((header.record_count, header.max_timestamp), (2, UnixMillis(2_000)));
/// ```
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    records: Vec<u8>,
    /// The record that is being written; kept to be used again.
    record: Vec<u8>,
}

impl BatchBuilder {
    /// No records, no producer, no compression, leader epoch unknown.
    #[must_use]
    pub const fn new() -> Self {
        let header = BatchHeader {
            base_offset: Offset::ZERO,
            batch_length: 0,
            partition_leader_epoch: LeaderEpoch::UNKNOWN,
            crc: 0,
            attributes: Attributes::NONE,
            last_offset_delta: -1,
            base_timestamp: UnixMillis::NONE,
            max_timestamp: UnixMillis::NONE,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: -1,
            record_count: 0,
        };
        Self { header, records: Vec::new(), record: Vec::new() }
    }

    /// Sets the offset of the first record.
    pub const fn base_offset(&mut self, offset: Offset) -> &mut Self {
        self.header.base_offset = offset;
        self
    }

    /// Sets the leader epoch.
    pub const fn leader_epoch(&mut self, epoch: LeaderEpoch) -> &mut Self {
        self.header.partition_leader_epoch = epoch;
        self
    }

    /// Sets how the records are compressed.
    pub fn compression(&mut self, compression: Compression) -> &mut Self {
        self.header.attributes = self.header.attributes.with_compression(compression);
        self
    }

    /// Names the producer, and the sequence number of the first record.
    pub const fn producer(
        &mut self,
        id: ProducerId,
        epoch: ProducerEpoch,
        base_sequence: i32,
    ) -> &mut Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Makes the batch part of its producer's transaction.
    pub const fn transactional(&mut self) -> &mut Self {
        self.header.attributes = self.header.attributes.with(Attributes::TRANSACTIONAL, true);
        self
    }

    /// Makes the batch a control batch, which consumers do not see.
    pub const fn control(&mut self) -> &mut Self {
        self.header.attributes = self.header.attributes.with(Attributes::CONTROL, true);
        self
    }

    /// Adds a record without headers.
    ///
    /// # Panics
    /// As [`push_with_headers`](Self::push_with_headers).
    pub fn push(
        &mut self,
        timestamp: UnixMillis,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> &mut Self {
        self.push_with_headers(timestamp, key, value, &[])
    }

    /// Adds a record.
    ///
    /// # Panics
    /// If key, value and headers together have 2^31 bytes or more, which no batch can hold.
    pub fn push_with_headers(
        &mut self,
        timestamp: UnixMillis,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> &mut Self {
        let header = &mut self.header;
        if header.record_count == 0 {
            header.base_timestamp = timestamp;
        }
        header.max_timestamp = header.max_timestamp.max(timestamp);
        header.last_offset_delta += 1;
        header.record_count += 1;
        let record = &mut self.record;
        record.clear();
        record.push(RECORD_ATTRIBUTES);
        write_varlong(record, timestamp.0.wrapping_sub(header.base_timestamp.0));
        write_varlong(record, i64::from(header.last_offset_delta));
        write_bytes(record, key);
        write_bytes(record, value);
        write_varlong(record, length(headers.len()));
        for (key, value) in headers {
            write_bytes(record, Some(key.as_bytes()));
            write_bytes(record, *value);
        }
        write_varlong(&mut self.records, length(record.len()));
        self.records.extend_from_slice(record);
        self
    }

    /// Whether there is no record yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.header.record_count == 0
    }

    /// Bytes of the records so far, before compression.
    #[must_use]
    pub const fn records_bytes(&self) -> usize {
        self.records.len()
    }

    /// The batch. The builder keeps what it has.
    ///
    /// # Panics
    /// If there are no records, or the batch has 2^31 bytes or more.
    #[must_use]
    pub fn build(&self) -> Bytes {
        assert!(!self.is_empty(), "a batch needs a record");
        let payload = compress(self.header.compression(), &self.records);
        let header = self.header.with_payload(self.header.compression(), &payload);
        [&header.to_bytes()[..], &payload].concat().into()
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes a key or a value, or that there is none.
pub(super) fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else {
        return write_varlong(out, -1);
    };
    write_varlong(out, length(bytes.len()));
    out.extend_from_slice(bytes);
}

/// A length as it is written.
pub(super) fn length(bytes: usize) -> i64 {
    i32::try_from(bytes).expect("a record is below 2 GiB").into()
}

/// Records have an attributes byte that has no meaning yet.
pub(super) const RECORD_ATTRIBUTES: u8 = 0;
