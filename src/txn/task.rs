//! Bringing markers to the partitions of a transaction.
//!
//! Owns writing one marker (`WriteTxnMarkers` does that too), and doing so for all partitions of a prepared transaction
//! until each has its marker or is gone; then the shard is told. Source: `TransactionMarkerChannelManager` and
//! `TransactionMarkerRequestCompletionHandler` of Apache Kafka 4.3.1. Partitions that another broker leads get their markers
//! from it, by WriteTxnMarkers.
//!
//! **Invariant:** at one time one task works for a transactional id. A marker that came late would end the next transaction
//! of a producer that keeps its epoch.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::command::{Command, Producer, TransactionPartition};
use super::record::TransactionalId;
use super::shard::TransactionShard;
use super::transaction::{State, Transaction};
use crate::coordinator::{
    Coordinator, CoordinatorError, Others, TransactionOutcome, UnreachableError,
};
use crate::env::Env;
use crate::group::GroupShard;
use crate::log::{AppendError, TransactionEnd};
use crate::model::{ErrorCode, LeaderEpoch, Offset, PartitionId, UnixMillis};
use crate::record::EndMarker;
use crate::replica::{Mark, Partition, PartitionError, ReplicaManager};
use crate::telemetry::Histogram;
use crate::wire::write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic};
use crate::wire::{Text, WriteTxnMarkersRequest, WriteTxnMarkersResponse};

/// How long to wait before partitions that could not take their marker are tried again; doubles each time.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest such wait.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The markers of a prepared transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Markers {
    pub(super) id: TransactionalId,
    pub(super) producer: Producer,
    pub(super) outcome: TransactionOutcome,
    pub(super) transaction_version: i16,
    pub(super) partitions: Vec<TransactionPartition>,
    /// When the transaction began.
    pub(super) started_at: UnixMillis,
    /// Which errand of the shard this is: the answer of an earlier one is not taken for that of this one.
    pub(super) errand: Errand,
}

/// The number of an errand: of which shard, and which of its errands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errand {
    pub(super) incarnation: u64,
    pub(super) count: u64,
}

impl Markers {
    pub(super) fn of(id: &TransactionalId, prepared: &Transaction, errand: Errand) -> Self {
        let is_commit = prepared.state == State::PrepareCommit;
        Self {
            id: id.clone(),
            producer: prepared.producer,
            outcome: if is_commit { TransactionOutcome::Commit } else { TransactionOutcome::Abort },
            transaction_version: prepared.client_version,
            partitions: prepared.partitions.iter().cloned().collect(),
            started_at: prepared.started_at,
            errand,
        }
    }

    fn end(&self, coordinator_epoch: LeaderEpoch) -> TransactionEnd {
        TransactionEnd {
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            marker: EndMarker { outcome: self.outcome, coordinator_epoch: coordinator_epoch.0 },
            transaction_version: self.transaction_version,
        }
    }
}

/// Why a partition has no marker.
#[derive(Debug, thiserror::Error)]
pub enum MarkerError {
    /// There is no such partition.
    #[error("there is no such partition")]
    NoPartition,
    /// The partition holds groups, and their coordinator did not write it.
    #[error(transparent)]
    Groups(#[from] CoordinatorError),
    /// The partition did not take it.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// The broker that leads the partition did not answer. The marker may be there.
    #[error("the leader of the partition did not answer")]
    Unanswered,
    /// The broker that leads the partition did not write it.
    #[error("the leader answered {0}")]
    Refused(ErrorCode),
}

/// What became of a marker, as far as its transaction is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is there, or is not needed.
    Settled,
    /// It may be written later.
    Later,
    /// A newer coordinator has taken over.
    Fenced,
}

/// Writes markers: to the partitions of this broker, and has other brokers write them to theirs.
pub struct MarkerWriter {
    env: Env,
    replicas: Arc<ReplicaManager>,
    groups: Arc<Coordinator<GroupShard>>,
    /// The topic that holds groups.
    groups_topic: &'static str,
    others: Arc<Others>,
    /// The transactional ids that a task works for.
    under_way: Mutex<BTreeMap<TransactionalId, Work>>,
    durations: Durations,
}

/// How long transactions took, from their first partition to their last marker, since the broker was started.
#[derive(Debug, Default)]
pub struct Durations {
    /// Those that were committed.
    pub committed: Histogram,
    /// Those that were aborted.
    pub aborted: Histogram,
}

/// What a task does for a transactional id.
#[derive(Debug, Default)]
struct Work {
    /// What it is to do next.
    next: Option<Job>,
    /// How many partitions could not take their marker yet, and will be tried again.
    waiting: usize,
}

/// Markers to bring.
#[derive(Debug)]
struct Job {
    /// The partition of the shard, and the epoch it is led in.
    at: PartitionId,
    epoch: LeaderEpoch,
    markers: Markers,
}

