//! krafka.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use krafka::admin::AdminClient;
use krafka::admin::{
    ConfigOp, ConfigResource, CreatePartitionsOptions, CreateTopicsOptions, DeleteRecordsOptions,
    DeleteTopicsOptions, DescribeClusterOptions, DescribeConfigsOptions, DescribeLogDirsOptions,
    DescribeProducersOptions, DescribeTopicsOptions, IncrementalAlterConfigsOptions,
    ListOffsetsOptions, ListTopicsOptions, NewTopic, OffsetSpec, TopicPartition,
};
use krafka::consumer::{AutoOffsetReset, ConsumerRecord};
use krafka::producer::Acks;
use krafka::{Compression, Kafka, KrafkaError};
use serde_json::{Value, json};

use crate::request::{At, Blob, Change, Produce, Record, Request, version_of};
use crate::{Answer, Failure};

pub struct Krafka {
    kafka: Kafka,
    admin: AdminClient,
}

impl Krafka {
    pub async fn connect(bootstrap: &str) -> anyhow::Result<Self> {
        let kafka = Kafka::builder(bootstrap).allow_auto_create_topics(true).connect().await?;
        let admin = kafka.admin();
        Ok(Self { kafka, admin })
    }

    pub async fn answer(&self, request: Request) -> Answer {
        let admin = &self.admin;
        match request {
            Request::Version => Ok(json!(version_of("krafka")?)),
            Request::ListTopics => {
                Ok(json!(admin.list_topics(ListTopicsOptions::default()).await?))
            }
            Request::DescribeTopic { topic } => self.describe_topic(&topic).await,
            Request::CreateTopic { topic, partitions, configs } => {
                let new = NewTopic::new(topic, partitions, 1)?;
                let new = configs
                    .into_iter()
                    .fold(new, |new, (name, value)| new.with_config(name, value));
                only(admin.create_topics([new], CreateTopicsOptions::default()).await?)?;
                Ok(Value::Null)
            }
            Request::CreatePartitions { topic, total } => {
                let totals = [(topic, total)];
                only(admin.create_partitions(totals, CreatePartitionsOptions::default()).await?)?;
                Ok(Value::Null)
            }
            Request::DeleteTopic { topic } => {
                only(admin.delete_topics([topic], DeleteTopicsOptions::default()).await?)?;
                Ok(Value::Null)
            }
            Request::Produce(produce) => self.produce(produce).await,
            Request::Consume { topic, partitions, count } => {
                self.consume(&topic, partitions, count).await
            }
            Request::Offsets { topic, partitions, at } => {
                self.offsets(&topic, partitions, at).await
            }
            Request::DescribeConfigs { topic } => {
                let topic = [ConfigResource::topic(topic)];
                let entries =
                    only(admin.describe_configs(topic, DescribeConfigsOptions::default()).await?)?;
                let entries = entries.into_iter().map(|entry| (entry.name, entry.value));
                Ok(json!(entries.collect::<BTreeMap<_, _>>()))
            }
            Request::AlterConfigs { topic, changes } => {
                let changes = changes.into_iter().map(change).collect();
                let changes = [(ConfigResource::topic(topic), changes)];
                let options = IncrementalAlterConfigsOptions::default();
                only(admin.incremental_alter_configs(changes, options).await?)?;
                Ok(Value::Null)
            }
            Request::DeleteRecords { topic, partition, before } => {
                let before = [(TopicPartition::new(topic, partition), before)];
                Ok(json!(only(
                    admin.delete_records(before, DeleteRecordsOptions::default()).await?
                )?))
            }
            Request::DescribeCluster => {
                let cluster = admin.describe_cluster(DescribeClusterOptions::default()).await?;
                let brokers: Value = cluster
                    .brokers
                    .iter()
                    .map(|b| json!({ "id": b.id, "host": b.host, "port": b.port }))
                    .collect();
                Ok(json!({ "cluster_id": cluster.cluster_id, "brokers": brokers }))
            }
            Request::LogDirs { topic } => self.log_dirs(&topic).await,
            Request::Producers { topic, partition } => {
                let partition = [TopicPartition::new(topic, partition)];
                let options = DescribeProducersOptions::default();
                let producers = only(admin.describe_producers(partition, options).await?)?;
                Ok(producers
                    .iter()
                    .map(|p| {
                        json!({
                            "producer_id": p.producer_id,
                            "epoch": p.producer_epoch,
                            "last_sequence": p.last_sequence,
                        })
                    })
                    .collect())
            }
        }
    }

    async fn describe_topic(&self, topic: &str) -> Answer {
        let options = DescribeTopicsOptions::default();
        let topic = only(self.admin.describe_topics([topic], options).await?)?;
        Ok(topic
            .partitions
            .iter()
            .map(|p| json!({ "leader": p.leader.unwrap_or(-1), "replicas": p.replicas, "isr": p.isr }))
            .collect())
    }

    async fn produce(&self, produce: Produce) -> Answer {
        let acks =
            Acks::from_i16(produce.acks).with_context(|| format!("acks {}", produce.acks))?;
        let producer = self
            .kafka
            .producer()
            .acks(acks)
            .idempotent(produce.idempotent)
            .compression(compression(&produce.codec)?)
            // The records of a request share batches.
            .linger(Duration::from_millis(20))
            .build()
            .await?;
        let mut handles = Vec::new();
        for record in produce.records {
            handles.push(producer.enqueue(record_of(&produce.topic, record)).await?);
        }
        let mut offsets = Vec::new();
        for handle in handles {
            offsets.push(handle.await?.offset);
        }
        producer.close().await?;
        Ok(json!(offsets))
    }

