//! Values of keys: their types, how they are read from text and how they are shown.
//!
//! Owns the grammar of Kafka's `ConfigDef.parseType` and the text form of `ConfigDef.convertToString`. Which value a
//! key may take is `key.rs`.
//!
//! **Invariant:** a value that is shown and read again is the same value.

use std::fmt;

/// The type of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Boolean,
    /// Any text, without white space around it.
    String,
    /// 32 bits, signed.
    Int,
    /// 16 bits, signed.
    Short,
    /// 64 bits, signed.
    Long,
    /// A finite floating-point number.
    Double,
    /// Texts between commas.
    List,
    /// The name of a Java class.
    Class,
    /// A text that is never shown.
    Password,
}

impl Kind {
    /// The number in the `ConfigType` field of DescribeConfigs v3+.
    #[must_use]
    pub const fn id(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    /// The name that the documentation prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Int => "int",
            Self::Short => "short",
            Self::Long => "long",
            Self::Double => "double",
            Self::List => "list",
            Self::Class => "class",
            Self::Password => "password",
        }
    }

    /// Whether values of this type are never shown.
    #[must_use]
    pub const fn is_sensitive(self) -> bool {
        matches!(self, Self::Password)
    }

    /// Reads a value. White space around it does not count.
    ///
    /// # Errors
    /// When the text is no value of this type.
    pub fn parse(self, text: &str) -> Result<Value, ValueError> {
        let text = trim(text);
        match self {
            Self::Boolean if text.eq_ignore_ascii_case("true") => Ok(Value::Boolean(true)),
            Self::Boolean if text.eq_ignore_ascii_case("false") => Ok(Value::Boolean(false)),
            Self::Boolean => Err(ValueError::NotBoolean),
            Self::String | Self::Class => Ok(Value::Text(text.to_owned())),
            Self::Password => Ok(Value::Secret(Secret(text.to_owned()))),
            Self::Int => parse_integer(text, 32).map(Value::Int),
            Self::Short => parse_integer(text, 16).map(Value::Short),
            Self::Long => parse_integer(text, 64).map(Value::Long),
            Self::Double => text
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .map(Value::Double)
                .ok_or(ValueError::NotNumber),
            Self::List if text.is_empty() => Ok(Value::List(Vec::new())),
            Self::List => {
                Ok(Value::List(text.split(',').map(|item| trim(item).to_owned()).collect()))
            }
        }
    }
}

/// What `String.trim` of Java takes off: all characters up to the space.
fn trim(text: &str) -> &str {
    text.trim_matches(|character| character <= ' ')
}

fn parse_integer<T: std::str::FromStr>(text: &str, bits: u32) -> Result<T, ValueError> {
    text.parse().map_err(|_| ValueError::NotInteger { bits })
}

/// A value of a key.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Of [`Kind::Boolean`].
    Boolean(bool),
    /// Of [`Kind::Int`].
    Int(i32),
    /// Of [`Kind::Short`].
    Short(i16),
    /// Of [`Kind::Long`].
    Long(i64),
    /// Of [`Kind::Double`].
    Double(f64),
    /// Of [`Kind::String`] or [`Kind::Class`].
    Text(String),
    /// Of [`Kind::List`].
    List(Vec<String>),
    /// Of [`Kind::Password`].
    Secret(Secret),
}

impl Value {
    /// The number, if it is a whole one.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(i64::from(*number)),
            Self::Short(number) => Some(i64::from(*number)),
            Self::Long(number) => Some(*number),
            Self::Boolean(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::List(_)
            | Self::Secret(_) => None,
        }
    }
}

/// As Kafka shows it, and as it can be read again. A secret shows as `[hidden]`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(flag) => flag.fmt(f),
            Self::Int(number) => number.fmt(f),
            Self::Short(number) => number.fmt(f),
            Self::Long(number) => number.fmt(f),
            Self::Double(number) => f.write_str(&java_double(*number)),
            Self::Text(text) => f.write_str(text),
            Self::List(items) => f.write_str(&items.join(",")),
            Self::Secret(secret) => secret.fmt(f),
        }
    }
}

