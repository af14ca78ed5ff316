//! CreateTopics, versions 2 to 7: new topics.
//!
//! | version | what it added |
//! |---|---|
//! | 4 | -1 for the default number of partitions and replicas |
//! | 5 | the new topic's partitions, replicas and configs in the response |
//! | 7 | the topic's id in the response |
//!
//! A topic that is only checked gets no id. Source: `ControllerApis.createTopics`, `ReplicationControlManager.createTopics`
//! of Apache Kafka.

use std::collections::{BTreeMap, BTreeSet};

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use crate::cluster::{ClusterImage, Command, NewTopic, Outcome, Refusal, refuse};
use crate::config::{Described, Effective, Overrides};
use crate::controller::place;
use crate::model::{BrokerId, ErrorCode, TopicId, TopicName};
use crate::wire::Text;
use crate::wire::messages::{
    CreateTopicsRequest, CreateTopicsResponse, WireTopicName,
    create_topics_request::CreatableTopic,
    create_topics_response::{CreatableTopicConfigs, CreatableTopicResult},
};

/// First version that describes the new topic.
const DETAILS_SINCE: i16 = 5;
/// The topic that holds Apache Kafka's metadata.
pub(super) const METADATA_TOPIC: &str = "__cluster_metadata";
/// Partitions that one request may create (`ReplicationControlManager.MAX_PARTITIONS_PER_BATCH`).
const PARTITIONS_MAX: usize = 10_000;

type Planned = Result<NewTopic, Refusal>;

pub(super) fn start(
    context: RequestContext,
    request: CreateTopicsRequest,
) -> Answer<CreateTopicsResponse> {
    let (image, settings) = (context.image(), context.settings());
    let mut counts: BTreeMap<WireTopicName, usize> = BTreeMap::new();
    for topic in &request.topics {
        *counts.entry(topic.name.clone()).or_default() += 1;
    }
    let mut planned: Vec<(WireTopicName, Planned)> = Vec::new();
    for topic in &request.topics {
        match counts.remove(&topic.name) {
            // A topic that is named several times is answered once.
            None => {}
            Some(1) => planned.push((topic.name.clone(), plan(&context, &image, &settings, topic))),
            Some(_) => {
                planned.push((
                    topic.name.clone(),
                    refuse(ErrorCode::InvalidRequest, "Duplicate topic name."),
                ));
            }
        }
    }
    refuse_collisions(&mut planned);
    if partitions_wanted(&request, &settings) > PARTITIONS_MAX {
        for (_, plan) in &mut planned {
            *plan = too_many_partitions();
        }
    }
    let validate_only = request.validate_only;
    Answer::later(async move {
        let outcomes = create(&context, &planned, validate_only).await;
        let mut response = CreateTopicsResponse::default();
        for ((name, plan), outcome) in planned.into_iter().zip(outcomes) {
            let result = match (plan, outcome) {
                (Ok(topic), Ok(_)) => created(&context, &settings, name, &topic),
                (Err(refusal), _) | (_, Err(refusal)) => refused(name, refusal),
            };
            response.topics.push(result);
        }
        response
    })
}

/// Creates topics that a Metadata request speaks of, with defaults; gives those that could not be created.
pub(super) async fn auto_create(
    context: &RequestContext,
    names: Vec<TopicName>,
) -> Vec<(TopicName, ErrorCode)> {
    let (image, settings) = (context.image(), context.settings());
    let distinct: BTreeSet<TopicName> = names.into_iter().collect();
    let planned: Vec<_> = distinct
        .into_iter()
        .map(|name| {
            let mut topic = CreatableTopic::default();
            topic.name = WireTopicName(Text::from_string(name.to_string()));
            (topic.num_partitions, topic.replication_factor) = (-1, -1);
            let plan = plan(context, &image, &settings, &topic);
            (topic.name, plan)
        })
        .collect();
    let outcomes = create(context, &planned, false).await;
    let mut failed = Vec::new();
    for ((name, plan), outcome) in planned.into_iter().zip(outcomes) {
        let refusal = plan.err().or_else(|| outcome.err());
        // Somebody else may have been faster.
        if let Some(refusal) =
            refusal.filter(|refusal| refusal.code != ErrorCode::TopicAlreadyExists)
            && let Ok(name) = TopicName::new(&name)
        {
            tracing::warn!(topic = %name, reason = %refusal, "cannot create a topic that a client asked for");
            failed.push((name, refusal.code));
        }
    }
    failed
}

