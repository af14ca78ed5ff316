//! Builds a frame: small fields into one buffer, record bytes beside it, uncopied.
//!
//! Owns [`Frame`], the list of byte slices that goes to a socket with one vectored write, and the writing twins of
//! `reader.rs`. Writing a field cannot fail; a field that is too long for its length makes the frame fail at its end.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::error::EncodeError;
use crate::model::{ErrorCode, TopicId};

/// One message ready for a socket: its four-byte length, its header and its body.
#[derive(Clone, Debug)]
pub struct Frame {
    segments: Vec<Bytes>,
}

impl Frame {
    /// The slices in their order, none of them empty. The first begins with the length of all that follows.
    #[must_use]
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// The slices, for those that send them one by one.
    #[must_use]
    pub fn into_segments(self) -> Vec<Bytes> {
        self.segments
    }

    /// Bytes on the wire, with the four of the length.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }

    /// All bytes in one piece: a copy if there are several slices.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &*self.segments {
            [only] => only.clone(),
            several => several.concat().into(),
        }
    }
}

/// Collects the fields of one message.
#[derive(Debug)]
pub struct Writer {
    message: &'static str,
    flexible: bool,
    /// The frame without the spliced bytes.
    head: BytesMut,
    splices: Vec<Splice>,
    /// Length of the first field that was too long.
    too_long: Option<usize>,
}

/// Bytes that belong in front of byte `at` of the head.
#[derive(Debug)]
struct Splice {
    at: usize,
    bytes: Bytes,
}

impl Writer {
    /// Begins a frame. `message` is the name for errors; `flexible` chooses compact lengths and tagged fields.
    pub(super) fn new(message: &'static str, flexible: bool) -> Self {
        let mut head = BytesMut::with_capacity(HEAD_CAPACITY);
        head.put_i32(0);
        Self { message, flexible, head, splices: Vec::new(), too_long: None }
    }

    /// Puts the length in front and hands out the frame.
    pub(super) fn finish(mut self) -> Result<Frame, EncodeError> {
        let spliced: usize = self.splices.iter().map(|splice| splice.bytes.len()).sum();
        let after_length = self.head.len() + spliced - size_of::<i32>();
        let length = self.checked_i32(after_length);
        if let Some(length) = self.too_long {
            return Err(EncodeError::TooLong { message: self.message, length });
        }
        self.patch(0, &length.to_be_bytes());
        let head = self.head.freeze();
        let mut segments = Vec::with_capacity(2 * self.splices.len() + 1);
        let mut start = 0;
        for splice in self.splices {
            if splice.at > start {
                segments.push(head.slice(start..splice.at));
                start = splice.at;
            }
            segments.push(splice.bytes);
        }
        if start < head.len() {
            segments.push(head.slice(start..));
        }
        Ok(Frame { segments })
    }

    /// Overwrites bytes of the head that were written before.
    fn patch(&mut self, at: usize, bytes: &[u8]) {
        let place = self.head.get_mut(at..at + bytes.len());
        place.expect("only written bytes are patched").copy_from_slice(bytes);
    }

