//! Fetch, versions 4 to 18: reading records.
//!
//! | version | what it added |
//! |---|---|
//! | 5 | log start offset |
//! | 7 | incremental sessions (KIP-227) |
//! | 9 | the client's leader epoch is checked (KIP-320) |
//! | 12 | diverging epochs |
//! | 13 | topic ids |
//! | 15 | the broker epoch of a replica (KIP-903) |
//! | 16 | the current leader with errors that say that this is none (KIP-951) |
//! | 18 | the high watermark that a replica knows: it is told of a higher one at once |
//!
//! Partitions are read in the order of the session (or the request) until the size limits are reached; the first batch of
//! the first partition with records is given whole, whatever its size. What is in memory is read on the spot; what is not,
//! on the pool for blocking work, one job a request. What transactions that were aborted wrote is left out for readers of
//! committed records; to the limits it counts. With less than `min_bytes` to give, the request waits for appends.
//! Source: `KafkaApis.handleFetchRequest`, `ReplicaManager.fetchMessages`.

use std::sync::Arc;
use std::time::Duration;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::error_map;
use super::fetch_session::{Fetched, Fetching, PartitionKey, TopicKey, Wanted};
use super::leaders::Leaders;
use crate::cluster::ClusterImage;
use crate::env::Residency;
use crate::log::{Committed, LogPosition, ReadError, committed};
use crate::model::{BrokerId, ErrorCode, Instant, LeaderEpoch, Offset, PartitionId};
use crate::replica::{FetchFrom, FetchWaiter, Isolation, Partition, PartitionError, Reader};
use crate::telemetry::Phase;
use crate::wire::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartitionResponse, FetchTopicResponse, ReplicaState,
};
use crate::wire::{FetchRequest, FetchResponse, Text};

/// Last version whose clients do not know KAFKA_STORAGE_ERROR.
const NO_STORAGE_ERROR_UNTIL: i16 = 5;
/// First version whose responses name the current leader.
const CURRENT_LEADER_SINCE: i16 = 16;
/// First version whose responses may name the leader's epoch.
const DIVERGING_EPOCH_SINCE: i16 = 12;

pub(super) fn start(context: RequestContext, request: FetchRequest) -> Answer<FetchResponse> {
    let now = context.phase_begun;
    let fetching = match context.services.sessions.begin(&request, context.version(), now) {
        Ok(fetching) => fetching,
        Err(error_code) => {
            let fetched = Fetched { error_code, session_id: 0, partitions: Vec::new() };
            return Answer::Now(response(fetched));
        }
    };
    let fetch = Arc::new(Fetch::new(&context, &request, &fetching));
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    match fetch.read(Residency::Cached) {
        Some(read) if read.is_enough(&fetch) || wait.is_zero() => {
            Answer::Now(finish(&context, &fetch, fetching, read))
        }
        read => Answer::later(async move {
            let read = fetch.wait(&context, read, wait).await;
            finish(&context, &fetch, fetching, read)
        }),
    }
}

fn finish(
    context: &RequestContext,
    fetch: &Fetch,
    fetching: Fetching,
    mut read: Read,
) -> FetchResponse {
    leave_out_aborted(&mut read);
    count(context, fetch, &read);
    let now = context.services.env.steady.now();
    let mut response = response(context.services.sessions.end(fetching, read.partitions, now));
    if context.version() >= CURRENT_LEADER_SINCE {
        name_leaders(context, &mut response);
    }
    response
}

/// Leaves out what transactions that were aborted wrote, and tells of those that the client has to skip itself.
fn leave_out_aborted(read: &mut Read) {
    for ((_, answer), found) in read.partitions.iter_mut().zip(&mut read.found) {
        let aborted = std::mem::take(&mut found.aborted);
        if let Some(records) = answer.records.pop_if(|_| !aborted.is_empty()) {
            let Committed { records, aborted } = committed(records, aborted);
            answer.records = records;
            answer.aborted_transactions = Some(aborted.iter().map(aborted_transaction).collect());
        }
    }
}

