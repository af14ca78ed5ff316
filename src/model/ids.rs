//! Newtypes for ids, offsets and epochs, so that two integers of different meaning cannot be mixed.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

macro_rules! integer_newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

integer_newtype! {
    /// The position of a record in its partition, counted in records from 0.
    Offset(i64)
}

integer_newtype! {
    /// Counts the leaders of a partition; rises by one with each election.
    LeaderEpoch(i32)
}

integer_newtype! {
    /// The index of a partition within its topic.
    PartitionId(i32)
}

integer_newtype! {
    /// `node.id` of a broker.
    BrokerId(i32)
}

integer_newtype! {
    /// Identifies an idempotent or transactional producer (KIP-98).
    ProducerId(i64)
}

integer_newtype! {
    /// Fences older incarnations of one producer id (KIP-98).
    ProducerEpoch(i16)
}

impl Offset {
    /// The first offset of a partition that never lost its beginning.
    pub const ZERO: Self = Self(0);

    /// The offset `count` records further on. Saturates at the ends of the range, which no log reaches.
    #[must_use]
    pub const fn plus(self, count: i64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// How many offsets lie between `earlier` and this one; negative if `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl LeaderEpoch {
    /// The value that stands for "not known" on the wire.
    pub const UNKNOWN: Self = Self(-1);
}

impl ProducerId {
    /// The value of a batch without producer.
    pub const NONE: Self = Self(-1);
}

impl ProducerEpoch {
    /// The value of a batch without producer.
    pub const NONE: Self = Self(-1);
}

/// A topic's id: a random 128-bit number that is never used again, unlike the name.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(from = "UuidText", into = "UuidText")]
pub struct TopicId(pub Uuid);

impl TopicId {
    /// The id that stands for "not given" on the wire.
    pub const ZERO: Self = Self(Uuid::nil());

    /// Whether this is [`TopicId::ZERO`].
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_nil()
    }
}

impl From<UuidText> for TopicId {
    fn from(id: UuidText) -> Self {
        Self(id.0)
    }
}

impl From<TopicId> for UuidText {
    fn from(id: TopicId) -> Self {
        Self(id.0)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        UuidText(self.0).fmt(f)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        UuidText(self.0).fmt(f)
    }
}

/// A UUID in Kafka's spelling: 22 characters of URL-safe base64 without padding (`Uuid.toString` of its clients).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "std::borrow::Cow<'_, str>", into = "String")]
pub struct UuidText(pub Uuid);

impl UuidText {
    /// Reads the 22-character spelling; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(Uuid::from_bytes(bytes.try_into().ok()?)))
    }
}

impl TryFrom<std::borrow::Cow<'_, str>> for UuidText {
    type Error = String;

    fn try_from(text: std::borrow::Cow<'_, str>) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("'{text}' is not an id"))
    }
}

impl From<UuidText> for String {
    fn from(id: UuidText) -> Self {
        id.to_string()
    }
}

impl fmt::Display for UuidText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&URL_SAFE_NO_PAD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for UuidText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A partition by the name of its topic: what people read, what directories are called.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's index.
    pub partition: PartitionId,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A partition by the id of its topic: what maps are keyed by, since a name can be deleted and given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicIdPartition {
    /// The topic's id.
    pub topic: TopicId,
    /// The partition's index.
    pub partition: PartitionId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_text_is_kafkas_spelling() {
        // The id that Kafka reserves for its metadata topic.
        let id = Uuid::from_u128(1);
        assert_eq!(UuidText(id).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(UuidText::parse("AAAAAAAAAAAAAAAAAAAAAQ"), Some(UuidText(id)));
        for bad in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAQ==", "AAAAAAAAAAAAAAAAAAAA+Q"] {
            assert_eq!(UuidText::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn offset_arithmetic_saturates() {
        assert_eq!(Offset(5).plus(3), Offset(8));
        assert_eq!(Offset(i64::MAX).plus(1), Offset(i64::MAX));
        assert_eq!(Offset(8).since(Offset(5)), 3);
        assert_eq!(Offset(5).since(Offset(8)), -3);
    }
}
