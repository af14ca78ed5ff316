//! Which partition of an internal topic a key belongs to.

use crate::model::PartitionId;

/// The partition of `key` among `count`: Java's hash of the string, its absolute value (0 for the one number without),
/// modulo the count. Source: `Utils.abs`, `GroupCoordinatorService.partitionFor` of Apache Kafka.
///
/// # Panics
/// If `count` is not positive.
#[must_use]
pub fn partition_of(key: &str, count: i32) -> PartitionId {
    assert!(count > 0, "a topic has a partition");
    let hash = key
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    PartitionId(hash.checked_abs().unwrap_or(0) % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_kafkas() {
        // The third hashes to the lowest i32. The last two are beyond Latin-1 and beyond the first plane; their hashes are
        // those of Java 21.
        for (key, hash) in [
            ("my-group", 12),
            ("orders", 31),
            ("polygenelubricants", 0),
            ("", 0),
            ("\u{e4}\u{20ac}", (228 * 31 + 8364) % 50),
            ("\u{1f600}", (55357 * 31 + 56832) % 50),
        ] {
            assert_eq!(partition_of(key, 50), PartitionId(hash), "{key}");
        }
    }
}
