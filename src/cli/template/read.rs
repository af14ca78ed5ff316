//! Text and bytes that become records, by the format string by which they were printed.
//!
//! A format without sizes is of lines: each token takes what stands before the text that follows it, the last one the rest of the
//! line, and a line ends with the text at the end of the format. With a size (`%R`, `%S`, `%K`, `%H`, `%t{len}`) the bytes that
//! follow are taken by their number, whatever they are, and a record ends where the format does. A size is that of the bytes
//! themselves, also where they are written as hex or base64; -1, or as many ones as there is room for, means none.
//!
//! What only a broker can say of a record, and what is not said in full, is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::parse::{Encoding, Number, NumberForm, Piece, Template};
use crate::cli::input::{Delimiter, Input};

/// Reads records by a format.
#[derive(Clone, Debug)]
pub(in crate::cli) struct RecordReader {
    steps: Vec<Step>,
    /// What a line ends with; none where sizes say where a record ends.
    line_end: Option<Vec<u8>>,
}

/// Names and values, which may be none.
type Headers = Vec<(String, Option<Vec<u8>>)>;

/// What a record says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Fields {
    /// The topic that it is from, where that is told.
    pub(in crate::cli) topic: Option<String>,
    pub(in crate::cli) key: Option<Vec<u8>>,
    pub(in crate::cli) value: Option<Vec<u8>>,
    pub(in crate::cli) headers: Headers,
    pub(in crate::cli) timestamp: Option<i64>,
    pub(in crate::cli) partition: Option<i32>,
}

/// One piece of a format, and where it ends.
#[derive(Clone, Debug)]
enum Step {
    Text(Vec<u8>),
    Number(Number, NumberForm, Stop),
    Date(Stop),
    Key(Encoding, Stop),
    Value(Encoding, Stop),
    Topic(Stop),
    Headers(Encoding, Stop),
    /// As many as was said before, or until it stops.
    EachHeader(Vec<Self>, Stop),
}

/// Where a piece ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stop {
    /// Its own form says so, or a size before it.
    Itself,
    /// Before this text.
    Text(Vec<u8>),
    /// At the end of the line.
    Line,
}

/// Why there is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// More bytes may help; if no more come, this is wrong.
    Short(String),
    Wrong(String),
}

impl RecordReader {
    /// What stands between lines is `line_end`, if it is given; else what the format ends with, or the end of a line.
    ///
    /// # Errors
    /// In words, when the format has something that cannot be read back, or does not say where it ends.
    pub(in crate::cli) fn new(
        template: &Template,
        line_end: Option<&[u8]>,
    ) -> Result<Self, String> {
        let mut pieces = template.0.clone();
        if has_sizes(template) {
            if line_end.is_some() {
                let words = "a format with sizes says itself where a record ends: write what stands between records at its end";
                return Err(words.to_owned());
            }
            return Ok(Self { steps: steps_of(&pieces, false)?, line_end: None });
        }
        let last = match pieces.last_mut() {
            Some(Piece::Bytes(last)) => Some(last),
            Some(_) | None => None,
        };
        let line_end = match (line_end, last) {
            (None, Some(last)) => std::mem::take(last),
            (None, None) => b"\n".to_vec(),
            (Some(line_end), last) => {
                if let Some(last) = last.filter(|last| last.ends_with(line_end)) {
                    last.truncate(last.len() - line_end.len());
                }
                line_end.to_vec()
            }
        };
        pieces.retain(|piece| !matches!(piece, Piece::Bytes(text) if text.is_empty()));
        Ok(Self { steps: steps_of(&pieces, true)?, line_end: Some(line_end) })
    }

    /// What input is cut at for [`take`](Self::take).
    pub(in crate::cli) fn delimiter(&self) -> Delimiter {
        // Sizes do not need one.
        Delimiter(self.line_end.clone().unwrap_or_else(|| b"\n".to_vec()))
    }

