//! Configs: described with their sources, changed while the broker runs, in force at once and after a restart.

use ottla::model::ErrorCode;
use ottla::wire::Text;
use ottla::wire::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
    ListConfigResourcesRequest, alter_configs_request, describe_configs_request,
    describe_configs_response::DescribeConfigsResourceResult, incremental_alter_configs_request,
};

use crate::rig::{Client, Rig, batch};

pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
pub(crate) const GROUP: i8 = 32;
pub(crate) const SET: i8 = 0;
pub(crate) const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// All configs of a resource.
pub(crate) async fn describe(
    client: &mut Client,
    kind: i8,
    name: &str,
) -> Result<Vec<DescribeConfigsResourceResult>, ErrorCode> {
    let mut resource = describe_configs_request::DescribeConfigsResource::default();
    resource.resource_type = kind;
    resource.resource_name = Text::from_string(name.to_owned());
    resource.configuration_keys = None;
    let mut request = DescribeConfigsRequest::default();
    request.resources = vec![resource];
    (request.include_synonyms, request.include_documentation) = (true, true);
    let response = client.call(4, &request).await;
    let result = &response.results[0];
    let code = ErrorCode::from_code(result.error_code).unwrap();
    if code == ErrorCode::None { Ok(result.configs.clone()) } else { Err(code) }
}

/// The value of a config of a resource, and where it stems from.
pub(crate) async fn value(
    client: &mut Client,
    kind: i8,
    name: &str,
    key: &str,
) -> (Option<String>, i8) {
    let configs = describe(client, kind, name).await.unwrap();
    let config = configs.iter().find(|config| &*config.name == key).unwrap();
    (config.value.as_ref().map(|value| value.to_string()), config.config_source)
}

/// Changes configs of a resource: each with an operation and a value.
pub(crate) async fn alter(
    client: &mut Client,
    kind: i8,
    name: &str,
    changes: &[(&str, i8, Option<&str>)],
) -> ErrorCode {
    alter_telling(client, kind, name, changes).await.0
}

/// The same, with what the broker says of it.
pub(crate) async fn alter_telling(
    client: &mut Client,
    kind: i8,
    name: &str,
    changes: &[(&str, i8, Option<&str>)],
) -> (ErrorCode, String) {
    let mut resource = incremental_alter_configs_request::AlterConfigsResource::default();
    resource.resource_type = kind;
    resource.resource_name = Text::from_string(name.to_owned());
    for (key, operation, value) in changes {
        let mut config = incremental_alter_configs_request::AlterableConfig::default();
        config.name = Text::from_string((*key).to_owned());
        config.config_operation = *operation;
        config.value = value.map(|value| Text::from_string(value.to_owned()));
        resource.configs.push(config);
    }
    let mut request = IncrementalAlterConfigsRequest::default();
    request.resources = vec![resource];
    let response = client.call(1, &request).await;
    let answer = &response.responses[0];
    let message = answer.error_message.as_ref().map(|message| message.to_string());
    (ErrorCode::from_code(answer.error_code).unwrap(), message.unwrap_or_default())
}

#[tokio::test]
async fn a_topics_config_is_in_force_at_once_and_after_a_restart() {
    let rig = Rig::with(&["message.max.bytes=5000"]).await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let large = batch(&[&"x".repeat(2_000)]);
    client.append("t", 0, large.clone()).await;
    assert_eq!(value(&mut client, TOPIC, "t", "max.message.bytes").await, (Some("5000".into()), 4));
    assert_eq!(
        alter(&mut client, TOPIC, "t", &[("max.message.bytes", SET, Some("1000"))]).await,
        ErrorCode::None
    );
    assert_eq!(value(&mut client, TOPIC, "t", "max.message.bytes").await, (Some("1000".into()), 1));
    assert_eq!(client.produce("t", 0, large.clone()).await.error_code, ErrorCode::MessageTooLarge);
    let rig = rig.restart().await;
    let mut client = rig.client().await;
    assert_eq!(client.produce("t", 0, large.clone()).await.error_code, ErrorCode::MessageTooLarge);
    assert_eq!(
        alter(&mut client, TOPIC, "t", &[("max.message.bytes", DELETE, None)]).await,
        ErrorCode::None
    );
    client.append("t", 0, large).await;
}

#[tokio::test]
async fn brokers_configs_reach_their_topics_at_once() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let large = batch(&[&"x".repeat(2_000)]);
    for name in ["1", ""] {
        assert_eq!(
            alter(&mut client, BROKER, name, &[("message.max.bytes", SET, Some("1000"))]).await,
            ErrorCode::None
        );
        assert_eq!(
            client.produce("t", 0, large.clone()).await.error_code,
            ErrorCode::MessageTooLarge,
            "broker '{name}'"
        );
        let source = if name.is_empty() { 3 } else { 2 };
        assert_eq!(
            value(&mut client, TOPIC, "t", "max.message.bytes").await,
            (Some("1000".into()), source)
        );
        assert_eq!(
            alter(&mut client, BROKER, name, &[("message.max.bytes", DELETE, None)]).await,
            ErrorCode::None
        );
        client.append("t", 0, large.clone()).await;
    }
}

