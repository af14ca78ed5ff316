//! librdkafka, called in this process through crate `rdkafka`.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::util::get_rdkafka_version;
use rdkafka::{ClientContext, Offset, Timestamp, TopicPartitionList};
use serde_json::{Value, json};

use crate::client::{At, ClientError, ProduceOptions, Request, Transport};
use crate::record::{Blob, Record};
use crate::wait::PATIENCE;

/// librdkafka for one broker. Every request makes its own handle, so that none sees another's cached metadata.
#[derive(Debug)]
pub struct Librdkafka {
    bootstrap: String,
}

impl Librdkafka {
    pub(crate) fn new(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_owned() }
    }

    fn answer(&self, request: &Request<'_>) -> Result<Value, Failure> {
        match *request {
            Request::Version => Ok(json!(get_rdkafka_version().1)),
            Request::ListTopics => {
                let metadata = self.consumer()?.fetch_metadata(None, PATIENCE)?;
                Ok(metadata.topics().iter().map(|topic| topic.name()).collect())
            }
            Request::DescribeTopic { topic } => self.describe_topic(topic),
            Request::CreateTopic { topic, partitions, ref configs } => {
                let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
                let new = configs.iter().fold(new, |new, (name, value)| new.set(name, value));
                first_error(block_on(self.admin()?.create_topics([&new], &options()))?)
            }
            Request::CreatePartitions { topic, total } => {
                let new = NewPartitions::new(topic, usize::try_from(total).unwrap_or_default());
                first_error(block_on(self.admin()?.create_partitions([&new], &options()))?)
            }
            Request::DeleteTopic { topic } => {
                first_error(block_on(self.admin()?.delete_topics(&[topic], &options()))?)
            }
            Request::Produce { topic, records, options } => self.produce(topic, records, options),
            Request::Consume { topic, partitions, count } => self.consume(topic, partitions, count),
            Request::Offsets { topic, partitions, at } => {
                let consumer = self.consumer()?;
                (0..partitions).map(|partition| offset(&consumer, topic, partition, at)).collect()
            }
            Request::DescribeConfigs { topic } => self.describe_configs(topic),
            Request::DeleteRecords { topic, partition, before } => {
                let mut offsets = TopicPartitionList::new();
                offsets.add_partition_offset(topic, partition, Offset::Offset(before))?;
                let result = block_on(self.admin()?.delete_records(&offsets, &options()))?;
                let element =
                    result.find_partition(topic, partition).ok_or("no answer for the partition")?;
                element.error()?;
                Ok(json!(element.offset().to_raw()))
            }
            Request::DescribeCluster => {
                let consumer = self.consumer()?;
                let metadata = consumer.fetch_metadata(None, PATIENCE)?;
                let brokers = metadata.brokers().iter();
                let brokers: Value = brokers
                    .map(|b| json!({"id": b.id(), "host": b.host(), "port": b.port()}))
                    .collect();
                Ok(
                    json!({"cluster_id": consumer.client().fetch_cluster_id(PATIENCE), "brokers": brokers}),
                )
            }
            Request::AlterConfigs { .. } | Request::LogDirs { .. } | Request::Producers { .. } => {
                Err(format!("crate rdkafka cannot do {request:?}").into())
            }
        }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, KafkaError> {
        self.config().create()
    }

    fn consumer(&self) -> Result<BaseConsumer, KafkaError> {
        consumer(&self.bootstrap, Duration::from_millis(500))
    }

    fn describe_topic(&self, topic: &str) -> Result<Value, Failure> {
        let metadata = self.consumer()?.fetch_metadata(Some(topic), PATIENCE)?;
        let topic = metadata.topics().first().ok_or("no topic")?;
        if let Some(error) = topic.error() {
            return Err(RDKafkaErrorCode::from(error).into());
        }
        let mut partitions: Vec<_> = topic.partitions().iter().collect();
        partitions.sort_by_key(|partition| partition.id());
        Ok(partitions
            .into_iter()
            .map(|p| json!({"leader": p.leader(), "replicas": p.replicas(), "isr": p.isr()}))
            .collect())
    }

    fn describe_configs(&self, topic: &str) -> Result<Value, Failure> {
        let topic = ResourceSpecifier::Topic(topic);
        let result = block_on(self.admin()?.describe_configs([&topic], &options()))?;
        let resource = result.into_iter().next().ok_or("no resource")??;
        Ok(resource.entries.into_iter().map(|entry| (entry.name, json!(entry.value))).collect())
    }

    fn produce(
        &self,
        topic: &str,
        records: &[Record],
        options: ProduceOptions,
    ) -> Result<Value, Failure> {
        let producer: ThreadedProducer<Deliveries> = self
            .config()
            .set("compression.codec", options.codec.name())
            .set("acks", options.acks.to_string())
            .set("enable.idempotence", options.idempotent.to_string())
            .set("message.max.bytes", "100000000")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string())
            .create_with_context(Deliveries(Mutex::new(vec![Ok(-1); records.len()])))?;
        for (index, record) in records.iter().enumerate() {
            producer.send(base_record(topic, record, index)).map_err(|(error, _)| error)?;
        }
        producer.flush(PATIENCE)?;
        let deliveries = producer.context().0.lock().unwrap_or_else(PoisonError::into_inner);
        let offsets: Result<Vec<i64>, KafkaError> = deliveries.iter().cloned().collect();
        Ok(json!(offsets?))
    }

    fn consume(&self, topic: &str, partitions: i32, count: usize) -> Result<Value, Failure> {
        let consumer = self.consumer()?;
        assign(&consumer, topic, partitions)?;
        let deadline = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        while records.len() < count {
            match consumer.poll(Duration::from_millis(100)) {
                Some(message) => records.push(record(&message?)),
                None if Instant::now() >= deadline => {
                    return Err(format!("{} of {count} records came", records.len()).into());
                }
                None => {}
            }
        }
        Ok(json!(records))
    }
}

