//! What can go wrong between a client and a cluster, in words for people.

use std::io;
use std::time::Duration;

use super::address::{Address, AddressError};
use super::refusal::{Refusal, is_retriable};
use crate::model::{BrokerId, ErrorCode};
use crate::wire::{ApiKey, EncodeError, VersionRange, WireError};

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An address that is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The host of an address has no IP address.
    #[error("cannot resolve '{}'", .address.host)]
    Resolve {
        /// The address.
        address: Address,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// Nobody listens there, or the way is blocked.
    #[error("cannot connect to {address}")]
    Connect {
        /// The address.
        address: Address,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection was not there in time.
    #[error("cannot connect to {address}: no answer within {}", words(*.after))]
    ConnectTimeout {
        /// The address.
        address: Address,
        /// How long was waited.
        after: Duration,
    },
    /// Who listens there speaks TLS.
    #[error("{address} speaks TLS, and this client speaks plain text only")]
    Tls {
        /// The address.
        address: Address,
    },
    /// Who listens there speaks another protocol.
    #[error("{address} does not speak the Kafka protocol: it speaks {protocol}")]
    NotKafka {
        /// The address.
        address: Address,
        /// What it seems to be.
        protocol: &'static str,
    },
    /// The other side closed the connection at the first word.
    #[error("{address} closed the connection at the first request")]
    ClosedAtOnce {
        /// The address.
        address: Address,
    },
    /// The connection broke while an answer was due.
    #[error("{address} closed the connection before it answered {api}")]
    Closed {
        /// The address.
        address: Address,
        /// The question.
        api: ApiKey,
    },
    /// No answer came in time.
    #[error("{address} did not answer {api} within {}", words(*.after))]
    Timeout {
        /// The address.
        address: Address,
        /// The question.
        api: ApiKey,
        /// How long was waited.
        after: Duration,
    },
    /// An answer that is not one.
    #[error("{address} gave an answer that cannot be read")]
    Answer {
        /// The address.
        address: Address,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// A request that the version cannot carry.
    #[error("the request cannot be sent")]
    Encode(#[from] EncodeError),
    /// The broker does not know the API, or no version of it that we know.
    #[error(
        "{address} does not know {api}{}",
        .broker.map(|broker| format!(" in a version that this client speaks, but in {broker}")).unwrap_or_default()
    )]
    Unsupported {
        /// The address.
        address: Address,
        /// The API.
        api: ApiKey,
        /// The versions that it knows.
        broker: Option<VersionRange>,
    },
    /// The cluster has no such broker, or none at all.
    #[error("broker {node} is not in the cluster at present")]
    NoSuchBroker {
        /// The broker.
        node: BrokerId,
    },
    /// A partition has no leader at present.
    #[error("{topic} partition {partition} has no leader at present")]
    NoLeader {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The broker refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Record batches that are none.
    #[error("{topic} partition {partition} has a batch at offset {offset} that cannot be read")]
    Batch {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where it was to begin.
        offset: i64,
        /// What is wrong with it.
        #[source]
        source: crate::record::BatchError,
    },
    /// Bytes of a group's protocol that are none.
    #[error("the group's members speak another protocol: {0}")]
    GroupProtocol(String),
}

impl ClientError {
    /// Whether the same may succeed a moment later: the broker or its place in the cluster was in the way, not the
    /// request. The request may have been carried out all the same.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        match self {
            // Metadata knows at once what is not there; a leader may not know yet.
            Self::Refused(refusal) if matches!(refusal.api, ApiKey::Metadata) => {
                matches!(refusal.code, ErrorCode::LeaderNotAvailable)
            }
            Self::Refused(refusal) => is_retriable(refusal.code),
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Closed { .. }
            | Self::ClosedAtOnce { .. }
            | Self::NoSuchBroker { .. }
            | Self::NoLeader { .. } => true,
            Self::Address(_)
            | Self::Resolve { .. }
            | Self::Tls { .. }
            | Self::NotKafka { .. }
            | Self::Timeout { .. }
            | Self::Answer { .. }
            | Self::Encode(_)
            | Self::Unsupported { .. }
            | Self::Batch { .. }
            | Self::GroupProtocol(_) => false,
        }
    }

    /// Whether no broker could be spoken to: nothing was asked yet, or no answer came.
    #[must_use]
    pub const fn is_connection(&self) -> bool {
        matches!(
            self,
            Self::Resolve { .. }
                | Self::Connect { .. }
                | Self::ConnectTimeout { .. }
                | Self::Tls { .. }
                | Self::NotKafka { .. }
                | Self::ClosedAtOnce { .. }
                | Self::Closed { .. }
                | Self::Timeout { .. }
        )
    }

    /// The refusal, if a broker refused.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Address(_)
            | Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls { .. }
            | Self::NotKafka { .. }
            | Self::ClosedAtOnce { .. }
            | Self::Closed { .. }
            | Self::Timeout { .. }
            | Self::Answer { .. }
            | Self::Encode(_)
            | Self::Unsupported { .. }
            | Self::NoSuchBroker { .. }
            | Self::NoLeader { .. }
            | Self::Batch { .. }
            | Self::GroupProtocol(_) => None,
        }
    }
}

/// A time as one says it: `5 s`, `300 ms`.
fn words(time: Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}
