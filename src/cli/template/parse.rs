//! From the text of a format string to its pieces.

use super::unpack::Unpack;

/// A format string that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Template(pub(super) Vec<Piece>);

/// One piece of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Piece {
    /// Bytes as they are.
    Bytes(Vec<u8>),
    Value(Encoding),
    Key(Encoding),
    Headers(Encoding),
    /// Each header by a format of its own, to which it is a record's key and value.
    EachHeader(Template),
    Topic,
    Number(Number, NumberForm),
    /// By this strftime pattern; none means RFC 3339.
    Date(Option<String>),
    Compression,
}

/// What a number says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Number {
    ValueLength,
    KeyLength,
    HeaderCount,
    TopicLength,
    Partition,
    Offset,
    LeaderEpoch,
    Timestamp,
    ProducerId,
    ProducerEpoch,
    Counter,
    LogStart,
    LastStableOffset,
    HighWatermark,
}

/// How a number is shown. What has no room loses its first digits or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum NumberForm {
    Decimal,
    /// So many hexadecimal digits.
    Hex(u8),
    /// So many bytes, big-endian.
    Big(u8),
    /// So many bytes, little-endian.
    Little(u8),
    /// Whether it is not 0.
    Bool,
}

impl NumberForm {
    fn of(modifier: Option<&str>) -> Option<Self> {
        let Some(modifier) = modifier else { return Some(Self::Decimal) };
        match modifier {
            "ascii" | "number" => return Some(Self::Decimal),
            "bool" => return Some(Self::Bool),
            "byte" => return Some(Self::Big(1)),
            "hex4" => return Some(Self::Hex(1)),
            _ => {}
        }
        let (order, bits) = modifier.split_at(modifier.find(|c: char| c.is_ascii_digit())?);
        let bytes = match bits {
            "8" => 1,
            "16" => 2,
            "32" => 4,
            "64" => 8,
            _ => return None,
        };
        match order {
            "hex" => Some(Self::Hex(2 * bytes)),
            "big" => Some(Self::Big(bytes)),
            "little" => Some(Self::Little(bytes)),
            _ => None,
        }
    }
}

/// How bytes are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Encoding {
    /// As they are.
    Raw,
    Hex,
    Base64,
    /// A JSON string; what is not UTF-8 is replaced.
    Json,
    /// As the packed numbers that they are.
    Unpack(Unpack),
}

impl Template {
    /// # Errors
    /// In words, when a token is not known.
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Pieces::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let after = &rest[first.len_utf8()..];
            rest = match first {
                '%' => pieces.token(after)?,
                '\\' => pieces.escape(after)?,
                _ => {
                    pieces.bytes(&rest.as_bytes()[..first.len_utf8()]);
                    after
                }
            };
        }
        pieces.finish_bytes();
        Ok(Self(pieces.done))
    }

    /// Whether it shows where the partition begins and ends.
    pub(in crate::cli) fn has_bounds(&self) -> bool {
        let is_bound = |piece: &Piece| match piece {
            Piece::EachHeader(template) => template.has_bounds(),
            Piece::Number(
                Number::LogStart | Number::LastStableOffset | Number::HighWatermark,
                _,
            ) => true,
            Piece::Bytes(_)
            | Piece::Value(_)
            | Piece::Key(_)
            | Piece::Headers(_)
            | Piece::Topic
            | Piece::Number(..)
            | Piece::Date(_)
            | Piece::Compression => false,
        };
        self.0.iter().any(is_bound)
    }
}

#[derive(Default)]
struct Pieces {
    done: Vec<Piece>,
    /// Bytes that are not followed by a token yet.
    bytes: Vec<u8>,
}

impl Pieces {
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn finish_bytes(&mut self) {
        if !self.bytes.is_empty() {
            self.done.push(Piece::Bytes(std::mem::take(&mut self.bytes)));
        }
    }

