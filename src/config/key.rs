//! A key of the registry: its type, its default, what it allows, who may change it and what Ottla does with it.
//!
//! Owns the vocabulary of the tables in `registry/` and the check of one value. Rules that involve several keys are
//! `broker.rs` and `alter.rs`.
//!
//! **Invariant:** [`Key::parse`] gives only values within the bounds of the key.

use std::collections::BTreeSet;
use std::fmt;

use super::bounds::Bounds;
use super::value::{Kind, Value, ValueError, java_double};

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    /// The name, as Kafka writes it.
    pub name: &'static str,
    /// The type of its values.
    pub kind: Kind,
    /// Kafka's default.
    pub default: Literal,
    /// Where Ottla's default differs from Kafka's.
    pub own_default: Option<OwnDefault>,
    /// What values are allowed.
    pub bounds: Bounds,
    /// Whether a running broker takes new values.
    pub update: Update,
    /// What Ottla does with it.
    pub status: Status,
    /// Whether DescribeConfigs shows it even when it is not set.
    pub listed: bool,
    /// Whether empty items of a list are skipped, which Kafka would refuse.
    pub skips_empty: bool,
    /// The broker keys that a topic or group key takes its default from, in the order in which they count.
    pub inherits: &'static [Inherited],
    /// See [`Key::documentation`].
    doc: &'static str,
}

/// A default, as it stands in the tables.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Literal {
    /// No value.
    Null,
    /// For [`Kind::Boolean`].
    Boolean(bool),
    /// For [`Kind::Int`], [`Kind::Short`] and [`Kind::Long`].
    Integer(i64),
    /// For [`Kind::Double`].
    Double(f64),
    /// For the other kinds.
    Text(&'static str),
}

/// A default of Ottla in place of Kafka's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum OwnDefault {
    /// Everywhere.
    Always(Literal),
    /// On a broker that is a cluster of its own.
    SingleNode(Literal),
}

/// A broker key that a topic or group key takes its default from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inherited {
    /// The name of the broker key.
    pub name: &'static str,
    /// What its number is multiplied with, when it counts hours or minutes and the heir milliseconds.
    pub factor: i64,
}

/// Whether and for whom a running broker takes new values of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Update {
    /// Only a restart changes it.
    ReadOnly,
    /// For one broker.
    PerBroker,
    /// For one broker, and only with a `listener.name.<name>.` prefix.
    PerListener,
    /// For one broker or for all.
    ClusterWide,
    /// For one topic or group.
    PerResource,
}

/// What Ottla does with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It acts.
    Active,
    /// It is accepted and has no meaning in Ottla.
    Inert,
    /// It is accepted and will act once its feature exists.
    NotYet,
}

impl Key {
    /// Reads and checks a value of this key.
    ///
    /// # Errors
    /// When the text is no value of the key's type or not one that it allows.
    pub fn parse(&self, text: &str) -> Result<Value, ValueError> {
        let mut value = self.kind.parse(text)?;
        if let Value::List(items) = &mut value {
            if self.skips_empty {
                items.retain(|item| !item.is_empty());
            }
            if matches!(self.bounds, Bounds::Items { .. }) {
                drop_repeated(items);
            }
        }
        self.bounds.check(&value)?;
        Ok(value)
    }

    /// The default of a broker that is (or is not) a cluster of its own; none for null.
    #[must_use]
    pub fn default_value(&self, single_node: bool) -> Option<Value> {
        self.default_literal(single_node).value(self.kind)
    }

    /// What it means, if it is active.
    #[must_use]
    pub fn documentation(&self) -> Option<&'static str> {
        Some(self.doc.trim_start()).filter(|doc| !doc.is_empty())
    }

    fn default_literal(&self, single_node: bool) -> Literal {
        match self.own_default {
            Some(OwnDefault::Always(literal)) => literal,
            Some(OwnDefault::SingleNode(literal)) if single_node => literal,
            Some(OwnDefault::SingleNode(_)) | None => self.default,
        }
    }
}

/// Leaves the first of each item.
fn drop_repeated(items: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    items.retain(|item| seen.insert(item.clone()));
}

impl Literal {
    fn value(self, kind: Kind) -> Option<Value> {
        match self {
            Self::Null => None,
            Self::Boolean(_) | Self::Integer(_) | Self::Double(_) | Self::Text(_) => Some(
                kind.parse(&self.to_string()).expect("a test parses every default of the registry"),
            ),
        }
    }
}

