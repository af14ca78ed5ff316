//! Reading partitions: one task a leader fetches ahead, within a bound, while what it gave before is used.
//!
//! A task asks its broker for all its partitions at once, goes on where the answer ends, and gives up a partition that it
//! cannot have any more; [`Fetcher::next`] then looks for its new leader. Fetches have no session: they are few and large.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::cluster::{Cluster, PAUSE_FIRST, Target};
use super::error::ClientError;
use super::metadata::Topics;
use super::refusal::{check, is_retriable};
use crate::model::{BrokerId, ErrorCode, Instant, LeaderEpoch, Offset, PartitionId};
use crate::record::{BatchError, EndMarker, Record, TransactionOutcome, scan, visit_records};
use crate::wire::fetch::{AbortedTransaction, FetchPartition, FetchTopic, ReplicaState};
use crate::wire::{ApiKey, FetchRequest, Text};

/// Answers that wait to be used, for each leader.
const AHEAD: usize = 2;

/// How partitions are read.
#[derive(Clone, Debug)]
pub struct FetcherOptions {
    /// Whether records of open and aborted transactions are left out.
    pub read_committed: bool,
    /// How long a broker waits for records if there are none.
    pub max_wait: Duration,
    /// Bytes of an answer, about.
    pub max_bytes: i32,
    /// Bytes of a partition in an answer, about.
    pub partition_max_bytes: i32,
}

impl Default for FetcherOptions {
    fn default() -> Self {
        Self {
            read_committed: false,
            max_wait: Duration::from_millis(500),
            max_bytes: 50 << 20,
            partition_max_bytes: 4 << 20,
        }
    }
}

/// What came from a partition: never empty but for what it says of the partition's end.
#[derive(Debug)]
pub struct Fetched {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionId,
    /// Whole batches, one after the other. Records below `from` are not wanted.
    pub batches: Bytes,
    /// The first offset that was asked for.
    pub from: Offset,
    /// Where the next fetch goes on.
    pub next: Offset,
    /// The end of what can be read.
    pub end: Offset,
    /// The first offset of the log.
    pub log_start: Offset,
    /// Transactions whose records do not count, when only committed ones are read.
    pub aborted: Vec<AbortedTransaction>,
    /// How long the answer took that this came with; told once for all that came with it.
    pub took: Option<Duration>,
}

/// Reads partitions until it is dropped.
#[derive(Debug)]
pub struct Fetcher {
    cluster: Cluster,
    options: FetcherOptions,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
    cancel: CancellationToken,
    /// Partitions without a task, and where to go on.
    loose: Spans,
    pause: Duration,
    /// A leader that did not answer, and until when another one is looked for.
    silence: Option<(Instant, ClientError)>,
}

/// What to read of each partition.
pub type Spans = BTreeMap<(String, PartitionId), Span>;

/// From where to where a partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first offset.
    pub from: Offset,
    /// The offset at which to stop; it is not read any more.
    pub until: Option<Offset>,
}

#[derive(Debug)]
enum Event {
    Fetched(Fetched),
    /// Another broker is to be asked about this one.
    Moved((String, PartitionId), Span),
    /// The leader of these cannot be spoken to.
    Lost(Spans, ClientError),
    Failed(ClientError),
}

