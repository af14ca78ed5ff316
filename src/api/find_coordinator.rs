//! FindCoordinator, versions 0 to 6: which broker owns a group or a transactional id.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | key types, error messages |
//! | 3 | flexible |
//! | 4 | many keys (KIP-699) |
//! | 5 | TRANSACTION_ABORTABLE (KIP-890) |
//! | 6 | share groups (KIP-932) |
//!
//! The topic that holds the groups, or the transactions, is made by the first request, which waits for it; Apache Kafka
//! answers that request with COORDINATOR_NOT_AVAILABLE instead. Share groups have no coordinator here so far: for them the
//! answer is UNSUPPORTED_VERSION, upon which clients give up. Source: `KafkaApis.getCoordinator` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::internal_topics::InternalTopic;
use super::nodes::Node;
use crate::model::ErrorCode;
use crate::wire::Text;
use crate::wire::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, WireBrokerId,
    find_coordinator_response::Coordinator,
};

/// First version with many keys.
const KEYS_SINCE: i16 = 4;
/// First version that knows share groups.
const SHARE_SINCE: i16 = 6;
/// First version with an error message.
const MESSAGE_SINCE: i16 = 1;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

pub(super) fn start(
    context: RequestContext,
    request: FindCoordinatorRequest,
) -> Answer<FindCoordinatorResponse> {
    let missing =
        topic_of(request.key_type).filter(|topic| context.image().topic(topic.name()).is_none());
    let Some(missing) = missing else {
        return Answer::Now(response(&context, &request, Ok(())));
    };
    Answer::later(async move {
        let made = missing.ensure(&context).await;
        response(&context, &request, made)
    })
}

/// The topic that holds keys of this type, if there is one.
const fn topic_of(key_type: i8) -> Option<InternalTopic> {
    match key_type {
        GROUP => Some(InternalTopic::Groups),
        TRANSACTION => Some(InternalTopic::Transactions),
        _ => None,
    }
}

fn response(
    context: &RequestContext,
    request: &FindCoordinatorRequest,
    topic: Result<(), ErrorCode>,
) -> FindCoordinatorResponse {
    let mut response = FindCoordinatorResponse::default();
    if context.version() >= KEYS_SINCE {
        for key in &request.coordinator_keys {
            let mut coordinator = Coordinator::default();
            coordinator.key = key.clone();
            match topic.and_then(|()| find(context, request.key_type, key)) {
                Ok(node) => {
                    coordinator.node_id = WireBrokerId(node.id.0);
                    coordinator.host = Text::from_string(node.host);
                    coordinator.port = i32::from(node.port);
                }
                Err(code) => {
                    (coordinator.node_id, coordinator.port) = (WireBrokerId(-1), -1);
                    coordinator.error_code = code.code();
                }
            }
            response.coordinators.push(coordinator);
        }
        return response;
    }
    let message = match topic.and_then(|()| find(context, request.key_type, &request.key)) {
        Ok(node) => {
            response.node_id = WireBrokerId(node.id.0);
            response.host = Text::from_string(node.host);
            response.port = i32::from(node.port);
            "NONE".to_owned()
        }
        Err(code) => {
            (response.node_id, response.port) = (WireBrokerId(-1), -1);
            response.error_code = code.code();
            code.to_string()
        }
    };
    if context.version() >= MESSAGE_SINCE {
        response.error_message = Some(Text::from_string(message));
    }
    response
}

fn find(context: &RequestContext, key_type: i8, key: &str) -> Result<Node, ErrorCode> {
    match key_type {
        GROUP if !context.authorize(Operation::Describe, Resource::Group(key)) => {
            return Err(ErrorCode::GroupAuthorizationFailed);
        }
        TRANSACTION if !context.authorize(Operation::Describe, Resource::TransactionalId(key)) => {
            return Err(ErrorCode::TransactionalIdAuthorizationFailed);
        }
        SHARE if context.version() >= SHARE_SINCE => return Err(ErrorCode::UnsupportedVersion),
        _ => {}
    }
    let topic = topic_of(key_type).ok_or(ErrorCode::InvalidRequest)?;
    let image = context.image();
    let partition = topic.partition_of(context, &image, key);
    let state = image.topic(topic.name()).and_then(|topic| topic.partition(partition));
    let leader = state.and_then(|state| image.broker(state.leader?));
    let reachable = leader.filter(|leader| !leader.fenced);
    let node = reachable.and_then(|leader| Node::of(context, leader));
    node.ok_or(ErrorCode::CoordinatorNotAvailable)
}
