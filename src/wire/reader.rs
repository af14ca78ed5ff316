//! A cursor over the bytes of one message that never reads, and never lets anyone allocate, beyond them.
//!
//! Owns the primitive types of the protocol in both spellings (fixed and compact lengths, KIP-482) and the two bounds
//! that keep a hostile count harmless: an array claims no more elements than bytes remain, and all arrays of a message
//! together take no more memory than [`MEMORY_BASE`] and a multiple of its size ([`Sender`]).
//!
//! **Invariant:** the position never passes the end; nothing is allocated before its size was charged.

use bytes::Bytes;
use uuid::Uuid;

use super::Text;
use super::codec::{Request, Response};
use super::error::{Problem, WireError};
use crate::model::{ErrorCode, TopicId};

/// Memory that the decoded form of any message may take, in bytes: enough for every small frame.
const MEMORY_BASE: usize = 1 << 20;

/// By so much at most a request may take more than that and twice its size.
const SMALL_REQUEST_GRACE: usize = 4 << 20;

/// Who sent the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sender {
    /// Anyone: the message is a request.
    Client,
    /// A broker that we chose to connect to: the message is a response.
    Broker,
}

impl Sender {
    /// Memory that the decoded form of a message of `frame` bytes may take. A well-formed frame of many tiny elements
    /// needs up to 38 times its size in the message crate's structs; no client sends such requests, and requests that name
    /// tens of thousands of partitions stay below this. Big responses come near the second value.
    const fn memory_limit(self, frame: usize) -> usize {
        let twice = frame.saturating_mul(2);
        let on_top = match self {
            Self::Client if twice < SMALL_REQUEST_GRACE => twice.saturating_mul(2),
            Self::Client => twice.saturating_add(SMALL_REQUEST_GRACE),
            Self::Broker => frame.saturating_mul(16),
        };
        MEMORY_BASE.saturating_add(on_top)
    }
}

/// Longest string in bytes, in both spellings (Kafka's generated readers).
const STRING_LENGTH_MAX: usize = i16::MAX as usize;

/// Largest tag of a tagged field: Kafka and the message crate keep tags as signed numbers.
const TAG_MAX: u32 = i32::MAX.unsigned_abs();

/// Reads one message from its bytes.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    message: &'static str,
    body: &'a Bytes,
    position: usize,
    flexible: bool,
    memory_limit: usize,
    memory_left: usize,
}

/// The result of reading a field.
pub(super) type Read<T> = Result<T, WireError>;

impl<'a> Reader<'a> {
    /// Begins at the first byte of a request's body.
    pub(super) fn of_request<M: Request>(body: &'a Bytes, version: i16) -> Self {
        let flexible = M::KEY.entry().is_flexible(version);
        Self::new(Sender::Client, M::NAME, body, flexible)
    }

    /// Begins at the first byte of a response's body.
    pub(super) fn of_response<M: Response>(body: &'a Bytes, version: i16) -> Self {
        let flexible = M::KEY.entry().is_flexible(version);
        Self::new(Sender::Broker, M::NAME, body, flexible)
    }

    /// Begins at the first byte of `body`. `message` is the name for errors; `flexible` chooses compact lengths and
    /// tagged fields.
    pub(super) fn new(
        sender: Sender,
        message: &'static str,
        body: &'a Bytes,
        flexible: bool,
    ) -> Self {
        let memory_limit = sender.memory_limit(body.len());
        Self { message, body, position: 0, flexible, memory_limit, memory_left: memory_limit }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Chooses compact lengths and tagged fields for what follows.
    pub(super) fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    fn remaining(&self) -> usize {
        self.body.len() - self.position
    }

    /// An error about `field`, which begins at `position`.
    #[cold]
    pub(super) fn error_at(&self, field: &str, position: usize, problem: Problem) -> WireError {
        WireError::new(self.message, field, position, problem)
    }

    /// An error about `field`, which begins here.
    #[cold]
    pub(super) fn error_here(&self, field: &str, problem: Problem) -> WireError {
        self.error_at(field, self.position, problem)
    }

    /// The next `length` bytes.
    #[inline]
    pub(super) fn take(&mut self, field: &str, length: usize) -> Read<&'a [u8]> {
        let rest = self.body.get(self.position..).unwrap_or_default();
        let Some(taken) = rest.get(..length) else {
            let problem = Problem::Truncated { needed: length, remaining: rest.len() };
            return Err(self.error_here(field, problem));
        };
        self.position += length;
        Ok(taken)
    }

