//! The fields of a single record, wherever its bytes come from.
//!
//! | type | field |
//! | --- | --- |
//! | varint | length of what follows |
//! | i8 | attributes, unused |
//! | varlong | timestamp less the batch's base timestamp |
//! | varint | offset less the batch's base offset |
//! | varint, bytes | key: its length, negative if there is none, and its bytes |
//! | varint, bytes | value: the same |
//! | varint | number of headers |
//! | varint, bytes | per header: key, whose length must not be negative |
//! | varint, bytes | per header: value, as above |
//!
//! Source: KIP-82, KIP-98 and `DefaultRecord` of Apache Kafka 4.3.1.

use super::error::RecordProblem;
use super::varint::{read_varint, read_varlong};

/// The fields of a record, with `Span` for what has a length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<Span> {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<Span>,
    pub(super) value: Option<Span>,
    /// Everything after the number of headers.
    pub(super) headers: Span,
}

impl<Span> Fields<Span> {
    /// The same without keys, values and headers.
    pub(super) fn shape(&self) -> Fields<()> {
        Fields {
            timestamp_delta: self.timestamp_delta,
            offset_delta: self.offset_delta,
            key: self.key.as_ref().map(|_| ()),
            value: self.value.as_ref().map(|_| ()),
            headers: (),
        }
    }
}

/// The bytes of one record after its length.
pub(super) trait Body {
    /// What is kept of a run of bytes.
    type Span;
    /// Why bytes cannot be had.
    type Error: From<RecordProblem>;

    /// The next byte.
    fn byte(&mut self) -> Result<u8, Self::Error>;
    /// The next `bytes` bytes.
    fn span(&mut self, bytes: usize) -> Result<Self::Span, Self::Error>;
    /// All bytes that are left, without moving on.
    fn rest(&self) -> Self::Span;
    /// How many bytes are left.
    fn left(&self) -> usize;
}

/// Reads the fields of a record, which must fill its body.
#[inline]
pub(super) fn read_fields<B: Body>(mut body: B) -> Result<Fields<B::Span>, B::Error> {
    body.byte()?;
    let timestamp_delta = read_varlong(|| body.byte())?;
    let offset_delta = read_varint(|| body.byte())?;
    let key = read_nullable(&mut body)?;
    let value = read_nullable(&mut body)?;
    let header_count = read_varint(|| body.byte())?;
    if header_count < 0 {
        return Err(RecordProblem::NegativeHeaderCount.into());
    }
    let headers = body.rest();
    for _ in 0..header_count {
        if read_nullable(&mut body)?.is_none() {
            return Err(RecordProblem::HeaderWithoutKey.into());
        }
        read_nullable(&mut body)?;
    }
    if body.left() > 0 {
        return Err(RecordProblem::LengthMismatch.into());
    }
    Ok(Fields { timestamp_delta, offset_delta, key, value, headers })
}

/// Reads the length of a record.
#[inline]
pub(super) fn read_length<E: From<RecordProblem>>(
    next: impl FnMut() -> Result<u8, E>,
) -> Result<usize, E> {
    usize::try_from(read_varint(next)?).map_err(|_| RecordProblem::NegativeLength.into())
}

/// Reads the record at the start of `rest` and moves on behind it.
#[inline]
pub(super) fn read_record<'a>(rest: &mut &'a [u8]) -> Result<Fields<&'a [u8]>, RecordProblem> {
    let length = read_length(|| rest.byte())?;
    let body = rest.span(length)?;
    read_fields(body)
}

/// The headers of a record, in order: application data beside key and value.
#[derive(Clone, Debug)]
pub struct RecordHeaders<'a> {
    rest: &'a [u8],
}

impl<'a> RecordHeaders<'a> {
    /// `bytes` are those of [`Fields::headers`], which were read without error.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes of those that are left, without their number.
    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for RecordHeaders<'a> {
    /// Key and value. The key is text for clients, but nobody checks that.
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let key = read_nullable(&mut self.rest).ok()??;
        let value = read_nullable(&mut self.rest).ok()?;
        Some((key, value))
    }
}

#[inline]
fn read_nullable<B: Body>(body: &mut B) -> Result<Option<B::Span>, B::Error> {
    match usize::try_from(read_varint(|| body.byte())?) {
        Ok(bytes) => body.span(bytes).map(Some),
        Err(_) => Ok(None),
    }
}

impl<'a> Body for &'a [u8] {
    type Span = &'a [u8];
    type Error = RecordProblem;

    #[inline]
    fn byte(&mut self) -> Result<u8, RecordProblem> {
        let (byte, rest) = self.split_first().ok_or(RecordProblem::CutOff)?;
        *self = rest;
        Ok(*byte)
    }

    #[inline]
    fn span(&mut self, bytes: usize) -> Result<&'a [u8], RecordProblem> {
        let (span, rest) = self.split_at_checked(bytes).ok_or(RecordProblem::CutOff)?;
        *self = rest;
        Ok(span)
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self
    }

    #[inline]
    fn left(&self) -> usize {
        self.len()
    }
}
