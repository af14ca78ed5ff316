//! DescribeConfigs, versions 1 to 4: the configs of topics, brokers and groups.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | synonyms, sources |
//! | 3 | types and documentation |
//! | 4 | flexible |
//!
//! Source: `ConfigHelper.describeConfigs` of Apache Kafka.

use super::authorizer::Operation;
use super::config_resources::{self, Refused};
use super::context::RequestContext;
use super::dispatch::Answer;
use crate::cluster::{ClusterImage, ConfigResource};
use crate::config::{Described, Effective};
use crate::model::ErrorCode;
use crate::wire::Text;
use crate::wire::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse,
    describe_configs_request::DescribeConfigsResource,
    describe_configs_response::{
        DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
    },
};

/// First version with types and documentation.
const TYPES_SINCE: i16 = 3;

pub(super) fn start(
    context: RequestContext,
    request: DescribeConfigsRequest,
) -> Answer<DescribeConfigsResponse> {
    let (image, settings) = (context.image(), context.settings());
    let mut response = DescribeConfigsResponse::default();
    // A type that does not exist spoils the whole request.
    let unknown =
        request.resources.iter().find(|asked| !config_resources::is_kind(asked.resource_type));
    for asked in &request.resources {
        let mut result = DescribeConfigsResult::default();
        result.resource_type = asked.resource_type;
        result.resource_name = asked.resource_name.clone();
        let described = match unknown {
            Some(unknown) => Err(config_resources::unknown_kind(unknown.resource_type)),
            None => describe(&context, &image, &settings, asked),
        };
        match described {
            Ok(described) => {
                let configs =
                    described.into_iter().map(|config| entry(context.version(), &request, config));
                result.configs = configs.collect();
            }
            Err(refused) => {
                result.error_code = refused.code.code();
                result.error_message = Some(Text::from_string(refused.message));
            }
        }
        response.results.push(result);
    }
    Answer::Now(response)
}

fn describe(
    context: &RequestContext,
    image: &ClusterImage,
    settings: &Effective,
    asked: &DescribeConfigsResource,
) -> Result<Vec<Described>, Refused> {
    let resource = config_resources::parse(context, asked.resource_type, &asked.resource_name)?;
    config_resources::authorize(context, Operation::DescribeConfigs, &resource)?;
    let overrides = image.configs(&resource);
    let mut described = match &resource {
        ConfigResource::Topic(name) => {
            if image.topic(name.as_str()).is_none() {
                return Err(Refused::new(ErrorCode::UnknownTopicOrPartition, ""));
            }
            settings.layers().describe_topic(&overrides)
        }
        ConfigResource::Broker(_) => settings.layers().describe_broker(),
        ConfigResource::AllBrokers => settings.layers().describe_cluster(),
        ConfigResource::Group(_) => settings.layers().describe_group(&overrides),
    };
    // An empty list of keys asks for all, as no list does.
    if let Some(keys) = asked.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
        described.retain(|config| keys.iter().any(|key| **key == config.name));
    }
    Ok(described)
}

fn entry(
    version: i16,
    request: &DescribeConfigsRequest,
    config: Described,
) -> DescribeConfigsResourceResult {
    let kind_id = config.kind_id();
    let mut entry = DescribeConfigsResourceResult::default();
    entry.name = Text::from_string(config.name);
    entry.value = config.value.map(Text::from_string);
    entry.read_only = config.read_only;
    entry.config_source = config.source.id();
    entry.is_sensitive = config.sensitive;
    if request.include_synonyms {
        entry.synonyms = config
            .synonyms
            .into_iter()
            .map(|synonym| {
                let mut entry = DescribeConfigsSynonym::default();
                entry.name = Text::from_string(synonym.name);
                entry.value = synonym.value.map(Text::from_string);
                entry.source = synonym.source.id();
                entry
            })
            .collect();
    }
    entry.documentation = None;
    if version >= TYPES_SINCE {
        entry.config_type = kind_id;
        if request.include_documentation {
            entry.documentation = config.documentation.map(Text::from_static_str);
        }
    }
    entry
}