    #[inline]
    fn take_array<const N: usize>(&mut self, field: &str) -> Read<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N)?);
        Ok(array)
    }

    /// Any byte but 0 is true, as Kafka reads it.
    #[inline]
    pub(super) fn bool(&mut self, field: &str) -> Read<bool> {
        Ok(self.i8(field)? != 0)
    }

    #[inline]
    pub(super) fn i8(&mut self, field: &str) -> Read<i8> {
        self.take_array(field).map(i8::from_be_bytes)
    }

    #[inline]
    pub(super) fn i16(&mut self, field: &str) -> Read<i16> {
        self.take_array(field).map(i16::from_be_bytes)
    }

    #[inline]
    pub(super) fn i32(&mut self, field: &str) -> Read<i32> {
        self.take_array(field).map(i32::from_be_bytes)
    }

    #[inline]
    pub(super) fn i64(&mut self, field: &str) -> Read<i64> {
        self.take_array(field).map(i64::from_be_bytes)
    }

    #[inline]
    pub(super) fn uuid(&mut self, field: &str) -> Read<Uuid> {
        self.take_array(field).map(Uuid::from_bytes)
    }

    /// A topic's id where `by_id`, else its name in the field `name`; the other of the two is empty.
    #[inline]
    pub(super) fn topic(&mut self, name: &str, by_id: bool) -> Read<(Text, TopicId)> {
        if by_id {
            Ok((Text::new(), TopicId(self.uuid("topic_id")?)))
        } else {
            Ok((self.text(name)?, TopicId::ZERO))
        }
    }

    /// An error code; a number without a meaning becomes `UNKNOWN_SERVER_ERROR`, as in Kafka's clients.
    #[inline]
    pub(super) fn error_code(&mut self, field: &str) -> Read<ErrorCode> {
        let code = self.i16(field)?;
        Ok(ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError))
    }

    /// An unsigned integer in groups of seven bits, lowest first.
    #[inline]
    pub(super) fn varint(&mut self, field: &str) -> Read<u32> {
        let start = self.position;
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take_array(field)?;
            let bits = u32::from(byte & 0x7f);
            value |= bits << shift;
            if byte < 0x80 {
                // The fifth byte has room for the top four bits only.
                if shift == 28 && bits > 0x0f {
                    break;
                }
                return Ok(value);
            }
        }
        Err(self.error_at(field, start, Problem::VarintTooLong))
    }

    /// The length in front of a string (two bytes in the old spelling); `None` for null.
    #[inline]
    fn string_length(&mut self, field: &str) -> Read<Option<usize>> {
        if self.flexible {
            return self.compact_length(field);
        }
        let start = self.position;
        let length = i32::from(self.i16(field)?);
        self.checked_length(field, start, length)
    }

    /// The length or count in front of bytes and arrays (four bytes in the old spelling); `None` for null.
    #[inline]
    fn length(&mut self, field: &str) -> Read<Option<usize>> {
        if self.flexible {
            return self.compact_length(field);
        }
        let start = self.position;
        let length = self.i32(field)?;
        self.checked_length(field, start, length)
    }

    /// Compact lengths are one more than they say; 0 stands for null.
    #[inline]
    fn compact_length(&mut self, field: &str) -> Read<Option<usize>> {
        Ok(self.varint(field)?.checked_sub(1).map(|length| length as usize))
    }

    #[inline]
    fn checked_length(&self, field: &str, start: usize, length: i32) -> Read<Option<usize>> {
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.error_at(field, start, Problem::NegativeLength(length))),
        }
    }

    /// The bytes of a string, not yet known to be UTF-8; `None` for null.
    #[inline]
    fn string_bytes(&mut self, field: &str) -> Read<Option<&'a [u8]>> {
        let start = self.position;
        match self.string_length(field)? {
            Some(length) if length > STRING_LENGTH_MAX => {
                Err(self.error_at(field, start, Problem::StringTooLong(length)))
            }
            Some(length) => self.take(field, length).map(Some),
            None => Ok(None),
        }
    }

    /// Passes over a string; returns whether it is there, that is, not null.
    #[inline]
    pub(super) fn skip_string(&mut self, field: &str) -> Read<bool> {
        let start = self.position;
        match self.string_bytes(field)? {
            Some(bytes) if std::str::from_utf8(bytes).is_err() => {
                Err(self.error_at(field, start, Problem::NotUtf8))
            }
            bytes => Ok(bytes.is_some()),
        }
    }

    /// A string as a slice of the frame; `None` for null.
    #[inline]
    pub(super) fn nullable_text(&mut self, field: &str) -> Read<Option<Text>> {
        let start = self.position;
        let Some(bytes) = self.string_bytes(field)? else {
            return Ok(None);
        };
        match Text::from_utf8(self.body.slice_ref(bytes)) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.error_at(field, start, Problem::NotUtf8)),
        }
    }

    /// A string as a slice of the frame, or repaired if it is not UTF-8; `None` for null.
    pub(super) fn nullable_text_lossy(&mut self, field: &str) -> Read<Option<Text>> {
        let Some(bytes) = self.string_bytes(field)? else {
            return Ok(None);
        };
        let text = Text::from_utf8(self.body.slice_ref(bytes));
        Ok(Some(
            text.unwrap_or_else(|_| Text::from_string(String::from_utf8_lossy(bytes).into_owned())),
        ))
    }

    /// A string as a slice of the frame.
    #[inline]
    pub(super) fn text(&mut self, field: &str) -> Read<Text> {
        let start = self.position;
        match self.nullable_text(field)? {
            Some(text) => Ok(text),
            None => Err(self.error_at(field, start, Problem::Null)),
        }
    }

    /// Bytes, such as records, as a slice of the frame; `None` for null.
    #[inline]
    pub(super) fn nullable_bytes(&mut self, field: &str) -> Read<Option<Bytes>> {
        let Some(length) = self.length(field)? else {
            return Ok(None);
        };
        let bytes = self.take(field, length)?;
        Ok(Some(self.body.slice_ref(bytes)))
    }

    /// Passes over bytes; returns whether they are there, that is, not null.
    #[inline]
    pub(super) fn skip_bytes(&mut self, field: &str) -> Read<bool> {
        let Some(length) = self.length(field)? else {
            return Ok(false);
        };
        self.take(field, length)?;
        Ok(true)
    }

    /// The number of elements of an array, each of which takes `element_size` bytes of memory once decoded; `None` for
    /// null. The memory is charged.
    #[inline]
    pub(super) fn nullable_count(
        &mut self,
        field: &str,
        element_size: usize,
    ) -> Read<Option<usize>> {
        let start = self.position;
        let Some(count) = self.length(field)? else {
            return Ok(None);
        };
        let remaining = self.remaining();
        if count > remaining {
            let problem = Problem::CountBeyondFrame { count, remaining };
            return Err(self.error_at(field, start, problem));
        }
        self.charge(field, count.saturating_mul(element_size))?;
        Ok(Some(count))
    }

    /// Takes `size` bytes from the memory that the decoded message may use.
    #[inline]
    pub(super) fn charge(&mut self, field: &str, size: usize) -> Read<()> {
        match self.memory_left.checked_sub(size) {
            Some(left) => {
                self.memory_left = left;
                Ok(())
            }
            None => {
                let problem =
                    Problem::TooManyElements { limit: self.memory_limit, frame: self.body.len() };
                Err(self.error_here(field, problem))
            }
        }
    }

    /// An array whose elements `element` reads; `None` for null.
    #[inline]
    pub(super) fn nullable_array<T>(
        &mut self,
        field: &str,
        mut element: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Option<Vec<T>>> {
        let Some(count) = self.nullable_count(field, size_of::<T>())? else {
            return Ok(None);
        };
        let mut elements = Vec::with_capacity(count);
        for index in 0..count {
            elements.push(element(self).map_err(|error| error.within(field, index))?);
        }
        Ok(Some(elements))
    }

    /// An array whose elements `element` reads.
    #[inline]
    pub(super) fn array<T>(
        &mut self,
        field: &str,
        element: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        let start = self.position;
        match self.nullable_array(field, element)? {
            Some(elements) => Ok(elements),
            None => Err(self.error_at(field, start, Problem::Null)),
        }
    }

    /// The tagged fields at the end of a structure; nothing in versions that are not flexible. `known` reads the field of
    /// a tag it knows and returns whether it did; other fields are skipped.
    #[inline]
    pub(super) fn tagged_fields(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Read<bool>,
    ) -> Read<()> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint("tagged fields")? {
            let tag_start = self.position;
            let tag = self.varint("tag")?;
            if tag > TAG_MAX {
                return Err(self.error_at("tag", tag_start, Problem::TagTooLarge(tag)));
            }
            let claimed = self.varint("tagged field size")? as usize;
            let start = self.position;
            if !known(self, tag)? {
                self.take("tagged field", claimed)?;
            }
            let actual = self.position - start;
            if actual != claimed {
                let problem = Problem::TaggedFieldSize { tag, claimed, actual };
                return Err(self.error_at("tagged field", start, problem));
            }
        }
        Ok(())
    }

    /// Skips the tagged fields of a structure that knows none.
    #[inline]
    pub(super) fn skip_tagged_fields(&mut self) -> Read<()> {
        // Most have none, and there may be thousands of structures.
        if self.flexible && self.body.get(self.position) == Some(&0) {
            self.position += 1;
            return Ok(());
        }
        self.tagged_fields(|_, _| Ok(false))
    }
}
