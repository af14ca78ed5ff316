//! The records of `__transaction_state`, as Apache Kafka 4.3.1 writes them.
//!
//! Key: type 0, then the transactional id (string).
//!
//! Value, versions 0 and 1 (1 is flexible). Version 0 is written while `transaction.version` is 0 (but for
//! prepared transactions of clients that use what it does not have; Apache Kafka fails there):
//!
//! | field | type | versions |
//! |---|---|---|
//! | producer id | i64 | |
//! | producer epoch | i16 | |
//! | transaction timeout | i32, milliseconds | |
//! | state | i8 | |
//! | partitions | nullable list of the following; null if the state is Empty | |
//! | topic | string | |
//! | partition ids | list of i32 | |
//! | last update timestamp | i64 | |
//! | start timestamp | i64, -1 if there was no transaction | |
//! | previous producer id | i64, default -1 | tag 0 in 1 |
//! | next producer id | i64, default -1 | tag 1 in 1 |
//! | client transaction version | i16, default 0 | tag 2 in 1 |
//! | next producer epoch | i16, default -1; ours and Kafka's is always that | tag 3 in 1 |
//!
//! Source: `TransactionLogKey`, `TransactionLogValue` and `TransactionLog` of Apache Kafka.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::command::{Producer, TransactionPartition};
use super::transaction::{State, Transaction};
use crate::coordinator::CoordinatorRecord;
use crate::model::{PartitionId, ProducerEpoch, ProducerId, UnixMillis};
use crate::wire::fields::{FieldReader, FieldWriter, SchemaError};

const NAME: &str = "TransactionLogValue";
const KEY_NAME: &str = "TransactionLogKey";
const KEY_TYPE: i16 = 0;
const VERSION_MAX: i16 = 1;
const FLEXIBLE_FROM: i16 = 1;
const PREVIOUS_ID_TAG: u32 = 0;
const NEXT_ID_TAG: u32 = 1;
const CLIENT_VERSION_TAG: u32 = 2;

/// The name under which a producer goes on over restarts (`transactional.id`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionalId(Arc<str>);

impl TransactionalId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TransactionalId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Borrow<str> for TransactionalId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TransactionalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TransactionalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The record that a transactional id is in this state. `feature` is the level of `transaction.version`.
pub(super) fn record(
    id: &TransactionalId,
    transaction: &Transaction,
    feature: i16,
) -> CoordinatorRecord {
    let version = if needs_tags(transaction) { VERSION_MAX } else { feature.clamp(0, VERSION_MAX) };
    CoordinatorRecord { key: key(id), value: Some(encode(transaction, version)) }
}

/// Whether a transaction that is not decided everywhere would end otherwise if it were read from version 0: only where
/// the level has become 0 under clients with an epoch for each transaction.
fn needs_tags(transaction: &Transaction) -> bool {
    transaction.next_id != ProducerId::NONE
        || transaction.state.is_prepared() && transaction.client_version != 0
}

/// The record that a transactional id is gone.
pub(super) fn tombstone(id: &TransactionalId) -> CoordinatorRecord {
    CoordinatorRecord { key: key(id), value: None }
}

/// Reads a record; no value stands for a tombstone.
///
/// # Errors
/// If it is of no known type or version, or its bytes do not fit.
pub(super) fn decode(
    record: &CoordinatorRecord,
) -> Result<(TransactionalId, Option<Transaction>), SchemaError> {
    let mut key = FieldReader::new(KEY_NAME, &record.key);
    let version = key.i16("type")?;
    if version != KEY_TYPE {
        return Err(SchemaError::UnknownVersion { record: KEY_NAME, version });
    }
    let id = key.string("transactional id")?.into();
    Ok((id, record.value.as_ref().map(decode_value).transpose()?))
}

fn key(id: &TransactionalId) -> Bytes {
    let mut writer = FieldWriter::key(KEY_TYPE);
    writer.string(id.as_str());
    writer.finish()
}

fn encode(transaction: &Transaction, version: i16) -> Bytes {
    let is_flexible = version >= FLEXIBLE_FROM;
    let mut writer = FieldWriter::value(version, is_flexible);
    writer.i64(transaction.producer.id.0);
    writer.i16(transaction.producer.epoch.0);
    writer.i32(transaction.timeout_ms);
    writer.i8(transaction.state.code());
    if transaction.state == State::Empty {
        writer.nullable_list(None::<std::iter::Empty<()>>, |_, ()| ());
    } else {
        let topics = by_topic(&transaction.partitions);
        writer.nullable_list(Some(topics.into_iter()), |writer, (topic, partitions)| {
            writer.string(topic);
            writer.list(partitions.into_iter(), |writer, partition| writer.i32(partition.0));
            writer.tagged_fields(&[]);
        });
    }
    writer.i64(transaction.updated_at.0);
    writer.i64(transaction.started_at.0);
    if is_flexible {
        write_tags(transaction, &mut writer);
    }
    writer.finish()
}

fn by_topic(partitions: &BTreeSet<TransactionPartition>) -> BTreeMap<&str, Vec<PartitionId>> {
    let mut topics: BTreeMap<&str, Vec<PartitionId>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    topics
}

