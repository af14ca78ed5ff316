//! Records on their way into topics.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::cli::failure::Failure;
use crate::client::{ClientError, Cluster, Fetched, NewRecord, Producer, ProducerOptions};
use crate::model::{Offset, UnixMillis};
use crate::record::Compression;

/// Producers of the topics that records go to.
#[derive(Debug)]
pub(in crate::cli) struct Writers {
    cluster: Cluster,
    options: ProducerOptions,
    topics: BTreeMap<String, Producer>,
}

impl Writers {
    pub(in crate::cli) fn new(
        cluster: &Cluster,
        compression: Compression,
        create_topic: bool,
    ) -> Self {
        let delivery_timeout = cluster.options().operation_timeout;
        let options = ProducerOptions {
            compression,
            create_topic,
            delivery_timeout,
            ..ProducerOptions::default()
        };
        Self { cluster: cluster.clone(), options, topics: BTreeMap::new() }
    }

    /// The producer of a topic, opened when it is first asked for.
    pub(in crate::cli) async fn of(&mut self, topic: &str) -> Result<&mut Producer, ClientError> {
        if !self.topics.contains_key(topic) {
            let options = self.options.clone();
            let producer = Producer::open(self.cluster.clone(), topic, options).await?;
            self.topics.insert(topic.to_owned(), producer);
        }
        match self.topics.get_mut(topic) {
            Some(producer) => Ok(producer),
            None => unreachable!("it was put there"),
        }
    }

    /// How many topics were written to.
    pub(in crate::cli) fn len(&self) -> usize {
        self.topics.len()
    }

    /// Sends what was collected, without waiting for answers.
    pub(in crate::cli) async fn send_open(&mut self) -> Result<(), ClientError> {
        for producer in self.topics.values_mut() {
            producer.send_open().await?;
            producer.take_delivered();
        }
        Ok(())
    }

    /// Waits until all is written.
    pub(in crate::cli) async fn flush(&mut self) -> Result<(), ClientError> {
        for producer in self.topics.values_mut() {
            producer.flush().await?;
            producer.take_delivered();
        }
        Ok(())
    }
}

/// Writes the records of a fetch that are before `until` as they are: key, value, headers, time; to the same partition if
/// `keep_partitions`, else to that of the key. Gives how many there were.
pub(in crate::cli) async fn push_all(
    producer: &mut Producer,
    fetched: &Fetched,
    until: Option<Offset>,
    keep_partitions: bool,
) -> Result<u64, Failure> {
    let mut records = Vec::new();
    fetched.visit(|record| {
        if until.is_some_and(|until| record.offset >= until) {
            return ControlFlow::Break(());
        }
        let headers = record.headers.clone().map(|(name, value)| {
            (String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec))
        });
        records.push(Taken {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
            timestamp: record.timestamp,
        });
        ControlFlow::Continue(())
    })?;
    for record in &records {
        let headers: Vec<_> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let new = NewRecord {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
            timestamp: Some(record.timestamp),
            partition: keep_partitions.then_some(fetched.partition),
        };
        producer.push(new).await?;
    }
    producer.take_delivered();
    Ok(records.len() as u64)
}

/// A record out of its batch.
struct Taken {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: UnixMillis,
}