    /// What it takes from input, one by one.
    pub(in crate::cli) const fn unit(&self) -> &'static str {
        if self.line_end.is_some() { "line" } else { "record" }
    }

    /// The next record of the input, if it is there without waiting; or in words why there is none.
    pub(in crate::cli) fn take(&self, input: &mut Input) -> Option<Result<Fields, String>> {
        if self.line_end.is_some() {
            return Some(self.read(&input.take()?));
        }
        let (bytes, all) = input.held();
        if bytes.is_empty() {
            return None;
        }
        let (fields, used) = match self.read_sized(bytes, all) {
            Ok(found) => found?,
            Err(words) => return Some(Err(words)),
        };
        input.advance(used);
        Some(Ok(fields))
    }

    /// Takes one line apart, which has no line end.
    fn read(&self, line: &[u8]) -> Result<Fields, String> {
        match self.read_steps(line, true) {
            Ok((fields, [])) => Ok(fields),
            Ok(_) => Err("there is more behind the last token".to_owned()),
            Err(Trouble::Short(words) | Trouble::Wrong(words)) => Err(words),
        }
    }

    /// Takes a record from the start of `bytes`, and says how many bytes it has; none if it has more than are there, which is
    /// wrong if they are `all`.
    fn read_sized(&self, bytes: &[u8], all: bool) -> Result<Option<(Fields, usize)>, String> {
        match self.read_steps(bytes, all) {
            Ok((fields, rest)) => Ok(Some((fields, bytes.len() - rest.len()))),
            Err(Trouble::Short(_)) if !all => Ok(None),
            Err(Trouble::Short(words) | Trouble::Wrong(words)) => Err(words),
        }
    }

    fn read_steps<'a>(&self, bytes: &'a [u8], all: bool) -> Result<(Fields, &'a [u8]), Trouble> {
        let mut reading = Reading { rest: bytes, all, ..Reading::default() };
        reading.run(&self.steps)?;
        Ok((reading.fields, reading.rest))
    }
}

/// Whether a format says how many bytes there are of something, or has numbers as bytes, which may look like the end of a line.
fn has_sizes(template: &Template) -> bool {
    template.0.iter().any(|piece| match piece {
        Piece::Number(number, form) => size_of(*number).is_some() || is_fixed(*form),
        Piece::EachHeader(inner) => has_sizes(inner),
        Piece::Bytes(_)
        | Piece::Value(_)
        | Piece::Key(_)
        | Piece::Headers(_)
        | Piece::Topic
        | Piece::Date(_)
        | Piece::Compression => false,
    })
}

const fn is_fixed(form: NumberForm) -> bool {
    matches!(form, NumberForm::Hex(_) | NumberForm::Big(_) | NumberForm::Little(_))
}

/// The token that a number is the size of.
const fn size_of(number: Number) -> Option<&'static str> {
    match number {
        Number::ValueLength => Some("%s"),
        Number::KeyLength => Some("%k"),
        Number::HeaderCount => Some("%h"),
        Number::TopicLength => Some("%t"),
        Number::Partition
        | Number::Offset
        | Number::LeaderEpoch
        | Number::Timestamp
        | Number::ProducerId
        | Number::ProducerEpoch
        | Number::Counter
        | Number::LogStart
        | Number::LastStableOffset
        | Number::HighWatermark => None,
    }
}

/// The steps of a format that is `of_lines`, or of one header in it.
fn steps_of(pieces: &[Piece], of_lines: bool) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let sized = |token: &str| {
            pieces[..index].iter().any(
                |piece| matches!(piece, Piece::Number(number, _) if size_of(*number) == Some(token)),
            )
        };
        let stop = |is_bounded: bool| match pieces.get(index + 1) {
            _ if is_bounded => Ok(Stop::Itself),
            Some(Piece::Bytes(text)) => Ok(Stop::Text(text.clone())),
            None if of_lines => Ok(Stop::Line),
            Some(_) | None => {
                Err("a format for input needs text, or a size before it, where a token ends")
            }
        };
        // A string of JSON says where it ends.
        let is_json = |encoding: &Encoding| *encoding == Encoding::Json;
        steps.push(match piece {
            Piece::Bytes(text) => Step::Text(text.clone()),
            Piece::Key(encoding) => {
                Step::Key(readable(encoding)?, stop(sized("%k") || is_json(encoding))?)
            }
            Piece::Value(encoding) => {
                Step::Value(readable(encoding)?, stop(sized("%s") || is_json(encoding))?)
            }
            Piece::Topic => Step::Topic(stop(sized("%t"))?),
            Piece::Headers(encoding) => Step::Headers(readable(encoding)?, stop(false)?),
            Piece::EachHeader(inner) => {
                let counted = sized("%h");
                if has_sizes(inner) && !counted {
                    return Err("%h{…} with sizes needs %H before it".to_owned());
                }
                Step::EachHeader(steps_of_header(inner)?, stop(counted)?)
            }
            Piece::Number(number, form) => {
                check_number(*number, *form, &pieces[index + 1..])?;
                Step::Number(*number, *form, stop(is_fixed(*form))?)
            }
            Piece::Date(None) => Step::Date(stop(false)?),
            Piece::Date(Some(_)) => {
                return Err("%d{strftime[…]} does not say all of a time: %T and %d do".to_owned());
            }
            Piece::Compression => return Err(decided("compression")),
        });
    }
    Ok(steps)
}

