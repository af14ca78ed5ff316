//! Variable-length integers: seven bits per byte, lowest first, the top bit set on all bytes but the last.
//!
//! Signed numbers are zigzag coded (0, -1, 1, -2 become 0, 1, 2, 3). Source: `ByteUtils` of Apache Kafka 4.3.1, whose
//! readers take longer spellings than needed and drop bits beyond the type; so do these.

use super::error::RecordProblem;

/// Reads a 32-bit number from the bytes that `next` gives one by one.
///
/// # Errors
/// [`RecordProblem::LongNumber`] if it goes on after five bytes, and whatever `next` fails with.
#[inline]
pub(super) fn read_varint<E: From<RecordProblem>>(
    next: impl FnMut() -> Result<u8, E>,
) -> Result<i32, E> {
    let [.., b3, b2, b1, b0] = read_bits::<E, 28>(next)?.to_be_bytes();
    let raw = u32::from_be_bytes([b3, b2, b1, b0]);
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Reads a 64-bit number from the bytes that `next` gives one by one.
///
/// # Errors
/// [`RecordProblem::LongNumber`] if it goes on after ten bytes, and whatever `next` fails with.
#[inline]
pub(super) fn read_varlong<E: From<RecordProblem>>(
    next: impl FnMut() -> Result<u8, E>,
) -> Result<i64, E> {
    let raw = read_bits::<E, 63>(next)?;
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Adds a number, 32 or 64 bits, to the end of `out`.
pub(super) fn write_varlong(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest > 0x7f {
        let [.., low] = rest.to_be_bytes();
        out.push(low | 0x80);
        rest >>= 7;
    }
    let [.., low] = rest.to_be_bytes();
    out.push(low);
}

/// The bits of a number whose last byte is shifted by `LAST_SHIFT`.
#[inline]
fn read_bits<E: From<RecordProblem>, const LAST_SHIFT: u32>(
    mut next: impl FnMut() -> Result<u8, E>,
) -> Result<u64, E> {
    let mut value = 0;
    let mut shift = 0;
    loop {
        let byte = next()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
        if shift == LAST_SHIFT {
            return Err(RecordProblem::LongNumber.into());
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn from(bytes: &[u8]) -> impl FnMut() -> Result<u8, RecordProblem> {
        let mut rest = bytes.iter().copied();
        move || rest.next().ok_or(RecordProblem::CutOff)
    }

    #[test]
    fn known_numbers() {
        let table: &[(i64, &[u8])] = &[
            (0, &[0]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (300, &[0xd8, 0x04]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ];
        for (value, bytes) in table {
            let mut out = Vec::new();
            write_varlong(&mut out, *value);
            assert_eq!(out, *bytes, "{value}");
            assert_eq!(read_varlong(from(bytes)), Ok(*value));
            assert_eq!(read_varint(from(bytes)).map(i64::from), Ok(*value));
        }
        let mut longest = [0xff; 10];
        longest[9] = 1;
        assert_eq!(read_varlong(from(&longest)), Ok(i64::MIN));
    }

    #[test]
    fn too_long_or_cut_off() {
        assert_eq!(read_varint(from(&[0x80; 5])), Err(RecordProblem::LongNumber));
        assert_eq!(read_varlong(from(&[0x80; 10])), Err(RecordProblem::LongNumber));
        assert_eq!(read_varint(from(&[0x80; 4])), Err(RecordProblem::CutOff));
        assert_eq!(read_varlong(from(&[])), Err(RecordProblem::CutOff));
        assert_eq!(read_varint(from(&[0x82, 0x80, 0x80, 0x80, 0])), Ok(1), "a long spelling");
        assert_eq!(read_varint(from(&[0x80, 0x80, 0x80, 0x80, 0x70])), Ok(0), "bits beyond 32");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in any::<i64>(), shift in 0..64_u32) {
            let value = value >> shift;
            let mut out = Vec::new();
            write_varlong(&mut out, value);
            prop_assert_eq!(read_varlong(from(&out)), Ok(value));
            if let Ok(short) = i32::try_from(value) {
                prop_assert_eq!(read_varint(from(&out)), Ok(short));
            }
        }
    }
}
