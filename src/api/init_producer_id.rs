//! InitProducerId, versions 0 to 5: an id for an idempotent producer.
//!
//! | version | what it added |
//! |---|---|
//! | 3 | the producer's present id and epoch (KIP-360) |
//! | 4 | PRODUCER_FENCED |
//! | 5 | TRANSACTION_ABORTABLE (KIP-890) |
//!
//! There are no transactions yet: a request with a transactional id is answered with UNSUPPORTED_VERSION, which ends a
//! producer with a clear error. Source: `TransactionCoordinator.handleInitProducerId` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use crate::model::{ErrorCode, ProducerId};
use crate::wire::messages::{InitProducerIdRequest, InitProducerIdResponse, WireProducerId};

pub(super) fn start(
    context: RequestContext,
    request: InitProducerIdRequest,
) -> Answer<InitProducerIdResponse> {
    if request.transactional_id.as_ref().is_some_and(|id| id.is_empty()) {
        return Answer::Now(response(Err(ErrorCode::InvalidRequest)));
    }
    if request.transactional_id.is_some() {
        return Answer::Now(response(Err(ErrorCode::UnsupportedVersion)));
    }
    if !context.authorize(Operation::IdempotentWrite, Resource::Cluster) {
        return Answer::Now(response(Err(ErrorCode::ClusterAuthorizationFailed)));
    }
    if (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
        return Answer::Now(response(Err(ErrorCode::InvalidRequest)));
    }
    Answer::later(async move { response(context.services.producer_ids.next(&context).await) })
}

fn response(id: Result<ProducerId, ErrorCode>) -> InitProducerIdResponse {
    let mut response = InitProducerIdResponse::default();
    match id {
        Ok(id) => {
            response.producer_id = WireProducerId(id.0);
            response.producer_epoch = 0;
        }
        Err(code) => {
            response.error_code = code.code();
            response.producer_id = WireProducerId(-1);
            response.producer_epoch = -1;
        }
    }
    response
}
