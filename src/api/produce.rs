//! Produce, versions 3 to 13: appending records.
//!
//! | version | what it added |
//! |---|---|
//! | 5 | log start offset |
//! | 7 | zstd is allowed |
//! | 8 | record errors and messages (KIP-467) |
//! | 10 | the current leader with NOT_LEADER_OR_FOLLOWER (KIP-951) |
//! | 11 | TRANSACTION_ABORTABLE (KIP-890) |
//! | 12 | makes partitions part of the producer's transaction (KIP-890) |
//! | 13 | topic ids |
//!
//! The handler works through the partitions in the order of the request. Batches whose records have to be decompressed to
//! be checked are checked on the pool for blocking work when they are large; the connection's next request waits for that,
//! so that a producer's batches stay in order. Source: `KafkaApis.handleProduceRequest`, `ReplicaManager.appendRecords`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::error_map;
use super::leaders::Leaders;
use super::pending::{Pending, PendingWait};
use super::verification::{Mode, Place, Verified, Writer, verify};
use crate::cluster::ClusterImage;
use crate::model::{ErrorCode, Instant, Offset, PartitionId, TopicId, UnixMillis};
use crate::record::{self, BatchHeader, Compression, InvalidBatch};
use crate::replica::{Beginning, Mark, Partition, PartitionError};
use crate::telemetry::Phase;
use crate::txn::Producer;
use crate::wire::produce::{
    ProducePartition, ProducePartitionResponse, ProduceTopic, ProduceTopicResponse, RecordError,
};
use crate::wire::{ProduceRequest, ProduceResponse, Text};

/// First version whose clients know zstd.
const ZSTD_SINCE: i16 = 7;
/// First version whose responses name the current leader.
const CURRENT_LEADER_SINCE: i16 = 10;
/// First version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE_SINCE: i16 = 11;
/// First version that makes partitions part of the transaction.
const ADDS_SINCE: i16 = 12;
/// First version with topic ids.
const TOPIC_IDS_SINCE: i16 = 13;
/// Nothing smaller is checked on the pool; what is to be compressed anew is from this size on.
const OFFLOAD_BYTES_MIN: usize = 64 * 1024;
/// The client id of Kafka's admin clients, which may write to internal topics (`AdminUtils.ADMIN_CLIENT_ID`).
const ADMIN_CLIENT_ID: &str = "__admin_client";

pub(super) fn start(context: RequestContext, request: ProduceRequest) -> Answer<ProduceResponse> {
    if request.topics.iter().any(is_transactional) && !may_be_transactional(&context, &request) {
        return refuse_all(&request, ErrorCode::TransactionalIdAuthorizationFailed);
    }
    let begins = match Begins::of(&context, &request) {
        Ok(begins) => begins,
        Err(code) => return refuse_all(&request, code),
    };
    let offload = request.topics.iter().any(|topic| needs_offload(&context, topic));
    if begins.is_none() && !offload {
        return append_all(&context, request, &Verified::default(), context.phase_begun);
    }
    Answer::Ordered(Box::pin(async move {
        let verified = match begins {
            Some(begins) => verify(&context, &begins.writer, begins.places).await,
            None => Verified::default(),
        };
        let (steady, tasks) = (context.services.env.steady.clone(), &context.services.env.tasks);
        if !offload {
            return append_all(&context, request, &verified, steady.now());
        }
        let tasks = tasks.clone();
        let append = move || append_all(&context, request, &verified, steady.now());
        tasks.spawn_blocking("produce", append).await
    }))
}

/// The records of a topic that are written in transactions: their partitions, and the headers of their first batches.
fn transactional(topic: &ProduceTopic) -> impl Iterator<Item = (PartitionId, BatchHeader)> {
    let batches = topic.partitions.iter().filter_map(|partition| {
        let header = BatchHeader::parse(partition.records.as_ref()?).ok()?;
        Some((partition.index, header))
    });
    batches.filter(|(_, header)| header.is_transactional())
}

/// Whether there are records of a transaction among those of a topic.
fn is_transactional(topic: &ProduceTopic) -> bool {
    transactional(topic).next().is_some()
}

