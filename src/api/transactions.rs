//! The way from a handler to the state machine of a transactional id.
//!
//! Owns which partition of `__transaction_state` an id belongs to, giving the state machine the producer ids that it needs,
//! and what its answers mean in the versions of a request.

use std::future::Future;
use std::sync::Arc;

use super::context::RequestContext;
use super::error_map;
use super::internal_topics::InternalTopic;
use crate::model::{ErrorCode, PartitionId, ProducerEpoch, ProducerId};
use crate::txn::{Command, Producer, Reply};
use crate::wire::messages::WireProducerId;

/// First versions of AddPartitionsToTxn, AddOffsetsToTxn and EndTxn whose clients know PRODUCER_FENCED.
pub(super) const PRODUCER_FENCED_SINCE: i16 = 2;

/// A producer, as requests spell it.
pub(super) const fn producer(id: i64, epoch: i16) -> Producer {
    Producer { id: ProducerId(id), epoch: ProducerEpoch(epoch) }
}

/// The error code, id and epoch of an answer with a producer.
pub(super) fn spelled(outcome: Result<Producer, ErrorCode>) -> (i16, WireProducerId, i16) {
    match outcome {
        Ok(producer) => (0, WireProducerId(producer.id.0), producer.epoch.0),
        Err(code) => (code.code(), WireProducerId(-1), -1),
    }
}

/// The code for clients that do not know PRODUCER_FENCED yet.
pub(super) fn known_code(
    context: &RequestContext,
    code: ErrorCode,
    fenced_since: i16,
) -> ErrorCode {
    if code == ErrorCode::ProducerFenced && context.version() < fenced_since {
        return ErrorCode::InvalidProducerEpoch;
    }
    code
}

/// Asks the state machine of a transactional id, which must not be empty. The command is queued when this returns.
pub(super) fn ask(
    context: &RequestContext,
    id: &str,
    command: Command,
) -> impl Future<Output = Result<Reply, ErrorCode>> + Send + use<> {
    let image = context.image();
    let partition = InternalTopic::Transactions.partition_of(context, &image, id);
    let asked = (!id.is_empty()).then(|| ask_partition(context, partition, command));
    async move {
        match asked {
            Some(asked) => asked.await,
            None => Err(ErrorCode::InvalidRequest),
        }
    }
}

/// As [`ask`], by partition.
pub(super) fn ask_partition(
    context: &RequestContext,
    partition: PartitionId,
    command: Command,
) -> impl Future<Output = Result<Reply, ErrorCode>> + Send + use<> {
    let asked = context.services.transactions.ask(partition, command);
    async move { asked.await.map_err(error_map::coordinator_code) }
}

/// Asks something that is answered with a producer. If the state machine needs a producer id for it, it gets one.
pub(super) fn ask_for_producer<F>(
    context: &RequestContext,
    id: &str,
    command: F,
) -> impl Future<Output = Result<Producer, ErrorCode>> + Send + use<F>
where
    F: Fn(Option<ProducerId>) -> Command + Send + 'static,
{
    let (context, id) = (context.clone(), Arc::<str>::from(id));
    let asked = ask(&context, &id, command(None));
    async move {
        let mut reply = asked.await?;
        if reply == Reply::NeedsProducerId {
            let fresh = context.services.producer_ids.next(&context).await?;
            reply = ask(&context, &id, command(Some(fresh))).await?;
        }
        let Reply::Producer(outcome) = reply else {
            unreachable!("a producer was asked for, and the answer is {reply:?}")
        };
        outcome
    }
}

/// The outcome of a command that is done or not.
pub(super) async fn done(
    asked: impl Future<Output = Result<Reply, ErrorCode>> + Send,
) -> Result<(), ErrorCode> {
    let reply = asked.await?;
    let Reply::Done(outcome) = reply else {
        unreachable!("something was to be done, and the answer is {reply:?}")
    };
    outcome
}
