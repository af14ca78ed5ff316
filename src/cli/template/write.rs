//! A record, printed by a format string.

use std::fmt::Write as _;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::parse::{Encoding, Number, NumberForm, Piece, Template};
use crate::model::Offset;
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
    pub(in crate::cli) count: u64,
    pub(in crate::cli) bounds: Bounds,
}

/// Where the partition of a record begins and ends; nobody looks unless a format shows it.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli) struct Bounds {
    pub(in crate::cli) log_start: Offset,
    pub(in crate::cli) last_stable: Offset,
    pub(in crate::cli) high_watermark: Offset,
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
            Piece::Value(encoding) => write_bytes(record.value, encoding, out)?,
            Piece::Key(encoding) => write_bytes(record.key, encoding, out)?,
            Piece::Headers(encoding) => write_headers(record, encoding, out)?,
            Piece::EachHeader(template) => {
                for (key, value) in record.headers.clone() {
                    let header = Record { key: Some(key), value, ..record.clone() };
                    write_record(template, &Shown { record: &header, ..*shown }, out)?;
                }
            }
            Piece::Topic => out.write_all(shown.topic.as_bytes())?,
            Piece::Number(number, form) => write_number(shown.number(*number), *form, out)?,
            Piece::Date(pattern) => write_date(record.timestamp.0, pattern.as_deref(), out)?,
            Piece::Compression => write!(out, "{}", shown.batch.compression())?,
        }
    }
    Ok(())
}

impl Shown<'_> {
    fn number(&self, number: Number) -> i64 {
        let (record, batch) = (self.record, self.batch);
        match number {
            Number::ValueLength => length(record.value),
            Number::KeyLength => length(record.key),
            Number::HeaderCount => saturated(record.headers.clone().count()),
            Number::TopicLength => saturated(self.topic.len()),
            Number::Partition => self.partition.into(),
            Number::Offset => record.offset.0,
            Number::LeaderEpoch => batch.partition_leader_epoch.0.into(),
            Number::Timestamp => record.timestamp.0,
            Number::ProducerId => batch.producer_id.0,
            Number::ProducerEpoch => batch.producer_epoch.0.into(),
            Number::Counter => saturated(self.count),
            Number::LogStart => self.bounds.log_start.0,
            Number::LastStableOffset => self.bounds.last_stable.0,
            Number::HighWatermark => self.bounds.high_watermark.0,
        }
    }
}

fn saturated(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn write_number(number: i64, form: NumberForm, out: &mut impl Write) -> io::Result<()> {
    match form {
        NumberForm::Decimal => write!(out, "{number}"),
        NumberForm::Bool => write!(out, "{}", number != 0),
        NumberForm::Hex(digits) => {
            let shown = number.cast_unsigned() & (u64::MAX >> (64 - 4 * u32::from(digits)));
            write!(out, "{shown:0width$x}", width = usize::from(digits))
        }
        NumberForm::Big(count) => {
            let bytes = number.to_be_bytes();
            out.write_all(&bytes[bytes.len() - usize::from(count)..])
        }
        NumberForm::Little(count) => out.write_all(&number.to_le_bytes()[..usize::from(count)]),
    }
}

fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| saturated(bytes.len()))
}

fn write_bytes(bytes: Option<&[u8]>, encoding: &Encoding, out: &mut impl Write) -> io::Result<()> {
    let bytes = match (bytes, encoding) {
        (Some(bytes), _) => bytes,
        (None, Encoding::Json) => return out.write_all(b"null"),
        (None, Encoding::Unpack(_)) => &[],
        (None, Encoding::Raw | Encoding::Hex | Encoding::Base64) => return Ok(()),
    };
    match encoding {
        Encoding::Raw => out.write_all(bytes),
        Encoding::Hex => bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
        Encoding::Base64 => out.write_all(STANDARD.encode(bytes).as_bytes()),
        Encoding::Json => Ok(serde_json::to_writer(out, &*String::from_utf8_lossy(bytes))?),
        Encoding::Unpack(layout) => layout.write(bytes, out),
    }
}

/// As kcat does: `key=value` with commas between, `key=NULL` for those without a value.
fn write_headers(record: &Record<'_>, encoding: &Encoding, out: &mut impl Write) -> io::Result<()> {
    for (index, (key, value)) in record.headers.clone().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        out.write_all(key)?;
        out.write_all(b"=")?;
        match value {
            None if *encoding == Encoding::Raw => out.write_all(b"NULL")?,
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
    use crate::model::UnixMillis;
    use crate::record::{BatchBuilder, visit_records};

    fn printed(format: &str) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.base_offset(Offset(41));
        let headers = [("a", Some(&b"1"[..])), ("b", None)];
        builder.push_with_headers(UnixMillis(1_700_000_000_123), Some(b"ke\"y"), None, &headers);
        let batch = builder.build();
        let header = BatchHeader::parse(&batch).unwrap();
        let template = Template::parse(format).unwrap();
        let mut out = Vec::new();
        let bounds = Bounds {
            log_start: Offset(40),
            last_stable: Offset(44),
            high_watermark: Offset(0x1_0203_0405),
        };
        visit_records(&batch, |record| {
            let shown = Shown {
                topic: "orders",
                partition: 3,
                record: &record,
                batch: &header,
                count: 7,
                bounds,
            };
            write_record(&template, &shown, &mut out).unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
        out
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
            ("%a{compression} %[ %| %]", "none 40 44 4328719365"),
            ("%h{<%k{hex}:%v:%S>}", "<61:1:1><62::-1>"),
            ("%]{hex64} %]{hex16} %[{hex4} %x{hex8}", "0000000102030405 0405 8 ff"),
            ("%[{bool} %p{ascii}", "true 3"),
            ("%k{unpack[>HBc$]} %s{unpack[b]}", "2749334y %!b(have 0 bytes, need 1)"),
            ("%h{%k=%v{unpack[c$]};}", "a=1;b=%!c(no bytes available);"),
        ] {
            assert_eq!(String::from_utf8(printed(format)).unwrap(), text, "{format}");
        }
    }

    #[test]
    fn numbers_are_bytes_of_either_order() {
        assert_eq!(printed("%]{big64}"), [0, 0, 0, 1, 2, 3, 4, 5]);
        assert_eq!(printed("%]{little32}%]{big16}"), [5, 4, 3, 2, 4, 5]);
        assert_eq!(printed("%p{byte}%R"), [3, 255, 255, 255, 255]);
    }
}
