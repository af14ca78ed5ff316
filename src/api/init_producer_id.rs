//! InitProducerId, versions 0 to 5: an id for an idempotent or a transactional producer.
//!
//! | version | what it added |
//! |---|---|
//! | 3 | the producer's present id and epoch (KIP-360) |
//! | 4 | PRODUCER_FENCED |
//! | 5 | TRANSACTION_ABORTABLE (KIP-890) |
//!
//! Source: `KafkaApis.handleInitProducerIdRequest`, `TransactionCoordinator.handleInitProducerId` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::transactions::{ask_for_producer, known_code, producer, spelled};
use crate::model::{ErrorCode, ProducerEpoch, ProducerId};
use crate::txn::{Command, Producer, TransactionalId};
use crate::wire::messages::{InitProducerIdRequest, InitProducerIdResponse};

/// First version whose clients know PRODUCER_FENCED.
const PRODUCER_FENCED_SINCE: i16 = 4;

pub(super) fn start(
    context: RequestContext,
    request: InitProducerIdRequest,
) -> Answer<InitProducerIdResponse> {
    let allowed = match &request.transactional_id {
        Some(id) if context.authorize(Operation::Write, Resource::TransactionalId(id)) => Ok(()),
        Some(_) => Err(ErrorCode::TransactionalIdAuthorizationFailed),
        None if context.authorize(Operation::IdempotentWrite, Resource::Cluster) => Ok(()),
        None => Err(ErrorCode::ClusterAuthorizationFailed),
    };
    if let Err(code) = allowed {
        return Answer::Now(response(Err(code)));
    }
    let expected = match (request.producer_id.0, request.producer_epoch) {
        (-1, -1) => None,
        (-1, _) | (_, -1) => return Answer::Now(response(Err(ErrorCode::InvalidRequest))),
        (id, epoch) => Some(producer(id, epoch)),
    };
    let Some(id) = request.transactional_id else {
        return Answer::later(async move {
            let id = context.services.producer_ids.next(&context).await;
            response(id.map(|id| Producer { id, epoch: ProducerEpoch(0) }))
        });
    };
    let (id, timeout_ms) = (TransactionalId::from(id.as_str()), request.transaction_timeout_ms);
    let longest_ms = context.settings().broker().transactions.timeout_ms_max;
    if !id.as_str().is_empty() && !(1..=longest_ms).contains(&timeout_ms) {
        return Answer::Now(response(Err(ErrorCode::InvalidTransactionTimeout)));
    }
    let asked =
        ask_for_producer(&context, id.clone().as_str(), move |fresh: Option<ProducerId>| {
            Command::InitProducerId { id: id.clone(), timeout_ms, expected, fresh }
        });
    Answer::later(async move {
        let outcome = asked.await;
        response(outcome.map_err(|code| known_code(&context, code, PRODUCER_FENCED_SINCE)))
    })
}

fn response(outcome: Result<Producer, ErrorCode>) -> InitProducerIdResponse {
    let mut response = InitProducerIdResponse::default();
    (response.error_code, response.producer_id, response.producer_epoch) = spelled(outcome);
    response
}
