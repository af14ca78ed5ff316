//! Making sure that a producer's transaction is known to its coordinator before something is written in it (KIP-890).
//!
//! Owns whom to ask, for how long to ask again, and the codes that clients of each version understand. A client without an
//! epoch for each transaction has told the coordinator before, which is asked whether it has; with one, the first batch tells
//! it. What keeps a marker from coming in between is in `log/verification`. Source: `AddPartitionsToTxnManager`,
//! `ReplicaManager.handleProduceAppend` of Apache Kafka.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::context::RequestContext;
use super::internal_topics::InternalTopic;
use super::transactions::ask;
use crate::model::{BrokerId, ErrorCode, PartitionId, TopicId};
use crate::replica::Guard;
use crate::txn::{
    Command, EPOCH_PER_TRANSACTION_SINCE, Producer, Reply, TransactionPartition, TransactionalId,
};
use crate::wire::Text;
use crate::wire::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use crate::wire::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, WireProducerId, WireTopicName,
    WireTransactionalId,
};

/// What is asked of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Whether partitions are part of the transaction.
    Verify {
        /// Whether the client knows TRANSACTION_ABORTABLE.
        knows_abortable: bool,
    },
    /// To make them part of it.
    Add,
}

/// Who writes in a transaction.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub(super) id: TransactionalId,
    pub(super) producer: Producer,
    pub(super) mode: Mode,
}

/// A partition that a transaction is to begin in.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) topic: TopicId,
    pub(super) name: Arc<str>,
    pub(super) partition: PartitionId,
    pub(super) guard: Guard,
}

/// The partitions that a transaction may begin in, and those that it may not begin in.
#[derive(Debug, Default)]
pub(super) struct Verified(HashMap<(TopicId, PartitionId), Result<Guard, ErrorCode>>);

impl Verified {
    /// What to append with; none if the transaction has begun there already.
    pub(super) fn guard(
        &self,
        topic: TopicId,
        partition: PartitionId,
    ) -> Result<Option<Guard>, ErrorCode> {
        self.0.get(&(topic, partition)).copied().transpose()
    }
}

/// Asks the coordinator about all places. Dropping the future leaves them unverified.
pub(super) async fn verify(
    context: &RequestContext,
    writer: &Writer,
    places: Vec<Place>,
) -> Verified {
    let partitions: Vec<_> =
        places.iter().map(|place| (Arc::clone(&place.name), place.partition)).collect();
    let codes = ask_until_free(context, writer, &partitions).await;
    let verified = places.into_iter().zip(codes).map(|(place, code)| {
        let code = known_code(writer.mode, code);
        let outcome = if code.is_none() { Ok(place.guard) } else { Err(code) };
        ((place.topic, place.partition), outcome)
    });
    Verified(verified.collect())
}

/// Asks again while the producer's previous transaction is being completed, for as long as the broker allows. Clients with
/// an epoch for each transaction go on right after they have ended one.
async fn ask_until_free(
    context: &RequestContext,
    writer: &Writer,
    partitions: &[TransactionPartition],
) -> Vec<ErrorCode> {
    let settings = Arc::clone(&context.settings().broker().transactions);
    if !settings.verifies_partitions && writer.mode != Mode::Add {
        return vec![ErrorCode::None; partitions.len()];
    }
    let steady = &context.services.env.steady;
    let deadline = steady.now().plus(settings.retry_max);
    loop {
        let codes = ask_once(context, writer, partitions).await;
        let has_to_wait = codes.contains(&ErrorCode::ConcurrentTransactions);
        if writer.mode != Mode::Add || !has_to_wait || steady.now() >= deadline {
            return codes;
        }
        steady.sleep(settings.retry_pause).await;
    }
}

async fn ask_once(
    context: &RequestContext,
    writer: &Writer,
    partitions: &[TransactionPartition],
) -> Vec<ErrorCode> {
    let image = context.image();
    let topic = InternalTopic::Transactions;
    let partition = topic.partition_of(context, &image, writer.id.as_str());
    let state = image.topic(topic.name()).and_then(|topic| topic.partition(partition));
    match state.and_then(|state| state.leader) {
        Some(leader) if context.services.others.is_other(leader) => {
            ask_other(context, leader, writer, partitions).await
        }
        _ => ask_here(context, writer, partitions).await,
    }
}

/// Asks the coordinator, which is another broker.
async fn ask_other(
    context: &RequestContext,
    coordinator: BrokerId,
    writer: &Writer,
    partitions: &[TransactionPartition],
) -> Vec<ErrorCode> {
    let request = request_of(writer, partitions);
    let answer = match context.services.others.ask(coordinator, &request).await {
        Ok(asked) => asked.answer().await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => answered(&answer, partitions),
        Err(error) => {
            tracing::debug!(id = %writer.id, %error, "the coordinator of a transaction did not answer");
            vec![ErrorCode::CoordinatorNotAvailable; partitions.len()]
        }
    }
}

