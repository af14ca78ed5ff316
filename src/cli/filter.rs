//! Which records are printed: by a regular expression, by an expression of CEL.
//!
//! | name | in an expression |
//! |---|---|
//! | `topic` | text |
//! | `partition`, `offset`, `timestamp` | numbers; the time in milliseconds since 1970 |
//! | `key` | text, bytes if it is not UTF-8, or null |
//! | `value` | what it is as JSON; else text, bytes if it is not UTF-8, or null |
//! | `headers` | a map of text, bytes and null; of several headers with one name the last |
//!
//! An expression is wrong if it has a name that is not there, or cannot give true or false. A record for which it gives neither,
//! because a field is not there or is of another kind, does not pass and is counted.

use std::collections::HashMap;
use std::sync::Arc;

use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, Program, Value};
use regex::bytes::Regex;
use serde_json::Value as Json;

use super::failure::Failure;
use super::template::Shown;
use crate::record::Record;

/// What a record has to pass.
#[derive(Default)]
pub(super) struct Filter {
    pattern: Option<Regex>,
    condition: Option<Condition>,
}

struct Condition {
    program: Program,
    env: Arc<Env>,
    /// How many records it had no result for, and why the first one had none.
    failed: u64,
    first: String,
}

impl Filter {
    /// # Errors
    /// When the expression of CEL is wrong: where and why.
    pub(super) fn new(pattern: Option<&Regex>, condition: Option<&str>) -> Result<Self, Failure> {
        let condition = condition.map(Condition::new).transpose()?;
        Ok(Self { pattern: pattern.cloned(), condition })
    }

    /// Whether a record passes.
    ///
    /// # Errors
    /// When the expression turns out to be wrong.
    pub(super) fn passes(&mut self, shown: &Shown<'_>) -> Result<bool, Failure> {
        if self.pattern.as_ref().is_some_and(|pattern| !matches(pattern, shown.record)) {
            return Ok(false);
        }
        match &mut self.condition {
            Some(condition) => condition.holds(shown),
            None => Ok(true),
        }
    }

    /// What is to be said about it at the end.
    pub(super) fn note(&self) -> Option<String> {
        let Condition { failed, first, .. } =
            self.condition.as_ref().filter(|condition| condition.failed > 0)?;
        let records =
            super::output::count(usize::try_from(*failed).unwrap_or(usize::MAX), "record");
        Some(format!("--where had no result for {records}; for the first one: {first}"))
    }
}

fn matches(pattern: &Regex, record: &Record<'_>) -> bool {
    let key_and_value = [record.key, record.value].into_iter().flatten();
    let mut texts = key_and_value.chain(record.headers.clone().filter_map(|(_, value)| value));
    texts.any(|text| pattern.is_match(text))
}

impl Condition {
    fn new(text: &str) -> Result<Self, Failure> {
        let wrong = |error: cel::ParseErrors| {
            let text = error.to_string().replace("ERROR: <input>:", "at ");
            Failure::usage(format!("--where: {text}"))
        };
        let program = Program::compile(text).map_err(wrong)?;
        let new = Self { program, env: Arc::new(Env::stdlib()), failed: 0, first: String::new() };
        // Much of what is wrong shows with any record.
        let mut context = Context::with_env(Arc::clone(&new.env));
        for name in ["topic", "key"] {
            context.add_variable_from_value(name, text_of(b""));
        }
        for name in ["partition", "offset", "timestamp"] {
            context.add_variable_from_value(name, 0_i64);
        }
        context.add_variable_from_value("value", Value::Null);
        context.add_variable_from_value("headers", map(HashMap::new()));
        match new.judge(&context)? {
            // What another value is, is not known.
            Ok(Value::Bool(_) | Value::Null) | Err(_) => Ok(new),
            Ok(other) => Err(Failure::usage(format!("--where {}", no_answer(&other)))),
        }
    }

    fn holds(&mut self, shown: &Shown<'_>) -> Result<bool, Failure> {
        let record = shown.record;
        let mut context = Context::with_env(Arc::clone(&self.env));
        context.add_variable_from_value("topic", text_of(shown.topic.as_bytes()));
        context.add_variable_from_value("partition", i64::from(shown.partition));
        context.add_variable_from_value("offset", record.offset.0);
        context.add_variable_from_value("timestamp", record.timestamp.0);
        context.add_variable_from_value("key", record.key.map_or(Value::Null, text_of));
        let value = record.value.map_or(Value::Null, |bytes| {
            serde_json::from_slice(bytes).map_or_else(|_| text_of(bytes), value_of)
        });
        context.add_variable_from_value("value", value);
        let header = |(name, value): (&[u8], Option<&[u8]>)| {
            (key_of(String::from_utf8_lossy(name).into_owned()), value.map_or(Value::Null, text_of))
        };
        context
            .add_variable_from_value("headers", map(record.headers.clone().map(header).collect()));
        let why = match self.judge(&context)? {
            Ok(Value::Bool(holds)) => return Ok(holds),
            Ok(other) => no_answer(&other),
            Err(error) => error.to_string(),
        };
        if self.failed == 0 {
            self.first = why;
        }
        self.failed += 1;
        Ok(false)
    }

    /// What it gives, or why it gives nothing.
    fn judge(&self, context: &Context<'_, '_>) -> Result<Result<Value, ExecutionError>, Failure> {
        let known = "it knows topic, partition, offset, timestamp, key, value and headers";
        match self.program.execute(context) {
            Err(ExecutionError::UndeclaredReference(name)) => {
                Err(Failure::usage(format!("--where: '{name}' is not known")).hint(known))
            }
            other => Ok(other),
        }
    }
}