/// The partitions in which a request is about to begin a transaction.
struct Begins {
    writer: Writer,
    places: Vec<Place>,
}

impl Begins {
    /// What a request is about to begin, if it is. Partitions that cannot be written are left out: they are refused later.
    fn of(context: &RequestContext, request: &ProduceRequest) -> Result<Option<Self>, ErrorCode> {
        let Some(id) = &request.transactional_id else { return Ok(None) };
        let mode = match context.version() {
            ADDS_SINCE.. => Mode::Add,
            version => Mode::Verify { knows_abortable: version >= ABORTABLE_SINCE },
        };
        let image = context.image();
        let (mut writer, mut places) = (None, Vec::new());
        for topic in &request.topics {
            let resolved = resolve(context, &image, topic).ok();
            for (partition, header) in transactional(topic) {
                let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
                if *writer.get_or_insert(producer) != producer {
                    return Err(ErrorCode::InvalidProducerIdMapping);
                }
                let per_transaction = mode == Mode::Add;
                let place = resolved.and_then(|topic| {
                    Self::place(context, &image, (topic, partition), &header, per_transaction)
                });
                places.extend(place);
            }
        }
        let writer = writer.map(|producer| Writer { id: id.as_str().into(), producer, mode });
        let writer = writer.filter(|_| !places.is_empty());
        Ok(writer.map(|writer| Self { writer, places }))
    }

    fn place(
        context: &RequestContext,
        image: &ClusterImage,
        (topic, partition): (TopicId, PartitionId),
        header: &BatchHeader,
        epoch_per_transaction: bool,
    ) -> Option<Place> {
        let beginning = Beginning {
            producer: header.producer_id,
            epoch: header.producer_epoch,
            sequence: header.base_sequence,
            epoch_per_transaction,
        };
        let found = context.services.replicas.partition(topic, partition)?;
        let now = context.services.env.clock.now();
        let guard = found.begin_verification(&beginning, now).ok()??;
        let name = image.topic_by_id(topic)?.name.as_str().into();
        Some(Place { topic, name, partition, guard })
    }
}

fn may_be_transactional(context: &RequestContext, request: &ProduceRequest) -> bool {
    request
        .transactional_id
        .as_ref()
        .is_some_and(|id| context.authorize(Operation::Write, Resource::TransactionalId(id)))
}

fn refuse_all(request: &ProduceRequest, code: ErrorCode) -> Answer<ProduceResponse> {
    let topics = request.topics.iter().map(|topic| ProduceTopicResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| Refused::plain(code).response(partition.index))
            .collect(),
    });
    let topics = topics.collect();
    let response = ProduceResponse { topics, throttle_time_ms: 0, node_endpoints: Vec::new() };
    if request.acks == 0 { answer_nothing(&response) } else { Answer::Now(response) }
}

/// From which size on batches of a codec are checked on the pool. What is smaller takes a few hundred microseconds to
/// decompress, as long as a batch of 1 MiB takes to be written; to hand it over costs up to a third more CPU.
const fn offload_bytes_min(codec: Compression) -> usize {
    match codec {
        Compression::None => usize::MAX,
        Compression::Gzip => OFFLOAD_BYTES_MIN,
        Compression::Zstd => 128 * 1024,
        Compression::Snappy | Compression::Lz4 => 256 * 1024,
    }
}

/// Whether checking the records takes so long that it must not hold up other connections.
fn needs_offload(context: &RequestContext, topic: &ProduceTopic) -> bool {
    let slow_to_check = |records: &Bytes| {
        BatchHeader::parse(records)
            .is_ok_and(|header| records.len() >= offload_bytes_min(header.compression()))
    };
    // A topic that is not there is refused later.
    let recompressed = |index: PartitionId| {
        let id = resolve(context, &context.image(), topic).ok();
        let partition = id.and_then(|id| context.services.replicas.partition(id, index));
        partition.is_some_and(|partition| partition.recompresses())
    };
    let with_records = topic
        .partitions
        .iter()
        .filter_map(|partition| Some((partition.index, partition.records.as_ref()?)));
    with_records
        .filter(|(_, records)| records.len() >= OFFLOAD_BYTES_MIN)
        .any(|(index, records)| slow_to_check(records) || recompressed(index))
}

