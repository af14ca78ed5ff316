//! A record, printed by a format string.

use std::fmt::Write as _;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::parse::{Encoding, Piece, Template};
use crate::record::{BatchHeader, Record};

/// A record with all that may be said about it.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Shown<'a> {
    pub(in crate::cli) topic: &'a str,
    pub(in crate::cli) partition: i32,
    pub(in crate::cli) record: &'a Record<'a>,
    /// The header of its batch.
    pub(in crate::cli) batch: &'a BatchHeader,
    /// How many were printed with this one.
    pub(in crate::cli) number: u64,
}

/// Prints a record.
///
/// # Errors
/// Those of `out`.
pub(in crate::cli) fn write_record(
    template: &Template,
    shown: &Shown<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let record = shown.record;
    for piece in &template.0 {
        match piece {
            Piece::Bytes(bytes) => out.write_all(bytes)?,
            Piece::Value(encoding) => write_bytes(record.value, *encoding, out)?,
            Piece::Key(encoding) => write_bytes(record.key, *encoding, out)?,
            Piece::Headers(encoding) => write_headers(record, *encoding, out)?,
            Piece::ValueLength => write!(out, "{}", length(record.value))?,
            Piece::ValueLengthBinary => {
                let length = i32::try_from(length(record.value)).unwrap_or(i32::MAX);
                out.write_all(&length.to_be_bytes())?;
            }
            Piece::KeyLength => write!(out, "{}", length(record.key))?,
            Piece::HeaderCount => write!(out, "{}", record.headers.clone().count())?,
            Piece::Topic => out.write_all(shown.topic.as_bytes())?,
            Piece::TopicLength => write!(out, "{}", shown.topic.len())?,
            Piece::Partition => write!(out, "{}", shown.partition)?,
            Piece::Offset => write!(out, "{}", record.offset)?,
            Piece::LeaderEpoch => write!(out, "{}", shown.batch.partition_leader_epoch)?,
            Piece::Timestamp => write!(out, "{}", record.timestamp)?,
            Piece::Date(pattern) => write_date(record.timestamp.0, pattern.as_deref(), out)?,
            Piece::ProducerId => write!(out, "{}", shown.batch.producer_id)?,
            Piece::ProducerEpoch => write!(out, "{}", shown.batch.producer_epoch)?,
            Piece::Compression => write!(out, "{}", shown.batch.compression())?,
            Piece::Counter => write!(out, "{}", shown.number)?,
        }
    }
    Ok(())
}

fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.and_then(|bytes| i64::try_from(bytes.len()).ok()).unwrap_or(-1)
}

fn write_bytes(bytes: Option<&[u8]>, encoding: Encoding, out: &mut impl Write) -> io::Result<()> {
    let bytes = match (bytes, encoding) {
        (Some(bytes), _) => bytes,
        (None, Encoding::Json) => return out.write_all(b"null"),
        (None, Encoding::Raw | Encoding::Hex | Encoding::Base64) => return Ok(()),
    };
    match encoding {
        Encoding::Raw => out.write_all(bytes),
        Encoding::Hex => bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
        Encoding::Base64 => out.write_all(STANDARD.encode(bytes).as_bytes()),
        Encoding::Json => Ok(serde_json::to_writer(out, &*String::from_utf8_lossy(bytes))?),
    }
}

/// As kcat does: `key=value` with commas between, `key=NULL` for those without a value.
fn write_headers(record: &Record<'_>, encoding: Encoding, out: &mut impl Write) -> io::Result<()> {
    for (index, (key, value)) in record.headers.clone().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        out.write_all(key)?;
        out.write_all(b"=")?;
        match value {
            None if encoding == Encoding::Raw => out.write_all(b"NULL")?,
            value => write_bytes(value, encoding, out)?,
        }
    }
    Ok(())
}

/// A time that no calendar has is shown as its number.
fn write_date(millis: i64, pattern: Option<&str>, out: &mut impl Write) -> io::Result<()> {
    let Ok(time) = Timestamp::from_millisecond(millis) else { return write!(out, "{millis}") };
    let Some(pattern) = pattern else { return write!(out, "{time:.3}") };
    let local = time.to_zoned_datetime(TimeZone::system());
    let mut text = String::new();
    match write!(text, "{}", local.strftime(pattern)) {
        Ok(()) => out.write_all(text.as_bytes()),
        Err(_) => write!(out, "{millis}"),
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::model::{Offset, UnixMillis};
    use crate::record::{BatchBuilder, visit_records};

    fn printed(format: &str) -> String {
        let mut builder = BatchBuilder::new();
        builder.base_offset(Offset(41));
        let headers = [("a", Some(&b"1"[..])), ("b", None)];
        builder.push_with_headers(UnixMillis(1_700_000_000_123), Some(b"ke\"y"), None, &headers);
        let batch = builder.build();
        let header = BatchHeader::parse(&batch).unwrap();
        let template = Template::parse(format).unwrap();
        let mut out = Vec::new();
        visit_records(&batch, |record| {
            let shown =
                Shown { topic: "orders", partition: 3, record: &record, batch: &header, number: 7 };
            write_record(&template, &shown, &mut out).unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_token_has_its_text() {
        for (format, text) in [
            ("%t[%p] %o %T", "orders[3] 41 1700000000123"),
            ("%k|%K|%s|%S", "ke\"y|4||-1"),
            ("%k{hex} %k{base64} %k{json} %s{json}", "6b652279 a2UieQ== \"ke\\\"y\" null"),
            ("%h %H", "a=1,b=NULL 2"),
            ("%d", "2023-11-14T22:13:20.123Z"),
            ("%x %y %e %a %i %t{len}", "-1 -1 -1 none 7 6"),
        ] {
            assert_eq!(printed(format), text, "{format}");
        }
    }
}
