//! rskafka: partitions one by one, always with acks=all, and headers in a map.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rskafka::chrono::{DateTime, Utc};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use serde_json::{Value, json};

use crate::request::{At, Blob, Produce, Record, Request, version_of};
use crate::{Answer, Failure};

pub struct Rskafka(Client);

impl Rskafka {
    pub async fn connect(bootstrap: &str) -> anyhow::Result<Self> {
        Ok(Self(ClientBuilder::new(vec![bootstrap.to_owned()]).build().await?))
    }

    pub async fn answer(&self, request: Request) -> Answer {
        match request {
            Request::Version => Ok(json!(version_of("rskafka")?)),
            Request::Produce(produce) => self.produce(produce).await,
            Request::Consume { topic, partitions, count } => {
                self.consume(&topic, partitions, count).await
            }
            Request::Offsets { topic, partitions, at } => {
                let at = offset_at(at)?;
                let mut offsets = Vec::new();
                for partition in 0..partitions {
                    offsets.push(self.partition(&topic, partition).await?.get_offset(at).await?);
                }
                Ok(json!(offsets))
            }
            Request::DeleteRecords { topic, partition, before } => {
                let partition = self.partition(&topic, partition).await?;
                partition.delete_records(before, TIMEOUT_MS).await?;
                Ok(json!(partition.get_offset(OffsetAt::Earliest).await?))
            }
            other => Err(anyhow!("rskafka cannot do {other:?}").into()),
        }
    }

    async fn partition(&self, topic: &str, partition: i32) -> Result<PartitionClient, Error> {
        self.0.partition_client(topic, partition, UnknownTopicHandling::Error).await
    }

    /// A batch for each partition.
    async fn produce(&self, produce: Produce) -> Answer {
        let compression = compression(&produce.codec)?;
        let mut batches: Vec<(i32, Vec<usize>, Vec<rskafka::record::Record>)> = Vec::new();
        let mut offsets: Vec<Option<i64>> = vec![None; produce.records.len()];
        for (index, record) in produce.records.into_iter().enumerate() {
            let partition = record.partition;
            let record = record_of(record)?;
            match batches.iter_mut().find(|(id, ..)| *id == partition) {
                Some((_, indexes, records)) => {
                    indexes.push(index);
                    records.push(record);
                }
                None => batches.push((partition, vec![index], vec![record])),
            }
        }
        for (partition, indexes, records) in batches {
            let partition = self.partition(&produce.topic, partition).await?;
            for (index, offset) in
                indexes.into_iter().zip(partition.produce(records, compression).await?)
            {
                offsets[index] = Some(offset);
            }
        }
        Ok(json!(offsets))
    }

    /// Reads the partitions in turn until there are `count` records.
    async fn consume(&self, topic: &str, partitions: i32, count: usize) -> Answer {
        let mut readers = Vec::new();
        for partition in 0..partitions {
            let reader = self.partition(topic, partition).await?;
            let next = reader.get_offset(OffsetAt::Earliest).await?;
            readers.push((reader, next));
        }
        let deadline = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        while records.len() < count {
            if Instant::now() >= deadline {
                return Err(anyhow!("{} of {count} records came", records.len()).into());
            }
            for (reader, next) in &mut readers {
                let (read, _) = reader.fetch_records(*next, 1..FETCH_BYTES, FETCH_WAIT_MS).await?;
                for record in read {
                    *next = record.offset + 1;
                    records.push(json_of(reader.partition(), record));
                }
            }
        }
        records.truncate(count);
        Ok(json!(records))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // The library gives a name to each code, and keeps the number for itself: here are those that are asked about.
        let code = match &error {
            Error::ServerError { protocol_error: ProtocolError::OffsetOutOfRange, .. } => Some(1),
            Error::ServerError { protocol_error: ProtocolError::MessageTooLarge, .. } => Some(10),
            _ => None,
        };
        Self { code, message: error.to_string() }
    }
}

fn compression(codec: &str) -> anyhow::Result<Compression> {
    match codec {
        "none" => Ok(Compression::NoCompression),
        "gzip" => Ok(Compression::Gzip),
        "snappy" => Ok(Compression::Snappy),
        "lz4" => Ok(Compression::Lz4),
        "zstd" => Ok(Compression::Zstd),
        _ => Err(anyhow!("unknown codec {codec}")),
    }
}

fn offset_at(at: At) -> anyhow::Result<OffsetAt> {
    match at {
        At::Earliest => Ok(OffsetAt::Earliest),
        At::Latest => Ok(OffsetAt::Latest),
        At::Time(millis) => Ok(OffsetAt::Timestamp(time(millis)?)),
        At::MaxTimestamp => Err(anyhow!("rskafka cannot look for the greatest timestamp")),
    }
}

fn time(millis: i64) -> anyhow::Result<DateTime<Utc>> {
    DateTime::from_timestamp_millis(millis).with_context(|| format!("no time: {millis}"))
}

fn record_of(record: Record) -> anyhow::Result<rskafka::record::Record> {
    let millis = match record.timestamp {
        Some(millis) => millis,
        None => i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?,
    };
    Ok(rskafka::record::Record {
        key: record.key.map(|Blob(key)| key),
        value: record.value.map(|Blob(value)| value),
        headers: record
            .headers
            .into_iter()
            .map(|(name, value)| Ok((name, value.context("a header without value")?.0)))
            .collect::<anyhow::Result<_>>()?,
        timestamp: time(millis)?,
    })
}

fn json_of(partition: i32, read: rskafka::record::RecordAndOffset) -> Value {
    let record = read.record;
    json!(Record {
        partition,
        offset: Some(read.offset),
        timestamp: Some(record.timestamp.timestamp_millis()),
        key: record.key.map(Blob),
        value: record.value.map(Blob),
        headers: record
            .headers
            .into_iter()
            .map(|(name, value)| (name, Some(Blob(value))))
            .collect(),
    })
}

const PATIENCE: Duration = Duration::from_secs(50);
const TIMEOUT_MS: i32 = 30_000;
const FETCH_BYTES: i32 = 20_000_000;
const FETCH_WAIT_MS: i32 = 50;