impl MarkerWriter {
    /// A writer for the partitions of `replicas`, of which those of `groups_topic` get their markers through `groups`, and for
    /// those of the `others`.
    #[must_use]
    pub fn new(
        env: Env,
        replicas: Arc<ReplicaManager>,
        groups: Arc<Coordinator<GroupShard>>,
        groups_topic: &'static str,
        others: Arc<Others>,
    ) -> Self {
        let (under_way, durations) = (Mutex::default(), Durations::default());
        Self { env, replicas, groups, groups_topic, others, under_way, durations }
    }

    /// How long the transactions took that ended here. One whose markers are written again, since its shard was loaded
    /// anew, counts again.
    #[must_use]
    pub const fn durations(&self) -> &Durations {
        &self.durations
    }

    /// How many markers wait since their partitions could not take them.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.under_way.lock().values().map(|work| work.waiting).sum()
    }

    /// Writes a marker to a partition of this broker. The order of markers in a partition is that of the calls; the future is done when the marker is
    /// committed.
    ///
    /// # Errors
    /// As [`MarkerError`] says.
    pub fn write(
        &self,
        topic: &str,
        partition: PartitionId,
        end: &TransactionEnd,
    ) -> impl Future<Output = Result<(), MarkerError>> + Send + use<> {
        let of_groups =
            (topic == self.groups_topic).then(|| self.groups.end_transaction(partition, *end));
        let appended = match &of_groups {
            Some(_) => None,
            None => Some(self.append(topic, partition, end)),
        };
        async move {
            if let Some(of_groups) = of_groups {
                return Ok(of_groups.await?);
            }
            if let Some(appended) = appended {
                let (partition, until, epoch) = appended?;
                while let Some(wait) = partition.wait_for(Mark::Committed, until, epoch)? {
                    wait.woken().await;
                }
            }
            Ok(())
        }
    }

    fn append(
        &self,
        topic: &str,
        partition: PartitionId,
        end: &TransactionEnd,
    ) -> Result<(Arc<Partition>, Offset, LeaderEpoch), MarkerError> {
        let image = self.others.image();
        let topic = image.topic(topic).ok_or(MarkerError::NoPartition)?;
        let found = self.replicas.partition(topic.id, partition).ok_or(MarkerError::NoPartition)?;
        let appended = found.append_transaction_end(end, self.env.clock.now());
        let appended = appended.inspect_err(|error| self.replicas.report(&found, error))?;
        self.replicas.flush_after(&found, &appended);
        Ok((found, appended.last_offset.plus(1), appended.leader_epoch))
    }

    /// Brings markers to their partitions, in a task of its own, and tells the shard at `at` when all have theirs.
    pub fn bring(
        self: &Arc<Self>,
        shards: &Weak<Coordinator<TransactionShard>>,
        at: PartitionId,
        epoch: LeaderEpoch,
        markers: Markers,
    ) {
        let (id, job) = (markers.id.clone(), Job { at, epoch, markers });
        let mut under_way = self.under_way.lock();
        if let Some(work) = under_way.get_mut(&id) {
            work.next = Some(job);
            return;
        }
        under_way.insert(id, Work::default());
        let (writer, shards) = (Arc::clone(self), Weak::clone(shards));
        self.env.tasks.spawn("transaction-markers", async move {
            let tasks = writer.env.tasks.clone();
            tokio::select! {
                () = writer.work(&shards, job) => {}
                () = tasks.cancelled() => {}
            }
        });
    }

    async fn work(&self, shards: &Weak<Coordinator<TransactionShard>>, mut job: Job) {
        loop {
            if self.bring_all(&job).await {
                self.count(&job.markers);
                self.report(shards, &job).await;
            }
            let mut under_way = self.under_way.lock();
            match under_way.get_mut(&job.markers.id).and_then(|work| work.next.take()) {
                Some(next) => job = next,
                None => {
                    under_way.remove(&job.markers.id);
                    return;
                }
            }
        }
    }

    /// Whether all partitions have their marker. If not, somebody else sees to it.
    async fn bring_all(&self, job: &Job) -> bool {
        let end = job.markers.end(job.epoch);
        let mut left = job.markers.partitions.clone();
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            let written = self.bring_once(&end, left).await;
            left = Vec::new();
            for (place, written) in written {
                match self.fate(job, &place, written) {
                    Fate::Settled => {}
                    Fate::Later => left.push(place),
                    Fate::Fenced => {
                        self.note_waiting(&job.markers.id, 0);
                        return false;
                    }
                }
            }
            self.note_waiting(&job.markers.id, left.len());
            if left.is_empty() {
                return true;
            }
            self.env.steady.sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
            if self.is_superseded(&job.markers.id) {
                self.note_waiting(&job.markers.id, 0);
                return false;
            }
        }
    }

    /// Writes markers to partitions, each by its leader. Gives what became of each.
    async fn bring_once(
        &self,
        end: &TransactionEnd,
        places: Vec<TransactionPartition>,
    ) -> Vec<(TransactionPartition, Result<(), MarkerError>)> {
        let image = self.others.image();
        let (mut own, mut others) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for place in places {
            let partition = image.topic(&place.0).and_then(|topic| topic.partition(place.1));
            match partition.and_then(|partition| partition.leader) {
                Some(leader) if self.others.is_other(leader) => {
                    others.entry(leader).or_default().push(place);
                }
                _ => own.push((self.write(&place.0, place.1, end), place)),
            }
        }
        let mut asked = Vec::new();
        for (leader, places) in others {
            let request = request_of(end, &places);
            asked.push((self.others.ask(leader, &request).await, places));
        }
        let mut written = Vec::new();
        for (asked, places) in asked {
            let answer = match asked {
                Ok(asked) => asked.answer().await,
                Err(error) => Err(error),
            };
            written.extend(answered(answer, places));
        }
        for (started, place) in own {
            written.push((place, started.await));
        }
        written
    }

    /// Whether a newer shard wants the markers written.
    fn is_superseded(&self, id: &TransactionalId) -> bool {
        self.under_way.lock().get(id).is_some_and(|work| work.next.is_some())
    }

    fn note_waiting(&self, id: &TransactionalId, count: usize) {
        if let Some(work) = self.under_way.lock().get_mut(id) {
            work.waiting = count;
        }
    }

    /// All markers of a transaction are written.
    fn count(&self, markers: &Markers) {
        let durations = match markers.outcome {
            TransactionOutcome::Commit => &self.durations.committed,
            TransactionOutcome::Abort => &self.durations.aborted,
        };
        // The clock may have been set back meanwhile.
        let millis = self.env.clock.now().millis_since(markers.started_at).max(0);
        durations.record(Duration::from_millis(millis.unsigned_abs()));
    }

    fn fate(
        &self,
        job: &Job,
        (topic, partition): &TransactionPartition,
        written: Result<(), MarkerError>,
    ) -> Fate {
        let Err(error) = written else { return Fate::Settled };
        let id = &job.markers.id;
        let fate = fate_of(&error);
        let image = self.others.image();
        let is_gone = image.topic(topic).and_then(|topic| topic.partition(*partition)).is_none();
        if is_gone {
            tracing::info!(%id, %topic, %partition, "a partition of a transaction was deleted");
            return Fate::Settled;
        }
        match fate {
            Fate::Settled => {
                tracing::warn!(%id, %topic, %partition, %error,
                    "a transaction was ended by somebody else in this partition");
            }
            Fate::Later => {
                tracing::debug!(%id, %topic, %partition, %error, "a marker has to wait");
            }
            Fate::Fenced => {
                tracing::warn!(%id, %topic, %partition, %error,
                    "another coordinator sees to this transaction");
            }
        }
        fate
    }

    async fn report(&self, shards: &Weak<Coordinator<TransactionShard>>, job: &Job) {
        // The broker stops.
        let Some(shards) = shards.upgrade() else { return };
        let (id, errand) = (job.markers.id.clone(), job.markers.errand);
        let told = shards.ask(job.at, Command::Complete { id, errand }).await;
        if let Err(error) = told {
            // The next shard finds the transaction prepared, and has its markers written again.
            tracing::debug!(id = %job.markers.id, %error, "a transaction is not complete yet");
        }
    }
}

