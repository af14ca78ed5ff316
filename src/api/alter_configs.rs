//! AlterConfigs, versions 0 to 2, and IncrementalAlterConfigs, versions 0 and 1: changing configs while the broker runs.
//!
//! AlterConfigs replaces all configs of a resource; IncrementalAlterConfigs (KIP-339) sets, deletes, appends to lists and
//! subtracts from them. The versions differ in encoding only. Each resource is changed whole or not at all. What is
//! changed is in force when the answer is sent. Source: `ConfigAdminManager`, `ConfigurationControlManager` of Apache Kafka.

use std::collections::BTreeMap;

use super::authorizer::Operation;
use super::config_resources::{self, Refused};
use super::context::RequestContext;
use super::dispatch::Answer;
use crate::cluster::{ClusterImage, Command, ConfigResource, Refusal};
use crate::config::registry::Scope;
use crate::config::{self, AlterError, Change, Effective, Overrides, Target};
use crate::model::ErrorCode;
use crate::wire::Text;
use crate::wire::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, alter_configs_response, incremental_alter_configs_response,
};

pub(super) fn start(
    context: RequestContext,
    request: AlterConfigsRequest,
) -> Answer<AlterConfigsResponse> {
    let resources = request.resources.iter().map(|resource| Asked {
        kind: resource.resource_type,
        name: resource.resource_name.clone(),
        wanted: Box::new(|_: Scope, _: &Overrides| {
            let pairs: Vec<_> = resource
                .configs
                .iter()
                .map(|config| (&*config.name, config.value.as_deref()))
                .collect();
            config::replacement(&pairs)
        }),
    });
    let planned = plan_all(&context, resources.collect());
    let validate_only = request.validate_only;
    Answer::later(async move {
        let mut response = AlterConfigsResponse::default();
        for result in alter(&context, planned, validate_only).await {
            let mut entry = alter_configs_response::AlterConfigsResourceResponse::default();
            entry.resource_type = result.kind;
            entry.resource_name = result.name;
            entry.error_message = None;
            if let Some(refused) = result.refused {
                entry.error_code = refused.code.code();
                entry.error_message = Some(Text::from_string(refused.message));
            }
            response.responses.push(entry);
        }
        response
    })
}

pub(super) fn start_incremental(
    context: RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> Answer<IncrementalAlterConfigsResponse> {
    let resources = request.resources.iter().map(|resource| Asked {
        kind: resource.resource_type,
        name: resource.resource_name.clone(),
        wanted: Box::new(|scope: Scope, current: &Overrides| {
            let mut changes = Vec::new();
            for config in &resource.configs {
                let code = config.config_operation;
                let operation = config::Operation::from_code(code).ok_or_else(|| AlterError {
                    code: ErrorCode::InvalidRequest,
                    message: format!("Unknown operation type {code}"),
                })?;
                changes.push(Change {
                    name: &config.name,
                    operation,
                    value: config.value.as_deref(),
                });
            }
            config::apply(scope, current, &changes)
        }),
    });
    let planned = plan_all(&context, resources.collect());
    let validate_only = request.validate_only;
    Answer::later(async move {
        let mut response = IncrementalAlterConfigsResponse::default();
        for result in alter(&context, planned, validate_only).await {
            let mut entry =
                incremental_alter_configs_response::AlterConfigsResourceResponse::default();
            entry.resource_type = result.kind;
            entry.resource_name = result.name;
            entry.error_message = None;
            if let Some(refused) = result.refused {
                entry.error_code = refused.code.code();
                entry.error_message = Some(Text::from_string(refused.message));
            }
            response.responses.push(entry);
        }
        response
    })
}

/// From a resource's overrides as they are, those that are wanted.
type Wanted<'a> = dyn Fn(Scope, &Overrides) -> Result<Overrides, AlterError> + 'a;

/// What is asked for one resource.
struct Asked<'a> {
    kind: i8,
    name: Text,
    wanted: Box<Wanted<'a>>,
}

