//! What can be wrong with the bytes of a message, and with a message that is to become bytes.

use std::fmt;

/// Bytes that are not the message they should be: which message, which field, which byte, and why.
///
/// Kafka closes the connection on such a request, since what follows it cannot be trusted either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireError(Box<Details>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Details {
    message: &'static str,
    path: String,
    position: usize,
    problem: Problem,
}

/// Why a field cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The field goes on where the frame has ended.
    #[error("{needed} bytes needed, {remaining} remain")]
    Truncated {
        /// Bytes that the field takes.
        needed: usize,
        /// Bytes that were left.
        remaining: usize,
    },
    /// An array claims more elements than bytes follow.
    #[error("{count} elements claimed, {remaining} bytes remain")]
    CountBeyondFrame {
        /// Claimed number of elements.
        count: usize,
        /// Bytes that were left.
        remaining: usize,
    },
    /// A length or count below -1.
    #[error("a length of {0}")]
    NegativeLength(i32),
    /// The null value in a field, or in a version of it, that has none.
    #[error("null is not allowed here")]
    Null,
    /// A nullable structure that begins with neither 1 (present) nor -1 (null).
    #[error("{0} is neither 1 for present nor -1 for null")]
    NotAPresence(i8),
    /// A string longer than the protocol allows, which is 32,767 bytes.
    #[error("a string of {0} bytes")]
    StringTooLong(usize),
    /// A string that is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// A variable-length integer that goes beyond 32 bits.
    #[error("a variable-length integer of more than 32 bits")]
    VarintTooLong,
    /// A tag that is not a positive 32-bit number.
    #[error("tag {0} is too large")]
    TagTooLarge(u32),
    /// A known tagged field of another size than it claims.
    #[error("tagged field {tag} claims {claimed} bytes and has {actual}")]
    TaggedFieldSize {
        /// The field's tag.
        tag: u32,
        /// The size written before it.
        claimed: usize,
        /// The size of what follows.
        actual: usize,
    },
    /// The decoded message would take more memory than a frame of this size may claim.
    #[error("more than {limit} bytes of memory for a frame of {frame} bytes")]
    TooManyElements {
        /// Bytes of memory allowed.
        limit: usize,
        /// Bytes of the frame.
        frame: usize,
    },
    /// The message has no such version.
    #[error("there is no version {0}")]
    UnknownVersion(i16),
    /// The message crate refused what the bounds gate let through.
    #[error("{0}")]
    Refused(String),
}

impl WireError {
    #[cold]
    pub(super) fn new(
        message: &'static str,
        field: &str,
        position: usize,
        problem: Problem,
    ) -> Self {
        Self(Box::new(Details { message, path: field.to_owned(), position, problem }))
    }

    /// The same error, seen from the array `field` in whose element `index` it happened.
    #[cold]
    pub(super) fn within(mut self, field: &str, index: usize) -> Self {
        let path = &mut self.0.path;
        *path = if path.is_empty() {
            format!("{field}[{index}]")
        } else {
            format!("{field}[{index}].{path}")
        };
        self
    }

    /// The same error, seen from the structure `field` in which it happened.
    #[cold]
    pub(super) fn inside(mut self, field: &str) -> Self {
        self.0.path = format!("{field}.{}", self.0.path);
        self
    }

    /// Name of the message or header, such as `MetadataRequest`.
    #[must_use]
    pub fn message(&self) -> &'static str {
        self.0.message
    }

    /// Path of the field, such as `topics[3].name`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Where the field begins, or what follows its length, in bytes from the start of the message (or header).
    #[must_use]
    pub fn position(&self) -> usize {
        self.0.position
    }

    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { message, path, position, problem } = &*self.0;
        write!(f, "{message}, field {path}, byte {position}: {problem}")
    }
}

impl std::error::Error for WireError {}

/// A message that cannot be written. Each is a mistake of the caller: a value that the version or the protocol cannot carry.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A string, byte array or list is longer than its length field can say.
    #[error("{message}: a field of {length} bytes or elements is too long")]
    TooLong {
        /// Name of the message.
        message: &'static str,
        /// Length of the field, in bytes or elements.
        length: usize,
    },
    /// The message has no such version, or the version is not served.
    #[error("{message} has no version {version}")]
    UnknownVersion {
        /// Name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is set to something else than its default in a version that does not have it.
    #[error("{message} v{version} cannot be encoded")]
    NotInVersion {
        /// Name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
        /// What the message crate said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
