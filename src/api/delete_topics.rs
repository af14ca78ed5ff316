//! DeleteTopics, versions 1 to 6: removing topics with their records and configs.
//!
//! | version | what it added |
//! |---|---|
//! | 4 | flexible |
//! | 5 | error messages |
//! | 6 | topics by id |
//!
//! Source: `ControllerApis.deleteTopics` of Apache Kafka.

use std::collections::BTreeMap;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use crate::cluster::{ClusterImage, Command};
use crate::model::{ErrorCode, TopicId};
use crate::wire::Text;
use crate::wire::messages::{
    DeleteTopicsRequest, DeleteTopicsResponse, WireTopicName,
    delete_topics_request::DeleteTopicState, delete_topics_response::DeletableTopicResult,
};

/// First version whose clients know TOPIC_DELETION_DISABLED.
const DISABLED_SINCE: i16 = 3;
/// First version that names topics in a list of their own.
const STATES_SINCE: i16 = 6;

pub(super) fn start(
    context: RequestContext,
    request: DeleteTopicsRequest,
) -> Answer<DeleteTopicsResponse> {
    let asked = asked(&context, request);
    if !context.settings().broker().delete_topics {
        let code = if context.version() < DISABLED_SINCE {
            ErrorCode::InvalidRequest
        } else {
            ErrorCode::TopicDeletionDisabled
        };
        let results =
            asked.into_iter().map(|topic| refused(topic.name, TopicId(topic.topic_id), code, None));
        return Answer::Now(response(results.collect()));
    }
    let judged = judge(&context, asked, &context.image());
    Answer::later(async move {
        let commands: Vec<_> = judged
            .iter()
            .filter_map(|topic| topic.as_ref().ok())
            .map(|(_, id)| Command::DeleteTopic { topic: *id })
            .collect();
        let mut outcomes = match commands.is_empty() {
            true => Ok(Vec::new()),
            false => context.propose(commands).await,
        }
        .map(Vec::into_iter);
        let results = judged.into_iter().map(|topic| {
            let (name, id) = match topic {
                Ok(topic) => topic,
                Err(refused) => return *refused,
            };
            match &mut outcomes {
                Ok(outcomes) => match outcomes.next().expect("one outcome for each command") {
                    Ok(_) => refused(Some(name), id, ErrorCode::None, None),
                    Err(refusal) => refused(Some(name), id, refusal.code, Some(refusal.message)),
                },
                Err(code) => refused(Some(name), id, *code, None),
            }
        });
        response(results.collect())
    })
}

fn asked(context: &RequestContext, request: DeleteTopicsRequest) -> Vec<DeleteTopicState> {
    if context.version() >= STATES_SINCE {
        return request.topics;
    }
    let by_name = |name| {
        let mut state = DeleteTopicState::default();
        state.name = Some(name);
        state
    };
    request.topic_names.into_iter().map(by_name).collect()
}

type Judged = Result<(WireTopicName, TopicId), Box<DeletableTopicResult>>;

/// Finds the topics, and refuses those that cannot be deleted.
fn judge(
    context: &RequestContext,
    asked: Vec<DeleteTopicState>,
    image: &ClusterImage,
) -> Vec<Judged> {
    let mut named: BTreeMap<(Option<WireTopicName>, TopicId), usize> = BTreeMap::new();
    for topic in &asked {
        *named.entry((topic.name.clone(), TopicId(topic.topic_id))).or_default() += 1;
    }
    let mut judged: Vec<Judged> = Vec::new();
    for ((name, id), count) in named {
        let refuse = |code, message: &str| {
            Err(Box::new(refused(name.clone(), id, code, Some(message.to_owned()))))
        };
        let found = match &name {
            None => image.topic_by_id(id),
            Some(name) => image.topic(name),
        };
        judged.push(match (&name, found) {
            (None, _) if id.is_zero() => {
                refuse(ErrorCode::InvalidRequest, "Neither topic name nor id were specified.")
            }
            (Some(_), _) if !id.is_zero() => refuse(
                ErrorCode::InvalidRequest,
                "You may not specify both topic name and topic id.",
            ),
            (Some(_), _) if count > 1 => refuse(ErrorCode::InvalidRequest, "Duplicate topic name."),
            (None, _) if count > 1 => refuse(ErrorCode::InvalidRequest, "Duplicate topic id."),
            (None, None) => {
                refuse(ErrorCode::UnknownTopicId, "This server does not host this topic ID.")
            }
            (Some(_), None) => refuse(
                ErrorCode::UnknownTopicOrPartition,
                "This server does not host this topic-partition.",
            ),
            (_, Some(topic)) => {
                let resource = Resource::Topic(topic.name.as_str());
                if context.authorize(Operation::Delete, resource) {
                    let wire_name = WireTopicName(Text::from_string(topic.name.to_string()));
                    Ok((wire_name, topic.id))
                } else {
                    refuse(ErrorCode::TopicAuthorizationFailed, "Topic authorization failed.")
                }
            }
        });
    }
    refuse_twice(&mut judged);
    judged
}

/// A topic that is given by name and by id is refused, once.
fn refuse_twice(judged: &mut Vec<Judged>) {
    let mut counts: BTreeMap<TopicId, usize> = BTreeMap::new();
    for (_, id) in judged.iter().flatten() {
        *counts.entry(*id).or_default() += 1;
    }
    judged.retain_mut(|topic| {
        let Ok((name, id)) = topic else { return true };
        match counts.remove(id) {
            Some(1) => true,
            Some(_) => {
                let message = "The provided topic name maps to an ID that was already supplied.";
                let (name, code) = (Some(name.clone()), ErrorCode::InvalidRequest);
                *topic = Err(Box::new(refused(name, *id, code, Some(message.to_owned()))));
                true
            }
            None => false,
        }
    });
}

fn refused(
    name: Option<WireTopicName>,
    id: TopicId,
    code: ErrorCode,
    message: Option<String>,
) -> DeletableTopicResult {
    let mut result = DeletableTopicResult::default();
    result.name = name;
    result.topic_id = id.0;
    result.error_code = code.code();
    result.error_message = message.map(Text::from_string);
    result
}

fn response(results: Vec<DeletableTopicResult>) -> DeleteTopicsResponse {
    let mut response = DeleteTopicsResponse::default();
    response.responses = results;
    response
}
