//! The bounds gate: walks the bytes of a message along a table of its fields before anything is decoded from them.
//!
//! The message crate allocates whatever a count in the frame asks for, so that four bytes can abort the process. What
//! passes this gate has every count and length within the frame, only UTF-8 strings, nulls only where the version
//! allows them, tagged fields of the size they claim, and a decoded form that takes no more memory than `reader.rs`
//! grants a frame of its size.
//!
//! Owns the vocabulary of the tables and the walk; the tables are in `shapes/`. Nesting is that of the table, never that
//! of the input. Bytes after the last field are ignored, as Kafka ignores them. Stricter than Kafka, which takes them, are
//! the gate and our own codecs about what no client was seen to send: strings that are not UTF-8, lengths below -1,
//! integers of more than 32 bits in five bytes, tags of more than 31 bits, known tagged fields whose size is wrong,
//! nullable structures that begin with something else than 1 or -1, and messages beyond the memory bound.
//!
//! **Invariant:** the gate and the decoder behind it consume the same bytes (a test holds them together for every
//! message and version).

use std::ops::RangeInclusive;

use bytes::Bytes;

use super::error::{Problem, WireError};
use super::reader::{Read, Reader, Sender};
use super::registry::{ApiKey, VersionRange};
use super::shapes::{requests, responses};

/// The fields of one message at all its versions.
#[derive(Debug)]
pub(super) struct Shape {
    /// Name for errors.
    pub(super) name: &'static str,
    /// The versions that the table describes.
    pub(super) versions: VersionRange,
    /// First version with compact lengths and tagged fields.
    pub(super) flexible_since: i16,
    /// The fields in the order of the wire.
    pub(super) fields: &'static [Field],
}

/// One field of a structure.
#[derive(Debug)]
pub(super) struct Field {
    /// The protocol's name.
    pub(super) name: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
    /// First version that has it.
    since: i16,
    /// Last version that has it.
    until: i16,
    /// First version in which it may be null.
    nullable_since: i16,
    /// Its tag, if it is a tagged field in all versions that have it.
    pub(super) tag: Option<u32>,
}