/// What asks a leader to write markers.
fn request_of(end: &TransactionEnd, places: &[TransactionPartition]) -> WriteTxnMarkersRequest {
    let mut topics: BTreeMap<&str, Vec<PartitionId>> = BTreeMap::new();
    for (topic, partition) in places {
        topics.entry(topic).or_default().push(*partition);
    }
    let topics = topics.into_iter().map(|(name, partition_indexes)| WritableTxnMarkerTopic {
        name: Text::from_string(name.to_owned()),
        partition_indexes,
    });
    let marker = WritableTxnMarker {
        producer_id: end.producer_id,
        producer_epoch: end.producer_epoch,
        transaction_result: end.marker.outcome == TransactionOutcome::Commit,
        topics: topics.collect(),
        coordinator_epoch: end.marker.coordinator_epoch,
        transaction_version: i8::try_from(end.transaction_version).unwrap_or(i8::MAX),
    };
    WriteTxnMarkersRequest { markers: vec![marker] }
}

/// What a leader has answered, for each place that it was asked about.
fn answered(
    answer: Result<WriteTxnMarkersResponse, UnreachableError>,
    places: Vec<TransactionPartition>,
) -> Vec<(TransactionPartition, Result<(), MarkerError>)> {
    let codes: BTreeMap<(String, PartitionId), ErrorCode> = match answer {
        Ok(answer) => {
            let topics = answer.markers.into_iter().flat_map(|marker| marker.topics);
            let codes = topics.flat_map(|topic| {
                let name = topic.name.to_string();
                let partitions = topic.partitions.into_iter();
                partitions.map(move |it| ((name.clone(), it.partition_index), it.error_code))
            });
            codes.collect()
        }
        Err(error) => {
            tracing::debug!(%error, "markers have to wait for another broker");
            BTreeMap::new()
        }
    };
    let outcome = |(topic, partition): &TransactionPartition| match codes
        .get(&(topic.to_string(), *partition))
    {
        Some(ErrorCode::None) => Ok(()),
        Some(code) => Err(MarkerError::Refused(*code)),
        None => Err(MarkerError::Unanswered),
    };
    let outcomes = places.into_iter().map(|place| {
        let outcome = outcome(&place);
        (place, outcome)
    });
    outcomes.collect()
}

