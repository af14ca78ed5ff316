//! What a verb says when it fails: what, where, and what to do about it; and the exit code that goes with it.
//!
//! | exit code | |
//! |---|---|
//! | 0 | done |
//! | 1 | a broker refused, or something broke |
//! | 2 | the arguments make no sense |
//! | 3 | no broker could be spoken to, or none answered in time |
//! | 4 | there is no such thing |
//! | 5 | there is one already |
//! | 6 | not allowed |
//! | 7 | not now: a group is in use |
//! | 8 | done for some of what was named, refused for the rest |
//! | 130 | interrupted |
//! | 143 | the same by SIGTERM |

use std::error::Error;
use std::io;
use std::process::ExitCode;

use serde_json::json;

use super::manner::error_lead;
use crate::client::{Asked, ClientError, Cluster};
use crate::model::{ErrorCode, WithCauses};
use crate::wire::ApiKey;

/// Why a verb ends before it is done.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something to say.
    Said(Box<Said>),
    /// The reader of our output has gone: nobody is left to be told.
    OutputClosed,
}

/// Three lines for people, one object for programs.
#[derive(Debug)]
pub(super) struct Said {
    /// A name that stays the same: Kafka's, or one of ours.
    name: String,
    /// Kafka's code.
    code: Option<i16>,
    message: String,
    /// What was asked.
    api: Option<ApiKey>,
    /// Who was asked.
    asked: Option<Asked>,
    hint: Option<String>,
    exit: u8,
}

pub(super) const REFUSED: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const NO_CONNECTION: u8 = 3;
pub(super) const NOT_FOUND: u8 = 4;
pub(super) const EXISTS: u8 = 5;
pub(super) const FORBIDDEN: u8 = 6;
pub(super) const NOT_NOW: u8 = 7;
pub(super) const PARTIAL: u8 = 8;
pub(super) const INTERRUPTED: u8 = 130;
pub(super) const TERMINATED: u8 = 143;

impl Failure {
    pub(super) fn new(name: &str, exit: u8, message: impl Into<String>) -> Self {
        Self::Said(Box::new(Said {
            name: name.to_owned(),
            code: None,
            message: message.into(),
            api: None,
            asked: None,
            hint: None,
            exit,
        }))
    }

    /// What went wrong, without the rest.
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Said(said) => &said.message,
            Self::OutputClosed => "nobody reads the output",
        }
    }

    /// What went wrong in a line, with Kafka's name and code for it.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Said(said) => said.line(),
            Self::OutputClosed => self.to_string(),
        }
    }

    /// What to do about it.
    pub(super) fn advice(&self) -> Option<&str> {
        match self {
            Self::Said(said) => said.hint.as_deref(),
            Self::OutputClosed => None,
        }
    }

    /// The exit code; none if there is nothing to say.
    pub(super) const fn exit(&self) -> Option<u8> {
        match self {
            Self::Said(said) => Some(said.exit),
            Self::OutputClosed => None,
        }
    }

    /// Arguments that make no sense.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new("USAGE", USAGE, message)
    }

    /// The same with advice, in place of what it had.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Said(said) = &mut self {
            said.hint = Some(hint.into());
        }
        self
    }

    /// The same with who in this cluster was asked, unless it knows.
    pub(super) fn asked_in(mut self, cluster: &Cluster) -> Self {
        if let Self::Said(said) = &mut self
            && said.asked.is_none()
        {
            said.asked = said.api.and_then(|api| cluster.answered(api));
        }
        self
    }

    /// Prints it and gives the exit code.
    pub(super) fn report(&self, json: bool) -> ExitCode {
        let said = match self {
            Self::Said(said) => said,
            Self::OutputClosed => return ExitCode::SUCCESS,
        };
        let Said { name, code, message, hint, exit, .. } = &**said;
        let place = said.place();
        if json {
            let error = json!({
                "name": name, "code": code, "message": message, "place": place, "hint": hint,
            });
            eprintln!("{}", json!({ "error": error }));
            return ExitCode::from(*exit);
        }
        eprintln!("{} {}", error_lead(), said.line());
        if let Some(place) = place {
            eprintln!("  where: {place}");
        }
        if let Some(hint) = hint {
            eprintln!("  hint:  {hint}");
        }
        ExitCode::from(*exit)
    }
}

