//! Orders in which Java's `HashMap` gives its keys: Apache Kafka's tools print in them.

/// Keys in the order in which a `HashMap` gives them that was made for `capacity` entries, or without a number, and was filled in
/// the order of `keys`.
pub(super) fn hash_order<T>(
    keys: Vec<T>,
    capacity: Option<usize>,
    name: impl Fn(&T) -> &str,
) -> Vec<T> {
    in_order_of(keys, capacity, |key| hash_code(name(key)))
}

/// The same for partitions.
pub(super) fn partition_order<T>(keys: Vec<T>, place: impl Fn(&T) -> (&str, i32)) -> Vec<T> {
    in_order_of(keys, None, |key| {
        let (topic, partition) = place(key);
        let hash = 31_u32.wrapping_add(partition.cast_unsigned());
        hash.wrapping_mul(31).wrapping_add(hash_code(topic))
    })
}

fn in_order_of<T>(keys: Vec<T>, capacity: Option<usize>, hash: impl Fn(&T) -> u32) -> Vec<T> {
    // The table doubles when three quarters of it are taken. Entries of one place stay in the order in which they came.
    let mut places = capacity.unwrap_or(16).max(1).next_power_of_two();
    while keys.len() * 4 > places * 3 {
        places *= 2;
    }
    let mut placed: Vec<(usize, T)> = keys
        .into_iter()
        .map(|key| {
            let hash = hash(&key);
            let spread = hash ^ (hash >> 16);
            (spread as usize & (places - 1), key)
        })
        .collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, key)| key).collect()
}

/// `String.hashCode`.
fn hash_code(text: &str) -> u32 {
    text.encode_utf16().fold(0, |hash: u32, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_their_order_are_those_of_java() {
        assert_eq!(hash_code(""), 0);
        assert_eq!(hash_code("hello"), 99_162_322);
        assert_eq!(hash_code("retention.ms"), 2_955_746_934);
        // As Java 17 gives them.
        let keys = [
            "b",
            "a",
            "q",
            "retention.ms",
            "cleanup.policy",
            "segment.bytes",
            "min.insync.replicas",
            "orders",
            "a.b_c",
        ];
        let order =
            |count: usize, capacity| hash_order(keys[..count].to_vec(), capacity, |key| key);
        assert_eq!(order(3, Some(3)), ["a", "q", "b"]);
        assert_eq!(
            order(9, None),
            [
                "a",
                "q",
                "b",
                "cleanup.policy",
                "a.b_c",
                "min.insync.replicas",
                "orders",
                "retention.ms",
                "segment.bytes"
            ]
        );
        assert_eq!(order(9, Some(9)), order(9, None));
        let places = partition_order(vec![0, 1, 2], |partition| ("orders", *partition));
        assert_eq!(places.len(), 3);
    }
}
