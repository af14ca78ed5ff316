//! Writing records to one topic: batches, pipelining, sequences that make repetition harmless.
//!
//! Records are collected in a batch a partition. A full batch is sealed with its sequence numbers and goes to the leader
//! behind those that are already on their way, at most [`IN_FLIGHT`] a partition, which is what a broker remembers of a
//! producer (KIP-98). Answers are taken in the order of the requests.
//!
//! **Invariant:** batches of a partition are sent, and sent again, in the order of their sequence numbers; a batch is
//! given up only when its time is over or the broker says that it will never take it.
//!
//! All that a transactional producer writes is one transaction ([`Producer::open_transactional`]).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::cluster::{Cluster, PAUSE_FIRST, Target};
use super::connection::{Connection, Pending};
use super::error::ClientError;
use super::metadata::{Metadata, Topics};
use super::partitioner::Partitioner;
use super::refusal::{check, is_retriable};
use super::transaction::{End, Transaction};
use crate::model::{
    BrokerId, ErrorCode, Instant, Offset, PartitionId, ProducerEpoch, ProducerId, TopicId,
    UnixMillis,
};
use crate::record::{BatchBuilder, Compression};
use crate::wire::messages::{InitProducerIdRequest, WireProducerId};
use crate::wire::produce::{ProducePartition, ProduceTopic};
use crate::wire::{ApiKey, ProduceRequest, Text};

/// Batches of a partition that may be on their way.
const IN_FLIGHT: usize = 5;

/// How records are written.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// How batches are compressed.
    pub compression: Compression,
    /// A batch is sealed when its records have so many bytes.
    pub batch_bytes: usize,
    /// Whether all replicas in sync have to have the records, or the leader alone.
    pub all_replicas: bool,
    /// Whether batches carry sequence numbers, so that none is written twice.
    pub idempotent: bool,
    /// How long a batch may take, with all its repetitions.
    pub delivery_timeout: Duration,
    /// Whether the brokers may create the topic.
    pub create_topic: bool,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            compression: Compression::None,
            batch_bytes: 256 << 10,
            all_replicas: true,
            idempotent: true,
            delivery_timeout: Duration::from_secs(120),
            create_topic: true,
        }
    }
}

/// A record that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none makes it a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// Its time; none means now.
    pub timestamp: Option<UnixMillis>,
    /// Where it goes; none means where its key says.
    pub partition: Option<PartitionId>,
}

/// A batch that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Where.
    pub partition: PartitionId,
    /// The offset of its first record, -1 if the broker does not tell.
    pub base_offset: Offset,
    /// The sequence number of its first record, -1 without such numbers. Batches that were sent again come after those that were
    /// behind them and were not.
    pub base_sequence: i32,
    /// How many records it has.
    pub records: u32,
    /// How many bytes it has.
    pub bytes: usize,
    /// How long it took from the moment it was sealed.
    pub took: Duration,
}

/// Writes to one topic.
#[derive(Debug)]
pub struct Producer {
    cluster: Cluster,
    options: ProducerOptions,
    topic: String,
    topic_id: TopicId,
    metadata: Metadata,
    partitioner: Partitioner,
    identity: Option<(ProducerId, ProducerEpoch)>,
    transaction: Option<Transaction>,
    partitions: BTreeMap<PartitionId, Open>,
    /// Requests on their way, in the order in which they were sent.
    in_flight: VecDeque<InFlight>,
    delivered: Vec<Delivered>,
}

/// What a partition has.
#[derive(Debug, Default)]
struct Open {
    builder: BatchBuilder,
    records: u32,
    next_sequence: i32,
}

#[derive(Debug)]
struct InFlight {
    pending: Pending<ProduceRequest>,
    batch: Batch,
}

/// A sealed batch.
#[derive(Clone, Debug)]
struct Batch {
    partition: PartitionId,
    bytes: Bytes,
    base_sequence: i32,
    records: u32,
    sealed: Instant,
}

