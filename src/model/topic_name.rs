//! Topic names that are known to be legal.

use std::fmt;
use std::sync::Arc;

/// Longest legal topic name, in characters (`Topic.MAX_NAME_LENGTH` of Kafka's clients): a directory name of 255
/// bytes less the room for a partition number and the suffix of a directory under deletion.
const NAME_LENGTH_MAX: usize = 249;

/// A legal topic name: 1 to 249 of `[a-zA-Z0-9._-]`, and neither `.` nor `..`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicName(Arc<str>);

/// Why a text is not a topic name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// The empty text.
    #[error("the empty string is not a topic name")]
    Empty,
    /// `.` and `..` would be other directories.
    #[error("'{0}' is not a topic name")]
    Reserved(String),
    /// Longer than 249 characters.
    #[error("the topic name is {length} characters long, the most is {NAME_LENGTH_MAX}")]
    TooLong {
        /// Length of the refused name in bytes.
        length: usize,
    },
    /// A character outside the legal set.
    #[error(
        "topic name '{name}' has the character {character:?}; legal are letters, digits, '.', '_' and '-'"
    )]
    IllegalCharacter {
        /// The refused name.
        name: String,
        /// The first illegal character.
        character: char,
    },
}

impl TopicName {
    /// Takes a name if it is legal.
    ///
    /// # Errors
    /// Says which rule the name breaks. The rules are those of `Topic.validate` in Kafka's clients.
    pub fn new(name: &str) -> Result<Self, TopicNameError> {
        if name.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if name == "." || name == ".." {
            return Err(TopicNameError::Reserved(name.to_owned()));
        }
        if name.len() > NAME_LENGTH_MAX {
            return Err(TopicNameError::TooLong { length: name.len() });
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match name.chars().find(|c| !legal(*c)) {
            Some(character) => {
                Err(TopicNameError::IllegalCharacter { name: name.to_owned(), character })
            }
            None => Ok(Self(Arc::from(name))),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared text.
    #[must_use]
    pub fn to_shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// Whether both names give the same metric name, where `.` becomes `_`. Kafka refuses to create the second of
    /// such a pair (`Topic.hasCollision`).
    #[must_use]
    pub fn collides_with(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.collision_key() == other.collision_key()
    }

    /// What two colliding names have in common.
    #[must_use]
    pub fn collision_key(&self) -> String {
        self.0.replace('.', "_")
    }

    /// Whether the topic belongs to the broker itself (`Topic.isInternal` of Kafka's clients).
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(&*self.0, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for TopicName {
    type Error = TopicNameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<TopicName> for String {
    fn from(name: TopicName) -> Self {
        name.0.to_string()
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_names_are_taken() {
        for name in ["a", "orders", "A.b_c-9", "...", "__consumer_offsets", &"x".repeat(249)] {
            assert_eq!(TopicName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn each_rule_has_its_error() {
        assert_eq!(TopicName::new(""), Err(TopicNameError::Empty));
        assert_eq!(TopicName::new(".."), Err(TopicNameError::Reserved("..".into())));
        assert_eq!(TopicName::new(&"x".repeat(250)), Err(TopicNameError::TooLong { length: 250 }));
        for (name, character) in [("a b", ' '), ("a/b", '/'), ("ä", 'ä'), ("a\0", '\0')] {
            assert_eq!(
                TopicName::new(name),
                Err(TopicNameError::IllegalCharacter { name: name.into(), character })
            );
        }
    }

    #[test]
    fn dot_and_underscore_collide() {
        let [a, b, c] = ["a.b_c", "a_b.c", "a.b.d"].map(|n| TopicName::new(n).unwrap());
        assert!(a.collides_with(&b) && a.collides_with(&a));
        assert!(!a.collides_with(&c));
    }
}