fn steps_of_header(inner: &Template) -> Result<Vec<Step>, String> {
    let is_known = |piece: &Piece| match piece {
        Piece::Bytes(_) | Piece::Key(_) | Piece::Value(_) => true,
        Piece::Number(number, _) => matches!(number, Number::KeyLength | Number::ValueLength),
        Piece::Headers(_)
        | Piece::EachHeader(_)
        | Piece::Topic
        | Piece::Date(_)
        | Piece::Compression => false,
    };
    let has_key = inner.0.iter().any(|piece| matches!(piece, Piece::Key(_)));
    if !has_key || !inner.0.iter().all(is_known) {
        return Err("of a header, a format for input knows %k, %s and their sizes".to_owned());
    }
    steps_of(&inner.0, false)
}

fn readable(encoding: &Encoding) -> Result<Encoding, String> {
    match encoding {
        Encoding::Unpack(_) => Err("{unpack[…]} cannot be read back: {hex} can".to_owned()),
        Encoding::Raw | Encoding::Hex | Encoding::Base64 | Encoding::Json => Ok(encoding.clone()),
    }
}

fn check_number(number: Number, form: NumberForm, behind: &[Piece]) -> Result<(), String> {
    if form == NumberForm::Bool {
        return Err("{bool} cannot be read back: it does not say which number it was".to_owned());
    }
    let is_followed = behind.iter().any(|piece| match piece {
        Piece::Value(_) => number == Number::ValueLength,
        Piece::Key(_) => number == Number::KeyLength,
        Piece::Topic => number == Number::TopicLength,
        Piece::Headers(_) | Piece::EachHeader(_) => number == Number::HeaderCount,
        Piece::Bytes(_) | Piece::Number(..) | Piece::Date(_) | Piece::Compression => false,
    });
    match number {
        Number::ValueLength | Number::KeyLength | Number::HeaderCount | Number::TopicLength => {
            let token = size_of(number).unwrap_or_default();
            let words = format!("a format for input has a size that no {token} follows");
            if is_followed { Ok(()) } else { Err(words) }
        }
        Number::Partition => Ok(()),
        Number::Timestamp => match form {
            NumberForm::Decimal
            | NumberForm::Hex(16)
            | NumberForm::Big(8)
            | NumberForm::Little(8) => Ok(()),
            NumberForm::Hex(_) | NumberForm::Big(_) | NumberForm::Little(_) | NumberForm::Bool => {
                Err("a timestamp needs 64 bits to be read back".to_owned())
            }
        },
        Number::Offset => Err(decided("offset (%o)")),
        Number::LeaderEpoch => Err(decided("leader epoch (%e)")),
        Number::ProducerId | Number::ProducerEpoch => Err(decided("producer (%x, %y)")),
        Number::Counter => Err(decided("number (%i)")),
        Number::LogStart | Number::LastStableOffset | Number::HighWatermark => {
            Err(decided("partition's bounds (%[, %|, %])"))
        }
    }
}

fn decided(what: &str) -> String {
    format!(
        "a format for input cannot have the {what}: it is not the record's own. It knows %k, %s, %h, %T, %d, %p, %t and the sizes"
    )
}

/// What is left of the bytes, and what they have said.
#[derive(Debug, Default)]
struct Reading<'a> {
    rest: &'a [u8],
    /// Nothing comes behind them.
    all: bool,
    sizes: Sizes,
    fields: Fields,
}

/// The last sizes that were said.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    value: Option<i64>,
    key: Option<i64>,
    topic: Option<i64>,
    headers: Option<i64>,
}