fn append_all(
    context: &RequestContext,
    request: ProduceRequest,
    verified: &Verified,
    since: Instant,
) -> Answer<ProduceResponse> {
    let image = context.image();
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut all_pending = Vec::new();
    for topic in &request.topics {
        let resolved = resolve(context, &image, topic);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let found = find(context, &resolved, partition.index, request.acks);
            let appended = found
                .as_ref()
                .map_err(|code| Refused::plain(*code))
                .and_then(|found| append(context, found, partition, request.acks, verified));
            count(context, found.as_deref().ok(), appended.as_ref().ok());
            partitions.push(match appended {
                Ok(appended) => {
                    if let Some(wait) = appended.wait {
                        let (topic, index) = (topics.len(), partitions.len());
                        all_pending.push(Pending { wait, topic, index });
                    }
                    appended.response
                }
                Err(refused) => refused.response(partition.index),
            });
        }
        let (name, topic_id) = (topic.name.clone(), topic.topic_id);
        topics.push(ProduceTopicResponse { name, topic_id, partitions });
    }
    let appended_at = context.end_phase(Phase::Append, since);
    let mut response = ProduceResponse { topics, throttle_time_ms: 0, node_endpoints: Vec::new() };
    if request.acks == 0 {
        return answer_nothing(&response);
    }
    if all_pending.is_empty() {
        name_leaders(context, &mut response);
        return Answer::Now(response);
    }
    let patience = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let waited = Waited::new(context.clone(), appended_at);
    Answer::later(wait_for_all(waited, response, all_pending, patience))
}

/// A producer that wants no response learns of an error by the end of its connection.
fn answer_nothing(response: &ProduceResponse) -> Answer<ProduceResponse> {
    for topic in &response.topics {
        if let Some(failed) =
            topic.partitions.iter().find(|partition| !partition.error_code.is_none())
        {
            let (code, index) = (failed.error_code, failed.index);
            return Answer::Close(format!(
                "produce with acks=0 to {}-{index} failed: {code}",
                topic.name
            ));
        }
    }
    Answer::Nothing
}

/// The topic that records are for.
fn resolve(
    context: &RequestContext,
    image: &ClusterImage,
    topic: &ProduceTopic,
) -> Result<TopicId, ErrorCode> {
    let found = if context.version() >= TOPIC_IDS_SINCE {
        image.topic_by_id(topic.topic_id).ok_or(ErrorCode::UnknownTopicId)
    } else {
        image.topic(&topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)
    };
    let found = found?;
    if !context.authorize(Operation::Write, Resource::Topic(found.name.as_str())) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    if found.name.is_internal() && context.header.client_id.as_deref() != Some(ADMIN_CLIENT_ID) {
        return Err(ErrorCode::InvalidTopic);
    }
    Ok(found.id)
}

