//! The one source of chance of a broker, seedable.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng as _, TryRng as _};
use uuid::Uuid;

/// Random numbers. Clones share one stream.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<StdRng>>);

impl Rng {
    /// A stream seeded by the operating system.
    #[must_use]
    pub fn from_system() -> Self {
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed).expect("the operating system gives random bytes");
        Self(Arc::new(Mutex::new(StdRng::from_seed(seed))))
    }

    /// A stream that is the same for the same seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// The next 64 bits.
    #[must_use]
    pub fn next_u64(&self) -> u64 {
        self.0.lock().next_u64()
    }

    /// A number below `bound`, which must not be 0. The bias is below 2^-32 for the small bounds used here.
    #[must_use]
    pub fn below(&self, bound: u32) -> u32 {
        assert!(bound > 0, "no number is below 0");
        let scaled = ((self.next_u64() >> 32) * u64::from(bound)) >> 32;
        u32::try_from(scaled).expect("a 32-bit product shifted by 32")
    }

    /// A random (version 4) UUID whose text does not begin with `-`, which command lines take for an option
    /// (`Uuid.randomUuid` of Kafka's clients keeps the same rule).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        loop {
            let mut bytes = [0; 16];
            self.0.lock().fill_bytes(&mut bytes);
            let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
            let starts_with_dash = bytes[0] >> 2 == 62;
            if !starts_with_dash {
                return uuid;
            }
        }
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UuidText;

    #[test]
    fn same_seed_same_stream() {
        let [a, b] = [0, 0].map(|_| Rng::from_seed(7));
        assert_eq!([a.next_u64(), a.next_u64()], [b.next_u64(), b.next_u64()]);
        assert_ne!(Rng::from_seed(8).next_u64(), Rng::from_seed(7).next_u64());
    }

    #[test]
    fn below_stays_below() {
        let rng = Rng::from_seed(1);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[rng.below(5) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
    }

    #[test]
    fn uuids_do_not_look_like_options() {
        let rng = Rng::from_seed(2);
        for _ in 0..2_000 {
            assert!(!UuidText(rng.uuid()).to_string().starts_with('-'));
        }
    }
}