fn write_tags(transaction: &Transaction, writer: &mut FieldWriter) {
    let ids = [(PREVIOUS_ID_TAG, transaction.previous_id), (NEXT_ID_TAG, transaction.next_id)];
    let ids = ids.into_iter().filter(|(_, id)| *id != ProducerId::NONE);
    let mut fields: Vec<_> = ids.map(|(tag, id)| (tag, id.0.to_be_bytes().to_vec())).collect();
    if transaction.client_version != 0 {
        fields.push((CLIENT_VERSION_TAG, transaction.client_version.to_be_bytes().to_vec()));
    }
    writer.tagged_fields(&fields);
}

fn decode_value(bytes: &Bytes) -> Result<Transaction, SchemaError> {
    let (_, mut reader) = FieldReader::of_value(NAME, bytes, VERSION_MAX, FLEXIBLE_FROM)?;
    let id = ProducerId(reader.i64("producer id")?);
    let epoch = ProducerEpoch(reader.i16("producer epoch")?);
    let timeout_ms = reader.i32("transaction timeout")?;
    let state = reader.i8("state")?;
    let state = State::from_code(state).ok_or_else(|| reader.refuse("state", "is not known"))?;
    let topics = reader.nullable_list("partitions", |reader| {
        let topic: Arc<str> = reader.string("topic")?.into();
        let partitions = reader.list("partition ids", |reader| reader.i32("partition id"))?;
        reader.skip_tagged_fields()?;
        Ok((topic, partitions))
    })?;
    let updated_at = UnixMillis(reader.i64("last update timestamp")?);
    let started_at = UnixMillis(reader.i64("start timestamp")?);
    let (mut previous_id, mut next_id) = (ProducerId::NONE, ProducerId::NONE);
    let mut client_version = 0;
    reader.tagged_fields(|reader, tag| {
        match tag {
            PREVIOUS_ID_TAG => previous_id = ProducerId(reader.i64("previous producer id")?),
            NEXT_ID_TAG => next_id = ProducerId(reader.i64("next producer id")?),
            CLIENT_VERSION_TAG => client_version = reader.i16("client transaction version")?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let partitions = topics.into_iter().flatten().flat_map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(PartitionId);
        partitions.map(move |partition| (Arc::clone(&topic), partition)).collect::<Vec<_>>()
    });
    Ok(Transaction {
        producer: Producer { id, epoch },
        previous_id,
        next_id,
        timeout_ms,
        state,
        partitions: partitions.collect(),
        started_at,
        updated_at,
        client_version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ongoing() -> Transaction {
        Transaction {
            producer: Producer { id: ProducerId(1), epoch: ProducerEpoch(2) },
            previous_id: ProducerId(1),
            next_id: ProducerId::NONE,
            timeout_ms: 60_000,
            state: State::Ongoing,
            partitions: [("t".into(), PartitionId(3)), ("a".into(), PartitionId(0))].into(),
            started_at: UnixMillis(7),
            updated_at: UnixMillis(8),
            client_version: 2,
        }
    }

    #[test]
    fn bytes_are_kafkas() {
        let record = record(&"id".into(), &ongoing(), 2);
        assert_eq!(&record.key[..], [0, 0, 0, 2, b'i', b'd']);
        let mut expected = vec![0, 1];
        expected.extend_from_slice(&1_i64.to_be_bytes());
        expected.extend_from_slice(&[0, 2, 0, 0, 0xea, 0x60, 1]);
        // Two topics, each with its name, one partition, and no tagged fields.
        expected.extend_from_slice(&[3, 2, b'a', 2, 0, 0, 0, 0, 0, 2, b't', 2, 0, 0, 0, 3, 0]);
        expected.extend_from_slice(&8_i64.to_be_bytes());
        expected.extend_from_slice(&7_i64.to_be_bytes());
        // Two tagged fields: the previous producer id, and the client's transaction version.
        expected.extend_from_slice(&[2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 0, 2]);
        assert_eq!(record.value.as_deref(), Some(&expected[..]));
    }

    #[test]
    fn what_is_written_is_read() {
        for (feature, state) in [(0, State::Ongoing), (1, State::PrepareCommit), (2, State::Empty)]
        {
            let mut transaction = Transaction { state, ..ongoing() };
            if feature == 0 {
                (transaction.previous_id, transaction.client_version) = (ProducerId::NONE, 0);
            }
            if state == State::Empty {
                transaction.partitions.clear();
                transaction.next_id = ProducerId(9);
            }
            let record = record(&"id".into(), &transaction, feature);
            assert_eq!(decode(&record).unwrap(), ("id".into(), Some(transaction)));
        }
        assert_eq!(decode(&tombstone(&"id".into())).unwrap(), ("id".into(), None));
    }

    #[test]
    fn bytes_that_are_no_record_are_errors() {
        let record = record(&"id".into(), &ongoing(), 2);
        let value = record.value.unwrap();
        for length in 0..value.len() {
            let value = Some(value.slice(..length));
            assert!(decode(&CoordinatorRecord { value, ..tombstone(&"id".into()) }).is_err());
        }
        let mut unknown = value.to_vec();
        unknown[16] = 8;
        let record = CoordinatorRecord { value: Some(unknown.into()), ..tombstone(&"id".into()) };
        let error = decode(&record).unwrap_err().to_string();
        assert!(error.contains("state"), "{error}");
    }
}