    /// Chooses compact lengths and tagged fields for what follows.
    pub(super) fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// Where other encoders append their bytes.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.head
    }

    #[inline]
    pub(super) fn bool(&mut self, value: bool) {
        self.head.put_u8(u8::from(value));
    }

    #[inline]
    pub(super) fn i8(&mut self, value: i8) {
        self.head.put_i8(value);
    }

    #[inline]
    pub(super) fn i16(&mut self, value: i16) {
        self.head.put_i16(value);
    }

    #[inline]
    pub(super) fn i32(&mut self, value: i32) {
        self.head.put_i32(value);
    }

    #[inline]
    pub(super) fn i64(&mut self, value: i64) {
        self.head.put_i64(value);
    }

    #[inline]
    pub(super) fn uuid(&mut self, id: Uuid) {
        self.head.put_slice(id.as_bytes());
    }

    /// A topic's id where `by_id`, else its name.
    #[inline]
    pub(super) fn topic(&mut self, name: &str, id: TopicId, by_id: bool) {
        if by_id {
            self.uuid(id.0);
        } else {
            self.text(name);
        }
    }

    #[inline]
    pub(super) fn error_code(&mut self, code: ErrorCode) {
        self.head.put_i16(code.code());
    }

    /// An unsigned integer in groups of seven bits, lowest first.
    #[inline]
    pub(super) fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            let [low, ..] = value.to_le_bytes();
            self.head.put_u8(low | 0x80);
            value >>= 7;
        }
        let [low, ..] = value.to_le_bytes();
        self.head.put_u8(low);
    }

    #[cold]
    fn fail(&mut self, length: usize) {
        self.too_long.get_or_insert(length);
    }

    fn checked_i32(&mut self, length: usize) -> i32 {
        i32::try_from(length).unwrap_or_else(|_| {
            self.fail(length);
            0
        })
    }

    /// The length or count in front of bytes and arrays.
    #[inline]
    fn length(&mut self, length: usize) {
        let length = self.checked_i32(length);
        if self.flexible {
            self.varint(length.unsigned_abs() + 1);
        } else {
            self.i32(length);
        }
    }

    /// The null value of bytes and arrays.
    #[inline]
    fn null(&mut self) {
        if self.flexible {
            self.varint(0);
        } else {
            self.i32(-1);
        }
    }

    #[inline]
    pub(super) fn text(&mut self, text: &str) {
        let length = i16::try_from(text.len()).unwrap_or_else(|_| {
            self.fail(text.len());
            0
        });
        if self.flexible {
            self.varint(u32::from(length.unsigned_abs()) + 1);
        } else {
            self.i16(length);
        }
        self.head.put_slice(text.as_bytes());
    }

    #[inline]
    pub(super) fn nullable_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None if self.flexible => self.varint(0),
            None => self.i16(-1),
        }
    }

    /// Bytes in several pieces that become part of the frame uncopied.
    #[inline]
    pub(super) fn records(&mut self, pieces: &[Bytes]) {
        self.length(pieces.iter().map(Bytes::len).sum());
        for bytes in pieces.iter().filter(|piece| !piece.is_empty()) {
            self.splices.push(Splice { at: self.head.len(), bytes: bytes.clone() });
        }
    }

    /// Bytes that become part of the frame uncopied, or null.
    #[inline]
    pub(super) fn nullable_records(&mut self, records: Option<&Bytes>) {
        match records {
            Some(records) => self.records(std::slice::from_ref(records)),
            None => self.null(),
        }
    }

    #[inline]
    pub(super) fn array<T>(&mut self, elements: &[T], mut element: impl FnMut(&mut Self, &T)) {
        self.length(elements.len());
        for one in elements {
            element(self, one);
        }
    }

    #[inline]
    pub(super) fn nullable_array<T>(
        &mut self,
        elements: Option<&[T]>,
        element: impl FnMut(&mut Self, &T),
    ) {
        match elements {
            Some(elements) => self.array(elements, element),
            None => self.null(),
        }
    }

    /// Ends a structure with the tagged fields that `write` adds; nothing in versions that are not flexible.
    #[inline]
    pub(super) fn tagged_fields(&mut self, write: impl FnOnce(&mut TaggedFields<'_>)) {
        if !self.flexible {
            return;
        }
        let at = self.head.len();
        self.head.put_u8(0);
        let mut fields = TaggedFields { writer: self, count: 0 };
        write(&mut fields);
        let count = fields.count;
        assert!(count < 0x80, "the count is one byte");
        if count > 0 {
            self.patch(at, &[count]);
        }
    }

    /// Ends a structure that has no tagged fields.
    #[inline]
    pub(super) fn no_tagged_fields(&mut self) {
        if self.flexible {
            self.head.put_u8(0);
        }
    }
}

/// The tagged fields of one structure, to be added in the order of their tags.
#[derive(Debug)]
pub(super) struct TaggedFields<'a> {
    writer: &'a mut Writer,
    count: u8,
}

impl TaggedFields<'_> {
    /// Adds a field, whose content `write` writes.
    pub(super) fn add(&mut self, tag: u32, write: impl FnOnce(&mut Writer)) {
        self.count += 1;
        self.writer.varint(tag);
        let start = self.writer.head.len();
        write(self.writer);
        // The size stands in front of the content and has no fixed width.
        let content = self.writer.head.split_off(start);
        let size = self.writer.checked_i32(content.len());
        self.writer.varint(size.unsigned_abs());
        self.writer.head.put_slice(&content);
    }
}

/// Room for the head of most responses.
const HEAD_CAPACITY: usize = 256;
