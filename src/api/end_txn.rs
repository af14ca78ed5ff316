//! EndTxn, versions 0 to 5: a producer commits or aborts its transaction.
//!
//! | version | what it added |
//! |---|---|
//! | 2 | PRODUCER_FENCED |
//! | 4 | TRANSACTION_ABORTABLE (KIP-890) |
//! | 5 | every end raises the producer's epoch, and tells it (KIP-890) |
//!
//! Source: `KafkaApis.handleEndTxnRequest` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::transactions::{PRODUCER_FENCED_SINCE, ask_for_producer, known_code, producer, spelled};
use crate::coordinator::TransactionOutcome;
use crate::model::{ErrorCode, ProducerId};
use crate::txn::{Command, EPOCH_PER_TRANSACTION_SINCE, Producer, TransactionalId};
use crate::wire::messages::{EndTxnRequest, EndTxnResponse};

/// First version whose clients have an epoch for each transaction.
const EPOCH_SINCE: i16 = 5;

pub(super) fn start(context: RequestContext, request: EndTxnRequest) -> Answer<EndTxnResponse> {
    let id = TransactionalId::from(request.transactional_id.as_str());
    if !context.authorize(Operation::Write, Resource::TransactionalId(id.as_str())) {
        return Answer::Now(response(Err(ErrorCode::TransactionalIdAuthorizationFailed)));
    }
    let producer = producer(request.producer_id.0, request.producer_epoch);
    let outcome =
        if request.committed { TransactionOutcome::Commit } else { TransactionOutcome::Abort };
    let has_epochs = context.version() >= EPOCH_SINCE;
    let client_version = if has_epochs { EPOCH_PER_TRANSACTION_SINCE } else { 0 };
    let asked =
        ask_for_producer(&context, id.clone().as_str(), move |fresh: Option<ProducerId>| {
            Command::End { id: id.clone(), producer, outcome, client_version, fresh }
        });
    Answer::later(async move {
        let ended = asked.await;
        response(ended.map_err(|code| known_code(&context, code, PRODUCER_FENCED_SINCE)))
    })
}

fn response(outcome: Result<Producer, ErrorCode>) -> EndTxnResponse {
    let mut response = EndTxnResponse::default();
    (response.error_code, response.producer_id, response.producer_epoch) = spelled(outcome);
    response
}