impl Said {
    fn line(&self) -> String {
        match self.code {
            Some(code) => format!("{} ({code}): {}", self.name, self.message),
            None => self.message.clone(),
        }
    }

    /// Who was asked what.
    fn place(&self) -> Option<String> {
        let api = self.api?;
        Some(match &self.asked {
            Some(Asked { address, version }) => {
                format!("the answer of {address} to {api}, version {version}")
            }
            None => format!("the answer to {api}"),
        })
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Said(said) => f.write_str(&said.message),
            Self::OutputClosed => f.write_str("the output is closed"),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match error.refusal().map(|refusal| refusal.code) {
            Some(code) => exit_of(code),
            None if error.is_connection() => NO_CONNECTION,
            None => REFUSED,
        };
        let (name, code, message) = match error.refusal() {
            Some(refusal) => {
                let words = refusal.message.as_ref().map(|words| format!(": {words}"));
                let message = format!("{}{}", refusal.subject, words.unwrap_or_default());
                (refusal.code.name(), Some(refusal.code.code()), message)
            }
            None => (name_of(&error), None, WithCauses(&error).to_string()),
        };
        Self::Said(Box::new(Said {
            name: name.to_owned(),
            code,
            message,
            api: error.refusal().map(|refusal| refusal.api),
            asked: error.refusal().and_then(|refusal| refusal.asked.clone()),
            hint: hint_of(&error),
            exit,
        }))
    }
}

impl From<crate::client::Refusal> for Failure {
    fn from(refusal: crate::client::Refusal) -> Self {
        ClientError::from(refusal).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::new("IO", REFUSED, error.to_string())
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all others are refusals and no more")]
const fn exit_of(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::GroupIdNotFound
        | ErrorCode::TransactionalIdNotFound
        | ErrorCode::ResourceNotFound => NOT_FOUND,
        ErrorCode::TopicAlreadyExists => EXISTS,
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::TransactionalIdAuthorizationFailed
        | ErrorCode::SaslAuthenticationFailed => FORBIDDEN,
        ErrorCode::NonEmptyGroup
        | ErrorCode::GroupSubscribedToTopic
        | ErrorCode::UnknownMemberId
        | ErrorCode::ConcurrentTransactions => NOT_NOW,
        ErrorCode::RequestTimedOut => NO_CONNECTION,
        _ => REFUSED,
    }
}

const fn name_of(error: &ClientError) -> &'static str {
    match error {
        ClientError::Address(_) => "USAGE",
        ClientError::Resolve { .. } => "CANNOT_RESOLVE",
        ClientError::Connect { .. } => "CANNOT_CONNECT",
        ClientError::ConnectTimeout { .. } | ClientError::Timeout { .. } => "TIMED_OUT",
        ClientError::Tls { .. } => "NEEDS_TLS",
        ClientError::NotKafka { .. } => "NOT_KAFKA",
        ClientError::ClosedAtOnce { .. } | ClientError::Closed { .. } => "CONNECTION_CLOSED",
        ClientError::Answer { .. } | ClientError::GroupProtocol(_) => "UNREADABLE_ANSWER",
        ClientError::Encode(_) => "UNSENDABLE_REQUEST",
        ClientError::Unsupported { .. } => "UNSUPPORTED",
        ClientError::NoSuchBroker { .. } => "NO_SUCH_BROKER",
        ClientError::NoLeader { .. } => "NO_LEADER",
        ClientError::Refused(_) => "REFUSED",
        ClientError::Batch { .. } => "DAMAGED_BATCH",
    }
}

