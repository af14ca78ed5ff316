//! DescribeCluster, versions 0 to 2: the brokers and the cluster's id; at the controller's listener the controllers.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | the kind of endpoint asked for (KIP-919) |
//! | 2 | fenced brokers (KIP-1073) |
//!
//! Source: `AuthHelper.computeDescribeClusterResponse`, `ControllerApis.handleDescribeCluster` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::{EndpointType, RequestContext};
use super::dispatch::Answer;
use super::error_map;
use super::nodes::{Node, wire_rack};
use crate::controller::QuorumMember;
use crate::model::ErrorCode;
use crate::wire::Text;
use crate::wire::messages::{
    DescribeClusterRequest, DescribeClusterResponse, WireBrokerId,
    describe_cluster_response::DescribeClusterBroker,
};

/// Brokers are asked for.
const BROKERS: i8 = 1;
/// Controllers are asked for.
const CONTROLLERS: i8 = 2;

pub(super) fn start(
    context: RequestContext,
    request: DescribeClusterRequest,
) -> Answer<DescribeClusterResponse> {
    let mut response = DescribeClusterResponse::default();
    response.cluster_authorized_operations = i32::MIN;
    let asked = if context.version() == 0 { BROKERS } else { request.endpoint_type };
    let endpoint = context.connection.endpoint;
    if let Some((code, message)) = refusal(&context, endpoint, asked) {
        response.error_code = code.code();
        response.error_message = message.map(Text::from_string).or_else(|| error_map::text(code));
        return Answer::Now(response);
    }
    let image = context.image();
    response.cluster_id = Text::from_string(image.cluster_id().to_owned());
    if request.include_cluster_authorized_operations
        && context.authorize(Operation::Describe, Resource::Cluster)
    {
        response.cluster_authorized_operations = context.authorized_operations(Resource::Cluster);
    }
    if endpoint == EndpointType::Controller {
        response.endpoint_type = CONTROLLERS;
        let status = context.services.quorum.status();
        response.controller_id = WireBrokerId(status.leader.map_or(-1, |leader| leader.0));
        response.brokers = status.voters.iter().filter_map(controller).collect();
        return Answer::Now(response);
    }
    response.controller_id = WireBrokerId(context.services.broker.0);
    for known in image.brokers().filter(|known| request.include_fenced_brokers || !known.fenced) {
        let Some(node) = Node::of(&context, known) else { continue };
        let mut broker = DescribeClusterBroker::default();
        broker.broker_id = WireBrokerId(known.id.0);
        broker.host = Text::from_string(node.host);
        broker.port = i32::from(node.port);
        broker.rack = wire_rack(node.rack.as_deref());
        broker.is_fenced = known.fenced;
        response.brokers.push(broker);
    }
    Answer::Now(response)
}

/// Why the request is not answered where it was sent.
fn refusal(
    context: &RequestContext,
    endpoint: EndpointType,
    asked: i8,
) -> Option<(ErrorCode, Option<String>)> {
    let (is, wanted) = match (endpoint, asked) {
        (EndpointType::Broker, BROKERS) => return None,
        // Kafka asks for more of whoever speaks to a controller.
        (EndpointType::Controller, CONTROLLERS) => {
            let may = context.authorize(Operation::Alter, Resource::Cluster);
            return (!may).then_some((ErrorCode::ClusterAuthorizationFailed, None));
        }
        (EndpointType::Broker, CONTROLLERS) => ("BROKER", "CONTROLLER"),
        (EndpointType::Controller, BROKERS) => ("CONTROLLER", "BROKER"),
        (_, other) => {
            let message = format!("Unsupported endpoint type {other}");
            return Some((ErrorCode::UnsupportedEndpointType, Some(message)));
        }
    };
    let message = format!(
        "The request was sent to an endpoint of type {is}, but we wanted an endpoint of type {wanted}"
    );
    Some((ErrorCode::MismatchedEndpointType, Some(message)))
}

/// A controller, as it is told; none if it has no address.
fn controller(member: &QuorumMember) -> Option<DescribeClusterBroker> {
    let (host, port) = member.endpoint.clone()?;
    let mut controller = DescribeClusterBroker::default();
    controller.broker_id = WireBrokerId(member.broker.0);
    controller.host = Text::from_string(host);
    controller.port = i32::from(port);
    Some(controller)
}