fn request_of(writer: &Writer, partitions: &[TransactionPartition]) -> AddPartitionsToTxnRequest {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(partition.0);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        let mut topic = AddPartitionsToTxnTopic::default();
        topic.name = WireTopicName(Text::from_string(name.to_owned()));
        topic.partitions = partitions;
        topic
    });
    let mut transaction = AddPartitionsToTxnTransaction::default();
    let id = Text::from_string(writer.id.as_str().to_owned());
    transaction.transactional_id = WireTransactionalId(id);
    transaction.producer_id = WireProducerId(writer.producer.id.0);
    transaction.producer_epoch = writer.producer.epoch.0;
    transaction.verify_only = writer.mode != Mode::Add;
    transaction.topics = topics.collect();
    let mut request = AddPartitionsToTxnRequest::default();
    request.transactions = vec![transaction];
    request
}

/// The code of each partition in an answer.
fn answered(
    answer: &AddPartitionsToTxnResponse,
    partitions: &[TransactionPartition],
) -> Vec<ErrorCode> {
    let results = answer.results_by_transaction.iter().flat_map(|result| &result.topic_results);
    let codes: HashMap<(&str, i32), i16> = results
        .flat_map(|topic| {
            let name = topic.name.as_str();
            let partitions = topic.results_by_partition.iter();
            partitions.map(move |it| ((name, it.partition_index), it.partition_error_code))
        })
        .collect();
    let known = |code| ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError);
    let whole = known(answer.error_code);
    let code = |(topic, partition): &TransactionPartition| {
        let code = codes.get(&(topic.as_ref(), partition.0));
        match code.map(|code| known(*code)) {
            Some(code) => code,
            None if whole.is_none() => ErrorCode::CoordinatorNotAvailable,
            None => whole,
        }
    };
    partitions.iter().map(code).collect()
}

async fn ask_here(
    context: &RequestContext,
    writer: &Writer,
    partitions: &[TransactionPartition],
) -> Vec<ErrorCode> {
    let (id, producer, partitions) = (writer.id.clone(), writer.producer, partitions.to_vec());
    let count = partitions.len();
    let command = match writer.mode {
        Mode::Verify { .. } => Command::Verify { id, producer, partitions },
        Mode::Add => {
            let client_version = EPOCH_PER_TRANSACTION_SINCE;
            Command::AddPartitions { id, producer, partitions, client_version }
        }
    };
    let code = match ask(context, writer.id.as_str(), command).await {
        Ok(Reply::Verified(Ok(codes))) => return codes,
        Ok(Reply::Done(Ok(()))) => ErrorCode::None,
        Ok(Reply::Done(Err(code)) | Reply::Verified(Err(code))) | Err(code) => code,
        Ok(other) => unreachable!("a verification was answered with {other:?}"),
    };
    vec![code; count]
}

/// The code that the client of a write understands.
fn known_code(mode: Mode, code: ErrorCode) -> ErrorCode {
    // Clients ask again after NOT_ENOUGH_REPLICAS without looking for another leader.
    let is_passing = matches!(
        code,
        ErrorCode::ConcurrentTransactions
            | ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
    );
    if code == ErrorCode::ProducerFenced {
        ErrorCode::InvalidProducerEpoch
    } else if code == ErrorCode::TransactionAbortable
        && mode == (Mode::Verify { knows_abortable: false })
    {
        ErrorCode::InvalidTxnState
    } else if is_passing && (code != ErrorCode::ConcurrentTransactions || mode != Mode::Add) {
        ErrorCode::NotEnoughReplicas
    } else {
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_clients_understand() {
        let (old, new) =
            (Mode::Verify { knows_abortable: false }, Mode::Verify { knows_abortable: true });
        let cases = [
            (ErrorCode::None, [ErrorCode::None; 3]),
            (ErrorCode::ProducerFenced, [ErrorCode::InvalidProducerEpoch; 3]),
            (
                ErrorCode::TransactionAbortable,
                [
                    ErrorCode::InvalidTxnState,
                    ErrorCode::TransactionAbortable,
                    ErrorCode::TransactionAbortable,
                ],
            ),
            (
                ErrorCode::ConcurrentTransactions,
                [
                    ErrorCode::NotEnoughReplicas,
                    ErrorCode::NotEnoughReplicas,
                    ErrorCode::ConcurrentTransactions,
                ],
            ),
            (ErrorCode::NotCoordinator, [ErrorCode::NotEnoughReplicas; 3]),
            (ErrorCode::InvalidProducerIdMapping, [ErrorCode::InvalidProducerIdMapping; 3]),
        ];
        for (code, expected) in cases {
            assert_eq!([old, new, Mode::Add].map(|mode| known_code(mode, code)), expected);
        }
    }
}