fn no_answer(value: &Value) -> String {
    format!("gives {}, and not true or false", value.type_of())
}

fn text_of(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::String(Arc::new(text.to_owned())),
        Err(_) => Value::Bytes(Arc::new(bytes.to_vec())),
    }
}

fn key_of(name: String) -> Key {
    Key::String(Arc::new(name))
}

fn map(entries: HashMap<Key, Value>) -> Value {
    Value::Map(Map { map: Arc::new(entries) })
}

/// Whole numbers are signed where they can be: those of expressions are.
fn value_of(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::UInt(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(Arc::new(text)),
        Json::Array(items) => Value::List(Arc::new(items.into_iter().map(value_of).collect())),
        Json::Object(fields) => {
            map(fields.into_iter().map(|(name, field)| (key_of(name), value_of(field))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::cli::template::Bounds;
    use crate::model::{Offset, UnixMillis};
    use crate::record::{BatchBuilder, BatchHeader, visit_records};

    type Headers<'a> = [(&'a str, Option<&'a [u8]>)];

    fn passes(
        filter: &mut Filter,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &Headers<'_>,
    ) -> Result<bool, Failure> {
        let mut builder = BatchBuilder::new();
        builder.base_offset(Offset(41));
        builder.push_with_headers(UnixMillis(1_700_000_000_123), key, value, headers);
        let batch = builder.build();
        let header = BatchHeader::parse(&batch).unwrap();
        let mut passed = None;
        visit_records(&batch, |record| {
            let (topic, bounds) = ("orders", Bounds::default());
            let shown =
                Shown { topic, partition: 3, record: &record, batch: &header, count: 1, bounds };
            passed = Some(filter.passes(&shown));
            ControlFlow::Continue(())
        })
        .unwrap();
        passed.unwrap()
    }

    #[test]
    fn a_pattern_is_looked_for_in_key_value_and_headers() {
        let pattern = Regex::new("^b+$").unwrap();
        let mut filter = Filter::new(Some(&pattern), None).unwrap();
        let headers: &Headers<'_> = &[("bb", None), ("h", Some(b"bbb"))];
        assert!(passes(&mut filter, Some(b"bb"), None, &[]).unwrap());
        assert!(passes(&mut filter, Some(b"\xff"), Some(b"b"), &[]).unwrap());
        assert!(passes(&mut filter, None, None, headers).unwrap());
        assert!(!passes(&mut filter, Some(b"abb"), Some(b""), &headers[..1]).unwrap());
    }

    #[test]
    fn expressions_know_the_record() {
        let value = br#"{"total":12,"big":18446744073709551615,"items":[{"sku":"a"}],"f":1.5}"#;
        for (text, holds) in [
            ("topic == 'orders' && partition == 3 && offset == 41", true),
            ("timestamp > 1700000000000", true),
            ("key == '7'", true),
            ("value.total + 1 == 13 && value.f > 1.0", true),
            ("value.big > 5", true),
            ("value.items.exists(item, item.sku == 'a')", true),
            ("value.items[0].sku.matches('^b')", false),
            ("headers['h'] == 'x' && headers.none == null", true),
            ("has(value.nothing)", false),
            ("value.nothing == 1 || true", true),
        ] {
            let mut filter =
                Filter::new(None, Some(text)).unwrap_or_else(|error| panic!("{text}: {error}"));
            let headers: &Headers<'_> = &[("h", Some(b"x")), ("none", None)];
            let found = passes(&mut filter, Some(b"7"), Some(value), headers);
            assert_eq!(found.unwrap_or_else(|error| panic!("{text}: {error}")), holds, "{text}");
            assert_eq!(filter.note(), None, "{text}");
        }
        let mut filter =
            Filter::new(None, Some("value == 'no json' || value == b'\\xff'")).unwrap();
        assert!(passes(&mut filter, None, Some(b"no json"), &[]).unwrap());
        assert!(passes(&mut filter, None, Some(b"\xff"), &[]).unwrap());
    }

    #[test]
    fn records_without_a_result_are_counted() {
        let mut filter = Filter::new(None, Some("value.total > 10")).unwrap();
        assert!(!passes(&mut filter, None, Some(b"{}"), &[]).unwrap());
        assert!(!passes(&mut filter, None, Some(b"text"), &[]).unwrap());
        assert!(passes(&mut filter, None, Some(b"{\"total\":11}"), &[]).unwrap());
        let note = filter.note().unwrap();
        assert!(note.contains("no result for 2 records") && note.contains("total"), "{note}");
    }

    #[test]
    fn wrong_expressions_are_refused_before_they_are_used() {
        for (text, words) in [
            ("value.total >", "1:"),
            ("(", "1:"),
            ("", "1:"),
            ("valu.total > 1", "'valu' is not known"),
            ("nothing(1)", "'nothing' is not known"),
            ("partition + 1", "gives int"),
            ("key", "gives string"),
        ] {
            let error = Filter::new(None, Some(text)).map(|_| ()).unwrap_err();
            assert!(error.message().contains(words), "{text}: {error}");
        }
        // What only a record shows.
        let mut filter = Filter::new(None, Some("value.paid")).unwrap();
        assert!(passes(&mut filter, None, Some(b"{\"paid\":true}"), &[]).unwrap());
        assert!(!passes(&mut filter, None, Some(b"{\"paid\":1}"), &[]).unwrap());
        let note = filter.note().unwrap();
        assert!(note.contains("gives int, and not true or false"), "{note}");
    }

    proptest::proptest! {
        #[test]
        fn any_expression_is_taken_or_refused(text in "[a-z0-9.()\\[\\]{}'\"&|!<>=+ ]{0,20}") {
            drop(Filter::new(None, Some(&text)));
        }
    }
}