/// Proposes the topics that are planned; gives an outcome for each, also for those that are not.
async fn create(
    context: &RequestContext,
    planned: &[(WireTopicName, Planned)],
    validate_only: bool,
) -> Vec<Result<(), Refusal>> {
    let topics = planned.iter().filter_map(|(_, plan)| plan.as_ref().ok());
    let commands: Vec<_> = topics.map(|topic| Command::CreateTopic(topic.clone())).collect();
    let mut outcomes = match commands.is_empty() || validate_only {
        true => Ok(Vec::new()),
        false => context.propose(commands).await,
    }
    .map(Vec::into_iter);
    let done = |outcome: Option<Outcome>| outcome.map_or(Ok(()), |outcome| outcome.map(drop));
    planned
        .iter()
        .map(|(_, plan)| match (&mut outcomes, plan) {
            (_, Err(refusal)) => Err(refusal.clone()),
            (Ok(outcomes), Ok(_)) => done(outcomes.next()),
            (Err(code), Ok(_)) => refuse(*code, ""),
        })
        .collect()
}

/// Checks what is asked for one topic, and decides on what was left open.
fn plan(
    context: &RequestContext,
    image: &ClusterImage,
    settings: &Effective,
    asked: &CreatableTopic,
) -> Planned {
    let allowed = context.authorize(Operation::Create, Resource::Cluster)
        || context.authorize(Operation::Create, Resource::Topic(&asked.name));
    if !allowed {
        return refuse(ErrorCode::TopicAuthorizationFailed, "Authorization failed.");
    }
    if &**asked.name == METADATA_TOPIC {
        let message = format!("Creation of internal topic {METADATA_TOPIC} is prohibited.");
        return refuse(ErrorCode::InvalidRequest, message);
    }
    let name = TopicName::new(&asked.name)
        .map_err(|error| Refusal { code: ErrorCode::InvalidTopic, message: error.to_string() })?;
    if let Some(other) = image.collision(&name) {
        let message = format!("Topic '{name}' collides with existing topic: {other}");
        return refuse(ErrorCode::InvalidTopic, message);
    }
    if image.topic(name.as_str()).is_some() {
        return refuse(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists."));
    }
    let configs = configs(asked)?;
    settings
        .layers()
        .check_topic(&configs)
        .map_err(|error| Refusal { code: error.code, message: error.message })?;
    let assignments = if asked.assignments.is_empty() {
        default_assignments(context, image, settings, asked)?
    } else {
        manual_assignments(image, asked)?
    };
    Ok(NewTopic { name, id: TopicId(context.services.env.rng.uuid()), assignments, configs })
}

fn configs(asked: &CreatableTopic) -> Result<Overrides, Refusal> {
    let mut configs = Overrides::new();
    for config in &asked.configs {
        let Some(value) = &config.value else {
            let message = format!("Null value not supported for topic configs: {}", config.name);
            return refuse(ErrorCode::InvalidConfig, message);
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    Ok(configs)
}

fn default_assignments(
    context: &RequestContext,
    image: &ClusterImage,
    settings: &Effective,
    asked: &CreatableTopic,
) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    if asked.replication_factor < -1 || asked.replication_factor == 0 {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return refuse(ErrorCode::InvalidReplicationFactor, message);
    }
    if asked.num_partitions < -1 || asked.num_partitions == 0 {
        let message = "Number of partitions was set to an invalid non-positive value.";
        return refuse(ErrorCode::InvalidPartitions, message);
    }
    let broker = settings.broker();
    let count =
        if asked.num_partitions == -1 { broker.partition_count } else { asked.num_partitions };
    let factor = match asked.replication_factor {
        -1 => i16::try_from(broker.replication_factor).unwrap_or(i16::MAX),
        factor => factor,
    };
    // A request that asks for too many is refused as a whole: nothing is placed for it.
    let count = usize::try_from(count).unwrap_or(0).min(PARTITIONS_MAX);
    placement(context, image, count, factor).map_err(|refusal| Refusal {
        message: format!("Unable to replicate the partition {factor} time(s): {}", refusal.message),
        ..refusal
    })
}

fn too_many_partitions<T>() -> Result<T, Refusal> {
    let message =
        format!("Excessively large number of partitions per request: at most {PARTITIONS_MAX}");
    refuse(ErrorCode::PolicyViolation, message)
}

/// Replicas for new partitions on the brokers there are.
pub(super) fn placement(
    context: &RequestContext,
    image: &ClusterImage,
    partitions: usize,
    replication_factor: i16,
) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    let first = context.services.env.rng.below(u32::MAX) as usize;
    place(image, partitions, replication_factor, first)
}

fn manual_assignments(
    image: &ClusterImage,
    asked: &CreatableTopic,
) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    if asked.replication_factor != -1 {
        let message = "A manual partition assignment was specified, but replication factor was not set to -1.";
        return refuse(ErrorCode::InvalidRequest, message);
    }
    if asked.num_partitions != -1 {
        let message =
            "A manual partition assignment was specified, but numPartitions was not set to -1.";
        return refuse(ErrorCode::InvalidRequest, message);
    }
    let mut by_index: BTreeMap<i32, Vec<BrokerId>> = BTreeMap::new();
    let mut factor = None;
    for assignment in &asked.assignments {
        let index = assignment.partition_index;
        let replicas: Vec<_> = assignment.broker_ids.iter().map(|id| BrokerId(id.0)).collect();
        if by_index.contains_key(&index) {
            let message =
                format!("Found multiple manual partition assignments for partition {index}");
            return refuse(ErrorCode::InvalidReplicaAssignment, message);
        }
        check_assignment(image, &replicas, factor)?;
        check_active(image, &replicas, index)?;
        factor = Some(replicas.len());
        by_index.insert(index, replicas);
    }
    if by_index.keys().zip(0..).any(|(index, expected)| *index != expected) {
        let message = "partitions should be a consecutive 0-based integer sequence";
        return refuse(ErrorCode::InvalidReplicaAssignment, message);
    }
    Ok(by_index.into_values().collect())
}