impl<'a> Reading<'a> {
    fn run(&mut self, steps: &[Step]) -> Result<(), Trouble> {
        for (index, step) in steps.iter().enumerate() {
            match step {
                // What stands between records may be missing behind the last one.
                Step::Text(_) if self.all && self.rest.is_empty() && index + 1 == steps.len() => {}
                Step::Text(text) => self.text(text)?,
                Step::Key(encoding, stop) => {
                    self.fields.key = self.bytes(encoding, stop, self.sizes.key)?;
                }
                Step::Value(encoding, stop) => {
                    self.fields.value = self.bytes(encoding, stop, self.sizes.value)?;
                }
                Step::Topic(stop) => {
                    let name = self.bytes(&Encoding::Raw, stop, self.sizes.topic)?;
                    self.fields.topic = name.map(|name| lossy(&name));
                }
                Step::Headers(encoding, stop) => {
                    let list = self.slice(stop)?;
                    self.fields
                        .headers
                        .extend(header_list(list, encoding).map_err(Trouble::Wrong)?);
                }
                Step::EachHeader(steps, stop) => self.each_header(steps, stop)?,
                Step::Date(stop) => {
                    let text = lossy(self.slice(stop)?);
                    let time = text.trim().parse::<Timestamp>().map(Timestamp::as_millisecond);
                    // A time that no calendar has is printed as its number.
                    let time = time.or_else(|_| text.trim().parse());
                    let wrong = |_| Trouble::Wrong(format!("'{text}' is no time"));
                    self.fields.timestamp = Some(time.map_err(wrong)?);
                }
                Step::Number(number, form, stop) => self.number(*number, *form, stop)?,
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8]) -> Result<(), Trouble> {
        if let Some(rest) = self.rest.strip_prefix(text) {
            self.rest = rest;
            return Ok(());
        }
        let words = missing(text);
        Err(if text.starts_with(self.rest) { Trouble::Short(words) } else { Trouble::Wrong(words) })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Trouble> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            let there = self.rest.len();
            return Err(Trouble::Short(format!("{count} bytes are due, and {there} are there")));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// What stands before the stop.
    fn slice(&mut self, stop: &Stop) -> Result<&'a [u8], Trouble> {
        match stop {
            Stop::Text(text) => {
                let found = self.rest.windows(text.len()).position(|window| window == text);
                self.take(found.ok_or_else(|| Trouble::Short(missing(text)))?)
            }
            Stop::Itself | Stop::Line => self.take(self.rest.len()),
        }
    }

    fn bytes(
        &mut self,
        encoding: &Encoding,
        stop: &Stop,
        size: Option<i64>,
    ) -> Result<Option<Vec<u8>>, Trouble> {
        if *encoding == Encoding::Json {
            return self.json();
        }
        let Some(size) = size.filter(|_| *stop == Stop::Itself) else {
            return decode(self.slice(stop)?, encoding).map(Some).map_err(Trouble::Wrong);
        };
        if size == -1 {
            return Ok(None);
        }
        let wrong = || Trouble::Wrong(format!("{size} is no size"));
        let size = usize::try_from(size).ok().filter(|size| *size <= SIZE_MAX).ok_or_else(wrong)?;
        let taken = self.take(match encoding {
            Encoding::Hex => 2 * size,
            Encoding::Base64 => size.div_ceil(3) * 4,
            Encoding::Raw | Encoding::Json | Encoding::Unpack(_) => size,
        })?;
        let decoded = decode(taken, encoding).map_err(Trouble::Wrong)?;
        if decoded.len() != size {
            return Err(Trouble::Wrong(format!("{} bytes are not {size}", decoded.len())));
        }
        Ok(Some(decoded))
    }

    /// A string of JSON, or null.
    fn json(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        let words = "a string of JSON is missing";
        if b"null".starts_with(self.rest) || self.rest.starts_with(b"null") {
            return self.text(b"null").map(|()| None);
        }
        let mut strings = serde_json::Deserializer::from_slice(self.rest).into_iter::<String>();
        match strings.next() {
            Some(Ok(string)) => {
                self.rest = &self.rest[strings.byte_offset()..];
                Ok(Some(string.into_bytes()))
            }
            Some(Err(error)) if !error.is_eof() => Err(Trouble::Wrong(format!("{words}: {error}"))),
            Some(Err(_)) | None => Err(Trouble::Short(words.to_owned())),
        }
    }

    fn number(&mut self, number: Number, form: NumberForm, stop: &Stop) -> Result<(), Trouble> {
        let is_negative_one = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0xff);
        let push = |number: i64, byte: &u8| number << 8 | i64::from(*byte);
        let read = match form {
            NumberForm::Decimal | NumberForm::Bool => {
                let text = lossy(self.slice(stop)?);
                text.trim().parse().map_err(|_| wrong_number(number, &text))?
            }
            NumberForm::Hex(digits) => {
                let text = lossy(self.take(usize::from(digits))?);
                let read = u64::from_str_radix(&text, 16);
                let read = read.map_err(|_| wrong_number(number, &text))?.cast_signed();
                if text.bytes().all(|digit| digit.eq_ignore_ascii_case(&b'f')) { -1 } else { read }
            }
            NumberForm::Big(count) => {
                let bytes = self.take(usize::from(count))?;
                if is_negative_one(bytes) { -1 } else { bytes.iter().fold(0, push) }
            }
            NumberForm::Little(count) => {
                let bytes = self.take(usize::from(count))?;
                if is_negative_one(bytes) { -1 } else { bytes.iter().rev().fold(0, push) }
            }
        };
        match number {
            Number::ValueLength => self.sizes.value = Some(read),
            Number::KeyLength => self.sizes.key = Some(read),
            Number::TopicLength => self.sizes.topic = Some(read),
            Number::HeaderCount => self.sizes.headers = Some(read),
            Number::Timestamp => self.fields.timestamp = Some(read),
            Number::Partition => {
                let partition = i32::try_from(read);
                let wrong = |_| wrong_number(number, &read.to_string());
                self.fields.partition = Some(partition.map_err(wrong)?);
            }
            // These are in no format for input.
            Number::Offset
            | Number::LeaderEpoch
            | Number::ProducerId
            | Number::ProducerEpoch
            | Number::Counter
            | Number::LogStart
            | Number::LastStableOffset
            | Number::HighWatermark => {}
        }
        Ok(())
    }

