//! AddPartitionsToTxn, versions 0 to 5: partitions become part of a transaction.
//!
//! | version | what it added |
//! |---|---|
//! | 2 | PRODUCER_FENCED |
//! | 3 | flexible |
//! | 4 | from brokers: many transactions, and asking only (KIP-890) |
//! | 5 | TRANSACTION_ABORTABLE |
//!
//! If one partition cannot be added, none is. Source: `KafkaApis.handleAddPartitionsToTxnRequest` of Apache Kafka.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::transactions::{PRODUCER_FENCED_SINCE, ask, known_code, producer};
use crate::model::{ErrorCode, PartitionId, TopicName};
use crate::txn::{Command, EPOCH_PER_TRANSACTION_SINCE, Producer, Reply, TransactionPartition};
use crate::wire::Text;
use crate::wire::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use crate::wire::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use crate::wire::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, WireTopicName, WireTransactionalId,
};

/// First version that brokers send, with many transactions.
const BATCHED_SINCE: i16 = 4;

pub(super) fn start(
    context: RequestContext,
    request: AddPartitionsToTxnRequest,
) -> Answer<AddPartitionsToTxnResponse> {
    if context.version() < BATCHED_SINCE {
        return start_single(context, request);
    }
    if !context.authorize(Operation::ClusterAction, Resource::Cluster) {
        let mut refused = AddPartitionsToTxnResponse::default();
        refused.error_code = ErrorCode::ClusterAuthorizationFailed.code();
        return Answer::Now(refused);
    }
    let started: Vec<_> = request
        .transactions
        .into_iter()
        .map(|transaction| (transaction.transactional_id.clone(), add(&context, transaction)))
        .collect();
    Answer::later(async move {
        let mut response = AddPartitionsToTxnResponse::default();
        for (id, added) in started {
            let mut result = AddPartitionsToTxnResult::default();
            result.transactional_id = id;
            result.topic_results = by_topic(added.await);
            response.results_by_transaction.push(result);
        }
        response
    })
}

/// The request of a client.
fn start_single(
    context: RequestContext,
    request: AddPartitionsToTxnRequest,
) -> Answer<AddPartitionsToTxnResponse> {
    let mut transaction = AddPartitionsToTxnTransaction::default();
    transaction.transactional_id = request.v3_and_below_transactional_id;
    transaction.producer_id = request.v3_and_below_producer_id;
    transaction.producer_epoch = request.v3_and_below_producer_epoch;
    transaction.topics = request.v3_and_below_topics;
    let added = add(&context, transaction);
    Answer::later(async move {
        let mut response = AddPartitionsToTxnResponse::default();
        response.results_by_topic_v3_and_below = by_topic(added.await);
        response
    })
}

/// A code for each partition.
type Codes = Vec<(TransactionPartition, ErrorCode)>;

/// Adds, or asks about, the partitions of one transaction.
fn add(
    context: &RequestContext,
    transaction: AddPartitionsToTxnTransaction,
) -> impl Future<Output = Codes> + Send + use<> {
    let id = transaction.transactional_id.clone();
    let judged = judge(context, &id, &transaction.topics);
    let context = context.clone();
    let asked = match judged {
        Err(codes) => Err(codes),
        Ok(partitions) => {
            let producer = producer(transaction.producer_id.0, transaction.producer_epoch);
            let command = if transaction.verify_only {
                let (id, partitions) = (id.as_str().into(), partitions.clone());
                Command::Verify { id, producer, partitions }
            } else {
                addition(&context, &id, producer, partitions.clone())
            };
            Ok((partitions, ask(&context, &id, command)))
        }
    };
    async move {
        let (partitions, asked) = match asked {
            Ok(asked) => asked,
            Err(codes) => return codes,
        };
        let code = match asked.await {
            Ok(Reply::Verified(Ok(codes))) => return partitions.into_iter().zip(codes).collect(),
            Ok(Reply::Done(Ok(()))) => ErrorCode::None,
            Ok(Reply::Done(Err(code)) | Reply::Verified(Err(code))) | Err(code) => code,
            Ok(other) => unreachable!("AddPartitionsToTxn was answered with {other:?}"),
        };
        let code = known_code(&context, code, PRODUCER_FENCED_SINCE);
        partitions.into_iter().map(|partition| (partition, code)).collect()
    }
}

fn addition(
    context: &RequestContext,
    id: &WireTransactionalId,
    producer: Producer,
    partitions: Vec<TransactionPartition>,
) -> Command {
    // Brokers add partitions for clients that have an epoch for each transaction.
    let is_brokers = context.version() >= BATCHED_SINCE;
    let client_version = if is_brokers { EPOCH_PER_TRANSACTION_SINCE } else { 0 };
    Command::AddPartitions { id: id.as_str().into(), producer, partitions, client_version }
}

/// The partitions, if all of them may be added; else a code for each.
fn judge(
    context: &RequestContext,
    id: &Text,
    topics: &[AddPartitionsToTxnTopic],
) -> Result<Vec<TransactionPartition>, Codes> {
    let is_clients = context.version() < BATCHED_SINCE;
    let image = context.image();
    let may_write_id =
        !is_clients || context.authorize(Operation::Write, Resource::TransactionalId(id));
    let mut codes = Vec::new();
    for topic in topics {
        let name = topic.name.as_str();
        let is_internal = TopicName::new(name).is_ok_and(|name| name.is_internal());
        let may_write = !is_clients
            || !is_internal && context.authorize(Operation::Write, Resource::Topic(name));
        let known = image.topic(name);
        let name: Arc<str> = name.into();
        for index in &topic.partitions {
            let partition = PartitionId(*index);
            let code = if !may_write_id {
                ErrorCode::TransactionalIdAuthorizationFailed
            } else if !may_write {
                ErrorCode::TopicAuthorizationFailed
            } else if known.is_none_or(|topic| topic.partition(partition).is_none()) {
                ErrorCode::UnknownTopicOrPartition
            } else {
                ErrorCode::None
            };
            codes.push(((Arc::clone(&name), partition), code));
        }
    }
    if codes.iter().all(|(_, code)| code.is_none()) {
        return Ok(codes.into_iter().map(|(partition, _)| partition).collect());
    }
    for (_, code) in &mut codes {
        if code.is_none() {
            *code = ErrorCode::OperationNotAttempted;
        }
    }
    Err(codes)
}

fn by_topic(codes: Codes) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut topics: BTreeMap<Arc<str>, Vec<_>> = BTreeMap::new();
    for ((topic, partition), code) in codes {
        let mut result = AddPartitionsToTxnPartitionResult::default();
        result.partition_index = partition.0;
        result.partition_error_code = code.code();
        topics.entry(topic).or_default().push(result);
    }
    let results = topics.into_iter().map(|(topic, partitions)| {
        let mut result = AddPartitionsToTxnTopicResult::default();
        result.name = WireTopicName(Text::from_string(topic.as_ref().to_owned()));
        result.results_by_partition = partitions;
        result
    });
    results.collect()
}
