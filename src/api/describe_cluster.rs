//! DescribeCluster, versions 0 to 2: the brokers and the cluster's id.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | the kind of endpoint asked for (KIP-919) |
//! | 2 | fenced brokers (KIP-1073) |
//!
//! Source: `AuthHelper.computeDescribeClusterResponse` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::nodes::{Node, wire_rack};
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
    let (code, message) = match asked {
        BROKERS => (ErrorCode::None, None),
        CONTROLLERS => {
            let message = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            (ErrorCode::MismatchedEndpointType, Some(message.to_owned()))
        }
        other => {
            (ErrorCode::UnsupportedEndpointType, Some(format!("Unsupported endpoint type {other}")))
        }
    };
    if !code.is_none() {
        response.error_code = code.code();
        response.error_message = message.map(Text::from_string);
        return Answer::Now(response);
    }
    let image = context.image();
    response.cluster_id = Text::from_string(image.cluster_id().to_owned());
    response.controller_id = WireBrokerId(context.services.broker.0);
    if request.include_cluster_authorized_operations
        && context.authorize(Operation::Describe, Resource::Cluster)
    {
        response.cluster_authorized_operations = context.authorized_operations(Resource::Cluster);
    }
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
