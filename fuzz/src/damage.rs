//! What happens to the bytes of a file: what an unclean stop does, what a failing disk does, and mistakes of people.

use crate::input::Input;

/// How many kinds of damage there are.
pub(crate) const KINDS: u8 = 5;

/// Damages a file at a position that lies within it, in one of [`KINDS`] ways.
pub(crate) fn change(file: &mut Vec<u8>, kind: u8, at: usize, input: &mut Input<'_>) {
    match kind {
        0 => file.truncate(at),
        1 => {
            if let Some(byte) = file.get_mut(at) {
                *byte ^= 1 << input.below(8);
            }
        }
        2 => {
            // A sector, or less, that was not written.
            let end = (at + input.number() % 512).min(file.len());
            file[at..end].fill(0);
        }
        3 => {
            let count = usize::from(input.byte());
            let garbage = match input.below(4) {
                0 => vec![0; count],
                1 => vec![0xff; count],
                2 => input.take(count).to_vec(),
                // What begins as a batch does, or an index.
                _ => file.iter().copied().take(count).collect(),
            };
            file.extend_from_slice(&garbage);
        }
        _ => {
            let width = *input.choose(&[1, 2, 4, 8]);
            let number: [u8; 8] = *input.choose(&[
                [0; 8],
                [0xff; 8],
                i64::MAX.to_be_bytes(),
                i64::MIN.to_be_bytes(),
                1_u64.to_be_bytes(),
                0x7fff_ffff_u64.to_be_bytes(),
                0x8000_0000_u64.to_be_bytes(),
            ]);
            for (byte, with) in file[at..].iter_mut().zip(&number[8 - width..]) {
                *byte = *with;
            }
        }
    }
}