/// What is to be done for one resource.
struct Planned {
    kind: i8,
    name: Text,
    plan: Result<Command, Refused>,
}

/// What was done for one resource.
struct Altered {
    kind: i8,
    name: Text,
    refused: Option<Refused>,
}

impl From<AlterError> for Refused {
    fn from(error: AlterError) -> Self {
        Self { code: error.code, message: error.message }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}

fn plan_all(context: &RequestContext, asked: Vec<Asked<'_>>) -> Vec<Planned> {
    let (image, settings) = (context.image(), context.settings());
    let mut counts: BTreeMap<(i8, Text), usize> = BTreeMap::new();
    for resource in &asked {
        *counts.entry((resource.kind, resource.name.clone())).or_default() += 1;
    }
    let mut planned = Vec::new();
    for resource in asked {
        let twice =
            counts.get(&(resource.kind, resource.name.clone())).is_some_and(|count| *count > 1);
        let plan = if twice {
            let message = "Each resource must appear at most once.";
            Err(Refused::new(ErrorCode::InvalidRequest, message))
        } else {
            plan(context, &image, &settings, &resource)
        };
        planned.push(Planned { kind: resource.kind, name: resource.name, plan });
    }
    planned
}

/// Checks what is wanted for one resource, and says what has to change.
fn plan(
    context: &RequestContext,
    image: &ClusterImage,
    settings: &Effective,
    asked: &Asked<'_>,
) -> Result<Command, Refused> {
    let resource = config_resources::parse(context, asked.kind, &asked.name)?;
    config_resources::authorize(context, Operation::AlterConfigs, &resource)?;
    if let ConfigResource::Topic(name) = &resource
        && image.topic(name.as_str()).is_none()
    {
        let message = format!("The topic '{name}' does not exist.");
        return Err(Refused::new(ErrorCode::UnknownTopicOrPartition, message));
    }
    let current = image.configs(&resource);
    let layers = settings.layers();
    let wanted = match &resource {
        ConfigResource::Topic(_) => {
            let wanted = (asked.wanted)(Scope::Topic, &current)?;
            layers.check_topic(&wanted)?;
            wanted
        }
        ConfigResource::Group(_) => {
            let wanted = (asked.wanted)(Scope::Group, &current)?;
            layers.check_group(&wanted)?;
            wanted
        }
        ConfigResource::Broker(_) => {
            let wanted = (asked.wanted)(Scope::Broker, &current)?;
            layers.check_broker(Target::Broker, &wanted)?;
            wanted
        }
        ConfigResource::AllBrokers => {
            let wanted = (asked.wanted)(Scope::Broker, &current)?;
            layers.check_broker(Target::Cluster, &wanted)?;
            wanted
        }
    };
    let gone =
        current.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key.clone(), None));
    let set = wanted.iter().filter(|(key, value)| current.get(*key) != Some(value));
    let changes: BTreeMap<_, _> =
        set.map(|(key, value)| (key.clone(), Some(value.clone()))).chain(gone).collect();
    image.check_config_changes(&resource, &changes)?;
    Ok(Command::AlterConfigs { resource, changes })
}

/// Makes the changes, unless they are only to be checked.
async fn alter(
    context: &RequestContext,
    planned: Vec<Planned>,
    validate_only: bool,
) -> Vec<Altered> {
    let commands: Vec<_> = planned.iter().filter_map(|planned| planned.plan.clone().ok()).collect();
    let mut outcomes = match commands.is_empty() || validate_only {
        true => Ok(Vec::new()),
        false => context.propose(commands).await,
    }
    .map(Vec::into_iter);
    let mut altered = Vec::new();
    for Planned { kind, name, plan } in planned {
        let refused = match (plan, &mut outcomes) {
            (Err(refused), _) => Some(refused),
            (Ok(_), Err(code)) => Some(Refused::new(*code, "")),
            (Ok(_), Ok(outcomes)) => outcomes.next().and_then(Result::err).map(Refused::from),
        };
        altered.push(Altered { kind, name, refused });
    }
    altered
}
