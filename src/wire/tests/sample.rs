//! Well-formed bodies of any message, made from its shape and some entropy.

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::ErrorCode;
use crate::wire::shape::{Field, Kind, Shape};

/// A body, and where its array counts are.
pub(super) struct Sample {
    pub(super) body: Bytes,
    pub(super) counts: Vec<usize>,
}

/// Which tagged fields a sample has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tags {
    None,
    Known,
    KnownAndUnknown,
}

/// Makes a body of `shape` in `version`. Without entropy every number is 0, every array and string empty.
pub(super) fn sample(shape: &Shape, version: i16, entropy: &[u8], tags: Tags) -> Sample {
    let mut maker = Maker {
        // Null records read as empty ones, see `FetchPartitionResponse::records`.
        null_bytes: shape.name != "FetchResponse",
        version,
        flexible: version >= shape.flexible_since,
        tags,
        entropy: entropy.iter(),
        body: BytesMut::new(),
        counts: Vec::new(),
    };
    maker.fields(shape.fields);
    Sample { body: maker.body.freeze(), counts: maker.counts }
}

struct Maker<'a> {
    null_bytes: bool,
    version: i16,
    flexible: bool,
    tags: Tags,
    entropy: std::slice::Iter<'a, u8>,
    body: BytesMut,
    counts: Vec<usize>,
}

impl Maker<'_> {
    /// A number below `end`.
    fn choose(&mut self, end: usize) -> usize {
        usize::from(self.entropy.next().copied().unwrap_or(0)) % end
    }

    fn integer(&mut self) -> i64 {
        match self.choose(8) {
            0 | 1 => 0,
            2 => -1,
            3 => i64::MAX,
            4 => i64::MIN,
            _ => (0..8).fold(0, |value, _| value << 8 | self.choose(256) as i64),
        }
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.body.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.body.put_u8(value as u8);
    }

    fn fields(&mut self, fields: &[Field]) {
        let version = self.version;
        for field in fields.iter().filter(|field| field.is_in(version)) {
            if field.tag.is_none() {
                self.field(field);
            }
        }
        if self.flexible {
            self.tagged_fields(fields);
        }
    }

    fn tagged_fields(&mut self, fields: &[Field]) {
        let version = self.version;
        let mut tagged: Vec<(u32, Bytes)> = Vec::new();
        if self.tags != Tags::None {
            for field in fields.iter().filter(|field| field.is_in(version)) {
                if let Some(tag) = field.tag
                    && self.choose(2) == 1
                {
                    let before = std::mem::take(&mut self.body);
                    let counts = self.counts.len();
                    self.field(field);
                    self.counts.truncate(counts);
                    let content = std::mem::replace(&mut self.body, before).freeze();
                    tagged.push((tag, content));
                }
            }
        }
        if self.tags == Tags::KnownAndUnknown {
            for tag in [77, 78, 300_000].into_iter().take(self.choose(4)) {
                tagged.push((tag, Bytes::from(vec![7; self.choose(200)])));
            }
        }
        self.varint(tagged.len() as u32);
        for (tag, content) in tagged {
            self.varint(tag);
            self.varint(content.len() as u32);
            self.body.put_slice(&content);
        }
    }

    fn field(&mut self, field: &Field) {
        let nullable = field.is_nullable_in(self.version);
        let has_null = match field.kind {
            Kind::Struct(_) => false,
            Kind::Bytes => nullable && self.null_bytes,
            _ => nullable,
        };
        if has_null && self.choose(4) == 3 {
            return self.null(field.kind);
        }
        match field.kind {
            Kind::Bool => {
                let value = self.choose(2);
                self.body.put_u8(value as u8);
            }
            Kind::Int16 if field.name == "error_code" => {
                let code = ErrorCode::ALL[self.choose(ErrorCode::ALL.len())];
                self.body.put_i16(code.code());
            }
            Kind::Struct(fields) if nullable => {
                if self.choose(2) == 0 {
                    self.body.put_i8(-1);
                } else {
                    self.body.put_i8(1);
                    self.fields(fields);
                }
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::Structs(fields) => {
                let count = self.choose(4);
                self.count(count);
                for _ in 0..count {
                    self.fields(fields);
                }
            }
            Kind::Array(element) => {
                let count = self.choose(4);
                self.count(count);
                for _ in 0..count {
                    self.plain(*element);
                }
            }
            kind => self.plain(kind),
        }
    }

    fn plain(&mut self, kind: Kind) {
        match kind {
            Kind::Int8 | Kind::Int16 | Kind::Int32 | Kind::Int64 => {
                let width = match kind {
                    Kind::Int8 => 1,
                    Kind::Int16 => 2,
                    Kind::Int32 => 4,
                    _ => 8,
                };
                let bytes = self.integer().to_be_bytes();
                self.body.put_slice(&bytes[8 - width..]);
            }
            Kind::Uuid => {
                let (high, low) = (self.integer(), self.integer());
                self.body.put_i64(high);
                self.body.put_i64(low);
            }
            Kind::String => {
                let text = ["", "a", "orders", "Grüße", "x".repeat(200).as_str()][self.choose(5)]
                    .to_owned();
                if self.flexible {
                    self.varint(text.len() as u32 + 1);
                } else {
                    self.body.put_i16(text.len() as i16);
                }
                self.body.put_slice(text.as_bytes());
            }
            Kind::Bytes => {
                let length = [0, 1, 5, 300][self.choose(4)];
                if self.flexible {
                    self.varint(length + 1);
                } else {
                    self.body.put_u32(length);
                }
                self.body.put_bytes(0xab, length as usize);
            }
            other => unreachable!("{other:?} is not plain"),
        }
    }

    fn null(&mut self, kind: Kind) {
        match kind {
            _ if self.flexible => self.varint(0),
            Kind::String => self.body.put_i16(-1),
            _ => self.body.put_i32(-1),
        }
    }

    fn count(&mut self, count: usize) {
        self.counts.push(self.body.len());
        if self.flexible {
            self.varint(count as u32 + 1);
        } else {
            self.body.put_i32(count as i32);
        }
    }
}
