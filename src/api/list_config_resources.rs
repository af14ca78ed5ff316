//! ListConfigResources, versions 0 and 1: the resources that have configs (KIP-1142).
//!
//! Version 0 lists client metrics only, of which there are none; version 1 lists the types that are asked for, or all.
//! Source: `KafkaApis.handleListConfigResources` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::config_resources::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use super::context::RequestContext;
use super::dispatch::Answer;
use crate::cluster::{ClusterImage, ConfigResource};
use crate::model::ErrorCode;
use crate::wire::Text;
use crate::wire::messages::{
    ListConfigResourcesRequest, ListConfigResourcesResponse,
    list_config_resources_response::ConfigResource as WireResource,
};

/// All types, in the order in which they are listed.
const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

pub(super) fn start(
    context: RequestContext,
    request: ListConfigResourcesRequest,
) -> Answer<ListConfigResourcesResponse> {
    let mut response = ListConfigResourcesResponse::default();
    if !context.authorize(Operation::DescribeConfigs, Resource::Cluster) {
        response.error_code = ErrorCode::ClusterAuthorizationFailed.code();
        return Answer::Now(response);
    }
    let asked = match context.version() {
        0 => vec![CLIENT_METRICS],
        _ if request.resource_types.is_empty() => ALL.to_vec(),
        _ => request.resource_types,
    };
    if asked.iter().any(|kind| !ALL.contains(kind)) {
        response.error_code = ErrorCode::UnsupportedVersion.code();
        return Answer::Now(response);
    }
    let image = context.image();
    for kind in ALL.into_iter().filter(|kind| asked.contains(kind)) {
        for name in names(&image, kind) {
            let mut resource = WireResource::default();
            resource.resource_type = kind;
            resource.resource_name = Text::from_string(name);
            response.config_resources.push(resource);
        }
    }
    Answer::Now(response)
}

fn names(image: &ClusterImage, kind: i8) -> Vec<String> {
    match kind {
        TOPIC => image.topics().map(|topic| topic.name.to_string()).collect(),
        BROKER | BROKER_LOGGER => image.brokers().map(|broker| broker.id.to_string()).collect(),
        GROUP => image
            .config_resources()
            .filter_map(|resource| match resource {
                ConfigResource::Group(name) => Some(name.clone()),
                ConfigResource::Topic(_)
                | ConfigResource::Broker(_)
                | ConfigResource::AllBrokers => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}