#[tokio::test]
async fn lists_are_appended_to_and_subtracted_from() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    for (operation, text, expected) in [
        (APPEND, "compact", "delete,compact"),
        (SUBTRACT, "delete", "compact"),
        (SET, "delete", "delete"),
    ] {
        assert_eq!(
            alter(&mut client, TOPIC, "t", &[("cleanup.policy", operation, Some(text))]).await,
            ErrorCode::None
        );
        assert_eq!(
            value(&mut client, TOPIC, "t", "cleanup.policy").await.0.as_deref(),
            Some(expected)
        );
    }
    let not_a_list = alter(&mut client, TOPIC, "t", &[("retention.ms", APPEND, Some("1"))]).await;
    assert_eq!(not_a_list, ErrorCode::InvalidConfig);
}

#[tokio::test]
async fn refusals_have_their_codes_and_change_nothing() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    for (kind, name, change, code) in [
        (TOPIC, "t", ("no.such.key", SET, Some("1")), ErrorCode::InvalidConfig),
        (TOPIC, "t", ("retention.ms", SET, Some("soon")), ErrorCode::InvalidConfig),
        (TOPIC, "t", ("retention.ms", SET, None), ErrorCode::InvalidRequest),
        (TOPIC, "t", ("retention.ms", 9, Some("1")), ErrorCode::InvalidRequest),
        (TOPIC, "u", ("retention.ms", SET, Some("1")), ErrorCode::UnknownTopicOrPartition),
        (TOPIC, "a b", ("retention.ms", SET, Some("1")), ErrorCode::InvalidTopic),
        (BROKER, "1", ("node.id", SET, Some("7")), ErrorCode::InvalidRequest),
        (BROKER, "2", ("message.max.bytes", SET, Some("7")), ErrorCode::InvalidRequest),
        (77, "t", ("retention.ms", SET, Some("1")), ErrorCode::InvalidRequest),
    ] {
        assert_eq!(
            alter(&mut client, kind, name, &[change]).await,
            code,
            "{kind} {name} {change:?}"
        );
    }
    let configs = describe(&mut client, TOPIC, "t").await.unwrap();
    assert!(configs.iter().all(|config| config.config_source != 1), "nothing is set");
    assert_eq!(describe(&mut client, TOPIC, "u").await, Err(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(describe(&mut client, BROKER, "2").await, Err(ErrorCode::InvalidRequest));
}

#[tokio::test]
async fn replacing_takes_away_what_is_not_named() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[("retention.ms", "5"), ("segment.ms", "7")]).await;
    let mut config = alter_configs_request::AlterableConfig::default();
    config.name = Text::from_static_str("segment.ms");
    config.value = Some(Text::from_static_str("9"));
    let mut resource = alter_configs_request::AlterConfigsResource::default();
    resource.resource_type = TOPIC;
    resource.resource_name = Text::from_static_str("t");
    resource.configs = vec![config];
    let mut request = AlterConfigsRequest::default();
    request.resources = vec![resource];
    request.validate_only = true;
    client.call(2, &request).await;
    assert_eq!(value(&mut client, TOPIC, "t", "retention.ms").await.1, 1, "it was only checked");
    request.validate_only = false;
    let response = client.call(2, &request).await;
    assert_eq!(response.responses[0].error_code, 0);
    assert_eq!(value(&mut client, TOPIC, "t", "retention.ms").await.1, 5);
    assert_eq!(value(&mut client, TOPIC, "t", "segment.ms").await, (Some("9".into()), 1));
}

#[tokio::test]
async fn groups_have_configs_and_all_resources_are_listed() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let change = ("consumer.session.timeout.ms", SET, Some("50000"));
    assert_eq!(alter(&mut client, GROUP, "g", &[change]).await, ErrorCode::None);
    assert_eq!(
        value(&mut client, GROUP, "g", "consumer.session.timeout.ms").await,
        (Some("50000".into()), 8)
    );
    let mut change = incremental_alter_configs_request::AlterableConfig::default();
    change.name = Text::from_static_str("consumer.session.timeout.ms");
    change.value = Some(Text::from_static_str("1000"));
    let mut resource = incremental_alter_configs_request::AlterConfigsResource::default();
    (resource.resource_type, resource.configs) = (GROUP, vec![change]);
    resource.resource_name = Text::from_static_str("g");
    for validate_only in [true, false] {
        let mut request = IncrementalAlterConfigsRequest::default();
        (request.resources, request.validate_only) = (vec![resource.clone()], validate_only);
        let refused = &client.call(1, &request).await.responses[0];
        assert_eq!(refused.error_code, ErrorCode::InvalidConfig.code());
        assert_eq!(
            refused.error_message.as_deref(),
            Some(
                "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms"
            )
        );
    }
    assert_eq!(
        value(&mut client, GROUP, "g", "consumer.session.timeout.ms").await,
        (Some("50000".into()), 8)
    );
    let mut list = async |version, types: &[i8]| {
        let mut request = ListConfigResourcesRequest::default();
        request.resource_types = types.to_vec();
        let response = client.call(version, &request).await;
        let names = response
            .config_resources
            .iter()
            .map(|r| format!("{}:{}", r.resource_type, r.resource_name.as_str()));
        (response.error_code, names.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(list(1, &[]).await, (0, "2:t 4:1 8:1 32:g".to_owned()));
    assert_eq!(list(1, &[32, 2]).await, (0, "2:t 32:g".to_owned()));
    assert_eq!(list(0, &[]).await, (0, String::new()));
    assert_eq!(list(1, &[99]).await.0, ErrorCode::UnsupportedVersion.code());
}
