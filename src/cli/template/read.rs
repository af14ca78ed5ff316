//! Lines that become records, by a format string.
//!
//! A format for input is tokens with text between them, such as `%k %s`: each token takes what stands before the text
//! that follows it, the last one the rest of the line. `%k`, `%s`, `%h`, `%T`, `%p` are understood; `{hex}` and `{base64}`
//! with them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::parse::{Encoding, Number, NumberForm, Piece, Template};

/// Takes lines apart.
#[derive(Clone, Debug)]
pub(in crate::cli) struct LineReader(Vec<Piece>);

/// What a line has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Fields {
    /// The topic that it is from, where that is told.
    pub(in crate::cli) topic: Option<String>,
    pub(in crate::cli) key: Option<Vec<u8>>,
    pub(in crate::cli) value: Option<Vec<u8>>,
    pub(in crate::cli) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(in crate::cli) timestamp: Option<i64>,
    pub(in crate::cli) partition: Option<i32>,
}

impl LineReader {
    /// # Errors
    /// In words, when the format has tokens that only records on their way out have, or two tokens without text between.
    pub(in crate::cli) fn new(template: &Template) -> Result<Self, String> {
        let mut pieces = template.0.clone();
        // The end of the line was cut off already.
        if let Some(Piece::Bytes(last)) = pieces.last_mut()
            && last.last() == Some(&b'\n')
        {
            last.pop();
            if last.is_empty() {
                pieces.pop();
            }
        }
        let is_bytes = |piece: &Piece| matches!(piece, Piece::Bytes(_));
        for piece in &pieces {
            let known = match piece {
                Piece::Value(encoding) | Piece::Key(encoding) => *encoding != Encoding::Json,
                Piece::Headers(encoding) => *encoding == Encoding::Raw,
                Piece::Bytes(_)
                | Piece::Number(Number::Timestamp | Number::Partition, NumberForm::Decimal) => true,
                Piece::EachHeader(_)
                | Piece::Topic
                | Piece::Number(..)
                | Piece::Date(_)
                | Piece::Compression => false,
            };
            if !known {
                return Err("a format for input knows %k, %s, %h, %T and %p".to_owned());
            }
        }
        if pieces.windows(2).any(|two| !two.iter().any(is_bytes)) {
            return Err("a format for input needs text between its tokens".to_owned());
        }
        Ok(Self(pieces))
    }

    /// Takes one line apart, which has no line end.
    ///
    /// # Errors
    /// In words, when it does not have the form.
    pub(in crate::cli) fn read(&self, line: &[u8]) -> Result<Fields, String> {
        let mut fields = Fields::default();
        let mut rest = line;
        for (index, piece) in self.0.iter().enumerate() {
            if let Piece::Bytes(text) = piece {
                rest = rest.strip_prefix(text.as_slice()).ok_or_else(|| missing(text))?;
                continue;
            }
            let taken = match self.0.get(index + 1) {
                Some(Piece::Bytes(text)) => {
                    let found = rest.windows(text.len()).position(|window| window == text);
                    rest.split_at(found.ok_or_else(|| missing(text))?)
                }
                Some(_) | None => (rest, &rest[rest.len()..]),
            };
            rest = taken.1;
            take(piece, taken.0, &mut fields)?;
        }
        if rest.is_empty() {
            Ok(fields)
        } else {
            Err("there is more behind the last token".to_owned())
        }
    }
}

fn take(piece: &Piece, bytes: &[u8], fields: &mut Fields) -> Result<(), String> {
    let text = || String::from_utf8_lossy(bytes).into_owned();
    match piece {
        Piece::Value(encoding) => fields.value = Some(decode(bytes, *encoding)?),
        Piece::Key(encoding) => fields.key = Some(decode(bytes, *encoding)?),
        Piece::Headers(_) => {
            for header in text().split(',').filter(|header| !header.is_empty()) {
                let (key, value) = header.split_once('=').unwrap_or((header, ""));
                let value = (value != "NULL").then(|| value.as_bytes().to_vec());
                fields.headers.push((key.to_owned(), value));
            }
        }
        Piece::Number(Number::Timestamp, _) => {
            let number = text().trim().parse();
            fields.timestamp = Some(number.map_err(|_| format!("'{}' is no timestamp", text()))?);
        }
        Piece::Number(Number::Partition, _) => {
            let number = text().trim().parse();
            fields.partition = Some(number.map_err(|_| format!("'{}' is no partition", text()))?);
        }
        // These are not in a format for input.
        Piece::Bytes(_)
        | Piece::EachHeader(_)
        | Piece::Topic
        | Piece::Number(..)
        | Piece::Date(_)
        | Piece::Compression => {}
    }
    Ok(())
}

fn decode(bytes: &[u8], encoding: Encoding) -> Result<Vec<u8>, String> {
    match encoding {
        Encoding::Raw | Encoding::Json => Ok(bytes.to_vec()),
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

fn missing(text: &[u8]) -> String {
    format!("'{}' is missing", String::from_utf8_lossy(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str, line: &str) -> Result<Fields, String> {
        LineReader::new(&Template::parse(format).unwrap())?.read(line.as_bytes())
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
    }

    #[test]
    fn lines_of_another_form_are_refused() {
        for (format, line) in
            [("%k:%s", "no colon"), ("%s{hex}", "abc"), ("%p %s", "x y"), ("%k|", "a|b")]
        {
            assert!(read(format, line).is_err(), "{format} {line}");
        }
        for format in ["%o %s", "%k%s", "%s{json}"] {
            assert!(LineReader::new(&Template::parse(format).unwrap()).is_err(), "{format}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_key_and_a_value_come_back(key in "[a-z ]{0,8}", value in ".{0,12}") {
            let fields = read("%k:%s", &format!("{key}:{value}")).unwrap();
            assert_eq!(fields.key.unwrap(), key.as_bytes());
            assert_eq!(fields.value.unwrap(), value.as_bytes());
        }
    }
}
