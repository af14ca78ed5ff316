//! The latest offset of each key, in a bounded piece of memory.
//!
//! Keys are known by a hash of 128 bits. It begins with chosen numbers that no client knows, so that nobody can make two
//! keys that are taken for one. Source: `SkimpyOffsetMap` of Apache Kafka 4.3.1, which uses MD5.

use std::hash::{DefaultHasher, Hasher as _};

use crate::env::Rng;
use crate::model::Offset;

/// Latest offsets by key.
#[derive(Debug)]
pub(super) struct OffsetMap {
    slots: Vec<Slot>,
    entries: usize,
    entries_max: usize,
    seeds: [u64; 2],
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: [u64; 2],
    /// -1 for a slot that is free.
    offset: i64,
}

/// The map is full: the key was not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl OffsetMap {
    /// An empty map in at most `bytes`, of which the part `load_factor` is used; smaller if `keys_max` keys are all that
    /// can come. It always has room for one key.
    pub(super) fn new(bytes: u64, load_factor: f64, keys_max: u64, rng: &Rng) -> Self {
        let room = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<Slot>();
        let load_factor = if load_factor > 0.0 { load_factor.min(LOAD_FACTOR_MAX) } else { 0.0 };
        let needed = usize::try_from(keys_max).unwrap_or(usize::MAX);
        let needed = scaled(needed.max(1), 1.0 / load_factor.max(LOAD_FACTOR_MIN));
        let slots = room.min(needed).max(SLOTS_MIN);
        let entries_max = scaled(slots, load_factor).clamp(1, slots - 1);
        Self {
            slots: vec![Slot { hash: [0; 2], offset: -1 }; slots],
            entries: 0,
            entries_max,
            seeds: [rng.next_u64(), rng.next_u64()],
        }
    }

    /// Enters a key with its latest offset so far.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) -> Result<(), Full> {
        let hash = self.hash(key);
        let is_full = self.entries == self.entries_max;
        let Some(slot) = self.slot_of(hash).and_then(|at| self.slots.get_mut(at)) else {
            return Err(Full);
        };
        if slot.offset < 0 {
            if is_full {
                return Err(Full);
            }
            self.entries += 1;
        }
        *slot = Slot { hash, offset: offset.0 };
        Ok(())
    }

    /// The latest offset of a key, if it was entered.
    pub(super) fn latest_of(&self, key: &[u8]) -> Option<Offset> {
        let slot = self.slot_of(self.hash(key)).and_then(|at| self.slots.get(at))?;
        (slot.offset >= 0).then_some(Offset(slot.offset))
    }

    /// How many keys there are.
    pub(super) const fn len(&self) -> usize {
        self.entries
    }

    /// Where a hash is, or would be. First places far apart are tried, then one after the other: all are reached.
    fn slot_of(&self, hash: [u64; 2]) -> Option<usize> {
        let [low, high] = hash;
        let count = self.slots.len() as u64;
        let far = (0..FAR_PROBES).map(|probe| low.rotate_left(probe * 16) ^ high);
        let near = (1..=count).map(|step| low.wrapping_add(step));
        far.chain(near).find_map(|probe| {
            let at = usize::try_from(probe % count).ok()?;
            let slot = self.slots.get(at)?;
            (slot.offset < 0 || slot.hash == hash).then_some(at)
        })
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        self.seeds.map(|seed| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(seed);
            hasher.write(key);
            hasher.finish()
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some slots more or less do not matter, and the cast saturates"
)]
fn scaled(count: usize, factor: f64) -> usize {
    (count as f64 * factor).ceil() as usize
}

/// Beyond this, searches for keys that are not there take too long.
const LOAD_FACTOR_MAX: f64 = 0.95;
/// Below this, a map for few keys would be out of proportion.
const LOAD_FACTOR_MIN: f64 = 0.1;
/// One for a key and one that is always free.
const SLOTS_MIN: usize = 2;
const FAR_PROBES: u32 = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_until_it_is_full(
            slots in 0_usize..40,
            load in 0.0_f64..1.5,
            keys in proptest::collection::vec(0_u8..60, 0..200),
        ) {
            let bytes = (slots * size_of::<Slot>()) as u64;
            let mut map = OffsetMap::new(bytes, load, 200, &Rng::from_seed(bytes));
            let mut model = BTreeMap::new();
            for (key, offset) in keys.into_iter().zip(0..) {
                match map.put(&[key], Offset(offset)) {
                    Ok(()) => drop(model.insert(key, Offset(offset))),
                    Err(Full) => {
                        prop_assert!(!model.contains_key(&key), "a key that is there has room");
                        prop_assert_eq!(model.len(), map.entries_max);
                    }
                }
            }
            prop_assert_eq!(map.len(), model.len());
            prop_assert!(map.slots.len() <= slots.max(SLOTS_MIN));
            for key in 0..70 {
                prop_assert_eq!(map.latest_of(&[key]), model.get(&key).copied());
            }
        }
    }

    #[test]
    fn a_map_for_few_keys_is_small() {
        let map = OffsetMap::new(128 << 20, 0.9, 90, &Rng::from_seed(1));
        assert_eq!((map.slots.len(), map.entries_max), (100, 90));
    }
}
