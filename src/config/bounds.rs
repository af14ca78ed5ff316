//! What values a key allows, apart from other keys.
//!
//! Owns the check and the words for it. The special checks of single keys are `registry/checks.rs`.

use std::fmt;

use super::value::{Value, ValueError};

/// What values a key allows.
#[derive(Clone, Copy, Debug)]
pub enum Bounds {
    /// Every value of the type.
    Any,
    /// Numbers from this one.
    AtLeast(i64),
    /// Numbers from the first to the second, both allowed.
    Between(i64, i64),
    /// These texts.
    OneOf(&'static [&'static str]),
    /// These texts in any case.
    OneOfAnyCase(&'static [&'static str]),
    /// Texts that are not empty.
    NonEmpty,
    /// Lists without empty items; an item that comes twice counts once.
    Items {
        /// Whether the list may be empty.
        or_none: bool,
        /// The items allowed; none means any.
        of: &'static [&'static str],
    },
    /// What the function accepts.
    Special {
        /// What that is, to be read after "must be".
        text: &'static str,
        /// The check.
        accepts: fn(&Value) -> bool,
    },
}

impl Bounds {
    /// Whether the value is allowed.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn check(&self, value: &Value) -> Result<(), ValueError> {
        let within = match self {
            Self::Any => true,
            Self::AtLeast(min) => number(value).is_some_and(|number| number >= *min as f64),
            Self::Between(min, max) => {
                number(value).is_some_and(|number| (*min as f64..=*max as f64).contains(&number))
            }
            Self::OneOf(allowed) => text(value).is_some_and(|text| allowed.contains(&text)),
            Self::OneOfAnyCase(allowed) => text(value)
                .is_some_and(|text| allowed.iter().any(|one| one.eq_ignore_ascii_case(text))),
            Self::NonEmpty => text(value).is_some_and(|text| !text.is_empty()),
            Self::Items { or_none, of } => {
                let Value::List(items) = value else { unreachable!("only lists have items") };
                check_items(items, *or_none, of)?
            }
            Self::Special { accepts, .. } => accepts(value),
        };
        if within { Ok(()) } else { Err(ValueError::OutOfBounds { bounds: self.to_string() }) }
    }
}

fn number(value: &Value) -> Option<f64> {
    if let Value::Double(number) = value {
        return Some(*number);
    }
    value.as_integer().map(|number| number as f64)
}

fn text(value: &Value) -> Option<&str> {
    if let Value::Text(text) = value {
        return Some(text);
    }
    None
}

fn check_items(items: &[String], or_none: bool, of: &[&str]) -> Result<bool, ValueError> {
    if items.iter().any(String::is_empty) {
        return Err(ValueError::EmptyItem);
    }
    let known = of.is_empty() || items.iter().all(|item| of.contains(&&**item));
    Ok(known && (or_none || !items.is_empty()))
}

/// To be read after "must be".
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any value"),
            Self::AtLeast(min) => write!(f, "at least {min}"),
            Self::Between(min, max) => write!(f, "from {min} to {max}"),
            Self::OneOf(texts) => write!(f, "one of {}", texts.join(", ")),
            Self::OneOfAnyCase(texts) => write!(f, "one of {} (in any case)", texts.join(", ")),
            Self::NonEmpty => f.write_str("not empty"),
            Self::Items { or_none, of } => {
                f.write_str(if *or_none { "a list" } else { "a non-empty list" })?;
                if of.is_empty() { Ok(()) } else { write!(f, " of {}", of.join(", ")) }
            }
            Self::Special { text, .. } => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::{Key, Literal};
    use super::super::value::Kind;
    use super::*;

    fn key(kind: Kind) -> Key {
        Key::new("k", kind, Literal::Null)
    }

    #[test]
    fn each_bound_holds() {
        let even = |value: &Value| value.as_integer().is_some_and(|number| number % 2 == 0);
        for (key, text, accepted) in [
            (key(Kind::Int).at_least(1), "1", true),
            (key(Kind::Int).at_least(1), "0", false),
            (key(Kind::Long).between(-2, 3), "-2", true),
            (key(Kind::Long).between(-2, 3), "4", false),
            (key(Kind::Double).between(0, 1), "1", true),
            (key(Kind::Double).between(0, 1), "1.0001", false),
            (key(Kind::String).one_of(&["a", "b"]), " b ", true),
            (key(Kind::String).one_of(&["a", "b"]), "B", false),
            (key(Kind::String).one_of_any_case(&["a", "b"]), "B", true),
            (key(Kind::String).non_empty(), "", false),
            (key(Kind::List).items(&["a", "b"]), "", true),
            (key(Kind::List).items(&["a", "b"]), "b,c", false),
            (key(Kind::List).items(&[]), "b,,c", false),
            (key(Kind::List).some_items(&[]), "", false),
            (key(Kind::List).some_items(&[]).skips_empty(), "a,,b,", true),
            (key(Kind::List).some_items(&[]).skips_empty(), ",,", false),
            (key(Kind::Int).special("even", even), "4", true),
            (key(Kind::Int).special("even", even), "5", false),
        ] {
            assert_eq!(key.parse(text).is_ok(), accepted, "{text:?} as {}", key.bounds);
        }
    }

    #[test]
    fn errors_name_the_bound() {
        let error = key(Kind::Int).between(1, 9).parse("10").unwrap_err();
        assert_eq!(error.to_string(), "must be from 1 to 9");
        let error = key(Kind::List).some_items(&["x"]).parse("").unwrap_err();
        assert_eq!(error.to_string(), "must be a non-empty list of x");
    }
}
