//! What a broker's refusal means for a client.
//!
//! Source: the exceptions of `org.apache.kafka.common.protocol.Errors` in Apache Kafka 4.3.1 that are retriable.

use super::address::Address;
use super::connection::Connection;
use crate::model::ErrorCode;
use crate::wire::ApiKey;

/// An error code that came back, with what it was about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} ({}): {subject}{}", .code.name(), .code.code(), .message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
pub struct Refusal {
    /// What the broker said.
    pub code: ErrorCode,
    /// What it was about, such as `topic 'orders'`.
    pub subject: String,
    /// The broker's own words, if it had any.
    pub message: Option<String>,
    /// The question that was answered so.
    pub api: ApiKey,
    /// Who answered, where that is known.
    pub asked: Option<Asked>,
}

/// Who was asked, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The broker's address.
    pub address: Address,
    /// The version of the API.
    pub version: i16,
}

impl Asked {
    pub(super) fn by(connection: &Connection, version: i16) -> Self {
        Self { address: connection.address().clone(), version }
    }
}

impl Refusal {
    /// The same with who answered.
    #[must_use]
    pub(super) fn asked(mut self, connection: &Connection, version: i16) -> Self {
        self.asked = Some(Asked::by(connection, version));
        self
    }
}

/// Nothing if `code` is that of success, else the refusal.
///
/// # Errors
/// The refusal. A code that nobody knows counts as `UNKNOWN_SERVER_ERROR`.
pub fn check(
    api: ApiKey,
    code: i16,
    subject: impl FnOnce() -> String,
    message: Option<&str>,
) -> Result<(), Refusal> {
    let code = ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError);
    if code.is_none() {
        return Ok(());
    }
    let message = message.filter(|text| !text.is_empty()).map(str::to_owned);
    Err(Refusal { code, subject: subject(), message, api, asked: None })
}

/// Whether the same request may succeed a moment later, perhaps at another broker.
#[must_use]
pub const fn is_retriable(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::CorruptMessage
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::RequestTimedOut
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::BrokerNotAvailable
            | ErrorCode::NetworkException
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::NotEnoughReplicasAfterAppend
            | ErrorCode::NotController
            | ErrorCode::ConcurrentTransactions
            | ErrorCode::KafkaStorageError
            | ErrorCode::ListenerNotFound
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::OffsetNotAvailable
            | ErrorCode::PreferredLeaderNotAvailable
            | ErrorCode::EligibleLeadersNotAvailable
            | ErrorCode::UnstableOffsetCommit
            | ErrorCode::ThrottlingQuotaExceeded
            | ErrorCode::InconsistentTopicId
            | ErrorCode::FetchSessionTopicIdError
    )
}
