//! The resources that configs belong to, as the config APIs name them.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use crate::cluster::ConfigResource;
use crate::model::{BrokerId, ErrorCode, TopicName};

/// The types of resources on the wire (`ConfigResource.Type` of Kafka's clients).
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
pub(super) const BROKER_LOGGER: i8 = 8;
pub(super) const CLIENT_METRICS: i8 = 16;
pub(super) const GROUP: i8 = 32;

/// Why a resource is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Reads type and name of a resource. A broker must be this one, or unnamed for all.
pub(super) fn parse(
    context: &RequestContext,
    kind: i8,
    name: &str,
) -> Result<ConfigResource, Refused> {
    match kind {
        TOPIC => {
            let topic = TopicName::new(name);
            topic
                .map(ConfigResource::Topic)
                .map_err(|error| Refused::new(ErrorCode::InvalidTopic, error.to_string()))
        }
        BROKER if name.is_empty() => Ok(ConfigResource::AllBrokers),
        BROKER => match name.parse().map(BrokerId) {
            Ok(id) if id == context.services.broker => Ok(ConfigResource::Broker(id)),
            _ => {
                let this = context.services.broker;
                let message = format!(
                    "Unexpected broker id, expected {this} or empty string, but received {name}"
                );
                Err(Refused::new(ErrorCode::InvalidRequest, message))
            }
        },
        GROUP if name.is_empty() => {
            Err(Refused::new(ErrorCode::InvalidRequest, "Default group resources are not allowed."))
        }
        GROUP => Ok(ConfigResource::Group(name.to_owned())),
        BROKER_LOGGER | CLIENT_METRICS => {
            let message = format!("resource type {} has no configs here", kind_name(kind));
            Err(Refused::new(ErrorCode::InvalidRequest, message))
        }
        other => Err(unknown_kind(other)),
    }
}

/// Whether there is such a type of resource.
pub(super) const fn is_kind(kind: i8) -> bool {
    matches!(kind, TOPIC | BROKER | BROKER_LOGGER | CLIENT_METRICS | GROUP)
}

/// The refusal of a type that does not exist.
pub(super) fn unknown_kind(kind: i8) -> Refused {
    Refused::new(ErrorCode::InvalidRequest, format!("Unsupported resource type: {kind}"))
}

fn kind_name(kind: i8) -> &'static str {
    if kind == BROKER_LOGGER { "BROKER_LOGGER" } else { "CLIENT_METRICS" }
}

/// Whether the client may do this to the configs of a resource.
pub(super) fn authorize(
    context: &RequestContext,
    operation: Operation,
    resource: &ConfigResource,
) -> Result<(), Refused> {
    let (allowed, code) = match resource {
        ConfigResource::Topic(name) => (
            context.authorize(operation, Resource::Topic(name.as_str())),
            ErrorCode::TopicAuthorizationFailed,
        ),
        ConfigResource::Broker(_) | ConfigResource::AllBrokers => {
            (context.authorize(operation, Resource::Cluster), ErrorCode::ClusterAuthorizationFailed)
        }
        ConfigResource::Group(name) => (
            context.authorize(operation, Resource::Group(name)),
            ErrorCode::GroupAuthorizationFailed,
        ),
    };
    if allowed { Ok(()) } else { Err(Refused::new(code, "")) }
}