    fn each_header(&mut self, steps: &[Step], stop: &Stop) -> Result<(), Trouble> {
        if let (Stop::Itself, Some(count)) = (stop, self.sizes.headers) {
            for _ in 0..count {
                self.header(steps)?;
            }
            return Ok(());
        }
        let mut list = Reading { rest: self.slice(stop)?, all: true, ..Reading::default() };
        while !list.rest.is_empty() {
            // What is missing in the list does not come behind it.
            list.header(steps).map_err(|trouble| match trouble {
                Trouble::Short(words) | Trouble::Wrong(words) => Trouble::Wrong(words),
            })?;
        }
        self.fields.headers.append(&mut list.fields.headers);
        Ok(())
    }

    fn header(&mut self, steps: &[Step]) -> Result<(), Trouble> {
        let mut one = Reading { rest: self.rest, all: false, ..Reading::default() };
        one.run(steps)?;
        self.rest = one.rest;
        let name = lossy(&one.fields.key.unwrap_or_default());
        self.fields.headers.push((name, one.fields.value));
        Ok(())
    }
}

/// `a=1,b=2`; as kcat prints it, `NULL` is none where values are plain.
fn header_list(list: &[u8], encoding: &Encoding) -> Result<Headers, String> {
    let mut headers = Vec::new();
    let mut reading = Reading { rest: list, all: true, ..Reading::default() };
    while !reading.rest.is_empty() {
        let (name, value) = if *encoding == Encoding::Json {
            let ended = |trouble| match trouble {
                Trouble::Short(words) | Trouble::Wrong(words) => words,
            };
            let name = reading.slice(&Stop::Text(b"=".to_vec())).map_err(ended)?;
            reading.take(1).map_err(ended)?;
            let value = reading.json().map_err(ended)?;
            if !reading.rest.is_empty() {
                reading.text(b",").map_err(ended)?;
            }
            (lossy(name), value)
        } else {
            let end = reading.rest.iter().position(|byte| *byte == b',');
            let (header, rest) = reading.rest.split_at(end.unwrap_or(reading.rest.len()));
            reading.rest = rest.get(1..).unwrap_or_default();
            if header.is_empty() {
                continue;
            }
            let equals = header.iter().position(|byte| *byte == b'=').unwrap_or(header.len());
            let value = header.get(equals + 1..).unwrap_or_default();
            let is_none = *encoding == Encoding::Raw && value == b"NULL";
            let value = if is_none { None } else { Some(decode(value, encoding)?) };
            (lossy(&header[..equals]), value)
        };
        headers.push((name, value));
    }
    Ok(headers)
}

