//! Packed numbers as text: `{unpack[>iq$]}`, as rpk has it.
//!
//! | letter | | letter | |
//! |---|---|---|---|
//! | `b` `B` | one byte with and without a sign | `h` `H` | two bytes |
//! | `i` `I` | four bytes | `q` `Q` | eight bytes |
//! | `c` `.` | one byte as it is | `s` | all that is left, as it is |
//! | `<` `>` | what follows is little-endian, big-endian | `$` | nothing is left |
//! | `x` | nothing: a place to rest the eye | | |
//!
//! Numbers are little-endian until something else is said. Where bytes are missing, or are left before `$`, the text says so in that
//! place. Source: the record formatter of franz-go, which is rpk's.

use std::io::{self, Write};

/// A layout that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Unpack(Vec<Step>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Number { letter: char, bytes: usize, is_little: bool },
    Byte,
    Rest,
    End,
}

impl Unpack {
    /// # Errors
    /// In words, when a letter is not known, or one stands behind the end.
    pub(super) fn parse(layout: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut is_little = true;
        for letter in layout.chars() {
            if let Some(Step::Rest | Step::End) = steps.last() {
                return Err(format!("'{layout}' unpacks something behind the end"));
            }
            let bytes = match letter {
                '<' | '>' => {
                    is_little = letter == '<';
                    continue;
                }
                'x' => continue,
                'c' | '.' => {
                    steps.push(Step::Byte);
                    continue;
                }
                's' => {
                    steps.push(Step::Rest);
                    continue;
                }
                '$' => {
                    steps.push(Step::End);
                    continue;
                }
                'b' | 'B' => 1,
                'h' | 'H' => 2,
                'i' | 'I' => 4,
                'q' | 'Q' => 8,
                _ => return Err(format!("'{letter}' in '{layout}' unpacks nothing")),
            };
            steps.push(Step::Number { letter, bytes, is_little });
        }
        Ok(Self(steps))
    }

    pub(super) fn write(&self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        let mut rest = bytes;
        for step in &self.0 {
            match step {
                Step::Number { letter, bytes, is_little } => {
                    let Some((number, behind)) = rest.split_at_checked(*bytes) else {
                        let there = rest.len();
                        rest = &[];
                        write!(out, "%!{letter}(have {there} bytes, need {bytes})")?;
                        continue;
                    };
                    rest = behind;
                    write!(out, "{}", number_of(number, letter.is_lowercase(), *is_little))?;
                }
                Step::Byte => match rest.split_first() {
                    Some((byte, behind)) => {
                        rest = behind;
                        out.write_all(&[*byte])?;
                    }
                    None => out.write_all(b"%!c(no bytes available)")?,
                },
                Step::Rest => out.write_all(rest)?,
                Step::End if rest.is_empty() => {}
                Step::End => out.write_all(b"%!$(not end-of-input)")?,
            }
        }
        Ok(())
    }
}

/// The number that up to eight bytes are.
fn number_of(bytes: &[u8], is_signed: bool, is_little: bool) -> i128 {
    let push = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    let number = match is_little {
        true => bytes.iter().rev().fold(0, push),
        false => bytes.iter().fold(0, push),
    };
    let bits = 8 * bytes.len();
    let is_negative = is_signed && number >> (bits - 1) & 1 == 1;
    i128::from(number) - if is_negative { 1 << bits } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(layout: &str, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        Unpack::parse(layout).unwrap().write(bytes, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_of_all_sizes_in_both_orders() {
        for (layout, bytes, text) in [
            (">i", &[0, 0, 1, 2][..], "258"),
            ("<i", &[2, 1, 0, 0], "258"),
            ("i", &[2, 1, 0, 0], "258"),
            (">h<h", &[0, 1, 1, 0], "11"),
            ("b", &[0xff], "-1"),
            ("B", &[0xff], "255"),
            (">h", &[0xff, 0xfe], "-2"),
            (">H", &[0xff, 0xfe], "65534"),
            ("I", &[0xff; 4], "4294967295"),
            ("q", &[0xff; 8], "-1"),
            ("Q", &[0xff; 8], "18446744073709551615"),
            (">qx", &[0x80, 0, 0, 0, 0, 0, 0, 0], "-9223372036854775808"),
            ("c.s", b"abcd", "abcd"),
            (">iq$", &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2], "12"),
        ] {
            assert_eq!(unpacked(layout, bytes), text, "{layout}");
        }
    }

    #[test]
    fn what_is_missing_or_left_is_said_in_its_place() {
        assert_eq!(unpacked("Bi", &[1, 2]), "1%!i(have 1 bytes, need 4)");
        assert_eq!(unpacked("c", b""), "%!c(no bytes available)");
        assert_eq!(unpacked("b$", &[1, 2]), "1%!$(not end-of-input)");
        for layout in ["k", "sb", "$$", "é"] {
            assert!(Unpack::parse(layout).is_err(), "{layout}");
        }
    }
}