/// Tells who leads the partitions that this broker does not lead, or not in the epoch that was asked for.
fn name_leaders(context: &RequestContext, response: &mut FetchResponse) {
    let mut leaders = Leaders::default();
    for topic in &mut response.topics {
        for partition in &mut topic.partitions {
            if matches!(
                partition.error_code,
                ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
            ) {
                let index = partition.partition_index;
                partition.current_leader = leaders.of(context, topic.topic_id, index);
            }
        }
    }
    response.node_endpoints = leaders.endpoints();
}

/// Counts what was read of each partition, in its counts and in those of the broker, and for its throttle.
fn count(context: &RequestContext, fetch: &Fetch, read: &Read) {
    for (target, (_, answer)) in fetch.targets.iter().zip(&read.partitions) {
        let of_partition = target.partition.as_ref().ok().map(|partition| partition.traffic());
        for traffic in of_partition.into_iter().chain([&context.services.metrics.traffic]) {
            traffic.fetch_requests.add(1);
            if !answer.error_code.is_none() {
                traffic.fetch_failures.add(1);
            }
            traffic.bytes_out.add(answer.records.iter().map(|records| records.len() as u64).sum());
        }
        if let (Reader::Replica { .. }, Ok(partition)) = (fetch.limits.reader, &target.partition) {
            partition.copied(answer.records.iter().map(bytes::Bytes::len).sum());
        }
    }
}

/// What a request asks for, with its partitions found.
struct Fetch {
    targets: Vec<Target>,
    limits: Limits,
    /// Where the consumer is; empty if it does not say.
    rack: Text,
}

struct Target {
    key: PartitionKey,
    wanted: Wanted,
    partition: Result<Arc<Partition>, ErrorCode>,
}

#[derive(Clone, Copy)]
struct Limits {
    version: i16,
    min_bytes: u32,
    max_bytes: u32,
    isolation: Isolation,
    reader: Reader,
    /// Whether consumers are sent to a replica in their rack.
    reads_in_rack: bool,
}

/// What was read.
struct Read {
    partitions: Vec<(PartitionKey, FetchPartitionResponse)>,
    bytes: u32,
    /// Whether something is to be told that does not wait for bytes.
    urgent: bool,
    /// When a replica that has to wait may read more.
    due: Option<Instant>,
    /// What was found of each partition, too.
    found: Vec<Found>,
}

#[derive(Default)]
struct Found {
    /// How far the partition could be read; `None` if it could not.
    limit: Option<LogPosition>,
    /// The aborted transactions that reach into what was read.
    aborted: Vec<crate::log::AbortedTransaction>,
}

impl Read {
    fn is_enough(&self, fetch: &Fetch) -> bool {
        self.urgent || self.bytes >= fetch.limits.min_bytes || fetch.targets.is_empty()
    }
}

impl Fetch {
    fn new(context: &RequestContext, request: &FetchRequest, fetching: &Fetching) -> Self {
        let image = context.image();
        let reader = reader(context, request);
        let target = |(key, wanted): &(PartitionKey, Wanted)| {
            let found = find(context, &image, key, reader);
            Target { key: key.clone(), wanted: *wanted, partition: found }
        };
        let settings = context.settings();
        let positive = |bytes: i32| u32::try_from(bytes).unwrap_or(0);
        let max_bytes = positive(request.max_bytes).min(settings.broker().fetch_bytes_max);
        let isolation = match (reader, request.isolation_level) {
            (Reader::Replica { .. }, _) => Isolation::Replica,
            (_, 1) => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        };
        let limits = Limits {
            version: context.version(),
            min_bytes: positive(request.min_bytes).min(max_bytes),
            max_bytes,
            isolation,
            reader,
            reads_in_rack: settings.broker().replication.reads_in_rack,
        };
        let rack = request.rack_id.clone();
        Self { targets: fetching.partitions.iter().map(target).collect(), limits, rack }
    }