impl Producer {
    /// Looks the topic up, and gets an id for the sequence numbers.
    ///
    /// # Errors
    /// When the topic is not there and not created, or no broker gives an id.
    pub async fn open(
        cluster: Cluster,
        topic: &str,
        options: ProducerOptions,
    ) -> Result<Self, ClientError> {
        let metadata = find_topic(&cluster, topic, options.create_topic).await?;
        let identity = match options.idempotent {
            true => Some(cluster.retry(async || producer_id(&cluster).await).await?),
            false => None,
        };
        Ok(Self::new(cluster, topic, metadata, options, identity))
    }

    /// The same for one transaction, in which all is that will be written until [`commit`](Self::commit) or
    /// [`abort`](Self::abort). Who has this transactional id can write no more, and what they have not committed is aborted; so
    /// will this be, by the broker, if it is not ended within `timeout`.
    ///
    /// # Errors
    /// As [`open`](Self::open); or when the coordinator of the transaction refuses.
    pub async fn open_transactional(
        cluster: Cluster,
        topic: &str,
        options: ProducerOptions,
        id: &str,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let metadata = find_topic(&cluster, topic, options.create_topic).await?;
        let transaction = Transaction::begin(cluster.clone(), id, timeout).await?;
        let options = ProducerOptions { all_replicas: true, idempotent: true, ..options };
        let identity = Some(transaction.producer());
        let producer = Self::new(cluster, topic, metadata, options, identity);
        Ok(Self { transaction: Some(transaction), ..producer })
    }

    fn new(
        cluster: Cluster,
        topic: &str,
        metadata: Metadata,
        options: ProducerOptions,
        identity: Option<(ProducerId, ProducerEpoch)>,
    ) -> Self {
        let found = metadata.topic(topic);
        let count = found.map_or(1, |topic| topic.partitions.len());
        let start = cluster.env().rng.below(1 << 20);
        Self {
            topic_id: found.map_or(TopicId::ZERO, |topic| topic.id),
            partitioner: Partitioner::new(u32::try_from(count).unwrap_or(1), start),
            topic: topic.to_owned(),
            metadata,
            cluster,
            options,
            identity,
            transaction: None,
            partitions: BTreeMap::new(),
            in_flight: VecDeque::new(),
            delivered: Vec::new(),
        }
    }

    /// Takes a record. Waits when too much is on its way.
    ///
    /// # Errors
    /// When the partition is not there, or an earlier batch could not be written.
    pub async fn push(&mut self, record: NewRecord<'_>) -> Result<(), ClientError> {
        let partition = match record.partition {
            Some(partition) => partition,
            None => PartitionId(self.partitioner.partition(record.key).cast_signed()),
        };
        let time = record.timestamp.unwrap_or_else(|| self.cluster.env().clock.now());
        if !self.partitions.contains_key(&partition) {
            self.metadata.leader_of(&self.topic, partition)?;
        }
        let open = self.partitions.entry(partition).or_default();
        open.builder.push_with_headers(time, record.key, record.value, record.headers);
        open.records += 1;
        if open.builder.records_bytes() >= self.options.batch_bytes {
            self.seal(partition).await?;
            if record.key.is_none() && record.partition.is_none() {
                self.partitioner.next_sticky();
            }
        }
        Ok(())
    }

