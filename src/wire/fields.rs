//! The primitive types in the keys and values of records that follow Kafka's schemas, read and written.
//!
//! Owns both spellings of lengths: fixed, and compact in flexible versions (KIP-482), which end each structure with tagged
//! fields. It knows no schema. Numbers are big-endian; each error names the schema, the field and its place.

use bytes::Bytes;
use uuid::Uuid;

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A type that this broker does not know, of a later version perhaps.
    #[error("record type {0} is not known")]
    UnknownType(i16),
    /// A version of a value that this broker does not know.
    #[error("version {version} of {record} is not known")]
    UnknownVersion {
        /// The name of the schema.
        record: &'static str,
        /// The version.
        version: i16,
    },
    /// A field does not fit.
    #[error("{record}: field {field} at byte {position} {problem}")]
    Malformed {
        /// The name of the schema.
        record: &'static str,
        /// The field.
        field: &'static str,
        /// Where it begins, counted from the start of the key or the value.
        position: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Reads the fields of one key or value, in their order.
#[derive(Debug)]
pub(crate) struct FieldReader<'a> {
    record: &'static str,
    bytes: &'a [u8],
    position: usize,
    flexible: bool,
}

impl<'a> FieldReader<'a> {
    /// Begins at the first byte. `record` is the name for errors.
    pub(crate) fn new(record: &'static str, bytes: &'a [u8]) -> Self {
        Self { record, bytes, position: 0, flexible: false }
    }

    /// The same in the spelling of flexible versions.
    pub(crate) const fn compact(record: &'static str, bytes: &'a [u8]) -> Self {
        Self { record, bytes, position: 0, flexible: true }
    }

    /// Begins at the first byte of a value, reads its version, at most `version_max`, and goes on in the spelling of that
    /// version.
    pub(crate) fn of_value(
        record: &'static str,
        bytes: &'a [u8],
        version_max: i16,
        flexible_from: i16,
    ) -> Result<(i16, Self), SchemaError> {
        let mut reader = Self::new(record, bytes);
        let version = reader.i16("version")?;
        if !(0..=version_max).contains(&version) {
            return Err(SchemaError::UnknownVersion { record, version });
        }
        reader.flexible = version >= flexible_from;
        Ok((version, reader))
    }

    fn malformed(
        &self,
        field: &'static str,
        position: usize,
        problem: &'static str,
    ) -> SchemaError {
        SchemaError::Malformed { record: self.record, field, position, problem }
    }

    /// The error that the field which was just read is not as it should be.
    pub(crate) fn refuse(&self, field: &'static str, problem: &'static str) -> SchemaError {
        self.malformed(field, self.position, problem)
    }

    fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], SchemaError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let taken = rest
            .get(..length)
            .ok_or_else(|| self.malformed(field, self.position, "ends too early"))?;
        self.position += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], SchemaError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N)?);
        Ok(array)
    }

    /// A number of 8 bits.
    pub(crate) fn i8(&mut self, field: &'static str) -> Result<i8, SchemaError> {
        self.array(field).map(i8::from_be_bytes)
    }

    /// A number of 16 bits.
    pub(crate) fn i16(&mut self, field: &'static str) -> Result<i16, SchemaError> {
        self.array(field).map(i16::from_be_bytes)
    }

    /// A number of 32 bits.
    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, SchemaError> {
        self.array(field).map(i32::from_be_bytes)
    }

    /// A number of 64 bits.
    pub(crate) fn i64(&mut self, field: &'static str) -> Result<i64, SchemaError> {
        self.array(field).map(i64::from_be_bytes)
    }

    /// An id.
    pub(crate) fn uuid(&mut self, field: &'static str) -> Result<Uuid, SchemaError> {
        self.array(field).map(Uuid::from_bytes)
    }

    /// A number without sign, seven bits a byte, low bits first.
    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u32, SchemaError> {
        let start = self.position;
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array(field)?;
            value |= u32::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed(field, start, "has a length that does not end"))
    }

    /// A length of `bytes` (2 or 4) in the fixed spelling; none for null.
    fn length(&mut self, field: &'static str, bytes: usize) -> Result<Option<usize>, SchemaError> {
        if self.flexible {
            return Ok(self.varint(field)?.checked_sub(1).map(|length| length as usize));
        }
        let start = self.position;
        let length = if bytes == 2 { i32::from(self.i16(field)?) } else { self.i32(field)? };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.malformed(field, start, "has a negative length")),
        }
    }

    /// Text; none for null.
    pub(crate) fn nullable_string(
        &mut self,
        field: &'static str,
    ) -> Result<Option<&'a str>, SchemaError> {
        let start = self.position;
        let Some(length) = self.length(field, 2)? else {
            return Ok(None);
        };
        let bytes = self.take(field, length)?;
        let text = std::str::from_utf8(bytes);
        text.map(Some).map_err(|_| self.malformed(field, start, "is not UTF-8"))
    }

    /// Text.
    pub(crate) fn string(&mut self, field: &'static str) -> Result<&'a str, SchemaError> {
        let start = self.position;
        let text = self.nullable_string(field)?;
        text.ok_or_else(|| self.malformed(field, start, "is null"))
    }

    /// Bytes, copied.
    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<Bytes, SchemaError> {
        let start = self.position;
        let Some(length) = self.length(field, 4)? else {
            return Err(self.malformed(field, start, "is null"));
        };
        self.take(field, length).map(Bytes::copy_from_slice)
    }

    /// Elements, each read by `element` from at least one byte; none for null.
    pub(crate) fn nullable_list<T>(
        &mut self,
        field: &'static str,
        mut element: impl FnMut(&mut Self) -> Result<T, SchemaError>,
    ) -> Result<Option<Vec<T>>, SchemaError> {
        let start = self.position;
        let Some(count) = self.length(field, 4)? else {
            return Ok(None);
        };
        if count > self.bytes.len() - self.position {
            return Err(self.malformed(field, start, "claims more elements than there are bytes"));
        }
        // Grown as elements come: a count within the bytes may still claim far more memory than they fill.
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(element(self)?);
        }
        Ok(Some(list))
    }

    /// Elements, each read by `element` from at least one byte.
    pub(crate) fn list<T>(
        &mut self,
        field: &'static str,
        element: impl FnMut(&mut Self) -> Result<T, SchemaError>,
    ) -> Result<Vec<T>, SchemaError> {
        let start = self.position;
        let list = self.nullable_list(field, element)?;
        list.ok_or_else(|| self.malformed(field, start, "is null"))
    }

    /// The tagged fields that end a structure in flexible versions. `known` reads the field of a tag it knows and returns
    /// whether it did; others are skipped.
    pub(crate) fn tagged_fields(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, SchemaError>,
    ) -> Result<(), SchemaError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint("tagged fields")? {
            let tag = self.varint("tag")?;
            let size = self.varint("tagged field size")? as usize;
            let start = self.position;
            if !known(self, tag)? {
                self.take("tagged field", size)?;
            }
            if self.position - start != size {
                return Err(self.malformed("tagged field", start, "is not of its size"));
            }
        }
        Ok(())
    }

    /// Passes over the tagged fields of a structure that knows none.
    pub(crate) fn skip_tagged_fields(&mut self) -> Result<(), SchemaError> {
        self.tagged_fields(|_, _| Ok(false))
    }
}

/// Writes the fields of one key or value, in their order.
#[derive(Debug)]
pub(crate) struct FieldWriter {
    bytes: Vec<u8>,
    flexible: bool,
}

impl FieldWriter {
    /// Begins a key of this type.
    pub(crate) fn key(record_type: i16) -> Self {
        Self::value(record_type, false)
    }

    /// Begins a value of this version.
    pub(crate) fn value(version: i16, flexible: bool) -> Self {
        Self { bytes: version.to_be_bytes().to_vec(), flexible }
    }