    /// Reads all partitions; `None` if something is not in memory and only memory was asked for.
    fn read(&self, residency: Residency) -> Option<Read> {
        let count = self.targets.len();
        let mut read = Read {
            partitions: Vec::with_capacity(count),
            bytes: 0,
            urgent: false,
            due: None,
            found: Vec::with_capacity(count),
        };
        for target in &self.targets {
            let response = match &target.partition {
                Ok(partition) => self.read_partition(target, partition, residency, &mut read)?,
                Err(code) => {
                    read.urgent = true;
                    read.found.push(Found::default());
                    failed(target.key.partition, *code)
                }
            };
            read.partitions.push((target.key.clone(), response));
        }
        Some(read)
    }

    fn read_partition(
        &self,
        target: &Target,
        partition: &Partition,
        residency: Residency,
        read: &mut Read,
    ) -> Option<FetchPartitionResponse> {
        let epoch = |epoch: LeaderEpoch| (epoch.0 >= 0).then_some(epoch);
        let left = self.limits.max_bytes.saturating_sub(read.bytes);
        let from = FetchFrom {
            offset: target.wanted.fetch_offset,
            current_leader_epoch: epoch(target.wanted.current_leader_epoch),
            last_fetched_epoch: epoch(target.wanted.last_fetched_epoch)
                .filter(|_| self.limits.version >= DIVERGING_EPOCH_SINCE),
            replica_start: target.wanted.log_start,
            max_bytes: u32::try_from(target.wanted.max_bytes).unwrap_or(0).min(left),
            // The limits are not to keep a client from ever getting on.
            whole_first_batch: read.bytes == 0,
            isolation: self.limits.isolation,
            reader: self.limits.reader,
        };
        let nearer = self.nearer_replica(partition, &from);
        let held_back = match self.limits.reader {
            Reader::Replica { broker, .. } => partition.held_back(broker),
            Reader::Consumer | Reader::ConsumerOfAnyReplica => None,
        };
        read.due = read.due.into_iter().chain(held_back).min();
        // Whoever is sent elsewhere gets nothing here, nor does who is to wait.
        let from = match nearer.is_some() || held_back.is_some() {
            true => FetchFrom { max_bytes: 0, whole_first_batch: false, ..from },
            false => from,
        };
        let fetched = match partition.fetch(&from, residency) {
            Ok(fetched) => fetched?,
            Err(error) => {
                read.urgent = true;
                read.found.push(Found::default());
                return Some(self.failed(target.key.partition, &error));
            }
        };
        let knows_less = self.limits.isolation == Isolation::Replica
            && held_back.is_none()
            && target.wanted.high_watermark < fetched.ends.high_watermark;
        read.urgent |= fetched.diverging.is_some() || nearer.is_some() || knows_less;
        read.found.push(Found { limit: Some(fetched.limit), aborted: fetched.aborted });
        read.bytes =
            read.bytes.saturating_add(u32::try_from(fetched.records.len()).unwrap_or(u32::MAX));
        let diverging =
            fetched.diverging.map(|end| EpochEndOffset { epoch: end.epoch, end_offset: end.end });
        Some(FetchPartitionResponse {
            partition_index: target.key.partition,
            error_code: ErrorCode::None,
            high_watermark: fetched.ends.high_watermark,
            last_stable_offset: fetched.ends.last_stable,
            log_start_offset: fetched.ends.log_start,
            diverging_epoch: diverging,
            current_leader: None,
            snapshot_id: None,
            aborted_transactions: (self.limits.isolation == Isolation::ReadCommitted)
                .then(Vec::new),
            preferred_read_replica: nearer.unwrap_or(BrokerId(-1)),
            records: Some(fetched.records)
                .filter(|records| !records.is_empty())
                .into_iter()
                .collect(),
        })
    }

