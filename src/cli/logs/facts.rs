//! Facts with names, printed as words for people or as a line of JSON.

use std::io::{self, Write};

use serde_json::Value;

/// Names with their values, in order. A value of text may be anything; in words it stands as it is.
pub(super) type Facts = Vec<(&'static str, Value)>;

/// Bytes as text if they are; what is not Unicode is replaced in words, and told as it is in JSON by
/// [`with_bytes`].
pub(super) fn text(bytes: &[u8]) -> Value {
    Value::from(String::from_utf8_lossy(bytes))
}

/// Adds bytes under `name`; if they are no text, their hexadecimal digits too.
pub(super) fn with_bytes(
    facts: &mut Facts,
    name: &'static str,
    hex_name: &'static str,
    bytes: &[u8],
) {
    facts.push((name, text(bytes)));
    if std::str::from_utf8(bytes).is_err() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        facts.push((hex_name, Value::from(hex)));
    }
}

/// Prints `name: value` for each, in one line.
pub(super) fn write_words(out: &mut dyn Write, facts: &Facts) -> io::Result<()> {
    let mut separator = "";
    for (name, value) in facts {
        write!(out, "{separator}{name}: ")?;
        write_plain(out, value)?;
        separator = " ";
    }
    writeln!(out)
}

fn write_plain(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    match value {
        Value::String(text) => write!(out, "{text}"),
        Value::Array(items) => {
            write!(out, "[")?;
            for (item, index) in items.iter().zip(0..) {
                write!(out, "{}", if index == 0 { "" } else { "," })?;
                write_plain(out, item)?;
            }
            write!(out, "]")
        }
        // Only optional numbers are ever null: this is how Kafka's tool prints them.
        Value::Null => write!(out, "OptionalLong.empty"),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            write!(out, "{value}")
        }
    }
}

/// Prints one object, with what it is about first.
pub(super) fn write_json(out: &mut dyn Write, kind: &str, facts: &Facts) -> io::Result<()> {
    write!(out, "{{\"kind\":{}", Value::from(kind))?;
    for (name, value) in facts {
        write!(out, ",{}:{value}", Value::from(*name))?;
    }
    writeln!(out, "}}")
}