/// The type of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// `bool`: one byte.
    Bool,
    /// `int8`.
    Int8,
    /// `int16`.
    Int16,
    /// `int32`.
    Int32,
    /// `int64`.
    Int64,
    /// `uuid`: 16 bytes.
    Uuid,
    /// `string`.
    String,
    /// `bytes` and `records`, which look the same from outside.
    Bytes,
    /// A structure in place.
    Struct(&'static [Field]),
    /// An array of structures.
    Structs(&'static [Field]),
    /// An array of strings or numbers.
    Array(&'static Self),
}

/// Checks the body of a request, that is, what follows its header.
///
/// # Errors
/// Names the first field that breaks a bound, or the version if the API is not served in it.
pub fn check_request(key: ApiKey, version: i16, body: &Bytes) -> Result<(), WireError> {
    check(requests::ALL, Sender::Client, key, version, body)
}

/// Checks the body of a response, that is, what follows its header.
///
/// # Errors
/// As [`check_request`].
pub fn check_response(key: ApiKey, version: i16, body: &Bytes) -> Result<(), WireError> {
    check(responses::ALL, Sender::Broker, key, version, body)
}

fn check(
    shapes: &[(ApiKey, &Shape)],
    sender: Sender,
    key: ApiKey,
    version: i16,
    body: &Bytes,
) -> Result<(), WireError> {
    match shapes.iter().find(|(of, _)| *of == key) {
        Some((_, shape)) => shape.check(sender, version, body),
        None => {
            let problem = Problem::UnknownVersion(version);
            Err(WireError::new(key.name(), "version", 0, problem))
        }
    }
}

impl Shape {
    /// Checks a message of this shape.
    pub(super) fn check(
        &self,
        sender: Sender,
        version: i16,
        body: &Bytes,
    ) -> Result<(), WireError> {
        let flexible = version >= self.flexible_since;
        let mut reader = Reader::new(sender, self.name, body, flexible);
        if !self.versions.contains(version) {
            return Err(reader.error_here("version", Problem::UnknownVersion(version)));
        }
        walk_struct(&mut reader, version, self.fields)
    }
}

fn walk_struct(reader: &mut Reader<'_>, version: i16, fields: &[Field]) -> Read<()> {
    for field in fields {
        if field.tag.is_none() && field.is_in(version) {
            walk_field(reader, version, field)?;
        }
    }
    walk_tagged_fields(reader, version, fields)
}

fn walk_tagged_fields(reader: &mut Reader<'_>, version: i16, fields: &[Field]) -> Read<()> {
    let mut unknown = 0;
    reader.tagged_fields(|reader, tag| {
        let field = fields.iter().find(|field| field.tag == Some(tag) && field.is_in(version));
        if let Some(field) = field {
            walk_field(reader, version, field)?;
            return Ok(true);
        }
        // The crate keeps unknown fields in a map whose first node is the dearest.
        let cost = if unknown == 0 { UNKNOWN_TAGS_COST } else { UNKNOWN_TAG_COST };
        unknown += 1;
        reader.charge("tagged fields", cost)?;
        Ok(false)
    })
}

fn walk_field(reader: &mut Reader<'_>, version: i16, field: &Field) -> Read<()> {
    let name = field.name;
    let start = reader.position();
    let present = match field.kind {
        Kind::Bool | Kind::Int8 => reader.take(name, 1).map(|_| true),
        Kind::Int16 => reader.take(name, 2).map(|_| true),
        Kind::Int32 => reader.take(name, 4).map(|_| true),
        Kind::Int64 => reader.take(name, 8).map(|_| true),
        Kind::Uuid => reader.take(name, 16).map(|_| true),
        Kind::String => reader.skip_string(name),
        Kind::Bytes => reader.skip_bytes(name),
        Kind::Struct(fields) if field.nullable_since == NEVER => {
            walk_struct(reader, version, fields).map(|()| true).map_err(|error| error.inside(name))
        }
        Kind::Struct(fields) => walk_nullable_struct(reader, version, name, fields),
        Kind::Structs(fields) => walk_structs(reader, version, name, fields),
        Kind::Array(element) => walk_array(reader, name, element),
    }?;
    if !present && version < field.nullable_since {
        return Err(reader.error_at(name, start, Problem::Null));
    }
    Ok(())
}

/// A nullable structure has a byte in front: 1, or -1 for null. Kafka takes any sign; the crate reads nothing after other
/// bytes than 1, which would leave the two at different places.
fn walk_nullable_struct(
    reader: &mut Reader<'_>,
    version: i16,
    name: &str,
    fields: &[Field],
) -> Read<bool> {
    let start = reader.position();
    match reader.i8(name)? {
        -1 => Ok(false),
        1 => {
            walk_struct(reader, version, fields).map_err(|error| error.inside(name))?;
            Ok(true)
        }
        other => Err(reader.error_at(name, start, Problem::NotAPresence(other))),
    }
}

fn walk_structs(reader: &mut Reader<'_>, version: i16, name: &str, fields: &[Field]) -> Read<bool> {
    let Some(count) = reader.nullable_count(name, struct_memory(fields))? else {
        return Ok(false);
    };
    for index in 0..count {
        walk_struct(reader, version, fields).map_err(|error| error.within(name, index))?;
    }
    Ok(true)
}

fn walk_array(reader: &mut Reader<'_>, name: &str, element: &Kind) -> Read<bool> {
    let Some(count) = reader.nullable_count(name, element.memory())? else {
        return Ok(false);
    };
    if matches!(element, Kind::String) {
        for index in 0..count {
            walk_string_element(reader).map_err(|error| error.within(name, index))?;
        }
    } else {
        // A count is at most the bytes of the frame, so that this product cannot overflow.
        reader.take(name, count * element.memory())?;
    }
    Ok(true)
}

/// A string in an array is never null.
fn walk_string_element(reader: &mut Reader<'_>) -> Read<()> {
    let start = reader.position();
    if reader.skip_string("")? { Ok(()) } else { Err(reader.error_at("", start, Problem::Null)) }
}

impl Kind {
    /// Upper bound of what one such value takes in the structs of the message crate, in bytes, without what arrays
    /// hold. For numbers it is their size on the wire too.
    pub(super) const fn memory(&self) -> usize {
        match self {
            Self::Bool | Self::Int8 => 1,
            Self::Int16 => 2,
            Self::Int32 => 4,
            Self::Int64 => 8,
            Self::Uuid => 16,
            Self::String | Self::Bytes => 32,
            Self::Structs(_) | Self::Array(_) => 24,
            Self::Struct(fields) => struct_memory(fields),
        }
    }
}

/// Each struct of the crate has all fields of all versions and a map of unknown tagged fields.
const fn struct_memory(mut fields: &[Field]) -> usize {
    let mut memory = 24;
    while let [field, rest @ ..] = fields {
        // Numbers are padded to the alignment of their neighbours, at most to eight bytes.
        let size = field.kind.memory();
        memory += if size < 8 { 8 } else { size };
        fields = rest;
    }
    memory
}

/// For versions that never come.
pub(super) const NEVER: i16 = i16::MAX;

/// A map node of the crate's unknown tagged fields: 11 keys of 4 bytes, 11 values of 32, and links.
const UNKNOWN_TAGS_COST: usize = 448;

/// Each further unknown tagged field: nodes are at least half full.
const UNKNOWN_TAG_COST: usize = 100;

// The vocabulary of the tables.

/// A message that exists in `versions` and is flexible from `flexible_since`.
pub(super) const fn shape(
    name: &'static str,
    versions: RangeInclusive<i16>,
    flexible_since: i16,
    fields: &'static [Field],
) -> Shape {
    Shape {
        name,
        versions: VersionRange { min: *versions.start(), max: *versions.end() },
        flexible_since,
        fields,
    }
}

/// A field of all versions of its structure, never null.
pub(super) const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since: 0, until: i16::MAX, nullable_since: NEVER, tag: None }
}

impl Field {
    /// In versions from `first`.
    pub(super) const fn since(self, first: i16) -> Self {
        Self { since: first, ..self }
    }

    /// In versions up to `last`.
    pub(super) const fn until(self, last: i16) -> Self {
        Self { until: last, ..self }
    }

    /// May be null in versions from `first`.
    pub(super) const fn nullable_since(self, first: i16) -> Self {
        Self { nullable_since: first, ..self }
    }

    /// May be null.
    pub(super) const fn nullable(self) -> Self {
        self.nullable_since(0)
    }

    /// A tagged field.
    pub(super) const fn tagged(self, tag: u32) -> Self {
        Self { tag: Some(tag), ..self }
    }

    /// Whether `version` has this field.
    pub(super) const fn is_in(&self, version: i16) -> bool {
        self.since <= version && version <= self.until
    }

    /// Whether the field may be null in `version`.
    #[cfg(test)]
    pub(super) const fn is_nullable_in(&self, version: i16) -> bool {
        self.nullable_since <= version
    }
}