    /// Sends what was collected, without waiting for answers.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub async fn send_open(&mut self) -> Result<(), ClientError> {
        let open = self.partitions.iter().filter(|(_, open)| open.records > 0);
        let partitions: Vec<_> = open.map(|(partition, _)| *partition).collect();
        for partition in partitions {
            self.seal(partition).await?;
        }
        Ok(())
    }

    /// Sends what was collected and waits until all is written.
    ///
    /// # Errors
    /// When a batch could not be written.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        self.send_open().await?;
        while !self.in_flight.is_empty() {
            self.take_answer().await?;
        }
        Ok(())
    }

    /// Writes what was collected, and commits it if there is a transaction.
    ///
    /// # Errors
    /// When a batch could not be written: then the transaction is still open. When the coordinator does not end it.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        self.flush().await?;
        match &mut self.transaction {
            Some(transaction) => transaction.end(End::Commit).await,
            None => Ok(()),
        }
    }

    /// Forgets what was collected, and aborts what was written if there is a transaction.
    ///
    /// # Errors
    /// When the coordinator does not end it.
    pub async fn abort(&mut self) -> Result<(), ClientError> {
        self.partitions.clear();
        // What is on its way would come behind the end.
        while let Some(InFlight { pending, batch }) = self.in_flight.pop_front() {
            if let Err(error) = self.outcome(pending, &batch).await {
                tracing::debug!(%error, "a batch of an aborted transaction was not taken");
            }
        }
        match &mut self.transaction {
            Some(transaction) => transaction.end(End::Abort).await,
            None => Ok(()),
        }
    }

    /// What was written since this was last asked.
    pub fn take_delivered(&mut self) -> Vec<Delivered> {
        std::mem::take(&mut self.delivered)
    }

    /// How many batches are on their way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Waits for the answer to the oldest batch on its way; nothing if there is none.
    ///
    /// # Errors
    /// When that batch, or one with it, could not be written.
    pub async fn take_answer(&mut self) -> Result<(), ClientError> {
        let Some(InFlight { pending, batch }) = self.in_flight.pop_front() else {
            return Ok(());
        };
        let outcome = self.outcome(pending, &batch).await;
        match outcome {
            Ok(delivered) => self.delivered.push(delivered),
            Err(error) if self.may_repeat(&error) => {
                self.recover(vec![(batch, error)], None).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn seal(&mut self, partition: PartitionId) -> Result<(), ClientError> {
        if let Some(transaction) = &mut self.transaction {
            transaction.add(&self.topic, partition).await?;
        }
        let connection = self.way_to(partition).await?;
        let identity = self.identity;
        let open = self.partitions.entry(partition).or_default();
        let mut builder = std::mem::take(&mut open.builder);
        let records = std::mem::take(&mut open.records);
        builder.compression(self.options.compression);
        if self.transaction.is_some() {
            builder.transactional();
        }
        let mut base_sequence = -1;
        if let Some((id, epoch)) = identity {
            base_sequence = open.next_sequence;
            builder.producer(id, epoch, base_sequence);
            // After 2^31 - 1 comes 0.
            open.next_sequence = open.next_sequence.wrapping_add(records.cast_signed()) & i32::MAX;
        }
        let sealed = self.cluster.env().steady.now();
        let batch = Batch { partition, bytes: builder.build(), base_sequence, records, sealed };
        let sent = match connection {
            Ok(connection) => self.send(&connection, &batch).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(pending) => {
                self.in_flight.push_back(InFlight { pending, batch });
                Ok(())
            }
            Err(error) if error.is_retriable() => {
                self.recover(Vec::new(), Some((batch, error))).await
            }
            Err(error) => Err(error),
        }
    }

    async fn connection_to(&self, partition: PartitionId) -> Result<Connection, ClientError> {
        let (leader, _) = self.metadata.leader_of(&self.topic, partition)?;
        self.cluster.connection(Target::Node(leader)).await
    }

    /// The connection for the next batch of a partition, or why there is none, once there may be one more on its way: on
    /// another connection than those before it, it could overtake them. The outer error is that of an earlier batch.
    async fn way_to(
        &mut self,
        partition: PartitionId,
    ) -> Result<Result<Connection, ClientError>, ClientError> {
        loop {
            let connection = self.connection_to(partition).await;
            let mut before = self.in_flight.iter().filter(|sent| sent.batch.partition == partition);
            let may_send = connection.as_ref().is_ok_and(|connection| {
                before.clone().count() < IN_FLIGHT
                    && before.all(|sent| sent.pending.is_on(connection))
            });
            if may_send || connection.is_err() {
                return Ok(connection);
            }
            self.take_answer().await?;
        }
    }

    async fn send(
        &self,
        connection: &Connection,
        batch: &Batch,
    ) -> Result<Pending<ProduceRequest>, ClientError> {
        // Without an id the topic goes by its name.
        let max = if self.topic_id.is_zero() { LAST_WITH_NAMES } else { i16::MAX };
        let transaction = self.transaction.as_ref();
        let max = transaction.map_or(max, |transaction| transaction.produce_version_max().min(max));
        let version = connection.version_up_to(ApiKey::Produce, max)?;
        let timeout = self.cluster.options().request_timeout.as_millis();
        let request = ProduceRequest {
            transactional_id: transaction.map(Transaction::id),
            acks: if self.options.all_replicas { -1 } else { 1 },
            timeout_ms: i32::try_from(timeout).unwrap_or(i32::MAX),
            topics: vec![ProduceTopic {
                name: Text::from_string(self.topic.clone()),
                topic_id: self.topic_id,
                partitions: vec![ProducePartition {
                    index: batch.partition,
                    records: Some(batch.bytes.clone()),
                }],
            }],
        };
        connection.send(version, &request).await
    }

    async fn outcome(
        &self,
        pending: Pending<ProduceRequest>,
        batch: &Batch,
    ) -> Result<Delivered, ClientError> {
        // What may be sent again has the other half of its time for that.
        let repetitions = u32::from(self.identity.is_some());
        let patience = self.options.delivery_timeout / (1 + repetitions);
        let patience = patience.min(self.cluster.options().request_timeout);
        let deadline = self.cluster.env().steady.now().plus(patience);
        let (version, connection) = (pending.version(), pending.connection().clone());
        let (response, came) = pending.receive_timed(deadline).await?;
        let partition = batch.partition;
        let subject = || format!("{} partition {partition}", self.topic);
        let outcome =
            response.topics.first().and_then(|topic| topic.partitions.first()).ok_or_else(
                || {
                    let error = check(ApiKey::Produce, UNKNOWN, subject, Some("it did not answer"));
                    error.err().map_or(ClientError::NoSuchBroker { node: BrokerId(-1) }, Into::into)
                },
            )?;
        // A duplicate is what a repetition finds when the first one came through.
        if outcome.error_code != ErrorCode::DuplicateSequenceNumber {
            let record = outcome.record_errors.first().and_then(|error| error.message.as_ref());
            let message = record.or(outcome.error_message.as_ref()).map(ToString::to_string);
            check(ApiKey::Produce, outcome.error_code.code(), subject, message.as_deref())
                .map_err(|refusal| refusal.asked(&connection, version))?;
        }
        Ok(Delivered {
            partition,
            base_offset: outcome.base_offset,
            base_sequence: batch.base_sequence,
            records: batch.records,
            bytes: batch.bytes.len(),
            took: came.since(batch.sealed),
        })
    }

    /// Whether a batch may be sent again after this error: surely if it carries a sequence number; else only if the broker
    /// has said that it did not take it.
    fn may_repeat(&self, error: &ClientError) -> bool {
        let refused = error.refusal().map(|refusal| refusal.code);
        match refused {
            Some(ErrorCode::RequestTimedOut) => self.identity.is_some(),
            Some(code) => is_retriable(code),
            None => {
                let timeout = matches!(error, ClientError::Timeout { .. });
                (error.is_retriable() || timeout) && self.identity.is_some()
            }
        }
    }

    /// Takes all answers that are due, then sends what was not taken again, one by one, until it is or its time is over:
    /// `failed`, which come before what is on its way, then that, then the one after it.
    async fn recover(
        &mut self,
        mut failed: Vec<(Batch, ClientError)>,
        next: Option<(Batch, ClientError)>,
    ) -> Result<(), ClientError> {
        while let Some(InFlight { pending, batch }) = self.in_flight.pop_front() {
            match self.outcome(pending, &batch).await {
                Ok(delivered) => self.delivered.push(delivered),
                Err(error) if self.may_repeat(&error) || follows_a_failed_one(&error) => {
                    failed.push((batch, error));
                }
                Err(error) => return Err(error),
            }
        }
        for (batch, error) in failed.into_iter().chain(next) {
            tracing::debug!(%error, "a batch is sent again");
            self.repeat(&batch, error).await?;
        }
        Ok(())
    }

    /// Sends a batch again until it is written or its time is over; then `error` is what was wrong with it last.
    async fn repeat(&mut self, batch: &Batch, mut error: ClientError) -> Result<(), ClientError> {
        let steady = self.cluster.env().steady.clone();
        // What was wrong may have been found out late.
        let found_out = steady.now().plus(self.options.delivery_timeout / 2);
        let deadline = batch.sealed.plus(self.options.delivery_timeout).max(found_out);
        let mut pause = PAUSE_FIRST;
        loop {
            error = tokio::select! {
                biased;
                outcome = self.send_and_wait(batch) => match outcome {
                    Ok(delivered) => {
                        self.delivered.push(delivered);
                        return Ok(());
                    }
                    Err(error) => error,
                },
                () = steady.sleep_until(deadline) => return Err(error),
            };
            let may_repeat = self.may_repeat(&error) || error.is_retriable();
            tracing::debug!(%error, partition = %batch.partition, may_repeat, "a batch that was sent again was not taken");
            if !may_repeat || !self.cluster.pause(&mut pause, deadline).await {
                return Err(error);
            }
            let asked = [self.topic.as_str()];
            let metadata = tokio::select! {
                metadata = self.cluster.metadata(Topics::Named(&asked)) => metadata,
                () = steady.sleep_until(deadline) => return Err(error),
            };
            match metadata {
                Ok(metadata) => self.metadata = metadata,
                Err(error) => tracing::debug!(%error, "the leaders could not be asked for"),
            }
        }
    }

    async fn send_and_wait(&self, batch: &Batch) -> Result<Delivered, ClientError> {
        let connection = self.connection_to(batch.partition).await?;
        let pending = self.send(&connection, batch).await?;
        self.outcome(pending, batch).await
    }
}

/// The cluster as it is with the topic in it. A broker that creates topics says that there is none when it begins to.
async fn find_topic(cluster: &Cluster, topic: &str, create: bool) -> Result<Metadata, ClientError> {
    let asked = [topic];
    let topics = if create { Topics::Created(&asked) } else { Topics::Named(&asked) };
    let created =
        cluster.env().steady.now().plus(CREATION_TIME.min(cluster.options().operation_timeout));
    let deadline = cluster.deadline();
    let mut pause = PAUSE_FIRST;
    loop {
        let metadata = cluster.metadata(topics).await?;
        let Err(error) = metadata.leader_of(topic, PartitionId(0)) else { return Ok(metadata) };
        let code = error.refusal().map(|refusal| refusal.code);
        let is_created = create && code == Some(ErrorCode::UnknownTopicOrPartition);
        let until = if is_created { created } else { deadline };
        let may_pass = is_created || error.is_retriable();
        if !may_pass || !cluster.pause(&mut pause, until).await {
            return Err(error);
        }
    }
}

/// Whether a batch was refused because the one before it was.
fn follows_a_failed_one(error: &ClientError) -> bool {
    let code = error.refusal().map(|refusal| refusal.code);
    code == Some(ErrorCode::OutOfOrderSequenceNumber)
}

async fn producer_id(cluster: &Cluster) -> Result<(ProducerId, ProducerEpoch), ClientError> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id(WireProducerId(-1))
        .with_producer_epoch(-1);
    let response = cluster.request(Target::Any, &request).await?;
    let subject = || "the id of an idempotent producer".to_owned();
    check(ApiKey::InitProducerId, response.error_code, subject, None)?;
    Ok((ProducerId(response.producer_id.0), ProducerEpoch(response.producer_epoch)))
}

/// How long a topic may take to be created when its first record comes.
const CREATION_TIME: Duration = Duration::from_secs(5);
/// After this version Produce names topics by id.
const LAST_WITH_NAMES: i16 = 12;
const UNKNOWN: i16 = -1;