    /// Begins with nothing, in the spelling of flexible versions.
    pub(crate) const fn compact() -> Self {
        Self { bytes: Vec::new(), flexible: true }
    }

    /// What was written.
    pub(crate) fn finish(self) -> Bytes {
        self.bytes.into()
    }

    /// A number of 8 bits.
    pub(crate) fn i8(&mut self, value: i8) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// A number of 16 bits.
    pub(crate) fn i16(&mut self, value: i16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// A number of 32 bits.
    pub(crate) fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// A number of 64 bits.
    pub(crate) fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// An id.
    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.bytes.extend_from_slice(value.as_bytes());
    }

    /// A number without sign, seven bits a byte, low bits first.
    pub(crate) fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            let [.., low] = value.to_be_bytes();
            self.bytes.push(low | 0x80);
            value >>= 7;
        }
        let [.., low] = value.to_be_bytes();
        self.bytes.push(low);
    }

    /// The tagged fields that end a structure which knows one, of tag 0: it is left out if it has its default.
    pub(crate) fn tagged_field<T>(&mut self, value: Option<T>, field: impl FnOnce(&mut Self, T)) {
        let Some(value) = value else {
            return self.varint(0);
        };
        let mut inner = Self { bytes: Vec::new(), flexible: true };
        field(&mut inner, value);
        self.varint(1);
        self.varint(0);
        self.varint(length_u32(inner.bytes.len()));
        self.bytes.append(&mut inner.bytes);
    }

    /// Text, or null. In the fixed spelling it must be shorter than 32 KiB, as names from the wire are.
    /// A list, or null.
    pub(crate) fn nullable_list<T>(
        &mut self,
        list: Option<impl ExactSizeIterator<Item = T>>,
        element: impl FnMut(&mut Self, T),
    ) {
        match list {
            Some(list) => self.list(list, element),
            None if self.flexible => self.varint(0),
            None => self.i32(-1),
        }
    }

    /// Tagged fields with their bytes, by ascending tag. Nothing in a version that has none.
    pub(crate) fn tagged_fields(&mut self, fields: &[(u32, Vec<u8>)]) {
        if !self.flexible {
            return;
        }
        self.varint(length_u32(fields.len()));
        for (tag, bytes) in fields {
            self.varint(*tag);
            self.varint(length_u32(bytes.len()));
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub(crate) fn nullable_string(&mut self, value: Option<&str>) {
        match (self.flexible, value) {
            (true, None) => self.varint(0),
            (true, Some(text)) => self.varint(length_u32(text.len()) + 1),
            (false, None) => self.bytes.extend_from_slice(&(-1_i16).to_be_bytes()),
            (false, Some(text)) => {
                let length = i16::try_from(text.len()).expect("text from the wire is below 32 KiB");
                self.bytes.extend_from_slice(&length.to_be_bytes());
            }
        }
        self.bytes.extend_from_slice(value.unwrap_or_default().as_bytes());
    }

    /// Text.
    pub(crate) fn string(&mut self, value: &str) {
        self.nullable_string(Some(value));
    }

    fn length(&mut self, length: usize) {
        let length = length_u32(length);
        if self.flexible {
            self.varint(length + 1);
        } else {
            self.bytes.extend_from_slice(&length.to_be_bytes());
        }
    }

    /// Bytes.
    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.length(value.len());
        self.bytes.extend_from_slice(value);
    }

    /// Elements, each written by `element`.
    pub(crate) fn list<T>(
        &mut self,
        list: impl ExactSizeIterator<Item = T>,
        mut element: impl FnMut(&mut Self, T),
    ) {
        self.length(list.len());
        for value in list {
            element(self, value);
        }
    }
}

/// Everything in a record came in a frame, and those are below 2 GiB.
fn length_u32(length: usize) -> u32 {
    u32::try_from(length).ok().filter(|length| *length < 1 << 31).expect("lengths are below 2 GiB")
}
