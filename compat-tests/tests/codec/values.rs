//! Compares the values of a message with what `Debug` prints of its decoded form, field by field.
//!
//! `Debug` is the one view that all messages have, ours and the crate's, and it names the fields. Names agree but for
//! case and underscores; where ours are shorter, [`OUR_NAMES`] tells.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ottla::model::ErrorCode;

/// Fields of our own messages whose name differs from the schema's. Below a dot: a field that moved into a structure.
const OUR_NAMES: &[(&str, &str)] = &[
    ("topicdata", "topics"),
    ("partitiondata", "partitions"),
    ("responses", "topics"),
    ("partitionresponses", "partitions"),
    ("batchindexerrormessage", "message"),
    ("logappendtimems", "logappendtime"),
    ("forgottentopicsdata", "forgottentopics"),
    ("replicaid", "replicastate.replicaid"),
];

/// What `Debug` printed.
#[derive(Debug)]
enum Printed {
    Struct(HashMap<String, Self>),
    List(Vec<Self>),
    Text(String),
    Bytes(Vec<u8>),
    /// A number, a UUID, or a name such as `true` or `None`.
    Word(String),
}

/// Whether all values of `json` stand in `printed`; the error is the path of the first that does not, and why.
pub(crate) fn compare(json: &serde_json::Value, printed: &str) -> Result<(), String> {
    let printed = Parser { rest: printed }.value();
    difference(json, &printed)
}

fn difference(json: &serde_json::Value, printed: &Printed) -> Result<(), String> {
    use serde_json::Value::{Array, Bool, Null, Number, Object, String};
    let same = match (json, printed) {
        (Object(fields), Printed::Struct(printed)) => {
            for (name, value) in fields {
                let found =
                    find(printed, &name.to_lowercase()).ok_or(format!("{name}: missing"))?;
                difference(value, found).map_err(|error| format!("{name}.{error}"))?;
            }
            true
        }
        // A tagged structure that has its default values is not on the wire.
        (Object(fields), Printed::Word(word)) => {
            word == "None" && fields.values().all(|value| *value == -1)
        }
        (Array(elements), Printed::List(printed)) if elements.len() == printed.len() => {
            for (index, (element, printed)) in elements.iter().zip(printed).enumerate() {
                difference(element, printed).map_err(|error| format!("{index}.{error}"))?;
            }
            true
        }
        (Null, Printed::Word(word)) => word == "None",
        (Bool(value), Printed::Word(word)) => *word == value.to_string(),
        (Number(number), Printed::Word(word)) => {
            *word == number.to_string() || error_code(word) == number.as_i64()
        }
        (String(text), Printed::Text(printed)) => text == printed,
        (String(uuid), Printed::Word(word)) => {
            word == uuid || hyphenated(uuid).as_ref() == Some(word)
        }
        (String(base64), Printed::Bytes(bytes)) => STANDARD.decode(base64).as_ref() == Ok(bytes),
        // Records in pieces.
        (String(base64), Printed::List(pieces)) => {
            STANDARD.decode(base64).ok()
                == pieces.iter().map(bytes_of).collect::<Option<Vec<_>>>().map(|p| p.concat())
        }
        _ => false,
    };
    if same { Ok(()) } else { Err(format!(" {json} is not {printed:?}")) }
}

fn bytes_of(piece: &Printed) -> Option<&[u8]> {
    match piece {
        Printed::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

fn find<'a>(fields: &'a HashMap<String, Printed>, name: &str) -> Option<&'a Printed> {
    if let Some(found) = fields.get(name) {
        return Some(found);
    }
    let (_, ours) = OUR_NAMES.iter().find(|(theirs, _)| *theirs == name)?;
    match ours.split_once('.') {
        None => fields.get(*ours),
        Some((structure, field)) => match fields.get(structure)? {
            Printed::Struct(fields) => fields.get(field),
            _ => None,
        },
    }
}

fn error_code(word: &str) -> Option<i64> {
    let code = ErrorCode::ALL.iter().find(|code| format!("{code:?}") == word)?;
    Some(code.code().into())
}