/// The partition that records are for.
fn find(
    context: &RequestContext,
    topic: &Result<TopicId, ErrorCode>,
    index: PartitionId,
    acks: i16,
) -> Result<Arc<Partition>, ErrorCode> {
    let topic = (*topic)?;
    if !(-1..=1).contains(&acks) {
        return Err(ErrorCode::InvalidRequiredAcks);
    }
    let partition = context.services.replicas.partition(topic, index);
    partition.ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// Counts what became of the records for one partition, in its counts and in those of the broker.
fn count(context: &RequestContext, partition: Option<&Partition>, accepted: Option<&Accepted>) {
    let of_partition = partition.map(Partition::traffic);
    for traffic in of_partition.into_iter().chain([&context.services.metrics.traffic]) {
        traffic.produce_requests.add(1);
        match accepted {
            Some(accepted) => {
                traffic.records_in.add(accepted.records);
                traffic.bytes_in.add(accepted.bytes);
            }
            None => traffic.produce_failures.add(1),
        }
    }
}

struct Accepted {
    response: ProducePartitionResponse,
    wait: Option<PendingWait>,
    records: u64,
    bytes: u64,
}

fn append(
    context: &RequestContext,
    partition: &Arc<Partition>,
    request: &ProducePartition,
    acks: i16,
    verified: &Verified,
) -> Result<Accepted, Refused> {
    let services = &context.services;
    let now = services.env.clock.now();
    let rules = partition.record_rules(context.version() >= ZSTD_SINCE);
    let records = request.records.clone().unwrap_or_default();
    let batch = record::validate(&records, &rules, now)
        .map_err(|invalid| Refused::invalid(invalid, partition))?;
    let all_in_sync = acks == -1;
    let appended = if batch.header().is_transactional() {
        let guard = verified.guard(partition.id().topic, request.index);
        let guard = guard.map_err(Refused::unverified)?;
        partition.append_in_transaction(batch, guard, all_in_sync, now)
    } else {
        partition.append(batch, all_in_sync, now)
    };
    let appended = appended.map_err(|error| {
        services.replicas.report(partition, &error);
        Refused::failed(&error, partition)
    })?;
    services.replicas.flush_after(partition, &appended);
    let (until, leader_epoch) = (appended.last_offset.plus(1), appended.leader_epoch);
    let mark = if all_in_sync { Mark::Committed } else { Mark::Settled };
    let waits = acks != 0 && {
        let pending = partition.wait_for(mark, until, leader_epoch);
        pending.map_err(|error| Refused::failed(&error, partition))?.is_some()
    };
    let response = ProducePartitionResponse {
        index: request.index,
        error_code: ErrorCode::None,
        base_offset: appended.base_offset,
        log_append_time: appended.log_append_time.unwrap_or(UnixMillis::NONE),
        log_start_offset: appended.log_start,
        record_errors: Vec::new(),
        error_message: None,
        current_leader: None,
    };
    let partition = Arc::clone(partition);
    let wait = waits.then(|| PendingWait { partition, mark, until, leader_epoch });
    let records = u64::try_from(until.0 - appended.base_offset.0).unwrap_or(0);
    Ok(Accepted { response, wait, records, bytes: u64::from(appended.size_bytes) })
}

/// Waits until all appends can be acknowledged, or the request's time is up. That is for replicas: for the own disk an append
/// waits as long as that takes, as it would in Apache Kafka.
async fn wait_for_all(
    mut waited: Waited,
    mut response: ProduceResponse,
    all_pending: Vec<Pending>,
    patience: Duration,
) -> ProduceResponse {
    let env = waited.context.services.env.clone();
    let deadline = waited.since.plus(patience);
    for append in all_pending {
        let waiting = |mark| waited.turn_to(mark);
        let done = match append.wait.mark {
            Mark::Committed | Mark::Deleted => {
                let done = append.wait.done_before_stop(&env.tasks, waiting);
                env.steady.timeout_at(deadline, done).await.ok().flatten()
            }
            Mark::Settled => Some(append.wait.done(waiting).await),
        };
        let error = match done {
            Some(Ok(())) => continue,
            Some(Err(error)) => error_map::code(&error),
            None => ErrorCode::RequestTimedOut,
        };
        let place = response
            .topics
            .get_mut(append.topic)
            .and_then(|topic| topic.partitions.get_mut(append.index));
        let place = place.expect("the places were taken from this response");
        *place = Refused::plain(error).response(place.index);
    }
    let context = waited.end();
    name_leaders(&context, &mut response);
    response
}

/// How long a request has waited after it has appended: for its own disk, and for replicas.
struct Waited {
    context: RequestContext,
    /// What it waits for; nothing before the first wait.
    mark: Option<Mark>,
    /// Since when it does.
    since: Instant,
    fsync: Option<Duration>,
    purgatory: Option<Duration>,
}

impl Waited {
    const fn new(context: RequestContext, appended_at: Instant) -> Self {
        Self { context, mark: None, since: appended_at, fsync: None, purgatory: None }
    }

    /// The request waits for `mark` from now on.
    fn turn_to(&mut self, mark: Mark) {
        if self.mark != Some(mark) {
            self.stop();
            self.mark = Some(mark);
        }
    }

    fn stop(&mut self) {
        let time = match self.mark {
            // The first wait begins where appending ended.
            None => return,
            Some(Mark::Settled) => &mut self.fsync,
            Some(Mark::Committed | Mark::Deleted) => &mut self.purgatory,
        };
        let now = self.context.services.env.steady.now();
        *time = Some(time.unwrap_or_default() + now.since(self.since));
        self.since = now;
    }

    /// Counts what there was, and gives the request back.
    fn end(mut self) -> RequestContext {
        self.stop();
        for (phase, time) in [(Phase::Fsync, self.fsync), (Phase::Purgatory, self.purgatory)] {
            if let Some(time) = time {
                self.context.count_phase(phase, time);
            }
        }
        self.context
    }
}

/// Tells who leads the partitions that this broker does not lead (KIP-951).
fn name_leaders(context: &RequestContext, response: &mut ProduceResponse) {
    if context.version() < CURRENT_LEADER_SINCE {
        return;
    }
    let mut leaders = Leaders::default();
    for topic in &mut response.topics {
        let others = topic.partitions.iter_mut();
        for partition in others.filter(|it| it.error_code == ErrorCode::NotLeaderOrFollower) {
            let id = match context.image().topic(&topic.name) {
                Some(found) if topic.topic_id.is_zero() => found.id,
                _ => topic.topic_id,
            };
            partition.current_leader = leaders.of(context, id, partition.index);
        }
    }
    response.node_endpoints = leaders.endpoints();
}

/// Why records were not appended, as the response says it.
struct Refused {
    error_code: ErrorCode,
    log_start_offset: Offset,
    record_errors: Vec<RecordError>,
    error_message: Option<Text>,
}

impl Refused {
    const fn plain(error_code: ErrorCode) -> Self {
        Self {
            error_code,
            log_start_offset: Offset(-1),
            record_errors: Vec::new(),
            error_message: None,
        }
    }

    /// The coordinator does not know of the partition, or does not answer.
    fn unverified(code: ErrorCode) -> Self {
        let is_unknown = code == ErrorCode::InvalidTxnState;
        let text = Text::from_static_str("the partition is not part of the transaction");
        Self { error_message: is_unknown.then_some(text), ..Self::plain(code) }
    }

    fn invalid(invalid: InvalidBatch, partition: &Partition) -> Self {
        let record_error = |error: record::RecordError| RecordError {
            batch_index: error.index,
            message: Some(Text::from_string(error.message)),
        };
        let knows_start = !invalid.before_log
            && !matches!(invalid.error, ErrorCode::MessageTooLarge | ErrorCode::CorruptMessage);
        Self {
            error_code: invalid.error,
            log_start_offset: if knows_start { log_start(partition) } else { Offset(-1) },
            record_errors: invalid.record_errors.into_iter().map(record_error).collect(),
            error_message: Some(Text::from_string(invalid.message)),
        }
    }

    fn failed(error: &PartitionError, partition: &Partition) -> Self {
        let code = error_map::code(error);
        let knows_start = matches!(
            code,
            ErrorCode::OutOfOrderSequenceNumber
                | ErrorCode::InvalidProducerEpoch
                | ErrorCode::InvalidTxnState
        );
        let log_start_offset = if knows_start { log_start(partition) } else { Offset(-1) };
        Self { log_start_offset, ..Self::plain(code) }
    }

    fn response(self, index: PartitionId) -> ProducePartitionResponse {
        ProducePartitionResponse {
            index,
            error_code: self.error_code,
            base_offset: Offset(-1),
            log_append_time: UnixMillis::NONE,
            log_start_offset: self.log_start_offset,
            record_errors: self.record_errors,
            error_message: self.error_message,
            current_leader: None,
        }
    }
}

fn log_start(partition: &Partition) -> Offset {
    partition.log().map_or(Offset(-1), |log| log.ends().log_start)
}
