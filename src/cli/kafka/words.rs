//! What Apache Kafka's clients make of error codes: the class of an exception, and its message where a broker gives none.
//!
//! Source: `Errors` of Apache Kafka 4.3.1.

use crate::client::{ClientError, Refusal};
use crate::model::{ErrorCode, WithCauses};

/// An error as Java prints an exception: its class and its message.
pub(super) fn exception(error: &ClientError) -> String {
    match error.refusal() {
        Some(refusal) => {
            format!("org.apache.kafka.common.errors.{}: {}", class(refusal.code), message(refusal))
        }
        None => WithCauses(error).to_string(),
    }
}

/// The message of the exception alone.
pub(super) fn message_of(error: &ClientError) -> String {
    error.refusal().map_or_else(|| WithCauses(error).to_string(), message)
}

fn message(refusal: &Refusal) -> String {
    refusal.message.clone().unwrap_or_else(|| standard(refusal.code).to_owned())
}

/// The class is named like the code, with few exceptions.
#[expect(clippy::wildcard_enum_match_arm, reason = "these are the exceptions")]
pub(super) fn class(code: ErrorCode) -> String {
    let name = match code {
        ErrorCode::NonEmptyGroup => "GROUP_NOT_EMPTY",
        ErrorCode::InvalidTopic => "INVALID_TOPIC",
        ErrorCode::InvalidConfig => "INVALID_CONFIGURATION",
        ErrorCode::RequestTimedOut => "TIMEOUT",
        ErrorCode::TopicAlreadyExists => "TOPIC_EXISTS",
        code => code.name(),
    };
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{first}{}", rest.to_ascii_lowercase())
    };
    name.split('_').map(word).chain(["Exception".to_owned()]).collect()
}

/// The message of an exception that is made of the code alone: of those codes that answers here have without one.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others come with a message, or not at all")]
pub(super) fn standard(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::UnknownServerError => {
            "The server experienced an unexpected error when processing the request."
        }
        ErrorCode::OffsetOutOfRange => {
            "The requested offset is not within the range of offsets maintained by the server."
        }
        ErrorCode::UnknownTopicOrPartition => "This server does not host this topic-partition.",
        ErrorCode::LeaderNotAvailable => {
            "There is no leader for this topic-partition as we are in the middle of a leadership election."
        }
        ErrorCode::RequestTimedOut => "The request timed out.",
        ErrorCode::CoordinatorNotAvailable => "The coordinator is not available.",
        ErrorCode::InvalidTopic => {
            "The request attempted to perform an operation on an invalid topic."
        }
        ErrorCode::InvalidGroupId => "The group id is invalid.",
        ErrorCode::UnknownMemberId => "The coordinator is not aware of this member.",
        ErrorCode::TopicAuthorizationFailed => "Topic authorization failed.",
        ErrorCode::GroupAuthorizationFailed => "Group authorization failed.",
        ErrorCode::ClusterAuthorizationFailed => "Cluster authorization failed.",
        ErrorCode::InvalidConfig => "Configuration is invalid.",
        ErrorCode::PolicyViolation => "Request parameters do not satisfy the configured policy.",
        ErrorCode::NonEmptyGroup => "The group is not empty.",
        ErrorCode::GroupIdNotFound => "The group id does not exist.",
        ErrorCode::GroupSubscribedToTopic => {
            "Deleting offsets of a topic is forbidden while the consumer group is actively subscribed to it."
        }
        code => code.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_named_like_their_codes() {
        for (code, name) in [
            (ErrorCode::GroupIdNotFound, "GroupIdNotFoundException"),
            (ErrorCode::NonEmptyGroup, "GroupNotEmptyException"),
            (ErrorCode::UnknownTopicOrPartition, "UnknownTopicOrPartitionException"),
            (ErrorCode::InvalidConfig, "InvalidConfigurationException"),
        ] {
            assert_eq!(class(code), name);
        }
    }
}