    /// The replica that the consumer should rather ask, if it asks the leader of one that is in its rack (KIP-392).
    fn nearer_replica(&self, partition: &Partition, from: &FetchFrom) -> Option<BrokerId> {
        let may = self.limits.reads_in_rack && from.reader == Reader::ConsumerOfAnyReplica;
        may.then(|| partition.replica_in_rack(self.rack.as_str(), from.offset)).flatten()
    }

    fn failed(&self, partition: PartitionId, error: &PartitionError) -> FetchPartitionResponse {
        // A follower begins anew where the log does.
        let log_start = match (error, self.limits.reader) {
            (
                PartitionError::Read(ReadError::OffsetOutOfRange { start, .. }),
                Reader::Replica { .. },
            ) => *start,
            _ => Offset(-1),
        };
        FetchPartitionResponse {
            log_start_offset: log_start,
            // Null where the log was asked, as from Apache Kafka.
            aborted_transactions: None,
            ..failed(partition, self.error_code(error))
        }
    }

    fn error_code(&self, error: &PartitionError) -> ErrorCode {
        let code = error_map::code(error);
        let is_known = self.limits.version > NO_STORAGE_ERROR_UNTIL;
        if code == ErrorCode::KafkaStorageError && !is_known {
            ErrorCode::NotLeaderOrFollower
        } else {
            code
        }
    }

    /// Reads until there is enough, or `wait` is over. `read` is what was read at first, if that was possible.
    async fn wait(
        self: &Arc<Self>,
        context: &RequestContext,
        read: Option<Read>,
        wait: Duration,
    ) -> Read {
        let steady = &context.services.env.steady;
        let begun = steady.now();
        let (read, since) = match read {
            Some(read) => (read, begun),
            None => (read_waiting(context, self).await, steady.now()),
        };
        if read.is_enough(self) {
            return read;
        }
        let read = self.wait_for_more(context, read, begun.plus(wait)).await;
        context.end_phase(Phase::Purgatory, since);
        read
    }

    /// Reads again until there is enough, or the time is up.
    async fn wait_for_more(
        self: &Arc<Self>,
        context: &RequestContext,
        mut read: Read,
        deadline: Instant,
    ) -> Read {
        let env = &context.services.env;
        while !read.is_enough(self) {
            let waiting = Waiting::new(self, &read);
            if !waiting.missed(&read) {
                let until = read.due.map_or(deadline, |due| due.min(deadline));
                let goes_on = tokio::select! {
                    woken = env.steady.timeout_at(until, waiting.waiter.done()) => woken.is_ok() || until < deadline,
                    () = env.tasks.cancelled() => false,
                };
                if !goes_on {
                    return match waiting.waiter.has_heard() {
                        true => read_anew(context, self).await,
                        false => read,
                    };
                }
            }
            drop(waiting);
            read = read_anew(context, self).await;
        }
        read
    }
}

async fn read_anew(context: &RequestContext, fetch: &Arc<Fetch>) -> Read {
    match fetch.read(Residency::Cached) {
        Some(read) => read,
        None => read_waiting(context, fetch).await,
    }
}

/// Reads what is not in memory, away from the connections' threads.
async fn read_waiting(context: &RequestContext, fetch: &Arc<Fetch>) -> Read {
    let fetch = Arc::clone(fetch);
    let read =
        context.services.env.tasks.spawn_blocking("fetch", move || fetch.read(Residency::Any));
    read.await.expect("a read that may wait always gives something")
}

/// A waiter on all partitions of a fetch, as long as this value lives.
struct Waiting<'a> {
    fetch: &'a Fetch,
    waiter: Arc<FetchWaiter>,
}

impl<'a> Waiting<'a> {
    fn new(fetch: &'a Fetch, read: &Read) -> Self {
        let missing = i64::from(fetch.limits.min_bytes) - i64::from(read.bytes);
        let waiter = FetchWaiter::new(missing.max(1), fetch.limits.isolation);
        fetch.partitions().for_each(|partition| partition.add_waiter(&waiter));
        Self { fetch, waiter }
    }

