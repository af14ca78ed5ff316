//! The file format of `server.properties`, as `java.util.Properties.load` reads it.
//!
//! Owns lines, comments, continuations and escapes. It knows nothing of keys: a key that comes twice comes twice.
//!
//! A logical line is one or more lines of the file: a line goes on in the next one if it ends in an odd number of
//! backslashes. A line whose first character is `#` or `!` is a comment and never goes on. The key ends at the first
//! `=`, `:` or white space that no backslash precedes; white space and one `=` or `:` after it are skipped, the rest is
//! the value, trailing white space included.
//!
//! Unlike Java, which reads ISO-8859-1, a file that is valid UTF-8 is read as that.

use std::borrow::Cow;

/// A key and its value, as they stand in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Property {
    /// The line on which the key begins, from 1.
    pub line: usize,
    /// The key; empty if the line begins with a separator.
    pub key: String,
    /// The value; empty if nothing follows the key.
    pub value: String,
}

/// A `\u` that four hexadecimal digits do not follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: \\u must be followed by four hexadecimal digits")]
pub struct MalformedEscape {
    /// The line on which the key begins, from 1.
    pub line: usize,
}

/// What stands in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A comment or a blank line, as it stands there.
    Other(String),
    /// A key and its value.
    Property(Property),
}

/// Reads the bytes of a file.
///
/// # Errors
/// When an escape is malformed.
pub fn parse(bytes: &[u8]) -> Result<Vec<Property>, MalformedEscape> {
    let property = |entry| match entry {
        Entry::Other(_) => None,
        Entry::Property(property) => Some(property),
    };
    Ok(entries(bytes)?.into_iter().filter_map(property).collect())
}

/// Reads the bytes of a file, with its comments.
///
/// # Errors
/// As [`parse`].
pub fn entries(bytes: &[u8]) -> Result<Vec<Entry>, MalformedEscape> {
    let text = decode(bytes);
    let mut lines = natural_lines(&text).enumerate().peekable();
    let mut entries = Vec::new();
    while let Some((index, line)) = lines.next() {
        let first = skip_space(line);
        // What follows the end of the last line is no line.
        if line.is_empty() && lines.peek().is_none() {
            break;
        }
        // Java takes a backslash alone for an empty line: the next one may be a comment.
        if first.is_empty() || first == "\\" || first.starts_with(['#', '!']) {
            entries.push(Entry::Other(line.to_owned()));
            continue;
        }
        let mut logical = Cow::Borrowed(first);
        while goes_on(&logical) {
            let line = logical.to_mut();
            line.pop();
            match lines.next() {
                Some((_, next)) => line.push_str(skip_space(next)),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        let line = index + 1;
        let unescape = |text| unescape(text).ok_or(MalformedEscape { line });
        entries.push(Entry::Property(Property {
            line,
            key: unescape(key)?,
            value: unescape(value)?,
        }));
    }
    Ok(entries)
}

/// A key and its value as a line of a file, without its end.
#[must_use]
pub fn written(key: &str, value: &str) -> String {
    let escaped = |text: &str, also: &[char]| {
        let mut out = String::new();
        for (index, character) in text.chars().enumerate() {
            match character {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{c}' => out.push_str("\\f"),
                ' ' if index == 0 => out.push_str("\\ "),
                other if also.contains(&other) => out.extend(['\\', other]),
                other => out.push(other),
            }
        }
        out
    };
    let key = escaped(key, &[' ', '=', ':', '#', '!']);
    format!("{key}={}", escaped(value, &[]))
}

fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// Lines that end in `\n`, `\r` or both, without the end.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

fn skip_space(line: &str) -> &str {
    line.trim_start_matches(is_space)
}

const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\u{c}')
}

fn goes_on(line: &str) -> bool {
    let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
    backslashes % 2 == 1
}

/// Parts a logical line into key and value, both still escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|character| {
        let separates = !escaped && (is_space(character) || matches!(character, '=' | ':'));
        escaped = !escaped && character == '\\';
        separates
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = skip_space(rest);
    let value = rest.strip_prefix(['=', ':']).map_or(rest, skip_space);
    (key, value)
}