    /// Takes what follows a percent sign, and gives what is behind it.
    fn token<'a>(&mut self, text: &'a str) -> Result<&'a str, String> {
        let Some(letter) = text.chars().next() else {
            return Err("a format ends with '%': write %% for a percent sign".to_owned());
        };
        let rest = &text[letter.len_utf8()..];
        if letter == '%' {
            self.bytes(b"%");
            return Ok(rest);
        }
        let (modifier, rest) = modifier(rest)?;
        let piece = piece(letter, modifier)?;
        self.finish_bytes();
        self.done.push(piece);
        Ok(rest)
    }

    /// Takes what follows a backslash, and gives what is behind it.
    fn escape<'a>(&mut self, text: &'a str) -> Result<&'a str, String> {
        let Some(letter) = text.chars().next() else {
            return Err("a format ends with a backslash: write \\\\ for one".to_owned());
        };
        let rest = &text[letter.len_utf8()..];
        let byte = match letter {
            'n' => b'\n',
            't' => b'\t',
            'r' => b'\r',
            '0' => 0,
            '\\' => b'\\',
            '%' => b'%',
            'x' => {
                let digits = rest.get(..2).unwrap_or_default();
                let byte = u8::from_str_radix(digits, 16);
                let byte =
                    byte.map_err(|_| format!("'\\x{digits}' is not \\x and two hex digits"))?;
                self.bytes(&[byte]);
                return Ok(&rest[2..]);
            }
            _ => return Err(format!("'\\{letter}' is not known in a format")),
        };
        self.bytes(&[byte]);
        Ok(rest)
    }
}

/// The `{…}` at the start of `text`, and what is behind it.
fn modifier(text: &str) -> Result<(Option<&str>, &str), String> {
    let Some(inner) = text.strip_prefix('{') else { return Ok((None, text)) };
    let unclosed = || format!("'{{{inner}' has no end");
    // What these have within may be braces; headers have braces that belong together.
    for word in [DATE, UNPACK] {
        if let Some(bracket) = inner.strip_prefix(word) {
            let (_, rest) = bracketed(bracket).ok_or_else(unclosed)?;
            let rest = rest.strip_prefix('}').ok_or_else(unclosed)?;
            return Ok((Some(&inner[..inner.len() - rest.len() - 1]), rest));
        }
    }
    let mut depth = 0;
    let closes = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth < 0
    };
    let end = inner.find(closes).ok_or_else(unclosed)?;
    Ok((Some(&inner[..end]), &inner[end + 1..]))
}

/// What stands between brackets, and what is behind them. As in rpk they may be of any kind, and several of a kind: `[…]`, `{{…}}`,
/// `##…##`.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    let opening = text.chars().next()?;
    let closing = match opening {
        '[' => ']',
        '{' => '}',
        '(' => ')',
        '<' => '>',
        other => other,
    };
    let inner = text.trim_start_matches(opening);
    let count = (text.len() - inner.len()) / opening.len_utf8();
    inner.split_once(&closing.to_string().repeat(count))
}

fn piece(letter: char, modifier: Option<&str>) -> Result<Piece, String> {
    let wrong = || {
        let modifier = modifier.map(|text| format!("{{{text}}}")).unwrap_or_default();
        Err(format!("'%{letter}{modifier}' is not known in a format"))
    };
    // What is between the brackets that follow this word.
    let inner = |word: &str| {
        let (inner, _) = bracketed(modifier?.strip_prefix(word)?)?;
        Some(inner)
    };
    let encoding = match modifier {
        None => Some(Encoding::Raw),
        Some("hex") => Some(Encoding::Hex),
        Some("base64") => Some(Encoding::Base64),
        Some("json") => Some(Encoding::Json),
        Some(_) => inner(UNPACK).map(Unpack::parse).transpose()?.map(Encoding::Unpack),
    };
    let with_encoding = match (letter, encoding) {
        ('s' | 'v', Some(encoding)) => Some(Piece::Value(encoding)),
        ('k', Some(encoding)) => Some(Piece::Key(encoding)),
        ('h', Some(encoding)) => Some(Piece::Headers(encoding)),
        _ => None,
    };
    if let Some(piece) = with_encoding {
        return Ok(piece);
    }
    if let ('h', Some(format)) = (letter, modifier.filter(|text| text.contains('%'))) {
        return Template::parse(format).map(Piece::EachHeader);
    }
    match (letter, modifier, inner(DATE)) {
        ('d', None, _) => return Ok(Piece::Date(None)),
        ('d', _, Some(pattern)) => return Ok(Piece::Date(Some(pattern.to_owned()))),
        _ => {}
    }
    match (letter, modifier) {
        ('t', None) => return Ok(Piece::Topic),
        ('t', Some("len")) => return Ok(Piece::Number(Number::TopicLength, NumberForm::Decimal)),
        ('a', None | Some("compression")) => return Ok(Piece::Compression),
        ('R', None) => return Ok(Piece::Number(Number::ValueLength, NumberForm::Big(4))),
        _ => {}
    }
    let number = match letter {
        'S' | 'V' => Number::ValueLength,
        'K' => Number::KeyLength,
        'H' => Number::HeaderCount,
        'p' => Number::Partition,
        'o' => Number::Offset,
        'e' => Number::LeaderEpoch,
        'T' => Number::Timestamp,
        'x' => Number::ProducerId,
        'y' => Number::ProducerEpoch,
        'i' => Number::Counter,
        '[' => Number::LogStart,
        '|' => Number::LastStableOffset,
        ']' => Number::HighWatermark,
        _ => return wrong(),
    };
    match NumberForm::of(modifier) {
        Some(form) => Ok(Piece::Number(number, form)),
        None => wrong(),
    }
}