fn decode(bytes: &[u8], encoding: &Encoding) -> Result<Vec<u8>, String> {
    match encoding {
        Encoding::Raw | Encoding::Json | Encoding::Unpack(_) => Ok(bytes.to_vec()),
        Encoding::Base64 => STANDARD.decode(bytes).map_err(|error| format!("not base64: {error}")),
        Encoding::Hex => {
            let (pairs, rest) = bytes.as_chunks::<2>();
            let byte = |pair: &[u8; 2]| {
                let text = std::str::from_utf8(pair).ok()?;
                u8::from_str_radix(text, 16).ok()
            };
            let decoded: Option<Vec<u8>> = pairs.iter().map(byte).collect();
            decoded.filter(|_| rest.is_empty()).ok_or_else(|| "not hex".to_owned())
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn missing(text: &[u8]) -> String {
    format!("'{}' is missing", lossy(text))
}

fn wrong_number(number: Number, text: &str) -> Trouble {
    let what = match number {
        Number::Timestamp => "timestamp",
        Number::Partition => "partition",
        Number::ValueLength | Number::KeyLength | Number::HeaderCount | Number::TopicLength => {
            "size"
        }
        Number::Offset
        | Number::LeaderEpoch
        | Number::ProducerId
        | Number::ProducerEpoch
        | Number::Counter
        | Number::LogStart
        | Number::LastStableOffset
        | Number::HighWatermark => "number",
    };
    Trouble::Wrong(format!("'{text}' is no {what}"))
}

/// The largest size that is believed.
const SIZE_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use proptest::collection::vec;
    use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_assert_eq, proptest};
    use proptest::{option, prop_oneof};

    use super::*;
    use crate::cli::template::{Bounds, Shown, write_record};
    use crate::model::UnixMillis;
    use crate::record::{BatchBuilder, BatchHeader, visit_records};

    fn reader(format: &str, line_end: Option<&[u8]>) -> Result<RecordReader, String> {
        RecordReader::new(&Template::parse(format).unwrap(), line_end)
    }

    fn read(format: &str, line: &str) -> Result<Fields, String> {
        reader(format, None)?.read(line.as_bytes())
    }

    /// All records that are in these bytes, which come one by one if `slowly`.
    fn read_all(format: &str, bytes: &[u8], slowly: bool) -> Vec<Fields> {
        let reader = reader(format, None).unwrap();
        let mut all = Vec::new();
        if let Some(end) = reader.line_end.as_deref() {
            let mut rest = bytes;
            while let Some(at) = rest.windows(end.len()).position(|window| window == end) {
                all.push(reader.read(&rest[..at]).unwrap());
                rest = &rest[at + end.len()..];
            }
            return all;
        }
        let (mut from, mut until) = (0, if slowly { 0 } else { bytes.len() });
        while from < bytes.len() {
            let is_all = until == bytes.len();
            match reader.read_sized(&bytes[from..until], is_all).unwrap() {
                Some((fields, used)) => {
                    all.push(fields);
                    from += used;
                }
                None => until += 1,
            }
        }
        all
    }

    fn written(format: &str, record: &Fields) -> Vec<u8> {
        let headers: Vec<_> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let mut builder = BatchBuilder::new();
        let time = UnixMillis(record.timestamp.unwrap());
        builder.push_with_headers(time, record.key.as_deref(), record.value.as_deref(), &headers);
        let batch = builder.build();
        let header = BatchHeader::parse(&batch).unwrap();
        let template = Template::parse(format).unwrap();
        let mut out = Vec::new();
        visit_records(&batch, |record_shown| {
            let shown = Shown {
                topic: record.topic.as_deref().unwrap(),
                partition: record.partition.unwrap(),
                record: &record_shown,
                batch: &header,
                count: 1,
                bounds: Bounds::default(),
            };
            write_record(&template, &shown, &mut out).unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
        out
    }

    #[test]
    fn lines_are_taken_apart() {
        let fields = read("%p/%T %k: %s\\n", "2/17 a b: c: d").unwrap();
        assert_eq!((fields.partition, fields.timestamp), (Some(2), Some(17)));
        assert_eq!((fields.key.unwrap(), fields.value.unwrap()), (b"a b".into(), b"c: d".into()));
        let fields = read("%k{hex} %s{base64}", "6162 Yw==").unwrap();
        assert_eq!((fields.key.unwrap(), fields.value.unwrap()), (b"ab".into(), b"c".into()));
        let fields = read("%h|%s", "a=1,b=NULL|v").unwrap();
        assert_eq!(fields.headers, [("a".into(), Some(b"1".to_vec())), ("b".into(), None)]);
        let fields = read("%d %k{json}%s{json}", "2023-11-14T22:13:20.123Z \"a\\n\"null").unwrap();
        assert_eq!(
            (fields.timestamp, fields.key.unwrap()),
            (Some(1_700_000_000_123), b"a\n".into())
        );
        assert_eq!(fields.value, None);
    }

    #[test]
    fn a_line_ends_as_the_format_does() {
        let end = |format: &str, given: Option<&[u8]>| reader(format, given).unwrap().line_end;
        assert_eq!(end("%k:%s", None).unwrap(), b"\n");
        assert_eq!(end("%k:%s\\n", None).unwrap(), b"\n");
        assert_eq!(end("%k:%s;\\0", None).unwrap(), b";\0");
        assert_eq!(end("%k:%s\\n", Some(b"|")).unwrap(), b"|");
        assert_eq!(end("%R%s", None), None);
        let given = reader("%k:%s;|", Some(b"|")).unwrap().read(b"a:b;").unwrap();
        assert_eq!(given.value.unwrap(), b"b");
    }

    #[test]
    fn sizes_say_where_bytes_end() {
        let all = read_all("%R%s", b"\0\0\0\x02a\n\xff\xff\xff\xff\0\0\0\0", true);
        let values: Vec<_> = all.into_iter().map(|fields| fields.value).collect();
        assert_eq!(values, [Some(b"a\n".to_vec()), None, Some(Vec::new())]);
        let all = read_all("%K %S %k%s{hex}\\n", b"1 1 a62\n-1 0 \n2 -1 a\n", false);
        let pairs: Vec<_> = all.into_iter().map(|fields| (fields.key, fields.value)).collect();
        assert_eq!(
            pairs,
            [
                (Some(b"a".to_vec()), Some(b"b".to_vec())),
                (None, Some(Vec::new())),
                (Some(b"a\n".to_vec()), None)
            ]
        );
    }

    #[test]
    fn what_has_another_form_is_refused() {
        for (format, line) in [
            ("%k:%s", "no colon"),
            ("%s{hex}", "abc"),
            ("%p %s", "x y"),
            ("%k|%s", "a"),
            ("%s{json}", "text"),
            ("%s{json}", "\"a\" b"),
            ("%h{%k=%v;}", "a=1"),
            ("%d %s", "today x"),
        ] {
            assert!(read(format, line).is_err(), "{format} {line}");
        }
        let sized =
            |bytes: &[u8]| reader("%K{byte}%S{byte}%k%s", None).unwrap().read_sized(bytes, true);
        assert!(sized(b"\x01\x01a").unwrap_err().contains("1 bytes are due"));
        let bounded = reader("%S{big64}%s", None).unwrap();
        assert!(bounded.read_sized(b"\0\xff\xff\xff\xff\xff\xff\xff", false).is_err());
        assert!(bounded.read_sized(b"\xff\xff\xff\xff\xff\xff\xff\xfe", false).is_err());
    }

    #[test]
    fn formats_that_cannot_be_read_back_are_refused() {
        for (format, words) in [
            ("%o %s", "the offset (%o)"),
            ("%a %s", "compression"),
            ("%x %s", "producer"),
            ("%k%s", "needs text, or a size"),
            ("%K%S%k%s", "needs text, or a size"),
            ("%S %k\\n", "a size that no %s follows"),
            ("%s %S\\n", "a size that no %s follows"),
            ("%s{unpack[i]}", "cannot be read back"),
            ("%d{strftime[%F]} %s", "does not say all"),
            ("%p{bool} %s", "does not say which number"),
            ("%T{big32} %s\\n", "needs 64 bits"),
            ("%h{%K{byte}%k%v;} %s", "needs %H"),
            ("%h{%k=%v} %s", "needs text, or a size"),
            ("%h{%T;} %s", "of a header"),
        ] {
            let error = reader(format, None).unwrap_err();
            assert!(error.contains(words), "{format}: {error}");
        }
        assert!(reader("%R%s", Some(b"\n")).unwrap_err().contains("says itself"));
    }

    /// A piece of a format with what records may have there.
    #[derive(Clone, Debug)]
    struct Part {
        format: String,
        text: Option<Vec<u8>>,
    }

    fn part(
        formats: Vec<&str>,
        text: impl Strategy<Value = Option<Vec<u8>>> + 'static,
    ) -> BoxedStrategy<Part> {
        let formats: Vec<String> = formats.into_iter().map(str::to_owned).collect();
        (proptest::sample::select(formats), text)
            .prop_map(|(format, text)| Part { format, text })
            .boxed()
    }

    /// A key or a value: what is plain has no text of the format within, what has a size has anything.
    fn bytes_part(token: &str, size: &str) -> BoxedStrategy<Part> {
        let owned = |suffixes: &[&str]| {
            suffixes.iter().map(|suffix| format!("%{token}{suffix}")).collect::<Vec<_>>()
        };
        let encodings = owned(&["", "{hex}", "{base64}"]);
        let forms = [
            "{big32}",
            "{little32}",
            "{big16}",
            "{little16}",
            "{hex32}",
            "{hex16}",
            "{big64}",
            "{byte}",
            "|",
            "{ascii} ",
        ];
        let sized: Vec<String> = forms
            .iter()
            .flat_map(|form| encodings.iter().map(move |token| format!("%{size}{form}{token}")))
            .collect();
        let refs = |all: &[String]| {
            all.iter()
                .map(|one| -> &str { Box::leak(one.clone().into_boxed_str()) })
                .collect::<Vec<_>>()
        };
        prop_oneof![
            part(refs(&owned(&[""])), "[a-z]{0,6}".prop_map(|text| Some(text.into_bytes()))),
            part(refs(&owned(&["{hex}", "{base64}"])), vec(any::<u8>(), 0..9).prop_map(Some)),
            part(
                refs(&owned(&["{json}"])),
                option::of("[^|/;]{0,8}").prop_map(|text| text.map(String::into_bytes))
            ),
            part(refs(&sized), option::of(vec(any::<u8>(), 0..9))),
        ]
        .boxed()
    }

    fn headers_part() -> BoxedStrategy<(String, Headers)> {
        let plain =
            || vec(("[a-z]{1,3}", "[a-z]{0,3}".prop_map(|text| Some(text.into_bytes()))), 0..3);
        let free = || vec((any::<String>(), option::of(vec(any::<u8>(), 0..5))), 0..3);
        let coded = || vec(("[a-z]{1,3}", vec(any::<u8>(), 0..5).prop_map(Some)), 0..3);
        prop_oneof![
            (Just("%h".to_owned()), plain()),
            (Just("%h{hex}".to_owned()), coded()),
            (Just("%h{%k=%v;}".to_owned()), plain()),
            (Just("%H %h{%k=%v;}".to_owned()), plain()),
            (Just("%h{%k: %v{base64}, }".to_owned()), coded()),
            (Just("%H{big16}%h{%K{big16}%V{big32}%k%v}".to_owned()), free()),
            (Just("%H %h{%k{json}%V{byte}%v{hex}}".to_owned()), free()),
        ]
        .boxed()
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(
            key in bytes_part("k", "K"),
            value in prop_oneof![bytes_part("s", "S"), part(vec!["%R%s", "%R%v{hex}"], option::of(vec(any::<u8>(), 0..9)))],
            (header_format, headers) in headers_part(),
            timestamp in 0..i64::MAX / 1_000_000,
            partition in 0..255,
            forms in (
                proptest::sample::select(vec!["%T", "%d", "%T{big64}", "%T{little64}", "%T{hex64}"]),
                proptest::sample::select(vec!["%p", "%p{big32}", "%p{hex16}", "%p{byte}"]),
                proptest::sample::select(vec!["%t", "%t{len} %t"]),
                proptest::sample::select(vec!["|", "; ", "\\t", "\\n", "\\0\\x01"]),
            ),
            order in Just(vec![0, 1, 2, 3, 4, 5]).prop_shuffle(),
            end in proptest::sample::select(vec!["\\n", "/", "\\r\\n"]),
            slowly in any::<bool>(),
        ) {
            let (time, index, topic, between) = forms;
            let pieces = [&key.format, &value.format, &header_format, time, index, topic];
            let pieces: Vec<&str> = order.iter().map(|at: &usize| pieces[*at]).collect();
            // An empty token between two ends of lines would look like the end of a record.
            let between = if end == "\\n" && between == "\\n" { "|" } else { between };
            let format = pieces.join(between) + between + end;
            let record = Fields {
                topic: Some("orders".to_owned()),
                key: key.text,
                value: value.text,
                headers,
                timestamp: Some(timestamp),
                partition: Some(partition),
            };
            let other = Fields { timestamp: Some(0), partition: Some(0), ..record.clone() };
            let mut bytes = written(&format, &record);
            bytes.extend(written(&format, &other));
            prop_assert_eq!(read_all(&format, &bytes, slowly), [record, other], "{}", format);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..40), all in any::<bool>()) {
            for format in ["%R%s", "%K %S %k%s{base64}\\n", "%H{byte}%h{%K{byte}%k%v{json}}%s{json}", "%T{hex64}%p{byte}%k|"] {
                drop(reader(format, None).unwrap().read_sized(&bytes, all));
            }
            drop(reader("%d|%h{json}|%s{json}", None).unwrap().read(&bytes));
        }
    }
}