/// Checks replicas that a client has chosen (`ReplicationControlManager.validateManualPartitionAssignment`).
pub(super) fn check_assignment(
    image: &ClusterImage,
    replicas: &[BrokerId],
    factor: Option<usize>,
) -> Result<(), Refusal> {
    let wrong = |message: String| refuse(ErrorCode::InvalidReplicaAssignment, message);
    if replicas.is_empty() {
        return wrong("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let mut seen = BTreeSet::new();
    for id in replicas {
        if image.broker(*id).is_none() {
            return wrong(format!(
                "The manual partition assignment includes broker {id}, but no such broker is registered."
            ));
        }
        if !seen.insert(id) {
            return wrong(format!(
                "The manual partition assignment includes the broker {id} more than once."
            ));
        }
    }
    match factor {
        Some(factor) if factor != replicas.len() => {
            let count = replicas.len();
            wrong(format!(
                "The manual partition assignment includes a partition with {count} replica(s), but this is not \
                 consistent with previous partitions, which have {factor} replica(s)."
            ))
        }
        _ => Ok(()),
    }
}

/// Whether one of the replicas that a client has chosen for a new partition can lead it.
pub(super) fn check_active(
    image: &ClusterImage,
    replicas: &[BrokerId],
    partition: i32,
) -> Result<(), Refusal> {
    if replicas.iter().any(|id| image.is_active(*id)) {
        return Ok(());
    }
    let message = format!(
        "All brokers specified in the manual partition assignment for partition {partition} are fenced or in controlled \
         shutdown."
    );
    refuse(ErrorCode::InvalidReplicaAssignment, message)
}

/// Of topics in one request whose names collide, the first is created.
fn refuse_collisions(planned: &mut [(WireTopicName, Planned)]) {
    let mut keys: BTreeMap<String, TopicName> = BTreeMap::new();
    for (_, plan) in planned {
        let Ok(topic) = plan else { continue };
        let first = keys.entry(topic.name.collision_key()).or_insert_with(|| topic.name.clone());
        if *first != topic.name {
            let message = format!("Topic '{}' collides with existing topic: {first}", topic.name);
            *plan = refuse(ErrorCode::InvalidTopic, message);
        }
    }
}

/// How many partitions a request asks for. One that asks for too many gets none of its topics.
fn partitions_wanted(request: &CreateTopicsRequest, settings: &Effective) -> usize {
    let wanted = |topic: &CreatableTopic| match topic.num_partitions {
        _ if !topic.assignments.is_empty() => topic.assignments.len(),
        -1 => usize::try_from(settings.broker().partition_count).unwrap_or(0),
        count => usize::try_from(count).unwrap_or(0),
    };
    request.topics.iter().map(wanted).fold(0, usize::saturating_add)
}

fn refused(name: WireTopicName, refusal: Refusal) -> CreatableTopicResult {
    let mut result = CreatableTopicResult::default();
    result.name = name;
    result.error_code = refusal.code.code();
    result.error_message = Some(Text::from_string(refusal.message));
    result
}

fn created(
    context: &RequestContext,
    settings: &Effective,
    name: WireTopicName,
    topic: &NewTopic,
) -> CreatableTopicResult {
    let mut result = CreatableTopicResult::default();
    result.name = name;
    result.error_message = None;
    result.topic_id = topic.id.0;
    if context.version() >= DETAILS_SINCE {
        result.num_partitions = i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX);
        let factor = topic.assignments.first().map_or(0, Vec::len);
        result.replication_factor = i16::try_from(factor).unwrap_or(i16::MAX);
        if context.authorize(Operation::DescribeConfigs, Resource::Topic(topic.name.as_str())) {
            let described = settings.layers().describe_topic(&topic.configs);
            result.configs = Some(described.into_iter().map(config).collect());
        } else {
            result.topic_config_error_code = ErrorCode::TopicAuthorizationFailed.code();
        }
    }
    result
}

fn config(described: Described) -> CreatableTopicConfigs {
    let mut config = CreatableTopicConfigs::default();
    config.name = Text::from_string(described.name);
    config.value = described.value.map(Text::from_string);
    config.read_only = described.read_only;
    config.config_source = described.source.id();
    config.is_sensitive = described.sensitive;
    config
}
