//! Records as JSON lines: what `consume --json` prints and `produce --json` reads.
//!
//! ```json
//! {"topic":"orders","partition":0,"offset":41,"timestamp":1700000000123,"key":"a","value":"b","headers":{"h":"v"}}
//! ```
//!
//! Keys, values and headers that are not UTF-8 are written as `{"base64":"…"}`. Headers become a list of pairs where an
//! object would lose one of them. On their way in `offset` and unknown fields are passed over, and keys and values
//! of other JSON types are taken as their JSON text.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use serde_json::{Map, Value};

use super::template::{Fields, Shown};
use crate::record::Record;

/// How headers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderForm {
    /// As an object, unless it would lose one of them.
    Object,
    /// As a list of pairs, which keeps their order.
    Pairs,
}

/// A field of such an object, by its name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Field {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
}

/// Prints a record as one line, with these fields of it; with all of them if there are none.
///
/// # Errors
/// Those of `out`.
pub(super) fn write_json(
    shown: &Shown<'_>,
    form: HeaderForm,
    keep: &[Field],
    out: &mut impl Write,
) -> io::Result<()> {
    let record = shown.record;
    let mut before = "{";
    for field in Field::value_variants() {
        let is_there = *field != Field::Headers || record.headers.clone().next().is_some();
        if !is_there || !(keep.is_empty() || keep.contains(field)) {
            continue;
        }
        out.write_all(before.as_bytes())?;
        before = ",";
        match field {
            Field::Topic => {
                out.write_all(b"\"topic\":")?;
                serde_json::to_writer(&mut *out, shown.topic)?;
            }
            Field::Partition => write!(out, "\"partition\":{}", shown.partition)?,
            Field::Offset => write!(out, "\"offset\":{}", record.offset)?,
            Field::Timestamp => write!(out, "\"timestamp\":{}", record.timestamp)?,
            Field::Key => {
                out.write_all(b"\"key\":")?;
                write_bytes(record.key, out)?;
            }
            Field::Value => {
                out.write_all(b"\"value\":")?;
                write_bytes(record.value, out)?;
            }
            Field::Headers => write_headers(record, form, out)?,
        }
    }
    if before == "{" {
        out.write_all(b"{")?;
    }
    out.write_all(b"}\n")
}

fn write_bytes(bytes: Option<&[u8]>, out: &mut impl Write) -> io::Result<()> {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => out.write_all(b"null"),
        Some(Ok(text)) => Ok(serde_json::to_writer(out, text)?),
        Some(Err(bytes)) => write!(out, "{{\"base64\":\"{}\"}}", STANDARD.encode(bytes)),
    }
}

fn write_headers(record: &Record<'_>, form: HeaderForm, out: &mut impl Write) -> io::Result<()> {
    let mut names: Vec<&[u8]> = record.headers.clone().map(|(name, _)| name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    let is_object = form == HeaderForm::Object && names.len() == count;
    out.write_all(if is_object { b"\"headers\":{" } else { b"\"headers\":[" })?;
    for (index, (name, value)) in record.headers.clone().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        let name = String::from_utf8_lossy(name);
        if is_object {
            serde_json::to_writer(&mut *out, &*name)?;
            out.write_all(b":")?;
            write_bytes(value, out)?;
        } else {
            out.write_all(b"[")?;
            serde_json::to_writer(&mut *out, &*name)?;
            out.write_all(b",")?;
            write_bytes(value, out)?;
            out.write_all(b"]")?;
        }
    }
    out.write_all(if is_object { b"}" } else { b"]" })
}

/// Reads one line.
///
/// # Errors
/// In words, when it is no such object.
pub(super) fn read_json(line: &[u8]) -> Result<Fields, String> {
    let object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| format!("not a JSON object: {error}"))?;
    let mut fields = Fields {
        key: bytes_of(object.get("key"), "key")?,
        value: bytes_of(object.get("value"), "value")?,
        ..Fields::default()
    };
    fields.topic = object.get("topic").and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_i64().map(Some).ok_or_else(|| format!("{name} is {value} and not a number"))
        }
    };
    fields.timestamp = number("timestamp")?;
    fields.partition = match number("partition")? {
        None => None,
        Some(number) => {
            Some(i32::try_from(number).map_err(|_| format!("{number} is no partition"))?)
        }
    };
    match object.get("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Object(headers)) => {
            for (name, value) in headers {
                fields.headers.push((name.clone(), bytes_of(Some(value), name)?));
            }
        }
        Some(Value::Array(headers)) => {
            for header in headers {
                let pair = header.as_array().map(Vec::as_slice);
                let Some([Value::String(name), value]) = pair else {
                    return Err(format!("the header {header} is not a name and a value"));
                };
                fields.headers.push((name.clone(), bytes_of(Some(value), name)?));
            }
        }
        Some(other) => return Err(format!("headers are {other} and neither object nor list")),
    }
    Ok(fields)
}

fn bytes_of(value: Option<&Value>, name: &str) -> Result<Option<Vec<u8>>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone().into_bytes())),
        Some(Value::Object(object)) if object.len() == 1 && object.contains_key("base64") => {
            let text = object.get("base64").and_then(Value::as_str);
            let bytes = text.and_then(|text| STANDARD.decode(text).ok());
            bytes.map(Some).ok_or_else(|| format!("{name} is not base64"))
        }
        Some(other) => Ok(Some(other.to_string().into_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::cli::template::Bounds;
    use crate::model::UnixMillis;
    use crate::record::{BatchBuilder, BatchHeader, visit_records};

    fn line(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
        form: HeaderForm,
    ) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.push_with_headers(UnixMillis(17), key, value, headers);
        let batch = builder.build();
        let header = BatchHeader::parse(&batch).unwrap();
        let mut out = Vec::new();
        visit_records(&batch, |record| {
            let shown = Shown {
                topic: "t",
                partition: 2,
                record: &record,
                batch: &header,
                count: 1,
                bounds: Bounds::default(),
            };
            write_json(&shown, form, &[], &mut out).unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
        out
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(
            key in any::<Option<Vec<u8>>>(),
            value in any::<Option<Vec<u8>>>(),
            headers in proptest::collection::vec(("[a-c]", any::<Option<Vec<u8>>>()), 0..4),
        ) {
            let borrowed: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            let line = |form| line(key.as_deref(), value.as_deref(), &borrowed, form);
            prop_assert_eq!(&read_json(&line(HeaderForm::Pairs)).unwrap().headers, &headers);
            let fields = read_json(&line(HeaderForm::Object)).unwrap();
            prop_assert_eq!(fields.topic.as_deref(), Some("t"));
            prop_assert_eq!(fields.key, key);
            prop_assert_eq!(fields.value, value);
            prop_assert_eq!((fields.timestamp, fields.partition), (Some(17), Some(2)));
            let mut read = fields.headers;
            let mut written = headers;
            // An object's fields come back in another order.
            read.sort();
            written.sort();
            prop_assert_eq!(read, written);
        }
    }

    #[test]
    fn other_json_is_its_text_and_what_is_no_record_is_said() {
        let fields = read_json(br#"{"key":7,"value":{"a":[1]},"extra":true}"#).unwrap();
        assert_eq!(
            (fields.key.unwrap(), fields.value.unwrap()),
            (b"7".into(), br#"{"a":[1]}"#.into())
        );
        for (line, words) in [
            ("[]", "not a JSON object"),
            (r#"{"partition":"x"}"#, "partition is \"x\" and not a number"),
            (r#"{"headers":3}"#, "neither object nor list"),
            (r#"{"value":{"base64":"!"}}"#, "value is not base64"),
        ] {
            let error = read_json(line.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