/// The text without its escapes; none if a `\u` is malformed. Halves of a surrogate pair that stand alone become
/// U+FFFD.
fn unescape(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return Some(text.to_owned());
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let character = match character {
            '\\' => match rest.next()? {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'f' => '\u{c}',
                'u' => {
                    let digits = rest.as_str().get(..4)?;
                    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                        return None;
                    }
                    units.push(u16::from_str_radix(digits, 16).ok()?);
                    rest = rest.as_str().get(4..)?.chars();
                    continue;
                }
                other => other,
            },
            plain => plain,
        };
        units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let properties = parse(text.as_bytes()).unwrap();
        properties.into_iter().map(|p| (p.key, p.value)).collect()
    }

    #[test]
    fn each_form_of_a_line() {
        for (text, key, value) in [
            ("a=b", "a", "b"),
            ("a:b", "a", "b"),
            ("a b", "a", "b"),
            ("a\tb", "a", "b"),
            ("  a =  b ", "a", "b "),
            ("a = = b", "a", "= b"),
            ("a : : b", "a", ": b"),
            ("a", "a", ""),
            ("a=", "a", ""),
            ("=b", "", "b"),
            ("a\\=b=c", "a=b", "c"),
            ("a\\ b\\:c d", "a b:c", "d"),
            ("a=b\\\n   c", "a", "bc"),
            ("a=b\\\r\n\tc\\\n d", "a", "bcd"),
            ("a=b\\\n#c", "a", "b#c"),
            ("a=b\\\\\n", "a", "b\\"),
            ("a=b\\", "a", "b"),
            ("\\\n#c\n\\\na=b", "a", "b"),
            ("a=\\t\\n\\r\\f\\z\\\\", "a", "\t\n\r\u{c}z\\"),
            ("a=\\u00e9\\u00E9", "a", "éé"),
            ("a=\\uD83D\\uDE00", "a", "😀"),
            ("a=\\uD83D", "a", "\u{fffd}"),
            ("a=é 😀", "a", "é 😀"),
            ("\u{feff}a=b", "a", "b"),
        ] {
            assert_eq!(pairs(text), [(key.to_owned(), value.to_owned())], "{text:?}");
        }
    }

    #[test]
    fn comments_and_blank_lines_are_skipped_and_lines_counted() {
        let text = b"# a=b \\\r\n\n  ! c=d\rx=1\\\n  2\n\ny=3\n";
        let properties = parse(text).unwrap();
        let lines: Vec<(usize, &str, &str)> =
            properties.iter().map(|p| (p.line, &*p.key, &*p.value)).collect();
        assert_eq!(lines, [(4, "x", "12"), (7, "y", "3")]);
    }

    #[test]
    fn latin_1_is_read_when_it_is_not_utf_8() {
        let properties = parse(b"a=\xe9").unwrap();
        assert_eq!(properties[0].value, "é");
    }

    #[test]
    fn a_malformed_escape_names_its_line() {
        for text in ["a=\\u12", "a=\\u12g4", "a=\\u+123", "a=\\u", "\\u00=1", "a=\\u00é1"] {
            let text = format!("x=1\n{text}\n");
            assert_eq!(parse(text.as_bytes()), Err(MalformedEscape { line: 2 }), "{text:?}");
        }
    }

    /// As `Properties.store` of Java writes it.
    fn stored(text: &str, is_key: bool) -> String {
        let mut out = String::new();
        for (index, character) in text.chars().enumerate() {
            match character {
                ' ' if is_key || index == 0 => out.push_str("\\ "),
                '\t' => out.push_str("\\t"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\u{c}' => out.push_str("\\f"),
                '=' | ':' | '#' | '!' | '\\' => out.extend(['\\', character]),
                ' '..='~' => out.push(character),
                other => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04X}"));
                    }
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn what_java_writes_is_read_back(
            entries in prop::collection::vec((any::<String>(), any::<String>()), 0..5),
        ) {
            let mut text = String::new();
            for (key, value) in &entries {
                text.push_str(&format!("{}={}\n", stored(key, true), stored(value, false)));
            }
            prop_assert_eq!(pairs(&text), entries);
        }

        #[test]
        fn what_we_write_is_read_back(
            entries in prop::collection::vec((any::<String>(), any::<String>()), 0..5),
        ) {
            let lines = entries.iter().map(|(key, value)| written(key, value) + "\n");
            // The mark of a file's encoding is none of its text.
            let text = format!("#\n{}", lines.collect::<String>());
            prop_assert_eq!(pairs(&text), entries);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(properties) = parse(&bytes) {
                prop_assert!(properties.len() <= bytes.len());
            }
        }
    }
}
