//! TxnOffsetCommit, versions 0 to 5: committing a group's offsets in a transaction.
//!
//! | version | what it added |
//! |---|---|
//! | 2 | leader epochs (KIP-320) |
//! | 3 | flexible; the member for whom it commits (KIP-447) |
//! | 4 | TRANSACTION_ABORTABLE (KIP-890) |
//! | 5 | makes the group part of the transaction (KIP-890) |
//!
//! Source: `KafkaApis.handleTxnOffsetCommitRequest`, `GroupCoordinatorService.commitTransactionalOffsets` of Apache Kafka.

use std::collections::BTreeMap;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::{ask, partition_of_group};
use super::internal_topics::OFFSETS_TOPIC;
use super::transactions::producer;
use super::verification::{Mode, Place, Writer, verify};
use crate::cluster::ClusterImage;
use crate::coordinator::TransactionWriter;
use crate::group::command::{OffsetCommit, OffsetCommitPartition, OffsetCommitTopic};
use crate::group::{Command, Reply};
use crate::model::{ErrorCode, Offset, PartitionId};
use crate::replica::{Beginning, Guard};
use crate::txn::Producer;
use crate::wire::Text;
use crate::wire::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use crate::wire::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use crate::wire::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse, WireTopicName};

/// First version whose clients know that a coordinator may be loading.
const LOADING_SINCE: i16 = 2;
/// First version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE_SINCE: i16 = 4;
/// First version that makes the group part of the transaction.
const ADDS_SINCE: i16 = 5;

pub(super) fn start(
    context: RequestContext,
    request: TxnOffsetCommitRequest,
) -> Answer<TxnOffsetCommitResponse> {
    let mut outcome = Outcome::default();
    if let Err(code) = authorize(&context, &request) {
        for topic in &request.topics {
            outcome.refuse(topic, code);
        }
        return Answer::Now(outcome.response(&context));
    }
    let image = context.image();
    let mut topics = Vec::new();
    for topic in &request.topics {
        topics.extend(judge(&context, &image, topic, &mut outcome));
    }
    if topics.is_empty() {
        return Answer::Now(outcome.response(&context));
    }
    let commit = OffsetCommit {
        group: request.group_id.0.clone(),
        generation_or_epoch: request.generation_id,
        member: request.member_id,
        instance: request.group_instance_id,
        retention_ms: None,
        topics,
    };
    let writer = Writer {
        id: request.transactional_id.as_str().into(),
        producer: producer(request.producer_id.0, request.producer_epoch),
        mode: match context.version() {
            ADDS_SINCE.. => Mode::Add,
            version => Mode::Verify { knows_abortable: version >= ABORTABLE_SINCE },
        },
    };
    Answer::later(async move {
        outcome.add_all(commit_in(&context, &writer, commit).await);
        outcome.response(&context)
    })
}