/// What an error means for a marker to a partition that exists.
const fn fate_of(error: &MarkerError) -> Fate {
    match error {
        MarkerError::Groups(CoordinatorError::FencedProducer)
        | MarkerError::Partition(PartitionError::Append(AppendError::FencedProducer { .. })) => {
            Fate::Settled
        }
        MarkerError::Groups(CoordinatorError::FencedCoordinator)
        | MarkerError::Partition(PartitionError::Append(AppendError::FencedCoordinator {
            ..
        })) => Fate::Fenced,
        MarkerError::Refused(ErrorCode::InvalidProducerEpoch) => Fate::Settled,
        MarkerError::Refused(ErrorCode::TransactionCoordinatorFenced) => Fate::Fenced,
        MarkerError::NoPartition
        | MarkerError::Groups(_)
        | MarkerError::Partition(_)
        | MarkerError::Unanswered
        | MarkerError::Refused(_) => Fate::Later,
    }
}

impl fmt::Debug for MarkerWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MarkerWriter").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProducerEpoch, ProducerId};
    use crate::wire::write_txn_markers::{
        WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    };

    #[test]
    fn each_partition_of_another_broker_has_the_fate_that_it_was_answered_with() {
        let places: Vec<TransactionPartition> = [("b", 1), ("a", 0), ("b", 0), ("a", 1), ("c", 0)]
            .map(|(topic, partition)| (topic.into(), PartitionId(partition)))
            .to_vec();
        let end = TransactionEnd {
            producer_id: ProducerId(7),
            producer_epoch: ProducerEpoch(3),
            marker: EndMarker { outcome: TransactionOutcome::Commit, coordinator_epoch: 5 },
            transaction_version: 2,
        };
        let request = request_of(&end, &places);
        let marker = &request.markers[0];
        assert!(marker.transaction_result && marker.coordinator_epoch == 5);
        assert_eq!((marker.producer_id, marker.transaction_version), (ProducerId(7), 2));
        let asked = marker.topics.iter().map(|topic| (&*topic.name, topic.partition_indexes.len()));
        assert_eq!(asked.collect::<Vec<_>>(), [("a", 2), ("b", 2), ("c", 1)]);
        let code = |topic: &str, partition: i32| match (topic, partition) {
            ("a", 0) => ErrorCode::None,
            ("a", _) => ErrorCode::InvalidProducerEpoch,
            ("b", 0) => ErrorCode::NotLeaderOrFollower,
            _ => ErrorCode::TransactionCoordinatorFenced,
        };
        // Nothing is said of the last topic.
        let told = marker.topics[..2].iter().map(|topic| WritableTxnMarkerTopicResult {
            name: topic.name.clone(),
            partitions: topic
                .partition_indexes
                .iter()
                .map(|index| WritableTxnMarkerPartitionResult {
                    partition_index: *index,
                    error_code: code(&topic.name, index.0),
                })
                .collect(),
        });
        let told = WritableTxnMarkerResult { producer_id: ProducerId(7), topics: told.collect() };
        let fates = |answer| -> Vec<Fate> {
            let answered = answered(answer, places.clone()).into_iter();
            answered
                .map(|(_, it)| it.err().map_or(Fate::Settled, |error| fate_of(&error)))
                .collect()
        };
        let answer = WriteTxnMarkersResponse { markers: vec![told] };
        let expected = [Fate::Fenced, Fate::Settled, Fate::Later, Fate::Settled, Fate::Later];
        assert_eq!(fates(Ok(answer)), expected);
        let unreachable = UnreachableError::NoAddress(crate::model::BrokerId(9));
        assert_eq!(fates(Err(unreachable)), [Fate::Later; 5]);
    }
}
