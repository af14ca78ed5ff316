//! AddOffsetsToTxn, versions 0 to 4: offsets of a group become part of a transaction.
//!
//! | version | what it added |
//! |---|---|
//! | 2 | PRODUCER_FENCED |
//! | 3 | flexible |
//! | 4 | TRANSACTION_ABORTABLE (KIP-890) |
//!
//! What is added is the group's partition of `__consumer_offsets`. Source: `KafkaApis.handleAddOffsetsToTxnRequest` of
//! Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::partition_of_group;
use super::internal_topics::OFFSETS_TOPIC;
use super::transactions::{PRODUCER_FENCED_SINCE, ask, done, known_code, producer};
use crate::model::ErrorCode;
use crate::txn::{Command, TransactionalId};
use crate::wire::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

pub(super) fn start(
    context: RequestContext,
    request: AddOffsetsToTxnRequest,
) -> Answer<AddOffsetsToTxnResponse> {
    let (id, group) = (request.transactional_id.as_str(), request.group_id.as_str());
    if !context.authorize(Operation::Write, Resource::TransactionalId(id)) {
        return Answer::Now(response(ErrorCode::TransactionalIdAuthorizationFailed));
    }
    if !context.authorize(Operation::Read, Resource::Group(group)) {
        return Answer::Now(response(ErrorCode::GroupAuthorizationFailed));
    }
    let partition = partition_of_group(&context, &context.image(), group);
    let command = Command::AddPartitions {
        id: TransactionalId::from(id),
        producer: producer(request.producer_id.0, request.producer_epoch),
        partitions: vec![(OFFSETS_TOPIC.into(), partition)],
        client_version: 0,
    };
    let asked = ask(&context, id, command);
    Answer::later(async move {
        let code = done(asked).await.err().unwrap_or(ErrorCode::None);
        response(known_code(&context, code, PRODUCER_FENCED_SINCE))
    })
}

fn response(code: ErrorCode) -> AddOffsetsToTxnResponse {
    let mut response = AddOffsetsToTxnResponse::default();
    response.error_code = code.code();
    response
}