impl Transport for Librdkafka {
    fn call(&mut self, request: &Request<'_>) -> Result<Value, ClientError> {
        self.answer(request).map_err(|Failure(error)| error)
    }
}

/// A consumer without group membership, whose fetches the broker may hold for `fetch_wait` while it has nothing new.
///
/// # Errors
/// When librdkafka refuses the configuration.
pub fn consumer(bootstrap: &str, fetch_wait: Duration) -> Result<BaseConsumer, KafkaError> {
    let fetch_wait_ms = fetch_wait.as_millis();
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        // Its consumer cannot be made without a group id; a group that is never subscribed nor committed is never joined.
        .set("group.id", "none")
        .set("enable.auto.commit", "false")
        // An error is reported instead of a silent jump to another offset.
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", fetch_wait_ms.to_string())
        .set("socket.timeout.ms", (fetch_wait_ms + 60_000).to_string())
        .create()
}

/// Assigns the partitions `0..partitions` from their earliest offset.
///
/// # Errors
/// When librdkafka refuses.
pub fn assign(consumer: &BaseConsumer, topic: &str, partitions: i32) -> Result<(), KafkaError> {
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)
}

/// The error of a request, from whatever librdkafka or this module found.
struct Failure(ClientError);

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(code) => code.into(),
            None => error.to_string().into(),
        }
    }
}

impl From<RDKafkaErrorCode> for Failure {
    fn from(code: RDKafkaErrorCode) -> Self {
        // Negative codes are librdkafka's own.
        match i16::try_from(code as i32) {
            Ok(number @ 0..) => {
                Self(ClientError::Refused { code: number, message: code.to_string() })
            }
            _ => code.to_string().into(),
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self(ClientError::Failed(message))
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

/// What became of each record of a request.
struct Deliveries(Mutex<Vec<Result<i64, KafkaError>>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    /// The index of the record.
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, index: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.clone()),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[*index] = outcome;
    }
}

fn base_record<'a>(
    topic: &'a str,
    record: &'a Record,
    index: usize,
) -> BaseRecord<'a, [u8], [u8], Box<usize>> {
    let mut base = BaseRecord::with_opaque_to(topic, Box::new(index)).partition(record.partition);
    base.key = record.key.as_ref().map(|Blob(key)| key.as_slice());
    base.payload = record.value.as_ref().map(|Blob(value)| value.as_slice());
    base.timestamp = record.timestamp;
    let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: value.as_ref().map(|Blob(value)| value) })
    });
    base.headers(headers)
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Record {
        partition: message.partition(),
        offset: Some(message.offset()),
        timestamp: match message.timestamp() {
            Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => Some(millis),
            Timestamp::NotAvailable => None,
        },
        key: message.key().map(|key| Blob(key.into())),
        value: message.payload().map(|value| Blob(value.into())),
        headers: headers
            .map(|h| (h.key.to_owned(), h.value.map(|value| Blob(value.into()))))
            .collect(),
    }
}

fn offset(consumer: &BaseConsumer, topic: &str, partition: i32, at: At) -> Result<Value, Failure> {
    let offset = match at {
        At::Earliest => consumer.fetch_watermarks(topic, partition, PATIENCE)?.0,
        At::Latest => consumer.fetch_watermarks(topic, partition, PATIENCE)?.1,
        At::Time(millis) => {
            let mut times = TopicPartitionList::new();
            times.add_partition_offset(topic, partition, Offset::Offset(millis))?;
            let found = consumer.offsets_for_times(times, PATIENCE)?;
            let element =
                found.find_partition(topic, partition).ok_or("no answer for the partition")?;
            element.error()?;
            element.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(-1)
        }
        At::MaxTimestamp => {
            return Err("crate rdkafka cannot look for the greatest timestamp".into());
        }
    };
    Ok(json!(offset))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

/// Null, or the error of the one topic that was asked about.
fn first_error(results: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Result<Value, Failure> {
    match results.into_iter().next() {
        Some(Ok(_)) => Ok(Value::Null),
        Some(Err((_, code))) => Err(code.into()),
        None => Err("no answer for the topic".into()),
    }
}