/// As Kafka shows it; a null shows as `null`.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(flag) => flag.fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::Double(number) => f.write_str(&java_double(*number)),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Update {
    /// The name that the documentation prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "at start",
            Self::PerBroker => "per broker",
            Self::PerListener => "per listener",
            Self::ClusterWide => "per broker or cluster-wide",
            Self::PerResource => "at any time",
        }
    }
}

/// What the tables are written with. Each function gives the key with one thing changed.
impl Key {
    pub(super) const fn new(name: &'static str, kind: Kind, default: Literal) -> Self {
        Self {
            name,
            kind,
            default,
            own_default: None,
            bounds: Bounds::Any,
            update: Update::ReadOnly,
            status: Status::NotYet,
            listed: true,
            skips_empty: false,
            inherits: &[],
            doc: "",
        }
    }

    pub(super) const fn described(mut self, status: Status, doc: &'static str) -> Self {
        self.status = status;
        self.doc = doc;
        self
    }

    pub(super) const fn at_least(mut self, min: i64) -> Self {
        self.bounds = Bounds::AtLeast(min);
        self
    }

    pub(super) const fn between(mut self, min: i64, max: i64) -> Self {
        assert!(min <= max, "a range without values");
        self.bounds = Bounds::Between(min, max);
        self
    }

    pub(super) const fn one_of(mut self, texts: &'static [&'static str]) -> Self {
        self.bounds = Bounds::OneOf(texts);
        self
    }

    pub(super) const fn one_of_any_case(mut self, texts: &'static [&'static str]) -> Self {
        self.bounds = Bounds::OneOfAnyCase(texts);
        self
    }

    pub(super) const fn non_empty(mut self) -> Self {
        self.bounds = Bounds::NonEmpty;
        self
    }

    /// A list, perhaps empty, of these items (of any, if none are given).
    pub(super) const fn items(mut self, of: &'static [&'static str]) -> Self {
        self.bounds = Bounds::Items { or_none: true, of };
        self
    }

    /// A list, not empty, of these items (of any, if none are given).
    pub(super) const fn some_items(mut self, of: &'static [&'static str]) -> Self {
        self.bounds = Bounds::Items { or_none: false, of };
        self
    }

    pub(super) const fn special(mut self, text: &'static str, accepts: fn(&Value) -> bool) -> Self {
        self.bounds = Bounds::Special { text, accepts };
        self
    }

    pub(super) const fn skips_empty(mut self) -> Self {
        self.skips_empty = true;
        self
    }

    pub(super) const fn updated(mut self, update: Update) -> Self {
        self.update = update;
        self
    }

    pub(super) const fn per_broker(self) -> Self {
        self.updated(Update::PerBroker)
    }

    pub(super) const fn per_listener(self) -> Self {
        self.updated(Update::PerListener)
    }

    pub(super) const fn cluster_wide(self) -> Self {
        self.updated(Update::ClusterWide)
    }

    pub(super) const fn unlisted(mut self) -> Self {
        self.listed = false;
        self
    }

    pub(super) const fn inherits(mut self, from: &'static [Inherited]) -> Self {
        self.inherits = from;
        self
    }

    /// The default of Ottla where Kafka has another one.
    pub(super) const fn in_ottla(mut self, default: Literal) -> Self {
        self.own_default = Some(OwnDefault::Always(default));
        self
    }

    /// The default of Ottla on a single node, where Kafka has another one.
    pub(super) const fn alone(mut self, default: Literal) -> Self {
        self.own_default = Some(OwnDefault::SingleNode(default));
        self
    }
}

/// Inherits the value of broker key `name` as it is.
pub(super) const fn from(name: &'static str) -> Inherited {
    Inherited { name, factor: 1 }
}

/// Inherits `factor` times the number of broker key `name`.
pub(super) const fn times(name: &'static str, factor: i64) -> Inherited {
    Inherited { name, factor }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Kind) -> Key {
        Key::new("k", kind, Literal::Null)
    }

    #[test]
    fn a_repeated_item_counts_once() {
        let value = key(Kind::List).items(&[]).parse("b,a, b ,a").unwrap();
        assert_eq!(value, Value::List(vec!["b".into(), "a".into()]));
    }

    #[test]
    fn defaults_depend_on_the_node_being_alone() {
        let factor = key(Kind::Short);
        let factor = Key { default: Literal::Integer(3), ..factor }.alone(Literal::Integer(1));
        assert_eq!(factor.default_value(true), Some(Value::Short(1)));
        assert_eq!(factor.default_value(false), Some(Value::Short(3)));
        assert_eq!(key(Kind::Int).default_value(true), None);
    }
}