/// The modifiers that have brackets within.
const DATE: &str = "strftime";
const UNPACK: &str = "unpack";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_escapes_and_modifiers_are_read() {
        let pieces =
            Template::parse("%k{hex}\\t%s 100%%\\x0a%d{strftime[%F %T]}%t{len}").unwrap().0;
        assert_eq!(
            pieces,
            [
                Piece::Key(Encoding::Hex),
                Piece::Bytes(b"\t".to_vec()),
                Piece::Value(Encoding::Raw),
                Piece::Bytes(b" 100%\n".to_vec()),
                Piece::Date(Some("%F %T".to_owned())),
                Piece::Number(Number::TopicLength, NumberForm::Decimal),
            ]
        );
    }

    #[test]
    fn brackets_are_of_any_kind() {
        let unpacked = |text: &str| match &Template::parse(text).unwrap().0[..] {
            [Piece::Value(Encoding::Unpack(layout)), Piece::Bytes(_)] => layout.clone(),
            other => panic!("{other:?}"),
        };
        let wanted = Unpack::parse(">iq$").unwrap();
        for text in ["%v{unpack[>iq$]}.", "%v{unpack{>iq$}}.", "%s{unpack##>iq$##}."] {
            assert_eq!(unpacked(text), wanted, "{text}");
        }
        let date = Template::parse("%d{strftime{{%F}}}").unwrap();
        assert_eq!(date.0, [Piece::Date(Some("%F".to_owned()))]);
    }

    #[test]
    fn headers_have_a_format_of_their_own() {
        let inner = Template::parse("%k{hex}=%v;").unwrap();
        let pieces = Template::parse("%h{%k{hex}=%v;}.").unwrap().0;
        assert_eq!(pieces, [Piece::EachHeader(inner), Piece::Bytes(b".".to_vec())]);
    }

    #[test]
    fn what_is_not_known_is_said() {
        for (text, words) in [
            ("%", "ends with '%'"),
            ("a\\", "ends with a backslash"),
            ("%q", "'%q' is not known"),
            ("%o{hex}", "'%o{hex}' is not known"),
            ("%s{hex", "has no end"),
            ("%s{big}", "'%s{big}' is not known"),
            ("%h{big}", "'%h{big}' is not known"),
            ("%h{%q}", "'%q' is not known"),
            ("%h{%k{hex}", "has no end"),
            ("%o{big3}", "'%o{big3}' is not known"),
            ("%a{big32}", "'%a{big32}' is not known"),
            ("%s{unpack[k]}", "'k' in 'k' unpacks nothing"),
            ("%s{unpack[i}", "has no end"),
            ("%s{unpack[i]", "has no end"),
            ("%o{unpack[i]}", "'%o{unpack[i]}' is not known"),
            ("\\xg1", "two hex digits"),
            ("\\q", "is not known"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[%\\\\{}\\[\\]skhoxé0-9a-f]{0,24}") {
            drop(Template::parse(&text));
        }
    }
}