    async fn consume(&self, topic: &str, partitions: i32, count: usize) -> Answer {
        let consumer = self
            .kafka
            .consumer_without_group()
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .fetch_max_wait(Duration::from_millis(100))
            .build()
            .await?;
        consumer.assign(topic, (0..partitions).collect()).await?;
        let deadline = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        while records.len() < count {
            if Instant::now() >= deadline {
                return Err(anyhow!("{} of {count} records came", records.len()).into());
            }
            records
                .extend(consumer.poll(Duration::from_millis(100)).await?.into_iter().map(json_of));
        }
        consumer.close().await?;
        records.truncate(count);
        Ok(json!(records))
    }

    async fn offsets(&self, topic: &str, partitions: i32, at: At) -> Answer {
        let spec = match at {
            At::Earliest => OffsetSpec::Earliest,
            At::Latest => OffsetSpec::Latest,
            At::MaxTimestamp => OffsetSpec::MaxTimestamp,
            // The admin client asks until its time is over where there is no such record.
            At::Time(millis) => return self.offsets_for_time(topic, partitions, millis).await,
        };
        let specs = (0..partitions).map(|partition| (TopicPartition::new(topic, partition), spec));
        let found = self.admin.list_offsets(specs, ListOffsetsOptions::default()).await?;
        let mut offsets = BTreeMap::new();
        for (partition, listed) in found {
            offsets.insert(partition.partition, listed?.offset);
        }
        Ok(json!(offsets.values().collect::<Vec<_>>()))
    }

    async fn offsets_for_time(&self, topic: &str, partitions: i32, millis: i64) -> Answer {
        let consumer = self.kafka.consumer_without_group().build().await?;
        let asked: Vec<_> = (0..partitions).map(|partition| (topic, partition)).collect();
        let mut offsets = BTreeMap::new();
        for ((_, partition), found) in consumer.offsets_for_times(&asked, millis).await {
            offsets.insert(partition, found?);
        }
        consumer.close().await?;
        Ok(json!(offsets.values().collect::<Vec<_>>()))
    }

    async fn log_dirs(&self, topic: &str) -> Answer {
        let cluster = self.admin.describe_cluster(DescribeClusterOptions::default()).await?;
        let brokers = cluster.brokers.iter().map(|broker| broker.id);
        let described =
            self.admin.describe_log_dirs(brokers, DescribeLogDirsOptions::default()).await?;
        let mut sizes = BTreeMap::new();
        for directories in described.into_values() {
            for directory in directories?.into_values() {
                let replicas = directory?.replicas;
                let of_topic = replicas.iter().filter(|(partition, _)| partition.topic == topic);
                sizes.extend(
                    of_topic.map(|(partition, replica)| (partition.partition, replica.size)),
                );
            }
        }
        Ok(json!(sizes.values().collect::<Vec<_>>()))
    }
}

impl From<KrafkaError> for Failure {
    fn from(error: KrafkaError) -> Self {
        let code = match &error {
            KrafkaError::Broker { code, .. } => Some(code.to_i16()),
            _ => None,
        };
        Self { code, message: error.to_string() }
    }
}

/// The result for the one thing that was asked about.
fn only<K, T>(
    results: impl IntoIterator<Item = (K, Result<T, KrafkaError>)>,
) -> Result<T, Failure> {
    let (_, result) = results.into_iter().next().context("no answer")?;
    Ok(result?)
}

fn compression(codec: &str) -> anyhow::Result<Compression> {
    match codec {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "snappy" => Ok(Compression::Snappy),
        "lz4" => Ok(Compression::Lz4),
        "zstd" => Ok(Compression::Zstd),
        _ => Err(anyhow!("unknown codec {codec}")),
    }
}

fn change(change: Change) -> ConfigOp {
    match change {
        Change::Set { name, value } => ConfigOp::Set { name, value },
        Change::Append { name, value } => ConfigOp::Append { name, value },
        Change::Subtract { name, value } => ConfigOp::Subtract { name, value },
        Change::Delete { name } => ConfigOp::Delete { name },
    }
}

fn record_of(topic: &str, record: Record) -> krafka::Record {
    let value = record.value.map(|Blob(value)| value);
    let is_tombstone = value.is_none();
    let mut new = krafka::Record::new(topic, value.unwrap_or_default()).partition(record.partition);
    if is_tombstone {
        new = new.without_value();
    }
    if let Some(Blob(key)) = record.key {
        new = new.key(key);
    }
    if let Some(millis) = record.timestamp {
        new = new.timestamp(millis);
    }
    record.headers.into_iter().fold(new, |new, (name, value)| match value {
        Some(Blob(value)) => new.header(name, value),
        None => new.null_header(name),
    })
}

fn json_of(record: ConsumerRecord) -> Value {
    let blob = |bytes: &[u8]| Blob(bytes.to_vec());
    json!(Record {
        partition: record.partition,
        offset: Some(record.offset),
        timestamp: Some(record.timestamp),
        key: record.key.as_deref().map(blob),
        value: record.value.as_deref().map(blob),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.as_deref().map(blob)))
            .collect(),
    })
}

const PATIENCE: Duration = Duration::from_secs(50);
