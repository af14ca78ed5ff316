//! Regular expressions that members subscribe to, in the syntax of RE2 as Kafka reads it (`re2j`).
//!
//! Owns what of that syntax the `regex` crate reads otherwise, and the limits: a pattern compiles into at most
//! [`PROGRAM_BYTES_MAX`], and matching takes time linear in the name. The whole name of a topic has to match.

use regex::{Regex, RegexBuilder};

/// What a pattern may compile to.
const PROGRAM_BYTES_MAX: usize = 1 << 20;
/// What a pattern may be long: it is part of a key with a two-byte length.
const PATTERN_BYTES_MAX: usize = i16::MAX as usize;
/// How often a part may be repeated, in RE2.
const NEST_MAX: u32 = 250;

/// A pattern that whole names are matched against.
#[derive(Clone, Debug)]
pub struct WholePattern(Regex);

impl WholePattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Why it is none, for the client to read.
    pub fn new(pattern: &str) -> Result<Self, String> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(format!("is longer than {PATTERN_BYTES_MAX} bytes"));
        }
        let translated = translate(pattern);
        // On its own first: what is put around it must not close what it leaves open.
        build(&translated).map_err(|error| error.to_string())?;
        build(&format!(r"\A(?:{translated})\z")).map(Self).map_err(|error| error.to_string())
    }

    /// Whether the whole of a name matches.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.0.is_match(topic)
    }
}

fn build(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(PROGRAM_BYTES_MAX)
        .nest_limit(NEST_MAX)
        .build()
}

/// Spells for the `regex` crate what RE2 reads otherwise: quotations (`\Q…\E`), brackets and doubled signs in classes,
/// which are plain characters in RE2, and braces that are no repetition.
fn translate(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(char) = rest.chars().next() {
        let after = &rest[char.len_utf8()..];
        match char {
            '\\' if rest.starts_with(r"\Q") => {
                let quoted = &rest[2..];
                let (text, left) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
                translated.push_str(&regex::escape(text));
                rest = left;
                continue;
            }
            '\\' => {
                let length = after.chars().next().map_or(0, char::len_utf8);
                translated.push('\\');
                translated.push_str(&after[..length]);
                rest = &after[length..];
                continue;
            }
            '[' if in_class && !after.starts_with(':') => translated.push_str(r"\["),
            '[' if in_class => {
                let length = after.find(":]").map_or(0, |end| end + 2);
                translated.push('[');
                translated.push_str(&after[..length]);
                rest = &after[length..];
                continue;
            }
            '[' => {
                in_class = true;
                translated.push('[');
                // A bracket that comes first is a member of the class.
                let first = after.strip_prefix('^').unwrap_or(after);
                translated.push_str(&after[..after.len() - first.len()]);
                let member = first.strip_prefix(']');
                if member.is_some() {
                    translated.push_str(r"\]");
                }
                rest = member.unwrap_or(first);
                continue;
            }
            ']' => {
                in_class = false;
                translated.push(']');
            }
            '&' | '~' if in_class => translated.extend(['\\', char]),
            '-' if in_class && after.starts_with('-') => translated.push_str(r"\-"),
            '{' if !in_class && !is_repetition(after) => translated.push_str(r"\{"),
            _ => translated.push(char),
        }
        rest = after;
    }
    translated
}

/// Whether `{` begins a repetition when this follows: `n}`, `n,}` or `n,m}`.
fn is_repetition(after: &str) -> bool {
    let Some((bounds, _)) = after.split_once('}') else {
        return false;
    };
    let (low, high) = bounds.split_once(',').unwrap_or((bounds, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !low.is_empty() && is_number(low) && is_number(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_match() {
        for (pattern, name, matches) in [
            ("orders", "orders", true),
            ("orders", "orders-2", false),
            ("order", "orders", false),
            ("a|ab", "ab", true),
            ("^a.*z$", "a.b.z", true),
            ("(?i)ORD.*", "orders", true),
            (r"\Qa.b\E.*", "a.bc", true),
            (r"\Qa.b\E.*", "axbc", false),
            (r"\Qa.b", "a.b", true),
            (r"a\.b", "a.b", true),
            ("[[a]b", "ab", true),
            ("[[:alpha:]]+", "abc", true),
            ("[a&&b]", "&", true),
            ("[a&&b]", "b", true),
            ("[]a]", "a", true),
            ("[^]a]", "b", true),
            ("[+--]", "-", true),
            (r"\w+-\d{2}", "t-12", true),
            ("a{", "a{", true),
            ("", "", true),
        ] {
            let compiled =
                WholePattern::new(pattern).unwrap_or_else(|it| panic!("{pattern}: {it}"));
            assert_eq!(compiled.matches(name), matches, "{pattern} on {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_or_too_large_is_refused() {
        let deep = "(".repeat(1000) + "a" + &")".repeat(1000);
        let long = "a".repeat(40_000);
        for pattern in [
            "[",
            "(",
            "a)|(b",
            "*a",
            "a**b\\",
            r"(?=a)",
            r"\1",
            "((a{100}){100}){100}",
            &deep,
            &long,
        ] {
            assert!(WholePattern::new(pattern).is_err(), "{pattern:.20}");
        }
    }
}