fn authorize(context: &RequestContext, request: &TxnOffsetCommitRequest) -> Result<(), ErrorCode> {
    let id = Resource::TransactionalId(&request.transactional_id);
    if !context.authorize(Operation::Write, id) {
        return Err(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    if !context.authorize(Operation::Read, Resource::Group(&request.group_id)) {
        return Err(ErrorCode::GroupAuthorizationFailed);
    }
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    Ok(())
}

/// The outcome of each partition, by topic.
type Codes = Vec<(Text, Vec<(PartitionId, ErrorCode)>)>;

/// Makes sure of the transaction, then commits.
async fn commit_in(context: &RequestContext, writer: &Writer, commit: OffsetCommit) -> Codes {
    let named: Vec<_> = commit.topics.iter().map(places).collect();
    let committed = match guard(context, writer, &commit.group).await {
        Err(code) => Err(code),
        Ok(guard) => {
            let Producer { id, epoch } = writer.producer;
            let writer = TransactionWriter { id, epoch, guard };
            let group = commit.group.clone();
            let command = Command::TxnOffsetCommit { writer, request: commit };
            match ask(context, &group, command).await {
                Ok(Reply::TxnOffsetCommit(outcome)) => outcome,
                Ok(other) => unreachable!("TxnOffsetCommit was answered with {other:?}"),
                Err(code) => Err(code),
            }
        }
    };
    match committed {
        Ok(results) => results.into_iter().map(|result| (result.name, result.partitions)).collect(),
        Err(code) => {
            let failed = named.into_iter().map(|(name, partitions)| {
                (name, partitions.into_iter().map(|partition| (partition, code)).collect())
            });
            failed.collect()
        }
    }
}

fn places(topic: &OffsetCommitTopic) -> (Text, Vec<PartitionId>) {
    let partitions = topic.partitions.iter().map(|partition| partition.partition).collect();
    (topic.name.clone(), partitions)
}

/// What the group's partition is to be written with; none if the transaction has begun there.
async fn guard(
    context: &RequestContext,
    writer: &Writer,
    group: &str,
) -> Result<Option<Guard>, ErrorCode> {
    let image = context.image();
    let index = partition_of_group(context, &image, group);
    let topic = image.topic(OFFSETS_TOPIC).map(|topic| topic.id);
    let topic = topic.ok_or(ErrorCode::NotCoordinator)?;
    let partition = context.services.replicas.partition(topic, index);
    let partition = partition.ok_or(ErrorCode::NotCoordinator)?;
    let beginning = Beginning {
        producer: writer.producer.id,
        epoch: writer.producer.epoch,
        sequence: -1,
        epoch_per_transaction: writer.mode == Mode::Add,
    };
    let now = context.services.env.clock.now();
    let guard = partition.begin_verification(&beginning, now);
    let Some(guard) = guard.map_err(|_| ErrorCode::NotCoordinator)? else { return Ok(None) };
    let place = Place { topic, name: OFFSETS_TOPIC.into(), partition: index, guard };
    let verified = verify(context, writer, vec![place]).await;
    verified.guard(topic, index).map_err(|code| {
        let waits = code == ErrorCode::NotEnoughReplicas;
        if waits { ErrorCode::CoordinatorNotAvailable } else { code }
    })
}

/// What of a topic may be committed; the rest is refused.
fn judge(
    context: &RequestContext,
    image: &ClusterImage,
    topic: &TxnOffsetCommitRequestTopic,
    outcome: &mut Outcome,
) -> Option<OffsetCommitTopic> {
    if !context.authorize(Operation::Read, Resource::Topic(&topic.name)) {
        outcome.refuse(topic, ErrorCode::TopicAuthorizationFailed);
        return None;
    }
    let Some(found) = image.topic(&topic.name) else {
        outcome.refuse(topic, ErrorCode::UnknownTopicOrPartition);
        return None;
    };
    let is_known = |partition: &&TxnOffsetCommitRequestPartition| {
        found.partition(PartitionId(partition.partition_index)).is_some()
    };
    let (known, unknown): (Vec<_>, Vec<_>) = topic.partitions.iter().partition(is_known);
    if !unknown.is_empty() {
        let code = ErrorCode::UnknownTopicOrPartition;
        let unknown = unknown.iter().map(|it| (PartitionId(it.partition_index), code));
        outcome.add(&topic.name, unknown.collect());
    }
    let partitions: Vec<_> = known.into_iter().map(commit_of).collect();
    let name = topic.name.0.clone();
    (!partitions.is_empty()).then_some(OffsetCommitTopic { name, id: found.id, partitions })
}

fn commit_of(partition: &TxnOffsetCommitRequestPartition) -> OffsetCommitPartition {
    OffsetCommitPartition {
        partition: PartitionId(partition.partition_index),
        offset: Offset(partition.committed_offset),
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.clone(),
    }
}

/// The response as it grows.
#[derive(Default)]
struct Outcome {
    topics: BTreeMap<String, Vec<(PartitionId, ErrorCode)>>,
}

impl Outcome {
    fn refuse(&mut self, topic: &TxnOffsetCommitRequestTopic, code: ErrorCode) {
        let partitions = topic.partitions.iter().map(|it| (PartitionId(it.partition_index), code));
        self.add(&topic.name, partitions.collect());
    }

    fn add(&mut self, topic: &str, partitions: Vec<(PartitionId, ErrorCode)>) {
        self.topics.entry(topic.to_owned()).or_default().extend(partitions);
    }

    fn add_all(&mut self, codes: Codes) {
        for (topic, partitions) in codes {
            self.add(&topic, partitions);
        }
    }

    fn response(self, context: &RequestContext) -> TxnOffsetCommitResponse {
        let mut response = TxnOffsetCommitResponse::default();
        let knows_loading = context.version() >= LOADING_SINCE;
        for (name, partitions) in self.topics {
            let mut topic = TxnOffsetCommitResponseTopic::default();
            topic.name = WireTopicName(Text::from_string(name));
            for (partition, code) in partitions {
                let mut result = TxnOffsetCommitResponsePartition::default();
                result.partition_index = partition.0;
                let is_loading = code == ErrorCode::CoordinatorLoadInProgress && !knows_loading;
                let code = if is_loading { ErrorCode::CoordinatorNotAvailable } else { code };
                result.error_code = code.code();
                topic.partitions.push(result);
            }
            response.topics.push(topic);
        }
        response
    }
}