/// `Double.toString` of Java: digits up to ten million, a power of ten beyond and below a thousandth.
pub(super) fn java_double(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((digits, power)) if !digits.contains('.') => format!("{digits}.0E{power}"),
        _ => text,
    }
}

/// A password: kept, but never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no value of a key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ValueError {
    /// Neither `true` nor `false`.
    #[error("must be true or false")]
    NotBoolean,
    /// No whole number, or one that is too large for the type.
    #[error("must be a whole number of {bits} bits")]
    NotInteger {
        /// The size of the type.
        bits: u32,
    },
    /// No finite number.
    #[error("must be a number")]
    NotNumber,
    /// Of the right type, but not allowed.
    #[error("must be {bounds}")]
    OutOfBounds {
        /// What is allowed: `at least 1`.
        bounds: String,
    },
    /// Nothing between two commas.
    #[error("has an empty item")]
    EmptyItem,
    /// Against a rule that is more than a bound, often one that involves other keys.
    #[error("{rule}")]
    Rule {
        /// The rule, to be read after the name of the key: "must be …".
        rule: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_become_values_and_texts_again() {
        for (kind, text, shown) in [
            (Kind::Boolean, " TRUE ", "true"),
            (Kind::Boolean, "false", "false"),
            (Kind::String, "\t a b ", "a b"),
            (Kind::Int, "+017", "17"),
            (Kind::Int, "-2147483648", "-2147483648"),
            (Kind::Short, "300", "300"),
            (Kind::Long, "9223372036854775807", "9223372036854775807"),
            (Kind::Double, "0.5", "0.5"),
            (Kind::Double, "3", "3.0"),
            (Kind::Double, "1.7976931348623157e308", "1.7976931348623157E308"),
            (Kind::Double, "1e10", "1.0E10"),
            (Kind::Double, "0.0001", "1.0E-4"),
            (Kind::List, "a , b,c", "a,b,c"),
            (Kind::List, "  ", ""),
            (Kind::List, "a,,", "a,,"),
            (Kind::Class, "x.Y", "x.Y"),
            (Kind::Password, "p", "[hidden]"),
        ] {
            assert_eq!(kind.parse(text).unwrap().to_string(), shown, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for (kind, text, error) in [
            (Kind::Boolean, "yes", ValueError::NotBoolean),
            (Kind::Int, "2147483648", ValueError::NotInteger { bits: 32 }),
            (Kind::Int, "", ValueError::NotInteger { bits: 32 }),
            (Kind::Int, "1 2", ValueError::NotInteger { bits: 32 }),
            (Kind::Short, "40000", ValueError::NotInteger { bits: 16 }),
            (Kind::Long, "1.5", ValueError::NotInteger { bits: 64 }),
            (Kind::Double, "NaN", ValueError::NotNumber),
            (Kind::Double, "inf", ValueError::NotNumber),
            (Kind::Double, "half", ValueError::NotNumber),
        ] {
            assert_eq!(kind.parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn secrets_do_not_leak() {
        let secret = Kind::Password.parse("hunter2").unwrap();
        assert!(!format!("{secret:?} {secret}").contains("hunter2"));
        assert_eq!(secret, Value::Secret(Secret("hunter2".into())));
    }

    proptest! {
        #[test]
        fn numbers_survive_showing(number: f64, long: i64) {
            prop_assume!(number.is_finite());
            let shown = Value::Double(number).to_string();
            prop_assert_eq!(Kind::Double.parse(&shown), Ok(Value::Double(number)));
            let shown = Value::Long(long).to_string();
            prop_assert_eq!(Kind::Long.parse(&shown), Ok(Value::Long(long)));
        }
    }
}
