//! Which partition a record goes to.
//!
//! Records with a key go where the Java client sends them: murmur2 of the key, positive, modulo the number of
//! partitions (`BuiltInPartitioner.partitionForKey` of Apache Kafka 4.3.1). Records without one stick to a partition until
//! a batch is full (KIP-480).

/// Chooses partitions of one topic.
#[derive(Clone, Debug)]
pub struct Partitioner {
    partitions: u32,
    sticky: u32,
}

impl Partitioner {
    /// For a topic with so many partitions, at least one. Records without keys begin at `start` modulo that.
    #[must_use]
    pub fn new(partitions: u32, start: u32) -> Self {
        let partitions = partitions.max(1);
        Self { partitions, sticky: start % partitions }
    }

    /// The partition of a record with this key.
    #[must_use]
    pub fn partition(&self, key: Option<&[u8]>) -> u32 {
        key.map_or(self.sticky, |key| (murmur2(key) & 0x7fff_ffff) % self.partitions)
    }

    /// Records without keys go to the next partition from now on.
    pub const fn next_sticky(&mut self) {
        self.sticky = (self.sticky + 1) % self.partitions;
    }
}

/// The hash of Kafka's Java client (`Utils.murmur2`): MurmurHash2 of 32 bits with a seed of its own.
#[must_use]
pub fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut hash = SEED ^ u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> R)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that Apache Kafka's own test of its hash has (`UtilsTest.testMurmur2`).
    #[test]
    fn the_hash_is_javas() {
        for (text, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
    }

    #[test]
    fn records_without_keys_stick_until_told() {
        let mut partitioner = Partitioner::new(3, 5);
        assert_eq!([partitioner.partition(None), partitioner.partition(None)], [2, 2]);
        partitioner.next_sticky();
        assert_eq!(partitioner.partition(None), 0);
        assert_eq!(partitioner.partition(Some(b"abc")), 479_470_107 % 3);
    }
}