/// A UUID in Kafka's spelling as the uuid crate prints it.
fn hyphenated(base64: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(base64).ok()?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let (a, b, c, d, e) =
        (hex.get(..8)?, hex.get(8..12)?, hex.get(12..16)?, hex.get(16..20)?, hex.get(20..)?);
    Some(format!("{a}-{b}-{c}-{d}-{e}"))
}

/// Reads the grammar of derived `Debug`: structures, tuples of one field, lists, maps, strings and words.
struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn value(&mut self) -> Printed {
        if self.eat("[") {
            return Printed::List(self.elements());
        }
        if self.eat("{") {
            // Unknown tagged fields, which the JSON does not have.
            self.entries();
            return Printed::List(Vec::new());
        }
        if self.eat("b\"") {
            let text = self.quoted();
            let bytes = text.chars().map(|c| u8::try_from(u32::from(c)).expect("a byte"));
            return Printed::Bytes(bytes.collect());
        }
        if self.eat("\"") {
            return Printed::Text(self.quoted());
        }
        let word = self.word();
        if self.eat(" { ") {
            return Printed::Struct(self.fields());
        }
        if self.eat("(") {
            let inner = self.value();
            self.expect(")");
            return inner;
        }
        Printed::Word(word)
    }

    fn word(&mut self) -> String {
        let ends = |c: char| !c.is_alphanumeric() && !"_-".contains(c);
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        word.to_owned()
    }

    fn elements(&mut self) -> Vec<Printed> {
        let mut elements = Vec::new();
        while !self.eat("]") {
            elements.push(self.value());
            self.eat(", ");
        }
        elements
    }

    fn entries(&mut self) {
        while !self.eat("}") {
            self.value();
            self.expect(": ");
            self.value();
            self.eat(", ");
        }
    }

    fn fields(&mut self) -> HashMap<String, Printed> {
        let mut fields = HashMap::new();
        while !self.eat(" }") {
            let name = self.word().replace('_', "");
            self.expect(": ");
            fields.insert(name, self.value());
            self.eat(", ");
        }
        fields
    }

    /// What follows an opening quote, with its escapes undone.
    fn quoted(&mut self) -> String {
        let mut text = String::new();
        loop {
            match self.next() {
                '"' => return text,
                '\\' => text.push(self.escaped()),
                plain => text.push(plain),
            }
        }
    }

    fn escaped(&mut self) -> char {
        match self.next() {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            'x' => {
                let (digits, rest) = self.rest.split_at(2);
                self.rest = rest;
                u8::from_str_radix(digits, 16).expect("two hex digits").into()
            }
            'u' => {
                let (digits, rest) = self.rest.split_once('}').expect("braces are closed");
                self.rest = rest;
                let code = u32::from_str_radix(&digits[1..], 16).expect("hex digits");
                char::from_u32(code).expect("a character")
            }
            itself => itself,
        }
    }

    fn next(&mut self) -> char {
        let mut chars = self.rest.chars();
        let next = chars.next().expect("what Debug prints is complete");
        self.rest = chars.as_str();
        next
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, text: &str) {
        assert!(self.eat(text), "{text:?} expected before {}", self.rest);
    }
}

#[test]
fn a_difference_is_found() {
    let printed = "A { b_c: Some(3), d: [T(\"x\\n\"), T(\"\")], e: b\"\\x00a\", f: None, unknown: {7: b\"\"} }";
    let same = serde_json::json!({ "bC": 3, "d": ["x\n", ""], "e": "AGE=", "f": null });
    compare(&same, printed).unwrap();
    for (name, other) in [
        ("bC", serde_json::json!(4)),
        ("bC", serde_json::json!(null)),
        ("d", serde_json::json!(["x\n"])),
        ("d", serde_json::json!(["x\n", "y"])),
        ("e", serde_json::json!("AGI=")),
        ("f", serde_json::json!("")),
        ("g", serde_json::json!(0)),
    ] {
        let mut different = same.clone();
        different[name] = other;
        assert!(compare(&different, printed).is_err(), "{different}");
    }
}
