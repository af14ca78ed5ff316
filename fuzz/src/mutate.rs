//! Makes inputs: random bytes, and changed copies of inputs that are known.

use ottla::env::Rng;

/// Longest input but for [`repeat`]: longer ones find little more and take their time.
const BYTES_MAX: usize = 64 << 10;
/// Longest input of all.
const REPEATED_BYTES_MAX: usize = 512 << 10;
/// How many changes are made to one input at most.
const CHANGES_MAX: usize = 6;

/// Inputs to make others from.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Those that are accepted.
    pub(crate) accepted: Vec<Vec<u8>>,
    /// Those that are refused.
    pub(crate) refused: Vec<Vec<u8>>,
}

impl Known {
    /// One of them, mostly one that is accepted: a change that leaves it so leads deeper than one that does not.
    fn any(&self, rng: &Rng) -> &[u8] {
        let from = if below(rng, 4) == 0 && !self.refused.is_empty() {
            &self.refused
        } else {
            &self.accepted
        };
        from.get(below(rng, from.len().max(1))).map_or(&[], Vec::as_slice)
    }
}

/// A new input: now and then of random bytes, mostly one of `known` with changes.
pub(crate) fn next(known: &Known, rng: &Rng) -> Vec<u8> {
    if below(rng, 16) == 0 {
        let length = below(rng, 300);
        return random(rng, length);
    }
    let mut bytes = known.any(rng).to_vec();
    // One change is the most frequent number of changes.
    for _ in 0..=below(rng, 1 + below(rng, CHANGES_MAX)) {
        change(&mut bytes, known, rng);
    }
    if below(rng, 64) == 0 {
        repeat(&mut bytes, rng);
    } else {
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, known: &Known, rng: &Rng) {
    let at = below(rng, bytes.len() + 1);
    match below(rng, 12) {
        0 | 1 => flip_bit(bytes, at, rng),
        2 => overwrite(bytes, at, &random(rng, 1)),
        3 | 4 => overwrite(bytes, at, &interesting_integer(rng)),
        5 | 6 => nudge(bytes, at, rng),
        7 => bytes.truncate(at),
        8 => drop(bytes.drain(at..(at + short(rng)).min(bytes.len()))),
        9 => {
            let length = short(rng);
            insert(bytes, at, &random(rng, length));
        }
        10 => {
            let copied = bytes[at..(at + short(rng)).min(bytes.len())].to_vec();
            let to = below(rng, bytes.len() + 1);
            if below(rng, 2) == 0 {
                insert(bytes, to, &copied)
            } else {
                overwrite(bytes, to, &copied)
            }
        }
        _ => {
            // The front of one and the back of another.
            let other = known.any(rng);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[below(rng, other.len() + 1)..]);
        }
    }
}

fn flip_bit(bytes: &mut [u8], at: usize, rng: &Rng) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << below(rng, 8);
    }
}

/// Adds a little to a number of one to eight bytes, such as a length, or takes it away.
fn nudge(bytes: &mut [u8], at: usize, rng: &Rng) {
    let width = [1, 2, 4, 8][below(rng, 4)];
    let by = (below(rng, 35) as u64).wrapping_sub(17);
    if let Some(place) = bytes.get_mut(at..at + width) {
        let number = place.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        place.copy_from_slice(&number.wrapping_add(by).to_be_bytes()[8 - width..]);
    }
}

/// A number at the edge of something, in one of the spellings of the protocol.
fn interesting_integer(rng: &Rng) -> Vec<u8> {
    const NUMBERS: [i64; 20] = [
        0,
        1,
        -1,
        -2,
        2,
        16,
        63,
        64,
        127,
        128,
        255,
        256,
        32_767,
        32_768,
        65_535,
        65_536,
        0x7fff_ffff,
        0x8000_0000,
        i64::MAX,
        i64::MIN,
    ];
    let number = NUMBERS[below(rng, NUMBERS.len())];
    match below(rng, 5) {
        0 => varint(number.cast_unsigned()),
        width => number.to_be_bytes()[8 - (1 << (width - 1))..].to_vec(),
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

/// Puts a count in and that many tiny elements behind it: what costs little to send and may cost much to hold.
fn repeat(bytes: &mut Vec<u8>, rng: &Rng) {
    let at = below(rng, bytes.len() + 1);
    let element = match below(rng, 3) {
        0 => vec![0; 1 + below(rng, 4)],
        1 => vec![1; 1 + below(rng, 4)],
        _ => {
            let length = 1 + below(rng, 6);
            random(rng, length)
        }
    };
    let room = REPEATED_BYTES_MAX.saturating_sub(bytes.len()) / element.len();
    let count = below(rng, room.min(1 << below(rng, 20)) + 1) as u64;
    let repeated = element.repeat(usize::try_from(count).expect("below the room"));
    let spelled =
        if below(rng, 2) == 0 { varint(count + 1) } else { count.to_be_bytes()[4..].to_vec() };
    // In place of the count that is there.
    bytes.drain(at..(at + spelled.len()).min(bytes.len()));
    insert(bytes, at, &[spelled, repeated].concat());
}

fn insert(bytes: &mut Vec<u8>, at: usize, inserted: &[u8]) {
    bytes.splice(at..at, inserted.iter().copied());
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (byte, with) in bytes[at..].iter_mut().zip(with) {
        *byte = *with;
    }
}

/// Mostly a few, rarely some hundreds.
fn short(rng: &Rng) -> usize {
    1 + below(rng, 1 << below(rng, 10))
}

fn random(rng: &Rng, length: usize) -> Vec<u8> {
    (0..length).map(|_| rng.next_u64().to_le_bytes()[0]).collect()
}

/// A number below `end`, which must not be 0.
pub(crate) fn below(rng: &Rng, end: usize) -> usize {
    rng.below(u32::try_from(end).expect("inputs are small")) as usize
}
