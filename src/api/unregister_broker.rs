//! UnregisterBroker, version 0: a broker that is gone for good is forgotten (KIP-631).
//!
//! It stays a replica of its partitions until they are reassigned. One that still runs is fenced from then on, until it is
//! started again. Source: `ControllerApis.handleUnregisterBroker` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::error_map;
use crate::cluster::{Command, Refusal};
use crate::model::{BrokerId, ErrorCode};
use crate::wire::Text;
use crate::wire::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

pub(super) fn start(
    context: RequestContext,
    request: UnregisterBrokerRequest,
) -> Answer<UnregisterBrokerResponse> {
    if !context.authorize(Operation::Alter, Resource::Cluster) {
        return Answer::Now(refused(ErrorCode::ClusterAuthorizationFailed, None));
    }
    let broker = BrokerId(request.broker_id.0);
    Answer::later(async move {
        let outcomes = context.propose(vec![Command::UnregisterBroker { broker }]).await;
        match outcomes.map(|mut outcomes| outcomes.pop()) {
            Ok(Some(Err(Refusal { code, message }))) => refused(code, Some(message)),
            Ok(_) => UnregisterBrokerResponse::default(),
            Err(code) => refused(code, None),
        }
    })
}

fn refused(code: ErrorCode, message: Option<String>) -> UnregisterBrokerResponse {
    let mut response = UnregisterBrokerResponse::default();
    response.error_code = code.code();
    response.error_message = message.map(Text::from_string).or_else(|| error_map::text(code));
    response
}