impl Fetched {
    /// Shows the wanted records in their order until `visit` breaks: not those before `from`, not control records, not those
    /// of aborted transactions.
    ///
    /// # Errors
    /// When a batch is damaged; the records before were shown.
    pub fn visit(
        &self,
        mut visit: impl FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let mut aborted: Vec<_> = self.aborted.clone();
        aborted.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        let mut skipped = BTreeSet::new();
        let mut flow = ControlFlow::Continue(());
        for batch in scan(&self.batches) {
            let batch = batch.map_err(|error| self.damaged(self.from, error))?;
            let header = batch.header;
            let damaged = |error| self.damaged(header.base_offset, error);
            header.check_crc(batch.bytes).map_err(damaged)?;
            while let Some(next) = aborted.pop_if(|next| next.first_offset <= header.last_offset())
            {
                skipped.insert(next.producer_id);
            }
            if header.is_control() {
                if ends_aborted(batch.bytes).map_err(damaged)? {
                    skipped.remove(&header.producer_id);
                }
                continue;
            }
            if header.is_transactional() && skipped.contains(&header.producer_id) {
                continue;
            }
            let shown = visit_records(batch.bytes, |record| {
                if record.offset >= self.from {
                    flow = visit(&record);
                }
                flow
            });
            shown.map_err(damaged)?;
            if flow.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn damaged(&self, offset: Offset, source: BatchError) -> ClientError {
        let (topic, partition) = (self.topic.clone(), self.partition.0);
        ClientError::Batch { topic, partition, offset: offset.0, source }
    }
}

fn ends_aborted(batch: &[u8]) -> Result<bool, BatchError> {
    let marker = EndMarker::read(batch)?;
    Ok(marker.is_some_and(|marker| marker.outcome == TransactionOutcome::Abort))
}

impl Fetcher {
    /// Begins at these spans, all of which have to exist.
    #[must_use]
    pub fn new(cluster: Cluster, spans: Spans, options: FetcherOptions) -> Self {
        let (sender, events) = mpsc::channel(AHEAD);
        let cancel = cluster.env().tasks.child_token();
        let pause = PAUSE_FIRST;
        Self { cluster, options, events, sender, cancel, loose: spans, pause, silence: None }
    }

    /// The next piece. May be dropped at any time.
    ///
    /// # Errors
    /// When a partition cannot be read any more: it is gone, or the offset is out of its range.
    pub async fn next(&mut self) -> Result<Fetched, ClientError> {
        loop {
            if !self.loose.is_empty() {
                self.start_tasks().await?;
            }
            match self.events.recv().await {
                Some(Event::Fetched(fetched)) => {
                    self.pause = PAUSE_FIRST;
                    self.silence = None;
                    return Ok(fetched);
                }
                Some(Event::Moved(partition, span)) => {
                    self.loose.insert(partition, span);
                    self.pause().await;
                }
                Some(Event::Lost(mut spans, error)) => {
                    self.loose.append(&mut spans);
                    if matches!(error, ClientError::Timeout { .. }) {
                        let now = self.cluster.env().steady.now();
                        match &self.silence {
                            Some((until, _)) if *until <= now => return Err(error),
                            Some(_) => {}
                            None => {
                                self.silence = Some((now.plus(half_time(&self.cluster)), error));
                            }
                        }
                    }
                    self.pause().await;
                }
                Some(Event::Failed(error)) => return Err(error),
                // The sender is ours.
                None => return Err(ClientError::NoSuchBroker { node: BrokerId(-1) }),
            }
        }
    }

    async fn pause(&mut self) {
        let deadline = self.cluster.deadline();
        self.cluster.pause(&mut self.pause, deadline).await;
    }

    /// Gives each partition without a task to one, by its leader.
    async fn start_tasks(&mut self) -> Result<(), ClientError> {
        let cluster = self.cluster.clone();
        let names: BTreeSet<&str> = self.loose.keys().map(|(topic, _)| topic.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let loose = &self.loose;
        let search = cluster.retry(async || {
            let metadata = cluster.metadata(Topics::Named(&names)).await?;
            let mut leaders: BTreeMap<BrokerId, Spans> = BTreeMap::new();
            for ((topic, partition), span) in loose {
                let (leader, _) = metadata.leader_of(topic, *partition)?;
                leaders.entry(leader).or_default().insert((topic.clone(), *partition), *span);
            }
            Ok(leaders)
        });
        let until = self.silence.as_ref().map(|(until, _)| *until);
        let steady = &cluster.env().steady;
        let leaders = tokio::select! {
            leaders = search => leaders?,
            () = steady.sleep_until(until.unwrap_or(steady.now())), if until.is_some() => {
                let silence = self.silence.take().map(|(_, error)| error);
                return Err(silence.unwrap_or(ClientError::NoSuchBroker { node: BrokerId(-1) }));
            }
        };
        self.loose.clear();
        for (leader, spans) in leaders {
            let task = LeaderTask {
                cluster: self.cluster.clone(),
                options: self.options.clone(),
                leader,
                spans,
                sender: self.sender.clone(),
            };
            let cancel = self.cancel.clone();
            self.cluster.env().tasks.spawn("fetches from a leader", async move {
                tokio::select! {
                    () = task.run() => {}
                    () = cancel.cancelled() => {}
                }
            });
        }
        Ok(())
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Fetches from one leader.
struct LeaderTask {
    cluster: Cluster,
    options: FetcherOptions,
    leader: BrokerId,
    spans: Spans,
    sender: mpsc::Sender<Event>,
}

impl LeaderTask {
    async fn run(mut self) {
        while !self.spans.is_empty() {
            let events = match self.fetch().await {
                Ok(events) => events,
                Err(error)
                    if error.is_retriable() || matches!(error, ClientError::Timeout { .. }) =>
                {
                    tracing::debug!(%error, leader = %self.leader, "partitions look for a leader");
                    vec![Event::Lost(std::mem::take(&mut self.spans), error)]
                }
                Err(error) => vec![Event::Failed(error)],
            };
            for event in events {
                if self.sender.send(event).await.is_err() {
                    return;
                }
            }
        }
    }

    /// One fetch; spans have moved on when it ends.
    async fn fetch(&mut self) -> Result<Vec<Event>, ClientError> {
        let connection = self.cluster.connection(Target::Fetch(self.leader)).await?;
        let version = connection.version_up_to(ApiKey::Fetch, LAST_WITH_NAMES)?;
        // The rest of the time is for finding another leader.
        let patience = self.cluster.options().request_timeout.min(half_time(&self.cluster));
        let steady = self.cluster.env().steady.clone();
        let began = steady.now();
        let patience = patience + self.options.max_wait;
        let response = connection.call(version, &self.request(), patience).await?;
        let mut took = Some(steady.now().since(began));
        check(ApiKey::Fetch, response.error_code.code(), || "the fetch".to_owned(), None)
            .map_err(|refusal| refusal.asked(&connection, version))?;
        let mut events = Vec::new();
        for topic in response.topics {
            for partition in topic.partitions {
                let key = (topic.topic.to_string(), partition.partition_index);
                let Some(span) = self.spans.get(&key).copied() else { continue };
                let from = span.from;
                let code = partition.error_code;
                if is_retriable(code) && !code.is_none() {
                    self.spans.remove(&key);
                    events.push(Event::Moved(key, span));
                    continue;
                }
                if code == ErrorCode::OffsetOutOfRange {
                    self.spans.remove(&key);
                }
                let subject = || format!("{} partition {} at offset {from}", key.0, key.1);
                check(ApiKey::Fetch, code.code(), subject, None)
                    .map_err(|refusal| refusal.asked(&connection, version))?;
                let batches = joined(partition.records);
                let next = self.position_after(&key, from, &batches)?;
                if span.until.is_some_and(|until| next >= until) {
                    self.spans.remove(&key);
                } else {
                    self.spans.insert(key.clone(), Span { from: next, ..span });
                }
                let end = match self.options.read_committed {
                    true => partition.last_stable_offset,
                    false => partition.high_watermark,
                };
                events.push(Event::Fetched(Fetched {
                    topic: key.0,
                    partition: key.1,
                    batches,
                    from,
                    next,
                    end,
                    log_start: partition.log_start_offset,
                    aborted: partition.aborted_transactions.unwrap_or_default(),
                    took: took.take(),
                }));
            }
        }
        Ok(events)
    }

    fn position_after(
        &self,
        (topic, partition): &(String, PartitionId),
        from: Offset,
        batches: &Bytes,
    ) -> Result<Offset, ClientError> {
        let mut next = from;
        for batch in scan(batches) {
            match batch {
                Ok(batch) => next = next.max(batch.header.next_offset()),
                Err(source) => {
                    return Err(ClientError::Batch {
                        topic: topic.clone(),
                        partition: partition.0,
                        offset: next.0,
                        source,
                    });
                }
            }
        }
        Ok(next)
    }

    fn request(&self) -> FetchRequest {
        let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
        for ((topic, partition), span) in &self.spans {
            topics.entry(topic).or_default().push(FetchPartition {
                partition: *partition,
                current_leader_epoch: LeaderEpoch::UNKNOWN,
                fetch_offset: span.from,
                last_fetched_epoch: LeaderEpoch::UNKNOWN,
                log_start_offset: Offset(-1),
                partition_max_bytes: self.options.partition_max_bytes,
                replica_directory_id: Uuid::nil(),
                high_watermark: Offset(i64::MAX),
            });
        }
        FetchRequest {
            cluster_id: None,
            replica_state: ReplicaState::CONSUMER,
            max_wait_ms: i32::try_from(self.options.max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: self.options.max_bytes,
            isolation_level: i8::from(self.options.read_committed),
            session_id: 0,
            session_epoch: -1,
            topics: topics
                .into_iter()
                .map(|(topic, partitions)| FetchTopic {
                    topic: Text::from_string(topic.to_owned()),
                    topic_id: crate::model::TopicId::ZERO,
                    partitions,
                })
                .collect(),
            forgotten_topics: Vec::new(),
            rack_id: Text::default(),
        }
    }
}

/// As long as a leader may be silent, and as long as another one is then looked for.
fn half_time(cluster: &Cluster) -> Duration {
    cluster.options().operation_timeout / 2
}

/// The pieces of an answer in one, without a copy if there is one.
pub(super) fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        0 => Bytes::new(),
        1 => pieces.swap_remove(0),
        _ => pieces.iter().flatten().copied().collect::<BytesMut>().freeze(),
    }
}

/// After this version Fetch names topics by id.
pub(super) const LAST_WITH_NAMES: i16 = 12;