    /// Whether something has come between the read and the entry in the lists.
    fn missed(&self, read: &Read) -> bool {
        let isolation = self.fetch.limits.isolation;
        self.fetch.targets.iter().zip(&read.found).any(|(target, found)| {
            let partition = target.partition.as_ref().ok();
            partition.and_then(|partition| partition.limit(isolation)) != found.limit
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.fetch.partitions().for_each(|partition| partition.remove_waiter(&self.waiter));
    }
}

impl Fetch {
    fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.targets.iter().filter_map(|target| target.partition.as_ref().ok())
    }
}

/// First version of a consumer that may read from any replica.
const ANY_REPLICA_SINCE: i16 = 11;

/// Who asks.
fn reader(context: &RequestContext, request: &FetchRequest) -> Reader {
    let ReplicaState { replica_id, replica_epoch } = request.replica_state;
    if replica_id.0 >= 0 {
        Reader::Replica { broker: replica_id, broker_epoch: replica_epoch }
    } else if context.version() >= ANY_REPLICA_SINCE {
        Reader::ConsumerOfAnyReplica
    } else {
        Reader::Consumer
    }
}

/// The partition that a request names.
fn find(
    context: &RequestContext,
    image: &ClusterImage,
    key: &PartitionKey,
    reader: Reader,
) -> Result<Arc<Partition>, ErrorCode> {
    let topic = match &key.topic {
        TopicKey::Name(name) => image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?,
        TopicKey::Id(id) => image.topic_by_id(*id).ok_or(ErrorCode::UnknownTopicId)?,
    };
    let allowed = match reader {
        Reader::Replica { .. } => context.authorize(Operation::ClusterAction, Resource::Cluster),
        Reader::Consumer | Reader::ConsumerOfAnyReplica => {
            context.authorize(Operation::Read, Resource::Topic(topic.name.as_str()))
        }
    };
    if !allowed {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let partition = context.services.replicas.partition(topic.id, key.partition);
    partition.ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// A transaction whose records the client has to skip.
const fn aborted_transaction(transaction: &crate::log::AbortedTransaction) -> AbortedTransaction {
    AbortedTransaction {
        producer_id: transaction.producer_id,
        first_offset: transaction.first_offset,
    }
}

fn failed(partition: PartitionId, error_code: ErrorCode) -> FetchPartitionResponse {
    FetchPartitionResponse {
        partition_index: partition,
        error_code,
        high_watermark: Offset(-1),
        last_stable_offset: Offset(-1),
        log_start_offset: Offset(-1),
        diverging_epoch: None,
        current_leader: None,
        snapshot_id: None,
        aborted_transactions: Some(Vec::new()),
        preferred_read_replica: BrokerId(-1),
        records: Vec::new(),
    }
}

/// Puts the partitions of one topic together, in the order in which they were served.
fn response(fetched: Fetched) -> FetchResponse {
    let mut topics: Vec<FetchTopicResponse> = Vec::new();
    let mut last: Option<TopicKey> = None;
    for (key, partition) in fetched.partitions {
        if last.as_ref() != Some(&key.topic) {
            let (topic, topic_id) = match &key.topic {
                TopicKey::Name(name) => (name.clone(), crate::model::TopicId::ZERO),
                TopicKey::Id(id) => (Text::default(), *id),
            };
            topics.push(FetchTopicResponse { topic, topic_id, partitions: Vec::new() });
            last = Some(key.topic);
        }
        topics.last_mut().expect("pushed above").partitions.push(partition);
    }
    FetchResponse {
        throttle_time_ms: 0,
        error_code: fetched.error_code,
        session_id: fetched.session_id,
        topics,
        node_endpoints: Vec::new(),
    }
}