/// What to do about it.
pub(super) fn hint_of(error: &ClientError) -> Option<String> {
    let hint = match error {
        ClientError::Resolve { .. } => {
            "check the name; if a broker gave it, its advertised.listeners names a host that is unknown here"
        }
        ClientError::Connect { .. } => {
            "is a broker running there? -b HOST:PORT or OTTLA_BOOTSTRAP says where to look; ottla doctor looks closer"
        }
        ClientError::ConnectTimeout { .. } => {
            "a firewall may drop what is sent there, or the address belongs to another network; ottla doctor looks closer"
        }
        ClientError::Timeout { .. } => {
            "the broker is busy, stopped or behind a port that leads nowhere; --timeout waits longer"
        }
        ClientError::Tls { .. } => "use a PLAINTEXT listener of the broker: TLS is not there yet",
        ClientError::NotKafka { .. } => {
            "that is the port of another service; Kafka brokers listen on 9092 by default"
        }
        ClientError::ClosedAtOnce { .. } => {
            "a listener for TLS closes plain connections like this; TLS and SASL are not there yet"
        }
        ClientError::Closed { .. } => {
            "the broker's log says why; a listener that wants SASL closes like this, which is not there yet"
        }
        ClientError::Unsupported { .. } => "the broker is too old for this, or does not have it",
        ClientError::NoLeader { .. } => {
            "the broker that leads it is away: see ottla topic describe"
        }
        ClientError::NoSuchBroker { .. } => "ottla cluster brokers lists those that are there",
        ClientError::Refused(refusal) => hint_of_code(refusal.code)?,
        ClientError::Address(_)
        | ClientError::Answer { .. }
        | ClientError::Encode(_)
        | ClientError::Batch { .. }
        | ClientError::GroupProtocol(_) => return None,
    };
    Some(hint.to_owned())
}

/// What to do about a refusal, if that does not depend on what was asked.
#[expect(clippy::wildcard_enum_match_arm, reason = "most codes say all there is to say")]
const fn hint_of_code(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::UnknownTopicOrPartition => {
            "ottla topic list shows all topics, ottla topic describe the partitions of one"
        }
        ErrorCode::InvalidTopic => {
            "a name has 1 to 249 letters, digits, '.', '_' and '-', and is neither '.' nor '..'"
        }
        ErrorCode::InvalidPartitions => {
            "a topic has one partition or more, and can be given more of them, not fewer"
        }
        ErrorCode::InvalidReplicationFactor => {
            "there are no more replicas than brokers: ottla cluster brokers lists those"
        }
        ErrorCode::InvalidConfig => {
            "ottla config docs lists all keys with what they take; ottla config explain KEY explains one"
        }
        ErrorCode::MessageTooLarge => {
            "ottla topic alter TOPIC --set max.message.bytes=BYTES lets larger batches in"
        }
        ErrorCode::InvalidRecord => {
            "with cleanup.policy=compact each record needs a key: ottla produce -k KEY gives one"
        }
        _ => return None,
    })
}

/// The one among `names` that `name` was probably meant to be.
pub(super) fn did_you_mean<'a>(
    name: &str,
    names: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // The same name again is one that has just gone.
    let close = |candidate: &&str| (1..=1 + name.len() / 4).contains(&distance(name, candidate));
    names.filter(close).min_by_key(|candidate| distance(name, candidate))
}

/// How many letters have to be put in, left out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Arguments that cannot be read: the first line says what is wrong, what follows is advice.
pub(super) fn of_usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let failure = Failure::usage(first.strip_prefix("error: ").unwrap_or(first));
    let rest = rest.split_whitespace().collect::<Vec<_>>().join(" ");
    if rest.is_empty() { failure } else { failure.hint(rest) }
}

/// Anything else that breaks.
pub(super) fn broken(error: &dyn Error) -> Failure {
    Failure::new("FAILED", REFUSED, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let names = ["orders", "order-items", "users"];
        let near = |name| did_you_mean(name, names.into_iter());
        assert_eq!(near("ordrs"), Some("orders"));
        assert_eq!(near("user"), Some("users"));
        assert_eq!(near("payments"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
